package auditlog

import (
	"context"
	"encoding/json"
	"time"
)

// Phase says what an entry is: the announcement of an act, its outcome, or a fact noted beside them.
type Phase string

const (
	Intent Phase = "intent" // durable before the effect it announces
	Result Phase = "result" // closes an intent, named by Ref
	Note   Phase = "note"   // a fact with no effect of its own
)

// Entry is one leaf of the audit history. It never holds record contents or secrets: coordinates, counts, hashes, names.
type Entry struct {
	Seq     uint64          `json:"seq"` // from 0, without gaps; given by the log
	At      time.Time       `json:"at"`
	Actor   string          `json:"actor"`  // who: "local:root", "system", ...
	Action  string          `json:"action"` // what, NOUN.VERB: "replay.run", "source.create"
	Phase   Phase           `json:"phase"`
	Ref     *uint64         `json:"ref,omitempty"`     // Result: the intent's Seq
	Subject string          `json:"subject"`           // upon what: a plan id, a source's name
	Outcome string          `json:"outcome,omitempty"` // Result: done, failed, unknown, interrupted
	Detail  json.RawMessage `json:"detail,omitempty"`  // a JSON object
}

// Recorder writes entries. The ledger implements it; every room that acts takes one.
type Recorder interface {
	// Record makes e durable and returns its Seq. Seq and At are the recorder's to set.
	Record(ctx context.Context, e Entry) (uint64, error)
}

// Proved is an entry with the proof that a signed checkpoint includes it, as RFC 6962 has it. The entry's hash is that of
// Leaf as it stands.
type Proved struct {
	Entry      Entry
	Leaf       string
	Proof      []string   // base64; nil with no checkpoint that covers the entry yet
	Checkpoint Checkpoint // zero then
}
