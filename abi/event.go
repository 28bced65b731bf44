package abi

import (
	"encoding/json"
	"time"
)

// EventType says why an agent is called.
type EventType string

// The types of events.
const (
	EventMessage  EventType = "message"  // a caller wrote
	EventSignal   EventType = "signal"   // a named signal arrived
	EventTimer    EventType = "timer"    // a timer is due
	EventApproval EventType = "approval" // a person answered
	EventAgent    EventType = "agent"    // of a wait: an agent that was called has answered
)

// Event is the input of an agent's export handle: one event is one turn.
type Event struct {
	Type    EventType       `json:"type"`
	Name    string          `json:"name,omitempty"`    // of the signal or timer
	Content []Content       `json:"content,omitempty"` // what the caller wrote
	Data    json.RawMessage `json:"data,omitempty"`    // what a signal carries
	History []Message       `json:"history,omitempty"` // earlier messages that a new session is given as context
	Caller  Caller          `json:"caller"`
	Agent   Binding         `json:"agent"`
	Session string          `json:"session"`
	Task    string          `json:"task"`
	Turn    int             `json:"turn"` // counts from 1 in a session
	Labels  Labels          `json:"labels,omitempty"`
}

// Caller is on whose behalf a turn runs.
type Caller struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
}

// Binding is what the configuration says of the agent: the guest reads it from
// the event, so that a replayed turn sees what the first run saw.
type Binding struct {
	Name         string          `json:"name"`
	Instructions string          `json:"instructions,omitempty"`
	Model        string          `json:"model,omitempty"`
	MaxSteps     int             `json:"max_steps,omitempty"` // model calls per turn; 0 lets the agent choose
	Options      json.RawMessage `json:"options,omitempty"`   // the plugin's own settings, from config
}

// Status is how a turn ended.
type Status string

// The statuses of a reply.
const (
	StatusDone    Status = "done"
	StatusWaiting Status = "waiting" // a later event wakes the agent
	StatusFailed  Status = "failed"
)

// Reply is the output of an agent's export handle.
type Reply struct {
	Content []Content `json:"content,omitempty"`
	Status  Status    `json:"status"`
	Waiting []Wait    `json:"waiting,omitempty"` // with StatusWaiting: what for
	Error   string    `json:"error,omitempty"`   // with StatusFailed: why
	Code    Code      `json:"code,omitempty"`    // with StatusFailed: of the call that failed, if one did
}

// Wait names an event that a guest waits for. A timer is due At, or After the
// moment it was set when At is zero.
type Wait struct {
	Type  EventType     `json:"type"`
	Name  string        `json:"name,omitempty"`
	At    time.Time     `json:"at,omitzero"`
	After time.Duration `json:"after_ns,omitempty"`
}

// Migration is the input of the optional export migrate of a new module: it takes over a
// session from the module From after its turn Turn. State is what the old module's optional
// export save returned, null without one.
type Migration struct {
	From  string          `json:"from"` // digest
	Turn  int             `json:"turn"`
	State json.RawMessage `json:"state"`
}
