package kafka_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"freshet/backend/fault"
	"freshet/backend/kafka"
	"freshet/backend/kafka/embedded"
	"freshet/backend/stream"
	"freshet/backend/testkit"
	"freshet/replay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// env is a broker that the suite runs on.
type env struct {
	addr string
	real bool // Apache Kafka
	c    *kafka.Cluster
}

// The suite is the same for the local broker and for Apache Kafka.
var suite = []struct {
	name string
	run  func(*testing.T, context.Context, *env)
}{
	{"topics", testTopics},
	{"groups", testGroups},
	{"offsets by time", testOffsetsByTime},
	{"first", testFirst},
	{"read everything", testReadEverything},
	{"read from anywhere", testReadFromAnywhere},
	{"read compacted", testReadCompacted},
	{"open transaction", testOpenTransaction},
	{"retention", testGap},
	{"recreated topic", testRecreated},
	{"many readers", testManyReaders},
	{"more than an answer", testMoreThanAnAnswer},
	{"append", testAppend},
	{"schemas", testSchemas},
	{"create and delete", testCreateDelete},
	{"reset", testReset},
	{"scan", testScan},
	{"pages", testPages},
	{"newest", testNewest},
	{"held", testHeld},
	{"connection", testConnection},
	{"locked", testLocked},
	{"grant", testGrant},
}

func TestLocalBroker(t *testing.T) {
	b, err := embedded.Open(context.Background(), embedded.Options{Dir: t.TempDir(), CleanEvery: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	runSuite(t, &env{addr: b.Addr()})
}

func TestApacheKafka(t *testing.T) {
	k := testkit.Kafka(t, "log.cleaner.backoff.ms=200", "log.segment.delete.delay.ms=100", "group.share.min.heartbeat.interval.ms=500")
	runSuite(t, &env{addr: k.Broker, real: true})
}

func runSuite(t *testing.T, e *env) {
	e.c = openCluster(t, kafka.Options{Name: "test", Brokers: []string{e.addr}, Own: true})
	for _, s := range suite {
		t.Run(strings.ReplaceAll(s.name, " ", "_"), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			s.run(t, ctx, e)
		})
	}
}

func openCluster(t testing.TB, o kafka.Options) *kafka.Cluster {
	t.Helper()
	c, err := kafka.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// plainClient is a client past the gate, as other programs have.
func plainClient(t testing.TB, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(addr), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.DisableClientMetrics(),
		kgo.ProducerLinger(0), kgo.MetadataMinAge(50 * time.Millisecond),
	}, opts...)...)
	must(t, err)
	t.Cleanup(cl.Close)
	return cl
}

func (e *env) topic(t *testing.T, ctx context.Context, partitions int32, config map[string]string) string {
	t.Helper()
	name := "t." + strings.NewReplacer("/", ".", "_", "-").Replace(strings.ToLower(t.Name()))
	must(t, e.c.CreateTopic(ctx, name, partitions, config))
	return name
}

func put(t testing.TB, ctx context.Context, cl *kgo.Client, topic string, partition int32, values ...string) {
	t.Helper()
	var recs []*kgo.Record
	for _, v := range values {
		recs = append(recs, &kgo.Record{Topic: topic, Partition: partition, Key: []byte("k" + v), Value: []byte(v)})
	}
	must(t, cl.ProduceSync(ctx, recs...).FirstErr())
}

func transaction(t testing.TB, ctx context.Context, cl *kgo.Client, how kgo.TransactionEndTry, topic string, partition int32, values ...string) {
	t.Helper()
	must(t, cl.BeginTransaction())
	put(t, ctx, cl, topic, partition, values...)
	must(t, cl.EndTransaction(ctx, how))
}

