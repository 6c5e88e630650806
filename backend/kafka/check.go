package kafka

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"freshet/backend/fault"
)

// StageState is how a stage of a connection test went.
type StageState string

const (
	StageOK       StageState = "ok"
	StageFailed   StageState = "failed"
	StageDenied   StageState = "denied"    // a right that the user does not have: the rest works without
	StageNotTried StageState = "not_tried" // what it rests on failed, or there is nothing to try it on
)

// Stage is one stage of a connection test.
type Stage struct {
	Name    string // of connecting: dns, tcp, tls, api versions, sasl, metadata, brokers; then one for each right
	State   StageState
	Detail  string
	Took    time.Duration
	Err     error
	Next    string // how to mend it
	Without string // of a right: what is not known without it
}

// Test connects to the cluster step by step, each on what the one before found, then asks for each right that reading
// needs. What comes after a step of connecting that fails is not tried. It writes nothing.
func (c *Cluster) Test(ctx context.Context) []Stage {
	t := &connectionTest{c: c, ctx: ctx, at: time.Now()}
	t.run()
	t.rest()
	return t.stages
}

type connectionTest struct {
	c      *Cluster
	ctx    context.Context
	stages []Stage
	at     time.Time // when the last stage ended
}

// add adds a stage, which took as long as passed since the one before.
func (t *connectionTest) add(s Stage) {
	now := time.Now()
	s.Took, t.at = now.Sub(t.at), now
	t.stages = append(t.stages, s)
}

func (t *connectionTest) ok(name, format string, args ...any) {
	t.add(Stage{Name: name, State: StageOK, Detail: fmt.Sprintf(format, args...)})
}

func (t *connectionTest) failed(name string, err error, next string) {
	var f *fault.Error
	if errors.As(err, &f) && f.Next != "" {
		next = f.Next
	}
	t.add(Stage{Name: name, State: StageFailed, Detail: err.Error(), Err: err, Next: next})
}

// rest adds what a failure left untried.
func (t *connectionTest) rest() {
	last := t.stages[len(t.stages)-1]
	names := []string{"dns", "tcp"}
	if t.c.o.TLS != nil {
		names = append(names, "tls")
	}
	names = append(names, "api versions")
	if t.c.o.SASL != nil {
		names = append(names, "sasl")
	}
	names = append(names, "metadata", "brokers")
	after := slices.Index(names, last.Name) + 1
	if last.State != StageFailed || after == 0 {
		return
	}
	for _, name := range names[after:] {
		t.stages = append(t.stages, Stage{Name: name, State: StageNotTried, Detail: last.Name + " failed"})
	}
	for _, r := range rights {
		t.stages = append(t.stages, Stage{Name: r.name, State: StageNotTried, Detail: last.Name + " failed", Without: r.without})
	}
}

// run tries the first broker whose name and port answer.
func (t *connectionTest) run() {
	conn, address := t.reach()
	if conn == nil {
		return
	}
	conn.Close()
	if t.c.o.TLS != nil && !t.secure(address) {
		return
	}
	t.speak(address)
}

// reach resolves and dials the brokers until one answers.
func (t *connectionTest) reach() (net.Conn, string) {
	var unknown, silent []string
	var errDNS, errTCP error
	begun := t.at
	for _, b := range t.c.o.Brokers {
		host, _, err := net.SplitHostPort(b)
		if err != nil {
			continue
		}
		if t.c.o.Dial == nil {
			ctx, cancel := context.WithTimeout(t.ctx, dialTimeout)
			_, err = net.DefaultResolver.LookupHost(ctx, host)
			cancel()
			if err != nil {
				unknown, errDNS = append(unknown, host), err
				continue
			}
		}
		resolved := time.Now()
		dial := t.c.o.Dial
		if dial == nil {
			dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
		}
		conn, err := dial(t.ctx, "tcp", b)
		if err != nil {
			silent, errTCP = append(silent, b), err
			continue
		}
		t.ok("dns", "%s", host)
		t.stages[len(t.stages)-1].Took, t.at = resolved.Sub(begun), resolved
		t.ok("tcp", "connected to %s", b)
		return conn, b
	}
	if errTCP == nil {
		t.failed("dns", errDNS, fmt.Sprintf("nothing here knows the name %s: check it, or use an address", strings.Join(unknown, ", ")))
		return nil, ""
	}
	t.ok("dns", "%d of %d names are known", len(t.c.o.Brokers)-len(unknown), len(t.c.o.Brokers))
	t.failed("tcp", errTCP, fmt.Sprintf("nothing answers at %s: check that the broker runs, its port, and firewalls between", strings.Join(silent, ", ")))
	return nil, ""
}

func (t *connectionTest) secure(address string) bool {
	dial := t.c.o.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	conn, err := dial(t.ctx, "tcp", address)
	if err == nil {
		conn, err = handshake(t.ctx, conn, t.c.o.TLS, address)
	}
	if err != nil {
		next := "check that this port speaks TLS"
		var invalid *fault.Error
		if errors.As(t.c.explainConnection("", err), &invalid) {
			next = invalid.Next
		}
		t.failed("tls", err, next+t.presented(address))
		return false
	}
	defer conn.Close()
	state := conn.(*tls.Conn).ConnectionState()
	detail := tls.VersionName(state.Version)
	if len(state.PeerCertificates) > 0 {
		cert := state.PeerCertificates[0]
		detail += fmt.Sprintf(", certificate of %s until %s", cert.Subject.CommonName, cert.NotAfter.UTC().Format(time.DateOnly))
	}
	t.ok("tls", "%s", detail)
	return true
}

