package replaytest

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"time"

	"freshet/backend/auditlog"
	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/replay"
)

// MemoryLedger is a replay.Ledger in memory. Each change and its entry are made together or not at all. The zero value is
// ready.
type MemoryLedger struct {
	// Fail, where not nil, is asked before each change; an error from it is returned and nothing changes.
	Fail func(action string) error

	mu        sync.Mutex
	entries   []auditlog.Entry
	plans     []replay.StoredPlan
	approvals []replay.Approval
	jobs      []replay.Job
	parked    []replay.Parked
}

var _ replay.Ledger = (*MemoryLedger)(nil)

// Entries returns the audit history.
func (l *MemoryLedger) Entries() []auditlog.Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.entries)
}

// Copy is the ledger as a crash at this moment would leave it.
func (l *MemoryLedger) Copy() *MemoryLedger {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := &MemoryLedger{entries: slices.Clone(l.entries), plans: slices.Clone(l.plans), approvals: slices.Clone(l.approvals), parked: slices.Clone(l.parked)}
	for _, j := range l.jobs {
		c.jobs = append(c.jobs, copyJob(j))
	}
	return c
}

// SetJob replaces a stored job, as a ledger restored from a backup would hold it.
func (l *MemoryLedger) SetJob(j replay.Job) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.jobs {
		if l.jobs[i].ID == j.ID {
			l.jobs[i] = copyJob(j)
		}
	}
}

// SetDocument puts another document under a stored plan's name, as somebody who tampers would.
func (l *MemoryLedger) SetDocument(hash string, document []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.plans {
		if l.plans[i].Hash == hash {
			l.plans[i].Document = document
		}
	}
}

func copyJob(j replay.Job) replay.Job {
	j.Shards = slices.Clone(j.Shards)
	return j
}

func (l *MemoryLedger) fail(action string) error {
	if l.Fail == nil {
		return nil
	}
	return l.Fail(action)
}

func (l *MemoryLedger) append(e auditlog.Entry) uint64 {
	e.Seq, e.At = uint64(len(l.entries)), time.Now().UTC()
	e.Detail = json.RawMessage(slices.Clone(e.Detail))
	l.entries = append(l.entries, e)
	return e.Seq
}

// change runs fn and then appends e, unless fn fails.
func (l *MemoryLedger) change(ctx context.Context, action string, e auditlog.Entry, fn func() error) error {
	if err := ctx.Err(); err != nil {
		return fault.Wrap(fault.Interrupted, "write the ledger", err, "")
	}
	if err := l.fail(action); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := fn(); err != nil {
		return err
	}
	if e.Action != "" {
		l.append(e)
	}
	return nil
}

// Record implements auditlog.Recorder.
func (l *MemoryLedger) Record(ctx context.Context, e auditlog.Entry) (seq uint64, err error) {
	err = l.change(ctx, "Record", auditlog.Entry{}, func() error {
		seq = l.append(e)
		return nil
	})
	return seq, err
}

// SavePlan implements replay.Ledger.
func (l *MemoryLedger) SavePlan(ctx context.Context, p replay.StoredPlan, e auditlog.Entry) error {
	return l.change(ctx, "SavePlan", e, func() error {
		for _, q := range l.plans {
			if q.Hash == p.Hash {
				return fault.New(fault.Exists, "save plan "+p.ID, "", "it is there")
			}
		}
		l.plans = append(l.plans, p)
		return nil
	})
}

// Plan implements replay.Ledger.
func (l *MemoryLedger) Plan(_ context.Context, ref string) (replay.StoredPlan, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []replay.StoredPlan
	for _, p := range l.plans {
		if p.ID == ref || p.Hash == ref {
			return p, nil
		}
		if len(ref) >= 8 && (strings.HasPrefix(p.ID, ref) || strings.HasPrefix(p.Hash, ref)) {
			found = append(found, p)
		}
	}
	switch len(found) {
	case 0:
		return replay.StoredPlan{}, fault.New(fault.NotFound, "find plan "+ref, "", "there is none")
	case 1:
		return found[0], nil
	}
	return replay.StoredPlan{}, fault.New(fault.Invalid, "find plan "+ref, "", "%d plans begin with it", len(found))
}

// Plans implements replay.Ledger.
func (l *MemoryLedger) Plans(context.Context) ([]replay.StoredPlan, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := slices.Clone(l.plans)
	slices.Reverse(out)
	return out, nil
}

// UpdatePlan implements replay.Ledger.
func (l *MemoryLedger) UpdatePlan(ctx context.Context, from replay.PlanState, p replay.StoredPlan, e auditlog.Entry) error {
	return l.change(ctx, "UpdatePlan", e, func() error { return l.updatePlan(from, p) })
}

func (l *MemoryLedger) updatePlan(from replay.PlanState, p replay.StoredPlan) error {
	for i, q := range l.plans {
		if q.Hash != p.Hash {
			continue
		}
		if q.State != from {
			return fault.New(fault.Conflict, "update plan "+p.ID, "", "it is %s, not %s", q.State, from)
		}
		p.Document = q.Document
		l.plans[i] = p
		return nil
	}
	return fault.New(fault.NotFound, "update plan "+p.ID, "", "there is none")
}

// Approve implements replay.Ledger.
func (l *MemoryLedger) Approve(ctx context.Context, a replay.Approval, from replay.PlanState, p replay.StoredPlan, e auditlog.Entry) error {
	return l.change(ctx, "Approve", e, func() error {
		if err := l.updatePlan(from, p); err != nil {
			return err
		}
		l.approvals = append(l.approvals, a)
		return nil
	})
}

