package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"freshet/backend/api"
	"freshet/backend/fault"
)

func topicsCommand(g *globals) *cobra.Command {
	var cluster string
	cmd := &cobra.Command{Use: "topics", Short: "Topics and their records"}
	cmd.PersistentFlags().StringVar(&cluster, "cluster", "", "cluster; the local broker, or the only one, unless given")
	at := func(path string, query url.Values) string {
		if query == nil {
			query = url.Values{}
		}
		if cluster != "" {
			query.Set("cluster", cluster)
		}
		if len(query) == 0 {
			return path
		}
		return path + "?" + query.Encode()
	}
	topic := func(name string) string { return "/topics/" + url.PathEscape(name) }

	var spec api.TopicSpec
	var config []string
	create := named("create TOPIC --partitions N", "Create a topic", func(cmd *cobra.Command, name string) error {
		spec.Topic, spec.Cluster, spec.Config = name, cluster, map[string]string{}
		for _, kv := range config {
			k, v, ok := strings.Cut(kv, "=")
			if !ok {
				return fault.New(fault.Invalid, "read --config", "give NAME=VALUE", "%q has no =", kv)
			}
			spec.Config[k] = v
		}
		return act(cmd.Context(), g, http.MethodPost, "/topics", spec, "created "+name)
	})
	create.Flags().Int32Var(&spec.Partitions, "partitions", 1, "partitions")
	create.Flags().StringArrayVar(&config, "config", nil, "NAME=VALUE, may be repeated")

	reader := func(use, short string, from string, limit int, needKey bool) *cobra.Command {
		var q struct {
			from, filter, key string
			limit             int
		}
		c := named(use, short, func(cmd *cobra.Command, name string) error {
			query := url.Values{"from": {q.from}, "limit": {strconv.Itoa(q.limit)}}
			if q.filter != "" {
				query.Set("filter", q.filter)
			}
			if q.key != "" {
				query.Set("key", q.key)
			}
			if needKey && q.key == "" && q.filter == "" {
				return fault.New(fault.Invalid, cmd.CommandPath(), "give --filter CEL or --key TEXT", "nothing to look for")
			}
			return readRecords(cmd.Context(), g, at(topic(name)+"/records", query))
		})
		c.Flags().StringVar(&q.from, "from", from, "oldest, newest, a time, or PARTITION:OFFSET")
		c.Flags().IntVar(&q.limit, "limit", limit, "at most this many records")
		c.Flags().StringVar(&q.filter, "filter", "", "CEL, for instance: value.after.status == 'paid'")
		c.Flags().StringVar(&q.key, "key", "", "only records with this key: as text, the value of a JSON key's only column, or an equal JSON key")
		return c
	}

	cmd.AddCommand(&cobra.Command{
		Use: "list", Short: "Every topic", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return showList(cmd.Context(), g, at("/topics", nil), "TOPIC\tPARTITIONS\tRECORDS\tRATE\tBYTES\tERROR", func(t api.Topic) []string {
				return []string{t.Topic, fmt.Sprint(t.Partitions), reading(t.Records), reading(t.Rate), reading(t.Bytes), t.Error}
			})
		},
	},
		named("describe TOPIC", "One topic with partitions and configuration", func(cmd *cobra.Command, name string) error {
			return showOne(cmd.Context(), g, at(topic(name), nil), func(t api.Topic) error { return topicTable(g.printer(), t) })
		}),
		create,
		reader("read TOPIC", "Read records; ends by saying how much was looked at", "newest", 20, false),
		reader("search TOPIC --filter CEL", "Look through a topic from its oldest record on", "oldest", 100, true),
		reader("get TOPIC --from PARTITION:OFFSET", "One record", "newest", 1, false),
		tailCommand(g, at, topic),
		exportCommand(g, at, topic),
	)
	return cmd
}

