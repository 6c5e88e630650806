package embedded

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"freshet/backend/wholefile"
)

// tracker knows which transactions are open and keeps that in the journal, so that a crash ends each of them whole.
//
// The journal holds, for a transactional id, that a transaction began; that its end was asked for (prepare), with the
// offsets it commits; and that it ended. Each line is written before what it announces, so the journal may say too much
// and never too little. Records themselves tell of their transactions; what the journal adds is the decision to commit,
// since kfake writes the markers of a commit one partition after the other, and transactions without records.
type tracker struct {
	b    *Broker
	path string

	mu   sync.Mutex
	cond *sync.Cond // open or compacting changed
	open map[string]*txn
	file *os.File
	size int64
	// compacting holds the compacted topics while none of them may be written by a transaction.
	compacting map[string]bool
	draining   bool // transactions that write them already may go on
}

// txn is an open transaction.
type txn struct {
	pid      int64
	epoch    int16
	parts    map[part]struct{}
	anywhere bool // it goes back to before this process: where it writes is not known
	offsets  map[string]map[part]offset
	prepared bool
	commit   bool
	began    time.Time
}

// offset is what a transaction commits for a group.
type offset struct {
	Offset   int64   `json:"o"`
	Epoch    int32   `json:"e"`
	Metadata *string `json:"m,omitempty"`
}

// line is one entry of the journal.
type line struct {
	Type    string       `json:"t"` // begin, prepare, end
	ID      string       `json:"id"`
	PID     int64        `json:"pid,omitempty"`
	Epoch   int16        `json:"epoch,omitempty"`
	Commit  bool         `json:"commit,omitempty"`
	Began   int64        `json:"at,omitempty"` // milliseconds since 1970
	Offsets []lineOffset `json:"offsets,omitempty"`
}

type lineOffset struct {
	Group     string `json:"g"`
	Topic     string `json:"tp"`
	Partition int32  `json:"p"`
	offset
}

const (
	journalMax = 4 << 20
	// txnMax is longer than a transaction can stay open: kfake's transaction.max.timeout.ms is 15 minutes.
	txnMax = 20 * time.Minute
	// drainTime is how long compaction waits for transactions that write compacted topics.
	drainTime = 3 * time.Second
)

// loadJournal reads which transactions were open. A last line that was cut short announces what did not happen.
func loadJournal(path string) (map[string]*txn, error) {
	open := make(map[string]*txn)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return open, nil
	}
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, len(data)+1)
	for lines.Scan() {
		var l line
		if json.Unmarshal(lines.Bytes(), &l) != nil {
			continue // nothing after it depends on it, since each id's lines are whole or last
		}
		switch l.Type {
		case "end":
			delete(open, l.ID)
		case "begin", "prepare":
			t := &txn{pid: l.PID, epoch: l.Epoch, anywhere: true, prepared: l.Type == "prepare", commit: l.Commit, began: time.UnixMilli(l.Began)}
			for _, o := range l.Offsets {
				t.stage(o.Group, part{o.Topic, o.Partition}, o.offset)
			}
			open[l.ID] = t
		}
	}
	return open, lines.Err()
}

func (t *txn) stage(group string, p part, o offset) {
	if t.offsets == nil {
		t.offsets = make(map[string]map[part]offset)
	}
	if t.offsets[group] == nil {
		t.offsets[group] = make(map[part]offset)
	}
	t.offsets[group][p] = o
}

func (t *txn) line(kind, id string) line {
	l := line{Type: kind, ID: id, PID: t.pid, Epoch: t.epoch, Commit: t.commit, Began: t.began.UnixMilli()}
	for group, parts := range t.offsets {
		for p, o := range parts {
			l.Offsets = append(l.Offsets, lineOffset{group, p.topic, p.partition, o})
		}
	}
	return l
}

// newTracker begins a journal that holds open.
func newTracker(b *Broker, open map[string]*txn) (*tracker, error) {
	t := &tracker{b: b, path: filepath.Join(b.o.Dir, journalFile), open: open}
	t.cond = sync.NewCond(&t.mu)
	return t, t.rewrite()
}

// rewrite begins the journal anew with what is open.
func (t *tracker) rewrite() error {
	data, err := journalOf(t.open)
	if err != nil {
		return err
	}
	if t.file != nil {
		t.file.Close()
		t.file = nil
	}
	if err := wholefile.Write(t.path, data, 0o600); err != nil {
		return err
	}
	t.file, err = os.OpenFile(t.path, os.O_WRONLY|os.O_APPEND, 0o600)
	t.size = int64(len(data))
	return err
}

func journalOf(open map[string]*txn) ([]byte, error) {
	var data []byte
	for _, id := range slices.Sorted(maps.Keys(open)) {
		t := open[id]
		kind := "begin"
		if t.prepared {
			kind = "prepare"
		}
		l, err := json.Marshal(t.line(kind, id))
		if err != nil {
			return nil, err
		}
		data = append(append(data, l...), '\n')
	}
	return data, nil
}

