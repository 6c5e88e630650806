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

// wishes are those that are not granted yet.
type wishes struct {
	mu   sync.Mutex
	list []wish
}

func (w *wishes) get() []wish {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.list
}

// grant makes what can be made of list, keeps the rest and returns it.
func (w *wishes) grant(ctx context.Context, list []wish) []wish {
	ctx = auth.With(ctx, auth.Person{ID: "config", Local: true})
	var left []wish
	for _, x := range list {
		if x.err = x.make(ctx); x.err != nil && !fault.Is(x.err, fault.Exists) {
			left = append(left, x)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = left
	return left
}

// configure makes what the configuration names and is not there yet. What can never be made ends the start. What cannot
// be made now, since its cluster is locked or its database away, is left to later, which tries until ctx ends: the
// console is needed most when something is down.
func (a *App) configure(ctx context.Context) (later func(context.Context), err error) {
	for _, w := range a.wishes.grant(ctx, a.missing(ctx)) {
		if fault.Is(w.err, fault.Invalid) || fault.Is(w.err, fault.Internal) {
			return nil, w.err
		}
		a.log.Warn("what the configuration names is not there yet", "what", w.what, "err", w.err)
	}
	return func(ctx context.Context) {
		left := a.wishes.get()
		for pause := firstConfigure; len(left) > 0; pause = min(2*pause, lastConfigure) {
			if clock.Sleep(ctx, pause) != nil {
				return
			}
			left = a.wishes.grant(ctx, left)
		}
	}, nil
}

// missing is what the configuration names and is not there.
func (a *App) missing(ctx context.Context) (list []wish) {
	c := a.o.Config
	for _, x := range c.Clusters {
		if _, err := a.cluster(x.Name); fault.Is(err, fault.NotFound) {
			list = append(list, wish{what: "cluster " + x.Name, make: func(ctx context.Context) error { _, err := clusters{a}.Add(ctx, x.Spec()); return err }})
		}
	}
	for _, x := range c.Sources {
		if _, err := a.cdc.Pipeline(x.Name); fault.Is(err, fault.NotFound) {
			list = append(list, wish{what: "source " + x.Name, make: func(ctx context.Context) error { _, err := sources{a}.Create(ctx, x.Spec()); return err }})
		}
	}
	for _, x := range c.Sinks {
		if _, err := a.sinkDocs.Get(ctx, x.Name); fault.Is(err, fault.NotFound) {
			list = append(list, wish{what: "sink " + x.Name, make: func(ctx context.Context) error { _, err := sinks{a}.Create(ctx, x.Spec()); return err }})
		}
	}
	return list
}
