package app

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"freshet/backend/api"
	"freshet/backend/auditlog"
	"freshet/backend/auth"
	"freshet/backend/cdc"
	"freshet/backend/cdc/postgres"
	"freshet/backend/fault"
	"freshet/backend/kafka"
	"freshet/replay"
	httpsink "freshet/replay/sink/http"
	kafkasink "freshet/replay/sink/kafka"
	pgsink "freshet/replay/sink/postgres"
)

// sinkKind is one kind of sink: what it is, what a plan freezes of it, and how it is opened.
type sinkKind struct {
	spec   replay.Spec
	target func(ctx context.Context, a *App, d sinkDoc, sub string) (replay.Target, error)
	open   func(ctx context.Context, a *App, d sinkDoc) (replay.Sink, error)
}

// sinkKinds are all there are.
func sinkKinds() map[string]sinkKind {
	return map[string]sinkKind{
		"postgres": {pgsink.Spec, postgresTarget, openPostgresSink},
		"kafka":    {kafkasink.Spec, kafkaTarget, openKafkaSink},
		"http":     {httpsink.Spec, httpTarget, openHTTPSink},
	}
}

// sourceKinds are all there are: each makes a capture from options and a connection string.
func sourceKinds() map[string]func(a *App, o cdc.Options, dsn string) (cdc.Source, error) {
	return map[string]func(*App, cdc.Options, string) (cdc.Source, error){
		"postgres": func(a *App, o cdc.Options, dsn string) (cdc.Source, error) {
			return postgres.New(postgres.Options{Options: o, DSN: dsn, Version: version, SpillDir: a.spillDir(), Logger: a.log})
		},
	}
}

// spillDir is where captures keep the changes of large transactions that are still running.
func (a *App) spillDir() string { return filepath.Join(a.o.DataDir, "spill") }

// openSource makes the parts of a capture; cdc.Manager calls it.
func (a *App) openSource(ctx context.Context, o cdc.Options) (cdc.Parts, error) {
	doc, err := a.dsns.Get(ctx, o.Name)
	if err != nil {
		return cdc.Parts{}, err
	}
	dsn, err := a.dsn(ctx, doc.Value)
	if err != nil {
		return cdc.Parts{}, err
	}
	if o.Properties, err = a.salted(ctx, o.Properties); err != nil {
		return cdc.Parts{}, err
	}
	make, ok := sourceKinds()[o.Type]
	if !ok {
		return cdc.Parts{}, noKind("source", o.Type)
	}
	source, err := make(a, o, dsn)
	if err != nil {
		return cdc.Parts{}, err
	}
	c, err := a.cluster(o.Cluster)
	if err != nil {
		return cdc.Parts{}, err
	}
	log, err := c.OpenLog(grantOf(c, source))
	if err != nil {
		return cdc.Parts{}, err
	}
	return cdc.Parts{Source: source, Log: log, Schemas: log}, nil
}

func noKind(of, kind string) error {
	return fault.New(fault.Invalid, "open "+of, "see `freshet "+of+"s create --help`", "there is no kind %q", kind)
}

// salted are a capture's options with the salts of its masks, of which references are kept.
func (a *App) salted(ctx context.Context, properties map[string]string) (map[string]string, error) {
	return withSalts(properties, func(salt string) (string, error) { return a.given(ctx, salt) })
}

// saltless moves the salts that were given in the clear into the secret store, under the capture's name.
func (a *App) saltless(ctx context.Context, source string, properties map[string]string) (map[string]string, error) {
	n := 0
	return withSalts(properties, func(salt string) (string, error) {
		n++
		return a.hide(ctx, fmt.Sprintf("source/%s/salt%d", source, n), salt)
	})
}

func withSalts(properties map[string]string, f func(salt string) (string, error)) (map[string]string, error) {
	out := make(map[string]string, len(properties))
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		value := properties[name]
		if before, salt, ok := postgres.CutSalt(name); ok {
			salt, err := f(salt)
			if err != nil {
				return nil, err
			}
			name = before + salt
		}
		out[name] = value
	}
	return out, nil
}

