package store

import (
	"cmp"
	"compress/flate"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
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

	"github.com/mattn/go-sqlite3"

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
// implements probes.Recorder. Within a slot a series' readings are one point, unless one becomes unknown or known again.
// The slot that is under way is in memory: it is what a crash loses.
//
// A day's file holds the last minutes as they came, a row for each write, and everything older as one packed block for
// each series and hour.
type History struct {
	dir string
	o   HistoryOptions

	mu    sync.Mutex
	day   *dayFile // the one that was written last
	slots map[probes.Series]*slotted
	files sync.RWMutex // held for writing while files are removed or moved
}

// slotted is a series' slot under way.
type slotted struct {
	series probes.Series
	unit   string
	slot   int64
	sample sample // the newest reading, with the lowest and highest of the slot
}

// dayFile is a day's file, open for writing.
type dayFile struct {
	day  string
	db   *sql.DB
	ids  map[probes.Series]int64
	part int64 // of the rounds that are not packed yet; -1 unknown
}

const (
	daySuffix     = ".db"
	historySchema = 1
	// packEvery is how long rounds stay as they came.
	packEvery = 10 * time.Minute
	msPerHour = int64(time.Hour / time.Millisecond)
)

// OpenHistory opens a directory of day files, made where it is missing.
func OpenHistory(dir string, o HistoryOptions) (*History, error) {
	o.Days, o.Bytes, o.Slot = cmp.Or(o.Days, 30), cmp.Or(o.Bytes, 2<<30), cmp.Or(o.Slot, 10*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.Wrap(fault.Unavailable, "open the history in "+dir, err, "see to the data directory")
	}
	return &History{dir: dir, o: o, slots: map[probes.Series]*slotted{}}, nil
}

// Limits are the days and the bytes that are kept.
func (h *History) Limits() (days int, bytes int64) { return h.o.Days, h.o.Bytes }

// Append implements probes.Recorder. A reading counts for the time it is of; where that is none, or not near the round's,
// for the round's.
func (h *History) Append(ctx context.Context, at time.Time, points []probes.Point) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	width := h.o.Slot.Milliseconds()
	var done []*slotted
	for _, p := range points {
		when := p.AsOf
		if when.IsZero() || when.Sub(at).Abs() > 24*time.Hour {
			when = at
		}
		n := sampleOf(p.Reading, when)
		slot := floorDiv(n.at, width)
		s := h.slots[p.Series]
		switch {
		case s == nil:
		case s.slot != slot, s.sample.known() != n.known(), n.at < s.sample.at:
			done = append(done, s)
		default:
			n.low, n.high = lower(s.sample.low, n.low, n.value), higher(s.sample.high, n.high, n.value)
		}
		h.slots[p.Series] = &slotted{p.Series, p.Unit, slot, n}
	}
	// A series that is not read any more ends with its last slot.
	for series, s := range h.slots {
		if s.slot < floorDiv(at.UnixMilli(), width)-1 {
			done = append(done, s)
			delete(h.slots, series)
		}
	}
	if len(done) == 0 {
		return nil
	}
	return h.write(ctx, done)
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func lower(all ...float64) float64 { return extreme(all, math.Min) }

func higher(all ...float64) float64 { return extreme(all, math.Max) }

func extreme(all []float64, pick func(x, y float64) float64) float64 {
	out := math.NaN()
	for _, f := range all {
		switch {
		case math.IsNaN(f):
		case math.IsNaN(out):
			out = f
		default:
			out = pick(out, f)
		}
	}
	return out
}

// write stores slots in the files of their days.
func (h *History) write(ctx context.Context, done []*slotted) error {
	slices.SortStableFunc(done, func(a, b *slotted) int { return cmp.Compare(a.sample.at, b.sample.at) })
	for len(done) > 0 {
		day := dayOf(done[0].sample.at)
		n := 1
		for n < len(done) && dayOf(done[n].sample.at) == day {
			n++
		}
		err := h.turn(ctx, day)
		if err == nil {
			err = h.store(ctx, done[:n])
		}
		if isCode(err, sqlite3.ErrCorrupt, sqlite3.ErrNotADB) {
			err = errors.Join(err, h.putAside(day))
		}
		if err != nil {
			return historyFault("write the history of "+day, err)
		}
		done = done[n:]
	}
	return nil
}

func historyFault(op string, err error) error {
	err = sqlFault(op, err)
	var f *fault.Error
	if errors.As(err, &f) && f.Kind == fault.Tampered { // no evidence: readings
		f.Kind, f.Next = fault.Unavailable, "move the file away: that day's readings are lost, nothing else"
	}
	return err
}

func dayOf(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.DateOnly) }

