package replay_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"freshet/backend/decode"
	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/probes"
	"freshet/replay"
	"freshet/replay/replaytest"
)

// feedBench is a bench with Connectors over its world.
type feedBench struct {
	*bench
	store      *replaytest.MemoryConnectors
	o          replay.ConnectorOptions
	connectors *replay.Connectors
	quit       func()
}

func newFeedBench(t testing.TB, records int) *feedBench {
	b := &feedBench{bench: newBench(t, records), store: &replaytest.MemoryConnectors{}}
	b.o = replay.ConnectorOptions{Store: b.store, Ledger: b.ledger, Clusters: b.world, Targets: b.world, Decode: decode.JSON, Change: decode.Debezium,
		Discover: 2 * time.Millisecond, BatchRecords: 20, Linger: time.Millisecond, Grace: time.Second}
	return b.serveConnectors()
}

func (b *feedBench) serveConnectors() *feedBench {
	b.Helper()
	cs, err := replay.NewConnectors(b.o)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := cs.Serve(ctx); err != nil {
			b.Errorf("serve: %v", err)
		}
	}()
	b.connectors = cs
	b.quit = func() {
		cancel()
		<-ended
	}
	b.Cleanup(b.quit)
	return b
}

func (b *feedBench) restart() {
	b.quit()
	b.serveConnectors()
}

func (b *feedBench) create(edit func(*replay.Connector)) {
	b.Helper()
	c := replay.Connector{Name: "warehouse", Sink: "warehouse", Cluster: "local", Topics: []string{"orders"}}
	if edit != nil {
		edit(&c)
	}
	if err := b.connectors.Create(b.ctx(), c); err != nil {
		b.Fatal(err)
	}
}

func (b *feedBench) eventually(what string, ok func() bool) {
	b.Helper()
	ctx := b.ctx()
	for !ok() {
		select {
		case <-ctx.Done():
			views, _ := b.connectors.List(context.Background())
			b.Fatalf("not in time: %s; %+v, %d records", what, views, len(b.sink.Records()))
		case <-time.After(time.Millisecond):
		}
	}
}

func (b *feedBench) written(n int) {
	b.Helper()
	b.eventually(fmt.Sprintf("%d records written", n), func() bool { return len(b.sink.Records()) >= n })
	b.wantOnce(n)
}

func (b *feedBench) state(want string) replay.ConnectorView {
	b.Helper()
	var v replay.ConnectorView
	b.eventually("state "+want, func() bool {
		views, err := b.connectors.List(b.ctx())
		if err != nil || len(views) > 1 {
			b.Fatal(views, err)
		}
		if len(views) == 0 { // just started
			return false
		}
		v = views[0]
		return v.State == want
	})
	return v
}

func (b *feedBench) partition(topic string, p int32) probes.SinkProgress {
	for _, s := range b.connectors.Progress() {
		if s.Topic == topic && s.Partition == p {
			return s
		}
	}
	return probes.SinkProgress{}
}

func TestConnectorFeeds(t *testing.T) {
	b := newFeedBench(t, 200)
	var four atomic.Bool
	b.sink.Committing = func(_ context.Context, s replay.Shard, _ replay.Write) error {
		four.Store(s.Partitions == 4)
		return nil
	}
	b.create(nil)
	b.written(200)
	if !four.Load() {
		t.Error("the sink was not told that the topic has four partitions")
	}
	for i := range 100 {
		b.log.Append("orders", int32(i%4), stream.Record{Time: base, Value: []byte(`{}`),
			Headers: []stream.Header{{Key: stream.CommitTimeHeader, Value: fmt.Appendf(nil, "%d", base.Add(time.Duration(i)*time.Second).UnixMicro())}}})
	}
	b.written(300)
	b.state("running")
	b.restart()
	b.log.Append("orders", 0, stream.Record{Value: []byte(`{}`)})
	b.written(301)
	last := map[int32]int64{}
	for _, r := range b.sink.Records() {
		if r.Offset != last[r.Partition] {
			t.Fatalf("partition %d: offset %d follows %d", r.Partition, r.Offset, last[r.Partition]-1)
		}
		last[r.Partition]++
	}
}

