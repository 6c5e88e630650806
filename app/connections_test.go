package app

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"freshet/backend/api"
)

// What other tools have is listed without a password, used with it, and kept nowhere in the clear.
func TestConnections(t *testing.T) {
	home := t.TempDir()
	for _, name := range []string{"XDG_CONFIG_HOME", "KCAT_CONFIG", "KAFKACAT_CONFIG", "KAFKA_CTL_CONFIG", "MICRONAUT_CONFIG_FILES"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", home)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := silent.Addr().String()
	silent.Close()
	const password = "planted-import-7431"
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	kcat := "bootstrap.servers=" + nobody + "\nsecurity.protocol=SASL_PLAINTEXT\nsasl.mechanisms=PLAIN\nsasl.username=me\nsasl.password=" + password + "\n"
	write(".config/kcat.conf", kcat)
	write(".kaf/config", "clusters: [")

	dir := t.TempDir()
	r := start(t, dir)
	var files api.List[api.ConnectionFile]
	r.must("GET", "/connections", nil, &files)
	var c api.Connection
	broken, missing := "", 0
	for _, f := range files.Items {
		switch {
		case !f.Found:
			missing++
		case f.Tool == "kcat" && len(f.Connections) == 1:
			c = f.Connections[0]
		case f.Tool == "kaf":
			broken = f.Trouble + f.Next
		}
	}
	if said, _ := json.Marshal(files); bytes.Contains(said, []byte(password)) {
		t.Errorf("the list says the password: %s", said)
	}
	if !c.HasPassword || c.Spec.User != "me" || c.Spec.PasswordFrom != "import:"+home+"/.config/kcat.conf#kcat" || missing == 0 || !strings.Contains(broken, "line") {
		t.Fatalf("%+v %q", files, broken)
	}

	var stages api.List[api.Stage]
	r.must("POST", "/clusters/test", c.Spec, &stages)
	if len(stages.Items) < 2 || stages.Items[1].State != "failed" {
		t.Errorf("%+v", stages)
	}
	for name, change := range map[string]func(*api.ClusterSpec){
		"another broker":    func(s *api.ClusterSpec) { s.Brokers = []string{"127.0.0.1:9"} },
		"one more broker":   func(s *api.ClusterSpec) { s.Brokers = []string{nobody, "127.0.0.1:9"} },
		"another user":      func(s *api.ClusterSpec) { s.User = "you" },
		"another mechanism": func(s *api.ClusterSpec) { s.SASL = "scram-sha-256" },
		"another file":      func(s *api.ClusterSpec) { s.PasswordFrom = "import:/etc/shadow#kcat" },
		"another name":      func(s *api.ClusterSpec) { s.PasswordFrom += "x" },
		"both":              func(s *api.ClusterSpec) { s.Password = "mine" },
	} {
		spec := c.Spec
		change(&spec)
		for _, path := range []string{"/clusters/test", "/clusters"} {
			if status := r.ask("POST", path, spec, nil); status < 400 || status >= 500 {
				t.Errorf("%s: %s answers %d", name, path, status)
			}
		}
	}
	r.must("POST", "/clusters", c.Spec, nil)
	k, err := r.clusterDocs.Get(t.Context(), "kcat")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.secret(t.Context(), k.Value.Spec.Password); err != nil || got != password || k.Value.Spec.PasswordFrom != "" {
		t.Errorf("%+v %v", k.Value, err)
	}

	var read api.List[api.Connection]
	r.must("POST", "/connections/read", api.ConnectionText{Text: kcat}, &read)
	if len(read.Items) != 1 || read.Items[0].Spec.Password != password || read.Items[0].Spec.PasswordFrom != "" {
		t.Errorf("%+v", read)
	}
	if status := r.ask("POST", "/connections/read", api.ConnectionText{Name: "x", Text: "hello"}, nil); status != http.StatusUnprocessableEntity {
		t.Errorf("of no tool: %d", status)
	}
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, []byte(password)) {
				t.Errorf("%s holds the password", path)
			}
		}
		return nil
	})
}
