package gate

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
)

// TurnOptions are what a Turn is made of.
type TurnOptions struct {
	Mode    Mode
	Session string
	Journal Journal
	// Past are the entries of the turn that earlier hosts recorded, without its
	// turn.start, and Payload reads what they hold.
	Past    []host.Entry
	Payload func(ctx context.Context, e host.Entry) ([]byte, error)
	Budget  host.Budget
	// Tasks tells what the tasks of the turn's runs are worth. nil: nobody asks.
	Tasks Tasks
	// Words are the texts of the turn that come from its user: what they name was named by
	// the user.
	Words []string
	Label abi.Label // of the session with the turn's event
	// Patience is how long a blocked guest stays in memory. When every guest of the turn
	// has been blocked for as long, their calls go on without them and fail for the guests
	// with host.ErrSuspended; 0 keeps guests for ever.
	Patience time.Duration
	// From is the passage that was suspended: its calls under way belong to this one.
	From *Turn
	// Life ends with the turn, and with it the calls that go on without their guest.
	// Required with Patience.
	Life context.Context //nolint:containedctx // it outlives the context of any one call
	// Approvals asks a person about a call that policy would let pass with an approval.
	// Without it such a call is denied.
	Approvals Approvals
	// Unknown, when set, returns what is to be written together with an unknown outcome.
	Unknown func(c *host.Call) ([]store.Op, error)
	// Lenient takes a call that differs from the record at its path for the same call
	// elsewhere in the turn, or for one that is not on record, instead of a divergence.
	Lenient bool
	// Anew names the calls that a rehearsal performs whatever is on record.
	Anew []string
}

// Approvals asks people. Ask returns the answered or expired approval, at once when it was
// answered before, and may take as long as the approval lives.
type Approvals interface {
	Ask(ctx context.Context, question host.Approval) (host.Approval, error)
}

// Tasks tells what tasks are worth at this moment. A task that it does not know is over.
type Tasks interface {
	Standing(ctx context.Context, tenant, session, task string) (*host.Standing, error)
}

// Turn is the passage of one turn's calls through the gate: the activations of the
// agent and of the tools it calls share it. It is safe for concurrent use.
type Turn struct {
	gate *Gate
	opt  TurnOptions
	past map[string]*past
	air  *air

	mu      sync.Mutex // guards the fields below
	label   abi.Label
	flowOf  *policy.Shared // context.flow of a call without recipients, nil when the label changed
	used    abi.Usage
	others  abi.Usage
	calls   int64 // performed
	refused int64
	failed  map[string]bool        // calls that failed in this passage, by path
	lines   map[*host.Run]*lineage // of the agents' own runs
}

// Begin starts the passage of a turn.
func (g *Gate) Begin(opt TurnOptions) (*Turn, error) {
	t := &Turn{gate: g, opt: opt, label: opt.Label, past: map[string]*past{}, air: newAir(), failed: map[string]bool{}, lines: map[*host.Run]*lineage{}}
	if opt.From != nil {
		t.air = opt.From.air.again()
	}
	for _, e := range opt.Past {
		if err := t.remember(e); err != nil {
			return nil, fmt.Errorf("session %s, entry %d: %w", opt.Session, e.Seq, err)
		}
	}
	return t, nil
}

// Label returns the session's label as the turn has made it so far.
func (t *Turn) Label() abi.Label {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.label
}

// Used returns what the turn's calls have used, and how many there were.
func (t *Turn) Used() (abi.Usage, int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.used, t.calls
}

// Others returns what of that other agents used, in tasks of their own.
func (t *Turn) Others() abi.Usage {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.others
}

// Delivered is an answer on its way to the guest: the abi.Result as JSON, and the
// time of the entry that records it, which the guest's clock takes over.
type Delivered struct {
	Result []byte
	Time   time.Time
	Seq    uint64
}

// account takes a result into what the turn has seen and used: when it is recorded, and
// for what earlier hosts recorded when the turn begins again, whether or not its calls
// are ever repeated.
func (t *Turn) account(o host.Outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.label.Meet(o.Label); !same(l, t.label) {
		t.label, t.flowOf = l, nil
	}
	t.used = t.used.Plus(o.Usage)
	if o.Name == abi.CallAgentCall {
		t.others = t.others.Plus(o.Usage)
	}
	switch {
	case o.Name == abi.CallWait || o.Name == CallReply: // no work of their own
	case o.Refused:
		t.refused++
	default:
		t.calls += 1 + o.Calls
	}
}
