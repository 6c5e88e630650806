package auditlog

import (
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"freshet/backend/fault"
)

// Evidence is what a history is checked against.
type Evidence struct {
	Origin string   // as the ledger says
	Keys   []string // as the ledger says
	Notes  []string // checkpoints kept with the entries
	Kept   string   // where those are: "ledger", "export"
	Copies Copies   // checkpoints kept elsewhere
	CopyOf string   // where those are: "file:PATH"; "" for none
	Hashed uint64   // entries that the kept hashes of the tree tell of; 0 where none are kept
}

// Verifier checks a history entry by entry, from the first on, in one pass and little memory. For one goroutine.
type Verifier struct {
	report Report
	hashed uint64
	size   uint64       // of an export: entries that it says it has
	keyed  bool         // there is a key to check checkpoints with
	signed []signedHead // not met yet, by size
	head   Checkpoint   // of an export: what its inclusion proofs lead to
	next   uint64       // the entry that is due
	prev   *pending     // the entry before it
	tree   Tree
	proved uint64 // size of the largest checkpoint whose root was met
	differ bool   // a checkpoint's root was not met
}

// signedHead is a checkpoint and where it was found.
type signedHead struct {
	Checkpoint
	source string
}

// pending is an entry whose true hash is not settled before its successor has told which one it follows.
type pending struct {
	seq      uint64
	computed *tlog.Hash  // from the leaf; nil where there is none
	stored   []tlog.Hash // kept beside it, its own first
	unproved bool        // its inclusion proof does not hold
}

// inDoubt reports whether something kept beside the leaf speaks against it.
func (p *pending) inDoubt() bool {
	return p.unproved || p.computed != nil && len(p.stored) > 0 && p.stored[0] != *p.computed
}

// NewVerifier reads the checkpoints. Notes that do not verify are findings.
func NewVerifier(e Evidence) *Verifier {
	v := &Verifier{hashed: e.Hashed}
	v.report.Origin, v.report.CheckpointSource = e.Origin, "none"
	keys := slices.Concat(e.Keys, e.Copies.Keys)
	if len(e.Copies.Keys) > 0 {
		for _, k := range e.Keys {
			if !slices.Contains(e.Copies.Keys, k) {
				v.find(Finding{Code: KeyChanged, Message: fmt.Sprintf("the ledger names the key %.40s, which %s does not know", k, e.CopyOf)})
			}
		}
	}
	v.keyed = len(keys) > 0
	slices.Sort(keys)
	known := verifiers(slices.Compact(keys)) // the same key twice would verify nothing
	v.open(e.Origin, e.Copies.Notes, known, e.CopyOf)
	v.open(e.Origin, e.Notes, known, e.Kept)
	if e.Copies.Torn > 0 {
		v.warn(fmt.Sprintf("the last %d bytes of %s are no whole checkpoint", e.Copies.Torn, e.CopyOf))
	}
	if e.CopyOf == "" {
		v.warn("no copy of the checkpoints from outside the history was given: an older file put back would not be seen")
	}
	slices.SortStableFunc(v.signed, func(a, b signedHead) int { return int(int64(a.Size) - int64(b.Size)) })
	if n := len(v.signed); n > 0 {
		v.report.CheckpointSize, v.report.CheckpointSource = v.signed[n-1].Size, v.signed[n-1].source
		for _, s := range v.signed { // of equals, the copy from outside says more
			if s.Size == v.signed[n-1].Size {
				v.report.CheckpointSource = s.source
				break
			}
		}
	}
	return v
}

func (v *Verifier) open(origin string, notes []string, known note.Verifiers, source string) {
	named := true
	for i, n := range notes {
		cp, err := OpenCheckpoint(n, known)
		if err != nil {
			v.find(Finding{Code: CheckpointDamaged, Message: fmt.Sprintf("checkpoint %d of %s does not verify: %v", i, source, err)})
			continue
		}
		if cp.Origin != origin && named { // whether it is another history, the roots tell
			named = false
			v.find(Finding{Code: NameChanged, Message: fmt.Sprintf("the history calls itself %q, the checkpoints of %s are of %q", origin, source, cp.Origin)})
		}
		v.signed = append(v.signed, signedHead{cp, source})
	}
}

func (v *Verifier) find(f Finding)      { v.report.Add(f) }
func (v *Verifier) warn(message string) { v.report.Warnings = append(v.report.Warnings, message) }

func one(seq uint64) *uint64 { return &seq }

// Expect is how many entries there should be, by the kept hashes and the checkpoints.
func (v *Verifier) Expect() uint64 { return max(v.hashed, v.size, v.report.CheckpointSize) }

// Next is the entry that is due.
func (v *Verifier) Next() uint64 { return v.next }

// Leaf takes the entry that is due, as it is stored. stored are the tree's hashes kept for it, nil where none are.
func (v *Verifier) Leaf(leaf []byte, stored []tlog.Hash) { v.leaf(leaf, stored, nil) }

func (v *Verifier) leaf(leaf []byte, stored []tlog.Hash, proof tlog.RecordProof) {
	h := tlog.RecordHash(leaf)
	p := &pending{seq: v.next, computed: &h, stored: stored}
	p.unproved = p.seq < v.head.Size && !v.includes(p.seq, leaf, proof)
	e, prev, err := DecodeLeaf(leaf)
	if err == nil {
		v.settle(&prev, !p.inDoubt())
	} else {
		v.settle(nil, false)
	}
	v.prev = p
	v.next++
	v.report.DBSize++
	switch {
	case p.inDoubt(): // said when it is settled
	case err != nil:
		v.find(Finding{Code: EntryMalformed, Entry: one(p.seq), Message: fmt.Sprintf("entry %d: %v", p.seq, err)})
	case e.Seq != p.seq:
		v.find(Finding{Code: EntryChanged, Entry: one(p.seq), Message: fmt.Sprintf("entry %d says that it is entry %d", p.seq, e.Seq)})
	}
}

