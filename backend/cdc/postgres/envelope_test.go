package postgres_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"freshet/backend/cdc"
	"freshet/backend/cdc/postgres"
	"freshet/backend/fault"
	"freshet/backend/stream"
)

// with sets Debezium's options.
func with(properties map[string]string) func(*postgres.Options) {
	return func(o *postgres.Options) { o.Properties = properties }
}

func optionsOf(db *database, properties map[string]string) cdc.Options {
	return cdc.Options{Name: db.sourceName(), Type: "postgres", Prefix: "shop", Properties: properties}
}

func TestKeyColumns(t *testing.T) {
	eachVersion(t, func(t *testing.T, db *database) {
		db.exec(`CREATE TABLE t(id int PRIMARY KEY, b text, a text); CREATE TABLE none(v text, w int); CREATE TABLE own(id int PRIMARY KEY);
			ALTER TABLE t REPLICA IDENTITY FULL; ALTER TABLE none REPLICA IDENTITY FULL; INSERT INTO t VALUES (1, 'x', 'y')`)
		c := startCapture(t, db, with(map[string]string{"message.key.columns": `public.t:a,B; (.*)\.none:w`}))
		c.streaming()
		db.exec(`UPDATE t SET id = 2; UPDATE t SET a = 'z'; DELETE FROM t`)
		db.exec(`INSERT INTO none VALUES ('v', 7); INSERT INTO own VALUES (1)`)
		c.caughtUp()
		c.has(t, "shop.public.t", 0,
			`{"a":"y","b":"x"} r null>{"id":1,"b":"x","a":"y"}`,
			`{"a":"y","b":"x"} u {"id":1,"b":"x","a":"y"}>{"id":2,"b":"x","a":"y"}`,
			`{"a":"y","b":"x"} d {"id":2,"b":"x","a":"y"}>null __debezium.newkey={"a":"z","b":"x"}`,
			`{"a":"y","b":"x"} null __debezium.newkey={"a":"z","b":"x"}`,
			`{"a":"z","b":"x"} c null>{"id":2,"b":"x","a":"z"} __debezium.oldkey={"a":"y","b":"x"}`,
			`{"a":"z","b":"x"} d {"id":2,"b":"x","a":"z"}>null`,
			`{"a":"z","b":"x"} null`)
		c.has(t, "shop.public.none", 0, `{"w":7} c null>{"v":"v","w":7}`)
		c.has(t, "shop.public.own", 0, `{"id":1} c null>{"id":1}`)
	})
}

