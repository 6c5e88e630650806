package postgres_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"freshet/backend/cdc/postgres"
	"freshet/backend/testkit"
	"freshet/probes"
)

// TestCommitOnTheBrink begins a snapshot while a transaction's commit stands in the WAL and does not count yet: PostgreSQL's
// exported snapshot sees it, and a row read then is left out, and dead for everybody from then on. A debugger holds the
// server there.
func TestCommitOnTheBrink(t *testing.T) {
	if !proof() {
		t.Skip("NOT tested here: it takes a debugger (make proof)")
	}
	eachVersion(t, func(t *testing.T, db *database) {
		if _, err := exec.LookPath("gdb"); err != nil {
			testkit.Missing(t, "gdb", err)
		}
		ctx := t.Context()
		db.exec(`CREATE TABLE t(id int PRIMARY KEY)`)
		holder := func() (conn *pgx.Conn, xid string) {
			conn = connect(t, db.dsn)
			t.Cleanup(func() { conn.Close(context.Background()) })
			if _, err := conn.Exec(ctx, "BEGIN"); err != nil {
				t.Fatal(err)
			}
			if err := conn.QueryRow(ctx, "SELECT pg_current_xact_id()::text").Scan(&xid); err != nil {
				t.Fatal(err)
			}
			return conn, xid
		}
		end := func(conn *pgx.Conn) {
			if _, err := conn.Exec(ctx, "COMMIT"); err != nil {
				t.Fatal(err)
			}
		}
		waits := func(c *capture, xid string) {
			c.until("the slot waits for "+xid, func() bool {
				return db.value(`SELECT count(*)::text FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted AND transactionid::text = $1`, xid) == "1"
			})
		}
		// The slot sees transactions in full that begin after the first holder's end, and is ready at the second's.
		first, firstID := holder()
		c := startCapture(t, db)
		waits(c, firstID)
		second, secondID := holder()
		end(first)
		waits(c, secondID)
		application := connect(t, db.dsn)
		defer application.Close(context.Background())
		g := debug(t, application.PgConn().PID())
		g.say("break TransactionIdCommitTree\ncontinue\n")
		g.until("Continuing")
		inserted := make(chan error, 1)
		go func() {
			_, err := application.Exec(context.Background(), "INSERT INTO t VALUES (1)")
			inserted <- err
		}()
		g.until("Breakpoint 1,")
		end(second)
		c.wait("waiting for the commit", func(p probes.SourceProgress) bool { return strings.Contains(p.Why, "has committed") })
		g.say("delete\ndetach\nquit\n")
		if err := <-inserted; err != nil {
			t.Fatal(err)
		}
		c.streaming()
		c.caughtUp()
		c.equal("public.t")
		if n := db.value("SELECT count(*)::text FROM t"); n != "1" {
			t.Errorf("the table has %s rows", n)
		}
	})
}

// debugger is gdb at a process.
type debugger struct {
	t    *testing.T
	in   io.Writer
	said chan string
}

func debug(t *testing.T, pid uint32) *debugger {
	t.Helper()
	cmd := exec.Command("gdb", "-q", "--nx", "-ex", "set confirm off", "-ex", "set pagination off", "-p", fmt.Sprint(pid))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	g := &debugger{t, in, make(chan string, 1000)}
	go func() {
		defer close(g.said)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			g.said <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		in.Close()
		for range g.said {
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func (g *debugger) say(commands string) {
	g.t.Helper()
	if _, err := io.WriteString(g.in, commands); err != nil {
		g.t.Fatal(err)
	}
}

func (g *debugger) until(what string) {
	g.t.Helper()
	for line := range g.said {
		if strings.Contains(line, what) {
			return
		}
	}
	g.t.Fatalf("gdb has ended before %q", what)
}

// TestSnapshotOfOneMoment reads tables on eight connections while money moves between their rows: all that is read is of
// one moment, whichever connection read it (debezium/dbz#2330), and each row is read once.
func TestSnapshotOfOneMoment(t *testing.T) {
	defer postgres.SetChunkPages(8)()
	eachVersion(t, func(t *testing.T, db *database) {
		const tables, rows, each = 3, 5_000, 100
		for i := range tables {
			db.exec(fmt.Sprintf(`CREATE TABLE account%d(id int PRIMARY KEY, v int NOT NULL); INSERT INTO account%d SELECT i, %d FROM generate_series(1, %d) i`, i, i, each, rows))
		}
		db.exec(`CREATE TABLE part(id int PRIMARY KEY, v int) PARTITION BY RANGE (id); CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (0) TO (10);
			CREATE TABLE part2(v int, id int NOT NULL PRIMARY KEY); ALTER TABLE part ATTACH PARTITION part2 FOR VALUES FROM (10) TO (20); INSERT INTO part SELECT i, i FROM generate_series(0, 19) i`)
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		moving := make(chan error, 2)
		for seed := range uint64(2) {
			conn := connect(t, db.dsn)
			go func() {
				defer conn.Close(context.Background())
				r := rand.New(rand.NewPCG(seed, 1))
				for n := 0; n < 3000 && ctx.Err() == nil; n++ {
					// The rows of one mover are its own, so that neither waits for the other.
					from, to := 2*r.IntN(rows/2)+1+int(seed), 2*r.IntN(rows/2)+1+int(seed)
					sql := fmt.Sprintf(`BEGIN; UPDATE account%d SET v = v - 1 WHERE id = %d; UPDATE account%d SET v = v + 1 WHERE id = %d; COMMIT`, r.IntN(tables), from, r.IntN(tables), to)
					if _, err := conn.Exec(context.Background(), sql); err != nil {
						moving <- err
						return
					}
				}
				moving <- nil
			}()
		}
		c := startCapture(t, db, with(map[string]string{"snapshot.max.threads": "8"}))
		c.streaming()
		stop()
		for range 2 {
			if err := <-moving; err != nil {
				t.Fatal(err)
			}
		}
		c.caughtUp()
		sum, count := 0, 0
		markers := map[string]int{}
		for i := range tables {
			seen := map[string]bool{}
			for _, r := range c.log.Records(fmt.Sprintf("shop.public.account%d", i)) {
				var v struct {
					Op     string
					After  struct{ V int }
					Source struct{ Snapshot string }
				}
				if err := json.Unmarshal(r.Value, &v); err != nil {
					t.Fatal(err)
				}
				if v.Op != "r" {
					continue
				}
				if seen[string(r.Key)] {
					t.Errorf("%s is read twice", r.Key)
				}
				seen[string(r.Key)] = true
				markers[v.Source.Snapshot]++
				sum += v.After.V
				count++
			}
		}
		if count != tables*rows || sum != tables*rows*each {
			t.Errorf("%d rows and %d in all, want %d and %d", count, sum, tables*rows, tables*rows*each)
		}
		if n := len(c.log.Records("shop.public.part")); n != 20 {
			t.Errorf("%d rows of the partitions", n)
		}
		if all := fmt.Sprint(markers); markers["first"] > 1 || markers["last"] > 1 || markers["first_in_data_collection"] > tables || !strings.Contains(all, "true") {
			t.Errorf("markers: %s", all)
		}
		c.equal("public.account0", "public.account1", "public.account2", "public.part")
		if n := db.value(`SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'`); n != "0" {
			t.Errorf("%s transactions are left open", n)
		}
	})
}
