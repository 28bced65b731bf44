package strict

import (
	"errors"
	"math"
	"regexp"
	"strconv"
	"time"
)

// duration reads what time.ParseDuration reads, and days and weeks.
type duration time.Duration

var _ Text = (*duration)(nil)

var (
	durationForm = regexp.MustCompile(`^([0-9]{1,12}(\.[0-9]{1,9})?(ms|s|m|h|d|w))+$`)
	durationPart = regexp.MustCompile(`([0-9.]+)([a-z]+)`)
)

var units = map[string]time.Duration{
	"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour,
	"d": 24 * time.Hour, "w": 7 * 24 * time.Hour,
}

// Expected implements Text.
func (*duration) Expected() string { return `a duration such as "30s", "15m", "1h30m" or "30d"` }

// UnmarshalText implements Text.
func (d *duration) UnmarshalText(text []byte) error {
	if string(text) == "0" {
		*d = 0
		return nil
	}
	if !durationForm.Match(text) {
		return errors.New("use numbers with the units ms, s, m, h, d and w")
	}
	var sum float64
	for _, part := range durationPart.FindAllSubmatch(text, -1) {
		n, err := strconv.ParseFloat(string(part[1]), 64)
		if err != nil {
			return errors.New("the number cannot be read")
		}
		sum += n * float64(units[string(part[2])])
	}
	if sum >= math.MaxInt64 {
		return errors.New("it is longer than 292 years")
	}
	*d = duration(sum)
	return nil
}
