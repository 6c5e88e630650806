package postgres_test

import (
	"context"
	"crypto/md5"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"freshet/backend/cdc"
	"freshet/backend/cdc/cdctest"
	capture "freshet/backend/cdc/postgres"
	"freshet/backend/stream"
	"freshet/replay"
)

// captured runs a real capture of a database's tables, has work change them, and returns each topic's records, decoded.
func captured(t *testing.T, dsn string, tables []string, properties map[string]string, work func()) map[string][]replay.Item {
	t.Helper()
	log, store := cdctest.NewLog(1000), cdctest.NewStore()
	defer log.Close()
	name := strings.TrimPrefix(dsn[strings.LastIndexByte(dsn, '/'):strings.IndexByte(dsn, '?')], "/")
	options := cdc.Options{Name: name, Type: "postgres", Prefix: "shop", Tables: tables, Properties: properties}
	source, err := capture.New(capture.Options{Options: options, DSN: dsn, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	pipeline := cdc.NewPipeline(cdc.PipelineOptions{Stored: cdc.Stored{Options: options}, Source: source, Log: log, Schemas: store, Store: store})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		pipeline.Run(ctx)
	}()
	wait := func(what string, done func() bool) {
		for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
			p := pipeline.Progress()
			if p.State == cdc.Stopped || time.Now().After(deadline) {
				t.Fatalf("%s: the capture is %s %s", what, p.State, p.Why)
			}
		}
	}
	wait("start", func() bool { return pipeline.Progress().State == cdc.Streaming })
	work()
	end, err := source.Position(ctx)
	if err != nil {
		t.Fatal(err)
	}
	wait("catch up", func() bool { return pipeline.Progress().Appended >= end })
	cancel()
	<-ended
	if err := source.Drop(context.Background(), pipeline.State()); err != nil {
		t.Fatal(err)
	}
	topics := map[string][]replay.Item{}
	for _, topic := range log.Topics() {
		for _, rec := range log.Records(topic) {
			var schema *stream.TableSchema
			if id, ok := rec.Header(stream.SchemaHeader); ok {
				s, ok := store.Schema(string(id))
				if !ok {
					t.Fatalf("%s:%d names a schema that was not published", topic, rec.Offset)
				}
				schema = &s
			}
			topics[topic] = append(topics[topic], item(t, rec, schema))
		}
	}
	return topics
}

// same compares a table in two databases by its rows' text and its columns' types.
func same(t *testing.T, source, target, table string) {
	t.Helper()
	read := func(dsn, sql string) []string {
		c := connect(t, dsn)
		defer c.Close(context.Background())
		q, err := c.Query(context.Background(), sql)
		if err != nil {
			t.Fatalf("%s: %v", table, err)
		}
		out, err := pgx.CollectRows(q, pgx.RowTo[string])
		if err != nil {
			t.Fatalf("%s: %v", table, err)
		}
		slices.Sort(out)
		return out
	}
	for _, sql := range []string{"SELECT r::text FROM " + table + " r",
		"SELECT attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull FROM pg_attribute WHERE attnum > 0 AND attrelid = '" + table + "'::regclass"} {
		a, b := read(source, sql), read(target, sql)
		if !slices.Equal(a, b) {
			for i := range max(len(a), len(b)) {
				if i >= len(a) || i >= len(b) || a[i] != b[i] {
					get := func(s []string) string {
						if i < len(s) {
							return fmt.Sprintf("%.300s", s[i])
						}
						return "nothing"
					}
					t.Errorf("%s: %d and %d rows, the first that differs:\n%s\n%s", table, len(a), len(b), get(a), get(b))
					break
				}
			}
		}
	}
}

// TestCapturedTypesArrive takes every type through the real capture: what the snapshot reads and what the stream sends,
// in each way of writing them that loses nothing.
func TestCapturedTypesArrive(t *testing.T) {
	for name, properties := range map[string]map[string]string{
		"usual": nil,
		"texts": {"decimal.handling.mode": "string", "binary.handling.mode": "hex", "time.precision.mode": "isostring", "interval.handling.mode": "string", "hstore.handling.mode": "map"},
		"micro": {"binary.handling.mode": "base64-url-safe", "time.precision.mode": "microseconds"},
	} {
		t.Run(name, func(t *testing.T) { capturedTypesArrive(t, properties) })
	}
}

