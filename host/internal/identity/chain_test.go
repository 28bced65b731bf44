package identity

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host"
)

func TestKindsOfTokens(t *testing.T) {
	clock, k := newClock(), newEC(t, "1")
	p := newProvider(t, k)
	c := newChain(t, Options{
		Now: clock.now, Transport: p.Client().Transport,
		Issuers: map[string]Issuer{"corp": {URL: p.URL, Audience: "vespiary", Groups: "groups"}},
		Tasks: func(_ context.Context, token string) (host.Caller, error) {
			if token != "vspt_good" {
				return host.Caller{}, host.Errorf(host.ErrUnauthorized, "the task is over")
			}
			return host.Caller{Tenant: host.DefaultTenant, User: "local", Via: host.ViaTask, Task: "01J"}, nil
		},
		Groups: map[string][]string{"operators": {"local", "user1@corp"}, "auditors": {"user1@corp", "user1@corp"}, "none": {}},
	})
	for name, tc := range map[string]struct {
		token string
		want  host.Caller
		fails string
	}{
		"key": {apiKey, host.Caller{
			Tenant: host.DefaultTenant, User: "local", Key: "0123456789abcdef", Via: host.ViaKey, Groups: []string{"operators"},
		}, ""},
		"task": {"vspt_good", host.Caller{
			Tenant: host.DefaultTenant, User: "local", Task: "01J", Via: host.ViaTask, Groups: []string{"operators"},
		}, ""},
		"issuer": {k.sign(t, "", encode(t, p.claimsOf(clock.now(), map[string]any{"groups": []string{"zoo", "auditors"}}))), host.Caller{
			Tenant: host.DefaultTenant, User: "user1@corp", Name: "User One", Via: host.ViaToken,
			Groups: []string{"auditors", "auditors@corp", "operators", "zoo@corp"}, Given: []string{"zoo@corp", "auditors@corp"},
			Until: clock.now().Add(goodFor),
		}, ""},
		"wrong key":  {KeyPrefix + "x", host.Caller{}, "the API key is unknown"},
		"dotted key": {apiKey + ".a.b", host.Caller{}, "the API key is unknown"},
		"wrong task": {TaskPrefix + "x", host.Caller{}, "the task is over"},
		"nothing":    {"", host.Caller{}, errWrong},
		"anything":   {"hunter2", host.Caller{}, errWrong},
		"dots":       {"..", host.Caller{}, errWrong},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.Authenticate(t.Context(), tc.token)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("%v: %s", err, diff)
			}
			if tc.fails == "" && err != nil || tc.fails != "" && (host.CodeOf(err) != host.ErrUnauthorized || err.Error() != tc.fails) {
				t.Errorf("error %v, want %q", err, tc.fails)
			}
		})
	}
	noTasks := newChain(t, Options{Now: clock.now})
	if _, err := noTasks.Authenticate(t.Context(), "vspt_good"); err == nil || err.Error() != errWrong {
		t.Errorf("without tasks: %v", err)
	}
}

func TestAssign(t *testing.T) {
	c := newChain(t, Options{Now: newClock().now, Groups: map[string][]string{"operators": {"local", "user1@corp"}}})
	own := []string{"staff@corp", "x", "y"}[:1]
	for _, tc := range []struct {
		tenant, user string
		want         []string
	}{
		{host.DefaultTenant, "local", []string{"operators", "staff@corp"}},
		{host.DefaultTenant, "Local", own},
		{host.DefaultTenant, "user1@other", own},
		{"acme", "local", own}, // another user of the same name
		{"acme", "user1@corp", []string{"operators", "staff@corp"}},
	} {
		got := c.Assign(host.Caller{Tenant: tc.tenant, User: tc.user, Given: own, Groups: []string{"of an earlier configuration"}})
		if diff := cmp.Diff(tc.want, got.Groups); diff != "" {
			t.Errorf("%s of %s: %s", tc.user, tc.tenant, diff)
		}
	}
	if diff := cmp.Diff([]string{"staff@corp", "x", "y"}, own[:3]); diff != "" {
		t.Errorf("the caller's own list changed: %s", diff)
	}
}

