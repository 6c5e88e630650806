package postgres

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/big"
	"strconv"
	"strings"

	"freshet/backend/decode"
	"freshet/backend/stream"
)

// A convert appends v, which is not null, as the text PostgreSQL's input function of the column's type reads. Its error
// says what is wrong without the value.
type convert func(b []byte, v *stream.Value) ([]byte, error)

var (
	errShape = errors.New("another JSON type than the column's type is written as")
	errNUL   = errors.New("a character U+0000, which PostgreSQL cannot store")
	errRange = errors.New("out of the type's range")
)

// pgType is what format_type() writes, taken apart.
type pgType struct {
	name  string // "numeric", "timestamp without time zone", "public.mood"
	args  []int  // of the modifier: numeric(12,2) has 12 and 2
	array bool
}

func parseType(s string) pgType {
	var t pgType
	for strings.HasSuffix(s, "[]") {
		s, t.array = strings.TrimSuffix(s, "[]"), true
	}
	open := strings.IndexByte(s, '(')
	if open < 0 || strings.HasPrefix(s, `"`) && open < strings.LastIndexByte(s, '"') {
		t.name = s
		return t
	}
	inner, rest, ok := strings.Cut(s[open+1:], ")")
	if !ok {
		t.name = s
		return t
	}
	t.name = s[:open] + rest
	for a := range strings.SplitSeq(inner, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(a))
		if err != nil {
			return pgType{name: t.name, array: t.array} // geometry(Point,4326): no numbers
		}
		t.args = append(t.args, n)
	}
	return t
}

func (t pgType) arg(i, without int) int {
	if i < len(t.args) {
		return t.args[i]
	}
	return without
}

// Handling holds Debezium's options that say how a connector wrote values.
type handling map[string]string

func (h handling) get(option, byDefault string) string {
	if v := h[option]; v != "" {
		return v
	}
	return byDefault
}

// converter returns how values of a type are read that were written under h.
func converter(t pgType, h handling) convert {
	if t.array {
		t.array = false
		return arrayOf(converter(t, h))
	}
	switch t.name {
	case "boolean":
		return fromBool
	case "numeric":
		return numericOf(h.get("decimal.handling.mode", "precise"), t.arg(1, 0))
	case "money":
		digits, err := strconv.Atoi(h.get("money.fraction.digits", "2"))
		if err != nil {
			digits = 2
		}
		return numericOf(h.get("decimal.handling.mode", "precise"), digits)
	case "bytea":
		return byteaOf(h.get("binary.handling.mode", "bytes"))
	case "bit":
		return bitsOf(t.arg(0, 1), true)
	case "bit varying":
		return bitsOf(t.arg(0, 0), false)
	case "date":
		return fromDate
	case "time without time zone":
		return timeOf(unitOf(h, t, false))
	case "timestamp without time zone":
		return timestampOf(unitOf(h, t, true))
	case "timestamp with time zone", "time with time zone":
		return fromZoned
	case "point":
		return fromPoint
	case "box", "lseg", "path", "polygon", "circle", "line":
		return shapeOf(t.name)
	}
	if strings.HasPrefix(t.name, "interval") {
		return fromInterval
	}
	// Extensions' types have their schema before them where it is none that is searched.
	switch t.name[strings.LastIndexByte(t.name, '.')+1:] {
	case "hstore":
		return fromHstore
	case "geometry", "geography":
		return fromPostGIS
	case "vector", "halfvec", "sparsevec":
		return fromVector
	}
	return fromText
}

// unitOf is the number of microseconds, or minus the number of nanoseconds, that one unit of a time or timestamp counts.
func unitOf(h handling, t pgType, timestamp bool) int64 {
	milliseconds := t.arg(0, 6) <= 3
	switch mode := h.get("time.precision.mode", "adaptive"); {
	case mode == "connect",
		mode == "adaptive" && milliseconds,
		mode == "adaptive_time_microseconds" && milliseconds && timestamp:
		return 1000
	case mode == "nanoseconds":
		return -1000
	}
	return 1
}

