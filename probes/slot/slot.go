// Package slot measures what a database keeps back for the replication slots that feed its captures, and forecasts when
// one is cut off. It starts from New, and is an engine: what the database says comes from a function. A Probe's Round is
// for one goroutine at a time.
package slot

import (
	"cmp"
	"context"
	"slices"
	"time"

	"freshet/backend/stream"
	"freshet/probes"
)

// Options are a Probe's.
type Options struct {
	Every time.Duration // 10 s unless set
}

// Code is a verdict on a slot, for programs.
type Code string

const (
	OK         Code = "ok"
	Extended   Code = "extended"   // it keeps more than max_wal_size
	Unreserved Code = "unreserved" // the next checkpoint may cut it off
	Lost       Code = "lost"       // it is cut off, for good
	Inactive   Code = "inactive"   // nobody reads it
	Low        Code = "low"        // less than a quarter is left of what it may keep
	Unknown    Code = "unknown"
)

// Detail is what one round saw.
type Detail struct {
	At    time.Time
	Slots []Slot // by source
}

// Aged implements probes.Aging.
func (d *Detail) Aged(why string) any {
	old := *d
	old.Slots = slices.Clone(d.Slots)
	for i := range old.Slots {
		s := &old.Slots[i]
		s.Code, s.Words = Unknown, "Unknown: "+why
		probes.Aged(why, &s.Retained, &s.Safe, &s.Rate, &s.CutOff)
	}
	return &old
}

// Slot is what one slot keeps back.
type Slot struct {
	probes.SlotStatus
	Code     Code
	Words    string         // a sentence
	Retained stream.Reading // bytes of WAL
	Safe     stream.Reading // bytes until it is cut off; unknown where there is no limit
	Rate     stream.Reading // bytes a second that Retained grows by, below zero where it shrinks
	CutOff   stream.Reading // seconds until it is cut off if it goes on so; unknown unless Safe falls
}

// Probe measures slots.
type Probe struct {
	slots func(context.Context) ([]probes.SlotStatus, error)
	o     Options
	held  map[string]*held
}

type held struct{ retained, safe probes.Trend }

// New makes a Probe of what slots tells.
func New(slots func(context.Context) ([]probes.SlotStatus, error), o Options) *Probe {
	o.Every = cmp.Or(o.Every, 10*time.Second)
	return &Probe{slots: slots, o: o, held: make(map[string]*held)}
}

// Name is "slot".
func (p *Probe) Name() string { return "slot" }

// Every is the pace.
func (p *Probe) Every() time.Duration { return p.o.Every }

// Round looks once. Its Detail is a *Detail.
func (p *Probe) Round(ctx context.Context) (probes.Round, error) {
	all, err := p.slots(ctx)
	if err != nil {
		return probes.Round{}, err
	}
	d := &Detail{At: time.Now()}
	seen := make(map[string]*held, len(all))
	for _, s := range all {
		key := s.Source + "/" + s.Slot
		h := p.held[key]
		if h == nil {
			h = new(held)
		}
		seen[key] = h
		d.Slots = append(d.Slots, h.judge(s, d.At))
	}
	p.held = seen
	slices.SortFunc(d.Slots, func(a, b Slot) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Slot, b.Slot))
	})
	var points []probes.Point
	for i := range d.Slots {
		s := &d.Slots[i]
		for metric, r := range map[string]stream.Reading{"slot_retained_bytes": s.Retained, "slot_safe_bytes": s.Safe} {
			points = append(points, probes.Point{Series: probes.Series{Metric: metric, Source: s.Source, Partition: -1}, Reading: r})
		}
	}
	return probes.Round{At: d.At, Points: points, Detail: d}, nil
}

func (h *held) judge(s probes.SlotStatus, now time.Time) Slot {
	out := Slot{SlotStatus: s}
	at := s.At
	if at.IsZero() {
		at = now
	}
	size := func(n int64, why string) stream.Reading {
		if n < 0 {
			return stream.UnknownReading("B", why, at)
		}
		return stream.ExactReading(float64(n), "B", at)
	}
	out.Retained = size(s.Retained, "the database does not say")
	out.Safe = size(s.Safe, "the database does not say")
	if !s.Limited {
		out.Safe = stream.UnknownReading("B", "no limit: max_slot_wal_keep_size is -1, so the slot can fill the disk", at)
	}
	h.retained.Add(at, out.Retained.Value)
	h.safe.Add(at, out.Safe.Value)
	out.Rate = stream.UnknownReading("B/s", "not watched for five rounds yet", at)
	if v, ok := h.retained.Slope(); ok {
		out.Rate = stream.Reading{Value: v.Mid, Low: v.Low, High: v.High, Unit: "B/s", State: stream.Estimate, AsOf: at}
	}
	out.CutOff = stream.UnknownReading("s", "what is left does not fall", at)
	if !s.Limited {
		out.CutOff.Why = "no limit"
	} else if mid, low, high, ok := h.safe.Until(out.Safe.Value); ok {
		out.CutOff = stream.Reading{Value: mid, Low: low, High: high, Unit: "s", State: stream.Estimate, AsOf: at}
	}
	out.Code, out.Words = out.verdict()
	return out
}

func (s *Slot) verdict() (Code, string) {
	keeps := "It keeps an unknown amount of WAL"
	if s.Retained.Known() {
		keeps = "It keeps " + probes.BytesText(s.Retained.Value) + " of WAL"
	}
	left := ""
	if s.Safe.Known() {
		left = ", " + probes.BytesText(s.Safe.Value) + " before it is cut off"
	}
	if s.CutOff.Known() {
		left += ", in about " + probes.SecondsText(s.CutOff.Value) + " if it goes on so, between " +
			probes.SecondsText(s.CutOff.Low) + " and " + probes.SecondsText(s.CutOff.High)
	}
	if s.HeldBy != "" {
		left += "; held back by " + s.HeldBy
	}
	switch {
	case s.WALStatus == "lost" || s.Invalidation != "":
		why := ""
		if s.Invalidation != "" {
			why = " (" + s.Invalidation + ")"
		}
		return Lost, "Cut off" + why + ": changes were removed before they were read, and the source must be read anew"
	case s.WALStatus == "unreserved":
		return Unreserved, "The next checkpoint may cut it off. " + keeps + left
	case !s.Active:
		return Inactive, "Nobody reads it. " + keeps + left
	case s.Limited && s.Safe.Known() && s.Retained.Known() && s.Safe.Value < (s.Safe.Value+s.Retained.Value)/4:
		return Low, "Less than a quarter is left. " + keeps + left
	case s.WALStatus == "extended":
		return Extended, "More than max_wal_size is kept. " + keeps + left
	case s.WALStatus == "reserved":
		return OK, keeps + left
	}
	return Unknown, "The database does not say how the slot is. " + keeps + left
}
