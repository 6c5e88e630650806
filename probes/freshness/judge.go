package freshness

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"freshet/backend/stream"
	"freshet/probes"
	"freshet/probes/lag"
)

const notCompared = "the source's clock was not compared with ours"

// part is how one partition stands at the end of a path, at a moment.
type part struct {
	unknown string // why nothing is known
	// The oldest change that waits, by commit time. A NaN high is not bounded.
	waiting   bool
	low, high float64
	records   float64 // that wait
	// The changes that came last, and whether they came since the round before.
	last    arrivals
	arrived bool
}

// judge puts the paths together.
func (p *Probe) judge(l *look) *Detail {
	d := &Detail{At: l.at}
	sinks := make(map[place][]*probes.SinkProgress)
	for i := range l.sinks {
		s := &l.sinks[i]
		at := place{s.Cluster, stream.TopicPartition{Topic: s.Topic, Partition: s.Partition}}
		sinks[at] = append(sinks[at], s)
	}
	for _, progress := range l.sources {
		src := p.sources[progress.Source]
		d.Sources = append(d.Sources, src.detail(l.at, p.o.Idle))
		head := d.Sources[len(d.Sources)-1]
		for _, table := range slices.Sorted(maps.Keys(progress.Tables)) {
			base := Path{Source: progress.Source, Table: table, Cluster: progress.Cluster, Topic: progress.Tables[table]}
			base.Hops = []Hop{
				{CommitCaptured, "source:" + base.Source, "captured", head.Captured},
				{CapturedTopic, "captured", "topic:" + base.Topic, head.Appended},
			}
			n := len(d.Paths)
			d.Paths = p.toSinks(d.Paths, l, src, base, sinks)
			d.Paths = p.toGroups(d.Paths, l, src, base)
			if len(d.Paths) == n {
				base.To = "topic:" + base.Topic
				base.Total = src.upstream(l.at, part{}, src.last(), p.o.Idle)
				base.Waiting = stream.UnknownReading("records", "nobody reads the topic", l.at)
				d.Paths = append(d.Paths, p.finish(base, src, l.at, "", "", part{last: src.last()}))
			}
		}
	}
	slices.SortFunc(d.Sources, func(a, b Source) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(d.Paths, func(a, b Path) int { return cmp.Compare(a.Name, b.Name) })
	return d
}

// detail reads the first two hops.
func (s *source) detail(at time.Time, idle time.Duration) Source {
	n, _ := s.snapshot(at)
	out := Source{Name: s.now.Source, Cluster: s.now.Cluster, State: s.now.State, Why: s.now.Why, Heard: n.heard}
	last := s.last()
	if why := s.deaf(n); why != "" {
		out.Captured = stream.UnknownReading("s", why, n.at)
	} else {
		high := n.at.Sub(n.heard).Seconds()
		value := high / 2
		if !last.at.IsZero() {
			value = min(last.last, high)
		}
		out.Captured = s.say(value, 0, high, n.at)
	}
	switch {
	case !n.pending.IsZero():
		v := n.at.Sub(s.ours(s.now.Pending)).Seconds()
		out.Appended = s.say(v, v-s.slack(), v+s.slack(), n.at)
	case last.at.IsZero():
		out.Appended = stream.ExactReading(0, "s", n.at)
		out.Appended.Why = "nothing came since Freshet watches"
	default:
		out.Appended = s.say(last.last, last.low, last.high, n.at)
		out.Appended.Why = cmp.Or(quiet(last.at, n.at, idle), out.Appended.Why)
	}
	return out
}

// say makes a reading of ages by commit time, which are never below zero.
func (s *source) say(value, low, high float64, at time.Time) stream.Reading {
	low = max(0, low)
	if !math.IsNaN(high) {
		high = max(low, high)
		value = min(value, high)
	}
	r := stream.BoundedReading(max(low, value), low, high, "s", at)
	if !s.compared() {
		r.State, r.Why = stream.Estimate, notCompared
	}
	return r
}

func quiet(last, now time.Time, idle time.Duration) string {
	if age := now.Sub(last); age > idle {
		return "nothing came for " + probes.SecondsText(age.Seconds()) + ": the delay of what came last"
	}
	return ""
}

// last is the arrival of the source's last transaction in the log.
func (s *source) last() arrivals {
	if s.now.LastCommit.IsZero() || s.now.LastAppended.IsZero() {
		return arrivals{}
	}
	d := s.now.LastAppended.Sub(s.ours(s.now.LastCommit)).Seconds()
	return arrivals{max(0, d-s.slack()), max(0, d+s.slack()), max(0, d), s.now.LastAppended}
}

// deaf says why it is not known what the source committed lately, "" where it is.
func (s *source) deaf(n snapshot) string {
	streams := s.now.State == "streaming" || s.now.State == "snapshot"
	because := s.now.State
	if s.now.Why != "" {
		because += ": " + s.now.Why
	}
	switch {
	case n.heard.IsZero() && streams:
		return "the source has not told yet how far it is"
	case n.heard.IsZero():
		return "nothing heard from the source (" + because + ")"
	case !streams && n.at.Sub(n.heard) > silence:
		return "nothing heard from the source for " + probes.SecondsText(n.at.Sub(n.heard).Seconds()) + " (" + because +
			"): what it committed since is not known"
	}
	return ""
}

// upstream makes the total at a moment from how things stand at the end of the path and from what may still be on its
// way to the topic.
func (s *source) upstream(at time.Time, here part, last arrivals, idle time.Duration) stream.Reading {
	n, ok := s.snapshot(at)
	switch {
	case s.now.State == "snapshot":
		return stream.UnknownReading("s", "the first snapshot is being read", at)
	case here.unknown != "" && !here.waiting:
		return stream.UnknownReading("s", here.unknown, at)
	case here.waiting:
		// A table's changes keep the order of their commits: what is still on its way is younger than what waits here.
		return s.hop(at, here, idle)
	case !ok:
		return stream.UnknownReading("s", "the source was not looked at then", at)
	}
	low, high, value := 0.0, at.Sub(n.whole()).Seconds(), 0.0
	if here.arrived {
		low = last.low
	}
	if !last.at.IsZero() {
		value = last.last
		if here.arrived {
			high = max(high, last.high)
		}
	}
	if !n.pending.IsZero() {
		value = max(value, at.Sub(n.pending).Seconds())
	}
	if why := s.deaf(n); why != "" {
		if n.pending.IsZero() || n.heard.IsZero() {
			return stream.UnknownReading("s", why, at)
		}
		r := s.say(value, low, nan, at)
		r.Why = why
		return r
	}
	r := s.say(value, low, high, at)
	if !n.pending.IsZero() && at.Sub(n.pending) > silence {
		r.Why = "changes of this source wait to be written to the log, perhaps of this table"
	} else if !last.at.IsZero() {
		r.Why = cmp.Or(quiet(last.at, at, idle), r.Why)
	}
	return r
}

// hop makes the reading of the last hop from how things stand at its end.
func (s *source) hop(at time.Time, here part, idle time.Duration) stream.Reading {
	var r stream.Reading
	switch {
	case here.waiting && here.arrived:
		r = s.say(max(middle(here.low, here.high), here.last.last), min(here.low, here.last.low), max(here.high, here.last.high), at)
	case here.waiting:
		r = s.say(middle(here.low, here.high), here.low, here.high, at)
	case here.unknown != "":
		return stream.UnknownReading("s", here.unknown, at)
	case here.last.at.IsZero():
		r = stream.ExactReading(0, "s", at)
		r.Why = "nothing came since Freshet watches"
	default:
		r = s.say(here.last.last, here.last.low, here.last.high, at)
		r.Why = cmp.Or(quiet(here.last.at, at, idle), r.Why)
	}
	if here.unknown != "" {
		r.High, r.Why = nan, here.unknown
	}
	return r
}

// middle is between two bounds, or the lower one where there is no upper.
func middle(low, high float64) float64 {
	if math.IsNaN(high) {
		return low
	}
	return (low + high) / 2
}

// merge takes what is worst of several partitions.
func merge(parts []part) part {
	var out part
	out.last.low = math.Inf(1)
	var seen bool
	for _, q := range parts {
		out.records += q.records
		if q.unknown != "" && out.unknown == "" {
			out.unknown = q.unknown
		}
		if q.waiting {
			out.waiting = true
			out.low, out.high = max(out.low, q.low), max(out.high, q.high) // max keeps NaN: not bounded
		}
		if q.last.at.IsZero() || out.arrived && !q.arrived {
			continue
		}
		if q.arrived && !out.arrived { // what came in this round replaces what came before
			out.arrived, out.last = true, q.last
		} else {
			out.last.low, out.last.high = min(out.last.low, q.last.low), max(out.last.high, q.last.high)
			if out.last.last = max(out.last.last, q.last.last); q.last.at.After(out.last.at) {
				out.last.at = q.last.at
			}
		}
		seen = true
	}
	if !seen {
		out.last = arrivals{}
	}
	return out
}

// toSinks adds the paths that end at sinks.
func (p *Probe) toSinks(paths []Path, l *look, src *source, base Path, sinks map[place][]*probes.SinkProgress) []Path {
	byName := make(map[string][]part)
	progress := make(map[string][]*probes.SinkProgress)
	for at, here := range sinks {
		if at.cluster != base.Cluster || at.Topic != base.Topic {
			continue
		}
		for _, s := range here {
			byName[s.Sink] = append(byName[s.Sink], p.atSink(l, src, at, s))
			progress[s.Sink] = append(progress[s.Sink], s)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		all := merge(byName[name])
		path := base
		path.To = "sink:" + name
		path.Hops = append(slices.Clone(base.Hops), Hop{TopicSink, "topic:" + base.Topic, path.To, src.hop(l.at, all, p.o.Idle)})
		path.Total = src.upstream(l.at, all, all.last, p.o.Idle)
		path.Waiting = stream.ExactReading(all.records, "records", l.at)
		if all.unknown != "" {
			path.Waiting = stream.UnknownReading("records", all.unknown, l.at)
		}
		state, why := worstSink(progress[name])
		paths = append(paths, p.finish(path, src, l.at, state, why, all))
	}
	return paths
}

// worstSink is the state of a sink that has several partitions.
func worstSink(all []*probes.SinkProgress) (state, why string) {
	rank := []string{"running", "retrying", "paused", "blocked", "stopped"}
	for _, s := range all {
		if slices.Index(rank, s.State) > slices.Index(rank, state) {
			state, why = s.State, s.Why
		}
	}
	return state, why
}

// atSink tells how one partition stands at a sink.
func (p *Probe) atSink(l *look, src *source, at place, s *probes.SinkProgress) part {
	held := p.sinks[end{s.Sink, at}]
	if held == nil {
		held = &sinkEnd{applied: longTrack()}
		p.sinks[end{s.Sink, at}] = held
	}
	held.touched = p.round
	if s.NextAt.IsZero() {
		why := "the sink has not taken up its place in the topic yet"
		if s.Why != "" {
			why += ": " + s.Why
		}
		return part{unknown: why, last: held.last}
	}
	t := p.topics[at]
	var now arrivals
	first := held.after.IsZero()
	for _, b := range s.Recent {
		n, _, known := held.applied.Last()
		if !b.After.After(held.after) && (!known || b.Next <= n) {
			continue
		}
		if known && b.From > n && t != nil {
			// Batches that left the list before it was looked at: they came after the one before and before this one.
			from, _ := t.commit(n)
			now.add(src.delays(from, b.OldestCommit, held.after, b.Before))
		}
		held.applied.See(b.From, b.Before, b.Before)
		held.applied.See(b.Next, b.After, b.After)
		held.after = b.After
		if delays := src.delays(b.OldestCommit, b.NewestCommit, b.Before, b.After); first && !b.After.After(l.at.Add(-2*p.o.Every)) {
			held.last = delays // from before this was watched
		} else {
			now.add(delays)
		}
	}
	if n, _, ok := held.applied.Last(); !ok || s.Next != n {
		held.applied.See(s.Next, l.from, l.at) // without a batch: records that the sink passes over, or that it was set back
	}
	out := part{}
	if !now.at.IsZero() {
		held.last, out.arrived = now, true
	}
	out.last = held.last
	switch {
	case t == nil:
		out.unknown = "the topic's end was not read"
	case !t.empty(s.Next):
		// What was seen to wait still does, whether or not the end can be read now.
		out.waiting, out.records = true, float64(t.end-s.Next)
		out.low, out.high = src.ages(l.at, t, s.Next)
	case t.err != nil:
		out.unknown = "the topic's end was not read: " + t.err.Error()
	}
	return out
}

// ages bounds how long ago the first change at or after an offset was committed.
func (s *source) ages(at time.Time, t *topic, offset int64) (low, high float64) {
	from, to := t.commit(offset)
	low, high = 0, nan
	if !to.IsZero() {
		low = at.Sub(s.ours(to)).Seconds() - s.slack()
	} else if by := t.ends.Passed(offset).By; !by.IsZero() {
		low = at.Sub(by).Seconds() // committed before it was in the log
	}
	if !from.IsZero() {
		high = at.Sub(s.ours(from)).Seconds() + s.slack()
	}
	return max(0, low), high
}

// delays bounds the delays of changes committed between oldest and newest that came between after and by.
func (s *source) delays(oldest, newest, after, by time.Time) arrivals {
	a := arrivals{low: 0, high: nan, at: by}
	if !newest.IsZero() && !after.IsZero() {
		a.low = max(0, after.Sub(s.ours(newest)).Seconds()-s.slack())
	}
	if !oldest.IsZero() {
		a.high = max(a.low, by.Sub(s.ours(oldest)).Seconds()+s.slack())
	}
	a.last = max(a.low, a.high-s.slack())
	if math.IsNaN(a.high) {
		a.last = a.low
	}
	return a
}

// add widens a by what came after it.
func (a *arrivals) add(b arrivals) {
	if a.at.IsZero() {
		*a = b
		return
	}
	a.low, a.high, a.last, a.at = min(a.low, b.low), max(a.high, b.high), b.last, b.at
}

// toGroups adds the paths that end at groups. Their readings are of the moment at which the commits were read.
func (p *Probe) toGroups(paths []Path, l *look, src *source, base Path) []Path {
	for _, lg := range l.lags {
		if lg.detail.Cluster != base.Cluster {
			continue
		}
		at := lg.detail.At
		for i := range lg.detail.Groups {
			g := &lg.detail.Groups[i]
			var parts []part
			var of []lag.Partition
			for _, q := range g.Partitions {
				if q.Topic == base.Topic {
					parts = append(parts, p.atGroup(src, base.Cluster, lg, g.Name, &q))
					of = append(of, q)
				}
			}
			if len(parts) == 0 {
				continue
			}
			all := merge(parts)
			path := base
			path.To = "group:" + g.Name
			path.Hops = append(slices.Clone(base.Hops), Hop{TopicGroup, "topic:" + base.Topic, path.To, src.hop(at, all, p.o.Idle)})
			path.Total = src.upstream(at, all, all.last, p.o.Idle)
			path.Waiting, _ = lag.Total(of, at)
			state, why := "running", ""
			if len(g.Members) == 0 && (g.Code == lag.Empty || g.Code == lag.Idle) {
				state, why = "stopped", "the group has no members"
			}
			if g.Code == lag.Stopped {
				state, why = "stopped", g.Verdict
			}
			if !all.waiting {
				state = "running" // nobody is needed
			}
			paths = append(paths, p.finish(path, src, at, state, why, all))
		}
	}
	return paths
}

// atGroup tells how one partition stands at a group.
func (p *Probe) atGroup(src *source, cluster string, lg lagged, group string, q *lag.Partition) part {
	tp := stream.TopicPartition{Topic: q.Topic, Partition: q.Partition}
	at := place{cluster, tp}
	if q.State == lag.PartNoCommit || q.State == lag.PartUnknown || q.State == lag.PartAhead {
		return part{unknown: q.Why}
	}
	held := p.groups[end{group, at}]
	if held == nil {
		held = &groupEnd{committed: q.Committed, at: lg.detail.At}
		p.groups[end{group, at}] = held
	}
	held.touched = p.round
	t := p.topics[at]
	if t == nil {
		return part{unknown: "the topic's end was not read"}
	}
	if h := q.Head; h != nil && !h.Commit.IsZero() {
		t.add(h.Offset, h.Commit)
	}
	if lg.detail.At.After(held.at) {
		held.arrived = false
		if q.Committed > held.committed {
			from, _ := t.commit(held.committed)
			_, to := t.commit(q.Committed - 1)
			held.last = src.delays(from, to, lg.probe.Committed(group, tp, held.committed).After, lg.detail.At)
			held.arrived = true
		}
		held.committed, held.at = q.Committed, lg.detail.At
	}
	out := part{last: held.last, arrived: held.arrived}
	if q.State == lag.PartCaughtUp || q.Records.High == 0 {
		return out
	}
	out.waiting, out.records = true, q.Records.Value
	if out.low, out.high = src.ages(lg.detail.At, t, max(q.Committed, q.Start)); q.Basis == lag.ByArrival {
		out.low = max(out.low, q.Seconds.Low) // committed before it was in the log
	}
	return out
}

// finish judges a path and remembers it.
func (p *Probe) finish(path Path, src *source, at time.Time, endState, endWhy string, here part) Path {
	path.Name = path.Source + "/" + path.Table + "/" + path.To
	path.Objective = p.o.Objective(path.Name)
	held := p.paths[path.Name]
	if held == nil {
		held = new(pathState)
		p.paths[path.Name] = held
	}
	held.touched = p.round
	state, why := p.state(&path, src, endState, endWhy, here)
	if state != held.state {
		held.state, held.since = state, at
	}
	path.State, path.Since = state, held.since
	path.Why = cmp.Or(why, path.Total.Why)
	held.trend.Add(at, path.Total.Value)
	path.Trend = held.trend.Direction(0.02)
	held.backlog.Add(at, path.Waiting.Value)
	path.ETA = stream.UnknownReading("s", "the backlog does not fall", at)
	if mid, low, high, ok := held.backlog.Until(path.Waiting.Value); ok {
		path.ETA = stream.Reading{Value: mid, Low: low, High: high, Unit: "s", State: stream.Estimate, AsOf: at}
	} else if path.Waiting.Value == 0 {
		path.ETA = stream.ExactReading(0, "s", at)
	}
	path.Worst = held.remember(path.Total)
	return path
}

// remember keeps the worst reading of each of the last 60 minutes, and returns the worst of all.
func (h *pathState) remember(r stream.Reading) stream.Reading {
	minute := func(r stream.Reading) int64 { return r.AsOf.Unix() / 60 }
	if r.Known() && !math.IsNaN(r.Value) {
		switch n := len(h.worst); {
		case n == 0 || minute(h.worst[n-1]) != minute(r):
			h.worst = append(h.worst, r)
		case r.Value > h.worst[n-1].Value:
			h.worst[n-1] = r
		}
	}
	for len(h.worst) > 0 && minute(r)-minute(h.worst[0]) >= 60 {
		h.worst = h.worst[1:]
	}
	worst := stream.UnknownReading("s", "nothing known in the last hour", r.AsOf)
	for _, w := range h.worst {
		if !worst.Known() || w.Value > worst.Value {
			worst = w
		}
	}
	return worst
}

// state judges a path.
func (p *Probe) state(path *Path, src *source, endState, endWhy string, here part) (State, string) {
	total, objective := path.Total, path.Objective
	n, _ := src.snapshot(total.AsOf)
	streams := src.now.State == "streaming" || src.now.State == "snapshot"
	what, name, _ := strings.Cut(path.To, ":")
	because := func(text, why string) string {
		if why != "" {
			text += ": " + why
		}
		return text
	}
	switch {
	case src.now.State == "paused":
		return Paused, because("source "+src.now.Source+" is paused", src.now.Why)
	case endState == "paused":
		return Paused, because(what+" "+name+" is paused", endWhy)
	case src.now.State == "stopped":
		return Dead, because("source "+src.now.Source+" is stopped", src.now.Why)
	case !streams && (n.heard.IsZero() || n.at.Sub(n.heard) > p.o.Dead):
		return Dead, because("nothing heard from source "+src.now.Source, src.now.Why)
	case endState == "stopped" || endState == "blocked":
		return Dead, because(what+" "+name+" is "+endState, endWhy)
	case !total.Known():
		return Unknown, total.Why
	case objective > 0 && total.Low > objective:
		return Late, fmt.Sprintf("%s, the objective is %s", probes.SecondsText(total.Value), probes.SecondsText(objective))
	case objective > 0 && math.IsNaN(total.High):
		return Unknown, cmp.Or(total.Why, "it is not known how late it may be")
	case objective > 0 && (total.High > objective || total.Value > 0.8*objective):
		return AtRisk, fmt.Sprintf("%s, the objective is %s", probes.SecondsText(total.Value), probes.SecondsText(objective))
	case !here.waiting && (here.last.at.IsZero() || total.AsOf.Sub(here.last.at) > p.o.Idle):
		return Idle, ""
	}
	return OnTime, ""
}

// TotalSeries is the history of a path's Total.
func TotalSeries(x Path) probes.Series {
	s := probes.Series{Metric: "freshness_seconds", Cluster: x.Cluster, Source: x.Source, Topic: x.Topic, Partition: -1, Hop: Total}
	if what, name, _ := strings.Cut(x.To, ":"); what == "sink" {
		s.Sink = name
	} else if what == "group" {
		s.Group = name
	}
	return s
}

// points are the history of a round.
func points(d *Detail) []probes.Point {
	out := make([]probes.Point, 0, 4*len(d.Paths))
	for i := range d.Paths {
		x := &d.Paths[i]
		s := TotalSeries(*x)
		for _, h := range x.Hops {
			s.Hop = h.Name
			out = append(out, probes.Point{Series: s, Reading: h.Seconds})
		}
		s.Hop = Total
		out = append(out, probes.Point{Series: s, Reading: x.Total})
	}
	return out
}
