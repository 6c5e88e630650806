package postgres

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"freshet/backend/decode"
	"freshet/backend/stream"
	"freshet/replay"
)

type opKind uint8

const (
	put      opKind = iota // the row of a key becomes this
	remove                 // the row of a key goes
	move                   // the row of a key gets another key
	truncate               // all rows go
	empty                  // all rows go, unless another shard of the topic has seen the new source first
	add                    // one more row of a table without a key
	swap                   // one row, equal in all columns, becomes another
	drop                   // one row, equal in all columns, goes
)

// op is one effect of one item.
type op struct {
	kind   opKind
	item   int // in the batch
	layout *layout
	key    string // of put and remove: the same for the same key
	cells  int    // where in batch.cells the row starts, or the key for remove and move
	other  int    // where the previous row of swap, or the new key of move, starts
	// unset says that some cells of the row are unavailable.
	unset bool
}

// cell is one value as text, a stretch of batch.text.
type cell struct{ from, to int }

// What cell.from is for a value that has no text.
const (
	isNull = -1
	unset  = -2 // the source did not send it
	unread = -3
)

// batch is what a replay.Write asks for.
type batch struct {
	items   []replay.Item
	text    []byte
	cells   []cell
	ops     []op
	refused []replay.Refusal
	outcome outcome
}

func (b *batch) refuse(item int, reason string) {
	b.refused = append(b.refused, replay.Refusal{Offset: b.items[item].Record.Offset, Reason: reason})
}

// layout is how rows of one shape go into one table.
type layout struct {
	table   *table
	names   []string // of the row's fields, in the envelope's order
	columns []int    // of names in table.columns, -1 for one that the server computes
	read    []convert
	types   []pgType // of the source, or the target's where that is unknown
	key     []int    // in names; empty where the table has no key
	noKeyAt string   // why key cannot be used for ON CONFLICT, "" where it can
	made    string   // the statement that would mend it
	sql     map[string]string
}

// read turns the items into operations.
func (w *writer) read(ctx context.Context, in replay.Write) (*batch, error) {
	b := &batch{items: in.Items, outcome: outcome{next: in.Next, position: w.position}}
	for i := range in.Items {
		item := &in.Items[i]
		if item.Record.Offset < w.next {
			b.outcome.written.Duplicate++ // an unsure batch that turned out to be committed, cut differently now
			continue
		}
		applied, err := w.readItem(ctx, b, i)
		if err != nil {
			return nil, err
		}
		if applied {
			b.outcome.written.Applied++
		}
	}
	return b, nil
}

// readItem adds what one item asks for. applied is false where it is a duplicate or refused.
func (w *writer) readItem(ctx context.Context, b *batch, i int) (applied bool, err error) {
	item := &b.items[i]
	c := item.Change
	if c != nil && !c.Position.IsZero() {
		last := b.outcome.position
		order, same := c.Position.Compare(last)
		if same && w.sink.opts.Mode == Upsert {
			if order < 0 || order == 0 && !keyChange(item.Record) {
				b.outcome.written.Duplicate++
				return false, nil
			}
		}
		b.outcome.position = c.Position
		if !same && !last.IsZero() && c.Op == stream.Read && w.sink.opts.Mode == Upsert {
			l, err := w.layoutFor(ctx, item, &c.After)
			if err != nil {
				return false, err
			}
			b.ops = append(b.ops, op{kind: empty, item: i, layout: l})
		}
	}
	if w.sink.opts.Mode == Append {
		return true, w.readRecord(ctx, b, i)
	}
	if c == nil {
		if item.Record.Value == nil {
			return w.readTombstone(ctx, b, i)
		}
		b.refuse(i, "not a change event")
		return false, nil
	}
	switch c.Op {
	case stream.Create, stream.Read, stream.Update:
		return w.readRow(ctx, b, i)
	case stream.Delete:
		return w.readDelete(ctx, b, i)
	case stream.Truncate:
		l, err := w.layoutFor(ctx, item, nil)
		if err != nil {
			return false, err
		}
		if l != nil {
			b.ops = append(b.ops, op{kind: truncate, item: i, layout: l})
		}
	}
	return true, nil // a message has no row
}

// keyChange reports whether rec is half of a changed key. Its halves share a position: the second one is no duplicate
// of the first, and applying either again changes nothing.
func keyChange(rec *stream.Record) bool {
	if _, ok := rec.Header(stream.NewKeyHeader); ok {
		return true
	}
	_, ok := rec.Header(stream.OldKeyHeader)
	return ok
}

