package cli_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api/apitest"
	"github.com/vespiary/vespiary/host/internal/cli"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/config/strict"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/cedar"
)

// compile makes a set of files. Each tool of the configuration is one that only reads.
func compile(cfg *config.Config, files []host.PolicyFile) (*cedar.Set, error) {
	var actions []cedar.Action
	if cfg != nil {
		for name := range cfg.Tools {
			actions = append(actions, cedar.Action{
				Name: name + ".look", Groups: []string{"invokeReadTool"}, Resource: "Tool",
				Input: []byte(`{"type":"object","required":["path"],"properties":{"path":{"type":"string"}}}`),
			})
		}
	}
	named := map[string][]byte{}
	for _, f := range files {
		named[f.Name] = []byte(f.Text)
	}
	return cedar.Compile(named, actions...)
}

// CheckPolicies is real.
func (*desk) CheckPolicies(_ context.Context, cfg *config.Config, files []host.PolicyFile) (host.PolicySet, error) {
	set, err := compile(cfg, files)
	if err != nil {
		return host.PolicySet{}, err
	}
	return host.PolicySet{Digest: set.Digest(), Candidate: "sha256:cc", Policies: len(set.Policies()), Files: files}, nil
}

// TestPolicies is real.
func (*desk) TestPolicies(_ context.Context, cfg *config.Config, files []host.PolicyFile, cases []cli.CaseFile) ([]cli.CaseResult, error) {
	set, err := compile(cfg, files)
	if err != nil {
		return nil, err
	}
	var out []cli.CaseResult
	var errs []error
	for _, f := range cases {
		var c cedar.Cases
		errs = append(errs, strict.Decode(f.Name, f.Text, &c).Err())
		for _, r := range set.RunCases(c.Cases) {
			out = append(out, cli.CaseResult{File: f.Name, Name: r.Name, Passed: r.Passed, Why: r.Why, Decision: r.Decision})
		}
	}
	return out, errors.Join(errs...)
}

// PolicySchema is real.
func (*desk) PolicySchema(_ context.Context, cfg *config.Config) (string, error) {
	set, err := compile(cfg, nil)
	if err != nil {
		return "", err
	}
	return set.Schema(), nil
}

// Suggest permits everything once, whatever was denied.
func (*desk) Suggest(_ context.Context, _ *config.Config, _ []host.PolicyFile, denied []host.DecisionRecord) (host.Suggestion, error) {
	return host.Suggestion{
		Policies: fmt.Sprintf("@id(%q)\npermit (principal, action == Action::\"fileRead\", resource);\n", "suggested-"+denied[0].Agent),
		Notes:    []string{"read them first"},
	}, nil
}

// Reach is that of a host that runs, with a word that it does not.
func (*desk) Reach(_ context.Context, _ *config.Config, agent string) (host.Reach, error) {
	if agent == "broken" {
		return host.Reach{}, errors.New("its plugin cannot be read; build it")
	}
	return host.Reach{Agent: agent, Module: "sha256:aa", Set: "sha256:0123456789abcdef", Abilities: []host.Ability{
		{Call: "http_fetch", Action: "httpGet", Answer: host.AbleNo, Text: "It cannot read from the web."},
		{Call: "file_write", Action: "fileWrite", Answer: host.AbleAsk, Text: "It may write files once\x1b[2J a person agrees."},
		{Call: "file_read", Action: "fileRead", Answer: host.AbleSome, Text: "It may read files of docs."},
		{Call: "model_chat", Action: "callModel", Answer: host.AbleYes, Text: "It may ask the model main."},
	}}, nil
}

// Now is an hour after the made-up records.
func (*desk) Now() time.Time { return apitest.Epoch.Add(time.Hour) }

var (
	_ cli.TimeMachine = shelf{}
	_ cli.Audit       = shelf{}
	_ cli.Tasks       = shelf{}
	_ cli.Keyring     = shelf{}
)

