// Package decode turns a record's bytes into a Value, and a Value into a Change where it is the envelope of one. Start
// at JSON and Debezium.
//
// It is an engine: it imports the words and opens nothing. Everything it reads is hostile: depth, size and count of
// what one record may hold are bounded. All functions may be called concurrently.
package decode

import (
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"freshet/backend/fault"
	"freshet/backend/stream"
)

// Bounds of one decoded record. A document beyond them is refused with fault.Invalid.
const (
	MaxDepth  = 128      // lists and objects within one another
	MaxSize   = 64 << 20 // bytes of the document
	MaxValues = 1 << 20  // values of the document, names not counted; each takes about 100 bytes of memory
)

// JSON reads one JSON document (RFC 8259) without loss: a number keeps its text, an object its order and repeated names.
//
// What cannot be kept is refused rather than replaced: bytes that are no UTF-8, an escaped surrogate without its other
// half, anything after the document. The Value does not refer to b.
func JSON(b []byte) (stream.Value, error) {
	if len(b) > MaxSize {
		return stream.Value{}, fault.New(fault.Invalid, "read JSON", "", "%d bytes, more than %d", len(b), MaxSize)
	}
	if !utf8.Valid(b) {
		return stream.Value{}, fault.New(fault.Invalid, "read JSON", "", "not UTF-8")
	}
	p := parser{s: string(b)}
	p.space()
	v, ok := p.value(0)
	if ok {
		p.space()
		if p.i == len(p.s) {
			return v, nil
		}
		p.fail("more after the document")
	}
	return stream.Value{}, fault.New(fault.Invalid, "read JSON", "", "%s at byte %d", p.why, p.i)
}

type parser struct {
	s      string
	i      int
	why    string // of the failure, with i where it is
	values int
	// fields and list are stacks: the members of the objects and lists that are still open, the innermost last.
	fields  []stream.Field
	list    []stream.Value
	scratch []byte // a string while its escapes are read
}

func (p *parser) fail(why string) (stream.Value, bool) {
	p.why = why
	return stream.Value{}, false
}

func (p *parser) space() {
	for p.i < len(p.s) {
		switch p.s[p.i] {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return
		}
	}
}

func (p *parser) value(depth int) (stream.Value, bool) {
	if p.i >= len(p.s) {
		return p.fail("unexpected end")
	}
	if p.values++; p.values > MaxValues {
		return p.fail("too many values")
	}
	switch c := p.s[p.i]; c {
	case '"':
		s, ok := p.text()
		return stream.Value{Kind: stream.String, Text: s}, ok
	case '{', '[':
		if depth == MaxDepth {
			return p.fail("nested too deep")
		}
		p.i++
		if c == '{' {
			return p.object(depth + 1)
		}
		return p.array(depth + 1)
	case 't':
		return p.word("true", stream.Value{Kind: stream.Bool, Bool: true})
	case 'f':
		return p.word("false", stream.Value{Kind: stream.Bool})
	case 'n':
		return p.word("null", stream.Value{})
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return p.number()
	}
	return p.fail("unexpected character")
}

func (p *parser) word(w string, v stream.Value) (stream.Value, bool) {
	if !strings.HasPrefix(p.s[p.i:], w) {
		return p.fail("unexpected character")
	}
	p.i += len(w)
	return v, true
}

func (p *parser) object(depth int) (stream.Value, bool) {
	base := len(p.fields)
	p.space()
	if p.i < len(p.s) && p.s[p.i] == '}' {
		p.i++
		return stream.Value{Kind: stream.Object, Fields: []stream.Field{}}, true
	}
	for {
		if p.i >= len(p.s) || p.s[p.i] != '"' {
			return p.fail("no member name")
		}
		name, ok := p.text()
		if !ok {
			return stream.Value{}, false
		}
		p.space()
		if p.i >= len(p.s) || p.s[p.i] != ':' {
			return p.fail("no colon")
		}
		p.i++
		p.space()
		v, ok := p.value(depth)
		if !ok {
			return stream.Value{}, false
		}
		if p.fields == nil {
			p.fields = make([]stream.Field, 0, 32)
		}
		p.fields = append(p.fields, stream.Field{Name: name, Value: v})
		more, ok := p.more('}')
		if !ok {
			return stream.Value{}, false
		}
		if !more {
			fields := make([]stream.Field, len(p.fields)-base)
			copy(fields, p.fields[base:])
			p.fields = p.fields[:base]
			return stream.Value{Kind: stream.Object, Fields: fields}, true
		}
	}
}

func (p *parser) array(depth int) (stream.Value, bool) {
	base := len(p.list)
	p.space()
	if p.i < len(p.s) && p.s[p.i] == ']' {
		p.i++
		return stream.Value{Kind: stream.List, List: []stream.Value{}}, true
	}
	for {
		v, ok := p.value(depth)
		if !ok {
			return stream.Value{}, false
		}
		if p.list == nil {
			p.list = make([]stream.Value, 0, 8)
		}
		p.list = append(p.list, v)
		more, ok := p.more(']')
		if !ok {
			return stream.Value{}, false
		}
		if !more {
			list := make([]stream.Value, len(p.list)-base)
			copy(list, p.list[base:])
			p.list = p.list[:base]
			return stream.Value{Kind: stream.List, List: list}, true
		}
	}
}

