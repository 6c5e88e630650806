package app

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"freshet/backend/api"
	"freshet/backend/decode"
	"freshet/backend/fault"
	"freshet/backend/kafka"
	"freshet/backend/stream"
	"freshet/probes/lag"
	"freshet/replay/filter"
)

// records read what is in topics, as the API has it.
type records struct{ *App }

const (
	// shownBytes bounds a key, value or header in an answer; the whole of it is exported with its bytes.
	shownBytes = 1 << 20
	// rowBytes bounds one in a row, and rowDecoded a value that is shown decoded there.
	rowBytes   = 2 << 10
	rowDecoded = 8 << 10
	// What one look for records may cost; where it stopped, the next goes on.
	scanWithin  = 8 * time.Second
	scanRecords = 2_000_000
	scanBytes   = 1 << 30
)

func (r records) Records(ctx context.Context, q api.RecordQuery) (api.Records, error) {
	out := api.Records{Head: api.Head{V: 1, Kind: "topics.read"}, Items: []api.Record{}}
	c, req, note, err := r.selection(ctx, q.Selection)
	if err != nil {
		return out, err
	}
	if q.Order != "" {
		req.Backwards = q.Order == "newest"
	}
	req.Limit, req.Wait = q.Limit, time.Duration(q.Wait*float64(time.Second))
	req.MaxRecords, req.MaxBytes, req.MaxTime = scanRecords, scanBytes, scanWithin
	if q.MaxRecords > 0 {
		req.MaxRecords = min(req.MaxRecords, q.MaxRecords)
	}
	if q.MaxBytes > 0 {
		req.MaxBytes = min(req.MaxBytes, q.MaxBytes)
	}
	if q.MaxSeconds > 0 {
		req.MaxTime = time.Duration(q.MaxSeconds * float64(time.Second))
	}
	scan, err := c.Scan(ctx, req)
	if err != nil {
		return out, err
	}
	for i := range scan.Records {
		out.Items = append(out.Items, recordAnswer(&scan.Records[i], q.Shape == "row"))
	}
	r.decimals(ctx, c, scan.Records, out.Items)
	out.Scan = scanAnswer(scan, req)
	out.Scan.Note = note
	return out, nil
}

// selection is what a query selects, before it is bounded; note is what a person must know of it.
func (r records) selection(ctx context.Context, q api.Selection) (c *kafka.Cluster, req kafka.ScanRequest, note string, err error) {
	req.Topic = q.Topic
	if c, err = r.cluster(q.Cluster); err != nil {
		return
	}
	op := "read " + q.Topic
	from := q.From
	switch {
	case q.At == "ends":
		from = "newest"
	case q.At != "":
		req.From, err = kafka.ParseOffsets(q.At)
	case from == "" && q.Until == "" && q.Before == "":
		from = "newest"
	}
	if q.At != "" && q.From != "" {
		err = fault.New(fault.Invalid, op, "give one of them", "from and at both say where to begin")
	}
	if err != nil {
		return
	}
	if from != "" {
		if req.From, err = kafka.ParsePoint(from); err != nil {
			return
		}
	}
	if req.From.Newest && q.At == "" {
		req.From, req.Backwards = kafka.Point{}, true
	}
	switch {
	case q.Before != "":
		req.Backwards = true
		req.To, err = kafka.ParseOffsets(q.Before)
	case q.Until != "":
		if req.To, err = kafka.ParsePoint(q.Until); err == nil && req.To.Time.IsZero() {
			err = fault.New(fault.Invalid, op, "write it as 2026-11-25T04:00:00Z or -15m", "until is %q, which is no time", q.Until)
		}
	}
	if err != nil {
		return
	}
	if q.Partitions != "" {
		for p := range strings.SplitSeq(q.Partitions, ",") {
			n, err := strconv.ParseUint(p, 10, 31)
			if err != nil {
				return c, req, "", fault.New(fault.Invalid, op, "write them as 0,3", "%q is no partition", p)
			}
			req.Partitions = append(req.Partitions, int32(n))
		}
	}
	key := []byte(q.Key)
	if q.KeyBase64 != "" {
		if q.Key != "" {
			return c, req, "", fault.New(fault.Invalid, op, "give one of them", "key and key_base64 both say what the key is")
		}
		if key, err = base64.StdEncoding.DecodeString(q.KeyBase64); err != nil {
			return c, req, "", fault.New(fault.Invalid, op, "write the key's bytes in base64", "key_base64: %w", err)
		}
	}
	if q.OnePartition {
		if len(key) == 0 {
			return c, req, "", fault.New(fault.Invalid, op, "give a key", "one_partition is for a key")
		}
		t, err := c.Topics(ctx, false, q.Topic)
		if err != nil {
			return c, req, "", err
		}
		if len(t) == 1 && len(t[0].Partitions) > 1 {
			n := len(t[0].Partitions)
			p := kafka.PartitionOf(key, n)
			req.Partitions = []int32{p}
			note = fmt.Sprintf("only partition %d of %d was looked at: producers put a key of exactly these bytes there (murmur2), unless they partition in a way of their own", p, n)
		}
	}
	req.Match, err = matcher(ctx, q.Filter, q.Key, key)
	return c, req, note, err
}

