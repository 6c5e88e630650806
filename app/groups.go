package app

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"freshet/backend/api"
	"freshet/backend/fault"
	"freshet/backend/kafka"
	"freshet/backend/stream"
	"freshet/probes/lag"
)

func (l logs) Groups(ctx context.Context, cluster string) ([]api.Group, error) {
	d, name, err := l.lagDetail(ctx, cluster)
	if err != nil || d == nil {
		return nil, err
	}
	list := make([]api.Group, len(d.Groups))
	for i, g := range d.Groups {
		list[i] = groupAnswer(name, g)
		list[i].Partitions, list[i].MemberList = nil, nil
	}
	return list, nil
}

func (l logs) Group(ctx context.Context, cluster, name string) (api.Group, error) {
	d, cl, err := l.lagDetail(ctx, cluster)
	if err != nil {
		return api.Group{}, err
	}
	if d != nil {
		if g, ok := d.Group(name); ok {
			out := groupAnswer(cl, g)
			l.closer(ctx, &out, g)
			return out, nil
		}
	}
	return api.Group{}, fault.New(fault.NotFound, "find group "+name, "see `freshet groups list`", "there is no such group")
}

// closer adds what is told of one group only, since it has to be asked for.
func (l logs) closer(ctx context.Context, out *api.Group, g lag.Group) {
	l.mu.Lock()
	probe := l.lags[out.Cluster]
	l.mu.Unlock()
	members := map[string][]int{} // to its partitions
	for i, p := range g.Partitions {
		if p.Member != "" {
			members[p.Member] = append(members[p.Member], i)
		}
	}
	flows := make([]stream.Reading, len(g.Partitions))
	for i, p := range g.Partitions {
		if probe == nil {
			break
		}
		var in stream.Reading
		in, flows[i] = probe.Flow(g.Name, stream.TopicPartition{Topic: p.Topic, Partition: p.Partition})
		out.Partitions[i].In, out.Partitions[i].Out = ptr(api.FromReading(in)), ptr(api.FromReading(flows[i]))
	}
	for i, m := range g.Members {
		mine := members[m.ID]
		parts, total := make([]lag.Partition, len(mine)), stream.ExactReading(0, "records/s", g.Records.AsOf)
		for j, at := range mine {
			parts[j] = g.Partitions[at]
			total = plus(total, flows[at])
		}
		member := &out.MemberList[i]
		member.Out = ptr(api.FromReading(total))
		records, seconds := stream.ExactReading(0, "records", g.Records.AsOf), stream.ExactReading(0, "s", g.Records.AsOf)
		if len(parts) > 0 {
			records, seconds = lag.Total(parts, g.Records.AsOf)
		}
		member.Lag = api.Lag{Records: api.FromReading(records), Seconds: api.FromReading(seconds)}
	}
	out.Oldest = oldestUnread(g)
	if r := l.losingIn(ctx, out.Cluster, g); r != nil {
		out.LosingIn = ptr(api.FromReading(*r))
	}
}

// plus adds a reading to a sum; what is not known takes the sum with it.
func plus(a, b stream.Reading) stream.Reading {
	if !a.Known() {
		return a
	}
	if !b.Known() {
		return stream.UnknownReading(a.Unit, or(b.Why, "not measured"), a.AsOf)
	}
	return stream.BoundedReading(a.Value+b.Value, a.Low+b.Low, a.High+b.High, a.Unit, b.AsOf)
}

// oldestUnread is the first record that waits in the partition where one waits longest.
func oldestUnread(g lag.Group) *api.Unread {
	var oldest *lag.Partition
	for i := range g.Partitions {
		p := &g.Partitions[i]
		if p.Committed >= 0 && p.Start >= 0 && max(p.Committed, p.Start) < p.End && p.Seconds.Known() && (oldest == nil || atLeast(p.Seconds) > atLeast(oldest.Seconds)) {
			oldest = p
		}
	}
	if oldest == nil {
		return nil
	}
	out := &api.Unread{Topic: oldest.Topic, Partition: oldest.Partition, Offset: api.ID(max(oldest.Committed, oldest.Start))}
	if h := oldest.Head; h != nil {
		out.Offset, out.Time = api.ID(h.Offset), api.Time(h.Time)
	}
	return out
}

