package identity

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/store"
)

const here = "https://here.example"

// nest is another host: it publishes the keys of its signer on loopback.
type nest struct {
	*httptest.Server
	*Signer
	signer atomic.Pointer[Signer] // whose keys are published
	asked  atomic.Int64
	key    signingKey
}

func newNest(tb testing.TB, c *clock) *nest {
	tb.Helper()
	n := &nest{}
	n.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.asked.Add(1)
		if r.URL.Path != KeysPath {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write(n.signer.Load().JWKS())
	}))
	tb.Cleanup(n.Close)
	n.rotate(tb, c, newKey(tb))
	return n
}

func newKey(tb testing.TB) ed25519.PrivateKey {
	tb.Helper()
	keys, err := LoadOrCreate(filepath.Join(tb.TempDir(), "key"))
	if err != nil {
		tb.Fatal(err)
	}
	return keys[0]
}

// rotate has the nest sign with the first of the keys and publish all.
func (n *nest) rotate(tb testing.TB, c *clock, keys ...ed25519.PrivateKey) {
	tb.Helper()
	s, err := NewSigner(SignerOptions{URL: n.URL, Keys: keys, Now: c.now})
	if err != nil {
		tb.Fatal(err)
	}
	public, err := publicKey(keys[0])
	if err != nil {
		tb.Fatal(err)
	}
	n.Signer, n.key = s, signingKey{public.KeyID, jose.EdDSA, keys[0]}
	n.signer.Store(s)
}

