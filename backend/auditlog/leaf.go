package auditlog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"freshet/backend/fault"
)

// MaxLeaf bounds one leaf, in bytes.
const MaxLeaf = 64 << 10

// maxDepth bounds how deep a detail may nest.
const maxDepth = 32

// timeFormat is how a leaf writes its time: RFC 3339, UTC, microseconds.
const timeFormat = "2006-01-02T15:04:05.000000Z"

// leafJSON is a leaf as it is stored. Its fields stand in the order of their names, so that the text is canonical.
type leafJSON struct {
	Action  string          `json:"action"`
	Actor   string          `json:"actor"`
	At      string          `json:"at"`
	Detail  json.RawMessage `json:"detail,omitempty"`
	Outcome string          `json:"outcome,omitempty"`
	Phase   Phase           `json:"phase"`
	Prev    string          `json:"prev"`
	Ref     *uint64         `json:"ref,omitempty"`
	Seq     uint64          `json:"seq"`
	Subject string          `json:"subject"`
	V       int             `json:"v"`
}

// EncodeLeaf gives the one line of canonical JSON that is stored and hashed for e: keys sorted, no spaces, nothing
// escaped that need not be. prev is the hash of the leaf before it, zero for the first.
func EncodeLeaf(e Entry, prev tlog.Hash) ([]byte, error) {
	if err := e.validate(); err != nil {
		return nil, err
	}
	detail, err := canonicalObject(e.Detail)
	if err != nil {
		return nil, refuse("detail: %w", err)
	}
	leaf, err := encode(leafJSON{clean(e.Action), clean(e.Actor), e.At.UTC().Format(timeFormat), detail, clean(e.Outcome),
		e.Phase, prev.String(), e.Ref, e.Seq, clean(e.Subject), 1})
	if err != nil {
		return nil, refuse("%w", err)
	}
	if len(leaf) > MaxLeaf {
		return nil, refuse("%d bytes, at most %d are kept", len(leaf), MaxLeaf)
	}
	return leaf, nil
}

// DecodeLeaf reads a leaf back. It accepts only what EncodeLeaf writes, byte for byte.
func DecodeLeaf(leaf []byte) (Entry, tlog.Hash, error) {
	var zero tlog.Hash
	if len(leaf) > MaxLeaf {
		return Entry{}, zero, fmt.Errorf("leaf of %d bytes, at most %d", len(leaf), MaxLeaf)
	}
	d := json.NewDecoder(bytes.NewReader(leaf))
	d.DisallowUnknownFields()
	var l leafJSON
	if err := d.Decode(&l); err != nil {
		return Entry{}, zero, fmt.Errorf("leaf: %w", err)
	}
	if l.V != 1 {
		return Entry{}, zero, fmt.Errorf("leaf of version %d", l.V)
	}
	at, err := time.Parse(timeFormat, l.At)
	if err != nil {
		return Entry{}, zero, fmt.Errorf("leaf: at: %w", err)
	}
	prev, err := tlog.ParseHash(l.Prev)
	if err != nil {
		return Entry{}, zero, fmt.Errorf("leaf: prev: %w", err)
	}
	e := Entry{Seq: l.Seq, At: at, Actor: l.Actor, Action: l.Action, Phase: l.Phase, Ref: l.Ref, Subject: l.Subject,
		Outcome: l.Outcome, Detail: l.Detail}
	again, err := EncodeLeaf(e, prev)
	if err != nil {
		return Entry{}, zero, fmt.Errorf("leaf: %w", err)
	}
	if !bytes.Equal(again, leaf) {
		return Entry{}, zero, fmt.Errorf("leaf is not canonical")
	}
	return e, prev, nil
}

func (e Entry) validate() error {
	switch e.Phase {
	case Intent, Note:
		if e.Ref != nil || e.Outcome != "" {
			return refuse("a %s has neither ref nor outcome", e.Phase)
		}
	case Result:
		if e.Ref == nil || *e.Ref >= e.Seq {
			return refuse("a result names the earlier entry it closes")
		}
		if e.Outcome == "" {
			return refuse("a result has an outcome")
		}
	default:
		return refuse("unknown phase %q", e.Phase)
	}
	if e.Actor == "" || e.Action == "" {
		return refuse("an entry says who and what")
	}
	return nil
}

func refuse(format string, args ...any) error {
	return fault.New(fault.Invalid, "record in the audit history", "", format, args...)
}

// canonicalObject sorts the keys of a JSON object and takes its spaces out. Numbers keep their text.
func canonicalObject(raw json.RawMessage) (json.RawMessage, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	if len(raw) > MaxLeaf {
		return nil, fmt.Errorf("%d bytes, at most %d are kept", len(raw), MaxLeaf)
	}
	if err := checkDepth(raw); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("more than one JSON value")
	}
	if m == nil {
		return nil, fmt.Errorf("null is not a JSON object")
	}
	return encode(m)
}

// checkDepth counts brackets outside strings, before anything recurses into them.
func checkDepth(raw []byte) error {
	depth, inString := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return fmt.Errorf("nested more than %d deep", maxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// encode marshals without escaping <, > and &.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// clean replaces what JSON cannot carry: names may come from hostile input.
func clean(s string) string { return strings.ToValidUTF8(s, "\ufffd") }
