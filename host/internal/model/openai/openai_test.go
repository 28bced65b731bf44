package openai

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
			{Role: abi.RoleSystem, Content: []abi.Content{abi.Text("Be brief."), abi.Text("Be kind.")}},
			{Role: abi.RoleUser, Content: []abi.Content{
				abi.Text("What is <this>?"),
				{Type: "image", MimeType: "image/png", Data: []byte{1, 2, 3}},
				{Type: "image", URI: "https://example.com/a.png"},
				{Type: "audio", MimeType: "audio/mpeg", Data: []byte{4}},
				{Type: "resource_link", Name: "a", URI: "file:///a"},
			}},
			{Role: abi.RoleAssistant, ToolCalls: []abi.ToolCall{
				{ID: "1", Name: "github.search", Arguments: json.RawMessage(`{"q":"x"}`)},
				{ID: "2", Name: "clock"},
			}},
			{Role: abi.RoleTool, ToolCallID: "1", Content: []abi.Content{
				abi.Text("found"), {Type: "image", MimeType: "image/png", Data: []byte{5}},
			}},
			{Role: abi.RoleTool, ToolCallID: "2", IsError: true, Content: []abi.Content{abi.Text("denied: no clock")}},
			{Role: abi.RoleAssistant, Content: []abi.Content{abi.Text("A picture.")}},
			{Role: abi.RoleUser, Content: []abi.Content{abi.Text("Thanks."), abi.Text("Bye.")}},
		},
		Tools: []abi.Tool{
			{Name: "github.search", Description: "Search.", InputSchema: json.RawMessage(`{"type":"object","properties":{"q":{"type":"string"}}}`)},
			{Name: "clock"},
		},
		ToolChoice: "github.search", MaxTokens: 100, Temperature: &warm,
	}
}

func TestRequestGolden(t *testing.T) {
	var got []byte
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, _ = io.ReadAll(r.Body)
		_, _ = io.WriteString(w, `{"choices":[{"message":{"content":"ok"}}]}`)
	}))
	defer s.Close()
	p, err := New(wire.Config{Provider: "openai", Model: "m", BaseURL: s.URL}, 50, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Chat(t.Context(), conversation(), func(string) error { return nil }); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/request.json", got)
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
		"": "null", "auto": "null", "none": `"none"`, "required": `"required"`,
		"github.search": `{"function":{"name":"github_search"},"type":"function"}`,
	} {
		if got, _ := json.Marshal(encodeChoice(choice, names)); string(got) != want {
			t.Errorf("%q: %s", choice, got)
		}
	}
}

func TestParam(t *testing.T) {
	for base, want := range map[string]string{
		DefaultBaseURL: "max_completion_tokens", "https://x.openai.azure.com/openai/v1": "max_completion_tokens",
		"http://localhost:11434/v1": "max_tokens", "https://notopenai.com/v1": "max_tokens", "::": "max_tokens",
	} {
		if got := paramFor(base); got != want {
			t.Errorf("%s: %s", base, got)
		}
	}
}