// readTombstone reads a record with a key and nothing else: the row goes, as it has already where the delete before it
// was not compacted away.
func (w *writer) readTombstone(ctx context.Context, b *batch, i int) (bool, error) {
	rec := b.items[i].Record
	if h, ok := rec.Header(stream.PositionHeader); ok {
		p, err := stream.ParsePosition(string(h))
		if err != nil {
			b.refuse(i, "a malformed position")
			return false, nil
		}
		order, same := p.Compare(b.outcome.position)
		if same && order < 0 {
			b.outcome.written.Duplicate++
			return false, nil
		}
		if same && order == 0 {
			return true, nil // of the delete just applied
		}
	}
	if rec.Key == nil {
		return true, nil
	}
	l, err := w.layoutFor(ctx, &b.items[i], nil)
	if err != nil || l == nil || len(l.key) == 0 {
		return err == nil, err
	}
	key, err := decode.Key(rec.Key)
	if err != nil {
		b.refuse(i, "the key is no JSON object of key columns")
		return false, nil
	}
	return w.readKey(b, i, op{kind: remove, item: i, layout: l}, &key, nil)
}

// readKey adds an operation on the row of a key; newKey is set for a move.
func (w *writer) readKey(b *batch, i int, o op, key, newKey *stream.Value) (bool, error) {
	l := o.layout
	if l.noKeyAt != "" {
		return false, l.blockKey(w, b, i)
	}
	var reason string
	if o.cells, reason = b.keyCells(l, key); reason == "" {
		o.key = b.keyText(l, o.cells)
		if newKey != nil {
			o.other, reason = b.keyCells(l, newKey)
		}
	}
	if reason != "" {
		b.refuse(i, reason)
		return false, nil
	}
	b.ops = append(b.ops, o)
	return true, nil
}

func (l *layout) blockKey(w *writer, b *batch, i int) error {
	return blocked(w.at(b, i, l), "run "+l.made+" on the target, then resume", "%s", l.noKeyAt)
}

// at names the item for a person.
func (w *writer) at(b *batch, i int, l *layout) string {
	return "write " + recordPlace(b.items[i].Record) + " to " + l.table.name
}

func (w *writer) readDelete(ctx context.Context, b *batch, i int) (bool, error) {
	item := &b.items[i]
	c := item.Change
	row := &c.Before
	if row.IsNull() {
		row = nil
	}
	l, err := w.layoutFor(ctx, item, row)
	if err != nil || l == nil {
		return err == nil, err
	}
	if len(l.key) == 0 {
		if row == nil {
			b.refuse(i, "a delete without a key and without the row as it was: REPLICA IDENTITY FULL is needed at the source")
			return false, nil
		}
		o := op{kind: drop, item: i, layout: l}
		var reason string
		if o.cells, _, reason = b.rowCells(l, row, nil, nil); reason != "" {
			b.refuse(i, reason)
			return false, nil
		}
		b.ops = append(b.ops, o)
		return true, nil
	}
	key := &c.Key
	if key.IsNull() {
		key = row
	}
	if h, ok := item.Record.Header(stream.NewKeyHeader); ok {
		newKey, err := decode.Key(h)
		if err != nil || newKey.IsNull() {
			b.refuse(i, "the new key in header "+stream.NewKeyHeader+" is no JSON object of key columns")
			return false, nil
		}
		return w.readKey(b, i, op{kind: move, item: i, layout: l}, key, &newKey)
	}
	return w.readKey(b, i, op{kind: remove, item: i, layout: l}, key, nil)
}

