package gate

import (
	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/policy"
)

// unlimited is what is left of a budget without limits.
var unlimited = &policy.Shared{Value: map[string]any{"tokens": int64(-1), "usdMicros": int64(-1), "calls": int64(-1)}}

// left is what the task may still use; -1 is without limit.
func (t *Turn) left() any {
	b := t.opt.Budget
	if b.Tokens == 0 && b.CostMicros == 0 && b.Calls == 0 {
		return unlimited
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return map[string]any{
		"tokens":    remaining(b.Tokens, t.used.InputTokens+t.used.OutputTokens+t.reserved),
		"usdMicros": remaining(b.CostMicros, t.used.CostMicros),
		"calls":     remaining(b.Calls, t.calls),
	}
}

func remaining(limit, used int64) int64 {
	if limit == 0 {
		return -1
	}
	return max(0, limit-used)
}

// reserve holds the call's estimate back from the budget until release.
func (t *Turn) reserve(c *host.Call) *abi.Error {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.opt.Budget
	switch {
	case c.Name == CallReply: // whatever is used up, the caller may be told
	case b.Calls > 0 && t.calls >= b.Calls:
		return overBudget("calls")
	case c.Class.Tokens > 0 && b.Tokens > 0 && t.used.InputTokens+t.used.OutputTokens+t.reserved+c.Class.Tokens > b.Tokens:
		return overBudget("tokens")
	case c.Class.Tokens > 0 && b.CostMicros > 0 && t.used.CostMicros >= b.CostMicros:
		return overBudget("money")
	}
	t.reserved += c.Class.Tokens
	return nil
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

func (t *Turn) release(tokens int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reserved -= tokens
}

func overBudget(what string) *abi.Error {
	return &abi.Error{Code: abi.CodeBudgetExceeded, Message: "the task's budget of " + what + " is used up"}
}
