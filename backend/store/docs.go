package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"freshet/backend/fault"
)

// Docs holds the definitions of one kind ("cluster", "source", "sink", ...) by name, as JSON. A definition names its
// secrets by reference; one that holds a secret itself is refused.
type Docs[T any] struct {
	store *Store
	kind  string
}

// Doc is one definition as stored.
type Doc[T any] struct {
	Name    string
	Value   T
	Updated time.Time
}

// DocsOf gives access to the definitions of a kind.
func DocsOf[T any](s *Store, kind string) Docs[T] { return Docs[T]{s, kind} }

// Create stores a definition; fault.Exists where the name is taken.
func (d Docs[T]) Create(ctx context.Context, name string, v T) error {
	return d.put(ctx, name, v, "INSERT INTO doc (kind, name, body, updated_us) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
		fault.Exists, "there is one already", "choose another name")
}

// Put stores a definition, in place of what the name held.
func (d Docs[T]) Put(ctx context.Context, name string, v T) error {
	return d.put(ctx, name, v, `INSERT INTO doc (kind, name, body, updated_us) VALUES (?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET body = excluded.body, updated_us = excluded.updated_us`, fault.Internal, "not stored", "")
}

func (d Docs[T]) put(ctx context.Context, name string, v T, query string, unchanged fault.Kind, why, next string) error {
	op := "store " + d.kind + " " + name
	if name == "" {
		return fault.New(fault.Invalid, op, "give it a name", "no name")
	}
	body, err := json.Marshal(v)
	if err != nil {
		return fault.Wrap(fault.Internal, op, err, "")
	}
	if d.store.refuseDoc != nil {
		if err := d.store.refuseDoc(body); err != nil {
			return fault.Wrap(fault.Invalid, op, err, "give secrets by reference")
		}
	}
	return d.store.file.tx(ctx, func(tx *Tx) error {
		res, err := tx.Exec(query, d.kind, name, string(body), time.Now().UnixMicro())
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 1 {
			return err
		}
		return fault.New(unchanged, op, next, "%s", why)
	})
}

// Get returns a definition; fault.NotFound where there is none.
func (d Docs[T]) Get(ctx context.Context, name string) (Doc[T], error) {
	op := "read " + d.kind + " " + name
	row := d.store.file.read.QueryRowContext(ctx, "SELECT name, body, updated_us FROM doc WHERE kind = ? AND name = ?", d.kind, name)
	doc, err := scanDoc[T](row)
	if errors.Is(err, sql.ErrNoRows) {
		return doc, fault.New(fault.NotFound, op, "", "no %s of this name", d.kind)
	}
	return doc, sqlFault(op, err)
}

// List returns all definitions by name.
func (d Docs[T]) List(ctx context.Context) ([]Doc[T], error) {
	op := "list " + d.kind
	rows, err := d.store.file.read.QueryContext(ctx, "SELECT name, body, updated_us FROM doc WHERE kind = ? ORDER BY name", d.kind)
	if err != nil {
		return nil, sqlFault(op, err)
	}
	defer rows.Close()
	var docs []Doc[T]
	for rows.Next() {
		doc, err := scanDoc[T](rows)
		if err != nil {
			return nil, sqlFault(op, err)
		}
		docs = append(docs, doc)
	}
	return docs, sqlFault(op, rows.Err())
}

// Delete removes a definition; fault.NotFound where there is none.
func (d Docs[T]) Delete(ctx context.Context, name string) error {
	return d.store.file.tx(ctx, func(tx *Tx) error {
		res, err := tx.Exec("DELETE FROM doc WHERE kind = ? AND name = ?", d.kind, name)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 1 {
			return err
		}
		return fault.New(fault.NotFound, "delete "+d.kind+" "+name, "", "no %s of this name", d.kind)
	})
}

func scanDoc[T any](row interface{ Scan(...any) error }) (Doc[T], error) {
	var doc Doc[T]
	var body string
	var us int64
	if err := row.Scan(&doc.Name, &body, &us); err != nil {
		return doc, err
	}
	doc.Updated = time.UnixMicro(us).UTC()
	return doc, json.Unmarshal([]byte(body), &doc.Value)
}
