package kafka

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"freshet/backend/fault"
	"freshet/backend/stream"
)

// want asks for what follows pos in one partition.
type want struct {
	tp      stream.TopicPartition
	id      [16]byte
	pos     int64
	epoch   int32 // leader epoch of what was read last, -1 none: the broker answers whether its log still agrees
	bytes   int32
	deliver chan<- fetched // of a lane; capacity 1, one answer
}

// fetched is what a leader answered about one partition.
type fetched struct {
	raw     []byte
	aborted []kmsg.FetchResponseTopicPartitionAbortedTransaction
	start   int64 // first offset kept
	stable  int64
	high    int64
	// diverged is where the log that was read and the leader's part, -1 where they agree.
	diverged int64
	at       time.Time
	err      error // of this partition; kerr, a connection's error, or a fault
	tp       stream.TopicPartition
}

// fetchFrom asks one broker for committed data of partitions it leads, waiting at most wait for any to arrive.
func fetchFrom(ctx context.Context, cl *kgo.Client, leader int32, wants []want, wait time.Duration) (map[stream.TopicPartition]fetched, error) {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID = -1
	req.MaxWaitMillis = int32(wait.Milliseconds())
	req.MinBytes = 1
	req.MaxBytes = maxResult
	req.IsolationLevel = 1
	req.SessionID, req.SessionEpoch = 0, -1
	topics := make(map[string]int)
	names := make(map[[16]byte]string)
	for _, w := range wants {
		i, ok := topics[w.tp.Topic]
		if !ok {
			i = len(req.Topics)
			topics[w.tp.Topic] = i
			names[w.id] = w.tp.Topic
			t := kmsg.NewFetchRequestTopic()
			t.Topic, t.TopicID = w.tp.Topic, w.id
			req.Topics = append(req.Topics, t)
		}
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition = w.tp.Partition
		p.CurrentLeaderEpoch = -1
		p.FetchOffset = w.pos
		p.LastFetchedEpoch = w.epoch
		p.LogStartOffset = -1
		p.PartitionMaxBytes = w.bytes
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, p)
	}
	kresp, err := cl.Broker(int(leader)).Request(ctx, req)
	if err != nil {
		return nil, err
	}
	resp := kresp.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, err
	}
	now := time.Now()
	got := make(map[stream.TopicPartition]fetched, len(wants))
	for _, t := range resp.Topics {
		name := t.Topic
		if name == "" {
			name = names[t.TopicID]
		}
		for i := range t.Partitions {
			p := &t.Partitions[i]
			f := fetched{
				tp:  stream.TopicPartition{Topic: name, Partition: p.Partition},
				raw: p.RecordBatches, aborted: p.AbortedTransactions,
				start: p.LogStartOffset, stable: p.LastStableOffset, high: p.HighWatermark,
				diverged: p.DivergingEpoch.EndOffset, at: now, err: kerr.ErrorForCode(p.ErrorCode),
			}
			if f.stable < 0 {
				f.stable = f.high
			}
			got[f.tp] = f
		}
	}
	return got, nil
}

// lane carries the fetches of many readers: of each broker at most one request at a time, with every partition that is
// wanted just then. There are two: what is known to have more goes apart from what waits at its end, so that a request
// that waits holds up nobody who need not.
type lane struct {
	c      *Cluster
	client *kgo.Client
	wait   time.Duration
	room   int64 // bytes that the partitions of one request may ask for together
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	brokers map[int32]*brokerLane
}

type brokerLane struct {
	l      *lane
	leader int32
	mu     sync.Mutex
	wants  []want
	wake   chan struct{} // capacity 1
}

const (
	hot  = 0
	cold = 1
	// coldWait is how long a fetch waits at the end of logs. A partition that has just reached its end joins the next.
	coldWait = 100 * time.Millisecond
)

func (c *Cluster) lane(kind int) (*lane, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	if l := c.lanes[kind]; l != nil {
		return l, nil
	}
	cl, err := c.newClient(c.gate, kgo.RetryTimeout(5*time.Second))
	if err != nil {
		return nil, err
	}
	l := &lane{c: c, client: cl, room: maxResult, brokers: make(map[int32]*brokerLane)}
	if kind == cold {
		// Requests that wait would wait in turn. What one of them leaves out for want of room is hot the next time.
		l.wait, l.room = coldWait, math.MaxInt64
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	c.lanes[kind] = l
	return l, nil
}

func (l *lane) stop() {
	l.cancel()
	l.wg.Wait()
	l.client.Close()
}

// get asks leader for what w wants and waits for the answer.
func (l *lane) get(ctx context.Context, leader int32, w want) (fetched, error) {
	answer := make(chan fetched, 1)
	w.deliver = answer
	l.mu.Lock()
	if l.ctx.Err() != nil {
		l.mu.Unlock()
		return fetched{}, errClosed
	}
	b := l.brokers[leader]
	if b == nil {
		b = &brokerLane{l: l, leader: leader, wake: make(chan struct{}, 1)}
		l.brokers[leader] = b
		l.wg.Go(b.run)
	}
	l.mu.Unlock()
	b.mu.Lock()
	b.wants = append(b.wants, w)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
	select {
	case f := <-answer:
		return f, f.err
	case <-ctx.Done():
		return fetched{}, ctx.Err()
	case <-l.ctx.Done():
		return fetched{}, errClosed
	}
}

func (b *brokerLane) run() {
	for {
		select {
		case <-b.l.ctx.Done():
			return
		case <-b.wake:
		}
		b.mu.Lock()
		wants := b.wants
		b.wants = nil
		b.mu.Unlock()
		for len(wants) > 0 {
			now, later := together(wants, b.l.room)
			b.ask(now)
			wants = later
		}
	}
}

// together parts wants into those that one request carries, and the rest: it has a partition once, and room for all the
// bytes that they ask for, or one alone. Past its limit a broker answers a partition nothing, which the reader could not
// tell from a range that compaction has emptied.
func together(wants []want, room int64) (now, later []want) {
	seen := make(map[stream.TopicPartition]struct{}, len(wants))
	for _, w := range wants {
		_, again := seen[w.tp]
		if again || len(now) > 0 && int64(w.bytes) > room {
			later = append(later, w)
			continue
		}
		seen[w.tp] = struct{}{}
		room -= int64(w.bytes)
		now = append(now, w)
	}
	return now, later
}

func (b *brokerLane) ask(wants []want) {
	got, err := fetchFrom(b.l.ctx, b.l.client, b.leader, wants, b.l.wait)
	for _, w := range wants {
		f, ok := got[w.tp]
		switch {
		case err != nil:
			f = fetched{err: err}
		case !ok:
			f = fetched{err: fault.New(fault.Unavailable, "read "+w.tp.Topic, "", "the broker left partition %d out of its answer", w.tp.Partition)}
		}
		w.deliver <- f
	}
}

// movable are answers after which asking the leader again, perhaps another one, can help.
func movable(err error) bool {
	ke, ok := err.(*kerr.Error)
	return !ok || ke.Retriable || slices.Contains([]*kerr.Error{
		kerr.NotLeaderForPartition, kerr.FencedLeaderEpoch, kerr.UnknownLeaderEpoch, kerr.ReplicaNotAvailable,
		kerr.KafkaStorageError, kerr.OffsetNotAvailable, kerr.UnknownServerError,
	}, ke)
}
