package stream

// Kind is the shape of a Value.
type Kind uint8

const (
	Null Kind = iota
	Bool
	Number // any number, as the decimal text it was written in
	String
	Bytes
	List
	Object
)

// Value is decoded data without loss: numbers keep their text, so that integers beyond 2^53, decimals and trailing
// zeros survive; an Object keeps order and repeated names. The zero Value is null.
type Value struct {
	Kind   Kind
	Bool   bool
	Text   string // Number, String
	Bytes  []byte
	List   []Value
	Fields []Field
}

// Field is one member of an Object.
type Field struct {
	Name  string
	Value Value
}

// Get returns the last member named name of an Object.
func (v *Value) Get(name string) (*Value, bool) {
	for i := len(v.Fields) - 1; i >= 0; i-- {
		if v.Fields[i].Name == name {
			return &v.Fields[i].Value, true
		}
	}
	return nil, false
}

// IsNull reports whether v is null.
func (v *Value) IsNull() bool { return v == nil || v.Kind == Null }
