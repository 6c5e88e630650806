package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/mattn/go-sqlite3"
	"golang.org/x/mod/sumdb/tlog"

	"freshet/backend/auditlog"
	"freshet/backend/fault"
)

// cannotOpen are the codes of a file that is there and cannot be used from here.
var cannotOpen = []sqlite3.ErrNo{sqlite3.ErrCantOpen, sqlite3.ErrReadonly, sqlite3.ErrPerm, sqlite3.ErrAuth}

// VerifyAudit verifies a ledger.db, or a file that audit export wrote, with nothing running and without secrets. path may
// be a data directory. copies is a checkpoints file; "" means the one beside path, which may be missing. What does not
// verify is in the Report (Report.Err makes an error of it); an error says that it could not be checked:
// fault.Unavailable for files that cannot be read, fault.Invalid where no public key is to be had.
func VerifyAudit(ctx context.Context, path, copies string) (auditlog.Report, error) {
	op := "verify " + path
	if err := CheckSQLite(); err != nil {
		return auditlog.Report{}, err
	}
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		path = filepath.Join(path, "ledger.db")
		info, err = os.Stat(path)
	}
	given := copies != ""
	if !given {
		copies = filepath.Join(filepath.Dir(path), "checkpoints")
	}
	outside, copyErr := auditlog.ReadCopies(copies)
	if copyErr == nil && given && len(outside.Notes)+len(outside.Keys)+outside.Torn == 0 {
		copyErr = errors.New("it has no checkpoints")
	}
	if copyErr != nil {
		return auditlog.Report{}, fault.Wrap(fault.Unavailable, "read "+copies, copyErr, "give the checkpoints file that belongs to the history")
	}
	copyOf := ""
	if len(outside.Notes)+len(outside.Keys) > 0 {
		copyOf = "file:" + copies
	}
	if (errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0) && len(outside.Notes) > 0 {
		newest, _ := auditlog.Newest(outside.Notes, "", outside.Keys)
		v := auditlog.NewVerifier(auditlog.Evidence{Origin: newest.Origin, Copies: outside, CopyOf: copyOf})
		return v.Finish() // what was signed is gone
	}
	if err != nil {
		return auditlog.Report{}, fault.Wrap(fault.Unavailable, op, err, "name a data directory, its ledger.db, or an export")
	}
	f, err := os.Open(path)
	if err != nil {
		return auditlog.Report{}, fault.Wrap(fault.Unavailable, op, err, "check who may read it")
	}
	defer f.Close()
	head := make([]byte, 4096)
	n, _ := f.ReadAt(head, 0)
	switch head = head[:n]; {
	case looksLikeSQLite(head):
		r, err := verifyLedger(ctx, path, outside, copyOf)
		return r, sqlFault(op, err)
	case auditlog.IsExport(head):
		return auditlog.VerifyExport(f, outside, copyOf)
	}
	return auditlog.Report{}, fault.New(fault.Unavailable, op, "name a data directory, its ledger.db, or an export",
		"it is neither a ledger nor an export")
}

// sqliteMagic is what a database file starts with.
const sqliteMagic = "SQLite format 3\x00"

// looksLikeSQLite recognises a database whose first bytes may be damaged.
func looksLikeSQLite(head []byte) bool {
	if len(head) < 512 {
		return false
	}
	same := 0
	for i := range sqliteMagic {
		if head[i] == sqliteMagic[i] {
			same++
		}
	}
	return same >= len(sqliteMagic)-4
}

