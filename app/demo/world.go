// Package demo is the private world that Freshet is shown on: a PostgreSQL of its own with a shop that writes to it,
// consumers of the captured topics, an HTTP endpoint, and faults to start and stop. Each of them is a process of its
// own, kept alive while the World lives and ended with it. Start from New; Child is the other side, run by the hidden
// verb that a World starts its processes with.
//
// The World makes no capture and no sinks: whoever starts it wires those to it as to anybody's database. It expects to
// be alone on its directory, which the caller's lock sees to.
package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"freshet/backend/fault"
)

// DefaultRate is how many transactions a second the shop does on the average.
const DefaultRate = 20

// MaxRate bounds what can be asked of the shop.
const MaxRate = 5000

// Options say where and how a World runs.
type Options struct {
	Dir       string   // the data directory; the World's folders in it are demo/ and postgres/
	Exe       string   // the program that runs Child; "" is this one
	ChildArgs []string // what makes it do so, before Child's own arguments; nil is "demo-child"
	Rate      float64  // transactions a second; 0 is DefaultRate
	Prefix    string   // of the captured topics; "" is "shop"
	Logger    *slog.Logger
}

// World is the demo's world. Start its parts in the order StartPostgres, StartEndpoint, StartConsumers, StartLoad. Its
// methods may be called from any goroutine.
type World struct {
	opts      Options
	own       string // opts.Dir/demo
	log       *slog.Logger
	sup       *supervisor
	pg        *postgres
	installed func(context.Context) []binaries
	faults    *faults

	starting sync.Mutex // one Start or Stop at a time
	mu       sync.Mutex
	state    state
	load     LoadState
	endpoint string
	stopped  bool
}

// state is what a World remembers from one start to the next, in demo/state.json of mode 0600.
type state struct {
	V            int               `json:"v"`
	PostgresPort int               `json:"postgres_port"`
	EndpointPort int               `json:"endpoint_port"`
	Passwords    map[string]string `json:"passwords"` // by PostgreSQL role
}

// LoadState is what the shop does.
type LoadState struct {
	Rate      float64 // transactions a second on the average
	Paused    bool
	Committed int64 // since the shop's process was started
}

// ChildState is one of the World's processes.
type ChildState struct {
	Name     string
	PID      int // 0 while it is not running
	Restarts int
	Failure  string // why it is not running
}

// Consumer is one of the World's consumer groups; its process has the group's name.
type Consumer struct {
	Group  string
	Topics []string
	About  string
}

// Consumers are the World's consumer groups.
func (w *World) Consumers() []Consumer {
	table := func(name string) string { return w.opts.Prefix + ".public." + name }
	event := func(name string) string { return w.opts.Prefix + ".events." + name }
	return []Consumer{
		{"fulfilment", []string{table("orders"), table("payments"), table("shipments")}, "keeps up"},
		{"analytics", []string{table("order_lines")}, "is slow: it falls behind at the shop's busy times and catches up between them"},
		{"mailer", []string{event("OrderPlaced"), event("PaymentSucceeded")}, "works for a while and then stops for a while"},
	}
}

// New makes a World; nothing runs and nothing is written before it is started. Stop must be called in the end.
func New(o Options) (*World, error) {
	const op = "make the demo"
	if o.Dir == "" {
		return nil, fault.New(fault.Invalid, op, "name one with --data", "no data directory")
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, op, err, "name the data directory by its full path")
	}
	o.Dir = dir
	if o.Rate == 0 {
		o.Rate = DefaultRate
	}
	if err := checkRate(o.Rate); err != nil {
		return nil, err
	}
	if o.Prefix == "" {
		o.Prefix = "shop"
	}
	if o.Exe == "" {
		if o.Exe, err = os.Executable(); err != nil {
			return nil, fault.Wrap(fault.Internal, op, err, "name the program by its full path")
		}
	}
	if o.ChildArgs == nil {
		o.ChildArgs = []string{"demo-child"}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	w := &World{opts: o, own: filepath.Join(o.Dir, "demo"), log: o.Logger, installed: installedBinaries, load: LoadState{Rate: o.Rate}}
	w.sup = newSupervisor(w.own, w.log)
	w.pg = &postgres{w: w, dir: filepath.Join(o.Dir, "postgres")}
	w.faults = newFaults(w)
	return w, nil
}

