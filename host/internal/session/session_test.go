package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/session"
)

func TestTurnsRunInOrder(t *testing.T) {
	w := newWorld(t, echo)
	first := w.invoke(message("one"))
	in := message("two")
	in.Session = first.Session
	second := w.invoke(in)
	in = message("three")
	in.Session = first.Session
	third := w.invoke(in)
	for i, turn := range []host.Turn{first, second, third} {
		got := w.await(turn)
		want := fmt.Sprintf("%d:%s", i+1, []string{"one", "two", "three"}[i])
		if got.Status != host.TurnDone || abi.TextOf(got.Content) != want {
			t.Errorf("turn %d: %+v", i+1, got)
		}
	}
	head, err := w.service.Get(t.Context(), caller, first.Session)
	if err != nil || head.Status != host.SessionIdle || head.Turns != 3 || head.Ended != 3 {
		t.Errorf("session: %+v, %v", head, err)
	}
	list, err := w.service.List(t.Context(), caller, host.SessionFilter{})
	if err != nil || len(list) != 1 {
		t.Errorf("list: %+v, %v", list, err)
	}
}

func TestSessionsAreOfTheirTenant(t *testing.T) {
	w := newWorld(t, echo)
	turn := w.await(w.invoke(message("x")))
	other := host.Caller{Tenant: "other", User: "owner"}
	if _, err := w.service.Get(t.Context(), other, turn.Session); host.CodeOf(err) != host.ErrNotFound {
		t.Errorf("get: %v", err)
	}
	in := w.fill(message("y"))
	in.Caller, in.Session = other, turn.Session
	if _, err := w.service.Invoke(t.Context(), in); host.CodeOf(err) != host.ErrNotFound {
		t.Errorf("invoke: %v", err)
	}
	if list, _ := w.service.List(t.Context(), other, host.SessionFilter{}); len(list) != 0 {
		t.Errorf("list: %+v", list)
	}
	if _, err := w.service.Cancel(t.Context(), other, turn.Session); host.CodeOf(err) != host.ErrNotFound {
		t.Errorf("cancel: %v", err)
	}
}

func TestBadInvocations(t *testing.T) {
	w := newWorld(t, echo)
	in := w.fill(message("x"))
	in.Agent = "nobody"
	if _, err := w.service.Invoke(t.Context(), in); host.CodeOf(err) != host.ErrNotFound {
		t.Errorf("unknown agent: %v", err)
	}
	in = w.fill(message("x"))
	in.Session = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
	if _, err := w.service.Invoke(t.Context(), in); host.CodeOf(err) != host.ErrNotFound {
		t.Errorf("unknown session: %v", err)
	}
}

func TestIdempotencyKey(t *testing.T) {
	w := newWorld(t, echo)
	in := message("x")
	in.IdempotencyKey, in.Body = "k", []byte("body")
	var wg sync.WaitGroup
	turns := make([]host.Turn, 8)
	for i := range turns {
		wg.Go(func() { turns[i] = w.invoke(in) })
	}
	wg.Wait()
	created := 0
	for _, turn := range turns {
		if turn.Session != turns[0].Session || turn.Number != 1 {
			t.Errorf("another turn: %+v", turn)
		}
		if turn.Created {
			created++
		}
	}
	if created != 1 {
		t.Errorf("%d turns were created", created)
	}
	in.Body = []byte("another")
	if _, err := w.service.Invoke(t.Context(), w.fill(in)); host.CodeOf(err) != host.ErrConflict {
		t.Errorf("another body: %v", err)
	}
	w.restart(echo)
	in.Body = []byte("body")
	if again := w.invoke(in); again.Session != turns[0].Session || again.Created {
		t.Errorf("after a restart: %+v", again)
	}
}

