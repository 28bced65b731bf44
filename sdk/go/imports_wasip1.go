package vespiary

import "github.com/vespiary/vespiary/abi"

// The capabilities of the contract. The linker keeps an import only if the code
// of the plugin reaches it, so that a plugin's import section lists what it can
// ask for and nothing else.
var (
	modelChat     = capability{abi.CallModelChat, importModelChat}
	modelEmbed    = capability{abi.CallModelEmbed, importModelEmbed}
	toolList      = capability{abi.CallToolList, importToolList}
	toolCall      = capability{abi.CallToolCall, importToolCall}
	memorySession = capability{abi.CallMemorySession, importMemorySession}
	httpFetch     = capability{abi.CallHTTPFetch, importHTTPFetch}
	fileRead      = capability{abi.CallFileRead, importFileRead}
	fileWrite     = capability{abi.CallFileWrite, importFileWrite}
	fileList      = capability{abi.CallFileList, importFileList}
	agentCall     = capability{abi.CallAgentCall, importAgentCall}
	delegateToken = capability{abi.CallDelegateToken, importDelegateToken}
	emit          = capability{abi.CallEmit, importEmit}
	await         = capability{abi.CallAwait, importAwait}
	callStart     = capability{abi.CallStart, importCallStart}
	callWait      = capability{abi.CallWait, importCallWait}
)

//go:wasmimport extism:host/user model_chat
func importModelChat(block uint64) uint64

//go:wasmimport extism:host/user model_embed
func importModelEmbed(block uint64) uint64

//go:wasmimport extism:host/user tool_list
func importToolList(block uint64) uint64

//go:wasmimport extism:host/user tool_call
func importToolCall(block uint64) uint64

//go:wasmimport extism:host/user memory_session
func importMemorySession(block uint64) uint64

//go:wasmimport extism:host/user http_fetch
func importHTTPFetch(block uint64) uint64

//go:wasmimport extism:host/user file_read
func importFileRead(block uint64) uint64

//go:wasmimport extism:host/user file_write
func importFileWrite(block uint64) uint64

//go:wasmimport extism:host/user file_list
func importFileList(block uint64) uint64

//go:wasmimport extism:host/user agent_call
func importAgentCall(block uint64) uint64

//go:wasmimport extism:host/user delegate_token
func importDelegateToken(block uint64) uint64

//go:wasmimport extism:host/user emit
func importEmit(block uint64) uint64

//go:wasmimport extism:host/user await
func importAwait(block uint64) uint64

//go:wasmimport extism:host/user call_start
func importCallStart(block uint64) uint64

//go:wasmimport extism:host/user call_wait
func importCallWait(block uint64) uint64

//go:wasmimport extism:host/env config_get
func configGet(key uint64) uint64

//go:wasmimport extism:host/env log_debug
func logDebug(message uint64)

//go:wasmimport extism:host/env log_info
func logInfo(message uint64)

//go:wasmimport extism:host/env log_warn
func logWarn(message uint64)

//go:wasmimport extism:host/env log_error
func logError(message uint64)