// more reads what stands after a member: a comma and the space before the next one, or the end.
func (p *parser) more(end byte) (more, ok bool) {
	p.space()
	if p.i >= len(p.s) {
		p.why = "unexpected end"
		return false, false
	}
	c := p.s[p.i]
	if c != ',' && c != end {
		p.why = "no comma"
		return false, false
	}
	p.i++
	if c == ',' {
		p.space()
	}
	return c == ',', true
}

func (p *parser) number() (stream.Value, bool) {
	start := p.i
	if p.s[p.i] == '-' {
		p.i++
	}
	zero := p.i < len(p.s) && p.s[p.i] == '0'
	n := p.digits()
	if n == 0 || zero && n > 1 {
		return p.fail("malformed number")
	}
	if p.i < len(p.s) && p.s[p.i] == '.' {
		p.i++
		if p.digits() == 0 {
			return p.fail("malformed number")
		}
	}
	if p.i < len(p.s) && p.s[p.i]|0x20 == 'e' {
		p.i++
		if p.i < len(p.s) && (p.s[p.i] == '+' || p.s[p.i] == '-') {
			p.i++
		}
		if p.digits() == 0 {
			return p.fail("malformed number")
		}
	}
	return stream.Value{Kind: stream.Number, Text: p.s[start:p.i]}, true
}

func (p *parser) digits() int {
	start := p.i
	for p.i < len(p.s) && '0' <= p.s[p.i] && p.s[p.i] <= '9' {
		p.i++
	}
	return p.i - start
}

// text reads a string that starts at the quote under p.i.
func (p *parser) text() (string, bool) {
	p.i++
	start := p.i
	for p.i < len(p.s) {
		switch c := p.s[p.i]; {
		case c == '"':
			p.i++
			return p.s[start : p.i-1], true
		case c == '\\':
			return p.escaped(start)
		case c < ' ':
			p.why = "control character in a string"
			return "", false
		}
		p.i++
	}
	p.why = "unexpected end"
	return "", false
}

// escaped reads on from the first backslash of a string whose text starts at start.
func (p *parser) escaped(start int) (string, bool) {
	if p.scratch == nil {
		p.scratch = make([]byte, 0, 128)
	}
	b := p.scratch[:0]
	for p.i < len(p.s) {
		switch c := p.s[p.i]; {
		case c == '"':
			b = append(b, p.s[start:p.i]...)
			p.i++
			p.scratch = b
			return string(b), true
		case c < ' ':
			p.why = "control character in a string"
			return "", false
		case c != '\\':
			p.i++
			continue
		}
		b = append(b, p.s[start:p.i]...)
		p.i++
		if p.i >= len(p.s) {
			break
		}
		c := p.s[p.i]
		p.i++
		switch c {
		case '"', '\\', '/':
			b = append(b, c)
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r, ok := p.hex4()
			if !ok {
				return "", false
			}
			if utf16.IsSurrogate(r) {
				var low rune
				if strings.HasPrefix(p.s[p.i:], `\u`) {
					p.i += 2
					if low, ok = p.hex4(); !ok {
						return "", false
					}
				}
				if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
					p.why = "half a surrogate pair"
					return "", false
				}
			}
			b = utf8.AppendRune(b, r)
		default:
			p.why = "unknown escape"
			return "", false
		}
		start = p.i
	}
	p.why = "unexpected end"
	return "", false
}

func (p *parser) hex4() (rune, bool) {
	if len(p.s)-p.i < 4 {
		p.why = "unexpected end"
		return 0, false
	}
	var r rune
	for range 4 {
		c := p.s[p.i]
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			p.why = "malformed escape"
			return 0, false
		}
		r = r<<4 | rune(c)
		p.i++
	}
	return r, true
}

// AppendJSON appends v as JSON without spaces: what JSON reads back, but for Bytes, which become base64. A Number's text
// is written as it is.
func AppendJSON(b []byte, v *stream.Value) []byte {
	switch v.Kind {
	case stream.Bool:
		return strconv.AppendBool(b, v.Bool)
	case stream.Number:
		return append(b, v.Text...)
	case stream.String:
		return appendText(b, v.Text)
	case stream.Bytes:
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, v.Bytes)
		return append(b, '"')
	case stream.List:
		b = append(b, '[')
		for i := range v.List {
			if i > 0 {
				b = append(b, ',')
			}
			b = AppendJSON(b, &v.List[i])
		}
		return append(b, ']')
	case stream.Object:
		b = append(b, '{')
		for i := range v.Fields {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendText(b, v.Fields[i].Name)
			b = append(b, ':')
			b = AppendJSON(b, &v.Fields[i].Value)
		}
		return append(b, '}')
	}
	return append(b, "null"...)
}

const hexDigits = "0123456789abcdef"

func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}
