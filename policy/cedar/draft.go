package cedar

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
)

// widenFrom is how many resources of one folder, source or the like must have been
// asked for before a suggestion names that instead of each of them.
const widenFrom = 3

// maxInName is how many actions the name of a suggested policy says.
const maxInName = 4

// draft is one permit of a suggestion.
type draft struct {
	agent   types.EntityUID
	actions []types.EntityUID
	scope   string // of the resource
	when    string
	note    string
}

// drafts covers wants with as few permits as are not wider than they must be. Resources
// that were read are named by what they are in only if widen says so.
func (s *Set) drafts(wants []want, widen bool) []draft {
	type subject struct {
		agent, action types.EntityUID
		kind          types.EntityType
		owned         string
	}
	bySubject := map[subject][]want{}
	for _, w := range wants {
		k := subject{w.agent, s.words.groupOf(w), w.resource.Type, w.owned}
		bySubject[k] = append(bySubject[k], w)
	}
	type target struct {
		agent             types.EntityUID
		scope, when, note string
	}
	byTarget := map[target][]types.EntityUID{}
	for k, ws := range bySubject {
		for _, r := range reaches(ws, k.action, widen) {
			t := target{k.agent, r.scope, r.when, r.note}
			byTarget[t] = append(byTarget[t], r.action)
		}
	}
	var all []draft
	for t, actions := range byTarget {
		slices.SortFunc(actions, compareUID)
		all = append(all, draft{agent: t.agent, actions: actions, scope: t.scope, when: t.when, note: t.note})
	}
	slices.SortFunc(all, func(a, b draft) int {
		return cmp.Or(compareUID(a.agent, b.agent), compareUID(a.actions[0], b.actions[0]), cmp.Compare(a.scope, b.scope), cmp.Compare(a.when, b.when))
	})
	return all
}

// groupOf is the action that tells wants apart: of a tool that only reads, which has an
// action of its own, the group of all those.
func (v *vocabulary) groupOf(w want) types.EntityUID {
	if w.reads && w.resource.Type == "Tool" && v.generated[w.action] {
		return types.EntityUID{Type: actionType, ID: readTools}
	}
	return w.action
}

// readTools is the group of the actions of tools that only read.
const readTools = "invokeReadTool"

// reached names resources for one action or group.
type reached struct {
	action            types.EntityUID
	scope, when, note string
}

// reaches names the resources of wants that differ in nothing else. Tools that are not
// named by their source are named one by one, each with its own action.
func reaches(wants []want, action types.EntityUID, widen bool) []reached {
	scope, when, note := reach(wants, widen)
	if action == wants[0].action || note != "" {
		return []reached{{action, scope, when, note}}
	}
	var all []reached
	for _, w := range wants {
		r := reached{action: w.action, scope: "resource == " + w.resource.String()}
		if !slices.Contains(all, r) {
			all = append(all, r)
		}
	}
	return all
}

func compareUID(a, b types.EntityUID) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.ID, b.ID))
}

// reach names the resources of wants that differ in nothing else.
func reach(wants []want, widen bool) (scope, when, note string) {
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
	if group, ok := sharedGroup(wants); ok && widen && len(sorted) >= widenFrom && wants[0].reads {
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
func (s *Set) render(all []draft) string {
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
		if actions[0].ID == readTools {
			return "in " + actions[0].String()
		}
		return "== " + actions[0].String()
	}
	names := make([]string, len(actions))
	for i, a := range actions {
		names[i] = a.String()
	}
	return "in [" + strings.Join(names, ", ") + "]"
}

// freshID makes a readable @id of letters, digits and dashes.
func (s *Set) freshID(g draft, used map[string]bool) string {
	parts := []string{string(g.agent.ID)}
	for i, a := range g.actions {
		if i == maxInName {
			parts = append(parts, "and", "more")
			break
		}
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
