package auditlog_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"freshet/backend/auditlog"
)

// fuzzHistory is the same in every process that fuzzes: its key, of no use to anybody, does not change.
func fuzzHistory(f *testing.F, entries int) *history {
	return historyOf(f, "PRIVATE+KEY+freshet/test+4a445a31+AY6kwtpowuvjXWeZrLNCOOxdvYuBV6N0CQ+Cr7tcb1QR",
		"freshet/test+4a445a31+AXwgGFofDJL9OQCta5yJ8FfYE1BfDoS62iDIOwSDm404", entries)
}

// FuzzDecodeLeaf: what is taken for a leaf is encoded again to the same bytes.
func FuzzDecodeLeaf(f *testing.F) {
	h := fuzzHistory(f, 3)
	for _, l := range h.leaves {
		f.Add([]byte(l))
	}
	f.Add([]byte(`{"action":"a","actor":"b","at":"2026-11-24T08:00:00.000120Z","phase":"note","prev":"","seq":0,"subject":"","v":1}`))
	f.Fuzz(func(t *testing.T, leaf []byte) {
		e, prev, err := auditlog.DecodeLeaf(leaf)
		if err != nil {
			return
		}
		again, err := auditlog.EncodeLeaf(e, prev)
		if err != nil || !bytes.Equal(again, leaf) {
			t.Fatalf("%q became %q, %v", leaf, again, err)
		}
	})
}

// FuzzEncodeLeaf: what is encoded can be decoded, whatever the texts hold.
func FuzzEncodeLeaf(f *testing.F) {
	f.Add("local:ana", "a.b", "x\x00\xff\u2028", `{"a":[1,{"b":"<"}]}`)
	f.Add("a", "b", "", ``)
	f.Fuzz(func(t *testing.T, actor, action, subject, detail string) {
		e := auditlog.Entry{Actor: actor, Action: action, Phase: auditlog.Intent, Subject: subject, Detail: json.RawMessage(detail)}
		leaf, err := auditlog.EncodeLeaf(e, someHash)
		if err != nil {
			return
		}
		if bytes.ContainsAny(leaf, "\n\r\x00") {
			t.Fatalf("not one line: %q", leaf)
		}
		if _, prev, err := auditlog.DecodeLeaf(leaf); err != nil || prev != someHash {
			t.Fatalf("%q: %v", leaf, err)
		}
	})
}

// FuzzVerifyExport: any bytes give a report or an error, and only what was exported, a prefix of white space aside,
// is proved.
func FuzzVerifyExport(f *testing.F) {
	h := fuzzHistory(f, 5)
	h.sign(f)
	h.add(f, "s")
	good := h.exported(f)
	copies := auditlog.Copies{Keys: []string{h.key}, Notes: h.notes}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte("{}\n{}\n{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := auditlog.VerifyExport(bytes.NewReader(b), copies, "file:x")
		if err == nil && r.OK && (r.Proved != 5 || r.DBSize < 5) {
			t.Fatalf("passed with %+v", r)
		}
		auditlog.IsExport(b)
	})
}

// FuzzParseCopies: what is written is read back, whatever stands before it; and nothing but whole notes is returned.
func FuzzParseCopies(f *testing.F) {
	h := fuzzHistory(f, 2)
	cp := h.sign(f)
	f.Add([]byte("# key " + h.key + "\n" + cp.Note + "\n" + cp.Note))
	f.Add([]byte("\n\n\n\n#\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := auditlog.ParseCopies(b)
		if c.Torn > len(b) || c.Torn < 0 {
			t.Fatalf("%d of %d bytes torn", c.Torn, len(b))
		}
		whole := bytes.Clone(b[:len(b)-c.Torn])
		again := auditlog.ParseCopies(append(whole, cp.Note+"\n"...))
		if again.Torn != 0 || len(again.Notes) != len(c.Notes)+1 || again.Notes[len(c.Notes)] != cp.Note {
			t.Fatalf("after %d bytes: %+v", len(whole), again)
		}
		auditlog.Newest(again.Notes, origin, append(again.Keys, h.key))
	})
}

var someHash = tlog.RecordHash([]byte("before"))
