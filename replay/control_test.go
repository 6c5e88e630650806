package replay_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/replay"
)

// The state machines as replay.md-like tables: what may follow what, and nothing else.
func TestJobMoves(t *testing.T) {
	states := []replay.JobState{replay.JobCreated, replay.JobPreflight, replay.JobRunning, replay.JobPausing, replay.JobPaused, replay.JobBlocked,
		replay.JobDraining, replay.JobVerifying, replay.JobCompleted, replay.JobCancelling, replay.JobCancelled, replay.JobFenced, replay.JobFailed}
	may := map[replay.JobState]string{
		replay.JobCreated:    "PREFLIGHT PAUSED CANCELLED",
		replay.JobPreflight:  "PREFLIGHT RUNNING BLOCKED FAILED PAUSED CANCELLING FENCED",
		replay.JobRunning:    "PREFLIGHT PAUSING BLOCKED CANCELLING DRAINING FENCED FAILED",
		replay.JobPausing:    "PAUSED PREFLIGHT CANCELLING BLOCKED FENCED DRAINING FAILED",
		replay.JobPaused:     "PREFLIGHT CANCELLING",
		replay.JobBlocked:    "PREFLIGHT PAUSED CANCELLING FENCED FAILED",
		replay.JobDraining:   "PREFLIGHT VERIFYING BLOCKED CANCELLING FENCED",
		replay.JobVerifying:  "PREFLIGHT COMPLETED BLOCKED CANCELLING FENCED",
		replay.JobCancelling: "CANCELLED FENCED",
		replay.JobFenced:     "PREFLIGHT CANCELLING",
	}
	for _, from := range states {
		for _, to := range states {
			want := slices.Contains(strings.Fields(may[from]), string(to))
			j := replay.Job{ID: "jb_1", State: from, Blocked: replay.BlockGap}
			err := j.Move(to, "why")
			if from.CanMove(to) != want || (err == nil) != want {
				t.Errorf("%s to %s: may %v, moved %v; want %v", from, to, from.CanMove(to), err, want)
			}
			switch {
			case err != nil && (j.State != from || !fault.Is(err, fault.Conflict)):
				t.Errorf("%s to %s was refused with %v and left it %s", from, to, err, j.State)
			case err == nil && (j.State != to || j.Reason != "why" || (to != replay.JobBlocked) != (j.Blocked == "")):
				t.Errorf("%s to %s: %+v", from, to, j)
			}
		}
		if from.Terminal() != (may[from] == "") {
			t.Errorf("%s: terminal %v", from, from.Terminal())
		}
		if from.Terminal() && from.Active() {
			t.Errorf("%s is over and active", from)
		}
	}
}

func TestPlanMoves(t *testing.T) {
	states := []replay.PlanState{replay.PlanPlanned, replay.PlanDryRun, replay.PlanReady, replay.PlanAwaiting, replay.PlanApproved, replay.PlanConsumed,
		replay.PlanRejected, replay.PlanWithdrawn, replay.PlanExpired, replay.PlanSuperseded, replay.PlanInvalid, replay.PlanRevoked}
	may := map[replay.PlanState]string{
		replay.PlanPlanned:  "DRY_RUN AWAITING APPROVED REJECTED WITHDRAWN SUPERSEDED EXPIRED INVALID CONSUMED",
		replay.PlanDryRun:   "READY PLANNED",
		replay.PlanReady:    "DRY_RUN AWAITING APPROVED REJECTED WITHDRAWN SUPERSEDED EXPIRED INVALID CONSUMED",
		replay.PlanAwaiting: "AWAITING APPROVED REJECTED WITHDRAWN EXPIRED",
		replay.PlanApproved: "CONSUMED INVALID EXPIRED REVOKED WITHDRAWN",
	}
	for _, from := range states {
		for _, to := range states {
			want := slices.Contains(strings.Fields(may[from]), string(to))
			p := replay.StoredPlan{State: from}
			if err := p.Move(to, ""); (err == nil) != want || from.CanMove(to) != want {
				t.Errorf("%s to %s: %v; want %v", from, to, err, want)
			}
		}
	}
}

