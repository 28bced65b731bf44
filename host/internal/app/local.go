package app

import (
	"context"
	"io"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/access"
	"github.com/vespiary/vespiary/host/internal/cli"
	"github.com/vespiary/vespiary/policy"
)

// local is the state of a host that answers no requests, for the user of its machine. What
// they ask is decided by the policies and taken down, as for everybody.
type local struct {
	h  *Host
	me host.Caller
}

var (
	_ cli.Service     = local{}
	_ cli.TimeMachine = local{}
	_ cli.Audit       = local{}
	_ cli.Tasks       = local{}
	_ cli.Keyring     = local{}
)

func newLocal(h *Host) local { return local{h, h.desired.Load().callers.Assign(onThisMachine())} }

// onThisMachine is who gives commands on the host's own machine.
func onThisMachine() host.Caller {
	c := Local()
	c.Via = host.ViaLocal
	return c
}

func (l local) sessions() access.Sessions { return l.h.guard.Sessions(l.h.sessions) }
func (l local) admin() access.Admin       { return l.h.guard.Admin(admin{l.h}, l.h.sessions) }
func (l local) tasks() access.Tasks       { return l.h.guard.Tasks(l.h.sessions) }
func (l local) policies() access.Policies { return l.h.guard.Policies(l.h.policies()) }
func (l local) audit() access.Audit {
	return l.h.guard.Audit(l.h.audits(l.h.desired.Load().config))
}

// Sessions implements cli.Service.
func (l local) Sessions(ctx context.Context, f host.SessionFilter) ([]host.Session, error) {
	return l.sessions().List(ctx, l.me, f)
}

// Session implements cli.Service.
func (l local) Session(ctx context.Context, id string) (host.Session, error) {
	return l.sessions().Get(ctx, l.me, id)
}

// Journal implements cli.Service.
func (l local) Journal(ctx context.Context, id string, from uint64, limit int) ([]host.Record, error) {
	return l.sessions().Journal(ctx, l.me, id, from, limit)
}

// Cancel ends what a stopped host left under way. Nothing of it is run for that.
func (l local) Cancel(ctx context.Context, id string) (host.Session, error) {
	return l.sessions().Cancel(ctx, l.me, id)
}

// Install implements cli.Service.
func (l local) Install(ctx context.Context, name string, wasm []byte) (string, error) {
	return l.admin().Install(ctx, l.me, name, wasm)
}

// Decisions implements cli.Service.
func (l local) Decisions(ctx context.Context, deniedOnly bool, limit int) ([]host.DecisionRecord, error) {
	return l.admin().Decisions(ctx, l.me, host.DecisionFilter{Denied: deniedOnly, Limit: limit})
}

// Close makes durable what was taken down, and closes the store. Nothing runs that would
// have to end.
func (l local) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return l.h.Close(ctx)
}

// Simulate implements cli.TimeMachine.
func (l local) Simulate(ctx context.Context, files []host.PolicyFile, since time.Time) (host.Simulation, error) {
	return l.policies().Simulate(ctx, l.me, files, since)
}

// Explain implements cli.TimeMachine.
func (l local) Explain(ctx context.Context, decision string) (host.Explanation, error) {
	return l.policies().Explain(ctx, l.me, decision)
}

// Tightest implements cli.TimeMachine.
func (l local) Tightest(ctx context.Context, agent string, since time.Time) (host.Suggestion, error) {
	return l.policies().Tightest(ctx, l.me, agent, since)
}

// SearchAudit implements cli.Audit.
func (l local) SearchAudit(ctx context.Context, f host.AuditFilter) ([]policy.Record, string, error) {
	return l.audit().Search(ctx, l.me, f)
}

// AuditRecord implements cli.Audit.
func (l local) AuditRecord(ctx context.Context, id string) (policy.Record, error) {
	return l.audit().Record(ctx, l.me, id)
}

// ExportAudit implements cli.Audit.
func (l local) ExportAudit(ctx context.Context, f host.AuditFilter, format string, w io.Writer) error {
	return l.audit().Export(ctx, l.me, f, format, w)
}

// Checkpoint implements cli.Audit.
func (l local) Checkpoint(ctx context.Context) (string, error) {
	return l.audit().Checkpoint(ctx, l.me)
}

// VerifyAudit implements cli.Audit.
func (l local) VerifyAudit(ctx context.Context, checkpoint string) (host.AuditCheck, error) {
	return l.audit().Verify(ctx, l.me, checkpoint)
}

// Tasks implements cli.Tasks.
func (l local) Tasks(ctx context.Context, f host.TaskFilter) ([]host.Task, error) {
	return l.tasks().Tasks(ctx, l.me, f)
}

// Task implements cli.Tasks.
func (l local) Task(ctx context.Context, id string) (host.Task, error) {
	return l.tasks().Task(ctx, l.me, id)
}

// EndTask implements cli.Tasks.
func (l local) EndTask(ctx context.Context, id string, state host.TaskState, result []abi.Content) (host.Task, error) {
	return l.tasks().EndTask(ctx, l.me, id, state, result)
}

// Keys implements cli.Keyring.
func (l local) Keys(ctx context.Context) ([]host.APIKey, error) {
	return l.h.guard.Keys(l.h.keys).List(ctx, l.me)
}

// RevokeKey implements cli.Keyring.
func (l local) RevokeKey(ctx context.Context, id string) (host.APIKey, error) {
	return l.h.guard.Keys(l.h.keys).Revoke(ctx, l.me, id)
}
