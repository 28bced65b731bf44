package vespiary_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	vespiary "github.com/vespiary/vespiary/sdk/go"
	"github.com/vespiary/vespiary/sdk/go/migrate"
	"github.com/vespiary/vespiary/sdk/go/reseed"
	"github.com/vespiary/vespiary/sdk/go/save"
	"github.com/vespiary/vespiary/sdk/go/vespiarytest"
)

// notebook is the state of the package's one agent.
type notebook struct {
	turns int
	kept  *vespiary.Context // of an earlier turn, which no agent should keep
	left  *vespiary.Future[string]
}

// page is what a notebook hands over.
type page struct {
	Turns int `json:"turns"`
}

var (
	// act is what the agent does; a test sets it.
	act func(*vespiary.Context, abi.Event) (abi.Reply, error)

	// book is the agent's state at its last event.
	book *notebook

	_ = vespiary.AgentOf(func(n *notebook, c *vespiary.Context, e abi.Event) (abi.Reply, error) {
		n.turns++
		book = n
		return act(c, e)
	})

	_ = save.State(func(n *notebook) (page, error) {
		switch {
		case n.turns > 100:
			panic("too many")
		case n.turns > 10:
			return page{}, errors.New("not now")
		}
		return page{n.turns}, nil
	})
	_ = migrate.State(func(n *notebook, from abi.Migration, p page) error {
		if from.Turn != p.Turns {
			return fmt.Errorf("%d pages after %d turns", p.Turns, from.Turn)
		}
		n.turns = p.Turns
		return nil
	})

	dice, coins = reseed.Rand(), reseed.Rand()
	hooked      [32]byte
	_           = reseed.Hook(func(seed [32]byte) { hooked = seed })
)

// run lets the agent run f and returns its reply.
func run(h *vespiarytest.Host, f func(c *vespiary.Context) error) abi.Reply {
	act = func(c *vespiary.Context, _ abi.Event) (abi.Reply, error) { return abi.Reply{}, f(c) }
	return h.Send(abi.Event{Type: abi.EventMessage})
}

func nothing(*vespiary.Context) error { return nil }

func TestStateIsTheSessions(t *testing.T) {
	first, second := vespiarytest.New(t), vespiarytest.New(t)
	for turn := range 3 {
		if run(first, nothing); book.turns != turn+1 {
			t.Errorf("the state has %d turns after %d", book.turns, turn+1)
		}
	}
	if run(second, nothing); book.turns != 1 {
		t.Errorf("another session begins with %d turns", book.turns)
	}
	if run(first, func(*vespiary.Context) error { panic("oh") }); book.turns != 4 {
		t.Errorf("a panic left %d turns", book.turns)
	}
}

// TestTurnsAreApart has a turn leave everything behind that it can: a Context, a
// call under way, and a Future. None of it may reach the host again.
func TestTurnsAreApart(t *testing.T) {
	h := fetcher(t)
	var ended error
	run(h, func(c *vespiary.Context) error {
		book.kept = c
		book.left = vespiary.Go(c, func(c *vespiary.Context) (string, error) {
			defer func() { _, ended = fetch(c, "after the end") }()
			return twice(c, "left")
		})
		return nil
	})
	cancelled := &abi.Error{Code: abi.CodeCancelled}
	if !errors.Is(ended, cancelled) {
		t.Errorf("a call after the end: %v", ended)
	}
	for turn := range 3 {
		run(h, func(c *vespiary.Context) error {
			if v, err := book.left.Wait(); v != "" && !errors.Is(err, cancelled) || err == nil {
				t.Errorf("turn %d: the Future of an earlier turn is %q, %v", turn, v, err)
			}
			if _, err := fetch(book.kept.WithTimeout(time.Second), "old"); !errors.Is(err, cancelled) {
				t.Errorf("turn %d: a call by the Context of an earlier turn: %v", turn, err)
			}
			if _, err := vespiary.Go(book.kept, func(c *vespiary.Context) (string, error) { return fetch(c, "old") }).Wait(); !errors.Is(err, cancelled) {
				t.Errorf("turn %d: Go by the Context of an earlier turn: %v", turn, err)
			}
			values, errs := vespiary.All(c, []string{"a", "b"}, twice)
			if diff := cmp.Diff([]string{"A,AFTER A", "B,AFTER B"}, values); diff != "" || errors.Join(errs...) != nil {
				t.Errorf("turn %d: %v -want +got:\n%s", turn, errs, diff)
			}
			return nil
		})
	}
	for _, c := range h.Calls(abi.CallHTTPFetch) {
		if strings.Contains(string(c.Request), "old") || strings.Contains(string(c.Request), "after the end") {
			t.Errorf("a call of an ended turn reached the host: %s", c.Request)
		}
	}
}

