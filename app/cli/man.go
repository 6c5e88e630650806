package cli

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"freshet/app"
)

// manCommand writes the manual page, for packages: every verb on one page, so that a search finds it.
func manCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use: "man", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := g.stdout.Write(manual(cmd.Root()))
			return err
		},
	}
}

// manual is the page of root's program in roff's man macros.
func manual(root *cobra.Command) []byte {
	var b bytes.Buffer
	name := root.Name()
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"Freshet %s\"\n.SH NAME\n%s \\- %s\n", roff(strings.ToUpper(name)), roff(app.BuildVersion().Version), roff(name), roff(strings.ToLower(root.Short[:1])+root.Short[1:]))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n.I VERB\n[flags]\n.SH DESCRIPTION\n.nf\n%s\n.fi\n", roff(name), roff(root.Long))
	b.WriteString(".SH FLAGS OF EVERY VERB\n")
	manFlags(&b, root.PersistentFlags())
	b.WriteString(".SH VERBS\n")
	manVerbs(&b, root)
	b.WriteString(`.SH EXIT STATUS
0 where all went well; 2 for a wrong use, 9 where something needs a person, 11 where the other side did not answer, 124 at a timeout, 130 when interrupted.
.SH ENVIRONMENT
.TP
.B FRESHET_DATA
the data directory, where \-\-data is not given
.TP
.B FRESHET_TOKEN
the token for \-\-server
.TP
.B FRESHET_LOG
debug makes the log on standard error say more
.SH FILES
.TP
.I ~/.local/share/freshet
the data directory, unless another is given
`)
	return b.Bytes()
}

func manVerbs(b *bytes.Buffer, parent *cobra.Command) {
	for _, c := range parent.Commands() {
		if c.Hidden || c.Name() == "help" {
			continue
		}
		if c.HasSubCommands() {
			manVerbs(b, c)
			continue
		}
		fmt.Fprintf(b, ".SS %s\n%s\n", roff(c.UseLine()), roff(c.Short))
		manFlags(b, c.LocalNonPersistentFlags())
	}
}

func manFlags(b *bytes.Buffer, flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		kind, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		fmt.Fprintf(b, ".TP\n.BR \"%s\" \" %s\"\n%s\n", roff(name), roff(kind), roff(usage))
	})
}

// roff escapes a text, in which no line may begin with a control character.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "\n.", "\n\\&.", "\n'", "\n\\&'").Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}
