package replaytest

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"freshet/backend/auditlog"
	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/replay"
)

// Ledger runs the conformance suite of replay.Ledger. open makes an empty ledger; entries returns the audit history of
// one, oldest first.
func Ledger(t *testing.T, open func(t *testing.T) replay.Ledger, entries func(t *testing.T, l replay.Ledger) []auditlog.Entry) {
	for _, c := range []struct {
		name string
		run  func(*ledgerCase)
	}{
		{"PlansAreFound", (*ledgerCase).plans},
		{"PlansMoveFromTheStateTheyAreIn", (*ledgerCase).planStates},
		{"ApprovalsMoveThePlan", (*ledgerCase).approvals},
		{"AJobConsumesItsPlan", (*ledgerCase).createJob},
		{"OneLeaseAtATime", (*ledgerCase).leases},
		{"AnOlderEpochChangesNothing", (*ledgerCase).epochs},
		{"JobsReadBackAsTheyWere", (*ledgerCase).jobs},
		{"ParkedRecordsAreCountedOnce", (*ledgerCase).parked},
		{"AChangeAndItsEntryAreOne", (*ledgerCase).atomic},
		{"ManyAtOnce", (*ledgerCase).concurrent},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := open(t)
			base := len(entries(t, l))
			c.run(&ledgerCase{T: t, l: l, entries: func() []auditlog.Entry { return entries(t, l)[base:] }})
		})
	}
}

type ledgerCase struct {
	*testing.T
	l       replay.Ledger
	entries func() []auditlog.Entry
}

func (c *ledgerCase) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

func (c *ledgerCase) wantKind(err error, kind fault.Kind) {
	c.Helper()
	if !fault.Is(err, kind) {
		c.Errorf("got %v, want %s", err, kind)
	}
}

func (c *ledgerCase) wantEntries(want ...string) {
	c.Helper()
	var got []string
	for _, e := range c.entries() {
		got = append(got, e.Action)
	}
	if !reflect.DeepEqual(got, want) {
		c.Errorf("the history has %q, want %q", got, want)
	}
}

func note(action string) auditlog.Entry {
	return auditlog.Entry{Actor: "ana", Action: action, Phase: auditlog.Note, Subject: "s", Detail: json.RawMessage(`{"n":"1"}`)}
}

func intent(action string) auditlog.Entry {
	e := note(action)
	e.Phase = auditlog.Intent
	return e
}

func plan(n int) replay.StoredPlan {
	at := time.Date(2026, 11, 24, 9, 30, 0, 120_000_000, time.UTC)
	return replay.StoredPlan{ID: fmt.Sprintf("pl_%020d", n), Hash: fmt.Sprintf("%064d", n), Document: json.RawMessage(fmt.Sprintf(`{"n":%d}`, n)),
		State: replay.PlanPlanned, Title: "t", Author: "ana", Actor: "ben", Risk: 2, Needed: 1, Warnings: []replay.Warning{{Code: "C", Detail: "d"}},
		Created: at, Updated: at}
}

func job(p replay.StoredPlan, id string) replay.Job {
	j := replay.Job{ID: id, PlanID: p.ID, PlanHash: p.Hash, Run: 1, Title: p.Title, Author: p.Author, Actor: "ben", Sink: "w", Target: "t",
		Cluster: "c", Topic: "orders", State: replay.JobCreated, Rate: 5, Created: p.Created, Updated: p.Created}
	for i := range 3 {
		n := replay.Counts{Offsets: 1 << 60}
		j.Shards = append(j.Shards, replay.ShardState{Partition: int32(i), State: replay.ShardWaiting, End: 1 << 60, Counts: n})
		j.Counts.Add(n)
	}
	return j
}

func (c *ledgerCase) save(n int) replay.StoredPlan {
	c.Helper()
	p := plan(n)
	c.must(c.l.SavePlan(context.Background(), p, note("save")))
	return p
}

func (c *ledgerCase) create(n int, id string) replay.Job {
	c.Helper()
	j := job(c.save(n), id)
	c.must(c.l.CreateJob(context.Background(), replay.PlanPlanned, j, note("create")))
	return j
}

func (c *ledgerCase) take(id, holder string) replay.Job {
	c.Helper()
	j, err := c.l.TakeJob(context.Background(), id, holder, time.Minute, false, intent("take"))
	c.must(err)
	return j
}

