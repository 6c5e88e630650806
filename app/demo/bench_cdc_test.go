package demo

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"freshet/backend/testkit"
)

// benchLoad is a load of changes that capture is measured with.
type benchLoad struct {
	name  string // of the source, and of the table unless pgbench makes it
	what  string
	rows  int // of one try
	table string
	fill  func(c *cdcBench, try int)
}

const sixColumns = "(id bigint PRIMARY KEY, customer_id bigint, status text, total numeric(12,2), created_at timestamptz, note text)"

// sixColumnRows fills a table of sixColumns with rows that begin at the first %d and end at the second.
const sixColumnRows = "SELECT i, i %% 5000, 'placed', (i %% 100000) / 100.0, now(), 'a note of about forty characters, no. ' || i FROM generate_series(%d, %d) i"

func benchLoads() []benchLoad {
	insert := func(table string, rows int) func(c *cdcBench, try int) {
		return func(c *cdcBench, try int) {
			c.do(fmt.Sprintf("INSERT INTO "+table+" "+sixColumnRows, try*rows+1, (try+1)*rows))
		}
	}
	const wideRows, toastRows, small, pgbenchTransactions = 50_000, 20_000, 100_000, 20_000
	return []benchLoad{
		{"million", "1 M rows of six columns, one transaction", 1_000_000, "CREATE TABLE million" + sixColumns, insert("million", 1_000_000)},
		{"small", "100 k transactions of one row", small, "CREATE TABLE small" + sixColumns, func(c *cdcBench, try int) {
			c.do(fmt.Sprintf(`DO $$ BEGIN FOR i IN %d..%d LOOP INSERT INTO small VALUES (i, i %% 5000, 'placed', (i %% 100000) / 100.0, now(), 'a note of about forty characters, no. ' || i); COMMIT; END LOOP; END $$`, try*small+1, (try+1)*small))
		}},
		{"wide", "50 k rows of 100 columns", wideRows, "CREATE TABLE wide(id bigint PRIMARY KEY, " + columns(99, "c%d text") + ")", func(c *cdcBench, try int) {
			c.do(fmt.Sprintf("INSERT INTO wide SELECT i, "+columns(99, "'value %d of ' || i")+" FROM generate_series(%d, %d) i", try*wideRows+1, (try+1)*wideRows))
		}},
		{"toast", "20 k rows of 8 kB", toastRows, "CREATE TABLE toast(id bigint PRIMARY KEY, big text); ALTER TABLE toast ALTER big SET STORAGE EXTERNAL", func(c *cdcBench, try int) {
			c.do(fmt.Sprintf("INSERT INTO toast SELECT i, repeat(md5(i::text), 256) FROM generate_series(%d, %d) i", try*toastRows+1, (try+1)*toastRows))
		}},
		{"pgbench", "pgbench, 20 k transactions of four rows", 4 * pgbenchTransactions, "", func(c *cdcBench, _ int) {
			c.run("pgbench", "-n", "-c", "2", "-t", strconv.Itoa(pgbenchTransactions/2), c.dsn)
		}},
	}
}

// columns repeats a form with numbers, with commas between.
func columns(n int, form string) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(form, i)
	}
	return strings.Join(all, ", ")
}

