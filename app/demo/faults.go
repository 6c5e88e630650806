package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"freshet/backend/clock"
	"freshet/backend/fault"
)

// The names of the faults.
const (
	faultSlow    = "slow-consumer"
	faultStopped = "stopped-consumer"
	faultPoison  = "poison-record"
	faultRestart = "postgres-restart"
	faultOutage  = "sink-outage"
)

const (
	poisonEvery = 15 * time.Second
	steadyPoll  = 100 * time.Millisecond
	faultWait   = 60 * time.Second // for a fault to end when its time is over
)

// faultKind is one fault: what it does and how it is undone.
type faultKind struct {
	name, does, expect string
	start              func(ctx context.Context) error
	stop               func(ctx context.Context) error // nil: it is over when start returns
}

// FaultState is one fault for whoever lists them.
type FaultState struct {
	Name   string
	Does   string // what it does
	Expect string // what a person should see
	Active bool
	Until  time.Time // zero: until it is stopped
}

// faults are the World's faults, those that are active among them.
type faults struct {
	w     *World
	kinds []faultKind

	changing sync.Mutex // one start or stop at a time
	mu       sync.Mutex
	running  map[string]*runningFault
	closed   bool
	timers   sync.WaitGroup
}

type runningFault struct {
	until time.Time
	end   context.CancelFunc // ends the goroutine that waits for until
}

func newFaults(w *World) *faults {
	f := &faults{w: w, running: map[string]*runningFault{}}
	var stopPoison func()
	f.kinds = []faultKind{
		{
			name:   faultSlow,
			does:   "The group " + slowGroup + " handles a fifth of what it could.",
			expect: "Its lag grows in records and in seconds from the first moment on, and falls again when the fault ends.",
			start:  func(ctx context.Context) error { return f.setSlow(ctx, true) },
			stop:   func(ctx context.Context) error { return f.setSlow(ctx, false) },
		},
		{
			name:   faultStopped,
			does:   "The process of the group " + steadyGroup + " is stopped (SIGSTOP): it holds its partitions and does nothing.",
			expect: "Its lag grows within ten seconds while it still looks alive; the group becomes empty when the broker has waited for it long enough.",
			start:  f.stopSteady,
			stop: func(context.Context) error {
				_ = w.signalChild(steadyGroup, sigCont) // one that was killed meanwhile runs again anyway
				return nil
			},
		},
		{
			name:   faultPoison,
			does:   fmt.Sprintf("The shop places an order in a currency that the endpoint does not know, at once and every %s.", poisonEvery),
			expect: "Each such event is refused for good (422) by the endpoint and parked with that reason; the events behind it go on.",
			start: func(ctx context.Context) error {
				if err := w.poison(ctx); err != nil {
					return err
				}
				stopPoison = f.every(poisonEvery, func(ctx context.Context) error { return w.poison(ctx) })
				return nil
			},
			stop: func(context.Context) error { stopPoison(); return nil },
		},
		{
			name:   faultRestart,
			does:   "PostgreSQL is shut down and started again.",
			expect: "The source reconnects and goes on where it was: nothing is lost, nothing comes twice, freshness shows the gap.",
			start:  func(ctx context.Context) error { return w.pg.restart(ctx) },
		},
		{
			name:   faultOutage,
			does:   "The database warehouse cuts its sessions and accepts none.",
			expect: "The sink retries and says why; its freshness grows; when the fault ends it catches up and the tables are equal again.",
			start:  func(ctx context.Context) error { return w.pg.allowWarehouse(ctx, false) },
			stop:   func(ctx context.Context) error { return w.pg.allowWarehouse(ctx, true) },
		},
	}
	return f
}

// every runs do at intervals until the returned function is called, which waits for it.
func (f *faults) every(d time.Duration, do func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var loop sync.WaitGroup
	loop.Go(func() {
		for {
			if clock.Sleep(ctx, d) != nil {
				return
			}
			if err := do(ctx); err != nil && ctx.Err() == nil {
				f.w.log.Warn("a fault could not be repeated", "error", err)
			}
		}
	})
	return func() {
		cancel()
		loop.Wait()
	}
}

func (f *faults) setSlow(ctx context.Context, slow bool) error {
	p := f.w.sup.find(slowGroup)
	if p == nil {
		return notRunning(slowGroup)
	}
	ctx, cancel := context.WithTimeout(ctx, commandWait)
	defer cancel()
	_, err := p.call(ctx, f.w.slowCommand(slow))
	return err
}

// stopSteady stops the process once it has committed in each of its topics: before that nobody could say how far behind it
// is. Where a topic brings it nothing to commit it is not waited for long.
func (f *faults) stopSteady(ctx context.Context) error {
	p := f.w.sup.find(steadyGroup)
	if p == nil {
		return notRunning(steadyGroup)
	}
	wait, cancel := context.WithTimeout(ctx, commandWait)
	defer cancel()
	for wait.Err() == nil {
		r, err := p.call(wait, command{Do: "stats"})
		if err != nil && wait.Err() == nil {
			return err
		}
		if r.Steady {
			break
		}
		_ = clock.Sleep(wait, steadyPoll)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return p.signal(sigStop)
}

func notRunning(name string) error {
	return fault.New(fault.Unavailable, "start a fault", "start the demo whole", "the demo's process %s does not run", name)
}

func (w *World) signalChild(name string, s syscall.Signal) error {
	p := w.sup.find(name)
	if p == nil {
		return notRunning(name)
	}
	return p.signal(s)
}

// poison writes an event that the endpoint refuses for good, through the outbox as the shop does.
func (w *World) poison(ctx context.Context) error {
	const op = "place an order nobody can take"
	ctx, cancel := context.WithTimeout(ctx, commandWait)
	defer cancel()
	conn, err := pgx.Connect(ctx, w.ShopDSN())
	if err != nil {
		return fault.Wrap(fault.Unavailable, op, err, "try again in a moment")
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		return writeEvent(ctx, tx, "order", "0", "OrderPlaced", map[string]any{"order_id": 0, "currency": "???", "total": "1.00", "lines": 1})
	})
	return fault.Wrap(fault.Unavailable, op, err, "try again in a moment")
}

