package feed_test

import (
	"context"
	"strings"
	"testing"

	"freshet/backend/feed"
)

// BenchmarkFanOut is one value of 100 kB, as large as a map of many paths, on its way to 50 polls.
func BenchmarkFanOut(b *testing.B) {
	f := feed.New()
	value := strings.Repeat("x", 100<<10)
	cursors := make([]string, 50)
	for b.Loop() {
		if err := f.Publish("map", value); err != nil {
			b.Fatal(err)
		}
		for i, c := range cursors {
			cursors[i] = f.Poll(context.Background(), "s", c).Cursor
		}
	}
}
