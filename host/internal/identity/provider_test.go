package identity

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host"
)

// TestIndependentProvider takes tokens of a provider that others wrote.
func TestIndependentProvider(t *testing.T) {
	issuer := startProvider(t)
	var ahead atomic.Int64 // of the provider's clock
	c := newChain(t, Options{
		Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
		Issuers: map[string]Issuer{
			"night": {URL: issuer, Audience: here, Claims: []string{"scope", "department", "level", "client_id"}},
		},
	})
	first := requestToken(t, issuer, here)
	got, err := c.Authenticate(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	want := host.Caller{
		Tenant: host.DefaultTenant, User: "nightly@night", Via: host.ViaToken, Until: expiryOf(t, first),
		Claims: map[string][]string{"scope": {"rooms:read"}, "department": {"night"}, "level": {"3"}, "client_id": {"nightly"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	wantRefused(t, c, requestToken(t, issuer, "https://elsewhere.example"), "audience")

	post(t, issuer+"/rotate", nil)
	ahead.Add(int64(pause))
	wantCode(t, c, requestToken(t, issuer, here), "")
	wantCode(t, c, first, "")
	post(t, issuer+"/withdraw", nil)
	ahead.Add(int64(fresh))
	wantRefused(t, c, first, "no key of the issuer")
	wantCode(t, c, requestToken(t, issuer, here), "")
}

// expiryOf is when a token says that it expires.
func expiryOf(t *testing.T, token string) time.Time {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("no JWT: %s", token)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Expiry int64 `json:"exp"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil || claims.Expiry == 0 {
		t.Fatalf("%s: %v", payload, err)
	}
	return time.Unix(claims.Expiry, 0)
}

// startProvider returns the provider's URL.
func startProvider(t *testing.T) string {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		missing(t, "node is not installed")
	}
	if _, err := os.Stat("testdata/provider/node_modules"); err != nil {
		missing(t, "the provider is not installed; run npm ci in testdata/provider")
	}
	cmd := exec.CommandContext(t.Context(), node, "provider.mjs")
	cmd.Dir = "testdata/provider"
	in, err := cmd.StdinPipe() // it ends when this does
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func requestToken(t *testing.T, issuer, resource string) string {
	t.Helper()
	body := post(t, issuer+"/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {"nightly"}, "client_secret": {"nightly-secret"},
		"resource": {resource}, "scope": {"rooms:read"},
	})
	if body.AccessToken == "" {
		t.Fatalf("no token: %+v", body)
	}
	return body.AccessToken
}

type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

func post(t *testing.T, url string, form url.Values) (body tokenAnswer) {
	t.Helper()
	resp, err := http.PostForm(url, form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	if form != nil {
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
			t.Fatal(err)
		}
	}
	return body
}

// missing skips the test, unless all tests are required.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}
