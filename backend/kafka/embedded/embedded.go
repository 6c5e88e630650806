// Package embedded is the local broker: kfake, which speaks Kafka's protocol and keeps its log on disk, made to last.
//
// What kfake lacks for that is added around it, without touching its code. Every connection passes a wrapper that sees
// each request before the broker does and each answer before the client does. From there transactions are journalled, so
// that a crash ends each of them whole: aborted, or committed where its commit had begun. Before the broker reads a log
// that was not closed, the log is repaired: torn ends are cut, transactions closed by markers, producers' sequences
// rebuilt. What clients were acknowledged is put on stable storage in groups (Sync). Retention, compaction and a disk
// quota run on a clock.
//
// One node, for one machine: nothing is replicated. Start with Open. It is an adapter; all methods may be used by several
// goroutines at once.
package embedded

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"freshet/backend/fault"
	"freshet/backend/wholefile"
)

// Options say where the broker keeps its log and how much of it.
type Options struct {
	Dir string
	// Listen is the address clients connect to, on loopback. Empty takes the one of before, at first a free port.
	Listen string
	Log    *slog.Logger // nil discards

	Quota   int64 // bytes of Dir above which producing is refused; 8 GiB unless told
	Reserve int64 // bytes of the disk that stay free; 256 MiB unless told

	// What topics get that are made without saying otherwise.
	Retention      time.Duration // 7 days unless told
	RetentionBytes int64         // of one partition; 512 MiB unless told
	SegmentBytes   int64         // 32 MiB unless told
	CleanEvery     time.Duration // retention and compaction run; 30 s unless told

	syncFile func(path string) error // of tests
}

const maxMessage = 8 << 20 // bytes of one batch

