package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/vespiary/vespiary/host"
)

var _ Durable = (*client)(nil)

// of is the path of something that belongs to a session.
func of(session, what string) string {
	return "/v1/sessions/" + url.PathEscape(session) + "/" + what
}

// Signal implements Durable.
func (c *client) Signal(ctx context.Context, id, name string, data json.RawMessage) (t host.Turn, err error) {
	body := map[string]any{"name": name}
	if data != nil {
		body["data"] = data
	}
	return t, c.post(ctx, of(id, "signals"), body, &t)
}

// Unpark implements Durable.
func (c *client) Unpark(ctx context.Context, id, note string) (s host.Session, err error) {
	return s, c.post(ctx, of(id, "resume"), map[string]any{"note": note}, &s)
}

// Erase implements Durable.
func (c *client) Erase(ctx context.Context, id string) (s host.Session, err error) {
	return s, c.do(ctx, http.MethodPost, of(id, "erase"), nil, nil, &s)
}

// Approvals implements Durable.
func (c *client) Approvals(ctx context.Context, f host.ApprovalFilter) ([]host.Approval, error) {
	q := url.Values{}
	if f.Session != "" {
		q.Set("session", f.Session)
	}
	if f.Status != "" {
		q.Set("status", string(f.Status))
	}
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	var page struct {
		Approvals []host.Approval `json:"approvals"`
	}
	err := c.do(ctx, http.MethodGet, "/v1/approvals", q, nil, &page)
	return page.Approvals, err
}

// Approval implements Durable.
func (c *client) Approval(ctx context.Context, id string) (a host.Approval, err error) {
	return a, c.do(ctx, http.MethodGet, "/v1/approvals/"+url.PathEscape(id), nil, nil, &a)
}

// Answer implements Durable.
func (c *client) Answer(ctx context.Context, id string, answer host.Answer) (a host.Approval, err error) {
	return a, c.post(ctx, "/v1/approvals/"+url.PathEscape(id), answer, &a)
}

// Unsettled implements Durable.
func (c *client) Unsettled(ctx context.Context) ([]host.Unsettled, error) {
	var page struct {
		Unsettled []host.Unsettled `json:"unsettled"`
	}
	err := c.do(ctx, http.MethodGet, "/v1/unsettled", nil, nil, &page)
	return page.Unsettled, err
}

// Settle implements Durable.
func (c *client) Settle(ctx context.Context, id string, s host.Settlement) (u host.Unsettled, err error) {
	body := map[string]any{"path": s.Path, "outcome": s.Outcome, "note": s.Note, "tell": s.Tell}
	return u, c.post(ctx, of(id, "settlements"), body, &u)
}

// Fork implements Durable.
func (c *client) Fork(ctx context.Context, id string, at uint64) (s host.Session, err error) {
	return s, c.post(ctx, of(id, "fork"), map[string]any{"at": at}, &s)
}

// Revert implements Durable.
func (c *client) Revert(ctx context.Context, id string, to uint64) (s host.Session, err error) {
	return s, c.post(ctx, of(id, "revert"), map[string]any{"to": to}, &s)
}

// Replay implements Durable.
func (c *client) Replay(ctx context.Context, id string, o host.ReplayOptions) (out host.Replayed, err error) {
	body := map[string]any{"module": o.Module, "model": o.Model, "until": o.Until}
	return out, c.post(ctx, of(id, "replay"), body, &out)
}

// Diff implements Durable.
func (c *client) Diff(ctx context.Context, a, b string) (out host.Comparison, err error) {
	return out, c.do(ctx, http.MethodGet, of(a, "diff/"+url.PathEscape(b)), nil, nil, &out)
}

// Upgrade implements Durable.
func (c *client) Upgrade(ctx context.Context, id string, o host.UpgradeOptions) (u host.Upgraded, err error) {
	return u, c.post(ctx, of(id, "upgrade"), o, &u)
}

// Verify implements Durable.
func (c *client) Verify(ctx context.Context, id string) (v host.Verified, err error) {
	return v, c.do(ctx, http.MethodGet, of(id, "verify"), nil, nil, &v)
}

// Export implements Durable.
func (c *client) Export(ctx context.Context, id string, w io.Writer) error {
	return c.download(ctx, http.MethodGet, of(id, "export"), nil, w)
}

// Backup copies all that the host keeps.
func (c *client) Backup(ctx context.Context, w io.Writer) error {
	return c.download(ctx, http.MethodPost, "/v1/admin/backup", nil, w)
}

// download copies an answer as it comes. The host cuts off what it cannot finish.
func (c *client) download(ctx context.Context, method, path string, q url.Values, w io.Writer) error {
	response, err := c.send(ctx, method, path, q, nil, http.Header{})
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // read to its end, or of no more use
	in := &incoming{Reader: response.Body}
	if _, err := io.Copy(w, in); in.err != nil {
		return fmt.Errorf("the host broke off (%w): its log tells why; try again", in.err)
	} else if err != nil {
		return err
	}
	return nil
}

// incoming tells an answer that broke off from a file that could not be written.
type incoming struct {
	io.Reader
	err error
}

// Read implements io.Reader.
func (i *incoming) Read(p []byte) (int, error) {
	n, err := i.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		i.err = err
	}
	return n, err
}

// Import implements Durable. It is sent once: what r gave is gone.
func (c *client) Import(ctx context.Context, agent string, r io.Reader) (s host.Session, err error) {
	target := c.base + "/v1/sessions/import"
	if agent != "" {
		target += "?" + url.Values{"agent": {agent}}.Encode()
	}
	response, err := c.try(ctx, http.MethodPost, target, r, http.Header{"Content-Type": {"application/octet-stream"}})
	if err != nil {
		return s, err
	}
	if response.StatusCode >= http.StatusBadRequest {
		defer response.Body.Close() //nolint:errcheck // of no more use
		return s, refusal(response)
	}
	return s, answer(response, &s)
}
