package identity

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/vespiary/vespiary/host"
)

func TestRotation(t *testing.T) {
	clock, first, second := newClock(), newEC(t, "1"), newEC(t, "2")
	p := newProvider(t, first)
	c := corp(t, p, clock, nil)
	token := func(k signingKey) string { return k.sign(t, "", encode(t, p.claimsOf(clock.now(), nil))) }
	wantCode(t, c, token(first), "")
	wantRefused(t, c, token(second), "no key of the issuer")

	p.become(func() { p.keys = []signingKey{first, second} })
	clock.advance(pause)
	wantCode(t, c, token(second), "") // found at once: its name was not known
	wantCode(t, c, token(first), "")

	p.become(func() { p.keys = []signingKey{second} })
	clock.advance(fresh)
	wantRefused(t, c, token(first), "no key of the issuer")
	wantCode(t, c, token(second), "")

	p.become(func() { p.keys = nil }) // all are withdrawn
	clock.advance(fresh)
	wantRefused(t, c, token(second), "no key of the issuer")
}

// TestForgedNames: tokens that name keys which are not there cost the issuer one request
// in a while, not one each.
func TestForgedNames(t *testing.T) {
	clock, k := newClock(), newEC(t, "1")
	p := newProvider(t, k)
	c := corp(t, p, clock, nil)
	good := encode(t, p.claimsOf(clock.now(), nil))
	for i := range 50 {
		forged := newEC(t, fmt.Sprint("forged-", i))
		if i%2 == 0 {
			forged.id = ""
		}
		wantRefused(t, c, forged.sign(t, "", good), "no key of the issuer")
	}
	wantRefused(t, c, signingKey{"1", jose.ES256, newEC(t, "").key}.sign(t, "", good), "no key of the issuer")
	if n := p.count("/keys"); n != 1 {
		t.Errorf("the keys were read %d times", n)
	}
	clock.advance(pause)
	wantRefused(t, c, signingKey{"1", jose.ES256, newEC(t, "").key}.sign(t, "", good), "no key of the issuer")
	if n := p.count("/keys"); n != 1 {
		t.Errorf("a forged signature of a key that is known had the keys read: %d times", n)
	}
	unnamed := k
	unnamed.id = ""
	wantCode(t, c, unnamed.sign(t, "", good), "") // a provider may name none
}

func TestIssuerIsDown(t *testing.T) {
	clock, k := newClock(), newEC(t, "1")
	p := newProvider(t, k)
	p.answer = down
	c := corp(t, p, clock, nil) // starts all the same
	token := func() string { return k.sign(t, "", encode(t, p.claimsOf(clock.now(), nil))) }
	for range 3 {
		wantCode(t, c, token(), host.ErrUnavailable)
	}
	if n := p.count("/.well-known/openid-configuration"); n != 1 {
		t.Errorf("asked %d times", n)
	}
	p.become(func() { p.answer = nil })
	wantCode(t, c, token(), host.ErrUnavailable) // not before a pause
	clock.advance(pause)
	wantCode(t, c, token(), "")

	p.become(func() { p.answer = down })
	clock.advance(stale - time.Second)
	wantCode(t, c, token(), "") // with the keys of before
	wantCode(t, c, newEC(t, "2").sign(t, "", encode(t, p.claimsOf(clock.now(), nil))), host.ErrUnavailable)
	clock.advance(time.Second)
	wantCode(t, c, token(), host.ErrUnavailable)
	p.become(func() { p.answer = nil })
	clock.advance(pause)
	wantCode(t, c, token(), "")
}

// TestIssuerMoves: the place of the keys is looked for again.
func TestIssuerMoves(t *testing.T) {
	clock, k := newClock(), newEC(t, "1")
	p := newProvider(t, k)
	c := corp(t, p, clock, nil)
	wantCode(t, c, k.sign(t, "", encode(t, p.claimsOf(clock.now(), nil))), "")
	clock.advance(moved)
	wantCode(t, c, k.sign(t, "", encode(t, p.claimsOf(clock.now(), nil))), "")
	if n := p.count("/.well-known/openid-configuration"); n != 2 {
		t.Errorf("discovered %d times", n)
	}
}