func (o *Options) defaults() {
	o.Quota = cmp.Or(o.Quota, 8<<30)
	o.Reserve = cmp.Or(o.Reserve, 256<<20)
	o.Retention = cmp.Or(o.Retention, 7*24*time.Hour)
	o.RetentionBytes = cmp.Or(o.RetentionBytes, 512<<20)
	o.SegmentBytes = cmp.Or(o.SegmentBytes, 32<<20)
	o.CleanEvery = cmp.Or(o.CleanEvery, 30*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.syncFile == nil {
		o.syncFile = syncFile
	}
}

// State is how the broker is.
type State string

const (
	OK     State = "ok"
	Full   State = "full"   // over its quota: producing is refused until there is room, consuming goes on
	Failed State = "failed" // the disk failed: nothing more is confirmed before the broker is opened anew
)

// Health is how the broker is, and why.
type Health struct {
	State     State
	Detail    string // of a State that is not OK
	Used      int64  // bytes of the data folder, when last measured
	Quota     int64
	Free      int64     // bytes of the disk, -1 unknown
	Synced    time.Time // when the last group commit ended, zero where none was needed yet
	Recovered Recovery
}

// Recovery is what the start found and mended.
type Recovery struct {
	Unclean   bool  // the broker had not been closed
	Committed int   // transactions whose commit had begun, completed
	Aborted   int   // transactions that were open, aborted
	Cut       int64 // bytes of torn batches at the ends of logs, never acknowledged as stable
	Took      time.Duration
}

// Broker is a running local broker.
type Broker struct {
	o       Options
	log     *slog.Logger
	lock    *os.File
	addr    string
	tcp     net.Listener
	inner   *innerListener
	cluster *kfake.Cluster
	up      upness
	names   *topicNames
	txns    *tracker
	sync    *syncer
	quota   *quota
	cleaner *cleaner

	cancel context.CancelFunc
	wg     sync.WaitGroup
	conns  connSet
	once   sync.Once
	err    error // of Close

	recovered Recovery
	failure   atomic.Pointer[error]
	ready     atomic.Bool // every part is there
}

// Files of the data folder that are not kfake's.
const (
	lockFile    = "lock"
	listenFile  = "listen"       // the address
	cleanFile   = "clean"        // there while the broker is closed in order
	journalFile = "txn.journal"  // open transactions
	startsFile  = "offsets.json" // where trimmed partitions begin and end
	backupDir   = "compacting"   // segments as they were before the compaction under way
	partitions  = "partitions"   // kfake's
	metaFile    = "meta.json"    // kfake's
	topicsFile  = "topics.json"  // kfake's
)

// Open starts the broker on its folder, mending first what a crash left. It accepts connections when it returns.
func Open(ctx context.Context, o Options) (_ *Broker, err error) {
	o.defaults()
	op := "open the local broker in " + o.Dir
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fault.Wrap(fault.Invalid, op, err, "give it a folder that can be written")
	}
	b := &Broker{o: o, log: o.Log}
	b.names = newTopicNames(&b.up)
	if b.lock, err = lockDir(filepath.Join(o.Dir, lockFile)); err != nil {
		if errors.Is(err, errLocked) {
			return nil, fault.New(fault.Conflict, op, "use the instance that runs, or end it", "another process has the folder open")
		}
		return nil, fault.Wrap(fault.Invalid, op, err, "give it a folder that can be written")
	}
	defer func() {
		if err != nil {
			b.lock.Close()
		}
	}()
	if b.tcp, err = listen(o, op); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			b.tcp.Close()
		}
	}()
	b.addr = b.tcp.Addr().String()

	started := time.Now()
	rec, err := b.mend(ctx)
	if err != nil {
		return nil, corrupt(op, err)
	}
	if err := os.Remove(filepath.Join(o.Dir, cleanFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Wrap(fault.Invalid, op, err, "give it a folder that can be written")
	}
	if err := wholefile.SyncDir(o.Dir); err != nil {
		return nil, fault.Wrap(fault.Unavailable, op, err, "see to the disk")
	}

	versions := kversion.Stable()
	versions.SetMaxKeyVersion(int16(kmsg.DescribeTopicPartitions), -1) // kfake's answer breaks Java clients
	versions.SetMaxKeyVersion(int16(kmsg.ListGroups), 4)               // kfake's filter by type finds nothing
	versions.SetMaxKeyVersion(int16(kmsg.CreateTopics), 4)             // later answers tell of configurations with no source
	b.inner = newInnerListener(b.tcp.Addr())
	b.cluster, err = kfake.NewCluster(
		kfake.NumBrokers(1),
		kfake.ClusterID(newClusterID()),
		kfake.DataDir(o.Dir),
		kfake.MaxVersions(versions),
		kfake.DefaultNumPartitions(1),
		kfake.WithLogger(&kfakeLogger{b}),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return b.inner, nil }),
		kfake.BrokerConfigs(map[string]string{
			"log.segment.bytes": strconv.FormatInt(o.SegmentBytes, 10),
			"message.max.bytes": strconv.Itoa(maxMessage),
			// Freshet's clock runs retention and compaction, with what they need around them; kfake's stands still.
			"log.cleaner.backoff.ms": strconv.FormatInt((100 * 365 * 24 * time.Hour).Milliseconds(), 10),
			// A topic has its retention in its own configuration: see rewriteCreate.
			"log.retention.ms":    "-1",
			"log.retention.bytes": "-1",
		}),
	)
	if err != nil {
		return nil, corrupt(op, err)
	}
	b.names.cluster = b.cluster
	b.sync = newSyncer(b)
	if err := b.finish(rec); err != nil {
		b.cluster.Close()
		return nil, fault.Wrap(fault.Internal, op, err, "")
	}
	b.recovered = rec.Recovery
	b.recovered.Took = time.Since(started)
	if rec.Unclean {
		b.log.Warn("the local broker had not been closed; its log was mended", "committed", rec.Committed, "aborted", rec.Aborted,
			"cut_bytes", rec.Cut, "took", b.recovered.Took)
	}
	b.quota = newQuota(b)
	b.cleaner = newCleaner(b)
	if topics, err := b.cleaner.topics(); err == nil {
		b.cleaner.compactedTopics(topics)
	}
	b.ready.Store(true)
	if err := b.failed(); err != nil {
		b.cluster.Close()
		return nil, err
	}

	var running context.Context
	running, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	b.wg.Go(func() { b.sync.run(running) })
	b.wg.Go(func() { b.quota.run(running) })
	b.wg.Go(func() { b.cleaner.run(running) })
	b.wg.Go(b.accept)
	return b, nil
}

// corrupt says what to do about a folder that cannot be opened.
func corrupt(op string, err error) error {
	return fault.Wrap(fault.Blocked, op, err, "restore the folder from a copy, or move it away to begin an empty log")
}

