package kafka

import (
	"context"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"freshet/backend/fault"
	"freshet/backend/stream"
)

// rightSubject is what rights are tried on: one topic and one group, "" where the user sees none.
type rightSubject struct {
	topic     string
	id        [16]byte // of the topic
	partition int32
	leader    int32
	group     string
}

func (s *rightSubject) tp() stream.TopicPartition {
	return stream.TopicPartition{Topic: s.topic, Partition: s.partition}
}

// offset asks for the partition's earliest or latest.
func (s *rightSubject) offset(ctx context.Context, c *Cluster, cl *kgo.Client, at int64) (int64, error) {
	got, err := c.listOffsets(ctx, cl, false, map[stream.TopicPartition]int64{s.tp(): at})
	if err != nil {
		return 0, err
	}
	o, ok := got[s.tp()]
	if !ok {
		return 0, fault.New(fault.Unavailable, "ask for offsets of "+s.topic, "try again", "no answer from the partition's leader")
	}
	return o.offset, o.err
}

// right is one thing that reading a cluster needs. Asking is how it is found out: brokers may not tell what a user may.
type right struct {
	name    string
	without string
	acl     string // that grants it
	// ask tries it; detail is what it saw. A skipped try has a reason and no error.
	ask func(ctx context.Context, c *Cluster, cl *kgo.Client, s *rightSubject) (detail, skipped string, err error)
}

const noTopicSeen = "this user sees no topic to try it on"

// rights are those that reading a cluster needs, in the order in which they are asked for.
var rights = []right{
	{"list offsets", "how far topics reach, and with it every lag", "DESCRIBE on topics",
		func(ctx context.Context, c *Cluster, cl *kgo.Client, s *rightSubject) (string, string, error) {
			if s.topic == "" {
				return "", noTopicSeen, nil
			}
			end, err := s.offset(ctx, c, cl, latest)
			return fmt.Sprintf("%s/%d ends at %d", s.topic, s.partition, end), "", err
		}},
	{"read records", "messages, search, traces, and ages by the records' own times", "READ on topics", readRight},
	{"list groups", "consumer groups", "DESCRIBE on groups",
		func(ctx context.Context, c *Cluster, cl *kgo.Client, s *rightSubject) (string, string, error) {
			groups, err := c.listGroups(ctx, cl)
			for name := range groups {
				if s.group == "" || name < s.group {
					s.group = name
				}
			}
			return fmt.Sprintf("%d groups are seen", len(groups)), "", err
		}},
	{"read commits", "how far groups have got: their lag", "DESCRIBE on groups",
		func(ctx context.Context, c *Cluster, cl *kgo.Client, s *rightSubject) (string, string, error) {
			if s.group == "" {
				return "", "this user sees no group to try it on", nil
			}
			commits, err := kadm.NewClient(cl).FetchOffsets(ctx, s.group)
			n := 0
			commits.Each(func(kadm.OffsetResponse) { n++ })
			return fmt.Sprintf("%s has commits in %d partitions", s.group, n), "", c.explain("read commits", err)
		}},
	{"read topic settings", "topics' retention and clean-up, and when unread records are lost", "DESCRIBE_CONFIGS on topics",
		func(ctx context.Context, c *Cluster, cl *kgo.Client, s *rightSubject) (string, string, error) {
			if s.topic == "" {
				return "", noTopicSeen, nil
			}
			all, err := kadm.NewClient(cl).DescribeTopicConfigs(ctx, s.topic)
			n := 0
			for _, r := range all {
				if err == nil {
					err = r.Err
				}
				n += len(r.Configs)
			}
			return fmt.Sprintf("%d settings of %s", n, s.topic), "", c.explain("read topic settings", err)
		}},
	{"read sizes", "how many bytes topics take", "DESCRIBE on the cluster",
		func(ctx context.Context, c *Cluster, cl *kgo.Client, _ *rightSubject) (string, string, error) {
			dirs, err := kadm.NewClient(cl).DescribeAllLogDirs(ctx, nil)
			dirs.Each(func(d kadm.DescribedLogDir) {
				if err == nil {
					err = d.Err
				}
			})
			return fmt.Sprintf("%d brokers tell", len(dirs)), "", c.explain("read sizes", err)
		}},
}

// readRight fetches one batch, of which nothing is looked at.
func readRight(ctx context.Context, c *Cluster, cl *kgo.Client, s *rightSubject) (string, string, error) {
	if s.topic == "" {
		return "", noTopicSeen, nil
	}
	start, err := s.offset(ctx, c, cl, earliest)
	if fault.Is(err, fault.Denied) {
		return "", "where to read from is not known", nil
	}
	if err != nil {
		return "", "", err
	}
	got, err := fetchFrom(ctx, cl, s.leader, []want{{tp: s.tp(), id: s.id, pos: start, epoch: -1, bytes: 1}}, 0)
	if err == nil {
		err = got[s.tp()].err
	}
	return fmt.Sprintf("%s/%d can be read", s.topic, s.partition), "", c.explain("read records of "+s.topic, err)
}

// rights asks for one after the other. One that is denied does not end the test.
func (t *connectionTest) rights(ctx context.Context, cl *kgo.Client, meta *kmsg.MetadataResponse) {
	var s rightSubject
	for _, topic := range meta.Topics {
		if topic.Topic == nil || topic.ErrorCode != 0 || len(topic.Partitions) == 0 || topic.IsInternal || strings.HasPrefix(*topic.Topic, "__") {
			continue
		}
		if s.topic == "" || *topic.Topic < s.topic {
			s.topic, s.id, s.partition, s.leader = *topic.Topic, topic.TopicID, topic.Partitions[0].Partition, topic.Partitions[0].Leader
		}
	}
	for _, r := range rights {
		detail, skipped, err := r.ask(ctx, t.c, cl, &s)
		switch {
		case fault.Is(err, fault.Denied):
			t.add(Stage{Name: r.name, State: StageDenied, Detail: err.Error(), Err: err, Next: "grant " + r.acl, Without: r.without})
		case err != nil:
			t.add(Stage{Name: r.name, State: StageFailed, Detail: err.Error(), Err: err, Next: "try again", Without: r.without})
		case skipped != "":
			t.add(Stage{Name: r.name, State: StageNotTried, Detail: skipped, Without: r.without})
		default:
			t.add(Stage{Name: r.name, State: StageOK, Detail: detail, Without: r.without})
		}
	}
}
