package replay_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"freshet/backend/auditlog"
	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/replay"
	"freshet/replay/replaytest"
)

// power is what a process runs on: after so many steps it is gone, and nothing that the process does any more has an
// effect.
type power struct {
	left atomic.Int64
	dead chan struct{}
	once sync.Once
}

func newPower(steps int64) *power {
	p := &power{dead: make(chan struct{})}
	p.left.Store(steps)
	return p
}

var errDead = fault.New(fault.Unavailable, "act", "", "the process is gone")

func (p *power) step() error {
	if p.left.Add(-1) < 0 {
		p.once.Do(func() { close(p.dead) })
		return errDead
	}
	return nil
}

func (b *bench) plug(p *power) {
	b.ledger.Fail = func(string) error { return p.step() }
	b.log.Reading = func(string, int32, int64) error { return p.step() }
	b.sink.Committing = func(context.Context, replay.Shard, replay.Write) error { return p.step() }
	b.sink.Committed = func(context.Context, replay.Shard, replay.Write) error { return p.step() }
}

// untilOver runs processes one after another, the first with so many steps to live and the rest for ever, until the
// job is over.
func (b *bench) untilOver(p replay.StoredPlan, steps int64) (replay.Job, bool) {
	b.Helper()
	pw := newPower(steps)
	b.plug(pw)
	b.start()
	j, err := b.service.Run(b.ctx(), "ana", p.ID, false)
	died := err != nil
	if err == nil {
		done := make(chan replay.Job, 1)
		ctx, cancel := context.WithCancel(b.ctx())
		go func() {
			v, err := b.service.Wait(ctx, j.ID)
			if err == nil && v.State == replay.JobCompleted {
				done <- v.Job
			}
			close(done)
		}()
		select {
		case <-pw.dead:
			died = true
			cancel()
			<-done
		case v, ok := <-done:
			cancel()
			if ok {
				b.stop()
				return v, false
			}
			<-pw.dead
			died = true
		}
	}
	b.stop()
	if !died {
		b.Fatal("neither dead nor done")
	}
	b.plug(newPower(1 << 60))
	b.options.Holder += "+"
	b.options.Dead = func(string) bool { return true }
	b.start()
	defer b.stop()
	return b.wait(b.again(p)), true
}

// again runs a plan once more, which gives the job that there is.
func (b *bench) again(p replay.StoredPlan) string {
	b.Helper()
	j, err := b.service.Run(b.ctx(), "ana", p.ID, false)
	if err != nil {
		b.Fatalf("run again: %v", err)
	}
	return j.ID
}

// T25, T48: whatever step a process is killed before, the next one ends the job as if nothing had been: each record once,
// the equation closed. Odd records are filtered out, some refused by the sink, some cannot be decoded by the filter.
func TestKilledAtEveryStep(t *testing.T) {
	every := int64(1)
	if testing.Short() {
		every = 7
	}
	deaths := 0
	for steps := int64(0); ; steps += every {
		b := newBench(t, 100)
		b.log.Append("orders", 2, stream.Record{Time: base, Value: []byte("poison")})
		b.log.AppendHole("orders", 2, replaytest.Control)
		b.log.AppendHole("orders", 3, replaytest.Aborted)
		b.log.Batch = 10
		b.options.BatchRecords = 4
		b.sink.Refuse = func(it *replay.Item) string {
			if it.Record.Offset == 7 {
				return "too long"
			}
			return ""
		}
		b.start()
		d := b.all()
		d.Filter, d.OnError = `value.id % 5 != 0 && offset < 1000`, replay.OnErrorDLQ
		p := b.approved(d)
		b.stop()
		j, died := b.untilOver(p, steps)
		want := replay.Counts{Offsets: 103, Seen: 101, Written: 77, Filtered: 20, DLQ: 4, Control: 1, Aborted: 1}
		got := j.Counts
		got.Recovered, got.Bytes = 0, 0
		if got != want {
			t.Fatalf("killed before step %d: %+v, want %+v", steps, got, want)
		}
		b.wantDone(j, replay.OutcomeExceptions, 77)
		if n, err := b.ledger.CountParked(context.Background(), j.ID, "", stream.Range{}); err != nil || n[replay.ParkRefused] != 3 || n[replay.ParkFilter] != 1 {
			t.Errorf("killed before step %d: parked %v, %v", steps, n, err)
		}
		if t.Failed() {
			t.Fatalf("killed before step %d", steps)
		}
		if !died {
			break
		}
		deaths++
	}
	if deaths < 10 {
		t.Errorf("only %d deaths", deaths)
	}
	t.Logf("%d deaths", deaths)
}

