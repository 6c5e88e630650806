package app

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"freshet/app/config"
	"freshet/backend/api"
)

// running is a started App that the test asks over HTTP, as the command line does.
type running struct {
	*App
	t *testing.T
}

func start(t *testing.T, dir string, change ...func(*Options)) *running {
	t.Helper()
	o := Options{DataDir: dir, Listen: "127.0.0.1:0", Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	for _, f := range change {
		f(&o)
	}
	a, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{a, t}
	t.Cleanup(r.stop)
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *running) stop() {
	r.t.Helper()
	if err := r.Stop(); err != nil {
		r.t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}

// ask returns the status; the answer goes to out.
func (r *running) ask(method, path string, in, out any) int {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	body, err := json.Marshal(in)
	if err != nil {
		r.t.Fatal(err)
	}
	if in == nil {
		body = nil
	}
	req, err := http.NewRequestWithContext(ctx, method, r.url+"/api"+path, bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("X-Freshet", "1")
	req.Header.Set("Authorization", "Bearer "+r.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		r.t.Fatal(err)
	}
	if raw, ok := out.(*[]byte); ok {
		*raw = b.Bytes()
	} else if out != nil {
		if err := json.Unmarshal(b.Bytes(), out); err != nil {
			r.t.Fatalf("%s %s: %v\n%s", method, path, err, b.Bytes())
		}
	}
	return resp.StatusCode
}

func (r *running) must(method, path string, in, out any) {
	r.t.Helper()
	var raw []byte
	if status := r.ask(method, path, in, &raw); status != http.StatusOK {
		r.t.Fatalf("%s %s: %d %s", method, path, status, raw)
	}
	if out != nil {
		if err := json.Unmarshal(raw, out); err != nil {
			r.t.Fatalf("%s %s: %v\n%s", method, path, err, raw)
		}
	}
}

func (r *running) eventually(what string, ok func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("not within two minutes: %s", what)
		}
	}
}

func (r *running) demoState() (s api.DemoState) {
	r.t.Helper()
	r.must("GET", "/demo", nil, &s)
	return s
}

// worldDir is a data directory that the demo's database can be walked to, as whatever user it runs.
func worldDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "freshet-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "data")
}

// A fresh instance becomes the demo on request, and goes on as one at its next start.
func TestDemoStartsLater(t *testing.T) {
	dir := worldDir(t)
	r := start(t, dir)
	if s := r.demoState(); s.State != demoNone || !s.MayStart || s.WhyNot != "" {
		t.Fatalf("a fresh instance says %+v", s)
	}
	if status := r.ask("GET", "/demo/faults", nil, nil); status != http.StatusNotFound {
		t.Errorf("faults of no demo: %d", status)
	}
	var receipt api.Receipt
	r.must("POST", "/demo/start", nil, &receipt)
	if receipt.State != demoStarting || receipt.Audit.Seq == "" {
		t.Errorf("%+v", receipt)
	}
	if status := r.ask("POST", "/demo/start", nil, nil); status != http.StatusConflict {
		t.Errorf("a second start: %d", status)
	}
	said := map[string]bool{}
	r.eventually("the demo runs", func() bool {
		var parts api.List[api.Part]
		r.must("GET", "/status", nil, &parts)
		for _, p := range parts.Items {
			if p.Part == "demo" && p.State == "starting" {
				said[p.Detail] = true
			}
		}
		s := r.demoState()
		if s.State == demoFailed {
			t.Fatalf("%+v", s)
		}
		return s.State == demoRunning
	})
	if !said["starting a private PostgreSQL"] || !said["capturing the shop"] {
		t.Errorf("the start told %v", said)
	}
	living := func() {
		t.Helper()
		var faults api.List[api.Fault]
		r.must("GET", "/demo/faults", nil, &faults)
		if len(faults.Items) == 0 {
			t.Error("no faults to try")
		}
		r.eventually("the shop's orders reach the warehouse", func() bool {
			var sink struct{ Item api.Sink }
			r.must("GET", "/sinks/warehouse", nil, &sink)
			return slices.ContainsFunc(sink.Item.Partitions, func(p api.SinkPartition) bool {
				return p.Topic == "shop.public.orders" && p.Next != "" && p.Next != "0"
			})
		})
		var m api.Map
		if r.must("GET", "/map", nil, &m); m.Profile.Name != "demo" {
			t.Errorf("the profile is %+v", m.Profile)
		}
	}
	living()
	var past api.FreshHistory
	r.eventually("the path has a history", func() bool {
		status := r.ask("GET", "/freshness/history?days=1&slices=24&path="+url.QueryEscape("orders → warehouse"), nil, &past)
		return status == http.StatusOK && past.Inside != nil
	})
	if n := len(past.Slices); n != 24 || past.Slices[0].State != "unknown" || past.Slices[23].State == "unknown" || past.Slices[23].Worst == nil || past.Objective == nil || past.Known > 0.1 {
		t.Errorf("%+v", past)
	}
	var notes api.List[api.AuditEntry]
	r.must("GET", "/audit?action=demo.start", nil, &notes)
	if len(notes.Items) == 0 || !bytes.Contains(notes.Items[0].Detail, []byte(demoRunning)) {
		t.Errorf("the history tells %+v", notes.Items)
	}
	run, err := ReadRun(dir)
	if err != nil || run.Postgres == "" || len(run.Children) == 0 {
		r.eventually("run.json tells of the database", func() bool { run, err = ReadRun(dir); return err == nil && run.Postgres != "" })
	}
	r.stop()

	r = start(t, dir)
	if s := r.demoState(); s.State != demoRunning || s.MayStart {
		t.Fatalf("the next start says %+v", s)
	}
	living()
	r.stop()
	if err := Reset(dir); err != nil {
		t.Error(err)
	}
}

