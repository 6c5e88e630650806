package app

import (
	"context"

	"freshet/backend/api"
	"freshet/backend/fault"
	"freshet/backend/store"
)

// maxViews bounds the saved views.
const maxViews = 200

// views are the saved views. They are not audited: one says where to look, and changes nothing of anybody's data.
type views struct{ docs store.Docs[api.View] }

func (v views) List(ctx context.Context) ([]api.View, error) {
	docs, err := v.docs.List(ctx)
	list := make([]api.View, len(docs))
	for i, d := range docs {
		list[i] = api.View{Name: d.Name, Hash: d.Value.Hash, Saved: api.Time(d.Updated)}
	}
	return list, err
}

func (v views) Save(ctx context.Context, view api.View) (api.View, error) {
	op := "save the view " + view.Name
	all, err := v.docs.List(ctx)
	if err != nil {
		return view, err
	}
	_, err = v.docs.Get(ctx, view.Name)
	if fault.Is(err, fault.NotFound) && len(all) >= maxViews {
		return view, fault.New(fault.Conflict, op, "remove one that nobody needs", "there are %d already", maxViews)
	}
	if err != nil && !fault.Is(err, fault.NotFound) {
		return view, err
	}
	if err := v.docs.Put(ctx, view.Name, api.View{Name: view.Name, Hash: view.Hash}); err != nil {
		return view, err
	}
	d, err := v.docs.Get(ctx, view.Name)
	return api.View{Name: d.Name, Hash: d.Value.Hash, Saved: api.Time(d.Updated)}, err
}

func (v views) Remove(ctx context.Context, name string) error {
	err := v.docs.Delete(ctx, name)
	if fault.Is(err, fault.NotFound) {
		return fault.New(fault.NotFound, "remove the view "+name, "see `freshet views list`", "there is no such view")
	}
	return err
}
