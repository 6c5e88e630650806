package app

import (
	"context"
	"slices"
	"strings"
	"time"

	"freshet/backend/api"
	"freshet/backend/auditlog"
)

// keptEvents bounds what the map's strip of events goes back to.
const keptEvents = 200

// event adds something that happened to what the map shows. seq is the audit entry that tells of it, 0 for none.
func (a *App) event(kind, text, ref string, seq uint64) {
	e := api.MapEvent{At: api.Time(time.Now()), Kind: kind, Text: text, Ref: ref}
	if seq > 0 {
		e.Seq = api.ID(seq)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.events) == keptEvents {
		a.events = slices.Delete(a.events, 0, 1)
	}
	a.events = append(a.events, e)
}

// recentEvents are the events of the last hour, oldest first.
func (a *App) recentEvents() []api.MapEvent {
	since := api.Time(time.Now().Add(-time.Hour))
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.IndexFunc(a.events, func(e api.MapEvent) bool { return e.At >= since })
	if i < 0 {
		return nil
	}
	return slices.Clone(a.events[i:])
}

// recallEvents shows what the history tells of the last hour, so that a restart does not wipe the strip clean.
func (a *App) recallEvents(ctx context.Context) error {
	page, err := a.store.Ledger().Entries(ctx, auditlog.Filter{Since: time.Now().Add(-time.Hour), Phase: auditlog.Result, Limit: keptEvents})
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range slices.Backward(page.Items) {
		kind := "audit"
		if strings.HasPrefix(e.Action, "demo.fault.") {
			kind = "fault"
		}
		a.events = append(a.events, api.MapEvent{At: api.Time(e.At), Kind: kind, Text: e.Action + " " + e.Subject, Ref: e.Subject, Seq: api.ID(e.Seq)})
	}
	return nil
}
