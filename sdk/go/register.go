package vespiary

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/sdk/go/internal/guest"
)

// Registered lets a plugin register in the declaration of a package variable,
// as in var _ = vespiary.Agent(handle).
type Registered struct{}

// Agent makes f the plugin's agent: it is called once for each event, and what it
// returns ends the turn. A reply without a status is done. An error, or a panic,
// is a reply that failed.
func Agent(f func(*Context, abi.Event) (abi.Reply, error)) Registered {
	return AgentOf(func(_ *struct{}, c *Context, e abi.Event) (abi.Reply, error) { return f(c, e) })
}

// AgentOf is Agent with a state: S is zero when the session begins, and f finds
// it as the turn before left it, however long ago that was. f may be a method:
//
//	var _ = vespiary.AgentOf((*counter).handle)
//
// A turn that is run again finds the state that it found the first time. State
// of which other versions of the plugin are to know is handed over by packages
// save and migrate.
func AgentOf[S any](f func(*S, *Context, abi.Event) (abi.Reply, error)) Registered {
	guest.Plugin.SetAgent(guest.Agent{
		Begin: func() any { return new(S) },
		Handle: func(state any, h guest.Host, e abi.Event) abi.Reply {
			c := newContext(h)
			defer c.lanes.close()
			return ended(guarded(c, func(c *Context) (abi.Reply, error) { return f(state.(*S), c, e) }))
		},
	})
	return Registered{}
}

// ended completes the reply of an agent.
func ended(reply abi.Reply, err error) abi.Reply {
	switch {
	case err != nil:
		reply.Status, reply.Error = abi.StatusFailed, Explain(err)
		if e, ok := errors.AsType[*abi.Error](err); ok {
			reply.Code = e.Code
		}
	case reply.Status == "":
		reply.Status = abi.StatusDone
	}
	return reply
}

// Done is a reply of one text that ends the turn.
func Done(text string) abi.Reply {
	return abi.Reply{Status: abi.StatusDone, Content: []abi.Content{abi.Text(text)}}
}

// Tool adds f to the plugin's tools. In is a struct; its JSON Schema is made from
// its fields, and arguments that do not fit it never reach f. The tag json names a
// field as usual, and makes it optional by omitempty or omitzero, as a pointer
// does; doc describes it; enum:"low,high" lists its values. Out becomes the result:
//
//   - an abi.ToolResult is the result itself, []abi.Content its content;
//   - a string is its text;
//   - a struct or map is its structured content, and its String method, where it
//     has one, writes the text for the model to read, which is JSON otherwise;
//   - anything else is text in JSON.
//
// An error, or a panic, is a result with IsError and the error's text. At most
// one abi.ToolAnnotations may follow. Tool panics where In or Out has no schema,
// and where the name is taken.
func Tool[In, Out any](name, description string, f func(*Context, In) (Out, error), annotations ...abi.ToolAnnotations) Registered {
	input, spec := describe(name, description, reflect.TypeFor[In](), reflect.TypeFor[Out](), annotations)
	guest.Plugin.AddTool(guest.Tool{Spec: spec, Call: func(h guest.Host, arguments json.RawMessage) abi.ToolResult {
		var in In
		if err := input.decode(arguments, &in); err != nil {
			return toolError(fault(abi.CodeInvalid, "%s: %v", name, err))
		}
		c := newContext(h)
		defer c.lanes.close()
		out, err := guarded(c, func(c *Context) (Out, error) { return f(c, in) })
		if err != nil {
			return toolError(err)
		}
		return toolResult(out)
	}})
	return Registered{}
}

func describe(name, description string, in, out reflect.Type, annotations []abi.ToolAnnotations) (*schema, abi.Tool) {
	if in.Kind() != reflect.Struct || len(annotations) > 1 {
		panic("vespiary: tool " + name + ": the input must be a struct, and at most one annotations may be given")
	}
	input := schemaOf(in, false)
	spec := abi.Tool{Name: name, Description: description, InputSchema: input.json()}
	if structured(out) {
		spec.OutputSchema = schemaOf(out, true).json()
	}
	if len(annotations) == 1 {
		spec.Title, spec.Annotations = annotations[0].Title, &annotations[0]
	}
	return input, spec
}

// structured tells whether a tool's output is structured content, which MCP
// wants to be an object.
func structured(t reflect.Type) bool {
	return t != reflect.TypeFor[abi.ToolResult]() &&
		(t.Kind() == reflect.Struct || t.Kind() == reflect.Map && t.Key().Kind() == reflect.String)
}

func toolResult(out any) abi.ToolResult {
	switch v := out.(type) {
	case abi.ToolResult:
		return v
	case []abi.Content:
		return abi.ToolResult{Content: v}
	case string:
		return abi.ToolResult{Content: []abi.Content{abi.Text(v)}}
	}
	b, err := json.Marshal(out)
	if err != nil {
		return toolError(fault(abi.CodeInternal, "the result does not encode: %v", err))
	}
	r := abi.ToolResult{Content: []abi.Content{abi.Text(string(b))}}
	if s, ok := out.(fmt.Stringer); ok {
		r.Content[0].Text = s.String()
	}
	if structured(reflect.TypeOf(out)) && bytes.HasPrefix(b, []byte("{")) {
		r.StructuredContent = b
	}
	return r
}

func toolError(err error) abi.ToolResult {
	return abi.ToolResult{Content: []abi.Content{abi.Text(Explain(err))}, IsError: true}
}

// Explain says what an error means in words for a model or a person: that of a
// denied host call names the policies that decided, and what must not simply be
// tried again says so.
func Explain(err error) string {
	text := err.Error()
	e, ok := errors.AsType[*abi.Error](err)
	if !ok {
		return text
	}
	if e.Policy != "" {
		text += " (policy " + e.Policy + ")"
	}
	switch e.Code {
	case abi.CodeUnknownOutcome:
		text += " (do not repeat it unless you find out that it did not happen)"
	case abi.CodeNeedsApproval:
		text += " (it was not done, and repeating it does not help before a person approves it)"
	}
	return text
}

// guarded runs code of the plugin's author: a panic becomes an error, and its
// stack a line of the log, for a trap would take the whole turn with it.
func guarded[T any](c *Context, f func(*Context) (T, error)) (out T, err error) {
	defer func() {
		if p := recover(); p != nil {
			c.Errorf("panic: %v\n%s", p, debug.Stack())
			err = fault(abi.CodeInternal, "the plugin panicked: %v", p)
		}
	}()
	return f(c)
}
