package postgres_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"freshet/backend/cdc/postgres"
	"freshet/backend/stream"
	"freshet/backend/testkit"
)

const unknownTypes = "include.unknown.datatypes"

// likeModes are the options that both are run with, by the prefix of their topics.
var likeModes = map[string]map[string]string{
	"usual":  {},
	"texts":  {"decimal.handling.mode": "string", "binary.handling.mode": "hex", "time.precision.mode": "isostring", "interval.handling.mode": "string", "hstore.handling.mode": "map"},
	"java":   {"decimal.handling.mode": "double", "binary.handling.mode": "base64", "time.precision.mode": "connect"},
	"micro":  {"binary.handling.mode": "base64-url-safe", "time.precision.mode": "microseconds", "tombstones.on.delete": "false"},
	"nano":   {"time.precision.mode": "nanoseconds", "skipped.operations": "u,t"},
	"times":  {"time.precision.mode": "adaptive_time_microseconds"},
	"framed": {"key.converter.schemas.enable": "true", "value.converter.schemas.enable": "true"},
	"told": {
		"provide.transaction.metadata": "true", "message.key.columns": `public.keyed:v;public.whole:n,v;(.*)\.keyless:v`,
		"column.mask.hash.SHA-256.with.salt.pepper": "public.veiled.a", "column.mask.hash.v2.SHA-512.with.salt.pepper": `public\.veiled\.(b|c)`,
		"column.mask.with.5.chars": "PUBLIC.veiled.d", "column.truncate.to.3.chars": "public.veiled.e", "column.exclude.list": `.*\.veiled\.f,public.toast.n`,
		"heartbeat.interval.ms": "500", unknownTypes: "true",
	},
	"strict": {unknownTypes: "false", "message.prefix.include.list": "one.*"},
}

// likeRows are changes beside those of values: keys of every kind, identities, unchanged large values, truncates.
var likeRows = []string{
	`CREATE TABLE keyed(id int PRIMARY KEY, v text)`,
	`CREATE TABLE pair_key(a text, b int, v int, PRIMARY KEY (b, a))`,
	`CREATE TABLE float_key(k float8 PRIMARY KEY, r real)`,
	`CREATE TABLE uuid_key(k uuid PRIMARY KEY)`,
	`CREATE TABLE date_key(k date, t timestamptz, PRIMARY KEY (k, t))`,
	`CREATE TABLE decimal_key(k numeric(10,2) PRIMARY KEY, v numeric)`,
	`CREATE TABLE keyless(v text); ALTER TABLE keyless REPLICA IDENTITY FULL`,
	`CREATE TABLE whole(id int PRIMARY KEY, v text, n int NOT NULL); ALTER TABLE whole REPLICA IDENTITY FULL`,
	`CREATE TABLE toast(id int PRIMARY KEY, n int, big text); ALTER TABLE toast ALTER big SET STORAGE EXTERNAL`,
	`CREATE TABLE toast_whole(id int PRIMARY KEY, n int, big text); ALTER TABLE toast_whole ALTER big SET STORAGE EXTERNAL, REPLICA IDENTITY FULL`,
	`CREATE TABLE veiled(id int PRIMARY KEY, a text, b varchar(12), c bpchar(140), d text, e text, f text)`,
	`CREATE TABLE defaults(id serial PRIMARY KEY, n int NOT NULL DEFAULT 5, s text DEFAULT 'it''s \\', v varchar(9) NOT NULL DEFAULT 'vv', p numeric(5,2) DEFAULT 1.5, w numeric DEFAULT 2,
		t timestamptz NOT NULL DEFAULT now(), x timestamp DEFAULT '2020-01-02 03:04:05', b boolean DEFAULT true, j jsonb DEFAULT '{"a": 1}', m mood DEFAULT 'ok', u uuid NOT NULL DEFAULT gen_random_uuid(),
		y date DEFAULT '2020-01-02', i int[] DEFAULT '{1}', l bigint DEFAULT -7, f float8 DEFAULT 1.25, o bit(3) DEFAULT B'101', z bytea DEFAULT '\x01', c char(3) DEFAULT 'a', k smallint DEFAULT 3, nj jsonb NOT NULL DEFAULT to_jsonb(1), nd date NOT NULL DEFAULT current_date,
		ns timestamp NOT NULL DEFAULT localtimestamp, nb boolean NOT NULL DEFAULT random() < 2, nn numeric(5,2) NOT NULL DEFAULT random(), nf float8 NOT NULL DEFAULT random(), nz bytea NOT NULL DEFAULT decode('', 'hex'),
		nh timetz NOT NULL DEFAULT current_time, ne time NOT NULL DEFAULT localtime, ni inet NOT NULL DEFAULT '127.0.0.1'::inet + 1, na int[] NOT NULL DEFAULT array_fill(1, '{1}'), nw numeric NOT NULL DEFAULT random(),
		nv interval NOT NULL DEFAULT now() - now(), np point NOT NULL DEFAULT point(1, random()))`,
	`CREATE TABLE odd_defaults(id int PRIMARY KEY, t text NOT NULL DEFAULT current_user, n timestamptz DEFAULT now())`,
	`CREATE TABLE "Quoted . ""Table"(id int PRIMARY KEY, "a ""b" text)`,
}

