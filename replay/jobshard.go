package replay

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"freshet/backend/auditlog"
	"freshet/backend/fault"
	"freshet/backend/stream"
)

// jobShard is the hooks of one shard of a job.
type jobShard struct {
	r      *jobRun
	i      int
	source Source
	shape  *shape
	none   bool    // the sink can hold no progress: the ledger's counts
	doubts []int64 // found since the last settle
}

func (h *jobShard) state() ShardState {
	h.r.mu.Lock()
	defer h.r.mu.Unlock()
	return h.r.job.Shards[h.i]
}

// load reads which offsets of the shard are in doubt.
func (h *jobShard) load(ctx context.Context) error {
	s := h.state()
	n, err := h.r.s.o.Ledger.CountParked(ctx, h.r.job.ID, h.r.job.Topic, stream.Range{Partition: s.Partition, From: s.Start, To: s.End})
	if err != nil {
		return &ledgerError{err}
	}
	if n[ParkNoAnswer] == 0 {
		return nil
	}
	parked, err := h.r.s.o.Ledger.Parked(ctx, h.r.job.ID, 0)
	if err != nil {
		return &ledgerError{err}
	}
	for _, p := range parked {
		if p.Partition == s.Partition && p.Kind == ParkNoAnswer {
			h.shape.skip[p.Offset] = true
		}
	}
	return nil
}

func (h *jobShard) settle(ctx context.Context, p Progress) (int64, error) {
	s := h.state()
	h.none = p.None
	for _, o := range h.doubts {
		h.shape.skip[o] = true
	}
	h.doubts = nil
	if p.None {
		return h.settleAlone(ctx, s)
	}
	switch {
	case p.Next < s.Start || p.Next > s.End:
		return 0, &stopError{BlockUnexplained, fault.New(fault.Blocked, "resume "+h.r.job.ID, "find out who else writes under this job's name, then cancel the job",
			"the sink says that partition %d is at %d, outside %d to %d", s.Partition, p.Next, s.Start, s.End)}
	case p.Next < s.Next:
		// The sink was put back to an older state. Counting begins anew, and what it lost is written again.
		e := h.r.entry(auditlog.Note, "progress.rewound", map[string]any{"partition": s.Partition,
			"from": fmt.Sprint(s.Next), "to": fmt.Sprint(p.Next)})
		h.r.mu.Lock()
		t := &h.r.job.Shards[h.i]
		t.Next, t.SinkNext, t.Counts = t.Start, p.Next, Counts{Offsets: t.End - t.Start}
		h.r.mu.Unlock()
		if err := h.r.save(ctx, e); err != nil {
			return 0, err
		}
	}
	if err := h.recount(ctx, p.Next); err != nil {
		return 0, err
	}
	return h.accept(ctx)
}

// settleAlone is settle at a sink that holds no progress. What was announced and not recorded may have been sent.
func (h *jobShard) settleAlone(ctx context.Context, s ShardState) (int64, error) {
	if s.Sending > s.Next && !h.r.idempotent() {
		if err := h.doubt(ctx, s.Next, s.Sending); err != nil {
			return 0, err
		}
	}
	return h.accept(ctx)
}

// accept goes over gaps that a person, or the plan, accepted.
func (h *jobShard) accept(ctx context.Context) (int64, error) {
	for {
		s := h.state()
		moved := false
		for _, g := range s.Accepted {
			if g.From <= s.Next && s.Next < g.To {
				if err := h.lose(ctx, min(g.To, s.End)); err != nil {
					return 0, err
				}
				moved = true
			}
		}
		if moved {
			continue
		}
		if !h.r.doc.Plan.Limits.AcceptGaps || s.Next >= s.End {
			return s.Next, nil
		}
		topic, err := h.source.Topic(ctx, h.r.job.Topic)
		if err != nil {
			return 0, &sourceError{err}
		}
		for _, p := range topic.Partitions {
			if p.ID == s.Partition && p.Err == nil && p.Start > s.Next {
				if err := h.lose(ctx, min(p.Start, s.End)); err != nil {
					return 0, err
				}
			}
		}
		return h.state().Next, nil
	}
}

// lose counts [Next, to) as lost.
func (h *jobShard) lose(ctx context.Context, to int64) error {
	s := h.state()
	e := h.r.entry(auditlog.Note, "replay.lost", map[string]any{"partition": s.Partition, "from": fmt.Sprint(s.Next), "to": fmt.Sprint(to)})
	h.r.mu.Lock()
	t := &h.r.job.Shards[h.i]
	t.Counts.Lost += to - t.Next
	t.Next = to
	h.r.mu.Unlock()
	return h.r.save(ctx, e)
}

