package cedar

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/vespiary/vespiary/policy"
)

// Suggestion is policy text that would permit requests that were denied.
type Suggestion struct {
	Policies string   `json:"policies"`        // Cedar text to add to a file; "" if nothing is to be added
	Notes    []string `json:"notes,omitempty"` // what it does not solve, and why
}

// widenFrom is how many resources of one folder, server or the like must have been
// asked for before a suggestion names that instead of each of them.
const widenFrom = 3

// Suggest writes the narrowest permits that would have allowed the denied requests:
// for the agent that asked, its action, and the resource. Many resources that were
// only read are named by what they are all in, and the text says so; sessions and
// memory, whose names do not last, by their owner.
//
// The text compiles together with this set and was tried on every request. Where a
// permit cannot help, because a policy forbids or the request does not fit the
// schema, a note says so and nothing wider is suggested. Calls that need an approval
// besides stay subject to it, which a note says too.
func (s *Set) Suggest(denied []Recorded) Suggestion {
	var out Suggestion
	var wants []want
	for _, r := range denied {
		w, note := s.want(r)
		if note != "" {
			out.Notes = append(out.Notes, note)
			continue
		}
		wants = append(wants, w)
	}
	if len(wants) > 0 {
		text := s.render(grants(wants))
		notes := s.try(text, wants)
		if len(notes) == 0 {
			out.Policies, notes = text, stillAsked(wants)
		}
		out.Notes = append(out.Notes, notes...)
	}
	slices.Sort(out.Notes)
	out.Notes = slices.Compact(out.Notes)
	return out
}

// want is a denied request that only lacks a permit.
type want struct {
	recorded                Recorded
	agent, action, resource types.EntityUID
	groups                  []types.EntityUID // the resource's parents
	owned                   string            // a condition that names the resource by its owner
	reads                   bool
	asks                    string // the policies that leave it to a person, if any
}

// stillAsked names what a person must approve even with the permits.
func stillAsked(wants []want) []string {
	var notes []string
	for _, w := range wants {
		if w.asks != "" {
			notes = append(notes, fmt.Sprintf("%v %s %v: with a permit, a person is asked to approve each call, by policy %s", w.agent, w.action.ID, w.resource, w.asks))
		}
	}
	return notes
}

// want says what a permit must cover, or why none can help.
func (s *Set) want(r Recorded) (want, string) {
	q, d := s.replay(r)
	subject := fmt.Sprintf("%v %s %v", q.request.Principal, q.request.Action.ID, q.request.Resource)
	agent, hasAgent := agentOf(q)
	if hasAgent {
		subject = fmt.Sprintf("%v %s %v", agent, q.request.Action.ID, q.request.Resource)
	}
	switch {
	case d.Allowed:
		return want{}, fmt.Sprintf("%s: already permitted by policy %s", subject, s.named(d.Policies))
	case len(d.Errors) > 0:
		return want{}, fmt.Sprintf("%s: cannot be decided, and no permit changes that: %s", subject, strings.Join(d.Errors, "; "))
	case d.Approval != "":
		return want{}, fmt.Sprintf("%s: left to a person by policy %s, which no permit replaces; approve the call, or change that policy", subject, s.named(d.Policies))
	case len(d.Policies) > 0 && !s.liftable(d.Policies):
		return want{}, fmt.Sprintf("%s: forbidden by policy %s, which no permit overrides; change that policy if it is wrong", subject, s.named(d.Policies))
	case q.request.Principal.Type == "User":
		return want{}, fmt.Sprintf("%s: who may approve is not for a suggestion; write a permit by hand", subject)
	case !hasAgent:
		return want{}, fmt.Sprintf("%s: the run is in no agent that a policy could name; write a permit by hand", subject)
	}
	resource, _ := q.entities.Get(q.request.Resource)
	return want{
		recorded: r, agent: agent, action: q.request.Action, resource: q.request.Resource,
		groups: resource.Parents.Slice(), owned: ownership(q, resource), reads: s.words.onlyReads(q.request.Action),
		asks: s.named(d.Policies),
	}, ""
}

func (s *Set) named(causes []policy.Cause) string {
	var names []string
	for _, c := range causes {
		names = append(names, s.where(c.ID))
	}
	return strings.Join(names, " and ")
}

// onlyReads reports whether an action observes and does nothing else.
func (v *vocabulary) onlyReads(action types.EntityUID) bool {
	return !slices.ContainsFunc(v.lineage[action], func(u types.EntityUID) bool {
		return u != action && u.ID != "observe"
	})
}

// ownership returns the condition that a resource of the principal's own user
// meets; "" where resources of its type have no owner, or another one.
func ownership(q *query, resource types.Entity) string {
	run, _ := q.entities.Get(q.request.Principal)
	user, _ := run.Attributes.Get("user")
	owner, ok := resource.Attributes.Get("owner")
	if !ok || user == nil || !owner.Equal(user) {
		return ""
	}
	condition := "resource.owner == principal.user"
	if tier, ok := resource.Attributes.Get("tier"); ok {
		condition += " && resource.tier == " + string(tier.MarshalCedar())
	}
	return condition
}

// grant is one permit of a suggestion.
type grant struct {
	agent   types.EntityUID
	actions []types.EntityUID
	scope   string // of the resource
	when    string
	note    string
}

