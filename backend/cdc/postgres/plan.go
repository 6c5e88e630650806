package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"freshet/backend/cdc"
	"freshet/backend/fault"
)

// Plan is what capturing a source would make on the server and what it would mean there. Making it changes nothing.
type Plan struct {
	Source        string               `json:"source"`
	Server        string               `json:"server"` // version as the server says it
	Database      string               `json:"database"`
	Role          string               `json:"role"`
	WALLevel      string               `json:"wal_level"`
	Slot          string               `json:"slot"`
	Publications  []PlannedPublication `json:"publications"`
	Tables        []PlannedTable       `json:"tables"`
	Snapshot      bool                 `json:"snapshot"`
	SnapshotRows  int64                `json:"snapshot_rows,string"`  // about
	SnapshotBytes int64                `json:"snapshot_bytes,string"` // about
	// WALLimit is max_slot_wal_keep_size in bytes, -1 for none.
	WALLimit int64    `json:"wal_limit,string"`
	Holds    string   `json:"holds"`    // what WAL the slot can hold, in words
	Warnings []string `json:"warnings"` // what a person should know
	Refusals []string `json:"refusals"` // why it cannot be done as it is
	Remove   []string `json:"remove"`   // how to undo it all by hand

	tables []table
}

// PlannedPublication is a publication that would be made, or one of that name that serves.
type PlannedPublication struct {
	Name    string   `json:"name"`
	Publish string   `json:"publish"`
	Tables  []string `json:"tables"`
	Exists  bool     `json:"exists"`
	SQL     string   `json:"sql"`

	tables []table
	oid    uint32
}

// PlannedTable is a table with what can be captured of it.
type PlannedTable struct {
	Table       string   `json:"table"`
	Topic       string   `json:"topic"`
	Identity    string   `json:"replica_identity"` // default, full, index, nothing
	Key         []string `json:"key"`
	Publication string   `json:"publication"`
	Limits      []string `json:"limits"` // what is not captured, or not whole
}

// Err is the refusals as a fault, nil where there are none.
func (p *Plan) Err() error {
	if len(p.Refusals) == 0 {
		return nil
	}
	return fault.New(fault.Blocked, "plan source "+p.Source, "put that right and plan again", "%s", strings.Join(p.Refusals, "; "))
}

