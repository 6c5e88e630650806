package kafka_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"freshet/backend/fault"
	"freshet/backend/kafka"
	"freshet/backend/stream"
	"freshet/backend/testkit"
	"freshet/replay"
	"freshet/replay/replaytest"
	sink "freshet/replay/sink/kafka"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a cluster of kfake, which speaks the real protocol with transactions.
func fake(t testing.TB) (*kfake.Cluster, *kafka.Cluster) {
	t.Helper()
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.DefaultNumPartitions(4))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k, cluster(t, k.ListenAddrs()...)
}

func cluster(t testing.TB, brokers ...string) *kafka.Cluster {
	t.Helper()
	c, err := kafka.Open(kafka.Options{Name: "target", Brokers: brokers})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func context60(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func newSink(t testing.TB, opts sink.Options) *sink.Sink {
	t.Helper()
	opts.Granted = true
	s, err := sink.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var shard = replay.Shard{Owner: "mirror", Epoch: 1, Topic: "orders", TopicID: [16]byte{1}, Partitions: 4, Target: "copy"}

func open(t testing.TB, s *sink.Sink, sh replay.Shard) replay.Writer {
	t.Helper()
	w, err := s.Open(context60(t), sh)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close(context.Background()) })
	return w
}

func write(t testing.TB, w replay.Writer, recs ...stream.Record) replay.Written {
	t.Helper()
	out, err := w.Write(context60(t), batch(recs...))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func batch(recs ...stream.Record) replay.Write {
	var in replay.Write
	for i := range recs {
		in.Items = append(in.Items, replay.Item{Record: &recs[i]})
		in.Next = recs[i].Offset + 1
	}
	return in
}

func record(partition int32, offset int64, value string) stream.Record {
	return stream.Record{Topic: "orders", Partition: partition, Offset: offset, Time: time.UnixMilli(1700000000000 + offset), Key: []byte(strconv.FormatInt(offset, 10)), Value: []byte(value)}
}

// committed reads a topic's committed records.
func committed(t testing.TB, c *kafka.Cluster, topic string) (out []stream.Record) {
	t.Helper()
	ctx := context60(t)
	at, err := c.Topic(ctx, topic)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range at.Partitions {
		if p.Start == p.End {
			continue
		}
		// A transaction's markers may be written after its end was answered: reading waits for them.
		r, err := c.Read(ctx, replay.ReadRequest{Topic: topic, Partition: p.ID, From: p.Start, To: p.End})
		if err != nil {
			t.Fatal(err)
		}
		for {
			b, err := r.Next(ctx)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, b.Records...)
		}
		r.Close()
	}
	return out
}

func TestSinkConforms(t *testing.T) {
	t.Run("fake", func(t *testing.T) {
		_, c := fake(t)
		conform(t, c)
	})
	t.Run("real", func(t *testing.T) {
		if os.Getenv("FRESHET_PROOF") == "" {
			t.Skip("FRESHET_PROOF=1 runs it on a real Kafka as well")
		}
		conform(t, cluster(t, testkit.Kafka(t).Broker))
	})
}

func conform(t *testing.T, c *kafka.Cluster) {
	var round atomic.Int64
	topic := func() string { return fmt.Sprint("copy-", round.Load()) }
	h := replaytest.SinkHarness{
		Capabilities: sink.Spec.Capabilities,
		Shard:        replay.Shard{Topic: "orders", TopicID: [16]byte{1}, Partitions: 4},
		Clear:        func(testing.TB) { round.Add(1) },
		Item: func(_ testing.TB, p int32, o int64) replay.Item {
			r := record(p, o, "fine")
			return replay.Item{Record: &r}
		},
		Refused: func(_ testing.TB, p int32, o int64) (replay.Item, string) {
			r := record(p, o, "s3cret"+strings.Repeat("x", 2<<20))
			return replay.Item{Record: &r}, "s3cret"
		},
		State: func(t testing.TB) string {
			topics, err := c.Topics(context60(t), false)
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for _, topic := range topics {
				for _, p := range topic.Partitions {
					fmt.Fprintln(&b, topic.Name, p.ID, p.Start, p.End)
				}
			}
			return b.String()
		},
	}
	h.Open = func(t testing.TB) replay.Sink { return newSink(t, sink.Options{Cluster: c, Topic: topic()}) }
	h.Seen = func(t testing.TB, p int32) (out []int64) {
		for _, r := range committed(t, c, topic()) {
			if r.Partition == p {
				n, err := strconv.ParseInt(string(r.Key), 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, n)
			}
		}
		return out
	}
	replaytest.Sink(t, h)
}

func TestRecordsArriveAsTheyAre(t *testing.T) {
	_, c := fake(t)
	w := open(t, newSink(t, sink.Options{Cluster: c}), shard)
	at := time.UnixMilli(1600000000123)
	recs := []stream.Record{
		{Topic: "orders", Partition: 3, Offset: 0, Time: at, TimeType: stream.CreateTime, Key: nil, Value: []byte("v")},
		{Topic: "orders", Partition: 1, Offset: 1, Time: at.Add(-time.Hour), Key: []byte{}, Value: nil},
		{Topic: "orders", Partition: 1, Offset: 2, Time: at, Key: []byte("k"), Value: []byte{},
			Headers: []stream.Header{{Key: "a", Value: []byte("1")}, {Key: "a", Value: nil}, {Key: "", Value: []byte{}}}},
		{Topic: "orders", Partition: 2, Offset: 3, Time: time.UnixMilli(0), Key: []byte{0, 255}, Value: bytes.Repeat([]byte{0, 1}, 5000)},
	}
	var before []stream.Record
	for _, r := range recs {
		r.Headers = slices.Clone(r.Headers)
		before = append(before, r)
	}
	if out := write(t, w, recs...); out.Applied != 4 {
		t.Fatalf("got %+v", out)
	}
	if !reflect.DeepEqual(recs, before) {
		t.Error("the source's records were changed")
	}
	got := committed(t, c, "copy")
	if len(got) != 4 {
		t.Fatalf("%d records", len(got))
	}
	for _, g := range got {
		i := slices.IndexFunc(recs, func(r stream.Record) bool {
			return r.Partition == g.Partition && bytes.Equal(r.Key, g.Key) && bytes.Equal(r.Value, g.Value) && (r.Key == nil) == (g.Key == nil) && (r.Value == nil) == (g.Value == nil)
		})
		if i < 0 {
			t.Errorf("not a source's record: partition %d, key %q", g.Partition, g.Key)
			continue
		}
		want := recs[i]
		if !g.Time.Equal(want.Time) || len(g.Headers) != len(want.Headers) {
			t.Errorf("offset %d: time %v, headers %v", want.Offset, g.Time, g.Headers)
		}
		for j := range want.Headers {
			if g.Headers[j].Key != want.Headers[j].Key || !bytes.Equal(g.Headers[j].Value, want.Headers[j].Value) || (g.Headers[j].Value == nil) != (want.Headers[j].Value == nil) {
				t.Errorf("offset %d: header %d is %q", want.Offset, j, g.Headers[j])
			}
		}
	}
}

func TestStampNamesTheSource(t *testing.T) {
	_, c := fake(t)
	w := open(t, newSink(t, sink.Options{Cluster: c, Stamp: true}), shard)
	write(t, w, record(2, 17, "v"))
	got := committed(t, c, "copy")[0]
	if h, _ := got.Header(sink.SourceHeader); string(h) != "orders/2:17" {
		t.Errorf("got %q", h)
	}
	if h, _ := got.Header(sink.TimeTypeHeader); string(h) != "unknown" {
		t.Errorf("got %q", h)
	}
}

func TestTargetIsMadeLikeTheSource(t *testing.T) {
	_, c := fake(t)
	s := newSink(t, sink.Options{Cluster: c, TopicConfig: map[string]string{"retention.ms": "1000000"}})
	sh := shard
	sh.Partitions = 7
	open(t, s, sh)
	topic, err := c.Topic(context60(t), "copy")
	if err != nil || len(topic.Partitions) != 7 || topic.Config["retention.ms"] != "1000000" {
		t.Errorf("got %+v, %v", topic, err)
	}
	progress, err := c.Topic(context60(t), sink.ProgressTopic)
	if err != nil || progress.Config["cleanup.policy"] != "compact" {
		t.Errorf("got %+v, %v", progress.Config, err)
	}
	never := newSink(t, sink.Options{Cluster: c, NoCreateTopics: true})
	sh.Target = "absent"
	if _, err := never.Open(context60(t), sh); !fault.Is(err, fault.NotFound) {
		t.Errorf("got %v", err)
	}
	// The topic that is read is no target.
	sh.Target, sh.TopicID = "copy", topic.ID
	if _, err := s.Open(context60(t), sh); !fault.Is(err, fault.Invalid) {
		t.Errorf("got %v", err)
	}
	for _, own := range []string{sink.ProgressTopic, stream.SchemaTopic} {
		sh.Target = own
		if _, err := s.Open(context60(t), sh); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v", own, err)
		}
	}
}