// endpointBench is a bench whose sink is an endpoint.
func endpointBench(t *testing.T, records int, idempotent bool) (*bench, *replaytest.MemoryEndpoint) {
	b := newBench(t, records)
	e := &replaytest.MemoryEndpoint{}
	b.world.Sinks["warehouse"] = replaytest.WorldSink{Sink: e, Target: replay.Target{Type: "http", URL: "https://example.com/hook",
		Guarantee: replay.GuaranteeInDoubt, Idempotent: idempotent}}
	b.options.BatchRecords = 4
	return b, e
}

// C10, C11: at an endpoint that knows its keys, a killed process costs repeated calls under the same keys, no more.
// At one that does not, what may have been sent is in doubt, and nothing is sent twice.
func TestEndpointKilledAtEveryStep(t *testing.T) {
	for _, idempotent := range []bool{true, false} {
		t.Run(fmt.Sprintf("idempotent=%v", idempotent), func(t *testing.T) {
			doubts := int64(0)
			for steps := int64(0); ; steps += 1 + rand.Int64N(3) {
				b, e := endpointBench(t, 40, idempotent)
				b.start()
				d := b.all()
				d.Target = ""
				p := b.plan(d)
				doc, err := replay.ParsePlan(p.Document)
				if err != nil {
					t.Fatal(err)
				}
				doc.Plan.Limits.MaxInDoubt = 100
				if doc, err = doc.Plan.Freeze(); err != nil {
					t.Fatal(err)
				}
				p = b.approved(replay.Draft{Document: doc.Bytes})
				b.stop()
				pw := newPower(steps)
				b.plug(pw)
				e.Sending = func(*replay.Item) error { return pw.step() }
				e.Answering = func(*replay.Item) error { return pw.step() }
				j, died := b.endpointOver(e, p, pw)
				if j.State != replay.JobCompleted || !j.Counts.Closes() {
					t.Fatalf("killed before step %d: %s %s: %v", steps, j.State, j.Reason, j.Counts)
				}
				calls := e.Calls()
				for k, n := range calls {
					if n > 1 && !idempotent {
						t.Fatalf("killed before step %d: %s was sent %d times", steps, k, n)
					}
				}
				switch c := j.Counts; {
				case idempotent && (c.Written != 40 || len(calls) != 40):
					t.Fatalf("killed before step %d: %d keys, %v", steps, len(calls), c)
				case !idempotent && (c.Written+c.InDoubt != 40 || int64(len(calls)) < c.Written):
					t.Fatalf("killed before step %d: %d keys, %v", steps, len(calls), c)
				}
				doubts += j.Counts.InDoubt
				if !died {
					break
				}
			}
			if (doubts > 0) == idempotent {
				t.Errorf("%d records in doubt", doubts)
			}
		})
	}
}

func (b *bench) endpointOver(e *replaytest.MemoryEndpoint, p replay.StoredPlan, pw *power) (replay.Job, bool) {
	b.Helper()
	b.start()
	j, err := b.service.Run(b.ctx(), "ana", p.ID, false)
	if err == nil {
		ctx, cancel := context.WithCancel(b.ctx())
		go func() {
			select {
			case <-pw.dead:
				cancel()
			case <-ctx.Done():
			}
		}()
		v, err := b.service.Wait(ctx, j.ID)
		cancel()
		if err == nil && v.State == replay.JobCompleted {
			b.stop()
			return v.Job, false
		}
		<-pw.dead
	}
	b.stop()
	b.plug(newPower(1 << 60))
	e.Sending, e.Answering = nil, nil
	b.options.Dead = func(string) bool { return true }
	b.options.Holder += "+"
	b.start()
	defer b.stop()
	return b.wait(b.again(p)), true
}

