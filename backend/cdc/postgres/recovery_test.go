package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"freshet/backend/cdc"
	"freshet/backend/cdc/postgres"
	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/backend/testkit"
	"freshet/probes"
)

// ownDatabase is a database on a server that the test may do anything to.
func ownDatabase(t *testing.T, version int, settings ...string) *database {
	t.Helper()
	return newDatabase(t, testkit.Postgres(t, version, append([]string{"fsync=off"}, settings...)...))
}

// reconnect connects anew after the server was away.
func (db *database) reconnect() {
	db.t.Helper()
	db.conn.Close(context.Background())
	db.conn = connect(db.t, db.dsn)
}

// stopped waits until the capture has stopped for a person, and returns why.
func (c *capture) stopped() string {
	c.t.Helper()
	return c.wait("stopped", func(p probes.SourceProgress) bool { return p.State == cdc.Stopped }).Why
}

// stoppedFor waits for the capture to stop, and for a reason that says why.
func (c *capture) stoppedFor(why string) {
	c.t.Helper()
	if got := c.stopped(); !strings.Contains(got, why) {
		c.t.Errorf("stopped: %s", got)
	}
}

// TestInterleaved has a transaction that began first commit last, over a restart: its first rows are older than what was
// confirmed.
func TestInterleaved(t *testing.T) {
	eachVersion(t, func(t *testing.T, db *database) {
		db.exec(`CREATE TABLE t(id int PRIMARY KEY, v text)`)
		c := startCapture(t, db)
		c.streaming()
		other := connect(t, db.dsn)
		defer other.Close(t.Context())
		tx, err := other.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		insert := func(from, to int) {
			t.Helper()
			if _, err := tx.Exec(t.Context(), `INSERT INTO t SELECT i, 'a' FROM generate_series($1::int, $2::int) i`, from, to); err != nil {
				t.Fatal(err)
			}
		}
		insert(1, 5)
		db.exec(`INSERT INTO t VALUES (100, 'b')`)
		insert(6, 10)
		c.caughtUp()
		c.stop()
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.start()
		c.streaming()
		c.caughtUp()
		c.equal("public.t")
		if n := len(c.log.Records("shop.public.t")); n != 11 {
			t.Errorf("%d records, want 11", n)
		}
	})
}

// TestCopyCutShort ends the log in the middle of rows that share one LSN.
func TestCopyCutShort(t *testing.T) {
	eachVersion(t, func(t *testing.T, db *database) {
		db.exec(`CREATE TABLE t(id int); CREATE TABLE u(id int)`)
		c := startCapture(t, db)
		c.streaming()
		written := 0
		c.log.Fail(func(r *stream.Record) error {
			if written == 10 {
				return errors.New("no more")
			}
			written++
			return nil
		})
		tx, err := db.conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		rows := pgx.CopyFromSlice(20, func(i int) ([]any, error) { return []any{i}, nil })
		if _, err := tx.CopyFrom(t.Context(), pgx.Identifier{"t"}, []string{"id"}, rows); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), "INSERT INTO u VALUES (1)"); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.wait("failed", func(p probes.SourceProgress) bool {
			return p.State == cdc.Reconnecting && strings.Contains(p.Why, "no more")
		})
		if n := len(c.log.Records("shop.public.t")); n != 10 {
			t.Fatalf("%d records before the restart", n)
		}
		if p := c.pipeline.Progress(); p.Pending.IsZero() == false {
			t.Errorf("pending %s between runs", p.Pending)
		}
		c.crash()
		c.start()
		c.streaming()
		c.caughtUp()
		c.equal("public.t", "public.u")
	})
}

