package postgres

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
)

// encoders are all of them, by name.
func encoders() map[string]encoder {
	types := typeCache{
		1: {OID: 1, Name: "_hstore", Kind: "b", Array: true, Element: 2, Delimiter: ','},
		2: {OID: 2, Name: "hstore", Kind: "b"},
		3: {OID: 3, Name: "d", Kind: "d", Base: pgtype.NumericOID, BaseMod: 4 + (10<<16 | 2)},
		4: {OID: 4, Name: "_box", Kind: "b", Array: true, Element: pgtype.BoxOID, Delimiter: ';'},
		5: {OID: 5, Name: "_numeric", Kind: "b", Array: true, Element: pgtype.NumericOID, Delimiter: ','},
		6: {OID: 6, Name: "_bytea", Kind: "b", Array: true, Element: pgtype.ByteaOID, Delimiter: ','},
	}
	for _, oid := range []uint32{
		pgtype.BoolOID, pgtype.Int4OID, pgtype.Float8OID, pgtype.NumericOID, moneyOID, pgtype.ByteaOID, pgtype.DateOID, pgtype.TimeOID,
		pgtype.TimestampOID, pgtype.TimestamptzOID, pgtype.TimetzOID, pgtype.IntervalOID, pgtype.BitOID, pgtype.PointOID, pgtype.TextOID, pgtype.CircleOID, pgtype.LineOID,
	} {
		types[oid] = typeInfo{OID: oid, Kind: "b"}
	}
	for i, name := range []string{"box", "lseg", "path", "polygon"} {
		oid := []uint32{pgtype.BoxOID, pgtype.LsegOID, pgtype.PathOID, pgtype.PolygonOID}[i]
		types[oid] = typeInfo{OID: oid, Name: name, Kind: "b"}
	}
	for i, name := range []string{"geometry", "vector", "sparsevec"} {
		types[uint32(10+i)] = typeInfo{OID: uint32(10 + i), Name: name, Kind: "b"}
	}
	values := &codec{}
	all := map[string]encoder{}
	add := func(name string, oid uint32, mod int32) { all[name] = types.form(values, oid, mod).encode }
	add("bool", pgtype.BoolOID, -1)
	add("int", pgtype.Int4OID, -1)
	add("float", pgtype.Float8OID, -1)
	add("numeric", pgtype.NumericOID, -1)
	add("numeric(10,2)", pgtype.NumericOID, 4+(10<<16|2))
	add("numeric(3,-2)", pgtype.NumericOID, 4+(3<<16|0x7fe))
	add("money", moneyOID, -1)
	add("bytea", pgtype.ByteaOID, -1)
	add("date", pgtype.DateOID, -1)
	add("time", pgtype.TimeOID, -1)
	add("time(3)", pgtype.TimeOID, 3)
	add("timestamp", pgtype.TimestampOID, -1)
	add("timestamp(3)", pgtype.TimestampOID, 3)
	add("timestamptz", pgtype.TimestamptzOID, -1)
	add("timestamptz(0)", pgtype.TimestamptzOID, 0)
	add("timetz", pgtype.TimetzOID, -1)
	add("interval", pgtype.IntervalOID, -1)
	add("bit(1)", pgtype.BitOID, 1)
	add("bit(8)", pgtype.BitOID, 8)
	add("point", pgtype.PointOID, -1)
	add("text", pgtype.TextOID, -1)
	add("hstore", 2, -1)
	add("hstore[]", 1, -1)
	add("domain", 3, -1)
	add("box[]", 4, -1)
	add("numeric(10,2)[]", 5, 4+(10<<16|2))
	add("bytea[]", 6, -1)
	for name, oid := range map[string]uint32{"box": pgtype.BoxOID, "lseg": pgtype.LsegOID, "path": pgtype.PathOID, "polygon": pgtype.PolygonOID,
		"circle": pgtype.CircleOID, "line": pgtype.LineOID, "geometry": 10, "vector": 11, "sparsevec": 12} {
		add(name, oid, -1)
	}
	add("unknown", 999, -1)
	for _, option := range []string{"column.mask.with.3.chars", "column.truncate.to.3.chars", "column.mask.hash.SHA-256.with.salt.s", "column.mask.hash.v2.SHA-256.with.salt.s"} {
		m, _, _ := readMask(option)
		all[option] = m.form(20).encode
	}
	return all
}

