package postgres_test

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"freshet/backend/cdc/postgres"
	"freshet/backend/stream"
	"freshet/probes"
)

// brief is a record without what differs from run to run.
func brief(t *testing.T, r stream.Record) string {
	t.Helper()
	key := "null"
	if r.Key != nil {
		key = string(r.Key)
	}
	value := "null"
	if r.Value != nil {
		var v struct {
			Before, After json.RawMessage
			Op            string
		}
		if err := json.Unmarshal(r.Value, &v); err != nil {
			t.Fatalf("%v: %s", err, r.Value)
		}
		value = fmt.Sprintf("%s %s>%s", v.Op, v.Before, v.After)
	}
	s := key + " " + value
	for _, h := range r.Headers {
		switch h.Key {
		case stream.PositionHeader, stream.CommitTimeHeader, stream.SchemaHeader:
		default:
			s += fmt.Sprintf(" %s=%s", h.Key, h.Value)
		}
	}
	return s
}

// has checks a topic's records from some place on.
func (c *capture) has(t *testing.T, topic string, from int, want ...string) {
	t.Helper()
	var have []string
	for _, r := range c.log.Records(topic)[from:] {
		have = append(have, brief(t, r))
	}
	if !slices.Equal(have, want) {
		t.Errorf("%s\n have %s\n want %s", topic, strings.Join(have, "\n      "), strings.Join(want, "\n      "))
	}
}

func TestKeyChange(t *testing.T) {
	eachVersion(t, func(t *testing.T, db *database) {
		db.exec(`CREATE TABLE t(b int, a text, v int, PRIMARY KEY (a, b)); CREATE TABLE f(id int PRIMARY KEY, v int); ALTER TABLE f REPLICA IDENTITY FULL`)
		c := startCapture(t, db)
		c.streaming()
		db.exec(`INSERT INTO t VALUES (1, 'x', 10); UPDATE t SET v = 11; UPDATE t SET b = 2, v = 12; DELETE FROM t`)
		db.exec(`INSERT INTO f VALUES (1, 10); UPDATE f SET v = 11; UPDATE f SET id = 2; DELETE FROM f`)
		c.caughtUp()
		c.has(t, "shop.public.t", 0,
			`{"a":"x","b":1} c null>{"b":1,"a":"x","v":10}`,
			`{"a":"x","b":1} u null>{"b":1,"a":"x","v":11}`,
			`{"a":"x","b":1} d {"b":1,"a":"x","v":null}>null __debezium.newkey={"a":"x","b":2}`,
			`{"a":"x","b":1} null __debezium.newkey={"a":"x","b":2}`,
			`{"a":"x","b":2} c null>{"b":2,"a":"x","v":12} __debezium.oldkey={"a":"x","b":1}`,
			`{"a":"x","b":2} d {"b":2,"a":"x","v":null}>null`,
			`{"a":"x","b":2} null`,
		)
		c.has(t, "shop.public.f", 0,
			`{"id":1} c null>{"id":1,"v":10}`,
			`{"id":1} u {"id":1,"v":10}>{"id":1,"v":11}`,
			`{"id":1} d {"id":1,"v":11}>null __debezium.newkey={"id":2}`,
			`{"id":1} null __debezium.newkey={"id":2}`,
			`{"id":2} c null>{"id":2,"v":11} __debezium.oldkey={"id":1}`,
			`{"id":2} d {"id":2,"v":11}>null`,
			`{"id":2} null`,
		)
	})
}

