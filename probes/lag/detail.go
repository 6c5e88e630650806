package lag

import (
	"slices"
	"time"

	"freshet/backend/stream"
	"freshet/probes"
)

// Detail is what one round saw of one cluster's groups.
type Detail struct {
	Cluster string
	At      time.Time // when the commits had been read
	Groups  []Group   // by name
}

// Group finds a group; ok is false where the cluster named none of that name.
func (d *Detail) Group(name string) (g Group, ok bool) {
	for _, g := range d.Groups {
		if g.Name == name {
			return g, true
		}
	}
	return Group{}, false
}

// Aged implements probes.Aging.
func (d *Detail) Aged(why string) any {
	old := *d
	old.Groups = slices.Clone(d.Groups)
	for i := range old.Groups {
		g := &old.Groups[i]
		g.Code, g.Verdict, g.Trend = Unknown, "Unknown: "+why, probes.UnknownDirection
		g.Unread = len(g.Partitions)
		probes.Aged(why, &g.Records, &g.Seconds, &g.CatchUp, &g.Consumed, &g.Produced)
		g.Partitions = slices.Clone(g.Partitions)
		for j := range g.Partitions {
			q := &g.Partitions[j]
			q.State, q.Why = PartUnknown, why
			probes.Aged(why, &q.Records, &q.Seconds, &q.ByRecordTime)
		}
	}
	return &old
}

// Code is a verdict on a group, for programs.
type Code string

const (
	OK          Code = "ok"          // nothing waits, or not for long
	Behind      Code = "behind"      // records wait longer than they should
	Stopped     Code = "stopped"     // it has members, records wait, and nothing is committed
	Empty       Code = "empty"       // it has no members, and records wait
	Idle        Code = "idle"        // it has no members, and nothing waits
	Rebalancing Code = "rebalancing" // it is sharing its partitions out anew
	NoCommit    Code = "no-commit"   // nothing was ever committed, so that its place is not known
	Ahead       Code = "ahead"       // it committed beyond the end of a log: truncated, or made anew
	Lost        Code = "lost"        // records were removed before it had read them
	Unknown     Code = "unknown"     // it could not be read
)

// Group is how far behind one group is.
type Group struct {
	Name        string
	Protocol    string // "classic", "consumer", "share", ""
	State       string // as the broker says
	Coordinator int32
	Epoch       int32 // of its membership, 0 where its protocol does not tell
	Members     []stream.Member
	Stable      time.Time // when state or members were last seen to change, zero not since it is watched
	Topics      []string  // that it has commits in, or that its members are assigned, by name

	Code    Code
	Verdict string // a sentence with the numbers in it

	// Records is the sum over the partitions that are known, in offsets: an upper bound of the records where the topic
	// is compacted or written in transactions. With partitions unknown it has no upper bound.
	Records stream.Reading
	// Seconds is the greatest age over the partitions: how long the record that has waited longest has been waiting.
	Seconds stream.Reading
	Trend   probes.Direction // of Records
	// CatchUp is how long until nothing waits, if it goes on as in the last rounds; unknown unless the backlog falls.
	CatchUp stream.Reading
	// Consumed and Produced are offsets a second over the last rounds, of the same partitions.
	Consumed, Produced stream.Reading
	CommitGap          time.Duration // the usual time between commits, 0 unknown; what is processed runs ahead of it by up to this
	LastCommit         time.Time     // when a commit was last seen to move, zero not since it is watched

	Unread   int   // partitions without a reading, those of NoCommit among them
	NoCommit int   // partitions assigned to a member without a commit in them
	Lost     int64 // offsets removed from the log before the group had committed them

	Partitions []Partition // by topic and number
	Err        string      // why the group could not be read
}

// PartitionState says how a group stands in one partition.
type PartitionState string

const (
	PartCaughtUp PartitionState = "caught_up"
	PartBehind   PartitionState = "behind"
	PartNoCommit PartitionState = "no_commit"
	PartAhead    PartitionState = "ahead"
	PartLost     PartitionState = "lost"
	PartUnknown  PartitionState = "unknown"
)

// Basis says by which clock an age was taken.
type Basis string

const (
	ByArrival Basis = "arrival" // when the record was in the log, between two looks at its end
	ByRecord  Basis = "record"  // by the time that the record itself carries
)

// Partition is how far behind a group is in one partition.
type Partition struct {
	Topic              string
	Partition          int32
	Committed          int64 // -1 none
	Start, End, Stable int64 // -1 unknown
	State              PartitionState
	Why                string // of a State that is neither caught up nor behind
	Lost               int64  // offsets between the commit and the log's start
	Records, Seconds   stream.Reading
	Basis              Basis // of Seconds, "" where it is zero or unknown
	// ByRecordTime is the age by the record's own time, where it was read; it differs from Seconds by arrival where
	// producers write old data, or their clocks are off.
	ByRecordTime stream.Reading
	Head         *Head     // the first record that waits, where it was read
	Moved        time.Time // when the commit was last seen to move
	Member       string    // id of the member that reads it, "" none
}

// Head is the first record that a group has not committed.
type Head struct {
	Offset   int64
	Epoch    int32 // of the leader that appended it, -1 unknown
	Time     time.Time
	TimeType stream.TimeType
	Commit   time.Time // when the source committed the change, zero where the record does not say
}
