package postgres_test

import (
	"context"
	"fmt"
	"testing"

	"freshet/backend/stream"
	"freshet/replay"
	"freshet/replay/sink/postgres"
)

// BenchmarkUpsert writes batches of decoded updates of pgbench_accounts' shape: 100,000 keys, 2,000 changes a batch.
func BenchmarkUpsert(b *testing.B) {
	schema := &stream.TableSchema{ID: "accounts", Schema: "public", Table: "pgbench_accounts", Columns: []stream.Column{
		col("aid", "integer", 1), col("bid", "integer", 0), col("abalance", "integer", 0), col("filler", "character(84)", 0)}}
	benchmark(b, schema, func(i int) stream.Record {
		id := i * 7919 % 100000
		return event(0, "u", fmt.Sprintf(`{"aid":%d}`, id), "", fmt.Sprintf(`{"aid":%d,"bid":1,"abalance":%d,"filler":"%84s"}`, id, i, ""))
	})
}

// BenchmarkInsert writes batches of decoded inserts of pgbench_history's shape, which has no key.
func BenchmarkInsert(b *testing.B) {
	schema := &stream.TableSchema{ID: "history", Schema: "public", Table: "pgbench_history", Columns: []stream.Column{
		col("tid", "integer", 0), col("bid", "integer", 0), col("aid", "integer", 0), col("delta", "integer", 0),
		col("mtime", "timestamp without time zone", 0), col("filler", "character(22)", 0)}}
	benchmark(b, schema, func(i int) stream.Record {
		return event(0, "c", "", "", fmt.Sprintf(`{"tid":%d,"bid":1,"aid":%d,"delta":-7,"mtime":1795514400123456,"filler":null}`, i%10, i))
	})
}

func benchmark(b *testing.B, schema *stream.TableSchema, make func(i int) stream.Record) {
	const size, batches = 2000, 50
	dsn := database(b)
	_, w := open(b, postgres.Options{DSN: dsn}, shard)
	var prepared [batches][]replay.Item
	for n := range prepared {
		for i := range size {
			prepared[n] = append(prepared[n], item(b, make(n*size+i), schema))
		}
	}
	next := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		in := replay.Write{Items: prepared[next/size%batches], Next: next + size}
		for i := range in.Items {
			in.Items[i].Record.Offset = next + int64(i)
		}
		if _, err := w.Write(context.Background(), in); err != nil {
			b.Fatal(err)
		}
		next += size
	}
	b.ReportMetric(float64(next)/b.Elapsed().Seconds(), "rows/s")
}
