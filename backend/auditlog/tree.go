package auditlog

import (
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// Tree is the right edge of the Merkle tree of RFC 6962: what is needed to append a leaf and to tell the root. A Tree
// is a value; a copy stays as it was.
type Tree struct {
	size uint64
	last tlog.Hash   // hash of the newest leaf
	edge []tlog.Hash // roots of the complete subtrees, left to right, one for each bit set in size
}

// Size is the number of leaves.
func (t Tree) Size() uint64 { return t.size }

// Last is the hash of the newest leaf, zero for an empty tree.
func (t Tree) Last() tlog.Hash { return t.last }

// Append returns the tree with one more leaf of hash h, and the hashes to be stored for it, whose indexes go on from
// tlog.StoredHashIndex(0, size).
func (t Tree) Append(h tlog.Hash) (Tree, []tlog.Hash) {
	stored := []tlog.Hash{h}
	edge := t.edge
	node := h
	for range bits.TrailingZeros64(t.size + 1) {
		node = tlog.NodeHash(edge[len(edge)-1], node)
		edge = edge[:len(edge)-1]
		stored = append(stored, node)
	}
	next := make([]tlog.Hash, len(edge)+1)
	copy(next, edge)
	next[len(edge)] = node
	return Tree{size: t.size + 1, last: h, edge: next}, stored
}

// Root is the tree's hash.
func (t Tree) Root() tlog.Hash {
	if t.size == 0 {
		root, _ := tlog.TreeHash(0, nil)
		return root
	}
	root := t.edge[len(t.edge)-1]
	for i := len(t.edge) - 2; i >= 0; i-- {
		root = tlog.NodeHash(t.edge[i], root)
	}
	return root
}

// LoadTree reads the right edge of a tree of the given size from its stored hashes.
func LoadTree(size uint64, r tlog.HashReader) (Tree, error) {
	if size == 0 {
		return Tree{}, nil
	}
	var indexes []int64
	var start uint64
	for level := 63; level >= 0; level-- {
		if size&(1<<level) != 0 {
			indexes = append(indexes, tlog.StoredHashIndex(level, int64(start>>level)))
			start += 1 << level
		}
	}
	indexes = append(indexes, tlog.StoredHashIndex(0, int64(size-1)))
	hashes, err := r.ReadHashes(indexes)
	if err != nil {
		return Tree{}, err
	}
	n := len(hashes) - 1
	return Tree{size: size, last: hashes[n], edge: hashes[:n:n]}, nil
}
