package app

import (
	"runtime"
	"runtime/debug"

	sqlite3 "github.com/mattn/go-sqlite3"

	"freshet/backend/api"
)

// version and commit are set by the linker: see the Makefile.
var (
	version = "dev"
	commit  = ""
)

// BuildVersion is what this program was built from.
func BuildVersion() api.Version {
	v := api.Version{Head: api.Head{V: 1, Kind: "version"}, Version: version, Commit: commit, Go: runtime.Version()}
	v.SQLite, _, _ = sqlite3.Version()
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	for _, dep := range info.Deps {
		if dep.Path == "github.com/twmb/franz-go" {
			v.Franz = dep.Version
		}
	}
	return v
}