// Approvals implements replay.Ledger.
func (l *MemoryLedger) Approvals(_ context.Context, planHash string) ([]replay.Approval, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []replay.Approval
	for _, a := range l.approvals {
		if a.PlanHash == planHash {
			out = append(out, a)
		}
	}
	return out, nil
}

// CreateJob implements replay.Ledger.
func (l *MemoryLedger) CreateJob(ctx context.Context, from replay.PlanState, j replay.Job, e auditlog.Entry) error {
	return l.change(ctx, "CreateJob", e, func() error {
		for _, k := range l.jobs {
			if k.PlanHash == j.PlanHash && k.Run == j.Run || k.ID == j.ID {
				return fault.New(fault.Conflict, "make job "+j.ID, "", "there is one: %s", k.ID)
			}
		}
		for i := range l.plans {
			if p := &l.plans[i]; p.Hash == j.PlanHash {
				if p.State != from {
					return fault.New(fault.Conflict, "make job "+j.ID, "", "its plan is %s, not %s", p.State, from)
				}
				p.State, p.Reason = replay.PlanConsumed, ""
				l.jobs = append(l.jobs, copyJob(j))
				return nil
			}
		}
		return fault.New(fault.NotFound, "make job "+j.ID, "", "there is no plan %s", j.PlanHash)
	})
}

func (l *MemoryLedger) job(id string) (*replay.Job, error) {
	for i := range l.jobs {
		if l.jobs[i].ID == id {
			return &l.jobs[i], nil
		}
	}
	return nil, fault.New(fault.NotFound, "find job "+id, "", "there is none")
}

// Job implements replay.Ledger.
func (l *MemoryLedger) Job(_ context.Context, id string) (replay.Job, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	j, err := l.job(id)
	if err != nil {
		return replay.Job{}, err
	}
	return copyJob(*j), nil
}

// Jobs implements replay.Ledger.
func (l *MemoryLedger) Jobs(context.Context) ([]replay.Job, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []replay.Job
	for _, j := range l.jobs {
		out = append(out, copyJob(j))
	}
	slices.Reverse(out)
	return out, nil
}

// TakeJob implements replay.Ledger.
func (l *MemoryLedger) TakeJob(ctx context.Context, id, holder string, ttl time.Duration, takeOver bool, e auditlog.Entry) (out replay.Job, err error) {
	err = l.change(ctx, "TakeJob", auditlog.Entry{}, func() error {
		j, err := l.job(id)
		if err != nil {
			return err
		}
		now := time.Now().UTC()
		if j.Holder != "" && j.Holder != holder && now.Before(j.LeaseUntil) && !takeOver {
			return fault.New(fault.Conflict, "take job "+id, "", "%s has it", j.Holder)
		}
		j.Epoch++
		j.Holder, j.LeaseUntil, j.Updated = holder, now.Add(ttl), now
		j.Intent = l.append(e)
		out = copyJob(*j)
		return nil
	})
	return out, err
}

// RenewJob implements replay.Ledger.
func (l *MemoryLedger) RenewJob(ctx context.Context, id string, epoch int64, ttl time.Duration) error {
	return l.change(ctx, "RenewJob", auditlog.Entry{}, func() error {
		j, err := l.job(id)
		if err != nil {
			return err
		}
		if j.Epoch != epoch {
			return fault.New(fault.Conflict, "renew job "+id, "", "its epoch is %d", j.Epoch)
		}
		j.LeaseUntil = time.Now().UTC().Add(ttl)
		return nil
	})
}

// UpdateJob implements replay.Ledger.
func (l *MemoryLedger) UpdateJob(ctx context.Context, j replay.Job, e auditlog.Entry) error {
	action := "UpdateJob"
	if e.Action != "" {
		action = e.Action
	}
	return l.change(ctx, action, e, func() error {
		old, err := l.job(j.ID)
		if err != nil {
			return err
		}
		if old.Epoch != j.Epoch {
			return fault.New(fault.Conflict, "update job "+j.ID, "", "its epoch is %d", old.Epoch)
		}
		if j.Holder != "" {
			j.Holder, j.LeaseUntil = old.Holder, old.LeaseUntil
		} else {
			j.LeaseUntil = time.Time{}
		}
		j.Intent = old.Intent
		*old = copyJob(j)
		return nil
	})
}

// Park implements replay.Ledger.
func (l *MemoryLedger) Park(ctx context.Context, parked []replay.Parked, e auditlog.Entry) error {
	return l.change(ctx, "Park", e, func() error {
		for _, p := range parked {
			p.At = time.Now().UTC()
			if !slices.ContainsFunc(l.parked, func(q replay.Parked) bool {
				return q.Owner == p.Owner && q.Topic == p.Topic && q.Partition == p.Partition && q.Offset == p.Offset
			}) {
				l.parked = append(l.parked, p)
			}
		}
		return nil
	})
}

// Parked implements replay.Ledger.
func (l *MemoryLedger) Parked(_ context.Context, owner string, limit int) ([]replay.Parked, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []replay.Parked
	for i := len(l.parked) - 1; i >= 0 && (limit <= 0 || len(out) < limit); i-- {
		if l.parked[i].Owner == owner {
			out = append(out, l.parked[i])
		}
	}
	return out, nil
}

// CountParked implements replay.Ledger.
func (l *MemoryLedger) CountParked(_ context.Context, owner, topic string, r stream.Range) (map[replay.ParkKind]int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := map[replay.ParkKind]int64{}
	for _, p := range l.parked {
		if p.Owner == owner && (topic == "" || p.Topic == topic && p.Partition == r.Partition && p.Offset >= r.From && p.Offset < r.To) {
			n[p.Kind]++
		}
	}
	return n, nil
}