// atLeast is a reading's value, or what it is at least.
func atLeast(r stream.Reading) float64 {
	if math.IsNaN(r.Value) {
		return r.Low
	}
	return r.Value
}

// lossTopics bounds the topics whose retention one answer asks for.
const lossTopics = 20

// losingIn is how long until retention by time may remove the first record that waits, nil where nothing waits. It is
// sooner than the log is cut: whole segments go, when their newest record is old enough.
func (l logs) losingIn(ctx context.Context, cluster string, g lag.Group) *stream.Reading {
	first := stream.UnknownReading("s", "", g.Records.AsOf)
	waiting, unknown := 0, ""
	kept := map[string]retention{}
	for _, p := range g.Partitions {
		if !p.Records.Known() || p.Records.High == 0 {
			continue
		}
		waiting++
		keeps, asked := kept[p.Topic]
		if !asked && len(kept) < lossTopics {
			keeps = l.retentionOf(ctx, cluster, p.Topic)
			kept[p.Topic], asked = keeps, true
		}
		switch {
		case !asked:
			unknown = fmt.Sprintf("the retention of more than %d topics is not asked for", lossTopics)
		case keeps.err != nil:
			unknown = keeps.err.Error()
		case keeps.forever:
		case !p.ByRecordTime.Known():
			unknown = fmt.Sprintf("the time of the first record that waits in %s/%d is not known", p.Topic, p.Partition)
		default:
			left := func(age float64) float64 { return max(0, keeps.time.Seconds()-age) }
			r := stream.BoundedReading(left(p.ByRecordTime.Value), left(p.ByRecordTime.High), math.NaN(), "s", p.ByRecordTime.AsOf)
			r.Why = "by retention.ms of " + p.Topic
			if keeps.bytes {
				r.Low = math.NaN()
				r.Why += "; its retention.bytes may remove it sooner"
			}
			if !first.Known() || r.Value < first.Value {
				first = r
			}
		}
	}
	switch {
	case waiting == 0:
		return nil
	case !first.Known():
		first.Why = or(unknown, "no time limits how long its topics keep records")
	case unknown != "":
		first.Low = math.NaN()
		first.Why += "; " + unknown
	}
	return &first
}

// retention is what limits how long a topic keeps records.
type retention struct {
	time    time.Duration
	forever bool // by time
	bytes   bool // a size limits it too
	err     error
	read    time.Time
}

// retentionKept is how long a topic's retention is believed; maxRetentions bounds how many are.
const (
	retentionKept = time.Minute
	maxRetentions = 1000
)

func (a *App) retentionOf(ctx context.Context, cluster, topic string) retention {
	at := cluster + "/" + topic
	a.mu.Lock()
	r, ok := a.retentions[at]
	a.mu.Unlock()
	if ok && time.Since(r.read) < retentionKept {
		return r
	}
	r = retention{read: time.Now()}
	c, err := a.cluster(cluster)
	if err != nil {
		return retention{err: err}
	}
	t, err := c.Topic(ctx, topic)
	if err != nil {
		return retention{err: err}
	}
	ms, err := strconv.ParseInt(t.Config["retention.ms"], 10, 64)
	switch {
	case !strings.Contains(or(t.Config["cleanup.policy"], "delete"), "delete"), ms < 0:
		r.forever = true
	case err != nil:
		return retention{err: fault.New(fault.Unavailable, "", "", "the retention of %s is not told", topic)}
	}
	r.time = time.Duration(min(ms, int64(math.MaxInt64/time.Millisecond))) * time.Millisecond
	r.bytes = or(t.Config["retention.bytes"], "-1") != "-1" && !r.forever
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.retentions == nil || len(a.retentions) >= maxRetentions {
		a.retentions = map[string]retention{}
	}
	a.retentions[at] = r
	return r
}

