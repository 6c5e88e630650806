package kafka_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"freshet/backend/fault"
	"freshet/backend/kafka"
	"freshet/backend/testkit"
)

// Each way in which a connection fails is told as the stage that it is, with what to do.
func TestConnectionStages(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	defer web.Close()
	plainWeb := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	defer plainWeb.Close()
	fake := func(opts ...kfake.Opt) string {
		c, err := kfake.NewCluster(append(opts, kfake.NumBrokers(1))...)
		must(t, err)
		t.Cleanup(c.Close)
		return c.ListenAddrs()[0]
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	nobody := silent.Addr().String()
	silent.Close()
	certificate := web.TLS.Certificates[0]
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())
	sasl := []kfake.Opt{kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "me", "right"), kfake.Superuser("PLAIN", "me", "right")}
	secure := append(sasl, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{certificate}}))
	saslAddr, secureAddr := fake(sasl...), fake(secure...)
	scram := func(password string) *kafka.SASL {
		return &kafka.SASL{Mechanism: "SCRAM-SHA-256", User: "me", Password: password}
	}
	for what, c := range map[string]struct {
		o     kafka.Options
		stage string // that fails, "" none
		next  string
	}{
		"a name nobody knows":      {kafka.Options{Brokers: []string{"no-such-host.invalid:9092"}}, "dns", "check it"},
		"nobody listens":           {kafka.Options{Brokers: []string{nobody}}, "tcp", "nothing answers at " + nobody},
		"the second answers":       {kafka.Options{Brokers: []string{nobody, fake()}}, "", ""},
		"TLS where there is none":  {kafka.Options{Brokers: []string{plainWeb.Listener.Addr().String()}, TLS: &tls.Config{}}, "tls", "does not speak TLS"},
		"an authority unknown":     {kafka.Options{Brokers: []string{secureAddr}, SASL: scram("right"), TLS: &tls.Config{}}, "tls", "give its certificate"},
		"a certificate of another": {kafka.Options{Brokers: []string{secureAddr}, SASL: scram("right"), TLS: &tls.Config{RootCAs: roots, ServerName: "kafka.example.org"}}, "tls", "another name"},
		"a web server":             {kafka.Options{Brokers: []string{plainWeb.Listener.Addr().String()}}, "api versions", ""},
		"TLS and SASL":             {kafka.Options{Brokers: []string{secureAddr}, SASL: scram("right"), TLS: &tls.Config{RootCAs: roots}}, "", ""},
		"no TLS where it must be":  {kafka.Options{Brokers: []string{secureAddr}, SASL: scram("right")}, "api versions", "TLS"},
		"SCRAM":                    {kafka.Options{Brokers: []string{saslAddr}, SASL: scram("right")}, "", ""},
		"PLAIN":                    {kafka.Options{Brokers: []string{saslAddr}, SASL: &kafka.SASL{Mechanism: "PLAIN", User: "me", Password: "right"}}, "", ""},
		"a wrong password":         {kafka.Options{Brokers: []string{saslAddr}, SASL: scram("wrong")}, "sasl", "password"},
		"a wrong PLAIN password":   {kafka.Options{Brokers: []string{saslAddr}, SASL: &kafka.SASL{Mechanism: "PLAIN", User: "me", Password: "wrong"}}, "sasl", "password"},
		"no such credentials":      {kafka.Options{Brokers: []string{saslAddr}, SASL: &kafka.SASL{Mechanism: "SCRAM-SHA-512", User: "me", Password: "right"}}, "sasl", "SCRAM-SHA-512"},
		"no SASL where it must be": {kafka.Options{Brokers: []string{saslAddr}}, "api versions metadata", "SASL"},
	} {
		t.Run(what, func(t *testing.T) {
			c.o.Name = "test"
			stages := openCluster(t, c.o).Test(ctx)
			all := slices.Collect(func(yield func(string) bool) {
				for _, s := range stages {
					if !yield(s.Name) {
						return
					}
				}
			})
			want := []string{"dns", "tcp", "api versions", "metadata", "brokers", "list offsets", "read records", "list groups", "read commits", "read topic settings", "read sizes"}
			if c.o.SASL != nil {
				want = slices.Insert(want, 3, "sasl")
			}
			if c.o.TLS != nil {
				want = slices.Insert(want, 2, "tls")
			}
			if !slices.Equal(all, want) {
				t.Errorf("the stages are %q, not %q", all, want)
			}
			failed := slices.IndexFunc(stages, func(s kafka.Stage) bool { return s.State == kafka.StageFailed })
			for i, s := range stages {
				if (s.Err != nil) != (i == failed) || failed >= 0 && (i > failed) != (s.State == kafka.StageNotTried) || failed < 0 && s.State == kafka.StageDenied {
					t.Errorf("%+v", s)
				}
			}
			switch {
			case c.stage == "" && failed >= 0:
				t.Errorf("%+v", stages[failed])
			case c.stage != "" && (failed < 0 || !strings.Contains(c.stage, stages[failed].Name) || !strings.Contains(stages[failed].Next, c.next)):
				t.Errorf("%+v", stages)
			}
			for _, s := range stages {
				if strings.Contains(s.Detail+s.Next, "right") && c.o.SASL != nil || strings.Contains(s.Detail, "wrong") && s.Err == nil {
					t.Errorf("a password shows: %+v", s)
				}
			}
		})
	}
}

