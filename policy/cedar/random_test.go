package cedar

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"

	"github.com/vespiary/vespiary/policy"
)

// random makes policies and requests out of the schema, with so few names and values
// that they meet often.
type random struct {
	*rand.Rand
	words *vocabulary
}

func newRandom(seed uint64, v *vocabulary) *random {
	return &random{rand.New(rand.NewPCG(seed, 4)), v}
}

func pick[T any](r *random, of ...T) T { return of[r.IntN(len(of))] }

func (r *random) chance(percent int) bool { return r.IntN(100) < percent }

var letters = []string{"a", "b", "c"}

func (r *random) action() (types.EntityUID, resolved.AppliesTo) {
	var all []types.EntityUID
	for u, a := range r.words.schema.Actions {
		if a.AppliesTo != nil {
			all = append(all, u)
		}
	}
	slices.SortFunc(all, compareUID)
	u := pick(r, all...)
	return u, *r.words.schema.Actions[u].AppliesTo
}

// ---- values ----

// long is a number that JavaScript has too.
func (r *random) long() int64 { return pick[int64](r, -1, 0, 1, 2, 5) }

func (r *random) moment() time.Time {
	return noon.Add(time.Duration(r.IntN(5)-2) * time.Hour)
}

func (r *random) address() netip.Addr {
	return netip.MustParseAddr(pick(r, "127.0.0.1", "10.0.0.7", "192.168.1.1", "93.184.216.34", "::1", "fd00::2", "2606:2800::1"))
}

func (r *random) decimal() policy.Decimal {
	return policy.Decimal(pick(r, "0.0", "-1.5", "9.99", "10.0", "99.9999"))
}

func (r *random) uid(kind types.EntityType) policy.UID {
	return policy.UID{Type: string(kind), ID: pick(r, letters...)}
}

func (r *random) value(t resolved.IsType) any {
	switch t := t.(type) {
	case resolved.LongType:
		return r.long()
	case resolved.BoolType:
		return r.chance(50)
	case resolved.EntityType:
		return r.uid(types.EntityType(t))
	case resolved.RecordType:
		return r.record(t)
	case resolved.SetType:
		out := []any{}
		for range r.IntN(3) {
			out = append(out, r.value(t.Element))
		}
		return out
	case resolved.ExtensionType:
		switch string(t) {
		case "datetime":
			return r.moment()
		case "ipaddr":
			return r.address()
		default:
			return r.decimal()
		}
	default:
		return pick(r, letters...)
	}
}

func (r *random) record(t resolved.RecordType) map[string]any {
	out := map[string]any{}
	for _, name := range attributes(t) {
		if attr := t[types.String(name)]; name != grantedAttr && (!attr.Optional || r.chance(60)) {
			out[name] = r.value(attr.Type)
		}
	}
	return out
}

// ---- requests ----

// world has every entity of every type that a run can be in, and runs and tasks in one
// another.
func (r *random) world() *policy.Known {
	var out []policy.Entity
	for _, kind := range []types.EntityType{"Tenant", "Group", "User", "Module", "Role", "Agent", "Task", "Run"} {
		declared := r.words.schema.Entities[kind]
		for i, id := range letters {
			e := policy.Entity{UID: policy.UID{Type: string(kind), ID: id}, Attrs: r.record(declared.Shape)}
			for _, p := range declared.ParentTypes {
				if p == kind && i == 0 { // no cycles
					continue
				}
				if p == kind {
					e.Parents = append(e.Parents, policy.UID{Type: string(p), ID: letters[r.IntN(i)]})
				} else if r.chance(70) {
					e.Parents = append(e.Parents, r.uid(p))
				}
			}
			if declared.Tags != nil && r.chance(70) {
				e.Tags = map[string][]string{pick(r, letters...): {pick(r, letters...)}, pick(r, letters...): {}}
			}
			out = append(out, e)
		}
	}
	// An entity that only attributes lead to may be absent, which makes reading it an error.
	if r.chance(30) {
		out = slices.DeleteFunc(out, func(e policy.Entity) bool { return e.UID == r.uid("Module") })
	}
	return &policy.Known{Entities: out}
}

func (r *random) request(known *policy.Known) *policy.Request {
	action, applies := r.action()
	context := r.record(applies.Context)
	resource := r.uid(pick(r, applies.Resources...))
	req := &policy.Request{
		Principal: r.uid(pick(r, applies.Principals...)), Action: policy.UID{Type: "Action", ID: string(action.ID)},
		Resource: resource, Context: context, Known: known,
	}
	if !slices.ContainsFunc(known.Entities, func(e policy.Entity) bool { return e.UID == resource }) {
		req.Entities = r.resource(resource)
	}
	if req.Principal.Type == "Run" && r.chance(30) {
		req.Chain = []policy.Hop{{Principal: req.Principal}, {Principal: r.uid("Run")}}
		if r.chance(50) {
			req.Chain[0].Grants = r.grants()
		}
		if r.chance(50) {
			req.Chain[1].Grants = r.grants()
		}
	}
	return req
}

