package cdc

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/probes"
)

const (
	// confirmEvery is the least time between two confirmations: each costs a sync of the log and one of the store.
	confirmEvery = 100 * time.Millisecond
	// keepBuffer is the largest buffer that is kept for the next record.
	keepBuffer = 64 << 10
	// lastWords is how long a run that is stopped may take to confirm what is on its way.
	lastWords = 10 * time.Second
)

// Writer carries the changes of one run of a source into the log. Methods that are not said to be for any goroutine are
// for the source's own.
type Writer struct {
	log     Log
	schemas Schemas
	logger  *slog.Logger
	max     int // bytes of one record, 0 for no limit of our own
	state   *keeper
	status  *status

	source    []byte // identity and '@'
	identity  string
	commit    uint64
	commitHex []byte
	commitUS  []byte
	ordinal   uint64
	current   *transaction
	topics    map[string]*Topic
	published map[string]bool

	records sync.Pool

	mu                       sync.Mutex
	queue                    []*transaction // closed and not yet all in the log, by commit
	spare                    []*transaction
	appended                 uint64
	received                 uint64
	appendAt                 time.Time
	receiveAt                time.Time
	lastCommit, lastAppended time.Time     // of the last transaction that reached the log
	advanced                 chan struct{} // cap 1: appended has grown
	inFlight                 atomic.Int64
	landed                   chan struct{} // cap 1: inFlight has become 0
	confirmMu                sync.Mutex
	confirmed                atomic.Uint64
	confirms                 chan struct{} // cap 1: confirmed has grown

	failed atomic.Pointer[error]
	cancel context.CancelCauseFunc
	holed  atomic.Bool
}

// transaction is one that is on its way into the log. pending counts its records in flight, and one more while it is
// open.
type transaction struct {
	pending atomic.Int64
	records int64
	end     uint64
	at      time.Time
}

// Topic is a topic that a Writer writes to.
type Topic struct {
	Name string

	last   stream.Position // of what it held at the start
	failed atomic.Bool
}

func newWriter(o PipelineOptions, state *keeper, status *status, cancel context.CancelCauseFunc) *Writer {
	w := &Writer{
		log: o.Log, schemas: o.Schemas, logger: o.Logger, max: o.MaxRecordBytes, state: state, status: status, cancel: cancel,
		topics: map[string]*Topic{}, published: map[string]bool{},
		advanced: make(chan struct{}, 1), landed: make(chan struct{}, 1), confirms: make(chan struct{}, 1),
	}
	w.records.New = func() any {
		r := &Record{w: w}
		r.onDone = r.done
		return r
	}
	return w
}

// State is what is kept of the source.
func (w *Writer) State() State { return w.state.get() }

// Save changes what is kept of the source, durably, and takes its identity and confirmed position over.
func (w *Writer) Save(ctx context.Context, change func(*State)) error {
	w.confirmMu.Lock()
	defer w.confirmMu.Unlock()
	if err := w.state.update(ctx, change); err != nil {
		return err
	}
	s := w.state.get()
	w.identity = s.Source
	w.source = append([]byte(s.Source), '@')
	w.confirmed.Store(s.Confirmed)
	w.mu.Lock()
	w.appended, w.received = s.Confirmed, s.Confirmed
	w.mu.Unlock()
	w.status.set(func(p *probes.SourceProgress) {
		p.Confirmed, p.Appended, p.Received = s.Confirmed, s.Confirmed, s.Confirmed
	})
	return nil
}

