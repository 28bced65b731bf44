// Package policy holds the words of authorization: who asks to do what, with
// which, and what was decided. It decides nothing itself; policy/cedar does.
package policy

import (
	"context"
	"slices"
)

// UID names an entity: Type is one of the schema's types without its namespace
// ("Run", "Action", "File"), ID is unique within the type.
type UID struct {
	Type string `json:"type"`
	ID   string `json:"id"`
}

// Entity is a thing that policies can talk about. The values of Attrs are bool,
// int64 (or int), string, Decimal, time.Time, netip.Addr, UID, and slices and
// map[string]any of those, and *Shared; anything else makes a request that is denied.
type Entity struct {
	UID     UID
	Parents []UID
	Attrs   map[string]any
	Tags    map[string][]string // each a set of strings
}

// Decimal is a number with up to four digits after the point, in the form that Cedar
// writes: "12.5".
type Decimal string

// Known is a set of entities that many requests share, such as a run with its
// agent, task and user. An Authorizer keeps its own form of it in Prepared, and
// AppendEvidence in Encoded, so the entities must not change after the first use.
type Known struct {
	Entities []Entity
	Prepared Prepared
	Encoded  Prepared
}

// Request asks whether Principal may do Action with Resource. Context has the
// form of Attrs, without granted, which the Authorizer finds out from Chain. Entities are
// those of this request alone; an entity there hides one of Known with the same name.
type Request struct {
	Principal, Action, Resource UID
	Context                     map[string]any
	Known                       *Known
	Entities                    []Entity
	// Chain is the principal, and then whom it acts for, each for the next. The request
	// must be allowed for every one of them. Without it the principal stands alone.
	Chain []Hop
}

// Hop is one link of a chain of delegation: a principal, and what the task was granted
// that it acts in.
type Hop struct {
	Principal UID     `json:"principal"`
	Grants    *Grants `json:"grants,omitempty"` // nil: policies alone say what it may do
}

// Grants are what a task was opened with. They narrow: what none of them covers is denied,
// whatever policies permit. An Authorizer keeps its own form of them in Prepared, and
// AppendEvidence in Encoded, so they must not change after the first use.
type Grants struct {
	Task     string   `json:"task"`
	List     []Grant  `json:"list"`
	Prepared Prepared `json:"-"`
	Encoded  Prepared `json:"-"`
}

// Grant gives a task the use of actions with resources.
type Grant struct {
	// Actions are names of actions or of their groups: "fileWrite", "observe", "hello.greet".
	Actions []string `json:"actions"`
	// Resources are those it holds for, or what they are in; none: all.
	Resources []UID `json:"resources,omitempty"`
}

// ActionsOf are the names that grants give, in order, each once.
func ActionsOf(grants []Grant) []string {
	out := []string{}
	for _, g := range grants {
		out = append(out, g.Actions...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Decision is the answer to a Request. The zero Decision is a denial.
type Decision struct {
	Allowed  bool     `json:"allowed"`
	Policies []Cause  `json:"policies,omitempty"` // those that decided; none for a denial by default
	Errors   []string `json:"errors,omitempty"`   // evaluation errors; any one makes a denial
	Set      string   `json:"set"`                // digest of the policy set
	// Approval is set on a denial that a person may lift: every policy that denies says so
	// by the annotation @needs_approval, and a permit holds besides. It is the text of the
	// annotation, of the first by id if several deny; "approval" if that has none.
	Approval string `json:"approval,omitempty"`
	// Hop is the link of the request's chain that was denied, or would need the approval; 0
	// is the principal itself.
	Hop int `json:"hop,omitempty"`
	// Candidate is what the candidate set decided, nil where there is none. It has no effect.
	Candidate *Decision `json:"candidate,omitempty"`
}

// Cause is a policy that decided.
type Cause struct {
	ID   string `json:"id"`
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
}

// Authorizer decides. It never panics on a request and is safe for concurrent
// use. A request that the schema does not allow, and any evaluation error in any
// policy, is a denial.
type Authorizer interface {
	Authorize(ctx context.Context, r *Request) Decision
}
