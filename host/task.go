package host

import (
	"time"

	"github.com/vespiary/vespiary/policy"
)

// TaskState is whether a task is still worth something.
type TaskState string

// The states of a task. Everything but active is final.
const (
	TaskActive    TaskState = "active"
	TaskCompleted TaskState = "completed"
	TaskCancelled TaskState = "cancelled"
	TaskExpired   TaskState = "expired"
)

// TaskSpec says what a task is opened with. What it leaves out is as the agent's
// configuration has it; what it names can only be less.
type TaskSpec struct {
	Purpose string `json:"purpose,omitempty"` // in words, for people
	// Grants narrow what the task may do, beside the policies. nil does not narrow; an empty
	// list allows nothing but to answer, to wait, and to remember what was said.
	Grants  []policy.Grant `json:"grants,omitzero"`
	Budget  Budget         `json:"budget,omitzero"`
	Expires time.Time      `json:"expires,omitzero"`
}

// Task is the unit of authority: on whose behalf, for what, until when, with which grants
// and budget. It lives in the session that works on it; a task without a record is over.
type Task struct {
	ID      string    `json:"id"` // ULID, made by the host
	Tenant  string    `json:"tenant"`
	User    string    `json:"user"` // on whose behalf
	Agent   string    `json:"agent"`
	Session string    `json:"session"`
	Turn    int       `json:"turn"` // the first one that works on it
	State   TaskState `json:"state"`
	TaskSpec
	// External says that the agent is a program elsewhere, which calls with the task's token.
	External bool      `json:"external,omitempty"`
	Parent   string    `json:"parent,omitempty"` // the task that an agent delegated this one from
	Above    string    `json:"above,omitempty"`  // the session of Parent
	Opened   time.Time `json:"opened"`
	Ended    time.Time `json:"ended,omitzero"`
}

// Live reports whether the task is worth something at a moment. At the instant at which it
// expires it is not.
func (t *Task) Live(now time.Time) bool {
	return t.State == TaskActive && (t.Expires.IsZero() || now.Before(t.Expires))
}

// Standing is what a task is worth at a moment, in the form that policy needs.
type Standing struct {
	Task   Task
	Entity policy.Entity  // the task, with its state at that moment
	Grants *policy.Grants // nil: it was opened without
	Parent *Standing      // of the task that it was delegated from
}

// Live reports whether the task and all that it was delegated from are worth something.
func (s *Standing) Live(now time.Time) bool {
	for ; s != nil; s = s.Parent {
		if !s.Task.Live(now) {
			return false
		}
	}
	return true
}

// Link is one link of a delegation: a run for which another agent's run acts.
type Link struct {
	Session string `json:"session"`
	Run     string `json:"run"`
	Agent   string `json:"agent"`
	Module  string `json:"module"`
	Plugin  string `json:"plugin"`
	Task    string `json:"task"`
	User    string `json:"user"`
	Depth   int    `json:"depth"`
	Path    string `json:"path"` // of the call that delegates
}

// TaskCall is a call of a program elsewhere in its task.
type TaskCall struct {
	// ID is the program's own name for the call: repeated with the same request it returns
	// the recorded result. Empty makes a new call each time.
	ID      string `json:"id,omitempty"`
	Name    string `json:"name"` // import name: "tool_call"
	Request []byte `json:"request"`
}

// TaskFilter selects tasks, newest first. Empty fields select all. After is the id of the
// last task of the page before; Limit 0 means 100.
type TaskFilter struct {
	Agent   string
	State   TaskState
	After   string
	Limit   int
	Visible func(*Task) bool // when set, tells which tasks the caller may see
}
