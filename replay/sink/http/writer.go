package http

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"time"

	"freshet/backend/clock"
	"freshet/backend/fault"
	"freshet/backend/stream"
	"freshet/replay"
)

// Headers of a request beside Content-Type. A key that is not plain text is base64 under keyBase64Header.
const (
	idempotencyHeader = "Idempotency-Key"
	topicHeader       = "Freshet-Topic"
	partitionHeader   = "Freshet-Partition"
	offsetHeader      = "Freshet-Offset"
	keyHeader         = "Freshet-Key"
	keyBase64Header   = "Freshet-Key-Base64"
	tombstoneHeader   = "Freshet-Tombstone" // "true" for a record without a value
)

// ownHeaders are those that options cannot set.
var ownHeaders = []string{idempotencyHeader, topicHeader, partitionHeader, offsetHeader, keyHeader, keyBase64Header, tombstoneHeader,
	"Content-Type", "Content-Length", "Transfer-Encoding", "Connection", "Host", "Upgrade", "Trailer", "Te"}

// writer sends one shard's records, one after the other.
type writer struct {
	sink   *Sink
	shard  replay.Shard
	target string
	nonce  string
	url    *url.URL
}

func (w *writer) Progress() replay.Progress { return replay.Progress{None: true} }

func (w *writer) Close(context.Context) error { return nil }

// Write implements replay.Writer. What follows a record that could not be delivered is not sent.
func (w *writer) Write(ctx context.Context, in replay.Write) (replay.Written, error) {
	out := replay.Written{Before: time.Now()}
	for i := range in.Items {
		rec := in.Items[i].Record
		reason, unsure, err := w.deliver(ctx, &in.Items[i])
		switch {
		case err != nil:
			doubt := &replay.InDoubt{Done: rec.Offset, Applied: out.Applied, Refused: out.Refused, Err: err}
			if unsure {
				doubt.Unsure = []int64{rec.Offset}
			}
			return replay.Written{}, doubt
		case reason != "":
			out.Refused = append(out.Refused, replay.Refusal{Offset: rec.Offset, Reason: reason})
		default:
			out.Applied++
		}
	}
	if in.Refusing != nil && len(out.Refused) > 0 {
		if err := in.Refusing(ctx, out.Refused); err != nil {
			return replay.Written{}, &replay.InDoubt{Done: in.Next, Applied: out.Applied, Refused: out.Refused, Err: err}
		}
	}
	out.After = time.Now()
	return out, nil
}

// deliver sends one record until the endpoint takes or refuses it. With an error, unsure says that the endpoint may have
// taken it all the same.
func (w *writer) deliver(ctx context.Context, item *replay.Item) (refused string, unsure bool, err error) {
	op := fmt.Sprintf("send %s/%d:%d to %s", item.Record.Topic, item.Record.Partition, item.Record.Offset, w.sink.place())
	started := time.Now()
	for try := 0; ; try++ {
		if err := w.sink.awaitHold(ctx, op, w.sink.opts.Patience-time.Since(started)); err != nil {
			return "", unsure, err
		}
		a := w.attempt(ctx, op, item)
		// What one attempt left in doubt a later answer settles only where the endpoint knows the key.
		unsure = a.unsure || unsure && a.err != nil
		switch {
		case a.err == nil:
			return a.refused, false, nil
		case ctx.Err() != nil:
			return "", unsure, w.sink.failure(op, ctx.Err())
		case a.unsure && !w.sink.opts.Idempotent:
			return "", true, a.err
		case !a.again:
			return "", unsure, a.err
		}
		wait := rand.N(min(longestWait, firstWait<<min(try, 10)))
		if a.hold {
			continue // the hold is the wait
		}
		if time.Since(started)+wait > w.sink.opts.Patience {
			return "", unsure, a.err
		}
		if err := clock.Sleep(ctx, wait); err != nil {
			return "", unsure, w.sink.failure(op, err)
		}
	}
}

// awaitHold waits until the endpoint wants requests again, where that is within patience.
func (s *Sink) awaitHold(ctx context.Context, op string, patience time.Duration) error {
	for {
		s.mu.Lock()
		until := s.hold
		s.mu.Unlock()
		wait := time.Until(until)
		switch {
		case ctx.Err() != nil:
			return s.failure(op, ctx.Err())
		case wait <= 0:
			return nil
		case wait > patience:
			return fault.New(fault.Unavailable, op, "it is sent then", "the endpoint asked to wait until %s", until.UTC().Format(stream.TimeFormat))
		}
		if err := clock.Sleep(ctx, wait); err != nil {
			return s.failure(op, err)
		}
	}
}

// holdUntil has every writer of the sink wait.
func (s *Sink) holdUntil(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at.After(s.hold) {
		s.hold = at
	}
}

// attempt is what one request came to. Without err the record was taken, or refused for good.
type attempt struct {
	refused string
	err     error
	again   bool // later it may work
	unsure  bool // it may have been taken
	hold    bool // the endpoint said how long to wait
}

