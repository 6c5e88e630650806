package postgres

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"freshet/backend/cdc"
)

// catalog answers what a stream has to know of tables and types beyond its messages.
type catalog struct {
	source *Source
	query  querier // of a snapshot's transaction; nil uses the control connection
	types  typeCache
	values codec
	topics map[string]cdc.Table
	counts map[cdc.Table]*eventCount
}

func (s *Source) newCatalog(q querier) *catalog {
	return &catalog{source: s, query: q, types: typeCache{}, values: codec{words: s.handling.words},
		topics: map[string]cdc.Table{}, counts: map[cdc.Table]*eventCount{}}
}

// count is what counts a table's events, whatever its columns are.
func (c *catalog) count(t cdc.Table) *eventCount {
	if c.counts[t] == nil {
		c.counts[t] = &eventCount{name: []byte(jsonText(t.String()))}
	}
	return c.counts[t]
}

func (c *catalog) with(ctx context.Context, op string, f func(q querier) error) error {
	if c.query != nil {
		return c.source.fault(op, f(c.query))
	}
	return c.source.with(ctx, op, f)
}

// facts reads what there is to know of a shape. It looks at the catalog as it is now, which may be later than the change
// that is being read: what the message itself says goes before it, and a table that is gone has no facts.
func (c *catalog) facts(ctx context.Context, sh *shape) (facts, error) {
	f := facts{types: map[typeMod]string{}, notNull: map[string]bool{}, defaults: map[string]string{}}
	err := c.with(ctx, "look up the table "+sh.table.String(), func(q querier) error {
		var oids []uint32
		for _, col := range sh.columns {
			oids = append(oids, col.typ)
		}
		if err := c.types.load(ctx, q, oids); err != nil {
			return err
		}
		var types []uint32
		var mods []int32
		for _, col := range sh.columns {
			root, mod := c.types.root(col.typ, col.mod)
			types, mods = append(types, col.typ, root.OID), append(mods, col.mod, mod)
		}
		rows, err := q.Query(ctx, `SELECT u.o, u.m, format_type(u.o, u.m) FROM unnest($1::oid[], $2::int4[]) AS u(o, m)`, types, mods)
		if err != nil {
			return err
		}
		var tm typeMod
		var text string
		if _, err := pgx.ForEachRow(rows, []any{&tm.oid, &tm.mod, &text}, func() error {
			f.types[tm] = text
			return nil
		}); err != nil {
			return err
		}
		return c.keys(ctx, q, sh.oid, &f)
	})
	return f, err
}

// keys reads which columns are not null and which are a key.
func (c *catalog) keys(ctx context.Context, q querier, oid uint32, f *facts) error {
	rows, err := q.Query(ctx, `
		SELECT a.attname::text, a.attnotnull, coalesce(pg_get_expr(d.adbin, d.adrelid), '')
		FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
		WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped`, oid)
	if err != nil {
		return err
	}
	var name, expression string
	var notNull bool
	if _, err := pgx.ForEachRow(rows, []any{&name, &notNull, &expression}, func() error {
		f.notNull[name], f.defaults[name] = notNull, expression
		return nil
	}); err != nil {
		return err
	}
	rows, err = q.Query(ctx, `
		SELECT i.indisprimary, i.indisreplident, (SELECT array_agg(a.attname::text ORDER BY array_position(i.indkey::int2[], a.attnum)) FROM pg_attribute a
		                        WHERE a.attrelid = i.indrelid AND a.attnum = ANY((i.indkey::int2[])[0:i.indnkeyatts-1]))
		FROM pg_index i
		WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
		  AND (i.indimmediate OR i.indisprimary)
		ORDER BY i.indisprimary DESC, i.indexrelid`, oid)
	if err != nil {
		return err
	}
	var primary, identity bool
	var columns []string
	_, err = pgx.ForEachRow(rows, []any{&primary, &identity, &columns}, func() error {
		if identity {
			f.identity = slices.Clone(columns)
		}
		switch {
		case primary:
			f.primary = slices.Clone(columns)
		case f.unique == nil && !slices.ContainsFunc(columns, func(c string) bool { return !f.notNull[c] }):
			f.unique = slices.Clone(columns)
		}
		return nil
	})
	return err
}

