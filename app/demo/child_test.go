package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"freshet/backend/fault"
)

// startChild runs a child in this process and returns a way to give it a command; closing it ends the child.
func startChild(t *testing.T, args ...string) (tell func(command) reply, end func()) {
	t.Helper()
	in, commands := io.Pipe()
	replies, out := io.Pipe()
	var done sync.WaitGroup
	done.Go(func() {
		if err := child(context.Background(), args, in, out, testLogger(t)); err != nil {
			t.Error(err)
		}
		out.Close()
	})
	answers := json.NewDecoder(replies)
	var hello reply
	if err := answers.Decode(&hello); err != nil || hello.ID != 0 {
		t.Fatalf("greeting %+v, %v", hello, err)
	}
	var id int64
	tell = func(c command) reply {
		id++
		c.ID = id
		if err := json.NewEncoder(commands).Encode(c); err != nil {
			t.Error(err)
		}
		var r reply
		if err := answers.Decode(&r); err != nil || r.ID != id {
			t.Errorf("answer %+v, %v", r, err)
		}
		return r
	}
	var once sync.Once
	end = func() { once.Do(func() { commands.Close(); done.Wait() }) }
	t.Cleanup(end)
	return tell, end
}

func TestChildRefusesNonsense(t *testing.T) {
	for _, args := range [][]string{{}, {"teapot"}, {kindWriter, "-no-such-flag"}} {
		if err := child(t.Context(), args, strings.NewReader(""), io.Discard, testLogger(t)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", args, err)
		}
	}
}

// broker is a Kafka of this process with a topic that holds n new rows and one of a snapshot, and more topics that hold
// one.
func broker(t *testing.T, topic string, n int, more ...string) (address string, admin *kadm.Client) {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, append(more, topic)...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	address = cluster.ListenAddrs()[0]
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.DefaultProduceTopic(topic))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	records := []*kgo.Record{kgo.StringRecord(`{"op":"r"}`)}
	for i := range n {
		records = append(records, kgo.StringRecord(fmt.Sprintf(`{"after":{"n":%d},"op":"c"}`, i)))
	}
	for _, name := range more {
		records = append(records, &kgo.Record{Topic: name, Value: []byte(`{"op":"r"}`)})
	}
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return address, kadm.NewClient(client)
}

func committed(t *testing.T, admin *kadm.Client, group, topic string) int64 {
	t.Helper()
	offsets, err := admin.FetchOffsets(t.Context(), group)
	if errors.Is(err, kerr.GroupIDNotFound) {
		return -1
	}
	if err != nil {
		t.Fatal(err)
	}
	o, ok := offsets.Lookup(topic, 0)
	if !ok {
		return -1
	}
	return o.At
}

func TestConsumerCommitsWhatItHandled(t *testing.T) {
	address, admin := broker(t, "t", 100)
	_, end := startChild(t, kindConsumer, "-brokers", address, "-group", "steady", "-topics", "t")
	waitFor(t, "the last offset to be committed", func() bool { return committed(t, admin, "steady", "t") == 101 })
	end()
	groups, err := admin.DescribeGroups(t.Context(), "steady")
	if err != nil || groups["steady"].State != "Empty" {
		t.Errorf("after the end: %+v, %v", groups, err)
	}
}

func TestSlowConsumerTakesItsTimeForNewRows(t *testing.T) {
	const rows = 60
	address, admin := broker(t, "t", rows)
	tell, end := startChild(t, kindConsumer, "-brokers", address, "-group", "slow", "-topics", "t", "-slow")
	tell(command{Do: "set", Rate: 0.001})
	waitFor(t, "the snapshot's row and a new one", func() bool { return committed(t, admin, "slow", "t") >= 1 })
	handled := tell(command{Do: "stats"}).Done
	if handled >= rows {
		t.Errorf("%d handled at once", handled)
	}
	end() // in the middle of its wait
	if at := committed(t, admin, "slow", "t"); at < handled || at > rows {
		t.Errorf("committed %d, handled %d", at, handled)
	}
	tell, _ = startChild(t, kindConsumer, "-brokers", address, "-group", "slow", "-topics", "t", "-slow")
	tell(command{Do: "set", Rate: 10_000})
	waitFor(t, "the rest at full speed", func() bool { return committed(t, admin, "slow", "t") == rows+1 })
}

func TestRestingConsumerLeavesItsGroup(t *testing.T) {
	address, admin := broker(t, "t", 10)
	startChild(t, kindConsumer, "-brokers", address, "-group", "resting", "-topics", "t", "-works", "3s", "-rests", "1h")
	waitFor(t, "its work", func() bool { return committed(t, admin, "resting", "t") == 11 })
	waitFor(t, "its rest", func() bool {
		groups, err := admin.DescribeGroups(t.Context(), "resting")
		return err == nil && groups["resting"].State == "Empty"
	})
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pace
		began := time.Now()
		for range 50 {
			if !p.wait(t.Context(), 10) {
				t.Fatal("no turn")
			}
		}
		if took := time.Since(began); took != 4900*time.Millisecond {
			t.Errorf("50 turns at 10 a second took %v", took)
		}
		time.Sleep(time.Minute) // what was missed is not made up for
		began = time.Now()
		for range 11 {
			p.wait(t.Context(), 10)
		}
		if took := time.Since(began); took < 900*time.Millisecond {
			t.Errorf("after a minute's rest 11 turns took %v", took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if p.wait(ctx, 0.001) {
			t.Error("a turn after the end")
		}
	})
}