func capturedTypesArrive(t *testing.T, properties map[string]string) {
	source, target := database(t), database(t)
	for _, dsn := range []string{source, target} {
		exec(t, dsn, `CREATE TYPE mood AS ENUM ('sad', 'quite ok, "thanks"')`)
		exec(t, dsn, `CREATE TYPE pair AS (a int, b text)`)
		exec(t, dsn, `CREATE DOMAIN price AS numeric(10,2) CHECK (VALUE >= 0)`)
	}
	conn := connect(t, source)
	defer conn.Close(context.Background())
	r := rand.New(rand.NewPCG(3, 4))
	fill := func(from int) {
		for i, c := range typeCases {
			values := slices.Clone(c.values)
			if c.random != nil {
				for range 20 {
					values = append(values, c.random(r))
				}
			}
			if _, err := conn.Exec(context.Background(), fmt.Sprintf("INSERT INTO types%d SELECT n + %d, x::%s FROM unnest($1::text[]) WITH ORDINALITY AS u(x, n)", i, from, c.typ), values); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, c := range typeCases {
		exec(t, source, fmt.Sprintf("CREATE TABLE types%d (n int PRIMARY KEY, v %s)", i, c.typ))
	}
	fill(0)
	topics := captured(t, source, []string{"public.types*"}, properties, func() { fill(1000) })
	for i, c := range typeCases {
		table := fmt.Sprintf("public.types%d", i)
		t.Run(c.typ, func(t *testing.T) {
			var incomplete int64
			drain(t, r, target, "shop."+table, topics["shop."+table], &incomplete)
			same(t, source, target, table)
		})
	}
}

// TestCapturedTablesEqualTheirSources holds, over random lives of tables in a real database, that what was captured and
// written in random cuts with writers dropped equals the source in every column, large values included.
func TestCapturedTablesEqualTheirSources(t *testing.T) {
	seeds := 2
	if os.Getenv("FRESHET_PROOF") != "" {
		seeds = 20
	}
	tables := []string{"keyed", "pairs", "keyless", `"Odd ""name"" . x"`}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			source, target := database(t), database(t)
			r := rand.New(rand.NewPCG(seed, 9))
			exec(t, source, `CREATE TABLE keyed (id bigint PRIMARY KEY, name text, doc text, net numeric(12,2), at timestamptz, body jsonb, tags text[], raw bytea)`)
			exec(t, source, `CREATE TABLE pairs (a int, b text, doc text, n numeric, PRIMARY KEY (b, a))`)
			exec(t, source, `CREATE TABLE keyless (a int, b text, doc text, j json, n double precision)`)
			exec(t, source, `CREATE TABLE "Odd ""name"" . x" ("Id ""q""" int PRIMARY KEY, "a b" text, g int GENERATED ALWAYS AS IDENTITY)`)
			exec(t, source, `ALTER TABLE keyless REPLICA IDENTITY FULL; `)
			for _, table := range []string{"keyed", "pairs", "keyless"} {
				exec(t, source, `ALTER TABLE `+table+` ALTER COLUMN doc SET STORAGE EXTERNAL`)
			}
			conn := connect(t, source)
			defer conn.Close(context.Background())
			large := func() string {
				if r.IntN(3) == 0 {
					return "small"
				}
				var b strings.Builder
				for range 300 {
					fmt.Fprintf(&b, "%x", md5.Sum([]byte(fmt.Sprint(r.Uint64()))))
				}
				return b.String()
			}
			// do runs a statement in a savepoint: a key that is taken is no failure of the test.
			do := func(tx pgx.Tx, sql string, args ...any) {
				nested, err := tx.Begin(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				if _, err = nested.Exec(context.Background(), sql, args...); err == nil {
					err = nested.Commit(context.Background())
				} else if strings.Contains(err.Error(), "23505") {
					err = nested.Rollback(context.Background())
				}
				if err != nil {
					t.Fatalf("%v\n%s", err, sql)
				}
			}
			life := func(transactions int) {
				for range transactions {
					tx, err := conn.Begin(context.Background())
					if err != nil {
						t.Fatal(err)
					}
					for range 1 + r.IntN(8) {
						id, other := r.IntN(30), r.IntN(30)
						switch r.IntN(20) {
						case 0, 1, 2:
							do(tx, `INSERT INTO keyed VALUES ($1, $2, $3, $4::text::numeric, now(), '{"a": 1.10}', ARRAY[$2, NULL], decode(md5($2), 'hex'))`, id, randomText(r), large(), digits(r, 8)+"."+digits(r, 2))
						case 3, 4:
							do(tx, `UPDATE keyed SET name = $2 WHERE id = $1`, id, randomText(r))
						case 5:
							do(tx, `UPDATE keyed SET doc = $2 WHERE id = $1`, id, large())
						case 6:
							do(tx, `UPDATE keyed SET id = $2 WHERE id = $1`, id, other)
						case 7:
							do(tx, `UPDATE keyed SET id = $2, doc = $3 WHERE id = $1`, id, other, large())
						case 8:
							do(tx, `DELETE FROM keyed WHERE id = $1`, id)
						case 9, 10:
							do(tx, `INSERT INTO pairs VALUES ($1, $2, $3, $4::text::numeric)`, id%4, fmt.Sprint("k", other%4), large(), digits(r, 20)+"."+digits(r, 9))
						case 11:
							do(tx, `UPDATE pairs SET n = n + 1 WHERE a = $1 AND b = $2`, id%4, fmt.Sprint("k", other%4))
						case 12:
							do(tx, `UPDATE pairs SET a = a + 1 WHERE b = $1 AND a = $2`, fmt.Sprint("k", other%4), id%4)
						case 13:
							do(tx, `DELETE FROM pairs WHERE a = $1 AND b = $2`, id%4, fmt.Sprint("k", other%4))
						case 14, 15:
							do(tx, `INSERT INTO keyless VALUES ($1, $2, $3, '{"x" : 1}', random())`, id%5, randomText(r), large())
						case 16:
							do(tx, `UPDATE keyless SET n = n * 2 WHERE a = $1`, id%5)
						case 17:
							do(tx, `DELETE FROM keyless WHERE ctid = (SELECT ctid FROM keyless WHERE a = $1 LIMIT 1)`, id%5)
						case 18:
							do(tx, `INSERT INTO "Odd ""name"" . x" VALUES ($1, $2)`, id, randomText(r))
						case 19:
							if r.IntN(4) == 0 {
								do(tx, "TRUNCATE "+tables[r.IntN(len(tables))])
							}
						}
					}
					if r.IntN(10) == 0 {
						err = tx.Rollback(context.Background())
					} else {
						err = tx.Commit(context.Background())
					}
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			life(20)
			topics := captured(t, source, []string{"public.*"}, nil, func() { life(150) })
			for topic, items := range topics {
				var incomplete int64
				takeOvers := drain(t, r, target, topic, items, &incomplete)
				if incomplete > 0 {
					t.Errorf("%s: %d rows lack a value", topic, incomplete)
				}
				t.Logf("%s: %d records, %d take-overs", topic, len(items), takeOvers)
			}
			for _, table := range tables {
				same(t, source, target, table)
			}
		})
	}
}
