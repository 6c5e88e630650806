package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/replay"
	"freshet/replay/sink/postgres"
)

func want(t *testing.T, dsn string, lines ...string) {
	t.Helper()
	if got := rows(t, dsn, "orders", "id, name"); !slices.Equal(got, lines) {
		t.Errorf("table holds\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(lines, "\n"))
	}
}

func row(id int, name, doc string) string {
	return fmt.Sprintf(`{"id":%d,"name":"%s","net":"AOc=","doc":"%s"}`, id, name, doc)
}

func key(id int) string { return fmt.Sprintf(`{"id":%d}`, id) }

func TestUpsertFollowsTheTable(t *testing.T) {
	dsn := database(t)
	var defined []string
	_, w := open(t, postgres.Options{DSN: dsn, Defining: func(_ context.Context, table, statement string) error {
		defined = append(defined, statement)
		return nil
	}}, shard)
	defined = slices.DeleteFunc(defined, func(s string) bool { return strings.Contains(s, "freshet") })

	out := write(t, w, orders,
		event(0, "c", key(1), "", row(1, "a", "x")),
		event(1, "c", key(2), "", row(2, "b", "y")),
		event(2, "u", key(1), "", row(1, "a2", "x")),
		event(3, "c", key(3), "", row(3, "c", "z")),
		event(4, "d", key(2), row(2, "b", "y"), ""),
		tombstone(5, key(2)))
	want(t, dsn, "(1,a2,2.31,x)", "(3,c,2.31,z)")
	if out.Applied != 6 || out.Duplicate != 0 || len(out.Refused) != 0 || out.Before.After(out.After) || out.Before.IsZero() {
		t.Errorf("got %+v", out)
	}
	if !slices.ContainsFunc(defined, func(s string) bool {
		return strings.HasPrefix(s, `CREATE TABLE IF NOT EXISTS "public"."orders"`) && strings.Contains(s, `PRIMARY KEY ("id")`)
	}) {
		t.Errorf("statements seen: %q", defined)
	}

	// A create of a key that is there, an update of one that is not, a truncate between rows.
	write(t, w, orders,
		event(6, "c", key(3), "", row(3, "c2", "z")),
		event(7, "u", key(9), "", row(9, "n", "")))
	want(t, dsn, "(1,a2,2.31,x)", "(3,c2,2.31,z)", `(9,n,2.31,"")`)
	write(t, w, orders,
		event(8, "c", key(10), "", row(10, "gone", "")),
		event(9, "t", "", "", ""),
		event(10, "c", key(11), "", row(11, "kept", "k")))
	want(t, dsn, "(11,kept,2.31,k)")
}

func TestChangedKeyMovesTheRow(t *testing.T) {
	dsn := database(t)
	_, w := open(t, postgres.Options{DSN: dsn}, shard)
	write(t, w, orders, event(0, "c", key(1), "", row(1, "a", "held")))
	moved := []stream.Record{
		event(1, "d", key(1), row(1, "", ""), "", stream.NewKeyHeader, key(5)),
		tombstone(2, key(1)),
		event(3, "c", key(5), "", row(5, "b", stream.UnavailableText), stream.OldKeyHeader, key(1), stream.UnavailableHeader, `["doc"]`),
	}
	write(t, w, orders, moved...)
	want(t, dsn, "(5,b,2.31,held)")

	// Between its halves the batch may end.
	for i, r := range []stream.Record{
		event(4, "d", key(5), row(5, "", ""), "", stream.NewKeyHeader, key(6)),
		tombstone(5, key(5)),
		event(6, "c", key(6), "", row(6, "c", stream.UnavailableText), stream.OldKeyHeader, key(5), stream.UnavailableHeader, `["doc"]`),
	} {
		write(t, w, orders, r)
		if i == 1 {
			want(t, dsn, "(6,b,2.31,held)")
		}
	}
	want(t, dsn, "(6,c,2.31,held)")

	// Over a later state, as a replay meets it, the row of the new key stays and the old one goes.
	write(t, w, orders, event(7, "c", key(1), "", row(1, "old", "o")))
	for i := range moved {
		moved[i].Offset += 7
	}
	moved[0].Headers[0].Value = []byte(key(6))
	write(t, w, orders, moved[0])
	want(t, dsn, "(6,c,2.31,held)")
}

// TestDecimalKeysAreOneRow: a numeric without a scale has its zeros in the row, and none in the key.
func TestDecimalKeysAreOneRow(t *testing.T) {
	dsn := database(t)
	schema := &stream.TableSchema{ID: "00000000000000ab", Database: "shop", Schema: "public", Table: "orders", Columns: []stream.Column{col("k", "numeric", 1), col("v", "text", 0)}}
	k := func(unscaled string, scale int) string {
		return fmt.Sprintf(`{"k":{"scale":%d,"value":%q}}`, scale, unscaled)
	}
	row := func(unscaled string, scale int, v string) string {
		return fmt.Sprintf(`{"k":{"scale":%d,"value":%q},"v":%q}`, scale, unscaled, v)
	}
	_, w := open(t, postgres.Options{DSN: dsn}, shard)
	write(t, w, schema,
		event(0, "c", k("Cw==", 1), "", row("bg==", 2, "a")), // 1.10
		event(1, "u", k("Cw==", 1), "", row("Cw==", 1, "b")), // 1.1
		event(2, "c", k("Ag==", 0), "", row("AMg=", 2, "c")), // 2.00
		event(3, "d", k("Ag==", 0), row("AMg=", 2, ""), ""))
	if got := rows(t, dsn, "public.orders", "k"); !slices.Equal(got, []string{"(1.1,b)"}) {
		t.Errorf("%q", got)
	}
	write(t, w, schema, event(4, "u", k("Cw==", 1), "", row("bg==", 2, "d")), event(5, "d", k("Cw==", 1), row("bg==", 2, ""), ""), tombstone(6, k("Cw==", 1)))
	if got := rows(t, dsn, "public.orders", "k"); len(got) > 0 {
		t.Errorf("%q", got)
	}
}

func TestUnavailableKeepsTheHeldValue(t *testing.T) {
	for _, captured := range []bool{true, false} {
		t.Run(fmt.Sprint("captured ", captured), func(t *testing.T) {
			dsn := database(t)
			_, w := open(t, postgres.Options{DSN: dsn}, shard)
			var headers []string
			if captured {
				headers = []string{stream.UnavailableHeader, `["doc"]`}
			}
			write(t, w, orders,
				event(0, "c", key(1), "", row(1, "a", "held")),
				event(1, "c", key(2), "", row(2, "b", "held2")))
			out := write(t, w, orders,
				event(2, "u", key(1), "", row(1, "a2", stream.UnavailableText), headers...),
				event(3, "u", key(2), "", row(2, "b2", "new")),
				event(4, "u", key(2), "", row(2, "b3", stream.UnavailableText), headers...),
				event(5, "u", key(7), "", row(7, "z", stream.UnavailableText), headers...))
			want(t, dsn, "(1,a2,2.31,held)", "(2,b3,2.31,new)", "(7,z,2.31,)")
			if out.Applied != 4 || out.Incomplete != 1 {
				t.Errorf("got %+v", out)
			}
		})
	}
	t.Run("the text itself", func(t *testing.T) {
		dsn := database(t)
		_, w := open(t, postgres.Options{DSN: dsn}, shard)
		write(t, w, orders, event(0, "c", key(1), "", row(1, "a", stream.UnavailableText), stream.PositionHeader, "s@1.0"))
		want(t, dsn, "(1,a,2.31,"+stream.UnavailableText+")")
	})
	t.Run("refused", func(t *testing.T) {
		dsn := database(t)
		_, w := open(t, postgres.Options{DSN: dsn, Missing: postgres.MissingRefuse}, shard)
		out := write(t, w, orders, event(0, "c", key(1), "", row(1, "a", "x")),
			event(1, "u", key(2), "", row(2, "b", stream.UnavailableText), stream.UnavailableHeader, `["doc"]`))
		want(t, dsn, "(1,a,2.31,x)")
		if out.Applied != 1 || len(out.Refused) != 1 || out.Refused[0].Offset != 1 || !strings.Contains(out.Refused[0].Reason, "doc") {
			t.Errorf("got %+v", out)
		}
	})
}

func TestPositionsDropWhatWasApplied(t *testing.T) {
	dsn := database(t)
	keyless := *orders
	keyless.Columns = slices.Clone(orders.Columns)
	keyless.Columns[0].Key = 0
	_, w := open(t, postgres.Options{DSN: dsn}, shard)
	at := func(offset int64, pos, name string) stream.Record {
		return event(offset, "c", "", "", row(int(offset), name, ""), stream.PositionHeader, pos)
	}
	write(t, w, &keyless, at(0, "s@a.0", "one"), at(1, "s@a.1", "two"))
	out := write(t, w, &keyless, at(2, "s@a.0", "again"), at(3, "s@a.1", "again"), at(4, "s@b.0", "three"))
	if out.Duplicate != 2 || out.Applied != 1 {
		t.Errorf("got %+v", out)
	}
	if p := w.Progress(); p.Next != 5 || p.Position.String() != "s@b.0" {
		t.Errorf("progress %+v", p)
	}
	want(t, dsn, `(0,one,2.31,"")`, `(1,two,2.31,"")`, `(4,three,2.31,"")`)
}

func TestNewSnapshotEmptiesTheTable(t *testing.T) {
	dsn := database(t)
	_, w := open(t, postgres.Options{DSN: dsn}, shard)
	write(t, w, orders, event(0, "r", key(1), "", row(1, "a", ""), stream.PositionHeader, "s1@a.0"),
		event(1, "c", key(2), "", row(2, "b", ""), stream.PositionHeader, "s1@b.0"))
	out := write(t, w, orders, event(2, "c", key(3), "", row(3, "c", ""), stream.PositionHeader, "s1@c.0"),
		event(3, "r", key(4), "", row(4, "d", ""), stream.PositionHeader, "s2@1.0"),
		event(4, "r", key(5), "", row(5, "e", ""), stream.PositionHeader, "s2@1.1"))
	if out.Applied != 3 {
		t.Errorf("got %+v", out)
	}
	want(t, dsn, `(4,d,2.31,"")`, `(5,e,2.31,"")`)

	// Another partition of the topic that meets the new source later leaves its rows alone.
	other := shard
	other.Partition = 1
	_, w2 := open(t, postgres.Options{DSN: dsn}, other)
	write(t, w2, orders, event(0, "c", key(20), "", row(20, "x", ""), stream.PositionHeader, "s1@a.0"))
	write(t, w2, orders, event(1, "r", key(21), "", row(21, "y", ""), stream.PositionHeader, "s2@1.2"))
	want(t, dsn, `(4,d,2.31,"")`, `(5,e,2.31,"")`, `(20,x,2.31,"")`, `(21,y,2.31,"")`)
}

func TestKeylessRowsAreMatchedWhole(t *testing.T) {
	dsn := database(t)
	s := &stream.TableSchema{ID: "k", Schema: "public", Table: "orders", Columns: []stream.Column{
		col("id", "integer", 0), col("name", "text", 0), col("net", "numeric", 0), col("doc", "json", 0), col("at", "point", 0)}}
	_, w := open(t, postgres.Options{DSN: dsn}, shard)
	r := func(net string) string {
		return `{"id":1,"name":null,"net":` + net + `,"doc":"{\"a\": 1}","at":{"x":1.5,"y":2}}`
	}
	write(t, w, s, event(0, "c", "", "", r("1.0")), event(1, "c", "", "", r("1.00")), event(2, "c", "", "", r("1.0")), event(3, "c", "", "", r("7")))
	write(t, w, s, event(4, "u", "", r("1.00"), r("2")))
	if got := strings.Join(rows(t, dsn, "orders", "net::text"), " "); strings.Contains(got, "1.00") || strings.Count(got, ",1.0,") != 2 {
		t.Errorf("another row than the one written alike was changed: %s", got)
	}
	write(t, w, s, event(5, "d", "", r("1.0"), ""), event(6, "d", "", r("99"), ""), event(7, "u", "", r("98"), r("3")))
	got := rows(t, dsn, "orders", "net")
	if want := []string{`(1,,1.0,"{""a"": 1}","(1.5,2)")`, `(1,,2,"{""a"": 1}","(1.5,2)")`, `(1,,3,"{""a"": 1}","(1.5,2)")`, `(1,,7,"{""a"": 1}","(1.5,2)")`}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	out := write(t, w, s, event(8, "u", "", "", r("1")), event(9, "d", "", "", ""))
	if len(out.Refused) != 2 || !strings.Contains(out.Refused[0].Reason, "REPLICA IDENTITY FULL") {
		t.Errorf("got %+v", out)
	}
}

func TestRefusalsLeaveTheRestApplied(t *testing.T) {
	dsn := database(t)
	exec(t, dsn, `CREATE TABLE orders (id bigint PRIMARY KEY, name text UNIQUE, net numeric(12,2) CHECK (net > 0), doc jsonb)`)
	_, w := open(t, postgres.Options{DSN: dsn}, shard)
	var recs []stream.Record
	for i := range 200 {
		name, doc := fmt.Sprint("n", i), `{}`
		switch i {
		case 17:
			name = `nul\u0000`
		case 42:
			doc = `{\"a\":\"\\u0000\"}`
		case 99:
			name = "n98"
		case 150:
			doc = `{`
		}
		recs = append(recs, event(int64(i), "c", key(i), "", row(i, name, doc)))
	}
	recs[120].Value = []byte(strings.Replace(string(recs[120].Value), "AOc=", "/w==", 1))
	recs[180].Value = []byte(`{"x":1}`)
	var told []replay.Refusal
	in := batchOf(t, orders, recs...)
	in.Refusing = func(_ context.Context, r []replay.Refusal) error { told = append(told, r...); return nil }
	out, err := w.Write(context.Background(), in)
	if err != nil {
		t.Fatal(err)
	}
	var offsets []int64
	for _, r := range out.Refused {
		offsets = append(offsets, r.Offset)
		if strings.Contains(r.Reason, "n98") {
			t.Errorf("a value is in the reason %q", r.Reason)
		}
	}
	if want := []int64{17, 42, 99, 120, 150, 180}; !slices.Equal(offsets, want) || out.Applied != 194 || !slices.Equal(told, out.Refused) {
		t.Errorf("refused %v, applied %d: %+v", offsets, out.Applied, out.Refused)
	}
	if got := rows(t, dsn, "orders", "id"); len(got) != 194 {
		t.Errorf("%d rows", len(got))
	}
}

func TestRefusingErrorCommitsNothing(t *testing.T) {
	dsn := database(t)
	_, w := open(t, postgres.Options{DSN: dsn}, shard)
	in := batchOf(t, orders, event(0, "c", key(1), "", row(1, "a", "")), event(1, "c", key(2), "", row(2, `\u0000`, "")))
	in.Refusing = func(context.Context, []replay.Refusal) error {
		return fault.New(fault.Unavailable, "park", "", "ledger is full")
	}
	if _, err := w.Write(context.Background(), in); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
	want(t, dsn)
	if w.Progress().Next != 0 {
		t.Error("progress moved")
	}
}

func TestSchemaThatDoesNotFitBlocks(t *testing.T) {
	for name, c := range map[string]struct{ ddl, next string }{
		"column missing": {`CREATE TABLE orders (id bigint PRIMARY KEY, name text, net numeric(12,2))`, `ADD COLUMN "doc" text`},
		"no unique key":  {`CREATE TABLE orders (id bigint, name text, net numeric(12,2), doc text)`, `ADD UNIQUE ("id")`},
		"too narrow":     {`CREATE TABLE orders (id bigint PRIMARY KEY, name varchar(3), net numeric(12,2), doc text)`, "resume"},
		"too small":      {`CREATE TABLE orders (id bigint PRIMARY KEY, name text, net numeric(2,2), doc text)`, "resume"},
		"not null":       {`CREATE TABLE orders (id bigint PRIMARY KEY, name text, net numeric(12,2), doc text, more text NOT NULL)`, "resume"},
		"other type":     {`CREATE TABLE orders (id bigint PRIMARY KEY, name text, net numeric(12,2) REFERENCES x, doc text)`, "resume"},
	} {
		t.Run(name, func(t *testing.T) {
			dsn := database(t)
			exec(t, dsn, "CREATE TABLE x (id numeric PRIMARY KEY)")
			exec(t, dsn, c.ddl)
			_, w := open(t, postgres.Options{DSN: dsn}, shard)
			_, err := w.Write(context.Background(), batchOf(t, orders, event(0, "c", key(1), "", row(1, "long enough", ""))))
			if !fault.Is(err, fault.Blocked) || !strings.Contains(err.Error(), c.next) || strings.Contains(err.Error(), "long enough") {
				t.Errorf("got %v", err)
			}
			want(t, dsn)

			// Once mended, the same writer goes on.
			exec(t, dsn, "DROP TABLE orders")
			write(t, w, orders, event(0, "c", key(1), "", row(1, "long enough", "")))
			want(t, dsn, `(1,"long enough",2.31,"")`)
		})
	}
}
