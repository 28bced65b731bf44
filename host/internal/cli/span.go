package cli

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/vespiary/vespiary/host/internal/config/strict"
)

// span is a flag for a length of time, in the form that configurations have: "30d".
type span time.Duration

// String implements pflag.Value.
func (s *span) String() string {
	if *s == 0 {
		return ""
	}
	return time.Duration(*s).String()
}

// Type implements pflag.Value.
func (*span) Type() string { return "span" }

// Set implements pflag.Value.
func (s *span) Set(text string) error {
	d, ok := parseSpan(text)
	if !ok || d < time.Second {
		return errors.New(`use a span of a second or more, such as "10m", "12h" or "30d"`)
	}
	*s = span(d)
	return nil
}

// seconds are what the host is asked for.
func (s span) seconds() int64 { return int64(time.Duration(s) / time.Second) }

// after is the moment at which the span ends that begins now, a zero one for none.
func (s span) after(now time.Time) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return now.Add(time.Duration(s))
}

// parseSpan reads a span as configurations are read.
func parseSpan(text string) (time.Duration, bool) {
	var v struct {
		Span time.Duration `yaml:"span,required"`
	}
	document, err := json.Marshal(map[string]string{"span": text}) // which YAML reads too
	if err != nil || strict.Decode("", document, &v).Err() != nil {
		return 0, false
	}
	return v.Span, true
}

// moment is a flag for a point in time: a span back from now, a day or a time.
type moment struct {
	text string
	ago  time.Duration
	at   time.Time
}

// String implements pflag.Value.
func (m *moment) String() string { return m.text }

// Type implements pflag.Value.
func (*moment) Type() string { return "time" }

// Set implements pflag.Value.
func (m *moment) Set(text string) error {
	*m = moment{text: text}
	if ago, ok := parseSpan(text); ok {
		m.ago = ago
		return nil
	}
	for _, form := range []string{time.DateOnly, time.DateTime, time.RFC3339} {
		if t, err := time.ParseInLocation(form, text, time.Local); err == nil {
			m.at = t
			return nil
		}
	}
	return errors.New(`use a span back from now such as "7d", a day such as "2030-01-31", or a time such as "2030-01-31T15:04:05Z"`)
}

// time is the moment as seen from now, a zero one where none was given.
func (m *moment) time(now time.Time) time.Time {
	switch {
	case m.text == "":
		return time.Time{}
	case m.at.IsZero():
		return now.Add(-m.ago)
	}
	return m.at
}
