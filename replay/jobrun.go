package replay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"freshet/backend/auditlog"
	"freshet/backend/fault"
)

const (
	flushEvery  = 500 * time.Millisecond // progress in the ledger may lag that much behind the sink's
	resumeFirst = 5 * time.Second        // between looks at whether what blocked a job is gone
	resumeLast  = time.Minute
)

// wish is what a person, or the end of the process, asks of a job under way.
type wish int

const (
	wishNone wish = iota
	wishPause
	wishCancel
	wishLeave // leave it to the next process
)

// jobRun drives one job for as long as this process holds its lease.
type jobRun struct {
	s       *Service
	doc     Document
	limiter *limiter
	done    chan struct{} // closed when the run is over and off the service's list

	mu     sync.Mutex
	job    Job
	dirty  bool // counts or shards changed since they were stored
	wish   wish
	actor  string // who wished
	why    string
	stop   chan struct{} // closed with the first wish
	wake   chan struct{} // ends the wait of a blocked job
	halt   chan struct{} // closed to stop the shards of one round
	halted bool
	fenced error
	rate   meter
	canary int64         // records still to be written, by one shard alone, before the others start
	proven chan struct{} // closed when canary is 0

	target  Target     // set by preflight, as is topicID
	topicID [16]byte   // of the source
	saving  sync.Mutex // one UpdateJob at a time, in order
}

// meter measures records a second over the last few seconds.
type meter struct {
	at    time.Time
	count int64
	value float64
}

func (m *meter) add(n int64, now time.Time) {
	m.count += n
	if m.at.IsZero() {
		m.at = now
	}
	if d := now.Sub(m.at); d >= time.Second {
		m.value = float64(m.count) / d.Seconds()
		m.at, m.count = now, 0
	}
}

// ask makes a wish; a later one that is stronger replaces it.
func (r *jobRun) ask(w wish, actor, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wish == wishNone {
		close(r.stop)
	}
	if w > r.wish || w == wishCancel {
		r.wish, r.actor, r.why = w, actor, why
	}
}

func (r *jobRun) snapshot() Job {
	r.mu.Lock()
	defer r.mu.Unlock()
	j := r.job
	j.Shards = slices.Clone(j.Shards)
	return j
}

// save stores the job, with an entry where it has an Action.
func (r *jobRun) save(ctx context.Context, e auditlog.Entry) error {
	r.saving.Lock()
	defer r.saving.Unlock()
	r.mu.Lock()
	r.dirty = false
	r.total()
	r.job.Updated = time.Now().UTC()
	j := r.job
	j.Shards = slices.Clone(j.Shards)
	r.mu.Unlock()
	err := r.s.o.Ledger.UpdateJob(ctx, j, e)
	if err != nil {
		r.mu.Lock()
		r.dirty = true
		if fault.Is(err, fault.Conflict) && r.fenced == nil {
			r.fenced = err
		}
		r.mu.Unlock()
		return &ledgerError{err}
	}
	r.s.changed(j.ID)
	return nil
}

// total adds up the shards. The caller holds mu.
func (r *jobRun) total() {
	var c Counts
	for i := range r.job.Shards {
		c.Add(r.job.Shards[i].Counts)
	}
	r.job.Counts = c
}

// move changes the state and stores it with an entry that tells of it.
func (r *jobRun) move(ctx context.Context, to JobState, blocker Blocker, reason string) error {
	r.mu.Lock()
	from := r.job.State
	err := r.job.Move(to, reason)
	if err == nil {
		r.job.Blocked = blocker
	}
	r.mu.Unlock()
	if err != nil {
		return err
	}
	return r.save(ctx, r.entry(auditlog.Note, "replay.state", map[string]any{"from": from, "to": to, "reason": reason, "blocked": blocker}))
}

// entry is an audit entry about the job, with what every one of them says.
func (r *jobRun) entry(phase auditlog.Phase, action string, detail map[string]any) auditlog.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return jobEntry(&r.job, phase, action, "system", detail)
}

func jobEntry(j *Job, phase auditlog.Phase, action, actor string, detail map[string]any) auditlog.Entry {
	if detail == nil {
		detail = map[string]any{}
	}
	for k, v := range detail {
		switch v := v.(type) {
		case string:
			if v == "" {
				delete(detail, k)
			}
		case Blocker:
			if v == "" {
				delete(detail, k)
			}
		}
	}
	detail["plan_hash"], detail["epoch"] = j.PlanHash, fmt.Sprint(j.Epoch)
	e := auditlog.Entry{Actor: actor, Action: action, Phase: phase, Subject: j.ID, Detail: mustJSON(detail)}
	return e
}

