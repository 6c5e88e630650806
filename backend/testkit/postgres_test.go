//go:build unix

package testkit_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"freshet/backend/testkit"
)

func TestPostgres(t *testing.T) {
	for _, version := range []int{15, 18} {
		p := testkit.Postgres(t, version, "fsync=off")
		dsn := p.CreateDatabase("shop")
		p.Exec("shop", "CREATE TABLE t(id int PRIMARY KEY); INSERT INTO t VALUES (1)")
		check := func() {
			t.Helper()
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			conn, err := pgx.Connect(ctx, dsn)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(ctx)
			var num, rows int
			var level string
			if err := conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int/10000, current_setting('wal_level'), (SELECT count(*) FROM t)").Scan(&num, &level, &rows); err != nil {
				t.Fatal(err)
			}
			if num != version || level != "logical" || rows != 1 {
				t.Fatalf("version %d, wal_level %s, %d rows; want %d, logical, 1", num, level, rows, version)
			}
		}
		check()
		p.Restart(testkit.Fast)
		check()
		p.Restart(testkit.Immediate)
		check()
		p.Kill()
		if p.Running() {
			t.Fatal("killed, and running")
		}
		p.Start()
		check()
	}
}
