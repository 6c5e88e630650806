package embedded

import (
	"bytes"
	"strings"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"freshet/backend/kafka/internal/wire"
)

// compacted are the topics that nothing but compaction takes records from. kfake moves the start of such a log to the
// first record that is left, and tells a reader further back that it is out of range; Kafka lets it go on there.
type compacted map[string][16]byte

func onlyCompacts(info *kfake.TopicInfo) bool {
	if info == nil {
		return false
	}
	policy := info.Configs["cleanup.policy"]
	return policy != nil && strings.Contains(*policy, "compact") && !strings.Contains(*policy, "delete")
}

// in reports whether a request may name one of the topics.
func (c compacted) in(frame []byte) bool {
	for name, id := range c {
		if bytes.Contains(frame, id[:]) || bytes.Contains(frame, []byte(name)) {
			return true
		}
	}
	return false
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
		name := t.Topic
		for n, id := range *only {
			if name == "" && id == t.TopicID {
				name = n
			}
		}
		if _, ok := (*only)[name]; !ok {
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
