package postgres_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"freshet/backend/stream"
	"freshet/replay/sink/postgres"
)

// The encoders below write a value as Debezium documents it, from PostgreSQL's own text, independently of the capture.

func jsonText(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func verbatim(s string) string { return s }

func float(s string) string {
	if s == "NaN" || strings.HasSuffix(s, "Infinity") {
		return jsonText(s)
	}
	return s
}

func boolean(s string) string {
	return map[string]string{"t": "true", "f": "false", "true": "true", "false": "false"}[s]
}

func unscaledBase64(s string) (string, int) {
	scale := 0
	if i := strings.IndexByte(s, '.'); i >= 0 {
		scale = len(s) - i - 1
	}
	n, ok := new(big.Int).SetString(strings.Replace(s, ".", "", 1), 10)
	if !ok {
		panic("no number: " + s)
	}
	size := n.BitLen()/8 + 1
	if n.Sign() < 0 {
		n.Add(n, new(big.Int).Lsh(big.NewInt(1), uint(8*size)))
	}
	b := n.Bytes()
	for len(b) < size {
		b = append([]byte{0}, b...)
	}
	return base64.StdEncoding.EncodeToString(b), scale
}

var special = map[string]string{"NaN": `"NaN"`, "Infinity": `"+Infinity"`, "-Infinity": `"-Infinity"`}

func decimal(s string) string {
	if w := special[s]; w != "" {
		return w
	}
	b, _ := unscaledBase64(s)
	return jsonText(b)
}

func variable(s string) string {
	if w := special[s]; w != "" {
		return `{"scale":0,"value":` + w + `}`
	}
	b, scale := unscaledBase64(s)
	return fmt.Sprintf(`{"scale":%d,"value":%q}`, scale, b)
}

func money(s string) string {
	return decimal(strings.NewReplacer("$", "", ",", "").Replace(s))
}

func bytea(s string) string {
	n, _ := new(big.Int).SetString("01"+s[2:], 16)
	return jsonText(base64.StdEncoding.EncodeToString(n.Bytes()[1:]))
}

func bits(s string) string {
	n, ok := new(big.Int).SetString("0"+s, 2)
	if !ok {
		panic(s)
	}
	b := n.Bytes()
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return jsonText(base64.StdEncoding.EncodeToString(b))
}

func bit(s string) string { return map[string]string{"1": "true", "0": "false"}[s] }

func zoned(s string) string {
	if strings.HasSuffix(s, "infinity") {
		return jsonText(s)
	}
	s, bc := strings.CutSuffix(s, " BC")
	s = strings.Replace(strings.TrimSuffix(s, "+00"), " ", "T", 1)
	year, rest, _ := strings.Cut(s, "-")
	if n, _ := strconv.Atoi(year); bc && n > 1 {
		year = fmt.Sprintf("-%04d", n-1)
	} else if bc {
		year = "0000"
	} else if n > 9999 {
		year = "+" + year
	}
	return jsonText(year + "-" + rest + "Z")
}

type typeCase struct {
	typ    string
	values []string // PostgreSQL's input
	expr   string   // of v: what encode is given; "" is v::text
	encode func(string) string
	random func(*rand.Rand) string
}

func digits(r *rand.Rand, n int) string {
	b := make([]byte, 1+r.IntN(n))
	for i := range b {
		b[i] = byte('0' + r.IntN(10))
	}
	return string(b)
}

func randomText(r *rand.Rand) string {
	alphabet := []rune("aZ09 \t\n\r\b\f\\\"'{},;:<>&%=()é€😀\u2028\x01\x7f")
	b := make([]rune, r.IntN(30))
	for i := range b {
		b[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(b)
}

func randomArray(element func(*rand.Rand) string) func(*rand.Rand) string {
	return func(r *rand.Rand) string {
		var one func(depth int, n []int) string
		one = func(depth int, n []int) string {
			parts := make([]string, n[0])
			for i := range parts {
				switch {
				case len(n) > 1:
					parts[i] = one(depth+1, n[1:])
				case r.IntN(5) == 0:
					parts[i] = "NULL"
				default:
					parts[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(element(r)) + `"`
				}
			}
			return "{" + strings.Join(parts, ",") + "}"
		}
		if r.IntN(3) == 0 {
			return one(0, []int{1 + r.IntN(3), 1 + r.IntN(3)})
		}
		return one(0, []int{r.IntN(5)})
	}
}

var (
	microsExpr = `CASE v WHEN 'infinity' THEN 9223372036854775807 WHEN '-infinity' THEN -9223372036854775808 ELSE (extract(epoch FROM v) * 1000000)::bigint END::text`
	millisExpr = `CASE v WHEN 'infinity' THEN 9223372036825200000 WHEN '-infinity' THEN -9223372036832400000 ELSE (extract(epoch FROM v) * 1000)::bigint END::text`
	clockExpr  = `(extract(epoch FROM v) * 1000000)::bigint::text`
)

var typeCases = []typeCase{
	{typ: "boolean", values: []string{"t", "f"}, encode: boolean},
	{typ: "smallint", values: []string{"-32768", "0", "32767"}, encode: verbatim},
	{typ: "integer", values: []string{"-2147483648", "2147483647"}, encode: verbatim},
	{typ: "bigint", values: []string{"-9223372036854775808", "9007199254740993", "9223372036854775807"}, encode: verbatim,
		random: func(r *rand.Rand) string { return strconv.FormatInt(int64(r.Uint64()), 10) }},
	{typ: "oid", values: []string{"0", "4000000000"}, encode: verbatim},
	{typ: "real", values: []string{"NaN", "Infinity", "-Infinity", "-0", "1e-45", "3.4028235e38", "0.1"}, encode: float,
		random: func(r *rand.Rand) string { return strconv.FormatFloat(float64(r.Float32()*1e6), 'g', -1, 32) }},
	{typ: "double precision", values: []string{"NaN", "Infinity", "-Infinity", "-0", "5e-324", "1.7976931348623157e308", "0.1"}, encode: float,
		random: func(r *rand.Rand) string { return strconv.FormatFloat(r.NormFloat64()*1e9, 'g', -1, 64) }},
	{typ: "numeric(12,2)", values: []string{"0", "0.00", "-0.01", "0.01", "9999999999.99", "-9999999999.99", "1.10", "NaN", "1.28", "-1.28", "2.55", "2.56"}, encode: decimal,
		random: func(r *rand.Rand) string { return strings.Repeat("-", r.IntN(2)) + digits(r, 10) + "." + digits(r, 2) }},
	{typ: "numeric(40,20)", values: []string{"99999999999999999999.99999999999999999999", "-0.00000000000000000001"}, encode: decimal,
		random: func(r *rand.Rand) string { return strings.Repeat("-", r.IntN(2)) + digits(r, 20) + "." + digits(r, 20) }},
	{typ: "numeric(5,0)", values: []string{"0", "-99999"}, encode: decimal},
	{typ: "numeric", values: []string{"0", "0.000", "1.0", "1.00", "-1e-40", "1e40", "NaN", "Infinity", "-Infinity", "123456789012345678901234567890.123456789"}, encode: variable,
		random: func(r *rand.Rand) string { return strings.Repeat("-", r.IntN(2)) + digits(r, 40) + "." + digits(r, 40) }},
	{typ: "money", values: []string{"0", "-1234.50", "92233720368547758.07", "-92233720368547758.08"}, encode: money},
	{typ: "text", values: []string{"", " ", "NULL", "null", `\N`, `"`, "é😀", "__debezium_unavailable_value", "{}", "line\nbreak\ttab"}, encode: jsonText, random: randomText},
	{typ: "character varying(40)", values: []string{"", "  padded  "}, encode: jsonText, random: randomText},
	{typ: "character(5)", values: []string{"", "ab", "  b"}, encode: jsonText, expr: `rpad(v::text, 5)`},
	{typ: `"char"`, values: []string{"x", `\`}, encode: jsonText},
	{typ: "name", values: []string{"a name"}, encode: jsonText},
	{typ: "bytea", values: []string{`\x`, `\x00`, `\x00ff5c27`, `\xdeadbeef00`}, encode: bytea,
		random: func(r *rand.Rand) string { return fmt.Sprintf(`\x%016x%016x`, r.Uint64(), r.Uint64()) }},
	{typ: "json", values: []string{`{"a" : 1.0,  "a":2}`, `"\u0000"`, "null", `[1]`, `"x"`, "12345678901234567890.10"}, encode: jsonText},
	{typ: "jsonb", values: []string{`{"b":1.10,"a":[null,true,"\"\\"]}`, "null", `"x"`, "1e400"}, encode: jsonText},
	{typ: "xml", values: []string{"<a>b</a>", "text", "<a/><b/>"}, encode: jsonText},
	{typ: "uuid", values: []string{"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"}, encode: jsonText},
	{typ: "inet", values: []string{"10.0.0.1", "10.0.0.0/8", "::1", "fe80::1/64"}, encode: jsonText, expr: `CASE WHEN masklen(v) IN (32, 128) THEN host(v) ELSE v::text END`},
	{typ: "cidr", values: []string{"10.0.0.0/8"}, encode: jsonText},
	{typ: "macaddr", values: []string{"08:00:2b:01:02:03"}, encode: jsonText},
	{typ: "macaddr8", values: []string{"08:00:2b:01:02:03:04:05"}, encode: jsonText},
	{typ: "date", values: []string{"1970-01-01", "1969-12-31", "2000-02-29", "1900-03-01", "0001-01-01", "0001-12-31 BC", "4714-11-24 BC", "5874897-12-31", "infinity", "-infinity"},
		expr:   `CASE v WHEN 'infinity' THEN '2146033979' WHEN '-infinity' THEN '-2147472691' ELSE (v - date '1970-01-01')::text END`,
		encode: verbatim,
		random: func(r *rand.Rand) string {
			return fmt.Sprintf("%04d-%02d-%02d", 1+r.IntN(9999), 1+r.IntN(12), 1+r.IntN(28))
		}},
	{typ: "time without time zone", values: []string{"00:00:00", "24:00:00", "23:59:59.999999", "00:00:00.000001"}, expr: clockExpr, encode: verbatim},
	{typ: "time(0) without time zone", values: []string{"12:00:01"}, expr: `(extract(epoch FROM v) * 1000)::bigint::text`, encode: verbatim},
	{typ: "time(3) without time zone", values: []string{"24:00:00", "23:59:59.999"}, expr: `(extract(epoch FROM v) * 1000)::bigint::text`, encode: verbatim},
	{typ: "time with time zone", values: []string{"24:00:00+00", "11:51:30.123789+00", "11:51:02+00"}, encode: func(s string) string { return jsonText(strings.Replace(s, "+00", "Z", 1)) }},
	{typ: "timestamp without time zone", values: []string{"1970-01-01 00:00:00", "1969-12-31 23:59:59.999999", "0001-01-01 00:00:00", "0044-03-15 12:00:00 BC", "4714-11-24 00:00:00 BC", "294246-12-31 23:59:59.999999", "infinity", "-infinity", "2024-02-29 00:00:00.1"},
		expr: microsExpr, encode: verbatim,
		random: func(r *rand.Rand) string {
			return fmt.Sprintf("%04d-%02d-%02d %02d:%02d:%02d.%06d", 1+r.IntN(9999), 1+r.IntN(12), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60), r.IntN(1000000))
		}},
	{typ: "timestamp(3) without time zone", values: []string{"1969-12-31 23:59:59.999", "0044-03-15 12:00:00 BC", "infinity", "-infinity"}, expr: millisExpr, encode: verbatim},
	{typ: "timestamp(0) without time zone", values: []string{"1969-12-31 23:59:59"}, expr: millisExpr, encode: verbatim},
	{typ: "timestamp with time zone", values: []string{"1970-01-01 00:00:00+00", "2016-11-04 11:51:30.123456+00", "0001-06-15 00:00:00+00 BC", "0044-03-15 12:00:00.5+00 BC", "294276-12-31 23:59:59.999999+00", "infinity", "-infinity"}, encode: zoned,
		random: func(r *rand.Rand) string {
			return fmt.Sprintf("%04d-%02d-%02d %02d:%02d:%02d.%06d+00", 1+r.IntN(9999), 1+r.IntN(12), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60), r.IntN(1000000))
		}},
	{typ: "interval", values: []string{"0", "-00:00:01.5", "100:00:00"}, expr: `(extract(epoch FROM v) * 1000000)::bigint::text`, encode: verbatim},
	{typ: "bit(1)", values: []string{"0", "1"}, encode: bit},
	{typ: "bit(9)", values: []string{"000000000", "000000001", "100000000", "101010101"}, encode: bits},
	{typ: "bit varying(64)", values: []string{"1", "11", "10000000000000000"}, encode: bits},
	{typ: "int4range", values: []string{"[1,5)", "empty", "(,)"}, encode: jsonText},
	{typ: "tstzrange", values: []string{`["2019-03-31 15:30:00+00",infinity)`}, encode: jsonText},
	{typ: "int4multirange", values: []string{"{[1,3),[5,7)}"}, encode: jsonText},
	{typ: "point", values: []string{"(1.5,-2)", "(NaN,Infinity)"}, encode: jsonText},
	{typ: "box", values: []string{"(3,4),(1,2)"}, encode: jsonText},
	{typ: "polygon", values: []string{"((0,0),(1,1),(1,0))"}, encode: jsonText},
	{typ: "tsvector", values: []string{"'a':1 'b':2A"}, encode: jsonText},
	{typ: "public.mood", values: []string{"sad", "quite ok, \"thanks\""}, encode: jsonText},
	{typ: "public.mood[]", values: []string{`{sad,NULL,"quite ok, \"thanks\""}`}, expr: `to_json(v)::text`, encode: verbatim},
	{typ: "public.pair", values: []string{`(1,"x,\"y")`}, encode: jsonText},
	{typ: "text[]", values: []string{"{}", `{NULL,"NULL","","a b","\"","\\","{}"}`, "{{a,b},{c,NULL}}"}, expr: `to_json(v)::text`, encode: verbatim, random: randomArray(randomText)},
	{typ: "integer[]", values: []string{"{1,NULL,-3}", "{{1,2},{3,4}}", "{}"}, expr: `to_json(v)::text`, encode: verbatim},
	{typ: "double precision[]", values: []string{"{1.5,NaN,-Infinity,NULL}"}, expr: `to_json(v)::text`, encode: verbatim},
	{typ: "boolean[]", values: []string{"{t,f,NULL}"}, expr: `to_json(v)::text`, encode: verbatim},
	{typ: "uuid[]", values: []string{"{00000000-0000-0000-0000-000000000000}"}, expr: `to_json(v)::text`, encode: verbatim},
	{typ: "jsonb[]", values: []string{`{"{\"a\": 1}",NULL}`}, expr: `array_to_json(v::text[])::text`, encode: verbatim},
	{typ: "bytea[]", values: []string{`{"\\x00ff",NULL,"\\x"}`}, expr: `array_to_json(ARRAY(SELECT encode(e, 'base64') FROM unnest(v) e))::text`, encode: verbatim},
	{typ: "date[]", values: []string{"{1970-01-02,NULL}"}, expr: `array_to_json(ARRAY(SELECT e - date '1970-01-01' FROM unnest(v) e))::text`, encode: verbatim},
	{typ: "numeric(5,1)[]", values: []string{"{1.0,NULL,-2.5}"}, encode: func(s string) string {
		var out []string
		for e := range strings.SplitSeq(strings.Trim(s, "{}"), ",") {
			if e == "NULL" {
				out = append(out, "null")
				continue
			}
			out = append(out, decimal(e))
		}
		return "[" + strings.Join(out, ",") + "]"
	}},
	{typ: "public.price", values: []string{"1.25", "0.00"}, encode: decimal},
}

// TestTypesArriveAsTheyWere puts every value through an envelope into a table the sink makes, and has PostgreSQL compare
// both tables' texts and types.
func TestTypesArriveAsTheyWere(t *testing.T) {
	dsn := database(t)
	exec(t, dsn, `CREATE TYPE mood AS ENUM ('sad', 'quite ok, "thanks"')`)
	exec(t, dsn, `CREATE TYPE pair AS (a int, b text)`)
	exec(t, dsn, `CREATE DOMAIN price AS numeric(10,2) CHECK (VALUE >= 0)`)
	conn := connect(t, dsn)
	defer conn.Close(context.Background())
	r := rand.New(rand.NewPCG(1, 2))
	for i, c := range typeCases {
		values := append([]string(nil), c.values...)
		if c.random != nil {
			for range 40 {
				values = append(values, c.random(r))
			}
		}
		t.Run(c.typ, func(t *testing.T) {
			expr := c.expr
			if expr == "" {
				expr = "v::text"
			}
			source := fmt.Sprintf("source%d", i)
			exec(t, dsn, fmt.Sprintf("CREATE TABLE %s (n int, v %s)", source, c.typ))
			if _, err := conn.Exec(context.Background(), fmt.Sprintf("INSERT INTO %s SELECT n, x::%s FROM unnest($1::text[]) WITH ORDINALITY AS u(x, n)", source, c.typ), values); err != nil {
				t.Fatal(err)
			}
			exec(t, dsn, fmt.Sprintf("INSERT INTO %s VALUES (0, NULL)", source))
			base := c.typ
			if c.typ == "public.price" {
				base = "numeric(10,2)"
			}
			target := fmt.Sprintf("target%d", i)
			schema := &stream.TableSchema{ID: c.typ, Schema: "public", Table: target, Columns: []stream.Column{
				col("n", "integer", 1), {Name: "v", Type: c.typ, Base: base, Enum: strings.HasSuffix(c.typ, "mood")}}}
			q, err := conn.Query(context.Background(), fmt.Sprintf("SELECT n, coalesce(%s, '') FROM %s ORDER BY n", expr, source))
			if err != nil {
				t.Fatal(err)
			}
			encoded, err := pgx.CollectRows(q, func(row pgx.CollectableRow) (e struct {
				N int
				V string
			}, err error) {
				return e, row.Scan(&e.N, &e.V)
			})
			if err != nil {
				t.Fatal(err)
			}
			var recs []stream.Record
			for j, e := range encoded {
				v := "null"
				if e.N > 0 {
					v = c.encode(e.V)
				}
				rec := event(int64(j), "c", fmt.Sprintf(`{"n":%d}`, e.N), "", fmt.Sprintf(`{"n":%d,"v":%s}`, e.N, v), stream.PositionHeader, fmt.Sprintf("s@1.%x", j))
				recs = append(recs, rec)
			}
			sh := shard
			sh.Target = target
			sh.Owner = c.typ
			_, w := open(t, postgres.Options{DSN: dsn}, sh)
			if out := write(t, w, schema, recs...); len(out.Refused) > 0 {
				t.Fatalf("refused %+v", out.Refused)
			}
			differ(t, dsn, source, target)
			var was, is string
			if err := conn.QueryRow(context.Background(), `SELECT format_type(a.atttypid, a.atttypmod), format_type(b.atttypid, b.atttypmod)
				FROM pg_attribute a, pg_attribute b WHERE a.attrelid = $1::regclass AND b.attrelid = $2::regclass AND a.attname = 'v' AND b.attname = 'v'`,
				source, target).Scan(&was, &is); err != nil || was != is {
				t.Errorf("type %s became %s, %v", was, is, err)
			}

			// A row found again by all its columns, as a table without a key needs.
			keyless := *schema
			keyless.ID += " keyless"
			keyless.Columns = []stream.Column{{Name: "n", Type: "integer"}, schema.Columns[1]}
			sh.Owner += " keyless"
			_, w = open(t, postgres.Options{DSN: dsn}, sh)
			var deletes []stream.Record
			for j, r := range recs {
				d := event(int64(j), "d", "", strings.Split(strings.SplitN(string(r.Value), `"after":`, 2)[1], `,"source":`)[0], "", stream.PositionHeader, fmt.Sprintf("s@1.%x", j))
				deletes = append(deletes, d)
			}
			if out := write(t, w, &keyless, deletes...); len(out.Refused) > 0 {
				t.Fatalf("refused %+v", out.Refused)
			}
			if left := rows(t, dsn, target, "n"); len(left) > 0 {
				t.Errorf("not found by their columns: %q", left)
			}
		})
	}
}

// differ fails the test where two tables are not the same rows, by their text.
func differ(t testing.TB, dsn, a, b string) {
	t.Helper()
	conn := connect(t, dsn)
	defer conn.Close(context.Background())
	q, err := conn.Query(context.Background(), fmt.Sprintf(`(SELECT '%[1]s only: ' || r::text FROM %[1]s r EXCEPT ALL SELECT '%[1]s only: ' || r::text FROM %[2]s r)
		UNION ALL (SELECT '%[2]s only: ' || r::text FROM %[2]s r EXCEPT ALL SELECT '%[2]s only: ' || r::text FROM %[1]s r) LIMIT 20`, a, b))
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(q, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) > 0 {
		t.Errorf("tables differ:\n%s", strings.Join(lines, "\n"))
	}
}
