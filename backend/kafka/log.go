package kafka

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"freshet/backend/cdc"
	"freshet/backend/clock"
	"freshet/backend/fault"
	"freshet/backend/stream"
)

var (
	_ cdc.Log     = (*Log)(nil)
	_ cdc.Schemas = (*Log)(nil)
)

const (
	bufferedRecords = 50_000
	bufferedBytes   = 64 << 20
	linger          = 5 * time.Millisecond
	batchBytes      = 1_000_012 // Kafka's default bound of a batch
)

// Log appends captured records. It has a client of its own, and its gate.
type Log struct {
	c      *Cluster
	gate   *Gate
	client *kgo.Client
	free   sync.Pool // *entry
	once   sync.Once

	mu        sync.Mutex
	max       map[string]int32 // bytes of a batch that a topic takes
	published map[string]struct{}
	schemas   bool // the schemas' topic is there
}

// OpenLog opens the cluster for appending. The zero grant leaves it to the cluster's own gate.
func (c *Cluster) OpenLog(grant Grant) (*Log, error) {
	l := &Log{c: c, gate: c.gateOf(grant), max: make(map[string]int32), published: make(map[string]struct{})}
	l.free.New = func() any { return &entry{Context: context.Background(), log: l} }
	codec := kgo.Lz4Compression()
	if c.o.Own {
		codec = kgo.NoCompression() // it goes no further than this machine
	}
	var err error
	l.client, err = c.newClient(l.gate,
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerLinger(linger),
		kgo.ProducerBatchCompression(codec),
		kgo.MaxBufferedRecords(bufferedRecords),
		kgo.MaxBufferedBytes(bufferedBytes),
		kgo.ProducerBatchMaxBytesFn(l.batchMax),
		kgo.UnknownTopicRetries(4),
	)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		l.client.Close()
		return nil, errClosed
	}
	c.logs[l] = struct{}{}
	return l, nil
}

// Close ends the log. Records that are not acknowledged yet are done with an error.
func (l *Log) Close() {
	l.once.Do(func() {
		l.client.Close()
		l.c.mu.Lock()
		delete(l.c.logs, l)
		l.c.mu.Unlock()
	})
}

// EnsureTopic makes the topic where it is missing; one that exists is left as it is.
func (l *Log) EnsureTopic(ctx context.Context, topic string, partitions int32, config map[string]string) error {
	_, err := l.c.topicMeta(ctx, l.client, 0, topic)
	if fault.Is(err, fault.NotFound) {
		if err = l.c.createTopic(ctx, l.client, l.gate, topic, partitions, config); fault.Is(err, fault.Exists) {
			err = nil // somebody was faster
		}
	}
	if err != nil {
		return err
	}
	effective, err := l.c.topicConfig(ctx, topic)
	if fault.Is(err, fault.Denied) {
		return nil // then the default bound holds
	}
	if err != nil {
		return err
	}
	if n, err := strconv.ParseInt(effective["max.message.bytes"], 10, 32); err == nil {
		l.mu.Lock()
		l.max[topic] = int32(n)
		l.mu.Unlock()
	}
	return nil
}

func (l *Log) batchMax(topic string) int32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n, ok := l.max[topic]; ok && n >= 1<<10 {
		return n
	}
	return batchBytes
}

// entry is one record on its way. It is the record's own context, so that one function serves all records.
type entry struct {
	context.Context
	log     *Log
	rec     kgo.Record
	headers []kgo.RecordHeader
	done    func(error)
}

