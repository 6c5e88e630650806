// Package freshness measures how old the data is that has not yet come to where it is used: for every captured table,
// over its topic, to each group and sink. It starts from New; ../DESIGN.md says what a reading means and how it is
// bounded. It is an engine: it asks the progress of captures and sinks, a lag probe and a probes.Cluster. A Probe's
// Round is for one goroutine at a time, Delivery for any.
package freshness

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"freshet/backend/stream"
	"freshet/probes"
	"freshet/probes/lag"
)

// Options are a Probe's.
type Options struct {
	Every time.Duration // 1 s unless set
	Idle  time.Duration // without a change a path is idle after this long, 1 min unless set
	Dead  time.Duration // without a word from its source a path is dead after this long, 1 min unless set
	// Objective is what a path should keep to, in seconds, 0 for none; nil: 15 s for every path.
	Objective func(path string) float64
}

// Feeds are where a Probe looks. Each function is called once a round and returns at once; nil is none.
type Feeds struct {
	Sources  func() []probes.SourceProgress
	Sinks    func() []probes.SinkProgress
	Lag      func() []*lag.Probe
	Clusters func() []probes.Cluster
}

const (
	silence    = 5 * time.Second // without a word, after which a source that does not stream is unknown
	sampleKept = 256
	snapshots  = 120
	readPasses = 3
)

var nan = math.NaN()

// Probe measures all paths.
type Probe struct {
	feeds Feeds
	o     Options

	mu      sync.Mutex
	sources map[string]*source
	topics  map[place]*topic
	sinks   map[end]*sinkEnd
	groups  map[end]*groupEnd
	paths   map[string]*pathState
	round   int64
}

// place is a partition of a cluster, end what is at it.
type (
	place struct {
		cluster string
		stream.TopicPartition
	}
	end struct {
		name string
		place
	}
)

// source is what is remembered of one source.
type source struct {
	now      probes.SourceProgress
	server   probes.Track // its newest position, as told
	received probes.Track
	appended probes.Track
	seen     []snapshot
	touched  int64
}

// snapshot is how far a source's changes were in the log at one moment: all that was committed before heard had been
// received, and all of that but what was committed from pending on was in the log.
type snapshot struct {
	at             time.Time
	heard, pending time.Time // ours; zero unknown, zero none
}

// topic is what is remembered of one captured partition.
type topic struct {
	ends    probes.Track
	end     int64 // as read in this round
	stable  int64
	err     error
	grew    int64 // the end of the round before, -1 unknown
	commits []sample
	asked   int64 // the last offset that First was asked for
	none    int64 // no record is in [asked, none)
	touched int64
}

// sample is a record's commit time, by the source's clock.
type sample struct {
	offset int64
	commit time.Time
}

// arrivals are the delays of changes that came to an end, and when.
type arrivals struct {
	low, high, last float64 // last is that of the oldest of the last batch
	at              time.Time
}

type sinkEnd struct {
	applied probes.Track
	after   time.Time // of the last batch in applied
	last    arrivals
	touched int64
}

type groupEnd struct {
	committed int64
	at        time.Time // of the lag round that told it
	last      arrivals
	arrived   bool // last came in that round
	touched   int64
}

// pathState is what is remembered of one path.
type pathState struct {
	state   State
	since   time.Time
	trend   probes.Trend     // of Total
	backlog probes.Trend     // of Waiting
	worst   []stream.Reading // one a minute, the newest last
	touched int64
}

// New makes a Probe.
func New(f Feeds, o Options) *Probe {
	o.Every = cmp.Or(o.Every, time.Second)
	o.Idle = cmp.Or(o.Idle, time.Minute)
	o.Dead = cmp.Or(o.Dead, time.Minute)
	if o.Objective == nil {
		o.Objective = func(string) float64 { return 15 }
	}
	if f.Sources == nil {
		f.Sources = func() []probes.SourceProgress { return nil }
	}
	if f.Sinks == nil {
		f.Sinks = func() []probes.SinkProgress { return nil }
	}
	if f.Lag == nil {
		f.Lag = func() []*lag.Probe { return nil }
	}
	if f.Clusters == nil {
		f.Clusters = func() []probes.Cluster { return nil }
	}
	return &Probe{feeds: f, o: o, sources: make(map[string]*source), topics: make(map[place]*topic),
		sinks: make(map[end]*sinkEnd), groups: make(map[end]*groupEnd), paths: make(map[string]*pathState)}
}

// Name is "freshness".
func (p *Probe) Name() string { return "freshness" }

// Every is the pace.
func (p *Probe) Every() time.Duration { return p.o.Every }

// look is one round while it is put together.
type look struct {
	from    time.Time // before the sinks' progress was read
	at      time.Time // after it: what the readings are of
	sources []probes.SourceProgress
	sinks   []probes.SinkProgress
	lags    []lagged
}

type lagged struct {
	probe  *lag.Probe
	detail *lag.Detail
}

