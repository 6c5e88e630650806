package decode_test

import (
	"testing"

	"freshet/backend/decode"
)

func TestKeyIs(t *testing.T) {
	for _, c := range []struct {
		raw, want string
		is        bool
	}{
		{`42`, `42`, true},
		{`{"id":42}`, `42`, true},
		{`{"id":42}`, `{"id":42}`, true},
		{`{"id":42}`, ` { "id" : 42 } `, true},
		{`{"id":"42"}`, `42`, true},
		{`{"id":9007199254740993}`, `9007199254740993`, true},
		{`{"id":9007199254740993}`, `9007199254740992`, false},
		{`{"id":9007199254740993}`, `{"id":9007199254740992}`, false},
		{`{"id":142}`, `42`, false},
		{`{"id":"42"}`, `{"id":42}`, false},
		{`{"a":1,"b":2}`, `{"b":2,"a":1}`, true},
		{`{"a":1,"b":2}`, `1`, false},
		{`{"a":1,"b":2}`, `{"a":1}`, false},
		{`{"a":[1,{"x":null}]}`, `{"a":[1,{"x":null}]}`, true},
		{`{"a":[1,{"x":null}]}`, `{"a":[1,{"x":0}]}`, false},
		{`{"n":"a\"b"}`, `a"b`, true},
		{`{"n":"\u00e9"}`, `é`, true},
		{`{"n":"caf\u00e9 x"}`, `café x`, true},
		{`{"n":"a\\b"}`, `a\b`, true},
		{`{"ok":true}`, `true`, true},
		{`{"ok":true}`, `false`, false},
		{`{"x":null}`, `null`, false},
		{`{"schema":{"type":"struct"},"payload":{"id":42}}`, `42`, true},
		{`{"schema":{"type":"struct"},"payload":{"id":42}}`, `{"id":42}`, true},
		{`{"id":42`, `42`, false},
		{``, `42`, false},
	} {
		if got := decode.KeyIs([]byte(c.raw), c.want); got != c.is {
			t.Errorf("KeyIs(%s, %s) = %v", c.raw, c.want, got)
		}
	}
}
