package vespiary

import (
	"encoding/json"
	"time"

	"github.com/vespiary/vespiary/abi"
)

// Chat asks a model for the next message of a conversation.
func (c *Context) Chat(r abi.ChatRequest) (abi.ChatResponse, error) {
	var out abi.ChatResponse
	return out, c.do(modelChat, r, &out)
}

// Embed asks a model for one vector per input text.
func (c *Context) Embed(r abi.EmbedRequest) (abi.EmbedResponse, error) {
	var out abi.EmbedResponse
	return out, c.do(modelEmbed, r, &out)
}

// Tools returns the tools that this run may see.
func (c *Context) Tools() ([]abi.Tool, error) {
	var out abi.ToolList
	err := c.do(toolList, struct{}{}, &out)
	return out.Tools, err
}

// CallTool calls a tool with arguments that encode to a JSON object; nil means
// none. A tool that ran and failed is a result with IsError, not an error.
func (c *Context) CallTool(name string, arguments any) (abi.ToolResult, error) {
	p := abi.ToolCallParams{Name: name, Arguments: json.RawMessage("{}")}
	if arguments != nil {
		b, err := json.Marshal(arguments)
		if err != nil {
			return abi.ToolResult{}, fault(abi.CodeInvalid, "the arguments of %s do not encode: %v", name, err)
		}
		p.Arguments = b
	}
	var out abi.ToolResult
	return out, c.do(toolCall, p, &out)
}

// Fetch makes an HTTP request. Any status is a response, not an error.
func (c *Context) Fetch(r abi.HTTPRequest) (abi.HTTPResponse, error) {
	var out abi.HTTPResponse
	return out, c.do(httpFetch, r, &out)
}

// CallAgent has another agent of the host do part of the task, and waits for its reply
// however long that takes. It gets of grants, budget and time at most what this task has.
func (c *Context) CallAgent(r abi.AgentCall) (abi.AgentResult, error) {
	var out abi.AgentResult
	return out, c.do(agentCall, r, &out)
}

// DelegateToken makes a token by which an agent on another host may act in the task for a
// few minutes. Whoever holds it can use it: give it to that host alone.
func (c *Context) DelegateToken(r abi.DelegateToken) (abi.DelegatedToken, error) {
	var out abi.DelegatedToken
	return out, c.do(delegateToken, r, &out)
}

// ReadFile reads a part of a file.
func (c *Context) ReadFile(r abi.FileRead) (abi.FileContent, error) {
	var out abi.FileContent
	return out, c.do(fileRead, r, &out)
}

// WriteFile replaces, extends or removes a file of the session's workspace.
func (c *Context) WriteFile(r abi.FileWrite) (abi.FileInfo, error) {
	var out abi.FileInfo
	return out, c.do(fileWrite, r, &out)
}

// ListFiles lists a folder.
func (c *Context) ListFiles(r abi.FileList) (abi.FileListing, error) {
	var out abi.FileListing
	return out, c.do(fileList, r, &out)
}

// Emit streams content to the caller before the turn's reply.
func (c *Context) Emit(content ...abi.Content) error {
	return c.do(emit, abi.Emit{Content: content}, nil)
}

// EmitText streams a text to the caller before the turn's reply.
func (c *Context) EmitText(text string) error { return c.Emit(abi.Text(text)) }

// Progress tells the caller how far the turn is.
func (c *Context) Progress(p abi.Progress) error { return c.do(emit, abi.Emit{Progress: &p}, nil) }

// Await suspends the guest until one of the events arrives, and returns it. It can
// wait for timers and for signals with a name, for as long as that takes: minutes
// or months, in which the guest holds no memory and the host may restart.
func (c *Context) Await(events ...abi.Wait) (abi.Event, error) {
	var out abi.Event
	return out, c.do(await, abi.Await{For: events}, &out)
}

// Sleep suspends the guest for d. Unlike time.Sleep it survives a restart of the
// host and holds no memory meanwhile.
func (c *Context) Sleep(d time.Duration) error {
	_, err := c.Await(abi.Wait{Type: abi.EventTimer, Name: "sleep", After: d})
	return err
}
