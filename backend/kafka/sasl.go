package kafka

import (
	"bytes"
	"context"
	"strconv"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"freshet/backend/fault"
)

// SASL says who Freshet is to a cluster.
type SASL struct {
	Mechanism string // PLAIN, SCRAM-SHA-256, SCRAM-SHA-512
	User      string
	Password  string
}

// String keeps the password out of every log and error.
func (s *SASL) String() string { return s.Mechanism + " as " + s.User }

// GoString keeps it out of %#v.
func (s *SASL) GoString() string { return s.String() }

func (s *SASL) validate(op string) error {
	if s == nil {
		return nil
	}
	if s.mechanism() == nil {
		return fault.New(fault.Invalid, op, "use PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", "SASL mechanism %q", s.Mechanism)
	}
	if s.User == "" {
		return fault.New(fault.Invalid, op, "name the user", "%s without a user", s.Mechanism)
	}
	return nil
}

func (s *SASL) mechanism() sasl.Mechanism {
	switch s.Mechanism {
	case "PLAIN":
		return plain.Auth{User: s.User, Pass: s.Password}.AsMechanism()
	case "SCRAM-SHA-256":
		return bounded{scram.Auth{User: s.User, Pass: s.Password}.AsSha256Mechanism()}
	case "SCRAM-SHA-512":
		return bounded{scram.Auth{User: s.User, Pass: s.Password}.AsSha512Mechanism()}
	}
	return nil
}

// maxIterations is how often Freshet hashes a password at a broker's word: Kafka's own default is 4096, and a broker
// that asks for 2^31 would burn a core for minutes.
const maxIterations = 1_000_000

// bounded refuses a SCRAM exchange whose iteration count is out of reason, before anything is computed.
type bounded struct{ sasl.Mechanism }

func (b bounded) Authenticate(ctx context.Context, host string) (sasl.Session, []byte, error) {
	s, first, err := b.Mechanism.Authenticate(ctx, host)
	if err != nil {
		return nil, nil, err
	}
	return &boundedSession{s}, first, nil
}

type boundedSession struct{ sasl.Session }

func (s *boundedSession) Challenge(message []byte) (bool, []byte, error) {
	for field := range bytes.SplitSeq(message, []byte(",")) {
		if digits, ok := bytes.CutPrefix(field, []byte("i=")); ok {
			if n, err := strconv.Atoi(string(digits)); err != nil || n > maxIterations {
				return false, nil, fault.New(fault.Denied, "authenticate by SCRAM",
					"check that this is your broker; its user must be stored with fewer iterations",
					"the broker asks for %.20s iterations, at most %d are done", digits, maxIterations)
			}
		}
	}
	return s.Session.Challenge(message)
}
