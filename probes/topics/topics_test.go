package topics_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"freshet/backend/stream"
	"freshet/probes/probestest"
	"freshet/probes/topics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := probestest.New("c", func() time.Duration { return 5 * time.Millisecond })
		c.Topic("a", 2, stream.CreateTime)
		c.Topic("tx", 1, stream.CreateTime)
		a0, a1, tx := stream.TopicPartition{Topic: "a"}, stream.TopicPartition{Topic: "a", Partition: 1}, stream.TopicPartition{Topic: "tx"}
		p := topics.New(c, topics.Options{})
		round := func() map[string]topics.Topic {
			t.Helper()
			r, err := p.Round(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			out := make(map[string]topics.Topic)
			for _, x := range r.Detail.(*topics.Detail).Topics {
				out[x.Name] = x
			}
			return out
		}
		last := time.Now().Truncate(time.Millisecond)
		c.Produce(tx, last)
		c.Marker(tx)
		first := round()
		if x := first["a"]; x.Rate.Known() || x.Offsets.Value != 0 || x.RecordBytes.Known() || !x.Last.IsZero() {
			t.Errorf("%+v", x)
		}
		if x := first["tx"]; !x.Marked || x.RecordBytes.Value != 100 {
			t.Errorf("a marker at the end: %+v", x)
		}
		for range 70 {
			c.Produce(a0, time.Now())
			c.Produce(a1, time.Now())
			time.Sleep(time.Second)
			if time.Since(last)%(10*time.Second) < time.Second {
				round()
			}
		}
		x := round()["a"]
		if !(x.Rate.Low < x.Rate.Value && x.Rate.High > x.Rate.Value) || math.Abs(x.Rate.Value-2) > 0.1 || x.Offsets.Value != 140 || x.Offsets.State != stream.Exact ||
			x.RecordBytes.Value != 100 || math.Abs(x.ByteRate.Value-200) > 10 || time.Since(x.Last) > 2*time.Second || x.Grew.IsZero() {
			t.Errorf("%+v", x)
		}
		c.Fault(a1, errors.New("no leader"))
		if x = round()["a"]; x.Offsets.Value != 70 || !math.IsNaN(x.Offsets.High) || x.Offsets.Why != "1 of 2 partitions unknown: no leader" || x.Rate.Known() {
			t.Errorf("%+v", x)
		}
		c.Fail("Topics", errors.New("connection refused"))
		if _, err := p.Round(t.Context()); err == nil {
			t.Error("no error")
		}
	})
}

// Settings are asked for when a topic is new, and of all topics once a minute.
func TestSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := probestest.New("c", func() time.Duration { return time.Millisecond })
		c.Topic("a", 1, stream.CreateTime)
		asked := ""
		var failed error
		p := topics.New(c, topics.Options{Configs: func(_ context.Context, settings []string, names ...string) (map[string]map[string]string, error) {
			asked = strings.Join(names, " ")
			return map[string]map[string]string{"a": {settings[0]: "compact", settings[1]: "-1"}}, failed
		}})
		for _, step := range []struct {
			add, asked string
			wait       time.Duration
			failed     error
		}{{"", "a", 0, nil}, {"", "", time.Second, nil}, {"b", "b", time.Second, nil}, {"", "", time.Second, nil}, {"", "a b", time.Minute, errors.New("away")}} {
			if step.add != "" {
				c.Topic(step.add, 1, stream.CreateTime)
			}
			time.Sleep(step.wait)
			asked, failed = "", step.failed
			r, err := p.Round(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			all := r.Detail.(*topics.Detail).Topics
			if asked != step.asked || all[0].Cleanup != "compact" || all[0].Retention != "-1" || len(all) > 1 && all[1].Cleanup != "" {
				t.Errorf("asked for %q, want %q; %+v", asked, step.asked, all)
			}
		}
	})
}
