package postgres

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// typeInfo is a type as the catalog has it.
type typeInfo struct {
	OID       uint32
	Name      string // typname
	Kind      string // typtype: b base, d domain, e enum, c composite, r range, m multirange
	Array     bool
	Element   uint32 // of an array
	Delimiter byte   // between an array's elements
	Base      uint32 // under a domain
	BaseMod   int32
	Labels    []string // an enum's, in its order
}

// typeCache holds types by OID. An OID's type never changes but for its name and an enum's labels.
type typeCache map[uint32]typeInfo

const maxTypeDepth = 16 // of domains over domains

// load reads the types that are missing, with the types under them, and enums again. A type that is gone stays missing.
func (c typeCache) load(ctx context.Context, q querier, oids []uint32) error {
	for depth := range maxTypeDepth {
		var missing []uint32
		for _, oid := range oids {
			if t, ok := c[oid]; oid != 0 && (!ok || t.Kind == "e" && depth == 0) {
				missing = append(missing, oid)
			}
		}
		if len(missing) == 0 {
			return nil
		}
		rows, err := q.Query(ctx, `
			SELECT t.oid, t.typname, t.typtype::text, t.typinput = 'pg_catalog.array_in'::regproc AND t.typtype <> 'd',
			       t.typelem, coalesce(e.typdelim, ',')::text, t.typbasetype, t.typtypmod,
			       (SELECT array_agg(l.enumlabel::text ORDER BY l.enumsortorder) FROM pg_enum l WHERE l.enumtypid = t.oid)
			FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem WHERE t.oid = ANY($1)`, missing)
		if err != nil {
			return err
		}
		found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (typeInfo, error) {
			var t typeInfo
			var delimiter string
			err := row.Scan(&t.OID, &t.Name, &t.Kind, &t.Array, &t.Element, &delimiter, &t.Base, &t.BaseMod, &t.Labels)
			if t.Delimiter = ','; len(delimiter) == 1 {
				t.Delimiter = delimiter[0]
			}
			return t, err
		})
		if err != nil {
			return err
		}
		oids = nil
		for _, t := range found {
			c[t.OID] = t
			if t.Array {
				oids = append(oids, t.Element)
			}
			if t.Kind == "d" {
				oids = append(oids, t.Base)
			}
		}
	}
	return nil
}

// root follows domains down to what is under them.
func (c typeCache) root(oid uint32, mod int32) (typeInfo, int32) {
	for range maxTypeDepth {
		t, ok := c[oid]
		if !ok {
			return typeInfo{OID: oid}, mod
		}
		if t.Kind != "d" {
			return t, mod
		}
		oid, mod = t.Base, t.BaseMod
	}
	return typeInfo{OID: oid}, mod
}

// form is how the values of a type are written.
type form struct {
	encode encoder
	// placeholder stands for a value that the server did not send.
	placeholder []byte
	// connect is its schema in Kafka Connect.
	connect connectType
	// foreign says that Debezium does not know the type and leaves its columns out.
	foreign bool
	always  []byte // as column has it
}

func known(encode encoder, placeholder []byte, connect connectType) form {
	return form{encode: encode, placeholder: placeholder, connect: connect}
}