// A right that is missing is named with what is not known without it, and the rest is tried all the same.
func TestRightsOneByOne(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	topic := func(op kmsg.ACLOperation) kfake.ACL {
		return kfake.ACL{Resource: kmsg.ACLResourceTypeTopic, Name: "orders", Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: op, Allow: true}
	}
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"), kfake.EnableSASL(), kfake.EnableACLs(),
		kfake.User("PLAIN", "half", "x", topic(kmsg.ACLOperationDescribe)), kfake.User("PLAIN", "reads", "x", topic(kmsg.ACLOperationRead)))
	must(t, err)
	defer fake.Close()
	states := func(user string) map[string]kafka.Stage {
		c := openCluster(t, kafka.Options{Name: "test", Brokers: fake.ListenAddrs(), SASL: &kafka.SASL{Mechanism: "PLAIN", User: user, Password: "x"}})
		all := map[string]kafka.Stage{}
		for _, s := range c.Test(ctx) {
			all[s.Name] = s
		}
		return all
	}
	half, reads := states("half"), states("reads")
	for name, want := range map[string]kafka.StageState{"brokers": kafka.StageOK, "list offsets": kafka.StageOK, "read records": kafka.StageDenied,
		"read commits": kafka.StageNotTried, "read topic settings": kafka.StageDenied, "read sizes": kafka.StageDenied} {
		if s := half[name]; s.State != want || want == kafka.StageDenied && (s.Without == "" || s.Next == "") {
			t.Errorf("%+v", s)
		}
	}
	if s := reads["read records"]; s.State != kafka.StageOK {
		t.Errorf("%+v", s)
	}
}

