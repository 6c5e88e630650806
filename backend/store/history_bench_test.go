package store_test

import (
	"strconv"
	"testing"
	"time"

	"freshet/backend/store"
	"freshet/backend/stream"
	"freshet/probes"
)

// fill appends rounds of a number of series, ten seconds apart.
func fill(b *testing.B, h *store.History, series, from, to int) {
	b.Helper()
	points := make([]probes.Point, series)
	for i := from; i < to; i++ {
		at := historyStart.Add(time.Duration(i) * 10 * time.Second)
		for k := range points {
			v := float64(i*k%97) / 8
			points[k] = probes.Point{Series: probes.Series{Metric: "lag_seconds", Cluster: "embedded", Group: "billing", Topic: strconv.Itoa(k), Partition: -1},
				Reading: stream.BoundedReading(v, v-0.2, v+0.3, "s", at)}
		}
		if err := h.Append(b.Context(), at, points); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHistoryAppend is a round of 2,000 series, packing included.
func BenchmarkHistoryAppend(b *testing.B) {
	h, err := store.OpenHistory(b.TempDir(), store.HistoryOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	i := 0
	for b.Loop() {
		fill(b, h, 2000, i, i+1)
		i++
	}
}

// BenchmarkHistoryRange is a day of one series of 200 for a chart of 600 points.
func BenchmarkHistoryRange(b *testing.B) {
	h, err := store.OpenHistory(b.TempDir(), store.HistoryOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	fill(b, h, 200, 0, 8640)
	s := probes.Series{Metric: "lag_seconds", Cluster: "embedded", Group: "billing", Topic: "7", Partition: -1}
	for b.Loop() {
		points, err := h.Range(b.Context(), s, historyStart, historyStart.AddDate(0, 0, 1), 600)
		if err != nil || len(points) == 0 {
			b.Fatal(len(points), err)
		}
	}
}
