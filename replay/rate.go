package replay

import (
	"context"
	"sync"
	"time"
)

// limiter is a pair of token buckets, for records and for bytes, that all shards of a job share. A batch takes all its
// tokens at once, before the sink is touched, and waits until the bucket is out of the debt that this made.
type limiter struct {
	mu             sync.Mutex
	records, bytes bucket
}

// bucket holds at most a second's tokens. A rate of 0 does not limit.
type bucket struct {
	rate   int64 // tokens a second
	tokens float64
	last   time.Time
}

func newLimiter(records int64) *limiter {
	now := time.Now()
	return &limiter{records: bucket{rate: records, last: now}, bytes: bucket{last: now}}
}

func (b *bucket) take(n float64, now time.Time) time.Duration {
	if b.rate == 0 {
		return 0
	}
	b.tokens = min(b.tokens+now.Sub(b.last).Seconds()*float64(b.rate), float64(b.rate)) - n
	b.last = now
	if b.tokens >= 0 {
		return 0
	}
	return time.Duration(-b.tokens / float64(b.rate) * float64(time.Second))
}

// take waits for n records of size bytes.
func (l *limiter) take(ctx context.Context, n int, size int64) error {
	l.mu.Lock()
	now := time.Now()
	wait := max(l.records.take(float64(n), now), l.bytes.take(float64(size), now))
	l.mu.Unlock()
	if wait == 0 {
		return nil
	}
	return sleep(ctx, nil, wait)
}

// limitBytes sets the byte rate.
func (l *limiter) limitBytes(rate int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bytes.rate = rate
}

// slow lowers the record rate.
func (l *limiter) slow(records int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records.rate = records
	l.records.tokens = min(l.records.tokens, 0)
}

// batch is how many records may be written at once, so that a slow rate is even: a quarter of a second's. 0: any number.
func (l *limiter) batch() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.records.rate == 0 {
		return 0
	}
	return int(max(1, l.records.rate/4))
}
