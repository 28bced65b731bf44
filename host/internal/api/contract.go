package api

import (
	"context"
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

// Authenticator tells whose a key is. An unknown, revoked or expired key is
// host.ErrUnauthorized.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (host.Caller, error)
}
