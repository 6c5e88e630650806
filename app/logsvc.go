package app

import (
	"context"
	"fmt"
	"time"
	"unicode/utf8"

	"freshet/backend/api"
	"freshet/backend/clock"
	"freshet/backend/decode"
	"freshet/backend/kafka"
	"freshet/backend/stream"
	"freshet/probes/lag"
	"freshet/probes/topics"
	"freshet/replay/filter"
)

// logs look into clusters, as the API has it.
type logs struct{ *App }

const (
	// shownBytes bounds a key, value or header in an answer; the whole of it is exported with its bytes.
	shownBytes = 1 << 20
	// scanWithin and scanRecords bound one look for records; where it stopped, the next goes on.
	scanWithin  = 8 * time.Second
	scanRecords = 2_000_000
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
	seen := l.topicsSeen(c.Name())
	list := make([]api.Topic, len(all))
	for i, t := range all {
		list[i] = topicAnswer(t, seen)
		list[i].Parts = nil
	}
	return list, nil
}

// topicsSeen is what the topics probe saw last, by name.
func (a *App) topicsSeen(cluster string) map[string]topics.Topic {
	seen := map[string]topics.Topic{}
	if s, ok := a.scheduler.Last("topics/" + cluster); ok {
		if d, ok := s.Last.Detail.(*topics.Detail); ok {
			for _, t := range d.Topics {
				seen[t.Name] = t
			}
		}
	}
	return seen
}

func topicAnswer(t stream.Topic, seen map[string]topics.Topic) api.Topic {
	now := time.Now()
	out := api.Topic{Topic: t.Name, Internal: t.Internal, Partitions: len(t.Partitions), Config: t.Config, Parts: []api.TopicPartition{}}
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
		out.Records = api.FromReading(stream.UnknownReading("records", fmt.Sprintf("%d of %d partitions could not be read", unread, len(t.Partitions)), now))
	} else {
		out.Records = api.FromReading(stream.Reading{Value: float64(offsets), Low: 0, High: float64(offsets), Unit: "records", State: stream.Bounded, AsOf: now})
		if offsets == 0 {
			out.Records = api.FromReading(stream.ExactReading(0, "records", now))
		}
	}
	if s, ok := seen[t.Name]; ok {
		out.Rate, out.Bytes = api.FromReading(s.Rate), api.FromReading(s.Bytes)
	} else {
		out.Rate = api.FromReading(stream.UnknownReading("records/s", "not looked at yet", now))
		out.Bytes = api.FromReading(stream.UnknownReading("B", "not looked at yet", now))
	}
	return out
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
	return topicAnswer(t, l.topicsSeen(c.Name())), nil
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

func (l logs) Records(ctx context.Context, q api.RecordQuery) (api.Records, error) {
	out := api.Records{Head: api.Head{V: 1, Kind: "topics.read"}, Items: []api.Record{}}
	c, err := l.cluster(q.Cluster)
	if err != nil {
		return out, err
	}
	at, err := kafka.ParsePoint(q.From)
	if err != nil {
		return out, err
	}
	match, err := matcher(ctx, q)
	if err != nil {
		return out, err
	}
	scan, err := c.Scan(ctx, kafka.ScanRequest{Topic: q.Topic, From: at, Limit: q.Limit, MaxRecords: scanRecords, MaxTime: scanWithin, Match: match})
	if err != nil {
		return out, err
	}
	for i := range scan.Records {
		out.Items = append(out.Items, recordAnswer(&scan.Records[i]))
	}
	out.Scan = api.Scan{Scanned: api.ID(scan.Scanned), Matched: api.ID(scan.Matched), Stopped: scan.Stopped, Next: map[string]string{}, Window: []api.ScanWindow{}}
	if len(scan.Skipped) > 0 {
		out.Scan.Stopped += fmt.Sprintf("; %d batches could not be read", len(scan.Skipped))
	}
	for p, o := range scan.Next {
		out.Scan.Next[fmt.Sprint(p)] = api.ID(o)
	}
	for _, w := range scan.Window {
		out.Scan.Window = append(out.Scan.Window, api.ScanWindow{Partition: w.Partition, From: api.ID(w.From), To: api.ID(w.To)})
	}
	return out, nil
}

// matcher is what a query selects by; nil selects everything. A record that the expression cannot be evaluated on does
// not match.
func matcher(ctx context.Context, q api.RecordQuery) (func(*stream.Record) (bool, error), error) {
	src := q.Filter
	if q.Key != "" {
		key := filter.KeyIs(q.Key)
		if src == "" {
			src = key
		} else {
			src = "(" + src + ") && " + key
		}
	}
	if src == "" {
		return nil, nil
	}
	f, err := filter.Compile(src, filter.Options{Now: time.Now(), Decode: decode.JSON})
	if err != nil {
		return nil, err
	}
	e := f.Evaluator(nil)
	return func(r *stream.Record) (bool, error) {
		ok, err := e.Match(ctx, r)
		return ok && err == nil, ctx.Err()
	}, nil
}

func recordAnswer(r *stream.Record) api.Record {
	out := api.Record{
		Topic: r.Topic, Partition: r.Partition, Offset: api.ID(r.Offset), Time: api.Time(r.Time), TimeType: r.TimeType.String(),
		Key: payload(r.Key), Value: payload(r.Value),
	}
	for _, h := range r.Headers {
		out.Headers = append(out.Headers, api.RecordHeader{Name: h.Key, Value: payload(h.Value)})
	}
	if _, err := decode.JSON(r.Value); err == nil && len(r.Value) > 0 && len(r.Value) <= shownBytes {
		out.Decoded = r.Value
	}
	return out
}

func payload(b []byte) *api.Payload {
	if b == nil {
		return nil
	}
	p := &api.Payload{Size: len(b), Bytes: b}
	if len(b) > shownBytes {
		p.Bytes, p.Cut = b[:shownBytes], true
	}
	if utf8.Valid(p.Bytes) {
		p.Text = string(p.Bytes)
	}
	return p
}

func (l logs) lagDetail(ctx context.Context, cluster string) (*lag.Detail, string, error) {
	c, err := l.cluster(cluster)
	if err != nil {
		return nil, "", err
	}
	s, _ := l.scheduler.Last("lag/" + c.Name())
	if d, ok := s.Last.Detail.(*lag.Detail); ok {
		return d, c.Name(), nil
	}
	// The first round may be under way: the answer waits for it rather than saying that there is nothing.
	for ctx.Err() == nil && s.Err == nil {
		if err := clock.Sleep(ctx, lookAgain); err != nil {
			break
		}
		s, _ = l.scheduler.Last("lag/" + c.Name())
		if d, ok := s.Last.Detail.(*lag.Detail); ok {
			return d, c.Name(), nil
		}
	}
	return nil, c.Name(), s.Err
}