func TestSaveAndMigrate(t *testing.T) {
	old := vespiarytest.New(t)
	run(old, nothing)
	run(old, nothing)
	state, err := old.Save()
	if string(state) != `{"turns":2}` || err != nil {
		t.Fatalf("saved %s, %v", state, err)
	}
	tests := []struct {
		name  string
		from  abi.Migration
		turns int // after one more
		err   string
	}{
		{"taken over", abi.Migration{From: "sha256:0", Turn: 2, State: state}, 3, ""},
		{"nothing saved", abi.Migration{From: "sha256:0", State: json.RawMessage("null")}, 1, ""},
		{"refused", abi.Migration{From: "sha256:0", Turn: 9, State: state}, 1, "migrate: 2 pages after 9 turns"},
		{"something else", abi.Migration{From: "sha256:0", State: json.RawMessage(`[]`)}, 1, "migrate: the state that sha256:0 saved is no vespiary_test.page: json: "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := vespiarytest.New(t)
			if err := h.Migrate(test.from); (err == nil) != (test.err == "") || err != nil && !strings.HasPrefix(err.Error(), test.err) {
				t.Errorf("got %v, want %s", err, test.err)
			}
			if run(h, nothing); book.turns != test.turns {
				t.Errorf("the state has %d turns, want %d", book.turns, test.turns)
			}
		})
	}
	for turns, want := range map[int]string{50: "save: not now", 500: "save: the plugin panicked: too many"} {
		h := vespiarytest.New(t)
		run(h, nothing)
		book.turns = turns
		if _, err := h.Save(); err == nil || err.Error() != want {
			t.Errorf("with %d turns: %v, want %s", turns, err, want)
		}
	}
}

func TestReseed(t *testing.T) {
	h := vespiarytest.New(t)
	draw := func(seed byte) [3]any {
		h.Reseed([32]byte{seed})
		return [3]any{dice.Uint64(), coins.Uint64(), hooked}
	}
	one, two, again := draw(1), draw(2), draw(1)
	if one != again || one[0] == two[0] || one[1] == two[1] || one[2] == two[2] {
		t.Errorf("seeds 1, 2 and 1 give %v, %v and %v", one, two, again)
	}
	if one[0] == one[1] || one[2] == [32]byte{1} {
		t.Errorf("hooks share a seed: %v", one)
	}
}

