// Command approval is an agent that takes its time: it waits a day, and then has a
// tool write a file, which a policy leaves to a person. Its code says neither how
// a wait survives a restart nor who approves: both are the host's.
package main

import (
	"fmt"
	"time"

	"github.com/vespiary/vespiary/abi"
	vespiary "github.com/vespiary/vespiary/sdk/go"
)

// keeper is the state of a session, which needs no storage of its own.
type keeper struct {
	written int
}

var _ = vespiary.AgentOf((*keeper).handle)

// note are the arguments of the tool that writes.
type note struct {
	Path   string `json:"path"`
	Text   string `json:"text"`
	Append bool   `json:"append"`
}

func (k *keeper) handle(c *vespiary.Context, e abi.Event) (abi.Reply, error) {
	text := abi.TextOf(e.Content)
	if err := c.EmitText("I will write that down tomorrow; send the signal now if it is urgent.\n"); err != nil {
		return abi.Reply{}, err
	}
	_, err := c.Await(
		abi.Wait{Type: abi.EventTimer, Name: "tomorrow", After: 24 * time.Hour},
		abi.Wait{Type: abi.EventSignal, Name: "now"},
	)
	if err != nil {
		return abi.Reply{}, err
	}
	r, err := c.CallTool("basic.files_write", note{Path: "notes.md", Text: text + "\n", Append: true})
	if err != nil {
		return abi.Reply{}, err
	}
	if r.IsError {
		return vespiary.Done("It is not written: " + abi.TextOf(r.Content)), nil
	}
	k.written++
	return vespiary.Done(fmt.Sprintf("It is written, and notes.md has %d notes of this session.", k.written)), nil
}

func main() {}
