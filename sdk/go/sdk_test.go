package vespiary_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	vespiary "github.com/vespiary/vespiary/sdk/go"
	"github.com/vespiary/vespiary/sdk/go/migrate"
	"github.com/vespiary/vespiary/sdk/go/save"
	"github.com/vespiary/vespiary/sdk/go/vespiarytest"
)

type point struct {
	X int `json:"x" doc:"to the right"`
}

type spoken struct {
	Y int `json:"y"`
}

func (s spoken) String() string { return fmt.Sprintf("y is %d", s.Y) }

var (
	denied = &abi.Error{Code: abi.CodeDenied, Message: "no", Policy: "p1,p2"}

	_ = vespiary.Tool("string", "", func(_ *vespiary.Context, p point) (string, error) { return fmt.Sprint(p.X), nil })
	_ = vespiary.Tool("struct", "Doubles.", func(_ *vespiary.Context, p point) (point, error) { return point{2 * p.X}, nil },
		abi.ToolAnnotations{Title: "Double", ReadOnlyHint: true})
	_ = vespiary.Tool("stringer", "", func(_ *vespiary.Context, p point) (spoken, error) { return spoken{p.X}, nil })
	_ = vespiary.Tool("slice", "", func(_ *vespiary.Context, p point) ([]int, error) { return []int{p.X}, nil })
	_ = vespiary.Tool("map", "", func(_ *vespiary.Context, p point) (map[string]int, error) { return map[string]int{"x": p.X}, nil })
	_ = vespiary.Tool("content", "", func(*vespiary.Context, struct{}) ([]abi.Content, error) {
		return []abi.Content{{Type: "image", Data: []byte{1}}}, nil
	})
	_ = vespiary.Tool("result", "", func(*vespiary.Context, struct{}) (abi.ToolResult, error) {
		return abi.ToolResult{Content: []abi.Content{abi.Text("own")}, IsError: true}, nil
	})
	_ = vespiary.Tool("denied", "", func(*vespiary.Context, struct{}) (string, error) {
		return "", fmt.Errorf("writing: %w", denied)
	})
	_ = vespiary.Tool("panics", "", func(*vespiary.Context, struct{}) (string, error) {
		var p *point
		return fmt.Sprint(p.X), nil
	})
	_ = vespiary.Tool("unencodable", "", func(*vespiary.Context, struct{}) (map[string]any, error) {
		return map[string]any{"f": func() {}}, nil
	})
)

