package postgres

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"

	"freshet/backend/cdc"
	"freshet/backend/fault"
	"freshet/backend/stream"
)

// shape is a table's columns as the server sends them: from a Relation message, or from the catalog for a snapshot.
type shape struct {
	oid      uint32
	table    cdc.Table
	identity byte // replica identity: d default, f full, i index, n nothing
	columns  []shapeColumn
}

type shapeColumn struct {
	name     string
	typ      uint32
	mod      int32
	identity bool // part of the replica identity
}

// relation encodes the rows of one table.
type relation struct {
	shape
	topic    *cdc.Topic
	schemaID []byte
	columns  []column // of the row, as written
	key      []column // empty for none
	keyOpen  []byte   // a key before its columns, with its schema if that is written
	keyEnd   []byte
	open     []byte // a value before what "before" is
	where    []byte // of source: ,"schema":…,"table":…
	events   *eventCount
	enums    []enumColumn // where their labels are told in schemas
	outbox   *outbox
}

type enumColumn struct {
	at     int // in a tuple
	labels []string
}

// outgrown reports whether a row has an enum's label that was not there when the relation was prepared: the server does
// not tell of a type that has changed. It is reported once.
func (r *relation) outgrown(t *tuple) (yes bool) {
	for i := range r.enums {
		e := &r.enums[i]
		if t.kinds[e.at] == 't' && !slices.ContainsFunc(e.labels, func(l string) bool { return l == string(t.values[e.at]) }) {
			e.labels = append(slices.Clip(e.labels), string(t.values[e.at]))
			yes = true
		}
	}
	return yes
}

type column struct {
	at          int    // in a tuple
	prefix      []byte // "name":
	encode      encoder
	placeholder []byte
	always      []byte // written whatever the value is; nil for none
}

// tuple is a row as it came: of each column a kind (n null, u unchanged, t text) and a value. The values alias the
// buffer that they were read from.
type tuple struct {
	kinds  []byte
	values [][]byte
}

func (t *tuple) reset() { t.kinds, t.values = t.kinds[:0], t.values[:0] }

func (t *tuple) add(kind byte, value []byte) {
	t.kinds, t.values = append(t.kinds, kind), append(t.values, value)
}

// facts are what a Relation message does not tell of a table.
type facts struct {
	types   map[typeMod]string // as format_type() writes them
	notNull map[string]bool
	// defaults are the columns' default expressions.
	defaults map[string]string
	// Columns in the order of their index.
	primary  []string // of the primary key
	identity []string // of a replica identity by index
	unique   []string // of the first unique index on columns that are not null
}

type typeMod struct {
	oid uint32
	mod int32
}

// keyColumns chooses the record key, in the order of its index. A replica identity by an index that does not hold the
// primary key is the key itself: nothing else comes with a delete.
func (s *shape) keyColumns(f facts) []int {
	var flagged []string
	for _, c := range s.columns {
		if c.identity {
			flagged = append(flagged, c.name)
		}
	}
	names := f.primary
	switch {
	case s.identity == 'd' && len(flagged) > 0:
		names = ordered(flagged, f.primary)
	case s.identity == 'i' && len(flagged) > 0 && !containsAll(flagged, f.primary):
		names = ordered(flagged, f.identity)
	case len(names) == 0:
		names = f.unique
	}
	var key []int
	for _, name := range names {
		i := slices.IndexFunc(s.columns, func(c shapeColumn) bool { return c.name == name })
		if i < 0 {
			return nil // it is not among those sent
		}
		key = append(key, i)
	}
	return key
}

// ordered gives the columns that were the index when the change was made the order that the index has in the catalog,
// unless that is another by now.
func ordered(flagged, index []string) []string {
	if len(flagged) == len(index) && containsAll(flagged, index) {
		return index
	}
	return flagged
}

// containsAll reports whether all of some are in set, and there are some.
func containsAll(set, some []string) bool {
	for _, s := range some {
		if !slices.Contains(set, s) {
			return false
		}
	}
	return len(some) > 0
}

// choice is what becomes of a column.
type choice struct {
	shapeColumn
	path    string // SCHEMA.TABLE.COLUMN
	root    typeInfo
	rootMod int32
	place   int  // in the record key, from 1; 0 for none
	written bool // to the row
	mask    *mask
	form    form
	opaque  bool // written as Debezium writes values of types that it does not know
}

