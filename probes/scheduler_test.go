package probes_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/probes"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type probe struct {
	name  string
	every time.Duration
	round func(context.Context) (probes.Round, error)
}

func (p probe) Name() string                                    { return p.name }
func (p probe) Every() time.Duration                            { return p.every }
func (p probe) Round(ctx context.Context) (probes.Round, error) { return p.round(ctx) }
func at(n int) (probes.Round, error) {
	return probes.Round{At: time.Now(), Detail: n, Points: points}, nil
}

var points = []probes.Point{{Series: probes.Series{Metric: "m", Partition: -1}, Reading: stream.ExactReading(1, "s", time.Unix(0, 0))}}

type recorder struct {
	appended atomic.Int64
	err      atomic.Value
}

func (r *recorder) Append(ctx context.Context, at time.Time, points []probes.Point) error {
	if err, _ := r.err.Load().(error); err != nil {
		return err
	}
	r.appended.Add(int64(len(points)))
	return nil
}

func (r *recorder) Range(context.Context, probes.Series, time.Time, time.Time, int) ([]probes.Point, error) {
	return nil, nil
}

func TestRoundsKeepTheGrid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var begun []time.Duration
		var inside atomic.Int32
		took := []time.Duration{100, 2500, 100, 100}
		p := probe{"p", time.Second, func(context.Context) (probes.Round, error) {
			if inside.Add(1) != 1 {
				t.Error("two rounds at once")
			}
			defer inside.Add(-1)
			begun = append(begun, time.Since(start))
			time.Sleep(took[min(len(begun), len(took))-1] * time.Millisecond)
			return at(len(begun))
		}}
		rec := new(recorder)
		heard := 0
		s := probes.NewScheduler(probes.Options{Recorder: rec, OnRound: func(name string, r probes.Round) { heard++ }}, p)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(5*time.Second + 500*time.Millisecond)
		if err := s.Run(ctx); !fault.Is(err, fault.Conflict) {
			t.Error(err)
		}
		st := s.Status()[0]
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		want := []time.Duration{0, 1, 4, 5} // the round at 1 s takes 2.5 s
		if len(begun) != len(want) {
			t.Fatal(begun)
		}
		for i := range want {
			if begun[i] != want[i]*time.Second {
				t.Fatal(begun)
			}
		}
		if st.Rounds != 4 || st.Last.Detail != 4 || st.LastTook != 100*time.Millisecond || st.Err != nil || heard != 4 || rec.appended.Load() != 4 {
			t.Errorf("%+v, %d heard", st, heard)
		}
	})
}

func TestRoundsThatSeeNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		p := probe{"p", time.Second, func(ctx context.Context) (probes.Round, error) {
			switch n++; n {
			case 2:
				return probes.Round{}, errors.New("connection refused")
			case 3:
				<-ctx.Done() // hangs until its deadline
				return probes.Round{}, ctx.Err()
			}
			return at(n)
		}}
		rec := new(recorder)
		rec.err.Store(errors.New("disk full"))
		s := probes.NewScheduler(probes.Options{Recorder: rec, Deadline: 3 * time.Second}, p)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(1500 * time.Millisecond)
		st, _ := s.Last("p")
		if st.Err == nil || st.Last.Detail != 1 || st.Errors != 1 || st.Unstored != 1 || st.StoreErr == nil {
			t.Errorf("%+v", st)
		}
		time.Sleep(4 * time.Second)
		if st, _ = s.Last("p"); !fault.Is(st.Err, fault.Timeout) || st.Last.Detail != 1 || st.Errors != 2 {
			t.Errorf("%+v", st)
		}
		time.Sleep(time.Second)
		if st, _ = s.Last("p"); st.Err != nil || st.Last.Detail != 4 || st.Rounds != 2 {
			t.Errorf("%+v", st)
		}
		cancel()
		<-done
	})
}

func TestAddAndRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counts := map[string]*atomic.Int64{"a": {}, "b": {}}
		mk := func(name string) probe {
			return probe{name, time.Second, func(ctx context.Context) (probes.Round, error) {
				counts[name].Add(1)
				return at(1)
			}}
		}
		s := probes.NewScheduler(probes.Options{}, mk("a"))
		if err := s.Add(mk("a")); !fault.Is(err, fault.Exists) {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		if err := s.Add(mk("b")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2500 * time.Millisecond)
		s.Remove("a")
		s.Remove("nobody")
		time.Sleep(2 * time.Second)
		cancel()
		<-done
		if a, b := counts["a"].Load(), counts["b"].Load(); a != 3 || b != 5 {
			t.Error(a, b)
		}
		if st := s.Status(); len(st) != 1 || st[0].Name != "b" {
			t.Errorf("%+v", st)
		}
	})
}

// agingDetail is a Detail of one reading.
type agingDetail struct{ r stream.Reading }

func (d agingDetail) Aged(why string) any {
	probes.Aged(why, &d.r)
	return d
}

func TestOldRoundsAreUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		p := probe{"p", time.Second, func(ctx context.Context) (probes.Round, error) {
			if n++; n > 1 {
				return probes.Round{}, errors.New("connection refused")
			}
			return probes.Round{At: time.Now(), Detail: agingDetail{stream.ExactReading(0, "s", time.Now())}}, nil
		}}
		s := probes.NewScheduler(probes.Options{}, p)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(9 * time.Second)
		st, _ := s.Last("p")
		if r := st.Last.Detail.(agingDetail).r; !r.Known() || r.Value != 0 {
			t.Errorf("after 9 s: %+v", r)
		}
		time.Sleep(3 * time.Second)
		st, _ = s.Last("p")
		if r := st.Last.Detail.(agingDetail).r; r.Known() || r.Why != "last read 12.0 s ago: connection refused" || r.Unit != "s" {
			t.Errorf("after 12 s: %+v", r)
		}
		cancel()
		<-done
	})
}
