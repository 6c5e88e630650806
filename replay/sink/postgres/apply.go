package postgres

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"freshet/backend/decode"
	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/replay"
)

// applier carries a batch's operations out in one transaction.
type applier struct {
	conn       *pgx.Conn
	tx         pgx.Tx
	w          *writer
	b          *batch
	refused    []replay.Refusal
	incomplete int64
	params     [][]byte // reused from statement to statement
}

// rowsPerStatement bounds what one statement is given.
const rowsPerStatement = 10000

// careful applies ops by halves, each under a savepoint, so that what PostgreSQL refuses is alone in the end.
func (a *applier) careful(ctx context.Context, ops []op) error {
	if len(ops) == 0 {
		return nil
	}
	incomplete, refused := a.incomplete, len(a.refused)
	nested, err := a.tx.Begin(ctx)
	if err != nil {
		return err
	}
	if err = a.run(ctx, ops); err == nil {
		return nested.Commit(ctx)
	}
	class := classify(err)
	if class != refuse && class != schema {
		return err
	}
	if rollback := nested.Rollback(ctx); rollback != nil {
		return rollback
	}
	a.incomplete, a.refused = incomplete, a.refused[:refused]
	if n := len(ops); n > 1 {
		if err := a.careful(ctx, ops[:n/2]); err != nil {
			return err
		}
		return a.careful(ctx, ops[n/2:])
	}
	if o := ops[0]; class == schema {
		return failure(a.w.at(a.b, o.item, o.layout), err)
	}
	a.refuse(ops[0].item, describe(err))
	return nil
}

func (a *applier) refuse(item int, reason string) {
	a.refused = append(a.refused, replay.Refusal{Offset: a.b.items[item].Record.Offset, Reason: reason})
}

// run applies ops in order. Neighbours that may be taken together are.
func (a *applier) run(ctx context.Context, ops []op) error {
	for len(ops) > 0 {
		first := &ops[0]
		n := 1
		for n < len(ops) && n < rowsPerStatement && ops[n].layout == first.layout && together(first.kind, ops[n].kind) {
			n++
		}
		var err error
		switch first.kind {
		case put, remove:
			err = a.keyed(ctx, ops[:n])
		case add:
			err = a.insert(ctx, first.layout, ops[:n], false)
		case move:
			err = a.move(ctx, first)
		case swap, drop:
			err = a.one(ctx, first)
		case truncate:
			err = a.exec(ctx, "TRUNCATE TABLE "+first.layout.table.name)
		case empty:
			err = a.empty(ctx, first)
		}
		if err != nil {
			return err
		}
		ops = ops[n:]
	}
	return nil
}

func together(a, b opKind) bool {
	return (a == put || a == remove) && (b == put || b == remove) || a == add && b == add
}

// keyed applies puts and removes: of each key only what it comes to, in the keys' order, so that two writers that meet
// wait for one another instead of deadlocking.
func (a *applier) keyed(ctx context.Context, ops []op) error {
	l := ops[0].layout
	type end struct {
		op      op
		removed bool // before op, where op is a put with values that the source did not send
	}
	ends := make(map[string]end, len(ops))
	for _, o := range ops {
		e, seen := ends[o.key]
		switch {
		case o.kind == remove:
			e.removed = false
		case !o.unset:
			e.removed = false
		case seen && e.op.kind == put:
			o = a.fill(l, o, e.op)
		case seen:
			e.removed = true
		}
		e.op = o
		ends[o.key] = e
	}
	var removes, puts []op
	partial := map[string][]op{}
	for _, e := range ends {
		switch {
		case e.op.kind == remove:
			removes = append(removes, e.op)
		case e.op.unset:
			mask := a.mask(l, e.op)
			partial[mask] = append(partial[mask], e.op)
			if e.removed {
				gone := e.op
				gone.kind, gone.cells = remove, len(a.b.cells)
				for _, k := range l.key {
					a.b.cells = append(a.b.cells, a.b.cells[e.op.cells+k])
				}
				removes = append(removes, gone)
			}
		default:
			puts = append(puts, e.op)
		}
	}
	byKey := func(x, y op) int { return cmp.Compare(x.key, y.key) }
	slices.SortFunc(removes, byKey)
	slices.SortFunc(puts, byKey)
	if err := a.remove(ctx, l, removes); err != nil {
		return err
	}
	if err := a.insert(ctx, l, puts, true); err != nil {
		return err
	}
	masks := make([]string, 0, len(partial))
	for mask := range partial {
		masks = append(masks, mask)
	}
	slices.Sort(masks)
	for _, mask := range masks {
		slices.SortFunc(partial[mask], byKey)
		if err := a.update(ctx, l, mask, partial[mask]); err != nil {
			return err
		}
	}
	return nil
}

