package rest

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
	"github.com/vespiary/vespiary/policy"
)

// taskSpec is what a client says of a task that it has opened.
type taskSpec struct {
	Purpose   string         `json:"purpose"`
	Grants    []policy.Grant `json:"grants"`
	Budget    host.Budget    `json:"budget"`
	Expires   time.Time      `json:"expires"`
	ExpiresIn *int64         `json:"expires_in"` // seconds
}

// spec checks what the client said; at is the name of the part of the body that said it,
// with a dot, or empty.
func (s *taskSpec) spec(at string, now func() time.Time) (host.TaskSpec, error) {
	out := host.TaskSpec{Purpose: s.Purpose, Grants: s.Grants, Budget: s.Budget}
	for _, g := range s.Grants {
		if fault := faulty(&g); fault != "" {
			return out, api.Invalid(at+"grants", "a grant %s", fault)
		}
	}
	b := s.Budget
	if min(b.Tokens, b.CostMicros, b.Calls, int64(b.Time), b.Fuel) < 0 {
		return out, api.Invalid(at+"budget", "a budget is negative; leave a limit out, or set it above 0")
	}
	var err error
	out.Expires, err = expiry(at, s.Expires, s.ExpiresIn, now)
	return out, err
}

// faulty says what is wrong with a grant, and what to do. An empty list of resources would
// grant all of them, which hardly anybody means by it.
func faulty(g *policy.Grant) string {
	switch {
	case len(g.Actions) == 0 || slices.Contains(g.Actions, ""):
		return "names no actions; name those that it gives, or leave the grant out"
	case g.Resources != nil && len(g.Resources) == 0:
		return "has an empty list of resources; leave resources out to grant all, or the grant to grant none"
	case slices.ContainsFunc(g.Resources, func(u policy.UID) bool { return u.Type == "" || u.ID == "" }):
		return "has a resource without type or id; give both"
	}
	return ""
}

// maxExpiresIn is a hundred years, in seconds: more does not fit a duration for long.
const maxExpiresIn = 100 * 365 * 24 * 3600

// expiry makes a moment of the two ways to name it, a zero one of none.
func expiry(at string, expires time.Time, in *int64, now func() time.Time) (time.Time, error) {
	switch {
	case in == nil:
		return expires, nil
	case !expires.IsZero():
		return expires, api.Invalid(at+"expires_in", "both expires and expires_in are given; leave one out")
	case *in < 1 || *in > maxExpiresIn:
		return expires, api.Invalid(at+"expires_in", "expires_in is %d; use a number of seconds from 1 to %d", *in, maxExpiresIn)
	}
	return now().UTC().Add(time.Duration(*in) * time.Second), nil
}

// openedTask shows the token for the only time.
type openedTask struct {
	Task  host.Task `json:"task"`
	Token string    `json:"token"`
}

// openTask opens a task for a program elsewhere.
func (h *handlers) openTask(w http.ResponseWriter, r *http.Request) error {
	var b struct {
		Agent string `json:"agent"`
		taskSpec
	}
	if _, err := api.Decode(r, &b, true); err != nil {
		return err
	}
	if b.Agent == "" {
		return api.Invalid("agent", "the task has no agent; name one of those that GET /v1/agents lists")
	}
	spec, err := b.spec("", h.Now)
	if err != nil {
		return err
	}
	t, token, err := h.Tasks.OpenTask(r.Context(), api.Caller(r), b.Agent, spec)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/tasks/"+t.ID)
	return api.WriteJSON(w, http.StatusCreated, openedTask{t, token})
}

// taskList is one page. Next, given back as after, asks for the next one.
type taskList struct {
	Tasks []host.Task `json:"tasks"`
	Next  string      `json:"next,omitempty"`
}

// taskStates are those that tasks can be listed by.
var taskStates = []host.TaskState{host.TaskActive, host.TaskCompleted, host.TaskCancelled, host.TaskExpired}

// tasks lists tasks page by page.
func (h *handlers) tasks(w http.ResponseWriter, r *http.Request) error {
	q, err := query(r, "agent", "state", "after", "limit")
	if err != nil {
		return err
	}
	f := host.TaskFilter{Agent: q.Get("agent"), State: host.TaskState(q.Get("state")), After: q.Get("after")}
	if err := oneOf("state", f.State, taskStates); err != nil {
		return err
	}
	if f.Limit, err = limit(q); err != nil {
		return err
	}
	list, err := h.Tasks.Tasks(r.Context(), api.Caller(r), f)
	if err != nil {
		return err
	}
	page := taskList{Tasks: some(list)}
	if len(list) == f.Limit {
		page.Next = list[len(list)-1].ID
	}
	return api.WriteJSON(w, http.StatusOK, page)
}

