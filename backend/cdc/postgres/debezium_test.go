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
	"github.com/twmb/franz-go/pkg/kgo"

	"freshet/backend/cdc/postgres"
	"freshet/backend/stream"
	"freshet/backend/testkit"
)

// likeModes are the options that both are run with, by the prefix of their topics.
var likeModes = map[string]map[string]string{
	"usual": {},
	"texts": {"decimal.handling.mode": "string", "binary.handling.mode": "hex", "time.precision.mode": "isostring", "interval.handling.mode": "string", "hstore.handling.mode": "map"},
	"java":  {"decimal.handling.mode": "double", "binary.handling.mode": "base64", "time.precision.mode": "connect"},
	"micro": {"binary.handling.mode": "base64-url-safe", "time.precision.mode": "microseconds", "tombstones.on.delete": "false"},
	"nano":  {"time.precision.mode": "nanoseconds", "skipped.operations": "u,t"},
	"times": {"time.precision.mode": "adaptive_time_microseconds"},
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
				compareRecords(t, prefix, what, theirs[topic], ours[topic])
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
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeRegex(), kgo.ConsumeTopics("^"+prefix+`\.`), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMinAge(100*time.Millisecond), kgo.MetadataMaxAge(time.Second))
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
		if a.value != nil {
			compareFields(t, prefix, what, "", a.value, b.value)
		}
	}
}

// masked are fields that hold versions, clocks and positions.
var masked = map[string]bool{
	".ts_ms": true, ".ts_us": true, ".ts_ns": true, ".source.version": true, ".source.lsn": true, ".source.sequence": true,
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
		case (at == ".source" || at == ".before" || at == ".after") && a[i].raw[0] == '{' && m.raw[0] == '{':
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
	geometric = "to be done: a Geometry of Debezium 3.6, carried as PostgreSQL's text"
	zeros     = "trailing zeros are part of a numeric; Debezium strips them, here keys alone lose them"
	badScale  = "Debezium takes the scale -2 for 2046"
)

var likeDifferences = []difference{
	{"int4multirange|tsquery|pair|interval\\[\\]|money\\[\\]|pair\\[\\]|small\\[\\]|price\\[\\]|point\\[\\]", ".after fields", "id", "id v", leftOut},
	{"box|lseg|path|polygon|circle|line", ".after.v", `\{.*\}`, `".*"`, geometric},
	{"name", ".after.v", "null", `"a name"`, notSaid},
	{"varbit\\(1\\)", ".after.v", "null", `""`, notSaid},
	{"box\\[\\]|mood\\[\\]", ".after.v", "null", `\[.*\]`, notSaid},
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
	{"pair_key", "headers", "(?s).*", ".*", "Debezium's header is no JSON where the key has control characters"},
}

func differ(t *testing.T, prefix, what, path, theirs, ours string) {
	t.Helper()
	short := func(s string) string { return s[:min(len(s), 200)] }
	whole := func(pattern, text string) bool { return regexp.MustCompile("^(?:" + pattern + ")$").MatchString(text) }
	for _, d := range likeDifferences {
		if d.path == path && whole(d.what, what) && whole(d.theirs, short(theirs)) && whole(d.ours, short(ours)) {
			return
		}
	}
	t.Errorf("%s %s %s\n debezium %s\n freshet  %s", prefix, what, path, short(theirs), short(ours))
}
