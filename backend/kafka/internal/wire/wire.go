// Package wire reads the little of Kafka's protocol that must be known of a request while it passes by: its header, and
// for Produce the batches in it, without a copy and without an allocation. It imports kmsg and the standard library.
package wire

import (
	"encoding/binary"
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ErrMalformed is a request that cannot be read.
var ErrMalformed = errors.New("malformed Kafka request")

// Keys of the requests that are looked into.
const (
	Produce              = 0
	Fetch                = 1
	Metadata             = 3
	OffsetCommit         = 8
	SASLHandshake        = 17
	CreateTopics         = 19
	DeleteTopics         = 20
	DeleteRecords        = 21
	InitProducerID       = 22
	AddPartitionsToTxn   = 24
	AddOffsetsToTxn      = 25
	EndTxn               = 26
	WriteTxnMarkers      = 27
	TxnOffsetCommit      = 28
	ApiVersions          = 18
	CreatePartitions     = 37
	OffsetDelete         = 47
	firstFlexibleProduce = 9
	firstProduceWithID   = 13
)

// Header is the head of a request.
type Header struct {
	Key, Version int16
	Correlation  int32
	Flexible     bool
	Body         int // where the body begins, after the client id and the header's tags
}

// ParseHeader reads the head of a request frame without its length. A key that kmsg does not know is malformed.
func ParseHeader(frame []byte) (Header, error) {
	if len(frame) < 8 {
		return Header{}, ErrMalformed
	}
	h := Header{
		Key:         int16(binary.BigEndian.Uint16(frame)),
		Version:     int16(binary.BigEndian.Uint16(frame[2:])),
		Correlation: int32(binary.BigEndian.Uint32(frame[4:])),
	}
	if h.Key == Produce { // the one that comes often
		h.Flexible = h.Version >= firstFlexibleProduce
	} else {
		req := kmsg.RequestForKey(h.Key)
		if req == nil {
			return h, ErrMalformed
		}
		req.SetVersion(h.Version)
		h.Flexible = req.IsFlexible()
	}
	r := reader{b: frame, at: 8}
	if n := r.int16(); n > 0 { // the client id is never compact
		r.skip(int(n))
	}
	if h.Flexible {
		r.tags()
	}
	h.Body = r.at
	if r.bad {
		return h, ErrMalformed
	}
	return h, nil
}

// Batch is what the head of a record batch says.
type Batch struct {
	Topic      []byte // name, "" where the request carries ids
	TopicID    [16]byte
	Partition  int32
	Records    int32 // as it claims
	Attributes int16
	ProducerID int64
	Epoch      int16
	Bytes      int
}

// Transactional says whether the batch is part of a transaction.
func (b *Batch) Transactional() bool { return b.Attributes&0x10 != 0 }

// ParseProduce reads the body of a Produce request: transactional id (nil for null), acks, and each partition's batch.
// The slices are the body's own. A batch too short for its head is given with ProducerID -1.
func ParseProduce(version int16, body []byte, each func(*Batch) error) (txn []byte, acks int16, err error) {
	r := reader{b: body, flexible: version >= firstFlexibleProduce}
	txn = r.bytes16()
	acks = r.int16()
	r.int32() // timeout
	topics := r.array()
	var b Batch
	for range topics {
		b = Batch{}
		if version >= firstProduceWithID {
			copy(b.TopicID[:], r.take(16))
		} else {
			b.Topic = r.bytes16()
		}
		for range r.array() {
			b.Partition = r.int32()
			b.head(r.bytes32())
			r.tagsIfFlexible()
			if r.bad {
				return txn, acks, ErrMalformed
			}
			if err := each(&b); err != nil {
				return txn, acks, err
			}
		}
		r.tagsIfFlexible()
	}
	if r.bad {
		return txn, acks, ErrMalformed
	}
	return txn, acks, nil
}

// Offsets within the head of a record batch of magic 2.
const (
	BatchHead        = 61 // its length
	batchLength      = 8
	batchLeaderEpoch = 12
	batchMagic       = 16
	batchCRC         = 17
	batchAttributes  = 21
	batchLastDelta   = 23
	batchFirstTime   = 27
	batchMaxTime     = 35
	batchProducerID  = 43
	batchEpoch       = 51
	batchSequence    = 53
	batchRecords     = 57
)

func (b *Batch) head(records []byte) {
	b.Bytes, b.ProducerID, b.Attributes, b.Epoch, b.Records = len(records), -1, 0, -1, 0
	if len(records) < BatchHead {
		return
	}
	b.Attributes = int16(binary.BigEndian.Uint16(records[batchAttributes:]))
	b.ProducerID = int64(binary.BigEndian.Uint64(records[batchProducerID:]))
	b.Epoch = int16(binary.BigEndian.Uint16(records[batchEpoch:]))
	b.Records = int32(binary.BigEndian.Uint32(records[batchRecords:]))
}

// RecordBatch is the head of a record batch in a log.
type RecordBatch struct {
	Base        int64 // first offset
	Size        int   // with its head
	LeaderEpoch int32
	Magic       int8
	CRC         uint32
	Attributes  int16
	LastDelta   int32
	FirstTime   int64
	MaxTime     int64
	ProducerID  int64
	Epoch       int16
	Sequence    int32
	Records     int32
}

// ParseRecordBatch reads the head of the batch that b begins with; ok is false where b is too short for the head. Size
// is what the batch says and may go beyond b, or be less than its own head where it lies.
func ParseRecordBatch(b []byte) (r RecordBatch, ok bool) {
	if len(b) < BatchHead {
		return r, false
	}
	be := binary.BigEndian
	return RecordBatch{
		Base:        int64(be.Uint64(b)),
		Size:        12 + int(int32(be.Uint32(b[batchLength:]))),
		LeaderEpoch: int32(be.Uint32(b[batchLeaderEpoch:])),
		Magic:       int8(b[batchMagic]),
		CRC:         be.Uint32(b[batchCRC:]),
		Attributes:  int16(be.Uint16(b[batchAttributes:])),
		LastDelta:   int32(be.Uint32(b[batchLastDelta:])),
		FirstTime:   int64(be.Uint64(b[batchFirstTime:])),
		MaxTime:     int64(be.Uint64(b[batchMaxTime:])),
		ProducerID:  int64(be.Uint64(b[batchProducerID:])),
		Epoch:       int16(be.Uint16(b[batchEpoch:])),
		Sequence:    int32(be.Uint32(b[batchSequence:])),
		Records:     int32(be.Uint32(b[batchRecords:])),
	}, true
}

// Summed is what the batch's checksum covers.
func Summed(batch []byte) []byte { return batch[batchAttributes:] }

// Control says whether the batch is a transaction's marker.
func (r *RecordBatch) Control() bool { return r.Attributes&0x20 != 0 }

// Transactional says whether the batch is part of a transaction.
func (r *RecordBatch) Transactional() bool { return r.Attributes&0x10 != 0 }

// AppendTime says whether the broker stamped the batch.
func (r *RecordBatch) AppendTime() bool { return r.Attributes&0x08 != 0 }

// Codec is the number of the compression.
func (r *RecordBatch) Codec() int8 { return int8(r.Attributes & 0x07) }

// reader reads primitive values; what goes wrong sets bad and gives zero values from then on.
type reader struct {
	b        []byte
	at       int
	flexible bool
	bad      bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b)-r.at {
		r.bad = true
		return nil
	}
	r.at += n
	return r.b[r.at-n : r.at : r.at]
}

