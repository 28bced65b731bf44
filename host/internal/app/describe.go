package app

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/config"
	"github.com/vespiary/vespiary/host/internal/runtime"
)

// describeLimit is the time that a plugin gets to say what its tools are, once it is
// compiled: that takes minutes where a module is large and the machine small.
const describeLimit = 30 * time.Second

// describe asks a tool plugin what its tools are. The plugin may ask for nothing
// meanwhile, and sees the same clock and randomness each time: what it says is a
// property of its bytes.
func (h *Host) describe(ctx context.Context, digest string) (abi.ToolList, error) {
	return h.engines.describe(ctx, digest)
}

func (e *engines) describe(ctx context.Context, digest string) (abi.ToolList, error) {
	var list abi.ToolList
	module, release, err := e.acquire(ctx, e.describing(digest), digest)
	if err != nil {
		return list, err
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, describeLimit)
	defer cancel()
	clock := time.Unix(0, 0)
	guest, err := module.Instantiate(ctx, runtime.Config{
		Host: mute{}, Random: rand.NewChaCha8(sha256.Sum256([]byte(digest))),
		Clock: func() time.Time { clock = clock.Add(time.Microsecond); return clock },
		Sleep: func(_ context.Context, d time.Duration) { clock = clock.Add(d) },
	})
	if err != nil {
		return list, err
	}
	defer guest.Close(context.WithoutCancel(ctx)) //nolint:errcheck // the answer is already here
	out, err := guest.Call(ctx, "describe", nil)
	if err != nil {
		return list, err
	}
	if err := json.Unmarshal(out, &list); err != nil {
		return list, fmt.Errorf("the plugin's description is not a list of tools: %w", err)
	}
	return list, nil
}

// describing is the engine on which a module says what its tools are: the one that it runs
// on, or will when the configuration counts that is being made ready.
func (e *engines) describing(digest string) string {
	if next := e.next.Load(); next != nil {
		return cmp.Or((*next)[digest], config.EngineNative)
	}
	return e.choice(digest)
}

// mute answers every host call with a refusal.
type mute struct{}

func (mute) Call(_ context.Context, name string, _ []byte) ([]byte, error) {
	return json.Marshal(abi.Result{Error: &abi.Error{
		Code: abi.CodeDenied, Message: name + " is not available while a plugin describes its tools",
	}})
}
