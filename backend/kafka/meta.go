package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"freshet/backend/fault"
)

// fresh is how old what is known of a topic's leaders may be before it is asked for anew.
const fresh = 10 * time.Second

// metadata asks for topics, all where none is named, from cl's cache where that is younger than age (0: never).
func (c *Cluster) metadata(ctx context.Context, cl *kgo.Client, age time.Duration, names ...string) (*kmsg.MetadataResponse, error) {
	req := kmsg.NewPtrMetadataRequest()
	for _, n := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(n)
		req.Topics = append(req.Topics, t)
	}
	var resp *kmsg.MetadataResponse
	var err error
	if age > 0 {
		resp, err = cl.RequestCachedMetadata(ctx, req, age)
	} else {
		resp, err = req.RequestWith(ctx, cl)
	}
	return resp, c.explain("ask about topics", err)
}

// topicMeta asks for one topic.
func (c *Cluster) topicMeta(ctx context.Context, cl *kgo.Client, age time.Duration, name string) (*kmsg.MetadataResponseTopic, error) {
	resp, err := c.metadata(ctx, cl, age, name)
	if err != nil {
		return nil, err
	}
	for i := range resp.Topics {
		t := &resp.Topics[i]
		if t.Topic == nil || *t.Topic != name {
			continue
		}
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			if err == kerr.UnknownTopicOrPartition {
				return nil, c.noTopic(name)
			}
			return nil, c.explain("ask about topic "+name, err)
		}
		return t, nil
	}
	return nil, c.noTopic(name)
}

func (c *Cluster) noTopic(name string) error {
	return fault.New(fault.NotFound, "ask cluster "+c.o.Name, "see freshet topics list", "there is no topic %s", name)
}

// askAgain is how long a question that could not be answered yet rests.
const askAgain = 50 * time.Millisecond

type metadataPartition = kmsg.MetadataResponseTopicPartition
