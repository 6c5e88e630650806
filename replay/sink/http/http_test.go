package http_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/replay"
	"freshet/replay/replaytest"
	sinkhttp "freshet/replay/sink/http"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// endpoint is an HTTP server that does what a script says, and keeps what it took.
type endpoint struct {
	t testing.TB

	mu       sync.Mutex
	script   []http.HandlerFunc // of the next requests; then 200
	requests []request
	taken    []request // answered with 2xx
}

type request struct {
	header http.Header
	path   string
	body   string
	at     time.Time
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the writer was dropped in the middle
	}
	req := request{header: r.Header, path: r.URL.Path, body: string(body), at: time.Now()}
	e.mu.Lock()
	e.requests = append(e.requests, req)
	var do http.HandlerFunc
	if len(e.script) > 0 {
		do, e.script = e.script[0], e.script[1:]
	}
	e.mu.Unlock()
	if strings.HasPrefix(req.body, "refuse") {
		do = status(422)
	}
	if do == nil {
		e.take(req)
		return
	}
	do(w, r)
}

func (e *endpoint) take(r request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.taken = append(e.taken, r)
}

func (e *endpoint) seen() ([]request, []request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.requests), slices.Clone(e.taken)
}

func status(code int, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(code)
		io.WriteString(w, "the body s3cret")
	}
}

// hangUp closes the connection without an answer.
func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func serve(t testing.TB, script ...http.HandlerFunc) (*endpoint, string) {
	e := &endpoint{t: t, script: script}
	s := httptest.NewServer(e)
	t.Cleanup(s.Close)
	return e, s.URL
}

var shard = replay.Shard{Owner: "hook", Nonce: "n1", Topic: "orders", TopicID: [16]byte{1}, Partition: 3}

func open(t testing.TB, opts sinkhttp.Options) (*sinkhttp.Sink, replay.Writer) {
	t.Helper()
	opts.Name = "acme"
	s, err := sinkhttp.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	w, err := s.Open(context.Background(), shard)
	if err != nil {
		t.Fatal(err)
	}
	return s, w
}

func batch(values ...string) replay.Write {
	in := replay.Write{Next: int64(len(values))}
	for i, v := range values {
		in.Items = append(in.Items, replay.Item{Record: &stream.Record{Topic: "orders", Partition: 3, Offset: int64(i), Value: []byte(v)}})
	}
	return in
}

func TestRequestIsTheRecord(t *testing.T) {
	e, url := serve(t)
	_, w := open(t, sinkhttp.Options{URL: url + "/in?q=1", Header: http.Header{"Authorization": {"Bearer x"}}})
	in := replay.Write{Next: 5, Items: []replay.Item{
		{Record: &stream.Record{Topic: "orders", Partition: 3, Offset: 0, Key: []byte("k 1"), Value: []byte("{\"a\": 1}\n")}},
		{Record: &stream.Record{Topic: "orders", Partition: 3, Offset: 1, Key: []byte("k\x00"), Value: []byte("\x00\xff")}},
		{Record: &stream.Record{Topic: "orders", Partition: 3, Offset: 2, Value: []byte("<a/>"), Headers: []stream.Header{{Key: "Content-Type", Value: []byte("text/xml")}}}},
		{Record: &stream.Record{Topic: "orders", Partition: 3, Offset: 3, Key: []byte("")}},
	}}
	out, err := w.Write(context.Background(), in)
	if err != nil || out.Applied != 4 {
		t.Fatal(out, err)
	}
	_, got := e.seen()
	for i, want := range []struct{ body, content, key, key64, tombstone string }{
		{"{\"a\": 1}\n", "application/json", "k 1", "", ""},
		{"\x00\xff", "application/octet-stream", "", "awA=", ""},
		{"<a/>", "text/xml", "", "", ""},
		{"", "", "", "", "true"},
	} {
		h := got[i].header
		if got[i].body != want.body || h.Get("Content-Type") != want.content || h.Get("Freshet-Key") != want.key || h.Get("Freshet-Key-Base64") != want.key64 ||
			h.Get("Freshet-Tombstone") != want.tombstone || h.Get("Freshet-Topic") != "orders" || h.Get("Freshet-Partition") != "3" ||
			h.Get("Freshet-Offset") != strconv.Itoa(i) || h.Get("Authorization") != "Bearer x" || got[i].path != "/in" {
			t.Errorf("request %d: %q %v", i, got[i].body, h)
		}
		if want := replay.IdempotencyKey("n1", shard.TopicID, 3, int64(i), "acme"); h.Get("Idempotency-Key") != want {
			t.Errorf("request %d: key %q, want %q", i, h.Get("Idempotency-Key"), want)
		}
	}
}

