package store

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/mattn/go-sqlite3"

	"freshet/backend/auditlog"
	"freshet/backend/fault"
)

// maxBatch is how many callers' transactions share one commit.
const maxBatch = 512

// idleCheckpoint is how long a database must be at rest before its -wal file is emptied.
const idleCheckpoint = 5 * time.Second

// file is one SQLite database: one goroutine that writes, a pool that reads.
type file struct {
	path     string
	log      *slog.Logger
	read     *sql.DB
	write    *sql.DB
	conn     *sql.Conn
	requests chan *request
	quit     chan struct{}
	stop     sync.Once
	done     chan struct{}
	broken   error  // set by the writer after an I/O error: what reached the disk is not known any more
	full     func() // called by the writer when the disk is full; nil: nothing

	mu   sync.Mutex
	tree auditlog.Tree // of what is on disk; only the ledger has one
}

type request struct {
	ctx  context.Context
	fn   func(*Tx) error
	done chan error
}

// Tx is a caller's part of a write transaction. It is valid until the caller's function returns.
type Tx struct {
	conn *sql.Conn
	tree auditlog.Tree
}

// The transaction is shared with other callers, so that a caller's context must not end it: statements run to their end.

// Exec runs a statement.
func (t *Tx) Exec(query string, args ...any) (sql.Result, error) {
	return t.conn.ExecContext(context.Background(), query, args...)
}

// Query runs a query. Its rows must be closed before the caller's function returns.
func (t *Tx) Query(query string, args ...any) (*sql.Rows, error) {
	return t.conn.QueryContext(context.Background(), query, args...)
}

// QueryRow runs a query for at most one row.
func (t *Tx) QueryRow(query string, args ...any) *sql.Row {
	return t.conn.QueryRowContext(context.Background(), query, args...)
}

// openFile opens and migrates a database and starts its writer.
func openFile(ctx context.Context, path, schema string, log *slog.Logger) (*file, error) {
	op := "open " + path
	if err := touch(path); err != nil {
		return nil, fault.Wrap(fault.Unavailable, op, err, "check who owns the data directory and whether its disk is mounted read-only")
	}
	f := &file{path: path, log: log, requests: make(chan *request), quit: make(chan struct{}), done: make(chan struct{})}
	if err := f.open(ctx, schema); err != nil {
		f.closeDB()
		return nil, sqlFault(op, err)
	}
	return f, nil
}

func (f *file) open(ctx context.Context, schema string) (err error) {
	if f.write, err = openWriter(f.path, "FULL"); err != nil {
		return err
	}
	if err := migrate(ctx, f.write, f.path, schema, f.log); err != nil {
		return err
	}
	if f.conn, err = f.write.Conn(ctx); err != nil {
		return err
	}
	// What a killed writer left of an unfinished commit would lie behind the next one, and look like damage.
	if err := f.truncateWAL(ctx); err != nil {
		return err
	}
	f.read, err = openReaders(f.path)
	return err
}

// start starts the writer.
func (f *file) start() { go f.run() }

// close waits for what is being written, empties the -wal file and closes the database.
func (f *file) close() error {
	f.stop.Do(func() { close(f.quit) })
	<-f.done
	return f.closeDB()
}

func (f *file) closeDB() error {
	var first error
	keep := func(err error) {
		if first == nil {
			first = err
		}
	}
	if f.read != nil {
		keep(f.read.Close())
	}
	if f.conn != nil {
		keep(f.conn.Close())
	}
	if f.write != nil {
		keep(f.write.Close()) // the last connection to close checkpoints
	}
	return sqlFault("close "+f.path, first)
}

// tx runs fn on the writer and returns when what it did is on disk. Callers that come while a commit is under way share
// the next one. fn must not wait for anything; an error undoes what it did, and nothing else. A context that ends
// before fn has started keeps it from running; later it has no effect, so that the outcome is always known.
func (f *file) tx(ctx context.Context, fn func(*Tx) error) error {
	r := &request{ctx: ctx, fn: fn, done: make(chan error, 1)}
	select {
	case f.requests <- r:
		return sqlFault("write "+f.path, <-r.done)
	case <-ctx.Done():
		return sqlFault("write "+f.path, ctx.Err())
	case <-f.quit:
		return fault.New(fault.Interrupted, "write "+f.path, "", "the store is closed")
	}
}

