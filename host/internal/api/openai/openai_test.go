package openai_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/api"
	"github.com/vespiary/vespiary/host/internal/api/apitest"
	"github.com/vespiary/vespiary/host/internal/api/openai"
)

func routes(s *apitest.Sessions) []api.Route {
	return openai.Routes(openai.Options{Sessions: s, Agents: apitest.Agents{}, Now: apitest.Now})
}

func start(tb testing.TB) *apitest.Server {
	tb.Helper()
	return apitest.Start(tb, time.Now, routes)
}

func TestGolden(t *testing.T) {
	apitest.Golden(t, start, apitest.LoadSpec(t, "../rest/openapi.json"))
}

// FuzzChat sends any body: the answer is never a fault of the host's, and is what
// the document says.
func FuzzChat(f *testing.F) {
	for _, seed := range []string{
		`{"model":"echo","messages":[{"role":"user","content":"hi"}]}`,
		`{"model":"echo","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hi"}]}`,
		`{"model":"echo","messages":[{"role":"assistant","tool_calls":[{"function":{"arguments":"{"}}]},{"role":"user","content":"hi"}]}`,
		`{"model":"echo","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:,;base64"}}]}]}`,
		`{"model":"echo","messages":[{"role":"user","content":[{"type":"file","file":{"file_data":"data:a/b;base64,aGk="}}]}]}`,
		`{"model":"echo","messages":[null]}`, `{"model":"echo","messages":[{"role":"user","content":[null]}]}`,
		`{"model":"echo","n":null,"messages":[{"role":"user","content":" "}]}`,
	} {
		f.Add([]byte(seed))
	}
	spec := apitest.LoadSpec(f, "../rest/openapi.json")
	f.Fuzz(func(t *testing.T, body []byte) {
		apitest.Post(t, spec, routes(apitest.NewSessions()), "/v1/chat/completions", body)
	})
}

// TestHistory looks at what the agent gets of a conversation.
func TestHistory(t *testing.T) {
	s := apitest.NewSessions()
	apitest.Post(t, apitest.LoadSpec(t, "../rest/openapi.json"), routes(s), "/v1/chat/completions", []byte(`{"model":"history","messages":[
		{"role":"developer","content":"be kind"},
		{"role":"assistant","content":null,"refusal":"no","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},
		{"role":"tool","tool_call_id":"c1","content":"r"},
		{"role":"user","content":[
			{"type":"text","text":"look"},
			{"type":"image_url","image_url":{"url":"data:image/png;base64,aGk="}},
			{"type":"image_url","image_url":{"url":"https://example.com/a.png"}},
			{"type":"input_audio","input_audio":{"data":"aGk=","format":"wav"}},
			{"type":"file","file":{"filename":"a.pdf","file_data":"data:application/pdf;base64,aGk="}}]}]}`))
	hi := []byte("hi")
	want := abi.Event{
		Type: abi.EventMessage,
		History: []abi.Message{
			{Role: abi.RoleSystem, Content: []abi.Content{abi.Text("be kind")}},
			{
				Role: abi.RoleAssistant, Content: []abi.Content{abi.Text("no")},
				ToolCalls: []abi.ToolCall{{ID: "c1", Name: "f", Arguments: json.RawMessage(`{"a":1}`)}},
			},
			{Role: abi.RoleTool, Content: []abi.Content{abi.Text("r")}, ToolCallID: "c1"},
		},
		Content: []abi.Content{
			abi.Text("look"),
			{Type: "image", Data: hi, MimeType: "image/png"},
			{Type: "resource_link", URI: "https://example.com/a.png"},
			{Type: "audio", Data: hi, MimeType: "audio/wav"},
			{Type: "resource", Resource: &abi.Resource{URI: "attachment:a.pdf", MimeType: "application/pdf", Blob: hi}},
		},
	}
	if diff := cmp.Diff(want, s.Accepted()[0].Event); diff != "" {
		t.Error(diff)
	}
}

// ask sends a chat that is not done soon and returns the answer.
func ask(t *testing.T, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+apitest.Key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // nothing was written
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(got)
}

// TestClientLeavesEarly is gone before its event is accepted, which it cannot know.
func TestClientLeavesEarly(t *testing.T) {
	s := apitest.NewSessions()
	apitest.PostAndLeave(t, routes(s), "/v1/chat/completions", []byte(`{"model":"slow","messages":[{"role":"user","content":"hi"}]}`))
	if n := len(s.Accepted()); n != 1 {
		t.Errorf("%d events accepted, want 1", n)
	}
}

// TestUnfinished has a turn that outlasts the client's patience.
func TestUnfinished(t *testing.T) {
	hasty := func(s *apitest.Sessions) []api.Route {
		return openai.Routes(openai.Options{Sessions: s, Agents: apitest.Agents{}, Now: apitest.Now, Wait: time.Millisecond})
	}
	s := apitest.Start(t, time.Now, hasty)
	status, got := ask(t, s.URL, `{"model":"slow","messages":[{"role":"user","content":"hi"}]}`)
	if status != http.StatusFailedDependency || !strings.Contains(got, "GET /v1/sessions/S1/turns/1") {
		t.Errorf("%d %s", status, got)
	}
}

// TestSuspended: that a call is asked about is nothing that a chat could say. Its stream
// stays open, and goes on with the answer.
func TestSuspended(t *testing.T) {
	s := start(t)
	go func() {
		for {
			if list, _ := s.Sessions.Approvals(t.Context(), apitest.Caller, host.ApprovalFilter{}); len(list) == 1 {
				_, _ = s.Sessions.Answer(t.Context(), apitest.Caller, list[0].ID, host.Answer{Grant: true})
				return
			}
			runtime.Gosched()
		}
	}()
	_, got := ask(t, s.URL, `{"model":"approve","stream":true,"messages":[{"role":"user","content":"hi"}]}`)
	var said []string
	for part := range strings.SplitSeq(got, "\n\n") {
		if _, data, ok := strings.Cut(part, "data: "); ok {
			said = append(said, data)
		}
	}
	if len(said) != 4 || !strings.Contains(said[1], `"content":"paid"`) || said[3] != "[DONE]" {
		t.Errorf("chunks: %s", got)
	}
}

// TestServerStops ends a stream with an error, which a client does not take for the
// end of the answer.
func TestServerStops(t *testing.T) {
	s := apitest.NewSessions()
	srv, err := api.New(api.Options{Routes: routes(s), Auth: apitest.Auth{}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, ln) }()
	go func() {
		for len(s.Accepted()) == 0 {
			runtime.Gosched()
		}
		stop()
	}()
	_, got := ask(t, "http://"+ln.Addr().String(), `{"model":"slow","stream":true,"messages":[{"role":"user","content":"hi"}]}`)
	if !strings.Contains(got, "turn_unfinished") || strings.Contains(got, "[DONE]") {
		t.Error(got)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
