package app

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"freshet/backend/api"
	"freshet/backend/decode"
	"freshet/backend/fault"
	"freshet/backend/kafka"
	"freshet/backend/stream"
	"freshet/replay/filter"
)

const (
	// sampled is how many of the newest records tell of a topic's fields.
	sampled = 200
	// What of their fields is told at most.
	fieldsMost, fieldDepth, examplesMost, exampleLength = 500, 8, 5, 100
	// triedOn is how many of the newest records a filter is tried on.
	triedOn = 100
)

// newest reads a topic's newest records.
func (r records) newest(ctx context.Context, cluster, topic string, n int) ([]stream.Record, error) {
	c, err := r.cluster(cluster)
	if err != nil {
		return nil, err
	}
	scan, err := c.Scan(ctx, kafka.ScanRequest{Topic: topic, Backwards: true, Limit: n, MaxTime: 3 * time.Second, MaxBytes: 64 << 20})
	return scan.Records, err
}

// Fields tells what the newest records are made of.
func (r records) Fields(ctx context.Context, cluster, topic string) (api.Fields, error) {
	out := api.Fields{Head: api.Head{V: 1, Kind: "topics.fields"}, Items: []api.Field{}}
	recs, err := r.newest(ctx, cluster, topic, sampled)
	if err != nil {
		return out, err
	}
	out.Records = len(recs)
	seen := fieldSet{byPath: map[string]*seenField{}}
	for i := range recs {
		rec := &recs[i]
		if v, err := decode.JSON(rec.Value); err == nil {
			seen.add("value", "", "value", &v, 0)
		}
		if v, err := decode.JSON(rec.Key); err == nil && v.Kind == stream.Object {
			seen.add("key", "", "key", &v, 0)
		} else if rec.Key != nil {
			seen.scalar("key", "", "key", textKind(rec.Key), string(rec.Key))
		}
		names := map[string]bool{}
		for _, h := range slices.Backward(rec.Headers) {
			if !names[h.Key] && utf8.ValidString(h.Key) {
				names[h.Key] = true
				seen.scalar("header", escapePath(h.Key), "headers["+strconv.Quote(h.Key)+"]", textKind(h.Value), string(h.Value))
			}
		}
	}
	out.Cut = seen.cut
	for _, f := range seen.order {
		f.Type = f.kind()
		f.Examples = f.examples()
		out.Items = append(out.Items, f.Field)
	}
	return out, nil
}

func textKind(b []byte) string {
	switch {
	case b == nil:
		return "null"
	case utf8.Valid(b):
		return "text"
	}
	return "bytes"
}

// fieldSet gathers fields in the order in which they were seen.
type fieldSet struct {
	byPath map[string]*seenField
	order  []*seenField
	cut    bool
}

type seenField struct {
	api.Field
	kinds  map[string]int
	values map[string]int
}

func (s *fieldSet) at(of, path, expression string) *seenField {
	id := of + "\x00" + path
	f := s.byPath[id]
	if f == nil {
		if len(s.order) == fieldsMost {
			s.cut = true
			return nil
		}
		f = &seenField{Field: api.Field{Path: path, Of: of, CEL: expression}, kinds: map[string]int{}, values: map[string]int{}}
		s.byPath[id] = f
		s.order = append(s.order, f)
	}
	return f
}

func (s *fieldSet) scalar(of, path, expression, kind, value string) {
	f := s.at(of, path, expression)
	if f == nil {
		return
	}
	f.Records++
	f.kinds[kind]++
	if kind == "null" || kind == "bytes" {
		return
	}
	if len(value) > exampleLength {
		n := exampleLength
		for !utf8.RuneStart(value[n]) {
			n--
		}
		value = value[:n]
	}
	f.values[value]++
}

// plainName is a name that CEL takes after a dot; its reserved words are not among those that records have.
var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

var reserved = []string{"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop", "namespace", "null", "package", "return", "true", "var", "void", "while"}

// add goes through an object's fields; a list is a field of its own.
func (s *fieldSet) add(of, path, expression string, v *stream.Value, depth int) {
	if v.Kind == stream.Object && depth < fieldDepth {
		if depth > 0 {
			s.scalar(of, path, expression, "object", "")
		}
		for i := range v.Fields {
			f := &v.Fields[i]
			under, sub := escapePath(f.Name), expression+"."+f.Name
			if path != "" {
				under = path + "." + under
			}
			if !plainName.MatchString(f.Name) || slices.Contains(reserved, f.Name) {
				sub = expression + "[" + strconv.Quote(f.Name) + "]"
			}
			s.add(of, under, sub, &f.Value, depth+1)
		}
		return
	}
	text := v.Text
	kind := map[stream.Kind]string{stream.Null: "null", stream.Bool: "boolean", stream.Number: "integer", stream.String: "text", stream.List: "list", stream.Object: "object"}[v.Kind]
	switch {
	case v.Kind == stream.Bool:
		text = strconv.FormatBool(v.Bool)
	case v.Kind == stream.Number && strings.ContainsAny(text, ".eE"):
		kind = "decimal"
	}
	s.scalar(of, path, expression, kind, text)
}

func (f *seenField) kind() string {
	if len(f.kinds) > 1 {
		delete(f.kinds, "null")
	}
	if f.kinds["decimal"] > 0 {
		delete(f.kinds, "integer")
	}
	if len(f.kinds) > 1 {
		return "mixed"
	}
	for k := range f.kinds {
		return k
	}
	return "null"
}

func (f *seenField) examples() []string {
	list := []string{}
	if f.kinds["object"]+f.kinds["list"] > 0 {
		return list
	}
	for v := range f.values {
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b string) int { return cmp.Or(cmp.Compare(f.values[b], f.values[a]), cmp.Compare(a, b)) })
	return list[:min(len(list), examplesMost)]
}

var pathEscapes = strings.NewReplacer(`\`, `\\`, `.`, `\.`, `,`, `\,`)

func escapePath(name string) string { return pathEscapes.Replace(name) }

// splitPath parts s at a mark that has no backslash before it.
func splitPath(s string, mark byte) (parts []string) {
	var part strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			part.WriteByte(s[i])
			i++
			part.WriteByte(s[i])
		case s[i] == mark:
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteByte(s[i])
		}
	}
	return append(parts, part.String())
}

// CheckFilter compiles an expression and, where a topic is named, tries it on the newest records there.
func (r records) CheckFilter(ctx context.Context, spec api.FilterSpec) (api.FilterCheck, error) {
	out := api.FilterCheck{Head: api.Head{V: 1, Kind: "filter.check"}}
	f, err := filter.Compile(spec.Expression, filter.Options{Now: time.Now(), Decode: decode.JSON})
	var at *filter.Mistake
	switch {
	case errors.As(err, &at):
		out.Line, out.Column, out.Reason = at.Line, at.Column, at.Error()
		return out, nil
	case fault.Is(err, fault.Invalid):
		out.Reason = errors.Unwrap(err).Error()
		return out, nil
	case err != nil:
		return out, err
	}
	out.Valid = true
	if spec.Topic == "" {
		return out, nil
	}
	out.Tried = &api.FilterTry{}
	recs, err := r.newest(ctx, spec.Cluster, spec.Topic, triedOn)
	if err != nil {
		out.Tried.Why = api.FromError(err).Message
		return out, nil
	}
	e := f.Evaluator(nil)
	for i := range recs {
		ok, err := e.Match(ctx, &recs[i])
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		out.Tried.Records++
		switch {
		case err != nil:
			out.Tried.Failed++
			out.Tried.Why = cmp.Or(out.Tried.Why, err.Error())
		case ok:
			out.Tried.Matched++
		}
	}
	return out, nil
}
