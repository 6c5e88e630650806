package postgres_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const loadTables = `
	CREATE TABLE keyed(id int PRIMARY KEY, n int, small text, big text);
	ALTER TABLE keyed ALTER big SET STORAGE EXTERNAL;
	CREATE TABLE whole(id int PRIMARY KEY, n int, small text, big text);
	ALTER TABLE whole ALTER big SET STORAGE EXTERNAL, REPLICA IDENTITY FULL;
	CREATE TABLE indexed(id int PRIMARY KEY, code int NOT NULL UNIQUE, n int, small text, big text);
	ALTER TABLE indexed ALTER big SET STORAGE EXTERNAL, REPLICA IDENTITY USING INDEX indexed_code_key;
	CREATE TABLE pairs(a int, b text, n int, small text, big text, PRIMARY KEY (b, a));
	ALTER TABLE pairs ALTER big SET STORAGE EXTERNAL;
	CREATE TABLE history(id int, worker int, note text);
	CREATE TABLE bag(n int, note text);
	ALTER TABLE bag REPLICA IDENTITY FULL;
	CREATE TABLE elsewhere(id int);
`

var loadNames = []string{"public.keyed", "public.whole", "public.indexed", "public.pairs", "public.history", "public.bag"}

// load is writers that do everything at random until it is stopped.
type load struct {
	stop chan struct{}
	done sync.WaitGroup
	mu   sync.Mutex
	errs []error
}

// startLoad starts writers whose sessions outlive server restarts.
func startLoad(t testing.TB, db *database, writers int, seed uint64) *load {
	l := &load{stop: make(chan struct{})}
	for i := range writers {
		l.done.Go(func() { l.write(db.dsn, i, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	t.Cleanup(l.end)
	return l
}

func (l *load) end() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.done.Wait()
}

// finish stops the writers and fails on an error that a restart does not explain.
func (l *load) finish(t testing.TB) {
	t.Helper()
	l.end()
	for _, err := range l.errs {
		t.Error(err)
	}
}

func (l *load) write(dsn string, worker int, r *rand.Rand) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			conn.Close(context.Background())
		}
	}()
	for {
		select {
		case <-l.stop:
			return
		default:
		}
		if conn == nil || conn.IsClosed() {
			var err error
			if conn, err = pgx.Connect(ctx, dsn); err != nil {
				time.Sleep(10 * time.Millisecond) // the server is restarting
				continue
			}
		}
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			for range 1 + r.IntN(6) {
				if err := l.step(ctx, tx, worker, r); err != nil {
					return err
				}
			}
			if r.IntN(10) == 0 {
				return pgx.ErrTxCommitRollback
			}
			return nil
		})
		if pg, ok := err.(*pgconn.PgError); ok && !strings.HasPrefix(pg.Code, "57") && pg.Code != "40P01" {
			l.mu.Lock()
			l.errs = append(l.errs, fmt.Errorf("the application's write failed: %w", err))
			l.mu.Unlock()
			return
		}
	}
}

func (l *load) step(ctx context.Context, tx pgx.Tx, worker int, r *rand.Rand) error {
	exec := func(sql string, args ...any) error {
		_, err := tx.Exec(ctx, sql, args...)
		return err
	}
	id := worker*1000 + r.IntN(40) // writers do not meet, so that none waits for another's locks
	big := ""
	if r.IntN(3) == 0 {
		big = strings.Repeat(fmt.Sprintf("%08x", r.Uint32()), 400)
	}
	table := []string{"keyed", "whole"}[r.IntN(2)]
	switch r.IntN(16) {
	case 0, 1, 2:
		return exec("INSERT INTO "+table+" VALUES ($1, 0, 's', $2) ON CONFLICT (id) DO UPDATE SET n = "+table+".n + 1", id, big)
	case 3, 4:
		return exec("UPDATE "+table+" SET n = n + 1, small = small || 'x' WHERE id = $1", id)
	case 5:
		return exec("UPDATE "+table+" SET big = $2 WHERE id = $1", id, big)
	case 6:
		return exec("UPDATE "+table+" SET id = id + 500 WHERE id = $1 AND NOT EXISTS (SELECT FROM "+table+" WHERE id = $1 + 500)", id)
	case 7:
		return exec("DELETE FROM "+table+" WHERE id IN ($1, $1 + 500)", id)
	case 8:
		return exec("INSERT INTO indexed VALUES ($1, $1, 0, 's', $2) ON CONFLICT DO NOTHING", id, big)
	case 9:
		return exec("UPDATE indexed i SET n = n + 1, id = id + 100000 WHERE code = $1 AND NOT EXISTS (SELECT FROM indexed o WHERE o.id = i.id + 100000)", id)
	case 10:
		if r.IntN(2) == 0 {
			return exec("DELETE FROM indexed WHERE code IN ($1, $1 + 500)", id)
		}
		return exec("UPDATE indexed SET code = code + 500 WHERE code = $1 AND NOT EXISTS (SELECT FROM indexed WHERE code = $1 + 500)", id)
	case 11:
		return exec("INSERT INTO pairs VALUES ($1, 'b', 0, 's', $2) ON CONFLICT (a, b) DO UPDATE SET n = pairs.n + 1, b = CASE WHEN pairs.n % 3 = 0 AND NOT EXISTS (SELECT FROM pairs p WHERE p.a = $1 AND p.b = 'c') THEN 'c' ELSE 'b' END", id, big)
	case 12:
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"history"}, []string{"id", "worker", "note"}, pgx.CopyFromSlice(20, func(i int) ([]any, error) {
			return []any{i, worker, "copied"}, nil
		}))
		return err
	case 13:
		if r.IntN(3) == 0 {
			return exec("DELETE FROM bag WHERE ctid = (SELECT ctid FROM bag WHERE n = $1 LIMIT 1)", id)
		}
		return exec("INSERT INTO bag VALUES ($1, 'n'), ($1, 'n')", id)
	case 14:
		if r.IntN(20) == 0 {
			return exec("TRUNCATE history, bag")
		}
		if _, err := tx.Exec(ctx, "SAVEPOINT s"); err != nil {
			return err
		}
		if err := exec("INSERT INTO history SELECT i, $1, 'rolled back' FROM generate_series(1, 10) i", worker); err != nil {
			return err
		}
		return exec("ROLLBACK TO SAVEPOINT s")
	}
	if r.IntN(2) == 0 {
		return exec("SELECT pg_logical_emit_message($1, 'test', 'message')", r.IntN(2) == 0)
	}
	return exec("INSERT INTO elsewhere VALUES (1)")
}
