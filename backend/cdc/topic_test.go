package cdc_test

import (
	"strings"
	"testing"

	"freshet/backend/cdc"
	"freshet/backend/fault"
)

func TestTopicName(t *testing.T) {
	for _, c := range []struct{ schema, table, want string }{
		{"public", "orders", "shop.public.orders"},
		{"public", "a b/c", "shop.public.a_b_c"},
		{"public", "größe", "shop.public.gr__e"},
		{"", "orders", "shop.orders"},
		{"a.b", "c-d_E", "shop.a.b.c-d_E"},
		{"public", strings.Repeat("x", 300), "shop.public." + strings.Repeat("x", 237)},
	} {
		if got := cdc.TopicName("shop", c.schema, c.table); got != c.want {
			t.Errorf("%s.%s: %s, want %s", c.schema, c.table, got, c.want)
		}
	}
	if got := cdc.TopicName(".."); got != "__" {
		t.Errorf("..: %s", got)
	}
}

func TestTopicNames(t *testing.T) {
	topics, err := cdc.TopicNames("p", []cdc.Table{{Schema: "s", Name: "a"}, {Schema: "s", Name: "b"}})
	if err != nil || topics[cdc.Table{Schema: "s", Name: "b"}] != "p.s.b" {
		t.Errorf("%v: %v", topics, err)
	}
	for _, tables := range [][]cdc.Table{
		{{Schema: "s", Name: "a b"}, {Schema: "s", Name: "a_b"}},
		{{Schema: "s.t", Name: "a"}, {Schema: "s", Name: "t.a"}},
		{{Schema: "s", Name: strings.Repeat("x", 260) + "1"}, {Schema: "s", Name: strings.Repeat("x", 260) + "2"}},
	} {
		if _, err := cdc.TopicNames("p", tables); !fault.Is(err, fault.Invalid) {
			t.Errorf("%v: %v", tables, err)
		}
	}
}

func TestPattern(t *testing.T) {
	for _, c := range []struct {
		pattern, schema, table string
		want                   bool
	}{
		{"public.*", "public", "orders", true},
		{"public.*", "other", "orders", false},
		{"*.*", "a.b", "", true},
		{"public.order?", "public", "orders", true},
		{"public.order?", "public", "order", false},
		{"public.*_*", "public", "a_b_c", true},
		{"public.*_*", "public", "abc", false},
		{"public.a*b*c", "public", "aXbXbXc", true},
		{`"a.b".c`, "a.b", "c", true},
		{`"a*".*`, "a*", "c", true},
		{`"a*".*`, "ab", "c", false},
		{`"q""".t`, `q"`, "t", true},
	} {
		p, err := cdc.ParsePattern(c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.pattern, err)
			continue
		}
		if got := p.Match(cdc.Table{Schema: c.schema, Name: c.table}); got != c.want {
			t.Errorf("%s on %s.%s: %t", c.pattern, c.schema, c.table, got)
		}
	}
	for _, bad := range []string{"", "orders", "a.b.c", ".t", "s.", `"s.t`, `"".t`, `s"x.t`, `"s"t.u`} {
		if _, err := cdc.ParsePattern(bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzPattern(f *testing.F) {
	f.Add("public.*", "public", "orders")
	f.Add(`"a""b".c?`, `a"b`, "cd")
	f.Fuzz(func(t *testing.T, pattern, schema, table string) {
		p, err := cdc.ParsePattern(pattern)
		if err != nil {
			return
		}
		if !strings.ContainsAny(pattern, `*?"`) && p.Match(cdc.Table{Schema: schema, Name: table}) != (pattern == schema+"."+table) && !strings.Contains(schema, ".") {
			t.Errorf("%q on %q.%q", pattern, schema, table)
		}
		if p.String() != pattern {
			t.Errorf("%q becomes %q", pattern, p)
		}
	})
}

func TestOptions(t *testing.T) {
	o := cdc.Options{Name: "shop"}
	if err := o.Validate(); err != nil || o.Prefix != "shop" || len(o.Tables) != 1 || o.Tables[0] != "public.*" {
		t.Errorf("%+v: %v", o, err)
	}
	for _, bad := range []cdc.Options{{}, {Name: "a b"}, {Name: "-a"}, {Name: strings.Repeat("x", 64)}, {Name: "a", Tables: []string{"orders"}}, {Name: "a", Outbox: "public.*"}} {
		if err := bad.Validate(); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
