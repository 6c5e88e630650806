package app

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"freshet/backend/api"
	"freshet/backend/decode"
	"freshet/backend/fault"
	"freshet/backend/kafka"
	"freshet/backend/stream"
	"freshet/probes/freshness"
	"freshet/probes/lag"
	"freshet/replay"
)

const (
	// maxTraced bounds the versions of one row that a trace shows; the newest are kept.
	maxTraced = 200
	// heldWithin bounds the look at one sink.
	heldWithin = 5 * time.Second
)

// Trace looks for the row's key, newest records first, and asks of each change how far it got and of each sink what it
// holds.
func (m measured) Trace(ctx context.Context, q api.TraceQuery) (api.TraceAnswer, error) {
	out := api.TraceAnswer{Head: api.Head{V: 1, Kind: "trace"}, Items: []api.TraceVersion{}, Held: []api.HeldRow{}, Scans: []api.TraceScan{}}
	if (q.Table == "") == (q.Topic == "") {
		return out, fault.New(fault.Invalid, "trace a row", "give the table, or a topic", "it must be told by one of them where the row is")
	}
	if q.Topic != "" {
		return out, m.traceIn(ctx, q.Cluster, q.Topic, q.Key, &out)
	}
	table := q.Table
	if !strings.Contains(table, ".") {
		table = "public." + table
	}
	for _, s := range m.cdc.Progress() {
		topic, ok := s.Tables[table]
		if !ok || q.Cluster != "" && q.Cluster != s.Cluster {
			continue
		}
		if err := m.traceIn(ctx, s.Cluster, topic, q.Key, &out); err != nil {
			return out, err
		}
	}
	if len(out.Scans) == 0 {
		return out, fault.New(fault.NotFound, "trace "+table, "`freshet sources status NAME` lists the tables", "no source captures such a table")
	}
	return out, nil
}

func (m measured) traceIn(ctx context.Context, cluster, topic, key string, out *api.TraceAnswer) error {
	c, err := m.cluster(cluster)
	if err != nil {
		return err
	}
	req := kafka.ScanRequest{Topic: topic, Backwards: true, Limit: maxTraced, MaxRecords: scanRecords, MaxBytes: scanBytes, MaxTime: scanWithin,
		Match: func(r *stream.Record) (bool, error) {
			return r.Value != nil && decode.KeyIs(r.Key, key), ctx.Err()
		}}
	scan, err := c.Scan(ctx, req)
	if err != nil {
		return err
	}
	out.Scans = append(out.Scans, api.TraceScan{Cluster: c.Name(), Topic: topic, Scan: scanAnswer(scan, req)})
	var newest *replay.Item
	for i := range scan.Records {
		rec := &scan.Records[i]
		item := replay.Item{Record: rec}
		if v, err := decode.JSON(rec.Value); err == nil {
			item.Value = &v
			change, _, err := decode.Debezium(rec, &v)
			if err != nil { // its key may be of another kind
				keyless := *rec
				keyless.Key = nil
				change, _, _ = decode.Debezium(&keyless, &v)
			}
			item.Change = change
		}
		newest = &item
		out.Items = append(out.Items, m.version(c.Name(), &item))
	}
	if newest != nil {
		if newest.Schema, err = schemaOf(ctx, c, newest.Record); err != nil {
			m.log.Warn("the columns of a traced row are not known", "topic", topic, "err", err)
		} else if newest.Schema != nil {
			out.Columns = append(out.Columns, columnsOf(c.Name(), topic, newest.Schema))
		}
	}
	held, err := m.held(ctx, c, topic, newest, scan.Records)
	out.Held = append(out.Held, held...)
	return err
}

// schemaOf finds the columns that a record was written with, nil where it names none.
func schemaOf(ctx context.Context, c *kafka.Cluster, rec *stream.Record) (*stream.TableSchema, error) {
	id, ok := rec.Header(stream.SchemaHeader)
	if !ok {
		return nil, nil
	}
	schema, err := c.Schemas().Schema(ctx, string(id))
	if err != nil {
		return nil, err
	}
	return &schema, nil
}

// numericType is a decimal type or an array of it as format_type writes it, with its scale.
var numericType = regexp.MustCompile(`^(numeric|money)(?:\(\d+,(-?\d+)\))?(?:\[\])*$`)

// decimalsOf are the columns that Debezium's precise handling writes as base64 of the unscaled value.
func decimalsOf(schema *stream.TableSchema) []api.Decimal {
	if schema.Handling["decimal.handling.mode"] != "precise" {
		return nil
	}
	var out []api.Decimal
	for _, col := range schema.Columns {
		m := numericType.FindStringSubmatch(col.Base)
		if m == nil {
			continue
		}
		digits := m[2]
		if m[1] == "money" {
			digits = schema.Handling["money.fraction.digits"]
		}
		d := api.Decimal{Column: col.Name}
		if scale, err := strconv.Atoi(digits); err == nil {
			d.Scale = &scale
		}
		out = append(out, d)
	}
	return out
}

