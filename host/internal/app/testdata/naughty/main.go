// Command naughty is an agent that misbehaves in the way its message names.
package main

import (
	"os"
	"time"

	"github.com/vespiary/vespiary/abi"
	vespiary "github.com/vespiary/vespiary/sdk/go"
)

var _ = vespiary.Agent(handle)

var kept [][]byte

func handle(c *vespiary.Context, e abi.Event) (abi.Reply, error) {
	switch abi.TextOf(e.Content) {
	case "spin":
		for i := 0; ; i++ {
			if i < 0 {
				break
			}
		}
	case "allocate":
		for {
			b := make([]byte, 16<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			kept = append(kept, b)
		}
	case "recurse":
		return vespiary.Done(string(deeper([]byte("x")))), nil
	case "call":
		for {
			_ = c.Append("list", "x") // however often it is refused
		}
	case "exit":
		os.Exit(3)
	case "panic":
		panic("on purpose")
	case "garbage":
		return abi.Reply{Status: "perhaps"}, nil
	case "sleep":
		time.Sleep(time.Hour)
		return vespiary.Done("rested"), nil
	}
	return vespiary.Done("I do"), nil
}

// deeper needs much stack for each step, so that it ends soon.
func deeper(b []byte) []byte {
	var frame [64 << 10]byte
	copy(frame[:], b)
	return append(deeper(frame[:len(b)]), frame[0])
}

func main() {}
