package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"freshet/backend/api"
)

// deskTop is a desktop that answers as the test wants, and notes what it was asked.
type deskTop struct {
	file            string
	err             error
	names, copied   []string
	notices, placed []string
}

func (d *deskTop) desk() desk {
	return desk{
		save:   func(name string) (string, error) { d.names = append(d.names, name); return d.file, d.err },
		copy:   func(text string) error { d.copied = append(d.copied, text); return d.err },
		notify: func(title, body string) error { d.notices = append(d.notices, title+" | "+body); return d.err },
		show:   func(hash string) { d.placed = append(d.placed, hash) },
	}
}

// shown is a window whose start has ended, before an API that answers by path.
func shown(t *testing.T, d *deskTop) (*window, http.Handler) {
	t.Helper()
	w := newWindow(t.TempDir(), "", slog.New(slog.DiscardHandler), d.desk())
	w.handler = w.withDesk(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/whole":
			fmt.Fprintf(rw, "whole %s", r.URL.RawQuery)
		case "/api/broken":
			fmt.Fprint(rw, "half")
			panic(http.ErrAbortHandler)
		case "/api/nothing":
			rw.WriteHeader(http.StatusNoContent)
		default:
			api.WriteError(rw, errors.New("no such thing"))
		}
	}))
	close(w.ready)
	return w, w.middleware(http.NotFoundHandler())
}

func request(h http.Handler, method, path, body string) (int, map[string]any) {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if method != http.MethodGet {
		r.Header.Set("X-Freshet", "1")
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	var out map[string]any
	_ = json.Unmarshal(rec.Body.Bytes(), &out)
	return rec.Code, out
}

func TestWindowSaves(t *testing.T) {
	d := &deskTop{}
	_, h := shown(t, d)
	folder := t.TempDir()
	d.file = filepath.Join(folder, "out.jsonl")
	left := func(want ...string) {
		t.Helper()
		var names []string
		entries, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if !slices.Equal(names, want) {
			t.Errorf("the folder holds %q, not %q", names, want)
		}
	}
	save := func(path string) (int, map[string]any) {
		return request(h, "POST", "/api/window/save", fmt.Sprintf(`{"path":%q,"query":"a=1","name":"export.jsonl"}`, path))
	}

	for _, path := range []string{"/api/broken", "/api/nothing", "/api/gone"} {
		if code, out := save(path); code < 400 || out["kind"] != "error" {
			t.Errorf("%s: %d %v", path, code, out)
		}
		left()
	}
	code, out := save("/api/whole")
	if code != 200 || out["kind"] != "window.saved" || out["file"] != d.file || out["bytes"] != "9" {
		t.Errorf("%d %v", code, out)
	}
	if b, err := os.ReadFile(d.file); err != nil || string(b) != "whole a=1" {
		t.Errorf("%q %v", b, err)
	}
	// A failure leaves what was there.
	if code, _ := save("/api/broken"); code < 400 {
		t.Error(code)
	}
	if b, _ := os.ReadFile(d.file); string(b) != "whole a=1" {
		t.Errorf("%q", b)
	}
	left("out.jsonl")
	d.file = filepath.Join(folder, "none", "out.jsonl")
	if code, out := save("/api/whole"); code != 503 || out["hint"] == "" {
		t.Errorf("%d %v", code, out)
	}
	d.file = ""
	if code, out := save("/api/whole"); code != 200 || out["cancelled"] != true || out["file"] != nil {
		t.Errorf("%d %v", code, out)
	}
	if d.names[0] != "export.jsonl" {
		t.Errorf("proposed %q", d.names)
	}

	asked := len(d.names)
	for _, body := range []string{
		`{"path":"/assets/x","name":"a"}`, `{"path":"/api/../x","name":"a"}`, `{"path":"/api/x/","name":"a"}`, `{"path":"http://example.org/api/","name":"a"}`,
		`{"path":"/api/x","name":""}`, `{"path":"/api/x","name":"../a"}`, `{"path":"/api/x","name":"a\u202eb"}`, `{"path":"/api/x","name":"a","more":1}`, `[]`,
	} {
		if code, out := request(h, "POST", "/api/window/save", body); code != 422 || out["kind"] != "error" {
			t.Errorf("%s: %d %v", body, code, out)
		}
	}
	if len(d.names) != asked {
		t.Error("a person was asked about a request that is none")
	}
}

// A second dialog would take the first one's answer.
func TestWindowHasOneDialog(t *testing.T) {
	d := &deskTop{}
	w, h := shown(t, d)
	open, answer := make(chan struct{}), make(chan struct{})
	w.desk.save = func(string) (string, error) { close(open); <-answer; return "", nil }
	done := make(chan struct{})
	const body = `{"path":"/api/whole","name":"a"}`
	go func() { defer close(done); request(h, "POST", "/api/window/save", body) }()
	<-open
	if code, out := request(h, "POST", "/api/window/save", body); code != 409 {
		t.Errorf("%d %v", code, out)
	}
	close(answer)
	<-done
}

func TestWindowOnTheDesktop(t *testing.T) {
	d := &deskTop{}
	w, h := shown(t, d)
	if code, out := request(h, "GET", "/api/window", ""); code != 200 || out["notifications"] != true || out["v"] != 1.0 {
		t.Errorf("%d %v", code, out)
	}
	request(h, "POST", "/api/window/clipboard", `{"text":"9007199254740993"}`)
	if code, _ := request(h, "POST", "/api/window/clipboard", `{"text":"a\u0000b"}`); code != 422 || !slices.Equal(d.copied, []string{"9007199254740993"}) {
		t.Errorf("%d %q", code, d.copied)
	}
	request(h, "POST", "/api/window/notify", `{"title":"late\u001b[31m","body":"<b>&"}`)
	if want := "late\ufffd[31m | &lt;b&gt;&amp;"; len(d.notices) != 1 || d.notices[0] != want {
		t.Errorf("%q", d.notices)
	}
	d.err = errors.New("no daemon")
	if code, out := request(h, "POST", "/api/window/notify", `{"title":"late"}`); code != 503 || out["kind"] != "error" {
		t.Errorf("%d %v", code, out)
	}
	w.desk.notify = nil
	if code, _ := request(h, "POST", "/api/window/notify", `{"title":"late"}`); code != 404 {
		t.Error(code)
	}

	// What another site sends is no change of ours, wherever it goes.
	for _, path := range []string{"/api/window/clipboard", "/api/window/save", "/api/anything"} {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest("POST", path, strings.NewReader(`{"text":"x"}`)))
		if rec.Code != http.StatusForbidden {
			t.Errorf("%s: %d", path, rec.Code)
		}
	}
}

