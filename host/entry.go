package host

import (
	"encoding/json"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/policy"
)

// EntryKind is what a journal entry records.
type EntryKind string

// The kinds of journal entries, each with the type of its body.
const (
	EntryOpen     EntryKind = "open"           // Open
	EntryAccepted EntryKind = "event.accepted" // Accepted; payload: abi.Event
	EntryStart    EntryKind = "turn.start"     // Started; payload: abi.Event as the guest gets it
	EntryIntent   EntryKind = "call.intent"    // Intent; payload: the request
	EntryResult   EntryKind = "call.result"    // Outcome; payload: abi.Result
	EntryUnknown  EntryKind = "call.unknown"   // Outcome; payload: abi.Result
	EntryChunk    EntryKind = "chunk"          // Chunk; payload: abi.Emit
	EntryCancel   EntryKind = "cancel"         // Cancel
	EntryEnd      EntryKind = "turn.end"       // Ended; payload: abi.Reply
	EntryAbort    EntryKind = "turn.abort"     // Ended; the guest gave no reply
	EntryPark     EntryKind = "park"           // Parked
	EntryRevert   EntryKind = "revert"         // Revert
	EntryFence    EntryKind = "fence"          // Fence: a host took the session over, or let it go
	EntryWait     EntryKind = "wait"           // Waits: the turn's guest was dropped until one of them is over
	EntryApproval EntryKind = "approval"       // Approval: asked, or answered
	EntrySettle   EntryKind = "settle"         // Settlement: a person said what became of an unknown outcome
	EntrySnapshot EntryKind = "snapshot"       // Snapshot: the guest's image after a turn was stored
	EntryMigrate  EntryKind = "migrate"        // Migrated: the session goes on with another module
	EntryResume   EntryKind = "resume"         // Resumed: a person let a parked session go on
	EntryDecision EntryKind = "decision"       // Intent: a decision that a call needed before, or besides, its own
	EntryErase    EntryKind = "erase"          // Erased: the key of the session's payloads is destroyed next
)

// MaxPayload is the size that the payload of an entry may have, in bytes. A request or
// result beyond it is refused before it is recorded.
const MaxPayload = 8 << 20

// Entry is one record of a session's journal. Seq counts from 1 without gaps across
// forks. Body holds what is needed to find and to explain: numbers, names of calls,
// resources and waits, and why something failed. What was said and read is in the
// payload, which is encrypted under the session's key and named by Digest, a keyed
// digest.
type Entry struct {
	Seq    uint64          `json:"seq"`
	Epoch  uint32          `json:"epoch"`
	Fence  uint64          `json:"fence"`
	Time   time.Time       `json:"time"`
	Kind   EntryKind       `json:"kind"`
	Turn   int             `json:"turn,omitempty"`
	Path   string          `json:"path,omitempty"` // of calls: turn/call/sub…
	Body   json.RawMessage `json:"body,omitempty"`
	Digest string          `json:"digest,omitempty"`
	Sealed []byte          `json:"-"` // a small payload's ciphertext; larger ones are blobs
	Domain string          `json:"-"` // the session under whose key the payload is sealed
}

// Open begins a journal. It pins what runs, never the policy.
type Open struct {
	Session Session `json:"session"`
	ABI     int     `json:"abi"`
	Arch    string  `json:"arch"`
	Seed    []byte  `json:"seed"` // 32 bytes
	Parent  string  `json:"parent,omitempty"`
	At      uint64  `json:"at,omitempty"` // of a fork: the last entry it shares with Parent
}

// Accepted is a queued event.
type Accepted struct {
	Task    string         `json:"task"`
	Caller  Caller         `json:"caller"`
	Expires int64          `json:"expires,omitempty"` // unix nanoseconds; 0: never
	Budget  Budget         `json:"budget"`
	Grants  []policy.Grant `json:"grants,omitzero"` // nil: none were named
	Trace   string         `json:"trace,omitempty"` // W3C trace id of the request that brought it
	// Recorded says that the task has a record of its own, and is over when that says so.
	// Label is that of what an agent says that delegates; nil: the event is its user's words.
	Label    *abi.Label `json:"label,omitempty"`
	Recorded bool       `json:"recorded,omitempty"`
	Chain    []Link     `json:"chain,omitempty"`    // for whom an agent that was delegated to acts, the nearest first
	External bool       `json:"external,omitempty"` // the turn's calls come from a program elsewhere
}

