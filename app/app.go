package app

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"freshet/app/config"
	"freshet/app/demo"
	"freshet/backend/api"
	"freshet/backend/auth"
	"freshet/backend/cdc"
	"freshet/backend/decode"
	"freshet/backend/export"
	"freshet/backend/fault"
	"freshet/backend/feed"
	"freshet/backend/kafka"
	"freshet/backend/kafka/embedded"
	"freshet/backend/secret"
	"freshet/backend/store"
	"freshet/backend/wholefile"
	"freshet/frontend"
	"freshet/probes"
	"freshet/probes/freshness"
	"freshet/probes/lag"
	"freshet/probes/slot"
	"freshet/probes/topics"
	"freshet/replay"
)

// Options say what to run.
type Options struct {
	DataDir string
	Listen  string // address of the page; "" is loopback and the port of the last time
	Config  *config.Config
	Demo    *DemoOptions // nil: no demo
	Log     *slog.Logger
	// Progress, where not nil, is told in words what a start is at.
	Progress func(format string, args ...any)
}

// App is one running Freshet on one data directory.
type App struct {
	o         Options
	log       *slog.Logger
	teardowns []teardown
	settings  atomic.Pointer[config.Config]

	store       *store.Store
	secrets     *secret.Store
	verified    atomic.Pointer[api.AuditReport] // what the last verification of the history found
	history     *store.History
	feed        *feed.Feed
	sessions    *auth.Sessions
	clusterDocs store.Docs[clusterDoc]
	sinkDocs    store.Docs[sinkDoc]
	dsns        store.Docs[dsnDoc]

	broker     *embedded.Broker // nil where clusters are named instead
	cdc        *cdc.Manager
	replay     *replay.Service
	connectors *replay.Connectors
	scheduler  *probes.Scheduler
	fresh      *freshness.Probe
	demo       demoRun
	wishes     wishes

	handler http.Handler
	started time.Time
	listens net.Addr
	url     string
	token   string
	lines   *logRing

	mu           sync.Mutex
	kafka        map[string]*kafka.Cluster
	sinkClusters map[string]*kafka.Cluster // of Kafka sinks that are on no cluster of ours
	lags         map[string]*lag.Probe
	events       []api.MapEvent
	slots        map[string]probes.SlotStatus
	retentions   map[string]retention // by cluster/topic
}

// freshnessProbe is the name of the probe that draws the paths.
const freshnessProbe = "freshness"