// TestTOAST leaves large values alone under each replica identity. What the server does not send is marked, and comes
// from the old row where that is whole.
func TestTOAST(t *testing.T) {
	eachVersion(t, func(t *testing.T, db *database) {
		big := strings.Repeat("0123456789abcdef", 1000)
		const columns = `(id int PRIMARY KEY, code int NOT NULL UNIQUE, n int, v text, b bytea, a int[], j jsonb)`
		for table, identity := range map[string]string{"d": "DEFAULT", "f": "FULL", "i": "USING INDEX i_code_key"} {
			db.exec("CREATE TABLE " + table + columns + "; ALTER TABLE " + table + " ALTER v SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTERNAL, ALTER a SET STORAGE EXTERNAL, ALTER j SET STORAGE EXTERNAL, REPLICA IDENTITY " + identity)
		}
		c := startCapture(t, db)
		c.streaming()
		for _, table := range []string{"d", "f", "i"} {
			db.exec(fmt.Sprintf(`INSERT INTO %s VALUES (1, 1, 0, '%s', '%s', (SELECT array_agg(i) FROM generate_series(1, 3000) i), to_jsonb('%s'::text)); UPDATE %s SET n = 1`, table, big, big, big, table))
			db.exec(fmt.Sprintf(`UPDATE %s SET n = 2, v = 'short'`, table))
			db.exec(fmt.Sprintf(`UPDATE %s SET id = 2, code = 2`, table))
		}
		c.caughtUp()
		all := `["v","b","a","j"]`
		for _, table := range []string{"d", "i"} {
			key := map[string]string{"d": "id", "i": "code"}[table]
			records := c.log.Records("shop.public." + table)
			if len(records) != 6 {
				t.Fatalf("%s: %d records", table, len(records))
			}
			for i, want := range map[int]string{1: all, 2: `["b","a","j"]`, 5: `["b","a","j"]`} {
				if h, _ := records[i].Header(stream.UnavailableHeader); string(h) != want {
					t.Errorf("%s %d: unavailable %s, want %s", table, i, h, want)
				}
			}
			if string(records[0].Key) != fmt.Sprintf(`{"%s":1}`, key) {
				t.Errorf("%s: key %s", table, records[0].Key)
			}
			after := decodeRow(t, records[1].Value).After
			ints := "[95,95,100,101,98,101,122,105,117,109,95,117,110,97,118,97,105,108,97,98,108,101,95,118,97,108,117,101]"
			for column, want := range map[string]string{"n": "1", "v": `"__debezium_unavailable_value"`, "b": `"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="`, "a": ints, "j": `"__debezium_unavailable_value"`} {
				if string(after[column]) != want {
					t.Errorf("%s.%s: %.80s, want %s", table, column, after[column], want)
				}
			}
		}
		for i, r := range c.log.Records("shop.public.f") {
			if h, ok := r.Header(stream.UnavailableHeader); ok {
				t.Errorf("f %d: unavailable %s", i, h)
			}
			if strings.Contains(string(r.Value), "__debezium_unavailable") {
				t.Errorf("f %d has a placeholder", i)
			}
		}
		if after := decodeRow(t, c.log.Records("shop.public.f")[1].Value).After; string(after["v"]) != `"`+big+`"` {
			t.Errorf("f: v is %.80s", after["v"])
		}
	})
}

func TestTruncate(t *testing.T) {
	eachVersion(t, func(t *testing.T, db *database) {
		db.exec(`CREATE TABLE a(id int PRIMARY KEY); CREATE TABLE b(id int PRIMARY KEY REFERENCES a); CREATE TABLE c(v int)`)
		c := startCapture(t, db)
		c.streaming()
		db.exec(`INSERT INTO a VALUES (1); INSERT INTO b VALUES (1); INSERT INTO c VALUES (1)`)
		db.exec(`TRUNCATE a, c RESTART IDENTITY CASCADE; INSERT INTO a VALUES (2)`)
		c.caughtUp()
		c.has(t, "shop.public.a", 0, `{"id":1} c null>{"id":1}`, `null t null>null`, `{"id":2} c null>{"id":2}`)
		c.has(t, "shop.public.b", 0, `{"id":1} c null>{"id":1}`, `null t null>null`)
		c.has(t, "shop.public.c", 0, `null c null>{"v":1}`, `null t null>null`)
		c.equal("public.a", "public.b", "public.c")
	})
}

func TestOddNames(t *testing.T) {
	eachVersion(t, func(t *testing.T, db *database) {
		db.exec(`CREATE SCHEMA "Quoted_"" . Schema"; CREATE TABLE "Quoted_"" . Schema"."Quoted_"" . Table"("Id ""x"" ä" int PRIMARY KEY, "select" text, "a.b" int)`)
		c := startCapture(t, db, func(o *postgres.Options) { o.Tables = []string{`"Quoted_"" . Schema".*`} })
		c.streaming()
		db.exec(`INSERT INTO "Quoted_"" . Schema"."Quoted_"" . Table" VALUES (1, 'v', 2)`)
		c.caughtUp()
		c.has(t, `shop.Quoted___._Schema.Quoted___._Table`, 0, `{"Id \"x\" ä":1} c null>{"Id \"x\" ä":1,"select":"v","a.b":2}`)
	})
}

