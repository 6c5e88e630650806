package postgres_test

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"freshet/backend/cdc"
	"freshet/backend/cdc/postgres"
	"freshet/backend/fault"
	"freshet/probes"
)

func (db *database) source(change ...func(*postgres.Options)) *postgres.Source {
	db.t.Helper()
	o := postgres.Options{Options: cdc.Options{Name: db.sourceName(), Type: "postgres", Prefix: "shop"}, DSN: db.dsn, Logger: testLogger(db.t)}
	for _, f := range change {
		f(&o)
	}
	s, err := postgres.New(o)
	if err != nil {
		db.t.Fatal(err)
	}
	db.t.Cleanup(s.Close)
	return s
}

func plan(t *testing.T, s *postgres.Source) *postgres.Plan {
	t.Helper()
	p, err := s.Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// refuses checks that a plan is refused for one reason.
func refuses(t *testing.T, p *postgres.Plan, want string) {
	t.Helper()
	if err := p.Err(); !fault.Is(err, fault.Blocked) || !strings.Contains(err.Error(), want) {
		t.Errorf("refused by %v, want %q", err, want)
	}
}

func TestPlan(t *testing.T) {
	eachVersion(t, func(t *testing.T, db *database) {
		db.exec(`CREATE TABLE keyed(id int PRIMARY KEY, g int GENERATED ALWAYS AS (id + 1) STORED); CREATE TABLE keyless(v int); CREATE TABLE whole(v int); ALTER TABLE whole REPLICA IDENTITY FULL;
			CREATE UNLOGGED TABLE unlogged(id int PRIMARY KEY); CREATE TEMP TABLE temporary(id int PRIMARY KEY); CREATE VIEW view AS SELECT 1; CREATE SCHEMA other; CREATE TABLE other.t(id int PRIMARY KEY)`)
		p := plan(t, db.source())
		if err := p.Err(); err != nil {
			t.Fatal(err)
		}
		var have []string
		for _, pt := range p.Tables {
			have = append(have, fmt.Sprintf("%s %s %s %q", pt.Table, pt.Identity, strings.TrimPrefix(pt.Publication, p.Slot), pt.Key))
		}
		want := []string{`public.keyed default  ["id"]`, `public.keyless default _insert []`, `public.whole full  []`}
		if !slices.Equal(have, want) {
			t.Errorf("tables %q, want %q", have, want)
		}
		text := p.String()
		for _, want := range []string{
			"max_slot_wal_keep_size is -1", "DROP PUBLICATION", "pg_drop_replication_slot", "its updates and deletes are not captured", "generated columns are not captured: g",
			"wal_level logical", "shop.public.keyed", "for insert, truncate",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("the plan does not say %q:\n%s", want, text)
			}
		}
		if n := db.value(`SELECT count(*)::text FROM pg_publication`); n != "0" {
			t.Error("a plan has made something")
		}
	})
}

