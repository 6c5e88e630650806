// Package topics measures what topics hold and how fast they grow. It starts from New, and is an engine: it asks a
// probes.Cluster. A Probe's Round is for one goroutine at a time.
package topics

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"freshet/backend/stream"
	"freshet/probes"
)

// Options are a Probe's.
type Options struct {
	Every time.Duration // 10 s unless set
	Sizes time.Duration // how often bytes on disk are asked for, 1 min unless set; below zero never
	Reads int           // newest records read in a round, to learn their times; 256 unless set, below zero none
	// Configs reads two settings of each topic, by name and setting, and leaves out those it may not know; nil: they stay
	// unknown. It is asked every ConfigEvery, 1 min unless set, and at once for topics that are new.
	Configs     func(ctx context.Context, settings []string, topics ...string) (map[string]map[string]string, error)
	ConfigEvery time.Duration
	// Series is the number of topics up to which each has history, 2,000 unless set.
	Series int
}

// Detail is what one round saw of a cluster's topics.
type Detail struct {
	Cluster string
	At      time.Time
	Topics  []Topic // by name
}

// Topic is what one topic holds.
type Topic struct {
	Name       string
	Internal   bool
	Partitions []stream.Partition
	// Offsets is the sum of what lies between start and end: an upper bound of the records.
	Offsets stream.Reading
	// Rate is how many offsets are written a second. With Marked some of them are transaction markers.
	Rate   stream.Reading
	Marked bool
	// Bytes are on the leaders' disks; ByteRate is Rate times RecordBytes, which is Bytes over Offsets.
	Bytes, ByteRate, RecordBytes stream.Reading
	// Last is the time that the newest record carries, zero unknown; Grew is when the topic was last seen to have grown.
	Last     time.Time
	LastType stream.TimeType
	Grew     time.Time
	// Cleanup is cleanup.policy and Retention retention.ms, "" unknown.
	Cleanup, Retention string
	Err                string
}

// Aged implements probes.Aging.
func (d *Detail) Aged(why string) any {
	old := *d
	old.Topics = slices.Clone(d.Topics)
	for i := range old.Topics {
		t := &old.Topics[i]
		probes.Aged(why, &t.Offsets, &t.Rate, &t.Bytes, &t.ByteRate, &t.RecordBytes)
	}
	return &old
}

const (
	window = 30 * time.Second
	forget = 60 // rounds
)

var nan = math.NaN()

// Probe measures one cluster's topics.
type Probe struct {
	cluster probes.Cluster
	o       Options
	topics  map[string]*topic
	sized   time.Time
	configs time.Time // when those of all topics were read
	round   int64
}

// topic is what is remembered of one topic.
type topic struct {
	id        [16]byte
	looks     []look
	bytes     stream.Reading
	perRecord float64 // bytes on disk for each offset when they were asked for, NaN unknown
	ends      map[int32]int64
	read      map[int32]int64 // ends whose last record was read
	last      time.Time
	lastType  stream.TimeType
	marked    bool
	grew      time.Time
	touched   int64
	config    map[string]string // nil: not read yet
}

// look is the sum of ends, seen between two moments.
type look struct {
	from, to time.Time
	sum      int64
	parts    int
}

// New makes a Probe.
func New(cluster probes.Cluster, o Options) *Probe {
	o.Every = cmp.Or(o.Every, 10*time.Second)
	o.Sizes = cmp.Or(o.Sizes, time.Minute)
	o.Reads = cmp.Or(o.Reads, 256)
	o.Series = cmp.Or(o.Series, 2000)
	o.ConfigEvery = cmp.Or(o.ConfigEvery, time.Minute)
	return &Probe{cluster: cluster, o: o, topics: make(map[string]*topic)}
}

// Name is "topics/" and the cluster's name.
func (p *Probe) Name() string { return "topics/" + p.cluster.Name() }

// Every is the pace.
func (p *Probe) Every() time.Duration { return p.o.Every }