// kept are the records of a host that does not run, oldest first.
func kept() []policy.Record {
	denied := policy.Decision{Policies: []policy.Cause{{ID: "no-private-networks", File: "limits.cedar", Line: 40}}, Set: "sha256:55"}
	allowed := policy.Decision{
		Allowed: true, Policies: []policy.Cause{{ID: "agents-read-files", File: "files.cedar", Line: 3}}, Set: "sha256:55",
		Candidate: &policy.Decision{Policies: []policy.Cause{{ID: "flow-read", File: "flow.cedar", Line: 9}}, Set: "sha256:cc"},
	}
	asking := policy.Decision{Approval: "writing needs a yes", Policies: []policy.Cause{{ID: "writes", File: "w.cedar", Line: 1}}}
	who := []policy.Actor{
		{Run: "R2", Agent: "research", Module: "sha256:0123456789abcdef", Task: "T8"},
		{Run: "R1", Agent: "support", Module: "sha256:77", Task: "T7"},
		{User: "wor\x1b[2Jld"},
	}
	list := []policy.Record{
		{Kind: policy.RecordTask, Code: "active", Note: "read\nthe docs"},
		{
			Kind: policy.RecordDecision, Call: abi.CallFileRead, Action: "fileRead", Resource: policy.UID{Type: "File", ID: "docs/a.md"},
			Kinds: []string{"observe"}, Decision: &allowed, Path: "1/2", Args: "hmac:01", Model: "main", Labels: &abi.Label{},
		},
		{Kind: policy.RecordOutcome, Call: abi.CallFileRead, Path: "1/2", Of: "T7.2", Code: "ok", Took: 12 * time.Millisecond, Result: "hmac:02"},
		{Kind: policy.RecordDecision, Call: abi.CallHTTPFetch, Action: "httpGet", Resource: policy.UID{Type: "NetHost", ID: "10.0.0.1:80"}, Decision: &denied, Path: "1/3"},
		{Kind: policy.RecordDecision, Call: abi.CallFileWrite, Action: "fileWrite", Resource: policy.UID{Type: "File", ID: "b.md"}, Decision: &asking, Path: "1/4"},
		{Kind: policy.RecordDecision, Action: "readAudit", Resource: policy.UID{Type: "Host", ID: "this"}, Decision: &policy.Decision{Allowed: true}, Key: "K1", Remote: "127.0.0.1"},
	}
	for i := range list {
		r := &list[i]
		r.Chain, r.N, r.ID = "T7", uint64(i+1), fmt.Sprintf("T7.%d", i+1)
		r.Hash, r.Prev = fmt.Sprintf("sha256:h%d", i+1), fmt.Sprintf("sha256:h%d", i)
		r.Time, r.Session, r.Turn, r.Who = apitest.Epoch.Add(time.Duration(i)*time.Minute), "S7", 1, who
	}
	list[5].Who, list[5].Session, list[5].Turn = []policy.Actor{{User: "world"}}, "", 0
	return list
}

// SearchAudit gives pages of two, whatever is asked for.
func (shelf) SearchAudit(_ context.Context, f host.AuditFilter) ([]policy.Record, string, error) {
	var page []policy.Record
	for _, r := range slices.Backward(kept()) {
		past := f.After != "" && r.ID >= f.After
		if past || f.Call != "" && f.Call != r.Call || f.Denied && (r.Decision == nil || r.Decision.Allowed) || f.Allowed && (r.Decision == nil || !r.Decision.Allowed) ||
			f.Differs && (r.Decision == nil || r.Decision.Candidate == nil || r.Decision.Candidate.Allowed == r.Decision.Allowed) || r.Time.Before(f.Since) {
			continue
		}
		if page = append(page, r); len(page) == min(f.Limit, 2) {
			return page, r.ID, nil
		}
	}
	return page, "", nil
}

func (shelf) AuditRecord(_ context.Context, id string) (policy.Record, error) {
	for _, r := range kept() {
		if r.ID == id {
			return r, nil
		}
	}
	return policy.Record{}, host.Errorf(host.ErrNotFound, "there is no record %q", id)
}

func (shelf) ExportAudit(_ context.Context, f host.AuditFilter, format string, w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s since %s\n", format, f.Since.UTC().Format(time.RFC3339))
	return err
}

func (shelf) Checkpoint(context.Context) (string, error) { return "", nil }

