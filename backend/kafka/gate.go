package kafka

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"freshet/backend/fault"
	"freshet/backend/kafka/internal/wire"
)

// Act is a kind of writing that a cluster can be unlocked for.
type Act string

const (
	Produce Act = "produce" // records and transactions
	Commit  Act = "commit"  // a group's offsets
	Group   Act = "group"   // membership of groups
	Create  Act = "create"  // topics and partitions
	Delete  Act = "delete"  // topics, records, groups, offsets
	Alter   Act = "alter"   // configurations, placement of partitions
)

// Acts are all of them.
func Acts() []Act { return []Act{Produce, Commit, Group, Create, Delete, Alter} }

// ParseActs reads names of acts.
func ParseActs(names []string) ([]Act, error) {
	acts := make([]Act, 0, len(names))
	for _, n := range names {
		a := Act(strings.TrimSpace(n))
		if !slices.Contains(Acts(), a) {
			return nil, fault.New(fault.Invalid, "read acts", fmt.Sprintf("use some of %s", join(Acts())), "there is no act %q", n)
		}
		acts = append(acts, a)
	}
	return acts, nil
}

func join(acts []Act) string {
	names := make([]string, len(acts))
	for i, a := range acts {
		names[i] = string(a)
	}
	return strings.Join(names, ", ")
}

const (
	read  Act = "read"
	never Act = "" // between brokers, security, telemetry: Freshet sends none of them
)

// keyActs says what each request does. A key that is not here is refused.
var keyActs = [...]struct {
	key int16
	act Act
}{
	{0, Produce},  // Produce
	{1, read},     // Fetch
	{2, read},     // ListOffsets
	{3, read},     // Metadata, unless it creates topics: see check
	{8, Commit},   // OffsetCommit
	{9, read},     // OffsetFetch
	{10, read},    // FindCoordinator
	{11, Group},   // JoinGroup
	{12, Group},   // Heartbeat
	{13, Group},   // LeaveGroup
	{14, Group},   // SyncGroup
	{15, read},    // DescribeGroups
	{16, read},    // ListGroups
	{17, read},    // SASLHandshake
	{18, read},    // ApiVersions
	{19, Create},  // CreateTopics
	{20, Delete},  // DeleteTopics
	{21, Delete},  // DeleteRecords
	{22, Produce}, // InitProducerID
	{23, read},    // OffsetForLeaderEpoch
	{24, Produce}, // AddPartitionsToTxn
	{25, Commit},  // AddOffsetsToTxn
	{26, Produce}, // EndTxn
	{28, Commit},  // TxnOffsetCommit
	{29, read},    // DescribeACLs
	{32, read},    // DescribeConfigs
	{33, Alter},   // AlterConfigs
	{34, Alter},   // AlterReplicaLogDirs
	{35, read},    // DescribeLogDirs
	{36, read},    // SASLAuthenticate
	{37, Create},  // CreatePartitions
	{42, Delete},  // DeleteGroups
	{43, Alter},   // ElectLeaders
	{44, Alter},   // IncrementalAlterConfigs
	{45, Alter},   // AlterPartitionAssignments
	{46, read},    // ListPartitionReassignments
	{47, Delete},  // OffsetDelete
	{48, read},    // DescribeClientQuotas
	{50, read},    // DescribeUserSCRAMCredentials
	{55, read},    // DescribeQuorum
	{60, read},    // DescribeCluster
	{61, read},    // DescribeProducers
	{65, read},    // DescribeTransactions
	{66, read},    // ListTransactions
	{68, Group},   // ConsumerGroupHeartbeat
	{69, read},    // ConsumerGroupDescribe
	{74, read},    // ListConfigResources
	{75, read},    // DescribeTopicPartitions
	{76, Group},   // ShareGroupHeartbeat
	{77, read},    // ShareGroupDescribe
	{78, Group},   // ShareFetch: it takes records from the group's other members
	{79, Group},   // ShareAcknowledge
	{88, Group},   // StreamsGroupHeartbeat
	{89, read},    // StreamsGroupDescribe
	{90, read},    // DescribeShareGroupOffsets
	{91, Commit},  // AlterShareGroupOffsets
	{92, Delete},  // DeleteShareGroupOffsets
}