// TestMasks: what is masked or left out is in no byte of a record, whatever changes, and in the snapshot.
func TestMasks(t *testing.T) {
	eachVersion(t, func(t *testing.T, db *database) {
		db.exec(`CREATE TABLE t(mail text PRIMARY KEY, card varchar(10), note text, name text, born date, ok int); ALTER TABLE t REPLICA IDENTITY FULL;
			INSERT INTO t VALUES ('secret@first', 'secretcard', 'secretnote', 'sécret', '1999-09-09', 1)`)
		c := startCapture(t, db, with(map[string]string{
			"column.mask.hash.v2.SHA-256.with.salt.pepper": `public\.t\.(mail|card)`,
			"column.mask.with.4.chars":                     `public.t.note`,
			"column.truncate.to.2.chars":                   `public.t.name`,
			"column.exclude.list":                          `.*\.born`,
		}))
		c.streaming()
		db.exec(`UPDATE t SET ok = 2; UPDATE t SET mail = 'secret@second', note = NULL; DELETE FROM t`)
		c.caughtUp()
		records := c.log.Records("shop.public.t")
		if len(records) != 7 {
			t.Fatalf("%d records", len(records))
		}
		for i, r := range records {
			var all []byte
			for _, h := range r.Headers {
				all = append(all, h.Value...)
			}
			for _, b := range [][]byte{r.Key, r.Value, all} {
				for _, leak := range []string{"secret", "sécret", "1999", "pepper", "10843"} {
					if bytes.Contains(b, []byte(leak)) {
						t.Errorf("record %d says %q: %s", i, leak, b)
					}
				}
			}
		}
		read := decodeRow(t, records[0].Value).After
		var mail, short string
		if json.Unmarshal(read["mail"], &mail) != nil || len(mail) != 64 || json.Unmarshal(read["card"], &short) != nil || len(short) != 10 {
			t.Errorf("hashes of 64 and 10 digits: %s", records[0].Value)
		}
		if got := string(read["note"]) + string(read["name"]); got != `"****""sé"` {
			t.Error(got)
		}
		if want := fmt.Sprintf(`{"mail":"%s"}`, mail); string(records[0].Key) != want || string(records[1].Key) != want {
			t.Errorf("keys %s and %s, want %s", records[0].Key, records[1].Key, want)
		}
		if got := decodeRow(t, records[4].Value).After["note"]; string(got) != `"****"` {
			t.Errorf("stars tell that there is nothing: %s", got)
		}
		id, _ := records[0].Header(stream.SchemaHeader)
		schema, _ := c.store.Schema(string(id))
		var masks []string
		for _, col := range schema.Columns {
			masks = append(masks, col.Name+" "+col.Mask)
		}
		if !slices.Equal(masks, []string{"mail hash", "card hash", "note mask", "name truncate", "ok "}) {
			t.Error(masks)
		}
	})
}

// TestMasksThatCannotBe are refused before anything is made, and stop a capture whose table becomes such.
func TestMasksThatCannotBe(t *testing.T) {
	db := sharedDatabase(t, 18)
	db.exec(`CREATE TABLE t(id text PRIMARY KEY, n int, v text)`)
	for option, says := range map[string]string{
		"column.mask.with.4.chars=public.t.n":                      "columns of text",
		"column.mask.with.4.chars=public.t.id":                     "record key",
		"column.truncate.to.4.chars=public.t.id":                   "record key",
		"column.mask.hash.v2.SHA-1.with.salt.pepper=public.t.n":    "column.mask.hash.v2.SHA-1.with.salt.…",
		"column.mask.hash.v2.MD5.with.salt.pepper=public.t.n":      "columns of text",
		"column.mask.with.4.chars=public.t.n,public.t.v,public.no": "columns of text",
	} {
		name, value, _ := strings.Cut(option, "=")
		s, err := postgres.New(postgres.Options{Options: optionsOf(db, map[string]string{name: value}), DSN: db.dsn})
		if err != nil {
			t.Fatal(err)
		}
		p, err := s.Plan(t.Context())
		s.Close()
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(p.Refusals); !strings.Contains(got, says) || strings.Contains(got, "pepper") {
			t.Errorf("%s: %s", option, got)
		}
	}
	c := startCapture(t, db, with(map[string]string{"column.mask.with.4.chars": "public.t.v"}))
	c.streaming()
	db.exec(`ALTER TABLE t ALTER v TYPE int USING 1; INSERT INTO t VALUES ('a', 1, 2)`)
	c.stoppedFor("columns of text")
}

func TestOptionsThatCannotBe(t *testing.T) {
	for option, says := range map[string]string{
		"column.mask.hash.ROT13.with.salt.pepper=a.b.c": `"ROT13"`,
		"column.mask.with.x.chars=a.b.c":                "not known",
		"column.exclude.list=":                          "regular expressions",
		"column.exclude.list=a.(b":                      "regular expressions",
		"message.key.columns=public.t":                  "SCHEMA.TABLE:COLUMN",
		"heartbeat.interval.ms=-1":                      "milliseconds",
		"topic.transaction=a b":                         "topic's name",
		"money.fraction.digits=0":                       "one of 2",
	} {
		name, value, _ := strings.Cut(option, "=")
		_, err := postgres.New(postgres.Options{Options: optionsOf(&database{name: "x"}, map[string]string{name: value}), DSN: "postgres://u@127.0.0.1:1/x"})
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "pepper") {
			t.Errorf("%s: %v", option, err)
		}
	}
}

