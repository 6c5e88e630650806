//go:build unix

package cli

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"freshet/backend/testkit"
)

var pgbenchTables = []string{"public.pgbench_accounts", "public.pgbench_branches", "public.pgbench_tellers", "public.pgbench_history"}

// A second database equals the first after Freshet was killed twice in the middle of a load: all four tables, the one
// without a key too. It proves capture, log, sink and their restarts together.
func TestPgbenchSurvivesKills(t *testing.T) {
	proof := os.Getenv("FRESHET_PROOF") != ""
	versions := []int{15}
	if proof {
		versions = []int{15, 18}
	}
	for _, version := range versions {
		t.Run("postgres "+strconv.Itoa(version)+" embedded", func(t *testing.T) { pgbench(t, version, false, proof) })
	}
	t.Run("postgres 15 kafka 4", func(t *testing.T) { pgbench(t, 15, true, proof) })
}

func pgbench(t *testing.T, version int, realKafka, proof bool) {
	scale, seconds := "1", 8
	if proof {
		scale, seconds = "5", 30
	}
	bench, err := exec.LookPath("pgbench")
	if err != nil {
		bench = testkit.PostgresBinaries(t, 15) + "/pgbench"
	}
	pg := testkit.Postgres(t, version)
	source, sink := pg.CreateDatabase("bench"), pg.CreateDatabase("copy")
	shell(t, bench, "-q", "-i", "-s", scale, "-d", source)

	in := serve(t, "serve")
	var to []string
	if realKafka {
		kafka := testkit.Kafka(t)
		in.do("clusters", "add", "real", "--brokers", kafka.Broker)
		if _, _, exit := in.try("sources", "create", "bench", "--dsn", source, "--cluster", "real", "--yes"); exit != 4 {
			t.Fatalf("a locked cluster took a capture: exit %d", exit)
		}
		in.do("clusters", "unlock", "real", "--for", "8h")
		to = []string{"--cluster", "real"}
	}
	in.do(append([]string{"sources", "create", "bench", "--type", "postgres", "--dsn", source, "--yes"}, to...)...)
	in.do(append([]string{"sinks", "create", "copy", "--type", "postgres", "--dsn", sink, "--topics", "bench.public.*"}, to...)...)

	load := exec.Command(bench, "-n", "-c", "4", "-T", strconv.Itoa(seconds), "-d", source)
	var said strings.Builder
	load.Stdout, load.Stderr = &said, &said
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 2 {
		time.Sleep(time.Duration(seconds)*time.Second/4 + time.Duration(rng.IntN(seconds*250))*time.Millisecond)
		in.kill()
		in.start()
	}
	if err := load.Wait(); err != nil {
		t.Fatalf("pgbench: %v\n%s", err, said.String())
	}
	in.do("wait", "--sink", "copy", "--caught-up", "--timeout", "3m")
	if bad := sameTables(t, source, sink, pgbenchTables...); len(bad) > 0 {
		describe := append([]string{"topics", "describe", "bench.public.pgbench_accounts"}, to...)
		t.Errorf("%s\n%s%s%s\nlog:\n%s", strings.Join(bad, "\n"), in.do("sinks", "status", "copy"), tail(in.do(describe...), 1500),
			psql(t, sink, "SELECT * FROM freshet.progress"), tail(in.log.String(), 4000))
	}
	if n := psql(t, source, "SELECT count(*) FROM pgbench_history"); n == "0" {
		t.Error("pgbench did nothing")
	}
	pg.Stop(testkit.Immediate)
	if _, stderr, exit := in.try("wait", "--source", "bench", "--caught-up", "--timeout", "1s"); exit != 124 {
		t.Errorf("a wait for a server that is away ends with %d: %s", exit, stderr)
	}
	pg.Start()
	in.do("wait", "--sink", "copy", "--caught-up")
	in.do("sources", "drop", "bench")
	if left := psql(t, source, "SELECT (SELECT count(*) FROM pg_replication_slots) + (SELECT count(*) FROM pg_publication)"); left != "0" {
		t.Errorf("drop left %s slots and publications", left)
	}
	in.do("audit", "verify")
}

func shell(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}
