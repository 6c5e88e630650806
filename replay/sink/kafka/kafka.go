// Package kafka writes records into topics of a Kafka cluster, each batch with its progress in one transaction. Start at
// New; what it guarantees is in DESIGN.md.
//
// It is an adapter: it imports the words, the engine replay and backend/kafka, whose clients it uses. A Sink may be used
// by many goroutines, each Writer by one.
package kafka

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"freshet/backend/clock"
	"freshet/backend/fault"
	"freshet/backend/kafka"
	"freshet/backend/stream"
	"freshet/replay"
)

// ProgressTopic holds each shard's progress, compacted by shard.
const ProgressTopic = "__freshet.progress"

// progressPartitions are the progress topic's where this sink makes it.
const progressPartitions = 16

// Spec describes this kind of sink.
var Spec = replay.Spec{
	Name:    "kafka",
	Summary: "Topics of a Kafka cluster, records as they are, each batch with its progress in one transaction.",
	Fields: []replay.Field{
		{Name: "brokers", Summary: "Addresses of some brokers, as HOST:PORT", Type: replay.ListField, Required: true},
		{Name: "topic", Summary: "Topic for all records. Default: one named like the record's own", Type: replay.TextField},
		{Name: "no-create-topics", Summary: "Do not create a missing topic", Type: replay.BoolField, Default: "false"},
		{Name: "stamp", Summary: "Add the headers freshet-src (TOPIC/PARTITION:OFFSET) and freshet-src-ts-type", Type: replay.BoolField, Default: "false"},
	},
	Capabilities: replay.Capabilities{Transactional: true, Fences: true, Progress: true, CreatesTarget: true},
}

// Headers that Options.Stamp adds.
const (
	SourceHeader   = "freshet-src"
	TimeTypeHeader = "freshet-src-ts-type"
)

// Options are a Sink's.
type Options struct {
	Cluster *kafka.Cluster // the sink does not close it
	// Granted says that this sink may write its topics for good; else the cluster's own gate decides.
	Granted        bool
	Topic          string // of all records; "" each record's own. A shard's target outranks it
	NoCreateTopics bool
	TopicConfig    map[string]string // of topics that the sink makes
	Stamp          bool
	Logger         *slog.Logger // nil discards
}

const (
	// txTimeout is after how long the brokers abort a transaction by themselves.
	txTimeout = 30 * time.Second
	// endLimit bounds what must go on when the caller's context has ended: aborting, and asking what became of a commit.
	endLimit = 60 * time.Second
	// defaultMaxMessage is Kafka's own default of max.message.bytes.
	defaultMaxMessage = 1048588
	// largestBatch bounds what one batch is given even where a topic takes more.
	largestBatch = 64 << 20
)

// Sink is a Kafka cluster.
type Sink struct {
	opts Options
	log  *slog.Logger

	mu      sync.Mutex
	clients map[*kgo.Client]struct{} // of writers
}

var _ replay.Sink = (*Sink)(nil)

