package store_test

import (
	"slices"
	"testing"

	"freshet/backend/auditlog"
	"freshet/backend/store"
	"freshet/replay"
	"freshet/replay/replaytest"
)

func TestReplayLedger(t *testing.T) {
	replaytest.Ledger(t, func(t *testing.T) replay.Ledger { return open(t, t.TempDir()).Ledger() },
		func(t *testing.T, l replay.Ledger) []auditlog.Entry {
			page, err := l.(*store.Ledger).Entries(t.Context(), auditlog.Filter{Limit: 1000})
			if err != nil {
				t.Fatal(err)
			}
			out := page.Items
			slices.Reverse(out)
			return out
		})
}
