package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"freshet/backend/clock"
	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/replay"
)

// writer writes one shard.
type writer struct {
	sink  *Sink
	shard replay.Shard
	table tableName // of all records; zero: each change's own
	token string    // of this writer in freshet.progress: another one there fences it
	op    string

	next     int64 // as freshet.progress has it
	position stream.Position
	// unsure is a batch whose COMMIT was sent and not answered; freshet.progress knows what became of it.
	unsure *outcome

	layouts map[string]*layout // by schema and columns
	// last is the latest change's layout, most often the next one's as well, with what it was looked up by.
	last       *layout
	lastName   tableName
	lastSchema string
}

// outcome is what a batch comes to.
type outcome struct {
	next     int64
	position stream.Position
	written  replay.Written
}

const (
	// maxTries is how often a transaction is tried that deadlocks or does not serialize.
	maxTries = 5
	// resolveLimit is how long a Write waits to learn what became of a COMMIT before it gives up with Unavailable.
	resolveLimit = 10 * time.Second
)

func (w *writer) Progress() replay.Progress {
	return replay.Progress{Next: w.next, Position: w.position}
}

func (w *writer) Close(context.Context) error { return nil }

// Write implements replay.Writer.
func (w *writer) Write(ctx context.Context, batch replay.Write) (replay.Written, error) {
	op := fmt.Sprintf("write %s/%d up to offset %d at %s", w.shard.Topic, w.shard.Partition, batch.Next, w.sink.place)
	if w.unsure != nil {
		before := w.unsure
		committed, err := w.resolve(ctx)
		if err != nil {
			return replay.Written{}, failure(op, err)
		}
		if committed && before.next == batch.Next {
			return before.written, nil
		}
	}
	if batch.Next < w.next {
		return replay.Written{}, fault.New(fault.Internal, op, "", "the sink is at offset %d already", w.next)
	}
	out, err := w.write(ctx, op, batch)
	if fault.Is(err, fault.Blocked) {
		w.forget() // somebody will mend the table
	}
	return out, err
}

// forget has the tables looked at anew.
func (w *writer) forget() {
	clear(w.layouts)
	w.last = nil
}

// write tries until the batch is in, or it is certain that it is not.
func (w *writer) write(ctx context.Context, op string, batch replay.Write) (replay.Written, error) {
	careful, fresh := false, false
	for try := 1; ; try++ {
		out, err := w.try(ctx, batch, careful)
		if err == nil {
			w.next, w.position = out.next, out.position
			return out.written, nil
		}
		if w.unsure != nil {
			before := w.unsure
			limited, cancel := context.WithTimeout(ctx, resolveLimit)
			committed, unknown := w.resolve(limited)
			cancel()
			if unknown != nil {
				return replay.Written{}, failure(op, unknown)
			}
			if committed {
				return before.written, nil
			}
		}
		switch class := classify(err); {
		case ctx.Err() != nil:
			return replay.Written{}, failure(op, ctx.Err())
		case errors.As(err, new(*fault.Error)):
			return replay.Written{}, err
		case class == retry && try < maxTries:
			_ = clock.Sleep(ctx, rand.N(50*time.Millisecond<<try))
		case class == schema && !fresh:
			// Somebody may have changed the table since it was looked at.
			w.forget()
			fresh = true
		case (class == refuse || class == schema) && !careful:
			careful = true
		default:
			return replay.Written{}, failure(op, err)
		}
	}
}

