package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/mattn/go-sqlite3"
	"github.com/pressly/goose/v3"

	"freshet/backend/auditlog"
	"freshet/backend/fault"
)

func TestOldSQLiteIsRefused(t *testing.T) {
	if err := CheckSQLite(); err != nil {
		t.Error(err)
	}
	if err := checkSQLite("3.51.2", 3051002, ""); err == nil {
		t.Error("3.51.2 was taken")
	}
}

func openInternal(t *testing.T, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func raw(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := openWriter(path, "FULL")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestPragmas(t *testing.T) {
	s := openInternal(t, t.TempDir(), Options{})
	for name, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "journal_size_limit": "67108864", "busy_timeout": "5000", "trusted_schema": "0"} {
		for _, f := range []*file{s.file, s.ledger.file} {
			var got string
			if err := f.conn.QueryRowContext(t.Context(), "PRAGMA "+name).Scan(&got); err != nil || got != want {
				t.Errorf("%s: %s is %s (%v), want %s", f.path, name, got, err, want)
			}
		}
	}
	if _, err := s.file.read.ExecContext(t.Context(), "DELETE FROM doc"); err == nil {
		t.Error("a reader can write")
	}
}

func TestNewerSchemaIsRefusedUntouched(t *testing.T) {
	for _, name := range []string{"freshet.db", "ledger.db"} {
		dir := t.TempDir()
		if err := openInternal(t, dir, Options{}).Close(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		db := raw(t, path)
		if _, err := db.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)"); err != nil {
			t.Fatal(err)
		}
		db.Close()
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(t.Context(), dir, Options{})
		var f *fault.Error
		if !errors.As(err, &f) || f.Kind != fault.Blocked || f.Code != "NEWER_SCHEMA" {
			t.Errorf("%s: %v", name, err)
		}
		after, err := os.ReadFile(path)
		if err != nil || string(before) != string(after) {
			t.Errorf("%s was written to (%v)", name, err)
		}
		if _, err := os.Stat(path + ".v9999.bak"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a copy was made", name)
		}
	}
}

func TestOlderSchemaIsCopiedFirst(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ledger.db")
	if err := touch(path); err != nil {
		t.Fatal(err)
	}
	db := raw(t, path)
	sources, err := fs.Sub(migrations, "sql/ledger")
	if err != nil {
		t.Fatal(err)
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, sources)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("INSERT INTO audit_meta (name, value) VALUES ('x', 'y')"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if err := openInternal(t, dir, Options{}).Close(); err != nil {
		t.Fatal(err)
	}
	now, err := schemaVersion(t.Context(), raw(t, path))
	if err != nil {
		t.Fatal(err)
	}
	if now == 1 {
		t.Skip("there is only one version yet")
	}
	bak := path + ".v1.bak"
	if info, err := os.Stat(bak); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	c := raw(t, bak)
	var value string
	if err := c.QueryRow("SELECT value FROM audit_meta WHERE name = 'x'").Scan(&value); err != nil || value != "y" {
		t.Errorf("the copy holds %q, %v", value, err)
	}
	if v, err := schemaVersion(t.Context(), c); err != nil || v != 1 {
		t.Errorf("the copy is of version %d, %v", v, err)
	}
}

// TestFullDisk: what does not fit is refused and undone; the ballast makes room to go on with.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	s := openInternal(t, dir, Options{Ballast: 1 << 20})
	ballast := filepath.Join(dir, "ballast")
	if info, err := os.Stat(ballast); err != nil || info.Size() != 1<<20 {
		t.Fatalf("ballast: %v, %v", info, err)
	}
	f := s.ledger.file
	var pages int
	if err := f.conn.QueryRowContext(t.Context(), "PRAGMA page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	limit := func(n int) {
		if err := f.tx(t.Context(), func(tx *Tx) error { _, err := tx.Exec(fmt.Sprintf("PRAGMA max_page_count = %d", n)); return err }); err != nil {
			t.Fatal(err)
		}
	}
	limit(pages + 2)
	e := auditlog.Entry{Actor: "a", Action: "b.c", Phase: auditlog.Intent, Subject: string(make([]byte, 1000))}
	var err error
	recorded := 0
	for recorded < 1000 {
		if _, err = s.ledger.Record(context.Background(), e); err != nil {
			break
		}
		recorded++
	}
	var fe *fault.Error
	if !errors.As(err, &fe) || fe.Kind != fault.Unavailable || fe.Code != "DISK_FULL" {
		t.Fatalf("after %d entries: %v", recorded, err)
	}
	if _, err := os.Stat(ballast); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the ballast is still there (%v)", err)
	}
	if p, err := s.ledger.Entries(t.Context(), auditlog.Filter{Action: "b.c", Limit: 1000}); err != nil || len(p.Items) != recorded {
		t.Errorf("%d entries of %d, %v", len(p.Items), recorded, err)
	}
	limit(1 << 20)
	if seq, err := s.ledger.Record(context.Background(), e); err != nil || seq != uint64(recorded)+1 {
		t.Errorf("with room again: entry %d, %v", seq, err)
	}
}

