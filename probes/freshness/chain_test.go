//go:build unix

package freshness_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"freshet/backend/cdc"
	"freshet/backend/cdc/cdctest"
	"freshet/backend/cdc/postgres"
	"freshet/backend/decode"
	"freshet/backend/kafka"
	"freshet/backend/stream"
	"freshet/backend/testkit"
	"freshet/probes"
	"freshet/probes/freshness"
	"freshet/probes/lag"
	"freshet/replay"
	"freshet/replay/replaytest"
	pgsink "freshet/replay/sink/postgres"
)

// chain is a PostgreSQL captured into a broker and fed to another database, by the parts that do it in Freshet.
type chain struct {
	source, warehouse *pgx.Conn
	cluster           *kafka.Cluster
	dsn               string
}

func (c *chain) Cluster(context.Context, string) (replay.Cluster, error) {
	return replay.Cluster{Source: c.cluster, Topics: c.cluster, Schemas: c.cluster.Schemas()}, nil
}

func (c *chain) Target(context.Context, string, string) (replay.Target, error) {
	return replay.Target{Name: "warehouse", Type: "postgres", Mode: "upsert", Changes: true, Fences: true,
		Guarantee: replay.GuaranteeEffectivelyOnce, DatabaseID: "warehouse"}, nil
}

func (c *chain) Open(context.Context, string) (replay.Sink, error) {
	return pgsink.New(pgsink.Options{DSN: c.dsn})
}

// shelf is a replay.ConnectorStore in memory.
type shelf struct {
	mu     sync.Mutex
	defs   map[string]replay.Connector
	shards map[stream.TopicPartition]replay.ConnectorShard
	epoch  int64
}

func (s *shelf) Connectors(context.Context) (all []replay.Connector, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.defs {
		all = append(all, d)
	}
	return all, nil
}

func (s *shelf) SaveConnector(_ context.Context, c replay.Connector) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.defs[c.Name] = c
	return nil
}

func (s *shelf) DeleteConnector(context.Context, string) error {
	return errors.New("not asked for here")
}

func (s *shelf) TakeConnector(context.Context, string) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
	return s.epoch, nil
}

func (s *shelf) ConnectorShards(context.Context, string) (all []replay.ConnectorShard, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.shards {
		all = append(all, d)
	}
	return all, nil
}

func (s *shelf) SaveConnectorShards(_ context.Context, _ string, shards []replay.ConnectorShard) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range shards {
		s.shards[stream.TopicPartition{Topic: d.Topic, Partition: d.Partition}] = d
	}
	return nil
}

