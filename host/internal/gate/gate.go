package gate

import (
	"context"
	"log/slog"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
)

// Journal is what the gate records in: the log of one session.
type Journal interface {
	// Append adds an entry that the next Commit makes durable.
	Append(ctx context.Context, e host.Entry, body any, payload []byte, ops ...store.Op) (host.Entry, error)
	// Commit makes all entries appended so far durable.
	Commit(ctx context.Context) error
	// Waiting is how many bytes wait for a Commit.
	Waiting() int
	// Flush begins a Commit and does not wait for it.
	Flush()
	// Hash names a request, so that a replayed one can be compared.
	Hash(request []byte) string
	// Epoch is the branch epoch of new entries.
	Epoch() uint32
}

// Observer is told of calls that are performed; replayed ones are only counted.
type Observer interface {
	StartCall(ctx context.Context, c *host.Call) (context.Context, func(abi.Code, abi.Usage))
	// Refused is told of a call that is not performed, and why.
	Refused(name string, code abi.Code)
	Replayed(name string)
	Unknown(name string)
}

// Options are what a Gate is made of; all but Audit, Seal, Observer and Fault are required.
type Options struct {
	Capabilities map[string]host.Capability // by import name
	Policy       policy.Authorizer
	Audit        policy.Auditor // nil keeps no records
	// Seal encrypts what a record holds of a run's arguments, so that it can be read as long
	// as the session. nil: records hold nothing of them.
	Seal     func(ctx context.Context, run *host.Run, plain []byte) ([]byte, error)
	Now      func() time.Time
	Observer Observer
	Log      *slog.Logger
	// Fault, when set, is called at the points of a call between which a crash makes a
	// difference: FaultIntent, FaultEffect, FaultResult. It is for tests that crash there.
	Fault func(point string, c *host.Call)
}

// The points at which Options.Fault is called.
const (
	FaultIntent = "intent" // the intent is recorded, durably where it must be, and nothing is done
	FaultEffect = "effect" // the call was performed, and nothing is recorded of it
	FaultResult = "result" // the result is recorded, not yet durable
)

// Gate holds what all turns share. It is safe for concurrent use.
type Gate struct {
	opt Options
}

// New returns a gate in front of the capabilities.
func New(opt Options) *Gate {
	if opt.Observer == nil {
		opt.Observer = unobserved{}
	}
	if opt.Audit == nil {
		opt.Audit = unaudited{}
	}
	if opt.Fault == nil {
		opt.Fault = func(string, *host.Call) {}
	}
	return &Gate{opt: opt}
}

// Mode says what becomes of a call that the journal does not answer.
type Mode int

// The modes. What the journal answers is returned in all of them.
const (
	Live   Mode = iota // decide, record, perform
	Replay             // stop with host.ErrJournalEnds
	Dry                // decide, perform nothing
	Shadow             // decide, perform observations only
)

type unobserved struct{}

func (unobserved) StartCall(ctx context.Context, _ *host.Call) (context.Context, func(abi.Code, abi.Usage)) {
	return ctx, func(abi.Code, abi.Usage) {}
}
func (unobserved) Refused(string, abi.Code) {}
func (unobserved) Replayed(string)          {}
func (unobserved) Unknown(string)           {}
