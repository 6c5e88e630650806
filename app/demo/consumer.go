package demo

import (
	"bytes"
	"context"
	"log/slog"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"freshet/backend/clock"
	"freshet/backend/kafka"
)

const (
	commitEvery   = time.Second
	pollRecords   = 500
	leaveWait     = 3 * time.Second
	retryPause    = time.Second
	sessionLimit  = 15 * time.Second // a consumer that was killed leaves its group after this
	beatEvery     = 3 * time.Second
	startCapacity = 10.0 // records a second, until the World says otherwise
)

// consumerOptions say how a consumer works.
type consumerOptions struct {
	brokers string // host:port, comma-separated
	group   string
	topics  []string
	slow    bool          // takes its time for every new row
	works   time.Duration // then it leaves the group for rests; 0: never
	rests   time.Duration
}

// consumer is a plain member of a group, as anybody would write one.
type consumer struct {
	consumerOptions
	cluster  *kafka.Cluster
	log      *slog.Logger
	pace     pace
	capacity atomic.Uint64 // bits of a float64, records a second of a slow one
	handled  atomic.Int64
	steady   atomic.Bool
}

func runConsumer(ctx context.Context, t *talk, o consumerOptions, log *slog.Logger) error {
	cluster, err := kafka.Open(kafka.Options{Name: "demo", Brokers: strings.Split(o.brokers, ","), Log: log})
	if err != nil {
		return err
	}
	defer cluster.Close()
	c := &consumer{consumerOptions: o, cluster: cluster, log: log}
	c.capacity.Store(math.Float64bits(startCapacity))
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	work.Go(func() { c.run(ctx) })
	t.say(reply{})
	t.serve(func(cmd command) reply {
		if cmd.Do == "set" && cmd.Rate > 0 {
			c.capacity.Store(math.Float64bits(cmd.Rate))
		}
		return reply{Done: c.handled.Load(), Steady: c.steady.Load()}
	})
	cancel()
	work.Wait()
	return nil
}

// run works in shifts where it rests in between, else for ever.
func (c *consumer) run(ctx context.Context) {
	for ctx.Err() == nil {
		shift, end := ctx, context.CancelFunc(func() {})
		if c.works > 0 {
			shift, end = context.WithTimeout(ctx, c.works)
		}
		err := c.shift(shift)
		end()
		if err != nil {
			c.log.Warn("cannot consume", "error", err)
			_ = clock.Sleep(ctx, retryPause)
			continue
		}
		if c.rests > 0 && ctx.Err() == nil {
			c.log.Info("stops for a while", "for", c.rests)
			_ = clock.Sleep(ctx, c.rests)
		}
	}
}

// shift is a member of the group until ctx ends, and leaves it then with what it handled committed.
func (c *consumer) shift(ctx context.Context) error {
	committed := map[string]bool{} // of the callback, which one goroutine at a time calls
	client, err := c.cluster.NewClient(kafka.Grant{Acts: []kafka.Act{kafka.Commit, kafka.Group}},
		kgo.ClientID("demo-"+c.group),
		kgo.ConsumerGroup(c.group),
		kgo.ConsumeTopics(c.topics...),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), // what retention took is gone for a shop as well
		kgo.AutoCommitMarks(),
		kgo.AutoCommitInterval(commitEvery),
		kgo.AutoCommitCallback(func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, r *kmsg.OffsetCommitResponse, err error) {
			if err != nil || r == nil {
				return
			}
			for _, t := range r.Topics {
				committed[t.Topic] = true
			}
			c.steady.Store(len(committed) == len(c.topics))
		}),
		kgo.SessionTimeout(sessionLimit),
		kgo.HeartbeatInterval(beatEvery),
	)
	if err != nil {
		return err
	}
	defer func() {
		leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveWait)
		defer cancel()
		if err := client.CommitMarkedOffsets(leaving); err != nil {
			c.log.Warn("cannot commit before leaving", "error", err)
		}
		if err := client.LeaveGroupContext(leaving); err != nil {
			c.log.Warn("cannot leave the group", "error", err)
		}
		client.Close()
	}()
	c.log.Info("works", "group", c.group, "topics", c.topics)
	for ctx.Err() == nil {
		fetches := client.PollRecords(ctx, pollRecords)
		for _, e := range fetches.Errors() {
			if ctx.Err() == nil {
				c.log.Warn("cannot fetch", "topic", e.Topic, "partition", e.Partition, "error", e.Err)
				_ = clock.Sleep(ctx, retryPause)
			}
		}
		for records := fetches.RecordIter(); !records.Done() && ctx.Err() == nil; {
			r := records.Next()
			if c.slow && isNewRow(r.Value) && !c.pace.wait(ctx, math.Float64frombits(c.capacity.Load())) {
				break
			}
			client.MarkCommitRecords(r)
			c.handled.Add(1)
		}
	}
	return nil
}

// isNewRow reports whether a captured record is an insert, which is what the slow group takes its time for. The history
// that a snapshot brings, and what the archive deletes, it passes over.
func isNewRow(value []byte) bool { return bytes.Contains(value, []byte(`"op":"c"`)) }
