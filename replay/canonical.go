package replay

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Bounds of a plan document.
const (
	maxPlanBytes = 1 << 20
	maxPlanDepth = 32
	maxExact     = 1 << 53 // integers beyond it are not exact everywhere, and are written as strings
)

// node is a value of the JSON subset that plans are written in: objects, arrays, strings, booleans and integers within
// ±2^53. There is no null and no float.
type node struct {
	kind    nodeKind
	text    string // string
	num     int64
	truth   bool
	list    []node
	members []member // sorted by canonical order
}

type nodeKind uint8

const (
	nodeString nodeKind = iota
	nodeInt
	nodeBool
	nodeArray
	nodeObject
)

func (k nodeKind) String() string {
	return [...]string{"a string", "an integer", "a boolean", "an array", "an object"}[k]
}

type member struct {
	name  string
	value node
}

func (n *node) get(name string) *node {
	for i := range n.members {
		if n.members[i].name == name {
			return &n.members[i].value
		}
	}
	return nil
}

// parseNode reads a document of the subset and refuses everything else, naming the place.
func parseNode(b []byte) (node, error) {
	if len(b) > maxPlanBytes {
		return node{}, fmt.Errorf("%d bytes, at most %d are read", len(b), maxPlanBytes)
	}
	if !utf8.Valid(b) {
		return node{}, fmt.Errorf("not UTF-8")
	}
	p := nodeParser{s: string(b)}
	n, err := p.value("", 0)
	if err != nil {
		return node{}, err
	}
	if p.space(); p.i != len(p.s) {
		return node{}, p.fail("", "more after the document")
	}
	return n, nil
}

type nodeParser struct {
	s string
	i int
}

func (p *nodeParser) fail(path, format string, args ...any) error {
	line := 1 + strings.Count(p.s[:p.i], "\n")
	column := 1 + utf8.RuneCountInString(p.s[1+strings.LastIndexByte(p.s[:p.i], '\n'):p.i])
	if path == "" {
		path = "the document"
	}
	return fmt.Errorf("%s (line %d, column %d): %s", path, line, column, fmt.Sprintf(format, args...))
}

func (p *nodeParser) space() {
	for p.i < len(p.s) && strings.IndexByte(" \t\r\n", p.s[p.i]) >= 0 {
		p.i++
	}
}

func (p *nodeParser) eat(c byte) bool {
	if p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return false
}

func (p *nodeParser) value(path string, depth int) (node, error) {
	p.space()
	if p.i >= len(p.s) {
		return node{}, p.fail(path, "unexpected end")
	}
	if depth > maxPlanDepth {
		return node{}, p.fail(path, "nested more than %d deep", maxPlanDepth)
	}
	switch c := p.s[p.i]; {
	case c == '{':
		return p.object(path, depth)
	case c == '[':
		return p.array(path, depth)
	case c == '"':
		s, err := p.str(path)
		return node{kind: nodeString, text: s}, err
	case c == '-' || c >= '0' && c <= '9':
		return p.integer(path)
	}
	for _, word := range []string{"true", "false"} {
		if strings.HasPrefix(p.s[p.i:], word) {
			p.i += len(word)
			return node{kind: nodeBool, truth: word == "true"}, nil
		}
	}
	if strings.HasPrefix(p.s[p.i:], "null") {
		return node{}, p.fail(path, "null: a plan leaves out what it does not say")
	}
	return node{}, p.fail(path, "unexpected character %q", p.s[p.i])
}

