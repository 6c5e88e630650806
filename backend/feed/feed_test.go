package feed_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"freshet/backend/feed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func topics(a feed.Answer) string {
	var all []string
	for _, it := range a.Items {
		all = append(all, it.Topic+"="+string(it.Data))
	}
	return strings.Join(all, " ")
}

func publish(t *testing.T, f *feed.Feed, topic string, v any) {
	t.Helper()
	if err := f.Publish(topic, v); err != nil {
		t.Fatal(err)
	}
}

func TestFirstPollGivesTheNewestOfEveryTopicAtOnce(t *testing.T) {
	f := feed.New()
	publish(t, f, "map", 1)
	publish(t, f, "status", "ok")
	publish(t, f, "map", 2)
	a := f.Poll(context.Background(), "s", "")
	if topics(a) != `status="ok" map=2` || a.Gap {
		t.Errorf("%s, gap %v", topics(a), a.Gap)
	}
	publish(t, f, "map", 3)
	publish(t, f, "map", 4)
	if b := f.Poll(context.Background(), "s", a.Cursor); topics(b) != "map=4" || b.Gap {
		t.Errorf("%s", topics(b))
	}
}

func TestPollIsHeldUntilSomethingIsPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := feed.New()
		publish(t, f, "map", 1)
		cursor := f.Poll(t.Context(), "s", "").Cursor
		got := make(chan feed.Answer)
		begun := time.Now()
		go func() { got <- f.Poll(t.Context(), "s", cursor) }()
		time.Sleep(7 * time.Second)
		publish(t, f, "map", 2)
		if a := <-got; topics(a) != "map=2" || time.Since(begun) != 7*time.Second {
			t.Errorf("%s after %s", topics(a), time.Since(begun))
		}

		// With nothing published it comes back empty when the hold is over, and its cursor goes on.
		begun = time.Now()
		a := f.Poll(t.Context(), "s", f.Poll(t.Context(), "s", "").Cursor)
		if len(a.Items) != 0 || time.Since(begun) != feed.Hold {
			t.Errorf("%s after %s", topics(a), time.Since(begun))
		}
	})
}

func TestASessionHoldsTwoPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := feed.New()
		publish(t, f, "map", 1)
		cursor := f.Poll(t.Context(), "s", "").Cursor
		for range feed.MaxHeld {
			go f.Poll(t.Context(), "s", cursor)
		}
		synctest.Wait()
		begun := time.Now()
		f.Poll(t.Context(), "s", cursor)
		if time.Since(begun) != 0 {
			t.Errorf("a third poll of the session was held for %s", time.Since(begun))
		}
		go func() { time.Sleep(time.Second); publish(t, f, "map", 2) }()
		f.Poll(t.Context(), "other", cursor)
		if time.Since(begun) != time.Second {
			t.Errorf("another session's poll was held for %s", time.Since(begun))
		}
		synctest.Wait()
		// The ended polls no longer count.
		begun = time.Now()
		f.Poll(t.Context(), "s", f.Poll(t.Context(), "s", "").Cursor)
		if time.Since(begun) != feed.Hold {
			t.Errorf("held for %s", time.Since(begun))
		}
	})
}

func TestWhoLagsIsToldOfTheGap(t *testing.T) {
	f := feed.New()
	publish(t, f, "config", "kept")
	cursor := f.Poll(context.Background(), "s", "").Cursor
	for i := range 10_000 {
		event(t, f, "audit", i)
		publish(t, f, "map", i)
	}
	var a feed.Answer
	seen := 0
	for a = f.Poll(context.Background(), "s", cursor); seen < 4097; a = f.Poll(context.Background(), "s", a.Cursor) {
		if seen == 0 && (!a.Gap || a.Dropped != 10_000-4096) || seen > 0 && a.Gap {
			t.Fatalf("after %d items: gap %v, dropped %d", seen, a.Gap, a.Dropped)
		}
		seen += len(a.Items)
		if len(a.Items) == 0 {
			break
		}
		if seen == 4097 { // the events that are kept, and the value
			return
		}
	}
	t.Errorf("%d items", seen)
}

