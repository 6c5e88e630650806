package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/replay"
)

// writer writes one shard. It has a producer of its own, since a producer has one transaction at a time.
type writer struct {
	sink   *Sink
	shard  replay.Shard
	token  string // of this writer in the progress topic: another one there has taken over
	target string
	op     string

	targetID          [16]byte
	partitions        int32 // of the target
	maxMessage        int64 // bytes that the target takes as one batch
	compacted         bool  // the target takes no record without a key
	progressPartition int32

	client   *kgo.Client // nil after an error that leaves its transaction's state unknown
	claimed  bool        // a progress record of this writer is committed
	progress replay.Progress
	// unsure is a batch whose commit was asked for and not answered; the progress topic knows what became of it.
	unsure *outcome
}

// outcome is what a batch comes to.
type outcome struct {
	progress replay.Progress
	written  replay.Written
}

// maxSingles bounds how many records the brokers may refuse in one batch: each costs a transaction.
const maxSingles = 10

func (w *writer) Progress() replay.Progress { return w.progress }

// Close implements replay.Writer.
func (w *writer) Close(context.Context) error {
	w.drop()
	return nil
}

func (w *writer) drop() {
	if w.client != nil {
		w.sink.drop(w.client)
		w.client = nil
	}
}

// Write implements replay.Writer.
func (w *writer) Write(ctx context.Context, in replay.Write) (replay.Written, error) {
	if w.client == nil {
		if err := w.recover(ctx); err != nil {
			return replay.Written{}, err
		}
	}
	if out := w.settled(); out != nil && out.progress.Next == in.Next {
		return out.written, nil
	}
	if in.Next < w.progress.Next {
		return replay.Written{}, fault.New(fault.Internal, w.op, "", "the sink is at offset %d already", w.progress.Next)
	}
	refused := map[int64]string{}
	for singly := false; ; {
		out, bad, err := w.try(ctx, in, refused, singly)
		switch {
		case err == nil:
			w.progress = out.progress
			return out.written, nil
		case ctx.Err() != nil:
			return replay.Written{}, w.failure(ctx.Err())
		case w.client == nil:
			// Whether it is in, and who writes the shard now, the progress topic tells.
			limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), endLimit)
			unknown := w.recover(limited)
			cancel()
			if unknown != nil {
				return replay.Written{}, unknown
			}
			if out := w.settled(); out != nil {
				return out.written, nil
			}
			return replay.Written{}, w.failure(err)
		case refusable(err) && bad >= 0:
			if len(refused) == maxSingles {
				return replay.Written{}, &fault.Error{Kind: fault.Blocked, Op: w.op, Err: err, Next: "see why the target refuses so many records"}
			}
			refused[in.Items[bad].Record.Offset] = "the brokers refuse it: " + refusalName(err)
		case refusable(err) && !singly:
			singly = true
		default:
			return replay.Written{}, w.failure(err)
		}
	}
}

// settled returns the unsure batch where the progress, read anew, says that it is in.
func (w *writer) settled() *outcome {
	out := w.unsure
	w.unsure = nil
	if out != nil && w.progress.Next != out.progress.Next {
		return nil
	}
	return out
}

// recover makes a new producer after the state of the earlier one became unknown.
func (w *writer) recover(ctx context.Context) error {
	if err := w.takeOver(ctx); err != nil {
		w.drop()
		return err
	}
	return nil
}

// refusable reports whether the brokers refuse a record for what it is.
func refusable(err error) bool {
	return errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.RecordListTooLarge) || errors.Is(err, kerr.InvalidRecord)
}

func refusalName(err error) string {
	var e *kerr.Error
	if errors.As(err, &e) {
		return e.Message
	}
	return "unknown"
}

