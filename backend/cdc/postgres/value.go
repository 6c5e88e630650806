package postgres

import (
	"bytes"
	"encoding/base64"
	"errors"
	"math"
	"math/bits"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"freshet/backend/stream"
)

// encoder appends a value, given in PostgreSQL's text form, as Debezium's JSON. Where it reports false the text is none
// that its type has, and is carried as a JSON string instead: no value stops a stream, and none turns into null.
type encoder func(dst, text []byte) ([]byte, bool)

// append encodes text.
func (e encoder) append(dst, text []byte) []byte {
	if out, ok := e(dst, text); ok {
		return out
	}
	out, _ := encodeString(dst, text)
	return out
}

const hexUpper = "0123456789ABCDEF"

// encodeString carries the text as it is. Bytes that are no UTF-8 become U+FFFD; characters beyond U+FFFF are escaped, as
// Jackson does, since keys are compared by their bytes.
func encodeString(dst, text []byte) ([]byte, bool) {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(text); {
		c := text[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(text[i:])
			switch {
			case r == utf8.RuneError && n == 1:
				dst = append(dst, text[start:i]...)
				dst = append(dst, "\uFFFD"...)
				start = i + 1
			case n == 4:
				dst = append(dst, text[start:i]...)
				high, low := utf16.EncodeRune(r)
				dst = appendEscaped(appendEscaped(dst, uint16(high)), uint16(low))
				start = i + n
			}
			i += n
			continue
		}
		dst = append(dst, text[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = appendEscaped(dst, uint16(c))
		}
		i++
		start = i
	}
	dst = append(dst, text[start:]...)
	return append(dst, '"'), true
}

func appendEscaped(dst []byte, unit uint16) []byte {
	return append(dst, '\\', 'u', hexUpper[unit>>12], hexUpper[unit>>8&15], hexUpper[unit>>4&15], hexUpper[unit&15])
}

func encodeBool(dst, text []byte) ([]byte, bool) {
	switch string(text) {
	case "t":
		return append(dst, "true"...), true
	case "f":
		return append(dst, "false"...), true
	}
	return dst, false
}

// encodeInt passes integers through, of any size.
func encodeInt(dst, text []byte) ([]byte, bool) {
	digits := text
	if len(digits) > 0 && digits[0] == '-' {
		digits = digits[1:]
	}
	if len(digits) == 0 || digits[0] == '0' && len(digits) > 1 || !allDigits(digits) {
		return dst, false
	}
	return append(dst, text...), true
}

// encodeFloat writes a number as Java's Double.toString does, so that keys have Debezium's bytes: at least one digit behind
// the point and, outside of 10^-3 to 10^7, one before it and an exponent. The digits are PostgreSQL's, the fewest that
// give the number back. NaN and the infinities become strings, as Jackson writes them.
func encodeFloat(dst, text []byte) ([]byte, bool) {
	switch string(text) {
	case "NaN", "Infinity", "-Infinity":
		return encodeString(dst, text)
	}
	if !isJSONNumber(text) {
		return dst, false
	}
	start := len(dst)
	if text[0] == '-' {
		dst, text = append(dst, '-'), text[1:]
	}
	mantissa, power := text, 0
	if e := bytes.IndexAny(text, "eE"); e >= 0 {
		var err error
		if power, err = strconv.Atoi(string(text[e+1:])); err != nil || power > maxPower || power < -maxPower {
			return dst[:start], false
		}
		mantissa = text[:e]
	}
	var store [64]byte
	whole, fraction, _ := bytes.Cut(mantissa, []byte{'.'})
	digits := append(append(store[:0], whole...), fraction...)
	power += len(whole) - 1 // of ten, of the first digit
	for len(digits) > 0 && digits[0] == '0' {
		digits = digits[1:]
		power--
	}
	digits = bytes.TrimRight(digits, "0")
	switch {
	case len(digits) == 0:
		return append(dst, "0.0"...), true
	case power < -3 || power >= 7:
		dst = appendFraction(append(dst, digits[0], '.'), digits[1:])
		return strconv.AppendInt(append(dst, 'E'), int64(power), 10), true
	case power < 0:
		dst = append(dst, "0.00"[:1-power]...)
		return append(dst, digits...), true
	}
	for ; power >= 0; power-- {
		if len(digits) == 0 {
			dst = append(dst, '0')
			continue
		}
		dst, digits = append(dst, digits[0]), digits[1:]
	}
	return appendFraction(append(dst, '.'), digits), true
}

const maxPower = 9999 // beyond any double's

func appendFraction(dst, digits []byte) []byte {
	if len(digits) == 0 {
		return append(dst, '0')
	}
	return append(dst, digits...)
}

// encodeDouble writes a decimal as the double next to it.
func encodeDouble(dst, text []byte) ([]byte, bool) {
	v, err := strconv.ParseFloat(string(text), 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return dst, false
	}
	switch {
	case math.IsInf(v, 1):
		return append(dst, `"Infinity"`...), true
	case math.IsInf(v, -1):
		return append(dst, `"-Infinity"`...), true
	}
	var store [32]byte
	return encodeFloat(dst, strconv.AppendFloat(store[:0], v, 'e', -1, 64))
}

// encodeDecimalText writes a decimal's own text. What is no number has Debezium's words.
func encodeDecimalText(dst, text []byte) ([]byte, bool) {
	switch string(text) {
	case "NaN":
		return append(dst, `"NAN"`...), true
	case "Infinity":
		return append(dst, `"POSITIVE_INFINITY"`...), true
	case "-Infinity":
		return append(dst, `"NEGATIVE_INFINITY"`...), true
	}
	return encodeString(dst, text)
}

func allDigits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

func isJSONNumber(b []byte) bool {
	i := 0
	digits := func() bool {
		start := i
		for i < len(b) && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		return i > start
	}
	if i < len(b) && b[i] == '-' {
		i++
	}
	start := i
	if !digits() || b[start] == '0' && i > start+1 {
		return false
	}
	if i < len(b) && b[i] == '.' {
		i++
		if !digits() {
			return false
		}
	}
	if i < len(b) && (b[i] == 'e' || b[i] == 'E') {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return false
		}
	}
	return i == len(b)
}

