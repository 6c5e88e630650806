package api

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"freshet/backend/auth"
)

// fakeInstance is the smallest room that answers.
type fakeInstance struct{ Instance }

func (fakeInstance) Version() Version { return Version{Head: head("version"), Version: "test"} }

func testServer(t *testing.T) (*httptest.Server, *auth.Sessions) {
	t.Helper()
	sessions := auth.NewSessions()
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("page")) })
	srv := httptest.NewUnstartedServer(nil)
	services := undone()
	services.Instance = fakeInstance{}
	guard := Guard{Hosts: Loopback(srv.Listener.Addr()), Cookie: "freshet_test", Sessions: sessions, Token: "tok", Bearer: auth.Person{ID: "local:ci", Local: true}}
	srv.Config.Handler = guard.Wrap(Handler(services, sessions, page, slog.New(slog.DiscardHandler)))
	srv.Start()
	t.Cleanup(srv.Close)
	return srv, sessions
}

func request(t *testing.T, srv *httptest.Server, method, path string, change func(*http.Request)) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, srv.URL+path, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if change != nil {
		change(req)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	_, _ = b.ReadFrom(resp.Body)
	for _, h := range []string{"Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy"} {
		if resp.StatusCode != http.StatusMisdirectedRequest && resp.Header.Get(h) == "" {
			t.Errorf("%s %s: no %s", method, path, h)
		}
	}
	return resp.StatusCode, b.String()
}

// Every operation of the API names an act that exists, and answers 401 to nobody.
func TestEveryRouteIsGated(t *testing.T) {
	srv, _ := testServer(t)
	api, _ := build(undone(), auth.NewSessions())
	n := 0
	for path, item := range api.OpenAPI().Paths {
		for method, op := range map[string]any{"GET": item.Get, "POST": item.Post, "DELETE": item.Delete} {
			if b, _ := json.Marshal(op); string(b) == "null" {
				continue
			}
			n++
			path := strings.NewReplacer("{name}", "x", "{ref}", "x", "{seq}", "1").Replace(path)
			if status, text := request(t, srv, method, path, func(r *http.Request) { r.Header.Set("X-Freshet", "1") }); status != http.StatusUnauthorized {
				t.Errorf("%s %s: %d %s to nobody", method, path, status, text)
			}
			if method != "GET" {
				if status, _ := request(t, srv, method, path, func(r *http.Request) { r.Header.Set("Authorization", "Bearer tok") }); status != http.StatusForbidden {
					t.Errorf("%s %s: %d without X-Freshet", method, path, status)
				}
			}
		}
		if item.Get != nil {
			checkAct(t, path, item.Get.Metadata)
		}
		if item.Post != nil {
			checkAct(t, path, item.Post.Metadata)
		}
		if item.Delete != nil {
			checkAct(t, path, item.Delete.Metadata)
		}
	}
	if n < 40 {
		t.Errorf("only %d operations were looked at", n)
	}
}

func checkAct(t *testing.T, path string, metadata map[string]any) {
	t.Helper()
	if act, ok := metadata[actKey].(auth.Act); !ok || !slices.Contains(auth.Acts, act) {
		t.Errorf("%s names no act", path)
	}
}

func TestHostMustBeOurs(t *testing.T) {
	srv, _ := testServer(t)
	_, port, _ := strings.Cut(strings.TrimPrefix(srv.URL, "http://"), ":")
	for _, host := range []string{"evil.com", "evil.com:" + port, "127.0.0.1.evil.com:" + port, "0.0.0.0:" + port, "LOCALHOST:" + port, "127.0.0.1"} {
		for _, path := range []string{"/", "/api/version", "/metrics", "/api/session"} {
			if status, text := request(t, srv, "GET", path, func(r *http.Request) { r.Host = host }); status != http.StatusMisdirectedRequest || text != "" {
				t.Errorf("Host %q %s: %d %q", host, path, status, text)
			}
		}
	}
}

func TestCrossOriginIsRefused(t *testing.T) {
	srv, sessions := testServer(t)
	session, _ := sessions.Trade(sessions.Code(auth.Person{ID: "local:ana", Local: true}))
	for _, headers := range []map[string]string{
		{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"}, {"Origin": "https://evil.com"},
	} {
		status, _ := request(t, srv, "POST", "/api/audit/verify", func(r *http.Request) {
			r.AddCookie(&http.Cookie{Name: "freshet_test", Value: session})
			r.Header.Set("X-Freshet", "1")
			for k, v := range headers {
				r.Header.Set(k, v)
			}
		})
		if status != http.StatusForbidden {
			t.Errorf("%v: %d", headers, status)
		}
	}
}

func TestLoginByOneTimeCode(t *testing.T) {
	srv, sessions := testServer(t)
	code := sessions.Code(auth.Person{ID: "local:ana", Local: true})
	login := func() *http.Response {
		req, _ := http.NewRequest("POST", srv.URL+"/api/session", strings.NewReader(`{"code":"`+code+`"}`))
		req.Header.Set("X-Freshet", "1")
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	first := login()
	if first.StatusCode != http.StatusNoContent || len(first.Cookies()) != 1 {
		t.Fatalf("login: %d, %d cookies", first.StatusCode, len(first.Cookies()))
	}
	c := first.Cookies()[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Domain != "" {
		t.Errorf("cookie %+v", c)
	}
	if status, text := request(t, srv, "GET", "/api/version", func(r *http.Request) { r.AddCookie(c) }); status != http.StatusOK || !strings.Contains(text, `"version":"test"`) {
		t.Errorf("with the cookie: %d %s", status, text)
	}
	if again := login(); again.StatusCode != http.StatusUnauthorized {
		t.Errorf("the same code again: %d", again.StatusCode)
	}
}

func TestErrorsAreOurs(t *testing.T) {
	srv, _ := testServer(t)
	bearer := func(r *http.Request) { r.Header.Set("Authorization", "Bearer tok"); r.Header.Set("X-Freshet", "1") }
	for path, want := range map[string]int{"/api/nothing": 404, "/api/version?x=1": 422, "/api/topics/t/records?limit=x": 422} {
		status, text := request(t, srv, "GET", path, bearer)
		var e Error
		if err := json.Unmarshal([]byte(text), &e); err != nil || e.Kind != "error" || e.V != 1 || e.Exit == 0 || status != want {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	// A room that panics (its fake is nil) gives an error of ours and not a torn connection.
	status, text := request(t, srv, "GET", "/api/map", bearer)
	if status != 500 || !strings.Contains(text, `"kind":"error"`) {
		t.Errorf("panic: %d %s", status, text)
	}
}

func TestOpenAPIDescribesTheDemoToo(t *testing.T) {
	var b bytes.Buffer
	if err := WriteOpenAPI(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"/api/demo/faults", "/api/feed", "/api/replay/plans", "\"Reading\""} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s", want)
		}
	}
}
