// Package postgres writes records into tables of a PostgreSQL database. Start at New; what it guarantees is in
// DESIGN.md.
//
// It is an adapter: it imports the words, the engines replay and decode, and pgx. A Sink may be used by many goroutines,
// each Writer by one.
package postgres

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/replay"
)

// Mode is how records become rows.
type Mode string

const (
	Upsert Mode = "upsert" // the table follows the changes: equal to the source's
	Append Mode = "append" // every record is a row of its own
)

// Spec describes this kind of sink.
var Spec = replay.Spec{
	Name:    "postgres",
	Summary: "Tables of a PostgreSQL database, kept equal to the source's or holding every record.",
	Fields: []replay.Field{
		{Name: "dsn", Summary: "Connection string: postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full", Type: replay.TextField, Required: true, Secret: true},
		{Name: "mode", Summary: "upsert applies changes to the row of their key; append writes every record with its topic, partition and offset", Type: replay.TextField, Default: string(Upsert), Values: []string{string(Upsert), string(Append)}},
		{Name: "table", Summary: "Table for all records, as SCHEMA.TABLE. Default: the change's own table; with append, one named like the topic", Type: replay.TextField},
		{Name: "no-create-tables", Summary: "Do not create missing tables", Type: replay.BoolField, Default: "false"},
		{Name: "missing-values", Summary: "What becomes of a change without a large value that the table does not hold either: null writes NULL and counts it, refuse sets the record aside", Type: replay.TextField, Default: string(MissingNull), Values: []string{string(MissingNull), string(MissingRefuse)}},
		{Name: "statement-timeout", Summary: "Limit of one statement", Type: replay.DurationField, Default: "1m0s"},
		{Name: "max-connections", Summary: "Connections at most", Type: replay.IntField, Default: "8"},
		{Name: "handling", Summary: "For records that name no schema: the options of the connector that wrote them, as OPTION=VALUE", Type: replay.ListField},
	},
	Capabilities: replay.Capabilities{Transactional: true, Fences: true, Progress: true, Decoded: []string{string(Upsert)}, CreatesTarget: true},
}

// Missing says what becomes of a value that a change does not carry (unchanged TOAST) where the table holds no row to
// keep it from.
type Missing string

const (
	MissingNull   Missing = "null"   // NULL, counted in Written.Incomplete
	MissingRefuse Missing = "refuse" // the record is refused
)

// Options are a Sink's.
type Options struct {
	DSN              string // never shown again
	Mode             Mode   // "" is Upsert
	Table            string // of all records; "" each change's own. A shard's target outranks it
	NoCreateTables   bool
	Missing          Missing       // "" is MissingNull
	StatementTimeout time.Duration // 0 is a minute
	MaxConns         int32         // 0 is 8
	// Handling are Debezium's options (decimal.handling.mode, ...) that records without a stream.TableSchema were
	// written with; the absent ones are Debezium's defaults.
	Handling map[string]string
	// Defining, where not nil, is called before a statement that changes the target's schema, so that it can be shown
	// and recorded; an error from it stops the statement.
	Defining func(ctx context.Context, table, statement string) error
	// Dial, where not nil, opens the connections.
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	Logger *slog.Logger // nil discards
}

// A server that claims a longer message than this is not believed.
const maxMessage = 256 << 20

// idleLimit is after how long the server ends a session whose transaction was left open, so that a frozen process holds
// its locks no longer.
const idleLimit = 30 * time.Second

// Sink is a PostgreSQL database.
type Sink struct {
	opts  Options
	table tableName // zero: each change's own
	pool  *pgxpool.Pool
	log   *slog.Logger
	place string // host, port and database, for messages
}

var _ replay.Sink = (*Sink)(nil)

