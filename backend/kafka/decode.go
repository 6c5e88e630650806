package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"freshet/backend/fault"
	"freshet/backend/kafka/internal/wire"
	"freshet/backend/stream"
	"freshet/replay"
)

// decoded is what was made of a fetched stretch: replay.Batch without its ends.
type decoded struct {
	Records                     []stream.Record
	Next                        int64 // after the last offset accounted for
	Control, Aborted, Compacted int64
	epoch                       int32 // of the last batch, -1 none
}

// UndecodableError says that a batch cannot be read: it is damaged, or grows beyond all reason when decompressed.
type UndecodableError struct {
	Topic     string
	Partition int32
	From, To  int64 // the batch's offsets, To not included
	Err       error
}

func (e *UndecodableError) Error() string {
	return fmt.Sprintf("%s/%d: offsets %d to %d cannot be decoded: %v", e.Topic, e.Partition, e.From, e.To-1, e.Err)
}

func (e *UndecodableError) Unwrap() error { return e.Err }

// decoder makes records of fetched bytes. It is for one goroutine.
type decoder struct {
	decompress *decompressor
	keys       map[string]string // names of headers seen, so that each is made a string once
}

const maxKeys = 512

func newDecoder() *decoder {
	return &decoder{decompress: newDecompressor(maxDecompressed), keys: make(map[string]string)}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// decoding is a stretch that is being decoded.
type decoding struct {
	*decoder
	f   fetched
	raw []byte // not looked at yet
	ab  *aborts
}

func (d *decoder) begin(f fetched) decoding {
	return decoding{decoder: d, f: f, raw: f.raw, ab: abortedSet(f.aborted)}
}

// decode accounts for every offset from pos on and before to, as far as whole batches reach. It stops after limit records
// where that is not 0, and else at the end of the batch with which what it made takes at least size bytes. What it makes
// refers to the fetched bytes.
func (d *decoding) decode(out *decoded, pos, to int64, limit, size int) error {
	out.Next, out.epoch = pos, -1
	f, ab := d.f, d.ab
	out.Records = make([]stream.Record, 0, d.count(limit, size))
	for made := 0; len(d.raw) >= wire.BatchHead && out.Next < to && made < size; {
		raw := d.raw
		length, magic := 12+int(int32(binary.BigEndian.Uint32(raw[8:]))), raw[16]
		if length < 12 || length > len(raw) {
			if length < wire.BatchHead {
				return d.undecodable(f, out.Next, out.Next+1, errors.New("a batch that is shorter than its head"))
			}
			d.raw = nil // cut short by the size of the answer
			return nil
		}
		chunk := raw[:length]
		d.raw = raw[length:]
		if magic < 2 {
			if err := d.legacy(out, f, chunk, to); err != nil {
				return err
			}
			continue
		}
		b, ok := wire.ParseRecordBatch(chunk)
		if !ok || magic != 2 {
			return d.undecodable(f, out.Next, out.Next+1, fmt.Errorf("format %d", magic))
		}
		end := b.Base + int64(b.LastDelta) + 1
		if end <= out.Next {
			if end <= b.Base {
				return d.undecodable(f, out.Next, out.Next+1, errors.New("a batch without offsets"))
			}
			if ab.at(&b); b.Control() {
				ab.marker(&b, chunk[wire.BatchHead:])
			}
			continue
		}
		if sum := crc32.Checksum(wire.Summed(chunk), castagnoli); sum != b.CRC {
			return d.undecodable(f, max(b.Base, out.Next), end, errors.New("its checksum is wrong"))
		}
		if b.Base >= to {
			out.Compacted += to - out.Next
			out.Next = to
			break
		}
		if hole := b.Base - out.Next; hole > 0 {
			out.Compacted += hole
			out.Next = b.Base
		}
		made += length
		out.epoch = b.LeaderEpoch
		isAborted := ab.at(&b)
		switch {
		case b.Control():
			payload := chunk[wire.BatchHead:]
			ab.marker(&b, payload)
			out.Control += min(end, to) - out.Next
			out.Next = min(end, to)
		case isAborted && int64(b.Records) == int64(b.LastDelta)+1:
			out.Aborted += min(end, to) - out.Next
			out.Next = min(end, to)
		default:
			grown, err := d.batch(out, f, &b, chunk[wire.BatchHead:], end, to, isAborted, limit)
			if err != nil {
				return err
			}
			made += grown
			if limit > 0 && len(out.Records) >= limit {
				return nil
			}
		}
	}
	return nil
}

// done says whether nothing is left that can be decoded.
func (d *decoding) done() bool { return len(d.raw) < wire.BatchHead }

// count is how many records the batches to come claim, as far as size goes.
func (d *decoding) count(limit, size int) int {
	n, most := 0, len(d.raw)/minRecord
	for raw := d.raw; len(raw) >= wire.BatchHead && size > 0; {
		b, _ := wire.ParseRecordBatch(raw)
		if b.Size < wire.BatchHead || b.Size > len(raw) || b.Magic != 2 || b.Records < 0 {
			break
		}
		if !b.Control() {
			n += int(b.Records)
		}
		raw = raw[b.Size:]
		if b.Codec() != 0 {
			break // it may be much larger than it looks; the rest is grown into
		}
		size -= b.Size
	}
	if limit > 0 {
		most = min(most, limit)
	}
	return min(n, most)
}

func (d *decoder) undecodable(f fetched, from, to int64, err error) error {
	return &fault.Error{
		Kind: fault.Blocked, Op: "read " + f.tp.Topic, Code: "UNDECODABLE",
		Err:  &UndecodableError{Topic: f.tp.Topic, Partition: f.tp.Partition, From: from, To: to, Err: err},
		Next: "choose a range without these offsets",
	}
}

// minRecord is the least that a record takes.
const minRecord = 7

// batch reads the records of one batch.
func (d *decoder) batch(out *decoded, f fetched, b *wire.RecordBatch, payload []byte, end, to int64, aborted bool, limit int) (size int, _ error) {
	bad := func(err error) (int, error) { return 0, d.undecodable(f, out.Next, end, err) }
	payload, err := d.decompress.Decompress(payload, kgo.CompressionCodecType(b.Codec()))
	if err != nil {
		return bad(err)
	}
	if b.Records < 0 || int(b.Records) > len(payload)/minRecord {
		return bad(fmt.Errorf("it claims %d records in %d bytes", b.Records, len(payload)))
	}
	if !aborted && limit == 0 {
		out.Records = slices.Grow(out.Records, int(b.Records))
	}
	r := recordReader{b: payload}
	kind := stream.CreateTime
	if b.AppendTime() {
		kind = stream.AppendTime
	}
	var headers []stream.Header // of the whole batch, to be cut into each record's
	for range b.Records {
		length := r.varint()
		if length < 0 || length > int64(len(payload)-r.at) {
			return bad(errShort)
		}
		stop := r.at + int(length)
		r.at++ // attributes, none are defined
		timeDelta, delta := r.varint(), r.varint()
		offset := b.Base + delta
		if r.bad || offset >= end {
			return bad(errShort)
		}
		if offset < out.Next || aborted || offset >= to {
			r.at = stop
			if offset >= to {
				out.Compacted += to - out.Next
				out.Next = to
				return len(payload), nil
			}
			if aborted && offset >= out.Next {
				out.Compacted += offset - out.Next
				out.Aborted++
				out.Next = offset + 1
			}
			continue
		}
		when := b.FirstTime + timeDelta
		if kind == stream.AppendTime {
			when = b.MaxTime
		}
		rec := stream.Record{
			Topic: f.tp.Topic, Partition: f.tp.Partition, Offset: offset, LeaderEpoch: b.LeaderEpoch,
			Time: time.UnixMilli(when), TimeType: kind,
		}
		rec.Key = r.bytes()
		rec.Value = r.bytes()
		n := r.varint()
		if n < 0 || n > int64(len(payload)-r.at) {
			return bad(errShort)
		}
		if n > 0 {
			if headers == nil {
				headers = make([]stream.Header, 0, min(int(n)*int(b.Records), len(payload)/2))
			}
			first := len(headers)
			for range n {
				key := r.bytes()
				headers = append(headers, stream.Header{Key: d.key(key), Value: r.bytes()})
			}
			rec.Headers = headers[first:len(headers):len(headers)]
		}
		if r.bad || r.at != stop {
			return bad(errShort)
		}
		out.Compacted += offset - out.Next
		out.Next = offset + 1
		out.Records = append(out.Records, rec)
		if limit > 0 && len(out.Records) >= limit {
			return len(payload), nil
		}
	}
	if stop := min(end, to); stop > out.Next { // offsets at the end of the batch whose records are gone
		out.Compacted += stop - out.Next
		out.Next = stop
	}
	return len(payload), nil
}

func (d *decoder) key(b []byte) string {
	if s, ok := d.keys[string(b)]; ok {
		return s
	}
	s := string(b)
	if len(d.keys) < maxKeys && len(s) <= 256 {
		d.keys[s] = s
	}
	return s
}

// legacy reads a message set of the formats 0 and 1, which logs of old brokers still hold.
func (d *decoder) legacy(out *decoded, f fetched, chunk []byte, to int64) error {
	part := kmsg.NewFetchResponseTopicPartition()
	part.Partition, part.RecordBatches = f.tp.Partition, chunk
	got, _ := kgo.ProcessFetchPartition(kgo.ProcessFetchPartitionOpts{
		Topic: f.tp.Topic, Partition: f.tp.Partition, Offset: out.Next,
	}, &part, d.decompress, nil)
	if got.Err != nil {
		return d.undecodable(f, out.Next, out.Next+1, got.Err)
	}
	for _, r := range got.Records {
		if r.Offset >= to {
			break
		}
		out.Compacted += r.Offset - out.Next
		out.Next = r.Offset + 1
		kind := stream.TimeUnknown
		switch r.Attrs.TimestampType() {
		case 0:
			kind = stream.CreateTime
		case 1:
			kind = stream.AppendTime
		}
		out.Records = append(out.Records, stream.Record{
			Topic: f.tp.Topic, Partition: f.tp.Partition, Offset: r.Offset, LeaderEpoch: -1,
			Time: r.Timestamp, TimeType: kind, Key: r.Key, Value: r.Value,
		})
	}
	return nil
}

// lastOffset is the offset after the last whole batch of raw, and its leader epoch; pos and -1 where there is none.
func lastOffset(raw []byte, pos int64) (next int64, epoch int32) {
	next, epoch = pos, -1
	for len(raw) >= wire.BatchHead {
		size := 12 + int(int32(binary.BigEndian.Uint32(raw[8:])))
		if size < wire.BatchHead || size > len(raw) {
			break
		}
		if raw[16] == 2 {
			b, _ := wire.ParseRecordBatch(raw)
			next, epoch = max(next, b.Base+int64(b.LastDelta)+1), b.LeaderEpoch
		} else {
			next = max(next, int64(binary.BigEndian.Uint64(raw))+1)
		}
		raw = raw[size:]
	}
	return next, epoch
}

// aborts follows which producers' transactions are aborted while a stretch is read.
type aborts struct {
	todo []kmsg.FetchResponseTopicPartitionAbortedTransaction // by first offset
	now  map[int64]struct{}
}

func abortedSet(list []kmsg.FetchResponseTopicPartitionAbortedTransaction) *aborts {
	if len(list) == 0 {
		return &aborts{}
	}
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b kmsg.FetchResponseTopicPartitionAbortedTransaction) int {
		return int(min(max(a.FirstOffset-b.FirstOffset, -1), 1))
	})
	return &aborts{todo: list, now: make(map[int64]struct{})}
}

