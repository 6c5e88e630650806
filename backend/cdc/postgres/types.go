package postgres

import (
	"context"
	"encoding/base64"

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
}

// typeCache holds types by OID. An OID's type never changes but for its name and an enum's labels, which are not needed.
type typeCache map[uint32]typeInfo

const maxTypeDepth = 16 // of domains over domains

// load reads the types that are missing, with the types under them. A type that is gone stays missing.
func (c typeCache) load(ctx context.Context, q querier, oids []uint32) error {
	for range maxTypeDepth {
		var missing []uint32
		for _, oid := range oids {
			if _, ok := c[oid]; !ok && oid != 0 {
				missing = append(missing, oid)
			}
		}
		if len(missing) == 0 {
			return nil
		}
		rows, err := q.Query(ctx, `
			SELECT t.oid, t.typname, t.typtype::text, t.typinput = 'pg_catalog.array_in'::regproc AND t.typtype <> 'd',
			       t.typelem, coalesce(e.typdelim, ',')::text, t.typbasetype, t.typtypmod
			FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem WHERE t.oid = ANY($1)`, missing)
		if err != nil {
			return err
		}
		found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (typeInfo, error) {
			var t typeInfo
			var delimiter string
			err := row.Scan(&t.OID, &t.Name, &t.Kind, &t.Array, &t.Element, &delimiter, &t.Base, &t.BaseMod)
			if len(delimiter) == 1 {
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

// encoder chooses how values of a type are written, and what stands for one that the server did not send.
func (c typeCache) encoder(values *codec, oid uint32, mod int32) (encode encoder, placeholder []byte) {
	t, mod := c.root(oid, mod)
	if t.Array {
		element, _ := c.root(t.Element, mod)
		encode, _ = c.encoder(values, t.Element, mod)
		delimiter := t.Delimiter
		if delimiter == 0 {
			delimiter = ','
		}
		return values.array(encode, delimiter), arrayPlaceholder(element.OID)
	}
	switch t.OID {
	case pgtype.BoolOID:
		return encodeBool, nullText
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID:
		return encodeInt, nullText
	case pgtype.Float4OID, pgtype.Float8OID:
		return encodeFloat, nullText
	case pgtype.NumericOID:
		switch values.words[decimalOption] {
		case "string":
			return encodeDecimalText, placeholderString
		case "double":
			return encodeDouble, nullText
		}
		if mod < 0 {
			return values.variableDecimal, nullText
		}
		return values.decimal(numericScale(mod)), nullText
	case moneyOID:
		return values.money(values.words[decimalOption]), nullText
	case pgtype.ByteaOID:
		switch values.words[binaryOption] {
		case "hex":
			return encodeHex, placeholderString
		case "base64-url-safe":
			return encodeBase64(base64.URLEncoding), placeholderBytes
		}
		return encodeBase64(base64.StdEncoding), placeholderBytes
	case pgtype.DateOID:
		if values.words[timeOption] == "isostring" {
			return encodeISODate, nullText
		}
		return encodeDate, nullText
	case pgtype.TimeOID:
		if values.words[timeOption] == "isostring" {
			return encodeISOTime, nullText
		}
		return encodeTime(values.unit(mod, false)), nullText
	case pgtype.TimestampOID:
		if values.words[timeOption] == "isostring" {
			return encodeISOTimestamp, nullText
		}
		return encodeTimestamp(values.unit(mod, true)), nullText
	case pgtype.TimestamptzOID:
		digits := int(mod)
		if digits < 0 || digits > 6 {
			digits = 6
		}
		return encodeTimestamptz(digits), nullText
	case pgtype.TimetzOID:
		return encodeTimetz, nullText
	case pgtype.IntervalOID:
		if values.words[intervalOption] == "string" {
			return encodeIntervalText, nullText
		}
		return encodeInterval, nullText
	case pgtype.PointOID:
		return values.point, nullText
	case pgtype.BitOID, pgtype.VarbitOID:
		if mod == 1 {
			return encodeBit, nullText
		}
		return values.bits, nullText
	}
	if t.Kind == "b" && t.Name == "hstore" {
		if values.words[hstoreOption] == "map" {
			return values.hstoreObject, placeholderMap
		}
		return values.hstore, placeholderHstore
	}
	return encodeString, placeholderString
}

// keyEncoder is the encoder of a key's column: values that the database takes for equal are the same bytes.
func (c typeCache) keyEncoder(values *codec, oid uint32, mod int32) encoder {
	if t, mod := c.root(oid, mod); t.OID == pgtype.NumericOID && mod < 0 && values.words[decimalOption] != "string" && values.words[decimalOption] != "double" {
		return values.shortDecimal
	}
	encode, _ := c.encoder(values, oid, mod)
	return encode
}

const moneyOID = 790

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
