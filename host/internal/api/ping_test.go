package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/vespiary/vespiary/host/internal/api"
	"github.com/vespiary/vespiary/host/internal/api/apitest"
)

// clock is a clock that a test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) at() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// pinged is the answer of /ping, with its time in seconds after apitest.Epoch.
type pinged struct {
	status string
	after  int64
}

func ping(t *testing.T, addr string) pinged {
	t.Helper()
	a := get(t, "http://"+addr+"/ping")
	var body struct {
		Status string `json:"status"`
		Since  int64  `json:"time_of_last_update"`
	}
	if err := json.Unmarshal([]byte(a.body), &body); err != nil || a.status != http.StatusOK {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	return pinged{body.Status, body.Since - apitest.Epoch.Unix()}
}

// TestPing: the time is that of the last change of the status and no other, as the
// server notices it itself.
func TestPing(t *testing.T) {
	c := &clock{now: apitest.Epoch}
	turns := 0
	addr, _ := serve(t, api.Options{
		Now: c.at, Busy: func() (int, time.Time) { return turns, time.Time{} },
		Limits: api.Limits{Write: time.Hour, Arrive: time.Hour},
	})
	for i, step := range []struct {
		turns int
		want  pinged
	}{
		{0, pinged{"Healthy", 0}},
		{1, pinged{"HealthyBusy", 20}},
		{7, pinged{"HealthyBusy", 20}},
		{0, pinged{"Healthy", 40}},
		{0, pinged{"Healthy", 40}},
	} {
		c.pass(10 * time.Second)
		turns = step.turns
		if got := ping(t, addr); got != step.want {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
}

// TestPingKnowsBetter: turns between two pings count, where the host tells when they ended.
func TestPingKnowsBetter(t *testing.T) {
	c := &clock{now: apitest.Epoch}
	ended := apitest.Epoch
	addr, _ := serve(t, api.Options{
		Now: c.at, Busy: func() (int, time.Time) { return 0, ended },
		Limits: api.Limits{Write: time.Hour, Arrive: time.Hour},
	})
	c.pass(time.Minute)
	if got := ping(t, addr); got != (pinged{"Healthy", 0}) {
		t.Errorf("%v", got)
	}
	ended = apitest.Epoch.Add(30 * time.Second)
	if got := ping(t, addr); got != (pinged{"Healthy", 30}) {
		t.Errorf("%v", got)
	}
}

// TestPingRefuses: a host that takes no work is not healthy.
func TestPingRefuses(t *testing.T) {
	addr, _ := serve(t, api.Options{Ready: func(context.Context) error { return errors.New("the disk is full") }})
	want(t, get(t, "http://"+addr+"/ping"), http.StatusServiceUnavailable, "unavailable")
}
