//go:build unix

package cli

import (
	"os/exec"
	"strings"
	"testing"

	"freshet/backend/testkit"
)

// A record that cannot be decoded is set aside, and whoever looks or waits is told so and why.
func TestSetAside(t *testing.T) {
	if _, err := exec.LookPath("kcat"); err != nil {
		testkit.Missing(t, "kcat", err)
	}
	pg := testkit.Postgres(t, 15)
	target := pg.CreateDatabase("copy")
	in := serve(t, "serve")
	in.do("topics", "create", "bad.public.t", "--partitions", "1")
	produce := exec.Command("kcat", "-P", "-b", in.run().Broker, "-t", "bad.public.t", "-p", "0")
	produce.Stdin = strings.NewReader(`{"before":null,"after":{"id":1},"op":"u`)
	if out, err := produce.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	in.do("sinks", "create", "copy", "--type", "postgres", "--dsn", target, "--topics", "bad.public.*")
	_, stderr, exit := in.try("wait", "--sink", "copy", "--caught-up")
	if exit != 0 || !strings.Contains(stderr, "set aside so far, which are not in it: 1;") {
		t.Errorf("wait ends with %d and says %q", exit, stderr)
	}
	status := in.do("sinks", "status", "copy")
	if !strings.Contains(status, "decode") || !strings.Contains(status, "at byte 39") {
		t.Errorf("status says\n%s", status)
	}
}