// String is the plan for people.
func (p *Plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "PostgreSQL %s, database %s, as %s, wal_level %s\n", p.Server, p.Database, p.Role, p.WALLevel)
	fmt.Fprintf(&b, "Makes the logical replication slot %s\n", p.Slot)
	for _, pub := range p.Publications {
		verb := "Makes"
		if pub.Exists {
			verb = "Uses"
		}
		fmt.Fprintf(&b, "%s the publication %s of %s, for %s\n", verb, pub.Name, count(len(pub.Tables), "table"), pub.Publish)
	}
	for _, t := range p.Tables {
		key := "no key"
		if len(t.Key) > 0 {
			key = "key " + strings.Join(t.Key, ", ")
		}
		fmt.Fprintf(&b, "  %s → %s (%s, replica identity %s)\n", t.Table, t.Topic, key, t.Identity)
		for _, l := range t.Limits {
			fmt.Fprintf(&b, "      %s\n", l)
		}
	}
	if p.Snapshot {
		fmt.Fprintf(&b, "Reads a first snapshot of about %d rows, %d MB. DDL and TRUNCATE of its tables wait until it ends, and what comes behind them\n",
			p.SnapshotRows, p.SnapshotBytes>>20)
	} else {
		b.WriteString("Reads no snapshot: only what changes from now on\n")
	}
	fmt.Fprintf(&b, "Holds: %s\n", p.Holds)
	for _, w := range p.Warnings {
		fmt.Fprintf(&b, "Warning: %s\n", w)
	}
	for _, r := range p.Refusals {
		fmt.Fprintf(&b, "Refused: %s\n", r)
	}
	fmt.Fprintf(&b, "To remove it all: freshet sources drop %s, or by hand\n", p.Source)
	for _, r := range p.Remove {
		fmt.Fprintf(&b, "  %s\n", r)
	}
	return b.String()
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Plan looks at the server and says what Run would make. Anything that stands in the way is in Refusals; an error is a
// server that could not be asked.
func (s *Source) Plan(ctx context.Context) (*Plan, error) {
	var p *Plan
	err := s.with(ctx, "plan the capture", func(q querier) (err error) {
		if p, err = s.plan(ctx, q, false); err != nil {
			return err
		}
		var exists bool
		if err := q.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)`, s.slot).Scan(&exists); err != nil {
			return err
		}
		if exists {
			p.refuse("there is a replication slot %s already: another source feeds from it, or an earlier one left it (then SELECT pg_drop_replication_slot(%s))", s.slot, quoteLiteral(s.slot))
		}
		return nil
	})
	return p, err
}

// Check looks at the server again while the source runs: its tables, and what of Refusals and Warnings has come up since.
func (s *Source) Check(ctx context.Context) (*Plan, error) {
	var p *Plan
	err := s.with(ctx, "check the capture", func(q querier) (err error) {
		p, err = s.plan(ctx, q, true)
		return err
	})
	return p, err
}

func (p *Plan) refuse(format string, args ...any) {
	p.Refusals = append(p.Refusals, fmt.Sprintf(format, args...))
}

func (p *Plan) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}

// plan looks at the server; a source that runs has its slot and its sender already.
func (s *Source) plan(ctx context.Context, q querier, runs bool) (*Plan, error) {
	p := &Plan{Source: s.o.Name, Slot: s.slot, Database: s.database, Snapshot: !s.o.NoSnapshot,
		Warnings: []string{}, Refusals: []string{}}
	if err := s.planServer(ctx, q, p, runs); err != nil {
		return nil, err
	}
	var err error
	if p.tables, err = s.tables(ctx, q); err != nil {
		return nil, err
	}
	if len(p.tables) == 0 {
		p.refuse("no table matches %s", strings.Join(s.o.Tables, ", "))
	}
	if err := s.planTables(ctx, q, p); err != nil {
		return nil, err
	}
	if err := s.planPublications(ctx, q, p); err != nil {
		return nil, err
	}
	p.Remove = append(p.Remove, fmt.Sprintf("SELECT pg_drop_replication_slot(%s);", quoteLiteral(s.slot)))
	for _, pub := range p.Publications {
		p.Remove = append(p.Remove, fmt.Sprintf("DROP PUBLICATION %s;", quoteIdent(pub.Name)))
	}
	return p, nil
}

const oldestServer = 130000

func (s *Source) planServer(ctx context.Context, q querier, p *Plan, runs bool) error {
	var slots, slotsMax, senders, sendersMax int
	var replication, super, recovery bool
	var encoding string
	err := q.QueryRow(ctx, `
		SELECT current_setting('server_version'), current_setting('wal_level'), current_setting('server_encoding'), current_user::text,
		       (SELECT count(*) FROM pg_replication_slots), current_setting('max_replication_slots')::int,
		       (SELECT count(*) FROM pg_stat_replication), current_setting('max_wal_senders')::int,
		       coalesce((SELECT rolreplication OR rolsuper FROM pg_roles WHERE rolname = current_user), false)
		         OR EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_replication' AND pg_has_role(oid, 'USAGE')),
		       coalesce((SELECT rolsuper FROM pg_roles WHERE rolname = current_user), false),
		       pg_is_in_recovery(),
		       coalesce((SELECT setting::int8 FROM pg_settings WHERE name = 'max_slot_wal_keep_size'), -1)`).
		Scan(&p.Server, &p.WALLevel, &encoding, &p.Role, &slots, &slotsMax, &senders, &sendersMax, &replication, &super, &recovery, &p.WALLimit)
	if err != nil {
		return err
	}
	if s.serverVersion(q) < oldestServer {
		p.refuse("the server is older than version 13")
	}
	if p.WALLevel != "logical" {
		p.refuse("wal_level is %s (ALTER SYSTEM SET wal_level = logical, then restart the server)", p.WALLevel)
	}
	if recovery {
		p.refuse("the server is a standby, name the primary")
	}
	if slots >= slotsMax && !runs {
		p.refuse("all of max_replication_slots = %d are in use", slotsMax)
	}
	if senders >= sendersMax && !runs {
		p.refuse("all of max_wal_senders = %d are in use", sendersMax)
	}
	if !replication {
		p.refuse("the role %s may not replicate (ALTER ROLE %s REPLICATION)", p.Role, quoteIdent(p.Role))
	}
	if super {
		p.warn("the role %s is a superuser; REPLICATION, SELECT on the tables and a publication made by their owner are enough", p.Role)
	}
	if encoding == "SQL_ASCII" {
		p.warn("the database's encoding is SQL_ASCII: a text that is no UTF-8 makes the server end the stream")
	}
	if p.WALLimit < 0 {
		p.Holds = "while Freshet does not run or cannot write, the server keeps all WAL from then on, until its disk is full"
		p.warn("max_slot_wal_keep_size is -1: a slot that nobody reads fills the server's disk; set a limit (ALTER SYSTEM SET max_slot_wal_keep_size = '50GB') to lose the slot rather than the server")
	} else {
		p.WALLimit <<= 20 // the setting's unit is a megabyte
		p.Holds = fmt.Sprintf("while Freshet does not run or cannot write, the server keeps up to about %d MB of WAL for the slot; beyond that the slot is lost and a new snapshot is needed", p.WALLimit>>20)
	}
	return nil
}

var identityNames = map[byte]string{'d': "default", 'f': "full", 'i': "index", 'n': "nothing"}

func (s *Source) planTables(ctx context.Context, q querier, p *Plan) error {
	var names []cdc.Table
	for _, t := range p.tables {
		names = append(names, t.Table)
	}
	topics, err := cdc.TopicNames(s.o.Prefix, names)
	if err != nil {
		p.refuse("%v", err)
	}
	c := s.newCatalog(q)
	full, insert := s.publications()
	var secured, unreadable []string
	for _, t := range p.tables {
		sh, err := t.shape(ctx, q)
		if err != nil {
			return err
		}
		f, err := c.facts(ctx, &sh)
		if err != nil {
			return err
		}
		planned := PlannedTable{Table: t.String(), Topic: topics[t.Table], Identity: identityNames[t.identity], Publication: full, Key: []string{}, Limits: []string{}}
		chosen, key, err := s.choose(c, &sh, f)
		if err != nil {
			p.refuse("%v", err)
		}
		for _, i := range key {
			planned.Key = append(planned.Key, sh.columns[i].name)
		}
		limit := func(format string, args ...any) {
			planned.Limits = append(planned.Limits, fmt.Sprintf(format, args...))
		}
		switch {
		case !t.carries:
			planned.Publication = insert
			limit("its updates and deletes are not captured: without a replica identity that holds, publishing them would make the application's fail. A primary key, or ALTER TABLE %s REPLICA IDENTITY FULL, before the source is created lets them be", quoteTable(t.Table))
		case t.identity == 'f':
			limit("every update and delete writes the old row to the WAL as well")
		default:
			limit("before holds only the replica identity, and only on deletes and where it changes; large values that an update leaves alone are marked as unavailable")
		}
		if t.identity == 'i' && !containsAll(t.identityIndex, t.primary) && len(t.primary) > 0 {
			limit("the record key is the replica identity's index, since deletes do not carry the primary key")
		}
		if len(planned.Key) == 0 {
			limit("records have no key")
		}
		s.planColumns(&sh, chosen, f, limit)
		if len(t.generated) > 0 {
			limit("generated columns are not captured: %s", strings.Join(t.generated, ", "))
		}
		if t.partitioned {
			limit("partitions are captured as this table; a TRUNCATE of a single partition is not seen")
		}
		if !s.o.NoSnapshot {
			if !t.selectable {
				unreadable = append(unreadable, t.String())
			}
			if t.secured {
				secured = append(secured, t.String())
			}
		}
		p.SnapshotRows += t.rows
		p.SnapshotBytes += t.bytes
		p.Tables = append(p.Tables, planned)
	}
	if len(unreadable) > 0 {
		p.refuse("the role %s may not read %s, which the snapshot must (GRANT SELECT)", p.Role, strings.Join(unreadable, ", "))
	}
	if len(secured) > 0 {
		p.refuse("row security would hide rows of %s from the snapshot (give the role BYPASSRLS, or create the source with --no-snapshot)", strings.Join(secured, ", "))
	}
	if s.o.Outbox != "" && !slices.ContainsFunc(p.tables, func(t table) bool { return s.outboxTable.Match(t.Table) }) {
		p.refuse("the outbox %s is not among the tables", s.o.Outbox)
	}
	return nil
}

// planColumns says what of a table's columns is not written as it is.
func (s *Source) planColumns(sh *shape, chosen []choice, f facts, limit func(format string, args ...any)) {
	var leftOut, foreign, unkeyed []string
	masked := map[string][]string{}
	for _, x := range chosen {
		switch {
		case !x.written && x.place > 0:
			leftOut = append(leftOut, x.name+" (it stays in the key)")
		case !x.written:
			leftOut = append(leftOut, x.name)
		case x.form.foreign || x.opaque:
			foreign = append(foreign, x.name+" ("+f.types[typeMod{x.typ, x.mod}]+")")
		}
		if x.mask != nil {
			masked[x.mask.kind] = append(masked[x.mask.kind], x.name)
		}
		if x.place > 0 && !x.identity {
			unkeyed = append(unkeyed, x.name)
		}
	}
	if len(leftOut) > 0 {
		limit("columns that are left out: %s", strings.Join(leftOut, ", "))
	}
	if len(foreign) > 0 {
		as := "text"
		if s.handling.words[unknownOption] == "true" {
			as = "the bytes of its text"
		}
		limit("Debezium leaves out what is of a type that it does not know; here it is carried as %s: %s", as, strings.Join(foreign, ", "))
	}
	for _, kind := range slices.Sorted(maps.Keys(masked)) {
		limit("columns under %s: %s", maskWords[kind], strings.Join(masked[kind], ", "))
	}
	if len(unkeyed) > 0 && s.handling.keys != nil {
		limit("a delete has no %s, which message.key.columns puts into the key, and meets no other record's: ALTER TABLE %s REPLICA IDENTITY FULL lets it", strings.Join(unkeyed, ", "), quoteTable(sh.table))
	}
}

var maskWords = map[string]string{"hash": "a hash with a salt", "mask": "stars", "truncate": "a limit of their length"}

const (
	publishAll    = "insert, update, delete, truncate"
	publishInsert = "insert, truncate"
)

// planPublications sorts the tables by what may be published of them. Tables without a replica identity get a
// publication without updates and deletes, because the server refuses an UPDATE or DELETE of a table whose updates or
// deletes it is to publish and cannot.
func (s *Source) planPublications(ctx context.Context, q querier, p *Plan) error {
	var full, insert []table
	for _, t := range p.tables {
		if t.carries {
			full = append(full, t)
		} else {
			insert = append(insert, t)
		}
	}
	fullName, insertName := s.publications()
	missing := false
	for _, set := range []struct {
		name, publish string
		tables        []table
	}{{fullName, publishAll, full}, {insertName, publishInsert, insert}} {
		existing, err := s.readPublication(ctx, q, set.name)
		if err != nil {
			return err
		}
		if len(set.tables) == 0 {
			if existing != nil {
				p.refuse("there is a publication %s, which the source would have to do without (DROP PUBLICATION %s)", set.name, quoteIdent(set.name))
			}
			continue
		}
		pub := PlannedPublication{Name: set.name, Publish: set.publish, tables: set.tables, SQL: createPublication(set.name, set.publish, set.tables)}
		for _, t := range set.tables {
			pub.Tables = append(pub.Tables, t.String())
		}
		if existing == nil {
			missing = true
		} else {
			pub.Exists, pub.oid = true, existing.OID
			for _, why := range differs(existing, &pub) {
				p.refuse("there is a publication %s, and it cannot serve: %s (DROP PUBLICATION %s)", set.name, why, quoteIdent(set.name))
			}
		}
		p.Publications = append(p.Publications, pub)
	}
	if missing {
		return s.planOwnership(ctx, q, p)
	}
	return nil
}

// planOwnership refuses where the role may not make the publications, and says what their owner has to run.
func (s *Source) planOwnership(ctx context.Context, q querier, p *Plan) error {
	var create bool
	if err := q.QueryRow(ctx, `SELECT has_database_privilege(current_database(), 'CREATE')`).Scan(&create); err != nil {
		return err
	}
	var foreign []string
	var statements []string
	for _, pub := range p.Publications {
		if pub.Exists {
			continue
		}
		statements = append(statements, pub.SQL)
		for _, t := range pub.tables {
			if !t.owned {
				foreign = append(foreign, t.String())
			}
		}
	}
	switch sql := strings.Join(statements, "; "); {
	case len(foreign) > 0:
		p.refuse("the role %s does not own %s, which a publication's maker must (have their owner run: %s)", p.Role, strings.Join(foreign, ", "), sql)
	case !create:
		p.refuse("the role %s may not create a publication in the database (GRANT CREATE ON DATABASE, or have the tables' owner run: %s)", p.Role, sql)
	}
	return nil
}

// differs says in what a publication that is there is not the one that is wanted.
func differs(have *publication, want *PlannedPublication) []string {
	var why []string
	if have.AllTables {
		why = append(why, "it is FOR ALL TABLES")
	}
	changes := want.Publish == publishAll
	if !have.Insert || !have.Truncate || have.Update != changes || have.Delete != changes {
		why = append(why, "its publish is not '"+want.Publish+"'")
	}
	if !have.ViaRoot {
		why = append(why, "its publish_via_partition_root is off")
	}
	if len(have.Narrowed) > 0 {
		why = append(why, fmt.Sprintf("a row filter or a column list narrows %v", have.Narrowed))
	}
	for _, t := range want.tables {
		if !slices.Contains(have.Tables, t.Table) {
			why = append(why, "it lacks "+t.String())
		}
	}
	for _, t := range have.Tables {
		if !slices.ContainsFunc(want.tables, func(w table) bool { return w.Table == t }) {
			why = append(why, "it has "+t.String()+" too")
		}
	}
	return why
}

func createPublication(name, publish string, tables []table) string {
	var list []string
	for _, t := range tables {
		if t.partitioned {
			list = append(list, quoteTable(t.Table))
		} else {
			list = append(list, "ONLY "+quoteTable(t.Table)) // what inherits from it is a table of its own
		}
	}
	return fmt.Sprintf("CREATE PUBLICATION %s FOR TABLE %s WITH (publish = '%s', publish_via_partition_root = true)",
		quoteIdent(name), strings.Join(list, ", "), publish)
}

func (s *Source) publicationComment() string { return "made by Freshet for the source " + s.o.Name }

// createPublications makes those that are missing in one transaction, and looks there once more that none would make
// the application's updates or deletes fail: the tables are locked against that until the end.
func (s *Source) createPublications(ctx context.Context, p *Plan) error {
	missing := slices.ContainsFunc(p.Publications, func(pub PlannedPublication) bool { return !pub.Exists })
	if !missing {
		return nil
	}
	const op = "create the publications"
	conn, err := s.open(ctx, true, maxControlBody)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '10s'"); err != nil {
			return err
		}
		for _, pub := range p.Publications {
			if pub.Exists {
				continue
			}
			if _, err := tx.Exec(ctx, pub.SQL); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, fmt.Sprintf("COMMENT ON PUBLICATION %s IS %s", quoteIdent(pub.Name), quoteLiteral(s.publicationComment()))); err != nil {
				return err
			}
		}
		now, err := s.tables(ctx, tx)
		if err != nil {
			return err
		}
		for _, t := range now {
			i := slices.IndexFunc(p.tables, func(planned table) bool { return planned.oid == t.oid })
			if i >= 0 && p.tables[i].carries && !t.carries {
				return fault.New(fault.Drifted, op, "plan again", "the replica identity of %s has changed since", t)
			}
		}
		return nil
	})
	return s.fault(op, err)
}