func eventually(t testing.TB, ctx context.Context, what string, f func() bool) {
	t.Helper()
	for !f() {
		select {
		case <-ctx.Done():
			t.Fatalf("not in time: %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func find(t testing.TB, ctx context.Context, c *kafka.Cluster, topic string) stream.Topic {
	t.Helper()
	topics, err := c.Topics(ctx, true, topic)
	must(t, err)
	if len(topics) != 1 {
		t.Fatalf("%d topics", len(topics))
	}
	must(t, topics[0].Err)
	return topics[0]
}

func testTopics(t *testing.T, ctx context.Context, e *env) {
	name := e.topic(t, ctx, 3, map[string]string{"retention.ms": "7200000"})
	put(t, ctx, plainClient(t, e.addr), name, 1, "a", "b", "c")
	tx := plainClient(t, e.addr, kgo.TransactionalID(name))
	must(t, tx.BeginTransaction())
	put(t, ctx, tx, name, 1, "open")
	topic := find(t, ctx, e.c, name)
	if topic.Name != name || topic.ID == ([16]byte{}) || len(topic.Partitions) != 3 || topic.Config != nil {
		t.Fatalf("%+v", topic)
	}
	for i, want := range [][3]int64{{0, 0, 0}, {0, 4, 3}, {0, 0, 0}} {
		p := topic.Partitions[i]
		if p.Err != nil || p.ID != int32(i) || p.Leader < 0 || len(p.Replicas) != 1 || [3]int64{p.Start, p.End, p.Stable} != want {
			t.Errorf("partition %d: %+v, want start, end, stable %v", i, p, want)
		}
		if p.Bytes < 0 || i == 1 && p.Bytes < 100 {
			t.Errorf("partition %d takes %d bytes", i, p.Bytes)
		}
	}
	must(t, tx.EndTransaction(ctx, kgo.TryCommit))
	eventually(t, ctx, "the marker is written", func() bool { return find(t, ctx, e.c, name).Partitions[1].Stable == 5 })
	one, err := e.c.Topic(ctx, name)
	must(t, err)
	if one.Config["retention.ms"] != "7200000" || one.Config["cleanup.policy"] != "delete" || one.Partitions[1].Stable != 5 {
		t.Fatalf("%+v", one)
	}
	all, err := e.c.Topics(ctx, false)
	must(t, err)
	if !slices.ContainsFunc(all, func(t stream.Topic) bool {
		return t.Name == name && t.Partitions[1].End == 5 && t.Partitions[1].Bytes == -1
	}) {
		t.Fatalf("%+v", all)
	}
	if _, err := e.c.Topic(ctx, "no-such"); !fault.Is(err, fault.NotFound) {
		t.Fatal(err)
	}
	some, err := e.c.Topics(ctx, true, name, "no-such")
	must(t, err)
	if len(some) != 2 || !fault.Is(some[0].Err, fault.NotFound) || some[1].Err != nil {
		t.Fatalf("%+v", some)
	}
	if id, err := e.c.ClusterID(ctx); err != nil || len(id) < 10 {
		t.Fatalf("%q %v", id, err)
	}
}

func testGroups(t *testing.T, ctx context.Context, e *env) {
	name := e.topic(t, ctx, 2, nil)
	put(t, ctx, plainClient(t, e.addr), name, 0, "a", "b", "c")
	put(t, ctx, plainClient(t, e.addr), name, 1, "d")
	start := kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())
	members := map[string]*kgo.Client{
		"classic":  plainClient(t, e.addr, kgo.ConsumerGroup(name+".classic"), kgo.ConsumeTopics(name), start, kgo.DisableAutoCommit(), kgo.ClientID("me")),
		"consumer": plainClient(t, e.addr, kgo.ConsumerGroup(name+".consumer"), kgo.ConsumeTopics(name), start, kgo.DisableAutoCommit(), kgo.ClientID("me"), kgo.ServerSideBalancer()),
		"share":    plainClient(t, e.addr, kgo.ShareGroup(name+".share"), kgo.ConsumeTopics(name), kgo.ClientID("me")),
	}
	offsets := kadm.Offsets{name: {0: {Topic: name, At: 2, LeaderEpoch: -1, Metadata: "note"}}}
	must(t, kadm.NewClient(plainClient(t, e.addr)).CommitAllOffsets(ctx, name+".offsets", offsets))
	for protocol, cl := range members {
		if protocol == "share" {
			poll, stop := context.WithTimeout(ctx, 2*time.Second)
			cl.PollFetches(poll) // it joins; what it gets of old records is the broker's to say
			stop()
			continue
		}
		for n := 0; n < 4; {
			f := cl.PollFetches(ctx)
			must(t, f.Err())
			n += f.NumRecords()
		}
		must(t, cl.CommitUncommittedOffsets(ctx))
	}
	groups := func() map[string]stream.Group {
		all, err := e.c.Groups(ctx)
		must(t, err)
		m := make(map[string]stream.Group)
		for _, g := range all {
			m[strings.TrimPrefix(g.Name, name+".")] = g
		}
		return m
	}
	for _, protocol := range []string{"classic", "consumer"} {
		var g stream.Group
		eventually(t, ctx, protocol+" is stable", func() bool { g = groups()[protocol]; return g.State == "Stable" })
		if g.Err != nil || g.Protocol != protocol || len(g.Members) != 1 || g.Members[0].ClientID != "me" || g.Members[0].Host == "" || len(g.Members[0].Assigned) != 2 {
			t.Errorf("%+v", g)
		}
		if len(g.Commits) != 2 || g.Commits[stream.TopicPartition{Topic: name}].Offset != 3 || g.Commits[stream.TopicPartition{Topic: name, Partition: 1}].Offset != 1 {
			t.Errorf("%s commits %v", protocol, g.Commits)
		}
	}
	g := groups()["offsets"]
	if g.Err != nil || g.Protocol != "" || len(g.Members) != 0 || g.Commits[stream.TopicPartition{Topic: name}] != (stream.Commit{Offset: 2, LeaderEpoch: -1, Metadata: "note"}) {
		t.Errorf("%+v", g)
	}
	if g, ok := groups()["share"]; e.real && (!ok || g.Err != nil || g.Protocol != "share" || len(g.Members) != 1) {
		t.Errorf("share: %t %+v", ok, g)
	}
	one, err := e.c.Group(ctx, name+".consumer")
	must(t, err)
	if one.Protocol != "consumer" || len(one.Commits) != 2 {
		t.Errorf("%+v", one)
	}
	if _, err := e.c.Group(ctx, "no-such"); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
	for _, cl := range members {
		cl.Close()
	}
}

func testOffsetsByTime(t *testing.T, ctx context.Context, e *env) {
	name := e.topic(t, ctx, 2, nil)
	cl := plainClient(t, e.addr)
	base := time.Now().Add(-time.Hour).Truncate(time.Second)
	for i := range 5 {
		must(t, cl.ProduceSync(ctx, &kgo.Record{Topic: name, Value: []byte("v"), Timestamp: base.Add(time.Duration(i) * time.Minute)}).FirstErr())
	}
	at, err := e.c.OffsetsAt(ctx, name, base.Add(150*time.Second))
	must(t, err)
	if at[0].Offset != 3 || at[1].Offset != 0 {
		t.Errorf("%v", at)
	}
	if at, err = e.c.OffsetsAt(ctx, name, base.Add(time.Hour)); err != nil || at[0].Offset != 5 || at[1].Offset != 0 {
		t.Errorf("%v %v", at, err)
	}
	if _, err = e.c.OffsetsAt(ctx, "no-such", base); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
	p0, p1, none := stream.TopicPartition{Topic: name}, stream.TopicPartition{Topic: name, Partition: 1}, stream.TopicPartition{Topic: "no-such"}
	after, err := e.c.OffsetsAfter(ctx, map[stream.TopicPartition]time.Time{p0: base.Add(61 * time.Second), p1: base, none: base})
	must(t, err)
	if got := after[p0]; got.Offset != 2 || !got.Time.Equal(base.Add(2*time.Minute)) {
		t.Errorf("%v", after)
	}
	if got, ok := after[p1]; !ok || got.Offset != -1 {
		t.Errorf("%v", after)
	}
	if _, ok := after[none]; ok {
		t.Errorf("%v", after)
	}
}

func testFirst(t *testing.T, ctx context.Context, e *env) {
	name := e.topic(t, ctx, 3, nil)
	tx := plainClient(t, e.addr, kgo.TransactionalID(name))
	transaction(t, ctx, tx, kgo.TryAbort, name, 0, "x", "y") // 0, 1, marker 2
	transaction(t, ctx, tx, kgo.TryCommit, name, 0, "a")     // 3, marker 4
	put(t, ctx, plainClient(t, e.addr), name, 1, strings.Repeat("big", 100_000), "b")
	at := func(p int32) stream.TopicPartition { return stream.TopicPartition{Topic: name, Partition: p} }
	got, err := e.c.First(ctx, map[stream.TopicPartition]int64{at(0): 0, at(1): 1, at(2): 0})
	must(t, err)
	if r := got[at(0)]; r.Offset != 3 || string(r.Value) != "a" || string(r.Key) != "ka" {
		t.Errorf("%+v", r)
	}
	if r := got[at(1)]; r.Offset != 1 || string(r.Value) != "b" {
		t.Errorf("offset %d", r.Offset)
	}
	if r, ok := got[at(2)]; !ok || r.Offset != -1 {
		t.Errorf("%t %+v", ok, r)
	}
	got, err = e.c.First(ctx, map[stream.TopicPartition]int64{at(0): 4, at(1): 0, {Topic: "no-such"}: 0})
	must(t, err)
	if r, ok := got[at(0)]; !ok || r.Offset != -1 {
		t.Errorf("after the last: %+v", r)
	}
	if r := got[at(1)]; r.Offset != 0 || len(r.Value) != 300_000 {
		t.Errorf("offset %d, %d bytes", r.Offset, len(r.Value))
	}
	if len(got) != 2 {
		t.Errorf("%d answers", len(got))
	}
}

// sums is what a reader accounted for.
type sums struct {
	records                     []stream.Record
	control, aborted, compacted int64
}

func readAll(t testing.TB, ctx context.Context, c *kafka.Cluster, req replay.ReadRequest) sums {
	t.Helper()
	r, err := c.Read(ctx, req)
	must(t, err)
	defer r.Close()
	var s sums
	for at := req.From; ; {
		b, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			if at != req.To {
				t.Fatalf("ended at %d, want %d", at, req.To)
			}
			return s
		}
		must(t, err)
		if b.From != at || b.Next <= b.From {
			t.Fatalf("a batch of %d to %d at %d", b.From, b.Next, at)
		}
		if n := int64(len(b.Records)) + b.Control + b.Aborted + b.Compacted; n != b.Next-b.From {
			t.Fatalf("%d to %d: %d records, %d control, %d aborted, %d compacted", b.From, b.Next, len(b.Records), b.Control, b.Aborted, b.Compacted)
		}
		for i, rec := range b.Records {
			if rec.Offset < b.From || rec.Offset >= b.Next || i > 0 && rec.Offset <= b.Records[i-1].Offset {
				t.Fatalf("offset %d in %d to %d", rec.Offset, b.From, b.Next)
			}
		}
		at = b.Next
		s.records = append(s.records, b.Records...)
		s.control += b.Control
		s.aborted += b.Aborted
		s.compacted += b.Compacted
	}
}

// A log of everything that occurs in one.
func (e *env) zoo(t *testing.T, ctx context.Context) (name string, at time.Time, end int64) {
	name = e.topic(t, ctx, 1, nil)
	at = time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	for _, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		cl := plainClient(t, e.addr, kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(30*time.Millisecond))
		var recs []*kgo.Record
		for i := range 50 {
			recs = append(recs, &kgo.Record{Topic: name, Key: fmt.Appendf(nil, "key %d", i), Value: bytes.Repeat([]byte{byte(i)}, 100), Timestamp: at})
		}
		must(t, cl.ProduceSync(ctx, recs...).FirstErr())
	}
	cl := plainClient(t, e.addr)
	must(t, cl.ProduceSync(ctx,
		&kgo.Record{Topic: name, Key: nil, Value: nil},
		&kgo.Record{Topic: name, Key: []byte{}, Value: []byte{}},
		&kgo.Record{Topic: name, Headers: []kgo.RecordHeader{{Key: "h", Value: nil}, {Key: "h", Value: []byte{}}, {Key: "", Value: []byte("v")}, {Key: "ünï", Value: []byte{0, 255}}}},
	).FirstErr())
	tx, other := plainClient(t, e.addr, kgo.TransactionalID(name+"a")), plainClient(t, e.addr, kgo.TransactionalID(name+"b"))
	for i := range 3 {
		transaction(t, ctx, tx, kgo.TryCommit, name, 0, "committed")
		transaction(t, ctx, tx, kgo.TryAbort, name, 0, "aborted", "aborted")
		// Two at once, of which one is aborted, with plain records between.
		must(t, errors.Join(tx.BeginTransaction(), other.BeginTransaction()))
		put(t, ctx, tx, name, 0, "aborted")
		put(t, ctx, other, name, 0, "committed", "committed")
		put(t, ctx, cl, name, 0, "plain")
		put(t, ctx, tx, name, 0, "aborted")
		if i%2 == 0 {
			must(t, errors.Join(other.EndTransaction(ctx, kgo.TryCommit), tx.EndTransaction(ctx, kgo.TryAbort)))
		} else {
			must(t, errors.Join(tx.EndTransaction(ctx, kgo.TryAbort), other.EndTransaction(ctx, kgo.TryCommit)))
		}
	}
	var stable int64
	// A broker answers the end of a transaction before it writes the marker.
	eventually(t, ctx, "the last markers are written", func() bool {
		p := find(t, ctx, e.c, name).Partitions[0]
		stable = p.Stable
		return p.Stable == p.End
	})
	return name, at, stable
}