// choose decides what becomes of a table's columns. key are those of the record key, in its order: what message.key.columns
// names, else the table's own.
func (s *Source) choose(c *catalog, sh *shape, f facts) (all []choice, key []int, err error) {
	h := &s.handling
	for _, re := range h.keys {
		for i, col := range sh.columns {
			if re.MatchString(sh.table.String()+"."+col.name) && !slices.Contains(key, i) {
				key = append(key, i)
			}
		}
	}
	if key == nil {
		key = sh.keyColumns(f)
	}
	for i, col := range sh.columns {
		x := choice{shapeColumn: col, path: sh.table.String() + "." + col.name, place: slices.Index(key, i) + 1, form: c.types.form(&c.values, col.typ, col.mod)}
		x.root, x.rootMod = c.types.root(col.typ, col.mod)
		x.written = !h.exclude.match(x.path) && (h.include == nil || h.include.match(x.path))
		if x.form.foreign {
			x.written = x.written && h.words[unknownOption] != "false"
			x.opaque = h.words[unknownOption] == "true"
		}
		if x.written || x.place > 0 {
			if x.mask, err = s.maskOf(sh, &x); err != nil {
				return nil, nil, err
			}
		}
		switch {
		case x.mask != nil:
			x.form, x.opaque = x.mask.form(max(0, int(x.rootMod)-4)), false
		case x.opaque:
			x.form = c.types.opaqueForm(&c.values, col.typ, col.mod)
		}
		all = append(all, x)
	}
	return all, key, nil
}

// maskOf is the first mask that names a column, nil for none. One that would not do is an error: nothing goes out in the
// clear that was to be masked.
func (s *Source) maskOf(sh *shape, x *choice) (*mask, error) {
	at := slices.IndexFunc(s.handling.masks, func(m mask) bool { return m.columns.match(x.path) })
	if at < 0 {
		return nil, nil
	}
	const next = "name other columns, or leave the column out with column.exclude.list"
	m := &s.handling.masks[at]
	switch {
	case !masked(x.root.OID, x.root.Name):
		return nil, fault.New(fault.Invalid, "mask "+x.path, next, "%s is for columns of text, and this is none", m.option)
	case x.place > 0 && m.kind != "hash":
		return nil, fault.New(fault.Invalid, "mask "+x.path, next, "it is in the record key, where %s would make one key of many", m.option)
	case s.o.Outbox != "" && s.outboxTable.Match(sh.table):
		return nil, fault.New(fault.Invalid, "mask "+x.path, "name other columns", "an outbox's events are routed as they are")
	}
	return m, nil
}

// describe is a column as the table's schema has it.
func (x *choice) describe(f facts) stream.Column {
	col := stream.Column{
		Name: x.name, Type: f.types[typeMod{x.typ, x.mod}], Base: f.types[typeMod{x.root.OID, x.rootMod}],
		Enum: x.root.Kind == "e", NotNull: f.notNull[x.name], Key: x.place, Opaque: x.opaque,
	}
	if x.mask != nil {
		col.Mask = x.mask.kind
	}
	return col
}

// newRelation prepares a relation, and makes its schema and its topic known.
func (s *Source) newRelation(ctx context.Context, w *cdc.Writer, c *catalog, sh shape) (*relation, error) {
	r, schema, err := s.prepare(ctx, c, sh)
	if err != nil {
		return nil, err
	}
	if err := w.Schema(ctx, schema); err != nil {
		return nil, err
	}
	name := s.topicName(sh.table)
	if other, taken := c.topics[name]; taken && other != sh.table {
		return nil, fault.New(fault.Invalid, "capture "+sh.table.String(), "leave one of them out of the publication",
			"its topic %s is that of %s already", name, other)
	}
	if r.topic, err = w.Topic(ctx, name); err != nil {
		return nil, err
	}
	c.topics[name] = sh.table
	return r, nil
}

func (s *Source) topicName(t cdc.Table) string { return cdc.TopicName(s.o.Prefix, t.Schema, t.Name) }

