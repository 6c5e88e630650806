// Package http sends each record to an HTTP endpoint as one request. Start at New; what it guarantees is in DESIGN.md.
//
// It is an adapter: it imports the words, the engine replay and net/http. A Sink may be used by many goroutines, each
// Writer by one.
package http

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"freshet/backend/fault"
	"freshet/replay"
)

// Spec describes this kind of sink.
var Spec = replay.Spec{
	Name:    "http",
	Summary: "One request with the record's bytes for each record, in order within a partition.",
	Fields: []replay.Field{
		{Name: "url", Summary: "Where requests go: https://HOST/PATH, without credentials", Type: replay.TextField, Required: true},
		{Name: "header", Summary: "Headers of every request, as NAME: VALUE, for instance Authorization: Bearer …", Type: replay.ListField, Secret: true},
		{Name: "content-type", Summary: "Content-Type of every request. Default: the record's header content-type, else application/json where the value is JSON, else application/octet-stream", Type: replay.TextField},
		{Name: "idempotent", Summary: "The endpoint drops what it receives twice under the same Idempotency-Key: what was sent and not answered is sent again instead of being set aside in doubt", Type: replay.BoolField, Default: "false"},
		{Name: "timeout", Summary: "Limit of one request", Type: replay.DurationField, Default: "10s"},
		{Name: "deny-loopback", Summary: "Do not connect to this machine's own addresses", Type: replay.BoolField, Default: "false"},
		{Name: "deny-private", Summary: "Do not connect to private networks", Type: replay.BoolField, Default: "false"},
	},
}

// Options are a Sink's.
type Options struct {
	Name        string // of the sink: part of idempotency keys where a shard names no target
	URL         string
	Header      http.Header   // of every request; never shown again
	ContentType string        // of every request; "" chooses by record
	Idempotent  bool          // the endpoint drops what it receives twice under one key
	Timeout     time.Duration // of one request; 0 is 10 s
	// RetryAfterCap is the longest wait an endpoint may ask for; beyond it the shard is blocked. 0 is 15 minutes.
	RetryAfterCap time.Duration
	// Patience is how long one Write tries one record before it gives up for the caller to try later. 0 is 20 s.
	Patience time.Duration

	DenyLoopback bool // addresses of this machine
	DenyPrivate  bool // RFC 1918 and unique local addresses
	// Dial, where not nil, replaces the dialer and with it the policy on addresses.
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	TLS    *tls.Config  // nil is the system's authorities
	Logger *slog.Logger // nil discards
}

const (
	maxResponse = 64 << 10 // of a response's body, and of its header
	drainTime   = time.Second
	firstWait   = 200 * time.Millisecond
	longestWait = 10 * time.Second
)

// Sink is an HTTP endpoint.
type Sink struct {
	opts   Options
	url    *url.URL
	client *http.Client
	log    *slog.Logger
	dial   func(ctx context.Context, network, address string) (net.Conn, error)

	mu   sync.Mutex
	hold time.Time // the endpoint asked that nobody sends before
}

var _ replay.Sink = (*Sink)(nil)

