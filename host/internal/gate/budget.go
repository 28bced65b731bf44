package gate

import (
	"sync"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

// unlimited is what is left of a budget without limits.
var unlimited = &policy.Shared{Value: map[string]any{"tokens": int64(-1), "usdMicros": int64(-1), "calls": int64(-1)}}

// left is what the task may still use; -1 is without limit.
func (t *Turn) left() any {
	l := t.Left()
	if l == (host.Left{Tokens: -1, CostMicros: -1, Calls: -1}) {
		return unlimited
	}
	return map[string]any{"tokens": l.Tokens, "usdMicros": l.CostMicros, "calls": l.Calls}
}

// Left is what the turn may still use, without what calls under way hold back.
func (t *Turn) Left() host.Left {
	b := t.opt.Budget
	t.mu.Lock()
	defer t.mu.Unlock()
	h := &t.air.shared.held
	h.mu.Lock()
	defer h.mu.Unlock()
	return host.Left{
		Tokens:     remaining(b.Tokens, t.tokens()),
		CostMicros: remaining(b.CostMicros, t.used.CostMicros+h.CostMicros),
		Calls:      remaining(b.Calls, t.calls+h.Calls),
	}
}

// held is what the calls under way of all passages of a turn hold back of its budget: tokens,
// money and calls. Its mutex is taken after that of a Turn.
type held struct {
	mu sync.Mutex
	host.Budget
}

// tokens are those used and held back. The caller holds mu, and that of what is held.
func (t *Turn) tokens() int64 {
	return t.used.InputTokens + t.used.OutputTokens + t.air.shared.held.Tokens
}

func remaining(limit, used int64) int64 {
	if limit == 0 {
		return -1
	}
	return max(0, limit-used)
}

// reserve holds the call's estimate and what it hands on back from the budget until
// release.
func (t *Turn) reserve(c *host.Call) *abi.Error {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := &t.air.shared.held
	h.mu.Lock()
	defer h.mu.Unlock()
	b, want := t.opt.Budget, c.Class.Tokens+c.Class.Share.Tokens
	switch {
	case c.Name == CallReply: // whatever is used up, the caller may be told
	case c.Class.Waits && c.Intent != nil: // it has what it hands on since it began
	case b.Calls > 0 && t.calls+h.Calls+c.Class.Share.Calls >= b.Calls:
		return overBudget("calls")
	case want > 0 && b.Tokens > 0 && t.tokens()+want > b.Tokens:
		return overBudget("tokens")
	case (want > 0 || c.Class.Share.CostMicros > 0) && b.CostMicros > 0 && t.overspends(b.CostMicros, c.Class.Share.CostMicros):
		return overBudget("money")
	}
	h.add(c, 1)
	return nil
}

// overspends tells whether nothing is left of a budget of money, or less than a share. The
// caller holds mu, and that of what is held.
func (t *Turn) overspends(limit, share int64) bool {
	used := t.used.CostMicros + t.air.shared.held.CostMicros
	return used >= limit || used+share > limit
}

// add changes what is held back by what a call asks for, once or minus once. The caller
// holds mu.
func (h *held) add(c *host.Call, times int64) {
	h.Tokens += times * (c.Class.Tokens + c.Class.Share.Tokens)
	h.CostMicros += times * c.Class.Share.CostMicros
	h.Calls += times * c.Class.Share.Calls
}

// refusedCalls is how many calls beyond its budget a guest may make, to see that the
// budget is used up and to say so.
const refusedCalls = 1000

// runaway ends a guest that goes on calling although every call is refused: each
// refusal is an entry in its journal.
func (t *Turn) runaway() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if b := t.opt.Budget.Calls; b == 0 || t.calls+t.refused < b+refusedCalls {
		return nil
	}
	return overBudget("calls")
}

func (t *Turn) release(c *host.Call) {
	h := &t.air.shared.held
	h.mu.Lock()
	defer h.mu.Unlock()
	h.add(c, -1)
}

func overBudget(what string) *abi.Error {
	return &abi.Error{Code: abi.CodeBudgetExceeded, Message: "the task's budget of " + what + " is used up"}
}
