package filter

import (
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"freshet/backend/stream"
)

// toCEL gives a decoded value to CEL without copying what the expression does not look at.
func toCEL(v *stream.Value) ref.Val {
	switch v.Kind {
	case stream.Bool:
		return types.Bool(v.Bool)
	case stream.Number:
		return number(v.Text)
	case stream.String:
		return types.String(v.Text)
	case stream.Bytes:
		return types.Bytes(v.Bytes)
	case stream.List:
		list := make([]ref.Val, len(v.List))
		for i := range v.List {
			list[i] = toCEL(&v.List[i])
		}
		return types.NewRefValList(types.DefaultTypeAdapter, list)
	case stream.Object:
		return &object{v: v}
	}
	return types.NullValue
}

func number(text string) ref.Val {
	if !strings.ContainsAny(text, ".eE") {
		if i, err := strconv.ParseInt(text, 10, 64); err == nil {
			return types.Int(i)
		}
		if u, err := strconv.ParseUint(text, 10, 64); err == nil {
			return types.Uint(u)
		}
		return types.NewErr("integer beyond 64 bits")
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return types.NewErr("number beyond a double")
	}
	return types.Double(f)
}

func text(b []byte) ref.Val {
	if utf8.Valid(b) {
		return types.String(b)
	}
	return types.Bytes(b)
}

func headers(hs []stream.Header) ref.Val {
	m := make(map[ref.Val]ref.Val, len(hs))
	for _, h := range hs {
		v := ref.Val(types.NullValue)
		if h.Value != nil {
			v = text(h.Value)
		}
		m[types.String(h.Key)] = v
	}
	return types.NewRefValMap(types.DefaultTypeAdapter, m)
}

// object is a decoded object as a CEL map. Looking a member up does not convert the others; everything else does. A
// member is converted once, since a comprehension looks at it again and again.
type object struct {
	v     *stream.Value
	found map[*stream.Value]ref.Val
	full  traits.Mapper
}

func (o *object) all() traits.Mapper {
	if o.full == nil {
		m := make(map[ref.Val]ref.Val, len(o.v.Fields))
		for i := range o.v.Fields {
			m[types.String(o.v.Fields[i].Name)] = toCEL(&o.v.Fields[i].Value)
		}
		o.full = types.NewRefValMap(types.DefaultTypeAdapter, m)
	}
	return o.full
}

func (o *object) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	v, ok := o.v.Get(string(name))
	if !ok {
		return nil, false
	}
	if v.Kind != stream.List && v.Kind != stream.Object {
		return toCEL(v), true
	}
	c, ok := o.found[v]
	if !ok {
		if o.found == nil {
			o.found = map[*stream.Value]ref.Val{}
		}
		c = toCEL(v)
		o.found[v] = c
	}
	return c, true
}

func (o *object) Get(key ref.Val) ref.Val {
	if v, ok := o.Find(key); ok {
		return v
	}
	return types.NewErr("no such key")
}

func (o *object) Contains(key ref.Val) ref.Val {
	_, ok := o.Find(key)
	return types.Bool(ok)
}

func (o *object) Size() ref.Val                               { return o.all().Size() }
func (o *object) Iterator() traits.Iterator                   { return o.all().Iterator() }
func (o *object) ConvertToNative(t reflect.Type) (any, error) { return o.all().ConvertToNative(t) }
func (o *object) ConvertToType(t ref.Type) ref.Val            { return o.all().ConvertToType(t) }
func (o *object) Type() ref.Type                              { return types.MapType }
func (o *object) Value() any                                  { return o.all().Value() }

func (o *object) Equal(other ref.Val) ref.Val {
	if b, ok := other.(*object); ok {
		other = b.all()
	}
	return o.all().Equal(other)
}
