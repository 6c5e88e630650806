package cdc

import (
	"context"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"freshet/backend/fault"
	"freshet/probes"
)

const (
	firstRetry = 250 * time.Millisecond
	lastRetry  = 30 * time.Second

	// deniedRetry keeps a wrong password below three tries in ten minutes, so that no account is locked by us.
	deniedRetry = 4 * time.Minute
)

// PipelineOptions make a Pipeline.
type PipelineOptions struct {
	Stored  Stored // as kept
	Source  Source
	Log     Log
	Schemas Schemas
	Store   Store
	// MaxRecordBytes is what the log takes as one record; 0 leaves it to the log. A larger change stops the pipeline.
	MaxRecordBytes int
	Logger         *slog.Logger // nil discards
}

// Pipeline captures one source into one log for as long as it runs.
type Pipeline struct {
	o      PipelineOptions
	state  *keeper
	status *status

	mu     sync.Mutex
	writer *Writer
	cancel context.CancelCauseFunc // of the run, nil between runs
	wake   chan struct{}           // closed and made anew when a person decides
	idle   chan struct{}           // closed while no run is on
}

type pausedError struct{}

func (pausedError) Error() string { return "paused" }

// NewPipeline makes a pipeline; Run starts it.
func NewPipeline(o PipelineOptions) *Pipeline {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Logger = o.Logger.With("source", o.Stored.Options.Name)
	s := o.Stored.State
	idle := make(chan struct{})
	close(idle)
	return &Pipeline{
		o:     o,
		state: &keeper{store: o.Store, stored: o.Stored},
		status: &status{progress: probes.SourceProgress{
			Source: o.Stored.Options.Name, Cluster: o.Stored.Options.Cluster, State: Reconnecting, Why: "not started",
			Confirmed: s.Confirmed, Appended: s.Confirmed, Received: s.Confirmed,
			ClockOffset: math.NaN(), ClockError: math.NaN(),
		}},
		wake: make(chan struct{}),
		idle: idle,
	}
}

// Options are what the pipeline captures.
func (p *Pipeline) Options() Options { return p.o.Stored.Options }

// Source is the pipeline's source.
func (p *Pipeline) Source() Source { return p.o.Source }

// State is what is kept of the source.
func (p *Pipeline) State() State { return p.state.get() }

// Progress is how far the capture has got.
func (p *Pipeline) Progress() probes.SourceProgress {
	progress, _ := p.status.get()
	p.mu.Lock()
	w := p.writer
	p.mu.Unlock()
	if w != nil {
		w.progress(&progress)
	}
	return progress
}

// Findings is what a person should know of the running source.
func (p *Pipeline) Findings() []Finding {
	_, f := p.status.get()
	return f
}

// Run captures until ctx ends and returns nil. It is called once.
func (p *Pipeline) Run(ctx context.Context) error {
	delay := firstRetry
	for ctx.Err() == nil {
		wake := p.wakeChan()
		if p.state.get().Paused {
			p.show(Paused, "")
			p.wait(ctx, wake, 0)
			delay = firstRetry
			continue
		}
		if hole := p.state.get().Hole; hole != "" {
			p.stop(ctx, wake, fault.New(fault.Blocked, "capture", "drop the source and create it anew, its snapshot brings every row again", "%s", hole))
			continue
		}
		streamed, err := p.once(ctx)
		if ctx.Err() != nil {
			break
		}
		if streamed {
			delay = firstRetry
		}
		switch fault.KindOf(err) {
		case "": // paused
		case fault.Unavailable, fault.Timeout, fault.Conflict, fault.Interrupted:
			p.o.Logger.Warn("capture is interrupted", "err", err, "retry", delay)
			p.show(Reconnecting, err.Error())
			p.wait(ctx, wake, delay/2+rand.N(delay/2))
			delay = min(2*delay, lastRetry)
		case fault.Denied:
			p.o.Logger.Error("capture is refused", "err", err, "retry", deniedRetry)
			p.show(Reconnecting, err.Error())
			p.wait(ctx, wake, deniedRetry)
		default:
			p.stop(ctx, wake, err)
			delay = firstRetry
		}
	}
	p.show(Stopped, "Freshet ends")
	return nil
}