// try applies the batch in one transaction. With careful, what PostgreSQL refuses is found and left out; else it fails
// the transaction, which costs a batch without such records nothing.
func (w *writer) try(ctx context.Context, in replay.Write, careful bool) (*outcome, error) {
	b, err := w.read(ctx, in)
	if err != nil {
		return nil, err
	}
	conn, err := w.sink.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	tx, err := conn.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	var token string
	var epoch, next int64
	err = tx.QueryRow(ctx, `SELECT writer, epoch, next_offset FROM freshet.progress WHERE owner = $1 AND topic = $2 AND partition = $3`,
		w.shard.Owner, w.shard.Topic, w.shard.Partition).Scan(&token, &epoch, &next)
	if err := w.check(err, token, epoch, next); err != nil {
		return nil, err
	}
	a := &applier{conn: conn.Conn(), tx: tx, w: w, b: b}
	if careful {
		// A deferred constraint speaks up at its record, not at the commit.
		if _, err := tx.Exec(ctx, `SET CONSTRAINTS ALL IMMEDIATE`); err != nil {
			return nil, err
		}
		err = a.careful(ctx, b.ops)
	} else {
		err = a.run(ctx, b.ops)
	}
	if err != nil {
		return nil, err
	}
	out := b.outcome
	// An item of two operations can be refused twice.
	refused := slices.CompactFunc(slices.SortedFunc(slices.Values(a.refused), byOffset), sameOffset)
	out.written.Applied -= int64(len(refused))
	out.written.Refused = slices.SortedFunc(slices.Values(append(refused, b.refused...)), byOffset)
	out.written.Incomplete = a.incomplete
	if in.Refusing != nil && len(out.written.Refused) > 0 {
		if err := in.Refusing(ctx, out.written.Refused); err != nil {
			return nil, fault.Wrap(fault.Internal, "record what the sink refuses", err, "")
		}
	}
	tag, err := tx.Exec(ctx, `UPDATE freshet.progress SET next_offset = $5, position = $6, updated_at = now()
		WHERE owner = $1 AND topic = $2 AND partition = $3 AND writer = $4 AND next_offset = $7`,
		w.shard.Owner, w.shard.Topic, w.shard.Partition, w.token, out.next, positionText(out.position), w.next)
	if err != nil {
		return nil, err
	}
	if tag.RowsAffected() != 1 {
		return nil, w.fenced(epoch)
	}
	out.written.Before = time.Now()
	err = tx.Commit(ctx)
	out.written.After = time.Now()
	if err != nil {
		var pg *pgconn.PgError
		answered := errors.Is(err, pgx.ErrTxCommitRollback) || errors.As(err, &pg) && pg.Severity == "ERROR"
		if !answered {
			w.unsure = &out
		}
		return nil, err
	}
	return &out, nil
}

func byOffset(a, b replay.Refusal) int { return cmp.Compare(a.Offset, b.Offset) }

func sameOffset(a, b replay.Refusal) bool { return a.Offset == b.Offset }

func positionText(p stream.Position) string {
	if p.IsZero() {
		return ""
	}
	return p.String()
}

// check compares what freshet.progress holds with what this writer left there.
func (w *writer) check(err error, token string, epoch, next int64) error {
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		e := fault.New(fault.Conflict, w.op, "start it again; it asks the sink anew", "the shard's row of freshet.progress is gone")
		e.Code = "PROGRESS_LOST"
		return e
	case err != nil:
		return err
	case token != w.token:
		return w.fenced(epoch)
	case next != w.next:
		e := fault.New(fault.Conflict, w.op, "start it again; it asks the sink anew", "freshet.progress says offset %d, this writer left %d", next, w.next)
		e.Code = "PROGRESS_MOVED"
		return e
	}
	return nil
}

// resolve asks freshet.progress what became of the unsure batch, until it answers or ctx ends. The row is locked for the
// question: the transaction in doubt holds that lock until it has ended one way or the other.
func (w *writer) resolve(ctx context.Context) (committed bool, err error) {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		var token, position string
		var epoch, next int64
		err = pgx.BeginFunc(ctx, w.sink.pool, func(tx pgx.Tx) error {
			return tx.QueryRow(ctx, `SELECT writer, epoch, next_offset, position FROM freshet.progress
				WHERE owner = $1 AND topic = $2 AND partition = $3 FOR UPDATE`, w.shard.Owner, w.shard.Topic, w.shard.Partition).
				Scan(&token, &epoch, &next, &position)
		})
		if err == nil || errors.Is(err, pgx.ErrNoRows) {
			out := w.unsure
			if err == nil && token == w.token && next == out.next && position == positionText(out.position) && next != w.next {
				w.unsure, w.next, w.position = nil, out.next, out.position
				return true, nil
			}
			if err := w.check(err, token, epoch, next); err != nil {
				return false, err
			}
			w.unsure = nil
			return false, nil
		}
		if c := classify(err); c != unavailable && c != retry {
			return false, err
		}
		if clock.Sleep(ctx, wait) != nil {
			return false, err
		}
	}
}
