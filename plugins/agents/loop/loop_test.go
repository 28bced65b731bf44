package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/sdk/go/vespiarytest"
)

// model is a scripted model: it gives its answers in turn and keeps what it was
// asked.
type model struct {
	answers []abi.ChatResponse
	errors  map[int]error // by number of the call, from 1
	asked   []abi.ChatRequest
	takes   time.Duration
}

func (m *model) chat(r abi.ChatRequest) (abi.ChatResponse, error) {
	m.asked = append(m.asked, r)
	time.Sleep(m.takes)
	if err := m.errors[len(m.asked)]; err != nil {
		return abi.ChatResponse{}, err
	}
	if len(m.asked) > len(m.answers) {
		return abi.ChatResponse{}, fmt.Errorf("the script of the model has %d answers", len(m.answers))
	}
	return m.answers[len(m.asked)-1], nil
}

func says(s string) abi.ChatResponse {
	return abi.ChatResponse{Message: text(abi.RoleAssistant, s), Finish: abi.FinishStop, Usage: abi.Usage{InputTokens: 10, OutputTokens: 5}}
}

// calls is an answer that calls tools, each given as "name arguments".
func calls(tools ...string) abi.ChatResponse {
	r := abi.ChatResponse{Message: abi.Message{Role: abi.RoleAssistant}, Finish: abi.FinishTools, Usage: abi.Usage{InputTokens: 10, OutputTokens: 5}}
	for i, tool := range tools {
		name, arguments, _ := strings.Cut(tool, " ")
		r.Message.ToolCalls = append(r.Message.ToolCalls, abi.ToolCall{ID: fmt.Sprintf("c%d", i+1), Name: name, Arguments: json.RawMessage(arguments)})
	}
	return r
}

// newHost is a host with a model and the tools echo, refuse, crash and big.
func newHost(t *testing.T, m *model) *vespiarytest.Host {
	t.Helper()
	h := vespiarytest.New(t)
	vespiarytest.Answer(h, abi.CallModelChat, m.chat)
	vespiarytest.Answer(h, abi.CallToolList, func(struct{}) (abi.ToolList, error) {
		var list abi.ToolList
		for _, name := range []string{"echo", "refuse", "crash", "big"} {
			list.Tools = append(list.Tools, abi.Tool{Name: name, InputSchema: json.RawMessage(`{"type":"object"}`)})
		}
		return list, nil
	})
	vespiarytest.Answer(h, abi.CallToolCall, func(p abi.ToolCallParams) (abi.ToolResult, error) {
		switch p.Name {
		case "refuse":
			return abi.ToolResult{}, &abi.Error{Code: abi.CodeDenied, Message: "not permitted", Policy: "p7"}
		case "crash":
			return abi.ToolResult{Content: []abi.Content{abi.Text("it broke")}, IsError: true}, nil
		case "big":
			return abi.ToolResult{Content: []abi.Content{abi.Text(strings.Repeat("ü", maxResult))}}, nil
		}
		return abi.ToolResult{StructuredContent: p.Arguments}, nil
	})
	return h
}

func say(s string) abi.Event {
	return abi.Event{
		Type: abi.EventMessage, Content: []abi.Content{abi.Text(s)},
		Agent: abi.Binding{Name: "test", Model: "main", Instructions: "Be brief."},
	}
}

