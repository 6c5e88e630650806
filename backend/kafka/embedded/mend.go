package embedded

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"freshet/backend/kafka/internal/wire"
	"freshet/backend/wholefile"
)

// kfakeFormat is the version of kfake's files that is known here. What mend reads and writes of them is checked against
// kfake itself by tests; another version is refused.
const kfakeFormat = 1

// mended is what the folder told before kfake opened it, for finish.
type mended struct {
	Recovery
	fresh bool
	open  map[string]*txn   // by transactional id, from the journal
	pids  map[int64]int16   // producers whose transactions the logs told of, and their epochs
	start map[part][2]int64 // first and next offset of trimmed partitions
}

type metaJSON struct {
	Version   int    `json:"version"`
	ClusterID string `json:"cluster_id"`
}

type topicsJSON struct {
	Version int `json:"version"`
	Topics  []struct {
		Name       string `json:"name"`
		ID         string `json:"id"`
		Partitions int32  `json:"partitions"`
	} `json:"topics"`
}

// mend makes of a folder that may have been left in the middle of anything one that kfake reads as it should: nothing
// acknowledged is lost, no transaction is half done, no offset is given twice. It is repeated whole where it is cut short.
func (b *Broker) mend(ctx context.Context) (mended, error) {
	m := mended{pids: make(map[int64]int16), start: make(map[part][2]int64)}
	var meta metaJSON
	switch found, err := readJSON(filepath.Join(b.o.Dir, metaFile), &meta); {
	case err != nil:
		return m, err
	case !found:
		m.fresh, m.open = true, make(map[string]*txn)
		return m, nil
	case meta.Version != kfakeFormat:
		return m, fmt.Errorf("it was written in format %d, this Freshet knows %d", meta.Version, kfakeFormat)
	}
	var topics topicsJSON
	if found, err := readJSON(filepath.Join(b.o.Dir, topicsFile), &topics); err != nil {
		return m, err
	} else if !found {
		return m, fmt.Errorf("%s is missing", topicsFile)
	}
	var err error
	if m.open, err = loadJournal(filepath.Join(b.o.Dir, journalFile)); err != nil {
		return m, err
	}
	_, err = os.Stat(filepath.Join(b.o.Dir, cleanFile))
	m.Unclean = errors.Is(err, fs.ErrNotExist)

	var parts []part
	for _, t := range topics.Topics {
		for p := range t.Partitions {
			parts = append(parts, part{t.Name, p})
		}
	}
	if err := b.restoreBackup(parts); err != nil {
		return m, err
	}
	if err := b.removeOrphans(parts); err != nil {
		return m, err
	}
	if m.start, err = b.loadStarts(topics); err != nil {
		return m, err
	}
	if m.Unclean {
		if err := b.mendPartitions(ctx, &m, parts); err != nil {
			return m, err
		}
	}
	for _, p := range parts {
		end, err := b.keepEnd(p, m.start[p][1])
		if err != nil {
			return m, err
		}
		if end > 0 { // it holds nothing: it begins where it ends
			m.start[p] = [2]int64{end, end}
		}
	}
	return m, nil
}

func readJSON(path string, v any) (found bool, err error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return false, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return true, nil
}

