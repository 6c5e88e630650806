package api

import (
	"encoding/json"
	"math"
	"strconv"
	"time"

	"freshet/backend/stream"
)

// Reading is a stream.Reading as the API writes it: null where there is no value, never zero for unknown.
type Reading struct {
	Value *float64 `json:"value" nullable:"true" doc:"The best single value, null where unknown"`
	Low   *float64 `json:"low" nullable:"true" doc:"The truth is at least this; null: no lower bound"`
	High  *float64 `json:"high" nullable:"true" doc:"The truth is at most this; null: no upper bound"`
	Unit  string   `json:"unit"`
	State string   `json:"state" enum:"exact,estimate,bounded,unknown"`
	Why   string   `json:"why,omitempty" doc:"Why it is unknown or wide"`
	AsOf  string   `json:"as_of" format:"date-time"`
}

// FromReading converts a probe's reading.
func FromReading(r stream.Reading) Reading {
	num := func(f float64) *float64 {
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return nil
		}
		f = math.Round(f*1e6) / 1e6
		return &f
	}
	state := r.State
	if state == "" {
		state = stream.Unknown
	}
	return Reading{num(r.Value), num(r.Low), num(r.High), r.Unit, string(state), r.Why, Time(r.AsOf)}
}

// Time writes a time as the API does; the zero time is "".
func Time(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(stream.TimeFormat)
}

// ID writes a 64-bit number as a string, as every position and identifier in the API.
func ID[T ~int64 | ~uint64 | ~int32](n T) string {
	if n < 0 {
		return strconv.FormatInt(int64(n), 10)
	}
	return strconv.FormatUint(uint64(n), 10)
}

// Head is what every answer begins with.
type Head struct {
	V    int    `json:"v" doc:"Version of the shape, 1"`
	Kind string `json:"kind"`
}

func head(kind string) Head { return Head{1, kind} }

// List is an answer of many.
type List[T any] struct {
	Head
	Items []T    `json:"items" nullable:"false"`
	Next  string `json:"next_cursor,omitempty"`
}

// Receipt is the answer to an act: what came of it, and the audit entry that tells of it.
type Receipt struct {
	Head
	Name  string     `json:"name,omitempty"`
	State string     `json:"state,omitempty"`
	Audit AuditPoint `json:"audit"`
}

// AuditPoint is the audit log's size and the end of its root after an act.
type AuditPoint struct {
	Seq  string `json:"seq,omitempty" doc:"The entry that closed the act"`
	Size string `json:"size,omitempty"`
	Root string `json:"root,omitempty" doc:"The last 8 hexadecimal digits of the tree's root"`
}

// Part is one part of the running instance.
type Part struct {
	Part   string `json:"part"`
	State  string `json:"state" doc:"ok, starting, degraded, blocked, paused, stopped"`
	Detail string `json:"detail"`
	Needs  string `json:"needs,omitempty" doc:"What a person must do"`
}

// Version is what is running.
type Version struct {
	Head
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
	SQLite  string `json:"sqlite"`
	Franz   string `json:"franz_go"`
}

// Cluster is one Kafka cluster that Freshet knows.
type Cluster struct {
	Name     string   `json:"name"`
	Type     string   `json:"type" enum:"embedded,kafka"`
	Brokers  []string `json:"brokers" nullable:"false"`
	ID       string   `json:"cluster_id,omitempty"`
	State    string   `json:"state"`
	Detail   string   `json:"detail,omitempty"`
	ReadOnly bool     `json:"read_only"`
	Until    string   `json:"unlocked_until,omitempty"`
	Acts     []string `json:"unlocked_acts,omitempty"`
}