// grants cover all that runs do, or nothing.
func (r *random) grants() *policy.Grants {
	g := &policy.Grants{Task: pick(r, letters...), List: []policy.Grant{}}
	if r.chance(80) {
		g.List = append(g.List, policy.Grant{Actions: []string{"observe", "effect", "egress", "control"}})
	}
	return g
}

func (r *random) resource(u policy.UID) []policy.Entity {
	declared := r.words.schema.Entities[types.EntityType(u.Type)]
	e := policy.Entity{UID: u, Attrs: r.record(declared.Shape)}
	out := []policy.Entity{}
	for _, p := range declared.ParentTypes {
		if parent := r.uid(p); string(p) != u.Type && r.chance(80) {
			e.Parents = append(e.Parents, parent)
			out = append(out, policy.Entity{UID: parent})
		}
	}
	return append(out, e)
}

// ---- policies ----

// policies are n valid ones, and what else was tried.
func (r *random) policies(tb testing.TB, n int) (valid, invalid []string) {
	tb.Helper()
	for i := 0; len(valid) < n; i++ {
		if i > 50*n {
			tb.Fatal("too few random policies are valid")
		}
		text := r.policy(fmt.Sprintf("p%d", len(valid)))
		if _, err := r.words.compile(map[string][]byte{"p.cedar": []byte(text)}); err != nil {
			invalid = append(invalid, text)
			continue
		}
		valid = append(valid, text)
	}
	return valid, invalid
}

// policy is one about an action, and mostly about its group or all actions of Runs too.
func (r *random) policy(id string) string {
	action, applies := r.action()
	principal := pick(r, applies.Principals...)
	e := &expressions{random: r, vars: map[string]resolved.IsType{
		"principal": resolved.EntityType(principal), "resource": resolved.EntityType(pick(r, applies.Resources...)), "context": applies.Context,
	}}
	scope := fmt.Sprintf("action == %v", action)
	switch r.IntN(5) {
	case 0:
		scope = "action"
	case 1, 2:
		if groups := r.words.lineage[action]; len(groups) > 1 {
			scope = fmt.Sprintf("action in %v", pick(r, groups[1:]...))
		}
	}
	if scope != fmt.Sprintf("action == %v", action) { // no more is known of the resource and the input
		delete(e.vars, "resource")
		if base, ok := r.words.schema.Actions[types.EntityUID{Type: actionType, ID: "fileRead"}]; ok && principal == "Run" {
			e.vars["context"] = base.AppliesTo.Context
		}
	}
	effect := pick(r, "permit", "permit", "forbid")
	text := fmt.Sprintf("@id(%q) %s (%s, %s, %s)", id, effect, r.principalScope(principal), scope, r.resourceScope(applies))
	for range r.IntN(3) {
		text += fmt.Sprintf(" %s { %s }", pick(r, "when", "when", "unless"), e.boolean(3))
	}
	return text + ";"
}

func (r *random) principalScope(kind types.EntityType) string {
	u := r.uid(kind)
	in := kind
	if parents := r.words.schema.Entities[kind].ParentTypes; len(parents) > 0 {
		in = pick(r, parents...)
	}
	return pick(r,
		"principal is "+string(kind), "principal is "+string(kind), "principal is "+string(kind)+" in "+uid(r.uid(in)).String(),
		"principal in "+uid(r.uid(in)).String(), "principal == "+uid(u).String(),
	)
}

func (r *random) resourceScope(applies resolved.AppliesTo) string {
	kind := pick(r, applies.Resources...)
	in := kind
	if parents := r.words.schema.Entities[kind].ParentTypes; len(parents) > 0 {
		in = pick(r, parents...)
	}
	return pick(r, "resource", "resource", "resource is "+string(kind), "resource in "+uid(r.uid(in)).String(), "resource == "+uid(r.uid(kind)).String())
}

// expressions makes expressions of the types that variables have.
type expressions struct {
	*random
	vars map[string]resolved.IsType
}

func (e *expressions) boolean(depth int) string {
	if depth == 0 {
		return e.leaf()
	}
	switch e.IntN(8) {
	case 0, 1:
		return fmt.Sprintf("(%s && %s)", e.boolean(depth-1), e.boolean(depth-1))
	case 2, 3:
		return fmt.Sprintf("(%s || %s)", e.boolean(depth-1), e.boolean(depth-1))
	case 4:
		return fmt.Sprintf("!(%s)", e.boolean(depth-1))
	case 5:
		return fmt.Sprintf("(if %s then %s else %s)", e.boolean(depth-1), e.boolean(depth-1), e.boolean(depth-1))
	default:
		return e.leaf()
	}
}

