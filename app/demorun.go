package app

import (
	"context"
	"strings"
	"sync"
	"time"

	"freshet/app/demo"
	"freshet/backend/api"
	"freshet/backend/auditlog"
	"freshet/backend/auth"
	"freshet/backend/fault"
)

// States of the demo in an instance.
const (
	demoNone     = "none"
	demoStarting = "starting"
	demoRunning  = "running"
	demoFailed   = "failed"
)

// demoRun is the demo world and how far its start has got. It may start with the instance, or later in one that has
// nothing of its own.
type demoRun struct {
	starts sync.WaitGroup // a start that goes on behind

	mu     sync.Mutex
	state  string // "" is demoNone
	detail string // what it is at
	err    error  // why it failed
	world  *demo.World
	stop   context.CancelFunc // of a start that goes on behind
	closed bool               // the instance ends: nothing begins any more
}

func (r *demoRun) raised(w *demo.World) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.world = w
}

func (r *demoRun) says(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state, r.detail = demoStarting, what
}

func (r *demoRun) became(state string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state, r.detail, r.err = state, "", err
}

func (r *demoRun) current() *demo.World {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.world
}

// running is the world once all of it is there, else nil.
func (r *demoRun) running() *demo.World {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != demoRunning {
		return nil
	}
	return r.world
}

// begin takes the one place of a start that goes on behind.
func (r *demoRun) begin() (context.Context, error) {
	const op = "start the demo"
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return nil, fault.New(fault.Unavailable, op, "start Freshet again", "this instance is stopping")
	case r.state == demoStarting || r.state == demoRunning:
		return nil, fault.New(fault.Conflict, op, "see `freshet status`", "it is %s already", r.state)
	}
	ctx, stop := context.WithCancel(context.Background())
	r.state, r.detail, r.err, r.stop = demoStarting, "beginning", nil, stop
	r.starts.Add(1)
	return ctx, nil
}

// cancel ends a start that is under way and waits for it. No other begins.
func (r *demoRun) cancel() {
	r.mu.Lock()
	r.closed = true
	if r.stop != nil {
		r.stop()
	}
	r.mu.Unlock()
	r.starts.Wait()
}

// end ends a part of the world, where there is one.
func (r *demoRun) end(ctx context.Context, part func(*demo.World, context.Context) error) error {
	if w := r.current(); w != nil {
		return part(w, ctx)
	}
	return nil
}

// part is the status of a start; ok is false where there is nothing to tell.
func (r *demoRun) part() (p api.Part, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch r.state {
	case demoStarting:
		return api.Part{Part: "demo", State: "starting", Detail: r.detail}, true
	case demoFailed:
		e := api.FromError(r.err)
		return api.Part{Part: "demo", State: "stopped", Detail: e.Message, Needs: or(e.Hint, "start it again: `freshet demo start`")}, true
	}
	return api.Part{}, false
}

func (d demos) State(ctx context.Context) (api.DemoState, error) {
	out := api.DemoState{Head: api.Head{V: 1, Kind: "demo"}}
	d.demo.mu.Lock()
	out.State, out.Detail = or(d.demo.state, demoNone), d.demo.detail
	d.demo.mu.Unlock()
	switch out.State {
	case demoFailed:
		p, _ := d.demo.part()
		out.Detail, out.Needs = p.Detail, p.Needs
	case demoStarting, demoRunning:
		out.WhyNot = "it is " + out.State + " already"
		return out, nil
	}
	err := d.mayStart(ctx)
	if fault.Is(err, fault.Conflict) {
		e := api.FromError(err)
		out.WhyNot = e.Message + ": " + e.Hint
		return out, nil
	}
	out.MayStart = err == nil
	return out, err
}

// mayStart refuses the demo in an instance that has anything of somebody's own: `freshet demo --reset` removes the whole
// directory.
func (a *App) mayStart(ctx context.Context) error {
	no := func(why string) error {
		return fault.New(fault.Conflict, "", "`freshet demo --data DIR` starts it in a directory of its own", "%s", why)
	}
	if a.broker == nil {
		return no("this instance has no local broker: its configuration names clusters")
	}
	if a.o.Config.File != "" {
		return no("this instance runs by " + a.o.Config.File)
	}
	if marked, err := isDemo(a.o.DataDir); marked || err != nil {
		return err // a start that failed goes on where it stopped
	}
	if all := a.cdc.Options(); len(all) > 0 {
		return no("this instance has a source of its own: " + all[0].Name)
	}
	sinks, err := a.sinkDocs.List(ctx)
	if err != nil {
		return err
	}
	if len(sinks) > 0 {
		return no("this instance has a sink of its own: " + sinks[0].Name)
	}
	clusters, err := a.clusterDocs.List(ctx)
	if err != nil {
		return err
	}
	if len(clusters) > 0 {
		return no("this instance has a cluster of its own: " + clusters[0].Name)
	}
	c, err := a.cluster(embeddedCluster)
	if err != nil {
		return err
	}
	topics, err := c.Topics(ctx, false)
	if err != nil {
		return err
	}
	for _, t := range topics {
		if !t.Internal && !strings.HasPrefix(t.Name, "__") {
			return no("the local broker has a topic of its own: " + t.Name)
		}
	}
	return nil
}

// Start begins to start the demo. What it makes is audited by itself, and how the start ended by a note.
func (d demos) Start(ctx context.Context) (api.Receipt, error) {
	if err := d.mayStart(ctx); err != nil {
		return api.Receipt{}, fault.Wrap(fault.Conflict, "start the demo", err, "")
	}
	behind, err := d.demo.begin()
	if err != nil {
		return api.Receipt{}, err
	}
	receipt, err := d.receipt(ctx, "demo.start", "demo", map[string]string{"in": d.o.DataDir}, func(context.Context) error { return nil })
	if err != nil {
		d.demo.became(demoFailed, err)
		d.demo.starts.Done()
		return receipt, err
	}
	actor := auth.Actor(ctx)
	go func() {
		defer d.demo.starts.Done()
		err := d.startLater(behind)
		note := auditlog.Entry{Actor: actor, Action: "demo.start", Phase: auditlog.Note, Subject: "demo", Detail: detail(map[string]string{"state": demoRunning})}
		if err != nil {
			if behind.Err() == nil {
				d.log.Error("the demo cannot be started", "err", err)
			}
			note.Detail = detail(map[string]string{"state": demoFailed, "error": err.Error()})
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(behind), 10*time.Second)
		defer cancel()
		if _, err := d.store.Ledger().Record(ctx, note); err != nil {
			d.log.Error("how the demo's start ended is not in the audit history", "err", err)
		}
	}()
	receipt.State = demoStarting
	return receipt, nil
}

// startLater does what Start of an instance does for a demo, in one that runs.
func (a *App) startLater(ctx context.Context) error {
	err := a.raiseDemo(ctx)
	if err == nil {
		err = markDemo(a.o.DataDir)
	}
	if err == nil {
		a.settings.Store(demoConfig())
		err = a.wireDemo(ctx)
	}
	if err == nil {
		a.demo.became(demoRunning, nil)
		return nil
	}
	// Where the instance ends, the world ends with it in its turn.
	if w := a.demo.current(); w != nil && ctx.Err() == nil {
		ending, cancel := context.WithTimeout(ctx, stopWithin)
		defer cancel()
		if stopErr := w.Stop(ending); stopErr != nil {
			a.log.Error("what there was of the demo does not end", "err", stopErr)
		}
		a.demo.raised(nil)
	}
	a.demo.became(demoFailed, err)
	return err
}
