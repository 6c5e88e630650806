package lag_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"freshet/backend/clock"
	"freshet/backend/stream"
	"freshet/probes"
	"freshet/probes/lag"
	"freshet/probes/probestest"
)

func TestMain(m *testing.M) {
	if spec := os.Getenv("FRESHET_TEST_CONSUMER"); spec != "" {
		if err := consumer(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func tp(topic string, partition int32) stream.TopicPartition {
	return stream.TopicPartition{Topic: topic, Partition: partition}
}

func round(t *testing.T, p *lag.Probe) *lag.Detail {
	t.Helper()
	r, err := p.Round(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r.Detail.(*lag.Detail)
}

func theGroup(t *testing.T, d *lag.Detail, name string) lag.Group {
	t.Helper()
	g, ok := d.Group(name)
	if !ok {
		t.Fatalf("no group %s in %+v", name, d)
	}
	return g
}

// holds reports whether v lies within a reading's bounds; a missing bound holds everything.
func holds(r stream.Reading, v float64) bool {
	const rounding = 1e-6
	return r.Known() && !(r.Low > v+rounding) && !(r.High < v-rounding)
}

// Whatever producers, consumers, retention, elections and transactions do, the age and the backlog at the moment of the
// commits lie within what the probe says. (What is removed during a round is seen in the next, so it is removed between
// rounds here.)
func TestBoundsHoldTheTruth(t *testing.T) {
	seeds := 60
	if os.Getenv("FRESHET_PROOF") == "1" {
		seeds = 2000
	}
	var known, exact int
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { history(t, uint64(seed), &known, &exact) })
		})
	}
	t.Logf("%d readings checked, %d of them with both bounds", known, exact)
	if known < 1000 || exact < known/2 {
		t.Errorf("%d readings, %d of them with both bounds: the test says little", known, exact)
	}
}

