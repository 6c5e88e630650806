package replay_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"freshet/backend/stream"
	"freshet/replay"
	"freshet/replay/replaytest"
)

// endless is a cluster whose topic has the same records again and again, for measuring what is behind it.
type endless struct {
	*replaytest.MemoryLog
	records    []stream.Record
	partitions int
	each       int64
}

func (e *endless) Topic(context.Context, string) (stream.Topic, error) {
	t := stream.Topic{Name: "endless", ID: [16]byte{1}, Config: map[string]string{}}
	for i := range e.partitions {
		t.Partitions = append(t.Partitions, stream.Partition{ID: int32(i), End: e.each, Stable: e.each})
	}
	return t, nil
}

func (e *endless) Read(_ context.Context, req replay.ReadRequest) (replay.Reader, error) {
	return &endlessReader{e, req, req.From}, nil
}

type endlessReader struct {
	*endless
	req  replay.ReadRequest
	next int64
}

func (r *endlessReader) Close() {}

func (r *endlessReader) Next(context.Context) (replay.Batch, error) {
	if r.next >= r.req.To {
		return replay.Batch{}, io.EOF
	}
	n := min(int64(len(r.records)), r.req.To-r.next)
	b := replay.Batch{From: r.next, Next: r.next + n, End: r.each, Records: make([]stream.Record, n)}
	copy(b.Records, r.records)
	for i := range b.Records {
		b.Records[i].Partition, b.Records[i].Offset = r.req.Partition, r.next+int64(i)
	}
	r.next += n
	return b, nil
}

// nullSink keeps progress and nothing else.
type nullSink struct{ next [4]int64 }

func (s *nullSink) Test(context.Context) (string, error) { return "nothing", nil }
func (s *nullSink) Close() error                         { return nil }

func (s *nullSink) Open(_ context.Context, sh replay.Shard) (replay.Writer, error) {
	return &nullWriter{s, sh.Partition}, nil
}

type nullWriter struct {
	*nullSink
	partition int32
}

func (w *nullWriter) Progress() replay.Progress   { return replay.Progress{Next: w.next[w.partition]} }
func (w *nullWriter) Close(context.Context) error { return nil }

func (w *nullWriter) Write(_ context.Context, in replay.Write) (replay.Written, error) {
	w.next[w.partition] = in.Next
	return replay.Written{Applied: int64(len(in.Items)), Before: time.Now(), After: time.Now()}, nil
}

// BenchmarkJob runs a whole job of four partitions into a sink that does nothing: what the engine itself costs.
func BenchmarkJob(b *testing.B) {
	value := []byte(`{"before":null,"after":{"id":7,"status":"OPEN","note":"` + strings.Repeat("x", 100) + `"},"source":{"table":"orders"},"op":"u"}`)
	e := &endless{partitions: 4, MemoryLog: &replaytest.MemoryLog{Name: "endless"}}
	for i := range 1000 {
		e.records = append(e.records, stream.Record{Topic: "endless", Time: base, Key: fmt.Appendf(nil, `{"id":%d}`, i), Value: value})
	}
	for _, c := range []struct {
		name, filter string
		changes      bool
	}{
		{"bytes", "", false},
		{"filter-key", "key_bytes != b'k5'", false},
		{"filter-value", "value.after.status == 'OPEN'", false},
		{"changes", "", true},
	} {
		b.Run(c.name, func(b *testing.B) {
			e.each = int64(b.N/4 + 1)
			t := newBench(b, 0)
			t.options.BatchRecords, t.options.Linger = 0, 0
			world := &endlessWorld{World: t.world, log: e}
			t.options.Clusters = world
			target := t.world.Sinks["warehouse"].Target
			target.Changes = c.changes
			t.world.Sinks["warehouse"] = replaytest.WorldSink{Target: target, Sink: &nullSink{}}
			t.start()
			p := t.approved(replay.Draft{Cluster: "local", Topic: "endless", All: true, Sink: "warehouse", Filter: c.filter})
			b.SetBytes(int64(len(value)))
			b.ReportAllocs()
			b.ResetTimer()
			v, err := t.service.Run(context.Background(), "ana", p.ID, false)
			if err != nil {
				b.Fatal(err)
			}
			j, err := t.service.Wait(context.Background(), v.ID)
			b.StopTimer()
			if err != nil || j.State != replay.JobCompleted {
				b.Fatalf("%s: %s, %v", j.State, j.Reason, err)
			}
			b.ReportMetric(float64(4*e.each)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

type endlessWorld struct {
	*replaytest.World
	log *endless
}

func (w *endlessWorld) Cluster(context.Context, string) (replay.Cluster, error) {
	return replay.Cluster{Source: w.log, Topics: w.log}, nil
}
