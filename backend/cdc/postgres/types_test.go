package postgres_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"freshet/backend/cdc/postgres"
	"freshet/backend/stream"
)

// typeCase is a column type with values as SQL literals, NULL always among them.
type typeCase struct {
	typ    string
	since  int // PostgreSQL version
	values []string
}

var typeSetup = `
CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION ltree;
CREATE SCHEMA other;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'very happy');
CREATE TYPE other.mood AS ENUM ('mad');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN posint AS int CHECK (value > 0);
CREATE DOMAIN small AS posint CHECK (value < 100);
CREATE DOMAIN price AS numeric(10,2);
CREATE DOMAIN moods AS mood[];
`

var typeCases = []typeCase{
	{typ: "boolean", values: []string{"true", "false"}},
	{typ: "smallint", values: []string{"0", "-32768", "32767"}},
	{typ: "integer", values: []string{"-2147483648", "2147483647"}},
	{typ: "bigint", values: []string{"-9223372036854775808", "9223372036854775807", "9007199254740993"}},
	{typ: "oid", values: []string{"4000000000"}},
	{typ: "real", values: []string{"3.3", "'NaN'", "'Infinity'", "'-Infinity'", "1e-10", "-0.0"}},
	{typ: "double precision", values: []string{"4.44", "'NaN'", "'Infinity'", "'-Infinity'", "1e300", "5e-324", "123456789012345680", "0"}},
	{typ: "numeric(3,2)", values: []string{"1.1", "0", "-0.01", "9.99", "-1.28", "1.27", "'NaN'"}},
	{typ: "numeric(38,10)", values: []string{"1234567890123456789012345678.0123456789", "-1234567890123456789012345678.0123456789", "0.0000000001"}},
	{typ: "numeric(12,2)", values: []string{"1234567890.12", "-0.50"}},
	{typ: "numeric(5,0)", values: []string{"0", "128", "-129", "99999"}},
	{typ: "numeric(3,-2)", since: 15, values: []string{"12345", "0", "-99900"}},
	{typ: "numeric(2,4)", since: 15, values: []string{"0.0012", "-0.0099"}},
	{typ: "numeric", values: []string{"10.1111", "1.10", "100", "0", "0.000", "-22.2200", "'NaN'", "1e-20", "123456789012345678901234567890.5"}},
	{typ: "numeric", since: 14, values: []string{"'Infinity'", "'-Infinity'"}},
	{typ: "money", values: []string{"1234.11", "-1234.11", "0", "0.05", "92233720368547758.07"}},
	{typ: "char(5)", values: []string{"'ab'", "''"}},
	{typ: "varchar(10)", values: []string{"'ab'", "''"}},
	{typ: "text", values: []string{"''", "'plain'", `E'quote " backslash \\ slash / tab \t newline \n return \r feed \f back \b one \x01 del \x7f'`, "'äöü 漢字 😀'", "'__debezium_unavailable_value'", `'\N'`, "'null'"}},
	{typ: "name", values: []string{"'a name'"}},
	{typ: `"char"`, values: []string{"'x'"}},
	{typ: "citext", values: []string{"'MiXed'"}},
	{typ: "bytea", values: []string{`'\x'`, `'\x01'`, `'\x0102'`, `'\x010203'`, `'\x00ff10a0'`}},
	{typ: "json", values: []string{`'{"b":  1, "a": [1, null]}'`, `'"text"'`, "'null'", "'12.50'"}},
	{typ: "jsonb", values: []string{`'{"b":  1, "a": [1, null]}'`, `'"text"'`, "'null'", "'12.50'"}},
	{typ: "xml", values: []string{`'<a b="c">d</a>'`}},
	{typ: "uuid", values: []string{"'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"}},
	{typ: "date", values: []string{"'2016-11-04'", "'1970-01-01'", "'1969-12-31'", "'0044-03-15 BC'", "'12345-06-07'", "'infinity'", "'-infinity'", "'2000-02-29'"}},
	{typ: "time", values: []string{"'13:51:30'", "'13:51:30.123456'", "'24:00:00'", "'00:00:00'"}},
	{typ: "time(0)", values: []string{"'13:51:30.5'"}},
	{typ: "time(3)", values: []string{"'13:51:30.123'", "'24:00:00'"}},
	{typ: "time(4)", values: []string{"'13:51:30.1234'"}},
	{typ: "timetz", values: []string{"'11:51:30.123789+02'", "'13:51:02+02'", "'24:00:00+00'", "'23:00:00-05'", "'00:30:00+05:30'", "'10:00:00.5+00'"}},
	{typ: "timestamp", values: []string{"'2016-11-04 13:51:30.123456'", "'1969-12-31 23:59:59.9999'", "'infinity'", "'-infinity'", "'4713-12-31 23:59:59.999999 BC'", "'20000-01-01 00:00:00'"}},
	{typ: "timestamp(0)", values: []string{"'2016-11-04 13:51:30'"}},
	{typ: "timestamp(3)", values: []string{"'2016-11-04 13:51:30.123'", "'1969-12-31 23:59:59.999'", "'infinity'", "'-infinity'"}},
	{typ: "timestamp(6)", values: []string{"'2016-11-04 13:51:30.123456'"}},
	{typ: "timestamptz", values: []string{"'2016-11-04 13:51:30.123456+02'", "'2016-11-04 13:51:30+02'", "'infinity'", "'-infinity'", "'21016-11-04 13:51:30.123456+07'", "'4714-12-31 23:59:59.999999+00 BC'", "'0001-01-01 00:00:00+00 BC'", "'0099-01-01 00:00:00+00'"}},
	{typ: "timestamptz(0)", values: []string{"'2016-11-04 13:51:30+02'", "'2016-11-04 13:00:00+02'"}},
	{typ: "timestamptz(3)", values: []string{"'2016-11-04 13:51:30.12+02'"}},
	{typ: "interval", values: []string{"'1 year 2 months 3 days 04:05:06.78'", "'-1 year -2 mons +3 days -04:05:06.78'", "'0'", "'1 mon'", "'-00:00:00.000001'", "'100000:00:00'", "'178000000 years'"}},
	{typ: "interval", since: 17, values: []string{"'infinity'", "'-infinity'"}},
	{typ: "bit(1)", values: []string{"B'1'", "B'0'"}},
	{typ: "bit(2)", values: []string{"B'11'", "B'00'", "B'10'"}},
	{typ: "bit(64)", values: []string{"B'1000000000000000000000000000000000000000000000000000000000000000'", "B'0000000000000000000000000000000000000000000000000000000000000001'"}},
	{typ: "varbit", values: []string{"B''", "B'101'", "B'1000000001'"}},
	{typ: "varbit(1)", values: []string{"B'1'", "B''"}},
	{typ: "inet", values: []string{"'192.168.2.0/12'", "'::1'"}},
	{typ: "cidr", values: []string{"'192.168.100.128/25'"}},
	{typ: "macaddr", values: []string{"'08:00:2b:01:02:03'"}},
	{typ: "macaddr8", values: []string{"'08:00:2b:01:02:03:04:05'"}},
	{typ: "int4range", values: []string{"'[1000,6000)'", "'empty'"}},
	{typ: "numrange", values: []string{"'[5.3,6.3)'"}},
	{typ: "tsrange", values: []string{`'["2019-03-31 15:30:00",infinity)'`}},
	{typ: "tstzrange", values: []string{`'["2017-06-05 11:29:12.549426+00",)'`}},
	{typ: "daterange", values: []string{"'[2019-03-31,infinity)'"}},
	{typ: "int4multirange", since: 14, values: []string{"'{[1,3),[5,8)}'"}},
	{typ: "point", values: []string{"'(1,2.5)'"}},
	{typ: "box", values: []string{"'(1,2),(0,0)'"}},
	{typ: "lseg", values: []string{"'[(1,2),(3.5,-4)]'"}},
	{typ: "path", values: []string{"'((0,0),(1,1),(2,0))'", "'[(0,0),(1,1),(2,0)]'"}},
	{typ: "polygon", values: []string{"'((0,0),(1,1),(2,0))'"}},
	{typ: "circle", values: []string{"'<(1,2),3.5>'"}},
	{typ: "line", values: []string{"'{1,-2,0.5}'"}},
	{typ: "tsvector", values: []string{"'a b:1A'"}},
	{typ: "tsquery", values: []string{"'a & b'"}},
	{typ: "ltree", values: []string{"'a.b.c'"}},
	{typ: "hstore", values: []string{`'a=>1, "q\"uote"=>"x\\y", n=>NULL'`, "''"}},
	{typ: "mood", values: []string{"'ok'", "'very happy'"}},
	{typ: "other.mood", values: []string{"'mad'"}},
	{typ: "pair", values: []string{`'(1,"a b")'`}},
	{typ: "posint", values: []string{"7"}},
	{typ: "small", values: []string{"8"}},
	{typ: "price", values: []string{"12.30"}},
	{typ: "moods", values: []string{"'{ok,sad}'"}},
	{typ: "boolean[]", values: []string{"'{t,f,NULL}'"}},
	{typ: "smallint[]", values: []string{"'{1,-1}'"}},
	{typ: "integer[]", values: []string{"'{}'", "'{1,NULL,3}'", "'{{1,2},{3,4}}'", "'[2:3]={5,6}'"}},
	{typ: "bigint[]", values: []string{"'{9007199254740993}'"}},
	{typ: "real[]", values: []string{"'{1.5,NaN}'"}},
	{typ: "numeric(10,2)[]", values: []string{"'{1.10,-2,NULL}'"}},
	{typ: "numeric[]", values: []string{"'{1.10,NaN}'"}},
	{typ: "text[]", values: []string{`ARRAY['', 'a,b', 'c"d', 'e\f', 'NULL', NULL, '{g}', ' h ', E'i\nj', 'ü']`, "'{}'"}},
	{typ: "varchar(3)[]", values: []string{"'{abc,d}'"}},
	{typ: "char(10)[]", values: []string{"'{cone,NULL}'"}},
	{typ: "bytea[]", values: []string{`ARRAY['\x01'::bytea, NULL]`}},
	{typ: "date[]", values: []string{"'{2016-11-04,NULL}'"}},
	{typ: "time[]", values: []string{"'{13:51:30.5}'"}},
	{typ: "timestamp[]", values: []string{`'{"2016-11-04 13:51:30.123456",NULL}'`}},
	{typ: "timestamptz[]", values: []string{`'{"2016-11-04 13:51:30.123456+02"}'`}},
	{typ: "interval[]", values: []string{`'{"1 mon",01:00:00}'`}},
	{typ: "jsonb[]", values: []string{`ARRAY['{"a":"b"}'::jsonb, '[1]']`}},
	{typ: "uuid[]", values: []string{"'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,NULL}'"}},
	{typ: "inet[]", values: []string{"'{10.0.0.1}'"}},
	{typ: "money[]", values: []string{`'{"$1,234.50",NULL}'`}},
	{typ: "point[]", values: []string{`'{"(1,2)",NULL}'`}},
	{typ: "box[]", values: []string{"'{(1,1),(0,0);(2,2),(0,0)}'"}},
	{typ: "int4range[]", values: []string{`'{"[1,3)",empty}'`}},
	{typ: "mood[]", values: []string{`'{ok,"very happy",NULL}'`}},
	{typ: "pair[]", values: []string{`ARRAY[ROW(1, 'a')::pair]`}},
	{typ: "hstore[]", values: []string{`ARRAY['a=>1'::hstore, NULL]`}},
	{typ: "small[]", values: []string{"'{1,2}'"}},
	{typ: "price[]", values: []string{"'{1.50}'"}},
}

