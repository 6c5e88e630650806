//go:build !no_ui

// Package frontend holds the built page.
package frontend

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

// FS is the built page with index.html at its root; it holds no index.html where the page was not built.
func FS() fs.FS {
	page, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // dist is a valid path, so this cannot be
	}
	return page
}
