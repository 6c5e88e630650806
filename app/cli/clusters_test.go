//go:build unix

package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"freshet/backend/api"
)

// A kcat.conf in the home directory is found and added, and its password is nowhere to be seen.
func TestClustersOfOtherTools(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", "")
	file := filepath.Join(home, ".config", "kcat.conf")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	const conf = "bootstrap.servers=127.0.0.1:1\nsecurity.protocol=SASL_SSL\nsasl.mechanisms=SCRAM-SHA-512\n" +
		"sasl.username=ro\nsasl.password=hunter2hunter2\nenable.ssl.certificate.verification=false\n"
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	in := serve(t, "serve", "--listen", "127.0.0.1:0")
	found := in.do("clusters", "found")
	if !strings.Contains(found, file) || !strings.Contains(found, "kcat (127.0.0.1:1)") || !strings.Contains(found, "not there") {
		t.Errorf("found:\n%s", found)
	}
	stdout, stderr, exit := in.try("clusters", "import", "kcat", "--as", "old")
	if exit != 0 || !strings.Contains(stdout, "added old of kcat, read-only") || !strings.Contains(stderr, "not taken over: the broker's certificate is not checked there") {
		t.Errorf("import: exit %d\n%s%s", exit, stdout, stderr)
	}
	var all api.List[api.Cluster]
	in.ask(&all, "clusters", "list")
	listed := false
	for _, c := range all.Items {
		listed = listed || c.Name == "old" && c.ReadOnly
	}
	if !listed {
		t.Errorf("clusters: %+v", all.Items)
	}
	if _, stderr, exit := in.try("clusters", "import", "none"); exit != 2 || !strings.Contains(stderr, "freshet clusters found") {
		t.Errorf("exit %d: %s", exit, stderr)
	}
	for _, said := range []string{found, stdout, stderr, in.log.String()} {
		if strings.Contains(said, "hunter2") {
			t.Errorf("the password is in %q", said)
		}
	}
}