// New checks the options. It does not connect yet.
func New(opts Options) (*Sink, error) {
	if opts.Cluster == nil {
		return nil, fault.New(fault.Invalid, "set up the Kafka sink", "", "no cluster")
	}
	s := &Sink{opts: opts, log: opts.Logger, clients: map[*kgo.Client]struct{}{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s, nil
}

// Close ends the writers' producers as a crash would: what is not committed is aborted by the brokers. The cluster is
// its owner's.
func (s *Sink) Close() error {
	s.mu.Lock()
	clients := s.clients
	s.clients = nil
	s.mu.Unlock()
	for c := range clients {
		c.Close()
	}
	return nil
}

// drop ends one producer.
func (s *Sink) drop(c *kgo.Client) {
	s.mu.Lock()
	delete(s.clients, c)
	s.mu.Unlock()
	c.Close()
}

// Test asks the cluster what is there. It writes nothing.
func (s *Sink) Test(ctx context.Context) (string, error) {
	id, err := s.opts.Cluster.ClusterID(ctx)
	if err != nil {
		return "", err
	}
	said := fmt.Sprintf("cluster %s (id %s)", s.opts.Cluster.Name(), id)
	if !s.opts.Granted {
		if err := s.opts.Cluster.Gate().Allows(kafka.Produce); err != nil {
			return "", err
		}
	}
	if s.opts.Topic == "" {
		return said, nil
	}
	t, err := s.opts.Cluster.Topic(ctx, s.opts.Topic)
	switch {
	case err == nil:
		return fmt.Sprintf("%s, topic %s with %d partitions", said, t.Name, len(t.Partitions)), nil
	case fault.Is(err, fault.NotFound) && !s.opts.NoCreateTopics:
		return said + ", topic " + s.opts.Topic + " will be created", nil
	}
	return "", err
}

// Open implements replay.Sink.
func (s *Sink) Open(ctx context.Context, shard replay.Shard) (replay.Writer, error) {
	w := &writer{sink: s, shard: shard, token: rand.Text(), target: shard.Target}
	if w.target == "" {
		w.target = s.opts.Topic
	}
	if w.target == "" {
		w.target = shard.Topic
	}
	w.op = fmt.Sprintf("write %s/%d to topic %s of cluster %s", shard.Topic, shard.Partition, w.target, s.opts.Cluster.Name())
	if w.target == ProgressTopic || w.target == stream.SchemaTopic {
		return nil, fault.New(fault.Invalid, w.op, "name another topic", "the topic is Freshet's own")
	}
	if err := w.takeOver(ctx); err != nil {
		w.drop()
		return nil, err
	}
	return w, nil
}

// progressRecord is the value of a record of the progress topic; its key is progressKey.
type progressRecord struct {
	V         int    `json:"v"`
	Owner     string `json:"owner"`
	Topic     string `json:"topic"`
	TopicID   string `json:"topic_id"`
	Partition int32  `json:"partition"`
	Epoch     int64  `json:"epoch,string"`
	Writer    string `json:"writer"` // of the writer that wrote it: another one has taken over since
	Next      int64  `json:"next,string"`
	Position  string `json:"position,omitempty"`
}

func progressKey(s replay.Shard) string {
	return s.Owner + "/" + s.Topic + "/" + strconv.Itoa(int(s.Partition))
}

// transactionalID is the shard's own: whoever takes the shard over fences its earlier writers, and nobody else's.
func transactionalID(s replay.Shard) string {
	sum := sha256.Sum256([]byte(s.Topic))
	return "freshet-" + s.Owner + "-" + hex.EncodeToString(sum[:6]) + "-" + strconv.Itoa(int(s.Partition))
}

// takeOver makes the shard this writer's: it fences earlier writers, whose open transactions the brokers abort, and then
// reads the progress, to which nothing of theirs can be added any more.
func (w *writer) takeOver(ctx context.Context) error {
	w.drop()
	if err := w.topics(ctx); err != nil {
		return err
	}
	// An older epoch is told so before it fences the newer one. What is committed by now tells it: to wait for transactions
	// that are open would be to wait for the one that a crash left, which only the fence ends at once.
	if _, err := w.read(ctx, false); err != nil {
		return err
	}
	client, err := w.sink.client(w.target, []kgo.Opt{
		kgo.TransactionalID(transactionalID(w.shard)),
		kgo.TransactionTimeout(txTimeout),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchMaxBytes(int32(min(w.maxMessage, largestBatch))),
		kgo.ProducerLinger(5 * time.Millisecond),
		kgo.MaxBufferedRecords(50_000),
		kgo.UnknownTopicRetries(4),
		// No delivery timeout: it counts from a record's own time, and these are old.
	})
	if err != nil {
		return err
	}
	w.client = client
	if _, _, err := client.ProducerID(ctx); err != nil {
		return w.failure(err)
	}
	held, err := w.read(ctx, true)
	if err != nil {
		return err
	}
	w.progress = held
	// The claim is what tells an older epoch that it is one.
	if err := w.begin(); err != nil {
		return err
	}
	if err := w.produce(ctx, []*kgo.Record{w.progressRecord(held)}); err != nil {
		w.abort()
		return w.failure(err)
	}
	if err := w.end(kgo.TryCommit); err != nil {
		return w.failure(err)
	}
	w.claimed = true
	return nil
}

// client makes a client that may write the target and the progress topic.
func (s *Sink) client(target string, opts []kgo.Opt) (*kgo.Client, error) {
	var grant kafka.Grant
	if s.opts.Granted {
		grant = kafka.Grant{Acts: []kafka.Act{kafka.Produce, kafka.Create}, Topics: []string{target, ProgressTopic}}
	}
	c, err := s.opts.Cluster.NewClient(grant, opts...)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients == nil {
		c.Close()
		return nil, fault.New(fault.Interrupted, "write to cluster "+s.opts.Cluster.Name(), "", "the sink was closed")
	}
	s.clients[c] = struct{}{}
	return c, nil
}

// topics looks at the target and the progress topic, and makes what is missing.
func (w *writer) topics(ctx context.Context) error {
	s := w.sink
	config := maps.Clone(s.opts.TopicConfig)
	partitions := w.shard.Partitions
	if partitions < 1 {
		partitions = -1 // the brokers' default
	}
	t, err := w.ensure(ctx, w.target, partitions, config, s.opts.NoCreateTopics)
	if err != nil {
		return err
	}
	if t.ID == w.shard.TopicID && t.ID != [16]byte{} {
		return fault.New(fault.Invalid, w.op, "name another topic as the target", "the target is the topic that is read")
	}
	if w.targetID != [16]byte{} && w.targetID != t.ID {
		return fault.New(fault.Drifted, w.op, "start anew, under another name, or with another target", "the target topic was deleted and made anew")
	}
	n := int32(len(t.Partitions))
	if w.partitions != 0 && w.partitions != n && w.shard.Partitions != w.partitions {
		return fault.New(fault.Drifted, w.op, "start anew, with another target", "the target had %d partitions and has %d: keys would move", w.partitions, n)
	}
	w.targetID, w.partitions, w.maxMessage = t.ID, n, defaultMaxMessage
	if n, err := strconv.ParseInt(t.Config["max.message.bytes"], 10, 32); err == nil && n > 0 {
		w.maxMessage = n
	}
	w.compacted = strings.Contains(t.Config["cleanup.policy"], "compact")
	p, err := w.ensure(ctx, ProgressTopic, progressPartitions, map[string]string{"cleanup.policy": "compact"}, false)
	if err != nil {
		return err
	}
	if !strings.Contains(p.Config["cleanup.policy"], "compact") {
		return fault.New(fault.Blocked, w.op, "set cleanup.policy=compact on "+ProgressTopic, "the progress topic is not compacted, its records would be deleted in time")
	}
	h := fnv.New32a()
	io.WriteString(h, progressKey(w.shard))
	w.progressPartition = int32(h.Sum32() % uint32(len(p.Partitions)))
	return nil
}

func (w *writer) ensure(ctx context.Context, name string, partitions int32, config map[string]string, never bool) (stream.Topic, error) {
	t, err := w.sink.opts.Cluster.Topic(ctx, name)
	if !fault.Is(err, fault.NotFound) {
		return t, err
	}
	if never {
		return t, fault.New(fault.NotFound, w.op, "create it, or allow the sink to", "there is no topic %s", name)
	}
	client, err := w.sink.client(w.target, nil)
	if err != nil {
		return t, err
	}
	defer w.sink.drop(client)
	values := make(map[string]*string, len(config))
	for k, v := range config {
		values[k] = &v
	}
	r, err := kadm.NewClient(client).CreateTopic(ctx, partitions, -1, values, name)
	if err == nil {
		err = r.Err
	}
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return t, w.failure(err)
	}
	if err == nil {
		w.sink.log.Info("created a topic", "topic", name, "cluster", w.sink.opts.Cluster.Name())
	}
	// Not every broker knows of it at once.
	for {
		t, err := w.sink.opts.Cluster.Topic(ctx, name)
		if err == nil || !fault.Is(err, fault.NotFound) && !fault.Is(err, fault.Unavailable) {
			return t, err
		}
		if err := clock.Sleep(ctx, 50*time.Millisecond); err != nil {
			return t, w.failure(err)
		}
	}
}

// read returns the shard's progress as the progress topic holds it now. Its partition is read to the end it has at the
// call, waiting for transactions that are open before that end, or, without settled, to the first that is open.
func (w *writer) read(ctx context.Context, settled bool) (replay.Progress, error) {
	none := replay.Progress{Next: w.shard.Start}
	topics, err := w.sink.opts.Cluster.Topics(ctx, false, ProgressTopic)
	if err != nil {
		return none, err
	}
	var end *stream.Partition
	for i := range topics {
		for j := range topics[i].Partitions {
			if p := &topics[i].Partitions[j]; p.ID == w.progressPartition {
				end = p
			}
		}
	}
	switch {
	case end == nil:
		return none, fault.New(fault.Unavailable, w.op, "it is tried again", "the progress topic's partition %d is not there", w.progressPartition)
	case end.Err != nil:
		return none, end.Err
	}
	to := end.End
	if !settled {
		to = end.Stable
	}
	if end.Start >= to {
		return none, nil
	}
	reader, err := w.sink.opts.Cluster.Read(ctx, replay.ReadRequest{Topic: ProgressTopic, Partition: w.progressPartition, From: end.Start, To: to})
	if err != nil {
		return none, err
	}
	defer reader.Close()
	key := progressKey(w.shard)
	var last *progressRecord
	for {
		b, err := reader.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return none, err
		}
		for i := range b.Records {
			if rec := &b.Records[i]; string(rec.Key) == key {
				last = nil
				if rec.Value == nil {
					continue
				}
				last = new(progressRecord)
				if err := json.Unmarshal(rec.Value, last); err != nil || last.V != 1 {
					return none, fault.New(fault.Blocked, w.op, "see what wrote it", "%s/%d:%d is not progress that this version can read", ProgressTopic, w.progressPartition, rec.Offset)
				}
			}
		}
	}
	if last == nil {
		return none, nil
	}
	return w.judge(last)
}