// Started is a turn begun. Attempt counts the hosts that ran it.
type Started struct {
	Task    string    `json:"task"`
	Module  string    `json:"module"`
	Attempt int       `json:"attempt"`
	Label   abi.Label `json:"label"` // the session's, with the event's
}

// Intent is a call that was decided. A refused call has an intent too.
type Intent struct {
	Name     string          `json:"name"`
	Hash     string          `json:"hash"` // keyed digest of the request's bytes
	Action   string          `json:"action"`
	Resource policy.UID      `json:"resource"`
	Detail   string          `json:"detail,omitempty"`
	Kind     Kind            `json:"kind"`
	Recovery abi.Recovery    `json:"recovery"`
	Key      string          `json:"key,omitempty"`
	Attempt  int             `json:"attempt"`
	Run      string          `json:"run"`
	Module   string          `json:"module"`
	Approval string          `json:"approval,omitempty"` // id of the approval that let it pass
	Decision policy.Decision `json:"decision"`
	Flow     abi.Label       `json:"flow"` // of the context that chose the call
	Child    *Child          `json:"child,omitempty"`
	Audit    string          `json:"audit,omitempty"` // id of the audit's record of the decision
}

// Outcome is a call's end.
type Outcome struct {
	Name    string        `json:"name"`
	Hash    string        `json:"hash"`
	Code    abi.Code      `json:"code,omitempty"` // of a failed call
	Usage   abi.Usage     `json:"usage,omitzero"`
	Took    time.Duration `json:"took_ns,omitempty"`
	Label   abi.Label     `json:"label"`             // the meet of the result's labels
	Refused bool          `json:"refused,omitempty"` // it was not performed
	// Consumes is the turn whose queued event the result delivered, 0 for none.
	Consumes int   `json:"consumes,omitempty"`
	Calls    int64 `json:"calls,omitempty"` // that others made for it, in tasks of their own
}

// Chunk is streamed output.
type Chunk struct {
	Attempt int `json:"attempt"`
	Offset  int `json:"offset"` // counts the chunks of the call's attempt from 0
}

// Cancel is a wish to end what runs and what is queued up to and including UpTo.
type Cancel struct {
	By   Caller `json:"by"`
	UpTo int    `json:"up_to"`
}

// Waits says what the calls of a turn wait for whose guest was dropped.
type Waits struct {
	Waiting []abi.Wait `json:"waiting"`
}

// Snapshot names the image of a session's guest as it was after a turn.
type Snapshot struct {
	Turn   int    `json:"turn"`
	Base   string `json:"base"`             // digest of the module's base image
	Size   uint64 `json:"size"`             // of linear memory, bytes
	Pages  int    `json:"pages"`            // that differ from the base
	Stored int64  `json:"stored"`           // bytes that were new
	Fuel   int64  `json:"fuel,omitempty"`   // that the guest had used by then
	Digest string `json:"digest,omitempty"` // keyed digest of the whole state
}

// Migrated is an upgrade of a session to another module.
type Migrated struct {
	From string `json:"from"` // module digests
	To   string `json:"to"`
	Mode string `json:"mode"` // UpgradeMigrate or UpgradeReplay
	By   Caller `json:"by"`
}

// Resumed lets a parked session go on.
type Resumed struct {
	By   Caller `json:"by"`
	Note string `json:"note,omitempty"`
}

// Erased says who had a session's payloads destroyed.
type Erased struct {
	By Caller `json:"by"`
}

// Ended is the end of a turn.
type Ended struct {
	Task    string     `json:"task"`
	Status  TurnStatus `json:"status"`
	Waiting []abi.Wait `json:"waiting,omitempty"`
	Error   *abi.Error `json:"error,omitempty"`
	Usage   abi.Usage  `json:"usage"`
	Others  abi.Usage  `json:"others,omitzero"` // of Usage, what other agents used in tasks of their own
	Calls   int64      `json:"calls"`
	Fuel    int64      `json:"fuel,omitempty"` // that the agent's own guest used; its tools' is in Usage
	Label   abi.Label  `json:"label"`          // the session's, after the turn
}

// Parked says why a session was stopped.
type Parked struct {
	Reason string `json:"reason"`
}

// Revert hides the entries after To from all readers and begins a new epoch.
type Revert struct {
	To uint64 `json:"to"`
}

// Fence marks where one host's entries end and another's begin. Clean tells that a
// host stopped in good order and left the turn for the next one.
type Fence struct {
	Clean bool `json:"clean,omitempty"`
}
