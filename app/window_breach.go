package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"freshet/backend/api"
)

// watchEvery is how often the window looks for breaches: a notification may be that late.
const watchEvery = 5 * time.Second

// watch notifies of paths that become late, until ctx ends.
func (w *window) watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var seen breaches
	for {
		if paths, err := w.paths(ctx); err != nil {
			w.log.Debug("the window does not see the map", "err", err) // its page says so to the person
		} else if title, body := sentence(seen.look(paths)); title != "" {
			if err := w.tell(title, body); err != nil {
				w.log.Warn("nobody was notified", "of", title, "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (w *window) paths(ctx context.Context) ([]api.Path, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/api/map", nil)
	if err != nil {
		return nil, err
	}
	var body bytes.Buffer
	a := answer{header: http.Header{}, status: http.StatusOK, to: &body}
	if err := a.take(w.handler, r); err != nil {
		return nil, err
	}
	if a.status != http.StatusOK {
		return nil, a.refusal(bytes.NewReader(body.Bytes()))
	}
	var m api.Map
	return m.Paths, json.Unmarshal(body.Bytes(), &m)
}

// breaches are the paths that are late and were told of, by cluster and name.
type breaches map[[2]string]bool

// look returns the paths that have become late since the look before; at the first there is none before, and what is
// late then is on the screen already. A breach is over once its path is known to be in time, not while it is unknown.
func (b *breaches) look(paths []api.Path) []api.Path {
	first := *b == nil
	if first {
		*b = breaches{}
	}
	var fresh []api.Path
	for _, p := range paths {
		key := [2]string{p.Cluster, p.Path}
		switch p.State {
		case "late", "dead":
			if !(*b)[key] && !first {
				fresh = append(fresh, p)
			}
			(*b)[key] = true
		case "on_time", "idle", "paused":
			delete(*b, key)
		}
	}
	return fresh
}

// sentence tells of new breaches in one notification, "" of none.
func sentence(fresh []api.Path) (title, body string) {
	if len(fresh) == 0 {
		return "", ""
	}
	p := fresh[0]
	name := p.Path
	if r := []rune(name); len(r) > 80 {
		name = string(r[:79]) + "…"
	}
	switch v, low := p.Total.Value, p.Total.Low; {
	case v != nil:
		title = name + " is " + age(*v) + " behind"
	case low != nil:
		title = name + " is at least " + age(*low) + " behind"
	default:
		title = name + " is late"
	}
	if n := len(fresh) - 1; n > 0 {
		title += fmt.Sprintf(", and %d more", n)
	}
	if p.Objective != nil {
		body = "It is to be at most " + age(*p.Objective) + " behind."
	}
	return title, body
}

// age writes seconds as a person says them.
func age(s float64) string {
	switch {
	case s < 120:
		return fmt.Sprintf("%.0f s", s)
	case s < 120*60:
		return fmt.Sprintf("%.0f min", s/60)
	default:
		return fmt.Sprintf("%.0f h", s/3600)
	}
}