// form chooses how values of a type are written.
func (c typeCache) form(values *codec, oid uint32, mod int32) form {
	t, mod := c.root(oid, mod)
	if t.Array {
		return c.arrayForm(values, t, mod)
	}
	decimals, times := values.words[decimalOption], values.words[timeOption]
	switch t.OID {
	case pgtype.BoolOID:
		return known(encodeBool, nullText, connectBoolean)
	case pgtype.Int2OID:
		return known(encodeInt, nullText, connectInt16)
	case pgtype.Int4OID:
		return known(encodeInt, nullText, connectInt32)
	case pgtype.Int8OID, pgtype.OIDOID:
		return known(encodeInt, nullText, connectInt64)
	case pgtype.Float4OID:
		return known(encodeFloat, nullText, connectFloat)
	case pgtype.Float8OID:
		return known(encodeFloat, nullText, connectDouble)
	case pgtype.NumericOID:
		switch {
		case decimals == "string":
			return known(encodeDecimalText, placeholderString, connectString)
		case decimals == "double":
			return known(encodeDouble, nullText, connectDouble)
		case mod < 0:
			return known(values.variableDecimal, nullText, connectVariableDecimal)
		}
		scale := numericScale(mod)
		return known(values.decimal(scale), nullText, connectDecimal(scale, int(mod-4)>>16&0xffff))
	case moneyOID:
		return values.moneyForm(decimals)
	case pgtype.ByteaOID:
		return values.byteaForm()
	case pgtype.DateOID:
		switch times {
		case "isostring":
			return known(encodeISODate, nullText, connectNamed("string", "io.debezium.time.IsoDate"))
		case "connect":
			return known(encodeDate, nullText, connectNamed("int32", "org.apache.kafka.connect.data.Date"))
		}
		return known(encodeDate, nullText, connectNamed("int32", "io.debezium.time.Date"))
	case pgtype.TimeOID:
		if times == "isostring" {
			return known(encodeISOTime, nullText, connectNamed("string", "io.debezium.time.IsoTime"))
		}
		unit := values.unit(mod, false)
		return known(encodeTime(unit), nullText, connectTime(times, unit, false))
	case pgtype.TimestampOID:
		if times == "isostring" {
			return known(encodeISOTimestamp, nullText, connectNamed("string", "io.debezium.time.IsoTimestamp"))
		}
		unit := values.unit(mod, true)
		return known(encodeTimestamp(unit), nullText, connectTime(times, unit, true))
	case pgtype.TimestamptzOID:
		digits := int(mod)
		if digits < 0 || digits > 6 {
			digits = 6
		}
		return known(encodeTimestamptz(digits), nullText, connectNamed("string", "io.debezium.time.ZonedTimestamp"))
	case pgtype.TimetzOID:
		return known(encodeTimetz, nullText, connectNamed("string", "io.debezium.time.ZonedTime"))
	case pgtype.IntervalOID:
		if values.words[intervalOption] == "string" {
			return known(encodeIntervalText, nullText, connectNamed("string", "io.debezium.time.Interval"))
		}
		return known(encodeInterval, nullText, connectNamed("int64", "io.debezium.time.MicroDuration"))
	case pgtype.PointOID:
		return known(values.point, nullText, connectPoint)
	case pgtype.BoxOID, pgtype.LsegOID, pgtype.PathOID, pgtype.PolygonOID:
		return known(values.geometry(t.Name), nullText, connectGeometry)
	case pgtype.CircleOID:
		return known(values.circle, nullText, connectCircle)
	case pgtype.LineOID:
		return known(values.line, nullText, connectLine)
	case pgtype.BitOID, pgtype.VarbitOID:
		if mod == 1 {
			return known(encodeBit, nullText, connectBoolean)
		}
		return known(values.bits, nullText, connectBits(mod))
	case pgtype.JSONOID, pgtype.JSONBOID:
		return known(encodeString, placeholderString, connectNamed("string", "io.debezium.data.Json"))
	case pgtype.XMLOID:
		return known(encodeString, placeholderString, connectNamed("string", "io.debezium.data.Xml"))
	case pgtype.UUIDOID:
		return known(encodeString, placeholderString, connectNamed("string", "io.debezium.data.Uuid"))
	case pgtype.TSVectorOID:
		return known(encodeString, placeholderString, connectNamed("string", "io.debezium.data.Tsvector"))
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID, pgtype.NameOID, pgtype.QCharOID, pgtype.InetOID, pgtype.CIDROID,
		pgtype.MacaddrOID, pgtype.Macaddr8OID, pgtype.Int4rangeOID, pgtype.Int8rangeOID, pgtype.NumrangeOID, pgtype.TsrangeOID,
		pgtype.TstzrangeOID, pgtype.DaterangeOID:
		return known(encodeString, placeholderString, connectString)
	}
	if t.Kind == "e" {
		return known(encodeString, placeholderString, connectEnum(t.Labels))
	}
	if f, ok := values.extensionForm(t); ok {
		return f
	}
	return form{encode: encodeString, placeholder: placeholderString, connect: connectString, foreign: true}
}

func (c typeCache) arrayForm(values *codec, t typeInfo, mod int32) form {
	of, _ := c.root(t.Element, mod)
	element := c.form(values, t.Element, mod)
	f := known(values.array(element.encode, t.Delimiter), arrayPlaceholder(of.OID), connectArray(element.connect, true))
	f.foreign = element.foreign || c[t.Element].Kind == "d"
	switch of.OID {
	case moneyOID, pgtype.NameOID, pgtype.IntervalOID, pgtype.VarbitOID, pgtype.XMLOID, pgtype.PointOID:
		f.foreign = true
	}
	return f
}

