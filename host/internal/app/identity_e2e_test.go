package app_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/app"
	"github.com/vespiary/vespiary/policy"
	"github.com/vespiary/vespiary/policy/audit"
)

// issuer is an OpenID provider as far as tokens are checked with it, over loopback.
type issuer struct {
	*httptest.Server
	key ed25519.PrivateKey
}

var b64 = base64.RawURLEncoding.EncodeToString

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{key: ed25519.NewKeyFromSeed([]byte("a seed that is 32 bytes long...."))}
	mux := http.NewServeMux()
	answer := func(path string, v func() any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(v())
		})
	}
	answer("/.well-known/openid-configuration", func() any {
		return map[string]any{
			"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL + "/authorize", "token_endpoint": i.URL + "/token",
			"id_token_signing_alg_values_supported": []string{"EdDSA"},
		}
	})
	answer("/keys", func() any {
		public, _ := i.key.Public().(ed25519.PublicKey)
		return map[string]any{"keys": []any{map[string]any{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "1", "x": b64(public)}}}
	})
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	return i
}

// token is for a user with other claims beside, which may be in place of the usual ones.
func (i *issuer) token(t *testing.T, user string, now time.Time, more map[string]any) string {
	t.Helper()
	claims := map[string]any{
		"iss": i.URL, "sub": user, "aud": "vespiary", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "name": user,
	}
	maps.Copy(claims, more)
	b, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	text := b64([]byte(`{"alg":"EdDSA","kid":"1","typ":"JWT"}`)) + "." + b64(b)
	return text + "." + b64(ed25519.Sign(i.key, []byte(text)))
}

// biologists looks at what the issuer says of a user.
const biologists = `@id("biologists") forbid (principal, action in [Action::"readAgent", Action::"invokeAgent"], resource == Agent::"librarian")
unless { principal.hasTag("department") && principal.getTag("department").contains("biology") };
@id("curators") forbid (principal, action == Action::"openTask", resource) unless { principal in Group::"curators@corp" };`

func issued(t *testing.T) (*live, *issuer) {
	t.Helper()
	i := newIssuer(t)
	dir := newFolder(t, librarian+"  curator: {plugin: builtin:loop, model: main}\n  scout: {plugin: external}\n"+
		"identity: {issuers: {corp: {issuer: \""+i.URL+"\", audience: vespiary, groups: roles, claims: [department]}}}\n")
	put(t, filepath.Join(dir, "policies/biologists.cedar"), biologists)
	return goLive(t, dir, app.Options{}), i
}

