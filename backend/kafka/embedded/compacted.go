package embedded

import (
	"bytes"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"freshet/backend/kafka/internal/wire"
)

// compactOnly are the topics that nothing but compaction takes records from, with their ids. kfake moves the start of such
// a log to the first record that is left, and tells a reader further back that it is out of range; Kafka lets it go on
// there.
type compactOnly map[string][16]byte

// compactsOnly reports whether a cleanup.policy is compaction and nothing else.
func compactsOnly(policy string) bool {
	return strings.Contains(policy, "compact") && !strings.Contains(policy, "delete")
}

// in reports whether a request may name one of the topics.
func (c compactOnly) in(frame []byte) bool {
	for name, id := range c {
		if bytes.Contains(frame, id[:]) || bytes.Contains(frame, []byte(name)) {
			return true
		}
	}
	return false
}

// named is the name of a topic that a request names by name or by id, "" for one that is not among these.
func (c compactOnly) named(topic string, id [16]byte) string {
	if _, ok := c[topic]; ok {
		return topic
	}
	for name, i := range c {
		if topic == "" && i == id {
			return name
		}
	}
	return ""
}

// skipCompacted lets a fetch begin at the first record that compaction has left, where it would begin before that.
func (b *Broker) skipCompacted(h wire.Header, frame []byte) {
	only := b.cleaner.only.Load()
	if only == nil || !only.in(frame) {
		return
	}
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(h.Version)
	if req.ReadFrom(frame[h.Body:]) != nil || !b.up.enter() {
		return
	}
	changed := false
	for i := range req.Topics {
		t := &req.Topics[i]
		name := only.named(t.Topic, t.TopicID)
		if name == "" {
			continue
		}
		for j := range t.Partitions {
			p := &t.Partitions[j]
			info := b.cluster.PartitionInfo(name, p.Partition)
			if info != nil && p.FetchOffset >= 0 && p.FetchOffset < info.LogStartOffset {
				p.FetchOffset, changed = info.LogStartOffset, true
			}
		}
	}
	b.up.leave()
	if !changed {
		return
	}
	// kfake has the request's length already. A client whose encoding is another than ours keeps its request.
	if body := req.AppendTo(nil); len(body) == len(frame)-h.Body {
		copy(frame[h.Body:], body)
	}
}