// Topic makes sure of a topic and reads how far it has got. The answer stays valid for the run.
func (w *Writer) Topic(ctx context.Context, name string) (*Topic, error) {
	if t := w.topics[name]; t != nil {
		return t, nil
	}
	if err := w.log.EnsureTopic(ctx, name, 1, nil); err != nil {
		return nil, err
	}
	last, err := w.log.Last(ctx, name)
	if err != nil {
		return nil, err
	}
	t := &Topic{Name: name}
	for partition, r := range last {
		h, ok := r.Header(stream.PositionHeader)
		if !ok {
			continue // somebody else's record
		}
		at, err := stream.ParsePosition(string(h))
		if err != nil {
			return nil, fault.New(fault.Blocked, "read the end of "+name, "let only Freshet write position headers there, or capture under another prefix",
				"the last record of partition %d: %v", partition, err)
		}
		if partition == 0 {
			t.last = at
		} else if at.Source == w.identity {
			// Captured records are in partition 0, where the last one tells of all before it.
			return nil, fault.New(fault.Blocked, "read the end of "+name, "capture under another prefix",
				"partition %d holds captured records, though they are only ever written to partition 0", partition)
		}
	}
	w.topics[name] = t
	return t, nil
}

// Schema makes a table's schema durable before the first record that names it.
func (w *Writer) Schema(ctx context.Context, s stream.TableSchema) error {
	if w.published[s.ID] {
		return nil
	}
	if err := w.schemas.Publish(ctx, s); err != nil {
		return err
	}
	w.published[s.ID] = true
	return nil
}

// Begin opens a transaction with its commit position and time.
func (w *Writer) Begin(commit uint64, at time.Time) {
	t := w.take()
	t.pending.Store(1)
	t.records, t.at = 0, at
	w.mu.Lock()
	w.current = t
	w.mu.Unlock()
	w.commit, w.ordinal = commit, 0
	w.commitHex = append(strconv.AppendUint(w.commitHex[:0], commit, 16), '.')
	w.commitUS = strconv.AppendInt(w.commitUS[:0], at.UnixMicro(), 10)
}

// Has reports whether the topic holds the change at the current position already.
func (w *Writer) Has(t *Topic) bool {
	return t.last.Source == w.identity &&
		(w.commit < t.last.Commit || w.commit == t.last.Commit && w.ordinal <= t.last.Ordinal)
}

// Beyond reports whether the topic held a change of the source that was committed at end or later, when the run began.
func (w *Writer) Beyond(t *Topic, end uint64) bool {
	return t.last.Source == w.identity && t.last.Commit >= end
}

// Next moves the current position on by one change.
func (w *Writer) Next() { w.ordinal++ }

// Record gives an empty record to fill and Append. It must be appended or given back with Discard.
func (w *Writer) Record() *Record {
	return w.records.Get().(*Record)
}

// Append writes r at the current position. It blocks while the log's buffer is full. Whatever becomes of it, r is no
// longer the caller's.
func (w *Writer) Append(ctx context.Context, t *Topic, r *Record) error {
	r.topic, r.tx, r.commit, r.ordinal = t, w.current, w.commit, w.ordinal
	r.positioned()
	r.tx.records++
	r.tx.pending.Add(1)
	return w.give(ctx, t, r)
}

// Aside writes r without a position: it is no change, and nothing is confirmed by it. Like Append it may block, and r is
// no longer the caller's.
func (w *Writer) Aside(ctx context.Context, t *Topic, r *Record) error {
	r.topic = t
	return w.give(ctx, t, r)
}

func (w *Writer) give(ctx context.Context, t *Topic, r *Record) error {
	if err := w.err(); err != nil {
		r.release() // nothing may follow what the log has refused
		return err
	}
	r.build()
	if size := r.size(); w.max > 0 && size > w.max {
		r.release()
		err := &fault.Error{Kind: fault.Blocked, Op: "append to " + t.Name, Code: "RECORD_TOO_LARGE",
			Err:  fmt.Errorf("the change at %s is %d bytes, more than the %d that the log takes", w.position(), size, w.max),
			Next: "raise max.message.bytes of the topic and resume the source"}
		w.Fail(err)
		return err
	}
	w.inFlight.Add(1)
	if err := w.log.Append(ctx, &r.out, r.onDone); err != nil {
		r.release()
		w.land()
		if ctx.Err() == nil {
			w.Fail(err)
		}
		return err
	}
	return nil
}