// outline writes messages as one line each.
func outline(messages []abi.Message) string {
	var b strings.Builder
	for _, m := range messages {
		b.WriteString(string(m.Role))
		for _, c := range m.ToolCalls {
			fmt.Fprintf(&b, " call %s %s%s", c.ID, c.Name, c.Arguments)
		}
		if m.ToolCallID != "" {
			b.WriteString(" to " + m.ToolCallID)
		}
		if m.IsError {
			b.WriteString(" error")
		}
		if s := abi.TextOf(m.Content); s != "" {
			b.WriteString(": " + s)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// remembered is the conversation in the session's working memory.
func remembered(t *testing.T, h *vespiarytest.Host) []abi.Message {
	t.Helper()
	var all []abi.Message
	for _, c := range h.Calls(abi.CallMemorySession) {
		var r abi.SessionMemory
		if err := json.Unmarshal(c.Request, &r); err != nil {
			t.Fatal(err)
		}
		for _, item := range r.Items {
			var m abi.Message
			if err := json.Unmarshal(item, &m); err != nil {
				t.Fatal(err)
			}
			all = append(all, m)
		}
	}
	return all
}

func same(t *testing.T, what, want, got string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: -want +got:\n%s", what, diff)
	}
}

func names(h *vespiarytest.Host) string {
	var all []string
	for _, c := range h.Calls() {
		all = append(all, c.Name)
	}
	return strings.Join(all, " ")
}

func TestAnswer(t *testing.T) {
	m := &model{answers: []abi.ChatResponse{says("Hello.")}}
	h := newHost(t, m)
	r := h.Send(say("hi"))
	if r.Status != abi.StatusDone || abi.TextOf(r.Content) != "Hello." {
		t.Errorf("the reply is %+v", r)
	}
	same(t, "host calls", "memory_session memory_session tool_list model_chat memory_session", names(h))
	same(t, "memory", "user: hi\nassistant: Hello.\n", outline(remembered(t, h)))
	asked := m.asked[0]
	same(t, "messages", "system: Be brief.\nuser: hi\n", outline(asked.Messages))
	if asked.Model != "main" || !asked.Stream || len(asked.Tools) != 4 {
		t.Errorf("asked for model %q, stream %v, with %d tools", asked.Model, asked.Stream, len(asked.Tools))
	}
}

func TestConversationGoesOn(t *testing.T) {
	m := &model{answers: []abi.ChatResponse{says("One."), calls(`echo {"n":2}`), says("Two.")}}
	h := newHost(t, m)
	first := say("first")
	first.History = []abi.Message{text(abi.RoleUser, "before"), text(abi.RoleAssistant, "yes")}
	h.Send(first)
	second := say("second")
	second.History = []abi.Message{text(abi.RoleUser, "of no use to a session that has begun")}
	h.Send(second)
	want := "user: before\nassistant: yes\nuser: first\nassistant: One.\nuser: second\n"
	same(t, "second turn", "system: Be brief.\n"+want, outline(m.asked[1].Messages))
	want += "assistant call c1 echo{\"n\":2}\ntool to c1: {\"n\":2}\n"
	same(t, "after the tool", "system: Be brief.\n"+want, outline(m.asked[2].Messages))
	same(t, "memory", want+"assistant: Two.\n", outline(remembered(t, h)))
}

func TestTools(t *testing.T) {
	tests := []struct {
		name  string
		calls []string
		want  string // what the model sees of them
		host  string // the calls that they make
	}{
		{"one", []string{`echo {"a":1}`}, "assistant call c1 echo{\"a\":1}\ntool to c1: {\"a\":1}\n", "tool_call"},
		{
			"several at the same time",
			[]string{`echo {"a":1}`, `refuse {}`, `crash {}`},
			"assistant call c1 echo{\"a\":1} call c2 refuse{} call c3 crash{}\n" +
				"tool to c1: {\"a\":1}\ntool to c2 error: denied: not permitted (policy p7)\ntool to c3 error: it broke\n",
			"call_start tool_call call_start tool_call call_start tool_call call_wait call_wait call_wait",
		},
		{"denied", []string{`refuse {}`}, "assistant call c1 refuse{}\ntool to c1 error: denied: not permitted (policy p7)\n", "tool_call"},
		{"failed", []string{`crash {}`}, "assistant call c1 crash{}\ntool to c1 error: it broke\n", "tool_call"},
		{"no arguments", []string{`echo null`}, "assistant call c1 echo{}\ntool to c1: {}\n", "tool_call"},
		{
			"arguments of no use",
			[]string{`echo "a"`, `echo [1]`},
			"assistant call c1 echo{} call c2 echo{}\n" +
				"tool to c1 error: invalid: the arguments of echo must be a JSON object, not \"a\"\n" +
				"tool to c2 error: invalid: the arguments of echo must be a JSON object, not [1]\n",
			"",
		},
		{
			"unknown",
			[]string{`delete {}`},
			"assistant call c1 delete{}\ntool to c1 error: not_found: there is no tool \"delete\"; there are: echo, refuse, crash, big\n",
			"",
		},
	}
	for _, test := range tests {
		for _, newest := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, newest first %v", test.name, newest), func(t *testing.T) {
				m := &model{answers: []abi.ChatResponse{calls(test.calls...), says("Done.")}}
				h := newHost(t, m)
				h.Newest = newest
				if r := h.Send(say("go")); r.Status != abi.StatusDone {
					t.Fatalf("the reply is %+v", r)
				}
				same(t, "messages", "system: Be brief.\nuser: go\n"+test.want, outline(m.asked[1].Messages))
				same(t, "memory", "user: go\n"+test.want+"assistant: Done.\n", outline(remembered(t, h)))
				between := strings.TrimPrefix(names(h), "memory_session memory_session tool_list model_chat")
				same(t, "host calls", test.host, strings.TrimSpace(strings.TrimSuffix(between, "model_chat memory_session")))
			})
		}
	}
}

