package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"freshet/backend/cdc"
	"freshet/backend/fault"
	"freshet/backend/stream"
)

const (
	// statusEvery is how often the server hears from us, and is asked how far it is. It is far below any sensible
	// wal_sender_timeout; a smaller one is followed.
	statusEvery = time.Second
	// leastStatus bounds how often a heartbeat asks the server.
	leastStatus = 10 * time.Millisecond
	// silence is how long the server may say nothing though it is asked every statusEvery.
	silence = 45 * time.Second
	// writeLimit bounds a status update's way into the socket.
	writeLimit = 10 * time.Second
	// keptRound is after how many messages that were kept the time is looked at.
	keptRound = 256
	// farewell bounds how long a stop waits for the server to take the last status update.
	farewell = 2 * time.Second
)

// replication is a connection in replication mode.
type replication struct {
	conn *pgconn.PgConn
	wire *wire
}

// openReplication connects for replication commands.
func (s *Source) openReplication(ctx context.Context) (*replication, error) {
	config := s.connection(maxStreamBody).Config
	config.RuntimeParams["replication"] = "database"
	r := &replication{}
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return newGulper(conn), nil
	}
	config.BuildFrontend = func(reader io.Reader, writer io.Writer) *pgproto3.Frontend {
		r.wire = newWire(reader, maxStreamBody)
		return pgproto3.NewFrontend(r.wire, writer)
	}
	var err error
	if r.conn, err = pgconn.ConnectConfig(ctx, &config); err != nil {
		return nil, s.fault("connect for replication", err)
	}
	if version(r.conn) >= 140000 {
		if _, err := r.conn.Exec(ctx, "SET idle_session_timeout = 0").ReadAll(); err != nil {
			r.close()
			return nil, s.fault("connect for replication", err)
		}
	}
	return r, nil
}

func (r *replication) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = r.conn.Close(ctx) // nothing depends on the farewell
}

// streamer is one run of the stream. Its loop reads and encodes; sender is the only one that writes.
type streamer struct {
	s       *Source
	w       *cdc.Writer
	catalog *catalog
	env     *envelope
	marks   *marks
	conn    net.Conn
	wire    *wire

	shapes     map[uint32]shape // as last told, and not used yet
	relations  map[uint32]*relation
	tables     map[cdc.Table]string
	row        rowMessage
	truncated  []uint32
	open       bool // inside a transaction
	spools     spools
	running    map[uint32]*spool // transactions that are sent while they run
	part       *spool            // the one that a part of is being sent
	partOf     uint32
	lastCommit uint64

	asked chan struct{} // cap 1: the server wants a status update
}

// stream captures from the confirmed position on until ctx ends.
func (s *Source) stream(ctx context.Context, w *cdc.Writer, d detail) error {
	const op = "stream changes"
	r, err := s.openReplication(ctx)
	if err != nil {
		return err
	}
	if err := s.checkServer(ctx, r, w, &d); err != nil {
		r.close()
		return err
	}
	timeout, err := s.senderTimeout(ctx, r)
	if err != nil {
		r.close()
		return err
	}
	env, catalog := s.newEnvelope(), s.newCatalog(nil)
	marks, err := s.newMarks(ctx, w, env, &catalog.values)
	if err != nil {
		r.close()
		return err
	}
	args := []string{"proto_version '1'", "publication_names " + quoteLiteral(d.publicationNames())}
	if version(r.conn) >= 140000 {
		args = append(args, "messages 'true'")
		if s.spills() {
			args[0] = "proto_version '2'"
			args = append(args, "streaming 'true'")
		}
	}
	err = pglogrepl.StartReplication(ctx, r.conn, s.slot, pglogrepl.LSN(w.Confirmed()), pglogrepl.StartReplicationOptions{
		Mode: pglogrepl.LogicalReplication, PluginArgs: args,
	})
	if err != nil {
		r.close()
		return s.fault(op, err)
	}
	hijacked, err := r.conn.Hijack()
	if err != nil {
		r.close()
		return s.fault(op, err)
	}
	st := &streamer{
		s: s, w: w, catalog: catalog, env: env, marks: marks, conn: hijacked.Conn, wire: r.wire,
		shapes: map[uint32]shape{}, relations: map[uint32]*relation{}, tables: map[cdc.Table]string{}, asked: make(chan struct{}, 1),
		spools: spools{dir: s.o.SpillDir}, running: map[uint32]*spool{},
	}
	defer st.forget()
	for t, topic := range d.topics(s) {
		st.tables[t] = topic
	}
	w.SetTables(st.tables)
	w.SetState(cdc.Streaming, "")
	err = st.run(ctx, d, timeout)
	var failed *pgconn.PgError
	switch {
	case errors.Is(err, errSpool):
		s.noSpill = true
	case s.spills() && errors.As(err, &failed) && failed.Code == internalError:
		// PostgreSQL 15 was seen to fail so ("could not map filenode") where a running transaction's DDL was rolled back.
		s.noSpill = true
		return fault.New(fault.Unavailable, op, "it is tried again soon, and asked to send transactions once they have committed",
			"the server has failed while it sent a running transaction: %s", failed.Message)
	}
	return s.fault(op, err)
}

