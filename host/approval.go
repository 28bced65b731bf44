package host

import (
	"encoding/json"
	"time"

	"github.com/vespiary/vespiary/policy"
)

// ApprovalStatus is what became of the question for an approval.
type ApprovalStatus string

// The statuses of an approval.
const (
	ApprovalPending ApprovalStatus = "pending"
	ApprovalGranted ApprovalStatus = "granted"
	ApprovalDenied  ApprovalStatus = "denied"
	ApprovalExpired ApprovalStatus = "expired"
	ApprovalVoid    ApprovalStatus = "void" // nobody waits for it any more
)

// Approval is a person's answer to the question whether one exact call may be made. Its
// ID is the digest of all that the call is: canonical arguments, action, resource,
// module, task, session, branch epoch and call path. It serves that call alone, once, and
// no fork inherits it.
type Approval struct {
	ID       string         `json:"id"`
	Status   ApprovalStatus `json:"status"`
	Tenant   string         `json:"tenant"`
	Session  string         `json:"session"`
	Owner    string         `json:"owner"` // of the session
	Agent    string         `json:"agent"`
	Task     string         `json:"task"`
	User     string         `json:"user"` // on whose behalf the call is made
	Turn     int            `json:"turn"`
	Path     string         `json:"path"`
	Call     string         `json:"call"` // import name
	Action   string         `json:"action"`
	Resource policy.UID     `json:"resource"`
	Digest   string         `json:"digest"`         // keyed digest of the arguments
	Note     string         `json:"note,omitempty"` // of the policy that asks
	Asked    time.Time      `json:"asked"`
	Expires  time.Time      `json:"expires"`
	Answered time.Time      `json:"answered,omitzero"`
	By       string         `json:"by,omitempty"` // user who answered
	Reason   string         `json:"reason,omitempty"`
	// Request are the call's arguments, shown to whom may answer; it is no part of the
	// record, which names them by Digest.
	Request json.RawMessage `json:"request,omitempty"`
}

// Answer is what a person says to the question for an approval.
type Answer struct {
	Grant  bool   `json:"grant"`
	Reason string `json:"reason,omitempty"`
}

// ApprovalFilter selects approvals, newest first. The zero filter selects the pending ones
// that the caller may see.
type ApprovalFilter struct {
	Session string
	Status  ApprovalStatus // empty: pending
	Limit   int            // 0: 100
	// Visible, when set, tells which approvals the caller may answer.
	Visible func(*Approval) bool
}

// Unsettled is a call of which nobody knows whether it happened.
type Unsettled struct {
	Session  string      `json:"session"`
	Agent    string      `json:"agent"`
	Turn     int         `json:"turn"`
	Path     string      `json:"path"`
	Seq      uint64      `json:"seq"` // of the entry that says so
	Time     time.Time   `json:"time"`
	Call     string      `json:"call"`
	Action   string      `json:"action"`
	Resource policy.UID  `json:"resource"`
	Key      string      `json:"key,omitempty"` // idempotency key that it was made with
	Settled  *Settlement `json:"settled,omitempty"`
}

// Outcomes of a settlement.
const (
	SettledHappened = "happened"
	SettledNot      = "did_not_happen"
)

// Settlement is what a person found out about an unknown outcome. Tell also sends it to
// the agent, as a signal with the name "settled".
type Settlement struct {
	Path    string `json:"path"`
	Outcome string `json:"outcome"`
	Note    string `json:"note,omitempty"`
	By      Caller `json:"by"`
	Tell    bool   `json:"tell,omitempty"`
}
