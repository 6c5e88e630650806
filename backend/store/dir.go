package store

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"freshet/backend/fault"
)

// openDir makes the data directory, private to its user, and takes its lock.
func openDir(dir string, log *slog.Logger) (lock *os.File, err error) {
	op := "open data directory " + dir
	const next = "give a directory of your own with --data"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.Wrap(fault.Unavailable, op, err, next)
	}
	if fs := networkFS(dir); fs != "" {
		return nil, fault.New(fault.Invalid, op, "give a directory on a local disk with --data",
			"it is on a network file system (%s), where SQLite's files can be damaged", fs)
	}
	if err := private(dir, log); err != nil {
		return nil, fault.Wrap(fault.Unavailable, op, err, next)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, op, err, next)
	}
	held, err := tryLock(f)
	if err != nil {
		f.Close()
		return nil, fault.Wrap(fault.Unavailable, op+": lock", err, next)
	}
	if held {
		owner := "another process"
		if pid := readPID(f); pid != 0 {
			owner = fmt.Sprintf("process %d", pid)
		}
		f.Close()
		return nil, &fault.Error{Kind: fault.Conflict, Op: op, Code: "DATA_IN_USE",
			Err: fmt.Errorf("%s is running on it", owner), Next: "use the running one, stop it, or give another directory with --data"}
	}
	if err := writePID(f); err != nil {
		f.Close()
		return nil, fault.Wrap(fault.Unavailable, op+": lock", err, "free some disk space, and start again")
	}
	return f, nil
}

// private takes everybody else's permissions from dir, where the directory is Freshet's own: new, or locked by it
// before. One that holds something else is left as it is; the files in it are private by themselves.
func private(dir string, log *slog.Logger) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	ours := len(entries) == 0
	for _, e := range entries {
		ours = ours || e.Name() == "lock"
	}
	if !ours {
		log.Warn("others may list the data directory", "dir", dir, "mode", info.Mode().Perm())
		return nil
	}
	return os.Chmod(dir, 0o700)
}

type lockJSON struct {
	PID int `json:"pid"`
}

func writePID(f *os.File) error {
	b, err := json.Marshal(lockJSON{os.Getpid()})
	if err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(append(b, '\n'), 0)
	return err
}

// readPID is for a message only: whether the directory is in use, the lock alone decides.
func readPID(f *os.File) int {
	var l lockJSON
	b, err := io.ReadAll(io.LimitReader(f, 1<<10))
	if err != nil || json.Unmarshal(b, &l) != nil {
		return 0
	}
	return l.PID
}

// touch makes an empty file that only its owner can read, so that SQLite, which would make it readable by everybody,
// finds it there. The -wal and -shm files get the same mode.
func touch(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}
