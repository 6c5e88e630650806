package postgres

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"
)

// Shapes of the well-known binary form.
const (
	wkbPoint      = 1
	wkbLineString = 2
	wkbPolygon    = 3
)

// numbers takes the texts between the brackets and commas of a geometric value: (1,2),(3.5,-4). They are c's until the
// next call.
func (c *codec) numbers(text []byte) [][]byte {
	c.fields = c.fields[:0]
	for len(text) > 0 {
		end := bytes.IndexAny(text, "()[]<>{},")
		if end < 0 {
			end = len(text)
		}
		if end > 0 {
			c.fields = append(c.fields, text[:end])
		}
		text = text[min(end+1, len(text)):]
	}
	return c.fields
}

// coordinates are the same as numbers, in pairs.
func (c *codec) coordinates(text []byte) (pairs []float64, ok bool) {
	ok = c.parse(c.numbers(text)) && len(c.points) > 0 && len(c.points)%2 == 0
	return c.points, ok
}

// maxNumber is longer than any number that PostgreSQL writes of a double.
const maxNumber = 32

// parse reads doubles into points.
func (c *codec) parse(fields [][]byte) bool {
	c.points = c.points[:0]
	for _, field := range fields {
		switch string(field) {
		case "NaN", "Infinity", "-Infinity":
		default:
			if len(field) > maxNumber || !isJSONNumber(field) {
				return false
			}
		}
		v, err := strconv.ParseFloat(string(field), 64)
		if err != nil {
			return false
		}
		c.points = append(c.points, v)
	}
	return true
}

// wkb appends the base64 of the well-known binary form, little end first. Points are pairs of coordinates; a polygon has
// one ring.
func (c *codec) wkb(dst []byte, shape uint32, points []float64) []byte {
	b := append(c.bytes[:0], 1)
	b = binary.LittleEndian.AppendUint32(b, shape)
	if shape == wkbPolygon {
		b = binary.LittleEndian.AppendUint32(b, 1)
	}
	if shape != wkbPoint {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(points)/2))
	}
	for _, v := range points {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
	}
	c.bytes = b[:0]
	return appendBase64(dst, b)
}

// appendMembers appends "name":number for each name.
func appendMembers(dst []byte, names []string, numbers [][]byte) (out []byte, ok bool) {
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		dst = append(dst, name...)
		dst = append(dst, '"', ':')
		if dst, ok = encodeFloat(dst, numbers[i]); !ok {
			return dst, false
		}
	}
	return dst, true
}

var (
	pointNames = []string{"x", "y"}
	radiusName = []string{"radius"}
	lineNames  = []string{"a", "b", "c"}
)

// point encodes (x,y) as Debezium's Point.
func (c *codec) point(dst, text []byte) ([]byte, bool) {
	fields := c.numbers(text)
	if len(fields) != 2 {
		return dst, false
	}
	return c.pointOf(dst, fields)
}

func (c *codec) pointOf(dst []byte, fields [][]byte) ([]byte, bool) {
	if !c.parse(fields) {
		return dst, false
	}
	out, ok := appendMembers(append(dst, '{'), pointNames, fields)
	if !ok {
		return dst, false
	}
	out = append(out, `,"wkb":`...)
	out = c.wkb(out, wkbPoint, c.points)
	return append(out, `,"srid":null}`...), true
}

// circle encodes <(x,y),r> as Debezium's Circle.
func (c *codec) circle(dst, text []byte) ([]byte, bool) {
	fields := c.numbers(text)
	if len(fields) != 3 {
		return dst, false
	}
	out, ok := c.pointOf(append(dst, `{"center":`...), fields[:2])
	if !ok {
		return dst, false
	}
	if out, ok = appendMembers(append(out, ','), radiusName, fields[2:]); !ok {
		return dst, false
	}
	return append(out, '}'), true
}

// line encodes {a,b,c} as Debezium's Line.
func (c *codec) line(dst, text []byte) ([]byte, bool) {
	fields := c.numbers(text)
	if len(fields) != len(lineNames) {
		return dst, false
	}
	out, ok := appendMembers(append(dst, '{'), lineNames, fields)
	if !ok {
		return dst, false
	}
	return append(out, '}'), true
}