func (c *ledgerCase) plans() {
	ctx := context.Background()
	a := c.save(1)
	a.Evidence = &replay.Evidence{SHA256: "x", At: a.Created, Seen: 1 << 60}
	c.must(c.l.UpdatePlan(ctx, replay.PlanPlanned, a, note("update")))
	b := plan(1_000_000)
	b.ID, b.Hash = "pl_zzzzzzzz", "ffffffff"+b.Hash[8:]
	c.must(c.l.SavePlan(ctx, b, note("save")))
	c.wantKind(c.l.SavePlan(ctx, b, note("save")), fault.Exists)
	for _, ref := range []string{b.ID, b.Hash, "ffffffff", "ffffffff00", "pl_zzzzz"} {
		if got, err := c.l.Plan(ctx, ref); err != nil || !reflect.DeepEqual(got, b) {
			c.Errorf("%s: %+v, %v\nwant %+v", ref, got, err, b)
		}
	}
	if got, err := c.l.Plan(ctx, a.ID); err != nil || !reflect.DeepEqual(got, a) {
		c.Errorf("%+v, %v\nwant %+v", got, err, a)
	}
	for _, ref := range []string{"", "fffffff", "pl_zzzz", "ffffffff1", "%", "pl_%%%%%%%%"} {
		_, err := c.l.Plan(ctx, ref)
		c.wantKind(err, fault.NotFound)
	}
	second := c.save(2)
	_, err := c.l.Plan(ctx, second.Hash[:40])
	c.wantKind(err, fault.Invalid)
	all, err := c.l.Plans(ctx)
	if err != nil || len(all) != 3 || all[0].ID != second.ID || all[2].ID != a.ID {
		c.Errorf("%d plans, newest first: %v", len(all), err)
	}
	c.wantEntries("save", "update", "save", "save")
}

func (c *ledgerCase) planStates() {
	ctx := context.Background()
	p := c.save(1)
	document := p.Document
	p.State, p.Document = replay.PlanReady, json.RawMessage(`{"n":2}`)
	c.wantKind(c.l.UpdatePlan(ctx, replay.PlanDryRun, p, note("update")), fault.Conflict)
	c.must(c.l.UpdatePlan(ctx, replay.PlanPlanned, p, note("update")))
	got, err := c.l.Plan(ctx, p.ID)
	if err != nil || got.State != replay.PlanReady || string(got.Document) != string(document) {
		c.Errorf("%s with %s, %v: a document never changes", got.State, got.Document, err)
	}
	c.wantKind(c.l.UpdatePlan(ctx, replay.PlanPlanned, plan(9), note("update")), fault.NotFound)
	c.wantEntries("save", "update")
}

func (c *ledgerCase) approvals() {
	ctx := context.Background()
	p := c.save(1)
	a := replay.Approval{PlanID: p.ID, PlanHash: p.Hash, Evidence: "e", By: "dee", At: p.Created, NotAfter: p.Created.Add(time.Hour),
		Self: true, KeyID: "k", Signature: []byte{0, 1, 255}}
	p.State = replay.PlanApproved
	c.wantKind(c.l.Approve(ctx, a, replay.PlanAwaiting, p, note("approve")), fault.Conflict)
	c.must(c.l.Approve(ctx, a, replay.PlanPlanned, p, note("approve")))
	got, err := c.l.Approvals(ctx, p.Hash)
	if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], a) {
		c.Errorf("%+v, %v\nwant %+v", got, err, a)
	}
	if q, err := c.l.Plan(ctx, p.ID); err != nil || q.State != replay.PlanApproved {
		c.Errorf("%s, %v", q.State, err)
	}
	if none, err := c.l.Approvals(ctx, "another"); err != nil || len(none) != 0 {
		c.Errorf("%v, %v", none, err)
	}
	c.wantEntries("save", "approve")
}

func (c *ledgerCase) createJob() {
	ctx := context.Background()
	p := c.save(1)
	j := job(p, "jb_1")
	c.wantKind(c.l.CreateJob(ctx, replay.PlanApproved, j, note("create")), fault.Conflict)
	c.must(c.l.CreateJob(ctx, replay.PlanPlanned, j, note("create")))
	if q, err := c.l.Plan(ctx, p.ID); err != nil || q.State != replay.PlanConsumed {
		c.Errorf("the plan is %s, %v", q.State, err)
	}
	again := job(p, "jb_2")
	c.wantKind(c.l.CreateJob(ctx, replay.PlanConsumed, again, note("create")), fault.Conflict)
	_, err := c.l.Job(ctx, "jb_2")
	c.wantKind(err, fault.NotFound)
	c.wantEntries("save", "create")
}