func TestPauseResumeCancel(t *testing.T) {
	b := newBench(t, 2000)
	b.options.Linger = time.Microsecond
	d := b.all()
	d.Rate = 200
	b.start()
	p := b.approved(d)
	j := b.run(p)
	b.until(j.ID, func(j replay.Job) bool { return j.Counts.Written > 0 })
	if _, err := b.service.Pause(b.ctx(), "ana", j.ID, "lunch"); err != nil {
		t.Fatal(err)
	}
	j = b.wait(j.ID)
	if j.State != replay.JobPaused || j.Reason != "lunch" || j.Holder != "" || j.Counts.Written == 0 || j.Counts.Written == 2000 {
		t.Fatalf("%s (%s), holder %q, %v", j.State, j.Reason, j.Holder, j.Counts)
	}
	if n := int64(len(b.sink.Records())); n != j.Counts.Written {
		t.Errorf("%d at the sink, %d counted", n, j.Counts.Written)
	}
	again, err := b.service.Pause(b.ctx(), "ana", j.ID, "")
	if err != nil || again.State != replay.JobPaused {
		t.Errorf("pausing what is paused: %s, %v", again.State, err)
	}
	if j, err := b.service.Run(b.ctx(), "ana", p.ID, false); err != nil || j.State != replay.JobPaused {
		t.Errorf("run does not resume: %s, %v", j.State, err)
	}
	_, err = b.service.Resume(b.ctx(), "ana", j.ID, replay.Resume{Rate: 300})
	kindIs(t, err, fault.Invalid, "RATE_RAISED")
	if j, err = b.service.Resume(b.ctx(), "ana", j.ID, replay.Resume{Rate: 100}); err != nil || j.Rate != 100 {
		t.Fatalf("resume: %v, %d/s", err, j.Rate)
	}
	b.until(j.ID, func(v replay.Job) bool { return v.State == replay.JobRunning && v.Counts.Written > j.Counts.Written })
	if _, err := b.service.Cancel(b.ctx(), "ana", j.ID, "enough"); err != nil {
		t.Fatal(err)
	}
	j = b.wait(j.ID)
	if j.State != replay.JobCancelled || j.Outcome != replay.OutcomeCancelled || j.Reason != "enough" {
		t.Errorf("%s %s (%s)", j.State, j.Outcome, j.Reason)
	}
	for _, f := range []func() (replay.Job, error){
		func() (replay.Job, error) { return b.service.Resume(b.ctx(), "ana", j.ID, replay.Resume{}) },
		func() (replay.Job, error) { return b.service.Pause(b.ctx(), "ana", j.ID, "") },
	} {
		_, err := f()
		kindIs(t, err, fault.Conflict, "BAD_STATE")
	}
	b.wantOnce(int(j.Counts.Written))
	b.wantAudit()
}

func TestCancelPaused(t *testing.T) {
	b := newBench(t, 2000)
	d := b.all()
	d.Rate = 50
	b.start()
	p := b.approved(d)
	j := b.run(p)
	if _, err := b.service.Pause(b.ctx(), "ana", j.ID, ""); err != nil {
		t.Fatal(err)
	}
	if j = b.wait(j.ID); j.State != replay.JobPaused {
		t.Fatal(j.State)
	}
	if j, err := b.service.Cancel(b.ctx(), "ana", j.ID, ""); err != nil || j.State != replay.JobCancelled {
		t.Errorf("%s, %v", j.State, err)
	}
	_, err := b.service.Run(b.ctx(), "ana", p.ID, false)
	kindIs(t, err, fault.Conflict, "PLAN_CONSUMED")
}

// A graceful end leaves the job to the next process, which goes on at once.
func TestRestart(t *testing.T) {
	b := newBench(t, 2000)
	d := b.all()
	d.Rate = 2000
	b.start()
	j := b.run(b.approved(d))
	b.until(j.ID, func(j replay.Job) bool { return j.Counts.Written > 0 })
	b.stop()
	j, err := b.ledger.Job(b.ctx(), j.ID)
	if err != nil || j.State != replay.JobRunning || j.Holder != "" {
		t.Fatalf("%s, holder %q, %v", j.State, j.Holder, err)
	}
	b.options.Holder = "two"
	b.start()
	j = b.wait(j.ID)
	b.wantDone(j, replay.OutcomeClean, 2000)
	if j.Epoch != 2 {
		t.Errorf("epoch %d", j.Epoch)
	}
}