func testReadEverything(t *testing.T, ctx context.Context, e *env) {
	name, at, end := e.zoo(t, ctx)
	s := readAll(t, ctx, e.c, replay.ReadRequest{Topic: name, To: end})
	if len(s.records) != 250+3+3*(1+2+1) || s.control != 3*4 || s.aborted != 3*4 || s.compacted != 0 {
		t.Fatalf("%d records, %d control, %d aborted, %d compacted", len(s.records), s.control, s.aborted, s.compacted)
	}
	for i, r := range s.records[:250] {
		if string(r.Key) != fmt.Sprintf("key %d", i%50) || !bytes.Equal(r.Value, bytes.Repeat([]byte{byte(i % 50)}, 100)) ||
			!r.Time.Equal(at) || r.TimeType != stream.CreateTime || r.Topic != name || r.LeaderEpoch < 0 || len(r.Headers) != 0 {
			t.Fatalf("%d: %+v", i, r)
		}
	}
	null, empty, headers := s.records[250], s.records[251], s.records[252]
	if null.Key != nil || null.Value != nil || empty.Key == nil || empty.Value == nil || len(empty.Key)+len(empty.Value) != 0 {
		t.Errorf("%#v %#v", null, empty)
	}
	if h := headers.Headers; len(h) != 4 || h[0].Key != "h" || h[0].Value != nil || h[1].Value == nil || h[2].Key != "" || h[3].Key != "ünï" || !bytes.Equal(h[3].Value, []byte{0, 255}) {
		t.Errorf("%#v", h)
	}
	for _, r := range s.records[253:] {
		if v := string(r.Value); v != "committed" && v != "plain" {
			t.Errorf("%q is read", v)
		}
	}
}