// names asks for a list and returns one field of its elements.
func (l *live) names(path, list, field string) []string {
	l.t.Helper()
	var body map[string]json.RawMessage
	l.post(http.MethodGet, path, nil, &body)
	var all []map[string]any
	if err := json.Unmarshal(body[list], &all); err != nil {
		l.t.Fatal(err)
	}
	out := []string{}
	for _, one := range all {
		name, _ := one[field].(string)
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// TestPeopleSeeTheirOwn: users of an issuer, whose claims and groups policies look at, see
// and touch what is theirs, and for them there is nothing else.
func TestPeopleSeeTheirOwn(t *testing.T) {
	l, i := issued(t)
	user1 := l.as(i.token(t, "user1", l.clock.now(), map[string]any{"department": "biology", "roles": []string{"curators"}}))
	user2 := l.as(i.token(t, "user2", l.clock.now(), map[string]any{"department": []string{"law", "history"}}))
	for who, want := range map[*live][]string{user1: {"curator", "librarian", "scout"}, user2: {"curator", "scout"}} {
		if diff := cmp.Diff(want, who.names("/v1/agents", "agents", "name")); diff != "" {
			t.Errorf("agents (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, who.names("/v1/models", "data", "id")); diff != "" {
			t.Errorf("models (-want +got):\n%s", diff)
		}
	}
	question := map[string]string{"content": "What is a vespiary?"}
	user2.want(http.StatusNotFound, http.MethodPost, "/v1/agents/librarian/invocations", question)
	user2.want(http.StatusForbidden, http.MethodPost, "/v1/tasks", map[string]any{"agent": "scout", "grants": []policy.Grant{}})
	hers, his := user1.invoke("librarian", "What is a vespiary?", ""), user2.invoke("curator", "Hello", "")
	task, _ := user1.openTask(nil)
	for who, want := range map[*live][2][]string{
		user1: {{hers.Session, task.Session}, {hers.Task, task.ID}}, user2: {{his.Session}, {his.Task}},
	} {
		slices.Sort(want[0])
		if diff := cmp.Diff(want[0], who.names("/v1/sessions", "sessions", "id")); diff != "" {
			t.Errorf("sessions (-want +got):\n%s", diff)
		}
		for _, id := range who.names("/v1/tasks", "tasks", "id") {
			if !slices.Contains(want[1], id) {
				t.Errorf("they see the task %s, which is not theirs", id)
			}
		}
	}
	for path, other := range map[string]*live{
		"/v1/sessions/" + hers.Session: user2, "/v1/sessions/" + his.Session: user1, "/v1/tasks/" + task.ID: user2,
		"/v1/sessions/" + hers.Session + "/journal": user2, "/v1/sessions/" + task.Session: user2,
	} {
		other.want(http.StatusNotFound, http.MethodGet, path, nil)
	}
	user2.want(http.StatusNotFound, http.MethodPost, "/v1/agents/curator/invocations", map[string]string{"content": "x", "session": hers.Session})
	user2.want(http.StatusNotFound, http.MethodDelete, "/v1/tasks/"+task.ID, nil)
	user1.want(http.StatusOK, http.MethodGet, "/v1/tasks/"+task.ID, nil)
	for _, r := range l.records(audit.Query{User: "user2@corp", Action: "invokeAgent", Kind: policy.RecordDecision}) {
		if r.Key != "" || r.Remote == "" {
			t.Errorf("%+v", r)
		}
	}
}

// TestTokensOfIssuersAreChecked by the assembled host, with the clock that it has.
func TestTokensOfIssuersAreChecked(t *testing.T) {
	l, i := issued(t)
	now := l.clock.now()
	forged := newIssuer(t)
	forged.key = ed25519.NewKeyFromSeed([]byte("another seed that is 32 long...."))
	for name, token := range map[string]string{
		"another audience": i.token(t, "user1", now, map[string]any{"aud": "other"}),
		"another issuer":   i.token(t, "user1", now, map[string]any{"iss": forged.URL}),
		"another key":      forged.token(t, "user1", now, map[string]any{"iss": i.URL}),
		"expired":          i.token(t, "user1", now.Add(-2*time.Hour), nil),
	} {
		if status := l.as(token).status(http.MethodGet, "/v1/agents", nil); status != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, status)
		}
	}
	good := l.as(i.token(t, "user1", now, nil))
	good.want(http.StatusOK, http.MethodGet, "/v1/agents", nil)
	l.clock.advance(2 * time.Hour)
	good.want(http.StatusUnauthorized, http.MethodGet, "/v1/agents", nil)
}

// TestKeysAreLimited: by scopes, by time, and until they are revoked.
func TestKeysAreLimited(t *testing.T) {
	l := goLive(t, newFolder(t, librarian), app.Options{})
	question := map[string]string{"content": "What is a vespiary?"}
	const invoke = "/v1/agents/librarian/invocations"
	_, token := l.keyOf("user1", map[string]any{"scopes": []string{"read"}})
	reads := l.as(token)
	reads.want(http.StatusOK, http.MethodGet, "/v1/sessions", nil)
	reads.want(http.StatusForbidden, http.MethodPost, invoke, question)

	_, token = l.keyOf("user1", map[string]any{"scopes": []string{"invokeAgent", "readSession"}})
	uses := l.as(token)
	var turn host.Turn
	uses.post(http.MethodPost, invoke, question, &turn)
	if turn.Status != host.TurnDone {
		t.Errorf("%+v", turn)
	}
	for _, r := range []struct {
		method, path string
		body         any
	}{
		{http.MethodGet, "/v1/agents", nil},
		{http.MethodPost, "/v1/sessions/" + turn.Session + "/erase", nil},
		{http.MethodGet, "/v1/keys", nil},
		{http.MethodPost, invoke, map[string]string{"content": "x", "session": turn.Session}},
	} {
		uses.want(http.StatusForbidden, r.method, r.path, r.body)
	}
	if got := reads.names("/v1/sessions", "sessions", "id"); !slices.Equal(got, []string{turn.Session}) {
		t.Errorf("a key for reading sees %v", got)
	}
	_, token = l.keyOf("user2", nil)
	l.as(token).want(http.StatusForbidden, http.MethodPost, "/v1/keys", map[string]string{"name": "more"}) // he is no operator

	id, token := l.keyOf("user1", map[string]any{"expires_in": 3600})
	brief := l.as(token)
	brief.want(http.StatusOK, http.MethodGet, "/v1/sessions/"+turn.Session, nil)
	l.clock.advance(time.Hour)
	brief.want(http.StatusUnauthorized, http.MethodGet, "/v1/sessions/"+turn.Session, nil)
	l.clock.advance(-time.Hour)
	brief.want(http.StatusOK, http.MethodGet, "/v1/sessions/"+turn.Session, nil)
	l.want(http.StatusOK, http.MethodDelete, "/v1/keys/"+id, nil)
	brief.want(http.StatusUnauthorized, http.MethodGet, "/v1/sessions/"+turn.Session, nil)

	for _, r := range l.records(audit.Query{User: "user1", Kind: policy.RecordDecision}) {
		if strings.Contains(r.Call, ".") && r.Key == "" { // what she asked for herself
			t.Errorf("a request is on record without its key: %+v", r)
		}
	}
}
