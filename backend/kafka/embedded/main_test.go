package embedded_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"freshet/backend/kafka/embedded"
)

// childDir is the variable by which the test binary is told to be a broker, to be killed.
const childDir = "FRESHET_TEST_BROKER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		be(dir)
	}
	goleak.VerifyTestMain(m)
}

// be is a broker until its standard input ends, which is when its parent does.
func be(dir string) {
	o := embedded.Options{Dir: dir, SegmentBytes: 256 << 10, CleanEvery: 200 * time.Millisecond}
	if n, err := strconv.ParseInt(os.Getenv("FRESHET_TEST_SEGMENT"), 10, 64); err == nil {
		o.SegmentBytes = n
	}
	o.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	b, err := embedded.Open(context.Background(), o)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	h := b.Health()
	fmt.Println("addr", b.Addr(), h.Recovered.Unclean, h.Recovered.Committed, h.Recovered.Aborted)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		switch lines.Text() {
		case "sync":
			fmt.Println("synced", b.Sync(context.Background()))
		case "close":
			fmt.Println("closed", b.Close())
			os.Exit(0)
		}
	}
	os.Exit(0)
}

// child is a broker in a process of its own.
type child struct {
	t       testing.TB
	dir     string
	addr    string
	cmd     *exec.Cmd
	out     *bufio.Scanner
	in      interface{ Write([]byte) (int, error) }
	unclean bool

	committed, aborted int
}

func startChild(t testing.TB, dir string) *child {
	t.Helper()
	c := &child{t: t, dir: dir}
	c.start()
	t.Cleanup(func() {
		if c.cmd != nil {
			c.kill()
		}
	})
	return c
}

func (c *child) start() {
	c.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+c.dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.cmd, c.in, c.out = cmd, in, bufio.NewScanner(out)
	line := c.line()
	var addr string
	if _, err := fmt.Sscanf(line, "addr %s %t %d %d", &addr, &c.unclean, &c.committed, &c.aborted); err != nil {
		c.t.Fatalf("the broker did not start: %s", line)
	}
	if c.addr != "" && addr != c.addr {
		c.t.Fatalf("the address changed from %s to %s", c.addr, addr)
	}
	c.addr = addr
}

func (c *child) line() string {
	c.out.Scan()
	return c.out.Text()
}

func (c *child) kill() {
	c.cmd.Process.Kill()
	c.cmd.Wait()
	c.cmd = nil
}

func (c *child) say(word, want string) {
	c.t.Helper()
	fmt.Fprintln(c.in, word)
	if got := c.line(); got != want {
		c.t.Fatalf("%s: %q", word, got)
	}
}

func (c *child) close() {
	c.t.Helper()
	c.say("close", "closed <nil>")
	c.cmd.Wait()
	c.cmd = nil
}

func open(t testing.TB, o embedded.Options) *embedded.Broker {
	t.Helper()
	b, err := embedded.Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func client(t testing.TB, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(addr), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.DisableClientMetrics(), kgo.ProducerLinger(0), kgo.MetadataMinAge(20 * time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

func topic(t testing.TB, ctx context.Context, addr, name string, partitions int32, config map[string]string) {
	t.Helper()
	values := make(map[string]*string)
	for k, v := range config {
		values[k] = &v
	}
	r, err := kadm.NewClient(client(t, addr)).CreateTopic(ctx, partitions, -1, values, name)
	if err == nil {
		err = r.Err
	}
	if err != nil {
		t.Fatal(err)
	}
}

func produce(t testing.TB, ctx context.Context, cl *kgo.Client, topic string, partition int32, values ...string) {
	t.Helper()
	var recs []*kgo.Record
	for _, v := range values {
		key, _, _ := strings.Cut(v, "=")
		recs = append(recs, &kgo.Record{Topic: topic, Partition: partition, Key: []byte(key), Value: []byte(v)})
	}
	if err := cl.ProduceSync(ctx, recs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// committed is what a read_committed consumer sees of one partition, from its start to its end.
func committed(t testing.TB, ctx context.Context, addr, topic string, partition int32) []string {
	t.Helper()
	adm := kadm.NewClient(client(t, addr))
	ends, err := adm.ListCommittedOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	starts, err := adm.ListStartOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	start, _ := starts.Lookup(topic, partition)
	end, _ := ends.Lookup(topic, partition)
	if start.Err != nil || end.Err != nil {
		t.Fatal(start.Err, end.Err)
	}
	cl := client(t, addr, kgo.KeepControlRecords(), kgo.FetchMaxWait(100*time.Millisecond), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		topic: {partition: kgo.NewOffset().At(start.Offset)},
	}))
	var all []string
	// Records of aborted transactions at the end are not given to anybody: a marker follows each that was ended.
	for at := start.Offset; at < end.Offset; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			at = r.Offset + 1
			if !r.Attrs.IsControl() {
				all = append(all, string(r.Value))
			}
		})
	}
	return all
}

func want(t testing.TB, what string, got []string, values ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(values) {
		t.Fatalf("%s: %v\nwant %v", what, got, values)
	}
}

func eventually(t testing.TB, ctx context.Context, what string, f func() bool) {
	t.Helper()
	for !f() {
		select {
		case <-ctx.Done():
			t.Fatalf("not in time: %s", what)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func alter(t testing.TB, ctx context.Context, cl *kgo.Client, topic, key, value string) {
	t.Helper()
	rs, err := kadm.NewClient(cl).AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: key, Value: &value}}, topic)
	if err == nil {
		err = rs[0].Err
	}
	if err != nil {
		t.Fatal(err)
	}
}

func config(t testing.TB, ctx context.Context, cl *kgo.Client, topic, key string) string {
	t.Helper()
	rs, err := kadm.NewClient(cl).DescribeTopicConfigs(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range rs[0].Configs {
		if c.Key == key {
			return c.MaybeValue()
		}
	}
	return ""
}