func TestRetriesKeepKeyAndBody(t *testing.T) {
	e, url := serve(t, status(500), status(503), status(429), status(408), status(425))
	_, w := open(t, sinkhttp.Options{URL: url})
	if out, err := w.Write(context.Background(), batch("a", "b")); err != nil || out.Applied != 2 {
		t.Fatal(out, err)
	}
	all, taken := e.seen()
	if len(all) != 7 || len(taken) != 2 {
		t.Fatalf("%d requests, %d taken", len(all), len(taken))
	}
	for _, r := range all[:6] {
		if r.body != "a" || r.header.Get("Idempotency-Key") != all[0].header.Get("Idempotency-Key") {
			t.Errorf("another body or key: %q", r.body)
		}
	}
	if all[6].header.Get("Idempotency-Key") == all[0].header.Get("Idempotency-Key") {
		t.Error("two records share a key")
	}
}

func TestRefusedForGoodIsParked(t *testing.T) {
	e, url := serve(t, nil, status(400), status(404), status(413), nil)
	_, w := open(t, sinkhttp.Options{URL: url})
	out, err := w.Write(context.Background(), batch("a", "b", "c", "d", "e"))
	if err != nil || out.Applied != 2 || len(out.Refused) != 3 || out.Refused[0].Reason != "status 400 Bad Request" {
		t.Fatal(out, err)
	}
	if _, taken := e.seen(); len(taken) != 2 || taken[1].body != "e" {
		t.Errorf("taken %v", taken)
	}
}

func TestRedirectsAndLoginsStop(t *testing.T) {
	for code, kind := range map[int]fault.Kind{301: fault.Blocked, 307: fault.Blocked, 304: fault.Blocked, 401: fault.Denied} {
		other, otherURL := serve(t)
		e, url := serve(t, nil, status(code, "Location", otherURL))
		_, w := open(t, sinkhttp.Options{URL: url})
		_, err := w.Write(context.Background(), batch("a", "b", "c"))
		var doubt *replay.InDoubt
		if !fault.Is(err, kind) || !errors.As(err, &doubt) || doubt.Done != 1 || doubt.Applied != 1 || len(doubt.Unsure) != 0 {
			t.Errorf("%d: %v %+v", code, err, doubt)
		}
		if all, _ := e.seen(); len(all) != 2 {
			t.Errorf("%d: %d requests", code, len(all))
		}
		if all, _ := other.seen(); len(all) != 0 {
			t.Errorf("%d: the redirect was followed", code)
		}
	}
}

func TestNoAnswerIsInDoubt(t *testing.T) {
	t.Run("another receiver", func(t *testing.T) {
		e, url := serve(t, nil, hangUp)
		_, w := open(t, sinkhttp.Options{URL: url})
		_, err := w.Write(context.Background(), batch("a", "b", "c"))
		var doubt *replay.InDoubt
		if !errors.As(err, &doubt) || !fault.Is(err, fault.Unavailable) || doubt.Done != 1 || doubt.Applied != 1 || !slices.Equal(doubt.Unsure, []int64{1}) {
			t.Errorf("got %v %+v", err, doubt)
		}
		if all, _ := e.seen(); len(all) != 2 {
			t.Errorf("%d requests", len(all))
		}
	})
	t.Run("a receiver that knows keys", func(t *testing.T) {
		e, url := serve(t, hangUp, hangUp)
		_, w := open(t, sinkhttp.Options{URL: url, Idempotent: true})
		if out, err := w.Write(context.Background(), batch("a")); err != nil || out.Applied != 1 {
			t.Fatal(out, err)
		}
		all, _ := e.seen()
		if len(all) != 3 || all[2].header.Get("Idempotency-Key") != all[0].header.Get("Idempotency-Key") {
			t.Errorf("%d requests", len(all))
		}
	})
	t.Run("too late", func(t *testing.T) {
		release := make(chan struct{})
		_, url := serve(t, func(http.ResponseWriter, *http.Request) { <-release })
		_, w := open(t, sinkhttp.Options{URL: url, Timeout: 50 * time.Millisecond})
		_, err := w.Write(context.Background(), batch("a"))
		close(release)
		var doubt *replay.InDoubt
		if !errors.As(err, &doubt) || len(doubt.Unsure) != 1 {
			t.Errorf("got %v", err)
		}
	})
	t.Run("nothing was sent", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		_, w := open(t, sinkhttp.Options{URL: "http://" + l.Addr().String(), Patience: time.Nanosecond})
		_, err = w.Write(context.Background(), batch("a"))
		var doubt *replay.InDoubt
		if !errors.As(err, &doubt) || len(doubt.Unsure) != 0 || !fault.Is(err, fault.Unavailable) {
			t.Errorf("got %v", err)
		}
	})
}

