package host

import (
	"encoding/json"
	"time"

	"github.com/vespiary/vespiary/abi"
)

// Image is the state of a guest between two calls: its linear memory as pages that differ
// from its module's base image, its mutable globals and its variables.
type Image struct {
	Base    string // digest of the base image
	Size    uint64 // of linear memory, bytes
	Globals []uint64
	Pages   []ImagePage // ascending
	Vars    map[string][]byte
}

// ImagePageSize is the size of a page of an Image, in bytes.
const ImagePageSize = 4096

// ImagePage is one page of linear memory.
type ImagePage struct {
	Number uint32
	Data   []byte // ImagePageSize bytes
}

// Signal is a named event for a session: a guest that awaits it gets it, else it is
// queued as a turn of its own.
type Signal struct {
	Caller  Caller
	Session string
	Name    string
	Content []abi.Content
	Data    json.RawMessage // any JSON
	// IdempotencyKey and Body are those of an Invocation.
	IdempotencyKey string
	Body           []byte
	// Awaited takes the signal only where something waits for it, so that it begins nothing
	// that the agent did not ask for.
	Awaited bool
}

// ReplayOptions say how a session is run again. The zero value replays it strictly, as
// after a crash.
type ReplayOptions struct {
	Module string // digest of another module; empty: the session's own
	Model  string // alias of a model that is asked again instead of the recorded one; empty: what is on record answers
	Until  uint64 // last entry that takes part; 0: all
}

// Change is how a replayed call compares with the record.
type Change string

// The changes of a call.
const (
	CallSame    Change = "same"
	CallNew     Change = "new"     // the record has no such call
	CallMissing Change = "missing" // the record has it, the replay did not make it
	CallChanged Change = "changed" // another request at the same path
)

// ReplayedCall is one call of a replay. Was and Is are the requests, where they differ.
type ReplayedCall struct {
	Path   string          `json:"path"`
	Name   string          `json:"name"`
	Change Change          `json:"change"`
	Was    json.RawMessage `json:"was,omitempty"`
	Is     json.RawMessage `json:"is,omitempty"`
	Answer string          `json:"answer,omitempty"` // record, asked, refused
}

// ReplayedTurn is one turn of a replay.
type ReplayedTurn struct {
	Turn    int            `json:"turn"`
	Same    bool           `json:"same"` // every call and the reply are as recorded
	Calls   int            `json:"calls"`
	Changes []ReplayedCall `json:"changes,omitempty"` // without those that are the same
	Was     *abi.Reply     `json:"was,omitempty"`     // the replies, where they differ
	Is      *abi.Reply     `json:"is,omitempty"`
	Error   string         `json:"error,omitempty"` // why the guest ended without a reply
	Fuel    int64          `json:"fuel"`            // of the agent's guest
	WasFuel int64          `json:"was_fuel"`
}

// Replayed is the report of a replay. Nothing of it is kept and nothing was performed but
// the model calls that ReplayOptions.Model asks for.
type Replayed struct {
	Session string         `json:"session"`
	Module  string         `json:"module"`
	Turns   []ReplayedTurn `json:"turns"`
	Same    bool           `json:"same"`
	Usage   abi.Usage      `json:"usage"` // of what was asked again
}

// Difference is one place at which two sessions differ.
type Difference struct {
	Turn int             `json:"turn"`
	Path string          `json:"path,omitempty"` // of a call; empty for the event or the end of the turn
	What string          `json:"what"`           // event, call, request, result, reply, status, turn
	A    json.RawMessage `json:"a,omitempty"`
	B    json.RawMessage `json:"b,omitempty"`
}

// Comparison tells how two sessions differ. Shared is the last entry that they have in
// common, 0 for none.
type Comparison struct {
	A           string       `json:"a"`
	B           string       `json:"b"`
	Shared      uint64       `json:"shared"`
	Same        bool         `json:"same"`
	Differences []Difference `json:"differences,omitempty"` // at most 1,000
}

// Verified is the result of checking a journal's chain.
type Verified struct {
	Session string `json:"session"`
	Entries uint64 `json:"entries"`
	Chain   string `json:"chain"`    // digest over all of them, in order
	Read    uint64 `json:"payloads"` // that were decrypted and found to be what their digests name
	Erased  uint64 `json:"erased"`   // that nobody can read any more
}

// Ways of an upgrade.
const (
	UpgradeMigrate = "migrate" // the new module's export migrate makes its state of the old one's
	UpgradeReplay  = "replay"  // the new module runs what is on record
)

// UpgradeOptions say how a session goes over to another module. An empty Mode is
// UpgradeMigrate where the module exports migrate, else UpgradeReplay.
type UpgradeOptions struct {
	Module string `json:"module"` // digest; it must be the one that the agent has now, which is also the default
	Mode   string `json:"mode,omitempty"`
}

// Upgraded tells how a session went over, or why it did not.
type Upgraded struct {
	Session string    `json:"session"`
	From    string    `json:"from"`
	To      string    `json:"to"`
	Mode    string    `json:"mode"`
	Seq     uint64    `json:"seq"` // of the entry that records it
	Time    time.Time `json:"time"`
}
