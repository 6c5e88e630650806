package postgres

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	wireBuffer = 4 << 20
	headerSize = 5 // type and length
)

// wire reads the server's messages. It is pgproto3's reader while a connection is made, giving it no more than the
// message that it is in, so that the stream can be taken over between two messages with nothing lost in a buffer.
type wire struct {
	r    io.Reader
	wait func() error // before each read of r
	max  int          // bytes of one message

	buf        []byte
	start, end int // what is read and not yet taken
	left       int // of the message that Read is in
}

func newWire(r io.Reader, max int) *wire {
	return &wire{r: r, max: max, buf: make([]byte, wireBuffer)}
}

// Read implements io.Reader for pgproto3.
func (w *wire) Read(p []byte) (int, error) {
	if w.left == 0 {
		n, err := w.peek()
		if err != nil {
			return 0, err
		}
		w.left = n
	}
	if w.start == w.end {
		if err := w.fill(1); err != nil {
			return 0, err
		}
	}
	n := copy(p, w.buf[w.start:min(w.end, w.start+w.left)])
	w.start += n
	w.left -= n
	return n, nil
}

// next returns the next message, whose body is valid until the next call.
func (w *wire) next() (kind byte, body []byte, err error) {
	n, err := w.peek()
	if err != nil {
		return 0, nil, err
	}
	if err := w.fill(n); err != nil {
		return 0, nil, err
	}
	message := w.buf[w.start : w.start+n]
	w.start += n
	return message[0], message[headerSize:], nil
}

// peek returns the size of the message at the start.
func (w *wire) peek() (int, error) {
	if err := w.fill(headerSize); err != nil {
		return 0, err
	}
	n := binary.BigEndian.Uint32(w.buf[w.start+1:])
	if n < headerSize-1 || n > uint32(w.max) {
		return 0, tooLongError(n)
	}
	return int(n) + 1, nil
}

// tooLongError is a message that is longer than it may be.
type tooLongError uint32

func (e tooLongError) Error() string { return fmt.Sprintf("a message of %d bytes", uint32(e)) }

// fill reads until n bytes are there.
func (w *wire) fill(n int) error {
	for w.end-w.start < n {
		if w.start == w.end {
			w.start, w.end = 0, 0
			if len(w.buf) > wireBuffer {
				w.buf = make([]byte, wireBuffer) // after a large message
			}
		}
		if w.end == len(w.buf) {
			w.makeRoom()
		}
		if w.wait != nil {
			if err := w.wait(); err != nil {
				return err
			}
		}
		read, err := w.r.Read(w.buf[w.end:])
		w.end += read
		if err != nil && w.end-w.start < n {
			return err
		}
	}
	return nil
}

// makeRoom moves what is there to the front, or doubles the buffer: it grows as bytes come, not by what a message
// claims to be.
func (w *wire) makeRoom() {
	to := w.buf
	if w.start == 0 {
		to = make([]byte, 2*len(w.buf))
	}
	w.end = copy(to, w.buf[w.start:w.end])
	w.start, w.buf = 0, to
}
