package app

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"freshet/backend/api"
	"freshet/backend/cdc"
	"freshet/backend/clock"
	"freshet/backend/fault"
	"freshet/backend/kafka"
	"freshet/backend/stream"
	"freshet/probes"
	"freshet/probes/slot"
)

const slotProbe = "slot"

// sources are the captures as the API has them.
type sources struct{ *App }

func (s sources) List(context.Context) ([]api.Source, error) {
	progress := s.cdc.Progress()
	list := make([]api.Source, len(progress))
	for i, p := range progress {
		list[i] = s.source(p)
	}
	return list, nil
}

func (s sources) Get(_ context.Context, name string) (api.Source, error) {
	for _, p := range s.cdc.Progress() {
		if p.Source == name {
			return s.source(p), nil
		}
	}
	_, err := s.cdc.Pipeline(name)
	return api.Source{}, err
}

func (s sources) source(p probes.SourceProgress) api.Source {
	out := api.Source{
		Name: p.Source, Type: "postgres", Cluster: p.Cluster, State: p.State, Why: p.Why, LastCommit: api.Time(p.LastCommit),
		Tables:   []api.SourceTable{},
		Position: api.Positions{Server: lsn(p.ServerEnd), Received: lsn(p.Received), Appended: lsn(p.Appended), Confirmed: lsn(p.Confirmed)},
	}
	for table, topic := range p.Tables {
		out.Tables = append(out.Tables, api.SourceTable{Table: table, Topic: topic})
	}
	slices.SortFunc(out.Tables, func(a, b api.SourceTable) int { return compare(a.Table, b.Table) })
	if pipeline, err := s.cdc.Pipeline(p.Source); err == nil {
		for _, f := range pipeline.Findings() {
			text := f.Text
			if f.Table != "" {
				text = f.Table + ": " + text
			}
			out.Findings = append(out.Findings, finding("warning", "FINDING", text))
		}
	}
	if status, ok := s.slotStatus(p.Source); ok {
		out.Slot = slotAnswer(status)
		s.judged(out.Slot, p.Source)
	}
	return out
}

// judged adds what the slot probe made of its looks.
func (s sources) judged(out *api.Slot, source string) {
	last, _ := s.scheduler.Last(slotProbe)
	d, _ := last.Last.Detail.(*slot.Detail)
	if d == nil {
		return
	}
	for i := range d.Slots {
		if j := &d.Slots[i]; j.Source == source && j.Slot == out.Name {
			out.Growth, out.CutOff, out.Words = ptr(api.FromReading(j.Rate)), ptr(api.FromReading(j.CutOff)), j.Words
		}
	}
}

// lsn writes a position in WAL as PostgreSQL does; "" for none.
func lsn(n uint64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%X/%X", n>>32, uint32(n))
}

func slotAnswer(x probes.SlotStatus) *api.Slot {
	bytes := func(n int64, why string) api.Reading {
		if n < 0 {
			return api.FromReading(stream.UnknownReading("B", why, x.At))
		}
		return api.FromReading(stream.ExactReading(float64(n), "B", x.At))
	}
	out := &api.Slot{Name: x.Slot, Active: x.Active, WALStatus: x.WALStatus, HeldBy: x.HeldBy, Why: x.Invalidation, Retained: bytes(x.Retained, "the server does not tell")}
	if x.Limited {
		out.Safe = bytes(x.Safe, "the server does not tell")
	} else {
		out.Safe = api.FromReading(stream.UnknownReading("B", "max_slot_wal_keep_size is -1: nothing limits what the slot holds", x.At))
	}
	return out
}

func (s sources) Plan(ctx context.Context, spec api.SourceSpec) (api.SourcePlan, error) {
	if err := s.checkSourceSpec(&spec); err != nil {
		return api.SourcePlan{}, err
	}
	return s.planSource(ctx, spec)
}

func (s sources) Preflight(ctx context.Context, name string) (api.SourcePlan, error) {
	for _, o := range s.cdc.Options() {
		if o.Name == name {
			return s.checkSource(ctx, o)
		}
	}
	_, err := s.cdc.Pipeline(name)
	return api.SourcePlan{}, err
}

// checkSourceSpec fills in what was left out and refuses what cannot be.
func (s sources) checkSourceSpec(spec *api.SourceSpec) error {
	if spec.Cluster == "" {
		spec.Cluster = embeddedCluster
	}
	if spec.Prefix == "" {
		spec.Prefix = spec.Name
	}
	if _, err := s.cluster(spec.Cluster); err != nil {
		return err
	}
	o := s.cdcOptions(*spec)
	return o.Validate()
}

func (s sources) cdcOptions(spec api.SourceSpec) cdc.Options {
	return cdc.Options{Name: spec.Name, Type: spec.Type, Cluster: spec.Cluster, Prefix: spec.Prefix, Tables: spec.Tables, NoSnapshot: spec.NoSnapshot, Outbox: spec.Outbox, Properties: spec.Properties}
}

