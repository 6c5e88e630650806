package freshness_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"freshet/backend/clock"
	"freshet/backend/stream"
	"freshet/probes"
	"freshet/probes/freshness"
	"freshet/probes/lag"
	"freshet/probes/probestest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a source, its capture, a topic, a sink and a group, of which the whole truth is kept.
type world struct {
	rnd     *rand.Rand
	cluster *probestest.Cluster
	offset  time.Duration // the source's clock minus ours
	slack   float64

	mu       sync.Mutex
	source   probes.SourceProgress
	sink     probes.SinkProgress
	changes  []*change
	lsn      uint64
	received int // of changes
	appended int
	deaf     bool // the source is not reached
	logDown  bool
	stopped  bool  // the sink
	trouble  bool  // there is some, or was just now
	told     int64 // the sink's progress
	idle     bool
}

// change is one row change and when it really came where, by our clock.
type change struct {
	lsn                           uint64
	commit                        time.Time
	received, appended, by        time.Time // by: the log had it, and the capture knew
	applied, before, after, group time.Time
	offset                        int64
}

var orders = stream.TopicPartition{Topic: "shop.public.orders"}

func newWorld(seed uint64) *world {
	rnd := rand.New(rand.NewPCG(seed, 7))
	w := &world{rnd: rnd, offset: time.Duration(rnd.IntN(4001)-2000) * time.Millisecond, slack: 0.02, lsn: 1000}
	delays := rand.New(rand.NewPCG(seed, 8))
	w.cluster = probestest.New("embedded", func() time.Duration { return time.Duration(delays.IntN(4)) * time.Millisecond })
	w.cluster.Topic(orders.Topic, 1, stream.CreateTime)
	told := float64(w.offset)/1e9 + (rnd.Float64()*2-1)*w.slack
	w.source = probes.SourceProgress{Source: "shop", Cluster: "embedded", State: "streaming", ClockOffset: told, ClockError: w.slack,
		Tables: map[string]string{"public.orders": orders.Topic}}
	w.sink = probes.SinkProgress{Sink: "warehouse", Cluster: "embedded", Topic: orders.Topic, State: "running", NextAt: time.Now()}
	return w
}