// geometry encodes boxes, segments, paths and polygons as Debezium's Geometry. A polygon's ring is always closed by its
// first point once more, so that the last is none of the polygon's own; Debezium closes it only where it is open.
func (c *codec) geometry(kind string) encoder {
	return func(dst, text []byte) ([]byte, bool) {
		points, ok := c.coordinates(text)
		if !ok || kind == "box" && len(points) != 4 {
			return dst, false
		}
		shape := uint32(wkbLineString)
		switch kind {
		case "box":
			x1, y1, x2, y2 := points[0], points[1], points[2], points[3]
			points = append(points[:0], x1, y1, x1, y2, x2, y2, x2, y1, x1, y1)
			shape = wkbPolygon
		case "polygon":
			points = append(points, points[0], points[1])
			shape = wkbPolygon
		}
		c.points = points[:0]
		dst = append(dst, `{"wkb":`...)
		dst = c.wkb(dst, shape, points)
		dst = append(dst, `,"srid":null,"extensions":{"type":"`...)
		dst = append(dst, kind...)
		if kind == "path" {
			dst = append(dst, `","closed":"`...)
			dst = strconv.AppendBool(dst, text[0] == '(')
		}
		return append(dst, `"}}`...), true
	}
}

// postgis encodes PostGIS's geometry and geography, whose text is the extended well-known binary form in hexadecimal
// digits, with the SRID in it where it has one.
func (c *codec) postgis(dst, text []byte) ([]byte, bool) {
	b := c.bytes[:0]
	for i := 0; i+1 < len(text); i += 2 {
		high, low := unhex(lower(text[i])), unhex(lower(text[i+1]))
		if high > 15 || low > 15 {
			return dst, false
		}
		b = append(b, high<<4|low)
	}
	c.bytes = b[:0]
	const header, withSRID = 9, 0x20000000
	if len(text)%2 != 0 || len(b) < header-4 || b[0] > 1 {
		return dst, false
	}
	var order binary.ByteOrder = binary.BigEndian
	if b[0] == 1 {
		order = binary.LittleEndian
	}
	out := appendBase64(append(dst, `{"wkb":`...), b)
	out = append(out, `,"srid":`...)
	if order.Uint32(b[1:])&withSRID == 0 {
		out = append(out, "null"...)
	} else if len(b) < header {
		return dst, false
	} else {
		out = strconv.AppendInt(out, int64(int32(order.Uint32(b[5:]))), 10)
	}
	return append(out, `,"extensions":null}`...), true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'F' {
		return c + 'a' - 'A'
	}
	return c
}

// vector encodes pgvector's [1,2.5] as a list of numbers.
func (c *codec) vector(dst, text []byte) ([]byte, bool) {
	if len(text) < 2 || text[0] != '[' || text[len(text)-1] != ']' {
		return dst, false
	}
	out, ok := append(dst, '['), true
	for i, field := range c.numbers(text) {
		if i > 0 {
			out = append(out, ',')
		}
		if out, ok = encodeFloat(out, field); !ok {
			return dst, false
		}
	}
	return append(out, ']'), true
}

// sparseVector encodes pgvector's {1:0.5,3:2}/5 as Debezium's SparseDoubleVector.
func (c *codec) sparseVector(dst, text []byte) ([]byte, bool) {
	inner, dimensions, ok := bytes.Cut(text, []byte("}/"))
	if !ok || len(inner) == 0 || inner[0] != '{' || len(dimensions) == 0 || !allDigits(dimensions) || dimensions[0] == '0' && len(dimensions) > 1 {
		return dst, false
	}
	out := append(dst, `{"dimensions":`...)
	out = append(out, dimensions...)
	out = append(out, `,"vector":[`...)
	for i, field := range c.numbers(inner) {
		index, value, ok := bytes.Cut(field, []byte(":"))
		if !ok || len(index) == 0 || !allDigits(index) || index[0] == '0' && len(index) > 1 {
			return dst, false
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, '['), index...), ',')
		if out, ok = encodeFloat(out, value); !ok {
			return dst, false
		}
		out = append(out, ']')
	}
	return append(out, `]}`...), true
}
