package replaytest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/replay"
)

// MemorySink is a transactional sink in memory, for tests of what drives sinks. The zero value is ready. Writers of it
// may be used while it is looked at.
type MemorySink struct {
	// Refuse, where not nil, returns the reason for which an item is refused, "" for none.
	Refuse func(*replay.Item) string
	// Committing, where not nil, is called before a batch commits, without the sink's lock; an error from it ends the
	// Write with nothing committed.
	Committing func(context.Context, replay.Shard, replay.Write) error
	// Committed, where not nil, is called after it; an error from it is returned although the batch is in.
	Committed func(context.Context, replay.Shard, replay.Write) error

	mu       sync.Mutex
	records  []stream.Record
	progress map[memoryShard]*memoryProgress
}

type memoryShard struct {
	owner     string
	topic     string
	partition int32
}

type memoryProgress struct {
	epoch  int64
	writer *memoryWriter
	replay.Progress
}

var _ replay.Sink = (*MemorySink)(nil)

// Test implements replay.Sink.
func (s *MemorySink) Test(context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("%d records in memory", len(s.records)), nil
}

// Close implements replay.Sink.
func (s *MemorySink) Close() error { return nil }

// Records returns what was written, in order.
func (s *MemorySink) Records() []stream.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]stream.Record(nil), s.records...)
}

// Held returns the progress that the sink holds of a shard.
func (s *MemorySink) Held(owner, topic string, partition int32) (replay.Progress, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.progress[memoryShard{owner, topic, partition}]
	if p == nil {
		return replay.Progress{}, false
	}
	return p.Progress, true
}

// SetHeld sets the progress that the sink holds of a shard, as a sink that was restored from a backup would have it.
func (s *MemorySink) SetHeld(owner, topic string, partition int32, held replay.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.progress[memoryShard{owner, topic, partition}]; p != nil {
		p.Progress = held
		return
	}
	s.set(memoryShard{owner, topic, partition}, &memoryProgress{Progress: held})
}

func (s *MemorySink) set(k memoryShard, p *memoryProgress) {
	if s.progress == nil {
		s.progress = map[memoryShard]*memoryProgress{}
	}
	s.progress[k] = p
}

// Open implements replay.Sink.
func (s *MemorySink) Open(_ context.Context, shard replay.Shard) (replay.Writer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := memoryShard{shard.Owner, shard.Topic, shard.Partition}
	p := s.progress[k]
	if p == nil {
		p = &memoryProgress{Progress: replay.Progress{Next: shard.Start}}
		s.set(k, p)
	}
	if p.epoch > shard.Epoch {
		return nil, memoryFenced(shard)
	}
	if p.Next < shard.Start {
		return nil, fault.New(fault.Drifted, "open the shard", "", "progress %d is before the start %d", p.Next, shard.Start)
	}
	w := &memoryWriter{sink: s, shard: shard, held: p, progress: p.Progress}
	p.epoch, p.writer = shard.Epoch, w
	return w, nil
}

func memoryFenced(shard replay.Shard) error {
	e := fault.New(fault.Conflict, "write the shard", "", "epoch %d was taken over", shard.Epoch)
	e.Code = "FENCED"
	return e
}

type memoryWriter struct {
	sink     *MemorySink
	shard    replay.Shard
	held     *memoryProgress
	progress replay.Progress
}

func (w *memoryWriter) Progress() replay.Progress { return w.progress }

func (w *memoryWriter) Close(context.Context) error { return nil }

func (w *memoryWriter) Write(ctx context.Context, in replay.Write) (replay.Written, error) {
	s := w.sink
	var out replay.Written
	var records []stream.Record
	next := w.progress
	next.Next = in.Next
	for i := range in.Items {
		item := &in.Items[i]
		if c := item.Change; c != nil && !c.Position.IsZero() {
			if order, same := c.Position.Compare(next.Position); same && order <= 0 {
				out.Duplicate++
				continue
			}
			next.Position = c.Position
		}
		if s.Refuse != nil {
			if reason := s.Refuse(item); reason != "" {
				out.Refused = append(out.Refused, replay.Refusal{Offset: item.Record.Offset, Reason: reason})
				continue
			}
		}
		records = append(records, *item.Record)
		out.Applied++
	}
	if in.Refusing != nil && len(out.Refused) > 0 {
		if err := in.Refusing(ctx, out.Refused); err != nil {
			return replay.Written{}, err
		}
	}
	if s.Committing != nil {
		if err := s.Committing(ctx, w.shard, in); err != nil {
			return replay.Written{}, err
		}
	}
	if err := ctx.Err(); err != nil {
		return replay.Written{}, &fault.Error{Kind: fault.Interrupted, Op: "write the shard", Err: err}
	}
	out.Before = time.Now()
	s.mu.Lock()
	if w.held.writer != w {
		s.mu.Unlock()
		return replay.Written{}, memoryFenced(w.shard)
	}
	s.records = append(s.records, records...)
	w.progress, w.held.Progress = next, next
	s.mu.Unlock()
	out.After = time.Now()
	if s.Committed != nil {
		if err := s.Committed(ctx, w.shard, in); err != nil {
			return replay.Written{}, err
		}
	}
	return out, nil
}
