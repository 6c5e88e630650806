package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"freshet/backend/api"
	"freshet/backend/fault"
)

func statusCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Parts of the running instance; exit 9 when one needs a person", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return verdict(cmd.Context(), g, http.MethodGet, "/status", "PART\tSTATE\tDETAIL", func(p api.Part) []string {
				detail := p.Detail
				if p.Needs != "" {
					detail += " — " + p.Needs
				}
				return []string{p.Part, p.State, detail}
			}, func(p api.Part) bool { return p.Needs != "" }, 9)
		},
	}
}

func openCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "open", Short: "Print a one-time link to the running instance's page", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := g.connect()
			if err != nil {
				return err
			}
			var code struct {
				Code string `json:"code"`
			}
			if err := c.do(cmd.Context(), http.MethodPost, "/session/code", nil, &code); err != nil {
				return err
			}
			link := c.base + "/#login=" + code.Code
			if g.output != "table" {
				return g.printer().object(map[string]any{"v": 1, "kind": "open", "url": link})
			}
			_, err = fmt.Fprintln(g.stdout, link)
			return err
		},
	}
}

func probesCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "probes", Short: "What is measured, and how the last rounds went"}
	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "Every probe with its last round", Args: cobra.NoArgs,
		RunE: getList(g, "/probes", "PROBE\tEVERY\tLAST\tTOOK\tROUNDS\tERRORS\tPOINTS\tERROR", func(p api.Probe) []string {
			return []string{p.Probe, p.Every, p.LastAt, reading(p.Duration), p.Rounds, p.Errors, fmt.Sprint(p.Points), p.Error}
		}),
	})
	return cmd
}

// getList is a verb that shows the list at path.
func getList[T any](g *globals, path, header string, row func(T) []string) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		return showList(cmd.Context(), g, path, header, row)
	}
}

func showList[T any](ctx context.Context, g *globals, path, header string, row func(T) []string) error {
	raw, err := g.ask(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	return list(g.printer(), raw, header, row)
}

// showOne shows the thing at path, as JSON that also reads as a list of one.
func showOne[T any](ctx context.Context, g *globals, path string, table func(T) error) error {
	raw, err := g.ask(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	if raw, err = described(raw); err != nil {
		return err
	}
	return one(g.printer(), raw, table)
}

// act posts and shows the receipt.
func act(ctx context.Context, g *globals, method, path string, in any, done string) error {
	raw, err := g.ask(ctx, method, path, in)
	if err != nil {
		return err
	}
	return one(g.printer(), raw, func(r api.Receipt) error {
		text := done
		if r.State != "" {
			text += ": " + r.State
		}
		if r.Audit.Seq != "" {
			text += fmt.Sprintf(" (audit entry %s, root …%s)", r.Audit.Seq, r.Audit.Root)
		}
		_, err := fmt.Fprintln(g.stdout, clean(text))
		return err
	})
}

// stages shows a connection test; exit 11 where a stage failed. A right that is denied is no failure: the rest works.
func stages(ctx context.Context, g *globals, path string) error {
	return verdict(ctx, g, http.MethodPost, path, "STAGE\tRESULT\tDETAIL", func(s api.Stage) []string {
		result, detail := strings.ReplaceAll(s.State, "_", " "), s.Detail
		if s.State == "failed" || s.State == "denied" {
			result = strings.ToUpper(result)
		}
		if s.Next != "" {
			detail += " — " + s.Next
		}
		if !s.OK && s.Without != "" {
			detail += "; without it unknown: " + s.Without
		}
		return []string{s.Stage, result, detail}
	}, func(s api.Stage) bool { return s.State == "failed" || s.State == "denied" && s.Without == "" }, 11)
}

// verdict shows a list; where one of its items is bad, the exit code is code.
func verdict[T any](ctx context.Context, g *globals, method, path, header string, row func(T) []string, bad func(T) bool, code exitCode) error {
	raw, err := g.ask(ctx, method, path, nil)
	if err != nil {
		return err
	}
	if err := list(g.printer(), raw, header, row); err != nil {
		return err
	}
	var l api.List[T]
	if err := json.Unmarshal(raw, &l); err != nil {
		return err
	}
	if slices.ContainsFunc(l.Items, bad) {
		return code
	}
	return nil
}

func waitCommand(g *globals) *cobra.Command {
	var sink, source string
	var caughtUp bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "wait", Short: "Return when what is committed now is captured, or applied in a sink; exit 124 at the timeout", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (sink == "") == (source == "") || !caughtUp {
				return fault.New(fault.Invalid, "freshet wait", "give --sink NAME or --source NAME, with --caught-up", "nothing to wait for")
			}
			c, err := g.connect()
			if err != nil {
				return err
			}
			ctx, cancel := within(cmd.Context(), timeout)
			defer cancel()
			kind, name := "sinks", sink
			if source != "" {
				kind, name = "sources", source
			}
			started := time.Now()
			var mark string
			var away error
			for {
				var w struct {
					Mark    string `json:"mark"`
					Reached bool   `json:"reached"`
					Parked  string `json:"parked"`
				}
				err := c.do(ctx, http.MethodPost, "/"+kind+"/"+url.PathEscape(name)+"/wait", map[string]string{"mark": mark}, &w)
				var told *api.Error
				switch {
				case errors.As(err, &told) && told.Exit == api.ExitCode(&fault.Error{Kind: fault.Unavailable}):
					// The database or the log is away for now, which is what people wait through.
					if away == nil {
						g.progress("%s: waiting on", told.Message)
					}
					away = err
					_ = pause(ctx) // the next try tells of ctx's end
					continue
				case fault.Is(err, fault.Timeout) && away != nil:
					return fault.Wrap(fault.Timeout, "wait for "+name, errors.New(away.Error()), "look again later, or give a longer --timeout")
				case err != nil:
					return err
				}
				away = nil
				if w.Reached {
					if g.output != "table" {
						return g.printer().object(map[string]any{"v": 1, "kind": "wait", "name": name, "reached": true, "mark": w.Mark, "parked": w.Parked})
					}
					g.progress("%s %s has caught up (%s)", strings.TrimSuffix(kind, "s"), name, time.Since(started).Round(time.Millisecond))
					if w.Parked != "" && w.Parked != "0" {
						g.progress("records set aside so far, which are not in it: %s; freshet sinks status %s tells why", w.Parked, name)
					}
					return nil
				}
				mark = w.Mark
			}
		},
	}
	cmd.Flags().StringVar(&sink, "sink", "", "sink to wait for")
	cmd.Flags().StringVar(&source, "source", "", "source to wait for")
	cmd.Flags().BoolVar(&caughtUp, "caught-up", false, "wait until everything committed at the call has arrived")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "give up after this long")
	return cmd
}
