package auditlog

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"freshet/backend/fault"
)

// Keys keeps the signing key. backend/secret implements it.
type Keys interface {
	// Secret returns what Keep was given under name, "" where it holds nothing.
	Secret(ctx context.Context, name string) (string, error)
	Keep(ctx context.Context, name, value string) error
}

// Checkpoint is a signed statement that the tree of a ledger had a certain root at a certain size.
type Checkpoint struct {
	Origin string
	Size   uint64
	Root   tlog.Hash
	Note   string // the signed text, in the format of https://c2sp.org/tlog-checkpoint
}

// Short is the end of the root in hexadecimal, short enough to be written down with a result.
func (c Checkpoint) Short() string { return Short(c.Root) }

// Short is the last eight hexadecimal digits of a root.
func Short(root tlog.Hash) string { return hex.EncodeToString(root[len(root)-4:]) }

// GenerateKey makes an Ed25519 key for the ledger called origin: the signer's half is secret, the verifier's is not.
func GenerateKey(origin string) (signer, verifier string, err error) {
	return note.GenerateKey(rand.Reader, origin)
}

// SignCheckpoint signs the tree's head.
func SignCheckpoint(origin string, t Tree, signer note.Signer) (Checkpoint, error) {
	c := Checkpoint{Origin: origin, Size: t.Size(), Root: t.Root()}
	text := fmt.Sprintf("%s\n%d\n%s\n", origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		return Checkpoint{}, fault.Wrap(fault.Internal, "sign checkpoint", err, "")
	}
	c.Note = string(signed)
	return c, nil
}

// OpenCheckpoint reads a signed checkpoint whose signature one of keys verifies.
func OpenCheckpoint(signed string, keys note.Verifiers) (Checkpoint, error) {
	n, err := note.Open([]byte(signed), keys)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	c, err := parseCheckpoint(n.Text)
	c.Note = signed
	return c, err
}

// parseCheckpoint reads origin, size and root. Lines after them are allowed by the format and say nothing to us.
func parseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.SplitN(text, "\n", 4)
	if len(lines) != 4 || lines[0] == "" {
		return Checkpoint{}, fmt.Errorf("checkpoint: not origin, size and root")
	}
	c := Checkpoint{Origin: lines[0]}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return Checkpoint{}, fmt.Errorf("checkpoint: size %q", lines[1])
	}
	c.Size = uint64(size)
	if c.Root, err = tlog.ParseHash(lines[2]); err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: root %q", lines[2])
	}
	return c, nil
}

// Extends proves, from the stored hashes that r reads, that the tree is c's tree with nothing but more leaves.
func Extends(t Tree, r tlog.HashReader, c Checkpoint) error {
	fail := func(code, format string, args ...any) error {
		return &fault.Error{Kind: fault.Tampered, Op: "continue the audit history", Code: code, Err: fmt.Errorf(format, args...), Next: tamperedNext}
	}
	switch {
	case c.Size > t.Size():
		return fail(TailTruncated, "it has %d entries, a checkpoint was signed for %d", t.Size(), c.Size)
	case c.Size == t.Size():
		if t.Root() != c.Root {
			return fail(CheckpointMismatch, "its root is not the one signed at %d entries", c.Size)
		}
		return nil
	case c.Size == 0:
		return nil
	}
	proof, err := tlog.ProveTree(int64(t.Size()), int64(c.Size), r)
	if err != nil {
		return fail(HashMissing, "its tree cannot be read: %w", err)
	}
	if err := tlog.CheckTree(proof, int64(t.Size()), t.Root(), int64(c.Size), c.Root); err != nil {
		return fail(CheckpointMismatch, "it does not continue what was signed at %d entries: %w", c.Size, err)
	}
	return nil
}

// verifiers reads public keys. One that cannot be read verifies nothing.
func verifiers(keys []string) note.Verifiers {
	var list []note.Verifier
	for _, k := range keys {
		if v, err := note.NewVerifier(k); err == nil {
			list = append(list, v)
		}
	}
	return note.VerifierList(list...)
}