// extensionForm knows types by the names that their extensions give them.
func (c *codec) extensionForm(t typeInfo) (form, bool) {
	if t.Kind != "b" {
		return form{}, false
	}
	switch t.Name {
	case "hstore":
		if c.words[hstoreOption] == "map" {
			return known(c.hstoreObject, placeholderMap, connectTextMap), true
		}
		return known(c.hstore, placeholderHstore, connectNamed("string", "io.debezium.data.Json")), true
	case "citext", "isbn":
		return known(encodeString, placeholderString, connectString), true
	case "ltree":
		return known(encodeString, placeholderString, connectNamed("string", "io.debezium.data.Ltree")), true
	case "geometry":
		return known(c.postgis, nullText, connectGeometry), true
	case "geography":
		return known(c.postgis, nullText, connectGeography), true
	case "vector":
		return known(c.vector, nullText, connectVector(connectDouble, "io.debezium.data.DoubleVector")), true
	case "halfvec":
		return known(c.vector, nullText, connectVector(connectFloat, "io.debezium.data.FloatVector")), true
	case "sparsevec":
		return known(c.sparseVector, nullText, connectSparseVector), true
	}
	return form{}, false
}

func (c *codec) moneyForm(mode string) form {
	switch mode {
	case "string":
		return known(c.money(mode), nullText, connectString)
	case "double":
		return known(c.money(mode), nullText, connectDouble)
	}
	return known(c.money(mode), nullText, connectDecimal(c.moneyDigits(), 0))
}

// byteaForm is also that of a logical message's content.
func (c *codec) byteaForm() form {
	switch c.words[binaryOption] {
	case "hex":
		return known(encodeHex, placeholderString, connectString)
	case "base64-url-safe":
		return known(encodeBase64(base64.URLEncoding), placeholderBytes, connectString)
	case "base64":
		return known(encodeBase64(base64.StdEncoding), placeholderBytes, connectString)
	}
	return known(encodeBase64(base64.StdEncoding), placeholderBytes, connectBytes)
}

// ofKey is the form in a record key: values that the database takes for equal are the same bytes.
func (f form) ofKey(values *codec) form {
	if f.connect == connectVariableDecimal {
		f.encode = values.shortDecimal
	}
	return f
}

// opaqueForm is that of types Debezium does not know, where it is asked to carry them: the bytes of their text, of each
// element where it is an array.
func (c typeCache) opaqueForm(values *codec, oid uint32, mod int32) form {
	f := values.byteaForm()
	inner := f.encode
	var digits []byte
	f.encode = func(dst, text []byte) ([]byte, bool) {
		digits = hexText(digits[:0], text)
		return inner(dst, digits)
	}
	if t, _ := c.root(oid, mod); t.Array {
		return known(values.array(f.encode, t.Delimiter), nullText, connectArray(f.connect, true))
	}
	return f
}

// hexText appends bytes as PostgreSQL writes a bytea.
func hexText(dst, b []byte) []byte { return hex.AppendEncode(append(dst, '\\', 'x'), b) }

func (c *codec) moneyDigits() int {
	n, _ := strconv.Atoi(c.words[moneyOption])
	return max(n, moneyScale)
}

const (
	moneyOID = 790
	// moneyScale is the digits that lc_monetary=C has.
	moneyScale = 2
)

var nullText = []byte("null")

func arrayPlaceholder(element uint32) []byte {
	switch element {
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID, pgtype.JSONOID, pgtype.JSONBOID:
		return []byte("[" + string(placeholderString) + "]")
	case pgtype.ByteaOID:
		return []byte("[" + string(placeholderBytes) + "]")
	case pgtype.Int4OID, pgtype.Int8OID, pgtype.DateOID:
		return placeholderInts
	case pgtype.UUIDOID:
		return placeholderUUIDs
	}
	return nullText
}

// numericScale takes the scale out of a type modifier; it is an 11-bit number with a sign since version 15.
func numericScale(mod int32) int {
	scale := int((mod - 4) & 0x7ff)
	return (scale ^ 1024) - 1024
}

// unit is what times and timestamps of a precision count. Debezium's adaptive precision takes milliseconds for declared
// ones of up to 3 digits.
func (c *codec) unit(mod int32, timestamp bool) timeUnit {
	switch c.words[timeOption] {
	case "connect":
		return milliseconds
	case "microseconds":
		return microseconds
	case "nanoseconds":
		return nanoseconds
	case "adaptive_time_microseconds":
		if !timestamp {
			return microseconds
		}
	}
	if mod >= 0 && mod <= 3 {
		return milliseconds
	}
	return microseconds
}
