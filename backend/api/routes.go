package api

import (
	"context"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"freshet/backend/auth"
	"freshet/backend/fault"
)

// out wraps an answer's body for huma.
type out[T any] struct{ Body T }

// body is a request with a JSON body alone.
type body[T any] struct{ Body T }

type none struct{}

// Named is the name in a path. It and its like are exported because huma looks only into exported embedded fields.
type Named struct {
	Name string `path:"name" maxLength:"300"`
}

type namedBody[T any] struct {
	Named
	Body T
}

type reason struct {
	Reason string `json:"reason,omitempty" maxLength:"500"`
}

type ClusterQuery struct {
	Cluster string `query:"cluster"`
}

// route registers one operation under its act: there is no way to register one without.
func route[I, O any](api huma.API, act auth.Act, method, path, id, summary string, f func(context.Context, *I) (*O, error)) {
	huma.Register(api, huma.Operation{
		OperationID: id, Method: method, Path: "/api" + path, Summary: summary,
		Metadata: map[string]any{actKey: act}, DefaultStatus: http.StatusOK, MaxBodyBytes: 1 << 20,
	}, func(ctx context.Context, in *I) (*O, error) {
		answer, err := f(ctx, in)
		if err != nil {
			return nil, FromError(err)
		}
		return answer, nil
	})
}

// list is the route of a list.
func list[I, T any](api huma.API, act auth.Act, path, id, summary, kind string, f func(context.Context, *I) ([]T, error)) {
	route(api, act, http.MethodGet, path, id, summary, func(ctx context.Context, in *I) (*out[List[T]], error) {
		items, err := f(ctx, in)
		if items == nil {
			items = []T{}
		}
		return &out[List[T]]{List[T]{Head: head(kind), Items: items}}, err
	})
}

// one is the route of a single thing.
func one[I, T any](api huma.API, act auth.Act, method, path, id, summary string, f func(context.Context, *I) (T, error)) {
	route(api, act, method, path, id, summary, func(ctx context.Context, in *I) (*out[T], error) {
		v, err := f(ctx, in)
		return &out[T]{v}, err
	})
}

// withHead puts the head before something that is a list's item elsewhere.
type withHead[T any] struct {
	Head
	Item T `json:"item"`
}

func item[I, T any](api huma.API, path, id, summary, kind string, f func(context.Context, *I) (T, error)) {
	one(api, auth.Read, http.MethodGet, path, id, summary, func(ctx context.Context, in *I) (withHead[T], error) {
		v, err := f(ctx, in)
		return withHead[T]{head(kind), v}, err
	})
}

func routes(api huma.API, s Services, sessions *auth.Sessions) {
	instanceRoutes(api, s, sessions)
	aboutRoutes(api, s.Instance)
	viewRoutes(api, s.Views)
	trialRoutes(api, s.Trials)
	importRoutes(api, s.Imports)
	clusterRoutes(api, s.Clusters)
	sourceRoutes(api, s.Sources)
	sinkRoutes(api, s.Sinks)
	topicRoutes(api, s.Log)
	groupRoutes(api, s.Log)
	recordRoutes(api, s.Records)
	probeRoutes(api, s.Probes)
	pastRoutes(api, s.Probes)
	sparkRoutes(api, s.Probes)
	traceRoutes(api, s.Probes)
	replayRoutes(api, s.Replay)
	auditRoutes(api, s.Audit)
	demoStateRoutes(api, s.Demo)
	demoRoutes(api, s.Demo)
}

func instanceRoutes(api huma.API, s Services, sessions *auth.Sessions) {
	list(api, auth.Read, "/status", "status", "Parts of the running instance", "status", func(ctx context.Context, _ *none) ([]Part, error) {
		return s.Instance.Status(ctx), nil
	})
	one(api, auth.Read, http.MethodGet, "/version", "version", "What is running", func(context.Context, *none) (Version, error) {
		return s.Instance.Version(), nil
	})
	type feedIn struct {
		After string `query:"after" maxLength:"200"`
	}
	one(api, auth.Read, http.MethodGet, "/feed", "feed", "What changed since a cursor, held for at most 20 s", func(ctx context.Context, in *feedIn) (FeedAnswer, error) {
		return s.Feed.Poll(ctx, sessionOf(ctx), in.After)
	})
	type link struct {
		Head
		Code string `json:"code"`
	}
	one(api, auth.Operate, http.MethodPost, "/session/code", "session-code", "A one-time code that opens the page", func(ctx context.Context, _ *none) (link, error) {
		p, _ := auth.From(ctx)
		return link{head("session.code"), sessions.Code(p)}, nil
	})
}

