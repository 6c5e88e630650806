package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	benchRows    = 1_000_000
	benchRecords = 2_000_000
	benchTopics  = 1000
	benchParts   = 10
	benchGroups  = 200
	benchTries   = 3 // medians are of so many, the two sides taking turns
)

// TestBench measures the program from outside, as a person would, beside the barest thing that does the same, and prints
// the rows of one table. `make bench` runs it on the program that FRESHET_BENCH names.
func TestBench(t *testing.T) {
	exe := os.Getenv("FRESHET_BENCH")
	if exe == "" {
		t.Skip("make bench runs it")
	}
	b := &bench{t: t, exe: exe, dir: t.TempDir()}
	b.start()
	t.Cleanup(b.stop)
	for _, measure := range []func(){b.capture, b.replay, b.lag, b.startAndMemory} {
		measure()
	}
	fmt.Println("| what | Freshet | beside it | ratio |")
	fmt.Println("|---|---|---|---|")
	for _, r := range b.rows {
		fmt.Println(r)
	}
}

type bench struct {
	t       *testing.T
	exe     string
	dir     string
	cmd     *exec.Cmd
	brokers string
	rows    []string
}

func (b *bench) row(what, ours, theirs, ratio string) {
	b.rows = append(b.rows, fmt.Sprintf("| %s | %s | %s | %s |", what, ours, theirs, ratio))
}

// start runs `freshet serve` and returns how long it took until it said where it is.
func (b *bench) start() time.Duration {
	b.t.Helper()
	b.cmd = exec.Command(b.exe, "serve", "--data", filepath.Join(b.dir, "data"), "--listen", "127.0.0.1:0")
	b.cmd.Stdout, b.cmd.Stderr = b.t.Output(), b.t.Output()
	b.cmd.SysProcAttr = &syscall.SysProcAttr{}
	setDeathSignal(b.cmd.SysProcAttr, sigKill)
	began := time.Now()
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	var run struct {
		PID    int    `json:"pid"`
		Broker string `json:"broker"`
	}
	waitFor(b.t, "freshet serve", func() bool {
		raw, err := os.ReadFile(filepath.Join(b.dir, "data", "run.json"))
		return err == nil && json.Unmarshal(raw, &run) == nil && run.PID == b.cmd.Process.Pid
	})
	b.brokers = run.Broker
	return time.Since(began)
}

func (b *bench) stop() {
	if b.cmd.ProcessState == nil {
		_ = b.cmd.Process.Signal(syscall.SIGTERM)
		_ = b.cmd.Wait()
	}
}

// freshet runs a verb and returns its JSON.
func (b *bench) freshet(args ...string) []byte {
	b.t.Helper()
	cmd := exec.Command(b.exe, append(args, "-o", "json", "--data", filepath.Join(b.dir, "data"))...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		b.t.Fatalf("freshet %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return out
}

func (b *bench) client(opts ...kgo.Opt) *kgo.Client {
	b.t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.brokers), kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.MaxBufferedRecords(200_000)}, opts...)...)
	if err != nil {
		b.t.Fatal(err)
	}
	return c
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func perSecond(n int, d time.Duration) string {
	return fmt.Sprintf("%.0f k/s", float64(n)/d.Seconds()/1000)
}

func ratio(a, b time.Duration) string { return fmt.Sprintf("%.2f", float64(b)/float64(a)) }

