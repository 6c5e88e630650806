package embedded

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// openTxn is a producer's transaction that has records in a partition and no marker after them.
type openTxn struct {
	topic     string
	partition int32
	producer  int64
	epoch     int16
}

// Offsets in the head of a record batch, https://kafka.apache.org/documentation/#recordbatch.
const (
	batchHead       = 61
	lengthAt        = 8  // of what follows, int32
	attributesAt    = 21 // int16
	producerAt      = 43 // int64
	epochAt         = 51 // int16
	transactional   = 0x10
	control         = 0x20
	beforeTheLength = 12 // bytes of a batch that its length does not count
)

// openTransactions reads the heads of all batches on disk. kfake takes a transaction without an end for aborted when it
// opens its log after a crash, but writes no marker: readers would then drop the same producer's later records, and the
// next crash would take the next commit for the old records too.
func openTransactions(dir string) ([]openTxn, error) {
	parts, err := os.ReadDir(filepath.Join(dir, "partitions"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var open []openTxn
	for _, p := range parts {
		i := strings.LastIndexByte(p.Name(), '-')
		if i < 0 {
			continue
		}
		topic, err := url.PathUnescape(p.Name()[:i])
		if err != nil {
			continue
		}
		number, err := strconv.ParseInt(p.Name()[i+1:], 10, 32)
		if err != nil {
			continue
		}
		producers, err := openIn(filepath.Join(dir, "partitions", p.Name()))
		if err != nil {
			return nil, fmt.Errorf("read partition %s: %w", p.Name(), err)
		}
		for id, epoch := range producers {
			open = append(open, openTxn{topic, int32(number), id, epoch})
		}
	}
	return open, nil
}

// openIn returns the producers with an open transaction in one partition, with their epochs.
func openIn(dir string) (map[int64]int16, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.dat"))
	if err != nil {
		return nil, err
	}
	base := func(name string) int64 {
		n, _ := strconv.ParseInt(strings.TrimSuffix(filepath.Base(name), ".dat"), 10, 64)
		return n
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(base(a), base(b)) })
	open := map[int64]int16{}
	for _, name := range names {
		if err := scanSegment(name, func(attributes int16, producer int64, epoch int16) {
			switch {
			case attributes&control != 0:
				delete(open, producer)
			case attributes&transactional != 0:
				open[producer] = epoch
			}
		}); err != nil {
			return nil, err
		}
	}
	return open, nil
}

// scanSegment calls f for the head of every whole batch of a segment; a batch cut short at the end is what a crash leaves.
func scanSegment(name string, f func(attributes int16, producer int64, epoch int16)) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	var head [batchHead]byte
	for at := int64(0); at+batchHead <= info.Size(); {
		if _, err := file.ReadAt(head[:], at); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		size := int64(int32(binary.BigEndian.Uint32(head[lengthAt:]))) + beforeTheLength
		if size < batchHead || at+size > info.Size() {
			return nil
		}
		f(int16(binary.BigEndian.Uint16(head[attributesAt:])), int64(binary.BigEndian.Uint64(head[producerAt:])), int16(binary.BigEndian.Uint16(head[epochAt:])))
		at += size
	}
	return nil
}

// abort writes an abort marker for every transaction that a crash left open, before anybody else can connect.
func (b *Broker) abort(ctx context.Context, open []openTxn) error {
	if len(open) == 0 {
		return nil
	}
	c, err := b.door.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	req := kmsg.NewPtrWriteTxnMarkersRequest()
	for _, o := range open {
		m := kmsg.NewWriteTxnMarkersRequestMarker()
		m.ProducerID, m.ProducerEpoch = o.producer, o.epoch
		t := kmsg.NewWriteTxnMarkersRequestMarkerTopic()
		t.Topic, t.Partitions = o.topic, []int32{o.partition}
		m.Topics = append(m.Topics, t)
		req.Markers = append(req.Markers, m)
	}
	resp, err := ask(ctx, c, req, 1)
	if err != nil {
		return fmt.Errorf("close transactions that were open: %w", err)
	}
	for _, m := range resp.(*kmsg.WriteTxnMarkersResponse).Markers {
		for _, t := range m.Topics {
			for _, p := range t.Partitions {
				// A topic that was deleted keeps no records to close.
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
					return fmt.Errorf("close the transaction of producer %d in %s/%d: %w", m.ProducerID, t.Topic, p.Partition, err)
				}
			}
		}
	}
	return nil
}