func clusterRoutes(api huma.API, c Clusters) {
	list(api, auth.Read, "/clusters", "clusters-list", "Kafka clusters", "clusters.list", func(ctx context.Context, _ *none) ([]Cluster, error) { return c.List(ctx) })
	one(api, auth.Define, http.MethodPost, "/clusters", "clusters-add", "Add a cluster, read-only", func(ctx context.Context, in *body[ClusterSpec]) (Receipt, error) {
		return c.Add(ctx, in.Body)
	})
	list2(api, auth.Operate, "/clusters/{name}/test", "clusters-test", "Test a connection stage by stage", "clusters.test", c.Test)
	one(api, auth.Unlock, http.MethodPost, "/clusters/{name}/unlock", "clusters-unlock", "Let Named acts through for a time", func(ctx context.Context, in *namedBody[UnlockSpec]) (Receipt, error) {
		return c.Unlock(ctx, in.Name, in.Body)
	})
	one(api, auth.Unlock, http.MethodPost, "/clusters/{name}/lock", "clusters-lock", "Make read-only again", func(ctx context.Context, in *Named) (Receipt, error) {
		return c.Lock(ctx, in.Name)
	})
	one(api, auth.Define, http.MethodDelete, "/clusters/{name}", "clusters-remove", "Forget a cluster", func(ctx context.Context, in *Named) (Receipt, error) {
		return c.Remove(ctx, in.Name)
	})
}

// list2 is a test: a POST that answers with stages.
func list2(api huma.API, act auth.Act, path, id, summary, kind string, f func(context.Context, string) ([]Stage, error)) {
	one(api, act, http.MethodPost, path, id, summary, func(ctx context.Context, in *Named) (List[Stage], error) {
		items, err := f(ctx, in.Name)
		return List[Stage]{Head: head(kind), Items: items}, err
	})
}

// mark is the body of a wait: the first call leaves Mark empty and is told one.
type mark struct {
	Mark string `json:"mark,omitempty" maxLength:"4000"`
}

type waited struct {
	Head
	Name    string `json:"name"`
	Mark    string `json:"mark"`
	Reached bool   `json:"reached"`
	Parked  string `json:"parked,omitempty" doc:"Of a sink: records set aside so far, which are not in it"`
}

// hold is how long one wait request is held; the caller asks again.
const hold = 10 * time.Second

