package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/sdk/go/vespiarytest"
)

// TestLongSession has one session of hundreds of turns, of which every third has
// tools and every seventh fails. What the model sees in each is what a session
// sees that begins with the same memory: nothing is left over from turns before,
// and it does not grow.
func TestLongSession(t *testing.T) {
	m := &model{errors: map[int]error{}}
	h := newHost(t, m)
	for turn := range 200 {
		m.asked, m.answers = nil, []abi.ChatResponse{says(fmt.Sprintf("Answer %d.", turn))}
		clear(m.errors)
		want := 1
		switch {
		case turn%7 == 0:
			m.errors[1] = &abi.Error{Code: abi.CodeUnavailable, Message: "no route"}
		case turn%3 == 0:
			m.answers = append([]abi.ChatResponse{calls(`echo {"a":1}`, `refuse {}`)}, m.answers...)
			want = 2
		}
		before := outline(remembered(t, h))
		if r := h.Send(say(fmt.Sprintf("question %d", turn))); (r.Status == abi.StatusFailed) != (turn%7 == 0) {
			t.Fatalf("turn %d: the reply is %+v", turn, r)
		}
		if len(m.asked) != want {
			t.Fatalf("turn %d: the model was asked %d times", turn, len(m.asked))
		}
		for step, asked := range m.asked {
			seen := strings.TrimPrefix(outline(asked.Messages), "system: Be brief.\n")
			whole := before + strings.TrimPrefix(outline(remembered(t, h)), before)
			if !strings.Contains(whole, seen) || len(asked.Messages) > 100+5 || step == 0 && !strings.HasSuffix(seen, fmt.Sprintf("user: question %d\n", turn)) {
				t.Fatalf("turn %d, step %d: the model sees what is not the end of the conversation:\n%s", turn, step, seen)
			}
			if turn > 100 && len(asked.Messages) < 90 {
				t.Fatalf("turn %d: the model sees %d messages of a long conversation", turn, len(asked.Messages))
			}
		}
	}
}

// TestUndone tells the model what became of a call that was not simply done, and
// goes on.
func TestUndone(t *testing.T) {
	const interrupted = "unknown_outcome: tool_call was interrupted; it may have happened (do not repeat it unless you find out that it did not happen)"
	tests := []struct {
		name  string
		guard func(vespiarytest.Call) error
		want  string
	}{
		{"denied", vespiarytest.Denied, "denied: tool_call is not permitted (policy vespiarytest)"},
		{"nobody to ask", vespiarytest.NeedsApproval, "needs_approval: tool_call needs an approval (policy vespiarytest) (it was not done, and repeating it does not help before a person approves it)"},
		{"a person said no", vespiarytest.Unapproved, "denied: tool_call needed an approval and user:owner denied it"},
		{"unknown", vespiarytest.UnknownOutcome, interrupted},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := &model{answers: []abi.ChatResponse{calls(`echo {}`), calls(`echo {"a":1}`, `echo {"b":1}`), says("I could not."), says("Later.")}}
			h := newHost(t, m)
			h.Guard(abi.CallToolCall, test.guard)
			if r := h.Send(say("go")); r.Status != abi.StatusDone || abi.TextOf(r.Content) != "I could not." {
				t.Errorf("the reply is %+v", r)
			}
			told := "assistant call c1 echo{}\ntool to c1 error: " + test.want + "\n" +
				"assistant call c1 echo{\"a\":1} call c2 echo{\"b\":1}\ntool to c1 error: " + test.want + "\ntool to c2 error: " + test.want + "\n"
			same(t, "messages", "system: Be brief.\nuser: go\n"+told, outline(m.asked[2].Messages))
			if n := len(h.Calls(abi.CallToolCall)); n != 3 {
				t.Errorf("the agent called %d times for the 3 calls of the model", n)
			}
			h.Guard(abi.CallToolCall, nil)
			h.Send(say("and now?"))
			same(t, "the next turn", "system: Be brief.\nuser: go\n"+told+"assistant: I could not.\nuser: and now?\n", outline(m.asked[3].Messages))
		})
	}
}

// A person's word on what became of a call reaches the model as an event.
func TestSettled(t *testing.T) {
	m := &model{answers: []abi.ChatResponse{says("Good.")}}
	e := say("")
	e.Type, e.Name, e.Content, e.Data = abi.EventSignal, "settled", nil, []byte(`{"path":"1/4","outcome":"happened","by":{"id":"user:owner"}}`)
	newHost(t, m).Send(e)
	same(t, "messages", "system: Be brief.\nuser: [signal settled]\n"+string(e.Data)+"\n", outline(m.asked[0].Messages))
}
