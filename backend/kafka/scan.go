package kafka

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"freshet/backend/clock"
	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/replay"
)

// ScanRequest says which records to look for. What is not limited by it is by what Scan allows at most.
type ScanRequest struct {
	Topic string
	// From and To bound the window: what is read are the committed records from From on and before To, of the partitions
	// that both name. The zero From is the oldest kept, From.Newest the end; a zero To is the end.
	From, To Point
	// Partitions are those to look at; none: all.
	Partitions []int32
	// Backwards looks at the newest records of the window first.
	Backwards bool
	Limit     int // records to find, 100 unless told, at most 10,000
	// Match chooses; nil takes all. An error ends the scan.
	Match func(*stream.Record) (bool, error)
	// What is looked at at most: 2,000,000 records, 1 GiB and 15 s unless told. Backwards, a stretch that was begun is
	// looked at to its end.
	MaxRecords, MaxBytes int64
	MaxTime              time.Duration
	// Wait is how long to wait at the end for a first record to be found, forwards and with a To of none.
	Wait time.Duration
}

// Why a scan ended.
const (
	StoppedLimit     = "limit"     // as many were found as were asked for
	StoppedEnd       = "end"       // the window is read
	StoppedRecords   = "records"   // as many were looked at as is allowed
	StoppedTime      = "time"      // it took as long as is allowed
	StoppedBytes     = "bytes"     // as many bytes were looked at as is allowed
	StoppedSize      = "size"      // what was found is as large as an answer may be
	StoppedCancelled = "cancelled" // its asker left
)

// ScanResult is what a scan found, and what of the log that rests on.
type ScanResult struct {
	Records []stream.Record // by time; of one partition by offset
	Scanned int64
	Matched int64          // of those scanned
	Bytes   int64          // of keys, values and headers looked at
	Window  []stream.Range // what was to be looked at, by partition
	// Next is where each partition of the window goes on forwards, Older before what it goes on backwards: everything
	// from there to the window's end is in Records or did not match.
	Next, Older map[int32]int64
	Stopped     string
	Skipped     []*UndecodableError // batches that cannot be read
	Took        time.Duration
}

const (
	defaultLimit   = 100
	maxLimit       = 10_000
	defaultRecords = 2_000_000
	defaultBytes   = 1 << 30
	defaultTime    = 15 * time.Second
	maxFound       = 64 << 20 // bytes of the records found
	sideBySide     = 16       // partitions read at once
	lookEvery      = 150 * time.Millisecond

	// A stretch is what is looked at at a time going backwards: a short one first, since how large records are is not known.
	firstStretch, maxStretch = 16, 100_000
	stretchBytes             = 4 << 20
)

func (r *ScanRequest) defaults() {
	r.Limit = min(cmp.Or(r.Limit, defaultLimit), maxLimit)
	r.MaxRecords = cmp.Or(r.MaxRecords, defaultRecords)
	r.MaxBytes = cmp.Or(r.MaxBytes, defaultBytes)
	r.MaxTime = cmp.Or(r.MaxTime, defaultTime)
}

