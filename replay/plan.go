package replay

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"freshet/backend/fault"
	"freshet/backend/stream"
)

// Plan is a replay as it was frozen: what is read, how it is shaped, where it goes, under which limits. Its canonical
// JSON is named by its hash and never changes. The document may name what this engine cannot do; Unsupported tells.
//
// Fields without omitempty are required. Numbers tagged string are decimal strings in the document.
type Plan struct {
	V         int64      `json:"v"`
	Kind      string     `json:"kind"` // "replay", "redrive", "reprocess", "webhook"
	Nonce     string     `json:"nonce"`
	Title     string     `json:"title"`
	Reason    string     `json:"reason"`
	Author    string     `json:"author"`
	Frozen    Frozen     `json:"frozen"`
	Engines   Engines    `json:"engines"`
	Source    PlanSource `json:"source"`
	Filter    *Filter    `json:"filter,omitempty"`
	Transform Transform  `json:"transform"`
	Mask      Mask       `json:"mask"`
	Sink      PlanSink   `json:"sink"`
	Order     Order      `json:"order"`
	Rate      Rate       `json:"rate"`
	Guards    Guards     `json:"guards"`
	Retry     Retry      `json:"retry"`
	DLQ       DLQ        `json:"dlq"`
	Loop      *Loop      `json:"loop,omitempty"`
	Limits    Limits     `json:"limits"`
	Undo      Undo       `json:"undo"`
	Approval  Approving  `json:"approval"`
	Windows   *Windows   `json:"windows,omitempty"`
	Notify    []string   `json:"notify,omitempty"`
}

// Frozen is what expressions see of the moment the plan was made.
type Frozen struct {
	Now  string `json:"now"`
	TZ   string `json:"tz"`
	Seed string `json:"seed"`
}

// Engines names the semantics that the plan was made for, never a release.
type Engines struct {
	CEL          string `json:"cel"`
	CELCostLimit int64  `json:"cel_cost_limit"`
	Steps        string `json:"steps"`
	Mask         string `json:"mask"`
	Codec        string `json:"codec"`
}

// PlanSource is the frozen selection.
type PlanSource struct {
	Conn       string     `json:"conn"` // the cluster's name
	ClusterID  string     `json:"cluster_id"`
	Kind       string     `json:"kind,omitempty"`
	Isolation  string     `json:"isolation"`
	Topic      string     `json:"topic"`
	TopicID    string     `json:"topic_id"` // UUID
	Partitions int64      `json:"partitions"`
	Cleanup    string     `json:"cleanup,omitempty"`
	TSType     string     `json:"ts_type,omitempty"`
	SelectedBy SelectedBy `json:"selected_by"`
	Schemas    []SchemaID `json:"schemas,omitempty"`
	Ranges     []Ranged   `json:"ranges"`
}

// SelectedBy is what a person asked for, before it was frozen to offsets.
type SelectedBy struct {
	By             string   `json:"by"` // "offsets", "time", "topic", "status"
	FromMS         int64    `json:"from_ms,string,omitempty"`
	ToMS           int64    `json:"to_ms,string,omitempty"`
	SlackMS        int64    `json:"slack_ms,string,omitempty"`
	PerRecordCheck bool     `json:"per_record_check,omitempty"`
	Status         []string `json:"status,omitempty"`
	Endpoint       string   `json:"endpoint,omitempty"`
}

// SchemaID is a schema of a registry that records of the range were written with.
type SchemaID struct {
	Registry string `json:"registry"`
	ID       int64  `json:"id"`
	Subject  string `json:"subject"`
	Version  int64  `json:"version"`
	SHA256   string `json:"sha256"`
}

// Ranged is one partition's [Start, End) and what the partition looked like when it was frozen.
type Ranged struct {
	Partition         int32  `json:"p"`
	Start             int64  `json:"start,string"`
	End               int64  `json:"end,string"`
	StartEpoch        int32  `json:"start_epoch"`
	LogStart          int64  `json:"log_start,string"`
	HW                int64  `json:"hw,string"`
	FirstRecordSHA256 string `json:"first_record_sha256,omitempty"`
}

