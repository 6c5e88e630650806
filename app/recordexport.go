package app

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"strings"
	"time"

	"freshet/backend/api"
	"freshet/backend/fault"
	"freshet/backend/kafka"
	"freshet/backend/recordfile"
	"freshet/backend/stream"
)

// exportStep bounds what is read before it is written.
const exportStep = 5000

// Export writes what is selected, oldest first, up to the ends that the topic has at the beginning.
func (r records) Export(ctx context.Context, q api.ExportQuery) (func(context.Context, io.Writer) error, error) {
	if q.From == "" && q.At == "" {
		q.From = "oldest"
	}
	c, req, _, err := r.selection(ctx, q.Selection)
	if err != nil {
		return nil, err
	}
	op := "export " + q.Topic
	if q.At == "ends" || q.From == "newest" || q.From == "latest" {
		return nil, fault.New(fault.Invalid, op, "give oldest, a time or offsets", "a file holds what is there, and begins at a place of it")
	}
	var columns []recordfile.Column
	if q.Columns != "" {
		if q.Format != "csv" {
			return nil, fault.New(fault.Invalid, op, "leave columns out, or take csv", "%s has columns of its own", q.Format)
		}
		for _, path := range splitPath(q.Columns, ',') {
			names := splitPath(path, '.')
			for i, n := range names {
				names[i] = unescape.Replace(n)
			}
			columns = append(columns, recordfile.Column{Title: path, Path: names})
		}
	}
	// A first look finds what cannot be read before the file has begun, and fixes its end.
	req.Backwards, req.Limit, req.MaxTime = false, 1, scanWithin
	first, err := c.Scan(ctx, req)
	if err != nil {
		return nil, err
	}
	from, to := kafka.Point{Offsets: map[int32]int64{}}, kafka.Point{Offsets: map[int32]int64{}}
	for _, w := range first.Window {
		from.Offsets[w.Partition], to.Offsets[w.Partition] = w.From, w.To
	}
	req.From, req.To = from, to
	return func(ctx context.Context, w io.Writer) error {
		buffered := bufio.NewWriterSize(w, 256<<10)
		var file recordfile.Writer
		switch q.Format {
		case "csv":
			file = recordfile.CSV(buffered, columns)
		case "parquet":
			file = recordfile.Parquet(buffered)
		default:
			file = jsonLines{json.NewEncoder(buffered)}
		}
		err := r.export(ctx, c, req, q.MaxRecords, file)
		if err == nil {
			err = file.Close()
		}
		if err == nil {
			err = buffered.Flush()
		}
		if err != nil && ctx.Err() == nil {
			r.log.Warn("an export was broken off", "topic", q.Topic, "err", err)
		}
		return err
	}, nil
}

var unescape = strings.NewReplacer(`\\`, `\`, `\.`, `.`, `\,`, `,`)

func (r records) export(ctx context.Context, c *kafka.Cluster, req kafka.ScanRequest, most int64, file recordfile.Writer) error {
	if len(req.To.Offsets) == 0 {
		return nil
	}
	req.MaxTime = time.Minute
	for left := most; left > 0; {
		req.Limit = int(min(left, exportStep))
		scan, err := c.Scan(ctx, req)
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case len(scan.Skipped) > 0:
			return fmt.Errorf("a batch cannot be read: %w", scan.Skipped[0])
		}
		for i := range scan.Records {
			if err := file.Write(&scan.Records[i]); err != nil {
				return err
			}
		}
		left -= int64(len(scan.Records))
		if scan.Stopped == kafka.StoppedEnd {
			return nil
		}
		maps.Copy(req.From.Offsets, scan.Next)
	}
	return nil
}

// jsonLines writes records as the command line does.
type jsonLines struct{ *json.Encoder }

func (j jsonLines) Write(r *stream.Record) error { return j.Encode(recordAnswer(r, false)) }

func (jsonLines) Close() error { return nil }