func TestBigResultIsCut(t *testing.T) {
	m := &model{answers: []abi.ChatResponse{calls(`big {}`), says("Done.")}}
	newHost(t, m).Send(say("go"))
	content := m.asked[1].Messages[3].Content
	if len(content) != 2 || content[0].Text != strings.Repeat("ü", maxResult/2) {
		t.Errorf("%d parts, the first of %d bytes", len(content), len(content[0].Text))
	}
	same(t, "note", "[cut: this is 65536 of 131072 bytes of the result; ask for less to see the rest]", content[1].Text)
}

func TestCapped(t *testing.T) {
	image := abi.Content{Type: "image", Data: make([]byte, 50)}
	tests := []struct {
		name    string
		content []abi.Content
		want    []abi.Content
	}{
		{"fits", []abi.Content{abi.Text("ab"), abi.Text("cd")}, []abi.Content{abi.Text("ab"), abi.Text("cd")}},
		{"nothing", nil, nil},
		{"a character is not split", []abi.Content{abi.Text("aaaaaaaaaü")}, []abi.Content{abi.Text("aaaaaaaaa"), abi.Text("[cut: this is 9 of 11 bytes of the result; ask for less to see the rest]")}},
		{"an image that does not fit", []abi.Content{image, abi.Text("ab")}, []abi.Content{abi.Text("ab"), abi.Text("[cut: this is 2 of 52 bytes of the result; ask for less to see the rest]")}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, capped(test.content, 10)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	const reached = "user: [This turn has reached its limit of %s. Answer now, without tools, with what you know, and say what is left undone.]\n"
	tests := []struct {
		name    string
		steps   int
		options string
		takes   time.Duration
		asked   int
		limit   string // that the last request names
	}{
		{"steps", 3, ``, 0, 3, "3 model calls"},
		{"steps unset", 0, ``, 0, 16, "16 model calls"},
		{"tokens", 0, `{"max_tokens":45}`, 0, 4, "45 tokens"},
		{"seconds", 0, `{"max_seconds":2.5}`, time.Second, 4, "2.5 seconds"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &model{takes: test.takes}
				for range test.asked - 1 {
					m.answers = append(m.answers, calls(`echo {}`))
				}
				m.answers = append(m.answers, says("So far."))
				e := say("go")
				e.Agent.MaxSteps, e.Agent.Options = test.steps, json.RawMessage(test.options)
				h := newHost(t, m)
				if r := h.Send(e); r.Status != abi.StatusDone || abi.TextOf(r.Content) != "So far." {
					t.Errorf("the reply is %+v", r)
				}
				if len(m.asked) != test.asked {
					t.Fatalf("the model was asked %d times, want %d", len(m.asked), test.asked)
				}
				last := m.asked[len(m.asked)-1]
				if !strings.HasSuffix(outline(last.Messages), fmt.Sprintf(reached, test.limit)) || len(last.Tools) != 0 {
					t.Errorf("the last request has %d tools and ends\n%s", len(last.Tools), outline(last.Messages[len(last.Messages)-2:]))
				}
				if strings.Contains(outline(remembered(t, h)), "reached its limit") {
					t.Error("the note was remembered")
				}
			})
		})
	}
}

