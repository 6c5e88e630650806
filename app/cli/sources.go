package cli

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"freshet/backend/api"
	"freshet/backend/fault"
)

func sourcesCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "sources", Short: "Captures of databases' changes"}
	path := func(name, verb string) string { return "/sources/" + url.PathEscape(name) + verb }
	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "Every capture", Args: cobra.NoArgs,
		RunE: getList(g, "/sources", "NAME\tTYPE\tCLUSTER\tSTATE\tTABLES\tLAST COMMIT\tWAL HELD\tWHY", func(s api.Source) []string {
			held := ""
			if s.Slot != nil {
				held = reading(s.Slot.Retained)
			}
			return []string{s.Name, s.Type, s.Cluster, s.State, fmt.Sprint(len(s.Tables)), s.LastCommit, held, s.Why}
		}),
	}, sourcesCreate(g),
		named("status NAME", "One capture", func(cmd *cobra.Command, name string) error {
			return showOne(cmd.Context(), g, path(name, ""), func(s api.Source) error { return sourceTable(g.printer(), s) })
		}),
		named("test NAME", "Test the connection", func(cmd *cobra.Command, name string) error {
			return stages(cmd.Context(), g, path(name, "/test"))
		}),
		reasoned(g, "pause NAME", "Stop capturing; the slot keeps holding WAL", "paused", func(name string) string { return path(name, "/pause") }),
		reasoned(g, "resume NAME", "Go on capturing", "resumed", func(name string) string { return path(name, "/resume") }),
		named("drop NAME", "Remove it with its slot and publications; the topics stay", func(cmd *cobra.Command, name string) error {
			return act(cmd.Context(), g, http.MethodDelete, path(name, ""), nil, "dropped "+name)
		}),
	)
	return cmd
}

func sourceTable(p printer, s api.Source) error {
	kv := []string{"name", s.Name, "type", s.Type, "cluster", s.Cluster, "state", s.State, "why", s.Why,
		"server at", s.Position.Server, "received", s.Position.Received, "in the log", s.Position.Appended, "confirmed", s.Position.Confirmed, "last commit", s.LastCommit}
	if s.Slot != nil {
		kv = append(kv, "slot", s.Slot.Name+" "+s.Slot.WALStatus, "WAL held", reading(s.Slot.Retained), "safe", reading(s.Slot.Safe), "held by", s.Slot.HeldBy)
	}
	if err := p.pairs(kv...); err != nil {
		return err
	}
	return tables(p, s.Tables)
}

func tables(p printer, ts []api.SourceTable) error {
	rows := make([][]string, len(ts))
	for i, t := range ts {
		rows[i] = []string{t.Table, t.Topic, t.Key, t.Identity, t.Limit}
	}
	fmt.Fprintln(p.w)
	return p.table("TABLE\tTOPIC\tKEY\tREPLICA IDENTITY\tLIMIT", rows)
}

// reasoned is a verb that takes one name and may be given a reason.
func reasoned(g *globals, use, short, done string, path func(string) string) *cobra.Command {
	var why string
	cmd := named(use, short, func(cmd *cobra.Command, name string) error {
		return act(cmd.Context(), g, http.MethodPost, path(name), map[string]string{"reason": why}, done+" "+name)
	})
	cmd.Flags().StringVar(&why, "reason", "", "why, for the audit history")
	return cmd
}

func sourcesCreate(g *globals) *cobra.Command {
	var spec api.SourceSpec
	var tablesFlag string
	var yes bool
	cmd := &cobra.Command{
		Use: "create NAME --type postgres --dsn DSN", Short: "Capture a database's changes: says first what it makes and holds", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec.Name, spec.Tables = args[0], split(tablesFlag)
			c, err := g.connect()
			if err != nil {
				return err
			}
			var plan api.SourcePlan
			raw, err := c.raw(cmd.Context(), http.MethodPost, "/sources/plan", spec)
			if err != nil {
				return err
			}
			// What will be made is for the person to read, the result for the program that reads standard output.
			show := printer{g.stderr, "table"}
			if err := one(show, raw, func(p api.SourcePlan) error { plan = p; return sourcePlan(show, p) }); err != nil {
				return err
			}
			if plan.Refused {
				return fault.New(fault.Blocked, "create source "+spec.Name, "mend what is marked REFUSED above", "the database's applications would be harmed, or the capture could not be whole")
			}
			if !yes {
				if ok, err := g.confirm("Create it?"); err != nil || !ok {
					return err
				}
			}
			return act(cmd.Context(), g, http.MethodPost, "/sources", spec, "created "+spec.Name)
		},
	}
	f := cmd.Flags()
	f.StringVar(&spec.Type, "type", "postgres", "postgres")
	f.StringVar(&spec.DSN, "dsn", "", "how to reach the database: a URL or a reference @env:NAME, @file:PATH, @keyring:NAME")
	f.StringVar(&tablesFlag, "tables", "public.*", "SCHEMA.TABLE patterns, separated by commas")
	f.StringVar(&spec.Prefix, "prefix", "", "of the topics PREFIX.SCHEMA.TABLE; the name unless given")
	f.BoolVar(&spec.NoSnapshot, "no-snapshot", false, "only what changes from now on")
	f.StringVar(&spec.Cluster, "cluster", "", "cluster to write to; the local broker unless given")
	f.StringVar(&spec.Outbox, "outbox", "", "SCHEMA.TABLE of an outbox whose events go to topics of their own")
	f.Var((*propertyFlag)(&spec.Properties), "property", "how changes are written, by Debezium's names: decimal.handling.mode=string; may be given again")
	f.BoolVar(&yes, "yes", false, "do not ask")
	must(cmd, "dsn")
	return cmd
}

// propertyFlag takes NAME=VALUE, of which the value may hold commas and equals signs.
type propertyFlag map[string]string

func (p *propertyFlag) Set(s string) error {
	name, value, ok := strings.Cut(s, "=")
	if !ok || name == "" {
		return errors.New("write NAME=VALUE")
	}
	if *p == nil {
		*p = propertyFlag{}
	}
	(*p)[name] = value
	return nil
}

func (p *propertyFlag) String() string { return "" }

func (p *propertyFlag) Type() string { return "NAME=VALUE" }

func sourcePlan(p printer, plan api.SourcePlan) error {
	fmt.Fprintf(p.w, "%s on %s, database %s\n", clean(plan.Name), clean(plan.Server), clean(plan.Database))
	for _, line := range plan.Does {
		fmt.Fprintln(p.w, "  makes    "+clean(line))
	}
	for _, f := range plan.Findings {
		mark := map[string]string{"info": "note", "warning": "WARNING", "refusal": "REFUSED"}[f.Level]
		fmt.Fprintf(p.w, "  %-8s %s\n", mark, clean(f.Text))
		if f.Mend != "" {
			fmt.Fprintln(p.w, "           "+clean(f.Mend))
		}
	}
	for _, line := range plan.Remove {
		fmt.Fprintln(p.w, "  remove   "+clean(line))
	}
	return tables(p, plan.Tables)
}

// confirm asks on a terminal, and elsewhere refuses with a way on.
func (g *globals) confirm(question string) (bool, error) {
	in, ok := g.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return false, fault.New(fault.Denied, "", "read the above, then give --yes", "nobody is here to say yes")
	}
	fmt.Fprintf(g.stderr, "%s [y/N] ", question)
	line, _ := bufio.NewReader(in).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return true, nil
	}
	fmt.Fprintln(g.stderr, "nothing was done")
	return false, exitCode(8)
}
