package api

import (
	"encoding/json"
	"net"
	"net/http"
	"strings"

	"freshet/backend/auth"
)

// Guard wraps a handler for a TCP listener, where anybody on the machine and any web site in the browser can knock.
type Guard struct {
	Hosts    []string // exact Host values that are served: "127.0.0.1:8123"
	Cookie   string   // the session cookie's name; carries the port, since cookies do not tell ports apart
	Sessions *auth.Sessions
	// Token, where set, is what a bearer must show to act as Bearer.
	Token  string
	Bearer auth.Person
	// Public are paths that need no session: the page itself holds nothing, and metrics hold names and numbers only.
	Metrics http.Handler
}

// Wrap guards next: the exact Host first, then the browser's word on cross-origin requests, then the session.
func (g Guard) Wrap(next http.Handler) http.Handler {
	hosts := map[string]bool{}
	for _, h := range g.Hosts {
		hosts[h] = true
	}
	cross := http.NewCrossOriginProtection()
	inner := cross.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.serve(w, r, next) }))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !hosts[r.Host] || r.URL.IsAbs() {
			w.WriteHeader(http.StatusMisdirectedRequest)
			return
		}
		PageHeaders(w.Header())
		inner.ServeHTTP(w, r)
	})
}

func (g Guard) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if !strings.HasPrefix(r.URL.Path, "/api/") {
		if r.URL.Path == "/metrics" && g.Metrics != nil {
			g.Metrics.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	if !Meant(w, r) {
		return
	}
	if r.URL.Path == "/api/session" {
		g.session(w, r)
		return
	}
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok && g.Token != "" && auth.Same(token, g.Token) {
		ctx := WithSession(auth.With(r.Context(), g.Bearer), "bearer")
		next.ServeHTTP(w, r.WithContext(ctx))
		return
	}
	if c, err := r.Cookie(g.Cookie); err == nil {
		if person, ok := g.Sessions.Person(c.Value); ok {
			ctx := WithSession(auth.With(r.Context(), person), c.Value)
			next.ServeHTTP(w, r.WithContext(ctx))
			return
		}
	}
	writeError(w, &Error{Head: head("error"), Exit: 4, Code: "LOGIN", Message: "nobody is logged in", Hint: "take a new link with `freshet open`", status: http.StatusUnauthorized})
}

// session trades a one-time code for a cookie, or ends the session.
func (g Guard) session(w http.ResponseWriter, r *http.Request) {
	cookie := http.Cookie{Name: g.Cookie, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode}
	switch r.Method {
	case http.MethodPost:
		var in struct {
			Code string `json:"code"`
		}
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&in); err != nil {
			writeError(w, &Error{Head: head("error"), Exit: 2, Code: "INVALID", Message: "the body must be {\"code\": …}", status: http.StatusUnprocessableEntity})
			return
		}
		session, ok := g.Sessions.Trade(in.Code)
		if !ok {
			writeError(w, &Error{Head: head("error"), Exit: 4, Code: "LOGIN", Message: "the link was used before, or is too old", Hint: "take a new link with `freshet open`", status: http.StatusUnauthorized})
			return
		}
		cookie.Value = session
	case http.MethodDelete:
		if c, err := r.Cookie(g.Cookie); err == nil {
			g.Sessions.End(c.Value)
		}
		cookie.MaxAge = -1
	default:
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	http.SetCookie(w, &cookie)
	w.WriteHeader(http.StatusNoContent)
}

// Loopback are the Host values of a loopback listener.
func Loopback(addr net.Addr) []string {
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return nil
	}
	return []string{"127.0.0.1:" + port, "localhost:" + port, "[::1]:" + port}
}

// Meant refuses a change that does not carry X-Freshet: a form cannot send that header, so no change comes from one.
func Meant(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead || r.Header.Get("X-Freshet") == "1" {
		return true
	}
	writeError(w, &Error{Head: head("error"), Exit: 4, Code: "DENIED", Message: "a request that changes something must carry X-Freshet: 1", status: http.StatusForbidden})
	return false
}

// WriteError answers with err as the API has errors.
func WriteError(w http.ResponseWriter, err error) { writeError(w, FromError(err)) }

func writeError(w http.ResponseWriter, e *Error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.status)
	_ = json.NewEncoder(w).Encode(e)
}