// T41: an answer that never came is in doubt where the receiver does not know its keys, and sent again where it does.
func TestLostAnswer(t *testing.T) {
	for _, idempotent := range []bool{true, false} {
		b, e := endpointBench(t, 40, idempotent)
		var lost atomic.Bool
		e.Answering = func(it *replay.Item) error {
			if it.Record.Partition == 1 && it.Record.Offset == 5 && !lost.Swap(true) {
				return errors.New("connection reset")
			}
			return nil
		}
		b.start()
		d := b.all()
		d.Target = ""
		j := b.wait(b.run(b.approved(d)).ID)
		if idempotent {
			if j.Outcome != replay.OutcomeClean || j.Counts.Written != 40 {
				t.Errorf("%s: %s, %v", j.State, j.Reason, j.Counts)
			}
			continue
		}
		// The plan allows none in doubt.
		if j.State != replay.JobBlocked || j.Blocked != replay.BlockInDoubt || j.Counts.InDoubt != 1 {
			t.Errorf("%s (%s): %s, %v", j.State, j.Blocked, j.Reason, j.Counts)
		}
		for k, n := range e.Calls() {
			if n != 1 {
				t.Errorf("%s was sent %d times", k, n)
			}
		}
	}
}

// T26: the sink's progress counts, in either direction.
func TestSinkOutranksLedger(t *testing.T) {
	for _, c := range []struct {
		name                 string
		sinkNext, ledgerNext int64
		recovered            int64
		action               string
	}{
		{"the sink is ahead", 150, 100, 50, "replay.recovered"},
		{"the ledger is ahead", 100, 150, 100, "progress.rewound"},
		{"the sink was emptied", 0, 150, 0, "progress.rewound"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, 0)
			b.log.Create("one", 1)
			for i := range 200 {
				b.log.Append("one", 0, stream.Record{Time: base, Value: fmt.Appendf(nil, `{"id":%d}`, i)})
			}
			b.options.BatchRecords, b.options.Grace = 50, time.Millisecond
			gate := make(chan struct{})
			b.sink.Committing = func(ctx context.Context, _ replay.Shard, w replay.Write) error {
				if w.Next > 150 {
					select {
					case <-gate:
					case <-ctx.Done():
						return ctx.Err()
					}
				}
				return nil
			}
			b.start()
			j := b.run(b.approved(replay.Draft{Cluster: "local", Topic: "one", All: true, Sink: "warehouse"}))
			b.until(j.ID, func(j replay.Job) bool { return j.Counts.Written == 150 })
			b.stop()
			close(gate)
			j, err := b.ledger.Job(b.ctx(), j.ID)
			if err != nil {
				t.Fatal(err)
			}
			j.Shards[0].Next, j.Shards[0].SinkNext = c.ledgerNext, c.ledgerNext
			j.Shards[0].Counts = replay.Counts{Offsets: 200, Seen: c.ledgerNext, Written: c.ledgerNext}
			b.ledger.SetJob(j)
			b.sink.SetHeld(j.ID, "one", 0, replay.Progress{Next: c.sinkNext})
			b.start()
			j = b.wait(j.ID)
			if j.State != replay.JobCompleted || j.Counts.Written != 200 || j.Counts.Recovered != c.recovered || !j.Counts.Closes() {
				t.Errorf("%s: %s, %+v", j.State, j.Reason, j.Counts)
			}
			if got := int64(len(b.sink.Records())); got != 150+200-c.sinkNext {
				t.Errorf("%d records were written", got)
			}
			found := false
			for _, e := range b.ledger.Entries() {
				found = found || e.Action == c.action && e.Phase == auditlog.Note
			}
			if !found {
				t.Errorf("no entry %s", c.action)
			}
		})
	}
}

