package kafka_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"freshet/backend/kafka"
	"freshet/backend/stream"
	"freshet/replay"
)

// jungle is a topic of several partitions with transactions that were committed and aborted, times out of order and, where
// it is compacted, holes; all is what it holds.
func (e *env) jungle(t *testing.T, ctx context.Context, r *rand.Rand, partitions int32, compacted bool) (name string, all []stream.Record) {
	config := map[string]string{}
	if compacted {
		config = map[string]string{"cleanup.policy": "compact", "segment.ms": "100", "segment.bytes": "1048576", "min.insync.replicas": "1"}
	}
	name = e.topic(t, ctx, partitions, config)
	cl := plainClient(t, e.addr, kgo.ProducerLinger(5*time.Millisecond))
	tx := plainClient(t, e.addr, kgo.TransactionalID(name))
	base := time.Now().Add(-time.Hour).Truncate(time.Second)
	pad := ""
	if compacted {
		pad = strings.Repeat("x", 500)
	}
	n := 0
	batch := func(p int32) (recs []*kgo.Record) {
		for range 1 + r.IntN(25) {
			at := base.Add(time.Duration(n)*100*time.Millisecond - time.Duration(r.IntN(3))*time.Second)
			recs = append(recs, &kgo.Record{Topic: name, Partition: p, Key: fmt.Appendf(nil, "k%d", r.IntN(40)), Value: fmt.Appendf(nil, "%d %s", n, pad), Timestamp: at})
			n++
		}
		return recs
	}
	for range 40 {
		p := int32(r.IntN(int(partitions)))
		switch r.IntN(4) {
		case 0:
			must(t, tx.BeginTransaction())
			must(t, tx.ProduceSync(ctx, batch(p)...).FirstErr())
			must(t, tx.EndTransaction(ctx, kgo.TransactionEndTry(r.IntN(2) == 0)))
		default:
			must(t, cl.ProduceSync(ctx, batch(p)...).FirstErr())
		}
	}
	eventually(t, ctx, "the last markers are written, and compaction has begun", func() bool {
		if compacted { // a segment ends when something is written after its time
			must(t, cl.ProduceSync(ctx, batch(int32(r.IntN(int(partitions))))...).FirstErr())
		}
		all = nil
		holes := int64(0)
		for _, p := range find(t, ctx, e.c, name).Partitions {
			if p.Stable != p.End {
				return false
			}
			s := readAll(t, ctx, e.c, replay.ReadRequest{Topic: name, Partition: p.ID, From: p.Start, To: p.Stable})
			all = append(all, s.records...)
			holes += s.compacted
		}
		return !compacted || holes > 0
	})
	return name, all
}

// everything is where each record of the topic is now.
func (e *env) everything(t *testing.T, ctx context.Context, name string) map[string]bool {
	t.Helper()
	there := map[string]bool{}
	for _, p := range find(t, ctx, e.c, name).Partitions {
		for _, rec := range readAll(t, ctx, e.c, replay.ReadRequest{Topic: name, Partition: p.ID, From: p.Start, To: p.Stable}).records {
			there[place(&rec)] = true
		}
	}
	return there
}

func place(r *stream.Record) string { return fmt.Sprintf("%d:%d", r.Partition, r.Offset) }

