package postgres

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"freshet/backend/cdc"
	"freshet/backend/stream"
)

// nowhere is a log that takes everything at once, and keeps the last value.
type nowhere struct {
	records, bytes int64
	value          []byte
}

func (*nowhere) EnsureTopic(context.Context, string, int32, map[string]string) error { return nil }

func (n *nowhere) Append(_ context.Context, r *stream.Record, done func(error)) error {
	n.records++
	n.bytes += int64(len(r.Key) + len(r.Value))
	n.value = append(n.value[:0], r.Value...)
	done(nil)
	return nil
}

func (*nowhere) Sync(context.Context) error { return nil }

func (*nowhere) Last(context.Context, string) (map[int32]stream.Record, error) { return nil, nil }

func (*nowhere) Publish(context.Context, stream.TableSchema) error { return nil }

func (*nowhere) Sources(context.Context) ([]cdc.Stored, error) { return nil, nil }

func (*nowhere) SaveSource(context.Context, cdc.Stored) error { return nil }

func (*nowhere) DeleteSource(context.Context, string) error { return nil }

// benchStream gives f a streamer whose relation 1 has the columns of an order: id bigint, customer_id bigint, status
// text, total numeric(12,2), created_at timestamptz, note text.
func benchStream(tb testing.TB, f func(ctx context.Context, st *streamer, log *nowhere)) {
	tb.Helper()
	s, err := New(Options{Options: cdc.Options{Name: "shop"}, Version: "3.7.0.Final", DSN: "postgres://u@127.0.0.1:1/shop"})
	if err != nil {
		tb.Fatal(err)
	}
	log := &nowhere{}
	ran := make(chan struct{})
	source := runFunc{s, func(ctx context.Context, w *cdc.Writer) error {
		st := &streamer{s: s, w: w, catalog: s.newCatalog(nil), env: s.newEnvelope(), shapes: map[uint32]shape{}, relations: map[uint32]*relation{}}
		topic, err := w.Topic(ctx, "shop.public.orders")
		if err != nil {
			return err
		}
		r := &relation{topic: topic, schemaID: []byte("0123456789abcdef"), open: []byte(`{"before":`), where: []byte(`"schema":"public","table":"orders"`), events: &eventCount{}}
		types := typeCache{}
		for _, c := range []struct {
			name string
			oid  uint32
			mod  int32
		}{
			{"id", pgtype.Int8OID, -1}, {"customer_id", pgtype.Int8OID, -1}, {"status", pgtype.TextOID, -1},
			{"total", pgtype.NumericOID, 4 + (12<<16 | 2)}, {"created_at", pgtype.TimestamptzOID, -1}, {"note", pgtype.TextOID, -1},
		} {
			types[c.oid] = typeInfo{OID: c.oid, Kind: "b"}
			r.shape.columns = append(r.shape.columns, shapeColumn{name: c.name, typ: c.oid, mod: c.mod})
			r.columns = append(r.columns, types.form(&st.catalog.values, c.oid, c.mod).column(len(r.columns), c.name))
		}
		r.key = r.columns[:1]
		st.relations[1] = r
		f(ctx, st, log)
		close(ran)
		<-ctx.Done()
		return nil
	}}
	p := cdc.NewPipeline(cdc.PipelineOptions{Stored: cdc.Stored{Options: cdc.Options{Name: "shop"}, State: cdc.State{Source: "pg/7711963997784945401/freshet_shop/1926b68"}},
		Source: source, Log: log, Schemas: log, Store: log})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.Run(ctx)
	}()
	<-ran
	cancel()
	<-ended
}

type runFunc struct {
	*Source
	run func(ctx context.Context, w *cdc.Writer) error
}

func (r runFunc) Run(ctx context.Context, w *cdc.Writer) error { return r.run(ctx, w) }

// orderFrame is a frame with a change of an order: its kind, and which tuples it carries.
func orderFrame(kind byte, tuples string) []byte {
	b := []byte{'w', 0, 0, 0, 0, 1, 0x92, 0x6d, 0x18, 0, 0, 0, 0, 1, 0x92, 0x6d, 0x18, 0, 0, 0, 0, 0, 0, 0, 0, kind, 0, 0, 0, 1}
	for _, of := range []byte(tuples) {
		b = append(b, of, 0, 6)
		for _, v := range []string{"123456", "98765", "paid", "1234.50", "2026-11-25 05:06:07.123456+00", "thirty-nine characters of some remark."} {
			b = append(b, 't')
			b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
			b = append(b, v...)
		}
	}
	return b
}