// TestKeys chooses the record key as Debezium does, and by the replica identity where deletes carry nothing else.
func TestKeys(t *testing.T) {
	eachVersion(t, func(t *testing.T, db *database) {
		db.exec(`
			CREATE TABLE k1(id int, v int, PRIMARY KEY (id) INCLUDE (v));
			CREATE TABLE k2(a int NOT NULL, b int UNIQUE, c int NOT NULL UNIQUE, d int NOT NULL UNIQUE);
			CREATE TABLE k3(id int PRIMARY KEY, c int NOT NULL UNIQUE, n int); ALTER TABLE k3 REPLICA IDENTITY USING INDEX k3_c_key;
			CREATE TABLE k4(id int PRIMARY KEY, c int NOT NULL, n int, UNIQUE (c, id)); ALTER TABLE k4 REPLICA IDENTITY USING INDEX k4_c_id_key;
			CREATE TABLE k5(id int, v int); CREATE UNIQUE INDEX ON k5(id) WHERE v > 0; CREATE UNIQUE INDEX ON k5((id + 1));
			CREATE TABLE k6(id int PRIMARY KEY DEFERRABLE, v int);
			CREATE TABLE k7(id int PRIMARY KEY, v int); ALTER TABLE k7 REPLICA IDENTITY NOTHING;
			CREATE TABLE k8(a int NOT NULL UNIQUE, v int); ALTER TABLE k8 REPLICA IDENTITY FULL;
			CREATE TABLE k9();
		`)
		c := startCapture(t, db)
		c.streaming()
		for _, sql := range []string{
			`INSERT INTO k1 VALUES (1, 2)`, `INSERT INTO k2 VALUES (1, 2, 3, 4)`, `INSERT INTO k3 VALUES (1, 2, 3)`, `UPDATE k3 SET id = 9`, `DELETE FROM k3`,
			`INSERT INTO k4 VALUES (1, 2, 3)`, `UPDATE k4 SET c = 3`, `DELETE FROM k4`, `INSERT INTO k5 VALUES (1, 2)`, `INSERT INTO k6 VALUES (1, 2)`,
			`INSERT INTO k7 VALUES (1, 2)`, `INSERT INTO k8 VALUES (1, 2)`, `UPDATE k8 SET v = 3`, `DELETE FROM k8`, `INSERT INTO k9 DEFAULT VALUES`,
			// The application's own, which the publications must not make fail.
			`UPDATE k2 SET a = 2`, `UPDATE k5 SET v = 3`, `UPDATE k6 SET v = 3`, `UPDATE k7 SET v = 3`, `DELETE FROM k2`, `DELETE FROM k5`, `DELETE FROM k6`, `DELETE FROM k7`,
		} {
			db.exec(sql)
		}
		c.caughtUp()
		c.has(t, "shop.public.k1", 0, `{"id":1} c null>{"id":1,"v":2}`)
		c.has(t, "shop.public.k2", 0, `{"c":3} c null>{"a":1,"b":2,"c":3,"d":4}`)
		c.has(t, "shop.public.k3", 0, `{"c":2} c null>{"id":1,"c":2,"n":3}`, `{"c":2} u null>{"id":9,"c":2,"n":3}`, `{"c":2} d {"id":null,"c":2,"n":null}>null`, `{"c":2} null`)
		c.has(t, "shop.public.k4", 0, `{"id":1} c null>{"id":1,"c":2,"n":3}`, `{"id":1} u {"id":1,"c":2,"n":null}>{"id":1,"c":3,"n":3}`, `{"id":1} d {"id":1,"c":3,"n":null}>null`, `{"id":1} null`)
		c.has(t, "shop.public.k5", 0, `null c null>{"id":1,"v":2}`)
		c.has(t, "shop.public.k6", 0, `{"id":1} c null>{"id":1,"v":2}`)
		c.has(t, "shop.public.k7", 0, `{"id":1} c null>{"id":1,"v":2}`)
		c.has(t, "shop.public.k8", 0, `{"a":1} c null>{"a":1,"v":2}`, `{"a":1} u {"a":1,"v":2}>{"a":1,"v":3}`, `{"a":1} d {"a":1,"v":3}>null`, `{"a":1} null`)
		c.has(t, "shop.public.k9", 0, `null c null>{}`)
	})
}