// T27: progress that the plan's range cannot explain is not adopted.
func TestUnexplainedProgress(t *testing.T) {
	b := newBench(t, 400)
	first := make(chan string, 1)
	b.sink.Committing = func(_ context.Context, s replay.Shard, _ replay.Write) error {
		select {
		case first <- s.Owner:
		default:
		}
		return fault.New(fault.Blocked, "write", "", "wait")
	}
	b.start()
	j := b.wait(b.run(b.approved(b.all())).ID)
	b.sink.SetHeld(j.ID, "orders", 2, replay.Progress{Next: 5000})
	b.sink.Committing = nil
	j, err := b.service.Resume(b.ctx(), "ana", j.ID, replay.Resume{})
	if err != nil {
		t.Fatal(err)
	}
	j = b.wait(j.ID)
	if j.State != replay.JobBlocked || j.Blocked != replay.BlockUnexplained || j.Shards[2].Next != 0 {
		t.Errorf("%s (%s): %s", j.State, j.Blocked, j.Reason)
	}
}

// T32: a frozen runner whose job was taken over writes nothing more and ends fenced.
func TestFencing(t *testing.T) {
	for _, fences := range []bool{true, false} {
		t.Run(fmt.Sprintf("sink fences=%v", fences), func(t *testing.T) {
			a := newBench(t, 400)
			var endpoint *replaytest.MemoryEndpoint
			if !fences {
				a, endpoint = endpointBench(t, 400, true)
			}
			frozen, thaw := make(chan struct{}), make(chan struct{})
			var once sync.Once
			var thawed atomic.Bool
			freeze := func() {
				if !thawed.Load() {
					once.Do(func() { close(frozen) })
					<-thaw
				}
			}
			a.options.Lease = time.Hour // the frozen runner does not notice by its own lease
			a.sink.Committing = func(_ context.Context, s replay.Shard, w replay.Write) error {
				if s.Epoch == 1 {
					freeze()
				}
				return nil
			}
			if endpoint != nil {
				// Frozen while it reads: the announcement of what it read is what must fail.
				a.log.Batch = 10
				a.log.Reading = func(_ string, _ int32, from int64) error {
					if from > 0 {
						freeze()
					}
					return nil
				}
			}
			a.start()
			d := a.all()
			if endpoint != nil {
				d.Target = ""
			}
			p := a.approved(d)
			melt := sync.OnceFunc(func() { close(thaw) })
			t.Cleanup(melt)
			j := a.run(p)
			<-frozen

			b := *a
			b.options.Holder = "two"
			if endpoint != nil {
				thawed.Store(true)
				b.log = a.log
			}
			(&b).start()
			if _, err := b.service.Run(b.ctx(), "ben", p.ID, false); err != nil {
				t.Fatalf("the job, as it is: %v", err)
			}
			_, err := b.service.Resume(b.ctx(), "ben", j.ID, replay.Resume{})
			kindIs(t, err, fault.Conflict, "LEASED")
			over, err := b.service.Run(b.ctx(), "ben", p.ID, true)
			if err != nil || over.Epoch != 2 {
				t.Fatalf("take-over: %v, epoch %d", err, over.Epoch)
			}
			done := b.wait(j.ID)
			calls := 0
			if endpoint != nil {
				calls = len(endpoint.Calls())
			}
			thawed.Store(true)
			melt()
			v, err := a.service.Wait(a.ctx(), j.ID)
			if err != nil {
				t.Fatal(err)
			}
			if done.State != replay.JobCompleted || v.State != replay.JobCompleted || v.Epoch != 2 {
				t.Errorf("%s, then %s at epoch %d", done.State, v.State, v.Epoch)
			}
			a.stop()
			if endpoint == nil {
				a.wantOnce(400)
			} else if n := len(endpoint.Calls()); n != calls {
				t.Errorf("%d keys sent, %d after the thaw", calls, n)
			}
		})
	}
}
