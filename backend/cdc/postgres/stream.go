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
	// silence is how long the server may say nothing though it is asked every statusEvery.
	silence = 45 * time.Second
	// writeLimit bounds a status update's way into the socket.
	writeLimit = 10 * time.Second
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
	conn    net.Conn
	wire    *wire

	shapes     map[uint32]shape // as last told, and not used yet
	relations  map[uint32]*relation
	tables     map[cdc.Table]string
	row        rowMessage
	truncated  []uint32
	open       bool // inside a transaction
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
	err = pglogrepl.StartReplication(ctx, r.conn, s.slot, pglogrepl.LSN(w.Confirmed()), pglogrepl.StartReplicationOptions{
		Mode:       pglogrepl.LogicalReplication,
		PluginArgs: []string{"proto_version '1'", "publication_names " + quoteLiteral(d.publicationNames())},
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
		s: s, w: w, catalog: s.newCatalog(nil), env: newEnvelope(s.o.Version, s.o.Prefix, s.database), conn: hijacked.Conn, wire: r.wire,
		shapes: map[uint32]shape{}, relations: map[uint32]*relation{}, tables: map[cdc.Table]string{}, asked: make(chan struct{}, 1),
	}
	for t, topic := range d.topics(s) {
		st.tables[t] = topic
	}
	w.SetTables(st.tables)
	w.SetState(cdc.Streaming, "")
	return s.fault(op, st.run(ctx, d, timeout))
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
	switch kind {
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
		st.open = true
		st.w.Begin(m.commit, pgTime(m.micros))
		st.env.begin(m.micros, "false", m.xid, st.lastCommit)
	case 'C':
		m, ok := readCommit(b)
		if !ok || !st.open {
			return malformed(kind)
		}
		st.open = false
		st.lastCommit = m.end
		st.w.Commit(m.end)
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
	case 'Y', 'M': // types are looked up in the catalog; logical messages are not captured
	default:
		return malformed(kind)
	}
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
