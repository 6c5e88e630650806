package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"freshet/backend/api"
	"freshet/backend/cdc"
	"freshet/backend/decode"
	"freshet/backend/fault"
	"freshet/backend/kafka"
	"freshet/backend/kafka/embedded"
	"freshet/backend/store"
	"freshet/backend/stream"
	"freshet/probes"
	"freshet/replay"
)

// dsnDoc is how a source is reached: without the password, which is a reference.
type dsnDoc struct {
	DSN      string `json:"dsn"`
	Password string `json:"password,omitempty"`
}

// captureStore keeps captures; it implements cdc.Store.
type captureStore struct{ docs store.Docs[cdc.Stored] }

func (c captureStore) Sources(ctx context.Context) ([]cdc.Stored, error) {
	docs, err := c.docs.List(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]cdc.Stored, len(docs))
	for i, d := range docs {
		all[i] = d.Value
	}
	return all, nil
}

func (c captureStore) SaveSource(ctx context.Context, s cdc.Stored) error {
	return c.docs.Put(ctx, s.Options.Name, s)
}

func (c captureStore) DeleteSource(ctx context.Context, name string) error {
	return c.docs.Delete(ctx, name)
}

// planClusters are the clusters as plans name them; it implements replay.Clusters.
type planClusters struct{ *App }

func (p planClusters) Cluster(_ context.Context, name string) (replay.Cluster, error) {
	c, err := p.cluster(name)
	if err != nil {
		return replay.Cluster{}, err
	}
	return replay.Cluster{Source: c, Topics: c, Schemas: c.Schemas()}, nil
}

// feeds is the feed as the API has it.
type feeds struct{ *App }

func (f feeds) Poll(ctx context.Context, session, after string) (api.FeedAnswer, error) {
	a := f.feed.Poll(ctx, session, after)
	out := api.FeedAnswer{Head: api.Head{V: 1, Kind: "feed"}, Cursor: a.Cursor, Gap: a.Gap, Dropped: a.Dropped, Instance: a.Instance, Items: make([]api.FeedItem, len(a.Items))}
	for i, it := range a.Items {
		out.Items[i] = api.FeedItem(it)
	}
	return out, nil
}

// hide moves a secret that was given in the clear into the secret store and returns the reference.
func (a *App) hide(ctx context.Context, name, given string) (string, error) {
	if given == "" {
		return "", nil
	}
	return a.secrets.Take(ctx, name, given)
}

// secret is what a reference leads to; "" leads to nothing.
func (a *App) secret(ctx context.Context, ref string) (string, error) {
	if ref == "" {
		return "", nil
	}
	s, err := a.secrets.Resolve(ctx, ref)
	return s.Reveal(), err
}

// dsn is a whole connection string.
func (a *App) dsn(ctx context.Context, d dsnDoc) (string, error) {
	s, err := a.secrets.FullDSN(ctx, d.DSN, d.Password)
	return s.Reveal(), err
}

// profile is what kind of place this is.
func (a *App) profile() api.Profile {
	if p := a.settings.Load().Profile; p.Kind != "" {
		return api.Profile{Name: p.Name, Kind: p.Kind}
	}
	return api.Profile{Name: "local", Kind: "local"}
}

// objective is how fresh a path should be, in seconds.
func (a *App) objective(name string) float64 {
	parts := strings.SplitN(name, "/", 3) // SOURCE/SCHEMA.TABLE/TO
	if len(parts) < 3 {
		return usualObjective
	}
	for _, o := range a.settings.Load().Objectives {
		table, _ := path.Match(or(o.Table, "*"), parts[1])
		to, _ := path.Match(or(o.To, "*"), parts[2])
		if table && to {
			return o.Within.Seconds()
		}
	}
	return usualObjective
}

