package probes

import (
	"time"

	"freshet/backend/stream"
)

// Aging is a Detail that knows how to say that it is old. A Scheduler shows a round that is older than three paces, and
// than 10 s, as its Aged: figures of then are not said of now.
type Aging interface {
	// Aged returns a copy whose readings are unknown for the reason why.
	Aged(why string) any
}

// aged returns a status as it may be shown at now.
func (st Status) aged(now time.Time) Status {
	d, ok := st.Last.Detail.(Aging)
	age := now.Sub(st.Last.At)
	if !ok || age <= max(3*st.Every, 10*time.Second) {
		return st
	}
	why := "last read " + SecondsText(age.Seconds()) + " ago"
	if st.Err != nil {
		why += ": " + st.Err.Error()
	}
	st.Last.Detail = d.Aged(why)
	return st
}

// Aged makes readings unknown.
func Aged(why string, readings ...*stream.Reading) {
	for _, r := range readings {
		*r = stream.UnknownReading(r.Unit, why, r.AsOf)
	}
}