// codec holds what encoders use from value to value. One goroutine at a time encodes with it.
type codec struct {
	words   map[string]string // as in handling
	limbs   []uint64          // little end first
	digits  []byte
	bytes   []byte
	text    []byte
	element []byte // an array's
	fields  [][]byte
	points  []float64
}

// numericSpecial appends NaN and the infinities. Debezium's default modes cannot say them, its connector stops at one.
// Here they are strings, of which none is base64.
func numericSpecial(dst, text []byte) ([]byte, bool) {
	switch string(text) {
	case "NaN":
		return append(dst, `"NaN"`...), true
	case "Infinity":
		return append(dst, `"+Infinity"`...), true
	case "-Infinity":
		return append(dst, `"-Infinity"`...), true
	}
	return dst, false
}

// decimal encodes numeric(p,s): the base64 of the unscaled value.
func (c *codec) decimal(scale int) encoder {
	return func(dst, text []byte) ([]byte, bool) {
		if out, ok := numericSpecial(dst, text); ok {
			return out, true
		}
		negative, digits, have, ok := c.split(text)
		if !ok {
			return dst, false
		}
		for ; have < scale; have++ {
			digits = append(digits, '0')
		}
		for ; have > scale; have-- {
			n := len(digits) - 1
			if digits[n] != '0' {
				return dst, false // more digits than the type has: a value from before its type was changed
			}
			if n > 0 { // zero stays one digit
				digits = digits[:n]
			}
		}
		c.digits = digits[:0]
		return c.unscaled(dst, negative, digits), true
	}
}

// variableDecimal encodes a numeric without a declared scale as VariableScaleDecimal. The scale is the value's own:
// trailing zeros, which Debezium strips, come back as they were.
func (c *codec) variableDecimal(dst, text []byte) ([]byte, bool) {
	return c.scaled(dst, text, false)
}