var likeChanges = []string{
	`INSERT INTO keyed VALUES (1, 'a'), (2, NULL), (3, 'c')`,
	`UPDATE keyed SET v = 'b' WHERE id = 1`,
	`UPDATE keyed SET id = 10 WHERE id = 2`,
	`DELETE FROM keyed WHERE id = 3`,
	`INSERT INTO pair_key VALUES (E'x"\\\n\u00fc😀', 1, 7); UPDATE pair_key SET v = 8; UPDATE pair_key SET a = 'y'; DELETE FROM pair_key`,
	`INSERT INTO float_key SELECT v, v FROM unnest(ARRAY[0, 1, -1, 0.1, 0.001, 0.0009, 100, 1234567, 9999999, 10000000, 12345678.5, 1e20, 1e-7, 123456.75]::float8[]) v`,
	`INSERT INTO uuid_key VALUES ('A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'); DELETE FROM uuid_key`,
	`INSERT INTO date_key VALUES ('2016-11-04', '2016-11-04 13:51:30.5+02'); DELETE FROM date_key`,
	`INSERT INTO decimal_key VALUES (12.50, 1.10), (-0.01, 1e10), (0, 0.000); DELETE FROM decimal_key WHERE k < 0`,
	`INSERT INTO keyless VALUES ('a'), ('a'), (NULL); UPDATE keyless SET v = 'b' WHERE v IS NULL; DELETE FROM keyless WHERE v = 'b'`,
	`INSERT INTO whole VALUES (1, 'a', 0), (2, NULL, 5); UPDATE whole SET v = 'b' WHERE id = 1; UPDATE whole SET id = 3 WHERE id = 2; DELETE FROM whole WHERE id = 1`,
	`INSERT INTO toast SELECT 1, 1, string_agg(md5(i::text), '') FROM generate_series(1, 300) i; UPDATE toast SET n = 2; UPDATE toast SET id = 2`,
	`INSERT INTO toast_whole SELECT 1, 1, string_agg(md5(i::text), '') FROM generate_series(1, 300) i; UPDATE toast_whole SET n = 2; UPDATE toast_whole SET id = 2; DELETE FROM toast_whole`,
	`INSERT INTO "Quoted . ""Table" VALUES (1, 'v')`,
	`TRUNCATE keyed, pair_key`,
	`INSERT INTO veiled VALUES (1, 'a😀é', 'bé', 'c', 'd', 'efgh', 'f'), (2, NULL, NULL, NULL, NULL, NULL, NULL); UPDATE veiled SET a = 'x'; UPDATE veiled SET id = 3 WHERE id = 2; DELETE FROM veiled`,
	`INSERT INTO odd_defaults VALUES (1)`,
	`INSERT INTO defaults DEFAULT VALUES; INSERT INTO defaults(s, p, b) VALUES (NULL, NULL, NULL)`,
	`INSERT INTO keyed VALUES (20, 'm'); SELECT pg_logical_emit_message(true, 'one in', 'content'), pg_logical_emit_message(true, 'two "in"', ''); INSERT INTO keyed VALUES (21, 'n')`,
	`SELECT pg_logical_emit_message(false, 'one out', E'\\x00ff'::bytea)`,
}