// Round looks once. Its Detail is a *Detail.
func (p *Probe) Round(ctx context.Context) (probes.Round, error) {
	from := time.Now()
	sizes := p.o.Sizes > 0 && (p.sized.IsZero() || from.Sub(p.sized) >= p.o.Sizes)
	all, err := p.cluster.Topics(ctx, sizes)
	if err != nil {
		return probes.Round{}, err
	}
	to := time.Now()
	if sizes {
		p.sized = from
	}
	p.round++
	for i := range all {
		p.see(&all[i], from, to, sizes)
	}
	if err := p.read(ctx, all); err != nil {
		return probes.Round{}, err
	}
	if err := p.configure(ctx, all, to); err != nil {
		return probes.Round{}, err
	}
	d := &Detail{Cluster: p.cluster.Name(), At: to, Topics: make([]Topic, len(all))}
	for i := range all {
		d.Topics[i] = p.judge(&all[i], to)
	}
	slices.SortFunc(d.Topics, func(a, b Topic) int { return cmp.Compare(a.Name, b.Name) })
	for name, t := range p.topics {
		if t.touched < p.round-forget {
			delete(p.topics, name)
		}
	}
	return probes.Round{At: to, Points: p.points(d), Detail: d}, nil
}

// see remembers what a topic's ends were.
func (p *Probe) see(s *stream.Topic, from, to time.Time, sizes bool) {
	t := p.topics[s.Name]
	if t == nil || t.id != s.ID {
		t = &topic{id: s.ID, ends: make(map[int32]int64), read: make(map[int32]int64), perRecord: nan,
			bytes: stream.UnknownReading("B", "not asked for yet", to)}
		p.topics[s.Name] = t
	}
	t.touched = p.round
	now := look{from: from, to: to}
	var bytes, records int64
	var unsized string
	for _, e := range s.Partitions {
		if e.Err != nil {
			unsized = e.Err.Error()
			continue
		}
		now.sum += e.End
		now.parts++
		if before, ok := t.ends[e.ID]; ok && e.End > before {
			t.grew = to
		}
		t.ends[e.ID] = e.End
		if e.Stable < e.End {
			t.marked = true
		}
		if e.Bytes < 0 {
			unsized = "the broker does not say"
		}
		bytes += max(0, e.Bytes)
		records += e.End - e.Start
	}
	if n := len(t.looks); n > 0 && (t.looks[n-1].parts != now.parts || t.looks[n-1].sum > now.sum) {
		t.looks = nil // other partitions, or a log that lost its tail
	}
	if s.Err == nil {
		t.looks = append(t.looks, now)
	}
	for len(t.looks) > 2 && to.Sub(t.looks[1].to) >= window {
		t.looks = t.looks[1:]
	}
	if !sizes {
		return
	}
	t.perRecord = nan
	if unsized != "" {
		t.bytes = stream.UnknownReading("B", unsized, to)
		return
	}
	t.bytes = stream.ExactReading(float64(bytes), "B", to)
	if records > 0 {
		t.perRecord = float64(bytes) / float64(records)
	}
}

// read reads the newest record of partitions that grew.
func (p *Probe) read(ctx context.Context, all []stream.Topic) error {
	want := make(map[stream.TopicPartition]int64)
	for i := range all {
		s := &all[i]
		t := p.topics[s.Name]
		for _, e := range s.Partitions {
			if e.Err != nil || e.Stable <= e.Start || len(want) >= p.o.Reads {
				continue
			}
			if done, ok := t.read[e.ID]; !ok || done != e.Stable {
				want[stream.TopicPartition{Topic: s.Name, Partition: e.ID}] = e.Stable - 1
			}
		}
	}
	if len(want) == 0 {
		return nil
	}
	records, err := p.cluster.First(ctx, want)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return nil // times stay as they were; what else was seen stands
	}
	for tp, offset := range want {
		t := p.topics[tp.Topic]
		r, ok := records[tp]
		if !ok {
			continue
		}
		t.read[tp.Partition] = offset + 1
		if r.Offset < 0 {
			t.marked = true // the newest offset holds no record
			continue
		}
		if r.Time.After(t.last) {
			t.last, t.lastType = r.Time, r.TimeType
		}
	}
	return nil
}

const cleanupPolicy, retention = "cleanup.policy", "retention.ms"

