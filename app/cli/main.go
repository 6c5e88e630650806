// Package cli is the command line: one file a verb. Every act goes through the API, as the page's do.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"freshet/backend/api"
	"freshet/backend/fault"
)

// globals are the flags that every verb takes.
type globals struct {
	data, server, output string
	quiet                bool
	stdout, stderr       io.Writer
	stdin                io.Reader
}

func (g *globals) printer() printer { return printer{g.stdout, g.output} }

// progress writes a line for people, unless they asked for quiet.
func (g *globals) progress(format string, args ...any) {
	if !g.quiet {
		fmt.Fprintf(g.stderr, format+"\n", args...)
	}
}

// Main runs the command line and returns its exit code.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return run(ctx, args, os.Stdin, os.Stdout, os.Stderr)
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	g := &globals{stdin: stdin, stdout: stdout, stderr: stderr}
	root := command(g)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var exit exitCode
	if errors.As(err, &exit) {
		return int(exit)
	}
	e := api.FromError(err)
	fmt.Fprintf(stderr, "freshet: %s\n", clean(e.Message))
	if e.Hint != "" {
		fmt.Fprintf(stderr, "Try: %s\n", clean(e.Hint))
	}
	if g.output == "json" || g.output == "jsonl" {
		_ = g.printer().object(e)
	}
	return e.Exit
}

// exitCode ends a verb that has said everything already.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// command is the whole tree of verbs.
func command(g *globals) *cobra.Command {
	root := &cobra.Command{
		Use:   programName(),
		Short: "Shows what data is doing between the database and the people who use it, and puts it right",
		Long: `Freshet shows what data is doing between the database and the people who use it, and puts it right.

  freshet demo                 a living system on this machine, to look at and to break
  freshet serve                the console and the local broker, without a demo
  freshet sources create …     capture a PostgreSQL database's changes
  freshet sinks create …       deliver topics to a database, a broker or an endpoint
  freshet freshness            how old the data is, hop by hop
  freshet replay plan …        send a range of records again, planned, approved, counted`,
		SilenceErrors: true, SilenceUsage: true,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmd.ValidateRequiredFlags(); err != nil {
				return fault.Wrap(fault.Invalid, cmd.CommandPath(), err, "`"+cmd.CommandPath()+" --help` shows what it takes")
			}
			switch g.output {
			case "table", "json", "jsonl":
			default:
				bad := g.output
				g.output = "table"
				return fault.New(fault.Invalid, "read -o", "give table, json or jsonl", "%q is no output format", bad)
			}
			abs, err := filepath.Abs(g.data)
			if err != nil {
				return fault.Wrap(fault.Invalid, "read --data", err, "give a directory")
			}
			g.data = abs
			return nil
		},
	}
	flags := root.PersistentFlags()
	flags.StringVar(&g.data, "data", defaultData(), "data directory (also FRESHET_DATA)")
	flags.StringVar(&g.server, "server", "", "URL of an instance on another machine, with FRESHET_TOKEN")
	flags.StringVarP(&g.output, "output", "o", "table", "table, json or jsonl")
	flags.BoolVarP(&g.quiet, "quiet", "q", false, "no progress on standard error")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fault.Wrap(fault.Invalid, cmd.CommandPath(), err, "`"+cmd.CommandPath()+" --help` lists the flags")
	})
	root.AddCommand(
		demoCommand(g), serveCommand(g), openCommand(g), statusCommand(g), clustersCommand(g), sourcesCommand(g), sinksCommand(g), waitCommand(g),
		topicsCommand(g), groupsCommand(g), freshnessCommand(g), probesCommand(g), traceCommand(g), replayCommand(g), auditCommand(g), versionCommand(g),
		instanceCommand(g), diagnosticsCommand(g), viewsCommand(g), objectivesCommand(g), desktopCommand(g), manCommand(g), childCommand(), openapiCommand(g),
	)
	usage(root)
	return root
}

// programName is what completion and manual are for: the desktop build is installed under a name of its own.
func programName() string {
	if strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe") == "freshet-desktop" {
		return "freshet-desktop"
	}
	return "freshet"
}

// usage makes a wrong number of arguments, or an unknown verb, a fault with a next step.
func usage(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			return fault.Wrap(fault.Invalid, c.CommandPath(), check(c, args), "`"+c.CommandPath()+" --help` shows what it takes")
		}
	}
	if !cmd.HasSubCommands() {
		return
	}
	if cmd.RunE == nil {
		cmd.Args = func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fault.New(fault.Invalid, c.CommandPath(), "`"+c.CommandPath()+" --help` lists the verbs", "no verb named %q", args[0])
			}
			return nil
		}
		cmd.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	}
	for _, sub := range cmd.Commands() {
		usage(sub)
	}
}

func defaultData() string {
	if d := os.Getenv("FRESHET_DATA"); d != "" {
		return d
	}
	if d := os.Getenv("XDG_DATA_HOME"); d != "" {
		return filepath.Join(d, "freshet")
	}
	if d, err := os.UserConfigDir(); err == nil && os.Getenv("HOME") == "" {
		return filepath.Join(d, "freshet")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "freshet-data"
	}
	return filepath.Join(home, ".local", "share", "freshet")
}