func (c *ledgerCase) leases() {
	ctx := context.Background()
	c.create(1, "jb_1")
	j := c.take("jb_1", "one")
	if j.Epoch != 1 || j.Holder != "one" || !time.Now().Before(j.LeaseUntil) {
		c.Errorf("epoch %d, holder %s until %v", j.Epoch, j.Holder, j.LeaseUntil)
	}
	if e := c.entries(); e[len(e)-1].Seq != j.Intent || e[len(e)-1].Phase != auditlog.Intent {
		c.Errorf("the intent is entry %d, not %d", j.Intent, e[len(e)-1].Seq)
	}
	_, err := c.l.TakeJob(ctx, "jb_1", "two", time.Minute, false, intent("take"))
	c.wantKind(err, fault.Conflict)
	if j = c.take("jb_1", "one"); j.Epoch != 2 {
		c.Errorf("the holder takes it again with epoch %d", j.Epoch)
	}
	j, err = c.l.TakeJob(ctx, "jb_1", "two", -time.Second, true, intent("take"))
	if err != nil || j.Epoch != 3 || j.Holder != "two" {
		c.Errorf("taken over: %v, epoch %d, holder %s", err, j.Epoch, j.Holder)
	}
	if j = c.take("jb_1", "three"); j.Epoch != 4 || j.Holder != "three" { // the lease was past
		c.Errorf("epoch %d, holder %s", j.Epoch, j.Holder)
	}
	c.must(c.l.RenewJob(ctx, "jb_1", 4, time.Hour))
	c.wantKind(c.l.RenewJob(ctx, "jb_1", 3, time.Hour), fault.Conflict)
	c.wantKind(c.l.RenewJob(ctx, "jb_9", 3, time.Hour), fault.NotFound)
	stored, err := c.l.Job(ctx, "jb_1")
	if err != nil || time.Until(stored.LeaseUntil) < 50*time.Minute {
		c.Errorf("renewed until %v, %v", stored.LeaseUntil, err)
	}
	// Progress leaves the lease as it was renewed, and an empty holder gives it back.
	c.must(c.l.UpdateJob(ctx, j, auditlog.Entry{}))
	if stored, err = c.l.Job(ctx, "jb_1"); err != nil || time.Until(stored.LeaseUntil) < 50*time.Minute || stored.Holder != "three" {
		c.Errorf("after progress: %s until %v, %v", stored.Holder, stored.LeaseUntil, err)
	}
	j.Holder = ""
	c.must(c.l.UpdateJob(ctx, j, auditlog.Entry{}))
	if stored, err = c.l.Job(ctx, "jb_1"); err != nil || stored.Holder != "" || !stored.LeaseUntil.IsZero() {
		c.Errorf("given back: %s until %v, %v", stored.Holder, stored.LeaseUntil, err)
	}
	_, err = c.l.TakeJob(ctx, "jb_9", "one", time.Minute, false, intent("take"))
	c.wantKind(err, fault.NotFound)
	c.wantEntries("save", "create", "take", "take", "take", "take")
}

func (c *ledgerCase) epochs() {
	ctx := context.Background()
	c.create(1, "jb_1")
	old := c.take("jb_1", "one")
	j, err := c.l.TakeJob(ctx, "jb_1", "two", time.Minute, true, intent("take"))
	c.must(err)
	old.State, old.Shards[0].Next = replay.JobCompleted, 7
	c.wantKind(c.l.UpdateJob(ctx, old, note("state")), fault.Conflict)
	got, err := c.l.Job(ctx, "jb_1")
	if err != nil || got.State != replay.JobCreated || got.Shards[0].Next != 0 || got.Epoch != j.Epoch {
		c.Errorf("%s at %d, epoch %d, %v", got.State, got.Shards[0].Next, got.Epoch, err)
	}
	c.wantEntries("save", "create", "take", "take")
}

func (c *ledgerCase) jobs() {
	ctx := context.Background()
	first := c.create(1, "jb_1")
	c.create(2, "jb_2")
	j := c.take("jb_1", "one")
	j.State, j.Reason, j.Blocked, j.Outcome = replay.JobBlocked, "gap: x", replay.BlockGap, replay.OutcomeExceptions
	j.Rate, j.Started = 3, first.Created
	j.Shards[1] = replay.ShardState{Partition: 1, State: replay.ShardHeld, Blocked: replay.BlockGap, Reason: "r", Start: 1, Next: 2, End: 1<<62 + 1,
		SinkNext: 2, Sending: 9, Accepted: []replay.Gap{{From: 3, To: 4}}, Counts: replay.Counts{Offsets: 1 << 61, Seen: 1, Recovered: 1, Dropped: 1, Bytes: 2}}
	j.Counts.Add(j.Shards[1].Counts)
	c.must(c.l.UpdateJob(ctx, j, note("state")))
	got, err := c.l.Job(ctx, "jb_1")
	if err != nil || !reflect.DeepEqual(got, j) {
		c.Errorf("%+v, %v\nwant %+v", got, err, j)
	}
	all, err := c.l.Jobs(ctx)
	if err != nil || len(all) != 2 || all[0].ID != "jb_2" || !reflect.DeepEqual(all[1], j) || len(all[0].Shards) != 3 {
		c.Errorf("%+v, %v", all, err)
	}
	c.wantEntries("save", "create", "save", "create", "take", "state")
}

