package api

import (
	"context"
	"encoding/json"
	"io"
	"time"
)

// Services are the rooms behind the routes.
type Services struct {
	Instance Instance
	Feed     Feed
	Clusters Clusters
	Sources  Sources
	Sinks    Sinks
	Log      Log
	Records  RecordReader
	Probes   Probes
	Replay   Replay
	Audit    Audit
	Demo     Demo
	Views    Views
	Trials   Trials
	Imports  Imports
}

// Feed is what changed, held until there is something.
type Feed interface {
	Poll(ctx context.Context, session, after string) (FeedAnswer, error)
}

// Clusters are the Kafka clusters.
type Clusters interface {
	List(ctx context.Context) ([]Cluster, error)
	Add(ctx context.Context, spec ClusterSpec) (Receipt, error)
	Test(ctx context.Context, name string) ([]Stage, error)
	Unlock(ctx context.Context, name string, spec UnlockSpec) (Receipt, error)
	Lock(ctx context.Context, name string) (Receipt, error)
	Remove(ctx context.Context, name string) (Receipt, error)
}

// Sources are the captures.
type Sources interface {
	List(ctx context.Context) ([]Source, error)
	Get(ctx context.Context, name string) (Source, error)
	Plan(ctx context.Context, spec SourceSpec) (SourcePlan, error)
	Create(ctx context.Context, spec SourceSpec) (Receipt, error)
	Test(ctx context.Context, name string) ([]Stage, error)
	// Preflight asks the database of a running capture again what Plan asked before it was made.
	Preflight(ctx context.Context, name string) (SourcePlan, error)
	Pause(ctx context.Context, name, reason string) (Receipt, error)
	Resume(ctx context.Context, name, reason string) (Receipt, error)
	Drop(ctx context.Context, name string) (Receipt, error)
	// Mark returns the position that everything committed at the source by now lies before.
	Mark(ctx context.Context, name string) (string, error)
	// Reached waits, at most as long as ctx lets it, until everything before mark is captured.
	Reached(ctx context.Context, name, mark string) (bool, error)
}

// Sinks are where records are delivered.
type Sinks interface {
	List(ctx context.Context) ([]Sink, error)
	Get(ctx context.Context, name string) (Sink, error)
	Create(ctx context.Context, spec SinkSpec) (Receipt, error)
	Test(ctx context.Context, name string) ([]Stage, error)
	Pause(ctx context.Context, name, reason string) (Receipt, error)
	Resume(ctx context.Context, name, reason string) (Receipt, error)
	Drop(ctx context.Context, name string) (Receipt, error)
	// Mark returns a text that stands for everything committed by now at every source that feeds the sink.
	Mark(ctx context.Context, name string) (string, error)
	Reached(ctx context.Context, name, mark string) (bool, error)
}

// Log looks into clusters.
type Log interface {
	Topics(ctx context.Context, cluster string) ([]Topic, error)
	Topic(ctx context.Context, cluster, name string) (Topic, error)
	CreateTopic(ctx context.Context, spec TopicSpec) (Receipt, error)
	TopicRows(ctx context.Context, cluster string) (TopicRows, error)
	Groups(ctx context.Context, cluster string) ([]Group, error)
	Group(ctx context.Context, cluster, name string) (Group, error)
	ResetGroup(ctx context.Context, cluster, name string, spec ResetSpec) (ResetAnswer, error)
}

// HistoryQuery names a series and a time range.
type HistoryQuery struct {
	Metric, Cluster, Source, Topic, Group, Sink, Hop string
	Partition                                        int32
	From, To                                         time.Time
	Max                                              int
}

// Probes are what was measured.
type Probes interface {
	List(ctx context.Context) []Probe
	Map(ctx context.Context) Map
	Freshness(ctx context.Context, name, cluster string) ([]Path, error)
	History(ctx context.Context, q HistoryQuery) ([]Point, error)
	// Sparks are short series of one metric, one for each topic that has any.
	Sparks(ctx context.Context, q SparkQuery) ([]Spark, error)
	Trace(ctx context.Context, q TraceQuery) (TraceAnswer, error)
	Grid(ctx context.Context, q GridQuery) (Grid, error)
	FreshHistory(ctx context.Context, path string, days, slices int) (FreshHistory, error)
}

// Replay plans and runs.
type Replay interface {
	Plan(ctx context.Context, spec PlanSpec) (PlanAnswer, error)
	DryRun(ctx context.Context, ref string, sample int) (PlanAnswer, error)
	ShowPlan(ctx context.Context, ref string) (PlanAnswer, error)
	ShowJob(ctx context.Context, id string) (JobAnswer, error)
	Approve(ctx context.Context, ref string, spec ApproveSpec) (ApprovalAnswer, error)
	Run(ctx context.Context, ref string, spec RunSpec) (JobAnswer, error)
	Pause(ctx context.Context, id string, spec RunSpec) (JobAnswer, error)
	Resume(ctx context.Context, id string, spec RunSpec) (JobAnswer, error)
	Cancel(ctx context.Context, id string, spec RunSpec) (JobAnswer, error)
	List(ctx context.Context) ([]ReplayItem, error)
	// Parked are the newest records that a job set aside.
	Parked(ctx context.Context, id string) ([]ParkedRecord, error)
}

// AuditQuery selects entries.
type AuditQuery struct {
	Actor, Action, Subject, Text, Cursor string
	Since, Until                         time.Time
	Limit                                int
}

// Audit is the history of acts.
type Audit interface {
	List(ctx context.Context, q AuditQuery) (items []AuditEntry, next string, err error)
	Proof(ctx context.Context, seq uint64) (AuditProof, error)
	State(ctx context.Context) (AuditState, error)
	Verify(ctx context.Context) (AuditReport, error)
	Export(ctx context.Context, w io.Writer) error
}

// DemoWorld is the demo world while it runs.
type DemoWorld interface {
	Faults(ctx context.Context) ([]Fault, error)
	StartFault(ctx context.Context, name string, d time.Duration) (Receipt, error)
	StopFault(ctx context.Context, name string) (Receipt, error)
	Load(ctx context.Context, act string, rate float64) (Receipt, error)
}

// FeedAnswer is one poll's answer.
type FeedAnswer struct {
	Head
	Cursor   string     `json:"cursor"`
	Gap      bool       `json:"gap" doc:"Something was dropped before this: the items are the latest of each topic"`
	Dropped  int64      `json:"dropped"`
	Instance string     `json:"instance"`
	Items    []FeedItem `json:"items" nullable:"false"`
}

// FeedItem is a topic's newest value, or an event.
type FeedItem struct {
	Topic string          `json:"topic"`
	Data  json.RawMessage `json:"data"`
}
