package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/backend/testkit"
	"freshet/replay"
	"freshet/replay/sink/postgres"
)

// cut is a connection that breaks at the first COMMIT while armed: after the server's answer, or before the request.
type cut struct {
	net.Conn
	armed  *atomic.Bool
	before bool
	broken atomic.Bool
}

func (c *cut) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("commit\x00")) && c.armed.CompareAndSwap(true, false) {
		c.broken.Store(true)
		if c.before {
			c.Close()
			return 0, net.ErrClosed
		}
	}
	return c.Conn.Write(b)
}

func (c *cut) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.broken.Load() && err == nil {
		c.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

func TestUnknownCommitFollowsTheProgress(t *testing.T) {
	keyless := *orders
	keyless.ID = "keyless"
	keyless.Columns = append([]stream.Column{col("id", "bigint", 0)}, orders.Columns[1:]...)
	for _, before := range []bool{false, true} {
		t.Run(fmt.Sprint("lost before it arrived ", before), func(t *testing.T) {
			dsn := database(t)
			var armed atomic.Bool
			_, w := open(t, postgres.Options{DSN: dsn, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, address)
				if err != nil {
					return nil, err
				}
				return &cut{Conn: conn, armed: &armed, before: before}, nil
			}}, shard)
			write(t, w, &keyless, event(0, "c", "", "", row(1, "a", "")))
			armed.Store(true)
			out, err := w.Write(context.Background(), batchOf(t, &keyless, event(1, "c", "", "", row(2, "b", ""))))
			if err != nil {
				if !fault.Is(err, fault.Unavailable) {
					t.Fatal(err)
				}
				out = write(t, w, &keyless, event(1, "c", "", "", row(2, "b", "")))
			}
			if armed.Load() || out.Applied != 1 {
				t.Fatalf("armed %v, got %+v", armed.Load(), out)
			}
			write(t, w, &keyless, event(2, "c", "", "", row(3, "c", "")))
			want(t, dsn, `(1,a,2.31,"")`, `(2,b,2.31,"")`, `(3,c,2.31,"")`)
		})
	}
}

func TestServerGoesAndComes(t *testing.T) {
	p := testkit.Postgres(t, 15)
	dsn := p.CreateDatabase("d")
	_, w := open(t, postgres.Options{DSN: dsn}, shard)
	write(t, w, orders, event(0, "c", key(1), "", row(1, "a", "")))
	for i, stop := range []func(){func() { p.Stop(testkit.Fast) }, func() { p.Stop(testkit.Immediate) }, p.Kill} {
		stop()
		in := batchOf(t, orders, event(int64(1+i), "u", key(1), "", row(1, fmt.Sprint("b", i), "")))
		if _, err := w.Write(context.Background(), in); !fault.Is(err, fault.Unavailable) {
			t.Errorf("while the server is gone: %v", err)
		}
		p.Start()
		if _, err := w.Write(context.Background(), in); err != nil {
			// A pooled connection may only now be found dead.
			if !fault.Is(err, fault.Unavailable) {
				t.Fatal(err)
			}
			if _, err := w.Write(context.Background(), in); err != nil {
				t.Fatal(err)
			}
		}
	}
	want(t, dsn, `(1,b2,2.31,"")`)
}

// A writer that is frozen in its transaction holds nobody up for longer than the server's limit, and comes to nothing.
func TestTakeOverOfAFrozenWriter(t *testing.T) {
	dsn := database(t)
	_, old := open(t, postgres.Options{DSN: dsn}, shard)
	write(t, old, orders, event(0, "c", key(1), "", row(1, "a", "")))
	frozen, thaw := make(chan struct{}), make(chan struct{})
	in := batchOf(t, orders, event(1, "u", key(1), "", row(1, "old", "")), event(2, "c", key(2), "", row(2, `\u0000`, "")))
	in.Refusing = func(context.Context, []replay.Refusal) error { // in the middle of the transaction
		close(frozen)
		<-thaw
		return nil
	}
	failed := make(chan error)
	go func() {
		_, err := old.Write(context.Background(), in)
		failed <- err
	}()
	<-frozen
	newer := shard
	newer.Epoch = 2
	_, w := open(t, postgres.Options{DSN: dsn}, newer)
	close(thaw)
	if err := <-failed; !fault.Is(err, fault.Conflict) {
		t.Errorf("the frozen writer: %v", err)
	}
	write(t, w, orders, event(1, "u", key(1), "", row(1, "new", "")))
	want(t, dsn, `(1,new,2.31,"")`)
}

