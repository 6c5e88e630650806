package probes

import (
	"math"
	"slices"
	"time"

	"freshet/backend/stream"
)

// Direction says where a number is going.
type Direction string

const (
	Rising           Direction = "rising"
	Falling          Direction = "falling"
	Steady           Direction = "steady"
	UnknownDirection Direction = "unknown"
)

// trendPoints bounds a Trend: the pairs of 15 points are 105.
const trendPoints = 15

// Trend estimates how fast a number changes from its latest values: the median of the slopes between all pairs, which
// a few outliers do not move (Theil and Sen). The zero Trend is ready; it is for one goroutine.
type Trend struct {
	at []time.Time
	v  []float64
}

// Add adds a value. One that is not a number forgets the rest: a slope over a gap says nothing.
func (t *Trend) Add(at time.Time, v float64) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		t.at, t.v = t.at[:0], t.v[:0]
		return
	}
	if len(t.v) == trendPoints {
		t.at, t.v = append(t.at[:0], t.at[1:]...), append(t.v[:0], t.v[1:]...)
	}
	t.at, t.v = append(t.at, at), append(t.v, v)
}

// Slope is a rate of change, per second.
type Slope struct {
	Mid, Low, High float64 // the median, and the range that eight of ten pairs lie in
}

// Slope returns the slope over all values; ok is false with fewer than five.
func (t *Trend) Slope() (s Slope, ok bool) { return t.slope(0, 5) }

// slope is over the values from one on, where there are at least so many.
func (t *Trend) slope(from, least int) (s Slope, ok bool) {
	if from < 0 || len(t.v)-from < least {
		return Slope{}, false
	}
	var slopes []float64
	for i := from; i < len(t.v); i++ {
		for j := i + 1; j < len(t.v); j++ {
			if dt := t.at[j].Sub(t.at[i]).Seconds(); dt > 0 {
				slopes = append(slopes, (t.v[j]-t.v[i])/dt)
			}
		}
	}
	if len(slopes) == 0 {
		return Slope{}, false
	}
	slices.Sort(slopes)
	n := len(slopes)
	return Slope{slopes[n/2], slopes[n/10], slopes[n-1-n/10]}, true
}

// turn is how many of the latest values a Direction looks at: enough to see through one odd value, few enough to turn
// within ten seconds at a pace of two.
const turn = 4

// Direction is the sign of the slope of the latest values where its whole range agrees, Steady where it does not.
// Slopes smaller than least are steady.
func (t *Trend) Direction(least float64) Direction {
	s, ok := t.slope(len(t.v)-turn, turn)
	switch {
	case !ok:
		return UnknownDirection
	case s.Low > 0 && s.Mid >= least:
		return Rising
	case s.High < 0 && s.Mid <= -least:
		return Falling
	}
	return Steady
}

// Until returns how many seconds a falling number takes from now to reach zero: by its median slope, at the fastest
// and at the slowest. ok is false unless the whole range of slopes falls.
func (t *Trend) Until(now float64) (mid, low, high float64, ok bool) {
	s, ok := t.Slope()
	if !ok || s.High >= 0 || now <= 0 {
		return 0, 0, 0, false
	}
	return now / -s.Mid, now / -s.Low, now / -s.High, true
}

// Rate is how fast a counter moved that grew by n between a look somewhere in [from1, to1] and one in [from2, to2].
func Rate(n int64, from1, to1, from2, to2 time.Time) stream.Reading {
	shortest, longest := from2.Sub(to1).Seconds(), to2.Sub(from1).Seconds()
	if shortest <= 0 {
		return stream.UnknownReading("records/s", "two looks too close together", to2)
	}
	v := float64(n)
	return stream.BoundedReading(2*v/(shortest+longest), v/longest, v/shortest, "records/s", to2)
}
