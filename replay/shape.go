package replay

import (
	"context"
	"errors"
	"io"
	"strconv"
	"time"

	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/replay/filter"
)

// shape is what is done to records between the source and the sink.
type shape struct {
	filter   *filter.Filter // nil selects every record
	onFilter OnError
	from, to time.Time // records outside [from, to) are filtered out; zero for no bound
	changes  bool      // the sink needs decoded changes
	onDecode OnError
	decode   filter.Decoder
	change   func(*stream.Record, *stream.Value) (*stream.Change, bool, error)
	schemas  Schemas
	skip     map[int64]bool // offsets in doubt: they are counted, and not sent again
}

// piece is a stretch [from, next) of a partition with every offset of it accounted for.
type piece struct {
	from, next int64
	items      []Item
	counts     Counts // without Written, and without what the sink refuses
	parked     []Parked
	bytes      int64
	// The commit time, else the record time, of the oldest and the newest item.
	oldest, newest time.Time
}

func (p *piece) empty() bool { return p.from == p.next }

// tells reports whether something is to be written for it besides progress.
func (p *piece) tells() bool { return len(p.items) > 0 || len(p.parked) > 0 }

// merge appends q, which follows p.
func (p *piece) merge(q *piece) {
	if p.empty() {
		*p = *q
		return
	}
	p.next = q.next
	p.items = append(p.items, q.items...)
	p.counts.Add(q.counts)
	p.parked = append(p.parked, q.parked...)
	p.bytes += q.bytes
	p.times(q.oldest)
	p.times(q.newest)
}

func (p *piece) times(t time.Time) {
	if t.IsZero() {
		return
	}
	if p.oldest.IsZero() || t.Before(p.oldest) {
		p.oldest = t
	}
	if t.After(p.newest) {
		p.newest = t
	}
}

// stopError ends a shard for a rule.
type stopError struct {
	blocker Blocker
	err     error
}

func (e *stopError) Error() string { return e.err.Error() }
func (e *stopError) Unwrap() error { return e.err }

// shaper shapes one partition's records, for one goroutine.
type shaper struct {
	*shape
	owner     string
	topic     string
	partition int32
	evaluator *filter.Evaluator
	schema    *stream.TableSchema // the last one used

	at    *stream.Record // whose value is decoded
	value *stream.Value
	err   error

	newest   time.Time // record time, for disorder
	disorder time.Duration
}

func (s *shape) shaper(owner, topic string, partition int32) *shaper {
	r := &shaper{shape: s, owner: owner, topic: topic, partition: partition}
	if s.filter != nil {
		r.evaluator = s.filter.Evaluator(r.decoded)
	}
	return r
}

// decoded decodes a record's value once.
func (s *shaper) decoded(rec *stream.Record) (*stream.Value, error) {
	if s.at == rec {
		return s.value, s.err
	}
	s.at, s.value, s.err = rec, nil, nil
	if rec.Value == nil {
		return nil, nil
	}
	if s.decode == nil {
		s.err = fault.New(fault.Internal, "decode a record", "", "no decoder is set")
		return nil, s.err
	}
	v, err := s.decode(rec.Value)
	if s.err = err; err == nil {
		s.value = &v
	}
	return s.value, s.err
}

// add shapes one record into p, all but counting it as seen.
func (s *shaper) add(ctx context.Context, p *piece, rec *stream.Record) error {
	if rec.Time.After(s.newest) {
		s.newest = rec.Time
	} else if d := s.newest.Sub(rec.Time); d > s.disorder {
		s.disorder = d
	}
	if !s.from.IsZero() && rec.Time.Before(s.from) || !s.to.IsZero() && !rec.Time.Before(s.to) {
		p.counts.Filtered++
		return nil
	}
	if s.evaluator != nil {
		ok, err := s.evaluator.Match(ctx, rec)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return s.fail(p, rec, s.onFilter, ParkFilter, BlockFilter, err.Error())
		}
		if !ok {
			p.counts.Filtered++
			return nil
		}
	}
	if s.skip[rec.Offset] {
		p.counts.InDoubt++
		return nil
	}
	item := Item{Record: rec}
	if s.changes {
		value, err := s.decoded(rec)
		if err != nil {
			return s.fail(p, rec, s.onDecode, ParkDecode, BlockDecode, "the value could not be decoded: "+err.Error())
		}
		item.Value = value
		if item.Change, _, err = s.change(rec, value); err != nil {
			return s.fail(p, rec, s.onDecode, ParkDecode, BlockDecode, "the change event is malformed: "+err.Error())
		}
		if item.Change != nil {
			if item.Schema, err = s.schemaOf(ctx, rec); err != nil {
				return err
			}
		}
	}
	p.items = append(p.items, item)
	p.bytes += recordSize(rec)
	p.times(commitTime(rec))
	return nil
}

