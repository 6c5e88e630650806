package app

import (
	"context"
	"fmt"
	"os"
	"time"

	"freshet/app/config"
	"freshet/app/demo"
	"freshet/backend/api"
	"freshet/backend/auth"
	"freshet/backend/fault"
	"freshet/backend/secret"
)

// DemoOptions say what the demo does.
type DemoOptions struct {
	Rate float64 // transactions a second, 0 the usual
}

// demoConfig is what the demo's people would have written down.
func demoConfig() *config.Config {
	return &config.Config{
		Profile: config.Profile{Name: "demo", Kind: "local"},
		Owners: []config.Owner{
			{Name: "Fulfilment team", Of: []string{"group:fulfilment", "shop.public.shipments"}},
			{Name: "Shop team", Of: []string{"source:shop", "shop.public.*", "shop.events.*", "group:mailer"}},
			{Name: "Data platform", Of: []string{"sink:warehouse", "group:analytics"}},
		},
	}
}

// Reset removes a demo's data directory with everything that it left running. One that is no demo's is left alone.
func Reset(dir string) error {
	if run, err := ReadRun(dir); err == nil {
		return fault.New(fault.Conflict, "reset the demo in "+dir, "stop it first", "it runs, as process %d", run.PID)
	}
	if _, err := os.Stat(dir); os.IsNotExist(err) {
		return nil
	}
	if _, err := os.Stat(dir + "/" + kindFile); err != nil {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return fault.Wrap(fault.Invalid, "reset the demo in "+dir, err, "give --data a demo's directory")
		}
		if len(entries) > 0 {
			return fault.New(fault.Invalid, "reset the demo in "+dir, "give --data a demo's directory, or remove it by hand", "it is no demo's directory")
		}
	}
	if err := demo.Remove(context.Background(), dir, nil); err != nil {
		return err
	}
	return fault.Wrap(fault.Unavailable, "reset the demo in "+dir, os.RemoveAll(dir), "see to the directory")
}

// raiseDemo starts the demo's database, before the captures that read it.
func (a *App) raiseDemo(ctx context.Context) error {
	w, err := demo.New(demo.Options{Dir: a.o.DataDir, Rate: a.demoRate(), Logger: a.log})
	if err != nil {
		return err
	}
	a.demo.raised(w)
	a.demoSays("starting a private PostgreSQL")
	if err := w.StartPostgres(ctx); err != nil {
		return err
	}
	return a.pointDemo(ctx, w)
}

func (a *App) demoRate() float64 {
	if a.o.Demo == nil {
		return 0
	}
	return a.o.Demo.Rate
}

// demoSays tells what a start of the demo is at.
func (a *App) demoSays(what string) {
	a.demo.says(what)
	a.o.Progress("%s", what)
}

// pointDemo puts the demo's addresses, which may have changed, where captures and sinks look for them.
func (a *App) pointDemo(ctx context.Context, w *demo.World) error {
	if _, err := a.dsns.Get(ctx, demoSource); err == nil {
		if err := a.dsns.Put(ctx, demoSource, dsnDoc{DSN: w.ShopDSN()}); err != nil {
			return err
		}
	}
	url, err := w.StartEndpoint(ctx)
	if err != nil {
		return err
	}
	for name, change := range map[string]func(*sinkDoc){
		demoWarehouse: func(d *sinkDoc) { d.Spec.DSN = w.WarehouseDSN() },
		demoEndpoint:  func(d *sinkDoc) { d.Spec.URL = url },
	} {
		d, err := a.sinkDocs.Get(ctx, name)
		if fault.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return err
		}
		change(&d.Value)
		if err := a.sinkDocs.Put(ctx, name, d.Value); err != nil {
			return err
		}
	}
	return nil
}

// The demo's names.
const (
	demoSource    = "shop"
	demoWarehouse = "warehouse"
	demoEndpoint  = "webhooks"
)

