package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"freshet/backend/api"
	"freshet/backend/clock"
	"freshet/backend/fault"
	"freshet/backend/kafka"
	"freshet/replay"
)

// sinks are the sinks as the API has them.
type sinks struct{ *App }

// sinkDoc is a sink as it is kept: secrets are references.
type sinkDoc struct {
	Spec     api.SinkSpec `json:"spec"`
	Password string       `json:"password,omitempty"` // reference, of a DSN
	Created  time.Time    `json:"created"`
}

// sinkMark is where the sources that feed a sink were at a moment.
type sinkMark struct {
	Sources map[string]string `json:"s,omitempty"`
}

func (s sinks) Mark(ctx context.Context, name string) (string, error) {
	spec, err := s.spec(ctx, name)
	if err != nil {
		return "", err
	}
	if len(spec.Topics) == 0 {
		return "", fault.New(fault.Invalid, "wait for sink "+name, "", "it is only a place to replay to: nothing feeds it")
	}
	m := sinkMark{Sources: map[string]string{}}
	for _, o := range s.cdc.Options() {
		if o.Cluster != spec.Cluster || !fedBy(o.Prefix, spec.Topics) {
			continue
		}
		if m.Sources[o.Name], err = sources(s).Mark(ctx, o.Name); err != nil {
			return "", err
		}
	}
	b, err := json.Marshal(m)
	return string(b), err
}

// fedBy reports whether a capture may write topics that a pattern names. It goes by the prefix and not by the topics there
// are: while a snapshot is begun anew they are not known.
func fedBy(prefix string, patterns []string) bool {
	for _, p := range patterns {
		fixed, _, wild := strings.Cut(p, "*")
		if strings.HasPrefix(fixed, prefix+".") || wild && strings.HasPrefix(prefix+".", fixed) {
			return true
		}
	}
	return false
}

// Reached waits for the sources first, then freezes the ends of the topics, then waits until the sink is past them.
func (s sinks) Reached(ctx context.Context, name, mark string) (bool, error) {
	spec, err := s.spec(ctx, name)
	if err != nil {
		return false, err
	}
	var m sinkMark
	if err := json.Unmarshal([]byte(mark), &m); err != nil {
		return false, fault.New(fault.Invalid, "wait for sink "+name, "start the wait anew", "%q is no mark", mark)
	}
	for source, at := range m.Sources {
		if ok, err := sources(s).Reached(ctx, source, at); !ok || err != nil {
			return false, err
		}
	}
	c, err := s.cluster(spec.Cluster)
	if err != nil {
		return false, err
	}
	all, err := c.Topics(ctx, false)
	if err != nil {
		return false, err
	}
	ends := map[string]int64{}
	for _, t := range all {
		if t.Internal || !topicsMatch(spec.Topics, t.Name) {
			continue
		}
		for _, p := range t.Partitions {
			if p.Err != nil {
				return false, p.Err
			}
			if p.Stable > p.Start {
				ends[fmt.Sprintf("%s/%d", t.Name, p.ID)] = p.Stable
			}
		}
	}
	for {
		missing := false
		done := map[string]int64{}
		for _, p := range s.connectors.Progress() {
			if p.Sink == name {
				done[fmt.Sprintf("%s/%d", p.Topic, p.Partition)] = p.Next
			}
		}
		for at, end := range ends {
			if done[at] < end {
				missing = true
			}
		}
		if !missing {
			return true, nil
		}
		if clock.Sleep(ctx, lookAgain) != nil {
			return false, nil
		}
	}
}

func (s sinks) spec(ctx context.Context, name string) (api.SinkSpec, error) {
	d, err := s.sinkDocs.Get(ctx, name)
	if fault.Is(err, fault.NotFound) {
		return api.SinkSpec{}, fault.New(fault.NotFound, "find sink "+name, "see `freshet sinks list`", "there is no such sink")
	}
	return d.Value.Spec, err
}

// sinkPartitions is a fed sink's progress.
func (a *App) sinkPartitions(name string) []api.SinkPartition {
	var list []api.SinkPartition
	for _, p := range a.connectors.Progress() {
		if p.Sink == name {
			list = append(list, api.SinkPartition{Topic: p.Topic, Partition: p.Partition, Next: api.ID(p.Next), State: p.State, Why: p.Why, At: api.Time(p.NextAt)})
		}
	}
	slices.SortFunc(list, func(x, y api.SinkPartition) int {
		if c := compare(x.Topic, y.Topic); c != 0 {
			return c
		}
		return int(x.Partition - y.Partition)
	})
	return list
}

func (s sinks) List(ctx context.Context) ([]api.Sink, error) {
	docs, err := s.sinkDocs.List(ctx)
	if err != nil {
		return nil, err
	}
	views, err := s.connectors.List(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]api.Sink, len(docs))
	for i, d := range docs {
		spec := d.Value.Spec
		list[i] = api.Sink{Name: d.Name, Type: spec.Type, Mode: spec.Mode, Cluster: spec.Cluster, Topics: spec.Topics, State: "place", Parked: "0"}
		for _, v := range views {
			if v.Name == d.Name {
				list[i].State, list[i].Why, list[i].Parked = v.State, v.Why, api.ID(v.Parked)
				if list[i].LastParked, err = s.lastParked(ctx, d.Name, 1); err != nil {
					return nil, err
				}
			}
		}
	}
	return list, nil
}

