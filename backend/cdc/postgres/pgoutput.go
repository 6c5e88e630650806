package postgres

import (
	"bytes"
	"encoding/binary"
	"time"

	"freshet/backend/cdc"
	"freshet/backend/fault"
)

// pgEpoch is PostgreSQL's: 2000-01-01 in microseconds since 1970.
const pgEpoch = 946_684_800 * 1_000_000

// fields reads the fields of a message of pgoutput. After a field that is not there bad is set and the rest are zero.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) take(n int) []byte {
	if n < 0 || n > len(f.b) {
		f.bad, f.b = true, nil
		return nil
	}
	v := f.b[:n:n]
	f.b = f.b[n:]
	return v
}

func (f *fields) byte() byte {
	if v := f.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (f *fields) uint16() uint16 {
	if v := f.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (f *fields) uint32() uint32 {
	if v := f.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (f *fields) uint64() uint64 {
	if v := f.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// text reads up to a zero byte.
func (f *fields) text() []byte {
	n := bytes.IndexByte(f.b, 0)
	if n < 0 {
		f.bad, f.b = true, nil
		return nil
	}
	v := f.b[:n:n]
	f.b = f.b[n+1:]
	return v
}

// tuple reads a row into t, whose values alias the message.
func (f *fields) tuple(t *tuple) {
	t.reset()
	for range f.uint16() {
		switch kind := f.byte(); kind {
		case 'n', 'u':
			t.add(kind, nil)
		case 't':
			t.add(kind, f.take(int(f.uint32())))
		default: // binary values are never asked for
			f.bad = true
		}
		if f.bad {
			return
		}
	}
}

func (f *fields) done() bool { return !f.bad && len(f.b) == 0 }

type beginMessage struct {
	commit uint64 // LSN of the commit
	micros int64  // commit time, since 1970
	xid    uint32
}

func readBegin(b []byte) (m beginMessage, ok bool) {
	f := fields{b: b}
	m.commit = f.uint64()
	m.micros = int64(f.uint64()) + pgEpoch
	m.xid = f.uint32()
	return m, f.done()
}

type commitMessage struct{ commit, end uint64 }

func readCommit(b []byte) (m commitMessage, ok bool) {
	f := fields{b: b}
	f.byte() // flags, none in use
	m.commit = f.uint64()
	m.end = f.uint64()
	f.uint64() // time, as in begin
	return m, f.done()
}

// streamCommit is the commit of a transaction that was sent while it ran.
type streamCommit struct {
	xid    uint32
	commit uint64
	end    uint64
	micros int64
}

func readStreamCommit(b []byte) (m streamCommit, ok bool) {
	f := fields{b: b}
	m.xid = f.uint32()
	f.byte() // flags, none in use
	m.commit = f.uint64()
	m.end = f.uint64()
	m.micros = int64(f.uint64()) + pgEpoch
	return m, f.done()
}

func readStreamStart(b []byte) (xid uint32, first, ok bool) {
	f := fields{b: b}
	xid = f.uint32()
	first = f.byte() == 1
	return xid, first, f.done()
}

// readStreamAbort reads that a transaction, or a subtransaction of it, was rolled back.
func readStreamAbort(b []byte) (xid, sub uint32, ok bool) {
	f := fields{b: b}
	xid = f.uint32()
	sub = f.uint32()
	return xid, sub, f.done()
}

func readRelation(b []byte) (sh shape, ok bool) {
	f := fields{b: b}
	sh.oid = f.uint32()
	sh.table = cdc.Table{Schema: string(f.text()), Name: string(f.text())}
	if sh.table.Schema == "" {
		sh.table.Schema = "pg_catalog"
	}
	sh.identity = f.byte()
	for range f.uint16() {
		var c shapeColumn
		c.identity = f.byte()&1 != 0
		c.name = string(f.text())
		c.typ = f.uint32()
		c.mod = int32(f.uint32())
		if f.bad {
			return sh, false
		}
		sh.columns = append(sh.columns, c)
	}
	return sh, f.done()
}

// rowMessage is an insert, update or delete.
type rowMessage struct {
	relation uint32
	// hasOld says that old is there: the whole row where the replica identity is full, else the identity's columns.
	hasOld, hasNew bool
	old, new       tuple
}

func (m *rowMessage) read(b []byte) bool {
	f := fields{b: b}
	m.relation = f.uint32()
	m.hasOld, m.hasNew = false, false
	for len(f.b) > 0 {
		switch f.byte() {
		case 'K', 'O':
			if m.hasOld || m.hasNew {
				return false
			}
			m.hasOld = true
			f.tuple(&m.old)
		case 'N':
			if m.hasNew {
				return false
			}
			m.hasNew = true
			f.tuple(&m.new)
		default:
			return false
		}
	}
	return f.done()
}

func readTruncate(b []byte, relations []uint32) ([]uint32, bool) {
	f := fields{b: b}
	n := f.uint32()
	f.byte() // CASCADE, RESTART IDENTITY: the tables are named either way
	for i := uint32(0); i < n && !f.bad; i++ {
		relations = append(relations, f.uint32())
	}
	return relations, f.done()
}

func readOrigin(b []byte) (lsn uint64, name []byte, ok bool) {
	f := fields{b: b}
	lsn = f.uint64()
	name = f.text()
	return lsn, name, f.done()
}

func malformed(kind byte) error {
	return fault.New(fault.Internal, "read the replication stream", "please report this", "a message of type %q has not the form that it should", kind)
}

func pgTime(micros int64) time.Time { return time.UnixMicro(micros).UTC() }