func (n *nest) issue(tb testing.TB, change func(*Claims)) string {
	tb.Helper()
	c := Claims{Audience: here, User: "user1@corp", Actors: []string{"planner", "support"}, Task: "01J0TASK", Scopes: []string{"use", "readSession"}}
	if change != nil {
		change(&c)
	}
	token, _, err := n.Issue(c)
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

// hosting is a chain of the host here that knows the nest as a peer.
func hosting(tb testing.TB, c *clock, n *nest, s store.Store, audience string) *Chain {
	tb.Helper()
	return newChain(tb, Options{
		Audience: audience, Peers: map[string]Peer{"nest": {URL: n.URL}}, Store: s, Now: c.now,
		Groups: map[string][]string{"partners": {"user1@corp@nest"}},
	})
}

func TestDelegation(t *testing.T) {
	clock := newClock()
	n := newNest(t, clock)
	dir := t.TempDir()
	s := openStore(t, dir)
	c := hosting(t, clock, n, s, here)
	token := n.issue(t, nil)
	got, err := c.Authenticate(t.Context(), token)
	if err != nil {
		t.Fatal(err, errors.Unwrap(err))
	}
	want := host.Caller{
		Tenant: host.DefaultTenant, User: "user1@corp@nest", Name: "user1@corp", Via: host.ViaToken,
		Groups: []string{"partners"}, Claims: map[string][]string{"txn": {"01J0TASK"}},
		Scopes: []string{"use", "readSession"}, Actors: []string{"planner@nest", "support@nest"},
		Until: clock.now().Add(lifetime),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	wantRefused(t, c, token, "was used before")
	wantCode(t, c, n.issue(t, nil), "") // each is one of its own

	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := hosting(t, clock, n, openStore(t, dir), here)
	wantRefused(t, again, token, "was used before")

	elsewhere := hosting(t, clock, n, openStore(t, t.TempDir()), "https://elsewhere.example")
	wantRefused(t, elsewhere, n.issue(t, nil), `for ["`+here+`"]`)
}

// TestOneOfManyUses: of uses at once exactly one is good.
func TestOneOfManyUses(t *testing.T) {
	clock := newClock()
	n := newNest(t, clock)
	s := openStore(t, t.TempDir())
	chains := []*Chain{hosting(t, clock, n, s, here), hosting(t, clock, n, s, here)}
	for range 5 {
		token := n.issue(t, nil)
		var good atomic.Int64
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				if _, err := chains[i%2].Authenticate(t.Context(), token); err == nil {
					good.Add(1)
				} else if host.CodeOf(err) != host.ErrUnauthorized {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if good.Load() != 1 {
			t.Errorf("%d uses of one token were good", good.Load())
		}
	}
}

// payload is what a token of the nest says, changed: nil leaves a claim out.
func (n *nest) payload(tb testing.TB, change map[string]any) []byte {
	tb.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(n.issue(tb, nil), ".")[1])
	if err != nil {
		tb.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(b, &c); err != nil {
		tb.Fatal(err)
	}
	for k, v := range change {
		if c[k] = v; v == nil {
			delete(c, k)
		}
	}
	return encode(tb, c)
}

// TestRefusedDelegations has tokens that the other host did sign.
func TestRefusedDelegations(t *testing.T) {
	clock := newClock()
	n := newNest(t, clock)
	c := hosting(t, clock, n, openStore(t, t.TempDir()), here)
	now := clock.now().Unix()
	deep := map[string]any{"sub": "a"}
	for range maxActors {
		deep = map[string]any{"sub": "a", "act": deep}
	}
	for name, tc := range map[string]struct {
		change map[string]any
		reason string
	}{
		"other audience":       {map[string]any{"aud": "https://elsewhere.example"}, "for ["},
		"audience and another": {map[string]any{"aud": []string{here, "https://elsewhere.example"}}, "for ["},
		"no audience":          {map[string]any{"aud": nil}, "for ["},
		"a stranger":           {map[string]any{"iss": "https://stranger.example"}, "no peer"},
		"expired":              {map[string]any{"iat": now - 300, "nbf": nil, "exp": now - 30}, "expired"},
		"never expires":        {map[string]any{"exp": nil}, "never expires"},
		"for long":             {map[string]any{"exp": now + 301}, "longer than"},
		"no beginning":         {map[string]any{"iat": nil}, "iat"},
		"in the future":        {map[string]any{"iat": now + 31, "exp": now + 60, "nbf": nil}, "future"},
		"not yet":              {map[string]any{"nbf": now + 31}, "future"},
		"no id":                {map[string]any{"jti": nil}, "jti"},
		"no task":              {map[string]any{"txn": nil}, "txn"},
		"no user":              {map[string]any{"sub": nil}, "sub"},
		"nobody acts":          {map[string]any{"act": nil}, "act"},
		"an actor is nobody":   {map[string]any{"act": map[string]any{}}, "act"},
		"act is text":          {map[string]any{"act": "planner"}, "act"},
		"an inner one is odd":  {map[string]any{"act": map[string]any{"sub": "a", "act": 7}}, "act"},
		"too many act":         {map[string]any{"act": deep}, "more than 16"},
		"no scope":             {map[string]any{"scope": nil}, "scope"},
		"empty scope":          {map[string]any{"scope": " "}, "scope"},
		"too many scopes":      {map[string]any{"scope": strings.Repeat("a ", maxScopes+1)}, "scope"},
	} {
		t.Run(name, func(t *testing.T) {
			wantRefused(t, c, n.key.sign(t, delegationType, n.payload(t, tc.change)), tc.reason)
		})
	}
	wantCode(t, c, n.key.sign(t, "application/TxnToken+jwt", n.payload(t, nil)), "")
	wantCode(t, c, n.key.sign(t, delegationType, n.payload(t, map[string]any{"act": deep["act"], "exp": now + 300})), "")
	for _, typ := range []string{"", "JWT", "at+jwt"} {
		wantRefused(t, c, n.key.sign(t, typ, n.payload(t, nil)), "no issuer is configured")
	}
}

// TestForgedDelegations has tokens that the other host did not sign, or not so.
func TestForgedDelegations(t *testing.T) {
	clock := newClock()
	n := newNest(t, clock)
	c := hosting(t, clock, n, openStore(t, t.TempDir()), here)
	token := n.issue(t, nil)
	parts := strings.Split(token, ".")
	with := func(change map[string]any) string {
		return parts[0] + "." + base64.RawURLEncoding.EncodeToString(n.payload(t, change)) + "." + parts[2]
	}
	public, _ := n.key.key.(ed25519.PrivateKey).Public().(ed25519.PublicKey)
	head := func(h string) string { return base64.RawURLEncoding.EncodeToString([]byte(h)) }
	ec := newEC(t, n.key.id)
	own := signingKey{n.key.id, jose.EdDSA, newKey(t)}
	stranger := signingKey{"stranger", jose.EdDSA, own.key}
	unnamed := signingKey{"", jose.EdDSA, n.key.key}
	for name, tc := range map[string]struct{ token, reason string }{
		"act stripped":       {with(map[string]any{"act": nil}), "no key of the issuer"},
		"act altered":        {with(map[string]any{"act": map[string]any{"sub": "support"}}), "no key of the issuer"},
		"audience altered":   {with(map[string]any{"aud": "https://elsewhere.example"}), "no key of the issuer"},
		"id altered":         {with(map[string]any{"jti": "another"}), "no key of the issuer"},
		"the key's secret":   {signingKey{n.key.id, jose.HS256, []byte(public)}.sign(t, delegationType, n.payload(t, nil)), "unexpected signature algorithm"},
		"another algorithm":  {ec.sign(t, delegationType, n.payload(t, nil)), "unexpected signature algorithm"},
		"none":               {head(`{"alg":"none","typ":"txntoken+jwt","kid":"`+n.key.id+`"}`) + "." + parts[1] + "." + parts[2], "unexpected signature algorithm"},
		"another's key":      {own.sign(t, delegationType, n.payload(t, nil)), "no key of the issuer"},
		"a key of no one":    {stranger.sign(t, delegationType, n.payload(t, nil)), "no key of the issuer"},
		"a key without name": {unnamed.sign(t, delegationType, n.payload(t, nil)), "name its key"},
	} {
		t.Run(name, func(t *testing.T) { wantRefused(t, c, tc.token, tc.reason) })
	}
	wantCode(t, c, token, "") // all that was tried did not spend it
}

func TestDelegationExpires(t *testing.T) {
	clock := newClock()
	n := newNest(t, clock)
	c := hosting(t, clock, n, openStore(t, t.TempDir()), here)
	early, late := n.issue(t, nil), n.issue(t, nil)
	soon := n.issue(t, func(c *Claims) { c.Expires = clock.now().Add(time.Minute + time.Millisecond) })
	clock.advance(lifetime + leeway - time.Nanosecond)
	wantCode(t, c, early, "")
	clock.advance(time.Nanosecond)
	wantRefused(t, c, late, "expired")
	wantRefused(t, c, soon, "expired at 2030-01-01T12:01:00Z")
	_, _, err := n.Issue(Claims{Audience: here, User: "u", Actors: []string{"a"}, Task: "t", Scopes: []string{"use"}, Expires: clock.now()})
	if err == nil || !strings.Contains(err.Error(), "is over") {
		t.Errorf("a token of a task that is over: %v", err)
	}
}

func TestPeerRotatesItsKeys(t *testing.T) {
	clock := newClock()
	n := newNest(t, clock)
	c := hosting(t, clock, n, openStore(t, t.TempDir()), here)
	old, _ := n.key.key.(ed25519.PrivateKey)
	oldKey, before := n.key, n.issue(t, nil)
	wantCode(t, c, n.issue(t, nil), "")

	clock.advance(pause)
	n.rotate(t, clock, newKey(t), old)
	wantCode(t, c, n.issue(t, nil), "") // of the new key
	wantCode(t, c, before, "")          // of the old one, which is still published

	clock.advance(fresh)
	current, _ := n.key.key.(ed25519.PrivateKey)
	n.rotate(t, clock, current)
	wantRefused(t, c, oldKey.sign(t, delegationType, n.payload(t, nil)), "no key of the issuer")
	wantCode(t, c, n.issue(t, nil), "")
	if n := n.asked.Load(); n != 3 {
		t.Errorf("the keys were read %d times", n)
	}
}

func TestPeerIsDown(t *testing.T) {
	clock := newClock()
	n := newNest(t, clock)
	c := hosting(t, clock, n, openStore(t, t.TempDir()), here)
	token := n.issue(t, nil)
	n.Close()
	wantCode(t, c, token, host.ErrUnavailable)
}

// failing is a store that fails.
type failing struct {
	store.Store
	view, commit error
}

func (f *failing) View(ctx context.Context, fn func(store.Tx) error) error {
	if f.view != nil {
		return f.view
	}
	return f.Store.View(ctx, fn)
}

func (f *failing) Commit(ctx context.Context, b store.Batch) (store.Revision, error) {
	if f.commit != nil {
		return 0, f.commit
	}
	return f.Store.Commit(ctx, b)
}

// TestUnspendable: a token whose use cannot be noted is not taken, and not lost.
func TestUnspendable(t *testing.T) {
	clock := newClock()
	n := newNest(t, clock)
	f := &failing{Store: openStore(t, t.TempDir())}
	c := hosting(t, clock, n, f, here)
	token := n.issue(t, nil)
	for _, tc := range []struct {
		view, commit error
		want         host.ErrorCode
	}{
		{errors.New("the disk is gone"), nil, host.ErrUnavailable},
		{nil, errors.New("the disk is gone"), host.ErrUnavailable},
		{nil, store.ErrFull, host.ErrFull},
		{nil, nil, ""},
	} {
		f.view, f.commit = tc.view, tc.commit
		wantCode(t, c, token, tc.want)
	}
}

// TestSpentIsBounded: what is remembered are the tokens of the last while.
func TestSpentIsBounded(t *testing.T) {
	clock := newClock()
	s := openStore(t, t.TempDir())
	sp := &spent{s, clock.now}
	count := func() (n int) {
		err := s.View(t.Context(), func(tx store.Tx) error {
			n = 0
			for _, err := range tx.Scan(store.Query{Prefix: []byte("jti/"), KeysOnly: true}) {
				if err != nil {
					return err
				}
				n++
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	spend := func(tenant, id string) error {
		return sp.spend(t.Context(), tenant, here, id, clock.now().Add(lifetime))
	}
	for i := range 40 {
		if err := errors.Join(spend("default", fmt.Sprint(i)), spend("acme", fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := spend("default", "7"); err == nil || !strings.Contains(err.Error(), "used before") {
		t.Errorf("the second use: %v", err)
	}
	clock.advance(lifetime + kept)
	if err := spend("default", "a"); err != nil || count() != 81 {
		t.Errorf("at the last instant: %v, %d", err, count())
	}
	clock.advance(time.Second)
	want := []int{66, 51, 44, 45} // 16 of the tenant's 40 with each, of another tenant none
	var got []int
	for i := range want {
		if err := spend("default", fmt.Sprint("b", i)); err != nil {
			t.Fatal(err)
		}
		got = append(got, count())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("remembered after each use: %s", diff)
	}
}
