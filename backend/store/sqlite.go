package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"

	"github.com/mattn/go-sqlite3"

	"freshet/backend/fault"
)

// minSQLite is the first release without the WAL-reset bug, which loses committed transactions
// (https://sqlite.org/wal.html#the_wal_reset_bug).
const minSQLite = 3_051_003

// CheckSQLite refuses a SQLite that can lose what it committed.
func CheckSQLite() error { return checkSQLite(sqlite3.Version()) }

func checkSQLite(version string, number int, _ string) error {
	if number < minSQLite {
		return fault.New(fault.Internal, "check SQLite", "build with go-sqlite3 1.14.49 or later",
			"version %s can lose committed transactions", version)
	}
	return nil
}

// connector opens connections to one file. Pragmas that the driver knows are in the DSN, where busy_timeout comes
// first; the others are set once the connection is there.
type connector struct {
	driver sqlite3.SQLiteDriver
	dsn    string
}

func (c *connector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.dsn) }
func (c *connector) Driver() driver.Driver                        { return &c.driver }

// openSQLite opens a file with params for the DSN and statements for every new connection.
func openSQLite(path string, params url.Values, statements ...string) (*sql.DB, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	params.Set("_busy_timeout", "5000")
	file := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(abs), RawQuery: params.Encode()}
	c := &connector{dsn: file.String()}
	c.driver.ConnectHook = func(conn *sqlite3.SQLiteConn) error {
		for _, s := range statements {
			if _, err := conn.Exec(s, nil); err != nil {
				return fmt.Errorf("%s: %w", s, err)
			}
		}
		return nil
	}
	return sql.OpenDB(c), nil
}

// journalLimit is what a -wal file is cut down to after a checkpoint, in bytes.
const journalLimit = "PRAGMA journal_size_limit = 67108864"

func openWriter(path, synchronous string) (*sql.DB, error) {
	// secure_delete: what SQLite moves to another page is cleared where it was, so that no entry stands in the file twice,
	// once where it counts and once where a change would go unnoticed. FAST costs no writes.
	db, err := openSQLite(path, url.Values{"_journal_mode": {"WAL"}, "_synchronous": {synchronous}, "_txlock": {"immediate"}, "_secure_delete": {"FAST"}},
		journalLimit, "PRAGMA trusted_schema = OFF", "PRAGMA cell_size_check = ON")
	if err == nil {
		db.SetMaxOpenConns(1)
	}
	return db, err
}

func openReaders(path string) (*sql.DB, error) {
	db, err := openSQLite(path, url.Values{"_query_only": {"true"}}, "PRAGMA trusted_schema = OFF", "PRAGMA cell_size_check = ON")
	if err == nil {
		db.SetMaxOpenConns(4)
		db.SetMaxIdleConns(4)
	}
	return db, err
}

// sqlFault gives an SQLite error its kind and next step. Errors that are faults already stay what they are.
func sqlFault(op string, err error) error {
	if err == nil {
		return nil
	}
	var f *fault.Error
	if errors.As(err, &f) {
		return err
	}
	if errors.Is(err, context.Canceled) {
		return fault.Wrap(fault.Interrupted, op, err, "")
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fault.Wrap(fault.Timeout, op, err, "")
	}
	var s sqlite3.Error
	if !errors.As(err, &s) {
		return fault.Wrap(fault.Internal, op, err, "")
	}
	e := &fault.Error{Op: op, Err: err}
	switch s.Code {
	case sqlite3.ErrFull:
		e.Kind, e.Code, e.Next = fault.Unavailable, "DISK_FULL", "free some space on the data directory's disk; it goes on by itself then"
	case sqlite3.ErrBusy, sqlite3.ErrLocked:
		e.Kind, e.Code, e.Next = fault.Unavailable, "STORE_BUSY", "end the other program that has the file open"
	case sqlite3.ErrCorrupt, sqlite3.ErrNotADB:
		e.Kind, e.Code, e.Next = fault.Tampered, "STORE_CORRUPT", "keep a copy of the data directory, then run: freshet audit verify"
	case sqlite3.ErrReadonly, sqlite3.ErrCantOpen, sqlite3.ErrPerm, sqlite3.ErrAuth:
		e.Kind, e.Code, e.Next = fault.Unavailable, "STORE_UNREADABLE", "check who owns the data directory and whether its disk is mounted read-only"
	case sqlite3.ErrIoErr:
		e.Kind, e.Code, e.Next = fault.Unavailable, "STORE_IO", "check the disk, then start Freshet again"
	case sqlite3.ErrInterrupt:
		e.Kind = fault.Interrupted
	default:
		e.Kind = fault.Internal
	}
	return e
}

func isCode(err error, codes ...sqlite3.ErrNo) bool {
	var s sqlite3.Error
	if !errors.As(err, &s) {
		return false
	}
	for _, c := range codes {
		if s.Code == c {
			return true
		}
	}
	return false
}
