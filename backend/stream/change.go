package stream

import "time"

// Op is what a Change did.
type Op byte

const (
	Create   Op = 'c'
	Update   Op = 'u'
	Delete   Op = 'd'
	Read     Op = 'r' // a row of a snapshot
	Truncate Op = 't'
	Message  Op = 'm'
)

// UnavailableText is Debezium's default placeholder for a value the source did not send since an update left it alone.
const UnavailableText = "__debezium_unavailable_value"

// Change is one row event.
type Change struct {
	Op            Op
	Database      string
	Schema, Table string
	Key           Value // Object of the key columns, null where there is none
	Before, After Value
	Position      Position // zero where the record carries none
	CommitTime    time.Time
	Snapshot      bool
	Tx            string
}
