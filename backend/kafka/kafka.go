// Package kafka is everything that Freshet does over the Kafka protocol: looking at a cluster, reading ranges of it
// exactly, appending captured records, managing topics and groups. Start with Open and Cluster; OpenLog gives a
// cdc.Log. It is an adapter: engines declare what they need of it and never import it.
//
// Every client in the project is made by one function here, and every byte that one sends passes a Gate: a cluster can be
// read but not written until it is unlocked, for a time and for named acts. All methods may be used by several
// goroutines at once, a Reader by one.
package kafka

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"freshet/backend/fault"
	"freshet/backend/stream"
)

// Options say how a cluster is reached.
type Options struct {
	Name    string   // as Freshet knows it
	Brokers []string // host:port of some of them
	TLS     *tls.Config
	SASL    *SASL
	Version string // Freshet's own, for the client id
	// Dial replaces the network, for tests and for policies on addresses.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	Log  *slog.Logger // nil discards

	// Own says that the cluster is Freshet's own broker: it is never locked.
	Own bool
	// Sync returns when what the brokers acknowledged before is on stable storage. Nil where an acknowledgement by all
	// in-sync replicas is all that a cluster promises.
	Sync func(ctx context.Context) error
}

func (o *Options) validate() error {
	op := "open cluster " + o.Name
	switch {
	case o.Name == "":
		return fault.New(fault.Invalid, "open cluster", "give it a name", "no name")
	case len(o.Brokers) == 0:
		return fault.New(fault.Invalid, op, "name at least one broker as HOST:PORT", "no brokers")
	}
	for _, b := range o.Brokers {
		if _, port, err := net.SplitHostPort(b); err != nil || port == "" {
			return fault.New(fault.Invalid, op, "write each broker as HOST:PORT", "broker %q", b)
		}
	}
	return o.SASL.validate(op)
}

// Cluster is one Kafka cluster. It connects when it is first asked something.
type Cluster struct {
	o       Options
	gate    *Gate
	log     *slog.Logger
	schemas *Schemas

	mu      sync.Mutex
	closed  bool
	ask     *kgo.Client // everything but the fetches of readers
	readers map[*Reader]struct{}
	logs    map[*Log]struct{}
	lanes   [2]*lane // of readers' fetches, made when there is one
	aborts  sync.WaitGroup
	groups  map[string]string // seen at the last listing, with their protocols
}

// Open makes a cluster from o. It does not connect: an unreachable cluster is an error of each question.
func Open(o Options) (*Cluster, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Version = cmp.Or(o.Version, "dev")
	c := &Cluster{
		o:       o,
		gate:    newGate(o.Name, o.Own),
		log:     o.Log.With("cluster", o.Name),
		readers: make(map[*Reader]struct{}),
		logs:    make(map[*Log]struct{}),
	}
	c.schemas = &Schemas{c: c, known: make(map[string]stream.TableSchema)}
	return c, nil
}

// Name is the cluster's name in Freshet.
func (c *Cluster) Name() string { return c.o.Name }

// Brokers are the addresses the cluster was opened with.
func (c *Cluster) Brokers() []string { return c.o.Brokers }

// Gate is what decides which requests may leave for the cluster.
func (c *Cluster) Gate() *Gate { return c.gate }

// Close ends the cluster's readers, logs and clients and waits for them.
func (c *Cluster) Close() {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	readers, logs := c.readers, c.logs
	c.readers, c.logs = nil, nil
	ask, lanes := c.ask, c.lanes
	c.mu.Unlock()

	for r := range readers {
		r.Close()
	}
	for l := range logs {
		l.Close()
	}
	for _, l := range lanes {
		if l != nil {
			l.stop()
		}
	}
	if ask != nil {
		ask.Close()
	}
	c.aborts.Wait()
}

var errClosed = fault.New(fault.Interrupted, "use cluster", "", "the cluster was closed")

// client is the client for questions.
func (c *Cluster) client() (*kgo.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	var err error
	if c.ask == nil {
		c.ask, err = c.newClient(c.gate)
	}
	return c.ask, err
}

// admin is client as kadm knows it.
func (c *Cluster) admin() (*kadm.Client, error) {
	cl, err := c.client()
	if err != nil {
		return nil, err
	}
	return kadm.NewClient(cl), nil
}

