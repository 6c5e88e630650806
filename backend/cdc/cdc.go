// Package cdc brings the changes of databases into a log, each of them once.
//
// A Source knows one database's log: it reads, encodes and hands records to a Writer. The Writer knows the log they go
// to: it leaves out what a topic holds already, counts what is in flight and says how far the source may forget. A
// Pipeline runs one Source over and over, a Manager runs the pipelines of one data directory. DESIGN.md says what is
// promised.
//
// The package is an engine: it opens no socket and knows no database. The sources are in folders below it.
package cdc

import (
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"time"

	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/probes"
)

// Options say what to capture. They hold no secret: how to reach the database is given to the source when it is made.
type Options struct {
	Name       string   `json:"name"`
	Type       string   `json:"type"`             // "postgres"
	Cluster    string   `json:"cluster"`          // whose log
	Prefix     string   `json:"prefix"`           // of the topics
	Tables     []string `json:"tables"`           // SCHEMA.TABLE, * and ? stand for many and one character
	NoSnapshot bool     `json:"no_snapshot"`      // only what changes from now on
	Outbox     string   `json:"outbox,omitempty"` // SCHEMA.TABLE whose inserted rows are routed to PREFIX.events.TYPE too
	// Properties are the source's own: of PostgreSQL Debezium's options by their names, such as decimal.handling.mode.
	Properties map[string]string `json:"properties,omitempty"`
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

// Validate fills in defaults and says what cannot be used.
func (o *Options) Validate() error {
	const op = "read source options"
	if !nameForm.MatchString(o.Name) {
		return fault.New(fault.Invalid, op, "use letters, digits, '_', '.' and '-', at most 63 of them", "the name %q cannot be used", o.Name)
	}
	if o.Prefix == "" {
		o.Prefix = o.Name
	}
	if len(o.Tables) == 0 {
		o.Tables = []string{"public.*"}
	}
	for _, p := range o.Tables {
		if _, err := ParsePattern(p); err != nil {
			return err
		}
	}
	if o.Outbox != "" {
		if p, err := ParsePattern(o.Outbox); err != nil {
			return err
		} else if p.many() {
			return fault.New(fault.Invalid, op, "name one table", "the outbox %q is a pattern", o.Outbox)
		}
	}
	return nil
}

// State is what a pipeline remembers of its source. Its confirmed position is durable before the source is told of it.
type State struct {
	// Source names the source's identity as in stream.Position; "" before there is one.
	Source string `json:"source"`
	// Making is set while the source makes what it needs on the server and reads the first snapshot. A State found so
	// after a crash starts anew, under another identity.
	Making bool `json:"making,omitempty"`
	// Confirmed is the position before which the source may forget everything.
	Confirmed uint64 `json:"confirmed,string"`
	// Detail is the source's own.
	Detail json.RawMessage `json:"detail,omitempty"`
	// Paused is a person's wish, kept over restarts.
	Paused bool `json:"paused,omitempty"`
	// Hole says which record the log refused while it took later ones of the same topic; capture does not go on over it.
	Hole string `json:"hole,omitempty"`
}

// Stored is a source as it is kept.
type Stored struct {
	Options Options `json:"options"`
	State   State   `json:"state"`
}

// Store keeps sources. backend/store implements it.
type Store interface {
	Sources(ctx context.Context) ([]Stored, error)
	// SaveSource inserts or replaces by Options.Name, durably.
	SaveSource(ctx context.Context, s Stored) error
	DeleteSource(ctx context.Context, name string) error
}

// Schemas keeps what columns captured tables have. backend/kafka implements it over stream.SchemaTopic.
type Schemas interface {
	// Publish makes s durable under its ID; one that is there already is left.
	Publish(ctx context.Context, s stream.TableSchema) error
}

// Source is a database whose log is captured. Run is called by one goroutine at a time, the other methods by any.
type Source interface {
	// Run captures into w until ctx ends, then returns nil once the source has been told what is confirmed. The kind of
	// an error decides what follows: Unavailable, Timeout and Conflict are tried again soon, Denied seldom, every other
	// stops the pipeline until a person resumes it.
	Run(ctx context.Context, w *Writer) error
	// Position is the end of what the database has committed now.
	Position(ctx context.Context) (uint64, error)
	// Topics are patterns of the topics that it writes, "shop.*".
	Topics() []string
	// Slot is what the database says of what it holds back for us.
	Slot(ctx context.Context) (probes.SlotStatus, error)
	// Drop removes from the server what Run has made there, going by what is kept of it.
	Drop(ctx context.Context, s State) error
}

// Finding is something about a running source that a person should know.
type Finding struct {
	Table string // SCHEMA.TABLE, "" where it is not about one
	Text  string
}

// The states of probes.SourceProgress.
const (
	Streaming    = "streaming"
	Snapshot     = "snapshot"
	Paused       = "paused"
	Reconnecting = "reconnecting"
	Stopped      = "stopped"
)

// Clock is a source's clock beside ours.
type Clock struct {
	Offset, Error time.Duration // source minus ours, give or take
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
