package lag

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"freshet/backend/stream"
	"freshet/probes"
)

// shareOut is how long a group may share its partitions out without a commit before it is said to have stopped.
const shareOut = 15 * time.Second

const millisecond = 0.001 // the resolution of a record's time

var nan = math.NaN()

// partition says how a pair stands.
func (p *Probe) partition(l *look, x *pair) Partition {
	out := Partition{Topic: x.tp.Topic, Partition: x.tp.Partition, Committed: x.commit, Start: -1, End: -1, Stable: -1,
		Member: x.member, ByRecordTime: stream.UnknownReading("s", "the record was not read", l.to)}
	unknown := func(state PartitionState, why string) Partition {
		out.State, out.Why = state, why
		out.Records = stream.UnknownReading("records", why, l.to)
		out.Seconds = stream.UnknownReading("s", why, l.to)
		return out
	}
	if x.place != nil {
		out.Moved = x.place.moved
	}
	if x.ends != nil {
		out.Start, out.End, out.Stable = x.ends.Start, x.ends.End, x.ends.Stable
	}
	switch {
	case x.commit < 0:
		return unknown(PartNoCommit, noCommitYet)
	case x.ends == nil:
		return unknown(PartUnknown, x.unknown)
	case x.commit > x.ends.End:
		return unknown(PartAhead, fmt.Sprintf("committed %d, beyond the end %d: the log was truncated or made anew", x.commit, x.ends.End))
	}
	if !x.waits() {
		out.State = PartCaughtUp
		out.Records = stream.ExactReading(0, "records", l.to)
		out.Seconds = stream.ExactReading(0, "s", l.to)
		if x.commit < x.ends.Start {
			out.State, out.Lost = PartLost, x.ends.Start-x.commit
			out.Why = probes.Plural(out.Lost, "offset") + " removed from the log before they were read"
		}
		return out
	}

	first := x.first()
	out.State = PartBehind
	n := float64(x.ends.End - first)
	low := 0.0
	if x.part.before >= 0 {
		low = max(0, float64(x.part.before-first))
	}
	out.Records = amount(n, low, n, "records", l.to)

	h, read := x.head()
	if read && h.record == nil {
		out.State = PartCaughtUp
		if x.ends.Stable >= x.ends.End {
			out.Records = stream.ExactReading(0, "records", l.to)
			out.Seconds = stream.ExactReading(0, "s", l.to)
			return out
		}
		out.Why = "an open transaction holds the rest back"
		high := nan
		if s := x.part.ends.Passed(first); !s.After.IsZero() {
			high = l.atMost(s.After)
		}
		out.Records = stream.BoundedReading(0, 0, n, "records", l.to)
		out.Seconds = stream.BoundedReading(0, 0, high, "s", l.to)
		return out
	}
	if read && h.record != nil {
		out.Head = h.record
	}
	p.seconds(l, x, &out)
	if !read && out.Seconds.Why == "" {
		out.Seconds.Why = "not read: what waits may be transaction markers only"
	}
	if x.commit < x.ends.Start {
		out.State, out.Lost = PartLost, x.ends.Start-x.commit
		out.Why = probes.Plural(out.Lost, "offset") + " removed from the log before they were read"
	}
	return out
}

// seconds fills in the age of the first waiting record.
func (p *Probe) seconds(l *look, x *pair, out *Partition) {
	offset, epoch := x.first(), int32(-1)
	var byRecord time.Time
	if h := out.Head; h != nil {
		offset, epoch = h.Offset, h.Epoch
		if h.Time.UnixMilli() > 0 {
			byRecord = h.Time
			at := l.to.Sub(h.Time).Seconds()
			out.ByRecordTime = stream.BoundedReading(max(0, at), max(0, l.from.Sub(h.Time).Seconds()-millisecond), max(0, at+millisecond), "s", l.to)
			if at < 0 {
				out.ByRecordTime.Why = "the record's time is in our future: clocks differ, or it was made up"
			}
		}
	}
	s := x.part.appended(offset, epoch)
	if s.By.IsZero() {
		s.By = l.to // read in this round, after the ends
	}
	switch {
	case !s.After.IsZero():
		low, high := l.atLeast(s.By), l.atMost(s.After)
		// It came while we watched, so that nobody's clock but ours is in it.
		out.Basis = ByArrival
		at := guess(s, offset)
		if s.Beyond == 0 {
			at = s.By
		}
		if !byRecord.IsZero() && byRecord.After(s.After.Add(-agree)) && byRecord.Before(s.By.Add(agree)) {
			at = byRecord
			low, high = min(low, out.ByRecordTime.Low), max(high, out.ByRecordTime.High)
		}
		v := min(max(l.to.Sub(at).Seconds(), low), high)
		out.Seconds = stream.BoundedReading(v, low, high, "s", l.to)
	case !byRecord.IsZero() && !byRecord.After(s.By):
		out.Basis = ByRecord
		out.Seconds = out.ByRecordTime
		out.Seconds.Why = "by the record's own time: it came before Freshet watched"
	default:
		after, by := x.part.times.bracket(offset)
		if by.IsZero() || by.After(s.By) {
			by = s.By
		}
		out.Basis = ByRecord
		if after.IsZero() || after.After(by) {
			out.Seconds = stream.BoundedReading(nan, l.atLeast(by), nan, "s", l.to)
			out.Seconds.Why = "it came before Freshet watched, and its time could not be learned"
			if l.searched != nil {
				out.Seconds.Why += ": " + l.searched.Error()
			}
			return
		}
		low, high := l.atLeast(by), l.atMost(after)+millisecond
		out.Seconds = stream.BoundedReading((low+high)/2, low, high, "s", l.to)
		out.Seconds.Why = "by the records' own times, taken to be in order"
		out.ByRecordTime = out.Seconds
	}
}

