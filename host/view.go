package host

import (
	"encoding/json"
	"time"
)

// Record is a journal entry as people see it: with its payload decrypted, or nil
// where the payload was erased.
type Record struct {
	Entry
	Payload json.RawMessage `json:"payload,omitempty"`
}

// SessionFilter selects sessions, newest first. Empty fields select all. After is
// the id of the last session of the page before; Limit 0 means 100.
type SessionFilter struct {
	Agent  string
	Status SessionStatus
	After  string
	Limit  int
	// Visible, when set, tells which sessions the caller may see.
	Visible func(*Session) bool `json:"-"`
}

// AgentInfo is an agent as callers see it.
type AgentInfo struct {
	Name        string   `json:"name"`
	Description string   `json:"description,omitempty"`
	Plugin      string   `json:"plugin"`
	Module      string   `json:"module"`
	Model       string   `json:"model,omitempty"`
	Tools       []string `json:"tools,omitempty"`
}

// DecisionRecord is a decision with what it was made from. Recorded is what the
// policy engine needs to make it again, in the engine's own form.
type DecisionRecord struct {
	Session  string          `json:"session"`
	Agent    string          `json:"agent"`
	Turn     int             `json:"turn"`
	Time     time.Time       `json:"time"`
	Call     CallView        `json:"call"`
	Recorded json.RawMessage `json:"recorded,omitempty"`
}
