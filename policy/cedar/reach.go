package cedar

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"github.com/vespiary/vespiary/policy"
)

// Subject is a run that Reach looks at. It need not exist.
type Subject struct {
	Principal policy.UID
	Known     *policy.Known // with the principal and all that it is in and mentions
	// Actions are what the run could ask for: names of actions, or of groups, which stand for
	// the actions that tools and connectors have in them.
	Actions []string
	// Resources are those that exist. For an action whose resources have a type that none of
	// these has, such as files, any is looked at. Tools go with the actions that have their
	// names.
	Resources []policy.Entity
}

// Outlook is what a run could do.
type Outlook struct {
	Calls []Reach  `json:"calls"`
	Lines []string `json:"lines"` // all of it in sentences
}

// Reach is what policies leave of one action with one resource, or with any of a type.
type Reach struct {
	Action   string `json:"action"`
	Resource string `json:"resource"` // `Model::"main"`, or "any File"
	// Answer is "yes", "if" (under a condition of some permit) or "never".
	Answer string `json:"answer"`
	// Permits are those that could permit it, any one of them; Forbids those that could stop
	// it all the same, each of them.
	Permits []Residual `json:"permits,omitempty"`
	Forbids []Residual `json:"forbids,omitempty"`
}

// Residual is what is left of a policy when all but the context, and a resource that is
// any, is known.
type Residual struct {
	ID   string `json:"id"`
	File string `json:"file"`
	Line int    `json:"line"`
	// If or Unless is the condition that is left, in Cedar; without either there is none.
	If     string `json:"if,omitempty"`
	Unless string `json:"unless,omitempty"`
	Asks   bool   `json:"asks,omitempty"` // a forbid that a person may lift
	Errs   bool   `json:"errs,omitempty"` // it is sure not to be evaluated, which denies
}

func (r *Residual) always() bool { return r.If == "" && r.Unless == "" }

// condition is what is left, with the word before it.
func (r *Residual) condition() (word, text string) {
	if r.Unless != "" {
		return "unless", r.Unless
	}
	return "if", r.If
}

// Reach says what a run could do by this set as things stand: for each action and
// resource which permits could apply and under which conditions, which policies could
// stop it, and that nothing permits it. The state of the run's task counts as it is in
// subject, so the answer must not be kept. The error says what of subject the schema does
// not know.
func (s *Set) Reach(subject Subject) (Outlook, error) {
	shared := s.words.known(subject.Known)
	own, faults := s.words.entities(subject.Resources)
	faults = append(faults, shared.faults...)
	var out Outlook
	if len(faults) > 0 {
		return out, fmt.Errorf("find out what %v could do: %s", uid(subject.Principal), strings.Join(faults, "; "))
	}
	l := &outlook{set: s, principal: uid(subject.Principal), resources: own, entities: entities{own: own, shared: shared.entities, actions: s.words.actions}}
	if !l.entities.has(l.principal) {
		return out, fmt.Errorf("find out what %v could do: it is not among the known entities; add it", l.principal)
	}
	if err := l.parse(); err != nil {
		return out, err
	}
	for _, name := range subject.Actions {
		actions, err := s.words.expand(name)
		if err != nil {
			return out, err
		}
		for _, a := range actions {
			out.Calls = append(out.Calls, l.action(a)...)
		}
	}
	out.Lines = s.lines(out.Calls)
	return out, nil
}

// expand returns the action of a name, or those of tools and connectors in a group.
func (v *vocabulary) expand(name string) ([]types.EntityUID, error) {
	u := types.EntityUID{Type: actionType, ID: types.String(name)}
	if _, ok := v.schema.Actions[u]; !ok {
		return nil, fmt.Errorf("the schema has no action %q; %s", name, nearest(name, v.actionNames()))
	}
	if !v.isGroup(u) {
		return []types.EntityUID{u}, nil
	}
	var members []types.EntityUID
	for a := range v.generated {
		if slices.Contains(v.lineage[a], u) {
			members = append(members, a)
		}
	}
	slices.SortFunc(members, compareUID)
	return members, nil
}

// outlook specialises the policies of a set to one principal.
type outlook struct {
	set       *Set
	principal types.EntityUID
	resources []types.Entity
	entities  entities
	policies  []*ast.Policy // those of the set, with their whole scopes
}

// parse reads the policies again, as the index keeps them without parts of their scopes.
func (l *outlook) parse() error {
	for _, p := range l.set.policies {
		parsed, problem := parse(p.File, statement{text: []byte(p.Text), line: p.Line})
		if problem != nil {
			return problem
		}
		l.policies = append(l.policies, (*ast.Policy)(parsed.AST()))
	}
	return nil
}

