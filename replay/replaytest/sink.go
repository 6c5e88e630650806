// Package replaytest holds the conformance suites of what package replay declares, and fakes that pass them. Start at
// Sink. Only tests import it.
package replaytest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"freshet/backend/fault"
	"freshet/replay"
)

// SinkHarness is one kind of sink at a place of its own, as Sink needs it.
type SinkHarness struct {
	replay.Capabilities
	// Open makes another client of the place. Sink closes it.
	Open func(t testing.TB) replay.Sink
	// Shard is what shards are made from: the suite sets Owner, Epoch, Partition and Start.
	Shard replay.Shard
	// Item makes the item at an offset. Different offsets have different effects.
	Item func(t testing.TB, partition int32, offset int64) replay.Item
	// Refused makes an item that the sink refuses for good, and names a text of it that no reason may hold. Nil where the
	// sink refuses nothing.
	Refused func(t testing.TB, partition int32, offset int64) (replay.Item, string)
	// Seen returns the offsets of a partition whose effects a reader of the place sees, in order; one that was done twice
	// is there twice.
	Seen func(t testing.TB, partition int32) []int64
	// State returns anything that changes when the place does.
	State func(t testing.TB) string
	// Clear empties the place but for its progress.
	Clear func(t testing.TB)
}

// Sink runs the conformance suite. Each case says what it proves.
func Sink(t *testing.T, h SinkHarness) {
	cases := []struct {
		name string
		run  func(*sinkCase)
	}{
		{"TestWritesNothing", (*sinkCase).testWritesNothing},
		{"ProgressStartsAtStart", (*sinkCase).progressStarts},
		{"ProgressMovesWithTheEffect", (*sinkCase).progressMoves},
		{"EmptyBatchMovesProgress", (*sinkCase).emptyBatch},
		{"ProgressBeforeTheStartIsRefused", (*sinkCase).progressBeforeStart},
		{"OlderEpochsAreFenced", (*sinkCase).fences},
		{"TheSameEpochMayOpenAgain", (*sinkCase).sameEpoch},
		{"RefusalsLeaveTheRestApplied", (*sinkCase).refusals},
		{"RefusalsAreToldBeforeTheCommit", (*sinkCase).refusing},
		{"ACancelledWriteLeavesNothing", (*sinkCase).cancelled},
		{"ShardsAreIndependent", (*sinkCase).shards},
		{"CrashesLoseAndRepeatNothing", (*sinkCase).crashes},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h.Clear(t)
			s := &sinkCase{T: t, h: h, owner: fmt.Sprintf("conformance-%d", i)}
			c.run(s)
		})
	}
}

type sinkCase struct {
	*testing.T
	h     SinkHarness
	owner string
}

const sinkLimit = 60 * time.Second

func (s *sinkCase) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), sinkLimit)
	s.Cleanup(cancel)
	return ctx
}

func (s *sinkCase) shard(epoch int64, partition int32, start int64) replay.Shard {
	sh := s.h.Shard
	sh.Owner, sh.Epoch, sh.Partition, sh.Start = s.owner, epoch, partition, start
	return sh
}

func (s *sinkCase) sink() replay.Sink {
	sink := s.h.Open(s.T)
	s.Cleanup(func() {
		if err := sink.Close(); err != nil {
			s.Errorf("close: %v", err)
		}
	})
	return sink
}

func (s *sinkCase) open(sink replay.Sink, sh replay.Shard) replay.Writer {
	s.Helper()
	w, err := sink.Open(s.context(), sh)
	if err != nil {
		s.Fatalf("open: %v", err)
	}
	return w
}

func (s *sinkCase) batch(partition int32, from, to int64) replay.Write {
	s.Helper()
	in := replay.Write{Next: to}
	for o := from; o < to; o++ {
		in.Items = append(in.Items, s.h.Item(s.T, partition, o))
	}
	return in
}

func (s *sinkCase) write(w replay.Writer, in replay.Write) replay.Written {
	s.Helper()
	out, err := w.Write(s.context(), in)
	if err != nil {
		s.Fatalf("write: %v", err)
	}
	return out
}

func (s *sinkCase) close(w replay.Writer) {
	s.Helper()
	if err := w.Close(s.context()); err != nil {
		s.Errorf("close the writer: %v", err)
	}
}

func (s *sinkCase) wantSeen(partition int32, want ...int64) {
	s.Helper()
	if got := s.h.Seen(s.T, partition); !slices.Equal(got, want) {
		s.Errorf("partition %d: offsets %v are seen, want %v", partition, got, want)
	}
}

// wantNext checks what a writer says of the progress, where the sink holds any.
func (s *sinkCase) wantNext(w replay.Writer, next int64) {
	s.Helper()
	p := w.Progress()
	if p.None == s.h.Progress {
		s.Errorf("progress says none: %v, the capabilities say held: %v", p.None, s.h.Progress)
	}
	if s.h.Progress && p.Next != next {
		s.Errorf("progress is %d, want %d", p.Next, next)
	}
}

func numbers(from, to int64) []int64 {
	var out []int64
	for o := from; o < to; o++ {
		out = append(out, o)
	}
	return out
}

