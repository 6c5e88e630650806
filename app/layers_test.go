package app_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sort"
	"strings"
	"testing"
)

type layer int

const (
	words    layer = iota // the standard library only
	engines               // words, and libraries that open no socket and run no SQL
	adapters              // words, engines, their own client library
	door                  // words, engines
	root
	cliLayer
	mainLayer
	tests // imported from tests only
)

var layerNames = []string{"words", "engines", "adapters", "door", "root", "cli", "main", "tests"}

// layers is the one map from package to layer. A package that is missing fails the test, and so does a name that no
// longer exists.
var layers = map[string]layer{
	"backend/stream":    words,
	"backend/fault":     words,
	"backend/wholefile": words,
	"backend/clock":     words,

	"backend/auditlog":   engines,
	"backend/auth":       engines,
	"backend/cdc":        engines,
	"backend/decode":     engines,
	"backend/feed":       engines,
	"backend/recordfile": engines,
	"backend/space":      engines,
	"probes":             engines,
	"probes/freshness":   engines,
	"probes/lag":         engines,
	"probes/slot":        engines,
	"probes/topics":      engines,
	"replay":             engines,
	"replay/filter":      engines,
	"frontend":           engines,

	"backend/cdc/postgres":        adapters,
	"backend/export":              adapters,
	"backend/kafka":               adapters,
	"backend/kafka/embedded":      adapters,
	"backend/kafka/internal/wire": adapters,
	"backend/secret":              adapters,
	"backend/store":               adapters,
	"replay/sink/http":            adapters,
	"replay/sink/kafka":           adapters,
	"replay/sink/postgres":        adapters,

	"backend/api": door,

	"app":                root,
	"app/config":         root,
	"app/config/imports": root,
	"app/demo":           root,
	"app/cli":            cliLayer,
	"":                   mainLayer,

	"backend/cdc/cdctest": tests,
	"backend/testkit":     tests,
	"probes/probestest":   tests,
	"replay/replaytest":   tests,
}

// clients are what opens sockets or runs SQL: for adapters and above only, and never for the door.
var clients = []string{
	"database/sql", "github.com/mattn/go-sqlite3", "github.com/jackc/", "github.com/twmb/franz-go/pkg/kgo", "github.com/twmb/franz-go/pkg/kadm",
	"github.com/twmb/franz-go/pkg/kfake", "net/http", "github.com/prometheus/client_golang",
}

type pkg struct {
	ImportPath string
	Imports    []string
	Standard   bool
	Module     *struct{ Path string }
}

func listPackages(t *testing.T, tags string) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Imports,Standard,Module", "-tags", tags, "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// violations says what of pkgs breaks the layers.
func violations(pkgs []pkg, layers map[string]layer) []string {
	var bad []string
	seen := map[string]bool{}
	for _, p := range pkgs {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, "freshet"), "/")
		seen[name] = true
		from, ok := layers[name]
		if !ok {
			bad = append(bad, fmt.Sprintf("%s is in no layer: add it to layers", p.ImportPath))
			continue
		}
		for _, imp := range p.Imports {
			if inner, ours := strings.CutPrefix(imp, "freshet/"); ours {
				to, ok := layers[inner]
				switch {
				case !ok:
				case to == tests && from != tests:
					bad = append(bad, fmt.Sprintf("%s imports %s, which is for tests", name, inner))
				case from == door && to == adapters:
					bad = append(bad, fmt.Sprintf("%s (the door) imports the adapter %s", name, inner))
				case to > from:
					bad = append(bad, fmt.Sprintf("%s (%s) imports %s (%s): that points up", name, layerNames[from], inner, layerNames[to]))
				}
				continue
			}
			external := strings.Contains(strings.Split(imp, "/")[0], ".")
			if from == words && external {
				bad = append(bad, fmt.Sprintf("%s (words) imports %s: words know the standard library only", name, imp))
			}
			if from == engines || from == door {
				for _, c := range clients {
					if (imp == c || strings.HasSuffix(c, "/") && strings.HasPrefix(imp, c)) && (from != door || c != "net/http") {
						bad = append(bad, fmt.Sprintf("%s (%s) imports %s: sockets and SQL are for adapters", name, layerNames[from], imp))
					}
				}
			}
			if strings.HasPrefix(imp, "github.com/wailsapp/") && name != "app" {
				bad = append(bad, fmt.Sprintf("%s imports Wails: only app/window.go may", name))
			}
		}
	}
	for name := range layers {
		if !seen[name] {
			bad = append(bad, fmt.Sprintf("layers names %q, which does not exist", name))
		}
	}
	sort.Strings(bad)
	return bad
}

func TestLayers(t *testing.T) {
	for _, tags := range []string{"", "desktop", "no_ui"} {
		for _, v := range violations(listPackages(t, tags), layers) {
			t.Errorf("tags %q: %s", tags, v)
		}
	}
}

// The test of the test: each rule must be able to fail.
func TestLayersCanFail(t *testing.T) {
	known := map[string]layer{"w": words, "e": engines, "a": adapters, "d": door, "x": tests}
	for _, c := range []struct {
		name, from, imports string
	}{
		{"an adapter from an engine", "e", "freshet/a"},
		{"an adapter from the door", "d", "freshet/a"},
		{"a library from words", "w", "github.com/some/lib"},
		{"SQL from an engine", "e", "database/sql"},
		{"a Kafka client from an engine", "e", "github.com/twmb/franz-go/pkg/kgo"},
		{"a PostgreSQL client from the door", "d", "github.com/jackc/pgx/v5"},
		{"a test package from an engine", "e", "freshet/x"},
		{"Wails from an adapter", "a", "github.com/wailsapp/wails/v2"},
	} {
		pkgs := []pkg{{ImportPath: "freshet/w"}, {ImportPath: "freshet/e"}, {ImportPath: "freshet/a"}, {ImportPath: "freshet/d"}, {ImportPath: "freshet/x"}}
		if v := violations(pkgs, known); len(v) != 0 {
			t.Fatalf("without a violation: %v", v)
		}
		for i := range pkgs {
			if pkgs[i].ImportPath == "freshet/"+c.from {
				pkgs[i].Imports = []string{c.imports}
			}
		}
		if v := violations(pkgs, known); len(v) != 1 {
			t.Errorf("%s: found %v", c.name, v)
		}
	}
	if v := violations([]pkg{{ImportPath: "freshet/new"}}, map[string]layer{}); len(v) != 1 {
		t.Errorf("an unlisted package: found %v", v)
	}
	if v := violations(nil, map[string]layer{"gone": words}); len(v) != 1 {
		t.Errorf("a name that no longer exists: found %v", v)
	}
}

// The server build must not carry the window.
func TestServerBuildHasNoWails(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", ".")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list -deps: %v", err)
	}
	for dep := range strings.Lines(string(out)) {
		if strings.HasPrefix(dep, "github.com/wailsapp/") {
			t.Errorf("the server build depends on %s", strings.TrimSpace(dep))
		}
	}
}
