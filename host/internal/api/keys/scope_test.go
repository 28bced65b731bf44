package keys

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
	"github.com/vespiary/vespiary/host/store"
)

var (
	_ api.Keys          = (*Keys)(nil)
	_ api.Authenticator = (*Keys)(nil)
)

func TestScopes(t *testing.T) {
	k, _, _ := setup(t)
	key, token, err := k.Create(t.Context(), world, host.APIKeySpec{Name: "ci", Scopes: []string{"use", "readSession", "use"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"readSession", "use"}
	for range 2 { // the second is from the cache
		got, err := k.Authenticate(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got.Scopes); diff != "" {
			t.Error(diff)
		}
		got.Scopes[0] = "administer" // is nobody else's
	}
	list, err := k.List(t.Context(), world)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]host.APIKey{key}, list); diff != "" || !cmp.Equal(key.Scopes, want) {
		t.Errorf("%v, %s", key, diff)
	}
}

// TestKeyOfAnotherUser: what is known of its maker is not said of them.
func TestKeyOfAnotherUser(t *testing.T) {
	k, _, _ := setup(t)
	for user, want := range map[string]host.Caller{
		"":        {User: "world", Name: "World"},
		"world":   {User: "world", Name: "World"},
		"nightly": {User: "nightly"},
	} {
		key, token, err := k.Create(t.Context(), world, host.APIKeySpec{Name: "n", User: user})
		if err != nil {
			t.Fatal(err)
		}
		got, err := k.Authenticate(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		want.Tenant, want.Key, want.Via = "default", key.ID, host.ViaKey
		if diff := cmp.Diff(want, got); diff != "" || key.User != want.User {
			t.Errorf("%q: %s", user, diff)
		}
	}
}

// TestStill is for those who stay: they are asked again.
func TestStill(t *testing.T) {
	k, m, c := setup(t)
	revoked, a := create(t, k, world, time.Time{})
	_, b := create(t, k, world, c.t.Add(time.Minute))
	var callers []host.Caller
	for _, token := range []string{a, b} {
		caller, err := k.Authenticate(t.Context(), token)
		if err != nil || k.Still(t.Context(), caller) != nil {
			t.Fatal(err)
		}
		callers = append(callers, caller)
	}
	if _, err := k.Revoke(t.Context(), world, revoked.ID); err != nil {
		t.Fatal(err)
	}
	c.t = c.t.Add(time.Minute)
	for i, caller := range callers {
		if err := k.Still(t.Context(), caller); !errors.Is(err, errWrong) {
			t.Errorf("%d: %v", i, err)
		}
	}
	m.fail = errors.New("the disk is gone")
	c.t = c.t.Add(time.Minute)
	if err := k.Still(t.Context(), callers[0]); host.CodeOf(err) != host.ErrUnavailable {
		t.Errorf("without a store: %v", err)
	}
}

func TestScopesAreKnown(t *testing.T) {
	k, _, _ := setup(t)
	own := host.Errorf(host.ErrInvalid, "there is no action of this name")
	k.Scope = func(name string) error {
		switch name {
		case "read":
			return nil
		case "own":
			return own
		}
		return errors.New("did you mean read?")
	}
	for _, tc := range []struct{ scope, want string }{
		{"read", ""}, {"own", own.Message}, {"raed", `"raed" cannot be a scope: did you mean read?`},
	} {
		_, _, err := k.Create(t.Context(), world, host.APIKeySpec{Name: "n", Scopes: []string{tc.scope}})
		if tc.want == "" && err != nil || tc.want != "" && (host.CodeOf(err) != host.ErrInvalid || err.Error() != tc.want) {
			t.Errorf("%s: %v", tc.scope, err)
		}
	}
}

// TestRecordsWithoutScopes: what the store holds from before there were scopes.
func TestRecordsWithoutScopes(t *testing.T) {
	k, m, c := setup(t)
	_, token := create(t, k, world, time.Time{})
	tenant, id, _ := parseToken(token)
	key := storeKey(tenant, id)
	sum, err := json.Marshal(hash(token))
	if err != nil {
		t.Fatal(err)
	}
	old := fmt.Sprintf(`{"id":%q,"name":"laptop","tenant":"default","user":"world","created":"2029-01-01T00:00:00Z","sha256":%s}`, id, sum)
	m.items[key] = store.Item{Key: []byte(key), Value: []byte(old), Revision: 7}
	got, err := k.Authenticate(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(host.Caller{Tenant: "default", User: "world", Key: id, Via: host.ViaKey}, got); diff != "" {
		t.Error(diff)
	}
	if _, err := k.Revoke(t.Context(), world, id); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Authenticate(t.Context(), token); !errors.Is(err, errWrong) {
		t.Errorf("valid after its revocation: %v", err)
	}
	if r, err := decode(m.items[key]); err != nil || r.Scopes != nil || !r.Revoked.Equal(c.t) {
		t.Errorf("%+v, %v", r, err)
	}
}
