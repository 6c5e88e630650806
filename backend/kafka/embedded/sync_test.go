package embedded

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"freshet/backend/fault"
)

// disk counts what is synced, and fails when it is told to: no real disk does when asked.
type disk struct {
	mu     sync.Mutex
	synced map[string]int
	broken bool
	hold   chan struct{} // a sync waits for it
}

func (d *disk) sync(path string) error {
	d.mu.Lock()
	d.synced[filepath.Base(filepath.Dir(path))+"/"+filepath.Base(path)]++
	broken, hold := d.broken, d.hold
	d.mu.Unlock()
	if hold != nil {
		<-hold
	}
	if broken {
		return errors.New("input/output error")
	}
	return syncFile(path)
}

func (d *disk) count(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.synced[name]
}

func (d *disk) set(broken bool, hold chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken, d.hold = broken, hold
}

func openOn(t *testing.T, d *disk) (*Broker, *kgo.Client, context.Context) {
	t.Helper()
	d.synced = make(map[string]int)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	b, err := Open(ctx, Options{Dir: t.TempDir(), syncFile: d.sync, SegmentBytes: 4096})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.cluster.CreateTopic("t", 1, nil); err != nil {
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.ProducerLinger(0), kgo.MetadataMinAge(20*time.Millisecond), kgo.DisableClientMetrics(), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.RetryBackoffFn(func(int) time.Duration { return 10 * time.Millisecond }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return b, cl, ctx
}

func put(t *testing.T, ctx context.Context, cl *kgo.Client, size int) {
	t.Helper()
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: make([]byte, size)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// What was acknowledged before Sync is synced when it returns, every segment of it, and without Sync soon after.
func TestSync(t *testing.T) {
	d := &disk{}
	b, cl, ctx := openOn(t, d)
	defer b.Close()
	if err := b.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	put(t, ctx, cl, 100)
	if err := b.Sync(ctx); err != nil || d.count("t-0/0.dat") == 0 || d.count("t-0/0.idx") == 0 {
		t.Fatalf("%v, %v", err, d.synced)
	}
	for range 4 { // each fills a segment
		put(t, ctx, cl, 5000)
	}
	if err := b.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	bases, err := segments(partitionDir(b.o.Dir, part{"t", 0}))
	if err != nil || len(bases) < 4 {
		t.Fatal(bases, err)
	}
	for _, base := range bases {
		if path := filepath.Join("t-0", filepath.Base((&logState{}).path(base, ".dat"))); d.count(path) == 0 {
			t.Fatalf("%s is not synced: %v", path, d.synced)
		}
	}
	before := d.count("t-0/0.dat")
	put(t, ctx, cl, 10)
	for last := b.sync.last(); !b.sync.last().After(last); { // by itself
		if ctx.Err() != nil {
			t.Fatal("not synced by itself")
		}
		time.Sleep(time.Millisecond)
	}
	if d.count("t-0/0.dat") != before {
		t.Error("a segment that is not written any more is synced again")
	}
}

// A Sync that is asked for while a round runs waits for one that begins after it.
func TestSyncWaitsForARoundOfItsOwn(t *testing.T) {
	d := &disk{}
	b, cl, ctx := openOn(t, d)
	defer b.Close()
	put(t, ctx, cl, 100)
	if err := b.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	hold := make(chan struct{})
	d.set(false, hold)
	before := d.count("t-0/0.dat")
	put(t, ctx, cl, 100)
	first := make(chan error, 1)
	go func() { first <- b.Sync(ctx) }()
	for d.count("t-0/0.dat") == before && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	put(t, ctx, cl, 5000) // while the round runs
	put(t, ctx, cl, 100)  // into a segment that the round does not know
	second := make(chan error, 1)
	go func() { second <- b.Sync(ctx) }()
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := b.Sync(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	d.set(false, nil)
	close(hold)
	if err := errors.Join(<-first, <-second); err != nil {
		t.Fatal(err)
	}
	if d.count("t-0/3.dat") == 0 {
		t.Fatalf("%v", d.synced)
	}
}

// After a sync has failed nothing is confirmed any more, and nothing more taken; a start makes it good.
func TestFailedSync(t *testing.T) {
	d := &disk{}
	b, cl, ctx := openOn(t, d)
	put(t, ctx, cl, 100)
	if err := b.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	d.set(true, nil)
	put(t, ctx, cl, 100)
	if err := b.Sync(ctx); !fault.Is(err, fault.Blocked) || !strings.Contains(err.Error(), "input/output error") {
		t.Fatal(err)
	}
	d.set(false, nil) // the disk seems well again, and what it lost is not known
	if err := b.Sync(ctx); !fault.Is(err, fault.Blocked) {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	if err := cl.ProduceSync(short, &kgo.Record{Topic: "t", Value: []byte("v")}).FirstErr(); err == nil || errors.Is(err, kerr.UnknownServerError) {
		t.Fatalf("taken: %v", err)
	}
	if h := b.Health(); h.State != Failed || !strings.Contains(h.Detail, "input/output error") {
		t.Fatalf("%+v", h)
	}
	dir := b.o.Dir
	if err := b.Close(); err == nil {
		t.Fatal("closed as if nothing had happened")
	}
	again, err := Open(ctx, Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if !again.Health().Recovered.Unclean || again.Sync(ctx) != nil {
		t.Fatalf("%+v", again.Health())
	}
}
