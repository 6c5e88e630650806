//go:build unix

package testkit

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Connector is one of Kafka Connect's, such as Debezium's.
type Connector struct {
	Name   string            `json:"name"`
	Config map[string]string `json:"config"`
}

// Connect runs Debezium's connectors on a Kafka Connect worker for the length of the test, and returns when all of them
// run. Records are JSON without schemas unless a connector says otherwise. The jars are fetched once with Maven; without
// Java or Maven the test is skipped, except where CI=true: there it fails.
func Connect(t testing.TB, broker string, connectors ...Connector) {
	t.Helper()
	scripts := needKafka(t)
	fetchPeer(t, scripts, "connect", "Debezium")
	dir, err := os.MkdirTemp("", "freshet-connect-")
	if err != nil {
		t.Fatal(err)
	}
	logFile := filepath.Join(dir, "log")
	var p process
	t.Cleanup(func() {
		if p.Running() {
			_ = p.cmd.Process.Signal(syscall.SIGKILL) // it may have ended meanwhile
			<-p.done
		}
		if t.Failed() {
			t.Logf("Kafka Connect says:\n%s", tail(logFile))
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	args := []string{"run", dir, broker}
	for _, c := range connectors {
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, c.Name+".json")
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	log, err := os.Create(logFile)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(scripts, "connect.sh"), args...)
	cmd.SysProcAttr = endWithParent()
	if err := p.start(cmd, log); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(2 * startLimit)
	for _, c := range connectors {
		for !connectorRuns(t, dir, c.Name) {
			if !p.Running() || time.Now().After(deadline) {
				t.Fatalf("the connector %s does not run", c.Name)
			}
			time.Sleep(200 * time.Millisecond)
		}
	}
}

// connectorRuns fails the test where the connector's task has failed.
func connectorRuns(t testing.TB, dir, name string) bool {
	t.Helper()
	rest, err := os.ReadFile(filepath.Join(dir, "rest"))
	if err != nil {
		return false // not written yet
	}
	r, err := http.Get(strings.TrimSpace(string(rest)) + "/connectors/" + name + "/status")
	if err != nil {
		return false // it does not listen yet
	}
	defer r.Body.Close()
	var status struct {
		Tasks []struct{ State, Trace string }
	}
	if r.StatusCode != http.StatusOK || json.NewDecoder(r.Body).Decode(&status) != nil || len(status.Tasks) == 0 {
		return false
	}
	if status.Tasks[0].State == "FAILED" {
		t.Fatalf("the connector %s has failed:\n%s", name, status.Tasks[0].Trace)
	}
	return status.Tasks[0].State == "RUNNING"
}
