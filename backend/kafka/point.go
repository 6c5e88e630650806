package kafka

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"freshet/backend/fault"
	"freshet/backend/stream"
)

// Point is a place in a topic: the oldest kept (the zero Point), the newest, the first record of a time or later, or
// offsets of some partitions.
type Point struct {
	Newest  bool
	Time    time.Time
	Offsets map[int32]int64
}

func (p Point) isZero() bool { return !p.Newest && p.Time.IsZero() && p.Offsets == nil }

// ParsePoint reads oldest, newest (or earliest, latest), a time (RFC 3339, or a duration ago such as -15m) or
// PARTITION:OFFSET.
func ParsePoint(s string) (Point, error) {
	switch s {
	case "", "oldest", "earliest":
		return Point{}, nil
	case "newest", "latest":
		return Point{Newest: true}, nil
	}
	if at, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return Point{Time: at}, nil
	}
	if ago, ok := strings.CutPrefix(s, "-"); ok {
		if d, err := time.ParseDuration(ago); err == nil {
			return Point{Time: time.Now().Add(-d)}, nil
		}
	}
	if p, o, ok := strings.Cut(s, ":"); ok {
		partition, err1 := strconv.ParseInt(p, 10, 32)
		offset, err2 := strconv.ParseInt(o, 10, 64)
		if err1 == nil && err2 == nil && partition >= 0 && offset >= 0 {
			return Point{Offsets: map[int32]int64{int32(partition): offset}}, nil
		}
	}
	return Point{}, fault.New(fault.Invalid, "read a place in a topic",
		"write oldest, newest, a time such as 2026-11-25T04:00:00Z or -15m, or PARTITION:OFFSET such as 0:1200", "%q is no place", s)
}

// resolve gives each partition of t that the point names its offset.
func (c *Cluster) resolve(ctx context.Context, t *stream.Topic, at Point) (map[int32]int64, error) {
	offsets := make(map[int32]int64, len(t.Partitions))
	if !at.Time.IsZero() {
		found, err := c.OffsetsAt(ctx, t.Name, at.Time)
		if err != nil {
			return nil, err
		}
		for p, o := range found {
			offsets[p] = o.Offset
		}
		return offsets, nil
	}
	for i := range t.Partitions {
		p := &t.Partitions[i]
		if o, named := at.Offsets[p.ID]; len(at.Offsets) > 0 && !named {
			continue
		} else if p.Err != nil {
			return nil, p.Err
		} else if named {
			offsets[p.ID] = o
		} else if at.Newest {
			offsets[p.ID] = p.End
		} else {
			offsets[p.ID] = p.Start
		}
	}
	for p := range at.Offsets {
		if _, there := offsets[p]; !there {
			return nil, noPartition(t, p)
		}
	}
	return offsets, nil
}

func noPartition(t *stream.Topic, p int32) error {
	return fault.New(fault.NotFound, "read "+t.Name, fmt.Sprintf("it has %d", len(t.Partitions)), "there is no partition %d", p)
}

// ParseOffsets reads PARTITION:OFFSET, several of them parted by commas.
func ParseOffsets(s string) (Point, error) {
	all := Point{Offsets: map[int32]int64{}}
	for one := range strings.SplitSeq(s, ",") {
		at, err := ParsePoint(one)
		if err == nil && at.Offsets == nil {
			err = fault.New(fault.Invalid, "read places in a topic", "write PARTITION:OFFSET,PARTITION:OFFSET such as 0:1200,3:998", "%q is no place in a partition", one)
		}
		if err != nil {
			return Point{}, err
		}
		for p, o := range at.Offsets {
			if _, twice := all.Offsets[p]; twice {
				return Point{}, fault.New(fault.Invalid, "read places in a topic", "name each partition once", "partition %d is named twice", p)
			}
			all.Offsets[p] = o
		}
	}
	return all, nil
}

// PartitionOf is the partition out of n where producers put a record with this key unless they are told otherwise.
func PartitionOf(key []byte, n int) int32 {
	return int32(kgo.StickyKeyPartitioner(nil).ForTopic("").Partition(&kgo.Record{Key: key}, n))
}
