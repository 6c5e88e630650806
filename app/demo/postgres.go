package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"freshet/backend/fault"
)

const (
	postgresName   = "postgres"
	postgresGrace  = 20 * time.Second // for a fast shutdown with its checkpoint
	postgresWait   = 60 * time.Second // for a start, with recovery
	superuser      = "freshet"
	shopName       = "shop"      // database and its owner
	warehouseName  = "warehouse" // database and its owner
	bindAttempts   = 3
	connectTimeout = 5 * time.Second
)

// postgresSettings are given on the command line: none of them lives in a file that could differ.
var postgresSettings = []string{
	"listen_addresses=127.0.0.1",
	"unix_socket_directories=",
	"wal_level=logical",
	"track_commit_timestamp=on",
	"max_wal_senders=10",
	"max_replication_slots=10",
	"max_slot_wal_keep_size=2GB", // a slot that nobody reads must not fill the disk
	"max_connections=60",
	"shared_buffers=64MB",
	"jit=off",
	"log_checkpoints=off",
	"log_min_error_statement=panic", // statements can hold what a log must not
	"autovacuum_naptime=20s",
	"cluster_name=freshet-demo",
}

// postgres is the private server: its data below the world's directory, reachable on loopback by password only.
type postgres struct {
	w        *World
	dir      string
	binaries binaries
	account  *account
	port     int
	process  *process
}

// start makes the data directory where there is none, and runs the server. The port stays the same over restarts
// unless somebody else has taken it.
func (pg *postgres) start(ctx context.Context) error {
	const op = "start the demo's PostgreSQL"
	major, err := dataMajor(pg.dir)
	if err != nil {
		return fault.Wrap(fault.Blocked, op, err, "start the demo afresh with --reset")
	}
	if pg.binaries, err = findBinaries(ctx, pg.w.installed(ctx), major, pg.w.log); err != nil {
		return err
	}
	pg.account = unprivileged()
	if err := pg.endLeftover(ctx); err != nil {
		return err
	}
	if major == 0 {
		if err := pg.initdb(ctx); err != nil {
			return err
		}
	}
	pg.w.log.Info("starting PostgreSQL", "version", pg.binaries.version, "binaries", pg.binaries.dir)
	pg.port = pg.w.state.PostgresPort
	for attempt := 1; ; attempt++ {
		if pg.port == 0 || !free(pg.port) {
			if pg.port, err = freePort(); err != nil {
				return fault.Wrap(fault.Unavailable, op, err, "see whether loopback works on this machine")
			}
		}
		if pg.process, err = pg.w.sup.start(spec{
			name: postgresName, command: pg.command, stop: sigFast, force: sigCrash, grace: postgresGrace,
		}); err != nil {
			return err
		}
		if err = pg.await(ctx); err == nil {
			break
		}
		pg.w.sup.stop(context.WithoutCancel(ctx), func(p *process) bool { return p == pg.process })
		if attempt == bindAttempts || ctx.Err() != nil || free(pg.port) {
			return err
		}
		pg.port = 0 // somebody took the port between our look and the server's
	}
	if pg.w.state.PostgresPort != pg.port {
		pg.w.state.PostgresPort = pg.port
		return pg.w.saveState()
	}
	return nil
}

