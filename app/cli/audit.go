package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"freshet/app"
	"freshet/backend/api"
	"freshet/backend/auditlog"
	"freshet/backend/fault"
)

func auditCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{Use: "audit", Short: "The history of acts, and the proof that it is whole; works with nothing running"}

	var q api.AuditQuery
	listCmd := &cobra.Command{
		Use: "list", Short: "Entries, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			header, row := "SEQ\tAT\tACTOR\tACTION\tPHASE\tSUBJECT\tOUTCOME", func(e api.AuditEntry) []string {
				return []string{e.Seq, e.At, e.Actor, e.Action, e.Phase, e.Subject, e.Outcome}
			}
			c, err := g.connect()
			if fault.Is(err, fault.Unavailable) && g.server == "" {
				raw, err := app.ListStored(cmd.Context(), g.data, q)
				if err != nil {
					return err
				}
				return list(g.printer(), raw, header, row)
			}
			if err != nil {
				return err
			}
			query := url.Values{"limit": {strconv.Itoa(q.Limit)}}
			for k, v := range map[string]string{"actor": q.Actor, "action": q.Action, "subject": q.Subject, "text": q.Text, "cursor": q.Cursor} {
				if v != "" {
					query.Set(k, v)
				}
			}
			raw, err := c.raw(cmd.Context(), http.MethodGet, "/audit?"+query.Encode(), nil)
			if err != nil {
				return err
			}
			return list(g.printer(), raw, header, row)
		},
	}
	f := listCmd.Flags()
	f.StringVar(&q.Actor, "actor", "", "only by this person")
	f.StringVar(&q.Action, "action", "", "only this act, for instance replay.run")
	f.StringVar(&q.Subject, "subject", "", "only upon this")
	f.StringVar(&q.Text, "text", "", "only entries that contain this")
	f.StringVar(&q.Cursor, "cursor", "", "go on where a list ended")
	f.IntVar(&q.Limit, "limit", 50, "at most this many")

	var checkpoint string
	verify := &cobra.Command{
		Use: "verify [FILE]", Short: "Prove every entry of a ledger.db or an export; exit 10 where something was changed", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := ""
			if len(args) == 1 {
				file = args[0]
			}
			report, err := app.VerifyAudit(cmd.Context(), g.data, file, checkpoint)
			if err != nil {
				return err
			}
			if g.output != "table" {
				if err := g.printer().object(report); err != nil {
					return err
				}
			} else if err := reportTable(g.printer(), report); err != nil {
				return err
			}
			if report.Exit != 0 {
				return exitCode(report.Exit)
			}
			return nil
		},
	}
	verify.Flags().StringVar(&checkpoint, "checkpoint", "", "a copy of a signed checkpoint kept elsewhere; the one beside the ledger unless given")

	var out string
	export := &cobra.Command{
		Use: "export", Short: "Write the whole history, verifiable by itself", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			w := io.Writer(g.stdout)
			if out != "" {
				file, createErr := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
				if createErr != nil {
					return fault.Wrap(fault.Invalid, "write the export", createErr, "give --out a file that does not exist yet")
				}
				defer func() {
					if closeErr := file.Close(); err == nil {
						err = closeErr
					}
				}()
				w = file
			}
			c, err := g.connect()
			if fault.Is(err, fault.Unavailable) && g.server == "" {
				return app.ExportStored(cmd.Context(), g.data, w)
			}
			if err != nil {
				return err
			}
			resp, err := c.open(cmd.Context(), http.MethodGet, "/audit/export", nil)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			_, err = io.Copy(w, resp.Body)
			return fault.Wrap(fault.Unavailable, "read the export", err, "try again")
		},
	}
	export.Flags().StringVar(&out, "out", "", "file to write; standard output unless given")
	cmd.AddCommand(listCmd, verify, export)
	return cmd
}

func reportTable(p printer, r auditlog.Report) error {
	if !r.OK {
		fmt.Fprintf(p.w, "NOT INTACT, %s: ", r.Code)
	}
	fmt.Fprintln(p.w, clean(r.Message))
	for _, f := range r.Findings {
		fmt.Fprintf(p.w, "  %s: %s\n", f.Code, clean(f.Message))
	}
	if r.More > 0 {
		fmt.Fprintf(p.w, "  and %d more\n", r.More)
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(p.w, "  note: %s\n", clean(w))
	}
	if r.Root != "" {
		fmt.Fprintf(p.w, "root …%s, checkpoint from %s\n", r.Root, clean(r.CheckpointSource))
	}
	return nil
}
