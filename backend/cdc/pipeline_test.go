package cdc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"freshet/backend/cdc"
	"freshet/backend/cdc/cdctest"
	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/probes"
)

// script is a source that does as it is told.
type script struct {
	mu   sync.Mutex
	runs int
	run  func(ctx context.Context, w *cdc.Writer, n int) error
	drop func() error
}

func (s *script) Run(ctx context.Context, w *cdc.Writer) error {
	s.mu.Lock()
	s.runs++
	n := s.runs
	s.mu.Unlock()
	return s.run(ctx, w, n)
}

func (s *script) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runs
}

func (s *script) Position(context.Context) (uint64, error) { return 0, nil }

func (s *script) Topics() []string { return []string{"*"} }

func (s *script) Slot(context.Context) (probes.SlotStatus, error) { return probes.SlotStatus{}, nil }

func (s *script) Drop(context.Context, cdc.State) error {
	if s.drop != nil {
		return s.drop()
	}
	return nil
}

// world is a pipeline over a log and a store in memory.
type world struct {
	log      *cdctest.Log
	store    *cdctest.Store
	options  cdc.PipelineOptions
	pipeline *cdc.Pipeline
	cancel   context.CancelFunc
	ended    chan struct{}
}

func newWorld(s cdc.Source) *world {
	w := &world{log: cdctest.NewLog(8), store: cdctest.NewStore()}
	w.options = cdc.PipelineOptions{
		Stored: cdc.Stored{Options: cdc.Options{Name: "shop"}, State: cdc.State{Source: "s"}}, Source: s, Log: w.log, Schemas: w.store, Store: w.store,
	}
	return w
}

// start goes on from what is stored.
func (w *world) start() {
	if stored, ok := w.store.Source("shop"); ok {
		w.options.Stored = stored
	}
	w.pipeline = cdc.NewPipeline(w.options)
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(context.Background())
	w.ended = make(chan struct{})
	go func() {
		defer close(w.ended)
		w.pipeline.Run(ctx)
	}()
}

func (w *world) stop() {
	w.cancel()
	<-w.ended
}

func (w *world) end() {
	w.stop()
	w.log.Close()
}

func started(s cdc.Source) *world {
	w := newWorld(s)
	w.start()
	return w
}

// streams is a source that streams one transaction and no more.
func streams(ctx context.Context, w *cdc.Writer, values ...string) error {
	w.SetState(cdc.Streaming, "")
	w.Begin(1, time.Time{})
	for _, v := range values {
		if err := put(ctx, w, "t", v); err != nil {
			return err
		}
	}
	w.Commit(2)
	<-ctx.Done()
	return nil
}

func values(records []stream.Record) (all []string) {
	for _, r := range records {
		all = append(all, string(r.Value))
	}
	return all
}

// put appends one record with a value.
func put(ctx context.Context, w *cdc.Writer, topic, value string) error {
	t, err := w.Topic(ctx, topic)
	if err != nil {
		return err
	}
	if !w.Has(t) {
		r := w.Record()
		r.Key = append(r.Key, 'k')
		r.Value = append(r.Value, value...)
		if err := w.Append(ctx, t, r); err != nil {
			return err
		}
	}
	w.Next()
	return nil
}

// history is what a database has committed: transactions of some changes each, transaction n from 10n to 10n+10.
type history []int

const historyEnd = 10

// before are the changes of a topic that are committed before end.
func (h history) before(topic string, end uint64) (all []string) {
	for tx := range min(len(h), int(end/historyEnd)) {
		for n := range h[tx] {
			if h.topic(tx, n) == topic {
				all = append(all, h.value(tx, n))
			}
		}
	}
	return all
}

func (h history) topics() []string { return []string{"t0", "t1", "t2"} }

func (h history) topic(tx, n int) string { return fmt.Sprint("t", (tx*7+n*3)%3) }

func (h history) value(tx, n int) string { return fmt.Sprintf("%d.%d", tx, n) }

