package api

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"freshet/backend/auth"
)

// Record is one record, with its bytes as text where they are valid UTF-8 and in base64 always, unless rows were asked for.
type Record struct {
	Topic     string          `json:"topic"`
	Partition int32           `json:"partition"`
	Offset    string          `json:"offset"`
	Time      string          `json:"time"`
	TimeType  string          `json:"time_type"`
	Key       *Payload        `json:"key,omitempty" doc:"Absent for null"`
	Value     *Payload        `json:"value,omitempty" doc:"Absent for null"`
	Headers   []RecordHeader  `json:"headers,omitempty"`
	Decoded   json.RawMessage `json:"decoded,omitempty" doc:"The value as JSON, where it is JSON; of a row only where it is short, and in place of the text"`
	Op        string          `json:"op,omitempty" doc:"Of a captured change: c, u, d, r, t"`
	Commit    string          `json:"commit,omitempty" doc:"When the source committed the change"`
	Position  string          `json:"position,omitempty" doc:"Of the change in its source"`
	Decimals  []Decimal       `json:"decimals,omitempty" doc:"Columns of a captured change whose values stand in it as base64 of the unscaled value"`
}

// Decimal is a column whose values are Debezium's precise decimals.
type Decimal struct {
	Column string `json:"column"`
	Scale  *int   `json:"scale,omitempty" doc:"Digits behind the point; absent where each value has its own beside it"`
}

// Payload is a key, a value or a header's value.
type Payload struct {
	Text  string `json:"text,omitempty" doc:"Only where the bytes are valid UTF-8"`
	Bytes []byte `json:"base64,omitzero" required:"false" doc:"Left out of rows where there is text"`
	Size  int    `json:"size"`
	Cut   bool   `json:"cut,omitempty" doc:"Only the beginning is shown"`
}

// RecordHeader is one header.
type RecordHeader struct {
	Name  string   `json:"name"`
	Value *Payload `json:"value,omitempty" doc:"Absent for null"`
}

// Records is an answer of records, ending with what was looked at.
type Records struct {
	Head
	Items []Record `json:"items" nullable:"false" doc:"By time, of one partition by offset"`
	Scan  Scan     `json:"scan"`
}

// Scan says how much of the log an answer rests on.
type Scan struct {
	Scanned string            `json:"scanned" doc:"Records looked at"`
	Matched string            `json:"matched" doc:"Of those scanned; going backwards some may belong to a later page"`
	Bytes   string            `json:"bytes" doc:"Of keys, values and headers looked at"`
	Seconds float64           `json:"took_s"`
	Total   string            `json:"total" doc:"Offsets in the window: an upper bound of its records"`
	Covered string            `json:"covered" doc:"Offsets of the window that this answer and those before it are done with"`
	Window  []ScanWindow      `json:"window" nullable:"false"`
	Stopped string            `json:"stopped_because" doc:"limit, end, records, bytes, time, size (of the answer), cancelled; and how many batches could not be read"`
	Next    map[string]string `json:"next" nullable:"false" doc:"Where each partition goes on forwards: at"`
	Older   map[string]string `json:"older,omitempty" doc:"Where each partition goes on backwards: before. One that is left out has nothing older"`
	Limits  ScanLimits        `json:"limits"`
	Note    string            `json:"note,omitempty" doc:"What else a person must know, such as that only one partition was read"`
}

// ScanLimits are what one look may cost.
type ScanLimits struct {
	Records string  `json:"records"`
	Bytes   string  `json:"bytes"`
	Seconds float64 `json:"seconds"`
}

// ScanWindow is the stretch of a partition that was asked for.
type ScanWindow struct {
	Partition int32  `json:"partition"`
	From      string `json:"from"`
	To        string `json:"to"`
}

// Selection says which records are meant. It is exported because huma looks only into exported embedded fields.
type Selection struct {
	ClusterQuery
	Topic        string `path:"name" maxLength:"300"`
	From         string `query:"from" maxLength:"100" doc:"oldest, newest, a time, a time ago such as -15m, or PARTITION:OFFSET"`
	At           string `query:"at" maxLength:"200000" doc:"P:O,P:O: from these offsets on, of these partitions alone; or ends: what comes from now on"`
	Before       string `query:"before" maxLength:"200000" doc:"P:O,P:O: backwards, what lies before these offsets, of these partitions alone"`
	Until        string `query:"until" maxLength:"100" doc:"Only what lies before the first record of this time or later"`
	Partitions   string `query:"partitions" maxLength:"100000" doc:"Only these: 0,3"`
	Filter       string `query:"filter" maxLength:"10000" doc:"CEL"`
	Key          string `query:"key" maxLength:"10000" doc:"The key as text, the value of a JSON key's only column, or an equal JSON key"`
	KeyBase64    string `query:"key_base64" maxLength:"20000" doc:"The key's exact bytes"`
	OnePartition bool   `query:"one_partition" doc:"With a key: read only the partition where producers put exactly this key"`
}

// RecordQuery says which records to read, and how.
type RecordQuery struct {
	Selection
	Order      string  `query:"order" enum:"newest,oldest" doc:"Which of the window come first; newest with from=newest or before, else oldest"`
	Limit      int     `query:"limit" default:"20" minimum:"1" maximum:"10000"`
	MaxRecords int64   `query:"max_records" minimum:"1" doc:"Look at no more; at most 2,000,000"`
	MaxBytes   int64   `query:"max_bytes" minimum:"1" doc:"Look at no more; at most 1 GiB"`
	MaxSeconds float64 `query:"max_seconds" minimum:"0.1" maximum:"60" doc:"Look no longer; 8 unless told"`
	Wait       float64 `query:"wait_s" minimum:"0" maximum:"10" doc:"Forwards: hold the answer this long until something is found"`
	Shape      string  `query:"shape" enum:"whole,row" doc:"row: without base64 where there is text, long texts cut"`
}

