package app

import (
	"context"
	"sync"
	"time"

	"freshet/backend/auth"
	"freshet/backend/clock"
	"freshet/backend/fault"
)

// What the configuration names and could not be made is tried again after firstConfigure, then less and less often: each
// try may be told in the audit history.
const (
	firstConfigure = 5 * time.Second
	lastConfigure  = 5 * time.Minute
)

// wish is something that the configuration names.
type wish struct {
	what string // "source shop"
	make func(context.Context) error
	err  error // why it is not there yet
}

// wishes are those that could not be granted yet.
type wishes struct {
	mu   sync.Mutex
	list []wish
}

func (w *wishes) get() []wish {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.list
}

// configure makes what the configuration names and is not there yet. What can never be made ends the start. What cannot
// be made now, since its cluster is locked or its database away, is left to later, which tries until ctx ends: the
// console is needed most when something is down.
func (a *App) configure(ctx context.Context) (later func(context.Context), err error) {
	c := a.o.Config
	if c == nil {
		return func(context.Context) {}, nil
	}
	var all []wish
	for _, x := range c.Clusters {
		if _, err := a.cluster(x.Name); fault.Is(err, fault.NotFound) {
			all = append(all, wish{what: "cluster " + x.Name, make: func(ctx context.Context) error { _, err := clusters{a}.Add(ctx, x.Spec()); return err }})
		}
	}
	for _, x := range c.Sources {
		if _, err := a.cdc.Pipeline(x.Name); fault.Is(err, fault.NotFound) {
			all = append(all, wish{what: "source " + x.Name, make: func(ctx context.Context) error { _, err := sources{a}.Create(ctx, x.Spec()); return err }})
		}
	}
	for _, x := range c.Sinks {
		if _, err := a.sinkDocs.Get(ctx, x.Name); fault.Is(err, fault.NotFound) {
			all = append(all, wish{what: "sink " + x.Name, make: func(ctx context.Context) error { _, err := sinks{a}.Create(ctx, x.Spec()); return err }})
		}
	}
	grant := func(ctx context.Context, all []wish) (left []wish) {
		ctx = auth.With(ctx, auth.Person{ID: "config", Local: true})
		for _, w := range all {
			if w.err = w.make(ctx); w.err != nil && !fault.Is(w.err, fault.Exists) {
				left = append(left, w)
			}
		}
		return left
	}
	keep := func(left []wish) {
		a.wishes.mu.Lock()
		a.wishes.list = left
		a.wishes.mu.Unlock()
	}
	left := grant(ctx, all)
	for _, w := range left {
		if fault.Is(w.err, fault.Invalid) || fault.Is(w.err, fault.Internal) {
			return nil, w.err
		}
		a.log.Warn("what the configuration names is not there yet", "what", w.what, "err", w.err)
	}
	keep(left)
	return func(ctx context.Context) {
		for pause := firstConfigure; len(left) > 0; pause = min(2*pause, lastConfigure) {
			if clock.Sleep(ctx, pause) != nil {
				return
			}
			left = grant(ctx, left)
			keep(left)
		}
	}, nil
}