func (c *ledgerCase) parked() {
	ctx := context.Background()
	park := func(owner string, partition int32, offset int64, kind replay.ParkKind, reason string) replay.Parked {
		return replay.Parked{Owner: owner, Topic: "orders", Partition: partition, Offset: offset, Kind: kind, Reason: reason}
	}
	c.must(c.l.Park(ctx, []replay.Parked{park("jb_1", 0, 5, replay.ParkRefused, "first"), park("jb_1", 0, 9, replay.ParkFilter, "f")}, note("park")))
	c.must(c.l.Park(ctx, []replay.Parked{park("jb_1", 0, 5, replay.ParkNoAnswer, "second"), park("jb_1", 1, 5, replay.ParkRefused, "other"),
		park("jb_2", 0, 5, replay.ParkRefused, "other")}, note("park")))
	n, err := c.l.CountParked(ctx, "jb_1", "orders", stream.Range{Partition: 0, From: 5, To: 9})
	if err != nil || !reflect.DeepEqual(n, map[replay.ParkKind]int64{replay.ParkRefused: 1}) {
		c.Errorf("within the range: %v, %v", n, err)
	}
	n, err = c.l.CountParked(ctx, "jb_1", "", stream.Range{})
	if err != nil || !reflect.DeepEqual(n, map[replay.ParkKind]int64{replay.ParkRefused: 2, replay.ParkFilter: 1}) {
		c.Errorf("all of an owner: %v, %v", n, err)
	}
	got, err := c.l.Parked(ctx, "jb_1", 0)
	if err != nil || len(got) != 3 || got[0].Partition != 1 || got[2].Reason != "first" || got[2].Kind != replay.ParkRefused || got[0].At.IsZero() {
		c.Errorf("%+v, %v", got, err)
	}
	if got, err = c.l.Parked(ctx, "jb_1", 2); err != nil || len(got) != 2 {
		c.Errorf("at most two: %+v, %v", got, err)
	}
	c.wantEntries("park", "park")
}

// An entry that cannot be kept keeps the change from being made.
func (c *ledgerCase) atomic() {
	c.create(1, "jb_1")
	j := c.take("jb_1", "one")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	j.State = replay.JobCompleted
	if err := c.l.UpdateJob(ctx, j, note("state")); err == nil {
		c.Error("a cancelled change was made")
	}
	got, err := c.l.Job(context.Background(), "jb_1")
	if err != nil || got.State != replay.JobCreated {
		c.Errorf("%s, %v", got.State, err)
	}
	c.wantEntries("save", "create", "take")
}

func (c *ledgerCase) concurrent() {
	ctx := context.Background()
	const n = 20
	p := c.save(1)
	var wait sync.WaitGroup
	made := make([]error, n)
	for i := range n {
		wait.Go(func() {
			made[i] = c.l.CreateJob(ctx, replay.PlanPlanned, job(p, fmt.Sprintf("jb_%d", i)), note("create"))
		})
	}
	wait.Wait()
	ok := 0
	for _, err := range made {
		if err == nil {
			ok++
		} else {
			c.wantKind(err, fault.Conflict)
		}
	}
	jobs, err := c.l.Jobs(ctx)
	if err != nil || ok != 1 || len(jobs) != 1 {
		c.Fatalf("%d of %d runs of one plan were made, %d are stored: %v", ok, n, len(jobs), err)
	}
	epochs := make([]int64, n)
	for i := range n {
		wait.Go(func() {
			j, err := c.l.TakeJob(ctx, jobs[0].ID, fmt.Sprint(i), time.Minute, true, intent("take"))
			if err != nil {
				c.Error(err)
			}
			epochs[i] = j.Epoch
		})
	}
	wait.Wait()
	seen := map[int64]bool{}
	for _, e := range epochs {
		seen[e] = true
	}
	if len(seen) != n {
		c.Errorf("%d epochs for %d take-overs", len(seen), n)
	}
}
