//go:build !wasip1

package vespiary_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tetratelabs/wazero"

	"github.com/vespiary/vespiary/abi"
)

// starting adds call_start and call_wait to a host that answers.
func starting(answer func(name string, request []byte) string) func(name string, request []byte) []byte {
	started := map[int]string{}
	return func(name string, request []byte) []byte {
		switch name {
		case abi.CallStart:
			var s abi.Start
			if err := json.Unmarshal(request, &s); err != nil {
				return nil
			}
			id := len(started) + 1
			started[id] = answer(s.Name, s.Request)
			return fmt.Appendf(nil, `{"ok":{"id":%d}}`, id)
		case abi.CallWait:
			var w abi.WaitFor
			if err := json.Unmarshal(request, &w); err != nil {
				return nil
			}
			last := w.IDs[len(w.IDs)-1]
			return fmt.Appendf(nil, `{"ok":{"done":[{"id":%d,"result":%s}]}}`, last, started[last])
		}
		return []byte(answer(name, request))
	}
}

// TestWasmLoop runs the default agent, as it is built, through a turn with two
// tool calls at the same time.
func TestWasmLoop(t *testing.T) {
	var chats []string
	h := newWasmHost(t, build(t, "../../plugins/agents/loop"), starting(func(name string, request []byte) string {
		switch name {
		case abi.CallToolList:
			return `{"ok":{"tools":[{"name":"up","inputSchema":{"type":"object"}}]}}`
		case abi.CallToolCall:
			if strings.Contains(string(request), "bad") {
				return `{"error":{"code":"denied","message":"no","policy":"p"}}`
			}
			return `{"ok":{"content":[{"type":"text","text":"GOOD"}]}}`
		case abi.CallModelChat:
			if chats = append(chats, string(request)); len(chats) == 1 {
				return `{"ok":{"message":{"role":"assistant","tool_calls":[` +
					`{"id":"1","name":"up","arguments":{"s":"good"}},{"id":"2","name":"up","arguments":{"s":"bad"}}]},"finish":"tool_calls"}}`
			}
			return `{"ok":{"message":{"role":"assistant","content":[{"type":"text","text":"done"}]},"finish":"stop"}}`
		}
		return `{"ok":{}}`
	}))
	out, err := h.call(t, "handle", []byte(`{"type":"message","content":[{"type":"text","text":"go"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`{"content":[{"type":"text","text":"done"}],"status":"done"}`, string(out)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	want := `{"role":"tool","content":[{"type":"text","text":"GOOD"}],"tool_call_id":"1"},` +
		`{"role":"tool","content":[{"type":"text","text":"denied: no (policy p)"}],"tool_call_id":"2","is_error":true}]`
	if len(chats) != 2 || !strings.Contains(chats[1], want) {
		t.Errorf("the model was asked %s", chats)
	}
}

// TestWasmLoopManyTurns has one instance of the default agent take hundreds of
// turns of a conversation that grows: what it asks the model, and its memory, do
// not.
func TestWasmLoopManyTurns(t *testing.T) {
	var items []json.RawMessage // of the conversation
	var asked abi.ChatRequest
	answer := func(name string, request []byte) string {
		switch name {
		case abi.CallMemorySession:
			var r abi.SessionMemory
			if err := json.Unmarshal(request, &r); err != nil {
				t.Error(err)
			}
			if items = append(items, r.Items...); r.Op == "append" {
				return `{"ok":{}}`
			}
			b, _ := json.Marshal(abi.SessionMemoryResult{Items: items[max(0, len(items)-r.Limit):], Count: len(items)})
			return `{"ok":` + string(b) + `}`
		case abi.CallToolList:
			return `{"ok":{"tools":[{"name":"up","inputSchema":{"type":"object"}}]}}`
		case abi.CallToolCall:
			return `{"error":{"code":"unknown_outcome","message":"` + strings.Repeat("gone ", 20) + `"}}`
		}
		asked = abi.ChatRequest{}
		if err := json.Unmarshal(request, &asked); err != nil {
			t.Error(err)
		}
		if asked.Messages[len(asked.Messages)-1].Role == abi.RoleUser {
			return `{"ok":{"message":{"tool_calls":[{"id":"1","name":"up","arguments":{}},{"id":"2","name":"up","arguments":{}}]},"finish":"tool_calls"}}`
		}
		return `{"ok":{"message":{"content":[{"type":"text","text":"done"}]},"finish":"stop"}}`
	}
	var turn func(string, []byte) []byte
	h := newWasmHostOn(t, wazero.NewRuntimeConfigCompiler(), build(t, "../../plugins/agents/loop"), func(name string, request []byte) []byte { return turn(name, request) })
	early := uint32(0)
	for n := range 240 {
		turn = starting(answer)
		out, err := h.call(t, "handle", fmt.Appendf(nil, `{"type":"message","content":[{"type":"text","text":"go %d"}]}`, n))
		if err != nil || string(out) != `{"content":[{"type":"text","text":"done"}],"status":"done"}` {
			t.Fatalf("turn %d: %s, %v", n, out, err)
		}
		if len(asked.Messages) > 100+4 || len(items) != 5*(n+1) {
			t.Fatalf("turn %d: the model sees %d messages, and %d are remembered", n, len(asked.Messages), len(items))
		}
		if n == 120 {
			early = h.module.Memory().Size()
		}
	}
	if late := h.module.Memory().Size(); late > early+512<<10 {
		t.Errorf("the memory grew from %d to %d bytes in the last half of the turns", early, late)
	}
}

// TestWasmBasic runs a search of the basic tools, as they are built.
func TestWasmBasic(t *testing.T) {
	h := newWasmHost(t, build(t, "../../plugins/tools/basic"), starting(func(name string, request []byte) string {
		if name == abi.CallFileList {
			return `{"ok":{"files":[{"path":"a.md","size":20},{"path":"b.md","size":20}]}}`
		}
		if strings.Contains(string(request), `"b.md"`) {
			return `{"ok":{"path":"b.md","size":20,"text":"# Bees\n\nBees sting.\n","eof":true}}`
		}
		return `{"ok":{"path":"a.md","size":20,"text":"# Ants\n\nAnts bite.\n","eof":true}}`
	}))
	got := callTool(t, h, "files_search", json.RawMessage(`{"query":"what stings"}`))
	if diff := cmp.Diff("b.md:3 (Bees)\nBees sting.\n", abi.TextOf(got.Content)); diff != "" || got.IsError {
		t.Errorf("-want +got:\n%s", diff)
	}
	out, err := h.call(t, "describe", nil)
	if err != nil || strings.Count(string(out), `"inputSchema"`) != 5 {
		t.Errorf("describes %s, %v", out, err)
	}
}