// Two writers of overlapping keys deadlock with a third party and get through.
func TestDeadlocksAreTriedAgain(t *testing.T) {
	dsn := database(t)
	_, w := open(t, postgres.Options{DSN: dsn}, shard)
	write(t, w, orders, event(0, "c", key(1), "", row(1, "a", "")), event(1, "c", key(2), "", row(2, "b", "")))
	conn := connect(t, dsn)
	defer conn.Close(context.Background())
	ctx := context.Background()
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, "UPDATE orders SET name = 'x' WHERE id = 2"); err != nil {
		t.Fatal(err)
	}
	watch := connect(t, dsn)
	defer watch.Close(ctx)
	done := make(chan error)
	go func() {
		_, err := w.Write(ctx, batchOf(t, orders, event(2, "u", key(1), "", row(1, "a2", "")), event(3, "u", key(2), "", row(2, "b2", ""))))
		done <- err
	}()
	for waiting := false; !waiting; {
		if err := watch.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database())").Scan(&waiting); err != nil {
			t.Fatal(err)
		}
	}
	// The writer holds row 1 and waits for row 2. One of the two is the victim.
	if _, err := tx.Exec(ctx, "UPDATE orders SET name = 'x' WHERE id = 1"); err == nil {
		_ = tx.Commit(ctx)
	} else {
		_ = tx.Rollback(ctx)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	want(t, dsn, `(1,a2,2.31,"")`, `(2,b2,2.31,"")`)
}

