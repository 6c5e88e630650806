package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"freshet/backend/auditlog"
	"freshet/backend/fault"
)

// signEvery is how often new entries are covered by a checkpoint.
const signEvery = 60 * time.Second

// signing is the part of the ledger that makes checkpoints.
type signing struct {
	origin string
	copies string // path of the checkpoints file
	quit   chan struct{}
	done   chan struct{}

	one    sync.Mutex // held while a checkpoint is made
	signer note.Signer
	keys   []string            // public, oldest first
	newest auditlog.Checkpoint // of this ledger, as signed or read
}

func newSigning(copies string) signing {
	return signing{copies: copies, quit: make(chan struct{}), done: make(chan struct{})}
}

// unlock fetches the signing key, or makes one: the first, or a new one where the old is lost. Each is announced by an
// entry and by a line in the checkpoints file. Before, the history must continue what was signed of it.
func (l *Ledger) unlock(ctx context.Context, keys auditlog.Keys) error {
	var err error
	if l.keys, err = texts(ctx, l.file.read, "SELECT key FROM audit_key ORDER BY id"); err != nil {
		return err
	}
	if err := l.check(ctx, l.file.committed()); err != nil {
		return err
	}
	name := "audit-" + strings.TrimPrefix(l.origin, "freshet/")
	secret, err := keys.Secret(ctx, name)
	if err != nil {
		return &fault.Error{Kind: fault.Blocked, Op: "read the audit history's signing key", Code: "KEY_UNREADABLE", Err: err,
			Next: "unlock the keyring, then start again"}
	}
	if l.signer = l.known(secret); l.signer != nil {
		return nil
	}
	if len(l.keys) > 0 {
		l.log.Warn("the audit history's signing key is lost; a new one takes over from here", "origin", l.origin)
	}
	secret, public, err := auditlog.GenerateKey(l.origin)
	if err != nil {
		return err
	}
	if err := keys.Keep(ctx, name, secret); err != nil {
		return &fault.Error{Kind: fault.Blocked, Op: "keep the audit history's signing key", Code: "KEY_UNREADABLE", Err: err,
			Next: "unlock the keyring, then start again"}
	}
	if err := auditlog.AppendCopies(l.copies, l.origin, []string{public}, nil); err != nil {
		return fault.Wrap(fault.Unavailable, "write "+l.copies, err, "check the data directory's disk and owner")
	}
	detail, err := json.Marshal(map[string]string{"key": public})
	if err != nil {
		return err
	}
	err = l.file.tx(ctx, func(tx *Tx) error {
		if _, err := tx.Exec("INSERT INTO audit_key (key) VALUES (?)", public); err != nil {
			return err
		}
		_, err := tx.Audit(auditlog.Entry{Actor: "system", Action: "audit.key", Phase: auditlog.Note, Subject: l.origin, Detail: detail})
		return err
	})
	if err != nil {
		return err
	}
	l.keys = append(l.keys, public)
	l.signer, err = note.NewSigner(secret)
	return err
}

// known gives the signer for a secret whose public half the ledger has, else nil.
func (l *Ledger) known(secret string) note.Signer {
	s, err := note.NewSigner(secret)
	if err != nil {
		return nil
	}
	for _, k := range l.keys {
		if v, err := note.NewVerifier(k); err == nil && v.KeyHash() == s.KeyHash() {
			return s
		}
	}
	return nil
}

// check proves that the tree continues the newest checkpoint, of those in the ledger and of those in the file beside it.
func (l *Ledger) check(ctx context.Context, tree auditlog.Tree) error {
	newest, damaged, err := auditlog.NewestCopy(l.copies, l.origin, l.keys)
	if err != nil {
		return fault.Wrap(fault.Unavailable, "read "+l.copies, err, "check the data directory's disk and owner")
	}
	if damaged > 0 {
		l.log.Warn("checkpoints that do not verify", "file", l.copies, "count", damaged)
	}
	own, err := texts(ctx, l.file.read, "SELECT note FROM audit_checkpoint ORDER BY size DESC LIMIT 1")
	if err != nil {
		return err
	}
	if len(own) > 0 {
		cp, damaged := auditlog.Newest(own, l.origin, l.keys)
		if damaged > 0 {
			return tampered(auditlog.CheckpointDamaged, "its newest checkpoint does not verify")
		}
		if cp.Size > newest.Size {
			newest = cp // written after the file's newest; the file is behind where it was taken away
		}
	}
	l.newest = newest
	return auditlog.Extends(tree, hashReader(ctx, l.file.read), newest)
}

// Checkpoint signs the history as it is on the disk and returns the signed head; where nothing is new, the last one.
// Before signing it proves that the history continues the newest copy outside the database: where it does not, the
// error is fault.Tampered, nothing is signed, and the ledger takes nothing more. A Store without Keys signs nothing and
// returns a Checkpoint without a Note.
func (l *Ledger) Checkpoint(ctx context.Context) (auditlog.Checkpoint, error) {
	if err := l.Trouble(); err != nil {
		return auditlog.Checkpoint{}, err
	}
	l.one.Lock()
	defer l.one.Unlock()
	tree := l.file.committed()
	if l.signer == nil {
		return auditlog.Checkpoint{Origin: l.origin, Size: tree.Size(), Root: tree.Root()}, nil
	}
	if err := l.check(ctx, tree); err != nil {
		if err = sqlFault("sign the audit history", err); fault.Is(err, fault.Tampered) {
			l.setTrouble(err)
		}
		return auditlog.Checkpoint{}, err
	}
	if l.newest.Size == tree.Size() {
		return l.newest, nil
	}
	cp, err := auditlog.SignCheckpoint(l.origin, tree, l.signer)
	if err != nil {
		return auditlog.Checkpoint{}, err
	}
	if err := auditlog.AppendCopies(l.copies, l.origin, nil, []string{cp.Note}); err != nil {
		return auditlog.Checkpoint{}, fault.Wrap(fault.Unavailable, "write "+l.copies, err, "check the data directory's disk and owner")
	}
	err = l.file.tx(ctx, func(tx *Tx) error {
		_, err := tx.Exec("INSERT INTO audit_checkpoint (size, note) VALUES (?, ?)", cp.Size, cp.Note)
		return err
	})
	if err != nil {
		return auditlog.Checkpoint{}, err
	}
	l.newest = cp
	return cp, nil
}

// Signed tells how many entries there are, the newest checkpoint, and the public keys, oldest first.
func (l *Ledger) Signed() (size uint64, newest auditlog.Checkpoint, keys []string) {
	l.one.Lock()
	defer l.one.Unlock()
	return l.file.committed().Size(), l.newest, slices.Clone(l.keys)
}

// signNowAndThen covers new entries by a checkpoint every signEvery.
func (l *Ledger) signNowAndThen() {
	defer close(l.done)
	tick := time.NewTicker(signEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if _, err := l.Checkpoint(context.Background()); err != nil {
				l.log.Warn("sign the audit history", "err", err)
			}
		case <-l.quit:
			return
		}
	}
}

func (l *Ledger) stopSigning() {
	close(l.quit)
	<-l.done
}

// texts reads one column.
func texts(ctx context.Context, db queryer, query string, args ...any) (list []string, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, rows.Err()
}

// queryer is a database, a connection or a transaction.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}
