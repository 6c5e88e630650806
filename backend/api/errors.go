package api

import (
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"freshet/backend/fault"
)

// Error is every answer that is not a success.
type Error struct {
	Head
	Exit    int    `json:"exit" doc:"The command line's exit code"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`

	status int
}

func (e *Error) Error() string  { return e.Message }
func (e *Error) GetStatus() int { return e.status }

// kinds is the one table from a fault's kind to an HTTP status and an exit code.
var kinds = map[fault.Kind]struct{ status, exit int }{
	fault.Internal:    {http.StatusInternalServerError, 1},
	fault.Invalid:     {http.StatusUnprocessableEntity, 2},
	fault.NotFound:    {http.StatusNotFound, 2},
	fault.Exists:      {http.StatusConflict, 2},
	fault.Drifted:     {http.StatusConflict, 3},
	fault.Denied:      {http.StatusForbidden, 4},
	fault.Conflict:    {http.StatusConflict, 7},
	fault.Blocked:     {http.StatusConflict, 9},
	fault.Tampered:    {http.StatusConflict, 10},
	fault.Unavailable: {http.StatusServiceUnavailable, 11},
	fault.Timeout:     {http.StatusGatewayTimeout, 124},
	fault.Interrupted: {http.StatusServiceUnavailable, 130},
}

// planExits are codes whose exit differs from their kind's.
var planExits = map[string]int{"PLAN_INVALID": 3, "PLAN_EXPIRED": 4, "APPROVAL_MISSING": 4, "APPROVAL_EXPIRED": 4}

// ExitCode is the command line's exit code for err, 0 for nil.
func ExitCode(err error) int {
	if err == nil {
		return 0
	}
	var a *Error
	if errors.As(err, &a) {
		return a.Exit
	}
	var f *fault.Error
	if errors.As(err, &f) {
		if exit, ok := planExits[f.Code]; ok {
			return exit
		}
	}
	return kinds[fault.KindOf(err)].exit
}

// FromError turns any error into the API's. The text of one without a kind stays out of the answer.
func FromError(err error) *Error {
	var a *Error
	if errors.As(err, &a) {
		return a
	}
	kind := fault.KindOf(err)
	out := &Error{Head: head("error"), Exit: ExitCode(err), Code: strings.ToUpper(string(kind)), status: kinds[kind].status}
	var f *fault.Error
	if errors.As(err, &f) {
		out.Hint = f.Next
		if f.Code != "" {
			out.Code = f.Code
		}
		bare := *f
		bare.Next = ""
		out.Message = bare.Error()
		return out
	}
	out.Message = "something went wrong inside Freshet: " + err.Error()
	out.Hint = "this is a bug; the log of the instance has more"
	return out
}

// hideFramework makes huma's own errors (a body that does not parse, an unknown query parameter) look like ours. It sets
// huma's package variable, which is how huma wants it.
func hideFramework() {
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		kind := fault.Invalid
		for k, v := range kinds {
			if v.status == status && k != fault.Exists && k != fault.Drifted && k != fault.Blocked && k != fault.Tampered && k != fault.Interrupted {
				kind = k
			}
		}
		parts := []string{msg}
		for _, err := range errs {
			if err != nil {
				parts = append(parts, err.Error())
			}
		}
		return &Error{Head: head("error"), Exit: kinds[kind].exit, Code: strings.ToUpper(string(kind)), Message: strings.Join(parts, ": "), status: status}
	}
}
