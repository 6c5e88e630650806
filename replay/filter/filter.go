// Package filter selects records by an expression in CEL, the Common Expression Language. Start at Compile.
//
// It is an engine: it imports the words and cel-go. Expressions come from people and records from anywhere, so that each
// evaluation is bounded in cost and in time, and what fails says in which class of failure it fell, never with what the
// record held.
//
// The semantics are named cel/1 in plans: CEL's standard library with optional values, comparisons across number types,
// and the variables
//
//	key        the record key: an object where it is a JSON object, else text; bytes where it is not UTF-8; null
//	key_bytes  the record key as it is; null
//	value      the decoded value; null for a tombstone
//	headers    the last header of each name: text; bytes where it is not UTF-8; null
//	topic, partition, offset, timestamp
//	now        the moment that the plan was frozen
//
// Decoded integers are exact: int where they fit 64 bits, uint where they fit those, and an evaluation that touches a
// larger one fails. Decimals are doubles, the nearest to what was written; compare money in its smallest unit.
package filter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"

	"freshet/backend/fault"
	"freshet/backend/stream"
)

// Bounds of an expression.
const (
	DefaultCostLimit = 100_000
	DefaultTimeout   = 100 * time.Millisecond
	maxSource        = 64 << 10
	maxDepth         = 64
)

// Decoder decodes a record's value or key. It bounds what it reads.
type Decoder func(b []byte) (stream.Value, error)

// Options bounds the evaluation of one record.
type Options struct {
	CostLimit uint64        // in CEL's units; 0: DefaultCostLimit
	Timeout   time.Duration // 0: DefaultTimeout
	Now       time.Time     // what the variable now is
	Decode    Decoder       // of keys and, where an Evaluator is given none of its own, values
}

// Filter is a compiled expression. It may be used from any goroutine.
type Filter struct {
	source  string
	program cel.Program
	uses    []string
	loops   bool // it has comprehensions, and so can take time
	options Options
}

// Compile compiles an expression. An error is fault.Invalid and names line and column.
func Compile(source string, o Options) (*Filter, error) {
	if o.CostLimit == 0 {
		o.CostLimit = DefaultCostLimit
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if len(source) > maxSource {
		return nil, invalid("%d bytes, at most %d are read", len(source), maxSource)
	}
	env, err := cel.NewEnv(
		cel.Variable("key", cel.DynType),
		cel.Variable("key_bytes", cel.DynType),
		cel.Variable("value", cel.DynType),
		cel.Variable("headers", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("topic", cel.StringType),
		cel.Variable("partition", cel.IntType),
		cel.Variable("offset", cel.IntType),
		cel.Variable("timestamp", cel.TimestampType),
		cel.Variable("now", cel.TimestampType),
		cel.OptionalTypes(cel.OptionalTypesVersion(1)),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserRecursionLimit(maxDepth),
	)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "make the filter's environment", err, "")
	}
	checked, issues := env.Compile(source)
	if issues.Err() != nil {
		return nil, compileError(issues)
	}
	if t := checked.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, invalid("the expression gives %s, not true or false", t)
	}
	root := ast.NavigateAST(checked.NativeRep())
	loops := len(ast.MatchDescendants(root, ast.KindMatcher(ast.ComprehensionKind))) > 0
	opts := []cel.ProgramOption{cel.CostLimit(o.CostLimit), cel.EvalOptions(cel.OptOptimize)}
	if loops {
		opts = append(opts, cel.InterruptCheckFrequency(100))
	}
	program, err := env.Program(checked, opts...)
	if err != nil {
		return nil, invalid("%w", err)
	}
	f := &Filter{source: source, program: program, loops: loops, options: o}
	for _, id := range ast.MatchDescendants(root, ast.KindMatcher(ast.IdentKind)) {
		f.uses = append(f.uses, id.AsIdent())
	}
	return f, nil
}

// Mistake is in the chain of the error of an expression that does not compile: where the first one is, from 1, and what
// all of them are.
type Mistake struct {
	Line, Column int
	text         string
}

func (m *Mistake) Error() string { return m.text }

func compileError(issues *cel.Issues) error {
	var b strings.Builder
	var first Mistake
	for i, e := range issues.Errors() {
		if i == 3 {
			fmt.Fprintf(&b, "; and %d more", len(issues.Errors())-i)
			break
		}
		line, column := max(1, e.Location.Line()), e.Location.Column()+1
		if i == 0 {
			first.Line, first.Column = line, column
		} else {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "line %d, column %d: %s", line, column, e.Message)
	}
	first.text = b.String()
	return invalid("%w", &first)
}

func invalid(format string, args ...any) error {
	e := fault.New(fault.Invalid, "compile the filter", "correct the expression", format, args...)
	e.Code = "FILTER_INVALID"
	return e
}

// Source is the expression's text.
func (f *Filter) Source() string { return f.source }

// NeedsValue reports whether the expression looks at the decoded value.
func (f *Filter) NeedsValue() bool { return slices.Contains(f.uses, "value") }

// Class says how an evaluation failed.
type Class string

