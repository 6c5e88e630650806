//go:build no_ui

// Package frontend holds the built page; a build with the tag no_ui has none.
package frontend

import "io/fs"

// FS is nil: this program was built without a page.
func FS() fs.FS { return nil }
