package kafka

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"freshet/backend/clock"
	"freshet/backend/fault"
	"freshet/backend/stream"
)

var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// CreateTopic makes a topic with as many replicas as the brokers hold right; fault.Exists where there is one.
func (c *Cluster) CreateTopic(ctx context.Context, name string, partitions int32, config map[string]string) error {
	cl, err := c.client()
	if err != nil {
		return err
	}
	return c.createTopic(ctx, cl, c.gate, name, partitions, config)
}

func (c *Cluster) createTopic(ctx context.Context, cl *kgo.Client, gate *Gate, name string, partitions int32, config map[string]string) error {
	op := "create topic " + name
	if err := gate.Allows(Create); err != nil {
		return err
	}
	if !topicName.MatchString(name) || name == "." || name == ".." {
		return fault.New(fault.Invalid, op, "use letters, digits, dots, underscores and hyphens, at most 249", "Kafka knows no topics of such a name")
	}
	if partitions < 1 {
		return fault.New(fault.Invalid, op, "give it at least one", "%d partitions", partitions)
	}
	values := make(map[string]*string, len(config))
	for k, v := range config {
		values[k] = &v
	}
	r, err := kadm.NewClient(cl).CreateTopic(ctx, partitions, -1, values, name)
	if err == nil {
		err = r.Err
	}
	if err != nil && r.ErrMessage != "" {
		err = fmt.Errorf("%w: %s", err, r.ErrMessage)
	}
	if err != nil {
		return c.explain(op, err)
	}
	// Its leaders may take a moment; whoever made it wants to use it.
	for {
		meta, err := c.topicMeta(ctx, cl, 0, name)
		if err == nil && !slices.ContainsFunc(meta.Partitions, func(p metadataPartition) bool { return p.Leader < 0 }) {
			return nil
		}
		if err != nil && !fault.Is(err, fault.NotFound) && !fault.Is(err, fault.Unavailable) {
			return err
		}
		if err := clock.Sleep(ctx, askAgain); err != nil {
			return c.explain(op, err)
		}
	}
}

// TopicSettings reads some settings of topics, by name and setting. Topics whose settings may not be known are left out.
func (c *Cluster) TopicSettings(ctx context.Context, settings []string, topics ...string) (map[string]map[string]string, error) {
	cl, err := c.client()
	if err != nil {
		return nil, err
	}
	got := make(map[string]map[string]string, len(topics))
	for some := range slices.Chunk(topics, 2000) {
		req := kmsg.NewPtrDescribeConfigsRequest()
		for _, t := range some {
			r := kmsg.NewDescribeConfigsRequestResource()
			r.ResourceType, r.ResourceName, r.ConfigNames = kmsg.ConfigResourceTypeTopic, t, settings
			req.Resources = append(req.Resources, r)
		}
		resp, err := req.RequestWith(ctx, cl)
		if err != nil {
			return got, c.explain("ask for the configuration of topics", err)
		}
		for _, r := range resp.Resources {
			if r.ErrorCode != 0 {
				continue
			}
			got[r.ResourceName] = make(map[string]string, len(settings))
			for _, kv := range r.Configs {
				if kv.Value != nil {
					got[r.ResourceName][kv.Name] = *kv.Value
				}
			}
		}
	}
	return got, nil
}

// Setting is one entry of a topic's configuration.
type Setting struct {
	Name   string
	Value  string
	Hidden bool   // its value is not told
	Source string // topic, broker, brokers, default, ...; "" unknown
}

