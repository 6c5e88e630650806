package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"freshet/backend/clock"
	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/replay"
)

var (
	_ replay.Source = (*Cluster)(nil)
	_ replay.Reader = (*Reader)(nil)
)

// Topic returns the topic with its ends and Config; fault.NotFound where there is none.
func (c *Cluster) Topic(ctx context.Context, name string) (stream.Topic, error) {
	topics, err := c.Topics(ctx, false, name)
	if err != nil {
		return stream.Topic{}, err
	}
	if len(topics) != 1 {
		return stream.Topic{}, c.noTopic(name)
	}
	t := topics[0]
	if t.Err != nil {
		return t, t.Err
	}
	t.Config, err = c.topicConfig(ctx, name)
	return t, err
}

func (c *Cluster) topicConfig(ctx context.Context, name string) (map[string]string, error) {
	settings, err := c.Settings(ctx, name)
	config := make(map[string]string, len(settings))
	for _, s := range settings {
		if !s.Hidden {
			config[s.Name] = s.Value
		}
	}
	return config, err
}

// OffsetsAt returns for each partition the first offset whose record has a timestamp of at or later, and the end where
// there is none.
func (c *Cluster) OffsetsAt(ctx context.Context, topic string, at time.Time) (map[int32]replay.OffsetEpoch, error) {
	cl, err := c.client()
	if err != nil {
		return nil, err
	}
	meta, err := c.topicMeta(ctx, cl, 0, topic)
	if err != nil {
		return nil, err
	}
	ask := make(map[stream.TopicPartition]int64, len(meta.Partitions))
	offsets := make(map[int32]replay.OffsetEpoch, len(ask))
	// After the last record by time comes the end; a second question finds it.
	for _, ms := range []int64{max(at.UnixMilli(), 0), latest} {
		clear(ask)
		for _, p := range meta.Partitions {
			if _, known := offsets[p.Partition]; !known {
				ask[stream.TopicPartition{Topic: topic, Partition: p.Partition}] = ms
			}
		}
		got, err := c.listOffsets(ctx, cl, false, ask)
		if err != nil {
			return nil, err
		}
		for tp := range ask {
			switch o, ok := got[tp]; {
			case !ok:
				return nil, fault.New(fault.Unavailable, "ask for offsets of "+topic, "try again", "the leader of partition %d did not answer", tp.Partition)
			case o.err != nil:
				return nil, o.err
			case o.offset >= 0:
				offsets[tp.Partition] = replay.OffsetEpoch{Offset: o.offset, Epoch: o.epoch}
			}
		}
	}
	return offsets, nil
}

const (
	// defaultBatch is how many bytes one batch takes, about, and one partition's part of an answer.
	defaultBatch = 2 << 20
	patience     = 15 * time.Second
)

