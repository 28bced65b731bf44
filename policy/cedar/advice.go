package cedar

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
)

// The messages of the validator that have a remedy better than "read the schema".
var (
	unknownType    = regexp.MustCompile("unrecognized entity type `(.+)`")
	unknownAction  = regexp.MustCompile("unrecognized action `(.+)`")
	unknownAttr    = regexp.MustCompile("attribute `(.+)` on entity type `(.+)` not found")
	notInContext   = regexp.MustCompile("^attribute `(.+)` in context for (.+) not found$")
	unguarded      = regexp.MustCompile("access to optional attribute `(.+)` (?:on|in) ")
	notApplicable  = regexp.MustCompile("unable to find an applicable action")
	emptySet       = regexp.MustCompile("empty set literals")
	actionIDInText = regexp.MustCompile(`Action::"([^"]+)"`)
)

const seeSchema = "compare it with vespiary.cedarschema"

// advice says what to do about a message of the validator.
func (v *vocabulary) advice(msg string) string {
	if m := unknownType.FindStringSubmatch(msg); m != nil {
		return nearest(m[1], v.typeNames())
	}
	if m := unknownAction.FindStringSubmatch(msg); m != nil {
		return v.unknownAction(actionID(m[1]))
	}
	if m := unknownAttr.FindStringSubmatch(msg); m != nil {
		if m[2] == "User" && slices.Contains(attributes(v.schema.Entities["Run"].Shape), m[1]) {
			return "write principal is Run in the scope, since a User asks for some of these actions"
		}
		return fmt.Sprintf("%s has %s", m[2], listed(attributes(v.schema.Entities[types.EntityType(m[2])].Shape)))
	}
	if m := unguarded.FindStringSubmatch(msg); m != nil {
		return fmt.Sprintf("test for it first: write if … has %s then … else …", m[1])
	}
	switch {
	case strings.Contains(msg, "is not in the context of") && strings.Contains(msg, peoplesActions):
		return "write principal is Run in the scope, or name there the actions that have it"
	case v.arguments(msg) != "":
		return v.arguments(msg)
	case strings.Contains(msg, "is not in the context of"):
		return "name in the scope the actions that have it"
	case notApplicable.MatchString(msg):
		return `the principal of a call is a Run (write principal in Agent::"name"), who asks something of the host is a User, and each action takes the resource that vespiary.cedarschema says`
	case emptySet.MatchString(msg):
		return "name at least one element"
	default:
		return seeSchema
	}
}

// condensed joins messages that differ in the action only, as a policy for all
// actions with one wrong word has one for each, and drops those that follow from
// another.
func (v *vocabulary) condensed(msgs []string) []string {
	var out []string
	lacking := map[string][]string{} // attribute to actions
	for _, msg := range msgs {
		if m := notInContext.FindStringSubmatch(msg); m != nil {
			lacking[m[1]] = append(lacking[m[1]], actionID(m[2]))
			continue
		}
		out = append(out, msg)
	}
	for _, attr := range slices.Sorted(maps.Keys(lacking)) {
		out = append(out, fmt.Sprintf("attribute `%s` is not in the context of %s", attr, listed(v.summed(lacking[attr]))))
	}
	out = slices.DeleteFunc(out, func(s string) bool {
		onRun := strings.Replace(s, "on entity type `User` not found", "on entity type `Run` not found", 1)
		return onRun != s && slices.Contains(msgs, onRun)
	})
	unknown := func(s string) bool { return strings.HasPrefix(s, "unrecognized") }
	if slices.ContainsFunc(out, unknown) {
		out = slices.DeleteFunc(out, notApplicable.MatchString)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// How many actions of a sort are named one by one, and what they are called otherwise.
const (
	maxNamed       = 3
	peoplesActions = "what people ask of the host"
	toolActions    = "the tools and operations"
)

// summed sorts names of actions, with one word for many of a sort.
func (v *vocabulary) summed(names []string) []string {
	sorts := map[string][]string{}
	for _, name := range names {
		u := types.EntityUID{Type: actionType, ID: types.String(name)}
		sort := ""
		switch {
		case v.generated[u] || isStandIn(u):
			sort = toolActions
		case v.ofPeople(u):
			sort = peoplesActions
		}
		sorts[sort] = append(sorts[sort], name)
	}
	out := sorts[""]
	for _, sort := range []string{toolActions, peoplesActions} {
		if len(sorts[sort]) > maxNamed {
			sorts[sort] = []string{sort}
		}
		out = append(out, sorts[sort]...)
	}
	slices.Sort(out)
	return out
}

// ofPeople reports whether an action is one that a run cannot ask for.
func (v *vocabulary) ofPeople(action types.EntityUID) bool {
	applies := v.schema.Actions[action].AppliesTo
	return applies != nil && !slices.Contains(applies.Principals, "Run")
}

// arguments lists those of the one tool whose context lacks something.
func (v *vocabulary) arguments(msg string) string {
	_, action, found := strings.Cut(msg, "is not in the context of ")
	input, ok := v.input(action)
	if !found || !ok {
		return ""
	}
	return "its context.input has " + listed(attributes(input))
}

// unknownAction says what to write instead of the name of an action that there is not. The
// names of tools and of operations have a dot.
func (v *vocabulary) unknownAction(name string) string {
	switch tools := v.generatedNames(); {
	case !strings.Contains(name, "."):
		return nearest(name, v.actionNames())
	case len(tools) == 0:
		return "no tool or connector is configured; add it to the configuration first"
	default:
		return "no tool or operation of that name is configured; " + nearest(name, tools)
	}
}

func actionID(text string) string {
	if m := actionIDInText.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return text
}

func (v *vocabulary) typeNames() []string {
	var names []string
	for t := range v.schema.Entities {
		names = append(names, string(t))
	}
	return names
}

func (v *vocabulary) actionNames() []string {
	var names []string
	for uid := range v.schema.Actions {
		names = append(names, string(uid.ID))
	}
	return names
}

func attributes(r resolved.RecordType) []string {
	var names []string
	for k := range r {
		names = append(names, string(k))
	}
	slices.Sort(names)
	return names
}

func listed(names []string) string {
	if len(names) == 0 {
		return "no attributes"
	}
	return strings.Join(names, ", ")
}

// maxOffered is how many names a person is shown to choose from.
const maxOffered = 100

// nearest offers the known name closest to a wrong one, or all of them.
func nearest(wrong string, known []string) string {
	slices.Sort(known)
	best := slices.MinFunc(known, func(a, b string) int {
		return cmp.Compare(distance(wrong, a), distance(wrong, b))
	})
	if distance(wrong, best) <= max(2, len(best)/3) {
		return fmt.Sprintf("did you mean %s?", best)
	}
	if len(known) > maxOffered {
		return "see the schema for what there is"
	}
	return "use one of " + strings.Join(known, ", ")
}

// distance is the number of letters to insert, delete or replace, ignoring case.
func distance(a, b string) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			above := row[j+1]
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			row[j+1] = min(replace, above+1, row[j]+1)
			diagonal = above
		}
	}
	return row[len(b)]
}