func TestGuestFailures(t *testing.T) {
	for name, tt := range map[string]struct {
		guest guest
		code  abi.Code
	}{
		"trap": {func(context.Context, session.Calls, abi.Event) (abi.Reply, error) {
			return abi.Reply{}, errors.New("trap")
		}, abi.CodeInternal},
		"no status": {func(context.Context, session.Calls, abi.Event) (abi.Reply, error) { return abi.Reply{}, nil }, abi.CodeInvalid},
		"own failure": {func(context.Context, session.Calls, abi.Event) (abi.Reply, error) {
			return abi.Reply{Status: abi.StatusFailed, Error: "why"}, nil
		}, abi.CodeInternal},
		"typed": {func(context.Context, session.Calls, abi.Event) (abi.Reply, error) {
			return abi.Reply{}, &abi.Error{Code: abi.CodeRateLimited, Message: "m"}
		}, abi.CodeRateLimited},
		"out of time": {func(ctx context.Context, _ session.Calls, _ abi.Event) (abi.Reply, error) {
			<-ctx.Done()
			return abi.Reply{}, ctx.Err()
		}, abi.CodeTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tt.guest)
			if name == "out of time" {
				w.agent.Budget.Time = 50 * time.Millisecond
			}
			got := w.await(w.invoke(message("x")))
			if got.Status != host.TurnFailed || got.Error == nil || got.Error.Code != tt.code {
				t.Errorf("%+v, want %s", got.Error, tt.code)
			}
			// A guest that gave a reply ended its turn, whatever the reply says.
			want := host.EntryAbort
			if name == "own failure" {
				want = host.EntryEnd
			}
			records, err := w.service.Journal(t.Context(), caller, got.Session, 1, 0)
			if err != nil || records[len(records)-1].Kind != want {
				t.Errorf("the journal ends with %+v, want %s (%v)", records[len(records)-1], want, err)
			}
			w.mu.Lock()
			w.guest = echo
			w.mu.Unlock()
			w.agent.Budget.Time = 0
			in := message("again")
			in.Session = got.Session
			if next := w.await(w.invoke(in)); next.Status != host.TurnDone {
				t.Errorf("the next turn: %+v", next)
			}
		})
	}
}

