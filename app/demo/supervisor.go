package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"freshet/backend/clock"
	"freshet/backend/fault"
	"freshet/backend/wholefile"
)

const (
	firstBackoff = 250 * time.Millisecond
	lastBackoff  = 10 * time.Second
	steadyAfter  = 30 * time.Second // a process that lived as long starts over with firstBackoff
	stopGrace    = 5 * time.Second
	logLimit     = 4 << 20 // bytes of a child's log that the next start goes on with
	lineLimit    = 1 << 20 // bytes of one answer of a child
)

// supervisor keeps processes alive, and writes down which they are so that a later start can end what a killed Freshet
// left behind.
type supervisor struct {
	dir  string // children.json and logs/
	log  *slog.Logger
	fork chan func()   // what the forking thread is to do
	done chan struct{} // closed when the forking thread has ended

	mu        sync.Mutex
	processes []*process // in the order they were started
}

// spec says how a process is made and ended.
type spec struct {
	name string
	// command is called for every start. The standard streams are the supervisor's; done is called once it has started.
	command func() (cmd *exec.Cmd, done func(), err error)
	talks   bool                      // it takes commands on its standard input and answers on its output
	started func(ctx context.Context) // after every start of a talking process, when it is ready
	stop    syscall.Signal            // asks for an orderly end; 0: the end of its standard input does
	force   syscall.Signal            // when that took longer than grace, before SIGKILL; 0: none
	grace   time.Duration
}

func newSupervisor(dir string, log *slog.Logger) *supervisor {
	s := &supervisor{dir: dir, log: log, fork: make(chan func()), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		// A child gets its death signal when the thread that forked it ends, so one thread forks them all and stays.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for f := range s.fork {
			f()
		}
	}()
	return s
}

// close ends the forking thread. Every process must have been stopped.
func (s *supervisor) close() {
	close(s.fork)
	<-s.done
}

func (s *supervisor) spawn(cmd *exec.Cmd) error {
	started := make(chan error, 1)
	s.fork <- func() { started <- cmd.Start() }
	return <-started
}

// process is one supervised process over all its restarts.
type process struct {
	spec
	s      *supervisor
	cancel context.CancelFunc
	ended  chan struct{} // closed when run has returned
	ready  chan struct{} // closed when it was ready for the first time

	mu       sync.Mutex
	pid      int // 0 while it is not running
	id       string
	restarts int
	input    io.WriteCloser
	hello    reply
	calls    map[int64]chan reply
	nextCall int64
	failure  error // why it is not running
}

// start runs a process from now on. It returns when the process was started for the first time.
func (s *supervisor) start(sp spec) (*process, error) {
	if sp.grace == 0 {
		sp.grace = stopGrace
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{spec: sp, s: s, cancel: cancel, ended: make(chan struct{}), ready: make(chan struct{})}
	exited, err := p.launch(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	s.mu.Lock()
	s.processes = append(s.processes, p)
	s.mu.Unlock()
	go p.run(ctx, exited)
	return p, nil
}

// run restarts the process until ctx ends.
func (p *process) run(ctx context.Context, exited <-chan error) {
	defer close(p.ended)
	backoff := firstBackoff
	began := time.Now()
	for {
		var err error
		if exited != nil {
			err = <-exited
		}
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > steadyAfter {
			backoff = firstBackoff
		}
		p.s.log.Warn("a process of the demo ended and is started again", "process", p.name, "in", backoff, "error", err)
		if clock.Sleep(ctx, backoff) != nil {
			return
		}
		backoff = min(2*backoff, lastBackoff)
		began = time.Now()
		if exited, err = p.launch(ctx); err != nil {
			p.s.log.Error("a process of the demo cannot be started", "process", p.name, "error", err)
			exited = nil
			continue
		}
		p.mu.Lock()
		p.restarts++
		p.mu.Unlock()
	}
}

// launch starts the process once. The channel gives how it ended.
func (p *process) launch(ctx context.Context) (<-chan error, error) {
	op := "start the demo's process " + p.name
	cmd, done, err := p.command()
	if err != nil {
		return nil, err
	}
	defer done()
	logFile, err := openLog(filepath.Join(p.s.dir, "logs", p.name+".log"))
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, op, err, "make room in the data directory or correct its permissions")
	}
	defer logFile.Close()
	cmd.Stderr = logFile
	var input io.WriteCloser
	var output io.Reader
	if p.talks {
		if input, err = cmd.StdinPipe(); err == nil {
			output, err = cmd.StdoutPipe()
		}
		if err != nil {
			return nil, fault.Wrap(fault.Unavailable, op, err, "")
		}
	} else {
		cmd.Stdout = logFile
	}
	if err := p.s.spawn(cmd); err != nil {
		return nil, fault.Wrap(fault.Unavailable, op, err, "see whether "+cmd.Path+" can be run")
	}
	p.mu.Lock()
	p.pid, p.id = cmd.Process.Pid, identity(cmd.Process.Pid)
	p.input, p.calls, p.failure = input, map[int64]chan reply{}, nil
	p.mu.Unlock()
	if ctx.Err() != nil { // end was called meanwhile and had nothing to ask
		p.ask()
	}
	if err := p.s.record(p); err != nil {
		p.s.log.Warn("the demo's processes could not be written down", "error", err)
	}

	exited := make(chan error, 1)
	go func() {
		var greeting sync.WaitGroup
		if output != nil {
			p.listen(output, func() {
				greeting.Go(func() {
					if p.started != nil {
						p.started(ctx)
					}
				})
			})
		}
		err := cmd.Wait()
		p.mu.Lock()
		p.pid, p.id, p.input, p.failure = 0, "", nil, err
		for _, c := range p.calls {
			close(c)
		}
		p.calls = nil
		p.mu.Unlock()
		greeting.Wait()
		exited <- err
	}()
	return exited, nil
}