// prepare makes everything that does not change from row to row. Who encodes beside others prepares a relation of their own.
func (s *Source) prepare(ctx context.Context, c *catalog, sh shape) (*relation, stream.TableSchema, error) {
	var schema stream.TableSchema
	f, err := c.facts(ctx, &sh)
	if err != nil {
		return nil, schema, err
	}
	all, key, err := s.choose(c, &sh, f)
	if err != nil {
		return nil, schema, err
	}
	r := &relation{shape: sh, events: c.count(sh.table)}
	schema = stream.TableSchema{
		Database: s.database, Schema: sh.table.Schema, Table: sh.table.Name, Handling: s.handling.words,
	}
	field := func(x *choice, as form) string {
		name := x.name
		return as.connect.field(name, !f.notNull[name], s.byDefault(as, x.root.OID, f.notNull[name], f.defaults[name]))
	}
	var rowFields, keyFields []string
	for i := range all {
		x := &all[i]
		if x.written {
			r.columns = append(r.columns, x.form.column(i, x.name))
			rowFields = append(rowFields, field(x, x.form))
		}
		if x.written || x.place > 0 {
			schema.Columns = append(schema.Columns, x.describe(f))
			if x.root.Kind == "e" && s.handling.schemas() {
				r.enums = append(r.enums, enumColumn{i, x.root.Labels})
			}
		}
	}
	for _, i := range key {
		x := &all[i]
		as := x.form.ofKey(&c.values)
		r.key = append(r.key, as.column(i, x.name))
		keyFields = append(keyFields, field(x, as))
	}
	if schema.ID, err = schemaID(schema); err != nil {
		return nil, schema, err
	}
	r.schemaID = []byte(schema.ID)
	name := s.topicName(sh.table)
	r.keyOpen, r.keyEnd = around(s.handling.keySchemas, connectStruct(name+".Key", 0, keyFields...))
	r.open, _ = around(s.handling.valueSchemas, connectEnvelope(name, rowFields))
	r.open = append(r.open, `{"before":`...)
	r.where = append(r.where, `"schema":`...)
	r.where, _ = encodeString(r.where, []byte(sh.table.Schema))
	r.where = append(r.where, `,"table":`...)
	r.where, _ = encodeString(r.where, []byte(sh.table.Name))
	if s.o.Outbox != "" && s.outboxTable.Match(sh.table) {
		if r.outbox, err = newOutbox(&sh); err != nil {
			return nil, schema, err
		}
	}
	return r, schema, nil
}

func (f form) column(at int, name string) column {
	prefix, _ := encodeString(nil, []byte(name))
	return column{at: at, prefix: append(prefix, ':'), encode: f.encode, placeholder: f.placeholder, always: f.always}
}

func schemaID(s stream.TableSchema) (string, error) {
	s.ID = ""
	b, err := json.Marshal(s)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8]), nil
}

// check refuses a tuple that has not the relation's columns.
func (r *relation) check(t *tuple) error {
	if len(t.kinds) != len(r.shape.columns) {
		return fault.New(fault.Internal, "read a row of "+r.table.String(), "please report this",
			"it has %d columns, its relation %d", len(t.kinds), len(r.shape.columns))
	}
	return nil
}

// appendKey appends the key of a row as a record has it. old stands in where an unchanged value was not sent.
func (r *relation) appendKey(dst []byte, t, old *tuple) []byte {
	dst = append(dst, r.keyOpen...)
	dst = r.appendKeyColumns(dst, t, old)
	return append(dst, r.keyEnd...)
}

// appendKeyColumns appends the key as headers have it, without a schema.
func (r *relation) appendKeyColumns(dst []byte, t, old *tuple) []byte {
	dst = append(dst, '{')
	for i := range r.key {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = r.key[i].appendTo(dst, t, old)
	}
	return append(dst, '}')
}

