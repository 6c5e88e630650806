package app

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// stopWithin bounds an orderly stop.
const stopWithin = 20 * time.Second

// teardown is what undoes one step of New or Start.
type teardown struct {
	name string
	stop func(context.Context) error
}

// onStop registers what ends a part; parts end in the reverse of the order they began.
func (a *App) onStop(name string, stop func(context.Context) error) {
	a.teardowns = append(a.teardowns, teardown{name, stop})
}

// Stop ends every part, the doors first and the store last, and returns what went wrong by name. A second call does
// nothing.
func (a *App) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	var errs []error
	for i := len(a.teardowns) - 1; i >= 0; i-- {
		t := a.teardowns[i]
		begun := time.Now()
		if err := t.stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", t.name, err))
		}
		a.log.Debug("stopped", "part", t.name, "took", time.Since(begun))
	}
	a.teardowns = nil
	return errors.Join(errs...)
}

// Run builds an App, starts it, calls ready, and stops it when ctx ends.
func Run(ctx context.Context, o Options, ready func(*App)) error {
	a, err := New(ctx, o)
	if err != nil {
		return err
	}
	if err := a.Start(ctx); err != nil {
		return errors.Join(err, a.Stop())
	}
	ready(a)
	<-ctx.Done()
	return a.Stop()
}