func mustJSON(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // only values of our own making come here
	}
	return b
}

// close ends the epoch's intent.
func (r *jobRun) close(ctx context.Context, outcome string) error {
	e := r.entry(auditlog.Result, "replay.execute", map[string]any{"counts": r.counts()})
	r.mu.Lock()
	e.Ref, e.Outcome = &r.job.Intent, outcome
	r.job.Holder, r.job.LeaseUntil = "", time.Time{}
	r.mu.Unlock()
	return r.save(ctx, e)
}

func (r *jobRun) counts() Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total()
	return r.job.Counts
}

// run drives the job until it is over, stopped, blocked for a person, or fenced. ctx ends with the service.
func (r *jobRun) run(ctx context.Context) {
	keeping, stopKeeping := context.WithCancel(context.WithoutCancel(ctx))
	var keeper sync.WaitGroup
	keeper.Go(func() { r.keep(keeping) })
	for n := 0; ; n++ {
		seen := r.counts().Seen
		if !r.round(ctx, n) {
			break
		}
		if r.counts().Seen > seen {
			n = 0
		}
	}
	stopKeeping()
	keeper.Wait()
}

// round is one way from PREFLIGHT to a state that the job stays in. It reports whether to go on with another one, as
// when what blocked the job can pass by itself.
func (r *jobRun) round(ctx context.Context, n int) (again bool) {
	err := r.attempt(ctx)
	r.mu.Lock()
	wish, actor, why, fenced := r.wish, r.actor, r.why, r.fenced
	r.mu.Unlock()
	// What has happened is written down even while the service ends.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	state := r.snapshot().State
	switch {
	case fenced != nil: // the ledger is another runner's now
		r.mu.Lock()
		r.job.State, r.job.Reason = JobFenced, fenced.Error()
		r.mu.Unlock()
		r.s.log.Warn("replay job taken over by another runner", "job", r.job.ID, "err", fenced)
	case err == nil:
	case wish == wishLeave:
		r.report(r.close(ctx, "interrupted"))
	case wish == wishPause && state.CanMove(JobPaused):
		r.report(r.move(ctx, JobPaused, "", why))
		r.report(r.close(ctx, "interrupted"))
	case wish == wishPause && state.CanMove(JobPausing):
		r.report(r.through(ctx, JobPausing, actor, why, "replay.pause"))
		r.report(r.move(ctx, JobPaused, "", why))
		r.report(r.close(ctx, "interrupted"))
	case wish == wishCancel:
		if state != JobCancelling {
			r.report(r.through(ctx, JobCancelling, actor, why, "replay.cancel"))
		}
		r.mu.Lock()
		r.job.Outcome = OutcomeCancelled
		r.mu.Unlock()
		r.report(r.move(ctx, JobCancelled, "", why))
		r.report(r.close(ctx, "interrupted"))
	default:
		return r.blocked(ctx, err, n)
	}
	return false
}

// through moves the job where a person wants it.
func (r *jobRun) through(ctx context.Context, state JobState, actor, why, action string) error {
	r.mu.Lock()
	err := r.job.Move(state, why)
	e := jobEntry(&r.job, auditlog.Note, action, actor, map[string]any{"reason": why})
	r.mu.Unlock()
	if err != nil {
		return err
	}
	return r.save(ctx, e)
}

// blocked puts the job into BLOCKED, or FAILED where the plan itself is not what was approved.
func (r *jobRun) blocked(ctx context.Context, err error, n int) (again bool) {
	if fault.Is(err, fault.Tampered) {
		r.mu.Lock()
		r.job.Outcome = OutcomeFailed
		r.mu.Unlock()
		r.report(r.move(ctx, JobFailed, "", err.Error()))
		r.report(r.close(ctx, "failed"))
		return false
	}
	b, _, fenced := verdict(err)
	if fenced {
		r.report(r.move(ctx, JobFenced, "", err.Error()))
		r.report(r.close(ctx, "interrupted"))
		return false
	}
	r.s.log.Warn("replay job blocked", "job", r.job.ID, "rule", b, "err", err)
	r.report(r.move(ctx, JobBlocked, b, string(b)+": "+err.Error()))
	if !b.Resumes() {
		r.report(r.close(ctx, "failed"))
		return false
	}
	for ; ; n++ {
		t := time.NewTimer(min(resumeFirst<<min(n, 8), resumeLast))
		select {
		case <-t.C:
		case <-r.wake:
			t.Stop()
			return true
		case <-r.stop: // the next round serves the wish
			t.Stop()
			return true
		}
		if r.passed(b) {
			return true
		}
	}
}