func groupAnswer(cluster string, g lag.Group) api.Group {
	out := api.Group{
		Group: g.Name, Cluster: cluster, Protocol: g.Protocol, State: g.State, Members: len(g.Members), Topics: g.Topics, Verdict: g.Verdict, Code: string(g.Code),
		Health: groupState(g),
		Lag:    api.Lag{Records: api.FromReading(g.Records), Seconds: api.FromReading(g.Seconds)}, Trend: string(g.Trend), Partitions: []api.GroupPartition{},
		In: api.FromReading(g.Produced), Out: api.FromReading(g.Consumed), StableFrom: api.Time(g.Stable),
	}
	if g.Coordinator >= 0 && g.Err == "" {
		out.Broker = &g.Coordinator
	}
	if g.Epoch > 0 {
		out.Generation = api.ID(g.Epoch)
	}
	if out.Topics == nil {
		out.Topics = []string{}
	}
	if g.CatchUp.Known() {
		out.CaughtUpIn = ptr(api.FromReading(g.CatchUp))
	}
	for _, p := range g.Partitions {
		q := api.GroupPartition{
			Topic: p.Topic, Partition: p.Partition, State: string(p.State), Why: p.Why, Member: p.Member, Moved: api.Time(p.Moved),
			Lag: api.Lag{Records: api.FromReading(p.Records), Seconds: api.FromReading(p.Seconds)},
		}
		offset := func(n int64) string {
			if n < 0 {
				return ""
			}
			return api.ID(n)
		}
		q.Committed, q.Start, q.End, q.Stable = offset(p.Committed), offset(p.Start), offset(p.End), offset(p.Stable)
		if p.Lost > 0 {
			q.Lost = api.ID(p.Lost)
		}
		out.Partitions = append(out.Partitions, q)
	}
	for _, m := range g.Members {
		member := api.GroupMember{ID: m.ID, ClientID: m.ClientID, Host: m.Host, Assigned: len(m.Assigned), Partitions: []api.AssignedPartition{}}
		for _, tp := range m.Assigned {
			member.Partitions = append(member.Partitions, api.AssignedPartition{Topic: tp.Topic, Partition: tp.Partition})
		}
		out.MemberList = append(out.MemberList, member)
	}
	return out
}

// resetTo is where a reset goes: to one point, or to offsets that are named.
func resetTo(spec api.ResetSpec) (kafka.Point, error) {
	switch {
	case spec.To != "" && len(spec.Offsets) > 0, spec.To == "" && len(spec.Offsets) == 0:
		return kafka.Point{}, fault.New(fault.Invalid, "reset a group", "give to, or offsets", "it must be said where to, once")
	case spec.To != "":
		return kafka.ParsePoint(spec.To)
	}
	return kafka.ParseOffsets(strings.Join(spec.Offsets, ","))
}

func (l logs) ResetGroup(ctx context.Context, cluster, name string, spec api.ResetSpec) (api.ResetAnswer, error) {
	out := api.ResetAnswer{Head: api.Head{V: 1, Kind: "groups.reset"}, Group: name, Items: []api.ResetChange{}}
	c, err := l.cluster(cluster)
	if err != nil {
		return out, err
	}
	to, err := resetTo(spec)
	if err != nil {
		return out, err
	}
	changes, err := c.ResetGroup(ctx, name, spec.Topic, to, false)
	if err != nil {
		return out, err
	}
	for _, ch := range changes {
		item := api.ResetChange{Topic: ch.Topic, Partition: ch.Partition, To: api.ID(ch.To)}
		if ch.From >= 0 {
			item.From, item.Moves = api.ID(ch.From), api.ID(ch.To-ch.From)
		}
		out.Items = append(out.Items, item)
	}
	if !spec.Apply {
		return out, nil
	}
	if err := c.Gate().Allows(kafka.Commit); err != nil {
		return out, err
	}
	out.Audit, err = l.act(ctx, "group.reset", name, map[string]any{"cluster": c.Name(), "topic": spec.Topic, "changes": out.Items}, func(ctx context.Context) (any, error) {
		_, err := c.ResetGroup(ctx, name, spec.Topic, to, true)
		return nil, err
	})
	out.Applied = err == nil
	return out, err
}