// wireDemo makes the capture and the sinks at the first start, by the same way as anybody's, and lets the shop open.
func (a *App) wireDemo(ctx context.Context) error {
	w := a.demo.current()
	ctx = auth.With(ctx, auth.Person{ID: "demo", Local: true})
	if _, err := a.cdc.Pipeline(demoSource); fault.Is(err, fault.NotFound) {
		a.demoSays("capturing the shop")
		if _, err := (sources{a}).Create(ctx, api.SourceSpec{Name: demoSource, Type: "postgres", DSN: w.ShopDSN(), Outbox: "public.outbox"}); err != nil {
			return err
		}
	}
	for _, spec := range []api.SinkSpec{
		{Name: demoWarehouse, Type: "postgres", DSN: w.WarehouseDSN(), Topics: []string{"shop.public.*"}},
		{Name: demoEndpoint, Type: "http", URL: w.EndpointURL(), Topics: []string{"shop.events.*"}},
	} {
		if _, err := a.sinkDocs.Get(ctx, spec.Name); fault.Is(err, fault.NotFound) {
			if _, err := (sinks{a}).Create(ctx, spec); err != nil {
				return err
			}
		}
	}
	a.demoSays("opening the shop")
	if err := w.StartConsumers(ctx, a.broker.Addr()); err != nil {
		return err
	}
	return w.StartLoad(ctx)
}

// demos is the demo world as the API has it.
type demos struct{ *App }

// world is the demo world while it runs.
func (d demos) world() (*demo.World, error) {
	if w := d.demo.running(); w != nil {
		return w, nil
	}
	return nil, fault.New(fault.NotFound, "", "`freshet demo start` starts it in an instance that has nothing of its own yet", "no demo runs here")
}

func (d demos) Faults(context.Context) ([]api.Fault, error) {
	w, err := d.world()
	if err != nil {
		return nil, err
	}
	var list []api.Fault
	for _, f := range w.Faults() {
		list = append(list, api.Fault{Name: f.Name, Does: f.Does, Expect: f.Expect, Active: f.Active, Until: api.Time(f.Until)})
	}
	return list, nil
}

func (d demos) StartFault(ctx context.Context, name string, for_ time.Duration) (api.Receipt, error) {
	w, err := d.world()
	if err != nil {
		return api.Receipt{}, err
	}
	var state demo.FaultState
	receipt, err := d.receipt(ctx, "demo.fault.start", name, map[string]string{"for": for_.String()}, func(ctx context.Context) (err error) {
		state, err = w.StartFault(ctx, name, for_)
		return err
	})
	receipt.State = state.Does + "; expect: " + state.Expect
	if err == nil {
		d.event("fault", name+": "+state.Does, name, 0)
	}
	return receipt, err
}

func (d demos) StopFault(ctx context.Context, name string) (api.Receipt, error) {
	w, err := d.world()
	if err != nil {
		return api.Receipt{}, err
	}
	receipt, err := d.receipt(ctx, "demo.fault.stop", name, nil, func(ctx context.Context) error {
		if name == "all" {
			return w.StopFaults(ctx)
		}
		_, err := w.StopFault(ctx, name)
		return err
	})
	receipt.State = "mended"
	if err == nil {
		d.event("fault", name+" mended", name, 0)
	}
	return receipt, err
}

func (d demos) Load(ctx context.Context, act string, rate float64) (api.Receipt, error) {
	w, err := d.world()
	if err != nil {
		return api.Receipt{}, err
	}
	var state demo.LoadState
	receipt, err := d.receipt(ctx, "demo.load."+act, "shop", map[string]float64{"rate": rate}, func(ctx context.Context) (err error) {
		switch act {
		case "pause":
			state, err = w.PauseLoad(ctx)
		case "resume":
			state, err = w.ResumeLoad(ctx)
		default:
			state, err = w.SetRate(ctx, rate)
		}
		return err
	})
	receipt.State = fmt.Sprintf("%g transactions a second", state.Rate)
	if state.Paused {
		receipt.State = "paused"
	}
	return receipt, err
}

func isRef(s string) bool { return secret.IsRef(s) }
