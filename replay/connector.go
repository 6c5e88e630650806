package replay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"freshet/backend/auditlog"
	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/probes"
	"freshet/replay/filter"
)

// Where a connector begins with topics that are there when it is made. Topics that come later are read from their start.
const (
	FromEarliest = "earliest"
	FromLatest   = "latest"
)

// Connector is a named sink that is fed from topics for as long as it exists. Its progress and its idempotency keys
// belong to its name.
type Connector struct {
	Name     string   `json:"name"`
	Cluster  string   `json:"cluster"`
	Topics   []string `json:"topics"` // names, and patterns in which * stands for anything
	From     string   `json:"from"`
	Sink     string   `json:"sink"`             // the sink's name
	Target   string   `json:"target,omitempty"` // topic, table or path at the sink; "" each record's own
	OnRefuse OnError  `json:"on_refuse"`        // dlq: set the record aside and go on; stop
	Paused   bool     `json:"paused"`
	Reason   string   `json:"reason,omitempty"` // of the pause
}

// Matches reports whether the connector reads a topic. Topics whose names begin with __ are read only where they are
// named in full.
func (c *Connector) Matches(topic string) bool {
	for _, p := range c.Topics {
		if p == topic {
			return true
		}
		if ok, err := path.Match(p, topic); err == nil && ok && !strings.HasPrefix(topic, "__") {
			return true
		}
	}
	return false
}

// ConnectorShard is one partition of a connector: where it began, and, where the sink can hold no progress, how far it is.
type ConnectorShard struct {
	Topic     string `json:"topic"`
	TopicID   string `json:"topic_id"`
	Partition int32  `json:"partition"`
	Start     int64  `json:"start,string"`
	Next      int64  `json:"next,string"`
}

// ConnectorStore keeps connectors. app implements it over freshet.db.
type ConnectorStore interface {
	Connectors(ctx context.Context) ([]Connector, error)
	SaveConnector(ctx context.Context, c Connector) error
	// DeleteConnector removes the connector and its shards. Its epoch stays, so that a later one of the name goes on from it.
	DeleteConnector(ctx context.Context, name string) error
	// TakeConnector makes the connector's next epoch durable and returns it; the first is 1.
	TakeConnector(ctx context.Context, name string) (epoch int64, err error)
	ConnectorShards(ctx context.Context, name string) ([]ConnectorShard, error)
	// SaveConnectorShards stores these shards and leaves the others as they are.
	SaveConnectorShards(ctx context.Context, name string, shards []ConnectorShard) error
}

// ConnectorOptions are what Connectors work with.
type ConnectorOptions struct {
	Store    ConnectorStore
	Ledger   Ledger // for the records that are set aside
	Clusters Clusters
	Targets  Targets

	Decode filter.Decoder
	Change func(*stream.Record, *stream.Value) (*stream.Change, bool, error)

	Discover     time.Duration // between looks for new topics; 0: 2 s
	BatchRecords int           // at most in one write; 0: 10,000
	BatchBytes   int64         // likewise, about; 0: 8 MiB
	Linger       time.Duration // a batch waits to be filled; 0: 20 ms
	Grace        time.Duration // a write may go on after a stop; 0: 10 s

	// Changed, where not nil, is told that a connector's state or progress changed. It must not block.
	Changed func(connector string)
	Log     *slog.Logger
}

// recentBatches is how many of the latest batches of a partition Progress tells of.
const recentBatches = 256

// Connectors feeds sinks continuously. Its methods may be called from any goroutine; connectors run while Serve does.
type Connectors struct {
	o   ConnectorOptions
	log *slog.Logger

	changing sync.Mutex    // one change of the set at a time
	loaded   chan struct{} // closed when Serve knows the stored ones

	mu      sync.Mutex
	serving context.Context // nil while not serving
	all     map[string]*connector
	runs    sync.WaitGroup
}

