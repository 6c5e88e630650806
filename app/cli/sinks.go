package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"freshet/backend/api"
)

func sinksCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "sinks", Short: "Places that records are delivered or replayed to"}
	path := func(name, verb string) string { return "/sinks/" + url.PathEscape(name) + verb }
	var spec api.SinkSpec
	var brokers, topics string
	create := &cobra.Command{
		Use: "create NAME --type postgres|kafka|http", Short: "Make a sink; with --topics it is fed continuously, without it is a place to replay to", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec.Name, spec.Brokers, spec.Topics = args[0], split(brokers), split(topics)
			return act(cmd.Context(), g, http.MethodPost, "/sinks", spec, "created "+spec.Name)
		},
	}
	f := create.Flags()
	f.StringVar(&spec.Type, "type", "", "postgres, kafka or http")
	f.StringVar(&spec.DSN, "dsn", "", "PostgreSQL: a URL or a reference @env:NAME, @file:PATH, @keyring:NAME")
	f.StringVar(&brokers, "brokers", "", "Kafka: HOST:PORT, separated by commas")
	f.StringVar(&spec.URL, "url", "", "HTTP: where each record is posted")
	f.StringVar(&spec.Secret, "secret", "", "HTTP: bearer token, or a reference to one")
	f.StringVar(&topics, "topics", "", "feed it from these topics, * stands for any part: 'shop.public.*'")
	f.StringVar(&spec.From, "from", "", "earliest (unless told) or latest")
	f.StringVar(&spec.Cluster, "cluster", "", "cluster that the topics are on; the local broker unless given")
	f.StringVar(&spec.Mode, "mode", "", "upsert (unless told): tables equal the source's; append: every record with its topic, partition and offset")
	f.BoolVar(&spec.NoCreateTables, "no-create-tables", false, "PostgreSQL: refuse where a table is missing")
	must(create, "type")

	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "Every sink", Args: cobra.NoArgs,
		RunE: getList(g, "/sinks", "NAME\tTYPE\tMODE\tTOPICS\tSTATE\tPARKED\tWHY", func(s api.Sink) []string {
			return []string{s.Name, s.Type, s.Mode, strings.Join(s.Topics, ","), s.State, s.Parked, s.Why}
		}),
	}, create,
		named("status NAME", "One sink with its partitions", func(cmd *cobra.Command, name string) error {
			return showOne(cmd.Context(), g, path(name, ""), func(s api.Sink) error {
				if err := g.printer().pairs("name", s.Name, "type", s.Type, "mode", s.Mode, "topics", strings.Join(s.Topics, ","), "state", s.State, "why", s.Why, "parked", s.Parked); err != nil {
					return err
				}
				fmt.Fprintln(g.stdout)
				rows := make([][]string, len(s.Partitions))
				for i, p := range s.Partitions {
					rows[i] = []string{p.Topic, fmt.Sprint(p.Partition), p.Next, p.State, p.At, p.Why}
				}
				if err := g.printer().table("TOPIC\tPARTITION\tNEXT\tSTATE\tAT\tWHY", rows); err != nil || len(s.LastParked) == 0 {
					return err
				}
				fmt.Fprintf(g.stdout, "\nset aside, the newest of %s:\n", s.Parked)
				rows = rows[:0]
				for _, p := range s.LastParked {
					rows = append(rows, []string{p.Topic, fmt.Sprint(p.Partition), p.Offset, p.At, p.Kind, p.Reason})
				}
				return g.printer().table("TOPIC\tPARTITION\tOFFSET\tAT\tKIND\tREASON", rows)
			})
		}),
		named("test NAME", "Reach it, writing nothing", func(cmd *cobra.Command, name string) error {
			return stages(cmd.Context(), g, path(name, "/test"))
		}),
		reasoned(g, "pause NAME", "Stop delivering", "paused", func(name string) string { return path(name, "/pause") }),
		reasoned(g, "resume NAME", "Go on delivering", "resumed", func(name string) string { return path(name, "/resume") }),
		named("drop NAME", "Forget it; what it wrote stays", func(cmd *cobra.Command, name string) error {
			return act(cmd.Context(), g, http.MethodDelete, path(name, ""), nil, "dropped "+name)
		}),
	)
	return cmd
}
