// Command greeter is the smallest agent that remembers: it greets its caller and
// counts the visits of the session.
package main

import (
	"fmt"

	"github.com/vespiary/vespiary/abi"
	vespiary "github.com/vespiary/vespiary/sdk/go"
)

var _ = vespiary.Agent(func(c *vespiary.Context, e abi.Event) (abi.Reply, error) {
	visits, err := vespiary.Get[int](c, "visits")
	if err != nil {
		return abi.Reply{}, err
	}
	visits++
	return vespiary.Done(fmt.Sprintf("Hello, %s! This is visit %d.", e.Caller.ID, visits)), c.Set("visits", visits)
})

func main() {}