// NewConnectors makes Connectors.
func NewConnectors(o ConnectorOptions) (*Connectors, error) {
	if o.Store == nil || o.Ledger == nil || o.Clusters == nil || o.Targets == nil || o.Decode == nil || o.Change == nil {
		return nil, fault.New(fault.Internal, "make the connectors", "", "an option is missing")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Discover <= 0 {
		o.Discover = 2 * time.Second
	}
	if o.BatchRecords <= 0 {
		o.BatchRecords = defaultItems
	}
	if o.BatchBytes <= 0 {
		o.BatchBytes = defaultBytes
	}
	if o.Linger <= 0 {
		o.Linger = defaultLinger
	}
	if o.Grace <= 0 {
		o.Grace = 10 * time.Second
	}
	return &Connectors{o: o, log: o.Log.With("part", "connectors"), loaded: make(chan struct{}), all: map[string]*connector{}}, nil
}

// change waits until Serve has begun and then for its turn to change the set; done ends the turn.
func (cs *Connectors) change(ctx context.Context) (done func(), err error) {
	select {
	case <-cs.loaded:
		cs.changing.Lock()
		return cs.changing.Unlock, nil
	case <-ctx.Done():
		return nil, fault.Wrap(fault.Timeout, "change the connectors", ctx.Err(), "try again")
	}
}

// Serve runs the stored connectors, and those that are made meanwhile, until ctx ends. Batches under way are finished.
// It is called once; what changes connectors waits for it.
func (cs *Connectors) Serve(ctx context.Context) error {
	cs.changing.Lock()
	stored, err := cs.o.Store.Connectors(ctx)
	if err == nil {
		cs.mu.Lock()
		cs.serving = ctx
		cs.mu.Unlock()
		for _, def := range stored {
			cs.start(def)
		}
		close(cs.loaded)
	}
	cs.changing.Unlock()
	if err != nil {
		return err
	}
	<-ctx.Done()
	cs.mu.Lock()
	cs.serving = nil
	running := make([]*connector, 0, len(cs.all))
	for _, c := range cs.all {
		running = append(running, c)
	}
	cs.mu.Unlock()
	for _, c := range running {
		c.halt()
	}
	cs.runs.Wait()
	return nil
}

// start makes the connector known and, unless it is paused, runs it.
func (cs *Connectors) start(def Connector) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := &connector{cs: cs, def: def, stop: make(chan struct{}), done: make(chan struct{}), shards: map[stream.TopicPartition]*connectorShard{}}
	if old := cs.all[def.Name]; old != nil {
		c.shards = old.shards // what was seen last is still true of a paused one
	}
	cs.all[def.Name] = c
	if def.Paused || cs.serving == nil {
		c.stopped = true
		close(c.stop)
		close(c.done)
		return
	}
	run := context.WithoutCancel(cs.serving)
	cs.runs.Go(func() {
		defer close(c.done)
		c.run(run)
	})
}

func (cs *Connectors) find(name string) (*connector, error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c := cs.all[name]; c != nil {
		return c, nil
	}
	e := fault.New(fault.NotFound, "find connector "+name, "freshet sinks list shows them", "no sink of this name is fed")
	e.Code = "NO_CONNECTOR"
	return nil, e
}

