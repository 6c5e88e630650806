package postgres_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"freshet/backend/stream"
	"freshet/replay"
	"freshet/replay/sink/postgres"
)

// history makes a table's life: each change is made in PostgreSQL and written as the records that a capture makes of it.
type history struct {
	t       *testing.T
	r       *rand.Rand
	conn    *pgx.Conn
	keyed   bool
	log     []stream.Record
	source  string
	commit  uint64
	ordinal uint64
	begun   []int // where in log each transaction starts
	rows    map[[2]int]historyRow
	loose   []historyRow // of the table without a key
}

type historyRow struct {
	a, b int
	name string
	net  string
	doc  string
}

func (h *history) exec(sql string, args ...any) {
	h.t.Helper()
	if tag, err := h.conn.Exec(context.Background(), sql, args...); err != nil {
		h.t.Fatalf("%v\n%s", err, sql)
	} else if strings.HasPrefix(sql, "UPDATE") || strings.HasPrefix(sql, "DELETE") {
		if tag.RowsAffected() != 1 {
			h.t.Fatalf("%d rows by %s", tag.RowsAffected(), sql)
		}
	}
}

func (h *history) json(r historyRow, doc string) string {
	return fmt.Sprintf(`{"a":%d,"b":%d,"name":%s,"net":%s,"doc":%s}`, r.a, r.b, jsonText(r.name), variable(r.net), jsonText(doc))
}

func historyKey(a, b int) string { return fmt.Sprintf(`{"a":%d,"b":%d}`, a, b) }

func (h *history) emit(op, key, before, after string, headers ...string) {
	p := stream.Position{Source: h.source, Commit: h.commit, Ordinal: h.ordinal}
	h.ordinal++
	rec := event(0, op, key, before, after, append(headers, stream.PositionHeader, p.String())...)
	if op == "" {
		rec.Value = nil
	}
	h.log = append(h.log, rec)
}

func (h *history) random() historyRow {
	nets := []string{"1.0", "1.00", "-7", "0.001", "12345678901234567890.5"}
	return historyRow{a: h.r.IntN(6), b: h.r.IntN(3), name: randomText(h.r), net: nets[h.r.IntN(len(nets))], doc: "doc " + strconv.Itoa(h.r.IntN(5))}
}

func (h *history) pick() (historyRow, bool) {
	if !h.keyed {
		if len(h.loose) == 0 {
			return historyRow{}, false
		}
		return h.loose[h.r.IntN(len(h.loose))], true
	}
	n := h.r.IntN(max(1, len(h.rows)))
	for a := range 20 {
		for b := range 3 {
			if r, ok := h.rows[[2]int{a, b}]; ok {
				if n == 0 {
					return r, true
				}
				n--
			}
		}
	}
	return historyRow{}, false
}

const matchWhole = `ctid = (SELECT ctid FROM source WHERE a = $1 AND b = $2 AND name = $3 AND net::text = $4 AND doc = $5 LIMIT 1)`

