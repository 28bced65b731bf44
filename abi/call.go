package abi

import "encoding/json"

// Import namespaces. A capability is a function of NamespaceUser named as below.
const (
	NamespaceEnv  = "extism:host/env"  // Extism's memory blocks, input, output, vars, config, log
	NamespaceUser = "extism:host/user" // capabilities
	NamespaceMem  = "vespiary:mem"     // optional bulk copies between guest memory and blocks
)

// Capabilities, by import name.
const (
	CallModelChat     = "model_chat"     // ChatRequest -> ChatResponse
	CallModelEmbed    = "model_embed"    // EmbedRequest -> EmbedResponse
	CallToolList      = "tool_list"      // {} -> ToolList
	CallToolCall      = "tool_call"      // ToolCallParams -> ToolResult
	CallMemorySession = "memory_session" // SessionMemory -> SessionMemoryResult
	CallHTTPFetch     = "http_fetch"     // HTTPRequest -> HTTPResponse
	CallFileRead      = "file_read"      // FileRead -> FileContent
	CallFileWrite     = "file_write"     // FileWrite -> FileInfo
	CallFileList      = "file_list"      // FileList -> FileListing
	CallAgentCall     = "agent_call"     // AgentCall -> AgentResult
	CallDelegateToken = "delegate_token" // DelegateToken -> DelegatedToken
	CallEmit          = "emit"           // Emit -> {}
	CallAwait         = "await"          // Await -> Event
	CallStart         = "call_start"     // Start -> Started
	CallWait          = "call_wait"      // WaitFor -> Waited
)

// Keys that are reserved in every request object.
const (
	KeyHandle  = "$handle"     // {"$handle": id} stands for an opaque value that the host holds
	KeyTimeout = "$timeout_ms" // time limit of this call in milliseconds
)

// Result is the answer to every host call: OK or Error is set.
type Result struct {
	OK     json.RawMessage `json:"ok,omitempty"`
	Labels Labels          `json:"labels,omitempty"` // pointers into OK
	Error  *Error          `json:"error,omitempty"`
}

// Start begins a capability without waiting for it. Ids count from 1 in an
// activation, in the order of the calls.
type Start struct {
	Name    string          `json:"name"`
	Request json.RawMessage `json:"request"`
}

// Started names the call that call_start began.
type Started struct {
	ID int `json:"id"`
}

// WaitFor waits until Min of the calls IDs are done; Min 0 waits for all of them.
// A call is delivered once: a later wait for it is invalid.
type WaitFor struct {
	IDs []int `json:"ids"`
	Min int   `json:"min,omitempty"`
}

// Waited holds the results of call_wait in the order in which they were
// recorded, and the ids still under way.
type Waited struct {
	Done    []Finished `json:"done"`
	Pending []int      `json:"pending,omitempty"`
}

// Finished is the result of one started call.
type Finished struct {
	ID     int    `json:"id"`
	Result Result `json:"result"`
}

// Emit streams content to the caller before the turn's reply.
type Emit struct {
	Content  []Content `json:"content,omitempty"`
	Progress *Progress `json:"progress,omitempty"`
}

// Progress tells how far the turn is; Total 0 means unknown.
type Progress struct {
	Done    float64 `json:"done"`
	Total   float64 `json:"total,omitempty"`
	Message string  `json:"message,omitempty"`
}

// Await suspends the guest until one of the events arrives.
type Await struct {
	For []Wait `json:"for"`
}

// SessionMemory is a request to the session's working memory. Op is append (Items
// are added to the list Key), window (the newest Limit items of the list Key; 0
// means all), get or set (the value Key; a null Value removes it).
type SessionMemory struct {
	Op    string            `json:"op"`
	Key   string            `json:"key"`
	Items []json.RawMessage `json:"items,omitempty"`
	Limit int               `json:"limit,omitempty"`
	Value json.RawMessage   `json:"value,omitempty"`
}

// SessionMemoryResult answers a SessionMemory request: Items for window, Value
// for get, Count (the list's length) for window.
type SessionMemoryResult struct {
	Items []json.RawMessage `json:"items,omitempty"`
	Count int               `json:"count,omitempty"`
	Value json.RawMessage   `json:"value,omitempty"`
}
