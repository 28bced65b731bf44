package project

import (
	"maps"
	"slices"

	"github.com/vespiary/vespiary/abi"
)

// capabilities says in words what each import of abi.NamespaceUser lets a plugin
// ask for.
var capabilities = map[string]string{
	abi.CallModelChat:     "ask the language models of the configuration",
	abi.CallModelEmbed:    "turn text into vectors with the models of the configuration",
	abi.CallToolList:      "see the tools that its agent is given",
	abi.CallToolCall:      "call the tools that its agent is given",
	abi.CallMemorySession: "keep and read what its session remembers",
	abi.CallHTTPFetch:     "send HTTP requests",
	abi.CallFileRead:      "read files of its session's workspace and of mounted folders",
	abi.CallFileWrite:     "write files of its session's workspace",
	abi.CallFileList:      "list files of its session's workspace and of mounted folders",
	abi.CallAgentCall:     "have other agents of the host do part of its task",
	abi.CallDelegateToken: "have agents on other hosts act in its task for some minutes",
	abi.CallEmit:          "send content to its caller before it has finished",
	abi.CallAwait:         "wait for a time, a signal or a person's answer",
	abi.CallStart:         "start any of its calls without waiting for it",
	abi.CallWait:          "wait for calls that it has started",
}

// Describe says what a capability lets a plugin do; ok is false for an unknown one.
func Describe(capability string) (what string, ok bool) {
	what, ok = capabilities[capability]
	return what, ok
}

func capabilityNames() []string { return slices.Sorted(maps.Keys(capabilities)) }
