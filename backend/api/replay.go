package api

import "encoding/json"

// PlanSpec asks for a replay plan. Either File holds a whole plan document, or the rest selects and shapes one.
type PlanSpec struct {
	File       json.RawMessage `json:"file,omitempty" doc:"A whole plan document"`
	Source     string          `json:"source,omitempty" doc:"CLUSTER/TOPIC"`
	Offsets    []string        `json:"offsets,omitempty" doc:"PARTITION:FROM-TO, TO not included"`
	Since      string          `json:"since,omitempty" doc:"RFC 3339, or a duration back from now"`
	Until      string          `json:"until,omitempty"`
	All        bool            `json:"all,omitempty" doc:"The whole topic"`
	Filter     string          `json:"filter,omitempty" doc:"CEL"`
	Key        string          `json:"key,omitempty" doc:"Only records whose key is exactly this text"`
	Header     string          `json:"header,omitempty" doc:"NAME=VALUE"`
	OnError    string          `json:"on_error,omitempty" enum:"stop,dlq,drop"`
	To         string          `json:"to,omitempty" doc:"SINK or SINK/TARGET"`
	Rate       int64           `json:"rate,omitempty" doc:"Records a second"`
	MaxRecords int64           `json:"max_records,omitempty"`
	Title      string          `json:"title,omitempty"`
	Reason     string          `json:"reason,omitempty"`
	Overlap    bool            `json:"allow_overlap,omitempty"`
	DryRun     bool            `json:"dry_run,omitempty"`
	Sample     int             `json:"sample,omitempty" maximum:"100"`
}

// PlanAnswer is a plan with its state, its evidence and, where asked, samples of what would be written.
type PlanAnswer struct {
	Head
	PlanID    string          `json:"plan_id"`
	PlanHash  string          `json:"plan_hash"`
	State     string          `json:"state"`
	Reason    string          `json:"reason,omitempty" doc:"Of the state"`
	Title     string          `json:"title,omitempty"`
	Author    string          `json:"author,omitempty"`
	Created   string          `json:"created,omitempty"`
	Risk      int             `json:"risk"`
	Needed    int             `json:"approvals_needed"`
	Have      int             `json:"approvals_have"`
	Approvals []PlanApproval  `json:"approvals" nullable:"false" doc:"Every signature under it, also those that no longer count"`
	Evidence  *Evidence       `json:"evidence,omitempty"`
	Warnings  []Warning       `json:"warnings" nullable:"false"`
	Document  json.RawMessage `json:"plan,omitempty"`
	Canonical string          `json:"canonical,omitempty"`
	Samples   []Sample        `json:"samples,omitempty"`
	Jobs      []string        `json:"jobs,omitempty"`
}

// PlanApproval is one signature under a plan and the evidence that was seen.
type PlanApproval struct {
	By       string `json:"by"`
	At       string `json:"at"`
	NotAfter string `json:"not_after"`
	Evidence string `json:"evidence_sha256,omitempty"`
	Self     bool   `json:"self_approved,omitempty"`
	KeyID    string `json:"key_id"`
	Sig      string `json:"sig"`
}

// Evidence is what the dry run counted.
type Evidence struct {
	SHA256     string `json:"sha256"`
	At         string `json:"at"`
	Seen       string `json:"seen"`
	Filtered   string `json:"filtered"`
	WouldWrite string `json:"would_write"`
	WouldDLQ   string `json:"would_dlq"`
	Dropped    string `json:"dropped" doc:"Those of filtered on which the filter failed"`
	DisorderMS string `json:"largest_disorder_ms" doc:"By how much a record was older than the newest before it in its partition, at most"`
	Holes      Holes  `json:"holes"`
	Bytes      string `json:"bytes"`
	Seconds    *int64 `json:"est_seconds" nullable:"true"`
	Samples    int    `json:"samples"`
}

// Holes are offsets that hold no record.
type Holes struct {
	Control   string `json:"control"`
	Aborted   string `json:"aborted"`
	Compacted string `json:"compacted"`
}

// Warning is something an approver should know.
type Warning struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Sample is one record that would be written. It is shown, never stored.
type Sample struct {
	Partition int32  `json:"partition"`
	Offset    string `json:"offset"`
	Time      string `json:"time"`
	Key       string `json:"key,omitempty"`
	Value     string `json:"value,omitempty"`
}

// ApproveSpec approves, rejects or withdraws.
type ApproveSpec struct {
	Hash       string `json:"hash,omitempty" doc:"The full hash, as the approver saw it"`
	Reject     bool   `json:"reject,omitempty"`
	Withdraw   bool   `json:"withdraw,omitempty"`
	Reason     string `json:"reason,omitempty"`
	TTLSeconds int64  `json:"ttl_s,omitempty"`
}