func (w *writer) attempt(ctx context.Context, op string, item *replay.Item) attempt {
	s := w.sink
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	sent := false
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// From here on bytes of the request may have left.
		GotConn: func(httptrace.GotConnInfo) { sent = true },
	})
	req, err := w.request(ctx, item)
	if err != nil {
		return attempt{refused: "a request cannot be made of it"}
	}
	resp, err := s.client.Do(req)
	if err != nil {
		e := s.failure(op, err)
		return attempt{err: e, again: !fault.Is(e, fault.Denied), unsure: sent}
	}
	drain := time.AfterFunc(drainTime, cancel)
	io.Copy(io.Discard, io.LimitReader(resp.Body, maxResponse)) // so that the connection can be used again
	drain.Stop()
	resp.Body.Close()
	status := fmt.Sprintf("status %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		return attempt{}
	case code == 408 || code == 425 || code == 429 || code >= 500:
		a := attempt{err: fault.New(fault.Unavailable, op, "it is tried again", "%s", status), again: true}
		wait, ok := retryAfter(resp.Header, time.Now())
		switch {
		case ok && wait > s.opts.RetryAfterCap:
			e := fault.New(fault.Blocked, op, "ask its owner, then resume", "%s, and the endpoint asks to wait %s, more than %s", status, wait.Round(time.Second), s.opts.RetryAfterCap)
			e.Code = "SINK_ASKED_TO_WAIT"
			a.err, a.again = e, false
		case ok && wait > 0:
			s.holdUntil(time.Now().Add(wait + rand.N(wait/10+1)))
			a.hold = true
		}
		return a
	case code == 401 || code == 407:
		return attempt{err: fault.New(fault.Denied, op, "correct the sink's Authorization header, then resume", "%s", status)}
	case code >= 400:
		return attempt{refused: strings.TrimSpace(status)}
	}
	e := fault.New(fault.Blocked, op, "name the endpoint's own URL: redirects are not followed", "%s", status)
	e.Code = "UNEXPECTED_STATUS"
	return attempt{err: e}
}

// retryAfter reads how long the endpoint asks to wait: seconds, or a time by its own clock, which Date tells. ok is
// false where it says nothing usable.
func retryAfter(h http.Header, now time.Time) (wait time.Duration, ok bool) {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" {
		return 0, false
	}
	if seconds, err := strconv.ParseInt(v, 10, 64); err == nil {
		if seconds < 0 {
			return 0, false
		}
		return time.Duration(min(seconds, 1<<32)) * time.Second, true
	} else if errors.Is(err, strconv.ErrRange) && v[0] != '-' {
		return time.Duration(1<<32) * time.Second, true
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0, false
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return at.Sub(now), at.After(now)
}

// request makes the record's request. Its body is the value's bytes as they are.
func (w *writer) request(ctx context.Context, item *replay.Item) (*http.Request, error) {
	rec := item.Record
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url.String(), bytes.NewReader(rec.Value))
	if err != nil {
		return nil, err
	}
	// The transport would send a request with an Idempotency-Key again by itself; without GetBody and with a body it
	// does not.
	req.GetBody = nil
	req.Body = io.NopCloser(bytes.NewReader(rec.Value))
	h := req.Header
	for name, values := range w.sink.opts.Header {
		h[http.CanonicalHeaderKey(name)] = values
	}
	h.Set(idempotencyHeader, replay.IdempotencyKey(w.nonce, w.shard.TopicID, rec.Partition, rec.Offset, w.target))
	h.Set(topicHeader, rec.Topic)
	h.Set(partitionHeader, strconv.Itoa(int(rec.Partition)))
	h.Set(offsetHeader, strconv.FormatInt(rec.Offset, 10))
	if rec.Key != nil {
		if key := string(rec.Key); validValue(key) {
			h.Set(keyHeader, key)
		} else {
			h.Set(keyBase64Header, base64.StdEncoding.EncodeToString(rec.Key))
		}
	}
	if rec.Value == nil {
		h.Set(tombstoneHeader, "true")
		return req, nil
	}
	h.Set("Content-Type", w.contentType(item))
	return req, nil
}

// validValue reports whether s can be a header's value as it is.
func validValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c >= 0x7f {
			return false
		}
	}
	return strings.TrimSpace(s) == s
}

// validName reports whether s can be a header's name.
func validName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?={}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

func (w *writer) contentType(item *replay.Item) string {
	if t := w.sink.opts.ContentType; t != "" {
		return t
	}
	for _, h := range item.Record.Headers {
		if strings.EqualFold(h.Key, "content-type") && len(h.Value) > 0 && validValue(string(h.Value)) {
			return string(h.Value)
		}
	}
	if item.Value != nil || json.Valid(item.Record.Value) {
		return "application/json"
	}
	return "application/octet-stream"
}