func fromBool(b []byte, v *stream.Value) ([]byte, error) {
	switch {
	case v.Kind != stream.Bool:
		return fromText(b, v)
	case v.Bool:
		return append(b, 't'), nil
	}
	return append(b, 'f'), nil
}

// fromText takes texts, numbers and words as they are, and anything else as JSON, which is what json columns hold where
// a producer did not wrap them in a string.
func fromText(b []byte, v *stream.Value) ([]byte, error) {
	switch v.Kind {
	case stream.String, stream.Number:
		if strings.IndexByte(v.Text, 0) >= 0 {
			return b, errNUL
		}
		return append(b, v.Text...), nil
	case stream.Bytes:
		return appendHex(b, v.Bytes), nil
	}
	from := len(b)
	b = decode.AppendJSON(b, v)
	if strings.IndexByte(string(b[from:]), 0) >= 0 {
		return b, errNUL
	}
	return b, nil
}

// text is the JSON string in v.
func text(v *stream.Value) (string, error) {
	if v.Kind != stream.String {
		return "", errShape
	}
	if strings.IndexByte(v.Text, 0) >= 0 {
		return "", errNUL
	}
	return v.Text, nil
}

func integer(v *stream.Value) (int64, error) {
	if v.Kind != stream.Number {
		return 0, errShape
	}
	n, err := strconv.ParseInt(v.Text, 10, 64)
	if err != nil {
		return 0, errShape
	}
	return n, nil
}

// numericOf reads decimals: in mode precise base64 of the unscaled integer, with the scale of the type or, where it has
// none, beside it in an object; else a number or its text.
func numericOf(mode string, scale int) convert {
	return func(b []byte, v *stream.Value) ([]byte, error) {
		switch v.Kind {
		case stream.Number:
			return append(b, v.Text...), nil
		case stream.Object:
			s, ok := v.Get("scale")
			if !ok {
				return b, errShape
			}
			n, err := integer(s)
			if err != nil {
				return b, err
			}
			if n < -131072 || n > 16383 {
				return b, errRange
			}
			u, ok := v.Get("value")
			if !ok {
				return b, errShape
			}
			return unscaled(b, u, int(n))
		case stream.String:
			if mode == "precise" {
				return unscaled(b, v, scale)
			}
			if special, ok := specialNumbers[v.Text]; ok {
				return append(b, special...), nil
			}
			return fromText(b, v)
		}
		return b, errShape
	}
}

// specialNumbers are the ways to write a numeric that is none. "Infinity" is not among those of mode precise: it is
// base64, too.
var specialNumbers = map[string]string{
	"NaN": "NaN", "NAN": "NaN",
	"Infinity": "Infinity", "+Infinity": "Infinity", "POSITIVE_INFINITY": "Infinity",
	"-Infinity": "-Infinity", "NEGATIVE_INFINITY": "-Infinity",
}

// unscaled appends v, base64 of a big-endian two's complement integer, divided by ten to the power of scale.
func unscaled(b []byte, v *stream.Value, scale int) ([]byte, error) {
	if v.Kind == stream.String && len(v.Text)%4 != 0 {
		if special, ok := specialNumbers[v.Text]; ok {
			return append(b, special...), nil
		}
	}
	if v.Kind == stream.String && strings.IndexByte(v.Text, '.') >= 0 {
		return fromText(b, v) // more digits than the type has, written as text since no unscaled number holds them
	}
	raw, err := bytesOf(v)
	if err != nil {
		return b, err
	}
	if len(raw) == 0 || len(raw) > 1<<16 {
		return b, errRange
	}
	var digits []byte
	negative := raw[0]&0x80 != 0
	if len(raw) <= 8 {
		var pad [8]byte
		if negative {
			pad = [8]byte{255, 255, 255, 255, 255, 255, 255, 255}
		}
		copy(pad[8-len(raw):], raw)
		n := int64(binary.BigEndian.Uint64(pad[:]))
		var store [20]byte
		if negative {
			digits = strconv.AppendUint(store[:0], -uint64(n), 10)
		} else {
			digits = strconv.AppendInt(store[:0], n, 10)
		}
	} else {
		n := new(big.Int).SetBytes(raw)
		if negative {
			n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(raw))))
		}
		digits = n.Abs(n).Append(nil, 10)
	}
	if negative {
		b = append(b, '-')
	}
	if scale <= 0 {
		b = append(b, digits...)
		if len(digits) == 1 && digits[0] == '0' {
			return b, nil
		}
		return append(b, strings.Repeat("0", -scale)...), nil
	}
	if len(digits) <= scale {
		b = append(b, '0', '.')
		b = append(b, strings.Repeat("0", scale-len(digits))...)
		return append(b, digits...), nil
	}
	b = append(b, digits[:len(digits)-scale]...)
	b = append(b, '.')
	return append(b, digits[len(digits)-scale:]...), nil
}