func checkRate(rate float64) error {
	if !(rate > 0 && rate <= MaxRate) {
		return fault.New(fault.Invalid, "set the shop's rate", fmt.Sprintf("give a rate above 0 and up to %d; pause stops the shop", MaxRate), "%g transactions a second", rate)
	}
	return nil
}

// Remove ends what an earlier demo left running on the data directory and removes the World's folders from it.
func Remove(ctx context.Context, dir string, log *slog.Logger) error {
	w, err := New(Options{Dir: dir, Logger: log})
	if err != nil {
		return err
	}
	defer w.sup.close()
	if err := w.sup.endLeftovers(ctx); err != nil {
		return err
	}
	if err := w.pg.endLeftover(ctx); err != nil {
		return err
	}
	return fault.Wrap(fault.Unavailable, "remove the demo's data", errors.Join(os.RemoveAll(w.pg.dir), os.RemoveAll(w.pg.dir+".new"), os.RemoveAll(w.own)),
		"correct the permissions of "+w.opts.Dir)
}

// StartPostgres ends what an earlier World left running, starts PostgreSQL, and makes the databases, the shop's tables
// and a history of orders where they are missing.
func (w *World) StartPostgres(ctx context.Context) error {
	w.starting.Lock()
	defer w.starting.Unlock()
	if err := w.alive(); err != nil {
		return err
	}
	if err := os.MkdirAll(w.own, 0o700); err != nil {
		return fault.Wrap(fault.Unavailable, "start the demo", err, "make room, or name another data directory")
	}
	if err := w.sup.endLeftovers(ctx); err != nil {
		return err
	}
	if err := w.loadState(); err != nil {
		return err
	}
	if err := w.pg.start(ctx); err != nil {
		return err
	}
	if err := w.pg.prepare(ctx); err != nil {
		return err
	}
	return openShop(ctx, w.ShopDSN(), w.log)
}

// loadState reads what an earlier start wrote, or begins it.
func (w *World) loadState() error {
	const op = "read the demo's state"
	b, err := os.ReadFile(w.statePath())
	switch {
	case errors.Is(err, os.ErrNotExist):
		w.state = state{V: 1, Passwords: map[string]string{}}
		for _, role := range []string{superuser, shopName, warehouseName} {
			w.state.Passwords[role] = newPassword()
		}
	case err != nil:
		return fault.Wrap(fault.Unavailable, op, err, "correct the permissions of "+w.statePath())
	default:
		if err := json.Unmarshal(b, &w.state); err != nil {
			return fault.Wrap(fault.Blocked, op, err, "start the demo afresh with --reset")
		}
	}
	return w.saveState()
}

func (w *World) statePath() string { return filepath.Join(w.own, "state.json") }

// passFile is where libpq and pgx find the passwords, by the DSNs' passfile.
func (w *World) passFile() string { return filepath.Join(w.own, "pgpass") }

func (w *World) saveState() error {
	var pass strings.Builder
	for _, role := range []string{superuser, shopName, warehouseName} {
		fmt.Fprintf(&pass, "127.0.0.1:*:*:%s:%s\n", role, w.state.Passwords[role])
	}
	return fault.Wrap(fault.Unavailable, "write the demo's state",
		errors.Join(writeFile(w.statePath(), w.state), os.WriteFile(w.passFile(), []byte(pass.String()), 0o600)),
		"make room in "+w.own)
}

// ShopDSN reaches the shop's database as its owner, who may replicate. The password is not in it but in a file that only
// we can read, which it names; libpq and pgx follow it.
func (w *World) ShopDSN() string { return w.pg.dsn(shopName, shopName) }

