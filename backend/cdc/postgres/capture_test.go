package postgres_test

import (
	"strings"
	"testing"
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
