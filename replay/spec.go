package replay

// Spec tells people and programs of one kind of sink: the command line's help, the form on the screen and the reference
// page are made from it.
type Spec struct {
	Name    string // "postgres"
	Summary string // one sentence
	Fields  []Field
	Capabilities
}

// Capabilities are what a kind of sink can promise.
type Capabilities struct {
	// Transactional: records and progress become visible together or not at all. Without it a record may be sent twice,
	// always with the same idempotency key.
	Transactional bool
	// Fences: after Open an older writer of the shard can write no more.
	Fences bool
	// Progress: the sink itself holds each shard's progress.
	Progress bool
	// Decoded lists the modes that need each record decoded to a change; the others take the record's bytes.
	Decoded []string
	// CreatesTarget: a missing table or topic is made.
	CreatesTarget bool
}

// FieldType is how a field's value is written.
type FieldType string

const (
	TextField     FieldType = "text"
	BoolField     FieldType = "bool"
	IntField      FieldType = "int"
	DurationField FieldType = "duration" // as Go writes it: "30s"
	ListField     FieldType = "list"     // texts, separated by commas
)

// Field is one option of a sink.
type Field struct {
	Name     string // as the flag: "dsn"
	Summary  string
	Type     FieldType
	Required bool
	Secret   bool     // goes to the secret store, never to settings
	Default  string   // as it would be written, "" none
	Values   []string // the only ones allowed; nil any
}