// matcher is what a query selects by; nil selects everything. A record that the expression cannot be evaluated on does
// not match.
func matcher(ctx context.Context, expression, text string, key []byte) (func(*stream.Record) (bool, error), error) {
	if expression == "" && len(key) == 0 {
		return nil, nil
	}
	var e *filter.Evaluator
	if expression != "" {
		f, err := filter.Compile(expression, filter.Options{Now: time.Now(), Decode: decode.JSON})
		if err != nil {
			return nil, err
		}
		e = f.Evaluator(nil)
	}
	return func(r *stream.Record) (bool, error) {
		switch {
		case text != "" && !decode.KeyIs(r.Key, text), text == "" && len(key) > 0 && !bytes.Equal(r.Key, key):
			return false, nil
		case e == nil:
			return true, nil
		}
		ok, err := e.Match(ctx, r)
		return ok && err == nil, ctx.Err()
	}, nil
}

func scanAnswer(scan kafka.ScanResult, req kafka.ScanRequest) api.Scan {
	out := api.Scan{
		Scanned: api.ID(scan.Scanned), Matched: api.ID(scan.Matched), Bytes: api.ID(scan.Bytes), Seconds: scan.Took.Round(time.Millisecond).Seconds(),
		Stopped: scan.Stopped, Next: map[string]string{}, Window: []api.ScanWindow{},
		Limits: api.ScanLimits{Records: api.ID(req.MaxRecords), Bytes: api.ID(req.MaxBytes), Seconds: req.MaxTime.Seconds()},
	}
	if len(scan.Skipped) > 0 {
		out.Stopped += fmt.Sprintf("; %d batches could not be read", len(scan.Skipped))
	}
	var total, covered int64
	for _, w := range scan.Window {
		out.Window = append(out.Window, api.ScanWindow{Partition: w.Partition, From: api.ID(w.From), To: api.ID(w.To)})
		total += w.To - w.From
		if !req.Backwards {
			covered += scan.Next[w.Partition] - w.From
		} else {
			covered += w.To - max(scan.Older[w.Partition], w.From)
		}
	}
	out.Total, out.Covered = api.ID(total), api.ID(covered)
	for p, o := range scan.Next {
		out.Next[fmt.Sprint(p)] = api.ID(o)
	}
	if len(scan.Older) > 0 {
		out.Older = map[string]string{}
	}
	for p, o := range scan.Older {
		out.Older[fmt.Sprint(p)] = api.ID(o)
	}
	return out
}