func TestPartitions(t *testing.T) {
	eachVersion(t, func(t *testing.T, db *database) {
		db.exec(`
			CREATE TABLE p(id int, at int, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
			CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
			CREATE TABLE p2(v text, at int NOT NULL, id int NOT NULL);
			ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20);
			CREATE TABLE q(id int, at int) PARTITION BY RANGE (at);
			CREATE TABLE q1 PARTITION OF q FOR VALUES FROM (0) TO (10);
			CREATE TABLE parent(id int PRIMARY KEY); CREATE TABLE child(id int PRIMARY KEY) INHERITS (parent);
			INSERT INTO p VALUES (1, 1, 'a'), (2, 11, 'b'); INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2);
		`)
		c := startCapture(t, db, with(map[string]string{"snapshot.max.threads": "1"}))
		c.streaming()
		db.exec(`INSERT INTO p VALUES (3, 12, 'c')`)
		db.exec(`UPDATE p SET v = 'd' WHERE id = 1`)
		db.exec(`UPDATE p SET at = 12 WHERE id = 1`)
		db.exec(`CREATE TABLE p3 PARTITION OF p FOR VALUES FROM (20) TO (30)`)
		db.exec(`INSERT INTO p VALUES (4, 25, 'e')`)
		db.exec(`INSERT INTO q VALUES (1, 1); UPDATE q SET id = 2; DELETE FROM q`)
		db.exec(`INSERT INTO child VALUES (3)`)
		c.caughtUp()
		c.has(t, "shop.public.p", 0,
			`{"id":1,"at":1} r null>{"id":1,"at":1,"v":"a"}`,
			`{"id":2,"at":11} r null>{"id":2,"at":11,"v":"b"}`,
			`{"id":3,"at":12} c null>{"id":3,"at":12,"v":"c"}`,
			`{"id":1,"at":1} u null>{"id":1,"at":1,"v":"d"}`,
			`{"id":1,"at":1} d {"id":1,"at":1,"v":null}>null`,
			`{"id":1,"at":1} null`,
			`{"id":1,"at":12} c null>{"id":1,"at":12,"v":"d"}`,
			`{"id":4,"at":25} c null>{"id":4,"at":25,"v":"e"}`,
		)
		c.has(t, "shop.public.q", 0, `null c null>{"id":1,"at":1}`)
		c.has(t, "shop.public.parent", 0, `{"id":1} r null>{"id":1}`)
		c.has(t, "shop.public.child", 0, `{"id":2} r null>{"id":2}`, `{"id":3} c null>{"id":3}`)
		for _, topic := range c.log.Topics() {
			if strings.HasSuffix(topic, "1") || strings.HasSuffix(topic, "2") || strings.HasSuffix(topic, "3") {
				t.Errorf("a partition has a topic: %s", topic)
			}
		}
	})
}

// TestDDL changes a table between and within transactions, while the capture runs and while it does not.
func TestDDL(t *testing.T) {
	eachVersion(t, func(t *testing.T, db *database) {
		db.exec(`CREATE TABLE t(id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 1)`)
		c := startCapture(t, db)
		c.streaming()
		db.exec(`INSERT INTO t VALUES (2, 2); ALTER TABLE t ADD COLUMN b text DEFAULT 'x'; INSERT INTO t VALUES (3, 3, 'y')`)
		db.exec(`ALTER TABLE t RENAME COLUMN a TO aa; INSERT INTO t VALUES (4, 4, 'z'); ALTER TABLE t DROP COLUMN aa; INSERT INTO t VALUES (5, 'w')`)
		c.caughtUp()
		c.stop()
		db.exec(`INSERT INTO t VALUES (6, 'before')`)
		db.exec(`ALTER TABLE t ADD COLUMN c numeric(5,2)`)
		db.exec(`INSERT INTO t VALUES (7, 'new', 1.25)`)
		db.exec(`ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ADD PRIMARY KEY (b, id)`)
		db.exec(`INSERT INTO t VALUES (8, 'new key', 2)`)
		db.exec(`ALTER TABLE t ALTER c TYPE text; ALTER TABLE t RENAME TO u`)
		db.exec(`INSERT INTO u VALUES (9, 'renamed', 'three')`)
		c.start()
		c.streaming()
		c.caughtUp()
		c.has(t, "shop.public.t", 0,
			`{"id":1} r null>{"id":1,"a":1}`,
			`{"id":2} c null>{"id":2,"a":2}`,
			`{"id":3} c null>{"id":3,"a":3,"b":"y"}`,
			`{"id":4} c null>{"id":4,"aa":4,"b":"z"}`,
			`{"id":5} c null>{"id":5,"b":"w"}`,
			`{"id":6} c null>{"id":6,"b":"before"}`,
			`{"id":7} c null>{"id":7,"b":"new","c":"fQ=="}`,
			`{"b":"new key","id":8} c null>{"id":8,"b":"new key","c":"AMg="}`,
		)
		c.has(t, "shop.public.u", 0, `{"b":"renamed","id":9} c null>{"id":9,"b":"renamed","c":"three"}`)
		for i, r := range c.log.Records("shop.public.t") {
			id, _ := r.Header(stream.SchemaHeader)
			schema, ok := c.store.Schema(string(id))
			if !ok {
				t.Fatalf("record %d names the schema %s, which is not published", i, id)
			}
			after := decodeRow(t, r.Value).After
			if len(schema.Columns) != len(after) {
				t.Errorf("record %d has %d columns, its schema %d", i, len(after), len(schema.Columns))
			}
			for _, col := range schema.Columns {
				if _, ok := after[col.Name]; !ok {
					t.Errorf("record %d lacks the column %s of its schema", i, col.Name)
				}
			}
		}
	})
}

