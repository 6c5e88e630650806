package store_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"freshet/backend/auditlog"
	"freshet/backend/fault"
	"freshet/backend/store"
)

func TestMain(m *testing.M) {
	if child := os.Getenv("FRESHET_TEST_CHILD"); child != "" {
		os.Exit(children[child]())
	}
	goleak.VerifyTestMain(m)
}

// children are programs that a test runs in a process of their own.
var children = map[string]func() int{"open": openChild, "record": recordChild, "history": historyChild}

func child(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), "FRESHET_TEST_CHILD="+name)
	cmd.Stderr = os.Stderr
	return cmd
}

func open(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func openChild() int {
	s, err := store.Open(context.Background(), os.Args[1], store.Options{})
	if err != nil {
		os.Stdout.WriteString(err.Error())
		if fault.Is(err, fault.Conflict) {
			return 7
		}
		return 1
	}
	if s.Close() != nil {
		return 1
	}
	return 0
}

func TestOneProcessHasTheDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := open(t, dir)
	out, err := child(t, "open", dir).Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Fatalf("second process: %v, %s", err, out)
	}
	if !strings.Contains(string(out), "process "+strconv.Itoa(os.Getpid())+" ") {
		t.Errorf("the error does not name this process: %s", out)
	}
	if _, err := store.Open(t.Context(), dir, store.Options{}); !fault.Is(err, fault.Conflict) {
		t.Errorf("the same process again: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := child(t, "open", dir).Output(); err != nil {
		t.Errorf("after close: %v, %s", err, out)
	}
}

func TestFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := open(t, dir)
	if _, err := s.Ledger().Record(t.Context(), note("x")); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func note(subject string) auditlog.Entry {
	return auditlog.Entry{Actor: "local:test", Action: "test.note", Phase: auditlog.Note, Subject: subject}
}

type cluster struct {
	Brokers []string `json:"brokers"`
	Secret  string   `json:"secret,omitempty"`
}

func TestDocs(t *testing.T) {
	s := open(t, t.TempDir())
	docs := store.DocsOf[cluster](s, "cluster")
	ctx := t.Context()
	if err := docs.Create(ctx, "b", cluster{Brokers: []string{"h:1"}}); err != nil {
		t.Fatal(err)
	}
	if err := docs.Create(ctx, "b", cluster{}); !fault.Is(err, fault.Exists) {
		t.Errorf("create again: %v", err)
	}
	if err := docs.Put(ctx, "a", cluster{Secret: "@keyring:x"}); err != nil {
		t.Fatal(err)
	}
	if err := docs.Put(ctx, "b", cluster{Brokers: []string{"h:2"}}); err != nil {
		t.Fatal(err)
	}
	list, err := docs.List(ctx)
	if err != nil || len(list) != 2 || list[0].Name != "a" || list[1].Value.Brokers[0] != "h:2" {
		t.Errorf("list: %v, %v", list, err)
	}
	if got, err := docs.Get(ctx, "a"); err != nil || got.Value.Secret != "@keyring:x" || got.Updated.IsZero() {
		t.Errorf("get: %v, %v", got, err)
	}
	if err := docs.Delete(ctx, "a"); err != nil {
		t.Error(err)
	}
	if _, err := docs.Get(ctx, "a"); !fault.Is(err, fault.NotFound) {
		t.Errorf("get what was deleted: %v", err)
	}
	if err := docs.Delete(ctx, "a"); !fault.Is(err, fault.NotFound) {
		t.Errorf("delete again: %v", err)
	}
}

func TestDocWithSecretIsRefused(t *testing.T) {
	refused := errors.New("holds a password")
	s, err := store.Open(t.Context(), t.TempDir(), store.Options{RefuseDoc: func(b []byte) error {
		if strings.Contains(string(b), "hunter2") {
			return refused
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	docs := store.DocsOf[cluster](s, "cluster")
	if err := docs.Put(t.Context(), "x", cluster{Secret: "hunter2"}); !errors.Is(err, refused) || !fault.Is(err, fault.Invalid) {
		t.Errorf("put: %v", err)
	}
	if list, err := docs.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("list: %v, %v", list, err)
	}
}

func TestStateSurvives(t *testing.T) {
	dir := t.TempDir()
	ctx := t.Context()
	s := open(t, dir)
	st := s.State("capture/shop")
	if _, ok, err := st.Get(ctx, "lsn"); ok || err != nil {
		t.Fatalf("empty: %v, %v", ok, err)
	}
	if err := st.Put(ctx, "lsn", []byte("1")); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	if err := st.Update(ctx, "lsn", func([]byte) ([]byte, error) { return []byte("9"), boom }); !errors.Is(err, boom) {
		t.Errorf("update: %v", err)
	}
	if err := st.Update(ctx, "lsn", func(old []byte) ([]byte, error) { return append(old, '2'), nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.State("other").Put(ctx, "lsn", nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	all, err := s.State("capture/shop").All(ctx)
	if err != nil || len(all) != 1 || string(all["lsn"]) != "12" {
		t.Errorf("after reopening: %q, %v", all, err)
	}
	if err := s.State("capture/shop").Clear(ctx); err != nil {
		t.Fatal(err)
	}
	if v, ok, err := s.State("other").Get(ctx, "lsn"); !ok || len(v) != 0 || err != nil {
		t.Errorf("other space: %q, %v, %v", v, ok, err)
	}
}
