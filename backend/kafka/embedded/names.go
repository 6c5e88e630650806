package embedded

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kfake"
)

// part is one partition.
type part struct {
	topic     string
	partition int32
}

// topicNames knows topics' names by their ids.
type topicNames struct {
	cluster *kfake.Cluster
	up      *upness
	mu      sync.RWMutex
	m       map[[16]byte]string
}

func newTopicNames(up *upness) *topicNames { return &topicNames{up: up, m: make(map[[16]byte]string)} }

const maxNames = 100_000

// of is "" for an id that no topic has.
func (n *topicNames) of(id [16]byte) string {
	n.mu.RLock()
	name, ok := n.m[id]
	n.mu.RUnlock()
	if ok {
		return name
	}
	if !n.up.enter() {
		return ""
	}
	info := n.cluster.TopicIDInfo(id)
	n.up.leave()
	if info == nil {
		return ""
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.m) >= maxNames {
		clear(n.m)
	}
	n.m[id] = info.Topic
	return info.Topic
}

// upness keeps those who ask kfake from inside from asking after its end, which they would wait for for ever.
type upness struct {
	mu   sync.RWMutex
	down bool
}

func (u *upness) enter() bool {
	u.mu.RLock()
	if u.down {
		u.mu.RUnlock()
		return false
	}
	return true
}

func (u *upness) leave() { u.mu.RUnlock() }

// end returns when nobody asks any more, and nobody will.
func (u *upness) end() {
	u.mu.Lock()
	u.down = true
	u.mu.Unlock()
}