func (h *History) file(day string) string { return filepath.Join(h.dir, day+daySuffix) }

// turn makes day the open file. What is beyond the bounds goes then.
func (h *History) turn(ctx context.Context, day string) error {
	if h.day != nil && h.day.day == day {
		return nil
	}
	if err := h.closeDay(ctx); err != nil {
		return err
	}
	d, err := openDay(ctx, h.file(day))
	if isCode(err, sqlite3.ErrCorrupt, sqlite3.ErrNotADB) {
		if err = h.putAside(day); err == nil {
			d, err = openDay(ctx, h.file(day))
		}
	}
	if err != nil {
		return err
	}
	d.day = day
	h.day = d
	return h.trim()
}

func openDay(ctx context.Context, path string) (*dayFile, error) {
	if err := touch(path); err != nil {
		return nil, fault.Wrap(fault.Unavailable, "open "+path, err, "see to the data directory")
	}
	db, err := openWriter(path, "NORMAL")
	if err != nil {
		return nil, err
	}
	if err := prepareDay(ctx, db, path); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &dayFile{db: db, ids: map[probes.Series]int64{}, part: -1}, nil
}

func prepareDay(ctx context.Context, db *sql.DB, path string) error {
	var version int64
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	if version > historySchema {
		return newerSchema(path, version, historySchema)
	}
	_, err := db.ExecContext(ctx, `
		CREATE TABLE IF NOT EXISTS series (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, unit TEXT NOT NULL) STRICT;
		-- One write: its samples as they came.
		CREATE TABLE IF NOT EXISTS round (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
		-- One series' hour, packed. id is series * 256 + hour.
		CREATE TABLE IF NOT EXISTS block (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
		PRAGMA user_version = 1`)
	return err
}

func (h *History) closeDay(ctx context.Context) error {
	if h.day == nil {
		return nil
	}
	d := h.day
	h.day = nil
	return errors.Join(h.pack(ctx, d), d.db.Close())
}

// remove removes a day's files, or renames them for keeps where suffix is given.
func (h *History) remove(day, suffix string) error {
	h.files.Lock()
	defer h.files.Unlock()
	for _, s := range []string{"-wal", "-shm", ""} {
		path := h.file(day) + s
		var err error
		if suffix == "" {
			err = os.Remove(path)
		} else {
			err = os.Rename(path, path+suffix)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fault.Wrap(fault.Unavailable, "remove the history of "+day, err, "see to the data directory")
		}
	}
	return nil
}