func TestHugeAndSlowAnswersAreCutShort(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	e, url := serve(t,
		func(w http.ResponseWriter, _ *http.Request) {
			for range 1 << 12 {
				if _, err := w.Write(make([]byte, 1<<16)); err != nil {
					return
				}
			}
		},
		func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			<-release
		},
		func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 1<<20))
		})
	_, w := open(t, sinkhttp.Options{URL: url})
	if out, err := w.Write(context.Background(), batch("a", "b")); err != nil || out.Applied != 2 {
		t.Fatal(out, err)
	}
	var doubt *replay.InDoubt
	if _, err := w.Write(context.Background(), batch("c")); !errors.As(err, &doubt) {
		t.Errorf("a header of a megabyte: %v", err)
	}
	if all, _ := e.seen(); len(all) != 3 {
		t.Errorf("%d requests", len(all))
	}
}

// bubble serves the endpoint over pipes, so that synctest owns the time.
func bubble(t *testing.T, e *endpoint) func(context.Context, string, string) (net.Conn, error) {
	l := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	s := &http.Server{Handler: e}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		client, server := net.Pipe()
		select {
		case l.conns <- server:
			return client, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func TestRetryAfter(t *testing.T) {
	date := func(t time.Time) string { return t.UTC().Format(http.TimeFormat) }
	for name, c := range map[string]struct {
		headers  func(now time.Time) []string
		min, max time.Duration
	}{
		"seconds": {func(time.Time) []string { return []string{"Retry-After", "12"} }, 12 * time.Second, 13200 * time.Millisecond},
		"a time by the server's clock": {func(now time.Time) []string {
			server := now.Add(7 * time.Hour).Truncate(time.Second)
			return []string{"Date", date(server), "Retry-After", date(server.Add(10 * time.Second))}
		}, 10 * time.Second, 11 * time.Second},
		"a time gone by": {func(now time.Time) []string { return []string{"Retry-After", date(now.Add(-time.Hour))} }, 0, time.Second},
		"negative":       {func(time.Time) []string { return []string{"Retry-After", "-5"} }, 0, time.Second},
		"garbage":        {func(time.Time) []string { return []string{"Retry-After", "soon"} }, 0, time.Second},
		"zero":           {func(time.Time) []string { return []string{"Retry-After", "0"} }, 0, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &endpoint{t: t, script: []http.HandlerFunc{func(w http.ResponseWriter, r *http.Request) { status(429, c.headers(time.Now())...)(w, r) }}}
				_, w := open(t, sinkhttp.Options{URL: "http://pipe/", Dial: bubble(t, e)})
				if out, err := w.Write(context.Background(), batch("a")); err != nil || out.Applied != 1 {
					t.Fatal(out, err)
				}
				all, _ := e.seen()
				if len(all) != 2 {
					t.Fatalf("%d requests", len(all))
				}
				if wait := all[1].at.Sub(all[0].at); wait < c.min || wait > c.max {
					t.Errorf("waited %v", wait)
				}
			})
		})
	}
}

func TestRetryAfterHoldsEveryWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{t: t, script: []http.HandlerFunc{status(503, "Retry-After", "120")}}
		s, w := open(t, sinkhttp.Options{URL: "http://pipe/", Dial: bubble(t, e)})
		start := time.Now()
		if _, err := w.Write(context.Background(), batch("a")); !fault.Is(err, fault.Unavailable) {
			t.Errorf("a wait beyond patience: %v", err)
		}
		other, err := s.Open(context.Background(), replay.Shard{Owner: "other", Topic: "orders"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Write(context.Background(), batch("b")); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "wait until") {
			t.Errorf("another writer: %v", err)
		}
		if all, _ := e.seen(); len(all) != 1 || time.Since(start) > time.Second {
			t.Errorf("%d requests in %v", len(all), time.Since(start))
		}
		time.Sleep(133 * time.Second)
		if out, err := other.Write(context.Background(), batch("b")); err != nil || out.Applied != 1 {
			t.Error(out, err)
		}
	})
}

func TestAbsurdRetryAfterBlocks(t *testing.T) {
	for _, v := range []string{"864000", "99999999999999999999999", time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat)} {
		_, url := serve(t, status(429, "Retry-After", v))
		_, w := open(t, sinkhttp.Options{URL: url})
		if _, err := w.Write(context.Background(), batch("a")); !fault.Is(err, fault.Blocked) {
			t.Errorf("%s: %v", v, err)
		}
	}
}

func TestLongOutageIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &endpoint{t: t}
		for range 1000 {
			e.script = append(e.script, status(500))
		}
		_, w := open(t, sinkhttp.Options{URL: "http://pipe/", Dial: bubble(t, e)})
		start := time.Now()
		_, err := w.Write(context.Background(), batch("a"))
		if !fault.Is(err, fault.Unavailable) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("got %v", err)
		}
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("gave up after %v", d)
		}
		if all, _ := e.seen(); len(all) < 4 || len(all) > 200 {
			t.Errorf("%d attempts", len(all))
		}
	})
}

