package embedded_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"freshet/backend/kafka/embedded"
)

const dirVariable = "FRESHET_TEST_BROKER_DIR"

// TestMain lets the test binary be a broker of its own, to be killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(dirVariable); dir != "" {
		b, err := embedded.Start(context.Background(), embedded.Options{Dir: dir})
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		fmt.Println("addr:", b.Addr())
		select {}
	}
	goleak.VerifyTestMain(m)
}

// child starts a broker in a process of its own.
func child(t *testing.T, dir string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), dirVariable+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	var line string
	if _, err := fmt.Fscanf(out, "addr: %s\n", &line); err != nil {
		t.Fatalf("the broker did not start: %v", err)
	}
	return cmd, line
}

func client(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr), kgo.RecordPartitioner(kgo.ManualPartitioner())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// committed reads what a read_committed consumer sees of one partition, up to its end.
func committed(t *testing.T, addr, topic string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cl := client(t, addr, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())
	ends, err := kadm.NewClient(cl).ListCommittedOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup(topic, 0)
	var all []string
	for at := int64(0); at < end.Offset; {
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
	return strings.Join(all, " ")
}

// A transaction that was open at a crash stays aborted, over a second crash too, and hides nothing that comes later.
func TestOpenTransactionsAreClosedAfterACrash(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	cmd, addr := child(t, dir)
	adm := kadm.NewClient(client(t, addr))
	if _, err := adm.CreateTopic(ctx, 1, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	produce := func(cl *kgo.Client, values ...string) {
		t.Helper()
		for _, v := range values {
			if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: []byte(v)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	begin := func(addr string) *kgo.Client {
		cl := client(t, addr, kgo.TransactionalID("tx"))
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		return cl
	}
	tx := begin(addr)
	produce(tx, "a", "b")
	if err := tx.EndTransaction(ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	if err := tx.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(tx, "open1", "open2")
	crash := func() {
		t.Helper()
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		again, at := child(t, dir)
		if cmd = again; at != addr {
			t.Fatalf("the address changed from %s to %s", addr, at)
		}
	}
	crash()
	if got := committed(t, addr, "t"); got != "a b" {
		t.Errorf("after the first crash: %q", got)
	}
	tx = begin(addr)
	produce(tx, "c", "d")
	if err := tx.EndTransaction(ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	produce(client(t, addr), "plain")
	if got := committed(t, addr, "t"); got != "a b c d plain" {
		t.Errorf("after a later commit: %q", got)
	}
	crash()
	if got := committed(t, addr, "t"); got != "a b c d plain" {
		t.Errorf("after the second crash: %q", got)
	}
}

func TestRetentionQuotaAndSync(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	dir := t.TempDir()
	b, err := embedded.Start(ctx, embedded.Options{Dir: dir, Quota: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "clean")); err != nil {
			t.Errorf("an orderly stop left no mark: %v", err)
		}
	}()
	cl := client(t, b.Addr(), kgo.RecordRetries(0), kgo.ProducerBatchCompression(kgo.NoCompression()))
	adm := kadm.NewClient(cl)
	if _, err := adm.CreateTopic(ctx, 1, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: make([]byte, 1000)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := b.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	wait(ctx, t, "the topic has a retention", func() bool {
		rs, err := adm.DescribeTopicConfigs(ctx, "t")
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range rs[0].Configs {
			if c.Key == "retention.ms" && c.Source.String() == "DYNAMIC_TOPIC_CONFIG" {
				return c.MaybeValue() == "604800000"
			}
		}
		return false
	})
	wait(ctx, t, "the broker is full", func() bool {
		err := cl.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: make([]byte, 200_000)}).FirstErr()
		return err != nil && b.Health().Full
	})
	if _, err := adm.DeleteTopics(ctx, "t"); err != nil {
		t.Fatal(err)
	}
	wait(ctx, t, "the broker takes records again", func() bool { return !b.Health().Full })
}

func wait(ctx context.Context, t *testing.T, what string, f func() bool) {
	t.Helper()
	for !f() {
		if ctx.Err() != nil {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