// Wherever a range begins and ends, its offsets are accounted for as in the whole.
func testReadFromAnywhere(t *testing.T, ctx context.Context, e *env) {
	name, _, end := e.zoo(t, ctx)
	whole := readAll(t, ctx, e.c, replay.ReadRequest{Topic: name, To: end})
	for from := int64(0); from <= end; from += max(1, (end-from)/9) {
		for _, to := range []int64{from, from + 1, (from + end) / 2, end} {
			if to < from || to > end {
				continue
			}
			s := readAll(t, ctx, e.c, replay.ReadRequest{Topic: name, From: from, To: to, MaxBytes: 300})
			var want []stream.Record
			for _, r := range whole.records {
				if r.Offset >= from && r.Offset < to {
					want = append(want, r)
				}
			}
			if len(s.records) != len(want) || s.compacted != 0 {
				t.Fatalf("%d to %d: %d records, want %d; %d compacted", from, to, len(s.records), len(want), s.compacted)
			}
			for i := range want {
				if s.records[i].Offset != want[i].Offset || !bytes.Equal(s.records[i].Value, want[i].Value) {
					t.Fatalf("%d to %d: record %d", from, to, i)
				}
			}
		}
	}
}

func testReadCompacted(t *testing.T, ctx context.Context, e *env) {
	name := e.topic(t, ctx, 1, map[string]string{
		"cleanup.policy": "compact", "segment.ms": "100", "segment.bytes": "1048576", "delete.retention.ms": "0",
		"min.insync.replicas": "1",
	})
	if e.real {
		adm := kadm.NewClient(plainClient(t, e.addr))
		_, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Name: "min.cleanable.dirty.ratio", Value: ptr("0.001")}, {Name: "max.compaction.lag.ms", Value: ptr("100")}}, name)
		must(t, err)
	}
	cl := plainClient(t, e.addr, kgo.ProducerLinger(50*time.Millisecond))
	tx := plainClient(t, e.addr, kgo.TransactionalID(name))
	wrote := int64(0)
	pad := strings.Repeat("x", 500)
	write := func() {
		var recs []*kgo.Record
		for i := range 200 {
			recs = append(recs, &kgo.Record{Topic: name, Key: fmt.Appendf(nil, "k%d", i%7), Value: fmt.Appendf(nil, "%d %s", wrote, pad)})
			wrote++
		}
		must(t, cl.ProduceSync(ctx, recs...).FirstErr())
		transaction(t, ctx, tx, kgo.TryCommit, name, 0, "t")
		transaction(t, ctx, tx, kgo.TryAbort, name, 0, "u")
	}
	var s sums
	var end int64
	eventually(t, ctx, "compaction", func() bool {
		write()
		end = find(t, ctx, e.c, name).Partitions[0].Stable
		s = readAll(t, ctx, e.c, replay.ReadRequest{Topic: name, From: 0, To: end}) // what compaction took is accounted for
		return s.compacted > 100
	})
	newest := make(map[string]string)
	for _, r := range s.records {
		newest[string(r.Key)] = string(r.Value)
	}
	if len(newest) != 8 { // seven keys and the transactions'
		t.Fatalf("%d keys", len(newest))
	}
	for i := range int64(7) {
		var n int64
		fmt.Sscan(newest[fmt.Sprintf("k%d", (wrote-1-i)%200%7)], &n)
		if n < wrote-8 {
			t.Fatalf("the newest value of a key is %d of %d", n, wrote)
		}
	}
}

func ptr(s string) *string { return &s }

func testOpenTransaction(t *testing.T, ctx context.Context, e *env) {
	name := e.topic(t, ctx, 1, nil)
	put(t, ctx, plainClient(t, e.addr), name, 0, "a")
	tx := plainClient(t, e.addr, kgo.TransactionalID(name))
	must(t, tx.BeginTransaction())
	put(t, ctx, tx, name, 0, "b", "c")
	r, err := e.c.Read(ctx, replay.ReadRequest{Topic: name, To: 4})
	must(t, err)
	defer r.Close()
	b, err := r.Next(ctx)
	must(t, err)
	if b.Next != 1 || len(b.Records) != 1 || b.End != 1 {
		t.Fatalf("%+v", b)
	}
	eventually(t, ctx, "the reader waits", func() bool {
		w, ok := r.(*kafka.Reader).Waiting()
		return ok && w.Offset == 1 && w.End == 3 && !w.Since.IsZero()
	})
	short, stop := context.WithTimeout(ctx, 300*time.Millisecond)
	if _, err := r.Next(short); !fault.Is(err, fault.Timeout) {
		t.Fatal(err)
	}
	stop()
	must(t, tx.EndTransaction(ctx, kgo.TryCommit))
	for next := int64(1); next < 4; {
		b, err := r.Next(ctx)
		must(t, err)
		next = b.Next
	}
	if _, err := r.Next(ctx); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	// Following goes on for ever.
	follow, err := e.c.Read(ctx, replay.ReadRequest{Topic: name, From: 4, To: -1})
	must(t, err)
	defer follow.Close()
	put(t, ctx, plainClient(t, e.addr), name, 0, "d")
	if b, err := follow.Next(ctx); err != nil || len(b.Records) != 1 || string(b.Records[0].Value) != "d" {
		t.Fatal(b, err)
	}
}