// RecordPlace names one record.
type RecordPlace struct {
	ClusterQuery
	Topic     string `path:"name" maxLength:"300"`
	Partition int32  `query:"partition" required:"true" minimum:"0"`
	Offset    string `query:"offset" required:"true" maxLength:"20"`
}

// Previous is the newest earlier record with the same key in the same partition.
type Previous struct {
	Head
	Record *Record `json:"record,omitempty" doc:"Absent where none was found; scan says how far it was looked for"`
	Why    string  `json:"why,omitempty" doc:"Why there is none"`
	Scan   Scan    `json:"scan"`
}

// ExportQuery says which records to write into a file.
type ExportQuery struct {
	Selection
	Format     string `query:"format" default:"jsonl" enum:"jsonl,csv,parquet"`
	MaxRecords int64  `query:"max_records" default:"1000000" minimum:"1" maximum:"100000000" doc:"Write no more"`
	Columns    string `query:"columns" maxLength:"10000" doc:"CSV: fields of the decoded value, after.id,after.status, in place of key and value; a dot or comma in a name has a backslash before it"`
}

// Field is one field that records have.
type Field struct {
	Path     string   `json:"path" doc:"From the value, key or headers on: after.status"`
	Of       string   `json:"of" enum:"value,key,header"`
	CEL      string   `json:"cel" doc:"The same in a filter: value.after.status"`
	Type     string   `json:"type" enum:"integer,decimal,text,boolean,list,object,null,mixed,bytes"`
	Records  int      `json:"records" doc:"How many of those looked at have it"`
	Examples []string `json:"examples" nullable:"false" doc:"The most frequent values, cut to 100 characters"`
}

// Fields are what the newest records of a topic have.
type Fields struct {
	Head
	Items   []Field `json:"items" nullable:"false"`
	Records int     `json:"records" doc:"How many records were looked at"`
	Cut     bool    `json:"cut,omitempty" doc:"There are more fields than these"`
}

// FilterSpec is an expression to check.
type FilterSpec struct {
	Expression string `json:"expression" maxLength:"65536"`
	Cluster    string `json:"cluster,omitempty"`
	Topic      string `json:"topic,omitempty" doc:"Try it on the newest records of this topic"`
}

// FilterCheck says whether an expression can be used.
type FilterCheck struct {
	Head
	Valid  bool       `json:"valid"`
	Reason string     `json:"reason,omitempty"`
	Line   int        `json:"line,omitempty" doc:"Of the first mistake, from 1"`
	Column int        `json:"column,omitempty" doc:"From 1"`
	Tried  *FilterTry `json:"tried,omitempty"`
}

// FilterTry is what an expression says of a topic's newest records.
type FilterTry struct {
	Records int    `json:"records"`
	Matched int    `json:"matched"`
	Failed  int    `json:"failed" doc:"It could not be evaluated on these"`
	Why     string `json:"why,omitempty" doc:"Of the first that failed, or why it was not tried"`
}

// RecordReader reads what is in topics.
type RecordReader interface {
	Records(ctx context.Context, q RecordQuery) (Records, error)
	Previous(ctx context.Context, at RecordPlace) (Previous, error)
	// Export checks q and returns what writes the file; an error of that after it has begun is a file broken off.
	Export(ctx context.Context, q ExportQuery) (func(context.Context, io.Writer) error, error)
	Fields(ctx context.Context, cluster, topic string) (Fields, error)
	CheckFilter(ctx context.Context, spec FilterSpec) (FilterCheck, error)
}

func recordRoutes(api huma.API, r RecordReader) {
	one(api, auth.Records, http.MethodGet, "/topics/{name}/records", "topics-read", "Records, and how much was looked at for them", func(ctx context.Context, in *RecordQuery) (Records, error) {
		return r.Records(ctx, *in)
	})
	one(api, auth.Records, http.MethodGet, "/topics/{name}/previous", "topics-previous", "The newest earlier record with the same key", func(ctx context.Context, in *RecordPlace) (Previous, error) {
		return r.Previous(ctx, *in)
	})
	one(api, auth.Records, http.MethodGet, "/topics/{name}/fields", "topics-fields", "Fields that the newest records have", func(ctx context.Context, in *TopicIn) (Fields, error) {
		return r.Fields(ctx, in.Cluster, in.Name)
	})
	one(api, auth.Records, http.MethodPost, "/filter/check", "filter-check", "Whether a filter can be used", func(ctx context.Context, in *body[FilterSpec]) (FilterCheck, error) {
		return r.CheckFilter(ctx, in.Body)
	})
	types := map[string]string{"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
	huma.Register(api, huma.Operation{
		OperationID: "topics-export", Method: http.MethodGet, Path: "/api/topics/{name}/export", Summary: "Records as a file",
		Metadata: map[string]any{actKey: auth.Records},
	}, func(ctx context.Context, in *ExportQuery) (*huma.StreamResponse, error) {
		write, err := r.Export(ctx, *in)
		if err != nil {
			return nil, FromError(err)
		}
		return download(in.Topic+"-"+time.Now().UTC().Format("20060102T150405Z")+"."+in.Format, types[in.Format], write), nil
	})
}