// shortDecimal is variableDecimal without trailing zeros: equal keys are the same bytes.
func (c *codec) shortDecimal(dst, text []byte) ([]byte, bool) {
	return c.scaled(dst, text, true)
}

func (c *codec) scaled(dst, text []byte, short bool) ([]byte, bool) {
	if out, ok := numericSpecial(append(dst, `{"scale":0,"value":`...), text); ok {
		return append(out, '}'), true
	}
	negative, digits, scale, ok := c.split(text)
	if !ok {
		return dst, false
	}
	c.digits = digits[:0]
	for short && scale > 0 && digits[len(digits)-1] == '0' && len(digits) > 1 {
		digits, scale = digits[:len(digits)-1], scale-1
	}
	dst = append(dst, `{"scale":`...)
	dst = strconv.AppendInt(dst, int64(scale), 10)
	dst = append(dst, `,"value":`...)
	dst = c.unscaled(dst, negative, digits)
	return append(dst, '}'), true
}

// money encodes what lc_monetary=C writes ("-$1,234.50") as a decimal, in a mode of decimal.handling.mode.
func (c *codec) money(mode string) encoder {
	zeros := c.moneyDigits() - moneyScale
	return func(dst, text []byte) ([]byte, bool) {
		plain := c.text[:0]
		for _, b := range text {
			switch {
			case b >= '0' && b <= '9', b == '.', b == '-':
				plain = append(plain, b)
			case b == '$', b == ',':
			default:
				return dst, false
			}
		}
		c.text = plain[:0]
		negative, digits, scale, ok := c.split(plain)
		if !ok || scale != moneyScale {
			return dst, false
		}
		for range zeros {
			digits, plain = append(digits, '0'), append(plain, '0')
		}
		c.digits, c.text = digits[:0], plain[:0]
		switch {
		case mode == "string":
			return encodeString(dst, plain)
		case mode == "double":
			return encodeDouble(dst, plain)
		}
		return c.unscaled(dst, negative, digits), true
	}
}

// split takes a plain decimal number apart. digits is c's own buffer.
func (c *codec) split(text []byte) (negative bool, digits []byte, scale int, ok bool) {
	if len(text) > 0 && text[0] == '-' {
		negative, text = true, text[1:]
	}
	digits = c.digits[:0]
	point := -1
	for i, b := range text {
		switch {
		case b >= '0' && b <= '9':
			digits = append(digits, b)
		case b == '.' && point < 0:
			point = i
		default:
			return false, nil, 0, false
		}
	}
	if point >= 0 {
		scale = len(text) - point - 1
	}
	return negative, digits, scale, len(digits) > 0
}

// unscaled appends the base64 of the big-endian two's complement of a number in decimal digits, in the fewest bytes.
func (c *codec) unscaled(dst []byte, negative bool, digits []byte) []byte {
	const chunk, power = 18, 1_000_000_000_000_000_000
	limbs := c.limbs[:0]
	for len(digits) > 0 {
		n := len(digits) % chunk
		if n == 0 {
			n = chunk
		}
		var v uint64
		for _, d := range digits[:n] {
			v = v*10 + uint64(d-'0')
		}
		digits = digits[n:]
		carry := v
		for i := range limbs {
			hi, lo := bits.Mul64(limbs[i], power)
			lo, over := bits.Add64(lo, carry, 0)
			limbs[i], carry = lo, hi+over
		}
		if carry > 0 {
			limbs = append(limbs, carry)
		}
	}
	if negative {
		borrow := uint64(1)
		for i := range limbs {
			limbs[i], borrow = bits.Add64(^limbs[i], borrow, 0)
		}
	}
	c.limbs = limbs[:0]
	var sign byte
	if negative && len(limbs) > 0 {
		sign = 0xff
	}
	out := append(c.bytes[:0], sign)
	for i := len(limbs) - 1; i >= 0; i-- {
		l := limbs[i]
		out = append(out, byte(l>>56), byte(l>>48), byte(l>>40), byte(l>>32), byte(l>>24), byte(l>>16), byte(l>>8), byte(l))
	}
	c.bytes = out[:0]
	for len(out) > 1 && out[0] == sign && out[1]&0x80 == sign&0x80 {
		out = out[1:]
	}
	return appendBase64(dst, out)
}