// Round looks once: sources, then sinks, then the topics' ends. A change moves the same way, so that one which is not
// at the end yet is seen somewhere. Its Detail is a *Detail.
func (p *Probe) Round(ctx context.Context) (probes.Round, error) {
	l := look{sources: p.feeds.Sources()}
	l.at = time.Now()
	p.mu.Lock()
	p.round++
	for _, s := range l.sources {
		p.seeSource(s, l.at)
	}
	p.mu.Unlock()
	for _, lp := range p.feeds.Lag() {
		d := lp.Detail()
		if d == nil {
			continue
		}
		if age := l.at.Sub(d.At); age > max(3*lp.Every(), 10*time.Second) {
			d = d.Aged("the groups were last read " + probes.SecondsText(age.Seconds()) + " ago").(*lag.Detail)
		}
		l.lags = append(l.lags, lagged{lp, d})
	}
	l.from = time.Now()
	l.sinks = p.feeds.Sinks()
	l.at = time.Now()
	if err := p.readTopics(ctx, &l); err != nil {
		return probes.Round{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.judge(&l)
	p.prune()
	return probes.Round{At: l.at, Points: points(d), Detail: d}, nil
}

// seeSource remembers how far a source has got.
func (p *Probe) seeSource(s probes.SourceProgress, at time.Time) {
	held := p.sources[s.Source]
	if held == nil {
		held = &source{server: longTrack(), received: longTrack(), appended: longTrack()}
		p.sources[s.Source] = held
	}
	held.now, held.touched = s, p.round
	if !s.ServerEndAt.IsZero() {
		held.server.See(int64(s.ServerEnd), s.ServerEndAt, s.ServerEndAt)
	}
	if s.Received > 0 {
		held.received.See(int64(s.Received), at, at)
	}
	if s.Appended > 0 {
		held.appended.See(int64(s.Appended), at, at)
	}
	n := snapshot{at: at}
	if heard := held.server.Passed(int64(s.Received)).After; !heard.IsZero() && s.Received > 0 {
		n.heard = heard.Add(-seconds(held.slack()))
	}
	if !s.Pending.IsZero() {
		n.pending = held.ours(s.Pending).Add(-seconds(held.slack()))
	}
	if len(held.seen) == snapshots {
		held.seen = held.seen[1:]
	}
	held.seen = append(held.seen, n)
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// compared reports whether the source's clock was compared with ours.
func (s *source) compared() bool {
	return !math.IsNaN(s.now.ClockOffset) && !math.IsNaN(s.now.ClockError)
}

// ours turns a moment by the source's clock into one by ours, give or take slack seconds.
func (s *source) ours(t time.Time) time.Time {
	if !s.compared() {
		return t
	}
	return t.Add(-seconds(s.now.ClockOffset))
}

func (s *source) slack() float64 {
	if !s.compared() {
		return 0
	}
	return s.now.ClockError
}

// whole is the moment before which all that was committed was in the log at a time, zero unknown.
func (n snapshot) whole() time.Time {
	if !n.pending.IsZero() && n.pending.Before(n.heard) {
		return n.pending
	}
	return n.heard
}

// snapshot is the newest that was taken no later than at.
func (s *source) snapshot(at time.Time) (n snapshot, ok bool) {
	for i := len(s.seen) - 1; i >= 0; i-- {
		if !s.seen[i].at.After(at) {
			return s.seen[i], true
		}
	}
	return snapshot{}, false
}

// readTopics reads the captured topics' ends, and of records whose commit time matters that time.
func (p *Probe) readTopics(ctx context.Context, l *look) error {
	names := make(map[string]map[string]bool)
	for _, s := range l.sources {
		for _, topic := range s.Tables {
			if names[s.Cluster] == nil {
				names[s.Cluster] = make(map[string]bool)
			}
			names[s.Cluster][topic] = true
		}
	}
	for _, c := range p.feeds.Clusters() {
		want := slices.Sorted(maps.Keys(names[c.Name()]))
		if len(want) == 0 {
			continue
		}
		from := time.Now()
		topics, err := c.Topics(ctx, false, want...)
		to := time.Now()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p.mu.Lock()
		p.seeTopics(c.Name(), topics, err, from, to)
		p.mu.Unlock()
		if err != nil {
			continue
		}
		if err := p.readCommits(ctx, c, l); err != nil {
			return err
		}
	}
	return nil
}

func (p *Probe) seeTopics(cluster string, topics []stream.Topic, err error, from, to time.Time) {
	if err != nil {
		for at, t := range p.topics {
			if at.cluster == cluster {
				t.err = err
			}
		}
		return
	}
	for _, s := range topics {
		for _, e := range s.Partitions {
			at := place{cluster, stream.TopicPartition{Topic: s.Name, Partition: e.ID}}
			t := p.topics[at]
			if t == nil {
				t = newTopic()
				p.topics[at] = t
			}
			t.touched = p.round
			if t.err = cmp.Or(s.Err, e.Err); t.err != nil {
				continue
			}
			n, _, ok := t.ends.Last()
			if ok && e.End < n {
				*t = *newTopic() // truncated or made anew, and nothing known of it
				t.touched = p.round
				ok = false
			}
			t.grew = -1
			if ok && e.End > n {
				t.grew = n
			}
			t.end, t.stable = e.End, e.Stable
			t.ends.See(e.End, from, to)
		}
	}
}

// readCommits reads the commit times of the first record that came since the last round, and of those that sinks and
// groups wait for.
func (p *Probe) readCommits(ctx context.Context, c probes.Cluster, l *look) error {
	for range readPasses {
		p.mu.Lock()
		want := p.unsampled(c.Name(), l)
		p.mu.Unlock()
		if len(want) == 0 {
			return nil
		}
		records, err := c.First(ctx, want)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return nil // what is not read is bounded by what is
		}
		p.mu.Lock()
		for tp, offset := range want {
			t := p.topics[place{c.Name(), tp}]
			if t == nil {
				continue
			}
			r, ok := records[tp]
			if !ok {
				continue
			}
			if t.asked, t.none = offset, t.stable; r.Offset >= 0 {
				t.none = r.Offset
				if commit := lag.CommitTime(&r); !commit.IsZero() {
					t.add(r.Offset, commit)
				}
			}
		}
		p.mu.Unlock()
	}
	return nil
}

// unsampled gives for each partition one offset whose commit time is wanted and not known.
func (p *Probe) unsampled(cluster string, l *look) map[stream.TopicPartition]int64 {
	want := make(map[stream.TopicPartition]int64)
	add := func(at place, offset int64) {
		t := p.topics[at]
		if t == nil || t.err != nil || offset < 0 || offset >= t.stable || (t.asked == offset && t.none >= t.stable) {
			return
		}
		if _, taken := want[at.TopicPartition]; taken {
			return
		}
		if i, found := t.find(offset); found || i < len(t.commits) && t.asked == offset && t.none == t.commits[i].offset {
			return
		}
		want[at.TopicPartition] = offset
	}
	for i := range l.sinks {
		if s := &l.sinks[i]; s.Cluster == cluster {
			add(place{cluster, stream.TopicPartition{Topic: s.Topic, Partition: s.Partition}}, s.Next)
		}
	}
	for at, t := range p.topics {
		if at.cluster == cluster && t.grew >= 0 {
			add(at, t.grew)
		}
	}
	return want
}

// longTrack keeps what a Delivery needs: to a second for an hour, to a 64th of its age for a day.
func longTrack() probes.Track {
	return probes.Track{Step: time.Second, Fine: time.Hour, Ratio: 64, Keep: 24 * time.Hour}
}

func newTopic() *topic { return &topic{ends: longTrack(), grew: -1, asked: -1} }

// find returns where offset is, or would be, among the samples.
func (t *topic) find(offset int64) (int, bool) {
	return slices.BinarySearchFunc(t.commits, offset, func(s sample, o int64) int { return cmp.Compare(s.offset, o) })
}

func (t *topic) add(offset int64, commit time.Time) {
	i, found := t.find(offset)
	if found || i == 0 && len(t.commits) >= sampleKept {
		return
	}
	t.commits = slices.Insert(t.commits, i, sample{offset, commit})
	if len(t.commits) > sampleKept {
		t.commits = slices.Delete(t.commits, 0, 1)
	}
}

// commit bounds when the change at offset, or the first after it, was committed. A table's topic is in the order of
// commits. Zero is not bounded.
func (t *topic) commit(offset int64) (from, to time.Time) {
	i, found := t.find(offset)
	if !found && t.asked == offset && i < len(t.commits) && t.commits[i].offset == t.none {
		found = true // offset holds no record, and the next one is known
	}
	if found {
		return t.commits[i].commit, t.commits[i].commit
	}
	if i > 0 {
		from = t.commits[i-1].commit
	}
	if i < len(t.commits) {
		to = t.commits[i].commit
	}
	return from, to
}

// empty reports whether no record lies between offset and the end.
func (t *topic) empty(offset int64) bool {
	return offset >= t.end || t.asked == offset && t.none >= t.end
}

func (p *Probe) prune() {
	const forget = 600
	old := p.round - forget
	maps.DeleteFunc(p.sources, func(_ string, x *source) bool { return x.touched < old })
	maps.DeleteFunc(p.topics, func(_ place, x *topic) bool { return x.touched < old })
	maps.DeleteFunc(p.sinks, func(_ end, x *sinkEnd) bool { return x.touched < old })
	maps.DeleteFunc(p.groups, func(_ end, x *groupEnd) bool { return x.touched < old })
	maps.DeleteFunc(p.paths, func(_ string, x *pathState) bool { return x.touched < old })
}
