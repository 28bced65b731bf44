package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

var _ Audit = (*client)(nil)

// auditQuery are the parameters that select records.
func auditQuery(f host.AuditFilter) url.Values {
	q := during(f.Since, f.Until)
	for name, v := range map[string]string{
		"chain": f.Chain, "session": f.Session, "task": f.Task, "agent": f.Agent, "user": f.User,
		"action": f.Action, "kind": string(f.Kind), "after": f.After,
	} {
		if v != "" {
			q.Set(name, v)
		}
	}
	for name, on := range map[string]bool{"denied": f.Denied, "allowed": f.Allowed, "differs": f.Differs} {
		if on {
			q.Set(name, "true")
		}
	}
	if f.Call != "" {
		q.Set("call", f.Call)
	}
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	return q
}

// SearchAudit implements Audit.
func (c *client) SearchAudit(ctx context.Context, f host.AuditFilter) ([]policy.Record, string, error) {
	var page struct {
		Records []policy.Record `json:"records"`
		Next    string          `json:"next"`
	}
	err := c.do(ctx, http.MethodGet, "/v1/audit", auditQuery(f), nil, &page)
	return page.Records, page.Next, err
}

// AuditRecord implements Audit.
func (c *client) AuditRecord(ctx context.Context, id string) (r policy.Record, err error) {
	return r, c.do(ctx, http.MethodGet, "/v1/audit/"+url.PathEscape(id), nil, nil, &r)
}

// ExportAudit implements Audit.
func (c *client) ExportAudit(ctx context.Context, f host.AuditFilter, format string, w io.Writer) error {
	q := auditQuery(f)
	q.Set("format", format)
	return c.download(ctx, http.MethodGet, "/v1/audit/export", q, w)
}

// Checkpoint implements Audit.
func (c *client) Checkpoint(ctx context.Context) (string, error) {
	return c.text(ctx, "/v1/audit/checkpoint")
}

// VerifyAudit implements Audit.
func (c *client) VerifyAudit(ctx context.Context, checkpoint string) (out host.AuditCheck, err error) {
	if checkpoint == "" {
		return out, c.do(ctx, http.MethodGet, "/v1/audit/verify", nil, nil, &out)
	}
	return out, c.post(ctx, "/v1/audit/verify", map[string]string{"checkpoint": checkpoint}, &out)
}

// tail opens the stream of records that follow the one whose id is f.After, or from now on.
func (r *runner) tail(ctx context.Context, f host.AuditFilter) (io.ReadCloser, error) {
	c, err := r.connect(ctx)
	if err != nil {
		return nil, err
	}
	response, err := c.send(ctx, http.MethodGet, "/v1/audit/tail", auditQuery(f), nil, http.Header{"Accept": {"text/event-stream"}})
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// follow yields records as they are made, until ctx ends. When the connection is lost, as
// by a restart of the host, it goes on after the last record.
func (r *runner) follow(ctx context.Context, f host.AuditFilter) iter.Seq2[policy.Record, error] {
	return func(yield func(policy.Record, error) bool) {
		stream, err := r.tail(ctx, f)
		for err == nil {
			for rec, failed := range events[policy.Record](stream) {
				if failed != nil {
					err = failed
					break
				}
				f.After = rec.ID
				if !yield(rec, nil) {
					return
				}
			}
			if errors.Is(err, errBroken) && ctx.Err() == nil {
				stream, err = r.again(ctx, f)
			}
		}
		if ctx.Err() == nil {
			yield(policy.Record{}, err)
		}
	}
}

// again opens the stream of records once the host answers again.
func (r *runner) again(ctx context.Context, f host.AuditFilter) (io.ReadCloser, error) {
	var failed error
	for range attempts {
		if err := wait(ctx, attemptPause); err != nil {
			return nil, err
		}
		stream, err := r.tail(ctx, f)
		if err == nil || slices.Contains(final, host.CodeOf(err)) {
			return stream, err
		}
		failed = err
	}
	return nil, fmt.Errorf("the host does not answer any more: %w", failed)
}