// TestBenchCDC measures capture beside pg_recvlogical to /dev/null on the same log. `make bench-cdc` runs it on the
// program that FRESHET_BENCH_CDC names; BENCH_TRIES says how often each is measured.
func TestBenchCDC(t *testing.T) {
	exe := os.Getenv("FRESHET_BENCH_CDC")
	if exe == "" {
		t.Skip("make bench-cdc runs it")
	}
	c := &cdcBench{bench: &bench{t: t, exe: exe, dir: t.TempDir()}, tries: 5}
	if n, err := strconv.Atoi(os.Getenv("BENCH_TRIES")); err == nil {
		c.tries = n
	}
	c.server = testkit.Postgres(t, 15, "wal_level=logical", "max_wal_size=8GB", "shared_buffers=256MB", "synchronous_commit=off")
	c.dsn = c.server.DSN("postgres")
	conn, err := pgx.Connect(t.Context(), c.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	c.conn = conn
	c.start()
	t.Cleanup(c.stop)
	c.admin = c.client()
	defer c.admin.Close()
	fmt.Println("| what | Freshet | CPU s / M rows, with the walsender's | memory | pg_recvlogical to /dev/null | CPU s / M rows, with the walsender's | ratio |")
	fmt.Println("|---|---|---|---|---|---|---|")
	for _, load := range benchLoads() {
		if only := os.Getenv("BENCH_ONLY"); only == "" || strings.Contains(only, load.name) {
			c.measure(load)
		}
	}
	if only := os.Getenv("BENCH_ONLY"); only == "" || strings.Contains(only, "live") {
		c.live()
	}
	if only := os.Getenv("BENCH_ONLY"); only == "" || strings.Contains(only, "latency") {
		c.latency()
	}
}

// live commits one transaction of a million rows while both slots are read, in turns, and times the last row from the
// commit on: in the topic, and out of pg_recvlogical as it asks for what is still running.
func (c *cdcBench) live() {
	const rows = 1_000_000
	c.do("CREATE TABLE live" + sixColumns)
	c.freshet("sources", "create", "live", "--type", "postgres", "--dsn", c.dsn, "--tables", "public.live", "--no-snapshot", "--yes")
	c.freshet("wait", "--source", "live", "--caught-up", "--timeout", "60s")
	var ours, theirs, plain []time.Duration
	for try := range c.tries {
		fill := func(part int) (committed time.Time) {
			from := (3*try + part) * rows
			c.do("BEGIN; INSERT INTO live " + fmt.Sprintf(sixColumnRows, from+1, from+rows) + "; SELECT pg_logical_emit_message(true, 'bench', 'end')")
			c.do("COMMIT")
			return time.Now()
		}
		before := c.written("live")
		committed := fill(0)
		c.until("the rows in the topic", func() bool { return c.written("live") >= before+rows })
		ours = append(ours, time.Since(committed))
		c.freshet("sources", "pause", "live")
		for part, options := range [][]string{1: {"-o", "proto_version=2", "-o", "streaming=true"}, 2: {"-o", "proto_version=1"}} {
			if options == nil {
				continue
			}
			c.do("SELECT pg_create_logical_replication_slot('beside', 'pgoutput')")
			cmd := exec.Command(filepath.Join(testkit.PostgresBinaries(c.t, 15), "pg_recvlogical"), append([]string{"-d", c.dsn, "-S", "beside", "--start", "--no-loop", "-f", "/dev/null",
				"-o", "publication_names=freshet_live", "-s", "1"}, options...)...)
			if err := cmd.Start(); err != nil {
				c.t.Fatal(err)
			}
			c.until("reading", func() bool { return c.sender("beside") != 0 })
			committed := fill(part)
			lsn := c.text("SELECT pg_current_wal_flush_lsn()::text")
			c.until("all of it sent", func() bool {
				return c.text("SELECT (sent_lsn >= $1::pg_lsn)::text FROM pg_stat_replication WHERE application_name = 'pg_recvlogical'", lsn) == "true"
			})
			if took := time.Since(committed); part == 1 {
				theirs = append(theirs, took)
			} else {
				plain = append(plain, took)
			}
			_ = cmd.Process.Signal(os.Interrupt)
			_ = cmd.Wait()
			c.until("gone", func() bool { return c.sender("beside") == 0 })
			c.do("SELECT pg_drop_replication_slot('beside')")
		}
		c.freshet("sources", "resume", "live")
		c.freshet("wait", "--source", "live", "--caught-up", "--timeout", "5m")
	}
	c.t.Logf("live: %v, pg_recvlogical streaming: %v, without: %v", ours, theirs, plain)
	fmt.Printf("| 1 M rows in one transaction, from its commit to the last row | %.1f s | | | %.1f s streaming, %.1f s without | | %s |\n",
		median(ours).Seconds(), median(theirs).Seconds(), median(plain).Seconds(), ratio(median(ours), median(theirs)))
	c.freshet("sources", "drop", "live")
}

// latency commits a thousand small transactions a second and reads the topic.
func (c *cdcBench) latency() {
	const rate, seconds = 1000, 20
	c.do("CREATE TABLE latency" + sixColumns)
	c.freshet("sources", "create", "latency", "--type", "postgres", "--dsn", c.dsn, "--tables", "public.latency", "--no-snapshot", "--yes")
	c.freshet("wait", "--source", "latency", "--caught-up", "--timeout", "60s")
	c.do("INSERT INTO latency(id) VALUES (0)")
	const topic = "latency.public.latency"
	c.until("the topic", func() bool { return c.written("latency") > 0 })
	reader := c.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(1)}}), kgo.FetchMaxWait(time.Second))
	defer reader.Close()
	var committed [rate*seconds + 1]time.Time
	var readable [rate*seconds + 1]time.Time
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 1; n <= rate*seconds; {
			fetches := reader.PollFetches(c.t.Context())
			now := time.Now()
			fetches.EachRecord(func(*kgo.Record) {
				readable[n] = now
				n++
			})
		}
	}()
	began := time.Now()
	for n := 1; n <= rate*seconds; n++ {
		time.Sleep(time.Until(began.Add(time.Duration(n) * time.Second / rate)))
		c.do(fmt.Sprintf("INSERT INTO latency VALUES (%d, 1, 'placed', 1.5, now(), 'a note')", n))
		committed[n] = time.Now()
	}
	<-done
	var took []time.Duration
	for n := 1; n <= rate*seconds; n++ {
		took = append(took, max(0, readable[n].Sub(committed[n])))
	}
	slices.Sort(took)
	fmt.Printf("| commit to readable at 1,000 transactions a second | p50 %.1f ms, p99 %.1f ms | | | | | |\n", milli(took[len(took)/2]), milli(took[len(took)*99/100]))
	c.freshet("sources", "drop", "latency")
}

