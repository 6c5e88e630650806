package replay

import (
	"slices"
	"time"

	"freshet/backend/fault"
)

// JobState is where a job stands.
type JobState string

const (
	JobCreated    JobState = "CREATED"
	JobPreflight  JobState = "PREFLIGHT"
	JobRunning    JobState = "RUNNING"
	JobPausing    JobState = "PAUSING"
	JobPaused     JobState = "PAUSED"
	JobBlocked    JobState = "BLOCKED"
	JobDraining   JobState = "DRAINING"
	JobVerifying  JobState = "VERIFYING"
	JobCompleted  JobState = "COMPLETED"
	JobCancelling JobState = "CANCELLING"
	JobCancelled  JobState = "CANCELLED"
	JobFenced     JobState = "FENCED"
	JobFailed     JobState = "FAILED"
)

// jobMoves is the state machine: every move that may be made, and no other. A process that starts on a job whose owner
// died goes through PREFLIGHT again, hence the moves back to it.
var jobMoves = map[JobState][]JobState{
	JobCreated:    {JobPreflight, JobPaused, JobCancelled},
	JobPreflight:  {JobPreflight, JobRunning, JobBlocked, JobFailed, JobPaused, JobCancelling, JobFenced},
	JobRunning:    {JobPreflight, JobPausing, JobBlocked, JobCancelling, JobDraining, JobFenced, JobFailed},
	JobPausing:    {JobPaused, JobPreflight, JobCancelling, JobBlocked, JobFenced, JobDraining, JobFailed},
	JobPaused:     {JobPreflight, JobCancelling},
	JobBlocked:    {JobPreflight, JobPaused, JobCancelling, JobFenced, JobFailed},
	JobDraining:   {JobPreflight, JobVerifying, JobBlocked, JobCancelling, JobFenced},
	JobVerifying:  {JobPreflight, JobCompleted, JobBlocked, JobCancelling, JobFenced},
	JobCancelling: {JobCancelled, JobFenced},
	JobFenced:     {JobPreflight, JobCancelling},
	JobCompleted:  nil,
	JobCancelled:  nil,
	JobFailed:     nil,
}

// CanMove reports whether a job may go from s to t.
func (s JobState) CanMove(t JobState) bool { return slices.Contains(jobMoves[s], t) }

// Terminal reports whether a job in s is over.
func (s JobState) Terminal() bool {
	return s == JobCompleted || s == JobCancelled || s == JobFailed
}

// Active reports whether a job in s is to be driven by a process: a new owner takes it up.
func (s JobState) Active() bool {
	switch s {
	case JobCreated, JobPreflight, JobRunning, JobPausing, JobDraining, JobVerifying, JobCancelling:
		return true
	}
	return false
}

// Outcome is how a job ended.
type Outcome string

const (
	OutcomeClean      Outcome = "clean"
	OutcomeExceptions Outcome = "exceptions" // completed, with records in dlq, in doubt or lost
	OutcomeFailed     Outcome = "failed"
	OutcomeCancelled  Outcome = "cancelled"
)

// Job is one run of one plan.
type Job struct {
	ID       string `json:"job_id"`
	PlanID   string `json:"plan_id"`
	PlanHash string `json:"plan_hash"`
	Run      int    `json:"run"` // from 1, within the plan
	Title    string `json:"title"`
	Author   string `json:"author"` // of the plan
	Actor    string `json:"actor"`  // who ran it
	Sink     string `json:"sink"`
	Target   string `json:"target"` // topic, table or path at the sink
	Cluster  string `json:"cluster"`
	Topic    string `json:"topic"`

	State   JobState `json:"state"`
	Blocked Blocker  `json:"blocked,omitempty"` // why it is BLOCKED
	Reason  string   `json:"reason,omitempty"`  // of the state, in words
	Outcome Outcome  `json:"outcome,omitempty"`

	Epoch      int64     `json:"epoch"`
	Holder     string    `json:"holder,omitempty"`
	LeaseUntil time.Time `json:"lease_until,omitzero"`
	Intent     uint64    `json:"intent,string"` // the audit entry that announced this epoch's work

	Counts Counts       `json:"counts"`
	Shards []ShardState `json:"shards"`
	Rate   int64        `json:"rate"` // records/s at most, 0 none

	Created time.Time `json:"created"`
	Started time.Time `json:"started,omitzero"`
	Updated time.Time `json:"updated"`
}

// Move sets the state and its reason, where the state machine has that move.
func (j *Job) Move(to JobState, reason string) error {
	if !j.State.CanMove(to) {
		e := fault.New(fault.Conflict, "move job "+j.ID, "freshet replay show "+j.ID+" tells where it stands",
			"a job that is %s cannot become %s", j.State, to)
		e.Code = "BAD_STATE"
		return e
	}
	j.State, j.Reason = to, reason
	if to != JobBlocked {
		j.Blocked = ""
	}
	return nil
}

