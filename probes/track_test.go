package probes_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"freshet/probes"
)

// However a number grew and however often it was looked at, a Passage holds the moment, and thinning keeps it close.
func TestTrackHoldsTheMoment(t *testing.T) {
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		now := time.Unix(1_000_000, 0)
		var track probes.Track
		passed := []time.Time{} // when the number went past its index
		watched := now
		for range 4000 {
			from := now
			n := int64(len(passed))
			if rnd.IntN(2) == 0 { // the number grew before or after the moment it was told for
				now = now.Add(time.Duration(rnd.IntN(20)) * time.Millisecond)
			}
			to := now.Add(time.Duration(rnd.IntN(20)) * time.Millisecond)
			track.See(n, from, to)
			now = to.Add(time.Duration(1800+rnd.IntN(400)) * time.Millisecond)
			for range rnd.IntN(4) * rnd.IntN(2) {
				passed = append(passed, now.Add(-time.Duration(rnd.IntN(1000))*time.Millisecond))
			}
		}
		widest := 0.0
		for n, at := range passed {
			p := track.Passed(int64(n))
			if !p.After.IsZero() && at.Before(p.After) || !p.By.IsZero() && at.After(p.By) || p.After.IsZero() && at.After(watched.Add(time.Hour)) {
				t.Fatalf("seed %d: %d passed at %v, said to be %+v", seed, n, at, p)
			}
			if !p.After.IsZero() && !p.By.IsZero() {
				widest = max(widest, p.By.Sub(p.After).Seconds()/max(60, now.Sub(at).Seconds()))
			}
		}
		if widest > 1.0/8 || track.Len() > 300 {
			t.Fatalf("seed %d: %d entries, the widest %.3f of its age", seed, track.Len(), widest)
		}
	}
}

func TestTrackGoingBack(t *testing.T) {
	var track probes.Track
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	track.See(10, at(1), at(2))
	track.See(20, at(3), at(4))
	track.See(15, at(5), at(6))
	if p := track.Passed(12); !p.After.Equal(at(1)) || !p.By.Equal(at(6)) {
		t.Errorf("%+v", p)
	}
	if p := track.Passed(17); !p.After.Equal(at(5)) || !p.By.IsZero() {
		t.Errorf("%+v", p)
	}
	if p := track.Passed(5); !p.After.IsZero() || !p.By.Equal(at(2)) {
		t.Errorf("%+v", p)
	}
}

func TestTrend(t *testing.T) {
	var rising, noisy, gap probes.Trend
	for i := range 10 {
		at := time.Unix(int64(2*i), 0)
		rising.Add(at, 100-7*float64(i))
		noisy.Add(at, float64(i%2))
		gap.Add(at, []float64{1, 2, 3}[i%3]/float64(9-i)) // ends in an infinity, which forgets the rest
	}
	if mid, low, high, ok := rising.Until(37); !ok || mid < 10.5 || mid > 10.6 || low != mid || high != mid {
		t.Error(mid, low, high, ok)
	}
	if d := rising.Direction(0.1); d != probes.Falling {
		t.Error(d)
	}
	if d := noisy.Direction(0); d != probes.Steady {
		t.Error(d)
	}
	if d := gap.Direction(0); d != probes.UnknownDirection {
		t.Error(d)
	}
}

func TestWords(t *testing.T) {
	for s, want := range map[float64]string{0: "0 s", 0.038: "38 ms", 1.31: "1.31 s", 42: "42.0 s", 59.96: "1 min", 190: "3 min 10 s", 601200: "6 d 23 h", 7200: "2 h"} {
		if got := probes.SecondsText(s); got != want {
			t.Errorf("%v: %s, not %s", s, got, want)
		}
	}
	if got := probes.CountText(-1234567); got != "−1,234,567" {
		t.Error(got)
	}
}

// The rate's bounds hold the truth, whether the number moves at every look or rests.
func TestTrackRate(t *testing.T) {
	var track probes.Track
	at := func(ms int) time.Time { return time.Unix(0, int64(ms)*int64(time.Millisecond)) }
	if r := track.Rate(10 * time.Second); r.Known() {
		t.Errorf("%+v", r)
	}
	for s := range 30 {
		track.See(int64(7*s), at(1000*s), at(1000*s+100)) // it grows by 7 a second
		r := track.Rate(10 * time.Second)
		if r.Known() != (s >= 10) {
			t.Fatalf("after %d s: %+v", s, r)
		}
		if r.Known() && (r.Low > 7 || r.High < 7 || r.High-r.Low > 1) {
			t.Errorf("after %d s: %+v", s, r)
		}
	}
	for s := 30; s < 60; s++ {
		track.See(7*29, at(1000*s), at(1000*s+100)) // it rests
	}
	if r := track.Rate(10 * time.Second); !r.Known() || r.Low != 0 || r.High != 0 {
		t.Errorf("at rest: %+v", r)
	}
	track.See(7*29+100, at(60_000), at(60_100)) // and moves once more
	if r := track.Rate(10 * time.Second); r.Low > 10 || r.High < 10 || r.High > 11 {
		t.Errorf("after a rest: %+v", r)
	}
	track.See(3, at(61_000), at(61_100)) // and is set back
	if r := track.Rate(10 * time.Second); r.Known() && r.Low < 0 {
		t.Errorf("set back: %+v", r)
	}
}
