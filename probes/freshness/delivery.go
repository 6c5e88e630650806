package freshness

import (
	"slices"
	"strings"
	"time"

	"freshet/backend/stream"
	"freshet/probes"
	"freshet/probes/lag"
)

// Delivery tells when one record came to each place on its way, as far as it was watched, in the order of the way.
func (p *Probe) Delivery(row Row) []Arrival {
	now := time.Now()
	lags := p.feeds.Lag()
	tp := stream.TopicPartition{Topic: row.Topic, Partition: row.Partition}
	at := place{row.Cluster, tp}
	p.mu.Lock()
	src := p.sourceOf(row.Cluster, row.Topic)
	inTopic := probes.Passage{By: now} // it was read from there
	if t := p.topics[at]; t != nil {
		if inTopic = t.ends.Passed(row.Offset); inTopic.By.IsZero() {
			inTopic.By = now
		}
	}
	if row.TimeType == stream.AppendTime && !row.Time.IsZero() {
		inTopic = probes.Passage{After: row.Time, By: row.Time.Add(time.Millisecond)}
	}
	captured := src.received.Passed(int64(row.Position.Commit))
	if row.Position.IsZero() {
		captured = probes.Passage{}
	}
	if captured.By.IsZero() || captured.By.After(inTopic.By) {
		captured.By = inTopic.By
	}
	if captured.After.After(inTopic.After) {
		inTopic.After = captured.After
	}
	out := []Arrival{src.arrival("captured", row, captured, now), src.arrival("topic", row, inTopic, now)}
	for e, held := range p.sinks {
		if e.place == at {
			s := held.applied.Passed(row.Offset)
			out = append(out, src.arrival("sink:"+e.name, row, s, now))
		}
	}
	p.mu.Unlock()
	for _, lp := range lags {
		d := lp.Detail()
		if d == nil || d.Cluster != row.Cluster {
			continue
		}
		for i := range d.Groups {
			if a, ok := src.atGroup(lp, &d.Groups[i], row, tp, now); ok {
				out = append(out, a)
			}
		}
	}
	slices.SortStableFunc(out[2:], func(a, b Arrival) int { return strings.Compare(a.To, b.To) })
	return out
}

// sourceOf returns the source of a topic, or one of which nothing is known.
func (p *Probe) sourceOf(cluster, topic string) *source {
	for _, s := range p.sources {
		if s.now.Cluster != cluster {
			continue
		}
		for _, t := range s.now.Tables {
			if t == topic {
				return s
			}
		}
	}
	return &source{now: probes.SourceProgress{ClockOffset: nan, ClockError: nan}}
}

func (s *source) atGroup(lp *lag.Probe, g *lag.Group, row Row, tp stream.TopicPartition, now time.Time) (Arrival, bool) {
	for i := range g.Partitions {
		q := &g.Partitions[i]
		if q.Topic != tp.Topic || q.Partition != tp.Partition {
			continue
		}
		to := "group:" + g.Name
		if q.State == lag.PartNoCommit || q.State == lag.PartUnknown || q.State == lag.PartAhead {
			return Arrival{to, "unknown", stream.UnknownReading("s", q.Why, now)}, true
		}
		return s.arrival(to, row, lp.Committed(g.Name, tp, row.Offset), now), true
	}
	return Arrival{}, false
}

// arrival turns the passage of a row into its delay.
func (s *source) arrival(to string, row Row, at probes.Passage, now time.Time) Arrival {
	if row.Commit.IsZero() {
		state := "arrived"
		if at.By.IsZero() {
			state = "waiting"
		}
		return Arrival{to, state, stream.UnknownReading("s", "the record does not say when its change was committed", now)}
	}
	commit := s.ours(row.Commit)
	if at.By.IsZero() {
		r := s.say(now.Sub(commit).Seconds(), now.Sub(commit).Seconds()-s.slack(), nan, now)
		r.Why = "has not come yet"
		return Arrival{to, "waiting", r}
	}
	low, high := 0.0, at.By.Sub(commit).Seconds()+s.slack()
	if !at.After.IsZero() {
		low = at.After.Sub(commit).Seconds() - s.slack()
	}
	r := s.say((max(0, low)+high)/2, low, high, now)
	if at.After.IsZero() && to != "captured" && r.Why == "" {
		r.Why = "it came before Freshet watched, or in the first round"
	}
	return Arrival{to, "arrived", r}
}