// judge compares the progress that is held with the shard and with this writer.
func (w *writer) judge(held *progressRecord) (replay.Progress, error) {
	none := replay.Progress{Next: w.shard.Start}
	zero := replay.FormatTopicID([16]byte{})
	id := replay.FormatTopicID(w.shard.TopicID)
	switch {
	case held.Epoch > w.shard.Epoch, w.claimed && held.Writer != w.token:
		return none, w.fenced(held.Epoch)
	case held.TopicID != id && held.TopicID != zero && id != zero:
		e := fault.New(fault.Drifted, w.op, "its offsets mean nothing in the new topic: start under another name", "the sink's progress is of an earlier topic of this name")
		e.Code = "TOPIC_RECREATED"
		return none, e
	case held.Next < w.shard.Start:
		e := fault.New(fault.Drifted, w.op, "compare "+ProgressTopic+" with the plan", "the sink's progress %d is before the range's start %d", held.Next, w.shard.Start)
		e.Code = "UNEXPLAINED_PROGRESS"
		return none, e
	}
	p := replay.Progress{Next: held.Next}
	if held.Position != "" {
		var err error
		if p.Position, err = stream.ParsePosition(held.Position); err != nil {
			return none, fault.Wrap(fault.Internal, w.op, err, "")
		}
	}
	return p, nil
}

