package replay_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"freshet/backend/auditlog"
	"freshet/backend/decode"
	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/replay"
	"freshet/replay/replaytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const deadline = 20 * time.Second

// bench is a world with one topic of four partitions and one sink, and a Service over it.
type bench struct {
	testing.TB
	log     *replaytest.MemoryLog
	sink    *replaytest.MemorySink
	ledger  *replaytest.MemoryLedger
	world   *replaytest.World
	options replay.Options
	service *replay.Service
	serve   context.CancelFunc
	ended   chan struct{}
}

var base = time.UnixMilli(1_800_000_000_000).UTC()

func newBench(t testing.TB, records int) *bench {
	t.Helper()
	b := &bench{TB: t, log: &replaytest.MemoryLog{Name: "cluster-1"}, sink: &replaytest.MemorySink{}, ledger: &replaytest.MemoryLedger{}}
	b.log.Create("orders", 4)
	for i := range records {
		status := "OK"
		if i%3 == 0 {
			status = "FAILED"
		}
		b.log.Append("orders", int32(i%4), stream.Record{Time: base.Add(time.Duration(i) * time.Second), TimeType: stream.CreateTime,
			Key: fmt.Appendf(nil, "k%d", i), Value: fmt.Appendf(nil, `{"id":%d,"status":"%s"}`, i, status)})
	}
	b.world = &replaytest.World{Logs: map[string]*replaytest.MemoryLog{"local": b.log}, Sinks: map[string]replaytest.WorldSink{}}
	b.target(replay.Target{Type: "postgres", Mode: "append", Guarantee: replay.GuaranteeEffectivelyOnce, Fences: true, DatabaseID: "db-1"})
	seed := sha256.Sum256([]byte("a test's key"))
	b.options = replay.Options{Ledger: b.ledger, Clusters: b.world, Targets: b.world, Decode: decode.JSON, Change: decode.Debezium,
		Key: ed25519.NewKeyFromSeed(seed[:]), Local: true, Holder: "one", BatchRecords: 40, Linger: time.Millisecond,
		Lease: time.Minute, Grace: time.Second}
	return b
}

func (b *bench) target(t replay.Target) {
	b.world.Sinks["warehouse"] = replaytest.WorldSink{Target: t, Sink: b.sink}
}

func (b *bench) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	b.Cleanup(cancel)
	return ctx
}

// start makes the Service and serves.
func (b *bench) start() *bench {
	b.Helper()
	s, err := replay.New(b.options)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.service, b.serve, b.ended = s, cancel, make(chan struct{})
	go func() {
		defer close(b.ended)
		if err := s.Serve(ctx); err != nil {
			b.Errorf("serve: %v", err)
		}
	}()
	b.Cleanup(b.stop)
	return b
}

func (b *bench) stop() {
	b.serve()
	<-b.ended
}

func (b *bench) all() replay.Draft {
	return replay.Draft{Cluster: "local", Topic: "orders", All: true, Sink: "warehouse", Target: "copy"}
}

func (b *bench) plan(d replay.Draft) replay.StoredPlan {
	b.Helper()
	p, err := b.service.Plan(b.ctx(), "ana", d)
	if err != nil {
		b.Fatalf("plan: %v", err)
	}
	return p
}

func (b *bench) approved(d replay.Draft) replay.StoredPlan {
	b.Helper()
	p := b.plan(d)
	if _, p, err := b.service.Approve(b.ctx(), "ana", p.ID, p.Hash, 0); err != nil || p.State != replay.PlanApproved {
		b.Fatalf("approve: %v, %s", err, p.State)
	}
	return p
}

func (b *bench) run(p replay.StoredPlan) replay.Job {
	b.Helper()
	j, err := b.service.Run(b.ctx(), "ana", p.ID, false)
	if err != nil {
		b.Fatalf("run: %v", err)
	}
	return j
}

func (b *bench) wait(id string) replay.Job {
	b.Helper()
	v, err := b.service.Wait(b.ctx(), id)
	if err != nil {
		b.Fatalf("wait: %v; %s %s", err, v.State, v.Reason)
	}
	return v.Job
}