// TestOddAnswers: what an issuer answers amiss makes tokens uncheckable, not valid.
func TestOddAnswers(t *testing.T) {
	k := newEC(t, "1")
	write := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
	}
	for name, tc := range map[string]struct {
		answer   http.HandlerFunc
		metadata map[string]any
		reason   string
	}{
		"other issuer":   {nil, map[string]any{"issuer": "https://evil.example"}, "did not match"},
		"no keys":        {nil, map[string]any{"jwks_uri": nil}, "jwks_uri"},
		"keys in clear":  {nil, map[string]any{"jwks_uri": "http://198.51.100.1/keys"}, "must be https"},
		"keys in a file": {nil, map[string]any{"jwks_uri": "file:///etc/passwd"}, "jwks_uri"},
		"elsewhere":      {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/keys", http.StatusFound) }, nil, "302"},
		"no JSON":        {write("<html>"), nil, "decode"},
		"endless":        {write(strings.Repeat(" ", maxAnswer) + "{}"), nil, "longer than"},
		"no key set":     {nil, map[string]any{"jwks_uri": "DISCOVERY"}, "no list of keys"},
	} {
		t.Run(name, func(t *testing.T) {
			clock, p := newClock(), newProvider(t, k)
			if tc.metadata["jwks_uri"] == "DISCOVERY" {
				tc.metadata = map[string]any{"jwks_uri": p.URL + "/.well-known/openid-configuration"}
			}
			p.answer, p.metadata = tc.answer, tc.metadata
			_, err := corp(t, p, clock, nil).Authenticate(t.Context(), k.sign(t, "", encode(t, p.claimsOf(clock.now(), nil))))
			e, _ := err.(*host.Error) //nolint:errorlint // it is what Authenticate returns
			if e == nil || e.Code != host.ErrUnavailable || !strings.Contains(e.Cause.Error(), tc.reason) {
				t.Errorf("%v: %v", err, e)
			}
		})
	}
}

// TestOddKeys: secret and encryption keys are left out of a set, and kinds that nobody
// knows do not spoil it.
func TestOddKeys(t *testing.T) {
	k := newEC(t, "1")
	private, secret, enc := jose.JSONWebKey{Key: newEC(t, "").key, KeyID: "p"}, jose.JSONWebKey{Key: []byte("secret"), KeyID: "s"}, newEC(t, "e").public()
	enc.Use = "enc"
	set := fmt.Sprintf(`{"keys":[{"kty":"FUTURE","kid":"f"},7,%s,%s,%s,%s]}`,
		encode(t, private), encode(t, secret), encode(t, enc), encode(t, k.public()))
	keys, err := parseKeys([]byte(set))
	if err != nil || len(keys) != 1 || keys[0].KeyID != "1" {
		t.Errorf("%v, %v", keys, err)
	}
	many := strings.Repeat(string(encode(t, k.public()))+",", maxKeys)
	if _, err := parseKeys([]byte(`{"keys":[` + many + string(encode(t, k.public())) + `]}`)); err == nil {
		t.Error("a set of too many keys is taken")
	}
}

// TestManyAtOnce: callers who come together wait for one answer.
func TestManyAtOnce(t *testing.T) {
	clock, k := newClock(), newEC(t, "1")
	p := newProvider(t, k)
	c := corp(t, p, clock, nil)
	token := k.sign(t, "", encode(t, p.claimsOf(clock.now(), nil)))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { wantCode(t, c, token, "") })
	}
	wg.Wait()
	if n := p.count("/keys"); n != 1 {
		t.Errorf("the keys were read %d times", n)
	}
}