// internalError is the server's SQLSTATE of what should not be.
const internalError = "XX000"

// spills reports whether the server may send transactions while they run.
func (s *Source) spills() bool { return s.o.SpillDir != "" && !s.noSpill && !s.handling.whole }

func (st *streamer) forget() {
	for _, sp := range st.running {
		sp.close()
	}
}

// senderTimeout reads wal_sender_timeout, 0 for none.
func (s *Source) senderTimeout(ctx context.Context, r *replication) (time.Duration, error) {
	results, err := r.conn.Exec(ctx, "SHOW wal_sender_timeout").ReadAll()
	if err != nil {
		return 0, s.fault("read wal_sender_timeout", err)
	}
	if len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) != 1 {
		return 0, nil
	}
	return parseSetting(string(results[0].Rows[0][0])), nil
}

// parseSetting reads a time as SHOW writes it, 0 where it cannot.
func parseSetting(text string) time.Duration {
	var n int64
	var unit string
	if _, err := fmt.Sscanf(text, "%d%s", &n, &unit); err != nil {
		return 0
	}
	switch unit {
	case "ms":
		return time.Duration(n) * time.Millisecond
	case "s":
		return time.Duration(n) * time.Second
	case "min":
		return time.Duration(n) * time.Minute
	case "h":
		return time.Duration(n) * time.Hour
	case "d":
		return time.Duration(n) * 24 * time.Hour
	}
	return 0
}

