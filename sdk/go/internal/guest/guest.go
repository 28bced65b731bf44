// Package guest holds what a plugin registers and runs its exports on bytes: in
// Wasm on behalf of the exported functions, in native tests on behalf of package
// vespiarytest.
package guest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/vespiary/vespiary/abi"
)

// Host answers what a guest asks for while one of its exports runs natively. In
// Wasm the imports of the module take its place and a Host is nil.
type Host interface {
	// Call answers the capability name: an abi.Result in JSON.
	Call(name string, request []byte) []byte
	// Config returns a value of the plugin's configuration.
	Config(key string) (value string, ok bool)
	// Log takes a line for the host's log; level is debug, info, warn or error.
	Log(level, message string)
}

// Tool is a registered tool.
type Tool struct {
	Spec abi.Tool
	Call func(Host, json.RawMessage) abi.ToolResult
}

// Agent is a registered agent. Its state, which Begin makes, lasts as long as the
// session.
type Agent struct {
	Begin  func() (state any)
	Handle func(state any, h Host, e abi.Event) abi.Reply
}

// Registry is what one plugin offers. It is filled while the module initialises
// and only read after that.
type Registry struct {
	agent   *Agent
	tools   []Tool
	save    func(state any) (json.RawMessage, error)
	migrate func(state any, m abi.Migration) error
	reseed  []func(seed [seedSize]byte)
}

// Plugin is the registry of this module. The exports have no receiver, so that
// this is the one place where a global cannot be avoided.
var Plugin Registry

// SetAgent makes a the plugin's agent. A second agent panics.
func (r *Registry) SetAgent(a Agent) {
	if r.agent != nil {
		panic("vespiary: a plugin has one agent, and one is registered already")
	}
	r.agent = &a
}

// AddTool adds a tool. A name that is empty or taken panics.
func (r *Registry) AddTool(t Tool) {
	if t.Spec.Name == "" {
		panic("vespiary: a tool needs a name")
	}
	if _, taken := r.find(t.Spec.Name); taken {
		panic("vespiary: two tools are named " + t.Spec.Name)
	}
	r.tools = append(r.tools, t)
}

func (r *Registry) find(name string) (Tool, bool) {
	i := slices.IndexFunc(r.tools, func(t Tool) bool { return t.Spec.Name == name })
	if i < 0 {
		return Tool{}, false
	}
	return r.tools[i], true
}

// Describe is an export of a tool plugin: an abi.ToolList out.
func (r *Registry) Describe(Host, []byte) ([]byte, error) {
	list := abi.ToolList{Tools: []abi.Tool{}}
	for _, t := range r.tools {
		list.Tools = append(list.Tools, t.Spec)
	}
	return json.Marshal(list)
}

// Call is an export of a tool plugin: abi.ToolCallParams in, an abi.ToolResult
// out. A tool that does not exist is a result that says so.
func (r *Registry) Call(h Host, input []byte) ([]byte, error) {
	var p abi.ToolCallParams
	if err := json.Unmarshal(input, &p); err != nil {
		return nil, fmt.Errorf("call: the parameters do not decode: %w", err)
	}
	t, ok := r.find(p.Name)
	if !ok {
		return json.Marshal(r.unknown(p.Name))
	}
	if len(p.Arguments) == 0 || string(p.Arguments) == "null" {
		p.Arguments = json.RawMessage("{}")
	}
	return json.Marshal(t.Call(h, p.Arguments))
}

func (r *Registry) unknown(name string) abi.ToolResult {
	names := make([]string, len(r.tools))
	for i, t := range r.tools {
		names[i] = t.Spec.Name
	}
	text := fmt.Sprintf("not_found: there is no tool %q here; there are: %s", name, strings.Join(names, ", "))
	return abi.ToolResult{Content: []abi.Content{abi.Text(text)}, IsError: true}
}
