package auditlog

import (
	"bytes"
	"strings"
	"time"
)

// Filter chooses entries. Empty fields choose all.
type Filter struct {
	Actor   string
	Action  string // "replay.run", or "replay.*" for every verb of it
	Subject string
	Phase   Phase
	Since   time.Time // not before
	Until   time.Time // before
	Text    string    // anywhere in the entry, case matters
	Limit   int       // entries in one Page; 0: 100, at most 1000
	Cursor  string    // Page.Next of the page before
}

// Page is a part of what a Filter chooses, the newest first.
type Page struct {
	Items   []Entry
	Scanned uint64 // entries looked at for this page
	Next    string // "" at the end; a page may be empty and still have one
}

// Match reports whether the filter chooses the entry that leaf encodes.
func (f Filter) Match(leaf []byte) (Entry, bool) {
	for _, part := range []string{f.Actor, f.Subject} {
		// A cheap look before decoding. What JSON would have to escape is left to the comparison below.
		if part != "" && !strings.ContainsAny(part, "\"\\\u2028\u2029") && isPrintable(part) && !bytes.Contains(leaf, []byte(part)) {
			return Entry{}, false
		}
	}
	if f.Text != "" && !bytes.Contains(leaf, []byte(f.Text)) {
		return Entry{}, false
	}
	e, _, err := DecodeLeaf(leaf)
	if err != nil {
		return Entry{}, false
	}
	prefix, any := strings.CutSuffix(f.Action, "*")
	return e, (f.Actor == "" || e.Actor == f.Actor) &&
		(f.Action == "" || e.Action == f.Action || any && strings.HasPrefix(e.Action, prefix)) &&
		(f.Subject == "" || e.Subject == f.Subject) &&
		(f.Phase == "" || e.Phase == f.Phase) &&
		(f.Since.IsZero() || !e.At.Before(f.Since)) &&
		(f.Until.IsZero() || e.At.Before(f.Until))
}

func isPrintable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0
}
