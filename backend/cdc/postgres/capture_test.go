package postgres_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"freshet/backend/cdc"
	"freshet/backend/cdc/postgres"
	"freshet/probes"
)

// topicValues are the values of a topic's records, "" for a tombstone.
func (c *capture) topicValues(topic string) []string {
	var values []string
	for _, r := range c.log.Records(topic) {
		values = append(values, string(r.Value))
	}
	return values
}

func TestSnapshotThenStream(t *testing.T) {
	eachVersion(t, func(t *testing.T, db *database) {
		db.exec(`CREATE TABLE t(id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'one'), (2, NULL)`)
		c := startCapture(t, db)
		c.streaming()
		db.exec(`INSERT INTO t VALUES (3, 'three')`)
		c.caughtUp()
		values := c.topicValues("shop.public.t")
		want := []string{`"after":{"id":1,"v":"one"}`, `"after":{"id":2,"v":null}`, `"after":{"id":3,"v":"three"}`}
		if len(values) != len(want) {
			t.Fatalf("%d records: %q", len(values), values)
		}
		for i, w := range want {
			if !strings.Contains(values[i], w) {
				t.Errorf("record %d lacks %s: %s", i, w, values[i])
			}
		}
	})
}

// loadOptions leaves the table out that is written to and not captured.
func loadOptions(o *postgres.Options) {
	o.Tables = []string{"public.keyed", "public.whole", "public.indexed", "public.pairs", "public.history", "public.bag"}
}

// TestUnderLoad takes a snapshot while everything is written to, streams on, and is crashed, restarted and paused at
// random. In the end the topics say what the tables hold, each position once.
func TestUnderLoad(t *testing.T) {
	eachVersion(t, func(t *testing.T, db *database) {
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		r := rand.New(rand.NewPCG(seed, 99))
		db.exec(loadTables)
		l := startLoad(t, db, 3, seed)
		db.exec("SELECT pg_sleep(0.3)")
		c := startCapture(t, db, loadOptions)
		c.streaming()
		rounds := 5
		if proof() {
			rounds = 60
		}
		for range rounds {
			before := c.pipeline.Progress().Appended
			c.wait("moving", func(p probes.SourceProgress) bool { return p.Appended > before })
			db.exec("SELECT pg_sleep($1)", r.Float64()/5)
			switch r.IntN(3) {
			case 0:
				c.crash()
				c.start()
			case 1:
				c.restart()
			case 2:
				if err := c.pipeline.Pause(t.Context()); err != nil {
					t.Fatal(err)
				}
				if p := c.pipeline.Progress(); p.State != cdc.Paused {
					t.Fatalf("paused, and %s", p.State)
				}
				if err := c.pipeline.Resume(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			c.streaming()
		}
		l.finish(t)
		c.caughtUp()
		c.equal(loadNames...)
		if n := len(c.log.Records("shop.public.keyed")); n < 50 {
			t.Fatalf("only %d records, this shows nothing", n)
		}
	})
}