// Previous looks backwards from a record for the same key.
func (r records) Previous(ctx context.Context, at api.RecordPlace) (api.Previous, error) {
	out := api.Previous{Head: api.Head{V: 1, Kind: "topics.previous"}}
	c, err := r.cluster(at.Cluster)
	if err != nil {
		return out, err
	}
	here, err := kafka.ParsePoint(fmt.Sprintf("%d:%s", at.Partition, at.Offset))
	if err != nil {
		return out, err
	}
	req := kafka.ScanRequest{Topic: at.Topic, From: here, Limit: 1, MaxRecords: 1, MaxBytes: scanBytes, MaxTime: scanWithin}
	found, err := c.Scan(ctx, req)
	if err != nil {
		return out, err
	}
	offset := here.Offsets[at.Partition]
	if len(found.Records) == 0 || found.Records[0].Offset != offset {
		return out, fault.New(fault.NotFound, fmt.Sprintf("read %s/%d", at.Topic, at.Partition), "take the offset of a record", "there is no record at offset %d", offset)
	}
	key := found.Records[0].Key
	if key == nil {
		out.Scan, out.Why = scanAnswer(found, req), "the record has no key"
		return out, nil
	}
	req = kafka.ScanRequest{Topic: at.Topic, To: here, Backwards: true, Limit: 1, MaxRecords: scanRecords, MaxBytes: scanBytes, MaxTime: scanWithin,
		Match: func(r *stream.Record) (bool, error) { return r.Key != nil && bytes.Equal(r.Key, key), nil }}
	found, err = c.Scan(ctx, req)
	if err != nil {
		return out, err
	}
	out.Scan = scanAnswer(found, req)
	switch {
	case len(found.Records) > 0:
		record := []api.Record{recordAnswer(&found.Records[0], false)}
		r.decimals(ctx, c, found.Records, record)
		out.Record = &record[0]
	case found.Stopped == kafka.StoppedEnd:
		out.Why = "the log holds no earlier record with this key"
	default:
		out.Why = "none was found as far as it was looked"
	}
	return out, nil
}

// decimals tells which columns of the changes among records are decimals that one cannot read as they stand. Where a
// schema cannot be had, theirs and those after it stay as they stand: the records are what was asked for.
func (r records) decimals(ctx context.Context, c *kafka.Cluster, records []stream.Record, answers []api.Record) {
	known := map[string][]api.Decimal{}
	for i := range records {
		id, ok := records[i].Header(stream.SchemaHeader)
		if !ok || answers[i].Op == "" {
			continue
		}
		list, ok := known[string(id)]
		if !ok {
			schema, err := schemaOf(ctx, c, &records[i])
			if err != nil {
				r.log.Warn("the columns of a record are not known", "topic", records[i].Topic, "offset", records[i].Offset, "err", err)
				return
			}
			list = decimalsOf(schema)
			known[string(id)] = list
		}
		answers[i].Decimals = list
	}
}

func recordAnswer(r *stream.Record, row bool) api.Record {
	out := api.Record{
		Topic: r.Topic, Partition: r.Partition, Offset: api.ID(r.Offset), Time: api.Time(r.Time), TimeType: r.TimeType.String(),
		Key: payload(r.Key, row), Value: payload(r.Value, row), Commit: api.Time(lag.CommitTime(r)),
	}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, api.RecordHeader{Name: h.Key, Value: payload(h.Value, row)})
	}
	if h, ok := r.Header(stream.PositionHeader); ok {
		if p, err := stream.ParsePosition(string(h)); err == nil {
			out.Position = p.String()
		}
	}
	if len(r.Value) == 0 || len(r.Value) > shownBytes {
		return out
	}
	v, err := decode.JSON(r.Value)
	if err != nil {
		return out
	}
	keyless := *r // what the key is does not matter here
	keyless.Key = nil
	if change, ok, err := decode.Debezium(&keyless, &v); ok && err == nil {
		out.Op, out.Commit = string(change.Op), api.Time(change.CommitTime)
	}
	switch {
	case !row:
		out.Decoded = r.Value
	case len(r.Value) <= rowDecoded:
		out.Decoded, out.Value.Text, out.Value.Cut = r.Value, "", false
	}
	return out
}

// payload is bytes as an answer has them. Of a row there is text or base64, and of either only the beginning.
func payload(b []byte, row bool) *api.Payload {
	if b == nil {
		return nil
	}
	p := &api.Payload{Size: len(b), Bytes: b}
	most := shownBytes
	if row {
		most = rowBytes
	}
	valid := utf8.Valid(b)
	if len(b) > most {
		for valid && row && !utf8.RuneStart(b[most]) {
			most--
		}
		p.Bytes, p.Cut = b[:most], true
	}
	if row && valid || utf8.Valid(p.Bytes) {
		p.Text = string(p.Bytes)
		if row {
			p.Bytes = nil
		}
	}
	return p
}