// TestLikeDebezium runs Debezium and Freshet on one server, each with its own slots, and holds their records side by
// side: keys, headers and tombstones by their bytes, values field by field. What may differ is in likeDifferences.
func TestLikeDebezium(t *testing.T) {
	if !proof() {
		t.Skip("make proof runs this")
	}
	server := testkit.Postgres(t, 15, "fsync=off", "max_replication_slots=30", "max_wal_senders=30")
	db := newDatabase(t, server)
	db.exec(typeSetup)
	for _, sql := range likeRows {
		db.exec(sql)
	}
	types := map[string]typeCase{}
	for i, c := range typeCases {
		if c.since <= 15 {
			name := fmt.Sprintf("t%d", i)
			types[name] = c
			db.exec(fmt.Sprintf("CREATE TABLE %s(id int PRIMARY KEY, v %s)", name, c.typ))
		}
	}
	db.exec(`CREATE TABLE done(id int PRIMARY KEY); CREATE PUBLICATION debezium FOR ALL TABLES`)

	kafka := testkit.Kafka(t)
	var connectors []testkit.Connector
	captures := map[string]*capture{}
	for _, prefix := range slices.Sorted(maps.Keys(likeModes)) {
		connectors = append(connectors, debezium(t, db, prefix, likeModes[prefix]))
		captures[prefix] = startCapture(t, db, func(o *postgres.Options) {
			o.Name, o.Prefix, o.NoSnapshot, o.Properties = prefix, prefix, true, likeModes[prefix]
		})
	}
	testkit.Connect(t, kafka.Broker, connectors...)
	for _, c := range captures {
		c.streaming()
	}
	waitForSlots(t, db, len(likeModes))

	for name, c := range types {
		for j, v := range append([]string{"NULL"}, c.values...) {
			db.exec(fmt.Sprintf("INSERT INTO %s SELECT %d, %s", name, j, v))
		}
	}
	for _, sql := range likeChanges {
		db.exec(sql)
	}
	db.exec(`INSERT INTO done VALUES (1)`)

	for _, prefix := range slices.Sorted(maps.Keys(likeModes)) {
		t.Run(prefix, func(t *testing.T) {
			captures[prefix].caughtUp()
			theirs := theirRecords(t, kafka.Broker, prefix)
			ours := map[string][]likeRecord{}
			for _, topic := range captures[prefix].log.Topics() {
				for _, r := range captures[prefix].log.Records(topic) {
					ours[topic] = append(ours[topic], ourRecord(&r))
				}
			}
			for _, topic := range slices.Sorted(maps.Keys(ours)) {
				table := topic[strings.LastIndexByte(topic, '.')+1:]
				what := table
				if c, ok := types[table]; ok {
					what = c.typ
				}
				a, b := theirs[topic], ours[topic]
				if strings.HasPrefix(topic, "__debezium-heartbeat.") { // of which there are as many as there was time for
					a, b = a[:min(1, len(a))], b[:min(1, len(b))]
				}
				compareRecords(t, prefix, what, a, b)
			}
			for topic, records := range theirs {
				if len(ours[topic]) == 0 && len(records) > 0 {
					t.Errorf("%s: %d records of Debezium, none of ours", topic, len(records))
				}
			}
		})
	}
}

