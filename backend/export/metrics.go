package export

import (
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// metric is one family, as the reference page lists it.
type metric struct {
	name   string
	typ    prometheus.ValueType
	labels []string
	help   string
	compat bool // only with Options.KafkaLagExporter
}

var (
	byProbe   = []string{"probe"}
	byGroup   = []string{"cluster", "group"}
	byGroupIn = []string{"cluster", "group", "topic"}
	byTopic   = []string{"cluster", "topic"}
	bySlot    = []string{"source", "slot"}
	byPath    = []string{"cluster", "source", "table", "to"}
)

// Every family's name is freshet_ and what it tells. A value that is not known is left out, never written as zero.
var (
	probeUp       = &metric{"freshet_probe_up", prometheus.GaugeValue, byProbe, "1 where the probe's last round saw something, else 0.", false}
	probeLast     = &metric{"freshet_probe_last_round_timestamp_seconds", prometheus.GaugeValue, byProbe, "When the probe's last round that saw something was, in seconds since 1970: the age of every figure that it gives.", false}
	probeDuration = &metric{"freshet_probe_duration_seconds", prometheus.GaugeValue, byProbe, "How long the probe's last round took.", false}
	probeRounds   = &metric{"freshet_probe_rounds_total", prometheus.CounterValue, byProbe, "Rounds that saw something.", false}
	probeErrors   = &metric{"freshet_probe_errors_total", prometheus.CounterValue, byProbe, "Rounds that saw nothing at all.", false}
	probeUnstored = &metric{"freshet_probe_unstored_rounds_total", prometheus.CounterValue, byProbe, "Rounds that the history did not take.", false}

	lagRecords     = &metric{"freshet_consumer_lag_records", prometheus.GaugeValue, byGroupIn, "Offsets between what the group committed and the end, over the topic's partitions that are known. An upper bound of the records where a topic is compacted or written in transactions.", false}
	lagSeconds     = &metric{"freshet_consumer_lag_seconds", prometheus.GaugeValue, byGroupIn, "How long the record that has waited longest for the group has been waiting.", false}
	lagLow         = &metric{"freshet_consumer_lag_low_seconds", prometheus.GaugeValue, byGroupIn, "freshet_consumer_lag_seconds is at least this.", false}
	lagHigh        = &metric{"freshet_consumer_lag_high_seconds", prometheus.GaugeValue, byGroupIn, "freshet_consumer_lag_seconds is at most this; left out where it is not bounded.", false}
	lagUnknown     = &metric{"freshet_consumer_partitions_unknown", prometheus.GaugeValue, byGroup, "Partitions of the group that could not be read, or in which it has committed nothing; they are in no sum.", false}
	lagLost        = &metric{"freshet_consumer_lost_offsets", prometheus.GaugeValue, byGroup, "Offsets that were removed from the log before the group had committed them.", false}
	groupMembers   = &metric{"freshet_consumer_members", prometheus.GaugeValue, byGroup, "Members of the group.", false}
	groupVerdict   = &metric{"freshet_consumer_verdict", prometheus.GaugeValue, append(byGroup[:2:2], "verdict"), "1 for the group's verdict: ok, behind, stopped, empty, idle, rebalancing, no-commit, ahead, lost or unknown.", false}
	groupConsumed  = &metric{"freshet_consumer_consumed_offsets_per_second", prometheus.GaugeValue, byGroup, "Offsets that the group committed a second, over about the last ten.", false}
	groupCatchUp   = &metric{"freshet_consumer_catch_up_seconds", prometheus.GaugeValue, byGroup, "Forecast: how long until nothing waits. Only while the backlog falls.", false}
	topicOffsets   = &metric{"freshet_topic_offsets", prometheus.GaugeValue, byTopic, "Offsets between the topic's start and end.", false}
	topicRate      = &metric{"freshet_topic_offsets_per_second", prometheus.GaugeValue, byTopic, "Offsets written to the topic a second, over about the last thirty.", false}
	topicBytes     = &metric{"freshet_topic_size_bytes", prometheus.GaugeValue, byTopic, "Bytes of the topic on its leaders' disks.", false}
	topicLast      = &metric{"freshet_topic_last_record_timestamp_seconds", prometheus.GaugeValue, byTopic, "The time that the newest record carries, in seconds since 1970.", false}
	slotRetained   = &metric{"freshet_slot_retained_wal_bytes", prometheus.GaugeValue, bySlot, "WAL that the database keeps for the replication slot.", false}
	slotSafe       = &metric{"freshet_slot_safe_wal_bytes", prometheus.GaugeValue, bySlot, "WAL that may be written before the slot is cut off. Only where max_slot_wal_keep_size limits it.", false}
	slotCutOff     = &metric{"freshet_slot_cut_off_seconds", prometheus.GaugeValue, bySlot, "Forecast: how long until the slot is cut off. Only while freshet_slot_safe_wal_bytes falls.", false}
	slotVerdict    = &metric{"freshet_slot_verdict", prometheus.GaugeValue, append(bySlot[:2:2], "verdict"), "1 for the slot's verdict: ok, extended, low, inactive, unreserved, lost or unknown.", false}
	freshSeconds   = &metric{"freshet_freshness_seconds", prometheus.GaugeValue, append(byPath[:4:4], "hop"), "Age, since its commit, of the oldest change that is not at the end of the hop; where none waits, of the changes that came last, at their arrival. The hop total is the whole path.", false}
	freshLow       = &metric{"freshet_freshness_low_seconds", prometheus.GaugeValue, append(byPath[:4:4], "hop"), "freshet_freshness_seconds is at least this.", false}
	freshHigh      = &metric{"freshet_freshness_high_seconds", prometheus.GaugeValue, append(byPath[:4:4], "hop"), "freshet_freshness_seconds is at most this; left out where it is not bounded.", false}
	freshObjective = &metric{"freshet_freshness_objective_seconds", prometheus.GaugeValue, byPath, "What the path should keep to.", false}
	freshState     = &metric{"freshet_freshness_state", prometheus.GaugeValue, append(byPath[:4:4], "state"), "1 for the path's state: on_time, at_risk, late, idle, paused, unknown or dead.", false}
	freshWaiting   = &metric{"freshet_freshness_waiting_records", prometheus.GaugeValue, byPath, "Offsets in the topic that the end of the path has not taken.", false}
	seriesDropped  = &metric{"freshet_export_dropped_series", prometheus.GaugeValue, []string{"metric"}, "Series of the last scrape that were left out since a family may have so many only.", false}

	kleMaxSeconds = &metric{"kafka_consumergroup_group_max_lag_seconds", prometheus.GaugeValue, []string{"cluster_name", "group"}, "As freshet_consumer_lag_seconds, the greatest of the group.", true}
	kleMax        = &metric{"kafka_consumergroup_group_max_lag", prometheus.GaugeValue, []string{"cluster_name", "group"}, "The greatest lag of a partition, in offsets.", true}
	kleSum        = &metric{"kafka_consumergroup_group_sum_lag", prometheus.GaugeValue, []string{"cluster_name", "group"}, "The lag over all partitions, in offsets.", true}
	kleTopicSum   = &metric{"kafka_consumergroup_group_topic_sum_lag", prometheus.GaugeValue, []string{"cluster_name", "group", "topic"}, "The lag over a topic's partitions, in offsets.", true}
)

func families() []*metric {
	return []*metric{
		lagRecords, lagSeconds, lagLow, lagHigh, lagUnknown, lagLost, groupMembers, groupVerdict, groupConsumed, groupCatchUp,
		freshSeconds, freshLow, freshHigh, freshObjective, freshState, freshWaiting,
		topicOffsets, topicRate, topicBytes, topicLast,
		slotRetained, slotSafe, slotCutOff, slotVerdict,
		probeUp, probeLast, probeDuration, probeRounds, probeErrors, probeUnstored, seriesDropped,
		kleMaxSeconds, kleMax, kleSum, kleTopicSum,
	}
}

// Reference is the page that lists every metric, in Markdown.
func Reference() string {
	var b strings.Builder
	b.WriteString("# Metrics\n\nGenerated from `backend/export`; do not edit.\n\n" +
		"`/metrics` answers from the probes' last rounds: a scrape asks nothing of a broker or a database.\n" +
		"A value that is not known is left out, never written as zero; `freshet_consumer_partitions_unknown` and\n" +
		"`freshet_freshness_state{state=\"unknown\"}` say so. Figures of a probe whose last round is older than three of its paces\n" +
		"(at least 10 s) are left out too; `freshet_probe_last_round_timestamp_seconds` stays.\n")
	table := func(compat bool) {
		b.WriteString("\n| metric | type | labels | tells |\n|---|---|---|---|\n")
		for _, m := range families() {
			if m.compat != compat {
				continue
			}
			typ := "gauge"
			if m.typ == prometheus.CounterValue {
				typ = "counter"
			}
			fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s |\n", m.name, typ, strings.Join(m.labels, "`, `"), m.help)
		}
	}
	table(false)
	b.WriteString("\n## Names of kafka-lag-exporter\n\nOnly where they are asked for, for dashboards and alerts that use them. Unknown is left out here too, where that exporter writes NaN.\n")
	table(true)
	return b.String()
}
