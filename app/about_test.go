package app

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"freshet/app/config"
	"freshet/backend/api"
	"freshet/backend/testkit"
)

func (r *running) produce(topic, key, value string) {
	r.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.broker.Addr()))
	if err != nil {
		r.t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(r.t.Context(), &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(value)}).FirstErr(); err != nil {
		r.t.Fatal(err)
	}
}

// The bundle for a bug report holds no secret and nothing of a record, wherever they have got into.
func TestDiagnosticsHoldNoSecretsAndNoRecords(t *testing.T) {
	const password, value = "planted-pass-4711", "planted-value-4712"
	pg := testkit.Postgres(t, 15)
	target := pg.CreateDatabase("copy")
	pg.Exec("copy", "CREATE TABLE t (id integer PRIMARY KEY)")
	r := start(t, t.TempDir())
	r.must("POST", "/clusters", api.ClusterSpec{Name: "far", Brokers: []string{"127.0.0.1:1"}, SASL: "plain", User: "me", Password: password}, nil)
	r.must("POST", "/topics", api.TopicSpec{Topic: "bad.public.t", Partitions: 1}, nil)
	with := "?"
	if strings.Contains(target, "?") {
		with = "&"
	}
	r.must("POST", "/sinks", api.SinkSpec{Name: "copy", Type: "postgres", DSN: target + with + "password=" + password, Topics: []string{"bad.public.*"}}, nil)
	r.produce("bad.public.t", `{"id":1}`, `{"before":null,"after":{"id":1},"source":{"schema":"public","table":"t"},"op":"c","ts_ms":1}`)
	r.produce("bad.public.t", `{"id":"`+value+`"}`, `{"before":null,"after":{"id":"`+value+`"},"source":{"schema":"public","table":"t"},"op":"c","ts_ms":1}`)
	r.eventually("the record is set aside", func() bool {
		var sinks api.List[api.Sink]
		r.must("GET", "/sinks", nil, &sinks)
		return sinks.Items[0].Parked == "1"
	})
	r.log.Warn("planted", "dsn", "postgres://me:"+password+"@db/x", "err", errors.New(`invalid input: "`+value+`", Key (id)=(`+value+`)`))
	r.log.With("dsn", "postgres://me:"+password+"@db/x").WithGroup("g").Error(`refused "`+value+`"`, "password", password)

	var raw []byte
	if status := r.ask("GET", "/diagnostics", nil, &raw); status != http.StatusOK {
		t.Fatalf("%d %s", status, raw)
	}
	z, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range z.File {
		c, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name] = string(b)
		for _, planted := range []string{password, value} {
			if i := bytes.Index(b, []byte(planted)); i >= 0 {
				t.Errorf("%s holds %s: …%s", f.Name, planted, b[max(0, i-100):min(len(b), i+100)])
			}
		}
	}
	for name, want := range map[string]string{
		"README.txt": "What is not: passwords", "instance.json": r.o.DataDir, "status.json": "sink copy", "probes.json": "lag/embedded", "map.json": "sink:copy",
		"config.json": "bad.public.*", "log.txt": "msg=planted", "goroutines.txt": "goroutines",
	} {
		if !strings.Contains(files[name], want) {
			t.Errorf("%s does not tell %q:\n%.2000s", name, want, files[name])
		}
	}
}