// Rows go from one PostgreSQL to another while the sink is stopped for a while. Both databases say when each row was
// committed there (track_commit_timestamp): for 99 rows in a hundred the delay lies within what Delivery says, no more
// than two seconds wide, and readings of the path stay as close, also while the sink stands still.
func TestDeliveryAgainstCommitTimestamps(t *testing.T) {
	stop, rows := 5*time.Second, 500
	if os.Getenv("FRESHET_PROOF") == "1" {
		stop, rows = 30*time.Second, 1500
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	server := testkit.Postgres(t, 15, "fsync=off")
	c := &chain{dsn: server.CreateDatabase("warehouse")}
	shop := server.CreateDatabase("shop")
	server.Exec("shop", "CREATE TABLE orders (id bigint PRIMARY KEY, note text)")
	connect := func(dsn string) *pgx.Conn {
		t.Helper()
		conn, err := pgx.Connect(ctx, dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close(context.Background()) })
		return conn
	}
	c.source, c.warehouse = connect(shop), connect(c.dsn)
	fake, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	if c.cluster, err = kafka.Open(kafka.Options{Name: "embedded", Brokers: fake.ListenAddrs(), Own: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.cluster.Close)

	manager := cdc.NewManager(cdc.ManagerOptions{Store: cdctest.NewStore(), Open: func(_ context.Context, o cdc.Options) (cdc.Parts, error) {
		source, err := postgres.New(postgres.Options{Options: o, DSN: shop})
		if err != nil {
			return cdc.Parts{}, err
		}
		log, err := c.cluster.OpenLog(kafka.Grant{})
		return cdc.Parts{Source: source, Log: log, Schemas: log}, err
	}})
	run, end := context.WithCancel(ctx)
	defer manager.Wait()
	defer end()
	if err := manager.Start(run); err != nil {
		t.Fatal(err)
	}
	if err := manager.Create(ctx, cdc.Options{Name: "shop", Type: "postgres", Cluster: "embedded"}); err != nil {
		t.Fatal(err)
	}
	connectors, err := replay.NewConnectors(replay.ConnectorOptions{
		Store:  &shelf{defs: map[string]replay.Connector{}, shards: map[stream.TopicPartition]replay.ConnectorShard{}},
		Ledger: new(replaytest.MemoryLedger), Clusters: c, Targets: c, Decode: decode.JSON, Change: decode.Debezium, Discover: 200 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- connectors.Serve(run) }()
	defer func() {
		end()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	// A connector is made once its topics are served, by a connector that is known.
	if err := until(ctx, func() bool {
		err = connectors.Create(ctx, replay.Connector{Name: "warehouse", Cluster: "embedded", Topics: []string{"shop.public.*"}, From: replay.FromEarliest,
			Sink: "warehouse", OnRefuse: "dlq"})
		return err == nil
	}); err != nil {
		t.Fatal(err)
	}

	lp := lag.New(c.cluster, lag.Options{Every: time.Second})
	p := freshness.New(freshness.Feeds{Sources: manager.Progress, Sinks: connectors.Progress,
		Lag:      func() []*lag.Probe { return []*lag.Probe{lp} },
		Clusters: func() []probes.Cluster { return []probes.Cluster{c.cluster} }}, freshness.Options{})
	var mu sync.Mutex
	var seen []freshness.Path
	scheduler := probes.NewScheduler(probes.Options{OnRound: func(_ string, r probes.Round) {
		if d, ok := r.Detail.(*freshness.Detail); ok {
			if x, ok := d.Path("shop/public.orders/sink:warehouse"); ok {
				mu.Lock()
				seen = append(seen, x)
				mu.Unlock()
			}
		}
	}}, lp, p)
	scheduled := make(chan error, 1)
	go func() { scheduled <- scheduler.Run(run) }()
	defer func() {
		end()
		<-scheduled
	}()

	insert := func(id int) {
		t.Helper()
		if _, err := c.source.Exec(ctx, "INSERT INTO orders VALUES ($1, 'a note')", id); err != nil {
			t.Fatal(err)
		}
	}
	insert(0)
	arrived := func(n int) func() bool {
		return func() bool {
			var have int
			err := c.warehouse.QueryRow(ctx, "SELECT count(*) FROM orders").Scan(&have)
			return err == nil && have >= n
		}
	}
	if err := until(ctx, arrived(1)); err != nil {
		t.Fatalf("the first row does not arrive: %v, source %+v, sink %+v", err, manager.Progress(), connectors.Progress())
	}
	if err := until(ctx, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(seen) > 3 && seen[len(seen)-1].Total.Known()
	}); err != nil {
		t.Fatal(err)
	}
	// Half the rows before the stop and after it, the other half while the sink stands still.
	pace := time.NewTicker(4 * stop / time.Duration(rows))
	defer pace.Stop()
	var from, to time.Time
	for id := 1; id < rows; id++ {
		<-pace.C
		insert(id)
		switch id {
		case rows / 2:
			if err := connectors.Pause(ctx, "warehouse", "for the test"); err != nil {
				t.Fatal(err)
			}
			from = time.Now()
		case rows * 3 / 4:
			to = time.Now()
			if err := connectors.Resume(ctx, "warehouse"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := until(ctx, arrived(rows)); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	rounds := len(seen)
	mu.Unlock()
	if err := until(ctx, func() bool { mu.Lock(); defer mu.Unlock(); return len(seen) >= rounds+2 }); err != nil {
		t.Fatal(err)
	}

	there, here := commits(t, ctx, c.source), commits(t, ctx, c.warehouse)
	records := read(t, ctx, fake.ListenAddrs(), "shop.public.orders", rows)
	held, narrow, widest := 0, 0, 0.0
	for _, r := range records {
		var id int
		if _, err := fmt.Sscanf(string(r.Key), `{"id":%d}`, &id); err != nil {
			t.Fatalf("key %s: %v", r.Key, err)
		}
		header := func(name string) string {
			for _, h := range r.Headers {
				if h.Key == name {
					return string(h.Value)
				}
			}
			return ""
		}
		us, _ := strconv.ParseInt(header(stream.CommitTimeHeader), 10, 64)
		position, err := stream.ParsePosition(header(stream.PositionHeader))
		if err != nil {
			t.Fatal(err)
		}
		truth := here[id].Sub(there[id]).Seconds()
		for _, a := range p.Delivery(freshness.Row{Cluster: "embedded", Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Commit: time.UnixMicro(us),
			Position: position, Time: r.Timestamp, TimeType: stream.CreateTime}) {
			switch {
			case a.To == "sink:warehouse" && id > 0:
				if a.State == "arrived" && a.Delay.Low <= truth+1e-6 && a.Delay.High >= truth-1e-6 {
					held++
				} else {
					t.Logf("row %d came after %.6f s: %+v", id, truth, a)
				}
				if w := width(a.Delay); w <= 2 {
					narrow, widest = narrow+1, max(widest, w)
				}
			case a.State != "arrived":
				t.Errorf("row %d: %+v", id, a)
			}
		}
	}
	t.Logf("%d rows: %d held, %d within 2 s, the widest of them %.3f s", rows-1, held, narrow, widest)
	if need := (rows-1)*99/100 + 1; held < need || narrow < need {
		t.Errorf("of %d rows the delay of %d is held, of %d it is known to 2 s", rows-1, held, narrow)
	}

	mu.Lock()
	defer mu.Unlock()
	stood, wide, all := 0, 0, 0
	late := func(i int) bool { // the machine gave the probe no time: what is seen seldom is known widely
		return i > 0 && seen[i].Total.AsOf.Sub(seen[i-1].Total.AsOf) > 1500*time.Millisecond ||
			i+1 < len(seen) && seen[i+1].Total.AsOf.Sub(seen[i].Total.AsOf) > 1500*time.Millisecond
	}
	for i, x := range seen {
		at := x.Total.AsOf
		if at.Before(from.Add(-2*stop)) || math.IsNaN(x.Total.High) && !x.Total.Known() {
			continue
		}
		still := at.After(from.Add(2*time.Second)) && at.Before(to)
		if at.After(to) && at.Before(to.Add(3*time.Second)) {
			continue // what waited comes with all its delays at once
		}
		all++
		if width(x.Total) > 2 && !late(i) {
			wide++
			t.Logf("wide: %+v", x.Total)
		}
		if !still {
			continue
		}
		stood++
		// The oldest row that was not there then, by the databases' own word.
		oldest := time.Time{}
		for id, commit := range there {
			if commit.Before(at) && here[id].After(at) && (oldest.IsZero() || commit.Before(oldest)) {
				oldest = commit
			}
		}
		if age := at.Sub(oldest).Seconds(); oldest.IsZero() || !holds(x.Total, age) || x.State != freshness.Paused {
			t.Errorf("the oldest row that has not come is %.3f s old, and it reads %s %+v", age, x.State, x.Total)
		}
	}
	t.Logf("%d readings, %d of them while the sink stood still, %d wide", all, stood, wide)
	if stood < int(stop.Seconds())/2 || wide*100 > all {
		t.Errorf("%d readings while the sink stood still, %d of %d wide", stood, wide, all)
	}
}

// until waits for ok, as long as ctx.
func until(ctx context.Context, ok func() bool) error {
	for !ok() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// commits asks a database when each row was committed.
func commits(t *testing.T, ctx context.Context, conn *pgx.Conn) map[int]time.Time {
	t.Helper()
	rows, err := conn.Query(ctx, "SELECT id, pg_xact_commit_timestamp(xmin) FROM orders")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	out := make(map[int]time.Time)
	for rows.Next() {
		var id int
		var at time.Time
		if err := rows.Scan(&id, &at); err != nil {
			t.Fatal(err)
		}
		out[id] = at
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// read reads n records of a topic.
func read(t *testing.T, ctx context.Context, brokers []string, topic string, n int) (out []*kgo.Record) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	for len(out) < n {
		f := cl.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		out = append(out, f.Records()...)
	}
	return out
}
