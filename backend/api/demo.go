package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"freshet/backend/auth"
)

// DemoState is whether the demo runs here, and whether it may be started.
type DemoState struct {
	Head
	State    string `json:"state" enum:"none,starting,running,failed"`
	Detail   string `json:"detail,omitempty" doc:"Starting: what it is at; failed: why"`
	Needs    string `json:"needs,omitempty" doc:"Failed: what a person must do"`
	MayStart bool   `json:"may_start"`
	WhyNot   string `json:"why_not,omitempty" doc:"Why it may not be started here, and what to do instead"`
}

// Demo is the demo world. Where it does not run, everything but State and Start is fault.NotFound.
type Demo interface {
	State(ctx context.Context) (DemoState, error)
	// Start begins to start it and does not wait: State and the status part demo tell how far it is.
	Start(ctx context.Context) (Receipt, error)
	DemoWorld
}

func demoStateRoutes(api huma.API, d Demo) {
	one(api, auth.Read, http.MethodGet, "/demo", "demo-state", "Whether the demo runs here, or may", func(ctx context.Context, _ *none) (DemoState, error) {
		return d.State(ctx)
	})
	one(api, auth.Demo, http.MethodPost, "/demo/start", "demo-start", "Start the demo in this instance, which has nothing of its own yet", func(ctx context.Context, _ *none) (Receipt, error) {
		return d.Start(ctx)
	})
}