// try writes the batch in one transaction. Singly, each record is a batch of its own, so that a refusal names its record:
// bad is its place in in.Items, else -1.
func (w *writer) try(ctx context.Context, in replay.Write, refused map[int64]string, singly bool) (_ *outcome, bad int, err error) {
	out := &outcome{progress: replay.Progress{Next: in.Next, Position: w.progress.Position}}
	var records []*kgo.Record
	var places []int
	for i := range in.Items {
		item := &in.Items[i]
		rec := item.Record
		if rec.Offset < w.progress.Next {
			out.written.Duplicate++ // an unsure batch that turned out to be committed, cut differently now
			continue
		}
		if item.Change != nil && !item.Change.Position.IsZero() {
			out.progress.Position = item.Change.Position
		}
		r := w.record(rec)
		reason := refused[rec.Offset]
		if size := encodedSize(r); reason == "" && size > w.maxMessage {
			reason = fmt.Sprintf("%d bytes, the target's max.message.bytes is %d", size, w.maxMessage)
		}
		if reason == "" && w.compacted && r.Key == nil {
			reason = "the target is compacted and takes no record without a key"
		}
		if reason != "" {
			out.written.Refused = append(out.written.Refused, replay.Refusal{Offset: rec.Offset, Reason: reason})
			continue
		}
		records, places = append(records, r), append(places, i)
	}
	out.written.Applied = int64(len(records))
	if err := ctx.Err(); err != nil {
		return nil, -1, err
	}
	if err := w.begin(); err != nil {
		return nil, -1, err
	}
	if singly {
		for i, r := range records {
			if err := w.client.ProduceSync(ctx, r).FirstErr(); err != nil {
				w.abort()
				if lostProducer(err) {
					w.drop()
				}
				return nil, places[i], err
			}
		}
		records = nil
	}
	if err := w.produce(ctx, append(records, w.progressRecord(out.progress))); err != nil {
		w.abort()
		if lostProducer(err) {
			w.drop()
		}
		return nil, -1, err
	}
	// All is on the brokers and nothing committed: what is refused is certain now.
	if in.Refusing != nil && len(out.written.Refused) > 0 {
		if err := in.Refusing(ctx, out.written.Refused); err != nil {
			w.abort()
			return nil, -1, fault.Wrap(fault.Internal, "record what the sink refuses", err, "")
		}
	}
	out.written.Before = time.Now()
	if err := w.end(kgo.TryCommit); err != nil {
		w.unsure = out
		w.unsure.written.After = time.Now()
		return nil, -1, err
	}
	w.claimed = true
	out.written.After = time.Now()
	return out, -1, nil
}

// produce sends the records and returns when the brokers have every one, or with the first failure.
func (w *writer) produce(ctx context.Context, records []*kgo.Record) error {
	var mu sync.Mutex
	acknowledged := 0
	first := kgo.AbortingFirstErrPromise(w.client)
	for _, r := range records {
		promise := first.Promise()
		w.client.Produce(ctx, r, func(r *kgo.Record, err error) {
			if err == nil {
				mu.Lock()
				acknowledged++
				mu.Unlock()
			}
			promise(r, err)
		})
	}
	flush := w.client.Flush(ctx)
	if flush != nil {
		// first waits for every record, and without this the unsent ones wait for ever.
		w.abortBuffered()
	}
	if err := first.Err(); err != nil {
		if flush != nil && errors.Is(err, kgo.ErrAborting) {
			return flush
		}
		return err
	}
	if flush != nil {
		return flush
	}
	mu.Lock()
	defer mu.Unlock()
	if acknowledged != len(records) {
		return fault.New(fault.Internal, w.op, "", "%d of %d records were acknowledged", acknowledged, len(records))
	}
	return nil
}

func (w *writer) begin() error {
	if err := w.client.BeginTransaction(); err != nil {
		w.drop()
		return w.failure(err)
	}
	return nil
}

