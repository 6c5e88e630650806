//go:build unix

package testkit_test

import (
	"strings"
	"testing"

	"freshet/backend/testkit"
)

func TestKafka(t *testing.T) {
	k := testkit.Kafka(t, "log.retention.hours=5")
	k.Tool("topics", "--create", "--topic", "orders", "--partitions", "3")
	broker := k.Broker
	for _, end := range []func(){k.Stop, k.Kill} {
		end()
		if k.Running() {
			t.Fatal("ended, and running")
		}
		k.Start()
		if k.Broker != broker {
			t.Fatalf("moved from %s to %s", broker, k.Broker)
		}
		if got := strings.TrimSpace(k.Tool("topics", "--list")); got != "orders" {
			t.Fatalf("topics: %q; want orders", got)
		}
	}
}
