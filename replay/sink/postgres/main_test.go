package postgres_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"freshet/backend/decode"
	"freshet/backend/stream"
	"freshet/backend/testkit"
	"freshet/replay"
	"freshet/replay/sink/postgres"
)

var server struct {
	sync.Mutex
	*testkit.PostgresServer
	databases int
}

func TestMain(m *testing.M) {
	code := m.Run()
	if server.PostgresServer != nil {
		if err := server.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// database makes a database of the test's own on the package's server.
func database(t testing.TB) string {
	t.Helper()
	server.Lock()
	defer server.Unlock()
	if server.PostgresServer == nil {
		bin := testkit.PostgresBinaries(t, 15)
		s, err := testkit.StartPostgres(bin, 15, "fsync=off", "deadlock_timeout=100ms", "max_wal_size=1GB")
		if err != nil {
			t.Fatal(err)
		}
		server.PostgresServer = s
	}
	server.databases++
	name := fmt.Sprintf("d%d", server.databases)
	exec(t, server.DSN("postgres"), "CREATE DATABASE "+name)
	return server.DSN(name)
}

func connect(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func exec(t testing.TB, dsn, sql string, args ...any) {
	t.Helper()
	c := connect(t, dsn)
	defer c.Close(context.Background())
	if _, err := c.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
}

// rows is what a query returns, each row as PostgreSQL writes it.
func rows(t testing.TB, dsn, table, order string) []string {
	t.Helper()
	c := connect(t, dsn)
	defer c.Close(context.Background())
	r, err := c.Query(context.Background(), "SELECT r::text FROM "+table+" r ORDER BY "+order)
	if err != nil {
		t.Fatal(err)
	}
	out, err := pgx.CollectRows(r, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func open(t testing.TB, opts postgres.Options, shard replay.Shard) (*postgres.Sink, replay.Writer) {
	t.Helper()
	s, err := postgres.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	w, err := s.Open(context.Background(), shard)
	if err != nil {
		t.Fatal(err)
	}
	return s, w
}

var shard = replay.Shard{Owner: "warehouse", Epoch: 1, Topic: "shop.public.orders", TopicID: [16]byte{1}}

// item decodes a record as the runner does.
func item(t testing.TB, rec stream.Record, schema *stream.TableSchema) replay.Item {
	t.Helper()
	it := replay.Item{Record: &rec, Schema: schema}
	if rec.Value == nil {
		return it
	}
	v, err := decode.JSON(rec.Value)
	if err != nil {
		t.Fatal(err)
	}
	c, ok, err := decode.Debezium(&rec, &v)
	if err != nil {
		t.Fatal(err)
	}
	it.Value = &v
	if ok {
		it.Change = c
	}
	return it
}

func col(name, typ string, key int) stream.Column {
	return stream.Column{Name: name, Type: typ, Base: typ, Key: key, NotNull: key > 0}
}

var orders = &stream.TableSchema{ID: "00000000000000aa", Database: "shop", Schema: "public", Table: "orders",
	Columns: []stream.Column{col("id", "bigint", 1), col("name", "text", 0), col("net", "numeric(12,2)", 0), col("doc", "text", 0)}}

// event writes an envelope by hand. key, before and after are JSON or "".
func event(offset int64, op, key, before, after string, headers ...string) stream.Record {
	null := func(s string) string {
		if s == "" {
			return "null"
		}
		return s
	}
	r := stream.Record{Topic: "shop.public.orders", Offset: offset,
		Value: fmt.Appendf(nil, `{"before":%s,"after":%s,"source":{"version":"1","connector":"postgresql","name":"shop","ts_ms":1,"snapshot":"false","db":"shop","schema":"public","table":"orders"},"op":"%s","ts_ms":1}`,
			null(before), null(after), op)}
	if key != "" {
		r.Key = []byte(key)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Headers = append(r.Headers, stream.Header{Key: headers[i], Value: []byte(headers[i+1])})
	}
	return r
}

func tombstone(offset int64, key string) stream.Record {
	return stream.Record{Topic: "shop.public.orders", Offset: offset, Key: []byte(key)}
}

func write(t testing.TB, w replay.Writer, schema *stream.TableSchema, recs ...stream.Record) replay.Written {
	t.Helper()
	out, err := w.Write(context.Background(), batchOf(t, schema, recs...))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func batchOf(t testing.TB, schema *stream.TableSchema, recs ...stream.Record) replay.Write {
	t.Helper()
	var in replay.Write
	for _, r := range recs {
		in.Items = append(in.Items, item(t, r, schema))
		in.Next = r.Offset + 1
	}
	return in
}