// removeOrphans removes folders of partitions that are no topic's: a topic of the same name would append to them.
func (b *Broker) removeOrphans(parts []part) error {
	keep := make(map[string]bool, len(parts))
	for _, p := range parts {
		keep[filepath.Base(partitionDir(b.o.Dir, p))] = true
	}
	entries, err := os.ReadDir(filepath.Join(b.o.Dir, partitions))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() && !keep[e.Name()] {
			b.log.Warn("the remains of a deleted topic are removed", "folder", e.Name())
			if err := os.RemoveAll(filepath.Join(b.o.Dir, partitions, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// mendPartitions reads every log from beginning to end, cuts torn ends, and closes what was open.
func (b *Broker) mendPartitions(ctx context.Context, m *mended, parts []part) error {
	logs := make([]logState, len(parts))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, p := range parts {
		g.Go(func() (err error) {
			if err := ctx.Err(); err != nil {
				return err
			}
			logs[i], err = mendLog(partitionDir(b.o.Dir, p))
			if err != nil {
				err = fmt.Errorf("%s/%d: %w", p.topic, p.partition, err)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}

	// Which transactions are to be closed, and how. The decision is durable before the first marker is.
	byProducer := make(map[int64]*txn)
	for _, t := range m.open {
		byProducer[t.pid] = t
	}
	ended := make(map[int64]bool) // committed
	for i := range logs {
		m.Cut += logs[i].cut
		for pid, epoch := range logs[i].open {
			m.pids[pid] = max(m.pids[pid], epoch)
			t := byProducer[pid]
			ended[pid] = t != nil && t.epoch == epoch && t.prepared && t.commit
		}
	}
	for _, t := range m.open {
		if t.prepared && t.commit {
			ended[t.pid] = true // its markers may be written, and not its offsets
		} else if _, there := ended[t.pid]; !there {
			ended[t.pid] = false
		}
	}
	for _, commit := range ended {
		if commit {
			m.Committed++
		} else {
			m.Aborted++
		}
	}
	keep := maps.Clone(m.open)
	for pid, epoch := range m.pids {
		if byProducer[pid] == nil { // the journal lost it with the power
			keep["pid:"+strconv.FormatInt(pid, 10)] = &txn{pid: pid, epoch: epoch, began: time.Now()}
		}
	}
	data, err := journalOf(keep)
	if err == nil {
		err = wholefile.Write(filepath.Join(b.o.Dir, journalFile), data, 0o600)
	}
	if err != nil {
		return err
	}
	for i, p := range parts {
		for _, pid := range slices.Sorted(maps.Keys(logs[i].open)) {
			epoch := logs[i].open[pid]
			t := byProducer[pid]
			commit := t != nil && t.epoch == epoch && t.prepared && t.commit
			if err := logs[i].mark(pid, epoch, commit); err != nil {
				return fmt.Errorf("%s/%d: %w", p.topic, p.partition, err)
			}
		}
	}
	return b.writeSequences(parts, logs)
}

// logState is what a partition's segments tell.
type logState struct {
	dir       string
	base      int64 // of the last segment, -1 none
	end       int64 // next offset
	epoch     int32 // leader epoch of the last batch
	open      map[int64]int16
	producers map[int64]*sequence
	cut       int64
}

// sequence is what kfake keeps of a producer in a partition: its last five batches.
type sequence struct {
	epoch int16
	last  []pidEntry
	next  int32
}

// pidEntry and the types after it are as kfake writes them.
type pidEntry struct {
	First  int32 `json:"first_seq"`
	Next   int32 `json:"next_seq"`
	Offset int64 `json:"offset"`
}

const (
	indexEntry = 15 // bytes of kfake's index for one batch
	windowSize = 5  // batches
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// mendLog reads a partition's segments, cuts each where it stops making sense, and completes its index.
func mendLog(dir string) (logState, error) {
	l := logState{dir: dir, base: -1, open: make(map[int64]int16), producers: make(map[int64]*sequence)}
	bases, err := segments(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return l, err
	}
	for _, base := range bases {
		if err := l.segment(base); err != nil {
			return l, err
		}
	}
	return l, nil
}

func (l *logState) path(base int64, ext string) string {
	return filepath.Join(l.dir, strconv.FormatInt(base, 10)+ext)
}

func (l *logState) segment(base int64) error {
	raw, err := os.ReadFile(l.path(base, ".dat"))
	if err != nil {
		return err
	}
	index, err := os.ReadFile(l.path(base, ".idx"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	at, batches, changed := 0, 0, false
	for at < len(raw) {
		r, ok := wire.ParseRecordBatch(raw[at:])
		if !ok || r.Size < wire.BatchHead || r.Size > len(raw)-at || r.Magic != 2 ||
			crc32.Checksum(wire.Summed(raw[at:at+r.Size]), castagnoli) != r.CRC {
			break
		}
		l.batch(&r, raw[at+wire.BatchHead:at+r.Size])
		entry := index[min(batches*indexEntry, len(index)):min((batches+1)*indexEntry, len(index))]
		if !validIndex(entry) {
			index = append(index[:batches*indexEntry:batches*indexEntry], newIndex(r.LeaderEpoch, r.MaxTime, r.Transactional() && !r.Control())...)
			changed = true
		}
		at += r.Size
		batches++
	}
	if at < len(raw) {
		l.cut += int64(len(raw) - at)
		if err := truncate(l.path(base, ".dat"), int64(at)); err != nil {
			return err
		}
	}
	if len(index) > batches*indexEntry {
		index, changed = index[:batches*indexEntry], true
	}
	if changed {
		if err := wholefile.Write(l.path(base, ".idx"), index, 0o600); err != nil {
			return err
		}
	}
	if batches > 0 {
		l.base = base
	} else if err := errors.Join(os.Remove(l.path(base, ".dat")), removeIfThere(l.path(base, ".idx"))); err != nil {
		return err
	}
	return nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func truncate(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Sync(), f.Close())
}

func (l *logState) batch(r *wire.RecordBatch, payload []byte) {
	l.end, l.epoch = r.Base+int64(r.LastDelta)+1, r.LeaderEpoch
	if r.ProducerID < 0 {
		return
	}
	if r.Control() {
		delete(l.open, r.ProducerID)
		return
	}
	if r.Transactional() {
		l.open[r.ProducerID] = r.Epoch
	}
	s := l.producers[r.ProducerID]
	if s == nil || s.epoch != r.Epoch {
		s = &sequence{epoch: r.Epoch}
		l.producers[r.ProducerID] = s
	}
	s.next = int32((int64(r.Sequence) + int64(r.LastDelta) + 1) % math.MaxInt32) // as kfake counts
	if len(s.last) == windowSize {
		s.last = slices.Delete(s.last, 0, 1)
	}
	s.last = append(s.last, pidEntry{r.Sequence, s.next, r.Base})
}

func validIndex(e []byte) bool {
	return len(e) == indexEntry && e[0] == kfakeFormat && e[1] == byte(crc32.Checksum(e[2:], castagnoli))
}

// newIndex is kfake's index entry of a batch: version, checksum, leader epoch, a timestamp that it computes anew, and
// whether the batch is of a transaction.
func newIndex(epoch int32, timestamp int64, transaction bool) []byte {
	e := make([]byte, indexEntry)
	e[0] = kfakeFormat
	binary.LittleEndian.PutUint32(e[2:], uint32(epoch))
	binary.LittleEndian.PutUint64(e[6:], uint64(timestamp))
	if transaction {
		e[14] = 1
	}
	e[1] = byte(crc32.Checksum(e[2:], castagnoli))
	return e
}

// mark ends a transaction in the log.
func (l *logState) mark(pid int64, epoch int16, commit bool) error {
	if err := l.append(l.base, markerBatch(l.end, l.epoch, pid, epoch, commit)); err != nil {
		return err
	}
	l.end++
	return nil
}

// append adds a batch to a segment, which it makes where there is none.
func (l *logState) append(base int64, batch []byte) error {
	r, _ := wire.ParseRecordBatch(batch)
	for ext, data := range map[string][]byte{".dat": batch, ".idx": newIndex(r.LeaderEpoch, r.MaxTime, false)} {
		f, err := os.OpenFile(l.path(base, ext), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return err
		}
		_, err = f.Write(data)
		if err == nil {
			err = f.Sync()
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return wholefile.SyncDir(l.dir)
}

// markerBatch is the batch that ends a transaction.
func markerBatch(base int64, leaderEpoch int32, pid int64, epoch int16, commit bool) []byte {
	key := kmsg.ControlRecordKey{Type: kmsg.ControlRecordKeyTypeAbort}
	if commit {
		key.Type = kmsg.ControlRecordKeyTypeCommit
	}
	marker := kmsg.EndTxnMarker{}
	rec := kmsg.Record{Key: key.AppendTo(nil), Value: marker.AppendTo(nil)}
	rec.Length = int32(len(rec.AppendTo(nil)) - 1) // the length itself takes a byte
	now := time.Now().UnixMilli()
	batch := kmsg.RecordBatch{
		FirstOffset: base, PartitionLeaderEpoch: leaderEpoch, Magic: 2, Attributes: 0x30, FirstTimestamp: now, MaxTimestamp: now,
		ProducerID: pid, ProducerEpoch: epoch, FirstSequence: -1, NumRecords: 1, Records: rec.AppendTo(nil),
	}
	raw := batch.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(wire.Summed(raw), castagnoli))
	return raw
}

type sequencesJSON struct {
	Version int            `json:"version"`
	Windows []sequenceJSON `json:"windows"`
}

type sequenceJSON struct {
	PID       int64                `json:"pid"`
	Topic     string               `json:"topic"`
	Partition int32                `json:"partition"`
	Entries   [windowSize]pidEntry `json:"entries"`
	Count     uint8                `json:"count"`
	At        uint8                `json:"at"`
	Epoch     int16                `json:"epoch"`
	Seen      bool                 `json:"seen"`
	NextSeq   int32                `json:"next_seq"`
}

// writeSequences gives kfake the producers' sequences, which it keeps in memory only, so that a batch that a producer
// repeats after a crash is known for one.
func (b *Broker) writeSequences(parts []part, logs []logState) error {
	out := sequencesJSON{Version: kfakeFormat}
	for i, p := range parts {
		for _, pid := range slices.Sorted(maps.Keys(logs[i].producers)) {
			s := logs[i].producers[pid]
			w := sequenceJSON{
				PID: pid, Topic: p.topic, Partition: p.partition, Count: uint8(len(s.last)), At: uint8(len(s.last) % windowSize),
				Epoch: s.epoch, Seen: true, NextSeq: s.next,
			}
			copy(w.Entries[:], s.last)
			out.Windows = append(out.Windows, w)
		}
	}
	data, err := json.Marshal(out)
	if err != nil {
		return err
	}
	return wholefile.Write(filepath.Join(b.o.Dir, "seq_windows.json"), data, 0o600)
}

// keepEnd leaves a trace in a log that has no segments any more, so that its offsets go on and are not given anew. It
// returns where that log ends, 0 for one that it left as it is.
func (b *Broker) keepEnd(p part, end int64) (kept int64, _ error) {
	dir := partitionDir(b.o.Dir, p)
	bases, err := segments(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	if len(bases) > 0 {
		return 0, nil
	}
	var snapshot struct {
		High int64 `json:"high_watermark"`
	}
	if _, err := readJSON(filepath.Join(dir, "snapshot.json"), &snapshot); err != nil {
		return 0, err
	}
	if end = max(end, snapshot.High); end <= 0 {
		return 0, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, err
	}
	l := logState{dir: dir}
	return end, l.append(end-1, markerBatch(end-1, 0, 0, 0, false))
}

// startsJSON is where partitions begin and end, by topic id. kfake keeps neither until it is closed.
type startsJSON map[string]map[string][2]int64

func (b *Broker) loadStarts(topics topicsJSON) (map[part][2]int64, error) {
	var stored startsJSON
	if _, err := readJSON(filepath.Join(b.o.Dir, startsFile), &stored); err != nil {
		return nil, err
	}
	starts := make(map[part][2]int64)
	for _, t := range topics.Topics {
		for p, at := range stored[t.ID] {
			if n, err := strconv.ParseInt(p, 10, 32); err == nil {
				starts[part{t.Name, int32(n)}] = at
			}
		}
	}
	return starts, nil
}

// finish does what is left to do when kfake is there and nobody is connected yet.
func (b *Broker) finish(m mended) error {
	for p, at := range m.start {
		info := b.cluster.PartitionInfo(p.topic, p.partition)
		if start := min(at[0], infoEnd(info)); info != nil && info.LogStartOffset < start {
			if err := b.cluster.DeleteRecords(p.topic, p.partition, start); err != nil {
				return fmt.Errorf("trim %s/%d: %w", p.topic, p.partition, err)
			}
		}
	}
	open := m.open
	if m.Unclean && len(m.open)+len(m.pids) > 0 {
		if err := b.endTransactions(m); err != nil {
			return err
		}
		open = nil
	}
	if open == nil {
		open = make(map[string]*txn)
	}
	var err error
	if b.txns, err = newTracker(b, open); err != nil {
		return err
	}
	if m.Unclean {
		return b.sync.everything()
	}
	return nil
}

// endTransactions commits the offsets of transactions whose commit had begun, and gives every transactional id that was
// in a transaction a new epoch, so that its producer cannot go on with what is over.
func (b *Broker) endTransactions(m mended) error {
	r, err := newRPC(b)
	if err != nil {
		return err
	}
	defer r.close()
	ids := make(map[string]struct{})
	for id, t := range m.open {
		if t.prepared && t.commit {
			if err := r.commit(t.offsets); err != nil {
				return err
			}
		}
		if !strings.HasPrefix(id, "pid:") {
			ids[id] = struct{}{}
		}
	}
	list := kmsg.NewPtrListTransactionsRequest()
	for pid := range m.pids {
		list.ProducerIDFilters = append(list.ProducerIDFilters, pid)
	}
	for _, t := range m.open {
		list.ProducerIDFilters = append(list.ProducerIDFilters, t.pid)
	}
	resp, err := r.do(list, 0)
	if err != nil {
		return err
	}
	for _, t := range resp.(*kmsg.ListTransactionsResponse).TransactionStates {
		ids[t.TransactionalID] = struct{}{}
	}
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		if err := r.fence(id); err != nil {
			return err
		}
	}
	return nil
}

// restoreBackup undoes a compaction that did not come to its end.
func (b *Broker) restoreBackup(parts []part) error {
	backup := filepath.Join(b.o.Dir, backupDir)
	if _, err := os.Stat(filepath.Join(backup, backupReady)); errors.Is(err, fs.ErrNotExist) {
		return os.RemoveAll(backup) // not begun
	} else if err != nil {
		return err
	}
	_, err := os.Stat(filepath.Join(backup, backupFailed))
	failed := err == nil
	for _, p := range parts {
		dir := partitionDir(b.o.Dir, p)
		saved := filepath.Join(backup, filepath.Base(dir))
		was, err := endOfLog(saved)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		is, err := endOfLog(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// The last batch is written last, and is never compacted away.
		if is >= was && !failed {
			continue
		}
		b.log.Warn("a compaction that was cut short is undone", "topic", p.topic, "partition", p.partition)
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		if err := os.Rename(saved, dir); err != nil {
			return err
		}
		if err := wholefile.SyncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	return os.RemoveAll(backup)
}

// endOfLog is the next offset after the last whole batch of the last segment.
func endOfLog(dir string) (int64, error) {
	bases, err := segments(dir)
	if err != nil {
		return 0, err
	}
	for _, base := range slices.Backward(bases) {
		raw, err := os.ReadFile(filepath.Join(dir, strconv.FormatInt(base, 10)+".dat"))
		if err != nil {
			return 0, err
		}
		end := int64(-1)
		for len(raw) > 0 {
			r, ok := wire.ParseRecordBatch(raw)
			if !ok || r.Size < wire.BatchHead || r.Size > len(raw) {
				break
			}
			end = r.Base + int64(r.LastDelta) + 1
			raw = raw[r.Size:]
		}
		if end >= 0 {
			return end, nil
		}
	}
	return 0, nil
}