// verifyLedger reads every entry, whatever the file is like, then the file itself.
func verifyLedger(ctx context.Context, path string, outside auditlog.Copies, copyOf string) (auditlog.Report, error) {
	wal, err := checkWAL(path + "-wal")
	if err != nil {
		return auditlog.Report{}, fault.Wrap(fault.Unavailable, "read "+path+"-wal", err, "check who may read it")
	}
	a, err := openAudit(ctx, path)
	if isDamage(err) {
		r := auditlog.Unreadable(auditlog.Finding{Code: auditlog.PageDamaged, Page: 1, Message: fmt.Sprintf("page 1 is damaged, and nothing can be read: %v", err)})
		r.Add(wal...)
		return r, nil
	}
	if err != nil {
		return auditlog.Report{}, err
	}
	defer a.Close()
	tx, err := a.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return auditlog.Report{}, err
	}
	defer tx.Rollback()
	report, err := verifyEntries(ctx, tx, outside, copyOf)
	var missingKey *fault.Error
	if err != nil && !isDamage(err) && !errors.As(err, &missingKey) {
		return auditlog.Report{}, err
	}
	pages, pageErr := damagedPages(ctx, tx)
	if pageErr != nil {
		return auditlog.Report{}, pageErr
	}
	if isDamage(err) {
		if len(pages) == 0 {
			pages = append(pages, auditlog.Finding{Code: auditlog.PageDamaged, Page: 1, Message: fmt.Sprintf("page 1 is damaged: %v", err)})
		}
		if report.DBSize == 0 {
			report = auditlog.Unreadable(pages[0])
			pages = pages[1:]
		}
	}
	report.Add(append(wal, pages...)...)
	if !report.OK {
		err = nil // a missing key is the lesser trouble
	}
	return report, err
}

// isDamage tells a damaged file from one that cannot be got at. "no such table" and the like mean that the schema, on
// page 1, is not what Freshet wrote.
func isDamage(err error) bool {
	return isCode(err, sqlite3.ErrCorrupt, sqlite3.ErrNotADB, sqlite3.ErrError, sqlite3.ErrFormat, sqlite3.ErrSchema,
		sqlite3.ErrTooBig, sqlite3.ErrMismatch, sqlite3.ErrNomem, sqlite3.ErrInternal, sqlite3.ErrConstraint)
}

// verifyEntries reads in chunks; where a chunk cannot be read, entry by entry.
func verifyEntries(ctx context.Context, db queryer, outside auditlog.Copies, copyOf string) (auditlog.Report, error) {
	if err := checkSchema(ctx, db); err != nil {
		return auditlog.Report{}, err
	}
	ev, evErr := readEvidence(ctx, db)
	if evErr != nil && !isDamage(evErr) {
		return auditlog.Report{}, evErr
	}
	ev.Copies, ev.CopyOf = outside, copyOf
	var err error
	if ev.Hashed, err = hashedEntries(ctx, db); err != nil && !isDamage(err) {
		return auditlog.Report{}, err
	}
	v := auditlog.NewVerifier(ev)
	const chunk = 512
	for from := int64(0); ; from += chunk {
		rows, err := readRange(ctx, db, "SELECT seq, leaf FROM audit_entry WHERE seq >= ? AND seq < ? ORDER BY seq",
			"SELECT seq, leaf FROM audit_entry WHERE seq = ?", from, from+chunk)
		if err != nil {
			return auditlog.Report{}, err
		}
		first, last := tlog.StoredHashIndex(0, from), tlog.StoredHashIndex(0, from+chunk)
		kept, err := readRange(ctx, db, "SELECT idx, hash FROM audit_hash WHERE idx >= ? AND idx < ? ORDER BY idx",
			"SELECT idx, hash FROM audit_hash WHERE idx = ?", first, last)
		if err != nil {
			return auditlog.Report{}, err
		}
		hashes := make(map[int64]tlog.Hash, len(kept))
		for _, k := range kept {
			if k.err == nil && len(k.value) == tlog.HashSize {
				hashes[k.n] = tlog.Hash(k.value)
			}
		}
		stored := func(seq uint64) (list []tlog.Hash) {
			for i := tlog.StoredHashIndex(0, int64(seq)); i < tlog.StoredHashIndex(0, int64(seq)+1); i++ {
				h, ok := hashes[i]
				if !ok {
					break
				}
				list = append(list, h)
			}
			return list
		}
		some := false
		for _, row := range rows {
			seq := uint64(row.n)
			if row.err != nil && seq >= v.Expect() {
				continue // nothing says that there is an entry
			}
			some = true
			if seq < v.Next() || seq > v.Next() && seq >= v.Expect() {
				v.Stray(seq)
				continue
			}
			for v.Next() < seq {
				v.Missing(stored(v.Next()), nil)
			}
			if row.err != nil {
				v.Missing(stored(seq), row.err)
			} else {
				v.Leaf(row.value, stored(seq))
			}
		}
		end := uint64(from + chunk)
		if end >= v.Expect() {
			if !some {
				break
			}
			continue
		}
		if v.Next() < end {
			// With later entries there, those up to the end of the chunk are missing; else the rest was cut off.
			later, err := anyFrom(ctx, db, from+chunk)
			if err != nil {
				return auditlog.Report{}, err
			}
			if !later {
				break
			}
			for v.Next() < end {
				v.Missing(stored(v.Next()), nil)
			}
		}
	}
	if err := strays(ctx, db, v); err != nil {
		return auditlog.Report{}, err
	}
	r, err := v.Finish()
	if evErr != nil {
		err = evErr
	}
	return r, err
}

