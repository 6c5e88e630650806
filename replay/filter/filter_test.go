package filter_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"freshet/backend/decode"
	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/replay/filter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 11, 24, 9, 30, 0, 0, time.UTC)

func compile(t testing.TB, src string) *filter.Filter {
	t.Helper()
	f, err := filter.Compile(src, filter.Options{Decode: decode.JSON, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func match(t testing.TB, src string, r stream.Record) (bool, error) {
	t.Helper()
	return compile(t, src).Evaluator(nil).Match(context.Background(), &r)
}

func class(err error) filter.Class {
	var e *filter.Error
	if errors.As(err, &e) {
		return e.Class
	}
	return ""
}

// T5: a record that the expression cannot be evaluated on is told apart from one that it rejects.
func TestRecordsThatDoNotFit(t *testing.T) {
	for _, c := range []struct {
		name  string
		value []byte
		match bool
		class filter.Class
	}{
		{"holds", []byte(`{"status":"FAILED"}`), true, ""},
		{"holds by escape", []byte(`{"status":"\u0046AILED"}`), true, ""},
		{"holds by the last of two", []byte(`{"status":"OK","status":"FAILED"}`), true, ""},
		{"does not hold", []byte(`{"status":"OK"}`), false, ""},
		{"number instead of a string", []byte(`{"status":5}`), false, ""},
		{"null field", []byte(`{"status":null}`), false, ""},
		{"tombstone", nil, false, filter.MissingField},
		{"missing field", []byte(`{"state":"FAILED"}`), false, filter.MissingField},
		{"no object", []byte(`["FAILED"]`), false, filter.OtherType},
		{"not JSON", []byte("status=FAILED"), false, filter.NotDecodable},
		{"empty", []byte{}, false, filter.NotDecodable},
	} {
		ok, err := match(t, `value.status == "FAILED"`, stream.Record{Value: c.value})
		if ok != c.match || class(err) != c.class {
			t.Errorf("%s: %v, %v; want %v, %q", c.name, ok, err, c.match, c.class)
		}
		if err != nil && strings.Contains(err.Error(), "FAILED") {
			t.Errorf("%s: the error tells of the record: %v", c.name, err)
		}
	}
}

func TestExpressions(t *testing.T) {
	rec := stream.Record{Topic: "shop.public.orders", Partition: 3, Offset: 73314510714175488, Time: now.Add(-time.Hour),
		Key: []byte(`{"id":7}`), Value: []byte(`{"id":73314510714175488,"big":18446744073709551615,"huge":18446744073709551616,
			"price":10.50,"tags":["a","b"],"after":{"x":{"y":true}},"op":"u"}`),
		Headers: []stream.Header{{Key: "h", Value: []byte("old")}, {Key: "h", Value: []byte("new")}, {Key: "bin", Value: []byte{0xff}}, {Key: "null"}}}
	for _, c := range []struct {
		src   string
		match bool
		class filter.Class
	}{
		{`value.id == 73314510714175488`, true, ""},
		{`value.id == 73314510714175489`, false, ""}, // the two are one double
		{`value.big == 18446744073709551615u`, true, ""},
		{`value.huge > 5`, false, filter.Failed},
		{`value.price == 10.5`, true, ""},
		{`value.price > 10`, true, ""},
		{`"b" in value.tags`, true, ""},
		{`value.tags.exists(t, t == "c")`, false, ""},
		{`value.after.x.y`, true, ""},
		{`has(value.after.z)`, false, ""},
		{`value.?before.x.orValue("none") == "none"`, true, ""},
		{`value.op in ["c", "u"] && size(value) == 7`, true, ""},
		{`value.after == {"x": {"y": true}}`, true, ""},
		{`value.op`, false, filter.NotBoolean},
		{`key.id == 7`, true, ""},
		{`key_bytes == b'{"id":7}'`, true, ""},
		{`headers["h"] == "new"`, true, ""},
		{`headers["bin"] == b"\xff"`, true, ""},
		{`headers["null"] == null`, true, ""},
		{`headers["gone"] == "x"`, false, filter.MissingField},
		{`topic.startsWith("shop.") && partition == 3 && offset == 73314510714175488`, true, ""},
		{`now - timestamp == duration("1h")`, true, ""},
		{`timestamp < timestamp("2026-11-24T09:00:00Z")`, true, ""},
	} {
		ok, err := match(t, c.src, rec)
		if ok != c.match || class(err) != c.class {
			t.Errorf("%s: %v, %v; want %v, %q", c.src, ok, err, c.match, c.class)
		}
	}
}

// T6: an expression that would run for long is stopped.
func TestCostAndTime(t *testing.T) {
	list := make([]int, 30_000)
	value, err := json.Marshal(map[string]any{"list": list})
	if err != nil {
		t.Fatal(err)
	}
	nested := `value.list.all(a, value.list.all(b, value.list.all(c, a + b + c < 1)))`
	rec := stream.Record{Value: value}
	if _, err := match(t, nested, rec); class(err) != filter.CostLimit && class(err) != filter.Deadline {
		t.Errorf("neither limit was reached: %v", err)
	}
	f, err := filter.Compile(nested, filter.Options{Decode: decode.JSON, CostLimit: 5000, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Evaluator(nil).Match(context.Background(), &rec); class(err) != filter.CostLimit {
		t.Errorf("cost: %v", err)
	}
	if f, err = filter.Compile(nested, filter.Options{Decode: decode.JSON, CostLimit: 1 << 62, Timeout: 20 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Evaluator(nil).Match(context.Background(), &rec); class(err) != filter.Deadline {
		t.Errorf("time: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.Evaluator(nil).Match(ctx, &rec); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled caller is no failure of the record: %v", err)
	}
}

func TestCompileErrorsNameThePlace(t *testing.T) {
	for _, c := range []struct{ src, place string }{
		{"value.a == 1 &&\n  vaule.b == 2", "line 2, column 3"},
		{"value.a ==", "line 1, column 11"},
		{"offset + 1", "gives int"},
		{"1 + 'a'", "line 1, column 3"},
		{"", "line 1"},
		{strings.Repeat("(", 1000) + "true", "line 1"},
		{strings.Repeat("!", 70_000), "at most"},
	} {
		_, err := filter.Compile(c.src, filter.Options{})
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.place) {
			t.Errorf("%.40q: %v", c.src, err)
		}
	}
}

func TestDecodesOnlyWhatIsAskedFor(t *testing.T) {
	calls := 0
	value := func(*stream.Record) (*stream.Value, error) {
		calls++
		return &stream.Value{Kind: stream.Object}, nil
	}
	for _, c := range []struct {
		src   string
		needs bool
		calls int
	}{
		{`offset > 10`, false, 0},
		{`key == "a"`, false, 0},
		{`has(value.a) || has(value.b)`, true, 1},
		{`offset > 10 && has(value.a)`, true, 0},
	} {
		f := compile(t, c.src)
		calls = 0
		if _, err := f.Evaluator(value).Match(context.Background(), &stream.Record{Offset: 1}); err != nil {
			t.Errorf("%s: %v", c.src, err)
		}
		if f.NeedsValue() != c.needs || calls != c.calls {
			t.Errorf("%s: needs the value %v, decoded %d times; want %v, %d", c.src, f.NeedsValue(), calls, c.needs, c.calls)
		}
	}
}

func FuzzKeyAndHeader(f *testing.F) {
	f.Add("a", "b")
	f.Add(`"quoted" \ {"id":1}`, "<tag>\n\x00")
	f.Fuzz(func(t *testing.T, name, text string) {
		name, text = strings.ToValidUTF8(name, "?"), strings.ToValidUTF8(text, "?")
		rec := stream.Record{Key: []byte(text), Headers: []stream.Header{{Key: name, Value: []byte(text)}}}
		other := stream.Record{Key: []byte(text + "x"), Headers: []stream.Header{{Key: name + "x", Value: []byte(text)}}}
		for _, src := range []string{filter.KeyIs(text), filter.HeaderIs(name, text)} {
			for r, want := range map[*stream.Record]bool{&rec: true, &other: false, {}: false} {
				if ok, err := match(t, src, *r); ok != want || err != nil {
					t.Fatalf("%s on %q: %v, %v", src, r.Key, ok, err)
				}
			}
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	value := []byte(`{"before":null,"after":{"id":1,"status":"OPEN","note":"` + strings.Repeat("x", 120) + `"},"op":"u","source":{"table":"orders"}}`)
	for _, src := range []string{`offset % 2 == 0`, `value.after.status == "FAILED"`, `value.op in ['c','u'] && value.source.table == 'orders'`} {
		b.Run(fmt.Sprintf("%.20s", src), func(b *testing.B) {
			e := compile(b, src).Evaluator(nil)
			rec := stream.Record{Value: value}
			b.SetBytes(int64(len(value)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Match(context.Background(), &rec); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
