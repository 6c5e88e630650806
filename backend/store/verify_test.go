package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	_ "github.com/mattn/go-sqlite3"

	"freshet/backend/auditlog"
	"freshet/backend/fault"
	"freshet/backend/store"
)

// keys is a secret store in memory.
type keys struct {
	mu   sync.Mutex
	kept map[string]string
	err  error
}

func (k *keys) Secret(_ context.Context, name string) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.kept[name], k.err
}

func (k *keys) Keep(_ context.Context, name, value string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.kept == nil {
		k.kept = map[string]string{}
	}
	k.kept[name] = value
	return k.err
}

func openSigned(t testing.TB, dir string, k *keys) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), dir, store.Options{Keys: k})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func record(t testing.TB, s *store.Store, n int) {
	t.Helper()
	for i := range n {
		if _, err := s.Ledger().Record(context.Background(), note(fmt.Sprintf("subject-%d", i))); err != nil {
			t.Fatal(err)
		}
	}
}

func mustCheckpoint(t testing.TB, s *store.Store) auditlog.Checkpoint {
	t.Helper()
	cp, err := s.Ledger().Checkpoint(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return cp
}

func verify(t testing.TB, path string) auditlog.Report {
	t.Helper()
	r, err := store.VerifyAudit(context.Background(), path, "")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// closed is a data directory with a history of some runs, nothing running.
func closed(t testing.TB, k *keys) string {
	t.Helper()
	dir := t.TempDir()
	for range 3 {
		s := openSigned(t, dir, k)
		record(t, s, 20)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func alter(t testing.TB, dir string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite3", filepath.Join(dir, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	for _, name := range []string{"ledger.db", "ledger.db-wal", "checkpoints"} {
		b, err := os.ReadFile(filepath.Join(from, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func TestVerifyIntact(t *testing.T) {
	k := &keys{}
	dir := closed(t, k)
	r := verify(t, dir)
	// Two entries make a new ledger (itself and its key), then 60 were recorded.
	if !r.OK || r.DBSize != 62 || r.Proved != 62 || r.Chained != 0 || len(r.Warnings) != 0 || !strings.HasSuffix(r.CheckpointSource, "/checkpoints") {
		t.Errorf("%+v", r)
	}
	s := openSigned(t, dir, k)
	record(t, s, 5)
	r = verify(t, filepath.Join(dir, "ledger.db")) // while it is open
	if !r.OK || r.DBSize != 67 || r.Proved != 62 || r.Chained != 5 {
		t.Errorf("while open: %+v", r)
	}
	if err := os.Remove(filepath.Join(dir, "checkpoints")); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, dir); !r.OK || r.CheckpointSource != "ledger" || len(r.Warnings) != 1 {
		t.Errorf("without the copies: %+v", r)
	}
}

// TestTampering is every way to change history that leaves a sound database behind.
func TestTampering(t *testing.T) {
	k := &keys{}
	base := closed(t, k)
	old := copyDir(t, base)
	s := openSigned(t, base, k)
	record(t, s, 10)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	const last = 71
	cases := []struct {
		name, code string
		entry      uint64
		do         func(dir string)
	}{
		{"a byte edited", auditlog.EntryChanged, 30, func(dir string) {
			alter(t, dir, `UPDATE audit_entry SET leaf = replace(leaf, 'local:test', 'local:tess') WHERE seq = 30`)
		}},
		{"the newest edited", auditlog.EntryChanged, last, func(dir string) {
			alter(t, dir, `UPDATE audit_entry SET leaf = replace(leaf, 'local:test', 'local:tess') WHERE seq = 71`)
		}},
		{"the first edited", auditlog.EntryChanged, 0, func(dir string) {
			alter(t, dir, `UPDATE audit_entry SET leaf = replace(leaf, 'system', 'nobody') WHERE seq = 0`)
		}},
		{"a row deleted", auditlog.EntryMissing, 30, func(dir string) { alter(t, dir, `DELETE FROM audit_entry WHERE seq = 30`) }},
		{"the first deleted", auditlog.EntryMissing, 0, func(dir string) { alter(t, dir, `DELETE FROM audit_entry WHERE seq = 0`) }},
		{"the newest rows deleted", auditlog.TailTruncated, 67, func(dir string) { alter(t, dir, `DELETE FROM audit_entry WHERE seq > 66`) }},
		{"the newest rows deleted everywhere", auditlog.TailTruncated, 67, func(dir string) {
			alter(t, dir, `DELETE FROM audit_entry WHERE seq > 66`, `DELETE FROM audit_hash WHERE idx > 130`, `DELETE FROM audit_checkpoint WHERE size > 66`)
		}},
		{"all rows deleted", auditlog.TailTruncated, 0, func(dir string) { alter(t, dir, `DELETE FROM audit_entry`) }},
		{"everything deleted", auditlog.TailTruncated, 0, func(dir string) {
			alter(t, dir, `DELETE FROM audit_entry`, `DELETE FROM audit_hash`, `DELETE FROM audit_checkpoint`, `DELETE FROM audit_key`, `DELETE FROM audit_meta`)
		}},
		{"the file deleted", auditlog.TailTruncated, 0, func(dir string) { os.Remove(filepath.Join(dir, "ledger.db")) }},
		{"an older file put back", auditlog.TailTruncated, 62, func(dir string) {
			b, err := os.ReadFile(filepath.Join(old, "ledger.db"))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "ledger.db"), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"two entries swapped", auditlog.EntryChanged, 30, func(dir string) {
			alter(t, dir, `UPDATE audit_entry SET seq = -1 WHERE seq = 30`, `UPDATE audit_entry SET seq = 30 WHERE seq = 31`, `UPDATE audit_entry SET seq = 31 WHERE seq = -1`)
		}},
		{"a hash edited", auditlog.HashChanged, 30, func(dir string) {
			alter(t, dir, `UPDATE audit_hash SET hash = zeroblob(32) WHERE idx = 56`) // the leaf hash of entry 30: 30 + 15 + 7 + 3 + 1
		}},
		{"a hash deleted", auditlog.HashMissing, 30, func(dir string) { alter(t, dir, `DELETE FROM audit_hash WHERE idx = 56`) }},
		{"the key changed", auditlog.KeyChanged, 1 << 63, func(dir string) {
			_, public, err := auditlog.GenerateKey("freshet/x")
			if err != nil {
				t.Fatal(err)
			}
			alter(t, dir, `UPDATE audit_key SET key = '`+public+`'`)
		}},
		{"a checkpoint edited", auditlog.CheckpointDamaged, 1 << 63, func(dir string) {
			alter(t, dir, `UPDATE audit_checkpoint SET note = replace(note, char(10) || size || char(10), char(10) || '1' || char(10)) WHERE size = 62`)
		}},
		{"an entry added behind", auditlog.EntryChanged, 500, func(dir string) {
			alter(t, dir, `INSERT INTO audit_entry (seq, leaf) SELECT 500, leaf FROM audit_entry WHERE seq = 3`)
		}},
		{"a view in place of the table", auditlog.PageDamaged, 1 << 63, func(dir string) {
			alter(t, dir, `ALTER TABLE audit_entry RENAME TO hidden`, `CREATE VIEW audit_entry AS SELECT * FROM hidden`)
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := copyDir(t, base)
			c.do(dir)
			r := verify(t, dir)
			if r.OK || r.Exit != 10 || r.Code != c.code || !fault.Is(r.Err(), fault.Tampered) {
				t.Fatalf("%+v", r)
			}
			if c.entry < 1<<63 && (r.Findings[0].Entry == nil || *r.Findings[0].Entry != c.entry) {
				t.Errorf("not entry %d: %+v", c.entry, r.Findings[0])
			}
			if c.code == auditlog.HashChanged && !strings.Contains(r.Message, "proved intact") {
				t.Errorf("it does not say that the entries are intact: %s", r.Message)
			}
		})
	}
}

// TestRewrittenHistory is one who knows how the hashes are made and rewrites everything but what is outside the database.
func TestRewrittenHistory(t *testing.T) {
	k := &keys{}
	dir := closed(t, k)
	forged := t.TempDir()
	s := openSigned(t, forged, &keys{})
	record(t, s, 70)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(forged, "ledger.db"), filepath.Join(dir, "ledger.db")); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, dir); r.OK || r.Exit != 10 {
		t.Errorf("another ledger, signed by another key: %+v", r)
	}
	s = openSigned(t, dir, k)
	if err := s.Ledger().Trouble(); !fault.Is(err, fault.Tampered) {
		t.Errorf("opened: %v", err)
	}
	if _, err := s.Ledger().Record(t.Context(), note("x")); !fault.Is(err, fault.Tampered) {
		t.Errorf("recorded: %v", err)
	}
	if _, err := s.Ledger().Checkpoint(t.Context()); !fault.Is(err, fault.Tampered) {
		t.Errorf("signed: %v", err)
	}
	if _, err := s.Ledger().Entries(t.Context(), auditlog.Filter{}); err != nil {
		t.Errorf("looked at: %v", err)
	}
}

// TestNothingIsSignedAfterTampering: a ledger that lost entries takes and signs nothing more.
func TestNothingIsSignedAfterTampering(t *testing.T) {
	for name, statements := range map[string][]string{
		"rolled back":     {`DELETE FROM audit_entry WHERE seq > 49`, `DELETE FROM audit_hash WHERE idx >= 97`, `DELETE FROM audit_checkpoint WHERE size > 49`},
		"tail cut":        {`DELETE FROM audit_entry WHERE seq > 49`},
		"all gone":        {`DELETE FROM audit_entry`, `DELETE FROM audit_hash`},
		"all and name":    {`DELETE FROM audit_entry`, `DELETE FROM audit_hash`, `DELETE FROM audit_meta`, `DELETE FROM audit_key`, `DELETE FROM audit_checkpoint`},
		"an entry edited": {`UPDATE audit_entry SET leaf = replace(leaf, 'note', 'nota') WHERE seq = 40`},
		"hashes edited":   {`UPDATE audit_hash SET hash = zeroblob(32) WHERE idx > 40 AND idx < 80`},
	} {
		t.Run(name, func(t *testing.T) {
			k := &keys{}
			dir := closed(t, k)
			before, err := os.ReadFile(filepath.Join(dir, "checkpoints"))
			if err != nil {
				t.Fatal(err)
			}
			alter(t, dir, statements...)
			s := openSigned(t, dir, k)
			if err := s.Ledger().Trouble(); !fault.Is(err, fault.Tampered) {
				t.Errorf("trouble: %v", err)
			}
			if _, err := s.Ledger().Record(t.Context(), note("x")); !fault.Is(err, fault.Tampered) {
				t.Errorf("recorded: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			after, err := os.ReadFile(filepath.Join(dir, "checkpoints"))
			if err != nil || !bytes.Equal(before, after) {
				t.Errorf("the checkpoints were written to (%v)", err)
			}
		})
	}
}

func TestExitClasses(t *testing.T) {
	k := &keys{}
	dir := closed(t, k)
	if _, err := store.VerifyAudit(t.Context(), filepath.Join(t.TempDir(), "none"), ""); !fault.Is(err, fault.Unavailable) {
		t.Errorf("no file: %v", err)
	}
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, bytes.Repeat([]byte("hello "), 500), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := store.VerifyAudit(t.Context(), text, ""); !fault.Is(err, fault.Unavailable) {
		t.Errorf("some file: %v", err)
	}
	if _, err := store.VerifyAudit(t.Context(), dir, filepath.Join(dir, "other")); !fault.Is(err, fault.Unavailable) {
		t.Errorf("copies that are not there: %v", err)
	}
	alone := filepath.Join(t.TempDir(), "ledger.db")
	b, err := os.ReadFile(filepath.Join(dir, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(alone, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, alone); !r.OK || r.CheckpointSource != "ledger" {
		t.Errorf("the file alone: %+v", r)
	}
	alter(t, filepath.Dir(alone), `DELETE FROM audit_key`, `DELETE FROM audit_checkpoint`)
	if _, err := store.VerifyAudit(t.Context(), alone, ""); !fault.Is(err, fault.Invalid) {
		t.Errorf("no key: %v", err)
	}
	if err := os.WriteFile(alone, b[:len(b)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, alone); r.OK {
		t.Errorf("half of the file: %+v", r)
	}
	unsigned := t.TempDir()
	s := open(t, unsigned)
	record(t, s, 3)
	if _, err := store.VerifyAudit(t.Context(), unsigned, ""); !fault.Is(err, fault.Invalid) {
		t.Errorf("never signed: %v", err)
	}
}

// An entry is in the file once: whoever finds its text and changes it has changed the entry.
func TestEntriesStandOnce(t *testing.T) {
	dir := t.TempDir()
	s := openSigned(t, dir, &keys{})
	record(t, s, 500)
	var leaves []string
	for seq := range uint64(500) {
		p, err := s.Ledger().Entry(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, p.Leaf)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(dir, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	for seq, leaf := range leaves {
		if n := bytes.Count(file, []byte(leaf)); n != 1 {
			t.Errorf("entry %d stands %d times in the file", seq, n)
		}
	}
}

// TestFlips changes single bytes anywhere in the database and its write-ahead log. Whatever was hit, the outcome is an
// entry named, a page named, or every entry proved intact; and an entry that was hit is never passed over.
func TestFlips(t *testing.T) {
	dir := t.TempDir()
	k := &keys{}
	s := openSigned(t, dir, k)
	record(t, s, 100)
	if err := s.Ledger().Tx(t.Context(), func(tx *store.Tx) error { // leaves free pages and an index behind
		for _, q := range []string{"CREATE TABLE filler (x TEXT)", "CREATE INDEX filler_x ON filler (x)",
			"INSERT INTO filler SELECT upper(leaf) FROM audit_entry", "DELETE FROM filler WHERE rowid % 4"} {
			if _, err := tx.Exec(q); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openSigned(t, dir, k)
	record(t, s, 30)
	mustCheckpoint(t, s)
	record(t, s, 10)
	base := copyDir(t, dir) // as a crash would leave it: with a -wal file
	if r := verify(t, base); !r.OK || r.DBSize != 142 || r.Chained != 10 {
		t.Fatalf("before: %+v", r)
	}
	leaves := map[string]int{}
	for seq := range uint64(142) {
		p, err := s.Ledger().Entry(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		leaves[p.Leaf] = int(seq)
	}
	rnd := rand.New(rand.NewPCG(7, 9))
	flips := 300
	if os.Getenv("FRESHET_PROOF") != "" {
		flips = 5000
	}
	work := copyDir(t, base)
	for _, name := range []string{"ledger.db", "ledger.db-wal"} {
		original, err := os.ReadFile(filepath.Join(base, name))
		if err != nil {
			t.Fatal(err)
		}
		owner := entriesAt(original, leaves)
		var entry, page, intact int
		for i := range flips {
			at := rnd.IntN(len(original))
			if i < 40 {
				at = i * 3 // headers are small: make sure that they are hit
			}
			b := bytes.Clone(original)
			b[at] ^= byte(1 << rnd.IntN(8))
			os.Remove(filepath.Join(work, "ledger.db-shm"))
			if err := os.WriteFile(filepath.Join(work, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
			r, err := store.VerifyAudit(t.Context(), work, "")
			if err != nil {
				t.Fatalf("%s, byte %d: %v", name, at, err)
			}
			switch {
			case r.OK:
				intact++
				if r.DBSize != 142 || r.Proved != 132 || r.Chained != 10 {
					t.Errorf("%s, byte %d: passed with %+v", name, at, r)
				}
			case namesEntry(r):
				entry++
			case namesPage(r), strings.Contains(r.Message, "proved intact"):
				page++
			default:
				t.Errorf("%s, byte %d: names neither entry nor page: %+v", name, at, r)
			}
			// A leaf that lies in the database itself, and not in a later version in the log, must be named.
			if seq, hit := owner[at]; hit && name == "ledger.db" && seq < 100 && (r.OK || !covers(r, uint64(seq))) {
				if !r.OK || !shadowed(t, work, leaves) {
					t.Errorf("%s, byte %d of entry %d: %+v", name, at, seq, r)
				}
			}
		}
		t.Logf("%s, %d bytes: of %d flips %d named an entry, %d a page, %d left every entry proved intact", name, len(original), flips, entry, page, intact)
		if err := os.WriteFile(filepath.Join(work, name), original, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// shadowed reports whether every entry reads as it was recorded: the byte that was hit lies in an old version of a page.
func shadowed(t *testing.T, dir string, leaves map[string]int) bool {
	t.Helper()
	a, err := store.OpenAudit(t.Context(), filepath.Join(dir, "ledger.db"))
	if err != nil {
		return false
	}
	defer a.Close()
	for leaf, seq := range leaves {
		p, err := a.Entry(t.Context(), uint64(seq))
		if err != nil || p.Leaf != leaf {
			return false
		}
	}
	return true
}

// entriesAt tells which entry each byte of the file belongs to.
func entriesAt(file []byte, leaves map[string]int) map[int]int {
	owner := map[int]int{}
	for leaf, seq := range leaves {
		for from := 0; ; {
			at := bytes.Index(file[from:], []byte(leaf))
			if at < 0 {
				break
			}
			for i := range leaf {
				owner[from+at+i] = seq
			}
			from += at + len(leaf)
		}
	}
	return owner
}

func namesEntry(r auditlog.Report) bool {
	for _, f := range r.Findings {
		if f.Entry != nil {
			return true
		}
	}
	return false
}

func namesPage(r auditlog.Report) bool {
	for _, f := range r.Findings {
		if f.Page > 0 || f.Code == auditlog.WALDamaged {
			return true
		}
	}
	return false
}

func covers(r auditlog.Report, seq uint64) bool {
	for _, f := range r.Findings {
		if f.Entry != nil && (*f.Entry == seq || f.To != nil && *f.Entry <= seq && seq <= *f.To) {
			return true
		}
	}
	return r.More > 0
}