func (w *writer) readRow(ctx context.Context, b *batch, i int) (bool, error) {
	item := &b.items[i]
	c := item.Change
	l, err := w.layoutFor(ctx, item, &c.After)
	if err != nil {
		return false, err
	}
	absent, captured, reason := unavailableOf(item.Record)
	if reason != "" {
		b.refuse(i, reason)
		return false, nil
	}
	o := op{kind: put, item: i, layout: l}
	is := func(name string, t pgType, v *stream.Value) bool {
		if captured {
			return slices.Contains(absent, name)
		}
		return isPlaceholder(t, v)
	}
	if captured && len(absent) == 0 {
		is = nil
	}
	if o.cells, o.unset, reason = b.rowCells(l, &c.After, &c.Key, is); reason != "" {
		b.refuse(i, reason)
		return false, nil
	}
	if len(l.key) > 0 {
		if l.noKeyAt != "" {
			return false, l.blockKey(w, b, i)
		}
		at := len(b.cells)
		for _, k := range l.key {
			cell := b.cells[o.cells+k]
			if cell.from < 0 {
				b.refuse(i, "no value for the key column "+l.names[k])
				return false, nil
			}
			b.cells = append(b.cells, cell)
		}
		o.key = b.keyText(l, at)
		b.cells = b.cells[:at]
		b.ops = append(b.ops, o)
		return true, nil
	}
	if o.kind = add; c.Op == stream.Update {
		o.kind = swap
		if c.Before.IsNull() {
			b.refuse(i, "an update without a key and without the row as it was: REPLICA IDENTITY FULL is needed at the source")
			return false, nil
		}
		if o.other, _, reason = b.rowCells(l, &c.Before, nil, nil); reason != "" {
			b.refuse(i, reason)
			return false, nil
		}
	}
	if o.unset {
		b.refuse(i, "a large value is missing, and without a key there is no row to keep it from")
		return false, nil
	}
	b.ops = append(b.ops, o)
	return true, nil
}

// rowCells appends the cells of a row in the layout's order and returns where they start. Key columns that the row
// leaves out are taken from key. asks tells which values the source did not send; nil none.
func (b *batch) rowCells(l *layout, row, key *stream.Value, asks func(string, pgType, *stream.Value) bool) (at int, anyUnset bool, reason string) {
	at = len(b.cells)
	for range l.names {
		b.cells = append(b.cells, cell{unread, unread})
	}
	for j := range row.Fields {
		f := &row.Fields[j]
		n := j
		if n >= len(l.names) || l.names[n] != f.Name {
			if n = slices.Index(l.names, f.Name); n < 0 {
				return at, false, "a column that the table's schema does not have"
			}
		}
		switch {
		case asks != nil && asks(f.Name, l.types[n], &f.Value):
			b.cells[at+n] = cell{unset, unset}
			anyUnset = true
		case l.columns[n] < 0:
			b.cells[at+n] = cell{isNull, isNull}
		default:
			var err error
			if b.cells[at+n], err = b.cell(l.read[n], &f.Value); err != nil {
				return at, false, "column " + f.Name + ": " + err.Error()
			}
		}
	}
	for n := range l.names {
		if b.cells[at+n].from != unread {
			continue
		}
		var v *stream.Value
		if key != nil && key.Kind == stream.Object && slices.Contains(l.key, n) {
			v, _ = key.Get(l.names[n])
		}
		if v == nil {
			return at, false, "no value for column " + l.names[n]
		}
		var err error
		if b.cells[at+n], err = b.cell(l.read[n], v); err != nil {
			return at, false, "column " + l.names[n] + ": " + err.Error()
		}
	}
	return at, anyUnset, ""
}

// keyCells appends the cells of a key and returns where they start.
func (b *batch) keyCells(l *layout, key *stream.Value) (at int, reason string) {
	at = len(b.cells)
	for _, k := range l.key {
		var v *stream.Value
		if key != nil && key.Kind == stream.Object {
			v, _ = key.Get(l.names[k])
		}
		if v.IsNull() {
			return at, "no value for the key column " + l.names[k]
		}
		c, err := b.cell(l.read[k], v)
		if err != nil {
			return at, "key column " + l.names[k] + ": " + err.Error()
		}
		b.cells = append(b.cells, c)
	}
	return at, ""
}

func (b *batch) cell(read convert, v *stream.Value) (cell, error) {
	if v.IsNull() {
		return cell{isNull, isNull}, nil
	}
	from := len(b.text)
	var err error
	b.text, err = read(b.text, v)
	return cell{from, len(b.text)}, err
}

// keyText makes one string of a key's cells; different keys make different strings. A decimal may be written with other
// zeros at its end in the key than in the row.
func (b *batch) keyText(l *layout, at int) string {
	var s []byte
	for i, k := range l.key {
		c := b.cells[at+i]
		text := b.text[c.from:c.to]
		if t := l.types[k]; t.name == "numeric" && !t.array && bytes.IndexByte(text, '.') >= 0 {
			text = bytes.TrimSuffix(bytes.TrimRight(text, "0"), []byte{'.'})
		}
		if len(l.key) == 1 {
			return string(text)
		}
		s = binary.AppendUvarint(s, uint64(len(text)))
		s = append(s, text...)
	}
	return string(s)
}

