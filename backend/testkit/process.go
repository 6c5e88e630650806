//go:build unix

package testkit

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
)

// Missing skips a test for want of a system, and fails it where CI=true: there everything can be had.
func Missing(t testing.TB, system string, err error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not to be had here: %v", system, err)
	}
	t.Skipf("%s is not to be had here, so this is NOT tested: %v", system, err)
}

// process is a server's, with what it says in a file.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended
}

// start starts cmd, and returns when it runs.
func (p *process) start(cmd *exec.Cmd, log *os.File) error {
	cmd.Stdout, cmd.Stderr = log, log
	p.cmd, p.done = cmd, make(chan struct{})
	started := make(chan error)
	go func(done chan struct{}) {
		defer close(done)
		onThread(func() error {
			err := cmd.Start()
			started <- err
			if err == nil {
				cmd.Wait() // how it ended is in its log
			}
			return nil
		})
	}(p.done)
	return <-started
}

// Running reports whether the process lives.
func (p *process) Running() bool {
	if p.done == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// onThread runs f on an operating system thread of its own: the signal that a dead test sends its processes is sent when
// the thread ends that started them.
func onThread(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	return f()
}

// tail is the end of a log.
func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-8192):])
}