// Create makes a connector. Where each partition begins is resolved and stored first, so that "latest" means now.
func (cs *Connectors) Create(ctx context.Context, def Connector) error {
	done, err := cs.change(ctx)
	if err != nil {
		return err
	}
	defer done()
	op := "feed sink " + def.Name
	if def.OnRefuse == "" {
		def.OnRefuse = OnErrorDLQ
	}
	if def.From == "" {
		def.From = FromEarliest
	}
	switch {
	case def.Name == "" || def.Sink == "" || def.Cluster == "":
		return fault.New(fault.Invalid, op, "name the sink and the cluster", "a name is missing")
	case len(def.Topics) == 0:
		return fault.New(fault.Invalid, op, "give --topics", "no topics are named")
	case def.From != FromEarliest && def.From != FromLatest:
		return fault.New(fault.Invalid, op, "give --from earliest or --from latest", "%q is no beginning", def.From)
	case def.OnRefuse != OnErrorDLQ && def.OnRefuse != OnErrorStop:
		return fault.New(fault.Invalid, op, "", "%q is no policy for refused records", def.OnRefuse)
	}
	for _, p := range def.Topics {
		if _, err := path.Match(p, ""); err != nil {
			return fault.New(fault.Invalid, op, "use * for any part of a name", "%q is no pattern", p)
		}
	}
	if c, _ := cs.find(def.Name); c != nil {
		return fault.New(fault.Exists, op, "drop it first", "it is fed already")
	}
	if _, err := cs.o.Targets.Target(ctx, def.Sink, def.Target); err != nil {
		return err
	}
	cluster, err := cs.o.Clusters.Cluster(ctx, def.Cluster)
	if err != nil {
		return err
	}
	topics, err := cluster.Topics.Topics(ctx, false)
	if err != nil {
		return err
	}
	shards, err := begin(&def, topics, nil, def.From)
	if err != nil {
		return err
	}
	if err := cs.o.Store.SaveConnectorShards(ctx, def.Name, shards); err != nil {
		return err
	}
	if err := cs.o.Store.SaveConnector(ctx, def); err != nil {
		return err
	}
	cs.start(def)
	return nil
}

// begin says where the partitions begin that a connector reads and does not know yet.
func begin(def *Connector, topics []stream.Topic, known map[stream.TopicPartition]bool, from string) ([]ConnectorShard, error) {
	var out []ConnectorShard
	for _, t := range topics {
		if !def.Matches(t.Name) {
			continue
		}
		if t.Err != nil {
			return nil, fault.Wrap(fault.Unavailable, "describe topic "+t.Name, t.Err, "try again")
		}
		for _, p := range t.Partitions {
			if known[stream.TopicPartition{Topic: t.Name, Partition: p.ID}] {
				continue
			}
			if p.Err != nil {
				return nil, fault.Wrap(fault.Unavailable, fmt.Sprintf("read the ends of %s/%d", t.Name, p.ID), p.Err, "try again")
			}
			start := p.Start
			if from == FromLatest {
				start = p.Stable
			}
			out = append(out, ConnectorShard{Topic: t.Name, TopicID: FormatTopicID(t.ID), Partition: p.ID, Start: start, Next: start})
		}
	}
	return out, nil
}

// Delete ends a connector. What it has written stays; made again under its name, it goes on where the sink says.
func (cs *Connectors) Delete(ctx context.Context, name string) error {
	done, err := cs.change(ctx)
	if err != nil {
		return err
	}
	defer done()
	c, err := cs.find(name)
	if err != nil {
		return err
	}
	c.halt()
	<-c.done
	if err := cs.o.Store.DeleteConnector(ctx, name); err != nil {
		cs.start(c.def)
		return err
	}
	cs.mu.Lock()
	delete(cs.all, name)
	cs.mu.Unlock()
	return nil
}

// Pause lets the batches under way finish and stops the connector until Resume, over restarts too.
func (cs *Connectors) Pause(ctx context.Context, name, reason string) error {
	return cs.set(ctx, name, func(def *Connector) { def.Paused, def.Reason = true, reason })
}

// Resume goes on with a paused connector, and tries again what is blocked.
func (cs *Connectors) Resume(ctx context.Context, name string) error {
	return cs.set(ctx, name, func(def *Connector) { def.Paused, def.Reason = false, "" })
}

