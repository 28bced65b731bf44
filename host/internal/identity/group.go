package identity

import (
	"slices"
	"strings"

	"github.com/vespiary/vespiary/host"
)

// groups holds the groups of each user of the configuration.
type groups map[string][]string

func newGroups(members map[string][]string) groups {
	g := groups{}
	for group, users := range members {
		for _, user := range users {
			g[user] = append(g[user], group)
		}
	}
	return g
}

// Assign puts the caller in the groups that their token says and that the configuration
// says, and in no others, however they proved who they are. Callers that come by no token,
// such as commands on the host's own machine, are to be passed to it as well, and those who
// were assigned by an earlier configuration.
func (c *Chain) Assign(caller host.Caller) host.Caller {
	own := c.groups[caller.User]
	if caller.Tenant != host.DefaultTenant && !strings.Contains(caller.User, "@") {
		own = nil
	}
	all := slices.Concat(caller.Given, own)
	slices.Sort(all)
	caller.Groups = slices.Compact(all)
	return caller
}

// qualified is the name that something of an issuer or a peer has here.
func qualified(name, of string) string { return name + "@" + of }

func qualifiedAll(names []string, of string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = qualified(name, of)
	}
	return out
}