func columnsOf(cluster, topic string, schema *stream.TableSchema) api.TraceColumns {
	out := api.TraceColumns{Cluster: cluster, Topic: topic, Decimals: decimalsOf(schema), Columns: []api.TraceColumn{}}
	for _, col := range schema.Columns {
		out.Columns = append(out.Columns, api.TraceColumn{Name: col.Name, Type: col.Type, Base: col.Base})
	}
	return out
}

func (m measured) version(cluster string, item *replay.Item) api.TraceVersion {
	rec := item.Record
	out := api.TraceVersion{Cluster: cluster, Topic: rec.Topic, Partition: rec.Partition, Offset: api.ID(rec.Offset), Time: api.Time(rec.Time), Hops: []api.TraceHop{}}
	if out.Key = string(rec.Key); !utf8.Valid(rec.Key) {
		out.Key = base64.StdEncoding.EncodeToString(rec.Key)
	}
	row := freshness.Row{Cluster: cluster, Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset, Commit: lag.CommitTime(rec), Time: rec.Time, TimeType: rec.TimeType}
	if h, ok := rec.Header(stream.PositionHeader); ok {
		if p, err := stream.ParsePosition(string(h)); err == nil {
			row.Position = p
			out.Position = p.String()
		}
	}
	switch {
	case item.Change != nil:
		out.Op, out.Tx = string(item.Change.Op), item.Change.Tx
		if row.Commit.IsZero() {
			row.Commit = item.Change.CommitTime
		}
		out.Before, out.After = rowsOf(rec.Value)
	case item.Value != nil:
		out.After = rec.Value
	}
	out.Commit = api.Time(row.Commit)
	for _, a := range m.fresh.Delivery(row) {
		out.Hops = append(out.Hops, api.TraceHop{To: a.To, State: a.State, Delay: api.FromReading(a.Delay)})
	}
	return out
}

// rowsOf are the rows of an envelope as they are written in it.
func rowsOf(value []byte) (before, after json.RawMessage) {
	type envelope struct {
		Before, After json.RawMessage
	}
	var e struct {
		envelope
		Payload *envelope
	}
	if json.Unmarshal(value, &e) != nil {
		return nil, nil
	}
	if e.Payload != nil {
		e.envelope = *e.Payload
	}
	for _, r := range []*json.RawMessage{&e.Before, &e.After} {
		if string(*r) == "null" {
			*r = nil
		}
	}
	return e.Before, e.After
}

// held asks each sink that is fed with the topic for the row of the newest version.
func (m measured) held(ctx context.Context, c *kafka.Cluster, topic string, newest *replay.Item, versions []stream.Record) ([]api.HeldRow, error) {
	docs, err := m.sinkDocs.List(ctx)
	if err != nil {
		return nil, err
	}
	var list []api.HeldRow
	for _, d := range docs {
		spec := d.Value.Spec
		if len(spec.Topics) == 0 || spec.Cluster != c.Name() || !topicsMatch(spec.Topics, topic) {
			continue
		}
		row := api.HeldRow{Sink: d.Name, Topic: topic, State: "unknown"}
		if newest == nil {
			row.Why = "no version of the row was found"
		} else if held, err := m.heldBy(ctx, d.Name, newest); err != nil {
			row.Why = api.FromError(err).Message
		} else {
			row.State, row.Why, row.Table = "absent", held.Why, held.Table
			if held.Found {
				row.State, row.Row, row.Differs, row.Missing = "held", held.Row, held.Differs, held.Missing
			}
			if !held.Position.IsZero() {
				row.Position = held.Position.String()
			}
			if held.Next >= 0 {
				row.Next = api.ID(held.Next)
				behind := 0
				for i := range versions {
					if versions[i].Partition == newest.Record.Partition && versions[i].Offset >= held.Next {
						behind++
					}
				}
				row.Behind = &behind
			}
		}
		list = append(list, row)
	}
	return list, nil
}

func (m measured) heldBy(ctx context.Context, sink string, item *replay.Item) (replay.Held, error) {
	ctx, cancel := context.WithTimeout(ctx, heldWithin)
	defer cancel()
	s, err := targets(m).Open(ctx, sink)
	if err != nil {
		return replay.Held{}, err
	}
	defer s.Close()
	holder, ok := s.(replay.Holder)
	if !ok {
		return replay.Held{}, fault.New(fault.Invalid, "look at sink "+sink, "", "this kind of sink cannot be asked what it holds")
	}
	return holder.Held(ctx, replay.Shard{Owner: sink, Topic: item.Record.Topic, Partition: item.Record.Partition}, item)
}
