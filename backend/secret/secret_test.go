package secret_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/zalando/go-keyring"
	"go.uber.org/goleak"

	"freshet/backend/fault"
	"freshet/backend/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const canary = "c4n4ry-hunter2"

func TestSecretPrintsAsNothing(t *testing.T) {
	s := secret.New(canary)
	type inner struct{ s secret.Secret }
	type outer struct {
		Name string
		S    secret.Secret
		P    *secret.Secret
		in   inner
		M    map[string]secret.Secret
	}
	o := outer{"x", s, &s, inner{s}, map[string]secret.Secret{"k": s}}
	var out bytes.Buffer
	for _, v := range []any{s, &s, o, &o, []secret.Secret{s}, [1]any{s}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%t", "%p", "%08.3f"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
		for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(h).Info("m", "v", v, slog.Group("g", "v", v))
		}
		fmt.Fprintln(&out, errors.Join(fmt.Errorf("wrapped %v: %w", v, os.ErrExist), fault.New(fault.Invalid, "op", "", "%v", v)))
	}
	hex := fmt.Sprintf("%x", canary)
	for _, trace := range []string{canary, hex, strings.ToUpper(hex)} {
		if strings.Contains(out.String(), trace) {
			t.Errorf("the secret shows: %s", out.String()[strings.Index(out.String(), trace)-40:])
		}
	}
	if s.Reveal() != canary || s.IsZero() || !(secret.Secret{}).IsZero() {
		t.Error("reveal")
	}
}

// stores are the places that a secret can be kept in.
func stores(t *testing.T, run func(t *testing.T, dir string, open func() *secret.Store)) {
	for name, o := range map[string]secret.Options{
		"keyring":  {},
		"file":     {FileOnly: true},
		"key file": {FileOnly: true, KeyFile: filepath.Join(t.TempDir(), "elsewhere.key")},
	} {
		t.Run(name, func(t *testing.T) {
			keyring.MockInit()
			t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
			dir := t.TempDir()
			run(t, dir, func() *secret.Store {
				s, err := secret.Open(dir, o)
				if err != nil {
					t.Fatal(err)
				}
				return s
			})
		})
	}
}

