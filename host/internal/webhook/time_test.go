package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/vespiary/vespiary/host/store"
)

// endpoints is a network whose hosts answer as a test says.
type endpoints struct {
	t      *testing.T
	start  time.Time
	answer func(host, id string, n int) (status int, retryAfter string) // n counts the attempts of the id at the host from 1

	mu    sync.Mutex
	count map[string]int
	seen  []string // "time since the start host id"
}

// RoundTrip answers. Status 0 is no answer at all until the request is given up.
func (e *endpoints) RoundTrip(q *http.Request) (*http.Response, error) {
	id := q.Header.Get("webhook-id")
	body, err := io.ReadAll(q.Body)
	if err == nil {
		err = Verify(secret, q.Header, body, time.Now(), 0)
	}
	if err != nil {
		e.t.Error(err)
	}
	e.mu.Lock()
	e.count[q.URL.Host+id]++
	n := e.count[q.URL.Host+id]
	e.seen = append(e.seen, fmt.Sprint(time.Since(e.start), " ", q.URL.Host, " ", id))
	e.mu.Unlock()
	status, retryAfter := e.answer(q.URL.Host, id, n)
	if status == 0 {
		<-q.Context().Done()
		return nil, q.Context().Err()
	}
	return &http.Response{
		StatusCode: status, Header: http.Header{"Retry-After": {retryAfter}}, Body: io.NopCloser(strings.NewReader("")),
	}, nil
}

// world is a running Sender in a synctest bubble.
type world struct {
	*endpoints
	store  *memory
	sender *Sender
	log    strings.Builder
	stop   func() error // ends Run

	running atomic.Bool
}

func run(t *testing.T, answer func(host, id string, n int) (int, string), names ...string) *world {
	t.Helper()
	w := &world{endpoints: &endpoints{t: t, start: time.Now(), answer: answer, count: map[string]int{}}, store: newMemory()}
	w.begin(names...)
	return w
}

func (w *world) begin(names ...string) {
	w.t.Helper()
	o := Options{Store: w.store, Now: time.Now, Log: slog.New(slog.NewTextHandler(&w.log, nil)), transport: w.endpoints}
	for _, name := range names {
		o.Endpoints = append(o.Endpoints, Endpoint{Name: name, URL: "https://" + name + "/hidden", Secrets: [][]byte{secret}})
	}
	var err error
	if w.sender, err = New(o); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	w.running.Store(true)
	go func() {
		err := w.sender.Run(ctx)
		w.running.Store(false)
		done <- err
	}()
	w.stop = func() error { cancel(); return <-done }
	w.t.Cleanup(cancel)
}

func (w *world) queue(ids ...string) {
	w.t.Helper()
	for _, id := range ids {
		n := notice(id)
		n.Time = time.Now()
		queue(w.t, w.store, w.sender, n)
	}
}

// after waits and compares all attempts so far.
func (w *world) after(d time.Duration, want ...string) {
	w.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if diff := cmp.Diff(want, w.seen); diff != "" {
		w.t.Errorf("attempts until %s (-want +got):\n%s", time.Since(w.start), diff)
	}
}

// ends stops Run and compares what it counted and what still waits.
func (w *world) ends(left int, want ...Stats) {
	w.t.Helper()
	if err := w.stop(); err != nil {
		w.t.Error(err)
	}
	if diff := cmp.Diff(want, w.sender.Stats(), cmpopts.EquateEmpty()); diff != "" {
		w.t.Errorf("stats (-want +got):\n%s", diff)
	}
	if got := waiting(w.t, w.store); len(got) != left {
		w.t.Errorf("%d notices wait, want %d: %v", len(got), left, got[:min(len(got), 5)])
	}
	if strings.Contains(w.log.String(), "hidden") {
		w.t.Errorf("the log holds a URL:\n%s", w.log.String())
	}
}

func always(status int) func(string, string, int) (int, string) {
	return func(string, string, int) (int, string) { return status, "" }
}

func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, always(404), "a")
		w.queue("n1")
		w.after(200*time.Hour, "0s a n1", "5s a n1", "5m5s a n1", "35m5s a n1", "2h35m5s a n1", "7h35m5s a n1",
			"17h35m5s a n1", "31h35m5s a n1", "51h35m5s a n1", "75h35m5s a n1")
		w.ends(0, Stats{"a", 0, 10, 1})
		if !strings.Contains(w.log.String(), `level=ERROR msg="a notice is given up after its last attempt" webhook=a id=n1 session=s1 attempt=10 error="it answered 404 Not Found"`) {
			t.Errorf("the log says:\n%s", w.log.String())
		}
	})
}

func TestScheduleOutlivesRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, always(500), "a")
		w.queue("n1")
		w.after(time.Minute, "0s a n1", "5s a n1")
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
		w.begin("a")
		w.after(4*time.Minute, "0s a n1", "5s a n1")
		w.after(time.Minute, "0s a n1", "5s a n1", "5m5s a n1")
		w.ends(1, Stats{"a", 0, 1, 0})
	})
}

func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, func(_, _ string, n int) (int, string) {
			switch n {
			case 1:
				return 429, "90"
			case 2:
				return 503, time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
			case 3:
				return 503, "999999999"
			}
			return 200, ""
		}, "a")
		w.queue("n1")
		w.after(time.Minute, "0s a n1")
		w.after(time.Minute, "0s a n1", "1m30s a n1")
		w.after(2*time.Hour, "0s a n1", "1m30s a n1", "1h1m30s a n1")
		w.after(23*time.Hour, "0s a n1", "1m30s a n1", "1h1m30s a n1", "25h1m30s a n1")
		w.ends(0, Stats{"a", 1, 3, 0})
	})
}

// TestRetryAfterOfAll: an endpoint that has too much to do gets no other notice either,
// and one that puts off a single notice gets the others.
func TestRetryAfterOfAll(t *testing.T) {
	for status, want := range map[int][]string{
		429: {"0s a n1", "1m30s a n2", "1m30s a n1"},
		425: {"0s a n1", "10s a n2", "1m30s a n1"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := run(t, func(_, id string, n int) (int, string) {
				if id == "n1" && n == 1 {
					return status, "90"
				}
				return 200, ""
			}, "a")
			w.queue("n1")
			time.Sleep(10 * time.Second)
			w.queue("n2")
			w.after(2*time.Minute, want...)
			w.ends(0, Stats{"a", 2, 1, 0})
		})
	}
}

func TestRetryAfterForms(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, "x": 0, "-5": 0, "1.5": 0, "7": 7 * time.Second, "0": 0, "2147483647": maxWait, "99999999999999999999": 0,
		"Sun, 01 Mar 2026 12:00:30 GMT": 30 * time.Second, "Sun, 01 Mar 2026 11:00:30 GMT": 0, "Fri, 01 Mar 2126 12:00:00 GMT": maxWait,
	} {
		if got := retryAfter(text, noon); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, always(410), "a")
		w.queue("n1", "n2")
		w.after(100*time.Hour, "0s a n1", "0s a n2")
		w.ends(0, Stats{"a", 0, 2, 2})
	})
}

// TestHold: what an endpoint cannot take for its own fault holds back everything, and
// what it will not take holds back nothing.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, func(_, id string, n int) (int, string) {
			switch {
			case id == "bad":
				return 400, ""
			case id == "n1" && n == 1, id == "n2" && n == 1, id == "n4" && n == 1:
				return 502, ""
			}
			return 204, ""
		}, "a")
		w.queue("bad", "n1", "n2", "n3")
		w.after(0, "0s a bad", "0s a n1")
		w.after(5*time.Second, "0s a bad", "0s a n1", "5s a n2") // fails as well: the hold grows
		w.after(9*time.Second, "0s a bad", "0s a n1", "5s a n2")
		w.after(time.Second, "0s a bad", "0s a n1", "5s a n2", "15s a n3", "15s a bad", "15s a n1", "15s a n2")
		w.queue("n4", "n5") // it was well meanwhile: the hold begins anew
		w.after(5*time.Second, "0s a bad", "0s a n1", "5s a n2", "15s a n3", "15s a bad", "15s a n1", "15s a n2",
			"15s a n4", "20s a n5", "20s a n4")
		w.ends(1, Stats{"a", 5, 5, 0})
	})
}

func TestOneThatIsDownDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, func(host, _ string, _ int) (int, string) {
			if host == "dead" {
				return 0, ""
			}
			return 200, ""
		}, "dead", "live")
		w.queue("n1")
		time.Sleep(time.Second)
		w.queue("n2")
		time.Sleep(time.Second)
		synctest.Wait()
		if got := w.sender.Stats()[1]; got.Delivered != 2 {
			t.Errorf("%d were delivered beside a dead endpoint", got.Delivered)
		}
		time.Sleep(attemptTime)
		synctest.Wait()
		if !strings.Contains(w.log.String(), "no answer within 20s") {
			t.Errorf("the log says:\n%s", w.log.String())
		}
		w.ends(2, Stats{"dead", 0, 1, 0}, Stats{"live", 2, 0, 0})
	})
}

