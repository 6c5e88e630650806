package embedded

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"freshet/backend/fault"
	"freshet/backend/space"
	"freshet/backend/wholefile"
)

// cleaner runs retention and compaction, with what kfake's lack for surviving a crash: the ends of logs that become empty
// are kept, and a compaction's segments are kept until their successors are on stable storage.
type cleaner struct {
	b    *Broker
	now  chan struct{} // capacity 1: clean at once
	mu   sync.Mutex
	ends startsJSON // as stored

	only atomic.Pointer[compactOnly]

	size map[part]int64 // of compacted partitions after their last compaction
	next time.Time      // of the next compaction
}

const (
	backupReady  = "ready"  // every segment is in the backup
	backupFailed = "failed" // the compaction went wrong and what it left is not to be trusted
	// compactAbove is what a compacted partition must have grown by, and to, before it is compacted again.
	compactAbove = 64 << 10
	// compactShare keeps compaction, during which the broker stands still, to this part of the time.
	compactShare = 20
)

func newCleaner(b *Broker) *cleaner {
	return &cleaner{b: b, now: make(chan struct{}, 1), size: make(map[part]int64)}
}

func (c *cleaner) run(ctx context.Context) {
	tick := time.NewTicker(c.b.o.CleanEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-c.now:
		}
		if c.b.failed() != nil {
			return
		}
		c.clean()
	}
}

// soon has a round run now.
func (c *cleaner) soon() {
	select {
	case c.now <- struct{}{}:
	default:
	}
}

func (c *cleaner) clean() {
	c.noteStarts()
	c.b.cluster.ApplyRetention()
	if err := c.compact(); err != nil {
		c.b.log.Warn("the local broker's log is not compacted", "err", err)
	}
	c.noteStarts()
}

// topics are the topics there are, by the broker's own file.
func (c *cleaner) topics() (topicsJSON, error) {
	var t topicsJSON
	_, err := readJSON(filepath.Join(c.b.o.Dir, topicsFile), &t)
	return t, err
}

