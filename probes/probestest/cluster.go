// Package probestest has a Kafka cluster whose whole history is written by the test, and which therefore knows the
// truth that a probe can only bound. It starts from New. Tests import it; under testing/synctest its requests take time
// that costs none. It is for any number of goroutines.
package probestest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"freshet/backend/clock"
	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/probes"
)

// Cluster is a scripted probes.Cluster.
type Cluster struct {
	name string

	mu     sync.Mutex
	topics map[string]*topic
	groups map[string]*stream.Group
	delay  func() time.Duration
	fails  map[string]error
	calls  map[string]int
	told   map[string]map[stream.TopicPartition]int64 // commits, as of toldAt
	toldAt time.Time
}

type topic struct {
	id    [16]byte
	typ   stream.TimeType
	parts []*partition
}

type partition struct {
	epoch  int32
	start  int64
	held   int64 // the first offset of an open transaction, -1 none
	log    []entry
	offset int64 // of log[0]
	err    error
}

type entry struct {
	create, appended time.Time
	marker           bool
	epoch            int32
	headers          []stream.Header
}

// Truth is how a group really stood in a partition at the moment that the commits were told, in what the log still
// holds of that moment.
type Truth struct {
	At             time.Time
	Committed      int64
	Waiting        int64     // offsets after the commit
	Record         bool      // a record is among them
	Append, Create time.Time // of the first of them
}

// New makes a cluster whose requests take delay before and after the moment they answer for; nil is no time at all.
func New(name string, delay func() time.Duration) *Cluster {
	if delay == nil {
		delay = func() time.Duration { return 0 }
	}
	return &Cluster{name: name, topics: make(map[string]*topic), groups: make(map[string]*stream.Group), delay: delay,
		fails: make(map[string]error), calls: make(map[string]int)}
}

// Topic makes a topic, or makes it anew.
func (c *Cluster) Topic(name string, partitions int, typ stream.TimeType) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &topic{typ: typ}
	if old := c.topics[name]; old != nil {
		t.id = old.id
	}
	t.id[0]++
	for range partitions {
		t.parts = append(t.parts, &partition{held: -1})
	}
	c.topics[name] = t
}

// DropTopic removes a topic; the commits in it stay.
func (c *Cluster) DropTopic(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.topics, name)
}

// Produce appends a record with the producer's time, and returns its offset.
func (c *Cluster) Produce(tp stream.TopicPartition, create time.Time, headers ...stream.Header) int64 {
	return c.append(tp, entry{create: create, headers: headers})
}

// Marker appends a transaction marker.
func (c *Cluster) Marker(tp stream.TopicPartition) {
	c.append(tp, entry{create: time.Now(), marker: true})
}

func (c *Cluster) append(tp stream.TopicPartition, e entry) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.at(tp)
	e.appended, e.epoch = time.Now(), p.epoch
	if c.topics[tp.Topic].typ == stream.AppendTime {
		e.create = e.appended
	}
	e.create = e.create.Truncate(time.Millisecond)
	p.log = append(p.log, e)
	return p.end() - 1
}

// Hold opens a transaction at the end of the log; Release ends it.
func (c *Cluster) Hold(tp stream.TopicPartition) { c.edit(tp, func(p *partition) { p.held = p.end() }) }

// Release ends the open transaction.
func (c *Cluster) Release(tp stream.TopicPartition) { c.edit(tp, func(p *partition) { p.held = -1 }) }

// Trim moves the log's start, as retention does.
func (c *Cluster) Trim(tp stream.TopicPartition, start int64) {
	c.edit(tp, func(p *partition) {
		start = min(max(start, p.start), p.end())
		p.log = p.log[start-p.offset:]
		p.start, p.offset = start, start
	})
}

// Truncate cuts the log's tail off, as an unclean election does.
func (c *Cluster) Truncate(tp stream.TopicPartition, end int64) {
	c.edit(tp, func(p *partition) {
		end = min(max(end, p.start), p.end())
		p.log = p.log[:end-p.offset]
		p.epoch++
	})
}

// Fault makes a partition's ends unknown, nil mends it.
func (c *Cluster) Fault(tp stream.TopicPartition, err error) {
	c.edit(tp, func(p *partition) { p.err = err })
}

// Fail makes a method fail, nil mends it.
func (c *Cluster) Fail(method string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fails[method] = err
}

// Calls returns how often a method was called.
func (c *Cluster) Calls(method string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[method]
}

// Group edits a group, made where it is missing.
func (c *Cluster) Group(name string, edit func(*stream.Group)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.groups[name]
	if g == nil {
		g = &stream.Group{Name: name, Protocol: "classic", State: "Stable", Commits: make(map[stream.TopicPartition]stream.Commit)}
		c.groups[name] = g
	}
	edit(g)
}

// Commit commits an offset for a group.
func (c *Cluster) Commit(group string, tp stream.TopicPartition, offset int64) {
	c.Group(group, func(g *stream.Group) { g.Commits[tp] = stream.Commit{Offset: offset, LeaderEpoch: -1} })
}

// Join gives a group a member that is assigned partitions.
func (c *Cluster) Join(group, member string, assigned ...stream.TopicPartition) {
	c.Group(group, func(g *stream.Group) {
		g.State = "Stable"
		g.Members = append(g.Members, stream.Member{ID: member, ClientID: member, Assigned: assigned})
	})
}

// Leave takes all members from a group.
func (c *Cluster) Leave(group string) {
	c.Group(group, func(g *stream.Group) { g.Members, g.State = nil, "Empty" })
}

