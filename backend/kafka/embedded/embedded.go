// Package embedded is the local broker: one node, on loopback, that speaks Kafka's protocol and keeps its log on disk. It
// is franz-go's kfake with what a broker needs beside it: a group commit, a clean-up after a crash, retention on every
// topic, a bound on the disk. DESIGN.md says what it promises. It is for one machine, never a Kafka to run production on.
package embedded

import (
	"context"
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
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"freshet/backend/fault"
)

// Options say where a broker keeps its log and how much of it.
type Options struct {
	Dir       string        // made where it is missing
	Quota     int64         // bytes on disk above which nothing more is taken; 0 is DefaultQuota
	Retention time.Duration // of topics that set none; 0 is DefaultRetention
	Log       *slog.Logger  // nil discards
}

const (
	DefaultQuota     = 20 << 30
	DefaultRetention = 7 * 24 * time.Hour
)

const (
	syncEvery  = 100 * time.Millisecond // between group commits under load
	houseEvery = 5 * time.Second        // between looks at the disk and at new topics
	portFile   = "port"
	cleanFile  = "clean" // there after an orderly stop only
	logDir     = "log"
)

// Broker is a running local broker. Its methods may be called from any goroutine.
type Broker struct {
	o       Options
	log     *slog.Logger
	cluster *kfake.Cluster
	door    *door
	stop    context.CancelFunc
	done    sync.WaitGroup

	sync syncer

	mu      sync.Mutex
	bytes   int64
	full    *kfake.FaultHandle // refuses produce requests while the quota is exceeded
	trouble error              // of the last look after the house
}

// Start opens the broker's log and begins to serve. The address stays the same over restarts, unless somebody else has
// taken the port meanwhile.
func Start(ctx context.Context, o Options) (*Broker, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Quota == 0 {
		o.Quota = DefaultQuota
	}
	if o.Retention == 0 {
		o.Retention = DefaultRetention
	}
	op := "start the local broker in " + o.Dir
	if err := os.MkdirAll(filepath.Join(o.Dir, logDir), 0o700); err != nil {
		return nil, fault.Wrap(fault.Unavailable, op, err, "see to the data directory")
	}
	clean := filepath.Join(o.Dir, cleanFile)
	_, err := os.Stat(clean)
	unclean := errors.Is(err, fs.ErrNotExist)
	var open []openTxn
	if unclean {
		if open, err = openTransactions(filepath.Join(o.Dir, logDir)); err != nil {
			return nil, fault.Wrap(fault.Unavailable, op, err, "see to the files; a copy of the folder keeps what is there")
		}
	}
	if err := os.Remove(clean); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Wrap(fault.Unavailable, op, err, "see to the data directory")
	}
	ln, err := listen(o.Dir)
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, op, err, "see what else listens on loopback")
	}
	b := &Broker{o: o, log: o.Log, door: newDoor(ln)}
	b.sync.dir = filepath.Join(o.Dir, logDir)
	b.cluster, err = kfake.NewCluster(
		kfake.NumBrokers(1), kfake.DataDir(b.sync.dir), kfake.MaxVersions(versions()), kfake.ClusterID("freshet-local"),
		kfake.Ports(ln.Addr().(*net.TCPAddr).Port), kfake.ListenFn(func(string, string) (net.Listener, error) { return b.door, nil }),
		kfake.BrokerConfigs(map[string]string{"log.cleaner.backoff.ms": "30000", "log.segment.bytes": strconv.Itoa(64 << 20)}),
		kfake.WithLogger(logger{o.Log}),
	)
	if err != nil {
		ln.Close()
		return nil, fault.Wrap(fault.Unavailable, op, err, "see to the files; a copy of the folder keeps what is there")
	}
	if err := b.abort(ctx, open); err != nil {
		b.cluster.Close()
		return nil, fault.Wrap(fault.Unavailable, op, err, "start it again")
	}
	run, stop := context.WithCancel(context.Background())
	b.stop = stop
	b.housekeep(run)
	b.done.Go(b.door.accept)
	b.done.Go(func() { b.sync.run(run) })
	b.done.Go(func() {
		t := time.NewTicker(houseEvery)
		defer t.Stop()
		for {
			select {
			case <-run.Done():
				return
			case <-t.C:
				b.housekeep(run)
			}
		}
	})
	if len(open) > 0 {
		o.Log.Info("closed transactions that a crash had left open", "transactions", len(open))
	}
	return b, nil
}

// versions are what kfake answers, less what it answers in a way that Kafka's own clients cannot read: descriptions of
// topics by page with null lists (75), and groups listed by type (16 from version 5 on).
func versions() *kversion.Versions {
	v := kversion.Stable()
	v.SetMaxKeyVersion(75, -1)
	v.SetMaxKeyVersion(16, 4)
	return v
}

