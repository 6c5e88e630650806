package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"freshet/backend/clock"
	"freshet/backend/fault"
)

// command is one line on a child's standard input.
type command struct {
	ID     int64   `json:"id"`
	Do     string  `json:"do"` // "set" or "stats"
	Rate   float64 `json:"rate,omitempty"`
	Paused bool    `json:"paused,omitempty"`
}

// reply is one line on a child's standard output. ID 0 is its greeting: it is ready.
type reply struct {
	ID      int64  `json:"id"`
	Error   string `json:"error,omitempty"`
	Address string `json:"address,omitempty"` // of the endpoint, in the greeting
	Done    int64  `json:"done,omitempty"`    // transactions committed, records handled
	Steady  bool   `json:"steady,omitempty"`  // a consumer has committed in each of its topics
}

// talk is a child's side of its pipes.
type talk struct {
	in  io.Reader
	mu  sync.Mutex
	out *json.Encoder
}

func (t *talk) say(r reply) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.out.Encode(r) // nobody listens any more: the end of the input tells
}

// serve answers commands, one after the other, until the input ends: whoever started us is gone or wants us to stop.
func (t *talk) serve(answer func(command) reply) {
	lines := bufio.NewScanner(t.in)
	for lines.Scan() {
		var c command
		if json.Unmarshal(lines.Bytes(), &c) != nil {
			continue
		}
		r := answer(c)
		r.ID = c.ID
		t.say(r)
	}
}

// Child runs one of the demo's own processes until its standard input or ctx ends. args begin with the kind: writer,
// consumer or endpoint. It logs to standard error.
func Child(ctx context.Context, args []string) error {
	return child(ctx, args, os.Stdin, os.Stdout, slog.New(slog.NewTextHandler(os.Stderr, nil)))
}

func child(ctx context.Context, args []string, in io.Reader, out io.Writer, log *slog.Logger) error {
	const op = "run a process of the demo"
	if len(args) == 0 {
		return fault.New(fault.Invalid, op, "the demo starts these itself", "no kind")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	t := &talk{in: in, out: json.NewEncoder(out)}
	var run func(ctx context.Context) error
	switch args[0] {
	case kindWriter:
		dsn := flags.String("dsn", "", "")
		run = func(ctx context.Context) error { return runWriter(ctx, t, *dsn, log) }
	case kindConsumer:
		o := consumerOptions{}
		flags.StringVar(&o.brokers, "brokers", "", "")
		flags.StringVar(&o.group, "group", "", "")
		topics := flags.String("topics", "", "")
		flags.BoolVar(&o.slow, "slow", false, "")
		flags.DurationVar(&o.works, "works", 0, "")
		flags.DurationVar(&o.rests, "rests", 0, "")
		run = func(ctx context.Context) error {
			o.topics = strings.Split(*topics, ",")
			return runConsumer(ctx, t, o, log)
		}
	case kindEndpoint:
		listen := flags.String("listen", "127.0.0.1:0", "")
		run = func(ctx context.Context) error { return runEndpoint(ctx, t, *listen, log) }
	default:
		return fault.New(fault.Invalid, op, "the demo starts these itself", "no kind %q", args[0])
	}
	if err := flags.Parse(args[1:]); err != nil {
		return fault.Wrap(fault.Invalid, op, err, "the demo starts these itself")
	}
	return run(ctx)
}

const (
	kindWriter   = "writer"
	kindConsumer = "consumer"
	kindEndpoint = "endpoint"
)

// pace hands out turns at a rate, to any number of goroutines.
type pace struct {
	mu   sync.Mutex
	next time.Time
}

// wait returns when it is the caller's turn, at rate turns a second; false when ctx ended first. Turns missed by more
// than a second are not made up for.
func (p *pace) wait(ctx context.Context, rate float64) bool {
	p.mu.Lock()
	now := time.Now()
	if p.next.Before(now.Add(-time.Second)) {
		p.next = now
	}
	turn := p.next
	p.next = p.next.Add(time.Duration(float64(time.Second) / rate))
	p.mu.Unlock()
	if d := turn.Sub(now); d > 0 {
		_ = clock.Sleep(ctx, d)
	}
	return ctx.Err() == nil
}