// amount is exact where its bounds meet.
func amount(v, low, high float64, unit string, at time.Time) stream.Reading {
	if low == high {
		return stream.ExactReading(v, unit, at)
	}
	return stream.BoundedReading(v, low, high, unit, at)
}

// judge puts the groups together.
func (p *Probe) judge(l *look) *Detail {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := &Detail{Cluster: p.cluster.Name(), At: l.to, Groups: make([]Group, len(l.groups))}
	next := 0
	for i := range l.groups {
		begin := next
		for next < len(l.pairs) && l.pairs[next].group == i {
			next++
		}
		d.Groups[i] = p.group(l, &l.groups[i], l.pairs[begin:next])
	}
	slices.SortFunc(d.Groups, func(a, b Group) int { return cmp.Compare(a.Name, b.Name) })
	p.last = d
	return d
}

func (p *Probe) group(l *look, g *stream.Group, pairs []*pair) Group {
	held := p.groups[g.Name]
	held.settle(g, l.to)
	out := Group{Name: g.Name, Protocol: g.Protocol, State: g.State, Coordinator: g.Coordinator, Epoch: g.Epoch, Members: g.Members,
		Stable: held.stable, Trend: probes.UnknownDirection}
	if g.Err != nil {
		held.backlog.Add(l.to, nan)
		held.age.Add(l.to, nan)
		held.flow = nil
		out.Err = g.Err.Error()
		out.unknown(Unknown, out.Err, "Unknown: "+out.Err, l.to)
		return out
	}
	out.Partitions = make([]Partition, len(pairs))
	now := flow{from: l.from, to: l.done}
	var since, waitingSince time.Time
	var still int64
	for i, x := range pairs {
		q := p.partition(l, x)
		out.Partitions[i] = q
		if len(out.Topics) == 0 || out.Topics[len(out.Topics)-1] != q.Topic {
			out.Topics = append(out.Topics, q.Topic)
		}
		out.Lost += q.Lost
		if q.State == PartNoCommit {
			out.NoCommit++
		}
		if !q.Records.Known() {
			out.Unread++
		} else {
			now.committed += q.Committed
			now.end += q.End
			now.partitions++
		}
		if x.place == nil {
			continue
		}
		since = latest(since, x.place.since)
		out.LastCommit = latest(out.LastCommit, x.place.moved)
		if gap := x.place.commits.Gap(10); gap > 0 && (out.CommitGap == 0 || gap < out.CommitGap) {
			out.CommitGap = gap
		}
		if q.Seconds.Low > 0 && x.place.stuck {
			still++
			waitingSince = latest(waitingSince, latest(x.place.since, x.place.moved))
		}
	}
	if len(pairs) == 0 || out.NoCommit == len(pairs) {
		out.unknown(NoCommit, noCommitYet, "Unknown: "+noCommitYet, l.to)
		return out
	}
	out.Records, out.Seconds = Total(out.Partitions, l.to)
	out.flowRates(held, now)
	held.backlog.Add(l.to, out.Records.Value)
	held.age.Add(l.to, out.Seconds.Value)
	out.Trend = held.age.Direction(0.02)
	if out.Trend == probes.Steady || out.Trend == probes.UnknownDirection {
		if t := held.backlog.Direction(0.1); t != probes.UnknownDirection {
			out.Trend = t
		}
	}
	out.CatchUp = catchUp(&out, held, l.to)
	quiet := l.to.Sub(latest(since, out.LastCommit))
	out.Code = p.code(&out, quiet)
	out.Verdict = verdict(&out, quiet, still, l.to.Sub(waitingSince))
	return out
}