func event(t *testing.T, f *feed.Feed, topic string, v any) {
	t.Helper()
	if err := f.Event(topic, v); err != nil {
		t.Fatal(err)
	}
}

func TestEveryEventIsSeenInOrder(t *testing.T) {
	f := feed.New()
	event(t, f, "audit", "before")
	publish(t, f, "map", 1)
	a := f.Poll(t.Context(), "s", "")
	if topics(a) != "map=1" || a.Gap {
		t.Errorf("%s, gap %v", topics(a), a.Gap)
	}
	event(t, f, "audit", 1)
	publish(t, f, "map", 2)
	event(t, f, "audit", 2)
	publish(t, f, "map", 3)
	a = f.Poll(t.Context(), "s", a.Cursor)
	if topics(a) != "audit=1 audit=2 map=3" || a.Gap {
		t.Errorf("%s, gap %v", topics(a), a.Gap)
	}
	event(t, f, "audit", 3)
	if a = f.Poll(t.Context(), "s", a.Cursor); topics(a) != "audit=3" {
		t.Errorf("%s", topics(a))
	}
}

// TestALargeFirstAnswerComesInParts: what was published meanwhile is not lost, and nothing comes twice.
func TestALargeFirstAnswerComesInParts(t *testing.T) {
	f := feed.New()
	big := strings.Repeat("x", 400<<10)
	event(t, f, "audit", "before")
	for i := range 5 {
		publish(t, f, fmt.Sprint("t", i), big)
	}
	seen := map[string]int{}
	cursor := ""
	for polls := range 10 {
		a := f.Poll(t.Context(), "s", cursor)
		for _, it := range a.Items {
			seen[it.Topic]++
		}
		if cursor = a.Cursor; a.Gap || polls == 0 && len(a.Items) != 2 {
			t.Fatalf("%d items, gap %v", len(a.Items), a.Gap)
		}
		if polls == 0 {
			event(t, f, "audit", "meanwhile")
		}
		if len(seen) == 6 {
			break
		}
	}
	for topic, n := range seen {
		if n != 1 {
			t.Errorf("%s came %d times", topic, n)
		}
	}
	if len(seen) != 6 {
		t.Errorf("only %v", seen)
	}
}

func TestTopicsAreBounded(t *testing.T) {
	f := feed.New()
	for i := range 1024 {
		publish(t, f, fmt.Sprint(i), i)
	}
	if err := f.Publish("one more", 1); err == nil {
		t.Error("one more topic was taken")
	}
	if err := f.Publish("7", 1); err != nil {
		t.Error(err)
	}
	if err := f.Publish("7", func() {}); err == nil {
		t.Error("what is no JSON was taken")
	}
}

func TestCursorsOfAnotherInstanceAreRecognised(t *testing.T) {
	f, g := feed.New(), feed.New()
	publish(t, f, "map", 1)
	publish(t, g, "map", 2)
	for _, cursor := range []string{f.Poll(context.Background(), "s", "").Cursor, "x", "-", "a-b-c-d", "99999999999999999999"} {
		if a := g.Poll(context.Background(), "s", cursor); !a.Gap || topics(a) != "map=2" {
			t.Errorf("%q: gap %v, %s", cursor, a.Gap, topics(a))
		}
	}
}

func TestAnswersAndWhatIsKeptAreBounded(t *testing.T) {
	f := feed.New()
	publish(t, f, "map", "")
	cursor := f.Poll(context.Background(), "s", "").Cursor
	big := strings.Repeat("x", 300<<10)
	for i := range 20 {
		publish(t, f, fmt.Sprint("t", i), big)
	}
	got := 0
	for got < 20 {
		a := f.Poll(context.Background(), "s", cursor)
		size := 0
		for _, it := range a.Items {
			size += len(it.Data)
		}
		if size > 1<<20 || len(a.Items) == 0 || a.Gap {
			t.Fatalf("%d items of %d bytes, gap %v", len(a.Items), size, a.Gap)
		}
		got, cursor = got+len(a.Items), a.Cursor
	}
}
