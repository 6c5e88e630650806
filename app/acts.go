package app

import (
	"context"
	"encoding/json"
	"time"

	"freshet/backend/api"
	"freshet/backend/auditlog"
	"freshet/backend/auth"
	"freshet/backend/fault"
)

// act does something that has an effect: the intent is durable before it, the result after. The effect's detail goes
// into the result; a failure is recorded with its words. It returns where the history stands.
func (a *App) act(ctx context.Context, action, subject string, intent any, effect func(context.Context) (any, error)) (api.AuditPoint, error) {
	ledger := a.store.Ledger()
	entry := auditlog.Entry{Actor: auth.Actor(ctx), Action: action, Phase: auditlog.Intent, Subject: subject, Detail: detail(intent)}
	ref, err := ledger.Record(ctx, entry)
	if err != nil {
		return api.AuditPoint{}, fault.Wrap(fault.Unavailable, "announce "+action+" in the audit history", err, "nothing was done; see to the data directory")
	}
	done, effectErr := effect(ctx)
	entry.Phase, entry.Ref, entry.Outcome, entry.Detail = auditlog.Result, &ref, "done", detail(done)
	if effectErr != nil {
		entry.Outcome, entry.Detail = "failed", detail(map[string]string{"error": effectErr.Error()})
	}
	// The result is recorded even where the asker has gone away meanwhile.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	seq, err := ledger.Record(ctx, entry)
	if effectErr != nil {
		return api.AuditPoint{}, effectErr
	}
	if err != nil {
		return api.AuditPoint{}, fault.Wrap(fault.Unavailable, "record the result of "+action, err, "it was done; the history will call it interrupted")
	}
	a.event("audit", action+" "+subject, subject, seq)
	return a.auditPoint(ctx, seq), nil
}

// receipt is act with the answer that most routes give.
func (a *App) receipt(ctx context.Context, action, subject string, intent any, effect func(context.Context) error) (api.Receipt, error) {
	point, err := a.act(ctx, action, subject, intent, func(ctx context.Context) (any, error) { return nil, effect(ctx) })
	return api.Receipt{Head: api.Head{V: 1, Kind: action}, Name: subject, Audit: point}, err
}

func detail(v any) json.RawMessage {
	if v == nil {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return json.RawMessage(`{"detail":"not encodable"}`)
	}
	return b
}
