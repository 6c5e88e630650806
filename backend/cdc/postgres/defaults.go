package postgres

import (
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
)

// byDefault is a column's default as JSON, for a schema; "" is none. What an expression comes to is not known before a row
// is written: where the column may not be null, Debezium gives its type's zero instead.
func (s *Source) byDefault(as form, oid uint32, notNull bool, expression string) string {
	if expression == "" || !s.handling.schemas() || oid == pgtype.ByteaOID ||
		as.connect == connectVariableDecimal || strings.HasPrefix(as.connect.head, `"type":"array"`) {
		return ""
	}
	text, ok := literal(expression)
	if !ok && notNull {
		text, ok = zeros[oid]
	}
	if !ok {
		return ""
	}
	b, ok := as.encode(nil, []byte(text))
	if !ok {
		return ""
	}
	return string(b)
}

// zeros are types' zeros as PostgreSQL writes them.
var zeros = map[uint32]string{
	pgtype.BoolOID: "f", pgtype.Int2OID: "0", pgtype.Int4OID: "0", pgtype.Int8OID: "0", pgtype.Float4OID: "0", pgtype.Float8OID: "0", pgtype.NumericOID: "0",
	pgtype.DateOID: "1970-01-01", pgtype.TimeOID: "00:00:00", pgtype.TimestampOID: "1970-01-01 00:00:00", pgtype.TimestamptzOID: "1970-01-01 00:00:00+00",
	pgtype.IntervalOID: "00:00:00", pgtype.UUIDOID: "00000000-0000-0000-0000-000000000000", pgtype.JSONOID: "{}", pgtype.JSONBOID: "{}",
}

// castsOnly is what may stand behind a constant: ::character varying(10)
var castsOnly = regexp.MustCompile(`^(::[A-Za-z_ ".]+(\(\d+(,-?\d+)?\))?(\[\])*)*$`)

// literal reads a default that is a constant as pg_get_expr() writes it: 5, true, 'text'::character varying, B'101'::"bit".
func literal(expression string) (text string, ok bool) {
	switch expression {
	case "true":
		return "t", true
	case "false":
		return "f", true
	}
	if isJSONNumber([]byte(expression)) {
		return expression, true
	}
	escaped := strings.HasPrefix(expression, "E'")
	if escaped || strings.HasPrefix(expression, "B'") {
		expression = expression[1:]
	}
	if !strings.HasPrefix(expression, "'") {
		return "", false
	}
	var b strings.Builder
	for i := 1; i < len(expression); i++ {
		switch c := expression[i]; {
		case c == '\'' && i+1 < len(expression) && expression[i+1] == '\'', c == '\\' && escaped && i+1 < len(expression):
			i++
			b.WriteByte(expression[i])
		case c == '\'':
			return b.String(), castsOnly.MatchString(expression[i+1:])
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}
