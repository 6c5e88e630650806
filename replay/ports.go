package replay

import (
	"context"
	"fmt"
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
	// stays open does not end the wait. The batch belongs to the caller.
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

func (e *GapError) Error() string {
	return fmt.Sprintf("%s/%d: the log no longer holds offsets %d to %d", e.Topic, e.Partition, e.From, e.To-1)
}

// Sink is a place that records are written to. Each kind is a folder under replay/sink and passes replaytest.Sink.
type Sink interface {
	// Test reaches the sink and says in words what is there; it writes nothing.
	Test(ctx context.Context) (string, error)

	// Open takes the shard over: older epochs can write no more, and the writer tells where the sink itself holds the
	// shard's progress to be, which outranks every copy elsewhere. Another owner's newer epoch is fault.Conflict. The
	// same epoch may open again, as is done after a Write whose outcome is unknown: the earlier writer can write no more.
	Open(ctx context.Context, shard Shard) (Writer, error)

	Close() error
}

// Holder is a Sink that can tell what it holds of one key now. It writes nothing.
type Holder interface {
	// Held looks at the row of item's key, beside the shard's progress at the same moment. An error says why it cannot
	// tell.
	Held(ctx context.Context, shard Shard, item *Item) (Held, error)
}

// Held is what a sink holds of one key.
type Held struct {
	Table string
	Found bool
	Why   string // of a row that is not found, "" where there is just none
	Row   []byte // JSON, as the sink writes it
	// Differs are the columns whose values are not those of the item's row, Missing those that the sink does not have.
	Differs, Missing []string
	Next             int64 // of the shard's progress, -1 none
	Position         stream.Position
}

// Shard is one partition of one job or connector: the unit of progress and of fencing.
type Shard struct {
	Owner     string // job id or connector name; idempotency keys of a connector belong to it
	Epoch     int64  // grows with every take-over
	Topic     string
	TopicID   [16]byte
	Partition int32
	// Partitions is how many the topic has, 0 unknown: a sink that makes the target topic gives it as many.
	Partitions int32
	Start      int64  // where the range begins; progress before it is refused
	Target     string // topic, table or path at the sink; "" lets the sink derive it from the record
	Nonce      string // of the plan, for idempotency keys
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
	// None says that this kind of sink can hold no progress at all, as an HTTP endpoint: the caller's own copy counts.
	None bool
}

// Write is one batch for a Writer. Next may lie past the last item, for offsets that were filtered or hold nothing.
type Write struct {
	Items []Item
	Next  int64
	// Refusing, where not nil, is called once with all the sink refuses for good, where that is anything, after it is
	// known and before the sink commits. An error from it ends the Write with nothing committed. It makes the refusals
	// durable, so that a crash after the commit loses the count of none; a repeated call for the same offsets is harmless.
	Refusing func(context.Context, []Refusal) error
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
	// Incomplete are those of Applied that became a row with NULL for a value which neither the change carried
	// (unchanged TOAST) nor the sink held.
	Incomplete int64
	Before     time.Time // just before the sink was asked to commit
	After      time.Time // just after it had
}

// Refusal is an item that the sink refuses for good.
type Refusal struct {
	Offset int64
	Reason string // in words, without the record's contents: it is kept in the ledger
}

// InDoubt is in the chain of the error of a Write that may have had part of its effect, at a sink without transactions.
type InDoubt struct {
	Done    int64 // every item before this offset is applied or refused for certain
	Applied int64 // how many of those were applied
	Refused []Refusal
	Unsure  []int64 // offsets from Done on that may have been applied
	Err     error
}

func (e *InDoubt) Error() string { return e.Err.Error() }

func (e *InDoubt) Unwrap() error { return e.Err }

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
	// Approve keeps an approval and what it makes of the plan; fault.Conflict where the stored state is not from.
	Approve(ctx context.Context, a Approval, from PlanState, p StoredPlan, e auditlog.Entry) error
	Approvals(ctx context.Context, planHash string) ([]Approval, error)

	// CreateJob makes the job and consumes its plan in one transaction. fault.Conflict where the plan's stored state is not from, or a job of the plan has the same Run.
	CreateJob(ctx context.Context, from PlanState, j Job, e auditlog.Entry) error
	Job(ctx context.Context, id string) (Job, error)
	Jobs(ctx context.Context) ([]Job, error)
	// TakeJob gives the job's lease to holder until now+ttl, with the next epoch, and keeps the Seq of e, an intent, as the
	// job's Intent; fault.Conflict while another live holder has it, unless takeOver.
	TakeJob(ctx context.Context, id, holder string, ttl time.Duration, takeOver bool, e auditlog.Entry) (Job, error)
	// RenewJob keeps the lease; fault.Conflict where epoch is no longer the job's.
	RenewJob(ctx context.Context, id string, epoch int64, ttl time.Duration) error
	// UpdateJob stores state, reason, counts, shards and rate of a job whose epoch is still j.Epoch; fault.Conflict
	// otherwise. A zero e (no Action) records progress only. An empty Holder gives the lease back; else holder and lease
	// stay as they are stored.
	UpdateJob(ctx context.Context, j Job, e auditlog.Entry) error

	// Park keeps the coordinates of records that were refused or left in doubt. A record parked before keeps its first
	// reason.
	Park(ctx context.Context, parked []Parked, e auditlog.Entry) error
	// Parked lists an owner's parked records, newest first, at most limit; CountParked counts them, by kind, of one
	// partition within [from, to), or of all partitions where topic is "".
	Parked(ctx context.Context, owner string, limit int) ([]Parked, error)
	CountParked(ctx context.Context, owner, topic string, r stream.Range) (map[ParkKind]int64, error)
}