// Keys keep together where partition numbers cannot be kept: in the partitions that Kafka's own producer chooses.
func TestFewerPartitionsGoByKey(t *testing.T) {
	_, c := fake(t)
	if err := unlocked(t, c).CreateTopic(context60(t), "copy", 3, nil); err != nil {
		t.Fatal(err)
	}
	w := open(t, newSink(t, sink.Options{Cluster: c}), shard)
	var recs []stream.Record
	for k := range murmurs {
		r := record(3, int64(len(recs)), "v")
		r.Key = []byte(k)
		recs = append(recs, r)
	}
	write(t, w, recs...)
	for _, r := range committed(t, c, "copy") {
		if want := murmurs[string(r.Key)] & 0x7fffffff % 3; want != r.Partition {
			t.Errorf("key %q is in partition %d, want %d", r.Key, r.Partition, want)
		}
	}
}

// murmurs has the values that Kafka's own tests give for its hash.
var murmurs = map[string]int32{"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "a-little-bit-longer-string": -1486304829,
	"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107}

func unlocked(t testing.TB, c *kafka.Cluster) *kafka.Cluster {
	c.Gate().Unlock(time.Now().Add(time.Hour))
	t.Cleanup(c.Gate().Lock)
	return c
}

func TestOversizeIsRefusedBeforeTheTransaction(t *testing.T) {
	_, c := fake(t)
	if err := unlocked(t, c).CreateTopic(context60(t), "copy", 4, map[string]string{"max.message.bytes": "2000"}); err != nil {
		t.Fatal(err)
	}
	w := open(t, newSink(t, sink.Options{Cluster: c}), shard)
	out := write(t, w, record(0, 0, "v"), record(0, 1, strings.Repeat("x", 2000)), record(0, 2, strings.Repeat("y", 1800)), record(0, 3, strings.Repeat("y", 1800)))
	if out.Applied != 3 || len(out.Refused) != 1 || out.Refused[0].Offset != 1 || !strings.Contains(out.Refused[0].Reason, "max.message.bytes") {
		t.Errorf("got %+v", out)
	}
	if got := committed(t, c, "copy"); len(got) != 3 {
		t.Errorf("%d records", len(got))
	}
}

func TestCompactedTargetWantsKeys(t *testing.T) {
	_, c := fake(t)
	if err := unlocked(t, c).CreateTopic(context60(t), "copy", 4, map[string]string{"cleanup.policy": "compact"}); err != nil {
		t.Fatal(err)
	}
	w := open(t, newSink(t, sink.Options{Cluster: c}), shard)
	keyless := record(0, 1, "v")
	keyless.Key = nil
	if out := write(t, w, record(0, 0, "v"), keyless); out.Applied != 1 || len(out.Refused) != 1 || out.Refused[0].Offset != 1 {
		t.Errorf("got %+v", out)
	}
}

// A record that the brokers refuse for what it is does not take its batch with it.
func TestWhatTheBrokersRefuseIsAlone(t *testing.T) {
	k, c := fake(t)
	w := open(t, newSink(t, sink.Options{Cluster: c}), shard)
	poison := []byte("poison")
	k.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		k.KeepControl()
		p := req.(*kmsg.ProduceRequest)
		resp := p.ResponseKind().(*kmsg.ProduceResponse)
		hit := false
		for _, topic := range p.Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = topic.Topic, topic.TopicID
			for _, part := range topic.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition = part.Partition
				if bytes.Contains(part.Records, poison) {
					hit = true
					rp.ErrorCode = kerr.InvalidRecord.Code
				}
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, hit
	})
	var recs []stream.Record
	for i := range 50 {
		v := "v" + strconv.Itoa(i)
		if i == 17 || i == 40 {
			v = "poison"
		}
		recs = append(recs, record(int32(i%4), int64(i), v))
	}
	out := write(t, w, recs...)
	if out.Applied != 48 || len(out.Refused) != 2 || out.Refused[0].Offset != 17 || out.Refused[1].Offset != 40 {
		t.Errorf("got %+v", out)
	}
	if got := committed(t, c, "copy"); len(got) != 48 {
		t.Errorf("%d records", len(got))
	}
	if w.Progress().Next != 50 {
		t.Errorf("progress %d", w.Progress().Next)
	}
}