func TestInstanceTellsOfItself(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "team.yaml")
	if err := os.WriteFile(file, []byte("objectives: [{table: public.orders, to: 'sink:*', within: 5s}]\nowners: [{name: Shop, of: ['shop.*']}]\nhistory: {days: 3, bytes: 1000000}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, dir, func(o *Options) { o.Config = c })
	var a api.About
	r.must("GET", "/instance", nil, &a)
	if a.DataDir != dir || a.URL != r.url || !a.OnlyHere || a.ConfigFile != file || a.Profile.Kind != "local" {
		t.Errorf("%+v", a)
	}
	if started, err := time.Parse(time.RFC3339Nano, a.Started); err != nil || time.Since(started) > time.Hour {
		t.Errorf("started %s: %v", a.Started, err)
	}
	if !a.Person.Local || len(a.Person.Acts) == 0 || a.Secrets.Where == "" || a.History != (api.Kept{Days: 3, Bytes: "1000000"}) {
		t.Errorf("%+v", a)
	}
	if len(a.Objectives) != 2 || a.Objectives[0].Seconds != 5 || a.Objectives[0].Source != "config" || a.Objectives[1].Source != "default" || len(a.Owners) != 1 || a.Owners[0].Source != "config" {
		t.Errorf("%+v %+v", a.Objectives, a.Owners)
	}
	sizes := map[string]api.Reading{}
	for _, d := range a.Disk {
		sizes[d.Part] = d.Bytes
	}
	for _, part := range []string{"freshet.db", "ledger.db", "other"} {
		if b := sizes[part]; b.State != "exact" || b.Value == nil || *b.Value < 1000 {
			t.Errorf("%s takes %+v", part, b)
		}
	}
}

// What cannot be walked is said, and never counted as nothing.
func TestDiskUseIsBounded(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "broker"), 0o700); err != nil {
		t.Fatal(err)
	}
	for n := range 10 {
		if err := os.WriteFile(filepath.Join(dir, "broker", fmt.Sprint(n)), make([]byte, 100), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	left := 4
	var sum diskSum
	sum.add(t.Context(), filepath.Join(dir, "broker"), &left)
	if got := api.FromReading(sum.reading()); got.State != "bounded" || *got.Low != 400 || got.High != nil || got.Why == "" {
		t.Errorf("%+v", got)
	}
	all, err := diskUse(t.Context(), dir)
	if err != nil || len(all) != 1 || all[0].Part != "broker" || *all[0].Bytes.Value != 1000 || all[0].Bytes.State != "exact" {
		t.Errorf("%+v %v", all, err)
	}
}

func TestSavedViews(t *testing.T) {
	r := start(t, t.TempDir())
	list := func() (l api.List[api.View]) {
		t.Helper()
		r.must("GET", "/views", nil, &l)
		return l
	}
	if l := list(); l.Items == nil || len(l.Items) != 0 {
		t.Errorf("%+v", l)
	}
	odd := "late/ÄÖ #1 <b>"
	r.must("POST", "/views", map[string]string{"name": odd, "hash": "#/map?late=1"}, nil)
	r.must("POST", "/views", map[string]string{"name": odd, "hash": "#/map?late=2"}, nil)
	if l := list(); len(l.Items) != 1 || l.Items[0].Hash != "#/map?late=2" || l.Items[0].Saved == "" || l.Items[0].Name != odd {
		t.Errorf("%+v", l)
	}
	for what, v := range map[string]map[string]string{
		"elsewhere": {"name": "x", "hash": "https://elsewhere.example/#/map"}, "no name": {"name": "", "hash": "#/map"}, "long": {"name": "x", "hash": "#/" + strings.Repeat("x", 4000)},
		"a secret": {"name": "x", "hash": "#/topics?filter=password=hunter2hunter2"},
	} {
		if status := r.ask("POST", "/views", v, nil); status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d", what, status)
		}
	}
	for n := len(list().Items); n < maxViews; n++ {
		r.must("POST", "/views", map[string]string{"name": fmt.Sprint("v", n), "hash": "#/map"}, nil)
	}
	if status := r.ask("POST", "/views", map[string]string{"name": "one more", "hash": "#/map"}, nil); status != http.StatusConflict {
		t.Errorf("beyond the bound: %d", status)
	}
	r.must("POST", "/views", map[string]string{"name": odd, "hash": "#/groups"}, nil)
	r.must("DELETE", "/views/late%2F%C3%84%C3%96%20%231%20%3Cb%3E", nil, nil)
	if status := r.ask("DELETE", "/views/nothing", nil, nil); status != http.StatusNotFound {
		t.Errorf("removing nothing: %d", status)
	}
	if l := list(); len(l.Items) != maxViews-1 {
		t.Errorf("%d are left", len(l.Items))
	}
}
