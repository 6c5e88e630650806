package app

import (
	"strings"
	"testing"
	"time"

	"freshet/backend/api"
	"freshet/backend/cdc"
	"freshet/probes"
)

// A sink that went on without a record is not simply on time, though it keeps up.
func TestMapShowsWhatWasSetAside(t *testing.T) {
	now := time.Date(2026, 11, 25, 3, 10, 0, 0, time.UTC)
	draw := func(parked time.Time) api.Node {
		t.Helper()
		m := drawMap(world{
			at:      now,
			sources: []probes.SourceProgress{{Source: "shop", Cluster: embeddedCluster, State: cdc.Streaming, Tables: map[string]string{"public.orders": "shop.public.orders"}}},
			sinks: []api.Sink{{Name: "warehouse", Type: "postgres", Cluster: embeddedCluster, State: "running", Parked: "1",
				Partitions: []api.SinkPartition{{Topic: "shop.public.orders"}},
				LastParked: []api.ParkedRecord{{Topic: "shop.public.orders", Offset: "7", Kind: "decode", Reason: "not UTF-8", At: api.Time(parked)}}}},
			owner: func(id, _ string) string { return strings.TrimPrefix(id, "sink:") },
		})
		if len(m.Nodes) != 3 || len(m.Edges) != 2 {
			t.Fatalf("%d nodes and %d edges", len(m.Nodes), len(m.Edges))
		}
		for _, n := range m.Nodes {
			if n.ID == "sink:warehouse" {
				return n
			}
		}
		t.Fatal("the sink is not on the map")
		return api.Node{}
	}
	n := draw(now.Add(-time.Minute))
	if n.State != "at_risk" || !strings.Contains(n.Why, "shop.public.orders/0:7: not UTF-8") || n.Note != "postgres, 1 parked" || n.Owner != "warehouse" {
		t.Errorf("a minute later: %+v", n)
	}
	if n := draw(now.Add(-time.Hour)); n.State != "on_time" || n.Why != "" {
		t.Errorf("an hour later: %+v", n)
	}
}
