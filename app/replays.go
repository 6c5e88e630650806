package app

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"freshet/backend/api"
	"freshet/backend/auth"
	"freshet/backend/fault"
	"freshet/backend/store"
	"freshet/backend/stream"
	"freshet/replay"
)

// replays are plans and jobs as the API has them.
type replays struct{ *App }

func (r replays) Plan(ctx context.Context, spec api.PlanSpec) (api.PlanAnswer, error) {
	draft, err := draftOf(spec, time.Now())
	if err != nil {
		return api.PlanAnswer{}, err
	}
	p, err := r.replay.Plan(ctx, auth.Actor(ctx), draft)
	if err != nil {
		return api.PlanAnswer{}, err
	}
	if spec.DryRun {
		return r.DryRun(ctx, p.ID, spec.Sample)
	}
	return r.planAnswer(ctx, p, "replay.plan.created", nil)
}

// draftOf reads what a person wrote on the command line.
func draftOf(spec api.PlanSpec, now time.Time) (replay.Draft, error) {
	if len(spec.File) > 0 {
		return replay.Draft{Document: spec.File}, nil
	}
	d := replay.Draft{
		Title: spec.Title, Reason: spec.Reason, All: spec.All, Filter: spec.Filter, Key: spec.Key, Header: spec.Header, OnError: replay.OnError(spec.OnError),
		Rate: spec.Rate, MaxRecords: spec.MaxRecords, AllowOverlap: spec.Overlap,
	}
	var ok bool
	if d.Cluster, d.Topic, ok = strings.Cut(spec.Source, "/"); !ok || d.Topic == "" {
		return d, planFault("give --source CLUSTER/TOPIC; the local broker is `embedded`", "%q names no cluster and topic", spec.Source)
	}
	if d.Sink, d.Target, _ = strings.Cut(spec.To, "/"); d.Sink == "" {
		return d, planFault("give --to SINK, or SINK/TARGET", "there is nowhere to send to")
	}
	for _, s := range spec.Offsets {
		rng, err := parseRange(s)
		if err != nil {
			return d, err
		}
		d.Offsets = append(d.Offsets, rng)
	}
	var err error
	if d.From, err = parseTime(spec.Since, now); err != nil {
		return d, err
	}
	if d.To, err = parseTime(spec.Until, now); err != nil {
		return d, err
	}
	return d, nil
}

func planFault(next, format string, args ...any) error {
	e := fault.New(fault.Invalid, "make the plan", next, format, args...)
	e.Code = "PLAN_INVALID"
	return e
}

// parseRange reads PARTITION:FROM-TO; an empty TO is the partition's end.
func parseRange(s string) (stream.Range, error) {
	part, rest, ok := strings.Cut(s, ":")
	from, to, ok2 := strings.Cut(rest, "-")
	p, err1 := strconv.ParseInt(part, 10, 32)
	f, err2 := strconv.ParseInt(from, 10, 64)
	t, err3 := int64(-1), error(nil)
	if to != "" {
		t, err3 = strconv.ParseInt(to, 10, 64)
	}
	if !ok || !ok2 || err1 != nil || err2 != nil || err3 != nil || p < 0 || f < 0 || t >= 0 && t < f {
		return stream.Range{}, planFault("write offsets as PARTITION:FROM-TO, TO not included", "%q is no range", s)
	}
	return stream.Range{Partition: int32(p), From: f, To: t}, nil
}

// parseTime reads RFC 3339 or a duration back from now; "" is the zero time.
func parseTime(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(strings.TrimPrefix(s, "-")); err == nil {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return t, planFault("give a time such as 2026-11-24T12:00:00Z, or a duration such as 15m", "%q is no time", s)
	}
	return t, nil
}

func (r replays) DryRun(ctx context.Context, ref string, sample int) (api.PlanAnswer, error) {
	p, samples, err := r.replay.DryRun(ctx, auth.Actor(ctx), ref, sample)
	if err != nil {
		return api.PlanAnswer{}, err
	}
	return r.planAnswer(ctx, p, "replay.plan.created", samples)
}

func (r replays) ShowPlan(ctx context.Context, ref string) (api.PlanAnswer, error) {
	p, err := r.replay.StoredPlan(ctx, ref)
	if err != nil {
		return api.PlanAnswer{}, err
	}
	return r.planAnswer(ctx, p, "replay.plan", nil)
}

func (r replays) planAnswer(ctx context.Context, p replay.StoredPlan, kind string, samples []replay.Sample) (api.PlanAnswer, error) {
	approvals, have, err := r.replay.Approvals(ctx, p)
	if err != nil {
		return api.PlanAnswer{}, err
	}
	jobs, err := r.replay.Jobs(ctx)
	if err != nil {
		return api.PlanAnswer{}, err
	}
	return planAnswer(p, kind, approvals, have, jobs, samples), nil
}

