package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"freshet/backend/fault"
)

const limit = 60 * time.Second // for anything a test waits for

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "demo-child":
			if err := Child(context.Background(), os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		case "demo-parent":
			parent(os.Args[2])
		}
	}
	goleak.VerifyTestMain(m)
}

// parent runs a World until it is killed; it says on standard output which processes it has.
func parent(dir string) {
	ctx := context.Background()
	w, err := New(Options{Dir: dir, Rate: 100})
	check := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	check(err)
	check(w.StartPostgres(ctx))
	_, err = w.StartEndpoint(ctx)
	check(err)
	check(w.StartConsumers(ctx, "127.0.0.1:1")) // nobody is there: they go on trying
	check(w.StartLoad(ctx))
	check(json.NewEncoder(os.Stdout).Encode(w.Children()))
	select {}
}

func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// newWorld makes a World on dir that is stopped with the test.
func newWorld(t *testing.T, dir string) *World {
	t.Helper()
	w, err := New(Options{Dir: dir, Rate: 200, Logger: testLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return w
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", limit, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func query[T any](t *testing.T, dsn, sql string, args ...any) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	var v T
	if err := conn.QueryRow(ctx, sql, args...).Scan(&v); err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
	return v
}

// fingerprint is the shop's contents in a word.
func fingerprint(t *testing.T, dsn string) string {
	t.Helper()
	var all []string
	for _, table := range []string{"customers", "products", "orders", "order_lines", "payments", "shipments", "basket_items", "outbox"} {
		all = append(all, query[string](t, dsn, fmt.Sprintf("SELECT count(*) || ':' || coalesce(sum(hashtextextended(r::text, 0)::numeric), 0) FROM %s r", table)))
	}
	return strings.Join(all, " ")
}

func TestWorldLivesAndGoesOn(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	w := newWorld(t, dir)
	if err := w.StartPostgres(ctx); err != nil {
		t.Fatal(err)
	}
	if n := query[int](t, w.ShopDSN(), "SELECT count(*) FROM orders"); n != seedOrders {
		t.Fatalf("%d orders in the history, want %d", n, seedOrders)
	}
	for setting, want := range map[string]string{"wal_level": "logical", "track_commit_timestamp": "on", "listen_addresses": "127.0.0.1"} {
		if got := query[string](t, w.WarehouseDSN(), "SELECT current_setting($1)", setting); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	if strings.Contains(w.ShopDSN(), w.state.Passwords[shopName]) {
		t.Error("the DSN holds the password")
	}
	for _, file := range []string{w.statePath(), w.passFile()} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", file, info.Mode())
		}
	}
	withoutPassword := strings.Split(w.ShopDSN(), "&passfile")[0] + "&passfile=/dev/null"
	if conn, err := pgx.Connect(ctx, withoutPassword); err == nil {
		conn.Close(ctx)
		t.Error("the shop lets people in without a password")
	}

	url, err := w.StartEndpoint(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.StartLoad(ctx); err != nil {
		t.Fatal(err)
	}
	t.Run("every hard case happens", func(t *testing.T) {
		xmins := func(column string) int {
			return query[int](t, w.ShopDSN(), "SELECT count(DISTINCT xmin::text) FROM products WHERE length("+column+"::text) > 8192")
		}
		waitFor(t, "updates that leave large values alone", func() bool { return xmins("description") > 20 })
		waitFor(t, "a changed key", func() bool {
			return query[int](t, w.ShopDSN(), "SELECT count(*) FROM products WHERE length(split_part(sku, '-', 2)) = 6") > 0
		})
		waitFor(t, "a changed composite key", func() bool {
			return query[int](t, w.ShopDSN(), "SELECT count(*) FROM order_lines WHERE line_no > 100") > 0
		})
		file := query[int64](t, w.ShopDSN(), "SELECT pg_relation_filenode('basket_items')::bigint")
		waitFor(t, "a truncate", func() bool {
			return query[int64](t, w.ShopDSN(), "SELECT pg_relation_filenode('basket_items')::bigint") != file
		})
		for _, kind := range []string{"OrderPlaced", "PaymentSucceeded"} {
			waitFor(t, kind, func() bool {
				return query[int](t, w.ShopDSN(), "SELECT count(*) FROM outbox WHERE type = $1", kind) > 0
			})
		}
		for _, c := range choreList {
			conn, err := pgx.Connect(ctx, w.ShopDSN())
			if err != nil {
				t.Fatal(err)
			}
			s := &shop{newGoods(1)}
			if err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return c.do(s, ctx, tx) }); err != nil {
				t.Error(err)
			}
			conn.Close(ctx)
		}
		shopLog, err := os.ReadFile(filepath.Join(w.own, "logs", writerName+".log"))
		if err != nil || strings.Contains(string(shopLog), "cannot write") {
			t.Errorf("the shop had trouble: %s %v", shopLog, err)
		}
		if n := query[int](t, w.ShopDSN(), "SELECT count(*) FROM orders WHERE id <= 9007199254740992"); n > 0 {
			t.Errorf("%d orders have a number that a double holds", n)
		}
	})
	t.Run("a pause returns when all is committed", func(t *testing.T) {
		paused, err := w.PauseLoad(ctx)
		if err != nil {
			t.Fatal(err)
		}
		before := fingerprint(t, w.ShopDSN())
		if n := query[int](t, w.ShopDSN(), "SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop' AND xact_start IS NOT NULL AND pid <> pg_backend_pid() AND backend_type = 'client backend'"); n > 0 {
			t.Errorf("%d transactions are open after a pause", n)
		}
		faster, err := w.SetRate(ctx, 400)
		if err != nil {
			t.Fatal(err)
		}
		if faster.Committed != paused.Committed || !faster.Paused {
			t.Errorf("the shop went on while paused: %+v, then %+v", paused, faster)
		}
		if after := fingerprint(t, w.ShopDSN()); after != before {
			t.Errorf("the shop changed while paused:\n%s\n%s", before, after)
		}
		if _, err := w.ResumeLoad(ctx); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the shop to go on", func() bool { return fingerprint(t, w.ShopDSN()) != before })
		if _, err := w.SetRate(ctx, MaxRate+1); !fault.Is(err, fault.Invalid) {
			t.Errorf("a rate beyond the limit gives %v", err)
		}
	})
	t.Run("a killed process comes back as it was", func(t *testing.T) {
		if _, err := w.PauseLoad(ctx); err != nil {
			t.Fatal(err)
		}
		before := fingerprint(t, w.ShopDSN())
		old := pidOf(w, writerName)
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "another shop process", func() bool { pid := pidOf(w, writerName); return pid != 0 && pid != old })
		var state LoadState
		waitFor(t, "its answer", func() bool { state, err = w.SetRate(ctx, 100); return err == nil })
		if !state.Paused || fingerprint(t, w.ShopDSN()) != before {
			t.Errorf("the new process writes though the shop is paused: %+v", state)
		}
	})

	before := fingerprint(t, w.ShopDSN())
	pids := pidsOf(w)
	port := w.state.PostgresPort
	if err := w.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if identity(pid) != "" {
			t.Errorf("process %d is left: %s", pid, identity(pid))
		}
	}
	if err := w.StartLoad(ctx); !fault.Is(err, fault.Invalid) {
		t.Errorf("a stopped World starts again: %v", err)
	}

	again := newWorld(t, dir)
	began := time.Now()
	if err := again.StartPostgres(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("second start: %v", time.Since(began))
	if again.state.PostgresPort != port {
		t.Errorf("the port changed from %d to %d", port, again.state.PostgresPort)
	}
	if after := fingerprint(t, again.ShopDSN()); after != before {
		t.Errorf("the shop is another one after a restart:\n%s\n%s", before, after)
	}
	if second, err := again.StartEndpoint(ctx); err != nil || second != url {
		t.Errorf("the endpoint moved from %s to %s (%v)", url, second, err)
	}
	if err := again.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if err := Remove(ctx, dir, nil); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("Remove left %v", left)
	}
}