// putAside keeps a damaged day for who wants to look at it; its readings start anew.
func (h *History) putAside(day string) error {
	h.o.Log.Error("the history of a day is damaged, and put aside", "day", day)
	if h.day != nil && h.day.day == day {
		_ = h.day.db.Close() // it is damaged: what it says to that does not matter
		h.day = nil
	}
	return h.remove(day, fmt.Sprintf(".corrupt-%d", time.Now().UnixMilli()))
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
		if days[i] == h.day.day || len(days)-i <= h.o.Days && size <= h.o.Bytes {
			continue
		}
		if err := h.remove(days[i], ""); err != nil {
			return err
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

// store writes one row for all the slots.
func (h *History) store(ctx context.Context, done []*slotted) error {
	d := h.day
	part := floorDiv(done[len(done)-1].sample.at, packEvery.Milliseconds())
	if d.part != part {
		if err := h.pack(ctx, d); err != nil {
			return err
		}
		if err := h.trim(); err != nil {
			return err
		}
		d.part = part
	}
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // nothing, once it is committed
	made := map[probes.Series]int64{}
	var body []byte
	for _, s := range done {
		id, ok := d.ids[s.series]
		if !ok {
			if id, err = seriesID(ctx, tx, s.series, s.unit); err != nil {
				return err
			}
			made[s.series] = id
		}
		body = appendRound(body, id, s.sample)
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO round (body) VALUES (?)", body); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	for s, id := range made {
		d.ids[s] = id
	}
	return nil
}

func seriesID(ctx context.Context, tx *sql.Tx, s probes.Series, unit string) (id int64, err error) {
	key, err := json.Marshal(s)
	if err != nil {
		return 0, err
	}
	err = tx.QueryRowContext(ctx, "INSERT INTO series (key, unit) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET unit = ?2 RETURNING id", string(key), unit).Scan(&id)
	return id, err
}

// pack moves the rounds into their series' blocks. What cannot be read of either is lost, and nothing else.
func (h *History) pack(ctx context.Context, d *dayFile) error {
	tx, err := d.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // nothing, once it is committed
	blocks := map[int64][]sample{}
	damaged := 0
	err = eachRow(ctx, tx, "SELECT id, body FROM round ORDER BY id", func(_ int64, body []byte) error {
		err := eachOfRound(body, func(series int64, s sample) { blocks[blockID(series, s.at)] = append(blocks[blockID(series, s.at)], s) })
		if err != nil {
			damaged++
		}
		return nil
	})
	if err != nil || len(blocks) == 0 {
		return err
	}
	w, err := flate.NewWriter(nil, flate.DefaultCompression)
	if err != nil {
		return err
	}
	for id, samples := range blocks {
		var body []byte
		err := tx.QueryRowContext(ctx, "SELECT body FROM block WHERE id = ?", id).Scan(&body)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if err == nil {
			older, err := decodeBlock(body)
			if err != nil {
				damaged++
			}
			samples = append(older, samples...)
		}
		if body, err = encodeBlock(w, inOrder(samples)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO block (id, body) VALUES (?, ?)", id, body); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, "DELETE FROM round"); err != nil {
		return err
	}
	if damaged > 0 {
		h.o.Log.Warn("readings that cannot be read", "day", d.day, "blocks", damaged)
	}
	return tx.Commit()
}

func blockID(series, at int64) int64 { return series<<8 | hourOf(at) }

// hourOf is the hour of the day, from 0.
func hourOf(at int64) int64 { return floorDiv(at, msPerHour) - 24*floorDiv(at, 24*msPerHour) }

// inOrder sorts by time; of several samples of one time the last one counts.
func inOrder(samples []sample) []sample {
	slices.SortStableFunc(samples, func(a, b sample) int { return cmp.Compare(a.at, b.at) })
	out := samples[:0]
	for i, s := range samples {
		if i+1 == len(samples) || samples[i+1].at != s.at {
			out = append(out, s)
		}
	}
	return out
}

// Range implements probes.Recorder. A day without a file, or with a damaged one, is a gap.
func (h *History) Range(ctx context.Context, s probes.Series, from, to time.Time, max int) ([]probes.Point, error) {
	all, err := h.Ranges(ctx, []probes.Series{s}, from, to, max)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// Ranges is Range of several series, whose days' files are each opened once.
func (h *History) Ranges(ctx context.Context, series []probes.Series, from, to time.Time, max int) ([][]probes.Point, error) {
	first, end := ceilMilli(from), ceilMilli(to)
	read := make([]seriesRead, len(series))
	pending := make([]*sample, len(series))
	h.mu.Lock()
	for i, s := range series {
		read[i].series = s
		if o := h.slots[s]; o != nil {
			read[i].unit = o.unit
			if n := o.sample; n.at >= first && n.at < end {
				pending[i] = &n
			}
		}
	}
	h.mu.Unlock()

	h.files.RLock()
	defer h.files.RUnlock()
	days, err := h.days()
	if err != nil {
		return nil, err
	}
	for _, day := range days {
		if day < dayOf(first) || day > dayOf(end) {
			continue
		}
		err := h.readDay(ctx, day, read, first, end)
		if isCode(err, sqlite3.ErrCorrupt, sqlite3.ErrNotADB) || errors.Is(err, errBlock) {
			h.o.Log.Warn("the history of a day is damaged", "day", day, "err", err)
			err = nil
		}
		if err != nil {
			return nil, historyFault("read the history of "+day, err)
		}
	}
	all := make([][]probes.Point, len(series))
	for i := range read {
		samples := read[i].samples
		if pending[i] != nil {
			samples = append(samples, *pending[i])
		}
		samples = thin(inOrder(samples), first, end, max)
		all[i] = make([]probes.Point, len(samples))
		for j, n := range samples {
			all[i][j] = probes.Point{Series: series[i], Reading: n.reading(read[i].unit)}
		}
	}
	return all, nil
}

// seriesRead is a series and what was read of it.
type seriesRead struct {
	series  probes.Series
	id      int64 // in the day's file
	unit    string
	samples []sample
}

// ceilMilli is the first millisecond that does not lie before t.
func ceilMilli(t time.Time) int64 {
	ms := t.UnixMilli()
	if time.UnixMilli(ms).Before(t) {
		ms++
	}
	return ms
}

// readDay adds each series' samples in [first, end) from a day's blocks and rounds.
func (h *History) readDay(ctx context.Context, day string, read []seriesRead, first, end int64) error {
	db, err := openSQLite(h.file(day), url.Values{"mode": {"rw"}, "_query_only": {"true"}})
	if err != nil {
		return err
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true}) // blocks and rounds of one moment
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var version int
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil || version != historySchema {
		return err // another schema's day is a gap
	}
	byID := map[int64]*seriesRead{}
	for i := range read {
		r := &read[i]
		key, err := json.Marshal(r.series)
		if err != nil {
			return err
		}
		err = tx.QueryRowContext(ctx, "SELECT id, unit FROM series WHERE key = ?", string(key)).Scan(&r.id, &r.unit)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return err
		}
		byID[r.id] = r
	}
	take := func(r *seriesRead, n sample) {
		if n.at >= first && n.at < end {
			r.samples = append(r.samples, n)
		}
	}
	for id, r := range byID {
		lowest, highest := blockID(id, 0), blockID(id, 0)+23
		if dayOf(first) == day {
			lowest = blockID(id, first)
		}
		if dayOf(end) == day {
			highest = blockID(id, end)
		}
		err = eachRow(ctx, tx, "SELECT id, body FROM block WHERE id BETWEEN ? AND ? ORDER BY id", func(_ int64, body []byte) error {
			block, err := decodeBlock(body)
			for _, n := range block {
				take(r, n)
			}
			return err
		}, lowest, highest)
		if err != nil {
			return err
		}
	}
	return eachRow(ctx, tx, "SELECT id, body FROM round ORDER BY id", func(_ int64, body []byte) error {
		return eachOfRound(body, func(series int64, n sample) {
			if r := byID[series]; r != nil {
				take(r, n)
			}
		})
	})
}

// thin keeps at most max samples: of each slice of the range its lowest and its highest, and one that is unknown, so that
// a spike stays a spike and a gap a gap.
func thin(samples []sample, first, end int64, max int) []sample {
	if max <= 0 || len(samples) <= max {
		return samples
	}
	parts := int64(max+2) / 3
	width := (end-first)/parts + 1
	out := samples[:0] // never longer than what was read
	for i := 0; i < len(samples); {
		slice := (samples[i].at - first) / width
		lowest, highest, unknown := -1, -1, -1
		j := i
		for ; j < len(samples) && (samples[j].at-first)/width == slice; j++ {
			switch n := samples[j]; {
			case !n.known():
				unknown = j
			case lowest < 0:
				lowest, highest = j, j
			default:
				if lower(n.low, n.value) < lower(samples[lowest].low, samples[lowest].value) {
					lowest = j
				}
				if higher(n.high, n.value) > higher(samples[highest].high, samples[highest].value) {
					highest = j
				}
			}
		}
		kept := []int{lowest, highest, unknown}
		slices.Sort(kept)
		for _, k := range slices.Compact(kept) {
			if k >= 0 && len(out) < max {
				out = append(out, samples[k])
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
	for _, s := range h.slots {
		done = append(done, s)
	}
	clear(h.slots)
	ctx := context.Background()
	return errors.Join(h.write(ctx, done), historyFault("close the history", h.closeDay(ctx)))
}

// sample is a reading as it is stored: without its unit, at the millisecond. What is not known is NaN.
type sample struct {
	at               int64 // milliseconds since 1970
	value, low, high float64
	state            stream.Certainty
	why              string
}

// maxWhy bounds the words of an unknown reading, in bytes.
const maxWhy = 200

func sampleOf(r stream.Reading, when time.Time) sample {
	s := sample{when.UnixMilli(), finite(r.Value), finite(r.Low), finite(r.High), cmp.Or(r.State, stream.Unknown), r.Why}
	if len(s.why) > maxWhy {
		s.why = strings.ToValidUTF8(s.why[:maxWhy], "")
	}
	if !s.known() {
		s.value, s.low, s.high = math.NaN(), math.NaN(), math.NaN()
	}
	return s
}

func finite(f float64) float64 {
	if math.IsInf(f, 0) {
		return math.NaN()
	}
	return f
}

func (s sample) known() bool { return s.state != stream.Unknown }

func (s sample) reading(unit string) stream.Reading {
	return stream.Reading{Value: s.value, Low: s.low, High: s.high, Unit: unit, State: s.state, Why: s.why, AsOf: time.UnixMilli(s.at).UTC()}
}