func (w *world) do(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// ms is a random time up to n milliseconds.
func ms(rnd *rand.Rand, n int) time.Duration { return time.Duration(rnd.IntN(n)+1) * time.Millisecond }

func (w *world) run(ctx context.Context, seed uint64) {
	part := func(n uint64, f func(rnd *rand.Rand)) {
		go f(rand.New(rand.NewPCG(seed, 100+n)))
	}
	part(0, func(rnd *rand.Rand) { // the application
		pace := []int{20, 300, 2500}[rnd.IntN(3)]
		for clock.Sleep(ctx, ms(rnd, pace)) == nil {
			w.do(func() {
				w.lsn += uint64(rnd.IntN(100) + 1)
				if rnd.IntN(3) > 0 && !w.idle {
					w.lsn++
					w.changes = append(w.changes, &change{lsn: w.lsn, commit: time.Now().Truncate(time.Microsecond), offset: -1})
				}
			})
		}
	})
	part(1, func(rnd *rand.Rand) { // the capture receives
		for clock.Sleep(ctx, ms(rnd, 60)) == nil {
			w.do(func() {
				if w.deaf {
					return
				}
				w.source.Received, w.source.ReceivedAt = w.lsn+1, time.Now()
				for w.received < len(w.changes) {
					w.changes[w.received].received = time.Now()
					w.received++
				}
				w.pending()
			})
		}
	})
	part(2, func(rnd *rand.Rand) { // the server tells how far it is
		for clock.Sleep(ctx, ms(rnd, 900)) == nil {
			w.do(func() {
				if !w.deaf {
					w.source.ServerEnd, w.source.ServerEndAt = w.lsn+1, time.Now()
				}
			})
		}
	})
	part(3, func(rnd *rand.Rand) { // the capture appends
		for clock.Sleep(ctx, ms(rnd, 40)) == nil {
			var batch []*change
			w.do(func() {
				if !w.logDown {
					batch = w.changes[w.appended:w.received]
				}
				for _, c := range batch {
					us := strconv.FormatInt(c.commit.Add(w.offset).UnixMicro(), 10)
					c.offset = w.cluster.Produce(orders, time.Now(), stream.Header{Key: stream.CommitTimeHeader, Value: []byte(us)})
					c.appended = time.Now()
				}
			})
			if len(batch) == 0 || clock.Sleep(ctx, ms(rnd, 5)) != nil {
				continue
			}
			w.do(func() {
				last := batch[len(batch)-1]
				for _, c := range batch {
					c.by = time.Now()
				}
				w.appended += len(batch)
				w.source.Appended, w.source.AppendedAt = last.lsn+1, time.Now()
				w.source.LastCommit, w.source.LastAppended = last.commit.Add(w.offset), time.Now()
				w.pending()
			})
		}
	})
	part(4, func(rnd *rand.Rand) { // the sink
		pace := []int{20, 200, 600}[rnd.IntN(3)]
		for clock.Sleep(ctx, ms(rnd, pace)) == nil {
			var batch []*change
			w.do(func() {
				if end := w.cluster.End(orders); !w.stopped {
					for i := w.sink.Next; i < min(end, w.sink.Next+200); i++ {
						batch = append(batch, w.changes[i])
					}
				}
			})
			if len(batch) == 0 {
				continue
			}
			before := time.Now()
			_ = clock.Sleep(ctx, ms(rnd, 20))
			at := time.Now()
			_ = clock.Sleep(ctx, ms(rnd, 20))
			w.do(func() {
				b := probes.Applied{From: w.sink.Next, Next: w.sink.Next + int64(len(batch)), Before: before, After: time.Now(),
					OldestCommit: batch[0].commit.Add(w.offset), NewestCommit: batch[len(batch)-1].commit.Add(w.offset)}
				for _, c := range batch {
					c.before, c.applied, c.after = before, at, b.After
				}
				w.sink.Next, w.sink.NextAt = b.Next, b.After
				w.sink.Recent = append(w.sink.Recent, b)
				if len(w.sink.Recent) > 64 {
					w.sink.Recent = w.sink.Recent[1:]
				}
			})
		}
	})
	part(5, func(rnd *rand.Rand) { // a group
		w.cluster.Join("mailer", "m", orders)
		w.cluster.Commit("mailer", orders, 0)
		var next int64
		for clock.Sleep(ctx, ms(rnd, 1000)) == nil {
			end := w.cluster.End(orders)
			w.do(func() {
				if w.stopped {
					end = next
				}
				for ; next < end; next++ {
					w.changes[next].group = time.Now()
				}
				w.cluster.Commit("mailer", orders, next)
			})
		}
	})
}

// pending is called with mu held.
func (w *world) pending() {
	w.source.Pending = time.Time{}
	if w.appended < w.received {
		w.source.Pending = w.changes[w.appended].commit.Add(w.offset)
	}
}

func (w *world) feeds(lp *lag.Probe) freshness.Feeds {
	return freshness.Feeds{
		Sources: func() []probes.SourceProgress {
			w.mu.Lock()
			defer w.mu.Unlock()
			return []probes.SourceProgress{w.source}
		},
		Sinks: func() []probes.SinkProgress {
			w.mu.Lock()
			defer w.mu.Unlock()
			s := w.sink
			w.told = s.Next
			s.Recent = append([]probes.Applied(nil), s.Recent...)
			return []probes.SinkProgress{s}
		},
		Lag:      func() []*lag.Probe { return []*lag.Probe{lp} },
		Clusters: func() []probes.Cluster { return []probes.Cluster{w.cluster} },
	}
}

const (
	toSink  = "shop/public.orders/sink:warehouse"
	toGroup = "shop/public.orders/group:mailer"
)

func round(t *testing.T, p *freshness.Probe) *freshness.Detail {
	t.Helper()
	r, err := p.Round(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r.Detail.(*freshness.Detail)
}

func path(t *testing.T, d *freshness.Detail, name string) freshness.Path {
	t.Helper()
	p, ok := d.Path(name)
	if !ok {
		t.Fatalf("no path %s in %+v", name, d)
	}
	return p
}

// holds reports whether v lies within a reading's bounds; a missing bound holds everything.
func holds(r stream.Reading, v float64) bool {
	const rounding = 1e-5
	return r.Known() && !(r.Low > v+rounding) && !(r.High < v-rounding)
}

func width(r stream.Reading) float64 { return r.High - r.Low }

// Whatever happens on the way: a reading holds the delays of the changes that came in its round and is never below the
// age of a change that has not come; where nothing came and something waits it is that age, from both sides. A row's
// delivery holds when it really came, and is close.
func TestBoundsHoldTheTruth(t *testing.T) {
	seeds := 12
	if os.Getenv("FRESHET_PROOF") == "1" {
		seeds = 600
	}
	var sum tally
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { history(t, uint64(seed), &sum) })
		})
	}
	t.Logf("%+v", sum)
	if sum.known < 1000 || sum.normal < 500 || sum.waiting < 100 || sum.unknown < 20 || sum.rows < 10000 || float64(sum.wide) > 0.01*float64(sum.normal) {
		t.Errorf("%+v: the test says little, or readings are wide", sum)
	}
}

