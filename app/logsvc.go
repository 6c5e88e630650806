package app

import (
	"context"

	"freshet/backend/api"
	"freshet/backend/clock"
	"freshet/backend/fault"
	"freshet/backend/kafka"
	"freshet/probes/lag"
)

// logs look into clusters, as the API has it.
type logs struct{ *App }

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
			return groupAnswer(cl, g), nil
		}
	}
	return api.Group{}, fault.New(fault.NotFound, "find group "+name, "see `freshet groups list`", "there is no such group")
}

func groupAnswer(cluster string, g lag.Group) api.Group {
	out := api.Group{
		Group: g.Name, Cluster: cluster, Protocol: g.Protocol, State: g.State, Members: len(g.Members), Topics: g.Topics, Verdict: g.Verdict, Code: string(g.Code),
		Lag: api.Lag{Records: api.FromReading(g.Records), Seconds: api.FromReading(g.Seconds)}, Trend: string(g.Trend), Partitions: []api.GroupPartition{},
	}
	if out.Topics == nil {
		out.Topics = []string{}
	}
	if g.CatchUp.Known() {
		out.CaughtUpIn = ptr(api.FromReading(g.CatchUp))
	}
	for _, p := range g.Partitions {
		q := api.GroupPartition{
			Topic: p.Topic, Partition: p.Partition, State: string(p.State), Member: p.Member,
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
		out.MemberList = append(out.MemberList, api.GroupMember{ID: m.ID, ClientID: m.ClientID, Host: m.Host, Assigned: len(m.Assigned)})
	}
	return out
}

func (l logs) ResetGroup(ctx context.Context, cluster, name string, spec api.ResetSpec) (api.ResetAnswer, error) {
	out := api.ResetAnswer{Head: api.Head{V: 1, Kind: "groups.reset"}, Group: name, Items: []api.ResetChange{}}
	c, err := l.cluster(cluster)
	if err != nil {
		return out, err
	}
	to, err := kafka.ParsePoint(spec.To)
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
			item.From = api.ID(ch.From)
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
