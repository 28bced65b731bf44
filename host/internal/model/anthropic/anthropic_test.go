package anthropic

import (
	"encoding/json"
	"errors"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/model/wire"
)

var update = flag.Bool("update", false, "write the golden files anew")

// conversation has every shape that a message can have.
func conversation() wire.Request {
	warm := 0.5
	return wire.Request{
		Messages: []abi.Message{
			{Role: abi.RoleSystem, Content: []abi.Content{abi.Text("Be brief.")}},
			{Role: abi.RoleUser, Content: []abi.Content{
				abi.Text("What is <this>?"), abi.Text(" "),
				{Type: "image", MimeType: "image/png", Data: []byte{1, 2, 3}},
				{Type: "image", URI: "https://example.com/a.png"},
			}},
			{Role: abi.RoleAssistant, Content: []abi.Content{abi.Text("Let me look.")}, ToolCalls: []abi.ToolCall{
				{ID: "1", Name: "github.search", Arguments: json.RawMessage(`{"q":"x"}`)},
				{ID: "2", Name: "clock"},
				{ID: "3", Name: "quiet"},
			}},
			{Role: abi.RoleTool, ToolCallID: "1", Content: []abi.Content{
				abi.Text("found"), {Type: "image", MimeType: "image/png", Data: []byte{5}},
			}},
			{Role: abi.RoleTool, ToolCallID: "2", IsError: true, Content: []abi.Content{abi.Text("denied: no clock")}},
			{Role: abi.RoleTool, ToolCallID: "3"},
			{Role: abi.RoleUser, Content: []abi.Content{abi.Text("And?")}},
			{Role: abi.RoleAssistant},
			{Role: abi.RoleAssistant, Content: []abi.Content{abi.Text("A picture.")}},
			{Role: abi.RoleSystem, Content: []abi.Content{abi.Text("Be kind.")}},
			{Role: abi.RoleUser, Content: []abi.Content{abi.Text("Thanks.")}},
		},
		Tools: []abi.Tool{
			{Name: "github.search", Description: "Search.", InputSchema: json.RawMessage(`{"type":"object","properties":{"q":{"type":"string"}}}`)},
			{Name: "clock"},
		},
		ToolChoice: "github.search", MaxTokens: 100, Temperature: &warm,
	}
}