// configure reads the settings of topics that are new, and of all of them now and then.
func (p *Probe) configure(ctx context.Context, all []stream.Topic, at time.Time) error {
	if p.o.Configs == nil {
		return nil
	}
	again := at.Sub(p.configs) >= p.o.ConfigEvery
	var names []string
	for i := range all {
		if all[i].Err == nil && (again || p.topics[all[i].Name].config == nil) {
			names = append(names, all[i].Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	got, err := p.o.Configs(ctx, []string{cleanupPolicy, retention}, names...)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if again {
		p.configs = at
	}
	for _, n := range names {
		switch config, ok := got[n]; {
		case ok:
			p.topics[n].config = config
		case err == nil || p.topics[n].config == nil:
			p.topics[n].config = map[string]string{} // unknown, until all are read again
		}
	}
	return nil
}

func (p *Probe) judge(s *stream.Topic, at time.Time) Topic {
	t := p.topics[s.Name]
	out := Topic{Name: s.Name, Internal: s.Internal, Partitions: s.Partitions, Marked: t.marked, Last: t.last, LastType: t.lastType,
		Grew: t.grew, Bytes: t.bytes, Cleanup: t.config[cleanupPolicy], Retention: t.config[retention]}
	if s.Err != nil {
		out.Err = s.Err.Error()
		out.Offsets = stream.UnknownReading("records", out.Err, at)
		out.Rate = stream.UnknownReading("records/s", out.Err, at)
		out.Bytes = stream.UnknownReading("B", out.Err, at)
		out.ByteRate = stream.UnknownReading("B/s", out.Err, at)
		out.RecordBytes = stream.UnknownReading("B", out.Err, at)
		return out
	}
	var sum float64
	var unread int64
	var why string
	for _, e := range s.Partitions {
		if e.Err != nil {
			unread++
			why = e.Err.Error()
			continue
		}
		sum += float64(e.End - e.Start)
	}
	switch {
	case unread == 0:
		out.Offsets = stream.ExactReading(sum, "records", at)
	case int(unread) == len(s.Partitions):
		out.Offsets = stream.UnknownReading("records", why, at)
	default:
		out.Offsets = stream.BoundedReading(sum, sum, nan, "records", at)
		out.Offsets.Why = fmt.Sprintf("%d of %s unknown: %s", unread, probes.Plural(int64(len(s.Partitions)), "partition"), why)
	}
	out.Rate = stream.UnknownReading("records/s", "not watched for two rounds yet", at)
	if n := len(t.looks); n > 1 {
		a, b := t.looks[0], t.looks[n-1]
		out.Rate = probes.Rate(b.sum-a.sum, a.from, a.to, b.from, b.to)
		if unread > 0 {
			out.Rate.High, out.Rate.Why = nan, out.Offsets.Why
		}
	}
	out.RecordBytes = stream.UnknownReading("B", cmp.Or(t.bytes.Why, "there are no records"), t.bytes.AsOf)
	out.ByteRate = stream.UnknownReading("B/s", cmp.Or(out.Rate.Why, out.RecordBytes.Why), at)
	if v := t.perRecord; !math.IsNaN(v) {
		out.RecordBytes = stream.ExactReading(v, "B", t.bytes.AsOf)
		out.RecordBytes.Why = "the mean of those still held, on disk, compressed"
		if r := out.Rate; r.Known() {
			out.ByteRate = stream.Reading{Value: v * r.Value, Low: v * r.Low, High: v * r.High, Unit: "B/s", State: stream.Estimate,
				Why: "records a second times their mean on disk", AsOf: at}
		}
	}
	return out
}

func (p *Probe) points(d *Detail) []probes.Point {
	var out []probes.Point
	for i := range min(len(d.Topics), p.o.Series) {
		t := &d.Topics[i]
		s := probes.Series{Metric: "topic_records_per_second", Cluster: d.Cluster, Topic: t.Name, Partition: -1}
		out = append(out, probes.Point{Series: s, Reading: t.Rate})
		s.Metric = "topic_bytes"
		out = append(out, probes.Point{Series: s, Reading: t.Bytes})
	}
	return out
}