// ClusterSpec names a cluster to add.
type ClusterSpec struct {
	Name     string   `json:"name" minLength:"1" maxLength:"63"`
	Brokers  []string `json:"brokers" minItems:"1" nullable:"false"`
	TLS      bool     `json:"tls,omitempty"`
	CAFile   string   `json:"tls_ca,omitempty"`
	CertFile string   `json:"tls_cert,omitempty"`
	KeyFile  string   `json:"tls_key,omitempty"`
	SASL     string   `json:"sasl,omitempty" doc:"plain, scram-sha-256, scram-sha-512"`
	User     string   `json:"user,omitempty"`
	Password string   `json:"password,omitempty" doc:"A reference @env:, @file: or @keyring:, or the secret itself, which is moved to the secret store"`
	// PasswordFrom keeps a password that is in another tool's file away from the page.
	PasswordFrom string `json:"password_from,omitempty" maxLength:"5000" doc:"import:FILE#NAME, as GET /connections gives it: the password of that connection, for its own brokers and user"`
}

// UnlockSpec says what may be written, and for how long.
type UnlockSpec struct {
	ForSeconds int      `json:"for_s" minimum:"1" maximum:"604800"`
	Acts       []string `json:"acts,omitempty"`
}

// SourceSpec asks for a capture.
type SourceSpec struct {
	Name       string   `json:"name" minLength:"1" maxLength:"40"`
	Type       string   `json:"type" enum:"postgres"`
	DSN        string   `json:"dsn"`
	Tables     []string `json:"tables,omitempty" doc:"Patterns SCHEMA.TABLE; * stands for any part"`
	Prefix     string   `json:"prefix,omitempty" doc:"Of the topics; the name unless given"`
	Cluster    string   `json:"cluster,omitempty"`
	NoSnapshot bool     `json:"no_snapshot,omitempty"`
	Outbox     string   `json:"outbox,omitempty" doc:"SCHEMA.TABLE of an outbox whose events go to topics of their own"`
	// Properties has few names, each checked by the source.
	Properties map[string]string `json:"properties,omitempty" doc:"Debezium's options by their names: decimal.handling.mode, message.key.columns, column.exclude.list and others; docs/configuration.md lists them. A salt in one is kept as a secret"`
}

// Finding is something a person should know before, or while, something runs.
type Finding struct {
	Level string `json:"level" enum:"info,warning,refusal"`
	Code  string `json:"code"`
	Text  string `json:"text"`
	Mend  string `json:"mend,omitempty"`
}

// SourcePlan is what sources create would do.
type SourcePlan struct {
	Head
	Name     string        `json:"name"`
	Server   string        `json:"server"`
	Database string        `json:"database"`
	Does     []string      `json:"does" nullable:"false" doc:"Each thing it makes, in words"`
	Remove   []string      `json:"remove" nullable:"false" doc:"How to take each of them away"`
	Tables   []SourceTable `json:"tables" nullable:"false"`
	Findings []Finding     `json:"findings" nullable:"false"`
	Refused  bool          `json:"refused"`
}

// SourceTable is one captured table.
type SourceTable struct {
	Table    string `json:"table"`
	Topic    string `json:"topic"`
	Key      string `json:"key,omitempty"`
	Identity string `json:"replica_identity,omitempty"`
	Limit    string `json:"limit,omitempty" doc:"What is not captured of it, or costs something"`
}

// Source is one running capture.
type Source struct {
	Name       string        `json:"name"`
	Type       string        `json:"type"`
	Cluster    string        `json:"cluster"`
	State      string        `json:"state"`
	Why        string        `json:"why,omitempty"`
	Tables     []SourceTable `json:"tables" nullable:"false"`
	Slot       *Slot         `json:"slot,omitempty"`
	Position   Positions     `json:"position"`
	LastCommit string        `json:"last_commit,omitempty"`
	Findings   []Finding     `json:"findings,omitempty"`
}

// Positions are how far a source has got.
type Positions struct {
	Server    string `json:"server,omitempty"`
	Received  string `json:"received,omitempty"`
	Appended  string `json:"appended,omitempty"`
	Confirmed string `json:"confirmed,omitempty"`
}

