// Package recordfile writes records into files that other programs read. Start at CSV and Parquet. It is an engine: it
// imports the words and decode, and opens nothing.
package recordfile

import (
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"freshet/backend/decode"
	"freshet/backend/stream"
)

// Writer writes records into one file, for one goroutine. Without a Close that succeeds the file is not whole.
type Writer interface {
	Write(r *stream.Record) error
	Close() error
}

// Column is one field of the decoded value, by the names on the way to it.
type Column struct {
	Title string
	Path  []string
}

// CSV writes RFC 4180 with a line of titles: topic, partition, offset and time, then columns or, without any, key and
// value. Values are as they are, a spreadsheet may take one that begins with = for a formula. Bytes that are not UTF-8
// are in hexadecimal after \x; null and what a record does not have are empty.
func CSV(w io.Writer, columns []Column) Writer {
	c := &csvWriter{csv: csv.NewWriter(w), columns: columns}
	c.csv.UseCRLF = true
	return c
}

type csvWriter struct {
	csv     *csv.Writer
	columns []Column
	line    []string
	titled  bool
}

func (c *csvWriter) titles() error {
	if c.titled {
		return nil
	}
	c.titled = true
	c.line = append(c.line[:0], "topic", "partition", "offset", "time")
	for _, col := range c.columns {
		c.line = append(c.line, col.Title)
	}
	if len(c.columns) == 0 {
		c.line = append(c.line, "key", "value")
	}
	return c.csv.Write(c.line)
}

func (c *csvWriter) Write(r *stream.Record) error {
	if err := c.titles(); err != nil {
		return err
	}
	c.line = append(c.line[:0], r.Topic, strconv.Itoa(int(r.Partition)), strconv.FormatInt(r.Offset, 10), r.Time.UTC().Format(stream.TimeFormat))
	if len(c.columns) == 0 {
		c.line = append(c.line, plain(r.Key), plain(r.Value))
		return c.csv.Write(c.line)
	}
	v, err := decode.JSON(r.Value)
	for _, col := range c.columns {
		cell := ""
		if err == nil {
			cell = at(&v, col.Path)
		}
		c.line = append(c.line, cell)
	}
	return c.csv.Write(c.line)
}

func (c *csvWriter) Close() error {
	if err := c.titles(); err != nil {
		return err
	}
	c.csv.Flush()
	return c.csv.Error()
}

func plain(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return `\x` + hex.EncodeToString(b)
}

// at is the text of what lies at a path; objects and lists are JSON.
func at(v *stream.Value, path []string) string {
	for _, name := range path {
		var ok bool
		if v, ok = v.Get(name); !ok {
			return ""
		}
	}
	switch v.Kind {
	case stream.Number, stream.String:
		return v.Text
	case stream.Null:
		return ""
	}
	var b strings.Builder
	writeJSON(&b, v)
	return b.String()
}

func writeJSON(b *strings.Builder, v *stream.Value) {
	text := func(s string) {
		quoted, _ := json.Marshal(s) // of a string it never fails
		b.Write(quoted)
	}
	switch v.Kind {
	case stream.Bool:
		b.WriteString(strconv.FormatBool(v.Bool))
	case stream.Number:
		b.WriteString(v.Text)
	case stream.String:
		text(v.Text)
	case stream.List:
		b.WriteByte('[')
		for i := range v.List {
			if i > 0 {
				b.WriteByte(',')
			}
			writeJSON(b, &v.List[i])
		}
		b.WriteByte(']')
	case stream.Object:
		b.WriteByte('{')
		for i := range v.Fields {
			if i > 0 {
				b.WriteByte(',')
			}
			text(v.Fields[i].Name)
			b.WriteByte(':')
			writeJSON(b, &v.Fields[i].Value)
		}
		b.WriteByte('}')
	default:
		b.WriteString("null")
	}
}