func TestAwait(t *testing.T) {
	signal := func(name string) abi.Event {
		return abi.Event{Type: abi.EventSignal, Name: name, Data: json.RawMessage(`{"n":1}`)}
	}
	day := abi.Wait{Type: abi.EventTimer, Name: "day", After: 24 * time.Hour}
	week := abi.Wait{Type: abi.EventTimer, Name: "week", After: 7 * 24 * time.Hour}
	past := abi.Wait{Type: abi.EventTimer, Name: "past", At: time.Unix(0, 0)}
	paid := abi.Wait{Type: abi.EventSignal, Name: "paid"}
	tests := []struct {
		name    string
		limit   time.Duration
		waits   []abi.Wait
		deliver []abi.Event
		want    abi.Event
		code    abi.Code
		waited  time.Duration
	}{
		{name: "a timer", waits: []abi.Wait{day}, want: abi.Event{Type: abi.EventTimer, Name: "day"}, waited: 24 * time.Hour},
		{name: "the first timer", waits: []abi.Wait{week, day}, want: abi.Event{Type: abi.EventTimer, Name: "day"}, waited: 24 * time.Hour},
		{name: "a timer of the past", waits: []abi.Wait{day, past}, want: abi.Event{Type: abi.EventTimer, Name: "past"}},
		{name: "a signal", waits: []abi.Wait{day, paid}, deliver: []abi.Event{signal("other"), signal("paid")}, want: signal("paid")},
		{name: "another signal", waits: []abi.Wait{day, paid}, deliver: []abi.Event{signal("other")}, want: abi.Event{Type: abi.EventTimer, Name: "day"}, waited: 24 * time.Hour},
		{name: "a limit", limit: time.Second, waits: []abi.Wait{paid}, code: abi.CodeTimeout, waited: time.Second},
		{name: "a limit before a timer", limit: time.Second, waits: []abi.Wait{day}, code: abi.CodeTimeout, waited: time.Second},
		{name: "a limit after a timer", limit: 48 * time.Hour, waits: []abi.Wait{day}, want: abi.Event{Type: abi.EventTimer, Name: "day"}, waited: 24 * time.Hour},
		{name: "nothing", code: abi.CodeInvalid},
		{name: "an approval", waits: []abi.Wait{{Type: abi.EventApproval, Name: "a"}}, code: abi.CodeInvalid},
		{name: "any signal", waits: []abi.Wait{{Type: abi.EventSignal}}, code: abi.CodeInvalid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, began := vespiarytest.New(t), time.Now()
				h.Sleep = time.Sleep
				h.Deliver(test.deliver...)
				run(h, func(c *vespiary.Context) error {
					got, err := c.WithTimeout(test.limit).Await(test.waits...)
					if diff := cmp.Diff(test.want, got); diff != "" {
						t.Errorf("-want +got:\n%s", diff)
					}
					if e, _ := errors.AsType[*abi.Error](err); (e == nil) != (test.code == "") || e != nil && e.Code != test.code {
						t.Errorf("got %v, want %s", err, test.code)
					}
					return nil
				})
				if h.Waited != test.waited || time.Since(began) != test.waited {
					t.Errorf("waited %v, and %v by the clock, want %v", h.Waited, time.Since(began), test.waited)
				}
			})
		})
	}
}

// A signal that was not waited for is there for a later turn.
func TestSignalsStayQueued(t *testing.T) {
	h := vespiarytest.New(t)
	h.Deliver(abi.Event{Type: abi.EventSignal, Name: "late"})
	run(h, func(c *vespiary.Context) error { return c.Sleep(time.Hour) })
	run(h, func(c *vespiary.Context) error {
		e, err := c.Await(abi.Wait{Type: abi.EventSignal, Name: "late"})
		if e.Name != "late" || err != nil {
			t.Errorf("got %+v, %v", e, err)
		}
		return nil
	})
	if h.Waited != time.Hour {
		t.Errorf("waited %v", h.Waited)
	}
}

func TestGuard(t *testing.T) {
	tests := []struct {
		name  string
		guard func(vespiarytest.Call) error
		want  string // as Explain says it
	}{
		{"denied", vespiarytest.Denied, "denied: file_write is not permitted (policy vespiarytest)"},
		{"needs approval", vespiarytest.NeedsApproval, "needs_approval: file_write needs an approval (policy vespiarytest) (it was not done, and repeating it does not help before a person approves it)"},
		{"unapproved", vespiarytest.Unapproved, "denied: file_write needed an approval and user:owner denied it"},
		{"unknown", vespiarytest.UnknownOutcome, "unknown_outcome: file_write was interrupted; it may have happened (do not repeat it unless you find out that it did not happen)"},
		{"its own", func(vespiarytest.Call) error { return errors.New("odd") }, "internal: odd"},
		{"passes", func(vespiarytest.Call) error { return nil }, ""},
		{"none", nil, ""},
	}
	write := func(c *vespiary.Context, path string) (string, error) {
		_, err := c.WriteFile(abi.FileWrite{Path: path, Text: "x"})
		return "", err
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := vespiarytest.New(t)
			h.Guard(abi.CallFileWrite, vespiarytest.Denied)
			h.Guard(abi.CallFileWrite, test.guard)
			run(h, func(c *vespiary.Context) error {
				_, direct := write(c, "a")
				_, started := vespiary.All(c, []string{"b"}, write)
				for _, err := range []error{direct, started[0]} {
					if (err == nil) != (test.want == "") || err != nil && vespiary.Explain(err) != test.want {
						t.Errorf("got %v, want %s", err, test.want)
					}
				}
				return nil
			})
			if written := len(h.Files) == 2; written != (test.want == "") || len(h.Calls(abi.CallFileWrite)) != 2 {
				t.Errorf("the files are %v after %d calls", h.Files, len(h.Calls(abi.CallFileWrite)))
			}
		})
	}
}