// until waits until the job, as the service shows it, is as ok wants it.
func (b *bench) until(id string, ok func(replay.Job) bool) replay.Job {
	b.Helper()
	ctx := b.ctx()
	for {
		v, err := b.service.Job(ctx, id)
		if err != nil {
			b.Fatal(err)
		}
		if ok(v.Job) {
			return v.Job
		}
		select {
		case <-ctx.Done():
			b.Fatalf("the job stays %s: %s, %v", v.State, v.Reason, v.Counts)
		case <-time.After(time.Millisecond):
		}
	}
}

// wantDone checks that a job is over with its equation closed, and that the sink has each wanted record once.
func (b *bench) wantDone(j replay.Job, outcome replay.Outcome, want int) {
	b.Helper()
	if j.State != replay.JobCompleted || j.Outcome != outcome || !j.Counts.Closes() {
		b.Fatalf("%s %s (%s): %v", j.State, j.Outcome, j.Reason, j.Counts)
	}
	for _, s := range j.Shards {
		if s.State != replay.ShardEndReached || s.Next != s.End || !s.Counts.Closes() {
			b.Errorf("shard %d: %s at %d of %d, %v", s.Partition, s.State, s.Next, s.End, s.Counts)
		}
	}
	b.wantOnce(want)
	b.wantAudit()
}

func (b *bench) wantOnce(want int) {
	b.Helper()
	seen := map[string]int{}
	for _, r := range b.sink.Records() {
		seen[fmt.Sprintf("%s/%d:%d", r.Topic, r.Partition, r.Offset)]++
	}
	for at, n := range seen {
		if n != 1 {
			b.Errorf("%s was written %d times", at, n)
		}
	}
	if len(seen) != want {
		b.Errorf("%d records were written, want %d", len(seen), want)
	}
}

// wantAudit checks that every intent has one result at most, after it, and that no entry holds contents of a record.
func (b *bench) wantAudit() {
	b.Helper()
	open := map[uint64]bool{}
	for _, e := range b.ledger.Entries() {
		switch e.Phase {
		case auditlog.Intent:
			open[e.Seq] = true
		case auditlog.Result:
			if !open[*e.Ref] {
				b.Errorf("entry %d closes %d, which is no open intent", e.Seq, *e.Ref)
			}
			delete(open, *e.Ref)
		}
		if strings.Contains(string(e.Detail), "FAILED") {
			b.Errorf("entry %d holds what a record held: %s", e.Seq, e.Detail)
		}
	}
}

func kindIs(t testing.TB, err error, kind fault.Kind, code string) {
	t.Helper()
	var e *fault.Error
	if !errors.As(err, &e) || e.Kind != kind || e.Code != code {
		t.Fatalf("got %v (kind %s), want %s %s", err, fault.KindOf(err), kind, code)
	}
	if e.Next == "" {
		t.Errorf("%v: does not say what to do next", err)
	}
}

func TestRunToTheEnd(t *testing.T) {
	b := newBench(t, 1000).start()
	b.log.AppendHole("orders", 0, replaytest.Control)
	b.log.AppendHole("orders", 1, replaytest.Aborted)
	b.log.AppendHole("orders", 2, replaytest.Compacted)
	j := b.wait(b.run(b.approved(b.all())).ID)
	b.wantDone(j, replay.OutcomeClean, 1000)
	c := j.Counts
	if c.Offsets != 1003 || c.Seen != 1000 || c.Written != 1000 || c.Control != 1 || c.Aborted != 1 || c.Compacted != 1 {
		t.Errorf("counts %v", c)
	}
}

// T2: what is written to the topic after the plan is not part of it.
func TestPlanIsFrozen(t *testing.T) {
	b := newBench(t, 400).start()
	p := b.approved(b.all())
	for i := range 500 {
		b.log.Append("orders", int32(i%4), stream.Record{Time: base, Value: []byte(`{}`)})
	}
	b.wantDone(b.wait(b.run(p).ID), replay.OutcomeClean, 400)
}

