package postgres_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"freshet/backend/cdc"
	"freshet/backend/cdc/cdctest"
	"freshet/backend/cdc/postgres"
	"freshet/backend/stream"
	"freshet/backend/testkit"
	"freshet/probes"
)

// counter is a log that counts records and bytes and keeps the last of each topic.
type counter struct {
	*cdctest.Store
	records, bytes int64
}

func (*counter) EnsureTopic(context.Context, string, int32, map[string]string) error { return nil }

func (c *counter) Append(_ context.Context, r *stream.Record, done func(error)) error {
	c.records++
	c.bytes += int64(len(r.Value))
	done(nil)
	return nil
}

func (*counter) Sync(context.Context) error { return nil }

func (*counter) Last(context.Context, string) (map[int32]stream.Record, error) { return nil, nil }

// BenchmarkStream captures transactions of many rows, and has pg_recvlogical read the same WAL to /dev/null, in turns. The
// server decodes for both, one at a time. Run it with -benchtime 1x or 3x.
func BenchmarkStream(b *testing.B) {
	recvlogical := filepath.Join(testkit.PostgresBinaries(b, 15), "pg_recvlogical")
	if _, err := os.Stat(recvlogical); err != nil {
		b.Skip(err) // not every build has it
	}
	for _, shape := range []struct {
		name               string
		rows, transactions int
	}{{"one transaction", 300_000, 1}, {"transactions of 10", 200_000, 20_000}, {"transactions of 1", 100_000, 100_000}} {
		b.Run(shape.name, func(b *testing.B) { benchmarkStream(b, recvlogical, shape.rows, shape.transactions) })
	}
}

func benchmarkStream(b *testing.B, recvlogical string, rows, transactions int) {
	p := testkit.Postgres(b, 15, "fsync=off", "synchronous_commit=off", "max_wal_size=8GB", "shared_buffers=256MB")
	db := newDatabase(b, p)
	db.exec(`CREATE TABLE orders(id bigint PRIMARY KEY, customer_id bigint, status text, total numeric(12,2), created_at timestamptz, note text); CREATE PUBLICATION peer FOR TABLE orders`)
	log := &counter{Store: cdctest.NewStore()}
	o := postgres.Options{Options: cdc.Options{Name: "bench", NoSnapshot: true}, DSN: db.dsn}
	start := func() (*cdc.Pipeline, *postgres.Source, func()) {
		s, err := postgres.New(o)
		if err != nil {
			b.Fatal(err)
		}
		stored, ok := log.Source(o.Name)
		if !ok {
			stored.Options = o.Options
		}
		pipeline := cdc.NewPipeline(cdc.PipelineOptions{Stored: stored, Source: s, Log: log, Schemas: log, Store: log})
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			pipeline.Run(ctx)
		}()
		return pipeline, s, func() {
			cancel()
			<-ended
			s.Close()
		}
	}
	wait := func(p *cdc.Pipeline, want func(probes.SourceProgress) bool) {
		b.Helper()
		for deadline := time.Now().Add(10 * time.Minute); !want(p.Progress()); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				b.Fatalf("%+v", p.Progress())
			}
		}
	}
	var ours, theirs time.Duration
	for i := range b.N {
		b.StopTimer()
		pipeline, source, stop := start()
		wait(pipeline, func(p probes.SourceProgress) bool { return p.State == cdc.Streaming })
		stop()
		slot := fmt.Sprintf("peer_%d", i)
		db.exec(`SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, slot)
		db.exec(`TRUNCATE orders`)
		db.exec(fmt.Sprintf(`DO $$ BEGIN FOR t IN 0..%d LOOP
			INSERT INTO orders SELECT i, i %% 1000, 'paid', i %% 10000 / 100.0, now(), 'thirty-nine characters of some remark..' FROM generate_series(t * %d + 1, (t + 1) * %d) i;
			COMMIT; END LOOP; END $$`, transactions-1, rows/transactions, rows/transactions))
		end, err := source.Position(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		source.Close()
		us := func() {
			before := log.records
			b.StartTimer()
			began := time.Now()
			pipeline, _, stop := start()
			wait(pipeline, func(p probes.SourceProgress) bool { return p.Appended >= end })
			ours += time.Since(began)
			b.StopTimer()
			stop()
			if n := log.records - before; n != int64(rows)+1 { // and the truncate
				b.Fatalf("%d records of %d", n, rows)
			}
		}
		them := func() {
			began := time.Now()
			cmd := exec.Command(recvlogical, "-d", db.dsn, "-S", slot, "--start", "--no-loop", "-f", "/dev/null", "-o", "proto_version=1", "-o", "publication_names=peer",
				"--endpos="+lsn(end))
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
			theirs += time.Since(began)
		}
		if i%2 == 0 {
			us()
			them()
		} else {
			them()
			us()
		}
		db.exec(`SELECT pg_drop_replication_slot($1)`, slot)
	}
	n := float64(b.N * rows)
	b.ReportMetric(n/ours.Seconds(), "rows/s")
	b.ReportMetric(n/theirs.Seconds(), "pg_recvlogical-rows/s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "ratio")
	b.ReportMetric(float64(log.bytes)/float64(log.records), "B/record")
}