// TestLogicalMessages: transactional ones stand where they were written, others at once, and each once over crashes.
func TestLogicalMessages(t *testing.T) {
	eachVersion(t, func(t *testing.T, db *database) {
		if db.server.Version < 14 {
			t.Skip("messages are sent since version 14")
		}
		db.exec(`CREATE TABLE t(id int PRIMARY KEY)`)
		c := startCapture(t, db, with(map[string]string{"message.prefix.exclude.list": "private.*"}))
		c.streaming()
		emit := func(n int) {
			t.Helper()
			db.exec(fmt.Sprintf(`INSERT INTO t VALUES (%d); SELECT pg_logical_emit_message(true, 'in', 'a%d'), pg_logical_emit_message(true, 'in', 'b%d'); INSERT INTO t VALUES (%d)`, 10*n, n, n, 10*n+1))
			db.exec(fmt.Sprintf(`SELECT pg_logical_emit_message(false, 'o"ut', 'c%d')`, n))
			db.exec(`SELECT pg_logical_emit_message(false, 'private notes', 'no')`)
			if _, err := db.conn.Exec(t.Context(), `BEGIN; SELECT pg_logical_emit_message(true, 'in', 'never'); SELECT pg_logical_emit_message(false, 'in', 'rolled back all the same'); ROLLBACK`); err != nil {
				t.Fatal(err)
			}
		}
		var want []string
		for n := range 4 {
			emit(n)
			if n == 1 {
				c.caughtUp()
			}
			switch n {
			case 1, 2:
				c.crash()
				c.start()
				c.streaming()
			}
			want = append(want, fmt.Sprint("a", n), fmt.Sprint("b", n), fmt.Sprint("c", n), "rolled back all the same")
		}
		c.caughtUp()
		var have []string
		last := ""
		for _, r := range c.log.Records("shop.message") {
			var v struct {
				Op      string
				Source  struct{ Schema, Table, Db string }
				Message struct {
					Prefix  string
					Content []byte
				}
			}
			if err := json.Unmarshal(r.Value, &v); err != nil {
				t.Fatal(err)
			}
			var key struct{ Prefix string }
			if err := json.Unmarshal(r.Key, &key); err != nil || key.Prefix != v.Message.Prefix || v.Op != "m" || v.Source.Table != "" || v.Source.Db == "" {
				t.Errorf("%s %s", r.Key, r.Value)
			}
			have = append(have, string(v.Message.Content))
			at, _ := r.Header(stream.PositionHeader)
			if string(at) == last {
				t.Errorf("two at %s", at)
			}
			last = string(at)
		}
		if !slices.Equal(have, want) {
			t.Errorf("have %q\nwant %q", have, want)
		}
		if n := len(c.log.Records("shop.public.t")); n != 8 {
			t.Errorf("%d rows, want 8", n)
		}
	})
}

var transactionID = regexp.MustCompile(`"id":"(\d+):\d+"`)

