package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"freshet/backend/kafka/embedded"
)

// lines is a log that is looked into.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) has(s string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.b.String(), s)
}

// Compaction keeps the newest value of each key, and nothing of it is lost to a transaction that is aborted later.
func TestCompaction(t *testing.T) {
	ctx := within(t, 60*time.Second)
	log := &lines{}
	b := open(t, embedded.Options{Dir: t.TempDir(), CleanEvery: 50 * time.Millisecond, Log: slog.New(slog.NewTextHandler(log, nil))})
	topic(t, ctx, b.Addr(), "keys", 1, map[string]string{"cleanup.policy": "compact"})
	cl := client(t, b.Addr())
	pad := strings.Repeat("x", 1000)
	write := func(cl *kgo.Client, from int) {
		t.Helper()
		var values []string
		for i := range 200 {
			values = append(values, fmt.Sprintf("k%d=%d %s", i%10, from+i, pad))
		}
		produce(t, ctx, cl, "keys", 0, values...)
	}
	newest := func() map[string]int {
		m := make(map[string]int)
		for _, v := range committed(t, ctx, b.Addr(), "keys", 0) {
			var key, n int
			fmt.Sscanf(v, "k%d=%d", &key, &n)
			m[fmt.Sprint(key)] = n
		}
		return m
	}
	write(cl, 0)
	produce(t, ctx, cl, "keys", 0, "k77=77")
	tx := client(t, b.Addr(), kgo.TransactionalID("tx"), kgo.TransactionTimeout(time.Minute))
	begin(t, tx)
	write(tx, 1000)
	produce(t, ctx, tx, "keys", 0, "k77=78")
	n := 200
	for range 10 {
		write(cl, n)
		n += 200
	}
	eventually(t, ctx, "compaction is due and left alone", func() bool { return log.has("a transaction is open on a compacted topic") })
	if n := len(committed(t, ctx, b.Addr(), "keys", 0)); n != 201 { // up to the open transaction
		t.Fatalf("%d records", n)
	}
	end(t, ctx, tx, kgo.TryAbort)
	eventually(t, ctx, "compacted", func() bool { return len(committed(t, ctx, b.Addr(), "keys", 0)) < 1000 })
	if last := newest()["77"]; last != 77 {
		t.Fatalf("key 77 is at %d: what was aborted took its place", last)
	}
	for key, last := range newest() {
		if key == "77" {
			continue
		}
		var k int
		fmt.Sscan(key, &k)
		if last != n-10+k {
			t.Errorf("key %s is at %d, want %d", key, last, n-10+k)
		}
	}
	if h := b.Health(); h.State != embedded.OK {
		t.Fatalf("%+v", h)
	}
	// While it is compacted again and again, transactions go on and commit.
	var commits atomic.Int64
	stop := time.After(2 * time.Second)
	for done := false; !done; {
		begin(t, tx)
		write(tx, n)
		n += 200
		end(t, ctx, tx, kgo.TryCommit)
		commits.Add(1)
		select {
		case <-stop:
			done = true
		default:
		}
	}
	for key, last := range newest() {
		if key == "77" {
			continue
		}
		var k int
		fmt.Sscan(key, &k)
		if last != n-10+k {
			t.Errorf("after %d commits key %s is at %d, want %d", commits.Load(), key, last, n-10+k)
		}
	}
}

// A reader that compaction has overtaken goes on with what is left, as on Kafka: nothing of it was lost. One that
// retention has overtaken is told.
func TestReadersBehindTheStart(t *testing.T) {
	ctx := within(t, 60*time.Second)
	dir := t.TempDir()
	b := open(t, embedded.Options{Dir: dir, CleanEvery: 20 * time.Millisecond, SegmentBytes: 64 << 10})
	topic(t, ctx, b.Addr(), "compact", 1, map[string]string{"cleanup.policy": "compact"})
	topic(t, ctx, b.Addr(), "both", 1, map[string]string{"cleanup.policy": "compact,delete", "retention.bytes": "100000"})
	cl := client(t, b.Addr())
	start := func(topic string) int64 {
		starts, err := kadm.NewClient(cl).ListStartOffsets(ctx, topic)
		if err != nil {
			t.Fatal(err)
		}
		o, _ := starts.Lookup(topic, 0)
		return o.Offset
	}
	pad := strings.Repeat("x", 1000)
	for n := 0; start("compact") == 0 || start("both") == 0; n++ {
		for _, name := range []string{"compact", "both"} {
			for i := range 100 {
				produce(t, ctx, cl, name, 0, fmt.Sprintf("k%d=%d %s", i%10, n, pad))
			}
		}
	}
	from := func(b *embedded.Broker, topic string) (int64, error) {
		cl := client(t, b.Addr(), kgo.ConsumeResetOffset(kgo.NoResetOffset()),
			kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(0)}}))
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return 0, err
		}
		return fetches.Records()[0].Offset, nil
	}
	look := func(b *embedded.Broker) {
		t.Helper()
		if at, err := from(b, "compact"); err != nil || at < start("compact") {
			t.Errorf("compacted: a reader at 0 goes on at %d (%v); the log begins at %d", at, err, start("compact"))
		}
		if at, err := from(b, "both"); !errors.Is(err, kerr.OffsetOutOfRange) {
			t.Errorf("deleted: a reader at 0 goes on at %d (%v)", at, err)
		}
	}
	look(b)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = open(t, embedded.Options{Dir: dir, CleanEvery: time.Hour})
	look(b)
}

