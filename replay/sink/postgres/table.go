package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"freshet/backend/fault"
	"freshet/backend/stream"
)

// tableName is a table's name as it is stored, without quotes.
type tableName struct{ schema, name string }

func (t tableName) String() string {
	if t.schema == "" {
		return pgx.Identifier{t.name}.Sanitize()
	}
	return pgx.Identifier{t.schema, t.name}.Sanitize()
}

// parseTable reads TABLE or SCHEMA.TABLE as SQL does: a part in double quotes is as it is, others are folded to lower
// case.
func parseTable(s string) (tableName, error) {
	var parts []string
	for rest := s; ; {
		var part string
		if strings.HasPrefix(rest, `"`) {
			end := 1
			for {
				i := strings.IndexByte(rest[end:], '"')
				if i < 0 {
					return tableName{}, fault.New(fault.Invalid, "read the table's name", `write it as table, schema.table or "schema"."table"`, "a quote is missing")
				}
				if end += i + 1; !strings.HasPrefix(rest[end:], `"`) {
					break
				}
				end++
			}
			part, rest = strings.ReplaceAll(rest[1:end-1], `""`, `"`), rest[end:]
		} else {
			end := strings.IndexByte(rest, '.')
			if end < 0 {
				end = len(rest)
			}
			part, rest = strings.ToLower(rest[:end]), rest[end:]
		}
		parts = append(parts, part)
		if rest == "" {
			break
		}
		if rest[0] != '.' {
			return tableName{}, fault.New(fault.Invalid, "read the table's name", `write it as table, schema.table or "schema"."table"`, "text after a closing quote")
		}
		rest = rest[1:]
	}
	if len(parts) > 2 || slices.Contains(parts, "") {
		return tableName{}, fault.New(fault.Invalid, "read the table's name", `write it as table, schema.table or "schema"."table"`, "%d parts, or an empty one", len(parts))
	}
	if len(parts) == 1 {
		return tableName{name: parts[0]}, nil
	}
	return tableName{parts[0], parts[1]}, nil
}

// table is a table at the target, as it was when it was looked at.
type table struct {
	name     string // quoted
	columns  []column
	byName   map[string]int
	uniques  [][]string // the columns of each unique index that ON CONFLICT can name, each sorted
	identity bool       // a column is GENERATED ALWAYS AS IDENTITY
}

// column is one column of a table at the target.
type column struct {
	name     string
	quoted   string
	typ      string // format_type with its modifier
	base     string // the type to cast a text to: under a domain, without modifier, so that nothing is cut short
	under    string // as base, with the modifier; what values are read by where the source's type is unknown
	notNull  bool
	computed bool // GENERATED ... STORED: the server's alone
	asText   bool // the type has no equality of its own: compared as text
}

// noEquality are the types without an = that means equal.
var noEquality = []string{"json", "xml", "point", "line", "lseg", "box", "path", "polygon", "circle"}

const columnsQuery = `
WITH RECURSIVE c AS (
	SELECT a.attnum, a.attname::text AS name, a.atttypid AS typ, a.atttypmod AS typmod, a.attnotnull, a.attgenerated <> '' AS computed,
		a.attidentity = 'a' AS always, format_type(a.atttypid, a.atttypmod) AS shown
	FROM pg_attribute a WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
), b AS (
	SELECT c.attnum, c.typ, c.typmod FROM c
	UNION ALL
	SELECT b.attnum, t.typbasetype, t.typtypmod FROM b JOIN pg_type t ON t.oid = b.typ WHERE t.typtype = 'd'
)
SELECT c.name, c.shown, format_type(b.typ, -1), format_type(b.typ, b.typmod), c.attnotnull, c.computed, c.always,
	coalesce(e.typname, t.typname)::text
FROM c JOIN b USING (attnum) JOIN pg_type t ON t.oid = b.typ AND t.typtype <> 'd'
LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
ORDER BY c.attnum`

const uniquesQuery = `
SELECT array_agg(a.attname::text ORDER BY a.attname)
FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])
WHERE i.indrelid = $1::oid AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
	AND i.indnkeyatts = i.indnatts
GROUP BY i.indexrelid`

// lookTable returns the table as it is, nil where there is none.
func lookTable(ctx context.Context, q querier, name tableName) (*table, error) {
	var oid uint32
	var kind, found string
	err := q.QueryRow(ctx, `SELECT c.oid, c.relkind::text, quote_ident(n.nspname) || '.' || quote_ident(c.relname)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)`, name.String()).Scan(&oid, &kind, &found)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !strings.Contains("rpfv", kind) {
		return nil, blocked("look at the table "+found, "name a table that can be written", "it is no table")
	}
	t := &table{name: found, byName: map[string]int{}}
	rows, err := q.Query(ctx, columnsQuery, oid)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var c column
		var always bool
		var typname string
		if err := rows.Scan(&c.name, &c.typ, &c.base, &c.under, &c.notNull, &c.computed, &always, &typname); err != nil {
			return nil, err
		}
		c.quoted = pgx.Identifier{c.name}.Sanitize()
		c.asText = slices.Contains(noEquality, typname)
		t.identity = t.identity || always
		t.byName[c.name] = len(t.columns)
		t.columns = append(t.columns, c)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	rows, err = q.Query(ctx, uniquesQuery, oid)
	if err != nil {
		return nil, err
	}
	t.uniques, err = pgx.CollectRows(rows, pgx.RowTo[[]string])
	return t, err
}

