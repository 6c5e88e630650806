package embedded_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"freshet/backend/fault"
	"freshet/backend/kafka/embedded"
)

func TestRestartKeepsEverything(t *testing.T) {
	ctx := within(t, 30*time.Second)
	dir := t.TempDir()
	b := open(t, embedded.Options{Dir: dir})
	topic(t, ctx, b.Addr(), "t", 2, nil)
	cl := client(t, b.Addr(), kgo.TransactionalID("tx"))
	plain := client(t, b.Addr())
	produce(t, ctx, plain, "t", 1, "a", "b")
	if err := kadm.NewClient(plain).CommitAllOffsets(ctx, "g", kadm.Offsets{"t": {1: {Topic: "t", Partition: 1, At: 1, LeaderEpoch: -1}}}); err != nil {
		t.Fatal(err)
	}
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, ctx, cl, "t", 0, "in", "side")
	if err := b.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, embedded.Options{Dir: dir})
	if again.Addr() != b.Addr() {
		t.Fatalf("moved from %s to %s", b.Addr(), again.Addr())
	}
	if h := again.Health(); h.State != embedded.OK || h.Recovered.Unclean {
		t.Fatalf("%+v", h)
	}
	want(t, "open", committed(t, ctx, b.Addr(), "t", 0))
	// A transaction goes on over an orderly restart.
	produce(t, ctx, cl, "t", 0, "more")
	if err := cl.EndTransaction(ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	want(t, "committed", committed(t, ctx, b.Addr(), "t", 0), "in", "side", "more")
	want(t, "plain", committed(t, ctx, b.Addr(), "t", 1), "a", "b")
	held, err := kadm.NewClient(plain).FetchOffsets(ctx, "g")
	if err != nil {
		t.Fatal(err)
	}
	if o, _ := held.Lookup("t", 1); o.At != 1 {
		t.Fatalf("committed offset %d, want 1", o.At)
	}
}

func TestFolderInUse(t *testing.T) {
	dir := t.TempDir()
	open(t, embedded.Options{Dir: dir})
	if _, err := embedded.Open(context.Background(), embedded.Options{Dir: dir}); !fault.Is(err, fault.Conflict) {
		t.Fatal(err)
	}
}

func TestFolderThatCannotBeRead(t *testing.T) {
	for _, name := range []string{"meta.json", "topics.json"} {
		dir := t.TempDir()
		b := open(t, embedded.Options{Dir: dir})
		topic(t, within(t, 10*time.Second), b.Addr(), "t", 1, nil)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, name)
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, whole[:len(whole)/2], 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = embedded.Open(context.Background(), embedded.Options{Dir: dir})
		if !fault.Is(err, fault.Blocked) || !strings.Contains(err.Error(), name) {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		open(t, embedded.Options{Dir: dir})
	}
}

