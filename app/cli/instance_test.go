//go:build unix

package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// instance is a Freshet process of its own on a data directory, to be spoken to by the command line and to be killed.
type instance struct {
	t    testing.TB
	data string
	args []string
	cmd  *exec.Cmd
	log  *said
}

// said is what a process wrote, read while it still writes.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// program returns a command that runs this test binary as freshet.
func program(args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), beTheProgram+"=1")
	return cmd
}

// serve starts `freshet VERB --data DIR` and waits until it says where it is.
func serve(t testing.TB, verb ...string) *instance {
	t.Helper()
	dir, err := os.MkdirTemp("", "freshet-test-")
	if err != nil {
		t.Fatal(err)
	}
	// The demo's database belongs to another user where we are root: it must be able to reach its folder.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	in := &instance{t: t, data: filepath.Join(dir, "data"), args: verb}
	t.Cleanup(func() {
		in.stop()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	in.start()
	return in
}

func (in *instance) start() string {
	in.t.Helper()
	in.cmd = program(append(append([]string{}, in.args...), "--data", in.data)...)
	in.log = &said{}
	out, w, err := os.Pipe()
	if err != nil {
		in.t.Fatal(err)
	}
	in.cmd.Stdout, in.cmd.Stderr = w, in.log
	if err := in.cmd.Start(); err != nil {
		in.t.Fatal(err)
	}
	w.Close()
	defer out.Close()
	if err := out.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		in.t.Fatal(err)
	}
	var seen strings.Builder
	buf := make([]byte, 4096)
	for {
		n, err := out.Read(buf)
		seen.Write(buf[:n])
		if i := strings.Index(seen.String(), "http://"); i >= 0 {
			if link, _, ok := strings.Cut(seen.String()[i:], "\n"); ok {
				return link
			}
		}
		if err != nil {
			_ = in.cmd.Process.Kill()
			_ = in.cmd.Wait()
			in.cmd = nil
			in.t.Fatalf("it did not start: %v\n%s\n%s", err, seen.String(), in.log)
		}
	}
}

// kill ends the process without a chance to clean up.
func (in *instance) kill() {
	in.t.Helper()
	if err := in.cmd.Process.Kill(); err != nil {
		in.t.Fatal(err)
	}
	_ = in.cmd.Wait()
	in.cmd = nil
}

// stop ends it in an orderly way.
func (in *instance) stop() {
	if in.cmd == nil {
		return
	}
	_ = in.cmd.Process.Signal(syscall.SIGTERM)
	ended := make(chan error, 1)
	go func() { ended <- in.cmd.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			in.t.Errorf("it ended with %v\n%s", err, in.log)
		}
	case <-time.After(time.Minute):
		_ = in.cmd.Process.Kill()
		<-ended
		in.t.Errorf("it did not end within a minute\n%s", in.log)
	}
	in.cmd = nil
}

// try runs a verb and returns what it says and its exit code.
func (in *instance) try(args ...string) (stdout, stderr string, exit int) {
	in.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	exit = run(ctx, append(args, "--data", in.data), strings.NewReader(""), &out, &errs)
	return out.String(), errs.String(), exit
}

// do runs a verb that must succeed.
func (in *instance) do(args ...string) string {
	in.t.Helper()
	out, errs, exit := in.try(args...)
	if exit != 0 {
		in.t.Fatalf("freshet %s: exit %d\n%s%s\nlog:\n%s", strings.Join(args, " "), exit, out, errs, tail(in.log.String(), 4000))
	}
	return out
}

// ask runs a verb and decodes its JSON.
func (in *instance) ask(v any, args ...string) {
	in.t.Helper()
	out := in.do(append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		in.t.Fatalf("freshet %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

// eventually waits until f is true.
func eventually(t testing.TB, within time.Duration, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); ; {
		if f() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", within, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// psql runs SQL and returns its unaligned rows.
func psql(t testing.TB, dsn, sql string) string {
	t.Helper()
	cmd := exec.Command("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", dsn, "-c", sql)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("psql: %v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// fingerprint is a table's count and a checksum over every column of every row.
func fingerprint(t testing.TB, dsn, table string) string {
	t.Helper()
	return psql(t, dsn, fmt.Sprintf(`SET timezone='UTC'; SELECT count(*) || ' ' || coalesce(md5(string_agg(r, E'\n' ORDER BY r COLLATE "C")), '-') FROM (SELECT md5(t::text) AS r FROM %s t) x`, table))
}

// sameTables compares tables of two databases and returns what differs.
func sameTables(t testing.TB, a, b string, tables ...string) []string {
	t.Helper()
	var bad []string
	for _, table := range tables {
		if x, y := fingerprint(t, a, table), fingerprint(t, b, table); x != y {
			bad = append(bad, fmt.Sprintf("%s: source %s, sink %s", table, x, y))
		}
	}
	return bad
}