func testGap(t *testing.T, ctx context.Context, e *env) {
	name := e.topic(t, ctx, 1, nil)
	put(t, ctx, plainClient(t, e.addr), name, 0, "a", "b", "c", "d")
	_, err := kadm.NewClient(plainClient(t, e.addr)).DeleteRecords(ctx, kadm.Offsets{name: {0: {Topic: name, At: 3}}})
	must(t, err)
	r, err := e.c.Read(ctx, replay.ReadRequest{Topic: name, From: 1, To: 4})
	must(t, err)
	defer r.Close()
	for range 2 { // it repeats
		_, err := r.Next(ctx)
		var gap *replay.GapError
		if !errors.As(err, &gap) || gap.From != 1 || gap.To != 3 {
			t.Fatal(err)
		}
	}
	beyond, err := e.c.Read(ctx, replay.ReadRequest{Topic: name, From: 9, To: 12})
	must(t, err)
	defer beyond.Close()
	if _, err := beyond.Next(ctx); !fault.Is(err, fault.Drifted) {
		t.Fatal(err)
	}
}

func testRecreated(t *testing.T, ctx context.Context, e *env) {
	name := e.topic(t, ctx, 1, nil)
	put(t, ctx, plainClient(t, e.addr), name, 0, "a")
	before := find(t, ctx, e.c, name)
	r, err := e.c.Read(ctx, replay.ReadRequest{Topic: name, TopicID: before.ID, To: -1})
	must(t, err)
	defer r.Close()
	_, err = r.Next(ctx)
	must(t, err)
	must(t, e.c.DeleteTopic(ctx, name))
	eventually(t, ctx, "made again", func() bool {
		err := e.c.CreateTopic(ctx, name, 1, nil)
		if err != nil && !fault.Is(err, fault.Exists) {
			t.Fatal(err)
		}
		return err == nil
	})
	if _, err := r.Next(ctx); !fault.Is(err, fault.Drifted) {
		t.Fatal(err)
	}
	if _, err := e.c.Read(ctx, replay.ReadRequest{Topic: name, TopicID: before.ID, To: 1}); !fault.Is(err, fault.Drifted) {
		t.Fatal(err)
	}
}