func wait(ctx context.Context, name, at string, take func(context.Context, string) (string, error), reached func(context.Context, string, string) (bool, error)) (waited, error) {
	if at == "" {
		var err error
		if at, err = take(ctx, name); err != nil {
			return waited{}, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, hold)
	defer cancel()
	ok, err := reached(ctx, name, at)
	return waited{Head: head("wait"), Name: name, Mark: at, Reached: ok}, err
}

func sourceRoutes(api huma.API, s Sources) {
	list(api, auth.Read, "/sources", "sources-list", "Captures", "sources.list", func(ctx context.Context, _ *none) ([]Source, error) { return s.List(ctx) })
	item(api, "/sources/{name}", "sources-status", "One capture", "sources.status", func(ctx context.Context, in *Named) (Source, error) { return s.Get(ctx, in.Name) })
	one(api, auth.Define, http.MethodPost, "/sources/plan", "sources-plan", "What creating a capture would do to the database; does nothing", func(ctx context.Context, in *body[SourceSpec]) (SourcePlan, error) {
		return s.Plan(ctx, in.Body)
	})
	one(api, auth.Define, http.MethodPost, "/sources", "sources-create", "Create a capture", func(ctx context.Context, in *body[SourceSpec]) (Receipt, error) {
		return s.Create(ctx, in.Body)
	})
	list2(api, auth.Operate, "/sources/{name}/test", "sources-test", "Test a capture's connection", "sources.test", s.Test)
	one(api, auth.Operate, http.MethodPost, "/sources/{name}/preflight", "sources-preflight", "Ask a running capture's database again what the plan asked; changes nothing", func(ctx context.Context, in *Named) (SourcePlan, error) {
		return s.Preflight(ctx, in.Name)
	})
	act(api, auth.Operate, "/sources/{name}/pause", "sources-pause", "Stop capturing; the slot keeps holding WAL", s.Pause)
	act(api, auth.Operate, "/sources/{name}/resume", "sources-resume", "Go on capturing", s.Resume)
	one(api, auth.Define, http.MethodDelete, "/sources/{name}", "sources-drop", "Remove a capture with its slot and publications", func(ctx context.Context, in *Named) (Receipt, error) {
		return s.Drop(ctx, in.Name)
	})
	one(api, auth.Operate, http.MethodPost, "/sources/{name}/wait", "sources-wait", "Wait until what is committed now is captured", func(ctx context.Context, in *namedBody[mark]) (waited, error) {
		return wait(ctx, in.Name, in.Body.Mark, s.Mark, s.Reached)
	})
}

// act is a POST upon a Named thing with a reason.
func act(api huma.API, a auth.Act, path, id, summary string, f func(context.Context, string, string) (Receipt, error)) {
	one(api, a, http.MethodPost, path, id, summary, func(ctx context.Context, in *namedBody[reason]) (Receipt, error) {
		return f(ctx, in.Name, in.Body.Reason)
	})
}

func sinkRoutes(api huma.API, s Sinks) {
	list(api, auth.Read, "/sinks", "sinks-list", "Sinks", "sinks.list", func(ctx context.Context, _ *none) ([]Sink, error) { return s.List(ctx) })
	item(api, "/sinks/{name}", "sinks-status", "One sink", "sinks.status", func(ctx context.Context, in *Named) (Sink, error) { return s.Get(ctx, in.Name) })
	one(api, auth.Define, http.MethodPost, "/sinks", "sinks-create", "Create a sink", func(ctx context.Context, in *body[SinkSpec]) (Receipt, error) {
		return s.Create(ctx, in.Body)
	})
	list2(api, auth.Operate, "/sinks/{name}/test", "sinks-test", "Test a sink's connection", "sinks.test", s.Test)
	act(api, auth.Operate, "/sinks/{name}/pause", "sinks-pause", "Stop delivering", s.Pause)
	act(api, auth.Operate, "/sinks/{name}/resume", "sinks-resume", "Go on delivering", s.Resume)
	one(api, auth.Define, http.MethodDelete, "/sinks/{name}", "sinks-drop", "Forget a sink; what it wrote stays", func(ctx context.Context, in *Named) (Receipt, error) {
		return s.Drop(ctx, in.Name)
	})
	one(api, auth.Operate, http.MethodPost, "/sinks/{name}/wait", "sinks-wait", "Wait until what is committed now is applied", func(ctx context.Context, in *namedBody[mark]) (waited, error) {
		w, err := wait(ctx, in.Name, in.Body.Mark, s.Mark, s.Reached)
		if err != nil || !w.Reached {
			return w, err
		}
		sink, err := s.Get(ctx, in.Name)
		w.Parked = sink.Parked
		return w, err
	})
}

func groupRoutes(api huma.API, l Log) {
	list(api, auth.Read, "/groups", "groups-list", "Consumer groups", "groups.list", func(ctx context.Context, in *ClusterQuery) ([]Group, error) {
		return l.Groups(ctx, in.Cluster)
	})
	item(api, "/groups/{name}", "groups-describe", "One group", "groups.describe", func(ctx context.Context, in *TopicIn) (Group, error) {
		return l.Group(ctx, in.Cluster, in.Name)
	})
	type resetIn struct {
		TopicIn
		Body ResetSpec
	}
	one(api, auth.Define, http.MethodPost, "/groups/{name}/reset", "groups-reset", "Move a group's committed offsets", func(ctx context.Context, in *resetIn) (ResetAnswer, error) {
		return l.ResetGroup(ctx, in.Cluster, in.Name, in.Body)
	})
}

func probeRoutes(api huma.API, p Probes) {
	list(api, auth.Read, "/probes", "probes-list", "Probes and their last rounds", "probes.list", func(ctx context.Context, _ *none) ([]Probe, error) {
		return p.List(ctx), nil
	})
	one(api, auth.Read, http.MethodGet, "/map", "map", "The whole pipeline now", func(ctx context.Context, _ *none) (Map, error) { return p.Map(ctx), nil })
	type freshIn struct {
		ClusterQuery
		Name string `query:"name" maxLength:"300"`
	}
	list(api, auth.Read, "/freshness", "freshness", "Freshness of every path by hop", "freshness", func(ctx context.Context, in *freshIn) ([]Path, error) {
		return p.Freshness(ctx, in.Name, in.Cluster)
	})
	type historyIn struct {
		Metric    string    `query:"metric" required:"true"`
		Cluster   string    `query:"cluster"`
		Source    string    `query:"source"`
		Topic     string    `query:"topic"`
		Group     string    `query:"group"`
		Sink      string    `query:"sink"`
		Hop       string    `query:"hop"`
		Partition int32     `query:"partition" default:"-1"`
		From      time.Time `query:"from"`
		To        time.Time `query:"to"`
		Max       int       `query:"max" default:"400" minimum:"2" maximum:"5000"`
	}
	one(api, auth.Read, http.MethodGet, "/history", "history", "A series over a time range", func(ctx context.Context, in *historyIn) (History, error) {
		to := in.To
		if to.IsZero() {
			to = time.Now()
		}
		from := in.From
		if from.IsZero() {
			from = to.Add(-time.Hour)
		}
		points, err := p.History(ctx, HistoryQuery{Metric: in.Metric, Cluster: in.Cluster, Source: in.Source, Topic: in.Topic, Group: in.Group, Sink: in.Sink, Hop: in.Hop, Partition: in.Partition, From: from, To: to, Max: in.Max})
		if points == nil {
			points = []Point{}
		}
		return History{head("history"), points}, err
	})
}

func replayRoutes(api huma.API, r Replay) {
	list(api, auth.Read, "/replay", "replay-list", "Plans and jobs", "replay.list", func(ctx context.Context, _ *none) ([]ReplayItem, error) { return r.List(ctx) })
	one(api, auth.Plan, http.MethodPost, "/replay/plans", "replay-plan", "Freeze a plan", func(ctx context.Context, in *body[PlanSpec]) (PlanAnswer, error) {
		return r.Plan(ctx, in.Body)
	})
	type PlanIn struct {
		Ref string `path:"ref" maxLength:"80"`
	}
	one(api, auth.Read, http.MethodGet, "/replay/plans/{ref}", "replay-show-plan", "One plan", func(ctx context.Context, in *PlanIn) (PlanAnswer, error) {
		return r.ShowPlan(ctx, in.Ref)
	})
	type dryIn struct {
		PlanIn
		Sample int `query:"sample" maximum:"100"`
	}
	one(api, auth.Plan, http.MethodPost, "/replay/plans/{ref}/dry-run", "replay-dry-run", "Run the pipeline without writing", func(ctx context.Context, in *dryIn) (PlanAnswer, error) {
		return r.DryRun(ctx, in.Ref, in.Sample)
	})
	type approveIn struct {
		PlanIn
		Body ApproveSpec
	}
	one(api, auth.Approve, http.MethodPost, "/replay/plans/{ref}/approve", "replay-approve", "Approve, reject or withdraw", func(ctx context.Context, in *approveIn) (ApprovalAnswer, error) {
		return r.Approve(ctx, in.Ref, in.Body)
	})
	type runIn struct {
		PlanIn
		Body RunSpec
	}
	one(api, auth.Run, http.MethodPost, "/replay/plans/{ref}/run", "replay-run", "Run an approved plan", func(ctx context.Context, in *runIn) (JobAnswer, error) {
		return r.Run(ctx, in.Ref, in.Body)
	})
	one(api, auth.Read, http.MethodGet, "/replay/jobs/{ref}", "replay-show-job", "One job", func(ctx context.Context, in *PlanIn) (JobAnswer, error) {
		return r.ShowJob(ctx, in.Ref)
	})
	list(api, auth.Read, "/replay/jobs/{ref}/parked", "replay-parked", "The newest records that a job set aside: refused, failed or in doubt", "replay.parked", func(ctx context.Context, in *PlanIn) ([]ParkedRecord, error) {
		return r.Parked(ctx, in.Ref)
	})
	for verb, f := range map[string]func(context.Context, string, RunSpec) (JobAnswer, error){"pause": r.Pause, "resume": r.Resume, "cancel": r.Cancel} {
		one(api, auth.Run, http.MethodPost, "/replay/jobs/{ref}/"+verb, "replay-"+verb, "Ask a job to "+verb, func(ctx context.Context, in *runIn) (JobAnswer, error) {
			return f(ctx, in.Ref, in.Body)
		})
	}
}

func auditRoutes(api huma.API, a Audit) {
	type auditIn struct {
		Actor   string    `query:"actor"`
		Action  string    `query:"action"`
		Subject string    `query:"subject"`
		Text    string    `query:"text"`
		Since   time.Time `query:"since"`
		Until   time.Time `query:"until"`
		Limit   int       `query:"limit" default:"50" minimum:"1" maximum:"1000"`
		Cursor  string    `query:"cursor"`
	}
	one(api, auth.Read, http.MethodGet, "/audit", "audit-list", "Entries, newest first", func(ctx context.Context, in *auditIn) (List[AuditEntry], error) {
		items, next, err := a.List(ctx, AuditQuery{Actor: in.Actor, Action: in.Action, Subject: in.Subject, Text: in.Text, Since: in.Since, Until: in.Until, Limit: in.Limit, Cursor: in.Cursor})
		if items == nil {
			items = []AuditEntry{}
		}
		return List[AuditEntry]{head("audit.list"), items, next}, err
	})
	type proofIn struct {
		Seq string `path:"seq"`
	}
	one(api, auth.Read, http.MethodGet, "/audit/{seq}/proof", "audit-proof", "That an entry is in the signed history", func(ctx context.Context, in *proofIn) (AuditProof, error) {
		seq, err := strconv.ParseUint(in.Seq, 10, 64)
		if err != nil {
			return AuditProof{}, fault.New(fault.Invalid, "read the entry's number", "give the seq that audit list shows", "%q is no number", in.Seq)
		}
		return a.Proof(ctx, seq)
	})
	one(api, auth.Read, http.MethodGet, "/audit/state", "audit-state", "How long the history is, how far it is signed, and what the last verification found", func(ctx context.Context, _ *none) (AuditState, error) {
		return a.State(ctx)
	})
	one(api, auth.Read, http.MethodPost, "/audit/verify", "audit-verify", "Verify the history", func(ctx context.Context, _ *none) (AuditReport, error) {
		return a.Verify(ctx)
	})
	file(api, auth.Read, "/audit/export", "audit-export", "The whole history, verifiable by itself", "application/x-ndjson", "freshet-audit-", ".jsonl", a.Export)
}

// file is the route of a file whose name says when it was made.
func file(api huma.API, act auth.Act, path, id, summary, contentType, name, ext string, write func(context.Context, io.Writer) error) {
	huma.Register(api, huma.Operation{
		OperationID: id, Method: http.MethodGet, Path: "/api" + path, Summary: summary, Metadata: map[string]any{actKey: act},
	}, func(context.Context, *none) (*huma.StreamResponse, error) {
		return download(name+time.Now().UTC().Format("20060102T150405Z")+ext, contentType, write), nil
	})
}

// download answers with a file while it is written.
func download(name, kind string, write func(context.Context, io.Writer) error) *huma.StreamResponse {
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		ctx.SetHeader("Content-Type", kind)
		ctx.SetHeader("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
		// A failure in the middle must not look like an end: the connection is broken off.
		if err := write(ctx.Context(), ctx.BodyWriter()); err != nil {
			panic(http.ErrAbortHandler)
		}
	}}
}

