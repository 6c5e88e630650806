//go:build unix

package cli

import (
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"freshet/backend/api"
)

type runFile struct {
	PID       int    `json:"pid"`
	Broker    string `json:"broker"`
	Postgres  string `json:"postgres"`
	Warehouse string `json:"warehouse"`
	Children  []struct {
		Name string `json:"name"`
		PID  int    `json:"pid"`
	} `json:"children"`
}

func (in *instance) run() runFile {
	in.t.Helper()
	b, err := os.ReadFile(in.data + "/run.json")
	if err != nil {
		in.t.Fatal(err)
	}
	var r runFile
	if err := json.Unmarshal(b, &r); err != nil {
		in.t.Fatal(err)
	}
	return r
}

func (in *instance) child(name string) int {
	in.t.Helper()
	var pid int
	eventually(in.t, 20*time.Second, "the process "+name+" runs", func() bool {
		for _, c := range in.run().Children {
			if c.Name == name {
				pid = c.PID
			}
		}
		return pid > 0
	})
	return pid
}

// The demo keeps the warehouse equal to the shop through key changes, truncates and updates that leave large values
// alone; it survives being killed, a second start goes on, and nothing is left behind.
func TestDemo(t *testing.T) {
	in := serve(t, "demo", "--no-open", "--rate", "60")
	equal := func(when string) {
		t.Helper()
		in.do("demo", "load", "pause")
		in.do("wait", "--sink", "warehouse", "--caught-up")
		r := in.run()
		tables := strings.Fields(psql(t, r.Postgres, `SELECT string_agg('public.' || table_name, ' ') FROM information_schema.tables WHERE table_schema = 'public'`))
		if len(tables) < 8 {
			t.Fatalf("the shop has the tables %v", tables)
		}
		if bad := sameTables(t, r.Postgres, r.Warehouse, tables...); len(bad) > 0 {
			t.Errorf("%s:\n%s\n%s%slog:\n%s", when, strings.Join(bad, "\n"), in.do("sinks", "list"), in.do("sources", "list"), tail(in.log.String(), 6000))
		}
		in.do("demo", "load", "resume")
	}
	// A key change, a truncate and an update of a row with a large value have been through the log.
	seen := func(topic, filter string) bool {
		var r api.Records
		in.ask(&r, "topics", "search", topic, "--filter", filter, "--limit", "1")
		return len(r.Items) > 0
	}
	eventually(t, time.Minute, "a truncate, a changed key and an untouched large value were captured", func() bool {
		return seen("shop.public.basket_items", "value.op == 't'") &&
			(seen("shop.public.customers", "'__debezium.newkey' in headers") || seen("shop.public.order_lines", "'__debezium.newkey' in headers") || seen("shop.public.products", "'__debezium.newkey' in headers")) &&
			seen("shop.public.products", "'freshet.unavailable' in headers")
	})
	equal("after changes of each kind")
	traced(t, in)

	if out, err := exec.Command("kcat", "-b", in.run().Broker, "-L").CombinedOutput(); err == nil && !strings.Contains(string(out), "shop.public.orders") {
		t.Errorf("kcat lists %s", out)
	}

	stopped(t, in)

	pid := in.child("shop")
	in.kill()
	eventually(t, 20*time.Second, "the processes of a killed demo are gone", func() bool { return syscall.Kill(pid, 0) != nil })
	in.start()
	equal("after a kill")

	r := in.run()
	in.stop()
	for _, c := range r.Children {
		if syscall.Kill(c.PID, 0) == nil {
			t.Errorf("%s, process %d, is left behind", c.Name, c.PID)
		}
	}
	in.start()
}

