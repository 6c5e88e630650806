package store_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"freshet/backend/auditlog"
	"freshet/backend/fault"
	"freshet/backend/store"
)

func TestRecordFromManyGoroutines(t *testing.T) {
	dir := t.TempDir()
	s := openSigned(t, dir, &keys{})
	const recorders, each = 16, 50
	seen := make([]bool, recorders*each)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for r := range recorders {
		wg.Go(func() {
			for i := range each {
				seq, err := s.Ledger().Record(t.Context(), note(fmt.Sprintf("%d/%d", r, i)))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if seen[seq-2] {
					t.Errorf("seq %d given twice", seq)
				}
				seen[seq-2] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, dir); !r.OK || r.DBSize != recorders*each+2 {
		t.Errorf("%+v", r)
	}
}

// TestTransactionIsAllOrNothing: what fails takes its entry with it, and nobody else's.
func TestTransactionIsAllOrNothing(t *testing.T) {
	dir := t.TempDir()
	s := openSigned(t, dir, &keys{})
	l := s.Ledger()
	if err := l.Tx(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec("CREATE TABLE thing (name TEXT UNIQUE)")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	insert := func(name string, fail bool) error {
		return l.Tx(t.Context(), func(tx *store.Tx) error {
			if _, err := tx.Audit(note(name)); err != nil {
				return err
			}
			if _, err := tx.Exec("INSERT INTO thing VALUES (?)", name); err != nil {
				return err
			}
			if fail {
				return boom
			}
			return nil
		})
	}
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			err := insert(strconv.Itoa(i), i%2 == 1)
			if i%2 == 1 && !errors.Is(err, boom) || i%2 == 0 && err != nil {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if err := insert("0", false); err == nil {
		t.Error("a duplicate was taken")
	}
	if err := l.Tx(t.Context(), func(*store.Tx) error { panic("oh") }); !fault.Is(err, fault.Internal) {
		t.Errorf("panic: %v", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Record(cancelled, note("late")); !fault.Is(err, fault.Interrupted) {
		t.Errorf("cancelled: %v", err)
	}
	p, err := l.Entries(t.Context(), auditlog.Filter{Actor: "local:test"})
	if err != nil || len(p.Items) != 20 {
		t.Errorf("%d entries, %v", len(p.Items), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, dir); !r.OK || r.DBSize != 22 {
		t.Errorf("%+v", r)
	}
	if _, err := l.Record(t.Context(), note("after")); !fault.Is(err, fault.Interrupted) {
		t.Errorf("after close: %v", err)
	}
}

func TestIntentsAreClosedAfterARestart(t *testing.T) {
	dir := t.TempDir()
	k := &keys{}
	s := openSigned(t, dir, k)
	l := s.Ledger()
	intent := auditlog.Entry{Actor: "local:ana", Action: "replay.run", Phase: auditlog.Intent, Subject: "jb_1"}
	done, err := l.Record(t.Context(), intent)
	if err != nil {
		t.Fatal(err)
	}
	open, err := l.Record(t.Context(), intent)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Record(t.Context(), auditlog.Entry{Actor: "local:ana", Action: "replay.run", Phase: auditlog.Result, Ref: &done, Subject: "jb_1", Outcome: "done"}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	for range 2 { // the second start has nothing to close
		s = openSigned(t, dir, k)
		p, err := s.Ledger().Entries(t.Context(), auditlog.Filter{Phase: auditlog.Result})
		if err != nil || len(p.Items) != 2 || *p.Items[0].Ref != open || p.Items[0].Outcome != "interrupted" || p.Items[0].Actor != "system" || p.Items[0].Subject != "jb_1" {
			t.Errorf("%+v, %v", p, err)
		}
		s.Close()
	}
	if r := verify(t, dir); !r.OK {
		t.Errorf("%+v", r)
	}
}

func TestSignedEveryMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSigned(t, t.TempDir(), &keys{})
		defer s.Close()
		file := filepath.Join(s.Dir(), "checkpoints")
		count := func() int {
			synctest.Wait()
			c, err := auditlog.ReadCopies(file)
			if err != nil {
				t.Fatal(err)
			}
			return len(c.Notes)
		}
		if n := count(); n != 1 {
			t.Errorf("%d checkpoints at the start", n)
		}
		time.Sleep(5 * time.Minute)
		if n := count(); n != 1 {
			t.Errorf("%d checkpoints with nothing new", n)
		}
		record(t, s, 3)
		time.Sleep(time.Minute)
		if n := count(); n != 2 {
			t.Errorf("%d checkpoints a minute after new entries", n)
		}
		if cp := mustCheckpoint(t, s); cp.Size != 5 || len(cp.Short()) != 8 {
			t.Errorf("%+v", cp)
		}
		record(t, s, 1)
		if cp := mustCheckpoint(t, s); cp.Size != 6 || count() != 3 {
			t.Errorf("%+v", cp)
		}
		record(t, s, 1)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if n := count(); n != 4 {
			t.Errorf("%d checkpoints after close", n)
		}
	})
}

func TestLostKeyIsReplacedInTheOpen(t *testing.T) {
	dir := closed(t, &keys{})
	s := openSigned(t, dir, &keys{})
	record(t, s, 3)
	p, err := s.Ledger().Entries(t.Context(), auditlog.Filter{Action: "audit.key"})
	if err != nil || len(p.Items) != 2 {
		t.Errorf("%+v, %v", p, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, dir); !r.OK || r.Proved != 66 {
		t.Errorf("%+v", r)
	}
}

func TestLockedKeyring(t *testing.T) {
	k := &keys{}
	dir := closed(t, k)
	k.err = errors.New("locked")
	s := openSigned(t, dir, k)
	if _, err := s.Ledger().Record(t.Context(), note("x")); !fault.Is(err, fault.Blocked) {
		t.Errorf("recorded: %v", err)
	}
}

func TestEntriesByPage(t *testing.T) {
	s := openSigned(t, t.TempDir(), &keys{})
	record(t, s, 25)
	var got []string
	f := auditlog.Filter{Action: "test.*", Limit: 10}
	for pages := 1; ; pages++ {
		p, err := s.Ledger().Entries(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range p.Items {
			got = append(got, e.Subject)
		}
		if f.Cursor = p.Next; p.Next == "" {
			if pages != 3 {
				t.Errorf("%d pages", pages)
			}
			break
		}
	}
	if len(got) != 25 || got[0] != "subject-24" || got[24] != "subject-0" {
		t.Errorf("%v", got)
	}
	if _, err := s.Ledger().Entries(t.Context(), auditlog.Filter{Cursor: "x"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("bad cursor: %v", err)
	}
}

func TestEntryProof(t *testing.T) {
	s := openSigned(t, t.TempDir(), &keys{})
	record(t, s, 25)
	p, err := s.Ledger().Entry(t.Context(), 7)
	if err != nil || p.Proof != nil || p.Entry.Seq != 7 {
		t.Errorf("before a checkpoint: %+v, %v", p, err)
	}
	cp := mustCheckpoint(t, s)
	if p, err = s.Ledger().Entry(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	var proof tlog.RecordProof
	for _, text := range p.Proof {
		h, err := tlog.ParseHash(text)
		if err != nil {
			t.Fatal(err)
		}
		proof = append(proof, h)
	}
	if err := tlog.CheckRecord(proof, int64(cp.Size), cp.Root, 7, tlog.RecordHash([]byte(p.Leaf))); err != nil {
		t.Error(err)
	}
	if _, err := s.Ledger().Entry(t.Context(), 700); !fault.Is(err, fault.NotFound) {
		t.Errorf("no such entry: %v", err)
	}
}

func TestExport(t *testing.T) {
	k := &keys{}
	dir := closed(t, k)
	s := openSigned(t, dir, k)
	record(t, s, 9)
	var live bytes.Buffer
	if err := s.Ledger().Export(t.Context(), &live); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	a, err := store.OpenAudit(t.Context(), filepath.Join(dir, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	var still bytes.Buffer
	if err := a.Export(t.Context(), &still); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(live.Bytes(), still.Bytes()) {
		t.Error("the export of a running ledger and of its file differ")
	}
	path := filepath.Join(dir, "audit.jsonl")
	if err := os.WriteFile(path, live.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	r := verify(t, path)
	if !r.OK || r.DBSize != 71 || r.Proved != 71 || len(r.Warnings) != 0 {
		t.Errorf("%+v", r)
	}
	b, err := json.Marshal(r)
	if err != nil || !strings.Contains(string(b), `"kind":"audit.verify","ok":true,"exit":0`) || !strings.Contains(string(b), `"db_size":"71","checkpoint_size":"71"`) {
		t.Errorf("%s, %v", b, err)
	}
	if err := os.WriteFile(path, bytes.Replace(live.Bytes(), []byte(`"subject":"subject-4"`), []byte(`"subject":"subject-5"`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, path); r.Code != auditlog.EntryChanged || *r.Findings[0].Entry != 6 {
		t.Errorf("edited: %+v", r)
	}
}

// recordChild records until it is killed, and prints each Seq that it was given.
func recordChild() int {
	s, err := store.Open(context.Background(), os.Args[1], store.Options{Keys: &fileKeys{os.Args[1] + ".keys"}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for r := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				subject := fmt.Sprintf("%d/%d/%d", os.Getpid(), r, i)
				seq, err := s.Ledger().Record(context.Background(), note(subject))
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
				if i%20 == 0 {
					if _, err := s.Ledger().Checkpoint(context.Background()); err != nil {
						fmt.Fprintln(os.Stderr, err)
					}
				}
				mu.Lock()
				fmt.Printf("%d %s\n", seq, subject)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return 1
}

// fileKeys keeps keys in a file, for a process that will not live.
type fileKeys struct{ path string }

func (k *fileKeys) Secret(context.Context, string) (string, error) {
	b, err := os.ReadFile(k.path)
	if os.IsNotExist(err) {
		return "", nil
	}
	return string(b), err
}

func (k *fileKeys) Keep(_ context.Context, _, value string) error {
	return os.WriteFile(k.path, []byte(value), 0o600)
}

// TestKill: what was acknowledged before a kill -9 is there after it, and the history verifies before and after the next
// start.
func TestKill(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			rnd := rand.New(rand.NewPCG(seed, 0))
			acknowledged := map[uint64]string{}
			for range 3 {
				cmd := child(t, "record", dir)
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				lines := bufio.NewScanner(out)
				stop := 20 + rnd.IntN(400)
				for n := 0; lines.Scan(); n++ {
					seq, subject, _ := strings.Cut(lines.Text(), " ")
					if i, err := strconv.ParseUint(seq, 10, 64); err == nil && subject != "" {
						acknowledged[i] = subject
					}
					if n == stop {
						if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
							t.Fatal(err)
						}
					}
				}
				if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != -1 {
					t.Fatalf("the child was not killed: %v", err)
				}
				r := verify(t, dir)
				if !r.OK {
					t.Fatalf("%+v", r)
				}
				a, err := store.OpenAudit(t.Context(), filepath.Join(dir, "ledger.db"))
				if err != nil {
					t.Fatal(err)
				}
				for seq, subject := range acknowledged {
					if p, err := a.Entry(t.Context(), seq); err != nil || p.Entry.Subject != subject {
						t.Fatalf("entry %d: %+v, %v", seq, p.Entry, err)
					}
				}
				if err := a.Close(); err != nil {
					t.Fatal(err)
				}
			}
			s, err := store.Open(t.Context(), dir, store.Options{Keys: &fileKeys{dir + ".keys"}})
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(s.Ledger().Trouble(), s.Close()); err != nil {
				t.Fatal(err)
			}
			if r := verify(t, dir); !r.OK || r.Chained != 0 || r.DBSize < uint64(len(acknowledged)) {
				t.Errorf("%+v", r)
			}
			t.Logf("%d entries acknowledged over 3 kills", len(acknowledged))
		})
	}
}
