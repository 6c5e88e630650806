package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"freshet/app"
	"freshet/backend/api"
	"freshet/backend/fault"
)

// client speaks to a running instance: the one of a data directory, or one at a distance.
type client struct {
	base, token string
}

// connect finds the instance: --server with FRESHET_TOKEN, else the one that runs on the data directory.
func (g *globals) connect() (*client, error) {
	if g.server != "" {
		u, err := url.Parse(g.server)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return nil, fault.New(fault.Invalid, "read --server", "give a URL such as http://127.0.0.1:8123", "%q is no http URL", g.server)
		}
		return &client{strings.TrimSuffix(g.server, "/"), os.Getenv("FRESHET_TOKEN")}, nil
	}
	run, err := app.ReadRun(g.data)
	if err != nil {
		return nil, err
	}
	token, err := os.ReadFile(filepath.Join(g.data, app.TokenFile))
	if err != nil {
		return nil, fault.Wrap(fault.Denied, "read the instance's token", err, "run this as the user who started the instance")
	}
	return &client{run.URL, strings.TrimSpace(string(token))}, nil
}

// do makes one request and decodes the answer into out, where that is not nil.
func (c *client) do(ctx context.Context, method, path string, in, out any) error {
	raw, err := c.raw(ctx, method, path, in)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fault.Wrap(fault.Unavailable, "read the instance's answer", err, "is the other side the same version of Freshet?")
	}
	return nil
}

func (c *client) raw(ctx context.Context, method, path string, in any) (json.RawMessage, error) {
	resp, err := c.open(ctx, method, path, in)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 256<<20))
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, "read the instance's answer", err, "try again")
	}
	return b, nil
}

// ask is raw of the running instance.
func (g *globals) ask(ctx context.Context, method, path string, in any) (json.RawMessage, error) {
	c, err := g.connect()
	if err != nil {
		return nil, err
	}
	return c.raw(ctx, method, path, in)
}

// open makes one request; the caller closes the body of a success.
func (c *client) open(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if method != http.MethodGet {
		if in == nil {
			in = struct{}{}
		}
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/api"+path, body)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, "make the request", err, "")
	}
	req.Header.Set("X-Freshet", "1")
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	switch {
	case errors.Is(err, context.Canceled):
		return nil, fault.New(fault.Interrupted, "", "", "interrupted")
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fault.New(fault.Timeout, "", "look again later, or give a longer --timeout", "the time given by --timeout is over")
	case err != nil:
		return nil, fault.Wrap(fault.Unavailable, "reach the instance", err, "is it running? `freshet serve` or `freshet demo` starts one")
	case resp.StatusCode < 300:
		return resp, nil
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var e api.Error
	if json.Unmarshal(b, &e) != nil || e.Kind != "error" {
		return nil, fault.New(fault.Unavailable, "read the instance's answer", "is the other side Freshet?", "status %s", resp.Status)
	}
	return nil, &e
}

// within bounds ctx by --timeout, where one is given.
func within(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, timeout)
}
