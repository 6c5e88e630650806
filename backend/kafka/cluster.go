package kafka

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sync/errgroup"

	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/probes"
)

var _ probes.Cluster = (*Cluster)(nil)

// ClusterID is the broker's own cluster id.
func (c *Cluster) ClusterID(ctx context.Context) (string, error) {
	cl, err := c.client()
	if err != nil {
		return "", err
	}
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{} // of none
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return "", c.explain("ask for the cluster's id", err)
	}
	if resp.ClusterID == nil {
		return "", fault.New(fault.Invalid, "ask for the id of cluster "+c.o.Name, "", "the brokers give none")
	}
	return *resp.ClusterID, nil
}

// Topics returns the named topics, or all where none is named, with their ends. See probes.Cluster.
func (c *Cluster) Topics(ctx context.Context, sizes bool, names ...string) ([]stream.Topic, error) {
	cl, err := c.client()
	if err != nil {
		return nil, err
	}
	meta, err := c.metadata(ctx, cl, 0, names...)
	if err != nil {
		return nil, err
	}
	topics := make([]stream.Topic, 0, len(meta.Topics))
	for i := range meta.Topics {
		topics = append(topics, c.topicOf(&meta.Topics[i]))
	}
	slices.SortFunc(topics, func(a, b stream.Topic) int { return cmp.Compare(a.Name, b.Name) })

	parts := make(map[stream.TopicPartition]*stream.Partition)
	ask := make(map[stream.TopicPartition]int64)
	for i := range topics {
		for j := range topics[i].Partitions {
			p := &topics[i].Partitions[j]
			tp := stream.TopicPartition{Topic: topics[i].Name, Partition: p.ID}
			parts[tp] = p
			if p.Err == nil {
				ask[tp] = 0
			}
		}
	}
	if err := c.ends(ctx, cl, ask, parts); err != nil {
		return nil, err
	}
	if sizes {
		c.sizes(ctx, cl, parts, len(names) == 0)
	}
	return topics, nil
}

// topicOf reads one topic of a metadata answer; ends and sizes are unknown yet.
func (c *Cluster) topicOf(t *kmsg.MetadataResponseTopic) stream.Topic {
	topic := stream.Topic{ID: t.TopicID, Internal: t.IsInternal}
	if t.Topic != nil { // a topic that was asked for by id and is gone has no name
		topic.Name = *t.Topic
	}
	switch err := kerr.ErrorForCode(t.ErrorCode); err {
	case nil:
	case kerr.UnknownTopicOrPartition:
		topic.Err = c.noTopic(topic.Name)
	default:
		topic.Err = c.explain("ask about topic "+topic.Name, err)
	}
	for _, p := range t.Partitions {
		part := stream.Partition{
			ID: p.Partition, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, Replicas: p.Replicas, ISR: p.ISR,
			Start: -1, End: -1, Stable: -1, Bytes: -1,
		}
		if p.Leader < 0 {
			part.Err = c.explain(fmt.Sprintf("ask about %s/%d", topic.Name, p.Partition), kerr.LeaderNotAvailable)
		}
		topic.Partitions = append(topic.Partitions, part)
	}
	slices.SortFunc(topic.Partitions, func(a, b stream.Partition) int { return cmp.Compare(a.ID, b.ID) })
	return topic
}

// ListOffsets' times that are none.
const (
	latest   = -1
	earliest = -2
)

// ends fills Start, End and Stable. The stable end is asked for first: the others only grow meanwhile.
func (c *Cluster) ends(ctx context.Context, cl *kgo.Client, ask map[stream.TopicPartition]int64, parts map[stream.TopicPartition]*stream.Partition) error {
	for _, q := range []struct {
		at        int64
		committed bool
		to        func(*stream.Partition, int64)
	}{
		{latest, true, func(p *stream.Partition, o int64) { p.Stable = o }},
		{latest, false, func(p *stream.Partition, o int64) { p.End = o }},
		{earliest, false, func(p *stream.Partition, o int64) { p.Start = o }},
	} {
		for tp := range ask {
			ask[tp] = q.at
		}
		got, err := c.listOffsets(ctx, cl, q.committed, ask)
		if err != nil {
			return err
		}
		for tp, o := range got {
			if o.err != nil {
				parts[tp].Err = cmp.Or(parts[tp].Err, o.err)
				delete(ask, tp)
				continue
			}
			q.to(parts[tp], o.offset)
		}
	}
	for tp, p := range parts {
		if p.Err == nil && (p.Start < 0 || p.End < 0 || p.Stable < 0) {
			p.Err = fault.New(fault.Unavailable, fmt.Sprintf("ask about %s/%d on cluster %s", tp.Topic, tp.Partition, c.o.Name), "", "its leader did not answer")
		}
		if p.Err != nil {
			p.Start, p.End, p.Stable = -1, -1, -1
		}
	}
	return nil
}

