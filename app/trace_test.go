package app

import (
	"encoding/json"
	"testing"

	"freshet/backend/stream"
)

func TestDecimalsOf(t *testing.T) {
	schema := stream.TableSchema{
		Handling: map[string]string{"decimal.handling.mode": "precise", "money.fraction.digits": "2"},
		Columns: []stream.Column{
			{Name: "id", Base: "bigint"},
			{Name: "total", Type: "euros", Base: "numeric(14,2)"},
			{Name: "any", Base: "numeric"},
			{Name: "thousands", Base: "numeric(5,-3)"},
			{Name: "rates", Base: "numeric(9,4)[]"},
			{Name: "price", Base: "money"},
			{Name: "range", Base: "numrange"},
		},
	}
	got, err := json.Marshal(decimalsOf(&schema))
	if err != nil {
		t.Fatal(err)
	}
	const want = `[{"column":"total","scale":2},{"column":"any"},{"column":"thousands","scale":-3},{"column":"rates","scale":4},{"column":"price","scale":2}]`
	if string(got) != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	schema.Handling["decimal.handling.mode"] = "string"
	if list := decimalsOf(&schema); list != nil {
		t.Errorf("read as they stand, and %v all the same", list)
	}
}