// Commit closes the transaction. end is the position after it.
func (w *Writer) Commit(end uint64) {
	t := w.current
	t.end = end
	w.mu.Lock()
	w.current = nil
	w.received, w.receiveAt = max(w.received, end), time.Now()
	if n := len(w.queue); t.records == 0 && n > 0 {
		// Nothing of it is in the log: it is done when the one before it is.
		w.queue[n-1].end = max(w.queue[n-1].end, end)
		w.spare = append(w.spare, t)
		t = nil
	} else {
		w.queue = append(w.queue, t)
	}
	w.mu.Unlock()
	if t != nil {
		w.settle(t)
	}
}

// Idle says that the source has sent everything before end.
func (w *Writer) Idle(end uint64) {
	w.mu.Lock()
	w.received, w.receiveAt = max(w.received, end), time.Now()
	grown := false
	switch n := len(w.queue); {
	case w.current != nil: // its changes lie before end
	case n > 0:
		w.queue[n-1].end = max(w.queue[n-1].end, end)
	default:
		grown = end > w.appended
		w.appended, w.appendAt = max(w.appended, end), w.receiveAt
	}
	w.mu.Unlock()
	if grown {
		notify(w.advanced)
	}
}

// Confirmed is the position before which the source may forget everything. For any goroutine.
func (w *Writer) Confirmed() uint64 { return w.confirmed.Load() }

// Confirms is sent to after Confirmed has grown. For any goroutine.
func (w *Writer) Confirms() <-chan struct{} { return w.confirms }

// Received is the position before which everything has arrived. For any goroutine.
func (w *Writer) Received() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.received
}

// Flush waits until everything appended is in the log and on stable storage, and confirms it. For any goroutine.
func (w *Writer) Flush(ctx context.Context) error {
	if err := w.landedAll(ctx); err != nil {
		return err
	}
	if err := w.err(); err != nil {
		return err
	}
	return w.confirm(ctx, true)
}

// Finish is Flush for the end of a run, whose context is over. What it could not confirm is read again.
func (w *Writer) Finish() {
	ctx, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	if err := w.Flush(ctx); err != nil {
		w.logger.Warn("not all that was on its way is confirmed", "err", err)
	}
}

// SetState tells what the source is doing: Streaming, Snapshot or Reconnecting, and why. For any goroutine.
func (w *Writer) SetState(state, why string) {
	w.status.set(func(p *probes.SourceProgress) { p.State, p.Why = state, why })
}

// SetTables tells which topic each SCHEMA.TABLE goes to. For any goroutine.
func (w *Writer) SetTables(topics map[Table]string) {
	tables := make(map[string]string, len(topics))
	for t, topic := range topics {
		tables[t.String()] = topic
	}
	w.status.set(func(p *probes.SourceProgress) { p.Tables = tables })
}

// SetServer tells the newest position of the server and how its clock stands to ours. For any goroutine.
func (w *Writer) SetServer(end uint64, at time.Time, c Clock) {
	w.status.set(func(p *probes.SourceProgress) {
		p.ServerEnd, p.ServerEndAt = end, at
		p.ClockOffset, p.ClockError = c.Offset.Seconds(), c.Error.Seconds()
	})
}

// SetFindings replaces what a person should know. For any goroutine.
func (w *Writer) SetFindings(f []Finding) { w.status.setFindings(f) }

func (w *Writer) position() string {
	return stream.Position{Source: w.identity, Commit: w.commit, Ordinal: w.ordinal}.String()
}

// settle takes one off what a transaction waits for.
func (w *Writer) settle(t *transaction) {
	if t.pending.Add(-1) > 0 {
		return
	}
	w.mu.Lock()
	n := 0
	var last *transaction
	for ; n < len(w.queue) && w.queue[n].pending.Load() == 0; n++ {
		w.appended = max(w.appended, w.queue[n].end)
		if w.queue[n].records > 0 {
			last = w.queue[n]
		}
	}
	if last != nil {
		w.lastCommit, w.lastAppended = last.at, time.Now()
	}
	if n > 0 {
		w.appendAt = time.Now()
		w.spare = append(w.spare, w.queue[:n]...)
		w.queue = append(w.queue[:0], w.queue[n:]...)
	}
	w.mu.Unlock()
	if n > 0 {
		notify(w.advanced)
	}
}

