package model_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

type object = map[string]any

// said is what a fake model answers, whatever its dialect.
type said struct {
	text string
	tool string // to call, with args
	args string
	hang bool // after the first words
}

// think is the fake model: it calls the tool it is offered, repeats a tool's
// result, and else says how many messages it was sent.
func think(question, result string, tools []string, messages int) said {
	switch {
	case strings.Contains(question, "hang"):
		return said{text: "This will never be finished", hang: true}
	case result != "":
		return said{text: "The tool says: " + result}
	case len(tools) > 0:
		return said{text: "Let me look.", tool: tools[0], args: `{"zone":"UTC","deep":{"a":[1,2]}}`}
	default:
		return said{text: fmt.Sprintf("You sent %d messages. Grüße!", messages)}
	}
}

// events writes server-sent events, each flushed on its own.
func events(w http.ResponseWriter) func(name string, v any) {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	return func(name string, v any) {
		data, isText := v.(string)
		if !isText {
			raw, _ := json.Marshal(v)
			data = string(raw)
		}
		if name != "" {
			_, _ = fmt.Fprintf(w, "event: %s\n", name)
		}
		_, _ = fmt.Fprintf(w, "data: %s\n\n", data)
		_ = http.NewResponseController(w).Flush()
	}
}

func pieces(text string) []string { return strings.SplitAfter(text, " ") }

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

type openAIRequest struct {
	Model   string
	Stream  bool
	Options struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	Messages []struct {
		Role       string
		Content    json.RawMessage
		ToolCallID string `json:"tool_call_id"`
	}
	Tools []struct{ Function struct{ Name string } }
}

// openAI serves chat completions as OpenAI does.
func openAI(t *testing.T) http.HandlerFunc {
	t.Helper()
	return func(w http.ResponseWriter, r *http.Request) {
		var q openAIRequest
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil || r.URL.Path != "/v1/chat/completions" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		if r.Header.Get("Authorization") != "Bearer "+key {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error":{"message":"Incorrect API key provided: nope","type":"invalid_request_error","code":"invalid_api_key"}}`)
			return
		}
		var question, result string
		for _, m := range q.Messages {
			var text string
			_ = json.Unmarshal(m.Content, &text)
			switch m.Role {
			case "user":
				question, result = text, ""
			case "tool":
				result = text
			}
		}
		var tools []string
		for _, tool := range q.Tools {
			tools = append(tools, tool.Function.Name)
		}
		s := think(question, result, tools, len(q.Messages))
		if q.Stream {
			streamOpenAI(w, r, q, s)
		} else {
			wholeOpenAI(w, q, s)
		}
	}
}

var openAIUsage = object{"prompt_tokens": 30, "completion_tokens": 9, "prompt_tokens_details": object{"cached_tokens": 10}}

func finishOpenAI(s said) string {
	if s.tool != "" {
		return "tool_calls"
	}
	return "stop"
}

func wholeOpenAI(w http.ResponseWriter, q openAIRequest, s said) {
	message := object{"role": "assistant", "content": s.text}
	if s.tool != "" {
		message["tool_calls"] = []object{{"id": "call_9", "type": "function", "function": object{"name": s.tool, "arguments": s.args}}}
	}
	answer(w, object{
		"model": q.Model + "-2026", "usage": openAIUsage,
		"choices": []object{{"index": 0, "message": message, "finish_reason": finishOpenAI(s)}},
	})
}

func streamOpenAI(w http.ResponseWriter, r *http.Request, q openAIRequest, s said) {
	send := events(w)
	chunk := func(delta object, finish any) {
		send("", object{"model": q.Model + "-2026", "choices": []object{{"index": 0, "delta": delta, "finish_reason": finish}}})
	}
	chunk(object{"role": "assistant", "content": ""}, nil)
	for _, piece := range pieces(s.text) {
		chunk(object{"content": piece}, nil)
		if s.hang {
			<-r.Context().Done()
			return
		}
	}
	if s.tool != "" {
		call := func(id any, f object) {
			c := object{"index": 0, "function": f}
			if id != nil {
				c["id"] = id
			}
			chunk(object{"tool_calls": []object{c}}, nil)
		}
		call("call_9", object{"name": s.tool, "arguments": ""})
		for _, piece := range strings.SplitAfter(s.args, ":") {
			call(nil, object{"arguments": piece})
		}
	}
	chunk(object{}, finishOpenAI(s))
	if q.Options.IncludeUsage {
		send("", object{"model": q.Model + "-2026", "choices": []object{}, "usage": openAIUsage})
	}
	send("", "[DONE]")
}