func actOf(key int16) Act {
	i, found := slices.BinarySearchFunc(keyActs[:], key, func(k struct {
		key int16
		act Act
	}, key int16) int {
		return int(k.key) - int(key)
	})
	if !found {
		return never
	}
	return keyActs[i].act
}

// Grant is what a part of Freshet may do on a cluster for good.
type Grant struct {
	Acts []Act
	// Topics, where there are any, are the only ones that may be written, created or deleted. One that ends in * stands
	// for all that begin like it.
	Topics []string
}

func (g *Grant) topic(name string) bool {
	return len(g.Topics) == 0 || slices.ContainsFunc(g.Topics, func(p string) bool {
		prefix, wild := strings.CutSuffix(p, "*")
		return wild && strings.HasPrefix(name, prefix) || p == name
	})
}

// Gate decides for each request on its way out whether it may leave. A refusal is fault.Denied.
type Gate struct {
	cluster string
	open    bool  // for good: Freshet's own broker
	grant   Grant // fixed, of a part of Freshet; its gate cannot be unlocked

	mu    sync.Mutex
	until time.Time
	acts  []Act
}

func newGate(cluster string, open bool) *Gate { return &Gate{cluster: cluster, open: open} }

func grantGate(cluster string, g Grant) *Gate { return &Gate{cluster: cluster, grant: g} }

// GateState is what a gate lets through.
type GateState struct {
	Locked bool      // nothing that writes
	Until  time.Time // of an unlocked one; zero: for good
	Acts   []Act
}