// New checks the options. It does not connect yet.
func New(opts Options) (*Sink, error) {
	op := "set up the HTTP sink " + opts.Name
	s := &Sink{opts: opts, log: opts.Logger, dial: opts.Dial}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.opts.Timeout = cmp.Or(opts.Timeout, 10*time.Second)
	s.opts.RetryAfterCap = cmp.Or(opts.RetryAfterCap, 15*time.Minute)
	s.opts.Patience = cmp.Or(opts.Patience, 20*time.Second)
	u, err := url.Parse(opts.URL)
	switch {
	case err != nil: // the parser's error quotes the URL
		return nil, fault.New(fault.Invalid, op, "write it as https://HOST/PATH", "the URL cannot be read")
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.Opaque != "":
		return nil, fault.New(fault.Invalid, op, "write it as https://HOST/PATH", "not the URL of an HTTP endpoint")
	case u.User != nil:
		return nil, fault.New(fault.Invalid, op, "give them as a header Authorization instead", "the URL holds credentials")
	case u.Fragment != "":
		return nil, fault.New(fault.Invalid, op, "leave out what follows #", "the URL has a fragment")
	}
	s.url = u
	for name, values := range opts.Header {
		ok := validName(name) && !slices.Contains(ownHeaders, http.CanonicalHeaderKey(name))
		for _, v := range values {
			ok = ok && validValue(v)
		}
		if !ok {
			return nil, fault.New(fault.Invalid, op, "leave it out or correct it", "the header %q cannot be set", name)
		}
	}
	if opts.ContentType != "" && !validValue(opts.ContentType) {
		return nil, fault.New(fault.Invalid, op, "write it as type/subtype", "the content type is malformed")
	}
	if s.dial == nil {
		s.dial = dialer(opts.DenyLoopback, opts.DenyPrivate)
	}
	config := opts.TLS.Clone()
	if config == nil {
		config = &tls.Config{}
	}
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	s.client = &http.Client{
		Transport: &http.Transport{
			DialContext:            s.dial,
			TLSClientConfig:        config,
			TLSHandshakeTimeout:    10 * time.Second,
			MaxIdleConnsPerHost:    64,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: maxResponse,
			DisableCompression:     true, // the response's body is not read for its own sake
		},
		// A redirect would take the record and its credentials to a place nobody named.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return s, nil
}

// place is where requests go, for messages: a query may hold a secret.
func (s *Sink) place() string { return s.url.Scheme + "://" + s.url.Host + s.url.EscapedPath() }

// Test opens a connection, with TLS where the URL says so. It sends no request.
func (s *Sink) Test(ctx context.Context) (string, error) {
	op := "reach " + s.place()
	port := s.url.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[s.url.Scheme]
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	conn, err := s.dial(ctx, "tcp", net.JoinHostPort(s.url.Hostname(), port))
	if err != nil {
		return "", s.failure(op, err)
	}
	defer conn.Close()
	if s.url.Scheme == "http" {
		return s.place() + " accepts connections, without TLS", nil
	}
	config := s.client.Transport.(*http.Transport).TLSClientConfig.Clone()
	config.ServerName = cmp.Or(config.ServerName, s.url.Hostname())
	c := tls.Client(conn, config)
	if err := c.HandshakeContext(ctx); err != nil {
		return "", s.failure(op, err)
	}
	state := c.ConnectionState()
	return fmt.Sprintf("%s accepts connections, %s, certificate until %s", s.place(), tls.VersionName(state.Version),
		state.PeerCertificates[0].NotAfter.UTC().Format(time.DateOnly)), nil
}

// failure makes a fault of a failure to connect or to be answered.
func (s *Sink) failure(op string, err error) error {
	var certificate *tls.CertificateVerificationError
	var dns *net.DNSError
	switch {
	case errors.Is(err, errForbidden):
		return fault.New(fault.Denied, op, "name another endpoint, or allow its network in the sink's settings", "%w", errForbidden)
	case errors.As(err, &certificate):
		return fault.New(fault.Denied, op, "give the authority that signed it, or correct the endpoint", "the endpoint's certificate is not trusted")
	case errors.Is(err, context.Canceled):
		return &fault.Error{Kind: fault.Interrupted, Op: op, Err: context.Canceled}
	case errors.As(err, &dns):
		return fault.New(fault.Unavailable, op, "check the name", "the name cannot be resolved")
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return fault.New(fault.Unavailable, op, "it is tried again", "no answer in time")
	}
	// The error's text may quote the URL, and with it a query.
	var opError *net.OpError
	if errors.As(err, &opError) {
		return fault.New(fault.Unavailable, op, "it is tried again", "%s: %w", opError.Op, opError.Err)
	}
	return fault.New(fault.Unavailable, op, "it is tried again", "the connection was lost")
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// Close lets the idle connections go.
func (s *Sink) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// Open implements replay.Sink. An endpoint holds no progress and cannot fence.
func (s *Sink) Open(_ context.Context, shard replay.Shard) (replay.Writer, error) {
	w := &writer{sink: s, shard: shard, target: cmp.Or(shard.Target, s.opts.Name), nonce: cmp.Or(shard.Nonce, shard.Owner), url: s.url}
	if path, ok := strings.CutPrefix(shard.Target, "/"); ok {
		if slices.Contains(strings.Split(path, "/"), "..") {
			return nil, fault.New(fault.Invalid, "open the path "+shard.Target, "name a path below the sink's URL", "the path leads upwards")
		}
		w.url = s.url.JoinPath(path)
	}
	return w, nil
}
