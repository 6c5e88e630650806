package postgres_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"freshet/replay"
	"freshet/replay/sink/postgres"
)

// What the sink holds of a row is told beside how far it is, and compared in the database's own terms.
func TestHeld(t *testing.T) {
	dsn := database(t)
	s, w := open(t, postgres.Options{DSN: dsn}, shard)
	first := event(0, "c", key(1), "", row(1, "a", "x"))
	held := func(it replay.Item) replay.Held {
		t.Helper()
		h, err := s.Held(context.Background(), shard, &it)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	if h := held(item(t, first, orders)); h.Found || h.Next != 0 || !strings.Contains(h.Why, "no such table") {
		t.Errorf("before there is a table: %+v", h)
	}
	write(t, w, orders, first)
	h := held(item(t, first, orders))
	if !h.Found || h.Next != 1 || string(h.Row) != `{"id":1,"name":"a","net":2.31,"doc":"x"}` || len(h.Differs)+len(h.Missing) > 0 || h.Table != `"public"."orders"` {
		t.Errorf("the row as it was written: %+v %s", h, h.Row)
	}
	second := event(1, "u", key(1), "", row(1, "b", "y"))
	if h = held(item(t, second, orders)); h.Next != 1 || !slices.Equal(h.Differs, []string{"name", "doc"}) {
		t.Errorf("a version that is not applied: %+v", h)
	}
	exec(t, dsn, "ALTER TABLE orders DROP COLUMN doc")
	if h = held(item(t, second, orders)); !slices.Equal(h.Missing, []string{"doc"}) || !slices.Equal(h.Differs, []string{"name"}) {
		t.Errorf("a column less: %+v", h)
	}
	if h = held(item(t, event(2, "d", key(7), row(7, "", ""), ""), orders)); h.Found || h.Why != "" {
		t.Errorf("another row: %+v", h)
	}
	if _, err := s.Held(context.Background(), shard, &replay.Item{Record: &first}); err == nil {
		t.Error("a record that is no change is no row")
	}
	if got := rows(t, dsn, "freshet.progress", "owner"); len(got) != 1 {
		t.Errorf("progress: %v", got)
	}
}