// table is a table that can be captured: an ordinary one, or a partitioned one with everything below it.
type table struct {
	cdc.Table
	oid         uint32
	partitioned bool
	identity    byte
	// carries says that a publication may publish the table's updates and deletes: every table that rows are in has a
	// replica identity that holds. Else publishing them would make the application's fail.
	carries       bool
	primary       []string // columns
	identityIndex []string // columns of a replica identity by index
	generated     []string // columns that the server leaves out
	selectable    bool
	secured       bool // row security would hide rows from us
	owned         bool // by a role that we are
	rows, bytes   int64
}

// tables reads all tables of the patterns, by name.
func (s *Source) tables(ctx context.Context, q querier) ([]table, error) {
	rows, err := q.Query(ctx, `
		WITH RECURSIVE roots AS (
			SELECT c.oid, n.nspname, c.relname, c.relkind, c.relreplident, c.relowner, c.relrowsecurity
			FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND NOT c.relispartition
			  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'freshet')
		), tree AS (
			SELECT oid AS root, oid FROM roots
			UNION ALL
			SELECT t.root, i.inhrelid FROM tree t JOIN pg_class p ON p.oid = t.oid AND p.relkind = 'p' JOIN pg_inherits i ON i.inhparent = t.oid
		), leaf AS (
			SELECT t.root, c.oid, c.reltuples, c.relreplident, pg_table_size(c.oid) AS bytes,
			       CASE c.relreplident
			       WHEN 'd' THEN EXISTS (SELECT FROM pg_index x WHERE x.indrelid = c.oid AND x.indisprimary AND x.indimmediate AND x.indisvalid
			                             AND NOT ($1::bool AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY(x.indkey) AND a.attgenerated <> '')))
			       WHEN 'f' THEN NOT ($1::bool AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped AND a.attgenerated <> ''))
			       WHEN 'i' THEN EXISTS (SELECT FROM pg_index x WHERE x.indrelid = c.oid AND x.indisreplident AND x.indimmediate AND x.indisvalid
			                             AND NOT ($1::bool AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY(x.indkey) AND a.attgenerated <> '')))
			       ELSE false END AS carries
			FROM tree t JOIN pg_class c ON c.oid = t.oid WHERE c.relkind = 'r'
		)
		SELECT r.oid, r.nspname::text, r.relname::text, r.relkind = 'p', r.relreplident::text,
		       coalesce((SELECT bool_and(l.carries) FROM leaf l WHERE l.root = r.oid), false)
		         AND (r.relkind = 'r'
		              OR r.relreplident = 'f' AND coalesce((SELECT bool_and(l.relreplident = 'f') FROM leaf l WHERE l.root = r.oid), false)
		              OR EXISTS (SELECT FROM pg_index x WHERE x.indrelid = r.oid
		              AND CASE r.relreplident WHEN 'd' THEN x.indisprimary WHEN 'i' THEN x.indisreplident ELSE false END)),
		       coalesce((SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_index x JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum = ANY((x.indkey::int2[])[0:x.indnkeyatts-1])
		                 WHERE x.indrelid = r.oid AND x.indisprimary), '{}'),
		       coalesce((SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_index x JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum = ANY((x.indkey::int2[])[0:x.indnkeyatts-1])
		                 WHERE x.indrelid = r.oid AND x.indisreplident), '{}'),
		       coalesce((SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a
		                 WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated <> ''), '{}'),
		       has_table_privilege(r.oid, 'SELECT'), row_security_active(r.oid),
		       pg_has_role(r.relowner, 'USAGE'),
		       coalesce((SELECT sum(greatest(l.reltuples, 0)) FROM leaf l WHERE l.root = r.oid), 0)::int8,
		       coalesce((SELECT sum(l.bytes) FROM leaf l WHERE l.root = r.oid), 0)::int8
		FROM roots r ORDER BY 2, 3`, s.serverVersion(q) >= 180000)
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (table, error) {
		var t table
		var identity string
		err := row.Scan(&t.oid, &t.Schema, &t.Name, &t.partitioned, &identity, &t.carries, &t.primary, &t.identityIndex, &t.generated,
			&t.selectable, &t.secured, &t.owned, &t.rows, &t.bytes)
		if identity != "" {
			t.identity = identity[0]
		}
		return t, err
	})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(t table) bool { return !s.matches(t.Table) }), nil
}

