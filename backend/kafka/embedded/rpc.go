package embedded

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// rpc asks the broker from inside, past what clients pass.
type rpc struct {
	conn        net.Conn
	correlation int32
	format      *kmsg.RequestFormatter
}

func newRPC(b *Broker) (*rpc, error) {
	ours, theirs := net.Pipe()
	if err := b.inner.give(theirs); err != nil {
		ours.Close()
		return nil, err
	}
	return &rpc{conn: ours, format: kmsg.NewRequestFormatter(kmsg.FormatterClientID("freshet"))}, nil
}

func (r *rpc) close() { r.conn.Close() }

const rpcTimeout = 30 * time.Second

func (r *rpc) do(req kmsg.Request, version int16) (kmsg.Response, error) {
	req.SetVersion(version)
	r.correlation++
	r.conn.SetDeadline(time.Now().Add(rpcTimeout))
	if _, err := r.conn.Write(r.format.AppendRequest(nil, req, r.correlation)); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(r.conn, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < 4 || n > maxRequest {
		return nil, fmt.Errorf("an answer of %d bytes", n)
	}
	answer := make([]byte, n)
	if _, err := io.ReadFull(r.conn, answer); err != nil {
		return nil, err
	}
	resp := parseAnswer(req, answer[4:])
	if resp == nil {
		return nil, fmt.Errorf("the answer to %s cannot be read", kmsg.NameForKey(req.Key()))
	}
	return resp, nil
}

// fence gives a transactional id a new epoch, twice: a producer that asks again for the end of its transaction at the
// epoch before is answered as the last one ended, which may have been otherwise.
func (r *rpc) fence(id string) error {
	describe := kmsg.NewPtrDescribeTransactionsRequest()
	describe.TransactionalIDs = []string{id}
	resp, err := r.do(describe, 0)
	if err != nil {
		return err
	}
	states := resp.(*kmsg.DescribeTransactionsResponse).TransactionStates
	if len(states) != 1 || states[0].ErrorCode == kerr.TransactionalIDNotFound.Code {
		return nil // it never got a producer id
	}
	for range 2 {
		initial := kmsg.NewPtrInitProducerIDRequest()
		initial.TransactionalID = &id
		initial.TransactionTimeoutMillis = max(states[0].TimeoutMillis, 1)
		initial.ProducerID, initial.ProducerEpoch = -1, -1
		resp, err := r.do(initial, 4)
		if err != nil {
			return err
		}
		if err := kerr.ErrorForCode(resp.(*kmsg.InitProducerIDResponse).ErrorCode); err != nil {
			return fmt.Errorf("fence %s: %w", id, err)
		}
	}
	return nil
}

// commit commits offsets, except where the group is further on already.
func (r *rpc) commit(groups map[string]map[part]offset) error {
	for group, offsets := range groups {
		fetch := kmsg.NewPtrOffsetFetchRequest()
		fetch.Group = group
		byTopic := make(map[string][]int32)
		for p := range offsets {
			byTopic[p.topic] = append(byTopic[p.topic], p.partition)
		}
		for topic, ps := range byTopic {
			t := kmsg.NewOffsetFetchRequestTopic()
			t.Topic, t.Partitions = topic, ps
			fetch.Topics = append(fetch.Topics, t)
		}
		resp, err := r.do(fetch, 5)
		if err != nil {
			return err
		}
		held := make(map[part]int64)
		for _, t := range resp.(*kmsg.OffsetFetchResponse).Topics {
			for _, p := range t.Partitions {
				held[part{t.Topic, p.Partition}] = p.Offset
			}
		}
		commit := kmsg.NewPtrOffsetCommitRequest()
		commit.Group, commit.Generation = group, -1
		for topic, ps := range byTopic {
			t := kmsg.NewOffsetCommitRequestTopic()
			t.Topic = topic
			for _, n := range ps {
				o := offsets[part{topic, n}]
				if had, ok := held[part{topic, n}]; ok && had >= o.Offset {
					continue
				}
				p := kmsg.NewOffsetCommitRequestTopicPartition()
				p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = n, o.Offset, o.Epoch, o.Metadata
				t.Partitions = append(t.Partitions, p)
			}
			if len(t.Partitions) > 0 {
				commit.Topics = append(commit.Topics, t)
			}
		}
		if len(commit.Topics) == 0 {
			continue
		}
		if resp, err = r.do(commit, 6); err != nil {
			return err
		}
		for _, t := range resp.(*kmsg.OffsetCommitResponse).Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil && err != kerr.UnknownTopicOrPartition {
					return fmt.Errorf("commit %s/%d for group %s: %w", t.Topic, p.Partition, group, err)
				}
			}
		}
	}
	return nil
}
