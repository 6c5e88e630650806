// Package api is the door: one http.Handler for the window, the browser and the command line, described by OpenAPI.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"freshet/backend/auth"
)

const actKey = "act"

// Handler serves the API and the page. Whoever mounts it sets the person: the listeners' guards for a browser, the socket
// for the command line, the window for itself. A request without a person gets 401 from every route.
func Handler(s Services, sessions *auth.Sessions, page http.Handler, log *slog.Logger) http.Handler {
	_, mux := build(s, sessions)
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, &Error{Head: head("error"), Exit: 2, Code: "NOT_FOUND", Message: "no such route: " + r.Method + " " + r.URL.Path, status: http.StatusNotFound})
	})
	mux.Handle("/", page)
	return recoverer(mux, log)
}

func build(s Services, sessions *auth.Sessions) (huma.API, *http.ServeMux) {
	hideFramework()
	mux := http.NewServeMux()
	config := huma.DefaultConfig("Freshet", "1")
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil // no $schema links in answers
	config.RejectUnknownQueryParameters = true
	api := humago.New(mux, config)
	api.UseMiddleware(gate(api))
	routes(api, s, sessions)
	return api, mux
}

// gate is the one policy gate: every operation names an act, and the person of the request must be allowed it.
func gate(api huma.API) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		act, ok := ctx.Operation().Metadata[actKey].(auth.Act)
		person, known := auth.From(ctx.Context())
		switch {
		case !known:
			_ = huma.WriteErr(api, ctx, http.StatusUnauthorized, "nobody is logged in: take a new link with `freshet open`")
		case !ok || !slices.Contains(auth.Acts, act) || !person.May(act):
			_ = huma.WriteErr(api, ctx, http.StatusForbidden, person.ID+" may not "+string(act))
		default:
			next(ctx)
		}
	}
}

// recoverer answers 500 where a handler panics, and keeps the panic for the log.
func recoverer(next http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler {
					panic(p)
				}
				log.Error("panic in a handler", "path", r.URL.Path, "panic", p)
				writeError(w, &Error{Head: head("error"), Exit: 1, Code: "INTERNAL", Message: "something went wrong inside Freshet", Hint: "this is a bug; the log has more", status: http.StatusInternalServerError})
			}
		}()
		next.ServeHTTP(w, r)
	})
}

type sessionKey struct{}

// WithSession names the session that a request belongs to, for the feed's bound on held polls.
func WithSession(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, sessionKey{}, id)
}

func sessionOf(ctx context.Context) string {
	id, _ := ctx.Value(sessionKey{}).(string)
	return id
}

// PageHeaders are on every answer of a page: nothing from elsewhere is loaded, framed or run.
func PageHeaders(h http.Header) {
	h.Set("Content-Security-Policy", strings.Join([]string{
		"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src 'self' data:", "font-src 'self'",
		"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "frame-src 'none'", "require-trusted-types-for 'script'",
	}, "; "))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}
