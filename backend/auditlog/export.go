package auditlog

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/tlog"

	"freshet/backend/fault"
)

// An export is one JSON object a line: a head, the checkpoints, every entry with the proof that the newest of them
// includes it, and an end. It verifies with nothing but itself, though a copy of the checkpoints from elsewhere says
// more: whoever can rewrite a whole export can also leave its end out.

// exportKind is the kind of an export's first line.
const exportKind = "audit.export"

// maxLine bounds a line of an export: a leaf and its proof.
const maxLine = MaxLeaf + 8<<10

type exportHead struct {
	V      int      `json:"v"`
	Kind   string   `json:"kind"`
	Origin string   `json:"origin"`
	Size   uint64   `json:"size,string"`
	Keys   []string `json:"keys"`
}

type exportLine struct {
	Kind  string           `json:"kind"` // "checkpoint", "entry" or "end"
	Note  string           `json:"note,omitempty"`
	Leaf  json.RawMessage  `json:"leaf,omitempty"`
	Proof tlog.RecordProof `json:"proof,omitempty"`
	Size  uint64           `json:"size,omitempty,string"`
}

// Export is a history to be written out.
type Export struct {
	Origin string
	Keys   []string
	Notes  []string // checkpoints, the smallest first
	Size   uint64   // number of entries
	Hashes tlog.HashReader
	Leaves func(yield func(leaf []byte) error) error // calls yield with every leaf in order
}

// WriteTo writes the export.
func (x Export) WriteTo(w io.Writer) (int64, error) {
	count := &counter{w: w}
	b := bufio.NewWriterSize(count, 64<<10)
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	known := verifiers(x.Keys)
	if err := enc.Encode(exportHead{1, exportKind, x.Origin, x.Size, x.Keys}); err != nil {
		return count.n, err
	}
	var head Checkpoint
	for _, n := range x.Notes {
		cp, err := OpenCheckpoint(n, known)
		if err != nil || cp.Size > x.Size {
			continue
		}
		if cp.Size >= head.Size {
			head = cp
		}
		if err := enc.Encode(exportLine{Kind: "checkpoint", Note: n}); err != nil {
			return count.n, err
		}
	}
	var seq uint64
	err := x.Leaves(func(leaf []byte) (err error) {
		line := exportLine{Kind: "entry", Leaf: leaf}
		if seq < head.Size {
			if line.Proof, err = tlog.ProveRecord(int64(head.Size), int64(seq), x.Hashes); err != nil {
				return err
			}
		}
		seq++
		return enc.Encode(line)
	})
	if err == nil && seq != x.Size {
		err = fault.New(fault.Tampered, "export the audit history", "run: freshet audit verify", "%d entries were found, not %d", seq, x.Size)
	}
	if err == nil {
		err = enc.Encode(exportLine{Kind: "end", Size: x.Size})
	}
	if err == nil {
		err = b.Flush()
	}
	return count.n, err
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// IsExport reports whether a file that starts with b is an export, maybe a damaged one.
func IsExport(b []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte("{")) || bytes.Contains(b, []byte(exportKind))
}

// VerifyExport verifies an export against itself and the copies, which may be none; copyOf says where those are from.
func VerifyExport(r io.Reader, copies Copies, copyOf string) (Report, error) {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 64<<10), maxLine)
	var (
		head  exportHead
		notes []string
		v     *Verifier
		ended bool
		bad   []Finding
		n     int
		lost  uint64 // damaged lines since the last entry
	)
	// fill says of the entries before seq that they were in the damaged lines: a line may have become two, or two one.
	fill := func(seq uint64) {
		for ; v.next < seq && seq-v.next <= 2*lost; v.Missing(nil, fmt.Errorf("a line of the export is damaged")) {
		}
		lost = 0
	}
	damaged := func(err any) {
		bad = append(bad, Finding{Code: ExportDamaged, Line: n, Message: fmt.Sprintf("line %d cannot be read: %v", n, err)})
	}
	start := func() {
		if v == nil {
			v = NewVerifier(Evidence{Origin: head.Origin, Keys: head.Keys, Notes: notes, Kept: "export", Copies: copies, CopyOf: copyOf})
			v.head, _ = Newest(notes, head.Origin, head.Keys)
		}
	}
	for s.Scan() {
		n++
		if n == 1 {
			if err := strict(s.Bytes(), &head); err != nil || head.Kind != exportKind || head.V != 1 {
				damaged("not the head of an audit export")
				head = exportHead{}
			}
			continue
		}
		var line exportLine
		err := strict(s.Bytes(), &line)
		switch {
		case ended:
			damaged("it follows the end")
		case err == nil && line.Kind == "checkpoint" && v == nil:
			notes = append(notes, line.Note)
		case err == nil && line.Kind == "end":
			start()
			fill(head.Size)
			ended = true
			if line.Size != head.Size {
				damaged(fmt.Sprintf("its head says %d entries, its end %d", head.Size, line.Size))
			} else {
				v.size = head.Size
			}
		case err == nil && line.Kind == "entry":
			start()
			if e, _, err := DecodeLeaf(line.Leaf); err == nil && lost > 0 {
				fill(e.Seq)
			} else if err == nil && v.next < e.Seq && v.includes(e.Seq, line.Leaf, line.Proof) {
				for v.next < e.Seq {
					v.Missing(nil, nil)
				}
			}
			v.leaf(line.Leaf, nil, line.Proof)
		case v == nil && !bytes.Contains(s.Bytes(), []byte(`"leaf"`)):
			damaged(orElse(err, "not a checkpoint"))
		default:
			start()
			damaged(orElse(err, "not an entry"))
			lost++
		}
		if len(bad) > maxFindings {
			break
		}
	}
	if err := s.Err(); err != nil {
		if err != bufio.ErrTooLong {
			return Report{}, fault.Wrap(fault.Unavailable, "read the export", err, "")
		}
		n++
		damaged(err)
	}
	start()
	if !ended {
		n++
		damaged("the export has no end")
	}
	for _, f := range bad {
		v.find(f)
	}
	return v.Finish()
}

// orElse gives the error where there is one.
// includes reports whether proof shows that leaf is the export's entry seq.
func (v *Verifier) includes(seq uint64, leaf []byte, proof tlog.RecordProof) bool {
	return seq < v.head.Size && tlog.CheckRecord(proof, int64(v.head.Size), v.head.Root, int64(seq), tlog.RecordHash(leaf)) == nil
}

// orElse gives the error where there is one.
func orElse(err error, text string) any {
	if err != nil {
		return err
	}
	return text
}

// strict reads one JSON object and nothing else.
func strict(b []byte, into any) error {
	if err := checkDepth(b); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("more than one JSON value")
	}
	return nil
}