// T3: a dry run opens no sink, and counts what the run then does.
func TestDryRun(t *testing.T) {
	b := newBench(t, 1000).start()
	var opened atomic.Int32
	b.world.Sinks["warehouse"] = replaytest.WorldSink{Target: b.world.Sinks["warehouse"].Target, Sink: &spySink{MemorySink: b.sink, opened: &opened}}
	b.log.Append("orders", 0, stream.Record{Time: base, Value: []byte("no JSON")}, stream.Record{Time: base, Value: []byte(`{"id":1}`)})
	d := b.all()
	d.Filter, d.OnError, d.Rate = `value.status == "FAILED"`, replay.OnErrorDLQ, 100_000
	p := b.plan(d)
	p, samples, err := b.service.DryRun(b.ctx(), "ana", p.ID, 20)
	if err != nil {
		t.Fatal(err)
	}
	e := p.Evidence
	if p.State != replay.PlanReady || e.Seen != 1002 || e.Filtered != 666 || e.WouldWrite != 334 || e.WouldDLQ != 2 || e.Bytes == 0 ||
		e.Seconds == nil || *e.Seconds != 1 || len(samples) != 20 || e.Samples != 20 || len(e.SHA256) != 64 {
		t.Errorf("%s %+v, %d samples", p.State, e, len(samples))
	}
	if samples[0].Value != `{"id":0,"status":"FAILED"}` || samples[0].Key != "k0" || samples[1].Partition == samples[0].Partition {
		t.Errorf("samples %+v", samples[:2])
	}
	if opened.Load() != 0 || len(b.sink.Records()) != 0 {
		t.Errorf("the sink was opened %d times and holds %d records", opened.Load(), len(b.sink.Records()))
	}
	if stored, _ := json.Marshal(p); strings.Contains(string(stored), `"id\":0`) {
		t.Errorf("the stored plan holds a record: %s", stored)
	}
	again, _, err := b.service.DryRun(b.ctx(), "ana", p.ID, 0)
	if err != nil || again.Evidence.Selection != e.Selection {
		t.Errorf("a second look selects %s, the first %s: %v", again.Evidence.Selection, e.Selection, err)
	}
	if _, _, err := b.service.Approve(b.ctx(), "ana", p.ID, p.Hash, 0); err != nil {
		t.Fatal(err)
	}
	j := b.wait(b.run(p).ID)
	b.wantDone(j, replay.OutcomeExceptions, 334)
	if j.Counts.Seen != e.Seen || j.Counts.Filtered != e.Filtered || j.Counts.Written != e.WouldWrite || j.Counts.DLQ != e.WouldDLQ || j.Counts.Bytes != e.Bytes {
		t.Errorf("the run counted %v, the dry run %+v", j.Counts, e)
	}
	parked, err := b.service.Parked(b.ctx(), j.ID, 0)
	if err != nil || len(parked) != 2 || parked[0].Kind != replay.ParkFilter || strings.Contains(parked[0].Reason, "JSON\"") {
		t.Errorf("parked %+v, %v", parked, err)
	}
}

type spySink struct {
	*replaytest.MemorySink
	opened *atomic.Int32
}

func (s *spySink) Open(ctx context.Context, sh replay.Shard) (replay.Writer, error) {
	s.opened.Add(1)
	return s.MemorySink.Open(ctx, sh)
}

