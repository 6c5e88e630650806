package store

import (
	"cmp"
	"compress/flate"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"freshet/backend/stream"
)

// FuzzDecodeBlock: any bytes give samples or an error, never more than an hour can hold, and what was decoded is encoded
// and decoded to the same.
func FuzzDecodeBlock(f *testing.F) {
	nan := math.NaN()
	pack := func(samples []sample) ([]byte, error) {
		w, err := flate.NewWriter(nil, flate.DefaultCompression)
		if err != nil {
			return nil, err
		}
		return encodeBlock(w, samples)
	}
	for _, samples := range [][]sample{
		nil,
		{{1764000000000, 1, 1, 1, stream.Exact, ""}, {1764000010000, 2, 1.5, nan, stream.Bounded, "x"}},
		{{1, nan, nan, nan, stream.Unknown, "gone"}, {2, 1e300, -1e-9, 1e300, stream.Estimate, "gone"}},
	} {
		b, err := pack(samples)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		samples, err := decodeBlock(packed)
		if err != nil {
			return
		}
		b, err := pack(samples)
		if err != nil {
			return
		}
		again, err := decodeBlock(b)
		if err != nil || !slices.EqualFunc(samples, again, func(a, b sample) bool {
			return a.at == b.at && a.why == b.why && a.known() == b.known() && math.IsNaN(a.value) == math.IsNaN(b.value)
		}) {
			t.Fatalf("%v became %v, %v", samples, again, err)
		}
	})
}

// FuzzEachOfRound: any bytes give samples or an error, and what is written is read back.
func FuzzEachOfRound(f *testing.F) {
	f.Add([]byte{1, 2, 3}, int64(7), int64(1764000000000), 1.5, 1.0, 2.0, "why")
	f.Add([]byte{}, int64(0), int64(-1), math.NaN(), math.NaN(), math.NaN(), "")
	f.Fuzz(func(t *testing.T, body []byte, series, at int64, value, low, high float64, why string) {
		_ = eachOfRound(body, func(int64, sample) {})
		want := sample{at, value, low, high, stream.Bounded, why}
		n := 0
		err := eachOfRound(appendRound(appendRound(nil, series, want), series, want), func(id int64, got sample) {
			n++
			same := func(a, b float64) bool { return cmp.Compare(a, b) == 0 }
			if id != series || got.at != at || got.why != why || !same(got.value, value) || !same(got.low, low) || !same(got.high, high) {
				t.Fatalf("%+v became %+v", want, got)
			}
		})
		if err != nil || n != 2 {
			t.Fatalf("%d samples, %v", n, err)
		}
	})
}

// TestShortenTwice: a block that is packed again changes nothing.
func TestShortenTwice(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	for range 100_000 {
		f := rnd.NormFloat64() * math.Pow10(rnd.IntN(14)-7)
		for _, c := range columns {
			once, d := shorten(f, c.round)
			if again, e := shorten(once, c.round); again != once || e > d {
				t.Fatalf("%g became %g, then %g", f, once, again)
			}
			if math.Abs(once-f) > math.Abs(f)/1000+1e-6 {
				t.Fatalf("%g became %g", f, once)
			}
		}
		low, _ := shorten(f, math.Floor)
		high, _ := shorten(f, math.Ceil)
		if slack := 1e-9 * max(1, math.Abs(f)); low > f+slack || high < f-slack {
			t.Fatalf("%g does not lie between %g and %g", f, low, high)
		}
	}
}