func TestOutbox(t *testing.T) {
	eachVersion(t, func(t *testing.T, db *database) {
		db.exec(`CREATE TABLE outbox(id uuid PRIMARY KEY, aggregate_type text, aggregate_id text, type text, payload jsonb);
			INSERT INTO outbox VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'order', '0', 'OrderPlaced', '{"old": true}')`)
		c := startCapture(t, db, func(o *postgres.Options) { o.Outbox = "public.outbox" })
		c.streaming()
		db.exec(`INSERT INTO outbox VALUES ('b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'order', '7', 'OrderPlaced', '{"total": 1.50}'), ('c0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'order', '7', 'Payment Succeeded', NULL)`)
		db.exec(`DELETE FROM outbox WHERE aggregate_id = '7'`)
		c.caughtUp()
		c.crash()
		c.start()
		c.streaming()
		db.exec(`INSERT INTO outbox VALUES ('d0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'order', '8', 'OrderPlaced', '{}')`)
		c.caughtUp()
		if n := len(c.log.Records("shop.public.outbox")); n != 8 {
			t.Errorf("the outbox's own topic has %d records, want 8", n)
		}
		placed := c.log.Records("shop.events.OrderPlaced")
		if len(placed) != 2 {
			t.Fatalf("%d events", len(placed))
		}
		e := placed[0]
		id, _ := e.Header("id")
		kind, _ := e.Header("type")
		position, _ := e.Header(stream.PositionHeader)
		if string(e.Key) != "7" || string(e.Value) != `{"total": 1.50}` || string(id) != "b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11" || string(kind) != "OrderPlaced" || len(position) == 0 {
			t.Errorf("event %s %s %s %s %s", e.Key, e.Value, id, kind, position)
		}
		if paid := c.log.Records("shop.events.Payment_Succeeded"); len(paid) != 1 || paid[0].Value != nil {
			t.Errorf("events without a payload: %+v", paid)
		}
	})
}

func TestNoSnapshot(t *testing.T) {
	db := sharedDatabase(t, 15)
	db.exec(`CREATE TABLE t(id int PRIMARY KEY); INSERT INTO t VALUES (1)`)
	c := startCapture(t, db, func(o *postgres.Options) { o.NoSnapshot = true })
	c.streaming()
	db.exec(`INSERT INTO t VALUES (2)`)
	c.caughtUp()
	c.has(t, "shop.public.t", 0, `{"id":2} c null>{"id":2}`)
}

// TestSnapshotMarkers writes the markers that Debezium's consumers look at.
func TestSnapshotMarkers(t *testing.T) {
	db := sharedDatabase(t, 15)
	db.exec(`CREATE TABLE a(id int PRIMARY KEY); CREATE TABLE b(id int PRIMARY KEY); CREATE TABLE c(id int PRIMARY KEY); CREATE TABLE d(id int PRIMARY KEY); CREATE TABLE e(id int PRIMARY KEY);
		INSERT INTO a SELECT generate_series(1, 3); INSERT INTO b VALUES (1); INSERT INTO d SELECT generate_series(1, 3)`)
	c := startCapture(t, db, with(map[string]string{"snapshot.max.threads": "1"})) // one after the other
	c.streaming()
	var markers []string
	for _, topic := range []string{"a", "b", "c", "d", "e"} {
		for _, r := range c.log.Records("shop.public." + topic) {
			var v struct{ Source struct{ Snapshot string } }
			if err := json.Unmarshal(r.Value, &v); err != nil {
				t.Fatal(err)
			}
			markers = append(markers, v.Source.Snapshot)
		}
	}
	want := []string{"first", "true", "last_in_data_collection", "last_in_data_collection", "first_in_data_collection", "true", "last"}
	if !slices.Equal(markers, want) {
		t.Errorf("markers %q, want %q", markers, want)
	}
}