// active reports whether a fault is going on.
func (f *faults) active(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.running[name] != nil
}

func (f *faults) kind(name string) (*faultKind, error) {
	names := make([]string, len(f.kinds))
	for i := range f.kinds {
		if f.kinds[i].name == name {
			return &f.kinds[i], nil
		}
		names[i] = f.kinds[i].name
	}
	return nil, fault.New(fault.NotFound, "find the fault "+name, fmt.Sprintf("name one of %q", names), "there is none of that name")
}

// Faults lists every fault.
func (w *World) Faults() []FaultState {
	f := w.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	states := make([]FaultState, len(f.kinds))
	for i, k := range f.kinds {
		states[i] = FaultState{Name: k.name, Does: k.does, Expect: k.expect}
		if r := f.running[k.name]; r != nil {
			states[i].Active, states[i].Until = true, r.until
		}
	}
	return states
}

// StartFault starts a fault, for d or, where d is 0, until it is stopped. A fault that is active already goes on for d
// from now.
func (w *World) StartFault(ctx context.Context, name string, d time.Duration) (FaultState, error) {
	if d < 0 {
		return FaultState{}, fault.New(fault.Invalid, "start the fault "+name, "give --for a time above 0", "for %s", d)
	}
	f := w.faults
	k, err := f.kind(name)
	if err != nil {
		return FaultState{}, err
	}
	f.changing.Lock()
	defer f.changing.Unlock()
	if f.closed {
		return FaultState{}, fault.New(fault.Unavailable, "start the fault "+name, "start the demo first", "the demo is stopping")
	}
	if !f.active(name) {
		if err := k.start(ctx); err != nil {
			return FaultState{}, err
		}
		w.log.Info("a fault has started", "fault", name, "for", d)
	}
	if k.stop != nil {
		f.keep(k, d)
	}
	return w.fault(name), nil
}

func (w *World) fault(name string) FaultState {
	all := w.Faults()
	return all[slices.IndexFunc(all, func(s FaultState) bool { return s.Name == name })]
}

// keep makes a fault active, until d is over where it is not 0.
func (f *faults) keep(k *faultKind, d time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	r := &runningFault{end: cancel}
	if d > 0 {
		r.until = time.Now().Add(d)
		f.timers.Go(func() {
			_ = clock.Sleep(ctx, d)
			ctx, cancel := context.WithTimeout(ctx, faultWait)
			defer cancel()
			for ctx.Err() == nil {
				err := f.endRun(ctx, k, r)
				if err == nil {
					return
				}
				f.w.log.Error("a fault could not be ended", "fault", k.name, "error", err)
				_ = clock.Sleep(ctx, retryPause)
			}
		})
	}
	f.mu.Lock()
	if before := f.running[k.name]; before != nil {
		before.end()
	}
	f.running[k.name] = r
	f.mu.Unlock()
}

// endRun ends a fault unless it was ended or prolonged meanwhile.
func (f *faults) endRun(ctx context.Context, k *faultKind, r *runningFault) error {
	f.changing.Lock()
	defer f.changing.Unlock()
	f.mu.Lock()
	current := f.running[k.name] == r
	f.mu.Unlock()
	if !current {
		return nil
	}
	return f.end(ctx, k)
}

// end undoes an active fault; one that cannot be undone stays active. f.changing is held.
func (f *faults) end(ctx context.Context, k *faultKind) error {
	if err := k.stop(ctx); err != nil {
		return err
	}
	f.mu.Lock()
	r := f.running[k.name]
	delete(f.running, k.name)
	f.mu.Unlock()
	r.end()
	f.w.log.Info("a fault has ended", "fault", k.name)
	return nil
}

// StopFault ends a fault. One that is not active is left as it is.
func (w *World) StopFault(ctx context.Context, name string) (FaultState, error) {
	f := w.faults
	k, err := f.kind(name)
	if err != nil {
		return FaultState{}, err
	}
	f.changing.Lock()
	defer f.changing.Unlock()
	if f.active(name) {
		if err := f.end(ctx, k); err != nil {
			return FaultState{}, err
		}
	}
	return w.fault(name), nil
}

// StopFaults ends every fault.
func (w *World) StopFaults(ctx context.Context) error {
	var errs []error
	for _, k := range w.faults.kinds {
		_, err := w.StopFault(ctx, k.name)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// close ends every fault and lets none start any more.
func (f *faults) close(ctx context.Context) error {
	f.changing.Lock()
	f.closed = true
	f.changing.Unlock()
	err := f.w.StopFaults(ctx)
	f.mu.Lock()
	for _, r := range f.running {
		r.end()
	}
	f.mu.Unlock()
	f.timers.Wait()
	return err
}