func TestOneStepIsAnAnswer(t *testing.T) {
	m := &model{answers: []abi.ChatResponse{says("Hello.")}}
	e := say("hi")
	e.Agent.MaxSteps = 1
	if r := newHost(t, m).Send(e); abi.TextOf(r.Content) != "Hello." || r.Status != abi.StatusDone {
		t.Errorf("the reply is %+v", r)
	}
	same(t, "messages", "system: Be brief.\nuser: hi\n", outline(m.asked[0].Messages))
}

// What a model says beside a tool call is its last answer, and the call is not
// recorded: it would stay without a result.
func TestLastAnswerCallsNothing(t *testing.T) {
	last := calls(`echo {}`)
	last.Message.Content = []abi.Content{abi.Text("Nearly.")}
	h := newHost(t, &model{answers: []abi.ChatResponse{calls(`echo {}`), last}})
	e := say("go")
	e.Agent.MaxSteps = 2
	if r := h.Send(e); abi.TextOf(r.Content) != "Nearly." {
		t.Errorf("the reply is %+v", r)
	}
	same(t, "memory", "user: go\nassistant call c1 echo{}\ntool to c1: {}\nassistant: Nearly.\n", outline(remembered(t, h)))
}

// A time limit is also that of each call, and one that it ends is not a failure.
func TestTimeLimitEndsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &model{takes: 3 * time.Second, answers: []abi.ChatResponse{{}, says("Late.")}, errors: map[int]error{
			1: &abi.Error{Code: abi.CodeTimeout, Message: "no answer in 2000 ms"},
		}}
		h := newHost(t, m)
		e := say("go")
		e.Agent.Options = json.RawMessage(`{"max_seconds":2}`)
		if r := h.Send(e); abi.TextOf(r.Content) != "Late." {
			t.Errorf("the reply is %+v", r)
		}
		chats := h.Calls(abi.CallModelChat)
		if !strings.HasPrefix(string(chats[0].Request), `{"$timeout_ms":2000,`) || strings.Contains(string(chats[1].Request), abi.KeyTimeout) {
			t.Errorf("the limits of the calls are wrong: %.40s, then %.40s", chats[0].Request, chats[1].Request)
		}
	})
}

// codeIn returns the code that an error's text names.
func codeIn(text string) abi.Code {
	for _, c := range []abi.Code{abi.CodeBudgetExceeded, abi.CodeUnavailable, abi.CodeInvalid, abi.CodeDenied, abi.CodeInternal} {
		if strings.Contains(text, string(c)+": ") {
			return c
		}
	}
	return ""
}

func TestLastAnswerFails(t *testing.T) {
	tests := []struct {
		name string
		last abi.ChatResponse
		err  error
		want string
	}{
		{"denied", abi.ChatResponse{}, &abi.Error{Code: abi.CodeBudgetExceeded, Message: "used up"}, "limit of 2 model calls reached, and the last answer failed: budget_exceeded: used up"},
		{"calls a tool", calls(`echo {}`), nil, "limit of 2 model calls reached, and the last answer failed: unavailable: the model gave no answer (it stopped for \"tool_calls\"); try again"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := &model{answers: []abi.ChatResponse{calls(`echo {}`), test.last}, errors: map[int]error{2: test.err}}
			e := say("go")
			e.Agent.MaxSteps = 2
			h := newHost(t, m)
			want := abi.Reply{
				Status: abi.StatusFailed, Error: test.want, Code: codeIn(test.want),
				Content: []abi.Content{abi.Text("I stopped at this turn's limit of 2 model calls without an answer.")},
			}
			if diff := cmp.Diff(want, h.Send(e)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			same(t, "memory", "user: go\nassistant call c1 echo{}\ntool to c1: {}\n", outline(remembered(t, h)))
		})
	}
}