// TestStopDuringAttempt: the attempt is not counted and is made again.
func TestStopDuringAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, func(_, _ string, n int) (int, string) {
			if n == 1 {
				return 0, ""
			}
			return 200, ""
		}, "a")
		w.queue("n1")
		w.after(time.Second, "0s a n1")
		w.ends(1, Stats{"a", 0, 0, 0})
		w.begin("a")
		w.after(0, "0s a n1", "1s a n1")
		w.ends(0, Stats{"a", 1, 0, 0})
	})
}

// TestStoreFull: while it cannot be recorded that a notice was taken, it is not sent again.
func TestStoreFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *world
		w = run(t, func(string, string, int) (int, string) {
			w.store.failWith(store.ErrFull)
			return 200, ""
		}, "a")
		w.queue("n1")
		w.after(time.Hour, "0s a n1")
		w.store.failWith(nil)
		w.after(time.Minute, "0s a n1")
		w.ends(0, Stats{"a", 1, 0, 0})
	})
}

// TestStoreClosed: Run ends with the error, and what was not recorded is sent again by
// the next one under the same id.
func TestStoreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *world
		w = run(t, func(_, _ string, n int) (int, string) {
			if n == 1 {
				w.store.failWith(store.ErrClosed)
			}
			return 200, ""
		}, "a", "b")
		n := notice("n1")
		n.Time = time.Now()
		ops, err := w.sender.Ops(n)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.store.Commit(t.Context(), store.Batch{Ops: ops[:1]}); err != nil {
			t.Fatal(err)
		}
		w.sender.Wake()
		synctest.Wait()
		if err := w.stop(); !errors.Is(err, store.ErrClosed) {
			t.Errorf("Run returned %v", err)
		}
		w.store.failWith(nil)
		w.begin("a", "b")
		w.after(0, "0s a n1", "0s a n1")
		w.ends(0, Stats{"a", 1, 0, 0}, Stats{"b", 0, 0, 0})
	})
}

func TestNoEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, always(200))
		if ops, err := w.sender.Ops(notice("n1")); len(ops) > 0 || err != nil {
			t.Errorf("queued %v, %v", ops, err)
		}
		w.sender.Wake()
		synctest.Wait()
		if !w.running.Load() {
			t.Error("Run has ended by itself")
		}
		w.ends(0)
	})
}

func TestClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, always(200), "a")
		n := notice("n1")
		n.Time = time.Now().Add(1000 * time.Hour)
		queue(t, w.store, w.sender, n)
		w.after(0, "0s a n1")
		w.ends(0, Stats{"a", 1, 0, 0})
	})
}

// TestRemovedMeanwhile: a record that somebody else removed during its attempt stays
// removed, and holds nothing up.
func TestRemovedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *world
		w = run(t, func(_, id string, _ int) (int, string) {
			if id == "n1" {
				b := store.Batch{Ops: []store.Op{{Key: []byte(waiting(t, w.store)[0])}}}
				if _, err := w.store.Commit(t.Context(), b); err != nil {
					t.Error(err)
				}
				return 400, ""
			}
			return 200, ""
		}, "a")
		w.queue("n1")
		w.after(0, "0s a n1")
		w.queue("n2")
		w.after(time.Second, "0s a n1", "0s a n2")
		w.ends(0, Stats{"a", 1, 1, 0})
	})
}

func TestUnreadableRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, always(200), "a")
		if _, err := w.store.Commit(t.Context(), store.Batch{Ops: []store.Op{{Key: []byte("webhook/a/0/x"), Value: []byte("{")}}}); err != nil {
			t.Fatal(err)
		}
		w.queue("n1")
		w.after(0, "0s a n1")
		w.ends(0, Stats{"a", 1, 0, 1})
	})
}

// TestQueueIsBounded: a dead endpoint does not fill the disk. What has waited longest goes.
func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := run(t, always(500), "a")
		var b store.Batch
		for i := range maxQueue + 1500 {
			n := notice(fmt.Sprint("n", i))
			n.Time = time.Now().Add(time.Duration(i))
			ops, err := w.sender.Ops(n)
			if err != nil {
				t.Fatal(err)
			}
			b.Ops = append(b.Ops, ops...)
		}
		if _, err := w.store.Commit(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		w.sender.Wake()
		synctest.Wait()
		w.ends(maxQueue, Stats{"a", 0, 1, 1500})
		if got := waiting(t, w.store)[0]; !strings.HasSuffix(got, "/n1500") {
			t.Errorf("the first that waits is %s", got)
		}
	})
}
