package cdc

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"

	"freshet/backend/fault"
	"freshet/probes"
)

// Parts are what a Pipeline is made of beside what is kept of it.
type Parts struct {
	Source         Source
	Log            Log
	Schemas        Schemas
	MaxRecordBytes int
}

// ManagerOptions make a Manager.
type ManagerOptions struct {
	Store Store
	// Open makes the parts for a source: it finds the secret, the adapter and the cluster.
	Open   func(ctx context.Context, o Options) (Parts, error)
	Logger *slog.Logger // nil discards
}

// Manager runs the sources of one data directory.
type Manager struct {
	o ManagerOptions

	mu      sync.Mutex
	sources map[string]*managed
	runs    sync.WaitGroup
	ctx     context.Context // of Start
}

type managed struct {
	options  Options
	pipeline *Pipeline // nil where it could not be opened
	err      error     // why it could not
	cancel   context.CancelFunc
	done     chan struct{} // closed when the pipeline's run has ended
	dropping bool
}

// NewManager makes a manager; Start starts the sources that are kept.
func NewManager(o ManagerOptions) *Manager {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Manager{o: o, sources: map[string]*managed{}}
}

// Start opens and starts the sources that are kept. They run until ctx ends; Wait waits for that.
func (m *Manager) Start(ctx context.Context) error {
	kept, err := m.o.Store.Sources(ctx)
	if err != nil {
		return fault.Wrap(fault.Unavailable, "read the sources", err, "see to the data directory")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ctx = ctx
	for _, s := range kept {
		m.start(s)
	}
	return nil
}

// Wait returns when every pipeline has ended, after the end of Start's context.
func (m *Manager) Wait() { m.runs.Wait() }

// Create keeps a new source and starts it, after Start. Set-up on the server and the snapshot are the pipeline's first steps:
// Progress tells of them.
func (m *Manager) Create(ctx context.Context, o Options) error {
	if err := o.Validate(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sources[o.Name] != nil {
		return fault.New(fault.Exists, "create source "+o.Name, "choose another name, or drop the source first", "there is a source of that name")
	}
	for _, s := range m.sources {
		if s.options.Prefix == o.Prefix && s.options.Cluster == o.Cluster {
			return fault.New(fault.Exists, "create source "+o.Name, "choose another prefix", "the source %s writes topics under the prefix %s already", s.options.Name, o.Prefix)
		}
	}
	s := Stored{Options: o}
	if err := m.o.Store.SaveSource(ctx, s); err != nil {
		return fault.Wrap(fault.Unavailable, "create source "+o.Name, err, "see to the data directory")
	}
	m.start(s)
	return nil
}

// start runs a source; m.mu is held.
func (m *Manager) start(s Stored) {
	g := &managed{options: s.Options}
	m.sources[s.Options.Name] = g
	parts, err := m.o.Open(m.ctx, s.Options)
	if err != nil {
		g.err = err
		m.o.Logger.Error("a source cannot be opened", "source", s.Options.Name, "err", err)
		return
	}
	g.pipeline = NewPipeline(PipelineOptions{
		Stored: s, Source: parts.Source, Log: parts.Log, Schemas: parts.Schemas, Store: m.o.Store,
		MaxRecordBytes: parts.MaxRecordBytes, Logger: m.o.Logger,
	})
	var ctx context.Context
	ctx, g.cancel = context.WithCancel(m.ctx)
	g.done = make(chan struct{})
	m.runs.Go(func() {
		defer close(g.done)
		g.pipeline.Run(ctx)
	})
}

// Pipeline returns a source's pipeline: fault.NotFound where there is no such source, fault.Conflict while it is dropped,
// the reason where it could not be opened.
func (m *Manager) Pipeline(name string) (*Pipeline, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := m.sources[name]
	switch {
	case g == nil:
		return nil, notFound(name)
	case g.dropping:
		return nil, beingDropped(name)
	}
	return g.pipeline, g.err
}

// Pause stops a source until Resume.
func (m *Manager) Pause(ctx context.Context, name string) error {
	p, err := m.Pipeline(name)
	if err != nil {
		return err
	}
	return p.Pause(ctx)
}

// Resume goes on with a source that was paused or has stopped, and opens one that could not be.
func (m *Manager) Resume(ctx context.Context, name string) error {
	m.mu.Lock()
	g := m.sources[name]
	switch {
	case g == nil:
		m.mu.Unlock()
		return notFound(name)
	case g.dropping:
		m.mu.Unlock()
		return beingDropped(name)
	case g.pipeline == nil:
		defer m.mu.Unlock()
		kept, err := m.o.Store.Sources(ctx)
		if err != nil {
			return fault.Wrap(fault.Unavailable, "read the sources", err, "see to the data directory")
		}
		for _, s := range kept {
			if s.Options.Name == name {
				s.State.Paused = false
				m.start(s)
				return m.sources[name].err
			}
		}
		return notFound(name)
	}
	m.mu.Unlock()
	return g.pipeline.Resume(ctx)
}

// Drop stops a source, removes what it made on its server and forgets it. Its topics stay. Where the server cannot be
// asked nothing is forgotten and the source goes on, unless leave says that what is on the server may stay there.
func (m *Manager) Drop(ctx context.Context, name string, leave bool) error {
	op := "drop source " + name
	m.mu.Lock()
	g := m.sources[name]
	switch {
	case g == nil:
		m.mu.Unlock()
		return notFound(name)
	case g.dropping:
		m.mu.Unlock()
		return beingDropped(name)
	}
	g.dropping = true
	m.mu.Unlock()

	err := g.undo(ctx)
	if err != nil && leave {
		m.o.Logger.Warn("a source is forgotten, and what it made is left on its server", "source", name, "err", err)
		err = nil
	}
	if err == nil {
		err = fault.Wrap(fault.Unavailable, op, m.o.Store.DeleteSource(ctx, name), "see to the data directory")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		g.dropping = false
		if g.pipeline != nil && m.ctx.Err() == nil {
			m.start(Stored{Options: g.options, State: g.pipeline.State()})
		}
		return err
	}
	delete(m.sources, name)
	return nil
}

// undo ends a source's pipeline, which does not take long, and removes what it made on its server.
func (g *managed) undo(ctx context.Context) error {
	if g.pipeline == nil {
		return g.err
	}
	g.cancel()
	<-g.done
	return g.pipeline.Source().Drop(ctx, g.pipeline.State())
}

// Progress tells how far every source has got, by name.
func (m *Manager) Progress() []probes.SourceProgress {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []probes.SourceProgress
	for _, name := range sortedKeys(m.sources) {
		g := m.sources[name]
		if g.pipeline != nil {
			all = append(all, g.pipeline.Progress())
			continue
		}
		all = append(all, probes.SourceProgress{Source: name, Cluster: g.options.Cluster, State: Stopped, Why: g.err.Error(),
			ClockOffset: math.NaN(), ClockError: math.NaN()})
	}
	return all
}

// Options are the sources' options, by name.
func (m *Manager) Options() []Options {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Options
	for _, g := range m.sources {
		all = append(all, g.options)
	}
	slices.SortFunc(all, func(a, b Options) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func notFound(name string) error {
	return fault.New(fault.NotFound, "find source "+name, "see `freshet sources list`", "there is no such source")
}

func beingDropped(name string) error {
	return fault.New(fault.Conflict, "find source "+name, "wait for it", "it is being dropped")
}
