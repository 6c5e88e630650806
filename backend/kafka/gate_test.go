package kafka

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"freshet/backend/fault"
)

func frame(req kmsg.Request) []byte {
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("freshet/test")).AppendRequest(nil, req, 1)
}

// What each request that kmsg knows may do on a locked cluster, and the act that lets it through. Empty is never. A key
// that is new in kmsg fails the test until somebody has decided.
var decided = map[string]Act{
	"Produce": Produce, "Fetch": read, "ListOffsets": read, "Metadata": read, "LeaderAndISR": never, "StopReplica": never,
	"UpdateMetadata": never, "ControlledShutdown": never, "OffsetCommit": Commit, "OffsetFetch": read, "FindCoordinator": read,
	"JoinGroup": Group, "Heartbeat": Group, "LeaveGroup": Group, "SyncGroup": Group, "DescribeGroups": read, "ListGroups": read,
	"SASLHandshake": read, "ApiVersions": read, "CreateTopics": Create, "DeleteTopics": Delete, "DeleteRecords": Delete,
	"InitProducerID": Produce, "OffsetForLeaderEpoch": read, "AddPartitionsToTxn": Produce, "AddOffsetsToTxn": Commit,
	"EndTxn": Produce, "WriteTxnMarkers": never, "TxnOffsetCommit": Commit, "DescribeACLs": read, "CreateACLs": never,
	"DeleteACLs": never, "DescribeConfigs": read, "AlterConfigs": Alter, "AlterReplicaLogDirs": Alter, "DescribeLogDirs": read,
	"SASLAuthenticate": read, "CreatePartitions": Create, "CreateDelegationToken": never, "RenewDelegationToken": never,
	"ExpireDelegationToken": never, "DescribeDelegationToken": never, "DeleteGroups": Delete, "ElectLeaders": Alter,
	"IncrementalAlterConfigs": Alter, "AlterPartitionAssignments": Alter, "ListPartitionReassignments": read, "OffsetDelete": Delete,
	"DescribeClientQuotas": read, "AlterClientQuotas": never, "DescribeUserSCRAMCredentials": read, "AlterUserSCRAMCredentials": never,
	"Vote": never, "BeginQuorumEpoch": never, "EndQuorumEpoch": never, "DescribeQuorum": read, "AlterPartition": never,
	"UpdateFeatures": never, "Envelope": never, "FetchSnapshot": never, "DescribeCluster": read, "DescribeProducers": read,
	"BrokerRegistration": never, "BrokerHeartbeat": never, "UnregisterBroker": never, "DescribeTransactions": read,
	"ListTransactions": read, "AllocateProducerIDs": never, "ConsumerGroupHeartbeat": Group, "ConsumerGroupDescribe": read,
	"ControllerRegistration": never, "GetTelemetrySubscriptions": never, "PushTelemetry": never, "AssignReplicasToDirs": never,
	"ListConfigResources": read, "DescribeTopicPartitions": read, "ShareGroupHeartbeat": Group, "ShareGroupDescribe": read,
	"ShareFetch": Group, "ShareAcknowledge": Group, "AddRaftVoter": never, "RemoveRaftVoter": never, "UpdateRaftVoter": never,
	"InitializeShareGroupState": never, "ReadShareGroupState": never, "WriteShareGroupState": never, "DeleteShareGroupState": never,
	"ReadShareGroupStateSummary": never, "StreamsGroupHeartbeat": Group, "StreamsGroupDescribe": read,
	"DescribeShareGroupOffsets": read, "AlterShareGroupOffsets": Commit, "DeleteShareGroupOffsets": Delete,
	"StreamsGroupTopologyDescriptionUpdate": never, "UnregisterController": never,
}

