package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"freshet/backend/fault"
)

const (
	eventLimit     = 1 << 20 // bytes of one event
	keysRemembered = 100_000 // idempotency keys; the oldest is forgotten
	throttleShare  = 50      // one request of so many is told to come again
	failureShare   = 80      // one of so many fails
	endpointWait   = 5 * time.Second
)

// endpoint is somebody else's web service, as those are: it takes events, sometimes it is busy (429), sometimes it fails
// (500), before or after it took the event, and what it cannot take it refuses for good (422). It knows events it took
// already by their Idempotency-Key.
type endpoint struct {
	log *slog.Logger

	mu     sync.Mutex
	random *rand.Rand
	stats  EndpointStats
	keys   map[string]struct{}
	order  []string // keys, oldest first from next on, a ring once it is full
	next   int
}

// EndpointStats is the JSON that the endpoint answers GET /stats with.
type EndpointStats struct {
	Accepted   int64 `json:"accepted"`   // events taken, each once
	Duplicates int64 `json:"duplicates"` // events that came again under a key it had taken
	Keyless    int64 `json:"keyless"`    // accepted events without a key
	Throttled  int64 `json:"throttled"`  // answered 429
	Failed     int64 `json:"failed"`     // answered 500; half of these had been taken
	Refused    int64 `json:"refused"`    // answered 400 or 422
}

func runEndpoint(ctx context.Context, t *talk, address string, log *slog.Logger) error {
	listener, err := net.Listen("tcp", address)
	if err != nil { // somebody took the port since we looked
		if listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return fault.Wrap(fault.Unavailable, "open the demo's endpoint", err, "see whether loopback works on this machine")
		}
	}
	server := &http.Server{
		Handler: newEndpoint(log, rand.Uint64()), ReadTimeout: endpointWait, WriteTimeout: endpointWait, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.say(reply{Address: listener.Addr().String()})
	t.serve(func(command) reply { return reply{} })
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endpointWait)
	defer cancel()
	err = server.Shutdown(ctx)
	if e := <-served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

func newEndpoint(log *slog.Logger, seed uint64) http.Handler {
	e := &endpoint{log: log, random: rand.New(rand.NewPCG(seed, 0xe2d)), keys: map[string]struct{}{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /events", e.take)
	mux.HandleFunc("GET /stats", e.tell)
	return mux
}

func (e *endpoint) tell(rw http.ResponseWriter, _ *http.Request) {
	e.mu.Lock()
	stats := e.stats
	e.mu.Unlock()
	answer(rw, http.StatusOK, stats)
}

func (e *endpoint) take(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, eventLimit))
	if err != nil {
		e.refuse(rw, http.StatusBadRequest, "the event could not be read: "+err.Error())
		return
	}
	var event any
	if err := json.Unmarshal(body, &event); err != nil {
		e.refuse(rw, http.StatusBadRequest, "the event is no JSON")
		return
	}
	if currency, ok := currencyOf(event); ok && currency != "EUR" {
		e.refuse(rw, http.StatusUnprocessableEntity, fmt.Sprintf("currency %q is not known here", currency))
		return
	}
	key := r.Header.Get("Idempotency-Key")

	e.mu.Lock()
	if e.random.IntN(throttleShare) == 0 {
		e.stats.Throttled++
		e.mu.Unlock()
		rw.Header().Set("Retry-After", "1")
		answer(rw, http.StatusTooManyRequests, map[string]string{"error": "busy: come again in a second"})
		return
	}
	fails := e.random.IntN(failureShare) == 0
	if fails {
		e.stats.Failed++
	}
	if !fails || e.random.IntN(2) == 0 { // a failure can come after the effect: only the key tells the sender's retry
		e.accept(key)
	}
	e.mu.Unlock()
	if fails {
		answer(rw, http.StatusInternalServerError, map[string]string{"error": "something went wrong here"})
		return
	}
	answer(rw, http.StatusAccepted, map[string]bool{"accepted": true})
}

// accept takes an event once. e.mu is held.
func (e *endpoint) accept(key string) {
	if key == "" {
		e.stats.Keyless++
		e.stats.Accepted++
		return
	}
	if _, known := e.keys[key]; known {
		e.stats.Duplicates++
		return
	}
	e.stats.Accepted++
	e.keys[key] = struct{}{}
	if len(e.order) < keysRemembered {
		e.order = append(e.order, key)
		return
	}
	delete(e.keys, e.order[e.next])
	e.order[e.next] = key
	e.next = (e.next + 1) % keysRemembered
}

func (e *endpoint) refuse(rw http.ResponseWriter, status int, why string) {
	e.mu.Lock()
	e.stats.Refused++
	e.mu.Unlock()
	e.log.Warn("refused an event", "status", status, "why", why)
	answer(rw, status, map[string]string{"error": why})
}

// currencyOf finds the currency of an event, at its top or in what it wraps.
func currencyOf(event any) (string, bool) {
	fields, ok := event.(map[string]any)
	if !ok {
		return "", false
	}
	if currency, ok := fields["currency"].(string); ok {
		return currency, true
	}
	for _, name := range []string{"value", "payload"} {
		if currency, ok := currencyOf(fields[name]); ok {
			return currency, true
		}
	}
	return "", false
}

func answer(rw http.ResponseWriter, status int, v any) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(v) // whoever asked may be gone
}
