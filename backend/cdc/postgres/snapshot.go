package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"freshet/backend/cdc"
	"freshet/backend/clock"
	"freshet/backend/fault"
	"freshet/backend/stream"
)

// chunkPages is how much of a table is read at once, in pages of 8 kB; tests read less.
var chunkPages int64 = 16_384

const (
	// batchBytes is about what a reader hands on at once.
	batchBytes = 256 << 10
	// keepBatch is room for the row that goes over batchBytes; a larger one has a buffer of its own.
	keepBatch = 32 << 10
	// progressEvery is how often the snapshot says how far it has got.
	progressEvery = time.Second
	// lookAgain is how soon it is looked again for what a snapshot waits for before it begins.
	lookAgain = 10 * time.Millisecond
)

// chunk is a part of a table that one reader reads.
type chunk struct {
	table int // among the plan's
	from  string
	where string
}

// snapshotRow is a row on its way from a reader to the writer: its key, and its value up to the source block.
type snapshotRow struct{ key, head []byte }

// snapshotBatch are rows of one chunk. Their bytes are in buf.
type snapshotBatch struct {
	table int
	rows  []snapshotRow
	buf   []byte
	last  bool // of its chunk
}

// snapshot reads all tables as they were at the slot's consistent point: several connections read under the snapshot that
// the slot's creation exported, parts of tables at a time, and encode; one goroutine writes. r is the connection that made
// the slot, whose snapshot lives until it says something else.
func (s *Source) snapshot(ctx context.Context, w *cdc.Writer, r *replication, p *Plan, d *detail, name string) error {
	const op = "read the snapshot"
	run, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	readers, err := s.openReaders(ctx, w, p, name)
	defer func() {
		for _, reader := range readers {
			closeConn(reader.conn)
		}
	}()
	if err != nil {
		return s.fault(op, err)
	}
	r.close()
	var at time.Time
	if err := readers[0].tx.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&at); err != nil {
		return s.fault(op, err)
	}
	chunks, err := s.chunks(ctx, readers[0].tx, p)
	if err != nil {
		return s.fault(op, err)
	}
	c := newSnapshotWriter(s, w, p, d, chunks, at)
	for i := range p.tables {
		if err := c.announce(ctx, readers[0], i); err != nil {
			return s.fault(op, err)
		}
	}

	queue := make(chan chunk)
	batches := make(chan *snapshotBatch, len(readers))
	var reading sync.WaitGroup
	for _, reader := range readers {
		reading.Go(func() {
			for ch := range queue {
				if err := reader.read(run, p, ch, c.relations[ch.table].shape, batches); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	go func() {
		defer close(batches)
		defer reading.Wait()
		defer close(queue)
		for _, ch := range chunks {
			select {
			case queue <- ch:
			case <-run.Done():
				return
			}
		}
	}()
	for b := range batches {
		if run.Err() != nil {
			continue // let the readers end
		}
		if err := c.take(run, b); err != nil {
			cancel(err)
		}
	}
	if run.Err() != nil {
		return s.fault(op, context.Cause(run))
	}
	if err := c.finish(ctx); err != nil {
		return s.fault(op, err)
	}
	w.Commit(d.ConsistentPoint)
	return nil
}

// snapshotReader reads under the exported snapshot.
type snapshotReader struct {
	s       *Source
	conn    *pgx.Conn
	tx      pgx.Tx
	catalog *catalog

	table    int // of relation
	relation *relation
	batch    *snapshotBatch
	batches  chan<- *snapshotBatch
	ctx      context.Context
	rest     []byte // of a line whose end has not come
	row      tuple
}

// openReaders opens connections under the snapshot that may read at once. Those that are open are returned with an error, too.
func (s *Source) openReaders(ctx context.Context, w *cdc.Writer, p *Plan, name string) ([]*snapshotReader, error) {
	first, err := s.openSnapshot(ctx, name)
	if err != nil {
		return nil, err
	}
	readers := []*snapshotReader{first}
	if err := s.settled(ctx, w, first); err != nil {
		return readers, err
	}
	lock := lockTables(p.tables)
	if err := first.lock(ctx, w, lock, p); err != nil {
		return readers, err
	}
	for len(readers) < s.handling.snapshotThreads {
		next, err := s.openSnapshot(ctx, name)
		if err != nil {
			return readers, err
		}
		if _, err := next.tx.Exec(ctx, lock); err != nil {
			closeConn(next.conn)
			if locked(err) { // somebody waits for the first reader's end, and whoever waits behind them would never come to read
				break
			}
			return readers, err
		}
		readers = append(readers, next)
	}
	return readers, nil
}

func (s *Source) openSnapshot(ctx context.Context, name string) (*snapshotReader, error) {
	conn, err := s.open(ctx, false, maxStreamBody)
	if err != nil {
		return nil, err
	}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err == nil {
		_, err = tx.Exec(ctx, "SET TRANSACTION SNAPSHOT "+quoteLiteral(name))
	}
	if err != nil {
		closeConn(conn)
		return nil, err
	}
	return &snapshotReader{s: s, conn: conn, tx: tx, catalog: s.newCatalog(tx), table: -1}, nil
}

// settled waits until every transaction that the snapshot sees has come to its end on the server. The snapshot is made from
// the WAL, in which a commit stands a moment before it counts: who reads a row within that moment takes its transaction for
// aborted, leaves the row out, and has the server note it down as dead for everybody.
func (s *Source) settled(ctx context.Context, w *cdc.Writer, r *snapshotReader) error {
	var snapshot string
	if err := r.tx.QueryRow(ctx, "SELECT pg_current_snapshot()::text").Scan(&snapshot); err != nil {
		return err
	}
	var from, to int64
	if _, err := fmt.Sscanf(snapshot, "%d:%d:", &from, &to); err != nil {
		return fault.New(fault.Internal, "begin the snapshot", "please report this", "the server's snapshot is %q", snapshot)
	}
	if from >= to {
		return nil // nothing committed since the oldest that ran: such a snapshot cannot be read back as a pg_snapshot
	}
	deadline := time.Now().Add(s.o.SlotWait)
	for {
		var open string
		err := s.with(ctx, "look for the snapshot's transactions", func(q querier) error {
			return q.QueryRow(ctx, `
				SELECT coalesce(min(x), 0)::text FROM generate_series($2::int8, $3::int8 - 1) x
				WHERE pg_visible_in_snapshot(x::text::xid8, $1::text::pg_snapshot) AND NOT pg_visible_in_snapshot(x::text::xid8, pg_current_snapshot())`,
				snapshot, from, to).Scan(&open)
		})
		switch {
		case err != nil:
			return err
		case open == "0":
			return nil
		case time.Now().After(deadline):
			return fault.New(fault.Timeout, "begin the snapshot", "see why it does not end: a standby that it waits for, perhaps; it is tried again soon",
				"the transaction %s has committed, and has not come to its end in %s", open, s.o.SlotWait)
		}
		w.SetState(cdc.Snapshot, "the snapshot waits for the end of transaction "+open+", which has committed")
		if err := clock.Sleep(ctx, lookAgain); err != nil {
			return err
		}
	}
}

// lockTables is the statement that keeps DDL and TRUNCATE off the tables. It does not wait: who waits for a lock has others
// wait behind it.
func lockTables(tables []table) string {
	var names []string
	for _, t := range tables {
		name := quoteTable(t.Table)
		if !t.partitioned {
			name = "ONLY " + name
		}
		names = append(names, name)
	}
	return "LOCK TABLE " + strings.Join(names, ", ") + " IN ACCESS SHARE MODE NOWAIT"
}

// locked reports whether a lock was not to be had.
func locked(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "55P03"
}

// lock locks all tables, and makes sure that they still have the files that the snapshot knows: what was written anew since
// looks empty under it, and its rows would be missed.
func (r *snapshotReader) lock(ctx context.Context, w *cdc.Writer, statement string, p *Plan) error {
	for {
		err := pgx.BeginFunc(ctx, r.tx, func(tx pgx.Tx) error { // a savepoint
			_, err := tx.Exec(ctx, statement)
			return err
		})
		if err == nil {
			break
		}
		if !locked(err) {
			return err
		}
		w.SetState(cdc.Snapshot, "waits for a lock: DDL or TRUNCATE holds one of the tables, or waits for it")
		if err := clock.Sleep(ctx, lookAgain); err != nil {
			return err
		}
	}
	var oids []uint32
	for _, t := range p.tables {
		oids = append(oids, t.oid)
	}
	var anew string
	err := r.tx.QueryRow(ctx, `
		SELECT coalesce(string_agg(format('%I.%I', n.nspname, c.relname), ', '), '')
		FROM (SELECT unnest($1::oid[]) UNION SELECT t.relid FROM unnest($1::oid[]) AS root, pg_partition_tree(root) AS t) AS part(oid)
		JOIN pg_class c ON c.oid = part.oid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind = 'r' AND c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid)`, oids).Scan(&anew)
	if err != nil {
		return err
	}
	if anew != "" {
		return fault.New(fault.Conflict, "begin the snapshot", "it is tried again soon", "%s: truncated or written anew since the slot was made", anew)
	}
	return nil
}

// chunks divides the tables. Ranges of a table's own pages are found by the server without reading the rest since version
// 14; partitions are read one by one where the role may.
func (s *Source) chunks(ctx context.Context, q querier, p *Plan) ([]chunk, error) {
	ranges := s.serverVersion(q) >= 140000
	var all []chunk
	for i, t := range p.tables {
		if t.partitioned {
			parts, err := s.partitions(ctx, q, t.oid)
			if err != nil {
				return nil, err
			}
			for _, part := range parts {
				all = append(all, chunk{table: i, from: "ONLY " + part})
			}
			if len(parts) == 0 {
				all = append(all, chunk{table: i, from: quoteTable(t.Table)})
			}
			continue
		}
		from := "ONLY " + quoteTable(t.Table)
		var pages int64
		if err := q.QueryRow(ctx, "SELECT pg_relation_size($1::oid::regclass) / current_setting('block_size')::int8", t.oid).Scan(&pages); err != nil {
			return nil, err
		}
		if !ranges || pages <= chunkPages {
			all = append(all, chunk{table: i, from: from})
			continue
		}
		for at := int64(0); at < pages; at += chunkPages {
			where := fmt.Sprintf(" WHERE ctid >= '(%d,0)'", at)
			if at+chunkPages < pages { // the last goes on to wherever the table ends by now
				where += fmt.Sprintf(" AND ctid < '(%d,0)'", at+chunkPages)
			}
			all = append(all, chunk{table: i, from: from, where: where})
		}
	}
	return all, nil
}

// partitions are the tables that a partitioned table's rows are in, none where they cannot all be read for themselves.
func (s *Source) partitions(ctx context.Context, q querier, oid uint32) ([]string, error) {
	rows, err := q.Query(ctx, `
		SELECT format('%I.%I', n.nspname, c.relname), c.relkind = 'r' AND has_table_privilege(c.oid, 'SELECT')
		FROM pg_partition_tree($1::oid::regclass) t JOIN pg_class c ON c.oid = t.relid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE t.isleaf ORDER BY 1`, oid)
	if err != nil {
		return nil, err
	}
	var names []string
	var name string
	var readable bool
	whole := true
	_, err = pgx.ForEachRow(rows, []any{&name, &readable}, func() error {
		names = append(names, name)
		whole = whole && readable
		return nil
	})
	if !whole {
		names = nil
	}
	return names, err
}

// read reads one chunk and hands its rows on.
func (r *snapshotReader) read(ctx context.Context, p *Plan, ch chunk, sh shape, batches chan<- *snapshotBatch) error {
	if r.table != ch.table {
		var err error
		if r.relation, _, err = r.s.prepare(ctx, r.catalog, sh); err != nil {
			return err
		}
		r.table = ch.table
	}
	var columns []string
	for _, col := range sh.columns {
		columns = append(columns, quoteIdent(col.name))
	}
	r.ctx, r.batches, r.batch = ctx, batches, newBatch(ch.table)
	sql := fmt.Sprintf("COPY (SELECT %s FROM %s%s) TO STDOUT", strings.Join(columns, ", "), ch.from, ch.where)
	if _, err := r.conn.PgConn().CopyTo(ctx, r, sql); err != nil {
		return err
	}
	if len(r.rest) > 0 {
		return fault.New(fault.Internal, "read the snapshot of "+p.tables[ch.table].String(), "please report this", "its last row has no end")
	}
	r.batch.last = true
	return r.hand()
}

// Write takes lines as COPY's text form has them.
func (r *snapshotReader) Write(p []byte) (int, error) {
	size := len(p)
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			r.rest = append(r.rest, p...)
			break
		}
		line := p[:end]
		if len(r.rest) > 0 {
			r.rest = append(r.rest, line...)
			line = r.rest
		}
		if err := r.line(line); err != nil {
			return 0, err
		}
		r.rest = r.rest[:0]
		p = p[end+1:]
	}
	return size, nil
}

func (r *snapshotReader) line(line []byte) error {
	if !copyRow(&r.row, line, len(r.relation.shape.columns)) {
		return fault.New(fault.Internal, "read the snapshot of "+r.relation.table.String(), "please report this", "a row has not the columns that it should")
	}
	b := r.batch
	start := len(b.buf)
	if len(r.relation.key) > 0 {
		b.buf = r.relation.appendKey(b.buf, &r.row, nil)
	}
	end := len(b.buf)
	b.buf = append(append(b.buf, r.relation.open...), `null,"after":`...)
	b.buf, _ = r.relation.appendRow(b.buf, &r.row, nil, nil)
	b.rows = append(b.rows, snapshotRow{b.buf[start:end:end], b.buf[end:len(b.buf):len(b.buf)]})
	if len(b.buf) < batchBytes {
		return nil
	}
	if err := r.hand(); err != nil {
		return err
	}
	r.batch = newBatch(b.table)
	return nil
}

func newBatch(table int) *snapshotBatch {
	return &snapshotBatch{table: table, buf: make([]byte, 0, batchBytes+keepBatch)}
}

// hand gives the batch to the writer.
func (r *snapshotReader) hand() error {
	select {
	case r.batches <- r.batch:
		return nil
	case <-r.ctx.Done():
		return context.Cause(r.ctx)
	}
}

// snapshotWriter writes the rows that readers hand on. It holds the last row of each table back, to know the last of a
// table and of all.
type snapshotWriter struct {
	s         *Source
	w         *cdc.Writer
	plan      *Plan
	env       *envelope
	lsn       uint64
	relations []*relation
	left      []int // chunks of each table that have not ended
	held      []heldRow
	first     bool // of all has been written
	marked    string
	final     int // the table whose last row is held though it has ended, -1 for none

	rows  int64
	began time.Time
	told  time.Time
}

type heldRow struct {
	key, head []byte
	there     bool
	opens     bool // its table
}

func newSnapshotWriter(s *Source, w *cdc.Writer, p *Plan, d *detail, chunks []chunk, at time.Time) *snapshotWriter {
	c := &snapshotWriter{s: s, w: w, plan: p, env: s.newEnvelope(), lsn: d.ConsistentPoint, relations: make([]*relation, len(p.tables)),
		left: make([]int, len(p.tables)), held: make([]heldRow, len(p.tables)), final: -1, began: time.Now()}
	for _, ch := range chunks {
		c.left[ch.table]++
	}
	c.env.begin(at.UnixMicro(), "true", 0, 0)
	// A transaction may commit right at the consistent point, so the snapshot stands just before it.
	w.Begin(d.ConsistentPoint-1, at)
	return c
}

// announce makes a table's schema and topic known before its first row.
func (c *snapshotWriter) announce(ctx context.Context, r *snapshotReader, table int) error {
	sh, err := c.plan.tables[table].shape(ctx, r.tx)
	if err != nil {
		return err
	}
	c.relations[table], err = c.s.newRelation(ctx, c.w, r.catalog, sh)
	return err
}

// take writes a batch but for its table's last row so far.
func (c *snapshotWriter) take(ctx context.Context, b *snapshotBatch) error {
	c.env.at(time.Now().UnixMicro())
	held := &c.held[b.table]
	for i := range b.rows {
		if err := c.settle(ctx); err != nil {
			return err
		}
		opens := !held.there
		if !opens {
			if err := c.write(ctx, b.table, c.marker(held, false)); err != nil {
				return err
			}
		}
		held.key, held.head = append(held.key[:0], b.rows[i].key...), append(held.head[:0], b.rows[i].head...)
		held.there, held.opens = true, opens
		c.rows++
	}
	if b.last {
		if c.left[b.table]--; c.left[b.table] == 0 && held.there {
			if err := c.settle(ctx); err != nil {
				return err
			}
			c.final = b.table
		}
	}
	c.tell(b.table)
	return nil
}

// settle writes the last row of a table that has ended: another row follows.
func (c *snapshotWriter) settle(ctx context.Context) error {
	if c.final < 0 {
		return nil
	}
	table := c.final
	c.final = -1
	return c.write(ctx, table, c.marker(&c.held[table], true))
}

func (c *snapshotWriter) finish(ctx context.Context) error {
	if c.final < 0 {
		return nil
	}
	return c.write(ctx, c.final, "last")
}

func (c *snapshotWriter) marker(held *heldRow, lastOfTable bool) string {
	switch {
	case !c.first:
		return "first"
	case lastOfTable:
		return "last_in_data_collection"
	case held.opens:
		return "first_in_data_collection"
	}
	return "true"
}

// write writes the row that is held of a table.
func (c *snapshotWriter) write(ctx context.Context, table int, marker string) error {
	if c.first = true; marker != c.marked {
		c.marked = marker
		c.env.mark(marker, 0)
	}
	r, held := c.relations[table], &c.held[table]
	if c.w.Has(r.topic) || c.s.handling.skips(stream.Read) {
		c.w.Next()
		return nil
	}
	rec := c.w.Record()
	if rec.NoKey = len(r.key) == 0; !rec.NoKey {
		rec.Key = append(rec.Key, held.key...)
	}
	rec.Value = c.env.tail(append(rec.Value, held.head...), r, stream.Read, c.lsn)
	rec.Header(stream.SchemaHeader, r.schemaID)
	if err := c.w.Append(ctx, r.topic, rec); err != nil {
		return err
	}
	c.w.Next()
	return nil
}

// tell says now and then how far the snapshot is, and how long the rest takes at this pace.
func (c *snapshotWriter) tell(table int) {
	if time.Since(c.told) < progressEvery {
		return
	}
	c.told = time.Now()
	text := fmt.Sprintf("table %s, %d of %d; %d rows of about %d", c.plan.tables[table], table+1, len(c.plan.tables), c.rows, max(c.rows, c.plan.SnapshotRows))
	if took := time.Since(c.began); took > 3*progressEvery && c.plan.SnapshotRows > c.rows {
		left := time.Duration(float64(took) * float64(c.plan.SnapshotRows-c.rows) / float64(c.rows))
		text += fmt.Sprintf(", about %s left", left.Round(time.Second))
	}
	c.w.SetState(cdc.Snapshot, text)
}

// copyRow takes a line apart in place.
func copyRow(t *tuple, line []byte, columns int) bool {
	t.reset()
	if columns == 0 {
		return len(line) == 0
	}
	start, to, null := 0, 0, false
	field := func() {
		if null {
			t.add('n', nil)
		} else {
			t.add('t', line[start:to:to])
		}
	}
	for i := 0; i < len(line); i++ {
		b := line[i]
		switch b {
		case '\t':
			field()
			start, to, null = i+1, i+1, false
			continue
		case '\\':
			i++
			if i == len(line) {
				return false
			}
			switch b = line[i]; b {
			case 'N': // a value's own backslash is doubled
				null = true
			case 'b':
				b = '\b'
			case 'f':
				b = '\f'
			case 'n':
				b = '\n'
			case 'r':
				b = '\r'
			case 't':
				b = '\t'
			case 'v':
				b = '\v'
			}
		}
		line[to] = b
		to++
	}
	field()
	return len(t.kinds) == columns
}