// settle notes whether state or members are others than in the round before. A group that could not be read tells nothing.
func (h *group) settle(g *stream.Group, at time.Time) {
	if g.Err != nil {
		return
	}
	now := make([]string, 0, len(g.Members)+1)
	for _, m := range g.Members {
		now = append(now, m.ID)
	}
	slices.Sort(now)
	now = append(now, g.State)
	if h.shape != nil && !slices.Equal(h.shape, now) {
		h.stable = at
	}
	h.shape = now
}

func (g *Group) unknown(code Code, why, verdict string, at time.Time) {
	g.Code, g.Verdict = code, verdict
	g.Records = stream.UnknownReading("records", why, at)
	g.Seconds = stream.UnknownReading("s", why, at)
	g.CatchUp = stream.UnknownReading("s", why, at)
	g.Consumed = stream.UnknownReading("records/s", why, at)
	g.Produced = stream.UnknownReading("records/s", why, at)
}

// Total sums partitions' records and takes the greatest of their ages. Partitions without a reading are left out, and
// take the upper bound with them.
func Total(parts []Partition, at time.Time) (records, seconds stream.Reading) {
	var known, unread int
	var why string
	var n, nLow, nHigh, s, sLow, sHigh float64
	s = nan
	for i := range parts {
		q := &parts[i]
		if !q.Records.Known() {
			if unread++; why == "" {
				why = q.Why
			}
			continue
		}
		known++
		n, nLow, nHigh = n+q.Records.Value, nLow+q.Records.Low, nHigh+q.Records.High
		sLow, sHigh = max(sLow, q.Seconds.Low), max(sHigh, q.Seconds.High) // max keeps NaN: not bounded
		if v := q.Seconds.Value; math.IsNaN(s) || v > s {
			s = v
		}
	}
	if known == 0 {
		return stream.UnknownReading("records", why, at), stream.UnknownReading("s", why, at)
	}
	if s < sLow || math.IsNaN(s) && sLow > 0 {
		s = nan // the oldest has no value of its own, only a lower bound
	}
	if unread > 0 {
		nHigh, sHigh = nan, nan
		why = fmt.Sprintf("%d of %s unknown: %s", unread, probes.Plural(int64(len(parts)), "partition"), why)
	}
	records, seconds = amount(n, nLow, nHigh, "records", at), amount(s, sLow, sHigh, "s", at)
	records.Why, seconds.Why = why, why
	return records, seconds
}

// flowRates compares with the round about ten seconds ago, of the same partitions.
func (g *Group) flowRates(held *group, now flow) {
	g.Consumed = stream.UnknownReading("records/s", "not watched for two rounds yet", now.to)
	g.Produced = g.Consumed
	if n := len(held.flow); n > 0 && held.flow[n-1].partitions != now.partitions {
		held.flow = nil
	}
	if len(held.flow) > 0 {
		then := held.flow[0]
		if now.committed >= then.committed && now.end >= then.end {
			g.Consumed = probes.Rate(now.committed-then.committed, then.from, then.to, now.from, now.to)
			g.Produced = probes.Rate(now.end-then.end, then.from, then.to, now.from, now.to)
		}
	}
	held.flow = append(held.flow, now)
	for len(held.flow) > 2 && now.to.Sub(held.flow[1].to) >= 10*time.Second {
		held.flow = held.flow[1:]
	}
}

func catchUp(g *Group, held *group, at time.Time) stream.Reading {
	if g.Unread > 0 {
		return stream.UnknownReading("s", "not all partitions are known", at)
	}
	if g.Records.Value == 0 {
		return stream.ExactReading(0, "s", at)
	}
	mid, low, high, ok := held.backlog.Until(g.Records.Value)
	if !ok {
		return stream.UnknownReading("s", "the backlog does not fall", at)
	}
	return stream.Reading{Value: mid, Low: low, High: high, Unit: "s", State: stream.Estimate, AsOf: at}
}