// listen hands a talking process's answers to whoever waits for them; the first line says that it is ready.
func (p *process) listen(output io.Reader, greet func()) {
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, lineLimit)
	for lines.Scan() {
		var r reply
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			p.s.log.Warn("a process of the demo said what nobody understands", "process", p.name, "error", err)
			continue
		}
		p.mu.Lock()
		if r.ID == 0 {
			p.hello = r
			select {
			case <-p.ready:
			default:
				close(p.ready)
			}
		} else if c := p.calls[r.ID]; c != nil {
			delete(p.calls, r.ID)
			c <- r
		}
		p.mu.Unlock()
		if r.ID == 0 {
			greet()
		}
	}
	_, _ = io.Copy(io.Discard, output) // a line over the limit must not block the process
}

// waitReady waits for the first greeting of a talking process.
func (p *process) waitReady(ctx context.Context) (reply, error) {
	select {
	case <-p.ready:
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.hello, nil
	case <-ctx.Done():
		return reply{}, fault.New(fault.Timeout, "start the demo's process "+p.name, "read "+p.logPath(), "it did not get ready")
	}
}

func (p *process) logPath() string { return filepath.Join(p.s.dir, "logs", p.name+".log") }

// call gives a talking process a command and waits for its answer.
func (p *process) call(ctx context.Context, c command) (reply, error) {
	op := "tell the demo's process " + p.name + " to " + c.Do
	p.mu.Lock()
	if p.input == nil {
		p.mu.Unlock()
		return reply{}, fault.New(fault.Unavailable, op, "it is started again in a moment: try then", "it is not running")
	}
	p.nextCall++
	c.ID = p.nextCall
	answer := make(chan reply, 1)
	p.calls[c.ID] = answer
	line, err := json.Marshal(c)
	if err == nil {
		_, err = p.input.Write(append(line, '\n')) // far below what a pipe holds
	}
	p.mu.Unlock()
	if err != nil {
		return reply{}, fault.Wrap(fault.Unavailable, op, err, "it is started again in a moment: try then")
	}
	select {
	case r, ok := <-answer:
		if !ok {
			return reply{}, fault.New(fault.Unavailable, op, "it is started again in a moment: try then", "it ended meanwhile")
		}
		if r.Error != "" {
			return reply{}, fault.New(fault.Unavailable, op, "read "+p.logPath(), "%s", r.Error)
		}
		return r, nil
	case <-ctx.Done():
		p.mu.Lock()
		delete(p.calls, c.ID)
		p.mu.Unlock()
		return reply{}, fault.New(fault.Timeout, op, "it may be stopped: kill -CONT its pid, or look at "+p.logPath(), "no answer: %w", ctx.Err())
	}
}

// restartCount is how often the process was started again.
func (p *process) restartCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.restarts
}

// signal sends a signal to the running process.
func (p *process) signal(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pid == 0 {
		return fault.New(fault.Unavailable, "signal the demo's process "+p.name, "it is started again in a moment: try then", "it is not running")
	}
	return fault.Wrap(fault.Unavailable, "signal the demo's process "+p.name, signal(p.pid, s), "")
}

// end stops the process for good and waits until it is gone: asked first, then forced.
func (p *process) end(ctx context.Context) {
	p.cancel()
	p.ask()
	if p.awaitEnd(ctx, p.grace) {
		return
	}
	if p.force != 0 {
		p.s.log.Warn("a process of the demo did not stop in time and is stopped at once", "process", p.name)
		_ = p.signal(p.force)
		if p.awaitEnd(ctx, stopGrace) {
			return
		}
	}
	p.s.log.Warn("a process of the demo did not stop and is killed", "process", p.name)
	p.mu.Lock()
	if p.pid != 0 {
		if proc, err := os.FindProcess(p.pid); err == nil {
			_ = proc.Kill()
		}
	}
	p.mu.Unlock()
	<-p.ended
}

