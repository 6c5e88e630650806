package postgres_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"freshet/backend/cdc"
	"freshet/backend/cdc/cdctest"
	"freshet/backend/cdc/postgres"
	"freshet/backend/testkit"
	"freshet/probes"
)

var update = flag.Bool("update", false, "write the golden files anew")

// servers are shared by the tests that only need a database of their own.
var servers = map[int]*testkit.PostgresServer{}

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	for _, p := range servers {
		if err := p.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func proof() bool { return os.Getenv("FRESHET_PROOF") == "1" }

// versions are those that a test runs on.
func versions() []int {
	if proof() {
		return []int{13, 14, 15, 16, 17, 18}
	}
	return []int{15, 18}
}

// eachVersion runs f with a fresh database on every version's shared server.
func eachVersion(t *testing.T, f func(t *testing.T, db *database)) { eachOf(t, versions(), f) }

func eachOf(t *testing.T, versions []int, f func(t *testing.T, db *database)) {
	for _, v := range versions {
		t.Run(fmt.Sprint(v), func(t *testing.T) { f(t, sharedDatabase(t, v)) })
	}
}

func sharedDatabase(t testing.TB, version int) *database {
	t.Helper()
	p := servers[version]
	if p == nil {
		bin := testkit.PostgresBinaries(t, version)
		var err error
		settings := []string{"fsync=off", "wal_sender_timeout=10s", "max_wal_size=2GB"}
		if version >= 17 { // there every change of every test is sent before its transaction has committed
			settings = append(settings, "debug_logical_replication_streaming=immediate")
		}
		if p, err = testkit.StartPostgres(bin, version, settings...); err != nil {
			t.Fatal(err)
		}
		servers[version] = p
	}
	return newDatabase(t, p)
}

// database is one that a test has for itself.
type database struct {
	t      testing.TB
	server *testkit.PostgresServer
	name   string
	dsn    string
	conn   *pgx.Conn
}

var notName = regexp.MustCompile(`[^a-z0-9]+`)

var databases = struct {
	sync.Mutex
	n int
}{}

func newDatabase(t testing.TB, p *testkit.PostgresServer) *database {
	t.Helper()
	databases.Lock()
	databases.n++
	name := fmt.Sprintf("%s_%d", strings.Trim(notName.ReplaceAllString(strings.ToLower(t.Name()), "_"), "_"), databases.n)
	databases.Unlock()
	name = name[max(0, len(name)-50):]
	db := &database{t: t, server: p, name: name, dsn: p.DSN(name)}
	admin := connect(t, p.DSN("postgres"))
	defer admin.Close(context.Background())
	if _, err := admin.Exec(context.Background(), "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
		t.Fatal(err)
	}
	db.conn = connect(t, db.dsn)
	t.Cleanup(func() { db.conn.Close(context.Background()) })
	return db
}

func connect(t testing.TB, dsn string) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// exec runs statements, several as one transaction.
func (db *database) exec(sql string, args ...any) {
	db.t.Helper()
	if _, err := db.conn.Exec(context.Background(), sql, args...); err != nil {
		db.t.Fatalf("%v\n%s", err, sql)
	}
}

func (db *database) value(sql string, args ...any) string {
	db.t.Helper()
	var v string
	if err := db.conn.QueryRow(context.Background(), sql, args...).Scan(&v); err != nil {
		db.t.Fatalf("%v\n%s", err, sql)
	}
	return v
}

// capture is a pipeline under test.
type capture struct {
	t        testing.TB
	db       *database
	log      *cdctest.Log
	store    *cdctest.Store
	source   *postgres.Source
	pipeline *cdc.Pipeline
	cancel   context.CancelFunc
	ended    chan struct{}
	options  postgres.Options
}

func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// sourceName is a database's own, since slots belong to the server.
func (db *database) sourceName() string { return db.name[max(0, len(db.name)-30):] }

// startCapture captures public.* unless options say otherwise.
func startCapture(t testing.TB, db *database, change ...func(*postgres.Options)) *capture {
	t.Helper()
	c := &capture{t: t, db: db, log: cdctest.NewLog(1000), store: cdctest.NewStore()}
	c.options = postgres.Options{Options: cdc.Options{Name: db.sourceName(), Type: "postgres", Prefix: "shop"}, DSN: db.dsn, Version: "test", SpillDir: t.TempDir(), Logger: testLogger(t)}
	for _, f := range change {
		f(&c.options)
	}
	c.start()
	t.Cleanup(func() {
		c.stop()
		c.log.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if db.server.Running() {
			if err := c.source.Drop(ctx, c.pipeline.State()); err != nil {
				t.Log(err)
			}
		}
		c.source.Close()
	})
	return c
}

func (c *capture) start() {
	c.t.Helper()
	var err error
	if c.source, err = postgres.New(c.options); err != nil {
		c.t.Fatal(err)
	}
	stored, ok := c.store.Source(c.options.Name)
	if !ok {
		stored = cdc.Stored{Options: c.options.Options}
	}
	c.pipeline = cdc.NewPipeline(cdc.PipelineOptions{
		Stored: stored, Source: c.source, Log: c.log, Schemas: c.store, Store: c.store, Logger: c.options.Logger,
	})
	var ctx context.Context
	ctx, c.cancel = context.WithCancel(context.Background())
	c.ended = make(chan struct{})
	go func() {
		defer close(c.ended)
		c.pipeline.Run(ctx)
	}()
}

// stop ends the pipeline in good order.
func (c *capture) stop() {
	c.cancel()
	<-c.ended
	c.source.Close()
}

// restart ends and starts the pipeline in good order.
func (c *capture) restart() {
	c.t.Helper()
	c.stop()
	c.start()
}

// crash ends the pipeline with what is on its way refused, and nothing saved or confirmed any more.
func (c *capture) crash() { c.fall((*cdctest.Log).Reopen) }

// powerCut is a crash after which the log lacks what was not synced.
func (c *capture) powerCut() { c.fall((*cdctest.Log).PowerCut) }

func (c *capture) fall(left func(*cdctest.Log) *cdctest.Log) {
	c.t.Helper()
	c.store.Fail(fmt.Errorf("crashed"))
	c.log.Close()
	c.stop()
	c.store.Fail(nil)
	c.log = left(c.log)
}

// wait waits until the progress is as wanted.
func (c *capture) wait(what string, want func(p probes.SourceProgress) bool) probes.SourceProgress {
	c.t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for {
		p := c.pipeline.Progress()
		if want(p) {
			return p
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("not %s: %+v", what, p)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (c *capture) streaming() {
	c.t.Helper()
	c.wait("streaming", func(p probes.SourceProgress) bool {
		if p.State == cdc.Stopped {
			c.t.Fatalf("stopped: %s", p.Why)
		}
		return p.State == cdc.Streaming
	})
}

// caughtUp waits until everything committed before the call is in the log.
func (c *capture) caughtUp() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	end, err := c.source.Position(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	c.wait(fmt.Sprintf("caught up to %X", end), func(p probes.SourceProgress) bool {
		if p.State == cdc.Stopped {
			c.t.Fatalf("stopped: %s", p.Why)
		}
		return p.Appended >= end && p.State == cdc.Streaming
	})
}
