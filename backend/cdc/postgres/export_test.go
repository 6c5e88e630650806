package postgres

// SetChunkPages has snapshots read so many pages at once, until reset is called.
func SetChunkPages(n int64) (reset func()) {
	was := chunkPages
	chunkPages = n
	return func() { chunkPages = was }
}

var NewGulper = newGulper
