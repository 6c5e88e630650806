// Package feed holds what changed for whoever asks: the newest value of each topic, and the events of the last while. It
// is read by polls that are held until there is something, since some webviews buffer whole answers and have no other
// way to be told.
package feed

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// Hold is how long one poll is held at most.
	Hold = 20 * time.Second
	// MaxHeld is how many polls one session may have held; further ones are answered at once.
	MaxHeld = 2
	// maxItems and maxBytes bound what is kept for cursors that lag behind.
	maxItems = 4096
	maxBytes = 8 << 20
	// answerBytes bounds one answer; a single larger item still goes alone.
	answerBytes = 1 << 20
)

// Item is a topic's new value.
type Item struct {
	Topic string
	Data  json.RawMessage
}

// Answer is what one poll returns.
type Answer struct {
	Cursor   string
	Instance string
	Gap      bool  // the cursor was too old, or another instance's: Items are the newest value of each topic
	Dropped  int64 // items that were dropped before this poll could have them
	Items    []Item
}

// Feed keeps values and wakes polls. Order: items of all topics come in the order they were published. Drop: the oldest
// items go first, and a cursor that needed one of them is told of a gap and given the newest value of every topic.
type Feed struct {
	instance string

	mu     sync.Mutex
	seq    uint64 // of the newest item
	ring   []entry
	bytes  int
	latest map[string]entry
	held   map[string]int
	wake   chan struct{} // closed and replaced at every publication
}

type entry struct {
	seq uint64
	Item
}

// New makes an empty feed, an instance of its own: cursors of another are recognised.
func New() *Feed {
	var id [6]byte
	rand.Read(id[:])
	return &Feed{instance: hex.EncodeToString(id[:]), latest: map[string]entry{}, held: map[string]int{}, wake: make(chan struct{})}
}

// Publish makes v the topic's newest value. Within what is kept for polls, a value of the same topic that v replaces is
// kept as well: events are values too.
func (f *Feed) Publish(topic string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seq++
	e := entry{f.seq, Item{topic, data}}
	f.latest[topic] = e
	f.ring = append(f.ring, e)
	f.bytes += len(data)
	drop := 0
	for len(f.ring)-drop > maxItems || f.bytes > maxBytes && len(f.ring)-drop > 1 {
		f.bytes -= len(f.ring[drop].Data)
		drop++
	}
	f.ring = slices.Delete(f.ring, 0, drop)
	close(f.wake)
	f.wake = make(chan struct{})
	return nil
}

// Poll returns what was published after the cursor, waiting for it until ctx ends or Hold is over; then Items is empty
// and the cursor goes on. An empty cursor asks for the newest value of every topic, and is answered at once.
func (f *Feed) Poll(ctx context.Context, session, after string) Answer {
	f.mu.Lock()
	defer f.mu.Unlock()
	from, known := f.parse(after)
	if !known {
		return f.snapshot(after != "")
	}
	if from < f.seq || f.held[session] >= MaxHeld {
		return f.since(from)
	}
	f.held[session]++
	defer func() {
		if f.held[session]--; f.held[session] == 0 {
			delete(f.held, session)
		}
	}()
	timer := time.NewTimer(Hold)
	defer timer.Stop()
	wake := f.wake
	f.mu.Unlock()
	select {
	case <-wake:
	case <-timer.C:
	case <-ctx.Done():
	}
	f.mu.Lock()
	return f.since(from)
}

// parse reads a cursor; known is false for an empty one, one that is no cursor and one of another instance.
func (f *Feed) parse(cursor string) (seq uint64, known bool) {
	instance, rest, ok := strings.Cut(cursor, "-")
	if !ok || instance != f.instance {
		return 0, false
	}
	seq, err := strconv.ParseUint(rest, 10, 64)
	return seq, err == nil && seq <= f.seq
}

func (f *Feed) cursor(seq uint64) string { return f.instance + "-" + strconv.FormatUint(seq, 10) }

func (f *Feed) since(from uint64) Answer {
	if from == f.seq {
		return Answer{Cursor: f.cursor(f.seq), Instance: f.instance}
	}
	first := f.ring[0].seq
	if from+1 < first {
		a := f.snapshot(true)
		a.Dropped = int64(first - from - 1)
		return a
	}
	a := Answer{Instance: f.instance}
	size := 0
	last := from
	for _, e := range f.ring[from+1-first:] {
		if size += len(e.Data); size > answerBytes && len(a.Items) > 0 {
			break
		}
		a.Items = append(a.Items, e.Item)
		last = e.seq
	}
	a.Cursor = f.cursor(last)
	return a
}

// snapshot is the newest value of every topic, in the order they were published.
func (f *Feed) snapshot(gap bool) Answer {
	all := make([]entry, 0, len(f.latest))
	for _, e := range f.latest {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b entry) int { return int(int64(a.seq) - int64(b.seq)) })
	a := Answer{Cursor: f.cursor(f.seq), Instance: f.instance, Gap: gap}
	for _, e := range all {
		a.Items = append(a.Items, e.Item)
	}
	return a
}
