// Command steady is an agent that keeps its state in a goroutine.
package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/vespiary/vespiary/abi"
	vespiary "github.com/vespiary/vespiary/sdk/go"
)

var _ = vespiary.Agent(handle)

// counter counts in a goroutine that lives as long as the guest.
var counter = func() func() int {
	ask, answer := make(chan struct{}), make(chan int)
	go func() {
		for n := 1; ; n++ {
			<-ask
			answer <- n
		}
	}()
	return func() int {
		ask <- struct{}{}
		return <-answer
	}
}()

func handle(c *vespiary.Context, e abi.Event) (abi.Reply, error) {
	n := counter()
	text := abi.TextOf(e.Content)
	command, argument, _ := strings.Cut(text, " ")
	switch command {
	case "wait":
		d, err := time.ParseDuration(argument)
		if err != nil {
			return abi.Reply{}, err
		}
		if err := c.Sleep(d); err != nil {
			return abi.Reply{}, err
		}
	case "signal":
		got, err := c.Await(abi.Wait{Type: abi.EventSignal, Name: argument})
		if err != nil {
			return abi.Reply{}, err
		}
		text += " " + string(got.Data)
	case "write":
		if _, err := c.WriteFile(abi.FileWrite{Path: argument, Text: "x"}); err != nil {
			text += ": " + err.Error()
		}
	case "random":
		text = fmt.Sprint(rand.Uint64()) //nolint:gosec // it is to show what the guest draws
	case "spin":
		for i := uint64(1); i != 0; i++ {
			n += int(i & 1) //nolint:gosec // it is to take time
		}
	}
	return vespiary.Done(fmt.Sprintf("%d %s", n, text)), nil
}

func main() {}
