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
		return nearest(actionID(m[1]), v.actionNames())
	}
	if m := unknownAttr.FindStringSubmatch(msg); m != nil {
		if m[2] == "User" && slices.Contains(attributes(v.schema.Entities["Run"].Shape), m[1]) {
			return "write principal is Run in the scope, since the principal of approve is a User"
		}
		return fmt.Sprintf("%s has %s", m[2], listed(attributes(v.schema.Entities[types.EntityType(m[2])].Shape)))
	}
	if m := unguarded.FindStringSubmatch(msg); m != nil {
		return fmt.Sprintf("test for it first: write if … has %s then … else …", m[1])
	}
	switch {
	case strings.HasSuffix(msg, "is not in the context of approve"):
		return "write principal is Run in the scope, or name there the actions that have it"
	case strings.Contains(msg, "is not in the context of"):
		return "name in the scope the actions that have it"
	case notApplicable.MatchString(msg):
		return `the principal is a Run (write principal in Agent::"name"), or for approve a User, and each action takes the resource that vespiary.cedarschema says`
	case emptySet.MatchString(msg):
		return "name at least one element"
	default:
		return seeSchema
	}
}

// condensed joins messages that differ in the action only, as a policy for all
// actions with one wrong word has one for each, and drops those that follow from
// another.
func condensed(msgs []string) []string {
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
		slices.Sort(lacking[attr])
		out = append(out, fmt.Sprintf("attribute `%s` is not in the context of %s", attr, listed(lacking[attr])))
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

// nearest offers the known name closest to a wrong one, or all of them.
func nearest(wrong string, known []string) string {
	slices.Sort(known)
	best := slices.MinFunc(known, func(a, b string) int {
		return cmp.Compare(distance(wrong, a), distance(wrong, b))
	})
	if distance(wrong, best) <= max(2, len(best)/3) {
		return fmt.Sprintf("did you mean %s?", best)
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