// Scan reads committed records until enough are found or a bound is reached.
func (c *Cluster) Scan(ctx context.Context, req ScanRequest) (ScanResult, error) {
	req.defaults()
	began := time.Now()
	s := &scan{c: c, req: req}
	s.Next, s.Older = make(map[int32]int64), make(map[int32]int64)
	if err := s.look(ctx); err != nil {
		return ScanResult{}, err
	}
	if err := s.window(ctx); err != nil {
		return ScanResult{}, err
	}
	s.deadline = time.Now().Add(req.MaxTime)
	var err error
	if req.Backwards {
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
	s.Took = time.Since(began)
	return s.ScanResult, nil
}

// scan is one scan under way.
type scan struct {
	ScanResult
	c        *Cluster
	req      ScanRequest
	topic    *stream.Topic
	deadline time.Time
	size     int // bytes of what was found
}

// look asks for the topic's ends.
func (s *scan) look(ctx context.Context) error {
	topics, err := s.c.Topics(ctx, false, s.req.Topic)
	if err != nil {
		return err
	}
	if len(topics) != 1 {
		return s.c.noTopic(s.req.Topic)
	}
	s.topic = &topics[0]
	return s.topic.Err
}

// window says what is to be looked at of each partition.
func (s *scan) window(ctx context.Context) error {
	from, err := s.c.resolve(ctx, s.topic, s.req.From)
	if err != nil {
		return err
	}
	to := from
	bounded := !s.req.To.isZero()
	if bounded {
		if to, err = s.c.resolve(ctx, s.topic, s.req.To); err != nil {
			return err
		}
	}
	for _, n := range s.req.Partitions {
		if !slices.ContainsFunc(s.topic.Partitions, func(p stream.Partition) bool { return p.ID == n }) {
			return noPartition(s.topic, n)
		}
	}
	for _, p := range s.topic.Partitions {
		o, named := from[p.ID]
		end, ended := to[p.ID]
		if !named || !ended || len(s.req.Partitions) > 0 && !slices.Contains(s.req.Partitions, p.ID) {
			continue
		}
		if p.Err != nil {
			return p.Err
		}
		if s.req.From.Newest {
			o = p.Stable // what an open transaction holds back is yet to come
		}
		if o > p.End {
			return fault.New(fault.Invalid, "read "+s.req.Topic, "choose an offset within it", "partition %d ends at %d, before %d", p.ID, p.End, o)
		}
		if !bounded {
			end = p.Stable
		}
		r := stream.Range{Partition: p.ID, From: max(o, p.Start)}
		r.To = max(min(end, p.Stable), r.From)
		s.Window = append(s.Window, r)
		s.Next[p.ID] = r.From
	}
	return nil
}

func (s *scan) forwards(ctx context.Context) error {
	patience := time.Now().Add(s.req.Wait)
	ranges := slices.Clone(s.Window)
	for {
		err := s.read(ctx, ranges, s.req.Limit, func(rec *stream.Record, match bool) {
			if match {
				s.Records = append(s.Records, copyOf(rec))
			}
		}, func(partition int32, next int64) { s.Next[partition] = next })
		s.olderThanWindow()
		if err != nil || s.Matched > 0 || s.Stopped != StoppedEnd || !s.req.To.isZero() {
			return err
		}
		for grown := false; !grown; {
			if !time.Now().Before(patience) {
				return nil
			}
			if clock.Sleep(ctx, lookEvery) != nil {
				s.Stopped = StoppedCancelled
				return nil
			}
			if err := s.look(ctx); err != nil {
				return err
			}
			s.deadline = time.Now().Add(s.req.MaxTime)
			for i := range s.Window {
				w := &s.Window[i]
				for _, p := range s.topic.Partitions {
					if p.ID == w.Partition && p.Err == nil {
						w.To = max(w.To, p.Stable)
					}
				}
				ranges[i] = stream.Range{Partition: w.Partition, From: s.Next[w.Partition], To: w.To}
				grown = grown || ranges[i].To > ranges[i].From
			}
		}
	}
}

// olderThanWindow says that what lies before the window is what is older than it.
func (s *scan) olderThanWindow() {
	for _, w := range s.Window {
		for _, p := range s.topic.Partitions {
			if p.ID == w.Partition && p.Start < w.From {
				s.Older[w.Partition] = w.From
			}
		}
	}
}

// tail is one partition while it is looked at backwards.
type tail struct {
	w       stream.Range
	at      int64           // everything from here to the window's end was looked at
	front   time.Time       // the oldest time seen; what was not looked at is taken to be older. Zero: nothing seen yet
	matched []stream.Record // by offset, not yet among the newest
	stretch int64           // the next one's length
}

// backwards looks at a stretch before the end of each partition, then at the ones before it, evenly in time: it goes on
// with those partitions that may hold something newer than the oldest of the records that it would answer with. The
// answer is, of each partition, an unbroken run up to the window's end, so that Older goes on without hole or overlap.
func (s *scan) backwards(ctx context.Context) error {
	tails := make([]*tail, len(s.Window))
	for i, w := range s.Window {
		tails[i] = &tail{w: w, at: w.To, stretch: min(s.share(), firstStretch)}
		s.Next[w.Partition] = w.To
	}
	for {
		deeper := s.deeper(tails)
		s.Stopped = StoppedEnd
		switch {
		case len(deeper) == 0:
		case s.Scanned >= s.req.MaxRecords:
			s.Stopped = StoppedRecords
		case s.Bytes >= s.req.MaxBytes:
			s.Stopped = StoppedBytes
		case !time.Now().Before(s.deadline):
			s.Stopped = StoppedTime
		case s.size > maxFound:
			s.Stopped = StoppedSize
		default:
			progress, err := s.step(ctx, deeper)
			if err == nil && !progress && s.Stopped == StoppedSize {
				deeper[0].stretch = 1 // a single record always fits
				_, err = s.step(ctx, deeper[:1])
			}
			if err != nil {
				return err
			}
			if s.Stopped == StoppedEnd {
				continue
			}
		}
		break
	}
	s.newestOf(tails)
	if len(s.Records) >= s.req.Limit {
		s.Stopped = StoppedLimit
	}
	for _, t := range tails {
		older := t.at
		if n := len(t.matched); n > 0 {
			older = t.matched[n-1].Offset + 1
		}
		if older > t.w.From {
			s.Older[t.w.Partition] = older
		}
	}
	return nil
}

// share is each partition's part of the limit.
func (s *scan) share() int64 { return int64(s.req.Limit/max(len(s.Window), 1) + 1) }

// deeper are the partitions to look at further, those with the newest fronts first; none when enough was found.
func (s *scan) deeper(tails []*tail) (list []*tail) {
	var times []time.Time
	for _, t := range tails {
		var low time.Time
		for i := len(t.matched) - 1; i >= 0; i-- {
			if at := t.matched[i].Time; low.IsZero() || at.Before(low) {
				low = at
			}
			times = append(times, low)
		}
	}
	slices.SortFunc(times, func(a, b time.Time) int { return b.Compare(a) })
	enough := len(times) >= s.req.Limit
	for _, t := range tails {
		if t.at > t.w.From && (!enough || t.front.IsZero() || t.front.After(times[s.req.Limit-1])) {
			list = append(list, t)
		}
	}
	slices.SortStableFunc(list, func(a, b *tail) int {
		if a.front.IsZero() || b.front.IsZero() {
			return a.front.Compare(b.front)
		}
		return b.front.Compare(a.front)
	})
	return list[:min(len(list), sideBySide)]
}

// step looks at one more stretch of each tail, and reports whether it came to the end of one.
func (s *scan) step(ctx context.Context, tails []*tail) (progress bool, err error) {
	left := max((s.req.MaxRecords-s.Scanned)/int64(len(tails)), 1)
	bytes, size := s.Bytes, s.size
	var offsets int64
	ranges := make([]stream.Range, len(tails))
	seen := make(map[int32]*tail, len(tails))
	done := make(map[int32]int64, len(tails))
	for i, t := range tails {
		ranges[i] = stream.Range{Partition: t.w.Partition, From: max(t.w.From, t.at-min(t.stretch, left)), To: t.at}
		offsets += ranges[i].To - ranges[i].From
		seen[t.w.Partition] = &tail{front: t.front}
	}
	err = s.read(ctx, slices.Clone(ranges), 0, func(rec *stream.Record, match bool) {
		t := seen[rec.Partition]
		if t.front.IsZero() || rec.Time.Before(t.front) {
			t.front = rec.Time
		}
		if match {
			t.matched = append(t.matched, copyOf(rec))
		}
	}, func(partition int32, next int64) { done[partition] = next })
	if err != nil {
		return false, err
	}
	most := int64(maxStretch)
	if s.req.Match == nil {
		most = s.share()
	}
	perOffset := max((s.Bytes-bytes)/offsets, 1)
	s.size = size
	for i, t := range tails {
		if done[t.w.Partition] < ranges[i].To {
			continue // the rest of it would be a hole before what is shown: it is looked at again
		}
		progress = true
		now := seen[t.w.Partition]
		t.at, t.front, t.matched = ranges[i].From, now.front, append(now.matched, t.matched...)
		t.stretch = max(min(16*t.stretch, most, stretchBytes/perOffset), 1)
		for i := range now.matched {
			s.size += sizeOf(&now.matched[i])
		}
	}
	return progress, nil
}

// newestOf takes the newest records, always the last of a partition before those ahead of it.
func (s *scan) newestOf(tails []*tail) {
	for len(s.Records) < s.req.Limit {
		var newest *tail
		for _, t := range tails {
			if n := len(t.matched); n > 0 && (newest == nil || t.matched[n-1].Time.After(newest.matched[len(newest.matched)-1].Time)) {
				newest = t
			}
		}
		if newest == nil {
			return
		}
		last := len(newest.matched) - 1
		s.Records = append(s.Records, newest.matched[last])
		newest.matched = newest.matched[:last]
	}
}

// part is one partition's range being read.
type part struct {
	stream.Range
	r    replay.Reader
	b    replay.Batch // what of it was not looked at yet
	held bool         // b is a batch
}

// read looks at ranges, some at a time and of those the oldest record first, until limit records are found (0: all of
// the ranges) or a bound is reached. It tells take of each record, which it may copy, and moved how far it is.
func (s *scan) read(ctx context.Context, ranges []stream.Range, limit int, take func(rec *stream.Record, match bool), moved func(int32, int64)) error {
	ctx, cancel := context.WithDeadline(ctx, s.deadline)
	defer cancel()
	var active []*part
	defer func() {
		for _, p := range active {
			p.r.Close()
		}
	}()
	found := 0
	for {
		for len(active) < sideBySide && len(ranges) > 0 {
			r := ranges[0]
			ranges = ranges[1:]
			if r.From >= r.To {
				moved(r.Partition, r.From)
				continue
			}
			reader, err := s.c.Read(ctx, replay.ReadRequest{Topic: s.req.Topic, TopicID: s.topic.ID, Partition: r.Partition, From: r.From, To: r.To, MaxBytes: 1 << 20})
			if err != nil {
				return s.ended(ctx, err)
			}
			active = append(active, &part{Range: r, r: reader})
		}
		if len(active) == 0 {
			s.Stopped = StoppedEnd
			return nil
		}
		var oldest *part
		for i := 0; i < len(active); i++ {
			p := active[i]
			again, err := s.fill(ctx, p, moved)
			if err != nil {
				return s.ended(ctx, err)
			}
			if !p.held {
				p.r.Close()
				active = slices.Delete(active, i, i+1)
				i--
				if again.From < again.To {
					ranges = append(ranges, again)
				}
				continue
			}
			if oldest == nil || p.b.Records[0].Time.Before(oldest.b.Records[0].Time) {
				oldest = p
			}
		}
		if oldest == nil || len(active) < sideBySide && len(ranges) > 0 {
			continue
		}
		rec := &oldest.b.Records[0]
		oldest.b.Records = oldest.b.Records[1:]
		s.Scanned++
		s.Bytes += int64(sizeOf(rec))
		match := true
		if s.req.Match != nil {
			var err error
			if match, err = s.req.Match(rec); err != nil {
				return err
			}
		}
		moved(oldest.Partition, rec.Offset+1)
		take(rec, match)
		if match {
			s.Matched++
			found++
			s.size += sizeOf(rec)
		}
		switch {
		case s.Scanned%64 == 0 && ctx.Err() != nil:
			return s.ended(ctx, ctx.Err())
		case limit == 0 && s.size > 2*maxFound:
			s.Stopped = StoppedSize
		case limit == 0:
			continue
		case found >= limit:
			s.Stopped = StoppedLimit
		case s.Scanned >= s.req.MaxRecords:
			s.Stopped = StoppedRecords
		case s.Bytes >= s.req.MaxBytes:
			s.Stopped = StoppedBytes
		case s.size > maxFound:
			s.Stopped = StoppedSize
		default:
			continue
		}
		return nil
	}
}

// fill waits until p holds a record, or nothing follows: then again is what is to be read anew, behind what is lost.
func (s *scan) fill(ctx context.Context, p *part, moved func(int32, int64)) (again stream.Range, err error) {
	for {
		if p.held {
			if len(p.b.Records) > 0 {
				return again, nil
			}
			moved(p.Partition, p.b.Next)
			p.held = false
		}
		b, err := p.r.Next(ctx)
		var lost *replay.GapError
		var bad *UndecodableError
		next := int64(0)
		switch {
		case errors.Is(err, io.EOF):
			return again, nil
		case errors.As(err, &lost): // retention was faster
			next = lost.To
		case errors.As(err, &bad):
			s.Skipped = append(s.Skipped, bad)
			next = bad.To
		case err != nil:
			return again, err
		default:
			p.b, p.held = b, true
			continue
		}
		moved(p.Partition, next)
		return stream.Range{Partition: p.Partition, From: next, To: max(next, p.To)}, nil
	}
}

// copyOf is a record of its own: one that was read refers to all the bytes that it came with.
func copyOf(r *stream.Record) stream.Record {
	c := *r
	c.Key, c.Value = slices.Clone(r.Key), slices.Clone(r.Value)
	c.Headers = slices.Clone(r.Headers)
	for i := range c.Headers {
		c.Headers[i].Value = slices.Clone(c.Headers[i].Value)
	}
	return c
}

func sizeOf(r *stream.Record) int {
	n := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return n
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