// recount accounts for [Next, to), which the sink holds already, by reading it again.
func (h *jobShard) recount(ctx context.Context, to int64) error {
	s := h.state()
	if s.Next >= to {
		h.r.mu.Lock()
		h.r.job.Shards[h.i].SinkNext = to
		h.r.mu.Unlock()
		return nil
	}
	var c Counts
	var items int64
	var bytes int64
	err := h.scan(ctx, s.Next, to, func(p *piece) error {
		c.Add(p.counts)
		items += int64(len(p.items))
		bytes += p.bytes
		return h.park(ctx, p.parked)
	})
	if err != nil {
		return err
	}
	parked, err := h.r.s.o.Ledger.CountParked(ctx, h.r.job.ID, h.r.job.Topic, stream.Range{Partition: s.Partition, From: s.Next, To: to})
	if err != nil {
		return &ledgerError{err}
	}
	c.DLQ += parked[ParkRefused]
	c.Written = items - parked[ParkRefused]
	c.Recovered = c.Seen
	c.Bytes = bytes
	e := h.r.entry(auditlog.Note, "replay.recovered", map[string]any{"partition": s.Partition, "from": fmt.Sprint(s.Next), "to": fmt.Sprint(to), "counts": c})
	h.r.mu.Lock()
	t := &h.r.job.Shards[h.i]
	t.Counts.Add(c)
	t.Next, t.SinkNext = to, to
	h.r.mu.Unlock()
	return h.r.save(ctx, e)
}

// doubt sets every selected record of [from, to) aside as in doubt: it may have been sent.
func (h *jobShard) doubt(ctx context.Context, from, to int64) error {
	var c Counts
	err := h.scan(ctx, from, to, func(p *piece) error {
		c.Add(p.counts)
		parked := slices.Clone(p.parked)
		for _, it := range p.items {
			parked = append(parked, h.inDoubt(it.Record.Offset))
		}
		c.InDoubt += int64(len(p.items))
		return h.park(ctx, parked)
	})
	if err != nil {
		return err
	}
	e := h.r.entry(auditlog.Note, "replay.in_doubt", map[string]any{"partition": h.state().Partition, "from": fmt.Sprint(from), "to": fmt.Sprint(to), "counts": c})
	h.r.mu.Lock()
	t := &h.r.job.Shards[h.i]
	t.Counts.Add(c)
	t.Next, t.SinkNext, t.Sending = to, to, 0
	h.r.mu.Unlock()
	if err := h.r.save(ctx, e); err != nil {
		return err
	}
	return h.limits()
}

func (h *jobShard) inDoubt(offset int64) Parked {
	return Parked{Owner: h.r.job.ID, Topic: h.r.job.Topic, Partition: h.state().Partition, Offset: offset,
		Kind: ParkNoAnswer, Reason: "sent, and the answer never came"}
}

// scan reads and shapes [from, to) once more.
func (h *jobShard) scan(ctx context.Context, from, to int64, visit func(*piece) error) error {
	s := h.state()
	r, err := h.source.Read(ctx, ReadRequest{Topic: h.r.job.Topic, TopicID: h.r.topicID, Partition: s.Partition, From: from, To: to})
	if err != nil {
		return &sourceError{err}
	}
	defer r.Close()
	return h.shape.shaper(h.r.job.ID, h.r.job.Topic, s.Partition).read(ctx, r, from, h.r.s.o.BatchRecords, h.r.s.o.BatchBytes, visit)
}

func (h *jobShard) batch() int {
	n := h.r.s.o.BatchRecords
	if b := h.r.limiter.batch(); b > 0 {
		n = min(n, b)
	}
	h.r.mu.Lock()
	defer h.r.mu.Unlock()
	if h.r.canary > 0 {
		n = int(min(int64(n), h.r.canary))
	}
	return n
}

func (h *jobShard) admit(ctx context.Context, n int, size int64) error {
	if err := h.limits(); err != nil {
		return err
	}
	counts := h.r.counts()
	if counts.Written+int64(n) > h.r.doc.Plan.Limits.MaxRecords {
		return &stopError{BlockRecords, fault.New(fault.Blocked, "write records", "cancel the job and make a plan with a higher limit",
			"more than the %d records that the plan allows are selected", h.r.doc.Plan.Limits.MaxRecords)}
	}
	return h.r.limiter.take(ctx, n, size)
}

