package postgres_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"freshet/backend/cdc/postgres"
)

// TestSnapshotOfOneMoment reads tables on eight connections while money moves between their rows: all that is read is of
// one moment, whichever connection read it (debezium/dbz#2330), and each row is read once.
func TestSnapshotOfOneMoment(t *testing.T) {
	defer postgres.SetChunkPages(8)()
	eachVersion(t, func(t *testing.T, db *database) {
		const tables, rows, each = 3, 20_000, 100
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
