// Package export gives what the probes measured to Prometheus. It starts from New, whose Collector is registered where
// the caller likes. A scrape reads the last rounds, which are held in memory, and asks nothing of anybody.
package export

import (
	"cmp"
	"math"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"freshet/backend/stream"
	"freshet/probes"
	"freshet/probes/freshness"
	"freshet/probes/lag"
	"freshet/probes/slot"
	"freshet/probes/topics"
)

// Options are a Collector's.
type Options struct {
	// Series is how many series one family may have, 20,000 unless set. What is beyond is left out, and counted.
	Series int
	// KafkaLagExporter adds the names of kafka-lag-exporter.
	KafkaLagExporter bool
}

// Collector is a prometheus.Collector of the probes' last rounds.
type Collector struct {
	rounds func() []probes.Status
	o      Options
	descs  map[*metric]*prometheus.Desc
}

// New makes a Collector of rounds, for instance probes.Scheduler's Status.
func New(rounds func() []probes.Status, o Options) *Collector {
	o.Series = cmp.Or(o.Series, 20000)
	c := &Collector{rounds: rounds, o: o, descs: make(map[*metric]*prometheus.Desc)}
	for _, m := range families() {
		if !m.compat || o.KafkaLagExporter {
			c.descs[m] = prometheus.NewDesc(m.name, m.help, m.labels, nil)
		}
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	s := &scrape{c: c, out: out, sent: make(map[*metric]int)}
	now := time.Now()
	for _, st := range c.rounds() {
		s.probe(&st)
		if now.Sub(st.Last.At) > max(3*st.Every, 10*time.Second) {
			continue
		}
		switch d := st.Last.Detail.(type) {
		case *lag.Detail:
			s.lag(d)
		case *freshness.Detail:
			s.freshness(d)
		case *topics.Detail:
			s.topics(d)
		case *slot.Detail:
			s.slots(d)
		}
	}
	for m, n := range s.sent {
		if dropped := n - c.o.Series; dropped > 0 && m != seriesDropped {
			s.put(seriesDropped, float64(dropped), m.name)
		}
	}
}

// scrape is one answer while it is put together.
type scrape struct {
	c    *Collector
	out  chan<- prometheus.Metric
	sent map[*metric]int
}

// put adds a value, unless it is not known.
func (s *scrape) put(m *metric, v float64, labels ...string) {
	desc := s.c.descs[m]
	if desc == nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return
	}
	if m != seriesDropped {
		if s.sent[m]++; s.sent[m] > s.c.o.Series {
			return
		}
	}
	for i, l := range labels {
		labels[i] = valid(l)
	}
	s.out <- prometheus.MustNewConstMetric(desc, m.typ, v, labels...)
}

// reading adds a reading's value, where it has one.
func (s *scrape) reading(m *metric, r stream.Reading, labels ...string) {
	if r.Known() {
		s.put(m, r.Value, labels...)
	}
}

// bounds adds a reading with its bounds.
func (s *scrape) bounds(value, low, high *metric, r stream.Reading, labels ...string) {
	if r.Known() {
		s.put(value, r.Value, labels...)
		s.put(low, r.Low, labels...)
		s.put(high, r.High, labels...)
	}
}

func (s *scrape) time(m *metric, t time.Time, labels ...string) {
	if !t.IsZero() {
		s.put(m, float64(t.UnixMilli())/1000, labels...)
	}
}

func (s *scrape) probe(st *probes.Status) {
	up := 0.0
	if st.Err == nil && !st.Last.At.IsZero() {
		up = 1
	}
	s.put(probeUp, up, st.Name)
	s.time(probeLast, st.Last.At, st.Name)
	if st.Rounds+st.Errors > 0 {
		s.put(probeDuration, st.LastTook.Seconds(), st.Name)
	}
	s.put(probeRounds, float64(st.Rounds), st.Name)
	s.put(probeErrors, float64(st.Errors), st.Name)
	s.put(probeUnstored, float64(st.Unstored), st.Name)
}

func (s *scrape) lag(d *lag.Detail) {
	for i := range d.Groups {
		g := &d.Groups[i]
		s.put(groupVerdict, 1, d.Cluster, g.Name, string(g.Code))
		if g.Err != "" {
			continue
		}
		s.put(groupMembers, float64(len(g.Members)), d.Cluster, g.Name)
		s.put(lagUnknown, float64(g.Unread), d.Cluster, g.Name)
		s.put(lagLost, float64(g.Lost), d.Cluster, g.Name)
		s.reading(groupConsumed, g.Consumed, d.Cluster, g.Name)
		s.reading(groupCatchUp, g.CatchUp, d.Cluster, g.Name)
		s.reading(kleMaxSeconds, g.Seconds, d.Cluster, g.Name)
		s.reading(kleSum, g.Records, d.Cluster, g.Name)
		greatest := math.NaN()
		for from := 0; from < len(g.Partitions); {
			to := from
			for to < len(g.Partitions) && g.Partitions[to].Topic == g.Partitions[from].Topic {
				if r := g.Partitions[to].Records; r.Known() && !(r.Value <= greatest) {
					greatest = r.Value
				}
				to++
			}
			topic := g.Partitions[from].Topic
			records, seconds := lag.Total(g.Partitions[from:to], d.At)
			s.reading(lagRecords, records, d.Cluster, g.Name, topic)
			s.reading(kleTopicSum, records, d.Cluster, g.Name, topic)
			s.bounds(lagSeconds, lagLow, lagHigh, seconds, d.Cluster, g.Name, topic)
			from = to
		}
		s.put(kleMax, greatest, d.Cluster, g.Name)
	}
}

func (s *scrape) freshness(d *freshness.Detail) {
	for i := range d.Paths {
		p := &d.Paths[i]
		for _, h := range p.Hops {
			s.bounds(freshSeconds, freshLow, freshHigh, h.Seconds, p.Cluster, p.Source, p.Table, p.To, h.Name)
		}
		s.bounds(freshSeconds, freshLow, freshHigh, p.Total, p.Cluster, p.Source, p.Table, p.To, freshness.Total)
		if p.Objective > 0 {
			s.put(freshObjective, p.Objective, p.Cluster, p.Source, p.Table, p.To)
		}
		s.put(freshState, 1, p.Cluster, p.Source, p.Table, p.To, string(p.State))
		s.reading(freshWaiting, p.Waiting, p.Cluster, p.Source, p.Table, p.To)
	}
}

func (s *scrape) topics(d *topics.Detail) {
	for i := range d.Topics {
		t := &d.Topics[i]
		s.reading(topicOffsets, t.Offsets, d.Cluster, t.Name)
		s.reading(topicRate, t.Rate, d.Cluster, t.Name)
		s.reading(topicBytes, t.Bytes, d.Cluster, t.Name)
		s.time(topicLast, t.Last, d.Cluster, t.Name)
	}
}

func (s *scrape) slots(d *slot.Detail) {
	for i := range d.Slots {
		x := &d.Slots[i]
		s.reading(slotRetained, x.Retained, x.Source, x.Slot)
		s.reading(slotSafe, x.Safe, x.Source, x.Slot)
		s.reading(slotCutOff, x.CutOff, x.Source, x.Slot)
		s.put(slotVerdict, 1, x.Source, x.Slot, string(x.Code))
	}
}

// valid replaces what is not UTF-8: a name from a broker or a database must not fail the whole scrape.
func valid(s string) string { return strings.ToValidUTF8(s, "�") }
