package main

import (
	"fmt"
	"slices"

	"github.com/vespiary/vespiary/abi"
)

// newest returns the longest end of history that begins with a user's message and
// holds at most that many messages and bytes. Beginning there, it has the result
// of every tool call in it, and the call of every result.
func newest(history []abi.Message, messages, bytes int) []abi.Message {
	from, size := len(history), 0
	for i, m := range slices.Backward(history) {
		size += sizeOfMessage(m)
		if size > bytes || len(history)-i > messages {
			break
		}
		if m.Role == abi.RoleUser {
			from = i
		}
	}
	return slices.Clone(history[from:])
}

// shrink leaves out the oldest tool results once messages exceed limit bytes, and
// then enough of them that it need not do so again at the next step: the model's
// provider caches what begins the same. The results of the last step stay.
func shrink(messages []abi.Message, limit int) []abi.Message {
	size := 0
	for _, m := range messages {
		size += sizeOfMessage(m)
	}
	if size <= limit {
		return messages
	}
	out := slices.Clone(messages)
	for i := range lastStep(out) {
		if size <= limit*3/4 {
			break
		}
		before := sizeOfMessage(out[i])
		if out[i].Role != abi.RoleTool || before < 200 {
			continue
		}
		note := fmt.Sprintf("[left out to save space: a result of %d bytes]", before)
		out[i].Content = []abi.Content{abi.Text(note)}
		size -= before - sizeOfMessage(out[i])
	}
	return out
}

// lastStep is the index of the last message of the model, behind which only the
// results of its tool calls follow.
func lastStep(messages []abi.Message) int {
	for i, m := range slices.Backward(messages) {
		if m.Role == abi.RoleAssistant {
			return i
		}
	}
	return 0
}

func sizeOfMessage(m abi.Message) int {
	n := len(m.ToolCallID)
	for _, c := range m.Content {
		n += sizeOf(c)
	}
	for _, call := range m.ToolCalls {
		n += len(call.ID) + len(call.Name) + len(call.Arguments)
	}
	return n
}

func sizeOf(c abi.Content) int {
	n := len(c.Text) + len(c.Data) + len(c.URI) + len(c.Name)
	if c.Resource != nil {
		n += len(c.Resource.URI) + len(c.Resource.Text) + len(c.Resource.Blob)
	}
	return n
}
