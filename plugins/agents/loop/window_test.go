package main

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/vespiary/vespiary/abi"
)

func user(s string) abi.Message { return text(abi.RoleUser, s) }

func call() abi.Message {
	return abi.Message{Role: abi.RoleAssistant, ToolCalls: []abi.ToolCall{{ID: "c", Name: "t", Arguments: json.RawMessage(`{}`)}}}
}

func result(s string) abi.Message {
	m := text(abi.RoleTool, s)
	m.ToolCallID = "c"
	return m
}

func TestNewest(t *testing.T) {
	history := []abi.Message{
		user("one"), text(abi.RoleAssistant, "1"),
		user("two"), call(), result("22"), text(abi.RoleAssistant, "2"),
		user("three"), text(abi.RoleAssistant, "3"),
	}
	const third = "user: three\nassistant: 3\n"
	const second = "user: two\nassistant call c t{}\ntool to c: 22\nassistant: 2\n" + third
	tests := []struct {
		name     string
		messages int
		bytes    int
		want     string
	}{
		{"all", 100, 1000, "user: one\nassistant: 1\n" + second},
		{"exactly two turns", 6, 1000, second},
		{"a call is not left without its turn", 5, 1000, third},
		{"a result is not left without its call", 4, 1000, third},
		{"few bytes", 100, 6, third},
		{"too few bytes", 100, 5, ""},
		{"an answer alone is nothing", 1, 1000, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			same(t, "window", test.want, outline(newest(history, test.messages, test.bytes)))
		})
	}
}

func TestShrink(t *testing.T) {
	long := strings.Repeat("x", 1000)
	messages := []abi.Message{user("go"), call(), result(long), call(), result(long), call(), result(long)}
	const left = "tool to c: [left out to save space: a result of 1001 bytes]\n"
	head, step := "user: go\n", "assistant call c t{}\n"
	whole := "tool to c: " + long + "\n"
	tests := []struct {
		name  string
		limit int
		want  string
	}{
		{"fits", 5000, head + step + whole + step + whole + step + whole},
		{"the oldest goes", 3016, head + step + left + step + whole + step + whole},
		{"the last stays", 10, head + step + left + step + left + step + whole},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			same(t, "messages", test.want, outline(shrink(messages, test.limit)))
		})
	}
	messages = append(messages[:3:3], call(), result(strings.Repeat("x", 300)), call(), result(long))
	same(t, "more than it must", head+step+left+step+"tool to c: [left out to save space: a result of 301 bytes]\n"+step+whole, outline(shrink(messages, 1700)))
	same(t, "the argument", whole, outline(messages[2:3]))
}

// Whatever the history, a window has no call without result and the other way.
func TestNewestKeepsCallsWithResults(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var history []abi.Message
		for range r.IntN(6) {
			history = append(history, user(strings.Repeat("u", r.IntN(20))))
			for range r.IntN(3) {
				history = append(history, call(), result(strings.Repeat("r", r.IntN(20))))
			}
			if r.IntN(4) > 0 {
				history = append(history, text(abi.RoleAssistant, "a"))
			}
		}
		messages, bytes := r.IntN(20), r.IntN(200)
		got := newest(history, messages, bytes)
		size, open := 0, 0
		for i, m := range got {
			size += sizeOfMessage(m)
			open += len(m.ToolCalls)
			if m.ToolCallID != "" {
				open--
			}
			if open < 0 || i == 0 && m.Role != abi.RoleUser {
				t.Fatalf("starts in the middle:\n%s", outline(got))
			}
		}
		if open != 0 || size > bytes || len(got) > messages {
			t.Fatalf("%d calls without result, %d of %d bytes, %d of %d messages", open, size, bytes, len(got), messages)
		}
	}
}
