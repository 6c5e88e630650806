package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/replay"
)

var _ replay.Holder = (*Sink)(nil)

// heldLimit is how long a look at one row may take.
const heldLimit = 3 * time.Second

// Held reads the row of a change's key as the table has it, with the shard's progress, in one read-only transaction.
func (s *Sink) Held(ctx context.Context, shard replay.Shard, item *replay.Item) (replay.Held, error) {
	op := "look at the row of " + recordPlace(item.Record) + " at " + s.place
	var held replay.Held
	c := item.Change
	switch {
	case s.opts.Mode != Upsert:
		return held, fault.New(fault.Invalid, op, "", "it keeps every record, and no row of its own for a key")
	case c == nil:
		return held, fault.New(fault.Invalid, op, "", "the record is no change event")
	case c.Key.IsNull():
		return held, fault.New(fault.Invalid, op, "", "the record has no key")
	}
	name := s.table
	if name.name == "" {
		name = tableName{c.Schema, c.Table}
	}
	held.Table = name.String()
	tx, err := s.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return held, failure(op, err)
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	if _, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL statement_timeout = %d", heldLimit.Milliseconds())); err != nil {
		return held, failure(op, err)
	}
	if err := s.heldProgress(ctx, tx, shard, &held); err != nil {
		return held, failure(op, err)
	}
	t, err := lookTable(ctx, tx, name)
	if err != nil {
		return held, failure(op, err)
	}
	if t == nil {
		held.Why = "there is no such table"
		return held, nil
	}
	// Only the columns that both have can be compared.
	var row *stream.Value
	var names []string
	if !c.After.IsNull() {
		row = &c.After
	}
	for _, n := range fieldNames(nil, row) {
		if _, ok := t.byName[n]; ok {
			names = append(names, n)
		} else {
			held.Missing = append(held.Missing, n)
		}
	}
	w := &writer{sink: s}
	l, err := w.layoutOf(ctx, item, name, t, names)
	if err != nil {
		return held, err
	}
	if len(l.key) == 0 {
		return held, fault.New(fault.Invalid, op, "", "the records have no key columns")
	}
	err = s.heldRow(ctx, tx, op, l, item, row, &held)
	return held, err
}

// heldProgress reads what the sink holds the shard's progress to be; without any, Next is -1.
func (s *Sink) heldProgress(ctx context.Context, tx pgx.Tx, shard replay.Shard, held *replay.Held) error {
	held.Next = -1
	var exists bool
	if err := tx.QueryRow(ctx, `SELECT to_regclass('freshet.progress') IS NOT NULL`).Scan(&exists); err != nil || !exists {
		return err
	}
	var position string
	err := tx.QueryRow(ctx, `SELECT next_offset, position FROM freshet.progress WHERE owner = $1 AND topic = $2 AND partition = $3`,
		shard.Owner, shard.Topic, shard.Partition).Scan(&held.Next, &position)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err == nil && position != "" {
		held.Position, err = stream.ParsePosition(position)
	}
	return err
}

// heldRow selects the row by its key and compares it with the change's, in the database's own terms.
func (s *Sink) heldRow(ctx context.Context, tx pgx.Tx, op string, l *layout, item *replay.Item, row *stream.Value, held *replay.Held) error {
	b := &batch{items: []replay.Item{*item}}
	at, reason := b.keyCells(l, &item.Change.Key)
	if reason != "" {
		return fault.New(fault.Invalid, op, "", "%s", reason)
	}
	var args []any
	arg := func(cell int, c *column) string {
		var value any
		if text := b.value(cell); text != nil {
			value = string(text)
		}
		args = append(args, value)
		return fmt.Sprintf("$%d::text::%s", len(args), c.base)
	}
	var key, differ, names []string
	for i, k := range l.key {
		c := &l.table.columns[l.columns[k]]
		key = append(key, "t."+c.quoted+" = "+arg(at+i, c))
	}
	unsent, _, _ := unavailableOf(item.Record)
	for n := range l.names {
		if row == nil || l.columns[n] < 0 || slices.Contains(unsent, l.names[n]) {
			continue
		}
		v, sent := row.Get(l.names[n])
		if !sent || isPlaceholder(l.types[n], v) {
			continue
		}
		cell, err := b.cell(l.read[n], v)
		if err != nil {
			return fault.New(fault.Invalid, op, "", "column %s: %w", l.names[n], err)
		}
		b.cells = append(b.cells, cell)
		c := &l.table.columns[l.columns[n]]
		mine, theirs := "t."+c.quoted, arg(len(b.cells)-1, c)
		if c.asText {
			mine, theirs = mine+"::text", "("+theirs+")::text"
		}
		differ = append(differ, mine+" IS DISTINCT FROM "+theirs)
		names = append(names, l.names[n])
	}
	var text string
	var differs []bool
	err := tx.QueryRow(ctx, "SELECT row_to_json(t)::text, ARRAY["+strings.Join(differ, ", ")+"]::boolean[] FROM "+l.table.name+" AS t WHERE "+strings.Join(key, " AND ")+" LIMIT 1", args...).
		Scan(&text, &differs)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return failure(op, err)
	}
	held.Found, held.Row = true, []byte(text)
	for i, d := range differs {
		if d {
			held.Differs = append(held.Differs, names[i])
		}
	}
	return nil
}
