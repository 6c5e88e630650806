package stream

import (
	"encoding/json"
	"math"
	"time"
)

// Certainty says how sure a Reading is.
type Certainty string

const (
	Exact    Certainty = "exact"    // Low = Value = High
	Estimate Certainty = "estimate" // the value is likely, the truth is within the bounds
	Bounded  Certainty = "bounded"  // only the bounds are known; a missing one is unbounded
	Unknown  Certainty = "unknown"  // and Why says why
)

// Reading is what a probe saw: a value, how sure it is, and when. Unknown is never zero: its Value, Low and High are
// NaN and Why is set. A one-sided bound has NaN on the open side.
type Reading struct {
	Value, Low, High float64
	Unit             string // "s", "records", "B", "records/s", ...
	State            Certainty
	Why              string
	AsOf             time.Time
}

// ExactReading is a value known exactly.
func ExactReading(v float64, unit string, asOf time.Time) Reading {
	return Reading{Value: v, Low: v, High: v, Unit: unit, State: Exact, AsOf: asOf}
}

// BoundedReading is a value of which low and high are certain; value is the best guess within.
func BoundedReading(value, low, high float64, unit string, asOf time.Time) Reading {
	return Reading{Value: value, Low: low, High: high, Unit: unit, State: Bounded, AsOf: asOf}
}

// UnknownReading says why there is no value.
func UnknownReading(unit, why string, asOf time.Time) Reading {
	nan := math.NaN()
	return Reading{Value: nan, Low: nan, High: nan, Unit: unit, State: Unknown, Why: why, AsOf: asOf}
}

// Known reports whether the reading has a value.
func (r Reading) Known() bool { return r.State != Unknown && r.State != "" }

type readingJSON struct {
	Value *float64  `json:"value"`
	Low   *float64  `json:"low"`
	High  *float64  `json:"high"`
	Unit  string    `json:"unit"`
	State Certainty `json:"state"`
	Why   string    `json:"why,omitempty"`
	AsOf  string    `json:"as_of"`
}

// TimeFormat is how times are written for people and programs: RFC 3339, UTC, milliseconds.
const TimeFormat = "2006-01-02T15:04:05.000Z"

// MarshalJSON writes NaN as null and rounds to six decimals.
func (r Reading) MarshalJSON() ([]byte, error) {
	num := func(f float64) *float64 {
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return nil
		}
		f = math.Round(f*1e6) / 1e6
		return &f
	}
	state := r.State
	if state == "" {
		state = Unknown
	}
	return json.Marshal(readingJSON{num(r.Value), num(r.Low), num(r.High), r.Unit, state, r.Why, r.AsOf.UTC().Format(TimeFormat)})
}

// UnmarshalJSON reads null as NaN.
func (r *Reading) UnmarshalJSON(b []byte) error {
	var j readingJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	num := func(f *float64) float64 {
		if f == nil {
			return math.NaN()
		}
		return *f
	}
	at, err := time.Parse(time.RFC3339Nano, j.AsOf)
	if err != nil {
		return err
	}
	*r = Reading{num(j.Value), num(j.Low), num(j.High), j.Unit, j.State, j.Why, at}
	return nil
}
