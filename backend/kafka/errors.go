package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"freshet/backend/fault"
)

// explain makes a fault of what a client or a broker answered.
func (c *Cluster) explain(op string, err error) error {
	if err == nil {
		return nil
	}
	var f *fault.Error
	if errors.As(err, &f) {
		return err
	}
	op += " on cluster " + c.o.Name
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fault.Wrap(fault.Timeout, op, err, "")
	case errors.Is(err, context.Canceled), errors.Is(err, kgo.ErrClientClosed), errors.Is(err, kgo.ErrAborting):
		return fault.Wrap(fault.Interrupted, op, err, "")
	}
	var ke *kerr.Error
	if !errors.As(err, &ke) {
		return c.explainConnection(op, err)
	}
	switch ke {
	case kerr.UnknownTopicOrPartition, kerr.GroupIDNotFound, kerr.UnknownTopicID, kerr.ResourceNotFound:
		return fault.Wrap(fault.NotFound, op, err, "")
	case kerr.TopicAlreadyExists:
		return fault.Wrap(fault.Exists, op, err, "")
	case kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed,
		kerr.TransactionalIDAuthorizationFailed, kerr.DelegationTokenAuthorizationFailed:
		return fault.Wrap(fault.Denied, op, err, "give Freshet's user this permission on the brokers")
	case kerr.SaslAuthenticationFailed, kerr.IllegalSaslState, kerr.UnsupportedSaslMechanism:
		return fault.Wrap(fault.Denied, op, err, "check the SASL mechanism, the user and the password")
	case kerr.SecurityDisabled:
		return fault.Wrap(fault.Denied, op, err, "the brokers have no authorizer")
	case kerr.NonEmptyGroup, kerr.UnknownMemberID, kerr.RebalanceInProgress, kerr.IllegalGeneration, kerr.StaleMemberEpoch,
		kerr.FencedMemberEpoch:
		return fault.Wrap(fault.Conflict, op, err, "stop the group's members first")
	case kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.TransactionCoordinatorFenced, kerr.ConcurrentTransactions:
		return fault.Wrap(fault.Conflict, op, err, "another producer took over under the same transactional id")
	case kerr.InvalidTopicException, kerr.InvalidPartitions, kerr.InvalidReplicationFactor, kerr.InvalidConfig,
		kerr.InvalidRequest, kerr.InvalidGroupID, kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord,
		kerr.PolicyViolation, kerr.InvalidTimestamp, kerr.OffsetOutOfRange, kerr.OffsetMetadataTooLarge:
		return fault.Wrap(fault.Invalid, op, err, "")
	case kerr.UnsupportedVersion:
		return fault.Wrap(fault.Invalid, op, err, "the brokers are too old for this")
	case kerr.KafkaStorageError:
		return fault.Wrap(fault.Unavailable, op, err, "the broker's disk is full, over its quota or failing")
	}
	if ke.Retriable {
		return fault.Wrap(fault.Unavailable, op, err, "the brokers are busy changing; try again")
	}
	return fault.Wrap(fault.Internal, op, err, "")
}

// explainConnection says what to mend where the brokers could not be asked at all.
func (c *Cluster) explainConnection(op string, err error) error {
	var dns *net.DNSError
	var record tls.RecordHeaderError
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var tooLarge *kgo.ErrDecompressTooLarge
	var first *kgo.ErrFirstReadEOF
	next := "check the address, and that the brokers run and can be reached from here"
	switch {
	case errors.As(err, &tooLarge):
		return fault.Wrap(fault.Blocked, op, err, "a batch decompresses to more than Freshet reads")
	case errors.As(err, &dns):
		next = "the name is not known here: check it, and what the brokers advertise"
	case errors.As(err, &record):
		next = "what answers there does not speak TLS: check the port, or leave TLS off"
	case errors.As(err, &authority):
		next = "the brokers' certificate is signed by an authority that is not trusted here: give its certificate"
	case errors.As(err, &name):
		next = "the brokers' certificate is for another name: use one of its names in the addresses"
	case errors.As(err, &invalid):
		next = "the brokers' certificate cannot be used: see its dates"
	case errors.As(err, &first), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		next = "the brokers end the connection: they may want TLS, or SASL, or are something else than Kafka"
	}
	return fault.Wrap(fault.Unavailable, op, err, next)
}
