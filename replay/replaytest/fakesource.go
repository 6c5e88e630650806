package replaytest

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/replay"
)

// Hole is an offset that holds no record.
type Hole byte

const (
	Control Hole = iota + 1
	Aborted
	Compacted
)

// MemoryLog is a cluster in memory that ranges are read from. The zero value is empty and ready.
type MemoryLog struct {
	Name string // the cluster's id
	// Batch is how many offsets a batch holds at most; 0: 100.
	Batch int
	// Reading, where not nil, is asked before each batch; an error from it is what Next returns.
	Reading func(topic string, partition int32, from int64) error

	mu     sync.Mutex
	topics map[string]*memoryTopic
	grown  chan struct{} // closed, and made anew, when something is appended
	ids    byte
}

type memoryTopic struct {
	stream.Topic
	partitions []memoryPartition
}

type memoryPartition struct {
	start   int64
	entries []memoryEntry // from start on
}

type memoryEntry struct {
	rec  stream.Record
	hole Hole // 0: a record
}

var (
	_ replay.Source = (*MemoryLog)(nil)
	_ replay.Lister = (*MemoryLog)(nil)
)

// Create makes a topic, or makes it anew under another id.
func (l *MemoryLog) Create(topic string, partitions int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.topics == nil {
		l.topics = map[string]*memoryTopic{}
	}
	l.ids++
	l.topics[topic] = &memoryTopic{Topic: stream.Topic{Name: topic, ID: [16]byte{0: 1, 15: l.ids},
		Config: map[string]string{"cleanup.policy": "delete", "message.timestamp.type": "CreateTime"}}, partitions: make([]memoryPartition, partitions)}
	l.wake()
}

func (l *MemoryLog) wake() {
	if l.grown != nil {
		close(l.grown)
		l.grown = nil
	}
}

// Append appends records to a partition; topic, partition and offset are set.
func (l *MemoryLog) Append(topic string, partition int32, recs ...stream.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &l.topics[topic].partitions[partition]
	for _, r := range recs {
		r.Topic, r.Partition, r.Offset, r.LeaderEpoch = topic, partition, p.start+int64(len(p.entries)), 0
		p.entries = append(p.entries, memoryEntry{rec: r})
	}
	l.wake()
}

// AppendHole appends an offset without a record.
func (l *MemoryLog) AppendHole(topic string, partition int32, hole Hole) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &l.topics[topic].partitions[partition]
	p.entries = append(p.entries, memoryEntry{hole: hole})
	l.wake()
}

// Truncate removes what is before an offset, as retention does.
func (l *MemoryLog) Truncate(topic string, partition int32, start int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &l.topics[topic].partitions[partition]
	p.entries = p.entries[min(start-p.start, int64(len(p.entries))):]
	p.start = start
}

// ClusterID implements replay.Source.
func (l *MemoryLog) ClusterID(context.Context) (string, error) { return l.Name, nil }

// Topic implements replay.Source.
func (l *MemoryLog) Topic(_ context.Context, topic string) (stream.Topic, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.topics[topic]
	if t == nil {
		return stream.Topic{}, fault.New(fault.NotFound, "describe topic "+topic, "", "there is none")
	}
	return t.describe(), nil
}

func (t *memoryTopic) describe() stream.Topic {
	out := t.Topic
	for i, p := range t.partitions {
		end := p.start + int64(len(p.entries))
		out.Partitions = append(out.Partitions, stream.Partition{ID: int32(i), Start: p.start, End: end, Stable: end, Bytes: -1})
	}
	return out
}

