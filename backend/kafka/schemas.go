package kafka

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"

	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/replay"
)

// Schemas finds the columns that captured records were written with, by the ID in their header stream.SchemaHeader.
type Schemas struct {
	c  *Cluster
	mu sync.Mutex // held while the topic is read, so that it is read once
	// known are all that were read up to next of the topic id.
	known map[string]stream.TableSchema
	id    [16]byte
	next  int64
}

// Schemas are the cluster's. They share one cache.
func (c *Cluster) Schemas() *Schemas { return c.schemas }

// Schema returns the schema of an ID, fault.NotFound where the cluster holds none.
func (s *Schemas) Schema(ctx context.Context, id string) (stream.TableSchema, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if schema, ok := s.known[id]; ok {
		return schema, nil
	}
	if err := s.read(ctx); err != nil && !fault.Is(err, fault.NotFound) {
		return stream.TableSchema{}, err
	}
	if schema, ok := s.known[id]; ok {
		return schema, nil
	}
	return stream.TableSchema{}, fault.New(fault.NotFound, "find schema "+id, "the record may have been copied from another cluster, without "+stream.SchemaTopic,
		"cluster %s holds no schema of this id", s.c.o.Name)
}

// read goes on to the topic's end.
func (s *Schemas) read(ctx context.Context) error {
	topics, err := s.c.Topics(ctx, false, stream.SchemaTopic)
	if err != nil {
		return err
	}
	if len(topics) != 1 || len(topics[0].Partitions) == 0 {
		return s.c.noTopic(stream.SchemaTopic)
	}
	t := topics[0]
	if t.Err != nil {
		return t.Err
	}
	p := t.Partitions[0]
	if p.Err != nil {
		return p.Err
	}
	if t.ID != s.id || s.next < p.Start {
		s.id, s.next = t.ID, p.Start // made anew; what is known of it stays true
	}
	r, err := s.c.Read(ctx, replay.ReadRequest{Topic: stream.SchemaTopic, TopicID: t.ID, From: s.next, To: p.Stable})
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		b, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, rec := range b.Records {
			var schema stream.TableSchema
			if err := json.Unmarshal(rec.Value, &schema); err != nil || schema.ID != string(rec.Key) {
				s.c.log.Warn("a schema cannot be read", "topic", stream.SchemaTopic, "offset", rec.Offset)
				continue
			}
			s.known[schema.ID] = schema
		}
		s.next = b.Next
	}
}
