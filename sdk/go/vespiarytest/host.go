// Package vespiarytest runs a plugin natively, in a Go test, and plays its host.
//
// The test imports the plugin (or is part of its package), so that the plugin's
// agent and tools are registered; a Host then sends events and calls tools.
// Working memory, files, emitted content, parallel calls and waiting work by
// themselves; what models, tools and HTTP servers answer is scripted with Answer,
// what policies and crashes do to calls with Guard.
//
// A Host is a session: the state of an agent that vespiary.AgentOf registers
// begins with it. Package variables of the plugin are the test process's own.
package vespiarytest

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/sdk/go/internal/guest"
)

// Host is the host of the plugin under test. It keeps its state between calls of
// the plugin, as a session does, and is for one goroutine.
type Host struct {
	Files    map[string]string // by path; the plugin reads and writes them
	Settings map[string]string // the plugin's configuration

	// Waited is how long the plugin has waited for timers. They fire at once, unless
	// Sleep is set: it is called with the time that is left until then, and
	// time.Sleep is what a test in a synctest bubble sets it to.
	Waited time.Duration
	Sleep  func(time.Duration)

	// Newest delivers the results of started calls newest first, to find code
	// that depends on their order.
	Newest bool

	t       testing.TB
	agent   *guest.Instance
	answers map[string]func(json.RawMessage) (any, error)
	guards  map[string]func(Call) error
	events  []abi.Event // delivered and not yet awaited
	calls   []Call
	logs    []string
	lists   map[string][]json.RawMessage
	values  map[string]json.RawMessage
	started map[int]abi.Result // done and not yet delivered
	next    int
}

// Call is a host call that the plugin made.
type Call struct {
	Name    string
	Request json.RawMessage
}

// New returns a host for one test.
func New(tb testing.TB) *Host {
	tb.Helper()
	h := &Host{
		Files: map[string]string{}, Settings: map[string]string{}, t: tb, agent: guest.Plugin.New(),
		answers: map[string]func(json.RawMessage) (any, error){}, guards: map[string]func(Call) error{},
		lists: map[string][]json.RawMessage{}, values: map[string]json.RawMessage{},
	}
	Answer(h, abi.CallMemorySession, h.memory)
	Answer(h, abi.CallFileRead, h.readFile)
	Answer(h, abi.CallFileWrite, h.writeFile)
	Answer(h, abi.CallFileList, h.listFiles)
	Answer(h, abi.CallStart, h.start)
	Answer(h, abi.CallWait, h.wait)
	Answer(h, abi.CallAwait, h.await)
	Answer(h, abi.CallEmit, func(abi.Emit) (struct{}, error) { return struct{}{}, nil })
	return h
}

// Answer makes f answer every call of the capability name (see abi.CallModelChat
// and its siblings), instead of what answered before. An *abi.Error from f is
// what the plugin gets; any other error becomes one with abi.CodeInternal.
func Answer[Request, Response any](h *Host, name string, f func(Request) (Response, error)) {
	h.answers[name] = func(b json.RawMessage) (any, error) {
		var r Request
		if err := json.Unmarshal(b, &r); err != nil {
			return nil, &abi.Error{Code: abi.CodeInvalid, Message: err.Error()}
		}
		return f(r)
	}
}

// Send gives the plugin's agent an event and returns its reply. Sent to one Host,
// events are turns of one session.
func (h *Host) Send(e abi.Event) abi.Reply {
	h.t.Helper()
	return run[abi.Reply](h, h.agent.Handle, e)
}

// Tools returns the plugin's tools.
func (h *Host) Tools() []abi.Tool {
	h.t.Helper()
	return run[abi.ToolList](h, guest.Plugin.Describe, struct{}{}).Tools
}

// CallTool calls one of the plugin's tools with arguments that encode to a JSON
// object.
func (h *Host) CallTool(name string, arguments any) abi.ToolResult {
	h.t.Helper()
	return run[abi.ToolResult](h, guest.Plugin.Call, abi.ToolCallParams{Name: name, Arguments: h.encode(arguments)})
}

// Calls returns the host calls made so far under any of the names, or all where
// none is given. A started call counts under its own name too.
func (h *Host) Calls(names ...string) []Call {
	var calls []Call
	for _, c := range h.calls {
		if len(names) == 0 || slices.Contains(names, c.Name) {
			calls = append(calls, c)
		}
	}
	return calls
}

// Logs returns the lines that the plugin logged, each as "level: message".
func (h *Host) Logs() []string { return h.logs }

// run passes messages through JSON, as the real host does. Each run of the plugin
// counts its started calls anew.
func run[Out any](h *Host, export func(guest.Host, []byte) ([]byte, error), in any) Out {
	h.t.Helper()
	h.started, h.next = map[int]abi.Result{}, 0
	var out Out
	b, err := export((*answering)(h), h.encode(in))
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		h.t.Fatalf("the plugin failed: %v", err)
	}
	return out
}

func (h *Host) encode(v any) json.RawMessage {
	h.t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		h.t.Fatalf("vespiarytest: %v", err)
	}
	return b
}

// answering is Host as the plugin sees it, which keeps guest.Host's methods off
// Host's own.
type answering Host

var _ guest.Host = (*answering)(nil)

func (a *answering) Call(name string, request []byte) []byte {
	h := (*Host)(a)
	return h.encode(h.answer(name, request))
}

func (a *answering) Config(key string) (string, bool) {
	value, ok := a.Settings[key]
	return value, ok
}

func (a *answering) Log(level, message string) { a.logs = append(a.logs, level+": "+message) }

func (h *Host) answer(name string, request json.RawMessage) abi.Result {
	call := Call{name, request}
	h.calls = append(h.calls, call)
	if guard := h.guards[name]; guard != nil {
		if err := guard(call); err != nil {
			return failed(err)
		}
	}
	f := h.answers[name]
	if f == nil {
		h.t.Errorf("the plugin called %s, which the test does not answer; see vespiarytest.Answer", name)
		return failed(&abi.Error{Code: abi.CodeUnavailable, Message: "the test does not answer " + name})
	}
	v, err := f(request)
	if err != nil {
		return failed(err)
	}
	return abi.Result{OK: h.encode(v)}
}

func failed(err error) abi.Result {
	e, ok := errors.AsType[*abi.Error](err)
	if !ok {
		e = &abi.Error{Code: abi.CodeInternal, Message: err.Error()}
	}
	return abi.Result{Error: e}
}
