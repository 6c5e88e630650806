//go:build desktop || dev || bindings

package app

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/wailsapp/wails/v2"
	"github.com/wailsapp/wails/v2/pkg/options"
	"github.com/wailsapp/wails/v2/pkg/options/assetserver"
	"github.com/wailsapp/wails/v2/pkg/options/linux"

	"freshet/backend/api"
	"freshet/backend/auth"
	"freshet/backend/fault"
)

// Window opens the desktop window on a data directory: on its own instance, or on the one that runs there already. It
// opens nothing else before the window's own start-up.
func Window(ctx context.Context, dataDir string, log *slog.Logger) error {
	w := &window{dataDir: dataDir, log: log}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err := wails.Run(&options.App{
		Title: "Freshet", Width: 1440, Height: 900, MinWidth: 800, MinHeight: 560,
		AssetServer: &assetserver.Options{Middleware: w.middleware},
		OnStartup:   func(context.Context) { w.start(ctx) },
		OnShutdown:  func(context.Context) { w.stop() },
		Linux:       &linux.Options{WebviewGpuPolicy: linux.WebviewGpuPolicyNever, ProgramName: "freshet"},
	})
	return errors.Join(fault.Wrap(fault.Unavailable, "open the window", err, "is there a display? `freshet serve` and a browser do without"), w.err)
}

type window struct {
	dataDir string
	log     *slog.Logger
	app     *App
	handler atomic.Pointer[http.Handler]
	err     error
}

// middleware answers everything but the framework's own paths.
func (w *window) middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/wails/") {
			next.ServeHTTP(rw, r)
			return
		}
		api.PageHeaders(rw.Header())
		h := w.handler.Load()
		if h == nil {
			rw.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		(*h).ServeHTTP(rw, r)
	})
}

func (w *window) start(ctx context.Context) {
	h, err := w.open(ctx)
	if err != nil {
		w.err = err
		h = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			http.Error(rw, err.Error(), http.StatusServiceUnavailable)
		})
	}
	w.handler.Store(&h)
}

func (w *window) open(ctx context.Context) (http.Handler, error) {
	a, err := New(ctx, Options{DataDir: w.dataDir, Log: w.log})
	if fault.Is(err, fault.Conflict) {
		return w.proxy()
	}
	if err != nil {
		return nil, err
	}
	if err := a.Start(ctx); err != nil {
		return nil, errors.Join(err, a.Stop())
	}
	w.app = a
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		ctx := api.WithSession(auth.With(r.Context(), localOwner()), "window")
		a.handler.ServeHTTP(rw, r.WithContext(ctx))
	}), nil
}

// proxy shows the instance that runs on the directory already.
func (w *window) proxy() (http.Handler, error) {
	run, err := ReadRun(w.dataDir)
	if err != nil {
		return nil, err
	}
	token, err := os.ReadFile(filepath.Join(w.dataDir, TokenFile))
	if err != nil {
		return nil, fault.Wrap(fault.Denied, "read the instance's token", err, "open the window as the user who started the instance")
	}
	target, err := url.Parse(run.URL)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, "read run.json", err, "start Freshet again")
	}
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Header.Del("Origin")
		r.Out.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}}, nil
}

func (w *window) stop() {
	if w.app != nil {
		w.err = errors.Join(w.err, w.app.Stop())
	}
}