func TestAddress(t *testing.T) {
	ctx := context.Background()
	for _, bad := range []string{"0.0.0.0:0", "192.0.2.1:9092", "example.com:9092", "9092"} {
		if _, err := embedded.Open(ctx, embedded.Options{Dir: t.TempDir(), Listen: bad}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	if _, err := embedded.Open(ctx, embedded.Options{Dir: dir, Listen: l.Addr().String()}); !fault.Is(err, fault.Conflict) {
		t.Fatal(err)
	}
	open(t, embedded.Options{Dir: dir}) // and the folder is free again
}

// What is no request ends its connection and nothing else.
func TestHostileBytes(t *testing.T) {
	ctx := within(t, 20*time.Second)
	b := open(t, embedded.Options{Dir: t.TempDir()})
	topic(t, ctx, b.Addr(), "t", 1, nil)
	for _, bytes := range []string{
		"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00",
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"\x00\x00\x00\x0c\x03\xe7\x00\x00\x00\x00\x00\x01\xff\xff\x00\x00", // key 999
		"\x00\x00\x00\x0c\x00\x00\x00\x09\x00\x00\x00\x01\xff\xff\xff\xff", // Produce without a body
		"\x00\x00\x00\x0c\x00\x13\x00\x05\x00\x00\x00\x01\xff\xff\xff\xff", // CreateTopics without a body
		"\x00\x00\x00\x0c\x00\x12\x7f\xff\x00\x00\x00\x01\xff\xff\x00\x00", // ApiVersions of a version to come
	} {
		conn, err := net.Dial("tcp", b.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, bytes); err != nil {
			t.Fatal(err)
		}
		conn.(*net.TCPConn).CloseWrite()
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%q: the connection stays", bytes)
		}
		conn.Close()
	}
	produce(t, ctx, client(t, b.Addr()), "t", 0, "still here")
}

func TestTopicsGetRetention(t *testing.T) {
	ctx := within(t, 20*time.Second)
	b := open(t, embedded.Options{Dir: t.TempDir(), Retention: time.Hour, RetentionBytes: 12345})
	topic(t, ctx, b.Addr(), "plain", 1, nil)
	topic(t, ctx, b.Addr(), "own", 1, map[string]string{"retention.ms": "7"})
	topic(t, ctx, b.Addr(), "compacted", 1, map[string]string{"cleanup.policy": "compact"})
	topic(t, ctx, b.Addr(), "both", 1, map[string]string{"cleanup.policy": "compact,delete"})
	rs, err := kadm.NewClient(client(t, b.Addr())).DescribeTopicConfigs(ctx, "plain", "own", "compacted", "both")
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, r := range rs {
		for _, c := range r.Configs {
			if c.Key == "retention.ms" || c.Key == "retention.bytes" {
				got[r.Name+" "+c.Key] = c.MaybeValue()
			}
		}
	}
	wanted := map[string]string{
		"plain retention.ms": "3600000", "plain retention.bytes": "12345", "own retention.ms": "7", "own retention.bytes": "12345",
		"compacted retention.ms": "-1", "compacted retention.bytes": "-1", "both retention.ms": "3600000", "both retention.bytes": "12345",
	}
	if fmt.Sprint(got) != fmt.Sprint(wanted) {
		t.Fatalf("%v\nwant %v", got, wanted)
	}
}

func TestQuota(t *testing.T) {
	ctx := within(t, 60*time.Second)
	b := open(t, embedded.Options{Dir: t.TempDir(), Quota: 2 << 20, CleanEvery: time.Hour})
	topic(t, ctx, b.Addr(), "t", 1, nil)
	topic(t, ctx, b.Addr(), "u", 1, nil)
	cl := client(t, b.Addr(), kgo.ProducerBatchCompression(kgo.NoCompression()))
	tx := client(t, b.Addr(), kgo.TransactionalID("tx"))
	if err := tx.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, ctx, tx, "u", 0, "before")
	big := strings.Repeat("x", 100_000)
	for b.Health().State != embedded.Full {
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond) // a producer that is refused tries for ever
		cl.ProduceSync(short, &kgo.Record{Topic: "t", Value: []byte(big)})
		cancel()
		if ctx.Err() != nil {
			t.Fatal("the quota is never reached")
		}
	}
	if h := b.Health(); h.Used > h.Quota+h.Quota/4 || !strings.Contains(h.Detail, "refused") {
		t.Fatalf("%+v", h)
	}
	// Consumers, commits and the ends of transactions go on.
	if n := len(committed(t, ctx, b.Addr(), "t", 0)); n < 10 {
		t.Fatalf("%d records read", n)
	}
	if err := tx.EndTransaction(ctx, kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	want(t, "committed", committed(t, ctx, b.Addr(), "u", 0), "before")
	// A producer that waits goes on as soon as there is room.
	done := make(chan error, 1)
	waiting := client(t, b.Addr())
	waiting.Produce(ctx, &kgo.Record{Topic: "u", Value: []byte("waited")}, func(_ *kgo.Record, err error) { done <- err })
	if _, err := kadm.NewClient(cl).DeleteTopic(ctx, "t"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	eventually(t, ctx, "room again", func() bool { return b.Health().State == embedded.OK })
	want(t, "afterwards", committed(t, ctx, b.Addr(), "u", 0), "before", "waited")
}

// Retention that empties a log does not let its offsets begin anew.
func TestRetentionKeepsOffsets(t *testing.T) {
	ctx := within(t, 60*time.Second)
	c := startChild(t, t.TempDir())
	topic(t, ctx, c.addr, "t", 1, map[string]string{"retention.ms": "1"})
	topic(t, ctx, c.addr, "d", 1, nil)
	cl := client(t, c.addr)
	produce(t, ctx, cl, "t", 0, "a", "b", "c")
	produce(t, ctx, cl, "d", 0, "a", "b", "c", "d")
	adm := kadm.NewClient(cl)
	ends := func(topic string) (start, end int64) {
		t.Helper()
		s, err := adm.ListStartOffsets(ctx, topic)
		if err != nil {
			t.Fatal(err)
		}
		e, err := adm.ListEndOffsets(ctx, topic)
		if err != nil {
			t.Fatal(err)
		}
		so, _ := s.Lookup(topic, 0)
		eo, _ := e.Lookup(topic, 0)
		return so.Offset, eo.Offset
	}
	check := func(when string) {
		t.Helper()
		if s, e := ends("t"); s != 3 || e != 3 {
			t.Fatalf("%s: t holds %d to %d, want 3 to 3", when, s, e)
		}
		if s, e := ends("d"); s != 2 || e != 4 {
			t.Fatalf("%s: d holds %d to %d, want 2 to 4", when, s, e)
		}
	}
	if _, err := adm.DeleteRecords(ctx, kadm.Offsets{"d": {0: {Topic: "d", At: 2}}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, ctx, "retention", func() bool { s, _ := ends("t"); return s == 3 })
	check("before")
	for range 2 {
		c.kill()
		c.start()
		check("after a crash")
	}
	c.close()
	c.start()
	check("after an orderly stop")
	if _, err := adm.DeleteRecords(ctx, kadm.Offsets{"d": {0: {Topic: "d", At: 4}}}); err != nil {
		t.Fatal(err)
	}
	c.kill()
	c.start()
	if s, e := ends("d"); s != 4 || e != 4 {
		t.Fatalf("d holds %d to %d, want 4 to 4", s, e)
	}
	produce(t, ctx, client(t, c.addr), "d", 0, "e")
	want(t, "d", committed(t, ctx, c.addr, "d", 0), "e")
}
