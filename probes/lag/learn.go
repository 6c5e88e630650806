package lag

import (
	"cmp"
	"context"
	"slices"
	"sort"
	"strconv"
	"time"

	"freshet/backend/stream"
	"freshet/probes"
)

// timeIndex holds, by offset, what the broker's time index told: every record before offset carries a time before at,
// and where found is not zero the record at offset carries found. It knows the records' own times, so it is a bound of
// a record's time from above, and from below only where times are in order.
type timeIndex []indexed

type indexed struct {
	offset    int64
	at, found time.Time
}

func (x *timeIndex) add(n indexed) {
	i := sort.Search(len(*x), func(i int) bool { return !(*x)[i].at.Before(n.at) })
	if i < len(*x) && (*x)[i].at.Equal(n.at) {
		(*x)[i] = n
		return
	}
	*x = slices.Insert(*x, i, n)
}

// bracket returns the times between which the record at offset lies; after is zero where it is older than all that was
// asked, by is zero where it is younger.
func (x timeIndex) bracket(offset int64) (after, by time.Time) {
	for _, n := range x {
		if n.offset == offset && !n.found.IsZero() {
			return n.found, n.found
		}
		if n.offset > offset {
			return after, n.at
		}
		after = n.at
	}
	return after, time.Time{}
}

// learn finds out the times of the records that wait, where what was seen of the ends does not tell them closely enough.
func (p *Probe) learn(ctx context.Context, l *look) error {
	var waiting []*pair
	for _, x := range l.pairs {
		if x.waits() {
			waiting = append(waiting, x)
		}
	}
	if err := p.hydrate(ctx, l, waiting); err != nil {
		return err
	}
	if p.o.Reads > 0 {
		if err := p.read(ctx, l, waiting); err != nil {
			return err
		}
	}
	return p.search(ctx, l, waiting)
}

// hydrate places partitions of which the past was not watched, by a few looks into the broker's time index.
func (p *Probe) hydrate(ctx context.Context, l *look, waiting []*pair) error {
	parts := make(map[stream.TopicPartition]*pair)
	for _, x := range waiting {
		if !x.part.asked && x.part.ends.Passed(x.first()).After.IsZero() && len(parts) < searchMost {
			parts[x.tp] = x
		}
	}
	if len(parts) == 0 {
		return nil
	}
	for _, ago := range prehydrate {
		at := make(map[stream.TopicPartition]time.Time, len(parts))
		for tp := range parts {
			at[tp] = l.to.Add(-ago)
		}
		if err := p.ask(ctx, l, at, parts); err != nil || l.searched != nil {
			return err
		}
	}
	for _, x := range parts {
		x.part.asked = true
	}
	return nil
}

// ask asks the time index, and keeps its answers. What it did not say is not kept.
func (p *Probe) ask(ctx context.Context, l *look, at map[stream.TopicPartition]time.Time, parts map[stream.TopicPartition]*pair) error {
	answers, err := p.cluster.OffsetsAfter(ctx, at)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	l.searched = err
	p.mu.Lock()
	defer p.mu.Unlock()
	for tp, a := range answers {
		x := parts[tp]
		if x == nil {
			continue
		}
		n := indexed{offset: a.Offset, at: at[tp], found: a.Time}
		if a.Offset < 0 {
			// No record is that young: all that were there when we asked are older.
			n = indexed{offset: x.ends.End, at: at[tp]}
		}
		x.part.times.add(n)
	}
	return nil
}

