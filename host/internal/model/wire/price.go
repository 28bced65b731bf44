package wire

import (
	"errors"
	"math"
	"math/bits"

	"github.com/vespiary/vespiary/abi"
)

// Price is what a model costs, in US dollars per million tokens, which is the
// same number as millionths of a dollar per token. The zero Price is free.
type Price struct {
	Input      float64
	Output     float64
	CacheRead  float64 // input read from the provider's cache; 0 means as Input
	CacheWrite float64 // input written to the provider's cache; 0 means as Input
}

// Tokens is what a call consumed as a provider counts it. CacheRead and
// CacheWrite are parts of Input.
type Tokens struct{ Input, Output, CacheRead, CacheWrite int64 }

// priceUnit is the resolution of a price: a millionth of a millionth of a dollar
// per token, so that sums are exact integers and only the last step rounds.
const priceUnit = 1_000_000

// maxPrice bounds a price far above any real one, so that sums cannot overflow.
const maxPrice = 1_000_000

// Check returns an error if the price is not a number of dollars.
func (p Price) Check() error {
	for _, v := range []float64{p.Input, p.Output, p.CacheRead, p.CacheWrite} {
		if math.IsNaN(v) || v < 0 || v > maxPrice {
			return errors.New("a price must be between 0 and 1000000 US dollars per million tokens")
		}
	}
	return nil
}

// Usage returns the tokens with their cost in millionths of a dollar, rounded up
// so that a budget is never undercounted.
func (p Price) Usage(t Tokens) abi.Usage {
	t = t.sane()
	var sum total
	sum.add(t.Input-t.CacheRead-t.CacheWrite, p.Input)
	sum.add(t.CacheRead, or(p.CacheRead, p.Input))
	sum.add(t.CacheWrite, or(p.CacheWrite, p.Input))
	sum.add(t.Output, p.Output)
	return abi.Usage{
		InputTokens:     t.Input,
		OutputTokens:    t.Output,
		CacheReadTokens: t.CacheRead,
		CostMicros:      sum.micros(),
	}
}

// sane bounds counts that come from outside: none is negative, none overflows,
// and the cached parts fit into the input.
func (t Tokens) sane() Tokens {
	const most = 1 << 40
	t.Input = min(max(t.Input, 0), most)
	t.Output = min(max(t.Output, 0), most)
	t.CacheRead = min(max(t.CacheRead, 0), t.Input)
	t.CacheWrite = min(max(t.CacheWrite, 0), t.Input-t.CacheRead)
	return t
}

// total is a 128-bit sum of tokens times price units.
type total struct{ hi, lo uint64 }

func (s *total) add(tokens int64, price float64) {
	hi, lo := bits.Mul64(uint64(max(tokens, 0)), uint64(math.Round(price*priceUnit)))
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, lo, 0)
	s.hi, _ = bits.Add64(s.hi, hi, carry)
}

// micros rounds up once, at the end; rounding each part would add up to four.
func (s *total) micros() int64 {
	if s.hi >= priceUnit {
		return math.MaxInt64
	}
	quo, rem := bits.Div64(s.hi, s.lo, priceUnit)
	if rem > 0 {
		quo++
	}
	return int64(min(quo, math.MaxInt64))
}

func or(v, otherwise float64) float64 {
	if v == 0 {
		return otherwise
	}
	return v
}

// Estimate counts tokens where no tokenizer is at hand: one per four bytes of
// UTF-8, rounded up. It is the same for the same text on every machine.
func Estimate(text string) int64 { return int64(len(text)+3) / 4 }

// EstimateRequest estimates what a request consumes: the text of every message,
// the names and arguments of calls, and the tools, plus four per message.
func EstimateRequest(r Request) int64 {
	var n int64
	for _, m := range r.Messages {
		n += 4 + Estimate(PartsText(m.Content, false))
		for _, c := range m.ToolCalls {
			n += Estimate(c.Name) + Estimate(string(c.Arguments))
		}
	}
	for _, t := range r.Tools {
		n += Estimate(t.Name) + Estimate(t.Description) + Estimate(string(t.InputSchema))
	}
	return n
}
