package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"freshet/backend/auth"
)

// Stage is one stage of a connection test, or one right that it asked for.
type Stage struct {
	Stage   string  `json:"stage"`
	State   string  `json:"state" enum:"ok,failed,denied,not_tried"`
	OK      bool    `json:"ok"`
	Detail  string  `json:"detail"`
	Next    string  `json:"next,omitempty"`
	Took    float64 `json:"took_s" doc:"Seconds"`
	Without string  `json:"without,omitempty" doc:"Of a right: what is not known without it"`
}

// Trials test what was not saved yet. They keep nothing; a secret in the clear is used and forgotten.
type Trials interface {
	Cluster(ctx context.Context, spec ClusterSpec) ([]Stage, error)
	Sink(ctx context.Context, spec SinkSpec) ([]Stage, error)
}

func trialRoutes(api huma.API, t Trials) {
	one(api, auth.Define, http.MethodPost, "/clusters/test", "clusters-try", "Test a connection that is not saved yet", func(ctx context.Context, in *body[ClusterSpec]) (List[Stage], error) {
		items, err := t.Cluster(ctx, in.Body)
		return List[Stage]{Head: head("clusters.test"), Items: items}, err
	})
	one(api, auth.Define, http.MethodPost, "/sinks/test", "sinks-try", "Test a sink that is not saved yet", func(ctx context.Context, in *body[SinkSpec]) (List[Stage], error) {
		items, err := t.Sink(ctx, in.Body)
		return List[Stage]{Head: head("sinks.test"), Items: items}, err
	})
}