func (w *Writer) take() *transaction {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.spare); n > 0 {
		t := w.spare[n-1]
		w.spare = w.spare[:n-1]
		return t
	}
	return &transaction{}
}

// confirmLoop confirms what has reached the log until ctx ends.
func (w *Writer) confirmLoop(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return
		case <-w.advanced:
		}
		if err := w.confirm(ctx, false); err != nil && ctx.Err() == nil {
			w.Fail(err)
			return
		}
		pause.Reset(confirmEvery)
	}
}

// confirm makes what is in the log durable, then what is kept of it, then tells the source. Where nothing is new it only
// syncs, and only where it must.
func (w *Writer) confirm(ctx context.Context, must bool) error {
	w.confirmMu.Lock()
	defer w.confirmMu.Unlock()
	w.mu.Lock()
	end := w.appended
	w.mu.Unlock()
	grown := end > w.confirmed.Load()
	if !grown && !must {
		return nil
	}
	if err := w.log.Sync(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &fault.Error{Kind: fault.Blocked, Op: "sync the log", Code: "LOG_SYNC_FAILED", Err: err,
			Next: "see to the log's disk and start Freshet again; nothing that was not on disk has been confirmed"}
	}
	if !grown {
		return nil
	}
	if err := w.state.update(ctx, func(s *State) { s.Confirmed = end }); err != nil {
		return err
	}
	w.confirmed.Store(end)
	notify(w.confirms)
	return nil
}

// Fail ends the run with its first error. For any goroutine.
func (w *Writer) Fail(err error) {
	if w.failed.CompareAndSwap(nil, &err) {
		w.cancel(err)
	}
}