func history(t *testing.T, seed uint64, known, exact *int) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	start := time.Now()
	c := probestest.New("c", func() time.Duration { return time.Duration(rnd.IntN(40)) * time.Millisecond })
	typ := stream.CreateTime
	if seed%4 == 3 {
		typ = stream.AppendTime
	}
	parts := []stream.TopicPartition{tp("a", 0), tp("a", 1), tp("b", 0)}
	c.Topic("a", 2, typ)
	c.Topic("b", 1, typ)
	// What was there before anybody watched.
	for _, at := range parts {
		for range rnd.IntN(5) {
			c.Produce(at, time.Now())
			time.Sleep(time.Duration(rnd.IntN(2000)) * time.Second)
		}
	}
	c.Join("g", "m", parts...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	between := make(chan struct{}, 1)
	cut := make(map[stream.TopicPartition]time.Time)
	for i, at := range parts {
		rnd := rand.New(rand.NewPCG(seed, uint64(10+i)))
		disorder := seed%2 == 1 && i == 0
		marks := i == 1
		go func() {
			pace := []int{10, 300, 3000, 20000}[rnd.IntN(4)]
			for clock.Sleep(ctx, time.Duration(rnd.IntN(pace))*time.Millisecond) == nil {
				switch {
				case marks && rnd.IntN(4) == 0:
					c.Marker(at)
				case disorder && rnd.IntN(3) == 0:
					c.Produce(at, time.Now().Add(-time.Duration(rnd.IntN(7200))*time.Second))
				default:
					c.Produce(at, time.Now())
				}
				switch rnd.IntN(200) {
				case 0:
					between <- struct{}{}
					c.Truncate(at, c.End(at)-int64(rnd.IntN(5)))
					cut[at] = time.Now()
					<-between
				case 1:
					between <- struct{}{}
					c.Trim(at, c.End(at)-int64(rnd.IntN(30)))
					<-between
				case 2:
					_ = clock.Sleep(ctx, time.Duration(rnd.IntN(120))*time.Second)
				}
			}
		}()
		go func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(20+i)))
			if rnd.IntN(6) == 0 {
				return // never commits
			}
			for clock.Sleep(ctx, time.Duration(rnd.IntN(6000))*time.Millisecond) == nil {
				c.Commit("g", at, max(0, c.End(at)-int64(rnd.IntN(4)*rnd.IntN(8))))
				if rnd.IntN(15) == 0 {
					_ = clock.Sleep(ctx, time.Duration(rnd.IntN(300))*time.Second)
				}
			}
		}()
	}
	_ = clock.Sleep(ctx, time.Duration(rnd.IntN(100))*time.Second)

	p := lag.New(c, lag.Options{Every: 2 * time.Second})
	for range 80 {
		between <- struct{}{}
		d := round(t, p)
		g := theGroup(t, d, "g")
		for _, q := range g.Partitions {
			at := tp(q.Topic, q.Partition)
			truth, ok := c.Truth("g", at)
			if !ok {
				if q.Records.Known() || q.Seconds.Known() {
					t.Fatalf("%v has no commit, and reads %+v", at, q)
				}
				continue
			}
			if q.State == lag.PartAhead {
				continue
			}
			age := 0.0
			if truth.Record {
				age = truth.At.Sub(truth.Append).Seconds()
				if q.Basis == lag.ByRecord {
					age = max(0, truth.At.Sub(truth.Create).Seconds())
				}
			}
			waiting := float64(truth.Waiting)
			if !truth.Record {
				waiting = 0
			}
			*known++
			if !math.IsNaN(q.Seconds.High) {
				*exact++
			}
			if !holds(q.Seconds, age) {
				t.Fatalf("%s after %v: %v at %d is %.3f s behind (%+v), and reads %+v (%s, %s) %+v", g.Name, time.Since(start), at,
					truth.Committed, age, truth, q.Seconds, q.Basis, q.State, q)
			}
			if !holds(q.Records, waiting) && !(!truth.Record && q.Records.Low <= float64(truth.Waiting)) {
				t.Fatalf("%v: %v wait, and it reads %+v", at, waiting, q.Records)
			}
			if q.Basis == lag.ByArrival && cut[at].Before(truth.Append.Add(-10*time.Second)) && time.Since(cut[at]) > 10*time.Second && q.Seconds.High-q.Seconds.Low > 3+q.Seconds.High/8 {
				t.Fatalf("%v reads %+v: wider than a round and an eighth of the age", at, q.Seconds)
			}
		}
		<-between
		_ = clock.Sleep(ctx, 2*time.Second-time.Duration(rnd.IntN(300))*time.Millisecond)
	}
}

func TestStoppedConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := probestest.New("c", func() time.Duration { return time.Millisecond })
		c.Topic("orders", 1, stream.CreateTime)
		at := tp("orders", 0)
		c.Join("loader", "m1", at)
		p := lag.New(c, lag.Options{})
		var first time.Time
		for i := range 40 {
			for range 10 {
				c.Produce(at, time.Now())
				time.Sleep(200 * time.Millisecond)
			}
			if i < 10 { // then it is stopped
				c.Commit("loader", at, c.End(at))
				first = time.Time{}
			} else if first.IsZero() {
				first = time.Now().Add(-2 * time.Second)
			}
			d := round(t, p)
			g := theGroup(t, d, "loader")
			switch {
			case i == 9 && g.Code != lag.OK:
				t.Errorf("running: %s %s", g.Code, g.Verdict)
			case i == 15:
				age := time.Since(first).Seconds()
				if g.Trend != probes.Rising || !holds(g.Seconds, age) || g.Records.Value != 60 || g.Seconds.High-g.Seconds.Low > 2.5 {
					t.Errorf("stopped for 10 s: %s, %+v, %+v, true age %v", g.Trend, g.Seconds, g.Records, age)
				}
			case i == 39:
				if g.Code != lag.Stopped || !strings.HasPrefix(g.Verdict, "Stopped: 1 member there, but nothing committed for 1 min") {
					t.Errorf("%s: %s", g.Code, g.Verdict)
				}
				if g.CatchUp.Known() {
					t.Errorf("a stopped group is done in %+v", g.CatchUp)
				}
			}
		}
	})
}

func TestCatchingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := probestest.New("c", nil)
		c.Topic("orders", 1, stream.CreateTime)
		at := tp("orders", 0)
		c.Join("loader", "m1", at)
		for range 1000 {
			c.Produce(at, time.Now())
			time.Sleep(100 * time.Millisecond)
		}
		p := lag.New(c, lag.Options{})
		var g lag.Group
		for i := range 12 {
			c.Commit("loader", at, int64(i*40))
			g = theGroup(t, round(t, p), "loader")
			time.Sleep(2 * time.Second)
		}
		// 560 are left, at 20 a second.
		if g.Trend != probes.Falling || !holds(g.CatchUp, 28) || g.Code != lag.Behind || math.Abs(g.Consumed.Value-20) > 0.5 {
			t.Errorf("%s, %s, done in %+v, consumes %+v", g.Code, g.Trend, g.CatchUp, g.Consumed)
		}
		if !strings.Contains(g.Verdict, "behind, 560 records waiting, falling; done in about 28.0 s") {
			t.Error(g.Verdict)
		}
	})
}

func TestWithoutCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := probestest.New("c", nil)
		c.Topic("orders", 2, stream.CreateTime)
		c.Produce(tp("orders", 0), time.Now())
		c.Join("never", "m1", tp("orders", 0), tp("orders", 1))
		c.Join("partly", "m1", tp("orders", 0), tp("orders", 1))
		c.Commit("partly", tp("orders", 0), 0)
		p := lag.New(c, lag.Options{})
		d := round(t, p)
		g := theGroup(t, d, "never")
		if g.Code != lag.NoCommit || g.Records.Known() || g.Seconds.Known() || g.Records.Why != "no commit in this group yet" || g.NoCommit != 2 {
			t.Errorf("%+v", g)
		}
		g = theGroup(t, d, "partly")
		if g.Records.Value != 1 || !math.IsNaN(g.Records.High) || g.Unread != 1 || !math.IsNaN(g.Seconds.High) ||
			g.Records.Why != "1 of 2 partitions unknown: no commit in this group yet" {
			t.Errorf("%+v", g)
		}
	})
}

func TestTailOfMarkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := probestest.New("c", nil)
		c.Topic("tx", 1, stream.CreateTime)
		at := tp("tx", 0)
		c.Produce(at, time.Now())
		c.Marker(at)
		c.Commit("g", at, 1)
		p := lag.New(c, lag.Options{})
		for range 3 {
			g := theGroup(t, round(t, p), "g")
			if g.Records.Value != 0 || g.Seconds.Value != 0 || g.Partitions[0].State != lag.PartCaughtUp || g.Code != lag.Idle {
				t.Fatalf("%s: %+v", g.Verdict, g)
			}
			time.Sleep(time.Minute)
		}
		if n := c.Calls("First"); n != 1 {
			t.Errorf("%d reads of a commit that stood still", n)
		}
		c.Hold(at)
		c.Produce(at, time.Now())
		time.Sleep(5 * time.Second)
		g := theGroup(t, round(t, p), "g")
		if q := g.Partitions[0]; q.State != lag.PartCaughtUp || q.Seconds.Low != 0 || q.Why == "" || !holds(q.Records, 0) {
			t.Errorf("behind an open transaction: %+v", q)
		}
		c.Release(at)
		g = theGroup(t, round(t, p), "g")
		if q := g.Partitions[0]; q.State != lag.PartBehind || !holds(q.Seconds, 5) || q.Head == nil || q.Head.Offset != 2 {
			t.Errorf("after it: %+v", q)
		}
	})
}

func TestAheadAndLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := probestest.New("c", nil)
		c.Topic("orders", 1, stream.CreateTime)
		at := tp("orders", 0)
		for range 20 {
			c.Produce(at, time.Now())
		}
		c.Commit("g", at, 5)
		p := lag.New(c, lag.Options{})
		c.Trim(at, 12)
		g := theGroup(t, round(t, p), "g")
		if g.Code != lag.Lost || g.Lost != 7 || g.Records.Value != 8 || !strings.HasPrefix(g.Verdict, "7 offsets removed from the log before they were read") {
			t.Errorf("%+v", g)
		}
		c.Commit("g", at, 20)
		c.Topic("orders", 1, stream.CreateTime) // made anew
		reads := c.Calls("Topics")
		g = theGroup(t, round(t, p), "g")
		if g.Code != lag.Ahead || g.Records.Known() || g.Seconds.Known() || c.Calls("Topics") != reads+2 {
			t.Errorf("%s after %d looks: %+v", g.Verdict, c.Calls("Topics")-reads, g)
		}
	})
}

func TestWhatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := probestest.New("c", nil)
		c.Topic("a", 1, stream.CreateTime)
		c.Topic("b", 1, stream.CreateTime)
		for _, at := range []stream.TopicPartition{tp("a", 0), tp("b", 0)} {
			c.Produce(at, time.Now())
			c.Commit("g", at, 0)
		}
		c.Commit("denied", tp("a", 0), 0)
		c.Group("denied", func(g *stream.Group) { g.Err = errors.New("no permission (READ on group denied)") })
		p := lag.New(c, lag.Options{})
		c.Fault(tp("b", 0), errors.New("no leader"))
		d := round(t, p)
		g := theGroup(t, d, "g")
		if g.Records.Value != 1 || !math.IsNaN(g.Records.High) || g.Unread != 1 || g.Records.Why != "1 of 2 partitions unknown: no leader" {
			t.Errorf("%+v", g)
		}
		if g := theGroup(t, d, "denied"); g.Code != lag.Unknown || g.Records.Known() || g.Records.Why != "no permission (READ on group denied)" {
			t.Errorf("%+v", g)
		}
		c.Fail("Topics", errors.New("connection refused"))
		if g := theGroup(t, round(t, p), "g"); g.Code != lag.Unknown || g.Seconds.Known() || !strings.Contains(g.Verdict, "connection refused") {
			t.Errorf("%+v", g)
		}
		c.Fail("Topics", nil)
		c.DropTopic("a")
		c.Fault(tp("b", 0), nil)
		if g := theGroup(t, round(t, p), "g"); g.Unread != 1 || !strings.Contains(g.Records.Why, "no such topic") {
			t.Errorf("%+v", g)
		}
		c.Fail("Groups", errors.New("connection refused"))
		if _, err := p.Round(t.Context()); err == nil {
			t.Error("a round that saw nothing is no error")
		}
	})
}

// A partition whose past was not watched is placed by the broker's time index where nothing may be read.
func TestWithoutReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := probestest.New("c", nil)
		c.Topic("orders", 1, stream.CreateTime)
		at := tp("orders", 0)
		start := time.Now()
		for range 5000 {
			c.Produce(at, time.Now())
			time.Sleep(time.Minute)
		}
		for _, commit := range []int64{0, 100, 3000, 4500, 4995} {
			c.Commit(fmt.Sprint("at", commit), at, commit)
		}
		p := lag.New(c, lag.Options{Reads: -1})
		var d *lag.Detail
		for range 3 {
			d = round(t, p)
			time.Sleep(time.Millisecond)
		}
		for _, commit := range []int64{0, 100, 3000, 4500, 4995} {
			q := theGroup(t, d, fmt.Sprint("at", commit)).Partitions[0]
			age := time.Since(start.Add(time.Duration(commit) * time.Minute)).Seconds()
			if !holds(q.Seconds, age-0.001) || q.Seconds.High-q.Seconds.Low > 4+age/10 {
				t.Errorf("%d is %v behind and reads %+v", commit, age, q.Seconds)
			}
		}
		if c.Calls("First") > 0 {
			t.Error("read, though told not to")
		}
		n := c.Calls("OffsetsAfter")
		round(t, p)
		if c.Calls("OffsetsAfter") != n {
			t.Error("asks again for what it knows")
		}
	})
}
