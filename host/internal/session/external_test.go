package session_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

// outside gives the world an agent that is a program elsewhere and opens a task for it.
func (w *world) outside(spec host.TaskSpec) (host.Task, string) {
	w.t.Helper()
	if w.agents == nil {
		w.agents = map[string]*host.Agent{"ext": {Name: "ext", Module: host.ModuleExternal, Plugin: "external", Idle: 20 * time.Millisecond}}
	}
	task, token, err := w.service.OpenTask(w.t.Context(), caller, "ext", spec)
	if err != nil {
		w.t.Fatal(err)
	}
	return task, token
}

func (w *world) visit(id, call, name, request string) (abi.Result, error) {
	out, err := w.service.CallTask(w.t.Context(), caller, id, host.TaskCall{ID: call, Name: name, Request: []byte(request)})
	var r abi.Result
	if err == nil {
		err = json.Unmarshal(out, &r)
	}
	return r, err
}

func TestExternalTask(t *testing.T) {
	w := newWorld(t, echo)
	task, token := w.outside(host.TaskSpec{Purpose: "look around", Grants: []policy.Grant{{Actions: []string{"fileWrite", "reply"}}}})
	holder, err := w.service.Holder(t.Context(), token)
	if err != nil || holder.Task != task.ID || holder.Via != host.ViaTask || holder.User != "owner" {
		t.Fatalf("%+v, %v", holder, err)
	}
	if r, err := w.visit(task.ID, "", "effect", `{"path":"one"}`); err != nil || r.Error != nil {
		t.Fatal(r.Error, err)
	}
	if r, err := w.visit(task.ID, "", "model_chat", `{"Model":"m"}`); err != nil || r.Error == nil || r.Error.Code != abi.CodeDenied {
		t.Fatalf("what was not granted: %+v, %v", r, err)
	}
	if r, err := w.visit(task.ID, "", "call_start", `{}`); err != nil || r.Error == nil || r.Error.Code != abi.CodeInvalid {
		t.Fatalf("%+v, %v", r, err)
	}
	done, err := w.service.EndTask(t.Context(), caller, task.ID, host.TaskCompleted, []abi.Content{abi.Text("found it")})
	if err != nil || done.State != host.TaskCompleted {
		t.Fatalf("%+v, %v", done, err)
	}
	if turn := w.await(host.Turn{Session: task.Session, Number: 1}); text(turn.Content) != "found it" || turn.Status != host.TurnDone {
		t.Errorf("%+v", turn)
	}
	if _, err := w.visit(task.ID, "", "effect", `{"path":"late"}`); host.CodeOf(err) != host.ErrConflict {
		t.Errorf("a call after the end: %v", err)
	}
	if _, err := w.service.Holder(t.Context(), token); host.CodeOf(err) != host.ErrUnauthorized {
		t.Errorf("the token after the end: %v", err)
	}
	if diff := cmp.Diff([]string{"one"}, w.effects); diff != "" {
		t.Error(diff)
	}
}

// TestTaskDies: however a task ends, nothing that it was granted works afterwards, also not
// after a crash.
func TestTaskDies(t *testing.T) {
	for name, end := range map[string]func(w *world, task host.Task){
		"cancelled": func(w *world, task host.Task) {
			if _, err := w.service.EndTask(w.t.Context(), caller, task.ID, host.TaskCancelled, nil); err != nil {
				w.t.Fatal(err)
			}
		},
		"cancelled with its session": func(w *world, task host.Task) {
			if _, err := w.service.Cancel(w.t.Context(), caller, task.Session); err != nil {
				w.t.Fatal(err)
			}
		},
		"expired": func(w *world, _ host.Task) {
			was := w.now
			w.now = func() time.Time { return was().Add(2 * time.Hour) }
			w.kill()
			w.start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, echo)
			task, token := w.outside(host.TaskSpec{Expires: w.now().Add(time.Hour)})
			if r, err := w.visit(task.ID, "", "effect", `{"path":"one"}`); err != nil || r.Error != nil {
				t.Fatal(r.Error, err)
			}
			end(w, task)
			for range 2 {
				if _, err := w.service.Holder(t.Context(), token); host.CodeOf(err) != host.ErrUnauthorized {
					t.Errorf("the token: %v", err)
				}
				if r, err := w.visit(task.ID, "", "effect", `{"path":"late"}`); err == nil && r.Error == nil {
					t.Error("a call went through")
				}
				w.kill()
				w.start()
			}
			if diff := cmp.Diff([]string{"one"}, w.effects); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestCallsHaveNames: under one name a program gets one result, in this host and the next.
func TestCallsHaveNames(t *testing.T) {
	w := newWorld(t, echo)
	task, _ := w.outside(host.TaskSpec{})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if r, err := w.visit(task.ID, "first", "effect", `{"path":"once"}`); err != nil || r.Error != nil {
				t.Error(r.Error, err)
			}
		})
	}
	all.Wait()
	w.asleep(task.Session) // nobody called for a while
	if r, err := w.visit(task.ID, "first", "effect", `{"path":"once"}`); err != nil || r.Error != nil {
		t.Error(r.Error, err)
	}
	w.kill()
	w.start()
	if r, err := w.visit(task.ID, "first", "effect", `{"path":"once"}`); err != nil || r.Error != nil {
		t.Error(r.Error, err)
	}
	if _, err := w.visit(task.ID, "first", "effect", `{"path":"other"}`); host.CodeOf(err) != host.ErrConflict {
		t.Errorf("another request under the name: %v", err)
	}
	if diff := cmp.Diff([]string{"once"}, w.effects); diff != "" {
		t.Error(diff)
	}
}

