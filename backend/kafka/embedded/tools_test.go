package embedded_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"freshet/backend/kafka/embedded"
	"freshet/backend/testkit"
)

// contains fails where the tool's output lacks a line that matches each pattern.
func contains(t *testing.T, what, out string, patterns ...string) {
	t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile(`(?m)^` + p + `\s*$`).MatchString(out) {
			t.Errorf("%s: no line is %q in\n%s", what, p, out)
		}
	}
}

// Kafka's own command line tools work on the local broker and say what is so. Each takes a JVM's start, so most of them
// wait for make proof.
func TestKafkasTools(t *testing.T) {
	proof := os.Getenv("FRESHET_PROOF") != ""
	b := open(t, embedded.Options{Dir: t.TempDir()})
	addr := b.Addr()
	tool := func(name string, args ...string) string {
		t.Helper()
		return testkit.KafkaTool(t, name, append([]string{"--bootstrap-server", addr}, args...)...)
	}
	tool("topics", "--create", "--topic", "orders", "--partitions", "3", "--config", "retention.ms=3600000")
	contains(t, "topics --describe", tool("topics", "--describe", "--topic", "orders"),
		`Topic: orders\s+TopicId: \S+\s+PartitionCount: 3\s+ReplicationFactor: 1\s+Configs: .*retention.ms=3600000.*`,
		`\s*Topic: orders\s+Partition: 2\s+Leader: 0\s+Replicas: 0\s+Isr: 0.*`)

	out := tool("verifiable-producer", "--topic", "orders", "--max-messages", "900", "--throughput", "-1")
	var done struct {
		Name string `json:"name"`
		Sent int    `json:"sent"`
		Ack  int    `json:"acked"`
	}
	for line := range strings.Lines(out) {
		if strings.Contains(line, `"tool_data"`) {
			if err := json.Unmarshal([]byte(line), &done); err != nil {
				t.Fatal(err)
			}
		}
	}
	if done.Sent != 900 || done.Ack != 900 {
		t.Fatalf("sent %d, acked %d\n%s", done.Sent, done.Ack, out)
	}
	protocols := []string{"consumer"}
	if proof {
		protocols = []string{"classic", "consumer"}
	}
	for _, protocol := range protocols {
		read := tool("console-consumer", "--topic", "orders", "--group", protocol, "--from-beginning", "--max-messages", "900", "--timeout-ms", "30000",
			"--command-property", "group.protocol="+protocol)
		if n := strings.Count(read, "\n"); n != 900 {
			t.Fatalf("%s console consumer: %d lines", protocol, n)
		}
	}
	described := tool("consumer-groups", "--describe", "--all-groups")
	for _, protocol := range protocols {
		contains(t, "consumer-groups --describe", described, protocol+`\s+orders\s+0\s+\d+\s+\d+\s+0\s.*`)
	}
	if !proof {
		return
	}

	contains(t, "topics --list", tool("topics", "--list"), "orders")
	offsets := tool("get-offsets", "--topic", "orders")
	var sum int
	for line := range strings.Lines(offsets) {
		var p, n int
		if _, err := fmt.Sscanf(line, "orders:%d:%d", &p, &n); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		sum += n
	}
	if sum != 900 {
		t.Fatalf("get-offsets: %s", offsets)
	}
	listed := tool("consumer-groups", "--list")
	contains(t, "consumer-groups --list", listed, protocols...)
	tool("consumer-groups", "--group", "classic", "--reset-offsets", "--to-earliest", "--topic", "orders", "--execute")
	described = tool("consumer-groups", "--describe", "--group", "classic")
	contains(t, "after a reset", described, `classic\s+orders\s+0\s+0\s+(\d+)\s+\d+\s.*`)
	tool("consumer-groups", "--delete", "--group", "consumer")
	if listed := tool("consumer-groups", "--list"); strings.Contains(listed, "consumer") {
		t.Errorf("deleted, and listed: %s", listed)
	}
	contains(t, "configs", tool("configs", "--describe", "--topic", "orders"), `.*retention.ms=3600000.*`)
	tool("topics", "--delete", "--topic", "orders")
	if listed := tool("topics", "--list"); strings.Contains(listed, "orders") {
		t.Errorf("deleted, and listed: %s", listed)
	}
}

func run(t *testing.T, ctx context.Context, input, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(input)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", name, err, out.String(), errs.String())
	}
	return out.String()
}

func TestKcat(t *testing.T) {
	if _, err := exec.LookPath("kcat"); err != nil {
		testkit.Missing(t, "kcat", err)
	}
	ctx := within(t, 60*time.Second)
	b := open(t, embedded.Options{Dir: t.TempDir()})
	topic(t, ctx, b.Addr(), "orders", 2, nil)
	kcat := func(input string, args ...string) string {
		t.Helper()
		return run(t, ctx, input, "kcat", append([]string{"-b", b.Addr(), "-q"}, args...)...)
	}
	kcat("1:a\n2:b\n3:\n", "-P", "-t", "orders", "-p", "1", "-K:", "-Z")
	kcat("4:z\n", "-P", "-t", "orders", "-p", "0", "-K:", "-z", "zstd", "-H", "h=x")
	if got := kcat("", "-C", "-t", "orders", "-p", "1", "-e", "-f", "%o %k %S %s;"); got != "0 1 1 a;1 2 1 b;2 3 -1 ;" {
		t.Errorf("%q", got)
	}
	if got := kcat("", "-C", "-t", "orders", "-p", "0", "-e", "-f", "%k %s %h\n"); got != "4 z h=x\n" {
		t.Errorf("%q", got)
	}
	var list struct {
		Topics []struct {
			Topic      string
			Partitions []struct{ Partition, Leader int }
		}
	}
	if err := json.Unmarshal([]byte(kcat("", "-L", "-J")), &list); err != nil || len(list.Topics) != 1 || len(list.Topics[0].Partitions) != 2 {
		t.Errorf("%+v %v", list, err)
	}
	tx := client(t, b.Addr(), kgo.TransactionalID("tx"))
	begin(t, tx)
	produce(t, ctx, tx, "orders", 0, "aborted")
	end(t, ctx, tx, kgo.TryAbort)
	if got := kcat("", "-C", "-t", "orders", "-p", "0", "-e", "-f", "%s\n", "-X", "isolation.level=read_committed"); got != "z\n" {
		t.Errorf("%q", got)
	}
}

// Python's two clients produce, consume in a group, use transactions and describe what they see.
func TestPythonClients(t *testing.T) {
	if os.Getenv("FRESHET_PROOF") == "" {
		t.Skip("make proof runs this")
	}
	cache := os.Getenv("FRESHET_PEERS")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(home, ".cache", "freshet-peers")
	}
	ctx := within(t, 5*time.Minute)
	venv := filepath.Join(cache, "python")
	python := filepath.Join(venv, "bin", "python")
	if _, err := os.Stat(filepath.Join(venv, ".complete")); err != nil {
		run(t, ctx, "", "python3", "-m", "venv", "--clear", venv)
		run(t, ctx, "", python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "confluent-kafka==2.16.1", "kafka-python==3.0.12")
		if err := os.WriteFile(filepath.Join(venv, ".complete"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := open(t, embedded.Options{Dir: t.TempDir()})
	for _, script := range []string{"confluent_client.py", "kafka_python_client.py"} {
		out := strings.Fields(run(t, ctx, "", python, filepath.Join("testdata", script), b.Addr()))
		if !slices.Equal(out, []string{"topic", "produced", "consumed", "committed", "described", "transaction"}) {
			t.Errorf("%s: %v", script, out)
		}
	}
}