// Read reads one partition's committed records from an exact offset on. See replay.Source.
func (c *Cluster) Read(ctx context.Context, req replay.ReadRequest) (replay.Reader, error) {
	cl, err := c.client()
	if err != nil {
		return nil, err
	}
	meta, err := c.topicMeta(ctx, cl, 0, req.Topic)
	if err != nil {
		return nil, err
	}
	if req.TopicID != ([16]byte{}) && meta.TopicID != req.TopicID {
		return nil, recreated(req.Topic)
	}
	known := false
	for _, p := range meta.Partitions {
		known = known || p.Partition == req.Partition
	}
	if !known {
		return nil, fault.New(fault.NotFound, "read "+req.Topic, "", "there is no partition %d", req.Partition)
	}
	if req.From < 0 || req.To >= 0 && req.To < req.From {
		return nil, fault.New(fault.Invalid, "read "+req.Topic, "", "offsets %d to %d", req.From, req.To)
	}
	r := &Reader{
		c: c, tp: stream.TopicPartition{Topic: req.Topic, Partition: req.Partition}, id: meta.TopicID,
		pos: req.From, to: req.To, bytes: req.MaxBytes,
		raw: make(chan stretch, 1), out: make(chan result, 1),
	}
	if r.bytes <= 0 {
		r.bytes = defaultBatch
	}
	for i := range r.lanes {
		if r.lanes[i], err = c.lane(i); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	c.readers[r] = struct{}{}
	ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	r.wg.Go(func() { r.fetch(ctx, req.From) })
	r.wg.Go(func() { r.decode(ctx, req.From) })
	return r, nil
}

func recreated(topic string) error {
	return &fault.Error{Kind: fault.Drifted, Op: "read " + topic, Code: "TOPIC_RECREATED",
		Err:  errors.New("the topic was deleted and made anew since: its offsets mean other records now"),
		Next: "plan again on the topic as it is now"}
}

// Reader reads one partition in order, ahead of its user: while one batch is worked on the next is decoded and the one
// after is on its way. Records of a batch stay valid for as long as they are held.
type Reader struct {
	c     *Cluster
	tp    stream.TopicPartition
	id    [16]byte
	to    int64 // -1 none
	bytes int32
	lanes [2]*lane

	raw    chan stretch
	out    chan result
	cancel context.CancelFunc
	wg     sync.WaitGroup
	once   sync.Once

	pos  int64 // of the user
	last error // that repeats

	waits atomic.Pointer[Waiting]
}

// stretch is fetched bytes that begin where the last one ended, or an error in their place.
type stretch struct {
	next int64 // after its last whole batch
	f    fetched
	err  error
	last bool // nothing follows
}

type result struct {
	b    replay.Batch
	err  error
	last bool // err repeats
}

// Waiting says that a reader is held up by a transaction that somebody else has left open.
type Waiting struct {
	Offset int64 // the first that the transaction holds back
	End    int64 // the partition's end
	Since  time.Time
}

// Waiting tells whether the reader waits for an open transaction now.
func (r *Reader) Waiting() (Waiting, bool) {
	if w := r.waits.Load(); w != nil {
		return *w, true
	}
	return Waiting{}, false
}

// Next returns what follows. See replay.Reader.
func (r *Reader) Next(ctx context.Context) (replay.Batch, error) {
	if r.last != nil {
		return replay.Batch{}, r.last
	}
	if r.to >= 0 && r.pos >= r.to {
		r.last = io.EOF
		return replay.Batch{}, io.EOF
	}
	select {
	case res, ok := <-r.out:
		switch {
		case !ok:
			r.last = fault.New(fault.Interrupted, "read "+r.tp.Topic, "", "the reader was closed")
			return replay.Batch{}, r.last
		case res.err != nil:
			if res.last {
				r.last = res.err
			}
			return replay.Batch{}, res.err
		}
		r.pos = res.b.Next
		return res.b, nil
	case <-ctx.Done():
		return replay.Batch{}, r.c.explain("read "+r.tp.Topic, ctx.Err())
	}
}

// Close ends the reading.
func (r *Reader) Close() {
	r.once.Do(func() {
		r.cancel()
		r.wg.Wait()
		r.c.mu.Lock()
		delete(r.c.readers, r)
		r.c.mu.Unlock()
	})
}

// cleanup tells what may take records from the topic: compaction, and whether anything else.
func (r *Reader) cleanup(ctx context.Context) (compacts, deletes bool, err error) {
	config, err := r.c.topicConfig(ctx, r.tp.Topic)
	policy := config["cleanup.policy"]
	compacts = strings.Contains(policy, "compact")
	return compacts, !compacts || strings.Contains(policy, "delete"), err
}

// deletes reports whether records are lost where the log's start has moved; where it cannot be told, they are.
func (r *Reader) deletes(ctx context.Context) bool {
	_, deletes, err := r.cleanup(ctx)
	return deletes || err != nil
}

// fetch brings stretches until To, an error that repeats, or the end of the reader.
func (r *Reader) fetch(ctx context.Context, pos int64) {
	defer close(r.raw)
	send := func(s stretch) bool {
		select {
		case r.raw <- s:
			return true
		case <-ctx.Done():
			return false
		}
	}
	var (
		epoch   int32 = -1
		leader  int32 = -1
		stable  int64 // as last told
		empty   int   // answers in a row that should have held something
		failing time.Time
		size    = r.bytes
		backoff = 10 * time.Millisecond
	)
	for ctx.Err() == nil && (r.to < 0 || pos < r.to) {
		var err error
		if leader < 0 {
			leader, err = r.leader(ctx)
		}
		var f fetched
		if err == nil {
			kind := cold
			if pos < stable {
				kind = hot
			}
			f, err = r.lanes[kind].get(ctx, leader, want{tp: r.tp, id: r.id, pos: pos, epoch: epoch, bytes: size})
		}
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			err, final := r.judge(ctx, pos, err)
			if final {
				send(stretch{err: err, last: true})
				return
			}
			leader = -1
			if failing.IsZero() {
				failing = time.Now()
			} else if time.Since(failing) > patience {
				failing = time.Now()
				if !send(stretch{err: err}) {
					return
				}
			}
			if clock.Sleep(ctx, backoff) != nil {
				return
			}
			backoff = min(2*backoff, time.Second)
			continue
		}
		failing, backoff = time.Time{}, 10*time.Millisecond
		if f.diverged >= 0 {
			send(stretch{err: r.truncated(pos, f.diverged), last: true})
			return
		}
		stable = f.stable
		r.wait(pos, f)
		next, lastEpoch := lastOffset(f.raw, pos)
		if next == pos {
			if pos >= f.stable {
				empty = 0
				continue
			}
			// Committed offsets and not one whole batch: it does not fit, or nothing is left of them.
			empty++
			switch {
			case size < maxResult:
				size = min(4*size, maxResult)
				continue
			case empty < 6:
				continue
			}
			// Nothing but compaction empties a range, so elsewhere the answer only left this partition out.
			compacted, _, err := r.cleanup(ctx)
			if err == nil && !compacted {
				err = fault.New(fault.Unavailable, "read "+r.tp.Topic, "look at the load and the log of the broker",
					"partition %d has offsets %d to %d and the broker answers none of them", r.tp.Partition, pos, f.stable)
			}
			if err != nil {
				if ctx.Err() != nil || !send(stretch{err: err}) || clock.Sleep(ctx, time.Second) != nil {
					return
				}
				empty = 0
				continue
			}
			f.raw, next = nil, f.stable
		}
		empty, size, epoch = 0, r.bytes, lastEpoch
		if !send(stretch{next: next, f: f}) {
			return
		}
		pos = next
	}
}