// unavailableOf reads which columns a captured record lists as not sent. captured is false for a record of another
// connector, which only holds placeholders.
func unavailableOf(rec *stream.Record) (names []string, captured bool, reason string) {
	h, ok := rec.Header(stream.UnavailableHeader)
	if !ok {
		_, captured = rec.Header(stream.PositionHeader)
		return nil, captured, ""
	}
	v, err := decode.JSON(h)
	if err != nil || v.Kind != stream.List {
		return nil, true, "header " + stream.UnavailableHeader + " is no JSON array of names"
	}
	for i := range v.List {
		names = append(names, v.List[i].Text)
	}
	return names, true, ""
}

const (
	placeholderBase64 = "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="
	placeholderHstore = `{"` + stream.UnavailableText + `":"` + stream.UnavailableText + `"}`
	placeholderUUID   = "b68a35a7-17ad-35b3-af2a-ae46edb4545a"
)

// isPlaceholder reports whether v is what Debezium writes for a value that the source did not send.
func isPlaceholder(t pgType, v *stream.Value) bool {
	switch v.Kind {
	case stream.String:
		return v.Text == stream.UnavailableText || v.Text == placeholderHstore ||
			v.Text == placeholderBase64 && (t.name == "bytea" || t.name == "numeric")
	case stream.List:
		switch len(v.List) {
		case 1:
			s := v.List[0].Text
			return s == stream.UnavailableText || s == placeholderBase64 && t.name == "bytea" || s == placeholderUUID && t.name == "uuid"
		case len(stream.UnavailableText):
			for i := range v.List {
				if n, err := integer(&v.List[i]); err != nil || n != int64(stream.UnavailableText[i]) {
					return false
				}
			}
			return true
		}
	case stream.Object:
		if t.name != "hstore" && !strings.HasSuffix(t.name, ".hstore") {
			return false
		}
		return len(v.Fields) == 1 && v.Fields[0].Name == stream.UnavailableText
	}
	return false
}

// layoutFor returns how the item's rows go into its table, creating the table where that is missing and allowed. row is
// the row at hand, nil for none; without a row the layout of the last change is used, and where there was none and the
// table is not there either, nil.
func (w *writer) layoutFor(ctx context.Context, item *replay.Item, row *stream.Value) (*layout, error) {
	name := w.table
	if name.name == "" {
		if item.Change != nil {
			name = tableName{item.Change.Schema, item.Change.Table}
		} else if item.Schema != nil {
			name = tableName{item.Schema.Schema, item.Schema.Table}
		} else if w.last != nil && strings.HasSuffix(item.Record.Topic, "."+w.lastName.name) {
			return w.last, nil // the topic is this table's alone, by its name
		} else {
			return nil, nil
		}
	}
	if l := w.last; l != nil && w.lastName == name && w.lastSchema == schemaID(item.Schema) && (row == nil || l.fits(row)) {
		return l, nil
	}
	names := fieldNames(item.Schema, row)
	if names == nil {
		// A truncate or tombstone before any row, of records that name no schema: the table's own columns will do.
		t, err := lookTable(ctx, w.sink.pool, name)
		if err != nil {
			return nil, failure("look at the table "+name.String(), err)
		}
		if t == nil {
			return nil, nil
		}
		for _, c := range t.columns {
			names = append(names, c.name)
		}
	}
	id := schemaID(item.Schema) + "\x00" + name.String() + "\x00" + strings.Join(names, "\x00")
	l := w.layouts[id]
	if l == nil {
		var err error
		if l, err = w.newLayout(ctx, item, name, names); err != nil {
			return nil, err
		}
		w.layouts[id] = l
	}
	w.last, w.lastName, w.lastSchema = l, name, schemaID(item.Schema)
	return l, nil
}

func schemaID(s *stream.TableSchema) string {
	if s == nil {
		return ""
	}
	return s.ID
}

// fits reports whether row has exactly the layout's fields, in its order.
func (l *layout) fits(row *stream.Value) bool {
	if len(row.Fields) != len(l.names) {
		return false
	}
	for i := range row.Fields {
		if row.Fields[i].Name != l.names[i] {
			return false
		}
	}
	return true
}