type tally struct{ known, unknown, waiting, normal, wide, rows int }

func history(t *testing.T, seed uint64, sum *tally) {
	w := newWorld(seed)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.run(ctx, seed)
	lp := lag.New(w.cluster, lag.Options{Every: time.Second})
	p := freshness.New(w.feeds(lp), freshness.Options{})
	go func() { // trouble
		rnd := rand.New(rand.NewPCG(seed, 9))
		for clock.Sleep(ctx, 20*time.Second+ms(rnd, 20000)) == nil {
			length := 5*time.Second + ms(rnd, 30000)
			w.do(func() { w.trouble = true })
			switch rnd.IntN(4) {
			case 0:
				w.do(func() { w.stopped = true })
				_ = clock.Sleep(ctx, length)
				w.do(func() { w.stopped = false })
			case 1:
				w.do(func() { w.deaf, w.source.State, w.source.Why = true, "reconnecting", "connection refused" })
				_ = clock.Sleep(ctx, length)
				w.do(func() { w.deaf, w.source.State, w.source.Why = false, "streaming", "" })
			case 2:
				w.do(func() { w.logDown = true })
				_ = clock.Sleep(ctx, length)
				w.do(func() { w.logDown = false })
			case 3:
				w.do(func() { w.idle = true })
				_ = clock.Sleep(ctx, 3*length)
				w.do(func() { w.idle = false })
			}
			_ = clock.Sleep(ctx, 4*time.Second) // until what waited has come
			w.do(func() { w.trouble = false })
		}
	}()
	_ = clock.Sleep(ctx, 3*time.Second)
	var before time.Time
	var lastGroup time.Time
	var groupBefore, nextBefore int64
	for i := range 150 {
		if _, err := lp.Round(ctx); err != nil {
			t.Fatal(err)
		}
		_ = clock.Sleep(ctx, ms(w.rnd, 300))
		d := round(t, p)
		w.do(func() {
			x := path(t, d, toSink)
			next, first := w.told, before.IsZero()
			w.check(t, x, d.At, func(c *change) arrived {
				return arrived{c.applied, c.offset >= 0 && c.offset < next, c.offset >= nextBefore && !first}
			}, sum, i > 3)
			nextBefore = next
			lg, _ := lp.Detail().Group("mailer")
			if committed := lg.Partitions[0].Committed; lp.Detail().At.After(lastGroup) {
				first := lastGroup.IsZero()
				lastGroup = lp.Detail().At
				w.check(t, path(t, d, toGroup), lastGroup, func(c *change) arrived {
					return arrived{c.group, c.offset >= 0 && c.offset < committed, c.offset >= groupBefore && !first}
				}, nil, i > 3)
				groupBefore = committed
			}
			for _, h := range x.Hops[:2] {
				if h.Seconds.Known() && math.IsNaN(h.Seconds.Value) {
					t.Fatalf("%+v", h)
				}
			}
		})
		before = d.At
		_ = clock.Sleep(ctx, time.Second-ms(w.rnd, 300))
	}
	w.do(func() {
		for _, c := range w.changes {
			if c.offset < 0 || c.by.IsZero() {
				continue
			}
			row := freshness.Row{Cluster: "embedded", Topic: orders.Topic, Offset: c.offset, Commit: c.commit.Add(w.offset),
				Position: stream.Position{Source: "pg/1/s/0", Commit: c.lsn}, Time: c.appended, TimeType: stream.CreateTime}
			for _, a := range p.Delivery(row) {
				var came, seen time.Time
				limit := 2 + 0.06*time.Since(c.appended).Seconds()
				switch a.To {
				case "captured":
					came, seen = c.received, c.by
				case "topic":
					came, seen = c.appended, c.by
				case "sink:warehouse":
					came, seen, limit = c.applied, c.after, 2
				case "group:mailer":
					came, seen, limit = c.group, c.group, limit+1
				}
				if a.State == "waiting" {
					if !seen.IsZero() && seen.Before(before.Add(-2*time.Second)) {
						t.Fatalf("offset %d came to %s, and is said to wait", c.offset, a.To)
					}
					continue
				}
				if !holds(a.Delay, came.Sub(c.commit).Seconds()) {
					t.Fatalf("offset %d came to %s after %v: %+v", c.offset, a.To, came.Sub(c.commit), a)
				}
				if c.commit.Sub(w.changes[0].commit) > 20*time.Second && width(a.Delay) > limit {
					t.Fatalf("offset %d, committed %v and appended %v, came to %s after %v: wide %+v", c.offset, c.commit, c.appended, a.To, came.Sub(c.commit), a)
				}
				sum.rows++
			}
		}
	})
}