func appendBase64(dst, b []byte) []byte {
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, '"')
}

// encodeBase64 turns \x… into base64, three bytes at a time.
func encodeBase64(encoding *base64.Encoding) encoder {
	return func(dst, text []byte) ([]byte, bool) {
		if !isHex(text) {
			return dst, false
		}
		dst = append(dst, '"')
		var group [3]byte
		n := 0
		for i := 2; i < len(text); i += 2 {
			group[n] = unhex(text[i])<<4 | unhex(text[i+1])
			if n++; n == 3 {
				dst = encoding.AppendEncode(dst, group[:])
				n = 0
			}
		}
		dst = encoding.AppendEncode(dst, group[:n])
		return append(dst, '"'), true
	}
}

// encodeHex carries the digits of \x… as they are.
func encodeHex(dst, text []byte) ([]byte, bool) {
	if !isHex(text) {
		return dst, false
	}
	return encodeString(dst, text[2:])
}

// isHex reports whether text is a bytea as bytea_output=hex writes it.
func isHex(text []byte) bool {
	if len(text) < 2 || text[0] != '\\' || text[1] != 'x' || len(text)%2 != 0 {
		return false
	}
	for _, b := range text[2:] {
		if unhex(b) > 15 {
			return false
		}
	}
	return true
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

// encodeBit carries bit(1) and varbit(1) as a boolean.
func encodeBit(dst, text []byte) ([]byte, bool) {
	switch string(text) {
	case "1":
		return append(dst, "true"...), true
	case "0":
		return append(dst, "false"...), true
	}
	return dst, false
}

// bits carries longer bit strings as bytes, little end first, without the zero bytes at the end.
func (c *codec) bits(dst, text []byte) ([]byte, bool) {
	out := c.bytes[:0]
	for end := len(text); end > 0; end -= 8 {
		var b byte
		for _, digit := range text[max(0, end-8):end] {
			if digit != '0' && digit != '1' {
				return dst, false
			}
			b = b<<1 | (digit - '0')
		}
		out = append(out, b)
	}
	c.bytes = out[:0]
	for len(out) > 0 && out[len(out)-1] == 0 {
		out = out[:len(out)-1]
	}
	return appendBase64(dst, out), true
}

// hstore carries "a"=>"1", "b"=>NULL as the text of a JSON object.
func (c *codec) hstore(dst, text []byte) ([]byte, bool) {
	object, ok := c.hstoreObject(c.bytes[:0], text)
	c.bytes = object[:0]
	if !ok {
		return dst, false
	}
	return encodeString(dst, object)
}

// hstoreObject carries the same as a JSON object.
func (c *codec) hstoreObject(dst, text []byte) ([]byte, bool) {
	start := len(dst)
	object := append(dst, '{')
	for first := true; len(text) > 0; first = false {
		if !first {
			if len(text) < 2 || text[0] != ',' || text[1] != ' ' {
				return object[:start], false
			}
			text = text[2:]
			object = append(object, ',')
		}
		key, rest, ok := c.quoted(text)
		if !ok || len(rest) < 2 || rest[0] != '=' || rest[1] != '>' {
			return object[:start], false
		}
		object, _ = encodeString(object, key)
		object = append(object, ':')
		text = rest[2:]
		if len(text) >= 4 && string(text[:4]) == "NULL" {
			object = append(object, "null"...)
			text = text[4:]
			continue
		}
		value, rest, ok := c.quoted(text)
		if !ok {
			return object[:start], false
		}
		object, _ = encodeString(object, value)
		text = rest
	}
	return append(object, '}'), true
}

// quoted reads a string in double quotes with backslash escapes. It is valid until the next call.
func (c *codec) quoted(text []byte) (value, rest []byte, ok bool) {
	if len(text) == 0 || text[0] != '"' {
		return nil, nil, false
	}
	out := c.text[:0]
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			if i++; i < len(text) {
				out = append(out, text[i])
			}
		case '"':
			c.text = out[:0]
			return out, text[i+1:], true
		default:
			out = append(out, text[i])
		}
	}
	return nil, nil, false
}

