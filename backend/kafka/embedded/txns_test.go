package embedded

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func newTestTracker(t *testing.T, dir string) *tracker {
	t.Helper()
	open, err := loadJournal(filepath.Join(dir, journalFile))
	if err != nil {
		t.Fatal(err)
	}
	tr, err := newTracker(&Broker{o: Options{Dir: dir}}, open)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

var keys = map[string]bool{"keys": true}

// While compacted topics are kept quiet no transaction begins to write them; others go on; one that writes them already
// may end first, and is waited for only so long.
func TestQuiet(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		tr := newTestTracker(t, dir)
		defer tr.close()
		step := make(chan string, 10)
		tr.touch("old", 1, 0, []part{{"keys", 0}})
		tr.touch("other", 2, 0, []part{{"t", 0}})
		go func() {
			step <- map[bool]string{true: "quiet", false: "not quiet"}[tr.quiet(keys, func() {
				step <- "running"
				time.Sleep(time.Second)
				step <- "ran"
			})]
		}()
		synctest.Wait() // it waits for old
		go func() { tr.touch("new", 3, 0, []part{{"keys", 0}}); step <- "new" }()
		tr.touch("old", 1, 0, []part{{"keys", 1}}) // goes on
		tr.touch("other", 2, 0, []part{{"t", 1}})
		synctest.Wait()
		if len(step) != 0 {
			t.Fatalf("%s while a transaction is open", <-step)
		}
		tr.prepare("old", 1, 0, true)
		tr.ended("old", 1, 0, true)
		synctest.Wait()
		if got := <-step; got != "running" || len(step) != 0 {
			t.Fatalf("%s, %d more", got, len(step))
		}
		tr.touch("other", 2, 0, []part{{"t", 2}})
		go func() { tr.touch("other", 2, 0, []part{{"keys", 0}}); step <- "other" }()
		synctest.Wait()
		if len(step) != 0 {
			t.Fatalf("%s while it is compacted", <-step)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := <-step; got != "ran" || len(step) != 3 {
			t.Fatalf("%s, %d more", got, len(step))
		}
		for range 3 {
			<-step
		}
		// New stays open: the next round gives up.
		began := time.Now()
		if tr.quiet(keys, func() { t.Error("ran") }) || time.Since(began) != drainTime {
			t.Fatalf("gave up after %v", time.Since(began))
		}
	})
}

// What is open is read back from the journal, whole or cut short at any byte.
func TestJournal(t *testing.T) {
	dir := t.TempDir()
	tr := newTestTracker(t, dir)
	tr.touch("a", 1, 0, []part{{"t", 0}})
	tr.touch("b", 2, 5, nil)
	tr.touch("c", 3, 0, nil)
	tr.prepare("a", 1, 0, true)
	tr.ended("a", 1, 0, true)
	tr.open["b"].stage("g", part{"t", 1}, offset{Offset: 7, Epoch: -1})
	tr.prepare("b", 2, 5, true)
	tr.prepare("c", 3, 9, true) // of another epoch: it is not asked for
	tr.prepare("c", 3, 0, true)
	tr.ended("c", 3, 0, false) // refused
	tr.touch("d", 4, 0, nil)
	tr.touch("d", 4, 1, nil) // a new epoch
	tr.touch("d", 4, 0, nil) // and the old one's producer, late
	if err := tr.file.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, journalFile)
	open, err := loadJournal(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(open) != 3 || open["a"] != nil || !open["b"].prepared || !open["b"].commit || open["b"].epoch != 5 || open["c"].prepared || open["d"].epoch != 1 {
		t.Fatalf("%+v", open)
	}
	if o := open["b"].offsets["g"][part{"t", 1}]; o.Offset != 7 || o.Epoch != -1 {
		t.Fatalf("%+v", open["b"].offsets)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if err := os.WriteFile(file, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadJournal(file); err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	// It does not grow with what has ended.
	tr = newTestTracker(t, t.TempDir())
	defer tr.close()
	tr.size = journalMax
	tr.touch("x", 1, 0, nil)
	if tr.size > 1000 {
		t.Fatalf("%d bytes", tr.size)
	}
}

// Hostile journals do not panic.
func FuzzJournal(f *testing.F) {
	f.Add([]byte(`{"t":"begin","id":"a","pid":1}` + "\n" + `{"t":"prepare","id":"a","commit":true,"offsets":[{"g":"g","tp":"t","p":1,"o":7}]}` + "\n" + `{"t":"end","id":"a"}`))
	file := filepath.Join(f.TempDir(), journalFile)
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		open, err := loadJournal(file)
		if err != nil {
			return
		}
		if _, err := journalOf(open); err != nil {
			t.Fatal(err)
		}
	})
}

// Hostile logs do not panic, and what is left of them after mending is mended for good.
func FuzzMendLog(f *testing.F) {
	f.Add(markerBatch(0, 0, 7, 0, true), newIndex(0, 1, false))
	f.Add(markerBatch(0, 0, 7, 0, true)[:50], []byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, data, index []byte) {
		dir := t.TempDir()
		for name, b := range map[string][]byte{"0.dat": data, "0.idx": index} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		first, err := mendLog(dir)
		if err != nil {
			t.Fatal(err)
		}
		again, err := mendLog(dir)
		if err != nil || again.cut != 0 || again.end != first.end || len(again.open) != len(first.open) {
			t.Fatalf("%+v, again %+v, %v", first, again, err)
		}
	})
}
