package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"freshet/backend/api"
	"freshet/backend/fault"
)

func instanceCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "instance", Short: "The running instance: where it is, what it keeps, what is on disk", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			raw, err := g.ask(cmd.Context(), http.MethodGet, "/instance", nil)
			if err != nil {
				return err
			}
			return one(g.printer(), raw, func(a api.About) error {
				lines := []string{"version", a.Version, "started", a.Started, "data", a.DataDir, "page", a.URL, "profile", a.Profile.Name,
					"you", a.Person.ID, "secrets", a.Secrets.Where, "history", fmt.Sprintf("%d days, at most %s B", a.History.Days, a.History.Bytes)}
				for _, d := range a.Disk {
					lines = append(lines, d.Part, reading(d.Bytes)+", "+d.Holds)
				}
				for _, o := range a.Objectives {
					lines = append(lines, "objective", fmt.Sprintf("%s within %g s (%s)", o.Name, o.Seconds, o.Source))
				}
				return g.printer().pairs(lines...)
			})
		},
	}
}

func diagnosticsCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "diagnostics [FILE]", Short: "What a bug report needs, as a zip, without secrets and record contents; - is standard output", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			name := "freshet-diagnostics-" + time.Now().UTC().Format("20060102T150405Z") + ".zip"
			if len(args) == 1 {
				name = args[0]
			}
			c, err := g.connect()
			if err != nil {
				return err
			}
			resp, err := c.open(cmd.Context(), http.MethodGet, "/diagnostics", nil)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if name == "-" {
				_, err := io.Copy(g.stdout, resp.Body)
				return fault.Wrap(fault.Unavailable, "read the diagnostics", err, "try again")
			}
			const next = "name another file"
			f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			if err != nil {
				return fault.Wrap(fault.Invalid, "write "+name, err, next)
			}
			_, err = io.Copy(f, resp.Body)
			if closed := f.Close(); err == nil {
				err = closed
			}
			if err != nil {
				os.Remove(name)
				return fault.Wrap(fault.Unavailable, "write "+name, err, next)
			}
			if g.output != "table" {
				return g.printer().object(map[string]any{"v": 1, "kind": "diagnostics", "file": name})
			}
			_, err = fmt.Fprintf(g.stdout, "wrote %s; names of hosts, tables and topics are in it: read it before you hand it on\n", name)
			return err
		},
	}
}

func viewsCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "views", Short: "Saved views of the page"}
	cmd.AddCommand(
		&cobra.Command{
			Use: "list", Short: "Every saved view", Args: cobra.NoArgs,
			RunE: getList(g, "/views", "NAME\tHASH\tSAVED", func(v api.View) []string { return []string{v.Name, v.Hash, v.Saved} }),
		},
		&cobra.Command{
			Use: "save NAME HASH", Short: "Save a view, what stands in the page's address from # on", Args: cobra.ExactArgs(2),
			RunE: func(cmd *cobra.Command, args []string) error {
				return act(cmd.Context(), g, http.MethodPost, "/views", map[string]string{"name": args[0], "hash": args[1]}, "saved "+args[0])
			},
		},
		named("remove NAME", "Forget a view", func(cmd *cobra.Command, name string) error {
			return act(cmd.Context(), g, http.MethodDelete, "/views/"+url.PathEscape(name), nil, "removed "+name)
		}),
	)
	return cmd
}

func objectivesCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "objectives", Short: "How fresh paths must be; the first that matches counts", Args: cobra.NoArgs,
		RunE: getList(g, "/objectives", "OBJECTIVE\tWITHIN\tSAID BY", func(o api.Objective) []string {
			return []string{o.Name, fmt.Sprintf("%g s", o.Seconds), o.Source}
		}),
	}
}
