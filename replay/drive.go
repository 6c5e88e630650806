package replay

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"freshet/backend/fault"
)

// Bounds of a drive.
const (
	piecesAhead   = 2                      // shaped while the sink commits
	skipOffsets   = 100_000                // offsets without an item after which the progress is moved for their sake alone
	skipTime      = 5 * time.Second        // likewise
	writeTimeout  = 5 * time.Minute        // of one Write
	closeTimeout  = 10 * time.Second       // of a writer's Close
	firstBackoff  = 100 * time.Millisecond // after a failure that can pass
	longestPause  = 15 * time.Second
	defaultItems  = 10_000
	defaultBytes  = 8 << 20
	defaultLinger = 20 * time.Millisecond
)

// drive moves one partition's records through a shape into a sink: what a job's shard and a connector's partition have
// in common. Its owner's hooks say where it starts, keep what it did and decide what a failure means.
type drive struct {
	source   Source
	sink     Sink
	shard    Shard
	end      int64 // -1: for ever
	shape    *shape
	maxItems int
	maxBytes int64
	linger   time.Duration // how long a batch waits to be filled
	grace    time.Duration // how long a Write may go on once the drive is to stop
	hooks    hooks
}

// hooks are the owner's part. They are called from the drive's goroutine.
type hooks interface {
	// settle is told what the sink holds and says where to go on, having accounted for everything before.
	settle(ctx context.Context, p Progress) (next int64, err error)
	// admit waits until n records of size bytes may be written, and says how many records may be written at once.
	admit(ctx context.Context, n int, size int64) error
	batch() int
	// announce makes it known, durably where the sink does not fence, that [from, next) is about to be written.
	announce(ctx context.Context, p *piece) error
	park(ctx context.Context, parked []Parked) error
	// wrote keeps what became of a piece.
	wrote(ctx context.Context, p *piece, w Written) error
	// passed is told that everything before next is done, or holds nothing to write.
	passed(next int64)
	// unsure keeps what is known of a piece whose Write failed in part.
	unsure(ctx context.Context, p *piece, doubt *InDoubt) error
}

// errStopped ends a drive that was asked to stop.
var errStopped = errors.New("stopped")

// attempt runs until the end (nil), the stop (errStopped), or a failure.
func (d *drive) attempt(ctx context.Context, stop <-chan struct{}) (err error) {
	// Past this point only the writes may outlive the stop, for the grace.
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	defer stopWith(reading, stop, cancel)()
	writing, end := d.graceful(ctx, stop)
	defer end()

	w, err := d.sink.Open(reading, d.shard)
	if err != nil {
		return orStopped(err, stop)
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if e := w.Close(closing); err == nil && e != nil {
			err = e
		}
	}()
	next, err := d.hooks.settle(reading, w.Progress())
	if err != nil {
		return orStopped(err, stop)
	}
	if d.end >= 0 && next >= d.end {
		return nil
	}

	pieces := make(chan *piece, piecesAhead)
	failed := make(chan error, 1)
	go func() {
		failed <- d.feed(reading, next, pieces)
		close(pieces)
	}()
	err = d.pump(reading, writing, w, pieces)
	cancel()
	for range pieces { // until feed has ended
	}
	if e := <-failed; err == nil {
		err = e
	}
	return orStopped(err, stop)
}

// orStopped tells a stop from what it caused: what is not recorded is settled at the next attempt.
func orStopped(err error, stop <-chan struct{}) error {
	if err == nil || fault.Is(err, fault.Conflict) {
		return err
	}
	select {
	case <-stop:
		return errStopped
	default:
		return err
	}
}

// stopWith cancels when stop closes; what it returns ends the watch.
func stopWith(ctx context.Context, stop <-chan struct{}, cancel func()) (end func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-stop:
			cancel()
		case <-ctx.Done():
		case <-done:
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// graceful gives the context of writes: it ends some time after stop closes or ctx ends, so that a commit under way is
// not cut.
func (d *drive) graceful(ctx context.Context, stop <-chan struct{}) (context.Context, func()) {
	writing, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-stop:
		case <-ctx.Done():
		case <-done:
			return
		}
		t := time.NewTimer(d.grace)
		defer t.Stop()
		select {
		case <-t.C:
			cancel()
		case <-done:
		}
	}()
	return writing, func() {
		close(done)
		<-ended
		cancel()
	}
}