func TestConnectorProgress(t *testing.T) {
	b := newFeedBench(t, 0)
	began := time.Now()
	b.create(nil)
	for i := range 3000 {
		b.log.Append("orders", 1, stream.Record{Value: []byte(`{}`),
			Headers: []stream.Header{{Key: stream.CommitTimeHeader, Value: fmt.Appendf(nil, "%d", base.Add(time.Duration(i)*time.Second).UnixMicro())}}})
	}
	b.log.AppendHole("orders", 1, replaytest.Control)
	var p probes.SinkProgress
	// The hole at the end counts as passed at once.
	b.eventually("partition 1 at 3001", func() bool { p = b.partition("orders", 1); return p.Next == 3001 })
	if p.Sink != "warehouse" || p.Cluster != "local" || p.State != "running" || p.NextAt.Before(began) || len(p.Recent) == 0 || len(p.Recent) > 256 {
		t.Errorf("%+v", p)
	}
	at := p.Recent[0].From
	for _, a := range p.Recent {
		if a.From != at || a.Next <= a.From || a.Before.Before(began) || a.After.Before(a.Before) {
			t.Fatalf("%+v does not follow %d", a, at)
		}
		if !a.OldestCommit.Equal(base.Add(time.Duration(a.From)*time.Second)) || !a.NewestCommit.Equal(base.Add(time.Duration(min(a.Next, 3000)-1)*time.Second)) {
			t.Errorf("commit times %v to %v of [%d, %d)", a.OldestCommit, a.NewestCommit, a.From, a.Next)
		}
		at = a.Next
	}
	if q := b.partition("orders", 0); q.State != "running" || q.Next != 0 || len(q.Recent) != 0 {
		t.Errorf("an empty partition: %+v", q)
	}
}

func TestConnectorPatternsAndBeginnings(t *testing.T) {
	b := newFeedBench(t, 40)
	for _, topic := range []string{"shop.public.a", "other", "__internal"} {
		b.log.Create(topic, 1)
		b.log.Append(topic, 0, stream.Record{Value: []byte("old")})
	}
	b.create(func(c *replay.Connector) { c.Topics, c.From = []string{"shop.public.*", "*nal"}, replay.FromLatest })
	b.restart() // "latest" is when it was made, not when it was started
	b.log.Append("shop.public.a", 0, stream.Record{Value: []byte("new")})
	b.log.Create("shop.public.b", 2)
	b.log.Append("shop.public.b", 1, stream.Record{Value: []byte("new")})
	b.log.Create("shop.private.b", 1)
	b.written(2)
	for _, r := range b.sink.Records() {
		if string(r.Value) != "new" || !strings.HasPrefix(r.Topic, "shop.public.") {
			t.Errorf("%s %s", r.Topic, r.Value)
		}
	}
	var topics []string
	for _, p := range b.connectors.Progress() {
		topics = append(topics, fmt.Sprintf("%s/%d", p.Topic, p.Partition))
	}
	if !slices.Equal(topics, []string{"shop.public.a/0", "shop.public.b/0", "shop.public.b/1"}) {
		t.Errorf("it reads %v", topics)
	}
}

func TestConnectorPauseAndResume(t *testing.T) {
	b := newFeedBench(t, 40)
	b.create(nil)
	b.written(40)
	if err := b.connectors.Pause(b.ctx(), "warehouse", "maintenance"); err != nil {
		t.Fatal(err)
	}
	b.log.Append("orders", 0, stream.Record{Value: []byte(`{}`)})
	if v := b.state("paused"); v.Why != "maintenance" {
		t.Errorf("%+v", v)
	}
	if p := b.partition("orders", 0); p.State != "paused" || p.Next != 10 {
		t.Errorf("%+v", p)
	}
	b.restart()
	b.state("paused")
	if n := len(b.sink.Records()); n != 40 {
		t.Errorf("%d records while paused", n)
	}
	if err := b.connectors.Resume(b.ctx(), "warehouse"); err != nil {
		t.Fatal(err)
	}
	b.written(41)
	b.state("running")
}