// TestKeyDropped reads a transaction again whose first changes are in the log, and the table has another key by then: what
// follows is not taken for what is there.
func TestKeyDropped(t *testing.T) {
	db := sharedDatabase(t, 15)
	db.exec(`CREATE TABLE t(id int PRIMARY KEY, v text); ALTER TABLE t REPLICA IDENTITY FULL; INSERT INTO t VALUES (1, 'a'), (2, 'a'), (3, 'a')`)
	c := startCapture(t, db)
	c.streaming()
	written := 0
	c.log.Fail(func(*stream.Record) error {
		if written == 6 {
			return errors.New("no more")
		}
		written++
		return nil
	})
	// Three records for the change of a key, two for the delete, one for the update. The next is refused.
	db.exec(`BEGIN; UPDATE t SET id = 4 WHERE id = 1; DELETE FROM t WHERE id = 2; UPDATE t SET v = 'b' WHERE id = 3; INSERT INTO t VALUES (5, 'c'); COMMIT`)
	c.wait("failed", func(p probes.SourceProgress) bool {
		return p.State == cdc.Reconnecting && strings.Contains(p.Why, "no more")
	})
	db.exec(`ALTER TABLE t DROP CONSTRAINT t_pkey`)
	c.log.Fail(nil)
	c.streaming()
	c.caughtUp()
	records := c.log.Records("shop.public.t")
	if n := len(records); n != 10 || !strings.Contains(string(records[n-1].Value), `"id":5`) {
		t.Errorf("%d records, want 10; the last is %s", n, records[n-1].Value)
	}
}

// TestPromotedBehind meets a standby that was promoted before it had what the log has already, though nothing of that was
// confirmed.
func TestPromotedBehind(t *testing.T) {
	for _, version := range versions() {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			db := ownDatabase(t, version)
			db.exec(`CREATE TABLE t(id int PRIMARY KEY)`)
			c := startCapture(t, db)
			c.streaming()
			db.exec(`INSERT INTO t VALUES (1)`)
			c.caughtUp()
			c.stop()
			stored, _ := c.store.Source(c.options.Name)
			db.server.Stop(testkit.Fast)
			behind := db.server.Dir + ".behind"
			run(t, "cp", "-a", db.server.Dir, behind)
			db.server.Start()
			db.reconnect()
			c.start()
			c.streaming()
			for i := range 100 {
				db.exec(`INSERT INTO t VALUES ($1)`, 100+i)
			}
			c.caughtUp()
			c.stop()
			if err := c.store.SaveSource(t.Context(), stored); err != nil { // as if it had been killed before it confirmed
				t.Fatal(err)
			}

			db.server.Stop(testkit.Immediate)
			run(t, "rm", "-r", db.server.Dir)
			run(t, "mv", behind, db.server.Dir)
			run(t, "touch", db.server.Dir+"/standby.signal")
			db.server.Start()
			db.reconnect()
			db.exec(`SELECT pg_promote()`)
			db.exec(`INSERT INTO t VALUES (2)`)
			c.start()
			c.stoppedFor("history leaves timeline 1 before changes that the topic shop.public.t holds")
		})
	}
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// TestServerRestarts restarts and kills the server under load, and the capture with it.
func TestServerRestarts(t *testing.T) {
	for _, version := range versions() {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			db := ownDatabase(t, version)
			db.exec(loadTables)
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			l := startLoad(t, db, 2, seed)
			c := startCapture(t, db, loadOptions)
			c.streaming()
			r := rand.New(rand.NewPCG(seed, 1))
			modes := []func(){
				func() { db.server.Restart(testkit.Fast) },
				func() { db.server.Restart(testkit.Immediate) },
				func() { db.server.Kill(); db.server.Start() },
				func() { c.powerCut(); db.server.Restart(testkit.Fast); c.start() },
				func() { db.server.Kill(); c.crash(); db.server.Start(); c.start() },
			}
			rounds := len(modes)
			if proof() {
				rounds = 20
			}
			for i := range rounds {
				before := c.pipeline.Progress().Appended
				c.wait("moving", func(p probes.SourceProgress) bool { return p.Appended > before })
				time.Sleep(time.Duration(r.IntN(200)) * time.Millisecond) // a random moment under load
				db.server.Stop(testkit.Immediate)
				c.wait("reconnecting", func(p probes.SourceProgress) bool { return p.State == cdc.Reconnecting && p.Why != "" })
				db.server.Start()
				c.streaming()
				modes[i%len(modes)]()
				c.streaming()
			}
			l.finish(t)
			db.reconnect()
			c.caughtUp()
			c.equal(loadNames...)
		})
	}
}

