package store

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/probes"
)

// HistoryOptions bound what is kept.
type HistoryOptions struct {
	Days  int   // files kept; 0 is 30
	Bytes int64 // of all files, beyond which the oldest go first; 0 is 2 GiB
	// Slot is the stretch of which one point is kept, with the lowest and the highest in it; 0 is 10 s.
	Slot time.Duration
	Log  *slog.Logger // nil discards
}

// History keeps what probes saw, a SQLite file for each day (UTC): what is too old is a file that is removed. It
// implements probes.Recorder. Within a slot a series' readings are one point, unless one becomes unknown or known again;
// the slot that is under way is in memory, and is what a crash loses.
type History struct {
	dir string
	o   HistoryOptions

	mu   sync.Mutex
	day  string
	db   *sql.DB // of day
	ids  map[probes.Series]int64
	open map[probes.Series]*slotted
}

type slotted struct {
	slot int64
	last probes.Point
	low  float64 // of the slot; NaN none
	high float64
}

const daySuffix = ".db"

// OpenHistory opens a directory of day files, made where it is missing.
func OpenHistory(dir string, o HistoryOptions) (*History, error) {
	o.Days, o.Bytes, o.Slot = cmp.Or(o.Days, 30), cmp.Or(o.Bytes, 2<<30), cmp.Or(o.Slot, 10*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.Wrap(fault.Unavailable, "open the history in "+dir, err, "see to the data directory")
	}
	return &History{dir: dir, o: o, open: map[probes.Series]*slotted{}}, nil
}

// Append implements probes.Recorder.
func (h *History) Append(ctx context.Context, _ time.Time, points []probes.Point) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var done []*slotted
	for _, p := range points {
		slot := p.AsOf.UnixMilli() / h.o.Slot.Milliseconds()
		s := h.open[p.Series]
		if s != nil && (s.slot != slot || s.last.Known() != p.Known() || p.AsOf.Before(s.last.AsOf)) {
			done = append(done, s)
			s = nil
		}
		if s == nil {
			s = &slotted{slot: slot, low: math.NaN(), high: math.NaN()}
			h.open[p.Series] = s
		}
		s.last = p
		s.low, s.high = lower(s.low, p.Low, p.Value), higher(s.high, p.High, p.Value)
	}
	return h.write(ctx, done)
}

func lower(all ...float64) float64 { return extreme(all, math.Min) }

func higher(all ...float64) float64 { return extreme(all, math.Max) }

func extreme(all []float64, pick func(x, y float64) float64) float64 {
	out := math.NaN()
	for _, f := range all {
		switch {
		case math.IsNaN(f) || math.IsInf(f, 0):
		case math.IsNaN(out):
			out = f
		default:
			out = pick(out, f)
		}
	}
	return out
}

// write stores points in the files of their days. A point of another day than the open file's opens that.
func (h *History) write(ctx context.Context, done []*slotted) error {
	slices.SortStableFunc(done, func(a, b *slotted) int { return a.last.AsOf.Compare(b.last.AsOf) })
	for len(done) > 0 {
		day := dayOf(done[0].last.AsOf)
		n := 1
		for n < len(done) && dayOf(done[n].last.AsOf) == day {
			n++
		}
		if err := h.turn(ctx, day); err != nil {
			return err
		}
		if err := h.store(ctx, done[:n]); err != nil {
			return fault.Wrap(fault.Unavailable, "write the history of "+day, err, "see to the data directory")
		}
		done = done[n:]
	}
	return nil
}

func dayOf(t time.Time) string { return t.UTC().Format(time.DateOnly) }

func (h *History) file(day string) string { return filepath.Join(h.dir, day+daySuffix) }

const historySchema = `
CREATE TABLE IF NOT EXISTS series (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, unit TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS point (
	series INTEGER NOT NULL, at INTEGER NOT NULL, value REAL, low REAL, high REAL, state TEXT NOT NULL, why TEXT,
	PRIMARY KEY (series, at)
) STRICT, WITHOUT ROWID;`

// turn makes day the open file; what is beyond the bounds goes then.
func (h *History) turn(ctx context.Context, day string) error {
	if h.db != nil && h.day == day {
		return nil
	}
	op := "open the history of " + day
	if h.db != nil {
		if err := h.db.Close(); err != nil {
			return fault.Wrap(fault.Unavailable, op, err, "see to the data directory")
		}
		h.db = nil
	}
	db, err := openWriter(h.file(day), "NORMAL")
	if err == nil {
		if _, err = db.ExecContext(ctx, historySchema); err != nil {
			err = errors.Join(err, db.Close())
		}
	}
	if err != nil {
		return fault.Wrap(fault.Unavailable, op, err, "move the file away if it is damaged: that day's readings are lost, nothing else")
	}
	h.db, h.day, h.ids = db, day, map[probes.Series]int64{}
	return h.trim()
}

// trim removes the oldest days beyond the bounds; the open one stays.
func (h *History) trim() error {
	days, err := h.days()
	if err != nil {
		return err
	}
	var size int64
	for i := len(days) - 1; i >= 0; i-- {
		for _, name := range []string{h.file(days[i]), h.file(days[i]) + "-wal"} {
			if info, err := os.Stat(name); err == nil {
				size += info.Size()
			}
		}
		if days[i] == h.day || len(days)-i <= h.o.Days && size <= h.o.Bytes {
			continue
		}
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if err := os.Remove(h.file(days[i]) + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fault.Wrap(fault.Unavailable, "remove the history of "+days[i], err, "see to the data directory")
			}
		}
		h.o.Log.Info("removed old readings", "day", days[i])
	}
	return nil
}

