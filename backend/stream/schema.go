package stream

// Headers and topics by which a captured record tells what Debezium's schemaless JSON cannot.
const (
	// SchemaHeader carries the ID of the TableSchema that the record was written with.
	SchemaHeader = "freshet.schema"
	// SchemaTopic is the compacted topic that holds every TableSchema as JSON under its ID, in the cluster that the
	// records are in. It is written before the first record that names it.
	SchemaTopic = "__freshet.schemas"
	// UnavailableHeader lists, as a JSON array, the columns of after whose values the source did not send (unchanged
	// TOAST); in the envelope they hold the placeholder.
	UnavailableHeader = "freshet.unavailable"
	// NewKeyHeader and OldKeyHeader are Debezium's, on the delete (with its tombstone) and the create of a changed key.
	NewKeyHeader = "__debezium.newkey"
	OldKeyHeader = "__debezium.oldkey"
)

// TableSchema is a captured table's columns at one time.
type TableSchema struct {
	ID       string   `json:"id"` // 16 hexadecimal digits of a hash over the rest
	Database string   `json:"database"`
	Schema   string   `json:"schema"`
	Table    string   `json:"table"`
	Columns  []Column `json:"columns"`
	// Handling names how values were encoded, by Debezium's option names: "decimal.handling.mode": "precise", ...
	Handling map[string]string `json:"handling"`
}

// Column is one column, in table order.
type Column struct {
	Name    string `json:"name"`
	Type    string `json:"type"` // as format_type() writes it: "numeric(12,2)", "timestamp with time zone", "text[]"
	Base    string `json:"base"` // the type under a domain, as format_type() writes it; else equal to Type
	Enum    bool   `json:"enum,omitempty"`
	NotNull bool   `json:"not_null,omitempty"`
	Key     int    `json:"key,omitempty"` // 1-based place in the record key, 0 for none
	// Mask says how values were changed before they were written: hash, mask or truncate; "" for not.
	Mask string `json:"mask,omitempty"`
	// Opaque says that values are the bytes of their text, as binary.handling.mode writes bytes.
	Opaque bool `json:"opaque,omitempty"`
}
