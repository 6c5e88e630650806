package app

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"freshet/backend/api"
	"freshet/backend/clock"
	"freshet/backend/fault"
	"freshet/backend/kafka"
	"freshet/backend/stream"
	"freshet/probes"
	"freshet/probes/lag"
	"freshet/probes/topics"
)

func (l logs) Topics(ctx context.Context, cluster string) ([]api.Topic, error) {
	c, err := l.cluster(cluster)
	if err != nil {
		return nil, err
	}
	all, err := c.Topics(ctx, false)
	if err != nil {
		return nil, err
	}
	about := l.aboutTopics(c.Name())
	list := make([]api.Topic, len(all))
	for i, t := range all {
		list[i] = about.answer(t)
		list[i].Parts = nil
	}
	return list, nil
}

func (l logs) Topic(ctx context.Context, cluster, name string) (api.Topic, error) {
	c, err := l.cluster(cluster)
	if err != nil {
		return api.Topic{}, err
	}
	t, err := c.Topic(ctx, name)
	if err != nil {
		return api.Topic{}, err
	}
	settings, err := c.Settings(ctx, name)
	if err != nil {
		return api.Topic{}, err
	}
	about := l.aboutTopics(c.Name())
	out := about.answer(t)
	for _, s := range settings {
		out.Configs = append(out.Configs, api.TopicConfig{Name: s.Name, Value: s.Value, Source: s.Source})
	}
	out.Cleanup, out.Retention = t.Config["cleanup.policy"], t.Config["retention.ms"]
	for _, r := range about.readers[name] {
		out.Consumers = append(out.Consumers, r.answer())
	}
	return out, nil
}

func (l logs) CreateTopic(ctx context.Context, spec api.TopicSpec) (api.Receipt, error) {
	c, err := l.cluster(spec.Cluster)
	if err != nil {
		return api.Receipt{}, err
	}
	if err := c.Gate().Allows(kafka.Create); err != nil {
		return api.Receipt{}, err
	}
	intent := map[string]any{"cluster": c.Name(), "partitions": spec.Partitions, "config": spec.Config}
	return l.receipt(ctx, "topic.create", spec.Topic, intent, func(ctx context.Context) error {
		return c.CreateTopic(ctx, spec.Topic, spec.Partitions, spec.Config)
	})
}

// TopicRows are the topics as the probe saw them last: nobody is asked.
func (l logs) TopicRows(ctx context.Context, cluster string) (api.TopicRows, error) {
	out := api.TopicRows{Head: api.Head{V: 1, Kind: "topics.rows"}, Items: []api.TopicRow{}}
	c, err := l.cluster(cluster)
	if err != nil {
		return out, err
	}
	about := l.aboutTopics(c.Name())
	// The first round may be under way: the answer waits for it rather than saying that there is nothing.
	for about.detail == nil {
		s, _ := l.scheduler.Last("topics/" + c.Name())
		if s.Err != nil {
			return out, s.Err
		}
		if err := clock.Sleep(ctx, lookAgain); err != nil {
			return out, fault.Wrap(fault.Timeout, "list topics", err, "try again")
		}
		about = l.aboutTopics(c.Name())
	}
	out.Cluster, out.AsOf = c.Name(), api.Time(about.detail.At)
	if about.lag != nil {
		out.ReadersAsOf = api.Time(about.lag.At)
	}
	out.Items = make([]api.TopicRow, len(about.detail.Topics))
	for i := range about.detail.Topics {
		out.Items[i] = about.row(&about.detail.Topics[i])
	}
	return out, nil
}

// aboutTopics is what the probes and the configuration know of a cluster's topics.
type aboutTopics struct {
	app     *App
	cluster string
	detail  *topics.Detail // nil before the first round
	seen    map[string]*topics.Topic
	lag     *lag.Detail // nil before the first round
	readers map[string][]reader
	written map[string]string // topic to source
	now     time.Time
}