// WarehouseDSN reaches the warehouse database as its owner.
func (w *World) WarehouseDSN() string { return w.pg.dsn(warehouseName, warehouseName) }

// child is the spec of a process that runs Child.
func (w *World) child(name string, started func(context.Context), args ...string) spec {
	return spec{name: name, talks: true, started: started, command: func() (*exec.Cmd, func(), error) {
		cmd := exec.Command(w.opts.Exe, append(slices.Clone(w.opts.ChildArgs), args...)...)
		attributes(cmd, nil, sigKill)
		return cmd, func() {}, nil
	}}
}

// StartEndpoint starts the HTTP endpoint and returns its address, which stays the same over restarts unless somebody
// else took its port. Events are to be posted to it.
func (w *World) StartEndpoint(ctx context.Context) (string, error) {
	w.starting.Lock()
	defer w.starting.Unlock()
	if err := w.alive(); err != nil {
		return "", err
	}
	port := w.state.EndpointPort
	if port == 0 || !free(port) {
		var err error
		if port, err = freePort(); err != nil {
			return "", fault.Wrap(fault.Unavailable, "start the demo's endpoint", err, "see whether loopback works on this machine")
		}
		w.state.EndpointPort = port
		if err := w.saveState(); err != nil {
			return "", err
		}
	}
	p, err := w.sup.start(w.child(endpointName, nil, kindEndpoint, "-listen", "127.0.0.1:"+strconv.Itoa(port)))
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, childWait)
	defer cancel()
	hello, err := p.waitReady(ctx)
	if err != nil {
		return "", err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.endpoint = "http://" + hello.Address + "/events"
	return w.endpoint, nil
}

// EndpointURL is where the endpoint takes events, "" before it was started.
func (w *World) EndpointURL() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.endpoint
}

// StartConsumers starts a process for each consumer group.
func (w *World) StartConsumers(ctx context.Context, brokers string) error {
	w.starting.Lock()
	defer w.starting.Unlock()
	if err := w.alive(); err != nil {
		return err
	}
	for _, c := range w.Consumers() {
		args := []string{kindConsumer, "-brokers", brokers, "-group", c.Group, "-topics", strings.Join(c.Topics, ",")}
		var started func(context.Context)
		switch c.Group {
		case slowGroup:
			args = append(args, "-slow")
			started = func(ctx context.Context) { w.tell(ctx, slowGroup, w.slowCommand(w.faults.active(faultSlow))) }
		case restingGroup:
			args = append(args, "-works", "40s", "-rests", "25s")
		}
		if _, err := w.sup.start(w.child(c.Group, started, args...)); err != nil {
			return err
		}
	}
	return nil
}

const (
	steadyGroup  = "fulfilment"
	slowGroup    = "analytics"
	restingGroup = "mailer"
	writerName   = "shop"
	endpointName = "endpoint"

	childWait   = 20 * time.Second // for a child to get ready
	commandWait = 10 * time.Second // for a child to do as it is told
)

// slowCapacity is how many new order lines a second the slow group handles for each transaction a second of the shop.
// 0.55 arrive on the average, 0.77 when the shop is busiest.
const slowCapacity = 0.63

// slowDivisor is what the fault slow-consumer leaves of it: one part of so many.
const slowDivisor = 5

func (w *World) slowCommand(slow bool) command {
	capacity := w.Load().Rate * slowCapacity
	if slow {
		capacity /= slowDivisor
	}
	return command{Do: "set", Rate: capacity}
}

// tell gives a child a command after its start; one that fails is said and repeated at its next start.
func (w *World) tell(ctx context.Context, name string, c command) {
	p := w.sup.find(name)
	if p == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, commandWait)
	defer cancel()
	if _, err := p.call(ctx, c); err != nil && ctx.Err() == nil {
		w.log.Warn("a process of the demo does not do as it is told", "process", name, "error", err)
	}
}

