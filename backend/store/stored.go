package store

import (
	"context"

	"freshet/replay"
)

// ledger is the file as a Ledger, for what only reads.
func (a *AuditFile) ledger() *Ledger {
	return &Ledger{file: &file{read: a.db}, auditReader: a.auditReader}
}

// Plan finds a plan as Ledger.Plan does.
func (a *AuditFile) Plan(ctx context.Context, ref string) (replay.StoredPlan, error) {
	return a.ledger().Plan(ctx, ref)
}

// Approvals returns a plan's approvals as Ledger.Approvals does.
func (a *AuditFile) Approvals(ctx context.Context, planHash string) ([]replay.Approval, error) {
	return a.ledger().Approvals(ctx, planHash)
}

// Job finds a job as Ledger.Job does.
func (a *AuditFile) Job(ctx context.Context, id string) (replay.Job, error) {
	return a.ledger().Job(ctx, id)
}