// passed looks whether what blocked the job is gone, without a word in the history.
func (r *jobRun) passed(b Blocker) bool {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	defer stopWith(ctx, r.stop, cancel)()
	switch b {
	case BlockSinkDown:
		return r.s.testSink(ctx, r.job.Sink) == nil
	case BlockSourceDown:
		c, err := r.s.o.Clusters.Cluster(ctx, r.job.Cluster)
		if err == nil {
			_, err = c.Source.Topic(ctx, r.job.Topic)
		}
		return err == nil
	}
	return true
}

// report logs what could not be written down. The lease ends by itself, and the job is taken up again from the sink.
func (r *jobRun) report(err error) {
	if err != nil {
		r.s.log.Error("replay job state not stored", "job", r.job.ID, "err", err)
	}
}

// keep renews the lease and stores progress until ctx ends.
func (r *jobRun) keep(ctx context.Context) {
	flush := time.NewTicker(flushEvery)
	defer flush.Stop()
	renewed := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-flush.C:
		}
		r.mu.Lock()
		dirty, id, epoch := r.dirty, r.job.ID, r.job.Epoch
		r.mu.Unlock()
		if dirty {
			if err := r.save(ctx, auditlog.Entry{}); err != nil && ctx.Err() == nil {
				r.s.log.Warn("replay progress not stored", "job", id, "err", err)
			}
		}
		if time.Since(renewed) >= r.s.o.Lease/3 {
			if err := r.s.o.Ledger.RenewJob(ctx, id, epoch, r.s.o.Lease); fault.Is(err, fault.Conflict) {
				r.mu.Lock()
				if r.fenced == nil {
					r.fenced = err
				}
				r.mu.Unlock()
			} else if err == nil {
				renewed = time.Now()
			}
		}
		r.mu.Lock()
		if r.fenced != nil {
			r.haltLocked()
		}
		r.mu.Unlock()
	}
}

// haltLocked stops the shards of the round. The caller holds mu.
func (r *jobRun) haltLocked() {
	if !r.halted {
		r.halted = true
		close(r.halt)
	}
}

func (r *jobRun) isHalted() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.halted
}

// attempt runs the job once: preflight, shards, verification. nil means COMPLETED.
func (r *jobRun) attempt(ctx context.Context) error {
	r.mu.Lock()
	r.halt, r.halted = make(chan struct{}), false
	wish := r.wish
	r.mu.Unlock()
	if wish != wishNone {
		return errStopped
	}
	// quick ends with a wish; the shards have the grace.
	quick, cancel := context.WithCancel(ctx)
	defer cancel()
	defer stopWith(quick, r.stop, func() {
		r.mu.Lock()
		r.haltLocked()
		r.mu.Unlock()
		cancel()
	})()

	if err := r.move(ctx, JobPreflight, "", ""); err != nil {
		return err
	}
	cluster, sink, shape, err := r.preflight(quick)
	if err != nil {
		return err
	}
	defer func() {
		if err := sink.Close(); err != nil {
			r.s.log.Warn("close the sink", "job", r.job.ID, "err", err)
		}
	}()
	r.mu.Lock()
	if r.job.Started.IsZero() {
		r.job.Started = time.Now().UTC()
	}
	counts := r.job.Counts
	r.canary = max(0, r.doc.Plan.Rate.CanaryRecords-counts.Written-counts.DLQ)
	r.proven = make(chan struct{})
	if r.canary == 0 {
		close(r.proven)
	}
	r.mu.Unlock()
	if err := r.move(ctx, JobRunning, "", ""); err != nil {
		return err
	}
	if err := r.shards(ctx, cluster.Source, sink, shape); err != nil {
		return err
	}
	if err := r.move(ctx, JobDraining, "", ""); err != nil {
		return err
	}
	if err := r.move(ctx, JobVerifying, "", ""); err != nil {
		return err
	}
	if err := r.verify(quick, sink); err != nil {
		return err
	}
	r.mu.Lock()
	r.total()
	if r.job.Outcome = OutcomeClean; !r.job.Counts.Clean() {
		r.job.Outcome = OutcomeExceptions
	}
	r.mu.Unlock()
	if err := r.move(ctx, JobCompleted, "", ""); err != nil {
		return err
	}
	r.report(r.close(context.WithoutCancel(ctx), "done"))
	return nil
}

