package kafka

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/replay"
)

// ScanRequest says which records to look for. What is not limited by it is by what Scan allows at most.
type ScanRequest struct {
	Topic string
	From  Point
	Limit int // records to find, 100 unless told, at most 10,000
	// Match chooses; nil takes all. An error ends the scan.
	Match func(*stream.Record) (bool, error)
	// MaxRecords and MaxTime bound what is looked at: 2,000,000 and 15 s unless told.
	MaxRecords int64
	MaxTime    time.Duration
}

// Why a scan ended.
const (
	StoppedLimit     = "limit"     // as many were found as were asked for
	StoppedEnd       = "end"       // the window is read
	StoppedRecords   = "records"   // as many were looked at as is allowed
	StoppedTime      = "time"      // it took as long as is allowed
	StoppedBytes     = "bytes"     // what was found is as large as an answer may be
	StoppedCancelled = "cancelled" // its asker left
)

// ScanResult is what a scan found, and what of the log that rests on.
type ScanResult struct {
	Records []stream.Record // by time; of one partition by offset
	Scanned int64
	Matched int64
	Window  []stream.Range  // what was to be looked at, by partition
	Next    map[int32]int64 // where each partition of the window would go on
	Stopped string
	Skipped []*UndecodableError // batches that cannot be read
}

const (
	defaultLimit   = 100
	maxLimit       = 10_000
	defaultRecords = 2_000_000
	defaultTime    = 15 * time.Second
	maxFound       = 64 << 20 // bytes of the records found
	sideBySide     = 8        // partitions read at once
)

func (r *ScanRequest) defaults() {
	r.Limit = min(cmp.Or(r.Limit, defaultLimit), maxLimit)
	r.MaxRecords = cmp.Or(r.MaxRecords, defaultRecords)
	r.MaxTime = cmp.Or(r.MaxTime, defaultTime)
}

// Scan reads committed records from a point on, or the newest ones, until enough are found or a bound is reached. From
// Point.Newest it looks backwards.
func (c *Cluster) Scan(ctx context.Context, req ScanRequest) (ScanResult, error) {
	req.defaults()
	topics, err := c.Topics(ctx, false, req.Topic)
	if err != nil {
		return ScanResult{}, err
	}
	if len(topics) != 1 {
		return ScanResult{}, c.noTopic(req.Topic)
	}
	t := &topics[0]
	if t.Err != nil {
		return ScanResult{}, t.Err
	}
	s := &scan{c: c, req: req, topic: t, deadline: time.Now().Add(req.MaxTime)}
	s.Next = make(map[int32]int64)
	if req.From.Newest {
		err = s.backwards(ctx)
	} else {
		err = s.forwards(ctx)
	}
	if err != nil {
		return ScanResult{}, err
	}
	slices.SortStableFunc(s.Records, func(a, b stream.Record) int {
		if a.Partition == b.Partition {
			return cmp.Compare(a.Offset, b.Offset)
		}
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Partition, b.Partition))
	})
	if over := len(s.Records) - req.Limit; over > 0 { // only backwards
		s.Records = s.Records[over:]
	}
	slices.SortFunc(s.Window, func(a, b stream.Range) int { return cmp.Compare(a.Partition, b.Partition) })
	return s.ScanResult, nil
}

// scan is one scan under way.
type scan struct {
	ScanResult
	c        *Cluster
	req      ScanRequest
	topic    *stream.Topic
	deadline time.Time
	bytes    int
	newest   bool
}

func (s *scan) forwards(ctx context.Context) error {
	from, err := s.c.resolve(ctx, s.topic, s.req.From)
	if err != nil {
		return err
	}
	for _, p := range s.topic.Partitions {
		o, ok := from[p.ID]
		if !ok {
			continue
		}
		if p.Err != nil {
			return p.Err
		}
		if o > p.End {
			return fault.New(fault.Invalid, "read "+s.req.Topic, "choose an offset within it", "partition %d ends at %d, before %d", p.ID, p.End, o)
		}
		r := stream.Range{Partition: p.ID, From: max(o, p.Start), To: max(p.Stable, o, p.Start)}
		s.Window = append(s.Window, r)
		s.Next[p.ID] = r.From
	}
	return s.read(ctx, s.Window, s.req.Limit)
}

// backwards looks at a stretch before the end of each partition, then at the ones before it, each four times as long.
func (s *scan) backwards(ctx context.Context) error {
	s.newest = true
	at := make(map[int32]int64)
	for _, p := range s.topic.Partitions {
		if p.Err != nil {
			return p.Err
		}
		at[p.ID] = p.Stable
		s.Window = append(s.Window, stream.Range{Partition: p.ID, From: p.Stable, To: p.Stable})
	}
	for span := int64(s.req.Limit); ; span *= 4 {
		var ranges []stream.Range
		for i, p := range s.topic.Partitions {
			if from := max(p.Start, at[p.ID]-span); from < at[p.ID] {
				ranges = append(ranges, stream.Range{Partition: p.ID, From: from, To: at[p.ID]})
				at[p.ID] = from
				s.Window[i].From = from
			}
		}
		if len(ranges) == 0 {
			s.Stopped = StoppedEnd
			break
		}
		if err := s.read(ctx, ranges, 0); err != nil {
			return err
		}
		if s.Stopped != StoppedEnd {
			break
		}
		if len(s.Records) >= s.req.Limit {
			s.Stopped = StoppedLimit
			break
		}
	}
	for _, p := range s.topic.Partitions {
		s.Next[p.ID] = p.Stable
	}
	return nil
}

