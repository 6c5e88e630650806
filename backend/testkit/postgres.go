//go:build unix

// Package testkit starts the real systems that tests run against, on loopback and in temporary folders, and ends them
// with the test. Only tests import it.
package testkit

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// postgresBuilds are the versions that Postgres can fetch, the pinned build of each.
var postgresBuilds = map[int]string{
	13: "13.22.0",
	14: "14.19.0",
	15: "15.14.0",
	16: "16.10.0",
	17: "17.7.0",
	18: "18.1.0",
}

const (
	startLimit   = 60 * time.Second
	stopLimit    = 60 * time.Second
	postgresUser = "postgres" // the unprivileged account that a server is run as where the test is root
)

// ShutdownMode is how PostgreSQL is asked to stop.
type ShutdownMode string

const (
	Fast      ShutdownMode = "fast"      // sessions are cut, the shutdown is clean
	Immediate ShutdownMode = "immediate" // as a crash: the next start recovers
)

// PostgresServer is a private PostgreSQL: wal_level=logical, track_commit_timestamp=on, superuser postgres without a
// password, on a loopback port that stays the same over restarts. Its methods are for one goroutine.
type PostgresServer struct {
	Version int
	Port    int
	Dir     string // the data directory

	bin      string
	base     string
	settings []string
	t        testing.TB
	process
}

// Postgres starts a server of the major version for the length of the test. Settings are further name=value pairs of
// its configuration, for instance "fsync=off". Version 15 is the machine's where it has one; other builds are fetched
// once with the mvn client. Where a build cannot be had the test is skipped, except where
// CI=true: there it fails.
func Postgres(t testing.TB, version int, settings ...string) *PostgresServer {
	t.Helper()
	bin, err := postgresBinaries(version)
	if err != nil {
		Missing(t, fmt.Sprintf("PostgreSQL %d", version), err)
	}
	p, err := StartPostgres(bin, version, settings...)
	if err != nil {
		t.Fatal(err)
	}
	p.t = t
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("PostgreSQL %d says:\n%s", version, p.logTail())
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// PostgresBinaries returns the folder that holds initdb and postgres of the major version, fetching it where it must.
func PostgresBinaries(t testing.TB, version int) string {
	t.Helper()
	bin, err := postgresBinaries(version)
	if err != nil {
		Missing(t, fmt.Sprintf("PostgreSQL %d", version), err)
	}
	return bin
}

// StartPostgres starts a server outside of a test, for a TestMain that shares one. Close ends it and removes its files.
func StartPostgres(bin string, version int, settings ...string) (*PostgresServer, error) {
	base, err := os.MkdirTemp("", "freshet-postgres-")
	if err != nil {
		return nil, err
	}
	p := &PostgresServer{Version: version, Dir: filepath.Join(base, "data"), bin: bin, base: base, settings: settings}
	if err := giveToPostgres(base); err != nil {
		return nil, errors.Join(err, os.RemoveAll(base))
	}
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", p.Dir, "-U", postgresUser, "-A", "trust", "-E", "UTF8",
		"--no-locale", "--no-sync")
	initdb.Dir = base
	initdb.SysProcAttr = unprivileged()
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("initdb: %w\n%s", err, out), os.RemoveAll(base))
	}
	if err := p.start(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// DSN is the superuser's connection string for a database.
func (p *PostgresServer) DSN(database string) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable", postgresUser, p.Port, database)
}

// CreateDatabase makes a database and returns its DSN.
func (p *PostgresServer) CreateDatabase(name string) string {
	p.t.Helper()
	p.Exec("postgres", "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
	return p.DSN(name)
}

// Exec runs statements in a database as the superuser, with the simple protocol: several at once are one transaction.
func (p *PostgresServer) Exec(database, sql string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	conn, err := pgconn.Connect(ctx, p.DSN(database))
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql).ReadAll(); err != nil {
		p.t.Fatalf("%v\n%s", err, sql)
	}
}

// Start starts a stopped server on its port and returns when it answers.
func (p *PostgresServer) Start() {
	p.t.Helper()
	if err := p.start(); err != nil {
		p.t.Fatal(err)
	}
}

// Stop stops the server and returns when it has ended.
func (p *PostgresServer) Stop(mode ShutdownMode) {
	p.t.Helper()
	if err := p.stop(mode); err != nil {
		p.t.Fatal(err)
	}
}

// Restart stops and starts the server.
func (p *PostgresServer) Restart(mode ShutdownMode) {
	p.t.Helper()
	p.Stop(mode)
	p.Start()
}

// Kill ends the server and its children by SIGKILL.
func (p *PostgresServer) Kill() {
	p.t.Helper()
	if err := p.kill(); err != nil {
		p.t.Fatal(err)
	}
}

// SetHBA replaces pg_hba.conf and has a running server read it.
func (p *PostgresServer) SetHBA(lines ...string) {
	p.t.Helper()
	file := filepath.Join(p.Dir, "pg_hba.conf")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		p.t.Fatal(err)
	}
	if p.Running() {
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			p.t.Fatal(err)
		}
	}
}

// Write puts a file into the data directory that the server alone may read, and returns its path.
func (p *PostgresServer) Write(name string, content []byte) string {
	p.t.Helper()
	file := filepath.Join(p.Dir, name)
	if err := errors.Join(os.WriteFile(file, content, 0o600), giveToPostgres(file)); err != nil {
		p.t.Fatal(err)
	}
	return file
}

