//go:build !linux

package postgres

// wakeAt does nothing: elsewhere the mark counts for readers that block only.
func (g *gulper) wakeAt(int) {}
