package probes

import (
	"slices"
	"sort"
	"time"

	"freshet/backend/stream"
)

// Track remembers when a growing number was seen where: a partition's end, a group's commit, a server's log position.
// From it follows when the number went past any value, between two moments that are certain. It never interpolates.
//
// What it remembers is thinned with age: of two neighbours one is forgotten as long as the stretch between what is left
// stays within Step, or within the share 1/Ratio of its age beyond Fine. Forgetting only widens an answer.
// The zero Track is ready with the defaults; it is for one goroutine.
type Track struct {
	Step  time.Duration // stretches up to this long may be merged at any age, 1 s unless set
	Fine  time.Duration // age up to which only Step counts
	Ratio int           // 16 unless set
	Keep  time.Duration // age at which entries are dropped, 7 days unless set

	seen  []seen
	swept int // length after the last sweep
}

// seen is a stretch of time in which the number was n: it was by the moment by, and it still was at still. Both are
// nanoseconds since 1970.
type seen struct {
	n, by, still int64
}

const (
	trackStep  = time.Second
	trackRatio = 16
	trackKeep  = 7 * 24 * time.Hour
	trackSlack = 32 // entries to gather before the next sweep
)

// See adds that the number was n at some moment between from and to. Calls are in the order of time. A number that went
// back (a truncated log, a group that was reset) takes what was seen beyond it with it.
func (t *Track) See(n int64, from, to time.Time) {
	lo, hi := from.UnixNano(), to.UnixNano()
	i := len(t.seen)
	for i > 0 && t.seen[i-1].n > n {
		i--
	}
	t.seen = t.seen[:i]
	if i > 0 && t.seen[i-1].n == n {
		t.seen[i-1].still = max(t.seen[i-1].still, lo)
		return
	}
	t.seen = append(t.seen, seen{n, hi, lo})
	if len(t.seen) >= t.swept+trackSlack {
		t.sweep(hi)
	}
}

// Passage tells when a number went past a value: after After and no later than By. A zero After was before all that is
// remembered; a zero By has not been seen yet. The number was Before at After, and Beyond at By.
type Passage struct {
	After, By      time.Time
	Before, Beyond int64
}

// Passed tells when the number went past n, that is, became greater than n.
func (t *Track) Passed(n int64) Passage {
	i := sort.Search(len(t.seen), func(i int) bool { return t.seen[i].n > n })
	var p Passage
	if i > 0 {
		p.After, p.Before = time.Unix(0, t.seen[i-1].still), t.seen[i-1].n
	}
	if i < len(t.seen) {
		p.By, p.Beyond = time.Unix(0, t.seen[i].by), t.seen[i].n
	}
	return p
}

// Last returns the newest number and the first moment by which it had been reached; ok is false where there is none.
func (t *Track) Last() (n int64, by time.Time, ok bool) {
	if len(t.seen) == 0 {
		return 0, time.Time{}, false
	}
	s := t.seen[len(t.seen)-1]
	return s.n, time.Unix(0, s.by), true
}

// Rate is how fast the number grew over about the last window, in records a second.
func (t *Track) Rate(window time.Duration) stream.Reading {
	if len(t.seen) == 0 {
		return stream.UnknownReading("records/s", "not watched", time.Time{})
	}
	now := t.seen[len(t.seen)-1]
	from, to := now.still, max(now.by, now.still)
	then := to - int64(window)
	i := sort.Search(len(t.seen), func(i int) bool { return t.seen[i].by > then }) - 1
	if i < 0 {
		return stream.UnknownReading("records/s", "not watched for "+SecondsText(window.Seconds())+" yet", time.Unix(0, to))
	}
	// It was n at every moment from by to still; where it was seen only once, at one from still to by.
	was := t.seen[i]
	lo, hi := was.still, was.by
	if was.by <= was.still {
		lo = min(was.still, then)
		hi = lo
	}
	return Rate(now.n-was.n, time.Unix(0, lo), time.Unix(0, hi), time.Unix(0, from), time.Unix(0, to))
}

// Len returns how many entries are held.
func (t *Track) Len() int { return len(t.seen) }

// Gap returns the median time between the newest changes of the number, at most the last of them, and 0 where there are
// fewer than three.
func (t *Track) Gap(last int) time.Duration {
	from := max(1, len(t.seen)-last)
	var gaps []int64
	for i := from; i < len(t.seen); i++ {
		gaps = append(gaps, t.seen[i].by-t.seen[i-1].by)
	}
	if len(gaps) < 3 {
		return 0
	}
	slices.Sort(gaps)
	return time.Duration(gaps[len(gaps)/2])
}

// sweep thins, from the newest entry to the oldest.
func (t *Track) sweep(now int64) {
	step, ratio, keep := t.Step, t.Ratio, t.Keep
	if step <= 0 {
		step = trackStep
	}
	if ratio <= 0 {
		ratio = trackRatio
	}
	if keep <= 0 {
		keep = trackKeep
	}
	to := len(t.seen) - 1 // where the next one kept goes; the newest stays
	for i := len(t.seen) - 2; i >= 0; i-- {
		next := t.seen[to]
		age := now - next.by
		if time.Duration(now-t.seen[i].still) > keep {
			break
		}
		allowed := max(int64(step), (age-int64(t.Fine))/int64(ratio))
		if i > 0 && next.by-t.seen[i-1].still <= allowed {
			continue
		}
		to--
		t.seen[to] = t.seen[i]
	}
	t.seen = append(t.seen[:0], t.seen[to:]...)
	t.swept = len(t.seen)
}