func (p *process) ask() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pid == 0 {
		return
	}
	_ = signal(p.pid, sigCont) // one that was stopped cannot hear
	if p.stop != 0 {
		_ = signal(p.pid, p.stop)
	} else if p.input != nil {
		_ = p.input.Close()
	}
}

func (p *process) awaitEnd(ctx context.Context, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.ended:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// stop ends processes, newest first, and forgets them.
func (s *supervisor) stop(ctx context.Context, which func(*process) bool) {
	s.mu.Lock()
	var ending, rest []*process
	for _, p := range s.processes {
		if which(p) {
			ending = append(ending, p)
		} else {
			rest = append(rest, p)
		}
	}
	s.processes = rest
	s.mu.Unlock()
	if len(ending) == 0 {
		return
	}
	var ended sync.WaitGroup
	for _, p := range ending {
		ended.Go(func() { p.end(ctx) })
	}
	ended.Wait()
	if err := s.record(nil); err != nil {
		s.log.Warn("the demo's processes could not be written down", "error", err)
	}
}

func (s *supervisor) find(name string) *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.processes {
		if p.name == name {
			return p
		}
	}
	return nil
}

// recorded is what children.json keeps of a process.
type recorded struct {
	Name     string `json:"name"`
	PID      int    `json:"pid"`
	Identity string `json:"identity"`
}

type recordFile struct {
	V        int        `json:"v"`
	Children []recorded `json:"children"`
}

func (s *supervisor) recordPath() string { return filepath.Join(s.dir, "children.json") }

// record writes down which processes run; starting is one that is not in the list yet.
func (s *supervisor) record(starting *process) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	file := recordFile{V: 1, Children: []recorded{}}
	add := func(p *process) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.pid != 0 {
			file.Children = append(file.Children, recorded{p.name, p.pid, p.id})
		}
	}
	for _, p := range s.processes {
		add(p)
		if p == starting {
			starting = nil
		}
	}
	if starting != nil {
		add(starting)
	}
	return writeFile(s.recordPath(), file)
}

// endLeftovers ends what a Freshet that was killed left running, by the record it kept.
func (s *supervisor) endLeftovers(ctx context.Context) error {
	b, err := os.ReadFile(s.recordPath())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	op := "end what an earlier demo left running"
	if err != nil {
		return fault.Wrap(fault.Unavailable, op, err, "correct the permissions of the data directory")
	}
	var file recordFile
	if err := json.Unmarshal(b, &file); err != nil {
		s.log.Warn("the record of an earlier demo's processes cannot be read and is ignored", "file", s.recordPath(), "error", err)
		return nil
	}
	for _, c := range file.Children {
		if c.Identity == "" || identity(c.PID) != c.Identity {
			continue
		}
		if err := s.endProcess(ctx, c); err != nil {
			return err
		}
	}
	return s.record(nil)
}

// endProcess ends a process that is not our child: PostgreSQL in good order, the others, which hold nothing, at once.
func (s *supervisor) endProcess(ctx context.Context, c recorded) error {
	s.log.Info("ending a process that an earlier demo left running", "process", c.Name, "pid", c.PID)
	_ = signal(c.PID, sigCont)
	if c.Name == postgresName {
		_ = signal(c.PID, sigFast)
		if waitGone(ctx, c.PID, c.Identity, postgresGrace) {
			return nil
		}
		_ = signal(c.PID, sigCrash)
		if waitGone(ctx, c.PID, c.Identity, stopGrace) {
			return nil
		}
	}
	_ = signal(c.PID, syscall.SIGKILL)
	if waitGone(ctx, c.PID, c.Identity, stopGrace) {
		return nil
	}
	return fault.New(fault.Conflict, "end what an earlier demo left running", fmt.Sprintf("end process %d yourself", c.PID),
		"%s (process %d) does not end", c.Name, c.PID)
}

// waitGone waits until the process is no more. It is not our child, so that only looking tells.
func waitGone(ctx context.Context, pid int, id string, limit time.Duration) bool {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for identity(pid) == id {
		select {
		case <-look.C:
		case <-deadline.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// openLog opens a child's log to append to, empty where it had grown large.
func openLog(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	mode := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if info, err := os.Stat(path); err == nil && info.Size() > logLimit {
		mode |= os.O_TRUNC
	}
	return os.OpenFile(path, mode, 0o600)
}

// writeFile replaces path by v as JSON, for our eyes only, whole or not at all.
func writeFile(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return wholefile.Write(path, append(b, '\n'), 0o600)
}