// Create makes a capture after a plan that refuses nothing. It returns when the capture runs, or with why it cannot.
func (s sources) Create(ctx context.Context, spec api.SourceSpec) (api.Receipt, error) {
	plan, err := s.Plan(ctx, spec)
	if err != nil {
		return api.Receipt{}, err
	}
	if plan.Refused {
		for _, f := range plan.Findings {
			if f.Level == "refusal" {
				return api.Receipt{}, fault.New(fault.Blocked, "create source "+spec.Name, f.Mend, "%s", f.Text)
			}
		}
	}
	if err := s.checkSourceSpec(&spec); err != nil {
		return api.Receipt{}, err
	}
	c, err := s.cluster(spec.Cluster)
	if err != nil {
		return api.Receipt{}, err
	}
	for _, act := range []kafka.Act{kafka.Create, kafka.Produce} {
		if err := c.Gate().Allows(act); err != nil {
			return api.Receipt{}, err
		}
	}
	var doc dsnDoc
	if doc.DSN, doc.Password, err = s.secrets.TakeDSN(ctx, "source/"+spec.Name, spec.DSN); err != nil {
		return api.Receipt{}, err
	}
	if spec.Properties, err = s.saltless(ctx, spec.Name, spec.Properties); err != nil {
		return api.Receipt{}, err
	}
	intent := map[string]any{"type": spec.Type, "cluster": spec.Cluster, "prefix": spec.Prefix, "tables": spec.Tables, "makes": plan.Does, "snapshot": !spec.NoSnapshot}
	receipt, err := s.receipt(ctx, "source.create", spec.Name, intent, func(ctx context.Context) error {
		if err := s.dsns.Create(ctx, spec.Name, doc); err != nil {
			return err
		}
		if err := s.cdc.Create(ctx, s.cdcOptions(spec)); err != nil {
			_ = s.dsns.Delete(context.WithoutCancel(ctx), spec.Name)
			return err
		}
		return s.captureRuns(ctx, spec.Name)
	})
	receipt.State = s.stateOf(spec.Name)
	return receipt, err
}

// lookAgain is how often a wait looks whether it is over.
const lookAgain = 25 * time.Millisecond

// captureRuns waits until a capture that was just made has its slot and reads, or has stopped.
func (s sources) captureRuns(ctx context.Context, name string) error {
	for {
		for _, p := range s.cdc.Progress() {
			if p.Source != name {
				continue
			}
			switch p.State {
			case cdc.Streaming, cdc.Snapshot:
				if p.Received > 0 || p.State == cdc.Streaming || len(p.Tables) > 0 {
					return nil
				}
			case cdc.Stopped:
				return fault.New(fault.Blocked, "start source "+name, "`freshet sources resume "+name+"` tries again, `freshet sources drop "+name+"` takes it away", "%s", p.Why)
			}
		}
		if err := clock.Sleep(ctx, lookAgain); err != nil {
			return fault.Wrap(fault.Timeout, "start source "+name, err, "it goes on trying: `freshet sources status "+name+"`")
		}
	}
}

func (s sources) stateOf(name string) string {
	for _, p := range s.cdc.Progress() {
		if p.Source == name {
			return p.State
		}
	}
	return ""
}

func (s sources) Pause(ctx context.Context, name, reason string) (api.Receipt, error) {
	if _, err := s.cdc.Pipeline(name); err != nil {
		return api.Receipt{}, err
	}
	receipt, err := s.receipt(ctx, "source.pause", name, map[string]string{"reason": reason}, func(ctx context.Context) error { return s.cdc.Pause(ctx, name) })
	receipt.State = s.stateOf(name)
	return receipt, err
}

func (s sources) Resume(ctx context.Context, name, reason string) (api.Receipt, error) {
	receipt, err := s.receipt(ctx, "source.resume", name, map[string]string{"reason": reason}, func(ctx context.Context) error { return s.cdc.Resume(ctx, name) })
	receipt.State = s.stateOf(name)
	return receipt, err
}

func (s sources) Drop(ctx context.Context, name string) (api.Receipt, error) {
	if _, err := s.Get(ctx, name); err != nil {
		return api.Receipt{}, err
	}
	return s.receipt(ctx, "source.drop", name, nil, func(ctx context.Context) error {
		if err := s.cdc.Drop(ctx, name, false); err != nil {
			return err
		}
		return s.dsns.Delete(ctx, name)
	})
}

func (s sources) Mark(ctx context.Context, name string) (string, error) {
	pipeline, err := s.cdc.Pipeline(name)
	if err != nil {
		return "", err
	}
	end, err := pipeline.Source().Position(ctx)
	return strconv.FormatUint(end, 10), err
}

func (s sources) Reached(ctx context.Context, name, mark string) (bool, error) {
	want, err := strconv.ParseUint(mark, 10, 64)
	if err != nil {
		return false, fault.New(fault.Invalid, "wait for source "+name, "start the wait anew", "%q is no mark", mark)
	}
	for {
		pipeline, err := s.cdc.Pipeline(name)
		if err != nil {
			return false, err
		}
		// While the first snapshot is read the log holds what was committed before only in part.
		if state := pipeline.State(); state.Source != "" && !state.Making && pipeline.Progress().Appended >= want {
			return true, nil
		}
		if clock.Sleep(ctx, lookAgain) != nil {
			return false, nil
		}
	}
}

func (s sources) Test(ctx context.Context, name string) ([]api.Stage, error) {
	begun := time.Now()
	pipeline, err := s.cdc.Pipeline(name)
	if fault.Is(err, fault.NotFound) {
		return nil, err
	}
	if err != nil {
		return []api.Stage{stage("open", "", begun, err)}, nil
	}
	end, err := pipeline.Source().Position(ctx)
	list := []api.Stage{stage("reach", "the database answers, its WAL ends at "+lsn(end), begun, err)}
	if err != nil {
		return list, nil
	}
	begun = time.Now()
	status, err := pipeline.Source().Slot(ctx)
	slot := stage("slot", fmt.Sprintf("%s, %s, holds %d bytes of WAL", status.Slot, status.WALStatus, status.Retained), begun, err)
	if status.WALStatus == "lost" {
		slot.OK, slot.State = false, "failed"
	}
	return append(list, slot), nil
}
