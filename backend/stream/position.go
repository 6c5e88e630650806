package stream

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// PositionHeader is the record header that carries a captured change's Position in its text form.
const PositionHeader = "freshet.position"

// CommitTimeHeader is the record header that carries the source's commit time, microseconds since 1970 in decimal.
const CommitTimeHeader = "freshet.commit_us"

// Position is where a change stands in its source. Positions of one Source are ordered by (Commit, Ordinal); across
// Sources they do not compare.
//
// For PostgreSQL, Source names the slot's identity (system identifier, slot name and the LSN at which the slot became
// consistent: a slot made anew is another Source), Commit is the commit LSN of the transaction and Ordinal grows over
// its changes from 0, with gaps. The rows of a first snapshot have the consistent point as Commit and count on over all tables.
type Position struct {
	Source  string // without '@'
	Commit  uint64
	Ordinal uint64
}

// IsZero reports whether p is no position at all.
func (p Position) IsZero() bool { return p == Position{} }

// Compare orders positions of one source; ok is false when the sources differ.
func (p Position) Compare(q Position) (order int, ok bool) {
	if p.Source != q.Source {
		return 0, false
	}
	return cmp.Or(cmp.Compare(p.Commit, q.Commit), cmp.Compare(p.Ordinal, q.Ordinal)), true
}

// String gives SOURCE@COMMIT.ORDINAL, numbers in hexadecimal; ParsePosition reads it back.
func (p Position) String() string { return string(p.Append(nil)) }

// Append appends the text form to b.
func (p Position) Append(b []byte) []byte {
	b = append(b, p.Source...)
	b = append(b, '@')
	b = strconv.AppendUint(b, p.Commit, 16)
	b = append(b, '.')
	return strconv.AppendUint(b, p.Ordinal, 16)
}

// ParsePosition reads the text form.
func ParsePosition(s string) (Position, error) {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return Position{}, fmt.Errorf("position %q: no @", s)
	}
	commit, ordinal, ok := strings.Cut(s[at+1:], ".")
	if !ok {
		return Position{}, fmt.Errorf("position %q: no ordinal", s)
	}
	p := Position{Source: s[:at]}
	var err error
	if p.Commit, err = strconv.ParseUint(commit, 16, 64); err != nil {
		return Position{}, fmt.Errorf("position %q: commit: %w", s, err)
	}
	if p.Ordinal, err = strconv.ParseUint(ordinal, 16, 64); err != nil {
		return Position{}, fmt.Errorf("position %q: ordinal: %w", s, err)
	}
	return p, nil
}