// traced follows a row: each change with its rows, and the warehouse holds the newest; a topic tells who writes and reads it.
func traced(t *testing.T, in *instance) {
	t.Helper()
	in.do("demo", "load", "pause")
	in.do("wait", "--sink", "warehouse", "--caught-up")
	r := in.run()
	id := psql(t, r.Postgres, "SELECT max(id) FROM orders")
	var trace api.TraceAnswer
	in.get(&trace, "/trace", url.Values{"table": {"orders"}, "key": {id}})
	if n := len(trace.Items); n == 0 || !strings.Contains(string(trace.Items[n-1].After), id) || trace.Items[n-1].Commit == "" || trace.Items[n-1].Key == "" || len(trace.Items[n-1].Hops) < 3 {
		t.Errorf("order %s: %+v", id, trace.Items)
	}
	if len(trace.Scans) != 1 || trace.Scans[0].Scan.Stopped != "end" {
		t.Errorf("looked at: %+v", trace.Scans)
	}
	if len(trace.Held) != 1 {
		t.Fatalf("held: %+v", trace.Held)
	}
	if h := trace.Held[0]; h.Sink != "warehouse" || h.State != "held" || h.Behind == nil || *h.Behind != 0 || len(h.Differs)+len(h.Missing) > 0 || h.Position == "" || !strings.Contains(string(h.Row), id) {
		t.Errorf("held: %+v", h)
	}
	topic := trace.Items[0].Topic
	psql(t, r.Warehouse, "UPDATE orders SET status = 'lost' WHERE id = "+id)
	trace = api.TraceAnswer{}
	in.get(&trace, "/trace", url.Values{"topic": {topic}, "key": {id}})
	if h := trace.Held[0]; len(h.Differs) != 1 || h.Differs[0] != "status" {
		t.Errorf("a row that was changed in the warehouse: %+v", h)
	}
	var described struct{ Item api.Topic }
	in.get(&described, "/topics/"+topic, nil)
	if d := described.Item; d.WrittenBy != "shop" || d.Readers.Count == 0 || len(d.Consumers) != d.Readers.Count || d.Cleanup == "" || len(d.Configs) == 0 || d.Configs[0].Source == "" {
		t.Errorf("%+v", d)
	}
	// The order is paid for or sent on, some time; until then the warehouse would differ.
	psql(t, r.Warehouse, "UPDATE orders SET status = '"+psql(t, r.Postgres, "SELECT status FROM orders WHERE id = "+id)+"' WHERE id = "+id)
	in.do("demo", "load", "resume")
}

// stopped stops a consumer: within 10 s it shows as lag that grows, in records and in seconds whose bounds hold the truth.
func stopped(t *testing.T, in *instance) {
	t.Helper()
	pid := in.child("fulfilment")
	var before api.Group
	in.ask(&before, "groups", "describe", "fulfilment")
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	lag := func() (g api.Group) {
		in.ask(&g, "groups", "describe", "fulfilment")
		return g
	}
	var first api.Group
	eventually(t, 10*time.Second, "the stopped consumer shows", func() bool {
		first = lag()
		return first.Lag.Records.Value != nil && *first.Lag.Records.Value > 20 && first.Lag.Seconds.Value != nil && *first.Lag.Seconds.Value > 1
	})
	var second api.Group
	eventually(t, 20*time.Second, "the lag grows", func() bool {
		second = lag()
		return *second.Lag.Records.Value > *first.Lag.Records.Value+50 && *second.Lag.Seconds.Value > *first.Lag.Seconds.Value+3
	})
	// The oldest record that waits was written about when the consumer stopped; it commits every second at the latest.
	asOf, err := time.Parse(time.RFC3339Nano, second.Lag.Seconds.AsOf)
	if err != nil {
		t.Fatal(err)
	}
	if age := asOf.Sub(at).Seconds(); *second.Lag.Seconds.Low > age+3 || *second.Lag.Seconds.High < age-1 {
		t.Errorf("stopped %.1f s before, and the lag is between %.1f and %.1f s", age, *second.Lag.Seconds.Low, *second.Lag.Seconds.High)
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the consumer catches up", func() bool {
		g := lag()
		return g.Lag.Seconds.Value != nil && *g.Lag.Seconds.Value < 3
	})
}