// What stands in the window before the page does: text that is legible, of the status that the framework passes on.
func TestWindowBetween(t *testing.T) {
	w := newWindow(t.TempDir(), "#/topics/a?q=\"><script>", slog.New(slog.DiscardHandler), (&deskTop{}).desk())
	h := w.middleware(http.NotFoundHandler())
	page := func() string {
		t.Helper()
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
		if rec.Code != 200 || rec.Header().Get("Content-Security-Policy") == "" {
			t.Errorf("%d %v", rec.Code, rec.Header())
		}
		return rec.Body.String()
	}
	if got := page(); !strings.Contains(got, "starting") || !strings.Contains(got, `content="0"`) {
		t.Error(got)
	}
	if code, out := request(h, "GET", "/api/map", ""); code != 503 || out["kind"] != "error" {
		t.Errorf("%d %v", code, out)
	}
	w.handler = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, "the page") })
	close(w.ready)
	if got := page(); !strings.Contains(got, `content="0;url=/#/topics/a?q=&#34;&gt;&lt;script&gt;"`) {
		t.Error(got)
	}
	if got := page(); got != "the page" {
		t.Error(got)
	}
}

// A start that fails says why in the window, and ends with it.
func TestWindowThatDoesNotStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "<i>file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWindow(file, "#/x", slog.New(slog.DiscardHandler), (&deskTop{}).desk())
	w.start(t.Context())
	w.stop()
	rec := httptest.NewRecorder()
	w.middleware(http.NotFoundHandler()).ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	if got := rec.Body.String(); w.err == nil || !strings.Contains(got, "did not start") || !strings.Contains(got, "&lt;i&gt;file") || strings.Contains(got, "refresh") {
		t.Errorf("%v: %s", w.err, got)
	}
}