// checkSource asks the database of a running capture how it is now.
func (a *App) checkSource(ctx context.Context, o cdc.Options) (api.SourcePlan, error) {
	doc, err := a.dsns.Get(ctx, o.Name)
	if err != nil {
		return api.SourcePlan{}, err
	}
	dsn, err := a.dsn(ctx, doc.Value)
	if err != nil {
		return api.SourcePlan{}, err
	}
	if o.Properties, err = a.salted(ctx, o.Properties); err != nil {
		return api.SourcePlan{}, err
	}
	source, err := postgres.New(postgres.Options{Options: o, DSN: dsn, Version: version, Logger: a.log})
	if err != nil {
		return api.SourcePlan{}, err
	}
	defer source.Close()
	p, err := source.Check(ctx)
	if err != nil {
		return api.SourcePlan{}, err
	}
	return sourcePlan("sources.preflight", p), nil
}

// planSource asks the database what a capture would make there.
func (a *App) planSource(ctx context.Context, spec api.SourceSpec) (api.SourcePlan, error) {
	dsn, err := a.given(ctx, spec.DSN)
	if err != nil {
		return api.SourcePlan{}, err
	}
	o := sources{a}.cdcOptions(spec)
	if o.Properties, err = a.salted(ctx, o.Properties); err != nil {
		return api.SourcePlan{}, err
	}
	source, err := postgres.New(postgres.Options{Options: o, DSN: dsn, Version: version, Logger: a.log})
	if err != nil {
		return api.SourcePlan{}, err
	}
	defer source.Close()
	p, err := source.Plan(ctx)
	if err != nil {
		return api.SourcePlan{}, err
	}
	return sourcePlan("sources.plan", p), nil
}

// sourcePlan is what the database said, as the API has it.
func sourcePlan(kind string, p *postgres.Plan) api.SourcePlan {
	out := api.SourcePlan{
		Head: api.Head{V: 1, Kind: kind}, Name: p.Source, Server: "PostgreSQL " + p.Server, Database: p.Database,
		Does: []string{}, Remove: append([]string{}, p.Remove...), Tables: []api.SourceTable{}, Findings: []api.Finding{},
	}
	out.Does = append(out.Does, "the logical replication slot "+p.Slot+": "+p.Holds)
	for _, pub := range p.Publications {
		if pub.Exists {
			out.Findings = append(out.Findings, api.Finding{Level: "info", Code: "PUBLICATION", Text: fmt.Sprintf("uses the publication %s that is there (%d tables, %s)", pub.Name, len(pub.Tables), pub.Publish)})
			continue
		}
		out.Does = append(out.Does, fmt.Sprintf("the publication %s of %d tables, for %s", pub.Name, len(pub.Tables), pub.Publish))
	}
	if p.Snapshot {
		out.Does = append(out.Does, fmt.Sprintf("a first snapshot of about %d rows, %d MiB, read in one transaction", p.SnapshotRows, p.SnapshotBytes>>20))
	}
	for _, t := range p.Tables {
		row := api.SourceTable{Table: t.Table, Topic: t.Topic, Identity: t.Identity}
		for i, k := range t.Key {
			if i > 0 {
				row.Key += ", "
			}
			row.Key += k
		}
		for i, l := range t.Limits {
			if i > 0 {
				row.Limit += "; "
			}
			row.Limit += l
		}
		out.Tables = append(out.Tables, row)
	}
	for _, w := range p.Warnings {
		out.Findings = append(out.Findings, finding("warning", "WARNING", w))
	}
	for _, r := range p.Refusals {
		out.Findings = append(out.Findings, finding("refusal", "REFUSED", r))
		out.Refused = true
	}
	return out
}

// statement is SQL in the words of a plan or a finding: in brackets, or after them.
var statement = regexp.MustCompile(`\((?:then |have their owner run: |[A-Z ]+, or have the tables' owner run: )?((?:ALTER|CREATE|DROP|GRANT|SELECT) (?:[^()]|\([^()]*\))*)\)|(ALTER TABLE \S+ REPLICA IDENTITY [A-Z]+)`)

// finding takes the statement that mends it out of the words, so that it can be copied.
func finding(level, code, text string) api.Finding {
	f := api.Finding{Level: level, Code: code, Text: text}
	if m := statement.FindStringSubmatch(text); m != nil {
		f.Mend, _, _ = strings.Cut(m[1]+m[2], ", then ")
	}
	return f
}