// Pages in either direction, of any size, whole or filtered, bounded or not, show each record once.
func testPages(t *testing.T, ctx context.Context, e *env) {
	seed := rand.Uint64()
	t.Log("seed", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for _, compacted := range []bool{false, true} {
		if compacted && e.real {
			continue // Kafka compacts when it likes, also between two pages
		}
		partitions := int32(1 + r.IntN(5))
		t.Run(map[bool]string{false: "kept", true: "compacted"}[compacted], func(t *testing.T) {
			name, all := e.jungle(t, ctx, r, partitions, compacted)
			for i := range 15 {
				req := kafka.ScanRequest{Topic: name, Backwards: r.IntN(2) == 0, Limit: 1 + r.IntN(100)}
				want := map[string]bool{}
				every := []int{1, 1, 3, 50}[r.IntN(4)]
				matches := func(rec *stream.Record) bool {
					var n int
					fmt.Sscan(string(rec.Value), &n)
					return n%every == 0
				}
				if every > 1 {
					req.Match = func(rec *stream.Record) (bool, error) { return matches(rec), nil }
				}
				for j := range all {
					if matches(&all[j]) {
						want[place(&all[j])] = true
					}
				}
				if r.IntN(3) == 0 {
					req.MaxRecords = 20 + int64(r.IntN(80))
				}
				got := map[string]bool{}
				pages := 0
				for ; pages < 5000; pages++ {
					page, err := e.c.Scan(ctx, req)
					must(t, err)
					if len(page.Records) > req.Limit {
						t.Fatalf("%d records, limit %d", len(page.Records), req.Limit)
					}
					for i := range page.Records {
						at := place(&page.Records[i])
						if got[at] || !want[at] {
							t.Fatalf("case %d %+v page %d: %s again, or not asked for", i, req, pages, at)
						}
						got[at] = true
					}
					if req.Backwards {
						if req.To = (kafka.Point{Offsets: page.Older}); len(page.Older) == 0 {
							break
						}
					} else if req.From = (kafka.Point{Offsets: page.Next}); page.Stopped == kafka.StoppedEnd {
						break
					}
				}
				if compacted { // that may have gone on meanwhile
					left := e.everything(t, ctx, name)
					maps.DeleteFunc(want, func(at string, _ bool) bool { return !got[at] && !left[at] })
				}
				if !maps.Equal(got, want) {
					t.Fatalf("case %d %+v: %d of %d records in %d pages", i, req, len(got), len(want), pages)
				}
			}
		})
	}
}

// Newest first means by time over all partitions, and a page looks at little more than it shows.
func testNewest(t *testing.T, ctx context.Context, e *env) {
	name := e.topic(t, ctx, 3, nil)
	cl := plainClient(t, e.addr, kgo.ProducerLinger(20*time.Millisecond))
	base := time.Now().Add(-time.Hour).Truncate(time.Second)
	var recs []*kgo.Record
	for i := range 3000 { // partition 2 is quiet, and then alone
		p := int32(i % 2)
		if i%100 == 0 || i > 2900 {
			p = 2
		}
		recs = append(recs, &kgo.Record{Topic: name, Partition: p, Value: fmt.Appendf(nil, "%d", i), Timestamp: base.Add(time.Duration(i) * time.Second)})
	}
	must(t, cl.ProduceSync(ctx, recs...).FirstErr())
	values := func(r kafka.ScanResult) (all []string) {
		for _, rec := range r.Records {
			all = append(all, string(rec.Value))
		}
		return all
	}
	req := kafka.ScanRequest{Topic: name, Backwards: true, Limit: 250}
	for want := 2999; want > 0; {
		page, err := e.c.Scan(ctx, req)
		must(t, err)
		got := values(page)
		slices.Reverse(got)
		for _, v := range got {
			if v != fmt.Sprint(want) {
				t.Fatalf("%s where %d is next", v, want)
			}
			want--
		}
		if page.Scanned > int64(4*req.Limit) {
			t.Errorf("looked at %d for %d", page.Scanned, len(got))
		}
		req.To = kafka.Point{Offsets: page.Older}
	}
	// A range is fixed by two times; what is newer is not looked at.
	page, err := e.c.Scan(ctx, kafka.ScanRequest{Topic: name, From: kafka.Point{Time: base.Add(100 * time.Second)}, To: kafka.Point{Time: base.Add(110 * time.Second)}, Limit: 1000})
	must(t, err)
	if got := strings.Join(values(page), " "); got != "100 101 102 103 104 105 106 107 108 109" || page.Stopped != kafka.StoppedEnd || page.Scanned != 10 {
		t.Errorf("between two times: %s, %+v", got, page)
	}
	page, err = e.c.Scan(ctx, kafka.ScanRequest{Topic: name, From: kafka.Point{Offsets: map[int32]int64{0: 700}}, Limit: 500})
	must(t, err)
	if page.Scanned != 500 || len(page.Records) != 500 || page.Next[0] != 1200 || page.Older[0] != 700 || len(page.Next) != 1 {
		t.Errorf("a page of the grid: %+v", page)
	}
	page, err = e.c.Scan(ctx, kafka.ScanRequest{Topic: name, Partitions: []int32{2}, Limit: 2})
	must(t, err)
	if got := values(page); len(page.Window) != 1 || strings.Join(got, " ") != "0 100" {
		t.Errorf("one partition: %v", got)
	}
}

// A scan from the ends is held until there is something that it asks for.
func testHeld(t *testing.T, ctx context.Context, e *env) {
	name := e.topic(t, ctx, 2, nil)
	cl := plainClient(t, e.addr)
	put(t, ctx, cl, name, 0, "old")
	ends, err := e.c.Scan(ctx, kafka.ScanRequest{Topic: name, From: kafka.Point{Newest: true}})
	must(t, err)
	if len(ends.Records) != 0 || ends.Next[0] != 1 || ends.Next[1] != 0 {
		t.Fatalf("%+v", ends)
	}
	req := kafka.ScanRequest{Topic: name, From: kafka.Point{Offsets: ends.Next}, Wait: 30 * time.Second,
		Match: func(r *stream.Record) (bool, error) { return string(r.Value) == "wanted", nil }}
	type answer struct {
		kafka.ScanResult
		err error
	}
	held := make(chan answer, 1)
	go func() {
		r, err := e.c.Scan(ctx, req)
		held <- answer{r, err}
	}()
	put(t, ctx, cl, name, 1, "other")
	put(t, ctx, cl, name, 1, "wanted")
	got := <-held
	must(t, got.err)
	if len(got.Records) != 1 || got.Next[1] != 2 || got.Scanned != 2 {
		t.Errorf("%+v", got)
	}
	leaving, leave := context.WithCancel(ctx)
	go func() {
		r, err := e.c.Scan(leaving, kafka.ScanRequest{Topic: name, From: kafka.Point{Newest: true}, Wait: time.Hour})
		held <- answer{r, err}
	}()
	leave()
	if got = <-held; got.err == nil && got.Stopped != kafka.StoppedCancelled {
		t.Errorf("%+v", got)
	}
}