// preflight checks that the plan is what was approved, and the world what the plan was made for.
func (r *jobRun) preflight(ctx context.Context) (Cluster, Sink, *shape, error) {
	var none Cluster
	job := r.snapshot()
	stored, err := r.s.o.Ledger.Plan(ctx, job.PlanHash)
	if err != nil {
		return none, nil, nil, &ledgerError{err}
	}
	doc, err := reread(stored, job.PlanHash)
	if err != nil {
		return none, nil, nil, err
	}
	r.doc = doc
	next := map[int32]int64{}
	var accepted []Gap
	for _, s := range job.Shards {
		next[s.Partition] = s.Next
		accepted = append(accepted, s.Accepted...)
	}
	w, err := r.s.inspect(ctx, &doc.Plan)
	if err != nil {
		return none, nil, nil, err
	}
	if drift := w.drift(&doc.Plan, next, doc.Plan.Limits.AcceptGaps || len(accepted) > 0); len(drift) > 0 {
		blocker := BlockDrift
		if drift[0].What == "log_start" {
			blocker = BlockGap
		}
		return none, nil, nil, &stopError{blocker, driftFault(drift)}
	}
	shape, err := r.s.shapeOf(&doc.Plan, w.cluster, w.target)
	if err != nil {
		return none, nil, nil, &stopError{BlockFilter, err}
	}
	sink, err := r.s.o.Targets.Open(ctx, doc.Plan.Sink.Name())
	if err != nil {
		return none, nil, nil, err
	}
	if _, err := sink.Test(ctx); err != nil {
		return none, nil, nil, errors.Join(err, sink.Close())
	}
	r.target, r.topicID = w.target, w.topic.ID // which is the plan's: there is no drift
	r.limiter.limitBytes(doc.Plan.Rate.BytesPerS)
	return w.cluster, sink, shape, nil
}

// reread parses the stored plan and holds it against the hash that was approved.
func reread(stored StoredPlan, hash string) (Document, error) {
	doc, err := ParsePlan(stored.Document)
	if err == nil && doc.Hash == hash && string(doc.Bytes) == string(stored.Document) {
		return doc, nil
	}
	e := fault.New(fault.Tampered, "read plan "+stored.ID, "run: freshet audit verify",
		"the stored document is not what its hash names: %v", err)
	e.Code = "PLAN_TAMPERED"
	return Document{}, e
}

// shards runs every shard that has not reached its end, some at a time, and returns the worst that happened.
func (r *jobRun) shards(ctx context.Context, source Source, sink Sink, shape *shape) error {
	job := r.snapshot()
	stopAll := r.doc.Plan.Order.OnShardBlock == "stop_all"
	free := make(chan struct{}, r.s.o.Parallel)
	errs := make([]error, len(job.Shards))
	var wait sync.WaitGroup
	ended := make(chan struct{}, len(job.Shards))
	for i := range job.Shards {
		if i > 0 {
			select {
			case <-r.proven:
			case <-ended: // the shard that ran alone
			case <-r.halt:
			}
		}
		select {
		case free <- struct{}{}:
		case <-r.halt:
		}
		if r.isHalted() {
			errs[i] = errStopped
			continue
		}
		wait.Go(func() {
			defer func() { <-free; ended <- struct{}{} }()
			errs[i] = r.shard(ctx, i, source, sink, shape)
			if errs[i] == nil || errs[i] == errStopped {
				return
			}
			_, _, fenced := verdict(errs[i])
			r.mu.Lock()
			if stopAll || fenced || r.canary > 0 {
				r.haltLocked()
			}
			r.mu.Unlock()
		})
	}
	wait.Wait()
	return worst(errs)
}

// worst picks the error that decides: being fenced, then a rule that needs a person, then one that can pass, then a stop.
func worst(errs []error) error {
	rank := func(err error) int {
		if err == nil {
			return 0
		}
		if errors.Is(err, errStopped) || errors.Is(err, context.Canceled) {
			return 1
		}
		switch b, _, fenced := verdict(err); {
		case fenced:
			return 4
		case b.Resumes():
			return 2
		}
		return 3
	}
	return slices.MaxFunc(append(errs, nil), func(a, b error) int { return rank(a) - rank(b) })
}