// Filter selects among the records of the ranges.
type Filter struct {
	Lang    string  `json:"lang"`
	Src     string  `json:"src"`
	SHA256  string  `json:"sha256"` // of Src
	OnError OnError `json:"on_error"`
}

// OnError says what becomes of a record on which something failed.
type OnError string

const (
	OnErrorStop OnError = "stop"
	OnErrorDLQ  OnError = "dlq"
	OnErrorDrop OnError = "drop"
)

// Transform changes records.
type Transform struct {
	Level   int64   `json:"level"` // 0: as it is
	Steps   []Step  `json:"steps"`
	OnError OnError `json:"on_error"`
}

// Step is one step of a Transform.
type Step struct {
	Do       string   `json:"do"`
	From     string   `json:"from,omitempty"`
	ElseFrom string   `json:"else_from,omitempty"`
	To       string   `json:"to,omitempty"`
	CEL      string   `json:"cel,omitempty"`
	Fields   []string `json:"fields,omitempty"`
}

// Mask hides fields.
type Mask struct {
	Policy           string     `json:"policy"` // "none"
	Version          int64      `json:"version"`
	SHA256           string     `json:"sha256,omitempty"`
	KeyRef           string     `json:"key_ref,omitempty"`
	ClassifiedFields []string   `json:"classified_fields"`
	Rules            []MaskRule `json:"rules,omitempty"`
	OnUnparsable     string     `json:"on_unparsable,omitempty"`
}

// MaskRule is one rule of a Mask.
type MaskRule struct {
	Path string `json:"path"`
	How  string `json:"how"`
	N    int64  `json:"n,omitempty"`
	With string `json:"with,omitempty"`
}

// PlanSink is where the records go. Which fields may stand depends on Type.
type PlanSink struct {
	Type      string `json:"type"`
	Guarantee string `json:"guarantee"`
	Conn      string `json:"conn,omitempty"` // the sink's name

	ClusterID     string         `json:"cluster_id,omitempty"`
	Route         *Route         `json:"route,omitempty"`
	Targets       []TargetTopic  `json:"targets,omitempty"`
	Partition     *Partitioning  `json:"partition,omitempty"`
	Timestamp     string         `json:"timestamp,omitempty"`
	Headers       *HeaderChanges `json:"headers,omitempty"`
	Txn           *Txn           `json:"txn,omitempty"`
	ProgressTopic string         `json:"progress_topic,omitempty"`
	Oversize      string         `json:"oversize,omitempty"`

	DatabaseID        string            `json:"database_id,omitempty"`
	Table             string            `json:"table,omitempty"` // "": each record's own
	SchemaFingerprint string            `json:"schema_fingerprint,omitempty"`
	Write             *TableWrite       `json:"write,omitempty"`
	Columns           map[string]string `json:"columns,omitempty"`
	ProgressTable     string            `json:"progress_table,omitempty"`
	BatchRows         int64             `json:"batch_rows,omitempty"`
	Isolation         string            `json:"isolation,omitempty"`
	StatementTimeout  int64             `json:"statement_timeout_ms,omitempty"`

	Endpoint       string   `json:"endpoint,omitempty"` // the sink's name
	URL            string   `json:"url,omitempty"`
	Method         string   `json:"method,omitempty"`
	Body           string   `json:"body,omitempty"`
	Key            *SendKey `json:"key,omitempty"`
	Sign           *Sign    `json:"sign,omitempty"`
	Receiver       string   `json:"receiver,omitempty"`
	Success        []string `json:"success,omitempty"`
	RetryOn        []string `json:"retry_on,omitempty"`
	Redirects      string   `json:"redirects,omitempty"`
	TimeoutMS      int64    `json:"timeout_ms,omitempty"`
	TLSMin         string   `json:"tls_min,omitempty"`
	DenyPrivateIPs bool     `json:"deny_private_ips,omitempty"`
}

// sinkFields are the fields of PlanSink that each type may have, beside type and guarantee.
var sinkFields = map[string][]string{
	"kafka": {"conn", "cluster_id", "route", "targets", "partition", "timestamp", "headers", "txn", "progress_topic", "oversize"},
	"postgres": {"conn", "database_id", "table", "schema_fingerprint", "write", "columns", "progress_table", "batch_rows",
		"isolation", "statement_timeout_ms"},
	"http": {"endpoint", "url", "method", "body", "key", "sign", "receiver", "success", "retry_on", "redirects", "timeout_ms",
		"tls_min", "deny_private_ips"},
}