// Missing takes the place of an entry that is due and is not there, though a later one is, or cannot be read for the
// reason why. Its hashes, where they are kept, let the rest be proved.
func (v *Verifier) Missing(stored []tlog.Hash, why error) {
	v.settle(nil, false)
	f := Finding{Code: EntryMissing, Entry: one(v.next), Message: fmt.Sprintf("entry %d is missing", v.next)}
	if why != nil {
		f.Code, f.Message = EntryUnreadable, fmt.Sprintf("entry %d cannot be read: %v", v.next, why)
	}
	v.find(f)
	v.prev = &pending{seq: v.next, stored: stored}
	v.next++
}

// Stray takes an entry that stands where none can.
func (v *Verifier) Stray(seq uint64) {
	v.find(Finding{Code: EntryChanged, Entry: one(seq), Message: fmt.Sprintf("entry %d stands where entry %d should", seq, v.next)})
}

// settle decides which hash the pending entry had when it was recorded, and adds it to the tree. expected is what its
// successor says, nil where that is not known; trusted reports that nothing speaks against the successor.
func (v *Verifier) settle(expected *tlog.Hash, trusted bool) {
	p := v.prev
	v.prev = nil
	if p == nil {
		if trusted && *expected != (tlog.Hash{}) {
			v.find(Finding{Code: ChainBroken, Entry: one(0), Message: "entry 0 names an entry before it"})
		}
		return
	}
	hash := v.trueHash(p, expected, trusted)
	if hash == nil || p.seq != v.tree.Size() {
		return // nothing is known of this entry, or of one before it: there is no tree from there on
	}
	tree, hashes := v.tree.Append(*hash)
	if v.hashed > 0 {
		v.compareHashes(p, hashes)
	}
	v.tree = tree
	v.compare()
}

func (v *Verifier) trueHash(p *pending, expected *tlog.Hash, trusted bool) *tlog.Hash {
	kept := expected
	if len(p.stored) > 0 {
		kept = &p.stored[0]
	}
	switch {
	case p.computed == nil:
		return kept
	case !p.inDoubt():
		if trusted && *expected != *p.computed {
			v.find(Finding{Code: ChainBroken, Entry: one(p.seq), To: one(p.seq + 1),
				Message: fmt.Sprintf("entry %d was not recorded after entry %d as that is now", p.seq+1, p.seq)})
		}
		return p.computed
	case expected != nil && *expected == *p.computed:
		if p.unproved {
			v.find(Finding{Code: ProofChanged, Entry: one(p.seq), Message: fmt.Sprintf("the inclusion proof of entry %d does not hold; the entry itself is intact", p.seq)})
		} else {
			v.find(Finding{Code: HashChanged, Entry: one(p.seq), Message: fmt.Sprintf("the hash kept of entry %d was changed; the entry itself is intact", p.seq)})
		}
		return p.computed
	}
	v.find(Finding{Code: EntryChanged, Entry: one(p.seq), Message: fmt.Sprintf("entry %d was changed", p.seq)})
	return kept
}

// compareHashes holds the tree's hashes kept for p against those that the entries give. Its own hash was seen before.
func (v *Verifier) compareHashes(p *pending, hashes []tlog.Hash) {
	if len(p.stored) < len(hashes) {
		v.find(Finding{Code: HashMissing, Entry: one(p.seq), Message: fmt.Sprintf("a hash of the tree over entry %d is missing", p.seq)})
		return
	}
	for i := 1; i < len(hashes); i++ {
		if p.stored[i] != hashes[i] {
			v.find(Finding{Code: HashChanged, Entry: one(p.seq), Message: fmt.Sprintf("a hash of the tree over entry %d was changed", p.seq)})
			return
		}
	}
}

// compare meets the checkpoints of the tree's size.
func (v *Verifier) compare() {
	for len(v.signed) > 0 && v.signed[0].Size <= v.tree.Size() {
		c := v.signed[0]
		v.signed = v.signed[1:]
		switch {
		case c.Size < v.tree.Size():
			continue // of size 0, or met already
		case c.Root == v.tree.Root():
			v.proved = c.Size
		case !v.differ:
			v.differ = true
			v.find(Finding{Code: CheckpointMismatch, Entry: one(v.proved), To: one(c.Size - 1),
				Message: fmt.Sprintf("entries %d to %d are not those that were signed (%s)", v.proved, c.Size-1, c.source)})
		}
	}
}

// Finish concludes. A history without any public key proves nothing to a reader who has none: fault.Invalid.
func (v *Verifier) Finish() (Report, error) {
	v.settle(nil, false)
	r := &v.report
	switch want := v.Expect(); {
	case want == 0 && v.next == 0:
		v.find(Finding{Code: EntryMissing, Entry: one(0), Message: "there is no entry, not even the first, which every ledger has"})
	case v.next < want:
		v.find(Finding{Code: TailTruncated, Entry: one(v.next), To: one(want - 1),
			Message: fmt.Sprintf("entries %d to %d are missing: the history was cut off, or an older file put back", v.next, want-1)})
	}
	r.Root = Short(v.tree.Root())
	r.Proved = v.proved
	r.Chained = r.DBSize - min(r.DBSize, r.Proved)
	r.conclude()
	if r.OK && !v.keyed {
		return *r, &fault.Error{Kind: fault.Invalid, Op: "verify the audit history", Code: "KEY_MISSING",
			Err: fmt.Errorf("it has no public key to check its checkpoints with"), Next: "give the checkpoints file that belongs to it"}
	}
	return *r, nil
}
