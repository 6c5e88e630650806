package replay

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"freshet/backend/fault"
	"freshet/backend/stream"
)

// DryRun runs the plan's pipeline without its sink, keeps what it counted as evidence, and returns up to samples of the
// records that would be written. A plan that is past approval keeps the evidence that was approved.
func (s *Service) DryRun(ctx context.Context, actor, ref string, samples int) (StoredPlan, []Sample, error) {
	p, err := s.o.Ledger.Plan(ctx, ref)
	if err != nil {
		return p, nil, err
	}
	doc, err := reread(p, p.Hash)
	if err != nil {
		return p, nil, err
	}
	if err := doc.Plan.Unsupported(); err != nil {
		return p, nil, err
	}
	s.mu.Lock()
	busy := s.dry[p.Hash]
	s.dry[p.Hash] = true
	s.mu.Unlock()
	if busy {
		e := fault.New(fault.Conflict, "dry-run plan "+p.ID, "wait for it", "a dry run of it is under way")
		e.Code = "DRY_RUN_BUSY"
		return p, nil, e
	}
	defer func() {
		s.mu.Lock()
		delete(s.dry, p.Hash)
		s.mu.Unlock()
	}()
	store := p.State.CanMove(PlanDryRun)
	if store {
		from := p.State
		if err := p.Move(PlanDryRun, ""); err != nil {
			return p, nil, err
		}
		if err := s.updatePlan(ctx, from, p, actor, "replay.dry_run", nil); err != nil {
			return p, nil, err
		}
	}
	evidence, shown, err := s.rehearse(ctx, &doc.Plan, min(samples, maxSamples))
	if !store {
		if err == nil {
			p.Evidence = evidence
		}
		return p, shown, asFault(err)
	}
	to, reason := PlanReady, ""
	detail := map[string]any{}
	if err != nil {
		to, reason = PlanPlanned, asFault(err).Error()
	} else {
		p.Evidence = evidence
		p.Warnings = slices.DeleteFunc(p.Warnings, func(w Warning) bool { return w.Code == "OVER_LIMIT" })
		p.Warnings = append(p.Warnings, overLimit(&doc.Plan, evidence)...)
		detail["evidence"] = evidence
	}
	if e := p.Move(to, reason); e != nil {
		return p, nil, errors.Join(asFault(err), e)
	}
	// What was found is stored even where the caller has gone.
	if e := s.updatePlan(context.WithoutCancel(ctx), PlanDryRun, p, actor, "replay.dry_run", detail); e != nil {
		return p, nil, errors.Join(asFault(err), e)
	}
	return p, shown, asFault(err)
}

func overLimit(p *Plan, e *Evidence) (out []Warning) {
	if e.WouldWrite > p.Limits.MaxRecords {
		out = append(out, Warning{"OVER_LIMIT", fmt.Sprintf("%d records would be written and the plan stops at %d", e.WouldWrite, p.Limits.MaxRecords)})
	}
	if e.WouldDLQ > p.Limits.MaxDLQ {
		out = append(out, Warning{"OVER_LIMIT", fmt.Sprintf("%d records would be set aside and the plan stops at %d", e.WouldDLQ, p.Limits.MaxDLQ)})
	}
	return out
}

// rehearsal is one partition's part of a dry run.
type rehearsal struct {
	counts   Counts
	items    int64
	disorder time.Duration
	digest   hash.Hash
	samples  []Sample
}

