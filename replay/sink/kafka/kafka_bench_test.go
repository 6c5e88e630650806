package kafka_test

import (
	"context"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"freshet/backend/kafka"
	"freshet/backend/stream"
	"freshet/replay"
	sink "freshet/replay/sink/kafka"
)

// Both write batches of 10,000 records of 200 bytes to the in-process broker; Bare is an idempotent producer's loop.

const benchBatch = 10_000

func BenchmarkWrite(b *testing.B) {
	_, c := fake(b)
	w := open(b, newSink(b, sink.Options{Cluster: c}), shard)
	recs := make([]stream.Record, benchBatch)
	items := make([]replay.Item, benchBatch)
	for i := range recs {
		recs[i] = record(int32(i%4), 0, string(make([]byte, 200)))
		items[i].Record = &recs[i]
	}
	next := int64(0)
	for b.Loop() {
		for i := range recs {
			recs[i].Offset = next + int64(i)
		}
		next += benchBatch
		if _, err := w.Write(context.Background(), replay.Write{Items: items, Next: next}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(next)/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkBare(b *testing.B) {
	_, c := fake(b)
	if err := unlocked(b, c).CreateTopic(context60(b), "copy", 4, nil); err != nil {
		b.Fatal(err)
	}
	client, err := c.NewClient(kafka.Grant{}, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	n := 0
	for b.Loop() {
		first := new(kgo.FirstErrPromise)
		for i := range benchBatch {
			client.Produce(context.Background(), &kgo.Record{Topic: "copy", Partition: int32(i % 4), Key: []byte("key"), Value: make([]byte, 200)}, first.Promise())
		}
		if err := client.Flush(context.Background()); err != nil {
			b.Fatal(err)
		}
		if err := first.Err(); err != nil {
			b.Fatal(err)
		}
		n += benchBatch
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}
