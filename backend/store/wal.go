package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"freshet/backend/auditlog"
)

// SQLite stops reading a -wal file at the first frame whose checksum is wrong and takes what follows for never written:
// a changed byte would take the newest entries away without a word. So the frames are checked here
// (https://sqlite.org/fileformat2.html#walformat).

const (
	walHeader   = 32
	frameHeader = 24
)

// checkWAL finds the first frame of the current log that is not as it was written. What older logs left behind it does
// not count.
func checkWAL(path string) ([]auditlog.Finding, error) {
	shm, err := os.ReadFile(strings.TrimSuffix(path, "-wal") + "-shm") // before the log: the index follows it
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	damaged := func(page uint32, format string, args ...any) []auditlog.Finding {
		return []auditlog.Finding{{Code: auditlog.WALDamaged, Page: int(page), Message: "the write-ahead log: " + fmt.Sprintf(format, args...)}}
	}
	head := make([]byte, walHeader)
	if n, err := io.ReadFull(f, head); n == 0 {
		return nil, nil
	} else if err != nil {
		return damaged(0, "it is cut off in its header"), nil
	}
	var order binary.ByteOrder = binary.LittleEndian
	switch binary.BigEndian.Uint32(head) {
	case 0x377f0682:
	case 0x377f0683:
		order = binary.BigEndian
	default:
		return damaged(0, "its header was changed"), nil
	}
	sum := walSum(order, [2]uint32{}, head[:24])
	if sum != sumAt(head[24:]) {
		return damaged(0, "its header was changed"), nil
	}
	pageSize := binary.BigEndian.Uint32(head[8:])
	if pageSize < 512 || pageSize > 65536 {
		return damaged(0, "its header was changed"), nil
	}
	frame := make([]byte, frameHeader+pageSize)
	ended := false // what follows is an older log's, which does not count
	for n := 0; ; n++ {
		if _, err := io.ReadFull(f, frame); err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil, nil // a frame that was not written to its end is none
		} else if err != nil {
			return nil, err
		}
		page := binary.BigEndian.Uint32(frame)
		ours := string(frame[8:16]) == string(head[16:24])
		whole := false
		if !ended {
			sum = walSum(order, walSum(order, sum, frame[:8]), frame[frameHeader:])
			whole = sum == sumAt(frame[16:])
		}
		if ours && !whole && !ended && unfinished(shm, head, n) {
			ended = true
			continue
		}
		if whole != ours {
			return damaged(page, "frame %d, of page %d, is not as it was written (or power failed while it was)", n, page), nil
		}
		ended = ended || !whole
	}
}

// unfinished reports whether the log's index, as the last writer left it, says that frame n was never committed: then
// that writer was killed while it wrote the frame, and nobody was told that it is there.
func unfinished(shm, head []byte, n int) bool {
	const size = 48 // of each of the two copies at the start (https://sqlite.org/walformat.html#the_wal_index_header)
	if len(shm) < 2*size || !bytes.Equal(shm[:size], shm[size:2*size]) || shm[12] != 1 || !bytes.Equal(shm[32:40], head[16:24]) {
		return false
	}
	return n >= int(binary.NativeEndian.Uint32(shm[16:]))
}

// walSum goes on with SQLite's checksum over b, whose length is a multiple of 8.
func walSum(order binary.ByteOrder, s [2]uint32, b []byte) [2]uint32 {
	for ; len(b) >= 8; b = b[8:] {
		s[0] += order.Uint32(b) + s[1]
		s[1] += order.Uint32(b[4:]) + s[0]
	}
	return s
}

func sumAt(b []byte) [2]uint32 {
	return [2]uint32{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
}