// Poison is set aside where it stands, counted and shown, and the rest goes on.
func TestConnectorPoison(t *testing.T) {
	b := newFeedBench(t, 0)
	b.target(replay.Target{Type: "postgres", Mode: "upsert", Guarantee: replay.GuaranteeEffectivelyOnce, Fences: true, Changes: true})
	event := `{"before":null,"after":{"id":%d},"source":{"table":"orders"},"op":"c"}`
	for i := range 50 {
		v := fmt.Appendf(nil, event, i)
		switch i {
		case 7:
			v = []byte("{broken")
		case 9:
			v = []byte(`{"op":"c","source":{},"after":null}`)
		case 11:
			v = nil
		}
		b.log.Append("orders", 2, stream.Record{Value: v})
	}
	b.sink.Refuse = func(it *replay.Item) string {
		if it.Record.Offset == 13 {
			return "value too long for column name"
		}
		if it.Record.Offset == 15 && (it.Change == nil || it.Change.Table != "orders" || it.Value == nil) {
			return "not decoded"
		}
		return ""
	}
	b.create(nil)
	b.written(47)
	v := b.state("running")
	if v.Parked != 3 {
		t.Errorf("%d parked", v.Parked)
	}
	parked, err := b.ledger.Parked(b.ctx(), "warehouse", 0)
	if err != nil || len(parked) != 3 {
		t.Fatal(parked, err)
	}
	kinds := map[int64]replay.ParkKind{}
	for _, p := range parked {
		kinds[p.Offset] = p.Kind
		if p.Topic != "orders" || p.Partition != 2 || strings.Contains(p.Reason, "broken") {
			t.Errorf("%+v", p)
		}
	}
	if kinds[7] != replay.ParkDecode || kinds[9] != replay.ParkDecode || kinds[13] != replay.ParkRefused {
		t.Errorf("%v", kinds)
	}
}

func TestConnectorStopsOnRefusalWhereAskedTo(t *testing.T) {
	b := newFeedBench(t, 40)
	var mended atomic.Bool
	b.sink.Refuse = func(it *replay.Item) string {
		if it.Record.Partition == 1 && it.Record.Offset == 5 && !mended.Load() {
			return "no such column"
		}
		return ""
	}
	b.create(func(c *replay.Connector) { c.OnRefuse = replay.OnErrorStop })
	v := b.state("blocked")
	if !strings.Contains(v.Why, "orders/1") || !strings.Contains(v.Why, "no such column") {
		t.Errorf("%+v", v)
	}
	b.written(30) // the others go on
	mended.Store(true)
	if err := b.connectors.Resume(b.ctx(), "warehouse"); err != nil {
		t.Fatal(err)
	}
	b.written(40)
	b.state("running")
}

// An outage of the sink is waited out, and a commit whose answer was lost is not done again.
func TestConnectorOutage(t *testing.T) {
	b := newFeedBench(t, 200)
	var down atomic.Bool
	var lost atomic.Int32
	down.Store(true)
	b.sink.Committing = func(context.Context, replay.Shard, replay.Write) error {
		if down.Load() {
			return fault.New(fault.Unavailable, "commit", "", "connection refused")
		}
		return nil
	}
	b.sink.Committed = func(context.Context, replay.Shard, replay.Write) error {
		if lost.Add(1) <= 5 {
			return fault.New(fault.Unavailable, "commit", "", "connection reset")
		}
		return nil
	}
	b.create(nil)
	if v := b.state("retrying"); !strings.Contains(v.Why, "connection refused") {
		t.Errorf("%+v", v)
	}
	down.Store(false)
	b.written(200)
	b.state("running")
}

func TestConnectorGap(t *testing.T) {
	b := newFeedBench(t, 40)
	b.create(nil)
	b.written(40)
	if err := b.connectors.Pause(b.ctx(), "warehouse", ""); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		b.log.Append("orders", 3, stream.Record{Value: []byte(`{}`)})
	}
	b.log.Truncate("orders", 3, 15)
	if err := b.connectors.Resume(b.ctx(), "warehouse"); err != nil {
		t.Fatal(err)
	}
	if v := b.state("blocked"); !strings.Contains(v.Why, "gap") || !strings.Contains(v.Why, "10 to 14") {
		t.Errorf("%+v", v)
	}
	if err := b.connectors.AcceptGap(b.ctx(), "ana", "warehouse"); err != nil {
		t.Fatal(err)
	}
	b.written(55)
	b.state("running")
	es := b.ledger.Entries()
	if e := es[len(es)-1]; e.Action != "sink.lost" || e.Actor != "ana" || !strings.Contains(string(e.Detail), `"to":"15"`) {
		t.Errorf("%+v", e)
	}
}

