package apitest

import (
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
	"github.com/vespiary/vespiary/policy"
)

// Keys is an api.Keys in memory.
type Keys struct{ keys []host.APIKey }

var _ api.Keys = (*Keys)(nil)

// List implements api.Keys.
func (k *Keys) List(context.Context, host.Caller) ([]host.APIKey, error) { return k.keys, nil }

// Create implements api.Keys.
func (k *Keys) Create(_ context.Context, c host.Caller, spec host.APIKeySpec) (host.APIKey, string, error) {
	key := host.APIKey{
		ID: fmt.Sprintf("%016d", len(k.keys)+1), Name: spec.Name, Tenant: c.Tenant, User: spec.User, Scopes: spec.Scopes,
		Created: Epoch, Expires: spec.Expires,
	}
	if key.User == "" {
		key.User = c.User
	}
	k.keys = append(k.keys, key)
	return key, "vsp_" + key.Tenant + "_" + key.ID + "_secret", nil
}

// Revoke implements api.Keys.
func (k *Keys) Revoke(_ context.Context, _ host.Caller, id string) (host.APIKey, error) {
	for i := range k.keys {
		if k.keys[i].ID == id {
			k.keys[i].Revoked = Epoch.Add(time.Minute)
			return k.keys[i], nil
		}
	}
	return host.APIKey{}, host.Errorf(host.ErrNotFound, "there is no API key %q; GET /v1/keys lists them", id)
}

// Policies is an api.Policies in memory. A file that holds the word bad is not valid, and
// a set's digest is how many times it was changed.
type Policies struct {
	changes int
	files   []host.PolicyFile
}

var _ api.Policies = (*Policies)(nil)

// NewPolicies returns a set of one file.
func NewPolicies() *Policies {
	return &Policies{files: []host.PolicyFile{{Name: "agents.cedar", Text: "permit (principal, action, resource);\n"}}}
}

func (p *Policies) digest() string { return fmt.Sprintf("sha256:%02d", p.changes) }

// Active implements api.Policies.
func (p *Policies) Active(context.Context, host.Caller) (host.PolicySet, error) {
	return host.PolicySet{Digest: p.digest(), Candidate: "sha256:cc", Policies: len(p.files), Files: p.files}, nil
}

// Set implements api.Policies.
func (p *Policies) Set(ctx context.Context, c host.Caller, digest string) (host.PolicySet, error) {
	if digest != p.digest() {
		return host.PolicySet{}, host.Errorf(host.ErrNotFound, "there is no policy set %s; records of decisions name those that there are", digest)
	}
	return p.Active(ctx, c)
}

func faults(files []host.PolicyFile) host.PolicyProblems {
	var out host.PolicyProblems
	for _, f := range files {
		for i, line := range strings.Split(f.Text, "\n") {
			if strings.Contains(line, "bad") {
				out = append(out, host.PolicyProblem{File: f.Name, Line: i + 1, What: "there is no action bad", Fix: "use one of the schema"})
			}
		}
	}
	return out
}

// Change implements api.Policies.
func (p *Policies) Change(ctx context.Context, c host.Caller, change host.PolicyChange) (host.PolicySet, error) {
	if change.Match != "" && change.Match != p.digest() {
		return host.PolicySet{}, host.Errorf(host.ErrConflict, "the policies are %s by now; read them again", p.digest())
	}
	if bad := faults(change.Write); bad != nil {
		return host.PolicySet{}, host.Errorf(host.ErrInvalid, "nothing was changed: %w", bad)
	}
	named := func(name string) func(host.PolicyFile) bool {
		return func(f host.PolicyFile) bool { return f.Name == name }
	}
	files := slices.Clone(p.files)
	if change.All {
		files = nil
	}
	for _, name := range change.Remove {
		if !slices.ContainsFunc(files, named(name)) {
			return host.PolicySet{}, host.Errorf(host.ErrNotFound, "there is no policy file %s; GET /v1/policies lists them", name)
		}
		files = slices.DeleteFunc(files, named(name))
	}
	for _, f := range change.Write {
		files = append(slices.DeleteFunc(files, named(f.Name)), f)
	}
	p.files = files
	p.changes++
	return p.Active(ctx, c)
}

// Check implements api.Policies.
func (p *Policies) Check(_ context.Context, _ host.Caller, files []host.PolicyFile) (host.PolicyCheck, error) {
	if bad := faults(files); bad != nil {
		return host.PolicyCheck{Problems: bad}, nil
	}
	return host.PolicyCheck{Digest: "sha256:dd", Policies: len(files)}, nil
}

// Schema implements api.Policies.
func (p *Policies) Schema(context.Context, host.Caller) (string, error) { return "entity User;\n", nil }

// Simulate implements api.Policies.
func (p *Policies) Simulate(_ context.Context, _ host.Caller, _ []host.PolicyFile, since time.Time) (host.Simulation, error) {
	out := host.Simulation{Set: "sha256:dd", Decided: 2, Skipped: 1}
	if since.Before(Epoch) {
		out.Changes = []host.SimulatedChange{{Record: records[0], Is: policy.Decision{Set: "sha256:dd"}}}
	}
	return out, nil
}

