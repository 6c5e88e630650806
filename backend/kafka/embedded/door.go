package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// door is the broker's listener. Until accept runs only our own connections come in: what a crash left is put right
// before anybody else can look.
type door struct {
	net.Listener
	in   chan net.Conn
	once sync.Once
	shut chan struct{}
}

func newDoor(ln net.Listener) *door {
	return &door{Listener: ln, in: make(chan net.Conn), shut: make(chan struct{})}
}

func (d *door) Accept() (net.Conn, error) {
	select {
	case c := <-d.in:
		return c, nil
	case <-d.shut:
		return nil, net.ErrClosed
	}
}

func (d *door) Close() error {
	var err error
	d.once.Do(func() {
		close(d.shut)
		err = d.Listener.Close()
	})
	return err
}

// accept lets everybody in until the door is closed.
func (d *door) accept() {
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			return
		}
		select {
		case d.in <- c:
		case <-d.shut:
			c.Close()
			return
		}
	}
}

// dial is a connection of our own.
func (d *door) dial() (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case d.in <- theirs:
		return ours, nil
	case <-d.shut:
		return nil, errors.Join(net.ErrClosed, ours.Close(), theirs.Close())
	}
}

// ask makes one request over a connection of our own.
func ask(ctx context.Context, c net.Conn, req kmsg.Request, version int16) (kmsg.Response, error) {
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	req.SetVersion(version)
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID("freshet/local")).AppendRequest(nil, req, 1)
	// A pipe has no buffer: the answer is read while the request is written.
	wrote := make(chan error, 1)
	go func() {
		_, err := c.Write(frame)
		wrote <- err
	}()
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c, body); err != nil {
		return nil, err
	}
	if err := <-wrote; err != nil {
		return nil, err
	}
	body = body[4:] // correlation id
	resp := req.ResponseKind()
	if resp.IsFlexible() && resp.Key() != 18 {
		body = body[1:] // no tags
	}
	return resp, resp.ReadFrom(body)
}