// checkedStore looks at every position before it is kept.
type checkedStore struct {
	*cdctest.Store
	check func(cdc.State)
}

func (c checkedStore) SaveSource(ctx context.Context, s cdc.Stored) error {
	c.check(s.State)
	return c.Store.SaveSource(ctx, s)
}

// TestOnce captures one history over runs that are cut anywhere, a log that stalls and refuses, crashes and power cuts:
// each change is in its topic once, in order, and nothing is confirmed that is not on stable storage.
func TestOnce(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { once(t, seed) })
		})
	}
}

func once(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1)) // of the source
	h := make(history, 60)
	for i := range h {
		h[i] = r.IntN(5)
	}
	const lives = 5 // the last is undisturbed
	life := 0
	var w *world
	some := func(of int) bool { return life < lives && r.IntN(of) == 0 }
	// trouble comes at any time; it ends by itself, or the next run finds it gone.
	trouble := func() error {
		log, length := w.log, time.Duration(r.IntN(300))*time.Millisecond
		switch {
		case some(60):
			log.Stall(true)
			time.AfterFunc(length, func() { log.Stall(false) })
		case some(60):
			topic := h.topics()[r.IntN(3)]
			log.StallTopic(topic, true)
			time.AfterFunc(length, func() { log.StallTopic(topic, false) })
		case some(60):
			w.log.Fail(func(*stream.Record) error { return errors.New("refused") })
		case some(60):
			return fault.New(fault.Unavailable, "run", "", "cut")
		}
		return nil
	}
	source := &script{run: func(ctx context.Context, out *cdc.Writer, _ int) error {
		w.log.Fail(nil)
		out.SetState(cdc.Streaming, "")
		for tx := int(out.State().Confirmed) / historyEnd; tx < len(h); tx++ {
			begin, end := uint64(tx*historyEnd), uint64((tx+1)*historyEnd)
			out.Begin(begin+5, time.UnixMicro(int64(tx)))
			for n := range h[tx] {
				if err := trouble(); err != nil {
					return err
				}
				if err := put(ctx, out, h.topic(tx, n), h.value(tx, n)); err != nil {
					return err
				}
				if some(10) {
					out.Idle(end) // the server is as far, we are not
				}
			}
			out.Commit(end)
			if some(4) {
				out.Idle(end)
			}
			told := out.Confirmed()
			if stored, _ := w.store.Source("shop"); told > stored.State.Confirmed {
				t.Errorf("told %d, kept %d", told, stored.State.Confirmed)
			}
			time.Sleep(time.Duration(r.IntN(40)) * time.Millisecond)
		}
		<-ctx.Done()
		out.Finish()
		return nil
	}}
	w = newWorld(source)
	w.options.Store = checkedStore{w.store, func(s cdc.State) {
		for _, topic := range h.topics() {
			if have, want := values(w.log.Synced(topic)), h.before(topic, s.Confirmed); len(have) < len(want) || !slices.Equal(have[:len(want)], want) {
				t.Errorf("%d is confirmed, and %s holds on stable storage\n %v of\n %v", s.Confirmed, topic, have, want)
			}
		}
	}}
	clock := rand.New(rand.NewPCG(seed, 2)) // of the crashes
	for ; life < lives; life++ {
		w.start()
		time.Sleep(time.Duration(clock.IntN(1000)) * time.Millisecond)
		w.store.Fail(errors.New("crashed"))
		w.log.Close()
		w.stop()
		w.store.Fail(nil)
		if clock.IntN(2) == 0 {
			w.log = w.log.Reopen()
		} else {
			w.log = w.log.PowerCut()
		}
		w.options.Log = w.log
	}
	w.start()
	for w.pipeline.Progress().Confirmed < uint64(len(h)*historyEnd) {
		if p := w.pipeline.Progress(); p.State == cdc.Stopped {
			t.Fatalf("stopped: %s", p.Why)
		}
		time.Sleep(time.Second)
	}
	w.end()
	for _, topic := range h.topics() {
		if have, want := values(w.log.Records(topic)), h.before(topic, uint64(len(h)*historyEnd)); !slices.Equal(have, want) {
			t.Errorf("%s\n have %v\n want %v", topic, have, want)
		}
	}
}

