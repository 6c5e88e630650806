package app

import (
	"archive/zip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"runtime"
	"runtime/pprof"
	"strings"
	"time"

	"freshet/backend/api"
	"freshet/backend/secret"
)

const diagnosticsReadme = `Freshet diagnostics

What is in here, for whoever looks into a problem:

  instance.json    version, data directory, addresses, who asked, what is on disk
  status.json      the parts of the instance and how they do
  probes.json      what is measured, and how the last rounds went
  map.json         sources, topics, groups and sinks by name, with their states and figures
  config.json      clusters, sources and sinks as they are defined, objectives, owners
  log.txt          the newest lines of the log
  goroutines.txt   what the program is doing: its own functions, no data

What is not: passwords, tokens, keys (only references to where they are kept), and keys or values of records.
What databases, brokers and endpoints say in their errors can quote a record, so that whatever stands in quotes or
in brackets after an equals sign was cut out of states, reasons and log lines.

Names of hosts, databases, tables, topics, groups and people are in it: read it before you hand it on.
`

// quoted is where another system's words can hold a part of a record: in quotes, or as PostgreSQL tells keys, (id)=(7).
var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'|` + "`[^`]*`" + `|=\s*\((?:[^()]|\([^()]*\))*\)?`)

// withoutQuotes cuts out of a text what can quote a record, and secrets.
func withoutQuotes(s string) string {
	return quoted.ReplaceAllString(secret.Redact(s), "(cut)")
}

// Diagnostics writes the bundle. What cannot be read is told in its file's place.
func (i instance) Diagnostics(ctx context.Context, w io.Writer) error {
	z := zip.NewWriter(w)
	now := time.Now()
	for _, f := range []struct {
		name string
		make func(context.Context) ([]byte, error)
	}{
		{"README.txt", func(context.Context) ([]byte, error) { return []byte(diagnosticsReadme), nil }},
		{"instance.json", func(ctx context.Context) ([]byte, error) { return indented(i.About(ctx)) }},
		{"status.json", func(context.Context) ([]byte, error) { return indented(i.partsWithoutQuotes(), nil) }},
		{"probes.json", func(ctx context.Context) ([]byte, error) { return indented(i.probesWithoutQuotes(ctx), nil) }},
		{"map.json", func(ctx context.Context) ([]byte, error) { return indented(i.mapWithoutQuotes(ctx), nil) }},
		{"config.json", func(ctx context.Context) ([]byte, error) { return indented(i.definitions(ctx)) }},
		{"log.txt", func(context.Context) ([]byte, error) { return []byte(strings.Join(i.lines.all(), "")), nil }},
		{"goroutines.txt", func(context.Context) ([]byte, error) { return goroutines() }},
	} {
		b, err := f.make(ctx)
		if err != nil {
			b = []byte("not readable: " + withoutQuotes(err.Error()) + "\n")
		}
		part, err := z.CreateHeader(&zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: now})
		if err != nil {
			return err
		}
		if _, err := part.Write(b); err != nil {
			return err
		}
		if err := z.Flush(); err != nil {
			return err
		}
	}
	return z.Close()
}

func indented(v any, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(v, "", "  ")
	return []byte(secret.Redact(string(b))), err
}

func goroutines() ([]byte, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "%d goroutines\n\n", runtime.NumGoroutine())
	err := pprof.Lookup("goroutine").WriteTo(&b, 1)
	return []byte(b.String()), err
}

func (i instance) partsWithoutQuotes() []api.Part {
	parts := i.parts()
	for n := range parts {
		p := &parts[n]
		p.Detail, p.Needs = withoutQuotes(p.Detail), withoutQuotes(p.Needs)
	}
	return parts
}

func (i instance) probesWithoutQuotes(ctx context.Context) []api.Probe {
	list := measured(i).List(ctx)
	for n := range list {
		list[n].Error = withoutQuotes(list[n].Error)
	}
	return list
}

func (i instance) mapWithoutQuotes(ctx context.Context) api.Map {
	m := i.currentMap(ctx)
	for n := range m.Nodes {
		m.Nodes[n].Why = withoutQuotes(m.Nodes[n].Why)
	}
	for n := range m.Paths {
		m.Paths[n].Why = withoutQuotes(m.Paths[n].Why)
	}
	for n := range m.Events {
		m.Events[n].Text = withoutQuotes(m.Events[n].Text)
	}
	return m
}

// definitions are what the instance was told to do. Their secrets are references.
func (a *App) definitions(ctx context.Context) (any, error) {
	clusters, err := a.clusterDocs.List(ctx)
	if err != nil {
		return nil, err
	}
	sinks, err := a.sinkDocs.List(ctx)
	if err != nil {
		return nil, err
	}
	dsns, err := a.dsns.List(ctx)
	if err != nil {
		return nil, err
	}
	set := a.settings.Load()
	return map[string]any{
		"profile": a.profile(), "clusters": clusters, "sources": a.cdc.Options(), "reached_by": dsns, "sinks": sinks,
		"objectives": set.Objectives, "owners": set.Owners,
	}, nil
}
