package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"runtime"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"freshet/app"
	"freshet/app/config"
	"freshet/app/demo"
	"freshet/backend/api"
	"freshet/backend/fault"
)

func serveCommand(g *globals) *cobra.Command {
	var file, listen string
	cmd := &cobra.Command{
		Use: "serve", Short: "The console and its API, in the foreground", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o := app.Options{DataDir: g.data, Listen: listen, Log: g.logger()}
			if file != "" {
				c, err := config.Load(file)
				if err != nil {
					return err
				}
				o.Config = c
			}
			return app.Run(cmd.Context(), o, func(a *app.App) {
				fmt.Fprintf(g.stdout, "Freshet is serving: %s\n", a.Link())
			})
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "YAML with clusters, sources, sinks, objectives, owners")
	cmd.Flags().StringVar(&listen, "listen", "", "address; 127.0.0.1 and a free port, kept over restarts, unless given")
	return cmd
}

func demoCommand(g *globals) *cobra.Command {
	var listen string
	var noOpen, reset bool
	var rate float64
	cmd := &cobra.Command{
		Use: "demo", Short: "A living system on this machine: a shop, its database, consumers and sinks, faults to try", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if reset {
				if err := app.Reset(g.data); err != nil {
					return err
				}
			}
			o := app.Options{DataDir: g.data, Listen: listen, Log: g.logger(), Demo: &app.DemoOptions{Rate: rate}, Progress: g.progress}
			return app.Run(cmd.Context(), o, func(a *app.App) {
				fmt.Fprintf(g.stdout, "Freshet demo is live: %s\n", a.Link())
				if !noOpen {
					browse(a.Link())
				}
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", "", "address; 127.0.0.1 and a free port, kept over restarts, unless given")
	f.BoolVar(&noOpen, "no-open", false, "do not open a browser")
	f.BoolVar(&reset, "reset", false, "start afresh: remove the demo's data directory first")
	f.Float64Var(&rate, "rate", 0, "transactions a second that the shop makes; 20 unless given")
	cmd.AddCommand(demoLoad(g), demoFault(g), &cobra.Command{
		Use: "start", Short: "Start the demo in the running instance, which has nothing of its own yet; freshet status tells how far it is", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return act(cmd.Context(), g, http.MethodPost, "/demo/start", nil, "the demo")
		},
	})
	return cmd
}

func demoLoad(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "load", Short: "The shop's writes"}
	post := func(cmd *cobra.Command, in map[string]any, done string) error {
		raw, err := g.ask(cmd.Context(), http.MethodPost, "/demo/load", in)
		if err != nil {
			return err
		}
		return one(g.printer(), raw, func(api.Receipt) error { _, err := fmt.Fprintln(g.stdout, done); return err })
	}
	cmd.AddCommand(
		&cobra.Command{Use: "pause", Short: "Stop writing; returns when the last transaction has committed", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			return post(cmd, map[string]any{"act": "pause"}, "the shop has stopped writing; its last transaction is committed")
		}},
		&cobra.Command{Use: "resume", Short: "Write again", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			return post(cmd, map[string]any{"act": "resume"}, "the shop writes again")
		}},
		named("rate N", "Transactions a second", func(cmd *cobra.Command, n string) error {
			rate, err := strconv.ParseFloat(n, 64)
			if err != nil || rate <= 0 {
				return fault.New(fault.Invalid, "read the rate", "give transactions a second, for instance 50", "%q is no rate", n)
			}
			return post(cmd, map[string]any{"act": "rate", "rate": rate}, "the shop makes "+n+" transactions a second")
		}),
	)
	return cmd
}

func demoFault(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "fault", Short: "Break something, see it, mend it"}
	post := func(cmd *cobra.Command, path string, in any, done string) error {
		raw, err := g.ask(cmd.Context(), http.MethodPost, path, in)
		if err != nil {
			return err
		}
		return one(g.printer(), raw, func(r api.Receipt) error { _, err := fmt.Fprintln(g.stdout, clean(done+": "+r.State)); return err })
	}
	var d time.Duration
	startCmd := named("start NAME", "Break it; says what to expect", func(cmd *cobra.Command, name string) error {
		return post(cmd, "/demo/faults/"+url.PathEscape(name)+"/start", map[string]any{"for_s": int(d / time.Second)}, name)
	})
	startCmd.Flags().DurationVar(&d, "for", 0, "mend it by itself after this long")
	var all bool
	stopCmd := &cobra.Command{
		Use: "stop NAME | --all", Short: "Mend it", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := "all"
			switch {
			case all == (len(args) == 1):
				return fault.New(fault.Invalid, "freshet demo fault stop", "give a NAME or --all", "nothing to stop, or too much")
			case !all:
				name = args[0]
			}
			return post(cmd, "/demo/faults/"+url.PathEscape(name)+"/stop", nil, name)
		},
	}
	stopCmd.Flags().BoolVar(&all, "all", false, "mend everything")
	cmd.AddCommand(startCmd, stopCmd, &cobra.Command{
		Use: "list", Short: "Every fault: what it does, what to expect", Args: cobra.NoArgs,
		RunE: getList(g, "/demo/faults", "FAULT\tACTIVE\tDOES\tEXPECT", func(f api.Fault) []string {
			active := "no"
			if f.Active {
				active = "yes"
				if f.Until != "" {
					active += ", until " + f.Until
				}
			}
			return []string{f.Name, active, f.Does, f.Expect}
		}),
	})
	return cmd
}

// childCommand is what the demo starts of itself: its writer, consumers and endpoint.
func childCommand() *cobra.Command {
	return &cobra.Command{
		Use: "demo-child", Hidden: true, DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error { return demo.Child(cmd.Context(), args) },
	}
}

func desktopCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "desktop [LINK]", Short: "The window (desktop build), at a link freshet://open#/… where one is given", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			hash := ""
			if len(args) > 0 {
				var err error
				if hash, err = app.LinkHash(args[0]); err != nil {
					return err
				}
			}
			return app.Window(cmd.Context(), g.data, hash, g.logger())
		},
	}
}

func versionCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Version, commit, builds of SQLite, franz-go, Go", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := app.BuildVersion()
			if g.output != "table" {
				return g.printer().object(v)
			}
			return g.printer().pairs("freshet", v.Version, "commit", v.Commit, "SQLite", v.SQLite, "franz-go", v.Franz, "Go", v.Go)
		},
	}
}

func openapiCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "openapi", Hidden: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return api.WriteOpenAPI(g.stdout) },
	}
}

// browse opens a page in the person's browser where there is one; without one the printed link does.
func browse(link string) {
	name, args := "xdg-open", []string{link}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", link}
	}
	if path, err := exec.LookPath(name); err == nil {
		cmd := exec.Command(path, args...)
		if cmd.Start() == nil {
			go func() { _ = cmd.Wait() }()
		}
	}
}
