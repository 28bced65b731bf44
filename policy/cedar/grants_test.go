package cedar

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/policy"
)

func TestCheckGrants(t *testing.T) {
	set := compile(t, "")
	tests := []struct {
		name string
		list []policy.Grant
		want []string
	}{
		{"none", nil, nil},
		{"sound", []policy.Grant{{Actions: []string{"observe", "fileWrite", "hello.send", "invokeReadTool"}, Resources: []policy.UID{u("Folder", "docs"), u("Tool", "hello.greet")}}}, nil},
		{"no action", []policy.Grant{{Resources: []policy.UID{u("Folder", "docs")}}}, []string{`grant 1 names no action; name at least one, such as "fileRead"`}},
		{"misspelt", []policy.Grant{{Actions: []string{"observe"}}, {Actions: []string{"fileRaed"}}}, []string{`grant 2 names the action "fileRaed": did you mean fileRead?`}},
		{"no such tool", []policy.Grant{{Actions: []string{"hello.gret"}}}, []string{`grant 1 names the action "hello.gret": no tool or operation of that name is configured; did you mean hello.greet?`}},
		{"a stand-in", []policy.Grant{{Actions: []string{"any connectorRead"}}}, []string{`grant 1 names the action "any connectorRead": did you mean connectorRead?`}},
		{"of people", []policy.Grant{{Actions: []string{"manage", "approve"}}}, []string{
			`grant 1 names the action "manage": it is asked of the host by people, which no task is granted; name what agents do, such as observe`,
			`grant 1 names the action "approve": it is asked of the host by people, which no task is granted; name what agents do, such as observe`,
		}},
		{"a type that is none", []policy.Grant{{Actions: []string{"observe"}, Resources: []policy.UID{u("Foldr", "docs"), u("File", "")}}}, []string{
			`grant 1 names the resource Foldr::"docs": the schema has no type "Foldr"; did you mean Folder?`,
			`grant 1 names a resource of type File without an id; name one, or leave the resources out for all`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			if err := set.CheckGrants(tt.list); err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAttenuates(t *testing.T) {
	set := compile(t, "")
	docs, workspace := u("Folder", "docs"), u("Folder", "workspace")
	grant := func(actions string, resources ...policy.UID) policy.Grant {
		return policy.Grant{Actions: strings.Fields(actions), Resources: resources}
	}
	grants := func(list ...policy.Grant) []policy.Grant { return append([]policy.Grant{}, list...) }
	const excess = "the task asks for more than the one it comes from may give: "
	tests := []struct {
		name          string
		parent, child []policy.Grant
		want          string
	}{
		{"neither is narrowed", nil, nil, ""},
		{"the parent is not", nil, grants(grant("effect")), ""},
		{"the child is not", grants(grant("fileRead"), grant("effect")), nil, "the task is not narrowed, while the one it comes from has grants; ask for some of those: effect, fileRead"},
		{"the child is not, of nothing", grants(), nil, "the task is not narrowed, while the one it comes from has grants; ask for some of those: none"},
		{"nothing", grants(grant("fileRead")), grants(), ""},
		{"nothing of nothing", grants(), grants(), ""},
		{"something of nothing", grants(), grants(grant("fileRead")), excess + "fileRead with all resources; leave it out"},
		{"the same", grants(grant("fileRead fileWrite", docs)), grants(grant("fileRead", docs), grant("fileWrite", docs)), ""},
		{"a member of a group", grants(grant("observe")), grants(grant("fileRead httpGet hello.greet invokeReadTool", docs)), ""},
		{"a group of its members", grants(grant("fileRead fileList memoryRead")), grants(grant("observe")), excess + "observe with all resources; leave it out"},
		{"two groups for one", grants(grant("effect"), grant("egress")), grants(grant("httpSend connectorSend")), ""},
		{"all resources of one", grants(grant("fileRead", docs)), grants(grant("fileRead")), excess + "fileRead with all resources; leave it out"},
		{"another resource", grants(grant("fileRead", docs)), grants(grant("fileRead", docs, workspace)), excess + `fileRead with Folder::"workspace"; leave it out`},
		{"what is in it", grants(grant("fileRead", docs)), grants(grant("fileRead", u("File", "docs/a.md"))), excess + `fileRead with File::"docs/a.md"; leave it out`},
		{"resources of two", grants(grant("observe", docs), grant("fileRead", workspace)), grants(grant("fileRead", docs, workspace)), ""},
		{"action of one, resource of another", grants(grant("fileRead", docs), grant("fileWrite", workspace)), grants(grant("fileWrite", docs)), excess + `fileWrite with Folder::"docs"; leave it out`},
		{"several", grants(grant("fileRead", docs)), grants(grant("reply fileRead"), grant("embed reply", docs)), excess + `embed with Folder::"docs", fileRead with all resources, reply with Folder::"docs", reply with all resources; leave it out`},
		{"unknown to both", grants(grant("teleport")), grants(grant("teleport")), excess + "teleport with all resources; leave it out"},
		{"an empty name", grants(grant("observe")), grants(policy.Grant{Actions: []string{""}}), excess + " with all resources; leave it out"},
		{"no action", grants(), grants(grant("", docs)), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if err := set.Attenuates(tt.parent, tt.child); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
