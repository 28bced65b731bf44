package host

import (
	"time"

	"github.com/vespiary/vespiary/abi"
)

// NoticeType is what a notice tells of.
type NoticeType string

// The types of notices.
const (
	NoticeWaiting  NoticeType = "waiting"  // a turn waits for a timer or a signal
	NoticeApproval NoticeType = "approval" // a call waits for a person's answer
	NoticeFailed   NoticeType = "failed"   // a turn failed
	NoticeParked   NoticeType = "parked"   // a session was stopped until a person looks
	NoticeUnknown  NoticeType = "unknown"  // nobody knows whether a call happened
)

// Notice tells somebody outside that a session needs attention. It holds names, numbers
// and reasons, never what was said.
type Notice struct {
	ID       string     `json:"id"` // the same however often it is sent
	Type     NoticeType `json:"type"`
	Time     time.Time  `json:"time"`
	Tenant   string     `json:"tenant"`
	Session  string     `json:"session"`
	Agent    string     `json:"agent"`
	Turn     int        `json:"turn,omitempty"`
	Path     string     `json:"path,omitempty"` // of the call
	Waiting  []abi.Wait `json:"waiting,omitempty"`
	Approval string     `json:"approval,omitempty"` // id
	Reason   string     `json:"reason,omitempty"`
}