func milli(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

type cdcBench struct {
	*bench
	tries  int
	server *testkit.PostgresServer
	dsn    string
	conn   *pgx.Conn
	admin  *kgo.Client
}

func (c *cdcBench) do(sql string) {
	c.t.Helper()
	if _, err := c.conn.Exec(c.t.Context(), sql); err != nil {
		c.t.Fatalf("%v\n%s", err, sql)
	}
}

func (c *cdcBench) text(sql string, args ...any) string {
	c.t.Helper()
	var v string
	if err := c.conn.QueryRow(c.t.Context(), sql, args...).Scan(&v); err != nil {
		c.t.Fatalf("%v\n%s", err, sql)
	}
	return v
}

// run runs one of PostgreSQL's own programs and returns the CPU that it took.
func (c *cdcBench) run(program string, args ...string) time.Duration {
	c.t.Helper()
	cmd := exec.Command(filepath.Join(testkit.PostgresBinaries(c.t, 15), program), args...)
	if out, err := cmd.CombinedOutput(); err != nil {
		c.t.Fatalf("%s: %v\n%s", program, err, out)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// written is how many records the source's topics hold.
func (c *cdcBench) written(source string) (n int64) {
	ends, err := kadm.NewClient(c.admin).ListEndOffsets(c.t.Context())
	if err != nil {
		return 0
	}
	ends.Each(func(o kadm.ListedOffset) {
		if strings.HasPrefix(o.Topic, source+".") {
			n += o.Offset
		}
	})
	return n
}

// measured is one try of one side.
type measured struct{ took, cpu time.Duration }

func (c *cdcBench) measure(load benchLoad) {
	tables := "public." + load.name
	if load.table != "" {
		c.do(load.table)
	} else {
		c.run("pgbench", "-i", "-q", "-s", "10", c.dsn)
		tables = "public.pgbench_*"
	}
	c.freshet("sources", "create", load.name, "--type", "postgres", "--dsn", c.dsn, "--tables", tables, "--no-snapshot", "--yes")
	c.freshet("wait", "--source", load.name, "--caught-up", "--timeout", "60s")
	slot, publication := "freshet_"+load.name, "freshet_"+load.name
	if load.table == "" {
		publication += ",freshet_" + load.name + "_insert"
	}
	c.do("SELECT pg_create_logical_replication_slot('beside', 'pgoutput')")
	var ours, theirs []measured
	resetPeak(c.t, c.cmd.Process.Pid)
	for try := range c.tries {
		c.freshet("sources", "pause", load.name)
		load.fill(c, try)
		c.do("BEGIN; SET LOCAL synchronous_commit = on; SELECT pg_logical_emit_message(true, 'bench', 'end'); COMMIT")
		lsn := c.text("SELECT pg_current_wal_flush_lsn()::text")
		us := func() {
			before, cpu := c.written(load.name), cpuOf(c.t, c.cmd.Process.Pid)
			began := time.Now()
			c.freshet("sources", "resume", load.name)
			var sender int
			c.until("the rows in the topic", func() bool {
				if pid := c.sender(slot); pid != 0 {
					sender = pid
				}
				return c.written(load.name) >= before+int64(load.rows)
			})
			m := measured{took: time.Since(began)}
			m.cpu = cpuOf(c.t, c.cmd.Process.Pid) - cpu + cpuOf(c.t, sender)
			ours = append(ours, m)
			c.freshet("sources", "pause", load.name)
		}
		them := func() {
			sent := make(chan time.Duration, 1)
			done := make(chan struct{})
			began := time.Now()
			go func() { sent <- c.watchSender("beside", done) }()
			cpu := c.run("pg_recvlogical", "-d", c.dsn, "-S", "beside", "--start", "--no-loop", "-f", "/dev/null", "-E", lsn,
				"-o", "proto_version=1", "-o", "publication_names="+publication)
			took := time.Since(began)
			close(done)
			theirs = append(theirs, measured{took: took, cpu: cpu + <-sent})
		}
		if try%2 == 0 {
			us()
			them()
		} else {
			them()
			us()
		}
		c.freshet("sources", "resume", load.name)
	}
	memory := peakOf(c.t, c.cmd.Process.Pid)
	c.freshet("sources", "drop", load.name)
	c.do("SELECT pg_drop_replication_slot('beside')")
	a, b := medianOf(ours), medianOf(theirs)
	c.t.Logf("%s: %v, pg_recvlogical: %v", load.name, ours, theirs)
	million := func(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()*1e6/float64(load.rows)) }
	fmt.Printf("| %s | %s | %s | %s | %s | %s | %s |\n", load.what, perSecond(load.rows, a.took), million(a.cpu), memory,
		perSecond(load.rows, b.took), million(b.cpu), ratio(a.took, b.took))
}

func medianOf(all []measured) measured {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b measured) int { return int(a.took - b.took) })
	return all[len(all)/2]
}

