// Package fault says what went wrong: a Kind a program can act on, the operation that failed, and what a person can do
// next. It is about errors; trouble that a probe detects in somebody's data is an incident, not a fault.
package fault

import (
	"errors"
	"fmt"
	"strings"
)

// Kind is the class of a failure. It decides the exit code of the command line and the status of an HTTP answer.
type Kind string

const (
	Internal    Kind = "internal"    // a bug
	Invalid     Kind = "invalid"     // the caller's input cannot be used
	NotFound    Kind = "not_found"   // no such thing
	Exists      Kind = "exists"      // there is one already
	Denied      Kind = "denied"      // not allowed: locked cluster, missing role or approval
	Drifted     Kind = "drifted"     // the world moved since this was planned
	Conflict    Kind = "conflict"    // somebody else holds it: a lease, a lock, an overlap, a newer epoch
	Blocked     Kind = "blocked"     // needs a person before it can go on
	Tampered    Kind = "tampered"    // stored evidence does not verify
	Unavailable Kind = "unavailable" // the other side did not answer; trying later can help
	Timeout     Kind = "timeout"     // a limit of time given by the caller was reached
	Interrupted Kind = "interrupted" // stopped on request
)

// Error is a failure with its kind, the operation and the place, and the next step.
type Error struct {
	Kind Kind
	Op   string // what was being done, for instance "create slot freshet_shop"
	Code string // stable name for programs, for instance "PLAN_DRIFT"; optional
	Err  error  // the cause; optional
	Next string // what to do next, a sentence; optional
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Err != nil {
		if e.Op != "" {
			b.WriteString(": ")
		}
		b.WriteString(e.Err.Error())
	}
	if e.Next != "" {
		b.WriteString(" (")
		b.WriteString(e.Next)
		b.WriteString(")")
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// New makes an Error whose cause is a text.
func New(kind Kind, op, next, format string, args ...any) *Error {
	return &Error{Kind: kind, Op: op, Next: next, Err: fmt.Errorf(format, args...)}
}

// Wrap gives err a kind, an operation and a next step. An err that is an Error already keeps its kind, code and next
// step: wrapping happens once, where most is known. A nil err gives nil.
func Wrap(kind Kind, op string, err error, next string) error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	return &Error{Kind: kind, Op: op, Err: err, Next: next}
}

// KindOf returns the kind of the first Error in err's chain, Internal when there is none and "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

// Is reports whether err's kind is kind.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }
