package abi

import "encoding/json"

// Role is who wrote a message of a conversation with a model.
type Role string

// The roles.
const (
	RoleSystem    Role = "system"
	RoleUser      Role = "user"
	RoleAssistant Role = "assistant"
	RoleTool      Role = "tool" // a tool's result
)

// Message is one message of a conversation with a model.
type Message struct {
	Role       Role       `json:"role"`
	Content    []Content  `json:"content,omitempty"`
	ToolCalls  []ToolCall `json:"tool_calls,omitempty"`   // of an assistant
	ToolCallID string     `json:"tool_call_id,omitempty"` // of a tool: which call it answers
	IsError    bool       `json:"is_error,omitempty"`     // of a tool: the call failed
}

// ToolCall is a model's wish to call a tool.
type ToolCall struct {
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"` // an object; {} when the tool takes none
}

// ChatRequest asks a model for the next message.
type ChatRequest struct {
	Model       string    `json:"model,omitempty"` // a name from the configuration; empty means the agent's own
	Messages    []Message `json:"messages"`
	Tools       []Tool    `json:"tools,omitempty"`
	MaxTokens   int       `json:"max_tokens,omitempty"`
	Temperature *float64  `json:"temperature,omitempty"`
	Stream      bool      `json:"stream,omitempty"` // also emit the text to the caller as it is written
}

// ChatResponse is the model's next message.
type ChatResponse struct {
	Message  Message `json:"message"`
	Finish   Finish  `json:"finish"`
	Model    string  `json:"model"`    // as the provider names it
	Provider string  `json:"provider"` // openai, anthropic, offline, …
	Usage    Usage   `json:"usage"`
}

// Finish is why a model stopped.
type Finish string

// The reasons to stop.
const (
	FinishStop    Finish = "stop"
	FinishTools   Finish = "tool_calls"
	FinishLength  Finish = "length"
	FinishRefusal Finish = "refusal"
)

// Usage is what a call consumed. CostMicros is in millionths of a US dollar and 0
// where the configuration gives no price.
type Usage struct {
	InputTokens     int64 `json:"input_tokens,omitempty"`
	OutputTokens    int64 `json:"output_tokens,omitempty"`
	CacheReadTokens int64 `json:"cache_read_tokens,omitempty"` // part of InputTokens
	CostMicros      int64 `json:"cost_usd_micros,omitempty"`
	Fuel            int64 `json:"fuel,omitempty"` // of the guests that a call activated
}

// Plus returns the sum of u and o.
func (u Usage) Plus(o Usage) Usage {
	u.InputTokens += o.InputTokens
	u.OutputTokens += o.OutputTokens
	u.CacheReadTokens += o.CacheReadTokens
	u.CostMicros += o.CostMicros
	u.Fuel += o.Fuel
	return u
}

// EmbedRequest asks for one vector per input text.
type EmbedRequest struct {
	Model  string   `json:"model"`
	Inputs []string `json:"inputs"`
}

// EmbedResponse holds the vectors in the order of the inputs.
type EmbedResponse struct {
	Vectors [][]float32 `json:"vectors"`
	Model   string      `json:"model"`
	Usage   Usage       `json:"usage"`
}
