package kafka

import (
	"testing"

	"freshet/backend/stream"
)

// Whatever is wanted at once, each request has room for all it asks for and each partition once, and all are asked for.
func TestRequestsHaveRoom(t *testing.T) {
	ask := func(partition, bytes int32) want {
		return want{tp: stream.TopicPartition{Topic: "orders", Partition: partition}, bytes: bytes}
	}
	for _, c := range []struct {
		name     string
		wants    []want
		requests int
	}{
		{"nothing", nil, 0},
		{"what fits", []want{ask(0, 1<<20), ask(1, 1<<20)}, 1},
		{"one partition twice", []want{ask(0, 1<<20), ask(0, 1<<20), ask(1, 1<<20)}, 2},
		{"to the last byte", []want{ask(0, maxResult-1), ask(1, 1)}, 1},
		{"a byte too many", []want{ask(0, maxResult), ask(1, 1)}, 2},
		{"small ones beside a large one", []want{ask(0, 1), ask(1, maxResult), ask(2, 1)}, 2},
		{"more than a request may bring", []want{ask(0, maxResult), ask(1, 2*maxResult-1), ask(2, maxResult)}, 3},
	} {
		asked, requests := 0, 0
		for wants := c.wants; len(wants) > 0; requests++ {
			now, later := together(wants, maxResult)
			var sum int64
			seen := map[stream.TopicPartition]bool{}
			for _, w := range now {
				if seen[w.tp] {
					t.Errorf("%s: partition %d twice in a request", c.name, w.tp.Partition)
				}
				seen[w.tp], sum = true, sum+int64(w.bytes)
			}
			if len(now) == 0 || len(now) > 1 && sum > maxResult {
				t.Fatalf("%s: %d partitions with %d bytes in a request", c.name, len(now), sum)
			}
			asked, wants = asked+len(now), later
		}
		if asked != len(c.wants) || requests != c.requests {
			t.Errorf("%s: %d of %d asked for in %d requests", c.name, asked, len(c.wants), requests)
		}
	}
}