func (c *cdcBench) until(what string, ok func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(10 * time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatal("not " + what)
		}
	}
}

// sender is the process that reads a slot, 0 for none.
func (c *cdcBench) sender(slot string) int {
	pid, _ := strconv.Atoi(c.text("SELECT coalesce(max(active_pid), 0)::text FROM pg_replication_slots WHERE slot_name = $1", slot))
	return pid
}

// watchSender returns the CPU that the process which reads a slot took, as last seen before done.
func (c *cdcBench) watchSender(slot string, done <-chan struct{}) (cpu time.Duration) {
	conn, err := pgx.Connect(c.t.Context(), c.dsn)
	if err != nil {
		return 0
	}
	defer conn.Close(context.Background())
	for {
		select {
		case <-done:
			return cpu
		case <-time.After(20 * time.Millisecond):
		}
		var pid int
		if conn.QueryRow(c.t.Context(), "SELECT coalesce(max(active_pid), 0) FROM pg_replication_slots WHERE slot_name = $1", slot).Scan(&pid) == nil && pid != 0 {
			cpu = cpuOf(c.t, pid)
		}
	}
}

// cpuOf is what a process has taken of the processors (proc(5): fields 14 and 15 of stat, in hundredths of a second).
func cpuOf(t *testing.T, pid int) time.Duration {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0 // it has ended
	}
	f := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// resetPeak starts the measure of a process's highest resident memory anew (proc(5): clear_refs).
func resetPeak(t *testing.T, pid int) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		t.Log(err)
	}
}

func peakOf(t *testing.T, pid int) string {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if kib, ok := strings.CutPrefix(s.Text(), "VmHWM:"); ok {
			n, _ := strconv.Atoi(strings.Fields(kib)[0])
			return fmt.Sprintf("%d MB", n/1024)
		}
	}
	return "?"
}
