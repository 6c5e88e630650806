package embedded

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"freshet/backend/fault"
)

// syncer is the group commit: rounds of fsync over what changed, at most one each syncEvery while somebody waits, and one
// a second otherwise. kfake's own option to sync every batch makes small batches crawl and drops the error of an fsync.
type syncer struct {
	dir string

	mu      sync.Mutex
	waiting []chan error
	wake    chan struct{}
	err     error // of the first failed round; final, since what the kernel dropped after a failed fsync it will not write

	synced map[string]stamp // of the round's goroutine alone
}

// stamp tells whether a file changed since it was last synced.
type stamp struct {
	size int64
	mod  time.Time
}

func (s *syncer) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *syncer) wait(ctx context.Context) error {
	done := make(chan error, 1)
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return s.err
	}
	s.waiting = append(s.waiting, done)
	if s.wake != nil {
		close(s.wake)
		s.wake = nil
	}
	s.mu.Unlock()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fault.Wrap(fault.Timeout, "write the local broker's log to the disk", ctx.Err(), "see whether the disk answers")
	}
}

// run makes rounds until ctx ends, and answers those who still wait.
func (s *syncer) run(ctx context.Context) {
	for ctx.Err() == nil {
		s.mu.Lock()
		wake := make(chan struct{})
		if len(s.waiting) > 0 {
			close(wake)
		} else {
			s.wake = wake
		}
		s.mu.Unlock()
		idle := time.NewTimer(time.Second)
		select {
		case <-wake:
		case <-idle.C:
		case <-ctx.Done():
		}
		idle.Stop()
		begun := time.Now()
		s.answer()
		pause := time.NewTimer(syncEvery - time.Since(begun))
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
		pause.Stop()
	}
	s.answer()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = fault.New(fault.Interrupted, "write the local broker's log to the disk", "", "the broker has stopped")
	}
}

// answer makes a round for those who wait now.
func (s *syncer) answer() {
	s.mu.Lock()
	waiting := s.waiting
	s.waiting = nil
	err := s.err
	s.mu.Unlock()
	if err == nil {
		err = s.round()
	}
	for _, w := range waiting {
		w <- err
	}
}

// round syncs every file that changed since the last one, and the folders that hold new ones.
func (s *syncer) round() error {
	if s.synced == nil {
		s.synced = map[string]stamp{}
	}
	folders := map[string]bool{}
	seen := map[string]bool{}
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a segment that retention removed meanwhile
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		seen[path] = true
		now := stamp{info.Size(), info.ModTime()}
		last, known := s.synced[path]
		if known && last == now {
			return nil
		}
		if !known {
			folders[filepath.Dir(path)] = true
			folders[filepath.Dir(filepath.Dir(path))] = true
		}
		if err := syncPath(path); err != nil {
			return err
		}
		s.synced[path] = now
		return nil
	})
	for path := range s.synced {
		if !seen[path] {
			delete(s.synced, path)
		}
	}
	for folder := range folders {
		if err == nil {
			err = syncPath(folder)
		}
	}
	if err == nil {
		return nil
	}
	err = fault.Wrap(fault.Blocked, "write the local broker's log to the disk", err, "see to the disk, then start Freshet again: what was not written is captured again")
	s.mu.Lock()
	s.err = err
	s.mu.Unlock()
	return err
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
