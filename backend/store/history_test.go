package store_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
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

// TestHistoryPacks: what was packed reads as what was not, within what is rounded, over a restart in the middle.
func TestHistoryPacks(t *testing.T) {
	dir := t.TempDir()
	start := time.Date(2026, 11, 25, 9, 55, 0, 0, time.UTC)
	rnd := rand.New(rand.NewPCG(1, 1))
	var want []probes.Point
	h := openHistory(t, dir, store.HistoryOptions{Slot: time.Second})
	for i := range 3000 {
		at := start.Add(time.Duration(i) * time.Second)
		v := rnd.ExpFloat64() * math.Pow(10, float64(i%9-4))
		p := probes.Point{Series: probes.Series{Metric: "m", Topic: "t", Partition: 3}}
		switch i % 5 {
		case 0:
			p.Reading = stream.ExactReading(math.Trunc(v*1000), "records", at)
		case 1:
			p.Reading = stream.BoundedReading(v, v/2, math.NaN(), "records", at)
		case 2:
			p.Reading = stream.UnknownReading("records", "why "+strconv.Itoa(i%3), at)
		case 3:
			p.Reading = stream.Reading{Value: math.NaN(), Low: v, High: 2 * v, Unit: "records", State: stream.Bounded, AsOf: at}
		default:
			p.Reading = stream.Reading{Value: v, Low: v - 1, High: v + 1, Unit: "records", State: stream.Estimate, AsOf: at}
		}
		want = append(want, p)
		keep(t, h, p)
		if i == 1700 {
			if err := h.Close(); err != nil {
				t.Fatal(err)
			}
			h = openHistory(t, dir, store.HistoryOptions{Slot: time.Second})
		}
	}
	defer h.Close()
	got, err := h.Range(t.Context(), want[0].Series, start, start.Add(time.Hour), 0)
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d points of %d, %v", len(got), len(want), err)
	}
	near := func(got, want, down, up float64) bool {
		if math.IsNaN(want) || math.IsNaN(got) {
			return math.IsNaN(want) && math.IsNaN(got)
		}
		slack := math.Abs(want)/1000 + 1e-6
		return got >= want-down*slack && got <= want+up*slack
	}
	for i, p := range got {
		w := want[i]
		if !p.AsOf.Equal(w.AsOf) || p.State != w.State || p.Why != w.Why || p.Unit != w.Unit || p.Series != w.Series ||
			!near(p.Value, w.Value, 1, 1) || !near(p.Low, w.Low, 1, 0) || !near(p.High, w.High, 0, 1) {
			t.Fatalf("point %d reads\n%+v, want\n%+v", i, p, w)
		}
		if w.State == stream.Exact && p.Value != w.Value {
			t.Fatalf("a whole number was rounded: %g, want %g", p.Value, w.Value)
		}
	}
}

// TestHistoryIsSmall: a day of a series costs what an hour's bits need, not rows.
func TestHistoryIsSmall(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit float64 // bytes a sample
		next  func(rnd *rand.Rand, last float64) float64
	}{
		{"idle", 1, func(*rand.Rand, float64) float64 { return 0 }},
		{"steady", 3, func(rnd *rand.Rand, last float64) float64 { return last + float64(rnd.IntN(3)) }},
	} {
		dir := t.TempDir()
		h := openHistory(t, dir, store.HistoryOptions{})
		rnd := rand.New(rand.NewPCG(2, 2))
		start := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
		const series, rounds = 20, 6 * 60 * 8
		points := make([]probes.Point, series)
		for i := range rounds {
			at := start.Add(time.Duration(i) * 10 * time.Second)
			for k := range points {
				points[k].Series = probes.Series{Metric: "lag_records", Topic: strconv.Itoa(k), Partition: -1}
				points[k].Reading = stream.ExactReading(c.next(rnd, points[k].Value), "records", at)
			}
			keep(t, h, points...)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(dir, "2026-11-25.db"))
		if err != nil {
			t.Fatal(err)
		}
		each := float64(info.Size()) / (series * rounds)
		t.Logf("%s: %.2f bytes a sample", c.name, each)
		if each > c.limit {
			t.Errorf("%s: %.2f bytes a sample, more than %g", c.name, each, c.limit)
		}
	}
}

