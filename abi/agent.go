package abi

import (
	"encoding/json"
	"time"
)

// AgentCall has another agent of the host do part of a task, in a session of its own. What
// it gets of grants, budget and time is at most what the caller's task has.
type AgentCall struct {
	Agent   string          `json:"agent"`
	Content []Content       `json:"content,omitempty"`
	Data    json.RawMessage `json:"data,omitempty"` // any JSON, beside or instead of Content
	Purpose string          `json:"purpose,omitempty"`
	// Grants narrow what the task may do. nil: to what the caller's task has.
	Grants []AgentGrant `json:"grants,omitzero"`
	// Budget is what of the caller's budget is handed on; 0: half of what is left.
	Budget    AgentBudget `json:"budget,omitzero"`
	ExpiresIn int64       `json:"expires_in_ms,omitempty"` // 0: with the caller's task
}

// AgentGrant gives the use of actions with resources, see the host's policies.
type AgentGrant struct {
	Actions   []string        `json:"actions"`
	Resources []AgentResource `json:"resources,omitempty"` // none: all
}

// AgentResource names a resource, or what resources are in.
type AgentResource struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

// AgentBudget limits a task.
type AgentBudget struct {
	Tokens     int64 `json:"tokens,omitempty"`
	CostMicros int64 `json:"usd_micros,omitempty"`
	Calls      int64 `json:"calls,omitempty"`
}

// AgentResult is how the other agent's turn ended.
type AgentResult struct {
	Status  Status    `json:"status"`
	Content []Content `json:"content,omitempty"`
	Error   *Error    `json:"error,omitempty"` // with StatusFailed
	Agent   string    `json:"agent"`
	Session string    `json:"session"`
	Task    string    `json:"task"`
}

// DelegateToken asks for a token by which an agent elsewhere may act in the task: for one
// request to another host, within minutes.
type DelegateToken struct {
	Audience string `json:"audience"` // URL of the other host, as it names itself
	// Scopes are the actions of the other host's API that the token is for, or groups of
	// them. None: to invoke an agent, to read its session, and to go on with it.
	Scopes  []string `json:"scopes,omitempty"`
	Purpose string   `json:"purpose,omitempty"` // in words
}

// DelegatedToken is a signed JWT (RFC 8693, section 4.1).
type DelegatedToken struct {
	Token    string    `json:"token"`
	Audience string    `json:"audience"`
	Expires  time.Time `json:"expires"`
}