// Slot is a replication slot's health.
type Slot struct {
	Name      string  `json:"name"`
	Active    bool    `json:"active"`
	WALStatus string  `json:"wal_status,omitempty"`
	Retained  Reading `json:"retained"`
	Safe      Reading `json:"safe"`
	HeldBy    string  `json:"held_by,omitempty"`
	Why       string  `json:"why,omitempty"`
	// Of the last look of the slot probe; absent before it.
	Growth *Reading `json:"growth,omitempty" doc:"Bytes a second that it holds more, below zero where it holds less"`
	CutOff *Reading `json:"cut_off,omitempty" doc:"Seconds until it is cut off, if it goes on so"`
	Words  string   `json:"words,omitempty" doc:"How it is, in a sentence"`
}

// SinkSpec asks for a sink.
type SinkSpec struct {
	Name           string   `json:"name" minLength:"1" maxLength:"40"`
	Type           string   `json:"type" enum:"postgres,kafka,http"`
	DSN            string   `json:"dsn,omitempty"`
	Brokers        []string `json:"brokers,omitempty"`
	URL            string   `json:"url,omitempty"`
	Topics         []string `json:"topics,omitempty"`
	From           string   `json:"from,omitempty" enum:"earliest,latest"`
	Cluster        string   `json:"cluster,omitempty"`
	Mode           string   `json:"mode,omitempty" enum:"upsert,append"`
	NoCreateTables bool     `json:"no_create_tables,omitempty"`
	Secret         string   `json:"secret,omitempty" doc:"HTTP: a bearer token or a reference to one"`
}

// Sink is one sink; State is place for one that is only replayed to.
type Sink struct {
	Name       string          `json:"name"`
	Type       string          `json:"type"`
	Mode       string          `json:"mode,omitempty"`
	Cluster    string          `json:"cluster,omitempty"`
	Topics     []string        `json:"topics,omitempty"`
	State      string          `json:"state"`
	Why        string          `json:"why,omitempty"`
	Parked     string          `json:"parked" doc:"Records set aside: what it refused for good, or could not be decoded for it"`
	Partitions []SinkPartition `json:"partitions,omitempty"`
	LastParked []ParkedRecord  `json:"last_parked,omitempty" doc:"The newest of them"`
}

// ParkedRecord is a record that a sink went on without.
type ParkedRecord struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    string `json:"offset"`
	Kind      string `json:"kind" enum:"decode,filter,refused,no_answer"`
	Reason    string `json:"reason"`
	At        string `json:"at"`
}

// SinkPartition is a sink's progress with one partition.
type SinkPartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Next      string `json:"next"`
	State     string `json:"state"`
	Why       string `json:"why,omitempty"`
	At        string `json:"at,omitempty"`
}

// Lag is how far a group is behind.
type Lag struct {
	Records Reading `json:"records"`
	Seconds Reading `json:"seconds"`
}

// Path is the freshness of one way from a table to a group or a sink.
type Path struct {
	Path      string   `json:"path"`
	Source    string   `json:"source"`
	Cluster   string   `json:"cluster"`
	Table     string   `json:"table"`
	Topic     string   `json:"topic"`
	To        string   `json:"to" doc:"group:NAME or sink:NAME"`
	State     string   `json:"state" enum:"on_time,at_risk,late,idle,paused,unknown,dead"`
	Why       string   `json:"why,omitempty"`
	Objective *float64 `json:"objective_s" nullable:"true"`
	Hops      []Hop    `json:"hops" nullable:"false"`
	Total     Reading  `json:"total"`
	Since     string   `json:"since,omitempty"`
	Worst     *Reading `json:"worst,omitempty"`
	Trend     string   `json:"trend" enum:"rising,falling,steady,unknown"`
	ETA       *Reading `json:"eta,omitempty"`
}

