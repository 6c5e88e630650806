//go:build unix

// Package space tells how much room there is.
package space

import "golang.org/x/sys/unix"

// Free is how many bytes the disk under path still takes, -1 unknown.
func Free(path string) int64 {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return -1
	}
	return int64(s.Bavail) * int64(s.Bsize)
}
