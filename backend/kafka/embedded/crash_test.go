package embedded_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func begin(t testing.TB, cl *kgo.Client) {
	t.Helper()
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
}

func end(t testing.TB, ctx context.Context, cl *kgo.Client, how kgo.TransactionEndTry) {
	t.Helper()
	if err := cl.EndTransaction(ctx, how); err != nil {
		t.Fatal(err)
	}
}

// A transaction that was open at a crash is aborted, stays so over another crash, hides nothing that comes later, and its
// producer cannot go on with it.
func TestOpenTransactionIsAborted(t *testing.T) {
	ctx := within(t, 60*time.Second)
	c := startChild(t, t.TempDir())
	topic(t, ctx, c.addr, "t", 1, nil)
	tx := client(t, c.addr, kgo.TransactionalID("tx"))
	begin(t, tx)
	produce(t, ctx, tx, "t", 0, "a", "b")
	end(t, ctx, tx, kgo.TryCommit)
	begin(t, tx)
	produce(t, ctx, tx, "t", 0, "open1", "open2")
	c.kill()
	c.start()
	if !c.unclean || c.aborted != 1 || c.committed != 0 {
		t.Fatalf("unclean %t, %d aborted, %d committed", c.unclean, c.aborted, c.committed)
	}
	want(t, "after a crash", committed(t, ctx, c.addr, "t", 0), "a", "b")
	if err := tx.EndTransaction(ctx, kgo.TryCommit); err == nil {
		t.Fatal("a transaction that was aborted by the crash is committed")
	}
	want(t, "after the refused commit", committed(t, ctx, c.addr, "t", 0), "a", "b")
	next := client(t, c.addr, kgo.TransactionalID("tx"))
	begin(t, next)
	produce(t, ctx, next, "t", 0, "c", "d")
	end(t, ctx, next, kgo.TryCommit)
	begin(t, next)
	produce(t, ctx, next, "t", 0, "x")
	end(t, ctx, next, kgo.TryAbort)
	produce(t, ctx, client(t, c.addr), "t", 0, "plain")
	for range 2 {
		want(t, "later", committed(t, ctx, c.addr, "t", 0), "a", "b", "c", "d", "plain")
		c.kill()
		c.start()
		if c.aborted != 0 || c.committed != 0 {
			t.Fatalf("%d aborted, %d committed", c.aborted, c.committed)
		}
	}
}

// A producer whose transaction held nothing but offsets at a crash is not told that it is committed.
func TestTransactionOfOffsetsOnly(t *testing.T) {
	ctx := within(t, 60*time.Second)
	c := startChild(t, t.TempDir())
	topic(t, ctx, c.addr, "t", 1, nil)
	cl := client(t, c.addr)
	produce(t, ctx, cl, "t", 0, "a", "b", "c")
	pid, epoch := initProducer(t, ctx, cl, "tx")
	id := idOf(t, ctx, cl, "t")
	commitOf := func(offset int64) error {
		add := kmsg.NewPtrAddOffsetsToTxnRequest()
		add.TransactionalID, add.ProducerID, add.ProducerEpoch, add.Group = "tx", pid, epoch, "g"
		if resp, err := add.RequestWith(ctx, cl); err != nil || resp.ErrorCode != 0 {
			return errors.Join(err, kerr.ErrorForCode(resp.ErrorCode))
		}
		req := kmsg.NewPtrTxnOffsetCommitRequest()
		req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Group, req.Generation = "tx", pid, epoch, "g", -1
		rt := kmsg.NewTxnOffsetCommitRequestTopic()
		rt.Topic, rt.TopicID = "t", id
		rp := kmsg.NewTxnOffsetCommitRequestTopicPartition()
		rp.Offset = offset
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
	}
	finish := func() error {
		req := kmsg.NewPtrEndTxnRequest()
		req.TransactionalID, req.ProducerID, req.ProducerEpoch, req.Commit = "tx", pid, epoch, true
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return err
		}
		if resp.ProducerID >= 0 && resp.Version >= 5 {
			pid, epoch = resp.ProducerID, resp.ProducerEpoch
		}
		return kerr.ErrorForCode(resp.ErrorCode)
	}
	if err := errors.Join(commitOf(1), finish()); err != nil {
		t.Fatal(err)
	}
	c.close() // kfake then remembers that the last transaction was committed
	c.start()
	if err := commitOf(2); err != nil {
		t.Fatal(err)
	}
	c.kill()
	c.start()
	if c.aborted != 1 {
		t.Fatalf("%d aborted", c.aborted)
	}
	if err := finish(); err == nil {
		t.Fatal("the commit of offsets that a crash took is acknowledged")
	}
	if at := groupAt(t, ctx, cl, "g"); at != 1 {
		t.Fatalf("the group is at %d, want 1", at)
	}
}