// fill takes the values that o lacks from the put of the same key before it.
func (a *applier) fill(l *layout, o, from op) op {
	at := len(a.b.cells)
	a.b.cells = append(a.b.cells, a.b.cells[o.cells:o.cells+len(l.names)]...)
	o.cells, o.unset = at, false
	for n := range l.names {
		if a.b.cells[at+n].from == unset {
			a.b.cells[at+n] = a.b.cells[from.cells+n]
			o.unset = o.unset || a.b.cells[at+n].from == unset
		}
	}
	return o
}

// mask has a 1 for each field that is to be written.
func (a *applier) mask(l *layout, o op) string {
	m := make([]byte, len(l.names))
	for n := range l.names {
		m[n] = '1'
		if a.b.cells[o.cells+n].from == unset {
			m[n] = '0'
		}
	}
	return string(m)
}

// each is the fields of the layout that the server does not compute itself.
func (l *layout) each(yield func(n int, c *column) bool) {
	for n, at := range l.columns {
		if at >= 0 && !yield(n, &l.table.columns[at]) {
			return
		}
	}
}

// cast is the n-th field in the rows u, in the column's type.
func (l *layout) cast(n int) string {
	return "u.c" + strconv.Itoa(n) + "::" + l.table.columns[l.columns[n]].base
}

// unnest is the rows of a statement as u: parameter i+1 holds the texts of field fields[i].
func unnest(fields []int, ordinality bool) string {
	var arrays, names []string
	for i, n := range fields {
		arrays = append(arrays, "$"+strconv.Itoa(i+1)+"::text[]")
		names = append(names, "c"+strconv.Itoa(n))
	}
	with := ""
	if ordinality {
		with = " WITH ORDINALITY"
		names = append(names, "n")
	}
	return "unnest(" + strings.Join(arrays, ", ") + ")" + with + " AS u(" + strings.Join(names, ", ") + ")"
}

func (l *layout) isKey(n int) bool { return slices.Contains(l.key, n) }

// insert writes whole rows; with upsert, over those of the same key.
func (a *applier) insert(ctx context.Context, l *layout, ops []op, upsert bool) error {
	if len(ops) == 0 {
		return nil
	}
	var fields []int
	for n := range l.each {
		fields = append(fields, n)
	}
	name := "insert"
	if upsert {
		name = "upsert"
	}
	sql, ok := l.sql[name]
	if !ok {
		var columns, values, sets []string
		for n, c := range l.each {
			columns = append(columns, c.quoted)
			values = append(values, l.cast(n))
			if !l.isKey(n) {
				sets = append(sets, c.quoted+" = excluded."+c.quoted)
			}
		}
		sql = "INSERT INTO " + l.table.name + " (" + strings.Join(columns, ", ") + ")" + l.overriding() +
			" SELECT " + strings.Join(values, ", ") + " FROM " + unnest(fields, false)
		if upsert {
			sql += " ON CONFLICT (" + l.keyList("") + ") DO "
			if len(sets) == 0 {
				sql += "NOTHING"
			} else {
				sql += "UPDATE SET " + strings.Join(sets, ", ")
			}
		}
		l.sql[name] = sql
	}
	_, err := a.rows(ctx, sql, ops, fields, fields)
	return err
}