// read reads the first waiting record where it was not read yet: it tells its own time, and that there is one at all,
// for what lies behind a commit may be transaction markers only.
func (p *Probe) read(ctx context.Context, l *look, waiting []*pair) error {
	var want []*pair
	for _, x := range waiting {
		if _, ok := x.head(); !ok {
			want = append(want, x)
		}
	}
	if len(want) > p.o.Reads {
		// What is known least first, then what stands still.
		slices.SortStableFunc(want, func(a, b *pair) int {
			return cmp.Or(cmp.Compare(p.width(l, b), p.width(l, a)), -compareBool(a.place.stuck, b.place.stuck))
		})
		want = want[:p.o.Reads]
	}
	for len(want) > 0 {
		// One offset of a partition at a time: groups at other offsets of it come in the next request.
		at := make(map[stream.TopicPartition]int64)
		var now, later []*pair
		for _, x := range want {
			if offset, ok := at[x.tp]; ok && offset != x.first() {
				later = append(later, x)
				continue
			}
			at[x.tp] = x.first()
			now = append(now, x)
		}
		records, err := p.cluster.First(ctx, at)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			l.searched = err
			return nil
		}
		p.mu.Lock()
		for _, x := range now {
			r, ok := records[x.tp]
			if !ok {
				continue // not read: neither that something waits nor that nothing does
			}
			h := head{known: true, committed: x.first(), epoch: x.ends.LeaderEpoch, empty: x.ends.Stable}
			if r.Offset >= x.first() {
				h.record = &Head{Offset: r.Offset, Epoch: r.LeaderEpoch, Time: r.Time, TimeType: r.TimeType, Commit: CommitTime(&r)}
			}
			x.place.head = h
		}
		p.mu.Unlock()
		want = later
	}
	return nil
}

// CommitTime is when the source committed the change that a record carries, zero where it does not say.
func CommitTime(r *stream.Record) time.Time {
	b, ok := r.Header(stream.CommitTimeHeader)
	if !ok || len(b) > 20 {
		return time.Time{}
	}
	us, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMicro(us)
}

// search halves what the time index says of partitions that are still not placed closely.
func (p *Probe) search(ctx context.Context, l *look, waiting []*pair) error {
	for range searchRounds {
		at := make(map[stream.TopicPartition]time.Time)
		parts := make(map[stream.TopicPartition]*pair)
		for _, x := range waiting {
			if _, ok := x.head(); ok || parts[x.tp] != nil || len(parts) == searchMost || !p.wide(l, x) ||
				!x.part.ends.Passed(x.first()).After.IsZero() {
				continue
			}
			after, by := x.part.times.bracket(x.first())
			if by.IsZero() {
				by = l.to
			}
			if after.IsZero() {
				// Older than all that was asked: ask twice as far back.
				at[x.tp] = l.to.Add(-2 * l.to.Sub(by))
			} else {
				at[x.tp] = after.Add(by.Sub(after) / 2)
			}
			if at[x.tp].UnixMilli() <= 0 {
				delete(at, x.tp)
				continue
			}
			parts[x.tp] = x
		}
		if len(parts) == 0 || l.searched != nil {
			return nil
		}
		if err := p.ask(ctx, l, at, parts); err != nil {
			return err
		}
	}
	return nil
}

// wide reports whether the age of the first waiting record is known less closely than two rounds, or a tenth of itself.
func (p *Probe) wide(l *look, x *pair) bool {
	w := p.width(l, x)
	_, by := x.bracket()
	return w > 2*p.o.Every && w > l.to.Sub(by)/10
}

// width is how far apart the bounds of the first waiting record's age are.
func (p *Probe) width(l *look, x *pair) time.Duration {
	after, by := x.bracket()
	if after.IsZero() {
		return 1 << 62
	}
	return by.Sub(after)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// bracket is the closest that is known, by arrival or by the records' times.
func (x *pair) bracket() (after, by time.Time) {
	s := x.part.ends.Passed(x.first())
	if !s.After.IsZero() {
		return s.After, s.By
	}
	after, by = x.part.times.bracket(x.first())
	if by.IsZero() || by.After(s.By) {
		by = s.By
	}
	return after, by
}

// atLeast and atMost turn a moment into an age at the moment of the commits.
func (l *look) atLeast(by time.Time) float64   { return max(0, l.from.Sub(by).Seconds()) }
func (l *look) atMost(after time.Time) float64 { return max(0, l.to.Sub(after).Seconds()) }

// guess is where in a passage the record at offset came, if records came evenly.
func guess(s probes.Passage, offset int64) time.Time {
	span := float64(s.Beyond - s.Before)
	return s.After.Add(time.Duration(float64(s.By.Sub(s.After)) * (float64(offset-s.Before) + 0.5) / span))
}
