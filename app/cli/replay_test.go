//go:build unix

package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"freshet/backend/api"
	"freshet/backend/testkit"
)

const ranged = 4 // partitions of the replayed topic

// A range of four partitions that is replayed into a fresh topic, with Freshet killed in the middle, is there once and
// nothing else is, for whoever reads what is committed.
func TestReplayIntoATopicSurvivesAKill(t *testing.T) {
	in := serve(t, "serve")
	t.Run("local broker", func(t *testing.T) {
		replayIntoTopic(t, in, in.run().Broker, "embedded")
	})
	t.Run("kafka 4", func(t *testing.T) {
		kafka := testkit.Kafka(t)
		in.do("clusters", "add", "real", "--brokers", kafka.Broker)
		if out, errs, exit := in.try("topics", "create", "x", "--cluster", "real"); exit != 4 {
			t.Fatalf("a locked cluster made a topic: exit %d\n%s%s", exit, out, errs)
		}
		in.do("clusters", "unlock", "real", "--for", "1h")
		replayIntoTopic(t, in, kafka.Broker, "real")
	})
}

func replayIntoTopic(t *testing.T, in *instance, broker, cluster string) {
	const each = 60_000
	source, target := "source-"+cluster, "target-"+cluster
	in.do("topics", "create", source, "--partitions", fmt.Sprint(ranged), "--cluster", cluster)
	fill(t, broker, source, each)
	in.do("sinks", "create", "copy-"+cluster, "--type", "kafka", "--brokers", broker)
	var plan api.PlanAnswer
	in.ask(&plan, "replay", "plan", "--source", cluster+"/"+source, "--offsets", fmt.Sprintf("0:100-%d,1:0-%d,2:5000-%d,3:7-8", each, each, each-1), "--to", "copy-"+cluster+"/"+target, "--rate", "60000/s", "--dry-run")
	want := each - 100 + each + each - 1 - 5000 + 1
	if plan.Evidence == nil || plan.Evidence.WouldWrite != fmt.Sprint(want) {
		t.Fatalf("the dry run counted %+v, want %d", plan.Evidence, want)
	}
	if topics := in.do("topics", "list", "--cluster", cluster); strings.Contains(topics, target) {
		t.Fatal("the dry run made the target topic")
	}
	if _, _, exit := in.try("replay", "run", plan.PlanID, "--wait"); exit != 4 {
		t.Fatalf("a plan without an approval ran: exit %d", exit)
	}
	in.do("replay", "approve", plan.PlanID, "--hash", plan.PlanHash)
	var job api.JobAnswer
	in.ask(&job, "replay", "run", plan.PlanID)
	eventually(t, 30*time.Second, "the job is in the middle", func() bool {
		in.ask(&job, "replay", "show", job.JobID)
		return job.Counts.Written != "0"
	})
	in.kill()
	in.start()
	eventually(t, 2*time.Minute, "the job is over", func() bool {
		in.ask(&job, "replay", "show", job.JobID)
		_, over := jobExit(job)
		return over
	})
	if job.State != "COMPLETED" || *job.Outcome != "clean" || job.Counts.Written != fmt.Sprint(want) {
		t.Fatalf("it ended as %+v", job)
	}
	got := read(t, broker, target)
	for p, bounds := range map[int32][2]int{0: {100, each}, 1: {0, each}, 2: {5000, each - 1}, 3: {7, 8}} {
		if n := len(got[p]); n != bounds[1]-bounds[0] {
			t.Errorf("partition %d holds %d records, want %d", p, n, bounds[1]-bounds[0])
			continue
		}
		for i, v := range got[p] {
			if v != fmt.Sprintf("%d:%d", p, bounds[0]+i) {
				t.Errorf("partition %d, record %d is %s", p, i, v)
				break
			}
		}
	}
	in.do("audit", "verify")
}

