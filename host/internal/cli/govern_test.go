package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

// clock is an App that knows the time alone.
type clock struct{ App }

func (clock) Now() time.Time { return time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC) }

// TestAuditTail: records come as they are made, and after the host was gone from where
// they were.
func TestAuditTail(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Query().Encode())
		if len(asked) == 1 {
			tell(w, policy.Record{ID: "T1.1", Kind: policy.RecordTask, Chain: "T1", Code: "active"},
				policy.Record{ID: "T1.2", Kind: policy.RecordDecision, Decision: &policy.Decision{}, Action: "a"})
			return
		}
		tell(w, policy.Record{ID: "T1.3", Kind: policy.RecordDecision, Decision: &policy.Decision{Allowed: true}, Action: "b"})
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	file := runningHost(t, server.URL)
	out := &until{text: "T1.3", stop: stop}
	code := Run(ctx, []string{"audit", "tail", "-c", file, "--json", "--allowed", "--user", "world"}, Stdio{Out: out, Err: out}, clock{})
	if code != exitOK || strings.Count(out.String(), "\n") != 3 {
		t.Errorf("code %d:\n%s", code, out)
	}
	if diff := cmp.Diff([]string{"allowed=true&user=world", "after=T1.2&allowed=true&user=world"}, asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

// TestAuditTailEnds: what the host refuses, also in the middle, is the command's failure.
func TestAuditTailEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		serve http.HandlerFunc
		want  string
	}{
		"refused": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"code":"forbidden","detail":"you may not read the audit"}`)
		}, "vespiary: follow the audit: you may not read the audit\n"},
		"in the stream": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "event: problem\ndata: {\"code\":\"internal\",\"detail\":\"it failed\"}\n\n")
		}, "vespiary: follow the audit: it failed\n"},
		"nonsense": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "data: x\n\n")
		}, "vespiary: follow the audit: read the host's stream: an event is not JSON\n"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(tc.serve)
			t.Cleanup(server.Close)
			var out bytes.Buffer
			code := Run(t.Context(), []string{"audit", "tail", "-c", runningHost(t, server.URL)}, Stdio{Out: &out, Err: &out}, clock{})
			if code != exitFailed || out.String() != tc.want {
				t.Errorf("code %d: %q, want %q", code, out.String(), tc.want)
			}
		})
	}
}

func tell(w io.Writer, list ...policy.Record) {
	for _, r := range list {
		b, err := json.Marshal(r)
		if err != nil {
			panic(err)
		}
		_, _ = fmt.Fprintf(w, "id: %s\nevent: record\ndata: %s\n\n", r.ID, b)
	}
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
}

// until calls stop once a text was written.
type until struct {
	bytes.Buffer
	text string
	stop func()
}

func (u *until) Write(p []byte) (int, error) {
	n, err := u.Buffer.Write(p)
	if strings.Contains(u.String(), u.text) {
		u.stop()
	}
	return n, err
}

// TestRequests: what commands ask of a running host.
func TestRequests(t *testing.T) {
	for _, tc := range []struct{ command, want string }{
		{"audit verify", "GET /v1/audit/verify? "},
		{"audit verify --checkpoint FILE", `POST /v1/audit/verify? {"checkpoint":"version: 1\n"}`},
		{"audit search --session S --task T --agent A --action a --kind outcome --denied --since 1d --until 2030-01-02T00:00:00Z", "GET /v1/audit?action=a&agent=A&denied=true&kind=outcome&limit=20&session=S&since=2030-01-01T03%3A04%3A05Z&task=T&until=2030-01-02T00%3A00%3A00Z "},
		{"audit search --candidate --limit 3", "GET /v1/audit?differs=true&limit=3 "},
		{"audit export --format cloudtrail --since 1h", "GET /v1/audit/export?format=cloudtrail&since=2030-01-02T02%3A04%3A05Z "},
		{"policy suggest --agent a/b --since 7d", "GET /v1/agents/a%2Fb/suggestion?since=2029-12-26T03%3A04%3A05Z "},
		{"policy explain T1.1/2", "GET /v1/decisions/T1.1%2F2/explain? "},
		{"tasks open a --grant fileRead,fileList:Folder=a=b --grant use --expires 1h --tokens 7", `POST /v1/tasks? {"agent":"a","grants":[{"actions":["fileRead","fileList"],"resources":[{"type":"Folder","id":"a=b"}]},{"actions":["use"]}],"budget":{"tokens":7},"expires_in":3600}`},
		{"tasks open a", `POST /v1/tasks? {"agent":"a"}`},
		{"tasks list --agent a --state active --limit 5", "GET /v1/tasks?agent=a&limit=5&state=active "},
		{"tasks end T1 completed --result yes", `POST /v1/tasks/T1/end? {"content":[{"type":"text","text":"yes"}],"state":"completed"}`},
		{"tasks call T1 tool_list --token x --id c", `POST /v1/tasks/T1/calls? {"id":"c","name":"tool_list","request":{}}`},
		{"keys create k --user u --scope read,use --expires 90s", `POST /v1/keys? {"name":"k","user":"u","scopes":["read","use"],"expires_in":90}`},
		{"keys revoke k", "DELETE /v1/keys/k? "},
		{"invoke a hi --grant x --purpose p", `POST /v1/agents/a/invocations? {"content":"hi","task":{"purpose":"p","grants":[{"actions":["x"]}]}}`},
		{"invoke a hi --session S", `POST /v1/agents/a/invocations? {"content":"hi","session":"S"}`},
	} {
		t.Run(tc.command, func(t *testing.T) {
			var got, key string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				got = fmt.Sprintf("%s %s?%s %s", r.Method, r.URL.EscapedPath(), r.URL.RawQuery, body)
				key = r.Header.Get("Authorization")
				w.WriteHeader(http.StatusConflict)
				_, _ = io.WriteString(w, `{"code":"conflict","detail":"no"}`)
			}))
			t.Cleanup(server.Close)
			file := runningHost(t, server.URL)
			args := strings.Fields(strings.ReplaceAll(tc.command, "FILE", file))
			var out bytes.Buffer
			if code := Run(t.Context(), append(args, "-c", file), Stdio{Out: &out, Err: &out}, clock{}); code != exitFailed {
				t.Errorf("code %d:\n%s", code, out.String())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			want := "Bearer k"
			if strings.Contains(tc.command, "--token x") {
				want = "Bearer x"
			}
			if key != want {
				t.Errorf("key %q, want %q", key, want)
			}
		})
	}
}

func TestSpans(t *testing.T) {
	now := clock{}.Now()
	for text, want := range map[string]string{
		"7d":                   "2029-12-26T03:04:05Z",
		"1h30m":                "2030-01-02T01:34:05Z",
		"2w":                   "2029-12-19T03:04:05Z",
		"2030-01-01T00:00:00Z": "2030-01-01T00:00:00Z",
		"2030-01-31":           time.Date(2030, 1, 31, 0, 0, 0, 0, time.Local).UTC().Format(time.RFC3339),
		"2030-01-31 12:00:00":  time.Date(2030, 1, 31, 12, 0, 0, 0, time.Local).UTC().Format(time.RFC3339),
		"yesterday":            "",
		"-7d":                  "",
		"":                     "",
		"\": 7d":               "",
		"7d\nspan: 8d":         "",
	} {
		var m moment
		got := ""
		if m.Set(text) == nil {
			got = m.time(now).UTC().Format(time.RFC3339)
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	var s span
	for _, text := range []string{"", "0", "1ms", "-1h", "soon"} {
		if s.Set(text) == nil {
			t.Errorf("%q is a span of %v", text, time.Duration(s))
		}
	}
	if !s.after(now).IsZero() {
		t.Error("no span ends")
	}
	if err := s.Set("30d"); err != nil || s.seconds() != 30*24*3600 || !s.after(now).Equal(now.AddDate(0, 0, 30)) {
		t.Errorf("30d is %d s: %v", s.seconds(), err)
	}
}

// TestLetsInvoke: whether anybody may use an agent shows in the scopes of permits.
func TestLetsInvoke(t *testing.T) {
	for text, want := range map[string]bool{
		`permit (principal, action, resource);`: true,
		`permit(principal,action,resource);`:    true,
		`permit (principal in Group::"a, b", action in [Action::"readAgent", Action::"invokeAgent"], resource);`: true,
		`permit (principal is User in Group::"x", action == Action::"invokeAgent", resource == Agent::"a");`:     true,
		"permit (\n  principal == User::\"//\", // who\n  action in Action::\"use\",\n  resource\n);":            true,
		`permit (principal, action in Action::"administer", resource);`:                                          false,
		`permit (principal, action == Action::"fileRead", resource == Agent::"invokeAgent");`:                    false,
		`forbid (principal, action, resource);`:                                                                  false,
		`// permit (principal, action, resource);`:                                                               false,
		``: false,
	} {
		if got := letsInvoke([]host.PolicyFile{{Text: text}}); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

// TestGrants: what is shown of grants can be given again.
func TestGrants(t *testing.T) {
	var g grants
	for _, text := range []string{"observe", "a,b", "hello.greet:Tool=hello.greet", "fileRead:File=a:b=c"} {
		if err := g.Set(text); err != nil {
			t.Error(err)
		}
	}
	want := grants{
		{Actions: []string{"observe"}},
		{Actions: []string{"a", "b"}},
		{Actions: []string{"hello.greet"}, Resources: []policy.UID{{Type: "Tool", ID: "hello.greet"}}},
		{Actions: []string{"fileRead"}, Resources: []policy.UID{{Type: "File", ID: "a:b=c"}}},
	}
	if diff := cmp.Diff(want, g); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	var again grants
	for _, text := range grantTexts(g) {
		if err := again.Set(text); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff(g, again); diff != "" {
		t.Errorf("again (-want +got):\n%s", diff)
	}
	for _, text := range []string{"", ":File=a", "a,", "a:", "a:File", "a:=b", "a:File="} {
		if g.Set(text) == nil {
			t.Errorf("%q is a grant", text)
		}
	}
}

// FuzzLetsInvoke: whatever a file holds, looking at it ends.
func FuzzLetsInvoke(f *testing.F) {
	f.Add(`permit (principal, action in [Action::"use"], resource);`)
	f.Fuzz(func(_ *testing.T, text string) { letsInvoke([]host.PolicyFile{{Text: text}}) })
}