// Blocker is the rule that blocks a job or a shard.
type Blocker string

const (
	BlockGap         Blocker = "gap"            // the source no longer holds part of the range
	BlockDrift       Blocker = "drift"          // the source or the sink is no longer what was planned
	BlockSchema      Blocker = "schema"         // the sink's schema does not take the records
	BlockSinkAuth    Blocker = "sink-auth"      // the sink does not let us in
	BlockSinkDown    Blocker = "sink-down"      // the sink does not answer
	BlockSourceDown  Blocker = "source-down"    // the source does not answer
	BlockDisk        Blocker = "disk"           // the ledger cannot be written
	BlockInDoubt     Blocker = "in_doubt_limit" // more records in doubt than the plan allows
	BlockDLQ         Blocker = "dlq_limit"      // more records set aside than the plan allows
	BlockRecords     Blocker = "record_limit"   // more records selected than the plan allows
	BlockFilter      Blocker = "filter"         // the filter failed on a record, and the plan says stop
	BlockDecode      Blocker = "decode"         // a record could not be decoded, and the plan says stop
	BlockCanary      Blocker = "canary"         // one of the first records failed
	BlockUnexplained Blocker = "unexplained"    // the sink's progress is outside the range
	BlockMismatch    Blocker = "mismatch"       // the count equation does not close
	BlockSink        Blocker = "sink"           // the sink fails in another way
)

// Resumes reports whether a job that b blocks goes on by itself once the cause is gone.
func (b Blocker) Resumes() bool {
	return b == BlockSinkDown || b == BlockSourceDown || b == BlockDisk
}

// ShardPhase is where a shard stands.
type ShardPhase string

const (
	ShardWaiting    ShardPhase = "WAITING"
	ShardRunning    ShardPhase = "RUNNING"
	ShardHeld       ShardPhase = "HELD"
	ShardEndReached ShardPhase = "END_REACHED"
)

// ShardState is one partition of a job.
type ShardState struct {
	Partition int32      `json:"p"`
	State     ShardPhase `json:"state"`
	Blocked   Blocker    `json:"blocked,omitempty"`
	Reason    string     `json:"reason,omitempty"`
	Start     int64      `json:"start,string"`
	Next      int64      `json:"next,string"` // everything before it is counted
	End       int64      `json:"end,string"`
	SinkNext  int64      `json:"sink_next,string"`
	Counts    Counts     `json:"counts"`
	// Sending is the end of a batch from Next on that was announced and whose outcome is not recorded yet, 0 for none;
	// only at sinks that do not fence.
	Sending int64 `json:"sending,string,omitempty"`
	// Accepted are gaps that a person accepted as lost.
	Accepted []Gap `json:"accepted,omitempty"`
}

// Gap is a stretch of offsets, To not included.
type Gap struct {
	From int64 `json:"from,string"`
	To   int64 `json:"to,string"`
}

// Counts are the terms of the count equation, of one shard or of a job.
type Counts struct {
	Offsets   int64 `json:"offsets,string"` // of the range
	Seen      int64 `json:"seen,string"`    // records read
	Written   int64 `json:"written,string"`
	Filtered  int64 `json:"filtered,string"`
	DLQ       int64 `json:"dlq,string"`
	InDoubt   int64 `json:"in_doubt,string"`
	Lost      int64 `json:"lost,string"`
	Control   int64 `json:"control,string"`
	Aborted   int64 `json:"aborted,string"`
	Compacted int64 `json:"compacted,string"`
	// Dropped are those of Filtered on which the filter failed and the plan says drop.
	Dropped int64 `json:"dropped,string"`
	// Recovered are those of Seen that were counted by reading them again after a crash.
	Recovered int64 `json:"recovered,string"`
	Bytes     int64 `json:"bytes,string"` // of the records written: keys, values and headers
}

// Add adds d, term by term.
func (c *Counts) Add(d Counts) {
	c.Offsets += d.Offsets
	c.Seen += d.Seen
	c.Written += d.Written
	c.Filtered += d.Filtered
	c.DLQ += d.DLQ
	c.InDoubt += d.InDoubt
	c.Lost += d.Lost
	c.Control += d.Control
	c.Aborted += d.Aborted
	c.Compacted += d.Compacted
	c.Dropped += d.Dropped
	c.Recovered += d.Recovered
	c.Bytes += d.Bytes
}

// Closes reports whether the count equation holds: every offset of the range is accounted for, and every record seen
// has one outcome.
func (c Counts) Closes() bool {
	return c.Offsets == c.Seen+c.Control+c.Aborted+c.Compacted+c.Lost &&
		c.Seen == c.Written+c.Filtered+c.DLQ+c.InDoubt
}

// Clean reports whether every record selected was written.
func (c Counts) Clean() bool { return c.DLQ == 0 && c.InDoubt == 0 && c.Lost == 0 }
