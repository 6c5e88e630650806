package store

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"

	"freshet/backend/auditlog"
	"freshet/backend/fault"
)

// auditReader reads the audit history.
type auditReader struct{ db *sql.DB }

// AuditFile is a ledger opened for reading only, beside whatever else may have it open.
type AuditFile struct {
	auditReader
	temp string // of a copy that must be removed
}

// OpenAudit opens a ledger.db for reading. It takes no lock and writes nothing into the database.
func OpenAudit(ctx context.Context, path string) (*AuditFile, error) {
	if err := CheckSQLite(); err != nil {
		return nil, err
	}
	op := "open " + path
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		return nil, fault.Wrap(fault.Unavailable, op, orElse(err, "it is empty"), "name the data directory with --data, or the file")
	}
	a, err := openAudit(ctx, path)
	return a, sqlFault(op, err)
}

func orElse(err error, text string) error {
	if err != nil {
		return err
	}
	return errors.New(text)
}

// openAudit opens the file where it lies. A write-ahead log needs a -shm file beside it; where that cannot be made, a copy
// is read.
func openAudit(ctx context.Context, path string) (*AuditFile, error) {
	a := &AuditFile{}
	mode := url.Values{"mode": {"ro"}}
	wal, err := os.Stat(path + "-wal")
	if err != nil || wal.Size() == 0 {
		mode.Set("immutable", "1")
	}
	if err = a.connect(ctx, path, mode); err == nil || !isCode(err, cannotOpen...) || mode.Has("immutable") {
		return a.orClose(err)
	}
	if a.temp, err = os.MkdirTemp("", "freshet-audit-"); err != nil {
		return a.orClose(err)
	}
	there := filepath.Join(a.temp, "ledger.db")
	for _, suffix := range []string{"", "-wal"} {
		if err := copyFile(path+suffix, there+suffix); err != nil {
			return a.orClose(fault.Wrap(fault.Unavailable, "copy "+path, err, "check who may read it"))
		}
	}
	return a.orClose(a.connect(ctx, there, url.Values{"mode": {"ro"}}))
}

func (a *AuditFile) connect(ctx context.Context, path string, mode url.Values) (err error) {
	if a.db != nil {
		a.db.Close()
	}
	a.db, err = openSQLite(path, mode, "PRAGMA query_only = ON", "PRAGMA trusted_schema = OFF", "PRAGMA cell_size_check = ON")
	if err != nil {
		return err
	}
	var n int
	return a.db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&n)
}

func (a *AuditFile) orClose(err error) (*AuditFile, error) {
	if err == nil {
		return a, nil
	}
	return nil, errors.Join(err, a.Close())
}

// Close closes the file.
func (a *AuditFile) Close() error {
	var err error
	if a.db != nil {
		err = a.db.Close()
	}
	if a.temp != "" {
		err = errors.Join(err, os.RemoveAll(a.temp))
	}
	return err
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}

// maxScan bounds how many entries one page looks at.
const maxScan = 100_000

// Entries returns the newest entries that f chooses.
func (a auditReader) Entries(ctx context.Context, f auditlog.Filter) (auditlog.Page, error) {
	const op = "list the audit history"
	limit := f.Limit
	if limit <= 0 {
		limit = 100
	}
	limit = min(limit, 1000)
	before := int64(1) << 62
	if f.Cursor != "" {
		n, err := strconv.ParseInt(f.Cursor, 10, 64)
		if err != nil || n < 0 {
			return auditlog.Page{}, fault.New(fault.Invalid, op, "use the cursor of the page before", "cursor %q", f.Cursor)
		}
		before = n
	}
	rows, err := a.db.QueryContext(ctx, "SELECT seq, leaf FROM audit_entry WHERE seq < ? ORDER BY seq DESC LIMIT ?", before, maxScan)
	if err != nil {
		return auditlog.Page{}, sqlFault(op, err)
	}
	defer rows.Close()
	var p auditlog.Page
	for rows.Next() {
		var seq int64
		var leaf sql.RawBytes
		if err := rows.Scan(&seq, &leaf); err != nil {
			return auditlog.Page{}, sqlFault(op, err)
		}
		p.Scanned++
		if e, ok := f.Match(leaf); ok {
			p.Items = append(p.Items, e)
		}
		if (len(p.Items) == limit || p.Scanned == maxScan) && seq > 0 {
			p.Next = strconv.FormatInt(seq, 10)
			break
		}
	}
	return p, sqlFault(op, rows.Err())
}