// leaf walks from a variable to something that can be compared, testing on its way for
// what is optional. Sometimes it makes a mistake, which makes the policy invalid.
func (e *expressions) leaf() string {
	name := pick(e.random, slices.Sorted(maps.Keys(e.vars))...)
	if e.chance(8) {
		return e.about(name+"."+pick(e.random, "flow", "now", "depth", "owner"), pick[resolved.IsType](e.random, resolved.LongType{}, resolved.StringType{}))
	}
	path, t, guards := name, e.vars[name], []string(nil)
	for range 4 {
		var shape resolved.RecordType
		switch at := t.(type) {
		case resolved.RecordType:
			shape = at
		case resolved.EntityType:
			if shape = e.words.schema.Entities[types.EntityType(at)].Shape; len(shape) == 0 || e.chance(25) {
				return e.guarded(guards, e.about(path, t))
			}
		default:
			return e.guarded(guards, e.about(path, t))
		}
		if len(shape) == 0 {
			return e.guarded(guards, "true")
		}
		attr := pick(e.random, attributes(shape)...)
		if shape[types.String(attr)].Optional {
			guards = append(guards, path+" has "+attr)
		}
		path, t = path+"."+attr, shape[types.String(attr)].Type
	}
	return e.guarded(guards, e.about(path, t))
}

func (e *expressions) guarded(guards []string, test string) string {
	if len(guards) == 0 || e.chance(20) {
		return test
	}
	return "(" + strings.Join(guards, " && ") + " && " + test + ")"
}

func (e *expressions) about(path string, t resolved.IsType) string {
	switch t := t.(type) {
	case resolved.BoolType:
		return path
	case resolved.LongType:
		return e.number(path)
	case resolved.EntityType:
		return e.entity(path, types.EntityType(t))
	case resolved.SetType:
		return e.set(path, t.Element)
	case resolved.ExtensionType:
		return e.extension(path, string(t))
	case resolved.StringType:
		return pick(e.random, fmt.Sprintf("%s == %q", path, pick(e.random, letters...)), fmt.Sprintf("%s like %q", path, pick(e.random, "a*", "*b", "*")))
	default:
		return "true"
	}
}

func (e *expressions) number(path string) string {
	op := pick(e.random, "==", "!=", "<", "<=", ">", ">=")
	return pick(e.random,
		fmt.Sprintf("%s %s %d", path, op, e.long()), fmt.Sprintf("%s * 2 - 1 %s %s", path, op, path),
		// These overflow at times.
		fmt.Sprintf("%s * %d %s %d", path, math.MaxInt64, op, e.long()), fmt.Sprintf("%s * %d + 7 %s %s", path, math.MaxInt64, op, path),
	)
}

func (e *expressions) entity(path string, kind types.EntityType) string {
	other := uid(e.uid(kind)).String()
	options := []string{path + " == " + other, path + " in " + other, path + " in [" + other + ", " + uid(e.uid(kind)).String() + "]", path + " is " + string(kind)}
	if parents := e.words.schema.Entities[kind].ParentTypes; len(parents) > 0 {
		options = append(options, path+" in "+uid(e.uid(pick(e.random, parents...))).String())
	}
	if kind == "User" {
		tag := strconv.Quote(pick(e.random, letters...))
		options = append(options, fmt.Sprintf("(%s.hasTag(%s) && %s.getTag(%s).contains(%q))", path, tag, path, tag, pick(e.random, letters...)))
	}
	return pick(e.random, options...)
}

func (e *expressions) set(path string, element resolved.IsType) string {
	var one func() string
	switch t := element.(type) {
	case resolved.StringType:
		one = func() string { return strconv.Quote(pick(e.random, letters...)) }
	case resolved.EntityType:
		one = func() string { return uid(e.uid(types.EntityType(t))).String() }
	default:
		return path + ".isEmpty()"
	}
	return pick(e.random,
		fmt.Sprintf("%s.contains(%s)", path, one()), fmt.Sprintf("%s.containsAll([%s, %s])", path, one(), one()),
		fmt.Sprintf("%s.containsAny([%s, %s])", path, one(), one()), fmt.Sprintf("[%s, %s].containsAll(%s)", one(), one(), path), path+".isEmpty()",
	)
}

func (e *expressions) extension(path, kind string) string {
	switch kind {
	case "datetime":
		at := fmt.Sprintf("datetime(%q)", e.moment().Format("2006-01-02T15:04:05Z"))
		return pick(e.random, path+" < "+at, path+" >= "+at, fmt.Sprintf("%s.offset(duration(%q)) <= %s", path, pick(e.random, "1h", "-90m", "1d"), at),
			path+".toTime() > duration(\"11h30m\")")
	case "ipaddr":
		return pick(e.random, path+".isLoopback()", path+".isIpv4()", path+".isMulticast()", fmt.Sprintf("%s.isInRange(ip(%q))", path, pick(e.random, "10.0.0.0/8", "fc00::/7", "0.0.0.0/0")))
	default:
		return fmt.Sprintf("%s.%s(decimal(%q))", path, pick(e.random, "lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual"), e.decimal())
	}
}
