package access

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vespiary/vespiary/host"
)

// groups names the group of each action that callers ask for, "" where it has none. It is
// what policy/cedar/vespiary.cedarschema says, and a test holds the two together.
var groups = map[string]string{
	"readAgent": "read", "readSession": "read", "readTask": "read",

	"invokeAgent": "use", "continueSession": "use", "openTask": "use", "endTask": "use", "delegateTask": "use",

	"signalSession": "manage", "cancelSession": "manage", "resumeSession": "manage", "settleCall": "manage",
	"forkSession": "manage", "revertSession": "manage", "replaySession": "manage", "upgradeSession": "manage",
	"exportSession": "manage", "eraseSession": "manage", "importSession": "manage",

	"approve": "",

	"reloadHost": "administer", "backupHost": "administer", "installModule": "administer",
	"readPolicies": "administer", "writePolicies": "administer", "readAudit": "administer", "readMetrics": "administer",
	"readKeys": "administer", "createKey": "administer", "revokeKey": "administer",
}

// inScope reports whether a key with these scopes may be used for an action or a group of
// them. A key without scopes may be used for all.
func inScope(scopes []string, name string) bool {
	return len(scopes) == 0 || slices.Contains(scopes, name) || groups[name] != "" && slices.Contains(scopes, groups[name])
}

// Scope says why a name cannot be a scope of an API key; nil when it can.
func Scope(name string) error {
	if _, action := groups[name]; action || slices.Contains(slices.Collect(maps.Values(groups)), name) {
		return nil
	}
	return fmt.Errorf("the API has no action and no group of actions %.80q; such are read, use, manage, administer, invokeAgent", name)
}

// outOfScope says what a key is not for.
func outOfScope(c host.Caller, action string) *host.Error {
	fit := action
	if g := groups[action]; g != "" {
		fit = fmt.Sprintf("%s or %s", action, g)
	}
	return host.Errorf(host.ErrForbidden, "this API key is limited to %s, and %s is not in that; use a key with the scope %s",
		strings.Join(c.Scopes, ", "), action, fit)
}

// wider returns an error when a new key could do what the key that makes it cannot.
func wider(c host.Caller, scopes []string) error {
	if len(c.Scopes) == 0 {
		return nil
	}
	if len(scopes) == 0 {
		return host.Errorf(host.ErrForbidden, "create an API key: this one is limited to %s, so the new one needs scopes as well; give it some of these", strings.Join(c.Scopes, ", "))
	}
	for _, s := range scopes {
		if !inScope(c.Scopes, s) {
			return host.Errorf(host.ErrForbidden, "create an API key: the scope %q is more than this key has itself; leave it out, or use another key", s)
		}
	}
	return nil
}
