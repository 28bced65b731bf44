package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

var (
	_ Tasks   = (*client)(nil)
	_ Keyring = (*client)(nil)
)

// taskBody is what a person says of a task that is opened. The host counts the seconds
// until it expires. Agent is left out where the task is opened for a message to one.
type taskBody struct {
	Agent     string         `json:"agent,omitempty"`
	Purpose   string         `json:"purpose,omitempty"`
	Grants    []policy.Grant `json:"grants,omitzero"`
	Budget    host.Budget    `json:"budget,omitzero"`
	ExpiresIn int64          `json:"expires_in,omitempty"`
}

// opened is a task with the token of its holder.
type opened struct {
	Task  host.Task `json:"task"`
	Token string    `json:"token"`
}

// IsZero reports whether nothing is said.
func (b taskBody) IsZero() bool {
	return b.Agent == "" && b.Purpose == "" && b.Grants == nil && b.Budget == host.Budget{} && b.ExpiresIn == 0
}

// OpenTask opens a task for a program elsewhere.
func (c *client) OpenTask(ctx context.Context, body taskBody) (o opened, err error) {
	return o, c.post(ctx, "/v1/tasks", body, &o)
}

// Tasks implements Tasks.
func (c *client) Tasks(ctx context.Context, f host.TaskFilter) ([]host.Task, error) {
	q := url.Values{}
	for name, v := range map[string]string{"agent": f.Agent, "state": string(f.State), "after": f.After} {
		if v != "" {
			q.Set(name, v)
		}
	}
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	var page struct {
		Tasks []host.Task `json:"tasks"`
	}
	err := c.do(ctx, http.MethodGet, "/v1/tasks", q, nil, &page)
	return page.Tasks, err
}

// Task implements Tasks.
func (c *client) Task(ctx context.Context, id string) (t host.Task, err error) {
	return t, c.do(ctx, http.MethodGet, "/v1/tasks/"+url.PathEscape(id), nil, nil, &t)
}

// CallTask makes a call in a task.
func (c *client) CallTask(ctx context.Context, id string, call host.TaskCall) (out abi.Result, err error) {
	body := map[string]any{"name": call.Name, "request": json.RawMessage(call.Request)}
	if call.ID != "" {
		body["id"] = call.ID
	}
	return out, c.post(ctx, "/v1/tasks/"+url.PathEscape(id)+"/calls", body, &out)
}

// EndTask implements Tasks.
func (c *client) EndTask(ctx context.Context, id string, state host.TaskState, result []abi.Content) (t host.Task, err error) {
	body := map[string]any{"state": state}
	if len(result) > 0 {
		body["content"] = result
	}
	return t, c.post(ctx, "/v1/tasks/"+url.PathEscape(id)+"/end", body, &t)
}

// keyBody says what a new key is. The host counts the seconds until it expires.
type keyBody struct {
	Name      string   `json:"name"`
	User      string   `json:"user,omitempty"`
	Scopes    []string `json:"scopes,omitempty"`
	ExpiresIn int64    `json:"expires_in,omitempty"`
}

// createdKey is a key with its token.
type createdKey struct {
	Key   host.APIKey `json:"key"`
	Token string      `json:"token"`
}

// CreateKey makes an API key.
func (c *client) CreateKey(ctx context.Context, body keyBody) (k createdKey, err error) {
	return k, c.post(ctx, "/v1/keys", body, &k)
}

// Keys implements Keyring.
func (c *client) Keys(ctx context.Context) ([]host.APIKey, error) {
	var list struct {
		Keys []host.APIKey `json:"keys"`
	}
	err := c.do(ctx, http.MethodGet, "/v1/keys", nil, nil, &list)
	return list.Keys, err
}

// RevokeKey implements Keyring.
func (c *client) RevokeKey(ctx context.Context, id string) (k host.APIKey, err error) {
	return k, c.do(ctx, http.MethodDelete, "/v1/keys/"+url.PathEscape(id), nil, nil, &k)
}
