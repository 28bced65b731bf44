package identity

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host"
)

// corp is a chain that knows one provider, changed by change.
func corp(tb testing.TB, p *provider, c *clock, change func(*Issuer)) *Chain {
	tb.Helper()
	i := Issuer{URL: p.URL, Audience: "vespiary"}
	if change != nil {
		change(&i)
	}
	return newChain(tb, Options{Issuers: map[string]Issuer{"corp": i}, Now: c.now, Transport: p.Client().Transport})
}

func TestTokensOfAllAlgorithms(t *testing.T) {
	clock := newClock()
	p := newProvider(t, slices.Collect(maps.Values(testKeys()))...)
	c := corp(t, p, clock, nil)
	for alg, k := range testKeys() {
		for _, typ := range []string{"", "JWT", "at+jwt", "application/at+JWT"} {
			got, err := c.Authenticate(t.Context(), k.sign(t, typ, encode(t, p.claimsOf(clock.now(), nil))))
			if err != nil {
				t.Errorf("%s, typ %q: %v", alg, typ, err)
				continue
			}
			want := host.Caller{Tenant: host.DefaultTenant, User: "user1@corp", Name: "User One", Via: host.ViaToken, Until: clock.now().Add(goodFor)}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, typ %q: %s", alg, typ, diff)
			}
		}
	}
	if n := p.count("/keys"); n != 1 {
		t.Errorf("the keys were read %d times", n)
	}
}