func serve(t *testing.T, cache bool, h http.HandlerFunc) *Provider {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	cfg := wire.Config{Provider: "anthropic", Model: "m", BaseURL: s.URL, Attempts: 1, Price: wire.Price{Input: 4, CacheWrite: 5, CacheRead: 1}}
	p, err := New(cfg, 0, cache)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRequestGolden(t *testing.T) {
	for file, c := range map[string]struct {
		request wire.Request
		cache   bool
		delta   func(string) error
	}{
		"testdata/request.json":       {conversation(), false, func(string) error { return nil }},
		"testdata/request-cache.json": {wire.Request{Messages: conversation().Messages}, true, nil},
	} {
		var got []byte
		p := serve(t, c.cache, func(w http.ResponseWriter, r *http.Request) {
			got, _ = io.ReadAll(r.Body)
			_, _ = io.WriteString(w, `{"type":"message","content":[],"stop_reason":"end_turn",
				"usage":{"input_tokens":2,"cache_creation_input_tokens":3,"cache_read_input_tokens":4,"output_tokens":0}}`)
		})
		r, err := p.Chat(t.Context(), c.request, c.delta)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(abi.Usage{InputTokens: 9, CacheReadTokens: 4, CostMicros: 2*4 + 3*5 + 4}, r.Usage); diff != "" {
			t.Errorf("usage (-want +got):\n%s", diff)
		}
		golden(t, file, got)
	}
}

func golden(t *testing.T, file string, raw []byte) {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	got, _ := json.MarshalIndent(v, "", "  ")
	if *update {
		if err := os.WriteFile(file, append(got, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func TestChoice(t *testing.T) {
	names := wire.NamesOf(conversation())
	for choice, want := range map[string]string{
		"": "null", "auto": "null", "none": `{"type":"none"}`, "required": `{"type":"any"}`,
		"github.search": `{"name":"github_search","type":"tool"}`,
	} {
		if got, _ := json.Marshal(encodeChoice(choice, names)); string(got) != want {
			t.Errorf("%q: %s", choice, got)
		}
	}
}

func ev(data string) string {
	var t struct{ Type string }
	_ = json.Unmarshal([]byte(data), &t)
	return "event: " + t.Type + "\ndata: " + data + "\n\n"
}

var (
	start = ev(`{"type":"message_start","message":{"model":"m1","usage":{"input_tokens":7,"cache_read_input_tokens":3,"output_tokens":1}}}`)
	hello = ev(`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`) +
		ev(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hel"}}`) + ev(`{"type":"ping"}`) +
		ev(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"lo"}}`) +
		ev(`{"type":"content_block_stop","index":0}`)
	finish = stopFor("end_turn") + ev(`{"type":"message_stop"}`)
)

func stopFor(reason string) string {
	return ev(`{"type":"message_delta","delta":{"stop_reason":"` + reason + `"},"usage":{"output_tokens":5}}`)
}

func tool(index, id, name string, pieces ...string) string {
	out := ev(`{"type":"content_block_start","index":` + index + `,"content_block":{"type":"tool_use","id":"` + id + `","name":"` + name + `","input":{}}}`)
	for _, p := range pieces {
		text, _ := json.Marshal(p)
		out += ev(`{"type":"content_block_delta","index":` + index + `,"delta":{"type":"input_json_delta","partial_json":` + string(text) + `}}`)
	}
	return out
}

func TestStream(t *testing.T) {
	tokens := &wire.Tokens{Input: 10, Output: 5, CacheRead: 3}
	text := wire.Reply{Model: "m1", Text: "Hello", Finish: abi.FinishStop, Tokens: tokens}
	end := ev(`{"type":"message_stop"}`)
	with := func(change func(*wire.Reply)) wire.Reply { r := text; change(&r); return r }
	for name, c := range map[string]struct {
		stream string
		want   wire.Reply
	}{
		"text":        {start + hello + finish, text},
		"crlf":        {strings.ReplaceAll(start+hello+finish, "\n", "\r\n"), text},
		"comments":    {": x\n\n" + start + ":\n" + hello + finish, text},
		"after end":   {start + hello + finish + "data: {broken", text},
		"new events":  {start + ev(`{"type":"news","x":1}`) + hello + finish, text},
		"length":      {start + hello + stopFor("max_tokens") + end, with(func(r *wire.Reply) { r.Finish = abi.FinishLength })},
		"window":      {start + hello + stopFor("model_context_window_exceeded") + end, with(func(r *wire.Reply) { r.Finish = abi.FinishLength })},
		"refusal":     {start + stopFor("refusal") + end, with(func(r *wire.Reply) { r.Finish, r.Text = abi.FinishRefusal, "" })},
		"stop words":  {start + hello + stopFor("stop_sequence") + end, text},
		"no usage":    {ev(`{"type":"message_start","message":{"model":"m1"}}`) + hello + ev(`{"type":"message_delta","delta":{"stop_reason":"end_turn"}}`) + end, with(func(r *wire.Reply) { r.Tokens = nil })},
		"late counts": {start + hello + ev(`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":8,"output_tokens":6}}`) + end, with(func(r *wire.Reply) { r.Tokens = &wire.Tokens{Input: 11, Output: 6, CacheRead: 3} })},
		"thinking": {
			start + ev(`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}`) +
				ev(`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}`) +
				ev(`{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"x"}}`) + hello + finish, text,
		},
		"tools": {
			start + hello + tool("1", "a", "f", `{"x"`, `:1}`) + tool("2", "b", "g") + stopFor("tool_use") + end,
			with(func(r *wire.Reply) {
				r.Finish = abi.FinishTools
				r.Calls = []wire.Call{{ID: "a", Name: "f", Args: `{"x":1}`}, {ID: "b", Name: "g", Args: `{}`}}
			}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			var delivered strings.Builder
			got, err := readStream(iotest.HalfReader(strings.NewReader(c.stream)), func(s string) error {
				delivered.WriteString(s)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" || delivered.String() != c.want.Text {
				t.Errorf("delivered %q (-want +got):\n%s", delivered.String(), diff)
			}
		})
	}
}

func TestStreamFaults(t *testing.T) {
	for name, c := range map[string]struct{ stream, words string }{
		"empty":         {"", "before the answer was complete"},
		"cut":           {start + hello + stopFor("end_turn"), "before the answer was complete"},
		"cut in a call": {start + tool("0", "a", "f", `{"x`), "before the answer was complete"},
		"overloaded":    {start + ev(`{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`), "overloaded_error: Overloaded"},
		"error":         {start + ev(`{"type":"error"}`), "says nothing"},
		"malformed":     {start + "data: hello\n\n" + finish, "not the JSON"},
		"wrong call":    {start + ev(`{"type":"content_block_delta","index":4,"delta":{"type":"input_json_delta","partial_json":"{}"}}`) + finish, "did not begin"},
		"too many":      {start + strings.Repeat(tool("0", "a", "f"), 1025) + finish, "1024 blocks"},
	} {
		_, err := readStream(strings.NewReader(c.stream), func(string) error { return nil })
		if err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOverloadedIsRetried checks that an overload which a stream reports before
// any text is tried again, and one after the first text is not.
func TestOverloadedIsRetried(t *testing.T) {
	overload := ev(`{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`)
	for name, c := range map[string]struct {
		first string
		calls int
	}{"before text": {start + overload, 2}, "after text": {start + hello + overload, 1}} {
		calls := 0
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			if calls++; calls == 1 {
				_, _ = io.WriteString(w, c.first)
				return
			}
			_, _ = io.WriteString(w, start+hello+finish)
		}))
		p, err := New(wire.Config{Provider: "anthropic", Model: "m", BaseURL: s.URL, Rand: func() float64 { return 0 }}, 0, false)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		_, err = p.Chat(t.Context(), wire.Request{}, func(s string) error { got += s; return nil })
		s.Close()
		if calls != c.calls || got != "Hello" || (err == nil) != (c.calls == 2) {
			t.Errorf("%s: %d calls, %q, %v", name, calls, got, err)
		}
	}
}

func TestWholeAnswers(t *testing.T) {
	for body, words := range map[string]string{
		`{}`: "not a message", `null`: "not a message", `{"type":"completion"}`: "not a message",
		`{"type":"error","error":{"type":"api_error","message":"hm"}}`: "hm", `[`: "not the JSON",
	} {
		p := serve(t, false, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
		_, err := p.Chat(t.Context(), wire.Request{}, nil)
		if !errors.Is(err, &abi.Error{Code: abi.CodeUnavailable}) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// FuzzStream checks that no bytes break the reader, and that what was delivered
// is what the reply holds.
func FuzzStream(f *testing.F) {
	f.Add(start + hello + finish)
	f.Add(start + tool("0", "a", "f", `{"x"`, `:1}`) + finish)
	f.Add("data: {\"type\":\"error\"}\n\n")
	f.Fuzz(func(t *testing.T, stream string) {
		var got strings.Builder
		reply, err := readStream(strings.NewReader(stream), func(s string) error { got.WriteString(s); return nil })
		if err == nil && got.String() != reply.Text {
			t.Errorf("delivered %q, reply %+v", got.String(), reply)
		}
	})
}
