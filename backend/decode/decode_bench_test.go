package decode_test

import (
	"testing"

	"freshet/backend/decode"
	"freshet/backend/stream"
)

func BenchmarkJSON(b *testing.B) {
	b.SetBytes(int64(len(envelope)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode.JSON(envelope); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDebezium(b *testing.B) {
	rec := &stream.Record{Key: []byte(`{"id":7}`), Value: envelope, Headers: []stream.Header{
		{Key: stream.PositionHeader, Value: []byte("pg/7423118820019283712/freshet_shop/16E9000@16E9188.3")},
		{Key: stream.CommitTimeHeader, Value: []byte("1795514400000001")}}}
	b.SetBytes(int64(len(envelope)))
	b.ReportAllocs()
	for b.Loop() {
		v, err := decode.JSON(rec.Value)
		if err != nil {
			b.Fatal(err)
		}
		if _, ok, err := decode.Debezium(rec, &v); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