// arrived is when a change came to the end of a path, whether that could be seen, and not before this round.
type arrived struct {
	at        time.Time
	seen, now bool
}

// check compares a reading with the truth.
func (w *world) check(t *testing.T, x freshness.Path, at time.Time, end func(*change) arrived, sum *tally, watched bool) {
	t.Helper()
	if !x.Total.Known() {
		if sum != nil {
			sum.unknown++
		}
		return
	}
	var oldest *change // that has not come
	var came []*change // in this round
	inTopic := false
	for _, c := range w.changes {
		if c.commit.After(at) {
			break
		}
		a := end(c)
		switch {
		case !a.seen:
			if oldest == nil {
				oldest = c
				inTopic = !c.appended.IsZero() && c.appended.Before(at) // what came in this very instant may be seen or not
			}
		case a.now:
			came = append(came, c)
			if d := a.at.Sub(c.commit).Seconds(); !holds(x.Total, d) {
				t.Fatalf("%s at %v: a change came after %.3f s, and it reads %+v", x.Name, at, d, x.Total)
			}
		}
	}
	if oldest != nil {
		if age := at.Sub(oldest.commit).Seconds(); x.Total.High < age-1e-5 {
			t.Fatalf("%s at %v: a change is %.3f s old and has not come, and it reads %+v\n%+v\n%+v", x.Name, at, age, x.Total, oldest, w.source)
		} else if len(came) == 0 && inTopic && !holds(x.Total, age) {
			t.Fatalf("%s at %v: nothing came, a change waits for %.3f s, and it reads %+v", x.Name, at, age, x.Total)
		}
	}
	if sum == nil {
		return
	}
	sum.known++
	if len(came) == 0 && inTopic {
		sum.waiting++
		if watched && width(x.Total) > 0.5 {
			t.Fatalf("%s at %v: a waiting change is read %+v", x.Name, at, x.Total)
		}
	}
	if !w.trouble {
		sum.normal++
		if watched && !(width(x.Total) <= 2) {
			sum.wide++
		}
	}
}

func TestStoppedSinkAndSilentSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		w.offset, w.source.ClockOffset, w.source.ClockError = 0, 0, 0.005
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w.run(ctx, 1)
		lp := lag.New(w.cluster, lag.Options{Every: time.Second})
		p := freshness.New(w.feeds(lp), freshness.Options{Objective: func(string) float64 { return 15 }})
		var d *freshness.Detail
		run := func(seconds int) {
			for range seconds {
				if _, err := lp.Round(ctx); err != nil {
					t.Fatal(err)
				}
				d = round(t, p)
				_ = clock.Sleep(ctx, time.Second)
			}
		}
		run(20)
		if x := path(t, d, toSink); x.State != freshness.OnTime || !(width(x.Total) <= 2) || !(x.Total.Value < 2) || len(x.Hops) != 3 {
			t.Errorf("running: %+v", x)
		}
		w.do(func() { w.stopped, w.sink.State = true, "retrying" })
		run(10)
		if x := path(t, d, toSink); x.State != freshness.OnTime || x.Trend != probes.Rising || x.Total.Low < 8 || !(width(x.Total) <= 2) {
			t.Errorf("stopped for 10 s: %+v", x)
		}
		run(3)
		if x := path(t, d, toSink); x.State != freshness.AtRisk {
			t.Errorf("stopped for 13 s: %+v", x)
		}
		run(20)
		x := path(t, d, toSink)
		if x.State != freshness.Late || x.Total.Low < 30 || !strings.Contains(x.Why, "the objective is 15.0 s") || !(width(x.Total) <= 2) {
			t.Errorf("stopped for 33 s: %+v", x)
		}
		w.do(func() { w.sink.State = "paused" })
		run(1)
		if x = path(t, d, toSink); x.State != freshness.Paused || x.Total.Low < 31 {
			t.Errorf("paused: %+v", x)
		}
		w.do(func() { w.stopped, w.sink.State = false, "running" })
		run(5)
		if x = path(t, d, toSink); x.State != freshness.OnTime || x.Worst.Value < 30 {
			t.Errorf("running again: %+v", x)
		}
		w.do(func() { w.deaf, w.source.State, w.source.Why = true, "reconnecting", "connection refused" })
		run(10)
		x = path(t, d, toSink)
		if x.State != freshness.Unknown || x.Total.Known() || !strings.Contains(x.Total.Why, "reconnecting: connection refused") {
			t.Errorf("source silent for 10 s: %+v", x)
		}
		if h := x.Hops[2].Seconds; !h.Known() {
			t.Errorf("nothing waits in the topic, which needs no source to know: %+v", h)
		}
		run(60)
		if x = path(t, d, toSink); x.State != freshness.Dead || x.Total.Known() {
			t.Errorf("source silent for 70 s: %+v", x)
		}
		w.do(func() { w.deaf, w.idle, w.source.State, w.source.Why = false, true, "streaming", "" })
		run(70)
		if x = path(t, d, toSink); x.State != freshness.Idle || !(x.Total.High <= 2) {
			t.Errorf("idle: %+v", x)
		}
		for range 12 { // the groups are not read any more
			d = round(t, p)
			_ = clock.Sleep(ctx, time.Second)
		}
		if x = path(t, d, toGroup); x.State != freshness.Unknown || !strings.HasPrefix(x.Total.Why, "the groups were last read 1") {
			t.Errorf("no groups: %+v", x)
		}
		w.cluster.Fail("Topics", errors.New("connection refused"))
		run(2)
		if x = path(t, d, toSink); x.State != freshness.Unknown || !strings.Contains(x.Total.Why, "connection refused") {
			t.Errorf("no ends: %+v", x)
		}
	})
}

func TestWithoutClockAndWithoutWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(2)
		w.source.ClockOffset, w.source.ClockError = math.NaN(), math.NaN()
		p := freshness.New(w.feeds(lag.New(w.cluster, lag.Options{})), freshness.Options{})
		x := path(t, round(t, p), toSink)
		if x.Total.Known() || x.Total.Why != "the source has not told yet how far it is" || x.State != freshness.Unknown {
			t.Errorf("%+v", x)
		}
		w.source.ServerEnd, w.source.ServerEndAt, w.source.Received = 5, time.Now(), 5
		time.Sleep(time.Second)
		if x = path(t, round(t, p), toSink); x.Total.State != stream.Estimate || x.Total.Why != "the source's clock was not compared with ours" || x.Total.High != 1 {
			t.Errorf("%+v", x)
		}
		w.source.State = "snapshot"
		if x = path(t, round(t, p), toSink); x.Total.Known() || x.Total.Why != "the first snapshot is being read" {
			t.Errorf("%+v", x)
		}
	})
}