// Test reaches the sink, says something, and changes nothing.
func (s *sinkCase) testWritesNothing() {
	before := s.h.State(s.T)
	said, err := s.sink().Test(s.context())
	if err != nil || said == "" {
		s.Errorf("got %q, %v", said, err)
	}
	if after := s.h.State(s.T); after != before {
		s.Errorf("the place was\n%s\nand is\n%s", before, after)
	}
}

// A sink that holds nothing of a shard says so with the range's start.
func (s *sinkCase) progressStarts() {
	w := s.open(s.sink(), s.shard(1, 0, 10))
	s.wantNext(w, 10)
	s.close(w)
}

// What was written is seen, counted, and part of the progress, for this writer and the next.
func (s *sinkCase) progressMoves() {
	sink := s.sink()
	w := s.open(sink, s.shard(1, 0, 10))
	start := time.Now()
	out := s.write(w, s.batch(0, 10, 15))
	if out.Applied != 5 || out.Duplicate != 0 || len(out.Refused) != 0 || out.Incomplete != 0 {
		s.Errorf("got %+v", out)
	}
	if out.Before.Before(start) || out.After.Before(out.Before) || out.After.After(time.Now()) {
		s.Errorf("committed between %v and %v, but written between %v and now", out.Before, out.After, start)
	}
	s.wantNext(w, 15)
	in := s.batch(0, 17, 20) // 15 and 16 were filtered, 20 to 24 as well
	in.Next = 25
	s.write(w, in)
	s.wantSeen(0, append(numbers(10, 15), numbers(17, 20)...)...)
	s.close(w)
	w = s.open(sink, s.shard(2, 0, 10))
	s.wantNext(w, 25)
	s.close(w)
}

// A batch of which nothing was selected still counts as done.
func (s *sinkCase) emptyBatch() {
	sink := s.sink()
	w := s.open(sink, s.shard(1, 0, 0))
	out := s.write(w, replay.Write{Next: 1000})
	if out.Applied != 0 {
		s.Errorf("got %+v", out)
	}
	s.wantNext(w, 1000)
	s.write(w, s.batch(0, 1000, 1001))
	s.close(w)
	w = s.open(sink, s.shard(2, 0, 0))
	s.wantNext(w, 1001)
	s.wantSeen(0, 1000)
	s.close(w)
}

// Progress that the range cannot explain stops the shard.
func (s *sinkCase) progressBeforeStart() {
	if !s.h.Progress {
		s.Skip("the sink holds no progress")
	}
	sink := s.sink()
	w := s.open(sink, s.shard(1, 0, 0))
	s.write(w, s.batch(0, 0, 3))
	s.close(w)
	if _, err := sink.Open(s.context(), s.shard(2, 0, 100)); !fault.Is(err, fault.Drifted) {
		s.Errorf("got %v", err)
	}
}

// After a take-over the older writer changes nothing, and its epoch cannot come back.
func (s *sinkCase) fences() {
	if !s.h.Fences {
		s.Skip("the sink does not fence")
	}
	old := s.open(s.sink(), s.shard(1, 0, 0))
	s.write(old, s.batch(0, 0, 3))
	sink := s.sink()
	w := s.open(sink, s.shard(2, 0, 0))
	s.wantNext(w, 3)
	if _, err := old.Write(s.context(), s.batch(0, 3, 6)); !fault.Is(err, fault.Conflict) {
		s.Errorf("the older writer: %v", err)
	}
	if _, err := old.Write(s.context(), replay.Write{Next: 9}); !fault.Is(err, fault.Conflict) {
		s.Errorf("the older writer, again: %v", err)
	}
	s.wantSeen(0, 0, 1, 2)
	if _, err := sink.Open(s.context(), s.shard(1, 0, 0)); !fault.Is(err, fault.Conflict) {
		s.Errorf("the older epoch: %v", err)
	}
	s.write(w, s.batch(0, 3, 5))
	s.wantSeen(0, 0, 1, 2, 3, 4)
	s.close(w)
}

// Opening again, as after an unknown outcome, makes the earlier writer of the same epoch harmless.
func (s *sinkCase) sameEpoch() {
	sink := s.sink()
	old := s.open(sink, s.shard(1, 0, 0))
	s.write(old, s.batch(0, 0, 3))
	w := s.open(sink, s.shard(1, 0, 0))
	s.wantNext(w, 3)
	if s.h.Fences {
		if _, err := old.Write(s.context(), s.batch(0, 3, 6)); err == nil {
			s.Error("the earlier writer still writes")
		}
		s.wantSeen(0, 0, 1, 2)
	}
	s.write(w, s.batch(0, 3, 4))
	s.wantSeen(0, 0, 1, 2, 3)
	s.close(w)
}