// End returns a partition's end.
func (c *Cluster) End(tp stream.TopicPartition) (end int64) {
	c.edit(tp, func(p *partition) { end = p.end() })
	return end
}

// Truth returns how things stood when the commits were last told.
func (c *Cluster) Truth(group string, tp stream.TopicPartition) (Truth, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	committed, ok := c.told[group][tp]
	if !ok || c.topics[tp.Topic] == nil {
		return Truth{}, false
	}
	t := Truth{At: c.toldAt, Committed: committed}
	p := c.at(tp)
	for o := max(committed, p.start); o < p.end(); o++ {
		e := &p.log[o-p.offset]
		if e.appended.After(t.At) {
			break
		}
		t.Waiting++
		if !e.marker && !t.Record {
			t.Record, t.Append, t.Create = true, e.appended, e.create
		}
	}
	return t, true
}

func (c *Cluster) edit(tp stream.TopicPartition, f func(*partition)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c.at(tp))
}

func (c *Cluster) at(tp stream.TopicPartition) *partition {
	return c.topics[tp.Topic].parts[tp.Partition]
}

func (p *partition) end() int64 { return p.offset + int64(len(p.log)) }

func (p *partition) stable() int64 {
	if p.held >= 0 {
		return p.held
	}
	return p.end()
}

// first is the first record at or after offset and before limit.
func (p *partition) first(offset, limit int64) (int64, *entry) {
	for o := max(offset, p.start); o < limit; o++ {
		if e := &p.log[o-p.offset]; !e.marker {
			return o, e
		}
	}
	return 0, nil
}

// call waits as long as a request takes, and answers in the middle of it.
func (c *Cluster) call(ctx context.Context, method string, answer func()) error {
	if err := wait(ctx, c.delay()); err != nil {
		return err
	}
	c.mu.Lock()
	c.calls[method]++
	err := c.fails[method]
	if err == nil {
		answer()
	}
	c.mu.Unlock()
	return errors.Join(err, wait(ctx, c.delay()))
}

func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	return clock.Sleep(ctx, d)
}

// Name is the cluster's.
func (c *Cluster) Name() string { return c.name }

// Groups implements probes.Cluster, and is the moment of the Truth.
func (c *Cluster) Groups(ctx context.Context) (out []stream.Group, err error) {
	err = c.call(ctx, "Groups", func() {
		c.told, c.toldAt = make(map[string]map[stream.TopicPartition]int64), time.Now()
		for _, name := range slices.Sorted(maps.Keys(c.groups)) {
			g := *c.groups[name]
			g.Commits = maps.Clone(g.Commits)
			g.Members = slices.Clone(g.Members)
			out = append(out, g)
			c.told[name] = make(map[stream.TopicPartition]int64)
			for tp, commit := range g.Commits {
				c.told[name][tp] = commit.Offset
			}
		}
	})
	return out, err
}

// Topics implements probes.Cluster.
func (c *Cluster) Topics(ctx context.Context, sizes bool, names ...string) (out []stream.Topic, err error) {
	err = c.call(ctx, "Topics", func() {
		if len(names) == 0 {
			names = slices.Sorted(maps.Keys(c.topics))
		}
		for _, name := range names {
			t := c.topics[name]
			if t == nil {
				out = append(out, stream.Topic{Name: name, Err: fault.New(fault.NotFound, "read topic "+name, "", "no such topic")})
				continue
			}
			s := stream.Topic{Name: name, ID: t.id}
			for i, p := range t.parts {
				e := stream.Partition{ID: int32(i), Leader: 1, LeaderEpoch: p.epoch, Start: p.start, End: p.end(), Stable: p.stable(), Bytes: -1, Err: p.err}
				if sizes {
					e.Bytes = 100 * int64(len(p.log))
				}
				s.Partitions = append(s.Partitions, e)
			}
			out = append(out, s)
		}
	})
	return out, err
}

// OffsetsAfter implements probes.Cluster.
func (c *Cluster) OffsetsAfter(ctx context.Context, at map[stream.TopicPartition]time.Time) (out map[stream.TopicPartition]probes.OffsetTime, err error) {
	out = make(map[stream.TopicPartition]probes.OffsetTime)
	err = c.call(ctx, "OffsetsAfter", func() {
		for tp, when := range at {
			if c.topics[tp.Topic] == nil {
				continue
			}
			p := c.at(tp)
			out[tp] = probes.OffsetTime{Offset: -1}
			for i := range p.log {
				if e := &p.log[i]; e.create.UnixMilli() >= when.UnixMilli() {
					out[tp] = probes.OffsetTime{Offset: p.offset + int64(i), Time: e.create}
					break
				}
			}
		}
	})
	return out, err
}

// First implements probes.Cluster.
func (c *Cluster) First(ctx context.Context, at map[stream.TopicPartition]int64) (out map[stream.TopicPartition]stream.Record, err error) {
	out = make(map[stream.TopicPartition]stream.Record)
	err = c.call(ctx, "First", func() {
		for tp, offset := range at {
			t := c.topics[tp.Topic]
			if t == nil {
				continue
			}
			p := c.at(tp)
			if p.err != nil || offset < p.start {
				continue
			}
			out[tp] = stream.Record{Topic: tp.Topic, Partition: tp.Partition, Offset: -1}
			if o, e := p.first(offset, p.stable()); e != nil {
				out[tp] = stream.Record{Topic: tp.Topic, Partition: tp.Partition, Offset: o, LeaderEpoch: e.epoch, Time: e.create,
					TimeType: t.typ, Headers: e.headers}
			}
		}
	})
	return out, err
}
