package replay

import (
	"context"
	"time"

	"freshet/backend/auditlog"
	"freshet/backend/stream"
)

// Source is a log that ranges are read from. backend/kafka implements it, one for each cluster.
type Source interface {
	// ClusterID is the broker's own cluster id.
	ClusterID(ctx context.Context) (string, error)

	// Topic returns the topic with its ends and Config; fault.NotFound where there is none.
	Topic(ctx context.Context, topic string) (stream.Topic, error)

	// OffsetsAt returns for each partition the first offset whose record has a timestamp of at or later, with its leader
	// epoch (-1 unknown), and the end where there is none.
	OffsetsAt(ctx context.Context, topic string, at time.Time) (map[int32]OffsetEpoch, error)

	// Read reads one partition's committed records (read_committed) from an exact offset on.
	Read(ctx context.Context, req ReadRequest) (Reader, error)
}

// OffsetEpoch is an offset and the leader epoch it was given under, -1 where unknown.
type OffsetEpoch struct {
	Offset int64
	Epoch  int32
}

// ReadRequest says what to read.
type ReadRequest struct {
	Topic     string
	TopicID   [16]byte // all zero: do not check; else another id is fault.Drifted
	Partition int32
	From      int64
	To        int64 // not included; -1 follows the log for ever
	MaxBytes  int32 // of one batch, about; 0: the reader's default
}

// Reader reads one partition in order, for one goroutine.
type Reader interface {
	// Next returns what follows, waiting until there is something. After the last offset before To it returns io.EOF.
	// Retention that moved past the position is a *GapError; it repeats until the reader is closed. A transaction that
	// stays open does not end the wait: Waiting tells of it.
	Next(ctx context.Context) (Batch, error)
	Close()
}

// Batch is a stretch of a partition: [From, Next) with every offset of it accounted for.
type Batch struct {
	Records    []stream.Record
	From, Next int64
	Control    int64 // offsets held by transaction markers
	Aborted    int64 // offsets held by records of aborted transactions
	Compacted  int64 // offsets that hold nothing any more
	End        int64 // the partition's stable end when the batch was read
	ReadAt     time.Time
}

// GapError says that the log no longer holds [From, To).
type GapError struct {
	Topic     string
	Partition int32
	From, To  int64
}

// Sink is a place that records are written to. Each kind is a folder under replay/sink and passes replaytest.Sink.
type Sink interface {
	// Test reaches the sink and says in words what is there; it writes nothing.
	Test(ctx context.Context) (string, error)

	// Open takes the shard over: older epochs can write no more, and the writer tells where the sink itself holds the
	// shard's progress to be, which outranks every copy elsewhere. Another owner's newer epoch is fault.Conflict.
	Open(ctx context.Context, shard Shard) (Writer, error)

	Close() error
}

// Shard is one partition of one job or connector: the unit of progress and of fencing.
type Shard struct {
	Owner     string // job id or connector name; idempotency keys of a connector belong to it
	Epoch     int64  // grows with every take-over
	Topic     string
	TopicID   [16]byte
	Partition int32
	Start     int64  // where the range begins; progress before it is refused
	Target    string // topic, table or path at the sink; "" lets the sink derive it from the record
	Nonce     string // of the plan, for idempotency keys
}

// Writer writes one shard's batches in order, for one goroutine.
type Writer interface {
	// Progress is what the sink holds: the next offset to write, Start where it holds none, and the last position applied.
	Progress() Progress

	// Write applies the items and moves the progress to w.Next, in one transaction where the sink has one. Items that the
	// sink refuses for good are in Refused, and the rest is applied; any other failure is an error and nothing of the
	// batch counts as applied, though a sink without transactions may have done part of it (InDoubt in the error's chain
	// says so).
	Write(ctx context.Context, w Write) (Written, error)

	Close(ctx context.Context) error
}

// Progress is how far a shard has got at its sink.
type Progress struct {
	Next     int64
	Position stream.Position
}

// Write is one batch for a Writer. Next may lie past the last item, for offsets that were filtered or hold nothing.
type Write struct {
	Items []Item
	Next  int64
}

// Item is one record to write, with its decoded change where it is one.
type Item struct {
	Record *stream.Record
	Value  *stream.Value       // the decoded value; nil where it was not decoded
	Change *stream.Change      // nil for a record that is no change event
	Schema *stream.TableSchema // that Change was written with; nil where the record names none
}

// Written says what became of a batch.
type Written struct {
	Applied   int64 // items that had an effect, or would have had one but for an equal state
	Duplicate int64 // items dropped since their position was applied already
	Refused   []Refusal
	Before    time.Time // just before the sink was asked to commit
	After     time.Time // just after it had
}

// Refusal is an item that the sink refuses for good.
type Refusal struct {
	Offset int64
	Reason string
}

// Ledger keeps plans, approvals, jobs and their progress, each change in one transaction with the audit entry that
// tells of it. backend/store implements it; replaytest.Ledger is its conformance suite.
type Ledger interface {
	auditlog.Recorder

	SavePlan(ctx context.Context, p StoredPlan, e auditlog.Entry) error
	// Plan finds a plan by id, hash or an unambiguous prefix of either of at least 8 characters.
	Plan(ctx context.Context, ref string) (StoredPlan, error)
	Plans(ctx context.Context) ([]StoredPlan, error)
	// UpdatePlan changes state and evidence; fault.Conflict where the stored state is not from.
	UpdatePlan(ctx context.Context, from PlanState, p StoredPlan, e auditlog.Entry) error
	Approve(ctx context.Context, a Approval, p StoredPlan, e auditlog.Entry) error
	Approvals(ctx context.Context, planHash string) ([]Approval, error)

	// CreateJob makes the job and consumes its plan in one transaction.
	CreateJob(ctx context.Context, j Job, e auditlog.Entry) error
	Job(ctx context.Context, id string) (Job, error)
	Jobs(ctx context.Context) ([]Job, error)
	// TakeJob gives the job's lease to holder until now+ttl, with the next epoch; fault.Conflict while another live
	// holder has it, unless takeOver.
	TakeJob(ctx context.Context, id, holder string, ttl time.Duration, takeOver bool, e auditlog.Entry) (Job, error)
	// RenewJob keeps the lease; fault.Conflict where epoch is no longer the job's.
	RenewJob(ctx context.Context, id string, epoch int64, ttl time.Duration) error
	// UpdateJob stores state, reason, counts, shards and rate of a job whose epoch is still j.Epoch; fault.Conflict
	// otherwise. A zero e (no Action) records progress only.
	UpdateJob(ctx context.Context, j Job, e auditlog.Entry) error
}