// appendRow appends a row as an object. Unchanged values that old does not have are listed in unavailable, too, which is
// a JSON array yet to be closed.
func (r *relation) appendRow(dst []byte, t, old *tuple, unavailable []byte) (row, missing []byte) {
	dst = append(dst, '{')
	for i := range r.columns {
		c := &r.columns[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = c.appendTo(dst, t, old)
		if t.kinds[c.at] == 'u' && (old == nil || old.kinds[c.at] != 't') {
			if len(unavailable) > 1 {
				unavailable = append(unavailable, ',')
			}
			unavailable = append(unavailable, c.prefix[:len(c.prefix)-1]...)
		}
	}
	return append(dst, '}'), unavailable
}

// appendTo appends "name":value.
func (c *column) appendTo(dst []byte, t, old *tuple) []byte {
	dst = append(dst, c.prefix...)
	switch kind := t.kinds[c.at]; {
	case c.always != nil:
		return append(dst, c.always...)
	case kind == 't':
		return c.encode.append(dst, t.values[c.at])
	case kind == 'u' && old != nil && old.kinds[c.at] == 't':
		return c.encode.append(dst, old.values[c.at])
	case kind == 'u':
		return append(dst, c.placeholder...)
	}
	return append(dst, "null"...)
}

// outbox knows where in an outbox table's rows the parts of an event are.
type outbox struct {
	id, aggregateID, kind, payload int
	topics                         map[string]*cdc.Topic // by type
}

// maxEventTypes bounds how many topics the rows of an outbox can make.
const maxEventTypes = 1000

func newOutbox(s *shape) (*outbox, error) {
	at := func(name string) int {
		return slices.IndexFunc(s.columns, func(c shapeColumn) bool { return c.name == name })
	}
	o := &outbox{id: at("id"), aggregateID: at("aggregate_id"), kind: at("type"), payload: at("payload"), topics: map[string]*cdc.Topic{}}
	if o.id < 0 || o.aggregateID < 0 || o.kind < 0 || o.payload < 0 {
		return nil, fault.New(fault.Invalid, "route the outbox "+s.table.String(), "give it these columns, or drop the source and create it without the outbox",
			"an outbox has the columns id, aggregate_type, aggregate_id, type and payload")
	}
	return o, nil
}

// route writes an inserted row as an event, at the row's own position.
func (s *Source) route(ctx context.Context, w *cdc.Writer, r *relation, t *tuple) error {
	o := r.outbox
	kind := t.values[o.kind]
	topic := o.topics[string(kind)]
	if topic == nil {
		if t.kinds[o.kind] != 't' || len(kind) == 0 {
			return fault.New(fault.Blocked, "route the outbox "+r.table.String(), "drop the source and create it without the outbox", "a row has no type")
		}
		if len(o.topics) == maxEventTypes {
			return fault.New(fault.Blocked, "route the outbox "+r.table.String(), "drop the source and create it without the outbox",
				"its rows have more than %d types, each of which would be a topic", maxEventTypes)
		}
		var err error
		if topic, err = w.Topic(ctx, cdc.TopicName(s.o.Prefix, "events", string(kind))); err != nil {
			return err
		}
		o.topics[string(bytes.Clone(kind))] = topic
	}
	if w.Has(topic) {
		return nil
	}
	rec := w.Record()
	if rec.NoKey = t.kinds[o.aggregateID] != 't'; !rec.NoKey {
		rec.Key = append(rec.Key, t.values[o.aggregateID]...)
	}
	if rec.NoValue = t.kinds[o.payload] != 't'; !rec.NoValue {
		rec.Value = append(rec.Value, t.values[o.payload]...)
	}
	rec.Header("id", t.values[o.id])
	rec.Header("type", kind)
	return w.Append(ctx, topic, rec)
}

// change writes one row's change as one record, or where its key has changed as three. before may be nil; after is nil
// for a delete.
//
// What the key is comes from the catalog as it is now, and may be another when the change is read again. So that the
// positions of what follows stay, a delete takes the place of its tombstone, too, and an update that came with its old row
// that of all three records, whether they are written or not.
func (s *Source) change(ctx context.Context, w *cdc.Writer, e *envelope, r *relation, op stream.Op, before, after *tuple, lsn uint64) error {
	switch op {
	case stream.Delete:
		return s.delete(ctx, w, e, r, before, nil, lsn)
	case stream.Update:
		if before != nil && len(r.key) > 0 {
			s.oldKey = r.appendKeyColumns(s.oldKey[:0], before, nil)
			s.newKey = r.appendKeyColumns(s.newKey[:0], after, before)
			if !bytes.Equal(s.oldKey, s.newKey) {
				if err := s.delete(ctx, w, e, r, before, s.newKey, lsn); err != nil {
					return err
				}
				return s.put(ctx, w, e, r, stream.Create, nil, after, before, s.oldKey, lsn)
			}
		}
		if before != nil {
			w.Next()
			w.Next()
		}
		return s.put(ctx, w, e, r, op, before, after, before, nil, lsn)
	}
	if r.outbox != nil && op == stream.Create && !s.handling.skips(op) {
		if err := s.route(ctx, w, r, after); err != nil {
			return err
		}
	}
	return s.put(ctx, w, e, r, op, nil, after, nil, nil, lsn)
}

// put writes a record with an after. old has values that after left out, where before is a whole row.
func (s *Source) put(ctx context.Context, w *cdc.Writer, e *envelope, r *relation, op stream.Op, before, after, old *tuple, oldKey []byte, lsn uint64) error {
	if s.handling.skips(op) {
		w.Next()
		return nil
	}
	e.event(r.events)
	if w.Has(r.topic) {
		w.Next()
		return nil
	}
	rec := w.Record()
	if rec.NoKey = len(r.key) == 0; !rec.NoKey {
		rec.Key = r.appendKey(rec.Key, after, old)
	}
	v := append(rec.Value, r.open...)
	if before == nil {
		v = append(v, "null"...)
	} else {
		v, _ = r.appendRow(v, before, nil, nil)
	}
	v = append(v, `,"after":`...)
	v, s.unavailable = r.appendRow(v, after, old, append(s.unavailable[:0], '['))
	rec.Value = e.tail(v, r, op, lsn)
	rec.Header(stream.SchemaHeader, r.schemaID)
	if len(s.unavailable) > 1 {
		s.unavailable = append(s.unavailable, ']')
		rec.Header(stream.UnavailableHeader, s.unavailable)
	}
	if oldKey != nil {
		rec.Header(stream.OldKeyHeader, oldKey)
	}
	if err := w.Append(ctx, r.topic, rec); err != nil {
		return err
	}
	w.Next()
	return nil
}

// delete writes a delete, and a tombstone where there is a key. newKey is what the key was changed to, nil where the row
// is gone.
func (s *Source) delete(ctx context.Context, w *cdc.Writer, e *envelope, r *relation, before *tuple, newKey []byte, lsn uint64) error {
	skipped := s.handling.skips(stream.Delete)
	if !skipped {
		e.event(r.events)
	}
	if !w.Has(r.topic) && !skipped {
		rec := w.Record()
		if rec.NoKey = len(r.key) == 0; !rec.NoKey {
			rec.Key = r.appendKey(rec.Key, before, nil)
		}
		v, _ := r.appendRow(append(rec.Value, r.open...), before, nil, nil)
		v = append(v, `,"after":null`...)
		rec.Value = e.tail(v, r, stream.Delete, lsn)
		rec.Header(stream.SchemaHeader, r.schemaID)
		if newKey != nil {
			rec.Header(stream.NewKeyHeader, newKey)
		}
		if err := w.Append(ctx, r.topic, rec); err != nil {
			return err
		}
	}
	w.Next()
	if len(r.key) > 0 && !w.Has(r.topic) && !skipped && !s.handling.noTombstones {
		rec := w.Record()
		rec.Key = r.appendKey(rec.Key, before, nil)
		rec.NoValue = true
		rec.Header(stream.SchemaHeader, r.schemaID)
		if newKey != nil {
			rec.Header(stream.NewKeyHeader, newKey)
		}
		if err := w.Append(ctx, r.topic, rec); err != nil {
			return err
		}
	}
	w.Next()
	return nil
}

// truncate writes that a table was emptied.
func (s *Source) truncate(ctx context.Context, w *cdc.Writer, e *envelope, r *relation, lsn uint64) error {
	skipped := s.handling.skips(stream.Truncate)
	if !skipped {
		e.event(r.events)
	}
	if !w.Has(r.topic) && !skipped {
		rec := w.Record()
		rec.NoKey = true
		rec.Value = e.tail(append(append(rec.Value, r.open...), `null,"after":null`...), r, stream.Truncate, lsn)
		rec.Header(stream.SchemaHeader, r.schemaID)
		if err := w.Append(ctx, r.topic, rec); err != nil {
			return err
		}
	}
	w.Next()
	return nil
}
