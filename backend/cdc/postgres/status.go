package postgres

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"freshet/backend/cdc"
	"freshet/backend/clock"
	"freshet/backend/fault"
	"freshet/probes"
)

// slotRow is a slot as the server shows it.
type slotRow struct {
	plugin, database   string
	active             bool
	activePID          int32
	status             string // wal_status
	invalidation       string
	safe               *int64
	restart, confirmed uint64
	end                uint64 // of the server's WAL
	retained           *int64
	limit              int64 // max_slot_wal_keep_size in megabytes, -1 none
}

func (r *slotRow) lost() bool { return r.status == "lost" || r.invalidation != "" }

func (r *slotRow) why() string {
	if r.invalidation != "" {
		return r.invalidation
	}
	return "WAL removed"
}

// walEnd is how far the server's WAL is written and safe: a standby's is what it has applied.
const walEnd = "CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END"

// readSlot returns nil where there is no slot.
func (s *Source) readSlot(ctx context.Context, q querier) (*slotRow, error) {
	invalidation := "''"
	switch v := s.serverVersion(q); {
	case v >= 170000:
		invalidation = "coalesce(invalidation_reason, '')"
	case v >= 160000:
		invalidation = "CASE WHEN conflicting THEN 'rows_removed' ELSE '' END"
	}
	var r slotRow
	var restart, confirmed, end *pglogrepl.LSN
	err := q.QueryRow(ctx, `
		SELECT plugin::text, database::text, active, coalesce(active_pid, 0), coalesce(wal_status, ''), `+invalidation+`, safe_wal_size,
		       restart_lsn, confirmed_flush_lsn, w.lsn, (w.lsn - restart_lsn)::int8,
		       coalesce((SELECT setting::int8 FROM pg_settings WHERE name = 'max_slot_wal_keep_size'), -1)
		FROM pg_replication_slots, (SELECT `+walEnd+` AS lsn) w WHERE slot_name = $1 AND slot_type = 'logical'`, s.slot).
		Scan(&r.plugin, &r.database, &r.active, &r.activePID, &r.status, &r.invalidation, &r.safe, &restart, &confirmed, &end, &r.retained, &r.limit)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	for _, lsn := range []struct {
		from *pglogrepl.LSN
		to   *uint64
	}{{restart, &r.restart}, {confirmed, &r.confirmed}, {end, &r.end}} {
		if lsn.from != nil {
			*lsn.to = uint64(*lsn.from)
		}
	}
	return &r, err
}

// heldLong is how long a transaction is open before it is named as what holds WAL back.
const heldLong = 30 * time.Second

// Slot is what the server says of the slot; fault.NotFound where there is none.
func (s *Source) Slot(ctx context.Context) (probes.SlotStatus, error) {
	var st probes.SlotStatus
	err := s.with(ctx, "read the slot "+s.slot, func(q querier) error {
		r, err := s.readSlot(ctx, q)
		if err != nil {
			return err
		}
		if r == nil {
			return fault.New(fault.NotFound, "read the slot "+s.slot, "see `freshet sources status`", "there is no such slot")
		}
		st = probes.SlotStatus{
			Source: s.o.Name, Slot: s.slot, Active: r.active, WALStatus: r.status, Retained: -1, Safe: -1, Limited: r.limit >= 0,
			Restart: r.restart, ConfirmedFlush: r.confirmed, WALEnd: r.end, Invalidation: r.invalidation, At: time.Now(),
		}
		if r.retained != nil {
			st.Retained = max(0, *r.retained)
		}
		if r.safe != nil {
			st.Safe = max(0, *r.safe)
		}
		st.HeldBy, err = oldestTransaction(ctx, q, heldLong)
		return err
	})
	return st, err
}

const positionPoll = 5 * time.Millisecond

// Position is a position after everything that was committed before the call, and which the server will send by and by.
// What was committed asynchronously is written within three rounds of the WAL writer: it is waited for that long, unless
// all WAL is written before. What open transactions have inserted need not be, and is not waited for longer.
func (s *Source) Position(ctx context.Context) (uint64, error) {
	const op = "read the server's position"
	var inserted pglogrepl.LSN
	began := time.Now()
	for {
		var now, flushed pglogrepl.LSN
		var round int64
		err := s.with(ctx, op, func(q querier) error {
			return q.QueryRow(ctx, `SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END, `+walEnd+`,
				(SELECT setting::int8 FROM pg_settings WHERE name = 'wal_writer_delay')`).Scan(&now, &flushed, &round)
		})
		if err != nil {
			return 0, err
		}
		if inserted == 0 {
			inserted = now
		}
		if flushed >= inserted || time.Since(began) > 3*time.Duration(round)*time.Millisecond {
			return uint64(flushed), nil
		}
		if err := clock.Sleep(ctx, positionPoll); err != nil {
			return 0, s.fault(op, err)
		}
	}
}

const (
	monitorEvery      = 2 * time.Second
	publicationsEvery = 60 * time.Second
	monitorLimit      = 10 * time.Second
	clockTries        = 3
)

// monitor looks at the server beside the stream until ctx ends: where its WAL ends, how its clock stands, and now and
// then whether the publications are what they were.
func (s *Source) monitor(ctx context.Context, w *cdc.Writer, d detail) {
	tick := time.NewTicker(monitorEvery)
	defer tick.Stop()
	var checked time.Time
	var found []cdc.Finding
	for {
		if err := s.look(ctx, w); err != nil && ctx.Err() == nil {
			s.o.Logger.Warn("the server cannot be looked at beside the stream", "err", err)
		}
		if time.Since(checked) >= publicationsEvery {
			checked = time.Now()
			err := s.with(ctx, "compare the publications", func(q querier) error {
				bounded, cancel := context.WithTimeout(ctx, monitorLimit)
				defer cancel()
				findings, err := s.checkPublications(bounded, q, &d)
				if err == nil {
					found = findings
				}
				return err
			})
			if fault.Is(err, fault.Blocked) {
				w.Fail(err)
			}
		}
		findings := slices.Clip(found)
		if err := s.beatErr.Load(); err != nil && *err != nil {
			findings = append(findings, cdc.Finding{Text: (*err).Error()})
		}
		w.SetFindings(findings)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look reads the end of the server's WAL and the two clocks' difference: the shortest of some round trips bounds it best.
func (s *Source) look(ctx context.Context, w *cdc.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, monitorLimit)
	defer cancel()
	return s.with(ctx, "read the server's clock", func(q querier) error {
		best := cdc.Clock{Error: -1}
		var end pglogrepl.LSN
		for range clockTries {
			var theirs time.Time
			before := time.Now()
			if err := q.QueryRow(ctx, "SELECT clock_timestamp(), "+walEnd).Scan(&theirs, &end); err != nil {
				return err
			}
			trip := time.Since(before)
			// Their clock tells microseconds.
			if half := trip/2 + time.Microsecond; best.Error < 0 || half < best.Error {
				best = cdc.Clock{Offset: theirs.Sub(before.Add(trip / 2)), Error: half}
			}
		}
		w.SetServer(uint64(end), time.Now(), best)
		return nil
	})
}
