package store_test

import (
	"context"
	"testing"

	"freshet/backend/store"
)

// BenchmarkRecord is one entry made durable: alone, one fsync each; with many recorders, a commit is shared.
func BenchmarkRecord(b *testing.B) {
	b.Run("alone", func(b *testing.B) {
		s := openSigned(b, b.TempDir(), &keys{})
		for b.Loop() {
			if _, err := s.Ledger().Record(context.Background(), note("s")); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("many", func(b *testing.B) {
		s := openSigned(b, b.TempDir(), &keys{})
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := s.Ledger().Record(context.Background(), note("s")); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}

// BenchmarkVerify is a whole history of 10,000 entries.
func BenchmarkVerify(b *testing.B) {
	s := openSigned(b, b.TempDir(), &keys{})
	if err := s.Ledger().Tx(context.Background(), func(tx *store.Tx) error {
		for range 10_000 {
			if _, err := tx.Audit(note("s")); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	mustCheckpoint(b, s)
	for b.Loop() {
		if r := verify(b, s.Dir()); !r.OK {
			b.Fatalf("%+v", r)
		}
	}
}
