package imports

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"freshet/backend/fault"
)

var update = flag.Bool("update", false, "write the golden files")

// Every tool's file, as the tool or its manual writes it. What was taken over and what was not is in the golden file.
func TestRead(t *testing.T) {
	files, err := filepath.Glob("testdata/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, ".golden") {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			found, err := Read(file, text)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(found, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			if *update {
				if err := os.WriteFile(file+".golden", got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file + ".golden")
			if err != nil || string(got) != string(want) {
				t.Errorf("`go test ./app/config/imports -update` writes it; got\n%s", got)
			}
			// A password is where it belongs, and nowhere else.
			for _, c := range found {
				if strings.Contains(strings.Join(c.Lacks, " "), "planted") {
					t.Errorf("%q says a secret", c.Lacks)
				}
			}
			// Pasted, without its name, it is known for what it is.
			pasted, err := Read("", text)
			if err != nil || len(pasted) != len(found) || pasted[0].Tool != found[0].Tool || pasted[0].Spec.Password != found[0].Spec.Password {
				t.Errorf("pasted: %+v %v", pasted, err)
			}
		})
	}
}

func TestHostile(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for i := 'b'; i < 'k'; i++ {
		bomb += string(i) + ": &" + string(i) + " [" + strings.Repeat("*"+string(i-1)+",", 9) + "*" + string(i-1) + "]\n"
	}
	for name, text := range map[string]string{
		"empty":        "",
		"not text":     "bootstrap.servers=\xff\xfe",
		"zero":         "bootstrap.servers=a:1\x00",
		"too large":    "# " + strings.Repeat("x", MaxText),
		"bomb":         bomb + "clusters: *j",
		"itself":       "clusters: &a\n- *a\n",
		"deep":         "contexts: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
		"no alias":     "clusters:\n- name: x\n  SASL:\n    password: *planted-alias\n",
		"broken":       "clusters: [planted-broken: {",
		"twice":        "planted-key: 1\nplanted-key: 2\n",
		"something":    "hello: world\n",
		"a list":       "- 1\n- 2\n",
		"no protocol":  "compression.codec=zstd\n",
		"too many":     "clusters:\n" + strings.Repeat("- {name: x, brokers: ['a:1']}\n", 201),
		"null cluster": "kafka:\n  clusters:\n",
	} {
		found, err := Read("x", []byte(text))
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v %v", name, found, err)
		} else if strings.Contains(err.Error(), "planted") || !strings.HasSuffix(err.Error(), ")") {
			t.Errorf("%s: %v", name, err)
		}
	}
	many, err := Read("x", []byte("clusters:\n"+strings.Repeat("- {name: x, brokers: ['a:1']}\n", 200)))
	if err != nil || len(many) != 200 || many[199].Spec.Name != "x-200" {
		t.Errorf("%d %v", len(many), err)
	}
}

func TestDetails(t *testing.T) {
	for _, c := range []struct{ name, text, lack string }{
		{"kcat.conf", "bootstrap.servers=a\nsecurity.protocol=sasl_ssl\nsasl.mechanism=PLAIN\nsasl.username=u\n", "the password: none is in the file"},
		{"x.conf", "bootstrap.servers=a\nsasl.mechanisms=PLAIN\nsasl.username=u\nsasl.password=p\n", "security.protocol is not set"},
		{"x.conf", "bootstrap.servers=a\nsecurity.protocol=ssl\nssl.ca.location=ca.pem\n", "give it in full"},
		{"x.conf", "bootstrap.servers=a\nsecurity.protocol=ssl\nssl.certificate.location=/c.pem\n", "its key is not named"},
		{"x.conf", "metadata.broker.list=a\nsecurity.protocol=ssl\nenable.ssl.certificate.verification=false\n", "always checks it"},
		{"x.conf", "bootstrap.servers=a\nsecurity.protocol=sasl_ssl\nsasl.mechanisms=PLAIN\nsasl.username=u\nsasl.password=@file:/etc/shadow\n", "begins as one of Freshet's references"},
		{"x.properties", "bootstrap.servers=a:1\nsecurity.protocol=SASL_SSL\nsasl.mechanism=PLAIN\nsasl.jaas.config=${JAAS}\n", "it is ${JAAS}, which is filled in where Java client runs"},
		{"x.properties", "bootstrap.servers=a:1\nsecurity.protocol=SASL_SSL\nsasl.mechanism=${MECH}\n", "the SASL mechanism: it is ${MECH}"},
		{"x.properties", "security.protocol=SSL\nssl.keystore.key=planted\n", "save them as PEM files"},
		{"x.properties", "security.protocol=TLS\n", "brokers: none is named"},
	} {
		found, err := Read(c.name, []byte(c.text))
		if err != nil || len(found) != 1 || !strings.Contains(strings.Join(found[0].Lacks, "; "), c.lack) {
			t.Errorf("%s: %q not in %+v %v", c.text, c.lack, found, err)
		} else if found[0].Spec.Password != "" && strings.Contains(c.lack, "assword") {
			t.Errorf("%s: a password was taken", c.text)
		}
	}
}