// Pause stops capturing until Resume and returns once nothing is on its way. The slot goes on holding what is not
// captured.
func (p *Pipeline) Pause(ctx context.Context) error {
	if err := p.state.update(ctx, func(s *State) { s.Paused = true }); err != nil {
		return err
	}
	return p.interrupt(ctx)
}

// Resume goes on after Pause, and tries again now after a stop or while waiting to.
func (p *Pipeline) Resume(ctx context.Context) error {
	if p.state.get().Paused {
		if err := p.state.update(ctx, func(s *State) { s.Paused = false }); err != nil {
			return err
		}
	}
	p.status.set(func(s *probes.SourceProgress) {
		if s.State == Paused || s.State == Stopped {
			s.State, s.Why = Reconnecting, "resumed"
		}
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.wake)
	p.wake = make(chan struct{})
	return nil
}

// interrupt ends the run that is on, if any, and waits for its end.
func (p *Pipeline) interrupt(ctx context.Context) error {
	p.mu.Lock()
	if p.cancel != nil {
		p.cancel(pausedError{})
	}
	close(p.wake)
	p.wake = make(chan struct{})
	idle := p.idle
	p.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return fault.Wrap(fault.Timeout, "pause", ctx.Err(), "the pause stands; what is on its way is still being confirmed")
	}
}

// once runs the source once. streamed says that it got as far as streaming.
func (p *Pipeline) once(ctx context.Context) (streamed bool, err error) {
	run, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := newWriter(p.o, p.state, p.status, cancel)
	p.mu.Lock()
	p.writer, p.cancel, p.idle = w, cancel, make(chan struct{})
	p.mu.Unlock()
	defer p.over(w)
	if p.state.get().Paused { // Pause came before it could see this run
		return false, nil
	}
	p.show(Reconnecting, "connecting")
	if err := w.Save(ctx, func(*State) {}); err != nil {
		return false, err
	}

	// The confirmations outlive the run, which ends with one.
	confirming, stopConfirming := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.confirmLoop(confirming)
	}()
	err = p.o.Source.Run(run, w)
	if cause := w.err(); cause != nil {
		err = cause
	} else if run.Err() != nil {
		err = nil // on request
	} else if err == nil {
		err = fault.New(fault.Unavailable, "capture", "it is tried again soon", "the source has ended by itself")
	}
	cancel(nil)
	stopConfirming()
	<-done

	// Another run reads back what the topics hold, so nothing of this one may be on its way any more.
	if ctx.Err() == nil {
		if landErr := w.landedAll(ctx); landErr != nil {
			err = landErr
		}
	}
	progress, _ := p.status.get()
	return progress.State == Streaming, err
}

// over keeps what the writer knew and lets those go on who wait for the run's end.
func (p *Pipeline) over(w *Writer) {
	paused := p.state.get().Paused
	p.status.set(func(s *probes.SourceProgress) {
		w.progress(s)
		s.Pending = time.Time{}
		if paused {
			s.State, s.Why = Paused, ""
		}
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writer, p.cancel = nil, nil
	close(p.idle)
}

// stop waits for a person.
func (p *Pipeline) stop(ctx context.Context, wake <-chan struct{}, err error) {
	p.o.Logger.Error("capture has stopped", "err", err)
	p.show(Stopped, err.Error())
	p.wait(ctx, wake, 0)
}

func (p *Pipeline) show(state, why string) {
	p.status.set(func(s *probes.SourceProgress) { s.State, s.Why = state, why })
}

func (p *Pipeline) wakeChan() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wake
}

// wait waits for a person, and where d is not 0 no longer than d.
func (p *Pipeline) wait(ctx context.Context, wake <-chan struct{}, d time.Duration) {
	var timeout <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timeout = t.C
	}
	select {
	case <-ctx.Done():
	case <-wake:
	case <-timeout:
	}
}