// AcceptGap goes on behind what the log no longer holds of a connector's partitions, and says in the audit history what
// was lost.
func (cs *Connectors) AcceptGap(ctx context.Context, actor, name string) error {
	c, err := cs.find(name)
	if err != nil {
		return err
	}
	c.mu.Lock()
	for _, s := range c.shards {
		if s.blocked == BlockGap {
			s.accept = actor
		}
	}
	c.mu.Unlock()
	return cs.Resume(ctx, name)
}

func (cs *Connectors) set(ctx context.Context, name string, change func(*Connector)) error {
	done, err := cs.change(ctx)
	if err != nil {
		return err
	}
	defer done()
	c, err := cs.find(name)
	if err != nil {
		return err
	}
	def := c.def
	change(&def)
	if err := cs.o.Store.SaveConnector(ctx, def); err != nil {
		return err
	}
	c.halt()
	<-c.done
	cs.start(def)
	cs.changed(name)
	return nil
}

func (cs *Connectors) changed(name string) {
	if cs.o.Changed != nil {
		cs.o.Changed(name)
	}
}

// ConnectorView is a connector as it is this moment.
type ConnectorView struct {
	Connector
	State  string // running, paused, blocked, retrying, stopped: its worst partition's
	Why    string
	Parked int64 // records set aside
}

// List tells of every connector, by name.
func (cs *Connectors) List(ctx context.Context) ([]ConnectorView, error) {
	cs.mu.Lock()
	all := make([]*connector, 0, len(cs.all))
	for _, c := range cs.all {
		all = append(all, c)
	}
	cs.mu.Unlock()
	out := make([]ConnectorView, 0, len(all))
	for _, c := range all {
		v := ConnectorView{Connector: c.def}
		v.State, v.Why = c.state()
		n, err := cs.o.Ledger.CountParked(ctx, c.def.Name, "", stream.Range{})
		if err != nil {
			return nil, err
		}
		for _, k := range n {
			v.Parked += k
		}
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b ConnectorView) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Progress tells how far every partition of every connector is.
func (cs *Connectors) Progress() []probes.SinkProgress {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	var out []probes.SinkProgress
	for _, c := range cs.all {
		c.mu.Lock()
		for at, s := range c.shards {
			p := probes.SinkProgress{Sink: c.def.Name, Cluster: c.def.Cluster, Topic: at.Topic, Partition: at.Partition,
				State: s.state, Why: s.why, Next: s.next, NextAt: s.nextAt, Recent: slices.Clone(s.recent)}
			if c.stopped {
				p.State, p.Why = c.idle()
			} else if c.trouble != "" {
				p.State, p.Why = "retrying", c.trouble
			}
			out = append(out, p)
		}
		c.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b probes.SinkProgress) int {
		return cmpOr(strings.Compare(a.Sink, b.Sink), strings.Compare(a.Topic, b.Topic), int(a.Partition-b.Partition))
	})
	return out
}

func cmpOr(orders ...int) int {
	for _, o := range orders {
		if o != 0 {
			return o
		}
	}
	return 0
}

// connector is one connector at work, or idle.
type connector struct {
	cs   *Connectors
	def  Connector
	done chan struct{} // closed when run has returned

	mu      sync.Mutex
	stop    chan struct{}
	stopped bool
	trouble string // why nothing runs at all, while it is tried again
	shards  map[stream.TopicPartition]*connectorShard
}

// connectorShard is one partition. Its fields are the connector's mutex's.
type connectorShard struct {
	ConnectorShard
	state, why string
	blocked    Blocker
	next       int64 // everything before it is applied; of no meaning while nextAt is zero
	nextAt     time.Time
	recent     []probes.Applied
	accept     string // who accepts that a gap is lost
}

func (c *connector) halt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stopped {
		c.stopped = true
		close(c.stop)
	}
}

// idle is the state of a connector that does not run. The caller holds mu.
func (c *connector) idle() (state, why string) {
	if c.def.Paused {
		return "paused", c.def.Reason
	}
	return "stopped", ""
}