// New opens the data directory and wires the parts; nothing is served and nothing flows yet. What it began is ended where
// it fails.
func New(ctx context.Context, o Options) (a *App, err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Progress == nil {
		o.Progress = func(string, ...any) {}
	}
	marked, err := isDemo(o.DataDir)
	if err != nil {
		return nil, err
	}
	if marked && o.Config == nil && o.Demo == nil {
		o.Demo = &DemoOptions{}
	}
	if o.Demo != nil {
		o.Config = demoConfig()
	}
	if o.Config == nil {
		o.Config = &config.Config{}
	}
	lines := &logRing{}
	handlers := bothHandlers{o.Log.Handler(), lines.handler()}
	a = &App{o: o, started: time.Now(), lines: lines, log: slog.New(secret.LogHandler(handlers)), sessions: auth.NewSessions(), feed: feed.New(),
		kafka: map[string]*kafka.Cluster{}, sinkClusters: map[string]*kafka.Cluster{}, lags: map[string]*lag.Probe{}, slots: map[string]probes.SlotStatus{}}
	a.settings.Store(o.Config)
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Stop())
		}
	}()
	if o.Demo != nil && !marked {
		if err := notUsed(o.DataDir); err != nil {
			return a, err
		}
	}
	if a.secrets, err = secret.Open(o.DataDir, secret.Options{Log: a.log}); err != nil {
		return a, err
	}
	if a.store, err = store.Open(ctx, o.DataDir, store.Options{Log: a.log, Keys: a.secrets, RefuseDoc: secret.Refuse, Ballast: 16 << 20}); err != nil {
		return a, err
	}
	a.onStop("store", func(context.Context) error { return a.store.Close() })
	if o.Demo != nil {
		if err := markDemo(o.DataDir); err != nil {
			return a, err
		}
	}
	if err := a.keepSessions(ctx); err != nil {
		return a, err
	}
	if err := a.recallEvents(ctx); err != nil {
		return a, err
	}
	a.clusterDocs, a.sinkDocs, a.dsns = store.DocsOf[clusterDoc](a.store, "cluster"), store.DocsOf[sinkDoc](a.store, "sink"), store.DocsOf[dsnDoc](a.store, "dsn")
	limit := o.Config.History
	history, err := store.OpenHistory(filepath.Join(o.DataDir, "history"), store.HistoryOptions{Days: limit.Days, Bytes: limit.Bytes, Log: a.log})
	if err != nil {
		return a, err
	}
	a.history = history
	a.onStop("history", func(context.Context) error { return history.Close() })

	// What is there is of a process that was killed.
	if err := errors.Join(os.RemoveAll(a.spillDir()), os.Mkdir(a.spillDir(), 0o700)); err != nil {
		return a, fault.Wrap(fault.Unavailable, "make room for running transactions", err, "see to the data directory")
	}
	a.cdc = cdc.NewManager(cdc.ManagerOptions{Store: captureStore{store.DocsOf[cdc.Stored](a.store, "capture")}, Open: a.openSource, Logger: a.log})
	key, err := a.approvalKey(ctx)
	if err != nil {
		return a, err
	}
	host, _ := os.Hostname()
	holder := fmt.Sprintf("%s/%d/%d", host, os.Getpid(), time.Now().UnixNano())
	if a.replay, err = replay.New(replay.Options{
		Ledger: a.store.Ledger(), Clusters: planClusters{a}, Targets: targets{a}, Decode: decode.JSON, Change: decode.Debezium,
		Key: key, Local: a.profile().Kind == "local", Holder: holder, Dead: func(h string) bool { return deadHolder(host, h) }, Changed: a.jobChanged, Log: a.log,
	}); err != nil {
		return a, err
	}
	if a.connectors, err = a.newConnectors(); err != nil {
		return a, err
	}
	a.scheduler = probes.NewScheduler(probes.Options{Log: a.log, Recorder: a.history, OnRound: a.onRound})
	a.fresh = freshness.New(freshness.Feeds{Sources: a.cdc.Progress, Sinks: a.connectors.Progress, Lag: a.lagProbes, Clusters: a.probed}, freshness.Options{Objective: a.objective})
	if err := errors.Join(a.scheduler.Add(a.fresh), a.scheduler.Add(slot.New(a.readSlots, slot.Options{}))); err != nil {
		return a, err
	}
	return a, nil
}

// Start brings everything up, the log first and the doors last, and returns when the page can be opened.
func (a *App) Start(ctx context.Context) error {
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	var parts sync.WaitGroup
	a.onStop("what runs", func(context.Context) error {
		stop()
		return nil
	})
	if err := a.startBroker(ctx); err != nil {
		return err
	}
	if err := a.openClusters(ctx); err != nil {
		return err
	}
	// The demo may start later than this: it ends in its place all the same.
	a.onStop("demo database", func(ctx context.Context) error { return a.demo.end(ctx, (*demo.World).Stop) })
	// They end after the sinks: a request that the endpoint has is answered.
	a.onStop("demo processes", func(ctx context.Context) error { return a.demo.end(ctx, (*demo.World).StopChildren) })
	if a.o.Demo != nil {
		if err := a.raiseDemo(ctx); err != nil {
			return err
		}
	}
	if err := a.cdc.Start(run); err != nil {
		return err
	}
	a.onStop("captures", func(context.Context) error {
		stop()
		a.cdc.Wait()
		return nil
	})
	fed := make(chan error, 1)
	go func() { fed <- a.connectors.Serve(run) }()
	a.onStop("sinks", func(context.Context) error {
		stop()
		return <-fed
	})
	served := make(chan error, 1)
	go func() { served <- a.replay.Serve(run) }()
	a.onStop("replays", func(context.Context) error {
		stop()
		return <-served
	})
	for _, name := range a.clusterNames() {
		if c, err := a.cluster(name); err == nil {
			a.probeCluster(c)
		}
	}
	measured := make(chan error, 1)
	go func() { measured <- a.scheduler.Run(run) }()
	a.onStop("probes", func(context.Context) error {
		stop()
		return <-measured
	})
	configured, err := a.configure(ctx)
	if err != nil {
		return err
	}
	if a.o.Demo != nil {
		if err := a.wireDemo(ctx); err != nil {
			return err
		}
		a.demo.became(demoRunning, nil)
	}
	a.onStop("demo start", func(context.Context) error {
		a.demo.cancel()
		return nil
	})
	if err := a.open(run); err != nil {
		return err
	}
	telling, quiet := context.WithCancel(run)
	parts.Go(func() { a.publish(telling) })
	parts.Go(func() { configured(telling) })
	a.onStop("run.json", func(context.Context) error {
		quiet()
		parts.Wait()
		return errors.Join(os.Remove(filepath.Join(a.o.DataDir, runFile)), os.Remove(filepath.Join(a.o.DataDir, TokenFile)))
	})
	return nil
}

