// Package stream holds the words that every room of Freshet shares: Record, Value, Change, Position, Range, Reading,
// and what a log tells of itself (Topic, Group). It imports the standard library only.
package stream

import "time"

// Record is one entry of a log as it was: bytes, never reinterpreted. A nil Key or Value is Kafka's null, an empty one
// is empty.
type Record struct {
	Topic       string
	Partition   int32
	Offset      int64
	LeaderEpoch int32 // -1 unknown
	Time        time.Time
	TimeType    TimeType
	Key         []byte
	Value       []byte
	Headers     []Header // order and repeated names are kept
}

// Header is one header of a Record. A nil Value is null.
type Header struct {
	Key   string
	Value []byte
}

// Header returns the value of the last header named key.
func (r *Record) Header(key string) ([]byte, bool) {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Key == key {
			return r.Headers[i].Value, true
		}
	}
	return nil, false
}

// TimeType says who stamped a Record.
type TimeType int8

const (
	TimeUnknown TimeType = iota
	CreateTime           // the producer's clock
	AppendTime           // the broker's clock; the whole batch carries its newest
)

func (t TimeType) String() string {
	switch t {
	case CreateTime:
		return "CreateTime"
	case AppendTime:
		return "LogAppendTime"
	}
	return "unknown"
}

// TopicPartition names one partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// Range is [From, To) of one partition's offsets.
type Range struct {
	Partition int32
	From, To  int64
}

// Topic is what a log says of a topic.
type Topic struct {
	Name       string
	ID         [16]byte // all zero where the broker has none
	Internal   bool
	Partitions []Partition       // by number
	Config     map[string]string // where asked for
	Err        error             // why the rest is missing
}

// Partition is one partition's ends. Start is the first offset kept, End the next to be written, Stable the first that
// an open transaction still holds back (equal to End where none does).
type Partition struct {
	ID                 int32
	Leader             int32 // node id, -1 none
	LeaderEpoch        int32 // -1 unknown
	Replicas, ISR      []int32
	Start, End, Stable int64
	Bytes              int64 // on disk, -1 unknown
	Err                error // why the ends are unknown
}

// Group is what a log says of a consumer group.
type Group struct {
	Name        string
	Protocol    string // "classic", "consumer" (KIP-848), "share", "" for offsets without members
	State       string // as the broker says: Stable, Empty, PreparingRebalance, ...
	Coordinator int32
	Epoch       int32 // of its membership, 0 where its protocol does not tell
	Members     []Member
	Commits     map[TopicPartition]Commit // only partitions with a commit
	Err         error
}

// Member is one member of a Group.
type Member struct {
	ID, ClientID, Host, InstanceID string
	Assigned                       []TopicPartition
}

// Commit is the next offset a group will read of a partition.
type Commit struct {
	Offset      int64
	LeaderEpoch int32
	Metadata    string
}