// targets are the sinks as plans and connectors name them; it implements replay.Targets.
type targets struct{ *App }

func (t targets) find(ctx context.Context, name string) (sinkDoc, sinkKind, error) {
	d, err := t.sinkDocs.Get(ctx, name)
	if fault.Is(err, fault.NotFound) {
		return sinkDoc{}, sinkKind{}, fault.New(fault.NotFound, "find sink "+name, "see `freshet sinks list`", "there is no such sink")
	}
	if err != nil {
		return sinkDoc{}, sinkKind{}, err
	}
	kind, ok := sinkKinds()[d.Value.Spec.Type]
	if !ok {
		return sinkDoc{}, sinkKind{}, noKind("sink", d.Value.Spec.Type)
	}
	return d.Value, kind, nil
}

func (t targets) Target(ctx context.Context, name, sub string) (replay.Target, error) {
	d, kind, err := t.find(ctx, name)
	if err != nil {
		return replay.Target{}, err
	}
	target, err := kind.target(ctx, t.App, d, sub)
	target.Name, target.Type = name, d.Spec.Type
	target.Fences = kind.spec.Fences
	target.Guarantee = replay.GuaranteeInDoubt
	if kind.spec.Transactional {
		target.Guarantee = replay.GuaranteeEffectivelyOnce
	}
	for _, mode := range kind.spec.Decoded {
		if mode == or(d.Spec.Mode, "upsert") {
			target.Changes = true
		}
	}
	return target, err
}

func (t targets) Open(ctx context.Context, name string) (replay.Sink, error) {
	d, kind, err := t.find(ctx, name)
	if err != nil {
		return nil, err
	}
	return kind.open(ctx, t.App, d)
}

func openPostgresSink(ctx context.Context, a *App, d sinkDoc) (replay.Sink, error) {
	dsn, err := a.dsn(ctx, dsnDoc{d.Spec.DSN, d.Password})
	if err != nil {
		return nil, err
	}
	return pgsink.New(pgsink.Options{
		DSN: dsn, Mode: pgsink.Mode(or(d.Spec.Mode, string(pgsink.Upsert))), NoCreateTables: d.Spec.NoCreateTables, Logger: a.log,
		Defining: func(ctx context.Context, table, statement string) error {
			_, err := a.store.Ledger().Record(ctx, auditlog.Entry{
				Actor: auth.System.ID, Action: "sink.define", Phase: auditlog.Note, Subject: d.Spec.Name, Detail: detail(map[string]string{"table": table, "statement": statement}),
			})
			a.log.Info("a sink makes a table", "sink", d.Spec.Name, "table", table, "statement", statement)
			return err
		},
	})
}

