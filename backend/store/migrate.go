package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"github.com/pressly/goose/v3"

	"freshet/backend/fault"
)

//go:embed sql
var migrations embed.FS

// migrate brings a database to the schema of this program. A file that a newer program wrote is refused and left as it
// is; an older one is copied before anything is changed.
func migrate(ctx context.Context, db *sql.DB, path, schema string, log *slog.Logger) error {
	dir, err := fs.Sub(migrations, "sql/"+schema)
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, dir)
	if err != nil {
		return err
	}
	sources := p.ListSources()
	want := sources[len(sources)-1].Version
	have, err := schemaVersion(ctx, db)
	if err != nil {
		return err
	}
	switch {
	case have == want:
		return nil
	case have > want:
		return newerSchema(path, have, want)
	case have > 0:
		if err := backup(ctx, db, fmt.Sprintf("%s.v%d.bak", path, have)); err != nil {
			return fmt.Errorf("copy before migrating: %w", err)
		}
	}
	if _, err := p.Up(ctx); err != nil {
		return err
	}
	log.Info("migrated", "file", path, "from", have, "to", want)
	return nil
}

// schemaVersion is 0 for a file without a schema.
func schemaVersion(ctx context.Context, db *sql.DB) (int64, error) {
	var tables int
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema WHERE name = 'goose_db_version'").Scan(&tables); err != nil || tables == 0 {
		return 0, err
	}
	var version sql.NullInt64
	err := db.QueryRowContext(ctx, "SELECT max(version_id) FROM goose_db_version WHERE is_applied").Scan(&version)
	return version.Int64, err
}

func newerSchema(path string, have, want int64) error {
	return &fault.Error{Kind: fault.Blocked, Op: "open " + path, Code: "NEWER_SCHEMA",
		Err:  fmt.Errorf("its schema is version %d, this program knows up to %d", have, want),
		Next: "start the newer Freshet that wrote it; nothing was changed"}
}

// backup writes a whole copy of db to path, all or nothing.
func backup(ctx context.Context, db *sql.DB, path string) error {
	part := path + ".part"
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := touch(part); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", part); err != nil {
		return err
	}
	return os.Rename(part, path)
}
