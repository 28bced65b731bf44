package cedar

import (
	"slices"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/google/go-cmp/cmp"
)

// The validator accepts an action only with all its groups, nested ones included.
func TestActionsCarryAllGroups(t *testing.T) {
	const nested = `entity A; action top; action middle in [top]; action side;
action low in [middle, side] appliesTo { principal: A, resource: A };`
	for _, text := range []string{Schema(), nested} {
		v, err := newVocabulary(text)
		if err != nil {
			t.Fatal(err)
		}
		for uid, e := range v.actions {
			if err := v.validator.Entity(e); err != nil {
				t.Errorf("%v: %v", uid, err)
			}
		}
		var groups []string
		for _, g := range v.lineage[types.EntityUID{Type: actionType, ID: "low"}] {
			groups = append(groups, string(g.ID))
		}
		slices.Sort(groups)
		if diff := cmp.Diff("low middle side top", strings.Join(groups, " ")); text == nested && diff != "" {
			t.Error(diff)
		}
	}
}

func TestVocabularyOfBrokenSchema(t *testing.T) {
	for _, text := range []string{"entity", "entity A in [B];"} {
		if _, err := newVocabulary(text); err == nil || !strings.Contains(err.Error(), "the policy schema") {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"fileRead", "fileWrite", "reply"}
	for wrong, want := range map[string]string{
		"fileRaed": "did you mean fileRead?", "FILEWRITE": "did you mean fileWrite?", "repli": "did you mean reply?",
		"teleport": "use one of fileRead, fileWrite, reply", "": "use one of fileRead, fileWrite, reply",
	} {
		if got := nearest(wrong, known); got != want {
			t.Errorf("%q: got %q, want %q", wrong, got, want)
		}
	}
}
