// Package reseed gives each session randomness of its own.
//
// A module is initialised once, and every session begins as a copy of the memory
// that this leaves. What was drawn at random meanwhile is the same in all of
// them: the state of math/rand/v2's top-level functions and the seeds of maps,
// which no code can change later, and every generator in a package variable.
// A module that imports this package exports vespiary_reseed, which the host
// calls with 32 random bytes in each new copy, before its first event.
//
// crypto/rand draws from the host at each call and needs none of this, nor does a
// generator that is made while an event is handled. Neither is a hazard to
// replay: the host's randomness is the same when it runs a turn again.
package reseed

import (
	cryptorand "crypto/rand"
	"math/rand/v2"

	vespiary "github.com/vespiary/vespiary/sdk/go"
	"github.com/vespiary/vespiary/sdk/go/internal/guest"
)

// Hook has f called with a seed in each new session. Several hooks are called in
// the order of their registration, each with a seed of its own. A host that does
// not copy memory calls none, so what f sets must have a value before. It must
// be called while the module initialises, as in a package variable.
func Hook(f func(seed [32]byte)) vespiary.Registered {
	guest.Plugin.AddReseed(f)
	return vespiary.Registered{}
}

// Rand returns a generator for a package variable, that draws other numbers in
// each session. It is for one goroutine, and for nothing secret: that is what
// crypto/rand is for.
//
//	var dice = reseed.Rand()
func Rand() *rand.Rand {
	var seed [32]byte
	_, _ = cryptorand.Read(seed[:]) // it never fails
	source := rand.NewChaCha8(seed)
	Hook(source.Seed)
	return rand.New(source) //nolint:gosec // G404: the documentation says so
}
