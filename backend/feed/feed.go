// Package feed tells whoever holds a poll what changed: the newest value of each topic, and events, of which every one
// counts. Start with New. Polls are held until there is something, since some webviews buffer whole answers and have no
// other way to be told.
//
// It is an engine. A Feed may be used from any goroutine and has none of its own. What it keeps is bounded: a value
// takes the place of the one before it, the oldest events are dropped, and who would have needed them is told.
package feed

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
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
	// maxEvents and maxEventBytes bound the events that are kept for polls that come late.
	maxEvents     = 4096
	maxEventBytes = 8 << 20
	// maxTopics bounds the values.
	maxTopics = 1024
	// answerBytes bounds one answer; a larger item goes alone.
	answerBytes = 1 << 20
)

// Item is a topic's newest value, or an event.
type Item struct {
	Topic string
	Data  json.RawMessage
}

// Answer is what one poll returns: what is newer than its cursor, in the order it was published.
type Answer struct {
	Cursor   string // for the next poll
	Instance string // of the feed: another one after a restart
	Gap      bool   // the cursor was another instance's, or Dropped is not 0
	Dropped  int64  // events after the cursor that are not kept any more
	Items    []Item
}

// Feed keeps what was published and wakes polls.
type Feed struct {
	instance string

	mu     sync.Mutex
	seq    uint64           // of the newest entry
	values map[string]entry // the newest of each topic
	events []entry          // oldest first
	gone   uint64           // events dropped before those
	bytes  int              // of events
	held   map[string]int   // polls by session
	wake   chan struct{}    // closed and replaced whenever something is published
}

type entry struct {
	seq   uint64
	event bool
	item  Item
}

// New makes an empty feed.
func New() *Feed {
	return &Feed{instance: strings.ToLower(rand.Text()[:12]), values: map[string]entry{}, held: map[string]int{}, wake: make(chan struct{})}
}

// Publish makes v the topic's value. A poll that has not seen the value before it never will.
func (f *Feed) Publish(topic string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("publish %s: %w", topic, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.values[topic]; !known && len(f.values) == maxTopics {
		return fmt.Errorf("publish %s: there are %d topics already", topic, maxTopics)
	}
	f.values[topic] = f.next(entry{item: Item{topic, data}})
	return nil
}

// Event publishes something that happened. Every poll sees it, while it is kept.
func (f *Feed) Event(topic string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("publish %s: %w", topic, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, f.next(entry{event: true, item: Item{topic, data}}))
	f.bytes += len(data)
	drop := 0
	for len(f.events)-drop > maxEvents || f.bytes > maxEventBytes && len(f.events)-drop > 1 {
		f.bytes -= len(f.events[drop].item.Data)
		drop++
	}
	f.events = slices.Delete(f.events, 0, drop)
	f.gone += uint64(drop)
	return nil
}

// next numbers an entry and wakes the polls, which see it once the lock is free.
func (f *Feed) next(e entry) entry {
	f.seq++
	e.seq = f.seq
	close(f.wake)
	f.wake = make(chan struct{})
	return e
}

// Poll returns what was published after the cursor, waiting for it until ctx ends or Hold is over; then Items is empty.
// An empty cursor asks for the newest value of every topic, without the events before, and is answered at once, as one
// of another instance is.
func (f *Feed) Poll(ctx context.Context, session, after string) Answer {
	f.mu.Lock()
	defer f.mu.Unlock()
	from, ok := f.parse(after)
	if !ok {
		a := f.since(cursor{events: f.gone + uint64(len(f.events)), skip: f.seq})
		a.Gap = after != ""
		return a
	}
	if from.seq < f.seq || f.held[session] >= MaxHeld {
		return f.since(from)
	}
	f.held[session]++
	defer func() {
		if f.held[session]--; f.held[session] == 0 {
			delete(f.held, session)
		}
	}()
	wake := f.wake
	f.mu.Unlock()
	timer := time.NewTimer(Hold)
	select {
	case <-wake:
	case <-timer.C:
	case <-ctx.Done():
	}
	timer.Stop()
	f.mu.Lock()
	return f.since(from)
}

// cursor is how far a poll has got.
type cursor struct {
	seq    uint64 // everything up to it was seen
	events uint64 // events up to there, dropped ones too: what is missing can be counted
	skip   uint64 // events up to here are not wanted
}

func (f *Feed) format(c cursor) string {
	return fmt.Sprintf("%s-%d-%d-%d", f.instance, c.seq, c.events, c.skip)
}

// parse reads a cursor of this instance.
func (f *Feed) parse(s string) (c cursor, ok bool) {
	parts := strings.Split(s, "-")
	if len(parts) != 4 || parts[0] != f.instance {
		return c, false
	}
	for i, into := range []*uint64{&c.seq, &c.events, &c.skip} {
		var err error
		if *into, err = strconv.ParseUint(parts[i+1], 10, 64); err != nil {
			return c, false
		}
	}
	return c, c.seq <= f.seq && c.events <= f.gone+uint64(len(f.events))
}

// since gives what is newer than the cursor, up to answerBytes.
func (f *Feed) since(c cursor) Answer {
	var newer []entry
	for _, v := range f.values {
		if v.seq > c.seq {
			newer = append(newer, v)
		}
	}
	first, _ := slices.BinarySearchFunc(f.events, max(c.seq, c.skip)+1, func(e entry, seq uint64) int { return int(int64(e.seq) - int64(seq)) })
	newer = append(newer, f.events[first:]...)
	slices.SortFunc(newer, func(a, b entry) int { return int(int64(a.seq) - int64(b.seq)) })

	a := Answer{Instance: f.instance}
	if c.events < f.gone {
		a.Gap, a.Dropped = true, int64(f.gone-c.events)
		c.events = f.gone
	}
	size := 0
	for _, e := range newer {
		if size += len(e.item.Data); size > answerBytes && len(a.Items) > 0 {
			a.Cursor = f.format(c)
			return a
		}
		a.Items = append(a.Items, e.item)
		c.seq = e.seq
		if e.event {
			c.events++
		}
	}
	c.seq = f.seq
	a.Cursor = f.format(c)
	return a
}
