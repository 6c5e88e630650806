package postgres

import (
	"strconv"
	"strings"
)

// connectType is a schema of Kafka Connect as its JsonConverter writes it, in two parts: between them stands whether a
// value may be null, and behind them what the field is called.
type connectType struct{ head, tail string }

var (
	connectBoolean = connectType{head: `"type":"boolean"`}
	connectInt16   = connectType{head: `"type":"int16"`}
	connectInt32   = connectType{head: `"type":"int32"`}
	connectInt64   = connectType{head: `"type":"int64"`}
	connectFloat   = connectType{head: `"type":"float"`}
	connectDouble  = connectType{head: `"type":"double"`}
	connectString  = connectType{head: `"type":"string"`}
	connectBytes   = connectType{head: `"type":"bytes"`}
	connectTextMap = connectType{head: `"type":"map","keys":{"type":"string","optional":false},"values":{"type":"string","optional":true}`}

	connectVariableDecimal = connectType{
		head: `"type":"struct","fields":[` + connectInt32.field("scale", false, "") + `,` + connectBytes.field("value", false, "") + `]`,
		tail: `,"name":"io.debezium.data.VariableScaleDecimal","version":1,"doc":"Variable scaled decimal"`,
	}
	connectPoint = connectType{
		head: `"type":"struct","fields":[` + connectDouble.field("x", false, "") + `,` + connectDouble.field("y", false, "") + `,` +
			connectBytes.field("wkb", true, "") + `,` + connectInt32.field("srid", true, "") + `]`,
		tail: `,"name":"io.debezium.data.geometry.Point","version":1,"doc":"Geometry (POINT)"`,
	}
	connectGeometry  = connectShape("Geometry")
	connectGeography = connectShape("Geography")
	connectCircle    = connectType{
		head: `"type":"struct","fields":[` + connectPoint.field("center", false, "") + `,` + connectDouble.field("radius", false, "") + `]`,
		tail: `,"name":"io.debezium.data.geometry.Circle","version":1,"doc":"Geometry (CIRCLE)"`,
	}
	connectLine = connectType{
		head: `"type":"struct","fields":[` + connectDouble.field("a", false, "") + `,` + connectDouble.field("b", false, "") + `,` +
			connectDouble.field("c", false, "") + `]`,
		tail: `,"name":"io.debezium.data.geometry.Line","version":1,"doc":"Geometry (LINE)"`,
	}
	connectSparseVector = connectType{
		head: `"type":"struct","fields":[` + connectInt16.field("dimensions", false, "") +
			`,{"type":"map","keys":{"type":"int16","optional":false},"values":{"type":"double","optional":false},"optional":false,"field":"vector"}]`,
		tail: `,"name":"io.debezium.data.SparseDoubleVector","version":1,"doc":"Sparse double vector"`,
	}
)

// connectNamed is a type with a meaning that its name tells.
func connectNamed(kind, name string) connectType {
	return connectType{head: `"type":"` + kind + `"`, tail: `,"name":"` + name + `","version":1`}
}

func connectShape(name string) connectType {
	return connectType{
		head: `"type":"struct","fields":[` + connectBytes.field("wkb", false, "") + `,` + connectInt32.field("srid", true, "") + `,` +
			`{"type":"map","keys":{"type":"string","optional":false},"values":{"type":"string","optional":false},"optional":true,"field":"extensions"}]`,
		tail: `,"name":"io.debezium.data.geometry.` + name + `","version":2,"doc":"` + name + `"`,
	}
}

// connectDecimal is a decimal of a scale; precision 0 is not told.
func connectDecimal(scale, precision int) connectType {
	t := connectNamed("bytes", "org.apache.kafka.connect.data.Decimal")
	t.tail += `,"parameters":{"scale":"` + strconv.Itoa(scale) + `"`
	if precision > 0 {
		t.tail += `,"connect.decimal.precision":"` + strconv.Itoa(precision) + `"`
	}
	t.tail += "}"
	return t
}

// connectTime is that of times of day or timestamps in a mode of time.precision.mode other than isostring.
func connectTime(mode string, unit timeUnit, timestamp bool) connectType {
	name := "Time"
	if timestamp {
		name += "stamp"
	}
	switch {
	case mode == "connect" && timestamp:
		return connectNamed("int64", "org.apache.kafka.connect.data.Timestamp")
	case mode == "connect":
		return connectNamed("int32", "org.apache.kafka.connect.data.Time")
	case unit == nanoseconds:
		return connectNamed("int64", "io.debezium.time.Nano"+name)
	case unit == microseconds:
		return connectNamed("int64", "io.debezium.time.Micro"+name)
	case timestamp:
		return connectNamed("int64", "io.debezium.time."+name)
	}
	return connectNamed("int32", "io.debezium.time."+name)
}

// connectBits is that of bit strings of a length, mod, -1 for any.
func connectBits(mod int32) connectType {
	if mod < 0 {
		mod = 1<<31 - 1
	}
	t := connectNamed("bytes", "io.debezium.data.Bits")
	t.tail += `,"parameters":{"length":"` + strconv.Itoa(int(mod)) + `"}`
	return t
}

