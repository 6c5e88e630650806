package auditlog

import (
	"fmt"
	"slices"

	"freshet/backend/fault"
)

// Codes of what a verification found.
const (
	EntryChanged       = "ENTRY_CHANGED"       // an entry is not the one that was recorded
	EntryMissing       = "ENTRY_MISSING"       // an entry in the middle is gone
	EntryUnreadable    = "ENTRY_UNREADABLE"    // an entry's place in the file is damaged
	EntryMalformed     = "ENTRY_MALFORMED"     // an entry's hash is right, its text is none of ours
	TailTruncated      = "TAIL_TRUNCATED"      // the newest entries are gone
	ChainBroken        = "CHAIN_BROKEN"        // an entry does not follow the one before it
	HashChanged        = "HASH_CHANGED"        // a hash of the tree is not what the entries give
	HashMissing        = "HASH_MISSING"        // a hash of the tree is gone
	ProofChanged       = "PROOF_CHANGED"       // an export's inclusion proof does not hold
	CheckpointMismatch = "CHECKPOINT_MISMATCH" // the history is not the one that was signed
	CheckpointDamaged  = "CHECKPOINT_DAMAGED"  // a checkpoint's signature does not verify
	KeyChanged         = "KEY_CHANGED"         // the ledger names a key that the checkpoints file does not know
	NameChanged        = "NAME_CHANGED"        // the ledger does not bear the name that was signed
	PageDamaged        = "PAGE_DAMAGED"        // a page of the file is damaged
	WALDamaged         = "WAL_DAMAGED"         // a page in the write-ahead log is damaged
	ExportDamaged      = "EXPORT_DAMAGED"      // a line of an export is damaged
)

const tamperedNext = "keep copies of ledger.db and checkpoints as evidence and find out who had access; to go on with a new history, move both away together"

// maxFindings bounds a report.
const maxFindings = 100

// Report is what a verification found.
type Report struct {
	V                int       `json:"v"`
	Kind             string    `json:"kind"`
	OK               bool      `json:"ok"`
	Exit             int       `json:"exit"`
	Code             string    `json:"code,omitempty"` // of the first finding
	Message          string    `json:"message"`
	Origin           string    `json:"origin,omitempty"`
	DBSize           uint64    `json:"db_size,string"`         // entries that are there
	CheckpointSize   uint64    `json:"checkpoint_size,string"` // entries that the newest checkpoint covers
	CheckpointSource string    `json:"checkpoint_source"`      // where that is from: "file:PATH", "ledger", "export", "none"
	Root             string    `json:"root,omitempty"`         // last eight digits of the root over the entries that are there
	Proved           uint64    `json:"proved,string"`          // entries proved to be as recorded by a signed checkpoint
	Chained          uint64    `json:"chained,string"`         // newer entries, held by the hash chain alone
	Findings         []Finding `json:"findings,omitempty"`
	More             int       `json:"more_findings,omitempty"`
	Warnings         []string  `json:"warnings,omitempty"`
}

// Unreadable is the report on a history of which nothing can be read.
func Unreadable(f Finding) Report {
	r := Report{CheckpointSource: "none"}
	r.Add(f)
	return r
}

// Finding is one thing that does not verify.
type Finding struct {
	Code    string  `json:"code"`
	Entry   *uint64 `json:"entry,omitempty,string"` // the entry's seq
	To      *uint64 `json:"to,omitempty,string"`    // of a run of entries, the last
	Page    int     `json:"page,omitempty"`         // of the file, from 1
	Line    int     `json:"line,omitempty"`         // of an export or checkpoints file, from 1
	Message string  `json:"message"`
}

// Add adds findings that lie outside the entries, such as a damaged page.
func (r *Report) Add(findings ...Finding) {
	for _, f := range findings {
		if len(r.Findings) == maxFindings {
			r.More++
			continue
		}
		r.Findings = append(r.Findings, f)
	}
	r.conclude()
}

// conclude sets what follows from the findings.
func (r *Report) conclude() {
	r.V, r.Kind = 1, "audit.verify"
	r.OK = len(r.Findings) == 0
	if !r.OK {
		slices.SortStableFunc(r.Findings, func(a, b Finding) int { return a.rank() - b.rank() })
		r.Exit, r.Code, r.Message = 10, r.Findings[0].Code, r.Findings[0].Message
		if r.intact() {
			r.Message += fmt.Sprintf("; all %d entries are proved intact", r.DBSize)
		}
		return
	}
	r.Exit, r.Code = 0, ""
	switch {
	case r.Chained == 0:
		r.Message = fmt.Sprintf("every one of %d entries is proved intact by a signed checkpoint", r.DBSize)
	default:
		r.Message = fmt.Sprintf("%d entries are proved intact by a signed checkpoint, %d newer ones by the hash chain", r.Proved, r.Chained)
	}
}

// rank puts what happened to entries before what happened beside them.
func (f Finding) rank() int {
	switch f.Code {
	case HashChanged, HashMissing, ProofChanged, PageDamaged, CheckpointDamaged, KeyChanged, NameChanged:
		return 1
	}
	return 0
}

// intact reports whether nothing was found that touches an entry.
func (r *Report) intact() bool {
	return r.Findings[0].rank() > 0 && r.More == 0 && r.Proved > 0
}

// Err is nil for a history that verifies, else fault.Tampered with the first finding's code.
func (r Report) Err() error {
	if r.OK {
		return nil
	}
	return &fault.Error{Kind: fault.Tampered, Op: "verify the audit history", Code: r.Code, Err: fmt.Errorf("%s", r.Message), Next: tamperedNext}
}