func TestEveryKey(t *testing.T) {
	locked, own := newGate("prod", false), newGate("embedded", true)
	for key := range int16(kmsg.MaxKey + 1) {
		req := kmsg.RequestForKey(key)
		if req == nil {
			if actOf(key) != never {
				t.Errorf("key %d, which kmsg does not know, may do %q", key, actOf(key))
			}
			continue
		}
		name := kmsg.NameForKey(key)
		act, ok := decided[name]
		if !ok {
			t.Errorf("nobody has decided what %s (%d) may do", name, key)
			continue
		}
		if got := actOf(key); got != act {
			t.Errorf("%s may do %q, decided is %q", name, got, act)
		}
		req.SetVersion(req.MaxVersion())
		if m, ok := req.(*kmsg.MetadataRequest); ok {
			m.AllowAutoTopicCreation = false
		}
		f := frame(req)[4:]
		err := locked.check(f)
		if (err == nil) != (act == read) || err != nil && !fault.Is(err, fault.Denied) {
			t.Errorf("%s on a locked cluster: %v", name, err)
		}
		if act != read && act != never && !strings.Contains(err.Error(), "freshet clusters unlock prod --for 1h --acts "+string(act)) {
			t.Errorf("%s: %v", name, err)
		}
		if err := own.check(f); (err == nil) != (act != never) {
			t.Errorf("%s on the local broker: %v", name, err)
		}
		for _, unlocked := range Acts() {
			locked.Unlock(time.Now().Add(time.Hour), unlocked)
			if err := locked.check(f); (err == nil) != (act == read || act == unlocked) {
				t.Errorf("%s, unlocked for %s: %v", name, unlocked, err)
			}
			locked.Lock()
		}
	}
	for name := range decided {
		if kmsgKey(name) < 0 {
			t.Errorf("kmsg knows no %s", name)
		}
	}
	if !slices.IsSortedFunc(keyActs[:], func(a, b struct {
		key int16
		act Act
	}) int {
		return int(a.key) - int(b.key)
	}) {
		t.Error("keyActs is not in order")
	}
}

func kmsgKey(name string) int16 {
	for key := range int16(kmsg.MaxKey + 1) {
		if kmsg.NameForKey(key) == name {
			return key
		}
	}
	return -1
}

// Asking about a topic is reading, unless it may make one.
func TestMetadataThatCreates(t *testing.T) {
	g := newGate("prod", false)
	for version := int16(0); version <= kmsg.NewPtrMetadataRequest().MaxVersion(); version++ {
		for _, create := range []bool{false, true} {
			for _, named := range []bool{false, true} {
				req := kmsg.NewPtrMetadataRequest()
				req.SetVersion(version)
				req.AllowAutoTopicCreation = create
				if named {
					topic := kmsg.NewMetadataRequestTopic()
					topic.Topic = kmsg.StringPtr("t")
					req.Topics = append(req.Topics, topic)
				}
				denied := version >= 4 && create || version < 4 && named
				if err := g.check(frame(req)[4:]); fault.Is(err, fault.Denied) != denied {
					t.Errorf("v%d create %t named %t: %v", version, create, named, err)
				}
			}
		}
	}
}

func TestUnlockEnds(t *testing.T) {
	g := newGate("prod", false)
	g.Unlock(time.Now().Add(time.Hour), Produce)
	if err := g.Allows(Produce); err != nil {
		t.Fatal(err)
	}
	if err := g.Allows(Create); !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), "unlocked for produce, not for create") {
		t.Fatal(err)
	}
	g.Unlock(time.Now().Add(-time.Millisecond), Produce)
	if err := g.Allows(Produce); !fault.Is(err, fault.Denied) {
		t.Fatal(err)
	}
	g.Unlock(time.Now().Add(time.Hour)) // all
	if s := g.State(); s.Locked || len(s.Acts) != len(Acts()) {
		t.Fatalf("%+v", s)
	}
	fixed := grantGate("prod", Grant{Acts: []Act{Produce}})
	fixed.Unlock(time.Now().Add(time.Hour))
	if err := fixed.Allows(Create); !fault.Is(err, fault.Denied) || strings.Contains(err.Error(), "unlock") {
		t.Fatal(err)
	}
	if _, err := ParseActs([]string{"produce", "everything"}); !fault.Is(err, fault.Invalid) {
		t.Fatal(err)
	}
}

// sent is a connection that keeps what is written.
type sent struct {
	net.Conn
	b []byte
}

func (s *sent) Write(b []byte) (int, error) {
	s.b = append(s.b, b...)
	return len(b), nil
}

