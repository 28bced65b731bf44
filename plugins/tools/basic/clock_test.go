package main

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/sdk/go/vespiarytest"
)

func TestClock(t *testing.T) {
	now := time.Date(2026, 2, 28, 23, 30, 15, 999, time.UTC)
	tests := []struct {
		zone string
		want clockOutput
	}{
		{"", clockOutput{"2026-02-28T23:30:15Z", "2026-02-28T23:30:15Z", "Saturday", 1772321415}},
		{"Z", clockOutput{"2026-02-28T23:30:15Z", "2026-02-28T23:30:15Z", "Saturday", 1772321415}},
		{"+02:00", clockOutput{"2026-03-01T01:30:15+02:00", "2026-02-28T23:30:15Z", "Sunday", 1772321415}},
		{"UTC-0930", clockOutput{"2026-02-28T14:00:15-09:30", "2026-02-28T23:30:15Z", "Saturday", 1772321415}},
		{"GMT+1", clockOutput{}},
		{"+01", clockOutput{"2026-03-01T00:30:15+01:00", "2026-02-28T23:30:15Z", "Sunday", 1772321415}},
		{"Mars/Olympus", clockOutput{}},
		{"Local", clockOutput{}},
		{"../../etc/passwd", clockOutput{}},
	}
	for _, test := range tests {
		got, err := tell(now, test.zone)
		if diff := cmp.Diff(test.want, got); diff != "" || (err != nil) != (test.want == clockOutput{}) {
			t.Errorf("%q: %v, -want +got:\n%s", test.zone, err, diff)
		}
	}
}

func TestClockTool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := vespiarytest.New(t)
		want := "Saturday, 2000-01-01T02:00:00+02:00 (UTC: 2000-01-01T00:00:00Z)"
		if got := outcome(h.CallTool("clock_now", map[string]string{"zone": "+02:00"})); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		want = `ERROR invalid: zone "Mars/Olympus" is not known here; give its offset from UTC, as in +02:00`
		if got := outcome(h.CallTool("clock_now", map[string]string{"zone": "Mars/Olympus"})); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