// TestConfirms never tells the server more than the log has, and tells it all in the end and when it leaves.
func TestConfirms(t *testing.T) {
	eachVersion(t, func(t *testing.T, db *database) {
		db.exec(`CREATE TABLE t(id int PRIMARY KEY); CREATE TABLE elsewhere(id int)`)
		c := startCapture(t, db, func(o *postgres.Options) { o.Tables = []string{"public.t"} })
		c.streaming()
		db.exec(`INSERT INTO t VALUES (1)`)
		c.caughtUp()
		c.log.Stall(true)
		before := db.value(`SELECT pg_current_wal_flush_lsn()::text`)
		db.exec(`INSERT INTO t VALUES (2)`)
		db.exec(`INSERT INTO elsewhere SELECT generate_series(1, 1000)`)
		end, err := c.source.Position(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p := c.wait("received", func(p probes.SourceProgress) bool { return p.Received >= end })
		if p.Appended >= end || p.Pending.IsZero() {
			t.Errorf("appended %X of %X while the log stands still, pending %s", p.Appended, end, p.Pending)
		}
		if v := db.value(`SELECT (confirmed_flush_lsn <= $1::pg_lsn)::text FROM pg_replication_slots WHERE database = current_database()`, before); v != "true" {
			t.Errorf("confirmed beyond %s though the log has nothing of it", before)
		}
		c.log.Stall(false)
		// Only what is not published moves the WAL from here on, and the slot follows.
		c.caughtUp()
		c.wait("confirmed", func(p probes.SourceProgress) bool { return p.Confirmed >= end })
		db.exec(`INSERT INTO elsewhere SELECT generate_series(1, 1000)`)
		end, err = c.source.Position(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		c.wait("confirmed", func(p probes.SourceProgress) bool { return p.Confirmed >= end })
		deadline := time.Now().Add(30 * time.Second)
		for db.value(`SELECT (confirmed_flush_lsn >= $1::pg_lsn)::text FROM pg_replication_slots WHERE database = current_database()`, lsn(end)) != "true" {
			if time.Now().After(deadline) {
				t.Fatal("the slot does not follow")
			}
			time.Sleep(10 * time.Millisecond)
		}
		db.exec(`INSERT INTO t VALUES (3)`)
		c.caughtUp()
		c.stop()
		stored, _ := c.store.Source(c.options.Name)
		if v := db.value(`SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE database = current_database()`); v != lsn(stored.State.Confirmed) {
			t.Errorf("the slot stands at %s, kept is %s", v, lsn(stored.State.Confirmed))
		}
	})
}

func lsn(n uint64) string { return fmt.Sprintf("%X/%X", n>>32, uint32(n)) }

// TestStalledLog keeps the server's sender alive while the log takes nothing for longer than wal_sender_timeout.
func TestStalledLog(t *testing.T) {
	for _, version := range versions() {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			t.Parallel()
			db := ownDatabase(t, version, "wal_sender_timeout=1s")
			db.exec(`CREATE TABLE t(id int PRIMARY KEY, v text)`)
			c := startCapture(t, db)
			c.streaming()
			pid := db.value(`SELECT active_pid::text FROM pg_replication_slots WHERE database = current_database()`)
			c.log.Stall(true)
			db.exec(`INSERT INTO t SELECT i, repeat('x', 2000) FROM generate_series(1, 12000) i`)
			began := time.Now()
			c.wait("three timeouts", func(p probes.SourceProgress) bool {
				if p.State != cdc.Streaming {
					t.Fatalf("%s: %s", p.State, p.Why)
				}
				return time.Since(began) > 3*time.Second
			})
			c.log.Stall(false)
			c.caughtUp()
			if now := db.value(`SELECT active_pid::text FROM pg_replication_slots WHERE database = current_database()`); now != pid {
				t.Errorf("the server's sender was %s and is %s", pid, now)
			}
			c.equal("public.t")
		})
	}
}