type numbered struct {
	n     int64
	value []byte
	err   error
}

// readRange reads the rows with numbers from first to before last.
func readRange(ctx context.Context, db queryer, many, single string, first, last int64) ([]numbered, error) {
	var list []numbered
	keep := func(n int64, value []byte) error {
		list = append(list, numbered{n: n, value: append([]byte(nil), value...)})
		return nil
	}
	err := eachRow(ctx, db, many, keep, first, last)
	if err == nil || !isDamage(err) {
		return list, err
	}
	list = nil
	for n := first; n < last; n++ {
		err := eachRow(ctx, db, single, keep, n)
		if err != nil && !isDamage(err) {
			return nil, err
		}
		if err != nil {
			list = append(list, numbered{n: n, err: err})
		}
	}
	return list, nil
}

func anyFrom(ctx context.Context, db queryer, from int64) (bool, error) {
	var n int
	err := db.QueryRowContext(ctx, "SELECT count(*) FROM (SELECT 1 FROM audit_entry WHERE seq >= ? LIMIT 1)", from).Scan(&n)
	if isDamage(err) {
		return true, nil // go on reading entry by entry
	}
	return n > 0, err
}

// strays finds entries whose number lies outside everything that was read.
func strays(ctx context.Context, db queryer, v *auditlog.Verifier) error {
	err := eachRow(ctx, db, "SELECT seq, x'' FROM audit_entry WHERE seq < 0 OR seq >= ? ORDER BY seq LIMIT 10", func(seq int64, _ []byte) error {
		v.Stray(uint64(seq))
		return nil
	}, int64(v.Next()))
	if isDamage(err) {
		return nil // the pages are looked at later
	}
	return err
}

// hashedEntries is how many entries the tree's hashes tell of.
func hashedEntries(ctx context.Context, db queryer) (uint64, error) {
	var count int64
	if err := db.QueryRowContext(ctx, "SELECT count(*) FROM audit_hash").Scan(&count); err != nil {
		return 0, err
	}
	low, high := int64(0), count // the largest n with StoredHashCount(n) <= count
	for low < high {
		if mid := (low + high + 1) / 2; tlog.StoredHashCount(mid) <= count {
			low = mid
		} else {
			high = mid - 1
		}
	}
	return uint64(low), nil
}

// checkSchema makes sure that the names are those of tables: a view could show other entries than are there.
func checkSchema(ctx context.Context, db queryer) error {
	names, err := texts(ctx, db, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name IN ('audit_meta', 'audit_entry', 'audit_hash', 'audit_checkpoint', 'audit_key')")
	if err == nil && len(names) != 5 {
		err = sqlite3.Error{Code: sqlite3.ErrCorrupt}
	}
	return err
}

var pageNumber = regexp.MustCompile(`[Pp]age (\d+)`)

// damagedPages asks SQLite to look at every page.
func damagedPages(ctx context.Context, db queryer) ([]auditlog.Finding, error) {
	lines, err := texts(ctx, db, "PRAGMA integrity_check(20)")
	if err != nil && !isDamage(err) {
		return nil, err
	}
	if err != nil {
		lines = append(lines, "page 1: "+err.Error())
	}
	var list []auditlog.Finding
	for _, line := range lines {
		if line == "ok" {
			continue
		}
		f := auditlog.Finding{Code: auditlog.PageDamaged, Message: "SQLite: " + line}
		if m := pageNumber.FindStringSubmatch(line); m != nil {
			f.Page, _ = strconv.Atoi(m[1])
		}
		list = append(list, f)
	}
	return list, nil
}
