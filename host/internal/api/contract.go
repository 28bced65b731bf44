package api

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

// None of these decides whether the caller may: host/internal/access does, before it
// calls on. They keep tenants apart, and ask the functions that it passes in filters and
// options.

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
	// Import makes a session of what Export wrote, all or nothing.
	Import(ctx context.Context, c host.Caller, o host.ImportOptions, r io.Reader) (host.Session, error)
	Verify(ctx context.Context, c host.Caller, session string) (host.Verified, error)
}

// Agents lists the agents that a caller may invoke, by name.
type Agents interface {
	List(ctx context.Context, c host.Caller) ([]host.AgentInfo, error)
}

// Admin is what the CLI asks of a running host.
type Admin interface {
	// Install takes in a module and returns its digest, "sha256:…".
	Install(ctx context.Context, c host.Caller, name string, wasm []byte) (digest string, err error)
	// Decisions returns policy decisions about calls, newest first.
	Decisions(ctx context.Context, c host.Caller, f host.DecisionFilter) ([]host.DecisionRecord, error)
	// Reload reads configuration and policies again, all or nothing.
	Reload(ctx context.Context, c host.Caller) error
}

// Backup copies all that a host keeps while it runs.
type Backup interface {
	// Backup writes a copy of one moment, with a trailer that tells that it is whole.
	Backup(ctx context.Context, c host.Caller, w io.Writer) error
}

// Tasks are units of authority that programs elsewhere work in. A task of another tenant
// does not exist for the caller.
type Tasks interface {
	// OpenTask opens a task for an agent that is a program elsewhere, and returns the
	// bearer token that dies with it.
	OpenTask(ctx context.Context, c host.Caller, agent string, spec host.TaskSpec) (t host.Task, token string, err error)
	Task(ctx context.Context, c host.Caller, id string) (host.Task, error)
	// Tasks returns the caller's tasks, newest first.
	Tasks(ctx context.Context, c host.Caller, f host.TaskFilter) ([]host.Task, error)
	// CallTask makes a host call in the task and returns its abi.Result, also of a call that
	// was refused or failed. An ID that was used with another request is host.ErrConflict.
	CallTask(ctx context.Context, c host.Caller, id string, call host.TaskCall) (json.RawMessage, error)
	// EndTask completes or cancels the task; result is what the agent says to its user. One
	// that is over already is host.ErrConflict.
	EndTask(ctx context.Context, c host.Caller, id string, state host.TaskState, result []abi.Content) (host.Task, error)
}

// Delegation hands tasks to agents elsewhere by signed tokens.
type Delegation interface {
	// Delegate returns a JWT that lets an agent elsewhere, the audience, act in the task
	// until expires (RFC 8693 section 4.1).
	Delegate(ctx context.Context, c host.Caller, task, audience string) (token string, expires time.Time, err error)
	// KeySet returns the public keys of such tokens as a JWK Set (RFC 7517 section 5).
	KeySet(ctx context.Context) ([]byte, error)
}

// Keys manages the API keys of the caller's tenant.
type Keys interface {
	// List returns the keys, oldest first.
	List(ctx context.Context, c host.Caller) ([]host.APIKey, error)
	// Create returns a new key and its token: the only time that it is seen.
	Create(ctx context.Context, c host.Caller, spec host.APIKeySpec) (k host.APIKey, token string, err error)
	// Revoke ends a key at once. One that is revoked already stays as it is.
	Revoke(ctx context.Context, c host.Caller, id string) (host.APIKey, error)
}

// Policies shows policies and changes their files.
type Policies interface {
	// Active returns the set that decides.
	Active(ctx context.Context, c host.Caller) (host.PolicySet, error)
	// Set returns a set that decides or once did.
	Set(ctx context.Context, c host.Caller, digest string) (host.PolicySet, error)
	// Change writes and removes files and makes the host decide by them, or changes nothing.
	// What is not valid is host.ErrInvalid with host.PolicyProblems as its cause; a set that
	// is not the one of PolicyChange.Match is host.ErrConflict.
	Change(ctx context.Context, c host.Caller, change host.PolicyChange) (host.PolicySet, error)
	// Check compiles files as Change would, and changes nothing.
	Check(ctx context.Context, c host.Caller, files []host.PolicyFile) (host.PolicyCheck, error)
	// Schema returns what policies can talk about now, as a Cedar schema, the actions of
	// tools among it.
	Schema(ctx context.Context, c host.Caller) (string, error)
	// Simulate decides what was recorded since then again, by these files.
	Simulate(ctx context.Context, c host.Caller, files []host.PolicyFile, since time.Time) (host.Simulation, error)
	// Explain says why a decision of the audit is what it is.
	Explain(ctx context.Context, c host.Caller, decision string) (host.Explanation, error)
	// Reach says what an agent could do now.
	Reach(ctx context.Context, c host.Caller, agent string) (host.Reach, error)
	// Tightest writes the policies that an agent needs for what it was allowed since then,
	// and no others.
	Tightest(ctx context.Context, c host.Caller, agent string, since time.Time) (host.Suggestion, error)
}

// Audit reads and checks the records of what was asked, decided and done in the caller's
// tenant.
type Audit interface {
	// Search returns a page of records and the cursor of the next one, "" after the last.
	Search(ctx context.Context, c host.Caller, f host.AuditFilter) (page []policy.Record, next string, err error)
	Record(ctx context.Context, c host.Caller, id string) (policy.Record, error)
	// Tail yields records as they are made, oldest first, after the one whose id is
	// f.After, or from now on, until ctx ends.
	Tail(ctx context.Context, c host.Caller, f host.AuditFilter) iter.Seq2[policy.Record, error]
	// Export writes records, oldest first, in a format: jsonl, ocsf or cloudtrail. It
	// writes nothing before it knows that the format is there.
	Export(ctx context.Context, c host.Caller, f host.AuditFilter, format string, w io.Writer) error
	// Checkpoint returns the newest signed checkpoint (C2SP tlog-checkpoint).
	Checkpoint(ctx context.Context, c host.Caller) (string, error)
	// Verify checks all chains and checkpoints, and that the audit still begins with what a
	// checkpoint that was kept elsewhere was signed over, "" being the one that the host
	// itself keeps. What it finds wrong is in the result.
	Verify(ctx context.Context, c host.Caller, checkpoint string) (host.AuditCheck, error)
}

// Authenticator tells whose a key is. An unknown, revoked or expired key is
// host.ErrUnauthorized.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (host.Caller, error)
}
