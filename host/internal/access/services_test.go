package access_test

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

// The services of a world hold one of each thing that they are asked for, and say that
// they were reached.

type (
	sessions   struct{ w *world }
	durable    struct{ w *world }
	agents     struct{ w *world }
	admin      struct{ w *world }
	backup     struct{ w *world }
	tasks      struct{ w *world }
	delegation struct{ w *world }
	keys       struct{ w *world }
	policies   struct{ w *world }
	audit      struct{ w *world }
)

func sessionOf(id string) host.Session {
	return host.Session{ID: id, Tenant: "home", Owner: "user1", Agent: "hello", Status: host.SessionIdle, Created: noon, Updated: noon}
}

func turnOf(id string) host.Turn {
	return host.Turn{Session: id, Number: 1, Agent: "hello", Status: host.TurnDone, Content: []abi.Content{abi.Text("a secret")}, Created: true}
}

func (s sessions) Invoke(_ context.Context, in host.Invocation) (host.Turn, error) {
	s.w.reach("Sessions.Invoke")
	if in.Session == "" {
		in.Session = "S1"
	}
	if in.IdempotencyKey != "" { // it was accepted before, and is over
		t := turnOf(in.Session)
		t.Created = false
		return t, nil
	}
	return host.Turn{Session: in.Session, Number: 1, Agent: in.Agent, Status: host.TurnQueued, Created: true}, nil
}

func (s sessions) Turn(_ context.Context, _ host.Caller, id string, _ int) (host.Turn, error) {
	s.w.reach("Sessions.Turn")
	return turnOf(id), nil
}

func (s sessions) Await(_ context.Context, _ host.Caller, id string, _ int) (host.Turn, error) {
	s.w.reach("Sessions.Await")
	return turnOf(id), nil
}

func (s sessions) Events(_ context.Context, _ host.Caller, id, _ string) iter.Seq2[host.StreamEvent, error] {
	return func(yield func(host.StreamEvent, error) bool) {
		s.w.reach("Sessions.Events")
		b, _ := json.Marshal(turnOf(id))
		for range 3 {
			if !yield(host.StreamEvent{ID: "1.0.0.1", Type: host.StreamEnd, Time: noon, Turn: 1, Data: b}, nil) {
				return
			}
		}
	}
}

func (s sessions) Journal(context.Context, host.Caller, string, uint64, int) ([]host.Record, error) {
	s.w.reach("Sessions.Journal")
	return []host.Record{{}}, nil
}

func (s sessions) List(_ context.Context, _ host.Caller, f host.SessionFilter) ([]host.Session, error) {
	s.w.reach("Sessions.List")
	one := sessionOf("S1")
	if s.w.empty || !f.Visible(&one) {
		return nil, nil
	}
	return []host.Session{one}, nil
}

func (s sessions) Get(_ context.Context, _ host.Caller, id string) (host.Session, error) {
	s.w.reach("Sessions.Get")
	return sessionOf(id), s.w.there("session", id)
}

func (s sessions) Cancel(_ context.Context, _ host.Caller, id string) (host.Session, error) {
	s.w.reach("Sessions.Cancel")
	return sessionOf(id), nil
}

func approvalOf(id string) host.Approval {
	return host.Approval{
		ID: id, Status: host.ApprovalPending, Tenant: "home", Session: "S1", Owner: "user1", User: "user2", Agent: "hello", Asked: noon, Expires: noon,
		Call: abi.CallFileWrite, Action: "fileWrite", Resource: policy.UID{Type: "File", ID: "a"},
	}
}

func (d durable) Approvals(context.Context, host.Caller, host.ApprovalFilter) ([]host.Approval, error) {
	d.w.reach("Durable.Approvals")
	if d.w.empty {
		return nil, nil
	}
	return []host.Approval{approvalOf("A1")}, nil
}

func (d durable) Approval(_ context.Context, _ host.Caller, id string) (host.Approval, error) {
	d.w.reach("Durable.Approval")
	return approvalOf(id), d.w.there("approval", id)
}

func (d durable) Answer(_ context.Context, _ host.Caller, id string, _ host.Answer) (host.Approval, error) {
	d.w.reach("Durable.Answer")
	return approvalOf(id), nil
}

func (d durable) Unsettled(context.Context, host.Caller) ([]host.Unsettled, error) {
	d.w.reach("Durable.Unsettled")
	if d.w.empty {
		return nil, nil
	}
	return []host.Unsettled{{Session: "S1", Time: noon}}, nil
}

func (d durable) Settle(context.Context, host.Caller, string, host.Settlement) (host.Unsettled, error) {
	d.w.reach("Durable.Settle")
	return host.Unsettled{Session: "S1", Time: noon}, nil
}