func (a *App) aboutTopics(cluster string) aboutTopics {
	out := aboutTopics{app: a, cluster: cluster, seen: map[string]*topics.Topic{}, readers: map[string][]reader{}, written: map[string]string{}, now: time.Now()}
	if s, ok := a.scheduler.Last("topics/" + cluster); ok {
		if out.detail, ok = s.Last.Detail.(*topics.Detail); ok {
			for i := range out.detail.Topics {
				t := &out.detail.Topics[i]
				out.seen[t.Name] = t
			}
		}
	}
	if s, ok := a.scheduler.Last("lag/" + cluster); ok {
		if out.lag, ok = s.Last.Detail.(*lag.Detail); ok {
			out.readers = readersOf(out.lag)
		}
	}
	for _, s := range a.cdc.Progress() {
		if s.Cluster == cluster {
			for _, t := range s.Tables {
				out.written[t] = s.Source
			}
		}
	}
	return out
}

func (about *aboutTopics) owner(topic string) string {
	ref := topic
	if about.cluster != embeddedCluster {
		ref = about.cluster + "/" + topic
	}
	return about.app.owner("topic:"+ref, topic)
}

func (about *aboutTopics) answer(t stream.Topic) api.Topic {
	out := api.Topic{Topic: t.Name, Internal: t.Internal, Partitions: len(t.Partitions), Config: t.Config, Parts: []api.TopicPartition{},
		Owner: about.owner(t.Name), WrittenBy: about.written[t.Name]}
	if t.ID != ([16]byte{}) {
		out.ID = fmt.Sprintf("%x-%x-%x-%x-%x", t.ID[:4], t.ID[4:6], t.ID[6:8], t.ID[8:10], t.ID[10:])
	}
	if t.Err != nil {
		out.Error = t.Err.Error()
	}
	var offsets int64
	unread := 0
	for _, p := range t.Partitions {
		q := api.TopicPartition{Partition: p.ID, Leader: p.Leader, Replicas: p.Replicas, ISR: p.ISR}
		if p.Err != nil {
			q.Error = p.Err.Error()
			unread++
		} else {
			q.Start, q.End, q.Stable = api.ID(p.Start), api.ID(p.End), api.ID(p.Stable)
			offsets += p.End - p.Start
		}
		out.Parts = append(out.Parts, q)
	}
	if unread > 0 || t.Err != nil {
		out.Records = api.FromReading(stream.UnknownReading("records", fmt.Sprintf("%d of %d partitions could not be read", unread, len(t.Partitions)), about.now))
	} else {
		out.Records = api.FromReading(stream.Reading{Value: float64(offsets), Low: 0, High: float64(offsets), Unit: "records", State: stream.Bounded, AsOf: about.now})
		if offsets == 0 {
			out.Records = api.FromReading(stream.ExactReading(0, "records", about.now))
		}
	}
	if s, ok := about.seen[t.Name]; ok {
		out.Rate, out.Bytes = api.FromReading(s.Rate), api.FromReading(s.Bytes)
		out.Cleanup, out.Retention = s.Cleanup, s.Retention
	} else {
		out.Rate = api.FromReading(stream.UnknownReading("records/s", "not looked at yet", about.now))
		out.Bytes = api.FromReading(stream.UnknownReading("B", "not looked at yet", about.now))
	}
	readers := about.readers[t.Name]
	out.Readers.Count = len(readers)
	switch {
	case about.lag == nil:
		out.Readers.Why = "the groups were not looked at yet"
	case len(readers) > 0:
		worst := readers[0]
		out.Readers.Group, out.Readers.State, out.Readers.Worst = worst.group.Name, string(worst.state), ptr(api.FromReading(worst.seconds))
	}
	return out
}

func (about *aboutTopics) row(t *topics.Topic) api.TopicRow {
	out := api.TopicRow{Topic: t.Name, Internal: t.Internal, Partitions: len(t.Partitions), Owner: about.owner(t.Name), Cleanup: t.Cleanup,
		Retention: t.Retention, WrittenBy: about.written[t.Name], LastWrite: api.Time(t.Last), Why: t.Err}
	if t.Offsets.Known() && t.Offsets.State == stream.Exact {
		out.Records = whole(t.Offsets.Value)
	} else {
		out.Why = t.Offsets.Why
	}
	if t.Bytes.Known() {
		out.Bytes = whole(t.Bytes.Value)
	} else {
		out.Why = cmp.Or(out.Why, t.Bytes.Why)
	}
	if t.Rate.Known() {
		out.Rate = ptr(math.Round(t.Rate.Value*1000) / 1000)
	} else {
		out.Why = cmp.Or(out.Why, t.Rate.Why)
	}
	if readers := about.readers[t.Name]; len(readers) > 0 {
		s := api.FromReading(readers[0].seconds)
		out.Readers = len(readers)
		out.Worst = &api.RowReader{Group: readers[0].group.Name, State: string(readers[0].state), Seconds: s.Value, Low: s.Low, High: s.High, Why: s.Why}
	}
	return out
}

