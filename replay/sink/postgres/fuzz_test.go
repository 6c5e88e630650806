package postgres

import (
	"bytes"
	"testing"

	"freshet/backend/decode"
)

// FuzzConvert holds that no value and no type makes a converter panic, that no text holds U+0000, which PostgreSQL would
// refuse together with the whole batch, and that a text stays within what the value and the type can come to.
func FuzzConvert(f *testing.F) {
	for _, seed := range []struct{ typ, value string }{
		{"numeric(12,2)", `"AOc="`}, {"numeric", `{"scale":3,"value":"gA=="}`}, {"numeric(3,-2)[]", `["ew==",null]`}, {"date", "-719529"},
		{"timestamp(3) without time zone", "9223372036825200000"}, {"timestamp without time zone", "-1"}, {"time without time zone", "86400000000"},
		{"timestamp with time zone", `"-0043-03-15T12:00:00Z"`}, {"bit(9)", `"AQE="`}, {"bit varying(64)", `"AQE="`}, {"bytea", `"AP8="`},
		{"public.hstore", `"{\"a\":null}"`}, {"point", `{"x":1,"y":"NaN"}`}, {"text[]", `[["a","\\"],[null,"{}"]]`}, {"interval day to second(3)", "1"}, {"money", `"AQ=="`},
		{"box", `{"wkb":"AQMAAAABAAAABQAAAAAAAAAAAPA/AAAAAAAAAEAAAAAAAADwPwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEAAAAAAAADwPwAAAAAAAABA","srid":null}`},
		{"path", `{"wkb":"AQIAAAACAAAAAAAAAAAA8D8AAAAAAAAAQAAAAAAAAAxAAAAAAAAAEMA=","extensions":{"type":"path","closed":"true"}}`},
		{"circle", `{"center":{"x":1,"y":2},"radius":"Infinity"}`}, {"line", `{"a":1,"b":-2,"c":0.5}`}, {"vector(2)", "[1,0.5]"}, {"public.sparsevec(3)", `{"dimensions":3,"vector":[[1,0.5]]}`},
		{"public.geometry(Point,4326)", `{"wkb":"AQE=","srid":4326}`},
	} {
		f.Add(seed.typ, "", "", seed.value)
	}
	f.Add("numeric(4,1)", "decimal.handling.mode", "string", `"1.5"`)
	f.Add("bytea", "binary.handling.mode", "hex", `"00ff"`)
	f.Add("timestamp without time zone", "time.precision.mode", "nanoseconds", "9223372036854775807")
	f.Fuzz(func(t *testing.T, typ, option, mode, value string) {
		v, err := decode.JSON([]byte(value))
		if err != nil || v.IsNull() {
			return
		}
		prefix := []byte("before")
		out, err := converter(parseType(typ), handling{option: mode})(prefix, &v)
		if err != nil {
			return
		}
		if !bytes.HasPrefix(out, prefix) {
			t.Fatal("what was there before is gone")
		}
		if bytes.IndexByte(out, 0) >= 0 {
			t.Fatalf("U+0000 in %q", out)
		}
		if limit := 1<<18*(1+bytes.Count([]byte(value), []byte(","))) + 64*len(value) + 8<<20; len(out) > limit {
			t.Fatalf("%d bytes of %d", len(out), len(value))
		}
	})
}

// FuzzTableName holds that a name which can be read is quoted into one that means the same.
func FuzzTableName(f *testing.F) {
	for _, s := range []string{"a", "A.b", `"a.b"."c""d"`, `"x`, "a.b.c", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := parseTable(s)
		if err != nil || bytes.IndexByte([]byte(s), 0) >= 0 {
			return
		}
		again, err := parseTable(name.String())
		if err != nil || again != name {
			t.Fatalf("%q: %v, then %v, %v", s, name, again, err)
		}
	})
}
