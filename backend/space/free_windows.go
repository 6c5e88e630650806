// Package space tells how much room there is.
package space

import "golang.org/x/sys/windows"

// Free is how many bytes the disk under path still takes, -1 unknown.
func Free(path string) int64 {
	p, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return -1
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(p, &free, nil, nil); err != nil {
		return -1
	}
	return int64(free)
}