func TestNewChainRefuses(t *testing.T) {
	issuer, peer := Issuer{URL: "https://login.example", Audience: "vespiary"}, Peer{URL: "https://there.example"}
	for name, tc := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"no keys":       {func(o *Options) { o.Keys = nil }, "are needed"},
		"no clock":      {func(o *Options) { o.Now = nil }, "are needed"},
		"no store":      {func(o *Options) { o.Store = nil }, "are needed"},
		"no audience":   {func(o *Options) { o.Audience = "" }, "are needed"},
		"name":          {func(o *Options) { o.Issuers["a@b"] = issuer }, "lower-case letters"},
		"same name":     {func(o *Options) { o.Issuers["nest"] = Issuer{URL: "https://x.example", Audience: "a"} }, "same name"},
		"same URL":      {func(o *Options) { o.Issuers["again"] = issuer }, "another name"},
		"both":          {func(o *Options) { o.Peers["again"] = Peer{URL: issuer.URL} }, "another name"},
		"tenant":        {func(o *Options) { o.Peers["nest"] = Peer{URL: peer.URL, Tenant: "a/b"} }, "tenant"},
		"for anyone":    {func(o *Options) { o.Audience, o.Peers, o.Issuers["corp"] = "", nil, Issuer{URL: issuer.URL} }, "without an audience"},
		"in clear":      {func(o *Options) { o.Issuers["corp"] = Issuer{URL: "http://login.example", Audience: "a"} }, "must be https"},
		"no URL":        {func(o *Options) { o.Issuers["corp"] = Issuer{Audience: "a"} }, "not a plain URL"},
		"keys in clear": {func(o *Options) { o.Peers["nest"] = Peer{URL: peer.URL, Keys: "http://10.0.0.1/keys"} }, "must be https"},
		"itself":        {func(o *Options) { o.Peers["nest"] = Peer{URL: o.Audience} }, "peer of itself"},
		"shared secrets": {func(o *Options) {
			o.Issuers["corp"] = Issuer{URL: issuer.URL, Audience: "a", Algorithms: []string{"HS256"}}
		}, "HS256"},
		"no signatures": {func(o *Options) {
			o.Issuers["corp"] = Issuer{URL: issuer.URL, Audience: "a", Algorithms: []string{"none"}}
		}, "none"},
	} {
		o := Options{
			Keys: keys{}, Now: newClock().now, Store: &failing{}, Audience: here,
			Issuers: map[string]Issuer{"corp": issuer}, Peers: map[string]Peer{"nest": peer},
		}
		if _, err := NewChain(o); err != nil {
			t.Fatal(err)
		}
		tc.change(&o)
		if _, err := NewChain(o); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckURL(t *testing.T) {
	for text, good := range map[string]bool{
		"https://a.example": true, "https://a.example/realms/x/": true, "https://10.0.0.1:8443/x": true,
		"http://localhost:8080": true, "http://127.0.0.1/x": true, "http://[::1]:80": true,
		"http://a.example": false, "http://127.0.0.1.example": false, "http://localhost.example": false, "http://10.0.0.1": false,
		"": false, "a.example": false, "//a.example": false, "ftp://a.example": false, "https://u:p@a.example": false,
		"https://a.example?x=1": false, "https://a.example#x": false, "https://": false, "javascript:alert(1)": false, "https://%zz": false,
	} {
		if err := checkURL(text); (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestReasonsAreLogged: the log has the reason, and never the token.
func TestReasonsAreLogged(t *testing.T) {
	clock, k := newClock(), newEC(t, "1")
	p := newProvider(t, k)
	var log bytes.Buffer
	c := newChain(t, Options{
		Now: clock.now, Transport: p.Client().Transport, Log: slog.New(slog.NewTextHandler(&log, nil)),
		Issuers: map[string]Issuer{"corp": {URL: p.URL, Audience: "vespiary"}},
	})
	token := k.sign(t, "", encode(t, p.claimsOf(clock.now(), map[string]any{"aud": "other"})))
	wantRefused(t, c, token, "audience")
	p.become(func() { p.answer = down })
	clock.advance(stale)
	wantCode(t, c, token, host.ErrUnavailable)
	text := log.String()
	for _, want := range []string{"a token was refused", "issuer corp", "audience", "a token cannot be checked", "503"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log has no %q:\n%s", want, text)
		}
	}
	for part := range strings.SplitSeq(token, ".") {
		if strings.Contains(text, part) {
			t.Errorf("the log has a part of the token:\n%s", text)
		}
	}
}

// offline answers with documents and no network.
type offline map[string][]byte

func (o offline) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, Status: "200 OK", Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(o[r.URL.String()])), Request: r,
	}, nil
}