var encoderSeeds = []string{
	"", "t", "-1", "1.50", "NaN", "-Infinity", "1e+20", "$1,234.50", "-$0.01", `\xdeadbeef`, `\x`, "2016-11-04", "0044-03-15 BC", "infinity", "24:00:00",
	"2016-11-04 13:51:30.123456+00", "4713-12-31 23:59:59.999999 BC", "13:51:30.123789+02", "1 year 2 mons -3 days +04:05:06.78", "1010", "(1,2.5)",
	`{a,"b\"c",NULL,{d}}`, `[2:3]={1,2}`, `{(1,1),(0,0);(2,2),(0,0)}`, "(1,2),(3.5,-4)", "((0,0),(1,1),(0,0))", "<(1,2),3>", "{1,-2,NaN}", "0101000020E6100000000000000000F03F0000000000000040", "[1,2.5]", "{1:0.5,3:2}/5", `"a"=>"1", "b"=>NULL`, `{"\"a\"=>\"1\""}`, "\xff\x00\u2028\"\\", "99999999999999999999999999999999999999.99",
}

// FuzzEncoders gives every text to every encoder: whatever comes is one JSON value, appended to what was there, in
// bounded space, and the same again.
func FuzzEncoders(f *testing.F) {
	for _, text := range encoderSeeds {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for name, encode := range encoders() {
			kept := bytes.Clone(text)
			out := encode.append([]byte("prefix"), text)
			if !bytes.HasPrefix(out, []byte("prefix")) || !json.Valid(out[6:]) {
				t.Errorf("%s of %q: %q", name, text, out)
			}
			if len(out) > 300+12*len(text) {
				t.Errorf("%s of %d bytes: %d bytes", name, len(text), len(out))
			}
			if !bytes.Equal(text, kept) {
				t.Errorf("%s of %q changes it", name, kept)
			}
			if again := encode.append([]byte("prefix"), text); !bytes.Equal(out, again) {
				t.Errorf("%s of %q: %q, then %q", name, text, out, again)
			}
		}
	})
}

// FuzzString checks that a text comes back from JSON as it was, but for what is no UTF-8.
func FuzzString(f *testing.F) {
	f.Add("plain")
	f.Add("\x00\x1f\"\\\u2028 \u00e4 \xff\xc3")
	f.Fuzz(func(t *testing.T, text string) {
		out, _ := encodeString(nil, []byte(text))
		var back string
		if err := json.Unmarshal(out, &back); err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		if want := string(bytes.ToValidUTF8([]byte(text), nil)); len(back) < len(want) {
			t.Errorf("%q comes back as %q", text, back)
		}
		if valid := bytes.ToValidUTF8([]byte(text), []byte("x")); string(valid) == text && back != text {
			t.Errorf("%q comes back as %q", text, back)
		}
	})
}

// FuzzMessages gives every message reader every body: none reads beyond it, and what was read whole has the size it says.
func FuzzMessages(f *testing.F) {
	relation := []byte("\x00\x00\x00\x07public\x00t\x00d\x00\x02\x01id\x00\x00\x00\x00\x17\xff\xff\xff\xff\x00v\x00\x00\x00\x00\x19\xff\xff\xff\xff")
	f.Add(relation)
	f.Add([]byte("\x00\x00\x00\x07K\x00\x02t\x00\x00\x00\x011nN\x00\x02t\x00\x00\x00\x011u"))
	f.Add([]byte("\x00\x00\x00\x02\x00\x00\x00\x00\x07\x00\x00\x00\x08"))
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x07prefix\x00\x00\x00\x00\x02ab"))
	for _, size := range []int{5, 8, 20, 21, 25, 26, 29} {
		f.Add(make([]byte, size))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, ok := readBegin(b); ok != (len(b) == 20) {
			t.Errorf("%d bytes as a begin: %t", len(b), ok)
		}
		if _, ok := readCommit(b); ok != (len(b) == 25) {
			t.Errorf("%d bytes as a commit: %t", len(b), ok)
		}
		if _, name, ok := readOrigin(b); ok && len(b) != 8+len(name)+1 {
			t.Errorf("%d bytes as an origin %q", len(b), name)
		}
		if sh, ok := readRelation(b); ok && len(sh.columns)*10 > len(b) {
			t.Errorf("%d columns in %d bytes", len(sh.columns), len(b))
		}
		if relations, ok := readTruncate(b, nil); ok && len(b) != 5+4*len(relations) {
			t.Errorf("%d relations in %d bytes", len(relations), len(b))
		}
		if _, ok := readStreamCommit(b); ok != (len(b) == 29) {
			t.Errorf("%d bytes as a commit of a stream: %t", len(b), ok)
		}
		if _, _, ok := readStreamStart(b); ok != (len(b) == 5) {
			t.Errorf("%d bytes as a start of a stream: %t", len(b), ok)
		}
		if _, _, ok := readStreamAbort(b); ok != (len(b) == 8) {
			t.Errorf("%d bytes as an abort of a stream: %t", len(b), ok)
		}
		if m, ok := readLogicalMessage(b); ok && len(b) != 14+len(m.prefix)+len(m.content) {
			t.Errorf("%d bytes as a message of %d and %d", len(b), len(m.prefix), len(m.content))
		}
		var m rowMessage
		if m.read(b) {
			size := 4
			for _, part := range []struct {
				there bool
				t     tuple
			}{{m.hasOld, m.old}, {m.hasNew, m.new}} {
				if !part.there {
					continue
				}
				size += 3
				for i, v := range part.t.values {
					size++
					if part.t.kinds[i] == 't' {
						size += 4 + len(v)
					}
				}
			}
			if size != len(b) {
				t.Errorf("read %d of %d bytes", size, len(b))
			}
		}
	})
}