func initProducer(t testing.TB, ctx context.Context, cl *kgo.Client, id string) (int64, int16) {
	t.Helper()
	req := kmsg.NewPtrInitProducerIDRequest()
	if id != "" {
		req.TransactionalID = &id
	}
	req.TransactionTimeoutMillis = 60_000
	req.ProducerID, req.ProducerEpoch = -1, -1
	resp, err := req.RequestWith(ctx, cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		t.Fatal(err)
	}
	return resp.ProducerID, resp.ProducerEpoch
}

func groupAt(t testing.TB, ctx context.Context, cl *kgo.Client, group string) int64 {
	t.Helper()
	held, err := kadm.NewClient(cl).FetchOffsets(ctx, group)
	if err != nil {
		t.Fatal(err)
	}
	o, ok := held.Lookup("t", 0)
	if !ok {
		return -1
	}
	return o.At
}

// A commit that had begun is completed: the rest of its markers, and its offsets. Offsets that moved on since stay.
func TestBegunCommitIsCompleted(t *testing.T) {
	for _, ahead := range []int64{0, 2, 9} {
		ctx := within(t, 60*time.Second)
		dir := t.TempDir()
		c := startChild(t, dir)
		topic(t, ctx, c.addr, "t", 2, nil)
		tx := client(t, c.addr, kgo.TransactionalID("tx"))
		begin(t, tx)
		produce(t, ctx, tx, "t", 0, "a")
		produce(t, ctx, tx, "t", 1, "b")
		pid, epoch, err := tx.ProducerID(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if ahead > 0 {
			if err := kadm.NewClient(client(t, c.addr)).CommitAllOffsets(ctx, "g", kadm.Offsets{"t": {0: {Topic: "t", At: ahead, LeaderEpoch: -1}}}); err != nil {
				t.Fatal(err)
			}
		}
		c.kill()
		// As far as the broker comes when it is killed after the marker of the first partition.
		journal, err := os.OpenFile(filepath.Join(dir, "txn.journal"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		line := map[string]any{"t": "prepare", "id": "tx", "pid": pid, "epoch": epoch, "commit": true, "at": time.Now().UnixMilli(),
			"offsets": []any{map[string]any{"g": "g", "tp": "t", "p": 0, "o": 7, "e": -1}}}
		if err := json.NewEncoder(journal).Encode(line); err != nil {
			t.Fatal(err)
		}
		journal.Close()
		appendBatch(t, filepath.Join(dir, "partitions", "t-0"), marker(1, pid, epoch, true))
		c.start()
		if c.committed != 1 || c.aborted != 0 {
			t.Fatalf("%d committed, %d aborted", c.committed, c.aborted)
		}
		for range 2 {
			want(t, "0", committed(t, ctx, c.addr, "t", 0), "a")
			want(t, "1", committed(t, ctx, c.addr, "t", 1), "b")
			if at := groupAt(t, ctx, client(t, c.addr), "g"); at != max(ahead, 7) {
				t.Fatalf("the group is at %d, want %d", at, max(ahead, 7))
			}
			c.kill()
			c.start()
		}
	}
}

// appendBatch adds a batch to a partition's last segment, as kfake would, with its index entry.
func appendBatch(t testing.TB, dir string, batch []byte) {
	t.Helper()
	for ext, data := range map[string][]byte{".dat": batch, ".idx": indexOf(batch)} {
		f, err := os.OpenFile(lastSegment(t, dir)+ext, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(data); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

func lastSegment(t testing.TB, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.dat"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no segments in %s: %v", dir, err)
	}
	base := func(f string) int {
		n, _ := strconv.Atoi(strings.TrimSuffix(filepath.Base(f), ".dat"))
		return n
	}
	return strings.TrimSuffix(slices.MaxFunc(files, func(a, b string) int { return base(a) - base(b) }), ".dat")
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func indexOf(batch []byte) []byte {
	e := make([]byte, 15)
	e[0] = 1
	binary.LittleEndian.PutUint64(e[6:], binary.BigEndian.Uint64(batch[35:]))
	if a := binary.BigEndian.Uint16(batch[21:]); a&0x30 == 0x10 {
		e[14] = 1
	}
	e[1] = byte(crc32.Checksum(e[2:], castagnoli))
	return e
}

func marker(base, pid int64, epoch int16, commit bool) []byte {
	key := kmsg.ControlRecordKey{}
	if commit {
		key.Type = kmsg.ControlRecordKeyTypeCommit
	}
	end := kmsg.EndTxnMarker{}
	rec := kmsg.Record{Key: key.AppendTo(nil), Value: end.AppendTo(nil)}
	rec.Length = int32(len(rec.AppendTo(nil)) - 1)
	return sealed(kmsg.RecordBatch{FirstOffset: base, Magic: 2, Attributes: 0x30, FirstTimestamp: time.Now().UnixMilli(), MaxTimestamp: time.Now().UnixMilli(),
		ProducerID: pid, ProducerEpoch: epoch, FirstSequence: -1, NumRecords: 1, Records: rec.AppendTo(nil)})
}

func sealed(b kmsg.RecordBatch) []byte {
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], castagnoli))
	return raw
}

// A batch that was torn by the crash, or written without its index, is neither in the way nor taken for committed.
func TestTornEnds(t *testing.T) {
	for name, tear := range map[string]func(t *testing.T, segment string){
		"half a batch": func(t *testing.T, segment string) {
			whole := marker(2, 1, 0, false)
			f, err := os.OpenFile(segment+".dat", os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			f.Write(whole[:40])
			f.Close()
		},
		"a batch with a wrong checksum": func(t *testing.T, segment string) {
			f, err := os.OpenFile(segment+".dat", os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			whole := marker(2, 1, 0, false)
			whole[70] ^= 1
			f.Write(whole)
			f.Close()
		},
		"a batch without its index": func(t *testing.T, segment string) { cut(t, segment+".idx", 15) },
		"half an index entry":       func(t *testing.T, segment string) { cut(t, segment+".idx", 7) },
		"no index":                  func(t *testing.T, segment string) { os.Remove(segment + ".idx") },
		"too much index": func(t *testing.T, segment string) {
			f, err := os.OpenFile(segment+".idx", os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			f.Write(make([]byte, 20))
			f.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := within(t, 60*time.Second)
			dir := t.TempDir()
			c := startChild(t, dir)
			topic(t, ctx, c.addr, "t", 1, nil)
			produce(t, ctx, client(t, c.addr), "t", 0, "a")
			tx := client(t, c.addr, kgo.TransactionalID("tx"))
			begin(t, tx)
			produce(t, ctx, tx, "t", 0, "open")
			c.kill()
			tear(t, lastSegment(t, filepath.Join(dir, "partitions", "t-0")))
			for range 2 {
				c.start()
				want(t, "committed", committed(t, ctx, c.addr, "t", 0), "a")
				c.kill()
			}
			c.start()
			produce(t, ctx, client(t, c.addr), "t", 0, "b")
			want(t, "later", committed(t, ctx, c.addr, "t", 0), "a", "b")
		})
	}
}

func cut(t *testing.T, file string, n int64) {
	t.Helper()
	info, err := os.Stat(file)
	if err == nil {
		err = os.Truncate(file, info.Size()-n)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A batch that a producer sends again after a crash, having had no answer, is in the log once.
func TestRepeatedBatchAfterCrash(t *testing.T) {
	ctx := within(t, 60*time.Second)
	c := startChild(t, t.TempDir())
	topic(t, ctx, c.addr, "t", 1, nil)
	cl := client(t, c.addr, kgo.RequiredAcks(kgo.AllISRAcks()))
	pid, epoch := initProducer(t, ctx, cl, "")
	send := func(seq int32) (int64, error) {
		value := fmt.Sprintf("%d", seq)
		rec := kmsg.Record{Value: []byte(value)}
		rec.Length = int32(len(rec.AppendTo(nil)) - 1)
		req := kmsg.NewPtrProduceRequest()
		req.Acks, req.TimeoutMillis = -1, 10_000
		rt := kmsg.NewProduceRequestTopic()
		rt.Topic, rt.TopicID = "t", idOf(t, ctx, cl, "t")
		rp := kmsg.NewProduceRequestTopicPartition()
		rp.Records = sealed(kmsg.RecordBatch{Magic: 2, PartitionLeaderEpoch: -1, FirstTimestamp: time.Now().UnixMilli(), MaxTimestamp: time.Now().UnixMilli(),
			ProducerID: pid, ProducerEpoch: epoch, FirstSequence: seq, NumRecords: 1, Records: rec.AppendTo(nil)})
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return 0, err
		}
		p := resp.Topics[0].Partitions[0]
		return p.BaseOffset, kerr.ErrorForCode(p.ErrorCode)
	}
	for seq := range int32(8) {
		if at, err := send(seq); err != nil || at != int64(seq) {
			t.Fatal(at, err)
		}
	}
	for range 2 {
		c.kill()
		c.start()
		for _, seq := range []int32{3, 7, 5} {
			if at, err := send(seq); err != nil || at != int64(seq) {
				t.Fatalf("%d again: at %d, %v", seq, at, err)
			}
		}
		if _, err := send(9); !errors.Is(err, kerr.OutOfOrderSequenceNumber) {
			t.Fatalf("a gap in the sequence: %v", err)
		}
	}
	if at, err := send(8); err != nil || at != 8 {
		t.Fatal(at, err)
	}
	want(t, "t", committed(t, ctx, c.addr, "t", 0), "0", "1", "2", "3", "4", "5", "6", "7", "8")
}

func idOf(t testing.TB, ctx context.Context, cl *kgo.Client, topic string) [16]byte {
	t.Helper()
	topics, err := kadm.NewClient(cl).ListTopics(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	return topics[topic].ID
}

// The sequences that are rebuilt after a crash are those that kfake itself keeps over an orderly stop.
func TestRebuiltSequencesAreKfakes(t *testing.T) {
	ctx := within(t, 60*time.Second)
	dir := t.TempDir()
	c := startChild(t, dir)
	topic(t, ctx, c.addr, "t", 2, nil)
	plain, tx := client(t, c.addr), client(t, c.addr, kgo.TransactionalID("tx"))
	for i := range 9 {
		produce(t, ctx, plain, "t", int32(i%2), fmt.Sprint(i), "x", "y")
		begin(t, tx)
		produce(t, ctx, tx, "t", 0, "z")
		end(t, ctx, tx, kgo.TransactionEndTry(i%3 != 0))
	}
	c.close()
	read := func() string {
		data, err := os.ReadFile(filepath.Join(dir, "seq_windows.json"))
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			Windows []map[string]any `json:"windows"`
		}
		if err := json.Unmarshal(data, &file); err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, w := range file.Windows {
			// The ring's order is the same whatever its beginning.
			entries := w["entries"].([]any)
			count := int(w["count"].(float64))
			at := int(w["at"].(float64))
			var ring []string
			for i := range count {
				ring = append(ring, fmt.Sprint(entries[(at-count+i+2*len(entries))%len(entries)]))
			}
			lines = append(lines, fmt.Sprintf("%v/%v pid %v epoch %v next %v: %v", w["topic"], w["partition"], w["pid"], w["epoch"], w["next_seq"], ring))
		}
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	kfakes := read()
	if err := os.Remove(filepath.Join(dir, "clean")); err != nil {
		t.Fatal(err)
	}
	c.start() // as after a crash
	if ours := read(); ours != kfakes || ours == "" {
		t.Fatalf("rebuilt:\n%s\nkfake's:\n%s", ours, kfakes)
	}
}

// A compaction that the crash cut short is undone, one that had ended is kept.
func TestCompactionCutShort(t *testing.T) {
	ctx := within(t, 60*time.Second)
	dir := t.TempDir()
	c := startChild(t, dir)
	topic(t, ctx, c.addr, "t", 1, map[string]string{"cleanup.policy": "compact"})
	cl := client(t, c.addr)
	produce(t, ctx, cl, "t", 0, "a=1", "b=1")
	produce(t, ctx, cl, "t", 0, "a=2")
	c.kill()
	part, backup := filepath.Join(dir, "partitions", "t-0"), filepath.Join(dir, "compacting")
	save := func() {
		t.Helper()
		if err := os.MkdirAll(backup, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(filepath.Join(backup, "t-0"), os.DirFS(part)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(backup, "ready"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	save()
	if err := os.RemoveAll(part); err != nil { // in the middle of it
		t.Fatal(err)
	}
	c.start()
	want(t, "undone", committed(t, ctx, c.addr, "t", 0), "a=1", "b=1", "a=2")
	c.kill()
	save()
	c.start() // at its end, with the backup still there
	produce(t, ctx, client(t, c.addr), "t", 0, "a=3")
	want(t, "kept", committed(t, ctx, c.addr, "t", 0), "a=1", "b=1", "a=2", "a=3")
	if _, err := os.Stat(backup); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the backup stays: %v", err)
	}
}

// What the broker acknowledged is there after any number of kills at any moment, once and in order; what was aborted or
// open is never seen; offsets stand; readers see all later commits.
func TestKills(t *testing.T) {
	kills := 3
	if os.Getenv("FRESHET_PROOF") != "" {
		kills = 20
	}
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("FRESHET_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("%d kills, FRESHET_SEED=%d", kills, seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	ctx := within(t, time.Duration(kills)*10*time.Second+60*time.Second)
	dir := t.TempDir()
	t.Setenv("FRESHET_TEST_SEGMENT", "65536")
	c := startChild(t, dir)
	topic(t, ctx, c.addr, "plain", 1, nil)
	topic(t, ctx, c.addr, "t", 2, nil)
	topic(t, ctx, c.addr, "keys", 1, map[string]string{"cleanup.policy": "compact"})

	w := &workers{t: t, ctx: ctx, addr: c.addr, stop: make(chan struct{}), last: make(map[string]string)}
	for i := range 2 {
		w.Go(func() { w.plain(i) })
	}
	for i := range 3 {
		w.Go(func() { w.transactions(i) })
	}
	w.Go(w.offsets)
	w.Go(w.keys)
	done := 0
	for range kills {
		time.Sleep(time.Duration(rng.IntN(900)+50) * time.Millisecond) // the moment is what is random here
		c.kill()
		c.start()
		done += c.aborted + c.committed
		w.check(c.addr)
	}
	close(w.stop)
	w.Wait()
	w.check(c.addr)
	c.kill()
	c.start()
	w.check(c.addr)
	t.Logf("%d plain records, %d transactions committed, %d aborted, %d in doubt, %d ended by starts; %d commits of offsets; %d keys written",
		len(w.acked), len(w.committed), len(w.aborted), len(w.doubt), done, w.at, w.wrote)
	if len(w.acked) == 0 || len(w.committed) == 0 || len(w.aborted) == 0 || w.at == 0 || w.wrote == 0 {
		t.Fatal("nothing was tried")
	}
}

// workers use the broker while it is killed, and remember what it promised.
type workers struct {
	sync.WaitGroup
	t    *testing.T
	ctx  context.Context
	addr string
	stop chan struct{}

	mu        sync.Mutex
	acked     []string            // plain records, of each producer in order
	committed map[string]struct{} // transactions acknowledged as committed
	aborted   map[string]struct{}
	doubt     map[string]struct{} // the outcome is not known
	at        int64               // the group's last acknowledged offset
	tried     int64               // and the one that was tried after it
	last      map[string]string   // of each key, the last acknowledged value
	wrote     int
}

func (w *workers) stopped() bool {
	select {
	case <-w.stop:
		return true
	default:
		return false
	}
}

func (w *workers) client(opts ...kgo.Opt) *kgo.Client {
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(w.addr), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.DisableClientMetrics(),
		kgo.RetryBackoffFn(func(int) time.Duration { return 10 * time.Millisecond }), kgo.ProducerLinger(time.Millisecond), kgo.MetadataMinAge(20 * time.Millisecond),
	}, opts...)...)
	if err != nil {
		panic(err)
	}
	return cl
}

// plain produces numbered records, a few at a time. The idempotent producer goes on over the kills.
func (w *workers) plain(worker int) {
	cl := w.client()
	defer cl.Close()
	for n := 0; !w.stopped(); n++ {
		var recs []*kgo.Record
		for i := range 5 {
			recs = append(recs, &kgo.Record{Topic: "plain", Value: fmt.Appendf(nil, "%d:%d:%d", worker, n, i)})
		}
		for _, r := range cl.ProduceSync(w.ctx, recs...) {
			if r.Err == nil {
				w.mu.Lock()
				w.acked = append(w.acked, string(r.Record.Value))
				w.mu.Unlock()
			}
		}
	}
}

// transactions writes both partitions in each transaction, ends most by a commit, and starts anew after every error.
func (w *workers) transactions(worker int) {
	id := fmt.Sprintf("tx-%d", worker)
	note := func(set *map[string]struct{}, name string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if *set == nil {
			*set = make(map[string]struct{})
		}
		(*set)[name] = struct{}{}
	}
	for n := 0; !w.stopped(); {
		cl := w.client(kgo.TransactionalID(id), kgo.TransactionTimeout(10*time.Second))
		for ok := true; ok && !w.stopped(); n++ {
			name := fmt.Sprintf("%s/%d", id, n)
			if cl.BeginTransaction() != nil {
				break
			}
			for i := range 6 {
				rec := &kgo.Record{Topic: "t", Partition: int32(i % 2), Value: fmt.Appendf(nil, "%s:%d", name, i)}
				ctx, cancel := context.WithTimeout(w.ctx, 5*time.Second)
				ok = cl.ProduceSync(ctx, rec).FirstErr() == nil && ok
				cancel()
			}
			ctx, cancel := context.WithTimeout(w.ctx, 5*time.Second)
			switch {
			case !ok:
				note(&w.aborted, name) // it was never asked to commit
				cl.AbortBufferedRecords(ctx)
				cl.EndTransaction(ctx, kgo.TryAbort)
			case n%4 == 3:
				note(&w.aborted, name)
				ok = cl.EndTransaction(ctx, kgo.TryAbort) == nil
			default:
				if err := cl.EndTransaction(ctx, kgo.TryCommit); err == nil {
					note(&w.committed, name)
				} else {
					note(&w.doubt, name)
					ok = false
				}
			}
			cancel()
		}
		cl.Close()
	}
}

// offsets commits growing offsets for a group.
func (w *workers) offsets() {
	cl := w.client()
	defer cl.Close()
	adm := kadm.NewClient(cl)
	for n := int64(1); !w.stopped(); n++ {
		w.mu.Lock()
		w.tried = n
		w.mu.Unlock()
		ctx, cancel := context.WithTimeout(w.ctx, 5*time.Second)
		if adm.CommitAllOffsets(ctx, "g", kadm.Offsets{"plain": {0: {Topic: "plain", At: n, LeaderEpoch: -1}}}) == nil {
			w.mu.Lock()
			w.at = n
			w.mu.Unlock()
		}
		cancel()
	}
}

// keys writes a compacted topic.
func (w *workers) keys() {
	cl := w.client()
	defer cl.Close()
	pad := strings.Repeat("x", 2000)
	for n := 0; !w.stopped(); n++ {
		key, value := fmt.Sprintf("k%d", n%10), fmt.Sprintf("%d %s", n, pad)
		if cl.ProduceSync(w.ctx, &kgo.Record{Topic: "keys", Key: []byte(key), Value: []byte(value)}).FirstErr() == nil {
			w.mu.Lock()
			w.last[key] = value
			w.wrote++
			w.mu.Unlock()
		}
	}
}

// check compares what is read with what was promised before the reading began.
func (w *workers) check(addr string) {
	t, ctx := w.t, w.ctx
	t.Helper()
	w.mu.Lock()
	acked := slices.Clone(w.acked)
	at := w.at
	sure := maps.Clone(w.committed)
	doubt := maps.Clone(w.doubt)
	last := maps.Clone(w.last)
	w.mu.Unlock()

	seen := make(map[string]int)
	order := make(map[string]int) // of each producer, the place of its last record
	for _, v := range committed(t, ctx, addr, "plain", 0) {
		seen[v]++
		var worker, n, i int
		fmt.Sscanf(v, "%d:%d:%d", &worker, &n, &i)
		who := fmt.Sprint(worker)
		if place := n*5 + i + 1; seen[v] == 1 && place <= order[who] {
			t.Fatalf("plain: %s comes after a later record of its producer", v)
		} else if seen[v] == 1 {
			order[who] = place
		}
	}
	for _, v := range acked {
		if seen[v] != 1 {
			t.Fatalf("plain: %s was acknowledged and is there %d times", v, seen[v])
		}
	}

	whole := make(map[string]int)
	for p := range int32(2) {
		for _, v := range committed(t, ctx, addr, "t", p) {
			name, _, _ := strings.Cut(v, ":")
			whole[name]++
		}
	}
	for name := range sure {
		if whole[name] != 6 {
			t.Fatalf("transaction %s was committed and %d of its 6 records are seen", name, whole[name])
		}
	}
	values := committed(t, ctx, addr, "keys", 0)
	held, err := kadm.NewClient(client(t, addr)).FetchOffsets(ctx, "g")
	if err != nil {
		t.Fatal(err)
	}

	w.mu.Lock()
	defer w.mu.Unlock()
	for name, n := range whole {
		if _, bad := w.aborted[name]; bad {
			t.Fatalf("transaction %s was aborted or open and %d of its records are seen", name, n)
		}
		if _, unsure := doubt[name]; unsure && n != 6 {
			t.Fatalf("transaction %s is seen half: %d of 6 records", name, n)
		}
	}
	if o, _ := held.Lookup("plain", 0); o.At < at || o.At > w.tried {
		t.Fatalf("the group is at %d; %d was acknowledged, %d tried", o.At, at, w.tried)
	}
	newest := make(map[string]int)
	for _, v := range values {
		var n int
		fmt.Sscanf(v, "%d", &n)
		key := fmt.Sprintf("k%d", n%10)
		newest[key] = max(newest[key], n)
	}
	for key, v := range last {
		var n int
		fmt.Sscanf(v, "%d", &n)
		if newest[key] < n {
			t.Fatalf("keys: %s is at %d, %d was acknowledged", key, newest[key], n)
		}
	}
}