// TestHole does not go on over a record that the log refused while it took a later one, though the topic's end looks whole:
// not after a restart, nor after a crash that comes before the run has ended.
func TestHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(&script{run: func(ctx context.Context, w *cdc.Writer, _ int) error { return streams(ctx, w, "1", "2", "3", "4") }})
		w.log.Stall(true) // so that all are on their way
		w.log.Fail(func(r *stream.Record) error {
			if string(r.Value) == "2" {
				return errors.New("refused")
			}
			return nil
		})
		w.options.Log = tapLog{w.log, func(r stream.Record) {
			if string(r.Value) == "3" {
				w.log.Stall(true) // 4 stays on its way: the run does not end
			}
		}}
		w.start()
		synctest.Wait()
		w.log.Stall(false)
		synctest.Wait()
		stored, _ := w.store.Source("shop")
		if stored.State.Hole == "" || stored.State.Confirmed != 0 {
			t.Errorf("kept %+v", stored.State)
		}
		w.log.Stall(false)
		w.log.Fail(nil)
		for range 2 {
			time.Sleep(time.Second) // it would be tried again
			if p := w.pipeline.Progress(); p.State != cdc.Stopped || !strings.Contains(p.Why, "refused a record of t") {
				t.Errorf("%s: %s", p.State, p.Why)
			}
			if got := values(w.log.Records("t")); !slices.Equal(got, []string{"1", "3", "4"}) {
				t.Errorf("%q", got)
			}
			w.stop()
			w.start()
		}
		w.end()
	})
}

// tapLog calls after once a record was answered.
type tapLog struct {
	*cdctest.Log
	after func(stream.Record)
}

func (l tapLog) Append(ctx context.Context, r *stream.Record, done func(error)) error {
	record := *r
	record.Value = bytes.Clone(r.Value)
	return l.Log.Append(ctx, r, func(err error) {
		done(err)
		l.after(record)
	})
}

// TestRefused gives the log nothing after what it has refused.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(&script{run: func(ctx context.Context, w *cdc.Writer, run int) error {
			if run > 1 {
				return streams(ctx, w, "1", "2")
			}
			w.Begin(1, time.Time{})
			if err := put(ctx, w, "t", "1"); err != nil {
				return err
			}
			<-ctx.Done() // the log's answer
			if err := put(context.WithoutCancel(ctx), w, "t", "2"); err == nil {
				t.Error("a record is taken after one that was refused")
			}
			return nil
		}})
		refused := false
		w.log.Fail(func(*stream.Record) error {
			if refused {
				return nil
			}
			refused = true
			return errors.New("refused")
		})
		w.start()
		time.Sleep(time.Minute)
		if got := values(w.log.Records("t")); !slices.Equal(got, []string{"1", "2"}) {
			t.Errorf("%q", got)
		}
		if p := w.pipeline.Progress(); p.State != cdc.Streaming || p.Confirmed != 2 {
			t.Errorf("%s, confirmed %d: %s", p.State, p.Confirmed, p.Why)
		}
		w.end()
	})
}

// order notes in which order the log is synced, the store is written and the source is told.
type orderLog struct {
	*cdctest.Log
	note func(string)
}

func (o orderLog) Sync(ctx context.Context) error {
	o.note("sync")
	return o.Log.Sync(ctx)
}

type orderStore struct {
	*cdctest.Store
	note func(string)
}

func (o orderStore) SaveSource(ctx context.Context, s cdc.Stored) error {
	o.note(fmt.Sprintf("save %d", s.State.Confirmed))
	return o.Store.SaveSource(ctx, s)
}

func TestConfirmOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var notes []string
		note := func(s string) {
			mu.Lock()
			defer mu.Unlock()
			notes = append(notes, s)
		}
		told := make(chan struct{})
		w := newWorld(&script{run: func(ctx context.Context, w *cdc.Writer, _ int) error {
			go func() {
				<-w.Confirms()
				note(fmt.Sprintf("told %d", w.Confirmed()))
				close(told)
			}()
			return streams(ctx, w, "v")
		}})
		w.options.Log, w.options.Store = orderLog{w.log, note}, orderStore{w.store, note}
		w.start()
		<-told
		w.end()
		if want := []string{"save 0", "sync", "save 2", "told 2"}; !slices.Equal(notes, want) {
			t.Errorf("%q, want %q", notes, want)
		}
	})
}

// TestIdle advances over what holds nothing for us, and never over what is on its way or open.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		steps := make(chan func(*cdc.Writer))
		s := &script{run: func(ctx context.Context, w *cdc.Writer, _ int) error {
			for {
				select {
				case f := <-steps:
					f(w)
				case <-ctx.Done():
					return nil
				}
			}
		}}
		w := started(s)
		defer w.end()
		at := func(what string, want uint64) {
			t.Helper()
			time.Sleep(time.Second)
			if p := w.pipeline.Progress(); p.Appended != want || p.Confirmed != want {
				t.Errorf("%s: appended %d, confirmed %d, want %d", what, p.Appended, p.Confirmed, want)
			}
		}
		steps <- func(w *cdc.Writer) { w.Idle(10) }
		at("idle", 10)
		steps <- func(w *cdc.Writer) { w.Idle(5) }
		at("idle never goes back", 10)
		w.log.Stall(true)
		steps <- func(w *cdc.Writer) {
			w.Begin(15, time.Unix(15, 0))
			put(t.Context(), w, "t", "v")
			w.Idle(18)
		}
		at("open", 10)
		steps <- func(w *cdc.Writer) { w.Commit(20); w.Idle(30) }
		at("in flight", 10)
		if p := w.pipeline.Progress(); p.Received != 30 || !p.Pending.Equal(time.Unix(15, 0)) {
			t.Errorf("received %d, pending %s", p.Received, p.Pending)
		}
		w.log.Stall(false)
		at("landed", 30)
		w.log.Stall(true)
		steps <- func(w *cdc.Writer) {
			w.Begin(35, time.Unix(35, 0))
			put(t.Context(), w, "t", "v")
			w.Commit(40)
			w.Begin(45, time.Unix(45, 0))
			w.Commit(50)
		}
		at("an empty one behind it", 30)
		w.log.Stall(false)
		at("both landed", 50)
		if p := w.pipeline.Progress(); !p.LastCommit.Equal(time.Unix(35, 0)) || !p.Pending.IsZero() {
			t.Errorf("last commit %s, pending %s", p.LastCommit, p.Pending)
		}
	})
}

// TestEndsByItself tries a source again that says nothing of why it has ended, and not at once.
func TestEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{run: func(context.Context, *cdc.Writer, int) error { return nil }}
		w := started(s)
		time.Sleep(10 * time.Minute)
		if n := s.count(); n < 20 || n > 60 {
			t.Errorf("%d runs in ten minutes", n)
		}
		if p := w.pipeline.Progress(); p.State != cdc.Reconnecting || !strings.Contains(p.Why, "ended by itself") {
			t.Errorf("%s: %s", p.State, p.Why)
		}
		w.end()
	})
}