// listen takes the port of the last time where it can.
func listen(dir string) (net.Listener, error) {
	file := filepath.Join(dir, portFile)
	if b, err := os.ReadFile(file); err == nil {
		if port, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
			if ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
				return ln, nil
			}
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
	if err := os.WriteFile(file, []byte(port+"\n"), 0o600); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}

// Addr is where the broker listens.
func (b *Broker) Addr() string { return b.door.Addr().String() }

// Sync returns when everything the broker acknowledged before is on stable storage. After an error nothing is promised
// any more until the broker is started anew.
func (b *Broker) Sync(ctx context.Context) error { return b.sync.wait(ctx) }

// Health is how the broker does.
type Health struct {
	Bytes, Quota int64
	Full         bool  // nothing is taken until space is free again
	Err          error // of a group commit or of looking after topics
}

// Health tells how the broker does.
func (b *Broker) Health() Health {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Health{Bytes: b.bytes, Quota: b.o.Quota, Full: b.full != nil, Err: errors.Join(b.sync.failed(), b.trouble)}
}

// Close ends the broker in an orderly way.
func (b *Broker) Close() error {
	b.stop()
	b.door.Close()
	b.done.Wait()
	b.cluster.Close()
	if err := b.sync.round(); err != nil {
		return fault.Wrap(fault.Unavailable, "stop the local broker", err, "the next start looks for what a crash would leave")
	}
	if err := os.WriteFile(filepath.Join(b.o.Dir, cleanFile), nil, 0o600); err != nil {
		return fault.Wrap(fault.Unavailable, "stop the local broker", err, "the next start looks for what a crash would leave")
	}
	return nil
}

// housekeep looks at the disk and gives retention to topics that set none.
func (b *Broker) housekeep(ctx context.Context) {
	size, err := dirSize(b.sync.dir)
	b.mu.Lock()
	b.bytes = size
	over := size > b.o.Quota
	if over && b.full == nil {
		b.full = b.cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.KafkaStorageError, Count: -1})
		b.log.Error("the local broker is full: nothing more is taken", "bytes", size, "quota", b.o.Quota)
	} else if !over && b.full != nil {
		b.full.Remove()
		b.full = nil
		b.log.Info("the local broker takes records again", "bytes", size, "quota", b.o.Quota)
	}
	b.mu.Unlock()
	if over {
		b.cluster.ApplyRetention()
	}
	if err == nil {
		err = b.retain(ctx)
	}
	b.mu.Lock()
	b.trouble = err
	b.mu.Unlock()
}

func dirSize(dir string) (int64, error) {
	var size int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err != nil || d.IsDir() {
			return err
		}
		if info, err := d.Info(); err == nil {
			size += info.Size()
		}
		return nil
	})
	return size, err
}

// retain gives every topic that names no retention of its own the broker's, since kfake removes nothing from others.
func (b *Broker) retain(ctx context.Context) error {
	c, err := b.door.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	meta := kmsg.NewPtrMetadataRequest()
	resp, err := ask(ctx, c, meta, 9)
	if err != nil {
		return err
	}
	alter := kmsg.NewPtrIncrementalAlterConfigsRequest()
	for _, t := range resp.(*kmsg.MetadataResponse).Topics {
		if t.Topic == nil {
			continue
		}
		info := b.cluster.TopicInfo(*t.Topic)
		if info == nil || info.Configs["retention.ms"] != nil || info.Configs["retention.bytes"] != nil {
			continue
		}
		if policy := info.Configs["cleanup.policy"]; policy != nil && *policy == "compact" {
			continue
		}
		r := kmsg.NewIncrementalAlterConfigsRequestResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, *t.Topic
		cfg := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		cfg.Name, cfg.Value = "retention.ms", kmsg.StringPtr(strconv.FormatInt(b.o.Retention.Milliseconds(), 10))
		r.Configs = append(r.Configs, cfg)
		alter.Resources = append(alter.Resources, r)
	}
	if len(alter.Resources) == 0 {
		return nil
	}
	_, err = ask(ctx, c, alter, 1)
	return err
}

// logger passes kfake's words on.
type logger struct{ log *slog.Logger }

func (l logger) Logf(level kfake.LogLevel, format string, args ...any) {
	to := slog.LevelDebug
	if level <= kfake.LogLevelWarn {
		to = slog.LevelWarn
	}
	if l.log.Enabled(context.Background(), to) {
		l.log.Log(context.Background(), to, fmt.Sprintf(format, args...))
	}
}