// TestSlotTrouble stops with a reason, and does not go on over a gap, whatever was done to the slot meanwhile.
func TestSlotTrouble(t *testing.T) {
	for name, trouble := range map[string]struct {
		do   func(db *database, slot string)
		want string
	}{
		"missing": {func(db *database, slot string) {
			db.exec(`SELECT pg_drop_replication_slot($1)`, slot)
		}, "is gone"},
		"made anew": {func(db *database, slot string) {
			db.exec(`SELECT pg_drop_replication_slot($1)`, slot)
			db.exec(`INSERT INTO t VALUES (50)`)
			db.exec(`SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, slot)
		}, "made anew or read by somebody else"},
		"ahead": {func(db *database, slot string) {
			db.exec(`SELECT pg_replication_slot_advance($1, pg_current_wal_lsn())`, slot)
		}, "made anew or read by somebody else"},
		"another plugin": {func(db *database, slot string) {
			db.exec(`SELECT pg_drop_replication_slot($1)`, slot)
			db.exec(`SELECT pg_create_logical_replication_slot($1, 'test_decoding')`, slot)
		}, "plugin test_decoding"},
		"publication made anew": {func(db *database, slot string) {
			db.exec(fmt.Sprintf(`DROP PUBLICATION %s; CREATE PUBLICATION %s FOR TABLE t`, slot, slot))
		}, "was dropped"},
	} {
		t.Run(name, func(t *testing.T) {
			eachVersion(t, func(t *testing.T, db *database) {
				db.exec(`CREATE TABLE t(id int PRIMARY KEY)`)
				c := startCapture(t, db)
				c.streaming()
				db.exec(`INSERT INTO t VALUES (1)`)
				c.caughtUp()
				c.stop()
				slot := db.value(`SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()`)
				db.exec(`INSERT INTO t VALUES (2)`)
				trouble.do(db, slot)
				db.exec(`INSERT INTO t VALUES (3)`)
				c.start()
				if why := c.stopped(); !strings.Contains(why, trouble.want) || !strings.Contains(why, "drop the source") {
					t.Errorf("stopped: %s", why)
				}
				if n := len(c.log.Records("shop.public.t")); n != 1 {
					t.Errorf("%d records: it went on over the gap", n)
				}
				// The choice that it names.
				if err := c.source.Drop(t.Context(), c.pipeline.State()); err != nil {
					t.Fatal(err)
				}
				c.stop()
				if err := c.store.DeleteSource(t.Context(), c.options.Name); err != nil {
					t.Fatal(err)
				}
				db.exec(`DROP PUBLICATION IF EXISTS ` + slot)
				c.start()
				c.streaming()
				c.caughtUp()
				c.equal("public.t")
			})
		})
	}
}

// TestSlotLost has the server give the slot up for its size.
func TestSlotLost(t *testing.T) {
	db := ownDatabase(t, 15, "max_slot_wal_keep_size=1MB", "max_wal_size=32MB", "min_wal_size=32MB")
	db.exec(`CREATE TABLE t(id int PRIMARY KEY); CREATE TABLE elsewhere(v text)`)
	c := startCapture(t, db, func(o *postgres.Options) { o.Tables = []string{"public.t"} })
	c.streaming()
	st, err := c.source.Slot(t.Context())
	if err != nil || !st.Active || st.WALStatus != "reserved" || !st.Limited || st.Safe <= 0 || st.Retained < 0 || st.ConfirmedFlush == 0 {
		t.Errorf("slot %+v: %v", st, err)
	}
	c.stop()
	for range 4 {
		db.exec(`INSERT INTO elsewhere SELECT repeat('x', 1000) FROM generate_series(1, 20000)`)
		db.exec(`SELECT pg_switch_wal()`)
		db.exec(`CHECKPOINT`)
	}
	st, err = c.source.Slot(t.Context())
	if err != nil || st.Active || st.WALStatus != "lost" {
		t.Errorf("slot %+v: %v", st, err)
	}
	c.start()
	c.stoppedFor("has given the slot")
}

// TestOtherServer meets another server at the same address.
func TestOtherServer(t *testing.T) {
	db := sharedDatabase(t, 15)
	db.exec(`CREATE TABLE t(id int PRIMARY KEY)`)
	c := startCapture(t, db)
	c.streaming()
	c.stop()
	other := sharedDatabase(t, 18)
	other.exec(`CREATE TABLE t(id int PRIMARY KEY)`)
	dsn := c.options.DSN
	c.options.DSN = other.dsn
	c.start()
	c.stoppedFor("another server")
	if err := c.source.Drop(t.Context(), c.pipeline.State()); !fault.Is(err, fault.Blocked) {
		t.Errorf("drop on another server: %v", err)
	}
	c.stop()
	c.options.DSN = dsn
	c.start()
	c.streaming()
}

// TestSlotInUse waits for whoever reads the slot and ends nobody.
func TestSlotInUse(t *testing.T) {
	db := sharedDatabase(t, 15)
	db.exec(`CREATE TABLE t(id int PRIMARY KEY)`)
	c := startCapture(t, db)
	c.streaming()
	c.stop()
	// Another session reads from the slot, and confirms nothing.
	ctx := t.Context()
	config, err := pgconn.ParseConfig(db.dsn)
	if err != nil {
		t.Fatal(err)
	}
	config.RuntimeParams["replication"] = "database"
	other, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(context.Background())
	slot := db.value(`SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()`)
	publications := db.value(`SELECT string_agg(quote_ident(pubname), ',') FROM pg_publication`)
	if err := pglogrepl.StartReplication(ctx, other, slot, 0, pglogrepl.StartReplicationOptions{
		PluginArgs: []string{"proto_version '1'", "publication_names '" + publications + "'"},
	}); err != nil {
		t.Fatal(err)
	}
	c.start()
	c.wait("in conflict", func(p probes.SourceProgress) bool {
		return p.State == cdc.Reconnecting && strings.Contains(p.Why, "active")
	})
	if n := db.value(`SELECT count(*)::text FROM pg_replication_slots WHERE database = current_database() AND active_pid = ` + strconv.Itoa(int(other.PID()))); n != "1" {
		t.Error("the other session was thrown out")
	}
	db.exec(`INSERT INTO t VALUES (1)`)
	if err := other.Close(ctx); err != nil {
		t.Log(err)
	}
	c.streaming()
	c.caughtUp()
	c.equal("public.t")
}

// TestSnapshotCutShort begins anew, under another identity, when the first snapshot does not end.
func TestSnapshotCutShort(t *testing.T) {
	eachVersion(t, func(t *testing.T, db *database) {
		db.exec(`CREATE TABLE a(id int PRIMARY KEY); CREATE TABLE b(id int PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 100); INSERT INTO b SELECT generate_series(1, 20000)`)
		c := startCapture(t, db, with(map[string]string{"snapshot.max.threads": "1"})) // a is read whole before b
		c.wait("in the snapshot", func(p probes.SourceProgress) bool { return len(c.log.Records("shop.public.b")) > 10 })
		c.log.Stall(true)
		c.crash()
		db.exec(`DELETE FROM a WHERE id > 50; INSERT INTO b VALUES (0)`)
		first := c.log.Records("shop.public.a")
		c.start()
		c.streaming()
		c.caughtUp()
		again := c.log.Records("shop.public.a")
		if len(first) != 100 || len(again) != 150 {
			t.Errorf("%d records, then %d", len(first), len(again))
		}
		before, _ := first[0].Header(stream.PositionHeader)
		after, _ := again[len(again)-1].Header(stream.PositionHeader)
		p, _ := stream.ParsePosition(string(before))
		q, _ := stream.ParsePosition(string(after))
		if p.Source == q.Source {
			t.Errorf("both snapshots are of %s", p.Source)
		}
		c.equal("public.a", "public.b")
		if n := db.value(`SELECT count(*)::text FROM pg_replication_slots WHERE database = current_database()`); n != "1" {
			t.Errorf("%s slots", n)
		}
	})
}

// TestSlotWaits tells whose transaction the slot waits for, and gives up in time.
func TestSlotWaits(t *testing.T) {
	db := ownDatabase(t, 15)
	db.exec(`CREATE TABLE t(id int PRIMARY KEY)`)
	other := connect(t, db.dsn+"&application_name=forgotten")
	defer other.Close(context.Background())
	if _, err := other.Exec(t.Context(), `BEGIN; INSERT INTO t VALUES (1)`); err != nil {
		t.Fatal(err)
	}
	c := startCapture(t, db, func(o *postgres.Options) { o.SlotWait = 3 * time.Second })
	c.wait("waiting", func(p probes.SourceProgress) bool {
		return p.State == cdc.Snapshot && strings.Contains(p.Why, "waits for pid") && strings.Contains(p.Why, "forgotten")
	})
	c.wait("given up", func(p probes.SourceProgress) bool {
		return p.State == cdc.Reconnecting && strings.Contains(p.Why, "forgotten")
	})
	if _, err := other.Exec(t.Context(), `COMMIT`); err != nil {
		t.Fatal(err)
	}
	c.streaming()
	c.caughtUp()
	c.equal("public.t")
}

// TestLogTrouble covers what the log can do.
func TestLogTrouble(t *testing.T) {
	db := sharedDatabase(t, 15)
	db.exec(`CREATE TABLE t(id int PRIMARY KEY, v text)`)
	c := startCapture(t, db)
	c.streaming()
	db.exec(`INSERT INTO t VALUES (1)`)
	c.caughtUp()

	// A log that cannot sync has nothing confirmed any more.
	c.log.FailSync(errors.New("disk on fire"))
	db.exec(`INSERT INTO t VALUES (2)`)
	c.stoppedFor("disk on fire")
	confirmed := c.pipeline.Progress().Confirmed
	c.log.FailSync(nil)
	if err := c.pipeline.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.streaming()
	c.caughtUp()
	c.wait("confirmed", func(p probes.SourceProgress) bool { return p.Confirmed > confirmed })

	// A log that takes a later record than one it refused has a hole, which reading back its end would not show.
	failed := false
	c.log.Fail(func(r *stream.Record) error {
		if strings.Contains(string(r.Value), `"id":3`) && !failed {
			failed = true
			return errors.New("lost")
		}
		return nil
	})
	c.log.Stall(true) // so that both are on their way
	db.exec(`INSERT INTO t VALUES (3); INSERT INTO t VALUES (4)`)
	c.wait("both on their way", func(probes.SourceProgress) bool { return c.log.Waiting() == 2 })
	c.log.Stall(false)
	c.stoppedFor("refused a record of shop.public.t")
	c.log.Fail(nil)
	c.restart()
	c.stoppedFor("refused a record of shop.public.t")
}

// TestStoreTrouble confirms nothing that could not be kept.
func TestStoreTrouble(t *testing.T) {
	db := sharedDatabase(t, 15)
	db.exec(`CREATE TABLE t(id int PRIMARY KEY)`)
	c := startCapture(t, db)
	c.streaming()
	db.exec(`INSERT INTO t VALUES (1)`)
	c.caughtUp()
	c.store.Fail(errors.New("no space"))
	db.exec(`INSERT INTO t VALUES (2)`)
	c.wait("reconnecting", func(p probes.SourceProgress) bool {
		return p.State == cdc.Reconnecting && strings.Contains(p.Why, "no space")
	})
	stored, _ := c.store.Source(c.options.Name)
	if v := db.value(`SELECT (confirmed_flush_lsn <= $1::pg_lsn)::text FROM pg_replication_slots WHERE database = current_database()`, lsn(stored.State.Confirmed)); v != "true" {
		t.Error("the slot was confirmed beyond what is kept")
	}
	c.store.Fail(nil)
	c.streaming()
	c.caughtUp()
	c.equal("public.t")
	if n := len(c.log.Records("shop.public.t")); n != 2 {
		t.Errorf("%d records, want 2", n)
	}
}

// TestMessageBeforeCommit stops the capture between a message that is no part of a transaction and the commit whose record
// follows it in the WAL: what is confirmed with the message must not reach into the commit.
func TestMessageBeforeCommit(t *testing.T) {
	db := sharedDatabase(t, 18) // messages are flushed on demand since version 17
	db.exec(`CREATE TABLE t(id int PRIMARY KEY)`)
	c := startCapture(t, db)
	c.streaming()
	ctx := t.Context()
	for id := range 5 {
		tx, err := db.conn.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(ctx, `INSERT INTO t VALUES ($1)`, id); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(ctx, `SELECT pg_logical_emit_message(false, 'p', 'm', true)`); err != nil {
			t.Fatal(err)
		}
		c.until("the message has come", func() bool { return len(c.log.Records("shop.message")) == id+1 })
		c.stop() // confirms it
		if err := tx.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		c.start()
		c.streaming()
		c.caughtUp()
		c.equal("public.t")
	}
}
