package slot_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"freshet/probes"
	"freshet/probes/slot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const mib = 1 << 20
		now := probes.SlotStatus{Source: "shop", Slot: "freshet_shop", Active: true, WALStatus: "reserved", Retained: 10 * mib, Safe: 90 * mib, Limited: true}
		var fail error
		p := slot.New(func(context.Context) ([]probes.SlotStatus, error) {
			now.At = time.Now()
			return []probes.SlotStatus{now}, fail
		}, slot.Options{})
		look := func() slot.Slot {
			t.Helper()
			r, err := p.Round(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return r.Detail.(*slot.Detail).Slots[0]
		}
		if s := look(); s.Code != slot.OK || s.Words != "It keeps 10.0 MiB of WAL, 90.0 MiB before it is cut off" || s.Rate.Known() || s.CutOff.Known() {
			t.Errorf("%+v", s)
		}
		for range 20 {
			time.Sleep(10 * time.Second)
			now.Retained += 2 * mib
			now.Safe -= 2 * mib
			look()
		}
		s := look() // 50 MiB are left, and go by 0.2 MiB a second
		if s.Rate.Value < 0.19*mib || s.Rate.Value > 0.21*mib || math.Abs(s.CutOff.Value-250) > 20 || s.CutOff.Low > 250 || s.CutOff.High < 250 {
			t.Errorf("%+v", s)
		}
		now.Safe = 10 * mib
		if s = look(); s.Code != slot.Low || !strings.HasPrefix(s.Words, "Less than a quarter is left. It keeps 50.0 MiB of WAL, 10.0 MiB before") {
			t.Errorf("%+v", s)
		}
		now.Active, now.HeldBy = false, "an open transaction of pid 7 (nightly report)"
		if s = look(); s.Code != slot.Inactive || !strings.HasSuffix(s.Words, "; held back by an open transaction of pid 7 (nightly report)") {
			t.Errorf("%+v", s)
		}
		now.WALStatus = "unreserved"
		if s = look(); s.Code != slot.Unreserved {
			t.Errorf("%+v", s)
		}
		now.WALStatus, now.Invalidation, now.Retained = "lost", "wal_removed", -1
		if s = look(); s.Code != slot.Lost || s.Retained.Known() || !strings.HasPrefix(s.Words, "Cut off (wal_removed): ") {
			t.Errorf("%+v", s)
		}
		now = probes.SlotStatus{Source: "shop", Slot: "freshet_shop", Active: true, WALStatus: "extended", Retained: 5, Safe: -1}
		if s = look(); s.Code != slot.Extended || s.Safe.Known() || !strings.Contains(s.Safe.Why, "can fill the disk") || s.CutOff.Why != "no limit" {
			t.Errorf("%+v", s)
		}
		fail = errors.New("connection refused")
		if _, err := p.Round(t.Context()); err == nil {
			t.Error("no error")
		}
	})
}
