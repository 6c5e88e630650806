//go:build unix

package lag_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"freshet/backend/kafka"
	"freshet/backend/stream"
	"freshet/backend/testkit"
	"freshet/probes"
	"freshet/probes/lag"
)

// The test binary is also the consumer that gets stopped, as a process of its own.
const consumerEnv = "FRESHET_TEST_CONSUMER"

func consumer(spec string) error {
	f := strings.Split(spec, ",") // broker, topic, group, protocol
	opts := []kgo.Opt{kgo.SeedBrokers(f[0]), kgo.ConsumeTopics(f[1]), kgo.ConsumerGroup(f[2]), kgo.AutoCommitInterval(200 * time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}
	if f[3] == "consumer" {
		opts = append(opts, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer()))
	}
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	defer cl.Close()
	for { // until it is killed
		if err := cl.PollFetches(context.Background()).Err(); err != nil {
			return err
		}
	}
}

// startConsumer starts the consumer; it is killed with the test.
func startConsumer(t *testing.T, spec string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), consumerEnv+"="+spec)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait() // killed
	})
	return cmd
}

// produced remembers between which moments each record was appended.
type produced struct {
	mu   sync.Mutex
	from map[stream.TopicPartition][]time.Time
	to   map[stream.TopicPartition][]time.Time
}

func (p *produced) one(ctx context.Context, cl *kgo.Client, at stream.TopicPartition) error {
	from := time.Now()
	r, err := cl.ProduceSync(ctx, &kgo.Record{Topic: at.Topic, Partition: at.Partition, Value: []byte("x")}).First()
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.from[at]); int64(n) != r.Offset {
		return fmt.Errorf("%v: offset %d after %d records", at, r.Offset, n)
	}
	p.from[at], p.to[at] = append(p.from[at], from), append(p.to[at], time.Now())
	return nil
}

func open(t *testing.T, brokers ...string) (*kafka.Cluster, *kgo.Client, *kadm.Client) {
	t.Helper()
	c, err := kafka.Open(kafka.Options{Name: "c", Brokers: brokers})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return c, cl, kadm.NewClient(cl)
}

func TestStoppedProcessOnKfake(t *testing.T) {
	t.Parallel()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	c, cl, adm := open(t, fake.ListenAddrs()...)
	for _, protocol := range []string{"classic", "consumer"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			stoppedProcess(t, c, cl, adm, fake.ListenAddrs()[0], protocol)
		})
	}
}

func TestAgreesWithKafka(t *testing.T) {
	t.Parallel()
	k := testkit.Kafka(t)
	c, cl, adm := open(t, k.Broker)
	for _, protocol := range []string{"classic", "consumer"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			g := stoppedProcess(t, c, cl, adm, k.Broker, protocol)
			// GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG CONSUMER-ID HOST CLIENT-ID
			seen := 0
			for line := range strings.Lines(k.Tool("consumer-groups", "--describe", "--group", g.Name)) {
				f := strings.Fields(line)
				if len(f) < 7 || f[0] != g.Name {
					continue
				}
				for _, q := range g.Partitions {
					if q.Topic != f[1] || strconv.Itoa(int(q.Partition)) != f[2] {
						continue
					}
					seen++
					ours := []string{fmt.Sprint(q.Committed), fmt.Sprint(q.End), fmt.Sprint(int64(q.Records.Value)), q.Member}
					if strings.Join(ours, " ") != strings.Join(f[3:7], " ") {
						t.Errorf("partition %d: %v, Kafka's tool says %v", q.Partition, ours, f[3:7])
					}
				}
			}
			if seen != 2 {
				t.Errorf("%d partitions compared", seen)
			}
		})
	}
	t.Run("transactions", func(t *testing.T) {
		t.Parallel()
		transactions(t, c, k.Broker, adm)
	})
}

