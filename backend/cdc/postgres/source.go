// Package postgres captures PostgreSQL, versions 13 and later, by logical replication with its own output plugin
// pgoutput. New makes a Source, which a cdc.Pipeline runs; Plan says beforehand what would be made on the server and what
// could go wrong. DESIGN.md in the folder above says what is promised.
//
// It is an adapter: it imports pgx and pglogrepl, and nobody but the root imports it. One goroutine reads the stream and
// encodes, another writes status updates, so that the server hears from us while the log is slow.
package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"freshet/backend/cdc"
	"freshet/backend/fault"
)

// Options make a Source.
type Options struct {
	cdc.Options
	// DSN is how to reach the database, a secret: it is in no error, log or plan.
	DSN string
	// Version goes into the envelope's source.version.
	Version string
	// SlotWait bounds how long making the slot may wait for transactions that were open before; 0 is two minutes.
	SlotWait time.Duration
	// SpillDir is a folder for the changes of large transactions that are still running; what a killed process left there
	// is nobody's. "" has the server keep them.
	SpillDir string
	Logger   *slog.Logger // nil discards
}

const defaultSlotWait = 2 * time.Minute

// Source captures one database. It implements cdc.Source.
type Source struct {
	o           Options
	config      *pgx.ConnConfig
	database    string
	slot        string
	handling    handling
	outboxTable cdc.Pattern
	patterns    []cdc.Pattern

	controlMu sync.Mutex
	control   *pgx.Conn // read-only, made when it is needed

	beatErr atomic.Pointer[error] // of the heartbeat's statement, as last run

	// Of Run's goroutine.
	noSpill                     bool // keeping changes has failed
	oldKey, newKey, unavailable []byte
}

// New reads the connection string and names; it does not connect.
func New(o Options) (*Source, error) {
	if err := o.Options.Validate(); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.SlotWait == 0 {
		o.SlotWait = defaultSlotWait
	}
	if o.Version == "" {
		o.Version = "freshet"
	}
	config, err := pgx.ParseConfig(o.DSN)
	if err != nil {
		// The parser's own text may hold the password.
		return nil, fault.New(fault.Invalid, "read the connection string of "+o.Name, "write it as postgres://USER@HOST:PORT/DATABASE?sslmode=verify-full",
			"it is no connection string of PostgreSQL")
	}
	o.DSN = ""
	s := &Source{o: o, config: config, database: config.Database, slot: slotName(o.Name)}
	if s.database == "" {
		s.database = config.User
	}
	if s.handling, err = readHandling(o.Properties); err != nil {
		return nil, err
	}
	for _, t := range o.Tables {
		p, err := cdc.ParsePattern(t)
		if err != nil {
			return nil, err
		}
		s.patterns = append(s.patterns, p)
	}
	if o.Outbox != "" {
		if s.outboxTable, err = cdc.ParsePattern(o.Outbox); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Topics implements cdc.Source.
func (s *Source) Topics() []string {
	topics := []string{s.o.Prefix + ".*"}
	if s.handling.heartbeat > 0 {
		topics = append(topics, s.heartbeatTopic())
	}
	return topics
}

func (s *Source) heartbeatTopic() string {
	return cdc.TopicName(s.handling.heartbeatPrefix, s.o.Prefix)
}

// insertSuffix names the second publication, of tables without a replica identity.
const insertSuffix = "_insert"

// slotName is the name of the slot and of the first publication. It is made of what a slot's name may hold; names that
// lose something by that get a hash of the whole.
func slotName(name string) string {
	const prefix, max = "freshet_", 63 - len(insertSuffix)
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, strings.ToLower(name))
	if plain == name && len(prefix)+len(plain) <= max {
		return prefix + plain
	}
	sum := sha256.Sum256([]byte(name))
	hash := "_" + hex.EncodeToString(sum[:4])
	return prefix + plain[:min(len(plain), max-len(prefix)-len(hash))] + hash
}

func (s *Source) publications() (full, insert string) { return s.slot, s.slot + insertSuffix }

const (
	// maxControlBody bounds a message on a control connection, maxStreamBody one that carries rows.
	maxControlBody = 16 << 20
	maxStreamBody  = 256 << 20
	connectTimeout = 15 * time.Second
)

// connection is a copy of the configuration with the settings pinned that values are written by. Settings of the DSN
// stay where they are not among those.
func (s *Source) connection(maxBody int) *pgx.ConnConfig {
	c := s.config.Copy()
	c.MaxProtocolMessageBodyLen = maxBody
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = connectTimeout
	}
	for name, value := range map[string]string{
		"application_name":                    s.applicationName(),
		"client_encoding":                     "UTF8",
		"DateStyle":                           "ISO",
		"IntervalStyle":                       "postgres",
		"TimeZone":                            "UTC",
		"bytea_output":                        "hex",
		"extra_float_digits":                  "1",
		"lc_monetary":                         "C",
		"search_path":                         "public", // how format_type() writes
		"standard_conforming_strings":         "on",
		"row_security":                        "off", // an error rather than rows that are missing
		"statement_timeout":                   "0",
		"lock_timeout":                        "0",
		"idle_in_transaction_session_timeout": "0",
	} {
		for given := range c.RuntimeParams {
			if strings.EqualFold(given, name) {
				delete(c.RuntimeParams, given)
			}
		}
		c.RuntimeParams[name] = value
	}
	return c
}