// StartLoad starts the shop's writes.
func (w *World) StartLoad(ctx context.Context) error {
	w.starting.Lock()
	defer w.starting.Unlock()
	if err := w.alive(); err != nil {
		return err
	}
	p, err := w.sup.start(w.child(writerName, func(ctx context.Context) { w.tell(ctx, writerName, w.loadCommand()) },
		kindWriter, "-dsn", w.ShopDSN()))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, childWait)
	defer cancel()
	_, err = p.waitReady(ctx)
	return err
}

func (w *World) loadCommand() command {
	l := w.Load()
	return command{Do: "set", Rate: l.Rate, Paused: l.Paused}
}

// Load is what the shop was told to do.
func (w *World) Load() LoadState {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.load
}

// PauseLoad stops the shop's writes. It returns when the last transaction has committed.
func (w *World) PauseLoad(ctx context.Context) (LoadState, error) {
	return w.setLoad(ctx, func(l *LoadState) { l.Paused = true })
}

// ResumeLoad lets the shop write again.
func (w *World) ResumeLoad(ctx context.Context) (LoadState, error) {
	return w.setLoad(ctx, func(l *LoadState) { l.Paused = false })
}

// SetRate sets how many transactions a second the shop does on the average.
func (w *World) SetRate(ctx context.Context, rate float64) (LoadState, error) {
	if err := checkRate(rate); err != nil {
		return w.Load(), err
	}
	l, err := w.setLoad(ctx, func(l *LoadState) { l.Rate = rate })
	if err == nil {
		w.tell(ctx, slowGroup, w.slowCommand(w.faults.active(faultSlow)))
	}
	return l, err
}

func (w *World) setLoad(ctx context.Context, change func(*LoadState)) (LoadState, error) {
	p := w.sup.find(writerName)
	if p == nil {
		return w.Load(), fault.New(fault.Unavailable, "tell the shop what to do", "start the demo first", "the shop is not open")
	}
	w.mu.Lock()
	change(&w.load)
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, commandWait)
	defer cancel()
	r, err := p.call(ctx, w.loadCommand())
	if err != nil {
		return w.Load(), err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.load.Committed = r.Done
	return w.load, nil
}

// Children are the World's processes in the order they were started.
func (w *World) Children() []ChildState {
	w.sup.mu.Lock()
	processes := slices.Clone(w.sup.processes)
	w.sup.mu.Unlock()
	states := make([]ChildState, 0, len(processes))
	for _, p := range processes {
		p.mu.Lock()
		c := ChildState{Name: p.name, PID: p.pid, Restarts: p.restarts}
		if p.pid == 0 && p.failure != nil {
			c.Failure = p.failure.Error()
		}
		p.mu.Unlock()
		states = append(states, c)
	}
	return states
}

// alive refuses what is asked of a World that was stopped.
func (w *World) alive() error {
	if w.stopped {
		return fault.New(fault.Invalid, "start a part of the demo", "make another World", "it was stopped")
	}
	return nil
}

// StopChildren ends the faults and every process but PostgreSQL, so that capture and sinks can be stopped in between.
func (w *World) StopChildren(ctx context.Context) error {
	err := w.faults.close(ctx)
	w.starting.Lock()
	defer w.starting.Unlock()
	w.sup.stop(ctx, func(p *process) bool { return p.name != postgresName })
	return err
}

// Stop ends everything the World runs, PostgreSQL last. It can be called again.
func (w *World) Stop(ctx context.Context) error {
	err := w.StopChildren(ctx)
	w.starting.Lock()
	defer w.starting.Unlock()
	if w.stopped {
		return err
	}
	w.stopped = true
	w.sup.stop(ctx, func(*process) bool { return true })
	w.sup.close()
	return err
}

// urlPath escapes a path for a connection string's query.
func urlPath(p string) string {
	return strings.NewReplacer("+", "%20", "%2F", "/").Replace(url.QueryEscape(p))
}