const (
	NotDecodable Class = "the record could not be decoded"
	MissingField Class = "a field is missing"
	OtherType    Class = "a value has another type than the expression takes"
	CostLimit    Class = "the expression reached its cost limit"
	Deadline     Class = "the expression reached its time limit"
	NotBoolean   Class = "the expression gave neither true nor false"
	Failed       Class = "the expression failed"
)

// Error is a failed evaluation. Its text holds nothing of the record.
type Error struct{ Class Class }

func (e *Error) Error() string { return string(e.Class) }

// Evaluator evaluates a Filter on one record after another, for one goroutine.
type Evaluator struct {
	filter *Filter
	value  func(*stream.Record) (*stream.Value, error)
	rec    *stream.Record
	undone bool // the value could not be decoded
}

// Evaluator makes one. value decodes a record's value, at most once for each Match, and only if the expression comes to
// look at it; nil takes the Decoder of the Options. A nil Value is null.
func (f *Filter) Evaluator(value func(*stream.Record) (*stream.Value, error)) *Evaluator {
	if value == nil {
		value = func(r *stream.Record) (*stream.Value, error) {
			if r.Value == nil {
				return nil, nil
			}
			v, err := f.options.Decode(r.Value)
			return &v, err
		}
	}
	return &Evaluator{filter: f, value: value}
}

// Match reports whether the expression holds for rec. An error is *Error, or ctx's own.
func (e *Evaluator) Match(ctx context.Context, rec *stream.Record) (bool, error) {
	e.rec, e.undone = rec, false
	vars := &variables{evaluator: e}
	if !e.filter.loops {
		out, _, err := e.filter.program.Eval(vars)
		return e.verdict(out, err)
	}
	limited, cancel := context.WithTimeout(ctx, e.filter.options.Timeout)
	defer cancel()
	out, _, err := e.filter.program.ContextEval(limited, vars)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	return e.verdict(out, err)
}

func (e *Evaluator) verdict(out any, err error) (bool, error) {
	if err == nil {
		if b, ok := out.(types.Bool); ok {
			return bool(b), nil
		}
		return false, &Error{NotBoolean}
	}
	var cancelled interpreter.EvalCancelledError
	switch {
	case errors.As(err, &cancelled) && cancelled.Cause == interpreter.CostLimitExceeded:
		return false, &Error{CostLimit}
	case errors.As(err, &cancelled), errors.Is(err, context.DeadlineExceeded):
		return false, &Error{Deadline}
	case e.undone:
		return false, &Error{NotDecodable}
	// cel-go exports no types for these; a text that changes makes the class less exact, nothing else.
	case strings.Contains(err.Error(), "no such key"):
		return false, &Error{MissingField}
	case strings.Contains(err.Error(), "no such overload"), strings.Contains(err.Error(), "unsupported"):
		return false, &Error{OtherType}
	}
	return false, &Error{Failed}
}

// variables resolves the variables of one evaluation, each at most once.
type variables struct {
	evaluator *Evaluator
	value     any
	key       any
	headers   any
}

func (v *variables) Parent() interpreter.Activation { return nil }

func (v *variables) ResolveName(name string) (any, bool) {
	e := v.evaluator
	switch name {
	case "value":
		if v.value == nil {
			v.value = e.decoded()
		}
		return v.value, true
	case "key":
		if v.key == nil {
			v.key = e.key()
		}
		return v.key, true
	case "headers":
		if v.headers == nil {
			v.headers = headers(e.rec.Headers)
		}
		return v.headers, true
	case "key_bytes":
		if e.rec.Key == nil {
			return types.NullValue, true
		}
		return types.Bytes(e.rec.Key), true
	case "topic":
		return types.String(e.rec.Topic), true
	case "partition":
		return types.Int(e.rec.Partition), true
	case "offset":
		return types.Int(e.rec.Offset), true
	case "timestamp":
		return types.Timestamp{Time: e.rec.Time}, true
	case "now":
		return types.Timestamp{Time: e.filter.options.Now}, true
	}
	return nil, false
}

func (e *Evaluator) decoded() any {
	value, err := e.value(e.rec)
	if err != nil {
		e.undone = true
		return types.NewErr("not decodable")
	}
	if value == nil {
		return types.NullValue
	}
	return toCEL(value)
}

// key decodes only what can be an object: most keys are plain text.
func (e *Evaluator) key() any {
	k := e.rec.Key
	if k == nil {
		return types.NullValue
	}
	if len(k) > 0 && k[0] == '{' && e.filter.options.Decode != nil {
		if v, err := e.filter.options.Decode(k); err == nil {
			return toCEL(&v)
		}
	}
	return text(k)
}

// KeyIs is an expression that holds for records whose key is exactly text, which is UTF-8.
func KeyIs(text string) string { return "key_bytes == b" + quote(text) }

// HeaderIs is an expression that holds for records whose last header of that name is exactly text.
func HeaderIs(name, text string) string {
	return "headers[?" + quote(name) + "] == optional.of(" + quote(text) + ")"
}

// quote writes s as a literal that means the same as a string and, after b, as bytes.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