func (s *Source) matches(t cdc.Table) bool {
	return slices.ContainsFunc(s.patterns, func(p cdc.Pattern) bool { return p.Match(t) })
}

func (s *Source) serverVersion(q querier) int {
	switch c := q.(type) {
	case *pgx.Conn:
		return version(c.PgConn())
	case pgx.Tx:
		return version(c.Conn().PgConn())
	}
	return 0
}

// shape reads a table's columns as the server would send them.
func (t *table) shape(ctx context.Context, q querier) (shape, error) {
	sh := shape{oid: t.oid, table: t.Table, identity: t.identity}
	rows, err := q.Query(ctx, `
		SELECT a.attname::text, a.atttypid, a.atttypmod,
		       c.relreplident = 'f' OR EXISTS (SELECT FROM pg_index x WHERE x.indrelid = a.attrelid AND a.attnum = ANY((x.indkey::int2[])[0:x.indnkeyatts-1])
		         AND CASE c.relreplident WHEN 'd' THEN x.indisprimary AND x.indimmediate WHEN 'i' THEN x.indisreplident ELSE false END)
		FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
		WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum`, t.oid)
	if err != nil {
		return sh, err
	}
	sh.columns, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (shapeColumn, error) {
		var c shapeColumn
		err := row.Scan(&c.name, &c.typ, &c.mod, &c.identity)
		return c, err
	})
	return sh, err
}

// publication is one as it is on the server.
type publication struct {
	Name                             string
	OID                              uint32
	AllTables                        bool
	Insert, Update, Delete, Truncate bool
	ViaRoot                          bool
	Comment                          string
	Owned                            bool
	Tables                           []cdc.Table
	Narrowed                         []cdc.Table // with a row filter or a column list
}

// readPublication returns nil where there is none.
func (s *Source) readPublication(ctx context.Context, q querier, name string) (*publication, error) {
	p := &publication{Name: name}
	err := q.QueryRow(ctx, `
		SELECT oid, puballtables, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot,
		       coalesce(obj_description(oid, 'pg_publication'), ''), pg_has_role(pubowner, 'USAGE')
		FROM pg_publication WHERE pubname = $1`, name).
		Scan(&p.OID, &p.AllTables, &p.Insert, &p.Update, &p.Delete, &p.Truncate, &p.ViaRoot, &p.Comment, &p.Owned)
	if err == pgx.ErrNoRows {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	// Schemas and filters are there since version 15.
	narrowed := "$2::oid IS NULL"
	if s.serverVersion(q) >= 150000 {
		narrowed = "coalesce((SELECT r.prqual IS NOT NULL OR r.prattrs IS NOT NULL FROM pg_publication_rel r WHERE r.prpubid = $2 AND r.prrelid = format('%I.%I', t.schemaname, t.tablename)::regclass), false)"
	}
	rows, err := q.Query(ctx, `SELECT t.schemaname::text, t.tablename::text, `+narrowed+` FROM pg_publication_tables t WHERE t.pubname = $1 ORDER BY 1, 2`, name, p.OID)
	if err != nil {
		return nil, err
	}
	var t cdc.Table
	var cut bool
	_, err = pgx.ForEachRow(rows, []any{&t.Schema, &t.Name, &cut}, func() error {
		p.Tables = append(p.Tables, t)
		if cut {
			p.Narrowed = append(p.Narrowed, t)
		}
		return nil
	})
	return p, err
}
