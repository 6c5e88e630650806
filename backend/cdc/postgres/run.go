package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"freshet/backend/cdc"
	"freshet/backend/clock"
	"freshet/backend/fault"
)

// detail is what is kept of the server: which one it is and what was made there.
type detail struct {
	SystemID        string              `json:"system_id"`
	Timeline        int32               `json:"timeline"`
	Slot            string              `json:"slot"`
	ConsistentPoint uint64              `json:"consistent_point,string"`
	Publications    []detailPublication `json:"publications"`
}

type detailPublication struct {
	Name   string      `json:"name"`
	OID    uint32      `json:"oid"`
	Tables []cdc.Table `json:"tables"`
}

// identity is stream.Position's Source.
func (d *detail) identity() string {
	return fmt.Sprintf("pg/%s/%s/%x", d.SystemID, d.Slot, d.ConsistentPoint)
}

func (d *detail) publicationNames() string {
	var names []string
	for _, p := range d.Publications {
		names = append(names, quoteIdent(p.Name))
	}
	return strings.Join(names, ",")
}

func (d *detail) tables() []cdc.Table {
	var tables []cdc.Table
	for _, p := range d.Publications {
		tables = append(tables, p.Tables...)
	}
	return tables
}

func (d *detail) topics(s *Source) map[cdc.Table]string {
	topics := map[cdc.Table]string{}
	for _, t := range d.tables() {
		topics[t] = s.topicName(t)
	}
	return topics
}

func readDetail(st cdc.State) (d detail, err error) {
	if len(st.Detail) == 0 {
		return d, nil
	}
	if err := json.Unmarshal(st.Detail, &d); err != nil {
		return d, fault.New(fault.Internal, "read what is kept of the source", "drop the source and create it anew", "%v", err)
	}
	return d, nil
}

func (d *detail) save(ctx context.Context, w *cdc.Writer, change func(*cdc.State)) error {
	b, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return w.Save(ctx, func(s *cdc.State) {
		s.Detail = b
		change(s)
	})
}

