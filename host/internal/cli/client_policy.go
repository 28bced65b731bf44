package cli

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/vespiary/vespiary/host"
)

var _ TimeMachine = (*client)(nil)

// Policies returns the set that decides.
func (c *client) Policies(ctx context.Context) (s host.PolicySet, err error) {
	return s, c.do(ctx, http.MethodGet, "/v1/policies", nil, nil, &s)
}

// PolicySet returns a set that decides or once did.
func (c *client) PolicySet(ctx context.Context, digest string) (s host.PolicySet, err error) {
	return s, c.do(ctx, http.MethodGet, "/v1/policies/sets/"+url.PathEscape(digest), nil, nil, &s)
}

// WritePolicy puts a file in its place.
func (c *client) WritePolicy(ctx context.Context, f host.PolicyFile) (s host.PolicySet, err error) {
	header := http.Header{"Content-Type": {"text/plain; charset=utf-8"}}
	response, err := c.send(ctx, http.MethodPut, "/v1/policies/"+url.PathEscape(f.Name), nil, []byte(f.Text), header)
	if err != nil {
		return s, err
	}
	return s, answer(response, &s)
}

// RemovePolicy removes a file.
func (c *client) RemovePolicy(ctx context.Context, name string) (s host.PolicySet, err error) {
	return s, c.do(ctx, http.MethodDelete, "/v1/policies/"+url.PathEscape(name), nil, nil, &s)
}

// Schema is what policies can talk about.
func (c *client) Schema(ctx context.Context) (string, error) {
	return c.text(ctx, "/v1/policies/schema")
}

// Reach says what an agent could do now.
func (c *client) Reach(ctx context.Context, agent string) (r host.Reach, err error) {
	return r, c.do(ctx, http.MethodGet, "/v1/agents/"+url.PathEscape(agent)+"/reach", nil, nil, &r)
}

// Simulate implements TimeMachine.
func (c *client) Simulate(ctx context.Context, files []host.PolicyFile, since time.Time) (s host.Simulation, err error) {
	body := struct {
		Files []host.PolicyFile `json:"files"`
		Since time.Time         `json:"since,omitzero"`
	}{files, since}
	return s, c.post(ctx, "/v1/policies/simulate", body, &s)
}

// Explain implements TimeMachine.
func (c *client) Explain(ctx context.Context, decision string) (e host.Explanation, err error) {
	return e, c.do(ctx, http.MethodGet, "/v1/decisions/"+url.PathEscape(decision)+"/explain", nil, nil, &e)
}

// Tightest implements TimeMachine.
func (c *client) Tightest(ctx context.Context, agent string, since time.Time) (s host.Suggestion, err error) {
	return s, c.do(ctx, http.MethodGet, "/v1/agents/"+url.PathEscape(agent)+"/suggestion", during(since, time.Time{}), nil, &s)
}

// during are the parameters for a time; a zero bound is none.
func during(since, until time.Time) url.Values {
	q := url.Values{}
	for name, t := range map[string]time.Time{"since": since, "until": until} {
		if !t.IsZero() {
			q.Set(name, t.UTC().Format(time.RFC3339Nano))
		}
	}
	return q
}

// text returns an answer that is plain text.
func (c *client) text(ctx context.Context, path string) (string, error) {
	var b bytes.Buffer
	err := c.download(ctx, http.MethodGet, path, nil, &b)
	return b.String(), err
}

// eachProblem makes lines of faults in policies.
func eachProblem(list host.PolicyProblems) string {
	lines := make([]string, len(list))
	for i := range list {
		lines[i] = list[i : i+1].Error()
	}
	return strings.Join(lines, "\n")
}