// hasUnique reports whether ON CONFLICT can name exactly these columns.
func (t *table) hasUnique(key []string) bool {
	want := slices.Sorted(slices.Values(key))
	return slices.ContainsFunc(t.uniques, func(u []string) bool { return slices.Equal(u, want) })
}

// createTable makes the table that s describes, under another name, and returns it. Types that the target does not have
// become the type under them, or text.
func (s *Sink) createTable(ctx context.Context, name tableName, from *stream.TableSchema) (*table, error) {
	op := "create the table " + name.String()
	if err := s.createSchema(ctx, name); err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE TABLE IF NOT EXISTS %s (", name)
	var key []string
	for i, c := range from.Columns {
		typ, err := s.typeFor(ctx, c)
		if err != nil {
			return nil, failure(op, err)
		}
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, "\n\t%s %s", pgx.Identifier{c.Name}.Sanitize(), typ)
		if c.NotNull {
			b.WriteString(" NOT NULL")
		}
	}
	for _, c := range keyColumns(from) {
		key = append(key, pgx.Identifier{c}.Sanitize())
	}
	if len(key) > 0 {
		fmt.Fprintf(&b, ",\n\tPRIMARY KEY (%s)", strings.Join(key, ", "))
	}
	b.WriteString("\n)")
	if err := s.define(ctx, name.String(), b.String()); err != nil {
		return nil, err
	}
	t, err := lookTable(ctx, s.pool, name)
	if err != nil {
		return nil, failure(op, err)
	}
	if t == nil {
		return nil, fault.New(fault.Internal, op, "", "the table is not there after it was created")
	}
	return t, nil
}

// createSchema makes the table's schema where it is missing.
func (s *Sink) createSchema(ctx context.Context, name tableName) error {
	if name.schema == "" {
		return nil
	}
	var exists bool
	if err := s.pool.QueryRow(ctx, `SELECT to_regnamespace($1) IS NOT NULL`, quoteIdent(name.schema)).Scan(&exists); err != nil {
		return failure("look at the schema "+name.schema, err)
	}
	if exists {
		return nil
	}
	return s.define(ctx, name.String(), "CREATE SCHEMA IF NOT EXISTS "+quoteIdent(name.schema))
}

// keyColumns are the names of the record key's columns, in the key's order.
func keyColumns(s *stream.TableSchema) []string {
	var key []stream.Column
	for _, c := range s.Columns {
		if c.Key > 0 {
			key = append(key, c)
		}
	}
	slices.SortFunc(key, func(a, b stream.Column) int { return a.Key - b.Key })
	names := make([]string, len(key))
	for i, c := range key {
		names[i] = c.Name
	}
	return names
}

// typeFor is the type at the target for a column of the source: the same, else the one under a domain, else text.
func (s *Sink) typeFor(ctx context.Context, c stream.Column) (string, error) {
	for _, typ := range []string{c.Type, c.Base} {
		if typ == "" {
			continue
		}
		var ok bool
		// A type that needs no look is any that the server itself brings; the others are looked for by name.
		err := s.pool.QueryRow(ctx, `SELECT to_regtype($1) IS NOT NULL`, typ).Scan(&ok)
		if err != nil && classify(err) != refuse && classify(err) != schema && classify(err) != bug {
			return "", err
		}
		if err == nil && ok {
			return typ, nil
		}
	}
	array := strings.HasSuffix(c.Type, "[]")
	s.log.Warn("a column becomes text: the target does not have its type", "column", c.Name, "type", c.Type)
	if array {
		return "text[]", nil
	}
	return "text", nil
}

// define runs a statement that changes the target's schema, after the caller's callback has seen it.
func (s *Sink) define(ctx context.Context, table, statement string) error {
	op := "change the schema at the sink"
	if s.opts.Defining != nil {
		if err := s.opts.Defining(ctx, table, statement); err != nil {
			return fault.Wrap(fault.Internal, op, err, "")
		}
	}
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return failure(op, err)
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	// IF NOT EXISTS alone does not keep two sessions from creating the same thing at once.
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('freshet.define', 0))`); err != nil {
		return failure(op, err)
	}
	if _, err := tx.Exec(ctx, statement); err != nil {
		return failure(op, err)
	}
	return failure(op, tx.Commit(ctx))
}