func beginOrder(st *streamer) {
	st.open = true
	st.w.Begin(0x1926d18, time.UnixMicro(1795581542828825))
	st.env.begin(1795581542828825, "false", 727, 0x1926d00)
}

// TestFirstRecordIsWhole: what has arrived with the answer to START_REPLICATION is written before the stream has waited for
// anything. Such records once lacked the end of their envelope.
func TestFirstRecordIsWhole(t *testing.T) {
	benchStream(t, func(ctx context.Context, st *streamer, log *nowhere) {
		beginOrder(st)
		if err := st.copyData(ctx, orderFrame('I', "N")); err != nil {
			t.Error(err)
		}
		var change struct {
			Op   string
			TsMS int64 `json:"ts_ms"`
		}
		if err := json.Unmarshal(log.value, &change); err != nil || change.Op != "c" || change.TsMS == 0 {
			t.Errorf("%v: %s", err, log.value)
		}
	})
}

// BenchmarkCapture is the way of one inserted row from the server's frame to the log's door.
func BenchmarkCapture(b *testing.B) {
	b.ReportAllocs()
	benchStream(b, func(ctx context.Context, st *streamer, log *nowhere) {
		frame := orderFrame('I', "N")
		beginOrder(st)
		b.ResetTimer()
		for range b.N {
			if err := st.copyData(ctx, frame); err != nil {
				b.Error(err)
				return
			}
		}
		b.StopTimer()
		if log.records != int64(b.N) {
			b.Errorf("%d records of %d", log.records, b.N)
		}
		b.SetBytes(log.bytes / log.records)
	})
}

// leastAllocations is what f allocates where the pool of records has one to give: under the race detector a sync.Pool drops
// a part of what it is given.
func leastAllocations(f func()) float64 {
	least := testing.AllocsPerRun(1, f)
	for range 20 {
		least = min(least, testing.AllocsPerRun(1, f))
	}
	return least
}

// TestCaptureAllocations: a row costs no memory that is not used again, from the server's frame to the log's door. What
// the log's client takes behind it is not ours.
func TestCaptureAllocations(t *testing.T) {
	for _, c := range []struct {
		name string
		kind byte
		rows string // which tuples follow
	}{{"insert", 'I', "N"}, {"update", 'U', "N"}, {"update of a full row", 'U', "ON"}, {"delete", 'D', "K"}} {
		t.Run(c.name, func(t *testing.T) {
			benchStream(t, func(ctx context.Context, st *streamer, log *nowhere) {
				frame := orderFrame(c.kind, c.rows)
				beginOrder(st)
				if n := leastAllocations(func() {
					if err := st.copyData(ctx, frame); err != nil {
						t.Error(err)
					}
				}); n > 0 {
					t.Errorf("%.0f allocations a row", n)
				}
				if log.records == 0 {
					t.Error("no record came to the log")
				}
			})
		})
	}
}

// TestTransactionAllocations: nor does a transaction.
func TestTransactionAllocations(t *testing.T) {
	benchStream(t, func(ctx context.Context, st *streamer, _ *nowhere) {
		frame := orderFrame('I', "N")
		if n := leastAllocations(func() {
			st.open = false
			beginOrder(st)
			if err := st.copyData(ctx, frame); err != nil {
				t.Error(err)
			}
			st.w.Commit(0x1926d48)
		}); n > 0 {
			t.Errorf("%.0f allocations a transaction", n)
		}
	})
}

// TestEncoderAllocations: nor does a value of any type, once the codec's buffers have grown.
func TestEncoderAllocations(t *testing.T) {
	var out []byte
	all := encoders()
	each := func(f func(name, text string, encode func())) {
		for name, encode := range all {
			for _, text := range encoderSeeds {
				in := []byte(text)
				f(name, text, func() { out = encode.append(out[:0], in) })
			}
		}
	}
	each(func(_, _ string, encode func()) { encode() })
	each(func(name, text string, encode func()) {
		if n := leastAllocations(encode); n > 0 {
			t.Errorf("%s of %q: %.0f allocations", name, text, n)
		}
	})
}