func TestStoreKeeps(t *testing.T) {
	stores(t, func(t *testing.T, dir string, open func() *secret.Store) {
		ctx := t.Context()
		s := open()
		if got, err := s.Secret(ctx, "a"); got != "" || err != nil {
			t.Errorf("before: %q, %v", got, err)
		}
		ref, err := s.Take(ctx, "a", canary)
		if err != nil || ref != "@keyring:a" {
			t.Fatalf("%s, %v", ref, err)
		}
		if err := s.Keep(ctx, "b", "other"); err != nil {
			t.Fatal(err)
		}
		s = open()
		if got, err := s.Resolve(ctx, ref); err != nil || got.Reveal() != canary {
			t.Errorf("after reopening: %v", err)
		}
		if err := s.Keep(ctx, "a", canary+"2"); err != nil {
			t.Fatal(err)
		}
		if got, err := open().Secret(ctx, "a"); got != canary+"2" || err != nil {
			t.Errorf("replaced: %v", err)
		}
		if err := s.Forget(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Resolve(ctx, ref); !fault.Is(err, fault.Invalid) {
			t.Errorf("forgotten: %v", err)
		}
		if got, err := s.Secret(ctx, "b"); got != "other" || err != nil {
			t.Errorf("the other: %v", err)
		}
		if err := s.Keep(ctx, "c", ""); !fault.Is(err, fault.Invalid) {
			t.Errorf("an empty secret: %v", err)
		}
		err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			if bytes.Contains(b, []byte("c4n4ry")) || bytes.Contains(b, []byte("other")) {
				t.Errorf("%s holds a secret in the clear", path)
			}
			if info, _ := d.Info(); info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %v", path, info.Mode())
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, where := s.Where(ctx); where == "" {
			t.Error("where?")
		}
	})
}

func TestTwoDirectoriesShareAKeyring(t *testing.T) {
	keyring.MockInit()
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
	one, err1 := secret.Open(t.TempDir(), secret.Options{})
	two, err2 := secret.Open(t.TempDir(), secret.Options{})
	if err := errors.Join(err1, err2, one.Keep(t.Context(), "a", "1"), two.Keep(t.Context(), "a", "2"), keyring.Set("freshet", "mine", "3")); err != nil {
		t.Fatal(err)
	}
	if got, err := one.Secret(t.Context(), "a"); got != "1" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := two.Resolve(t.Context(), "@keyring:mine"); err != nil || got.Reveal() != "3" {
		t.Errorf("put there by a person: %v", err)
	}
}

// TestBrokenKeyring: a secret is never lost for want of a keyring, and never kept in the clear.
func TestBrokenKeyring(t *testing.T) {
	keyring.MockInitWithError(errors.New("no such service"))
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
	s, err := secret.Open(t.TempDir(), secret.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Keep(t.Context(), "a", canary); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Secret(t.Context(), "a"); got != canary || err != nil {
		t.Errorf("%v", err)
	}
	if _, err := s.Secret(t.Context(), "b"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("what may be in the keyring: %v", err)
	}
	if keyring, where := s.Where(t.Context()); keyring || !strings.Contains(where, "secrets.age") {
		t.Errorf("kept in %s", where)
	}
}

func TestNoKeyringIsNotAskedFor(t *testing.T) {
	keyring.MockInitWithError(errors.New("asked"))
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "autolaunch:")
	dir := t.TempDir()
	s, err := secret.Open(dir, secret.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Secret(t.Context(), "a"); got != "" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestWrongKey(t *testing.T) {
	dir := t.TempDir()
	open := func(passphrase string) *secret.Store {
		s, err := secret.Open(dir, secret.Options{FileOnly: true, Passphrase: secret.New(passphrase)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if err := open("right").Keep(t.Context(), "a", canary); err != nil {
		t.Fatal(err)
	}
	if got, err := open("right").Secret(t.Context(), "a"); got != canary || err != nil {
		t.Errorf("the right passphrase: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "secrets.key")); err != nil || bytes.Contains(b, []byte("AGE-SECRET-KEY")) {
		t.Errorf("the key is not encrypted (%v)", err)
	}
	for _, passphrase := range []string{"wrong", ""} {
		if _, err := open(passphrase).Secret(t.Context(), "a"); !fault.Is(err, fault.Invalid) {
			t.Errorf("passphrase %q: %v", passphrase, err)
		}
	}
	key := filepath.Join(dir, "secrets.key")
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if err := open("right").Keep(t.Context(), "b", "x"); !fault.Is(err, fault.Invalid) {
		t.Errorf("key file gone: %v", err)
	}
	if _, err := os.Stat(key); !os.IsNotExist(err) {
		t.Error("a new key was made beside a file of another")
	}
}

func TestResolve(t *testing.T) {
	s, err := secret.Open(t.TempDir(), secret.Options{FileOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("FRESHET_TEST_SECRET", canary)
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(canary+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"@env:FRESHET_TEST_SECRET", "@file:" + path} {
		if got, err := s.Resolve(t.Context(), ref); err != nil || got.Reveal() != canary {
			t.Errorf("%s: %v", ref, err)
		}
		if got, err := s.Take(t.Context(), "x", ref); got != ref || err != nil {
			t.Errorf("take %s: %s, %v", ref, got, err)
		}
	}
	for _, ref := range []string{"@env:FRESHET_TEST_UNSET", "@file:/nonexistent", "@keyring:none", "@env:", canary, ""} {
		if _, err := s.Resolve(t.Context(), ref); !fault.Is(err, fault.Invalid) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

func TestSplitDSN(t *testing.T) {
	for _, c := range []struct{ dsn, clean, password string }{
		{"postgres://u:p%40ss@h:5432/db?sslmode=disable", "postgres://u@h:5432/db?sslmode=disable", "p@ss"},
		{"postgres://u@h/db", "postgres://u@h/db", ""},
		{"postgres:///db?host=/run/postgresql&password=x%26y&user=u", "postgres:///db?host=%2Frun%2Fpostgresql&user=u", "x&y"},
		{"postgres://u:@env:PGPASS@h/db", "postgres://u@h/db", "@env:PGPASS"},
		{"host=h user=u password=secret dbname=db", "host=h user=u dbname=db", "secret"},
		{`host = h  password = 'it\'s \\ a pass' application_name='a b'`, `host=h application_name='a b'`, `it's \ a pass`},
		{"host=h password=@file:/run/pass", "host=h", "@file:/run/pass"},
		{"host=h password=", "host=h", ""},
		{"https://u:p@host/path?x=1", "https://u@host/path?x=1", "p"},
	} {
		clean, password, err := secret.SplitDSN(c.dsn)
		if err != nil || clean != c.clean || password.Reveal() != c.password {
			t.Errorf("%s: %s, %s, %v", c.dsn, clean, password.Reveal(), err)
		}
	}
	for _, dsn := range []string{canary, "host", "password='" + canary, "postgres://u:" + canary + "%zz@h/db", "postgres://h/db?sslpassword=" + canary, "host=h sslpassword=" + canary, "postgres://[" + canary + "/db", ""} {
		if clean, _, err := secret.SplitDSN(dsn); !fault.Is(err, fault.Invalid) || strings.Contains(err.Error()+clean, canary) {
			t.Errorf("%s: %s, %v", dsn, clean, err)
		}
	}
}

// TestFullDSN: what pgx reads from a connection string is the same after it was taken apart and put together.
func TestFullDSN(t *testing.T) {
	s, err := secret.Open(t.TempDir(), secret.Options{FileOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("FRESHET_TEST_DSN", "postgres://u:"+canary+"@h/db")
	for i, dsn := range []string{
		"postgres://u:" + canary + "%2F%20%27@h:5433/db?sslmode=disable&application_name=x",
		`host=h port=5433 user=u password='` + canary + ` \' \\' dbname=db sslmode=disable`,
		"postgres://u@h/db?sslmode=disable",
		"@env:FRESHET_TEST_DSN",
	} {
		clean, ref, err := s.TakeDSN(t.Context(), fmt.Sprint("source/", i), dsn)
		if err != nil || strings.Contains(clean+ref, canary) {
			t.Fatalf("%s: %s, %s, %v", dsn, clean, ref, err)
		}
		full, err := s.FullDSN(t.Context(), clean, ref)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(dsn, "@") {
			dsn = os.Getenv("FRESHET_TEST_DSN")
		}
		want, err1 := pgconn.ParseConfig(dsn)
		got, err2 := pgconn.ParseConfig(full.Reveal())
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if got.Password != want.Password || got.Host != want.Host || got.Port != want.Port || got.User != want.User || got.Database != want.Database {
			t.Errorf("%s: differs after all", clean)
		}
	}
}

func TestRedact(t *testing.T) {
	for _, text := range []string{
		"dial postgres://u:" + canary + "@h:5432/db failed",
		"postgres://u:" + canary + "/x@h/db",
		"password=" + canary + " host=h",
		`password = '` + canary + ` x' host=h`,
		`{"password":"` + canary + `","a":1}`,
		`{\"sasl.password\":\"` + canary + `\"}`,
		"sasl.jaas.config=... username=\"u\" password=\"" + canary + "\";",
		"client_secret: " + canary,
		"API-Key=" + canary,
		"Authorization: Bearer " + canary,
		"authorization: basic " + canary,
		"-----BEGIN RSA PRIVATE KEY-----\n" + canary + "\n-----END RSA PRIVATE KEY-----",
		"-----BEGIN PRIVATE KEY-----\n" + canary,
		"https://h/x?token=" + canary + "&y=1",
		"eyJhbGciOiJI.eyJzdWIi" + canary + ".sig",
		"PRIVATE+KEY+freshet/x+00000000+" + canary,
	} {
		if got := secret.Redact(text); strings.Contains(got, "c4n4ry") || got == text {
			t.Errorf("%s became %s", text, got)
		}
		if again := secret.Redact(secret.Redact(text)); again != secret.Redact(text) {
			t.Errorf("twice: %s", again)
		}
		if err := secret.Refuse([]byte(text)); err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{
		"postgres://u@h:5432/db", "http://127.0.0.1:8123/x@y", `{"password":"@env:PG","token":"@keyring:a/b"}`, `{"password":"","secret":null}`,
		"postgres://u:@env:PG@h/db", "slot freshet_shop is active", "tokens=5", "user@example.com", "password is wrong", "SASL/SCRAM-SHA-256",
	} {
		if got := secret.Redact(text); got != text {
			t.Errorf("%s became %s", text, got)
		}
	}
}

func TestLogHandler(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(secret.LogHandler(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo})))
	dsn := "postgres://u:" + canary + "@h/db"
	log.With("dsn", dsn).WithGroup("g").Info("connect "+dsn, "err", fmt.Errorf("no: %s", dsn), "n", 7,
		slog.Group("deep", "password", canary, "list", []string{dsn}), "s", secret.New(canary), "token", canary+" and more "+canary)
	log.Debug("not written")
	if strings.Contains(out.String(), "c4n4ry") {
		t.Errorf("the secret shows: %s", out.String())
	}
	if !strings.Contains(out.String(), `"n":7`) || strings.Contains(out.String(), "not written") {
		t.Errorf("%s", out.String())
	}
}

func FuzzSplitDSN(f *testing.F) {
	f.Add("postgres://u:p@h/db?password=x", "pw")
	f.Add(`host=h password='a\'b' x=''`, "a'\\ b")
	f.Add("host=h", "")
	f.Fuzz(func(t *testing.T, dsn, password string) {
		clean, _, err := secret.SplitDSN(dsn)
		if err != nil {
			return
		}
		again, none, err := secret.SplitDSN(clean)
		if clean == "" { // it held nothing but a password
			return
		}
		if err != nil || again != clean || !none.IsZero() {
			t.Fatalf("%q: clean %q, again %q, %v", dsn, clean, again, err)
		}
		full, err := secret.JoinDSN(clean, secret.New(password))
		if err != nil {
			t.Fatal(err)
		}
		back, got, err := secret.SplitDSN(full.Reveal())
		if err != nil || got.Reveal() != password {
			t.Fatalf("%q with %q: %q, %q, %v", clean, password, back, got.Reveal(), err)
		}
	})
}

func FuzzRedact(f *testing.F) {
	f.Add(`{"password":"x"}`)
	f.Add("postgres://u:p@h token='a\\'b'")
	f.Fuzz(func(t *testing.T, s string) {
		if once := secret.Redact(s); secret.Redact(once) != once {
			t.Fatalf("%q, then %q", once, secret.Redact(once))
		}
	})
}

var _ interface {
	Secret(context.Context, string) (string, error)
	Keep(context.Context, string, string) error
} = (*secret.Store)(nil)
