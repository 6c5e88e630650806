package replay

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"freshet/backend/auditlog"
	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/replay/filter"
)

// Options are what a Service works with.
type Options struct {
	Ledger   Ledger
	Clusters Clusters
	Targets  Targets

	// Decode decodes values and keys, Change reads a decoded value as a change event.
	Decode filter.Decoder
	Change func(*stream.Record, *stream.Value) (*stream.Change, bool, error)

	// Key signs approvals.
	Key ed25519.PrivateKey
	// Local says that the profile is one person's: the author of a plan may approve it, and one approval is enough.
	Local bool

	// Holder names this process among those that share the ledger. Dead reports that another holder is certainly gone, so
	// that its jobs are taken up at once; without it they are once their lease has ended.
	Holder string
	Dead   func(holder string) bool
	Lease  time.Duration // 0: 30 s

	Parallel     int           // shards of a job at once; 0: 8
	BatchRecords int           // at most in one write; 0: 10,000
	BatchBytes   int64         // likewise, about; 0: 8 MiB
	Linger       time.Duration // a batch waits to be filled; 0: 20 ms
	Grace        time.Duration // a write may go on after a stop; 0: 10 s

	// Changed, where not nil, is told that a job's state or progress changed. It must not block.
	Changed func(job string)
	Log     *slog.Logger
}

// waitEvery is how often Wait looks at a job that this process does not run.
const waitEvery = 20 * time.Millisecond

// Service plans replays and runs them. Its methods may be called from any goroutine; jobs run while Serve does.
type Service struct {
	o   Options
	log *slog.Logger

	starting sync.Mutex // one Run at a time: the check for overlap and the job it allows

	served  chan struct{} // closed when Serve has begun
	mu      sync.Mutex
	serving bool
	dry     map[string]bool // plans in a dry run
	running map[string]*jobRun
	runs    sync.WaitGroup
}