// write appends a line. A journal that cannot be written ends the broker's confirming.
func (t *tracker) write(l line) {
	if t.file == nil {
		return // the journal failed before
	}
	data, err := json.Marshal(l)
	if err == nil {
		data = append(data, '\n')
		_, err = t.file.Write(data)
		t.size += int64(len(data))
	}
	if err == nil && t.size > journalMax {
		for id, x := range t.open {
			if time.Since(x.began) > txnMax {
				delete(t.open, id) // timed out long ago
			}
		}
		err = t.rewrite()
	}
	if err != nil {
		t.b.fail(err)
	}
}

// touch notes that the transaction writes parts, and that it began where it was not known.
func (t *tracker) touch(id string, pid int64, epoch int16, parts []part) {
	if id == "" {
		return // kfake refuses it
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.mustWait(id, parts) {
		t.cond.Wait()
	}
	x := t.open[id]
	switch {
	case x == nil, x.pid != pid, x.epoch < epoch:
		x = &txn{pid: pid, epoch: epoch, parts: make(map[part]struct{}), began: time.Now()}
		t.open[id] = x
		t.write(x.line("begin", id))
	case x.epoch > epoch:
		return // of a producer that was fenced: kfake refuses it
	}
	if x.parts == nil {
		x.parts = make(map[part]struct{})
	}
	for _, p := range parts {
		x.parts[p] = struct{}{}
	}
}

// mustWait says whether the transaction may not begin to write compacted topics now.
func (t *tracker) mustWait(id string, parts []part) bool {
	if t.compacting == nil || t.b.failure.Load() != nil {
		return false
	}
	if !slices.ContainsFunc(parts, func(p part) bool { return t.compacting[p.topic] }) {
		return false
	}
	x := t.open[id]
	return !t.draining || x == nil || !x.writes(t.compacting)
}

func (t *txn) writes(topics map[string]bool) bool {
	if t.anywhere {
		return true
	}
	for p := range t.parts {
		if topics[p.topic] {
			return true
		}
	}
	return false
}

// quiet keeps transactions away from topics while f runs; false where one stays open there, and f did not run.
func (t *tracker) quiet(topics map[string]bool, f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.compacting, t.draining = topics, true
	defer func() {
		t.compacting, t.draining = nil, false
		t.cond.Broadcast()
	}()
	deadline := time.Now().Add(drainTime)
	wake := time.AfterFunc(drainTime, t.cond.Broadcast)
	defer wake.Stop()
	busy := func() bool {
		for _, x := range t.open {
			if x.writes(topics) && time.Since(x.began) < txnMax {
				return true
			}
		}
		return false
	}
	for busy() {
		if !time.Now().Before(deadline) {
			return false
		}
		t.cond.Wait()
	}
	t.draining = false
	t.mu.Unlock()
	f()
	t.mu.Lock()
	return true
}

// stage notes the offsets that the transaction commits, as far as kfake took them.
func (t *tracker) stage(req *kmsg.TxnOffsetCommitRequest, resp *kmsg.TxnOffsetCommitResponse) {
	names := make([]string, len(req.Topics))
	for i, rt := range req.Topics {
		if names[i] = rt.Topic; rt.Topic == "" { // newer versions send ids
			names[i] = t.b.names.of(rt.TopicID)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.open[req.TransactionalID]
	if x == nil || x.pid != req.ProducerID || x.epoch != req.ProducerEpoch {
		return
	}
	for i, rt := range req.Topics {
		for j, rp := range rt.Partitions {
			if i >= len(resp.Topics) || j >= len(resp.Topics[i].Partitions) || resp.Topics[i].Partitions[j].ErrorCode != 0 {
				continue
			}
			x.stage(req.Group, part{names[i], rp.Partition}, offset{rp.Offset, rp.LeaderEpoch, rp.Metadata})
		}
	}
}

// prepare journals that the transaction's end is asked for, and returns where it wrote.
func (t *tracker) prepare(id string, pid int64, epoch int16, commit bool) []part {
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.open[id]
	if x == nil || x.pid != pid || x.epoch != epoch {
		return nil
	}
	x.prepared, x.commit = true, commit
	t.write(x.line("prepare", id))
	return slices.Collect(maps.Keys(x.parts))
}

// ended journals what became of an end that was asked for.
func (t *tracker) ended(id string, pid int64, epoch int16, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	x := t.open[id]
	if x == nil || x.pid != pid || x.epoch != epoch {
		return
	}
	if ok {
		t.end(id)
		return
	}
	x.prepared, x.commit = false, false
	t.write(x.line("begin", id))
}

// closed journals that the id has no open transaction: kfake ends it when the id gets a new epoch.
func (t *tracker) closed(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open[id] != nil {
		t.end(id)
	}
}

func (t *tracker) end(id string) {
	delete(t.open, id)
	t.write(line{Type: "end", ID: id})
	t.cond.Broadcast()
}

func (t *tracker) partsOf(id string) []part {
	t.mu.Lock()
	defer t.mu.Unlock()
	if x := t.open[id]; x != nil {
		return slices.Collect(maps.Keys(x.parts))
	}
	return nil
}

// sync puts the journal on stable storage.
func (t *tracker) sync() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == nil {
		return errors.New("the journal is closed")
	}
	return t.file.Sync()
}

func (t *tracker) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.rewrite()
	if t.file != nil {
		err = errors.Join(err, t.file.Close())
		t.file = nil
	}
	return err
}
