package store

import (
	"context"
	"database/sql"
	"errors"
)

// State is a durable map of small values within one space, for what a part must remember over a restart.
type State struct {
	file  *file
	space string
}

// State gives access to a space, for instance "capture/shop".
func (s *Store) State(space string) State { return State{s.file, space} }

// Get returns the value of key; ok is false where there is none.
func (s State) Get(ctx context.Context, key string) (value []byte, ok bool, err error) {
	return getState(s.file.read.QueryRowContext(ctx, selectState, s.space, key))
}

const selectState = "SELECT value FROM state WHERE space = ? AND key = ?"

func getState(row *sql.Row) (value []byte, ok bool, err error) {
	err = row.Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	return value, err == nil, sqlFault("read state", err)
}

// Put makes value durable under key.
func (s State) Put(ctx context.Context, key string, value []byte) error {
	return s.file.tx(ctx, func(tx *Tx) error { return putState(tx, s.space, key, value) })
}

func putState(tx *Tx, space, key string, value []byte) error {
	if value == nil {
		value = []byte{}
	}
	_, err := tx.Exec("INSERT INTO state (space, key, value) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
		space, key, value)
	return err
}

// Update replaces the value of key by what change makes of it, in one transaction; old is nil where there is none. An
// error of change leaves everything as it was and is returned.
func (s State) Update(ctx context.Context, key string, change func(old []byte) ([]byte, error)) error {
	return s.file.tx(ctx, func(tx *Tx) error {
		old, _, err := getState(tx.QueryRow(selectState, s.space, key))
		if err != nil {
			return err
		}
		value, err := change(old)
		if err != nil {
			return err
		}
		return putState(tx, s.space, key, value)
	})
}

// Delete forgets key.
func (s State) Delete(ctx context.Context, key string) error {
	return s.file.tx(ctx, func(tx *Tx) error {
		_, err := tx.Exec("DELETE FROM state WHERE space = ? AND key = ?", s.space, key)
		return err
	})
}

// Clear forgets the whole space.
func (s State) Clear(ctx context.Context) error {
	return s.file.tx(ctx, func(tx *Tx) error {
		_, err := tx.Exec("DELETE FROM state WHERE space = ?", s.space)
		return err
	})
}

// All returns everything in the space.
func (s State) All(ctx context.Context) (map[string][]byte, error) {
	rows, err := s.file.read.QueryContext(ctx, "SELECT key, value FROM state WHERE space = ?", s.space)
	if err != nil {
		return nil, sqlFault("read state", err)
	}
	defer rows.Close()
	all := map[string][]byte{}
	for rows.Next() {
		var key string
		var value []byte
		if err := rows.Scan(&key, &value); err != nil {
			return nil, sqlFault("read state", err)
		}
		all[key] = value
	}
	return all, sqlFault("read state", rows.Err())
}