func (l *layout) overriding() string {
	if l.table.identity {
		return " OVERRIDING SYSTEM VALUE"
	}
	return ""
}

func (l *layout) keyList(prefix string) string {
	var key []string
	for _, k := range l.key {
		key = append(key, prefix+l.table.columns[l.columns[k]].quoted)
	}
	return strings.Join(key, ", ")
}

// matchKey compares the key of t with the rows u.
func (l *layout) matchKey() string {
	var on []string
	for _, k := range l.key {
		on = append(on, "t."+l.table.columns[l.columns[k]].quoted+" = "+l.cast(k))
	}
	return strings.Join(on, " AND ")
}

// update writes the fields of the mask into rows that are there. Rows that are not are made with NULL for the others, or
// refused.
func (a *applier) update(ctx context.Context, l *layout, mask string, ops []op) error {
	var fields []int
	for n := range l.each {
		if mask[n] == '1' {
			fields = append(fields, n)
		}
	}
	sql, ok := l.sql["update "+mask]
	if !ok {
		var sets []string
		for n, c := range l.each {
			if mask[n] == '1' && !l.isKey(n) {
				sets = append(sets, c.quoted+" = "+l.cast(n))
			}
		}
		if len(sets) == 0 { // only the key is known: the row stays as it is
			sets = append(sets, l.keyList("")+" = "+l.keyList("t."))
			if len(l.key) > 1 {
				sets[0] = "(" + l.keyList("") + ") = ROW (" + l.keyList("t.") + ")"
			}
		}
		sql = "UPDATE " + l.table.name + " AS t SET " + strings.Join(sets, ", ") + " FROM " + unnest(fields, true) +
			" WHERE " + l.matchKey() + " RETURNING u.n"
		l.sql["update "+mask] = sql
	}
	found, err := a.rows(ctx, sql, ops, fields, fields)
	if err != nil {
		return err
	}
	if len(found) == len(ops) {
		return nil
	}
	there := make([]bool, len(ops))
	for _, v := range found {
		n := binary.BigEndian.Uint64(v)
		if n == 0 || n > uint64(len(ops)) {
			return fault.New(fault.Internal, "update "+l.table.name, "", "the server returned a row that was not asked for")
		}
		there[n-1] = true
	}
	var absent []op
	for i, o := range ops {
		if there[i] {
			continue
		}
		reason := ""
		for n, c := range l.each {
			if mask[n] == '0' && (c.notNull || a.w.sink.opts.Missing == MissingRefuse) {
				reason = "the change does not carry column " + c.name + ", and there is no row to keep it from"
				break
			}
		}
		if reason != "" {
			a.refuse(o.item, reason)
			continue
		}
		at := len(a.b.cells)
		a.b.cells = append(a.b.cells, a.b.cells[o.cells:o.cells+len(l.names)]...)
		for n := range l.names {
			if mask[n] == '0' {
				a.b.cells[at+n] = cell{isNull, isNull}
			}
		}
		o.cells = at
		absent = append(absent, o)
	}
	a.incomplete += int64(len(absent))
	return a.insert(ctx, l, absent, true)
}

func (a *applier) remove(ctx context.Context, l *layout, ops []op) error {
	if len(ops) == 0 {
		return nil
	}
	sql, ok := l.sql["remove"]
	if !ok {
		sql = "DELETE FROM " + l.table.name + " AS t USING " + unnest(l.key, false) + " WHERE " + l.matchKey()
		l.sql["remove"] = sql
	}
	places := make([]int, len(l.key)) // the cells of a remove are its key alone
	for i := range places {
		places[i] = i
	}
	_, err := a.rows(ctx, sql, ops, l.key, places)
	return err
}

