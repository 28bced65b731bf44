// Command loop is the default agent: it gives a conversation to a model, performs
// the tool calls that the model asks for, and goes on until the model answers.
//
// The conversation is the list "conversation" of the session's working memory.
// What the model sees of it is cut to a window that never separates a tool call
// from its result. Whatever goes wrong with a tool, a denial by policy included,
// is told to the model, which may find another way.
package main

import (
	"time"

	"github.com/vespiary/vespiary/abi"
	vespiary "github.com/vespiary/vespiary/sdk/go"
)

var _ = vespiary.Agent(func(c *vespiary.Context, e abi.Event) (abi.Reply, error) {
	return answer(c, e, time.Now) //nolint:forbidigo // a guest's clock is its host's, and agrees when a turn is run again
})

func answer(c *vespiary.Context, e abi.Event, now func() time.Time) (abi.Reply, error) {
	s, err := readSettings(e.Agent)
	if err != nil {
		return abi.Reply{}, err
	}
	t := &turn{c: c, event: e, settings: s, now: now}
	if s.MaxSeconds > 0 {
		t.deadline = now().Add(time.Duration(s.MaxSeconds * float64(time.Second)))
	}
	return t.run()
}

func main() {}