// A compacted topic that was made as another keeps what is old.
func TestPolicyThatChanges(t *testing.T) {
	ctx := within(t, 60*time.Second)
	b := open(t, embedded.Options{Dir: t.TempDir(), CleanEvery: 20 * time.Millisecond, Retention: time.Hour})
	topic(t, ctx, b.Addr(), "t", 1, nil)
	cl := client(t, b.Addr())
	alter(t, ctx, cl, "t", "cleanup.policy", "compact")
	eventually(t, ctx, "no retention", func() bool {
		return config(t, ctx, cl, "t", "retention.ms") == "-1" && config(t, ctx, cl, "t", "retention.bytes") == "-1"
	})
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "t", Key: []byte("k"), Value: []byte("old"), Timestamp: time.Now().Add(-48 * time.Hour)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	used := b.Health().Used
	eventually(t, ctx, "a few rounds", func() bool {
		return b.Health().Used != used || ctx.Err() != nil || len(committed(t, ctx, b.Addr(), "t", 0)) == 1
	})
	want(t, "kept", committed(t, ctx, b.Addr(), "t", 0), "old")
}

// An hour's load, compressed: retention by size, compaction and the quota hold while everything is written at once.
func TestLoad(t *testing.T) {
	var length time.Duration
	if os.Getenv("FRESHET_PROOF") != "" {
		length = 60 * time.Second
	}
	ctx := within(t, length+120*time.Second)
	dir := t.TempDir()
	const quota, enough = 64 << 20, 80 << 20 // more than may stay
	b := open(t, embedded.Options{Dir: dir, Quota: quota, CleanEvery: 100 * time.Millisecond, SegmentBytes: 1 << 20, RetentionBytes: 8 << 20})
	topic(t, ctx, b.Addr(), "bulk", 4, nil)
	topic(t, ctx, b.Addr(), "keys", 1, map[string]string{"cleanup.policy": "compact"})
	load, stop := context.WithCancel(ctx)
	defer stop()
	bulk, keys := client(t, b.Addr(), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(5*time.Millisecond), kgo.MaxBufferedRecords(2000)), client(t, b.Addr())
	var sent, failed atomic.Int64
	largest := int64(0)
	value := make([]byte, 2000)
	last := make(map[string]int)
	keyed := make(chan struct{})
	go func() {
		defer close(keyed)
		for n := 0; load.Err() == nil; n++ {
			key := fmt.Sprintf("k%d", n%100)
			if keys.ProduceSync(ctx, &kgo.Record{Topic: "keys", Key: []byte(key), Value: fmt.Appendf(nil, "%s=%d %1000d", key, n, 0)}).FirstErr() == nil {
				last[key] = n
			}
		}
	}()
	began := time.Now()
	for n := 0; ctx.Err() == nil && (sent.Load()*2000 < enough || time.Since(began) < length); n++ {
		bulk.Produce(ctx, &kgo.Record{Topic: "bulk", Partition: int32(n % 4), Value: value}, func(_ *kgo.Record, err error) {
			if err == nil {
				sent.Add(1)
			} else {
				failed.Add(1)
			}
		})
		if n%5000 == 0 {
			largest = max(largest, size(dir))
		}
	}
	stop()
	<-keyed
	if err := bulk.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d MiB in %v; the folder was at most %d MiB", sent.Load()*2000>>20, time.Since(began), largest>>20)
	if largest > quota+quota/2 {
		t.Errorf("the folder grew to %d MiB, its quota is %d MiB", largest>>20, quota>>20)
	}
	if sent.Load()*2000 < enough {
		t.Errorf("only %d MiB were taken", sent.Load()*2000>>20)
	}
	eventually(t, ctx, "within its bounds", func() bool { h := b.Health(); return h.State == embedded.OK && h.Used < 45<<20 })
	seen := make(map[string]int)
	for _, v := range committed(t, ctx, b.Addr(), "keys", 0) {
		key, rest, _ := strings.Cut(v, "=")
		var n int
		fmt.Sscan(rest, &n)
		seen[key] = n
	}
	for key, n := range last {
		if seen[key] < n {
			t.Errorf("%s is at %d, %d was acknowledged", key, seen[key], n)
		}
	}
	if err := b.Sync(ctx); err != nil {
		t.Fatal(err)
	}
}

func size(dir string) (n int64) {
	filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}

// A disk that is really full: nothing acknowledged is lost, and it goes on when there is room.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small disk, so this is NOT tested")
	}
	ctx := within(t, 60*time.Second)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("no small disk is to be had here, so this is NOT tested: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	b := open(t, embedded.Options{Dir: dir, Reserve: 4 << 20})
	topic(t, ctx, b.Addr(), "t", 1, nil)
	cl := client(t, b.Addr(), kgo.ProducerBatchCompression(kgo.NoCompression()))
	acked := 0
	for b.Health().State == embedded.OK && ctx.Err() == nil {
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		if cl.ProduceSync(short, &kgo.Record{Topic: "t", Value: make([]byte, 500_000)}).FirstErr() == nil {
			acked++
		}
		cancel()
	}
	if h := b.Health(); h.State != embedded.Full || !strings.Contains(h.Detail, "disk") || h.Free < 1<<20 {
		t.Fatalf("%+v", h)
	}
	if n := len(committed(t, ctx, b.Addr(), "t", 0)); n < acked || acked == 0 {
		t.Fatalf("%d acknowledged, %d read", acked, n)
	}
	if err := b.Sync(ctx); err != nil {
		t.Fatal(err)
	}
}