// noteStarts keeps where partitions that have held a record begin and end: retention may take all that one holds, and a
// crash before its new start is noted would give its offsets again.
func (c *cleaner) noteStarts() {
	topics, err := c.topics()
	if err != nil {
		c.b.log.Warn("the local broker's topics cannot be read", "err", err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ends := make(startsJSON)
	for _, t := range topics.Topics {
		for _, p := range c.b.cluster.PartitionInfos(t.Name) {
			if p.HighWatermark > 0 {
				if ends[t.ID] == nil {
					ends[t.ID] = make(map[string][2]int64)
				}
				ends[t.ID][strconv.FormatInt(int64(p.Partition), 10)] = [2]int64{p.LogStartOffset, p.HighWatermark}
			}
		}
	}
	c.store(ends)
}

// noteEnds keeps where some partitions begin and end.
func (c *cleaner) noteEnds(parts []part) {
	if !c.b.up.enter() {
		return
	}
	defer c.b.up.leave()
	c.mu.Lock()
	defer c.mu.Unlock()
	ends := make(startsJSON)
	for id, ps := range c.ends {
		ends[id] = make(map[string][2]int64)
		for p, at := range ps {
			ends[id][p] = at
		}
	}
	for _, p := range parts {
		topic := c.b.cluster.TopicInfo(p.topic)
		info := c.b.cluster.PartitionInfo(p.topic, p.partition)
		if topic == nil || info == nil {
			continue
		}
		id := topicID(topic.TopicID)
		if ends[id] == nil {
			ends[id] = make(map[string][2]int64)
		}
		ends[id][strconv.FormatInt(int64(p.partition), 10)] = [2]int64{info.LogStartOffset, info.HighWatermark}
	}
	c.store(ends)
}

// topicID is a topic's id as kfake writes it.
func topicID(id [16]byte) string { return base64.StdEncoding.EncodeToString(id[:]) }

func (c *cleaner) store(ends startsJSON) {
	data, err := json.Marshal(ends)
	if err == nil {
		if old, _ := json.Marshal(c.ends); string(old) == string(data) {
			return
		}
		err = wholefile.Write(filepath.Join(c.b.o.Dir, startsFile), data, 0o600)
	}
	if err != nil {
		c.b.log.Warn("where the local broker's logs begin cannot be kept", "err", err)
		return
	}
	c.ends = ends
}

func infoEnd(p *kfake.PartitionInfo) int64 {
	if p == nil {
		return 0
	}
	return p.HighWatermark
}

// compact compacts the compacted topics where one of them has grown enough. It is left for the next time where a
// transaction stays open on one of them: kfake would drop what is committed for what may yet be aborted.
func (c *cleaner) compact() error {
	topics, err := c.topics()
	if err != nil {
		return err
	}
	infos := c.compactedTopics(topics)
	compacted := make(map[string]bool)
	var parts []part
	var total int64
	grown := false
	for _, t := range topics.Topics {
		info := infos[t.Name]
		if info == nil {
			continue
		}
		if err := c.keepCompacted(t.Name, info); err != nil {
			return err
		}
		compacted[t.Name] = true
		for _, p := range c.b.cluster.PartitionInfos(t.Name) {
			tp := part{t.Name, p.Partition}
			parts = append(parts, tp)
			total += p.NumBytes
			grown = grown || p.NumBytes >= max(compactAbove, c.size[tp]+c.size[tp]/2)
		}
	}
	if !grown || time.Now().Before(c.next) {
		return nil
	}
	if free := space.Free(c.b.o.Dir); free >= 0 && free < total+c.b.o.Reserve/2 {
		return fmt.Errorf("the disk has %d bytes free, less than the %d that it may take", free, total)
	}
	began := time.Now()
	ran := c.b.txns.quiet(compacted, func() { err = c.compactNow(parts) })
	switch {
	case !ran:
		return errors.New("a transaction is open on a compacted topic")
	case err != nil:
		return err
	}
	took := time.Since(began)
	c.next = time.Now().Add(compactShare * took)
	clear(c.size)
	for _, p := range parts {
		if info := c.b.cluster.PartitionInfo(p.topic, p.partition); info != nil {
			c.size[p] = info.NumBytes
		}
	}
	c.b.log.Debug("compacted", "partitions", len(parts), "bytes", total, "took", took)
	return nil
}

// compactedTopics finds the topics whose policy compacts, and keeps which of them do nothing else.
func (c *cleaner) compactedTopics(topics topicsJSON) map[string]*kfake.TopicInfo {
	infos, only := make(map[string]*kfake.TopicInfo), make(compactOnly)
	for _, t := range topics.Topics {
		info := c.b.cluster.TopicInfo(t.Name)
		if info == nil || info.Configs["cleanup.policy"] == nil || !strings.Contains(*info.Configs["cleanup.policy"], "compact") {
			continue
		}
		infos[t.Name] = info
		if compactsOnly(*info.Configs["cleanup.policy"]) {
			only[t.Name] = info.TopicID
		}
	}
	c.only.Store(&only)
	return infos
}

// keepCompacted takes retention off a topic that became compacted after it was made.
func (c *cleaner) keepCompacted(name string, info *kfake.TopicInfo) error {
	policy := *info.Configs["cleanup.policy"]
	if !compactsOnly(policy) {
		return nil
	}
	want := c.b.topicDefaults(policy)
	alter := kmsg.NewPtrIncrementalAlterConfigsRequest()
	res := kmsg.NewIncrementalAlterConfigsRequestResource()
	res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeTopic, name
	for key, value := range want {
		if v := info.Configs[key]; v == nil || *v != value {
			cfg := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
			cfg.Name, cfg.Value, cfg.Op = key, &value, kmsg.IncrementalAlterConfigOpSet
			res.Configs = append(res.Configs, cfg)
		}
	}
	if len(res.Configs) == 0 {
		return nil
	}
	alter.Resources = append(alter.Resources, res)
	r, err := newRPC(c.b)
	if err != nil {
		return err
	}
	defer r.close()
	_, err = r.do(alter, 1)
	return err
}

// compactNow compacts with the old segments kept beside until the new ones are durable.
func (c *cleaner) compactNow(parts []part) error {
	backup := filepath.Join(c.b.o.Dir, backupDir)
	if err := os.RemoveAll(backup); err != nil {
		return err
	}
	for _, p := range parts {
		dir := partitionDir(c.b.o.Dir, p)
		bases, err := segments(dir)
		if errors.Is(err, fs.ErrNotExist) || err == nil && len(bases) == 0 {
			continue
		}
		if err != nil {
			return err
		}
		saved := filepath.Join(backup, filepath.Base(dir))
		if err := os.MkdirAll(saved, 0o700); err != nil {
			return err
		}
		for _, base := range bases {
			for _, ext := range []string{".dat", ".idx"} {
				name := strconv.FormatInt(base, 10) + ext
				if err := os.Link(filepath.Join(dir, name), filepath.Join(saved, name)); err != nil {
					return err
				}
			}
		}
		if err := wholefile.SyncDir(saved); err != nil {
			return err
		}
	}
	if err := wholefile.Write(filepath.Join(backup, backupReady), nil, 0o600); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // nothing to compact
		}
		return err
	}
	c.b.cluster.Compact()
	err := c.b.failed()
	if err == nil {
		err = c.b.sync.everythingOf(parts)
	}
	if err != nil {
		// kfake's memory is of no use any more either: the next start takes the backup.
		wholefile.Write(filepath.Join(backup, backupFailed), nil, 0o600)
		c.b.fail(err)
		return fault.Wrap(fault.Blocked, "compact", err, "")
	}
	if err := os.Remove(filepath.Join(backup, backupReady)); err != nil {
		return err
	}
	if err := wholefile.SyncDir(backup); err != nil {
		return err
	}
	return os.RemoveAll(backup)
}
