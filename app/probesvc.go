package app

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"freshet/backend/api"
	"freshet/backend/decode"
	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/probes"
	"freshet/probes/freshness"
	"freshet/probes/lag"
	"freshet/probes/topics"
	"freshet/replay"
)

// measured are the probes as the API has them.
type measured struct{ *App }

func (m measured) List(context.Context) []api.Probe {
	var list []api.Probe
	for _, s := range m.scheduler.Status() {
		p := api.Probe{Probe: s.Name, Every: s.Every.String(), LastAt: api.Time(s.Last.At), Rounds: api.ID(s.Rounds), Errors: api.ID(s.Errors), Points: len(s.Last.Points)}
		if s.Rounds+s.Errors > 0 {
			p.Duration = api.FromReading(stream.ExactReading(s.LastTook.Seconds(), "s", s.Last.At))
		} else {
			p.Duration = api.FromReading(stream.UnknownReading("s", "no round yet", time.Now()))
		}
		switch {
		case s.Err != nil:
			p.Error = s.Err.Error()
		case s.StoreErr != nil:
			p.Error = "history: " + s.StoreErr.Error()
		}
		list = append(list, p)
	}
	return list
}

// Map draws what the last rounds saw.
func (m measured) Map(ctx context.Context) api.Map { return m.currentMap(ctx) }

func (a *App) currentMap(ctx context.Context) api.Map {
	w := world{at: time.Now(), sources: a.cdc.Progress(), events: a.recentEvents(), profile: a.profile, owner: a.owner}
	w.outbox = map[string]string{}
	for _, o := range a.cdc.Options() {
		if o.Outbox != "" {
			w.outbox[o.Name] = o.Prefix + ".events."
		}
	}
	w.sinks, _ = sinks{a}.List(ctx)
	for i, s := range w.sinks {
		w.sinks[i].Partitions = a.sinkPartitions(s.Name)
	}
	for _, s := range a.scheduler.Status() {
		switch d := s.Last.Detail.(type) {
		case *freshness.Detail:
			w.fresh = d
		case *lag.Detail:
			w.lags = append(w.lags, d)
		case *topics.Detail:
			w.topics = append(w.topics, d)
		}
	}
	return drawMap(w)
}

func (m measured) Freshness(_ context.Context, name, cluster string) ([]api.Path, error) {
	var list []api.Path
	s, ok := m.scheduler.Last(freshnessProbe)
	d, _ := s.Last.Detail.(*freshness.Detail)
	if !ok || d == nil {
		if s.Err != nil {
			return nil, fault.Wrap(fault.Unavailable, "read the freshness", s.Err, "see `freshet probes list`")
		}
		return list, nil
	}
	for _, p := range d.Paths {
		if cluster != "" && p.Cluster != cluster {
			continue
		}
		if name != "" && !names(p, name) {
			continue
		}
		list = append(list, apiPath(p))
	}
	return list, nil
}

// names reports whether a path is one of those that a person means by name.
func names(p freshness.Path, name string) bool {
	_, end, _ := strings.Cut(p.To, ":")
	for _, s := range []string{p.Name, pathName(p), p.Source, p.Table, strings.TrimPrefix(p.Table, "public."), p.Topic, p.To, end} {
		if s == name {
			return true
		}
	}
	return false
}

func (m measured) History(ctx context.Context, q api.HistoryQuery) ([]api.Point, error) {
	if !q.From.Before(q.To) {
		return nil, fault.New(fault.Invalid, "read history", "give a from before the to", "an empty time range")
	}
	points, err := m.history.Range(ctx, probes.Series{
		Metric: q.Metric, Cluster: q.Cluster, Source: q.Source, Topic: q.Topic, Partition: q.Partition, Group: q.Group, Sink: q.Sink, Hop: q.Hop,
	}, q.From, q.To, q.Max)
	if err != nil {
		return nil, err
	}
	list := make([]api.Point, len(points))
	for i, p := range points {
		list[i] = api.Point{At: api.Time(p.AsOf), Reading: api.FromReading(p.Reading)}
	}
	return list, nil
}