func TestClaims(t *testing.T) {
	clock, k := newClock(), testKeys()[jose.ES256]
	p := newProvider(t, k)
	for name, tc := range map[string]struct {
		issuer func(*Issuer)
		claims map[string]any
		want   host.Caller
	}{
		"several audiences, no name": {
			nil, map[string]any{"aud": []string{"other", "vespiary"}, "name": nil}, host.Caller{User: "user1@corp"},
		},
		"a name that cannot be shown": {nil, map[string]any{"name": "User\u202eOne"}, host.Caller{User: "user1@corp"}},
		"other claims": {
			func(i *Issuer) {
				i.User, i.Name, i.Tenant = "oid", "nickname", "acme"
				i.Claims = []string{"department", "level", "admin", "cities", "scope", "none", "null", "empty"}
			},
			map[string]any{
				"oid": "7@x|y", "nickname": "One", "department": "R & D", "level": json.Number("1.50"), "admin": true,
				"cities": []any{"Oslo", 3, false}, "scope": "a:b c", "null": json.RawMessage("null"), "empty": []string{}, "secret": "no",
			},
			host.Caller{Tenant: "acme", User: "7@x|y@corp", Name: "One", Claims: map[string][]string{
				"department": {"R & D"}, "level": {"1.50"}, "admin": {"true"}, "cities": {"Oslo", "3", "false"},
				"scope": {"a:b", "c"}, "empty": {},
			}},
		},
		"groups are the issuer's": {
			func(i *Issuer) { i.Groups = "groups" },
			map[string]any{"groups": []string{"operators", "staff@other"}},
			host.Caller{User: "user1@corp", Name: "User One", Groups: []string{"operators@corp", "staff@other@corp"}, Given: []string{"operators@corp", "staff@other@corp"}},
		},
		"groups are trusted": {
			func(i *Issuer) { i.Groups, i.TrustGroups = "groups", true },
			map[string]any{"groups": []string{"operators", "staff@other"}},
			host.Caller{User: "user1@corp", Name: "User One", Groups: []string{"operators"}, Given: []string{"operators"}},
		},
		"groups are not asked for": {
			nil, map[string]any{"groups": []string{"operators"}}, host.Caller{User: "user1@corp", Name: "User One"},
		},
		"somebody acts": {
			nil,
			map[string]any{"act": map[string]any{"sub": "bot", "iss": "x", "act": map[string]any{"sub": "app"}}},
			host.Caller{User: "user1@corp", Name: "User One", Actors: []string{"bot@corp", "app@corp"}},
		},
		"a verified address": {
			func(i *Issuer) { i.User = "email" },
			map[string]any{"email": "user1@example.com", "email_verified": true},
			host.Caller{User: "user1@example.com@corp", Name: "User One"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := corp(t, p, clock, tc.issuer).Authenticate(t.Context(), k.sign(t, "", encode(t, p.claimsOf(clock.now(), tc.claims))))
			if err != nil {
				t.Fatal(err, errors.Unwrap(err))
			}
			tc.want.Via, tc.want.Until = host.ViaToken, clock.now().Add(goodFor)
			if tc.want.Tenant == "" {
				tc.want.Tenant = host.DefaultTenant
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestRefusedClaims has tokens that the issuer did sign.
func TestRefusedClaims(t *testing.T) {
	clock, k := newClock(), testKeys()[jose.ES256]
	p := newProvider(t, k)
	c := corp(t, p, clock, func(i *Issuer) { i.Groups, i.Claims = "groups", []string{"department"} })
	byMail := corp(t, p, clock, func(i *Issuer) { i.User = "email" })
	now := clock.now()
	for name, tc := range map[string]struct {
		change map[string]any
		reason string
	}{
		"other audience":    {map[string]any{"aud": "other"}, "audience"},
		"part of it":        {map[string]any{"aud": "vespiary2"}, "audience"},
		"no audience":       {map[string]any{"aud": nil}, "audience"},
		"audience by case":  {map[string]any{"aud": nil, "AUD": "vespiary"}, `for []`},
		"odd audience":      {map[string]any{"aud": 5}, "claims"},
		"other issuer":      {map[string]any{"iss": "https://evil.example"}, "no issuer is configured"},
		"no issuer":         {map[string]any{"iss": nil}, "no issuer is configured"},
		"odd issuer":        {map[string]any{"iss": []string{p.URL}}, "decode"},
		"expired":           {map[string]any{"exp": now.Add(-leeway).Unix()}, "expired"},
		"never expires":     {map[string]any{"exp": nil}, "never expires"},
		"expires by case":   {map[string]any{"exp": nil, "Exp": now.Add(time.Hour).Unix()}, "never expires"},
		"null expiry":       {map[string]any{"exp": json.RawMessage("null")}, "claims"},
		"endless":           {map[string]any{"exp": json.Number("1e300")}, "exp"},
		"text expiry":       {map[string]any{"exp": "4000000000"}, "exp"},
		"not yet":           {map[string]any{"nbf": now.Add(leeway + time.Second).Unix()}, "future"},
		"made tomorrow":     {map[string]any{"iat": now.Add(24 * time.Hour).Unix()}, "future"},
		"no user":           {map[string]any{"sub": nil}, "sub"},
		"empty user":        {map[string]any{"sub": ""}, "sub"},
		"long user":         {map[string]any{"sub": strings.Repeat("a", maxName+1)}, "sub"},
		"hidden user":       {map[string]any{"sub": "a\u200bnn"}, "sub"},
		"user by case":      {map[string]any{"sub": nil, "Sub": "root"}, "sub"},
		"user is a number":  {map[string]any{"sub": 7}, "sub"},
		"odd groups":        {map[string]any{"groups": []any{[]string{"a"}}}, "groups"},
		"nothing as group":  {map[string]any{"groups": []any{"a", nil}}, "groups"},
		"too many groups":   {map[string]any{"groups": slices.Repeat([]string{"a"}, maxValues+1)}, "groups"},
		"groups left out":   {map[string]any{"_claim_names": map[string]string{"groups": "s"}, "_claim_sources": map[string]any{"s": map[string]string{"endpoint": "https://x"}}}, "fewer groups"},
		"odd actor":         {map[string]any{"act": map[string]any{"client_id": "bot"}}, "act"},
		"nothing as actor":  {map[string]any{"act": json.RawMessage("null")}, "act"},
		"odd claim":         {map[string]any{"department": map[string]string{"a": "b"}}, "department"},
		"unprintable claim": {map[string]any{"department": "a\nb"}, "department"},
	} {
		t.Run(name, func(t *testing.T) {
			wantRefused(t, c, k.sign(t, "", encode(t, p.claimsOf(now, tc.change))), tc.reason)
		})
	}
	for name, change := range map[string]map[string]any{
		"unverified":   {"email": "user1@example.com", "email_verified": false},
		"nothing said": {"email": "user1@example.com"},
		"as text":      {"email": "user1@example.com", "email_verified": "true"},
	} {
		t.Run("address "+name, func(t *testing.T) {
			wantRefused(t, byMail, k.sign(t, "", encode(t, p.claimsOf(now, change))), "email_verified")
		})
	}
	t.Run("a claim twice", func(t *testing.T) {
		good := string(encode(t, p.claimsOf(now, nil)))
		wantRefused(t, c, k.sign(t, "", []byte(strings.Replace(good, "{", `{"sub":"root",`, 1))), "duplicate")
	})
}

// TestForgeries has tokens that the issuer did not sign, or not so.
func TestForgeries(t *testing.T) {
	clock, k := newClock(), testKeys()[jose.RS256]
	p := newProvider(t, k)
	c := corp(t, p, clock, nil)
	good := encode(t, p.claimsOf(clock.now(), nil))
	token := k.sign(t, "", good)
	wantCode(t, c, token, "")
	parts := strings.Split(token, ".")
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(k.public().Key)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	other := testKeys()[jose.ES256]
	other.id = k.id
	sameKey := testKeys()[jose.PS384]
	sameKey.id = k.id
	b64 := base64.RawURLEncoding.EncodeToString
	for name, tc := range map[string]struct{ token, reason string }{
		"none":             {b64([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".AAAA", "unexpected signature algorithm"},
		"no signature":     {parts[0] + "." + parts[1] + ".", "not a signed JWT"},
		"the key's secret": {signingKey{k.id, jose.HS256, public}.sign(t, "", good), "unexpected signature algorithm"},
		"another key":      {other.sign(t, "", good), "no key of the issuer"},
		"another algorithm of the key": {
			sameKey.sign(t, "", good), "no key of the issuer",
		},
		"other claims": {parts[0] + "." + b64(encode(t, p.claimsOf(clock.now(), map[string]any{"sub": "root"}))) + "." + parts[2], "no key of the issuer"},
		"cut":          {parts[0] + "." + parts[1] + "." + b64(sig[:len(sig)-4]), "no key of the issuer"},
		"respelled":    {token[:len(token)-1] + string(token[len(token)-1]+1), "decode the JWT"}, // the bits that are not used
		"logout token": {k.sign(t, "logout+jwt", good), "does not say who"},
		"space":        {token + " ", "not a signed JWT"},
		"line end":     {token + "\n", "not a signed JWT"},
		"as JSON":      {`{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `."}`, "not a signed JWT"},
		"long":         {k.sign(t, "", encode(t, p.claimsOf(clock.now(), map[string]any{"x": strings.Repeat("a", maxToken)}))), "not a signed JWT"},
		"critical":     {b64([]byte(`{"alg":"RS256","crit":["exp"],"exp":1}`)) + "." + parts[1] + "." + parts[2], "crit"},
		"own key": {
			b64(encode(t, map[string]any{"alg": "ES256", "jwk": other.public()})) + "." + parts[1] + "." + parts[2], "no key of the issuer",
		},
		"no token at all": {"a.b", "not a signed JWT"},
		"no JSON":         {"YQ.YQ.YQ", "decode"},
		"no objects":      {b64([]byte("[]")) + "." + b64([]byte("1")) + ".YQ", "decode"},
	} {
		t.Run(name, func(t *testing.T) { wantRefused(t, c, tc.token, tc.reason) })
	}
	wantCode(t, c, token, "") // and the good one still is
}

func TestAlgorithmsAreLimited(t *testing.T) {
	clock, k := newClock(), testKeys()
	p := newProvider(t, k[jose.RS256], k[jose.ES256])
	c := corp(t, p, clock, func(i *Issuer) { i.Algorithms = []string{"ES256"} })
	good := encode(t, p.claimsOf(clock.now(), nil))
	wantCode(t, c, k[jose.ES256].sign(t, "", good), "")
	wantRefused(t, c, k[jose.RS256].sign(t, "", good), "unexpected signature algorithm")
}

// TestExpiryInstant: a token holds until its end and the leeway, and not at that instant.
func TestExpiryInstant(t *testing.T) {
	clock, k := newClock(), testKeys()[jose.ES256]
	p := newProvider(t, k)
	c := corp(t, p, clock, nil)
	begin := clock.now().Add(leeway)
	token := k.sign(t, "", encode(t, p.claimsOf(clock.now(), map[string]any{"exp": begin.Add(time.Minute).Unix(), "nbf": begin.Unix()})))
	wantCode(t, c, token, "")
	clock.advance(time.Minute + 2*leeway - time.Nanosecond)
	wantCode(t, c, token, "")
	clock.advance(time.Nanosecond)
	wantRefused(t, c, token, "expired")
}

func TestIssuersDoNotMix(t *testing.T) {
	clock, ka, kb := newClock(), newEC(t, "one"), newEC(t, "one")
	a, b := newProvider(t, ka), newProvider(t, kb)
	c := newChain(t, Options{Now: clock.now, Transport: a.Client().Transport, Issuers: map[string]Issuer{
		"a": {URL: a.URL, Audience: "vespiary"}, "b": {URL: b.URL, Audience: "vespiary"},
	}})
	for name, tc := range map[string]struct {
		p   *provider
		k   signingKey
		who string
	}{"a": {a, ka, "user1@a"}, "b": {b, kb, "user1@b"}} {
		got, err := c.Authenticate(t.Context(), tc.k.sign(t, "", encode(t, tc.p.claimsOf(clock.now(), nil))))
		if err != nil || got.User != tc.who {
			t.Errorf("%s: %v, %v", name, got.User, err)
		}
	}
	wantRefused(t, c, ka.sign(t, "", encode(t, b.claimsOf(clock.now(), nil))), "issuer b: no key")
}

func TestAudienceOfTheHost(t *testing.T) {
	clock, k := newClock(), newEC(t, "1")
	p := newProvider(t, k)
	c := newChain(t, Options{
		Audience: here, Now: clock.now, Transport: p.Client().Transport, Issuers: map[string]Issuer{"corp": {URL: p.URL}},
	})
	wantCode(t, c, k.sign(t, "", encode(t, p.claimsOf(clock.now(), map[string]any{"aud": here}))), "")
	wantRefused(t, c, k.sign(t, "", encode(t, p.claimsOf(clock.now(), nil))), "audience")
}