// NewClient makes a client whose requests pass a gate of its own that lets through grant's acts and nothing else that
// writes, for a part of Freshet that was allowed them for good, such as a sink. The zero Grant is the cluster's own
// gate. The caller closes it.
func (c *Cluster) NewClient(grant Grant, opts ...kgo.Opt) (*kgo.Client, error) {
	return c.newClient(c.gateOf(grant), opts...)
}

func (c *Cluster) gateOf(grant Grant) *Gate {
	if len(grant.Acts) == 0 {
		return c.gate
	}
	return grantGate(c.o.Name, grant)
}

const (
	dialTimeout     = 10 * time.Second
	maxDecompressed = 64 << 20  // of one batch
	maxRead         = 100 << 20 // of one response: Kafka's own bound of a request
	maxResult       = 64 << 20  // of one fetch that Freshet asks for
)

// newClient is the only place in the project that makes a Kafka client.
func (c *Cluster) newClient(gate *Gate, opts ...kgo.Opt) (*kgo.Client, error) {
	r := &refusals{c: c}
	base := []kgo.Opt{
		kgo.SeedBrokers(c.o.Brokers...),
		kgo.ClientID("freshet/" + c.o.Version),
		kgo.SoftwareNameAndVersion("freshet", strings.ReplaceAll(c.o.Version, "+", "-")),
		kgo.DisableClientMetrics(),
		kgo.Dialer(c.dialer(gate, r)),
		kgo.BrokerMaxReadBytes(maxRead),
		kgo.MaxDecompressBatchBytes(maxDecompressed),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxBytes(maxResult),
		kgo.RetryTimeout(20 * time.Second),
		kgo.MetadataMinAge(250 * time.Millisecond), // of 5 s: a partition whose leader moves is waited for no longer
		kgo.WithLogger(kgoLogger{c.log}),
	}
	if c.o.SASL != nil {
		base = append(base, kgo.SASL(c.o.SASL.mechanism()))
	}
	if len(gate.grant.Topics) > 0 {
		base = append(base, kgo.MaxVersions(namedVersions()))
	}
	cl, err := kgo.NewClient(append(base, opts...)...)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, "open cluster "+c.o.Name, err, "")
	}
	r.client.Store(cl)
	return cl, nil
}

// refusals ends what a client would try for ever: to kgo a request that does not leave is a connection that broke, and
// a record's place in the partition is kept until it does.
type refusals struct {
	c        *Cluster
	client   atomic.Pointer[kgo.Client]
	aborting atomic.Bool
}

// produce fails the records that the client holds, with kgo.ErrAborting. What was on its way to a broker before may have
// arrived; a transaction's producer is of no use after it.
func (r *refusals) produce() {
	cl := r.client.Load()
	if cl == nil || !r.aborting.CompareAndSwap(false, true) {
		return
	}
	r.c.aborts.Go(func() { // the refused write holds locks of the client
		cl.UnsafeAbortBufferedRecords()
		r.aborting.Store(false)
	})
}

// dialer connects, with TLS where it is set, and puts the gate on the connection.
func (c *Cluster) dialer(gate *Gate, r *refusals) func(ctx context.Context, network, address string) (net.Conn, error) {
	dial := c.o.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if c.o.TLS != nil {
			if conn, err = handshake(ctx, conn, c.o.TLS, address); err != nil {
				return nil, err
			}
		}
		return &gatedConn{Conn: conn, gate: gate, refused: r}, nil
	}
}

// handshake makes a TLS connection of conn, and closes it where it cannot.
func handshake(ctx context.Context, conn net.Conn, config *tls.Config, address string) (net.Conn, error) {
	config = config.Clone()
	if config.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		config.ServerName = host
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

// kgoLogger passes on what kgo warns of.
type kgoLogger struct{ log *slog.Logger }

func (l kgoLogger) Level() kgo.LogLevel {
	switch ctx := context.Background(); {
	case l.log.Enabled(ctx, slog.LevelDebug):
		return kgo.LogLevelInfo
	case l.log.Enabled(ctx, slog.LevelWarn):
		return kgo.LogLevelWarn
	}
	return kgo.LogLevelNone
}

func (l kgoLogger) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	to := slog.LevelDebug // kgo's information is Freshet's detail
	if level <= kgo.LogLevelWarn {
		to = slog.LevelWarn
	}
	l.log.Log(context.Background(), to, msg, keyvals...)
}
