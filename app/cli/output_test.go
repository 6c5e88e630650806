package cli

import (
	"bytes"
	"testing"

	"freshet/backend/api"
)

func TestCleanMakesTextHarmless(t *testing.T) {
	for in, want := range map[string]string{
		"orders → warehouse":  "orders → warehouse",
		"a\x1b[31mred":        `a\x1b[31mred`,
		"line\nbreak\ttab":    `line\nbreak\ttab`,
		"user\u202egpj.exe":   `user\u202egpj.exe`,
		"zero\u200bwidth":     `zero\u200bwidth`,
		"bell\a":              `bell\a`,
		"\u2066iso\u2069":     `\u2066iso\u2069`,
		"sep\u2028arator":     `sep\u2028arator`,
		"🧾 emoji stays":       "🧾 emoji stays",
		"csi \u009b31m":       `csi \u009b31m`,
		"quote ' and \" stay": "quote ' and \" stay",
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestReadingNeverShowsUnknownAsZero(t *testing.T) {
	f := func(x float64) *float64 { return &x }
	for _, c := range []struct {
		r    api.Reading
		want string
	}{
		{api.Reading{State: "unknown", Why: "no commit in this group yet", Unit: "s"}, "unknown: no commit in this group yet"},
		{api.Reading{Value: f(0), Low: f(0), High: f(0), Unit: "s", State: "exact"}, "0 s"},
		{api.Reading{Value: f(12.4), Low: f(11.9), High: f(12.9), Unit: "s", State: "bounded"}, "12.4 s (11.9 to 12.9)"},
		{api.Reading{Low: f(31), Unit: "s", State: "bounded"}, "≥ 31 s"},
		{api.Reading{High: f(3), Unit: "records", State: "bounded"}, "≤ 3 records"},
		{api.Reading{Low: f(1), High: f(2), Unit: "s", State: "bounded"}, "1 to 2 s"},
	} {
		if got := reading(c.r); got != c.want {
			t.Errorf("%+v: %q, want %q", c.r, got, c.want)
		}
	}
}

func TestDescribedReadsAsOneAndAsAList(t *testing.T) {
	raw, err := described([]byte(`{"v":1,"kind":"groups.describe","item":{"group":"g","partitions":[{"partition":0}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"group":"g"`, `"v":1`, `"kind":"groups.describe"`, `"partitions":[{"partition":0}]`, `"items":[{"group":"g"`} {
		if !bytes.Contains(raw, []byte(want)) {
			t.Errorf("%s lacks %s", raw, want)
		}
	}
}
