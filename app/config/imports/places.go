package imports

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"freshet/backend/fault"
)

// Place is where a tool keeps its connections.
type Place struct{ Tool, File string }

// Places are the well-known files, there or not.
func Places(home string, env func(string) string) []Place {
	var all []Place
	add := func(tool string, path ...string) {
		file := filepath.Join(path...)
		if filepath.IsAbs(file) && !slices.ContainsFunc(all, func(p Place) bool { return p.File == file }) {
			all = append(all, Place{tool, file})
		}
	}
	dotConfig := env("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dotConfig) {
		dotConfig = filepath.Join(home, ".config")
	}
	ofSystem := dotConfig // what os.UserConfigDir is
	switch runtime.GOOS {
	case "darwin":
		ofSystem = filepath.Join(home, "Library", "Application Support")
	case "windows":
		ofSystem = env("AppData")
	}
	add(rpk, ofSystem, "rpk", "rpk.yaml")
	add(rpk, "/etc/redpanda/redpanda.yaml")
	add(kcat, env("KCAT_CONFIG"))
	add(kcat, env("KAFKACAT_CONFIG"))
	add(kcat, home, ".config", "kcat.conf")
	add(kcat, home, ".config", "kafkacat.conf")
	add(kaf, home, ".kaf", "config")
	add(kafkactl, env("KAFKA_CTL_CONFIG"))
	add(kafkactl, dotConfig, "kafkactl", "config.yml")
	add(kafkactl, home, ".kafkactl", "config.yml")
	add(kafkactl, "/etc/kafkactl/config.yml")
	add(kafkaUI, "/etc/kafkaui/dynamic_config.yaml")
	for f := range strings.SplitSeq(env("MICRONAUT_CONFIG_FILES"), ",") {
		add(akhq, strings.TrimSpace(f))
	}
	return all
}

// Open reads what a place holds; an error of fs.ErrNotExist is a tool that is not there. Only regular files are opened: a
// pipe would hold the asker.
func Open(p Place) ([]Connection, error) {
	op := "read " + p.File
	info, err := os.Stat(p.File)
	if err == nil && !info.Mode().IsRegular() {
		return nil, fault.New(fault.Invalid, op, "give the file itself", "it is no regular file")
	}
	if err != nil {
		return nil, unreadable(op, err)
	}
	f, err := os.Open(p.File)
	if err != nil {
		return nil, unreadable(op, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, MaxText+1))
	if err != nil {
		return nil, unreadable(op, err)
	}
	return Read(p.File, text)
}

func unreadable(op string, err error) error {
	var why *fs.PathError
	if errors.As(err, &why) {
		err = why.Err // the operation names the file already
	}
	return fault.Wrap(fault.Invalid, op, err, "let the user that runs Freshet read it, or choose a copy of it")
}