// task shows one task.
func (h *handlers) task(w http.ResponseWriter, r *http.Request) error {
	t, err := h.Tasks.Task(r.Context(), api.Caller(r), r.PathValue("id"))
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, t)
}

// callTask makes a call in a task. The answer is 200 whatever came of the call, because
// the request to make it succeeded: a client must not repeat it for that.
func (h *handlers) callTask(w http.ResponseWriter, r *http.Request) error {
	var b struct {
		ID      string          `json:"id"`
		Name    string          `json:"name"`
		Request json.RawMessage `json:"request"`
	}
	if _, err := api.Decode(r, &b, true); err != nil {
		return err
	}
	if b.Name == "" {
		return api.Invalid("name", "the call has no name; set name to that of a host call, such as tool_call")
	}
	key, err := api.IdempotencyKey(r.Header)
	switch {
	case err != nil:
		return err
	case key != "" && b.ID != "" && key != b.ID:
		return api.Invalid("id", "the id and the Idempotency-Key differ; leave one out")
	case b.ID == "":
		b.ID = key
	}
	return h.call(w, r, host.TaskCall{ID: b.ID, Name: b.Name, Request: orEmpty(b.Request)})
}

// orEmpty makes an empty object of a request that says nothing.
func orEmpty(request json.RawMessage) []byte {
	if len(request) == 0 || string(request) == "null" {
		return []byte("{}")
	}
	return request
}

// taskTools lists the tools that the task may use now.
func (h *handlers) taskTools(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	return h.call(w, r, host.TaskCall{Name: "tool_list", Request: []byte("{}")})
}

// call makes a call and shows its result as it is.
func (h *handlers) call(w http.ResponseWriter, r *http.Request, call host.TaskCall) error {
	return api.Working(r, func(ctx context.Context) error {
		result, err := h.Tasks.CallTask(ctx, api.Caller(r), r.PathValue("id"), call)
		if err != nil {
			return err
		}
		return api.WriteJSON(w, http.StatusOK, result)
	})
}

// ends are the states that a task can be brought to.
var ends = []host.TaskState{host.TaskCompleted, host.TaskCancelled}

// endTask ends a task. Which of the two ends it is, is not guessed.
func (h *handlers) endTask(w http.ResponseWriter, r *http.Request) error {
	var b struct {
		State   host.TaskState `json:"state"`
		Content content        `json:"content"`
	}
	if _, err := api.Decode(r, &b, true); err != nil {
		return err
	}
	if b.State == "" {
		return api.Invalid("state", "the state is missing; set state to completed or cancelled")
	}
	if err := oneOf("state", b.State, ends); err != nil {
		return err
	}
	return h.end(w, r, b.State, b.Content)
}

// cancelTask ends a task without a result.
func (h *handlers) cancelTask(w http.ResponseWriter, r *http.Request) error {
	return h.end(w, r, host.TaskCancelled, nil)
}

func (h *handlers) end(w http.ResponseWriter, r *http.Request, state host.TaskState, result content) error {
	t, err := h.Tasks.EndTask(r.Context(), api.Caller(r), r.PathValue("id"), state, result)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, t)
}

// delegated shows a token for an agent elsewhere.
type delegated struct {
	Token    string    `json:"token"`
	Type     string    `json:"token_type"`
	Audience string    `json:"audience"`
	Expires  time.Time `json:"expires"`
}

// delegateTask gives a token by which an agent elsewhere acts in the task.
func (h *handlers) delegateTask(w http.ResponseWriter, r *http.Request) error {
	var b struct {
		Audience string `json:"audience"`
	}
	if _, err := api.Decode(r, &b, true); err != nil {
		return err
	}
	if b.Audience == "" {
		return api.Invalid("audience", "the token has no audience; name the agent elsewhere that it is for")
	}
	token, expires, err := h.Delegation.Delegate(r.Context(), api.Caller(r), r.PathValue("id"), b.Audience)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusCreated, delegated{token, "Bearer", b.Audience, expires})
}

// keySet shows the public keys of those tokens to everybody. They change seldom.
func (h *handlers) keySet(w http.ResponseWriter, r *http.Request) error {
	set, err := h.Delegation.KeySet(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	_, _ = w.Write(set)
	return nil
}
