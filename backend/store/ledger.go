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
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"freshet/backend/auditlog"
	"freshet/backend/fault"
)

// Ledger is ledger.db: the audit history, and whatever must be committed together with an entry of it.
type Ledger struct {
	file *file
	log  *slog.Logger
	auditReader
	signing

	mu      sync.Mutex
	trouble error
}

func openLedger(ctx context.Context, dir string, o Options) (*Ledger, error) {
	path := filepath.Join(dir, "ledger.db")
	if found, err := checkWAL(path + "-wal"); err != nil || len(found) > 0 {
		o.Log.Warn("the ledger's write-ahead log is not as it was written; after a power failure that is its unfinished end", "found", found, "err", err)
	}
	f, err := openFile(ctx, path, "ledger", o.Log)
	if err != nil {
		return nil, err
	}
	l := &Ledger{file: f, log: o.Log, auditReader: auditReader{f.read}, signing: newSigning(filepath.Join(dir, "checkpoints"))}
	f.full = ballast(filepath.Join(dir, "ballast"), o.Ballast, o.Log)
	err = l.load(ctx)
	f.start()
	if err == nil {
		err = l.begin(ctx, o.Keys)
	}
	if err = sqlFault("open "+f.path, err); err != nil && !fault.Is(err, fault.Tampered) && !fault.Is(err, fault.Blocked) {
		return nil, errors.Join(err, f.close())
	}
	if err != nil {
		l.setTrouble(err)
	}
	go l.signNowAndThen()
	return l, nil
}

// recheck is how many of the newest entries are held against their hashes when a ledger is opened.
const recheck = 1_000

// load reads the right edge of the tree, whose size is what the entries say, and looks at the newest entries.
func (l *Ledger) load(ctx context.Context) error {
	db := l.file.read
	var size uint64
	var hashes int64
	if err := db.QueryRowContext(ctx, "SELECT coalesce(max(seq) + 1, 0) FROM audit_entry").Scan(&size); err != nil {
		return err
	}
	if err := db.QueryRowContext(ctx, "SELECT coalesce(max(idx) + 1, 0) FROM audit_hash").Scan(&hashes); err != nil {
		return err
	}
	if hashes != tlog.StoredHashCount(int64(size)) {
		return tampered(auditlog.TailTruncated, "it has %d entries and %d tree hashes, which do not belong together", size, hashes)
	}
	tree, err := auditlog.LoadTree(size, hashReader(ctx, db))
	if err != nil {
		return err
	}
	l.file.tree = tree
	rows, err := db.QueryContext(ctx, "SELECT seq, leaf FROM audit_entry WHERE seq >= ? ORDER BY seq", int64(size)-recheck)
	if err != nil {
		return err
	}
	defer rows.Close()
	read := hashReader(ctx, db)
	for rows.Next() {
		var seq int64
		var leaf sql.RawBytes
		if err := rows.Scan(&seq, &leaf); err != nil {
			return err
		}
		kept, err := read.ReadHashes([]int64{tlog.StoredHashIndex(0, seq)})
		if err != nil {
			return err
		}
		if kept[0] != tlog.RecordHash(leaf) {
			return tampered(auditlog.EntryChanged, "entry %d was changed", seq)
		}
	}
	return rows.Err()
}

func tampered(code, format string, args ...any) error {
	return &fault.Error{Kind: fault.Tampered, Op: "open the audit history", Code: code, Err: fmt.Errorf(format, args...),
		Next: "run: freshet audit verify; keep copies of ledger.db and checkpoints as evidence; to go on with a new history, move both away together"}
}

// begin gives a new ledger its identity and first entry, makes sure that an old one continues what was signed of it, and
// closes what the last run left open.
func (l *Ledger) begin(ctx context.Context, keys auditlog.Keys) error {
	err := l.file.tx(ctx, func(tx *Tx) error {
		err := tx.QueryRow("SELECT value FROM audit_meta WHERE name = 'origin'").Scan(&l.origin)
		if errors.Is(err, sql.ErrNoRows) && tx.tree.Size() == 0 {
			return l.create(tx)
		}
		if errors.Is(err, sql.ErrNoRows) || err == nil && tx.tree.Size() == 0 {
			return tampered(auditlog.EntryMissing, "its first entry, or its name, is gone")
		}
		return err
	})
	if err != nil {
		return err
	}
	if keys != nil {
		if err := l.unlock(ctx, keys); err != nil {
			return err
		}
	}
	if err := l.file.tx(ctx, closeOpen); err != nil {
		return err
	}
	_, err = l.Checkpoint(ctx)
	return err
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
			return tampered(auditlog.EntryMalformed, "an intent without result: %w", err)
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

// Trouble is why the ledger takes nothing more, nil while it does.
func (l *Ledger) Trouble() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.trouble
}

func (l *Ledger) setTrouble(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.trouble == nil {
		l.trouble = err
		l.log.Error("the audit history takes nothing more", "err", err)
	}
}

// Origin names this ledger: "freshet/" and the workspace's id. It is the first line of every checkpoint.
func (l *Ledger) Origin() string { return l.origin }

// Tx runs fn in a write transaction and returns when it is on the disk. Callers that come together share a commit, so fn
// must not wait for anything; its error undoes its own part. An entry that fn appends with Tx.Audit is committed
// together with everything else that fn did, or not at all.
func (l *Ledger) Tx(ctx context.Context, fn func(tx *Tx) error) error {
	if err := l.Trouble(); err != nil {
		return err
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

// hashReader reads the tree's hashes.
func hashReader(ctx context.Context, db *sql.DB) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			var b []byte
			if err := db.QueryRowContext(ctx, "SELECT hash FROM audit_hash WHERE idx = ?", index).Scan(&b); err != nil {
				if errors.Is(err, sql.ErrNoRows) {
					err = tampered(auditlog.HashMissing, "tree hash %d is missing", index)
				}
				return nil, err
			}
			if len(b) != tlog.HashSize {
				return nil, tampered(auditlog.HashChanged, "tree hash %d has %d bytes", index, len(b))
			}
			copy(hashes[i][:], b)
		}
		return hashes, nil
	})
}

// close signs a last time. What cannot be signed then is at the next start.
func (l *Ledger) close() error {
	l.stopSigning()
	if _, err := l.Checkpoint(context.Background()); err != nil {
		l.log.Warn("sign the audit history", "err", err)
	}
	return l.file.close()
}