// wait notes whether an open transaction is what holds the reader up.
func (r *Reader) wait(pos int64, f fetched) {
	old := r.waits.Load()
	if pos < f.stable || f.stable >= f.high {
		if old != nil {
			r.waits.Store(nil)
		}
		return
	}
	w := Waiting{Offset: f.stable, End: f.high, Since: time.Now()}
	if old != nil && old.Offset == w.Offset {
		w.Since = old.Since
	}
	r.waits.Store(&w)
}

// leader finds who leads the partition, and that the topic is still the one that is read.
func (r *Reader) leader(ctx context.Context) (int32, error) {
	// Each lane's client must know the broker.
	leader := int32(-1)
	for _, l := range r.lanes {
		meta, err := r.c.topicMeta(ctx, l.client, 0, r.tp.Topic)
		if err != nil {
			return -1, err
		}
		if r.id != ([16]byte{}) && meta.TopicID != r.id {
			return -1, recreated(r.tp.Topic)
		}
		leader = -1
		for _, p := range meta.Partitions {
			if p.Partition == r.tp.Partition {
				leader = p.Leader
			}
		}
		if leader < 0 {
			return -1, kerr.LeaderNotAvailable
		}
	}
	return leader, nil
}

// judge says what an error is to the user, and whether asking again cannot help.
func (r *Reader) judge(ctx context.Context, pos int64, err error) (_ error, final bool) {
	op := fmt.Sprintf("read %s/%d", r.tp.Topic, r.tp.Partition)
	var ke *kerr.Error
	if errors.As(err, &ke) {
		switch ke {
		case kerr.OffsetOutOfRange:
			return r.outOfRange(ctx, pos)
		case kerr.UnknownTopicID, kerr.InconsistentTopicID, kerr.UnknownTopicOrPartition:
			// Also what a broker says that does not know the topic yet: the next look at its leader decides.
			return r.c.explain(op, err), false
		case kerr.TopicAuthorizationFailed:
			return r.c.explain(op, err), true
		}
		return r.c.explain(op, err), !movable(ke)
	}
	switch fault.KindOf(err) {
	case fault.Drifted, fault.Interrupted, fault.Denied:
		return err, true
	case fault.NotFound:
		return &fault.Error{Kind: fault.Drifted, Op: op, Code: "TOPIC_DELETED", Err: errors.New("the topic is not there any more"),
			Next: "plan again"}, true
	}
	return r.c.explain(op, err), false
}

