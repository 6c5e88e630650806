package probes

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"freshet/backend/fault"
)

// Options are a Scheduler's.
type Options struct {
	Log      *slog.Logger // nil discards
	Recorder Recorder     // keeps the points of every round; nil keeps none
	// OnRound is told of every round that saw something, before it is recorded, from the probe's own goroutine. It must
	// not block.
	OnRound func(probe string, r Round)
	// Deadline bounds one round; unless set it is twice the probe's pace, and at least 10 s.
	Deadline time.Duration
}

// Scheduler runs probes, each at its own pace. Rounds of one probe never overlap: a round that takes longer than the
// pace lets ticks pass, and the next starts on the tick after it, so that rounds stay on one grid. The last round that
// saw something is held, with the error of the last one where that saw nothing.
type Scheduler struct {
	o Options

	mu      sync.Mutex
	running context.Context // nil before Run and after it
	probes  map[string]*scheduled
	wait    sync.WaitGroup
}

// Status is what one probe has done.
type Status struct {
	Name     string
	Every    time.Duration
	Last     Round         // the last round that saw something; At is zero where none has. See Aging
	LastTook time.Duration // of the last round, whatever it saw
	Rounds   int64         // that saw something
	Errors   int64         // that saw nothing
	Err      error         // of the last round, nil where it saw something
	ErrAt    time.Time     // when that round ended
	Unstored int64         // rounds whose points the Recorder did not take
	StoreErr error         // of the last of them, nil once one was taken again
}

type scheduled struct {
	probe  Probe
	cancel context.CancelFunc // nil while it does not run
	done   chan struct{}
	status Status
}

// NewScheduler makes a Scheduler of probes with different names.
func NewScheduler(o Options, probes ...Probe) *Scheduler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Scheduler{o: o, probes: make(map[string]*scheduled)}
	for _, p := range probes {
		s.probes[p.Name()] = newScheduled(p)
	}
	return s
}

func newScheduled(p Probe) *scheduled {
	return &scheduled{probe: p, status: Status{Name: p.Name(), Every: p.Every()}}
}

// Run runs the probes until ctx ends, and returns when the last round has.
func (s *Scheduler) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.running != nil {
		s.mu.Unlock()
		return fault.New(fault.Conflict, "run probes", "stop the first run before another is started", "they run already")
	}
	s.running = ctx
	for _, p := range s.probes {
		s.start(p)
	}
	s.mu.Unlock()

	<-ctx.Done()
	s.mu.Lock()
	s.running = nil
	s.mu.Unlock()
	s.wait.Wait()
	return nil
}

// Add adds a probe, and starts it where the others run.
func (s *Scheduler) Add(p Probe) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.probes[p.Name()] != nil {
		return fault.New(fault.Exists, "add probe "+p.Name(), "remove it first", "there is one of this name")
	}
	n := newScheduled(p)
	s.probes[p.Name()] = n
	if s.running != nil {
		s.start(n)
	}
	return nil
}

// Remove stops a probe, waits for its round to end and forgets it. One that is not there is no error.
func (s *Scheduler) Remove(name string) {
	s.mu.Lock()
	p := s.probes[name]
	delete(s.probes, name)
	s.mu.Unlock()
	if p != nil && p.cancel != nil {
		p.cancel()
		<-p.done
	}
}

// Status returns every probe's, by name.
func (s *Scheduler) Status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	all := make([]Status, 0, len(s.probes))
	for _, p := range s.probes {
		all = append(all, p.status.aged(now))
	}
	slices.SortFunc(all, func(a, b Status) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Last returns one probe's status; ok is false where there is no such probe.
func (s *Scheduler) Last(name string) (st Status, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.probes[name]
	if !ok {
		return Status{}, false
	}
	return p.status.aged(time.Now()), true
}

// start is called with mu held.
func (s *Scheduler) start(p *scheduled) {
	ctx, cancel := context.WithCancel(s.running)
	p.cancel, p.done = cancel, make(chan struct{})
	s.wait.Go(func() {
		defer close(p.done)
		defer cancel()
		s.loop(ctx, p)
	})
}

func (s *Scheduler) loop(ctx context.Context, p *scheduled) {
	ticker := time.NewTicker(p.probe.Every())
	defer ticker.Stop()
	for {
		s.round(ctx, p)
		// A tick that fell into the round is not made up for.
		select {
		case <-ticker.C:
		default:
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (s *Scheduler) round(ctx context.Context, p *scheduled) {
	limit := s.o.Deadline
	if limit <= 0 {
		limit = max(2*p.probe.Every(), 10*time.Second)
	}
	begun := time.Now()
	rctx, cancel := context.WithTimeout(ctx, limit)
	r, err := p.probe.Round(rctx)
	if err != nil && errors.Is(rctx.Err(), context.DeadlineExceeded) {
		err = fault.Wrap(fault.Timeout, "probe "+p.probe.Name(), err, "see whether what it asks answers at all")
	}
	cancel()
	if ctx.Err() != nil {
		return // told to stop: what a cut round says counts for nothing
	}
	took := time.Since(begun)

	s.mu.Lock()
	before := p.status.Err
	p.status.LastTook = took
	if err != nil {
		p.status.Errors++
		p.status.Err, p.status.ErrAt = err, begun.Add(took)
	} else {
		p.status.Rounds++
		p.status.Last, p.status.Err, p.status.ErrAt = r, nil, time.Time{}
	}
	s.mu.Unlock()

	// A probe that keeps failing is told of once, and once when it sees again.
	switch {
	case err != nil && before == nil:
		s.o.Log.Warn("probe sees nothing", "probe", p.probe.Name(), "err", err)
	case err == nil && before != nil:
		s.o.Log.Info("probe sees again", "probe", p.probe.Name())
	}
	if err != nil {
		return
	}
	if s.o.OnRound != nil {
		s.o.OnRound(p.probe.Name(), r)
	}
	if s.o.Recorder != nil && len(r.Points) > 0 {
		s.record(ctx, p, r, limit)
	}
}

func (s *Scheduler) record(ctx context.Context, p *scheduled, r Round, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := s.o.Recorder.Append(ctx, r.At, r.Points)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if p.status.StoreErr == nil {
			s.o.Log.Warn("history does not take a round", "probe", p.probe.Name(), "err", err)
		}
		p.status.Unstored++
	}
	p.status.StoreErr = err
}