// startBroker starts the local broker, unless the configuration names clusters instead.
func (a *App) startBroker(ctx context.Context) error {
	if len(a.o.Config.Clusters) > 0 {
		return nil
	}
	b, err := embedded.Open(ctx, embedded.Options{Dir: filepath.Join(a.o.DataDir, "broker"), Log: a.log})
	if err != nil {
		return err
	}
	a.broker = b
	a.onStop("local broker", func(context.Context) error { return b.Close() })
	c, err := kafka.Open(kafka.Options{Name: embeddedCluster, Brokers: []string{b.Addr()}, Version: version, Own: true, Sync: b.Sync, Log: a.log})
	if err != nil {
		return err
	}
	a.addCluster(c)
	a.onStop("clusters", func(context.Context) error {
		a.mu.Lock()
		all, ofSinks := a.kafka, a.sinkClusters
		a.kafka, a.sinkClusters = map[string]*kafka.Cluster{}, map[string]*kafka.Cluster{}
		a.mu.Unlock()
		for _, c := range all {
			c.Close()
		}
		for _, c := range ofSinks {
			c.Close()
		}
		return nil
	})
	return nil
}

// open serves the page, the API and the metrics, and writes down where.
func (a *App) open(ctx context.Context) error {
	services := api.Services{
		Instance: instance{a}, Feed: feeds{a}, Clusters: clusters{a}, Sources: sources{a}, Sinks: sinks{a}, Log: logs{a}, Records: records{a},
		Probes: measured{a}, Replay: replays{a}, Audit: audit{a}, Demo: demos{a},
		Views: views{store.DocsOf[api.View](a.store, "view")}, Trials: trials{a}, Imports: imported{a},
	}
	a.handler = api.Handler(services, a.sessions, pageHandler(frontend.FS()), a.log)
	ln, err := a.listen()
	if err != nil {
		return err
	}
	a.listens = ln.Addr()
	registry := prometheus.NewRegistry()
	registry.MustRegister(export.New(a.scheduler.Status, export.Options{}), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	var raw [24]byte
	rand.Read(raw[:])
	a.token = base64.RawURLEncoding.EncodeToString(raw[:])
	port := ln.Addr().(*net.TCPAddr).Port
	guard := api.Guard{
		Hosts: append(api.Loopback(ln.Addr()), ln.Addr().String()), Cookie: "freshet_" + strconv.Itoa(port), Sessions: a.sessions, Token: a.token, Bearer: localOwner(),
		Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 2}),
	}
	server := &http.Server{Handler: guard.Wrap(a.handler), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx }, ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug)}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ln) }()
	a.onStop("page and API", func(ctx context.Context) error {
		// Held polls end with it; a request that is under way may finish.
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		err := server.Shutdown(ctx)
		if err != nil {
			err = server.Close()
		}
		if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	})
	a.url = "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	return a.announce()
}

// listen takes the address asked for, or loopback with the port of the last time.
func (a *App) listen() (net.Listener, error) {
	file := filepath.Join(a.o.DataDir, "port")
	if a.o.Listen != "" {
		host, _, err := net.SplitHostPort(a.o.Listen)
		if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return nil, fault.New(fault.Invalid, "listen on "+a.o.Listen, "give a loopback address such as 127.0.0.1:8123, and reach it through a tunnel or a proxy that logs people in",
				"only this machine can be served: there are no people and roles yet")
		}
		ln, err := net.Listen("tcp", a.o.Listen)
		return ln, fault.Wrap(fault.Unavailable, "listen on "+a.o.Listen, err, "give --listen another address")
	}
	if b, err := os.ReadFile(file); err == nil {
		if ln, err := net.Listen("tcp", "127.0.0.1:"+string(b)); err == nil {
			return ln, nil
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, "listen on loopback", err, "see what else listens there")
	}
	return ln, os.WriteFile(file, []byte(strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)), 0o600)
}