func TestConnectorTopicMadeAnew(t *testing.T) {
	b := newFeedBench(t, 40)
	b.create(nil)
	b.written(40)
	b.log.Create("orders", 4)
	if v := b.state("blocked"); !strings.Contains(v.Why, "made anew") {
		t.Errorf("%+v", v)
	}
}

// A connector made again under its name goes on where the sink says.
func TestConnectorMadeAgain(t *testing.T) {
	b := newFeedBench(t, 40)
	b.create(nil)
	b.written(40)
	if err := b.connectors.Delete(b.ctx(), "warehouse"); err != nil {
		t.Fatal(err)
	}
	if len(b.connectors.Progress()) != 0 {
		t.Error("a dropped connector still shows progress")
	}
	for i := range 40 {
		b.log.Append("orders", int32(i%4), stream.Record{Value: []byte(`{}`)})
	}
	b.create(func(c *replay.Connector) { c.From = replay.FromLatest })
	b.written(80)
}

// A sink that can hold no progress goes on from the store's.
func TestConnectorWithoutProgressAtTheSink(t *testing.T) {
	b := newFeedBench(t, 100)
	e := &replaytest.MemoryEndpoint{}
	b.world.Sinks["warehouse"] = replaytest.WorldSink{Sink: e, Target: replay.Target{Type: "http", Guarantee: replay.GuaranteeInDoubt}}
	var fails atomic.Int32
	e.Sending = func(*replay.Item) error {
		if fails.Add(1)%17 == 0 {
			return errors.New("connection refused")
		}
		return nil
	}
	b.create(nil)
	b.eventually("100 calls", func() bool { return len(e.Calls()) == 100 })
	b.eventually("progress", func() bool { return b.partition("orders", 3).Next == 25 })
	b.restart()
	b.log.Append("orders", 0, stream.Record{Value: []byte(`{}`)})
	b.eventually("101 calls", func() bool { return len(e.Calls()) == 101 })
	for k, n := range e.Calls() {
		if n != 1 {
			t.Errorf("%s was sent %d times", k, n)
		}
	}
}

func TestConnectorRefusals(t *testing.T) {
	b := newFeedBench(t, 10)
	good := replay.Connector{Name: "warehouse", Sink: "warehouse", Cluster: "local", Topics: []string{"orders"}}
	for _, c := range []struct {
		edit func(*replay.Connector)
		kind fault.Kind
	}{
		{func(c *replay.Connector) { c.Topics = nil }, fault.Invalid},
		{func(c *replay.Connector) { c.Topics = []string{"["} }, fault.Invalid},
		{func(c *replay.Connector) { c.From = "yesterday" }, fault.Invalid},
		{func(c *replay.Connector) { c.OnRefuse = replay.OnErrorDrop }, fault.Invalid},
		{func(c *replay.Connector) { c.Sink = "none" }, fault.NotFound},
		{func(c *replay.Connector) { c.Cluster = "none" }, fault.NotFound},
	} {
		d := good
		c.edit(&d)
		if err := b.connectors.Create(b.ctx(), d); !fault.Is(err, c.kind) {
			t.Errorf("%+v: %v", d, err)
		}
	}
	if err := b.connectors.Create(b.ctx(), good); err != nil {
		t.Fatal(err)
	}
	if err := b.connectors.Create(b.ctx(), good); !fault.Is(err, fault.Exists) {
		t.Errorf("twice: %v", err)
	}
	for _, err := range []error{b.connectors.Pause(b.ctx(), "none", ""), b.connectors.Resume(b.ctx(), "none"), b.connectors.Delete(b.ctx(), "none")} {
		if !fault.Is(err, fault.NotFound) {
			t.Errorf("%v", err)
		}
	}
}
