package tool

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// hiding is what Call.Could says when some actions can never be allowed.
func hiding(actions ...string) func(context.Context, host.Class) bool {
	return func(_ context.Context, class host.Class) bool {
		return !slices.Contains(actions, class.Action)
	}
}

func TestHiddenToolsAreNotListed(t *testing.T) {
	c := someTools().catalog(sources()...)
	list := func(could func(context.Context, host.Class) bool) []string {
		return listedBy(t, c, &host.Call{Run: runOf("github", "hello"), Name: abi.CallToolList, Request: []byte("{}"), Could: could})
	}
	for _, test := range []struct {
		could func(context.Context, host.Class) bool
		want  []string
	}{
		{nil, []string{"github_create_issue", "github_search_issues", "hello"}},
		{hiding(), []string{"github_create_issue", "github_search_issues", "hello"}},
		{hiding("github.create_issue"), []string{"github_search_issues", "hello"}},
		{hiding("hello.hello", "github.search_issues"), []string{"github_create_issue"}},
		{func(context.Context, host.Class) bool { return false }, []string{}},
		{nil, []string{"github_create_issue", "github_search_issues", "hello"}}, // nothing stays hidden
	} {
		if diff := cmp.Diff(test.want, list(test.could)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

// TestHiddenIsUnknown: who calls a tool that it cannot use learns no more than who calls
// one that there is not.
func TestHiddenIsUnknown(t *testing.T) {
	with := someTools()
	with.fail = map[string]error{"sha256:broken": errors.New("it does not compile")}
	without := someTools()
	without.fail = with.fail
	github := without.tools["sha256:github"].Tools
	without.tools["sha256:github"] = abi.ToolList{Tools: github[1:]} // no create_issue
	broken := Source{Name: "broken", Module: "sha256:broken"}
	refusal := func(p *plugins, could func(context.Context, host.Class) bool, selectors []string, name, arguments string) string {
		request, err := json.Marshal(abi.ToolCallParams{Name: name, Arguments: json.RawMessage(arguments)})
		if err != nil {
			t.Fatal(err)
		}
		c := p.catalog(append(sources(), broken)...)
		_, err = c.Capabilities()[abi.CallToolCall].Classify(t.Context(), &host.Call{Run: runOf(selectors...), Name: abi.CallToolCall, Request: request, Could: could})
		if err == nil {
			t.Fatalf("%s with %q is not refused", name, selectors)
		}
		out, err := json.Marshal(err)
		if err != nil || len(out) < 10 {
			t.Fatalf("%s: %v", out, err)
		}
		return string(out)
	}
	for _, selectors := range [][]string{{"github"}, {"github.create_issue"}, {"github", "hello"}, {"github", "broken"}} {
		for _, name := range []string{"github_create_issue", "github.create_issue"} {
			for _, arguments := range []string{`{"title":"a"}`, `{"title":1}`, `[]`} { // fit, and do not
				hidden := refusal(with, hiding("github.create_issue"), selectors, name, arguments)
				unknown := refusal(without, hiding(), selectors, name, arguments)
				if hidden != unknown {
					t.Errorf("%s %s with %q:\nhidden:  %s\nunknown: %s", name, arguments, selectors, hidden, unknown)
				}
			}
		}
	}
	// What is left can be called still.
	c := with.catalog(sources()...)
	if _, err := c.Capabilities()[abi.CallToolCall].Classify(t.Context(), &host.Call{Run: runOf("github"), Name: abi.CallToolCall, Request: []byte(`{"name":"github_search_issues"}`), Could: hiding("github.create_issue")}); err != nil {
		t.Error(err)
	}
}

// TestCouldSeesNoArguments: what is asked about a tool says what the call's class says, but
// nothing of a call.
func TestCouldSeesNoArguments(t *testing.T) {
	c := someTools().catalog(sources()...)
	var asked []host.Class
	hc := &host.Call{
		Run: runOf("github.create_issue"), Name: abi.CallToolCall, Request: []byte(`{"name":"github_create_issue","arguments":{"title":"a"}}`),
		Could: func(_ context.Context, class host.Class) bool {
			asked = append(asked, class)
			return true
		},
	}
	class, err := c.Capabilities()[abi.CallToolCall].Classify(t.Context(), hc)
	if err != nil || len(asked) != 1 {
		t.Fatalf("asked %d times: %v", len(asked), err)
	}
	class.State, class.Control, class.Data = nil, nil, nil
	if diff := cmp.Diff(class, asked[0]); diff != "" {
		t.Errorf("-class +asked:\n%s", diff)
	}
}

func TestDeclared(t *testing.T) {
	p := someTools()
	p.fail = map[string]error{"sha256:broken": errors.New("it does not compile")}
	// None of the sources is among those that calls find.
	got, err := p.catalog().Declared(t.Context(), append(sources(), Source{Name: "broken", Plugin: "b", Module: "sha256:broken"}))
	var names []string
	for _, d := range got {
		if len(d.Schema) == 0 {
			t.Errorf("%s has no schema", d.Action)
		}
		if name := d.Action; d.ReadOnly {
			names = append(names, name+" reads")
		} else {
			names = append(names, name)
		}
	}
	want := []string{"github.create_issue", "github.search_issues reads", "hello.hello reads", "files.files_read reads", "files.files_write reads"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if err == nil || !strings.Contains(err.Error(), "tool broken: it cannot be asked what its tools are: it does not compile") {
		t.Errorf("error %v", err)
	}
}
