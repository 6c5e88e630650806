package wire_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"freshet/backend/kafka/internal/wire"
)

func frame(req kmsg.Request) []byte {
	f := kmsg.NewRequestFormatter(kmsg.FormatterClientID("freshet/test"))
	return f.AppendRequest(nil, req, 7)[4:]
}

func batch(topic string, pid int64, epoch, attributes int16, records int32) []byte {
	return (&kmsg.RecordBatch{
		Magic: 2, Attributes: attributes, LastOffsetDelta: records - 1, ProducerID: pid, ProducerEpoch: epoch,
		NumRecords: records, Records: []byte(topic),
	}).AppendTo(nil)
}

func TestProduce(t *testing.T) {
	for version := int16(3); version <= 13; version++ {
		req := kmsg.NewPtrProduceRequest()
		req.SetVersion(version)
		req.TransactionID = kmsg.StringPtr("tx")
		req.Acks = -1
		ids := map[string][16]byte{"orders": {1}, "lines": {2}}
		for _, name := range []string{"orders", "lines"} {
			rt := kmsg.NewProduceRequestTopic()
			rt.Topic, rt.TopicID = name, ids[name]
			for p := range int32(2) {
				rp := kmsg.NewProduceRequestTopicPartition()
				rp.Partition = p
				rp.Records = batch(name, 9, 4, 0x10, 5)
				rt.Partitions = append(rt.Partitions, rp)
			}
			req.Topics = append(req.Topics, rt)
		}
		f := frame(req)
		h, err := wire.ParseHeader(f)
		if err != nil || h.Key != wire.Produce || h.Version != version || h.Correlation != 7 {
			t.Fatalf("v%d: %+v %v", version, h, err)
		}
		var got []wire.Batch
		txn, acks, err := wire.ParseProduce(version, f[h.Body:], func(b *wire.Batch) error {
			got = append(got, *b)
			return nil
		})
		if err != nil || string(txn) != "tx" || acks != -1 || len(got) != 4 {
			t.Fatalf("v%d: txn %q acks %d %d batches: %v", version, txn, acks, len(got), err)
		}
		for i, b := range got {
			name := []string{"orders", "orders", "lines", "lines"}[i]
			if version < 13 && string(b.Topic) != name || version >= 13 && b.TopicID != ids[name] ||
				b.Partition != int32(i%2) || b.ProducerID != 9 || b.Epoch != 4 || b.Records != 5 || !b.Transactional() {
				t.Fatalf("v%d batch %d: %+v", version, i, b)
			}
		}
	}
}

// Every request that kmsg can write has a head that ParseHeader reads to the same place.
func TestHeaderOfEveryKey(t *testing.T) {
	for key := range int16(kmsg.MaxKey + 1) {
		req := kmsg.RequestForKey(key)
		if req == nil {
			continue
		}
		for v := range req.MaxVersion() + 1 {
			if key == 7 && v == 0 {
				continue // ControlledShutdown v0 has no client id; nobody sends it any more
			}
			req.SetVersion(v)
			f := frame(req)
			h, err := wire.ParseHeader(f)
			if err != nil || h.Key != key || h.Version != v {
				t.Fatalf("key %d v%d: %+v %v", key, v, h, err)
			}
			if body := req.AppendTo(nil); !bytes.Equal(f[h.Body:], body) {
				t.Fatalf("key %d v%d: the body begins at %d of %d, want its last %d bytes", key, v, h.Body, len(f), len(body))
			}
		}
	}
	if _, err := wire.ParseHeader([]byte{3, 231, 0, 0, 0, 0, 0, 1, 255, 255}); err == nil {
		t.Fatal("key 999 is read")
	}
}

func TestProduceAllocatesNothing(t *testing.T) {
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(12)
	rt := kmsg.NewProduceRequestTopic()
	rt.Topic = "orders"
	rp := kmsg.NewProduceRequestTopicPartition()
	rp.Records = batch("orders", 9, 4, 0, 5)
	rt.Partitions = append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	f := frame(req)
	var count int
	each := func(b *wire.Batch) error { count++; return nil }
	if n := testing.AllocsPerRun(100, func() {
		h, _ := wire.ParseHeader(f)
		wire.ParseProduce(h.Version, f[h.Body:], each)
	}); n > 1 { // the Batch handed to each
		t.Fatalf("%v allocations", n)
	}
}

// Hostile bytes never panic, and what is read of them lies within them.
func FuzzRequest(f *testing.F) {
	for _, v := range []int16{3, 9, 13} {
		req := kmsg.NewPtrProduceRequest()
		req.SetVersion(v)
		rt := kmsg.NewProduceRequestTopic()
		rt.Topic = "orders"
		rp := kmsg.NewProduceRequestTopicPartition()
		rp.Records = batch("orders", 9, 4, 0, 5)
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		f.Add(frame(req))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := wire.ParseHeader(b)
		if err != nil {
			return
		}
		if h.Body > len(b) {
			t.Fatalf("body at %d of %d", h.Body, len(b))
		}
		if h.Key != wire.Produce {
			return
		}
		total := 0
		wire.ParseProduce(h.Version, b[h.Body:], func(p *wire.Batch) error {
			if total += p.Bytes; total > len(b) {
				t.Fatalf("%d bytes of records in %d", total, len(b))
			}
			return nil
		})
		wire.ParseRecordBatch(slices.Clone(b))
	})
}
