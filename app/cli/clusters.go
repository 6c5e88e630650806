package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"freshet/backend/api"
	"freshet/backend/fault"
)

func clustersCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "clusters", Short: "Kafka clusters beside the local broker: read-only until unlocked"}
	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "Every cluster", Args: cobra.NoArgs,
		RunE: getList(g, "/clusters", "NAME\tTYPE\tBROKERS\tSTATE\tWRITES\tDETAIL", func(c api.Cluster) []string {
			writes := "open"
			if c.ReadOnly {
				writes = "read-only"
			} else if c.Until != "" {
				writes = "until " + c.Until + " (" + strings.Join(c.Acts, ",") + ")"
			}
			return []string{c.Name, c.Type, strings.Join(c.Brokers, ","), c.State, writes, c.Detail}
		}),
	})

	var spec api.ClusterSpec
	var brokers string
	add := &cobra.Command{
		Use: "add NAME --brokers HOST:PORT,…", Short: "Add a cluster, read-only", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec.Name, spec.Brokers = args[0], split(brokers)
			return act(cmd.Context(), g, http.MethodPost, "/clusters", spec, "added "+spec.Name+", read-only")
		},
	}
	f := add.Flags()
	f.StringVar(&brokers, "brokers", "", "HOST:PORT, separated by commas")
	f.BoolVar(&spec.TLS, "tls", false, "speak TLS")
	f.StringVar(&spec.CAFile, "tls-ca", "", "file with the authorities to trust (PEM)")
	f.StringVar(&spec.CertFile, "tls-cert", "", "file with our certificate (PEM)")
	f.StringVar(&spec.KeyFile, "tls-key", "", "file with our certificate's key (PEM)")
	f.StringVar(&spec.SASL, "sasl", "", "plain, scram-sha-256 or scram-sha-512")
	f.StringVar(&spec.User, "user", "", "SASL user")
	f.StringVar(&spec.Password, "password", "", "SASL password: @env:NAME, @file:PATH, @keyring:NAME, or in the clear")
	must(add, "brokers")

	var wait time.Duration
	var acts string
	unlock := &cobra.Command{
		Use: "unlock NAME --for 8h [--acts produce,commit,…]", Short: "Let named acts through for a time", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if wait < time.Second {
				return fault.New(fault.Invalid, "freshet clusters unlock", "give --for 8h or the like", "a lock is only opened for a time")
			}
			return act(cmd.Context(), g, http.MethodPost, "/clusters/"+url.PathEscape(args[0])+"/unlock", api.UnlockSpec{ForSeconds: int(wait / time.Second), Acts: split(acts)}, "unlocked "+args[0]+fmt.Sprintf(" for %s", wait))
		},
	}
	unlock.Flags().DurationVar(&wait, "for", 0, "how long")
	unlock.Flags().StringVar(&acts, "acts", "", "only these acts; all of them unless given")
	must(unlock, "for")

	found := &cobra.Command{
		Use: "found", Short: "Connections that other tools have where Freshet runs: rpk, kcat, kaf, kafkactl, Kafka UI, AKHQ", Args: cobra.NoArgs,
		RunE: getList(g, "/connections", "TOOL\tFILE\tCONNECTIONS", func(f api.ConnectionFile) []string {
			var names []string
			for _, c := range f.Connections {
				names = append(names, c.Spec.Name+" ("+strings.Join(c.Spec.Brokers, ",")+")")
			}
			said := strings.Join(names, ", ")
			switch {
			case !f.Found:
				said = "not there"
			case f.Trouble != "":
				said = f.Trouble
			}
			return []string{f.Tool, f.File, said}
		}),
	}
	var as string
	imports := &cobra.Command{
		Use: "import NAME", Short: "Add a connection that another tool has, read-only; its password stays where Freshet runs", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := foundConnection(cmd.Context(), g, args[0])
			if err != nil {
				return err
			}
			for _, lack := range c.Lacks {
				g.progress("not taken over: %s", clean(lack))
			}
			if as != "" {
				c.Spec.Name = as
			}
			return act(cmd.Context(), g, http.MethodPost, "/clusters", c.Spec, "added "+c.Spec.Name+" of "+c.Tool+", read-only")
		},
	}
	imports.Flags().StringVar(&as, "as", "", "name that Freshet calls it by; its own unless given")

	cmd.AddCommand(add, found, imports, unlock,
		named("test NAME", "Test the connection stage by stage", func(cmd *cobra.Command, name string) error {
			return stages(cmd.Context(), g, "/clusters/"+url.PathEscape(name)+"/test")
		}),
		named("lock NAME", "Make it read-only again", func(cmd *cobra.Command, name string) error {
			return act(cmd.Context(), g, http.MethodPost, "/clusters/"+url.PathEscape(name)+"/lock", nil, "locked "+name)
		}),
		named("remove NAME", "Forget it; nothing on it is touched", func(cmd *cobra.Command, name string) error {
			return act(cmd.Context(), g, http.MethodDelete, "/clusters/"+url.PathEscape(name), nil, "removed "+name)
		}),
	)
	return cmd
}

// foundConnection is another tool's connection of that name, or FILE#NAME where several have one.
func foundConnection(ctx context.Context, g *globals, name string) (api.Connection, error) {
	const op = "freshet clusters import"
	raw, err := g.ask(ctx, http.MethodGet, "/connections", nil)
	if err != nil {
		return api.Connection{}, err
	}
	var files api.List[api.ConnectionFile]
	if err := json.Unmarshal(raw, &files); err != nil {
		return api.Connection{}, fault.Wrap(fault.Internal, op, err, "")
	}
	var all []api.Connection
	for _, f := range files.Items {
		for _, c := range f.Connections {
			if c.Spec.Name == name || f.File+"#"+c.Spec.Name == name {
				all = append(all, c)
			}
		}
	}
	switch len(all) {
	case 0:
		return api.Connection{}, fault.New(fault.NotFound, op, "see freshet clusters found", "no other tool has a connection %s", name)
	case 1:
		return all[0], nil
	}
	return api.Connection{}, fault.New(fault.Invalid, op, "give FILE#NAME, as freshet clusters found has them", "%d connections are called %s", len(all), name)
}

// named is a verb that takes one name.
func named(use, short string, f func(*cobra.Command, string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error { return f(cmd, args[0]) }}
}

func must(cmd *cobra.Command, flags ...string) {
	for _, f := range flags {
		if err := cmd.MarkFlagRequired(f); err != nil {
			panic(err)
		}
	}
}

func split(s string) []string {
	var out []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}
