//go:build unix

package cli

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"freshet/backend/api"
)

// BenchmarkTopicRows asks for ten thousand topics of three partitions each, and says how large the answer is.
func BenchmarkTopicRows(b *testing.B) {
	in := serve(b, "serve")
	adm := kadm.NewClient(in.producer())
	const topics = 10_000
	began := time.Now()
	for n := 0; n < topics; n += 500 {
		names := make([]string, 500)
		for i := range names {
			names[i] = fmt.Sprintf("team-%02d.service.events-%05d", (n+i)%37, n+i)
		}
		if _, err := adm.CreateTopics(context.Background(), 3, 1, nil, names...); err != nil {
			b.Fatal(err)
		}
	}
	b.Logf("made in %s", time.Since(began).Round(time.Millisecond))
	var rows api.TopicRows
	var size int
	eventually(b, 2*time.Minute, "every topic is seen, with what it keeps", func() bool {
		rows = api.TopicRows{}
		size = len(in.get(&rows, "/topic-rows", nil))
		return len(rows.Items) >= topics && rows.Items[topics-1].Cleanup != ""
	})
	var list []api.Probe
	in.ask(&struct{ Items *[]api.Probe }{&list}, "probes", "list")
	for _, p := range list {
		if p.Duration.Value != nil {
			b.Logf("a round of %s takes %.2f s", p.Probe, *p.Duration.Value)
		}
	}
	for b.Loop() {
		in.get(nil, "/topic-rows", nil)
	}
	b.ReportMetric(float64(size), "B/answer")
}
