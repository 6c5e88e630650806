package replay

import (
	"encoding/json"
	"slices"
	"time"

	"freshet/backend/fault"
)

// PlanState is where a stored plan stands. A draft has no hash and is not stored.
type PlanState string

const (
	PlanPlanned    PlanState = "PLANNED"
	PlanDryRun     PlanState = "DRY_RUN"
	PlanReady      PlanState = "READY"
	PlanAwaiting   PlanState = "AWAITING"
	PlanApproved   PlanState = "APPROVED"
	PlanConsumed   PlanState = "CONSUMED"
	PlanRejected   PlanState = "REJECTED"
	PlanWithdrawn  PlanState = "WITHDRAWN"
	PlanExpired    PlanState = "EXPIRED"
	PlanSuperseded PlanState = "SUPERSEDED"
	PlanInvalid    PlanState = "INVALID"
	PlanRevoked    PlanState = "REVOKED"
)

// planMoves is the state machine: every move that may be made, and no other. PLANNED may be submitted too: the
// approval then names no evidence, and the audit history says so. Where no approval is needed, a plan runs as it is.
var planMoves = map[PlanState][]PlanState{
	PlanPlanned:  {PlanDryRun, PlanAwaiting, PlanApproved, PlanRejected, PlanWithdrawn, PlanSuperseded, PlanExpired, PlanInvalid, PlanConsumed},
	PlanDryRun:   {PlanReady, PlanPlanned},
	PlanReady:    {PlanDryRun, PlanAwaiting, PlanApproved, PlanRejected, PlanWithdrawn, PlanSuperseded, PlanExpired, PlanInvalid, PlanConsumed},
	PlanAwaiting: {PlanAwaiting, PlanApproved, PlanRejected, PlanWithdrawn, PlanExpired},
	PlanApproved: {PlanConsumed, PlanInvalid, PlanExpired, PlanRevoked, PlanWithdrawn},
}

// CanMove reports whether a plan may go from s to t.
func (s PlanState) CanMove(t PlanState) bool { return slices.Contains(planMoves[s], t) }

// StoredPlan is a plan's canonical document and what has become of it. The document never changes.
type StoredPlan struct {
	ID       string          `json:"plan_id"`
	Hash     string          `json:"plan_hash"`
	Document json.RawMessage `json:"plan"` // canonical bytes
	State    PlanState       `json:"state"`
	Reason   string          `json:"reason,omitempty"` // of the state
	Title    string          `json:"title"`
	Author   string          `json:"author"`
	Actor    string          `json:"actor"` // who stored it; an imported document may name another author
	Risk     int             `json:"risk"`
	Needed   int             `json:"approvals_needed"`
	Warnings []Warning       `json:"warnings"`
	Evidence *Evidence       `json:"evidence,omitempty"`
	Created  time.Time       `json:"created"`
	Updated  time.Time       `json:"updated"`
}

// Move sets the state and its reason, where the state machine has that move.
func (p *StoredPlan) Move(to PlanState, reason string) error {
	if !p.State.CanMove(to) {
		e := fault.New(fault.Conflict, "move plan "+p.ID, "make a new plan from it", "a plan that is %s cannot become %s", p.State, to)
		e.Code = "BAD_STATE"
		return e
	}
	p.State, p.Reason = to, reason
	return nil
}

// Warning is something an approver should know.
type Warning struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Evidence is what a dry run counted. It holds no record contents.
type Evidence struct {
	SHA256     string    `json:"sha256"` // of the rest, canonical
	At         time.Time `json:"at"`
	Seen       int64     `json:"seen,string"`
	Filtered   int64     `json:"filtered,string"`
	WouldWrite int64     `json:"would_write,string"`
	WouldDLQ   int64     `json:"would_dlq,string"`
	Dropped    int64     `json:"dropped,string"`
	Holes      Holes     `json:"holes"`
	Bytes      int64     `json:"bytes,string"`
	// Seconds is how long the run takes at the plan's rate, nil where the plan has none.
	Seconds *int64 `json:"est_seconds"`
	Samples int    `json:"samples"`
	// DisorderMS is by how much a record was older than the newest before it in its partition, at most.
	DisorderMS int64 `json:"largest_disorder_ms,string"`
	// Selection is the SHA-256 over the partition, offset, key and value of each record that would be written, in order.
	Selection string `json:"selection_sha256"`
}

// Holes are offsets that hold no record.
type Holes struct {
	Control   int64 `json:"control,string"`
	Aborted   int64 `json:"aborted,string"`
	Compacted int64 `json:"compacted,string"`
}

// Sample is one record that would be written. It is shown, never stored.
type Sample struct {
	Partition int32
	Offset    int64
	Time      time.Time
	Key       string
	Value     string
}

// Approval is one person's signature under a plan and the evidence that was seen.
type Approval struct {
	PlanID    string    `json:"plan_id"`
	PlanHash  string    `json:"plan_hash"`
	Evidence  string    `json:"evidence_sha256"` // "" where there was no dry run
	By        string    `json:"by"`
	At        time.Time `json:"at"`
	NotAfter  time.Time `json:"not_after"`
	Self      bool      `json:"self_approved"` // by the plan's author, where the profile is local
	KeyID     string    `json:"key_id"`
	Signature []byte    `json:"sig"`
}