func whole(f float64) string { return strconv.FormatFloat(f, 'f', 0, 64) }

// reader is how one group stands in one topic.
type reader struct {
	group            *lag.Group
	partitions       int
	state            lag.PartitionState // the worst
	why              string
	records, seconds stream.Reading
	lost             int64
}

// partStates are in order of what a person should look at first.
var partStates = []lag.PartitionState{lag.PartLost, lag.PartBehind, lag.PartAhead, lag.PartUnknown, lag.PartNoCommit, lag.PartCaughtUp}

// readersOf are the groups of each topic, the worst first.
func readersOf(d *lag.Detail) map[string][]reader {
	all := map[string][]reader{}
	for i := range d.Groups {
		g := &d.Groups[i]
		for parts := g.Partitions; len(parts) > 0; {
			topic, n := parts[0].Topic, 1
			for n < len(parts) && parts[n].Topic == topic {
				n++
			}
			all[topic] = append(all[topic], readerOf(g, parts[:n], d.At))
			parts = parts[n:]
		}
	}
	for _, readers := range all {
		slices.SortStableFunc(readers, func(a, b reader) int {
			return cmp.Or(cmp.Compare(slices.Index(partStates, a.state), slices.Index(partStates, b.state)), cmp.Compare(b.seconds.Value, a.seconds.Value))
		})
	}
	return all
}

// readerOf sums up a group's partitions of one topic.
func readerOf(g *lag.Group, parts []lag.Partition, at time.Time) reader {
	r := reader{group: g, partitions: len(parts), state: lag.PartCaughtUp, records: stream.ExactReading(0, "records", at), seconds: stream.ExactReading(0, "s", at)}
	unknown, why := 0, ""
	for i := range parts {
		p := &parts[i]
		r.lost += p.Lost
		if slices.Index(partStates, p.State) < slices.Index(partStates, r.state) {
			r.state, r.why = p.State, p.Why
		}
		if !p.Records.Known() || !p.Seconds.Known() {
			unknown++
			why = cmp.Or(p.Records.Why, p.Seconds.Why, p.Why)
			continue
		}
		r.records.Value += p.Records.Value
		r.records.Low += p.Records.Low
		r.records.High += p.Records.High
		if p.Records.State != stream.Exact {
			r.records.State = p.Records.State
		}
		waits := p.Seconds.Value
		if math.IsNaN(waits) { // only known to be at least so long
			waits = p.Seconds.Low
		}
		if waits > r.seconds.Value {
			r.seconds.Value, r.seconds.State, r.seconds.Why, r.seconds.AsOf = waits, p.Seconds.State, p.Seconds.Why, p.Seconds.AsOf
		}
		if r.seconds.State == stream.Exact {
			r.seconds.State = p.Seconds.State
		}
		if !math.IsNaN(p.Seconds.Low) {
			r.seconds.Low = max(r.seconds.Low, p.Seconds.Low)
		}
		r.seconds.High = max(r.seconds.High, p.Seconds.High) // NaN, unbounded, stays
	}
	switch {
	case unknown == len(parts):
		r.records, r.seconds = stream.UnknownReading("records", why, at), stream.UnknownReading("s", why, at)
	case unknown > 0:
		note := fmt.Sprintf("%d of %s unknown: %s", unknown, probes.Plural(int64(len(parts)), "partition"), why)
		for _, s := range []*stream.Reading{&r.records, &r.seconds} {
			s.State, s.High, s.Why = stream.Bounded, math.NaN(), note
		}
	}
	return r
}

func (r *reader) answer() api.TopicConsumer {
	out := api.TopicConsumer{Group: r.group.Name, GroupState: r.group.State, Members: len(r.group.Members), Partitions: r.partitions, State: string(r.state), Why: r.why,
		Lag: api.Lag{Records: api.FromReading(r.records), Seconds: api.FromReading(r.seconds)}}
	if r.lost > 0 {
		out.Lost = api.ID(r.lost)
	}
	return out
}