func debezium(t *testing.T, db *database, prefix string, properties map[string]string) testkit.Connector {
	t.Helper()
	config, err := pgx.ParseConfig(db.dsn)
	if err != nil {
		t.Fatal(err)
	}
	c := testkit.Connector{Name: prefix, Config: map[string]string{
		"connector.class": "io.debezium.connector.postgresql.PostgresConnector", "tasks.max": "1", "plugin.name": "pgoutput",
		"database.hostname": config.Host, "database.port": strconv.Itoa(int(config.Port)), "database.user": config.User,
		"database.password": "none", "database.dbname": config.Database, "topic.prefix": prefix, "slot.name": "debezium_" + prefix,
		"publication.name": "debezium", "publication.autocreate.mode": "disabled", "snapshot.mode": "no_data",
		"topic.creation.default.partitions": "1", "topic.creation.default.replication.factor": "1",
		"skipped.operations": "none", "event.converting.failure.handling.mode": "warn",
	}}
	maps.Copy(c.Config, properties)
	for _, of := range []string{"key", "value"} {
		if _, ok := properties[of+".converter.schemas.enable"]; ok {
			c.Config[of+".converter"] = "org.apache.kafka.connect.json.JsonConverter"
		}
	}
	return c
}

// waitForSlots waits until all of Debezium's slots are read.
func waitForSlots(t *testing.T, db *database, n int) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for db.value(`SELECT count(*)::text FROM pg_replication_slots WHERE slot_name LIKE 'debezium%' AND active`) != strconv.Itoa(n) {
		if time.Now().After(deadline) {
			t.Fatal("Debezium does not read its slots")
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestDebeziumReads has Debezium's JDBC sink read what was captured, as it reads its own: the tables it makes of that equal
// those of the source.
func TestDebeziumReads(t *testing.T) {
	if !proof() {
		t.Skip("make proof runs this")
	}
	server := testkit.Postgres(t, 15, "fsync=off")
	db, target := newDatabase(t, server), newDatabase(t, server)
	db.exec(`CREATE TABLE orders(id bigint PRIMARY KEY, customer int NOT NULL, status text, total numeric(12,2), at timestamptz, day date, paid boolean, ratio float8, code uuid, doc jsonb, data bytea);
		INSERT INTO orders SELECT i, i % 100, 'placed', i / 7.0, now() - i * interval '1 hour', current_date - i, i % 2 = 0, i / 3.0, gen_random_uuid(), jsonb_build_object('n', i), sha256(i::text::bytea) FROM generate_series(1, 500) i`)
	c := startCapture(t, db, with(map[string]string{"key.converter.schemas.enable": "true", "value.converter.schemas.enable": "true"}))
	c.streaming()
	db.exec(`INSERT INTO orders SELECT i, i % 100, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM generate_series(501, 1000) i`)
	db.exec(`UPDATE orders SET status = 'paid', total = total + 1 WHERE id % 3 = 0; DELETE FROM orders WHERE id % 7 = 0; UPDATE orders SET id = id + 5000 WHERE id % 11 = 0`)
	c.caughtUp()

	kafka := testkit.Kafka(t)
	const topic = "shop.public.orders"
	cl, err := kgo.NewClient(kgo.SeedBrokers(kafka.Broker), kgo.AllowAutoTopicCreation(), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(t.Context(), 1, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	for _, r := range c.log.Records(topic) {
		cl.Produce(t.Context(), &kgo.Record{Topic: topic, Key: r.Key, Value: r.Value}, nil)
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	config, err := pgx.ParseConfig(target.dsn)
	if err != nil {
		t.Fatal(err)
	}
	json := "org.apache.kafka.connect.json.JsonConverter"
	testkit.Connect(t, kafka.Broker, testkit.Connector{Name: "sink", Config: map[string]string{
		"connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector", "tasks.max": "1", "topics": topic,
		"connection.url":      fmt.Sprintf("jdbc:postgresql://%s:%d/%s", config.Host, config.Port, config.Database),
		"connection.username": config.User, "connection.password": "none", "insert.mode": "upsert", "delete.enabled": "true", "primary.key.mode": "record_key",
		"schema.evolution": "basic", "collection.name.format": "orders",
		"key.converter": json, "key.converter.schemas.enable": "true", "value.converter": json, "value.converter.schemas.enable": "true",
	}})
	rows := func(db *database) string {
		return db.value(`SELECT coalesce(string_agg(format('%s|%s|%s|%s|%s|%s|%s|%s|%s|%s|%s', id, customer, status, total, at::timestamptz, day, paid, ratio, code, doc::jsonb, data), E'\n' ORDER BY id), '') FROM orders`)
	}
	want := rows(db)
	c.until("equal", func() bool {
		return target.value(`SELECT (to_regclass('orders') IS NOT NULL)::text`) == "true" && rows(target) == want
	})
	t.Logf("%d records, %d rows", len(c.log.Records(topic)), strings.Count(want, "\n")+1)
}

// likeRecord is a record as the two are compared by.
type likeRecord struct {
	key, value []byte // nil for null
	headers    map[string]string
}

// likeHeaders are those that Debezium writes.
var likeHeaders = []string{stream.NewKeyHeader, stream.OldKeyHeader}

func ourRecord(r *stream.Record) likeRecord {
	l := likeRecord{key: r.Key, value: r.Value, headers: map[string]string{}}
	for _, name := range likeHeaders {
		if v, ok := r.Header(name); ok {
			l.headers[name] = string(v)
		}
	}
	return l
}

// theirRecords reads Debezium's topics until the table done is in its own.
func theirRecords(t *testing.T, broker, prefix string) map[string][]likeRecord {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeRegex(), kgo.ConsumeTopics("^"+prefix+`\.`, `\.`+prefix+"$"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMinAge(100*time.Millisecond), kgo.MetadataMaxAge(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	all := map[string][]likeRecord{}
	for last := false; !last || ctx.Err() == nil; {
		fetches := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil && !last {
			t.Fatalf("Debezium has not written the last row: %d topics", len(all))
		}
		fetches.EachRecord(func(r *kgo.Record) {
			l := likeRecord{key: r.Key, value: r.Value, headers: map[string]string{}}
			for _, h := range r.Headers {
				if slices.Contains(likeHeaders, h.Key) {
					l.headers[h.Key] = string(h.Value)
				}
			}
			all[r.Topic] = append(all[r.Topic], l)
			if strings.HasSuffix(r.Topic, ".done") && !last {
				// What it wrote before is on its way to other topics: these are found within the age of metadata.
				last = true
				ctx, cancel = context.WithTimeout(t.Context(), 3*time.Second)
			}
		})
	}
	return all
}

func compareRecords(t *testing.T, prefix, what string, theirs, ours []likeRecord) {
	t.Helper()
	if len(theirs) != len(ours) {
		differ(t, prefix, what, "records", strconv.Itoa(len(theirs)), strconv.Itoa(len(ours)))
		return
	}
	for i := range theirs {
		a, b := theirs[i], ours[i]
		if what == "transaction" { // its id ends in a position
			a.key, b.key = transactionID.ReplaceAll(a.key, nil), transactionID.ReplaceAll(b.key, nil)
		}
		if (a.key == nil) != (b.key == nil) || !bytes.Equal(a.key, b.key) {
			differ(t, prefix, what, "key", string(a.key), string(b.key))
		}
		if !maps.Equal(a.headers, b.headers) {
			differ(t, prefix, what, "headers", fmt.Sprint(a.headers), fmt.Sprint(b.headers))
		}
		if (a.value == nil) != (b.value == nil) {
			differ(t, prefix, what, "value", string(a.value), string(b.value))
			continue
		}
		if a.value == nil {
			continue
		}
		a.value, b.value = compareSchema(t, prefix, what, a.value, b.value)
		compareFields(t, prefix, what, "", a.value, b.value)
	}
}

// compareSchema compares the schemas that stand around two values, and gives the values without them.
func compareSchema(t *testing.T, prefix, what string, theirs, ours []byte) (a, b []byte) {
	t.Helper()
	var both [2]struct{ Schema, Payload json.RawMessage }
	for i, v := range [][]byte{theirs, ours} {
		if err := json.Unmarshal(v, &both[i]); err != nil {
			t.Fatalf("%v: %s", err, v)
		}
	}
	if both[0].Payload == nil || both[1].Payload == nil {
		return theirs, ours
	}
	if !bytes.Equal(both[0].Schema, both[1].Schema) {
		at := 0
		for at < min(len(both[0].Schema), len(both[1].Schema)) && both[0].Schema[at] == both[1].Schema[at] {
			at++
		}
		from := max(0, at-60)
		differ(t, prefix, what, "schema", string(both[0].Schema[from:]), string(both[1].Schema[from:]))
	}
	return both[0].Payload, both[1].Payload
}

// masked are fields that hold versions, clocks and positions.
var masked = map[string]bool{
	".transaction.id": true, ".id": true, ".ts_ms": true, ".ts_us": true, ".ts_ns": true, ".source.version": true, ".source.lsn": true, ".source.sequence": true,
	".source.ts_ms": true, ".source.ts_us": true, ".source.ts_ns": true,
}

// compareFields looks into the envelope; a row's values are compared by their bytes.
func compareFields(t *testing.T, prefix, what, path string, theirs, ours []byte) {
	t.Helper()
	a, b := members(t, theirs), members(t, ours)
	var order [2][]string
	for i, side := range [][]member{a, b} {
		for _, m := range side {
			order[i] = append(order[i], m.name)
		}
	}
	if !slices.Equal(order[0], order[1]) {
		differ(t, prefix, what, path+" fields", strings.Join(order[0], " "), strings.Join(order[1], " "))
	}
	for _, m := range b {
		at := path + "." + m.name
		i := slices.IndexFunc(a, func(o member) bool { return o.name == m.name })
		switch {
		case i < 0, masked[at], bytes.Equal(a[i].raw, m.raw):
		case (at == ".source" || at == ".before" || at == ".after" || at == ".transaction" || at == ".message") && a[i].raw[0] == '{' && m.raw[0] == '{':
			compareFields(t, prefix, what, at, a[i].raw, m.raw)
		default:
			differ(t, prefix, what, at, string(a[i].raw), string(m.raw))
		}
	}
}

type member struct {
	name string
	raw  json.RawMessage
}

// members are an object's, in order.
func members(t *testing.T, b []byte) []member {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	if _, err := d.Token(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	var list []member
	for d.More() {
		name, err := d.Token()
		if err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		m := member{name: name.(string)}
		if err := d.Decode(&m.raw); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		list = append(list, m)
	}
	return list
}

// difference is one that was reviewed: theirs and ours are regular expressions of the whole text.
type difference struct{ what, path, theirs, ours, why string }

const (
	leftOut   = "Debezium leaves the column out; it is carried as PostgreSQL's text"
	notSaid   = "Debezium cannot say it: null, or its task stops; nothing turns into null here"
	endOfTime = "Debezium has no infinity here and writes a moment that PostgreSQL does not know"
	zeros     = "trailing zeros are part of a numeric; Debezium strips them, here keys alone lose them"
	badScale  = "Debezium takes the scale -2 for 2046"
)

var likeDifferences = []difference{
	{"int4multirange|tsquery|pair|interval\\[\\]|money\\[\\]|pair\\[\\]|small\\[\\]|price\\[\\]|point\\[\\]", ".after fields", "id", "id v", leftOut},
	{"name", ".after.v", "null", `"a name"`, notSaid},
	{"varbit\\(1\\)", ".after.v", "null", `""`, notSaid},
	{"box\\[\\]|mood\\[\\]", ".after.v", "null", `\[.*`, notSaid},
	{"numeric\\[\\]", ".after.v", "null", `\[.*"NaN".*\]|\[.*"NAN"\]`, notSaid},
	{"numeric.*", ".after.v", "null", `.*"(NaN|[+-]Infinity)".*`, notSaid},
	{"timestamp", ".after.v", "null", "9223372036854775807|-9223372036854775808", notSaid},
	{"date|timestamp.*", ".after.v", `"[+-]\d{6,}.*Z"`, `"-?infinity"`, endOfTime},
	{"time.*", ".after.v", `"00:00:00Z"`, `"24:00:00Z"`, "24:00:00 is a time of its own"},
	{"integer\\[\\]", ".after.v", `\[null,null\]`, `\[\[1,2\],\[3,4\]\]`, "Debezium knows one dimension"},
	{"double precision", ".after.v", "4.9E-324", "5.0E-324", "Java writes two digits at least, and takes them from the number itself"},
	{"hstore", ".after.v", ".*", ".*", "Debezium's order is that of Java's hash map, ours that of the database"},
	{"numeric\\(3,-2\\)", ".after.v", `"[A-Za-z0-9+/]{100}.*`, `"[A-Za-z0-9+/=]{4}"`, badScale},
	{"numeric\\(3,-2\\)", ".after.v", `"-?\d+\.0+`, `"-?\d+"`, badScale},
	{"numeric|decimal_key", ".after.v", `\{"scale":1,"value":"Cw=="\}`, `\{"scale":2,"value":"bg=="\}`, zeros},
	{"numeric|decimal_key", ".after.v", `\{"scale":0,"value":"AA=="\}`, `\{"scale":3,"value":"AA=="\}`, zeros},
	{"numeric", ".after.v", `\{"scale":2,"value":"91I="\}`, `\{"scale":4,"value":"/JwI"\}`, zeros},
	{"keyless", "records", "6|5", "5|4", "a tombstone without a key says nothing, and a compacted topic refuses it"},
	{"int4multirange|tsquery|pair|interval\\[\\]|money\\[\\]|pair\\[\\]|small\\[\\]|price\\[\\]|point\\[\\]", "schema", ".*", ".*", leftOut},
	{"numeric\\(3,-2\\)", "schema", `.*"scale":"2046".*`, `.*"scale":"-2".*`, badScale},
	{"moods|mood\\[\\]", "schema", `.*"items":\{"type":"string","optional":false.*`, `.*"items":\{"type":"string","optional":true.*`, "Debezium's elements are never null, as its arrays of this type always are"},
	{"defaults", ".after.(s|p|b)", ".+", "null", "Kafka Connect's converter puts the default in the place of NULL"},
	{"odd_defaults", "schema", `.*"default":"CURRENT_USER".*`, ".*", "an expression is no text, and a time that may be null has no default that makes it 1970"},
	{"message", ".transaction.data_collection_order", "1", "2", "Debezium takes every message for a table of its own"},
	{"transaction", ".data_collections", ".*LogicalDecodingMessageId@.*", `.*"LOGICAL_DECODING_MESSAGE","event_count":\d+.*`, "and names it by its place in memory"},
	{"pair_key", "headers", "(?s).*", ".*", "Debezium's header is no JSON where the key has control characters"},
}

func differ(t *testing.T, prefix, what, path, theirs, ours string) {
	t.Helper()
	short := func(s string) string { return s[:min(len(s), 300)] }
	whole := func(pattern, text string) bool { return regexp.MustCompile("^(?:" + pattern + ")$").MatchString(text) }
	for _, d := range likeDifferences {
		if whole(d.path, path) && whole(d.what, what) && whole(d.theirs, short(theirs)) && whole(d.ours, short(ours)) {
			return
		}
	}
	t.Errorf("%s %s %s\n debezium %s\n freshet  %s", prefix, what, path, short(theirs), short(ours))
}