// capture reads one transaction of a million rows from the write-ahead log: Freshet into its topic, then pg_recvlogical
// the same log to /dev/null, each from its own slot, both from a standstill.
func (b *bench) capture() {
	ctx := b.t.Context()
	w := newWorld(b.t, filepath.Join(b.dir, "world"))
	if err := w.StartPostgres(ctx); err != nil {
		b.t.Fatal(err)
	}
	conn, err := w.pg.connect(ctx, warehouseName)
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close(ctx)
	do := func(sql string) {
		b.t.Helper()
		if _, err := conn.Exec(ctx, sql); err != nil {
			b.t.Fatalf("%v\n%s", err, sql)
		}
	}
	do("CREATE TABLE rows (id bigint PRIMARY KEY, customer_id bigint, status text, total numeric(12,2), created_at timestamptz, note text)")
	dsn := w.pg.dsn(superuser, warehouseName)
	b.freshet("sources", "create", "bench", "--type", "postgres", "--dsn", dsn, "--tables", "public.rows", "--yes")
	b.freshet("wait", "--source", "bench", "--caught-up", "--timeout", "60s")
	do("CREATE PUBLICATION beside FOR TABLE rows")
	do("SELECT pg_create_logical_replication_slot('beside', 'pgoutput')")

	admin := b.client()
	defer admin.Close()
	const topic = "bench.public.rows"
	end := func() int64 {
		ends, err := kadm.NewClient(admin).ListEndOffsets(ctx, topic)
		if err != nil {
			return 0
		}
		o, _ := ends.Lookup(topic, 0)
		return o.Offset
	}
	var ours, theirs []time.Duration
	for try := range benchTries {
		b.freshet("sources", "pause", "bench")
		do(fmt.Sprintf(`INSERT INTO rows SELECT i, i %% 5000, 'placed', (i %% 100000) / 100.0, now(), 'a note of about forty characters, no. ' || i
			FROM generate_series(%d, %d) i`, try*benchRows+1, (try+1)*benchRows))
		var lsn string
		if err := conn.QueryRow(ctx, "SELECT pg_current_wal_lsn()::text").Scan(&lsn); err != nil {
			b.t.Fatal(err)
		}
		before := end()
		began := time.Now()
		b.freshet("sources", "resume", "bench")
		waitFor(b.t, "the rows in the topic", func() bool { return end() >= before+benchRows })
		ours = append(ours, time.Since(began))

		do("SELECT pg_logical_emit_message(true, 'bench', 'end')") // so that the end position is passed by something
		cmd := exec.Command("pg_recvlogical", "-d", dsn, "-S", "beside", "--start", "-f", "/dev/null", "-E", lsn,
			"-o", "proto_version=1", "-o", "publication_names=beside")
		if _, err := exec.LookPath(cmd.Path); err != nil {
			cmd.Path = filepath.Join(w.pg.binaries.dir, "pg_recvlogical")
			cmd.Err = nil
		}
		began = time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			b.t.Fatalf("%v\n%s", err, out)
		}
		theirs = append(theirs, time.Since(began))
	}
	b.freshet("sources", "drop", "bench")
	b.t.Logf("capture: %v, pg_recvlogical: %v", ours, theirs)
	b.row("capture, 1 M rows of six columns, one transaction", perSecond(benchRows, median(ours)),
		perSecond(benchRows, median(theirs))+" pg_recvlogical to /dev/null, same log", ratio(median(ours), median(theirs)))
	if err := w.Stop(ctx); err != nil {
		b.t.Error(err)
	}
}

// replay sends two million records of 200 bytes from a topic of four partitions to another: Freshet as a job, planned and
// approved before the clock starts, and a loop over one client that consumes and produces.
func (b *bench) replay() {
	const parts = 4
	ctx := b.t.Context()
	admin := b.client()
	defer admin.Close()
	create := func(topic string) {
		b.t.Helper()
		if _, err := kadm.NewClient(admin).CreateTopic(ctx, parts, 1, nil, topic); err != nil {
			b.t.Fatal(err)
		}
	}
	create("bench.from")
	producer := b.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic("bench.from"))
	value := bytes.Repeat([]byte("Freshet "), 24)
	for i := range benchRecords {
		producer.Produce(ctx, &kgo.Record{Partition: int32(i % parts), Key: strconv.AppendInt(nil, int64(10_000_000+i), 10), Value: value}, nil)
	}
	if err := producer.Flush(ctx); err != nil {
		b.t.Fatal(err)
	}
	producer.Close()

	b.freshet("sinks", "create", "bench", "--type", "kafka", "--brokers", b.brokers)
	var ours, theirs []time.Duration
	for try := range benchTries {
		target := fmt.Sprintf("bench.loop.%d", try)
		create(target)
		theirs = append(theirs, b.bareLoop(ctx, "bench.from", target, parts))

		target = fmt.Sprintf("bench.job.%d", try)
		create(target)
		var plan struct {
			ID   string `json:"plan_id"`
			Hash string `json:"plan_hash"`
		}
		if err := json.Unmarshal(b.freshet("replay", "plan", "--source", "embedded/bench.from", "--all-of-topic", "bench.from", "--to", "bench/"+target), &plan); err != nil {
			b.t.Fatal(err)
		}
		b.freshet("replay", "approve", plan.ID, "--hash", plan.Hash)
		began := time.Now()
		b.freshet("replay", "run", plan.ID, "--wait")
		ours = append(ours, time.Since(began))
	}
	b.t.Logf("replay: %v, loop: %v", ours, theirs)
	b.row("replay, 2 M records of 200 B, topic to topic, exactly once", perSecond(benchRecords, median(ours)),
		perSecond(benchRecords, median(theirs))+" bare kgo loop, at least once", ratio(median(ours), median(theirs)))
}

