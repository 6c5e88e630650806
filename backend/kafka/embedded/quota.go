package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"freshet/backend/space"
)

// quota keeps the folder within its bound: above it producing is refused, in words that clients retry on, until there
// is room again. Consumers, commits and the ends of transactions go on.
type quota struct {
	b     *Broker
	added atomic.Int64  // bytes produced since the folder was measured
	over  chan struct{} // capacity 1: look now

	mu     sync.Mutex
	used   int64
	free   int64
	alarm  string
	handle *kfake.FaultHandle
}

const (
	measureEvery = 2 * time.Second
	// measureShare keeps measuring a folder of very many files to this part of the time.
	measureShare = 50
)

func newQuota(b *Broker) *quota {
	q := &quota{b: b, over: make(chan struct{}, 1)}
	q.measure()
	return q
}

// grow counts what is about to be produced. What is refused does not grow.
func (q *quota) grow(n int) {
	q.mu.Lock()
	tight := false
	if q.alarm == "" {
		added := q.added.Add(int64(n))
		tight = q.used+added > q.b.o.Quota || q.free >= 0 && q.free-added < q.b.o.Reserve
	}
	q.mu.Unlock()
	if tight {
		select {
		case q.over <- struct{}{}:
		default:
		}
	}
}

func (q *quota) figures() (used, limit, free int64, alarm string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.used + q.added.Load(), q.b.o.Quota, q.free, q.alarm
}

func (q *quota) run(ctx context.Context) {
	var rest time.Duration
	for {
		t := time.NewTimer(max(measureEvery, rest))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		case <-q.over:
			t.Stop()
		}
		began := time.Now()
		if q.measure() {
			q.b.cleaner.soon()
		}
		rest = measureShare * time.Since(began)
	}
}

// measure looks at folder and disk, and sets or clears the alarm, which it returns.
func (q *quota) measure() bool {
	before := q.added.Load()
	used := folderSize(q.b.o.Dir)
	free := space.Free(q.b.o.Dir)
	q.added.Add(-before)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.used, q.free = used, free
	limit, reserve := q.b.o.Quota, q.b.o.Reserve
	if q.alarm != "" { // it ends with some room, so that it does not come and go
		limit -= limit / 20
		reserve += reserve / 5
	}
	alarm := ""
	switch {
	case used > limit:
		alarm = fmt.Sprintf("its log takes %d MiB, its quota is %d MiB: producing is refused until retention or deleted topics make room", used>>20, q.b.o.Quota>>20)
	case free >= 0 && free < reserve:
		alarm = fmt.Sprintf("the disk has %d MiB free, %d MiB stay reserved: producing is refused until there is room", free>>20, q.b.o.Reserve>>20)
	}
	switch {
	case alarm != "" && q.alarm == "":
		q.handle = q.b.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: storageError("Freshet's local broker: " + alarm), Count: -1})
		q.b.log.Warn("the local broker is full", "detail", alarm)
	case alarm == "" && q.alarm != "":
		q.handle.Remove()
		q.handle = nil
		q.b.log.Info("the local broker has room again", "used", used, "free", free)
	}
	q.alarm = alarm
	return alarm != ""
}

// folderSize is the sum of the files' sizes.
func folderSize(dir string) int64 {
	var size int64
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // gone meanwhile
			}
			return err
		}
		if !d.IsDir() {
			if info, err := d.Info(); err == nil {
				size += info.Size()
			}
		}
		return nil
	})
	return size
}