// TestCallIsCutByACrash: an effect that may have happened is not repeated, and said to be
// unknown to whoever asks again.
func TestCallIsCutByACrash(t *testing.T) {
	w := newWorld(t, echo)
	task, _ := w.outside(host.TaskSpec{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, _ = w.service.CallTask(ctx, caller, task.ID, host.TaskCall{ID: "c", Name: "effect", Request: []byte(`{"path":"crash"}`)})
	}()
	for range 500 {
		w.mu.Lock()
		n := len(w.effects)
		w.mu.Unlock()
		if n > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.kill()
	cancel()
	w.start()
	r, err := w.visit(task.ID, "c", "effect", `{"path":"crash"}`)
	if err != nil || r.Error == nil || r.Error.Code != abi.CodeUnknownOutcome {
		t.Fatalf("%+v, %v", r, err)
	}
	open, err := w.service.Unsettled(t.Context(), caller)
	if err != nil || len(open) != 1 || open[0].Session != task.Session {
		t.Errorf("%+v, %v", open, err)
	}
	if diff := cmp.Diff([]string{"crash"}, w.effects); diff != "" {
		t.Error(diff)
	}
}

func TestOpenTaskRefuses(t *testing.T) {
	w := newWorld(t, echo)
	w.agents = map[string]*host.Agent{"ext": {Name: "ext", Module: host.ModuleExternal, Plugin: "external"}}
	for name, tc := range map[string]struct {
		agent string
		spec  host.TaskSpec
		want  host.ErrorCode
	}{
		"nobody":             {"nobody", host.TaskSpec{}, host.ErrNotFound},
		"runs in this host":  {"a", host.TaskSpec{}, host.ErrInvalid},
		"would have expired": {"ext", host.TaskSpec{Expires: w.now()}, host.ErrInvalid},
		"long purpose":       {"ext", host.TaskSpec{Purpose: strings.Repeat("x", 1001)}, host.ErrInvalid},
		"many grants":        {"ext", host.TaskSpec{Grants: slices.Repeat([]policy.Grant{{Actions: []string{"fileRead"}}}, 5000)}, host.ErrInvalid},
		"unknown action":     {"ext", host.TaskSpec{Grants: []policy.Grant{{Actions: []string{"fly"}}}}, host.ErrInvalid},
	} {
		if _, _, err := w.service.OpenTask(t.Context(), caller, tc.agent, tc.spec); host.CodeOf(err) != tc.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.service.Invoke(t.Context(), host.Invocation{Caller: caller, Agent: "ext", Event: abi.Event{Type: abi.EventMessage}}); host.CodeOf(err) != host.ErrInvalid {
		t.Errorf("an external agent was invoked: %v", err)
	}
	for _, token := range []string{"", "vspt_t_01ARZ3NDEKTSV4RRFFQ69G5FAV_" + strings.Repeat("0", 52), "vspt_x"} {
		if _, err := w.service.Holder(t.Context(), token); host.CodeOf(err) != host.ErrUnauthorized {
			t.Errorf("%q: %v", token, err)
		}
	}
}