// read looks at ranges, some at a time, until limit records are found (0: all of the ranges) or a bound is reached.
func (s *scan) read(ctx context.Context, ranges []stream.Range, limit int) error {
	ctx, cancel := context.WithDeadline(ctx, s.deadline)
	defer cancel()
	type part struct {
		stream.Range
		r replay.Reader
	}
	var active []*part
	defer func() {
		for _, p := range active {
			p.r.Close()
		}
	}()
	open := func(r stream.Range) error {
		reader, err := s.c.Read(ctx, replay.ReadRequest{Topic: s.req.Topic, TopicID: s.topic.ID, Partition: r.Partition, From: r.From, To: r.To, MaxBytes: 1 << 20})
		if err != nil {
			return err
		}
		active = append(active, &part{r, reader})
		return nil
	}
	for turn := 0; ; turn++ {
		for len(active) < sideBySide && len(ranges) > 0 {
			if ranges[0].From < ranges[0].To {
				if err := open(ranges[0]); err != nil {
					return s.ended(ctx, err)
				}
			}
			ranges = ranges[1:]
		}
		if len(active) == 0 {
			s.Stopped = StoppedEnd
			return nil
		}
		i := turn % len(active)
		p := active[i]
		b, err := p.r.Next(ctx)
		var lost *replay.GapError
		var bad *UndecodableError
		switch {
		case errors.Is(err, io.EOF):
			p.r.Close()
			active = slices.Delete(active, i, i+1)
			continue
		case errors.As(err, &lost): // retention was faster
			p.r.Close()
			active = slices.Delete(active, i, i+1)
			s.moved(p.Partition, lost.To)
			ranges = append(ranges, stream.Range{Partition: p.Partition, From: lost.To, To: p.To})
			continue
		case errors.As(err, &bad):
			s.Skipped = append(s.Skipped, bad)
			p.r.Close()
			active = slices.Delete(active, i, i+1)
			s.moved(p.Partition, bad.To)
			ranges = append(ranges, stream.Range{Partition: p.Partition, From: bad.To, To: max(bad.To, p.To)})
			continue
		case err != nil:
			return s.ended(ctx, err)
		}
		for j := range b.Records {
			rec := &b.Records[j]
			s.Scanned++
			match := true
			if s.req.Match != nil {
				if match, err = s.req.Match(rec); err != nil {
					return err
				}
			}
			s.moved(p.Partition, rec.Offset+1)
			if match {
				s.Matched++
				s.found(rec)
			}
			switch {
			case limit > 0 && len(s.Records) >= limit:
				s.Stopped = StoppedLimit
			case s.Scanned >= s.req.MaxRecords:
				s.Stopped = StoppedRecords
			case s.bytes > maxFound:
				s.Stopped = StoppedBytes
			default:
				continue
			}
			return nil
		}
		s.moved(p.Partition, b.Next)
	}
}

func (s *scan) moved(partition int32, next int64) {
	if !s.newest {
		s.Next[partition] = next
	}
}

// found keeps a copy: a record refers to all the bytes that it came with. Looking backwards, each partition can hold all
// the newest ones, so what is surely not among them goes again.
func (s *scan) found(r *stream.Record) {
	c := *r
	c.Key, c.Value = slices.Clone(r.Key), slices.Clone(r.Value)
	c.Headers = slices.Clone(r.Headers)
	s.bytes += len(c.Key) + len(c.Value)
	for i := range c.Headers {
		c.Headers[i].Value = slices.Clone(c.Headers[i].Value)
		s.bytes += len(c.Headers[i].Value)
	}
	s.Records = append(s.Records, c)
	if s.newest && len(s.Records) >= 4*s.req.Limit+1000 {
		slices.SortStableFunc(s.Records, func(a, b stream.Record) int { return a.Time.Compare(b.Time) })
		s.Records = slices.Clone(s.Records[len(s.Records)-s.req.Limit:])
		s.bytes = 0
		for i := range s.Records {
			s.bytes += len(s.Records[i].Key) + len(s.Records[i].Value)
		}
	}
}

// ended tells a bound that was reached from a failure.
func (s *scan) ended(ctx context.Context, err error) error {
	switch {
	case ctx.Err() == nil:
		return err
	case errors.Is(ctx.Err(), context.DeadlineExceeded) && !time.Now().Before(s.deadline):
		s.Stopped = StoppedTime
	default:
		s.Stopped = StoppedCancelled
	}
	return nil
}
