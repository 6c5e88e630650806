package recordfile

import (
	"io"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"freshet/backend/stream"
)

// Row is a record as a Parquet file has it.
type Row struct {
	Topic     string   `parquet:"topic,dict"`
	Partition int32    `parquet:"partition"`
	Offset    int64    `parquet:"offset,delta"`
	Time      int64    `parquet:"time,timestamp(millisecond)"`
	Key       *[]byte  `parquet:"key,optional"`
	Value     *[]byte  `parquet:"value,optional"`
	Headers   []Header `parquet:"headers,list"`
}

// Header is one header of a Row.
type Header struct {
	Name  string  `parquet:"name"`
	Value *[]byte `parquet:"value,optional"`
}

const (
	// A row group is held in memory until it is written.
	groupRows  = 100_000
	groupBytes = 64 << 20
)

// Parquet writes Rows, compressed with zstd.
func Parquet(w io.Writer) Writer {
	return &parquetWriter{w: parquet.NewGenericWriter[Row](w, parquet.Compression(&zstd.Codec{}), parquet.CreatedBy("freshet", "", ""))}
}

type parquetWriter struct {
	w           *parquet.GenericWriter[Row]
	rows, bytes int
}

func (p *parquetWriter) Write(r *stream.Record) error {
	row := Row{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Time: r.Time.UnixMilli(), Key: optional(r.Key), Value: optional(r.Value)}
	p.rows++
	p.bytes += len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		row.Headers = append(row.Headers, Header{Name: h.Key, Value: optional(h.Value)})
		p.bytes += len(h.Key) + len(h.Value)
	}
	if _, err := p.w.Write([]Row{row}); err != nil || p.rows < groupRows && p.bytes < groupBytes {
		return err
	}
	p.rows, p.bytes = 0, 0
	return p.w.Flush()
}

func (p *parquetWriter) Close() error { return p.w.Close() }

func optional(b []byte) *[]byte {
	if b == nil {
		return nil
	}
	return &b
}
