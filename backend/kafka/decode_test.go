package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"freshet/backend/fault"
	"freshet/backend/kafka/internal/wire"
	"freshet/backend/stream"
)

// batchOf makes a record batch of values at offsets base+deltas.
func batchOf(base int64, attributes int16, pid int64, codec func([]byte) []byte, deltas ...int32) []byte {
	var records []byte
	for _, d := range deltas {
		rec := kmsg.Record{OffsetDelta: d, Key: fmt.Appendf(nil, "k%d", d), Value: fmt.Appendf(nil, "v%d", base+int64(d))}
		rec.Length = int32(len(rec.AppendTo(nil)) - 1)
		records = rec.AppendTo(records)
	}
	if codec != nil {
		records = codec(records)
	}
	b := kmsg.RecordBatch{FirstOffset: base, Magic: 2, Attributes: attributes, FirstTimestamp: 1000, MaxTimestamp: 2000, ProducerID: pid,
		NumRecords: int32(len(deltas)), Records: records}
	if len(deltas) > 0 {
		b.LastOffsetDelta = deltas[len(deltas)-1]
	}
	return seal(b.AppendTo(nil))
}

func seal(raw []byte) []byte {
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(wire.Summed(raw), castagnoli))
	return raw
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func lz4ed(b []byte) []byte {
	var out bytes.Buffer
	w := lz4.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

func zstded(b []byte) []byte {
	w, _ := zstd.NewWriter(nil)
	return w.EncodeAll(b, nil)
}

func xerialed(b []byte) []byte {
	out := append(slices.Clone(xerial), 0, 0, 0, 1, 0, 0, 0, 1)
	for part := range slices.Chunk(b, 20) {
		block := s2.EncodeSnappy(nil, part)
		out = append(binary.BigEndian.AppendUint32(out, uint32(len(block))), block...)
	}
	return out
}

func decodeAll(raw []byte, pos, to int64, aborted ...kmsg.FetchResponseTopicPartitionAbortedTransaction) (decoded, error) {
	var out decoded
	run := newDecoder().begin(fetched{raw: raw, aborted: aborted, tp: stream.TopicPartition{Topic: "t"}})
	err := run.decode(&out, pos, to, 0, 1<<30)
	return out, err
}

func TestDecodeHoles(t *testing.T) {
	log := slices.Concat(
		batchOf(10, 0, -1, nil, 0, 2, 5),         // 10, 12, 15
		batchOf(20, 0, -1, nil, 1),               // 21; 20 was compacted away
		batchOf(30, 0, -1, nil),                  // an empty batch of 30
		batchOf(40, 0x10, 7, nil, 0, 1),          // aborted
		batchOf(50, 0x10, 7, nil, 0, 3),          // aborted, with holes
		batchOf(60, 0x10, 8, nil, 0),             // of another producer
		seal(marker(61, 7)), seal(marker(62, 8)), // the ends
		batchOf(63, 0x10, 7, nil, 0), // a later transaction of the same producer
	)
	aborted := kmsg.FetchResponseTopicPartitionAbortedTransaction{ProducerID: 7, FirstOffset: 40}
	whole, err := decodeAll(log, 5, 100, aborted)
	if err != nil {
		t.Fatal(err)
	}
	if whole.Next != 64 || whole.Control != 2 || whole.Aborted != 4 || len(whole.Records) != 6 || whole.Compacted != 64-5-2-4-6 {
		t.Fatalf("%+v", whole)
	}
	// The same in every two parts.
	for cut := int64(5); cut <= 64; cut++ {
		a, err := decodeAll(log, 5, cut, aborted)
		if err != nil || a.Next != cut {
			t.Fatalf("to %d: next %d, %v", cut, a.Next, err)
		}
		b, err := decodeAll(log, cut, 64, aborted)
		if err != nil || b.Next != 64 {
			t.Fatalf("from %d: next %d, %v", cut, b.Next, err)
		}
		if a.Control+b.Control != 2 || a.Aborted+b.Aborted != 4 || a.Compacted+b.Compacted != whole.Compacted || len(a.Records)+len(b.Records) != 6 {
			t.Fatalf("cut at %d: %+v and %+v", cut, a, b)
		}
	}
}

func marker(base, pid int64) []byte {
	key := kmsg.ControlRecordKey{}
	rec := kmsg.Record{Key: key.AppendTo(nil), Value: (&kmsg.EndTxnMarker{}).AppendTo(nil)}
	rec.Length = int32(len(rec.AppendTo(nil)) - 1)
	return (&kmsg.RecordBatch{FirstOffset: base, Magic: 2, Attributes: 0x30, ProducerID: pid, NumRecords: 1, Records: rec.AppendTo(nil)}).AppendTo(nil)
}

func TestDecodeCodecs(t *testing.T) {
	for codec, compress := range map[int16]func([]byte) []byte{
		0: func(b []byte) []byte { return b }, 1: gzipped, 2: func(b []byte) []byte { return s2.EncodeSnappy(nil, b) }, 3: lz4ed, 4: zstded, 2 | 0x100: xerialed,
	} {
		out, err := decodeAll(batchOf(3, codec, -1, compress, 0, 1, 2, 3), 4, 6)
		if err != nil || len(out.Records) != 2 || string(out.Records[0].Value) != "v4" || out.Next != 6 {
			t.Errorf("codec %x: %+v %v", codec, out, err)
		}
	}
}

// Damage is told with its offsets, and what comes before it is read.
func TestDecodeDamage(t *testing.T) {
	good := batchOf(0, 0, -1, nil, 0, 1)
	flip := func(b []byte, at int) []byte { b = slices.Clone(b); b[at] ^= 1; return b }
	next := batchOf(2, 0, -1, nil, 0, 1, 2)
	lying := func(count uint32) []byte {
		b := slices.Clone(next)
		binary.BigEndian.PutUint32(b[57:], count)
		return seal(b)
	}
	bomb := func(codec int16, compress func([]byte) []byte) []byte {
		zeros := make([]byte, maxDecompressed+1000)
		return batchOf(2, codec, -1, func([]byte) []byte { return compress(zeros) }, 0, 1, 2)
	}
	for what, bad := range map[string][]byte{
		"a flipped bit":         flip(next, 70),
		"a wrong checksum":      flip(next, 18),
		"an unknown codec":      batchOf(2, 5, -1, nil, 0, 1, 2),
		"no gzip":               batchOf(2, 1, -1, nil, 0, 1, 2),
		"many records claimed":  lying(1 << 30),
		"fewer than none":       lying(1<<32 - 5),
		"more records than are": lying(4),
		"a gzip bomb":           bomb(1, gzipped),
		"a snappy bomb":         bomb(2, func(b []byte) []byte { return s2.EncodeSnappy(nil, b) }),
		"an lz4 bomb":           bomb(3, lz4ed),
		"a zstd bomb":           bomb(4, zstded),
	} {
		out, err := decodeAll(append(slices.Clone(good), bad...), 0, 100)
		var u *UndecodableError
		if !errors.As(err, &u) || !fault.Is(err, fault.Blocked) || u.From < 2 || u.To != 5 {
			t.Errorf("%s: %v", what, err)
		}
		if len(out.Records) < 2 || out.Next < 2 {
			t.Errorf("%s: %d records before it", what, len(out.Records))
		}
	}
	// The answer's size cuts the last batch short: that is no damage.
	out, err := decodeAll(append(slices.Clone(good), next[:len(next)-1]...), 0, 100)
	if err != nil || out.Next != 2 {
		t.Errorf("cut short: %+v %v", out, err)
	}
}

// What is decoded here is what kgo decodes.
func TestDecodeAsKgo(t *testing.T) {
	log := slices.Concat(batchOf(10, 0, -1, nil, 0, 2, 5), batchOf(20, 4, -1, zstded, 1, 2), batchOf(40, 0x10, 7, nil, 0, 1), seal(marker(42, 7)), batchOf(43, 8, -1, nil, 0))
	part := kmsg.NewFetchResponseTopicPartition()
	part.RecordBatches = log
	part.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{{ProducerID: 7, FirstOffset: 40}}
	theirs, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{Topic: "t", IsolationLevel: kgo.ReadCommitted()}, &part, kgo.DefaultDecompressor(), nil)
	ours, err := decodeAll(log, 0, 100, part.AbortedTransactions...)
	if err != nil || theirs.Err != nil || len(ours.Records) != len(theirs.Records) || len(ours.Records) != 6 {
		t.Fatalf("%d and %d records, %v, %v", len(ours.Records), len(theirs.Records), err, theirs.Err)
	}
	for i, r := range ours.Records {
		k := theirs.Records[i]
		if r.Offset != k.Offset || !r.Time.Equal(k.Timestamp) || !bytes.Equal(r.Key, k.Key) || !bytes.Equal(r.Value, k.Value) || (r.TimeType == stream.AppendTime) != (k.Attrs.TimestampType() == 1) {
			t.Errorf("%d: %+v, kgo: %+v", i, r, k)
		}
	}
}