// bytesOf reads base64, which is how Kafka Connect writes bytes.
func bytesOf(v *stream.Value) ([]byte, error) {
	if v.Kind == stream.Bytes {
		return v.Bytes, nil
	}
	if v.Kind != stream.String {
		return nil, errShape
	}
	raw, err := base64.StdEncoding.DecodeString(v.Text)
	if err != nil {
		return nil, errors.New("malformed base64")
	}
	return raw, nil
}

func appendHex(b, raw []byte) []byte {
	return hex.AppendEncode(append(b, '\\', 'x'), raw)
}

func byteaOf(mode string) convert {
	return func(b []byte, v *stream.Value) ([]byte, error) {
		switch mode {
		case "hex":
			s, err := text(v)
			if err != nil {
				return b, err
			}
			if _, err := hex.DecodeString(s); err != nil {
				return b, errors.New("malformed hexadecimal")
			}
			return append(append(b, '\\', 'x'), s...), nil
		case "base64-url-safe":
			s, err := text(v)
			if err != nil {
				return b, err
			}
			raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
			if err != nil {
				return b, errors.New("malformed base64")
			}
			return appendHex(b, raw), nil
		}
		if v.Kind == stream.String && strings.HasPrefix(v.Text, `\x`) {
			return fromText(b, v)
		}
		raw, err := bytesOf(v)
		if err != nil {
			return b, err
		}
		return appendHex(b, raw), nil
	}
}

// bitsOf reads bit strings: a boolean for one bit, else the number they are, little-endian and without its leading zero
// bytes. n is the length of a bit(n); of a bit varying only the most.
func bitsOf(n int, fixed bool) convert {
	return func(b []byte, v *stream.Value) ([]byte, error) {
		if v.Kind == stream.Bool {
			if v.Bool {
				return append(b, '1'), nil
			}
			return append(b, '0'), nil
		}
		raw, err := bytesOf(v)
		if err != nil {
			return b, err
		}
		length := n
		if !fixed {
			// The length of a bit varying is not in the number; its highest set bit is the shortest it can have been.
			length = 0
			for i := len(raw) - 1; i >= 0 && length == 0; i-- {
				for bit := 7; bit >= 0 && length == 0; bit-- {
					if raw[i]>>bit&1 == 1 {
						length = 8*i + bit + 1
					}
				}
			}
		}
		if length > 8<<20 {
			return b, errRange
		}
		for i := length - 1; i >= 0; i-- {
			if i/8 < len(raw) && raw[i/8]>>(i%8)&1 == 1 {
				b = append(b, '1')
			} else {
				b = append(b, '0')
			}
		}
		return b, nil
	}
}

// Days since 1970 that Debezium writes for the infinite dates.
const (
	dateInfinity         = 2146033979
	dateNegativeInfinity = -2147472691
)

