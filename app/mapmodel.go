package app

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"freshet/backend/api"
	"freshet/backend/cdc"
	"freshet/backend/stream"
	"freshet/probes"
	"freshet/probes/freshness"
	"freshet/probes/lag"
	"freshet/probes/topics"
)

// world is what the last rounds saw, from which the map is drawn.
type world struct {
	at      time.Time
	fresh   *freshness.Detail // nil before the first round
	lags    []*lag.Detail     // one a cluster
	topics  []*topics.Detail
	sources []probes.SourceProgress
	outbox  map[string]string // source to the prefix of the topics that its outbox's events go to
	sinks   []api.Sink
	events  []api.MapEvent
	profile api.Profile
	owner   func(id, ref string) string
}

// drawMap draws the pipeline: the captured topics with what feeds and reads them, and every other group and sink. Topics
// that nothing captures and nobody reads stay out of it, as do Freshet's own.
func drawMap(w world) api.Map {
	m := mapper{world: w, nodes: map[string]*api.Node{}, edges: map[string]*api.Edge{}}
	for _, s := range w.sources {
		m.source(s)
	}
	for _, d := range w.lags {
		for _, g := range d.Groups {
			m.group(d.Cluster, g)
		}
	}
	for _, s := range w.sinks {
		m.sink(s)
	}
	out := api.Map{Head: api.Head{V: 1, Kind: "map"}, AsOf: api.Time(w.at), Profile: w.profile, Nodes: []api.Node{}, Edges: []api.Edge{}, Paths: []api.Path{}, Events: w.events}
	if out.Events == nil {
		out.Events = []api.MapEvent{}
	}
	if w.fresh != nil {
		for _, p := range w.fresh.Paths {
			m.path(p)
			out.Paths = append(out.Paths, apiPath(p))
		}
	}
	m.rates()
	for _, id := range m.order {
		n := *m.nodes[id]
		n.Owner = m.owner(n.ID, n.Ref)
		out.Nodes = append(out.Nodes, n)
	}
	for _, e := range m.edges {
		out.Edges = append(out.Edges, *e)
	}
	slices.SortFunc(out.Edges, func(a, b api.Edge) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

type mapper struct {
	world
	nodes map[string]*api.Node
	edges map[string]*api.Edge
	order []string
}

func (m *mapper) node(id, lane, name, ref string) *api.Node {
	if n := m.nodes[id]; n != nil {
		return n
	}
	n := &api.Node{ID: id, Lane: lane, Name: name, Ref: ref, State: "unknown", Trend: "unknown"}
	m.nodes[id] = n
	m.order = append(m.order, id)
	return n
}

func (m *mapper) edge(from, to string) *api.Edge {
	id := from + ">" + to
	if e := m.edges[id]; e != nil {
		return e
	}
	e := &api.Edge{ID: id, From: from, To: to, State: "unknown"}
	m.edges[id] = e
	return e
}

// topicNode names a topic; one that is on a cluster beside the local broker carries the cluster's name.
func (m *mapper) topicNode(cluster, topic string) *api.Node {
	ref := topic
	if cluster != embeddedCluster {
		ref = cluster + "/" + topic
	}
	return m.node("topic:"+ref, "topic", ref, topic)
}

func (m *mapper) source(s probes.SourceProgress) {
	n := m.node("source:"+s.Source, "source", "PostgreSQL "+s.Source, s.Source)
	n.Note, n.Why = probes.Plural(int64(len(s.Tables)), "table"), s.Why
	switch s.State {
	case cdc.Streaming, cdc.Snapshot:
		n.State = "on_time"
		if s.State == cdc.Snapshot {
			n.Note = "reading the first snapshot"
		}
	case cdc.Paused:
		n.State = "paused"
	case cdc.Reconnecting:
		n.State = "at_risk"
	default:
		n.State = "dead"
	}
	names := make([]string, 0, len(s.Tables))
	for table := range s.Tables {
		names = append(names, table)
	}
	slices.Sort(names)
	for _, table := range names {
		t := m.topicNode(s.Cluster, s.Tables[table])
		if t.State == "unknown" {
			t.State = "idle"
		}
		m.edge(n.ID, t.ID).State = n.State
	}
	prefix, ok := m.outbox[s.Source]
	for _, d := range m.topics {
		if !ok || d.Cluster != s.Cluster {
			continue
		}
		for _, topic := range d.Topics {
			if strings.HasPrefix(topic.Name, prefix) {
				t := m.topicNode(d.Cluster, topic.Name)
				t.State = n.State
				m.edge(n.ID, t.ID).State = n.State
			}
		}
	}
}

func (m *mapper) group(cluster string, g lag.Group) {
	if strings.HasPrefix(g.Name, "__freshet") {
		return
	}
	id := "group:" + g.Name
	if cluster != embeddedCluster {
		id = "group:" + cluster + "/" + g.Name
	}
	n := m.node(id, "group", g.Name, g.Name)
	n.Note, n.Why, n.Trend = probes.Plural(int64(len(g.Members)), "member"), g.Verdict, string(g.Trend)
	n.State = groupState(g)
	n.Delay = known(g.Seconds)
	n.Rate = known(g.Consumed)
	byTopic := map[string][]lag.Partition{}
	for _, p := range g.Partitions {
		byTopic[p.Topic] = append(byTopic[p.Topic], p)
	}
	for topic, parts := range byTopic {
		t := m.topicNode(cluster, topic)
		if t.State == "unknown" {
			t.State = "idle"
		}
		e := m.edge(t.ID, n.ID)
		records, seconds := lag.Total(parts, g.Seconds.AsOf)
		e.Lag, e.Delay, e.State = ptr(api.FromReading(records)), ptr(api.FromReading(seconds)), n.State
	}
}

func groupState(g lag.Group) string {
	switch g.Code {
	case lag.OK:
		return "on_time"
	case lag.Behind, lag.Stopped, lag.Lost:
		return "late"
	case lag.Empty:
		return "dead"
	case lag.Idle:
		return "idle"
	case lag.Rebalancing, lag.Ahead:
		return "at_risk"
	}
	return "unknown"
}

func (m *mapper) sink(s api.Sink) {
	n := m.node("sink:"+s.Name, "sink", s.Name, s.Name)
	n.Why = s.Why
	n.Note = s.Type
	if s.Parked != "0" && s.Parked != "" {
		n.Note += ", " + s.Parked + " parked"
	}
	switch s.State {
	case "running":
		n.State = "on_time"
		if why := m.setAside(s); why != "" {
			n.State, n.Why = "at_risk", why
		}
	case "paused":
		n.State = "paused"
	case "retrying":
		n.State = "at_risk"
	case "place":
		n.State, n.Note = "idle", n.Note+", a place to replay to"
	default:
		n.State = "dead"
	}
	for _, p := range s.Partitions {
		t := m.topicNode(s.Cluster, p.Topic)
		if t.State == "unknown" {
			t.State = "idle"
		}
		m.edge(t.ID, n.ID).State = n.State
	}
}

// setAsideShows is how long a sink that went on without a record is at risk for it: what it holds is not what was sent.
const setAsideShows = 15 * time.Minute

func (m *mapper) setAside(s api.Sink) string {
	if len(s.LastParked) == 0 {
		return ""
	}
	p := s.LastParked[0]
	at, err := time.Parse(time.RFC3339Nano, p.At)
	if err != nil || m.at.Sub(at) > setAsideShows {
		return ""
	}
	return fmt.Sprintf("goes on without %s/%d:%s: %s", p.Topic, p.Partition, p.Offset, p.Reason)
}

// severity orders states: what a node shows is the worst of its paths.
var severity = map[string]int{"idle": 0, "on_time": 1, "paused": 2, "at_risk": 3, "unknown": 4, "late": 5, "dead": 6}

// path colours what a path goes over: its last edge and its end by its state, the hops before by their own readings.
func (m *mapper) path(p freshness.Path) {
	from := "source:" + p.Source
	t := m.topicNode(p.Cluster, p.Topic)
	if e := m.edges[from+">"+t.ID]; e != nil && len(p.Hops) > 0 {
		first := sum(p.Hops[:min(2, len(p.Hops))])
		e.Delay = ptr(api.FromReading(first))
		if n := m.nodes[from]; n != nil {
			e.State = hopState(first, p.Objective, n.State)
			t.State, t.Delay = e.State, e.Delay
		}
	}
	to := p.To
	if strings.HasPrefix(to, "topic:") {
		return
	}
	if n := m.nodes[to]; n != nil {
		if severity[string(p.State)] > severity[n.State] || n.Delay == nil {
			n.State = worse(n.State, string(p.State))
		}
		n.Trend = string(p.Trend)
		if p.Total.Known() && (n.Delay == nil || n.Delay.Value == nil || p.Total.Value > *n.Delay.Value) {
			n.Delay = ptr(api.FromReading(p.Total))
		}
	}
	if e := m.edges[t.ID+">"+to]; e != nil && len(p.Hops) > 0 {
		last := p.Hops[len(p.Hops)-1].Seconds
		e.State, e.Delay, e.Lag = string(p.State), ptr(api.FromReading(last)), ptr(api.FromReading(p.Waiting))
	}
}

func worse(a, b string) string {
	if severity[b] > severity[a] {
		return b
	}
	return a
}

// hopState is a hop's own state beside an objective for the whole path.
func hopState(r stream.Reading, objective float64, ofSource string) string {
	switch {
	case ofSource == "paused" || ofSource == "dead":
		return ofSource
	case !r.Known():
		return "unknown"
	case objective > 0 && r.Low > objective:
		return "late"
	case objective > 0 && (r.High > objective || math.IsNaN(r.High)):
		return "at_risk"
	}
	return "on_time"
}

func sum(hops []freshness.Hop) stream.Reading {
	out := hops[0].Seconds
	for _, h := range hops[1:] {
		r := h.Seconds
		if !out.Known() || !r.Known() {
			if out.Known() {
				out = r
			}
			continue
		}
		out.Value, out.Low, out.High = out.Value+r.Value, out.Low+r.Low, out.High+r.High
		out.State = stream.Bounded
	}
	return out
}

// rates puts the topics' record rates on them and on what leads to and from them.
func (m *mapper) rates() {
	for _, d := range m.topics {
		for _, t := range d.Topics {
			ref := t.Name
			if d.Cluster != embeddedCluster {
				ref = d.Cluster + "/" + t.Name
			}
			n := m.nodes["topic:"+ref]
			if n == nil {
				continue
			}
			rate := api.FromReading(t.Rate)
			n.Rate = &rate
			n.Note = probes.Plural(int64(len(t.Partitions)), "partition")
			for _, e := range m.edges {
				if e.To == n.ID {
					e.Rate = &rate
					m.addRate(e.From, t.Rate)
				}
			}
		}
	}
	for _, s := range m.sinks {
		for _, p := range s.Partitions {
			t := m.topicNode(s.Cluster, p.Topic)
			if e := m.edges[t.ID+">sink:"+s.Name]; e != nil && t.Rate != nil {
				e.Rate = t.Rate
			}
		}
	}
}

func (m *mapper) addRate(id string, r stream.Reading) {
	n := m.nodes[id]
	if n == nil || !r.Known() {
		return
	}
	if n.Rate == nil || n.Rate.Value == nil {
		n.Rate = ptr(api.FromReading(r))
		return
	}
	total := *n.Rate
	total.Value = ptr(*n.Rate.Value + r.Value)
	total.Low, total.High = nil, nil
	if n.Rate.Low != nil && n.Rate.High != nil {
		total.Low, total.High = ptr(*n.Rate.Low+r.Low), ptr(*n.Rate.High+r.High)
	}
	n.Rate = &total
}

func known(r stream.Reading) *api.Reading {
	if r.Unit == "" && !r.Known() && r.Why == "" {
		return nil
	}
	return ptr(api.FromReading(r))
}

func ptr[T any](v T) *T { return &v }

func compare(a, b string) int { return cmp.Compare(a, b) }

// apiPath is a path as the API has it.
func apiPath(p freshness.Path) api.Path {
	out := api.Path{
		Path: pathName(p), Source: p.Source, Cluster: p.Cluster, Table: p.Table, Topic: p.Topic, To: p.To, State: string(p.State), Why: p.Why, Hops: []api.Hop{},
		Total: api.FromReading(p.Total), Since: api.Time(p.Since), Trend: string(p.Trend),
	}
	if p.Objective > 0 {
		out.Objective = &p.Objective
	}
	if p.Worst.Known() {
		out.Worst = ptr(api.FromReading(p.Worst))
	}
	if p.ETA.Known() {
		out.ETA = ptr(api.FromReading(p.ETA))
	}
	for _, h := range p.Hops {
		out.Hops = append(out.Hops, api.Hop{From: h.From, To: h.To, Seconds: api.FromReading(h.Seconds)})
	}
	return out
}

// pathName is what people call a path: orders → warehouse.
func pathName(p freshness.Path) string {
	table := strings.TrimPrefix(p.Table, "public.")
	_, to, _ := strings.Cut(p.To, ":")
	return fmt.Sprintf("%s → %s", table, to)
}
