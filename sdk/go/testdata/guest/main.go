// Command guest is what the SDK's tests run in Wasm: a tool that decodes and
// encodes the messages of the contract, and an agent that does what its event
// names.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/vespiary/vespiary/abi"
	vespiary "github.com/vespiary/vespiary/sdk/go"
)

type roundTrip struct {
	Type    string          `json:"type"`
	Message json.RawMessage `json:"message"`
}

var messages = map[string]func() any{
	"Result": as[abi.Result], "Start": as[abi.Start], "Started": as[abi.Started], "WaitFor": as[abi.WaitFor],
	"Waited": as[abi.Waited], "Finished": as[abi.Finished], "Emit": as[abi.Emit], "Progress": as[abi.Progress],
	"Await": as[abi.Await], "SessionMemory": as[abi.SessionMemory], "SessionMemoryResult": as[abi.SessionMemoryResult],
	"Content": as[abi.Content], "Resource": as[abi.Resource], "Error": as[abi.Error], "Event": as[abi.Event],
	"Caller": as[abi.Caller], "Binding": as[abi.Binding], "Reply": as[abi.Reply], "Wait": as[abi.Wait], "Migration": as[abi.Migration],
	"FileRead": as[abi.FileRead], "FileContent": as[abi.FileContent], "FileWrite": as[abi.FileWrite],
	"FileList": as[abi.FileList], "FileListing": as[abi.FileListing], "FileInfo": as[abi.FileInfo],
	"HTTPRequest": as[abi.HTTPRequest], "HTTPResponse": as[abi.HTTPResponse], "Label": as[abi.Label],
	"Labels": as[abi.Labels], "Manifest": as[abi.Manifest], "Message": as[abi.Message], "ToolCall": as[abi.ToolCall],
	"ChatRequest": as[abi.ChatRequest], "ChatResponse": as[abi.ChatResponse], "Usage": as[abi.Usage],
	"EmbedRequest": as[abi.EmbedRequest], "EmbedResponse": as[abi.EmbedResponse], "Tool": as[abi.Tool],
	"ToolAnnotations": as[abi.ToolAnnotations], "ToolList": as[abi.ToolList], "ToolCallParams": as[abi.ToolCallParams],
	"ToolResult": as[abi.ToolResult], "AgentCall": as[abi.AgentCall], "AgentResult": as[abi.AgentResult],
	"AgentGrant": as[abi.AgentGrant], "AgentResource": as[abi.AgentResource], "AgentBudget": as[abi.AgentBudget],
	"DelegateToken": as[abi.DelegateToken], "DelegatedToken": as[abi.DelegatedToken],
}

func as[T any]() any { return new(T) }

var _ = vespiary.Tool("roundtrip", "", func(_ *vespiary.Context, in roundTrip) (abi.ToolResult, error) {
	make, ok := messages[in.Type]
	if !ok {
		return abi.ToolResult{}, fmt.Errorf("no type %q", in.Type)
	}
	v := make()
	d := json.NewDecoder(bytes.NewReader(in.Message))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return abi.ToolResult{}, err
	}
	b, err := json.Marshal(v)
	return abi.ToolResult{StructuredContent: b}, err
})

var _ = vespiary.Agent(func(c *vespiary.Context, e abi.Event) (abi.Reply, error) {
	switch e.Name {
	case "large":
		r, err := c.ReadFile(abi.FileRead{Path: strings.Repeat("p", 10_003)})
		return vespiary.Done(r.Text), err
	case "denied":
		_, err := c.ReadFile(abi.FileRead{Path: "secret"})
		if !errors.Is(err, &abi.Error{Code: abi.CodeDenied}) {
			err = fmt.Errorf("want a denial, got %w", err)
		}
		return abi.Reply{}, err
	case "parallel":
		values, errs := vespiary.All(c, []string{"a", "b", "c"}, func(c *vespiary.Context, path string) (string, error) {
			first, err := c.ReadFile(abi.FileRead{Path: path})
			if err != nil {
				return "", err
			}
			second, err := c.ReadFile(abi.FileRead{Path: first.Text})
			return second.Text, err
		})
		return vespiary.Done(strings.Join(values, " ")), errors.Join(errs...)
	case "config":
		value, ok := c.Config("unit")
		c.Infof("unit is %s", value)
		return vespiary.Done(fmt.Sprint(value, ok)), nil
	case "panic":
		var p *abi.Event
		return vespiary.Done(p.Name), nil
	}
	return abi.Reply{}, fmt.Errorf("no event %q", e.Name)
})

func main() {}
