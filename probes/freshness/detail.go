package freshness

import (
	"slices"
	"time"

	"freshet/backend/stream"
	"freshet/probes"
)

// Detail is what one round saw.
type Detail struct {
	At      time.Time
	Sources []Source // by name
	Paths   []Path   // by name
}

// Path finds a path; ok is false where there is none of that name.
func (d *Detail) Path(name string) (p Path, ok bool) {
	for _, p := range d.Paths {
		if p.Name == name {
			return p, true
		}
	}
	return Path{}, false
}

// Aged implements probes.Aging.
func (d *Detail) Aged(why string) any {
	old := *d
	old.Sources, old.Paths = slices.Clone(d.Sources), slices.Clone(d.Paths)
	for i := range old.Sources {
		probes.Aged(why, &old.Sources[i].Captured, &old.Sources[i].Appended)
	}
	for i := range old.Paths {
		p := &old.Paths[i]
		p.State, p.Why, p.Trend = Unknown, why, probes.UnknownDirection
		probes.Aged(why, &p.Total, &p.Waiting, &p.ETA)
		p.Hops = slices.Clone(p.Hops)
		for j := range p.Hops {
			probes.Aged(why, &p.Hops[j].Seconds)
		}
	}
	return &old
}

// Source is how fresh the first two hops of one source are, for all of its tables together.
type Source struct {
	Name, Cluster string
	State, Why    string         // as the capture says
	Captured      stream.Reading // commit to captured
	Appended      stream.Reading // captured to topic
	Heard         time.Time      // everything committed before it has been received, zero unknown
}

// State is how a path does, in the words of the Map.
type State string

const (
	OnTime  State = "on_time"
	AtRisk  State = "at_risk" // it may be late, or is close to it
	Late    State = "late"    // it is, whatever the bounds
	Idle    State = "idle"    // nothing waits, and nothing came for a while
	Paused  State = "paused"
	Unknown State = "unknown"
	Dead    State = "dead" // nothing is heard from its source, or nobody works at its end
)

// Hops, as Series name them.
const (
	CommitCaptured = "commit-captured"
	CapturedTopic  = "captured-topic"
	TopicGroup     = "topic-group"
	TopicSink      = "topic-sink"
	Total          = "total"
)

// Path is how fresh one table is at one end.
type Path struct {
	Name      string // SOURCE/SCHEMA.TABLE/TO
	Source    string
	Table     string
	Cluster   string
	Topic     string
	To        string // "sink:NAME", "group:NAME", or "topic:NAME" where nobody reads it
	Hops      []Hop
	Total     stream.Reading // of a change, from its commit to the end of the path
	State     State
	Why       string
	Objective float64   // seconds, 0 none
	Since     time.Time // when State became what it is
	Trend     probes.Direction
	Worst     stream.Reading // of Total, over the last hour
	Waiting   stream.Reading // records in the topic that the end has not taken
	ETA       stream.Reading // until none wait, if it goes on so
}

// Hop is one hop's age: by commit time, of the oldest change that is at From and not at To; where none is, of the
// changes that came to To last, at their arrival.
type Hop struct {
	Name     string // "commit-captured", ...
	From, To string // "source:shop", "captured", "topic:shop.public.orders", "sink:warehouse"
	Seconds  stream.Reading
}

// Row is one captured record, of which a Delivery is asked.
type Row struct {
	Cluster   string
	Topic     string
	Partition int32
	Offset    int64
	Commit    time.Time // by the source's clock
	Position  stream.Position
	Time      time.Time // the record's
	TimeType  stream.TimeType
}

// Arrival is when a row came to one place.
type Arrival struct {
	To    string         // "captured", "topic", "sink:NAME", "group:NAME"
	State string         // "arrived", "waiting", "unknown"
	Delay stream.Reading // seconds from the commit; of one that waits, so far
}