// A write that holds a refused request, or is no whole request, sends nothing at all.
func TestNothingLeaves(t *testing.T) {
	out := &sent{}
	c := &gatedConn{Conn: out, gate: newGate("prod", false), refused: &refusals{}}
	list := frame(kmsg.NewPtrListGroupsRequest())
	create := frame(kmsg.NewPtrCreateTopicsRequest())
	for what, b := range map[string][]byte{
		"a refused request": create, "a refused one after an allowed one": append(slices.Clone(list), create...),
		"half a request": list[:len(list)-3], "two bytes": list[:2], "one and a half": append(slices.Clone(list), list[:9]...),
		"an unknown key": {0, 0, 0, 10, 3, 231, 0, 0, 0, 0, 0, 1, 255, 255},
		"a negative key": {0, 0, 0, 10, 255, 255, 0, 0, 0, 0, 0, 1, 255, 255},
	} {
		if _, err := c.Write(b); err == nil || len(out.b) > 0 {
			t.Errorf("%s: %v, %d bytes left", what, err, len(out.b))
		}
	}
	if n, err := c.Write(append(slices.Clone(list), list...)); err != nil || n != 2*len(list) || len(out.b) != n {
		t.Errorf("%d %v", n, err)
	}
}

func TestGrantTopics(t *testing.T) {
	g := grantGate("prod", Grant{Acts: []Act{Produce, Create}, Topics: []string{"shop.*", "__freshet.schemas"}})
	produce := func(topic string, version int16) kmsg.Request {
		req := kmsg.NewPtrProduceRequest()
		req.SetVersion(version)
		rt := kmsg.NewProduceRequestTopic()
		rt.Topic = topic
		rt.Partitions = append(rt.Partitions, kmsg.NewProduceRequestTopicPartition())
		req.Topics = append(req.Topics, rt)
		return req
	}
	create := func(topics ...string) kmsg.Request {
		req := kmsg.NewPtrCreateTopicsRequest()
		for _, name := range topics {
			rt := kmsg.NewCreateTopicsRequestTopic()
			rt.Topic = name
			req.Topics = append(req.Topics, rt)
		}
		return req
	}
	for what, c := range map[string]struct {
		req     kmsg.Request
		allowed bool
	}{
		"produce to a granted topic": {produce("shop.public.orders", 12), true},
		"produce to the schemas":     {produce("__freshet.schemas", 9), true},
		"produce to another":         {produce("bank.public.orders", 12), false},
		"produce by id":              {produce("shop.public.orders", 13), false},
		"create":                     {create("shop.x"), true},
		"create another beside":      {create("shop.x", "bank.x"), false},
		"create partitions":          {kmsg.NewPtrCreatePartitionsRequest(), false},
		"delete":                     {kmsg.NewPtrDeleteTopicsRequest(), false},
		"begin":                      {kmsg.NewPtrInitProducerIDRequest(), true},
		"read":                       {kmsg.NewPtrListGroupsRequest(), true},
		"commit":                     {kmsg.NewPtrOffsetCommitRequest(), false},
		"add partitions, none named": {kmsg.NewPtrAddPartitionsToTxnRequest(), false},
	} {
		if err := g.check(frame(c.req)[4:]); (err == nil) != c.allowed || err != nil && !fault.Is(err, fault.Denied) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A broker that asks for an unreasonable number of iterations is refused before anything is computed.
func TestScramBomb(t *testing.T) {
	for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
		s := &SASL{Mechanism: mechanism, User: "u", Password: "p"}
		session, first, err := s.mechanism().Authenticate(context.Background(), "h")
		if err != nil {
			t.Fatal(err)
		}
		nonce := string(first[strings.Index(string(first), "r=")+2:])
		for _, iterations := range []string{"2147483647", "1000001", "99999999999999999999", "x"} {
			_, _, err = session.Challenge([]byte("r=" + nonce + "more,s=c2FsdA==,i=" + iterations))
			if !fault.Is(err, fault.Denied) {
				t.Errorf("%s iterations: %v", iterations, err)
			}
		}
		if _, _, err = session.Challenge([]byte("r=" + nonce + "more,s=c2FsdA==,i=4096")); err != nil {
			t.Error(err)
		}
	}
}

func TestSecretsStaySecret(t *testing.T) {
	s := &SASL{Mechanism: "PLAIN", User: "u", Password: "hunter2"}
	for _, text := range []string{s.String(), s.GoString()} {
		if strings.Contains(text, "hunter2") {
			t.Error(text)
		}
	}
}
