package replay_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"freshet/backend/fault"
	"freshet/replay"
)

func vector(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/plan_" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPlanVectors(t *testing.T) {
	for _, v := range []struct {
		name     string
		length   int
		hash, id string
	}{
		{"a", 2564, "e4f4b1115e98abbc9b8b2453d501d960b03a1bc64aa5c45eb5657f3cc078a242", "pl_4t2lcek6tcv3zg4lerj5"},
		{"b", 3620, "ae0b89d588727f034b11086635fa344862cf3d9774fcfaf392cfa60c53244dbe", "pl_vyfytvmioj7qgsyrbbtd"},
		{"c", 2154, "910b93fe21f68f829ad538eed027c8a6dccfff3f7828d1ca304c2d2af2849cd3", "pl_sefzh7rb62hyfgwvhdxn"},
	} {
		d, err := replay.ParsePlan(vector(t, v.name))
		if err != nil {
			t.Errorf("plan %s: %v", v.name, err)
			continue
		}
		if len(d.Bytes) != v.length || d.Hash != v.hash || d.ID != v.id {
			t.Errorf("plan %s: %d bytes, %s, %s; want %d, %s, %s", v.name, len(d.Bytes), d.Hash, d.ID, v.length, v.hash, v.id)
		}
		again, err := replay.ParsePlan(d.Bytes)
		if err != nil || !bytes.Equal(again.Bytes, d.Bytes) {
			t.Errorf("plan %s: its canonical form reads back as another: %v", v.name, err)
		}
		if err := d.Plan.Unsupported(); !fault.Is(err, fault.Invalid) {
			t.Errorf("plan %s asks for what this engine cannot do, and Unsupported gives %v", v.name, err)
		}
	}
}

func TestIdempotencyKeyVector(t *testing.T) {
	d, err := replay.ParsePlan(vector(t, "c"))
	if err != nil {
		t.Fatal(err)
	}
	id, err := replay.ParseTopicID(d.Plan.Source.TopicID)
	if err != nil {
		t.Fatal(err)
	}
	key := replay.IdempotencyKey(d.Plan.Nonce, id, 0, 55120, "acme-shipments")
	if key != "nbl6eytk3qziu4aesqilwmlogi" {
		t.Errorf("key %s", key)
	}
}

// T1: the order in which a document was written does not change its name.
func TestPlanFieldOrder(t *testing.T) {
	d, err := replay.ParsePlan(vector(t, "b"))
	if err != nil {
		t.Fatal(err)
	}
	var v any
	dec := json.NewDecoder(bytes.NewReader(d.Bytes))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	backwards(&b, v)
	again, err := replay.ParsePlan([]byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	if b.String() == string(d.Bytes) || !bytes.Equal(again.Bytes, d.Bytes) || again.Hash != d.Hash {
		t.Errorf("keys written backwards give %s, not %s", again.Hash, d.Hash)
	}
}

func backwards(b *strings.Builder, v any) {
	switch v := v.(type) {
	case map[string]any:
		keys := slices.Sorted(maps.Keys(v))
		slices.Reverse(keys)
		b.WriteString("{ ")
		for i, k := range keys {
			if i > 0 {
				b.WriteString(" ,\n")
			}
			b.WriteString(strconv.Quote(k) + " :\t")
			backwards(b, v[k])
		}
		b.WriteString("}")
	case []any:
		b.WriteString("[")
		for i := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			backwards(b, v[i])
		}
		b.WriteString("]")
	default:
		s, _ := json.Marshal(v)
		b.Write(s)
	}
}

