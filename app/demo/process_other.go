//go:build !unix

package demo

import (
	"errors"
	"os/exec"
	"syscall"
)

type account struct{}

func unprivileged() *account { return nil }

func (*account) own(string) error { return nil }

func attributes(*exec.Cmd, *account, syscall.Signal) {}

const sigKill, sigStop, sigCont, sigFast, sigCrash = syscall.SIGKILL, syscall.Signal(0), syscall.Signal(0), syscall.Signal(0), syscall.Signal(0)

func signal(int, syscall.Signal) error { return errors.New("this system has no signals") }

func dirByDescriptor(int) (string, bool) { return "", false }

func identity(int) string { return "" }

func worksIn(int, string) bool { return false }
