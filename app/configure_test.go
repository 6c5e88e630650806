package app

import (
	"testing"

	"freshet/app/config"
)

func TestOwner(t *testing.T) {
	a := &App{}
	a.settings.Store(&config.Config{Owners: []config.Owner{
		{Name: "Fulfilment", Of: []string{"shop.public.shipments"}},
		{Name: "Shop", Of: []string{"source:shop", "shop.public.*"}},
	}})
	for ref, want := range map[[2]string]string{
		{"topic:shop.public.orders", "shop.public.orders"}:           "Shop",
		{"topic:shop.public.shipments", "shop.public.shipments"}:     "Fulfilment", // the first that matches
		{"source:shop", "shop"}:                                      "Shop",
		{"sink:warehouse", "warehouse"}:                              "",
		{"topic:main/shop.public.orders", "main/shop.public.orders"}: "",
	} {
		if got := a.owner(ref[0], ref[1]); got != want {
			t.Errorf("%s is owned by %q, want %q", ref[0], got, want)
		}
	}
}