// ParkKind says why a record is parked.
type ParkKind string

const (
	ParkRefused  ParkKind = "refused"   // by the sink, for good
	ParkFilter   ParkKind = "filter"    // the filter could not be evaluated on it
	ParkDecode   ParkKind = "decode"    // it could not be decoded, and the sink needs it decoded
	ParkNoAnswer ParkKind = "no_answer" // sent, the outcome is unknown: in doubt
)

// Parked is a record that was set aside: where it is, never what it holds.
type Parked struct {
	Owner     string // job id or connector owner
	Topic     string
	Partition int32
	Offset    int64
	Kind      ParkKind
	Reason    string
	At        time.Time // the ledger's to set
}

// Schemas resolves the schemas that captured records were written with. backend/kafka implements it over
// stream.SchemaTopic.
type Schemas interface {
	// Schema returns the schema named id; fault.NotFound where the log has none.
	Schema(ctx context.Context, id string) (stream.TableSchema, error)
}

// Lister lists topics with their ends: every topic where none is named.
type Lister interface {
	Topics(ctx context.Context, sizes bool, names ...string) ([]stream.Topic, error)
}

// Cluster is one cluster's parts.
type Cluster struct {
	Source  Source
	Topics  Lister
	Schemas Schemas // nil where the cluster has no captured topics
}

// Clusters finds clusters by name.
type Clusters interface {
	// Cluster returns the cluster named name; fault.NotFound where there is none.
	Cluster(ctx context.Context, name string) (Cluster, error)
}

// Target is a named sink, as far as a plan freezes it.
type Target struct {
	Name       string
	Type       string // "postgres", "kafka", "http"
	Mode       string // "upsert", "append"; postgres
	Guarantee  string // GuaranteeEffectivelyOnce, GuaranteeInDoubt
	Changes    bool   // it needs records decoded to changes
	Fences     bool   // the sink itself stops older epochs; without it every batch is announced in the ledger first
	Idempotent bool   // it drops what it is sent twice under the same key
	ClusterID  string // kafka
	DatabaseID string // postgres: the system identifier and the database
	URL        string // http, without credentials
	// Topic is the target topic of a Kafka sink, nil where it does not exist yet.
	Topic *stream.Topic
	// Consumers names the groups that read the target topic.
	Consumers []string
}

// Guarantees that a sink gives.
const (
	GuaranteeEffectivelyOnce = "effectively_once"
	GuaranteeInDoubt         = "at_least_once_or_in_doubt"
)

// Targets finds sinks by name. app implements it over its sink definitions.
type Targets interface {
	// Target describes the sink named name and, of it, the topic, table or path sub ("" none named); fault.NotFound where
	// there is no such sink. It writes nothing.
	Target(ctx context.Context, name, sub string) (Target, error)
	// Open makes the sink ready for one owner, who closes it.
	Open(ctx context.Context, name string) (Sink, error)
}
