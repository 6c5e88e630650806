//go:build !(desktop || dev || bindings)

package app

import (
	"context"
	"log/slog"

	"freshet/backend/fault"
)

// Window opens the desktop window; the server build has none.
func Window(context.Context, string, string, *slog.Logger) error {
	return fault.New(fault.Invalid, "open the window", "use the desktop build (`make desktop`), or `freshet serve` and a browser", "this is the server build")
}