// stoppedProcess stops a consumer process while records are produced: within ten seconds the group must be seen to fall
// behind, with bounds that hold its true age and count. It returns the group when no more is produced.
func stoppedProcess(t *testing.T, c *kafka.Cluster, cl *kgo.Client, adm *kadm.Client, broker, protocol string) lag.Group {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
	defer cancel()
	topic, name := "orders-"+protocol, "loader-"+protocol
	if _, err := adm.CreateTopic(ctx, 2, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	made := &produced{from: make(map[stream.TopicPartition][]time.Time), to: make(map[stream.TopicPartition][]time.Time)}
	stop, stopped := make(chan struct{}), make(chan error)
	go func() {
		for i := int32(0); ; i++ {
			select {
			case <-stop:
				stopped <- nil
				return
			case <-time.After(50 * time.Millisecond):
				if err := made.one(ctx, cl, tp(topic, i%2)); err != nil {
					stopped <- err
					return
				}
			}
		}
	}()
	cmd := startConsumer(t, strings.Join([]string{broker, topic, name, protocol}, ","))
	p := lag.New(c, lag.Options{Every: time.Second})
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	look := func() lag.Group {
		t.Helper()
		begun := time.Now()
		r, err := p.Round(ctx)
		if err != nil {
			t.Fatal(err)
		}
		d := r.Detail.(*lag.Detail)
		g, _ := d.Group(name)
		made.mu.Lock()
		defer made.mu.Unlock()
		var low, high float64
		for _, q := range g.Partitions {
			if q.Committed < 0 {
				continue
			}
			at := tp(topic, q.Partition)
			if n := q.Committed; n < int64(len(made.to[at])) { // it waited at some moment of the reading of the commits
				l, h := max(0, begun.Sub(made.to[at][n]).Seconds()), max(0, d.At.Sub(made.from[at][n]).Seconds())
				low, high = max(low, l), max(high, h)
			}
		}
		if g.Seconds.Known() && (g.Seconds.Low > high+0.001 || g.Seconds.High < low-0.001) {
			t.Fatalf("it is between %.3f and %.3f s behind, and reads %+v", low, high, g.Seconds)
		}
		return g
	}
	wait := func(what string, limit time.Duration, ok func(lag.Group) bool) lag.Group {
		t.Helper()
		deadline := time.Now().Add(limit)
		for {
			g := look()
			if ok(g) {
				return g
			}
			if time.Now().After(deadline) {
				t.Fatalf("not %s within %v: %+v", what, limit, g)
			}
			<-ticker.C
		}
	}
	g := wait("up to date", 30*time.Second, func(g lag.Group) bool {
		return g.Code == lag.OK && g.Unread == 0 && len(g.Partitions) == 2 && len(g.Members) == 1 && g.Produced.Known()
	})
	if g.Protocol != protocol || g.Seconds.High > 5 {
		t.Errorf("%+v", g)
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	behind := wait("behind and falling further", 10*time.Second, func(g lag.Group) bool {
		return g.Trend == probes.Rising && g.Seconds.Low > 2 && g.Records.Low > 20
	})
	if width := behind.Seconds.High - behind.Seconds.Low; width > 2.5 {
		t.Errorf("%.2f s wide: %+v", width, behind.Seconds)
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	g = wait("stopped", 30*time.Second, func(g lag.Group) bool { return g.Code == lag.Stopped })
	if !strings.HasPrefix(g.Verdict, "Stopped: 1 member there, but nothing committed for ") {
		t.Error(g.Verdict)
	}
	return g
}

// transactions commits at the last record of a transaction: the marker behind it is no lag.
func transactions(t *testing.T, c *kafka.Cluster, broker string, adm *kadm.Client) {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if _, err := adm.CreateTopic(ctx, 1, 1, nil, "tx"); err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.TransactionalID("t"), kgo.DefaultProduceTopic("tx"))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	p := lag.New(c, lag.Options{})
	look := func() lag.Partition {
		t.Helper()
		r, err := p.Round(ctx)
		if err != nil {
			t.Fatal(err)
		}
		g, ok := r.Detail.(*lag.Detail).Group("reader")
		if !ok || len(g.Partitions) != 1 {
			t.Fatalf("%+v", g)
		}
		return g.Partitions[0]
	}
	begin := func() {
		t.Helper()
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(ctx, kgo.StringRecord("x")).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	// Kafka answers before the marker is in the log.
	end := func(how kgo.TransactionEndTry, marker int64) {
		t.Helper()
		if err := cl.EndTransaction(ctx, how); err != nil {
			t.Fatal(err)
		}
		for {
			ends, err := adm.ListCommittedOffsets(ctx, "tx")
			if err != nil {
				t.Fatal(err)
			}
			if o, _ := ends.Lookup("tx", 0); o.Offset > marker {
				return
			}
		}
	}
	begin()
	end(kgo.TryCommit, 1)
	var at kadm.Offsets
	at.AddOffset("tx", 0, 1, -1)
	if err := adm.CommitAllOffsets(ctx, "reader", at); err != nil {
		t.Fatal(err)
	}
	if q := look(); q.End != 2 || q.State != lag.PartCaughtUp || q.Records.Value != 0 || q.Seconds.Value != 0 {
		t.Errorf("behind a marker: %+v", q)
	}
	begin()
	if q := look(); q.End != 3 || q.Stable != 2 || q.State != lag.PartCaughtUp || q.Seconds.Low != 0 || q.Why == "" {
		t.Errorf("behind an open transaction: %+v", q)
	}
	end(kgo.TryAbort, 3)
	if q := look(); q.End != 4 || q.State != lag.PartCaughtUp || q.Records.Value != 0 {
		t.Errorf("behind an aborted transaction: %+v", q)
	}
}