// ApprovalAnswer is one approval.
type ApprovalAnswer struct {
	Head
	PlanID   string `json:"plan_id"`
	PlanHash string `json:"plan_hash"`
	State    string `json:"state"`
	Evidence string `json:"evidence_sha256,omitempty"`
	By       string `json:"by"`
	At       string `json:"at"`
	NotAfter string `json:"not_after,omitempty"`
	Have     int    `json:"have"`
	Need     int    `json:"need"`
	KeyID    string `json:"key_id,omitempty"`
	Sig      string `json:"sig,omitempty"`
	Self     bool   `json:"self_approved,omitempty"`
}

// RunSpec starts or resumes a job.
type RunSpec struct {
	TakeOver   bool     `json:"take_over,omitempty"`
	Rate       int64    `json:"rate,omitempty" doc:"Lower only"`
	Reason     string   `json:"reason,omitempty"`
	AcceptGaps []string `json:"accept_gaps,omitempty" doc:"PARTITION:FROM-TO"`
}

// JobAnswer is a job.
type JobAnswer struct {
	Head
	JobID   string     `json:"job_id"`
	PlanID  string     `json:"plan_id"`
	Hash    string     `json:"plan_hash"`
	Title   string     `json:"title,omitempty"`
	Author  string     `json:"author" doc:"Who made the plan"`
	Actor   string     `json:"actor" doc:"Who ran it"`
	Cluster string     `json:"cluster"`
	Topic   string     `json:"topic"`
	Sink    string     `json:"sink"`
	Target  string     `json:"target,omitempty"`
	Epoch   int64      `json:"epoch"`
	State   string     `json:"state"`
	Reason  string     `json:"reason,omitempty"`
	Blocked string     `json:"blocked,omitempty" doc:"The rule that blocks it"`
	Resumes bool       `json:"resumes,omitempty" doc:"It goes on by itself once the cause is gone"`
	Outcome *string    `json:"outcome" nullable:"true" doc:"clean, exceptions, failed, cancelled; null while it runs"`
	Counts  Counts     `json:"counts"`
	Shards  []JobShard `json:"shards" nullable:"false"`
	Rate    JobRate    `json:"rate"`
	ETA     *int64     `json:"eta_s,omitempty"`
	Created string     `json:"created,omitempty"`
	Started string     `json:"started,omitempty"`
	Updated string     `json:"updated,omitempty"`
	Audit   AuditPoint `json:"audit"`
}

// Counts are the terms of the count equation.
type Counts struct {
	Offsets   string `json:"offsets"`
	Seen      string `json:"seen"`
	Written   string `json:"written"`
	Filtered  string `json:"filtered"`
	DLQ       string `json:"dlq"`
	InDoubt   string `json:"in_doubt"`
	Lost      string `json:"lost"`
	Control   string `json:"control"`
	Aborted   string `json:"aborted"`
	Compacted string `json:"compacted"`
}

// JobShard is one partition of a job.
type JobShard struct {
	Partition int32  `json:"p"`
	State     string `json:"state"`
	Blocked   string `json:"blocked,omitempty" doc:"The rule that blocks it"`
	Reason    string `json:"reason,omitempty"`
	Start     string `json:"start"`
	Next      string `json:"next"`
	End       string `json:"end"`
	SinkNext  string `json:"sink_next"`
	Counts    Counts `json:"counts"`
}

// JobRate is how fast a job goes.
type JobRate struct {
	RecordsPerSecond float64 `json:"records_per_s"`
	Cap              int64   `json:"cap" doc:"0: none"`
}

// ReplayItem is a plan or a job in a list.
type ReplayItem struct {
	Type    string `json:"type" enum:"plan,job"`
	ID      string `json:"id"`
	Title   string `json:"title"`
	State   string `json:"state"`
	Reason  string `json:"reason,omitempty"`
	Blocked string `json:"blocked,omitempty"`
	Resumes bool   `json:"resumes,omitempty" doc:"It goes on by itself once the cause is gone"`
	Outcome string `json:"outcome,omitempty"`
	Plan    string `json:"plan_id,omitempty" doc:"Of a job"`
	Needed  int    `json:"approvals_needed,omitempty" doc:"Of a plan"`
	Author  string `json:"author,omitempty"`
	Seen    string `json:"seen,omitempty"`
	Total   string `json:"total,omitempty"`
	Created string `json:"created,omitempty"`
}