// change makes one random change.
func (h *history) change() {
	switch n := h.r.IntN(100); {
	case n < 35:
		r := h.random()
		if _, there := h.rows[[2]int{r.a, r.b}]; there && h.keyed {
			return
		}
		h.exec(`INSERT INTO source VALUES ($1, $2, $3, $4::text::numeric, $5)`, r.a, r.b, r.name, r.net, r.doc)
		h.emit("c", h.key(r), "", h.json(r, r.doc))
		h.keep(r)
	case n < 65:
		old, ok := h.pick()
		if !ok {
			return
		}
		r := h.random()
		r.a, r.b = old.a, old.b
		doc, headers := r.doc, []string(nil)
		if h.r.IntN(2) == 0 {
			if r.doc = old.doc; h.keyed {
				doc, headers = stream.UnavailableText, []string{stream.UnavailableHeader, `["doc"]`}
			} else {
				doc = old.doc
			}
		}
		if h.keyed {
			h.exec(`UPDATE source SET name = $3, net = $4::text::numeric, doc = $5 WHERE a = $1 AND b = $2`, r.a, r.b, r.name, r.net, r.doc)
			h.emit("u", h.key(r), "", h.json(r, doc), headers...)
		} else {
			h.exec(`UPDATE source SET name = $6, net = $7::text::numeric, doc = $8 WHERE `+matchWhole, old.a, old.b, old.name, old.net, old.doc, r.name, r.net, r.doc)
			h.emit("u", "", h.json(old, old.doc), h.json(r, doc))
		}
		h.drop(old)
		h.keep(r)
	case n < 80:
		old, ok := h.pick()
		if !ok {
			return
		}
		if h.keyed {
			h.exec(`DELETE FROM source WHERE a = $1 AND b = $2`, old.a, old.b)
			h.emit("d", h.key(old), historyKey(old.a, old.b), "")
			h.emit("", h.key(old), "", "")
		} else {
			h.exec(`DELETE FROM source WHERE `+matchWhole, old.a, old.b, old.name, old.net, old.doc)
			h.emit("d", "", h.json(old, old.doc), "")
		}
		h.drop(old)
	case n < 97:
		old, ok := h.pick()
		if !ok || !h.keyed {
			return
		}
		r := old
		r.a, r.b = h.r.IntN(20), h.r.IntN(3)
		if _, there := h.rows[[2]int{r.a, r.b}]; there {
			return
		}
		doc, headers := old.doc, []string{stream.OldKeyHeader, h.key(old)}
		if h.r.IntN(2) == 0 {
			doc, headers = stream.UnavailableText, append(headers, stream.UnavailableHeader, `["doc"]`)
		} else {
			r.doc = "new " + doc
			doc = r.doc
		}
		h.exec(`UPDATE source SET a = $3, b = $4, doc = $5 WHERE a = $1 AND b = $2`, old.a, old.b, r.a, r.b, r.doc)
		h.emit("d", h.key(old), historyKey(old.a, old.b), "", stream.NewKeyHeader, h.key(r))
		h.emit("", h.key(old), "", "")
		h.emit("c", h.key(r), "", h.json(r, doc), headers...)
		h.drop(old)
		h.keep(r)
	case n < 98:
		h.exec(`TRUNCATE source`)
		h.emit("t", "", "", "")
		clear(h.rows)
		h.loose = nil
	}
}

func (h *history) key(r historyRow) string {
	if !h.keyed {
		return ""
	}
	return historyKey(r.a, r.b)
}

func (h *history) keep(r historyRow) {
	if h.keyed {
		h.rows[[2]int{r.a, r.b}] = r
	} else {
		h.loose = append(h.loose, r)
	}
}

func (h *history) drop(r historyRow) {
	if h.keyed {
		delete(h.rows, [2]int{r.a, r.b})
		return
	}
	for i := range h.loose {
		if h.loose[i] == r {
			h.loose = append(h.loose[:i], h.loose[i+1:]...)
			return
		}
	}
}

// transaction makes a few changes under one commit. Now and then the capture is killed after it and sends its last
// transactions again, or is made anew and starts with a snapshot.
func (h *history) transaction() {
	h.commit++
	h.ordinal = 0
	h.begun = append(h.begun, len(h.log))
	for range 1 + h.r.IntN(6) {
		h.change()
	}
	switch n := h.r.IntN(100); {
	case n < 10:
		from := h.begun[max(0, len(h.begun)-1-h.r.IntN(3))]
		until := len(h.log)
		h.begun = h.begun[:0]
		h.log = append(h.log, h.log[from:until]...)
	case n < 12:
		h.source += "'"
		h.ordinal = 0
		h.begun = h.begun[:0]
		for a := range 20 {
			for b := range 3 {
				if r, ok := h.rows[[2]int{a, b}]; ok {
					h.emit("r", h.key(r), "", h.json(r, r.doc))
				}
			}
		}
		for _, r := range h.loose {
			h.emit("r", "", "", h.json(r, r.doc))
		}
		if h.ordinal == 0 { // an empty table has no row that could tell of the new snapshot
			h.exec(`INSERT INTO source VALUES (0, 0, '', 1, '')`)
			r := historyRow{net: "1"}
			h.emit("r", h.key(r), "", h.json(r, r.doc))
			h.keep(r)
		}
	}
}

