package app

import (
	"context"
	"time"

	"freshet/backend/api"
	"freshet/backend/fault"
	"freshet/backend/kafka"
	"freshet/replay"
)

// trials test what was not saved yet.
type trials struct{ *App }

func (t trials) Cluster(ctx context.Context, spec api.ClusterSpec) ([]api.Stage, error) {
	if err := takePassword(&spec); err != nil {
		return nil, err
	}
	k, err := t.openCluster(ctx, spec)
	if err != nil {
		return nil, err
	}
	defer k.Close()
	return clusterStages(k.Test(ctx)), nil
}

func (t trials) Sink(ctx context.Context, spec api.SinkSpec) ([]api.Stage, error) {
	if err := t.checkSinkSpec(&spec); err != nil {
		return nil, err
	}
	if spec.Type == "kafka" {
		if known := t.clusterAt(spec.Brokers); known != nil {
			begun := time.Now()
			return append(clusterStages(known.Test(ctx)), stage("writes", known.Name()+" lets records be written", begun, known.Gate().Allows(kafka.Produce))), nil
		}
		return t.Cluster(ctx, api.ClusterSpec{Name: spec.Name, Brokers: spec.Brokers})
	}
	return testSink(ctx, func() (replay.Sink, error) {
		return sinkKinds()[spec.Type].open(ctx, t.App, sinkDoc{Spec: spec})
	}), nil
}

// testSink opens a sink and asks it.
func testSink(ctx context.Context, open func() (replay.Sink, error)) []api.Stage {
	begun := time.Now()
	sink, err := open()
	if err != nil {
		return []api.Stage{stage("open", "", begun, err)}
	}
	defer sink.Close()
	begun = time.Now()
	said, err := sink.Test(ctx)
	return []api.Stage{stage("reach", said, begun, err)}
}

// stage is one that began at begun and ends now.
func stage(name, detail string, begun time.Time, err error) api.Stage {
	s := api.Stage{Stage: name, State: string(kafka.StageOK), OK: true, Detail: detail, Took: time.Since(begun).Seconds()}
	if err != nil {
		e := api.FromError(err)
		s.State, s.OK, s.Detail, s.Next = string(kafka.StageFailed), false, e.Message, e.Hint
		if fault.Is(err, fault.Denied) {
			s.State = string(kafka.StageDenied)
		}
	}
	return s
}

func clusterStages(all []kafka.Stage) []api.Stage {
	out := make([]api.Stage, len(all))
	for i, s := range all {
		out[i] = api.Stage{Stage: s.Name, State: string(s.State), OK: s.State == kafka.StageOK, Detail: s.Detail, Next: s.Next, Took: s.Took.Seconds(), Without: s.Without}
	}
	return out
}

// given is what a reference leads to, or the secret itself.
func (a *App) given(ctx context.Context, s string) (string, error) {
	if isRef(s) {
		return a.secret(ctx, s)
	}
	return s, nil
}
