package postgres

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"freshet/backend/fault"
	"freshet/backend/space"
)

const (
	spoolBuffer = 256 << 10
	// maxSpool bounds what all transactions that are still running may take of the disk, in bytes, and spoolReserve is what
	// stays free there. Where that is not enough, the server is asked to keep them itself.
	maxSpool     = 64 << 30
	spoolReserve = 1 << 30
	// spoolLook is after how many bytes the disk is looked at.
	spoolLook = 16 << 20
)

// spool keeps the messages of one transaction that the server sends while it runs, as they came: it may be rolled back,
// and what its tables are is known for sure only once it has committed. A process that is killed leaves its file behind.
type spool struct {
	spools *spools
	file   *os.File
	size   int64  // of the file
	buf    []byte // behind the file's end
	subs   []subTransaction
	seen   map[uint32]bool // the subtransactions in subs
}

// subTransaction is where the first message of a subtransaction stands.
type subTransaction struct {
	xid uint32
	at  int64
}

// spools are all of a stream.
type spools struct {
	dir    string
	used   int64 // bytes of all files
	looked int64 // bytes written since the disk was looked at
}

// room reports whether n bytes more may be kept.
func (s *spools) room(n int64) error {
	if s.used += n; s.used > maxSpool {
		return spoolError(fmt.Errorf("they take more than %d GB", maxSpool>>30))
	}
	if s.looked += n; s.looked < spoolLook {
		return nil
	}
	s.looked = 0
	if free := space.Free(s.dir); free >= 0 && free < spoolReserve {
		return spoolError(fmt.Errorf("the disk has %d MB free", free>>20))
	}
	return nil
}

func (s *spools) open() (*spool, error) {
	file, err := os.CreateTemp(s.dir, "transaction-*")
	if err != nil {
		return nil, spoolError(err)
	}
	return &spool{spools: s, file: file, seen: map[uint32]bool{}}, nil
}

// errSpool is that running transactions cannot be kept here.
var errSpool = errors.New("changes of running transactions cannot be kept")

func spoolError(err error) error {
	return &fault.Error{Kind: fault.Unavailable, Op: "keep the changes of a running transaction", Code: "SPILL_FAILED", Err: fmt.Errorf("%w: %w", errSpool, err),
		Next: "the server is asked to keep them until they are committed; see to the disk of the data directory"}
}

const spoolHeader = 13 // size of the body, LSN, kind

// add keeps a message of a subtransaction, or of the transaction itself.
func (s *spool) add(xid uint32, lsn uint64, kind byte, body []byte) error {
	if !s.seen[xid] {
		s.seen[xid] = true
		s.subs = append(s.subs, subTransaction{xid, s.end()})
	}
	s.buf = binary.BigEndian.AppendUint32(s.buf, uint32(len(body)))
	s.buf = binary.BigEndian.AppendUint64(s.buf, lsn)
	s.buf = append(append(s.buf, kind), body...)
	if len(s.buf) < spoolBuffer {
		return nil
	}
	return s.flush()
}

func (s *spool) end() int64 { return s.size + int64(len(s.buf)) }

func (s *spool) flush() error {
	if err := s.spools.room(int64(len(s.buf))); err != nil {
		return err
	}
	if _, err := s.file.WriteAt(s.buf, s.size); err != nil {
		return spoolError(err)
	}
	s.size += int64(len(s.buf))
	s.buf = s.buf[:0]
	if cap(s.buf) > 2*spoolBuffer {
		s.buf = nil
	}
	return nil
}

// abort takes a subtransaction out, with everything behind its first message: what came later is in it. One that has sent
// nothing is not known.
func (s *spool) abort(xid uint32) {
	if !s.seen[xid] {
		return
	}
	i := len(s.subs) - 1
	for s.subs[i].xid != xid {
		i--
	}
	for _, sub := range s.subs[i:] {
		delete(s.seen, sub.xid)
	}
	at := s.subs[i].at
	s.subs = s.subs[:i]
	if at >= s.size {
		s.buf = s.buf[:at-s.size]
		return
	}
	s.spools.used -= s.size - at
	s.size, s.buf = at, s.buf[:0]
}

// each gives what is kept to f, in the order in which it came. The body is valid until f returns.
func (s *spool) each(f func(lsn uint64, kind byte, body []byte) error) error {
	rest := io.MultiReader(io.NewSectionReader(s.file, 0, s.size), bytes.NewReader(s.buf))
	r := bufio.NewReaderSize(rest, spoolBuffer)
	var body []byte
	for left := s.end(); left > 0; {
		head, err := r.Peek(spoolHeader)
		if err != nil {
			return spoolError(err)
		}
		size, lsn, kind := int(binary.BigEndian.Uint32(head)), binary.BigEndian.Uint64(head[4:]), head[12]
		_, _ = r.Discard(spoolHeader) // it is buffered
		if size > cap(body) {
			body = make([]byte, size)
		}
		if _, err := io.ReadFull(r, body[:size]); err != nil {
			return spoolError(err)
		}
		if err := f(lsn, kind, body[:size]); err != nil {
			return err
		}
		left -= int64(spoolHeader + size)
	}
	return nil
}

func (s *spool) close() {
	s.spools.used -= s.size
	_ = s.file.Close() // nothing of it is needed any more
	_ = os.Remove(s.file.Name())
}
