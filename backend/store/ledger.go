package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"freshet/backend/auditlog"
	"freshet/backend/fault"
)

// Ledger is ledger.db: the audit history, and whatever must be committed together with an entry of it.
type Ledger struct {
	file    *file
	log     *slog.Logger
	origin  string
	trouble error
}

func openLedger(ctx context.Context, dir string, o Options) (*Ledger, error) {
	f, err := openFile(ctx, filepath.Join(dir, "ledger.db"), "ledger", o.Log)
	if err != nil {
		return nil, err
	}
	l := &Ledger{file: f, log: o.Log}
	f.tree, err = loadTree(ctx, f.read)
	f.start()
	if err == nil {
		err = l.begin(ctx)
	}
	if err != nil {
		return nil, errors.Join(sqlFault("open "+f.path, err), f.close())
	}
	return l, nil
}

// begin gives a new ledger its identity and first entry, and closes what the last run left open.
func (l *Ledger) begin(ctx context.Context) error {
	return l.file.tx(ctx, func(tx *Tx) error {
		err := tx.QueryRow("SELECT value FROM audit_meta WHERE name = 'origin'").Scan(&l.origin)
		if errors.Is(err, sql.ErrNoRows) && tx.tree.Size() == 0 {
			return l.create(tx)
		}
		if err != nil {
			return err
		}
		return closeOpen(tx)
	})
}

func (l *Ledger) create(tx *Tx) error {
	l.origin = "freshet/" + strings.ToLower(rand.Text()[:20])
	if _, err := tx.Exec("INSERT INTO audit_meta (name, value) VALUES ('origin', ?)", l.origin); err != nil {
		return err
	}
	detail, err := json.Marshal(map[string]string{"origin": l.origin})
	if err != nil {
		return err
	}
	_, err = tx.Audit(auditlog.Entry{Actor: "system", Action: "audit.create", Phase: auditlog.Note, Subject: l.origin, Detail: detail})
	return err
}

// closeOpen gives every intent without a result the result "interrupted".
func closeOpen(tx *Tx) error {
	rows, err := tx.Query("SELECT e.leaf FROM audit_open o JOIN audit_entry e USING (seq) ORDER BY seq")
	if err != nil {
		return err
	}
	defer rows.Close()
	var open []auditlog.Entry
	for rows.Next() {
		var leaf []byte
		if err := rows.Scan(&leaf); err != nil {
			return err
		}
		e, _, err := auditlog.DecodeLeaf(leaf)
		if err != nil {
			return err
		}
		open = append(open, e)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for _, e := range open {
		r := auditlog.Entry{Actor: "system", Action: e.Action, Phase: auditlog.Result, Ref: &e.Seq, Subject: e.Subject, Outcome: "interrupted"}
		if _, err := tx.Audit(r); err != nil {
			return err
		}
	}
	return nil
}

// Trouble is why the ledger takes nothing more, nil where it does.
func (l *Ledger) Trouble() error { return l.trouble }

// Origin names this ledger: "freshet/" and the workspace's id. It is the first line of every checkpoint.
func (l *Ledger) Origin() string { return l.origin }

// Tx runs fn in a write transaction and returns when it is on the disk. Callers that come together share a commit, so fn
// must not wait for anything; its error undoes its own part. An entry that fn appends with Tx.Audit is committed
// together with everything else that fn did, or not at all.
func (l *Ledger) Tx(ctx context.Context, fn func(tx *Tx) error) error {
	if l.trouble != nil {
		return l.trouble
	}
	return l.file.tx(ctx, fn)
}

// Record makes e durable and returns its Seq.
func (l *Ledger) Record(ctx context.Context, e auditlog.Entry) (seq uint64, err error) {
	err = l.Tx(ctx, func(tx *Tx) (err error) {
		seq, err = tx.Audit(e)
		return err
	})
	return seq, err
}

// Audit appends an entry within the transaction and returns its Seq. Only the ledger's transactions can.
func (t *Tx) Audit(e auditlog.Entry) (uint64, error) {
	e.Seq = t.tree.Size()
	e.At = time.Now().UTC()
	leaf, err := auditlog.EncodeLeaf(e, t.tree.Last())
	if err != nil {
		return 0, err
	}
	tree, hashes := t.tree.Append(tlog.RecordHash(leaf))
	if _, err := t.Exec("INSERT INTO audit_entry (seq, leaf) VALUES (?, ?)", e.Seq, string(leaf)); err != nil {
		return 0, err
	}
	index := tlog.StoredHashIndex(0, int64(e.Seq))
	for i, h := range hashes {
		if _, err := t.Exec("INSERT INTO audit_hash (idx, hash) VALUES (?, ?)", index+int64(i), h[:]); err != nil {
			return 0, err
		}
	}
	switch e.Phase {
	case auditlog.Intent:
		_, err = t.Exec("INSERT INTO audit_open (seq) VALUES (?)", e.Seq)
	case auditlog.Result:
		_, err = t.Exec("DELETE FROM audit_open WHERE seq = ?", *e.Ref)
	}
	if err != nil {
		return 0, err
	}
	t.tree = tree
	return e.Seq, nil
}

// loadTree reads the right edge of the tree. Its size is what the entries say.
func loadTree(ctx context.Context, db *sql.DB) (auditlog.Tree, error) {
	var size uint64
	if err := db.QueryRowContext(ctx, "SELECT coalesce(max(seq) + 1, 0) FROM audit_entry").Scan(&size); err != nil {
		return auditlog.Tree{}, err
	}
	return auditlog.LoadTree(size, hashReader(ctx, db))
}

func hashReader(ctx context.Context, db *sql.DB) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			var b []byte
			if err := db.QueryRowContext(ctx, "SELECT hash FROM audit_hash WHERE idx = ?", index).Scan(&b); err != nil {
				return nil, fmt.Errorf("tree hash %d: %w", index, err)
			}
			if len(b) != tlog.HashSize {
				return nil, fault.New(fault.Tampered, "read tree hash", "", "hash %d has %d bytes", index, len(b))
			}
			copy(hashes[i][:], b)
		}
		return hashes, nil
	})
}

func (l *Ledger) close() error { return l.file.close() }