// Close ends the server and removes its files.
func (p *PostgresServer) Close() error {
	var err error
	if p.Running() {
		if err = p.stop(Immediate); err != nil {
			err = errors.Join(err, p.kill())
		}
	}
	return errors.Join(err, os.RemoveAll(p.base))
}

func (p *PostgresServer) start() error {
	if p.Port != 0 {
		return p.run()
	}
	var err error
	for range 5 { // another process may take the port between the look and the start
		if p.Port, err = freePort(); err != nil {
			return err
		}
		if err = p.run(); err == nil || !strings.Contains(p.logTail(), "in use") {
			return err
		}
	}
	return err
}

func (p *PostgresServer) run() error {
	if p.Running() {
		return errors.New("the server runs already")
	}
	args := []string{"-D", p.Dir, "-p", fmt.Sprint(p.Port)}
	for _, s := range append([]string{
		"listen_addresses=127.0.0.1", "unix_socket_directories=", "wal_level=logical", "track_commit_timestamp=on",
		"max_replication_slots=64", "max_wal_senders=64", "shared_buffers=64MB", "max_wal_size=512MB", "log_min_messages=warning",
	}, p.settings...) {
		args = append(args, "-c", s)
	}
	log, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(p.bin, "postgres"), args...)
	cmd.Dir = p.base
	cmd.SysProcAttr = unprivileged()
	if err := p.process.start(cmd, log); err != nil {
		return err
	}
	return p.waitReady()
}

func (p *PostgresServer) waitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	for {
		conn, err := pgconn.Connect(ctx, p.DSN("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-p.done:
			return fmt.Errorf("PostgreSQL %d ended while starting:\n%s", p.Version, p.logTail())
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL %d does not answer: %w\n%s", p.Version, err, p.logTail())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (p *PostgresServer) stop(mode ShutdownMode) error {
	if !p.Running() {
		return errors.New("the server does not run")
	}
	sig := syscall.SIGINT
	if mode == Immediate {
		sig = syscall.SIGQUIT
	}
	if err := p.cmd.Process.Signal(sig); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(stopLimit):
		return fmt.Errorf("PostgreSQL %d does not stop (%s):\n%s", p.Version, mode, p.logTail())
	}
}

func (p *PostgresServer) kill() error {
	if !p.Running() {
		return errors.New("the server does not run")
	}
	children := childrenOf(p.cmd.Process.Pid)
	if err := p.cmd.Process.Kill(); err != nil {
		return err
	}
	<-p.done
	deadline := time.Now().Add(stopLimit)
	for _, pid := range children {
		// A child that has seen its parent die ends by itself, too.
		for !ended(pid) && syscall.Kill(pid, syscall.SIGKILL) == nil {
			if time.Now().After(deadline) {
				return fmt.Errorf("process %d of PostgreSQL does not end", pid)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return nil
}

func (p *PostgresServer) logFile() string { return filepath.Join(p.base, "log") }

func (p *PostgresServer) logTail() string { return tail(p.logFile()) }

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func postgresBinaries(version int) (string, error) {
	if bin := fmt.Sprintf("/usr/lib/postgresql/%d/bin", version); isFile(filepath.Join(bin, "postgres")) {
		return bin, nil
	}
	build, ok := postgresBuilds[version]
	if !ok {
		return "", fmt.Errorf("no build of version %d is known", version)
	}
	cache, err := postgresCache()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, build)
	bin := filepath.Join(dir, "bin")
	if isFile(filepath.Join(bin, "postgres")) {
		return bin, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	temp, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	if err := fetchPostgres(build, temp); err != nil {
		return "", err
	}
	// Of several that fetch at once, the first one's folder stays.
	if err := os.Rename(filepath.Join(temp, "tree"), dir); err != nil && !isFile(filepath.Join(bin, "postgres")) {
		return "", err
	}
	return bin, nil
}

// fetchPostgres unpacks a build into temp/tree.
func fetchPostgres(build, temp string) error {
	arch := map[string]string{"amd64": "amd64", "arm64": "arm64v8"}[runtime.GOARCH]
	if arch == "" {
		return fmt.Errorf("no build for %s", runtime.GOARCH)
	}
	name := fmt.Sprintf("embedded-postgres-binaries-%s-%s", runtime.GOOS, arch)
	mvn := exec.Command("mvn", "-q", "-B", "dependency:copy", "-Dartifact=io.zonky.test.postgres:"+name+":"+build, "-DoutputDirectory="+temp)
	mvn.Dir = temp
	if out, err := mvn.CombinedOutput(); err != nil {
		return fmt.Errorf("mvn: %w\n%s", err, out)
	}
	jar, err := zip.OpenReader(filepath.Join(temp, name+"-"+build+".jar"))
	if err != nil {
		return err
	}
	defer jar.Close()
	for _, f := range jar.File {
		if !strings.HasSuffix(f.Name, ".txz") {
			continue
		}
		r, err := f.Open()
		if err != nil {
			return err
		}
		defer r.Close()
		return untar(r, filepath.Join(temp, "tree"))
	}
	return fmt.Errorf("%s %s holds no archive", name, build)
}

func untar(r io.Reader, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	tar := exec.Command("tar", "-xJ", "--no-same-owner", "-C", dir)
	tar.Stdin = r
	if out, err := tar.CombinedOutput(); err != nil {
		return fmt.Errorf("tar: %w\n%s", err, out)
	}
	return nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
