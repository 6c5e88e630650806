// Package lag measures how far consumer groups are behind: in offsets, and in how long the first record that waits has
// been waiting. It starts from New; ../DESIGN.md says what is guaranteed and how. It is an engine: it asks a
// probes.Cluster and opens no socket. A Probe's Round is for one goroutine at a time, its other methods for any.
package lag

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"freshet/backend/stream"
	"freshet/probes"
)

// Options are a Probe's.
type Options struct {
	// Every is the pace: 2 s for a broker beside us (the default), 10 s for one that others pay for.
	Every time.Duration
	// Late is the age up to which a group is said to be up to date, 10 s unless set.
	Late time.Duration
	// Reads is how many records a round may read to learn their times, 256 unless set; below zero none is read, for
	// clusters where that is not allowed or not wanted, and times are searched for in the broker's index.
	Reads int
	// PartitionSeries is the number of partitions over all groups up to which history is kept for each; 2,000 unless
	// set. Beyond it groups and their topics have history, partitions have the last round only.
	PartitionSeries int
}

// The looks into the past by which a partition seen for the first time is placed.
var prehydrate = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour}

const (
	searchRounds = 6     // of a bisection in one round of the probe; the next round goes on where it ended
	searchMost   = 20000 // partitions asked for in one request
	agree        = time.Second
	forget       = 300 // rounds after which what is gone is forgotten
	noCommitYet  = "no commit in this group yet"
)

// Probe measures the groups of one cluster.
type Probe struct {
	cluster probes.Cluster
	o       Options

	mu     sync.Mutex
	round  int64
	parts  map[stream.TopicPartition]*part
	groups map[string]*group
	last   *Detail
}

// part is what is remembered of one partition.
type part struct {
	id      [16]byte // of its topic
	ends    probes.Track
	before  int64     // the end in the round before, -1 unknown
	epochs  []epoch   // the latest leader epochs, as seen
	seenAt  time.Time // when the ends began to be read last
	times   timeIndex // offsets by the records' own times, as the broker told
	asked   bool      // prehydrated
	touched int64     // round
}

// epoch is when a leader epoch was first seen, between two moments: what carries it was appended after from, and no
// earlier look at the end saw it.
type epoch struct {
	n        int32
	from, to time.Time
}

const epochsKept = 8

// group is what is remembered of one group.
type group struct {
	at           map[stream.TopicPartition]*place
	backlog, age probes.Trend
	flow         []flow
	shape        []string  // its members and its state, nil before it was read
	stable       time.Time // when shape changed, zero not seen
	touched      int64
}

// place is a group's place in one partition.
type place struct {
	commits probes.Track
	since   time.Time // when it was first seen
	moved   time.Time // when the commit was last seen to move, zero not since
	stuck   bool      // the commit is the one of the round before
	head    head
	touched int64
}

// head is what was read at a commit.
type head struct {
	known     bool
	committed int64
	epoch     int32
	record    *Head // nil: there is none before empty
	empty     int64 // no record is in [committed, empty)
}

// flow is one round's sums over a group's partitions.
type flow struct {
	from, to       time.Time // around the looks
	committed, end int64
	partitions     int
}

// New makes a Probe.
func New(cluster probes.Cluster, o Options) *Probe {
	o.Every = cmp.Or(o.Every, 2*time.Second)
	o.Late = cmp.Or(o.Late, 10*time.Second)
	o.Reads = cmp.Or(o.Reads, 256)
	o.PartitionSeries = cmp.Or(o.PartitionSeries, 2000)
	return &Probe{cluster: cluster, o: o, parts: make(map[stream.TopicPartition]*part), groups: make(map[string]*group)}
}

// Name is "lag/" and the cluster's name.
func (p *Probe) Name() string { return "lag/" + p.cluster.Name() }

// Every is the pace.
func (p *Probe) Every() time.Duration { return p.o.Every }

// Detail is the last round's, nil before the first.
func (p *Probe) Detail() *Detail {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// Committed tells when a group was seen to commit beyond an offset.
func (p *Probe) Committed(group string, tp stream.TopicPartition, offset int64) probes.Passage {
	p.mu.Lock()
	defer p.mu.Unlock()
	if g := p.groups[group]; g != nil {
		if at := g.at[tp]; at != nil {
			return at.commits.Passed(offset)
		}
	}
	return probes.Passage{}
}

// flowWindow is the stretch that a partition's rates are of.
const flowWindow = 10 * time.Second

// Flow is how fast a partition grows and how fast a group commits in it. It is asked for, and no part of a round: of a
// hundred thousand partitions nobody looks at most.
func (p *Probe) Flow(group string, tp stream.TopicPartition) (in, out stream.Reading) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ends, commits probes.Track
	if x := p.parts[tp]; x != nil {
		ends = x.ends
	}
	if g := p.groups[group]; g != nil && g.at[tp] != nil {
		commits = g.at[tp].commits
	}
	return ends.Rate(flowWindow), commits.Rate(flowWindow)
}

