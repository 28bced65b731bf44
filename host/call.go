package host

import (
	"context"
	"encoding/json"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
)

// RecoverNested is the recovery of a call that activates a guest: the activation
// is entered again, and its own calls recover each by its own class.
const RecoverNested abi.Recovery = "nested"

// Kind is a set of what a call does to the world.
type Kind uint8

// The kinds of calls.
const (
	Observe Kind = 1 << iota
	Effect
	Egress
	Control
)

// Has reports whether k contains any of the kinds in other.
func (k Kind) Has(other Kind) bool { return k&other != 0 }

// Run is one activation of a guest inside a task: the principal of its calls. It
// does not change once its first call is made.
type Run struct {
	ID      string
	Session string
	Task    string
	Tenant  string
	User    string // on whose behalf
	Owner   string // of the session
	Caller  Caller // who brought the event: groups and claims are the user's
	Agent   *Agent
	Module  string // digest of the guest, which for a tool is not the agent's
	Plugin  string // its name
	Needs   []string
	Turn    int
	Path    string // call path of the activation: "3" for a turn, "3/2" for a tool
	Parent  *Run
	Depth   int
	Expires time.Time     // of the task; zero: never
	Known   *policy.Known // the run and what it belongs to
}

// Child is a guest that a call activates: a tool's plugin.
type Child struct {
	Module string   `json:"module"` // digest
	Plugin string   `json:"plugin"`
	Needs  []string `json:"needs,omitempty"`
}

// Call is one host call on its way through the gate.
type Call struct {
	Run     *Run
	Path    string          // turn/call/sub…
	Name    string          // import name
	Request json.RawMessage // a JSON object, handles resolved
	Digest  string          // keyed digest of the request as the guest made it
	Key     string          // idempotency key, unique to session, branch epoch and path
	Fuel    int64           // that guests used for it, as Perform adds them up
	Attempt int             // counts from 1; more after a crash
	Begun   time.Time       // when its first attempt was recorded
	Class   Class           // set before Perform
	Allowed policy.Decision // set before Perform
	// Asked is what policy was asked about it.
	Asked *policy.Request
	// Audited is the id of the record of the decision.
	Audited string
	// Left is what the task may still use, set before Classify.
	Left Left
	// Approval is what a person said to the call, nil for one that nobody was asked about.
	Approval *Approval
	// Intent is what an earlier host recorded of the call, nil for one that it did not begin.
	Intent *Intent
	// Resume is the guest that an earlier host began the call with.
	Resume *Child
	// Ask decides about something that Classify itself must do to find out what the call
	// is about, such as looking a name up. A refusal is the call's, to be returned as it
	// is. It is set before Classify.
	Ask func(ctx context.Context, class Class) error
	// Could tells whether policy could allow the run a call of a class, whatever the call
	// says: a guest does not see what it could never use. It is set before Classify.
	Could func(ctx context.Context, class Class) bool
	// Emit streams content to the session's caller while the call runs: it is
	// authorised as an emission of its own, durable before it is visible, and an
	// error from it must end the call. It is set before Perform.
	Emit func(ctx context.Context, e abi.Emit) error
	// Settle makes the Ops of the turn's earlier calls visible in the store. It is set
	// before Perform.
	Settle func(ctx context.Context) error
}

// Class is what a capability says of a call before it is decided.
type Class struct {
	Action    string // of the policy schema
	Kind      Kind
	Recovery  abi.Recovery
	Resource  policy.Entity
	Entities  []policy.Entity // what Resource belongs to
	Context   map[string]any  // beyond what the gate computes for every call
	Recipient []string        // who will learn the arguments
	// Control are the arguments that say who, where and how much, and Data the others, each
	// as the words that would stand for it in what a user writes. nil: not known.
	Control, Data []string
	Durable       bool   // decision and intent must outlive the host although the call changes nothing
	Waits         bool   // it does nothing but wait for an event that is on record when it comes: it may be left and made again
	Unlimited     bool   // it may take as long as it takes, unless the guest names a limit
	Tokens        int64  // estimate that the budget must still hold
	Share         Budget // what the call hands on of the budget; it is held back until the call is over
	Child         *Child // the guest that the call activates; the one that began, when it is entered again
	// Deny, when not empty, is why the call is denied whatever policies say: it asks for more
	// than anybody could give it.
	Deny  string
	State any // what Classify found and Perform needs, such as a resolved path
}

// Output is what a capability made of a call.
type Output struct {
	OK     json.RawMessage
	Labels abi.Labels // of OK; unlabelled parts are untrusted
	// Derived says that OK is made of what the session held already, so that it is
	// labelled like the session.
	Derived bool
	Refused bool // set by the gate: it was not performed
	Usage   abi.Usage
	// Ops commit in one batch with the record of the result: all or nothing.
	Ops []store.Op
	// Consumes is the turn whose queued event this result delivers, 0 for none.
	Consumes int
	Calls    int64 // that others made for it, in tasks of their own
}

// Left is what remains of a budget; -1 is without limit.
type Left struct{ Tokens, CostMicros, Calls int64 }

// Capability performs the host calls of one name. Both methods honour ctx and are
// safe for concurrent use. An *abi.Error is the call's result; any other error is
// recorded as internal, its text kept from the guest.
type Capability interface {
	// Classify has no effect, and reaches the outside only after Ask allowed it.
	Classify(ctx context.Context, c *Call) (Class, error)
	// Perform does what was authorised and nothing else.
	Perform(ctx context.Context, c *Call) (Output, error)
}

// CallView is a call as people see it in streams, journals and logs.
type CallView struct {
	Path     string          `json:"path"`
	Name     string          `json:"name"`
	Detail   string          `json:"detail,omitempty"` // the tool or resource it is about
	Action   string          `json:"action,omitempty"`
	Decision policy.Decision `json:"decision,omitzero"` // of the call, not of its result
	Error    *abi.Error      `json:"error,omitempty"`
	Took     time.Duration   `json:"took_ns,omitempty"`
	Usage    *abi.Usage      `json:"usage,omitempty"`
}