// Explain implements api.Policies.
func (p *Policies) Explain(_ context.Context, _ host.Caller, decision string) (host.Explanation, error) {
	r, err := recordOf(decision)
	return host.Explanation{Record: r, Text: "permitted by policy models (base.cedar:3)"}, err
}

// Reach implements api.Policies.
func (p *Policies) Reach(_ context.Context, _ host.Caller, agent string) (host.Reach, error) {
	if err := refuse(agent); err != nil {
		return host.Reach{}, err
	}
	return host.Reach{Agent: agent, Module: "sha256:00", Set: p.digest(), Abilities: []host.Ability{
		{Call: "http_fetch", Action: "httpGet", Answer: host.AbleNo, Text: "It cannot read from the web."},
		{Call: "model_chat", Action: "callModel", Answer: host.AbleYes, Text: "It can ask the model main."},
	}}, nil
}

// Tightest implements api.Policies.
func (p *Policies) Tightest(_ context.Context, _ host.Caller, agent string, since time.Time) (host.Suggestion, error) {
	if err := refuse(agent); err != nil {
		return host.Suggestion{}, err
	}
	if since.After(Epoch) {
		return host.Suggestion{Notes: []string{"nothing that " + agent + " was allowed is on record"}}, nil
	}
	return host.Suggestion{Policies: "permit (principal in Agent::\"" + agent + "\", action, resource);\n"}, nil
}

// Audit is an api.Audit of two records.
type Audit struct{}

var _ api.Audit = Audit{}

var records = []policy.Record{
	{
		ID: "T1.1", Chain: "T1", N: 1, Hash: "h1", Time: Epoch, Kind: policy.RecordDecision, Tenant: "default", Session: "S1",
		Who: []policy.Actor{{Run: "R1", Agent: "echo", Task: "T1"}, {User: "world"}}, Call: "model_chat", Action: "callModel",
		Resource: policy.UID{Type: "Model", ID: "main"},
		Decision: &policy.Decision{Allowed: true, Policies: []policy.Cause{{ID: "models", File: "base.cedar", Line: 3}}, Set: "sha256:00"},
	},
	{ID: "T1.2", Chain: "T1", N: 2, Prev: "h1", Hash: "h2", Time: Epoch, Kind: policy.RecordOutcome, Tenant: "default", Session: "S1", Of: "T1.1", Code: "ok"},
}

func recordOf(id string) (policy.Record, error) {
	for _, r := range records {
		if r.ID == id {
			return r, nil
		}
	}
	return policy.Record{}, host.Errorf(host.ErrNotFound, "there is no record %q; GET /v1/audit lists them", id)
}

// Search implements api.Audit. A page has a cursor when it is full.
func (Audit) Search(_ context.Context, _ host.Caller, f host.AuditFilter) ([]policy.Record, string, error) {
	var out []policy.Record
	for _, r := range slices.Backward(records) {
		wanted := (f.Kind == "" || f.Kind == r.Kind) && !f.Denied && !f.Differs && (f.After == "" || r.ID < f.After) &&
			(f.Call == "" || f.Call == r.Call) && (!f.Allowed || r.Decision != nil)
		if !wanted || !f.Until.IsZero() && !r.Time.Before(f.Until) || r.Time.Before(f.Since) {
			continue
		}
		if out = append(out, r); len(out) == f.Limit {
			return out, r.ID, nil
		}
	}
	return out, "", nil
}

// Record implements api.Audit.
func (Audit) Record(_ context.Context, _ host.Caller, id string) (policy.Record, error) {
	return recordOf(id)
}

// Tail implements api.Audit.
func (Audit) Tail(ctx context.Context, _ host.Caller, f host.AuditFilter) iter.Seq2[policy.Record, error] {
	return func(yield func(policy.Record, error) bool) {
		for _, r := range records {
			if r.ID > f.After && !yield(r, nil) {
				return
			}
		}
		<-ctx.Done()
	}
}

// Export implements api.Audit with a line of each record's id.
func (Audit) Export(_ context.Context, _ host.Caller, _ host.AuditFilter, format string, w io.Writer) error {
	for _, r := range records {
		if _, err := fmt.Fprintln(w, format, r.ID); err != nil {
			return err
		}
	}
	return nil
}

// Checkpoint implements api.Audit.
func (Audit) Checkpoint(context.Context, host.Caller) (string, error) {
	return "vespiary\n2\naGFzaA==\n\n— vespiary c2lnbmF0dXJl\n", nil
}

// Verify implements api.Audit.
func (Audit) Verify(_ context.Context, _ host.Caller, checkpoint string) (host.AuditCheck, error) {
	if checkpoint == "another" {
		return host.AuditCheck{Records: 2, Chains: 1, Sequenced: 2, Problems: []string{"The log does not begin with what the checkpoint was signed over."}}, nil
	}
	return host.AuditCheck{OK: true, Records: 2, Chains: 1, Sequenced: 2}, nil
}