func connectEnum(labels []string) connectType {
	t := connectNamed("string", "io.debezium.data.Enum")
	t.tail += `,"parameters":{"allowed":` + jsonText(strings.Join(labels, ",")) + `}`
	return t
}

func connectVector(element connectType, name string) connectType {
	return connectType{connectArray(element, false).head, connectNamed("array", name).tail}
}

// connectArray is an array whose elements may be null or may not.
func connectArray(element connectType, optional bool) connectType {
	return connectType{head: `"type":"array","items":` + element.schema(optional)}
}

// connectStruct is a struct of fields as connectType.field gives them.
func connectStruct(name string, version int, fields ...string) connectType {
	t := connectType{head: `"type":"struct","fields":[` + strings.Join(fields, ",") + `]`}
	if name != "" {
		t.tail = `,"name":` + jsonText(name)
	}
	if version > 0 {
		t.tail += `,"version":` + strconv.Itoa(version)
	}
	return t
}

// schema is the whole schema.
func (t connectType) schema(optional bool) string {
	return "{" + t.head + `,"optional":` + strconv.FormatBool(optional) + t.tail + "}"
}

// field is the schema of a struct's field; byDefault is JSON, "" for none.
func (t connectType) field(name string, optional bool, byDefault string) string {
	s := t.schema(optional)
	s = s[:len(s)-1]
	if byDefault != "" {
		s += `,"default":` + byDefault
	}
	return s + `,"field":` + jsonText(name) + "}"
}

func jsonText(s string) string {
	b, _ := encodeString(nil, []byte(s))
	return string(b)
}

// around is what stands around a JSON value where its schema is written with it: nothing where it is not.
func around(schemas bool, t connectType) (open, end []byte) {
	if !schemas {
		return nil, nil
	}
	return []byte(`{"schema":` + t.schema(false) + `,"payload":`), []byte("}")
}

var (
	connectSource = connectStruct("io.debezium.connector.postgresql.Source", 1,
		connectString.field("version", false, ""), connectString.field("connector", false, ""), connectString.field("name", false, ""),
		connectInt64.field("ts_ms", false, ""),
		connectType{head: connectString.head, tail: `,"name":"io.debezium.data.Enum","version":1,"parameters":{"allowed":"true,first,first_in_data_collection,last_in_data_collection,last,false,incremental"}`}.field("snapshot", true, `"false"`),
		connectString.field("db", false, ""), connectString.field("sequence", true, ""),
		connectInt64.field("ts_us", true, ""), connectInt64.field("ts_ns", true, ""),
		connectString.field("schema", false, ""), connectString.field("table", false, ""),
		connectInt64.field("txId", true, ""), connectInt64.field("lsn", true, ""), connectInt64.field("xmin", true, ""),
		connectString.field("origin", true, ""), connectInt64.field("origin_lsn", true, ""))

	connectBlock = connectStruct("event.block", 1,
		connectString.field("id", false, ""), connectInt64.field("total_order", false, ""), connectInt64.field("data_collection_order", false, ""))

	connectTransactionKey   = connectStruct("io.debezium.connector.common.TransactionMetadataKey", 1, connectString.field("id", false, ""))
	connectTransactionValue = connectStruct("io.debezium.connector.common.TransactionMetadataValue", 1,
		connectString.field("status", false, ""), connectString.field("id", false, ""), connectInt64.field("event_count", true, ""),
		connectArray(connectStruct("event.collection", 1, connectString.field("data_collection", false, ""), connectInt64.field("event_count", false, "")), false).field("data_collections", true, ""),
		connectInt64.field("ts_ms", false, ""))

	connectHeartbeatKey   = connectStruct("io.debezium.connector.common.ServerNameKey", 1, connectString.field("serverName", false, ""))
	connectHeartbeatValue = connectStruct("io.debezium.connector.common.Heartbeat", 1, connectInt64.field("ts_ms", false, ""))

	connectMessageKey = connectStruct("io.debezium.connector.postgresql.MessageKey", 1, connectString.field("prefix", true, ""))
)

// connectEnvelope is that of a table's records; fields are a row's.
func connectEnvelope(topic string, fields []string) connectType {
	row := connectStruct(topic+".Value", 0, fields...)
	return connectStruct(topic+".Envelope", 2,
		row.field("before", true, ""), row.field("after", true, ""), connectSource.field("source", false, ""), connectBlock.field("transaction", true, ""),
		connectString.field("op", false, ""), connectInt64.field("ts_ms", true, ""), connectInt64.field("ts_us", true, ""), connectInt64.field("ts_ns", true, ""))
}

// connectMessage is that of a logical message, whose content is as content says.
func connectMessage(content connectType) connectType {
	return connectStruct("io.debezium.connector.postgresql.MessageValue", 1,
		connectString.field("op", false, ""), connectInt64.field("ts_ms", true, ""), connectSource.field("source", false, ""),
		connectBlock.field("transaction", true, ""),
		connectStruct("io.debezium.connector.postgresql.Message", 1, connectString.field("prefix", true, ""), content.field("content", true, "")).field("message", false, ""))
}
