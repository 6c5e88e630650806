package app

import (
	"io/fs"
	"net/http"
	"path"
	"strings"
)

// pageHandler serves the built page. Hashed assets may be kept for ever, everything else is asked for anew; whatever is
// no file is the page itself, so that a link to anywhere in it opens.
func pageHandler(files fs.FS) http.Handler {
	if files == nil {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "this build of Freshet has no page; the API and the command line work", http.StatusNotFound)
		})
	}
	server := http.FileServerFS(files)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
		if strings.HasPrefix(name, "assets/") {
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		} else {
			w.Header().Set("Cache-Control", "no-store")
		}
		if info, err := fs.Stat(files, name); name != "" && (err != nil || info.IsDir()) {
			if strings.HasPrefix(name, "assets/") {
				http.NotFound(w, r)
				return
			}
			r = r.Clone(r.Context())
			r.URL.Path = "/"
		}
		server.ServeHTTP(w, r)
	})
}