// lastParked are the newest records that a sink, or a job, went on without.
func (s sinks) lastParked(ctx context.Context, owner string, most int) ([]api.ParkedRecord, error) {
	parked, err := s.store.Ledger().Parked(ctx, owner, most)
	var out []api.ParkedRecord
	for _, p := range parked {
		out = append(out, api.ParkedRecord{Topic: p.Topic, Partition: p.Partition, Offset: api.ID(p.Offset),
			Kind: string(p.Kind), Reason: p.Reason, At: api.Time(p.At)})
	}
	return out, err
}

func (s sinks) Get(ctx context.Context, name string) (api.Sink, error) {
	all, err := s.List(ctx)
	if err != nil {
		return api.Sink{}, err
	}
	for _, sink := range all {
		if sink.Name == name {
			sink.Partitions = s.sinkPartitions(name)
			sink.LastParked, err = s.lastParked(ctx, name, 20)
			return sink, err
		}
	}
	return api.Sink{}, fault.New(fault.NotFound, "find sink "+name, "see `freshet sinks list`", "there is no such sink")
}

func (s sinks) Create(ctx context.Context, spec api.SinkSpec) (api.Receipt, error) {
	if err := s.checkSinkSpec(&spec); err != nil {
		return api.Receipt{}, err
	}
	if _, err := s.sinkDocs.Get(ctx, spec.Name); err == nil {
		return api.Receipt{}, fault.New(fault.Exists, "create sink "+spec.Name, "choose another name, or drop it first", "there is a sink of that name")
	}
	d := sinkDoc{Spec: spec, Created: time.Now().UTC()}
	var err error
	if spec.DSN != "" {
		if d.Spec.DSN, d.Password, err = s.secrets.TakeDSN(ctx, "sink/"+spec.Name, spec.DSN); err != nil {
			return api.Receipt{}, err
		}
	}
	if d.Spec.Secret, err = s.hide(ctx, "sink/"+spec.Name+"/token", spec.Secret); err != nil {
		return api.Receipt{}, err
	}
	if spec.Type == "kafka" {
		if c, granted, err := s.sinkCluster(ctx, d); err != nil {
			return api.Receipt{}, err
		} else if !granted {
			if err := c.Gate().Allows(kafka.Produce); err != nil {
				return api.Receipt{}, err
			}
		}
	}
	intent := map[string]any{"type": spec.Type, "mode": spec.Mode, "topics": spec.Topics, "from": spec.From, "cluster": spec.Cluster, "creates_tables": spec.Type == "postgres" && !spec.NoCreateTables}
	receipt, err := s.receipt(ctx, "sink.create", spec.Name, intent, func(ctx context.Context) error {
		if err := s.sinkDocs.Create(ctx, spec.Name, d); err != nil {
			return err
		}
		err := s.reach(ctx, spec.Name)
		if err == nil && len(spec.Topics) > 0 {
			err = s.connectors.Create(ctx, replay.Connector{Name: spec.Name, Sink: spec.Name, Cluster: spec.Cluster, Topics: spec.Topics, From: spec.From})
		}
		if err != nil {
			_ = s.sinkDocs.Delete(context.WithoutCancel(ctx), spec.Name)
		}
		return err
	})
	receipt.State = "place"
	if len(spec.Topics) > 0 {
		receipt.State = "running"
	}
	return receipt, err
}

// reach tests a sink that was just defined.
func (s sinks) reach(ctx context.Context, name string) error {
	sink, err := targets(s).Open(ctx, name)
	if err != nil {
		return err
	}
	_, err = sink.Test(ctx)
	return errors.Join(err, sink.Close())
}

func (s sinks) Test(ctx context.Context, name string) ([]api.Stage, error) {
	if _, err := s.spec(ctx, name); err != nil {
		return nil, err
	}
	return testSink(ctx, func() (replay.Sink, error) { return targets(s).Open(ctx, name) }), nil
}

func (s sinks) Pause(ctx context.Context, name, reason string) (api.Receipt, error) {
	return s.feedAct(ctx, "sink.pause", name, reason, "paused", func(ctx context.Context) error { return s.connectors.Pause(ctx, name, reason) })
}

func (s sinks) Resume(ctx context.Context, name, reason string) (api.Receipt, error) {
	return s.feedAct(ctx, "sink.resume", name, reason, "running", func(ctx context.Context) error { return s.connectors.Resume(ctx, name) })
}

func (s sinks) feedAct(ctx context.Context, action, name, reason, state string, effect func(context.Context) error) (api.Receipt, error) {
	spec, err := s.spec(ctx, name)
	if err != nil {
		return api.Receipt{}, err
	}
	if len(spec.Topics) == 0 {
		return api.Receipt{}, fault.New(fault.Invalid, action+" "+name, "", "it is only a place to replay to: nothing feeds it")
	}
	receipt, err := s.receipt(ctx, action, name, map[string]string{"reason": reason}, effect)
	receipt.State = state
	return receipt, err
}

func (s sinks) Drop(ctx context.Context, name string) (api.Receipt, error) {
	spec, err := s.spec(ctx, name)
	if err != nil {
		return api.Receipt{}, err
	}
	jobs, err := s.replay.Jobs(ctx)
	if err != nil {
		return api.Receipt{}, err
	}
	for _, j := range jobs {
		if j.Sink == name && !j.State.Terminal() {
			return api.Receipt{}, fault.New(fault.Conflict, "drop sink "+name, "cancel it first: `freshet replay cancel "+j.ID+"`", "job %s writes to it", j.ID)
		}
	}
	return s.receipt(ctx, "sink.drop", name, nil, func(ctx context.Context) error {
		if len(spec.Topics) > 0 {
			if err := s.connectors.Delete(ctx, name); err != nil && !fault.Is(err, fault.NotFound) {
				return err
			}
		}
		return s.sinkDocs.Delete(ctx, name)
	})
}