// Hop is one hop of a path.
type Hop struct {
	From    string  `json:"from"`
	To      string  `json:"to"`
	Seconds Reading `json:"seconds"`
}

// Probe is one probe's last round.
type Probe struct {
	Probe    string  `json:"probe"`
	Every    string  `json:"every"`
	LastAt   string  `json:"last_at,omitempty"`
	Duration Reading `json:"duration"`
	Rounds   string  `json:"rounds"`
	Errors   string  `json:"errors"`
	Error    string  `json:"error,omitempty"`
	Points   int     `json:"points"`
}

// Point is one reading of a series.
type Point struct {
	At      string  `json:"at"`
	Reading Reading `json:"reading"`
}

// History is a series over a time range.
type History struct {
	Head
	Points []Point `json:"points" nullable:"false"`
}

// Fault is one fault of the demo.
type Fault struct {
	Name   string `json:"name"`
	Does   string `json:"does"`
	Expect string `json:"expect"`
	Active bool   `json:"active"`
	Until  string `json:"until,omitempty"`
}

// AuditEntry is one entry of the history.
type AuditEntry struct {
	Seq     string          `json:"seq"`
	At      string          `json:"at"`
	Actor   string          `json:"actor"`
	Action  string          `json:"action"`
	Phase   string          `json:"phase"`
	Ref     string          `json:"ref,omitempty"`
	Subject string          `json:"subject"`
	Outcome string          `json:"outcome,omitempty"`
	Detail  json.RawMessage `json:"detail,omitempty"`
	Hash    string          `json:"hash,omitempty"`
}

// AuditProof is an entry as it was hashed, and the proof that a signed checkpoint includes it.
type AuditProof struct {
	Head
	Leaf       string   `json:"leaf" doc:"The line of canonical JSON whose hash is the entry's"`
	Proof      []string `json:"proof" nullable:"false" doc:"Hashes of RFC 6962's inclusion proof in base64, from the leaf up; none where no checkpoint covers the entry yet"`
	Checkpoint string   `json:"checkpoint,omitempty" doc:"The signed note, as https://c2sp.org/tlog-checkpoint has it"`
	Keys       []string `json:"keys" nullable:"false" doc:"Public keys that sign this history, as golang.org/x/mod/sumdb/note writes them"`
}

// AuditState says how long the history is, how far it is signed, and what the last verification found.
type AuditState struct {
	Head
	Origin   string       `json:"origin"`
	Size     string       `json:"size"`
	Signed   string       `json:"signed" doc:"Entries that the newest checkpoint covers"`
	Root     string       `json:"root,omitempty" doc:"The last 8 hexadecimal digits of the root that it signs"`
	Trouble  string       `json:"trouble,omitempty" doc:"Why the history takes no entry any more"`
	Verified *AuditReport `json:"verified,omitempty" doc:"The last verification since this process began; it says nothing of later entries"`
}

// AuditReport is what a verification found, as `freshet audit verify -o json` has it.
type AuditReport struct {
	Head
	OK       bool           `json:"ok"`
	Exit     int            `json:"exit"`
	Code     string         `json:"code,omitempty"`
	Message  string         `json:"message"`
	Size     string         `json:"db_size"`
	Root     string         `json:"root,omitempty"`
	Proved   string         `json:"proved"`
	Chained  string         `json:"chained"`
	Source   string         `json:"checkpoint_source"`
	Findings []AuditFinding `json:"findings" nullable:"false"`
	More     int            `json:"more_findings,omitempty"`
	Notes    []string       `json:"warnings,omitempty"`
	At       string         `json:"at" doc:"When it began"`
	Seconds  float64        `json:"took_s"`
	By       string         `json:"by"`
}

// AuditFinding is one thing that does not verify.
type AuditFinding struct {
	Code    string `json:"code"`
	Entry   string `json:"entry,omitempty"`
	To      string `json:"to,omitempty" doc:"Of a run of entries, the last"`
	Message string `json:"message"`
}