// TestTransactionMetadata counts events over a key's change, a truncate and a crash in the middle.
func TestTransactionMetadata(t *testing.T) {
	eachVersion(t, func(t *testing.T, db *database) {
		db.exec(`CREATE TABLE a(id int PRIMARY KEY); CREATE TABLE b(id int PRIMARY KEY); INSERT INTO a VALUES (0)`)
		c := startCapture(t, db, with(map[string]string{"provide.transaction.metadata": "true", "skipped.operations": "t"}))
		c.streaming()
		c.log.StallTopic("shop.public.b", true)
		db.exec(`INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (1); UPDATE a SET id = 3 WHERE id = 2; DELETE FROM a WHERE id = 1; INSERT INTO b VALUES (2); TRUNCATE b`)
		c.until("the first rows are there", func() bool { return len(c.log.Records("shop.public.a")) >= 3 })
		c.crash()
		c.log.StallTopic("shop.public.b", false)
		c.start()
		c.streaming()
		c.caughtUp()
		orders := map[string][]string{}
		var tx string
		for _, topic := range []string{"shop.public.a", "shop.public.b"} {
			for _, r := range c.log.Records(topic) {
				if r.Value == nil {
					continue
				}
				var v struct {
					Transaction *struct {
						ID         string
						TotalOrder int `json:"total_order"`
						Order      int `json:"data_collection_order"`
					}
				}
				if err := json.Unmarshal(r.Value, &v); err != nil {
					t.Fatal(err)
				}
				if v.Transaction == nil {
					orders[topic] = append(orders[topic], "none")
					continue
				}
				tx, _, _ = strings.Cut(v.Transaction.ID, ":")
				orders[topic] = append(orders[topic], fmt.Sprintf("%d/%d", v.Transaction.TotalOrder, v.Transaction.Order))
			}
		}
		if got, want := fmt.Sprint(orders), "map[shop.public.a:[none 1/1 2/2 4/3 5/4 6/5] shop.public.b:[3/1 7/2]]"; got != want {
			t.Errorf("have %s\nwant %s", got, want)
		}
		var marks []string
		for _, r := range c.log.Records("shop.transaction") {
			v := transactionID.ReplaceAllString(string(r.Value), `"id":"$1"`)
			v = regexp.MustCompile(`"ts_ms":\d+`).ReplaceAllString(v, `"ts_ms":0`)
			marks = append(marks, transactionID.ReplaceAllString(string(r.Key), `"id":"$1"`)+" "+v)
		}
		want := []string{
			fmt.Sprintf(`{"id":"%s"} {"status":"BEGIN","id":"%s","event_count":null,"data_collections":null,"ts_ms":0}`, tx, tx),
			fmt.Sprintf(`{"id":"%s"} {"status":"END","id":"%s","event_count":7,"data_collections":[{"data_collection":"public.a","event_count":5},{"data_collection":"public.b","event_count":2}],"ts_ms":0}`, tx, tx),
		}
		if !slices.Equal(marks, want) {
			t.Errorf("have %s\nwant %s", strings.Join(marks, "\n     "), strings.Join(want, "\n     "))
		}
	})
}

// TestHeartbeats come while nothing changes, with the statement that was asked for; one that fails is a finding.
func TestHeartbeats(t *testing.T) {
	db := sharedDatabase(t, 18)
	db.exec(`CREATE TABLE t(id int PRIMARY KEY); CREATE SCHEMA own; CREATE TABLE own.beats(at timestamptz)`)
	c := startCapture(t, db, with(map[string]string{"heartbeat.interval.ms": "20", "heartbeat.action.query": "INSERT INTO own.beats VALUES (now())"}))
	c.streaming()
	beats := func() []stream.Record { return c.log.Records("__debezium-heartbeat.shop") }
	c.until("three heartbeats", func() bool { return len(beats()) >= 3 })
	for _, r := range beats() {
		if string(r.Key) != `{"serverName":"shop"}` || !regexp.MustCompile(`^\{"ts_ms":\d{13}\}$`).Match(r.Value) {
			t.Errorf("%s %s", r.Key, r.Value)
		}
	}
	if db.value(`SELECT (count(*) > 2)::text FROM own.beats`) != "true" {
		t.Error("the statement has not run")
	}
	db.exec(`DROP TABLE own.beats`)
	c.until("the finding", func() bool {
		f := c.pipeline.Findings()
		return len(f) == 1 && strings.Contains(f[0].Text, "own.beats")
	})
	before := len(beats())
	c.restart()
	c.streaming()
	c.until("more heartbeats", func() bool { return len(beats()) > before })
}

