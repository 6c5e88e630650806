package cli

import (
	"log/slog"
	"os"
)

// logger writes the instance's log to standard error; FRESHET_LOG=debug makes it say more.
func (g *globals) logger() *slog.Logger {
	level := slog.LevelInfo
	switch {
	case os.Getenv("FRESHET_LOG") == "debug":
		level = slog.LevelDebug
	case g.quiet:
		level = slog.LevelWarn
	}
	return slog.New(slog.NewTextHandler(g.stderr, &slog.HandlerOptions{Level: level}))
}
