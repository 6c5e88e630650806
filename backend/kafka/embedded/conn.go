package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"freshet/backend/kafka/internal/wire"
)

// innerListener hands connections to kfake. It says the address that clients are told.
type innerListener struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newInnerListener(addr net.Addr) *innerListener {
	return &innerListener{addr: addr, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *innerListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *innerListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *innerListener) Addr() net.Addr { return l.addr }

// give hands c over, or closes it where nobody listens any more.
func (l *innerListener) give(c net.Conn) error {
	select {
	case l.conns <- c:
		return nil
	case <-l.done:
		c.Close()
		return net.ErrClosed
	}
}

// maxConns bounds the connections of clients; one takes two goroutines and its buffers.
const maxConns = 4000

// accept takes clients until the listener is closed.
func (b *Broker) accept() {
	for {
		conn, err := b.tcp.Accept()
		if err != nil {
			return
		}
		c := &clientConn{Conn: conn, b: b}
		if !b.conns.add(c) {
			conn.Close()
			continue
		}
		b.inner.give(c)
	}
}

// connSet are the connections that are open.
type connSet struct {
	mu     sync.Mutex
	m      map[*clientConn]struct{}
	closed bool
}

func (s *connSet) add(c *clientConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.m) >= maxConns {
		return false
	}
	if s.m == nil {
		s.m = make(map[*clientConn]struct{})
	}
	s.m[c] = struct{}{}
	return true
}

func (s *connSet) remove(c *clientConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.m, c)
}

func (s *connSet) closeAll() {
	s.mu.Lock()
	s.closed = true
	open := make([]*clientConn, 0, len(s.m))
	for c := range s.m {
		open = append(open, c)
	}
	s.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
}

// clientConn is a client's connection as kfake sees it. kfake reads a request's length, then the request, each in one
// piece, hands it on when the one before is answered, and writes each answer whole.
type clientConn struct {
	net.Conn
	b *Broker

	// Of the reading goroutine.
	head [12]byte // length, key, version and correlation of the request that comes
	size int      // of the request whose length was read, 0 none
	rest []byte   // to be given before anything is read

	mu      sync.Mutex
	waiting []pending // requests whose answers matter, in order
	closed  bool
}

// pending is a request that was handed to kfake.
type pending struct {
	correlation  int32
	key, version int16
	parts        []part // that it writes to
	request      kmsg.Request
	txn          string
}

const maxRequest = 100 << 20 // Kafka's default

// Read gives kfake the client's requests, having looked at each.
func (c *clientConn) Read(p []byte) (int, error) {
	if len(c.rest) > 0 {
		n := copy(p, c.rest)
		c.rest = c.rest[n:]
		return n, nil
	}
	if c.size == 0 {
		return c.begin(p)
	}
	size := c.size
	c.size = 0
	frame := p
	if len(p) < size {
		frame = make([]byte, size)
	}
	frame = frame[:size]
	copy(frame, c.head[4:])
	if _, err := io.ReadFull(c.Conn, frame[8:]); err != nil {
		return 0, err
	}
	if err := c.request(frame); err != nil {
		return 0, err
	}
	if len(p) < size {
		c.rest = frame
		return c.Read(p)
	}
	return size, nil
}

// begin reads the length of the next request and what says which it is.
func (c *clientConn) begin(p []byte) (int, error) {
	if _, err := io.ReadFull(c.Conn, c.head[:]); err != nil {
		return 0, err
	}
	size := int(binary.BigEndian.Uint32(c.head[:]))
	key := int16(binary.BigEndian.Uint16(c.head[4:]))
	// kfake would allocate what is claimed, and fall over a key that it does not know.
	if size < 8 || size > maxRequest || kmsg.RequestForKey(key) == nil {
		return 0, fmt.Errorf("not a Kafka request: %q", c.head[:])
	}
	if key == wire.CreateTopics {
		frame := make([]byte, size)
		copy(frame, c.head[4:])
		if _, err := io.ReadFull(c.Conn, frame[8:]); err != nil {
			return 0, err
		}
		frame, err := c.b.rewriteCreate(frame)
		if err != nil {
			return 0, err
		}
		if err := c.request(frame); err != nil {
			return 0, err
		}
		c.rest = append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)
		return c.Read(p)
	}
	c.size = size
	c.rest = c.head[:4]
	return c.Read(p)
}

var errBatch = errors.New("a batch that claims no records")

// request looks at one request before kfake has it.
func (c *clientConn) request(frame []byte) error {
	h, err := wire.ParseHeader(frame)
	if err != nil {
		return err
	}
	w := pending{correlation: h.Correlation, key: h.Key, version: h.Version}
	switch h.Key {
	case wire.Produce:
		return c.produce(h, frame, w)
	case wire.Fetch:
		c.b.skipCompacted(h, frame)
		return nil
	case wire.OffsetCommit, wire.DeleteTopics, wire.CreateTopics, wire.CreatePartitions, wire.OffsetDelete:
		// The answer says that something was written.
	case wire.InitProducerID, wire.AddPartitionsToTxn, wire.AddOffsetsToTxn, wire.EndTxn, wire.TxnOffsetCommit, wire.DeleteRecords, wire.WriteTxnMarkers:
		req := kmsg.RequestForKey(h.Key)
		req.SetVersion(h.Version)
		if err := req.ReadFrom(frame[h.Body:]); err != nil {
			return err
		}
		w.request = req
		if err := c.b.before(&w); err != nil {
			return err
		}
	default:
		return nil
	}
	c.await(w)
	return nil
}

// produce notes which partitions are written, and by which transaction.
func (c *clientConn) produce(h wire.Header, frame []byte, w pending) error {
	body := frame[h.Body:]
	var pid int64 = -1
	var epoch int16
	_, acks, err := wire.ParseProduce(h.Version, body, func(p *wire.Batch) error {
		if p.Bytes >= wire.BatchHead && p.Records <= 0 {
			return errBatch // kfake would move the end of its log back
		}
		name := string(p.Topic)
		if p.Topic == nil {
			name = c.b.names.of(p.TopicID)
		}
		w.parts = append(w.parts, part{name, p.Partition})
		if p.Transactional() {
			pid, epoch = p.ProducerID, p.Epoch
		}
		return nil
	})
	if err != nil {
		return err
	}
	if pid >= 0 {
		txn, _, _ := wire.ParseProduce(h.Version, body, func(*wire.Batch) error { return nil })
		c.b.txns.touch(string(txn), pid, epoch, w.parts)
	}
	c.b.quota.grow(len(frame))
	if acks == 0 {
		return nil // nothing is promised
	}
	c.await(w)
	return nil
}

func (c *clientConn) await(w pending) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = append(c.waiting, w)
}

// Write sends a client kfake's answer, having drawn from it what must be known before the client has it.
func (c *clientConn) Write(p []byte) (int, error) {
	if len(p) >= 8 {
		correlation := int32(binary.BigEndian.Uint32(p[4:]))
		c.mu.Lock()
		var w pending
		answered := len(c.waiting) > 0 && c.waiting[0].correlation == correlation
		if answered {
			w = c.waiting[0]
			c.waiting = slices.Delete(c.waiting, 0, 1)
		}
		c.mu.Unlock()
		if answered {
			c.b.after(&w, p[8:])
		}
	}
	return c.Conn.Write(p)
}

// Close ends the connection. What was handed over may have been written, though nobody is told.
func (c *clientConn) Close() error {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	waiting := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	if first {
		c.b.conns.remove(c)
		for i := range waiting {
			c.b.sync.mark(&waiting[i])
		}
	}
	return c.Conn.Close()
}
