package api

import (
	"context"
	"io"
	"iter"

	"github.com/vespiary/vespiary/host"
)

// Sessions is what the edge asks of the service that runs agents. Errors that a
// caller may see are *host.Error. A session of another tenant does not exist for
// the caller. All methods are safe for concurrent use.
type Sessions interface {
	// Invoke accepts the event durably and returns at once. Turn.Created is false
	// when the idempotency key was seen before; another body under it is
	// host.ErrConflict.
	Invoke(ctx context.Context, in host.Invocation) (host.Turn, error)
	// Turn returns the turn as it is.
	Turn(ctx context.Context, c host.Caller, session string, turn int) (host.Turn, error)
	// Await returns when the turn is over, or suspended: running with Waiting set.
	// When ctx ends first it returns the turn as it is and ctx's error.
	Await(ctx context.Context, c host.Caller, session string, turn int) (host.Turn, error)
	// Events yields what follows the event whose id is after, "" being the
	// beginning and the number of a turn the beginning of that turn. It goes on while the session lives, until ctx ends.
	Events(ctx context.Context, c host.Caller, session, after string) iter.Seq2[host.StreamEvent, error]
	// Journal returns up to limit records with sequence numbers from from on.
	Journal(ctx context.Context, c host.Caller, session string, from uint64, limit int) ([]host.Record, error)
	// List returns the caller's sessions, newest first.
	List(ctx context.Context, c host.Caller, f host.SessionFilter) ([]host.Session, error)
	Get(ctx context.Context, c host.Caller, session string) (host.Session, error)
	// Cancel ends what runs and what is queued, and returns without waiting for it.
	Cancel(ctx context.Context, c host.Caller, session string) (host.Session, error)
}

// Durable is what can be done with sessions because they are on record. Errors and
// tenants are as with Sessions; the same service implements both.
type Durable interface {
	Approvals
	Settlements
	Travel
	Archive
	// Signal accepts the event durably and returns at once, as Invoke does.
	Signal(ctx context.Context, in host.Signal) (host.Turn, error)
	// Unpark lets a parked session go on.
	Unpark(ctx context.Context, c host.Caller, session, note string) (host.Session, error)
	// Erase destroys the key of the session's payloads. What remains can be verified.
	Erase(ctx context.Context, c host.Caller, session string) (host.Session, error)
}

// Approvals are the questions that calls wait for people to answer.
type Approvals interface {
	Approvals(ctx context.Context, c host.Caller, f host.ApprovalFilter) ([]host.Approval, error)
	Approval(ctx context.Context, c host.Caller, id string) (host.Approval, error)
	// Answer answers a pending question once; it decides whether the caller may. An
	// approval that is not pending any more is host.ErrConflict.
	Answer(ctx context.Context, c host.Caller, id string, a host.Answer) (host.Approval, error)
}

// Settlements are about calls of which nobody knows whether they happened.
type Settlements interface {
	Unsettled(ctx context.Context, c host.Caller) ([]host.Unsettled, error)
	// Settle records what a person found out; s.By is the caller.
	Settle(ctx context.Context, c host.Caller, session string, s host.Settlement) (host.Unsettled, error)
}

// Travel goes to other points of a session's past, and to other modules.
type Travel interface {
	// Fork opens a session that shares the past up to the entry at; 0 is the newest.
	Fork(ctx context.Context, c host.Caller, session string, at uint64) (host.Session, error)
	// Revert hides what follows the entry to.
	Revert(ctx context.Context, c host.Caller, session string, to uint64) (host.Session, error)
	// Replay runs what is on record again and keeps nothing of it. It may take as long
	// as the session took.
	Replay(ctx context.Context, c host.Caller, session string, o host.ReplayOptions) (host.Replayed, error)
	Diff(ctx context.Context, c host.Caller, a, b string) (host.Comparison, error)
	// Upgrade lets the session go on with another module, or changes nothing.
	Upgrade(ctx context.Context, c host.Caller, session string, o host.UpgradeOptions) (host.Upgraded, error)
}

// Archive takes sessions out of a host and into another one, and checks them.
type Archive interface {
	// Export writes the session with a trailer that tells that it is whole. It writes
	// nothing before it knows that the session is there.
	Export(ctx context.Context, c host.Caller, session string, w io.Writer) error
	// Import makes a session of what Export wrote, all or nothing; agent "" is the one
	// that the file names.
	Import(ctx context.Context, c host.Caller, agent string, r io.Reader) (host.Session, error)
	Verify(ctx context.Context, c host.Caller, session string) (host.Verified, error)
}

// Agents lists the agents that a caller may invoke, by name.
type Agents interface {
	List(ctx context.Context, c host.Caller) []host.AgentInfo
}

// Admin is what the CLI asks of a running host. It decides itself whether the
// caller may.
type Admin interface {
	// Install takes in a module and returns its digest, "sha256:…".
	Install(ctx context.Context, c host.Caller, name string, wasm []byte) (digest string, err error)
	// Decisions returns up to limit policy decisions, newest first.
	Decisions(ctx context.Context, c host.Caller, deniedOnly bool, limit int) ([]host.DecisionRecord, error)
	// Reload reads configuration and policies again, all or nothing.
	Reload(ctx context.Context, c host.Caller) error
}

// Backup copies all that a host keeps while it runs. It decides itself whether the
// caller may.
type Backup interface {
	// Backup writes a copy of one moment, with a trailer that tells that it is whole.
	Backup(ctx context.Context, c host.Caller, w io.Writer) error
}

// Authenticator tells whose a key is. An unknown, revoked or expired key is
// host.ErrUnauthorized.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (host.Caller, error)
}