func (w *Writer) err() error {
	if err := w.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// land takes one off the records in flight.
func (w *Writer) land() {
	if w.inFlight.Add(-1) == 0 {
		notify(w.landed)
	}
}

// landedAll waits until no record is in flight.
func (w *Writer) landedAll(ctx context.Context) error {
	for w.inFlight.Load() > 0 {
		select {
		case <-w.landed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	notify(w.landed) // for another that waits, too
	return nil
}

// progress fills in what only the writer knows.
func (w *Writer) progress(p *probes.SourceProgress) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p.Received, p.ReceivedAt = w.received, w.receiveAt
	p.Appended, p.AppendedAt = w.appended, w.appendAt
	p.Confirmed = w.confirmed.Load()
	if !w.lastAppended.IsZero() {
		p.LastCommit, p.LastAppended = w.lastCommit, w.lastAppended
	}
	p.Pending = time.Time{}
	if len(w.queue) > 0 {
		p.Pending = w.queue[0].at
	} else if w.current != nil {
		p.Pending = w.current.at
	}
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Record is a record on its way into the log. Its buffers are reused.
type Record struct {
	Key, Value []byte // appended to by the source
	NoKey      bool   // the key is null
	NoValue    bool   // the value is null

	w               *Writer
	topic           *Topic
	tx              *transaction
	commit, ordinal uint64
	scratch         []byte // headers' values
	names           []headerName
	headers         []stream.Header
	out             stream.Record
	onDone          func(error)
}

type headerName struct {
	key        string
	start, end int
}

// Header adds a header; the value is copied.
func (r *Record) Header(key string, value []byte) {
	start := len(r.scratch)
	r.scratch = append(r.scratch, value...)
	r.names = append(r.names, headerName{key, start, len(r.scratch)})
}

// Discard gives back a record that is not appended.
func (r *Record) Discard() { r.release() }

// positioned adds the headers of a change.
func (r *Record) positioned() {
	w, start := r.w, len(r.scratch)
	r.scratch = append(r.scratch, w.source...)
	r.scratch = append(r.scratch, w.commitHex...)
	r.scratch = strconv.AppendUint(r.scratch, w.ordinal, 16)
	r.names = append(r.names, headerName{stream.PositionHeader, start, len(r.scratch)})
	r.Header(stream.CommitTimeHeader, w.commitUS)
}

func (r *Record) build() {
	r.headers = r.headers[:0]
	for _, n := range r.names {
		r.headers = append(r.headers, stream.Header{Key: n.key, Value: r.scratch[n.start:n.end:n.end]})
	}
	r.out = stream.Record{Topic: r.topic.Name, LeaderEpoch: -1, Headers: r.headers}
	if !r.NoKey {
		r.out.Key = notNil(r.Key)
	}
	if !r.NoValue {
		r.out.Value = notNil(r.Value)
	}
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// size is about what the record takes in a batch.
func (r *Record) size() int {
	n := 32 + len(r.out.Key) + len(r.out.Value) + len(r.scratch)
	for _, h := range r.names {
		n += len(h.key) + 4
	}
	return n
}

func (r *Record) release() {
	if cap(r.Value) > keepBuffer || cap(r.Key) > keepBuffer || cap(r.scratch) > keepBuffer {
		r.Key, r.Value, r.scratch = nil, nil, nil
	}
	r.Key, r.Value, r.scratch, r.names = r.Key[:0], r.Value[:0], r.scratch[:0], r.names[:0]
	r.NoKey, r.NoValue, r.topic, r.tx = false, false, nil, nil
	r.w.records.Put(r)
}

// done is the log's answer.
func (r *Record) done(err error) {
	w, topic, tx := r.w, r.topic, r.tx
	commit, ordinal := r.commit, r.ordinal
	r.release()
	switch {
	case err != nil:
		topic.failed.Store(true)
		w.Fail(fault.Wrap(fault.Unavailable, "append to "+topic.Name, err, "the change is read again from the source"))
	case topic.failed.Load():
		// The log took a later record after it had refused one: reading back the topic's end would hide the loss.
		if !w.holed.Swap(true) {
			go w.hole(topic, commit, ordinal)
			return
		}
	case tx != nil:
		w.settle(tx)
	}
	w.land()
}

// hole keeps the source from going on, whatever ends this run. The run waits for it as for the record.
func (w *Writer) hole(t *Topic, commit, ordinal uint64) {
	defer w.land()
	text := fmt.Sprintf("the log refused a record of %s and took the later one at %x.%x", t.Name, commit, ordinal)
	w.logger.Error(text)
	if err := w.state.setHole(text); err != nil {
		w.logger.Error("cannot save that the log has a hole", "err", err)
	}
}

// keeper holds a source's State and saves it.
type keeper struct {
	store Store

	mu     sync.Mutex
	stored Stored
}

func (k *keeper) get() State {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.stored.State
}

// setHole remembers a hole, even where it cannot be saved.
func (k *keeper) setHole(text string) error {
	err := k.update(context.Background(), func(s *State) { s.Hole = text })
	if err != nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.stored.State.Hole = text
	}
	return err
}

// update changes the State once it is saved.
func (k *keeper) update(ctx context.Context, change func(*State)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	next := k.stored
	next.State.Detail = append(json.RawMessage(nil), next.State.Detail...)
	change(&next.State)
	if err := k.store.SaveSource(ctx, next); err != nil {
		return fault.Wrap(fault.Unavailable, "save the source's position", err, "see to the data directory")
	}
	k.stored = next
	return nil
}

// status is what a pipeline shows of itself.
type status struct {
	mu       sync.Mutex
	progress probes.SourceProgress
	findings []Finding
}

func (s *status) set(change func(*probes.SourceProgress)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.progress)
}

func (s *status) setFindings(f []Finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.findings = f
}

func (s *status) get() (probes.SourceProgress, []Finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.progress, s.findings
}