// move gives a row its new key. Where another row has that already, as when a range is replayed over a later state, the
// old one goes.
func (a *applier) move(ctx context.Context, o *op) error {
	l := o.layout
	sql, ok := l.sql["move"]
	if !ok {
		var sets, old, other []string
		for i, k := range l.key {
			c := &l.table.columns[l.columns[k]]
			from := "$" + strconv.Itoa(i+1) + "::text::" + c.base
			to := "$" + strconv.Itoa(len(l.key)+i+1) + "::text::" + c.base
			sets = append(sets, c.quoted+" = "+to)
			old = append(old, "t."+c.quoted+" = "+from)
			other = append(other, "x."+c.quoted+" = "+to)
		}
		sql = "UPDATE " + l.table.name + " AS t SET " + strings.Join(sets, ", ") + " WHERE " + strings.Join(old, " AND ") +
			" AND NOT EXISTS (SELECT FROM " + l.table.name + " AS x WHERE " + strings.Join(other, " AND ") + ")"
		l.sql["move"] = sql
	}
	values := make([][]byte, 0, 2*len(l.key))
	for i := range l.key {
		values = append(values, a.b.value(o.cells+i))
	}
	for i := range l.key {
		values = append(values, a.b.value(o.other+i))
	}
	tag, _, err := a.prepared(ctx, sql, values)
	if err != nil || tag.RowsAffected() > 0 {
		return err
	}
	return a.remove(ctx, l, []op{*o})
}

// one changes or removes one row that equals the previous row in every column. Of several the one that is written alike
// too is taken: 1.0 equals 1.00.
func (a *applier) one(ctx context.Context, o *op) error {
	l := o.layout
	name := "drop"
	if o.kind == swap {
		name = "swap"
	}
	sql, ok := l.sql[name]
	if !ok {
		var sets, equal, alike []string
		var count int
		for range l.each {
			count++
		}
		i := 0
		for _, c := range l.each {
			i++
			value := "$" + strconv.Itoa(i) + "::text::" + c.base
			if c.asText {
				equal = append(equal, "x."+c.quoted+"::text IS NOT DISTINCT FROM ("+value+")::text")
			} else {
				equal = append(equal, "x."+c.quoted+" IS NOT DISTINCT FROM "+value)
				alike = append(alike, "x."+c.quoted+"::text IS NOT DISTINCT FROM ("+value+")::text")
			}
			sets = append(sets, c.quoted+" = $"+strconv.Itoa(count+i)+"::text::"+c.base)
		}
		sql = l.table.name + " AS t "
		if o.kind == swap {
			sql = "UPDATE " + sql + "SET " + strings.Join(sets, ", ")
		} else {
			sql = "DELETE FROM " + sql
		}
		sql += " WHERE (t.tableoid, t.ctid) = (SELECT x.tableoid, x.ctid FROM " + l.table.name + " AS x WHERE " + strings.Join(equal, " AND ")
		if len(alike) > 0 {
			sql += " ORDER BY (" + strings.Join(alike, " AND ") + ") DESC"
		}
		sql += " LIMIT 1)"
		l.sql[name] = sql
	}
	from := o.cells
	if o.kind == swap {
		from = o.other
	}
	var values [][]byte
	for n := range l.each {
		values = append(values, a.b.value(from+n))
	}
	if o.kind == swap {
		for n := range l.each {
			values = append(values, a.b.value(o.cells+n))
		}
	}
	tag, _, err := a.prepared(ctx, sql, values)
	if err != nil || tag.RowsAffected() > 0 || o.kind == drop {
		return err
	}
	return a.insert(ctx, l, []op{*o}, false)
}

