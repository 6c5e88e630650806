package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"freshet/backend/auth"
)

// Topic is one topic.
type Topic struct {
	Topic      string            `json:"topic"`
	ID         string            `json:"id,omitempty"`
	Internal   bool              `json:"internal,omitempty"`
	Partitions int               `json:"partition_count"`
	Records    Reading           `json:"records" doc:"Offsets between start and end: an upper bound of the records"`
	Rate       Reading           `json:"rate"`
	Bytes      Reading           `json:"bytes"`
	Owner      string            `json:"owner,omitempty"`
	Cleanup    string            `json:"cleanup,omitempty" doc:"cleanup.policy; absent where unknown"`
	Retention  string            `json:"retention_ms,omitempty" doc:"retention.ms, -1 for ever; absent where unknown"`
	WrittenBy  string            `json:"written_by,omitempty" doc:"The source that captures it"`
	Readers    TopicReaders      `json:"readers"`
	Config     map[string]string `json:"config,omitempty"`
	Configs    []TopicConfig     `json:"configs,omitempty" doc:"Of one topic: config, and where each value is from"`
	Consumers  []TopicConsumer   `json:"consumers,omitempty" doc:"Of one topic: the groups that read it"`
	Parts      []TopicPartition  `json:"partitions,omitempty"`
	Error      string            `json:"error,omitempty"`
}

// TopicReaders are the groups that read a topic, and the one that is furthest behind.
type TopicReaders struct {
	Count int      `json:"count"`
	Group string   `json:"worst_group,omitempty"`
	Worst *Reading `json:"worst,omitempty" doc:"How long the record that has waited longest for that group has been waiting"`
	State string   `json:"state,omitempty" doc:"That group's state in this topic: caught_up, behind, no_commit, ahead, lost, unknown"`
	Why   string   `json:"why,omitempty" doc:"Why the groups are not known"`
}

// TopicConfig is one entry of a topic's configuration.
type TopicConfig struct {
	Name   string `json:"name"`
	Value  string `json:"value,omitempty" doc:"Absent where it is secret"`
	Source string `json:"source,omitempty" doc:"topic: set on the topic; broker, default, and the like"`
}

// TopicConsumer is one group's place in a topic.
type TopicConsumer struct {
	Group      string `json:"group"`
	GroupState string `json:"group_state" doc:"As the broker says"`
	Members    int    `json:"members"`
	Partitions int    `json:"partitions" doc:"That it has commits in, or is assigned"`
	State      string `json:"state" doc:"The worst of its partitions: caught_up, behind, no_commit, ahead, lost, unknown"`
	Why        string `json:"why,omitempty"`
	Lag        Lag    `json:"lag" doc:"On this topic alone"`
	Lost       string `json:"lost,omitempty"`
}

// TopicPartition is one partition.
type TopicPartition struct {
	Partition int32   `json:"partition"`
	Leader    int32   `json:"leader"`
	Start     string  `json:"start,omitempty"`
	End       string  `json:"end,omitempty"`
	Stable    string  `json:"stable,omitempty"`
	Replicas  []int32 `json:"replicas,omitempty"`
	ISR       []int32 `json:"isr,omitempty"`
	Error     string  `json:"error,omitempty"`
}

// TopicSpec asks for a topic.
type TopicSpec struct {
	Topic      string            `json:"topic" minLength:"1" maxLength:"249"`
	Partitions int32             `json:"partitions" minimum:"1" maximum:"10000"`
	Config     map[string]string `json:"config,omitempty"`
	Cluster    string            `json:"cluster,omitempty"`
}

// TopicRow is a Topic as short as it can be said, for lists of ten thousand. What is absent is unknown, and why says why.
type TopicRow struct {
	Topic      string     `json:"topic"`
	Internal   bool       `json:"internal,omitempty"`
	Partitions int        `json:"partitions"`
	Records    string     `json:"records,omitempty" doc:"Offsets between start and end: an upper bound"`
	Rate       *float64   `json:"rate,omitempty" doc:"Offsets written a second"`
	Bytes      string     `json:"bytes,omitempty"`
	Owner      string     `json:"owner,omitempty"`
	Cleanup    string     `json:"cleanup,omitempty"`
	Retention  string     `json:"retention_ms,omitempty"`
	WrittenBy  string     `json:"written_by,omitempty"`
	Readers    int        `json:"readers,omitempty"`
	Worst      *RowReader `json:"worst,omitempty" doc:"The reader that is furthest behind"`
	LastWrite  string     `json:"last_write,omitempty" doc:"The time that the newest record carries"`
	Why        string     `json:"why,omitempty"`
}

// RowReader is the group that is furthest behind in a topic.
type RowReader struct {
	Group   string   `json:"group"`
	State   string   `json:"state"`
	Seconds *float64 `json:"seconds" nullable:"true"`
	Low     *float64 `json:"low" nullable:"true"`
	High    *float64 `json:"high" nullable:"true"`
	Why     string   `json:"why,omitempty"`
}

// TopicRows are all topics of a cluster as they were seen last.
type TopicRows struct {
	Head
	Cluster     string     `json:"cluster"`
	AsOf        string     `json:"as_of"`
	ReadersAsOf string     `json:"readers_as_of,omitempty" doc:"Absent where the groups are not known: then no row has readers"`
	Items       []TopicRow `json:"items" nullable:"false"`
}

// TopicIn is a topic or a group on a cluster.
type TopicIn struct {
	Named
	ClusterQuery
}

func topicRoutes(api huma.API, l Log) {
	list(api, auth.Read, "/topics", "topics-list", "Topics", "topics.list", func(ctx context.Context, in *ClusterQuery) ([]Topic, error) {
		return l.Topics(ctx, in.Cluster)
	})
	one(api, auth.Read, http.MethodGet, "/topic-rows", "topics-rows", "Topics as they were seen last, in short", func(ctx context.Context, in *ClusterQuery) (TopicRows, error) {
		return l.TopicRows(ctx, in.Cluster)
	})
	item(api, "/topics/{name}", "topics-describe", "One topic", "topics.describe", func(ctx context.Context, in *TopicIn) (Topic, error) {
		return l.Topic(ctx, in.Cluster, in.Name)
	})
	one(api, auth.Define, http.MethodPost, "/topics", "topics-create", "Create a topic", func(ctx context.Context, in *body[TopicSpec]) (Receipt, error) {
		return l.CreateTopic(ctx, in.Body)
	})
}
