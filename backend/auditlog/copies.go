package auditlog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"freshet/backend/fault"
	"freshet/backend/wholefile"
)

// Copies is the file beside the ledger that every checkpoint is copied to: signed notes, each followed by an empty
// line, and a line "# key KEY" for every public key. It is only ever appended to.
type Copies struct {
	Keys  []string
	Notes []string
	Torn  int // bytes of a last note that was not written to its end
}

const keyLine = "# key "

// ParseCopies reads a checkpoints file. It checks no signature.
func ParseCopies(b []byte) Copies {
	var c Copies
	rest := string(b)
	for rest != "" {
		if strings.HasPrefix(rest, "#") {
			line, after, whole := strings.Cut(rest, "\n")
			if !whole {
				break
			}
			if key, ok := strings.CutPrefix(line, keyLine); ok {
				c.Keys = append(c.Keys, key)
			}
			rest = after
			continue
		}
		// A note is its text, an empty line, its signatures, and an empty line that ends it here.
		text := strings.Index(rest, "\n\n")
		if text < 0 {
			break
		}
		end := strings.Index(rest[text+2:], "\n\n")
		if end < 0 {
			break
		}
		end += text + 3
		c.Notes = append(c.Notes, rest[:end])
		rest = rest[end+1:]
	}
	c.Torn = len(rest)
	return c
}

// ReadCopies reads a checkpoints file; one that is not there has no copies.
func ReadCopies(path string) (Copies, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Copies{}, nil
	}
	return ParseCopies(b), err
}

// tailBytes is how much of a checkpoints file's end is read to go on from it: some hundred notes.
const tailBytes = 64 << 10

// NewestCopy is the largest checkpoint at the end of a checkpoints file that verifies with one of keys, zero where the
// file has none. damaged counts the notes there that do not verify. A file of which nothing verifies belongs to another
// history: fault.Tampered.
func NewestCopy(path, origin string, keys []string) (newest Checkpoint, damaged int, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Checkpoint{}, 0, nil
	}
	if err != nil {
		return Checkpoint{}, 0, err
	}
	defer f.Close()
	tail, _, err := readTail(f, origin)
	if err != nil {
		return Checkpoint{}, 0, err
	}
	notes := ParseCopies(tail).Notes
	newest, damaged = Newest(notes, origin, keys)
	if damaged > 0 && damaged == len(notes) {
		return Checkpoint{}, damaged, &fault.Error{Kind: fault.Tampered, Op: "read " + path, Code: CheckpointMismatch,
			Err: fmt.Errorf("its checkpoints are not of the audit history %s", origin), Next: tamperedNext}
	}
	return newest, damaged, nil
}

// Newest is the largest of the notes that are of origin ("" for any) and verify with one of keys, zero where none does. damaged counts
// the others.
func Newest(notes []string, origin string, keys []string) (newest Checkpoint, damaged int) {
	known := verifiers(keys)
	for _, n := range notes {
		cp, err := OpenCheckpoint(n, known)
		if err != nil || origin != "" && cp.Origin != origin {
			damaged++
		} else if cp.Size >= newest.Size {
			newest = cp
		}
	}
	return newest, damaged
}

// readTail reads the end of a checkpoints file from the start of a note on, which is at offset start.
func readTail(f *os.File, origin string) (tail []byte, start int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	start = max(0, info.Size()-tailBytes)
	tail = make([]byte, info.Size()-start)
	if _, err := f.ReadAt(tail, start); err != nil && err != io.EOF {
		return nil, 0, err
	}
	if start > 0 {
		at := bytes.Index(tail, []byte("\n\n"+origin+"\n"))
		if at < 0 {
			return nil, 0, fmt.Errorf("no checkpoint of %s in the last %d bytes", origin, len(tail))
		}
		tail, start = tail[at+2:], start+int64(at)+2
	}
	return tail, start, nil
}

// AppendCopies appends keys and notes to a checkpoints file and makes them durable. What a crash left unfinished at its
// end was never relied on, and is cut off.
func AppendCopies(path, origin string, keys, notes []string) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	tail, start, err := readTail(f, origin)
	if err != nil {
		return err
	}
	end := start + int64(len(tail)-ParseCopies(tail).Torn)
	if err := f.Truncate(end); err != nil {
		return err
	}
	var b bytes.Buffer
	for _, k := range keys {
		fmt.Fprintf(&b, "%s%s\n", keyLine, k)
	}
	for _, n := range notes {
		fmt.Fprintf(&b, "%s\n", n)
	}
	if _, err := f.WriteAt(b.Bytes(), end); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if end == 0 {
		return wholefile.SyncDir(filepath.Dir(path))
	}
	return nil
}
