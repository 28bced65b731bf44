package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	vespiary "github.com/vespiary/vespiary/sdk/go"
	"github.com/vespiary/vespiary/sdk/go/vespiarytest"
)

// newHost is a host whose tool writes to its files.
func newHost(t *testing.T) *vespiarytest.Host {
	t.Helper()
	h := vespiarytest.New(t)
	vespiarytest.Answer(h, abi.CallToolCall, func(p abi.ToolCallParams) (abi.ToolResult, error) {
		var n note
		if err := json.Unmarshal(p.Arguments, &n); err != nil || p.Name != "basic.files_write" || !n.Append {
			t.Errorf("called %s with %s", p.Name, p.Arguments)
		}
		h.Files[n.Path] += n.Text
		return abi.ToolResult{Content: []abi.Content{abi.Text("Written.")}}, nil
	})
	return h
}

// failing is a result as the tool gives it whose own call of the host failed.
func failing(guard func(vespiarytest.Call) error) func(abi.ToolCallParams) (abi.ToolResult, error) {
	return func(abi.ToolCallParams) (abi.ToolResult, error) {
		why := vespiary.Explain(guard(vespiarytest.Call{Name: abi.CallFileWrite}))
		return abi.ToolResult{IsError: true, Content: []abi.Content{abi.Text(why)}}, nil
	}
}

func tell(h *vespiarytest.Host, text string) string {
	return abi.TextOf(h.Send(abi.Event{Type: abi.EventMessage, Content: []abi.Content{abi.Text(text)}}).Content)
}

func TestWaitsADay(t *testing.T) {
	h := newHost(t)
	for n, want := range []string{
		"It is written, and notes.md has 1 notes of this session.",
		"It is written, and notes.md has 2 notes of this session.",
	} {
		if got := tell(h, "Bees sleep."); got != want || h.Waited != time.Duration(n+1)*24*time.Hour {
			t.Errorf("note %d: %q after %v", n+1, got, h.Waited)
		}
	}
	if diff := cmp.Diff(map[string]string{"notes.md": "Bees sleep.\nBees sleep.\n"}, h.Files); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestSignalIsSooner(t *testing.T) {
	h := newHost(t)
	h.Deliver(abi.Event{Type: abi.EventSignal, Name: "now"})
	if tell(h, "Wasps wake."); h.Waited != 0 || len(h.Files) != 1 {
		t.Errorf("waited %v and wrote %v", h.Waited, h.Files)
	}
}

func TestNotWritten(t *testing.T) {
	h := newHost(t)
	for want, guard := range map[string]func(vespiarytest.Call) error{
		"It is not written: denied: file_write needed an approval and user:owner denied it":                                                                  vespiarytest.Unapproved,
		"It is not written: unknown_outcome: file_write was interrupted; it may have happened (do not repeat it unless you find out that it did not happen)": vespiarytest.UnknownOutcome,
	} {
		vespiarytest.Answer(h, abi.CallToolCall, failing(guard))
		if got := tell(h, "Ants hide."); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if n := len(h.Calls(abi.CallToolCall)); n != 2 || len(h.Files) != 0 {
		t.Errorf("%d calls for 2 events, and the files %v", n, h.Files)
	}
}
