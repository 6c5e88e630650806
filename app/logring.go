package app

import (
	"context"
	"errors"
	"log/slog"
	"sync"
)

// Bounds of what is kept of the log for diagnostics.
const (
	keptLines = 1000
	lineBytes = 2000
)

// logRing keeps the newest lines of a log.
type logRing struct {
	mu    sync.Mutex
	lines []string
	next  int // where the oldest is, once it is full
}

// handler writes to the ring, without what a text can quote of a record.
func (r *logRing) handler() slog.Handler {
	return slog.NewTextHandler(r, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindString {
			a.Value = slog.StringValue(withoutQuotes(a.Value.String()))
		}
		return a
	}})
}

// Write takes one line, as slog's handlers write them.
func (r *logRing) Write(line []byte) (int, error) {
	n := len(line)
	if n > lineBytes {
		line = append(line[:lineBytes:lineBytes], "…\n"...)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.lines) < keptLines {
		r.lines = append(r.lines, string(line))
		return n, nil
	}
	r.lines[r.next] = string(line)
	r.next = (r.next + 1) % keptLines
	return n, nil
}

// all are the lines, oldest first.
func (r *logRing) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(append([]string{}, r.lines[r.next:]...), r.lines[:r.next]...)
}

// bothHandlers gives every record to those of two handlers that want its level.
type bothHandlers [2]slog.Handler

func (b bothHandlers) Enabled(ctx context.Context, l slog.Level) bool {
	return b[0].Enabled(ctx, l) || b[1].Enabled(ctx, l)
}

func (b bothHandlers) Handle(ctx context.Context, r slog.Record) error {
	var errs []error
	for _, h := range b {
		if h.Enabled(ctx, r.Level) {
			errs = append(errs, h.Handle(ctx, r.Clone()))
		}
	}
	return errors.Join(errs...)
}

func (b bothHandlers) WithAttrs(attrs []slog.Attr) slog.Handler {
	return bothHandlers{b[0].WithAttrs(attrs), b[1].WithAttrs(attrs)}
}

func (b bothHandlers) WithGroup(name string) slog.Handler {
	return bothHandlers{b[0].WithGroup(name), b[1].WithGroup(name)}
}