func (p *nodeParser) object(path string, depth int) (node, error) {
	p.i++
	n := node{kind: nodeObject}
	for p.space(); !p.eat('}'); p.space() {
		if len(n.members) > 0 && !p.eat(',') {
			return node{}, p.fail(path, "a comma or } is missing")
		}
		p.space()
		if p.i >= len(p.s) || p.s[p.i] != '"' {
			return node{}, p.fail(path, "a member's name is missing")
		}
		at := p.i
		name, err := p.str(path)
		if err != nil {
			return node{}, err
		}
		within := join(path, name)
		i, found := slices.BinarySearchFunc(n.members, name, func(m member, name string) int { return compareUTF16(m.name, name) })
		if found {
			p.i = at
			return node{}, p.fail(within, "named twice")
		}
		if p.space(); !p.eat(':') {
			return node{}, p.fail(within, "a colon is missing")
		}
		v, err := p.value(within, depth+1)
		if err != nil {
			return node{}, err
		}
		n.members = slices.Insert(n.members, i, member{name, v})
	}
	return n, nil
}

func (p *nodeParser) array(path string, depth int) (node, error) {
	p.i++
	n := node{kind: nodeArray}
	for p.space(); !p.eat(']'); p.space() {
		if len(n.list) > 0 && !p.eat(',') {
			return node{}, p.fail(path, "a comma or ] is missing")
		}
		v, err := p.value(path+"["+strconv.Itoa(len(n.list))+"]", depth+1)
		if err != nil {
			return node{}, err
		}
		n.list = append(n.list, v)
	}
	return n, nil
}

func (p *nodeParser) integer(path string) (node, error) {
	start := p.i
	for p.i < len(p.s) && strings.IndexByte("+-.eE0123456789", p.s[p.i]) >= 0 {
		p.i++
	}
	text := p.s[start:p.i]
	v, err := parseInt64(text)
	if err != nil || v > maxExact || v < -maxExact {
		p.i = start
		if strings.ContainsAny(text, ".eE") {
			return node{}, p.fail(path, "%s: a plan has no fractions", text)
		}
		return node{}, p.fail(path, "%s: no integer within ±2^53; a 64-bit number is written as a string", text)
	}
	return node{kind: nodeInt, num: v}, nil
}

// parseInt64 reads a decimal in its one form: no plus, no leading zero, no -0.
func parseInt64(s string) (int64, error) {
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil || strconv.FormatInt(v, 10) != s {
		return 0, fmt.Errorf("%q is no decimal integer", s)
	}
	return v, nil
}

func (p *nodeParser) str(path string) (string, error) {
	start := p.i
	for p.i++; p.i < len(p.s); p.i++ {
		switch c := p.s[p.i]; {
		case c == '\\':
			p.i++
		case c < ' ':
			return "", p.fail(path, "a control character in a string")
		case c == '"':
			p.i++
			raw := p.s[start:p.i]
			var s string
			if err := json.Unmarshal([]byte(raw), &s); err != nil {
				p.i = start
				return "", p.fail(path, "malformed string")
			}
			if halfPair(raw) { // encoding/json puts U+FFFD for it
				p.i = start
				return "", p.fail(path, "half a surrogate pair")
			}
			return s, nil
		}
	}
	p.i = start
	return "", p.fail(path, "the string does not end")
}

// halfPair reports whether an escape of a JSON string that is valid otherwise stands for half a surrogate pair.
func halfPair(raw string) bool {
	unit := func(i int) rune {
		if i+6 > len(raw) || raw[i] != '\\' || raw[i+1] != 'u' {
			return 0
		}
		v, _ := strconv.ParseUint(raw[i+2:i+6], 16, 16)
		return rune(v)
	}
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		if u := unit(i); utf16.IsSurrogate(u) {
			if utf16.DecodeRune(u, unit(i+6)) == utf8.RuneError {
				return true
			}
			i += 6
		}
		i++
	}
	return false
}

// compareUTF16 orders names as RFC 8785 does, by UTF-16 code units.
func compareUTF16(a, b string) int {
	return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// append writes the canonical form of RFC 8785.
func (n *node) append(b []byte) []byte {
	switch n.kind {
	case nodeString:
		return appendString(b, n.text)
	case nodeInt:
		return strconv.AppendInt(b, n.num, 10)
	case nodeBool:
		return strconv.AppendBool(b, n.truth)
	case nodeArray:
		b = append(b, '[')
		for i := range n.list {
			if i > 0 {
				b = append(b, ',')
			}
			b = n.list[i].append(b)
		}
		return append(b, ']')
	}
	b = append(b, '{')
	for i := range n.members {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, n.members[i].name)
		b = append(b, ':')
		b = n.members[i].value.append(b)
	}
	return append(b, '}')
}