func demoRoutes(api huma.API, d DemoWorld) {
	list(api, auth.Read, "/demo/faults", "demo-faults", "Faults of the demo", "demo.faults", func(ctx context.Context, _ *none) ([]Fault, error) { return d.Faults(ctx) })
	type forIn struct {
		Named
		Body struct {
			ForSeconds int `json:"for_s,omitempty" minimum:"0" maximum:"86400"`
		}
	}
	one(api, auth.Demo, http.MethodPost, "/demo/faults/{name}/start", "demo-fault-start", "Break something", func(ctx context.Context, in *forIn) (Receipt, error) {
		return d.StartFault(ctx, in.Name, time.Duration(in.Body.ForSeconds)*time.Second)
	})
	one(api, auth.Demo, http.MethodPost, "/demo/faults/{name}/stop", "demo-fault-stop", "Mend it; the name all mends everything", func(ctx context.Context, in *Named) (Receipt, error) {
		return d.StopFault(ctx, in.Name)
	})
	type load struct {
		Act  string  `json:"act" enum:"pause,resume,rate"`
		Rate float64 `json:"rate,omitempty" minimum:"0" maximum:"100000"`
	}
	one(api, auth.Demo, http.MethodPost, "/demo/load", "demo-load", "The shop's writes", func(ctx context.Context, in *body[load]) (Receipt, error) {
		return d.Load(ctx, in.Body.Act, in.Body.Rate)
	})
}

// WriteOpenAPI describes the whole API, as JSON, without a running instance: the page's types are generated from it.
func WriteOpenAPI(w io.Writer) error {
	api, _ := build(undone(), auth.NewSessions())
	b, err := json.MarshalIndent(api.OpenAPI(), "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// undone are rooms of which only the routes matter.
func undone() Services {
	return Services{
		Instance: struct{ Instance }{}, Feed: struct{ Feed }{}, Clusters: struct{ Clusters }{}, Sources: struct{ Sources }{}, Sinks: struct{ Sinks }{},
		Log: struct{ Log }{}, Records: struct{ RecordReader }{}, Probes: struct{ Probes }{}, Replay: struct{ Replay }{}, Audit: struct{ Audit }{}, Demo: struct{ Demo }{}, Views: struct{ Views }{},
		Trials: struct{ Trials }{}, Imports: struct{ Imports }{},
	}
}
