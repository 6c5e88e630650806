package decode_test

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"freshet/backend/decode"
	"freshet/backend/fault"
	"freshet/backend/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func num(s string) stream.Value  { return stream.Value{Kind: stream.Number, Text: s} }
func text(s string) stream.Value { return stream.Value{Kind: stream.String, Text: s} }
func object(f ...stream.Field) stream.Value {
	return stream.Value{Kind: stream.Object, Fields: f}
}

func TestJSONKeepsWhatWasWritten(t *testing.T) {
	for _, c := range []struct {
		in   string
		want stream.Value
	}{
		{`null`, stream.Value{}},
		{` true `, stream.Value{Kind: stream.Bool, Bool: true}},
		{`false`, stream.Value{Kind: stream.Bool}},
		{`9223372036854775807`, num("9223372036854775807")},
		{`-0.10e+07`, num("-0.10e+07")},
		{`12345678901234567890.12345678901234567890`, num("12345678901234567890.12345678901234567890")},
		{`""`, text("")},
		{`"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\u0000z"`, text("a\"\\/\b\f\n\r\té😀\x00z")},
		{`[]`, stream.Value{Kind: stream.List, List: []stream.Value{}}},
		{`{}`, stream.Value{Kind: stream.Object, Fields: []stream.Field{}}},
		{"\n[ 1 ,\t[2], null ]\r\n", stream.Value{Kind: stream.List, List: []stream.Value{
			num("1"), {Kind: stream.List, List: []stream.Value{num("2")}}, {}}}},
		{`{"b":1,"a":{"x":[3]},"b":2}`, object(stream.Field{Name: "b", Value: num("1")},
			stream.Field{Name: "a", Value: object(stream.Field{Name: "x", Value: stream.Value{Kind: stream.List, List: []stream.Value{num("3")}}})},
			stream.Field{Name: "b", Value: num("2")})},
	} {
		got, err := decode.JSON([]byte(c.in))
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %#v, %v", c.in, got, err)
		}
	}
}

func TestJSONRefuses(t *testing.T) {
	for _, in := range []string{
		``, ` `, `nul`, `nulll`, `+1`, `01`, `-`, `1.`, `.5`, `1e`, `1e+`, `NaN`, `Infinity`, `0x1`,
		`"`, `"\`, `"\x"`, `"\u12"`, `"\u12g4"`, `"\ud800"`, `"\ud800\u0041"`, `"\udc00"`, "\"\n\"", "\"\xff\"", "\"\xed\xa0\x80\"", `'a'`,
		`[`, `[1`, `[1,`, `[1,]`, `[,1]`, `[1 2]`, `]`, `{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,}`, `{a:1}`, `{"a" 1}`, `{"a":1 "b":2}`,
		`1 2`, `{}{}`, "\xef\xbb\xbf1", "{\"a\":1}\x00",
		strings.Repeat("[", decode.MaxDepth+1) + strings.Repeat("]", decode.MaxDepth+1),
		strings.Repeat(`{"a":`, decode.MaxDepth+1) + "1" + strings.Repeat("}", decode.MaxDepth+1),
		"[" + strings.Repeat("0,", decode.MaxValues) + "0]",
		`"` + strings.Repeat("a", decode.MaxSize) + `"`,
	} {
		v, err := decode.JSON([]byte(in))
		if !fault.Is(err, fault.Invalid) || !reflect.DeepEqual(v, stream.Value{}) {
			t.Errorf("%.40q: got %v, %v", in, v.Kind, err)
		}
	}
}

func TestJSONBoundsHold(t *testing.T) {
	for _, in := range []string{
		strings.Repeat("[", decode.MaxDepth) + strings.Repeat("]", decode.MaxDepth),
		"[" + strings.Repeat("0,", decode.MaxValues-2) + "0]",
	} {
		if _, err := decode.JSON([]byte(in)); err != nil {
			t.Errorf("%.20q: %v", in, err)
		}
	}
}

func TestJSONErrorHoldsNoContents(t *testing.T) {
	_, err := decode.JSON([]byte(`{"password":"s3cret" oops`))
	if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "byte 21") {
		t.Errorf("got %v", err)
	}
}

func TestJSONAllocations(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() {
		if _, err := decode.JSON(envelope); err != nil {
			t.Fatal(err)
		}
	}); n > 11 {
		t.Errorf("%v allocations for one envelope, more than 11", n)
	}
}

// reference reads b with encoding/json's tokens, which keep order, repeated names and numbers' text as well.
func reference(d *json.Decoder) (stream.Value, error) {
	tok, err := d.Token()
	if err != nil {
		return stream.Value{}, err
	}
	switch tok := tok.(type) {
	case bool:
		return stream.Value{Kind: stream.Bool, Bool: tok}, nil
	case json.Number:
		return num(tok.String()), nil
	case string:
		return text(tok), nil
	case json.Delim:
		if tok == '[' {
			v := stream.Value{Kind: stream.List, List: []stream.Value{}}
			for d.More() {
				e, err := reference(d)
				if err != nil {
					return v, err
				}
				v.List = append(v.List, e)
			}
			_, err := d.Token()
			return v, err
		}
		v := object([]stream.Field{}...)
		v.Fields = []stream.Field{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return v, err
			}
			e, err := reference(d)
			if err != nil {
				return v, err
			}
			v.Fields = append(v.Fields, stream.Field{Name: name.(string), Value: e})
		}
		_, err := d.Token()
		return v, err
	}
	return stream.Value{}, nil
}

// FuzzJSON holds three things: what JSON accepts is valid to encoding/json and means the same; what it refuses is invalid
// there, or one of the things documented as refused; and AppendJSON's text reads back as the same Value.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{string(envelope), `{"a":[1,2.50,-3e-7,"\ud83d\ude00",null,true]}`, `"\ud800"`, "[[[[", "\xff", `{"a":1,"a":2}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decode.JSON(b)
		if err != nil {
			if json.Valid(b) && !bytes.Contains(b, []byte(`\u`)) && bytes.ToValidUTF8(b, nil) != nil &&
				bytes.Equal(bytes.ToValidUTF8(b, nil), b) && bytes.Count(b, []byte("["))+bytes.Count(b, []byte("{")) <= decode.MaxDepth {
				t.Fatalf("refused valid JSON: %v", err)
			}
			return
		}
		if !json.Valid(b) {
			t.Fatal("accepted what is no JSON")
		}
		d := json.NewDecoder(bytes.NewReader(b))
		d.UseNumber()
		want, err := reference(d)
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(v, want) {
			t.Fatalf("got %#v, want %#v", v, want)
		}
		again, err := decode.JSON(decode.AppendJSON(nil, &v))
		if err != nil || !reflect.DeepEqual(v, again) {
			t.Fatalf("does not read back: %v", err)
		}
	})
}