func TestGap(t *testing.T) {
	b := newBench(t, 400)
	b.options.BatchRecords = 10
	var truncated atomic.Bool
	b.log.Batch = 10
	b.log.Reading = func(_ string, p int32, from int64) error {
		if p == 2 && from == 50 && !truncated.Swap(true) {
			b.log.Truncate("orders", 2, 60)
		}
		return nil
	}
	b.start()
	j := b.wait(b.run(b.approved(b.all())).ID)
	if j.State != replay.JobBlocked || j.Blocked != replay.BlockGap || !strings.Contains(j.Reason, "50 to 59") {
		t.Fatalf("%s (%s): %s", j.State, j.Blocked, j.Reason)
	}
	if s := j.Shards[1]; s.State != replay.ShardEndReached { // the others went on
		t.Errorf("shard 1 is %s", s.State)
	}
	_, err := b.service.Resume(b.ctx(), "ana", j.ID, replay.Resume{AcceptGaps: []replay.AcceptedGap{{Partition: 2, Gap: replay.Gap{From: 50, To: 500}}}})
	if !fault.Is(err, fault.Invalid) {
		t.Errorf("a gap outside the range: %v", err)
	}
	if _, err = b.service.Resume(b.ctx(), "ana", j.ID, replay.Resume{}); err != nil {
		t.Fatal(err)
	}
	if j = b.wait(j.ID); j.State != replay.JobBlocked || j.Blocked != replay.BlockGap {
		t.Fatalf("without accepting: %s (%s): %s", j.State, j.Blocked, j.Reason)
	}
	if _, err = b.service.Resume(b.ctx(), "ana", j.ID, replay.Resume{AcceptGaps: []replay.AcceptedGap{{Partition: 2, Gap: replay.Gap{From: 50, To: 60}}}}); err != nil {
		t.Fatal(err)
	}
	j = b.wait(j.ID)
	b.wantDone(j, replay.OutcomeExceptions, 390)
	if j.Counts.Lost != 10 {
		t.Errorf("%v", j.Counts)
	}
}

func TestLimitsAndPolicies(t *testing.T) {
	poison := func(b *bench) { b.log.Append("orders", 3, stream.Record{Time: base, Value: []byte("poison")}) }
	none := int64(0)
	for _, c := range []struct {
		name    string
		world   func(*bench)
		edit    func(*replay.Draft)
		blocked replay.Blocker
	}{
		{"filter fails, stop", poison, func(d *replay.Draft) { d.Filter = "value.id >= 0" }, replay.BlockFilter},
		{"too many set aside", poison, func(d *replay.Draft) {
			d.Filter, d.OnError, d.MaxDLQ = "value.id >= 0", replay.OnErrorDLQ, &none
		}, replay.BlockDLQ},
		{"filter fails, drop", poison, func(d *replay.Draft) { d.Filter, d.OnError = "value.id >= 0", replay.OnErrorDrop }, ""},
		{"too many selected", func(*bench) {}, func(d *replay.Draft) { d.MaxRecords = 300 }, replay.BlockRecords},
		{"refused among the first", func(b *bench) {
			b.sink.Refuse = func(it *replay.Item) string {
				if it.Record.Offset == 3 {
					return "no such column"
				}
				return ""
			}
		}, func(d *replay.Draft) { d.Canary = 10 }, replay.BlockCanary},
		{"the first are well", func(*bench) {}, func(d *replay.Draft) { d.Canary = 150 }, ""},
		{"schema", func(b *bench) {
			b.sink.Committing = func(context.Context, replay.Shard, replay.Write) error {
				return fault.New(fault.Invalid, "write", "", "column gone")
			}
		}, func(*replay.Draft) {}, replay.BlockSchema},
		{"schema, by its code", func(b *bench) {
			b.sink.Committing = func(context.Context, replay.Shard, replay.Write) error {
				return &fault.Error{Kind: fault.Blocked, Code: "SCHEMA", Op: "write", Err: fmt.Errorf("too long")}
			}
		}, func(*replay.Draft) {}, replay.BlockSchema},
		{"somebody moved the progress, once", func(b *bench) {
			var moved atomic.Bool
			b.sink.Committing = func(context.Context, replay.Shard, replay.Write) error {
				if !moved.Swap(true) {
					return &fault.Error{Kind: fault.Conflict, Code: "PROGRESS_MOVED", Op: "write", Err: fmt.Errorf("elsewhere")}
				}
				return nil
			}
		}, func(*replay.Draft) {}, ""},
		{"not let in", func(b *bench) {
			b.sink.Committing = func(context.Context, replay.Shard, replay.Write) error {
				return fault.New(fault.Denied, "write", "", "password")
			}
		}, func(*replay.Draft) {}, replay.BlockSinkAuth},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, 400)
			c.world(b)
			b.start()
			d := b.all()
			c.edit(&d)
			j := b.wait(b.run(b.approved(d)).ID)
			if c.blocked == "" {
				b.wantDone(j, replay.OutcomeClean, 400)
				return
			}
			if j.State != replay.JobBlocked || j.Blocked != c.blocked || j.Reason == "" {
				t.Errorf("%s (%s): %s", j.State, j.Blocked, j.Reason)
			}
			if c.blocked == replay.BlockCanary {
				if n := len(b.sink.Records()); n > 10 {
					t.Errorf("%d records of a canary of 10", n)
				}
			}
			b.wantAudit()
		})
	}
}

