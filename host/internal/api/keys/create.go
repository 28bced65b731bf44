package keys

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/vespiary/vespiary/host"
)

const (
	maxText   = 255 // bytes of names of keys and users
	maxScopes = 256 // far more than the API has actions
)

var scopeForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]{0,127}$`)

// Create makes a key of the caller's tenant and returns its token: the only time that it
// is seen. It does not ask whether the caller may: whose key it is, and how far it is
// limited, is for policies and the guard before it.
func (k *Keys) Create(ctx context.Context, c host.Caller, spec host.APIKeySpec) (host.APIKey, string, error) {
	now := k.Now().UTC()
	r := record{APIKey: host.APIKey{
		Name: spec.Name, Tenant: c.Tenant, User: spec.User, Scopes: sorted(spec.Scopes), Created: now, Expires: spec.Expires.UTC(),
	}}
	if spec.User == "" || spec.User == c.User {
		r.User, r.Caller = c.User, c.Name
	}
	if err := check(&r.APIKey, now); err != nil {
		return host.APIKey{}, "", err
	}
	if err := k.checkScopes(spec.Scopes); err != nil {
		return host.APIKey{}, "", err
	}
	id, token, err := newToken(k.Rand, c.Tenant)
	if err != nil {
		return host.APIKey{}, "", err
	}
	r.ID, r.Hash = id, hash(token)
	if err := k.write(ctx, r, 0); err != nil {
		return host.APIKey{}, "", fmt.Errorf("create an API key: %w", err)
	}
	return r.APIKey, token, nil
}

// check reports what a new key lacks. A key without a name could not be told from
// others when one of them leaks.
func check(r *host.APIKey, now time.Time) error {
	switch {
	case !tenantForm.MatchString(r.Tenant):
		return host.Errorf(host.ErrInvalid, "the tenant %q cannot have keys; use lower-case letters, digits and dashes", r.Tenant)
	case r.User == "":
		return host.Errorf(host.ErrInvalid, "the key has no user; say on whose behalf it is used")
	case r.Name == "":
		return host.Errorf(host.ErrInvalid, "the key has no name; give it one, so that it can be told from others")
	case !isText(r.User) || !isText(r.Name):
		return host.Errorf(host.ErrInvalid, "the names of a key and its user have up to %d printable bytes; use shorter or plainer ones", maxText)
	case !r.Expires.IsZero() && !r.Expires.After(now):
		return host.Errorf(host.ErrInvalid, "the key would expire at %s, which is past; choose a later time", r.Expires.Format(time.RFC3339))
	}
	return nil
}

// isText reports whether s can be shown and compared: no control characters, none that
// hide or change the direction.
func isText(s string) bool {
	return len(s) <= maxText && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) < 0
}

// checkScopes refuses an empty list, because it reads as its opposite: nil does not limit.
func (k *Keys) checkScopes(names []string) error {
	switch {
	case names != nil && len(names) == 0:
		return host.Errorf(host.ErrInvalid, "the key's list of scopes is empty, so it could do nothing; name some, or leave the list out for no limit")
	case len(names) > maxScopes:
		return host.Errorf(host.ErrInvalid, "the key would have %d scopes, more than %d; name groups of actions instead", len(names), maxScopes)
	}
	for _, name := range names {
		if err := k.checkScope(name); err != nil {
			return err
		}
	}
	return nil
}

func (k *Keys) checkScope(name string) error {
	if !scopeForm.MatchString(name) {
		return host.Errorf(host.ErrInvalid, "%q cannot be a scope; name an action such as invokeAgent, or a group such as read", name)
	}
	if k.Scope == nil {
		return nil
	}
	err := k.Scope(name)
	if _, ok := errors.AsType[*host.Error](err); ok || err == nil {
		return err
	}
	return host.Errorf(host.ErrInvalid, "%q cannot be a scope: %w", name, err)
}

// sorted returns a copy without repetitions; of nothing it is nil.
func sorted(names []string) []string {
	if len(names) == 0 {
		return nil
	}
	return slices.Compact(slices.Sorted(slices.Values(names)))
}
