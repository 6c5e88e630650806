package app

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"freshet/backend/api"
	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/probes"
	"freshet/probes/freshness"
	"freshet/probes/lag"
)

// maxGridRows bounds the partitions of a grid; those that are the worst now are shown.
const maxGridRows = 256

// slices of a time range, of one width, as the history's own thinning has them.
type timeSlices struct {
	from  time.Time
	width time.Duration
	n     int
}

func sliced(from, to time.Time, n int) timeSlices {
	ms := (to.UnixMilli()-from.UnixMilli())/int64(n) + 1
	return timeSlices{from, time.Duration(ms) * time.Millisecond, n}
}

func (s timeSlices) begin(i int) time.Time { return s.from.Add(time.Duration(i) * s.width) }

// of is the slice that a moment is in, -1 for none.
func (s timeSlices) of(at time.Time) int {
	if i := int(at.Sub(s.from) / s.width); !at.Before(s.from) && i < s.n {
		return i
	}
	return -1
}

// worst puts the greatest of the known readings of each slice, by what of says of one, into values.
func (s timeSlices) worst(points []probes.Point, values []*float64, of func(stream.Reading) float64) {
	for _, p := range points {
		if v := of(p.Reading); p.Known() && !math.IsNaN(v) {
			if i := s.of(p.AsOf); i >= 0 && (values[i] == nil || v > *values[i]) {
				values[i] = &v
			}
		}
	}
}

// highest is the highest that a point of the history stands for: it has the newest reading of its ten seconds, with the
// lowest and the highest that there were.
func highest(r stream.Reading) float64 {
	if math.IsNaN(r.High) {
		return atLeast(r)
	}
	return r.High
}

// Grid reads a group's partitions from the history.
func (m measured) Grid(ctx context.Context, q api.GridQuery) (api.Grid, error) {
	out := api.Grid{Head: api.Head{V: 1, Kind: "history.grid"}, Metric: q.Metric, Columns: []string{}, Rows: []api.GridRow{}}
	if !q.From.Before(q.To) {
		return out, fault.New(fault.Invalid, "read history", "give a from before the to", "an empty time range")
	}
	d, cluster, err := logs(m).lagDetail(ctx, q.Cluster)
	if err != nil {
		return out, err
	}
	if d == nil {
		return out, fault.New(fault.Unavailable, "find group "+q.Group, "try again in a moment", "the groups were not looked at yet")
	}
	g, ok := d.Group(q.Group)
	if !ok {
		return out, fault.New(fault.NotFound, "find group "+q.Group, "see `freshet groups list`", "there is no such group")
	}
	parts := slices.DeleteFunc(slices.Clone(g.Partitions), func(p lag.Partition) bool { return q.Topic != "" && p.Topic != q.Topic })
	out.LeftOut = max(0, len(parts)-maxGridRows)
	if out.LeftOut > 0 {
		// One that is not known may be the worst.
		slices.SortStableFunc(parts, func(a, b lag.Partition) int { return cmp.Compare(rank(q.Metric, b), rank(q.Metric, a)) })
		parts = parts[:maxGridRows]
		slices.SortFunc(parts, func(a, b lag.Partition) int {
			return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
		})
	}
	series := make([]probes.Series, len(parts))
	for i, p := range parts {
		series[i] = probes.Series{Metric: q.Metric, Cluster: cluster, Group: q.Group, Topic: p.Topic, Partition: p.Partition}
	}
	// Of each slice its lowest, its highest and one that is unknown.
	points, err := m.history.Ranges(ctx, series, q.From, q.To, 3*q.Columns)
	if err != nil {
		return out, err
	}
	cut := sliced(q.From, q.To, q.Columns)
	for i := range q.Columns {
		out.Columns = append(out.Columns, api.Time(cut.begin(i)))
	}
	out.Until = api.Time(cut.begin(q.Columns))
	for i, p := range parts {
		row := api.GridRow{Topic: p.Topic, Partition: p.Partition, Values: make([]*float64, q.Columns), Why: p.Why}
		cut.worst(points[i], row.Values, highest)
		if len(points[i]) == 0 {
			row.Why = or(p.Why, "no history of this partition in that time")
		}
		now := reading(q.Metric, p)
		out.Unit = now.Unit
		out.Rows = append(out.Rows, row)
	}
	return out, nil
}

func reading(metric string, p lag.Partition) stream.Reading {
	if metric == "lag_records" {
		return p.Records
	}
	return p.Seconds
}

func rank(metric string, p lag.Partition) float64 {
	if r := reading(metric, p); r.Known() {
		return atLeast(r)
	}
	return math.Inf(1)
}

// FreshHistory reads how a path kept its objective, a day at a time: a day's readings are as many as its slots.
func (m measured) FreshHistory(ctx context.Context, name string, days, n int) (api.FreshHistory, error) {
	out := api.FreshHistory{Head: api.Head{V: 1, Kind: "freshness.history"}, Path: name, Slices: []api.FreshSlice{}}
	path, err := m.pathNamed(name)
	if err != nil {
		return out, err
	}
	if path.Objective > 0 {
		out.Objective = &path.Objective
	}
	to := time.Now()
	from := to.AddDate(0, 0, -days)
	out.From, out.To = api.Time(from), api.Time(to)
	worst := make([]*float64, n)
	cut := sliced(from, to, n)
	var known, inside int
	for begin := from; begin.Before(to); begin = begin.Add(24 * time.Hour) {
		end := begin.Add(24 * time.Hour)
		if end.After(to) {
			end = to
		}
		points, err := m.history.Range(ctx, freshness.TotalSeries(path), begin, end, 0)
		if err != nil {
			return out, err
		}
		cut.worst(points, worst, atLeast)
		for _, p := range points {
			if v := atLeast(p.Reading); p.Known() && !math.IsNaN(v) {
				known++
				if v <= path.Objective {
					inside++
				}
			}
		}
	}
	if known > 0 && path.Objective > 0 {
		out.Inside = ptr(float64(inside) / float64(known))
	}
	seen := 0
	for i, w := range worst {
		s := api.FreshSlice{From: api.Time(cut.begin(i)), State: "unknown", Worst: w}
		if w != nil {
			seen++
			if s.State = "on_time"; path.Objective > 0 && *w > path.Objective {
				s.State = "late"
			}
		}
		out.Slices = append(out.Slices, s)
	}
	out.Known = float64(seen) / float64(n)
	return out, nil
}

// pathNamed finds the one path of a name.
func (m measured) pathNamed(name string) (freshness.Path, error) {
	op := "find the path " + name
	s, _ := m.scheduler.Last(freshnessProbe)
	d, ok := s.Last.Detail.(*freshness.Detail)
	if !ok {
		return freshness.Path{}, fault.New(fault.Unavailable, op, "try again in a moment", "the paths were not looked at yet")
	}
	var found []freshness.Path
	for _, p := range d.Paths {
		if p.Name == name || pathName(p) == name {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return freshness.Path{}, fault.New(fault.NotFound, op, "see `freshet freshness`", "there is no such path")
	}
	return freshness.Path{}, fault.New(fault.Invalid, op, "give SOURCE/SCHEMA.TABLE/TO", "%s", fmt.Sprintf("%d paths are called so", len(found)))
}