func (w *writer) fenced(epoch int64) error {
	e := fault.New(fault.Conflict, w.op, "only one process may run it; this one stops", "epoch %d was taken over by epoch %d", w.shard.Epoch, epoch)
	e.Code = "FENCED"
	return e
}

// failure makes a fault of what a client answered.
func (w *writer) failure(err error) error {
	var f *fault.Error
	if err == nil || errors.As(err, &f) {
		return err
	}
	e := &fault.Error{Kind: fault.Unavailable, Op: w.op, Err: err, Next: "it is tried again"}
	switch {
	case errors.Is(err, context.Canceled):
		e.Kind, e.Next = fault.Interrupted, ""
	case isFenced(err):
		e.Kind, e.Code, e.Next = fault.Conflict, "FENCED", "only one process may run it; this one stops"
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.TransactionalIDAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed),
		errors.Is(err, kerr.SaslAuthenticationFailed):
		e.Kind, e.Next = fault.Denied, "allow Freshet's user to write the topic, "+ProgressTopic+" and the transactional ids that begin with freshet-"
	case errors.Is(err, kerr.InvalidTimestamp):
		e.Kind, e.Code, e.Next = fault.Blocked, "TIMESTAMP", "raise the target's message.timestamp.before.max.ms and message.timestamp.after.max.ms"
	case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.UnknownTopicID):
		e.Kind, e.Next = fault.Drifted, "see whether the target topic was deleted"
	case errors.Is(err, kerr.PolicyViolation), errors.Is(err, kerr.InvalidTopicException), errors.Is(err, kerr.InvalidConfig),
		errors.Is(err, kerr.InvalidReplicationFactor), errors.Is(err, kerr.InvalidPartitions), errors.Is(err, kerr.UnsupportedVersion):
		e.Kind, e.Next = fault.Blocked, "correct the target, then resume"
	}
	return e
}

// lostProducer reports whether the producer id is of no more use. The progress topic tells whether another writer took
// over, or only a transaction was open for too long.
func lostProducer(err error) bool {
	return isFenced(err) || errors.Is(err, kerr.InvalidProducerEpoch) || errors.Is(err, kerr.InvalidProducerIDMapping) ||
		errors.Is(err, kerr.UnknownProducerID) || errors.Is(err, kerr.OutOfOrderSequenceNumber) || errors.Is(err, kerr.InvalidTxnState)
}

// isFenced reports whether another producer has the transactional id now.
func isFenced(err error) bool {
	return errors.Is(err, kerr.ProducerFenced) || errors.Is(err, kerr.TransactionCoordinatorFenced)
}
