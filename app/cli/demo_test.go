//go:build unix

package cli

import (
	"encoding/json"
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
