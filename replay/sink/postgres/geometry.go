package postgres

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"strconv"
	"strings"

	"freshet/backend/stream"
)

var errWKB = errors.New("malformed well-known binary")

// shapeOf reads Debezium's structs of a geometric type.
func shapeOf(name string) convert {
	switch name {
	case "circle":
		return fromCircle
	case "line":
		return fromLine
	}
	return func(b []byte, v *stream.Value) ([]byte, error) {
		if v.Kind != stream.Object {
			return fromText(b, v)
		}
		points, err := wkbPoints(v)
		if err != nil {
			return b, err
		}
		open, end := "(", ")"
		switch name {
		case "box":
			if len(points) != 5 {
				return b, errWKB
			}
			points, open, end = [][2]float64{points[0], points[2]}, "", ""
		case "lseg":
			open, end = "[", "]"
		case "path":
			if !closedPath(v) {
				open, end = "[", "]"
			}
		case "polygon":
			points = points[:len(points)-1] // the first once more
		}
		b = append(b, open...)
		for i, p := range points {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendNumber(append(b, '('), p[0]), ',')
			b = append(appendNumber(b, p[1]), ')')
		}
		return append(b, end...), nil
	}
}

func closedPath(v *stream.Value) bool {
	e, ok := v.Get("extensions")
	if !ok || e.Kind != stream.Object {
		return false
	}
	closed, ok := e.Get("closed")
	return ok && (closed.Text == "true" || closed.Bool)
}

func appendNumber(b []byte, f float64) []byte {
	if math.IsInf(f, 0) {
		if f < 0 {
			b = append(b, '-')
		}
		return append(b, "Infinity"...)
	}
	return strconv.AppendFloat(b, f, 'g', -1, 64)
}

// wkbOf is the well-known binary form in a struct.
func wkbOf(v *stream.Value) ([]byte, error) {
	w, ok := v.Get("wkb")
	if !ok {
		return nil, errShape
	}
	return bytesOf(w)
}

// wkbPoints reads the points of a line or of a polygon with one ring.
func wkbPoints(v *stream.Value) ([][2]float64, error) {
	const line, polygon = 2, 3
	raw, err := wkbOf(v)
	if err != nil {
		return nil, err
	}
	if len(raw) < 9 || raw[0] > 1 {
		return nil, errWKB
	}
	var order binary.ByteOrder = binary.BigEndian
	if raw[0] == 1 {
		order = binary.LittleEndian
	}
	kind, rest := order.Uint32(raw[1:]), raw[5:]
	if kind == polygon {
		if order.Uint32(rest) != 1 || len(rest) < 8 {
			return nil, errWKB
		}
		rest = rest[4:]
	} else if kind != line {
		return nil, errWKB
	}
	n := order.Uint32(rest)
	if rest = rest[4:]; n == 0 || uint64(n)*16 != uint64(len(rest)) {
		return nil, errWKB
	}
	points := make([][2]float64, n)
	for i := range points {
		points[i][0] = math.Float64frombits(order.Uint64(rest[16*i:]))
		points[i][1] = math.Float64frombits(order.Uint64(rest[16*i+8:]))
	}
	return points, nil
}

func fromCircle(b []byte, v *stream.Value) ([]byte, error) {
	if v.Kind != stream.Object {
		return fromText(b, v)
	}
	center, ok := v.Get("center")
	radius, okR := v.Get("radius")
	if !ok || !okR || center.Kind != stream.Object {
		return b, errShape
	}
	b, err := fromPoint(append(b, '<'), center)
	if err != nil {
		return b, err
	}
	r, err := numberText(radius)
	return append(append(append(b, ','), r...), '>'), err
}

func fromLine(b []byte, v *stream.Value) ([]byte, error) {
	if v.Kind != stream.Object {
		return fromText(b, v)
	}
	for i, name := range []string{"a", "b", "c"} {
		of, ok := v.Get(name)
		if !ok {
			return b, errShape
		}
		n, err := numberText(of)
		if err != nil {
			return b, err
		}
		b = append(append(b, "{,,"[i]), n...)
	}
	return append(b, '}'), nil
}

// numberText is a number's own text; what is no number comes as a string.
func numberText(v *stream.Value) (string, error) {
	if v.Kind == stream.Number {
		return v.Text, nil
	}
	return text(v)
}

// fromPostGIS reads the struct's extended well-known binary form, which holds the SRID, too.
func fromPostGIS(b []byte, v *stream.Value) ([]byte, error) {
	if v.Kind != stream.Object {
		return fromText(b, v)
	}
	raw, err := wkbOf(v)
	return hex.AppendEncode(b, raw), err
}

// fromVector reads a list of numbers, or the struct of a sparse vector.
func fromVector(b []byte, v *stream.Value) ([]byte, error) {
	switch v.Kind {
	case stream.List:
		b = append(b, '[')
		for i := range v.List {
			n, err := numberText(&v.List[i])
			if err != nil {
				return b, err
			}
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, n...)
		}
		return append(b, ']'), nil
	case stream.Object:
		pairs, ok := v.Get("vector")
		dimensions, okD := v.Get("dimensions")
		if !ok || !okD || pairs.Kind != stream.List {
			return b, errShape
		}
		b = append(b, '{')
		for i := range pairs.List {
			pair := pairs.List[i].List
			if len(pair) != 2 {
				return b, errShape
			}
			index, err := integer(&pair[0])
			if err != nil {
				return b, err
			}
			n, err := numberText(&pair[1])
			if err != nil {
				return b, err
			}
			if i > 0 {
				b = append(b, ',')
			}
			b = append(append(strconv.AppendInt(b, index, 10), ':'), n...)
		}
		n, err := integer(dimensions)
		return strconv.AppendInt(append(b, "}/"...), n, 10), err
	}
	return fromText(b, v)
}

// opaqueOf reads the bytes of a text in a mode of binary.handling.mode.
func opaqueOf(mode string) convert {
	read := byteaOf(mode)
	return func(b []byte, v *stream.Value) ([]byte, error) {
		digits, err := read(nil, v)
		if err != nil {
			return b, err
		}
		raw, err := hex.DecodeString(strings.TrimPrefix(string(digits), `\x`))
		if err != nil {
			return b, errShape
		}
		for _, c := range raw {
			if c == 0 {
				return b, errNUL
			}
		}
		return append(b, raw...), nil
	}
}