// TestEnvelope holds the fields and their order against what Debezium writes.
func TestEnvelope(t *testing.T) {
	db := sharedDatabase(t, 15)
	db.exec(`CREATE TABLE t(id int PRIMARY KEY)`)
	c := startCapture(t, db)
	c.streaming()
	db.exec(`INSERT INTO t VALUES (1)`)
	db.exec(`INSERT INTO t VALUES (2)`)
	c.caughtUp()
	records := c.log.Records("shop.public.t")
	if got := keysInOrder(t, records[0].Value); got != "before after source transaction op ts_ms ts_us ts_ns" {
		t.Errorf("fields %s", got)
	}
	var v struct {
		Source json.RawMessage
		TsMS   int64 `json:"ts_ms"`
		TsUS   int64 `json:"ts_us"`
		TsNS   int64 `json:"ts_ns"`
	}
	if err := json.Unmarshal(records[1].Value, &v); err != nil {
		t.Fatal(err)
	}
	if v.TsMS != v.TsUS/1000 || v.TsNS != v.TsUS*1000 || v.TsMS == 0 {
		t.Errorf("times %d %d %d", v.TsMS, v.TsUS, v.TsNS)
	}
	if got := keysInOrder(t, v.Source); got != "version connector name ts_ms snapshot db sequence ts_us ts_ns schema table txId lsn xmin origin origin_lsn" {
		t.Errorf("source's fields %s", got)
	}
	var s struct {
		Version, Connector, Name, Snapshot, DB, Sequence, Schema, Table string
		TxID                                                            int64
		LSN                                                             int64
		TsMS                                                            int64 `json:"ts_ms"`
		TsUS                                                            int64 `json:"ts_us"`
	}
	if err := json.Unmarshal(v.Source, &s); err != nil {
		t.Fatal(err)
	}
	var sequence []string
	if err := json.Unmarshal([]byte(s.Sequence), &sequence); err != nil || len(sequence) != 2 || sequence[1] != fmt.Sprint(s.LSN) || sequence[0] == "" {
		t.Errorf("sequence %s with lsn %d: %v", s.Sequence, s.LSN, err)
	}
	if s.Version != "test" || s.Connector != "postgresql" || s.Name != "shop" || s.Snapshot != "false" || s.DB != db.name || s.Schema != "public" || s.Table != "t" || s.TsMS != s.TsUS/1000 {
		t.Errorf("source %+v", s)
	}
	if xid := db.value(`SELECT xmin::text FROM t WHERE id = 2`); xid != fmt.Sprint(s.TxID) {
		t.Errorf("txId %d, want %s", s.TxID, xid)
	}
	commit := db.value(`SELECT (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000)::int8::text FROM t WHERE id = 2`)
	if h, _ := records[1].Header(stream.CommitTimeHeader); string(h) != commit || fmt.Sprint(s.TsUS) != commit {
		t.Errorf("commit time %s and %d, want %s", h, s.TsUS, commit)
	}
}

func keysInOrder(t *testing.T, object []byte) string {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(string(object)))
	var keys []string
	depth, key := 0, true
	for {
		token, err := d.Token()
		if err != nil {
			return strings.Join(keys, " ")
		}
		switch delim, ok := token.(json.Delim); {
		case ok && (delim == '{' || delim == '['):
			depth++
			key = delim == '{'
			continue
		case ok:
			depth--
		}
		if depth == 1 {
			if s, ok := token.(string); ok && key {
				keys = append(keys, s)
				key = false
				continue
			}
			key = true
		}
	}
}

func TestClock(t *testing.T) {
	db := sharedDatabase(t, 15)
	db.exec(`CREATE TABLE t(id int PRIMARY KEY)`)
	c := startCapture(t, db)
	p := c.wait("told the clock", func(p probes.SourceProgress) bool { return !math.IsNaN(p.ClockError) })
	// Client and server share a clock here, so the truth is 0.
	if math.Abs(p.ClockOffset) > p.ClockError || p.ClockError > 1 {
		t.Errorf("the clock is %g s off, give or take %g", p.ClockOffset, p.ClockError)
	}
	if p.ServerEnd == 0 {
		t.Error("no server position")
	}
}
