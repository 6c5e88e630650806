package replaytest_test

import (
	"testing"

	"freshet/backend/auditlog"
	"freshet/replay"
	"freshet/replay/replaytest"
)

func TestMemoryLedger(t *testing.T) {
	replaytest.Ledger(t, func(*testing.T) replay.Ledger { return &replaytest.MemoryLedger{} },
		func(_ *testing.T, l replay.Ledger) []auditlog.Entry { return l.(*replaytest.MemoryLedger).Entries() })
}