// TestTableEqualsItsSource holds that after any life of a table, sent in any cuts, with captures killed and writers
// dropped in the middle, the target's rows are the source's.
func TestTableEqualsItsSource(t *testing.T) {
	seeds := 4
	if os.Getenv("FRESHET_PROOF") != "" {
		seeds = 200
	}
	for seed := range uint64(seeds) {
		for _, keyed := range []bool{true, false} {
			t.Run(fmt.Sprintf("seed %d keyed %v", seed, keyed), func(t *testing.T) {
				dsn := database(t)
				ddl := `CREATE TABLE source (a int, b int, name text, net numeric, doc text`
				schema := &stream.TableSchema{ID: "history", Schema: "public", Table: "orders", Columns: []stream.Column{
					col("a", "integer", 0), col("b", "integer", 0), col("name", "text", 0), col("net", "numeric", 0), col("doc", "text", 0)}}
				if keyed {
					ddl += `, PRIMARY KEY (a, b)`
					schema.Columns[0].Key, schema.Columns[1].Key = 1, 2
				}
				exec(t, dsn, ddl+`)`)
				h := &history{t: t, r: rand.New(rand.NewPCG(seed, 1)), conn: connect(t, dsn), keyed: keyed, source: "s", rows: map[[2]int]historyRow{}}
				defer h.conn.Close(context.Background())
				h.commit++
				h.emit("r", h.key(historyRow{}), "", h.json(historyRow{net: "1"}, ""))
				h.exec(`INSERT INTO source VALUES (0, 0, '', 1, '')`)
				h.keep(historyRow{net: "1"})
				for range 120 {
					h.transaction()
				}
				items := make([]replay.Item, len(h.log))
				for i := range h.log {
					rec := h.log[i]
					rec.Offset = int64(i)
					items[i] = item(t, rec, schema)
				}
				var incomplete int64
				takeOvers := drain(t, h.r, dsn, shard.Topic, items, &incomplete)
				differ(t, dsn, "source", "orders")
				if incomplete > 0 {
					t.Errorf("%d rows lack a value", incomplete)
				}
				t.Logf("%d records, %d take-overs", len(items), takeOvers)
			})
		}
	}
}

// drain writes items in random cuts, with the writer dropped at random moments, until all are in.
func drain(t *testing.T, r *rand.Rand, dsn, topic string, items []replay.Item, incomplete *int64) int64 {
	t.Helper()
	for epoch := int64(1); ; epoch++ {
		s, err := postgres.New(postgres.Options{DSN: dsn, MaxConns: 2})
		if err != nil {
			t.Fatal(err)
		}
		sh := shard
		sh.Epoch, sh.Topic = epoch, topic
		w, err := s.Open(context.Background(), sh)
		if err != nil {
			t.Fatal(err)
		}
		next := w.Progress().Next
		for next < int64(len(items)) {
			to := min(next+1+r.Int64N(60), int64(len(items)))
			limit := time.Duration(r.IntN(20000)) * time.Microsecond
			if r.IntN(3) > 0 || epoch > 30 {
				limit = time.Minute
			}
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			out, err := w.Write(ctx, replay.Write{Items: items[next:to], Next: to})
			cancel()
			if err != nil {
				if limit == time.Minute {
					t.Fatal(err)
				}
				break
			}
			if len(out.Refused) > 0 {
				t.Fatalf("refused %+v", out.Refused)
			}
			*incomplete += out.Incomplete
			next = to
		}
		s.Close()
		if next == int64(len(items)) {
			return epoch
		}
	}
}