func (c *connector) state() (state, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return c.idle()
	}
	if c.trouble != "" {
		return "retrying", c.trouble
	}
	state = "running"
	for at, s := range c.shards {
		if s.state == "blocked" && state != "blocked" || s.state == "retrying" && state == "running" {
			state, why = s.state, fmt.Sprintf("%s/%d: %s", at.Topic, at.Partition, s.why)
		}
	}
	return state, why
}

// run takes the connector's next epoch and feeds every partition until it is stopped.
func (c *connector) run(ctx context.Context) {
	for n := 0; ; n++ {
		err := c.session(ctx)
		if err == nil {
			return
		}
		c.mu.Lock()
		c.trouble = asFault(err).Error()
		c.mu.Unlock()
		c.cs.log.Warn("connector cannot start", "connector", c.def.Name, "err", err)
		c.cs.changed(c.def.Name)
		if sleep(ctx, c.stop, backoff(n)) != nil {
			return
		}
	}
}

// session runs until the stop, or says why it could not begin.
func (c *connector) session(ctx context.Context) error {
	quick, cancel := context.WithCancel(ctx)
	defer cancel()
	defer stopWith(quick, c.stop, cancel)()
	o := &c.cs.o
	cluster, err := o.Clusters.Cluster(quick, c.def.Cluster)
	if err != nil {
		return c.unlessStopped(err)
	}
	target, err := o.Targets.Target(quick, c.def.Sink, c.def.Target)
	if err != nil {
		return c.unlessStopped(err)
	}
	sink, err := o.Targets.Open(quick, c.def.Sink)
	if err != nil {
		return c.unlessStopped(err)
	}
	defer func() {
		if err := sink.Close(); err != nil {
			c.cs.log.Warn("close the sink", "connector", c.def.Name, "err", err)
		}
	}()
	epoch, err := o.Store.TakeConnector(quick, c.def.Name)
	if err != nil {
		return c.unlessStopped(err)
	}
	stored, err := o.Store.ConnectorShards(quick, c.def.Name)
	if err != nil {
		return c.unlessStopped(err)
	}
	sh := &shape{changes: target.Changes, onDecode: c.def.OnRefuse, decode: o.Decode, change: o.Change, schemas: cluster.Schemas}

	known := map[stream.TopicPartition]bool{}
	var shards sync.WaitGroup
	defer shards.Wait()
	launch := func(s ConnectorShard) {
		at := stream.TopicPartition{Topic: s.Topic, Partition: s.Partition}
		c.mu.Lock()
		st := c.shards[at]
		if st == nil {
			st = &connectorShard{next: s.Start}
			c.shards[at] = st
		}
		st.ConnectorShard, st.state, st.why, st.blocked = s, "running", "", ""
		c.mu.Unlock()
		shard := Shard{Owner: c.def.Name, Epoch: epoch, Topic: s.Topic, Partition: s.Partition, Partitions: partitions(known, s.Topic),
			Start: s.Start, Target: c.def.Target}
		shards.Go(func() { c.feed(ctx, cluster.Source, sink, sh, shard, st) })
	}
	for _, s := range stored {
		known[stream.TopicPartition{Topic: s.Topic, Partition: s.Partition}] = true
	}
	for _, s := range stored {
		launch(s)
	}
	c.mu.Lock()
	c.trouble = ""
	c.mu.Unlock()
	c.cs.changed(c.def.Name)
	for {
		if sleep(ctx, c.stop, o.Discover) != nil {
			return nil
		}
		if err := c.discover(quick, cluster, known, launch); err != nil && quick.Err() == nil {
			c.cs.log.Warn("look for new topics", "connector", c.def.Name, "err", err)
		}
	}
}

func (c *connector) unlessStopped(err error) error {
	select {
	case <-c.stop:
		return nil
	default:
		return err
	}
}

