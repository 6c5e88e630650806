package app

import (
	"context"
	"encoding/json"
	"io"
	"path/filepath"
	"time"

	"freshet/backend/api"
	"freshet/backend/auditlog"
	"freshet/backend/auth"
	"freshet/backend/fault"
	"freshet/backend/store"
)

// audit is the history of acts as the API has it.
type audit struct{ *App }

func (a audit) List(ctx context.Context, q api.AuditQuery) ([]api.AuditEntry, string, error) {
	page, err := a.store.Ledger().Entries(ctx, auditFilter(q))
	if err != nil {
		return nil, "", err
	}
	return auditEntries(page), page.Next, nil
}

func auditFilter(q api.AuditQuery) auditlog.Filter {
	return auditlog.Filter{Actor: q.Actor, Action: q.Action, Subject: q.Subject, Text: q.Text, Since: q.Since, Until: q.Until, Limit: q.Limit, Cursor: q.Cursor}
}

func auditEntries(page auditlog.Page) []api.AuditEntry {
	items := make([]api.AuditEntry, len(page.Items))
	for i, e := range page.Items {
		items[i] = api.AuditEntry{Seq: api.ID(e.Seq), At: api.Time(e.At), Actor: e.Actor, Action: e.Action, Phase: string(e.Phase), Subject: e.Subject, Outcome: e.Outcome, Detail: e.Detail}
		if e.Ref != nil {
			items[i].Ref = api.ID(*e.Ref)
		}
	}
	return items
}

func (a audit) Proof(ctx context.Context, seq uint64) (api.AuditProof, error) {
	proved, err := a.store.Ledger().Entry(ctx, seq)
	if err != nil {
		return api.AuditProof{}, err
	}
	_, _, keys := a.store.Ledger().Signed()
	return api.AuditProof{Head: api.Head{V: 1, Kind: "audit.proof"}, Leaf: proved.Leaf, Proof: append([]string{}, proved.Proof...), Checkpoint: proved.Checkpoint.Note, Keys: keys}, nil
}

func (a audit) State(context.Context) (api.AuditState, error) {
	size, newest, _ := a.store.Ledger().Signed()
	out := api.AuditState{Head: api.Head{V: 1, Kind: "audit.state"}, Origin: a.store.Ledger().Origin(), Size: api.ID(size), Signed: api.ID(newest.Size), Verified: a.verified.Load()}
	if newest.Size > 0 {
		out.Root = newest.Short()
	}
	if err := a.store.Ledger().Trouble(); err != nil {
		out.Trouble = err.Error()
	}
	return out, nil
}

// Verify signs what is new first, so that every entry is proved by a checkpoint.
func (a audit) Verify(ctx context.Context) (api.AuditReport, error) {
	began := time.Now()
	if _, err := a.store.Ledger().Checkpoint(ctx); err != nil && !fault.Is(err, fault.Tampered) {
		return api.AuditReport{}, err
	}
	r, err := VerifyAudit(ctx, a.store.Dir(), "", "")
	if err != nil {
		return api.AuditReport{}, err
	}
	out := api.AuditReport{
		Head: api.Head{V: r.V, Kind: r.Kind}, OK: r.OK, Exit: r.Exit, Code: r.Code, Message: r.Message, Size: api.ID(r.DBSize), Root: r.Root,
		Proved: api.ID(r.Proved), Chained: api.ID(r.Chained), Source: r.CheckpointSource, Findings: []api.AuditFinding{}, More: r.More, Notes: r.Warnings,
		At: api.Time(began), Seconds: time.Since(began).Seconds(), By: auth.Actor(ctx),
	}
	for _, f := range r.Findings {
		found := api.AuditFinding{Code: f.Code, Message: f.Message}
		if f.Entry != nil {
			found.Entry = api.ID(*f.Entry)
		}
		if f.To != nil {
			found.To = api.ID(*f.To)
		}
		out.Findings = append(out.Findings, found)
	}
	a.verified.Store(&out)
	return out, nil
}

func (a audit) Export(ctx context.Context, w io.Writer) error { return a.store.Ledger().Export(ctx, w) }

// auditPoint signs the history as it stands after an entry, and tells its size and root.
func (a *App) auditPoint(ctx context.Context, seq uint64) api.AuditPoint {
	point := api.AuditPoint{Seq: api.ID(seq)}
	checkpoint, err := a.store.Ledger().Checkpoint(ctx)
	if err != nil {
		a.log.Error("the audit history cannot be signed", "err", err)
		return point
	}
	point.Size, point.Root = api.ID(checkpoint.Size), checkpoint.Short()
	return point
}

// VerifyAudit verifies a data directory's history, or the file named, with nothing running.
func VerifyAudit(ctx context.Context, dir, file, checkpoints string) (auditlog.Report, error) {
	if file == "" {
		file = filepath.Join(dir, "ledger.db")
	}
	return store.VerifyAudit(ctx, file, checkpoints)
}

// ListStored lists the history of a directory on which nothing runs, as the API would.
func ListStored(ctx context.Context, dir string, q api.AuditQuery) (json.RawMessage, error) {
	f, err := store.OpenAudit(ctx, filepath.Join(dir, "ledger.db"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	page, err := f.Entries(ctx, auditFilter(q))
	if err != nil {
		return nil, err
	}
	return json.Marshal(api.List[api.AuditEntry]{Head: api.Head{V: 1, Kind: "audit.list"}, Items: auditEntries(page), Next: page.Next})
}

// ExportStored exports the history of a directory on which nothing runs.
func ExportStored(ctx context.Context, dir string, w io.Writer) error {
	f, err := store.OpenAudit(ctx, filepath.Join(dir, "ledger.db"))
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Export(ctx, w)
}
