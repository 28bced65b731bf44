package wire

import (
	"context"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

const (
	defaultAttempts = 4
	firstPause      = 500 * time.Millisecond
	longestPause    = 20 * time.Second
	longestWait     = 2 * time.Minute // that a server may ask for
)

// Sleep waits for d or until ctx ends, whose error it then returns.
type Sleep func(ctx context.Context, d time.Duration) error

// Pause is the Sleep of a real clock.
func Pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func random() float64 { return rand.Float64() } //nolint:gosec // jitter is no secret

// pause waits before attempt n+1. It gives up at once where the server asks for
// more than anyone waits for.
func (c *Client) pause(ctx context.Context, n int, f *failure) error {
	d := backoff(n, c.cfg.Rand())
	if f.waits {
		d = f.wait
	}
	if d > longestWait {
		f.verdict.advice = "the server asks to wait " + d.Round(time.Second).String()
		return c.fail(f)
	}
	c.cfg.Log.WarnContext(ctx, "model call failed, trying again", "provider", c.cfg.Provider,
		"model", c.cfg.Model, "attempt", n, "pause", d, "error", c.scrub(f.what))
	if err := c.cfg.Sleep(ctx, d); err != nil {
		return c.fail(ended(ctx, f))
	}
	return nil
}

// backoff doubles from half a second and takes between a half and the whole of
// it, so that callers which failed together do not come back together.
func backoff(n int, random float64) time.Duration {
	d := min(firstPause<<min(n-1, 16), longestPause)
	return d/2 + time.Duration(random*float64(d/2))
}

// retryAfter returns how long the server asks to wait: Retry-After in seconds or
// as a date (RFC 9110, 10.2.3), or retry-after-ms. A date is read against the
// server's own Date, so that a wrong clock on either side does not matter.
func retryAfter(h http.Header) (time.Duration, bool) {
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil {
		return duration(ms, time.Millisecond)
	}
	value := h.Get("Retry-After")
	if s, err := strconv.ParseFloat(value, 64); err == nil {
		return duration(s, time.Second)
	}
	at, err1 := http.ParseTime(value)
	now, err2 := http.ParseTime(h.Get("Date"))
	if err1 != nil || err2 != nil {
		return 0, false
	}
	return max(at.Sub(now), 0), true
}

// duration bounds what a server says before it is converted, where it could
// overflow.
func duration(n float64, unit time.Duration) (time.Duration, bool) {
	if math.IsNaN(n) || n < 0 {
		return 0, false
	}
	return time.Duration(min(n*float64(unit), float64(24*365*time.Hour))), true
}
