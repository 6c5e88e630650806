package testkit

import (
	"bytes"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// postgresCache is where fetched builds are kept: the user's cache, and for root one that the unprivileged account can
// read, which root's own is not.
func postgresCache() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/cache/freshet/postgres", nil
	}
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "freshet", "postgres"), err
}

// unprivileged runs a process as the postgres account where we are root, since the server refuses to be, and has it end
// with the test program.
func unprivileged() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
	if uid, gid, ok := postgresAccount(); ok {
		attr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
	}
	return attr
}

func giveToPostgres(dir string) error {
	if uid, gid, ok := postgresAccount(); ok {
		return os.Chown(dir, int(uid), int(gid))
	}
	return nil
}

// postgresAccount is the account to run a server as; ok is false where we are not root.
func postgresAccount() (uid, gid uint32, ok bool) {
	if os.Geteuid() != 0 {
		return 0, 0, false
	}
	for _, name := range []string{postgresUser, "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		id, err1 := strconv.ParseUint(u.Uid, 10, 32)
		group, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return uint32(id), uint32(group), true
		}
	}
	return 0, 0, false
}

// childrenOf lists the direct children of a process.
func childrenOf(pid int) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var children []int
	for _, e := range entries {
		id, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if _, parent, ok := processState(id); ok && parent == pid {
			children = append(children, id)
		}
	}
	return children
}

// ended reports whether a process is gone, or waits only for its parent to take note.
func ended(pid int) bool {
	state, _, ok := processState(pid)
	return !ok || state == 'Z'
}

func processState(pid int) (state byte, parent int, ok bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, false
	}
	afterName := b[bytes.LastIndexByte(b, ')')+1:] // the name can hold anything
	_, err = fmt.Sscanf(string(afterName), " %c %d", &state, &parent)
	return state, parent, err == nil
}
