package api

import (
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/vespiary/vespiary/host"
)

// rates holds one token bucket per key, and one per user of other tokens.
type rates struct {
	mu     sync.Mutex
	limits Limits
	now    func() time.Time
	byKey  map[string]*rate.Limiter
}

func newRates(l Limits, now func() time.Time) *rates {
	return &rates{limits: l, now: now, byKey: map[string]*rate.Limiter{}}
}

// take uses one token of the caller's bucket, or says when there will be one.
func (r *rates) take(c host.Caller) error {
	if r.limits.Rate < 0 {
		return nil
	}
	now := r.now()
	res := r.bucket(c.Tenant+"/"+c.User+"/"+c.Key).ReserveN(now, 1)
	wait := res.DelayFrom(now)
	if wait == 0 {
		return nil
	}
	res.CancelAt(now)
	return &retryError{
		host.Errorf(host.ErrTooMany, "this key makes more than %g requests a second; slow down or raise its limit", r.limits.Rate),
		wait,
	}
}

// bucket returns the caller's bucket, full at first.
func (r *rates) bucket(key string) *rate.Limiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, ok := r.byKey[key]
	if !ok {
		r.thin()
		b = rate.NewLimiter(rate.Limit(r.limits.Rate), r.limits.Burst)
		r.byKey[key] = b
	}
	return b
}

// maxBuckets is how many buckets are kept before those are dropped that are full again:
// others may name as many users as they like.
const maxBuckets = 10_000

// thin drops what says nothing. The caller holds mu.
func (r *rates) thin() {
	if len(r.byKey) < maxBuckets {
		return
	}
	now := r.now()
	maps.DeleteFunc(r.byKey, func(_ string, b *rate.Limiter) bool { return b.TokensAt(now) >= float64(b.Burst()) })
}