// Settings is a topic's whole configuration, by name.
func (c *Cluster) Settings(ctx context.Context, topic string) ([]Setting, error) {
	adm, err := c.admin()
	if err != nil {
		return nil, err
	}
	op := "ask for the configuration of topic " + topic
	rs, err := adm.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return nil, c.explain(op, err)
	}
	r, err := rs.On(topic, nil)
	if err == nil {
		err = r.Err
	}
	if err != nil {
		return nil, c.explain(op, err)
	}
	sources := map[kmsg.ConfigSource]string{
		kmsg.ConfigSourceDynamicTopicConfig: "topic", kmsg.ConfigSourceDynamicBrokerConfig: "broker", kmsg.ConfigSourceDynamicDefaultBrokerConfig: "brokers",
		kmsg.ConfigSourceStaticBrokerConfig: "broker's file", kmsg.ConfigSourceDefaultConfig: "default",
	}
	list := make([]Setting, 0, len(r.Configs))
	for _, kv := range r.Configs {
		s := Setting{Name: kv.Key, Hidden: kv.Value == nil, Source: sources[kv.Source]}
		if kv.Value != nil {
			s.Value = *kv.Value
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b Setting) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// DeleteTopic deletes a topic with all its records.
func (c *Cluster) DeleteTopic(ctx context.Context, name string) error {
	if err := c.gate.Allows(Delete); err != nil {
		return err
	}
	adm, err := c.admin()
	if err != nil {
		return err
	}
	r, err := adm.DeleteTopic(ctx, name)
	if err == nil {
		err = r.Err
	}
	return c.explain("delete topic "+name, err)
}

// OffsetChange is where a group's place in one partition moves. From is -1 where it had none.
type OffsetChange struct {
	stream.TopicPartition
	From, To int64
}

// ResetGroup moves a group's committed offsets of one topic to a point; apply false only says what would change. A
// group that has members is fault.Conflict.
func (c *Cluster) ResetGroup(ctx context.Context, group, topic string, to Point, apply bool) ([]OffsetChange, error) {
	op := "reset group " + group
	if apply {
		if err := c.gate.Allows(Commit); err != nil {
			return nil, err
		}
	}
	g, err := c.Group(ctx, group)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	if g.Err != nil {
		return nil, g.Err
	}
	if apply && len(g.Members) > 0 {
		return nil, fault.New(fault.Conflict, op, "stop its members and try again", "the group has %d members", len(g.Members))
	}
	topics, err := c.Topics(ctx, false, topic)
	if err != nil {
		return nil, err
	}
	if len(topics) != 1 {
		return nil, c.noTopic(topic)
	}
	t := &topics[0]
	if t.Err != nil {
		return nil, t.Err
	}
	offsets, err := c.resolve(ctx, t, to)
	if err != nil {
		return nil, err
	}
	var changes []OffsetChange
	set := make(kadm.Offsets)
	for _, p := range t.Partitions {
		o, ok := offsets[p.ID]
		if !ok {
			continue
		}
		if p.Err == nil && (o < p.Start || o > p.End) {
			return nil, fault.New(fault.Invalid, op, fmt.Sprintf("choose an offset from %d to %d", p.Start, p.End), "%s/%d holds no offset %d", topic, p.ID, o)
		}
		tp := stream.TopicPartition{Topic: topic, Partition: p.ID}
		change := OffsetChange{TopicPartition: tp, From: -1, To: o}
		if was, ok := g.Commits[tp]; ok {
			change.From = was.Offset
		}
		changes = append(changes, change)
		set.AddOffset(topic, p.ID, o, -1)
	}
	if !apply {
		return changes, nil
	}
	adm, err := c.admin()
	if err != nil {
		return nil, err
	}
	if g.Protocol == share {
		rs, err := adm.AlterShareGroupOffsets(ctx, group, set)
		if err == nil {
			err = rs.Error()
		}
		return changes, c.explain(op, err)
	}
	return changes, c.explain(op, adm.CommitAllOffsets(ctx, group, set))
}

// Group returns one group; fault.NotFound where there is none.
func (c *Cluster) Group(ctx context.Context, name string) (stream.Group, error) {
	cl, err := c.client()
	if err != nil {
		return stream.Group{}, err
	}
	groups, err := c.listGroups(ctx, cl)
	if err != nil {
		return stream.Group{}, err
	}
	g := groups[name]
	if g == nil {
		return stream.Group{}, fault.New(fault.NotFound, "ask cluster "+c.o.Name, "see freshet groups list", "there is no group %s", name)
	}
	one := map[string]*stream.Group{name: g}
	c.describeGroups(ctx, cl, one)
	c.commits(ctx, cl, one)
	return *g, nil
}
