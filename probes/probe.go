// Package probes runs what measures: each probe takes a look now and then, and what it saw is a set of Readings. The
// last round is held in memory for whoever asks, so that no page, scrape or command line makes a broker or a database
// work; history goes to a Recorder.
package probes

import (
	"context"
	"time"

	"freshet/backend/stream"
)

// Probe takes one look. Rounds of one probe never overlap.
type Probe interface {
	Name() string
	Every() time.Duration
	// Round looks once, within ctx. It reports what it could not see as unknown Readings; an error is a round that saw
	// nothing at all.
	Round(ctx context.Context) (Round, error)
}

// Round is what one look saw.
type Round struct {
	At     time.Time
	Points []Point
	Detail any // the probe's own last state, replaced whole each round, never changed after
}

// Point is one series' reading.
type Point struct {
	Series Series
	stream.Reading
}

// Series names what is read. Empty fields do not apply.
type Series struct {
	Metric    string // "lag_records", "lag_seconds", "freshness_seconds", "topic_records_per_second", ...
	Cluster   string
	Source    string
	Topic     string
	Partition int32 // -1 all
	Group     string
	Sink      string
	Hop       string // "commit-captured", "captured-topic", "topic-group", "topic-sink", "total"
}

// Recorder keeps history. backend/store implements it, a file a day.
type Recorder interface {
	// Append stores one round's points.
	Append(ctx context.Context, at time.Time, points []Point) error
	// Range returns a series' points in [from, to), at most max of them: beyond that, of each slice its lowest and
	// highest.
	Range(ctx context.Context, s Series, from, to time.Time, max int) ([]Point, error)
}

// Cluster is what probes ask of a Kafka cluster. backend/kafka implements it.
type Cluster interface {
	Name() string
	// Groups returns every group with its commits. A group that could not be read has Err set.
	Groups(ctx context.Context) ([]stream.Group, error)
	// Topics returns the named topics, or all where none is named, with their ends (log start, end, stable end), without
	// Config. Bytes are filled where sizes is true and the broker tells them.
	Topics(ctx context.Context, sizes bool, names ...string) ([]stream.Topic, error)
	// OffsetsAfter asks for each partition the first offset with a timestamp of at or later: Offset -1 where none is.
	OffsetsAfter(ctx context.Context, at map[stream.TopicPartition]time.Time) (map[stream.TopicPartition]OffsetTime, error)
	// First returns the first committed record at or after an offset, for each partition asked for; one with Offset -1
	// where there is none up to the stable end. A partition that could not be read is left out. Key, Value and Headers
	// may be cut short.
	First(ctx context.Context, at map[stream.TopicPartition]int64) (map[stream.TopicPartition]stream.Record, error)
}

// OffsetTime is an offset and its record's timestamp.
type OffsetTime struct {
	Offset int64
	Time   time.Time
}

// SourceProgress is how far the capture of one source has got.
type SourceProgress struct {
	Source      string
	Cluster     string
	State       string            // streaming, snapshot, paused, reconnecting, stopped
	Why         string            // of a state that is not streaming
	Tables      map[string]string // schema.table to topic
	ServerEnd   uint64            // the source's newest position (WAL LSN) as last told
	ServerEndAt time.Time
	Received    uint64 // every committed change before it has been received
	ReceivedAt  time.Time
	Appended    uint64 // every committed change before it is in the log
	AppendedAt  time.Time
	Confirmed   uint64 // what the source may forget
	// The last transaction that reached the log: when it committed by the source's clock, and when the log had it.
	LastCommit   time.Time
	LastAppended time.Time
	// Pending is the commit time of the oldest transaction received and not yet in the log, zero for none.
	Pending time.Time
	// ClockOffset is the source's clock minus ours, give or take ClockError; both in seconds, NaN unknown.
	ClockOffset, ClockError float64
}

// SinkProgress is how far a continuously fed sink has got with one partition.
type SinkProgress struct {
	Sink      string
	Cluster   string
	Topic     string
	Partition int32
	State     string // running, paused, blocked, stopped, retrying
	Why       string
	Next      int64     // everything before it is applied
	NextAt    time.Time // zero while Next is not known yet
	Recent    []Applied // the latest batches, oldest first, bounded
}

// Applied is one batch that a sink committed.
type Applied struct {
	From, Next    int64
	OldestCommit  time.Time // source commit time (else record time) of its first change
	NewestCommit  time.Time
	Before, After time.Time // around the sink's own commit
}

// SlotStatus is what a database says of the replication slot that feeds a source.
type SlotStatus struct {
	Source, Slot   string
	Active         bool
	WALStatus      string // reserved, extended, unreserved, lost; "" unknown
	Retained       int64  // bytes of WAL held back, -1 unknown
	Safe           int64  // bytes until the slot is cut off, -1 unknown, only where Limited
	Limited        bool   // max_slot_wal_keep_size is not -1
	Restart        uint64
	ConfirmedFlush uint64
	WALEnd         uint64
	Invalidation   string // why it was invalidated, "" where it was not
	HeldBy         string // the transaction that holds restart_lsn back, in words, "" unknown or none
	At             time.Time
}