// announce writes run.json and the token of the command line, and keeps the former true as the demo's processes change.
func (a *App) announce() error {
	token := filepath.Join(a.o.DataDir, TokenFile)
	if err := wholefile.Write(token, []byte(a.token+"\n"), 0o600); err != nil {
		return fault.Wrap(fault.Unavailable, "write the token", err, "see to the data directory")
	}
	return a.writeRun()
}

func (a *App) writeRun() error {
	info := RunInfo{V: 1, PID: os.Getpid(), Version: version, URL: a.url}
	if a.broker != nil {
		info.Broker = a.broker.Addr()
	}
	if w := a.demo.running(); w != nil {
		info.Postgres, info.Warehouse = w.ShopDSN(), w.WarehouseDSN()
		for _, c := range w.Children() {
			if c.PID > 0 {
				info.Children = append(info.Children, RunChild{c.Name, c.PID})
			}
		}
	}
	b, err := json.Marshal(info)
	if err != nil {
		return err
	}
	path := filepath.Join(a.o.DataDir, runFile)
	if old, err := os.ReadFile(path); err == nil && string(old) == string(b) {
		return nil
	}
	return fault.Wrap(fault.Unavailable, "write run.json", wholefile.Write(path, b, 0o644), "see to the data directory")
}

// Link is the page's address with a one-time code in the fragment, which no server and no log is told.
func (a *App) Link() string { return a.url + "/#login=" + a.sessions.Code(localOwner()) }

// localOwner is the person who runs this process.
func localOwner() auth.Person {
	name := "owner"
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	return auth.Person{ID: "local:" + name, Local: true}
}

// approvalKey signs approvals; it is made once and kept with the secrets.
func (a *App) approvalKey(ctx context.Context) (ed25519.PrivateKey, error) {
	const name = "replay/approvals"
	text, err := a.secrets.Secret(ctx, name)
	if err != nil {
		return nil, err
	}
	if text != "" {
		seed, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(seed) != ed25519.SeedSize {
			return nil, fault.New(fault.Blocked, "read the key of approvals", "remove it from the secret store: approvals given under it no longer count", "it is damaged")
		}
		return ed25519.NewKeyFromSeed(seed), nil
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return key, a.secrets.Keep(ctx, name, base64.StdEncoding.EncodeToString(key.Seed()))
}

// publish hands the map and the status to whoever holds a poll, once a second.
func (a *App) publish(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		err := errors.Join(a.feed.Publish("map", a.currentMap(ctx)), a.feed.Publish("status", a.parts()), a.writeRun())
		if err != nil && ctx.Err() == nil {
			a.log.Error("the page is not told what changed", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (a *App) jobChanged(id string) {
	a.log.Debug("job changed", "job", id)
}

// onRound is told of every round that saw something.
func (a *App) onRound(string, probes.Round) {}

func (a *App) probeCluster(c *kafka.Cluster) {
	pace, sizes := 2*time.Second, 2*time.Second
	if c.Name() != embeddedCluster {
		pace, sizes = 5*time.Second, 10*time.Second
	}
	l := lag.New(c, lag.Options{Every: pace})
	a.mu.Lock()
	a.lags[c.Name()] = l
	a.mu.Unlock()
	if err := errors.Join(a.scheduler.Add(l), a.scheduler.Add(topics.New(c, topics.Options{Every: sizes, Configs: c.TopicSettings}))); err != nil {
		a.log.Error("a cluster is not measured", "cluster", c.Name(), "err", err)
	}
}

func (a *App) unprobeCluster(name string) {
	a.scheduler.Remove("lag/" + name)
	a.scheduler.Remove("topics/" + name)
	a.mu.Lock()
	delete(a.lags, name)
	a.mu.Unlock()
}

func (a *App) lagProbes() []*lag.Probe {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]*lag.Probe, 0, len(a.lags))
	for _, l := range a.lags {
		all = append(all, l)
	}
	return all
}

func (a *App) probed() []probes.Cluster {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]probes.Cluster, 0, len(a.kafka))
	for _, c := range a.kafka {
		all = append(all, c)
	}
	return all
}