func TestUnknownRole(t *testing.T) {
	p, err := New(wire.Config{Provider: "openai", Model: "m", BaseURL: "http://127.0.0.1:1"}, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Chat(t.Context(), wire.Request{Messages: []abi.Message{{Role: "judge"}}}, nil)
	if !errors.Is(err, &abi.Error{Code: abi.CodeInvalid}) || !strings.Contains(err.Error(), "judge") {
		t.Error(err)
	}
}

const (
	hello = `data: {"model":"m1","choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"}}]}` + "\n\n" +
		`data: {"choices":[{"index":0,"delta":{"content":"lo"}}]}` + "\n\n"
	stop  = `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n"
	count = `data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":3}}}` + "\n\n"
	done  = "data: [DONE]\n\n"
)

func delta(d string) string { return `data: {"choices":[{"index":0,"delta":` + d + `}]}` + "\n\n" }

func TestStream(t *testing.T) {
	text := wire.Reply{Model: "m1", Text: "Hello", Finish: abi.FinishStop}
	counted := text
	counted.Tokens = &wire.Tokens{Input: 7, Output: 2, CacheRead: 3}
	calls := func(c ...wire.Call) wire.Reply { return wire.Reply{Finish: abi.FinishTools, Calls: c} }
	fin := `data: {"choices":[{"delta":{},"finish_reason":"tool_calls"}]}` + "\n\n" + done
	for name, c := range map[string]struct {
		stream string
		want   wire.Reply
	}{
		"with usage":         {hello + stop + count + done, counted},
		"without usage":      {hello + stop + done, text},
		"usage of zero":      {hello + stop + `data: {"usage":{"prompt_tokens":0},"choices":[]}` + "\n\n" + done, text},
		"null usage":         {hello + `data: {"usage":null,"choices":null}` + "\n\n" + stop + done, text},
		"without done":       {hello + stop, text},
		"without finish":     {hello + done, wire.Reply{Model: "m1", Text: "Hello"}},
		"crlf, no space":     {strings.ReplaceAll(strings.ReplaceAll(hello+stop+count+done, "data: ", "data:"), "\n", "\r\n"), counted},
		"comments":           {": waiting\n\n" + hello + ": still here\n\n" + stop + ":\n" + done, text},
		"no last blank line": {hello + stop + "data: [DONE]", text},
		"after done":         {hello + stop + done + "data: {broken", text},
		"a second choice":    {hello + `data: {"choices":[{"index":1,"delta":{"content":"no"}}]}` + "\n\n" + stop + done, text},
		"length":             {hello + `data: {"choices":[{"delta":{},"finish_reason":"length"}]}` + "\n\n" + done, wire.Reply{Model: "m1", Text: "Hello", Finish: abi.FinishLength}},
		"filter":             {`data: {"choices":[{"delta":{},"finish_reason":"content_filter"}]}` + "\n\n" + done, wire.Reply{Finish: abi.FinishRefusal}},
		"refusal":            {delta(`{"refusal":"I can"}`) + delta(`{"refusal":"not"}`) + stop + done, wire.Reply{Refusal: "I cannot", Finish: abi.FinishStop}},
		"parts":              {delta(`{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}`) + stop + done, wire.Reply{Text: "ab", Finish: abi.FinishStop}},
		"reasoning":          {delta(`{"reasoning_content":"hm"}`) + delta(`{"content":"a"}`) + stop + done, wire.Reply{Text: "a", Finish: abi.FinishStop}},
		"interleaved calls": {
			delta(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":""}},{"index":1,"id":"b","function":{"name":"g","arguments":"{"}}]}`) +
				delta(`{"tool_calls":[{"index":1,"function":{"arguments":"\"y\":2}"}}]}`) +
				delta(`{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":1}"}}]}`) + fin,
			calls(wire.Call{ID: "a", Name: "f", Args: `{"x":1}`}, wire.Call{ID: "b", Name: "g", Args: `{"y":2}`}),
		},
		"the id again in each piece": {
			delta(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}]}`) +
				delta(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"}"}}]}`) + fin,
			calls(wire.Call{ID: "a", Name: "f", Args: `{}`}),
		},
		"without indices": {
			delta(`{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}}]}`) +
				delta(`{"tool_calls":[{"id":"b","function":{"name":"f","arguments":"{\"x\":"}}]}`) +
				delta(`{"tool_calls":[{"function":{"arguments":"1}"}}]}`) + fin,
			calls(wire.Call{ID: "a", Name: "f", Args: `{}`}, wire.Call{ID: "b", Name: "f", Args: `{"x":1}`}),
		},
		"index 0 for all": {
			delta(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}`) +
				delta(`{"tool_calls":[{"index":0,"id":"b","function":{"name":"g","arguments":"{}"}}]}`) + fin,
			calls(wire.Call{ID: "a", Name: "f", Args: `{}`}, wire.Call{ID: "b", Name: "g", Args: `{}`}),
		},
		"without ids": {
			delta(`{"tool_calls":[{"function":{"name":"f","arguments":{"x":1}}},{"function":{"name":"g","arguments":null}}]}`) + fin,
			calls(wire.Call{Name: "f", Args: `{"x":1}`}, wire.Call{Name: "g"}),
		},
		"a huge piece": {delta(`{"content":"`+strings.Repeat("x", 2<<20)+`"}`) + stop + done, wire.Reply{Text: strings.Repeat("x", 2<<20), Finish: abi.FinishStop}},
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
			if diff := cmp.Diff(c.want, got); diff != "" || delivered.String() != c.want.Text+c.want.Refusal {
				t.Errorf("delivered %.99q (-want +got):\n%s", delivered.String(), diff)
			}
		})
	}
}

func TestStreamFaults(t *testing.T) {
	for name, c := range map[string]struct{ stream, words string }{
		"empty":             {"", "before the answer was complete"},
		"cut":               {hello, "before the answer was complete"},
		"cut in a call":     {delta(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}]}`), "before the answer was complete"},
		"cut in an event":   {hello + `data: {"choices":[{"ind`, "not the JSON"},
		"error object":      {hello + `data: {"error":{"message":"engine died","type":"server_error"}}` + "\n\n", "server_error: engine died"},
		"error text":        {hello + `data: {"error":"engine died"}` + "\n\n" + done, "engine died"},
		"error event":       {hello + "event: error\n" + `data: {"object":"error","message":"engine died","code":500}` + "\n\n", "engine died"},
		"malformed":         {hello + "data: hello\n\n" + stop + done, "not the JSON"},
		"wrong types":       {`data: {"choices":[{"delta":{"content":7}}]}` + "\n\n" + done, "not the JSON"},
		"too many calls":    {strings.Repeat(delta(`{"tool_calls":[{"id":"a","function":{"name":"f"}},{"function":{"name":"g"}}]}`), 129) + stop + done, "256 tools"},
		"a web page inside": {"<html>\n\n<body>\n\n", "before the answer was complete"},
	} {
		_, err := readStream(strings.NewReader(c.stream), func(string) error { return nil })
		if err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStreamAnsweredWhole is for servers that ignore the wish to stream.
func TestStreamAnsweredWhole(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"model":"m","choices":[{"message":{"content":"Hello"},"finish_reason":"stop"}]}`)
	}))
	defer s.Close()
	p, err := New(wire.Config{Provider: "openai", Model: "m", BaseURL: s.URL}, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	var got string
	r, err := p.Chat(t.Context(), wire.Request{}, func(s string) error { got += s; return nil })
	if err != nil || got != "Hello" || abi.TextOf(r.Message.Content) != got {
		t.Errorf("%q, %+v, %v", got, r, err)
	}
}

func TestWholeAnswers(t *testing.T) {
	for body, words := range map[string]string{
		`{}`:                            "no choice",
		`{"choices":[]}`:                "no choice",
		`{"choices":7}`:                 "not the JSON",
		`null`:                          "no choice",
		`{"error":{"message":"hm"}}`:    "hm",
		`{"choices":[{"message":null}]`: "not the JSON",
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
		p, err := New(wire.Config{Provider: "openai", Model: "m", BaseURL: s.URL, Attempts: 1}, 0, "")
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Chat(t.Context(), wire.Request{}, nil)
		if !errors.Is(err, &abi.Error{Code: abi.CodeUnavailable}) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", body, err)
		}
		s.Close()
	}
}

// FuzzStream checks that no bytes break the reader, and that what was delivered
// is what the reply holds.
func FuzzStream(f *testing.F) {
	f.Add(hello + stop + count + done)
	f.Add(delta(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}`) + stop)
	f.Add("data: {\"error\":{\"code\":429}}\n\n")
	f.Fuzz(func(t *testing.T, stream string) {
		var size int
		reply, err := readStream(strings.NewReader(stream), func(s string) error { size += len(s); return nil })
		if err == nil && size != len(reply.Text)+len(reply.Refusal) {
			t.Errorf("%d bytes delivered, reply %+v", size, reply)
		}
		if len(reply.Calls) > maxCalls {
			t.Errorf("%d calls", len(reply.Calls))
		}
	})
}
