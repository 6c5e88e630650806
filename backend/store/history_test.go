package store_test

import (
	"context"
	"math"
	"os"
	"testing"
	"time"

	"freshet/backend/store"
	"freshet/backend/stream"
	"freshet/probes"
)

var _ probes.Recorder = (*store.History)(nil)

func point(metric string, at time.Time, v float64) probes.Point {
	return probes.Point{Series: probes.Series{Metric: metric, Partition: -1}, Reading: stream.BoundedReading(v, v-1, v+1, "s", at)}
}

func openHistory(t *testing.T, dir string, o store.HistoryOptions) *store.History {
	t.Helper()
	h, err := store.OpenHistory(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func keep(t *testing.T, h *store.History, points ...probes.Point) {
	t.Helper()
	if err := h.Append(context.Background(), points[0].AsOf, points); err != nil {
		t.Fatal(err)
	}
}

func ranged(t *testing.T, h *store.History, metric string, from, to time.Time, max int) []probes.Point {
	t.Helper()
	got, err := h.Range(context.Background(), probes.Series{Metric: metric, Partition: -1}, from, to, max)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// A slot keeps its last value within the lowest and highest bounds seen, unknown stays unknown, and a restart and the
// turn of the day lose nothing.
func TestHistoryKeepsWhatProbesSaw(t *testing.T) {
	dir := t.TempDir()
	start := time.Date(2026, 11, 25, 23, 59, 0, 0, time.UTC)
	h := openHistory(t, dir, store.HistoryOptions{})
	for i := range 120 { // two minutes, over midnight
		at := start.Add(time.Duration(i) * time.Second)
		p := point("lag_seconds", at, float64(i))
		if i >= 60 && i < 70 {
			p.Reading = stream.UnknownReading("s", "no commit in this group yet", at)
		}
		keep(t, h, p, point("other", at, -1))
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 2 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	h = openHistory(t, dir, store.HistoryOptions{})
	got := ranged(t, h, "lag_seconds", start, start.Add(time.Hour), 1000)
	if len(got) != 12 {
		t.Fatalf("%d points: %+v", len(got), got)
	}
	for i, p := range got {
		if i == 6 {
			if p.Known() || !math.IsNaN(p.Value) || p.Why != "no commit in this group yet" || p.Unit != "s" {
				t.Errorf("the unknown slot reads %+v", p)
			}
			continue
		}
		if want := float64(10*i + 9); p.Value != want || p.Low != want-10 || p.High != want+1 {
			t.Errorf("slot %d reads %g (%g to %g), want %g (%g to %g)", i, p.Value, p.Low, p.High, want, want-10, want+1)
		}
	}
	// The slot that is under way is read too.
	keep(t, h, point("lag_seconds", start.Add(2*time.Hour), 7))
	if got := ranged(t, h, "lag_seconds", start.Add(time.Hour), start.Add(3*time.Hour), 10); len(got) != 1 || got[0].Value != 7 {
		t.Errorf("under way: %+v", got)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestHistoryThinsWithoutLosingSpikesAndGaps(t *testing.T) {
	h := openHistory(t, t.TempDir(), store.HistoryOptions{Slot: time.Second})
	start := time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)
	for i := range 3600 {
		at := start.Add(time.Duration(i) * time.Second)
		p := point("m", at, 1)
		switch i {
		case 1234:
			p = point("m", at, 1000)
		case 2345:
			p.Reading = stream.UnknownReading("s", "gone", at)
		}
		keep(t, h, p)
	}
	got := ranged(t, h, "m", start, start.Add(time.Hour), 90)
	spike, gap := false, false
	for _, p := range got {
		spike = spike || p.Value == 1000
		gap = gap || !p.Known()
	}
	if len(got) > 90 || !spike || !gap {
		t.Errorf("%d points, spike %v, gap %v", len(got), spike, gap)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestHistoryRemovesTheOldestDays(t *testing.T) {
	dir := t.TempDir()
	h := openHistory(t, dir, store.HistoryOptions{Days: 2})
	start := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for day := range 5 {
		keep(t, h, point("m", start.AddDate(0, 0, day), 1))
		keep(t, h, point("m", start.AddDate(0, 0, day).Add(time.Minute), 2))
	}
	if got := ranged(t, h, "m", start, start.AddDate(0, 0, 6), 100); len(got) != 4 {
		t.Errorf("%d points of two days: %+v", len(got), got)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
}