func (s *shaper) fail(p *piece, rec *stream.Record, policy OnError, kind ParkKind, blocker Blocker, reason string) error {
	switch policy {
	case OnErrorDrop:
		p.counts.Filtered++
		p.counts.Dropped++
	case OnErrorDLQ:
		p.counts.DLQ++
		p.parked = append(p.parked, Parked{Owner: s.owner, Topic: s.topic, Partition: s.partition, Offset: rec.Offset, Kind: kind, Reason: reason})
	default:
		return &stopError{blocker, fault.New(fault.Blocked, "shape "+place(s.topic, s.partition, rec.Offset),
			"look at the record; a new plan may set it aside instead", "%s", reason)}
	}
	return nil
}

func (s *shaper) schemaOf(ctx context.Context, rec *stream.Record) (*stream.TableSchema, error) {
	id, ok := rec.Header(stream.SchemaHeader)
	if !ok || s.schemas == nil {
		return nil, nil
	}
	if s.schema != nil && s.schema.ID == string(id) {
		return s.schema, nil
	}
	t, err := s.schemas.Schema(ctx, string(id))
	if err != nil {
		return nil, &sourceError{fault.Wrap(fault.Unavailable, "find the schema of "+place(s.topic, s.partition, rec.Offset), err, "")}
	}
	s.schema = &t
	return s.schema, nil
}

// holes are the offsets of a batch that hold no record and are not given to a piece yet.
type holes struct{ control, aborted, compacted int64 }

// take moves n of them to c. A batch says how many of each kind it holds, not where: where a batch is cut, the kinds may
// shift between the parts, the sum never.
func (h *holes) take(n int64, c *Counts) bool {
	for _, k := range []struct{ from, to *int64 }{{&h.control, &c.Control}, {&h.aborted, &c.Aborted}, {&h.compacted, &c.Compacted}} {
		m := min(n, *k.from)
		*k.from -= m
		*k.to += m
		n -= m
	}
	return n == 0
}

// read reads [from, to) and gives it to emit in pieces of at most maxItems items, about, and maxBytes bytes. It returns
// nil at the end, which a to of -1 has none of.
func (s *shaper) read(ctx context.Context, r Reader, from int64, maxItems int, maxBytes int64, emit func(*piece) error) error {
	next := from
	for {
		b, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return &sourceError{err}
		}
		if b.From != next {
			return s.miscounted(next, "the next batch begins at %d", b.From)
		}
		left := holes{b.Control, b.Aborted, b.Compacted}
		p := &piece{from: next, next: next}
		for i := range b.Records {
			rec := &b.Records[i]
			if rec.Offset < p.next || !left.take(rec.Offset-p.next, &p.counts) {
				return s.miscounted(p.next, "the record at %d does not follow", rec.Offset)
			}
			p.next = rec.Offset
			if err := s.add(ctx, p, rec); err != nil {
				if !p.empty() {
					if err := emit(p); err != nil {
						return err
					}
				}
				return err
			}
			p.counts.Seen++
			p.next = rec.Offset + 1
			if len(p.items) >= maxItems || p.bytes >= maxBytes {
				if err := emit(p); err != nil {
					return err
				}
				p = &piece{from: p.next, next: p.next}
			}
		}
		if b.Next < p.next || !left.take(b.Next-p.next, &p.counts) || left != (holes{}) {
			return s.miscounted(p.next, "the batch ends at %d", b.Next)
		}
		p.next = b.Next
		if !p.empty() {
			if err := emit(p); err != nil {
				return err
			}
		}
		next = b.Next
	}
}

// miscounted is a source that leaves offsets unaccounted for.
func (s *shaper) miscounted(at int64, format string, args ...any) error {
	err := fault.New(fault.Internal, "read "+place(s.topic, s.partition, at), "", format, args...)
	return &stopError{BlockMismatch, err}
}

func place(topic string, partition int32, offset int64) string {
	return topic + "/" + strconv.Itoa(int(partition)) + ":" + strconv.FormatInt(offset, 10)
}

// recordSize is what a record holds, in bytes.
func recordSize(r *stream.Record) int64 {
	n := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return int64(n)
}

// commitTime is when the source committed a record, else the record's own time.
func commitTime(r *stream.Record) time.Time {
	if h, ok := r.Header(stream.CommitTimeHeader); ok {
		if us, err := strconv.ParseInt(string(h), 10, 64); err == nil {
			return time.UnixMicro(us)
		}
	}
	return r.Time
}
