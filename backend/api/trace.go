package api

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"freshet/backend/auth"
)

// TraceQuery names a row: of a captured table, or by the key of a topic's records.
type TraceQuery struct {
	Table   string `query:"table" maxLength:"300" doc:"SCHEMA.TABLE that a source captures"`
	Cluster string `query:"cluster"`
	Topic   string `query:"topic" maxLength:"300" doc:"Instead of a table"`
	Key     string `query:"key" required:"true" maxLength:"10000"`
}

// TraceAnswer is one row's changes, and where they got to.
type TraceAnswer struct {
	Head
	Items   []TraceVersion `json:"items" nullable:"false" doc:"Oldest first; the newest 200 that were found"`
	Held    []HeldRow      `json:"held" nullable:"false" doc:"What each sink that is fed with the topic holds"`
	Columns []TraceColumns `json:"columns,omitempty" doc:"Of each topic whose newest version says with which it was written"`
	Scans   []TraceScan    `json:"scans" nullable:"false" doc:"How much of each topic was looked at, newest first"`
}

// TraceScan is how much of one topic was looked at.
type TraceScan struct {
	Cluster string `json:"cluster"`
	Topic   string `json:"topic"`
	Scan    Scan   `json:"scan"`
}

// TraceColumns are the columns that the newest version in a topic was written with.
type TraceColumns struct {
	Cluster  string        `json:"cluster"`
	Topic    string        `json:"topic"`
	Columns  []TraceColumn `json:"columns" nullable:"false"`
	Decimals []Decimal     `json:"decimals,omitempty" doc:"Those whose values stand in records as base64 of the unscaled value"`
}

// TraceColumn is one column, as PostgreSQL writes its type.
type TraceColumn struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Base string `json:"base" doc:"The type under a domain"`
}

// TraceVersion is one change of the row and how far it got.
type TraceVersion struct {
	Op        string          `json:"op"`
	Position  string          `json:"position,omitempty"`
	Commit    string          `json:"commit,omitempty"`
	Time      string          `json:"time"`
	Tx        string          `json:"tx,omitempty" doc:"The source's transaction"`
	Key       string          `json:"key" doc:"As text; base64 where it is not UTF-8"`
	Before    json.RawMessage `json:"before,omitempty" doc:"The row before, where the record says"`
	After     json.RawMessage `json:"after,omitempty" doc:"The row after; of a record that is no change event the whole value, where it is JSON"`
	Cluster   string          `json:"cluster"`
	Topic     string          `json:"topic"`
	Partition int32           `json:"partition"`
	Offset    string          `json:"offset"`
	Hops      []TraceHop      `json:"hops" nullable:"false"`
}

// TraceHop is the arrival of one change at one place.
type TraceHop struct {
	To    string  `json:"to"`
	Delay Reading `json:"delay" doc:"Seconds from the commit to the arrival"`
	State string  `json:"state" enum:"arrived,waiting,unknown"`
}

// HeldRow is what a sink holds of a row now.
type HeldRow struct {
	Sink     string          `json:"sink"`
	Topic    string          `json:"topic"`
	State    string          `json:"state" enum:"held,absent,unknown"`
	Why      string          `json:"why,omitempty"`
	Table    string          `json:"table,omitempty"`
	Row      json.RawMessage `json:"row,omitempty" doc:"As the sink's database writes it as JSON"`
	Differs  []string        `json:"differs,omitempty" doc:"Columns whose values are not those of the newest version"`
	Missing  []string        `json:"missing,omitempty" doc:"Columns of the newest version that the table does not have"`
	Position string          `json:"position,omitempty" doc:"The last change of the partition that the sink has applied"`
	Next     string          `json:"next,omitempty" doc:"The offset of the partition that the sink applies next"`
	Behind   *int            `json:"behind,omitempty" doc:"How many of the versions shown are not applied; absent where it is not known"`
}

func traceRoutes(api huma.API, p Probes) {
	one(api, auth.Records, http.MethodGet, "/trace", "trace", "Every change of one row and how far it got", func(ctx context.Context, in *TraceQuery) (TraceAnswer, error) {
		return p.Trace(ctx, *in)
	})
}