func TestRetries(t *testing.T) {
	for _, c := range []struct {
		kind   fault.Kind
		within time.Duration
		runs   [2]int // at least and at most
		state  string
	}{
		{fault.Unavailable, 10 * time.Minute, [2]int{20, 60}, cdc.Reconnecting},
		{fault.Conflict, 10 * time.Minute, [2]int{20, 60}, cdc.Reconnecting},
		{fault.Denied, 10 * time.Minute, [2]int{2, 3}, cdc.Reconnecting},
		{fault.Blocked, time.Hour, [2]int{1, 1}, cdc.Stopped},
		{fault.Internal, time.Hour, [2]int{1, 1}, cdc.Stopped},
	} {
		t.Run(string(c.kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &script{run: func(context.Context, *cdc.Writer, int) error {
					return fault.New(c.kind, "do it", "do something", "no way")
				}}
				w := started(s)
				time.Sleep(c.within)
				if n := s.count(); n < c.runs[0] || n > c.runs[1] {
					t.Errorf("%d runs in %s", n, c.within)
				}
				p := w.pipeline.Progress()
				if p.State != c.state || p.Why != "do it: no way (do something)" {
					t.Errorf("%s: %s", p.State, p.Why)
				}
				before := s.count()
				if err := w.pipeline.Resume(t.Context()); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if n := s.count(); n != before+1 {
					t.Errorf("%d runs after a resume, want %d", n, before+1)
				}
				w.end()
			})
		})
	}
}

func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{run: func(ctx context.Context, w *cdc.Writer, _ int) error {
			w.SetState(cdc.Streaming, "")
			<-ctx.Done()
			return nil
		}}
		w := started(s)
		synctest.Wait()
		if err := w.pipeline.Pause(t.Context()); err != nil {
			t.Fatal(err)
		}
		if p := w.pipeline.Progress(); p.State != cdc.Paused {
			t.Errorf("%s", p.State)
		}
		time.Sleep(time.Hour)
		if s.count() != 1 {
			t.Errorf("%d runs while paused", s.count())
		}
		if stored, _ := w.store.Source("shop"); !stored.State.Paused {
			t.Error("a pause is not kept")
		}
		if err := w.pipeline.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if p := w.pipeline.Progress(); p.State != cdc.Streaming || s.count() != 2 {
			t.Errorf("%s after %d runs", p.State, s.count())
		}
		w.end()
	})
}

func TestTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(&script{run: func(ctx context.Context, w *cdc.Writer, _ int) error {
			return streams(ctx, w, "small", string(make([]byte, 1000)), "small")
		}})
		w.options.MaxRecordBytes = 500
		w.start()
		synctest.Wait()
		p := w.pipeline.Progress()
		if p.State != cdc.Stopped || p.Confirmed != 0 || len(w.log.Records("t")) != 1 {
			t.Errorf("%s (%s), confirmed %d, %d records", p.State, p.Why, p.Confirmed, len(w.log.Records("t")))
		}
		w.end()
	})
}

// TestForeignEnd looks at topics whose last record is not this source's.
func TestForeignEnd(t *testing.T) {
	for _, c := range []struct {
		name, position string
		partition      int32
		state          string
	}{
		{"none", "", 0, cdc.Streaming},
		{"another source's", "other@ff.0", 0, cdc.Streaming},
		{"unreadable", "nonsense", 0, cdc.Stopped},
		{"another partition", "s@1.0", 1, cdc.Stopped},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				last := stream.Record{Topic: "t", Partition: c.partition}
				if c.position != "" {
					last.Headers = []stream.Header{{Key: stream.PositionHeader, Value: []byte(c.position)}}
				}
				w := newWorld(&script{run: func(ctx context.Context, w *cdc.Writer, _ int) error { return streams(ctx, w, "v") }})
				w.options.Log = lastLog{w.log, map[int32]stream.Record{c.partition: last}}
				w.start()
				synctest.Wait()
				if p := w.pipeline.Progress(); p.State != c.state {
					t.Errorf("%s: %s", p.State, p.Why)
				}
				if n := len(w.log.Records("t")); c.state == cdc.Streaming && n != 1 {
					t.Errorf("%d records", n)
				}
				w.end()
			})
		})
	}
}

type lastLog struct {
	*cdctest.Log
	last map[int32]stream.Record
}

func (l lastLog) Last(context.Context, string) (map[int32]stream.Record, error) { return l.last, nil }

func TestManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := cdctest.NewStore()
		log := cdctest.NewLog(100)
		defer log.Close()
		var refuse error
		sources := map[string]*script{}
		var dropErr error
		m := cdc.NewManager(cdc.ManagerOptions{Store: store, Open: func(_ context.Context, o cdc.Options) (cdc.Parts, error) {
			if refuse != nil {
				return cdc.Parts{}, refuse
			}
			s := &script{run: func(ctx context.Context, w *cdc.Writer, _ int) error {
				w.SetState(cdc.Streaming, "")
				<-ctx.Done()
				return nil
			}, drop: func() error { return dropErr }}
			sources[o.Name] = s
			return cdc.Parts{Source: s, Log: log, Schemas: store}, nil
		}})
		ctx, cancel := context.WithCancel(t.Context())
		if err := m.Start(ctx); err != nil {
			t.Fatal(err)
		}
		if err := m.Create(ctx, cdc.Options{Name: "shop"}); err != nil {
			t.Fatal(err)
		}
		if err := m.Create(ctx, cdc.Options{Name: "shop"}); !fault.Is(err, fault.Exists) {
			t.Errorf("the same name: %v", err)
		}
		if err := m.Create(ctx, cdc.Options{Name: "other", Prefix: "shop"}); !fault.Is(err, fault.Exists) {
			t.Errorf("the same prefix: %v", err)
		}
		refuse = errors.New("no secret")
		if err := m.Create(ctx, cdc.Options{Name: "locked"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		states := func() (s []string) {
			for _, p := range m.Progress() {
				s = append(s, p.Source+" "+p.State+" "+p.Why)
			}
			return s
		}
		if got := states(); !slices.Equal(got, []string{"locked stopped no secret", "shop streaming "}) {
			t.Errorf("%q", got)
		}
		refuse = nil
		if err := m.Resume(ctx, "locked"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := states(); !slices.Equal(got, []string{"locked streaming ", "shop streaming "}) {
			t.Errorf("%q", got)
		}

		// A drop that fails leaves the source as it was.
		dropErr = fault.New(fault.Unavailable, "drop", "", "server away")
		if err := m.Drop(ctx, "shop", false); !fault.Is(err, fault.Unavailable) {
			t.Errorf("drop: %v", err)
		}
		synctest.Wait()
		if got := states(); !slices.Equal(got, []string{"locked streaming ", "shop streaming "}) {
			t.Errorf("%q", got)
		}
		// One that takes long keeps nobody from the others.
		answer, dropped := make(chan error), make(chan error)
		sources["shop"].drop = func() error { return <-answer }
		go func() { dropped <- m.Drop(ctx, "shop", true) }()
		synctest.Wait()
		if n := len(m.Progress()); n != 2 {
			t.Errorf("%d sources", n)
		}
		for what, err := range map[string]error{"pause": m.Pause(ctx, "shop"), "resume": m.Resume(ctx, "shop"), "drop": m.Drop(ctx, "shop", true)} {
			if !fault.Is(err, fault.Conflict) {
				t.Errorf("%s while it is dropped: %v", what, err)
			}
		}
		answer <- dropErr
		if err := <-dropped; err != nil {
			t.Fatal(err)
		}
		if err := m.Drop(ctx, "shop", true); !fault.Is(err, fault.NotFound) {
			t.Errorf("dropped twice: %v", err)
		}
		if err := m.Pause(ctx, "locked"); err != nil {
			t.Fatal(err)
		}
		cancel()
		m.Wait()

		// The next start finds what is kept, the pause included.
		ctx, cancel = context.WithCancel(t.Context())
		again := cdc.NewManager(cdc.ManagerOptions{Store: store, Open: func(context.Context, cdc.Options) (cdc.Parts, error) {
			return cdc.Parts{Source: sources["locked"], Log: log, Schemas: store}, nil
		}})
		if err := again.Start(ctx); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if p := again.Progress(); len(p) != 1 || p[0].Source != "locked" || p[0].State != cdc.Paused {
			t.Errorf("%+v", p)
		}
		cancel()
		again.Wait()
	})
}