func planAnswer(p replay.StoredPlan, kind string, approvals []replay.Approval, have int, jobs []replay.Job, samples []replay.Sample) api.PlanAnswer {
	out := api.PlanAnswer{
		Head: api.Head{V: 1, Kind: kind}, PlanID: p.ID, PlanHash: p.Hash, State: string(p.State), Reason: p.Reason, Title: p.Title, Author: p.Author, Created: api.Time(p.Created),
		Risk: p.Risk, Needed: p.Needed, Have: have, Approvals: []api.PlanApproval{}, Warnings: []api.Warning{}, Document: p.Document, Canonical: string(p.Document),
	}
	for _, a := range approvals {
		out.Approvals = append(out.Approvals, api.PlanApproval{By: a.By, At: api.Time(a.At), NotAfter: api.Time(a.NotAfter), Evidence: a.Evidence, Self: a.Self, KeyID: a.KeyID, Sig: fmt.Sprintf("%x", a.Signature)})
	}
	for _, w := range p.Warnings {
		out.Warnings = append(out.Warnings, api.Warning(w))
	}
	if e := p.Evidence; e != nil {
		out.Evidence = &api.Evidence{
			SHA256: e.SHA256, At: api.Time(e.At), Seen: api.ID(e.Seen), Filtered: api.ID(e.Filtered), WouldWrite: api.ID(e.WouldWrite), WouldDLQ: api.ID(e.WouldDLQ),
			Dropped: api.ID(e.Dropped), DisorderMS: api.ID(e.DisorderMS),
			Holes: api.Holes{Control: api.ID(e.Holes.Control), Aborted: api.ID(e.Holes.Aborted), Compacted: api.ID(e.Holes.Compacted)},
			Bytes: api.ID(e.Bytes), Seconds: e.Seconds, Samples: e.Samples,
		}
	}
	for _, s := range samples {
		out.Samples = append(out.Samples, api.Sample{Partition: s.Partition, Offset: api.ID(s.Offset), Time: api.Time(s.Time), Key: s.Key, Value: s.Value})
	}
	for _, j := range jobs {
		if j.PlanHash == p.Hash {
			out.Jobs = append(out.Jobs, j.ID)
		}
	}
	return out
}

func (r replays) Approve(ctx context.Context, ref string, spec api.ApproveSpec) (api.ApprovalAnswer, error) {
	out := api.ApprovalAnswer{Head: api.Head{V: 1, Kind: "replay.approval"}, By: auth.Actor(ctx), At: api.Time(time.Now())}
	var p replay.StoredPlan
	var err error
	switch {
	case spec.Reject && spec.Withdraw:
		return out, fault.New(fault.Invalid, "approve the plan", "give one of them", "to reject and to withdraw are two things")
	case spec.Reject:
		p, err = r.replay.Reject(ctx, out.By, ref, spec.Reason)
	case spec.Withdraw:
		p, err = r.replay.Withdraw(ctx, out.By, ref, spec.Reason)
	case spec.Hash == "":
		return out, fault.New(fault.Invalid, "approve the plan", "give the full hash that `freshet replay show` prints", "which plan was looked at is not said")
	default:
		var a replay.Approval
		a, p, err = r.replay.Approve(ctx, out.By, ref, spec.Hash, time.Duration(spec.TTLSeconds)*time.Second)
		out.Evidence, out.At, out.NotAfter, out.KeyID, out.Sig, out.Self = a.Evidence, api.Time(a.At), api.Time(a.NotAfter), a.KeyID, fmt.Sprintf("%x", a.Signature), a.Self
	}
	if err != nil {
		return out, err
	}
	_, have, err := r.replay.Approvals(ctx, p)
	out.PlanID, out.PlanHash, out.State, out.Have, out.Need = p.ID, p.Hash, string(p.State), have, p.Needed
	return out, err
}

func (r replays) Run(ctx context.Context, ref string, spec api.RunSpec) (api.JobAnswer, error) {
	j, err := r.replay.Run(ctx, auth.Actor(ctx), ref, spec.TakeOver)
	if err != nil {
		return api.JobAnswer{}, err
	}
	r.event("job", "replay "+j.Title+" started", j.ID, 0)
	return r.ShowJob(ctx, j.ID)
}

func (r replays) Pause(ctx context.Context, id string, spec api.RunSpec) (api.JobAnswer, error) {
	if _, err := r.replay.Pause(ctx, auth.Actor(ctx), id, spec.Reason); err != nil {
		return api.JobAnswer{}, err
	}
	return r.ShowJob(ctx, id)
}

func (r replays) Resume(ctx context.Context, id string, spec api.RunSpec) (api.JobAnswer, error) {
	how := replay.Resume{TakeOver: spec.TakeOver, Rate: spec.Rate, Reason: spec.Reason}
	for _, s := range spec.AcceptGaps {
		rng, err := parseRange(s)
		if err != nil {
			return api.JobAnswer{}, err
		}
		how.AcceptGaps = append(how.AcceptGaps, replay.AcceptedGap{Partition: rng.Partition, Gap: replay.Gap{From: rng.From, To: rng.To}})
	}
	if _, err := r.replay.Resume(ctx, auth.Actor(ctx), id, how); err != nil {
		return api.JobAnswer{}, err
	}
	return r.ShowJob(ctx, id)
}