// T4: a time window over a partition whose times are out of order selects exactly the records of that time.
func TestTimesOutOfOrder(t *testing.T) {
	b := newBench(t, 0)
	b.log.Create("events", 1)
	for _, ms := range []int64{10, 50, 20, 60, 30} {
		b.log.Append("events", 0, stream.Record{Time: base.Add(time.Duration(ms) * time.Millisecond), Value: []byte(`{}`)})
	}
	b.start()
	d := replay.Draft{Cluster: "local", Topic: "events", From: base.Add(20 * time.Millisecond), To: base.Add(40 * time.Millisecond), Sink: "warehouse"}
	p := b.plan(d)
	p, _, err := b.service.DryRun(b.ctx(), "ana", p.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	if e := p.Evidence; e.Seen != 4 || e.WouldWrite != 2 || e.DisorderMS != 30 {
		t.Errorf("read %d, selected %d, largest disorder %d ms", e.Seen, e.WouldWrite, e.DisorderMS)
	}
	if _, _, err := b.service.Approve(b.ctx(), "ana", p.ID, "", 0); err != nil {
		t.Fatal(err)
	}
	b.wantDone(b.wait(b.run(p).ID), replay.OutcomeClean, 2)
	var offsets []int64
	for _, r := range b.sink.Records() {
		offsets = append(offsets, r.Offset)
	}
	if !slices.Equal(offsets, []int64{2, 4}) {
		t.Errorf("offsets %v", offsets)
	}
}

func TestDraftRefusals(t *testing.T) {
	b := newBench(t, 100).start()
	for _, c := range []struct {
		name string
		edit func(*replay.Draft)
		kind fault.Kind
		text string
	}{
		{"nothing selected", func(d *replay.Draft) { d.All = false }, fault.Invalid, "exactly one way"},
		{"selected twice", func(d *replay.Draft) { d.From = base }, fault.Invalid, "exactly one way"},
		{"empty range", func(d *replay.Draft) { d.All, d.Offsets = false, []stream.Range{{Partition: 0, From: 5, To: 5}} }, fault.Invalid, "no offset"},
		{"beyond the end", func(d *replay.Draft) { d.All, d.Offsets = false, []stream.Range{{Partition: 0, From: 5, To: 500}} }, fault.Invalid, "from 0 to 25"},
		{"no such partition", func(d *replay.Draft) { d.All, d.Offsets = false, []stream.Range{{Partition: 7, From: 0, To: 5}} }, fault.Invalid, "no partition 7"},
		{"no such topic", func(d *replay.Draft) { d.Topic = "none" }, fault.NotFound, "there is none"},
		{"no such cluster", func(d *replay.Draft) { d.Cluster = "none" }, fault.NotFound, "there is none"},
		{"no such sink", func(d *replay.Draft) { d.Sink = "none" }, fault.NotFound, "there is none"},
		{"bad filter", func(d *replay.Draft) { d.Filter = "value.a ==\n= 1" }, fault.Invalid, "line 2, column 1"},
		{"bad header", func(d *replay.Draft) { d.Header = "name" }, fault.Invalid, "NAME=VALUE"},
		{"window backwards", func(d *replay.Draft) { d.All, d.From, d.To = false, base.Add(time.Hour), base }, fault.Invalid, "ends before it begins"},
	} {
		d := b.all()
		c.edit(&d)
		if _, err := b.service.Plan(b.ctx(), "ana", d); !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if n := len(b.ledger.Entries()); n != 0 {
		t.Errorf("%d entries were written", n)
	}
}

func TestKeyHeaderAndExpression(t *testing.T) {
	b := newBench(t, 100)
	for i := range 10 {
		b.log.Append("orders", 1, stream.Record{Time: base, Key: []byte(`{"id":7}`), Value: fmt.Appendf(nil, `{"n":%d}`, i),
			Headers: []stream.Header{{Key: "kind", Value: fmt.Appendf(nil, "%d", i%2)}}})
	}
	b.start()
	d := b.all()
	d.Key, d.Header, d.Filter = `{"id":7}`, "kind=1", "value.n > 4"
	b.wantDone(b.wait(b.run(b.approved(d)).ID), replay.OutcomeClean, 3)
}

// T43: who made a plan does not approve it, unless the profile is one person's, and then the history says so.
func TestApproval(t *testing.T) {
	b := newBench(t, 100)
	b.options.Local = false
	b.start()
	p := b.plan(b.all())
	if p.Risk != 2 || p.Needed != 1 {
		t.Errorf("risk %d, %d needed", p.Risk, p.Needed)
	}
	_, err := b.service.Run(b.ctx(), "ana", p.ID, false)
	kindIs(t, err, fault.Denied, "APPROVAL_MISSING")
	_, _, err = b.service.Approve(b.ctx(), " ANA", p.ID, p.Hash, 0)
	kindIs(t, err, fault.Denied, "SELF_APPROVAL")
	_, _, err = b.service.Approve(b.ctx(), "dee", p.ID, strings.Repeat("0", 64), 0)
	kindIs(t, err, fault.Drifted, "HASH_MISMATCH")
	a, p, err := b.service.Approve(b.ctx(), "dee", p.ID, p.Hash, time.Hour)
	if err != nil || p.State != replay.PlanApproved || a.Self {
		t.Fatalf("%v, %s, %+v", err, p.State, a)
	}
	if !ed25519.Verify(b.options.Key.Public().(ed25519.PublicKey), a.Message(), a.Signature) {
		t.Error("the signature does not verify")
	}
	b.wantDone(b.wait(b.run(p).ID), replay.OutcomeClean, 100)

	// Importing another's document does not make one its approver.
	doc, err := replay.ParsePlan(p.Document)
	if err != nil {
		t.Fatal(err)
	}
	doc.Plan.Author, doc.Plan.Nonce = "ben", "01K9ZC7Q4M8T0W6A2B3C4D5E6F"
	again, err := doc.Plan.Freeze()
	if err != nil {
		t.Fatal(err)
	}
	q, err := b.service.Plan(b.ctx(), "ana", replay.Draft{Document: again.Bytes})
	if err != nil || q.Author != "ben" {
		t.Fatalf("import: %v", err)
	}
	_, _, err = b.service.Approve(b.ctx(), "ana", q.ID, "", 0)
	kindIs(t, err, fault.Denied, "SELF_APPROVAL")

	// Two are needed where the risk is high.
	d := b.all()
	d.AllowOverlap = true
	r := b.plan(d)
	if r.Needed != 2 {
		t.Fatalf("%d needed at risk %d", r.Needed, r.Risk)
	}
	if _, r, err = b.service.Approve(b.ctx(), "dee", r.ID, "", 0); err != nil || r.State != replay.PlanAwaiting {
		t.Fatalf("%v, %s", err, r.State)
	}
	_, _, err = b.service.Approve(b.ctx(), "Dee", r.ID, "", 0)
	if !fault.Is(err, fault.Exists) {
		t.Errorf("the same person again: %v", err)
	}
	if _, err = b.service.Run(b.ctx(), "ana", r.ID, false); !fault.Is(err, fault.Denied) {
		t.Errorf("one of two: %v", err)
	}
	if _, r, err = b.service.Approve(b.ctx(), "eve", r.ID, "", 0); err != nil || r.State != replay.PlanApproved {
		t.Errorf("%v, %s", err, r.State)
	}
}

func TestSelfApprovalIsRecorded(t *testing.T) {
	b := newBench(t, 10).start()
	p := b.plan(b.all())
	a, _, err := b.service.Approve(b.ctx(), "ana", p.ID, "", 0)
	if err != nil || !a.Self {
		t.Fatalf("%+v, %v", a, err)
	}
	es := b.ledger.Entries()
	if last := es[len(es)-1]; last.Action != "replay.approve" || !strings.Contains(string(last.Detail), `"self_approved":true`) {
		t.Errorf("%s %s", last.Action, last.Detail)
	}
}

func TestRejectAndWithdraw(t *testing.T) {
	b := newBench(t, 10).start()
	p := b.plan(b.all())
	if _, err := b.service.Reject(b.ctx(), "dee", p.ID, " "); !fault.Is(err, fault.Invalid) {
		t.Errorf("without a reason: %v", err)
	}
	if p, err := b.service.Reject(b.ctx(), "dee", p.ID, "not today"); err != nil || p.State != replay.PlanRejected {
		t.Errorf("%v, %s", err, p.State)
	}
	_, _, err := b.service.Approve(b.ctx(), "dee", p.ID, "", 0)
	kindIs(t, err, fault.Conflict, "BAD_STATE")
	_, err = b.service.Run(b.ctx(), "ana", p.ID, false)
	kindIs(t, err, fault.Denied, "PLAN_REJECTED")

	q := b.approved(b.all())
	if q, err = b.service.Reject(b.ctx(), "dee", q.ID, "changed my mind"); err != nil || q.State != replay.PlanRevoked {
		t.Errorf("%v, %s", err, q.State)
	}
	r := b.approved(b.all())
	_, err = b.service.Withdraw(b.ctx(), "dee", r.ID, "")
	kindIs(t, err, fault.Denied, "NOT_AUTHOR")
	if r, err = b.service.Withdraw(b.ctx(), "ana", r.ID, ""); err != nil || r.State != replay.PlanWithdrawn {
		t.Errorf("%v, %s", err, r.State)
	}
}

// T45: an approval ends, and what was planned may be gone.
func TestExpiryAndDrift(t *testing.T) {
	b := newBench(t, 100).start()
	p := b.plan(b.all())
	if _, _, err := b.service.Approve(b.ctx(), "ana", p.ID, "", time.Millisecond); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(2 * time.Millisecond); time.Now().Before(end); { // past the approval's time
		runtime.Gosched()
	}
	_, err := b.service.Run(b.ctx(), "ana", p.ID, false)
	kindIs(t, err, fault.Denied, "APPROVAL_EXPIRED")
	if p, _ = b.service.StoredPlan(b.ctx(), p.ID); p.State != replay.PlanExpired {
		t.Errorf("the plan is %s", p.State)
	}

	for _, c := range []struct {
		name  string
		drift func(*bench)
		what  string
	}{
		{"log start moved", func(b *bench) { b.log.Truncate("orders", 1, 3) }, "log_start of partition 1 was 0 and is 3"},
		{"topic made anew", func(b *bench) { b.log.Create("orders", 4) }, "topic_id"},
		{"another database", func(b *bench) {
			b.target(replay.Target{Type: "postgres", Mode: "append", Guarantee: replay.GuaranteeEffectivelyOnce, Fences: true, DatabaseID: "db-2"})
		}, "sink.database_id was db-1 and is db-2"},
		{"another mode", func(b *bench) {
			b.target(replay.Target{Type: "postgres", Mode: "upsert", Guarantee: replay.GuaranteeEffectivelyOnce, Fences: true, DatabaseID: "db-1"})
		}, "sink.write.mode was append and is upsert"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, 100).start()
			p := b.approved(b.all())
			c.drift(b)
			_, err := b.service.Run(b.ctx(), "ana", p.ID, false)
			kindIs(t, err, fault.Drifted, "PLAN_DRIFT")
			var d *replay.DriftError
			if !errors.As(err, &d) || !strings.Contains(err.Error(), c.what) {
				t.Errorf("%v", err)
			}
			if p, _ = b.service.StoredPlan(b.ctx(), p.ID); p.State != replay.PlanInvalid {
				t.Errorf("the plan is %s", p.State)
			}
			if _, err := b.service.Run(b.ctx(), "ana", p.ID, false); !fault.Is(err, fault.Drifted) {
				t.Errorf("again: %v", err)
			}
		})
	}
}

