package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"freshet/backend/fault"
)

// The page that people copy from is a file that loads, and says all there is.
func TestDocumentedFileLoads(t *testing.T) {
	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\n")
	text, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("the page has no example")
	}
	c, err := Load(write(t, text))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Clusters) != 1 || len(c.Sources) != 1 || len(c.Sinks) != 1 || len(c.Objectives) != 1 || len(c.Owners) != 2 || c.History.Days != 30 {
		t.Errorf("%+v", c)
	}
	if got := c.Objectives[0].Within; got != 5*time.Second {
		t.Errorf("within %v", got)
	}
	if spec := c.Clusters[0].Spec(); spec.Password != "@env:KAFKA_PASSWORD" || !spec.TLS {
		t.Errorf("%+v", spec)
	}
}

func TestEmptyFileLoads(t *testing.T) {
	if _, err := Load(write(t, "")); err != nil {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	for text, names := range map[string]string{
		"sinks: [{name: a, colour: red}]":                  "colour",
		"profile: {kind: prod}":                            `"prod"`,
		"clusters: [{name: a, brokers: []}]":               "cluster a",
		"clusters: [{brokers: [x]}]":                       "no name",
		"sources: [{name: a}]":                             "source a",
		"sinks: [{name: a}, {name: a}]":                    "a twice",
		"objectives: [{table: 'a'}]":                       "objective 1",
		"objectives: [{table: '[', within: 1s}]":           `"["`,
		"owners: [{name: a, of: ['[']}]":                   "owner a",
		"owners: [{name: a}]":                              "owner a",
		"owners: [{name: a, of: [x]}, {name: a, of: [y]}]": "a twice",
		"sources: }": "yaml",
	} {
		_, err := Load(write(t, text))
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), names) {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml")); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "freshet.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
