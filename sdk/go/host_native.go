//go:build !wasip1

package vespiary

import "github.com/vespiary/vespiary/abi"

// capability is a function that the host offers.
type capability struct{ name string }

var (
	modelChat     = capability{abi.CallModelChat}
	modelEmbed    = capability{abi.CallModelEmbed}
	toolList      = capability{abi.CallToolList}
	toolCall      = capability{abi.CallToolCall}
	memorySession = capability{abi.CallMemorySession}
	httpFetch     = capability{abi.CallHTTPFetch}
	fileRead      = capability{abi.CallFileRead}
	fileWrite     = capability{abi.CallFileWrite}
	fileList      = capability{abi.CallFileList}
	agentCall     = capability{abi.CallAgentCall}
	delegateToken = capability{abi.CallDelegateToken}
	emit          = capability{abi.CallEmit}
	await         = capability{abi.CallAwait}
	callStart     = capability{abi.CallStart}
	callWait      = capability{abi.CallWait}
)

func (c *Context) send(k capability, request []byte) []byte { return c.host.Call(k.name, request) }

// Config returns a value of the plugin's configuration, as the host's operator
// set it. The agent's own settings are in Event.Agent.Options.
func (c *Context) Config(key string) (value string, ok bool) { return c.host.Config(key) }

func (c *Context) debug(message string) { c.host.Log("debug", message) }
func (c *Context) info(message string)  { c.host.Log("info", message) }
func (c *Context) warn(message string)  { c.host.Log("warn", message) }
func (c *Context) error(message string) { c.host.Log("error", message) }