// at says whether b is of an aborted transaction; batches must be given in order.
func (a *aborts) at(b *wire.RecordBatch) bool {
	for len(a.todo) > 0 && a.todo[0].FirstOffset <= b.Base {
		a.now[a.todo[0].ProducerID] = struct{}{}
		a.todo = a.todo[1:]
	}
	_, aborted := a.now[b.ProducerID]
	return aborted && b.Transactional()
}

// marker ends a transaction.
func (a *aborts) marker(b *wire.RecordBatch, payload []byte) {
	r := recordReader{b: payload}
	r.varint()
	r.at++
	r.varint()
	r.varint()
	if key := r.bytes(); len(key) >= 4 && binary.BigEndian.Uint16(key[2:]) == 0 {
		delete(a.now, b.ProducerID)
	}
}

var errShort = errors.New("it ends within a record")

// recordReader reads the values of records; what goes wrong sets bad.
type recordReader struct {
	b   []byte
	at  int
	bad bool
}

func (r *recordReader) varint() int64 {
	if r.at > len(r.b) {
		r.bad = true
		return 0
	}
	// Most are one byte.
	if r.at < len(r.b) && r.b[r.at] < 0x80 {
		u := r.b[r.at]
		r.at++
		return int64(u>>1) ^ -int64(u&1)
	}
	v, n := binary.Varint(r.b[r.at:])
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.at += n
	return v
}

// bytes is nil for null.
func (r *recordReader) bytes() []byte {
	n := r.varint()
	if n < 0 || r.bad {
		return nil
	}
	if n > int64(len(r.b)-r.at) {
		r.bad = true
		return nil
	}
	r.at += int(n)
	return r.b[r.at-int(n) : r.at : r.at]
}

func (d *decoded) batch(from int64, f fetched) replay.Batch {
	return replay.Batch{
		Records: d.Records, From: from, Next: d.Next, Control: d.Control, Aborted: d.Aborted, Compacted: d.Compacted,
		End: f.stable, ReadAt: f.at,
	}
}