// code judges a group of which at least one partition has a commit. quiet is how long no commit has moved.
func (p *Probe) code(g *Group, quiet time.Duration) Code {
	waits := g.Records.Known() && g.Records.High != 0 && g.Seconds.High != 0
	old := g.Seconds.Value
	if math.IsNaN(old) {
		old = g.Seconds.Low
	}
	patience := max(3*g.CommitGap, 4*p.o.Every, 5*time.Second)
	switch {
	case slices.ContainsFunc(g.Partitions, func(q Partition) bool { return q.State == PartAhead }):
		return Ahead
	case g.Lost > 0:
		return Lost
	case !g.Records.Known():
		return Unknown
	case len(g.Members) == 0 && g.Protocol != "share" && (g.LastCommit.IsZero() || quiet > time.Minute):
		if waits {
			return Empty
		}
		return Idle
	case quiet < max(patience, shareOut) && (g.State == "PreparingRebalance" || g.State == "CompletingRebalance" ||
		g.State == "Assigning" || g.State == "Reconciling"):
		return Rebalancing
	case waits && quiet >= patience && g.Seconds.Low >= patience.Seconds():
		return Stopped
	case waits && old > max(p.o.Late, 2*g.CommitGap).Seconds():
		return Behind
	case g.Unread > g.NoCommit:
		return Unknown
	}
	return OK
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// verdict says what the code does, with the numbers. still partitions have not moved while records wait in them, the
// one that moved last for stillFor.
func verdict(g *Group, quiet time.Duration, still int64, stillFor time.Duration) string {
	waiting := probes.Plural(int64(g.Records.Value), "record") + " waiting"
	if !g.Records.Known() {
		waiting = "unknown how many records wait"
	}
	behind := "behind by an unknown time"
	switch v := g.Seconds.Value; {
	case !math.IsNaN(v):
		behind = probes.SecondsText(v) + " behind"
	case g.Seconds.Low > 0:
		behind = "at least " + probes.SecondsText(g.Seconds.Low) + " behind"
	}
	s := ""
	switch g.Code {
	case Ahead:
		n := int64(0)
		for _, q := range g.Partitions {
			if q.State == PartAhead {
				n++
			}
		}
		s = "Committed beyond the end of the log in " + probes.Plural(n, "partition") + ": a log was truncated or made anew"
	case Lost:
		s = probes.Plural(g.Lost, "offset") + " removed from the log before they were read; " + behind + ", " + waiting
	case Unknown:
		for _, q := range g.Partitions {
			if q.State == PartUnknown {
				return "Unknown: " + q.Why
			}
		}
		return "Unknown: " + g.Records.Why
	case Empty:
		s = "Nobody reads: no members, " + behind + ", " + waiting
	case Idle:
		return "No members, and nothing waiting"
	case Rebalancing:
		s = "Sharing its partitions out anew; " + behind + ", " + waiting
	case Stopped:
		s = "Stopped: " + probes.Plural(int64(len(g.Members)), "member") + " there, but nothing committed for " +
			probes.SecondsText(quiet.Seconds()) + "; " + behind + ", " + waiting
	case Behind:
		s = behind + ", " + waiting
		if still > 0 && stillFor > 30*time.Second && still < int64(len(g.Partitions)) {
			s += "; " + probes.Plural(still, "partition") + " standing still"
		}
	case OK:
		if g.Records.Value == 0 {
			s = "Up to date, nothing waiting"
		} else {
			s = "Up to date, " + waiting
		}
	}
	switch {
	case g.Code == Stopped || g.Code == Empty || g.Code == OK:
	case g.Trend == probes.Falling && g.CatchUp.Known():
		s += ", falling; done in about " + probes.SecondsText(g.CatchUp.Value) + ", between " +
			probes.SecondsText(g.CatchUp.Low) + " and " + probes.SecondsText(g.CatchUp.High)
	case g.Trend == probes.Rising || g.Trend == probes.Falling:
		s += ", " + string(g.Trend)
	}
	if g.Unread > 0 {
		s += "; " + g.Records.Why
	}
	return s
}

// points are the history of a round: groups, their topics, and their partitions where there are not too many.
func (p *Probe) points(d *Detail, pairs int) []probes.Point {
	var out []probes.Point
	add := func(metric, group, topic string, partition int32, r stream.Reading) {
		out = append(out, probes.Point{Series: probes.Series{Metric: metric, Cluster: d.Cluster, Group: group, Topic: topic, Partition: partition}, Reading: r})
	}
	for i := range d.Groups {
		g := &d.Groups[i]
		add("lag_records", g.Name, "", -1, g.Records)
		add("lag_seconds", g.Name, "", -1, g.Seconds)
		add("group_in_records_per_second", g.Name, "", -1, g.Produced)
		add("group_out_records_per_second", g.Name, "", -1, g.Consumed)
		for from := 0; from < len(g.Partitions); {
			to := from
			for to < len(g.Partitions) && g.Partitions[to].Topic == g.Partitions[from].Topic {
				q := &g.Partitions[to]
				if pairs <= p.o.PartitionSeries {
					add("lag_records", g.Name, q.Topic, q.Partition, q.Records)
					add("lag_seconds", g.Name, q.Topic, q.Partition, q.Seconds)
				}
				to++
			}
			records, seconds := Total(g.Partitions[from:to], d.At)
			add("lag_records", g.Name, g.Partitions[from].Topic, -1, records)
			add("lag_seconds", g.Name, g.Partitions[from].Topic, -1, seconds)
			from = to
		}
	}
	return out
}
