//go:build unix && !linux

package testkit

import (
	"os"
	"path/filepath"
	"syscall"
)

func postgresCache() (string, error) {
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "freshet", "postgres"), err
}

func unprivileged() *syscall.SysProcAttr { return nil }

func giveToPostgres(string) error { return nil }

func childrenOf(int) []int { return nil }

func ended(int) bool { return false }