// TestSchemasAround: with schemas, a record says what it is by itself, and is read as one without.
func TestSchemasAround(t *testing.T) {
	db := sharedDatabase(t, 18)
	db.exec(`CREATE TABLE t(id int PRIMARY KEY, v numeric(5,2) DEFAULT 1.5)`)
	c := startCapture(t, db, with(map[string]string{"key.converter.schemas.enable": "true", "value.converter.schemas.enable": "true"}))
	c.streaming()
	db.exec(`INSERT INTO t VALUES (1, NULL); UPDATE t SET id = 2; TRUNCATE t`)
	c.caughtUp()
	records := c.log.Records("shop.public.t")
	if len(records) != 5 {
		t.Fatalf("%d records", len(records))
	}
	want := `{"schema":{"type":"struct","fields":[{"type":"int32","optional":false,"field":"id"}],"optional":false,"name":"shop.public.t.Key"},"payload":{"id":1}}`
	if string(records[0].Key) != want {
		t.Errorf("have %s\nwant %s", records[0].Key, want)
	}
	for _, r := range records {
		if r.Value == nil {
			continue
		}
		var v struct{ Schema, Payload json.RawMessage }
		if err := json.Unmarshal(r.Value, &v); err != nil || !bytes.Contains(v.Schema, []byte(`"name":"shop.public.t.Envelope","version":2}`)) || !bytes.HasPrefix(v.Payload, []byte(`{"before":`)) {
			t.Errorf("%v: %s", err, r.Value)
		}
	}
	if h, _ := records[1].Header(stream.NewKeyHeader); string(h) != `{"id":2}` {
		t.Errorf("header %s", h)
	}
	if records[4].Key != nil {
		t.Errorf("a truncate has the key %s", records[4].Key)
	}
}

// TestUnknownTypes: what Debezium leaves out is text, or bytes, or left out.
func TestUnknownTypes(t *testing.T) {
	for mode, want := range map[string]string{
		"text":  `{"id":1} c null>{"id":1,"r":"(1,x)","q":"'a'"}`,
		"true":  `{"id":1} c null>{"id":1,"r":"KDEseCk=","q":"J2En"}`,
		"false": `{"id":1} c null>{"id":1}`,
	} {
		t.Run(mode, func(t *testing.T) {
			db := sharedDatabase(t, 18)
			db.exec(`CREATE TYPE pair AS (a int, b text); CREATE TABLE t(id int PRIMARY KEY, r pair, q tsquery)`)
			c := startCapture(t, db, with(map[string]string{unknownTypes: mode}))
			c.streaming()
			db.exec(`INSERT INTO t VALUES (1, '(1,x)', 'a')`)
			c.caughtUp()
			c.has(t, "shop.public.t", 0, want)
		})
	}
}

// until waits until something is so.
func (c *capture) until(what string, so func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(time.Minute); !so(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatal("not " + what)
		}
	}
}

// TestNewLabel: a label that an enum was given while rows stream is in the schema of the first record that has it
// (debezium/dbz#304).
func TestNewLabel(t *testing.T) {
	eachVersion(t, func(t *testing.T, db *database) {
		db.exec(`CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE t(id int PRIMARY KEY, v mood)`)
		c := startCapture(t, db, with(map[string]string{"value.converter.schemas.enable": "true"}))
		c.streaming()
		db.exec(`INSERT INTO t VALUES (1, 'sad')`)
		c.caughtUp()
		db.exec(`ALTER TYPE mood ADD VALUE 'glad' BEFORE 'sad'`)
		db.exec(`INSERT INTO t VALUES (2, 'glad'), (3, 'sad')`)
		c.caughtUp()
		records := c.log.Records("shop.public.t")
		for i, allowed := range []string{"sad", "glad,sad", "glad,sad"} {
			if want := `"parameters":{"allowed":"` + allowed + `"}`; len(records) != 3 || !bytes.Contains(records[i].Value, []byte(want)) {
				t.Errorf("record %d lacks %s: %.300s", i, want, records[i].Value)
			}
		}
	})
}