// TestUnfinishedFrame: a frame that a killed writer did not finish is none, as long as the log's index says so; a frame of
// the same look that was committed is damage.
func TestUnfinishedFrame(t *testing.T) {
	s := openInternal(t, t.TempDir(), Options{})
	for range 5 {
		if _, err := s.ledger.Record(t.Context(), auditlog.Entry{Actor: "a", Action: "b", Phase: auditlog.Note}); err != nil {
			t.Fatal(err)
		}
	}
	killed := filepath.Join(t.TempDir(), "ledger.db")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := copyFile(s.ledger.file.path+suffix, killed+suffix); err != nil {
			t.Fatal(err)
		}
	}
	wal, err := os.ReadFile(killed + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, b []byte, want int) {
		t.Helper()
		if err := os.WriteFile(killed+"-wal", b, 0o600); err != nil {
			t.Fatal(err)
		}
		if found, err := checkWAL(killed + "-wal"); err != nil || len(found) != want {
			t.Errorf("%s: %v, %v", what, found, err)
		}
	}
	check("as it was", wal, 0)
	torn := append(bytes.Clone(wal), make([]byte, frameHeader+4096)...)
	copy(torn[len(wal)+8:], wal[16:24]) // the salts
	check("with an unfinished frame", torn, 0)
	committed := bytes.Clone(wal)
	committed[len(wal)-1] ^= 1
	check("with the newest commit changed", committed, 1)
	if err := os.Remove(killed + "-shm"); err != nil {
		t.Fatal(err)
	}
	check("without the index", torn, 1)
}

// TestAfterAnIOError: nothing more is taken for durable on that connection.
func TestAfterAnIOError(t *testing.T) {
	s := openInternal(t, t.TempDir(), Options{})
	err := s.ledger.Tx(t.Context(), func(*Tx) error { return ioError() })
	if !fault.Is(err, fault.Unavailable) {
		t.Errorf("%v", err)
	}
	if _, err := s.ledger.Record(t.Context(), auditlog.Entry{Actor: "a", Action: "b", Phase: auditlog.Note}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("recorded: %v", err)
	}
	if err := s.State("x").Put(t.Context(), "k", nil); err != nil {
		t.Errorf("the other file: %v", err)
	}
}

func TestDamagedStore(t *testing.T) {
	dir := t.TempDir()
	s := openInternal(t, dir, Options{})
	for i := range 200 {
		if err := s.State("x").Put(t.Context(), fmt.Sprint(i), make([]byte, 500)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "freshet.db")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 5 * 4096; i < 6*4096; i++ {
		b[i] ^= 0x55
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), dir, Options{})
	var f *fault.Error
	if !errors.As(err, &f) || f.Code != "STORE_CORRUPT" {
		t.Errorf("%v", err)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(b) {
		t.Errorf("the damaged file was written to (%v)", err)
	}
}

func ioError() error { return sqlite3.Error{Code: sqlite3.ErrIoErr} }
