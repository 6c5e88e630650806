package decode

import (
	"bytes"
	"strings"

	"freshet/backend/stream"
)

// KeyIs reports whether a record key is the one that a person means: the same bytes, the value of a JSON key's only
// column, or an equal JSON key. Numbers are equal where they are written alike.
func KeyIs(raw []byte, want string) bool {
	if string(raw) == want {
		return true
	}
	// Most keys are told apart before they are decoded: only with escapes, space or another order is what is meant not
	// in them as it is written.
	if len(raw) == 0 || raw[0] != '{' || !bytes.Contains(raw, []byte(want)) && !bytes.ContainsRune(raw, '\\') && !strings.ContainsAny(want, "{\\ ") {
		return false
	}
	v, err := JSON(raw)
	if err != nil {
		return false
	}
	key := Payload(&v)
	if key.Kind != stream.Object {
		return false
	}
	if len(key.Fields) == 1 {
		only := &key.Fields[0].Value
		switch only.Kind {
		case stream.Number, stream.String:
			if only.Text == want {
				return true
			}
		case stream.Bool:
			if (want == "true" || want == "false") && only.Bool == (want == "true") {
				return true
			}
		}
	}
	if !strings.HasPrefix(strings.TrimSpace(want), "{") {
		return false
	}
	w, err := JSON([]byte(want))
	return err == nil && (equal(&w, &v) || equal(&w, key))
}

// equal compares two values, objects without regard to order.
func equal(a, b *stream.Value) bool {
	if a.Kind != b.Kind || a.Text != b.Text || a.Bool != b.Bool || len(a.List) != len(b.List) || len(a.Fields) != len(b.Fields) {
		return false
	}
	for i := range a.List {
		if !equal(&a.List[i], &b.List[i]) {
			return false
		}
	}
	for i := range a.Fields {
		other, ok := b.Get(a.Fields[i].Name)
		if !ok || !equal(&a.Fields[i].Value, other) {
			return false
		}
	}
	return true
}
