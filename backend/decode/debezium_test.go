package decode_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"freshet/backend/decode"
	"freshet/backend/fault"
	"freshet/backend/stream"
)

var envelope = []byte(`{"before":null,"after":{"id":7,"name":"Ann \"A\"","net":"AOc=","at":"2026-11-24T10:00:00.000000Z","tags":["a","b"],"doc":"{\"a\": 1}","big":9007199254740993},"source":{"version":"3.5.0.Final","connector":"postgresql","name":"shop","ts_ms":1795514400123,"snapshot":"false","db":"shop","sequence":"[\"24023128\",\"24023400\"]","ts_us":1795514400123456,"ts_ns":1795514400123456000,"schema":"public","table":"orders","txId":571,"lsn":24023400,"xmin":null,"origin":null,"origin_lsn":null},"transaction":null,"op":"c","ts_ms":1795514400200,"ts_us":1795514400200300,"ts_ns":1795514400200300400}`)

func read(t *testing.T, rec *stream.Record) (*stream.Change, bool, error) {
	t.Helper()
	if rec.Value == nil {
		return decode.Debezium(rec, nil)
	}
	v, err := decode.JSON(rec.Value)
	if err != nil {
		t.Fatal(err)
	}
	return decode.Debezium(rec, &v)
}

func TestDebezium(t *testing.T) {
	plain := &stream.Record{Topic: "shop.public.orders", Key: []byte(`{"id":7}`), Value: envelope}
	c, ok, err := read(t, plain)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	id, _ := c.After.Get("id")
	if c.Op != stream.Create || c.Database != "shop" || c.Schema != "public" || c.Table != "orders" || c.Tx != "571" || c.Snapshot ||
		!c.Before.IsNull() || id.Text != "7" || !reflect.DeepEqual(c.Key, object(stream.Field{Name: "id", Value: num("7")})) {
		t.Errorf("got %+v", c)
	}
	if want := time.UnixMicro(1795514400123456).UTC(); !c.Position.IsZero() || c.CommitTime != want {
		t.Errorf("position %v, commit time %v", c.Position, c.CommitTime)
	}

	pos := stream.Position{Source: "pg/1/s/16E9000", Commit: 0x16E9188, Ordinal: 3}
	headed := *plain
	headed.Headers = []stream.Header{{Key: stream.PositionHeader, Value: pos.Append(nil)}, {Key: stream.CommitTimeHeader, Value: []byte("1795514400000001")}}
	if c, _, err = read(t, &headed); err != nil || c.Position != pos || c.CommitTime.UnixMicro() != 1795514400000001 {
		t.Errorf("got %+v, %v", c, err)
	}

	wrapped := &stream.Record{Key: []byte(`{"schema":{"type":"struct"},"payload":{"id":7}}`), Value: []byte(`{"schema":{},"payload":` + string(envelope) + `}`)}
	w, ok, err := read(t, wrapped)
	if err != nil || !ok || !reflect.DeepEqual(w.After, c.After) || !reflect.DeepEqual(w.Key, c.Key) {
		t.Errorf("got %+v, %v", w, err)
	}
}

func TestDebeziumOperations(t *testing.T) {
	for op, want := range map[string]stream.Op{"c": stream.Create, "u": stream.Update, "d": stream.Delete, "r": stream.Read, "t": stream.Truncate, "m": stream.Message} {
		v := strings.Replace(string(envelope), `"op":"c"`, `"op":"`+op+`"`, 1)
		if c, ok, err := read(t, &stream.Record{Value: []byte(v)}); err != nil || !ok || c.Op != want || !c.Key.IsNull() {
			t.Errorf("%s: got %+v, %v, %v", op, c, ok, err)
		}
	}
	for in, want := range map[string]bool{`"first"`: true, `"last_in_data_collection"`: true, `"true"`: true, `true`: true, `"incremental"`: true, `"false"`: false, `false`: false, `null`: false} {
		v := strings.Replace(string(envelope), `"snapshot":"false"`, `"snapshot":`+in, 1)
		if c, _, err := read(t, &stream.Record{Value: []byte(v)}); err != nil || c.Snapshot != want {
			t.Errorf("snapshot %s: got %+v, %v", in, c, err)
		}
	}
}

func TestDebeziumIsNone(t *testing.T) {
	for _, v := range []string{`null`, `1`, `[]`, `{}`, `{"op":"c"}`, `{"op":"create","source":{},"after":{}}`, `{"op":"x","source":{},"after":{}}`,
		`{"op":1,"source":{}}`, `{"op":"c","source":"s","after":{}}`, `{"schema":{},"payload":null}`, `{"id":1,"before":2,"after":3}`} {
		if c, ok, err := read(t, &stream.Record{Value: []byte(v)}); c != nil || ok || err != nil {
			t.Errorf("%s: got %+v, %v, %v", v, c, ok, err)
		}
	}
	if c, ok, err := read(t, &stream.Record{Key: []byte(`{"id":1}`)}); c != nil || ok || err != nil {
		t.Errorf("tombstone: got %+v, %v, %v", c, ok, err)
	}
}

func TestDebeziumMalformed(t *testing.T) {
	good := stream.Record{Key: []byte(`{"id":1}`), Value: envelope}
	for name, spoil := range map[string]func(*stream.Record){
		"no after":      func(r *stream.Record) { r.Value = []byte(`{"op":"u","source":{}}`) },
		"row no object": func(r *stream.Record) { r.Value = []byte(`{"op":"u","source":{},"after":[1]}`) },
		"key no JSON":   func(r *stream.Record) { r.Key = []byte("\x00\x01secret") },
		"key scalar":    func(r *stream.Record) { r.Key = []byte(`5`) },
		"position":      func(r *stream.Record) { r.Headers = []stream.Header{{Key: stream.PositionHeader, Value: []byte("x")}} },
		"commit time": func(r *stream.Record) {
			r.Headers = []stream.Header{{Key: stream.CommitTimeHeader, Value: []byte("x")}}
		},
	} {
		r := good
		spoil(&r)
		if c, ok, err := read(t, &r); c != nil || ok || !fault.Is(err, fault.Invalid) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %+v, %v, %v", name, c, ok, err)
		}
	}
}

// FuzzDebezium holds that no record makes it panic, and that what is said to be a change has what its operation needs.
func FuzzDebezium(f *testing.F) {
	f.Add([]byte(`{"id":7}`), envelope, "pg/1/s/0@1.0", "17955144")
	f.Add([]byte(`{"schema":{},"payload":{"id":7}}`), []byte(`{"schema":{},"payload":{"op":"d","source":{},"before":{"id":7}}}`), "", "")
	f.Fuzz(func(t *testing.T, key, value []byte, position, commit string) {
		rec := &stream.Record{Key: key, Value: value, Headers: []stream.Header{
			{Key: stream.PositionHeader, Value: []byte(position)}, {Key: stream.CommitTimeHeader, Value: []byte(commit)}}}
		v, err := decode.JSON(value)
		if err != nil {
			return
		}
		c, ok, err := decode.Debezium(rec, &v)
		if ok != (c != nil) || ok && err != nil {
			t.Fatal(c, ok, err)
		}
		if ok && c.After.Kind != stream.Object && (c.Op == stream.Create || c.Op == stream.Update || c.Op == stream.Read) {
			t.Fatalf("%c without after", c.Op)
		}
	})
}