// State tells what the gate lets through now.
func (g *Gate) State() GateState {
	switch {
	case g.open:
		return GateState{Acts: Acts()}
	case len(g.grant.Acts) > 0:
		return GateState{Acts: g.grant.Acts}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !time.Now().Before(g.until) {
		return GateState{Locked: true}
	}
	return GateState{Until: g.until, Acts: slices.Clone(g.acts)}
}

// Unlock lets acts through until a time, instead of what was unlocked before. Without acts it is all of them.
func (g *Gate) Unlock(until time.Time, acts ...Act) {
	if len(acts) == 0 {
		acts = Acts()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	// The wall clock decides: the monotonic one stands still while the machine sleeps.
	g.until, g.acts = until.Round(0), slices.Clone(acts)
}

// Lock lets nothing more through that writes.
func (g *Gate) Lock() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.until, g.acts = time.Time{}, nil
}

// Allows returns nil where act may be done now, and why not where it may not. Asking first gives a better answer than
// being stopped halfway; the gate stops it either way.
func (g *Gate) Allows(act Act) error {
	if g.lets(act) {
		return nil
	}
	return g.refusal(string(act), g.State())
}

// lets allocates nothing: it is asked for every record.
func (g *Gate) lets(act Act) bool {
	switch {
	case act == read:
		return true
	case act == never:
		return false
	case g.open:
		return true
	case len(g.grant.Acts) > 0:
		return slices.Contains(g.grant.Acts, act)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Contains(g.acts, act) && time.Now().Before(g.until)
}

func (g *Gate) refusal(what string, s GateState) error {
	op := "write to cluster " + g.cluster
	switch {
	case what == "":
		return fault.New(fault.Denied, op, "", "Freshet never sends this request")
	case len(g.grant.Acts) > 0:
		return &fault.Error{Kind: fault.Denied, Op: op, Code: "NOT_GRANTED", Err: fmt.Errorf("%s was not granted to this part of Freshet", what)}
	}
	next := fmt.Sprintf("freshet clusters unlock %s --for 1h --acts %s", g.cluster, what)
	if s.Locked {
		return &fault.Error{Kind: fault.Denied, Op: op, Code: "CLUSTER_LOCKED", Next: next,
			Err: fmt.Errorf("the cluster is read-only, %s is not allowed", what)}
	}
	return &fault.Error{Kind: fault.Denied, Op: op, Code: "CLUSTER_LOCKED", Next: next,
		Err: fmt.Errorf("the cluster is unlocked for %s, not for %s", join(s.Acts), what)}
}

// check decides on one request, a frame without its length.
func (g *Gate) check(frame []byte) error {
	h, err := wire.ParseHeader(frame)
	if err != nil {
		return fault.New(fault.Denied, "write to cluster "+g.cluster, "", "a request that cannot be recognised (key %d)", h.Key)
	}
	act := actOf(h.Key)
	if act == never {
		return fault.New(fault.Denied, "write to cluster "+g.cluster, "", "Freshet never sends %s", kmsg.NameForKey(h.Key))
	}
	if h.Key == wire.Metadata {
		req := kmsg.NewPtrMetadataRequest()
		req.SetVersion(h.Version)
		if err := req.ReadFrom(frame[h.Body:]); err != nil {
			return fault.Wrap(fault.Internal, "ask cluster "+g.cluster, err, "")
		}
		// Before version 4 a broker may create what it is asked about.
		if req.AllowAutoTopicCreation || h.Version < 4 && len(req.Topics) > 0 {
			act = Create
		}
	}
	if act == read {
		return nil
	}
	if err := g.Allows(act); err != nil {
		return err
	}
	if len(g.grant.Topics) > 0 {
		return g.checkTopics(h, frame[h.Body:])
	}
	return nil
}

// checkTopics holds a grant to its topics.
func (g *Gate) checkTopics(h wire.Header, body []byte) error {
	refuse := func(name string) error {
		return &fault.Error{Kind: fault.Denied, Op: "write to cluster " + g.cluster, Code: "NOT_GRANTED",
			Err: fmt.Errorf("%s on topic %q was not granted to this part of Freshet", kmsg.NameForKey(h.Key), name)}
	}
	var names []string
	var req kmsg.Request
	switch h.Key {
	case wire.Produce:
		_, _, err := wire.ParseProduce(h.Version, body, func(b *wire.Batch) error {
			if b.Topic == nil || !g.grant.topic(string(b.Topic)) {
				return refuse(string(b.Topic))
			}
			return nil
		})
		return err
	case wire.InitProducerID, wire.EndTxn:
		return nil // of no topic
	case wire.AddPartitionsToTxn:
		req = kmsg.NewPtrAddPartitionsToTxnRequest()
	case wire.CreateTopics:
		req = kmsg.NewPtrCreateTopicsRequest()
	default:
		return refuse("")
	}
	req.SetVersion(h.Version)
	if err := req.ReadFrom(body); err != nil {
		return fault.Wrap(fault.Internal, "write to cluster "+g.cluster, err, "")
	}
	switch req := req.(type) {
	case *kmsg.AddPartitionsToTxnRequest:
		for _, t := range req.Topics {
			names = append(names, t.Topic)
		}
	case *kmsg.CreateTopicsRequest:
		for _, t := range req.Topics {
			names = append(names, t.Topic)
		}
	}
	if len(names) == 0 {
		return refuse("")
	}
	for _, n := range names {
		if !g.grant.topic(n) {
			return refuse(n)
		}
	}
	return nil
}

// namedVersions are the newest versions in which the requests that checkTopics reads name their topics.
func namedVersions() *kversion.Versions {
	v := kversion.Stable()
	v.SetMaxKeyVersion(wire.Produce, 12)
	v.SetMaxKeyVersion(wire.AddPartitionsToTxn, 3)
	return v
}

// gatedConn is a connection that only sends what its gate allows. kgo writes whole requests.
type gatedConn struct {
	net.Conn
	gate    *Gate
	refused *refusals
}

func (c *gatedConn) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		if len(rest) < 4 {
			return 0, errPartial
		}
		n := int(binary.BigEndian.Uint32(rest))
		if n > len(rest)-4 {
			return 0, errPartial
		}
		frame := rest[4 : 4+n]
		if err := c.gate.check(frame); err != nil {
			if h, _ := wire.ParseHeader(frame); h.Key == wire.Produce || h.Key == wire.InitProducerID {
				c.refused.produce()
			}
			return 0, err
		}
		rest = rest[4+n:]
	}
	return c.Conn.Write(b)
}

var errPartial = fault.New(fault.Internal, "write to cluster", "", "a write that is not whole requests cannot be judged and does not leave")