type listed struct {
	offset, time int64
	epoch        int32
	err          error
}

// listOffsets asks each partition's leader; at is milliseconds since 1970, latest or earliest. Partitions whose leader
// gave no answer are left out; an error is no answer from anybody.
func (c *Cluster) listOffsets(ctx context.Context, cl *kgo.Client, committed bool, at map[stream.TopicPartition]int64) (map[stream.TopicPartition]listed, error) {
	if len(at) == 0 {
		return nil, nil
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	if committed {
		req.IsolationLevel = 1
	}
	topics := make(map[string]int)
	for tp, ms := range at {
		i, ok := topics[tp.Topic]
		if !ok {
			i = len(req.Topics)
			topics[tp.Topic] = i
			t := kmsg.NewListOffsetsRequestTopic()
			t.Topic = tp.Topic
			req.Topics = append(req.Topics, t)
		}
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition = tp.Partition
		p.CurrentLeaderEpoch = -1
		p.Timestamp = ms
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, p)
	}
	got := make(map[stream.TopicPartition]listed, len(at))
	var failed error
	for _, shard := range cl.RequestSharded(ctx, req) {
		if shard.Err != nil {
			failed = c.explain("ask for offsets", shard.Err)
			if req, ok := shard.Req.(*kmsg.ListOffsetsRequest); ok {
				for _, t := range req.Topics {
					for _, p := range t.Partitions {
						got[stream.TopicPartition{Topic: t.Topic, Partition: p.Partition}] = listed{err: failed}
					}
				}
			}
			continue
		}
		for _, t := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range t.Partitions {
				l := listed{offset: p.Offset, time: p.Timestamp, epoch: p.LeaderEpoch}
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					l = listed{err: c.explain(fmt.Sprintf("ask for offsets of %s/%d", t.Topic, p.Partition), err)}
				}
				got[stream.TopicPartition{Topic: t.Topic, Partition: p.Partition}] = l
			}
		}
	}
	if failed != nil && !slices.ContainsFunc(slices.Collect(maps.Values(got)), func(l listed) bool { return l.err == nil }) {
		return nil, failed
	}
	return got, nil
}

// sizes fills Bytes from what each leader says of its own replica. A broker that does not tell leaves -1.
func (c *Cluster) sizes(ctx context.Context, cl *kgo.Client, parts map[stream.TopicPartition]*stream.Partition, all bool) {
	var set kadm.TopicsSet
	if !all {
		for tp := range parts {
			set.Add(tp.Topic, tp.Partition)
		}
	}
	dirs, err := kadm.NewClient(cl).DescribeAllLogDirs(ctx, set)
	if err != nil {
		c.log.Debug("log directories are not told", "err", err)
	}
	dirs.Each(func(d kadm.DescribedLogDir) {
		d.Topics.Each(func(p kadm.DescribedLogDirPartition) {
			part := parts[stream.TopicPartition{Topic: p.Topic, Partition: p.Partition}]
			if part != nil && part.Leader == p.Broker && !p.IsFuture {
				part.Bytes = max(part.Bytes, 0) + p.Size
			}
		})
	})
}

