package cli

import (
	"fmt"
	"strings"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

// callLine describes a call in one line: "1/2 tool_call basic.files_read: denied
// by no-private-networks (limits.cedar:40)".
func callLine(c host.CallView) string {
	subject := c.Path + " " + c.Name
	if c.Detail != "" {
		subject += " " + clean(c.Detail)
	}
	line := subject + ": " + decisionText(c.Decision)
	if c.Error != nil && c.Decision.Allowed {
		line += ", and failed: " + strings.TrimSuffix(clean(c.Error.Error()), ": ")
	}
	return line
}

func decisionText(d policy.Decision) string {
	switch {
	case d.Allowed && len(d.Policies) == 0:
		return "allowed"
	case d.Allowed:
		return "allowed by " + causes(d.Policies)
	case len(d.Errors) > 0:
		return "denied, because a policy could not be evaluated: " + clean(strings.Join(d.Errors, "; "))
	case d.Approval != "":
		return "needs an approval, by " + causes(d.Policies)
	case len(d.Policies) == 0:
		return "denied: no policy permits it"
	}
	return "denied by " + causes(d.Policies)
}

func causes(list []policy.Cause) string {
	out := make([]string, len(list))
	for i, c := range list {
		out[i] = c.ID
		if c.File != "" {
			out[i] += fmt.Sprintf(" (%s:%d)", c.File, c.Line)
		}
	}
	return strings.Join(out, ", ")
}