// Hostile bytes never panic, every offset is accounted for, and nothing grows beyond its bound.
func FuzzDecode(f *testing.F) {
	f.Add(batchOf(0, 0, -1, nil, 0, 1), int64(0), int64(10))
	f.Add(slices.Concat(batchOf(10, 0, -1, nil, 0, 2, 5), batchOf(40, 0x10, 7, nil, 0, 1), seal(marker(42, 7))), int64(11), int64(41))
	f.Add(batchOf(0, 4, -1, zstded, 0, 1), int64(0), int64(10))
	f.Add(batchOf(0, 2, -1, xerialed, 0, 1), int64(0), int64(10))
	f.Fuzz(func(t *testing.T, raw []byte, pos, to int64) {
		if pos < 0 || to < pos || to > 1<<60 {
			return
		}
		// Bytes whose checksums are wrong go no further than that: the first batch gets a right one.
		if len(raw) >= wire.BatchHead && raw[16] == 2 {
			raw = slices.Clone(raw)
			seal(raw)
		}
		out, _ := decodeAll(raw, pos, to, kmsg.FetchResponseTopicPartitionAbortedTransaction{ProducerID: 7, FirstOffset: 1})
		if out.Next < pos || out.Next > max(to, pos) {
			t.Fatalf("next %d of %d to %d", out.Next, pos, to)
		}
		if n := int64(len(out.Records)) + out.Control + out.Aborted + out.Compacted; n != out.Next-pos || out.Control < 0 || out.Aborted < 0 || out.Compacted < 0 {
			t.Fatalf("%d accounted for, %d passed: %+v", n, out.Next-pos, out)
		}
		lastOffset(raw, pos)
		// In small parts it is the same.
		var sum decoded
		run := newDecoder().begin(fetched{raw: raw, aborted: []kmsg.FetchResponseTopicPartitionAbortedTransaction{{ProducerID: 7, FirstOffset: 1}}})
		for at := pos; ; {
			var part decoded
			err := run.decode(&part, at, to, 0, 1)
			sum.Records = append(sum.Records, part.Records...)
			sum.Control, sum.Aborted, sum.Compacted, sum.Next = sum.Control+part.Control, sum.Aborted+part.Aborted, sum.Compacted+part.Compacted, part.Next
			if err != nil || len(run.raw) < wire.BatchHead || part.Next >= to {
				break
			}
			at = part.Next
		}
		if sum.Next != out.Next || len(sum.Records) != len(out.Records) || sum.Control != out.Control || sum.Aborted != out.Aborted || sum.Compacted != out.Compacted {
			t.Fatalf("in parts %+v, whole %+v", sum, out)
		}
	})
}

func TestDecodeAllocatesByBatch(t *testing.T) {
	deltas := make([]int32, 1000)
	for i := range deltas {
		deltas[i] = int32(i)
	}
	raw := batchOf(0, 0, -1, nil, deltas...)
	d := newDecoder()
	if n := testing.AllocsPerRun(20, func() {
		var out decoded
		run := d.begin(fetched{raw: raw})
		if err := run.decode(&out, 0, 1000, 0, 1<<30); err != nil || len(out.Records) != 1000 {
			t.Fatal(err)
		}
	}); n > 4 {
		t.Fatalf("%v allocations for 1000 records", n)
	}
}