func TestALockedTableTimesOut(t *testing.T) {
	dsn := database(t)
	_, w := open(t, postgres.Options{DSN: dsn, StatementTimeout: 200 * time.Millisecond}, shard)
	write(t, w, orders, event(0, "c", key(1), "", row(1, "a", "")))
	conn := connect(t, dsn)
	defer conn.Close(context.Background())
	if _, err := conn.Exec(context.Background(), "BEGIN; LOCK TABLE orders"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(context.Background(), batchOf(t, orders, event(1, "c", key(2), "", row(2, "b", "")))); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "timed out") {
		t.Errorf("got %v", err)
	}
	if _, err := conn.Exec(context.Background(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	write(t, w, orders, event(1, "c", key(2), "", row(2, "b", "")))
}

func TestErrorsHoldNoSecret(t *testing.T) {
	for _, dsn := range []string{"postgres://u:s3cret@127.0.0.1:1/d", "postgres://u:s3cret@127.0.0.1:x/d", "host=127.0.0.1 port=1 password=s3cret", "postgres://u:s3cret@/d?sslmode=nonsense",
		"postgres://u:s3cret@no.such.host.invalid/d"} {
		s, err := postgres.New(postgres.Options{DSN: dsn})
		if err == nil {
			_, err = s.Test(context.Background())
			if _, e := s.Open(context.Background(), shard); !fault.Is(e, fault.Unavailable) || strings.Contains(e.Error(), "s3cret") {
				t.Errorf("%s: %v", dsn, e)
			}
			s.Close()
		}
		for e := err; e != nil; e = errors.Unwrap(e) {
			if strings.Contains(e.Error(), "s3cret") {
				t.Errorf("%s: %v", dsn, e)
			}
		}
	}
	p := testkit.Postgres(t, 15)
	dsn := p.CreateDatabase("d")
	p.Exec("d", "CREATE ROLE app LOGIN PASSWORD 'right'; CREATE ROLE poor LOGIN")
	p.SetHBA("host all app all scram-sha-256", "host all all all trust")
	as := func(user string) string { return strings.Replace(dsn, "postgres@", user+"@", 1) }
	for user, kind := range map[string]fault.Kind{"app:s3cret": fault.Denied, "poor": fault.Denied} {
		s, err := postgres.New(postgres.Options{DSN: as(user)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Test(context.Background()); !fault.Is(err, kind) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", user, err)
		}
		s.Close()
	}
}

func TestDefiningErrorStopsTheStatement(t *testing.T) {
	dsn := database(t)
	allow := true
	_, w := open(t, postgres.Options{DSN: dsn, Defining: func(context.Context, string, string) error {
		if !allow {
			return fault.New(fault.Unavailable, "record", "", "the ledger is full")
		}
		return nil
	}}, shard)
	allow = false
	if _, err := w.Write(context.Background(), batchOf(t, orders, event(0, "c", key(1), "", row(1, "a", "")))); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
	c := connect(t, dsn)
	defer c.Close(context.Background())
	var there bool
	if err := c.QueryRow(context.Background(), "SELECT to_regclass('orders') IS NOT NULL").Scan(&there); err != nil || there {
		t.Errorf("the table is there: %v, %v", there, err)
	}
	_, never := open(t, postgres.Options{DSN: dsn, NoCreateTables: true}, replay.Shard{Owner: "never", Topic: "t"})
	if _, err := never.Write(context.Background(), batchOf(t, orders, event(0, "c", key(1), "", row(1, "a", "")))); !fault.Is(err, fault.Blocked) {
		t.Errorf("got %v", err)
	}
	_, plain := open(t, postgres.Options{DSN: dsn}, replay.Shard{Owner: "plain", Topic: "t"})
	if _, err := plain.Write(context.Background(), batchOf(t, nil, event(0, "c", key(1), "", row(1, "a", "")))); !fault.Is(err, fault.Blocked) {
		t.Errorf("a record without types made a table: %v", err)
	}
}

// A hostile schema names types and columns that are statements.
func TestHostileSchemaMakesNoStatements(t *testing.T) {
	dsn := database(t)
	exec(t, dsn, "CREATE TABLE victim (a int)")
	s := &stream.TableSchema{ID: "h", Schema: "public", Table: `or"ders; DROP TABLE victim`, Columns: []stream.Column{
		{Name: `id"; DROP TABLE victim; --`, Type: "bigint", Base: "bigint", Key: 1},
		{Name: "v", Type: "text); DROP TABLE victim; --", Base: "int) WITH (x"},
		{Name: "w", Type: "(SELECT 1)", Base: "text COLLATE \"C\" DEFAULT 'x'"}}}
	sh := shard
	sh.Owner = "hostile"
	_, w := open(t, postgres.Options{DSN: dsn}, sh)
	rec := event(0, "c", `{"id\"; DROP TABLE victim; --":1}`, "", `{"id\"; DROP TABLE victim; --":1,"v":"a","w":"b"}`)
	rec.Value = bytes.Replace(rec.Value, []byte(`"table":"orders"`), []byte(`"table":"or\"ders; DROP TABLE victim"`), 1)
	if out := write(t, w, s, rec); out.Applied != 1 {
		t.Errorf("got %+v", out)
	}
	if got := rows(t, dsn, `"or""ders; DROP TABLE victim"`, "1"); len(got) != 1 || got[0] != "(1,a,b)" {
		t.Errorf("got %q", got)
	}
	exec(t, dsn, "SELECT * FROM victim")
}

func TestAppendHoldsEveryRecord(t *testing.T) {
	dsn := database(t)
	_, w := open(t, postgres.Options{DSN: dsn, Mode: postgres.Append}, shard)
	at := time.Date(2026, 11, 24, 10, 0, 0, 123e6, time.UTC)
	recs := []stream.Record{
		{Topic: "shop.public.orders", Offset: 5, Time: at, Key: []byte("k"), Value: []byte("\x00\xff"), Headers: []stream.Header{{Key: "a", Value: []byte("1")}, {Key: "a\xff", Value: nil}}},
		{Topic: "shop.public.orders", Offset: 7, Time: at},
		{Topic: "shop.public.orders", Offset: 8, Time: time.UnixMilli(-1), Key: []byte{}, Value: []byte{}},
	}
	in := replay.Write{Next: 9}
	for i := range recs {
		in.Items = append(in.Items, replay.Item{Record: &recs[i]})
	}
	if out, err := w.Write(context.Background(), in); err != nil || out.Applied != 3 {
		t.Fatal(out, err)
	}
	got := rows(t, dsn, `"shop.public.orders"`, `"offset"`)
	want := []string{`(shop.public.orders,0,5,"2026-11-24 10:00:00.123+00","\\x6b","\\x00ff","[{""key"":""a"",""value"":""MQ==""},{""key_base64"":""Yf8="",""value"":null}]")`,
		`(shop.public.orders,0,7,"2026-11-24 10:00:00.123+00",,,[])`, `(shop.public.orders,0,8,,"\\x","\\x",[])`}
	for i := range want {
		if strings.Replace(got[i], "\\\\x", "\\x", -1) != strings.Replace(want[i], "\\\\x", "\\x", -1) {
			t.Errorf("got %s\nwant %s", got[i], want[i])
		}
	}
	// The same records under another owner are in already.
	other := shard
	other.Owner = "other"
	_, again := open(t, postgres.Options{DSN: dsn, Mode: postgres.Append}, other)
	if out, err := again.Write(context.Background(), in); err != nil || out.Applied != 3 || len(rows(t, dsn, `"shop.public.orders"`, "1")) != 3 {
		t.Error(out, err)
	}
}