// OffsetsAfter asks for each partition the first offset with a timestamp of at or later, Offset -1 where none is.
// Partitions that could not be asked are left out.
func (c *Cluster) OffsetsAfter(ctx context.Context, at map[stream.TopicPartition]time.Time) (map[stream.TopicPartition]probes.OffsetTime, error) {
	cl, err := c.client()
	if err != nil {
		return nil, err
	}
	ask := make(map[stream.TopicPartition]int64, len(at))
	for tp, t := range at {
		ask[tp] = max(t.UnixMilli(), 0)
	}
	got, err := c.listOffsets(ctx, cl, false, ask)
	if err != nil {
		return nil, err
	}
	after := make(map[stream.TopicPartition]probes.OffsetTime, len(got))
	for tp, o := range got {
		if o.err == nil {
			ot := probes.OffsetTime{Offset: o.offset}
			if o.offset >= 0 {
				ot.Time = time.UnixMilli(o.time)
			}
			after[tp] = ot
		}
	}
	return after, nil
}

// Protocols of groups.
const (
	classic  = "classic"
	consumer = "consumer"
	share    = "share"
	streams  = "streams"
)

// Groups returns every group with its commits. A group that could not be read has Err set; so has one that was there
// before and whose broker does not answer now.
func (c *Cluster) Groups(ctx context.Context) ([]stream.Group, error) {
	cl, err := c.client()
	if err != nil {
		return nil, err
	}
	groups, err := c.listGroups(ctx, cl)
	if err != nil {
		return nil, err
	}
	c.describeGroups(ctx, cl, groups)
	c.commits(ctx, cl, groups)
	all := make([]stream.Group, 0, len(groups))
	for _, g := range groups {
		all = append(all, *g)
	}
	slices.SortFunc(all, func(a, b stream.Group) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// listGroups asks every broker for its groups. Protocol is "?" where a broker is too old to tell.
func (c *Cluster) listGroups(ctx context.Context, cl *kgo.Client) (map[string]*stream.Group, error) {
	groups := make(map[string]*stream.Group)
	var failed error
	answers := 0
	for _, shard := range cl.RequestSharded(ctx, kmsg.NewPtrListGroupsRequest()) {
		err := shard.Err
		if err == nil {
			resp := shard.Resp.(*kmsg.ListGroupsResponse)
			if err = kerr.ErrorForCode(resp.ErrorCode); err == nil {
				answers++
				for _, g := range resp.Groups {
					protocol := map[string]string{"Classic": classic, "Consumer": consumer, "Share": share, "Streams": streams}[g.GroupType]
					if g.GroupType != "" && protocol == "" {
						protocol = g.GroupType
					}
					groups[g.Group] = &stream.Group{
						Name: g.Group, Protocol: cmp.Or(protocol, "?"), State: g.GroupState, Coordinator: shard.Meta.NodeID,
						Commits: make(map[stream.TopicPartition]stream.Commit),
					}
				}
				continue
			}
		}
		failed = c.explain("list groups", err)
	}
	if failed != nil && answers == 0 {
		return nil, failed
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if failed != nil {
		for name, protocol := range c.groups {
			if groups[name] == nil {
				groups[name] = &stream.Group{Name: name, Protocol: protocol, Coordinator: -1, Err: failed}
			}
		}
	}
	c.groups = make(map[string]string, len(groups))
	for name, g := range groups {
		c.groups[name] = g.Protocol
	}
	return groups, nil
}

// chunk bounds how many groups are asked about at once.
const chunk = 500

// describeGroups fills state and members, by protocol. What a broker does not tell of a group's protocol is found by
// trying: a broker may describe a group of a newer protocol as a classic one without members.
func (c *Cluster) describeGroups(ctx context.Context, cl *kgo.Client, groups map[string]*stream.Group) {
	adm := kadm.NewClient(cl)
	byProtocol := func(protocols ...string) []string {
		var names []string
		for name, g := range groups {
			if g.Err == nil && slices.Contains(protocols, g.Protocol) {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names
	}
	// each asks in chunks; answered says which groups a broker said something of. Of the others err tells.
	each := func(names []string, last bool, ask func(names []string, answered map[string]bool) error) {
		for part := range slices.Chunk(names, chunk) {
			answered := make(map[string]bool, len(part))
			err := ask(part, answered)
			for _, n := range part {
				if err != nil && !answered[n] && (groups[n].Protocol != "?" || last) {
					groups[n].Err = cmp.Or(groups[n].Err, c.explain("describe group "+n, err))
				}
			}
		}
	}
	each(byProtocol(consumer, "?"), false, func(names []string, answered map[string]bool) error {
		ds, err := adm.DescribeConsumerGroups(ctx, names...)
		for _, d := range ds {
			g := groups[d.Group]
			if g == nil || g.Protocol == "?" && d.Err != nil {
				continue
			}
			answered[d.Group] = true
			if d.Err != nil {
				g.Err = c.explain("describe group "+d.Group, d.Err)
				continue
			}
			g.State, g.Protocol, g.Coordinator, g.Epoch = d.State, consumer, d.Coordinator.NodeID, d.Epoch
			for _, m := range d.Members {
				member := stream.Member{ID: m.MemberID, ClientID: m.ClientID, Host: m.ClientHost, InstanceID: deref(m.InstanceID)}
				member.Assigned = partitionsOf(m.Assignment)
				g.Members = append(g.Members, member)
			}
		}
		return err
	})
	each(byProtocol(share, "?"), false, func(names []string, answered map[string]bool) error {
		ds, err := adm.DescribeShareGroups(ctx, names...)
		for _, d := range ds {
			g := groups[d.GroupID]
			if g == nil || g.Protocol == "?" && d.Err != nil {
				continue
			}
			answered[d.GroupID] = true
			if d.Err != nil {
				g.Err = c.explain("describe group "+d.GroupID, d.Err)
				continue
			}
			g.State, g.Protocol, g.Coordinator = d.GroupState, share, d.Coordinator.NodeID
			for _, m := range d.Members {
				member := stream.Member{ID: m.MemberID, ClientID: m.ClientID, Host: m.ClientHost}
				member.Assigned = partitionsOf(m.Assignment)
				g.Members = append(g.Members, member)
			}
		}
		return err
	})
	each(byProtocol(classic, "?"), true, func(names []string, answered map[string]bool) error {
		ds, err := adm.DescribeGroups(ctx, names...)
		for _, d := range ds {
			g := groups[d.Group]
			if g == nil {
				continue
			}
			answered[d.Group] = true
			if d.Err != nil {
				g.Err = c.explain("describe group "+d.Group, d.Err)
				continue
			}
			g.State, g.Protocol, g.Coordinator = d.State, classic, d.Coordinator.NodeID
			if d.ProtocolType == "" && len(d.Members) == 0 {
				g.Protocol = "" // offsets without members
			}
			for _, m := range d.Members {
				member := stream.Member{ID: m.MemberID, ClientID: m.ClientID, Host: m.ClientHost, InstanceID: deref(m.InstanceID)}
				if a, ok := m.Assigned.AsConsumer(); ok {
					for _, t := range a.Topics {
						for _, p := range t.Partitions {
							member.Assigned = append(member.Assigned, stream.TopicPartition{Topic: t.Topic, Partition: p})
						}
					}
				}
				g.Members = append(g.Members, member)
			}
		}
		return err
	})
}

func partitionsOf(set kadm.TopicsSet) []stream.TopicPartition {
	var parts []stream.TopicPartition
	for topic, ps := range set {
		for p := range ps {
			parts = append(parts, stream.TopicPartition{Topic: topic, Partition: p})
		}
	}
	slices.SortFunc(parts, func(a, b stream.TopicPartition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return parts
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// commits fills what each group has committed; for a share group that is where it will read on (its start offsets).
func (c *Cluster) commits(ctx context.Context, cl *kgo.Client, groups map[string]*stream.Group) {
	adm := kadm.NewClient(cl)
	var plain, shared []string
	for name, g := range groups {
		switch {
		case g.Err != nil:
		case g.Protocol == share:
			shared = append(shared, name)
		default:
			plain = append(plain, name)
		}
	}
	slices.Sort(plain)
	slices.Sort(shared)
	for part := range slices.Chunk(plain, chunk) {
		for name, r := range adm.FetchManyOffsets(ctx, part...) {
			g := groups[name]
			if g == nil {
				continue
			}
			if r.Err != nil {
				g.Err = c.explain("ask for the offsets of group "+name, r.Err)
				continue
			}
			r.Fetched.Each(func(o kadm.OffsetResponse) {
				switch {
				case o.Err != nil:
					g.Err = cmp.Or(g.Err, c.explain("ask for the offsets of group "+name, o.Err))
				case o.At >= 0:
					g.Commits[stream.TopicPartition{Topic: o.Topic, Partition: o.Partition}] =
						stream.Commit{Offset: o.At, LeaderEpoch: o.LeaderEpoch, Metadata: o.Metadata}
				}
			})
		}
	}
	for part := range slices.Chunk(shared, chunk) {
		ds, err := adm.DescribeShareGroupOffsets(ctx, part...)
		for _, name := range part {
			d, ok := ds[name]
			g := groups[name]
			if !ok || d.Err != nil {
				g.Err = c.explain("ask for the offsets of group "+name, cmp.Or(d.Err, err, error(kerr.UnknownServerError)))
				continue
			}
			for topic, ps := range d.Offsets {
				for p, o := range ps {
					if o.Err == nil && o.StartOffset >= 0 {
						g.Commits[stream.TopicPartition{Topic: topic, Partition: p}] = stream.Commit{Offset: o.StartOffset, LeaderEpoch: o.LeaderEpoch}
					}
				}
			}
		}
	}
}

// First returns the first committed record at or after an offset, for each partition asked for; one with Offset -1 where
// there is none up to the stable end. A partition that could not be read is left out.
func (c *Cluster) First(ctx context.Context, at map[stream.TopicPartition]int64) (map[stream.TopicPartition]stream.Record, error) {
	cl, err := c.client()
	if err != nil {
		return nil, err
	}
	found := make(map[stream.TopicPartition]stream.Record, len(at))
	open := maps.Clone(at)
	d := newDecoder()
	size := int32(64 << 10)
	for len(open) > 0 {
		got, err := c.fetchOnce(ctx, cl, open, size)
		if err != nil {
			return nil, err
		}
		moved := false
		for tp, pos := range open {
			f, ok := got[tp]
			if !ok || f.err != nil {
				delete(open, tp)
				continue
			}
			if pos >= f.stable {
				found[tp] = stream.Record{Topic: tp.Topic, Partition: tp.Partition, Offset: -1}
				delete(open, tp)
				continue
			}
			var b decoded
			run := d.begin(f)
			if err := run.decode(&b, pos, f.stable, 1, maxResult); err != nil {
				delete(open, tp)
				continue
			}
			if len(b.Records) > 0 {
				found[tp] = b.Records[0]
				delete(open, tp)
			} else if b.Next > pos {
				open[tp], moved = b.Next, true
			}
		}
		if !moved {
			if size >= maxResult {
				return found, nil
			}
			size *= 8 // a batch that does not fit comes whole only for the first partition of an answer
		}
	}
	return found, nil
}

// fetchOnce asks each partition's leader for committed data from an offset on, without waiting for any to arrive.
// Partitions without a leader are left out.
func (c *Cluster) fetchOnce(ctx context.Context, cl *kgo.Client, at map[stream.TopicPartition]int64, perPartition int32) (map[stream.TopicPartition]fetched, error) {
	names := make(map[string]struct{})
	for tp := range at {
		names[tp.Topic] = struct{}{}
	}
	meta, err := c.metadata(ctx, cl, fresh, slices.Sorted(maps.Keys(names))...)
	if err != nil {
		return nil, err
	}
	byLeader := make(map[int32][]want)
	for _, t := range meta.Topics {
		if t.Topic == nil {
			continue
		}
		for _, p := range t.Partitions {
			tp := stream.TopicPartition{Topic: *t.Topic, Partition: p.Partition}
			if pos, ok := at[tp]; ok && p.Leader >= 0 {
				byLeader[p.Leader] = append(byLeader[p.Leader], want{tp: tp, id: t.TopicID, pos: pos, epoch: -1, bytes: perPartition})
			}
		}
	}
	leaders := slices.Sorted(maps.Keys(byLeader))
	answers := make([]map[stream.TopicPartition]fetched, len(leaders))
	g, ctx := errgroup.WithContext(ctx)
	for i, leader := range leaders {
		g.Go(func() error {
			var err error
			answers[i], err = fetchFrom(ctx, cl, leader, byLeader[leader], 0)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, c.explain("read", err)
	}
	all := make(map[stream.TopicPartition]fetched, len(at))
	for _, a := range answers {
		maps.Copy(all, a)
	}
	return all, nil
}
