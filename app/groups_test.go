package app

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"freshet/backend/api"
)

// What is told of one group: what waits longest, until when it is kept, rates, members, and a reset that is put back.
func TestOneGroup(t *testing.T) {
	r := start(t, t.TempDir())
	r.must("POST", "/topics", api.TopicSpec{Topic: "t", Partitions: 3, Config: map[string]string{"retention.ms": "3600000"}}, nil)
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.broker.Addr()), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	write := func(n int, at time.Time) {
		t.Helper()
		for p := range int32(3) {
			for range n {
				if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Partition: p, Value: []byte("v"), Timestamp: at}).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	write(5, time.Now().Add(-30*time.Minute))
	reset := func(spec api.ResetSpec) (a api.ResetAnswer) {
		t.Helper()
		spec.Topic = "t"
		r.must("POST", "/groups/g/reset", spec, &a)
		return a
	}
	first := reset(api.ResetSpec{Offsets: []string{"0:1", "1:2", "2:5"}, Apply: true})
	if len(first.Items) != 3 || first.Items[1].To != "2" || first.Items[1].From != "" || first.Items[1].Moves != "" || !first.Applied {
		t.Errorf("%+v", first)
	}
	group := func() (g api.Group) {
		t.Helper()
		var one struct{ Item api.Group }
		if r.ask("GET", "/groups/g", nil, &one) != http.StatusOK {
			return api.Group{}
		}
		return one.Item
	}
	r.eventually("the group is seen with what waits longest", func() bool { g := group(); return g.Oldest != nil && g.Oldest.Time != "" })
	g := group()
	if at, err := time.Parse(time.RFC3339Nano, g.Oldest.Time); err != nil || time.Since(at) < 29*time.Minute || g.Oldest.Topic != "t" || g.Oldest.Partition == 2 {
		t.Errorf("%+v %v", g.Oldest, err)
	}
	if l := g.LosingIn; l == nil || l.Value == nil || *l.Value > 1800 || *l.Value < 1500 || l.High != nil || l.Why == "" {
		t.Errorf("losing in %+v", g.LosingIn)
	}
	if g.Broker == nil || g.Generation != "" || g.StableFrom != "" {
		t.Errorf("%+v", g)
	}

	back := reset(api.ResetSpec{To: "earliest", Apply: true})
	if moves := []string{back.Items[0].Moves, back.Items[1].Moves, back.Items[2].Moves}; !slices.Equal(moves, []string{"-1", "-2", "-5"}) {
		t.Errorf("it moves %v", moves)
	}
	var were []string
	for _, c := range back.Items {
		were = append(were, fmt.Sprintf("%d:%s", c.Partition, c.From))
	}
	put := reset(api.ResetSpec{Offsets: were, Apply: true})
	if moves := []string{put.Items[0].Moves, put.Items[1].Moves, put.Items[2].Moves}; !slices.Equal(moves, []string{"1", "2", "5"}) {
		t.Errorf("it is put back by %v", moves)
	}
	for what, spec := range map[string]api.ResetSpec{"nowhere": {Topic: "t"}, "twice": {Topic: "t", To: "earliest", Offsets: []string{"0:1"}},
		"no offset": {Topic: "t", Offsets: []string{"earliest"}}, "one partition twice": {Topic: "t", Offsets: []string{"0:1", "0:2"}}} {
		if status := r.ask("POST", "/groups/g/reset", spec, nil); status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d", what, status)
		}
	}

	reader, err := kgo.NewClient(kgo.SeedBrokers(r.broker.Addr()), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.ClientID("the-reader"), kgo.DisableAutoCommit())
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for n := 0; n < 7; {
		n += reader.PollFetches(t.Context()).NumRecords()
	}
	if err := reader.CommitUncommittedOffsets(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.eventually("its member, what it reads and how fast is told", func() bool {
		g := group()
		if len(g.MemberList) != 1 || len(g.Partitions) != 3 {
			return false
		}
		m := g.MemberList[0]
		return len(m.Partitions) == 3 && m.ClientID == "the-reader" && m.Out != nil && m.Out.Value != nil && g.Partitions[0].In.Value != nil &&
			g.StableFrom != "" && g.Oldest == nil && g.LosingIn == nil && g.Out.Value != nil && m.Lag.Records.Value != nil && *m.Lag.Records.Value == 0
	})

	var grid api.Grid
	r.eventually("partitions have a history, with what waited and what was read since", func() bool {
		r.must("GET", "/history/grid?group=g&topic=t&metric=lag_records&columns=4", nil, &grid)
		return len(grid.Rows) == 3 && grid.Rows[0].Values[3] != nil && *grid.Rows[0].Values[3] >= 4
	})
	if len(grid.Columns) != 4 || len(grid.Rows[0].Values) != 4 || grid.Rows[0].Values[0] != nil || grid.LeftOut != 0 || grid.Unit != "records" {
		t.Errorf("%+v", grid)
	}
	if status := r.ask("GET", "/history/grid?group=nobody", nil, nil); status != http.StatusNotFound {
		t.Errorf("of no group: %d", status)
	}
	for _, metric := range []string{"group_in_records_per_second", "group_out_records_per_second"} {
		var h api.History
		r.must("GET", "/history?cluster=embedded&group=g&metric="+metric, nil, &h)
		if len(h.Points) == 0 {
			t.Errorf("no history of %s", metric)
		}
	}
}