// discover launches the partitions that have come. They are read from their start: they came after the connector.
func (c *connector) discover(ctx context.Context, cluster Cluster, known map[stream.TopicPartition]bool, launch func(ConnectorShard)) error {
	topics, err := cluster.Topics.Topics(ctx, false)
	if err != nil {
		return err
	}
	fresh, err := begin(&c.def, topics, known, FromEarliest)
	if err != nil || len(fresh) == 0 {
		return err
	}
	if err := c.cs.o.Store.SaveConnectorShards(ctx, c.def.Name, fresh); err != nil {
		return err
	}
	for _, s := range fresh {
		known[stream.TopicPartition{Topic: s.Topic, Partition: s.Partition}] = true
	}
	for _, s := range fresh {
		launch(s)
	}
	return nil
}

// partitions counts a topic's partitions among those that are known, which are all it has.
func partitions(known map[stream.TopicPartition]bool, topic string) (n int32) {
	for at := range known {
		if at.Topic == topic {
			n++
		}
	}
	return n
}

// feed drives one partition until the stop, or until something blocks it that needs a person.
func (c *connector) feed(ctx context.Context, source Source, sink Sink, sh *shape, shard Shard, st *connectorShard) {
	o := &c.cs.o
	id, err := ParseTopicID(st.TopicID)
	if err != nil {
		c.set(st, "blocked", BlockDrift, err.Error())
		return
	}
	shard.TopicID = id
	h := &connectorHooks{c: c, st: st, source: source}
	d := &drive{source: source, sink: sink, shape: sh, hooks: h, end: -1, shard: shard,
		maxItems: o.BatchRecords, maxBytes: o.BatchBytes, linger: o.Linger, grace: o.Grace}
	for n := 0; ; n++ {
		h.moved = false
		err := d.attempt(ctx, c.stop)
		if err == nil || errors.Is(err, errStopped) || ctx.Err() != nil {
			return
		}
		if d.shard.Start > 0 && fault.Is(err, fault.Drifted) && !h.settled {
			// The sink holds older progress of this name, of before it was dropped: it goes on from there.
			d.shard.Start = 0
			continue
		}
		b, again, fenced := verdict(err)
		why := asFault(err).Error()
		switch {
		case fenced:
			c.set(st, "blocked", "", "another runner feeds this sink: "+why)
			return
		case !again:
			c.cs.log.Warn("connector partition blocked", "connector", c.def.Name, "topic", st.Topic, "partition", st.Partition, "rule", b, "err", err)
			c.set(st, "blocked", b, string(b)+": "+why)
			return
		}
		if h.moved {
			n = 0
		}
		c.set(st, "retrying", b, string(b)+": "+why)
		if sleep(ctx, c.stop, backoff(n)) != nil {
			return
		}
	}
}

func (c *connector) set(st *connectorShard, state string, b Blocker, why string) {
	c.mu.Lock()
	changed := st.state != state || st.why != why
	st.state, st.blocked, st.why = state, b, why
	c.mu.Unlock()
	if changed {
		c.cs.changed(c.def.Name)
	}
}

// connectorHooks are the hooks of one partition of a connector.
type connectorHooks struct {
	c       *connector
	st      *connectorShard
	source  Source
	settled bool
	moved   bool // since the attempt began
	none    bool // the sink can hold no progress: the store does
}

func (h *connectorHooks) settle(ctx context.Context, p Progress) (int64, error) {
	h.settled, h.none = true, p.None
	next := p.Next
	h.c.mu.Lock()
	if p.None {
		next = h.st.Next
	}
	accept := h.st.accept
	h.c.mu.Unlock()
	if accept != "" {
		var err error
		if next, err = h.lose(ctx, accept, next); err != nil {
			return 0, err
		}
	}
	h.passed(next)
	h.c.set(h.st, "running", "", "")
	return next, nil
}

