package cedar

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/vespiary/vespiary/policy"
)

// Cases is a file of policy cases, which stands beside the policies.
type Cases struct {
	Cases []Case `json:"cases" yaml:"cases,required"`
}

// Case is a request with the answer that policies should give. Everything but its
// action and what it expects has a default, so that it says only what it is about:
//
//   - name: nobody leaves the folder
//     agent: support
//     action: fileRead
//     resource: docs/a.md
//     attrs: {inside: false}
//     expect: deny
//     by: [files-stay-inside]
//
// A name of an entity may be its id alone where the schema leaves no doubt of its type,
// else it is "Type::id", in quotes where it stands in braces. Times are RFC 3339, or a span from context.now: "1h", "-1m".
type Case struct {
	Name string `json:"name" yaml:"name,required"`

	// Agent asks, on behalf of User. Without a name they are "agent" and "user". Where the
	// action is one of people, the user asks.
	Agent    string              `json:"agent,omitempty" yaml:"agent"`
	Roles    []string            `json:"roles,omitempty" yaml:"roles"` // of the agent
	External bool                `json:"external,omitempty" yaml:"external"`
	User     string              `json:"user,omitempty" yaml:"user"`
	Groups   []string            `json:"groups,omitempty" yaml:"groups"` // of the user
	Claims   map[string][]string `json:"claims,omitempty" yaml:"claims"` // of the user
	Tenant   string              `json:"tenant,omitempty" yaml:"tenant"` // "home" without
	Task     CaseTask            `json:"task,omitzero" yaml:"task"`
	// ActsFor are the agents that the agent acts for, each for the next.
	ActsFor []CaseHop `json:"acts_for,omitempty" yaml:"acts_for"`

	Action   string                     `json:"action" yaml:"action,required"`
	Resource string                     `json:"resource,omitempty" yaml:"resource"` // "it" without
	In       []string                   `json:"in,omitempty" yaml:"in"`             // what the resource is in
	Attrs    map[string]json.RawMessage `json:"attrs,omitempty" yaml:"attrs"`       // of the resource

	// Context overrides what the context has without it: a trusted flow, no limits, noon of
	// the first of January 2026.
	Context map[string]json.RawMessage `json:"context,omitempty" yaml:"context"`
	// Approved is who said yes to the call; the yes is to these arguments unless
	// context.approval.digest says another.
	Approved string `json:"approved,omitempty" yaml:"approved"`

	// Expect is "allow", "deny", "approval" (denied, and a person may lift it) or "error" (no
	// answer, which denies).
	Expect string `json:"expect" yaml:"expect,required"`
	// By are the policies that must decide, all of them; nil: any. Of an error, those that
	// could not be evaluated.
	By []string `json:"by,omitempty" yaml:"by"`
}

// CaseTask is the task that a case happens in. Without a state it is active.
type CaseTask struct {
	ID      string      `json:"id,omitempty" yaml:"id"`
	State   string      `json:"state,omitempty" yaml:"state"`
	Expires string      `json:"expires,omitempty" yaml:"expires"`
	Grants  []CaseGrant `json:"grants,omitzero" yaml:"grants"` // nil: not narrowed
}

// CaseGrant is a grant of a CaseTask.
type CaseGrant struct {
	Actions   []string `json:"actions" yaml:"actions,required"`
	Resources []string `json:"resources,omitempty" yaml:"resources"` // "Type::id"
}

// CaseHop is an agent that another acts for, in a task of its own if it has one.
type CaseHop struct {
	Agent string    `json:"agent" yaml:"agent,required"`
	Roles []string  `json:"roles,omitempty" yaml:"roles"`
	Task  *CaseTask `json:"task,omitempty" yaml:"task"`
}

// CaseResult is how a case came out.
type CaseResult struct {
	Name     string          `json:"name"`
	Passed   bool            `json:"passed"`
	Why      []string        `json:"why,omitempty"` // of one that failed: what was expected, and an explanation
	Decision policy.Decision `json:"decision"`
}

// RunCases decides the cases by this set, in their order. A case that cannot be read
// fails.
func (s *Set) RunCases(cases []Case) []CaseResult {
	results := make([]CaseResult, len(cases))
	for i := range cases {
		results[i] = s.runCase(&cases[i])
	}
	return results
}

var caseAnswers = map[string]string{
	"allow": answerAllowed, "deny": answerDenied, "approval": answerApproval, "error": answerError,
}

func (s *Set) runCase(c *Case) CaseResult {
	out := CaseResult{Name: c.Name}
	expected, known := caseAnswers[c.Expect]
	if !known {
		out.Why = []string{fmt.Sprintf("expect is %q; write allow, deny, approval or error", c.Expect)}
		return out
	}
	r, err := s.words.caseRequest(c)
	if err != nil {
		out.Why = []string{"the case cannot be read: " + err.Error()}
		return out
	}
	out.Decision = New(s).Authorize(context.Background(), r)
	got := answer(out.Decision)
	if got != expected {
		out.Why = []string{fmt.Sprintf("expected to be %s, but it is %s", said(expected), said(got))}
	} else if by := s.deciders(out.Decision); c.By != nil && !sameNames(by, c.By) {
		out.Why = []string{fmt.Sprintf("expected to be decided by %s, but it is by %s", allOf(c.By), allOf(by))}
	}
	if out.Passed = out.Why == nil; !out.Passed {
		out.Why = append(out.Why, s.Explain(r, out.Decision).Lines...)
	}
	return out
}

// said says an answer as the end of a sentence.
func said(answer string) string {
	switch answer {
	case answerApproval:
		return "left to a person"
	case answerError:
		return "undecidable"
	default:
		return answer
	}
}

// deciders names the policies that decided or could not be evaluated.
func (s *Set) deciders(d policy.Decision) []string {
	by := causeIDs(d)
	for _, p := range s.policies {
		named := func(e string) bool { return strings.HasPrefix(e, "policy "+s.where(p.ID)+" ") }
		if slices.ContainsFunc(d.Errors, named) {
			by = append(by, p.ID)
		}
	}
	return by
}

func sameNames(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}

func allOf(ids []string) string {
	if len(ids) == 0 {
		return "no policy"
	}
	return strings.Join(ids, ", ")
}