// cut is a connection that breaks at its first EndTxn while armed: after the broker's answer, or before the request.
type cut struct {
	net.Conn
	armed  *atomic.Bool
	before bool
	broken atomic.Bool
}

func (c *cut) Write(b []byte) (int, error) {
	if len(b) > 6 && binary.BigEndian.Uint16(b[4:]) == uint16(kmsg.EndTxn) && c.armed.CompareAndSwap(true, false) {
		c.broken.Store(true)
		if c.before {
			c.Close()
			return 0, net.ErrClosed
		}
	}
	return c.Conn.Write(b)
}

func (c *cut) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.broken.Load() {
		c.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// An EndTxn whose answer is lost leaves it to the progress topic whether the batch is in.
func TestUnknownCommitFollowsTheProgressTopic(t *testing.T) {
	for _, before := range []bool{false, true} {
		t.Run(fmt.Sprint("lost before it arrived ", before), func(t *testing.T) {
			k, look := fake(t)
			var armed atomic.Bool
			c, err := kafka.Open(kafka.Options{Name: "target", Brokers: k.ListenAddrs(), Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, address)
				if err != nil {
					return nil, err
				}
				return &cut{Conn: conn, armed: &armed, before: before}, nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			w := open(t, newSink(t, sink.Options{Cluster: c}), shard)
			write(t, w, record(0, 0, "a"))
			armed.Store(true)
			out, err := w.Write(context60(t), batch(record(0, 1, "b")))
			if err != nil {
				if !fault.Is(err, fault.Unavailable) {
					t.Fatal(err)
				}
				out = write(t, w, record(0, 1, "b"))
			}
			if armed.Load() || out.Applied != 1 {
				t.Fatalf("armed %v, got %+v", armed.Load(), out)
			}
			write(t, w, record(0, 2, "c"))
			var values []string
			for _, r := range committed(t, look, "copy") {
				values = append(values, string(r.Value))
			}
			if !slices.Equal(values, []string{"a", "b", "c"}) {
				t.Errorf("the topic holds %q", values)
			}
		})
	}
}

func TestRecreatedTopicIsDrift(t *testing.T) {
	_, c := fake(t)
	s := newSink(t, sink.Options{Cluster: c})
	w := open(t, s, shard)
	write(t, w, record(0, 0, "a"))
	other := shard
	other.TopicID, other.Epoch = [16]byte{2}, 2
	if _, err := s.Open(context60(t), other); !fault.Is(err, fault.Drifted) {
		t.Errorf("got %v", err)
	}
}

func TestALockedClusterIsNotWritten(t *testing.T) {
	_, c := fake(t)
	s, err := sink.New(sink.Options{Cluster: c})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(context60(t), shard); !fault.Is(err, fault.Denied) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Test(context60(t)); !fault.Is(err, fault.Denied) {
		t.Errorf("got %v", err)
	}
}

// A real broker that stops in the middle of the work loses and repeats nothing.
func TestBrokerGoesAndComes(t *testing.T) {
	if os.Getenv("FRESHET_PROOF") == "" {
		t.Skip("FRESHET_PROOF=1 runs it on a real Kafka")
	}
	k := testkit.Kafka(t)
	c := cluster(t, k.Broker)
	w := open(t, newSink(t, sink.Options{Cluster: c}), shard)
	next := int64(0)
	for round := range 3 {
		for range 20 {
			recs := []stream.Record{record(0, next, "a"), record(1, next+1, "b"), record(2, next+2, "c")}
			if round > 0 && next%30 == 0 && k.Running() {
				k.Kill()
				k.Start()
			}
			for deadline := time.Now().Add(time.Minute); ; {
				out, err := w.Write(context60(t), batch(recs...))
				if err == nil {
					if out.Applied != 3 {
						t.Fatalf("got %+v", out)
					}
					break
				}
				if !fault.Is(err, fault.Unavailable) || time.Now().After(deadline) {
					t.Fatal(err)
				}
			}
			next += 3
		}
	}
	var offsets []int64
	for _, r := range committed(t, c, "copy") {
		n, err := strconv.ParseInt(string(r.Key), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		offsets = append(offsets, n)
	}
	slices.Sort(offsets)
	for i := range next {
		if int64(len(offsets)) != next || offsets[i] != i {
			t.Fatalf("%d records written, %d are there", next, len(offsets))
		}
	}
}
