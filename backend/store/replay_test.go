package store_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"freshet/backend/auditlog"
	"freshet/backend/decode"
	"freshet/backend/store"
	"freshet/backend/stream"
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

// A job whose process and store end in the middle goes on from the store of the next process, and the history verifies.
func TestReplayJobOverARestart(t *testing.T) {
	dir, keys := t.TempDir(), t.TempDir()
	log, sink := &replaytest.MemoryLog{Name: "c"}, &replaytest.MemorySink{}
	log.Create("orders", 4)
	for i := range 2000 {
		log.Append("orders", int32(i%4), stream.Record{Time: time.UnixMilli(1_800_000_000_000), Value: []byte(`{}`)})
	}
	world := &replaytest.World{Logs: map[string]*replaytest.MemoryLog{"local": log}, Sinks: map[string]replaytest.WorldSink{
		"warehouse": {Sink: sink, Target: replay.Target{Type: "postgres", Mode: "append", Guarantee: replay.GuaranteeEffectivelyOnce, Fences: true}}}}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	half := make(chan struct{})
	var once sync.Once
	sink.Committing = func(ctx context.Context, s replay.Shard, w replay.Write) error {
		if s.Epoch == 1 && w.Next > 250 {
			once.Do(func() { close(half) })
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}
	process := func(work func(ctx context.Context, s *replay.Service)) {
		st, err := store.Open(t.Context(), dir, store.Options{Keys: &fileKeys{filepath.Join(keys, "key")}})
		if err != nil {
			t.Fatal(err)
		}
		s, err := replay.New(replay.Options{Ledger: st.Ledger(), Clusters: world, Targets: world, Decode: decode.JSON, Change: decode.Debezium,
			Key: key, Local: true, Holder: "one", BatchRecords: 50, Linger: time.Millisecond, Grace: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		serving, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(serving) }()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		work(ctx, s)
		stop()
		if err := errors.Join(<-ended, st.Close()); err != nil {
			t.Error(err)
		}
	}
	var id string
	process(func(ctx context.Context, s *replay.Service) {
		p, err := s.Plan(ctx, "ana", replay.Draft{Cluster: "local", Topic: "orders", All: true, Sink: "warehouse"})
		if err != nil {
			t.Fatal(err)
		}
		if p, _, err = s.DryRun(ctx, "ana", p.ID, 5); err != nil || p.Evidence.WouldWrite != 2000 {
			t.Fatal(err)
		}
		if _, _, err := s.Approve(ctx, "ana", p.ID, p.Hash, 0); err != nil {
			t.Fatal(err)
		}
		j, err := s.Run(ctx, "ana", p.ID, false)
		if err != nil {
			t.Fatal(err)
		}
		id = j.ID
		<-half
	})
	process(func(ctx context.Context, s *replay.Service) {
		v, err := s.Wait(ctx, id)
		if err != nil || v.State != replay.JobCompleted || v.Outcome != replay.OutcomeClean || v.Counts.Written != 2000 || v.Epoch != 2 {
			t.Errorf("%s: %s, %v at epoch %d, %v", v.State, v.Reason, v.Counts, v.Epoch, err)
		}
	})
	if n := len(sink.Records()); n != 2000 {
		t.Errorf("%d records were written", n)
	}
	f, err := store.OpenAudit(t.Context(), filepath.Join(dir, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	report, err := store.VerifyAudit(t.Context(), dir, "")
	if err != nil || !report.OK {
		t.Errorf("%+v, %v", report, err)
	}
	j, err := f.Job(t.Context(), id)
	if err != nil || j.State != replay.JobCompleted || j.Holder != "" || len(j.Shards) != 4 {
		t.Errorf("%+v, %v", j, err)
	}
}
