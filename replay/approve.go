package replay

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"freshet/backend/auditlog"
	"freshet/backend/fault"
	"freshet/backend/stream"
)

// Message is what an approver signs: which plan, which evidence was seen, who, until when.
func (a *Approval) Message() []byte {
	return []byte(strings.Join([]string{"freshet.approval.v1", a.PlanHash, a.Evidence, a.By, a.NotAfter.UTC().Format(stream.TimeFormat)}, "\n"))
}

// KeyID names a public key.
func KeyID(key ed25519.PublicKey) string {
	sum := sha256.Sum256(key)
	return "ed25519:" + hex.EncodeToString(sum[:4])
}

func evidenceHash(p StoredPlan) string {
	if p.Evidence == nil {
		return ""
	}
	return p.Evidence.SHA256
}

// Approve signs the plan and the evidence that was seen. hash, where not "", is the plan's full hash as the approver saw
// it. ttl, where not 0, shortens the time that the approval holds.
func (s *Service) Approve(ctx context.Context, actor, ref, hash string, ttl time.Duration) (Approval, StoredPlan, error) {
	var none Approval
	p, err := s.o.Ledger.Plan(ctx, ref)
	if err != nil {
		return none, p, err
	}
	doc, err := reread(p, p.Hash)
	if err != nil {
		return none, p, err
	}
	if hash != "" && hash != p.Hash {
		e := fault.New(fault.Drifted, "approve plan "+p.ID, "look at the plan again", "its hash is %s, not %s", p.Hash, hash)
		e.Code = "HASH_MISMATCH"
		return none, p, e
	}
	if actor == "" || strings.ContainsAny(actor, "\n\r") {
		return none, p, fault.New(fault.Invalid, "approve plan "+p.ID, "", "%q is no approver's name", actor)
	}
	self := same(actor, p.Author) || same(actor, p.Actor)
	if self && !s.o.Local {
		e := fault.New(fault.Denied, "approve plan "+p.ID, "ask somebody else", "%s made the plan", actor)
		e.Code = "SELF_APPROVAL"
		return none, p, e
	}
	have, err := s.approvals(ctx, p, time.Now())
	if err != nil {
		return none, p, err
	}
	for _, a := range have {
		if same(a.By, actor) && p.State != PlanApproved {
			e := fault.New(fault.Exists, "approve plan "+p.ID, "", "%s has approved it", actor)
			e.Code = "APPROVED_ALREADY"
			return none, p, e
		}
	}
	longest := time.Duration(doc.Plan.Approval.TTLS) * time.Second
	if ttl <= 0 || ttl > longest {
		ttl = longest
	}
	now := time.Now().UTC().Truncate(time.Millisecond)
	a := Approval{PlanID: p.ID, PlanHash: p.Hash, Evidence: evidenceHash(p), By: actor, At: now, NotAfter: now.Add(ttl), Self: self,
		KeyID: KeyID(s.o.Key.Public().(ed25519.PublicKey))}
	a.Signature = ed25519.Sign(s.o.Key, a.Message())
	to := PlanAwaiting
	if len(have)+1 >= p.Needed {
		to = PlanApproved
	}
	from := p.State
	if err := p.Move(to, ""); err != nil {
		return none, p, err
	}
	p.Updated = now
	e := planEntry(p, actor, "replay.approve", map[string]any{"evidence": a.Evidence, "not_after": a.NotAfter.Format(stream.TimeFormat),
		"self_approved": self, "key_id": a.KeyID, "have": len(have) + 1, "need": p.Needed})
	return a, p, s.o.Ledger.Approve(ctx, a, from, p, e)
}

// same reports whether two names are one person's.
func same(a, b string) bool { return strings.EqualFold(strings.TrimSpace(a), strings.TrimSpace(b)) }

// Reject refuses a plan for good, or revokes the approval of one that has not run.
func (s *Service) Reject(ctx context.Context, actor, ref, reason string) (StoredPlan, error) {
	if strings.TrimSpace(reason) == "" {
		return StoredPlan{}, fault.New(fault.Invalid, "reject the plan", "say why with --reason", "no reason is given")
	}
	p, err := s.o.Ledger.Plan(ctx, ref)
	if err != nil {
		return p, err
	}
	from, to := p.State, PlanRejected
	if from == PlanApproved {
		to = PlanRevoked
	}
	if err := p.Move(to, reason); err != nil {
		return p, err
	}
	return p, s.updatePlan(ctx, from, p, actor, "replay.reject", nil)
}

