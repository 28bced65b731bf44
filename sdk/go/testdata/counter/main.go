// Command counter is what the SDK's tests run in Wasm for many events: an agent
// with all optional exports, whose every turn leaves garbage, started calls and
// goroutines behind.
package main

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/vespiary/vespiary/abi"
	vespiary "github.com/vespiary/vespiary/sdk/go"
	"github.com/vespiary/vespiary/sdk/go/migrate"
	"github.com/vespiary/vespiary/sdk/go/reseed"
	"github.com/vespiary/vespiary/sdk/go/save"
)

type counter struct {
	turns int
	last  *vespiary.Context
}

type saved struct {
	Turns int `json:"turns"`
}

var (
	dice = reseed.Rand()

	_ = vespiary.AgentOf((*counter).handle)
	_ = save.State(func(n *counter) (saved, error) { return saved{n.turns}, nil })
	_ = migrate.State(func(n *counter, _ abi.Migration, s saved) error {
		if s.Turns < 0 {
			panic("less than nothing")
		}
		n.turns = s.Turns
		return nil
	})
)

func (n *counter) handle(c *vespiary.Context, e abi.Event) (abi.Reply, error) {
	n.turns++
	if n.last != nil {
		if _, err := read(n.last, "stale"); err == nil {
			return abi.Reply{}, fmt.Errorf("turn %d: the Context of an earlier turn serves", n.turns)
		}
	}
	n.last = c
	switch e.Name {
	case "dice":
		return vespiary.Done(fmt.Sprint(dice.Uint64())), nil
	case "baked":
		return vespiary.Done(fmt.Sprint(rand.Uint64())), nil
	case "panic":
		panic("as it was asked to")
	}
	go func() { _, _ = read(c, "left") }()
	vespiary.Go(c, func(c *vespiary.Context) (string, error) { return read(c, "left") })
	values, errs := vespiary.All(c, []string{"a", strings.Repeat("b", 3_000)}, read)
	return vespiary.Done(fmt.Sprintf("%d %d", n.turns, len(values[0])+len(values[1]))), errs[1]
}

func read(c *vespiary.Context, path string) (string, error) {
	r, err := c.ReadFile(abi.FileRead{Path: path})
	return r.Text, err
}

func main() {}