// empty removes what an earlier snapshot of the source left, unless another shard of the topic has already done so for
// this one: then its rows are new.
func (a *applier) empty(ctx context.Context, o *op) error {
	s := a.w.shard
	if err := a.exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, "freshet.empty "+s.Owner+" "+s.Topic); err != nil {
		return err
	}
	source := a.b.items[o.item].Change.Position.Source
	var done bool
	err := a.tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM freshet.progress WHERE owner = $1 AND topic = $2 AND partition <> $3
		AND left(position, length($4)) = $4)`, s.Owner, s.Topic, s.Partition, source+"@").Scan(&done)
	if err != nil || done {
		return err
	}
	return a.exec(ctx, "TRUNCATE TABLE "+o.layout.table.name)
}

func (a *applier) exec(ctx context.Context, sql string, args ...any) error {
	_, err := a.tx.Exec(ctx, sql, args...)
	return err
}

// value is one cell's text, nil for null.
func (b *batch) value(at int) []byte {
	c := b.cells[at]
	if c.from < 0 {
		return nil
	}
	return b.text[c.from:c.to:c.to]
}

// rows runs a statement over many rows: parameter i is the array of the texts in place places[i] of each row. It returns
// the first column of what the statement returns.
func (a *applier) rows(ctx context.Context, sql string, ops []op, fields, places []int) ([][]byte, error) {
	for len(a.params) < len(fields) {
		a.params = append(a.params, nil)
	}
	for i := range fields {
		p := a.params[i][:0]
		// PostgreSQL's binary form of an array: one dimension, may hold nulls, the element's type, its length, from 1.
		p = binary.BigEndian.AppendUint32(p, 1)
		p = binary.BigEndian.AppendUint32(p, 1)
		p = binary.BigEndian.AppendUint32(p, pgtype.TextOID)
		p = binary.BigEndian.AppendUint32(p, uint32(len(ops)))
		p = binary.BigEndian.AppendUint32(p, 1)
		for j := range ops {
			c := a.b.cells[ops[j].cells+places[i]]
			if c.from < 0 {
				p = binary.BigEndian.AppendUint32(p, 1<<32-1)
				continue
			}
			p = binary.BigEndian.AppendUint32(p, uint32(c.to-c.from))
			p = append(p, a.b.text[c.from:c.to]...)
		}
		a.params[i] = p
	}
	_, values, err := a.prepared(ctx, sql, a.params[:len(fields)])
	return values, err
}

// prepared runs a statement, prepared once in a session, with parameters in binary: for texts their bytes.
func (a *applier) prepared(ctx context.Context, sql string, params [][]byte) (pgconn.CommandTag, [][]byte, error) {
	statement, err := a.conn.Prepare(ctx, sql, sql)
	if err != nil {
		return pgconn.CommandTag{}, nil, err
	}
	binaryFormat := []int16{1}
	result := a.conn.PgConn().ExecPrepared(ctx, statement.Name, params, binaryFormat, binaryFormat).Read()
	if result.Err != nil {
		return pgconn.CommandTag{}, nil, result.Err
	}
	var values [][]byte
	for _, row := range result.Rows {
		values = append(values, row[0])
	}
	return result.CommandTag, values, nil
}

// appendTable is how mode append's table is made. A row is one record; key and value are its bytes.
const appendTable = `CREATE TABLE IF NOT EXISTS %s (
	topic text NOT NULL,
	partition integer NOT NULL,
	"offset" bigint NOT NULL,
	ts timestamp with time zone,
	key bytea,
	value bytea,
	headers json NOT NULL,
	PRIMARY KEY (topic, partition, "offset")
)`

var appendColumns = []string{"topic", "partition", "offset", "ts", "key", "value", "headers"}

// appendLayout looks at mode append's table and makes it where that is missing and allowed.
func (w *writer) appendLayout(ctx context.Context) (*layout, error) {
	if w.last != nil {
		return w.last, nil
	}
	op := "look at the table " + w.table.String()
	t, err := lookTable(ctx, w.sink.pool, w.table)
	if err != nil {
		return nil, failure(op, err)
	}
	if t == nil {
		if w.sink.opts.NoCreateTables {
			return nil, blocked(op, "create the table, or allow the sink to, then resume", "there is no such table")
		}
		if err := w.sink.createSchema(ctx, w.table); err != nil {
			return nil, err
		}
		if err := w.sink.define(ctx, w.table.String(), fmt.Sprintf(appendTable, w.table)); err != nil {
			return nil, err
		}
		if t, err = lookTable(ctx, w.sink.pool, w.table); err != nil {
			return nil, failure(op, err)
		}
	}
	l := &layout{table: t, names: appendColumns, key: []int{0, 1, 2}, sql: map[string]string{}}
	for _, n := range appendColumns {
		at, ok := t.byName[n]
		if !ok {
			return nil, blocked(op, "give the sink another table, or this one the columns topic, partition, offset, ts, key, value and headers", "it has no column %s", n)
		}
		l.columns = append(l.columns, at)
	}
	if !t.hasUnique(appendColumns[:3]) {
		return nil, blocked(op, "run ALTER TABLE "+t.name+` ADD UNIQUE (topic, partition, "offset"); on the target, then resume`, "it has no unique index on topic, partition and offset")
	}
	w.last = l
	return l, nil
}

// readRecord makes one row of one record.
func (w *writer) readRecord(ctx context.Context, b *batch, i int) error {
	l, err := w.appendLayout(ctx)
	if err != nil {
		return err
	}
	r := b.items[i].Record
	o := op{kind: put, item: i, layout: l, cells: len(b.cells), key: r.Topic + "\x00" + strconv.Itoa(int(r.Partition)) + "\x00" + strconv.FormatInt(r.Offset, 10)}
	add := func(grow func([]byte) []byte) {
		from := len(b.text)
		b.text = grow(b.text)
		b.cells = append(b.cells, cell{from, len(b.text)})
	}
	addBytes := func(raw []byte) {
		if raw == nil {
			b.cells = append(b.cells, cell{isNull, isNull})
			return
		}
		add(func(t []byte) []byte { return appendHex(t, raw) })
	}
	add(func(t []byte) []byte { return append(t, r.Topic...) })
	add(func(t []byte) []byte { return strconv.AppendInt(t, int64(r.Partition), 10) })
	add(func(t []byte) []byte { return strconv.AppendInt(t, r.Offset, 10) })
	if ms := r.Time.UnixMilli(); r.Time.IsZero() || ms == -1 {
		b.cells = append(b.cells, cell{isNull, isNull})
	} else {
		add(func(t []byte) []byte {
			t, _ = timestampOf(1000)(t, &stream.Value{Kind: stream.Number, Text: strconv.FormatInt(ms, 10)})
			return append(t, "+00"...)
		})
	}
	addBytes(r.Key)
	addBytes(r.Value)
	add(func(t []byte) []byte { return appendHeaders(t, r.Headers) })
	b.ops = append(b.ops, o)
	return nil
}

// appendHeaders appends the headers in order as JSON: [{"key": ..., "value": base64 or null}, ...]. A name that is no
// UTF-8 is given as "key_base64".
func appendHeaders(t []byte, headers []stream.Header) []byte {
	list := stream.Value{Kind: stream.List}
	for _, h := range headers {
		name := stream.Field{Name: "key", Value: stream.Value{Kind: stream.String, Text: h.Key}}
		if !utf8.ValidString(h.Key) {
			name = stream.Field{Name: "key_base64", Value: stream.Value{Kind: stream.Bytes, Bytes: []byte(h.Key)}}
		}
		value := stream.Field{Name: "value"}
		if h.Value != nil {
			value.Value = stream.Value{Kind: stream.Bytes, Bytes: h.Value}
		}
		list.List = append(list.List, stream.Value{Kind: stream.Object, Fields: []stream.Field{name, value}})
	}
	return decode.AppendJSON(t, &list)
}