func TestPlanRefusals(t *testing.T) {
	eachVersion(t, func(t *testing.T, db *database) {
		refuses(t, plan(t, db.source()), "no table matches public.*")
		db.exec(`CREATE TABLE "a b"(id int PRIMARY KEY); CREATE TABLE "a_b"(id int PRIMARY KEY)`)
		refuses(t, plan(t, db.source()), "would share the topic shop.public.a_b")
		db.exec(`DROP TABLE "a b"`)
		s := db.source()
		slot := plan(t, s).Slot
		db.exec(`SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, slot)
		refuses(t, plan(t, s), "there is a replication slot "+slot)
		// The slot of a source that runs is its own, and nothing against it.
		if p, err := s.Check(t.Context()); err != nil || p.Err() != nil || len(p.Tables) != 1 {
			t.Errorf("checked with its slot there: %+v, %v", p, err)
		}
		db.exec(`SELECT pg_drop_replication_slot($1)`, slot)
		refuses(t, plan(t, db.source(func(o *postgres.Options) { o.Outbox = "public.nothing" })), "the outbox public.nothing is not among the tables")

		// Publications of that name that would miss changes or make the application's fail.
		db.exec(`CREATE TABLE keyless(v int)`)
		insert := slot + "_insert"
		for _, c := range []struct{ make, want string }{
			{`CREATE PUBLICATION %s FOR TABLE a_b, keyless WITH (publish_via_partition_root = true)`, "it has public.keyless too"},
			{`CREATE PUBLICATION %s FOR TABLE a_b`, "publish_via_partition_root is off"},
			{`CREATE PUBLICATION %s FOR TABLE a_b WITH (publish = 'insert', publish_via_partition_root = true)`, "its publish is not"},
			{`CREATE PUBLICATION %s WITH (publish_via_partition_root = true)`, "it lacks public.a_b"},
			{`CREATE PUBLICATION %s FOR ALL TABLES WITH (publish_via_partition_root = true)`, "FOR ALL TABLES"},
		} {
			db.exec(fmt.Sprintf(c.make, slot))
			refuses(t, plan(t, s), c.want)
			db.exec(`DROP PUBLICATION ` + slot)
		}
		if db.server.Version >= 15 {
			db.exec(fmt.Sprintf(`CREATE PUBLICATION %s FOR TABLE a_b WHERE (id > 0) WITH (publish_via_partition_root = true)`, slot))
			refuses(t, plan(t, s), "a row filter or a column list")
			db.exec(`DROP PUBLICATION ` + slot)
		}
		// Those that serve are used.
		db.exec(fmt.Sprintf(`CREATE PUBLICATION %s FOR TABLE a_b WITH (publish_via_partition_root = true)`, slot))
		db.exec(fmt.Sprintf(`CREATE PUBLICATION %s FOR TABLE keyless WITH (publish = 'insert, truncate', publish_via_partition_root = true)`, insert))
		p := plan(t, s)
		if err := p.Err(); err != nil || len(p.Publications) != 2 || !p.Publications[0].Exists || !p.Publications[1].Exists {
			t.Errorf("%v: %+v", err, p.Publications)
		}
	})
}

func TestPlanServer(t *testing.T) {
	db := ownDatabase(t, 15, "wal_level=replica", "max_replication_slots=1", "max_slot_wal_keep_size=100MB")
	db.exec(`CREATE TABLE t(id int PRIMARY KEY)`)
	p := plan(t, db.source())
	refuses(t, p, "wal_level is replica")
	if p.WALLimit != 100<<20 || !strings.Contains(p.Holds, "100 MB") {
		t.Errorf("limit %d: %s", p.WALLimit, p.Holds)
	}
	db.exec(`SELECT pg_create_physical_replication_slot('one')`)
	refuses(t, plan(t, db.source()), "max_replication_slots")
}

// TestApplicationWrites has the application update and delete rows of every kind of table while they are captured: no
// publication that is made may make it fail.
func TestApplicationWrites(t *testing.T) {
	eachVersion(t, func(t *testing.T, db *database) {
		names := []string{"d_pk", "d_none", "d_deferrable", "f_none", "f_pk", "i_unique", "i_gone", "n_pk", "f_generated", "i_generated", "pk_generated", "part_pk", "part_none", "part_mixed", "part_full", "part_leaf_only"}
		db.exec(`
			CREATE TABLE d_pk(id int PRIMARY KEY, v int);
			CREATE TABLE d_none(id int, v int);
			CREATE TABLE d_deferrable(id int PRIMARY KEY DEFERRABLE, v int);
			CREATE TABLE f_none(id int, v int); ALTER TABLE f_none REPLICA IDENTITY FULL;
			CREATE TABLE f_pk(id int PRIMARY KEY, v int); ALTER TABLE f_pk REPLICA IDENTITY FULL;
			CREATE TABLE i_unique(id int NOT NULL UNIQUE, v int); ALTER TABLE i_unique REPLICA IDENTITY USING INDEX i_unique_id_key;
			CREATE TABLE i_gone(id int PRIMARY KEY, u int NOT NULL CONSTRAINT gone UNIQUE, v int); ALTER TABLE i_gone REPLICA IDENTITY USING INDEX gone; ALTER TABLE i_gone DROP CONSTRAINT gone; ALTER TABLE i_gone ALTER u DROP NOT NULL;
			CREATE TABLE n_pk(id int PRIMARY KEY, v int); ALTER TABLE n_pk REPLICA IDENTITY NOTHING;
			CREATE TABLE f_generated(id int, v int, g int GENERATED ALWAYS AS (id * 2) STORED); ALTER TABLE f_generated REPLICA IDENTITY FULL;
			CREATE TABLE i_generated(id int, v int, g int GENERATED ALWAYS AS (id * 2) STORED NOT NULL UNIQUE); ALTER TABLE i_generated REPLICA IDENTITY USING INDEX i_generated_g_key;
			CREATE TABLE pk_generated(id int, v int, g int GENERATED ALWAYS AS (id * 2) STORED PRIMARY KEY);
			CREATE TABLE part_pk(id int PRIMARY KEY, v int) PARTITION BY RANGE (id); CREATE TABLE part_pk1 PARTITION OF part_pk DEFAULT;
			CREATE TABLE part_none(id int, v int) PARTITION BY RANGE (id); CREATE TABLE part_none1 PARTITION OF part_none DEFAULT;
			CREATE TABLE part_mixed(id int PRIMARY KEY, v int) PARTITION BY RANGE (id); CREATE TABLE part_mixed1 PARTITION OF part_mixed DEFAULT; CREATE TABLE part_mixed2 PARTITION OF part_mixed FOR VALUES FROM (100) TO (200); ALTER TABLE part_mixed2 REPLICA IDENTITY NOTHING;
			CREATE TABLE part_full(id int, v int) PARTITION BY RANGE (id); CREATE TABLE part_full1 PARTITION OF part_full DEFAULT; ALTER TABLE part_full REPLICA IDENTITY FULL; ALTER TABLE part_full1 REPLICA IDENTITY FULL;
			CREATE TABLE part_leaf_only(id int, v int) PARTITION BY RANGE (id); CREATE TABLE part_leaf_only1 PARTITION OF part_leaf_only DEFAULT; ALTER TABLE part_leaf_only1 ADD PRIMARY KEY (id);
		`)
		if db.server.Version >= 18 {
			db.exec(`CREATE TABLE f_virtual(id int, v int, g int GENERATED ALWAYS AS (id * 2) VIRTUAL); ALTER TABLE f_virtual REPLICA IDENTITY FULL`)
			names = append(names, "f_virtual")
		}
		c := startCapture(t, db)
		c.streaming()
		for _, name := range names {
			for _, sql := range []string{"INSERT INTO %s(id, v) VALUES (1, 1), (150, 2)", "UPDATE %s SET v = v + 1", "UPDATE %s SET id = id + 1", "DELETE FROM %s WHERE id = 2"} {
				db.exec(fmt.Sprintf(sql, name))
			}
		}
		c.caughtUp()
		full, insert := map[string]bool{}, map[string]bool{}
		for _, pub := range plan(t, db.source(func(o *postgres.Options) { o.Name = "another" })).Publications {
			for _, table := range pub.Tables {
				name := strings.TrimPrefix(table, "public.")
				full[name], insert[name] = !strings.HasSuffix(pub.Name, "_insert"), strings.HasSuffix(pub.Name, "_insert")
			}
		}
		for _, name := range []string{"d_pk", "f_none", "f_pk", "i_unique", "part_pk", "part_full"} {
			if !full[name] {
				t.Errorf("updates and deletes of %s could be captured", name)
			}
			c.equal("public." + name)
		}
		for _, name := range []string{"d_none", "d_deferrable", "n_pk", "part_none", "part_mixed"} {
			if !insert[name] {
				t.Errorf("updates and deletes of %s are published", name)
			}
		}
	})
}

// TestFindings tells what changes under a running capture.
func TestFindings(t *testing.T) {
	eachVersion(t, func(t *testing.T, db *database) {
		db.exec(`CREATE TABLE a(id int PRIMARY KEY); CREATE TABLE b(id int PRIMARY KEY); CREATE TABLE c(id int PRIMARY KEY); CREATE TABLE later(id int PRIMARY KEY); ALTER TABLE later RENAME TO hidden`)
		c := startCapture(t, db, func(o *postgres.Options) { o.Tables = []string{"public.a", "public.b", "public.c", "public.later*"} })
		c.streaming()
		c.stop()
		slot := db.value(`SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database()`)
		db.exec(`ALTER TABLE hidden RENAME TO later; CREATE TABLE added(id int PRIMARY KEY)`)
		db.exec(fmt.Sprintf(`ALTER PUBLICATION %s DROP TABLE b; ALTER PUBLICATION %s ADD TABLE added; ALTER TABLE c DROP CONSTRAINT c_pkey`, slot, slot))
		c.start()
		c.streaming()
		var have []string
		c.wait("told", func(probes.SourceProgress) bool {
			have = nil
			for _, f := range c.pipeline.Findings() {
				have = append(have, f.Table+" "+f.Text)
			}
			return len(have) > 0
		})
		for _, want := range []string{"public.later was created later", "public.b is no longer published", "public.added was added to the publication", "public.c has lost its replica identity"} {
			if !slices.ContainsFunc(have, func(s string) bool { return strings.HasPrefix(s, want) }) {
				t.Errorf("no finding %q in %q", want, have)
			}
		}
	})
}

// TestLeastPrivilege captures as a role that may do no more than it must, with publications made by the tables' owner.
func TestLeastPrivilege(t *testing.T) {
	for _, version := range versions() {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			db := ownDatabase(t, version)
			db.exec(`CREATE TABLE t(id int PRIMARY KEY); CREATE TABLE keyless(v int); INSERT INTO t VALUES (1); CREATE TABLE private(id int PRIMARY KEY);
				SET password_encryption = 'scram-sha-256'; -- 13 would take md5
				CREATE ROLE capture LOGIN REPLICATION PASSWORD 'hunter2-canary'`)
			db.server.SetHBA("host all postgres 127.0.0.1/32 trust", "host all all 127.0.0.1/32 scram-sha-256")
			dsn := func(password string) string {
				u, err := url.Parse(db.dsn)
				if err != nil {
					t.Fatal(err)
				}
				u.User = url.UserPassword("capture", password)
				return u.String()
			}
			as := func(password string) func(*postgres.Options) {
				return func(o *postgres.Options) {
					o.DSN = dsn(password)
					o.Tables = []string{"public.t", "public.keyless"}
				}
			}
			_, err := db.source(as("wrong-canary")).Plan(t.Context())
			if !fault.Is(err, fault.Denied) || strings.Contains(err.Error(), "canary") {
				t.Errorf("a wrong password: %v", err)
			}
			var pg *pgconn.PgError
			if errors.As(err, &pg) {
				t.Error("the error's chain leads on to pgx")
			}

			s := db.source(as("hunter2-canary"))
			p := plan(t, s)
			refuses(t, p, "may not read public.keyless, public.t")
			refuses(t, p, "does not own public.t, public.keyless")
			db.exec(`GRANT SELECT ON t, keyless TO capture`)
			p = plan(t, s)
			if len(p.Refusals) != 1 {
				t.Errorf("refusals %q", p.Refusals)
			}
			for _, pub := range p.Publications {
				db.exec(pub.SQL)
			}
			if p = plan(t, s); p.Err() != nil {
				t.Fatal(p.Err())
			}
			for _, w := range p.Warnings {
				if strings.Contains(w, "superuser") {
					t.Error(w)
				}
			}
			c := startCapture(t, db, as("hunter2-canary"))
			c.streaming()
			db.exec(`INSERT INTO t VALUES (2); INSERT INTO keyless VALUES (1)`)
			c.caughtUp()
			c.equal("public.t", "public.keyless")
			if st, err := c.source.Slot(t.Context()); err != nil || !st.Active {
				t.Errorf("slot %+v: %v", st, err)
			}

			// What is taken away is named, and tried seldom.
			db.exec(`ALTER ROLE capture NOREPLICATION`)
			c.stop()
			c.start()
			why := c.wait("refused", func(p probes.SourceProgress) bool {
				return p.State == cdc.Reconnecting && strings.Contains(p.Why, "42501")
			}).Why
			if strings.Contains(why, "canary") {
				t.Error(why)
			}
			db.exec(`ALTER ROLE capture REPLICATION PASSWORD 'other'`)
			if err := c.pipeline.Resume(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.wait("refused", func(p probes.SourceProgress) bool {
				return p.State == cdc.Reconnecting && strings.Contains(p.Why, "28P01")
			})
			db.exec(`ALTER ROLE capture PASSWORD 'hunter2-canary'`)
			if err := c.pipeline.Resume(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.streaming()

			// The owner's publications are the owner's to drop.
			c.stop()
			if err := c.source.Drop(t.Context(), c.pipeline.State()); err != nil {
				t.Fatal(err)
			}
			if n := db.value(`SELECT count(*)::text FROM pg_publication`); n != "2" {
				t.Errorf("%s publications are left, want the owner's 2", n)
			}
		})
	}
}

// TestDrop removes what was made and nothing else, at any point.
func TestDrop(t *testing.T) {
	eachVersion(t, func(t *testing.T, db *database) {
		db.exec(`CREATE TABLE t(id int PRIMARY KEY); CREATE TABLE keyless(v int); CREATE PUBLICATION others FOR TABLE t`)
		db.exec(`SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, db.name+"_others")
		c := startCapture(t, db)
		c.streaming()
		c.stop()
		if err := c.source.Drop(t.Context(), c.pipeline.State()); err != nil {
			t.Fatal(err)
		}
		if v := db.value(`SELECT string_agg(slot_name, ' ') FROM pg_replication_slots WHERE database = current_database()`); v != db.name+"_others" {
			t.Errorf("slots left: %s", v)
		}
		if v := db.value(`SELECT string_agg(pubname, ' ') FROM pg_publication`); v != "others" {
			t.Errorf("publications left: %s", v)
		}
		if err := c.source.Drop(t.Context(), c.pipeline.State()); err != nil {
			t.Errorf("dropped twice: %v", err)
		}
		// A source that never made anything has nothing to drop, whatever bears the name.
		db.exec(`SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, plan(t, c.source).Slot)
		if err := c.source.Drop(t.Context(), cdc.State{}); err != nil {
			t.Fatal(err)
		}
		if n := db.value(`SELECT count(*)::text FROM pg_replication_slots WHERE database = current_database()`); n != "2" {
			t.Errorf("%s slots, want 2", n)
		}
		db.exec(`SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()`)
	})
}

// TestSecrets looks for the password in what can be seen of a source.
func TestSecrets(t *testing.T) {
	for _, dsn := range []string{
		"postgres://u:canary@127.0.0.1:1/d?sslmode=disable", "host=127.0.0.1 port=1 user=u password=canary dbname=d", "postgres://u:canary@127.0.0.1:1/d?sslmode=nonsense",
		"postgres://u:can%zzary@127.0.0.1/d", "host=127.0.0.1 password='canary", "canary", "postgres://u:canary@127.0.0.1:notaport/d",
	} {
		s, err := postgres.New(postgres.Options{Options: cdc.Options{Name: "shop"}, DSN: dsn})
		if err == nil {
			_, err = s.Plan(t.Context())
			s.Close()
		}
		if err == nil {
			t.Errorf("%s: no error", dsn)
			continue
		}
		for _, text := range []string{err.Error(), fmt.Sprintf("%v %+v %#v", err, err, errors.Unwrap(err))} {
			if strings.Contains(text, "canary") || strings.Contains(text, "can%zzary") {
				t.Errorf("the secret is in %s", text)
			}
		}
	}
}
