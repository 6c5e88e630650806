package auditlog_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"freshet/backend/auditlog"
	"freshet/backend/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const origin = "freshet/test"

// history is a ledger in memory.
type history struct {
	signer note.Signer
	key    string
	tree   auditlog.Tree
	leaves [][]byte
	hashes []tlog.Hash
	notes  []string
}

func newHistory(t testing.TB, entries int) *history {
	t.Helper()
	secret, public, err := auditlog.GenerateKey(origin)
	if err != nil {
		t.Fatal(err)
	}
	return historyOf(t, secret, public, entries)
}

func historyOf(t testing.TB, secret, public string, entries int) *history {
	t.Helper()
	signer, err := note.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	h := &history{signer: signer, key: public}
	for range entries {
		h.add(t, "s")
	}
	return h
}

func (h *history) add(t testing.TB, subject string) {
	t.Helper()
	seq := h.tree.Size()
	e := auditlog.Entry{Seq: seq, At: time.UnixMicro(1764000000000000 + int64(seq)), Actor: "local:ana", Action: "source.create",
		Phase: auditlog.Note, Subject: subject, Detail: json.RawMessage(fmt.Sprintf(`{"n": %d, "a":"<é>"}`, seq))}
	leaf, err := auditlog.EncodeLeaf(e, h.tree.Last())
	if err != nil {
		t.Fatal(err)
	}
	var hashes []tlog.Hash
	h.tree, hashes = h.tree.Append(tlog.RecordHash(leaf))
	h.leaves = append(h.leaves, leaf)
	h.hashes = append(h.hashes, hashes...)
}

func (h *history) sign(t testing.TB) auditlog.Checkpoint {
	t.Helper()
	cp, err := auditlog.SignCheckpoint(origin, h.tree, h.signer)
	if err != nil {
		t.Fatal(err)
	}
	h.notes = append(h.notes, cp.Note)
	return cp
}

func (h *history) reader() tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, i := range indexes {
			if i >= int64(len(h.hashes)) {
				return nil, errors.New("no such hash")
			}
			out = append(out, h.hashes[i])
		}
		return out, nil
	})
}

func (h *history) export() auditlog.Export {
	return auditlog.Export{Origin: origin, Keys: []string{h.key}, Notes: h.notes, Size: uint64(len(h.leaves)), Hashes: h.reader(),
		Leaves: func(yield func([]byte) error) error {
			for _, l := range h.leaves {
				if err := yield(l); err != nil {
					return err
				}
			}
			return nil
		}}
}

