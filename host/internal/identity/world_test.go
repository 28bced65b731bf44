package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/vespiary/vespiary/host"
	local "github.com/vespiary/vespiary/host/internal/store"
	"github.com/vespiary/vespiary/host/store"
)

// clock is a time that tests move.
type clock struct{ ns atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ns.Store(time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.ns.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.ns.Add(int64(d)) }

// keys is an Authenticator that knows one key.
type keys struct{}

const apiKey = "vsp_default_0123456789abcdef_secret"

func (keys) Authenticate(_ context.Context, token string) (host.Caller, error) {
	if token != apiKey {
		return host.Caller{}, host.Errorf(host.ErrUnauthorized, "the API key is unknown")
	}
	return host.Caller{Tenant: host.DefaultTenant, User: "local", Key: "0123456789abcdef", Via: host.ViaKey}, nil
}

func newChain(tb testing.TB, o Options) *Chain {
	tb.Helper()
	o.Keys = keys{}
	c, err := NewChain(o)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func openStore(tb testing.TB, dir string) store.Store {
	tb.Helper()
	s, err := local.Open(tb.Context(), local.Options{Dir: dir, Edge: true, MinFree: 1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

// signingKey is a key of an issuer under a name.
type signingKey struct {
	id  string
	alg jose.SignatureAlgorithm
	key any
}

func (k signingKey) public() jose.JSONWebKey {
	signer, _ := k.key.(crypto.Signer)
	return jose.JSONWebKey{Key: signer.Public(), KeyID: k.id, Algorithm: string(k.alg), Use: "sig"}
}

// sign makes a token with any header and any claims.
func (k signingKey) sign(tb testing.TB, typ string, payload []byte) string {
	tb.Helper()
	o := (&jose.SignerOptions{}).WithHeader("kid", k.id)
	if k.id == "" {
		o = &jose.SignerOptions{}
	}
	if typ != "" {
		o.WithType(jose.ContentType(typ))
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: k.alg, Key: k.key}, o)
	if err != nil {
		tb.Fatal(err)
	}
	signed, err := s.Sign(payload)
	if err != nil {
		tb.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

func encode(tb testing.TB, v any) []byte {
	tb.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// testKeys are made once: an RSA key takes a while.
var testKeys = sync.OnceValue(func() map[jose.SignatureAlgorithm]signingKey {
	made := map[jose.SignatureAlgorithm]signingKey{}
	add := func(alg jose.SignatureAlgorithm, key any, err error) {
		if err != nil {
			panic(err)
		}
		made[alg] = signingKey{"key-" + string(alg), alg, key}
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	add(jose.RS256, rsaKey, err)
	add(jose.PS384, rsaKey, err)
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	add(jose.ES256, p256, err)
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	add(jose.ES512, p521, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	add(jose.EdDSA, ed, err)
	return made
})

func newEC(tb testing.TB, id string) signingKey {
	tb.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return signingKey{id, jose.ES256, k}
}

// provider is a real OpenID provider as far as tokens are checked with it: discovery and
// keys, over TLS.
type provider struct {
	*httptest.Server
	mu       sync.Mutex
	keys     []signingKey
	answer   http.HandlerFunc // instead of all; nil: none
	metadata map[string]any   // beside and instead of what discovery has
	asked    map[string]int
}

func newProvider(tb testing.TB, keys ...signingKey) *provider {
	tb.Helper()
	p := &provider{keys: keys, asked: map[string]int{}}
	p.Server = httptest.NewTLSServer(p)
	tb.Cleanup(p.Close)
	return p
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked[r.URL.Path]++
	if p.answer != nil {
		p.answer(w, r)
		return
	}
	var doc any
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		m := map[string]any{"issuer": p.URL, "jwks_uri": p.URL + "/keys", "id_token_signing_alg_values_supported": []string{"RS256"}}
		maps.Copy(m, p.metadata)
		doc = m
	case "/keys":
		set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
		for _, k := range p.keys {
			set.Keys = append(set.Keys, k.public())
		}
		doc = set
	default:
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(doc)
}

// become changes the provider.
func (p *provider) become(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *provider) count(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[path]
}

// claimsOf are those of a good token at a moment; change says what is different, and nil
// leaves a claim out.
func (p *provider) claimsOf(now time.Time, change map[string]any) map[string]any {
	return goodClaims(p.URL, now, change)
}

// goodFor is how long the token of goodClaims is good for.
const goodFor = 10 * time.Minute

func goodClaims(issuer string, now time.Time, change map[string]any) map[string]any {
	c := map[string]any{
		"iss": issuer, "aud": "vespiary", "sub": "user1", "name": "User One",
		"iat": now.Unix(), "exp": now.Add(goodFor).Unix(),
	}
	maps.Copy(c, change)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

func down(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }

// wantRefused wants the one answer to what is not valid, for the given reason.
func wantRefused(t *testing.T, c *Chain, token, reason string) {
	t.Helper()
	caller, err := c.Authenticate(t.Context(), token)
	if host.CodeOf(err) != host.ErrUnauthorized || err.Error() != errWrong || caller.User != "" {
		t.Errorf("caller %v, error %v", caller, err)
		return
	}
	if cause := errors.Unwrap(err); cause == nil || !strings.Contains(cause.Error(), reason) {
		t.Errorf("refused because %v; want %q", cause, reason)
	}
}

func wantCode(t *testing.T, c *Chain, token string, code host.ErrorCode) {
	t.Helper()
	if caller, err := c.Authenticate(t.Context(), token); host.CodeOf(err) != code || code != "" && caller.User != "" {
		t.Errorf("caller %v, error %v (%v); want %q", caller, err, errors.Unwrap(err), code)
	}
}
