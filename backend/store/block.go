package store

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"freshet/backend/stream"
)

// A block is one series' samples of an hour, column by column, so that what repeats lies together, and then deflated:
//
//	n        uvarint
//	at       varint, then its differences' differences, varint
//	flags    a byte each
//	value, low, high: how many decimals (a byte), then the differences between the numbers, varint; a number that is
//	         not there, or equals the value, has none
//	whys     how many (uvarint), each uvarint length and text; then for each sample that has one, which (uvarint)
//
// A number keeps four significant digits, no more than six decimals, and whole numbers all of theirs; low is rounded down
// and high up, so that the truth stays between them.

// errBlock is the cause of every error in decoding.
var errBlock = errors.New("the readings are damaged")

const (
	maxBlock   = 1 << 20 // bytes, before deflating
	maxSamples = 1 << 16 // a bound for decoding
)

const (
	flagState     = 3 // two bits: which of states
	flagValue     = 1 << 2
	flagLow       = 1 << 3
	flagLowEqual  = 1 << 4
	flagHigh      = 1 << 5
	flagHighEqual = 1 << 6
	flagWhy       = 1 << 7
)

var states = [4]stream.Certainty{stream.Exact, stream.Estimate, stream.Bounded, stream.Unknown}

func flagsOf(s sample) byte {
	state := max(0, slices.Index(states[:], s.state))
	if !s.known() {
		state = 3
	}
	f := byte(state)
	if !math.IsNaN(s.value) {
		f |= flagValue
	}
	switch {
	case math.IsNaN(s.low):
	case s.low == s.value:
		f |= flagLowEqual
	default:
		f |= flagLow
	}
	switch {
	case math.IsNaN(s.high):
	case s.high == s.value:
		f |= flagHighEqual
	default:
		f |= flagHigh
	}
	if s.why != "" {
		f |= flagWhy
	}
	return f
}

// columns are the three numbers of a sample, with the flag that says whether one is stored, and how it is rounded.
var columns = []struct {
	flag  byte
	of    func(*sample) *float64
	round func(float64) float64
}{
	{flagValue, func(s *sample) *float64 { return &s.value }, math.Round},
	{flagLow, func(s *sample) *float64 { return &s.low }, math.Floor},
	{flagHigh, func(s *sample) *float64 { return &s.high }, math.Ceil},
}

// encodeBlock packs samples, which are in order. w is any writer of flate's; it is costly to make.
func encodeBlock(w *flate.Writer, samples []sample) ([]byte, error) {
	b := binary.AppendUvarint(nil, uint64(len(samples)))
	var at, step int64
	for _, s := range samples {
		b = binary.AppendVarint(b, s.at-at-step)
		at, step = s.at, s.at-at
	}
	flags := make([]byte, len(samples))
	for i, s := range samples {
		flags[i] = flagsOf(s)
	}
	b = append(b, flags...)
	for _, c := range columns {
		var numbers []float64
		decimals := 0
		for i, s := range samples {
			if flags[i]&c.flag != 0 {
				f, d := shorten(*c.of(&s), c.round)
				numbers, decimals = append(numbers, f), max(decimals, d)
			}
		}
		b = appendNumbers(b, numbers, decimals)
	}
	b = appendWhys(b, samples)
	if len(b) > maxBlock {
		return nil, fmt.Errorf("an hour of one series takes %d bytes", len(b))
	}
	var out bytes.Buffer
	w.Reset(&out)
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	err := w.Close()
	return out.Bytes(), err
}

// shorten gives a number that needs no more than the decimals returned.
func shorten(f float64, round func(float64) float64) (float64, int) {
	if f == math.Trunc(f) || math.Abs(f) >= 1<<53 {
		return f, 0
	}
	decimals := min(6, max(0, 3-int(math.Floor(math.Log10(math.Abs(f))))))
	scale := math.Pow10(decimals)
	scaled := f * scale
	whole := math.Round(scaled)
	if math.Abs(scaled-whole) > 1e-6 { // else it was shortened before: blocks are packed more than once
		whole = round(scaled)
	}
	f = whole / scale
	if f == math.Trunc(f) {
		return f, 0
	}
	return f, decimals
}

// allBits says that a column's numbers are stored as they are in memory: they are too large for decimals.
const allBits = 255

func appendNumbers(b []byte, numbers []float64, decimals int) []byte {
	scale := math.Pow10(decimals)
	for _, f := range numbers {
		if math.Abs(f)*scale >= 1<<53 {
			b = append(b, allBits)
			for _, f := range numbers {
				b = binary.LittleEndian.AppendUint64(b, math.Float64bits(f))
			}
			return b
		}
	}
	b = append(b, byte(decimals))
	var last int64
	for _, f := range numbers {
		n := int64(math.Round(f * scale))
		b = binary.AppendVarint(b, n-last)
		last = n
	}
	return b
}