func (h *history) exported(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := h.export().WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestLeafIsCanonical(t *testing.T) {
	ref := uint64(2)
	e := auditlog.Entry{Seq: 7, At: time.Date(2026, 11, 24, 9, 0, 0, 120000, time.FixedZone("", 3600)), Actor: "a<b>&\u2028", Action: "x.y",
		Phase: auditlog.Result, Ref: &ref, Subject: "\x00\n", Outcome: "done", Detail: json.RawMessage(" {\"b\":1.50e3,\n\"a\":[9007199254740993,{\"z\":null,\"y\":\"<\"}]}")}
	prev := tlog.RecordHash([]byte("x"))
	leaf, err := auditlog.EncodeLeaf(e, prev)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"action":"x.y","actor":"a<b>&\u2028","at":"2026-11-24T08:00:00.000120Z","detail":{"a":[9007199254740993,{"y":"<","z":null}],"b":1.50e3},` +
		`"outcome":"done","phase":"result","prev":"` + prev.String() + `","ref":2,"seq":7,"subject":"\u0000\n","v":1}`
	if string(leaf) != want {
		t.Errorf("got  %s\nwant %s", leaf, want)
	}
	got, gotPrev, err := auditlog.DecodeLeaf(leaf)
	if err != nil || gotPrev != prev || !got.At.Equal(e.At) || *got.Ref != 2 || got.Subject != e.Subject {
		t.Errorf("decoded %+v, %v, %v", got, gotPrev, err)
	}
}

func TestRefusedEntries(t *testing.T) {
	ref := uint64(5)
	deep := strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40)
	for name, e := range map[string]auditlog.Entry{
		"no phase":         {Actor: "a", Action: "b"},
		"no actor":         {Action: "b", Phase: auditlog.Note},
		"intent outcome":   {Actor: "a", Action: "b", Phase: auditlog.Intent, Outcome: "done"},
		"result no ref":    {Actor: "a", Action: "b", Phase: auditlog.Result, Outcome: "done"},
		"result of later":  {Seq: 5, Actor: "a", Action: "b", Phase: auditlog.Result, Ref: &ref, Outcome: "done"},
		"result no end":    {Seq: 6, Actor: "a", Action: "b", Phase: auditlog.Result, Ref: &ref},
		"detail no object": {Actor: "a", Action: "b", Phase: auditlog.Note, Detail: json.RawMessage(`[1]`)},
		"detail null":      {Actor: "a", Action: "b", Phase: auditlog.Note, Detail: json.RawMessage(`null`)},
		"detail two":       {Actor: "a", Action: "b", Phase: auditlog.Note, Detail: json.RawMessage(`{} {}`)},
		"detail deep":      {Actor: "a", Action: "b", Phase: auditlog.Note, Detail: json.RawMessage(deep)},
		"too big":          {Actor: "a", Action: "b", Phase: auditlog.Note, Subject: strings.Repeat("x", auditlog.MaxLeaf)},
	} {
		if _, err := auditlog.EncodeLeaf(e, tlog.Hash{}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTreeIsTlogs(t *testing.T) {
	h := newHistory(t, 0)
	for n := range 300 {
		h.add(t, "s")
		want, err := tlog.TreeHash(int64(n+1), h.reader())
		if err != nil {
			t.Fatal(err)
		}
		if h.tree.Root() != want {
			t.Fatalf("root at %d entries differs", n+1)
		}
		if int64(len(h.hashes)) != tlog.StoredHashCount(int64(n+1)) {
			t.Fatalf("%d hashes stored at %d entries", len(h.hashes), n+1)
		}
		loaded, err := auditlog.LoadTree(uint64(n+1), h.reader())
		if err != nil || loaded.Root() != want || loaded.Last() != h.tree.Last() {
			t.Fatalf("loaded at %d entries: %v", n+1, err)
		}
	}
}

func TestExtends(t *testing.T) {
	h := newHistory(t, 37)
	early := h.sign(t)
	for range 20 {
		h.add(t, "s")
	}
	late := h.sign(t)
	for _, cp := range []auditlog.Checkpoint{{}, early, late} {
		if err := auditlog.Extends(h.tree, h.reader(), cp); err != nil {
			t.Errorf("from %d: %v", cp.Size, err)
		}
	}
	other := newHistory(t, 36)
	other.add(t, "another")
	for range 10 {
		other.add(t, "s")
	}
	code := func(err error) string {
		var e *fault.Error
		if !errors.As(err, &e) || e.Kind != fault.Tampered {
			return fmt.Sprint(err)
		}
		return e.Code
	}
	if got := code(auditlog.Extends(other.tree, other.reader(), early)); got != auditlog.CheckpointMismatch {
		t.Errorf("another history: %s", got)
	}
	if got := code(auditlog.Extends(other.tree, other.reader(), late)); got != auditlog.TailTruncated {
		t.Errorf("a shorter history: %s", got)
	}
	for range 10 {
		other.add(t, "s")
	}
	if got := code(auditlog.Extends(other.tree, other.reader(), late)); got != auditlog.CheckpointMismatch {
		t.Errorf("another history of the same size: %s", got)
	}
	h.hashes = h.hashes[:10]
	if got := code(auditlog.Extends(h.tree, h.reader(), early)); got != auditlog.HashMissing {
		t.Errorf("hashes lost: %s", got)
	}
}

func TestCheckpointIsANote(t *testing.T) {
	h := newHistory(t, 3)
	cp := h.sign(t)
	v, err := note.NewVerifier(h.key)
	if err != nil {
		t.Fatal(err)
	}
	n, err := note.Open([]byte(cp.Note), note.VerifierList(v))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%s\n3\n%v\n", origin, h.tree.Root()); n.Text != want {
		t.Errorf("got %q, want %q", n.Text, want)
	}
	if len(cp.Short()) != 8 {
		t.Errorf("short root %q", cp.Short())
	}
}

func TestCopiesSurviveATornWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "checkpoints")
	h := newHistory(t, 3)
	first := h.sign(t)
	h.add(t, "s")
	second := h.sign(t)
	if err := auditlog.AppendCopies(path, origin, []string{h.key}, []string{first.Note}); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(second.Note) + 1 {
		if err := os.WriteFile(path, append(bytes.Clone(whole), second.Note[:cut]...), 0o600); err != nil {
			t.Fatal(err)
		}
		got, damaged, err := auditlog.NewestCopy(path, origin, []string{h.key})
		if err != nil || damaged != 0 || got.Size != 3 {
			t.Fatalf("cut at %d: %+v, %d damaged, %v", cut, got, damaged, err)
		}
		if err := auditlog.AppendCopies(path, origin, nil, []string{second.Note}); err != nil {
			t.Fatal(err)
		}
		c, err := auditlog.ReadCopies(path)
		if err != nil || len(c.Keys) != 1 || len(c.Notes) != 2 || c.Torn != 0 || c.Notes[1] != second.Note {
			t.Fatalf("cut at %d, then appended: %+v, %v", cut, c, err)
		}
	}
}

func TestNewestCopyReadsOnlyTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "checkpoints")
	h := newHistory(t, 1)
	var notes []string
	for range 1000 {
		h.add(t, "s")
		notes = append(notes, h.sign(t).Note)
	}
	if err := auditlog.AppendCopies(path, origin, []string{h.key}, notes); err != nil {
		t.Fatal(err)
	}
	got, damaged, err := auditlog.NewestCopy(path, origin, []string{h.key})
	if err != nil || damaged != 0 || got.Size != 1001 {
		t.Errorf("%+v, %d damaged, %v", got, damaged, err)
	}
	h.add(t, "s")
	if err := auditlog.AppendCopies(path, origin, nil, []string{h.sign(t).Note}); err != nil {
		t.Fatal(err)
	}
	c, err := auditlog.ReadCopies(path)
	if err != nil || len(c.Notes) != 1001 || c.Torn != 0 {
		t.Errorf("%d notes, %d torn, %v", len(c.Notes), c.Torn, err)
	}
	other := newHistory(t, 5)
	if _, _, err := auditlog.NewestCopy(path, origin, []string{other.key}); !fault.Is(err, fault.Tampered) {
		t.Errorf("another history's key: %v", err)
	}
}

func verifyExport(t testing.TB, b []byte, c auditlog.Copies) auditlog.Report {
	t.Helper()
	from := ""
	if c.Notes != nil {
		from = "file:checkpoints"
	}
	r, err := auditlog.VerifyExport(bytes.NewReader(b), c, from)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestExportVerifies(t *testing.T) {
	h := newHistory(t, 20)
	h.sign(t)
	for range 13 {
		h.add(t, "s")
	}
	h.sign(t)
	h.add(t, "s")
	b := h.exported(t)
	r := verifyExport(t, b, auditlog.Copies{})
	if !r.OK || r.Exit != 0 || r.DBSize != 34 || r.Proved != 33 || r.Chained != 1 || r.CheckpointSize != 33 || r.CheckpointSource != "export" || len(r.Warnings) != 1 {
		t.Errorf("%+v", r)
	}
	h.notes = nil
	if _, err := auditlog.VerifyExport(bytes.NewReader(h.exported(t)), auditlog.Copies{}, ""); err != nil {
		t.Errorf("without checkpoints, with a key: %v", err)
	}
	h2 := newHistory(t, 3)
	x := h2.export()
	x.Keys = nil
	var out bytes.Buffer
	if _, err := x.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	if _, err := auditlog.VerifyExport(&out, auditlog.Copies{}, ""); !fault.Is(err, fault.Invalid) {
		t.Errorf("without a key: %v", err)
	}
}

func TestExportShowsWhatWasDone(t *testing.T) {
	h := newHistory(t, 20)
	h.sign(t)
	h.add(t, "s")
	copies := auditlog.Copies{Keys: []string{h.key}, Notes: append([]string(nil), h.notes...)}
	b := h.exported(t)
	lines := bytes.SplitAfter(b, []byte("\n"))
	join := func(l ...[]byte) []byte { return bytes.Join(l, nil) }
	entry := func(n int) int { return 2 + n } // after head and checkpoint
	cases := []struct {
		name, code string
		entry      uint64
		export     []byte
	}{
		{"entry edited", auditlog.EntryChanged, 7, bytes.Replace(b, []byte(`"n":7}`), []byte(`"n":8}`), 1)},
		{"newest entry edited", auditlog.EntryChanged, 19, bytes.Replace(b, []byte(`"n":19}`), []byte(`"n":18}`), 1)},
		{"proof edited", auditlog.ProofChanged, 7, join(join(lines[:entry(7)]...), swapProof(lines[entry(7)], lines[entry(6)]), join(lines[entry(8):]...))},
		{"entry taken out", auditlog.EntryMissing, 9, join(join(lines[:entry(9)]...), join(lines[entry(10):]...))},
		{"tail cut", auditlog.TailTruncated, 15, join(join(lines[:entry(15)]...), lines[len(lines)-2])},
		{"line unreadable", auditlog.EntryUnreadable, 4, join(join(lines[:entry(4)]...), []byte("{\n"), join(lines[entry(5):]...))},
		{"line split", auditlog.EntryUnreadable, 4, join(join(lines[:entry(4)]...), lines[entry(4)][:30], []byte("\n"), lines[entry(4)][31:], join(lines[entry(5):]...))},
		{"lines joined", auditlog.EntryUnreadable, 4, join(join(lines[:entry(4)]...), bytes.TrimSpace(lines[entry(4)]), []byte("x"), join(lines[entry(5):]...))},
	}
	for _, c := range cases {
		r := verifyExport(t, c.export, copies)
		if r.OK || r.Exit != 10 || r.Code != c.code || r.Findings[0].Entry == nil || *r.Findings[0].Entry != c.entry || !fault.Is(r.Err(), fault.Tampered) {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
	other := newHistory(t, 20)
	other.sign(t)
	if r := verifyExport(t, other.exported(t), copies); r.OK {
		t.Errorf("history written anew: %+v", r)
	}
	other.signer, other.key, other.notes = h.signer, h.key, nil
	other.leaves[3] = bytes.Replace(other.leaves[3], []byte("ana"), []byte("bob"), 1)
	rehash(t, other)
	other.sign(t)
	r := verifyExport(t, other.exported(t), copies)
	if r.Code != auditlog.CheckpointMismatch {
		t.Errorf("history re-hashed and signed with the same key: %+v", r)
	}
}

// rehash makes chain and tree fit the leaves, as one who rewrites history would.
func rehash(t *testing.T, h *history) {
	t.Helper()
	leaves := h.leaves
	h.tree, h.leaves, h.hashes = auditlog.Tree{}, nil, nil
	for _, l := range leaves {
		e, _, err := auditlog.DecodeLeaf(l)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := auditlog.EncodeLeaf(e, h.tree.Last())
		if err != nil {
			t.Fatal(err)
		}
		var hashes []tlog.Hash
		h.tree, hashes = h.tree.Append(tlog.RecordHash(leaf))
		h.leaves, h.hashes = append(h.leaves, leaf), append(h.hashes, hashes...)
	}
}

func swapProof(line, from []byte) []byte {
	cut := []byte(`"proof":`)
	return append(append(bytes.Clone(line[:bytes.Index(line, cut)]), cut...), from[bytes.Index(from, cut)+len(cut):]...)
}

// TestExportFlips: a byte of an export changed anywhere is named, or every entry is proved intact.
func TestExportFlips(t *testing.T) {
	h := newHistory(t, 20)
	h.sign(t)
	h.add(t, "s")
	copies := auditlog.Copies{Keys: []string{h.key}, Notes: h.notes}
	b := h.exported(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 600 {
		at := rnd.IntN(len(b))
		flipped := bytes.Clone(b)
		flipped[at] ^= byte(1 + rnd.IntN(255))
		r := verifyExport(t, flipped, copies)
		seq := entryAt(b, at)
		switch {
		case r.OK && r.Proved == 20 && r.DBSize == 21:
			if seq >= 0 {
				t.Errorf("byte %d of entry %d changed, and nothing seen", at, seq)
			}
		case r.OK:
			t.Errorf("byte %d: passed with %+v", at, r)
		case seq >= 0:
			if !names(r, uint64(seq)) {
				t.Errorf("byte %d of entry %d changed: %+v", at, seq, r)
			}
		}
	}
}

// entryAt is the entry whose leaf holds the byte, -1 for none.
func entryAt(export []byte, at int) int {
	start := bytes.LastIndexByte(export[:at], '\n') + 1
	line := export[start:]
	line = line[:bytes.IndexByte(line, '\n')]
	var l struct {
		Leaf json.RawMessage
	}
	if json.Unmarshal(line, &l) != nil || l.Leaf == nil {
		return -1
	}
	from := bytes.Index(line, l.Leaf)
	if at-start < from || at-start >= from+len(l.Leaf) {
		return -1
	}
	return bytes.Count(export[:start], []byte("\n")) - 2
}

func names(r auditlog.Report, seq uint64) bool {
	for _, f := range r.Findings {
		if f.Entry != nil && (*f.Entry == seq || f.To != nil && *f.Entry <= seq && seq <= *f.To) {
			return true
		}
	}
	return false
}

func TestFilter(t *testing.T) {
	h := newHistory(t, 1)
	h.add(t, "a\"b")
	leaf := h.leaves[1]
	for name, c := range map[string]struct {
		f    auditlog.Filter
		want bool
	}{
		"all":           {auditlog.Filter{}, true},
		"actor":         {auditlog.Filter{Actor: "local:ana"}, true},
		"part of actor": {auditlog.Filter{Actor: "local"}, false},
		"action":        {auditlog.Filter{Action: "source.create"}, true},
		"noun":          {auditlog.Filter{Action: "source.*"}, true},
		"other noun":    {auditlog.Filter{Action: "sink.*"}, false},
		"escaped":       {auditlog.Filter{Subject: `a"b`}, true},
		"text":          {auditlog.Filter{Text: "<é>"}, true},
		"no text":       {auditlog.Filter{Text: "<e>"}, false},
		"phase":         {auditlog.Filter{Phase: auditlog.Intent}, false},
		"since":         {auditlog.Filter{Since: time.UnixMicro(1764000000000001)}, true},
		"since later":   {auditlog.Filter{Since: time.UnixMicro(1764000000000002)}, false},
		"until":         {auditlog.Filter{Until: time.UnixMicro(1764000000000001)}, false},
	} {
		if _, got := c.f.Match(leaf); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