func TestAddressesThatAreNotConnectedTo(t *testing.T) {
	always := []string{"169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "100.100.100.200", "192.0.0.192", "224.0.0.1", "[ff02::1]", "0.0.0.0", "[::]", "0.1.2.3",
		"255.255.255.255", "[::ffff:169.254.169.254]", "[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::]", "[::169.254.169.254]"}
	local := append(slices.Clone(always), "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "127.1.2.3", "10.1.2.3", "192.168.0.1", "172.16.0.1", "[fd12::1]")
	for deny, hosts := range map[bool][]string{false: always, true: local} {
		for _, host := range hosts {
			_, w := open(t, sinkhttp.Options{URL: "http://" + host + ":9", DenyLoopback: deny, DenyPrivate: deny, Timeout: time.Second, Patience: time.Nanosecond})
			if _, err := w.Write(context.Background(), batch("a")); !fault.Is(err, fault.Denied) {
				t.Errorf("%s: %v", host, err)
			}
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, opts := range []sinkhttp.Options{
		{URL: ""}, {URL: "ftp://x"}, {URL: "http://"}, {URL: "http:x"}, {URL: "http://user:s3cret@x/"}, {URL: "http://x/#f"}, {URL: "http://x\x00s3cret"},
		{URL: "http://x", Header: http.Header{"Idempotency-Key": {"1"}}}, {URL: "http://x", Header: http.Header{"a b": {"1"}}},
		{URL: "http://x", Header: http.Header{"A": {"s3cret\r\nB: 1"}}}, {URL: "http://x", ContentType: "a\nb"},
	} {
		if _, err := sinkhttp.New(opts); !fault.Is(err, fault.Invalid) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%+v: %v", opts, err)
		}
	}
	s, err := sinkhttp.New(sinkhttp.Options{URL: "http://x/in"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(context.Background(), replay.Shard{Target: "/../admin"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("got %v", err)
	}
}

func TestErrorsHoldNoQuery(t *testing.T) {
	_, w := open(t, sinkhttp.Options{URL: "http://127.0.0.1:1/in?token=s3cret", Patience: time.Nanosecond})
	if _, err := w.Write(context.Background(), batch("a")); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("got %v", err)
	}
}

func TestTLS(t *testing.T) {
	e := &endpoint{t: t}
	server := httptest.NewUnstartedServer(e)
	server.Config.ErrorLog = nil
	server.StartTLS()
	defer server.Close()
	s, w := open(t, sinkhttp.Options{URL: server.URL, Patience: time.Nanosecond})
	if _, err := w.Write(context.Background(), batch("a")); !fault.Is(err, fault.Denied) {
		t.Errorf("an unknown authority: %v", err)
	}
	if _, err := s.Test(context.Background()); !fault.Is(err, fault.Denied) {
		t.Errorf("test of an unknown authority: %v", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	s, w = open(t, sinkhttp.Options{URL: server.URL, TLS: &tls.Config{RootCAs: pool}})
	if out, err := w.Write(context.Background(), batch("a")); err != nil || out.Applied != 1 {
		t.Error(out, err)
	}
	if said, err := s.Test(context.Background()); err != nil || !strings.Contains(said, "TLS 1.3") {
		t.Errorf("%q, %v", said, err)
	}
}

func TestSinkConforms(t *testing.T) {
	e, url := serve(t)
	replaytest.Sink(t, replaytest.SinkHarness{
		Capabilities: sinkhttp.Spec.Capabilities,
		Shard:        replay.Shard{Topic: "orders", Nonce: "n1"},
		Open: func(t testing.TB) replay.Sink {
			s, err := sinkhttp.New(sinkhttp.Options{Name: "acme", URL: url})
			if err != nil {
				t.Fatal(err)
			}
			return s
		},
		Item: func(_ testing.TB, p int32, o int64) replay.Item {
			return replay.Item{Record: &stream.Record{Topic: "orders", Partition: p, Offset: o, Value: []byte("fine")}}
		},
		Refused: func(_ testing.TB, p int32, o int64) (replay.Item, string) {
			return replay.Item{Record: &stream.Record{Topic: "orders", Partition: p, Offset: o, Value: []byte("refuse s3cret")}}, "s3cret"
		},
		Seen: func(t testing.TB, p int32) (out []int64) {
			_, taken := e.seen()
			for _, r := range taken {
				if r.header.Get("Freshet-Partition") == fmt.Sprint(p) {
					o, err := strconv.ParseInt(r.header.Get("Freshet-Offset"), 10, 64)
					if err != nil {
						t.Fatal(err)
					}
					out = append(out, o)
				}
			}
			return out
		},
		State: func(testing.TB) string { all, _ := e.seen(); return fmt.Sprint(len(all)) },
		Clear: func(testing.TB) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.requests, e.taken = nil, nil
		},
	})
}
