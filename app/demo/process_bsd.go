//go:build unix && !linux

package demo

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// setDeathSignal does nothing: the system has no such signal. A child notices the end of its standard input, and what
// is left is ended at the next start.
func setDeathSignal(*syscall.SysProcAttr, syscall.Signal) {}

func dirByDescriptor(int) (string, bool) { return "", false }

// identity says which process pid is: start time and command line. It is "" for a process that is gone.
func identity(pid int) string {
	out, err := exec.Command("ps", "-ww", "-o", "stat=,lstart=,command=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return ""
	}
	state, rest, ok := strings.Cut(strings.TrimSpace(string(out)), " ")
	if !ok || strings.HasPrefix(state, "Z") {
		return ""
	}
	return strings.TrimSpace(rest)
}

// worksIn cannot be told here: PostgreSQL itself refuses to start where another one runs on its data.
func worksIn(int, string) bool { return false }
