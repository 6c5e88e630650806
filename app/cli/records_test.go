//go:build unix

package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"freshet/app"
	"freshet/backend/api"
	"freshet/backend/kafka"
	"freshet/backend/recordfile"
)

// get asks the instance's API; into nil returns the body.
func (in *instance) get(into any, path string, query url.Values) []byte {
	in.t.Helper()
	return in.call(into, http.MethodGet, path+"?"+query.Encode(), "")
}

func (in *instance) call(into any, method, path, body string) []byte {
	in.t.Helper()
	var run struct {
		URL string `json:"url"`
	}
	raw, err := os.ReadFile(in.data + "/run.json")
	if err == nil {
		err = json.Unmarshal(raw, &run)
	}
	if err != nil {
		in.t.Fatal(err)
	}
	token, err := os.ReadFile(in.data + "/" + app.TokenFile)
	if err != nil {
		in.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(in.t.Context(), method, run.URL+"/api"+path, strings.NewReader(body))
	if err != nil {
		in.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	req.Header.Set("X-Freshet", "1")
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		in.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		in.t.Fatal(err)
	}
	if into == nil {
		return b
	}
	if resp.StatusCode != http.StatusOK {
		in.t.Fatalf("%s %s: %s\n%s", method, path, resp.Status, b)
	}
	if err := json.Unmarshal(b, into); err != nil {
		in.t.Fatalf("%v\n%s", err, b)
	}
	return b
}

// producer writes to the instance's broker, each record where it says.
func (in *instance) producer(opts ...kgo.Opt) *kgo.Client {
	in.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(in.run().Broker), kgo.DisableClientMetrics(), kgo.RecordPartitioner(kgo.ManualPartitioner())}, opts...)...)
	if err != nil {
		in.t.Fatal(err)
	}
	in.t.Cleanup(cl.Close)
	return cl
}

func offsets(m map[string]string) string {
	var all []string
	for p, o := range m {
		all = append(all, p+":"+o)
	}
	slices.Sort(all)
	return strings.Join(all, ",")
}

func values(items []api.Record) string {
	var all []string
	for _, r := range items {
		all = append(all, r.Value.Text)
	}
	return strings.Join(all, " ")
}

