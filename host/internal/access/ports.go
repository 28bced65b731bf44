package access

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

// These are the interfaces of package api, which is told there what the methods do. The
// guard takes and gives each of them.

// Sessions runs agents.
type Sessions interface {
	Invoke(ctx context.Context, in host.Invocation) (host.Turn, error)
	Turn(ctx context.Context, c host.Caller, session string, turn int) (host.Turn, error)
	Await(ctx context.Context, c host.Caller, session string, turn int) (host.Turn, error)
	Events(ctx context.Context, c host.Caller, session, after string) iter.Seq2[host.StreamEvent, error]
	Journal(ctx context.Context, c host.Caller, session string, from uint64, limit int) ([]host.Record, error)
	List(ctx context.Context, c host.Caller, f host.SessionFilter) ([]host.Session, error)
	Get(ctx context.Context, c host.Caller, session string) (host.Session, error)
	Cancel(ctx context.Context, c host.Caller, session string) (host.Session, error)
}

// Durable is what can be done with sessions because they are on record.
type Durable interface {
	Approvals(ctx context.Context, c host.Caller, f host.ApprovalFilter) ([]host.Approval, error)
	Approval(ctx context.Context, c host.Caller, id string) (host.Approval, error)
	Answer(ctx context.Context, c host.Caller, id string, a host.Answer) (host.Approval, error)
	Unsettled(ctx context.Context, c host.Caller) ([]host.Unsettled, error)
	Settle(ctx context.Context, c host.Caller, session string, s host.Settlement) (host.Unsettled, error)
	Fork(ctx context.Context, c host.Caller, session string, at uint64) (host.Session, error)
	Revert(ctx context.Context, c host.Caller, session string, to uint64) (host.Session, error)
	Replay(ctx context.Context, c host.Caller, session string, o host.ReplayOptions) (host.Replayed, error)
	Diff(ctx context.Context, c host.Caller, a, b string) (host.Comparison, error)
	Upgrade(ctx context.Context, c host.Caller, session string, o host.UpgradeOptions) (host.Upgraded, error)
	Export(ctx context.Context, c host.Caller, session string, w io.Writer) error
	Import(ctx context.Context, c host.Caller, o host.ImportOptions, r io.Reader) (host.Session, error)
	Verify(ctx context.Context, c host.Caller, session string) (host.Verified, error)
	Signal(ctx context.Context, in host.Signal) (host.Turn, error)
	Unpark(ctx context.Context, c host.Caller, session, note string) (host.Session, error)
	Erase(ctx context.Context, c host.Caller, session string) (host.Session, error)
}

// Agents lists agents.
type Agents interface {
	List(ctx context.Context, c host.Caller) ([]host.AgentInfo, error)
}

// Admin is what the CLI asks of a running host.
type Admin interface {
	Install(ctx context.Context, c host.Caller, name string, wasm []byte) (digest string, err error)
	Decisions(ctx context.Context, c host.Caller, f host.DecisionFilter) ([]host.DecisionRecord, error)
	Reload(ctx context.Context, c host.Caller) error
}

// Backup copies all that a host keeps.
type Backup interface {
	Backup(ctx context.Context, c host.Caller, w io.Writer) error
}

// Tasks are units of authority that programs elsewhere work in.
type Tasks interface {
	OpenTask(ctx context.Context, c host.Caller, agent string, spec host.TaskSpec) (t host.Task, token string, err error)
	Task(ctx context.Context, c host.Caller, id string) (host.Task, error)
	Tasks(ctx context.Context, c host.Caller, f host.TaskFilter) ([]host.Task, error)
	CallTask(ctx context.Context, c host.Caller, id string, call host.TaskCall) (json.RawMessage, error)
	EndTask(ctx context.Context, c host.Caller, id string, state host.TaskState, result []abi.Content) (host.Task, error)
}

// Delegation hands tasks to agents elsewhere.
type Delegation interface {
	Delegate(ctx context.Context, c host.Caller, task, audience string) (token string, expires time.Time, err error)
	KeySet(ctx context.Context) ([]byte, error)
}

// Keys manages API keys.
type Keys interface {
	List(ctx context.Context, c host.Caller) ([]host.APIKey, error)
	Create(ctx context.Context, c host.Caller, spec host.APIKeySpec) (k host.APIKey, token string, err error)
	Revoke(ctx context.Context, c host.Caller, id string) (host.APIKey, error)
}

// Policies shows and changes policies.
type Policies interface {
	Active(ctx context.Context, c host.Caller) (host.PolicySet, error)
	Set(ctx context.Context, c host.Caller, digest string) (host.PolicySet, error)
	Change(ctx context.Context, c host.Caller, change host.PolicyChange) (host.PolicySet, error)
	Check(ctx context.Context, c host.Caller, files []host.PolicyFile) (host.PolicyCheck, error)
	Schema(ctx context.Context, c host.Caller) (string, error)
	Simulate(ctx context.Context, c host.Caller, files []host.PolicyFile, since time.Time) (host.Simulation, error)
	Explain(ctx context.Context, c host.Caller, decision string) (host.Explanation, error)
	Reach(ctx context.Context, c host.Caller, agent string) (host.Reach, error)
	Tightest(ctx context.Context, c host.Caller, agent string, since time.Time) (host.Suggestion, error)
}

// Audit reads and checks the audit.
type Audit interface {
	Search(ctx context.Context, c host.Caller, f host.AuditFilter) (page []policy.Record, next string, err error)
	Record(ctx context.Context, c host.Caller, id string) (policy.Record, error)
	Tail(ctx context.Context, c host.Caller, f host.AuditFilter) iter.Seq2[policy.Record, error]
	Export(ctx context.Context, c host.Caller, f host.AuditFilter, format string, w io.Writer) error
	Checkpoint(ctx context.Context, c host.Caller) (string, error)
	Verify(ctx context.Context, c host.Caller, checkpoint string) (host.AuditCheck, error)
}