// end ends the transaction, also where the caller's context has ended: an unanswered end costs a take-over. After an
// error the producer is not used again.
func (w *writer) end(how kgo.TransactionEndTry) error {
	ctx, cancel := context.WithTimeout(context.Background(), endLimit)
	defer cancel()
	if how == kgo.TryCommit {
		// The first record of a topic can be acknowledged before kgo's metadata loop has stored the topic's partitions.
		// EndTransaction then finds no partition to commit, aborts, and returns nil (franz-go 1.22.3). This call runs in
		// that loop, after whatever it is at; there is no such topic.
		w.client.PurgeTopicsFromProducing("freshet/barrier")
	}
	err := w.client.EndTransaction(ctx, how)
	if err != nil {
		w.drop()
	}
	return err
}

func (w *writer) abortBuffered() {
	ctx, cancel := context.WithTimeout(context.Background(), endLimit)
	defer cancel()
	if err := w.client.AbortBufferedRecords(ctx); err != nil {
		w.sink.log.Warn("records stay in the producer's buffer", "error", err)
	}
}

func (w *writer) abort() {
	w.abortBuffered()
	if err := w.end(kgo.TryAbort); err != nil {
		w.sink.log.Warn("a transaction could not be aborted; the next take-over does", "error", err)
	}
}

// record copies rec for the target. The producer writes to the record it is given, so it never gets a source's own.
func (w *writer) record(rec *stream.Record) *kgo.Record {
	r := &kgo.Record{Topic: w.target, Partition: w.partitionOf(rec), Key: rec.Key, Value: rec.Value, Timestamp: rec.Time,
		Headers: make([]kgo.RecordHeader, 0, len(rec.Headers)+2)}
	for _, h := range rec.Headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	if w.sink.opts.Stamp {
		src := rec.Topic + "/" + strconv.Itoa(int(rec.Partition)) + ":" + strconv.FormatInt(rec.Offset, 10)
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: SourceHeader, Value: []byte(src)},
			kgo.RecordHeader{Key: TimeTypeHeader, Value: []byte(rec.TimeType.String())})
	}
	return r
}

// partitionOf keeps a record's partition where the target has as many as the source, or the source's number is unknown
// and the target has that one. Else the key decides, as Kafka's own producer has it; records without a key keep their
// partition's spread.
func (w *writer) partitionOf(rec *stream.Record) int32 {
	n := w.partitions
	if w.shard.Partitions == n || rec.Partition < n && (w.shard.Partitions == 0 || w.shard.Partitions < n && rec.Key == nil) {
		return rec.Partition
	}
	if rec.Key == nil {
		return rec.Partition % n
	}
	return int32(kafkaHash(rec.Key) & 0x7fffffff % uint32(n))
}

func (w *writer) progressRecord(p replay.Progress) *kgo.Record {
	value := progressRecord{V: 1, Owner: w.shard.Owner, Topic: w.shard.Topic, TopicID: replay.FormatTopicID(w.shard.TopicID), Partition: w.shard.Partition,
		Epoch: w.shard.Epoch, Writer: w.token, Next: p.Next}
	if !p.Position.IsZero() {
		value.Position = p.Position.String()
	}
	b, err := json.Marshal(value)
	if err != nil {
		panic(err) // of strings and numbers
	}
	return &kgo.Record{Topic: ProgressTopic, Partition: w.progressPartition, Key: []byte(progressKey(w.shard)), Value: b, Timestamp: time.Now()}
}

// encodedSize is at least what a batch of r alone takes, before compression.
func encodedSize(r *kgo.Record) int64 {
	const batchHeader, lengths = 61, 5 // the most that a length takes
	n := int64(batchHeader + lengths + 1 + 10 + lengths + lengths + len(r.Key) + lengths + len(r.Value) + lengths)
	for _, h := range r.Headers {
		n += int64(lengths + len(h.Key) + lengths + len(h.Value))
	}
	return n
}

// kafkaHash is the murmur2 of Kafka's own producer.
func kafkaHash(b []byte) uint32 {
	const m, r = 0x5bd1e995, 24
	h := uint32(0x9747b28c) ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h = h*m ^ k
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(b[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}