// untyped leaves out of a scope the type of the resource, which the action tells.
func untyped(p *ast.Policy) *ast.Policy {
	q := *p
	switch scope := p.Resource.(type) {
	case ast.ScopeTypeIs:
		q.Resource = ast.Scope{}.All()
	case ast.ScopeTypeIsIn:
		q.Resource = ast.Scope{}.In(scope.Entity)
	default: // without a type
	}
	return &q
}

// action looks at an action with each resource that exists, or with any.
func (l *outlook) action(a types.EntityUID) []Reach {
	applies := l.set.words.schema.Actions[a].AppliesTo
	if applies == nil || !slices.Contains(applies.Principals, l.principal.Type) {
		return nil
	}
	var out []Reach
	for _, kind := range applies.Resources {
		found := false
		for _, e := range l.resources {
			if e.UID.Type != kind || kind == "Tool" && e.UID.ID != a.ID {
				continue
			}
			found = true
			out = append(out, l.reach(a, e.UID, e.UID.String()))
		}
		if !found {
			out = append(out, l.reach(a, eval.Variable("resource"), "any "+string(kind)))
		}
	}
	return out
}

func (l *outlook) reach(a types.EntityUID, resource types.Value, name string) Reach {
	r := Reach{Action: string(a.ID), Resource: name}
	env := eval.Env{Entities: &l.entities, Principal: l.principal, Action: a, Resource: resource, Context: eval.Variable("context")}
	for i, p := range l.policies {
		if !l.set.words.applies(p, a) {
			continue
		}
		rest, keep := l.residual(env, i)
		switch {
		case !keep:
		case p.Effect == ast.EffectPermit && !rest.Errs:
			r.Permits = append(r.Permits, rest)
		default:
			r.Forbids = append(r.Forbids, rest)
		}
	}
	r.Answer = r.answer()
	return r
}

func (l *outlook) residual(env eval.Env, i int) (Residual, bool) {
	info := &l.set.policies[i]
	_, asks := info.Annotations[needsApproval]
	rest := Residual{ID: info.ID, File: info.File, Line: info.Line, Asks: asks}
	p, keep := eval.PartialPolicy(env, untyped(l.policies[i]))
	if !keep {
		return rest, false
	}
	node := simplified(eval.PolicyToNode(p).AsIsNode())
	switch {
	case isValue(node, types.False):
		return rest, false
	case surelyErrs(p):
		rest.Errs = true
	case !isValue(node, types.True):
		rest.set(node)
	}
	return rest, true
}

func (r *Residual) set(node ast.IsNode) {
	if not, ok := node.(ast.NodeTypeNot); ok {
		r.Unless = expression(not.Arg)
		return
	}
	r.If = expression(node)
}

// surelyErrs reports whether evaluation ends in an error whatever the context is.
func surelyErrs(p *ast.Policy) bool {
	if len(p.Conditions) == 0 {
		return false
	}
	_, failed := eval.ToPartialError(p.Conditions[0].Body)
	return failed
}

// simplified drops what partial evaluation found out to be true.
func simplified(n ast.IsNode) ast.IsNode {
	switch n := n.(type) {
	case ast.NodeTypeAnd:
		return joinedNode(n.Left, n.Right, types.True, func(b ast.BinaryNode) ast.IsNode { return ast.NodeTypeAnd{BinaryNode: b} })
	case ast.NodeTypeOr:
		return joinedNode(n.Left, n.Right, types.False, func(b ast.BinaryNode) ast.IsNode { return ast.NodeTypeOr{BinaryNode: b} })
	case ast.NodeTypeNot:
		arg := simplified(n.Arg)
		if v, ok := arg.(ast.NodeValue); ok {
			return ast.NodeValue{Value: !isBoolean(v.Value)}
		}
		return negated(arg)
	default:
		return n
	}
}

func isBoolean(v types.Value) types.Boolean {
	b, _ := v.(types.Boolean)
	return b
}

// joinedNode joins two operands of which one that is neutral has no part, and one that is
// the contrary is all: the other could only make an error of it, which denies.
func joinedNode(left, right ast.IsNode, neutral types.Boolean, join func(ast.BinaryNode) ast.IsNode) ast.IsNode {
	left, right = simplified(left), simplified(right)
	switch {
	case isValue(left, neutral):
		return right
	case isValue(right, neutral):
		return left
	case isValue(left, !neutral), isValue(right, !neutral):
		return ast.NodeValue{Value: !neutral}
	default:
		return join(ast.BinaryNode{Left: left, Right: right})
	}
}

func isValue(n ast.IsNode, want types.Boolean) bool {
	v, ok := n.(ast.NodeValue)
	return ok && v.Value == want
}

// The answers of a Reach.
const (
	reachYes   = "yes"
	reachIf    = "if"
	reachNever = "never"
)

func (r *Reach) answer() string {
	switch {
	case len(r.Permits) == 0 || r.stopper() != nil:
		return reachNever
	case slices.ContainsFunc(r.Permits, func(p Residual) bool { return p.always() }):
		return reachYes
	default:
		return reachIf
	}
}

