package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"freshet/backend/auth"
)

// View is a state of the page under a name: all of it that can be shared is in the hash.
type View struct {
	Name  string `json:"name" minLength:"1" maxLength:"100"`
	Hash  string `json:"hash" pattern:"^#/" maxLength:"4000"`
	Saved string `json:"saved,omitempty" readOnly:"true"`
}

// Views are the saved views. They are everybody's who uses the instance.
type Views interface {
	List(ctx context.Context) ([]View, error)
	Save(ctx context.Context, v View) (View, error)
	Remove(ctx context.Context, name string) error
}

func viewRoutes(api huma.API, v Views) {
	list(api, auth.Read, "/views", "views-list", "Saved views", "views.list", func(ctx context.Context, _ *none) ([]View, error) { return v.List(ctx) })
	one(api, auth.Operate, http.MethodPost, "/views", "views-save", "Save a view, in place of what has its name", func(ctx context.Context, in *body[View]) (withHead[View], error) {
		saved, err := v.Save(ctx, in.Body)
		return withHead[View]{head("views.save"), saved}, err
	})
	one(api, auth.Operate, http.MethodDelete, "/views/{name}", "views-remove", "Forget a view", func(ctx context.Context, in *Named) (Head, error) {
		return head("views.remove"), v.Remove(ctx, in.Name)
	})
}