func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= ' ':
			b = append(b, c)
		case c == '\b':
			b = append(b, `\b`...)
		case c == '\t':
			b = append(b, `\t`...)
		case c == '\n':
			b = append(b, `\n`...)
		case c == '\f':
			b = append(b, `\f`...)
		case c == '\r':
			b = append(b, `\r`...)
		default:
			b = fmt.Appendf(b, `\u%04x`, c)
		}
	}
	return append(b, '"')
}

// bind fills into from n. A field without omitempty must be there; a member without a field is refused; a 64-bit number
// whose tag says string is a decimal string.
func bind(n *node, into reflect.Value, path string, asString bool) error {
	want := func(k nodeKind) error {
		if n.kind == k {
			return nil
		}
		return fmt.Errorf("%s: %s, not %s", orDocument(path), n.kind, k)
	}
	switch into.Kind() {
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		return bind(n, into.Elem(), path, asString)
	case reflect.String:
		into.SetString(n.text)
		return want(nodeString)
	case reflect.Bool:
		into.SetBool(n.truth)
		return want(nodeBool)
	case reflect.Int32, reflect.Int64:
		v := n.num
		if asString {
			if err := want(nodeString); err != nil {
				return err
			}
			var err error
			if v, err = parseInt64(n.text); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		} else if err := want(nodeInt); err != nil {
			return err
		}
		if into.OverflowInt(v) {
			return fmt.Errorf("%s: %d does not fit", path, v)
		}
		into.SetInt(v)
		return nil
	case reflect.Slice:
		if err := want(nodeArray); err != nil {
			return err
		}
		into.Set(reflect.MakeSlice(into.Type(), len(n.list), len(n.list)))
		for i := range n.list {
			if err := bind(&n.list[i], into.Index(i), path+"["+strconv.Itoa(i)+"]", false); err != nil {
				return err
			}
		}
		return nil
	case reflect.Map: // of strings
		if err := want(nodeObject); err != nil {
			return err
		}
		into.Set(reflect.MakeMapWithSize(into.Type(), len(n.members)))
		for i := range n.members {
			v := reflect.New(into.Type().Elem()).Elem()
			if err := bind(&n.members[i].value, v, join(path, n.members[i].name), false); err != nil {
				return err
			}
			into.SetMapIndex(reflect.ValueOf(n.members[i].name), v)
		}
		return nil
	case reflect.Struct:
		if err := want(nodeObject); err != nil {
			return err
		}
		return bindStruct(n, into, path)
	}
	panic("replay: no binding for " + into.Type().String())
}

func bindStruct(n *node, into reflect.Value, path string) error {
	known := 0
	for i := range into.NumField() {
		tag := strings.Split(into.Type().Field(i).Tag.Get("json"), ",")
		v := n.get(tag[0])
		if v == nil {
			if !slices.Contains(tag[1:], "omitempty") {
				return fmt.Errorf("%s: missing", join(path, tag[0]))
			}
			continue
		}
		known++
		if err := bind(v, into.Field(i), join(path, tag[0]), slices.Contains(tag[1:], "string")); err != nil {
			return err
		}
	}
	if known == len(n.members) {
		return nil
	}
	for _, m := range n.members {
		if !hasField(into.Type(), m.name) {
			return fmt.Errorf("%s: unknown", join(path, m.name))
		}
	}
	return nil
}

func hasField(t reflect.Type, name string) bool {
	for i := range t.NumField() {
		tag, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if tag == name {
			return true
		}
	}
	return false
}

func orDocument(path string) string {
	if path == "" {
		return "the document"
	}
	return path
}