// stopper is a policy that is sure to stop it, nil if none is.
func (r *Reach) stopper() *Residual {
	for i := range r.Forbids {
		if f := &r.Forbids[i]; f.always() {
			return f
		}
	}
	return nil
}

// lines say it all, first what could be done, then once each what could stop it.
func (s *Set) lines(calls []Reach) []string {
	var lines []string
	for i := range calls {
		lines = append(lines, s.sentenceOf(&calls[i])...)
	}
	return append(lines, s.stops(calls)...)
}

func (s *Set) sentenceOf(r *Reach) []string {
	deed := deedOf(r)
	switch r.Answer {
	case reachYes:
		return []string{fmt.Sprintf("may %s (%s)", deed, s.permittedBy(r))}
	case reachIf:
		if len(r.Permits) == 1 {
			word, text := r.Permits[0].condition()
			return []string{fmt.Sprintf("may %s %s", deed, word), fmt.Sprintf("  %s (%s)", text, s.where(r.Permits[0].ID))}
		}
		lines := []string{fmt.Sprintf("may %s on one of these conditions:", deed)}
		for i := range r.Permits {
			word, text := r.Permits[i].condition()
			lines = append(lines, fmt.Sprintf("  %s %s (%s)", word, text, s.where(r.Permits[i].ID)))
		}
		return lines
	}
	stop := r.stopper()
	switch {
	case stop == nil:
		return []string{fmt.Sprintf("may not %s: no policy permits it", deed)}
	case stop.Errs:
		return []string{fmt.Sprintf("may not %s: policy %s cannot be evaluated", deed, s.where(stop.ID))}
	default:
		return []string{fmt.Sprintf("may not %s: policy %s forbids it", deed, s.where(stop.ID))}
	}
}

// permittedBy names a permit without a condition.
func (s *Set) permittedBy(r *Reach) string {
	for _, p := range r.Permits {
		if p.always() {
			return s.where(p.ID)
		}
	}
	return ""
}

// stops says of each forbid with a condition which of the permitted calls it is about.
func (s *Set) stops(calls []Reach) []string {
	type stop struct {
		id, word, condition string
		asks                bool
	}
	var order []stop
	about := map[stop][]string{}
	possible := 0
	for i := range calls {
		if calls[i].Answer == reachNever {
			continue
		}
		possible++
		for _, f := range calls[i].Forbids {
			word, condition := f.condition()
			k := stop{f.ID, word, condition, f.Asks}
			if about[k] == nil {
				order = append(order, k)
			}
			about[k] = append(about[k], calls[i].Action)
		}
	}
	var lines []string
	for _, k := range order {
		whom := "all of this"
		if len(about[k]) < possible {
			whom = strings.Join(slices.Compact(about[k]), ", ")
		}
		verb := "policy %s stops %s %s"
		if k.asks {
			verb = "policy %s leaves %s to a person %s"
		}
		lines = append(lines, fmt.Sprintf(verb, s.where(k.id), whom, k.word), "  "+k.condition)
	}
	return lines
}

// deeds say what the actions of runs do, with a named resource and with any.
var deeds = map[string][2]string{
	"callModel":      {"call the model %s", "call models"},
	"embed":          {"embed text by the model %s", "embed text"},
	"listTools":      {"list the tools of the agent %s", "list the tools of agents"},
	"memoryRead":     {"read the memory %s", "read memory"},
	"memoryWrite":    {"write to the memory %s", "write to memory"},
	"fileRead":       {"read the file %s", "read files"},
	"fileList":       {"list the folder %s", "list folders"},
	"fileWrite":      {"write the file %s", "write files"},
	"resolveName":    {"look up the name %s", "look up names"},
	"httpGet":        {"send GET requests to %s", "send GET requests"},
	"httpSend":       {"send requests that are not GET to %s", "send requests that are not GET"},
	"emit":           {"stream to the caller of the session %s", "stream to its caller"},
	"reply":          {"reply in the session %s", "reply to its caller"},
	"await":          {"wait in the session %s", "wait for what comes"},
	"reveal":         {"read the content of the handle %s", "read the content of handles"},
	"delegate":       {"hand a part to the agent %s", "hand a part to agents"},
	"delegateRemote": {"hand a part to %s elsewhere", "hand a part to agents elsewhere"},
}

func deedOf(r *Reach) string {
	kind, name, _ := strings.Cut(r.Resource, "::")
	deed, known := deeds[r.Action]
	switch {
	case known && kind == r.Resource:
		return deed[1]
	case known:
		return fmt.Sprintf(deed[0], name)
	case kind == "Tool" || r.Resource == "any Tool":
		return "use the tool " + r.Action
	case kind == "ConnectorScope":
		return fmt.Sprintf("do %s in %s", r.Action, name)
	default:
		return fmt.Sprintf("do %s with %s", r.Action, r.Resource)
	}
}