// New checks the options. It does not connect yet.
func New(opts Options) (*Sink, error) {
	op := "set up the PostgreSQL sink"
	s := &Sink{opts: opts, log: opts.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.opts.Mode == "" {
		s.opts.Mode = Upsert
	}
	if s.opts.Missing == "" {
		s.opts.Missing = MissingNull
	}
	if s.opts.StatementTimeout == 0 {
		s.opts.StatementTimeout = time.Minute
	}
	if s.opts.Mode != Upsert && s.opts.Mode != Append {
		return nil, fault.New(fault.Invalid, op, "use upsert or append", "no mode %q", opts.Mode)
	}
	if s.opts.Missing != MissingNull && s.opts.Missing != MissingRefuse {
		return nil, fault.New(fault.Invalid, op, "use null or refuse", "missing values cannot be %q", opts.Missing)
	}
	if opts.Table != "" {
		var err error
		if s.table, err = parseTable(opts.Table); err != nil {
			return nil, err
		}
	}
	// The parser's own error may quote the DSN.
	config, err := pgxpool.ParseConfig(opts.DSN)
	if err != nil {
		return nil, fault.New(fault.Invalid, op, "write it as postgres://USER@HOST:PORT/DATABASE", "the DSN cannot be read")
	}
	s.opts.DSN = ""
	c := config.ConnConfig
	s.place = net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))) + "/" + c.Database
	c.MaxProtocolMessageBodyLen = maxMessage
	if opts.Dial != nil {
		c.DialFunc = opts.Dial
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 10 * time.Second
	}
	for name, value := range map[string]string{
		"application_name": "freshet", "client_encoding": "UTF8", "DateStyle": "ISO", "IntervalStyle": "postgres", "TimeZone": "UTC",
		"lc_monetary":                         "C",
		"statement_timeout":                   strconv.FormatInt(s.opts.StatementTimeout.Milliseconds(), 10),
		"idle_in_transaction_session_timeout": strconv.FormatInt(idleLimit.Milliseconds(), 10),
		// A generic plan made while a table was small would scan it for ever.
		"plan_cache_mode": "force_custom_plan",
	} {
		c.RuntimeParams[name] = value
	}
	config.MaxConns = 8
	if opts.MaxConns > 0 {
		config.MaxConns = opts.MaxConns
	}
	if s.pool, err = pgxpool.NewWithConfig(context.Background(), config); err != nil {
		return nil, fault.New(fault.Invalid, op, "", "the pool of connections cannot be made")
	}
	return s, nil
}

// querier is what a pool, a connection and a transaction have in common.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// Test connects and says what is there and what the user may do. It writes nothing.
func (s *Sink) Test(ctx context.Context) (string, error) {
	op := "test the PostgreSQL sink at " + s.place
	var version, user, encoding string
	var standby, create, progress, superuser bool
	err := s.pool.QueryRow(ctx, `SELECT current_setting('server_version'), current_user::text, current_setting('server_encoding'),
		pg_is_in_recovery(), has_database_privilege(current_database(), 'CREATE'), to_regclass('freshet.progress') IS NOT NULL,
		current_setting('is_superuser') = 'on'`).Scan(&version, &user, &encoding, &standby, &create, &progress, &superuser)
	if err != nil {
		return "", failure(op, err)
	}
	if standby {
		return "", denied(op, "name the primary server", "the server is a standby, it cannot be written")
	}
	if !progress && !create {
		return "", denied(op, "grant CREATE on the database, or create the schema freshet owned by "+user, "user %s may not create the schema for progress", user)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "PostgreSQL %s at %s as %s, encoding %s, mode %s", version, s.place, user, encoding, s.opts.Mode)
	if !create && !superuser {
		b.WriteString("; may create tables only in schemas that allow it")
	}
	if name := s.table; name.name != "" {
		t, err := lookTable(ctx, s.pool, name)
		if err != nil {
			return "", failure(op, err)
		}
		switch {
		case t != nil:
			fmt.Fprintf(&b, "; table %s has %d columns", t.name, len(t.columns))
		case s.opts.NoCreateTables:
			return "", blocked(op, "create it, or allow the sink to", "there is no table %s", name)
		default:
			fmt.Fprintf(&b, "; table %s will be created", name)
		}
	}
	return b.String(), nil
}

// Close ends the connections.
func (s *Sink) Close() error {
	s.pool.Close()
	return nil
}

var progressTable = []string{
	`CREATE SCHEMA IF NOT EXISTS freshet`,
	`CREATE TABLE IF NOT EXISTS freshet.progress (
	owner text NOT NULL,
	topic text NOT NULL,
	partition integer NOT NULL,
	topic_id uuid NOT NULL,
	epoch bigint NOT NULL,
	writer text NOT NULL,
	next_offset bigint NOT NULL,
	position text NOT NULL,
	updated_at timestamp with time zone NOT NULL DEFAULT now(),
	PRIMARY KEY (owner, topic, partition)
)`,
}

