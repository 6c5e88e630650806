package lag_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"freshet/backend/kafka"
	"freshet/probes/lag"
)

const (
	benchTopics     = 1000
	benchPartitions = 4
	benchGroups     = 100
	benchShare      = 50 // topics of each group
)

// BenchmarkRound is a lag round at 1,000 topics of four partitions and 100 groups of 200 commits each, one in ten of
// them behind, beside a round that asks kadm for the same commits and ends and subtracts.
func BenchmarkRound(b *testing.B) {
	ctx := context.Background()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		b.Fatal(err)
	}
	defer fake.Close()
	cl, err := kgo.NewClient(kgo.SeedBrokers(fake.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	names := make([]string, benchTopics)
	for i := range names {
		names[i] = fmt.Sprintf("topic-%04d", i)
	}
	if _, err := adm.CreateTopics(ctx, benchPartitions, 1, nil, names...); err != nil {
		b.Fatal(err)
	}
	const records = 3
	var batch []*kgo.Record
	for _, name := range names {
		for p := range int32(benchPartitions) {
			for range records {
				batch = append(batch, &kgo.Record{Topic: name, Partition: p, Value: []byte("a record")})
			}
		}
	}
	if err := cl.ProduceSync(ctx, batch...).FirstErr(); err != nil {
		b.Fatal(err)
	}
	groups := make([]string, benchGroups)
	for g := range groups {
		groups[g] = fmt.Sprintf("group-%03d", g)
		var offsets kadm.Offsets
		for i := range benchShare {
			at := int64(records)
			if i%10 == 0 {
				at--
			}
			for p := range int32(benchPartitions) {
				offsets.AddOffset(names[(g*17+i)%benchTopics], p, at, -1)
			}
		}
		if err := adm.CommitAllOffsets(ctx, groups[g], offsets); err != nil {
			b.Fatal(err)
		}
	}
	cluster, err := kafka.Open(kafka.Options{Name: "c", Brokers: fake.ListenAddrs()})
	if err != nil {
		b.Fatal(err)
	}
	defer cluster.Close()

	var bare, ours time.Duration
	b.Run("kadm", func(b *testing.B) {
		for b.Loop() {
			if err := bareRound(ctx, adm); err != nil {
				b.Fatal(err)
			}
		}
		bare = b.Elapsed() / time.Duration(b.N)
	})
	b.Run("lag", func(b *testing.B) {
		p := lag.New(cluster, lag.Options{})
		for range 10 { // the first rounds ask about the past
			if _, err := p.Round(ctx); err != nil {
				b.Fatal(err)
			}
		}
		for b.Loop() {
			r, err := p.Round(ctx)
			if err != nil {
				b.Fatal(err)
			}
			if d := r.Detail.(*lag.Detail); len(d.Groups) != benchGroups || d.Groups[0].Records.Value != 20 {
				b.Fatalf("%d groups, the first: %+v", len(d.Groups), d.Groups[0])
			}
		}
		ours = b.Elapsed() / time.Duration(b.N)
		if bare > 0 {
			b.ReportMetric(float64(ours)/float64(bare), "x-kadm")
		}
	})
}

// bareRound is what a lag in offsets costs with nothing around it.
func bareRound(ctx context.Context, adm *kadm.Client) error {
	listed, err := adm.ListGroups(ctx)
	if err != nil {
		return err
	}
	names := listed.Groups()
	if _, err := adm.DescribeGroups(ctx, names...); err != nil {
		return err
	}
	commits := adm.FetchManyOffsets(ctx, names...)
	starts, err := adm.ListStartOffsets(ctx)
	if err != nil {
		return err
	}
	ends, err := adm.ListEndOffsets(ctx)
	if err != nil {
		return err
	}
	total := int64(0)
	for _, g := range commits {
		if g.Err != nil {
			return g.Err
		}
		for topic, parts := range g.Fetched {
			for p, c := range parts {
				end, _ := ends.Lookup(topic, p)
				start, _ := starts.Lookup(topic, p)
				total += end.Offset - max(c.At, start.Offset)
			}
		}
	}
	if total != benchGroups*benchShare/10*benchPartitions {
		return fmt.Errorf("%d records behind", total)
	}
	return nil
}
