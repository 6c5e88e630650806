package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"freshet/backend/api"
)

func groupsCommand(g *globals) *cobra.Command {
	var cluster string
	cmd := &cobra.Command{Use: "groups", Short: "Consumer groups and how far behind they are"}
	cmd.PersistentFlags().StringVar(&cluster, "cluster", "", "cluster; the local broker, or the only one, unless given")
	at := func(path string) string {
		if cluster == "" {
			return path
		}
		return path + "?" + url.Values{"cluster": {cluster}}.Encode()
	}

	var spec api.ResetSpec
	reset := named("reset GROUP --topic T --to earliest|latest|TIME|P:OFFSET", "Move committed offsets; without --apply only shows what would change", func(cmd *cobra.Command, name string) error {
		raw, err := g.ask(cmd.Context(), http.MethodPost, at("/groups/"+url.PathEscape(name)+"/reset"), spec)
		if err != nil {
			return err
		}
		return one(g.printer(), raw, func(r api.ResetAnswer) error {
			rows := make([][]string, len(r.Items))
			for i, c := range r.Items {
				rows[i] = []string{c.Topic, fmt.Sprint(c.Partition), c.From, c.To, c.Moves}
			}
			if err := g.printer().table("TOPIC\tPARTITION\tFROM\tTO\tMOVES", rows); err != nil {
				return err
			}
			if !r.Applied {
				g.progress("nothing was changed: --apply does it")
			}
			return nil
		})
	})
	reset.Flags().StringVar(&spec.Topic, "topic", "", "topic")
	reset.Flags().StringVar(&spec.To, "to", "", "earliest, latest, a time, or PARTITION:OFFSET")
	reset.Flags().StringSliceVar(&spec.Offsets, "offsets", nil, "PARTITION:OFFSET,… in place of --to, for instance where a reset before came from")
	reset.Flags().BoolVar(&spec.Apply, "apply", false, "do it")
	must(reset, "topic")

	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "Every group", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return showList(cmd.Context(), g, at("/groups"), "GROUP\tPROTOCOL\tSTATE\tMEMBERS\tLAG RECORDS\tLAG SECONDS\tVERDICT", func(x api.Group) []string {
				return []string{x.Group, x.Protocol, x.State, fmt.Sprint(x.Members), reading(x.Lag.Records), reading(x.Lag.Seconds), x.Verdict}
			})
		},
	}, named("describe GROUP", "One group with its partitions and members", func(cmd *cobra.Command, name string) error {
		return showOne(cmd.Context(), g, at("/groups/"+url.PathEscape(name)), func(x api.Group) error {
			p := g.printer()
			if err := p.pairs("group", x.Group, "protocol", x.Protocol, "state", x.State, "topics", strings.Join(x.Topics, ","), "verdict", x.Verdict, "lag", reading(x.Lag.Records)+", "+reading(x.Lag.Seconds)); err != nil {
				return err
			}
			fmt.Fprintln(p.w)
			rows := make([][]string, len(x.Partitions))
			for i, q := range x.Partitions {
				committed := q.Committed
				if committed == "" {
					committed = "none"
				}
				rows[i] = []string{q.Topic, fmt.Sprint(q.Partition), committed, q.End, reading(q.Lag.Records), reading(q.Lag.Seconds), q.Member}
			}
			return p.table("TOPIC\tPARTITION\tCOMMITTED\tEND\tLAG RECORDS\tLAG SECONDS\tMEMBER", rows)
		})
	}), reset)
	return cmd
}
