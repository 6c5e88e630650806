package embedded

import (
	"maps"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"freshet/backend/kafka/internal/wire"
)

// before does what must be done before kfake has a request: what it may do is in the journal first.
func (b *Broker) before(w *pending) error {
	switch req := w.request.(type) {
	case *kmsg.AddPartitionsToTxnRequest:
		var parts []part
		for _, t := range req.Topics {
			for _, p := range t.Partitions {
				parts = append(parts, part{t.Topic, p})
			}
		}
		b.txns.touch(req.TransactionalID, req.ProducerID, req.ProducerEpoch, parts)
	case *kmsg.AddOffsetsToTxnRequest:
		b.txns.touch(req.TransactionalID, req.ProducerID, req.ProducerEpoch, nil)
	case *kmsg.TxnOffsetCommitRequest:
		b.txns.touch(req.TransactionalID, req.ProducerID, req.ProducerEpoch, nil)
	case *kmsg.EndTxnRequest:
		w.parts = b.txns.prepare(req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit)
	case *kmsg.InitProducerIDRequest:
		if req.TransactionalID != nil {
			w.txn = *req.TransactionalID
			w.parts = b.txns.partsOf(w.txn)
		}
	case *kmsg.WriteTxnMarkersRequest:
		for _, m := range req.Markers {
			for _, t := range m.Topics {
				for _, p := range t.Partitions {
					w.parts = append(w.parts, part{t.Topic, p})
				}
			}
		}
	case *kmsg.DeleteRecordsRequest:
		for _, t := range req.Topics {
			for _, p := range t.Partitions {
				w.parts = append(w.parts, part{t.Topic, p.Partition})
			}
		}
		// The whole log of a partition may go: the disk then holds nothing that tells where it ended.
		b.cleaner.noteEnds(w.parts)
	}
	return nil
}

// after does what must be done before the client has an answer.
func (b *Broker) after(w *pending, answer []byte) {
	switch req := w.request.(type) {
	case *kmsg.TxnOffsetCommitRequest:
		if resp, ok := parseAnswer(req, answer).(*kmsg.TxnOffsetCommitResponse); ok {
			b.txns.stage(req, resp)
		}
	case *kmsg.EndTxnRequest:
		if resp, ok := parseAnswer(req, answer).(*kmsg.EndTxnResponse); ok {
			b.txns.ended(req.TransactionalID, req.ProducerID, req.ProducerEpoch, resp.ErrorCode == 0)
		}
	case *kmsg.InitProducerIDRequest:
		if resp, ok := parseAnswer(req, answer).(*kmsg.InitProducerIDResponse); ok && resp.ErrorCode == 0 && w.txn != "" {
			b.txns.closed(w.txn)
		}
	case *kmsg.DeleteRecordsRequest:
		b.cleaner.noteEnds(w.parts)
	}
	b.sync.mark(w)
}

// parseAnswer reads the answer to req, which follows its correlation id; nil where it cannot be read.
func parseAnswer(req kmsg.Request, answer []byte) kmsg.Response {
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if resp.IsFlexible() {
		if len(answer) == 0 || answer[0] != 0 { // kfake sends no tags
			return nil
		}
		answer = answer[1:]
	}
	if err := resp.ReadFrom(answer); err != nil {
		return nil
	}
	return resp
}

// rewriteCreate gives topics that are about to be made the retention that they do not name: kfake drops nothing of a
// topic without one, and as much of a compacted topic as its retention says, which Kafka does not.
func (b *Broker) rewriteCreate(frame []byte) ([]byte, error) {
	h, err := wire.ParseHeader(frame)
	if err != nil {
		return nil, err
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.SetVersion(h.Version)
	if err := req.ReadFrom(frame[h.Body:]); err != nil {
		return nil, err
	}
	for i := range req.Topics {
		t := &req.Topics[i]
		set := make(map[string]string, len(t.Configs))
		for _, c := range t.Configs {
			if c.Value != nil {
				set[c.Name] = *c.Value
			}
		}
		defaults := b.topicDefaults(set["cleanup.policy"])
		for _, name := range slices.Sorted(maps.Keys(defaults)) {
			if _, named := set[name]; named {
				continue
			}
			c := kmsg.NewCreateTopicsRequestTopicConfig()
			c.Name, c.Value = name, kmsg.StringPtr(defaults[name])
			t.Configs = append(t.Configs, c)
		}
	}
	return req.AppendTo(slices.Clone(frame[:h.Body])), nil
}

// topicDefaults is the retention of a topic whose policy is given.
func (b *Broker) topicDefaults(policy string) map[string]string {
	if compactsOnly(policy) {
		return map[string]string{"retention.ms": "-1", "retention.bytes": "-1"}
	}
	return map[string]string{
		"retention.ms":    strconv.FormatInt(b.o.Retention.Milliseconds(), 10),
		"retention.bytes": strconv.FormatInt(b.o.RetentionBytes, 10),
	}
}
