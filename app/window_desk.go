package app

import (
	"context"
	"encoding/json"
	"errors"
	"html"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"freshet/backend/api"
	"freshet/backend/fault"
)

// desk is what the page can ask of the desktop that the window is on.
type desk struct {
	save   func(name string) (string, error) // asks where to put a file; "" where the person cancelled
	copy   func(text string) error           // puts text on the clipboard
	notify func(title, body string) error    // nil where the desktop takes no notifications
	show   func(hash string)                 // brings the window to the front, at hash where that is not ""
}

const (
	maxWindowBody = 8 << 20 // a copied record
	maxFileName   = 200     // bytes
	maxTitle      = 500     // bytes of a notification
	maxNotice     = 1000
)

// withDesk serves /api/window, which a browser's page does not have, before next.
func (w *window) withDesk(next http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/window", func(rw http.ResponseWriter, _ *http.Request) {
		told(rw, struct {
			api.Head
			Platform      string `json:"platform"`
			Notifications bool   `json:"notifications"`
		}{api.Head{V: 1, Kind: "window"}, runtime.GOOS, w.desk.notify != nil})
	})
	mux.HandleFunc("POST /api/window/save", asked(func(ctx context.Context, in saveIn) (any, error) { return w.save(ctx, next, in) }))
	mux.HandleFunc("POST /api/window/clipboard", asked(func(_ context.Context, in struct{ Text string }) (any, error) {
		if strings.ContainsRune(in.Text, 0) {
			return nil, fault.New(fault.Invalid, "copy", "copy it as base64", "a clipboard's text cannot hold a NUL")
		}
		return api.Head{V: 1, Kind: "window.copied"}, w.desk.copy(in.Text)
	}))
	mux.HandleFunc("POST /api/window/notify", asked(func(_ context.Context, in struct{ Title, Body string }) (any, error) {
		return api.Head{V: 1, Kind: "window.notified"}, w.tell(in.Title, in.Body)
	}))
	mux.Handle("/", next)
	return mux
}

// asked is a route that takes a JSON body.
func asked[T any](act func(context.Context, T) (any, error)) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		var in T
		body := json.NewDecoder(http.MaxBytesReader(rw, r.Body, maxWindowBody))
		body.DisallowUnknownFields()
		if err := body.Decode(&in); err != nil {
			api.WriteError(rw, fault.Wrap(fault.Invalid, "read the request", err, ""))
			return
		}
		out, err := act(r.Context(), in)
		var no *refusal
		switch {
		case errors.As(err, &no):
			rw.Header().Set("Content-Type", "application/json")
			rw.WriteHeader(no.status)
			_, _ = rw.Write(no.body)
		case err != nil:
			api.WriteError(rw, err)
		default:
			told(rw, out)
		}
	}
}

func told(rw http.ResponseWriter, out any) {
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(out)
}

// tell notifies. A title is plain text by the desktops' agreement, a body may be taken for markup.
func (w *window) tell(title, body string) error {
	if w.desk.notify == nil {
		return fault.New(fault.NotFound, "notify", "", "this desktop takes no notifications")
	}
	if title == "" || len(title) > maxTitle || len(body) > maxNotice {
		return fault.New(fault.Invalid, "notify", "", "a notification has a title of 1 to %d bytes and a body of at most %d", maxTitle, maxNotice)
	}
	return fault.Wrap(fault.Unavailable, "notify", w.desk.notify(harmless(title), html.EscapeString(harmless(body))), "see whether the desktop shows notifications")
}

// harmless takes what steers a line, or hides in it, out of a text that leaves the page.
func harmless(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return utf8.RuneError
		}
		return r
	}, s)
}

// saveIn asks for an answer of the API as a file.
type saveIn struct {
	Path  string // of a GET, below /api/
	Query string
	Name  string // what the dialog proposes
}

