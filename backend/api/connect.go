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

// Connection is one that another tool has, as far as Freshet can make it its own.
type Connection struct {
	Tool        string      `json:"tool"`
	Spec        ClusterSpec `json:"spec"`
	HasPassword bool        `json:"has_password"`
	Lacks       []string    `json:"lacks" nullable:"false" doc:"What could not be taken over, and why"`
}

// ConnectionFile is where a tool keeps its connections.
type ConnectionFile struct {
	Tool        string       `json:"tool"`
	File        string       `json:"file"`
	Found       bool         `json:"found"`
	Trouble     string       `json:"trouble,omitempty" doc:"Why it could not be read"`
	Next        string       `json:"next,omitempty"`
	Connections []Connection `json:"connections" nullable:"false"`
}

// ConnectionText is a file of another tool that a person chose or pasted.
type ConnectionText struct {
	Name string `json:"name,omitempty" maxLength:"300" doc:"Of the file"`
	Text string `json:"text" maxLength:"1048576"`
}

// Imports find the connections of other tools. They keep nothing and write nothing.
type Imports interface {
	// Found are those of the user that runs Freshet. No password is in the answer.
	Found(ctx context.Context) ([]ConnectionFile, error)
	// Read finds what a text holds. A password that the asker sent goes back to the asker.
	Read(ctx context.Context, text ConnectionText) ([]Connection, error)
}

func importRoutes(api huma.API, i Imports) {
	list(api, auth.Define, "/connections", "connections-found", "Connections that other tools have here, without their passwords", "connections.found", func(ctx context.Context, _ *none) ([]ConnectionFile, error) {
		return i.Found(ctx)
	})
	one(api, auth.Define, http.MethodPost, "/connections/read", "connections-read", "Connections in the text of another tool's file", func(ctx context.Context, in *body[ConnectionText]) (List[Connection], error) {
		items, err := i.Read(ctx, in.Body)
		return List[Connection]{Head: head("connections.read"), Items: items}, err
	})
}