// Open implements replay.Sink.
func (s *Sink) Open(ctx context.Context, shard replay.Shard) (replay.Writer, error) {
	op := fmt.Sprintf("open %s/%d at %s", shard.Topic, shard.Partition, s.place)
	w := &writer{sink: s, shard: shard, token: rand.Text(), op: op, next: shard.Start, layouts: map[string]*layout{}}
	switch {
	case shard.Target != "":
		var err error
		if w.table, err = parseTable(shard.Target); err != nil {
			return nil, err
		}
	case s.table.name != "":
		w.table = s.table
	case s.opts.Mode == Append:
		w.table = tableName{name: shard.Topic}
	}
	if len(w.table.name) > 63 {
		return nil, fault.New(fault.Invalid, op, "give the table another name as the target", "a table's name has at most 63 bytes")
	}
	var exists bool
	if err := s.pool.QueryRow(ctx, `SELECT to_regclass('freshet.progress') IS NOT NULL`).Scan(&exists); err != nil {
		return nil, failure(op, err)
	}
	if !exists {
		for _, statement := range progressTable {
			if err := s.define(ctx, "freshet.progress", statement); err != nil {
				return nil, err
			}
		}
	}
	if err := w.takeOver(ctx); err != nil {
		return nil, failure(op, err)
	}
	return w, nil
}

// takeOver fences older writers and reads the progress.
func (w *writer) takeOver(ctx context.Context) error {
	tx, err := w.sink.pool.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	_, err = tx.Exec(ctx, `INSERT INTO freshet.progress (owner, topic, partition, topic_id, epoch, writer, next_offset, position)
		VALUES ($1, $2, $3, $4, $5, '', $6, '') ON CONFLICT DO NOTHING`,
		w.shard.Owner, w.shard.Topic, w.shard.Partition, w.shard.TopicID, w.shard.Epoch, w.shard.Start)
	if err != nil {
		return err
	}
	var topicID [16]byte
	var epoch int64
	var position string
	err = tx.QueryRow(ctx, `SELECT topic_id, epoch, next_offset, position FROM freshet.progress
		WHERE owner = $1 AND topic = $2 AND partition = $3 FOR UPDATE`, w.shard.Owner, w.shard.Topic, w.shard.Partition).
		Scan(&topicID, &epoch, &w.next, &position)
	if err != nil {
		return err
	}
	switch zero := [16]byte{}; {
	case epoch > w.shard.Epoch:
		return w.fenced(epoch)
	case topicID != w.shard.TopicID && topicID != zero && w.shard.TopicID != zero:
		e := fault.New(fault.Drifted, w.op, "its offsets mean nothing in the new topic: start under another name, or delete the row of freshet.progress",
			"the sink's progress is of an earlier topic of this name")
		e.Code = "TOPIC_RECREATED"
		return e
	case w.next < w.shard.Start:
		e := fault.New(fault.Drifted, w.op, "compare freshet.progress with the plan", "the sink's progress %d is before the range's start %d", w.next, w.shard.Start)
		e.Code = "UNEXPLAINED_PROGRESS"
		return e
	}
	if position != "" {
		if w.position, err = stream.ParsePosition(position); err != nil {
			return fault.Wrap(fault.Internal, w.op, err, "")
		}
	}
	if w.shard.TopicID != [16]byte{} {
		topicID = w.shard.TopicID
	}
	_, err = tx.Exec(ctx, `UPDATE freshet.progress SET epoch = $4, writer = $5, topic_id = $6, updated_at = now()
		WHERE owner = $1 AND topic = $2 AND partition = $3`,
		w.shard.Owner, w.shard.Topic, w.shard.Partition, w.shard.Epoch, w.token, topicID)
	if err != nil {
		return err
	}
	return tx.Commit(ctx)
}

func (w *writer) fenced(epoch int64) error {
	e := fault.New(fault.Conflict, w.op, "only one process may run it; this one stops", "epoch %d was taken over by epoch %d", w.shard.Epoch, epoch)
	e.Code = "FENCED"
	return e
}