func (s *Source) applicationName() string { return "freshet " + s.o.Name }

// open connects for statements. A connection that is not for writing is read-only by default.
func (s *Source) open(ctx context.Context, write bool, maxBody int) (*pgx.Conn, error) {
	c := s.connection(maxBody)
	if !write {
		c.RuntimeParams["default_transaction_read_only"] = "on"
	}
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return nil, s.fault("connect", err)
	}
	if version(conn.PgConn()) >= 140000 {
		if _, err := conn.Exec(ctx, "SET idle_session_timeout = 0"); err != nil {
			closeConn(conn)
			return nil, s.fault("connect", err)
		}
	}
	return conn, nil
}

// querier is a connection or a transaction on it.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// with calls f with the control connection, which one caller at a time uses.
func (s *Source) with(ctx context.Context, op string, f func(q querier) error) error {
	s.controlMu.Lock()
	defer s.controlMu.Unlock()
	if s.control != nil && s.control.IsClosed() {
		s.control = nil
	}
	if s.control == nil {
		conn, err := s.open(ctx, false, maxControlBody)
		if err != nil {
			return err
		}
		s.control = conn
	}
	return s.fault(op, f(s.control))
}

// Close lets the control connection go. The Source can be used on.
func (s *Source) Close() {
	s.controlMu.Lock()
	defer s.controlMu.Unlock()
	if s.control != nil {
		closeConn(s.control)
		s.control = nil
	}
}

const closeTimeout = 2 * time.Second

func closeConn(c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = c.Close(ctx) // nothing depends on the farewell
}

// version is the server's as server_version_num has it, 0 where it cannot be read.
func version(c *pgconn.PgConn) int {
	var major, minor int
	if n, _ := fmt.Sscanf(c.ParameterStatus("server_version"), "%d.%d", &major, &minor); n == 0 {
		return 0
	}
	return major*10000 + minor
}

// fault gives an error its kind, and its text without the password. The chain ends here: pgx's errors hold the
// configuration.
func (s *Source) fault(op string, err error) error {
	var known *fault.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	op = fmt.Sprintf("%s (%s)", op, s.o.Name)
	text := strings.ReplaceAll(strings.ReplaceAll(err.Error(), "\n\t", "; "), "\n", "; ")
	if s.config.Password != "" {
		text = strings.ReplaceAll(text, s.config.Password, "[secret]")
	}
	e := &fault.Error{Kind: fault.Unavailable, Op: op, Err: errors.New(text), Next: "see that the server runs and can be reached"}
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg):
		e.Code = pg.Code
		e.Kind, e.Next = classify(pg)
	case errors.Is(err, context.Canceled):
		e.Kind, e.Next = fault.Interrupted, ""
	case errors.Is(err, context.DeadlineExceeded):
		e.Kind = fault.Timeout
	}
	return e
}

// classify says by SQLSTATE what an error of the server means for us.
func classify(e *pgconn.PgError) (kind fault.Kind, next string) {
	switch e.Code {
	case "28000", "28P01":
		return fault.Denied, "see to user, password and pg_hba.conf; it is tried again in a few minutes, or at once by resuming the source"
	case "42501":
		return fault.Denied, "grant the role what it lacks; it is tried again in a few minutes, or at once by resuming the source"
	case "3D000":
		return fault.Denied, "see to the database's name; it is tried again in a few minutes, or at once by resuming the source"
	case "55006":
		return fault.Conflict, "another session uses it; it is tried again soon"
	case "42704", "42P01", "42703":
		return fault.Blocked, "what the capture rests on is gone; see `freshet sources status`"
	case "58P01", "55000":
		return fault.Blocked, "the slot cannot go on; drop the source and create it anew, its snapshot brings every row again"
	case "53300", "57P01", "57P02", "57P03", "40001", "40P01", "55P03", "57014":
		return fault.Unavailable, "it is tried again soon"
	}
	switch e.Code[:min(2, len(e.Code))] {
	case "08", "53", "57":
		return fault.Unavailable, "it is tried again soon"
	case "28":
		return fault.Denied, "see to user, password and pg_hba.conf"
	}
	return fault.Blocked, "see the server's log"
}

func quoteIdent(name string) string { return pgx.Identifier{name}.Sanitize() }

func quoteTable(t cdc.Table) string { return pgx.Identifier{t.Schema, t.Name}.Sanitize() }

func quoteLiteral(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
