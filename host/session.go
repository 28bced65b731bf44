package host

import (
	"encoding/json"
	"time"

	"github.com/vespiary/vespiary/abi"
)

// SessionStatus is what a session is doing.
type SessionStatus string

// The statuses of a session.
const (
	SessionIdle    SessionStatus = "idle"
	SessionRunning SessionStatus = "running" // a turn is under way or queued
	SessionWaiting SessionStatus = "waiting" // the last turn waits for an event
	// SessionSuspended means that a turn is under way and waits, and takes no memory.
	SessionSuspended SessionStatus = "suspended"
	SessionErased    SessionStatus = "erased" // its payloads cannot be read again
	SessionParked    SessionStatus = "parked" // stopped until a person looks; Reason says why
)

// Session is one durable conversation with one agent.
type Session struct {
	ID       string        `json:"id"` // ULID, made by the host
	Tenant   string        `json:"tenant"`
	Owner    string        `json:"owner"` // the user who opened it
	Agent    string        `json:"agent"`
	Module   string        `json:"module"` // digest it is pinned to
	Status   SessionStatus `json:"status"`
	Reason   string        `json:"reason,omitempty"`
	Created  time.Time     `json:"created"`
	Updated  time.Time     `json:"updated"`
	Turns    int           `json:"turns"` // accepted so far
	Ended    int           `json:"ended"` // of these, ended
	Waiting  []abi.Wait    `json:"waiting,omitempty"`
	Expires  time.Time     `json:"expires,omitzero"` // of a suspended turn: when its task's time is up
	Usage    abi.Usage     `json:"usage"`
	Parent   string        `json:"parent,omitempty"`   // it was forked from, or the digest of the file it was imported from
	At       uint64        `json:"at,omitempty"`       // the last entry that it shares with Parent
	Upgraded int           `json:"upgraded,omitempty"` // how often it went over to another module
	By       string        `json:"by,omitempty"`       // the session whose agent called this one's
	Label    abi.Label     `json:"label,omitzero"`     // of what it has seen, after the last turn that ended
}

// Invocation asks an agent to handle an event.
type Invocation struct {
	Caller  Caller
	Agent   string
	Session string // empty opens a new one
	Event   abi.Event
	Task    TaskSpec // of the task that the event opens
	// For are the runs that the agent acts for, the nearest first. The host alone sets them,
	// when an agent calls another.
	For []Link `json:"-"`
	// Label is that of what such an agent says.
	Label *abi.Label `json:"-"`
	// External opens a task for a program elsewhere, which holds the token that Issue makes.
	External bool                   `json:"-"`
	Awaited  bool                   `json:"-"` // it is Signal.Awaited
	Issue    func(task Task) string `json:"-"`
	// IdempotencyKey, when not empty, makes a repeated invocation return the same
	// turn; Body is what must be equal for that, byte by byte.
	IdempotencyKey string
	Body           []byte
}

// TurnStatus is what became of an accepted event.
type TurnStatus string

// The statuses of a turn.
const (
	TurnQueued    TurnStatus = "queued"
	TurnRunning   TurnStatus = "running"
	TurnWaiting   TurnStatus = "waiting" // ended; a later event wakes the agent
	TurnDone      TurnStatus = "done"
	TurnFailed    TurnStatus = "failed"
	TurnCancelled TurnStatus = "cancelled"
	TurnParked    TurnStatus = "parked" // its session is: it goes on when a person lets it
)

// Over reports whether the status is final.
func (s TurnStatus) Over() bool { return s != TurnQueued && s != TurnRunning && s != TurnParked }

// Turn is one event handled by an agent. While it runs, Waiting tells what a
// suspended call waits for.
type Turn struct {
	Session string        `json:"session"`
	Number  int           `json:"turn"`
	Task    string        `json:"task"`
	Agent   string        `json:"agent"`
	Status  TurnStatus    `json:"status"`
	Content []abi.Content `json:"content,omitempty"`
	Waiting []abi.Wait    `json:"waiting,omitempty"`
	Error   *abi.Error    `json:"error,omitempty"`
	Usage   abi.Usage     `json:"usage"`
	Created bool          `json:"-"` // by this invocation, not by an earlier one with the same key
}

// StreamType is what a stream event tells of.
type StreamType string

// The types of stream events, in the order in which a turn shows them.
const (
	StreamAccepted StreamType = "turn.accepted"
	StreamStart    StreamType = "turn.start"
	StreamCall     StreamType = "call"        // CallView: decided, about to run or refused
	StreamResult   StreamType = "call.result" // CallView with its outcome
	StreamDelta    StreamType = "delta"       // abi.Emit: content for the caller
	StreamReset    StreamType = "reset"       // the deltas of a call are void, it runs again
	StreamApproval StreamType = "approval"    // Approval without Request: asked, or answered
	StreamWaiting  StreamType = "waiting"     // Suspension: the turn goes on when something comes
	StreamEnd      StreamType = "turn.end"    // Turn
	StreamCancel   StreamType = "cancel"
	StreamParked   StreamType = "parked"
)

// Suspension is what a turn under way waits for while it takes no memory.
type Suspension struct {
	Turn    int        `json:"turn"`
	Waiting []abi.Wait `json:"waiting"`
}

// StreamEvent is one event of a session as callers follow it. ID has the form
// turn.call.attempt.offset; a client that gives it back continues after it.
type StreamEvent struct {
	ID   string          `json:"id"`
	Type StreamType      `json:"type"`
	Time time.Time       `json:"time"`
	Turn int             `json:"turn"`
	Data json.RawMessage `json:"data,omitempty"`
}