// TestHistoryEndsWithTheLastReading: a series that is not read any more does not wait in memory.
func TestHistoryEndsWithTheLastReading(t *testing.T) {
	dir := t.TempDir()
	h := openHistory(t, dir, store.HistoryOptions{})
	start := time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)
	keep(t, h, point("gone", start, 1))
	keep(t, h, point("m", start.Add(time.Minute), 1))
	keep(t, h, point("m", start.Add(2*time.Minute), 1))
	other := openHistory(t, dir, store.HistoryOptions{}) // sees what is on the disk
	if got := ranged(t, other, "gone", start, start.Add(time.Hour), 10); len(got) != 1 {
		t.Errorf("%+v", got)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestHistoryOfADamagedDayIsAGap(t *testing.T) {
	dir := t.TempDir()
	start := time.Date(2026, 11, 25, 9, 0, 0, 0, time.UTC)
	h := openHistory(t, dir, store.HistoryOptions{})
	keep(t, h, point("m", start, 1))
	keep(t, h, point("m", start.AddDate(0, 0, 1), 2))
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	for _, day := range []string{"2026-11-25", "2026-11-26"} {
		if err := os.WriteFile(filepath.Join(dir, day+".db"), bytes.Repeat([]byte("no database "), 1000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h = openHistory(t, dir, store.HistoryOptions{})
	if got := ranged(t, h, "m", start, start.AddDate(0, 0, 3), 10); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	keep(t, h, point("m", start.AddDate(0, 0, 1), 3))
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h = openHistory(t, dir, store.HistoryOptions{})
	defer h.Close()
	if got := ranged(t, h, "m", start, start.AddDate(0, 0, 3), 10); len(got) != 1 || got[0].Value != 3 {
		t.Errorf("after the damaged file was put aside: %+v", got)
	}
	if aside, err := filepath.Glob(filepath.Join(dir, "*.corrupt-*")); err != nil || len(aside) != 1 {
		t.Errorf("%v, %v", aside, err)
	}
}

// TestHistorySurvivesAKill: of what was taken before a kill -9, no more than the slot under way is lost.
func TestHistorySurvivesAKill(t *testing.T) {
	dir := t.TempDir()
	cmd := child(t, "history", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last := -1
	for lines := bufio.NewScanner(out); lines.Scan(); {
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			continue
		}
		if last = n; n == 2500 {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the child ended by itself")
	}
	h := openHistory(t, dir, store.HistoryOptions{})
	defer h.Close()
	got := ranged(t, h, "m", historyStart, historyStart.AddDate(0, 0, 1), 0)
	if len(got) < last || len(got) > last+2 {
		t.Fatalf("%d points, %d were taken", len(got), last+1)
	}
	for i, p := range got {
		if p.Value != float64(i) {
			t.Fatalf("point %d reads %g", i, p.Value)
		}
	}
}

var historyStart = time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)

// historyChild appends until it is killed, and prints each round that was taken.
func historyChild() int {
	h, err := store.OpenHistory(os.Args[1], store.HistoryOptions{})
	if err != nil {
		return 1
	}
	for i := 0; i < 8000; i++ {
		at := historyStart.Add(time.Duration(i) * 10 * time.Second)
		if err := h.Append(context.Background(), at, []probes.Point{point("m", at, float64(i))}); err != nil {
			return 1
		}
		fmt.Println(i)
	}
	return 0
}

func TestHistoryIsReadWhileItIsWritten(t *testing.T) {
	h := openHistory(t, t.TempDir(), store.HistoryOptions{Days: 1})
	defer h.Close()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				got := ranged(t, h, "m", historyStart, historyStart.AddDate(0, 0, 5), 0)
				for i := 1; i < len(got); i++ {
					if got[i].Value != got[i-1].Value+1 {
						t.Errorf("%g follows %g", got[i].Value, got[i-1].Value)
						return
					}
				}
			}
		})
	}
	for i := range 600 {
		keep(t, h, point("m", historyStart.Add(time.Duration(i)*5*time.Minute), float64(i)))
	}
	close(stop)
	wg.Wait()
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