func (st *streamer) run(ctx context.Context, d detail, timeout time.Duration) error {
	every := statusEvery
	if timeout > 0 {
		every = min(every, timeout/4)
	}
	if beat := st.s.handling.heartbeat; beat > 0 {
		every = min(every, max(beat, leastStatus)) // the server's answers are what an idle stream wakes by
	}
	st.wire.wait = func() error {
		st.env.at(time.Now().UnixMicro())
		if err := st.conn.SetReadDeadline(time.Now().Add(silence)); err != nil {
			return err
		}
		return ctx.Err()
	}
	// What ends ctx ends a read: a read that begins later sees ctx's end above.
	stopWatch := context.AfterFunc(ctx, func() { _ = st.conn.SetReadDeadline(time.Unix(1, 0)) })

	var side sync.WaitGroup
	helpers, stopHelpers := context.WithCancel(ctx)
	side.Go(func() { st.s.monitor(helpers, st.w, d) })
	if st.s.handling.heartbeat > 0 {
		side.Go(func() { st.marks.keepTime(helpers) })
	}
	senderStop := make(chan struct{})
	var senderErr atomic.Pointer[error]
	var sender sync.WaitGroup
	sender.Go(func() {
		if err := st.send(senderStop, every); err != nil {
			senderErr.Store(&err)
			_ = st.conn.SetReadDeadline(time.Unix(1, 0))
		}
	})

	err := st.loop(ctx)
	stopWatch()
	stopHelpers()
	side.Wait()
	st.w.Finish()
	close(senderStop)
	sender.Wait()
	if sendErr := senderErr.Load(); sendErr != nil && ctx.Err() == nil {
		err = *sendErr
	}
	if ctx.Err() != nil {
		st.leave()
		err = nil
	}
	return errors.Join(err, ignoreClosed(st.conn.Close()))
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// leave sends the last status update and waits until the server has taken it: a socket closed with unread data in it
// would take the update along.
func (st *streamer) leave() {
	if err := st.conn.SetDeadline(time.Now().Add(farewell)); err != nil {
		return
	}
	if err := st.status(false); err != nil {
		return
	}
	if _, err := st.conn.Write([]byte{'c', 0, 0, 0, 4}); err != nil { // CopyDone
		return
	}
	st.wire.wait = nil
	for {
		kind, _, err := st.wire.next()
		if err != nil || kind == 'C' || kind == 'Z' || kind == 'E' {
			break
		}
	}
	_, _ = st.conn.Write([]byte{'X', 0, 0, 0, 4}) // Terminate; the server may have gone first
}

// send writes a status update every so often, when more is confirmed and when the server asks, until stop is closed.
func (st *streamer) send(stop <-chan struct{}, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		reply := false
		select {
		case <-stop:
			return nil
		case <-tick.C:
			reply = true
		case <-st.w.Confirms():
		case <-st.asked:
		}
		if err := st.conn.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
			return err
		}
		if err := st.status(reply); err != nil {
			return err
		}
	}
}

// status sends a status update: written what has arrived, flushed and applied what is confirmed.
func (st *streamer) status(reply bool) error {
	confirmed := st.w.Confirmed()
	var b [39]byte
	b[0] = 'd'
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)-1))
	b[5] = pglogrepl.StandbyStatusUpdateByteID
	binary.BigEndian.PutUint64(b[6:], max(confirmed, st.w.Received()))
	binary.BigEndian.PutUint64(b[14:], confirmed)
	binary.BigEndian.PutUint64(b[22:], confirmed)
	binary.BigEndian.PutUint64(b[30:], uint64(time.Now().UnixMicro()-pgEpoch))
	if reply {
		b[38] = 1
	}
	_, err := st.conn.Write(b[:])
	return err
}

// loop reads the stream until it ends.
func (st *streamer) loop(ctx context.Context) error {
	for {
		kind, body, err := st.wire.next()
		if err != nil {
			return st.readError(ctx, err)
		}
		switch kind {
		case 'd':
			if err := st.copyData(ctx, body); err != nil {
				return err
			}
			if err := st.marks.beat(ctx); err != nil {
				return err
			}
		case 'E':
			var e pgproto3.ErrorResponse
			if err := e.Decode(body); err != nil {
				return malformed(kind)
			}
			return pgconn.ErrorResponseToPgError(&e)
		case 'c', 'C', 'Z':
			return fault.New(fault.Unavailable, "stream changes", "it is tried again soon", "the server has ended the stream")
		case 'N', 'S':
		default:
			return malformed(kind)
		}
	}
}

func (st *streamer) readError(ctx context.Context, err error) error {
	var long tooLongError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &long):
		return &fault.Error{Kind: fault.Blocked, Op: "stream changes", Code: "RECORD_TOO_LARGE",
			Err:  fmt.Errorf("the server sends a change of %d bytes, more than the %d that are taken", uint32(long), maxStreamBody),
			Next: "leave the table out: drop the source and create it anew without it"}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fault.New(fault.Unavailable, "stream changes", "it is tried again soon", "the server has been silent for %s", silence)
	}
	return err
}

const (
	keepaliveSize  = 17
	dataHeaderSize = 24
)