// T33: one plan gives one job, and nothing else writes the same range to the same place meanwhile.
func TestOverlapAndDoubleStart(t *testing.T) {
	b := newBench(t, 1000)
	gate := make(chan struct{})
	var once sync.Once
	b.sink.Committing = func(ctx context.Context, _ replay.Shard, _ replay.Write) error {
		select {
		case <-gate:
		case <-ctx.Done():
		}
		return nil
	}
	b.start()
	defer once.Do(func() { close(gate) })
	p := b.approved(b.all())
	other := b.approved(b.all())
	jobs := make([]replay.Job, 8)
	var wait sync.WaitGroup
	for i := range jobs {
		wait.Go(func() { jobs[i], _ = b.service.Run(b.ctx(), "ana", p.ID, false) })
	}
	wait.Wait()
	for _, j := range jobs {
		if j.ID == "" || j.ID != jobs[0].ID {
			t.Errorf("jobs %s and %s of one plan", jobs[0].ID, j.ID)
		}
	}
	_, err := b.service.Run(b.ctx(), "ana", other.ID, false)
	kindIs(t, err, fault.Conflict, "OVERLAP")
	d := b.all()
	d.Target = "elsewhere"
	elsewhere := b.run(b.approved(d))
	once.Do(func() { close(gate) })
	b.wait(jobs[0].ID)
	b.wait(elsewhere.ID)
	if j, err := b.service.Run(b.ctx(), "ana", p.ID, false); err != nil || j.ID != jobs[0].ID || j.State != replay.JobCompleted {
		t.Errorf("asked again after the end: %s, %s, %v", j.ID, j.State, err)
	}
}

func TestUnsupportedPlanIsRefused(t *testing.T) {
	b := newBench(t, 10).start()
	for _, name := range []string{"a", "b", "c"} {
		p, err := b.service.Plan(b.ctx(), "dee", replay.Draft{Document: vector(t, name)})
		if err != nil {
			t.Fatalf("plan %s is a valid document: %v", name, err)
		}
		_, _, err = b.service.DryRun(b.ctx(), "dee", p.ID, 0)
		kindIs(t, err, fault.Invalid, "PLAN_UNSUPPORTED")
		_, err = b.service.Run(b.ctx(), "dee", p.ID, false)
		kindIs(t, err, fault.Invalid, "PLAN_UNSUPPORTED")
	}
}

// I4: a stored plan that is not what was approved does not run.
func TestTamperedPlan(t *testing.T) {
	b := newBench(t, 10).start()
	p := b.approved(b.all())
	b.ledger.SetDocument(p.Hash, []byte(strings.Replace(string(p.Document), `"copy"`, `"prod"`, 1)))
	_, err := b.service.Run(b.ctx(), "ana", p.ID, false)
	kindIs(t, err, fault.Tampered, "PLAN_TAMPERED")
	if len(b.sink.Records()) != 0 {
		t.Error("something was written")
	}
}
