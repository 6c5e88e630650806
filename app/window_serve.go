package app

import (
	"context"
	"errors"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"freshet/backend/api"
	"freshet/backend/auth"
	"freshet/backend/fault"
	"freshet/frontend"
)

const (
	startHold   = 500 * time.Millisecond // how long the page is waited for before the starting page is shown in its stead
	startAnew   = 200 * time.Millisecond // between two looks for the instance that holds the directory
	startWithin = 3 * time.Minute        // a demo's first start fetches and fills a database
)

// window is the desktop window without its native half, which comes as the functions of a desk.
type window struct {
	dataDir string
	log     *slog.Logger
	desk    desk

	ready   chan struct{} // closed once the start has ended, well or not; what follows is set before
	handler http.Handler
	app     *App // nil where another process's instance is shown
	err     error

	parts  sync.WaitGroup
	saving sync.Mutex // one dialog at a time

	mu   sync.Mutex
	hash string // where the page goes once it is there
}

func newWindow(dataDir, hash string, log *slog.Logger, d desk) *window {
	return &window{dataDir: dataDir, hash: hash, log: log, desk: d, ready: make(chan struct{})}
}

// middleware answers everything but the framework's own paths.
func (w *window) middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/wails/") {
			next.ServeHTTP(rw, r)
			return
		}
		api.PageHeaders(rw.Header())
		if strings.HasPrefix(r.URL.Path, "/api/") {
			rw.Header().Set("Cache-Control", "no-store")
			if !api.Meant(rw, r) {
				return
			}
		}
		select {
		case <-w.ready:
		case <-time.After(startHold):
			w.between(rw, r, interim{Title: "Freshet is starting", Refresh: "0"})
			return
		}
		if r.URL.Path == "/" {
			// The first address is the framework's: a link is gone to from a page in between.
			if hash := w.takeHash(); hash != "" && w.err == nil {
				w.between(rw, r, interim{Title: "Freshet is starting", Refresh: "0;url=/" + hash})
				return
			}
		}
		w.handler.ServeHTTP(rw, r)
	})
}

func (w *window) takeHash() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	hash := w.hash
	w.hash = ""
	return hash
}

// goTo brings the window to the front; at hash, where that is not "".
func (w *window) goTo(hash string) {
	select {
	case <-w.ready:
		w.desk.show(hash)
	default:
		w.mu.Lock()
		w.hash = hash
		w.mu.Unlock()
		w.desk.show("")
	}
}

// start opens the instance, or its proxy; what the window shows until then is the starting page.
func (w *window) start(ctx context.Context) {
	if err := w.listen(ctx); err != nil {
		w.log.Warn("a second window of this directory will not find this one", "err", err)
	}
	h, err := w.open(ctx)
	if err != nil {
		w.err = err
		said := api.FromError(err)
		h = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			w.between(rw, r, interim{Title: "Freshet did not start", Message: said.Message, Hint: said.Hint})
		})
	}
	w.handler = h
	close(w.ready)
	if err == nil && w.desk.notify != nil {
		w.parts.Go(func() { w.watch(ctx) })
	}
}

// stop ends what start began; start's context has ended.
func (w *window) stop() {
	<-w.ready
	w.parts.Wait()
	if w.app != nil {
		w.err = errors.Join(w.err, w.app.Stop())
	}
}

func (w *window) open(ctx context.Context) (http.Handler, error) {
	a, err := New(ctx, Options{DataDir: w.dataDir, Log: w.log})
	if fault.Is(err, fault.Conflict) {
		return w.proxy(ctx)
	}
	if err != nil {
		return nil, err
	}
	if err := a.Start(ctx); err != nil {
		return nil, errors.Join(err, a.Stop())
	}
	w.app = a
	return w.withDesk(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		ctx := api.WithSession(auth.With(r.Context(), localOwner()), "window")
		a.handler.ServeHTTP(rw, r.WithContext(ctx))
	})), nil
}

// proxy shows the instance that runs on the directory already, once it is up. Where it is and its token are read for
// every request: it may be started anew.
func (w *window) proxy(ctx context.Context) (http.Handler, error) {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for {
		_, _, err := w.instance()
		if err == nil {
			break
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(startAnew):
		}
	}
	own := http.Header{}
	api.PageHeaders(own)
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.Header.Del("Origin")
			target, token, err := w.instance()
			if err != nil {
				target = &url.URL{} // no host: the transport refuses it
			}
			r.SetURL(target)
			r.Out.Header.Set("Authorization", "Bearer "+token)
		},
		// The instance says what the window has said already, and a header that stands twice is not understood.
		ModifyResponse: func(r *http.Response) error {
			for name := range own {
				r.Header.Del(name)
			}
			return nil
		},
		ErrorLog: slog.NewLogLogger(w.log.Handler(), slog.LevelDebug), // a page that went away in the middle
		ErrorHandler: func(rw http.ResponseWriter, _ *http.Request, err error) {
			if _, _, gone := w.instance(); gone != nil {
				err = gone
			}
			api.WriteError(rw, fault.Wrap(fault.Unavailable, "reach the instance", err, "is it running? `freshet status` tells"))
		},
	}
	return w.withDesk(forward), nil
}

// instance is where the directory's instance answers, and the token that it wants.
func (w *window) instance() (*url.URL, string, error) {
	run, err := ReadRun(w.dataDir)
	if err != nil {
		return nil, "", err
	}
	token, err := os.ReadFile(filepath.Join(w.dataDir, TokenFile))
	if err != nil {
		return nil, "", fault.Wrap(fault.Denied, "read the instance's token", err, "open the window as the user who started the instance")
	}
	target, err := url.Parse(run.URL)
	return target, strings.TrimSpace(string(token)), fault.Wrap(fault.Internal, "read run.json", err, "start Freshet again")
}

// interim is what stands in the window while there is no page to show.
type interim struct{ Title, Message, Hint, Refresh, Style string }

var interimPage = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{.Title}}</title>
{{with .Refresh}}<meta http-equiv="refresh" content="{{.}}">{{end}}
{{with .Style}}<script src="/theme.js"></script><link rel="stylesheet" href="{{.}}">{{end}}</head>
<body class="interim"><main><img src="/icon.svg" width="48" height="48" alt=""><h1>{{.Title}}</h1>
{{with .Message}}<p><b>{{.}}</b></p>{{end}}{{with .Hint}}<p>{{.}}</p>{{end}}</main></body></html>
`))

// between answers with an interim page in the page's own dress. The framework passes the body of no other status than
// 200 on.
func (w *window) between(rw http.ResponseWriter, r *http.Request, page interim) {
	files := frontend.FS()
	if r.URL.Path != "/" {
		if strings.HasPrefix(r.URL.Path, "/api/") {
			api.WriteError(rw, fault.New(fault.Unavailable, "", page.Hint, "%s", page.Title))
			return
		}
		pageHandler(files).ServeHTTP(rw, r)
		return
	}
	if files != nil {
		if sheets, err := fs.Glob(files, "assets/index-*.css"); err == nil && len(sheets) == 1 {
			page.Style = "/" + sheets[0]
		}
	}
	rw.Header().Set("Content-Type", "text/html; charset=utf-8")
	rw.Header().Set("Cache-Control", "no-store")
	if err := interimPage.Execute(rw, page); err != nil {
		w.log.Debug("the window did not take its page", "err", err)
	}
}