// Name is the sink's name.
func (s *PlanSink) Name() string {
	if s.Type == "http" {
		return s.Endpoint
	}
	return s.Conn
}

// Target is the topic or table within the sink, "" where each record has its own.
func (s *PlanSink) Target() string {
	if s.Type == "kafka" && len(s.Targets) == 1 {
		return s.Targets[0].Topic
	}
	return s.Table
}

// Route chooses the target topic by record.
type Route struct {
	By      string   `json:"by"`
	Names   []string `json:"names"`
	Allow   []string `json:"allow"`
	Missing string   `json:"missing"`
}

// TargetTopic is a topic that is written to.
type TargetTopic struct {
	Topic           string `json:"topic"`
	TopicID         string `json:"topic_id"` // all zero where the run makes it
	Partitions      int64  `json:"partitions"`
	MaxMessageBytes int64  `json:"max_message_bytes,omitempty"`
	TSType          string `json:"ts_type,omitempty"`
}

// Partitioning chooses the target partition.
type Partitioning struct {
	Mode   string `json:"mode"`
	Header string `json:"header,omitempty"`
	Hash   string `json:"hash,omitempty"`
}

// HeaderChanges takes headers away and adds some.
type HeaderChanges struct {
	Strip []string `json:"strip"`
	Add   []string `json:"add"`
}

// Txn bounds a transaction at a Kafka sink.
type Txn struct {
	MaxRecords int64 `json:"max_records"`
	MaxBytes   int64 `json:"max_bytes,string"`
	MaxMS      int64 `json:"max_ms"`
	TimeoutMS  int64 `json:"timeout_ms"`
}

// TableWrite says how rows are written.
type TableWrite struct {
	Mode        string   `json:"mode"` // "upsert", "append"
	Conflict    []string `json:"conflict,omitempty"`
	VersionCol  string   `json:"version_col,omitempty"`
	VersionFrom string   `json:"version_from,omitempty"`
	Delete      string   `json:"delete,omitempty"`
	NUL         string   `json:"nul,omitempty"`
}

// SendKey says which idempotency key is sent.
type SendKey struct {
	Header   string `json:"header"`
	Mode     string `json:"mode"` // "derived": IdempotencyKey
	Fallback string `json:"fallback,omitempty"`
}

// Sign says how requests are signed.
type Sign struct {
	Scheme    string `json:"scheme"`
	SecretRef string `json:"secret_ref"`
	Timestamp string `json:"timestamp"`
}

// Order says what order is kept.
type Order struct {
	Mode         string `json:"mode"` // "per_partition", "per_key"
	Key          string `json:"key,omitempty"`
	OnShardBlock string `json:"on_shard_block"` // "stop_all", "continue_others"
}

// Rate bounds how fast the sink is written to; 0 means no bound.
type Rate struct {
	RecordsPerS    int64 `json:"records_per_s"`
	BytesPerS      int64 `json:"bytes_per_s,string,omitempty"`
	CanaryRecords  int64 `json:"canary_records,omitempty"`
	RampPctPerTick int64 `json:"ramp_pct_per_tick,omitempty"`
}

// Guards slow or stop a job for the sake of others.
type Guards struct {
	Groups []GroupGuard `json:"groups"`
	DB     *DBGuard     `json:"db,omitempty"`
	HTTP   *HTTPGuard   `json:"http,omitempty"`
}

// GroupGuard watches a consumer group's lag.
type GroupGuard struct {
	Conn     string `json:"conn"`
	Group    string `json:"group"`
	LagHiS   int64  `json:"lag_hi_s"`
	LagStopS int64  `json:"lag_stop_s"`
}

// DBGuard watches a database.
type DBGuard struct {
	MaxLockWaitMS  int64 `json:"max_lock_wait_ms"`
	MaxReplicaLagS int64 `json:"max_replica_lag_s"`
}