// look is one round's view while it is put together.
type look struct {
	from, to time.Time // around the reading of the commits
	done     time.Time // when the ends had been read
	groups   []stream.Group
	topics   map[string]*stream.Topic
	failed   error // why the topics could not be read
	pairs    []*pair
	searched error // why times could not be learned
}

// appended tells between which moments a record was appended that carries a leader epoch, -1 unknown: what was seen at
// its offset under older epochs was another record, if the log lost its tail in between.
func (x *part) appended(offset int64, leader int32) probes.Passage {
	s := x.ends.Passed(offset)
	if leader < 0 {
		return s
	}
	for _, e := range x.epochs {
		if e.n < leader {
			continue
		}
		if !s.By.IsZero() && s.By.Before(e.to) {
			s.By = e.to
		}
		if s.After.Before(e.from) {
			s.After = e.from
		}
		break
	}
	return s
}

// pair is a group's place in one partition, in one round. place, part and ends are nil where there is no commit or
// where the partition is not known.
type pair struct {
	group   int // in look.groups
	tp      stream.TopicPartition
	commit  int64 // -1 none
	member  string
	place   *place
	part    *part
	ends    *stream.Partition
	unknown string // why ends is nil
}

// first is the offset from which there is something to read.
func (x *pair) first() int64 { return max(x.commit, x.ends.Start) }

// waits reports whether offsets lie between the commit and the end.
func (x *pair) waits() bool { return x.ends != nil && x.commit >= 0 && x.first() < x.ends.End }

// head is what was read at the pair's commit, where that still tells all that could be read there now.
func (x *pair) head() (h head, ok bool) {
	if x.place == nil || x.ends == nil {
		return head{}, false
	}
	h = x.place.head
	ok = h.known && h.committed == x.first() && h.epoch == x.ends.LeaderEpoch && (h.record != nil || h.empty >= x.ends.Stable)
	return h, ok
}

// Round looks once: the commits first, then the ends, so that a lag is never too small for the moment of the commits.
// The first round looks at the ends before as well, so that it is bounded from below. Its Detail is a *Detail.
func (p *Probe) Round(ctx context.Context) (probes.Round, error) {
	first := p.round == 0
	p.round++
	l := &look{topics: make(map[string]*stream.Topic)}
	if err := p.readCommits(ctx, l); err != nil {
		return probes.Round{}, err
	}
	if first {
		if err := p.readEnds(ctx, l, topicsOf(l.groups)); err != nil {
			return probes.Round{}, err
		}
		p.round++
		if err := p.readCommits(ctx, l); err != nil {
			return probes.Round{}, err
		}
	}
	if err := p.readEnds(ctx, l, topicsOf(l.groups)); err != nil {
		return probes.Round{}, err
	}
	p.arrange(l)
	if ahead := p.attach(l); len(ahead) > 0 {
		// A commit beyond the end can be a leader that had not heard of its newest end yet: look once more.
		if err := p.readEnds(ctx, l, ahead); err != nil {
			return probes.Round{}, err
		}
		p.attach(l)
	}
	if err := p.learn(ctx, l); err != nil {
		return probes.Round{}, err
	}
	d := p.judge(l)
	p.prune()
	return probes.Round{At: l.to, Points: p.points(d, len(l.pairs)), Detail: d}, nil
}

func (p *Probe) readCommits(ctx context.Context, l *look) (err error) {
	l.from = time.Now()
	l.groups, err = p.cluster.Groups(ctx)
	l.to = time.Now()
	return err
}

func topicsOf(groups []stream.Group) []string {
	set := make(map[string]bool)
	for _, g := range groups {
		for tp := range g.Commits {
			set[tp.Topic] = true
		}
		for _, m := range g.Members {
			for _, tp := range m.Assigned {
				set[tp.Topic] = true
			}
		}
	}
	delete(set, "") // a broker that names what it assigns by id only
	return slices.Sorted(maps.Keys(set))
}

