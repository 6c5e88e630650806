package app

import (
	"context"
	"strings"
	"time"

	"freshet/backend/api"
	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/probes"
	"freshet/probes/freshness"
	"freshet/probes/lag"
	"freshet/probes/topics"
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
	w := world{at: time.Now(), sources: a.cdc.Progress(), events: a.recentEvents(), profile: a.profile(), owner: a.owner}
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