func TestChores(t *testing.T) {
	var c chores
	at := time.Unix(0, 0)
	done := 0
	for range 1200 { // two minutes, ten looks a second
		if c.due(at) != nil {
			done++
		}
		at = at.Add(100 * time.Millisecond)
	}
	want := 0
	for _, l := range choreList {
		want += 1 + int((2*time.Minute-l.first-1)/l.every)
	}
	if done < want-2 || done > want {
		t.Errorf("%d chores in two minutes, want about %d", done, want)
	}
}

func TestEndpoint(t *testing.T) {
	server := httptest.NewServer(newEndpoint(testLogger(t), 1))
	defer server.Close()
	post := func(key, body string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/events", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if key != "" {
			r.Header.Set("Idempotency-Key", key)
		}
		resp, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return resp
	}
	stats := func() (s EndpointStats) {
		resp, err := server.Client().Get(server.URL + "/stats")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, c := range []struct {
		body string
		want int
	}{
		{"no JSON", http.StatusBadRequest},
		{`{"currency":"???"}`, http.StatusUnprocessableEntity},
		{`{"value":{"payload":{"currency":"???"}}}`, http.StatusUnprocessableEntity},
		{`"` + strings.Repeat("x", eventLimit) + `"`, http.StatusBadRequest},
	} {
		if got := post("", c.body).StatusCode; got != c.want {
			t.Errorf("%.40s: %d, want %d", c.body, got, c.want)
		}
	}
	if s := stats(); s.Refused != 4 || s.Accepted != 0 {
		t.Errorf("%+v", s)
	}

	// A sender that comes again until it is taken, under one key an event: each counts once, whatever went wrong between.
	const events = 500
	answers := map[int]int{}
	for i := range events {
		for {
			r := post(fmt.Sprint("k", i), `{"currency":"EUR"}`)
			answers[r.StatusCode]++
			if r.StatusCode == http.StatusAccepted {
				break
			}
			if r.StatusCode == http.StatusTooManyRequests && r.Header.Get("Retry-After") != "1" {
				t.Error("429 does not say when to come again")
			}
		}
	}
	s := stats()
	if s.Accepted != events || s.Keyless != 0 {
		t.Errorf("%+v", s)
	}
	if answers[http.StatusTooManyRequests] == 0 || answers[http.StatusInternalServerError] == 0 || s.Duplicates == 0 {
		t.Errorf("the endpoint never was busy, never failed, or never failed after the effect: %v %+v", answers, s)
	}
	before := s.Accepted
	for post("", `{}`).StatusCode != http.StatusAccepted {
	}
	if s = stats(); s.Keyless == 0 || s.Accepted == before {
		t.Errorf("%+v", s)
	}
}

func TestEndpointForgetsTheOldestKey(t *testing.T) {
	e := &endpoint{keys: map[string]struct{}{}}
	for i := range keysRemembered + 2 {
		e.accept(fmt.Sprint(i))
	}
	if len(e.keys) != keysRemembered {
		t.Errorf("%d keys are remembered", len(e.keys))
	}
	e.accept("0")
	e.accept(fmt.Sprint(keysRemembered + 1))
	if e.stats.Duplicates != 1 || e.stats.Accepted != keysRemembered+3 {
		t.Errorf("%+v", e.stats)
	}
}

// newTestSupervisor supervises shell commands in a folder of its own.
func newTestSupervisor(t *testing.T) *supervisor {
	s := newSupervisor(t.TempDir(), testLogger(t))
	t.Cleanup(func() {
		s.stop(context.Background(), func(*process) bool { return true })
		s.close()
	})
	return s
}

// program is a talking process that is no child of the demo's.
func program(name string, args ...string) spec {
	return spec{name: name, talks: true, command: func() (*exec.Cmd, func(), error) {
		cmd := exec.Command(args[0], args[1:]...)
		attributes(cmd, nil, sigKill)
		return cmd, func() {}, nil
	}}
}

func TestSupervisorRestartsAndRecords(t *testing.T) {
	s := newTestSupervisor(t)
	p, err := s.start(program("sleeper", "sleep", "1000"))
	if err != nil {
		t.Fatal(err)
	}
	var first recordFile
	read := func() (f recordFile) {
		b, err := os.ReadFile(s.recordPath())
		if err != nil || json.Unmarshal(b, &f) != nil {
			t.Fatal(string(b), err)
		}
		return f
	}
	if first = read(); len(first.Children) != 1 || first.Children[0].Identity != identity(first.Children[0].PID) {
		t.Fatalf("%+v", first)
	}
	if err := p.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "another start", func() bool {
		f := read()
		return p.restartCount() == 1 && len(f.Children) == 1 && f.Children[0] != first.Children[0]
	})

	// It hears nothing, not even the end of its input: it is killed after its time.
	p.grace = 50 * time.Millisecond
	pid := read().Children[0].PID
	s.stop(t.Context(), func(*process) bool { return true })
	if identity(pid) != "" || len(read().Children) != 0 {
		t.Errorf("left: %q, %+v", identity(pid), read())
	}
}