// owner is whose a node of the map is, "" where nobody has said.
func (a *App) owner(id, ref string) string {
	for _, o := range a.settings.Load().Owners {
		for _, of := range o.Of {
			byID, _ := path.Match(of, id)
			byRef, _ := path.Match(of, ref)
			if byID || byRef {
				return o.Name
			}
		}
	}
	return ""
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// topicsMatch reports whether a topic is one of those that a sink is fed from.
func topicsMatch(patterns []string, topic string) bool {
	for _, p := range patterns {
		if ok, err := path.Match(p, topic); ok && err == nil {
			return true
		}
	}
	return false
}

// readSlots asks every capture's database for its slot.
func (a *App) readSlots(ctx context.Context) ([]probes.SlotStatus, error) {
	var list []probes.SlotStatus
	var errs []error
	for _, o := range a.cdc.Options() {
		pipeline, err := a.cdc.Pipeline(o.Name)
		if err != nil {
			continue
		}
		s, err := pipeline.Source().Slot(ctx)
		if err != nil {
			errs = append(errs, err)
			a.mu.Lock()
			delete(a.slots, o.Name)
			a.mu.Unlock()
			continue
		}
		a.mu.Lock()
		a.slots[o.Name] = s
		a.mu.Unlock()
		list = append(list, s)
	}
	if len(list) == 0 {
		return nil, errors.Join(errs...)
	}
	return list, nil
}

func (a *App) slotStatus(source string) (probes.SlotStatus, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s, ok := a.slots[source]
	return s, ok
}

// deadHolder reports whether a job's holder was a process of this machine that is gone.
func deadHolder(host, holder string) bool {
	parts := strings.Split(holder, "/")
	if len(parts) != 3 || parts[0] != host {
		return false
	}
	pid, err := strconv.Atoi(parts[1])
	return err == nil && (pid == os.Getpid() || !alive(pid))
}

// instance is the program itself as the API has it.
type instance struct{ *App }

func (i instance) Version() api.Version { return BuildVersion() }

func (i instance) Status(context.Context) []api.Part { return i.parts() }

// parts are the parts of the running instance and how they do.
func (a *App) parts() []api.Part {
	var list []api.Part
	if a.broker != nil {
		h := a.broker.Health()
		p := api.Part{Part: "local broker", State: "ok", Detail: fmt.Sprintf("%s, %d of %d MiB", a.broker.Addr(), h.Used>>20, h.Quota>>20)}
		switch h.State {
		case embedded.Full:
			p.State, p.Detail, p.Needs = "blocked", h.Detail, "delete topics or shorten their retention"
		case embedded.Failed:
			p.State, p.Detail, p.Needs = "blocked", h.Detail, "see to the disk, then start Freshet again"
		}
		list = append(list, p)
	}
	if err := a.store.Ledger().Trouble(); err != nil {
		list = append(list, api.Part{Part: "audit history", State: "blocked", Detail: err.Error(), Needs: "see `freshet audit verify`"})
	} else {
		list = append(list, api.Part{Part: "audit history", State: "ok", Detail: "intact as far as it is open"})
	}
	for _, name := range a.clusterNames() {
		if name == embeddedCluster {
			continue
		}
		state, detail := a.clusterState(name)
		p := api.Part{Part: "cluster " + name, State: "ok", Detail: detail}
		if state != "ok" {
			p.State, p.Needs = state, "`freshet clusters test "+name+"` names the stage that fails"
		}
		list = append(list, p)
	}
	for _, w := range a.wishes.get() {
		e := api.FromError(w.err)
		p := api.Part{Part: w.what, State: "starting", Detail: e.Message}
		if !fault.Is(w.err, fault.Unavailable) && !fault.Is(w.err, fault.Timeout) {
			p.State, p.Needs = "blocked", e.Hint
		}
		list = append(list, p)
	}
	for _, s := range a.cdc.Progress() {
		p := api.Part{Part: "source " + s.Source, State: s.State, Detail: s.Why}
		switch s.State {
		case cdc.Streaming, cdc.Snapshot:
			p.State, p.Detail = "ok", s.State
		case cdc.Stopped:
			p.Needs = "`freshet sources status " + s.Source + "` tells why; then resume or drop it"
		}
		list = append(list, p)
	}
	all, err := (sinks{a}).List(context.Background())
	if err == nil {
		for _, s := range all {
			if s.State == "place" {
				continue
			}
			p := api.Part{Part: "sink " + s.Name, State: s.State, Detail: s.Why}
			switch s.State {
			case "running":
				p.State = "ok"
			case "blocked", "stopped":
				p.Needs = "mend what it says, then `freshet sinks resume " + s.Name + "`"
			}
			if s.Parked != "0" && s.Parked != "" {
				p.Detail = strings.TrimPrefix(p.Detail+"; "+s.Parked+" records parked", "; ")
			}
			list = append(list, p)
		}
	}
	for _, s := range a.scheduler.Status() {
		if s.Err != nil {
			list = append(list, api.Part{Part: "probe " + s.Name, State: "degraded", Detail: s.Err.Error()})
		}
	}
	if p, ok := a.demo.part(); ok {
		list = append(list, p)
	}
	if w := a.demo.running(); w != nil {
		for _, c := range w.Children() {
			p := api.Part{Part: "demo " + c.Name, State: "ok", Detail: fmt.Sprintf("process %d", c.PID)}
			if c.PID == 0 {
				p.State, p.Detail = "starting", c.Failure
			}
			list = append(list, p)
		}
	}
	return list
}

// clusterState is how a cluster answered the last look at its groups.
func (a *App) clusterState(name string) (state, detail string) {
	s, ok := a.scheduler.Last("lag/" + name)
	switch {
	case !ok || s.Rounds+s.Errors == 0:
		return "starting", "not looked at yet"
	case s.Err != nil:
		return "degraded", s.Err.Error()
	}
	return "ok", "answers, last at " + api.Time(s.Last.At)
}

// grantOf is what a capture may write on the cluster that it was created on while that was unlocked: its own topics and
// the schemas, for good. Were it to stop when the cluster locks again, the database would be left holding WAL.
func grantOf(c *kafka.Cluster, source cdc.Source) kafka.Grant {
	if c.Name() == embeddedCluster {
		return kafka.Grant{}
	}
	return kafka.Grant{Acts: []kafka.Act{kafka.Produce, kafka.Create}, Topics: append(source.Topics(), stream.SchemaTopic)}
}

// kindFile tells a demo's data directory from a person's own.
const kindFile = "demo.mark"

// isDemo reports whether a data directory is a demo's.
func isDemo(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(dir, kindFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, fault.Wrap(fault.Unavailable, "look at "+dir, err, "see to the data directory")
}

// notUsed keeps `freshet demo` out of a directory with a set-up of somebody's own.
func notUsed(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "freshet.db")); err == nil {
		return fault.New(fault.Invalid, "start the demo in "+dir, "give --data another directory", "it belongs to a Freshet that is no demo")
	}
	return nil
}

func markDemo(dir string) error {
	err := os.WriteFile(filepath.Join(dir, kindFile), []byte("this directory is a demo's; freshet demo --reset removes it\n"), 0o600)
	return fault.Wrap(fault.Unavailable, "mark "+dir+" as a demo's", err, "see to the data directory")
}

func (a *App) newConnectors() (*replay.Connectors, error) {
	return replay.NewConnectors(replay.ConnectorOptions{
		Store:  connectorStore{store.DocsOf[replay.Connector](a.store, "connector"), a.store.State},
		Ledger: a.store.Ledger(), Clusters: planClusters{a}, Targets: targets{a}, Decode: decode.JSON, Change: decode.Debezium, Log: a.log,
	})
}
