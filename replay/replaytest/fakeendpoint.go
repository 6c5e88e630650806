package replaytest

import (
	"context"
	"sync"
	"time"

	"freshet/backend/fault"
	"freshet/replay"
)

// MemoryEndpoint is a sink that can hold no progress and does not fence, as an HTTP endpoint. The zero value is ready.
type MemoryEndpoint struct {
	// Sending, where not nil, is called before each request; an error from it means that nothing was sent.
	Sending func(*replay.Item) error
	// Answering, where not nil, is called after each request had its effect; an error from it is an answer that was lost.
	Answering func(*replay.Item) error
	// Refuse, where not nil, returns the reason for which an item is refused, "" for none.
	Refuse func(*replay.Item) string

	mu    sync.Mutex
	calls map[string]int
}

// Calls returns how often each idempotency key was sent.
func (e *MemoryEndpoint) Calls() map[string]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := map[string]int{}
	for k, n := range e.calls {
		out[k] = n
	}
	return out
}

// Test implements replay.Sink.
func (e *MemoryEndpoint) Test(context.Context) (string, error) { return "an endpoint in memory", nil }

// Close implements replay.Sink.
func (e *MemoryEndpoint) Close() error { return nil }

// Open implements replay.Sink.
func (e *MemoryEndpoint) Open(_ context.Context, s replay.Shard) (replay.Writer, error) {
	return &endpointWriter{e, s}, nil
}

type endpointWriter struct {
	endpoint *MemoryEndpoint
	shard    replay.Shard
}

func (w *endpointWriter) Progress() replay.Progress {
	return replay.Progress{Next: w.shard.Start, None: true}
}

func (w *endpointWriter) Close(context.Context) error { return nil }

func (w *endpointWriter) Write(ctx context.Context, in replay.Write) (replay.Written, error) {
	e := w.endpoint
	out := replay.Written{Before: time.Now()}
	doubt := func(offset int64, sent bool, err error) error {
		d := &replay.InDoubt{Done: offset, Applied: out.Applied, Refused: out.Refused, Err: err}
		if sent {
			d.Unsure = []int64{offset}
		}
		return fault.Wrap(fault.Unavailable, "send", d, "")
	}
	for i := range in.Items {
		it := &in.Items[i]
		at := it.Record.Offset
		if e.Refuse != nil {
			if reason := e.Refuse(it); reason != "" {
				out.Refused = append(out.Refused, replay.Refusal{Offset: at, Reason: reason})
				if in.Refusing != nil {
					if err := in.Refusing(ctx, out.Refused[len(out.Refused)-1:]); err != nil {
						return out, doubt(at, false, err)
					}
				}
				continue
			}
		}
		if e.Sending != nil {
			if err := e.Sending(it); err != nil {
				return out, doubt(at, false, err)
			}
		}
		key := replay.IdempotencyKey(w.shard.Nonce, w.shard.TopicID, w.shard.Partition, at, w.shard.Target)
		e.mu.Lock()
		if e.calls == nil {
			e.calls = map[string]int{}
		}
		e.calls[key]++
		e.mu.Unlock()
		if e.Answering != nil {
			if err := e.Answering(it); err != nil {
				return out, doubt(at, true, err)
			}
		}
		out.Applied++
	}
	out.After = time.Now()
	return out, nil
}
