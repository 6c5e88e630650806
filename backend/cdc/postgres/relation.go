package postgres

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"time"

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
	columns  []column
	key      []int     // the key columns' places; empty for none
	keys     []encoder // of each of them
	where    []byte    // of source: ,"schema":…,"table":…
	outbox   *outbox
}

type column struct {
	name        string
	prefix      []byte // "name":
	encode      encoder
	placeholder []byte
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
	enums   map[uint32]bool
	notNull map[string]bool
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

// newRelation prepares everything that does not change from row to row, and makes the schema and the topic known.
func (s *Source) newRelation(ctx context.Context, w *cdc.Writer, c *catalog, sh shape) (*relation, error) {
	f, err := c.facts(ctx, &sh)
	if err != nil {
		return nil, err
	}
	r := &relation{shape: sh, key: sh.keyColumns(f)}
	schema := stream.TableSchema{
		Database: s.database, Schema: sh.table.Schema, Table: sh.table.Name, Handling: s.handling.words,
	}
	for i, col := range sh.columns {
		prefix, _ := encodeString(nil, []byte(col.name))
		encode, placeholder := c.types.encoder(&c.values, col.typ, col.mod)
		r.columns = append(r.columns, column{name: col.name, prefix: append(prefix, ':'), encode: encode, placeholder: placeholder})
		root, mod := c.types.root(col.typ, col.mod)
		schema.Columns = append(schema.Columns, stream.Column{
			Name: col.name, Type: f.types[typeMod{col.typ, col.mod}], Base: f.types[typeMod{root.OID, mod}],
			Enum: f.enums[root.OID], NotNull: f.notNull[col.name], Key: slices.Index(r.key, i) + 1,
		})
	}
	for _, i := range r.key {
		r.keys = append(r.keys, c.types.keyEncoder(&c.values, sh.columns[i].typ, sh.columns[i].mod))
	}
	if schema.ID, err = schemaID(schema); err != nil {
		return nil, err
	}
	r.schemaID = []byte(schema.ID)
	if err := w.Schema(ctx, schema); err != nil {
		return nil, err
	}
	name := cdc.TopicName(s.o.Prefix, sh.table.Schema, sh.table.Name)
	if other, taken := c.topics[name]; taken && other != sh.table {
		return nil, fault.New(fault.Invalid, "capture "+sh.table.String(), "leave one of them out of the publication",
			"its topic %s is that of %s already", name, other)
	}
	if r.topic, err = w.Topic(ctx, name); err != nil {
		return nil, err
	}
	c.topics[name] = sh.table
	r.where = append(r.where, `"schema":`...)
	r.where, _ = encodeString(r.where, []byte(sh.table.Schema))
	r.where = append(r.where, `,"table":`...)
	r.where, _ = encodeString(r.where, []byte(sh.table.Name))
	if s.o.Outbox != "" && s.outboxTable.Match(sh.table) {
		if r.outbox, err = newOutbox(&sh); err != nil {
			return nil, err
		}
	}
	return r, nil
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
	if len(t.kinds) != len(r.columns) {
		return fault.New(fault.Internal, "read a row of "+r.table.String(), "please report this",
			"it has %d columns, its relation %d", len(t.kinds), len(r.columns))
	}
	return nil
}

// appendKey appends the key of a row. old stands in where an unchanged value was not sent.
func (r *relation) appendKey(dst []byte, t, old *tuple) []byte {
	dst = append(dst, '{')
	for n, i := range r.key {
		if n > 0 {
			dst = append(dst, ',')
		}
		c := &r.columns[i]
		dst = append(dst, c.prefix...)
		dst = appendValue(dst, r.keys[n], c.placeholder, t, old, i)
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
		dst = append(dst, c.prefix...)
		dst = appendValue(dst, c.encode, c.placeholder, t, old, i)
		if t.kinds[i] == 'u' && (old == nil || old.kinds[i] != 't') {
			if len(unavailable) > 1 {
				unavailable = append(unavailable, ',')
			}
			unavailable = append(unavailable, c.prefix[:len(c.prefix)-1]...)
		}
	}
	return append(dst, '}'), unavailable
}

func appendValue(dst []byte, encode encoder, placeholder []byte, t, old *tuple, i int) []byte {
	switch t.kinds[i] {
	case 't':
		return encode.append(dst, t.values[i])
	case 'u':
		if old != nil && old.kinds[i] == 't' {
			return encode.append(dst, old.values[i])
		}
		return append(dst, placeholder...)
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

// envelope holds the parts of a record's value that are the same for many.
type envelope struct {
	name     []byte // source's fields before ts_ms
	database []byte // source's db

	txMillis []byte // ts_ms
	txFirst  []byte // from snapshot to sequence's first half
	txTimes  []byte // ,"ts_us":…,"ts_ns":…,
	txID     []byte // ,"txId":…,"lsn":
	txOrigin []byte // from xmin on

	now []byte // ,"ts_ms":… to the end
}

func newEnvelope(version, prefix, database string) *envelope {
	e := &envelope{}
	e.name = append(e.name, `{"version":`...)
	e.name, _ = encodeString(e.name, []byte(version))
	e.name = append(e.name, `,"connector":"postgresql","name":`...)
	e.name, _ = encodeString(e.name, []byte(prefix))
	e.name = append(e.name, `,"ts_ms":`...)
	e.database, _ = encodeString(nil, []byte(database))
	e.at(time.Now().UnixMicro()) // a record that is made before the first at has its end
	return e
}

// begin prepares for a transaction. xid 0 is none, lastCommit 0 unknown.
func (e *envelope) begin(micros int64, snapshot string, xid uint32, lastCommit uint64) {
	e.txMillis = strconv.AppendInt(e.txMillis[:0], floorDiv(micros, 1000), 10)
	e.mark(snapshot, lastCommit)
	e.txTimes = append(e.txTimes[:0], `\"]","ts_us":`...)
	e.txTimes = strconv.AppendInt(e.txTimes, micros, 10)
	e.txTimes = append(e.txTimes, `,"ts_ns":`...)
	e.txTimes = strconv.AppendInt(e.txTimes, micros, 10)
	e.txTimes = append(e.txTimes, `000,`...)
	e.txID = append(e.txID[:0], `,"txId":`...)
	if xid == 0 {
		e.txID = append(e.txID, "null"...)
	} else {
		e.txID = strconv.AppendUint(e.txID, uint64(xid), 10)
	}
	e.txID = append(e.txID, `,"lsn":`...)
	e.txOrigin = append(e.txOrigin[:0], `,"xmin":null,"origin":null,"origin_lsn":null}`...)
}

// mark sets the snapshot marker.
func (e *envelope) mark(snapshot string, lastCommit uint64) {
	e.txFirst = append(e.txFirst[:0], `,"snapshot":"`...)
	e.txFirst = append(e.txFirst, snapshot...)
	e.txFirst = append(e.txFirst, `","db":`...)
	e.txFirst = append(e.txFirst, e.database...)
	e.txFirst = append(e.txFirst, `,"sequence":"[`...)
	if lastCommit == 0 {
		e.txFirst = append(e.txFirst, "null"...)
	} else {
		e.txFirst = append(e.txFirst, `\"`...)
		e.txFirst = strconv.AppendUint(e.txFirst, lastCommit, 10)
		e.txFirst = append(e.txFirst, `\"`...)
	}
	e.txFirst = append(e.txFirst, `,\"`...)
}

// origin tells that the transaction came here by replication.
func (e *envelope) origin(name []byte, lsn uint64) {
	e.txOrigin = append(e.txOrigin[:0], `,"xmin":null,"origin":`...)
	e.txOrigin, _ = encodeString(e.txOrigin, name)
	e.txOrigin = append(e.txOrigin, `,"origin_lsn":`...)
	e.txOrigin = strconv.AppendUint(e.txOrigin, lsn, 10)
	e.txOrigin = append(e.txOrigin, '}')
}

// at sets the time at which records are made.
func (e *envelope) at(micros int64) {
	e.now = append(e.now[:0], `","ts_ms":`...)
	e.now = strconv.AppendInt(e.now, floorDiv(micros, 1000), 10)
	e.now = append(e.now, `,"ts_us":`...)
	e.now = strconv.AppendInt(e.now, micros, 10)
	e.now = append(e.now, `,"ts_ns":`...)
	e.now = strconv.AppendInt(e.now, micros, 10)
	e.now = append(e.now, "000}"...)
}

// tail appends everything after before and after.
func (e *envelope) tail(dst []byte, r *relation, op stream.Op, lsn uint64) []byte {
	dst = append(dst, `,"source":`...)
	dst = append(dst, e.name...)
	dst = append(dst, e.txMillis...)
	dst = append(dst, e.txFirst...)
	dst = strconv.AppendUint(dst, lsn, 10)
	dst = append(dst, e.txTimes...)
	dst = append(dst, r.where...)
	dst = append(dst, e.txID...)
	dst = strconv.AppendUint(dst, lsn, 10)
	dst = append(dst, e.txOrigin...)
	dst = append(dst, `,"transaction":null,"op":"`...)
	dst = append(dst, byte(op))
	return append(dst, e.now...)
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
		if err := s.delete(ctx, w, e, r, before, nil, lsn); err != nil {
			return err
		}
		return nil
	case stream.Update:
		if before != nil && len(r.key) > 0 {
			s.oldKey = r.appendKey(s.oldKey[:0], before, nil)
			s.newKey = r.appendKey(s.newKey[:0], after, before)
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
	if w.Has(r.topic) || s.handling.skips(op) {
		w.Next()
		return nil
	}
	rec := w.Record()
	if rec.NoKey = len(r.key) == 0; !rec.NoKey {
		rec.Key = r.appendKey(rec.Key, after, old)
	}
	v := append(rec.Value, `{"before":`...)
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
	if !w.Has(r.topic) && !skipped {
		rec := w.Record()
		if rec.NoKey = len(r.key) == 0; !rec.NoKey {
			rec.Key = r.appendKey(rec.Key, before, nil)
		}
		v := append(rec.Value, `{"before":`...)
		v, _ = r.appendRow(v, before, nil, nil)
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
	if !w.Has(r.topic) && !s.handling.skips(stream.Truncate) {
		rec := w.Record()
		rec.NoKey = true
		rec.Value = e.tail(append(rec.Value, `{"before":null,"after":null`...), r, stream.Truncate, lsn)
		rec.Header(stream.SchemaHeader, r.schemaID)
		if err := w.Append(ctx, r.topic, rec); err != nil {
			return err
		}
	}
	w.Next()
	return nil
}