// presented describes the certificate that the broker shows, for a person to compare.
func (t *connectionTest) presented(address string) string {
	dial := t.c.o.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	conn, err := dial(t.ctx, "tcp", address)
	if err != nil {
		return ""
	}
	config := t.c.o.TLS.Clone()
	config.InsecureSkipVerify = true // only to say what is there: nothing is sent over it
	secure, err := handshake(t.ctx, conn, config, address)
	if err != nil {
		return ""
	}
	defer secure.Close()
	certs := secure.(*tls.Conn).ConnectionState().PeerCertificates
	if len(certs) == 0 {
		return ""
	}
	sum := sha256.Sum256(certs[0].Raw)
	return fmt.Sprintf(" (it shows a certificate of %q by %q, valid to %s, SHA-256 %s)", certs[0].Subject.CommonName,
		certs[0].Issuer.CommonName, certs[0].NotAfter.UTC().Format(time.DateOnly), hex.EncodeToString(sum[:]))
}

// hello asks what the broker speaks, and whether it knows the SASL mechanism, before anything secret is sent.
func (t *connectionTest) hello(address string) bool {
	ctx, cancel := context.WithTimeout(t.ctx, dialTimeout)
	defer cancel()
	conn, err := t.c.dialer(t.c.gate, &refusals{c: t.c})(ctx, "tcp", address)
	if err != nil {
		t.failed("api versions", err, "try again: it answered a moment ago")
		return false
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(dialTimeout / 2))
	versions := kmsg.NewPtrApiVersionsRequest()
	var resp kmsg.ApiVersionsResponse
	if err = exchange(conn, versions, &resp); err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		next := "what answers there is not a Kafka broker, or not on this port"
		if t.c.o.TLS == nil {
			next += "; or it wants TLS"
		}
		t.failed("api versions", err, next)
		return false
	}
	t.ok("api versions", "%d kinds of requests", len(resp.ApiKeys))
	if t.c.o.SASL == nil {
		return true
	}
	shake := kmsg.NewPtrSASLHandshakeRequest()
	shake.SetVersion(1)
	shake.Mechanism = t.c.o.SASL.Mechanism
	var offered kmsg.SASLHandshakeResponse
	offered.SetVersion(1)
	if err = exchange(conn, shake, &offered); err != nil {
		t.failed("sasl", err, "the broker ends the connection at the word SASL: this port may want none")
		return false
	}
	if err := kerr.ErrorForCode(offered.ErrorCode); err != nil {
		next := "this port wants no SASL"
		if len(offered.SupportedMechanisms) > 0 {
			next = "use one of what the broker offers: " + strings.Join(offered.SupportedMechanisms, ", ")
		}
		t.failed("sasl", fmt.Errorf("%s: %w", shake.Mechanism, err), next)
		return false
	}
	return true
}

// exchange sends one request and reads its answer.
func exchange(conn net.Conn, req kmsg.Request, resp kmsg.Response) error {
	if _, err := conn.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("freshet")).AppendRequest(nil, req, 1)); err != nil {
		return err
	}
	var head [8]byte // length, correlation id
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size < 4 || size > 1<<20 || binary.BigEndian.Uint32(head[4:]) != 1 {
		return fmt.Errorf("it answers %q", head[:])
	}
	body := make([]byte, size-4)
	if _, err := io.ReadFull(conn, body); err != nil {
		return err
	}
	return resp.ReadFrom(body)
}

// speak goes on with a client of its own, so that nothing is remembered from before.
func (t *connectionTest) speak(address string) {
	if !t.hello(address) {
		return
	}
	cl, err := t.c.newClient(t.c.gate, kgo.SeedBrokers(address), kgo.RetryTimeout(5*time.Second), kgo.RequestRetries(1))
	if err != nil {
		t.failed("metadata", err, "")
		return
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.ctx, 2*dialTimeout)
	defer cancel()
	if t.c.o.SASL != nil {
		// kgo authenticates a connection before its first request.
		if _, err := kmsg.NewPtrApiVersionsRequest().RequestWith(ctx, cl); err != nil {
			next := "check the user and the password"
			if strings.HasPrefix(t.c.o.SASL.Mechanism, "SCRAM") {
				next += "; the broker must hold credentials of the user for " + t.c.o.SASL.Mechanism
			}
			t.failed("sasl", err, next)
			return
		}
		t.ok("sasl", "%s", t.c.o.SASL)
	}

	meta, err := t.c.metadata(ctx, cl, 0)
	if err != nil {
		next := "see the brokers' log"
		if t.c.o.SASL == nil {
			next = "the broker may want SASL"
		}
		t.failed("metadata", err, next)
		return
	}
	id := "without an id"
	if meta.ClusterID != nil {
		id = *meta.ClusterID
	}
	t.ok("metadata", "cluster %s, %d brokers, %d topics", id, len(meta.Brokers), len(meta.Topics))

	for _, b := range meta.Brokers {
		at := net.JoinHostPort(b.Host, fmt.Sprint(b.Port))
		if _, err := cl.Broker(int(b.NodeID)).Request(ctx, kmsg.NewPtrApiVersionsRequest()); err != nil {
			t.failed("brokers", fmt.Errorf("broker %d advertises %s: %w", b.NodeID, at, err),
				fmt.Sprintf("broker %d must advertise an address that can be reached from here (advertised.listeners)", b.NodeID))
			return
		}
	}
	t.ok("brokers", "all %d can be reached where they advertise themselves", len(meta.Brokers))
	t.rights(ctx, cl, meta)
}
