package replaytest_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"freshet/backend/stream"
	"freshet/replay"
	"freshet/replay/replaytest"
)

func TestMemorySinkConforms(t *testing.T) {
	var mu sync.Mutex
	var sink *replaytest.MemorySink
	item := func(partition int32, offset int64, value string) replay.Item {
		return replay.Item{Record: &stream.Record{Topic: "t", Partition: partition, Offset: offset, Value: []byte(value)}}
	}
	replaytest.Sink(t, replaytest.SinkHarness{
		Capabilities: replay.Capabilities{Transactional: true, Fences: true, Progress: true},
		Shard:        replay.Shard{Topic: "t"},
		Clear: func(testing.TB) {
			mu.Lock()
			defer mu.Unlock()
			sink = &replaytest.MemorySink{Refuse: func(i *replay.Item) string {
				if strings.HasPrefix(string(i.Record.Value), "refuse") {
					return "it says so"
				}
				return ""
			}}
		},
		Open:  func(testing.TB) replay.Sink { return sink },
		State: func(testing.TB) string { return fmt.Sprint(sink.Records()) },
		Item: func(_ testing.TB, p int32, o int64) replay.Item {
			return item(p, o, "fine")
		},
		Refused: func(_ testing.TB, p int32, o int64) (replay.Item, string) {
			return item(p, o, "refuse s3cret"), "s3cret"
		},
		Seen: func(_ testing.TB, p int32) (out []int64) {
			for _, r := range sink.Records() {
				if r.Partition == p {
					out = append(out, r.Offset)
				}
			}
			return out
		},
	})
}