func (r *reader) skip(n int) { r.take(n) }

func (r *reader) int16() int16 {
	if b := r.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *reader) int32() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *reader) uvarint() uint32 {
	if r.bad {
		return 0
	}
	v, n := binary.Uvarint(r.b[r.at:])
	if n <= 0 || v > 1<<31-1 {
		r.bad = true
		return 0
	}
	r.at += n
	return uint32(v)
}

// bytes16 is a nullable string.
func (r *reader) bytes16() []byte {
	if r.flexible {
		return r.compact()
	}
	if n := r.int16(); n >= 0 {
		return r.take(int(n))
	}
	return nil
}

// bytes32 is nullable bytes.
func (r *reader) bytes32() []byte {
	if r.flexible {
		return r.compact()
	}
	if n := r.int32(); n >= 0 {
		return r.take(int(n))
	}
	return nil
}

func (r *reader) compact() []byte {
	if n := r.uvarint(); n > 0 {
		return r.take(int(n) - 1)
	}
	return nil
}

// array is the count of an array's elements, each of which takes at least a byte.
func (r *reader) array() int {
	n := 0
	if r.flexible {
		n = int(r.uvarint()) - 1
	} else {
		n = int(r.int32())
	}
	if n > len(r.b)-r.at {
		r.bad = true
	}
	if r.bad || n < 0 {
		return 0
	}
	return n
}

func (r *reader) tagsIfFlexible() {
	if r.flexible {
		r.tags()
	}
}

func (r *reader) tags() {
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		r.uvarint()
		r.skip(int(r.uvarint()))
	}
}