// FuzzCopyRow takes lines of COPY apart, and puts them together again.
func FuzzCopyRow(f *testing.F) {
	f.Add([]byte("1\tplain\t\\N"), 3)
	f.Add([]byte("1\tplain\t\\N"), 2)
	f.Add([]byte(`a\\b\tc\nd\\N`), 1)
	f.Add([]byte(""), 0)
	f.Fuzz(func(t *testing.T, line []byte, columns int) {
		if columns < 0 || columns > 1600 {
			return
		}
		var tup tuple
		size := len(line)
		if !copyRow(&tup, bytes.Clone(line), columns) {
			return
		}
		if len(tup.kinds) != columns || len(tup.values) != columns {
			t.Fatalf("%d kinds and %d values of %d columns", len(tup.kinds), len(tup.values), columns)
		}
		total := 0
		for _, v := range tup.values {
			total += len(v)
		}
		if total > size {
			t.Errorf("%d bytes of values in a line of %d", total, size)
		}
	})
}

// FuzzWire cuts a stream of messages anywhere: the same messages come out, and a size that lies is an error.
func FuzzWire(f *testing.F) {
	f.Add([]byte("d\x00\x00\x00\x08abcdZ\x00\x00\x00\x05I"), uint(3))
	f.Add([]byte("d\xff\xff\xff\xffabcd"), uint(1))
	f.Add([]byte("d\x00\x00\x00\x00"), uint(1))
	f.Fuzz(func(t *testing.T, b []byte, step uint) {
		const max = 1 << 16
		whole := newWire(bytes.NewReader(b), max)
		cut := newWire(&stepReader{b, int(step%7) + 1}, max)
		for {
			kind1, body1, err1 := whole.next()
			kind2, body2, err2 := cut.next()
			if kind1 != kind2 || !bytes.Equal(body1, body2) || (err1 == nil) != (err2 == nil) {
				t.Fatalf("%q %q %v, and cut %q %q %v", kind1, body1, err1, kind2, body2, err2)
			}
			if err1 != nil {
				break
			}
			if len(body1) > max {
				t.Fatalf("a body of %d bytes", len(body1))
			}
		}
		if len(whole.buf) > 2*wireBuffer {
			t.Errorf("a buffer of %d bytes", len(whole.buf))
		}
		// Read gives all of a message and nothing of the next, so that the stream can be taken over between two.
		handed := newWire(bytes.NewReader(b), max)
		buf := make([]byte, 4)
		var got []byte
		for {
			n, err := handed.Read(buf)
			got = append(got, buf[:n]...)
			if err != nil || handed.left == 0 {
				break
			}
		}
		if len(b) >= headerSize {
			if size := int(binary.BigEndian.Uint32(b[1:])) + 1; size >= headerSize && size <= max && size <= len(b) && !bytes.Equal(got, b[:size]) {
				t.Errorf("read %q of %q", got, b[:size])
			}
		}
	})
}

type stepReader struct {
	b    []byte
	step int
}

func (r *stepReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), r.step)], r.b)
	r.b = r.b[n:]
	return n, nil
}