// Topics implements replay.Lister.
func (l *MemoryLog) Topics(_ context.Context, _ bool, names ...string) ([]stream.Topic, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []stream.Topic
	for name, t := range l.topics {
		if len(names) == 0 || slices.Contains(names, name) {
			out = append(out, t.describe())
		}
	}
	slices.SortFunc(out, func(a, b stream.Topic) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out, nil
}

// OffsetsAt implements replay.Source.
func (l *MemoryLog) OffsetsAt(_ context.Context, topic string, at time.Time) (map[int32]replay.OffsetEpoch, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[int32]replay.OffsetEpoch{}
	for i, p := range l.topics[topic].partitions {
		o := p.start + int64(len(p.entries))
		for k, e := range p.entries {
			if e.hole == 0 && !e.rec.Time.Before(at) {
				o = p.start + int64(k)
				break
			}
		}
		out[int32(i)] = replay.OffsetEpoch{Offset: o}
	}
	return out, nil
}

// Read implements replay.Source.
func (l *MemoryLog) Read(_ context.Context, req replay.ReadRequest) (replay.Reader, error) {
	return &memoryReader{log: l, req: req, next: req.From}, nil
}

type memoryReader struct {
	log  *MemoryLog
	req  replay.ReadRequest
	next int64
}

func (r *memoryReader) Close() {}

func (r *memoryReader) Next(ctx context.Context) (replay.Batch, error) {
	for {
		if r.req.To >= 0 && r.next >= r.req.To {
			return replay.Batch{}, io.EOF
		}
		if f := r.log.Reading; f != nil {
			if err := f(r.req.Topic, r.req.Partition, r.next); err != nil {
				return replay.Batch{}, err
			}
		}
		b, grown, err := r.take()
		if err != nil || b.Next > b.From {
			return b, err
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return replay.Batch{}, fault.Wrap(fault.Interrupted, "read", ctx.Err(), "")
		}
	}
}

// take returns what there is, or what to wait for.
func (r *memoryReader) take() (b replay.Batch, grown <-chan struct{}, err error) {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.topics[r.req.Topic]
	if t == nil || r.req.TopicID != [16]byte{} && t.ID != r.req.TopicID {
		return b, nil, fault.New(fault.Drifted, "read "+r.req.Topic, "", "the topic was made anew")
	}
	p := &t.partitions[r.req.Partition]
	if r.next < p.start {
		return b, nil, &replay.GapError{Topic: r.req.Topic, Partition: r.req.Partition, From: r.next, To: p.start}
	}
	size := l.Batch
	if size == 0 {
		size = 100
	}
	end := p.start + int64(len(p.entries))
	to := min(end, r.next+int64(size))
	if r.req.To >= 0 {
		to = min(to, r.req.To)
	}
	b = replay.Batch{From: r.next, Next: to, End: end, ReadAt: time.Now()}
	for _, e := range p.entries[r.next-p.start : to-p.start] {
		switch e.hole {
		case Control:
			b.Control++
		case Aborted:
			b.Aborted++
		case Compacted:
			b.Compacted++
		default:
			b.Records = append(b.Records, e.rec)
		}
	}
	r.next = to
	if b.Next == b.From {
		if l.grown == nil {
			l.grown = make(chan struct{})
		}
		grown = l.grown
	}
	return b, grown, nil
}

// World is a set of clusters and sinks by name, for a replay.Service.
type World struct {
	Logs    map[string]*MemoryLog
	Schemas replay.Schemas
	Sinks   map[string]WorldSink
}

// WorldSink is a sink of a World.
type WorldSink struct {
	replay.Target
	Sink replay.Sink
}

var (
	_ replay.Clusters = (*World)(nil)
	_ replay.Targets  = (*World)(nil)
)

// Cluster implements replay.Clusters.
func (w *World) Cluster(_ context.Context, name string) (replay.Cluster, error) {
	l := w.Logs[name]
	if l == nil {
		return replay.Cluster{}, fault.New(fault.NotFound, "find cluster "+name, "", "there is none")
	}
	return replay.Cluster{Source: l, Topics: l, Schemas: w.Schemas}, nil
}

// Target implements replay.Targets.
func (w *World) Target(_ context.Context, name, _ string) (replay.Target, error) {
	s, err := w.sink(name)
	t := s.Target
	t.Name = name
	return t, err
}

// Open implements replay.Targets.
func (w *World) Open(_ context.Context, name string) (replay.Sink, error) {
	s, err := w.sink(name)
	return s.Sink, err
}

func (w *World) sink(name string) (WorldSink, error) {
	if s, ok := w.Sinks[name]; ok {
		return s, nil
	}
	return WorldSink{}, fault.New(fault.NotFound, "find sink "+name, "", "there is none")
}