func (d durable) Fork(context.Context, host.Caller, string, uint64) (host.Session, error) {
	d.w.reach("Durable.Fork")
	return sessionOf("S2"), nil
}

func (d durable) Revert(_ context.Context, _ host.Caller, id string, _ uint64) (host.Session, error) {
	d.w.reach("Durable.Revert")
	return sessionOf(id), nil
}

func (d durable) Replay(_ context.Context, _ host.Caller, id string, _ host.ReplayOptions) (host.Replayed, error) {
	d.w.reach("Durable.Replay")
	return host.Replayed{Session: id}, nil
}

func (d durable) Diff(_ context.Context, _ host.Caller, a, b string) (host.Comparison, error) {
	d.w.reach("Durable.Diff")
	return host.Comparison{A: a, B: b}, nil
}

func (d durable) Upgrade(_ context.Context, _ host.Caller, id string, _ host.UpgradeOptions) (host.Upgraded, error) {
	d.w.reach("Durable.Upgrade")
	return host.Upgraded{Session: id, Time: noon}, nil
}

func (d durable) Export(_ context.Context, _ host.Caller, _ string, w io.Writer) error {
	d.w.reach("Durable.Export")
	_, err := io.WriteString(w, "a secret")
	return err
}

func (d durable) Import(_ context.Context, _ host.Caller, o host.ImportOptions, _ io.Reader) (host.Session, error) {
	d.w.note("reading the file")
	if o.Agent == "" {
		o.Agent = "hello" // as the file says
	}
	if err := o.Allow(o.Agent); err != nil {
		return host.Session{}, err
	}
	d.w.reach("Durable.Import")
	return sessionOf("S3"), nil
}

func (d durable) Verify(_ context.Context, _ host.Caller, id string) (host.Verified, error) {
	d.w.reach("Durable.Verify")
	return host.Verified{Session: id}, nil
}

func (d durable) Signal(_ context.Context, in host.Signal) (host.Turn, error) {
	d.w.reach("Durable.Signal")
	d.w.awaited = in.Awaited
	return turnOf(in.Session), nil
}

func (d durable) Unpark(_ context.Context, _ host.Caller, id, _ string) (host.Session, error) {
	d.w.reach("Durable.Unpark")
	return sessionOf(id), nil
}

func (d durable) Erase(_ context.Context, _ host.Caller, id string) (host.Session, error) {
	d.w.reach("Durable.Erase")
	return sessionOf(id), nil
}

func (a agents) List(context.Context, host.Caller) ([]host.AgentInfo, error) {
	a.w.reach("Agents.List")
	if a.w.empty {
		return nil, nil
	}
	return []host.AgentInfo{{Name: "hello", Plugin: "p", Module: "sha256:00"}}, nil
}

func (a admin) Install(context.Context, host.Caller, string, []byte) (string, error) {
	a.w.reach("Admin.Install")
	return "sha256:aa", nil
}

func (a admin) Decisions(_ context.Context, _ host.Caller, f host.DecisionFilter) ([]host.DecisionRecord, error) {
	a.w.reach("Admin.Decisions")
	if one := sessionOf("S1"); a.w.empty || !f.Visible(&one) {
		return nil, nil
	}
	return []host.DecisionRecord{{Session: "S1", Time: noon}}, nil
}

func (a admin) Reload(context.Context, host.Caller) error {
	a.w.reach("Admin.Reload")
	return nil
}

func (b backup) Backup(_ context.Context, _ host.Caller, w io.Writer) error {
	b.w.reach("Backup.Backup")
	_, err := io.WriteString(w, "a secret")
	return err
}

// taskOf returns a task; T2 was delegated from T1.
func taskOf(id string) host.Task {
	t := host.Task{
		ID: id, Tenant: "home", User: "user1", Agent: "hello", Session: "S1", Turn: 1, State: host.TaskActive, Opened: noon,
		TaskSpec: host.TaskSpec{Grants: []policy.Grant{{Actions: []string{"observe"}}}, Expires: noon.Add(time.Hour)},
	}
	if id == "T2" {
		t.Parent = "T1"
	}
	return t
}

func (t tasks) OpenTask(_ context.Context, _ host.Caller, agent string, _ host.TaskSpec) (host.Task, string, error) {
	t.w.reach("Tasks.OpenTask")
	task := taskOf("T1")
	task.Agent = agent
	return task, "a secret", nil
}

func (t tasks) Task(_ context.Context, _ host.Caller, id string) (host.Task, error) {
	t.w.reach("Tasks.Task")
	return taskOf(id), t.w.there("task", id)
}

func (t tasks) Tasks(_ context.Context, _ host.Caller, f host.TaskFilter) ([]host.Task, error) {
	t.w.reach("Tasks.Tasks")
	if one := taskOf("T2"); t.w.empty || !f.Visible(&one) {
		return nil, nil
	}
	return []host.Task{taskOf("T2")}, nil
}

