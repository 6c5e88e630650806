package demo

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"syscall"
)

func setDeathSignal(attr *syscall.SysProcAttr, s syscall.Signal) { attr.Pdeathsig = s }

// dirByDescriptor is the path by which a process opens a directory that it inherited as a descriptor. It works whatever
// the directories above allow, so that an unprivileged PostgreSQL can live below a folder only root may enter.
func dirByDescriptor(fd int) (string, bool) { return fmt.Sprintf("/proc/self/fd/%d", fd), true }

// identity says which process pid is, in a text that no other process ever has: boot, start time and command line. It is
// "" for a process that is gone or only waits for its parent to take note.
func identity(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]) // the name before it can hold anything
	if len(fields) < 20 || fields[0][0] == 'Z' || fields[0][0] == 'X' {
		return ""
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s %s %s", bytes.TrimSpace(boot), fields[19],
		strings.TrimSpace(strings.ReplaceAll(string(command), "\x00", " ")))
}

// worksIn reports whether the process's working directory is dir, as PostgreSQL's is its data directory.
func worksIn(pid int, dir string) bool {
	cwd, err := os.Stat(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		return false
	}
	want, err := os.Stat(dir)
	return err == nil && os.SameFile(cwd, want)
}