func TestPlanRefusals(t *testing.T) {
	a := string(vector(t, "a"))
	for _, c := range []struct{ name, from, to, place string }{
		{"unknown key", `"v": 1,`, `"v": 1, "extra": true,`, "extra: unknown"},
		{"unknown key deep within", `{"p": 0, "start": "18200"`, `{"p": 0, "weight": 1, "start": "18200"`, "source.ranges[0].weight: unknown"},
		{"another letter case", `"title"`, `"Title"`, "title: missing"},
		{"duplicate key", `"v": 1,`, `"v": 1, "v": 1,`, "v (line 2, column 10): named twice"},
		{"duplicate key by escape", `"v": 1,`, `"v": 1, "\u0076": 1,`, "named twice"},
		{"missing key", `"nonce": "01K9ZC7Q4M8T0W6A2B3C4D5E6F",`, ``, "nonce: missing"},
		{"float", `"records_per_s": 200`, `"records_per_s": 200.5`, "rate.records_per_s (line 57, column 28)"},
		{"integral float", `"records_per_s": 200`, `"records_per_s": 200.0`, "no fractions"},
		{"exponent", `"records_per_s": 200`, `"records_per_s": 2e2`, "no fractions"},
		{"int64 as a number", `"start": "18200"`, `"start": 18200`, "source.ranges[0].start: an integer, not a string"},
		{"beyond 2^53", `"max_records": 20000`, `"max_records": 9007199254740993`, "64-bit number is written as a string"},
		{"number as a string", `"records_per_s": 200`, `"records_per_s": "200"`, "rate.records_per_s: a string, not an integer"},
		{"string with a leading zero", `"start": "18200"`, `"start": "018200"`, "no decimal integer"},
		{"string beyond 64 bits", `"bytes_per_s": "5000000"`, `"bytes_per_s": "9223372036854775808"`, "no decimal integer"},
		{"minus zero", `"records_per_s": 200`, `"records_per_s": -0`, "rate.records_per_s"},
		{"null", `"v": 1,`, `"v": null,`, "null"},
		{"more after the document", "\n}\n", "\n} {}", "more after the document"},
		{"empty selection", a[strings.Index(a, `{"p": 0`):strings.Index(a, "\n  ]\n }")], "", "source.ranges: empty"},
		{"selected by nothing", `{"by": "offsets"}`, `{}`, "source.selected_by.by: missing"},
		{"partition twice", `{"p": 1,`, `{"p": 0,`, "stands twice"},
		{"partition beyond", `{"p": 2,`, `{"p": 3,`, "partitions 0 to 2"},
		{"end before start", `"end": "18944"`, `"end": "18100"`, "source.ranges[0]"},
		{"start before the log", `"start": "18200"`, `"start": "17009"`, "log_start"},
		{"filter is not its hash", `TaxServiceTimeout`, `taxServiceTimeout`, "filter.sha256"},
		{"field of another sink", `"progress_topic"`, `"table"`, "sink.table: unknown for a sink of type kafka"},
		{"half a surrogate pair", `"reason": "INC-4127"`, `"reason": "\ud800"`, "half a surrogate pair"},
		{"two lines of author", `"ana@example.com"`, `"ana\nben"`, "author"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if strings.Count(a, c.from) == 0 {
				t.Fatalf("the vector has no %q", c.from)
			}
			_, err := replay.ParsePlan([]byte(strings.Replace(a, c.from, c.to, 1)))
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("%v", err)
			}
			if !strings.Contains(err.Error(), c.place) {
				t.Errorf("%v\ndoes not say %q", err, c.place)
			}
		})
	}
	deep := strings.Repeat("[", 100) + strings.Repeat("]", 100)
	if _, err := replay.ParsePlan([]byte(deep)); err == nil || !strings.Contains(err.Error(), "deep") {
		t.Errorf("deep nesting: %v", err)
	}
}

func TestPlanEditChangesHash(t *testing.T) {
	a := vector(t, "a")
	d, err := replay.ParsePlan(a)
	if err != nil {
		t.Fatal(err)
	}
	e, err := replay.ParsePlan(bytes.Replace(a, []byte("max_dlq\": 50"), []byte("max_dlq\": 51"), 1))
	if err != nil || e.Hash == d.Hash {
		t.Errorf("one limit changed, and the hash is %s: %v", e.Hash, err)
	}
}

// FuzzParsePlan holds that nothing makes the decoder panic, and that what it accepts reads back as itself.
func FuzzParsePlan(f *testing.F) {
	for _, v := range []string{"a", "b", "c"} {
		f.Add(vector(f, v))
	}
	f.Add([]byte(`{"v":1,"title":"\ud834\udd1e \u0007 \ufffd"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := replay.ParsePlan(b)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatalf("%v", err)
			}
			return
		}
		again, err := replay.ParsePlan(d.Bytes)
		if err != nil {
			t.Fatalf("the canonical form is refused: %v", err)
		}
		if !bytes.Equal(again.Bytes, d.Bytes) || again.Hash != d.Hash {
			t.Fatal("the canonical form is not its own")
		}
		if !json.Valid(d.Bytes) {
			t.Fatal("the canonical form is no JSON")
		}
	})
}