func (r replays) Cancel(ctx context.Context, id string, spec api.RunSpec) (api.JobAnswer, error) {
	if _, err := r.replay.Cancel(ctx, auth.Actor(ctx), id, spec.Reason); err != nil {
		return api.JobAnswer{}, err
	}
	return r.ShowJob(ctx, id)
}

func (r replays) ShowJob(ctx context.Context, id string) (api.JobAnswer, error) {
	v, err := r.replay.Job(ctx, id)
	if err != nil {
		return api.JobAnswer{}, err
	}
	out := jobAnswer(v)
	if v.State.Terminal() {
		out.Audit = r.auditPoint(ctx, v.Intent)
	}
	return out, nil
}

func jobAnswer(v replay.JobView) api.JobAnswer {
	out := api.JobAnswer{
		Head: api.Head{V: 1, Kind: "replay.job"}, JobID: v.ID, PlanID: v.PlanID, Hash: v.PlanHash, Title: v.Title, Author: v.Author, Actor: v.Actor,
		Cluster: v.Cluster, Topic: v.Topic, Sink: v.Sink, Target: v.Target, Epoch: v.Epoch, State: string(v.State), Reason: v.Reason,
		Blocked: string(v.Blocked), Resumes: v.State == replay.JobBlocked && v.Blocked.Resumes(),
		Counts: counts(v.Counts),
		Shards: []api.JobShard{}, Rate: api.JobRate{RecordsPerSecond: v.RecordsPerS, Cap: v.Rate}, Created: api.Time(v.Created), Started: api.Time(v.Started), Updated: api.Time(v.Updated),
		Audit: api.AuditPoint{Seq: api.ID(v.Intent)},
	}
	if v.Outcome != "" {
		out.Outcome = ptr(string(v.Outcome))
	}
	if v.ETA != nil {
		out.ETA = ptr(int64(v.ETA.Seconds()))
	}
	for _, s := range v.Shards {
		out.Shards = append(out.Shards, api.JobShard{Partition: s.Partition, State: string(s.State), Blocked: string(s.Blocked), Reason: s.Reason, Start: api.ID(s.Start), Next: api.ID(s.Next), End: api.ID(s.End), SinkNext: api.ID(s.SinkNext), Counts: counts(s.Counts)})
	}
	return out
}

func counts(c replay.Counts) api.Counts {
	return api.Counts{
		Offsets: api.ID(c.Offsets), Seen: api.ID(c.Seen), Written: api.ID(c.Written), Filtered: api.ID(c.Filtered), DLQ: api.ID(c.DLQ), InDoubt: api.ID(c.InDoubt),
		Lost: api.ID(c.Lost), Control: api.ID(c.Control), Aborted: api.ID(c.Aborted), Compacted: api.ID(c.Compacted),
	}
}

func (r replays) Parked(ctx context.Context, id string) ([]api.ParkedRecord, error) {
	const most = 200
	return sinks(r).lastParked(ctx, id, most)
}

func (r replays) List(ctx context.Context) ([]api.ReplayItem, error) {
	plans, err := r.replay.Plans(ctx)
	if err != nil {
		return nil, err
	}
	jobs, err := r.replay.Jobs(ctx)
	if err != nil {
		return nil, err
	}
	var list []api.ReplayItem
	for _, j := range jobs {
		list = append(list, api.ReplayItem{Type: "job", ID: j.ID, Title: j.Title, State: string(j.State), Reason: j.Reason, Blocked: string(j.Blocked), Resumes: j.State == replay.JobBlocked && j.Blocked.Resumes(), Outcome: string(j.Outcome),
			Plan: j.PlanID, Author: j.Author, Seen: api.ID(j.Counts.Seen), Total: api.ID(j.Counts.Offsets), Created: api.Time(j.Created)})
	}
	for _, p := range plans {
		list = append(list, api.ReplayItem{Type: "plan", ID: p.ID, Title: p.Title, State: string(p.State), Reason: p.Reason, Needed: p.Needed, Author: p.Author, Created: api.Time(p.Created)})
	}
	slices.SortStableFunc(list, func(a, b api.ReplayItem) int { return compare(b.Created, a.Created) })
	return list, nil
}

// ShowStored finds a plan or a job in the ledger of a directory on which nothing runs.
func ShowStored(ctx context.Context, dir, ref string) (*api.PlanAnswer, *api.JobAnswer, error) {
	f, err := store.OpenAudit(ctx, filepath.Join(dir, "ledger.db"))
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if strings.HasPrefix(ref, "jb_") {
		j, err := f.Job(ctx, ref)
		if err != nil {
			return nil, nil, err
		}
		return nil, ptr(jobAnswer(replay.JobView{Job: j})), nil
	}
	p, err := f.Plan(ctx, ref)
	if err != nil {
		return nil, nil, err
	}
	approvals, err := f.Approvals(ctx, p.Hash)
	if err != nil {
		return nil, nil, err
	}
	return ptr(planAnswer(p, "replay.plan", approvals, len(approvals), nil, nil)), nil, nil
}
