package plugins

import "testing"

func TestAdvice(t *testing.T) {
	for want, have := range map[string][]string{
		"this binary has none; run make plugins":        nil,
		"it has basic, loop (make plugins builds them)": {"basic", "loop"},
	} {
		if got := advice(have); got != want {
			t.Errorf("advice(%v) = %q, want %q", have, got, want)
		}
	}
}