// fieldNames are the row's, or where there is none the schema's.
func fieldNames(s *stream.TableSchema, row *stream.Value) []string {
	var names []string
	if row != nil {
		for i := range row.Fields {
			if n := row.Fields[i].Name; !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
		return names
	}
	if s != nil {
		for _, c := range s.Columns {
			names = append(names, c.Name)
		}
	}
	return names
}

// newLayout looks at the table and matches the fields with its columns.
func (w *writer) newLayout(ctx context.Context, item *replay.Item, name tableName, names []string) (*layout, error) {
	op := "match " + recordPlace(item.Record) + " with the table " + name.String()
	t, err := lookTable(ctx, w.sink.pool, name)
	if err != nil {
		return nil, failure(op, err)
	}
	if t == nil {
		switch {
		case item.Schema == nil:
			return nil, blocked(op, "create the table, then resume", "there is no such table, and the records do not name their columns' types")
		case w.sink.opts.NoCreateTables:
			return nil, blocked(op, "create the table, or allow the sink to, then resume", "there is no such table")
		}
		if t, err = w.sink.createTable(ctx, name, item.Schema); err != nil {
			return nil, err
		}
	}
	return w.layoutOf(ctx, item, name, t, names)
}

// layoutOf matches the fields with the columns of a table that is there.
func (w *writer) layoutOf(ctx context.Context, item *replay.Item, name tableName, t *table, names []string) (*layout, error) {
	op := "match " + recordPlace(item.Record) + " with the table " + name.String()
	var err error
	l := &layout{table: t, sql: map[string]string{}}
	h := handling(w.sink.opts.Handling)
	source := map[string]stream.Column{}
	var key []string
	if item.Schema != nil {
		h = handling(item.Schema.Handling)
		for _, c := range item.Schema.Columns {
			source[c.Name] = c
		}
		key = keyColumns(item.Schema)
	} else if item.Change != nil {
		for i := range item.Change.Key.Fields {
			key = append(key, item.Change.Key.Fields[i].Name)
		}
	}
	for _, k := range key {
		if !slices.Contains(names, k) {
			names = append(names, k)
		}
	}
	var missing []string
	for _, n := range names {
		at, ok := t.byName[n]
		if !ok {
			typ := "text"
			if c, known := source[n]; known {
				if typ, err = w.sink.typeFor(ctx, c); err != nil {
					return nil, failure(op, err)
				}
			}
			missing = append(missing, "ADD COLUMN "+quoteIdent(n)+" "+typ)
			continue
		}
		col := t.columns[at]
		typ := parseType(col.under)
		if c, known := source[n]; known {
			if typ = parseType(c.Type); c.Base != "" {
				typ = parseType(c.Base)
			}
		}
		if col.computed {
			at = -1
		}
		l.names = append(l.names, n)
		l.columns = append(l.columns, at)
		l.types = append(l.types, typ)
		read := converter(typ, h)
		if source[n].Opaque {
			if read = opaqueOf(h.get("binary.handling.mode", "bytes")); typ.array {
				read = arrayOf(read)
			}
		}
		l.read = append(l.read, read)
	}
	if len(missing) > 0 {
		return nil, blocked(op, "run ALTER TABLE "+t.name+" "+strings.Join(missing, ", ")+"; on the target, then resume",
			"the table lacks %d of the record's columns", len(missing))
	}
	for _, k := range key {
		at := slices.Index(l.names, k)
		if l.columns[at] < 0 {
			return nil, blocked(op, "make it a plain column, then resume", "the server computes the key column %s", k)
		}
		l.key = append(l.key, at)
	}
	if len(key) > 0 && !t.hasUnique(key) {
		quotedKey := make([]string, len(key))
		for i, k := range key {
			quotedKey[i] = quoteIdent(k)
		}
		l.noKeyAt = "the table has no unique index on the key of the records"
		l.made = "ALTER TABLE " + t.name + " ADD UNIQUE (" + strings.Join(quotedKey, ", ") + ");"
	}
	return l, nil
}

func recordPlace(r *stream.Record) string {
	return fmt.Sprintf("%s/%d:%d", r.Topic, r.Partition, r.Offset)
}

func quoteIdent(s string) string { return pgx.Identifier{s}.Sanitize() }