// grants covers wants with as few permits as are not wider than they must be.
func grants(wants []want) []grant {
	type subject struct {
		agent, action types.EntityUID
		kind          types.EntityType
		owned         string
	}
	bySubject := map[subject][]want{}
	for _, w := range wants {
		k := subject{w.agent, w.action, w.resource.Type, w.owned}
		bySubject[k] = append(bySubject[k], w)
	}
	type target struct {
		agent             types.EntityUID
		scope, when, note string
	}
	byTarget := map[target][]types.EntityUID{}
	for k, ws := range bySubject {
		scope, when, note := reach(ws)
		t := target{k.agent, scope, when, note}
		byTarget[t] = append(byTarget[t], k.action)
	}
	var all []grant
	for t, actions := range byTarget {
		slices.SortFunc(actions, compareUID)
		all = append(all, grant{agent: t.agent, actions: actions, scope: t.scope, when: t.when, note: t.note})
	}
	slices.SortFunc(all, func(a, b grant) int {
		return cmp.Or(compareUID(a.agent, b.agent), compareUID(a.actions[0], b.actions[0]), cmp.Compare(a.scope, b.scope), cmp.Compare(a.when, b.when))
	})
	return all
}

func compareUID(a, b types.EntityUID) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.ID, b.ID))
}

// reach names the resources of wants that differ in nothing else.
func reach(wants []want) (scope, when, note string) {
	kind := wants[0].resource.Type
	if wants[0].owned != "" {
		return fmt.Sprintf("resource is %s", kind), wants[0].owned, ""
	}
	names := map[string]bool{}
	for _, w := range wants {
		names[w.resource.String()] = true
	}
	sorted := slices.Sorted(maps.Keys(names))
	if len(sorted) == 1 {
		return "resource == " + sorted[0], "", ""
	}
	if group, ok := sharedGroup(wants); ok && len(sorted) >= widenFrom && wants[0].reads {
		return "resource in " + group.String(), "", fmt.Sprintf("%d were asked for; this covers all of %v", len(sorted), group)
	}
	return fmt.Sprintf("resource is %s", kind), "resource in [" + strings.Join(sorted, ", ") + "]", ""
}

// sharedGroup returns what all the resources are in, the first by name if several.
func sharedGroup(wants []want) (types.EntityUID, bool) {
	groups := slices.Clone(wants[0].groups)
	slices.SortFunc(groups, compareUID)
	for _, g := range groups {
		lacks := func(w want) bool { return !slices.Contains(w.groups, g) }
		if !slices.ContainsFunc(wants, lacks) {
			return g, true
		}
	}
	return types.EntityUID{}, false
}

// render writes permits under names that the set does not use.
func (s *Set) render(all []grant) string {
	used := map[string]bool{}
	var b strings.Builder
	for i, g := range all {
		if i > 0 {
			b.WriteString("\n")
		}
		if g.note != "" {
			fmt.Fprintf(&b, "// %s\n", oneLine(g.note))
		}
		fmt.Fprintf(&b, "@id(%q)\npermit (\n  principal in %v,\n  action %s,\n  %s\n)", s.freshID(g, used), g.agent, actionScope(g.actions), g.scope)
		if g.when != "" {
			fmt.Fprintf(&b, "\nwhen { %s }", g.when)
		}
		b.WriteString(";\n")
	}
	return b.String()
}

func actionScope(actions []types.EntityUID) string {
	if len(actions) == 1 {
		return "== " + actions[0].String()
	}
	names := make([]string, len(actions))
	for i, a := range actions {
		names[i] = a.String()
	}
	return "in [" + strings.Join(names, ", ") + "]"
}

// freshID makes a readable @id of letters, digits and dashes.
func (s *Set) freshID(g grant, used map[string]bool) string {
	parts := []string{string(g.agent.ID)}
	for _, a := range g.actions {
		parts = append(parts, string(a.ID))
	}
	stem := strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= '0' && r <= '9' || r|0x20 >= 'a' && r|0x20 <= 'z') {
			return r
		}
		return '-'
	}, strings.Join(parts, "-"))
	id := stem
	for n := 2; used[id] || s.has(id); n++ {
		id = fmt.Sprintf("%s-%d", stem, n)
	}
	used[id] = true
	return id
}

func (s *Set) has(id string) bool {
	_, ok := s.byID[id]
	return ok
}

// oneLine keeps a comment from running on into code.
func oneLine(text string) string {
	return strings.Join(strings.Fields(text), " ")
}

// try compiles text with the set and decides every want again. The notes say what
// did not work; none means that the text does what it should.
func (s *Set) try(text string, wants []want) []string {
	files := maps.Clone(s.files)
	name := "suggested.cedar"
	for files[name] != nil {
		name = "another-" + name
	}
	files[name] = []byte(text)
	wider, err := Compile(files)
	if err != nil {
		return []string{"no valid policy could be written: " + string(bytes.TrimSpace([]byte(err.Error())))}
	}
	var notes []string
	for _, w := range wants {
		if _, d := wider.replay(w.recorded); !d.Allowed && d.Approval == "" {
			notes = append(notes, fmt.Sprintf("%v %s %v: no permit for it could be found; write one by hand", w.agent, w.action.ID, w.resource))
		}
	}
	return notes
}