// lose goes on at the log's start, where that is past next.
func (h *connectorHooks) lose(ctx context.Context, actor string, next int64) (int64, error) {
	topic, err := h.source.Topic(ctx, h.st.Topic)
	if err != nil {
		return 0, &sourceError{err}
	}
	for _, p := range topic.Partitions {
		if p.ID != h.st.Partition || p.Err != nil || p.Start <= next {
			continue
		}
		_, err := h.c.cs.o.Ledger.Record(ctx, auditlog.Entry{Actor: actor, Action: "sink.lost", Phase: auditlog.Note, Subject: h.c.def.Name,
			Detail: mustJSON(map[string]string{"topic": h.st.Topic, "partition": fmt.Sprint(p.ID), "from": fmt.Sprint(next), "to": fmt.Sprint(p.Start)})})
		if err != nil {
			return 0, &ledgerError{err}
		}
		next = p.Start
	}
	h.c.mu.Lock()
	h.st.accept = ""
	h.c.mu.Unlock()
	return next, nil
}

func (h *connectorHooks) batch() int { return h.c.cs.o.BatchRecords }

func (h *connectorHooks) admit(context.Context, int, int64) error { return nil }

func (h *connectorHooks) announce(context.Context, *piece) error { return nil }

func (h *connectorHooks) park(ctx context.Context, parked []Parked) error {
	if len(parked) == 0 {
		return nil
	}
	if h.c.def.OnRefuse == OnErrorStop {
		return &stopError{BlockSink, fault.New(fault.Blocked, "write to "+h.c.def.Name, "mend the record or its table, then: freshet sinks resume "+h.c.def.Name,
			"%s is refused: %s", place(parked[0].Topic, parked[0].Partition, parked[0].Offset), parked[0].Reason)}
	}
	e := auditlog.Entry{Actor: "system", Action: "sink.park", Phase: auditlog.Note, Subject: h.c.def.Name, Detail: mustJSON(parkDetail(parked))}
	if err := h.c.cs.o.Ledger.Park(ctx, parked, e); err != nil {
		return &ledgerError{err}
	}
	return nil
}

func (h *connectorHooks) wrote(ctx context.Context, p *piece, w Written) error {
	if h.none {
		if err := h.save(ctx, p.next); err != nil {
			return err
		}
	}
	h.c.mu.Lock()
	h.st.next, h.st.nextAt = p.next, time.Now()
	if len(p.items) > 0 {
		if len(h.st.recent) == recentBatches {
			h.st.recent = slices.Delete(h.st.recent, 0, 1)
		}
		h.st.recent = append(h.st.recent, probes.Applied{From: p.from, Next: p.next, OldestCommit: p.oldest, NewestCommit: p.newest, Before: w.Before, After: w.After})
	}
	h.c.mu.Unlock()
	h.moved = true
	h.c.cs.changed(h.c.def.Name)
	return nil
}

// passed tells of offsets that hold nothing to write: everything before next is applied, though the sink's own progress
// may be moved later.
func (h *connectorHooks) passed(next int64) {
	h.c.mu.Lock()
	h.st.next, h.st.nextAt = next, time.Now()
	h.c.mu.Unlock()
}

func (h *connectorHooks) save(ctx context.Context, next int64) error {
	h.c.mu.Lock()
	h.st.Next = next
	s := h.st.ConnectorShard
	h.c.mu.Unlock()
	if err := h.c.cs.o.Store.SaveConnectorShards(ctx, h.c.def.Name, []ConnectorShard{s}); err != nil {
		return &ledgerError{err}
	}
	return nil
}

// unsure keeps how far a sink without transactions certainly got; the rest is sent again under the same keys.
func (h *connectorHooks) unsure(ctx context.Context, p *piece, doubt *InDoubt) error {
	if !h.none || doubt.Done <= p.from {
		return nil
	}
	h.moved = true
	if err := h.save(ctx, min(doubt.Done, p.next)); err != nil {
		return err
	}
	h.passed(min(doubt.Done, p.next))
	return nil
}