func (f *file) run() {
	defer close(f.done)
	idle := time.NewTimer(idleCheckpoint)
	defer idle.Stop()
	for {
		select {
		case r := <-f.requests:
			f.batch(r)
			idle.Reset(idleCheckpoint)
		case <-idle.C:
			if err := f.truncateWAL(context.Background()); err != nil {
				f.log.Warn("empty the write-ahead log", "file", f.path, "err", err)
			}
		case <-f.quit:
			return
		}
	}
}

// truncateWAL moves everything into the database and empties the -wal file, unless a reader is in the way.
func (f *file) truncateWAL(ctx context.Context) error {
	var busy, pages, moved int
	return f.conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved)
}

// batch runs r and whoever is waiting in one transaction.
func (f *file) batch(r *request) {
	if f.broken != nil {
		r.done <- f.broken
		return
	}
	if err := f.exec("BEGIN IMMEDIATE"); err != nil {
		r.done <- err
		return
	}
	var part []*request
	tree := f.committed()
	fail := func(err error) {
		_, _ = f.conn.ExecContext(context.Background(), "ROLLBACK") // SQLite may have rolled back already
		switch {
		case isCode(err, sqlite3.ErrFull) && f.full != nil:
			f.full()
		case isCode(err, sqlite3.ErrIoErr, sqlite3.ErrCorrupt, sqlite3.ErrNotADB):
			f.broken = sqlFault("write "+f.path, err)
			f.log.Error("the store takes no more writes until it is opened again", "file", f.path, "err", err)
		}
		for _, p := range part {
			p.done <- err
		}
	}
	for {
		err := r.ctx.Err()
		if err == nil {
			var undone bool
			if err, undone = f.part(r, &tree); undone {
				part = append(part, r)
				fail(err)
				return
			}
		}
		if err != nil {
			r.done <- err
		} else {
			part = append(part, r)
		}
		if len(part) == maxBatch {
			break
		}
		select {
		case r = <-f.requests:
			continue
		default:
		}
		break
	}
	if err := f.exec("COMMIT"); err != nil {
		fail(err)
		return
	}
	f.mu.Lock()
	f.tree = tree
	f.mu.Unlock()
	for _, p := range part {
		p.done <- nil
	}
}

// part runs one caller's function. undone reports that its error took the whole transaction with it.
func (f *file) part(r *request, tree *auditlog.Tree) (err error, undone bool) {
	if err := f.exec("SAVEPOINT part"); err != nil {
		return err, true
	}
	tx := &Tx{conn: f.conn, tree: *tree}
	if err = f.call(r.fn, tx); err == nil {
		if err = f.exec("RELEASE part"); err == nil {
			*tree = tx.tree
			return nil, false
		}
	}
	if isCode(err, sqlite3.ErrFull, sqlite3.ErrIoErr, sqlite3.ErrCorrupt, sqlite3.ErrNotADB, sqlite3.ErrNomem) {
		return err, true
	}
	if back := f.exec("ROLLBACK TO part"); back != nil {
		return fmt.Errorf("%w; undo: %w", err, back), true
	}
	if back := f.exec("RELEASE part"); back != nil {
		return fmt.Errorf("%w; undo: %w", err, back), true
	}
	return err, false
}

// call keeps a panic in a caller's function from ending the writer that everybody shares.
func (f *file) call(fn func(*Tx) error, tx *Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fault.New(fault.Internal, "write "+f.path, "", "panic: %v", p)
			f.log.Error("panic in a transaction", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	return fn(tx)
}

func (f *file) committed() auditlog.Tree {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tree
}

func (f *file) exec(query string) error {
	_, err := f.conn.ExecContext(context.Background(), query)
	return err
}