// appendDate appends the date of a day since 1970 in the Gregorian calendar; bc asks for " BC" at the text's end.
func appendDate(b []byte, day int64) (_ []byte, bc bool) {
	// Days are counted from 1 March of year 0, in eras of 400 years, so that a leap day is the last of its year.
	day += 719468
	era := day / 146097
	if day < 0 {
		era = (day - 146096) / 146097
	}
	ofEra := day - era*146097
	year := (ofEra - ofEra/1460 + ofEra/36524 - ofEra/146096) / 365
	ofYear := ofEra - (365*year + year/4 - year/100)
	month := (5*ofYear + 2) / 153
	dayOfMonth := ofYear - (153*month+2)/5 + 1
	year += era * 400
	if month += 3; month > 12 {
		month -= 12
		year++
	}
	if bc = year <= 0; bc {
		year = 1 - year
	}
	b = appendPadded(b, year, 4)
	b = append(b, '-')
	b = appendPadded(b, month, 2)
	b = append(b, '-')
	return appendPadded(b, dayOfMonth, 2), bc
}

func appendPadded(b []byte, n int64, width int) []byte {
	var store [20]byte
	digits := strconv.AppendInt(store[:0], n, 10)
	for range width - len(digits) {
		b = append(b, '0')
	}
	return append(b, digits...)
}

func fromDate(b []byte, v *stream.Value) ([]byte, error) {
	if v.Kind == stream.String {
		return isoTime(b, strings.TrimSuffix(v.Text, "Z"))
	}
	day, err := integer(v)
	if err != nil {
		return b, err
	}
	switch {
	case day == dateInfinity:
		return append(b, "infinity"...), nil
	case day == dateNegativeInfinity:
		return append(b, "-infinity"...), nil
	case day < -1<<31 || day > 1<<31:
		return b, errRange
	}
	b, bc := appendDate(b, day)
	if bc {
		b = append(b, " BC"...)
	}
	return b, nil
}

const dayMicros = 24 * 60 * 60 * 1000000

// appendClock appends the time of day; us may be a whole day, which PostgreSQL writes 24:00:00.
func appendClock(b []byte, us int64) []byte {
	b = appendPadded(b, us/3600000000, 2)
	b = append(b, ':')
	b = appendPadded(b, us/60000000%60, 2)
	b = append(b, ':')
	b = appendPadded(b, us/1000000%60, 2)
	if us %= 1000000; us != 0 {
		b = append(b, '.')
		b = appendPadded(b, us, 6)
	}
	return b
}

// micros brings n of a unit (see unitOf) to microseconds.
func micros(n, unit int64) (int64, error) {
	if unit < 0 {
		return n / -unit, nil
	}
	if us := n * unit; us/unit == n {
		return us, nil
	}
	return 0, errRange
}

func timeOf(unit int64) convert {
	return func(b []byte, v *stream.Value) ([]byte, error) {
		if v.Kind == stream.String {
			s, err := text(v)
			return append(b, strings.TrimSuffix(s, "Z")...), err
		}
		n, err := integer(v)
		if err != nil {
			return b, err
		}
		us, err := micros(n, unit)
		if err != nil || us < 0 || us > dayMicros {
			return b, errRange
		}
		return appendClock(b, us), nil
	}
}

// What Debezium writes for the infinite timestamps of up to three fraction digits; it writes the ends of int64 for others.
const (
	timestampInfinity         = 9223372036825200000
	timestampNegativeInfinity = -9223372036832400000
)

func timestampOf(unit int64) convert {
	return func(b []byte, v *stream.Value) ([]byte, error) {
		if v.Kind == stream.String {
			return isoTime(b, strings.TrimSuffix(v.Text, "Z"))
		}
		n, err := integer(v)
		if err != nil {
			return b, err
		}
		infinity, negative := int64(1<<63-1), int64(-1<<63)
		if unit == 1000 {
			infinity, negative = timestampInfinity, timestampNegativeInfinity
		}
		switch n {
		case infinity:
			return append(b, "infinity"...), nil
		case negative:
			return append(b, "-infinity"...), nil
		}
		us, err := micros(n, unit)
		if err != nil {
			return b, err
		}
		day := us / dayMicros
		if us %= dayMicros; us < 0 {
			us += dayMicros
			day--
		}
		b, bc := appendDate(b, day)
		b = append(b, ' ')
		b = appendClock(b, us)
		if bc {
			b = append(b, " BC"...)
		}
		return b, nil
	}
}

