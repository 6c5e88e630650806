package store

import (
	"log/slog"
	"os"
)

// ballast keeps a file of the given size, to be given up when the disk is full: then there is room for what must be
// written about that. The returned function gives it up; it is made again at the next start. nil for size 0.
func ballast(path string, size int64, log *slog.Logger) (giveUp func()) {
	if size == 0 {
		return nil
	}
	if info, err := os.Stat(path); err != nil || info.Size() != size {
		if err := fill(path, size); err != nil {
			log.Warn("no ballast for a full disk", "file", path, "err", err)
			os.Remove(path)
		}
	}
	return func() {
		if err := os.Remove(path); err == nil {
			log.Warn("the disk is full: gave up the ballast", "file", path, "bytes", size)
		}
	}
}

// fill writes real bytes: a file with holes would not hold any room.
func fill(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i * 7)
	}
	for at := int64(0); at < size; at += int64(len(block)) {
		if _, err := f.Write(block[:min(int64(len(block)), size-at)]); err != nil {
			f.Close()
			return err
		}
	}
	return f.Close()
}