func (st *streamer) copyData(ctx context.Context, b []byte) error {
	if len(b) == 0 {
		return malformed('d')
	}
	switch b[0] {
	case pglogrepl.PrimaryKeepaliveMessageByteID:
		if len(b) != 1+keepaliveSize {
			return malformed(b[0])
		}
		end := binary.BigEndian.Uint64(b[1:])
		st.w.Idle(end)
		if b[17] != 0 {
			select {
			case st.asked <- struct{}{}:
			default:
			}
		}
		return nil
	case pglogrepl.XLogDataByteID:
		if len(b) < 1+dataHeaderSize+1 {
			return malformed(b[0])
		}
		lsn := binary.BigEndian.Uint64(b[1:])
		return st.message(ctx, lsn, b[1+dataHeaderSize], b[1+dataHeaderSize+1:])
	}
	return malformed(b[0])
}

// message handles one message of pgoutput.
func (st *streamer) message(ctx context.Context, lsn uint64, kind byte, b []byte) error {
	if st.part != nil && kind != 'E' {
		return st.keep(lsn, kind, b)
	}
	switch kind {
	case 'S', 'E', 'c', 'A':
		return st.streamed(ctx, lsn, kind, b)
	case 'I', 'U', 'D':
		if !st.open || !st.row.read(b) {
			return malformed(kind)
		}
		return st.change(ctx, kind, lsn)
	case 'B':
		m, ok := readBegin(b)
		if !ok || st.open {
			return malformed(kind)
		}
		return st.begin(ctx, m, lsn)
	case 'C':
		m, ok := readCommit(b)
		if !ok || !st.open {
			return malformed(kind)
		}
		return st.commit(ctx, m.end, lsn)
	case 'R':
		sh, ok := readRelation(b)
		if !ok {
			return malformed(kind)
		}
		// Partitions are told of, too, though their rows come as the table's above: what is used is prepared, no more.
		st.shapes[sh.oid] = sh
	case 'T':
		var ok bool
		if st.truncated, ok = readTruncate(b, st.truncated[:0]); !ok || !st.open {
			return malformed(kind)
		}
		for _, oid := range st.truncated {
			r, err := st.relation(ctx, oid)
			if err != nil {
				return err
			}
			if err := st.s.truncate(ctx, st.w, st.env, r, lsn); err != nil {
				return err
			}
		}
	case 'O':
		origin, name, ok := readOrigin(b)
		if !ok {
			return malformed(kind)
		}
		st.env.origin(name, origin)
	case 'M':
		m, ok := readLogicalMessage(b)
		if !ok || m.transactional != st.open {
			return malformed(kind)
		}
		return st.emitted(ctx, &m)
	case 'Y': // types are looked up in the catalog
	default:
		return malformed(kind)
	}
	return nil
}

// keep puts a message of a running transaction aside. All but origins begin with their subtransaction's id.
func (st *streamer) keep(lsn uint64, kind byte, b []byte) error {
	xid := st.partOf
	if kind != 'O' {
		if len(b) < 4 {
			return malformed(kind)
		}
		xid, b = binary.BigEndian.Uint32(b), b[4:]
	}
	return st.part.add(xid, lsn, kind, b)
}