// VerifyAudit finds two faults against a checkpoint.
func (shelf) VerifyAudit(_ context.Context, checkpoint string) (host.AuditCheck, error) {
	c := host.AuditCheck{OK: checkpoint == "", Records: 6, Chains: 1, Sequenced: 5}
	if !c.OK {
		c.Problems = []string{"Record T7.3 was deleted.", "The log was rewritten: " + checkpoint}
	}
	return c, nil
}

func (s shelf) Simulate(ctx context.Context, files []host.PolicyFile, since time.Time) (host.Simulation, error) {
	if len(files) == 0 {
		return host.Simulation{Set: "sha256:00", Decided: 1}, nil
	}
	list := kept()
	out := host.Simulation{Set: "sha256:0123456789abcdef", Decided: 1200, Skipped: 3, More: 5}
	for _, i := range []int{1, 3, 4, 5} {
		if list[i].Time.Before(since) {
			return out, fmt.Errorf("%s is before %s", list[i].Time, since)
		}
		is := policy.Decision{Allowed: !list[i].Decision.Allowed}
		if i == 5 {
			is = policy.Decision{Errors: []string{"policy x does not evaluate"}}
		}
		out.Changes = append(out.Changes, host.SimulatedChange{Record: list[i], Is: is})
	}
	return out, nil
}

func (s shelf) Explain(ctx context.Context, id string) (host.Explanation, error) {
	r, err := s.AuditRecord(ctx, id)
	return host.Explanation{Record: r, Text: "It is denied by no-private-networks (limits.cedar:40).\ncontext.ip is 10.0.0.1.\n"}, err
}

func (shelf) Tightest(_ context.Context, agent string, since time.Time) (host.Suggestion, error) {
	return host.Suggestion{Policies: fmt.Sprintf("// what %s did since %s\n", agent, cmp.Or(since, apitest.Epoch).UTC().Format(time.DateOnly)), Notes: []string{"one call is forbidden"}}, nil
}

func oldTask() host.Task {
	return host.Task{
		ID: "T7", User: "world", Agent: "support", Session: "S7", Turn: 1, State: host.TaskActive, Opened: apitest.Epoch, External: true,
		Parent: "T6", Above: "S6", TaskSpec: host.TaskSpec{
			Purpose: "read\nthe docs", Expires: apitest.Epoch.Add(time.Hour), Budget: host.Budget{Tokens: 100, Calls: 5, CostMicros: 2500, Time: time.Minute},
			Grants: []policy.Grant{{Actions: []string{"fileRead", "fileList"}, Resources: []policy.UID{{Type: "Folder", ID: "docs"}}}, {Actions: []string{"callModel"}}},
		},
	}
}

func (shelf) Tasks(_ context.Context, f host.TaskFilter) ([]host.Task, error) {
	if f.State != "" && f.State != host.TaskActive {
		return nil, nil
	}
	return []host.Task{oldTask()}, nil
}

func (shelf) Task(_ context.Context, id string) (host.Task, error) {
	if id != "T7" {
		return host.Task{}, host.Errorf(host.ErrNotFound, "there is no task %q", id)
	}
	return oldTask(), nil
}

func (s shelf) EndTask(ctx context.Context, id string, state host.TaskState, _ []abi.Content) (host.Task, error) {
	t, err := s.Task(ctx, id)
	t.State = state
	return t, err
}

func (shelf) Keys(context.Context) ([]host.APIKey, error) {
	return []host.APIKey{
		{ID: "K1", Name: "cli", User: "local", Created: apitest.Epoch},
		{ID: "K2", Name: "c\ni", User: "bot", Scopes: []string{"read", "use"}, Created: apitest.Epoch, Expires: apitest.Epoch.Add(time.Minute)},
		{ID: "K3", Name: "old", User: "user1", Created: apitest.Epoch, Revoked: apitest.Epoch},
	}, nil
}

func (shelf) RevokeKey(_ context.Context, id string) (host.APIKey, error) {
	return host.APIKey{ID: id, Name: "ci", User: "bot", Revoked: apitest.Epoch}, nil
}