// Sparks reads the series one after the other: there are at most as many as a list has rows in view.
func (m measured) Sparks(ctx context.Context, q api.SparkQuery) ([]api.Spark, error) {
	if !q.From.Before(q.To) {
		return nil, fault.New(fault.Invalid, "read history", "give a from before the to", "an empty time range")
	}
	width := max(1, q.To.Sub(q.From)/time.Duration(q.Columns))
	var list []api.Spark
	for _, topic := range q.Topics {
		// Thinning keeps the lowest and the highest of a slice: twice the columns hold the highest of each.
		points, err := m.history.Range(ctx, probes.Series{Metric: q.Metric, Cluster: or(q.Cluster, embeddedCluster), Topic: topic, Partition: -1}, q.From, q.To, 2*q.Columns)
		if err != nil {
			return nil, err
		}
		if len(points) == 0 {
			continue
		}
		spark := api.Spark{Topic: topic, Values: make([]*float64, q.Columns)}
		for _, p := range points {
			i := min(int(p.AsOf.Sub(q.From)/width), q.Columns-1)
			if v := p.Value; p.Known() && i >= 0 && (spark.Values[i] == nil || v > *spark.Values[i]) {
				spark.Values[i] = api.FromReading(p.Reading).Value
			}
		}
		list = append(list, spark)
	}
	return list, nil
}

// maxTraced bounds the versions of one row that a trace shows; the newest are kept.
const maxTraced = 200

// Trace reads the table's topic for the row's key and asks of each change how far it got.
func (m measured) Trace(ctx context.Context, table, key string) ([]api.TraceVersion, error) {
	if !strings.Contains(table, ".") {
		table = "public." + table
	}
	var found bool
	var list []api.TraceVersion
	for _, s := range m.cdc.Progress() {
		topic, ok := s.Tables[table]
		if !ok {
			continue
		}
		found = true
		versions, err := m.traceIn(ctx, s.Cluster, topic, key)
		if err != nil {
			return nil, err
		}
		list = append(list, versions...)
	}
	if !found {
		return nil, fault.New(fault.NotFound, "trace "+table, "`freshet sources status NAME` lists the tables", "no source captures such a table")
	}
	return list, nil
}

func (m measured) traceIn(ctx context.Context, cluster, topic, key string) ([]api.TraceVersion, error) {
	c, err := m.cluster(cluster)
	if err != nil {
		return nil, err
	}
	t, err := c.Topic(ctx, topic)
	if err != nil {
		return nil, err
	}
	var list []api.TraceVersion
	for _, p := range t.Partitions {
		if p.Start >= p.Stable {
			continue
		}
		reader, err := c.Read(ctx, replay.ReadRequest{Topic: topic, TopicID: t.ID, Partition: p.ID, From: p.Start, To: p.Stable})
		if err != nil {
			return nil, err
		}
		for {
			batch, err := reader.Next(ctx)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				reader.Close()
				return nil, err
			}
			for i := range batch.Records {
				rec := &batch.Records[i]
				if rec.Value != nil && keyIs(rec.Key, key) {
					if list = append(list, m.version(cluster, rec)); len(list) > maxTraced {
						list = list[1:]
					}
				}
			}
		}
		reader.Close()
	}
	return list, nil
}

// keyIs reports whether a record key is the one a person means: the same bytes, or the one column's value.
func keyIs(raw []byte, want string) bool {
	if string(raw) == want {
		return true
	}
	if !bytes.Contains(raw, []byte(want)) && !strings.ContainsAny(want, "{ ") {
		return false
	}
	v, err := decode.JSON(raw)
	if err != nil || v.Kind != stream.Object {
		return false
	}
	if len(v.Fields) == 1 && v.Fields[0].Value.Text == want {
		return true
	}
	w, err := decode.JSON([]byte(want))
	if err != nil || w.Kind != stream.Object || len(w.Fields) != len(v.Fields) {
		return false
	}
	for _, f := range w.Fields {
		if got, ok := v.Get(f.Name); !ok || got.Kind != f.Value.Kind || got.Text != f.Value.Text || got.Bool != f.Value.Bool {
			return false
		}
	}
	return true
}

func (m measured) version(cluster string, rec *stream.Record) api.TraceVersion {
	out := api.TraceVersion{Topic: rec.Topic, Partition: rec.Partition, Offset: api.ID(rec.Offset), Hops: []api.TraceHop{}}
	row := freshness.Row{Cluster: cluster, Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset, Commit: lag.CommitTime(rec), Time: rec.Time, TimeType: rec.TimeType}
	out.Commit = api.Time(row.Commit)
	if h, ok := rec.Header(stream.PositionHeader); ok {
		if p, err := stream.ParsePosition(string(h)); err == nil {
			row.Position = p
			out.Position = p.String()
		}
	}
	if v, err := decode.JSON(rec.Value); err == nil {
		if op, ok := v.Get("op"); ok {
			out.Op = op.Text
		}
	}
	for _, a := range m.fresh.Delivery(row) {
		out.Hops = append(out.Hops, api.TraceHop{To: a.To, State: a.State, Delay: api.FromReading(a.Delay)})
	}
	return out
}