type goldenType struct {
	Type   string            `json:"type"`
	Column stream.Column     `json:"column"`
	Values []json.RawMessage `json:"values"`
	// Connect is the field's schema, where that is written.
	Connect json.RawMessage `json:"connect,omitempty"`
}

type row struct {
	Before map[string]json.RawMessage
	After  map[string]json.RawMessage
	Op     string
}

// TestTypes holds every type's values against the golden file: as the snapshot writes them, as the stream does, and in
// every version of the server.
func TestTypes(t *testing.T) {
	checkTypes(t, "types", nil, versions()...)
	for mode, properties := range likeModes {
		if len(properties) > 0 && properties[unknownTypes] == "" {
			t.Run(mode, func(t *testing.T) { checkTypes(t, "types_"+mode, properties, 18) })
		}
	}
}

// checkTypes holds the types' values, written under some of Debezium's options, against a golden file, which
// TestLikeDebezium's Debezium agrees with.
func checkTypes(t *testing.T, name string, properties map[string]string, versions ...int) {
	file := filepath.Join("testdata", name+".golden.json")
	golden := map[string]goldenType{}
	if !*update {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var list []goldenType
		if err := json.Unmarshal(b, &list); err != nil {
			t.Fatal(err)
		}
		for i, g := range list {
			golden[fmt.Sprint(i, g.Type)] = g
		}
	}
	var written []goldenType
	eachOf(t, versions, func(t *testing.T, db *database) {
		db.exec(typeSetup)
		var insert strings.Builder
		for i, c := range typeCases {
			if db.server.Version < c.since {
				continue
			}
			db.exec(fmt.Sprintf("CREATE TABLE t%d(id int PRIMARY KEY, v %s)", i, c.typ))
			for j, v := range append([]string{"NULL"}, c.values...) {
				fmt.Fprintf(&insert, "INSERT INTO t%d SELECT %d, %s;", i, j, v)
			}
		}
		db.exec(insert.String())
		c := startCapture(t, db, func(o *postgres.Options) { o.Properties = properties })
		c.streaming()
		db.exec(strings.ReplaceAll(insert.String(), " SELECT ", " SELECT 100 + "))
		c.caughtUp()
		for i, tc := range typeCases {
			if db.server.Version < tc.since {
				continue
			}
			records := c.log.Records(fmt.Sprintf("shop.public.t%d", i))
			n := len(tc.values) + 1
			if len(records) != 2*n {
				t.Errorf("%s: %d records, want %d", tc.typ, len(records), 2*n)
				continue
			}
			got := goldenType{Type: tc.typ}
			for j := range n {
				read, create := decodeRow(t, records[j].Value), decodeRow(t, records[n+j].Value)
				if read.Op != "r" || create.Op != "c" {
					t.Errorf("%s: ops %s and %s", tc.typ, read.Op, create.Op)
				}
				if string(read.After["v"]) != string(create.After["v"]) {
					t.Errorf("%s %d: the snapshot says %s, the stream %s", tc.typ, j, read.After["v"], create.After["v"])
				}
				got.Values = append(got.Values, read.After["v"])
			}
			got.Connect = fieldSchema(t, records[0].Value)
			id, _ := records[0].Header(stream.SchemaHeader)
			schema, ok := c.store.Schema(string(id))
			if !ok || len(schema.Columns) != 2 {
				t.Fatalf("%s: schema %q: %+v", tc.typ, id, schema)
			}
			got.Column = schema.Columns[1]
			if *update {
				if db.server.Version == 18 {
					written = append(written, got)
				}
				continue
			}
			have, want := compact(t, got), compact(t, golden[fmt.Sprint(i, tc.typ)])
			if have != want {
				t.Errorf("%s\n have %s\n want %s", tc.typ, have, want)
			}
		}
	})
	if *update {
		b, err := json.MarshalIndent(written, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func compact(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func decodeRow(t *testing.T, value []byte) row {
	t.Helper()
	var r struct {
		row
		Payload *row
	}
	if err := json.Unmarshal(value, &r); err != nil {
		t.Fatalf("%v: %s", err, value)
	}
	if r.Payload != nil {
		return *r.Payload
	}
	return r.row
}

// fieldSchema is the schema of a row's second column in the schema around a value, nil where there is none.
func fieldSchema(t *testing.T, value []byte) json.RawMessage {
	t.Helper()
	var v struct {
		Schema struct {
			Fields []struct{ Fields []json.RawMessage }
		}
	}
	if err := json.Unmarshal(value, &v); err != nil {
		t.Fatalf("%v: %s", err, value)
	}
	if v.Schema.Fields == nil {
		return nil
	}
	return v.Schema.Fields[0].Fields[1]
}
