package guest

import (
	"runtime"
	"sync"

	"github.com/vespiary/vespiary/sdk/go/internal/block"
)

// Running is the one instance that a module is to its host.
var Running = sync.OnceValue(Plugin.New)

// Serve runs an export on the input that the host has for it. It returns 0, or 1
// with an error set, as Extism's hosts expect.
func Serve(export func(Host, []byte) ([]byte, error)) int32 {
	out, err := export(nil, block.Input())
	runtime.Gosched() // goroutines that the plugin left behind end here, and do not pile up
	if err != nil {
		block.Fail(err.Error())
		return 1
	}
	block.Output(out)
	return 0
}