func TestPlaces(t *testing.T) {
	env := map[string]string{"KCAT_CONFIG": "/srv/kcat.conf", "KAFKACAT_CONFIG": "relative.conf", "MICRONAUT_CONFIG_FILES": "/app/a.yml, /app/a.yml"}
	seen := map[string]string{}
	for _, p := range Places("/home/me", func(k string) string { return env[k] }) {
		if !filepath.IsAbs(p.File) || seen[p.File] != "" {
			t.Errorf("%+v", p)
		}
		seen[p.File] = p.Tool
	}
	for file, tool := range map[string]string{"/srv/kcat.conf": kcat, "/home/me/.config/kcat.conf": kcat, "/home/me/.kaf/config": kaf, "/home/me/.config/kafkactl/config.yml": kafkactl, "/app/a.yml": akhq} {
		if seen[file] != tool {
			t.Errorf("%s: %q", file, seen[file])
		}
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) Place { return Place{kcat, filepath.Join(dir, name)} }
	if err := os.WriteFile(at("kcat.conf").File, []byte("bootstrap.servers=a:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Symlink("kcat.conf", at("link").File), os.Symlink("/dev/zero", at("zero").File)); err != nil {
		t.Fatal(err)
	}
	if found, err := Open(at("link")); err != nil || len(found) != 1 {
		t.Errorf("%v %v", found, err)
	}
	for _, name := range []string{"zero", "."} {
		if _, err := Open(at(name)); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "no regular file") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Open(at("gone")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// Whatever is given: it ends, within bounds, and what is found has a name of its own.
func FuzzRead(f *testing.F) {
	files, _ := filepath.Glob("testdata/*")
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil {
			f.Add(filepath.Base(file), text)
		}
	}
	f.Add("x", []byte("a: &a [*a]\nclusters: [{<<: *a}]"))
	f.Add("x.properties", []byte("sasl.jaas.config=a b = '\\"))
	f.Fuzz(func(t *testing.T, name string, text []byte) {
		found, err := Read(name, text)
		if err != nil {
			if !fault.Is(err, fault.Invalid) || found != nil {
				t.Fatalf("%v %v", found, err)
			}
			return
		}
		seen := map[string]bool{}
		for _, c := range found {
			s := c.Spec
			if n := s.Name; n == "" || len(n) > maxName || seen[n] {
				t.Errorf("the name %q", n)
			}
			seen[s.Name] = true
			if len(s.Brokers) > maxBrokers || len(c.Lacks) > maxLacks || len(s.Password) > maxValue+10 || s.Password != "" && s.SASL == "" {
				t.Errorf("%+v", c)
			}
			for _, x := range append(append(c.Lacks, s.Brokers...), s.Name, s.User, s.Password, s.CAFile) {
				if !utf8.ValidString(x) {
					t.Errorf("%q is no text", x)
				}
			}
		}
		if len(found) == 0 || len(found) > maxConnections {
			t.Errorf("%d connections", len(found))
		}
	})
}
