//go:build unix

package imports

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A pipe that nobody writes to would hold the one who opens it.
func TestOpenPipe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Place{kcat, file}); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Error(err)
	}
}