// days are the days there is a file of, oldest first.
func (h *History) days() ([]string, error) {
	entries, err := os.ReadDir(h.dir)
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, "list the history", err, "see to the data directory")
	}
	var days []string
	for _, e := range entries {
		day, ok := strings.CutSuffix(e.Name(), daySuffix)
		if _, err := time.Parse(time.DateOnly, day); ok && err == nil {
			days = append(days, day)
		}
	}
	return days, nil
}

func (h *History) store(ctx context.Context, done []*slotted) (err error) {
	tx, err := h.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	made := map[probes.Series]int64{}
	defer func() {
		if err != nil {
			_ = tx.Rollback()
			return
		}
		if err = tx.Commit(); err == nil {
			for s, id := range made {
				h.ids[s] = id
			}
		}
	}()
	for _, d := range done {
		p := d.last
		id, ok := h.ids[p.Series]
		if !ok {
			id, ok = made[p.Series]
		}
		if !ok {
			if id, err = seriesID(ctx, tx, p); err != nil {
				return err
			}
			made[p.Series] = id
		}
		var why any
		if p.Why != "" {
			why = p.Why
		}
		low, high := d.low, d.high
		if !p.Known() {
			low, high = math.NaN(), math.NaN()
		}
		if _, err = tx.ExecContext(ctx, `INSERT OR REPLACE INTO point (series, at, value, low, high, state, why) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			id, p.AsOf.UnixMilli(), number(p.Value), number(low), number(high), string(cmp.Or(p.State, stream.Unknown)), why); err != nil {
			return err
		}
	}
	return nil
}

func seriesID(ctx context.Context, tx *sql.Tx, p probes.Point) (id int64, err error) {
	key, err := json.Marshal(p.Series)
	if err != nil {
		return 0, err
	}
	err = tx.QueryRowContext(ctx, `INSERT INTO series (key, unit) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET unit = ?2 RETURNING id`, string(key), p.Unit).Scan(&id)
	return id, err
}

// number is f for SQLite, NULL where it is none.
func number(f float64) any {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return f
}

// Range implements probes.Recorder.
func (h *History) Range(ctx context.Context, s probes.Series, from, to time.Time, max int) ([]probes.Point, error) {
	h.mu.Lock()
	days, err := h.days()
	var pending *probes.Point
	if o := h.open[s]; o != nil && !o.last.AsOf.Before(from) && o.last.AsOf.Before(to) {
		p := o.last
		pending = &p
	}
	h.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var points []probes.Point
	for _, day := range days {
		if day < dayOf(from) || day > dayOf(to) {
			continue
		}
		part, err := h.rangeOf(ctx, day, s, from, to)
		if err != nil {
			return nil, fault.Wrap(fault.Unavailable, "read the history of "+day, err, "move the file away if it is damaged: that day's readings are lost, nothing else")
		}
		points = append(points, part...)
	}
	if pending != nil {
		points = append(points, *pending)
	}
	return thin(points, from, to, max), nil
}

func (h *History) rangeOf(ctx context.Context, day string, s probes.Series, from, to time.Time) ([]probes.Point, error) {
	key, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	db, err := openSQLite(h.file(day), url.Values{"_query_only": {"true"}})
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, `SELECT p.at, p.value, p.low, p.high, p.state, coalesce(p.why, ''), s.unit FROM series s JOIN point p ON p.series = s.id
		WHERE s.key = ? AND p.at >= ? AND p.at < ? ORDER BY p.at`, string(key), from.UnixMilli(), to.UnixMilli())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var points []probes.Point
	for rows.Next() {
		var at int64
		var value, low, high sql.NullFloat64
		p := probes.Point{Series: s}
		if err := rows.Scan(&at, &value, &low, &high, &p.State, &p.Why, &p.Unit); err != nil {
			return nil, err
		}
		p.AsOf, p.Value, p.Low, p.High = time.UnixMilli(at).UTC(), orNaN(value), orNaN(low), orNaN(high)
		points = append(points, p)
	}
	return points, rows.Err()
}

func orNaN(f sql.NullFloat64) float64 {
	if !f.Valid {
		return math.NaN()
	}
	return f.Float64
}

// thin keeps at most max points: of each slice of the range its lowest and its highest, and one that is unknown, so that
// a spike stays a spike and a gap a gap.
func thin(points []probes.Point, from, to time.Time, max int) []probes.Point {
	if max < 3 || len(points) <= max {
		return points
	}
	parts := int64(max / 3)
	width := to.Sub(from).Nanoseconds()/parts + 1
	var out []probes.Point
	for i := 0; i < len(points); {
		slice := points[i].AsOf.Sub(from).Nanoseconds() / width
		keep := map[int]bool{}
		lowest, highest, unknown := -1, -1, -1
		j := i
		for ; j < len(points) && points[j].AsOf.Sub(from).Nanoseconds()/width == slice; j++ {
			p := points[j]
			if !p.Known() {
				unknown = j
				continue
			}
			if lowest < 0 || lower(p.Low, p.Value) < lower(points[lowest].Low, points[lowest].Value) {
				lowest = j
			}
			if highest < 0 || higher(p.High, p.Value) > higher(points[highest].High, points[highest].Value) {
				highest = j
			}
		}
		for _, k := range []int{lowest, highest, unknown} {
			if k >= 0 {
				keep[k] = true
			}
		}
		for k := i; k < j; k++ {
			if keep[k] {
				out = append(out, points[k])
			}
		}
		i = j
	}
	return out
}

// Close writes what is under way and closes the file.
func (h *History) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var done []*slotted
	for _, s := range h.open {
		done = append(done, s)
	}
	h.open = map[probes.Series]*slotted{}
	err := h.write(context.Background(), done)
	if h.db != nil {
		err = errors.Join(err, h.db.Close())
		h.db = nil
	}
	return err
}