// endLeftover ends a server that runs on the data directory without being in the record of an earlier demo.
func (pg *postgres) endLeftover(ctx context.Context) error {
	b, err := os.ReadFile(filepath.Join(pg.dir, "postmaster.pid"))
	if err != nil {
		return nil // none, or the server will say what is wrong
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil || !worksIn(pid, pg.dir) {
		return nil
	}
	return pg.w.sup.endProcess(ctx, recorded{postgresName, pid, identity(pid)})
}

// dataMajor is the version of the data directory, 0 where there is none. What an interrupted initdb left does not count.
func dataMajor(dir string) (int, error) {
	if _, err := os.Stat(filepath.Join(dir, "global", "pg_control")); errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	b, err := os.ReadFile(filepath.Join(dir, "PG_VERSION"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

func (pg *postgres) initdb(ctx context.Context) error {
	op := "make the demo's PostgreSQL in " + pg.dir
	const next = "see whether the disk has room and the folder can be written"
	// It is made beside its place, so that a directory with data in it is always a whole one.
	unfinished := pg.dir + ".new"
	if err := errors.Join(os.RemoveAll(unfinished), os.RemoveAll(pg.dir), os.MkdirAll(unfinished, 0o700), pg.account.own(unfinished)); err != nil {
		return fault.Wrap(fault.Unavailable, op, err, next)
	}
	passwordFile, err := os.CreateTemp(pg.w.own, "initdb-")
	if err != nil {
		return fault.Wrap(fault.Unavailable, op, err, next)
	}
	defer os.Remove(passwordFile.Name())
	defer passwordFile.Close()
	if _, err := passwordFile.WriteString(pg.w.state.Passwords[superuser] + "\n"); err != nil {
		return fault.Wrap(fault.Unavailable, op, err, next)
	}
	if err := pg.account.own(passwordFile.Name()); err != nil {
		return fault.Wrap(fault.Unavailable, op, err, next)
	}
	began := time.Now()
	cmd, done, err := pg.run(ctx, "initdb", unfinished, passwordFile)
	if err != nil {
		return fault.Wrap(fault.Unavailable, op, err, next)
	}
	defer done()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fault.New(fault.Unavailable, op, next, "initdb: %w: %s", err, lastLine(out))
	}
	if err := os.Rename(unfinished, pg.dir); err != nil {
		return fault.Wrap(fault.Unavailable, op, err, next)
	}
	pg.w.log.Info("made a PostgreSQL", "in", pg.dir, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// run prepares one of PostgreSQL's programs on a data directory, as the unprivileged user where we are root. That user
// may not be able to walk to the directory: it inherits it as an open descriptor then. done releases our side of those.
func (pg *postgres) run(ctx context.Context, program, dir string, passwordFile *os.File) (cmd *exec.Cmd, done func(), err error) {
	cmd = exec.CommandContext(ctx, filepath.Join(pg.binaries.dir, program))
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	attributes(cmd, pg.account, sigFast)
	data, password := dir, ""
	if passwordFile != nil {
		password = passwordFile.Name()
	}
	done = func() {}
	if byFd, ok := dirByDescriptor(3); ok && pg.account != nil {
		folder, err := os.Open(dir)
		if err != nil {
			return nil, nil, err
		}
		done = func() { folder.Close() }
		data = byFd
		cmd.ExtraFiles = []*os.File{folder}
		if passwordFile != nil {
			password, _ = dirByDescriptor(4)
			cmd.ExtraFiles = append(cmd.ExtraFiles, passwordFile)
		}
	}
	cmd.Args = append(cmd.Args, "-D", data)
	if passwordFile != nil {
		cmd.Args = append(cmd.Args, "-U", superuser, "--pwfile="+password, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")
	}
	return cmd, done, nil
}

func (pg *postgres) command() (*exec.Cmd, func(), error) {
	// Its life is the supervisor's to end, so no context ends it.
	cmd, done, err := pg.run(context.Background(), "postgres", pg.dir, nil)
	if err != nil {
		return nil, nil, fault.Wrap(fault.Unavailable, "start the demo's PostgreSQL", err, "start the demo afresh with --reset")
	}
	cmd.Args = append(cmd.Args, "-p", strconv.Itoa(pg.port))
	for _, s := range postgresSettings {
		cmd.Args = append(cmd.Args, "-c", s)
	}
	return cmd, done, nil
}

// await waits until the server answers, or its process gave up.
func (pg *postgres) await(ctx context.Context) error {
	const op = "wait for the demo's PostgreSQL"
	ctx, cancel := context.WithTimeout(ctx, postgresWait)
	defer cancel()
	look := time.NewTicker(25 * time.Millisecond)
	defer look.Stop()
	before := pg.process.restartCount()
	for {
		conn, err := pgx.Connect(ctx, pg.dsn(superuser, postgresName))
		if err == nil {
			return conn.Close(ctx)
		}
		if restarts := pg.process.restartCount() - before; restarts >= bindAttempts {
			return fault.New(fault.Unavailable, op, "read "+pg.process.logPath(), "it ended at once %d times", restarts)
		}
		select {
		case <-ctx.Done():
			return fault.New(fault.Unavailable, op, "read "+pg.process.logPath(), "no connection: %w", err)
		case <-look.C:
		}
	}
}

// dsn is a connection string without a password in it: that is in a file for our eyes only.
func (pg *postgres) dsn(user, database string) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable&passfile=%s", user, pg.port, database, urlPath(pg.w.passFile()))
}

// connect opens a session as the superuser.
func (pg *postgres) connect(ctx context.Context, database string) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, pg.dsn(superuser, database))
	return conn, fault.Wrap(fault.Unavailable, "reach the demo's PostgreSQL", err, "it is started again when it ended: try in a moment, or read "+pg.process.logPath())
}

// prepare makes roles and databases where they are missing, and undoes what a fault left behind.
func (pg *postgres) prepare(ctx context.Context) error {
	const op = "prepare the demo's databases"
	conn, err := pg.connect(ctx, postgresName)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, role := range []string{shopName, warehouseName} {
		var found bool
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role).Scan(&found); err != nil {
			return fault.Wrap(fault.Unavailable, op, err, "start the demo afresh with --reset")
		}
		verb := "CREATE"
		if found {
			verb = "ALTER"
		}
		statements := []string{
			// The password is of letters and digits: it needs no quoting.
			fmt.Sprintf("%s ROLE %s LOGIN REPLICATION PASSWORD '%s'", verb, role, pg.w.state.Passwords[role]),
			fmt.Sprintf("GRANT pg_monitor TO %s", role),
		}
		if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", role).Scan(&found); err != nil {
			return fault.Wrap(fault.Unavailable, op, err, "start the demo afresh with --reset")
		}
		if !found {
			statements = append(statements, fmt.Sprintf("CREATE DATABASE %s OWNER %s", role, role))
		}
		statements = append(statements, fmt.Sprintf("ALTER DATABASE %s ALLOW_CONNECTIONS true", role))
		for _, s := range statements {
			if _, err := conn.Exec(ctx, s); err != nil {
				return fault.Wrap(fault.Unavailable, op, err, "start the demo afresh with --reset")
			}
		}
	}
	return nil
}

// allowWarehouse opens or closes the warehouse. Closing cuts the sessions that are open.
func (pg *postgres) allowWarehouse(ctx context.Context, allowed bool) error {
	op := "close the warehouse"
	if allowed {
		op = "open the warehouse"
	}
	conn, err := pg.connect(ctx, postgresName)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, fmt.Sprintf("ALTER DATABASE %s ALLOW_CONNECTIONS %t", warehouseName, allowed)); err != nil {
		return fault.Wrap(fault.Unavailable, op, err, "try again")
	}
	if !allowed {
		_, err = conn.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", warehouseName)
	}
	return fault.Wrap(fault.Unavailable, op, err, "try again")
}

// restart shuts the server down and waits until its successor answers.
func (pg *postgres) restart(ctx context.Context) error {
	before := pg.process.restartCount()
	if err := pg.process.signal(sigFast); err != nil {
		return err
	}
	look := time.NewTicker(25 * time.Millisecond)
	defer look.Stop()
	for pg.process.restartCount() == before {
		select {
		case <-ctx.Done():
			return fault.Wrap(fault.Timeout, "restart the demo's PostgreSQL", ctx.Err(), "read "+pg.process.logPath())
		case <-look.C:
		}
	}
	return pg.await(ctx)
}

func free(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

func newPassword() string { return rand.Text() }

func lastLine(b []byte) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}