// stop_all stops the other shards, continue_others does not.
func TestOnShardBlock(t *testing.T) {
	for _, policy := range []string{"stop_all", "continue_others"} {
		b := newBench(t, 4000)
		b.log.Append("orders", 0, stream.Record{Value: []byte(`{}`)})
		b.sink.Committing = func(ctx context.Context, s replay.Shard, w replay.Write) error {
			if s.Partition == 0 {
				return fault.New(fault.Blocked, "write", "", "no")
			}
			if policy == "stop_all" && w.Next > 100 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		b.options.Grace = time.Millisecond
		b.start()
		p := b.plan(b.all())
		doc, err := replay.ParsePlan(p.Document)
		if err != nil {
			t.Fatal(err)
		}
		doc.Plan.Order.OnShardBlock, doc.Plan.Title = policy, policy
		if doc, err = doc.Plan.Freeze(); err != nil {
			t.Fatal(err)
		}
		j := b.wait(b.run(b.approved(replay.Draft{Document: doc.Bytes})).ID)
		if j.State != replay.JobBlocked || j.Blocked != replay.BlockSink {
			t.Errorf("%s: %s (%s) %s", policy, j.State, j.Blocked, j.Reason)
		}
		if got := j.Shards[3].State == replay.ShardEndReached; got != (policy == "continue_others") {
			t.Errorf("%s: shard 3 is %s", policy, j.Shards[3].State)
		}
	}
}

// An outage that outlasts the attempts blocks the job, which goes on by itself when the sink is back; and the ledger's
// disk being full is an outage too: nothing is sent that cannot be written down.
func TestOutages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 400)
		var down atomic.Bool
		down.Store(true)
		b.sink.Committing = func(context.Context, replay.Shard, replay.Write) error {
			if down.Load() {
				return fault.New(fault.Unavailable, "commit", "", "connection refused")
			}
			return nil
		}
		b.start()
		j := b.run(b.approved(b.all()))
		j = b.until(j.ID, func(j replay.Job) bool { return j.State == replay.JobBlocked })
		if j.Blocked != replay.BlockSinkDown || !strings.Contains(j.Reason, "connection refused") {
			t.Errorf("%s: %s", j.Blocked, j.Reason)
		}
		down.Store(false)
		v, err := b.service.Wait(context.Background(), j.ID)
		if err != nil {
			t.Fatal(err)
		}
		b.wantDone(v.Job, replay.OutcomeClean, 400)
		b.stop()
	})
	synctest.Test(t, func(t *testing.T) {
		b, e := endpointBench(t, 40, true)
		var full atomic.Bool
		b.start()
		d := b.all()
		d.Target = ""
		p := b.approved(d)
		b.ledger.Fail = func(action string) error {
			if full.Load() {
				return &fault.Error{Kind: fault.Unavailable, Code: "DISK_FULL", Op: "write the ledger", Err: fmt.Errorf("no space left")}
			}
			return nil
		}
		e.Answering = func(*replay.Item) error {
			full.Store(true)
			return nil
		}
		j := b.run(p)
		b.until(j.ID, func(j replay.Job) bool { return j.State == replay.JobBlocked && j.Blocked == replay.BlockDisk })
		sent := len(e.Calls())
		if sent > 16 { // one batch of each shard
			t.Errorf("%d records were sent without a word in the ledger", sent)
		}
		e.Answering = nil
		full.Store(false)
		v, err := b.service.Wait(context.Background(), j.ID)
		if err != nil || v.State != replay.JobCompleted || len(e.Calls()) != 40 {
			t.Errorf("%s: %s, %d sent, %v", v.State, v.Reason, len(e.Calls()), err)
		}
		b.stop()
	})
}

