package decode

import (
	"strconv"
	"time"

	"freshet/backend/fault"
	"freshet/backend/stream"
)

// Debezium reads v, the decoded value of rec, as an event of Debezium's connectors, with or without the schema around
// it. ok is false for a record that is none: another shape, or a tombstone (v nil or null).
//
// Position and commit time are the record's headers. Without them Position stays zero, since the log positions in
// Debezium's source block are not unique among the rows of a multi-row insert, and the commit time is the source block's.
// The Change shares v's memory.
func Debezium(rec *stream.Record, v *stream.Value) (c *stream.Change, ok bool, err error) {
	v = Payload(v)
	if v.IsNull() || v.Kind != stream.Object {
		return nil, false, nil
	}
	var before, after, source, op, tx *stream.Value
	for i := range v.Fields {
		f := &v.Fields[i]
		switch f.Name {
		case "before":
			before = &f.Value
		case "after":
			after = &f.Value
		case "source":
			source = &f.Value
		case "op":
			op = &f.Value
		case "transaction":
			tx = &f.Value
		}
	}
	if op == nil || op.Kind != stream.String || len(op.Text) != 1 || source == nil || source.Kind != stream.Object {
		return nil, false, nil
	}
	c = &stream.Change{Op: stream.Op(op.Text[0])}
	switch c.Op {
	case stream.Create, stream.Update, stream.Read:
		if after.IsNull() {
			return nil, false, malformed(rec, "operation %s without after", op.Text)
		}
	case stream.Delete, stream.Truncate, stream.Message:
	default:
		return nil, false, nil
	}
	for _, row := range []struct{ from, to *stream.Value }{{before, &c.Before}, {after, &c.After}} {
		if row.from.IsNull() {
			continue
		}
		if row.from.Kind != stream.Object {
			return nil, false, malformed(rec, "a row that is no object")
		}
		*row.to = *row.from
	}
	readSource(c, source)
	if c.Tx == "" && tx != nil && tx.Kind == stream.Object {
		if id, ok := tx.Get("id"); ok {
			c.Tx = id.Text
		}
	}
	if rec.Key != nil {
		if c.Key, err = keyOf(rec.Key); err != nil {
			return nil, false, malformed(rec, "key: %w", err)
		}
	}
	if h, ok := rec.Header(stream.PositionHeader); ok {
		if c.Position, err = stream.ParsePosition(string(h)); err != nil {
			return nil, false, malformed(rec, "%w", err)
		}
	}
	if h, ok := rec.Header(stream.CommitTimeHeader); ok {
		us, err := strconv.ParseInt(string(h), 10, 64)
		if err != nil {
			return nil, false, malformed(rec, "header %s is no number", stream.CommitTimeHeader)
		}
		c.CommitTime = time.UnixMicro(us).UTC()
	}
	return c, true, nil
}

// Payload returns what Kafka Connect's JSON converter put its schema around, else v itself.
func Payload(v *stream.Value) *stream.Value {
	if v != nil && v.Kind == stream.Object && len(v.Fields) == 2 &&
		v.Fields[0].Name == "schema" && v.Fields[1].Name == "payload" {
		return &v.Fields[1].Value
	}
	return v
}

// Key reads a record key, or one of the headers that carry the other key of a changed key: an object of key columns.
func Key(b []byte) (stream.Value, error) {
	k, err := keyOf(b)
	return k, fault.Wrap(fault.Invalid, "read the key", err, "")
}

func keyOf(b []byte) (stream.Value, error) {
	v, err := JSON(b)
	if err != nil {
		return v, err
	}
	k := Payload(&v)
	if k.Kind != stream.Object && k.Kind != stream.Null {
		return v, fault.New(fault.Invalid, "read the key", "", "not an object of key columns")
	}
	return *k, nil
}

func readSource(c *stream.Change, source *stream.Value) {
	for i := range source.Fields {
		f := &source.Fields[i]
		switch f.Name {
		case "db":
			c.Database = f.Value.Text
		case "schema":
			c.Schema = f.Value.Text
		case "table":
			c.Table = f.Value.Text
		case "txId":
			c.Tx = f.Value.Text
		case "snapshot":
			c.Snapshot = f.Value.Bool || f.Value.Kind == stream.String && f.Value.Text != "false" && f.Value.Text != ""
		case "ts_us":
			if us, err := strconv.ParseInt(f.Value.Text, 10, 64); err == nil {
				c.CommitTime = time.UnixMicro(us).UTC()
			}
		case "ts_ms":
			if ms, err := strconv.ParseInt(f.Value.Text, 10, 64); err == nil && c.CommitTime.IsZero() {
				c.CommitTime = time.UnixMilli(ms).UTC()
			}
		}
	}
}

func malformed(rec *stream.Record, format string, args ...any) error {
	e := fault.New(fault.Invalid, "read the change at "+rec.Topic+"/"+strconv.Itoa(int(rec.Partition))+":"+strconv.FormatInt(rec.Offset, 10), "", format, args...)
	e.Code = "MALFORMED_CHANGE"
	return e
}
