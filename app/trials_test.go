package app

import (
	"net"
	"net/http"
	"strings"
	"testing"

	"freshet/backend/api"
	"freshet/backend/testkit"
)

// What is not saved yet can be tested, and is not saved by it.
func TestTrials(t *testing.T) {
	pg := testkit.Postgres(t, 15)
	r := start(t, t.TempDir())
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := silent.Addr().String()
	silent.Close()
	try := func(path string, spec any) (l api.List[api.Stage]) {
		t.Helper()
		r.must("POST", path, spec, &l)
		return l
	}
	states := func(l api.List[api.Stage]) (s string) {
		for _, x := range l.Items {
			if s += x.Stage + " " + x.State + "; "; x.OK != (x.State == "ok") || x.State == "ok" && x.Detail == "" || x.State == "failed" && x.Next == "" {
				t.Errorf("%+v", x)
			}
		}
		return s
	}
	if got := states(try("/clusters/test", api.ClusterSpec{Name: "x", Brokers: []string{nobody}})); !strings.HasPrefix(got, "dns ok; tcp failed; api versions not_tried; ") {
		t.Error(got)
	}
	r.must("POST", "/topics", api.TopicSpec{Topic: "t", Partitions: 1}, nil)
	here := try("/clusters/test", api.ClusterSpec{Name: "x", Brokers: []string{r.broker.Addr()}})
	if got := states(here); strings.Contains(got, "failed") || !strings.Contains(got, "read records ok; ") {
		t.Error(got)
	}
	if here.Items[1].Took <= 0 {
		t.Errorf("%+v", here.Items[1])
	}
	if got := states(try("/sinks/test", api.SinkSpec{Name: "x", Type: "postgres", DSN: pg.DSN("postgres")})); got != "reach ok; " {
		t.Error(got)
	}
	if got := states(try("/sinks/test", api.SinkSpec{Name: "x", Type: "postgres", DSN: "postgres://me:planted-pass@" + nobody + "/x?sslmode=disable"})); got != "reach failed; " {
		t.Error(got)
	}
	if got := states(try("/sinks/test", api.SinkSpec{Name: "x", Type: "kafka", Brokers: []string{r.broker.Addr()}})); !strings.HasSuffix(got, "writes ok; ") {
		t.Error(got)
	}
	if status := r.ask("POST", "/sinks/test", api.SinkSpec{Name: "x", Type: "postgres"}, nil); status != http.StatusUnprocessableEntity {
		t.Errorf("without a DSN: %d", status)
	}
	var clusters api.List[api.Cluster]
	r.must("GET", "/clusters", nil, &clusters)
	var sinks api.List[api.Sink]
	r.must("GET", "/sinks", nil, &sinks)
	if len(clusters.Items) != 1 || len(sinks.Items) != 0 || len(r.sinkClusters) != 0 {
		t.Errorf("%+v %+v", clusters.Items, sinks.Items)
	}
}
