// Package store keeps Freshet's own state in SQLite, in one data directory that one process has at a time: Open gives
// the Store (definitions, small state) and its Ledger (the audit history and what is committed together with it).
// History keeps what probes saw. It is an adapter; no engine imports it.
//
// Every method may be called from any goroutine. Each file has one writer and a pool of readers; writes that come
// together share a commit, and a write that has returned is on the disk.
package store

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"freshet/backend/auditlog"
	"freshet/backend/fault"
)

// Options says how to open a Store. The zero value works.
type Options struct {
	Log *slog.Logger
	// Keys keeps the key that signs the audit history. Without it nothing is signed.
	Keys auditlog.Keys
	// RefuseDoc looks at a definition before it is stored and refuses one that holds a secret.
	RefuseDoc func(body []byte) error
	// Ballast is the size of a file that is given up when the disk is full, so that there is room to say so. 0: none.
	Ballast int64
}

// Store is an open data directory.
type Store struct {
	dir       string
	lock      *os.File
	log       *slog.Logger
	refuseDoc func([]byte) error
	file      *file
	ledger    *Ledger

	closing sync.Once
	closed  error
}

// Open opens a data directory, made where it is missing. While another process has it, the error is fault.Conflict and
// names that process.
//
// A damaged or tampered audit history does not keep the Store from opening, so that it can be looked at: Ledger.Trouble
// tells of it, and the Ledger takes nothing more.
func Open(ctx context.Context, dir string, o Options) (*Store, error) {
	if err := CheckSQLite(); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, "open data directory", err, "")
	}
	lock, err := openDir(dir, o.Log)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, lock: lock, log: o.Log, refuseDoc: o.RefuseDoc}
	if s.file, err = openFile(ctx, filepath.Join(dir, "freshet.db"), "freshet", o.Log); err != nil {
		lock.Close()
		return nil, err
	}
	if err := quickCheck(ctx, s.file); err != nil {
		s.file.closeDB()
		lock.Close()
		return nil, err
	}
	s.file.start()
	if s.ledger, err = openLedger(ctx, dir, o); err != nil {
		return nil, errors.Join(err, s.file.close(), lock.Close())
	}
	return s, nil
}

// quickCheck refuses a damaged freshet.db. It is small: this takes milliseconds.
func quickCheck(ctx context.Context, f *file) error {
	var verdict string
	err := f.read.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict)
	if err == nil && verdict != "ok" {
		err = errors.New(verdict)
	}
	if err == nil {
		return nil
	}
	return &fault.Error{Kind: fault.Blocked, Op: "open " + f.path, Code: "STORE_CORRUPT", Err: err,
		Next: "put back a copy of the file, or move it aside: Freshet then starts without its clusters, sources and sinks"}
}

// Dir is the data directory.
func (s *Store) Dir() string { return s.dir }

// Ledger is the audit history, and what is committed together with it.
func (s *Store) Ledger() *Ledger { return s.ledger }

// Close waits for the writes under way, signs the audit history a last time, empties the write-ahead logs and lets the
// directory go.
func (s *Store) Close() error {
	s.closing.Do(func() { s.closed = errors.Join(s.ledger.close(), s.file.close(), s.lock.Close()) })
	return s.closed
}
