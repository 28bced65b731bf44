package identity

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// vector is the key of RFC 8037, appendix A, whose thumbprint is in its section A.3.
func vector(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	seed, err := hex.DecodeString("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
	if err != nil {
		t.Fatal(err)
	}
	return ed25519.NewKeyFromSeed(seed)
}

func TestPublishedKeys(t *testing.T) {
	s, err := NewSigner(SignerOptions{URL: here, Keys: []ed25519.PrivateKey{vector(t), newKey(t)}, Now: newClock().now})
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Keys []map[string]string }
	if err := json.Unmarshal(s.JWKS(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA",
		"x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
	}
	if diff := cmp.Diff(want, got.Keys[0]); diff != "" || len(got.Keys) != 2 {
		t.Errorf("%d keys, the first: %s", len(got.Keys), diff)
	}
	if strings.Contains(string(s.JWKS()), `"d"`) {
		t.Error("a secret key is published")
	}
}

func TestIssue(t *testing.T) {
	clock := newClock()
	s, err := NewSigner(SignerOptions{
		URL: "https://there.example", Keys: []ed25519.PrivateKey{vector(t)}, Now: clock.now, Rand: strings.NewReader(strings.Repeat("r", 16)),
	})
	if err != nil {
		t.Fatal(err)
	}
	token, expires, err := s.Issue(Claims{
		Audience: here, User: "user1", Actors: []string{"planner", "support", "front"}, Task: "01J0TASK",
		Scopes: []string{"use", "readSession"}, Purpose: "book a room",
	})
	if err != nil {
		t.Fatal(err)
	}
	if !expires.Equal(clock.now().Add(lifetime)) {
		t.Errorf("it expires at %s", expires)
	}
	parts := strings.Split(token, ".")
	want := []string{
		`{"alg":"EdDSA","kid":"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k","typ":"txntoken+jwt"}`,
		`{"iss":"https://there.example","sub":"user1","aud":"https://here.example","iat":1893499200,"nbf":1893499200,"exp":1893499500,` +
			`"jti":"cnJycnJycnJycnJycnJycg","txn":"01J0TASK","scope":"use readSession","req_wl":"planner",` +
			`"act":{"sub":"planner","act":{"sub":"support","act":{"sub":"front"}}},"tctx":{"purpose":"book a room"}}`,
	}
	for i, w := range want {
		b, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(w, string(b)); diff != "" {
			t.Error(diff)
		}
	}
	t.Logf("%d bytes with a chain of 3", len(token))
}

func TestIssueRefuses(t *testing.T) {
	s, err := NewSigner(SignerOptions{URL: here, Keys: []ed25519.PrivateKey{vector(t)}, Now: newClock().now})
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Claims){
		"no audience":   func(c *Claims) { c.Audience = "" },
		"no user":       func(c *Claims) { c.User = "" },
		"hidden user":   func(c *Claims) { c.User = "a\u200b" },
		"no task":       func(c *Claims) { c.Task = "" },
		"nobody acts":   func(c *Claims) { c.Actors = nil },
		"empty actor":   func(c *Claims) { c.Actors = []string{"a", ""} },
		"many act":      func(c *Claims) { c.Actors = slices.Repeat([]string{"a"}, maxActors+1) },
		"no scope":      func(c *Claims) { c.Scopes = nil },
		"two in one":    func(c *Claims) { c.Scopes = []string{"use manage"} },
		"many scopes":   func(c *Claims) { c.Scopes = slices.Repeat([]string{"a"}, maxScopes+1) },
		"long purpose":  func(c *Claims) { c.Purpose = strings.Repeat("a", maxToken) },
		"no randomness": func(*Claims) { s.Rand = iotest.ErrReader(errors.New("no entropy")) },
	} {
		c := Claims{Audience: here, User: "user1", Actors: []string{"planner"}, Task: "t", Scopes: []string{"use"}}
		before := s.Rand
		change(&c)
		if token, _, err := s.Issue(c); err == nil || token != "" {
			t.Errorf("%s: %s", name, token)
		}
		s.Rand = before
	}
}

func TestSignerRefuses(t *testing.T) {
	good := SignerOptions{URL: here, Keys: []ed25519.PrivateKey{vector(t)}, Now: newClock().now}
	for name, change := range map[string]func(*SignerOptions){
		"no URL":    func(o *SignerOptions) { o.URL = "" },
		"no keys":   func(o *SignerOptions) { o.Keys = nil },
		"no clock":  func(o *SignerOptions) { o.Now = nil },
		"short key": func(o *SignerOptions) { o.Keys = []ed25519.PrivateKey{make([]byte, 32)} },
	} {
		o := good
		change(&o)
		if _, err := NewSigner(o); err == nil {
			t.Error(name)
		}
	}
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "delegation.pem")
	first, err := LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	again, err := LoadOrCreate(path)
	if err != nil || len(again) != 1 || !again[0].Equal(first[0]) {
		t.Errorf("another key: %v", err)
	}
	// A new key in front, as the documentation says.
	newer := filepath.Join(t.TempDir(), "new.pem")
	second, err := LoadOrCreate(newer)
	if err != nil {
		t.Fatal(err)
	}
	both := slices.Concat(read(t, newer), read(t, path))
	if err := os.WriteFile(path, both, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := LoadOrCreate(path)
	if err != nil || len(got) != 2 || !got[0].Equal(second[0]) || !got[1].Equal(first[0]) {
		t.Errorf("%d keys, %v", len(got), err)
	}
	for name, text := range map[string]string{
		"empty":   "",
		"garbage": "garbage",
		"cut":     string(both[:len(both)-40]),
		"damaged": "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n",
		"EC":      ecKey(t),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadOrCreate(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := LoadOrCreate(filepath.Join(path, "below", "a", "file")); err == nil {
		t.Error("a key was made where there is no folder")
	}
	if left, err := filepath.Glob(path + ".*"); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ecKey is a key of a kind that does not sign tokens here.
func ecKey(t *testing.T) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(newEC(t, "").key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}))
}
