package runtime

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"time"
)

// nursery is the world in which a base image is made. It is the same in every
// process, and there is nobody to call.
type nursery struct {
	clock  time.Time
	random io.Reader
	fuel   int64
	lines  []line
	logged int // bytes
	reason string
	leave  context.CancelFunc
}

const (
	// nurseryFuel is enough for an interpreter to load its library many times over.
	nurseryFuel = 1_000_000_000
	nurseryLog  = 64 << 10 // bytes that are kept
)

var (
	errNursery     = errors.New("nobody answers while the plugin is initialised")
	errNurseryFuel = fmt.Errorf("it has not come to an end of its initialisation after %d units of fuel; do the work in its first call instead", int64(nurseryFuel))
)

// nurseryTime is before any time that a host gives to a guest, because a guest's
// clock must not run backwards when it leaves the nursery.
var nurseryTime = time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)

func newNursery(code [sha256.Size]byte, leave context.CancelFunc) *nursery {
	return &nursery{clock: nurseryTime, random: rand.NewChaCha8(code), fuel: nurseryFuel, leave: leave}
}

func (n *nursery) config(env map[string]string) Config {
	return Config{Host: n, Fuel: n, Clock: n.now, Random: n.random, Sleep: n.sleep, Log: n.log, Vars: env}
}

// Call implements Host.
func (n *nursery) Call(_ context.Context, name string, _ []byte) ([]byte, error) {
	n.reason = "it calls the host (" + name + ") while it is initialised"
	return nil, errNursery
}

// Draw implements Fuel.
func (n *nursery) Draw(used int64) (int64, error) {
	if n.fuel -= used; n.fuel <= 0 {
		return 0, errNurseryFuel
	}
	return n.fuel, nil
}

// now moves, so that a guest that waits for a time to come comes to it.
func (n *nursery) now() time.Time {
	n.clock = n.clock.Add(time.Microsecond)
	return n.clock
}

func (n *nursery) sleep(_ context.Context, d time.Duration) {
	if d > 0 {
		n.reason = "it sleeps while it is initialised"
		n.leave()
	}
}

// log keeps what each instance is to say when it is made.
func (n *nursery) log(level slog.Level, message string) {
	if n.logged += len(message) + 64; n.logged <= nurseryLog {
		n.lines = append(n.lines, line{level, message})
	}
}
