// Package cdctest has a log and a store in memory for tests of capture: they do what the real ones promise, and fail on
// demand. Only tests import it.
package cdctest

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"freshet/backend/cdc"
	"freshet/backend/stream"
)

// ErrClosed is what records get that were on their way when a Log was closed.
var ErrClosed = errors.New("the log is closed")

// Log is a cdc.Log in memory. Records are kept by another goroutine than the one that appends, in order.
type Log struct {
	mu      sync.Mutex
	moved   *sync.Cond // queue, stalls or closed has changed
	topics  map[string][]stream.Record
	synced  map[string]int // how many of a topic's records
	queue   []entry
	buffer  int
	stalled bool
	stands  map[string]bool // topics that are stalled
	closed  bool
	fail    func(*stream.Record) error
	syncErr error
	ended   chan struct{}
}

type entry struct {
	record stream.Record
	done   func(error)
}

// NewLog makes a log that holds back up to buffer records.
func NewLog(buffer int) *Log {
	l := &Log{topics: map[string][]stream.Record{}, synced: map[string]int{}, stands: map[string]bool{}, buffer: buffer, ended: make(chan struct{})}
	l.moved = sync.NewCond(&l.mu)
	go l.run()
	return l
}

func (l *Log) run() {
	defer close(l.ended)
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		next := l.next()
		for ; next < 0 && !l.closed; next = l.next() {
			l.moved.Wait()
		}
		if next < 0 {
			return
		}
		e := l.queue[next]
		l.queue = slices.Delete(l.queue, next, next+1)
		var err error
		switch {
		case l.closed:
			err = ErrClosed
		case l.fail != nil:
			err = l.fail(&e.record)
		}
		if err == nil {
			r := clone(e.record)
			r.Offset = int64(len(l.topics[r.Topic]))
			l.topics[r.Topic] = append(l.topics[r.Topic], r)
		}
		l.moved.Broadcast()
		l.mu.Unlock()
		e.done(err)
		l.mu.Lock()
	}
}

// next is the first of the queue that does not stand still, -1 for none: as in Kafka, only a topic's own order is kept.
func (l *Log) next() int {
	return slices.IndexFunc(l.queue, func(e entry) bool { return l.closed || !l.stalled && !l.stands[e.record.Topic] })
}

func clone(r stream.Record) stream.Record {
	r.Key, r.Value, r.Headers = bytes.Clone(r.Key), bytes.Clone(r.Value), slices.Clone(r.Headers)
	for i := range r.Headers {
		r.Headers[i].Value = bytes.Clone(r.Headers[i].Value)
	}
	return r
}

// EnsureTopic implements cdc.Log.
func (l *Log) EnsureTopic(_ context.Context, topic string, _ int32, _ map[string]string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.topics[topic]; !ok {
		l.topics[topic] = nil
	}
	return nil
}

// Append implements cdc.Log.
func (l *Log) Append(ctx context.Context, r *stream.Record, done func(error)) error {
	stop := context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.moved.Broadcast()
	})
	defer stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue) >= l.buffer && !l.closed && ctx.Err() == nil {
		l.moved.Wait()
	}
	switch {
	case l.closed:
		return ErrClosed
	case ctx.Err() != nil:
		return ctx.Err()
	}
	l.queue = append(l.queue, entry{*r, done})
	l.queue[len(l.queue)-1].record.Headers = slices.Clone(r.Headers)
	l.moved.Broadcast()
	return nil
}

// Sync implements cdc.Log.
func (l *Log) Sync(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.syncErr == nil {
		for topic, records := range l.topics {
			l.synced[topic] = len(records)
		}
	}
	return l.syncErr
}

// Last implements cdc.Log.
func (l *Log) Last(_ context.Context, topic string) (map[int32]stream.Record, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	records := l.topics[topic]
	if len(records) == 0 {
		return nil, nil
	}
	return map[int32]stream.Record{0: records[len(records)-1]}, nil
}

// Stall holds everything back, or lets it go on.
func (l *Log) Stall(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stalled = on
	l.moved.Broadcast()
}

// StallTopic holds a topic back, or lets it go on.
func (l *Log) StallTopic(topic string, on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stands[topic] = on
	l.moved.Broadcast()
}

// Waiting is how many records are on their way.
func (l *Log) Waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue)
}

// Fail has f say what becomes of each record; nil keeps all.
func (l *Log) Fail(f func(*stream.Record) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = f
}

// FailSync makes Sync return err.
func (l *Log) FailSync(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.syncErr = err
}

// Close refuses what is on its way and everything after.
func (l *Log) Close() {
	l.mu.Lock()
	l.closed = true
	l.moved.Broadcast()
	l.mu.Unlock()
	<-l.ended
}

// Reopen is a new log that holds what l held when it was closed, all of it synced.
func (l *Log) Reopen() *Log {
	n := NewLog(l.buffer)
	n.mu.Lock()
	defer n.mu.Unlock()
	for topic, records := range l.topics {
		n.topics[topic], n.synced[topic] = slices.Clone(records), len(records)
	}
	return n
}

// PowerCut is Reopen after the power was cut: what was not synced is gone.
func (l *Log) PowerCut() *Log {
	n := l.Reopen()
	n.mu.Lock()
	defer n.mu.Unlock()
	for topic, records := range n.topics {
		n.topics[topic], n.synced[topic] = records[:l.synced[topic]], l.synced[topic]
	}
	return n
}

// Synced returns a topic's records that are on stable storage.
func (l *Log) Synced(topic string) []stream.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.topics[topic][:l.synced[topic]])
}

// Records returns a topic's records.
func (l *Log) Records(topic string) []stream.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.topics[topic])
}

// Topics returns the names of all topics.
func (l *Log) Topics() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.topics))
}

// Store is a cdc.Store and cdc.Schemas in memory.
type Store struct {
	mu      sync.Mutex
	sources map[string]cdc.Stored
	schemas map[string]stream.TableSchema
	err     error
}

// NewStore makes an empty store.
func NewStore() *Store {
	return &Store{sources: map[string]cdc.Stored{}, schemas: map[string]stream.TableSchema{}}
}

// Sources implements cdc.Store.
func (s *Store) Sources(context.Context) ([]cdc.Stored, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []cdc.Stored
	for _, name := range slices.Sorted(maps.Keys(s.sources)) {
		all = append(all, s.sources[name])
	}
	return all, s.err
}

// SaveSource implements cdc.Store.
func (s *Store) SaveSource(_ context.Context, st cdc.Stored) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.sources[st.Options.Name] = st
	return nil
}

// DeleteSource implements cdc.Store.
func (s *Store) DeleteSource(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sources, name)
	return s.err
}

// Publish implements cdc.Schemas.
func (s *Store) Publish(_ context.Context, t stream.TableSchema) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.schemas[t.ID] = t
	return nil
}

// Fail makes every write return err.
func (s *Store) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// Source returns what is kept of a source.
func (s *Store) Source(name string) (cdc.Stored, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, ok := s.sources[name]
	return st, ok
}

// Schema returns a published schema.
func (s *Store) Schema(id string) (stream.TableSchema, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.schemas[id]
	return t, ok
}
