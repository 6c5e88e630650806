//go:build unix

package demo

import (
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// account is the user that PostgreSQL runs as where we are root, which its server refuses to be.
type account struct{ uid, gid uint32 }

// unprivileged returns the account to run PostgreSQL as: nil is ourselves, which is right for everybody but root.
func unprivileged() *account {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &account{uint32(uid), uint32(gid)}
		}
	}
	return &account{65534, 65534}
}

func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	return os.Chown(path, int(a.uid), int(a.gid))
}

// attributes sets what the process runs as and, where the system can, which signal it gets when we die. Its own process
// group keeps a Ctrl-C on our terminal from it: we end our children ourselves, in order.
func attributes(cmd *exec.Cmd, a *account, deathSignal syscall.Signal) {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if a != nil {
		attr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	setDeathSignal(attr, deathSignal)
	cmd.SysProcAttr = attr
}

const (
	sigKill  = syscall.SIGKILL
	sigStop  = syscall.SIGSTOP
	sigCont  = syscall.SIGCONT
	sigFast  = syscall.SIGINT  // PostgreSQL: cut the sessions, shut down cleanly
	sigCrash = syscall.SIGQUIT // PostgreSQL: stop at once, recover at the next start
)

func signal(pid int, s syscall.Signal) error { return syscall.Kill(pid, s) }
