package stream

import (
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

// TimeFormat is how times are written for people and programs: RFC 3339, UTC, milliseconds.
const TimeFormat = "2006-01-02T15:04:05.000Z"