// HTTPGuard watches an endpoint's answers.
type HTTPGuard struct {
	StopIf4xxPct int64 `json:"stop_if_4xx_pct"`
}

// Retry bounds repetition.
type Retry struct {
	MaxAttempts    int64 `json:"max_attempts"`
	BudgetPct      int64 `json:"budget_pct,omitempty"`
	RetryAfterCapS int64 `json:"retry_after_cap_s,omitempty"`
}

// DLQ is where records go that fail for good.
type DLQ struct {
	Type   string `json:"type"` // "ledger": their coordinates are kept in the ledger
	Conn   string `json:"conn,omitempty"`
	Topic  string `json:"topic,omitempty"`
	InTxn  bool   `json:"in_txn,omitempty"`
	Masked bool   `json:"masked,omitempty"`
}

// Loop keeps a record from being redriven for ever.
type Loop struct {
	Header string `json:"header"`
	Max    int64  `json:"max"`
}

// Limits stop a job that goes beyond them.
type Limits struct {
	MaxRecords   int64 `json:"max_records"`
	MaxInDoubt   int64 `json:"max_in_doubt"`
	MaxDLQ       int64 `json:"max_dlq"`
	AcceptGaps   bool  `json:"accept_gaps"`
	AllowOverlap bool  `json:"allow_overlap"`
}

// Undo says how the job could be taken back.
type Undo struct {
	Mode                   string `json:"mode"` // "none"
	Note                   string `json:"note,omitempty"`
	Table                  string `json:"table,omitempty"`
	KeepDays               int64  `json:"keep_days,omitempty"`
	OnlyIfVersionUnchanged bool   `json:"only_if_version_unchanged,omitempty"`
}

// Approving says who must agree and for how long that holds.
type Approving struct {
	Needed  int64 `json:"needed"`
	TTLS    int64 `json:"ttl_s"`
	MaxRuns int64 `json:"max_runs"`
}

// Windows bound when a job may run.
type Windows struct {
	NotBefore string `json:"not_before,omitempty"`
	Deadline  string `json:"deadline,omitempty"`
}

// Document is a plan as it is stored: parsed, canonical and named.
type Document struct {
	Plan  Plan
	Bytes []byte // canonical
	Hash  string // 64 hexadecimal digits
	ID    string
}

// ParsePlan reads a plan document strictly: a key that is not known, named twice or missing, a fraction, a null, a
// 64-bit number that is no string, an empty selection are refused, naming the place.
func ParsePlan(b []byte) (Document, error) {
	d, err := parsePlan(b)
	if err != nil {
		e := fault.New(fault.Invalid, "read the plan", "correct the document, or make the plan with: freshet replay plan", "%w", err)
		e.Code = "PLAN_INVALID"
		return Document{}, e
	}
	return d, nil
}

func parsePlan(b []byte) (Document, error) {
	n, err := parseNode(b)
	if err != nil {
		return Document{}, err
	}
	var d Document
	if err := bind(&n, reflect.ValueOf(&d.Plan).Elem(), "", false); err != nil {
		return Document{}, err
	}
	if err := checkSinkFields(n.get("sink")); err != nil {
		return Document{}, err
	}
	if err := d.Plan.validate(); err != nil {
		return Document{}, err
	}
	d.Bytes = n.append(nil)
	d.Hash, d.ID = nameOf(d.Bytes)
	return d, nil
}

// Freeze gives p its canonical form and name.
func (p *Plan) Freeze() (Document, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return Document{}, fault.Wrap(fault.Internal, "write the plan", err, "")
	}
	return ParsePlan(b)
}

var lowerBase32 = base32.StdEncoding.WithPadding(base32.NoPadding)

func nameOf(canonical []byte) (hash, id string) {
	h := sha256.New()
	h.Write([]byte("freshet.plan.v1\n"))
	h.Write(canonical)
	sum := h.Sum(nil)
	return hex.EncodeToString(sum), "pl_" + strings.ToLower(lowerBase32.EncodeToString(sum))[:20]
}