// The same on Apache Kafka, which also says what a user may not do.
func TestSecuredKafka(t *testing.T) {
	if os.Getenv("FRESHET_PROOF") == "" {
		t.Skip("make proof runs this")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	k := testkit.Kafka(t, "--sasl")
	last := func(o kafka.Options) (last kafka.Stage) {
		o.Name, o.Brokers = "secured", []string{k.Broker}
		for _, s := range openCluster(t, o).Test(ctx) {
			if s.State != kafka.StageNotTried {
				last = s
			}
		}
		return last
	}
	if s := last(kafka.Options{SASL: &kafka.SASL{Mechanism: "PLAIN", User: "admin", Password: "admin-secret"}}); s.Name != "sasl" || !strings.Contains(s.Next, "SCRAM-SHA-256") {
		t.Errorf("%+v", s)
	}
	if s := last(kafka.Options{SASL: &kafka.SASL{Mechanism: "SCRAM-SHA-256", User: "admin", Password: "wrong"}}); s.Name != "sasl" || !strings.Contains(s.Next, "password") {
		t.Errorf("%+v", s)
	}
	if s := last(kafka.Options{}); s.Name != "metadata" || !strings.Contains(s.Next, "SASL") {
		t.Errorf("%+v", s)
	}
	for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
		if s := last(kafka.Options{SASL: &kafka.SASL{Mechanism: mechanism, User: "admin", Password: "admin-secret"}}); s.Err != nil {
			t.Errorf("%+v", s)
		}
	}
	admin := openCluster(t, kafka.Options{Name: "admin", Brokers: []string{k.Broker}, Own: true, SASL: &kafka.SASL{Mechanism: "SCRAM-SHA-512", User: "admin", Password: "admin-secret"}})
	must(t, admin.CreateTopic(ctx, "secret", 1, nil))
	app := openCluster(t, kafka.Options{Name: "app", Brokers: []string{k.Broker}, Own: true, SASL: &kafka.SASL{Mechanism: "SCRAM-SHA-256", User: "app", Password: "app-secret"}})
	if topics, err := app.Topics(ctx, true); err != nil || len(topics) != 0 {
		t.Errorf("%v %v", topics, err)
	}
	if _, err := app.Topic(ctx, "secret"); !fault.Is(err, fault.Denied) {
		t.Error(err)
	}
	if err := app.CreateTopic(ctx, "other", 1, nil); !fault.Is(err, fault.Denied) {
		t.Error(err)
	}
	secure := testkit.Kafka(t, "--tls")
	pem, err := os.ReadFile(filepath.Join(secure.Dir, "tls.pem"))
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	over := openCluster(t, kafka.Options{Name: "tls", Brokers: []string{secure.Broker}, Own: true, TLS: &tls.Config{RootCAs: roots}})
	for _, s := range over.Test(ctx) {
		if s.Err != nil {
			t.Errorf("%+v", s)
		}
	}
	must(t, over.CreateTopic(ctx, "t", 1, nil))
}

func TestOptionsAreChecked(t *testing.T) {
	for what, o := range map[string]kafka.Options{
		"no name":      {Brokers: []string{"h:1"}},
		"no brokers":   {Name: "c"},
		"no port":      {Name: "c", Brokers: []string{"h"}},
		"no mechanism": {Name: "c", Brokers: []string{"h:1"}, SASL: &kafka.SASL{User: "u"}},
		"no user":      {Name: "c", Brokers: []string{"h:1"}, SASL: &kafka.SASL{Mechanism: "PLAIN"}},
	} {
		if _, err := kafka.Open(o); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// An unreachable cluster is told within its time, with what to do, and every question fails alike after Close.
func TestUnreachable(t *testing.T) {
	c := openCluster(t, kafka.Options{Name: "away", Brokers: []string{"127.0.0.1:1"}})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := c.Groups(ctx); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "away") {
		t.Error(err)
	}
	if _, err := c.Topics(ctx, true); !fault.Is(err, fault.Unavailable) {
		t.Error(err)
	}
	c.Close()
	if _, err := c.Topics(ctx, true); !fault.Is(err, fault.Interrupted) {
		t.Error(err)
	}
	if _, err := c.OpenLog(kafka.Grant{}); !fault.Is(err, fault.Interrupted) {
		t.Error(err)
	}
}

// There is one constructor of Kafka clients outside of tests, and it is here.
func TestOneConstructor(t *testing.T) {
	root := filepath.Join("..", "..")
	var found []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".git")) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := call.X.(*ast.Ident); ok && (pkg.Name == "kgo" && (call.Sel.Name == "NewClient" || call.Sel.Name == "NewGroupTransactSession") || pkg.Name == "kadm" && call.Sel.Name == "NewOptClient") {
				found = append(found, filepath.ToSlash(path))
			}
			return true
		})
		return nil
	})
	must(t, err)
	if len(found) != 1 || found[0] != "../../backend/kafka/kafka.go" {
		t.Fatalf("clients are made in %v", found)
	}
}
