package telemetry

import (
	"context"
	"encoding/json"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// StartCall begins the span of a call that was authorised. The returned function
// ends it; an empty code is success.
func (t *Telemetry) StartCall(ctx context.Context, c *host.Call) (context.Context, func(abi.Code, abi.Usage)) {
	begun := t.now()
	agent := c.Run.Agent.Name
	ctx, span := t.tracer.Start(ctx, "call", trace.WithSpanKind(kindOf(c)))
	if span.IsRecording() { // attributes cost more than the span
		name, attributes := t.describe(c)
		span.SetName(name)
		span.SetAttributes(attributes...)
	}
	return ctx, func(code abi.Code, u abi.Usage) {
		t.metrics.call(c.Name, agent, code, u, t.now().Sub(begun))
		span.SetAttributes(usage(u)...)
		if code != "" {
			fail(span, string(code))
		}
		span.End()
	}
}

// Replayed counts a call that the journal answered.
func (t *Telemetry) Replayed(name string) { t.metrics.replayed.WithLabelValues(callLabel(name)).Inc() }

// Unknown counts a call whose outcome a crash hid.
func (t *Telemetry) Unknown(name string) { t.metrics.unknown.WithLabelValues(callLabel(name)).Inc() }

// Refused counts a call that was not performed: denied, invalid or over budget.
func (t *Telemetry) Refused(name string, code abi.Code) {
	t.metrics.calls.WithLabelValues(callLabel(name), outcome(code)).Inc()
}

// Appended counts entries that became durable in journals.
func (t *Telemetry) Appended(entries int) { t.metrics.appended.Add(float64(entries)) }

func kindOf(c *host.Call) trace.SpanKind {
	switch c.Name {
	case abi.CallModelChat, abi.CallModelEmbed, abi.CallHTTPFetch:
		return trace.SpanKindClient
	}
	return trace.SpanKindInternal
}

// describe is the name and the attributes of a call's span.
func (t *Telemetry) describe(c *host.Call) (string, []attribute.KeyValue) {
	out := []attribute.KeyValue{
		keyConversation.String(c.Run.Session), keyAgentName.String(c.Run.Agent.Name), keyPath.String(c.Path),
		keyAction.String(c.Class.Action), keyRun.String(c.Run.ID), keyAttempt.Int(c.Attempt),
	}
	switch c.Name {
	case abi.CallModelChat:
		return t.model(c, operationChat, out)
	case abi.CallModelEmbed:
		return t.model(c, operationEmbed, out)
	case abi.CallToolCall:
		return t.tool(c, out)
	case abi.CallHTTPFetch:
		out = append(out, target(c)...)
	}
	return "call " + c.Name, append(out, keyResource.String(c.Class.Resource.UID.Type+"::"+c.Class.Resource.UID.ID))
}

// model describes a call of a language model.
func (t *Telemetry) model(c *host.Call, operation string, out []attribute.KeyValue) (string, []attribute.KeyValue) {
	model, _ := c.Class.Resource.Attrs["name"].(string)
	if model == "" {
		model = c.Class.Resource.UID.ID
	}
	out = append(out, keyOperation.String(operation), keyModel.String(model))
	for _, p := range c.Class.Resource.Parents {
		if p.Type == "Provider" {
			out = append(out, keyProvider.String(p.ID))
		}
	}
	if t.content && operation == operationChat {
		out = append(out, keyMessages.String(messages(c.Request)))
	}
	return operation + " " + model, out
}

// tool describes a call of a tool.
func (t *Telemetry) tool(c *host.Call, out []attribute.KeyValue) (string, []attribute.KeyValue) {
	name := c.Class.Resource.UID.ID
	out = append(out,
		keyOperation.String(operationTool), keyToolName.String(name),
		keyToolCall.String(c.Key), keyToolType.String("function"),
	)
	if t.content {
		var in abi.ToolCallParams
		if json.Unmarshal(c.Request, &in) == nil {
			out = append(out, keyArguments.String(bounded(string(in.Arguments))))
		}
	}
	return operationTool + " " + name, out
}

func target(c *host.Call) []attribute.KeyValue {
	name, _ := c.Class.Resource.Attrs["host"].(string)
	port, _ := c.Class.Resource.Attrs["port"].(int64)
	return []attribute.KeyValue{keyServer.String(name), keyServerPort.Int64(port)}
}

// messages are a conversation in the form of gen_ai.input.messages.
func messages(request []byte) string {
	var in abi.ChatRequest
	if json.Unmarshal(request, &in) != nil {
		return ""
	}
	type part struct {
		Type      string          `json:"type"`
		Content   string          `json:"content,omitempty"`
		ID        string          `json:"id,omitempty"`
		Name      string          `json:"name,omitempty"`
		Arguments json.RawMessage `json:"arguments,omitempty"`
		Response  string          `json:"response,omitempty"`
	}
	type message struct {
		Role  string `json:"role"`
		Parts []part `json:"parts"`
	}
	var out []message
	for _, m := range in.Messages {
		text, parts := abi.TextOf(m.Content), []part{}
		switch {
		case m.ToolCallID != "":
			parts = append(parts, part{Type: "tool_call_response", ID: m.ToolCallID, Response: text})
		case text != "":
			parts = append(parts, part{Type: "text", Content: text})
		}
		for _, call := range m.ToolCalls {
			parts = append(parts, part{Type: "tool_call", ID: call.ID, Name: call.Name, Arguments: call.Arguments})
		}
		out = append(out, message{string(m.Role), parts})
	}
	b, err := json.Marshal(out)
	if err != nil {
		return ""
	}
	return bounded(string(b))
}

// maxContent bounds a piece of content in a span, in bytes: collectors refuse more.
const maxContent = 64 << 10

func bounded(s string) string {
	if len(s) <= maxContent {
		return s
	}
	return strings.ToValidUTF8(s[:maxContent], "") + "…"
}