// Append writes r to its partition. See cdc.Log.
func (l *Log) Append(ctx context.Context, r *stream.Record, done func(error)) error {
	if err := l.gate.Allows(Produce); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return l.c.explain("append to "+r.Topic, err)
	}
	e := l.free.Get().(*entry)
	e.headers = e.headers[:0]
	for _, h := range r.Headers {
		e.headers = append(e.headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	e.rec = kgo.Record{
		Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: e.headers, Timestamp: r.Time, Context: e,
	}
	e.done = done
	l.client.Produce(ctx, &e.rec, landed)
	return nil
}

// landed is every record's promise.
func landed(r *kgo.Record, err error) {
	e := r.Context.(*entry)
	l, done := e.log, e.done
	if err != nil {
		if errors.Is(err, kgo.ErrAborting) { // it was let go of since the cluster is locked
			err = cmp.Or(l.gate.Allows(Produce), err)
		}
		err = l.c.explain(fmt.Sprintf("append to %s/%d", r.Topic, r.Partition), err)
	}
	e.rec, e.done = kgo.Record{}, nil
	clear(e.headers)
	l.free.Put(e)
	done(err)
}

// Sync returns when everything that was acknowledged before is on stable storage. See cdc.Log.
func (l *Log) Sync(ctx context.Context) error { return l.c.Sync(ctx) }

// Sync returns when everything that the cluster acknowledged before is on stable storage, as far as it promises that
// beyond the acknowledgement.
func (c *Cluster) Sync(ctx context.Context) error {
	if c.o.Sync == nil {
		return nil
	}
	return c.o.Sync(ctx)
}

// Last returns the last record of each partition of topic, without the partitions that hold none.
func (l *Log) Last(ctx context.Context, topic string) (map[int32]stream.Record, error) {
	return l.c.Last(ctx, topic)
}

// settle is how long Last waits for the markers of transactions that have just ended.
const settle = 5 * time.Second

// Last returns the last record of each partition of topic, without the partitions that hold none. A transaction that
// stays open there makes the answer unknown.
func (c *Cluster) Last(ctx context.Context, topic string) (map[int32]stream.Record, error) {
	parts, err := c.settled(ctx, topic)
	if err != nil {
		return nil, err
	}
	last := make(map[int32]stream.Record)
	for _, p := range parts {
		tp := stream.TopicPartition{Topic: topic, Partition: p.ID}
		// Most often the very last offset holds a record; where it is a marker or aborted, look further and further back.
		for span := int64(1); p.Start < p.End; span *= 64 {
			from := max(p.Start, p.End-span)
			rec, ok, err := c.lastIn(ctx, tp, from, p.End)
			if err != nil {
				return nil, err
			}
			if ok {
				last[p.ID] = rec
			}
			if ok || from == p.Start {
				break
			}
		}
	}
	return last, nil
}

// settled are the topic's partitions when no transaction is open on them.
func (c *Cluster) settled(ctx context.Context, topic string) ([]stream.Partition, error) {
	for began := time.Now(); ; {
		topics, err := c.Topics(ctx, false, topic)
		if err != nil {
			return nil, err
		}
		if len(topics) != 1 {
			return nil, c.noTopic(topic)
		}
		if topics[0].Err != nil {
			return nil, topics[0].Err
		}
		var open *stream.Partition
		for i := range topics[0].Partitions {
			p := &topics[0].Partitions[i]
			if p.Err != nil {
				return nil, p.Err
			}
			if p.Stable < p.End {
				open = p
			}
		}
		if open == nil {
			return topics[0].Partitions, nil
		}
		if time.Since(began) > settle {
			return nil, fault.New(fault.Unavailable, "find the last record of "+topic, "end the transaction, or wait for its timeout",
				"an open transaction hides what follows offset %d of partition %d", open.Stable, open.ID)
		}
		if err := clock.Sleep(ctx, askAgain); err != nil {
			return nil, c.explain("find the last record of "+topic, err)
		}
	}
}

// lastIn is the last record of [from, to).
func (c *Cluster) lastIn(ctx context.Context, tp stream.TopicPartition, from, to int64) (rec stream.Record, ok bool, err error) {
	cl, err := c.client()
	if err != nil {
		return rec, false, err
	}
	d := newDecoder()
	size := int32(1 << 20)
	for pos := from; pos < to; {
		got, err := c.fetchOnce(ctx, cl, map[stream.TopicPartition]int64{tp: pos}, size)
		if err != nil {
			return rec, false, err
		}
		f, answered := got[tp]
		if !answered {
			return rec, false, c.explain("read "+tp.Topic, kerr.LeaderNotAvailable)
		}
		if f.err != nil {
			return rec, false, c.explain("read "+tp.Topic, f.err)
		}
		before := pos
		for run := d.begin(f); pos < to && !run.done(); {
			var out decoded
			if err := run.decode(&out, pos, to, 0, defaultBatch); err != nil {
				return rec, false, err
			}
			if n := len(out.Records); n > 0 {
				rec, ok = out.Records[n-1], true
			}
			pos = out.Next
		}
		if pos == before {
			if size >= maxResult {
				break
			}
			size *= 4
		}
	}
	return rec, ok, nil
}

// Publish makes s durable under its ID in stream.SchemaTopic; one that is there already is left. See cdc.Schemas.
func (l *Log) Publish(ctx context.Context, s stream.TableSchema) error {
	l.mu.Lock()
	_, known := l.published[s.ID]
	there := l.schemas
	l.mu.Unlock()
	if known {
		return nil
	}
	if !there {
		if err := l.EnsureTopic(ctx, stream.SchemaTopic, 1, map[string]string{"cleanup.policy": "compact"}); err != nil {
			return err
		}
	}
	_, err := l.c.Schemas().Schema(ctx, s.ID)
	switch {
	case err == nil:
	case !fault.Is(err, fault.NotFound):
		return err
	default:
		value, err := json.Marshal(s)
		if err != nil {
			return fault.Wrap(fault.Internal, "publish schema "+s.ID, err, "")
		}
		done := make(chan error, 1)
		r := stream.Record{Topic: stream.SchemaTopic, Key: []byte(s.ID), Value: value}
		if err := l.Append(ctx, &r, func(err error) { done <- err }); err != nil {
			return err
		}
		select {
		case err = <-done:
		case <-ctx.Done():
			err = l.c.explain("publish schema "+s.ID, ctx.Err())
		}
		if err == nil {
			err = l.Sync(ctx)
		}
		if err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.schemas = true
	l.published[s.ID] = struct{}{}
	return nil
}
