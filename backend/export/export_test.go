package export_test

import (
	"errors"
	"flag"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"freshet/backend/export"
	"freshet/backend/stream"
	"freshet/probes"
	"freshet/probes/freshness"
	"freshet/probes/lag"
	"freshet/probes/slot"
	"freshet/probes/topics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write docs/reference/metrics.md anew")

func TestReference(t *testing.T) {
	const file = "../../docs/reference/metrics.md"
	if *update {
		if err := os.WriteFile(file, []byte(export.Reference()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != export.Reference() {
		t.Errorf("%s is not what the code says (%v): go test ./backend/export -update", file, err)
	}
}

func rounds() []probes.Status {
	now := time.Now()
	exact := func(v float64, unit string) stream.Reading { return stream.ExactReading(v, unit, now) }
	unknown := func(unit string) stream.Reading {
		return stream.UnknownReading(unit, "no commit in this group yet", now)
	}
	behind := []lag.Partition{
		{Topic: "orders", Partition: 0, Records: exact(3, "records"), Seconds: stream.BoundedReading(5, 4, 6, "s", now)},
		{Topic: "orders", Partition: 1, Records: exact(7, "records"), Seconds: stream.BoundedReading(2, 1, math.NaN(), "s", now)},
		{Topic: "payments", Partition: 0, Records: unknown("records"), Seconds: unknown("s")},
	}
	records, seconds := lag.Total(behind, now)
	return []probes.Status{
		{Name: "lag/embedded", Every: time.Second, Rounds: 4, Errors: 1, LastTook: 20 * time.Millisecond, Last: probes.Round{At: now, Detail: &lag.Detail{
			Cluster: "embedded", At: now, Groups: []lag.Group{
				{Name: "loader", Code: lag.Behind, Records: records, Seconds: seconds, Consumed: unknown("records/s"), CatchUp: exact(12, "s"), Unread: 1,
					Members: make([]stream.Member, 2), Partitions: behind},
				{Name: "odd\xffname", Code: lag.NoCommit, Records: unknown("records"), Seconds: unknown("s"), Consumed: unknown("records/s"), CatchUp: unknown("s")},
				{Name: "denied", Code: lag.Unknown, Err: "no permission"},
			}}}},
		{Name: "freshness", Every: time.Second, Rounds: 4, Last: probes.Round{At: now, Detail: &freshness.Detail{At: now, Paths: []freshness.Path{
			{Cluster: "embedded", Source: "shop", Table: "public.orders", To: "sink:warehouse", Objective: 15, State: freshness.OnTime, Waiting: exact(0, "records"),
				Hops: []freshness.Hop{{Name: freshness.TopicSink, Seconds: unknown("s")}}, Total: stream.BoundedReading(1, 0.5, 2, "s", now)}}}}},
		{Name: "topics/embedded", Every: time.Second, Last: probes.Round{At: now, Detail: &topics.Detail{Cluster: "embedded", Topics: []topics.Topic{
			{Name: "orders", Offsets: exact(10, "records"), Rate: exact(2.5, "records/s"), Bytes: unknown("B"), Last: time.Unix(1700000000, 0)}}}}},
		{Name: "slot", Every: time.Second, Last: probes.Round{At: now, Detail: &slot.Detail{Slots: []slot.Slot{
			{SlotStatus: probes.SlotStatus{Source: "shop", Slot: "freshet_shop"}, Code: slot.OK, Retained: exact(4096, "B"), Safe: unknown("B"), CutOff: unknown("s")}}}}},
		{Name: "topics/gone", Every: time.Second, Rounds: 9, Err: errors.New("connection refused"), Last: probes.Round{At: now.Add(-2 * time.Minute), Detail: &topics.Detail{
			Cluster: "gone", Topics: []topics.Topic{{Name: "orders", Offsets: exact(10, "records")}}}}},
	}
}

func TestCollector(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	c := export.New(rounds, export.Options{})
	if err := reg.Register(c); err != nil {
		t.Fatal(err)
	}
	want := `
# HELP freshet_consumer_lag_low_seconds freshet_consumer_lag_seconds is at least this.
# TYPE freshet_consumer_lag_low_seconds gauge
freshet_consumer_lag_low_seconds{cluster="embedded",group="loader",topic="orders"} 4
# HELP freshet_consumer_lag_records Offsets between what the group committed and the end, over the topic's partitions that are known. An upper bound of the records where a topic is compacted or written in transactions.
# TYPE freshet_consumer_lag_records gauge
freshet_consumer_lag_records{cluster="embedded",group="loader",topic="orders"} 10
# HELP freshet_consumer_partitions_unknown Partitions of the group that could not be read, or in which it has committed nothing; they are in no sum.
# TYPE freshet_consumer_partitions_unknown gauge
freshet_consumer_partitions_unknown{cluster="embedded",group="loader"} 1
freshet_consumer_partitions_unknown{cluster="embedded",group="odd�name"} 0
# HELP freshet_freshness_seconds Age, since its commit, of the oldest change that is not at the end of the hop; where none waits, of the changes that came last, at their arrival. The hop total is the whole path.
# TYPE freshet_freshness_seconds gauge
freshet_freshness_seconds{cluster="embedded",hop="total",source="shop",table="public.orders",to="sink:warehouse"} 1
# HELP freshet_slot_retained_wal_bytes WAL that the database keeps for the replication slot.
# TYPE freshet_slot_retained_wal_bytes gauge
freshet_slot_retained_wal_bytes{slot="freshet_shop",source="shop"} 4096
# HELP freshet_topic_offsets Offsets between the topic's start and end.
# TYPE freshet_topic_offsets gauge
freshet_topic_offsets{cluster="embedded",topic="orders"} 10
`
	names := []string{"freshet_consumer_lag_records", "freshet_consumer_lag_low_seconds", "freshet_consumer_partitions_unknown",
		"freshet_freshness_seconds", "freshet_slot_retained_wal_bytes", "freshet_slot_safe_wal_bytes", "freshet_topic_offsets", "freshet_topic_size_bytes"}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	up := `
# HELP freshet_probe_up 1 where the probe's last round saw something, else 0.
# TYPE freshet_probe_up gauge
freshet_probe_up{probe="freshness"} 1
freshet_probe_up{probe="lag/embedded"} 1
freshet_probe_up{probe="slot"} 1
freshet_probe_up{probe="topics/embedded"} 1
freshet_probe_up{probe="topics/gone"} 0
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(up), "freshet_probe_up"); err != nil {
		t.Error(err)
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if kle, _ := testutil.GatherAndCount(reg, "kafka_consumergroup_group_sum_lag"); kle != 0 {
		t.Error("names that were not asked for")
	}
}

func TestCompatAndLimit(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(export.New(rounds, export.Options{KafkaLagExporter: true, Series: 2}))
	want := `
# HELP freshet_export_dropped_series Series of the last scrape that were left out since a family may have so many only.
# TYPE freshet_export_dropped_series gauge
freshet_export_dropped_series{metric="freshet_consumer_verdict"} 1
freshet_export_dropped_series{metric="freshet_probe_errors_total"} 3
freshet_export_dropped_series{metric="freshet_probe_last_round_timestamp_seconds"} 3
freshet_export_dropped_series{metric="freshet_probe_rounds_total"} 3
freshet_export_dropped_series{metric="freshet_probe_unstored_rounds_total"} 3
freshet_export_dropped_series{metric="freshet_probe_up"} 3
freshet_export_dropped_series{metric="freshet_probe_duration_seconds"} 1
# HELP kafka_consumergroup_group_max_lag The greatest lag of a partition, in offsets.
# TYPE kafka_consumergroup_group_max_lag gauge
kafka_consumergroup_group_max_lag{cluster_name="embedded",group="loader"} 7
# HELP kafka_consumergroup_group_sum_lag The lag over all partitions, in offsets.
# TYPE kafka_consumergroup_group_sum_lag gauge
kafka_consumergroup_group_sum_lag{cluster_name="embedded",group="loader"} 10
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "freshet_export_dropped_series", "kafka_consumergroup_group_max_lag", "kafka_consumergroup_group_sum_lag"); err != nil {
		t.Error(err)
	}
}
