package apitest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
)

// Tasks is an api.Tasks and an api.Delegation in memory. A call's result is its request,
// or a refusal where the call is named denied.
type Tasks struct {
	mu    sync.Mutex
	tasks []*host.Task
	calls map[string]string // by id
}

var (
	_ api.Tasks      = (*Tasks)(nil)
	_ api.Delegation = (*Tasks)(nil)
)

// NewTasks returns a host without tasks.
func NewTasks() *Tasks { return &Tasks{calls: map[string]string{}} }

func (s *Tasks) find(c host.Caller, id string) (*host.Task, error) {
	for _, t := range s.tasks {
		if t.ID == id && t.Tenant == c.Tenant {
			return t, nil
		}
	}
	return nil, host.Errorf(host.ErrNotFound, "there is no task %q; GET /v1/tasks lists them", id)
}

// OpenTask implements api.Tasks.
func (s *Tasks) OpenTask(_ context.Context, c host.Caller, agent string, spec host.TaskSpec) (host.Task, string, error) {
	if err := refuse(agent); err != nil {
		return host.Task{}, "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.tasks) + 1
	t := &host.Task{
		ID: fmt.Sprintf("T%d", n), Tenant: c.Tenant, User: c.User, Agent: agent, Session: fmt.Sprintf("S%d", n), Turn: 1,
		State: host.TaskActive, TaskSpec: spec, External: true, Opened: Epoch,
	}
	s.tasks = append(s.tasks, t)
	return *t, "vsp_task_" + t.ID, nil
}

// Task implements api.Tasks.
func (s *Tasks) Task(_ context.Context, c host.Caller, id string) (host.Task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.find(c, id)
	if err != nil {
		return host.Task{}, err
	}
	return *t, nil
}

// Tasks implements api.Tasks.
func (s *Tasks) Tasks(_ context.Context, c host.Caller, f host.TaskFilter) ([]host.Task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []host.Task
	for _, t := range slices.Backward(s.tasks) {
		match := t.Tenant == c.Tenant && cmp.Or(f.Agent, t.Agent) == t.Agent && cmp.Or(f.State, t.State) == t.State
		if match && (f.After == "" || t.ID < f.After) && (f.Visible == nil || f.Visible(t)) && len(out) < f.Limit {
			out = append(out, *t)
		}
	}
	return out, nil
}

// CallTask implements api.Tasks.
func (s *Tasks) CallTask(_ context.Context, c host.Caller, id string, call host.TaskCall) (json.RawMessage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.find(c, id)
	switch {
	case err != nil:
		return nil, err
	case t.State != host.TaskActive:
		return nil, host.Errorf(host.ErrConflict, "call in task %s: it is %s; open another one", id, t.State)
	}
	if call.ID != "" {
		was, ok := s.calls[id+"/"+call.ID]
		if ok && was != string(call.Request) {
			return nil, host.Errorf(host.ErrConflict, "call %s of task %s was made with another request; use a new id", call.ID, id)
		}
		s.calls[id+"/"+call.ID] = string(call.Request)
	}
	result := abi.Result{OK: call.Request}
	if call.Name == "denied" {
		result = abi.Result{Error: &abi.Error{Code: abi.CodeDenied, Message: "no policy permits it"}}
	}
	return json.Marshal(result)
}

// EndTask implements api.Tasks.
func (s *Tasks) EndTask(_ context.Context, c host.Caller, id string, state host.TaskState, _ []abi.Content) (host.Task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.find(c, id)
	switch {
	case err != nil:
		return host.Task{}, err
	case t.State != host.TaskActive:
		return host.Task{}, host.Errorf(host.ErrConflict, "end task %s: it is %s already", id, t.State)
	}
	t.State, t.Ended = state, Epoch.Add(time.Minute)
	return *t, nil
}

// Delegate implements api.Delegation.
func (s *Tasks) Delegate(_ context.Context, c host.Caller, task, audience string) (string, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.find(c, task); err != nil {
		return "", time.Time{}, err
	}
	return "header.for-" + audience + ".signature", Epoch.Add(5 * time.Minute), nil
}

// KeySet implements api.Delegation.
func (s *Tasks) KeySet(context.Context) ([]byte, error) {
	return []byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"1","x":"eA"}]}`), nil
}