func pidOf(w *World, name string) int {
	for _, c := range w.Children() {
		if c.Name == name {
			return c.PID
		}
	}
	return 0
}

func pidsOf(w *World) []int {
	var pids []int
	for _, c := range w.Children() {
		pids = append(pids, c.PID)
	}
	return pids
}

func TestFaults(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t, t.TempDir())
	if _, err := w.StartFault(ctx, faultStopped, 0); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a fault of a process that does not run: %v", err)
	}
	if err := w.StartPostgres(ctx); err != nil {
		t.Fatal(err)
	}
	address, _ := broker(t, "shop.public.orders", 10, "shop.public.payments", "shop.public.shipments")
	if err := w.StartConsumers(ctx, address); err != nil {
		t.Fatal(err)
	}
	reachable := func() error {
		conn, err := pgx.Connect(ctx, w.WarehouseDSN())
		if err == nil {
			err = conn.Close(ctx)
		}
		return err
	}
	active := func(name string) bool { return w.fault(name).Active }

	t.Run("listed", func(t *testing.T) {
		for _, f := range w.Faults() {
			if f.Name == "" || f.Does == "" || f.Expect == "" || f.Active {
				t.Errorf("%+v", f)
			}
		}
		if _, err := w.StartFault(ctx, "flood", 0); !fault.Is(err, fault.NotFound) {
			t.Errorf("an unknown fault: %v", err)
		}
		if _, err := w.StartFault(ctx, faultOutage, -time.Second); !fault.Is(err, fault.Invalid) {
			t.Errorf("a time below 0: %v", err)
		}
	})
	t.Run(faultOutage, func(t *testing.T) {
		open, err := pgx.Connect(ctx, w.WarehouseDSN())
		if err != nil {
			t.Fatal(err)
		}
		defer open.Close(ctx)
		if _, err := w.StartFault(ctx, faultOutage, 0); err != nil {
			t.Fatal(err)
		}
		if err := reachable(); err == nil {
			t.Error("the warehouse lets people in")
		}
		if err := open.Ping(ctx); err == nil {
			t.Error("an open session lives on")
		}
		if s, err := w.StopFault(ctx, faultOutage); err != nil || s.Active {
			t.Errorf("%+v, %v", s, err)
		}
		if err := reachable(); err != nil {
			t.Error(err)
		}
	})
	t.Run("ends by itself", func(t *testing.T) {
		s, err := w.StartFault(ctx, faultOutage, time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if s.Active && s.Until.IsZero() {
			t.Errorf("no end in %+v", s)
		}
		waitFor(t, "the fault's end", func() bool { return !active(faultOutage) })
		if err := reachable(); err != nil {
			t.Error(err)
		}
	})
	t.Run("prolonged", func(t *testing.T) {
		if _, err := w.StartFault(ctx, faultSlow, time.Hour); err != nil {
			t.Fatal(err)
		}
		s, err := w.StartFault(ctx, faultSlow, 0)
		if err != nil || !s.Active || !s.Until.IsZero() {
			t.Errorf("%+v, %v", s, err)
		}
	})
	t.Run(faultStopped, func(t *testing.T) {
		if _, err := w.StartFault(ctx, faultStopped, 0); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the process to stop", func() bool { return processState(t, pidOf(w, steadyGroup)) == "T" })
		if _, err := w.StopFault(ctx, faultStopped); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the process to go on", func() bool { return processState(t, pidOf(w, steadyGroup)) != "T" })
	})
	t.Run(faultPoison, func(t *testing.T) {
		if _, err := w.StartFault(ctx, faultPoison, 0); err != nil {
			t.Fatal(err)
		}
		if n := query[int](t, w.ShopDSN(), "SELECT count(*) FROM outbox WHERE payload->>'currency' = '???'"); n != 1 {
			t.Errorf("%d poisonous events", n)
		}
	})
	t.Run(faultRestart, func(t *testing.T) {
		before := query[time.Time](t, w.ShopDSN(), "SELECT pg_postmaster_start_time()")
		if s, err := w.StartFault(ctx, faultRestart, 0); err != nil || s.Active {
			t.Fatalf("%+v, %v", s, err)
		}
		if after := query[time.Time](t, w.ShopDSN(), "SELECT pg_postmaster_start_time()"); !after.After(before) {
			t.Error("PostgreSQL was not restarted")
		}
	})
	t.Run("all at once", func(t *testing.T) {
		if !active(faultPoison) || !active(faultSlow) {
			t.Error("the faults ended before they were stopped")
		}
		if err := w.StopFaults(ctx); err != nil {
			t.Fatal(err)
		}
		for _, f := range w.Faults() {
			if f.Active {
				t.Errorf("%s is active", f.Name)
			}
		}
	})
	t.Run("undone by the next start", func(t *testing.T) {
		if err := w.pg.allowWarehouse(ctx, false); err != nil {
			t.Fatal(err)
		}
		if err := w.Stop(ctx); err != nil {
			t.Fatal(err)
		}
		w = newWorld(t, w.opts.Dir)
		if err := w.StartPostgres(ctx); err != nil {
			t.Fatal(err)
		}
		if err := reachable(); err != nil {
			t.Error(err)
		}
	})
}

