package cdc

import (
	"context"

	"freshet/backend/stream"
)

// Log is the log that captured records are appended to. backend/kafka implements it, for the local broker and for real
// clusters.
type Log interface {
	// EnsureTopic makes the topic where it is missing; one that exists is left as it is.
	EnsureTopic(ctx context.Context, topic string, partitions int32, config map[string]string) error

	// Append writes r to the partition that r names, blocking only while the log's own buffer is full. Key, Value and
	// Headers belong to the log until done is called: once, in the partition's order, from another goroutine, with nil
	// only if every replica that must have the record has it. done must not block. r itself may be reused when Append
	// returns.
	// An error from Append means that done will not be called.
	Append(ctx context.Context, r *stream.Record, done func(error)) error

	// Sync returns when every record whose done(nil) was called before Sync was is on stable storage. An error means
	// that nothing may be confirmed, now or later, before the log was opened anew.
	Sync(ctx context.Context) error

	// Last returns the last record of each partition of topic, without the partitions that hold none.
	Last(ctx context.Context, topic string) (map[int32]stream.Record, error)
}