// readEnds reads topics' ends and remembers them. That they cannot be read does not end the round: what the groups say
// of themselves still stands.
func (p *Probe) readEnds(ctx context.Context, l *look, names []string) error {
	if l.done = time.Now(); len(names) == 0 {
		return nil
	}
	from := l.done
	topics, err := p.cluster.Topics(ctx, false, names...)
	to := time.Now()
	l.done = to
	if ctx.Err() != nil {
		return ctx.Err()
	}
	l.failed = err
	if err != nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range topics {
		t := &topics[i]
		l.topics[t.Name] = t
		for j := range t.Partitions {
			e := &t.Partitions[j]
			if t.Err != nil || e.Err != nil {
				continue
			}
			tp := stream.TopicPartition{Topic: t.Name, Partition: e.ID}
			at := p.parts[tp]
			if at == nil || at.id != t.ID {
				at = &part{id: t.ID, before: -1}
				p.parts[tp] = at
			}
			if at.touched != p.round {
				at.touched, at.before = p.round, -1
				if n, _, ok := at.ends.Last(); ok {
					at.before = n
				}
			}
			if n := len(at.epochs); n == 0 || at.epochs[n-1].n != e.LeaderEpoch {
				// A new leader may have lost its log's tail, and written other records at those offsets since.
				if n > 0 {
					at.before = -1
				}
				if n == epochsKept {
					at.epochs = at.epochs[1:]
				}
				at.epochs = append(at.epochs, epoch{e.LeaderEpoch, at.seenAt, to})
			}
			if e.End < at.before {
				at.before, at.asked, at.times = -1, false, nil
			}
			at.ends.See(e.End, from, to)
			at.seenAt = from
		}
	}
	return nil
}

// arrange finds every group's place in every partition that it has committed in or is assigned.
func (p *Probe) arrange(l *look) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range l.groups {
		g := &l.groups[i]
		held := p.groups[g.Name]
		if held == nil {
			held = &group{at: make(map[stream.TopicPartition]*place)}
			p.groups[g.Name] = held
		}
		held.touched = p.round
		if g.Err != nil {
			continue
		}
		members := make(map[stream.TopicPartition]string)
		for _, m := range g.Members {
			for _, tp := range m.Assigned {
				if tp.Topic != "" {
					members[tp] = m.ID
				}
			}
		}
		begin := len(l.pairs)
		for tp, c := range g.Commits {
			if c.Offset < 0 {
				continue
			}
			at := held.at[tp]
			if at == nil {
				at = &place{since: l.to}
				held.at[tp] = at
			}
			at.touched = p.round
			last, _, ok := at.commits.Last()
			at.stuck = ok && last == c.Offset
			if ok && last != c.Offset {
				at.moved = l.to
			}
			at.commits.See(c.Offset, l.from, l.to)
			l.pairs = append(l.pairs, &pair{group: i, tp: tp, commit: c.Offset, member: members[tp], place: at})
		}
		for tp, m := range members {
			if c, ok := g.Commits[tp]; !ok || c.Offset < 0 {
				l.pairs = append(l.pairs, &pair{group: i, tp: tp, commit: -1, member: m})
			}
		}
		slices.SortFunc(l.pairs[begin:], func(a, b *pair) int {
			return cmp.Or(cmp.Compare(a.tp.Topic, b.tp.Topic), cmp.Compare(a.tp.Partition, b.tp.Partition))
		})
	}
}

// attach gives every pair its partition's ends, and returns the topics in which a commit lies beyond the end.
func (p *Probe) attach(l *look) (ahead []string) {
	for _, x := range l.pairs {
		x.part, x.ends, x.unknown = nil, nil, ""
		t := l.topics[x.tp.Topic]
		switch {
		case t == nil && l.failed != nil:
			x.unknown = "ends not read: " + l.failed.Error()
		case t == nil:
			x.unknown = "no such topic any more"
		case t.Err != nil:
			x.unknown = t.Err.Error()
		default:
			x.unknown = "no such partition any more"
			for i := range t.Partitions {
				e := &t.Partitions[i]
				if e.ID != x.tp.Partition {
					continue
				}
				if e.Err != nil {
					x.unknown = e.Err.Error()
				} else {
					x.unknown, x.ends, x.part = "", e, p.parts[x.tp]
				}
				break
			}
		}
		if x.ends != nil && x.commit > x.ends.End {
			ahead = append(ahead, x.tp.Topic)
		}
	}
	slices.Sort(ahead)
	return slices.Compact(ahead)
}

// prune forgets what has not been there for a while.
func (p *Probe) prune() {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.round - forget
	maps.DeleteFunc(p.parts, func(_ stream.TopicPartition, x *part) bool { return x.touched < old })
	maps.DeleteFunc(p.groups, func(_ string, g *group) bool { return g.touched < old })
	for _, g := range p.groups {
		if g.touched == p.round {
			maps.DeleteFunc(g.at, func(_ stream.TopicPartition, x *place) bool { return x.touched < old })
		}
	}
}
