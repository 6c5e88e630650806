package postgres_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"freshet/backend/cdc/postgres"
	"freshet/probes"
)

var times = regexp.MustCompile(`"ts_(ms|us|ns)":\d+|"sequence":"\[[^,]*,`) // and the commit before, which is not known after a start

// TestRunningTransactions captures a random load twice: as the server sends transactions while they run, and as it sends
// them once they have committed. Both write the same, whatever is rolled back, altered and interleaved, over crashes.
func TestRunningTransactions(t *testing.T) {
	for _, version := range versions() {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			if version < 14 {
				t.Skip("running transactions are sent since version 14")
			}
			settings := []string{"logical_decoding_work_mem=64kB", "max_wal_size=2GB"}
			db := ownDatabase(t, version, settings...)
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			db.exec(`CREATE TABLE a(id bigserial PRIMARY KEY, v text); CREATE TABLE b(id bigserial PRIMARY KEY, v text); ALTER TABLE b REPLICA IDENTITY FULL`)
			early := startCapture(t, db, func(o *postgres.Options) { o.Name += "e" })
			late := startCapture(t, db, func(o *postgres.Options) { o.Name += "l"; o.SpillDir = "" })
			early.streaming()
			late.streaming()
			rounds := 3
			if proof() {
				rounds = 20
			}
			for round := range rounds {
				done := make(chan error, 3)
				for session := range uint64(3) {
					go func() { done <- runningLoad(db.dsn, rand.New(rand.NewPCG(seed+uint64(round), session)), session) }()
				}
				for range 3 {
					if err := <-done; err != nil {
						t.Fatal(err)
					}
				}
				if round == 1 {
					early.crash()
					early.start()
					early.streaming()
				}
			}
			early.caughtUp()
			late.caughtUp()
			for _, topic := range []string{"shop.public.a", "shop.public.b"} {
				x, y := early.log.Records(topic), late.log.Records(topic)
				if len(x) != len(y) {
					t.Errorf("%s: %d records and %d", topic, len(x), len(y))
				}
				for i := range min(len(x), len(y)) {
					v, w := times.ReplaceAll(x[i].Value, nil), times.ReplaceAll(y[i].Value, nil)
					if !bytes.Equal(x[i].Key, y[i].Key) || !bytes.Equal(v, w) {
						t.Fatalf("%s %d:\n%s %s\n%s %s", topic, i, x[i].Key, v, y[i].Key, w)
					}
				}
			}
			early.equal("public.b") // rows of a were written with columns that it no longer has
			if n := db.value(`SELECT sum(stream_txns)::text FROM pg_stat_replication_slots WHERE slot_name LIKE '%e'`); n == "0" {
				t.Error("nothing was sent while it ran")
			}
		})
	}
}

// runningLoad runs some transactions of savepoints, exceptions, rollbacks and, in one session, changed columns. Sessions
// change different rows.
func runningLoad(dsn string, r *rand.Rand, session uint64) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	for range 6 {
		var sql strings.Builder
		sql.WriteString("BEGIN;")
		depth := 0
		for range 5 + r.IntN(20) {
			table := []string{"a", "b"}[r.IntN(2)]
			switch r.IntN(12) {
			case 0, 1, 2, 3:
				fmt.Fprintf(&sql, "INSERT INTO %s(v) SELECT repeat('x', %d) || i FROM generate_series(1, %d) i;", table, r.IntN(200), 1+r.IntN(800))
			case 4:
				fmt.Fprintf(&sql, "UPDATE %s SET v = v || 'u' WHERE id %% 97 = %d AND id %% 3 = %d;", table, r.IntN(97), session)
			case 5:
				fmt.Fprintf(&sql, "DELETE FROM %s WHERE id %% 89 = %d AND id %% 3 = %d;", table, r.IntN(89), session)
			case 6, 7:
				depth++
				fmt.Fprintf(&sql, "SAVEPOINT s%d;", depth)
			case 8:
				if depth > 0 {
					fmt.Fprintf(&sql, "ROLLBACK TO s%d;", depth)
				}
			case 9:
				if depth > 0 {
					fmt.Fprintf(&sql, "RELEASE s%d;", depth)
					depth--
				}
			case 10:
				fmt.Fprintf(&sql, `DO $$ BEGIN FOR i IN 1..%d LOOP BEGIN INSERT INTO %s(v) VALUES ('e' || i); IF i %% 3 = 0 THEN RAISE EXCEPTION 'no'; END IF;
					EXCEPTION WHEN raise_exception THEN NULL; END; END LOOP; END $$;`, 1+r.IntN(200), table)
			case 11:
				if session == 0 {
					n := r.IntN(1 << 30)
					fmt.Fprintf(&sql, "ALTER TABLE a ADD COLUMN c%d int DEFAULT %d; INSERT INTO a(v) SELECT 'added' FROM generate_series(1, 500); ALTER TABLE a DROP COLUMN c%d;", n, n%100, n)
				}
			}
		}
		if r.IntN(4) == 0 {
			sql.WriteString("ROLLBACK")
		} else {
			sql.WriteString("COMMIT")
		}
		if _, err := conn.Exec(ctx, sql.String()); err != nil {
			if _, rolled := conn.Exec(ctx, "ROLLBACK"); rolled != nil {
				return err
			}
			if !strings.Contains(err.Error(), "deadlock") { // two that update the same rows: the one is rolled back
				return err
			}
		}
	}
	return nil
}

// TestNoRoomForRunningTransactions: where they cannot be kept, the server keeps them.
func TestNoRoomForRunningTransactions(t *testing.T) {
	db := ownDatabase(t, 15, "logical_decoding_work_mem=64kB")
	db.exec(`CREATE TABLE t(id int PRIMARY KEY, v text)`)
	dir := filepath.Join(t.TempDir(), "gone")
	c := startCapture(t, db, func(o *postgres.Options) { o.SpillDir = dir })
	c.streaming()
	db.exec(`INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 5000) i`)
	c.caughtUp()
	c.equal("public.t")
	if n := len(c.log.Records("shop.public.t")); n != 5000 {
		t.Errorf("%d records", n)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the folder was made")
	}
}

// TestRunningTransactionIsNotSeen: nothing of a transaction is in the topic before it has committed, and nothing is left
// of it on the disk afterwards.
func TestRunningTransactionIsNotSeen(t *testing.T) {
	db := ownDatabase(t, 15, "logical_decoding_work_mem=64kB")
	db.exec(`CREATE TABLE t(id int PRIMARY KEY, v text); CREATE TABLE other(id int PRIMARY KEY)`)
	var dir string
	c := startCapture(t, db, func(o *postgres.Options) { dir = o.SpillDir })
	c.streaming()
	other := connect(t, db.dsn)
	defer other.Close(context.Background())
	tx, err := other.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 5000) i`); err != nil {
		t.Fatal(err)
	}
	c.until("a part of it is sent", func() bool {
		return db.value(`SELECT stream_txns::text FROM pg_stat_replication_slots LIMIT 1`) != "0"
	})
	db.exec(`INSERT INTO other VALUES (1)`)
	c.caughtUp()
	if n := len(c.log.Records("shop.public.t")); n != 0 {
		t.Errorf("%d records before the commit", n)
	}
	if n := len(c.log.Records("shop.public.other")); n != 1 {
		t.Errorf("%d records of the transaction that committed meanwhile", n)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.caughtUp()
	c.equal("public.t")
	c.wait("all of it", func(p probes.SourceProgress) bool { return len(c.log.Records("shop.public.t")) == 5000 })
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}