const maxDimensions = 6 // PostgreSQL's

// array encodes an array's elements; one of several dimensions is nested. Lower bounds are not carried.
func (c *codec) array(element encoder, delimiter byte) encoder {
	return func(dst, text []byte) ([]byte, bool) {
		if len(text) > 0 && text[0] == '[' { // [2:4]={…}
			for len(text) > 0 && text[0] != '=' {
				text = text[1:]
			}
			if len(text) > 0 {
				text = text[1:]
			}
		}
		// The text of an element is kept apart from what its encoder uses.
		var inner codec
		inner.text, c.element = c.element, nil
		out, rest, ok := inner.arrayLevel(dst, text, element, delimiter, 1)
		c.element = inner.text
		return out, ok && len(rest) == 0
	}
}

func (c *codec) arrayLevel(dst, text []byte, element encoder, delimiter byte, depth int) (out, rest []byte, ok bool) {
	if len(text) == 0 || text[0] != '{' || depth > maxDimensions {
		return dst, nil, false
	}
	text = text[1:]
	dst = append(dst, '[')
	if len(text) > 0 && text[0] == '}' {
		return append(dst, ']'), text[1:], true
	}
	for len(text) > 0 {
		switch text[0] {
		case '{':
			if dst, text, ok = c.arrayLevel(dst, text, element, delimiter, depth+1); !ok {
				return dst, nil, false
			}
		case '"':
			value, after, ok := c.quoted(text)
			if !ok {
				return dst, nil, false
			}
			dst, text = element.append(dst, value), after
		default:
			end := 0
			for end < len(text) && text[end] != delimiter && text[end] != '}' && text[end] != '{' && text[end] != '"' {
				end++
			}
			if end == 0 {
				return dst, nil, false
			}
			if string(text[:end]) == "NULL" {
				dst = append(dst, "null"...)
			} else {
				dst = element.append(dst, text[:end])
			}
			text = text[end:]
		}
		if len(text) == 0 {
			break
		}
		switch text[0] {
		case delimiter:
			dst = append(dst, ',')
			text = text[1:]
		case '}':
			return append(dst, ']'), text[1:], true
		default:
			return dst, nil, false
		}
	}
	return dst, nil, false
}

// Placeholders of unchanged TOAST values, by kind of column; what has none is null.
var (
	placeholderString = []byte(`"` + stream.UnavailableText + `"`)
	placeholderBytes  = []byte(`"` + base64.StdEncoding.EncodeToString([]byte(stream.UnavailableText)) + `"`)
	placeholderMap    = []byte(`{"` + stream.UnavailableText + `":"` + stream.UnavailableText + `"}`)
	placeholderHstore = []byte(`"{\"` + stream.UnavailableText + `\":\"` + stream.UnavailableText + `\"}"`)
	placeholderUUIDs  = []byte(`["b68a35a7-17ad-35b3-af2a-ae46edb4545a"]`)
	placeholderInts   = intPlaceholder()
)

func intPlaceholder() []byte {
	b := []byte{'['}
	for i, c := range []byte(stream.UnavailableText) {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(c), 10)
	}
	return append(b, ']')
}

func saturatingMul(a, b int64) int64 {
	hi, lo := bits.Mul64(uint64(abs(a)), uint64(abs(b)))
	negative := (a < 0) != (b < 0)
	if hi > 0 || lo > math.MaxInt64 {
		if negative {
			return math.MinInt64
		}
		return math.MaxInt64
	}
	if negative {
		return -int64(lo)
	}
	return int64(lo)
}

func saturatingAdd(a, b int64) int64 {
	s := a + b
	if a > 0 && b > 0 && s < 0 {
		return math.MaxInt64
	}
	if a < 0 && b < 0 && s >= 0 {
		return math.MinInt64
	}
	return s
}

func abs(a int64) int64 {
	if a < 0 {
		return -a
	}
	return a
}