// postgresTarget asks the database who it is.
func postgresTarget(ctx context.Context, a *App, d sinkDoc, _ string) (replay.Target, error) {
	t := replay.Target{Mode: or(d.Spec.Mode, string(pgsink.Upsert))}
	dsn, err := a.dsn(ctx, dsnDoc{d.Spec.DSN, d.Password})
	if err != nil {
		return t, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	op := "reach sink " + d.Spec.Name
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return t, fault.New(fault.Invalid, op, "make the sink again", "its connection string cannot be read")
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return t, fault.New(fault.Unavailable, op, "`freshet sinks test "+d.Spec.Name+"` tells more", "the database at %s:%d does not let us in or does not answer", config.Host, config.Port)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var system int64
	var database string
	// A managed database may not show its system identifier; its address then stands in.
	err = conn.QueryRow(ctx, "SELECT system_identifier, current_database() FROM pg_control_system()").Scan(&system, &database)
	if err != nil {
		t.DatabaseID = fmt.Sprintf("%s:%d/%s", config.Host, config.Port, config.Database)
		return t, nil
	}
	t.DatabaseID = fmt.Sprintf("%d/%s", system, database)
	return t, nil
}

// clusterAt is the one of ours that has one of the brokers, nil for none.
func (a *App) clusterAt(brokers []string) *kafka.Cluster {
	for _, name := range a.clusterNames() {
		known, err := a.cluster(name)
		if err == nil && slices.ContainsFunc(known.Brokers(), func(b string) bool { return slices.Contains(brokers, b) }) {
			return known
		}
	}
	return nil
}

// sinkCluster is the cluster that a Kafka sink writes to: one of ours where its brokers are, else one of its own.
func (a *App) sinkCluster(ctx context.Context, d sinkDoc) (c *kafka.Cluster, granted bool, err error) {
	if known := a.clusterAt(d.Spec.Brokers); known != nil {
		return known, false, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.sinkClusters[d.Spec.Name]; c != nil {
		return c, true, nil
	}
	c, err = kafka.Open(kafka.Options{Name: d.Spec.Name, Brokers: d.Spec.Brokers, Version: version, Log: a.log})
	if err == nil {
		a.sinkClusters[d.Spec.Name] = c
	}
	return c, true, err
}

func openKafkaSink(ctx context.Context, a *App, d sinkDoc) (replay.Sink, error) {
	c, granted, err := a.sinkCluster(ctx, d)
	if err != nil {
		return nil, err
	}
	if !granted {
		if err := c.Gate().Allows(kafka.Produce); err != nil {
			return nil, err
		}
	}
	return kafkasink.New(kafkasink.Options{Cluster: c, Granted: granted, Logger: a.log})
}

func kafkaTarget(ctx context.Context, a *App, d sinkDoc, sub string) (replay.Target, error) {
	var t replay.Target
	c, _, err := a.sinkCluster(ctx, d)
	if err != nil {
		return t, err
	}
	if t.ClusterID, err = c.ClusterID(ctx); err != nil || sub == "" {
		return t, err
	}
	topic, err := c.Topic(ctx, sub)
	if fault.Is(err, fault.NotFound) {
		return t, nil
	}
	if err != nil {
		return t, err
	}
	t.Topic = &topic
	groups, err := c.Groups(ctx)
	for _, g := range groups {
		for at := range g.Commits {
			if at.Topic == sub {
				t.Consumers = append(t.Consumers, g.Name)
				break
			}
		}
	}
	return t, err
}

func openHTTPSink(ctx context.Context, a *App, d sinkDoc) (replay.Sink, error) {
	o := httpsink.Options{Name: d.Spec.Name, URL: d.Spec.URL, Header: http.Header{}, Idempotent: true, Logger: a.log}
	if d.Spec.Secret != "" {
		token, err := a.given(ctx, d.Spec.Secret)
		if err != nil {
			return nil, err
		}
		o.Header.Set("Authorization", "Bearer "+token)
	}
	return httpsink.New(o)
}

func httpTarget(_ context.Context, _ *App, d sinkDoc, _ string) (replay.Target, error) {
	return replay.Target{URL: d.Spec.URL, Idempotent: true}, nil
}

// checkSinkSpec fills in what was left out and says what cannot be.
func (a *App) checkSinkSpec(spec *api.SinkSpec) error {
	op := "create sink " + spec.Name
	if _, ok := sinkKinds()[spec.Type]; !ok {
		return noKind("sink", spec.Type)
	}
	need := map[string]bool{"postgres": spec.DSN != "", "kafka": len(spec.Brokers) > 0, "http": spec.URL != ""}
	flag := map[string]string{"postgres": "--dsn", "kafka": "--brokers", "http": "--url"}
	if !need[spec.Type] {
		return fault.New(fault.Invalid, op, "give "+flag[spec.Type], "a %s sink needs it", spec.Type)
	}
	for other, given := range need {
		if given && other != spec.Type {
			return fault.New(fault.Invalid, op, "leave "+flag[other]+" out, or give --type "+other, "%s is not for a %s sink", flag[other], spec.Type)
		}
	}
	if spec.Type != "postgres" && spec.Mode != "" {
		return fault.New(fault.Invalid, op, "leave --mode out", "a %s sink has no modes", spec.Type)
	}
	if spec.Type == "postgres" {
		spec.Mode = or(spec.Mode, "upsert")
	}
	if len(spec.Topics) == 0 {
		if spec.From != "" {
			return fault.New(fault.Invalid, op, "give --topics", "--from says where to begin with topics, and none are named")
		}
		return nil
	}
	spec.From = or(spec.From, replay.FromEarliest)
	spec.Cluster = or(spec.Cluster, embeddedCluster)
	if _, err := a.cluster(spec.Cluster); err != nil {
		return err
	}
	return nil
}