// What the page asks of records: pages both ways, bounds that are told, keys as people mean them, rows that are small,
// an answer that is held, the record before, fields, and files that hold the same.
func TestRecords(t *testing.T) {
	in := serve(t, "serve")
	ctx := context.Background()
	in.do("topics", "create", "t", "--partitions", "3")
	cl := in.producer()
	base := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	var recs []*kgo.Record
	for i := range 60 {
		recs = append(recs, &kgo.Record{Topic: "t", Partition: int32(i % 3), Key: fmt.Appendf(nil, `{"id":%d}`, i%6), Value: fmt.Appendf(nil, "v%d", i), Timestamp: base.Add(time.Duration(i) * time.Minute)})
	}
	if err := cl.ProduceSync(ctx, recs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	at := func(r ...string) url.Values {
		q := url.Values{}
		for i := 0; i < len(r); i += 2 {
			q.Set(r[i], r[i+1])
		}
		return q
	}
	records := func(r ...string) (out api.Records) {
		t.Helper()
		in.get(&out, "/topics/t/records", at(r...))
		return out
	}

	// Newest first, then what is older, until nothing is.
	page := records("limit", "10")
	if got := values(page.Items); got != "v50 v51 v52 v53 v54 v55 v56 v57 v58 v59" || page.Scan.Total != "60" || page.Scan.Covered != "10" || page.Scan.Limits.Records != "2000000" {
		t.Errorf("newest: %s %+v", got, page.Scan)
	}
	var all []string
	for pages := 0; ; pages++ {
		all = append(strings.Fields(values(page.Items)), all...)
		if len(page.Scan.Older) == 0 {
			break
		}
		page = records("before", offsets(page.Scan.Older), "limit", "17")
	}
	if len(all) != 60 || all[0] != "v0" || all[59] != "v59" {
		t.Errorf("backwards: %v", all)
	}
	// Oldest first goes on with next; a page looks at what it shows.
	page = records("from", "oldest", "limit", "25")
	next := records("at", offsets(page.Scan.Next), "limit", "100")
	if len(page.Items) != 25 || page.Scan.Scanned != "25" || len(next.Items) != 35 || next.Scan.Stopped != "end" {
		t.Errorf("forwards: %d and %d, %+v", len(page.Items), len(next.Items), page.Scan)
	}
	// Times, partitions, and the end of a window.
	page = records("from", "2026-11-01T00:10:00Z", "until", "2026-11-01T00:20:00Z", "limit", "100")
	if got := values(page.Items); got != "v10 v11 v12 v13 v14 v15 v16 v17 v18 v19" || page.Scan.Total != "10" || len(page.Scan.Window) != 3 {
		t.Errorf("a range of time: %s, %+v", got, page.Scan)
	}
	page = records("from", "2026-11-01T00:10:00Z", "until", "2026-11-01T00:20:00Z", "order", "newest", "limit", "3")
	if got := values(page.Items); got != "v17 v18 v19" || page.Scan.Total != "10" {
		t.Errorf("the newest of a range: %s, %+v", got, page.Scan)
	}
	page = records("from", "oldest", "partitions", "1", "limit", "3")
	if got := values(page.Items); got != "v1 v4 v7" {
		t.Errorf("one partition: %s", got)
	}
	page = records("from", "oldest", "max_records", "7", "limit", "100")
	if len(page.Items) != 7 || page.Scan.Stopped != "records" || page.Scan.Limits.Records != "7" || page.Scan.Covered != "7" {
		t.Errorf("bounded: %+v", page.Scan)
	}

	// Keys.
	for _, key := range []string{"4", `{"id":4}`, `{ "id": 4 }`} {
		page = records("from", "oldest", "key", key, "limit", "3")
		if got := values(page.Items); got != "v4 v10 v16" {
			t.Errorf("key %s: %s", key, got)
		}
	}
	exact := []byte(`{"id":4}`)
	page = records("from", "oldest", "key_base64", base64.StdEncoding.EncodeToString(exact), "limit", "1")
	if got := values(page.Items); got != "v4" {
		t.Errorf("the key's bytes: %s", got)
	}
	if page = records("from", "oldest", "key_base64", base64.StdEncoding.EncodeToString([]byte("4"))); len(page.Items) != 0 {
		t.Errorf("other bytes: %s", values(page.Items))
	}
	own := kafka.PartitionOf(exact, 3)
	page = records("from", "oldest", "key", `{"id":4}`, "one_partition", "true", "filter", "partition >= 0")
	if len(page.Scan.Window) != 1 || page.Scan.Window[0].Partition != own || !strings.Contains(page.Scan.Note, fmt.Sprintf("partition %d of 3", own)) {
		t.Errorf("the key's own partition %d: %+v", own, page.Scan)
	}

	// The record before, of the same key.
	var prev api.Previous
	in.get(&prev, "/topics/t/previous", at("partition", "1", "offset", "19"))
	if prev.Record == nil || prev.Record.Value.Text != "v52" {
		t.Errorf("the previous record: %+v", prev)
	}
	prev = api.Previous{}
	in.get(&prev, "/topics/t/previous", at("partition", "1", "offset", "0"))
	if prev.Record != nil || prev.Why == "" || prev.Scan.Stopped != "end" {
		t.Errorf("no previous record: %+v", prev)
	}

	// Live.
	page = records("at", "ends")
	held := make(chan api.Records, 1)
	go func() { held <- records("at", offsets(page.Scan.Next), "wait_s", "10") }()
	big := strings.Repeat("é", 3000)
	put := func(value string) {
		t.Helper()
		if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "t", Partition: 2, Key: []byte{0, 255}, Value: []byte(value), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("x")}}}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	put(big)
	if page = <-held; len(page.Items) != 1 || page.Items[0].Value.Text != big || page.Items[0].Value.Bytes == nil {
		t.Errorf("held: %+v", page.Scan)
	}
	// Rows.
	page = records("from", "newest", "limit", "2", "shape", "row")
	row := page.Items[1]
	if v := row.Value; v.Bytes != nil || !v.Cut || v.Size != 6000 || len(v.Text) != 2048 || row.Key.Bytes == nil || row.Key.Text != "" || page.Items[0].Value.Text != "v59" {
		t.Errorf("rows: %+v %+v", row.Value, row.Key)
	}
	put(`{"before":null,"after":{"id":7,"n":9007199254740993},"source":{"schema":"public","table":"o","db":"d"},"op":"u","ts_ms":1}`)
	page = records("from", "newest", "limit", "1", "shape", "row")
	if r := page.Items[0]; r.Op != "u" || r.Value.Text != "" || !bytes.Contains(r.Decoded, []byte("9007199254740993")) {
		t.Errorf("a change in a row: %+v", r)
	}

	// Fields and filters.
	var fields api.Fields
	in.get(&fields, "/topics/t/fields", nil)
	found := map[string]api.Field{}
	for _, f := range fields.Items {
		found[f.CEL] = f
	}
	if f := found["value.after.n"]; f.Type != "integer" || len(f.Examples) != 1 || f.Examples[0] != "9007199254740993" {
		t.Errorf("fields: %+v", fields)
	}
	if f := found["key.id"]; f.Type != "integer" || f.Records != 60 || len(f.Examples) != 5 {
		t.Errorf("the key's field: %+v", f)
	}
	var check api.FilterCheck
	in.call(&check, http.MethodPost, "/filter/check", `{"expression":"value.op == 'u' &&\n  bad("}`)
	if check.Valid || check.Line != 2 || check.Column < 3 || check.Reason == "" {
		t.Errorf("a mistake: %+v", check)
	}
	check = api.FilterCheck{}
	in.call(&check, http.MethodPost, "/filter/check", `{"expression":"value.op == 'u'","topic":"t"}`)
	if !check.Valid || check.Tried == nil || check.Tried.Matched != 1 || check.Tried.Records != 62 || check.Tried.Failed != 61 {
		t.Errorf("a filter: %+v %+v", check, check.Tried)
	}

	// Files.
	whole := records("from", "oldest", "limit", "100")
	lines := strings.Split(strings.TrimSpace(in.do("topics", "export", "t")), "\n")
	byPlace := map[string]api.Record{}
	for _, l := range lines {
		var r api.Record
		if err := json.Unmarshal([]byte(l), &r); err != nil {
			t.Fatal(err)
		}
		byPlace[fmt.Sprintf("%d:%s", r.Partition, r.Offset)] = r
	}
	table, err := csv.NewReader(strings.NewReader(in.do("topics", "export", "t", "--format", "csv"))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	file := in.do("topics", "export", "t", "--format", "parquet")
	rows, err := parquet.Read[recordfile.Row](strings.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	if len(byPlace) != 62 || len(table) != 63 || len(rows) != 62 {
		t.Fatalf("%d lines, %d rows of CSV, %d of Parquet", len(byPlace), len(table), len(rows))
	}
	for i, r := range whole.Items {
		got, line, prow := byPlace[fmt.Sprintf("%d:%s", r.Partition, r.Offset)], table[i+1], rows[i]
		key := r.Key.Text
		if key == "" {
			key = `\x00ff`
		}
		if !bytes.Equal(got.Value.Bytes, r.Value.Bytes) || !slices.Equal(line, []string{"t", fmt.Sprint(r.Partition), r.Offset, r.Time, key, r.Value.Text}) ||
			fmt.Sprint(prow.Offset) != r.Offset || prow.Partition != r.Partition || !bytes.Equal(*prow.Key, r.Key.Bytes) || !bytes.Equal(*prow.Value, r.Value.Bytes) || len(prow.Headers) != len(r.Headers) {
			t.Fatalf("record %d: %+v, %v, %+v", i, got, line, prow)
		}
	}
	if got := in.do("topics", "export", "t", "--format", "csv", "--columns", `after.id,after.n`, "--filter", "has(value.op)"); !strings.HasSuffix(got, "topic,partition,offset,time,after.id,after.n\r\n") && !strings.Contains(got, ",7,9007199254740993\r\n") {
		t.Errorf("columns: %q", got)
	}
	if out, _, exit := in.try("topics", "export", "t", "--format", "parquet", "--columns", "a"); exit == 0 {
		t.Errorf("columns of parquet: %q", out)
	}
}
