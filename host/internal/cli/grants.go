package cli

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

// grants is a flag for what a task may do: ACTION, or several with commas between them, and
// ACTION:Type=ID for one resource or what is in it.
type grants []policy.Grant

// String implements pflag.Value.
func (g *grants) String() string { return strings.Join(grantTexts(*g), " ") }

// Type implements pflag.Value.
func (*grants) Type() string { return "ACTION[:Type=ID]" }

// Set implements pflag.Value. It adds a grant each time.
func (g *grants) Set(text string) error {
	action, resource, narrowed := strings.Cut(text, ":")
	grant := policy.Grant{Actions: strings.Split(action, ",")}
	if narrowed {
		kind, id, ok := strings.Cut(resource, "=")
		if !ok || kind == "" || id == "" {
			return errors.New(`name the resource by type and id, as in "fileRead:Folder=docs"`)
		}
		grant.Resources = []policy.UID{{Type: kind, ID: id}}
	}
	if slices.Contains(grant.Actions, "") {
		return errors.New(`name an action or a group of actions, as in "fileRead" or "observe"`)
	}
	*g = append(*g, grant)
	return nil
}

// grantTexts are grants in the form in which a person gives them.
func grantTexts(list []policy.Grant) []string {
	var out []string
	for _, g := range list {
		actions := strings.Join(g.Actions, ",")
		if len(g.Resources) == 0 {
			out = append(out, actions)
		}
		for _, r := range g.Resources {
			out = append(out, actions+":"+r.Type+"="+r.ID)
		}
	}
	return out
}

// taskFlags are what a person says of a task that is opened.
type taskFlags struct {
	purpose       string
	grants        grants
	expires       span
	tokens, calls int64
}

func (t *taskFlags) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&t.purpose, "purpose", "", "what the task is for, in words, for people")
	f.Var(&t.grants, "grant", "what the task may do, and nothing else; may be given again")
	f.Var(&t.expires, "expires", "when the task is over at the latest, from now, such as 10m")
	f.Int64Var(&t.tokens, "tokens", 0, "how many tokens of models the task may use")
	f.Int64Var(&t.calls, "calls", 0, "how many calls the task may make")
}

func (t *taskFlags) body() taskBody {
	return taskBody{
		Purpose: t.purpose, Grants: t.grants, ExpiresIn: t.expires.seconds(),
		Budget: host.Budget{Tokens: t.tokens, Calls: t.calls},
	}
}
