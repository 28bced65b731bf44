package wire

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
)

func TestPriceUsage(t *testing.T) {
	for name, c := range map[string]struct {
		price  Price
		tokens Tokens
		want   abi.Usage
	}{
		"free":           {Price{}, Tokens{Input: 5, Output: 6}, abi.Usage{InputTokens: 5, OutputTokens: 6}},
		"exact":          {Price{Input: 2, Output: 8}, Tokens{Input: 10, Output: 3}, abi.Usage{InputTokens: 10, OutputTokens: 3, CostMicros: 44}},
		"rounds up":      {Price{Input: 0.25}, Tokens{Input: 1}, abi.Usage{InputTokens: 1, CostMicros: 1}},
		"no float error": {Price{Input: 0.1}, Tokens{Input: 30}, abi.Usage{InputTokens: 30, CostMicros: 3}},
		"cache": {
			Price{Input: 3, Output: 15, CacheRead: 0.3, CacheWrite: 3.75},
			Tokens{Input: 1000, Output: 10, CacheRead: 600, CacheWrite: 200},
			abi.Usage{InputTokens: 1000, OutputTokens: 10, CacheReadTokens: 600, CostMicros: 200*3 + 180 + 750 + 150},
		},
		"cache at the price of input": {
			Price{Input: 3},
			Tokens{Input: 100, CacheRead: 60},
			abi.Usage{InputTokens: 100, CacheReadTokens: 60, CostMicros: 300},
		},
		"nonsense from outside": {
			Price{Input: 1, Output: 1},
			Tokens{Input: -5, Output: 4, CacheRead: 9, CacheWrite: 9},
			abi.Usage{OutputTokens: 4, CostMicros: 4},
		},
		"no overflow": {
			Price{Input: maxPrice, Output: maxPrice},
			Tokens{Input: math.MaxInt64, Output: math.MaxInt64},
			abi.Usage{InputTokens: 1 << 40, OutputTokens: 1 << 40, CostMicros: 2 * (1 << 40) * maxPrice},
		},
	} {
		if diff := cmp.Diff(c.want, c.price.Usage(c.tokens)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestPriceCheck(t *testing.T) {
	for _, bad := range []Price{{Input: -1}, {Output: math.NaN()}, {CacheRead: math.Inf(1)}, {CacheWrite: maxPrice + 1}} {
		if bad.Check() == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
	if err := (Price{Input: 0.25, Output: 2}).Check(); err != nil {
		t.Error(err)
	}
}

func TestEstimate(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "a": 1, "abcd": 1, "abcde": 2, "äö": 1} {
		if got := Estimate(text); got != want {
			t.Errorf("Estimate(%q) = %d, want %d", text, got, want)
		}
	}
}
