package app

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"freshet/backend/fault"
	"freshet/backend/store"
	"freshet/replay"
)

// connectorStore keeps fed sinks and, where a sink holds no progress, how far each partition is; it implements
// replay.ConnectorStore.
type connectorStore struct {
	docs store.Docs[replay.Connector]
	of   func(space string) store.State
}

func (c connectorStore) Connectors(ctx context.Context) ([]replay.Connector, error) {
	docs, err := c.docs.List(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]replay.Connector, len(docs))
	for i, d := range docs {
		all[i] = d.Value
	}
	return all, nil
}

func (c connectorStore) SaveConnector(ctx context.Context, def replay.Connector) error {
	return c.docs.Put(ctx, def.Name, def)
}

func (c connectorStore) DeleteConnector(ctx context.Context, name string) error {
	if err := c.docs.Delete(ctx, name); err != nil {
		return err
	}
	return c.of("connector/" + name).Clear(ctx)
}

func (c connectorStore) TakeConnector(ctx context.Context, name string) (int64, error) {
	var epoch int64
	err := c.of("connector-epoch").Update(ctx, name, func(old []byte) ([]byte, error) {
		last := int64(0)
		if old != nil {
			var err error
			if last, err = strconv.ParseInt(string(old), 10, 64); err != nil {
				return nil, fault.Wrap(fault.Blocked, "take sink "+name, err, "freshet.db is damaged: put back a copy")
			}
		}
		epoch = last + 1
		return strconv.AppendInt(nil, epoch, 10), nil
	})
	return epoch, err
}

func (c connectorStore) ConnectorShards(ctx context.Context, name string) ([]replay.ConnectorShard, error) {
	all, err := c.of("connector/" + name).All(ctx)
	if err != nil {
		return nil, err
	}
	shards := make([]replay.ConnectorShard, 0, len(all))
	for key, b := range all {
		var s replay.ConnectorShard
		if err := json.Unmarshal(b, &s); err != nil {
			return nil, fault.Wrap(fault.Blocked, "read the progress of sink "+name+" with "+key, err, "freshet.db is damaged: put back a copy")
		}
		shards = append(shards, s)
	}
	return shards, nil
}

func (c connectorStore) SaveConnectorShards(ctx context.Context, name string, shards []replay.ConnectorShard) error {
	state := c.of("connector/" + name)
	for _, s := range shards {
		b, err := json.Marshal(s)
		if err != nil {
			return err
		}
		if err := state.Put(ctx, fmt.Sprintf("%s/%d", s.Topic, s.Partition), b); err != nil {
			return err
		}
	}
	return nil
}