func processState(t *testing.T, pid int) string {
	t.Helper()
	out, err := exec.Command("ps", "-o", "stat=", "-p", fmt.Sprint(pid)).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))[:1]
}

// TestKilledParentLeavesNothing kills a program with a World in it: on Linux its processes end, and a World that is made
// on the directory next goes on with every row that was committed.
func TestKilledParentLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "demo-parent", dir)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		_ = cmd.Process.Kill()
		t.Fatal(err, cmd.Wait())
	}
	var children []ChildState
	if err := json.Unmarshal(line, &children); err != nil {
		t.Fatal(err)
	}
	if len(children) != 6 {
		t.Errorf("%d processes: %+v", len(children), children)
	}
	ids := make([]string, len(children))
	for i, c := range children {
		if ids[i] = identity(c.PID); ids[i] == "" {
			t.Errorf("%s does not run", c.Name)
		}
	}
	stopped := slices.IndexFunc(children, func(c ChildState) bool { return c.Name == steadyGroup })
	if err := syscall.Kill(children[stopped].PID, syscall.SIGSTOP); err != nil { // one that cannot hear must end as well
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()

	w := newWorld(t, dir)
	if err := w.StartPostgres(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, c := range children {
		if identity(c.PID) == ids[i] {
			t.Errorf("%s (%d) still runs after the next start", c.Name, c.PID)
		}
	}
	if n := query[int](t, w.ShopDSN(), "SELECT count(*) FROM orders"); n < seedOrders {
		t.Errorf("%d orders are left", n)
	}
}

// TestOrphanedPostgresIsEnded takes the record of processes away: the server on the data directory is found all the same.
func TestOrphanedPostgresIsEnded(t *testing.T) {
	if _, ok := dirByDescriptor(3); !ok {
		t.Skip("only Linux tells where a process works")
	}
	dir := t.TempDir()
	w := newWorld(t, dir)
	if err := w.StartPostgres(t.Context()); err != nil {
		t.Fatal(err)
	}
	pid := pidOf(w, postgresName)
	w.pg.process.cancel() // whoever supervised it is no more
	if err := os.Remove(filepath.Join(dir, "demo", "children.json")); err != nil {
		t.Fatal(err)
	}
	second := newWorld(t, dir)
	if err := second.StartPostgres(t.Context()); err != nil {
		t.Fatal(err)
	}
	if identity(pid) != "" {
		t.Error("the orphan still runs")
	}
}

// TestAsUnprivilegedUser runs the World as a user who is not root, where we are: nothing of it may need to be.
func TestAsUnprivilegedUser(t *testing.T) {
	user := unprivileged()
	if user == nil {
		t.Skip("we are not root: every other test has shown it")
	}
	dir, err := os.MkdirTemp("", "freshet-demo-") // below a folder that others can enter, which t.TempDir is not
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program := filepath.Join(dir, "demo.test")
	binary, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := user.own(dir); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run=^TestFaults$", "-test.v")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user.uid, Gid: user.gid}}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestFaults") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestNewRefusesNonsense(t *testing.T) {
	for _, o := range []Options{{}, {Dir: "x", Rate: -1}, {Dir: "x", Rate: MaxRate + 1}} {
		if _, err := New(o); !fault.Is(err, fault.Invalid) {
			t.Errorf("New(%+v) gives %v", o, err)
		}
	}
}

func TestEndpointStatsArePublic(t *testing.T) {
	w := newWorld(t, t.TempDir())
	if err := os.MkdirAll(w.own, 0o700); err != nil {
		t.Fatal(err)
	}
	url, err := w.StartEndpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.Get(strings.Replace(url, "/events", "/stats", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	var stats EndpointStats
	if err != nil || json.Unmarshal(b, &stats) != nil || stats != (EndpointStats{}) {
		t.Errorf("%s, %v", b, err)
	}
}
