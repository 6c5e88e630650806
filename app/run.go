package app

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"freshet/backend/fault"
)

// Files of the data directory by which a running instance is found.
const (
	runFile   = "run.json"
	TokenFile = "token" // 0600: what the command line of the same user shows
)

// RunInfo is run.json: how to find what runs on a data directory.
type RunInfo struct {
	V         int        `json:"v"`
	PID       int        `json:"pid"`
	Version   string     `json:"version"`
	URL       string     `json:"url"`
	Broker    string     `json:"broker,omitempty"`
	Registry  string     `json:"registry,omitempty"`
	Postgres  string     `json:"postgres,omitempty"`
	Warehouse string     `json:"warehouse,omitempty"`
	Children  []RunChild `json:"children,omitempty"`
}

// RunChild is a process that the demo started.
type RunChild struct {
	Name string `json:"name"`
	PID  int    `json:"pid"`
}

// ReadRun tells what runs on a data directory; fault.Unavailable where nothing does.
func ReadRun(dir string) (RunInfo, error) {
	b, err := os.ReadFile(filepath.Join(dir, runFile))
	if errors.Is(err, fs.ErrNotExist) {
		return RunInfo{}, fault.New(fault.Unavailable, "", "`freshet serve --data "+dir+"` starts one, `freshet demo --data "+dir+"` a demo", "no Freshet is running on %s", dir)
	}
	if err != nil {
		return RunInfo{}, fault.Wrap(fault.Unavailable, "find the running instance", err, "run this as the user who started it")
	}
	var r RunInfo
	if err := json.Unmarshal(b, &r); err != nil {
		return RunInfo{}, fault.Wrap(fault.Unavailable, "read "+filepath.Join(dir, runFile), err, "start Freshet again")
	}
	if !alive(r.PID) {
		return RunInfo{}, fault.New(fault.Unavailable, "", "`freshet serve --data "+dir+"` or `freshet demo --data "+dir+"` goes on with what is there", "the Freshet that ran on %s is gone", dir)
	}
	return r, nil
}
