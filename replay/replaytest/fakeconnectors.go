package replaytest

import (
	"context"
	"sync"

	"freshet/backend/stream"
	"freshet/replay"
)

// MemoryConnectors is a replay.ConnectorStore in memory. The zero value is ready.
type MemoryConnectors struct {
	mu     sync.Mutex
	defs   map[string]replay.Connector
	epochs map[string]int64
	shards map[string]map[stream.TopicPartition]replay.ConnectorShard
}

var _ replay.ConnectorStore = (*MemoryConnectors)(nil)

// Connectors implements replay.ConnectorStore.
func (m *MemoryConnectors) Connectors(context.Context) ([]replay.Connector, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []replay.Connector
	for _, c := range m.defs {
		out = append(out, c)
	}
	return out, nil
}

// SaveConnector implements replay.ConnectorStore.
func (m *MemoryConnectors) SaveConnector(_ context.Context, c replay.Connector) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.defs == nil {
		m.defs = map[string]replay.Connector{}
	}
	m.defs[c.Name] = c
	return nil
}

// DeleteConnector implements replay.ConnectorStore.
func (m *MemoryConnectors) DeleteConnector(_ context.Context, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.defs, name)
	delete(m.shards, name)
	return nil
}

// TakeConnector implements replay.ConnectorStore.
func (m *MemoryConnectors) TakeConnector(_ context.Context, name string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.epochs == nil {
		m.epochs = map[string]int64{}
	}
	m.epochs[name]++
	return m.epochs[name], nil
}

// ConnectorShards implements replay.ConnectorStore.
func (m *MemoryConnectors) ConnectorShards(_ context.Context, name string) ([]replay.ConnectorShard, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []replay.ConnectorShard
	for _, s := range m.shards[name] {
		out = append(out, s)
	}
	return out, nil
}

// SaveConnectorShards implements replay.ConnectorStore.
func (m *MemoryConnectors) SaveConnectorShards(_ context.Context, name string, shards []replay.ConnectorShard) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.shards == nil {
		m.shards = map[string]map[stream.TopicPartition]replay.ConnectorShard{}
	}
	if m.shards[name] == nil {
		m.shards[name] = map[stream.TopicPartition]replay.ConnectorShard{}
	}
	for _, s := range shards {
		m.shards[name][stream.TopicPartition{Topic: s.Topic, Partition: s.Partition}] = s
	}
	return nil
}
