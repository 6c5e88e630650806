package embedded

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"freshet/backend/kafka/internal/wire"
	"freshet/backend/wholefile"
)

// syncEvery is the longest that something written waits for stable storage while the broker is at work.
const syncEvery = 100 * time.Millisecond

// syncer is the group commit: it puts on stable storage what was written since the last time, at once when somebody
// waits for it.
type syncer struct {
	b *Broker

	mu       sync.Mutex
	dirty    map[part]struct{}
	dir      bool // names in the data folder
	logs     bool // groups.log, pids.log
	started  uint64
	finished uint64
	waiting  int
	ended    time.Time
	change   chan struct{} // closed when finished grows or the broker fails
	kick     chan struct{} // capacity 1

	bases map[part]int64 // first offset of the newest segment synced; of the rounds, which do not overlap
}

func newSyncer(b *Broker) *syncer {
	return &syncer{b: b, dirty: make(map[part]struct{}), change: make(chan struct{}), kick: make(chan struct{}, 1), bases: make(map[part]int64)}
}

// mark notes what a request wrote.
func (s *syncer) mark(w *pending) {
	s.mu.Lock()
	for _, p := range w.parts {
		s.dirty[p] = struct{}{}
	}
	switch w.key {
	case wire.OffsetCommit, wire.OffsetDelete, wire.InitProducerID, wire.EndTxn:
		s.logs = true
	case wire.CreateTopics, wire.DeleteTopics, wire.CreatePartitions:
		s.dir = true
	}
	s.mu.Unlock()
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

func (s *syncer) busy() bool { return len(s.dirty) > 0 || s.logs || s.dir }

// wait returns when a round that began now, or later, has ended well.
func (s *syncer) wait(ctx context.Context) error {
	s.mu.Lock()
	target := s.started // what runs now, or ended last, has everything
	if s.busy() {
		target++
	}
	s.waiting++
	defer func() {
		s.mu.Lock()
		s.waiting--
		s.mu.Unlock()
	}()
	for {
		done, change := s.finished >= target, s.change
		s.mu.Unlock()
		if err := s.b.failed(); err != nil {
			return err
		}
		if done {
			return nil
		}
		select {
		case s.kick <- struct{}{}:
		default:
		}
		select {
		case <-change:
		case <-ctx.Done():
			return ctx.Err()
		}
		s.mu.Lock()
	}
}

func (s *syncer) wakeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.change)
	s.change = make(chan struct{})
}

func (s *syncer) last() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

func (s *syncer) run(ctx context.Context) {
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.kick:
		}
		for {
			s.mu.Lock()
			busy, waited := s.busy(), s.waiting > 0
			s.mu.Unlock()
			if !busy {
				break
			}
			if rest := syncEvery - time.Since(last); rest > 0 && !waited {
				t := time.NewTimer(rest)
				select {
				case <-ctx.Done():
					t.Stop()
					return
				case <-t.C:
				case <-s.kick: // perhaps by one who waits
					t.Stop()
					continue
				}
			}
			last = time.Now()
			if err := s.round(); err != nil {
				s.b.fail(err)
				return
			}
		}
	}
}

// round syncs what is dirty. The journal goes first: what it announces must not be without it.
func (s *syncer) round() error {
	s.mu.Lock()
	dirty, logs, dir := s.dirty, s.logs, s.dir
	s.dirty, s.logs, s.dir = make(map[part]struct{}), false, false
	s.started++
	s.mu.Unlock()

	err := s.b.txns.sync()
	if err == nil {
		err = s.partitions(slices.Collect(maps.Keys(dirty)))
	}
	if err == nil && logs {
		for _, name := range []string{"groups.log", "pids.log"} {
			if err = s.b.o.syncFile(filepath.Join(s.b.o.Dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				break
			}
			err = nil
		}
	}
	if err == nil && (dir || logs) { // the logs are replaced when they have grown
		err = wholefile.SyncDir(s.b.o.Dir)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.finished = s.started
	s.ended = time.Now()
	s.mu.Unlock()
	s.wakeAll()
	return nil
}

func (s *syncer) partitions(parts []part) error {
	var g errgroup.Group
	g.SetLimit(8)
	newest := make([]int64, len(parts))
	for i, p := range parts {
		from, known := s.bases[p]
		if !known {
			from = -1
		}
		g.Go(func() (err error) {
			newest[i], err = s.partition(p, from)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, p := range parts {
		if newest[i] < 0 {
			delete(s.bases, p)
		} else {
			s.bases[p] = newest[i]
		}
	}
	return nil
}

// partition syncs the segments from a first offset on, and the folder where there are new ones. It returns the newest
// segment's first offset, -1 for none.
func (s *syncer) partition(p part, from int64) (int64, error) {
	dir := partitionDir(s.b.o.Dir, p)
	bases, err := segments(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return -1, nil // deleted, or never written
	}
	if err != nil {
		return -1, err
	}
	newest := int64(-1)
	for _, base := range bases {
		newest = base
		if base < from {
			continue
		}
		for _, ext := range []string{".dat", ".idx"} {
			err := s.b.o.syncFile(filepath.Join(dir, strconv.FormatInt(base, 10)+ext))
			if err != nil && !errors.Is(err, fs.ErrNotExist) { // retention may have taken it
				return -1, err
			}
		}
	}
	if newest != from {
		if err := wholefile.SyncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return -1, err
		}
		if err := wholefile.SyncDir(filepath.Dir(dir)); err != nil {
			return -1, err
		}
	}
	return newest, nil
}

// everythingOf syncs partitions whole.
func (s *syncer) everythingOf(parts []part) error {
	for _, p := range parts {
		if _, err := s.partition(p, -1); err != nil {
			return err
		}
	}
	return nil
}

// everything syncs the whole folder. No round may run.
func (s *syncer) everything() error {
	var dirs []string
	var g errgroup.Group
	g.SetLimit(8)
	err := filepath.WalkDir(s.b.o.Dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if d.IsDir() {
			dirs = append(dirs, path)
			return nil
		}
		g.Go(func() error {
			if err := s.b.o.syncFile(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		})
		return nil
	})
	if err := errors.Join(err, g.Wait()); err != nil {
		return err
	}
	for _, dir := range slices.Backward(dirs) {
		if err := wholefile.SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// partitionDir is where kfake keeps a partition.
func partitionDir(dir string, p part) string {
	return filepath.Join(dir, partitions, url.PathEscape(p.topic)+"-"+strconv.FormatInt(int64(p.partition), 10))
}

// segments are the first offsets of a partition's segments, in order.
func segments(dir string) ([]int64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var bases []int64
	for _, e := range entries {
		if digits, ok := strings.CutSuffix(e.Name(), ".dat"); ok {
			if base, err := strconv.ParseInt(digits, 10, 64); err == nil {
				bases = append(bases, base)
			}
		}
	}
	slices.Sort(bases)
	return bases, nil
}