func newClusterID() string {
	var id [16]byte
	rand.Read(id[:])
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// listen binds the address that was asked for, or the one of before, and keeps it.
func listen(o Options, op string) (net.Listener, error) {
	file := filepath.Join(o.Dir, listenFile)
	address := o.Listen
	stored, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Wrap(fault.Invalid, op, err, "give it a folder that can be read")
	}
	if address == "" {
		address = cmp.Or(strings.TrimSpace(string(stored)), "127.0.0.1:0")
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, op, err, "write the address as 127.0.0.1:PORT")
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fault.New(fault.Invalid, op, "listen on 127.0.0.1; for other machines add a cluster of your own",
			"the local broker knows no users, so it serves this machine only, not %s", host)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fault.Wrap(fault.Conflict, op, err, "end what listens there, or give the local broker another address")
	}
	if bound := l.Addr().String(); bound != strings.TrimSpace(string(stored)) {
		if err := wholefile.Write(file, []byte(bound+"\n"), 0o600); err != nil {
			l.Close()
			return nil, fault.Wrap(fault.Invalid, op, err, "give it a folder that can be written")
		}
	}
	return l, nil
}

// Addr is where clients connect, host:port. It stays the same over restarts.
func (b *Broker) Addr() string { return b.addr }

// Sync returns when everything acknowledged before is on stable storage. After it has failed once it fails for ever.
func (b *Broker) Sync(ctx context.Context) error { return b.sync.wait(ctx) }

// Health tells how the broker is.
func (b *Broker) Health() Health {
	h := Health{State: OK, Recovered: b.recovered}
	h.Used, h.Quota, h.Free, h.Detail = b.quota.figures()
	if h.Detail != "" {
		h.State = Full
	}
	h.Synced = b.sync.last()
	if err := b.failed(); err != nil {
		h.State, h.Detail = Failed, err.Error()
	}
	return h
}

// Close ends the broker in order: connections, then everything on stable storage, then the mark that says so.
func (b *Broker) Close() error {
	b.once.Do(func() { b.err = b.close() })
	return b.err
}

func (b *Broker) close() error {
	b.tcp.Close()
	b.cancel()
	b.conns.closeAll()
	b.wg.Wait()
	b.cleaner.noteStarts()
	b.up.end()
	b.cluster.Close()
	b.inner.Close()
	err := b.failed()
	if err == nil {
		err = b.txns.close()
	}
	if err == nil {
		err = b.sync.everything()
	}
	if err == nil {
		err = wholefile.Write(filepath.Join(b.o.Dir, cleanFile), []byte("closed\n"), 0o600)
	}
	b.lock.Close()
	return fault.Wrap(fault.Unavailable, "close the local broker", err, "see to the disk; the next start mends the log")
}

// fail ends all confirming for good: what is on the disk is not what the broker believes.
func (b *Broker) fail(err error) {
	if err == nil || !b.failure.CompareAndSwap(nil, &err) {
		return
	}
	if !b.ready.Load() {
		return // Open tells of it
	}
	b.log.Error("the local broker's disk failed; nothing more is confirmed", "err", err)
	message := "Freshet's local broker stopped: its disk failed"
	b.cluster.Fault(
		kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: storageError(message), Count: -1},
		kfake.Fault{Keys: []kmsg.Key{kmsg.EndTxn, kmsg.InitProducerID}, Err: kerr.CoordinatorNotAvailable, Count: -1, TopLevel: true},
		kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit, kmsg.TxnOffsetCommit}, Err: kerr.CoordinatorNotAvailable, Count: -1},
	)
	b.sync.wakeAll()
	b.txns.cond.Broadcast()
}

func (b *Broker) failed() error {
	if err := b.failure.Load(); err != nil {
		return fault.Wrap(fault.Blocked, "write to the local broker", *err, "see to the disk, then restart Freshet: the log is mended at its start")
	}
	return nil
}

// storageError is one that clients retry.
func storageError(message string) *kerr.Error {
	return &kerr.Error{Message: message, Code: kerr.KafkaStorageError.Code, Retriable: true, Description: message}
}

// kfakeLogger passes on what kfake warns of, and knows which of its warnings mean that memory and disk differ.
type kfakeLogger struct{ b *Broker }

// fatal begin the warnings after which the disk lacks what the broker believes it has.
var fatal = []string{"endTx: failed", "rebuildSegments", "persist pid", "persist group", "persist topics", "persist broker", "persist acls",
	"compact pids", "compact groups", "persist to disk", "save session"}

func (l *kfakeLogger) Logf(level kfake.LogLevel, format string, args ...any) {
	if level != kfake.LogLevelError && level != kfake.LogLevelWarn {
		return
	}
	message := fmt.Sprintf(format, args...)
	for _, f := range fatal {
		if strings.HasPrefix(message, f) {
			l.b.fail(errors.New(message))
			return
		}
	}
	l.b.log.Warn("local broker", "detail", message)
}