// Withdraw takes a plan back, which its author does.
func (s *Service) Withdraw(ctx context.Context, actor, ref, reason string) (StoredPlan, error) {
	p, err := s.o.Ledger.Plan(ctx, ref)
	if err != nil {
		return p, err
	}
	if !same(actor, p.Author) && !same(actor, p.Actor) {
		e := fault.New(fault.Denied, "withdraw plan "+p.ID, "reject it instead", "%s made it", p.Author)
		e.Code = "NOT_AUTHOR"
		return p, e
	}
	from := p.State
	if err := p.Move(PlanWithdrawn, reason); err != nil {
		return p, err
	}
	return p, s.updatePlan(ctx, from, p, actor, "replay.withdraw", nil)
}

// approvals are the plan's approvals that count: by different people who are not the author unless the profile is local,
// signed by our key over this plan and the evidence it has now, and not past their time.
func (s *Service) approvals(ctx context.Context, p StoredPlan, now time.Time) ([]Approval, error) {
	all, err := s.o.Ledger.Approvals(ctx, p.Hash)
	if err != nil {
		return nil, err
	}
	var out []Approval
	for _, a := range all {
		if a.PlanHash != p.Hash || !ed25519.Verify(s.o.Key.Public().(ed25519.PublicKey), a.Message(), a.Signature) {
			e := fault.New(fault.Tampered, "check the approvals of plan "+p.ID, "run: freshet audit verify", "the signature of %s does not verify", a.By)
			e.Code = "APPROVAL_TAMPERED"
			return nil, e
		}
		self := same(a.By, p.Author) || same(a.By, p.Actor)
		if a.Evidence == evidenceHash(p) && now.Before(a.NotAfter) && (!self || s.o.Local) {
			out = append(out, a)
		}
	}
	return out, nil
}

// Approvals lists every approval of a plan, and how many of them count now.
func (s *Service) Approvals(ctx context.Context, p StoredPlan) (all []Approval, have int, err error) {
	if all, err = s.o.Ledger.Approvals(ctx, p.Hash); err != nil {
		return nil, 0, err
	}
	valid, err := s.approvals(ctx, p, time.Now())
	return all, len(valid), err
}

// allowed refuses to run a plan that does not have the approvals it needs.
func (s *Service) allowed(ctx context.Context, actor string, p StoredPlan, now time.Time) error {
	have, err := s.approvals(ctx, p, now)
	if err != nil {
		return err
	}
	open := p.State == PlanApproved || p.Needed == 0 && p.State.CanMove(PlanConsumed)
	if open && len(have) >= p.Needed {
		return nil
	}
	e := fault.New(fault.Denied, "run plan "+p.ID, "run: freshet replay approve "+p.ID, "it is %s and has %d of %d approvals", p.State, len(have), p.Needed)
	e.Code = "APPROVAL_MISSING"
	switch p.State {
	case PlanApproved:
		from := p.State
		if err := p.Move(PlanExpired, "the approval's time is over"); err != nil {
			return err
		}
		if err := s.updatePlan(ctx, from, p, "system", "replay.expire", nil); err != nil {
			return err
		}
		e.Code, e.Err, e.Next = "APPROVAL_EXPIRED", fmt.Errorf("its approval is past its time"), "make the plan again"
	case PlanPlanned, PlanDryRun, PlanReady, PlanAwaiting:
	default:
		e.Code, e.Next = "PLAN_"+string(p.State), "make the plan again"
		if p.Reason != "" {
			e.Err = fmt.Errorf("it is %s: %s", p.State, p.Reason)
		}
		if p.State == PlanInvalid {
			e.Kind = fault.Drifted
		}
	}
	return e
}

func (s *Service) updatePlan(ctx context.Context, from PlanState, p StoredPlan, actor, action string, detail map[string]any) error {
	p.Updated = time.Now().UTC()
	return s.o.Ledger.UpdatePlan(ctx, from, p, planEntry(p, actor, action, detail))
}

func planEntry(p StoredPlan, actor, action string, detail map[string]any) auditlog.Entry {
	if detail == nil {
		detail = map[string]any{}
	}
	detail["plan_hash"], detail["state"] = p.Hash, p.State
	if p.Reason != "" {
		detail["reason"] = p.Reason
	}
	return auditlog.Entry{Actor: actor, Action: action, Phase: auditlog.Note, Subject: p.ID, Detail: mustJSON(detail)}
}