type saved struct {
	api.Head
	File      string `json:"file,omitempty"`
	Bytes     string `json:"bytes,omitempty"`
	Cancelled bool   `json:"cancelled,omitempty"`
}

func (w *window) save(ctx context.Context, from http.Handler, in saveIn) (any, error) {
	const op = "save"
	if !strings.HasPrefix(in.Path, "/api/") || path.Clean(in.Path) != in.Path {
		return nil, fault.New(fault.Invalid, op, "", "%q is no path of the API", in.Path)
	}
	if in.Name == "" || len(in.Name) > maxFileName || strings.ContainsAny(in.Name, `/\`) || in.Name != harmless(in.Name) {
		return nil, fault.New(fault.Invalid, op, "", "%q is no name for a file", in.Name)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, in.Path+"?"+in.Query, nil)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, op, err, "")
	}
	if !w.saving.TryLock() {
		return nil, fault.New(fault.Conflict, op, "answer the dialog that is open", "one file is saved at a time")
	}
	defer w.saving.Unlock()
	file, err := w.desk.save(in.Name)
	out := saved{Head: api.Head{V: 1, Kind: "window.saved"}, File: file, Cancelled: file == ""}
	if err != nil || file == "" {
		return out, fault.Wrap(fault.Unavailable, op, err, "")
	}
	n, err := download(from, r, file)
	out.Bytes = strconv.FormatInt(n, 10)
	return out, err
}

// download puts the answer to r into a file, whole or not at all.
func download(from http.Handler, r *http.Request, file string) (n int64, err error) {
	const next = "choose another folder, or make room"
	f, err := os.CreateTemp(filepath.Dir(file), ".freshet-*.part")
	if err != nil {
		return 0, fault.Wrap(fault.Unavailable, "save", err, next)
	}
	defer func() {
		if err != nil {
			err = fault.Wrap(fault.Unavailable, "save", errors.Join(err, ignoreClosed(f.Close()), os.Remove(f.Name())), next)
		}
	}()
	a := answer{header: http.Header{}, status: http.StatusOK, to: f}
	if err := a.take(from, r); err != nil {
		return 0, err
	}
	if a.status != http.StatusOK {
		return 0, a.refusal(f)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return 0, err
	}
	return a.n, os.Rename(f.Name(), file)
}

func ignoreClosed(err error) error {
	if errors.Is(err, fs.ErrClosed) {
		return nil
	}
	return err
}

// answer takes a handler's answer in process.
type answer struct {
	header http.Header
	status int
	to     io.Writer
	n      int64
	err    error // of to
}

func (a *answer) Header() http.Header    { return a.header }
func (a *answer) WriteHeader(status int) { a.status = status }
func (a *answer) Write(b []byte) (int, error) {
	n, err := a.to.Write(b)
	a.n += int64(n)
	a.err = errors.Join(a.err, err)
	return n, err
}

// take asks from. A proxy and a handler alike break an answer off by a panic, the former only below a server.
func (a *answer) take(from http.Handler, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler {
				panic(p)
			}
			err = fault.New(fault.Unavailable, "read the answer", "try again", "it broke off in the middle")
		}
		err = errors.Join(a.err, err)
	}()
	from.ServeHTTP(a, r.WithContext(context.WithValue(r.Context(), http.ServerContextKey, &http.Server{})))
	return nil
}

// refusal is an answer of the API that is no success.
type refusal struct {
	status int
	body   []byte
}

func (r *refusal) Error() string { return "the API answers " + strconv.Itoa(r.status) }

func (a *answer) refusal(body io.ReaderAt) error {
	b := make([]byte, min(a.n, 1<<20))
	_, err := body.ReadAt(b, 0)
	var e api.Error
	if err != nil || json.Unmarshal(b, &e) != nil || e.Kind != "error" {
		return fault.New(fault.Invalid, "save", "", "the API answers %d, with nothing to save", a.status)
	}
	return &refusal{a.status, b}
}