// IdempotencyKey is the key under which one record of a plan is sent to one target: the same on every attempt and every
// resume, another for another plan.
func IdempotencyKey(nonce string, topicID [16]byte, partition int32, offset int64, target string) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{"freshet.key.v1", nonce, FormatTopicID(topicID),
		strconv.Itoa(int(partition)), strconv.FormatInt(offset, 10), target}, "\n")))
	return strings.ToLower(lowerBase32.EncodeToString(sum[:]))[:26]
}

// FormatTopicID writes a topic id as a UUID.
func FormatTopicID(id [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// ParseTopicID reads the form that FormatTopicID writes.
func ParseTopicID(s string) (id [16]byte, err error) {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	if err == nil && len(b) == 16 {
		copy(id[:], b)
	}
	if err != nil || FormatTopicID(id) != s {
		return id, fmt.Errorf("%q is no UUID", s)
	}
	return id, nil
}

func checkSinkFields(sink *node) error {
	kind := sink.get("type").text
	allowed, ok := sinkFields[kind]
	if !ok {
		return fmt.Errorf("sink.type: %q is not known", kind)
	}
	for _, m := range sink.members {
		if m.name != "type" && m.name != "guarantee" && !slices.Contains(allowed, m.name) {
			return fmt.Errorf("sink.%s: unknown for a sink of type %s", m.name, kind)
		}
	}
	return nil
}

var (
	nonceForm  = regexp.MustCompile(`^[0-9A-HJKMNP-TV-Z]{26}$`)
	seedForm   = regexp.MustCompile(`^[0-9a-f]{16}$`)
	sha256Form = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// validate refuses what cannot be meant, whether or not this engine could run it.
func (p *Plan) validate() error {
	for _, c := range []struct {
		ok   bool
		path string
		why  string
	}{
		{p.V == 1, "v", "only version 1 is known"},
		{p.Kind != "", "kind", "empty"},
		{nonceForm.MatchString(p.Nonce), "nonce", "no ULID"},
		{p.Author != "" && !strings.ContainsAny(p.Author, "\n\r"), "author", "empty or more than one line"},
		{isTime(p.Frozen.Now), "frozen.now", "no UTC time with milliseconds"},
		{p.Frozen.TZ != "", "frozen.tz", "empty"},
		{seedForm.MatchString(p.Frozen.Seed), "frozen.seed", "not 16 hexadecimal digits"},
		{p.Engines.CELCostLimit > 0, "engines.cel_cost_limit", "not above 0"},
		{p.Source.Conn != "", "source.conn", "empty"},
		{p.Source.Topic != "", "source.topic", "empty"},
		{slices.Contains([]string{"read_committed", "read_uncommitted"}, p.Source.Isolation), "source.isolation", "not known"},
		{p.Source.Partitions > 0, "source.partitions", "not above 0"},
		{len(p.Source.Ranges) > 0, "source.ranges", "empty: a plan that selects nothing selects nothing by mistake"},
		{p.Transform.Level >= 0 && p.Transform.Level <= 3, "transform.level", "not from 0 to 3"},
		{p.Transform.OnError.valid(), "transform.on_error", "not stop, dlq or drop"},
		{p.Mask.Policy != "", "mask.policy", "empty"},
		{p.Sink.Name() != "", "sink", "names no conn or endpoint"},
		{slices.Contains([]string{"per_partition", "per_key", "none"}, p.Order.Mode), "order.mode", "not known"},
		{slices.Contains([]string{"stop_all", "continue_others"}, p.Order.OnShardBlock), "order.on_shard_block", "not known"},
		{p.Rate.RecordsPerS >= 0, "rate.records_per_s", "below 0"},
		{p.Rate.BytesPerS >= 0, "rate.bytes_per_s", "below 0"},
		{p.Rate.CanaryRecords >= 0, "rate.canary_records", "below 0"},
		{p.Retry.MaxAttempts > 0, "retry.max_attempts", "not above 0"},
		{p.Limits.MaxRecords > 0, "limits.max_records", "not above 0"},
		{p.Limits.MaxInDoubt >= 0, "limits.max_in_doubt", "below 0"},
		{p.Limits.MaxDLQ >= 0, "limits.max_dlq", "below 0"},
		{p.Undo.Mode != "", "undo.mode", "empty"},
		{p.Approval.Needed >= 0 && p.Approval.Needed <= 9, "approval.needed", "not from 0 to 9"},
		{p.Approval.TTLS > 0, "approval.ttl_s", "not above 0"},
		{p.Approval.MaxRuns > 0, "approval.max_runs", "not above 0"},
	} {
		if !c.ok {
			return fmt.Errorf("%s: %s", c.path, c.why)
		}
	}
	if f := p.Filter; f != nil {
		sum := sha256.Sum256([]byte(f.Src))
		switch {
		case f.Lang != "cel":
			return fmt.Errorf("filter.lang: %q is not known", f.Lang)
		case strings.TrimSpace(f.Src) == "":
			return fmt.Errorf("filter.src: empty; leave the filter out to select every record")
		case f.SHA256 != "sha256:"+hex.EncodeToString(sum[:]):
			return fmt.Errorf("filter.sha256: is not the hash of filter.src")
		case !f.OnError.valid():
			return fmt.Errorf("filter.on_error: not stop, dlq or drop")
		}
	}
	if p.Mask.SHA256 != "" && !sha256Form.MatchString(p.Mask.SHA256) {
		return fmt.Errorf("mask.sha256: malformed")
	}
	for i, t := range p.Sink.Targets {
		if _, err := ParseTopicID(t.TopicID); err != nil {
			return fmt.Errorf("sink.targets[%d].topic_id: %w", i, err)
		}
	}
	if w := p.Windows; w != nil && (w.NotBefore != "" && !isTime(w.NotBefore) || w.Deadline != "" && !isTime(w.Deadline)) {
		return fmt.Errorf("windows: no UTC time with milliseconds")
	}
	return p.Source.validate()
}

func (s *PlanSource) validate() error {
	id, err := ParseTopicID(s.TopicID)
	if err != nil {
		return fmt.Errorf("source.topic_id: %w", err)
	}
	switch by := s.SelectedBy; by.By {
	case "offsets", "topic":
	case "time":
		if by.FromMS >= by.ToMS {
			return fmt.Errorf("source.selected_by: from_ms is not before to_ms")
		}
		if by.SlackMS < 0 {
			return fmt.Errorf("source.selected_by.slack_ms: below 0")
		}
	case "status":
		if len(by.Status) == 0 {
			return fmt.Errorf("source.selected_by.status: empty")
		}
	default:
		return fmt.Errorf("source.selected_by.by: %q is not known", by.By)
	}
	seen := map[int32]bool{}
	for i, r := range s.Ranges {
		at := fmt.Sprintf("source.ranges[%d]", i)
		switch {
		case r.Partition < 0 || int64(r.Partition) >= s.Partitions:
			return fmt.Errorf("%s.p: the topic has partitions 0 to %d", at, s.Partitions-1)
		case seen[r.Partition]:
			return fmt.Errorf("%s.p: partition %d stands twice", at, r.Partition)
		case r.Start < 0 || r.Start > r.End:
			return fmt.Errorf("%s: start is below 0 or after end", at)
		case r.Start < r.LogStart:
			return fmt.Errorf("%s.start: before log_start", at)
		case r.End > r.HW:
			return fmt.Errorf("%s.end: after hw", at)
		case id == [16]byte{} && r.Start < r.End && !sha256Form.MatchString(r.FirstRecordSHA256):
			return fmt.Errorf("%s.first_record_sha256: missing, and the broker has no topic ids", at)
		}
		seen[r.Partition] = true
	}
	return nil
}

func (o OnError) valid() bool { return o == OnErrorStop || o == OnErrorDLQ || o == OnErrorDrop }

func isTime(s string) bool {
	t, err := time.Parse(stream.TimeFormat, s)
	return err == nil && t.Format(stream.TimeFormat) == s
}

// Offsets is how many offsets the ranges hold.
func (p *Plan) Offsets() int64 {
	var n int64
	for _, r := range p.Source.Ranges {
		n += r.End - r.Start
	}
	return n
}

// Unsupported names the first field that asks for what this engine cannot do; nil where there is none. Such a plan is
// a valid document, but it is refused before it runs.
func (p *Plan) Unsupported() error {
	id, _ := ParseTopicID(p.Source.TopicID)
	s := &p.Sink
	write := s.Write
	if write == nil {
		write = &TableWrite{}
	}
	key := s.Key
	if key == nil {
		key = &SendKey{Mode: "derived", Header: "Idempotency-Key"}
	}
	for _, c := range []struct {
		used bool
		path string
	}{
		{p.Engines.CEL != "1", "engines.cel"},
		{p.Engines.Codec != "1", "engines.codec"},
		{p.Source.Kind != "", "source.kind"},
		{p.Source.Isolation != "read_committed", "source.isolation"},
		{id == [16]byte{}, "source.topic_id"},
		{!slices.Contains([]string{"offsets", "time", "topic"}, p.Source.SelectedBy.By), "source.selected_by.by"},
		{p.Source.SelectedBy.By == "time" && !p.Source.SelectedBy.PerRecordCheck, "source.selected_by.per_record_check"},
		{len(p.Source.Schemas) > 0, "source.schemas"},
		{p.Transform.Level > 0, "transform.level"},
		{len(p.Transform.Steps) > 0, "transform.steps"},
		{p.Mask.Policy != "none", "mask.policy"},
		{len(p.Mask.Rules) > 0, "mask.rules"},
		{len(p.Mask.ClassifiedFields) > 0, "mask.classified_fields"},
		{s.Route != nil, "sink.route"},
		{s.Type == "kafka" && len(s.Targets) != 1, "sink.targets"},
		{s.Partition != nil, "sink.partition"},
		{s.Timestamp != "" && s.Timestamp != "keep", "sink.timestamp"},
		{s.Headers != nil, "sink.headers"},
		{s.Txn != nil, "sink.txn"},
		{s.Oversize != "", "sink.oversize"},
		{s.SchemaFingerprint != "", "sink.schema_fingerprint"},
		{len(write.Conflict) > 0, "sink.write.conflict"},
		{write.VersionCol != "", "sink.write.version_col"},
		{write.VersionFrom != "", "sink.write.version_from"},
		{write.Delete != "", "sink.write.delete"},
		{write.NUL != "", "sink.write.nul"},
		{len(s.Columns) > 0, "sink.columns"},
		{s.Isolation != "", "sink.isolation"},
		{s.StatementTimeout != 0, "sink.statement_timeout_ms"},
		{s.Method != "" && s.Method != "POST", "sink.method"},
		{s.Body != "" && s.Body != "original_bytes", "sink.body"},
		{key.Header != "Idempotency-Key", "sink.key.header"},
		{key.Mode != "derived", "sink.key.mode"},
		{s.Sign != nil, "sink.sign"},
		{len(s.Success) > 0, "sink.success"},
		{len(s.RetryOn) > 0, "sink.retry_on"},
		{s.Redirects != "" && s.Redirects != "fail", "sink.redirects"},
		{s.TimeoutMS != 0, "sink.timeout_ms"},
		{s.TLSMin != "", "sink.tls_min"},
		{s.DenyPrivateIPs, "sink.deny_private_ips"},
		{p.Order.Mode == "none", "order.mode"},
		{p.Order.Key != "", "order.key"},
		{p.Rate.RampPctPerTick != 0, "rate.ramp_pct_per_tick"},
		{len(p.Guards.Groups) > 0, "guards.groups"},
		{p.Guards.DB != nil, "guards.db"},
		{p.Guards.HTTP != nil, "guards.http"},
		{p.Retry.BudgetPct != 0, "retry.budget_pct"},
		{p.Retry.RetryAfterCapS != 0, "retry.retry_after_cap_s"},
		{p.DLQ.Type != "ledger", "dlq.type"},
		{p.Loop != nil, "loop"},
		{p.Undo.Mode != "none", "undo.mode"},
		{p.Approval.MaxRuns != 1, "approval.max_runs"},
		{p.Windows != nil, "windows"},
		{len(p.Notify) > 0, "notify"},
	} {
		if c.used {
			e := fault.New(fault.Invalid, "run the plan", "make a plan without it",
				"%s: this engine cannot do what the field asks for", c.path)
			e.Code = "PLAN_UNSUPPORTED"
			return e
		}
	}
	return nil
}