func TestFailures(t *testing.T) {
	unavailable := &abi.Error{Code: abi.CodeUnavailable, Message: "no route", Retryable: true}
	bad := func(options string) abi.Event {
		e := say("go")
		e.Agent.Options = json.RawMessage(options)
		return e
	}
	tests := []struct {
		name   string
		event  abi.Event
		script func(h *vespiarytest.Host, m *model)
		want   string
		memory string
	}{
		{"the model", say("go"), func(_ *vespiarytest.Host, m *model) { m.errors = map[int]error{1: unavailable} }, "unavailable: no route", "user: go\n"},
		{"the model after a tool", say("go"), func(_ *vespiarytest.Host, m *model) {
			m.answers, m.errors = []abi.ChatResponse{calls(`echo {}`)}, map[int]error{2: unavailable}
		}, "unavailable: no route", "user: go\nassistant call c1 echo{}\ntool to c1: {}\n"},
		{"an empty answer", say("go"), func(_ *vespiarytest.Host, m *model) { m.answers = []abi.ChatResponse{{Finish: abi.FinishLength}} }, `unavailable: the model gave no answer (it stopped for "length"); try again`, "user: go\n"},
		{"the tools", say("go"), func(h *vespiarytest.Host, _ *model) {
			vespiarytest.Answer(h, abi.CallToolList, func(struct{}) (struct{}, error) { return struct{}{}, unavailable })
		}, "unavailable: no route", "user: go\n"},
		{"the memory", say("go"), func(h *vespiarytest.Host, _ *model) {
			vespiarytest.Answer(h, abi.CallMemorySession, func(abi.SessionMemory) (struct{}, error) { return struct{}{}, unavailable })
		}, "unavailable: no route", ""},
		{"nothing said", abi.Event{Type: abi.EventMessage}, nil, "invalid: the message has no content", ""},
		{"a misspelt option", bad(`{"max_token":1}`), nil, `invalid: options of agent test: json: unknown field "max_token"`, ""},
		{"a negative option", bad(`{"max_tokens":-1}`), nil, "invalid: options of agent test: max_tokens and max_seconds must not be negative, window and window_chars must be positive", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := &model{}
			h := newHost(t, m)
			if test.script != nil {
				test.script(h, m)
			}
			if diff := cmp.Diff(abi.Reply{Status: abi.StatusFailed, Error: test.want, Code: codeIn(test.want)}, h.Send(test.event)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			same(t, "memory", test.memory, outline(remembered(t, h)))
		})
	}
}

func TestWithoutTools(t *testing.T) {
	m := &model{answers: []abi.ChatResponse{calls(`echo {}`), says("Alone.")}}
	h := newHost(t, m)
	vespiarytest.Answer(h, abi.CallToolList, func(struct{}) (struct{}, error) {
		return struct{}{}, &abi.Error{Code: abi.CodeDenied, Message: "no tools"}
	})
	if r := h.Send(say("go")); abi.TextOf(r.Content) != "Alone." {
		t.Errorf("the reply is %+v", r)
	}
	if got := h.Calls(abi.CallToolCall); len(got) != 0 || len(h.Logs()) != 1 {
		t.Errorf("called %s, logged %q", got, h.Logs())
	}
}

func TestOtherEvents(t *testing.T) {
	m := &model{answers: []abi.ChatResponse{says("Noted.")}}
	newHost(t, m).Send(abi.Event{Type: abi.EventSignal, Name: "paid", Data: json.RawMessage(`{"invoice":17}`)})
	same(t, "messages", "user: [signal paid]\n{\"invoice\":17}\n", outline(m.asked[0].Messages))
}