// streamed handles the messages about transactions that are sent while they run (streaming, version 2 of the protocol).
func (st *streamer) streamed(ctx context.Context, lsn uint64, kind byte, b []byte) error {
	switch kind {
	case 'S':
		xid, first, ok := readStreamStart(b)
		if !ok || st.open || first == (st.running[xid] != nil) {
			return malformed(kind)
		}
		if first {
			sp, err := st.spools.open()
			if err != nil {
				return err
			}
			st.running[xid] = sp
		}
		st.part, st.partOf = st.running[xid], xid
	case 'E':
		if len(b) != 0 || st.part == nil {
			return malformed(kind)
		}
		st.part = nil
	case 'A':
		xid, sub, ok := readStreamAbort(b)
		sp := st.running[xid]
		switch {
		case !ok:
			return malformed(kind)
		case sp == nil: // nothing of it was sent
		case sub != xid:
			sp.abort(sub)
		default:
			delete(st.running, xid)
			sp.close()
		}
	case 'c':
		m, ok := readStreamCommit(b)
		sp := st.running[m.xid]
		if !ok || sp == nil {
			return malformed(kind)
		}
		delete(st.running, m.xid)
		defer sp.close()
		if err := st.begin(ctx, beginMessage{commit: m.commit, micros: m.micros, xid: m.xid}, lsn); err != nil {
			return err
		}
		n := 0
		err := sp.each(func(lsn uint64, kind byte, b []byte) error {
			if n++; n%keptRound == 1 {
				st.env.at(time.Now().UnixMicro())
				if err := ctx.Err(); err != nil {
					return err
				}
			}
			return st.message(ctx, lsn, kind, b)
		})
		if err != nil {
			return err
		}
		return st.commit(ctx, m.end, lsn)
	}
	return nil
}

func (st *streamer) begin(ctx context.Context, m beginMessage, lsn uint64) error {
	st.open = true
	st.w.Begin(m.commit, pgTime(m.micros))
	st.env.begin(m.micros, "false", m.xid, st.lastCommit)
	return st.marks.transaction(ctx, false, lsn)
}

func (st *streamer) commit(ctx context.Context, end, lsn uint64) error {
	if err := st.marks.transaction(ctx, true, lsn); err != nil {
		return err
	}
	st.open = false
	st.lastCommit = end
	st.w.Commit(end)
	return nil
}

func (st *streamer) emitted(ctx context.Context, m *logicalMessage) error {
	if m.transactional {
		return st.marks.emitted(ctx, m)
	}
	// Its LSN is its record's end. The next record begins there, and where that is a commit, its transaction has that
	// position and is still to come.
	now := time.Now()
	st.w.Begin(m.lsn-1, now)
	st.env.begin(now.UnixMicro(), "false", 0, st.lastCommit)
	if err := st.marks.emitted(ctx, m); err != nil {
		return err
	}
	st.w.Commit(m.lsn)
	return nil
}

func (st *streamer) change(ctx context.Context, kind byte, lsn uint64) error {
	m := &st.row
	r, err := st.relation(ctx, m.relation)
	if err != nil {
		return err
	}
	if m.hasNew == (kind == 'D') || m.hasOld && kind == 'I' || !m.hasOld && kind == 'D' {
		return malformed(kind)
	}
	var before, after *tuple
	if m.hasOld {
		before = &m.old
		if err := r.check(before); err != nil {
			return err
		}
	}
	if m.hasNew {
		after = &m.new
		if err := r.check(after); err != nil {
			return err
		}
		if r.outgrown(after) {
			st.shapes[r.oid] = r.shape
			if r, err = st.relation(ctx, r.oid); err != nil {
				return err
			}
			r.outgrown(after) // a label that is gone again is not looked for a second time
		}
	}
	op := stream.Create
	switch kind {
	case 'U':
		op = stream.Update
	case 'D':
		op = stream.Delete
	}
	return st.s.change(ctx, st.w, st.env, r, op, before, after, lsn)
}

// relation returns a table's encoder, prepared where the table's columns were told anew.
func (st *streamer) relation(ctx context.Context, oid uint32) (*relation, error) {
	sh, told := st.shapes[oid]
	if !told {
		if r := st.relations[oid]; r != nil {
			return r, nil
		}
		return nil, malformed('R')
	}
	r, err := st.s.newRelation(ctx, st.w, st.catalog, sh)
	if err != nil {
		return nil, err
	}
	delete(st.shapes, oid)
	st.relations[oid] = r
	if st.tables[sh.table] != r.topic.Name {
		st.tables[sh.table] = r.topic.Name
		st.w.SetTables(st.tables)
	}
	return r, nil
}
