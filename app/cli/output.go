package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"freshet/backend/api"
)

// printer writes results as people or programs want them.
type printer struct {
	w      io.Writer
	format string // table, json, jsonl
}

// list writes a raw list answer: as it is, an item a line, or as a table by row.
func list[T any](p printer, raw json.RawMessage, header string, row func(T) []string) error {
	switch p.format {
	case "json":
		return p.line(raw)
	case "jsonl":
		var l struct {
			Items []json.RawMessage `json:"items"`
		}
		if err := json.Unmarshal(raw, &l); err != nil {
			return err
		}
		for _, item := range l.Items {
			if err := p.line(item); err != nil {
				return err
			}
		}
		return nil
	}
	var l struct {
		Items []T `json:"items"`
	}
	if err := json.Unmarshal(raw, &l); err != nil {
		return err
	}
	rows := make([][]string, len(l.Items))
	for i, item := range l.Items {
		rows[i] = row(item)
	}
	return p.table(header, rows)
}

// one writes a raw answer about one thing, or by table.
func one[T any](p printer, raw json.RawMessage, table func(T) error) error {
	if p.format != "table" {
		return p.line(raw)
	}
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		return err
	}
	return table(v)
}

// described turns {v, kind, item} into an object that reads both as the thing itself and as a list of one.
func described(raw json.RawMessage) (json.RawMessage, error) {
	var d struct {
		V    int             `json:"v"`
		Kind string          `json:"kind"`
		Item json.RawMessage `json:"item"`
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		return nil, err
	}
	var flat map[string]json.RawMessage
	if err := json.Unmarshal(d.Item, &flat); err != nil {
		return nil, err
	}
	flat["v"], _ = json.Marshal(d.V)
	flat["kind"], _ = json.Marshal(d.Kind)
	flat["items"], _ = json.Marshal([]json.RawMessage{d.Item})
	return json.Marshal(flat)
}

// object writes v as JSON on one line.
func (p printer) object(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return p.line(b)
}

func (p printer) line(raw json.RawMessage) error {
	_, err := fmt.Fprintf(p.w, "%s\n", strings.TrimRight(string(raw), "\n"))
	return err
}

// table writes rows under a header of tab-separated names.
func (p printer) table(header string, rows [][]string) error {
	w := tabwriter.NewWriter(p.w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, header)
	for _, row := range rows {
		for i := range row {
			row[i] = clean(row[i])
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// pairs writes names and values, one pair a line.
func (p printer) pairs(kv ...string) error {
	w := tabwriter.NewWriter(p.w, 0, 0, 2, ' ', 0)
	for i := 0; i+1 < len(kv); i += 2 {
		if kv[i+1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", kv[i], clean(kv[i+1]))
		}
	}
	return w.Flush()
}

// clean makes text from elsewhere harmless to a terminal: controls, escapes and the marks that reorder text are written
// as escapes.
func clean(s string) string {
	if !strings.ContainsFunc(s, unsafe) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unsafe(r) {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func unsafe(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029' || r == unicode.ReplacementChar
}

// reading writes a measured amount in a few characters: "12.4 s", "12.4 s (11.9 to 12.9)", "≥ 31 s", "unknown: why".
func reading(r api.Reading) string {
	unit := r.Unit
	if unit != "" {
		unit = " " + unit
	}
	num := func(f float64) string {
		s := strconv.FormatFloat(f, 'f', 2, 64)
		return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
	}
	switch {
	case r.State == "unknown":
		return "unknown: " + r.Why
	case r.Value == nil && r.Low != nil && r.High != nil:
		return num(*r.Low) + " to " + num(*r.High) + unit
	case r.Value == nil && r.Low != nil:
		return "≥ " + num(*r.Low) + unit
	case r.Value == nil && r.High != nil:
		return "≤ " + num(*r.High) + unit
	case r.Value == nil:
		return "unknown: " + r.Why
	case r.Low == nil || r.High == nil:
		if r.Low != nil {
			return num(*r.Value) + unit + " (≥ " + num(*r.Low) + ")"
		}
		return num(*r.Value) + unit
	case num(*r.Low) == num(*r.High):
		return num(*r.Value) + unit
	}
	return num(*r.Value) + unit + " (" + num(*r.Low) + " to " + num(*r.High) + ")"
}