// outOfRange tells apart what retention took and what was cut off at the end.
func (r *Reader) outOfRange(ctx context.Context, pos int64) (error, bool) {
	cl, err := r.c.client()
	if err != nil {
		return err, true
	}
	parts := map[stream.TopicPartition]*stream.Partition{r.tp: {}}
	if err := r.c.ends(ctx, cl, map[stream.TopicPartition]int64{r.tp: 0}, parts); err != nil {
		return err, false
	}
	p := parts[r.tp]
	switch {
	case p.Err != nil:
		return p.Err, false
	case pos < p.Start:
		gap := &replay.GapError{Topic: r.tp.Topic, Partition: r.tp.Partition, From: pos, To: p.Start}
		if r.to >= 0 {
			gap.To = min(gap.To, r.to)
		}
		return gap, true
	case pos > p.End:
		return r.truncated(pos, p.End), true
	}
	return fault.New(fault.Unavailable, "read "+r.tp.Topic, "", "offset %d was out of range for a moment", pos), false
}

func (r *Reader) truncated(pos, end int64) error {
	return &fault.Error{Kind: fault.Drifted, Op: fmt.Sprintf("read %s/%d", r.tp.Topic, r.tp.Partition), Code: "LOG_TRUNCATED",
		Err:  fmt.Errorf("the log parts from what was read at offset %d, before %d: a new leader lost the rest", end, pos),
		Next: "compare what was written since with the log as it is now, and plan again"}
}

// decode makes batches of stretches.
func (r *Reader) decode(ctx context.Context, pos int64) {
	defer close(r.out)
	d := newDecoder()
	to := r.to
	send := func(res result) bool {
		select {
		case r.out <- res:
			return true
		case <-ctx.Done():
			return false
		}
	}
	for s := range r.raw {
		if s.err != nil {
			if !send(result{err: s.err, last: s.last}) || s.last {
				r.drain()
				return
			}
			continue
		}
		limit := to
		if limit < 0 {
			limit = 1<<63 - 1
		}
		for run := d.begin(s.f); ; {
			var out decoded
			var err error
			if s.f.raw == nil { // nothing is left of these offsets
				out.Next = min(s.f.stable, limit)
				out.Compacted = out.Next - pos
			} else {
				err = run.decode(&out, pos, limit, 0, int(r.bytes))
			}
			// What retention took while it was asked for is no hole. The local broker moves the start for compaction, too.
			if out.Compacted > 0 && s.f.start > pos && r.deletes(ctx) {
				err = &replay.GapError{Topic: r.tp.Topic, Partition: r.tp.Partition, From: pos, To: min(s.f.start, limit)}
				out.Next = pos
			}
			moved := out.Next > pos
			if moved && !send(result{b: out.batch(pos, s.f)}) {
				r.drain()
				return
			}
			pos = out.Next
			if err != nil {
				send(result{err: err, last: true})
				r.drain()
				return
			}
			if s.f.raw == nil || run.done() || pos >= limit {
				break
			}
		}
		if expected := min(s.next, limit); pos != expected {
			err := fault.New(fault.Internal, "read "+r.tp.Topic, "", "partition %d: offsets %d to %d were fetched and not accounted for", r.tp.Partition, pos, expected-1)
			send(result{err: err, last: true})
			r.drain()
			return
		}
	}
}

// drain lets the fetching end.
func (r *Reader) drain() {
	r.cancel()
	for range r.raw {
	}
}
