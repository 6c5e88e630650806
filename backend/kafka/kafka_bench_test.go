package kafka_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"freshet/backend/kafka"
	"freshet/backend/kafka/embedded"
	"freshet/backend/stream"
	"freshet/replay"
)

func benchCluster(b *testing.B) (*embedded.Broker, *kafka.Cluster) {
	b.Helper()
	broker, err := embedded.Open(context.Background(), embedded.Options{Dir: b.TempDir(), RetentionBytes: -1})
	must(b, err)
	b.Cleanup(func() { broker.Close() })
	c, err := kafka.Open(kafka.Options{Name: "bench", Brokers: []string{broker.Addr()}, Own: true, Sync: broker.Sync})
	must(b, err)
	b.Cleanup(c.Close)
	return broker, c
}

var (
	benchKey     = []byte(`{"id":123456789}`)
	benchValue   = make([]byte, 500)
	benchHeaders = []stream.Header{{Key: "freshet.position", Value: []byte("pg/7000000000000000000/freshet_shop/1a2b3c4d@1a2b3c4d.7f")},
		{Key: "freshet.commit_us", Value: []byte("1764043200000000")}, {Key: "freshet.schema", Value: []byte("00000000000000aa")}}
)

// One record of a captured table, appended; every 10,000 the log is synced.
func BenchmarkAppend(b *testing.B) {
	ctx := context.Background()
	_, c := benchCluster(b)
	l, err := c.OpenLog(kafka.Grant{})
	must(b, err)
	must(b, l.EnsureTopic(ctx, "t", 1, nil))
	var wg sync.WaitGroup
	done := func(err error) {
		if err != nil {
			b.Error(err)
		}
		wg.Done()
	}
	var rec stream.Record
	b.SetBytes(int64(len(benchValue)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		wg.Add(1)
		rec = stream.Record{Topic: "t", Key: benchKey, Value: benchValue, Headers: benchHeaders}
		must(b, l.Append(ctx, &rec, done))
		if i%10_000 == 9_999 {
			must(b, l.Sync(ctx))
		}
	}
	wg.Wait()
}

// The same by kgo alone, for comparison.
func BenchmarkBareProduce(b *testing.B) {
	ctx := context.Background()
	broker, c := benchCluster(b)
	must(b, c.CreateTopic(ctx, "t", 1, nil))
	cl := plainClient(b, broker.Addr(), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(50_000))
	var headers []kgo.RecordHeader
	for _, h := range benchHeaders {
		headers = append(headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	b.SetBytes(int64(len(benchValue)))
	b.ReportAllocs()
	for b.Loop() {
		cl.Produce(ctx, &kgo.Record{Topic: "t", Key: benchKey, Value: benchValue, Headers: headers}, nil)
	}
	must(b, cl.Flush(ctx))
}

const benchRecords = 500_000

func fill(b *testing.B, broker *embedded.Broker, c *kafka.Cluster, codec kgo.CompressionCodec) {
	ctx := context.Background()
	must(b, c.CreateTopic(ctx, "t", 1, nil))
	cl := plainClient(b, broker.Addr(), kgo.ProducerBatchCompression(codec), kgo.MaxBufferedRecords(50_000))
	var headers []kgo.RecordHeader
	for _, h := range benchHeaders {
		headers = append(headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	for range benchRecords {
		cl.Produce(ctx, &kgo.Record{Topic: "t", Key: benchKey, Value: benchValue, Headers: headers}, nil)
	}
	must(b, cl.Flush(ctx))
}

var codecs = map[string]kgo.CompressionCodec{"plain": kgo.NoCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}

// One record read exactly, every offset accounted for.
func BenchmarkReader(b *testing.B) {
	for name, codec := range codecs {
		b.Run(name, func(b *testing.B) {
			ctx := context.Background()
			broker, c := benchCluster(b)
			fill(b, broker, c, codec)
			b.SetBytes(int64(len(benchValue)))
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; {
				r, err := c.Read(ctx, replay.ReadRequest{Topic: "t", To: benchRecords})
				must(b, err)
				for n < b.N {
					batch, err := r.Next(ctx)
					if errors.Is(err, io.EOF) {
						break
					}
					must(b, err)
					n += len(batch.Records)
				}
				r.Close()
			}
		})
	}
}

// The same by kgo's own consumer, for comparison.
func BenchmarkBareConsume(b *testing.B) {
	for name, codec := range codecs {
		b.Run(name, func(b *testing.B) {
			ctx := context.Background()
			broker, c := benchCluster(b)
			fill(b, broker, c, codec)
			b.SetBytes(int64(len(benchValue)))
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; {
				cl, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()), kgo.DisableClientMetrics(), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
					kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"t": {0: kgo.NewOffset().At(0)}}))
				must(b, err)
				for seen := 0; seen < benchRecords && n < b.N; {
					f := cl.PollFetches(ctx)
					seen += f.NumRecords()
					n += f.NumRecords()
				}
				cl.Close()
			}
		})
	}
}