// Run captures until ctx ends. Where there is no slot yet it makes publications and slot and reads the snapshot first.
func (s *Source) Run(ctx context.Context, w *cdc.Writer) error {
	state := w.State()
	d, err := readDetail(state)
	if err != nil {
		return err
	}
	if state.Making {
		// A snapshot's rows can be had under their slot's own snapshot only, which is gone: all of it begins anew, under
		// another identity.
		if err := s.startOver(ctx, d); err != nil {
			return err
		}
		if err := w.Save(ctx, func(st *cdc.State) { *st = cdc.State{Paused: st.Paused} }); err != nil {
			return err
		}
		state.Source = ""
	}
	if state.Source == "" {
		if d, err = s.setUp(ctx, w); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
	return s.stream(ctx, w, d)
}

// startOver removes the slot. Publications that still serve stay: to drop one can fail what the application writes just then
// ("cache lookup failed for publication").
func (s *Source) startOver(ctx context.Context, d detail) error {
	if err := s.remove(ctx, d, false); err != nil {
		return err
	}
	p, err := s.Plan(ctx)
	if err != nil || p.Err() == nil {
		return err
	}
	return s.remove(ctx, d, true)
}

// setUp makes what the capture needs on the server and reads the snapshot.
func (s *Source) setUp(ctx context.Context, w *cdc.Writer) (detail, error) {
	w.SetState(cdc.Snapshot, "making publication and slot")
	p, err := s.Plan(ctx)
	if err != nil {
		return detail{}, err
	}
	if err := p.Err(); err != nil {
		return detail{}, err
	}
	r, err := s.openReplication(ctx)
	if err != nil {
		return detail{}, err
	}
	defer r.close()
	system, err := pglogrepl.IdentifySystem(ctx, r.conn)
	if err != nil {
		return detail{}, s.fault("identify the server", err)
	}
	d := detail{SystemID: system.SystemID, Timeline: system.Timeline, Slot: s.slot}
	// What is announced here is looked for and removed after a crash.
	if err := d.save(ctx, w, func(st *cdc.State) { st.Making = true }); err != nil {
		return d, err
	}
	// The publications come before the slot: the slot sees the catalog as of its own beginning.
	if err := s.createPublications(ctx, p); err != nil {
		return d, err
	}
	if err := s.readPublications(ctx, p, &d); err != nil {
		return d, err
	}
	snapshot, err := s.createSlot(ctx, w, r, &d)
	if err != nil {
		return d, err
	}
	if err := d.save(ctx, w, func(st *cdc.State) {
		st.Source, st.Confirmed, st.Making = d.identity(), d.ConsistentPoint, !s.o.NoSnapshot
	}); err != nil {
		return d, err
	}
	w.SetTables(d.topics(s))
	if s.o.NoSnapshot {
		return d, nil
	}
	if err := s.snapshot(ctx, w, r, p, &d, snapshot); err != nil {
		return d, err
	}
	if err := w.Flush(ctx); err != nil {
		return d, err
	}
	return d, w.Save(ctx, func(st *cdc.State) { st.Making = false })
}

// readPublications notes which publications there are now.
func (s *Source) readPublications(ctx context.Context, p *Plan, d *detail) error {
	const op = "read the publications"
	return s.with(ctx, op, func(q querier) error {
		for _, planned := range p.Publications {
			have, err := s.readPublication(ctx, q, planned.Name)
			if err != nil {
				return err
			}
			if have == nil {
				return fault.New(fault.Drifted, op, "plan again", "the publication %s is gone", planned.Name)
			}
			if why := differs(have, &planned); len(why) > 0 {
				return fault.New(fault.Drifted, op, "plan again", "the publication %s is not as planned: %s", planned.Name, strings.Join(why, ", "))
			}
			d.Publications = append(d.Publications, detailPublication{Name: have.Name, OID: have.OID, Tables: have.Tables})
		}
		return nil
	})
}

// createSlot makes the slot and returns its exported snapshot. The server waits for every transaction that is open with
// a transaction id before the slot can begin; who that is is told meanwhile.
func (s *Source) createSlot(ctx context.Context, w *cdc.Writer, r *replication, d *detail) (snapshot string, err error) {
	op := "create the slot " + s.slot
	bounded, cancel := context.WithTimeout(ctx, s.o.SlotWait)
	defer cancel()
	told := make(chan string, 1)
	go func() {
		told <- s.tellWaiting(bounded, w)
	}()
	action := "EXPORT_SNAPSHOT"
	if s.o.NoSnapshot {
		action = "NOEXPORT_SNAPSHOT"
	}
	result, err := pglogrepl.CreateReplicationSlot(bounded, r.conn, s.slot, "pgoutput", pglogrepl.CreateReplicationSlotOptions{
		Mode: pglogrepl.LogicalReplication, SnapshotAction: action,
	})
	timedOut := bounded.Err() != nil && ctx.Err() == nil
	cancel()
	holder := <-told
	if timedOut {
		if holder == "" {
			holder = "transactions that were open before"
		}
		return "", fault.New(fault.Timeout, op, "end that transaction, or wait: it is tried again soon", "it has waited %s for %s", s.o.SlotWait, holder)
	}
	if err != nil {
		return "", s.fault(op, err)
	}
	point, err := pglogrepl.ParseLSN(result.ConsistentPoint)
	if err != nil {
		return "", s.fault(op, err)
	}
	d.ConsistentPoint = uint64(point)
	return result.SnapshotName, nil
}

// tellWaiting shows whose transaction a slot waits for until ctx ends, and returns the last one seen.
func (s *Source) tellWaiting(ctx context.Context, w *cdc.Writer) (holder string) {
	for tick := time.NewTicker(time.Second); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return holder
		case <-tick.C:
		}
		var oldest string
		err := s.with(ctx, "look for open transactions", func(q querier) (err error) {
			oldest, err = oldestTransaction(ctx, q, 0)
			return err
		})
		if err == nil && oldest != "" {
			holder = oldest
			w.SetState(cdc.Snapshot, "the slot waits for "+holder)
		}
	}
}

// oldestTransaction tells of the oldest transaction with an id that is open for longer than some time, "" for none.
func oldestTransaction(ctx context.Context, q querier, than time.Duration) (string, error) {
	var text string
	err := q.QueryRow(ctx, `
		SELECT text FROM (
			SELECT age(backend_xid) AS age, now() - xact_start AS open,
			       format('pid %s (%s, %s, %s) in database %s, %s since %s', pid, coalesce(nullif(application_name, ''), 'no application name'),
			              usename, state, datname, CASE WHEN state LIKE 'idle%' THEN 'idle' ELSE 'open' END, to_char(xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"')) AS text
			FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
			UNION ALL
			SELECT age(transaction), now() - prepared,
			       format('the prepared transaction %s of %s in database %s since %s', gid, owner, database, to_char(prepared AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS"Z"'))
			FROM pg_prepared_xacts
		) t WHERE open >= $1 ORDER BY age DESC LIMIT 1`, than).Scan(&text)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return text, err
}