func TestWindowHandsOn(t *testing.T) {
	dir := t.TempDir()
	if handOn(dir, "") {
		t.Fatal("a window is found where there is none")
	}
	ctx, cancel := context.WithCancel(t.Context())
	d := &deskTop{}
	w := newWindow(dir, "", slog.New(slog.DiscardHandler), d.desk())
	if err := w.listen(ctx); err != nil {
		t.Fatal(err)
	}
	if !handOn(dir, "#/early") || w.hash != "#/early" {
		t.Errorf("%q", w.hash)
	}
	close(w.ready)
	if !handOn(dir, "#/topics/ü") || !handOn(dir, "") {
		t.Error("it does not answer")
	}
	for _, bad := range []string{"#x", "#/a\x07", "#/" + strings.Repeat("a", maxHash)} {
		if handOn(dir, bad) {
			t.Errorf("%.20q was taken", bad)
		}
	}
	cancel()
	w.parts.Wait()
	if want := []string{"", "#/topics/ü", ""}; !slices.Equal(d.placed, want) {
		t.Errorf("%q", d.placed)
	}
	if handOn(dir, "") {
		t.Error("it answers after its end")
	}
	// What a killed window leaves is in nobody's way.
	if err := os.WriteFile(filepath.Join(dir, socketFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	if err := w.listen(ctx); err != nil {
		t.Error(err)
	}
	cancel()
	w.parts.Wait()
}

func TestLinkHash(t *testing.T) {
	for link, want := range map[string]string{
		"freshet://open":                    "",
		"freshet://open#/":                  "#/",
		"freshet://open#/topics/a%2Fb?q=1#": "#/topics/a%2Fb?q=1#",
		"freshet://elsewhere/x#/topics":     "#/topics",
	} {
		if got, err := LinkHash(link); err != nil || got != want {
			t.Errorf("%s: %q %v", link, got, err)
		}
	}
	for _, link := range []string{
		"", "#/", "http://open#/", "freshet:#/", "freshet://open#login=x", "freshet://open#", "freshet://open#/a\nb", "freshet://open#/\xff", "freshet://open#/" + strings.Repeat("a", maxHash),
	} {
		if got, err := LinkHash(link); err == nil {
			t.Errorf("%.30q: %q", link, got)
		}
	}
}

func TestPlace(t *testing.T) {
	dir := t.TempDir()
	if p, ok := lastPlace(dir); ok || p.Width != 1440 {
		t.Errorf("%v %v", p, ok)
	}
	p := place{X: 10, Y: 20, Width: 1000, Height: 700, Maximised: true}
	if err := p.keep(dir); err != nil {
		t.Fatal(err)
	}
	p.V = 1
	if got, ok := lastPlace(dir); !ok || got != p {
		t.Errorf("%v %v", got, ok)
	}
	for _, c := range []struct {
		x, y, width, height int
		size, corner        bool
	}{{10, 20, 1440, 900, true, true}, {10, 20, 1000, 700, true, false}, {-1, 20, 1440, 900, true, false}, {10, 20, 999, 900, false, false}} {
		p.X, p.Y = c.x, c.y
		if size, corner := p.on(c.width, c.height); size != c.size || corner != c.corner {
			t.Errorf("%+v: %v %v", c, size, corner)
		}
	}
	for _, bad := range []string{"", "{}", `{"v":2,"width":1000,"height":700}`, `{"v":1,"width":1,"height":700}`} {
		if err := os.WriteFile(filepath.Join(dir, placeFile), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, ok := lastPlace(dir); ok {
			t.Errorf("%q is taken for a place", bad)
		}
	}
}

func TestBreaches(t *testing.T) {
	path := func(name, state string) api.Path { return api.Path{Path: name, State: state} }
	var b breaches
	for i, round := range []struct {
		paths []api.Path
		want  string
	}{
		{[]api.Path{path("a", "late"), path("b", "unknown"), path("c", "on_time")}, ""}, // the first look
		{[]api.Path{path("a", "dead"), path("b", "late"), path("c", "at_risk")}, "b"},
		{[]api.Path{path("a", "late"), path("b", "late"), path("c", "late")}, "c"},
		{nil, ""}, // an instance that starts anew
		{[]api.Path{path("a", "unknown"), path("b", "at_risk"), path("c", "on_time")}, ""},
		{[]api.Path{path("a", "late"), path("b", "late"), path("c", "late")}, "c"},
		{[]api.Path{path("a", "idle"), path("b", "paused"), path("c", "late")}, ""},
		{[]api.Path{path("a", "late"), path("b", "dead"), {Cluster: "other", Path: "c", State: "late"}}, "a b c"},
	} {
		var names []string
		for _, p := range b.look(round.paths) {
			names = append(names, p.Path)
		}
		if got := strings.Join(names, " "); got != round.want {
			t.Errorf("round %d: %q, not %q", i, got, round.want)
		}
	}
}

func TestBreachSentence(t *testing.T) {
	f := func(v float64) *float64 { return &v }
	late := api.Path{Path: "orders → warehouse", Total: api.Reading{Value: f(42.4)}, Objective: f(15)}
	for _, c := range []struct {
		paths       []api.Path
		title, body string
	}{
		{nil, "", ""},
		{[]api.Path{late}, "orders → warehouse is 42 s behind", "It is to be at most 15 s behind."},
		{[]api.Path{{Path: "a", Total: api.Reading{Low: f(300)}}, late, late}, "a is at least 5 min behind, and 2 more", ""},
		{[]api.Path{{Path: strings.Repeat("🐘", 90)}}, strings.Repeat("🐘", 79) + "… is late", ""},
	} {
		title, body := sentence(c.paths)
		if title != c.title || body != c.body {
			t.Errorf("%q %q", title, body)
		}
		if len(title) > maxTitle {
			t.Errorf("%q is too long", title)
		}
	}
}

// The watch asks as the page does, through whatever the window shows.
func TestWindowNotifies(t *testing.T) {
	w, _ := shown(t, &deskTop{})
	asked := make(chan string, 1)
	w.handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		_ = json.NewEncoder(rw).Encode(api.Map{Paths: []api.Path{{Path: "a", State: "late"}}})
	})
	if paths, err := w.paths(t.Context()); err != nil || len(paths) != 1 || paths[0].Path != "a" || <-asked != "/api/map" {
		t.Errorf("%v %v", paths, err)
	}
	w.handler = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { api.WriteError(rw, errors.New("away")) })
	if _, err := w.paths(t.Context()); err == nil {
		t.Error("an instance that is away is taken for one where nothing is late")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	cancel()
	w.watch(ctx) // ends
}