// fill writes each records "PARTITION:NUMBER" to every partition.
func fill(t *testing.T, broker, topic string, each int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for i := range each {
		for p := range int32(ranged) {
			cl.Produce(ctx, &kgo.Record{Topic: topic, Partition: p, Key: fmt.Appendf(nil, "k%d", i%100), Value: fmt.Appendf(nil, "%d:%d", p, i)}, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	if err := cl.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

// read returns what a read_committed consumer sees of a topic, by partition.
func read(t *testing.T, broker, topic string) map[int32][]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListCommittedOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	at, got := map[int32]int64{}, map[int32][]string{}
	done := func() bool {
		missing := false
		ends.Each(func(o kadm.ListedOffset) { missing = missing || at[o.Partition] < o.Offset })
		return !missing
	}
	for !done() {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			at[r.Partition] = r.Offset + 1
			if !r.Attrs.IsControl() {
				got[r.Partition] = append(got[r.Partition], string(r.Value))
			}
		})
	}
	return got
}

// Into a table, append holds exactly the range, and upsert is the fold of the range.
func TestReplayIntoTables(t *testing.T) {
	pg := testkit.Postgres(t, 15)
	source, sink := pg.CreateDatabase("shop"), pg.CreateDatabase("copy")
	psql(t, source, `CREATE TABLE item (id int PRIMARY KEY, n int, v numeric(9,2)); INSERT INTO item SELECT i, 0, i * 1.5 FROM generate_series(1, 500) i`)
	in := serve(t, "serve")
	in.do("sources", "create", "shop", "--dsn", source, "--yes")
	for round := range 5 {
		psql(t, source, fmt.Sprintf(`UPDATE item SET n = n + 1 WHERE id %% 5 = %d; DELETE FROM item WHERE id = %d; UPDATE item SET id = id + 1000 WHERE id = %d`, round, round+10, round+100))
	}
	in.do("wait", "--source", "shop", "--caught-up")
	var topic struct {
		Partitions []api.TopicPartition `json:"partitions"`
	}
	in.ask(&topic, "topics", "describe", "shop.public.item")
	end := topic.Partitions[0].End

	run := func(sinkName, target, offsets string) {
		t.Helper()
		var plan api.PlanAnswer
		in.ask(&plan, "replay", "plan", "--source", "embedded/shop.public.item", "--offsets", offsets, "--to", sinkName+"/"+target)
		in.do("replay", "approve", plan.PlanID, "--hash", plan.PlanHash)
		in.do("replay", "run", plan.PlanID, "--wait")
	}
	in.do("sinks", "create", "log", "--type", "postgres", "--dsn", sink, "--mode", "append")
	run("log", "public.history", "0:40-"+end)
	if got := psql(t, sink, `SELECT count(*) || ' ' || count(DISTINCT "offset") || ' ' || min("offset") || ' ' || max("offset") + 1 FROM public.history`); !strings.HasSuffix(got, " 40 "+end) {
		t.Errorf("append holds %s, want offsets 40 to %s", got, end)
	} else if f := strings.Fields(got); f[0] != f[1] {
		t.Errorf("append holds some offsets twice: %s", got)
	}
	in.do("sinks", "create", "table", "--type", "postgres", "--dsn", sink, "--mode", "upsert")
	run("table", "public.item", "0:0-"+end)
	if bad := sameTables(t, source, sink, "public.item"); len(bad) > 0 {
		t.Error(strings.Join(bad, "\n"))
	}
}

// One byte of a stored entry changed is found by name, with nothing running.
func TestAuditVerifyNamesAChangedEntry(t *testing.T) {
	in := serve(t, "serve")
	for i := range 5 {
		in.do("topics", "create", fmt.Sprintf("canary-topic-%d", i))
	}
	in.do("audit", "verify")
	export := in.data + "-export.jsonl"
	in.do("audit", "export", "--out", export)
	in.stop()
	in.do("audit", "verify")
	in.do("audit", "verify", export)
	for _, file := range []string{in.data + "/ledger.db", export} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		at := strings.Index(string(b), `"subject":"canary-topic-3"`)
		if at < 0 {
			t.Fatalf("%s holds no entry of the third topic", file)
		}
		changed := slices.Clone(b)
		changed[at+len(`"subject":"can`)] ^= 1
		if err := os.WriteFile(file, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		out, errs, exit := in.try("audit", "verify", file, "-o", "json")
		var report struct {
			OK       bool `json:"ok"`
			Exit     int  `json:"exit"`
			Findings []struct {
				Entry string `json:"entry"`
			} `json:"findings"`
		}
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			t.Fatalf("%v\n%s%s", err, out, errs)
		}
		if exit != 10 || report.OK || report.Exit != 10 || len(report.Findings) == 0 || report.Findings[0].Entry == "" {
			t.Errorf("%s: exit %d\n%s%s", file, exit, out, errs)
		}
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	in.do("audit", "verify")
}