// Entry returns an entry with the proof that the newest checkpoint includes it; fault.NotFound where there is none.
func (a auditReader) Entry(ctx context.Context, seq uint64) (auditlog.Proved, error) {
	const op = "read an audit entry"
	var p auditlog.Proved
	err := a.db.QueryRowContext(ctx, "SELECT leaf FROM audit_entry WHERE seq = ?", int64(seq)).Scan(&p.Leaf)
	if errors.Is(err, sql.ErrNoRows) {
		return p, fault.New(fault.NotFound, op, "", "no entry %d", seq)
	}
	if err != nil {
		return p, sqlFault(op, err)
	}
	if p.Entry, _, err = auditlog.DecodeLeaf([]byte(p.Leaf)); err != nil {
		return p, tampered(auditlog.EntryMalformed, "entry %d: %w", seq, err)
	}
	ev, err := a.evidence(ctx)
	if err != nil {
		return p, sqlFault(op, err)
	}
	newest, _ := auditlog.Newest(ev.Notes, ev.Origin, ev.Keys)
	if newest.Size <= seq {
		return p, nil
	}
	proof, err := tlog.ProveRecord(int64(newest.Size), int64(seq), hashReader(ctx, a.db))
	if err != nil {
		return p, sqlFault(op, err)
	}
	p.Checkpoint, p.Proof = newest, make([]string, len(proof))
	for i, h := range proof {
		p.Proof[i] = h.String()
	}
	return p, nil
}

// evidence reads what the ledger itself says that it can be checked with.
func (a auditReader) evidence(ctx context.Context) (auditlog.Evidence, error) {
	return readEvidence(ctx, a.db)
}

func readEvidence(ctx context.Context, db queryer) (auditlog.Evidence, error) {
	e := auditlog.Evidence{Kept: "ledger"}
	origin, err := texts(ctx, db, "SELECT value FROM audit_meta WHERE name = 'origin'")
	if err != nil {
		return e, err
	}
	if len(origin) > 0 {
		e.Origin = origin[0]
	}
	if e.Keys, err = texts(ctx, db, "SELECT key FROM audit_key ORDER BY id"); err != nil {
		return e, err
	}
	e.Notes, err = texts(ctx, db, "SELECT note FROM audit_checkpoint ORDER BY size")
	return e, err
}

// Export writes the history, as it was when this was called, with everything that is needed to verify it.
func (a auditReader) Export(ctx context.Context, w io.Writer) error {
	err := a.export(ctx, w)
	return sqlFault("export the audit history", err)
}

func (a auditReader) export(ctx context.Context, w io.Writer) error {
	tx, err := a.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	ev, err := readEvidence(ctx, tx)
	if err != nil {
		return err
	}
	x := auditlog.Export{Origin: ev.Origin, Keys: ev.Keys, Notes: ev.Notes}
	if err := tx.QueryRowContext(ctx, "SELECT coalesce(max(seq) + 1, 0) FROM audit_entry").Scan(&x.Size); err != nil {
		return err
	}
	// Every proof needs some twenty hashes: all of them are held, 64 bytes an entry.
	hashes := make([]tlog.Hash, tlog.StoredHashCount(int64(x.Size)))
	if err := eachRow(ctx, tx, "SELECT idx, hash FROM audit_hash ORDER BY idx", func(idx int64, hash []byte) error {
		if idx >= 0 && idx < int64(len(hashes)) && len(hash) == tlog.HashSize {
			copy(hashes[idx][:], hash)
		}
		return nil
	}); err != nil {
		return err
	}
	x.Hashes = tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			out[i] = hashes[index]
		}
		return out, nil
	})
	x.Leaves = func(yield func([]byte) error) error {
		return eachRow(ctx, tx, "SELECT seq, leaf FROM audit_entry ORDER BY seq", func(_ int64, leaf []byte) error { return yield(leaf) })
	}
	_, err = x.WriteTo(w)
	return err
}

// Export signs what is new, so that every entry is exported with its proof, and writes the history.
func (l *Ledger) Export(ctx context.Context, w io.Writer) error {
	if _, err := l.Checkpoint(ctx); err != nil {
		l.log.Warn("export the audit history without its newest entries' proofs", "err", err)
	}
	return l.auditReader.Export(ctx, w)
}

// eachRow calls do for every row of a number and a value, which is valid until do returns.
func eachRow(ctx context.Context, db queryer, query string, do func(int64, []byte) error, args ...any) (err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var n int64
		var value sql.RawBytes
		if err := rows.Scan(&n, &value); err != nil {
			return err
		}
		if err := do(n, value); err != nil {
			return err
		}
	}
	return rows.Err()
}