type anthropicRequest struct {
	Model     string
	MaxTokens int `json:"max_tokens"`
	Stream    bool
	Messages  []struct {
		Role    string
		Content []struct {
			Type, Text string
			Content    []struct{ Text string }
		}
	}
	Tools []struct{ Name string }
}

// anthropic serves messages as Anthropic does.
func anthropic(t *testing.T) http.HandlerFunc {
	t.Helper()
	return func(w http.ResponseWriter, r *http.Request) {
		var q anthropicRequest
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil || r.URL.Path != "/v1/messages" || q.MaxTokens == 0 {
			t.Errorf("%s, max_tokens %d: %v", r.URL.Path, q.MaxTokens, err)
		}
		if r.Header.Get("X-Api-Key") != key || r.Header.Get("Anthropic-Version") != "2023-06-01" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}`)
			return
		}
		var question, result string
		for _, m := range q.Messages {
			for _, b := range m.Content {
				switch {
				case m.Role == "user" && b.Type == "text":
					question, result = b.Text, ""
				case b.Type == "tool_result":
					result = b.Content[0].Text
				}
			}
		}
		var tools []string
		for _, tool := range q.Tools {
			tools = append(tools, tool.Name)
		}
		s := think(question, result, tools, len(q.Messages))
		if q.Stream {
			streamAnthropic(w, r, q, s)
		} else {
			wholeAnthropic(w, q, s)
		}
	}
}

func stopAnthropic(s said) string {
	if s.tool != "" {
		return "tool_use"
	}
	return "end_turn"
}

func wholeAnthropic(w http.ResponseWriter, q anthropicRequest, s said) {
	content := []object{{"type": "text", "text": s.text}}
	if s.tool != "" {
		content = append(content, object{"type": "tool_use", "id": "toolu_9", "name": s.tool, "input": json.RawMessage(s.args)})
	}
	answer(w, object{
		"type": "message", "role": "assistant", "model": q.Model + "-2026", "content": content, "stop_reason": stopAnthropic(s),
		"usage": object{"input_tokens": 20, "cache_read_input_tokens": 10, "output_tokens": 9},
	})
}

func streamAnthropic(w http.ResponseWriter, r *http.Request, q anthropicRequest, s said) {
	send := events(w)
	typed := func(name string, v object) { v["type"] = name; send(name, v) }
	typed("message_start", object{"message": object{
		"type": "message", "model": q.Model + "-2026", "content": []object{}, "stop_reason": nil,
		"usage": object{"input_tokens": 20, "cache_read_input_tokens": 10, "output_tokens": 1},
	}})
	typed("content_block_start", object{"index": 0, "content_block": object{"type": "text", "text": ""}})
	typed("ping", object{})
	for _, piece := range pieces(s.text) {
		typed("content_block_delta", object{"index": 0, "delta": object{"type": "text_delta", "text": piece}})
		if s.hang {
			<-r.Context().Done()
			return
		}
	}
	typed("content_block_stop", object{"index": 0})
	if s.tool != "" {
		typed("content_block_start", object{"index": 1, "content_block": object{"type": "tool_use", "id": "toolu_9", "name": s.tool, "input": object{}}})
		for _, piece := range strings.SplitAfter(s.args, ":") {
			typed("content_block_delta", object{"index": 1, "delta": object{"type": "input_json_delta", "partial_json": piece}})
		}
		typed("content_block_stop", object{"index": 1})
	}
	typed("message_delta", object{"delta": object{"stop_reason": stopAnthropic(s)}, "usage": object{"output_tokens": 9}})
	typed("message_stop", object{})
}