// shard runs one shard to its end, trying again what can pass.
func (r *jobRun) shard(ctx context.Context, i int, source Source, sink Sink, sh *shape) error {
	st := r.snapshot().Shards[i]
	own := *sh
	own.skip = map[int64]bool{}
	h := &jobShard{r: r, i: i, source: source, shape: &own}
	d := &drive{
		source: source, sink: sink, shape: &own, hooks: h, end: st.End,
		shard:    r.sinkShard(&st),
		maxItems: r.s.o.BatchRecords, maxBytes: r.s.o.BatchBytes, linger: r.s.o.Linger, grace: r.s.o.Grace,
	}
	if n := r.doc.Plan.Sink.BatchRows; n > 0 {
		d.maxItems = int(min(n, int64(d.maxItems)))
	}
	if n := r.doc.Plan.Rate.BytesPerS; n > 0 {
		d.maxBytes = min(d.maxBytes, max(1, n/4))
	}
	if err := h.load(ctx); err != nil {
		return err
	}
	for n := 0; ; n++ {
		r.phase(i, ShardRunning, "", "")
		before := r.snapshot().Shards[i].Next
		err := d.attempt(ctx, r.halt)
		if err == nil {
			r.phase(i, ShardEndReached, "", "")
			return nil
		}
		if err == errStopped || ctx.Err() != nil {
			r.phase(i, ShardWaiting, "", "")
			return errStopped
		}
		b, again, fenced := verdict(err)
		if fenced {
			return err
		}
		if r.snapshot().Shards[i].Next > before {
			n = 0
		}
		r.phase(i, ShardHeld, b, err.Error())
		if !again || int64(n+1) >= r.doc.Plan.Retry.MaxAttempts {
			return err
		}
		r.s.log.Info("replay shard tries again", "job", r.job.ID, "shard", st.Partition, "rule", b, "attempt", n+1, "err", err)
		if err := sleep(ctx, r.halt, backoff(n)); err != nil {
			return errStopped
		}
	}
}

// sinkShard is a shard as sinks know it.
func (r *jobRun) sinkShard(s *ShardState) Shard {
	p := &r.doc.Plan
	return Shard{Owner: r.job.ID, Epoch: r.job.Epoch, Topic: p.Source.Topic, TopicID: r.topicID, Partition: s.Partition,
		Partitions: int32(p.Source.Partitions), Start: s.Start, Target: r.job.Target, Nonce: p.Nonce}
}

func (r *jobRun) phase(i int, p ShardPhase, b Blocker, reason string) {
	r.mu.Lock()
	s := &r.job.Shards[i]
	s.State, s.Blocked, s.Reason = p, b, reason
	r.dirty = true
	r.mu.Unlock()
	r.s.changed(r.job.ID)
}

// idempotent reports whether what is sent twice under one key has one effect.
func (r *jobRun) idempotent() bool { return r.doc.Plan.Sink.Receiver == receiverIdempotent }

// verify asks the sink once more how far each shard has got and holds the counts against the range.
func (r *jobRun) verify(ctx context.Context, sink Sink) error {
	job := r.snapshot()
	for i := range job.Shards {
		s := &job.Shards[i]
		w, err := sink.Open(ctx, r.sinkShard(s))
		if err != nil {
			return err
		}
		p := w.Progress()
		if err := w.Close(ctx); err != nil {
			return err
		}
		if !p.None && p.Next != s.End || s.Next != s.End || !s.Counts.Closes() {
			return &stopError{BlockMismatch, fault.New(fault.Blocked, "verify "+job.ID, "compare the sink with the range, then cancel the job",
				"partition %d: the sink is at %d, the ledger at %d, the range ends at %d, counts %s", s.Partition, p.Next, s.Next, s.End, s.Counts)}
		}
	}
	return nil
}

// String gives the terms of the count equation.
func (c Counts) String() string {
	return fmt.Sprintf("offsets %d = seen %d (written %d, filtered %d, dlq %d, in doubt %d) + control %d + aborted %d + compacted %d + lost %d",
		c.Offsets, c.Seen, c.Written, c.Filtered, c.DLQ, c.InDoubt, c.Control, c.Aborted, c.Compacted, c.Lost)
}