// The instance ends in good order wherever the demo's start has got.
func TestStopWhileDemoStarts(t *testing.T) {
	for _, at := range []string{"beginning", "starting a private PostgreSQL", "capturing the shop", "opening the shop"} {
		t.Run(at, func(t *testing.T) {
			r := start(t, worldDir(t))
			r.must("POST", "/demo/start", nil, nil)
			r.eventually("the start is at "+at, func() bool {
				r.demo.mu.Lock()
				defer r.demo.mu.Unlock()
				if r.demo.state == demoFailed {
					t.Fatal(r.demo.err)
				}
				return at == "beginning" || r.demo.detail == at || r.demo.state == demoRunning
			})
			r.stop()
			if _, err := r.demo.begin(); err == nil {
				t.Error("a demo begins in an instance that has ended")
			}
		})
	}
}

// A demo is kept out of an instance that has something of its own, with the reason.
func TestDemoMayNotStart(t *testing.T) {
	r := start(t, t.TempDir())
	r.must("POST", "/topics", api.TopicSpec{Topic: "mine", Partitions: 1}, nil)
	var e api.Error
	if status := r.ask("POST", "/demo/start", nil, &e); status != http.StatusConflict || e.Hint == "" {
		t.Errorf("%d %+v", status, e)
	}
	if s := r.demoState(); s.MayStart || s.WhyNot == "" || s.State != demoNone {
		t.Errorf("%+v", s)
	}
	if marked, err := isDemo(r.o.DataDir); marked || err != nil {
		t.Errorf("the directory is marked: %v %v", marked, err)
	}
	r.stop()
	r = start(t, t.TempDir(), func(o *Options) { o.Config = &config.Config{File: "team.yaml"} })
	if s := r.demoState(); s.MayStart || s.WhyNot == "" {
		t.Errorf("%+v", s)
	}
}

// A start that fails says why, and can be tried again.
func TestDemoStartFails(t *testing.T) {
	dir := worldDir(t)
	r := start(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "demo"), []byte("in the way"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.must("POST", "/demo/start", nil, nil)
	r.eventually("the start has failed", func() bool { return r.demoState().State == demoFailed })
	if s := r.demoState(); s.Detail == "" || s.Needs == "" || !s.MayStart {
		t.Errorf("%+v", s)
	}
	if err := os.Remove(filepath.Join(dir, "demo")); err != nil {
		t.Fatal(err)
	}
	r.must("POST", "/demo/start", nil, nil)
	r.eventually("the demo runs", func() bool { return r.demoState().State == demoRunning })
}
