package postgres_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"freshet/backend/stream"
	"freshet/backend/testkit"
	"freshet/replay"
	"freshet/replay/replaytest"
	"freshet/replay/sink/postgres"
)

func TestSinkConforms(t *testing.T) {
	t.Run("15", func(t *testing.T) { conform(t, database) })
	t.Run("18", func(t *testing.T) {
		if os.Getenv("FRESHET_PROOF") == "" {
			t.Skip("FRESHET_PROOF=1 runs it on PostgreSQL 18 as well")
		}
		p := testkit.Postgres(t, 18, "fsync=off")
		n := 0
		conform(t, func(testing.TB) string { n++; return p.CreateDatabase(fmt.Sprint("d", n)) })
	})
}

func conform(t *testing.T, database func(testing.TB) string) {
	query := func(t testing.TB, dsn, sql string, args ...any) []string {
		c := connect(t, dsn)
		defer c.Close(context.Background())
		q, err := c.Query(context.Background(), sql, args...)
		if err != nil {
			t.Fatal(err)
		}
		out, err := pgx.CollectRows(q, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	state := func(t testing.TB, dsn string) string {
		return strings.Join(query(t, dsn, `SELECT n.nspname || '.' || c.relname || ' ' || pg_relation_size(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema' ORDER BY 1`), "\n")
	}
	harness := func(t *testing.T, mode postgres.Mode, keyless bool) replaytest.SinkHarness {
		dsn := database(t)
		schema := &stream.TableSchema{ID: "conform", Schema: "public", Table: "orders", Columns: []stream.Column{
			col("p", "integer", 1), col("id", "bigint", 2), col("name", "text", 0)}}
		if keyless {
			schema.Columns[0].Key, schema.Columns[1].Key = 0, 0
		}
		make := func(t testing.TB, p int32, o int64, name string) replay.Item {
			k := ""
			if !keyless {
				k = fmt.Sprintf(`{"p":%d,"id":%d}`, p, o)
			}
			rec := event(o, "c", k, "", fmt.Sprintf(`{"p":%d,"id":%d,"name":"%s"}`, p, o, name))
			rec.Partition = p
			return item(t, rec, schema)
		}
		h := replaytest.SinkHarness{
			Capabilities: postgres.Spec.Capabilities,
			Shard:        replay.Shard{Topic: "shop.public.orders", TopicID: [16]byte{9}},
			Open: func(t testing.TB) replay.Sink {
				s, err := postgres.New(postgres.Options{DSN: dsn, Mode: mode})
				if err != nil {
					t.Fatal(err)
				}
				return s
			},
			State: func(t testing.TB) string { return state(t, dsn) },
			Item:  func(t testing.TB, p int32, o int64) replay.Item { return make(t, p, o, "fine") },
			Clear: func(t testing.TB) {
				exec(t, dsn, `DROP TABLE IF EXISTS orders, "shop.public.orders"`)
			},
		}
		table, partition, offset := "orders", "p", "id"
		if mode == postgres.Append {
			table, partition, offset = `"shop.public.orders"`, "partition", `"offset"`
		} else {
			h.Refused = func(t testing.TB, p int32, o int64) (replay.Item, string) {
				return make(t, p, o, `s3cret\u0000`), "s3cret"
			}
		}
		h.Seen = func(t testing.TB, p int32) (out []int64) {
			if len(query(t, dsn, `SELECT 'there' WHERE to_regclass($1) IS NOT NULL`, table)) == 0 {
				return nil
			}
			for _, s := range query(t, dsn, fmt.Sprintf(`SELECT x.%s::text FROM %s x WHERE x.%s = $1::int ORDER BY x.%s`, offset, table, partition, offset), p) {
				n, err := strconv.ParseInt(s, 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, n)
			}
			return out
		}
		return h
	}
	t.Run("upsert", func(t *testing.T) { replaytest.Sink(t, harness(t, postgres.Upsert, false)) })
	t.Run("upsert without a key", func(t *testing.T) { replaytest.Sink(t, harness(t, postgres.Upsert, true)) })
	t.Run("append", func(t *testing.T) { replaytest.Sink(t, harness(t, postgres.Append, false)) })
}