// checkServer compares the server and its slot with what is kept, so that nothing is missed in silence.
func (s *Source) checkServer(ctx context.Context, r *replication, w *cdc.Writer, d *detail) error {
	const (
		op    = "compare the server with what is kept of it"
		anew  = "drop the source and create it anew: its snapshot brings every row again, what was deleted meanwhile goes at the sinks with it"
		other = "connect to the server that the source was made on, or " + anew
	)
	system, err := pglogrepl.IdentifySystem(ctx, r.conn)
	if err != nil {
		return s.fault("identify the server", err)
	}
	confirmed := w.State().Confirmed
	blocked := func(code, next, format string, args ...any) error {
		return &fault.Error{Kind: fault.Blocked, Op: op, Code: code, Err: fmt.Errorf(format, args...), Next: next}
	}
	switch {
	case system.SystemID != d.SystemID:
		return blocked("OTHER_SERVER", other, "this is another server: system identifier %s, and not %s", system.SystemID, d.SystemID)
	case uint64(system.XLogPos) < confirmed:
		return blocked("SERVER_BEHIND", other, "the server's WAL ends at %s, before %s that is captured already: it was restored from an older copy",
			system.XLogPos, pglogrepl.LSN(confirmed))
	case system.Timeline < d.Timeline:
		return blocked("SERVER_BEHIND", other, "the server is on timeline %d, and was on %d", system.Timeline, d.Timeline)
	}
	if system.Timeline > d.Timeline {
		history, err := pglogrepl.TimelineHistory(ctx, r.conn, system.Timeline)
		if err != nil {
			return s.fault("read the timeline's history", err)
		}
		end, ok := timelineEnd(history.Content, d.Timeline)
		if !ok || confirmed > end {
			return blocked("TIMELINE_FORKED", anew, "the server was promoted, and its history leaves timeline %d before %s that is captured already",
				d.Timeline, pglogrepl.LSN(confirmed))
		}
		// What the log took and was not confirmed any more may be lost to the new timeline just as well. Its positions are
		// given again there, to other changes, which would be taken for those that the topic has.
		for _, name := range d.topics(s) {
			topic, err := w.Topic(ctx, name)
			if err != nil {
				return err
			}
			if w.Beyond(topic, end) {
				return blocked("TIMELINE_FORKED", anew, "the server was promoted, and its history leaves timeline %d before changes that the topic %s holds already",
					d.Timeline, name)
			}
		}
		d.Timeline = system.Timeline
		if err := d.save(ctx, w, func(*cdc.State) {}); err != nil {
			return err
		}
	}
	return s.with(ctx, op, func(q querier) error {
		slot, err := s.readSlot(ctx, q)
		if err != nil {
			return err
		}
		switch {
		case slot == nil:
			return blocked("SLOT_MISSING", anew, "the slot %s is gone: what was committed after %s cannot be had any more", s.slot, pglogrepl.LSN(confirmed))
		case slot.plugin != "pgoutput" || slot.database != s.database:
			return blocked("SLOT_FOREIGN", anew, "the slot %s is another one: plugin %s, database %s", s.slot, slot.plugin, slot.database)
		case slot.lost():
			return blocked("SLOT_LOST", anew, "the server has given the slot %s up (%s): what was committed after %s cannot be had any more",
				s.slot, slot.why(), pglogrepl.LSN(confirmed))
		case slot.confirmed > confirmed:
			return blocked("SLOT_AHEAD", anew, "the slot %s stands at %s, after %s that is captured: it was made anew or read by somebody else, and what lies between is missed",
				s.slot, pglogrepl.LSN(slot.confirmed), pglogrepl.LSN(confirmed))
		}
		_, err = s.checkPublications(ctx, q, d)
		return err
	})
}

// timelineEnd finds where a timeline ends in a history file: lines of timeline, LSN and reason.
func timelineEnd(history []byte, timeline int32) (end uint64, ok bool) {
	for line := range strings.Lines(string(history)) {
		var id int32
		var lsn string
		if n, _ := fmt.Sscanf(line, "%d %s", &id, &lsn); n != 2 || id != timeline {
			continue
		}
		if at, err := pglogrepl.ParseLSN(lsn); err == nil {
			return uint64(at), true
		}
	}
	return 0, false
}