// feed reads and shapes from next on.
func (d *drive) feed(ctx context.Context, next int64, pieces chan<- *piece) error {
	r, err := d.source.Read(ctx, ReadRequest{Topic: d.shard.Topic, TopicID: d.shard.TopicID, Partition: d.shard.Partition, From: next, To: d.end})
	if err != nil {
		return &sourceError{err}
	}
	defer r.Close()
	s := d.shape.shaper(d.shard.Owner, d.shard.Topic, d.shard.Partition)
	return s.read(ctx, r, next, min(d.maxItems, d.hooks.batch()), d.maxBytes, func(p *piece) error {
		select {
		case pieces <- p:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// pump writes pieces until there are none.
func (d *drive) pump(reading, writing context.Context, w Writer, pieces <-chan *piece) error {
	var rest *piece
	for {
		p, left, open := d.collect(reading, rest, pieces)
		rest = left
		if reading.Err() != nil {
			return reading.Err()
		}
		if p == nil {
			return nil
		}
		if err := d.write(reading, writing, w, p); err != nil {
			return err
		}
		if !open && rest == nil {
			return nil
		}
	}
}

// collect merges pieces into one batch: until it is full, until it has waited for the linger, or, with nothing in it to tell anybody,
// until it is worth moving the progress for. It returns what did not fit, and whether there may be more.
func (d *drive) collect(ctx context.Context, first *piece, pieces <-chan *piece) (p, rest *piece, open bool) {
	p = first
	var full <-chan time.Time
	var timer *time.Timer
	wait := func(t time.Duration) {
		if timer != nil {
			timer.Stop()
		}
		timer = time.NewTimer(t)
		full = timer.C
	}
	defer func() {
		if timer != nil {
			timer.Stop()
		}
	}()
	for waiting := false; ; {
		limit := min(d.maxItems, d.hooks.batch())
		if p != nil {
			if len(p.items) >= limit || p.bytes >= d.maxBytes || p.next-p.from >= skipOffsets {
				return p, nil, true
			}
			switch {
			case p.tells() && !waiting:
				waiting = true
				wait(d.linger)
			case !p.tells():
				d.hooks.passed(p.next)
				if full == nil {
					wait(skipTime)
				}
			}
		}
		select {
		case q, ok := <-pieces:
			switch {
			case !ok:
				return p, nil, false
			case p == nil:
				p = q
			case len(p.items) > 0 && len(p.items)+len(q.items) > limit:
				return p, q, true
			default:
				p.merge(q)
			}
		case <-full:
			return p, nil, true
		case <-ctx.Done():
			return p, nil, true
		}
	}
}

// write brings one batch to the sink, with everything durable that must be before and after.
func (d *drive) write(reading, writing context.Context, w Writer, p *piece) error {
	if err := d.hooks.admit(reading, len(p.items), p.bytes); err != nil {
		return err
	}
	if err := d.hooks.park(writing, p.parked); err != nil {
		return err
	}
	if err := d.hooks.announce(writing, p); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(writing, writeTimeout)
	defer cancel()
	written, err := w.Write(ctx, Write{Items: p.items, Next: p.next, Refusing: func(ctx context.Context, refused []Refusal) error {
		return d.hooks.park(context.WithoutCancel(ctx), d.refusals(refused))
	}})
	if err != nil {
		var doubt *InDoubt
		if errors.As(err, &doubt) {
			if e := d.hooks.park(context.WithoutCancel(writing), d.refusals(doubt.Refused)); e != nil {
				return e
			}
			if e := d.hooks.unsure(context.WithoutCancel(writing), p, doubt); e != nil {
				return e
			}
		}
		return err
	}
	if err := d.hooks.park(context.WithoutCancel(writing), d.refusals(written.Refused)); err != nil {
		return err
	}
	return d.hooks.wrote(context.WithoutCancel(writing), p, written)
}

func (d *drive) refusals(refused []Refusal) []Parked {
	parked := make([]Parked, len(refused))
	for i, r := range refused {
		parked[i] = Parked{Owner: d.shard.Owner, Topic: d.shard.Topic, Partition: d.shard.Partition, Offset: r.Offset,
			Kind: ParkRefused, Reason: r.Reason}
	}
	return parked
}

// ledgerError is a failure to keep what must be kept: nothing more may be done until it can be.
type ledgerError struct{ err error }

func (e *ledgerError) Error() string { return e.err.Error() }
func (e *ledgerError) Unwrap() error { return e.err }

// sourceError is a failure of the source, which the kinds do not tell from one of the sink.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }
func (e *sourceError) Unwrap() error { return e.err }

// verdict says what a failure of a drive means: the rule that it falls under, and whether trying again soon can help.
// Another owner is no rule: fenced.
func verdict(err error) (b Blocker, again, fenced bool) {
	var stop *stopError
	var gap *GapError
	var ledger *ledgerError
	var source *sourceError
	var doubt *InDoubt
	kind := fault.KindOf(err)
	var f *fault.Error
	code := ""
	if errors.As(err, &f) {
		code = f.Code
	}
	passing := kind == fault.Unavailable || kind == fault.Timeout || kind == fault.Interrupted ||
		errors.Is(err, context.DeadlineExceeded)
	switch {
	case errors.As(err, &stop):
		return stop.blocker, false, false
	case errors.As(err, &gap):
		return BlockGap, false, false
	case errors.As(err, &ledger):
		return BlockDisk, passing, kind == fault.Conflict
	case errors.As(err, &source):
		switch {
		case passing:
			return BlockSourceDown, true, false
		case kind == fault.Drifted, kind == fault.NotFound:
			return BlockDrift, false, false
		}
		return BlockSourceDown, false, false
	case code == "PROGRESS_LOST", code == "PROGRESS_MOVED":
		return BlockSink, true, false // nobody else's epoch: the sink is asked anew
	case kind == fault.Conflict:
		return "", false, true
	case errors.As(err, &doubt) || passing:
		return BlockSinkDown, true, false
	case code == "SCHEMA":
		return BlockSchema, false, false
	case code == "UNEXPLAINED_PROGRESS":
		return BlockUnexplained, false, false
	case kind == fault.Denied:
		return BlockSinkAuth, false, false
	case kind == fault.Drifted, kind == fault.NotFound:
		return BlockDrift, false, false
	case kind == fault.Invalid:
		return BlockSchema, false, false
	}
	return BlockSink, false, false
}

// backoff is how long to wait after the nth failure in a row, from 0.
func backoff(n int) time.Duration {
	d := min(firstBackoff<<min(n, 16), longestPause)
	return d/2 + rand.N(d/2+1)
}

// sleep waits, unless stop closes or ctx ends first.
func sleep(ctx context.Context, stop <-chan struct{}, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-stop:
		return errStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}
