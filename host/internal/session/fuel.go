package session

import (
	"sync"

	"github.com/vespiary/vespiary/abi"
)

// account is the fuel that a turn may use: the agent's guest and those of its tools draw
// from it. Without a limit it only counts.
type account struct {
	mu    sync.Mutex
	limit int64 // 0: none
	used  int64
}

// unmetered is more than any guest uses between two draws.
const unmetered = 1 << 40

// Draw implements Fuel.
func (a *account) Draw(used int64) (int64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.used += used
	switch {
	case a.limit == 0:
		return unmetered, nil
	case a.used >= a.limit:
		return 0, &abi.Error{Code: abi.CodeBudgetExceeded, Message: "the budget of fuel is used up"}
	}
	return a.limit - a.used, nil
}

// add counts what was used elsewhere.
func (a *account) add(used int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.used += used
}

// left is what may still be used: -1 without a limit, and never 0, which would mean that.
func (a *account) left() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.limit == 0 {
		return -1
	}
	return max(a.limit-a.used, 1)
}

// lesser is the smaller of two limits of which 0 is none.
func lesser[T ~int64 | uint64](a, b T) T {
	switch {
	case a == 0:
		return b
	case b == 0:
		return a
	}
	return min(a, b)
}
