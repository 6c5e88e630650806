//go:build unix

package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"freshet/backend/testkit"
)

// A configuration whose cluster is locked and whose database is away does not keep the console from starting: it says
// what is missing and why, and makes it once it can.
func TestConfigurationWaits(t *testing.T) {
	pg := testkit.Postgres(t, 15)
	source := pg.CreateDatabase("shop")
	pg.Exec("shop", "CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders VALUES (1)")
	pg.Stop(testkit.Fast)
	elsewhere := serve(t, "serve")
	file := filepath.Join(t.TempDir(), "freshet.yaml")
	text := fmt.Sprintf("clusters: [{name: main, brokers: ['%s']}]\nsources: [{name: shop, type: postgres, dsn: '%s', tables: [public.orders], cluster: main}]\n",
		elsewhere.run().Broker, source)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	in := serve(t, "serve", "--config", file)
	said := func(what string) {
		t.Helper()
		eventually(t, time.Minute, what, func() bool {
			out, _, _ := in.try("status")
			return strings.Contains(out, what)
		})
	}
	said("connection refused")
	pg.Start()
	said("read-only")
	if _, _, exit := in.try("status"); exit != 9 {
		t.Errorf("status ends with %d, and somebody must unlock the cluster", exit)
	}
	in.do("clusters", "unlock", "main", "--for", "1h")
	eventually(t, time.Minute, "the source runs", func() bool {
		out, _, exit := in.try("topics", "read", "shop.public.orders", "--cluster", "main", "--from", "oldest", "--limit", "1", "-o", "json")
		return exit == 0 && strings.Contains(out, `"offset":"0"`)
	})
	in.do("status")

	if err := os.WriteFile(file, []byte("sinks: [{name: x, type: nonsense}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := program("serve", "--data", t.TempDir(), "--config", file)
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "nonsense") {
		t.Errorf("a sink of no kind: %v\n%s", err, out)
	}
}
