package app

import (
	"context"
	"time"

	"freshet/backend/auth"
	"freshet/backend/fault"
	"freshet/backend/store"
)

// keepSessions lets a page that is open go on after a restart.
func (a *App) keepSessions(ctx context.Context) error {
	const name = "page"
	docs := store.DocsOf[[]auth.Kept](a.store, "session")
	kept, err := docs.Get(ctx, name)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	a.sessions.Keep(kept.Value, func(all []auth.Kept) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := docs.Put(ctx, name, all); err != nil {
			a.log.Warn("sessions are not kept: whoever has the page open must log in again after a restart", "err", err)
		}
	})
	return nil
}