func offlineChain(tb testing.TB, k signingKey) (*Chain, string) {
	tb.Helper()
	const url = "https://login.example"
	clock := newClock()
	c := newChain(tb, Options{
		Now:     clock.now,
		Issuers: map[string]Issuer{"corp": {URL: url, Audience: "vespiary"}},
		Transport: offline{
			url + "/.well-known/openid-configuration": encode(tb, map[string]string{"issuer": url, "jwks_uri": url + "/keys"}),
			url + "/keys": encode(tb, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{k.public()}}),
		},
	})
	return c, k.sign(tb, "JWT", encode(tb, goodClaims(url, clock.now(), nil)))
}

// FuzzAuthenticate: no text makes the chain panic, and none but the signed token is good.
func FuzzAuthenticate(f *testing.F) {
	c, token := offlineChain(f, newEC(f, "1"))
	if _, err := c.Authenticate(f.Context(), token); err != nil {
		f.Fatal(err)
	}
	parts := strings.Split(token, ".")
	f.Add(token)
	f.Add(parts[0] + "." + parts[1] + ".")
	f.Add("eyJhbGciOiJub25lIn0." + parts[1] + ".AA")
	f.Add(parts[0] + "." + parts[1] + "." + parts[1])
	f.Add("vsp_x_y_z")
	f.Add("..")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := c.Authenticate(t.Context(), text)
		switch {
		case err == nil && strings.HasPrefix(text, KeyPrefix):
		case err == nil && got.User != "user1@corp":
			t.Errorf("%q is of %v", text, got)
		case err == nil && text != token:
			t.Errorf("%q is good", text)
		case err != nil && host.CodeOf(err) != host.ErrUnauthorized:
			t.Errorf("%q: %v", text, err)
		}
	})
}

// FuzzClaims: whatever an issuer or a peer signs, what is taken over is bounded and can
// be shown.
func FuzzClaims(f *testing.F) {
	f.Add(encode(f, goodClaims(here, newClock().now(), map[string]any{"groups": []string{"a"}, "x": 1.5, "scope": "a b"})))
	f.Add([]byte(`{"iss":"i","sub":"a","exp":1e400,"act":{"sub":"a","act":{"sub":"b"}},"jti":"j","txn":"t","scope":"use"}`))
	f.Add([]byte(`{"sub":"a","Sub":"b","x":[[]],"groups":{"a":1}}`))
	f.Add([]byte(`[`))
	i := &issuer{Issuer: Issuer{User: "sub", Name: "name", Groups: "groups", Claims: []string{"x", "scope"}}, name: "corp"}
	f.Fuzz(func(t *testing.T, payload []byte) {
		c, err := parseClaims(payload)
		if err != nil {
			return
		}
		if p, err := c.period(); err == nil {
			_ = p.check(newClock().now())
		}
		if caller, err := i.caller(c); err == nil {
			for name, values := range caller.Claims {
				checkValues(t, name, values)
			}
			checkValues(t, "groups", caller.Given)
			if !isName(strings.TrimSuffix(caller.User, "@corp")) {
				t.Errorf("user %q", caller.User)
			}
		}
		if d, err := c.delegated(); err == nil && (!isName(d.user) || !isName(d.id) || !isName(d.task) || len(d.actors) == 0 || len(d.actors) > maxActors) {
			t.Errorf("%+v", d)
		}
	})
}

func checkValues(t *testing.T, name string, values []string) {
	t.Helper()
	if len(values) > maxValues {
		t.Errorf("%s has %d values", name, len(values))
	}
	for _, v := range values {
		if !isName(strings.TrimSuffix(v, "@corp")) {
			t.Errorf("%s has %q", name, v)
		}
	}
}

func BenchmarkOIDC(b *testing.B) {
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA} {
		b.Run(string(alg), func(b *testing.B) {
			c, token := offlineChain(b, testKeys()[alg])
			for b.Loop() {
				if _, err := c.Authenticate(b.Context(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkIssue(b *testing.B) {
	clock := newClock()
	n := newNest(b, clock)
	for b.Loop() {
		n.issue(b, nil)
	}
}

// BenchmarkDelegation takes tokens with a store that syncs.
func BenchmarkDelegation(b *testing.B) {
	clock := newClock()
	n := newNest(b, clock)
	c := hosting(b, clock, n, openStore(b, b.TempDir()), here)
	for b.Loop() {
		if _, err := c.Authenticate(b.Context(), n.issue(b, nil)); err != nil {
			b.Fatal(err)
		}
	}
}