// T35: the rate is kept, evenly, and tokens are waited for before the sink is touched.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1000)
		var open atomic.Int32
		b.sink.Committing = func(context.Context, replay.Shard, replay.Write) error {
			open.Add(1)
			return nil
		}
		b.start()
		d := b.all()
		d.Rate = 100
		began := time.Now()
		j := b.run(b.approved(d))
		time.Sleep(5 * time.Second)
		if n := len(b.sink.Records()); n < 350 || n > 501 {
			t.Errorf("%d records after 5 s at 100/s", n)
		}
		v, err := b.service.Wait(context.Background(), j.ID)
		if err != nil {
			t.Fatal(err)
		}
		b.wantDone(v.Job, replay.OutcomeClean, 1000)
		if took := time.Since(began); took < 9900*time.Millisecond || took > 13*time.Second {
			t.Errorf("1000 records at 100/s took %v", took)
		}
		b.stop()
	})
}

// T29: what is written moves in order: a shard never has a batch at the sink while an earlier one is undecided.
func TestOneBatchAtATime(t *testing.T) {
	b := newBench(t, 800)
	var at [4]atomic.Int32
	var next [4]atomic.Int64
	b.sink.Committing = func(_ context.Context, s replay.Shard, w replay.Write) error {
		if at[s.Partition].Add(1) != 1 {
			t.Errorf("two batches of partition %d at once", s.Partition)
		}
		if len(w.Items) > 0 && w.Items[0].Record.Offset != next[s.Partition].Load() {
			t.Errorf("partition %d: offset %d written with progress at %d", s.Partition, w.Items[0].Record.Offset, next[s.Partition].Load())
		}
		return nil
	}
	b.sink.Committed = func(_ context.Context, s replay.Shard, w replay.Write) error {
		next[s.Partition].Store(w.Next)
		at[s.Partition].Add(-1)
		return nil
	}
	b.start()
	b.wantDone(b.wait(b.run(b.approved(b.all())).ID), replay.OutcomeClean, 800)
}

// T12-like: a batch that fails is not there in part, and progress has not moved.
func TestFailedBatchLeavesNothing(t *testing.T) {
	b := newBench(t, 400)
	var failed atomic.Int32
	b.sink.Committing = func(_ context.Context, s replay.Shard, w replay.Write) error {
		if s.Partition == 1 && w.Next > 40 && failed.Add(1) <= 3 {
			held, _ := b.sink.Held(s.Owner, s.Topic, s.Partition)
			if held.Next != 40 {
				t.Errorf("progress is at %d", held.Next)
			}
			return fault.New(fault.Timeout, "commit", "", "record 77 is too large")
		}
		return nil
	}
	b.start()
	b.wantDone(b.wait(b.run(b.approved(b.all())).ID), replay.OutcomeClean, 400)
}

func TestVerificationCatchesASinkThatLostProgress(t *testing.T) {
	b := newBench(t, 40)
	b.sink.Committed = func(_ context.Context, s replay.Shard, w replay.Write) error {
		if s.Partition == 2 && w.Next == 10 {
			b.sink.SetHeld(s.Owner, s.Topic, 2, replay.Progress{Next: 4})
		}
		return nil
	}
	b.start()
	j := b.wait(b.run(b.approved(b.all())).ID)
	if j.State != replay.JobBlocked || j.Blocked != replay.BlockMismatch || !strings.Contains(j.Reason, "partition 2") {
		t.Errorf("%s (%s): %s", j.State, j.Blocked, j.Reason)
	}
}