func topicTable(p printer, t api.Topic) error {
	if err := p.pairs("topic", t.Topic, "id", t.ID, "records", reading(t.Records), "rate", reading(t.Rate), "bytes", reading(t.Bytes)); err != nil {
		return err
	}
	fmt.Fprintln(p.w)
	rows := make([][]string, len(t.Parts))
	for i, q := range t.Parts {
		rows[i] = []string{fmt.Sprint(q.Partition), fmt.Sprint(q.Leader), q.Start, q.End, q.Stable, fmt.Sprint(q.Replicas), q.Error}
	}
	if err := p.table("PARTITION\tLEADER\tSTART\tEND\tSTABLE\tREPLICAS\tERROR", rows); err != nil || len(t.Config) == 0 {
		return err
	}
	fmt.Fprintln(p.w)
	keys := make([]string, 0, len(t.Config))
	for k := range t.Config {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	rows = nil
	for _, k := range keys {
		rows = append(rows, []string{k, t.Config[k]})
	}
	return p.table("CONFIG\tVALUE", rows)
}

func fetchRecords(ctx context.Context, g *globals, path string) (json.RawMessage, api.Records, error) {
	raw, err := g.ask(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, api.Records{}, err
	}
	var r api.Records
	return raw, r, json.Unmarshal(raw, &r)
}

func readRecords(ctx context.Context, g *globals, path string) error {
	raw, r, err := fetchRecords(ctx, g, path)
	if err != nil {
		return err
	}
	p := g.printer()
	switch p.format {
	case "json":
		return p.line(raw)
	case "jsonl":
		for _, rec := range r.Items {
			if err := p.object(rec); err != nil {
				return err
			}
		}
		return p.object(map[string]any{"v": 1, "kind": "scan", "scan": r.Scan})
	}
	for _, rec := range r.Items {
		fmt.Fprintln(p.w, recordLine(rec))
	}
	next := make([]string, 0, len(r.Scan.Next))
	for part, off := range r.Scan.Next {
		next = append(next, part+":"+off)
	}
	slices.Sort(next)
	fmt.Fprintf(p.w, "scanned %s, matched %s, stopped: %s, next: %s\n", r.Scan.Scanned, r.Scan.Matched, clean(r.Scan.Stopped), strings.Join(next, " "))
	return nil
}

func recordLine(r api.Record) string {
	return fmt.Sprintf("%d:%s  %s  %s  %s", r.Partition, r.Offset, r.Time, payload(r.Key), payload(r.Value))
}

func payload(p *api.Payload) string {
	switch {
	case p == nil:
		return "null"
	case p.Text != "" || p.Size == 0:
		return clean(p.Text)
	}
	return fmt.Sprintf("<%d bytes, not UTF-8>", p.Size)
}

// tailCommand follows a topic: it asks again from where the last answer stopped.
func tailCommand(g *globals, at func(string, url.Values) string, topic func(string) string) *cobra.Command {
	var filter string
	cmd := named("tail TOPIC", "Show records as they arrive, until interrupted", func(cmd *cobra.Command, name string) error {
		next := map[string]string{}
		_, first, err := fetchRecords(cmd.Context(), g, at(topic(name)+"/records", url.Values{"from": {"newest"}, "limit": {"1"}}))
		if err != nil {
			return err
		}
		for p, o := range first.Scan.Next {
			next[p] = o
		}
		for {
			for p, o := range next {
				query := url.Values{"from": {p + ":" + o}, "limit": {"500"}}
				if filter != "" {
					query.Set("filter", filter)
				}
				_, r, err := fetchRecords(cmd.Context(), g, at(topic(name)+"/records", query))
				if err != nil {
					return err
				}
				for _, rec := range r.Items {
					if g.output == "table" {
						fmt.Fprintln(g.stdout, recordLine(rec))
					} else if err := g.printer().object(rec); err != nil {
						return err
					}
				}
				if n, ok := r.Scan.Next[p]; ok {
					next[p] = n
				}
			}
			if err := pause(cmd.Context()); err != nil {
				return err
			}
		}
	})
	cmd.Flags().StringVar(&filter, "filter", "", "CEL")
	return cmd
}

func exportCommand(g *globals, at func(string, url.Values) string, topic func(string) string) *cobra.Command {
	var limit int64
	var q struct{ format, from, until, partitions, filter, key, columns string }
	cmd := named("export TOPIC", "Write records into a file, from the oldest on", func(cmd *cobra.Command, name string) error {
		query := url.Values{"max_records": {strconv.FormatInt(limit, 10)}}
		for k, v := range map[string]string{"format": q.format, "from": q.from, "until": q.until, "partitions": q.partitions, "filter": q.filter, "key": q.key, "columns": q.columns} {
			if v != "" {
				query.Set(k, v)
			}
		}
		c, err := g.connect()
		if err != nil {
			return err
		}
		resp, err := c.open(cmd.Context(), http.MethodGet, at(topic(name)+"/export", query), nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		lines := &lineCount{w: g.stdout}
		if _, err = io.Copy(lines, resp.Body); err != nil {
			return fault.Wrap(fault.Unavailable, "read the export", err, "it is not whole: try again")
		}
		stopped := "end"
		if lines.n >= limit {
			stopped = "limit"
		}
		if q.format == "jsonl" {
			g.progress("wrote %d records, stopped: %s", lines.n, stopped)
		}
		return nil
	})
	cmd.Flags().Int64Var(&limit, "limit", 10000, "at most this many records")
	cmd.Flags().StringVar(&q.format, "format", "jsonl", "jsonl, csv or parquet")
	cmd.Flags().StringVar(&q.from, "from", "oldest", "oldest, a time, or PARTITION:OFFSET")
	cmd.Flags().StringVar(&q.until, "until", "", "only what lies before the first record of this time or later")
	cmd.Flags().StringVar(&q.partitions, "partitions", "", "only these, such as 0,3")
	cmd.Flags().StringVar(&q.filter, "filter", "", "CEL")
	cmd.Flags().StringVar(&q.key, "key", "", "only records with this key")
	cmd.Flags().StringVar(&q.columns, "columns", "", "csv: fields of the decoded value, such as after.id,after.status, in place of key and value")
	return cmd
}

// lineCount counts the lines that pass.
type lineCount struct {
	w io.Writer
	n int64
}

func (l *lineCount) Write(p []byte) (int, error) {
	l.n += int64(bytes.Count(p, []byte{'\n'}))
	return l.w.Write(p)
}
