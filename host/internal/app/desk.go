package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/cli"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/config/strict"
	"github.com/vespiary/vespiary/policy/cedar"
)

var _ cli.Policies = App{}

// Now implements cli.App.
func (App) Now() time.Time { return time.Now() } //nolint:forbidigo // the command line lives in real time

// CheckPolicies implements cli.Policies.
func (App) CheckPolicies(ctx context.Context, cfg *config.Config, files []host.PolicyFile) (host.PolicySet, error) {
	r, err := deskRules(ctx, cfg, files)
	if err != nil {
		return host.PolicySet{}, err
	}
	out := host.PolicySet{Digest: r.active.Digest(), Policies: len(r.active.Policies()), Files: listed(r.active.Files())}
	if r.candidate != nil {
		out.Candidate = r.candidate.Digest()
	}
	return out, nil
}

// TestPolicies implements cli.Policies.
func (App) TestPolicies(ctx context.Context, cfg *config.Config, files []host.PolicyFile, cases []cli.CaseFile) ([]cli.CaseResult, error) {
	r, wrong := deskRules(ctx, cfg, files)
	read := make([]cedar.Cases, len(cases))
	for i, f := range cases {
		wrong = errors.Join(wrong, strict.Decode(f.Name, f.Text, &read[i]).Err())
	}
	if wrong != nil {
		return nil, wrong
	}
	out := []cli.CaseResult{}
	for i, f := range cases {
		for _, c := range r.active.RunCases(read[i].Cases) { //nolint:contextcheck // deciding waits for nothing
			out = append(out, cli.CaseResult{File: f.Name, Name: c.Name, Passed: c.Passed, Why: c.Why, Decision: c.Decision})
		}
	}
	return out, nil
}

// PolicySchema implements cli.Policies.
func (App) PolicySchema(ctx context.Context, cfg *config.Config) (string, error) {
	r, err := deskRules(ctx, cfg, nil)
	if err != nil {
		return "", err
	}
	return r.active.Schema(), nil
}

// Suggest implements cli.Policies.
func (App) Suggest(ctx context.Context, cfg *config.Config, files []host.PolicyFile, denied []host.DecisionRecord) (host.Suggestion, error) {
	r, err := deskRules(ctx, cfg, files)
	if err != nil {
		return host.Suggestion{}, err
	}
	requests := make([]cedar.Recorded, 0, len(denied))
	unread := 0
	for _, d := range denied {
		var q cedar.Recorded
		if len(d.Recorded) == 0 {
			unread++
			continue
		}
		if err := json.Unmarshal(d.Recorded, &q); err != nil {
			return host.Suggestion{}, fmt.Errorf("read the decision of session %s, call %s: %w", d.Session, d.Call.Path, err)
		}
		requests = append(requests, q)
	}
	s := r.active.Suggest(requests)
	if unread > 0 {
		s.Notes = append(s.Notes, fmt.Sprintf("%d denials are left out: what they were about cannot be read any more", unread))
	}
	return host.Suggestion(s), nil
}

// Reach implements cli.Policies, for runs of the agent on behalf of this machine's user.
func (App) Reach(ctx context.Context, cfg *config.Config, agent string) (out host.Reach, err error) {
	d := newDesk(cfg)
	defer func() { err = errors.Join(err, d.close(ctx)) }()
	a, err := d.able(ctx, agent)
	if err != nil {
		return out, err
	}
	r, err := loadRules(cfg, actionsOf(a.tools))
	if err != nil {
		return out, eachFault(err)
	}
	return reachOf(r.active, localUser(cfg), a)
}

// localUser is the user of this machine, in the groups of a configuration.
func localUser(cfg *config.Config) host.Caller {
	c := onThisMachine()
	for group, users := range membersOf(cfg) {
		if slices.Contains(users, c.User) {
			c.Groups = append(c.Groups, group)
		}
	}
	slices.Sort(c.Groups)
	return c
}

// deskRules compiles policy files with all that a configuration adds to them, as the host
// does. The error has a line for each problem.
func deskRules(ctx context.Context, cfg *config.Config, files []host.PolicyFile) (rules, error) {
	if cfg == nil {
		cfg = &config.Config{}
	}
	byName, err := eachOnce(files)
	if err != nil {
		return rules{}, err
	}
	d := newDesk(cfg)
	tools, err := d.tools(ctx)
	if err = errors.Join(err, d.close(ctx)); err != nil {
		return rules{}, err
	}
	r, err := rulesOf(cfg, byName, actionsOf(tools))
	return r, eachFault(err)
}

func eachOnce(files []host.PolicyFile) (map[string][]byte, error) {
	out := make(map[string][]byte, len(files))
	for _, f := range files {
		if _, twice := out[f.Name]; twice {
			return nil, fmt.Errorf("the policy file %s is given twice; give it once", f.Name)
		}
		out[f.Name] = []byte(f.Text)
	}
	return out, nil
}

// faults tells each of the problems of policies in a line of its own, and holds them for
// who asks.
type faults struct {
	error
	problems host.PolicyProblems
}

// Unwrap lets callers find the problems.
func (f faults) Unwrap() error { return f.problems }

// eachFault makes faults of an error that is about policies.
func eachFault(err error) error {
	if problems := problemsOf(err); len(problems) > 0 {
		return faults{err, problems}
	}
	return err
}
