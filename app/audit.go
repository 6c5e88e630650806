package app

import (
	"context"
	"encoding/json"
	"io"
	"path/filepath"

	"freshet/backend/api"
	"freshet/backend/auditlog"
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

func (a audit) Proof(ctx context.Context, seq uint64) (json.RawMessage, error) {
	proved, err := a.store.Ledger().Entry(ctx, seq)
	if err != nil {
		return nil, err
	}
	return json.Marshal(proved)
}

// Verify signs what is new first, so that every entry is proved by a checkpoint.
func (a audit) Verify(ctx context.Context) (api.AuditReport, error) {
	if _, err := a.store.Ledger().Checkpoint(ctx); err != nil {
		return api.AuditReport{}, err
	}
	r, err := VerifyAudit(ctx, a.store.Dir(), "", "")
	if err != nil {
		return api.AuditReport{}, err
	}
	return api.AuditReport{
		Head: api.Head{V: r.V, Kind: r.Kind}, OK: r.OK, Exit: r.Exit, Code: r.Code, Message: r.Message, Size: api.ID(r.DBSize), Root: r.Root,
		Proved: api.ID(r.Proved), Chained: api.ID(r.Chained), Notes: r.Warnings,
	}, nil
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
