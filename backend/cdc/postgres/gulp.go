package postgres

import (
	"net"
	"syscall"
	"time"
)

const (
	// gulp is how long a reader that is faster than the server lets it go on alone: a reader that is there for every row
	// costs the server a wake-up for every row.
	gulp = time.Millisecond
	// gulpBytes is what is worth a wake-up meanwhile, and after which the server needs not be waited for.
	gulpBytes = 256 << 10
	// sip is what a gulp is given up after: the server has not so much to say.
	sip = 4 << 10
	// A reader keeps up row by row after so many reads in a row that came so soon after the one before.
	quickReads = 8
	quickly    = 100 * time.Microsecond
)

// gulper reads a connection in gulps while much comes, and at once otherwise.
type gulper struct {
	net.Conn
	raw   syscall.RawConn // nil where the system's socket is not to be had
	quick int
	full  bool // the last read left nothing to wait for
	last  time.Time

	buf        []byte // for who reads less than a gulp at a time, as TLS does
	start, end int
}

func newGulper(conn net.Conn) *gulper {
	g := &gulper{Conn: conn}
	if s, ok := conn.(syscall.Conn); ok {
		g.raw, _ = s.SyscallConn() // without it, only the wake-ups cannot be put off
	}
	return g
}

// Read implements io.Reader.
func (g *gulper) Read(p []byte) (int, error) {
	if g.start == g.end {
		if len(p) >= gulpBytes {
			return g.read(p)
		}
		if g.buf == nil {
			g.buf = make([]byte, gulpBytes)
		}
		n, err := g.read(g.buf)
		if g.start, g.end = 0, n; n == 0 {
			return 0, err
		}
	}
	n := copy(p, g.buf[g.start:g.end])
	g.start += n
	return n, nil
}

func (g *gulper) read(p []byte) (int, error) {
	if g.quick == quickReads && !g.full {
		g.wakeAt(gulpBytes)
		time.Sleep(gulp)
		g.wakeAt(1)
	}
	n, err := g.Conn.Read(p)
	now := time.Now()
	switch {
	case g.quick == quickReads && n >= sip:
	case g.quick < quickReads && now.Sub(g.last) < quickly:
		g.quick++
	default:
		g.quick = 0
	}
	g.last, g.full = now, n >= gulpBytes
	return n, err
}