func (t tasks) CallTask(context.Context, host.Caller, string, host.TaskCall) (json.RawMessage, error) {
	t.w.reach("Tasks.CallTask")
	return json.RawMessage(`{"ok":"a secret"}`), nil
}

func (t tasks) EndTask(_ context.Context, _ host.Caller, id string, _ host.TaskState, _ []abi.Content) (host.Task, error) {
	t.w.reach("Tasks.EndTask")
	return taskOf(id), nil
}

func (d delegation) Delegate(context.Context, host.Caller, string, string) (string, time.Time, error) {
	d.w.reach("Delegation.Delegate")
	return "a secret", noon, nil
}

func (d delegation) KeySet(context.Context) ([]byte, error) {
	d.w.reach("Delegation.KeySet")
	return []byte(`{"keys":[]}`), nil
}

func (k keys) List(context.Context, host.Caller) ([]host.APIKey, error) {
	k.w.reach("Keys.List")
	return []host.APIKey{{ID: "k1"}}, nil
}

func (k keys) Create(context.Context, host.Caller, host.APIKeySpec) (host.APIKey, string, error) {
	k.w.reach("Keys.Create")
	return host.APIKey{ID: "k2"}, "a secret", nil
}

func (k keys) Revoke(_ context.Context, _ host.Caller, id string) (host.APIKey, error) {
	k.w.reach("Keys.Revoke")
	return host.APIKey{ID: id}, nil
}

func (p policies) Active(context.Context, host.Caller) (host.PolicySet, error) {
	p.w.reach("Policies.Active")
	return host.PolicySet{Digest: "sha256:11"}, nil
}

func (p policies) Set(_ context.Context, _ host.Caller, digest string) (host.PolicySet, error) {
	p.w.reach("Policies.Set")
	return host.PolicySet{Digest: digest}, nil
}

func (p policies) Change(context.Context, host.Caller, host.PolicyChange) (host.PolicySet, error) {
	p.w.reach("Policies.Change")
	return host.PolicySet{Digest: "sha256:12"}, nil
}

func (p policies) Check(context.Context, host.Caller, []host.PolicyFile) (host.PolicyCheck, error) {
	p.w.reach("Policies.Check")
	return host.PolicyCheck{Digest: "sha256:12"}, nil
}

func (p policies) Schema(context.Context, host.Caller) (string, error) {
	p.w.reach("Policies.Schema")
	return "entity User;", nil
}

func (p policies) Simulate(context.Context, host.Caller, []host.PolicyFile, time.Time) (host.Simulation, error) {
	p.w.reach("Policies.Simulate")
	return host.Simulation{Set: "sha256:12"}, nil
}

func (p policies) Explain(context.Context, host.Caller, string) (host.Explanation, error) {
	p.w.reach("Policies.Explain")
	return host.Explanation{Text: "a secret"}, nil
}

func (p policies) Reach(_ context.Context, _ host.Caller, agent string) (host.Reach, error) {
	p.w.reach("Policies.Reach")
	return host.Reach{Agent: agent}, nil
}

func (p policies) Tightest(context.Context, host.Caller, string, time.Time) (host.Suggestion, error) {
	p.w.reach("Policies.Tightest")
	return host.Suggestion{Policies: "a secret"}, nil
}

func (a audit) Search(context.Context, host.Caller, host.AuditFilter) ([]policy.Record, string, error) {
	a.w.reach("Audit.Search")
	return []policy.Record{{ID: "a secret"}}, "", nil
}

func (a audit) Record(_ context.Context, _ host.Caller, id string) (policy.Record, error) {
	a.w.reach("Audit.Record")
	return policy.Record{ID: id}, nil
}

func (a audit) Tail(context.Context, host.Caller, host.AuditFilter) iter.Seq2[policy.Record, error] {
	return func(yield func(policy.Record, error) bool) {
		a.w.reach("Audit.Tail")
		for range 3 {
			if !yield(policy.Record{ID: "a secret"}, nil) {
				return
			}
		}
	}
}

func (a audit) Export(_ context.Context, _ host.Caller, _ host.AuditFilter, _ string, w io.Writer) error {
	a.w.reach("Audit.Export")
	_, err := io.WriteString(w, "a secret")
	return err
}

func (a audit) Checkpoint(context.Context, host.Caller) (string, error) {
	a.w.reach("Audit.Checkpoint")
	return "a secret", nil
}

func (a audit) Verify(context.Context, host.Caller, string) (host.AuditCheck, error) {
	a.w.reach("Audit.Verify")
	return host.AuditCheck{OK: true}, nil
}