func TestSupervisorSaysWhenNothingCanBeStarted(t *testing.T) {
	s := newTestSupervisor(t)
	_, err := s.start(spec{name: "ghost", command: func() (*exec.Cmd, func(), error) {
		return exec.Command(filepath.Join(t.TempDir(), "missing")), func() {}, nil
	}})
	if !fault.Is(err, fault.Unavailable) {
		t.Error(err)
	}
}

func TestCallOfAStoppedProcessEnds(t *testing.T) {
	s := newTestSupervisor(t)
	p, err := s.start(program("parrot", "sh", "-c", `echo '{"id":0}'; n=0; while read line; do n=$((n+1)); echo '{"id":'$n',"done":7}'; done`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.waitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r, err := p.call(t.Context(), command{Do: "stats"}); err != nil || r.Done != 7 {
		t.Errorf("%+v, %v", r, err)
	}
	if err := p.signal(sigStop); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.call(ctx, command{Do: "stats"}); !fault.Is(err, fault.Timeout) {
		t.Errorf("%v", err)
	}
	if err := p.signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// TestLeftoversAreEndedByIdentity ends what is recorded and still is what it was, and nothing else.
func TestLeftoversAreEndedByIdentity(t *testing.T) {
	sleeper := func() *exec.Cmd {
		cmd := exec.Command("sleep", "1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	left, other := sleeper(), sleeper()
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	gone := make(chan error, 1)
	go func() { gone <- left.Wait() }()
	if err := left.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}

	s := newTestSupervisor(t)
	record := recordFile{V: 1, Children: []recorded{
		{"left", left.Process.Pid, identity(left.Process.Pid)},
		{"reused", other.Process.Pid, strings.Replace(identity(other.Process.Pid), "sleep", "freshet", 1)},
		{"dead", 1 << 22, "boot 1 freshet"},
		{"unknown", other.Process.Pid, ""},
	}}
	if err := writeFile(s.recordPath(), record); err != nil {
		t.Fatal(err)
	}
	if err := s.endLeftovers(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-gone
	if identity(other.Process.Pid) == "" {
		t.Error("somebody else's process was ended")
	}
}

func TestBinaries(t *testing.T) {
	all := []binaries{{"/a", 13, ""}, {"/b", 15, ""}, {"/c", 17, ""}}
	for major, want := range map[int]string{0: "/c", 15: "/b"} {
		if b, err := findBinaries(t.Context(), all, major, testLogger(t)); err != nil || b.dir != want {
			t.Errorf("for data of %d: %+v, %v", major, b, err)
		}
	}
	if _, err := findBinaries(t.Context(), all, 16, testLogger(t)); !fault.Is(err, fault.Blocked) {
		t.Errorf("data of a version that is gone: %v", err)
	}
	archive := filepath.Join(t.TempDir(), archivePrefix+"linux-amd64-"+string(fetchedBuild)+".txz")
	if err := os.WriteFile(archive, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := verifyArchive(archive); err == nil || !strings.Contains(err.Error(), archiveSums["linux-amd64"]) {
		t.Errorf("a changed archive: %v", err)
	}
	if err := verifyArchive(strings.Replace(archive, "linux-amd64", "plan9-mips", 1)); err == nil {
		t.Error("an archive without a pinned sum passed")
	}
}

// TestFetchedBinaries fetches the pinned build, as on a machine without PostgreSQL, and starts a World on it.
func TestFetchedBinaries(t *testing.T) {
	if os.Getenv("FRESHET_PROOF") == "" {
		t.Skip("make proof fetches it")
	}
	t.Cleanup(http.DefaultClient.CloseIdleConnections) // which the library fetched with
	w := newWorld(t, t.TempDir())
	w.installed = func(context.Context) []binaries { return nil }
	if err := w.StartPostgres(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v := query[string](t, w.ShopDSN(), "SHOW server_version"); !strings.HasPrefix(v, fmt.Sprint(fetchedMajor)) {
		t.Errorf("PostgreSQL %s", v)
	}
}

func TestURLPath(t *testing.T) {
	if got := urlPath("/a b/c+d&e=f?ü"); got != "/a%20b/c%2Bd%26e%3Df%3F%C3%BC" {
		t.Error(got)
	}
}

func FuzzEndpoint(f *testing.F) {
	f.Add([]byte(`{"value":{"payload":{"currency":"EUR"}}}`))
	f.Add([]byte(`[[[[`))
	handler := newEndpoint(testLogger(f), 1)
	f.Fuzz(func(t *testing.T, body []byte) {
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/events", bytes.NewReader(body)))
		if rec.Code == http.StatusAccepted && !json.Valid(body) {
			t.Errorf("accepted %q", body)
		}
	})
}
