package cli

import (
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"freshet/backend/api"
)

func freshnessCommand(g *globals) *cobra.Command {
	var cluster string
	cmd := &cobra.Command{
		Use: "freshness [NAME]", Short: "How old the data is at the end of every path, hop by hop", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{}
			if len(args) == 1 {
				query.Set("name", args[0])
			}
			if cluster != "" {
				query.Set("cluster", cluster)
			}
			return showList(cmd.Context(), g, "/freshness?"+query.Encode(), "PATH\tSTATE\tTOTAL\tHOPS\tWHY", func(p api.Path) []string {
				hops := make([]string, len(p.Hops))
				for i, h := range p.Hops {
					hops[i] = h.From + " → " + h.To + " " + reading(h.Seconds)
				}
				return []string{p.Path, p.State, reading(p.Total), strings.Join(hops, "; "), p.Why}
			})
		},
	}
	cmd.Flags().StringVar(&cluster, "cluster", "", "only paths through this cluster")
	return cmd
}

func traceCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "trace TABLE KEY", Short: "Every change of one row, and when each hop had it", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{"table": {args[0]}, "key": {args[1]}}
			return showList(cmd.Context(), g, "/trace?"+query.Encode(), "OP\tCOMMIT\tRECORD\tHOPS", func(v api.TraceVersion) []string {
				hops := make([]string, len(v.Hops))
				for i, h := range v.Hops {
					hops[i] = h.To + " " + h.State + " " + reading(h.Delay)
				}
				return []string{v.Op, v.Commit, v.Topic + ":" + v.Offset, strings.Join(hops, "; ")}
			})
		},
	}
}
