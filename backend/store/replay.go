package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"freshet/backend/auditlog"
	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/replay"
)

var _ replay.Ledger = (*Ledger)(nil)

// audited runs fn and appends e in one transaction; an e without an Action appends nothing.
func (l *Ledger) audited(ctx context.Context, e auditlog.Entry, fn func(tx *Tx) error) error {
	return l.Tx(ctx, func(tx *Tx) error {
		if err := fn(tx); err != nil || e.Action == "" {
			return err
		}
		_, err := tx.Audit(e)
		return err
	})
}

func encode(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

// changed reports whether a statement changed a row.
func changed(res sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

// SavePlan implements replay.Ledger.
func (l *Ledger) SavePlan(ctx context.Context, p replay.StoredPlan, e auditlog.Entry) error {
	document := string(p.Document)
	p.Document = nil
	body, err := encode(p)
	if err != nil {
		return fault.Wrap(fault.Internal, "save plan "+p.ID, err, "")
	}
	return l.audited(ctx, e, func(tx *Tx) error {
		done, err := changed(tx.Exec("INSERT INTO replay_plan (id, hash, state, document, body) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
			p.ID, p.Hash, string(p.State), document, body))
		if err == nil && !done {
			err = &fault.Error{Kind: fault.Exists, Op: "save plan " + p.ID, Code: "PLAN_EXISTS", Err: errors.New("it is there already"),
				Next: "freshet replay show " + p.ID}
		}
		return err
	})
}

const selectPlan = "SELECT id, hash, state, document, body FROM replay_plan "

func scanPlan(row interface{ Scan(...any) error }) (p replay.StoredPlan, err error) {
	var id, hash, state, document, body string
	if err := row.Scan(&id, &hash, &state, &document, &body); err != nil {
		return p, err
	}
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		return p, err
	}
	p.ID, p.Hash, p.State, p.Document = id, hash, replay.PlanState(state), json.RawMessage(document)
	return p, nil
}

// Plan implements replay.Ledger.
func (l *Ledger) Plan(ctx context.Context, ref string) (replay.StoredPlan, error) {
	op := "find plan " + ref
	p, err := scanPlan(l.file.read.QueryRowContext(ctx, selectPlan+"WHERE id = ?1 OR hash = ?1", ref))
	if !errors.Is(err, sql.ErrNoRows) {
		return p, sqlFault(op, err)
	}
	none := &fault.Error{Kind: fault.NotFound, Op: op, Code: "NO_PLAN", Err: errors.New("there is none"), Next: "freshet replay list shows the plans"}
	if len(ref) < 8 {
		return p, none
	}
	rows, err := l.file.read.QueryContext(ctx, selectPlan+"WHERE substr(id, 1, ?2) = ?1 OR substr(hash, 1, ?2) = ?1 LIMIT 2", ref, len(ref))
	if err != nil {
		return p, sqlFault(op, err)
	}
	found, err := collect(rows, scanPlan)
	switch {
	case err != nil:
		return p, sqlFault(op, err)
	case len(found) == 0:
		return p, none
	case len(found) > 1:
		return p, &fault.Error{Kind: fault.Invalid, Op: op, Code: "AMBIGUOUS", Err: errors.New("more than one plan begins with it"), Next: "give more of the id"}
	}
	return found[0], nil
}

func collect[T any](rows *sql.Rows, scan func(interface{ Scan(...any) error }) (T, error)) ([]T, error) {
	defer rows.Close()
	var out []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

// Plans implements replay.Ledger.
func (l *Ledger) Plans(ctx context.Context) ([]replay.StoredPlan, error) {
	rows, err := l.file.read.QueryContext(ctx, selectPlan+"ORDER BY n DESC")
	if err != nil {
		return nil, sqlFault("list plans", err)
	}
	out, err := collect(rows, scanPlan)
	return out, sqlFault("list plans", err)
}

// UpdatePlan implements replay.Ledger.
func (l *Ledger) UpdatePlan(ctx context.Context, from replay.PlanState, p replay.StoredPlan, e auditlog.Entry) error {
	return l.audited(ctx, e, func(tx *Tx) error { return updatePlan(tx, from, p) })
}

func updatePlan(tx *Tx, from replay.PlanState, p replay.StoredPlan) error {
	p.Document = nil
	body, err := encode(p)
	if err != nil {
		return err
	}
	done, err := changed(tx.Exec("UPDATE replay_plan SET state = ?, body = ? WHERE hash = ? AND state = ?", string(p.State), body, p.Hash, string(from)))
	if err != nil || done {
		return err
	}
	return planState(tx, "update plan "+p.ID, p.Hash, from)
}

// planState says why a plan was not as a change wanted it.
func planState(tx *Tx, op, hash string, from replay.PlanState) error {
	var state string
	err := tx.QueryRow("SELECT state FROM replay_plan WHERE hash = ?", hash).Scan(&state)
	if errors.Is(err, sql.ErrNoRows) {
		return fault.New(fault.NotFound, op, "", "there is no plan %s", hash)
	}
	if err != nil {
		return err
	}
	e := fault.New(fault.Conflict, op, "look at the plan again", "it is %s, not %s", state, from)
	e.Code = "PLAN_MOVED"
	return e
}

// Approve implements replay.Ledger.
func (l *Ledger) Approve(ctx context.Context, a replay.Approval, from replay.PlanState, p replay.StoredPlan, e auditlog.Entry) error {
	body, err := encode(a)
	if err != nil {
		return fault.Wrap(fault.Internal, "approve plan "+p.ID, err, "")
	}
	return l.audited(ctx, e, func(tx *Tx) error {
		if err := updatePlan(tx, from, p); err != nil {
			return err
		}
		_, err := tx.Exec("INSERT INTO replay_approval (plan_hash, body) VALUES (?, ?)", a.PlanHash, body)
		return err
	})
}

// Approvals implements replay.Ledger.
func (l *Ledger) Approvals(ctx context.Context, planHash string) ([]replay.Approval, error) {
	rows, err := l.file.read.QueryContext(ctx, "SELECT body FROM replay_approval WHERE plan_hash = ? ORDER BY n", planHash)
	if err != nil {
		return nil, sqlFault("list approvals", err)
	}
	out, err := collect(rows, func(row interface{ Scan(...any) error }) (a replay.Approval, err error) {
		var body string
		if err := row.Scan(&body); err != nil {
			return a, err
		}
		return a, json.Unmarshal([]byte(body), &a)
	})
	return out, sqlFault("list approvals", err)
}

// CreateJob implements replay.Ledger.
func (l *Ledger) CreateJob(ctx context.Context, from replay.PlanState, j replay.Job, e auditlog.Entry) error {
	return l.audited(ctx, e, func(tx *Tx) error {
		op := "make job " + j.ID
		var other string
		err := tx.QueryRow("SELECT id FROM replay_job WHERE plan_hash = ? AND run = ?", j.PlanHash, j.Run).Scan(&other)
		if err == nil {
			e := fault.New(fault.Conflict, op, "freshet replay show "+other, "job %s is run %d of the plan", other, j.Run)
			e.Code = "ALREADY_RUN"
			return e
		}
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		done, err := changed(tx.Exec(`UPDATE replay_plan SET state = ?1, body = json_remove(json_set(body, '$.state', ?1), '$.reason')
			WHERE hash = ?2 AND state = ?3`, string(replay.PlanConsumed), j.PlanHash, string(from)))
		if err != nil {
			return err
		}
		if !done {
			return planState(tx, op, j.PlanHash, from)
		}
		body, err := jobBody(j)
		if err != nil {
			return err
		}
		if _, err = tx.Exec("INSERT INTO replay_job (id, plan_hash, run, epoch, holder, lease_until_us, intent, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
			j.ID, j.PlanHash, j.Run, j.Epoch, j.Holder, micros(j.LeaseUntil), int64(j.Intent), body); err != nil {
			return err
		}
		return putShards(tx, j)
	})
}

func jobBody(j replay.Job) (string, error) {
	j.Shards = nil
	return encode(j)
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// putShards stores the shards that differ from what is stored.
func putShards(tx *Tx, j replay.Job) error {
	for i := range j.Shards {
		body, err := encode(&j.Shards[i])
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO replay_shard (job, partition, body) VALUES (?, ?, ?)
			ON CONFLICT DO UPDATE SET body = excluded.body WHERE body <> excluded.body`, j.ID, j.Shards[i].Partition, body); err != nil {
			return err
		}
	}
	return nil
}

const selectJob = "SELECT epoch, holder, lease_until_us, intent, body FROM replay_job "

func scanJob(row interface{ Scan(...any) error }) (j replay.Job, err error) {
	var epoch, lease, intent int64
	var holder, body string
	if err := row.Scan(&epoch, &holder, &lease, &intent, &body); err != nil {
		return j, err
	}
	if err := json.Unmarshal([]byte(body), &j); err != nil {
		return j, err
	}
	j.Epoch, j.Holder, j.LeaseUntil, j.Intent = epoch, holder, fromMicros(lease), uint64(intent)
	return j, nil
}

func scanShard(row interface{ Scan(...any) error }) (s shardOf, err error) {
	var body string
	if err := row.Scan(&s.job, &body); err != nil {
		return s, err
	}
	return s, json.Unmarshal([]byte(body), &s.ShardState)
}

type shardOf struct {
	job string
	replay.ShardState
}

// querier is what jobs are read with: the readers' pool, or a write transaction.
type querier interface {
	query(query string, args ...any) (*sql.Rows, error)
}

type readers struct {
	ctx context.Context
	db  *sql.DB
}

func (r readers) query(query string, args ...any) (*sql.Rows, error) {
	return r.db.QueryContext(r.ctx, query, args...)
}

func (t *Tx) query(query string, args ...any) (*sql.Rows, error) { return t.Query(query, args...) }

func getJob(q querier, id string) (replay.Job, error) {
	op := "find job " + id
	rows, err := q.query(selectJob+"WHERE id = ?", id)
	if err != nil {
		return replay.Job{}, err
	}
	jobs, err := collect(rows, scanJob)
	if err != nil {
		return replay.Job{}, err
	}
	if len(jobs) == 0 {
		return replay.Job{}, &fault.Error{Kind: fault.NotFound, Op: op, Code: "NO_JOB", Err: errors.New("there is none"), Next: "freshet replay list shows the jobs"}
	}
	if rows, err = q.query("SELECT job, body FROM replay_shard WHERE job = ? ORDER BY partition", id); err != nil {
		return replay.Job{}, err
	}
	shards, err := collect(rows, scanShard)
	for _, s := range shards {
		jobs[0].Shards = append(jobs[0].Shards, s.ShardState)
	}
	return jobs[0], err
}

// Job implements replay.Ledger.
func (l *Ledger) Job(ctx context.Context, id string) (replay.Job, error) {
	j, err := getJob(readers{ctx, l.file.read}, id)
	return j, sqlFault("find job "+id, err)
}

// Jobs implements replay.Ledger.
func (l *Ledger) Jobs(ctx context.Context) ([]replay.Job, error) {
	rows, err := l.file.read.QueryContext(ctx, selectJob+"ORDER BY n DESC")
	if err != nil {
		return nil, sqlFault("list jobs", err)
	}
	jobs, err := collect(rows, scanJob)
	if err != nil {
		return nil, sqlFault("list jobs", err)
	}
	if rows, err = l.file.read.QueryContext(ctx, "SELECT job, body FROM replay_shard ORDER BY job, partition"); err != nil {
		return nil, sqlFault("list jobs", err)
	}
	shards, err := collect(rows, scanShard)
	if err != nil {
		return nil, sqlFault("list jobs", err)
	}
	for _, s := range shards {
		if i := slices.IndexFunc(jobs, func(j replay.Job) bool { return j.ID == s.job }); i >= 0 {
			jobs[i].Shards = append(jobs[i].Shards, s.ShardState)
		}
	}
	return jobs, nil
}

// TakeJob implements replay.Ledger.
func (l *Ledger) TakeJob(ctx context.Context, id, holder string, ttl time.Duration, takeOver bool, e auditlog.Entry) (j replay.Job, err error) {
	err = l.Tx(ctx, func(tx *Tx) error {
		if j, err = getJob(tx, id); err != nil {
			return err
		}
		now := time.Now().UTC()
		if j.Holder != "" && j.Holder != holder && now.Before(j.LeaseUntil) && !takeOver {
			e := fault.New(fault.Conflict, "take job "+id, "wait for it, or: freshet replay resume "+id+" --take-over",
				"%s has it until %s", j.Holder, j.LeaseUntil.Format(stream.TimeFormat))
			e.Code = "LEASED"
			return e
		}
		j.Epoch++
		j.Holder, j.LeaseUntil, j.Updated = holder, now.Add(ttl).Truncate(time.Microsecond), now
		if j.Intent, err = tx.Audit(e); err != nil {
			return err
		}
		body, err := jobBody(j)
		if err != nil {
			return err
		}
		_, err = tx.Exec("UPDATE replay_job SET epoch = ?, holder = ?, lease_until_us = ?, intent = ?, body = ? WHERE id = ?",
			j.Epoch, j.Holder, micros(j.LeaseUntil), int64(j.Intent), body, id)
		return err
	})
	return j, err
}

// RenewJob implements replay.Ledger.
func (l *Ledger) RenewJob(ctx context.Context, id string, epoch int64, ttl time.Duration) error {
	return l.Tx(ctx, func(tx *Tx) error {
		done, err := changed(tx.Exec("UPDATE replay_job SET lease_until_us = ? WHERE id = ? AND epoch = ?", micros(time.Now().Add(ttl)), id, epoch))
		if err != nil || done {
			return err
		}
		return jobEpoch(tx, "renew job "+id, id)
	})
}

// jobEpoch says why a job was not as a change wanted it.
func jobEpoch(tx *Tx, op, id string) error {
	j, err := getJob(tx, id)
	if err != nil {
		return err
	}
	e := fault.New(fault.Conflict, op, "freshet replay show "+id+" tells who runs it", "%s took it over, epoch %d", j.Holder, j.Epoch)
	e.Code = "FENCED"
	return e
}

// UpdateJob implements replay.Ledger.
func (l *Ledger) UpdateJob(ctx context.Context, j replay.Job, e auditlog.Entry) error {
	body, err := jobBody(j)
	if err != nil {
		return fault.Wrap(fault.Internal, "update job "+j.ID, err, "")
	}
	return l.audited(ctx, e, func(tx *Tx) error {
		query := "UPDATE replay_job SET body = ? WHERE id = ? AND epoch = ?"
		if j.Holder == "" {
			query = "UPDATE replay_job SET holder = '', lease_until_us = 0, body = ? WHERE id = ? AND epoch = ?"
		}
		done, err := changed(tx.Exec(query, body, j.ID, j.Epoch))
		if err != nil {
			return err
		}
		if !done {
			return jobEpoch(tx, "update job "+j.ID, j.ID)
		}
		return putShards(tx, j)
	})
}

// Park implements replay.Ledger.
func (l *Ledger) Park(ctx context.Context, parked []replay.Parked, e auditlog.Entry) error {
	return l.audited(ctx, e, func(tx *Tx) error {
		now := time.Now().UnixMicro()
		for _, p := range parked {
			if _, err := tx.Exec(`INSERT INTO replay_parked (owner, topic, partition, "offset", kind, reason, at_us) VALUES (?, ?, ?, ?, ?, ?, ?)
				ON CONFLICT DO NOTHING`, p.Owner, p.Topic, p.Partition, p.Offset, string(p.Kind), strings.ToValidUTF8(p.Reason, "\ufffd"), now); err != nil {
				return err
			}
		}
		return nil
	})
}

// Parked implements replay.Ledger.
func (l *Ledger) Parked(ctx context.Context, owner string, limit int) ([]replay.Parked, error) {
	if limit <= 0 {
		limit = -1 // SQLite's no limit
	}
	rows, err := l.file.read.QueryContext(ctx, `SELECT owner, topic, partition, "offset", kind, reason, at_us FROM replay_parked
		WHERE owner = ? ORDER BY n DESC LIMIT ?`, owner, limit)
	if err != nil {
		return nil, sqlFault("list parked records", err)
	}
	out, err := collect(rows, func(row interface{ Scan(...any) error }) (p replay.Parked, err error) {
		var at int64
		err = row.Scan(&p.Owner, &p.Topic, &p.Partition, &p.Offset, &p.Kind, &p.Reason, &at)
		p.At = fromMicros(at)
		return p, err
	})
	return out, sqlFault("list parked records", err)
}

// CountParked implements replay.Ledger.
func (l *Ledger) CountParked(ctx context.Context, owner, topic string, r stream.Range) (map[replay.ParkKind]int64, error) {
	query, args := "SELECT kind, count(*) FROM replay_parked WHERE owner = ? GROUP BY kind", []any{owner}
	if topic != "" {
		query = `SELECT kind, count(*) FROM replay_parked WHERE owner = ? AND topic = ? AND partition = ? AND "offset" >= ? AND "offset" < ? GROUP BY kind`
		args = append(args, topic, r.Partition, r.From, r.To)
	}
	rows, err := l.file.read.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, sqlFault("count parked records", err)
	}
	type count struct {
		kind replay.ParkKind
		n    int64
	}
	counts, err := collect(rows, func(row interface{ Scan(...any) error }) (c count, err error) {
		return c, row.Scan(&c.kind, &c.n)
	})
	out := map[replay.ParkKind]int64{}
	for _, c := range counts {
		out[c.kind] = c.n
	}
	return out, sqlFault("count parked records", err)
}