// New makes a Service.
func New(o Options) (*Service, error) {
	if o.Ledger == nil || o.Clusters == nil || o.Targets == nil || o.Decode == nil || o.Change == nil || o.Holder == "" || len(o.Key) != ed25519.PrivateKeySize {
		return nil, fault.New(fault.Internal, "make the replay service", "", "an option is missing")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Lease <= 0 {
		o.Lease = 30 * time.Second
	}
	if o.Parallel <= 0 {
		o.Parallel = 8
	}
	if o.BatchRecords <= 0 {
		o.BatchRecords = defaultItems
	}
	if o.BatchBytes <= 0 {
		o.BatchBytes = defaultBytes
	}
	if o.Linger <= 0 {
		o.Linger = defaultLinger
	}
	if o.Grace <= 0 {
		o.Grace = 10 * time.Second
	}
	return &Service{o: o, log: o.Log.With("part", "replay"), served: make(chan struct{}), dry: map[string]bool{}, running: map[string]*jobRun{}}, nil
}

func (s *Service) changed(job string) {
	if s.o.Changed != nil {
		s.o.Changed(job)
	}
}

// Serve takes up the jobs that an earlier process left under way and runs jobs until ctx ends. It then lets the batches
// under way finish, and leaves the jobs to the next process. It is called once; Run and Resume wait for it.
func (s *Service) Serve(ctx context.Context) error {
	if err := s.forgetDryRuns(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	s.serving = true
	s.mu.Unlock()
	close(s.served)
	defer func() {
		s.mu.Lock()
		s.serving = false
		for _, r := range s.running {
			r.ask(wishLeave, "system", "the process ends")
		}
		s.mu.Unlock()
		s.runs.Wait()
	}()
	tick := time.NewTicker(s.o.Lease / 3)
	defer tick.Stop()
	for {
		if err := s.adopt(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("look for jobs to take up", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// forgetDryRuns puts plans back whose dry run the end of a process cut.
func (s *Service) forgetDryRuns(ctx context.Context) error {
	plans, err := s.o.Ledger.Plans(ctx)
	if err != nil {
		return err
	}
	for _, p := range plans {
		s.mu.Lock()
		busy := s.dry[p.Hash]
		s.mu.Unlock()
		if p.State != PlanDryRun || busy {
			continue
		}
		if err := p.Move(PlanPlanned, "the dry run was cut short"); err != nil {
			return err
		}
		err := s.updatePlan(ctx, PlanDryRun, p, "system", "replay.dry_run", nil)
		if err != nil && !fault.Is(err, fault.Conflict) { // a dry run that ended meanwhile
			return err
		}
	}
	return nil
}

// adopt takes up every job that is to run and that no living process runs.
func (s *Service) adopt(ctx context.Context) error {
	jobs, err := s.o.Ledger.Jobs(ctx)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		if !s.adoptable(j) {
			continue
		}
		if _, err := s.launch(ctx, j.ID, "system", s.dead(j), s.adoptable); err != nil && !fault.Is(err, fault.Conflict) {
			return err
		}
	}
	return nil
}

func (s *Service) dead(j Job) bool { return s.o.Dead != nil && s.o.Dead(j.Holder) }

// adoptable reports whether a job is to run and no living process has it.
func (s *Service) adoptable(j Job) bool {
	if !j.State.Active() && !(j.State == JobBlocked && j.Blocked.Resumes()) {
		return false
	}
	return j.Holder == "" || s.dead(j) || !time.Now().Before(j.LeaseUntil)
}

// launch takes the job's lease and runs it, where may, if there is one, still holds of it.
func (s *Service) launch(ctx context.Context, id, actor string, takeOver bool, may func(Job) bool) (Job, error) {
	select {
	case <-s.served:
	case <-ctx.Done():
		return Job{}, fault.Wrap(fault.Timeout, "run job "+id, ctx.Err(), "")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.running[id]; ok {
		return r.snapshot(), nil
	}
	j, err := s.o.Ledger.Job(ctx, id)
	if err != nil {
		return j, err
	}
	if !s.serving || may != nil && !may(j) {
		return j, nil // where the service ends, the next process takes it up
	}
	ranges := make([]map[string]string, len(j.Shards))
	for i, sh := range j.Shards {
		ranges[i] = map[string]string{"p": strconv.Itoa(int(sh.Partition)), "from": strconv.FormatInt(sh.Next, 10), "to": strconv.FormatInt(sh.End, 10)}
	}
	next := j
	next.Epoch++
	e := jobEntry(&next, auditlog.Intent, "replay.execute", actor, map[string]any{"ranges": ranges, "take_over": takeOver, "sink": j.Sink})
	j, err = s.o.Ledger.TakeJob(ctx, j.ID, s.o.Holder, s.o.Lease, takeOver, e)
	if err != nil {
		return j, err
	}
	r := &jobRun{s: s, job: j, done: make(chan struct{}), stop: make(chan struct{}), wake: make(chan struct{}, 1), limiter: newLimiter(j.Rate)}
	switch j.State {
	case JobPausing:
		r.ask(wishPause, "system", j.Reason)
	case JobCancelling:
		r.ask(wishCancel, "system", j.Reason)
	}
	s.running[j.ID] = r
	run := context.WithoutCancel(ctx)
	s.runs.Go(func() {
		r.run(run)
		s.mu.Lock()
		delete(s.running, j.ID)
		s.mu.Unlock()
		close(r.done)
		s.changed(j.ID)
	})
	return j, nil
}

// here returns the run of a job in this process, nil where there is none.
func (s *Service) here(id string) *jobRun {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running[id]
}

// Run starts the job of an approved plan. Asked again, it returns that job as it is, so that who asks twice, or again
// after a restart, gets one job; with takeOver it takes it from whoever runs it. A job that was cancelled or failed is no
// answer: the plan is used up.
func (s *Service) Run(ctx context.Context, actor, ref string, takeOver bool) (Job, error) {
	j, err := s.run(ctx, actor, ref, takeOver)
	return j, asFault(err)
}

func (s *Service) run(ctx context.Context, actor, ref string, takeOver bool) (Job, error) {
	s.starting.Lock()
	defer s.starting.Unlock()
	stored, err := s.o.Ledger.Plan(ctx, ref)
	if err != nil {
		return Job{}, err
	}
	jobs, err := s.o.Ledger.Jobs(ctx)
	if err != nil {
		return Job{}, err
	}
	if stored.State == PlanConsumed {
		return s.runAgain(ctx, actor, stored, jobs, takeOver)
	}
	doc, err := reread(stored, stored.Hash)
	if err != nil {
		return Job{}, err
	}
	if err := doc.Plan.Unsupported(); err != nil {
		return Job{}, err
	}
	if err := s.allowed(ctx, actor, stored, time.Now()); err != nil {
		return Job{}, err
	}
	if err := s.ready(ctx, actor, stored, &doc.Plan); err != nil {
		return Job{}, err
	}
	if err := overlap(&doc.Plan, jobs); err != nil {
		return Job{}, err
	}
	job := newJob(stored, &doc.Plan, actor)
	e := jobEntry(&job, auditlog.Note, "replay.run", actor, map[string]any{"plan": stored.ID, "evidence": evidenceHash(stored)})
	if err := s.o.Ledger.CreateJob(ctx, stored.State, job, e); err != nil {
		return Job{}, err
	}
	return s.launch(ctx, job.ID, actor, false, nil)
}

// runAgain answers a second Run of one plan.
func (s *Service) runAgain(ctx context.Context, actor string, stored StoredPlan, jobs []Job, takeOver bool) (Job, error) {
	i := slices.IndexFunc(jobs, func(j Job) bool { return j.PlanHash == stored.Hash })
	if i >= 0 && jobs[i].State == JobCompleted {
		return jobs[i], nil
	}
	if i < 0 || jobs[i].State.Terminal() {
		e := fault.New(fault.Conflict, "run plan "+stored.ID, "make the plan again for a second run", "it has been run")
		e.Code = "PLAN_CONSUMED"
		return Job{}, e
	}
	if takeOver {
		return s.resume(ctx, actor, jobs[i].ID, Resume{TakeOver: true})
	}
	if r := s.here(jobs[i].ID); r != nil {
		return r.snapshot(), nil
	}
	return jobs[i], nil
}

func newJob(stored StoredPlan, p *Plan, actor string) Job {
	now := time.Now().UTC()
	j := Job{ID: "jb_" + ulid(now), PlanID: stored.ID, PlanHash: stored.Hash, Run: 1, Title: stored.Title, Author: stored.Author,
		Actor: actor, Sink: p.Sink.Name(), Target: p.Sink.Target(), Cluster: p.Source.Conn, Topic: p.Source.Topic,
		State: JobCreated, Rate: p.Rate.RecordsPerS, Created: now, Updated: now}
	for _, r := range p.Source.Ranges {
		n := Counts{Offsets: r.End - r.Start}
		j.Shards = append(j.Shards, ShardState{Partition: r.Partition, State: ShardWaiting, Start: r.Start, Next: r.Start,
			End: r.End, SinkNext: r.Start, Counts: n})
		j.Counts.Add(n)
	}
	return j
}

// ready does before a job is made what every start of it does again: the world against the plan, the filter, the sink.
func (s *Service) ready(ctx context.Context, actor string, stored StoredPlan, p *Plan) error {
	w, err := s.inspect(ctx, p)
	if err != nil {
		return err
	}
	start := map[int32]int64{}
	for _, r := range p.Source.Ranges {
		start[r.Partition] = r.Start
	}
	if drift := w.drift(p, start, p.Limits.AcceptGaps); len(drift) > 0 {
		err := driftFault(drift)
		if stored.State.CanMove(PlanInvalid) {
			from := stored.State
			if e := stored.Move(PlanInvalid, err.Error()); e != nil {
				return errors.Join(err, e)
			}
			if e := s.updatePlan(ctx, from, stored, actor, "replay.invalid", map[string]any{"drift": drift}); e != nil {
				return errors.Join(err, e)
			}
		}
		return err
	}
	if _, err := s.shapeOf(p, w.cluster, w.target); err != nil {
		return err
	}
	return s.testSink(ctx, p.Sink.Name())
}

func (s *Service) testSink(ctx context.Context, name string) error {
	sink, err := s.o.Targets.Open(ctx, name)
	if err != nil {
		return err
	}
	_, err = sink.Test(ctx)
	return errors.Join(err, sink.Close())
}

// overlap refuses a plan that would write, beside a job that is not over, what that job writes too.
func overlap(p *Plan, jobs []Job) error {
	if p.Limits.AllowOverlap {
		return nil
	}
	for _, j := range jobs {
		if j.State.Terminal() || j.Cluster != p.Source.Conn || j.Topic != p.Source.Topic || j.Sink != p.Sink.Name() || j.Target != p.Sink.Target() {
			continue
		}
		for _, s := range j.Shards {
			for _, r := range p.Source.Ranges {
				if s.Partition == r.Partition && s.Start < r.End && r.Start < s.End {
					e := fault.New(fault.Conflict, "run the plan", "wait for that job or cancel it, or make the plan with --allow-overlap",
						"job %s (%s) brings offsets %d to %d of partition %d to the same place", j.ID, j.State,
						max(s.Start, r.Start), min(s.End, r.End)-1, s.Partition)
					e.Code = "OVERLAP"
					return e
				}
			}
		}
	}
	return nil
}

// Pause lets the batches under way finish and stops the job; it can be resumed.
func (s *Service) Pause(ctx context.Context, actor, id, reason string) (Job, error) {
	return s.end(ctx, actor, id, reason, wishPause, JobPausing, "replay.pause")
}

// Cancel stops the job for good. What it has written stays.
func (s *Service) Cancel(ctx context.Context, actor, id, reason string) (Job, error) {
	return s.end(ctx, actor, id, reason, wishCancel, JobCancelling, "replay.cancel")
}

func (s *Service) end(ctx context.Context, actor, id, reason string, w wish, state JobState, action string) (Job, error) {
	r := s.here(id)
	if r == nil {
		return s.endIdle(ctx, actor, id, reason, w, state, action)
	}
	current := r.snapshot().State
	if current.Terminal() {
		return s.endIdle(ctx, actor, id, reason, w, state, action)
	}
	if current == JobRunning || w == wishCancel && current.CanMove(state) {
		if err := r.through(ctx, state, actor, reason, action); err != nil {
			return r.snapshot(), asFault(err)
		}
	}
	r.ask(w, actor, reason)
	return r.snapshot(), nil
}

// endIdle stops a job that this process does not run.
func (s *Service) endIdle(ctx context.Context, actor, id, reason string, w wish, state JobState, action string) (Job, error) {
	j, err := s.o.Ledger.Job(ctx, id)
	if err != nil {
		return j, err
	}
	if j.Holder != "" && time.Now().Before(j.LeaseUntil) && !j.State.Terminal() {
		return j, leased(j)
	}
	last := JobPaused
	if w == wishCancel {
		last = JobCancelled
	}
	if j.State == last {
		return j, nil
	}
	if !j.State.CanMove(last) {
		if err := j.Move(state, reason); err != nil {
			return j, err
		}
	}
	if err := j.Move(last, reason); err != nil {
		return j, err
	}
	if w == wishCancel {
		j.Outcome = OutcomeCancelled
	}
	j.Updated = time.Now().UTC()
	if err := s.o.Ledger.UpdateJob(ctx, j, jobEntry(&j, auditlog.Note, action, actor, map[string]any{"reason": reason, "to": j.State})); err != nil {
		return j, err
	}
	s.changed(id)
	return j, nil
}

func leased(j Job) error {
	e := fault.New(fault.Conflict, "stop job "+j.ID, "ask that process, or: freshet replay resume "+j.ID+" --take-over",
		"%s runs it until %s", j.Holder, j.LeaseUntil.Format(stream.TimeFormat))
	e.Code = "LEASED"
	return e
}

// Resume says how a job is to go on.
type Resume struct {
	TakeOver   bool          // from another holder, or after being fenced
	Rate       int64         // records/s, lower than before; 0: as before
	AcceptGaps []AcceptedGap // to be counted as lost
	Reason     string
}

// AcceptedGap is a gap of one partition that is accepted as lost.
type AcceptedGap struct {
	Partition int32
	Gap
}

// Resume goes on with a job that is paused, blocked or fenced. On a running one it can lower the rate.
func (s *Service) Resume(ctx context.Context, actor, id string, how Resume) (Job, error) {
	j, err := s.resume(ctx, actor, id, how)
	return j, asFault(err)
}

func (s *Service) resume(ctx context.Context, actor, id string, how Resume) (Job, error) {
	if r := s.here(id); r != nil {
		if !r.ending() {
			return s.resumeHere(ctx, actor, r, how)
		}
		if _, err := s.Wait(ctx, id); err != nil {
			return r.snapshot(), err
		}
	}
	j, err := s.o.Ledger.Job(ctx, id)
	if err != nil {
		return j, err
	}
	if j.State.Terminal() {
		e := fault.New(fault.Conflict, "resume job "+id, "make a new plan", "it is %s", j.State)
		e.Code = "BAD_STATE"
		return j, e
	}
	if j.State == JobFenced && !how.TakeOver {
		e := fault.New(fault.Conflict, "resume job "+id, "run: freshet replay resume "+id+" --take-over", "another runner took it over: %s", j.Reason)
		e.Code = "FENCED"
		return j, e
	}
	if j.Holder != "" && time.Now().Before(j.LeaseUntil) && !how.TakeOver {
		return j, leased(j)
	}
	if err := change(&j, how); err != nil {
		return j, err
	}
	e := jobEntry(&j, auditlog.Note, "replay.resume", actor, resumeDetail(how))
	if err := s.o.Ledger.UpdateJob(ctx, j, e); err != nil {
		return j, err
	}
	return s.launch(ctx, j.ID, actor, how.TakeOver, nil)
}

func (s *Service) resumeHere(ctx context.Context, actor string, r *jobRun, how Resume) (Job, error) {
	r.mu.Lock()
	err := change(&r.job, how)
	e := jobEntry(&r.job, auditlog.Note, "replay.resume", actor, resumeDetail(how))
	r.mu.Unlock()
	if err != nil {
		return r.snapshot(), err
	}
	if how.Rate > 0 {
		r.limiter.slow(how.Rate)
	}
	err = r.save(ctx, e)
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return r.snapshot(), err
}

func resumeDetail(how Resume) map[string]any {
	d := map[string]any{"reason": how.Reason, "take_over": how.TakeOver}
	if how.Rate > 0 {
		d["rate"] = strconv.FormatInt(how.Rate, 10)
	}
	for _, g := range how.AcceptGaps {
		d["accept_gap_"+strconv.Itoa(int(g.Partition))] = fmt.Sprintf("%d-%d", g.From, g.To)
	}
	return d
}

// ending reports whether the run was asked to end.
func (r *jobRun) ending() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wish != wishNone
}

// change puts what a person asks for into the job.
func change(j *Job, how Resume) error {
	if how.Rate < 0 || how.Rate > 0 && j.Rate > 0 && how.Rate > j.Rate {
		e := fault.New(fault.Invalid, "resume job "+j.ID, "make a new plan for a higher rate", "the rate is %d records/s and can only be lowered", j.Rate)
		e.Code = "RATE_RAISED"
		return e
	}
	for _, g := range how.AcceptGaps {
		i := slices.IndexFunc(j.Shards, func(s ShardState) bool { return s.Partition == g.Partition })
		if i < 0 || g.From >= g.To || g.From < j.Shards[i].Start || g.To > j.Shards[i].End {
			return fault.New(fault.Invalid, "resume job "+j.ID, "give PARTITION:FROM-TO as the job's reason names it", "no range of the job holds %d:%d-%d", g.Partition, g.From, g.To)
		}
	}
	if how.Rate > 0 {
		j.Rate = how.Rate
	}
	for _, g := range how.AcceptGaps {
		i := slices.IndexFunc(j.Shards, func(s ShardState) bool { return s.Partition == g.Partition })
		j.Shards[i].Accepted = append(slices.Clone(j.Shards[i].Accepted), g.Gap)
	}
	return nil
}

// JobView is a job as it is this moment.
type JobView struct {
	Job
	RecordsPerS float64
	ETA         *time.Duration // nil where it cannot be told
}

// Job returns a job, by id.
func (s *Service) Job(ctx context.Context, id string) (JobView, error) {
	r := s.here(id)
	if r == nil {
		j, err := s.o.Ledger.Job(ctx, id)
		return JobView{Job: j}, err
	}
	r.mu.Lock()
	r.total()
	r.rate.add(0, time.Now())
	v := JobView{RecordsPerS: r.rate.value}
	r.mu.Unlock()
	v.Job = r.snapshot()
	if left := remaining(&v.Job); v.RecordsPerS > 0 && v.State == JobRunning {
		eta := time.Duration(float64(left) / v.RecordsPerS * float64(time.Second))
		v.ETA = &eta
	}
	return v, nil
}

func remaining(j *Job) (n int64) {
	for _, s := range j.Shards {
		n += s.End - s.Next
	}
	return n
}

// Wait returns the job once it goes no further by itself: it is over, paused, fenced or needs a person.
func (s *Service) Wait(ctx context.Context, id string) (JobView, error) {
	for {
		if r := s.here(id); r != nil {
			select {
			case <-r.done:
			case <-ctx.Done():
			}
		}
		v, err := s.Job(ctx, id)
		if err != nil && ctx.Err() == nil {
			return v, err
		}
		if s.here(id) == nil && !v.State.Active() && !(v.State == JobBlocked && v.Blocked.Resumes()) && err == nil {
			return v, nil
		}
		// Another process has it, or it is about to be taken up.
		if sleep(ctx, nil, waitEvery) != nil {
			v, _ = s.Job(context.WithoutCancel(ctx), id)
			return v, fault.Wrap(fault.Timeout, "wait for job "+id, ctx.Err(), "the job goes on")
		}
	}
}

// Jobs lists the jobs, newest first.
func (s *Service) Jobs(ctx context.Context) ([]Job, error) {
	jobs, err := s.o.Ledger.Jobs(ctx)
	for i := range jobs {
		if r := s.here(jobs[i].ID); r != nil {
			jobs[i] = r.snapshot()
		}
	}
	return jobs, err
}

// Parked lists what a job set aside, newest first.
func (s *Service) Parked(ctx context.Context, id string, limit int) ([]Parked, error) {
	return s.o.Ledger.Parked(ctx, id, limit)
}

const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// ulid gives 26 characters that sort by time: 48 bits of milliseconds, 80 of chance.
func ulid(at time.Time) string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // never fails
	var out strings.Builder
	ms := at.UnixMilli()
	for shift := 45; shift >= 0; shift -= 5 {
		out.WriteByte(crockford[ms>>shift&31])
	}
	var bits uint
	var acc uint32
	for _, c := range b {
		acc, bits = acc<<8|uint32(c), bits+8
		for bits >= 5 {
			bits -= 5
			out.WriteByte(crockford[acc>>bits&31])
		}
	}
	return out.String()
}
