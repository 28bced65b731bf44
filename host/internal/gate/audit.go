package gate

import (
	"context"
	"slices"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
)

// unaudited commits and keeps no records.
type unaudited struct{}

func (unaudited) Note(_ context.Context, _ *policy.Record, commit func(...store.Op) error) error {
	return commit()
}
func (unaudited) Write(context.Context, *policy.Record) error { return nil }
func (unaudited) Later(*policy.Record) error                  { return nil }

// decided is the record of a decision about a call.
func (t *Turn) decided(ctx context.Context, c *host.Call, class host.Class, d policy.Decision, asked *policy.Request) *policy.Record {
	label := t.Label()
	r := t.recordOf(c, policy.RecordDecision)
	r.Action, r.Resource, r.Kinds = class.Action, class.Resource.UID, kindsOf(class.Kind)
	r.Labels, r.Decision, r.Approval = &label, &d, approvedBy(c)
	r.Evidence = t.evidence(ctx, c.Run, asked)
	return r
}

// recordOf begins a record about a call.
func (t *Turn) recordOf(c *host.Call, kind policy.RecordKind) *policy.Record {
	run := c.Run
	return &policy.Record{
		Chain: chainOf(run), Time: t.gate.opt.Now().UTC(), Kind: kind,
		Tenant: run.Tenant, Session: run.Session, Turn: run.Turn, Path: c.Path,
		Who: t.lineage(run).who, Call: c.Name, Args: c.Digest, Model: run.Agent.Binding.Model,
	}
}

// chainOf is the chain of a run's records: that of its task.
func chainOf(run *host.Run) string {
	if run.Task == "" {
		return run.Session
	}
	return run.Task
}

// evidence puts down what was decided, readable as long as the session is.
func (t *Turn) evidence(ctx context.Context, run *host.Run, asked *policy.Request) []byte {
	if asked == nil || t.gate.opt.Seal == nil {
		return nil
	}
	plain, err := policy.AppendEvidence(nil, asked)
	if err == nil {
		var sealed []byte
		if sealed, err = t.gate.opt.Seal(ctx, run, plain); err == nil {
			return sealed
		}
	}
	t.gate.opt.Log.WarnContext(ctx, "a decision is on record without what it was made from", "session", run.Session, "error", err)
	return nil
}

var kindNames = []struct {
	kind host.Kind
	name string
}{{host.Observe, "observe"}, {host.Effect, "effect"}, {host.Egress, "egress"}, {host.Control, "control"}}

func kindsOf(k host.Kind) []string {
	var out []string
	for _, n := range kindNames {
		if k.Has(n.kind) {
			out = append(out, n.name)
		}
	}
	return out
}

// outcome is the record of what came of a call, nil where its decision says it already. A
// call that was refused before there was anything to decide, such as one of a tool that the
// run does not get to see, has an outcome of no decision.
func (t *Turn) outcome(c *host.Call, o *host.Outcome, result []byte, took time.Duration) *policy.Record {
	if c.Audited != "" && o.Refused && !c.Allowed.Allowed && (o.Code == abi.CodeDenied || o.Code == abi.CodeNeedsApproval) {
		return nil
	}
	r := t.recordOf(c, policy.RecordOutcome)
	r.Of, r.Code, r.Took, r.Labels = c.Audited, "ok", took, &o.Label
	if o.Code != "" {
		r.Code = string(o.Code)
	}
	if o.Usage != (abi.Usage{}) {
		r.Usage = &o.Usage
	}
	r.Result = t.opt.Journal.Hash(result)
	return r
}

// note writes an entry together with its record; a nil record is none.
func (t *Turn) note(ctx context.Context, r *policy.Record, write func(ops ...store.Op) error) error {
	if r == nil || t.opt.Mode == Replay {
		return write()
	}
	if t.opt.Mode != Live {
		return t.noteRehearsed(ctx, r, write)
	}
	return t.gate.opt.Audit.Note(ctx, r, write)
}

// noteRehearsed records what a rehearsal does in earnest, before it does it, in a chain of
// the session's rehearsals; what it only decides leaves no record.
func (t *Turn) noteRehearsed(ctx context.Context, r *policy.Record, write func(ops ...store.Op) error) error {
	if slices.Contains(t.opt.Anew, r.Call) {
		r.Chain, r.Note = "replays-"+r.Session, "asked again in a replay"
		if err := t.gate.opt.Audit.Write(ctx, r); err != nil {
			return err
		}
	}
	return write()
}
