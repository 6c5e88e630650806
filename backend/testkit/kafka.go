//go:build unix

package testkit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// KafkaServer is a real Apache Kafka, one KRaft node on a loopback port that stays the same over restarts. Topics are
// not created by producing. Its methods are for one goroutine.
type KafkaServer struct {
	Broker string // host:port
	Dir    string // data, settings, client.properties and, with "--tls", tls.pem
	Config string // a file of client settings for Kafka's own tools

	scripts string
	t       testing.TB
	process
}

// Kafka starts a broker for the length of the test. Options are further name=value settings of the broker, or "--sasl"
// (SCRAM and ACLs: admin/admin-secret may do all, app/app-secret nothing yet) or "--tls". Its jars are fetched once
// with Maven. Without Java or Maven the test is skipped, except where CI=true: there it fails.
func Kafka(t testing.TB, options ...string) *KafkaServer {
	t.Helper()
	scripts := needKafka(t)
	dir, err := os.MkdirTemp("", "freshet-kafka-")
	if err != nil {
		t.Fatal(err)
	}
	k := &KafkaServer{Dir: dir, Config: filepath.Join(dir, "client.properties"), scripts: scripts, t: t}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("Kafka says:\n%s", k.logTail())
		}
		var err error
		if k.Running() {
			err = k.end(syscall.SIGKILL)
		}
		if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	if err := k.start(options...); err != nil {
		t.Fatal(err)
	}
	return k
}

// Start starts a stopped broker on its port, with its data, and returns when it serves.
func (k *KafkaServer) Start() {
	k.t.Helper()
	if err := k.start(); err != nil {
		k.t.Fatal(err)
	}
}

// Stop asks the broker to end and returns when it has.
func (k *KafkaServer) Stop() {
	k.t.Helper()
	if err := k.end(syscall.SIGTERM); err != nil {
		k.t.Fatal(err)
	}
}

// Kill ends the broker by SIGKILL.
func (k *KafkaServer) Kill() {
	k.t.Helper()
	if err := k.end(syscall.SIGKILL); err != nil {
		k.t.Fatal(err)
	}
}

// Signal sends the broker a signal, for instance SIGSTOP.
func (k *KafkaServer) Signal(s syscall.Signal) {
	k.t.Helper()
	if err := k.cmd.Process.Signal(s); err != nil {
		k.t.Fatal(err)
	}
}

// Tool runs one of Kafka's own command line tools against the broker and returns its standard output. Names are those of
// build/peers/tool.sh; --bootstrap-server and, where one is needed, --command-config are added.
func (k *KafkaServer) Tool(name string, args ...string) string {
	k.t.Helper()
	args = append([]string{"--bootstrap-server", k.Broker}, args...)
	if info, err := os.Stat(k.Config); err == nil && info.Size() > 0 {
		args = append(args, "--command-config", k.Config)
	}
	return KafkaTool(k.t, name, args...)
}

// KafkaTool runs one of Kafka's own command line tools, by its name in build/peers/tool.sh, and returns its standard
// output. A tool that fails fails the test.
func KafkaTool(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, stderr, err := TryKafkaTool(t, name, args...)
	if err != nil {
		t.Fatalf("kafka-%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, stderr)
	}
	return out
}

// TryKafkaTool is KafkaTool for a tool that may fail.
func TryKafkaTool(t testing.TB, name string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := exec.Command(filepath.Join(needKafka(t), "tool.sh"), append([]string{name}, args...)...)
	cmd.SysProcAttr = endWithParent()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = onThread(cmd.Run)
	return out.String(), errs.String(), err
}

func (k *KafkaServer) start(options ...string) error {
	if k.Running() {
		return errors.New("the broker runs already")
	}
	log, err := os.Create(k.logFile())
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(k.scripts, "kafka.sh"), append([]string{"run", k.Dir}, options...)...)
	cmd.SysProcAttr = endWithParent()
	if err := k.process.start(cmd, log); err != nil {
		return err
	}
	deadline := time.After(2 * startLimit) // a JVM on a busy machine
	for {
		if b, err := os.ReadFile(k.logFile()); err == nil && bytes.Contains(b, []byte("Kafka Server started")) {
			break
		}
		select {
		case <-k.done:
			return fmt.Errorf("Kafka ended while starting:\n%s", k.logTail())
		case <-deadline:
			return fmt.Errorf("Kafka does not answer:\n%s", k.logTail())
		case <-time.After(50 * time.Millisecond):
		}
	}
	b, err := os.ReadFile(filepath.Join(k.Dir, "broker"))
	k.Broker = strings.TrimSpace(string(b))
	return err
}

func (k *KafkaServer) end(sig syscall.Signal) error {
	if !k.Running() {
		return errors.New("the broker does not run")
	}
	if err := k.cmd.Process.Signal(sig); err != nil {
		return err
	}
	select {
	case <-k.done:
		return nil
	case <-time.After(stopLimit):
		return errors.Join(fmt.Errorf("Kafka does not end:\n%s", k.logTail()), k.cmd.Process.Kill())
	}
}

func (k *KafkaServer) logFile() string { return filepath.Join(k.Dir, "log") }

func (k *KafkaServer) logTail() string { return tail(k.logFile()) }

// needKafka returns the folder of the peers' scripts, with Kafka's jars fetched, or skips the test.
func needKafka(t testing.TB) string {
	t.Helper()
	scripts, err := peerScripts()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("java"); err != nil {
		Missing(t, "Apache Kafka", err)
	}
	fetchPeer(t, scripts, "kafka", "Apache Kafka")
	return scripts
}

// fetchPeer has a peer's jars brought, or skips the test.
func fetchPeer(t testing.TB, scripts, peer, system string) {
	t.Helper()
	if out, err := exec.Command(filepath.Join(scripts, "fetch.sh"), peer).CombinedOutput(); err != nil {
		Missing(t, system, fmt.Errorf("%w\n%s", err, out))
	}
}

// peerScripts finds build/peers above the test's working directory.
func peerScripts() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if isFile(filepath.Join(dir, "go.mod")) {
			return filepath.Join(dir, "build", "peers"), nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod above the working directory, so build/peers is not found")
		}
		dir = parent
	}
}