// One reader at the end of its log holds up none that has more to read.
func testManyReaders(t *testing.T, ctx context.Context, e *env) {
	const parts, each = 8, 3000
	name := e.topic(t, ctx, parts+1, nil)
	cl := plainClient(t, e.addr, kgo.ProducerLinger(5*time.Millisecond))
	for p := range int32(parts) {
		for i := range each {
			cl.Produce(ctx, &kgo.Record{Topic: name, Partition: p, Value: fmt.Appendf(nil, "%d", i)}, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	must(t, cl.Flush(ctx))
	idle, err := e.c.Read(ctx, replay.ReadRequest{Topic: name, Partition: parts, To: -1})
	must(t, err)
	defer idle.Close()
	done := make(chan int, parts)
	for p := range int32(parts) {
		go func() { // a reader is for one goroutine
			r, err := e.c.Read(ctx, replay.ReadRequest{Topic: name, Partition: p, To: each, MaxBytes: 4096})
			n := 0
			for err == nil {
				var b replay.Batch
				if b, err = r.Next(ctx); err == nil {
					n += len(b.Records)
				}
			}
			if !errors.Is(err, io.EOF) {
				t.Error(err)
			}
			if r != nil {
				r.Close()
			}
			done <- n
		}()
	}
	for range parts {
		if n := <-done; n != each {
			t.Errorf("%d of %d records", n, each)
		}
	}
	put(t, ctx, cl, name, parts, "late")
	if b, err := idle.Next(ctx); err != nil || len(b.Records) != 1 {
		t.Fatal(b, err)
	}
}

// Readers that want more together than a broker answers at once each get all, and none of it as compacted.
func testMoreThanAnAnswer(t *testing.T, ctx context.Context, e *env) {
	const parts, each = 12, 10 // of 800 kB: half as much again as one answer may hold
	name := e.topic(t, ctx, parts, nil)
	cl := plainClient(t, e.addr)
	value := make([]byte, 800_000)
	rand.NewChaCha8([32]byte{}).Read(value)
	for range each {
		var recs []*kgo.Record
		for p := range int32(parts) {
			recs = append(recs, &kgo.Record{Topic: name, Partition: p, Value: value})
		}
		must(t, cl.ProduceSync(ctx, recs...).FirstErr())
	}
	var wg sync.WaitGroup
	for p := range int32(parts) {
		wg.Go(func() {
			for range 5 {
				r, err := e.c.Read(ctx, replay.ReadRequest{Topic: name, Partition: p, To: each, MaxBytes: 32 << 20})
				if err != nil {
					t.Error(err)
					return
				}
				n := 0
				for err == nil {
					var b replay.Batch
					b, err = r.Next(ctx)
					n += len(b.Records)
				}
				r.Close()
				if n != each || !errors.Is(err, io.EOF) {
					t.Errorf("partition %d: %d of %d records, %v", p, n, each, err)
				}
			}
		})
	}
	wg.Wait()
}

func testAppend(t *testing.T, ctx context.Context, e *env) {
	name := "t.append"
	l, err := e.c.OpenLog(kafka.Grant{})
	must(t, err)
	defer l.Close()
	must(t, l.EnsureTopic(ctx, name, 1, map[string]string{"max.message.bytes": "3000000"}))
	must(t, l.EnsureTopic(ctx, name, 5, nil)) // left as it is
	if last, err := l.Last(ctx, name); err != nil || len(last) != 0 {
		t.Fatal(last, err)
	}
	const n = 5000
	base := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	order := make(chan int, n)
	var rec stream.Record
	for i := range n {
		rec = stream.Record{Topic: name, Key: fmt.Appendf(nil, "%d", i), Value: []byte("v"), Time: base.Add(time.Duration(i) * time.Millisecond), Headers: []stream.Header{{Key: "h", Value: []byte("x")}}}
		must(t, l.Append(ctx, &rec, func(err error) {
			if err != nil {
				t.Error(err)
			}
			order <- i
		}))
	}
	for i := range n {
		if got := <-order; got != i {
			t.Fatalf("done %d at %d", got, i)
		}
	}
	must(t, l.Sync(ctx))
	last, err := l.Last(ctx, name)
	must(t, err)
	if r := last[0]; r.Offset != n-1 || string(r.Key) != fmt.Sprint(n-1) || !r.Time.Equal(base.Add((n-1)*time.Millisecond)) || len(r.Headers) != 1 {
		t.Fatalf("%+v", r)
	}
	// As large as the topic takes, and larger.
	for size, ok := range map[int]bool{2_900_000: true, 3_100_000: false} {
		done := make(chan error, 1)
		rec = stream.Record{Topic: name, Value: make([]byte, size)}
		err := l.Append(ctx, &rec, func(err error) { done <- err })
		if err == nil {
			err = <-done
		}
		if ok != (err == nil) || !ok && !fault.Is(err, fault.Invalid) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	transaction(t, ctx, plainClient(t, e.addr, kgo.TransactionalID(name)), kgo.TryAbort, name, 0, "x")
	if last, err := l.Last(ctx, name); err != nil || last[0].Offset != n {
		t.Fatalf("%d %v", last[0].Offset, err)
	}
	if s := readAll(t, ctx, e.c, replay.ReadRequest{Topic: name, To: n}); len(s.records) != n {
		t.Fatalf("%d records", len(s.records))
	}
	done := make(chan error, 1)
	rec = stream.Record{Topic: "no-such", Value: []byte("v")}
	must(t, l.Append(ctx, &rec, func(err error) { done <- err }))
	if err := <-done; !fault.Is(err, fault.NotFound) {
		t.Fatal(err)
	}
}

func testSchemas(t *testing.T, ctx context.Context, e *env) {
	l, err := e.c.OpenLog(kafka.Grant{})
	must(t, err)
	defer l.Close()
	if _, err := e.c.Schemas().Schema(ctx, "00"); !fault.Is(err, fault.NotFound) {
		t.Fatal(err)
	}
	a := stream.TableSchema{ID: "00000000000000aa", Table: "orders", Columns: []stream.Column{{Name: "id", Type: "bigint", Base: "bigint", Key: 1}}}
	b := stream.TableSchema{ID: "00000000000000bb", Table: "lines"}
	for _, s := range []stream.TableSchema{a, b, a} {
		must(t, l.Publish(ctx, s))
	}
	other := openCluster(t, kafka.Options{Name: "other", Brokers: []string{e.addr}, Own: true})
	for _, c := range []*kafka.Cluster{e.c, other} {
		got, err := c.Schemas().Schema(ctx, a.ID)
		must(t, err)
		if fmt.Sprint(got) != fmt.Sprint(a) {
			t.Fatalf("%+v", got)
		}
	}
	// Another instance that publishes the same adds nothing.
	second, err := other.OpenLog(kafka.Grant{})
	must(t, err)
	defer second.Close()
	must(t, second.Publish(ctx, a))
	p := find(t, ctx, e.c, stream.SchemaTopic).Partitions
	if len(p) != 1 || p[0].End != 2 {
		t.Fatalf("%+v", p)
	}
	c := stream.TableSchema{ID: "00000000000000cc", Table: "late"}
	must(t, second.Publish(ctx, c))
	if got, err := e.c.Schemas().Schema(ctx, c.ID); err != nil || got.Table != "late" {
		t.Fatal(got, err)
	}
	topic, err := e.c.Topic(ctx, stream.SchemaTopic)
	must(t, err)
	if topic.Config["cleanup.policy"] != "compact" {
		t.Fatalf("%v", topic.Config)
	}
}

func testCreateDelete(t *testing.T, ctx context.Context, e *env) {
	must(t, e.c.CreateTopic(ctx, "t.made", 4, map[string]string{"cleanup.policy": "compact"}))
	if err := e.c.CreateTopic(ctx, "t.made", 4, nil); !fault.Is(err, fault.Exists) {
		t.Error(err)
	}
	bad := map[string]error{
		"no partitions": e.c.CreateTopic(ctx, "t.other", 0, nil),
		"a bad name":    e.c.CreateTopic(ctx, "t other", 1, nil),
	}
	if e.real {
		bad["no such config"] = e.c.CreateTopic(ctx, "t.other", 1, map[string]string{"no.such": "1"})
	}
	for name, err := range bad {
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if topic, err := e.c.Topic(ctx, "t.made"); err != nil || len(topic.Partitions) != 4 || topic.Config["cleanup.policy"] != "compact" {
		t.Errorf("%+v %v", topic, err)
	}
	must(t, e.c.DeleteTopic(ctx, "t.made"))
	eventually(t, ctx, "deleted", func() bool { _, err := e.c.Topic(ctx, "t.made"); return fault.Is(err, fault.NotFound) })
	if err := e.c.DeleteTopic(ctx, "t.made"); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
}

func testReset(t *testing.T, ctx context.Context, e *env) {
	name := e.topic(t, ctx, 2, nil)
	put(t, ctx, plainClient(t, e.addr), name, 0, "a", "b", "c")
	put(t, ctx, plainClient(t, e.addr), name, 1, "d")
	group := name
	held := func() string {
		g, err := e.c.Group(ctx, group)
		must(t, err)
		return fmt.Sprint(g.Commits[stream.TopicPartition{Topic: name}].Offset, g.Commits[stream.TopicPartition{Topic: name, Partition: 1}].Offset)
	}
	changes, err := e.c.ResetGroup(ctx, group, name, kafka.Point{Newest: true}, true)
	must(t, err)
	if len(changes) != 2 || changes[0].From != -1 || changes[0].To != 3 || held() != "3 1" {
		t.Fatalf("%+v, held %s", changes, held())
	}
	changes, err = e.c.ResetGroup(ctx, group, name, kafka.Point{}, false)
	must(t, err)
	if len(changes) != 2 || changes[0].From != 3 || changes[0].To != 0 || held() != "3 1" {
		t.Fatalf("%+v, held %s", changes, held())
	}
	_, err = e.c.ResetGroup(ctx, group, name, kafka.Point{Offsets: map[int32]int64{0: 2}}, true)
	must(t, err)
	if held() != "2 1" {
		t.Fatal(held())
	}
	_, err = e.c.ResetGroup(ctx, group, name, kafka.Point{Time: time.Now().Add(-time.Hour)}, true)
	must(t, err)
	if held() != "0 0" {
		t.Fatal(held())
	}
	if _, err = e.c.ResetGroup(ctx, group, name, kafka.Point{Offsets: map[int32]int64{0: 99}}, true); !fault.Is(err, fault.Invalid) {
		t.Fatal(err)
	}
	if _, err = e.c.ResetGroup(ctx, group, name, kafka.Point{Offsets: map[int32]int64{7: 0}}, true); !fault.Is(err, fault.NotFound) {
		t.Fatal(err)
	}
	for protocol, opt := range map[string]kgo.Opt{"classic": kgo.ClientID("classic"), "consumer": kgo.ServerSideBalancer()} {
		group := name + "." + protocol
		member := plainClient(t, e.addr, kgo.ConsumerGroup(group), kgo.ConsumeTopics(name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), opt)
		must(t, member.PollFetches(ctx).Err())
		if _, err = e.c.ResetGroup(ctx, group, name, kafka.Point{}, true); !fault.Is(err, fault.Conflict) {
			t.Fatalf("%s: %v", protocol, err)
		}
		member.Close()
		eventually(t, ctx, "the member is gone", func() bool { g, err := e.c.Group(ctx, group); return err == nil && len(g.Members) == 0 })
		_, err = e.c.ResetGroup(ctx, group, name, kafka.Point{Newest: true}, true)
		must(t, err)
	}
}

func testScan(t *testing.T, ctx context.Context, e *env) {
	name := e.topic(t, ctx, 3, nil)
	cl := plainClient(t, e.addr)
	base := time.Now().Add(-time.Hour).Truncate(time.Second)
	for i := range 300 {
		must(t, cl.ProduceSync(ctx, &kgo.Record{Topic: name, Partition: int32(i % 3), Key: fmt.Appendf(nil, "%d", i), Value: []byte("v"), Timestamp: base.Add(time.Duration(i) * time.Second)}).FirstErr())
	}
	keys := func(r kafka.ScanResult) string {
		var all []string
		for _, rec := range r.Records {
			all = append(all, string(rec.Key))
		}
		return strings.Join(all, " ")
	}
	scan := func(req kafka.ScanRequest) kafka.ScanResult {
		t.Helper()
		req.Topic = name
		r, err := e.c.Scan(ctx, req)
		must(t, err)
		return r
	}
	r := scan(kafka.ScanRequest{Backwards: true, Limit: 5})
	if keys(r) != "295 296 297 298 299" || r.Stopped != kafka.StoppedLimit || r.Next[0] != 100 {
		t.Errorf("newest: %s, %+v", keys(r), r)
	}
	every := func(n int) func(*stream.Record) (bool, error) {
		return func(rec *stream.Record) (bool, error) {
			var i int
			fmt.Sscan(string(rec.Key), &i)
			return i%n == 0, nil
		}
	}
	r = scan(kafka.ScanRequest{Backwards: true, Limit: 3, Match: every(90)})
	if keys(r) != "90 180 270" {
		t.Errorf("newest that match: %s", keys(r))
	}
	r = scan(kafka.ScanRequest{Limit: 1000})
	if len(r.Records) != 300 || r.Stopped != kafka.StoppedEnd || r.Scanned != 300 || r.Matched != 300 || !strings.HasPrefix(keys(r), "0 1 2 3 ") || r.Next[2] != 100 {
		t.Errorf("all: %d records, %+v", len(r.Records), r.Stopped)
	}
	r = scan(kafka.ScanRequest{Match: every(100), Limit: 1000})
	if keys(r) != "0 100 200" || r.Scanned != 300 || r.Matched != 3 || len(r.Window) != 3 || r.Window[1] != (stream.Range{Partition: 1, To: 100}) {
		t.Errorf("matching: %s, %+v", keys(r), r.Window)
	}
	r = scan(kafka.ScanRequest{From: kafka.Point{Offsets: map[int32]int64{1: 95}}, Limit: 3})
	if keys(r) != "286 289 292" || r.Stopped != kafka.StoppedLimit || len(r.Next) != 1 || r.Next[1] != 98 {
		t.Errorf("from an offset: %s, %+v", keys(r), r.Next)
	}
	r = scan(kafka.ScanRequest{From: kafka.Point{Offsets: r.Next}, Limit: 10}) // going on
	if keys(r) != "295 298" || r.Stopped != kafka.StoppedEnd {
		t.Errorf("going on: %s", keys(r))
	}
	r = scan(kafka.ScanRequest{From: kafka.Point{Time: base.Add(297 * time.Second)}})
	if keys(r) != "297 298 299" {
		t.Errorf("from a time: %s", keys(r))
	}
	if r = scan(kafka.ScanRequest{MaxRecords: 50, Limit: 1000}); r.Stopped != kafka.StoppedRecords || r.Scanned != 50 {
		t.Errorf("%+v", r)
	}
	if r = scan(kafka.ScanRequest{MaxTime: 1, Limit: 1000}); r.Stopped != kafka.StoppedTime {
		t.Errorf("%+v", r.Stopped)
	}
	boom := errors.New("boom")
	if _, err := e.c.Scan(ctx, kafka.ScanRequest{Topic: name, Match: func(*stream.Record) (bool, error) { return false, boom }}); !errors.Is(err, boom) {
		t.Error(err)
	}
	if _, err := e.c.Scan(ctx, kafka.ScanRequest{Topic: "no-such"}); !fault.Is(err, fault.NotFound) {
		t.Error(err)
	}
}

func testConnection(t *testing.T, ctx context.Context, e *env) {
	var names []string
	for _, s := range e.c.Test(ctx) {
		names = append(names, s.Name)
		if s.Err != nil {
			t.Errorf("%+v", s)
		}
	}
	want := []string{"dns", "tcp", "api versions", "metadata", "brokers", "list offsets", "read records", "list groups", "read commits", "read topic settings", "read sizes"}
	if !slices.Equal(names, want) {
		t.Errorf("stages %q, not %q", names, want)
	}
}

// A locked cluster is read and not written, whoever asks; unlocked, it is written for that time and those acts.
func testLocked(t *testing.T, ctx context.Context, e *env) {
	name := e.topic(t, ctx, 1, nil)
	put(t, ctx, plainClient(t, e.addr), name, 0, "a")
	c := openCluster(t, kafka.Options{Name: "prod", Brokers: []string{e.addr}})
	l, err := c.OpenLog(kafka.Grant{})
	must(t, err)
	appendOne := func() error {
		done := make(chan error, 1)
		rec := stream.Record{Topic: name, Value: []byte("v")}
		if err := l.Append(ctx, &rec, func(err error) { done <- err }); err != nil {
			return err
		}
		return <-done
	}
	denied := func(what string, err error) {
		t.Helper()
		if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), "freshet clusters unlock prod") {
			t.Errorf("%s: %v", what, err)
		}
	}
	all := func() {
		t.Helper()
		denied("append", appendOne())
		denied("create", c.CreateTopic(ctx, "t.locked", 1, nil))
		denied("delete", c.DeleteTopic(ctx, name))
		_, err := c.ResetGroup(ctx, "g", name, kafka.Point{}, true)
		denied("reset", err)
		denied("ensure", l.EnsureTopic(ctx, "t.locked", 1, nil))
		denied("schema", l.Publish(ctx, stream.TableSchema{ID: "00000000000000ff"}))
	}
	all()
	if s := readAll(t, ctx, c, replay.ReadRequest{Topic: name, To: 1}); len(s.records) != 1 {
		t.Error("a locked cluster is not read")
	}
	_, err = c.Groups(ctx)
	must(t, err)
	if _, err = c.ResetGroup(ctx, "g", name, kafka.Point{}, false); err != nil {
		t.Error(err)
	}
	if s := c.Gate().State(); !s.Locked {
		t.Errorf("%+v", s)
	}
	c.Gate().Unlock(time.Now().Add(time.Hour), kafka.Produce)
	must(t, appendOne())
	denied("create while only produce is unlocked", c.CreateTopic(ctx, "t.locked", 1, nil))
	if s := c.Gate().State(); s.Locked || len(s.Acts) != 1 || s.Until.IsZero() {
		t.Errorf("%+v", s)
	}
	c.Gate().Unlock(time.Now().Add(-time.Second))
	all()
	// A client that does not ask first is stopped where its requests leave.
	cl, err := c.NewClient(kafka.Grant{})
	must(t, err)
	defer cl.Close()
	short, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	if err = cl.ProduceSync(short, &kgo.Record{Topic: name, Value: []byte("v")}).FirstErr(); !errors.Is(err, kgo.ErrAborting) && !fault.Is(err, fault.Denied) {
		t.Errorf("a client of its own: %v", err)
	}
	_, err = kadm.NewClient(cl).DeleteTopic(ctx, name)
	denied("a client of its own deletes", err)
	c.Gate().Unlock(time.Now().Add(time.Hour))
	must(t, c.CreateTopic(ctx, "t.unlocked", 1, nil))
	c.Gate().Lock()
	all()
	if end := find(t, ctx, e.c, name).Partitions[0].End; end != 2 {
		t.Fatalf("%d records are there, want 2", end)
	}
}

// A part of Freshet may do what it was granted, on a locked cluster too, and nothing else.
func testGrant(t *testing.T, ctx context.Context, e *env) {
	name := e.topic(t, ctx, 1, nil)
	c := openCluster(t, kafka.Options{Name: "prod", Brokers: []string{e.addr}})
	grant := kafka.Grant{Acts: []kafka.Act{kafka.Produce, kafka.Create}, Topics: []string{name, "t.granted.*"}}
	cl, err := c.NewClient(grant, kgo.TransactionalID(name), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	must(t, err)
	defer cl.Close()
	transaction(t, ctx, cl, kgo.TryCommit, name, 0, "a")
	transaction(t, ctx, cl, kgo.TryAbort, name, 0, "b")
	l, err := c.OpenLog(grant)
	must(t, err)
	must(t, l.EnsureTopic(ctx, "t.granted.x", 1, nil))
	done := make(chan error, 1)
	rec := stream.Record{Topic: "t.granted.x", Value: []byte("v")}
	must(t, l.Append(ctx, &rec, func(err error) { done <- err }))
	must(t, <-done)
	if err := l.EnsureTopic(ctx, "t.other", 1, nil); !fault.Is(err, fault.Denied) {
		t.Error(err)
	}
	other := "t.others"
	must(t, e.c.CreateTopic(ctx, other, 1, nil))
	plain, err := c.NewClient(grant, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	must(t, err)
	defer plain.Close()
	if err := plain.ProduceSync(ctx, &kgo.Record{Topic: other, Value: []byte("v")}).FirstErr(); !errors.Is(err, kgo.ErrAborting) {
		t.Error(err)
	}
	if _, err := kadm.NewClient(plain).DeleteTopic(ctx, name); !fault.Is(err, fault.Denied) {
		t.Error(err)
	}
	if end := find(t, ctx, e.c, other).Partitions[0].End; end != 0 {
		t.Errorf("%d records where none were granted", end)
	}
}