func fromZoned(b []byte, v *stream.Value) ([]byte, error) {
	s, err := text(v)
	if err != nil {
		return b, err
	}
	return isoTime(b, s)
}

// isoTime turns ISO 8601 as Java writes it into what PostgreSQL reads: years beyond 9999 carry a sign there, and years
// before Christ are negative with a year zero.
func isoTime(b []byte, s string) ([]byte, error) {
	if strings.IndexByte(s, 0) >= 0 {
		return b, errNUL
	}
	if strings.HasPrefix(s, "0000-") {
		s = "-" + s
	}
	if s == "" || s[0] != '+' && s[0] != '-' || strings.HasSuffix(s, "infinity") {
		return append(b, s...), nil
	}
	year, rest, ok := strings.Cut(s[1:], "-")
	if s[0] == '+' || !ok {
		return append(b, s[1:]...), nil
	}
	n, err := strconv.ParseInt(year, 10, 32)
	if err != nil {
		return b, errors.New("malformed time")
	}
	b = appendPadded(b, n+1, 4)
	b = append(b, '-')
	b = append(b, rest...)
	return append(b, " BC"...), nil
}

// fromInterval reads microseconds, or the text of mode string, which PostgreSQL reads as it is.
func fromInterval(b []byte, v *stream.Value) ([]byte, error) {
	if v.Kind != stream.Number {
		s, err := text(v)
		return append(b, s...), err
	}
	n, err := integer(v)
	if err != nil {
		return b, err
	}
	b = strconv.AppendInt(b, n, 10)
	return append(b, " microseconds"...), nil
}

func fromPoint(b []byte, v *stream.Value) ([]byte, error) {
	if v.Kind != stream.Object {
		return fromText(b, v)
	}
	x, okX := v.Get("x")
	y, okY := v.Get("y")
	if !okX || !okY || x.Text == "" || y.Text == "" {
		return b, errShape
	}
	b = append(b, '(')
	b = append(b, x.Text...)
	b = append(b, ',')
	b = append(b, y.Text...)
	return append(b, ')'), nil
}

// fromHstore reads a JSON object, in a string or not.
func fromHstore(b []byte, v *stream.Value) ([]byte, error) {
	if v.Kind == stream.String {
		if !strings.HasPrefix(strings.TrimLeft(v.Text, " "), "{") {
			return fromText(b, v)
		}
		inner, err := decode.JSON([]byte(v.Text))
		if err != nil {
			return b, errors.New("malformed JSON")
		}
		v = &inner
	}
	if v.Kind != stream.Object {
		return b, errShape
	}
	for i := range v.Fields {
		f := &v.Fields[i]
		if strings.IndexByte(f.Name, 0) >= 0 || strings.IndexByte(f.Value.Text, 0) >= 0 {
			return b, errNUL
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = quoted(b, f.Name)
		b = append(b, '=', '>')
		if f.Value.IsNull() {
			b = append(b, "NULL"...)
		} else {
			b = quoted(b, f.Value.Text)
		}
	}
	return b, nil
}

func quoted(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

// arrayOf reads lists, nested for further dimensions, whose elements are read by element. A string is an array's text.
func arrayOf(element convert) convert {
	var list convert
	list = func(b []byte, v *stream.Value) ([]byte, error) {
		if v.Kind == stream.String {
			return fromText(b, v)
		}
		if v.Kind != stream.List {
			return b, errShape
		}
		b = append(b, '{')
		for i := range v.List {
			if i > 0 {
				b = append(b, ',')
			}
			e := &v.List[i]
			var err error
			switch {
			case e.IsNull():
				b = append(b, "NULL"...)
			case e.Kind == stream.List:
				b, err = list(b, e)
			default:
				// The element's text is written behind the end and quoted into its place.
				from := len(b)
				if b, err = element(b, e); err == nil {
					s := string(b[from:])
					b = quoted(b[:from], s)
				}
			}
			if err != nil {
				return b, err
			}
		}
		return append(b, '}'), nil
	}
	return list
}