func appendWhys(b []byte, samples []sample) []byte {
	var whys []string
	var which []byte
	for _, s := range samples {
		if s.why == "" {
			continue
		}
		i := slices.Index(whys, s.why)
		if i < 0 {
			i = len(whys)
			whys = append(whys, s.why)
		}
		which = binary.AppendUvarint(which, uint64(i))
	}
	b = binary.AppendUvarint(b, uint64(len(whys)))
	for _, w := range whys {
		b = append(binary.AppendUvarint(b, uint64(len(w))), w...)
	}
	return append(b, which...)
}

// decodeBlock unpacks what encodeBlock packed.
func decodeBlock(packed []byte) ([]sample, error) {
	b, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), maxBlock+1))
	if err != nil || len(b) > maxBlock {
		return nil, errBlock
	}
	r := &reader{b: b}
	n := r.uvarint()
	if n > maxSamples || n > uint64(len(b)) {
		return nil, errBlock
	}
	samples := make([]sample, n)
	var at, step int64
	for i := range samples {
		step += r.varint()
		at += step
		samples[i] = sample{at: at}
	}
	flags := r.bytes(n)
	if r.bad {
		return nil, errBlock
	}
	for _, c := range columns {
		decimals := r.bytes(1)
		if r.bad {
			return nil, errBlock
		}
		number := r.decimals(decimals[0])
		for i := range samples {
			*c.of(&samples[i]) = math.NaN()
			if flags[i]&c.flag != 0 {
				*c.of(&samples[i]) = number()
			}
		}
	}
	whys := make([]string, 0, 4)
	for range min(r.uvarint(), n) {
		whys = append(whys, string(r.bytes(r.uvarint())))
	}
	for i := range samples {
		s := &samples[i]
		s.state = states[flags[i]&flagState]
		if flags[i]&flagLowEqual != 0 {
			s.low = s.value
		}
		if flags[i]&flagHighEqual != 0 {
			s.high = s.value
		}
		if flags[i]&flagWhy != 0 {
			k := r.uvarint()
			if k >= uint64(len(whys)) {
				return nil, errBlock
			}
			s.why = whys[k]
		}
	}
	if r.bad || len(r.b) > 0 {
		return nil, errBlock
	}
	return samples, nil
}

// A round's body is its samples one after the other: series (uvarint), length (uvarint), then at (varint), flags, the
// numbers that the flags name, and the why.

func appendRound(b []byte, series int64, s sample) []byte {
	flags := flagsOf(s)
	one := append(binary.AppendVarint(nil, s.at), flags)
	for _, c := range columns {
		if flags&c.flag != 0 {
			one = binary.LittleEndian.AppendUint64(one, math.Float64bits(*c.of(&s)))
		}
	}
	one = append(one, s.why...)
	b = binary.AppendUvarint(b, uint64(series))
	b = binary.AppendUvarint(b, uint64(len(one)))
	return append(b, one...)
}

// eachOfRound calls do for every sample of a round.
func eachOfRound(body []byte, do func(series int64, s sample)) error {
	r := &reader{b: body}
	for len(r.b) > 0 {
		series := r.uvarint()
		one := &reader{b: r.bytes(r.uvarint())}
		s := sample{at: one.varint(), value: math.NaN(), low: math.NaN(), high: math.NaN()}
		flags := one.bytes(1)
		if r.bad || one.bad {
			return errBlock
		}
		s.state = states[flags[0]&flagState]
		number := one.decimals(allBits)
		for _, c := range columns {
			if flags[0]&c.flag != 0 {
				*c.of(&s) = number()
			}
		}
		if flags[0]&flagLowEqual != 0 {
			s.low = s.value
		}
		if flags[0]&flagHighEqual != 0 {
			s.high = s.value
		}
		s.why = string(one.b)
		if one.bad {
			return errBlock
		}
		do(int64(series), s)
	}
	return nil
}

// reader takes a block apart. After the first thing that is not there, bad is set and everything is zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	return took(r, v, n)
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	return took(r, v, n)
}

func took[T any](r *reader, v T, n int) T {
	if n <= 0 || r.bad {
		r.b, r.bad = nil, true
		var zero T
		return zero
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

// decimals gives the function that reads a column's numbers.
func (r *reader) decimals(how byte) func() float64 {
	if how == allBits {
		return func() float64 {
			b := r.bytes(8)
			if r.bad {
				return math.NaN()
			}
			return math.Float64frombits(binary.LittleEndian.Uint64(b))
		}
	}
	if how > 6 {
		r.b, r.bad = nil, true
	}
	scale := math.Pow10(int(min(how, 6)))
	var last int64
	return func() float64 {
		last += r.varint()
		return float64(last) / scale
	}
}