// A record that is refused for good takes no other with it, and its reason tells nothing of its contents.
func (s *sinkCase) refusals() {
	if s.h.Refused == nil {
		s.Skip("the sink refuses nothing")
	}
	w := s.open(s.sink(), s.shard(1, 0, 0))
	in := s.batch(0, 0, 8)
	var secret string
	in.Items[2], secret = s.h.Refused(s.T, 0, 2)
	in.Items[7], _ = s.h.Refused(s.T, 0, 7)
	out := s.write(w, in)
	if out.Applied != 6 || len(out.Refused) != 2 || out.Refused[0].Offset != 2 || out.Refused[1].Offset != 7 {
		s.Fatalf("got %+v", out)
	}
	if r := out.Refused[0].Reason; r == "" || strings.Contains(r, secret) {
		s.Errorf("the reason is %q", r)
	}
	s.wantSeen(0, 0, 1, 3, 4, 5, 6)
	s.wantNext(w, 8)
	s.close(w)
}

// Refusals can be made durable before the batch is, and where that fails the batch is not.
func (s *sinkCase) refusing() {
	if s.h.Refused == nil {
		s.Skip("the sink refuses nothing")
	}
	sink := s.sink()
	w := s.open(sink, s.shard(1, 0, 0))
	in := s.batch(0, 0, 3)
	in.Items[1], _ = s.h.Refused(s.T, 0, 1)
	var calls [][]replay.Refusal
	in.Refusing = func(_ context.Context, r []replay.Refusal) error {
		calls = append(calls, r)
		return errors.New("the ledger is full")
	}
	if _, err := w.Write(s.context(), in); err == nil {
		s.Error("the write went on")
	}
	if s.h.Transactional {
		s.wantSeen(0)
	}
	w = s.open(sink, s.shard(2, 0, 0))
	s.wantNext(w, 0)
	in.Refusing = func(_ context.Context, r []replay.Refusal) error {
		calls = append(calls, r)
		return nil
	}
	out := s.write(w, in)
	if len(calls) != 2 || !slices.Equal(calls[1], out.Refused) || len(out.Refused) != 1 {
		s.Errorf("told %+v, refused %+v", calls, out.Refused)
	}
	if s.h.Transactional {
		s.wantSeen(0, 0, 2)
	}
	s.close(w)
}

// A write that was called off has no effect, and the shard goes on.
func (s *sinkCase) cancelled() {
	sink := s.sink()
	w := s.open(sink, s.shard(1, 0, 0))
	ctx, cancel := context.WithCancel(s.context())
	cancel()
	if _, err := w.Write(ctx, s.batch(0, 0, 3)); err == nil {
		s.Error("a cancelled write succeeded")
	}
	s.wantSeen(0)
	w = s.open(sink, s.shard(1, 0, 0))
	s.wantNext(w, 0)
	s.write(w, s.batch(0, 0, 3))
	s.wantSeen(0, 0, 1, 2)
	s.close(w)
}

// Shards write at the same time, each with progress of its own.
func (s *sinkCase) shards() {
	const shards, batches, size = 4, 5, 20
	sink := s.sink()
	var wait sync.WaitGroup
	for p := range int32(shards) {
		w := s.open(sink, s.shard(1, p, 0))
		wait.Go(func() {
			for b := range int64(batches) {
				if _, err := w.Write(s.context(), s.batch(p, b*size, (b+1)*size)); err != nil {
					s.Errorf("partition %d: %v", p, err)
					return
				}
			}
			if err := w.Close(s.context()); err != nil {
				s.Error(err)
			}
		})
	}
	wait.Wait()
	for p := range int32(shards) {
		s.wantSeen(p, numbers(0, batches*size)...)
		w := s.open(sink, s.shard(2, p, 0))
		s.wantNext(w, batches*size)
		s.close(w)
	}
}

// Writers are dropped in the middle of writes and taken over. A transactional sink shows each record once and in order;
// another one shows each at least once, and again only what was in doubt.
func (s *sinkCase) crashes() {
	const total = 400
	r := rand.New(rand.NewPCG(7, uint64(len(s.h.Shard.Topic))))
	var next int64
	doubtful := map[int64]bool{}
	epoch := int64(0)
	for quiet := false; next < total; quiet = epoch >= 40 {
		epoch++
		sink := s.h.Open(s.T)
		w := s.open(sink, s.shard(epoch, 0, 0))
		if s.h.Progress {
			next = w.Progress().Next
		}
		for next < total {
			to := min(next+1+r.Int64N(15), total)
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.IntN(12000))*time.Microsecond)
			if quiet {
				ctx, cancel = context.WithTimeout(context.Background(), sinkLimit)
			}
			_, err := w.Write(ctx, s.batch(0, next, to))
			cancel()
			if err != nil {
				for o := next; o < to; o++ {
					doubtful[o] = true
				}
				break
			}
			next = to
		}
		// The writer is left as it is; only the process's own resources go.
		if err := sink.Close(); err != nil {
			s.Errorf("close: %v", err)
		}
	}
	got := s.h.Seen(s.T, 0)
	if s.h.Transactional {
		if !slices.Equal(got, numbers(0, total)) {
			s.Errorf("seen %v", got)
		}
	} else {
		counts := map[int64]int{}
		for _, o := range got {
			counts[o]++
		}
		for o := range int64(total) {
			if counts[o] == 0 || counts[o] > 1 && !doubtful[o] {
				s.Errorf("offset %d is seen %d times", o, counts[o])
			}
		}
	}
	s.Logf("%d take-overs", epoch)
}