// checkPublications compares the publications with those that the slot was made for. One that was made anew is an error:
// what was written between is not sent. What a person should know otherwise are findings.
func (s *Source) checkPublications(ctx context.Context, q querier, d *detail) ([]cdc.Finding, error) {
	var findings []cdc.Finding
	var published []cdc.Table
	changes := map[cdc.Table]bool{}
	for _, p := range d.Publications {
		have, err := s.readPublication(ctx, q, p.Name)
		if err != nil {
			return nil, err
		}
		if have == nil || have.OID != p.OID {
			return nil, &fault.Error{Kind: fault.Blocked, Op: "compare the publications with what is kept of them", Code: "PUBLICATION_GONE",
				Err:  fmt.Errorf("the publication %s was dropped: changes since then are not sent", p.Name),
				Next: "drop the source and create it anew: its snapshot brings every row again"}
		}
		for _, t := range have.Tables {
			published = append(published, t)
			changes[t] = have.Update || have.Delete
			if !slices.Contains(d.tables(), t) {
				findings = append(findings, cdc.Finding{Table: t.String(), Text: "was added to the publication " + p.Name + ": its changes are captured, the rows it had are not"})
			}
		}
		for _, t := range have.Narrowed {
			findings = append(findings, cdc.Finding{Table: t.String(), Text: "a row filter or a column list was set: not all of it is captured"})
		}
	}
	for _, t := range d.tables() {
		if !slices.Contains(published, t) {
			findings = append(findings, cdc.Finding{Table: t.String(), Text: "is no longer published: its changes are not captured"})
		}
	}
	tables, err := s.tables(ctx, q)
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		if !slices.Contains(published, t.Table) && !slices.Contains(d.tables(), t.Table) {
			findings = append(findings, cdc.Finding{Table: t.String(), Text: "was created later and is not captured: drop the source and create it anew to have it"})
		}
		if changes[t.Table] && !t.carries {
			findings = append(findings, cdc.Finding{Table: t.String(), Text: "has lost its replica identity: the server refuses the application's updates and deletes of it. ALTER TABLE " +
				quoteTable(t.Table) + " REPLICA IDENTITY FULL lets them be"})
		}
	}
	return findings, nil
}

// Drop removes the slot and those publications that this source made.
func (s *Source) Drop(ctx context.Context, st cdc.State) error {
	d, err := readDetail(st)
	if err != nil || d.Slot == "" {
		return err
	}
	return s.remove(ctx, d, true)
}

const dropWait = 30 * time.Second

func (s *Source) remove(ctx context.Context, d detail, publications bool) error {
	const op = "remove what was made on the server"
	conn, err := s.open(ctx, true, maxControlBody)
	if err != nil {
		return err
	}
	defer closeConn(conn)
	var system string
	if err := conn.QueryRow(ctx, "SELECT system_identifier::text FROM pg_control_system()").Scan(&system); err != nil {
		return s.fault(op, err)
	}
	if system != d.SystemID {
		return fault.New(fault.Blocked, op, "connect to the server that the source was made on", "this is another server: system identifier %s, and not %s", system, d.SystemID)
	}
	if err := s.dropSlot(ctx, conn, d.Slot); err != nil {
		return err
	}
	if !publications {
		return nil
	}
	full, insert := s.publications()
	for _, name := range []string{full, insert} {
		p, err := s.readPublication(ctx, conn, name)
		if err != nil {
			return s.fault(op, err)
		}
		if p == nil || p.Comment != s.publicationComment() {
			continue // none, or its maker's
		}
		if _, err := conn.Exec(ctx, "DROP PUBLICATION "+quoteIdent(name)); err != nil {
			return s.fault(op, err)
		}
	}
	return nil
}

// dropSlot waits for a session that reads the slot, since ours may be on its way out, and ends nobody's.
func (s *Source) dropSlot(ctx context.Context, conn *pgx.Conn, name string) error {
	op := "drop the slot " + name
	deadline := time.Now().Add(dropWait)
	for {
		slot, err := s.readSlot(ctx, conn)
		if err != nil {
			return s.fault(op, err)
		}
		if slot == nil {
			return nil
		}
		if !slot.active {
			_, err := conn.Exec(ctx, "SELECT pg_drop_replication_slot($1)", name)
			return s.fault(op, err)
		}
		if time.Now().After(deadline) {
			return fault.New(fault.Conflict, op, "end that session and drop again", "pid %d reads it", slot.activePID)
		}
		if err := clock.Sleep(ctx, 100*time.Millisecond); err != nil {
			return s.fault(op, err)
		}
	}
}