func (s *Service) rehearse(ctx context.Context, p *Plan, samples int) (*Evidence, []Sample, error) {
	w, err := s.inspect(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	start := map[int32]int64{}
	for _, r := range p.Source.Ranges {
		start[r.Partition] = r.Start
	}
	if drift := w.drift(p, start, false); len(drift) > 0 {
		return nil, nil, driftFault(drift)
	}
	sh, err := s.shapeOf(p, w.cluster, w.target)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	parts := make([]rehearsal, len(p.Source.Ranges))
	errs := make([]error, len(parts))
	free := make(chan struct{}, s.o.Parallel)
	var wait sync.WaitGroup
	for i := range parts {
		free <- struct{}{}
		wait.Go(func() {
			defer func() { <-free }()
			if errs[i] = s.rehearsePart(ctx, w.cluster.Source, sh, p, i, &parts[i], samples); errs[i] != nil {
				cancel()
			}
		})
	}
	wait.Wait()
	if err := worst(errs); err != nil {
		return nil, nil, err
	}
	e, shown := sum(p, parts, samples)
	return e, shown, nil
}

func (s *Service) rehearsePart(ctx context.Context, source Source, sh *shape, p *Plan, i int, out *rehearsal, samples int) error {
	r := p.Source.Ranges[i]
	id, err := ParseTopicID(p.Source.TopicID)
	if err != nil {
		return err
	}
	reader, err := source.Read(ctx, ReadRequest{Topic: p.Source.Topic, TopicID: id, Partition: r.Partition, From: r.Start, To: r.End})
	if err != nil {
		return &sourceError{err}
	}
	defer reader.Close()
	out.digest = sha256.New()
	shaper := sh.shaper("", p.Source.Topic, r.Partition)
	err = shaper.read(ctx, reader, r.Start, s.o.BatchRecords, s.o.BatchBytes, func(q *piece) error {
		out.counts.Add(q.counts)
		out.counts.Bytes += q.bytes
		out.items += int64(len(q.items))
		for _, it := range q.items {
			digest(out.digest, it.Record)
			if len(out.samples) < samples {
				out.samples = append(out.samples, sample(it.Record))
			}
		}
		return nil
	})
	out.disorder = shaper.disorder
	return err
}

func digest(h io.Writer, r *stream.Record) {
	var head [28]byte
	binary.BigEndian.PutUint32(head[0:], uint32(r.Partition))
	binary.BigEndian.PutUint64(head[4:], uint64(r.Offset))
	binary.BigEndian.PutUint64(head[12:], uint64(len(r.Key)))
	binary.BigEndian.PutUint64(head[20:], uint64(len(r.Value)))
	_, _ = h.Write(head[:]) // a hash takes everything
	_, _ = h.Write(r.Key)
	_, _ = h.Write(r.Value)
}

func sample(r *stream.Record) Sample {
	return Sample{Partition: r.Partition, Offset: r.Offset, Time: r.Time, Key: preview(r.Key, 200), Value: preview(r.Value, 2000)}
}

// preview shows the beginning of some bytes: as text where they are text, else in hexadecimal.
func preview(b []byte, most int) string {
	if utf8.Valid(b) {
		if len(b) <= most {
			return string(b)
		}
		return strings.ToValidUTF8(string(b[:most]), "") + "…"
	}
	if most /= 4; len(b) > most {
		return "0x" + hex.EncodeToString(b[:most]) + "…"
	}
	return "0x" + hex.EncodeToString(b)
}

func sum(p *Plan, parts []rehearsal, samples int) (*Evidence, []Sample) {
	e := &Evidence{At: time.Now().UTC().Truncate(time.Millisecond)}
	all := sha256.New()
	var shown []Sample
	for _, r := range parts {
		e.Seen += r.counts.Seen
		e.Filtered += r.counts.Filtered
		e.Dropped += r.counts.Dropped
		e.WouldDLQ += r.counts.DLQ
		e.WouldWrite += r.items
		e.Holes.Control += r.counts.Control
		e.Holes.Aborted += r.counts.Aborted
		e.Holes.Compacted += r.counts.Compacted
		e.Bytes += r.counts.Bytes
		e.DisorderMS = max(e.DisorderMS, r.disorder.Milliseconds())
		all.Write(r.digest.Sum(nil))
	}
	for len(shown) < samples { // in turn, so that every partition is seen
		before := len(shown)
		for i := range parts {
			if len(parts[i].samples) > 0 && len(shown) < samples {
				shown = append(shown, parts[i].samples[0])
				parts[i].samples = parts[i].samples[1:]
			}
		}
		if len(shown) == before {
			break
		}
	}
	e.Samples = len(shown)
	e.Selection = hex.EncodeToString(all.Sum(nil))
	var seconds int64
	if r := p.Rate.RecordsPerS; r > 0 {
		seconds = (e.WouldWrite + r - 1) / r
	}
	if r := p.Rate.BytesPerS; r > 0 {
		seconds = max(seconds, (e.Bytes+r-1)/r)
	}
	if p.Rate.RecordsPerS > 0 || p.Rate.BytesPerS > 0 {
		e.Seconds = &seconds
	}
	h := sha256.Sum256(mustJSON(e)) // SHA256 is still ""
	e.SHA256 = hex.EncodeToString(h[:])
	return e, shown
}
