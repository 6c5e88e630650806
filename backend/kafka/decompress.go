package kafka

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kgo"
)

var errBomb = fmt.Errorf("the batch decompresses to more than %d MiB", maxDecompressed>>20)

// decompressor decompresses batches to at most max bytes each. It serves kgo, too.
type decompressor struct {
	max  int
	gzip sync.Pool
	lz4  sync.Pool
	zstd sync.Pool
	// scratch are buffers that have grown to what batches take, so that each batch is copied once to its true size.
	scratch sync.Pool
}

func newDecompressor(max int) *decompressor {
	d := &decompressor{max: max}
	d.scratch.New = func() any { return new(bytes.Buffer) }
	d.gzip.New = func() any { return new(gzip.Reader) }
	d.lz4.New = func() any { return lz4.NewReader(nil) }
	d.zstd.New = func() any {
		z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(uint64(max)))
		if err != nil {
			return err
		}
		return z
	}
	return d
}

// Decompress returns src itself where it is not compressed. See kgo.Decompressor.
func (d *decompressor) Decompress(src []byte, codec kgo.CompressionCodecType) ([]byte, error) {
	switch codec {
	case kgo.CodecNone:
		return src, nil
	case kgo.CodecGzip:
		r := d.gzip.Get().(*gzip.Reader)
		defer d.gzip.Put(r)
		if err := r.Reset(bytes.NewReader(src)); err != nil {
			return nil, err
		}
		return d.stream(r)
	case kgo.CodecSnappy:
		return d.snappy(src)
	case kgo.CodecLz4:
		r := d.lz4.Get().(*lz4.Reader)
		defer d.lz4.Put(r)
		r.Reset(bytes.NewReader(src))
		return d.stream(r)
	case kgo.CodecZstd:
		z, ok := d.zstd.Get().(*zstd.Decoder)
		if !ok {
			return nil, errors.New("zstd cannot be decompressed here")
		}
		defer d.zstd.Put(z)
		buf := d.scratch.Get().(*bytes.Buffer)
		defer d.scratch.Put(buf)
		buf.Reset()
		out, err := z.DecodeAll(src, buf.AvailableBuffer())
		switch {
		case errors.Is(err, zstd.ErrDecoderSizeExceeded) || len(out) > d.max:
			return nil, errBomb
		case err != nil:
			return nil, err
		}
		buf.Write(out) // keeps what it had to grow to
		return bytes.Clone(out), nil
	}
	return nil, fmt.Errorf("unknown compression %d", codec)
}

func (d *decompressor) stream(r io.Reader) ([]byte, error) {
	out := d.scratch.Get().(*bytes.Buffer)
	defer d.scratch.Put(out)
	out.Reset()
	n, err := out.ReadFrom(io.LimitReader(r, int64(d.max)+1))
	switch {
	case n > int64(d.max):
		return nil, errBomb
	case err != nil:
		return nil, err
	}
	return bytes.Clone(out.Bytes()), nil
}

// xerial begins what Java's snappy streams write: blocks, each after its length.
var xerial = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

const xerialHead = 16

func (d *decompressor) snappy(src []byte) ([]byte, error) {
	if len(src) < xerialHead || !bytes.HasPrefix(src, xerial) {
		return d.snappyBlock(nil, src)
	}
	var out []byte
	for src = src[xerialHead:]; len(src) > 0; {
		if len(src) < 4 {
			return nil, io.ErrUnexpectedEOF
		}
		n := int(binary.BigEndian.Uint32(src))
		if src = src[4:]; n > len(src) {
			return nil, io.ErrUnexpectedEOF
		}
		var err error
		if out, err = d.snappyBlock(out, src[:n]); err != nil {
			return nil, err
		}
		src = src[n:]
	}
	return out, nil
}

func (d *decompressor) snappyBlock(out, src []byte) ([]byte, error) {
	n, err := s2.DecodedLen(src)
	if err != nil {
		return nil, err
	}
	if n > d.max-len(out) {
		return nil, errBomb
	}
	block, err := s2.Decode(nil, src)
	if err != nil {
		return nil, err
	}
	if out == nil {
		return block, nil
	}
	return append(out, block...), nil
}
