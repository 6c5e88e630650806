package postgres_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"freshet/backend/stream"
)

// fold is what a topic says a table holds: rows by key, or the rows of a table without a key.
type fold struct {
	rows map[string]map[string]json.RawMessage
	bag  []map[string]json.RawMessage
}

// foldTopic applies a topic's records, and checks that each position is there once and that they grow.
func foldTopic(t testing.TB, records []stream.Record) fold {
	t.Helper()
	f := fold{rows: map[string]map[string]json.RawMessage{}}
	var last stream.Position
	// A snapshot does not see rows that were truncated after it began and before it came to their table; the stream then
	// changes rows that are not there, until it truncates, too.
	lenient := truncateFollows(records)
	for i, r := range records {
		h, ok := r.Header(stream.PositionHeader)
		if !ok {
			t.Fatalf("%s %d has no position", r.Topic, i)
		}
		p, err := stream.ParsePosition(string(h))
		if err != nil {
			t.Fatal(err)
		}
		if order, same := p.Compare(last); same && order <= 0 {
			t.Fatalf("%s %d: position %s after %s", r.Topic, i, p, last)
		}
		newSource := last.Source != "" && last.Source != p.Source
		last = p
		if r.Value == nil {
			continue
		}
		var v row
		if err := json.Unmarshal(r.Value, &v); err != nil {
			t.Fatalf("%s %d: %v: %s", r.Topic, i, err, r.Value)
		}
		if newSource && v.Op == "r" {
			clear(f.rows)
			f.bag = nil
		}
		key := string(r.Key)
		switch v.Op {
		case "t":
			lenient = false
			clear(f.rows)
			f.bag = nil
		case "d":
			if r.Key == nil {
				f.take(t, v.Before, lenient)
				continue
			}
			row := f.rows[key]
			if row == nil {
				t.Fatalf("%s %d: delete of %s, which is not there", r.Topic, i, key)
			}
			delete(f.rows, key)
			if to, moved := r.Header(stream.NewKeyHeader); moved {
				f.rows[string(to)] = row
			}
		case "u":
			if r.Key == nil {
				f.take(t, v.Before, lenient)
			}
			fallthrough
		case "c", "r":
			_, moved := r.Header(stream.OldKeyHeader)
			if r.Key != nil && v.Op != "u" && !moved && f.rows[key] != nil {
				t.Fatalf("%s %d: %s of %s, which is there", r.Topic, i, v.Op, key)
			}
			if r.Key != nil && v.Op == "u" && f.rows[key] == nil {
				t.Fatalf("%s %d: update of %s, which is not there", r.Topic, i, key)
			}
			if h, ok := r.Header(stream.UnavailableHeader); ok {
				var columns []string
				if err := json.Unmarshal(h, &columns); err != nil || len(columns) == 0 {
					t.Fatalf("%s %d: unavailable %s: %v", r.Topic, i, h, err)
				}
				for _, c := range columns {
					v.After[c] = f.rows[key][c]
				}
			}
			if r.Key == nil {
				f.bag = append(f.bag, v.After)
			} else {
				f.rows[key] = v.After
			}
		default:
			t.Fatalf("%s %d: op %s", r.Topic, i, v.Op)
		}
	}
	return f
}

func truncateFollows(records []stream.Record) bool {
	return slices.ContainsFunc(records, func(r stream.Record) bool { return bytes.Contains(r.Value, []byte(`"op":"t"`)) })
}

func (f *fold) take(t testing.TB, row map[string]json.RawMessage, lenient bool) {
	t.Helper()
	i := slices.IndexFunc(f.bag, func(r map[string]json.RawMessage) bool { return canonical(r) == canonical(row) })
	if i < 0 {
		if !lenient {
			t.Fatalf("row %s is not there", canonical(row))
		}
		return
	}
	f.bag = slices.Delete(f.bag, i, i+1)
}

func canonical(row map[string]json.RawMessage) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(row)) {
		fmt.Fprintf(&b, "%s=%s;", k, bytes.TrimSpace(row[k]))
	}
	return b.String()
}

func (f *fold) lines() []string {
	var lines []string
	for _, r := range f.rows {
		lines = append(lines, canonical(r))
	}
	for _, r := range f.bag {
		lines = append(lines, canonical(r))
	}
	slices.Sort(lines)
	return lines
}

// tableLines is a table as fold.lines gives it, for integer and text columns.
func (db *database) tableLines(table string) []string {
	db.t.Helper()
	rows, err := db.conn.Query(context.Background(), "SELECT row_to_json(t)::text FROM "+table+" t")
	if err != nil {
		db.t.Fatal(err)
	}
	defer rows.Close()
	var lines []string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			db.t.Fatal(err)
		}
		var r map[string]json.RawMessage
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			db.t.Fatal(err)
		}
		lines = append(lines, canonical(r))
	}
	if err := rows.Err(); err != nil {
		db.t.Fatal(err)
	}
	slices.Sort(lines)
	return lines
}

// equal checks that the topics say what the tables hold.
func (c *capture) equal(tables ...string) {
	c.t.Helper()
	for _, table := range tables {
		f := foldTopic(c.t, c.log.Records("shop."+table))
		have, want := f.lines(), c.db.tableLines(table)
		if !slices.Equal(have, want) {
			c.t.Fatalf("%s: the topic says %d rows, the table holds %d%s", table, len(have), len(want), firstDifference(have, want))
		}
	}
}

func firstDifference(have, want []string) string {
	for i := range max(len(have), len(want)) {
		h, w := "", ""
		if i < len(have) {
			h = have[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if h != w {
			return fmt.Sprintf("\n have %.200s\n want %.200s", h, w)
		}
	}
	return ""
}
