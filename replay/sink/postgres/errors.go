package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"freshet/backend/fault"
)

// class is what is done about a failure of PostgreSQL.
type class int

const (
	unavailable class = iota // not about these records; later it may work
	retry                    // the whole transaction, at once: deadlock, serialization
	refuse                   // this record, for good
	schema                   // the table is not as the records need it
	access                   // a person must grant something
	bug
)

// classify reads the SQLSTATE. The text of an error is never read, and never shown where it may quote a value.
func classify(err error) class {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || len(pg.Code) != 5 {
		return unavailable
	}
	switch pg.Code {
	case "40001", "40P01":
		return retry
	case "22001", "22003", "23502", "23503", "42703", "42P01", "42704", "42804", "42846", "42P10", "3F000", "428C9", "0A000", "42883":
		return schema
	case "55000":
		// A database that accepts no connections for now says so by the same code as a table without a replica identity.
		var connect *pgconn.ConnectError
		if errors.As(err, &connect) {
			return unavailable
		}
		return schema
	case "42501", "25006", "28000", "28P01", "3D000":
		return access
	case "21000":
		return refuse // two spellings of one key in a statement: apart, both apply
	}
	switch pg.Code[:2] {
	case "22", "23":
		return refuse
	case "08", "53", "57", "58", "55", "25", "40":
		return unavailable
	case "P0", "44", "27", "09", "38", "39":
		return refuse // a trigger, a view or a domain of the target says no
	}
	return bug
}

// describe says what PostgreSQL refused without quoting any value: severity, message and detail may hold them, names
// and the SQLSTATE do not.
func describe(err error) string {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		var connect *pgconn.ConnectError
		if errors.As(err, &connect) {
			return "cannot connect" + causeOf(err)
		}
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			return "no answer in time"
		case errors.Is(err, context.Canceled):
			return "stopped"
		}
		return "the connection was lost"
	}
	b := strings.Builder{}
	b.WriteString(stateName(pg.Code))
	if pg.ConstraintName != "" {
		fmt.Fprintf(&b, ", constraint %s", pg.ConstraintName)
	}
	if pg.ColumnName != "" {
		fmt.Fprintf(&b, ", column %s", pg.ColumnName)
	}
	fmt.Fprintf(&b, " (SQLSTATE %s)", pg.Code)
	return b.String()
}

// causeOf is the part of a failure to connect that names no host, user or secret.
func causeOf(err error) string {
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg):
		return ": " + stateName(pg.Code) + " (SQLSTATE " + pg.Code + ")"
	case errors.Is(err, context.DeadlineExceeded):
		return ": no answer in time"
	case strings.Contains(err.Error(), "connection refused"):
		return ": connection refused"
	}
	return ""
}

var stateNames = map[string]string{
	"21000": "two rows of one statement have the same key",
	"22001": "a value is longer than its column",
	"22003": "a number is out of its column's range",
	"22007": "malformed date or time",
	"22008": "date or time out of range",
	"22021": "a character the database cannot store",
	"22P02": "malformed value for the column's type",
	"22P05": "a character the database's encoding does not have",
	"23502": "null in a column that is NOT NULL",
	"23503": "a foreign key's row is not there",
	"23505": "another row has the value of a unique column",
	"23514": "a check constraint does not hold",
	"23P01": "an exclusion constraint does not hold",
	"25006": "the server is read-only",
	"28000": "the user may not log in",
	"28P01": "the password is wrong",
	"3D000": "no such database",
	"3F000": "no such schema",
	"40001": "serialization failure",
	"40P01": "deadlock",
	"42501": "permission denied",
	"42703": "no such column",
	"42704": "no such type",
	"42804": "a column has another type",
	"42846": "a column has another type",
	"42P01": "no such table",
	"42P10": "no unique index on the key",
	"428C9": "a column that only the server may set",
	"53100": "the server's disk is full",
	"53300": "the server has too many connections",
	"57014": "the statement timed out",
	"57P01": "the server is shutting down",
	"57P03": "the server is starting up",
}

func stateName(code string) string {
	if s := stateNames[code]; s != "" {
		return s
	}
	return "PostgreSQL refused"
}

// failure makes a fault of what a call to PostgreSQL returned.
func failure(op string, err error) error {
	if err == nil {
		return nil
	}
	var already *fault.Error
	if errors.As(err, &already) {
		return err
	}
	if errors.Is(err, context.Canceled) {
		return &fault.Error{Kind: fault.Interrupted, Op: op, Err: context.Canceled}
	}
	e := &fault.Error{Op: op, Err: &stated{describe(err), err}}
	switch classify(err) {
	case unavailable, retry:
		e.Kind, e.Next = fault.Unavailable, "it is tried again"
	case schema:
		e.Kind, e.Code, e.Next = fault.Blocked, "SCHEMA", "compare the target's columns and constraints with the source's, change the target, then resume"
	case access:
		e.Kind, e.Code, e.Next = fault.Denied, "SINK_ACCESS", "let the sink's user in or grant it what it lacks, then resume"
	case refuse:
		e.Kind, e.Code = fault.Blocked, "REFUSED"
	default:
		e.Kind = fault.Internal
	}
	return e
}

// stated keeps an error in the chain for errors.As while its text, which may quote values or the DSN, is replaced.
type stated struct {
	text string
	err  error
}

func (s *stated) Error() string { return s.text }

func (s *stated) As(target any) bool {
	t, ok := target.(**pgconn.PgError)
	return ok && errors.As(s.err, t)
}

func (s *stated) Is(target error) bool { return errors.Is(s.err, target) }

func denied(op, next, format string, args ...any) error {
	e := fault.New(fault.Denied, op, next, format, args...)
	e.Code = "SINK_ACCESS"
	return e
}

func blocked(op, next, format string, args ...any) error {
	e := fault.New(fault.Blocked, op, next, format, args...)
	e.Code = "SCHEMA"
	return e
}