// TestKilledTurnsGoOn ends the host at each step of a turn, in good order or not, and
// looks whether the turn finishes with every effect performed once.
func TestKilledTurnsGoOn(t *testing.T) {
	for step := range 4 {
		t.Run(fmt.Sprint(step), func(t *testing.T) {
			reached := make(chan struct{})
			var once sync.Once
			script := func(stopAt int) guest {
				return func(ctx context.Context, g session.Calls, _ abi.Event) (abi.Reply, error) {
					var clocks []string
					for i := range 4 {
						if i == stopAt {
							once.Do(func() { close(reached) })
							<-ctx.Done()
							return abi.Reply{}, ctx.Err()
						}
						r, err := ask(ctx, g, "effect", fmt.Sprintf(`{"path":"p%d"}`, i))
						if err != nil || r.Error != nil {
							return abi.Reply{}, errors.Join(err, asError(r.Error))
						}
						clocks = append(clocks, g.Clock().Format(time.RFC3339Nano))
					}
					return say(strings.Join(clocks, " "))
				}
			}
			w := newWorld(t, script(step))
			turn := w.invoke(message("x"))
			<-reached
			w.restart(script(-1))
			got := w.await(turn)
			if got.Status != host.TurnDone {
				t.Fatalf("%+v", got)
			}
			if d := cmp.Diff([]string{"p0", "p1", "p2", "p3"}, w.effects); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestFullDiskSuspendsATurn fills the disk in the middle of a turn: the turn waits and
// finishes once there is space, and no event is accepted meanwhile.
func TestFullDiskSuspendsATurn(t *testing.T) {
	var w *world
	var once sync.Once
	w = newWorld(t, func(ctx context.Context, g session.Calls, _ abi.Event) (abi.Reply, error) {
		for _, p := range []string{"a", "b"} {
			if r, err := ask(ctx, g, "effect", `{"path":"`+p+`"}`); err != nil || r.Error != nil {
				return abi.Reply{}, errors.Join(err, asError(r.Error))
			}
			once.Do(func() { w.store.full.Store(true) })
		}
		return say("done")
	})
	turn := w.invoke(message("x"))
	for !w.store.full.Load() {
		time.Sleep(time.Millisecond)
	}
	if _, err := w.service.Invoke(t.Context(), w.fill(message("y"))); host.CodeOf(err) != host.ErrFull {
		t.Errorf("a new session: %v", err)
	}
	in := message("y")
	in.Session = turn.Session
	if _, err := w.service.Invoke(t.Context(), w.fill(in)); host.CodeOf(err) != host.ErrFull {
		t.Errorf("a session that runs: %v", err)
	}
	w.store.full.Store(false)
	got := w.await(turn)
	if d := cmp.Diff([]string{"a", "b"}, w.effects); d != "" || got.Status != host.TurnDone {
		t.Errorf("%+v %s", got, d)
	}
	head, _ := w.service.Get(t.Context(), caller, turn.Session)
	if head.Turns != 1 {
		t.Errorf("the refused event was taken in: %+v", head)
	}
}

func TestQueuedEventsSurviveAKill(t *testing.T) {
	block := make(chan struct{})
	w := newWorld(t, func(ctx context.Context, _ session.Calls, _ abi.Event) (abi.Reply, error) {
		close(block)
		<-ctx.Done()
		return abi.Reply{}, ctx.Err()
	})
	first := w.invoke(message("one"))
	<-block
	in := message("two")
	in.Session = first.Session
	second := w.invoke(in)
	w.restart(echo)
	if got := w.await(second); abi.TextOf(got.Content) != "2:two" {
		t.Errorf("%+v", got)
	}
	if got := w.await(first); abi.TextOf(got.Content) != "1:one" {
		t.Errorf("%+v", got)
	}
}

func TestDivergenceParks(t *testing.T) {
	reached := make(chan struct{})
	w := newWorld(t, func(ctx context.Context, g session.Calls, _ abi.Event) (abi.Reply, error) {
		if _, err := ask(ctx, g, "effect", `{"path":"a"}`); err != nil {
			return abi.Reply{}, err
		}
		close(reached)
		<-ctx.Done()
		return abi.Reply{}, ctx.Err()
	})
	turn := w.invoke(message("x"))
	<-reached
	w.restart(func(ctx context.Context, g session.Calls, _ abi.Event) (abi.Reply, error) {
		if _, err := ask(ctx, g, "effect", `{"path":"b"}`); err != nil {
			return abi.Reply{}, err
		}
		return say("never")
	})
	got := w.await(turn)
	if got.Status != host.TurnParked || !strings.Contains(got.Error.Message, "1/1") {
		t.Errorf("%+v", got)
	}
	head, _ := w.service.Get(t.Context(), caller, turn.Session)
	if head.Status != host.SessionParked || head.Reason == "" {
		t.Errorf("%+v", head)
	}
	in := w.fill(message("y"))
	in.Session = turn.Session
	if _, err := w.service.Invoke(t.Context(), in); host.CodeOf(err) != host.ErrConflict {
		t.Errorf("invoke: %v", err)
	}
	if d := cmp.Diff([]string{"a"}, w.effects); d != "" {
		t.Error(d)
	}
}

func TestCancel(t *testing.T) {
	reached := make(chan struct{})
	w := newWorld(t, func(ctx context.Context, g session.Calls, _ abi.Event) (abi.Reply, error) {
		close(reached)
		r, err := ask(ctx, g, "await", `{"for":[{"type":"signal","name":"never"}]}`)
		if err == nil && (r.Error == nil || r.Error.Code != abi.CodeCancelled) {
			t.Errorf("the cancelled call: %+v", r)
		}
		return say("cleaned up")
	})
	first := w.invoke(message("one"))
	<-reached
	in := message("two")
	in.Session = first.Session
	second := w.invoke(in)
	if _, err := w.service.Cancel(t.Context(), caller, first.Session); err != nil {
		t.Fatal(err)
	}
	for _, turn := range []host.Turn{first, second} {
		for turn = w.await(turn); !turn.Status.Over(); turn = w.await(turn) { // it may still be suspended
		}
		if turn.Status != host.TurnCancelled {
			t.Errorf("turn %d: %+v", turn.Number, turn)
		}
	}
}

func TestAwait(t *testing.T) {
	w := newWorld(t, func(ctx context.Context, g session.Calls, _ abi.Event) (abi.Reply, error) {
		r, err := ask(ctx, g, "await", `{"for":[{"type":"signal","name":"go"},{"type":"timer","name":"late","after_ns":3600000000000}]}`)
		if err != nil || r.Error != nil {
			return abi.Reply{}, errors.Join(err, asError(r.Error))
		}
		var e abi.Event
		_ = json.Unmarshal(r.OK, &e)
		return say(e.Name + string(e.Data))
	})
	turn := w.invoke(message("x"))
	got := w.await(turn)
	if got.Status != host.TurnRunning || len(got.Waiting) != 2 {
		t.Fatalf("%+v", got)
	}
	w.restart(w.guest)
	in := host.Invocation{Session: turn.Session, Event: abi.Event{Type: abi.EventSignal, Name: "go", Data: []byte(`1`)}}
	signal := w.invoke(in)
	for got = w.await(turn); !got.Status.Over(); got = w.await(turn) {
	}
	if abi.TextOf(got.Content) != "go1" {
		t.Errorf("%+v", got)
	}
	if s := w.await(signal); s.Status != host.TurnDone {
		t.Errorf("the signal's own turn: %+v", s)
	}
	head, _ := w.service.Get(t.Context(), caller, turn.Session)
	if head.Status != host.SessionIdle {
		t.Errorf("%+v", head)
	}
}

func TestTimerWakesAWaitingSession(t *testing.T) {
	script := func(_ context.Context, _ session.Calls, e abi.Event) (abi.Reply, error) {
		if e.Type == abi.EventTimer {
			return say("woken by " + e.Name)
		}
		return abi.Reply{Status: abi.StatusWaiting, Waiting: []abi.Wait{{Type: abi.EventTimer, Name: "tea", After: 300 * time.Millisecond}}}, nil
	}
	w := newWorld(t, script)
	turn := w.invoke(message("x"))
	if got := w.await(turn); got.Status != host.TurnWaiting || got.Waiting[0].At.IsZero() {
		t.Fatalf("%+v", got)
	}
	w.restart(script)
	for e, err := range w.service.Events(t.Context(), caller, turn.Session, "") {
		if err != nil {
			t.Fatal(err)
		}
		if e.Type == host.StreamEnd && e.Turn == 2 {
			if !strings.Contains(string(e.Data), "woken by tea") {
				t.Errorf("%s", e.Data)
			}
			break
		}
	}
}

func TestEventsResume(t *testing.T) {
	w := newWorld(t, func(ctx context.Context, g session.Calls, _ abi.Event) (abi.Reply, error) {
		for _, word := range []string{"a", "b"} {
			if _, err := ask(ctx, g, "emit", `{"content":[{"type":"text","text":"`+word+`"}]}`); err != nil {
				return abi.Reply{}, err
			}
		}
		if _, err := ask(ctx, g, "effect", `{"path":"p"}`); err != nil {
			return abi.Reply{}, err
		}
		return say("done")
	})
	turn := w.await(w.invoke(message("x")))
	follow := func(after string) (out []host.StreamEvent) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for e, err := range w.service.Events(ctx, caller, turn.Session, after) {
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, e)
			if e.Type == host.StreamEnd {
				break
			}
		}
		return out
	}
	all := follow("")
	var types []string
	ids := map[string]bool{}
	for _, e := range all {
		types = append(types, string(e.Type))
		if ids[e.ID] {
			t.Errorf("id %s is not unique", e.ID)
		}
		ids[e.ID] = true
	}
	want := "turn.accepted turn.start call delta call.result call delta call.result call call.result call call.result turn.end"
	if got := strings.Join(types, " "); got != want {
		t.Errorf("events: %s", got)
	}
	for i, e := range all[:len(all)-1] {
		if d := cmp.Diff(all[i+1:], follow(e.ID)); d != "" {
			t.Errorf("after %s: %s", e.ID, d)
		}
	}
	in := message("y")
	in.Session = turn.Session
	w.await(w.invoke(in))
	for e, err := range w.service.Events(t.Context(), caller, turn.Session, "2") {
		if err != nil || e.Turn != 2 || e.Type != host.StreamAccepted {
			t.Errorf("from turn 2 on: %+v %v", e, err)
		}
		break
	}
	for e, err := range w.service.Events(t.Context(), caller, turn.Session, "9.9.9.9") {
		if host.CodeOf(err) != host.ErrInvalid {
			t.Errorf("an unknown id: %+v %v", e, err)
		}
	}
}

func TestAdmission(t *testing.T) {
	w := newWorld(t, func(ctx context.Context, _ session.Calls, _ abi.Event) (abi.Reply, error) {
		<-ctx.Done()
		return abi.Reply{}, ctx.Err()
	})
	w.limits = session.Limits{Sessions: 2, Queue: 2}
	w.restart(w.guest)
	first := w.invoke(message("x"))
	in := message("y")
	in.Session = first.Session
	w.invoke(in)
	if _, err := w.service.Invoke(t.Context(), w.fill(in)); host.CodeOf(err) != host.ErrTooMany {
		t.Errorf("a full queue: %v", err)
	}
	w.invoke(message("z"))
	if _, err := w.service.Invoke(t.Context(), w.fill(message("z"))); host.CodeOf(err) != host.ErrTooMany {
		t.Errorf("a full host: %v", err)
	}
	w.limits, w.memory = session.Limits{Memory: 100}, 100
	w.restart(w.guest)
	if _, err := w.service.Invoke(t.Context(), w.fill(message("z"))); host.CodeOf(err) != host.ErrTooMany {
		t.Errorf("guests that use all memory: %v", err)
	}
	w.memory = 99
	w.invoke(message("z"))
}

func TestManySessionsAtOnce(t *testing.T) {
	w := newWorld(t, func(ctx context.Context, g session.Calls, e abi.Event) (abi.Reply, error) {
		if _, err := ask(ctx, g, "effect", `{"path":"`+e.Session+`"}`); err != nil {
			return abi.Reply{}, err
		}
		return say("ok")
	})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			turn := w.invoke(message("x"))
			if got := w.await(turn); got.Status != host.TurnDone {
				t.Errorf("%+v", got)
			}
		})
	}
	wg.Wait()
	if len(w.effects) != 50 {
		t.Errorf("%d effects", len(w.effects))
	}
}
