package postgres

import "golang.org/x/sys/unix"

// wakeAt has the socket wake its reader from so many bytes on (tcp(7), SO_RCVLOWAT).
func (g *gulper) wakeAt(bytes int) {
	if g.raw != nil {
		_ = g.raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, bytes) })
	}
}