func TestToolResults(t *testing.T) {
	text := func(s string) []abi.Content { return []abi.Content{abi.Text(s)} }
	tests := []struct {
		tool      string
		arguments any
		want      abi.ToolResult
	}{
		{"string", point{7}, abi.ToolResult{Content: text("7")}},
		{"struct", point{7}, abi.ToolResult{Content: text(`{"x":14}`), StructuredContent: json.RawMessage(`{"x":14}`)}},
		{"stringer", point{7}, abi.ToolResult{Content: text("y is 7"), StructuredContent: json.RawMessage(`{"y":7}`)}},
		{"slice", point{7}, abi.ToolResult{Content: text("[7]")}},
		{"map", point{7}, abi.ToolResult{Content: text(`{"x":7}`), StructuredContent: json.RawMessage(`{"x":7}`)}},
		{"content", nil, abi.ToolResult{Content: []abi.Content{{Type: "image", Data: []byte{1}}}}},
		{"result", struct{}{}, abi.ToolResult{Content: text("own"), IsError: true}},
		{"denied", struct{}{}, abi.ToolResult{Content: text("writing: denied: no (policy p1,p2)"), IsError: true}},
		{"panics", struct{}{}, abi.ToolResult{Content: text("internal: the plugin panicked: runtime error: invalid memory address or nil pointer dereference"), IsError: true}},
		{"unencodable", struct{}{}, abi.ToolResult{Content: text("internal: the result does not encode: json: unsupported type: func()"), IsError: true}},
		{"struct", struct{}{}, abi.ToolResult{Content: text(`invalid: struct: the arguments must have "x"`), IsError: true}},
		{"absent", struct{}{}, abi.ToolResult{
			Content: text(`not_found: there is no tool "absent" here; there are: string, struct, stringer, slice, map, content, result, denied, panics, unencodable`),
			IsError: true,
		}},
	}
	for _, test := range tests {
		t.Run(test.tool, func(t *testing.T) {
			h := vespiarytest.New(t)
			if diff := cmp.Diff(test.want, h.CallTool(test.tool, test.arguments)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestDescribe(t *testing.T) {
	var got abi.Tool
	for _, tool := range vespiarytest.New(t).Tools() {
		if tool.Name == "struct" {
			got = tool
		}
	}
	want := abi.Tool{
		Name: "struct", Title: "Double", Description: "Doubles.",
		InputSchema:  json.RawMessage(`{"type":"object","properties":{"x":{"type":"integer","description":"to the right"}},"required":["x"],"additionalProperties":false}`),
		OutputSchema: json.RawMessage(`{"type":"object","properties":{"x":{"type":"integer","description":"to the right"}},"required":["x"],"additionalProperties":false}`),
		Annotations:  &abi.ToolAnnotations{Title: "Double", ReadOnlyHint: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestRegisterPanics(t *testing.T) {
	type recursive struct{ F func() }
	for name, register := range map[string]func(){
		"a taken name":         func() { vespiary.Tool("string", "", func(*vespiary.Context, point) (string, error) { return "", nil }) },
		"no name":              func() { vespiary.Tool("", "", func(*vespiary.Context, point) (string, error) { return "", nil }) },
		"an input of no shape": func() { vespiary.Tool("n", "", func(*vespiary.Context, string) (string, error) { return "", nil }) },
		"a field of no schema": func() { vespiary.Tool("f", "", func(*vespiary.Context, recursive) (string, error) { return "", nil }) },
		"two annotations": func() {
			vespiary.Tool("a", "", func(*vespiary.Context, point) (string, error) { return "", nil }, abi.ToolAnnotations{}, abi.ToolAnnotations{})
		},
		"a second agent": func() { vespiary.Agent(act) },
		"a second save":  func() { save.State(func(*notebook) (int, error) { return 0, nil }) },
		"a second migrate": func() {
			migrate.State(func(*notebook, abi.Migration, int) error { return nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if p := fmt.Sprint(recover()); !strings.HasPrefix(p, "vespiary: ") {
					t.Errorf("panicked with %s", p)
				}
			}()
			register()
		})
	}
}

func TestReplies(t *testing.T) {
	tests := []struct {
		name  string
		reply abi.Reply
		err   error
		panic any
		want  abi.Reply
	}{
		{name: "empty", want: abi.Reply{Status: abi.StatusDone}},
		{name: "done", reply: vespiary.Done("yes"), want: abi.Reply{Status: abi.StatusDone, Content: []abi.Content{abi.Text("yes")}}},
		{name: "waiting", reply: abi.Reply{Status: abi.StatusWaiting}, want: abi.Reply{Status: abi.StatusWaiting}},
		{name: "failed", reply: vespiary.Done("part"), err: denied, want: abi.Reply{Status: abi.StatusFailed, Content: []abi.Content{abi.Text("part")}, Error: "denied: no (policy p1,p2)", Code: abi.CodeDenied}},
		{name: "panicked", panic: "oh", want: abi.Reply{Status: abi.StatusFailed, Error: "internal: the plugin panicked: oh", Code: abi.CodeInternal}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			act = func(*vespiary.Context, abi.Event) (abi.Reply, error) {
				if test.panic != nil {
					panic(test.panic)
				}
				return test.reply, test.err
			}
			h := vespiarytest.New(t)
			if diff := cmp.Diff(test.want, h.Send(abi.Event{Type: abi.EventMessage})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if logged := len(h.Logs()) > 0; logged != (test.panic != nil) {
				t.Errorf("logged %v", h.Logs())
			}
		})
	}
}

// TestRequests checks the wire form of each method's request.
func TestRequests(t *testing.T) {
	tests := []struct {
		want string
		call func(c *vespiary.Context) error
	}{
		{`model_chat {"messages":[]}`, func(c *vespiary.Context) error {
			_, err := c.Chat(abi.ChatRequest{Messages: []abi.Message{}})
			return err
		}},
		{`model_embed {"model":"m","inputs":["a"]}`, func(c *vespiary.Context) error {
			_, err := c.Embed(abi.EmbedRequest{Model: "m", Inputs: []string{"a"}})
			return err
		}},
		{`tool_list {}`, func(c *vespiary.Context) error { _, err := c.Tools(); return err }},
		{`tool_list {"$timeout_ms":1}`, func(c *vespiary.Context) error { _, err := c.WithTimeout(time.Microsecond).Tools(); return err }},
		{`tool_call {"name":"t","arguments":{"x":1}}`, func(c *vespiary.Context) error { _, err := c.CallTool("t", point{1}); return err }},
		{`tool_call {"name":"t","arguments":{}}`, func(c *vespiary.Context) error { _, err := c.CallTool("t", nil); return err }},
		{`http_fetch {"$timeout_ms":1500,"url":"https://example.com/"}`, func(c *vespiary.Context) error {
			_, err := c.WithTimeout(1500 * time.Millisecond).Fetch(abi.HTTPRequest{URL: "https://example.com/"})
			return err
		}},
		{`http_fetch {"url":"u"}`, func(c *vespiary.Context) error {
			_, err := c.WithTimeout(time.Second).WithTimeout(0).Fetch(abi.HTTPRequest{URL: "u"})
			return err
		}},
		{`file_read {"path":"a","offset":3}`, func(c *vespiary.Context) error { _, err := c.ReadFile(abi.FileRead{Path: "a", Offset: 3}); return err }},
		{`file_write {"path":"a","text":"b"}`, func(c *vespiary.Context) error {
			_, err := c.WriteFile(abi.FileWrite{Path: "a", Text: "b"})
			return err
		}},
		{`file_list {"recursive":true}`, func(c *vespiary.Context) error { _, err := c.ListFiles(abi.FileList{Recursive: true}); return err }},
		{`agent_call {"agent":"a","content":[{"type":"text","text":"hi"}],"purpose":"p","grants":[{"actions":["reply"]}],"budget":{"calls":3},"expires_in_ms":1000}`, func(c *vespiary.Context) error {
			_, err := c.CallAgent(abi.AgentCall{
				Agent: "a", Content: []abi.Content{abi.Text("hi")}, Purpose: "p", Grants: []abi.AgentGrant{{Actions: []string{"reply"}}},
				Budget: abi.AgentBudget{Calls: 3}, ExpiresIn: 1000,
			})
			return err
		}},
		// No grants at all is not the same as all that the task has.
		{`agent_call {"agent":"a","grants":[]}`, func(c *vespiary.Context) error {
			_, err := c.CallAgent(abi.AgentCall{Agent: "a", Grants: []abi.AgentGrant{}})
			return err
		}},
		{`agent_call {"$timeout_ms":2000,"agent":"a"}`, func(c *vespiary.Context) error {
			_, err := c.WithTimeout(2 * time.Second).CallAgent(abi.AgentCall{Agent: "a"})
			return err
		}},
		{`delegate_token {"audience":"https://nest.example.com","scopes":["invokeAgent"],"purpose":"p"}`, func(c *vespiary.Context) error {
			_, err := c.DelegateToken(abi.DelegateToken{Audience: "https://nest.example.com", Scopes: []string{"invokeAgent"}, Purpose: "p"})
			return err
		}},
		{`emit {"content":[{"type":"text","text":"hi"}]}`, func(c *vespiary.Context) error { return c.EmitText("hi") }},
		{`emit {"progress":{"done":1,"total":2}}`, func(c *vespiary.Context) error { return c.Progress(abi.Progress{Done: 1, Total: 2}) }},
		{`await {"for":[{"type":"signal","name":"paid"}]}`, func(c *vespiary.Context) error {
			_, err := c.Await(abi.Wait{Type: abi.EventSignal, Name: "paid"})
			return err
		}},
		{`await {"for":[{"type":"timer","name":"sleep","after_ns":2000000000}]}`, func(c *vespiary.Context) error { return c.Sleep(2 * time.Second) }},
		{`memory_session {"op":"append","key":"k","items":[1,"two"]}`, func(c *vespiary.Context) error { return c.Append("k", 1, "two") }},
		{`memory_session {"op":"window","key":"k","limit":5}`, func(c *vespiary.Context) error { _, err := vespiary.Window[int](c, "k", 5); return err }},
		{`memory_session {"op":"get","key":"k"}`, func(c *vespiary.Context) error { _, err := vespiary.Get[int](c, "k"); return err }},
		{`memory_session {"op":"set","key":"k","value":{"x":1}}`, func(c *vespiary.Context) error { return c.Set("k", point{1}) }},
		{`memory_session {"op":"set","key":"k","value":null}`, func(c *vespiary.Context) error { return c.Set("k", nil) }},
	}
	for _, test := range tests {
		t.Run(test.want, func(t *testing.T) {
			h := vespiarytest.New(t)
			name, _, _ := strings.Cut(test.want, " ")
			vespiarytest.Answer(h, name, func(json.RawMessage) (struct{}, error) { return struct{}{}, nil })
			if r := run(h, test.call); r.Error != "" {
				t.Fatal(r.Error)
			}
			calls := h.Calls()
			if len(calls) != 1 || calls[0].Name+" "+string(calls[0].Request) != test.want {
				t.Errorf("calls are %s", calls)
			}
		})
	}
}

func TestErrorsAreValues(t *testing.T) {
	h := vespiarytest.New(t)
	vespiarytest.Answer(h, abi.CallHTTPFetch, func(abi.HTTPRequest) (abi.HTTPResponse, error) { return abi.HTTPResponse{}, denied })
	run(h, func(c *vespiary.Context) error {
		_, err := c.Fetch(abi.HTTPRequest{URL: "u"})
		if !errors.Is(err, &abi.Error{Code: abi.CodeDenied}) || errors.Is(err, &abi.Error{Code: abi.CodeTimeout}) {
			t.Errorf("errors.Is does not tell what %v is", err)
		}
		if e, ok := errors.AsType[*abi.Error](err); !ok || e.Policy != denied.Policy {
			t.Errorf("errors.AsType finds %v", e)
		}
		_, err = c.CallTool("t", func() {})
		if !errors.Is(err, &abi.Error{Code: abi.CodeInvalid}) {
			t.Errorf("arguments that do not encode: %v", err)
		}
		return nil
	})
}

func TestMemory(t *testing.T) {
	h := vespiarytest.New(t)
	r := run(h, func(c *vespiary.Context) error {
		if n, err := vespiary.Get[int](c, "n"); n != 0 || err != nil {
			t.Errorf("a value never set is %d, %v", n, err)
		}
		if err := c.Set("n", 5); err != nil {
			return err
		}
		if err := c.Append("list", point{1}, point{2}); err != nil {
			return err
		}
		return c.Append("list", point{3})
	})
	if r.Status != abi.StatusDone {
		t.Fatal(r.Error)
	}
	run(h, func(c *vespiary.Context) error {
		if n, err := vespiary.Get[int](c, "n"); n != 5 || err != nil {
			t.Errorf("the value is %d, %v", n, err)
		}
		got, err := vespiary.Window[point](c, "list", 2)
		if diff := cmp.Diff([]point{{2}, {3}}, got); diff != "" || err != nil {
			t.Errorf("%v -want +got:\n%s", err, diff)
		}
		if _, err := vespiary.Get[string](c, "n"); !errors.Is(err, &abi.Error{Code: abi.CodeInvalid}) {
			t.Errorf("a number read as text: %v", err)
		}
		if _, err := vespiary.Window[int](c, "list", 0); !errors.Is(err, &abi.Error{Code: abi.CodeInvalid}) {
			t.Errorf("objects read as numbers: %v", err)
		}
		return c.Set("n", nil)
	})
	run(h, func(c *vespiary.Context) error {
		if n, err := vespiary.Get[int](c, "n"); n != 0 || err != nil {
			t.Errorf("a value removed is %d, %v", n, err)
		}
		return nil
	})
}

func TestConfigAndLog(t *testing.T) {
	h := vespiarytest.New(t)
	h.Settings["unit"] = "km"
	run(h, func(c *vespiary.Context) error {
		if v, ok := c.Config("unit"); v != "km" || !ok {
			t.Errorf("unit is %q, %v", v, ok)
		}
		if _, ok := c.Config("absent"); ok {
			t.Error("a setting is there that nobody set")
		}
		c.Debugf("a %d", 1)
		c.Infof("b")
		c.Warnf("c")
		c.Errorf("d")
		return nil
	})
	if diff := cmp.Diff([]string{"debug: a 1", "info: b", "warn: c", "error: d"}, h.Logs()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
