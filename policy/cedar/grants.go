package cedar

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/vespiary/vespiary/policy"
)

// The causes of decisions in tasks that were opened with grants. No policy can have an id
// that begins like them.
const (
	uncoveredCause = "grants of task "
	coveredCause   = "grant of task "
)

// taskGrants are policy.Grants in Cedar's types. They do not depend on a vocabulary: a name
// that it does not know is no request's, so that it covers nothing.
type taskGrants struct {
	task string
	list []given
}

// given is what one policy.Grant gives.
type given struct {
	actions   []types.EntityUID
	resources []types.EntityUID // none: all
}

// grantsOf converts grants once, nil for nil.
func grantsOf(g *policy.Grants) *taskGrants {
	if g == nil {
		return nil
	}
	convert := func() any { return &taskGrants{task: g.Task, list: givens(g.List)} }
	if p, ok := g.Prepared.Get(convert).(*taskGrants); ok {
		return p
	}
	return convert().(*taskGrants)
}

func givens(list []policy.Grant) []given {
	out := make([]given, len(list))
	for i, g := range list {
		for _, name := range g.Actions {
			out[i].actions = append(out[i].actions, types.EntityUID{Type: actionType, ID: types.String(name)})
		}
		for _, r := range g.Resources {
			out[i].resources = append(out[i].resources, uid(r))
		}
	}
	return out
}

// cover reports whether some grant is for an action and a resource, each given with all
// that it is in.
func (g *taskGrants) cover(actions, objects []types.EntityUID) bool {
	return slices.ContainsFunc(g.list, func(one given) bool {
		return meet(one.actions, actions) && (len(one.resources) == 0 || meet(one.resources, objects))
	})
}

func meet(a, b []types.EntityUID) bool {
	return slices.ContainsFunc(a, func(u types.EntityUID) bool { return slices.Contains(b, u) })
}

// CheckGrants says what is wrong with grants that a task is to be opened with: names that
// the schema does not have, and what no task can be granted. The error joins all faults.
func (s *Set) CheckGrants(list []policy.Grant) error {
	var problems []error
	for i, g := range list {
		if len(g.Actions) == 0 {
			problems = append(problems, fmt.Errorf("grant %d names no action; name at least one, such as %q", i+1, "fileRead"))
		}
		for _, name := range g.Actions {
			if fault := s.words.ungrantable(name); fault != "" {
				problems = append(problems, fmt.Errorf("grant %d names the action %q: %s", i+1, name, fault))
			}
		}
		for _, r := range g.Resources {
			if _, ok := s.words.schema.Entities[types.EntityType(r.Type)]; !ok {
				problems = append(problems, fmt.Errorf("grant %d names the resource %v: the schema has no type %q; %s", i+1, uid(r), r.Type, nearest(r.Type, s.words.typeNames())))
			} else if r.ID == "" {
				problems = append(problems, fmt.Errorf("grant %d names a resource of type %s without an id; name one, or leave the resources out for all", i+1, r.Type))
			}
		}
	}
	return errors.Join(problems...)
}

// ungrantable says why no task can be granted an action or group of that name.
func (v *vocabulary) ungrantable(name string) string {
	u := types.EntityUID{Type: actionType, ID: types.String(name)}
	if _, ok := v.schema.Actions[u]; !ok {
		return v.unknownAction(name)
	}
	for member, lineage := range v.lineage {
		applies := v.schema.Actions[member].AppliesTo
		if applies != nil && slices.Contains(lineage, u) && !slices.Contains(applies.Principals, "Run") {
			return "it is asked of the host by people, which no task is granted; name what agents do, such as observe"
		}
	}
	return ""
}

// Attenuates reports, as an error that names what is too much, whether the grants of a
// task would allow something that those of the task it comes from do not. nil does not
// narrow. A resource counts as covered if it is listed by the parent or the parent lists
// none, since what a resource is in is known only when it is asked for: each call is
// decided for both tasks in any case.
func (s *Set) Attenuates(parent, child []policy.Grant) error {
	switch {
	case parent == nil:
		return nil
	case child == nil:
		return fmt.Errorf("the task is not narrowed, while the one it comes from has grants; ask for some of those: %s", strings.Join(grantedNames(parent), ", "))
	}
	from := &taskGrants{list: givens(parent)}
	var excess []string
	for _, g := range givens(child) {
		for _, a := range g.actions {
			excess = append(excess, from.lacks(s.words.lineage[a], a, g.resources)...)
		}
	}
	if len(excess) == 0 {
		return nil
	}
	slices.Sort(excess)
	return fmt.Errorf("the task asks for more than the one it comes from may give: %s; leave it out", strings.Join(slices.Compact(excess), ", "))
}

// lacks names what of an action with resources is not covered.
func (g *taskGrants) lacks(lineage []types.EntityUID, action types.EntityUID, resources []types.EntityUID) []string {
	if len(resources) == 0 {
		if g.cover(lineage, nil) {
			return nil
		}
		return []string{fmt.Sprintf("%s with all resources", action.ID)}
	}
	var out []string
	for _, r := range resources {
		if !g.cover(lineage, []types.EntityUID{r}) {
			out = append(out, fmt.Sprintf("%s with %v", action.ID, r))
		}
	}
	return out
}

func grantedNames(list []policy.Grant) []string {
	var names []string
	for _, g := range list {
		names = append(names, g.Actions...)
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) == 0 {
		return []string{"none"}
	}
	return names
}