// bareLoop consumes a topic and produces every record to the same partition of another.
func (b *bench) bareLoop(ctx context.Context, from, to string, parts int) time.Duration {
	offsets := map[int32]kgo.Offset{}
	for p := range parts {
		offsets[int32(p)] = kgo.NewOffset().At(0)
	}
	began := time.Now()
	c := b.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{from: offsets}), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	defer c.Close()
	for n := 0; n < benchRecords; {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			b.t.Fatal(err)
		}
		for it := fetches.RecordIter(); !it.Done(); n++ {
			r := it.Next()
			c.Produce(ctx, &kgo.Record{Topic: to, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers, Timestamp: r.Timestamp}, nil)
		}
	}
	if err := c.Flush(ctx); err != nil {
		b.t.Fatal(err)
	}
	return time.Since(began)
}

// lag takes one look at every group of a thousand topics: the probe as it says of itself, and kadm's own Lag.
func (b *bench) lag() {
	ctx := b.t.Context()
	client := b.client()
	defer client.Close()
	admin := kadm.NewClient(client)
	var topics []string
	for i := range benchTopics {
		topics = append(topics, fmt.Sprintf("bench.lag.%04d", i))
	}
	created, err := admin.CreateTopics(ctx, benchParts, 1, nil, topics...)
	if err != nil || created.Error() != nil {
		b.t.Fatal(err, created.Error())
	}
	for g := range benchGroups {
		offsets := kadm.Offsets{}
		for i := range 5 * benchTopics / benchGroups { // each topic has five groups
			for p := range int32(benchParts) {
				offsets.AddOffset(topics[(g*5+i*41)%benchTopics], p, 0, -1)
			}
		}
		if err := admin.CommitAllOffsets(ctx, fmt.Sprintf("bench-%03d", g), offsets); err != nil {
			b.t.Fatal(err)
		}
	}
	look := func() (rounds int, d time.Duration, errors string) {
		var list struct {
			Items []struct {
				Probe    string                   `json:"probe"`
				Rounds   string                   `json:"rounds"`
				Error    string                   `json:"error"`
				Duration struct{ Value *float64 } `json:"duration"`
			} `json:"items"`
		}
		if err := json.Unmarshal(b.freshet("probes", "list"), &list); err != nil {
			b.t.Fatal(err)
		}
		for _, p := range list.Items {
			if strings.HasPrefix(p.Probe, "lag") && p.Duration.Value != nil {
				rounds, _ = strconv.Atoi(p.Rounds)
				return rounds, time.Duration(*p.Duration.Value * float64(time.Second)), p.Error
			}
		}
		return 0, 0, ""
	}
	var ours, theirs []time.Duration
	last, _, _ := look()
	last++ // the round that runs now saw the half of it
	for len(ours) < benchTries {
		var rounds int
		var d time.Duration
		waitFor(b.t, "a round of the lag probe", func() bool {
			var trouble string
			rounds, d, trouble = look()
			if trouble != "" {
				b.t.Fatal(trouble)
			}
			return rounds > last
		})
		last = rounds
		ours = append(ours, d)
		began := time.Now()
		lags, err := admin.Lag(ctx)
		if err != nil || len(lags) < benchGroups {
			b.t.Fatal(err, len(lags))
		}
		theirs = append(theirs, time.Since(began))
	}
	b.t.Logf("lag: %v, kadm: %v", ours, theirs)
	b.row("lag of 200 groups on 1,000 topics, 10,000 partitions: one round", median(ours).Round(time.Millisecond).String(),
		median(theirs).Round(time.Millisecond).String()+" bare kadm round", ratio(median(ours), median(theirs)))
}

// startAndMemory starts the program on a new directory and lets it be.
func (b *bench) startAndMemory() {
	b.stop()
	var starts []time.Duration
	for range benchTries {
		b.dir = b.t.TempDir()
		starts = append(starts, b.start())
		b.stop()
	}
	b.start()
	b.row("start, new data directory, until it can be asked", median(starts).Round(time.Millisecond).String(), "", "")
	time.Sleep(30 * time.Second) // what is measured is a program at rest
	b.row("resident memory after 30 s of rest", memory(b.t, b.cmd.Process.Pid), "", "")
}

// memory is what a process holds in memory.
func memory(t *testing.T, pid int) string {
	t.Helper()
	out, err := exec.Command("ps", "-o", "rss=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		t.Fatal(err)
	}
	kib, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d MB", kib/1024)
}
