package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vespiary/vespiary/host"
)

// serving returns a client of a server, and counts its requests.
func serving(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) (c *client, requests *int) {
	t.Helper()
	requests = new(int)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*requests++
		answer(*requests, w, r)
	}))
	t.Cleanup(server.Close)
	return &client{base: server.URL, http: server.Client()}, requests
}

func refuse(w http.ResponseWriter, status int, after string) {
	if after != "" {
		w.Header().Set("Retry-After", after)
	}
	w.WriteHeader(status)
	_, _ = w.Write([]byte(`{"code":"too_many_requests","detail":"slow down"}`))
}

func TestPatience(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		after  string
		pause  time.Duration
		again  bool
	}{
		"seconds":               {429, "7", 7 * time.Second, true},
		"at once":               {429, "0", 0, true},
		"no word":               {429, "", time.Second, true},
		"a date":                {429, "Sun, 01 Mar 2026 09:31:30 GMT", time.Second, true},
		"an hour":               {429, "3600", time.Hour, false},
		"unavailable for now":   {503, "2", 2 * time.Second, true},
		"unavailable":           {503, "", 0, false},
		"refused for good":      {403, "1", 0, false},
		"broken, with a header": {500, "1", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			pause, again := patience(&http.Response{StatusCode: tc.status, Header: http.Header{"Retry-After": {tc.after}}})
			if pause != tc.pause || again != tc.again {
				t.Errorf("patience = %s, %t", pause, again)
			}
		})
	}
}

// TestPatienceEnds: after ten more tries the host's refusal is the answer, and a
// context that ends is the end of waiting.
func TestPatienceEnds(t *testing.T) {
	c, requests := serving(t, func(_ int, w http.ResponseWriter, _ *http.Request) { refuse(w, 429, "0") })
	if err := c.Reload(t.Context()); err == nil || err.Error() != "reload: slow down" || *requests != 1+maxTries {
		t.Errorf("after %d requests: %v", *requests, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	c, requests = serving(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		refuse(w, 429, "60")
		time.AfterFunc(10*time.Millisecond, cancel)
	})
	if err := c.Reload(ctx); !errors.Is(err, context.Canceled) || *requests != 1 {
		t.Errorf("after %d requests: %v", *requests, err)
	}
}

// TestLongSession: all pages of a long journal are shown, by a host that asks for
// patience before each of them.
func TestLongSession(t *testing.T) {
	const records = 2*journalPage + 7
	c, _ := serving(t, func(n int, w http.ResponseWriter, r *http.Request) {
		if n%3 != 0 {
			refuse(w, 429, "0")
			return
		}
		from, _ := strconv.Atoi(r.URL.Query().Get("from"))
		var page struct {
			Records []host.Record `json:"records"`
		}
		for seq := from; seq <= records && len(page.Records) < journalPage; seq++ {
			page.Records = append(page.Records, host.Record{Entry: host.Entry{Seq: uint64(seq), Kind: host.EntryCancel}})
		}
		_ = json.NewEncoder(w).Encode(page)
	})
	var out bytes.Buffer
	v := newHistoryView(&runner{out: printer{&out}}, false)
	if err := v.journal(t.Context(), c, "S1"); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(out.String(), "cancelled\n"); got != records {
		t.Errorf("%d of %d records are shown", got, records)
	}
}

// TestCancel: a session that runs is waited for, and what ended is said.
func TestCancel(t *testing.T) {
	for name, tc := range map[string]struct {
		sessions []host.Session // as the host shows it, request by request
		want     string
	}{
		"idle": {[]host.Session{{Status: host.SessionIdle, Turns: 2, Ended: 2}}, "nothing was running in session S1\n"},
		"one turn, later": {[]host.Session{
			{Status: host.SessionRunning, Turns: 3, Ended: 2},
			{Status: host.SessionRunning, Turns: 3, Ended: 2},
			{Status: host.SessionRunning, Turns: 3, Ended: 2},
			{Status: host.SessionIdle, Turns: 3, Ended: 3},
		}, "cancelled session S1: turn 3 ended\n"},
		"two turns, at once": {[]host.Session{
			{Status: host.SessionRunning, Turns: 4, Ended: 2},
			{Status: host.SessionIdle, Turns: 4, Ended: 4},
		}, "cancelled session S1: turns 3 to 4 ended\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c, requests := serving(t, func(n int, w http.ResponseWriter, r *http.Request) {
				if cancels := r.Method == http.MethodPost; cancels != (n == 2) {
					t.Errorf("request %d is %s", n, r.Method)
				}
				s := tc.sessions[n-1]
				s.ID = "S1"
				_ = json.NewEncoder(w).Encode(s)
			})
			var out bytes.Buffer
			r := &runner{out: printer{&out}, err: printer{&out}}
			if err := r.cancel(t.Context(), c, "S1"); err != nil || out.String() != tc.want {
				t.Errorf("output = %q, %v", out.String(), err)
			}
			if *requests != len(tc.sessions) {
				t.Errorf("%d requests, want %d", *requests, len(tc.sessions))
			}
		})
	}
}

// TestReloadError: the host's own words are not introduced twice.
func TestReloadError(t *testing.T) {
	for detail, want := range map[string]string{
		"reload: nothing was changed: no": "reload: nothing was changed: no",
		"this caller may not":             "reload: this caller may not",
	} {
		c, _ := serving(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprintf(w, `{"code":"invalid_request","detail":%q}`, detail)
		})
		if err := c.Reload(t.Context()); err == nil || err.Error() != want {
			t.Errorf("error = %v, want %s", err, want)
		}
	}
}
