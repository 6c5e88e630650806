package postgres

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"freshet/backend/cdc"
	"freshet/backend/fault"
	"freshet/backend/stream"
)

// snapshot reads all tables as they were at the slot's consistent point. r is the connection that made the slot, whose
// exported snapshot lives until it says something else.
func (s *Source) snapshot(ctx context.Context, w *cdc.Writer, r *replication, p *Plan, d *detail, name string) error {
	const op = "read the snapshot"
	conn, err := s.open(ctx, false, maxStreamBody)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return s.fault(op, err)
	}
	if _, err := tx.Exec(ctx, "SET TRANSACTION SNAPSHOT "+quoteLiteral(name)); err != nil {
		return s.fault(op, err)
	}
	r.close()
	var at time.Time
	if err := tx.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&at); err != nil {
		return s.fault(op, err)
	}
	// A transaction may commit right at the consistent point, so the snapshot stands just before it.
	position := d.ConsistentPoint - 1
	c := &copier{ctx: ctx, s: s, w: w, env: s.newEnvelope(), lsn: d.ConsistentPoint}
	c.env.begin(at.UnixMicro(), "true", 0, 0)
	w.Begin(position, at)
	cat := s.newCatalog(tx)
	for i, t := range p.tables {
		w.SetState(cdc.Snapshot, fmt.Sprintf("table %s, %d of %d", t, i+1, len(p.tables)))
		if err := c.table(ctx, tx, cat, &t); err != nil {
			return s.fault(op, err)
		}
	}
	if err := c.flush(true, true); err != nil {
		return s.fault(op, err)
	}
	w.Commit(d.ConsistentPoint)
	return s.fault(op, tx.Commit(ctx))
}

// copier makes records of the rows that COPY writes. It holds one row back, to know the last of a table and of all.
type copier struct {
	ctx context.Context
	s   *Source
	w   *cdc.Writer
	env *envelope
	lsn uint64

	relation *relation // of the rows being written

	held         []byte // a line
	heldRelation *relation
	heldFirst    bool // of its table
	any          bool // a row was emitted before the held one
	marker       string
	rest         []byte // of a line whose end has not come
	row          tuple
}

func (c *copier) table(ctx context.Context, tx pgx.Tx, cat *catalog, t *table) error {
	sh, err := t.shape(ctx, tx)
	if err != nil {
		return err
	}
	if c.relation, err = c.s.newRelation(ctx, c.w, cat, sh); err != nil {
		return err
	}
	var columns []string
	for _, col := range sh.columns {
		columns = append(columns, quoteIdent(col.name))
	}
	only := "ONLY "
	if t.partitioned {
		only = ""
	}
	sql := fmt.Sprintf("COPY (SELECT %s FROM %s%s) TO STDOUT", strings.Join(columns, ", "), only, quoteTable(t.Table))
	if _, err := tx.Conn().PgConn().CopyTo(ctx, c, sql); err != nil {
		return err
	}
	if len(c.rest) > 0 {
		return fault.New(fault.Internal, "read the snapshot of "+t.String(), "please report this", "its last row has no end")
	}
	return nil
}

// Write takes lines as COPY's text form has them.
func (c *copier) Write(p []byte) (int, error) {
	size := len(p)
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			c.rest = append(c.rest, p...)
			break
		}
		line := p[:end]
		if len(c.rest) > 0 {
			c.rest = append(c.rest, line...)
			line = c.rest
		}
		if err := c.line(line); err != nil {
			return 0, err
		}
		c.rest = c.rest[:0]
		p = p[end+1:]
	}
	return size, nil
}

// line holds a row back and emits the one before it.
func (c *copier) line(line []byte) error {
	first := c.heldRelation != c.relation
	if err := c.flush(first, false); err != nil {
		return err
	}
	c.held = append(c.held[:0], line...)
	c.heldRelation, c.heldFirst = c.relation, first
	return nil
}

// flush emits the held row; it is the last of its table, or of all.
func (c *copier) flush(lastOfTable, last bool) error {
	if c.heldRelation == nil {
		return nil
	}
	marker := "true"
	switch {
	case last:
		marker = "last"
	case !c.any:
		marker = "first"
	case lastOfTable:
		marker = "last_in_data_collection"
	case c.heldFirst:
		marker = "first_in_data_collection"
	}
	if marker != c.marker {
		c.marker = marker
		c.env.mark(marker, 0)
	}
	c.any = true
	c.env.at(time.Now().UnixMicro())
	if !copyRow(&c.row, c.held, len(c.heldRelation.shape.columns)) {
		return fault.New(fault.Internal, "read the snapshot of "+c.heldRelation.table.String(), "please report this", "a row has not the columns that it should")
	}
	return c.s.put(c.ctx, c.w, c.env, c.heldRelation, stream.Read, nil, &c.row, nil, nil, c.lsn)
}

// copyRow takes a line apart in place.
func copyRow(t *tuple, line []byte, columns int) bool {
	t.reset()
	if columns == 0 {
		return len(line) == 0
	}
	start, to, null := 0, 0, false
	field := func() {
		if null {
			t.add('n', nil)
		} else {
			t.add('t', line[start:to:to])
		}
	}
	for i := 0; i < len(line); i++ {
		b := line[i]
		switch b {
		case '\t':
			field()
			start, to, null = i+1, i+1, false
			continue
		case '\\':
			i++
			if i == len(line) {
				return false
			}
			switch b = line[i]; b {
			case 'N': // a value's own backslash is doubled
				null = true
			case 'b':
				b = '\b'
			case 'f':
				b = '\f'
			case 'n':
				b = '\n'
			case 'r':
				b = '\r'
			case 't':
				b = '\t'
			case 'v':
				b = '\v'
			}
		}
		line[to] = b
		to++
	}
	field()
	return len(t.kinds) == columns
}