// limits holds the counts against the plan's limits.
func (h *jobShard) limits() error {
	c, l := h.r.counts(), h.r.doc.Plan.Limits
	switch {
	case c.DLQ > l.MaxDLQ:
		return &stopError{BlockDLQ, fault.New(fault.Blocked, "write records", "look at what was set aside, then cancel the job or make a plan with a higher limit",
			"%d records were set aside, the plan allows %d", c.DLQ, l.MaxDLQ)}
	case c.InDoubt > l.MaxInDoubt:
		return &stopError{BlockInDoubt, fault.New(fault.Blocked, "write records", "find out at the receiver what became of them",
			"%d records are in doubt, the plan allows %d", c.InDoubt, l.MaxInDoubt)}
	}
	return nil
}

// announce makes the range durable before it is sent, where the sink itself stops no older epoch: with it goes the check
// that this epoch is still the job's.
func (h *jobShard) announce(ctx context.Context, p *piece) error {
	if h.r.target.Fences || len(p.items) == 0 {
		return nil
	}
	h.r.mu.Lock()
	h.r.job.Shards[h.i].Sending = p.next
	h.r.mu.Unlock()
	return h.r.save(ctx, auditlog.Entry{})
}

func (h *jobShard) park(ctx context.Context, parked []Parked) error {
	if len(parked) == 0 {
		return nil
	}
	e := h.r.entry(auditlog.Note, "replay.park", parkDetail(parked))
	if err := h.r.s.o.Ledger.Park(ctx, parked, e); err != nil {
		return &ledgerError{err}
	}
	return nil
}

// parkDetail says what was set aside: how many, and the first of them.
func parkDetail(parked []Parked) map[string]any {
	const most = 20
	var places []string
	reasons := map[string]int{}
	for i, p := range parked {
		if i < most {
			places = append(places, place(p.Topic, p.Partition, p.Offset))
		}
		reason := strings.ToValidUTF8(p.Reason, "?")
		key := string(p.Kind) + ": " + clip(reason)
		if len(reasons) < most || reasons[key] > 0 {
			reasons[key]++
		}
	}
	return map[string]any{"records": fmt.Sprint(len(parked)), "first": places, "reasons": reasons}
}

func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

func (h *jobShard) wrote(ctx context.Context, p *piece, w Written) error {
	c := p.counts
	c.DLQ += int64(len(w.Refused))
	c.Written = int64(len(p.items) - len(w.Refused))
	c.Bytes = p.bytes
	h.r.mu.Lock()
	t := &h.r.job.Shards[h.i]
	t.Counts.Add(c)
	t.Next, t.SinkNext, t.Sending = p.next, p.next, 0
	h.r.dirty = true
	h.r.rate.add(c.Written, time.Now())
	canary := h.r.canary
	if h.r.canary = max(0, canary-c.Written); canary > 0 && h.r.canary == 0 {
		close(h.r.proven)
	}
	h.r.mu.Unlock()
	if canary > 0 && len(w.Refused) > 0 {
		return &stopError{BlockCanary, fault.New(fault.Blocked, "write the first records", "look at the refusal, then cancel the job or resume it",
			"the sink refused offset %d: %s", w.Refused[0].Offset, w.Refused[0].Reason)}
	}
	if h.none {
		if err := h.r.save(ctx, auditlog.Entry{}); err != nil {
			return err
		}
	}
	return h.limits()
}

// passed does nothing: a job's offsets count once they are part of the sink's progress.
func (h *jobShard) passed(int64) {}

// unsure keeps what is known of a piece that was sent in part: up to doubt.Done it is done. At a receiver that drops what
// it has seen, the rest is sent again; elsewhere what may have been applied is in doubt.
func (h *jobShard) unsure(ctx context.Context, p *piece, doubt *InDoubt) error {
	if !h.none {
		return nil // the sink's own progress tells
	}
	to := min(max(doubt.Done, p.from), p.next)
	if err := h.recount(ctx, to); err != nil {
		return err
	}
	h.r.mu.Lock()
	h.r.job.Shards[h.i].Sending = 0
	h.r.mu.Unlock()
	if h.r.idempotent() || len(doubt.Unsure) == 0 {
		return h.r.save(ctx, auditlog.Entry{})
	}
	parked := make([]Parked, len(doubt.Unsure))
	for i, o := range doubt.Unsure {
		parked[i] = h.inDoubt(o)
	}
	if err := h.park(ctx, parked); err != nil {
		return err
	}
	h.doubts = append(h.doubts, doubt.Unsure...) // the shape is in use until the attempt has ended
	return h.r.save(ctx, auditlog.Entry{})
}
