package replay

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/replay/filter"
)

// world is what a plan is about, as it is now.
type world struct {
	cluster   Cluster
	clusterID string
	topic     stream.Topic
	target    Target
}

// Drift is one thing that is no longer what the plan was made for.
type Drift struct {
	What  string `json:"what"`
	Shard *int32 `json:"shard,omitempty"`
	Plan  string `json:"plan"`
	Now   string `json:"now"`
}

// DriftError lists drift.
type DriftError struct{ Items []Drift }

func (e *DriftError) Error() string {
	parts := make([]string, len(e.Items))
	for i, d := range e.Items {
		what := d.What
		if d.Shard != nil {
			what += " of partition " + strconv.Itoa(int(*d.Shard))
		}
		parts[i] = fmt.Sprintf("%s was %s and is %s", what, d.Plan, d.Now)
	}
	return strings.Join(parts, "; ")
}

func driftFault(drift []Drift) error {
	e := &fault.Error{Kind: fault.Drifted, Op: "check the plan", Code: "PLAN_DRIFT", Err: &DriftError{drift},
		Next: "make the plan again"}
	if d := drift[0]; d.What == "log_start" {
		e.Next = fmt.Sprintf("make the plan again, or resume with --accept-gap %d:%s-%s", *d.Shard, d.Plan, d.Now)
	}
	return e
}

// inspect looks at the plan's source and sink.
func (s *Service) inspect(ctx context.Context, p *Plan) (w world, err error) {
	if w.cluster, err = s.o.Clusters.Cluster(ctx, p.Source.Conn); err != nil {
		return w, &sourceError{err}
	}
	if w.clusterID, err = w.cluster.Source.ClusterID(ctx); err != nil {
		return w, &sourceError{err}
	}
	if w.topic, err = w.cluster.Source.Topic(ctx, p.Source.Topic); err == nil {
		err = w.topic.Err
	}
	if err != nil {
		return w, &sourceError{err}
	}
	w.target, err = s.o.Targets.Target(ctx, p.Sink.Name(), p.Sink.Target())
	return w, err
}

// drift holds the world against the plan. next is where each partition is to be read on.
func (w *world) drift(p *Plan, next map[int32]int64, gaps bool) []Drift {
	var out []Drift
	differ := func(what, plan, now string) {
		if plan != now {
			out = append(out, Drift{What: what, Plan: orNone(plan), Now: orNone(now)})
		}
	}
	differ("cluster_id", p.Source.ClusterID, w.clusterID)
	differ("topic_id", p.Source.TopicID, FormatTopicID(w.topic.ID))
	if len(out) > 0 {
		return out // offsets of another topic say nothing
	}
	now := map[int32]stream.Partition{}
	for _, part := range w.topic.Partitions {
		now[part.ID] = part
	}
	for _, r := range p.Source.Ranges {
		part, ok := now[r.Partition]
		shard := r.Partition
		if !ok {
			out = append(out, Drift{"partition", &shard, "there", "gone"})
			continue
		}
		if at := next[r.Partition]; part.Err == nil && part.Start > at && at < r.End && !gaps {
			out = append(out, Drift{"log_start", &shard, strconv.FormatInt(at, 10), strconv.FormatInt(part.Start, 10)})
		}
		if part.Err == nil && part.End < r.End {
			out = append(out, Drift{"log_end", &shard, strconv.FormatInt(r.End, 10), strconv.FormatInt(part.End, 10)})
		}
	}
	s := &p.Sink
	differ("sink.type", s.Type, w.target.Type)
	differ("sink.guarantee", s.Guarantee, w.target.Guarantee)
	switch s.Type {
	case "kafka":
		differ("sink.cluster_id", s.ClusterID, w.target.ClusterID)
		if t := s.Targets[0]; t.TopicID != FormatTopicID([16]byte{}) {
			if w.target.Topic == nil {
				differ("sink.targets", t.Topic, "gone")
			} else {
				differ("sink.targets.topic_id", t.TopicID, FormatTopicID(w.target.Topic.ID))
			}
		}
	case "postgres":
		differ("sink.database_id", s.DatabaseID, w.target.DatabaseID)
		if s.Write != nil {
			differ("sink.write.mode", s.Write.Mode, w.target.Mode)
		}
	case "http":
		differ("sink.url", s.URL, w.target.URL)
	}
	return out
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// shapeOf compiles what the plan does to records.
func (s *Service) shapeOf(p *Plan, cluster Cluster, target Target) (*shape, error) {
	sh := &shape{changes: target.Changes, onDecode: p.Transform.OnError, decode: s.o.Decode, change: s.o.Change, schemas: cluster.Schemas}
	if by := p.Source.SelectedBy; by.By == "time" {
		sh.from, sh.to = time.UnixMilli(by.FromMS), time.UnixMilli(by.ToMS)
	}
	if f := p.Filter; f != nil {
		now, err := time.Parse(stream.TimeFormat, p.Frozen.Now)
		if err != nil {
			return nil, err
		}
		sh.onFilter = f.OnError
		sh.filter, err = filter.Compile(f.Src, filter.Options{CostLimit: uint64(p.Engines.CELCostLimit), Now: now, Decode: s.o.Decode})
		if err != nil {
			return nil, err
		}
	}
	return sh, nil
}

// asFault takes the engine's own classes off an error that goes to a person.
func asFault(err error) error {
	var source *sourceError
	var ledger *ledgerError
	var stop *stopError
	switch {
	case errors.As(err, &source):
		return source.err
	case errors.As(err, &ledger):
		return ledger.err
	case errors.As(err, &stop):
		return stop.err
	}
	return err
}
