package gate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/gate"
	words "github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
)

func TestEveryCallIsDecided(t *testing.T) {
	w := newWorld(t)
	_, g := w.begin(gate.TurnOptions{})
	for _, tt := range []struct {
		name, request string
		code          abi.Code
		policy        string
	}{
		{"read", `{"path":"x"}`, "", ""},
		{"write", `{"path":"x"}`, "", ""},
		{"write", `{"path":"locked"}`, abi.CodeDenied, "locked"},
		{"read", `{`, abi.CodeInvalid, ""},
		{"nothing", `{}`, abi.CodeNotFound, ""},
		{"reply", `{}`, abi.CodeNotFound, ""},
		{"read", `{"path":{"$handle":3}}`, abi.CodeNotFound, ""},
		{"read", `{"path":"x","$timeout_ms":-1}`, abi.CodeInvalid, ""},
	} {
		if tt.name == "reply" {
			continue // guests reach it by Reply only; see TestReply
		}
		r := call(t, g, tt.name, tt.request)
		if code(r) != tt.code || r.Error != nil && r.Error.Policy != tt.policy {
			t.Errorf("%s %s: %+v, want %s by %q", tt.name, tt.request, r.Error, tt.code, tt.policy)
		}
	}
	want := []string{"read 1/1 x #1", "write 1/2 x #1"}
	if d := cmp.Diff(want, w.took()); d != "" {
		t.Errorf("performed: %s", d)
	}
}

// asking is a capability that must know something before it can say what it is about.
type asking struct{ capability }

func (k *asking) Classify(ctx context.Context, c *host.Call) (host.Class, error) {
	class, err := k.capability.Classify(ctx, c)
	if err != nil {
		return class, err
	}
	first := class
	first.Action = "fileWrite"
	return class, c.Ask(ctx, first)
}

func TestWhatClassifyNeedsIsDecidedFirst(t *testing.T) {
	w := newWorld(t)
	w.caps["read"] = &asking{capability{w: w, action: "fileRead", kind: host.Observe, recovery: abi.RecoverRead}}
	_, g := w.begin(gate.TurnOptions{})
	if r := call(t, g, "read", `{"path":"open"}`); r.Error != nil {
		t.Errorf("%+v", r)
	}
	if r := call(t, g, "read", `{"path":"locked"}`); code(r) != abi.CodeDenied || r.Error.Policy != "locked" {
		t.Errorf("%+v", r)
	}
	if got := w.took(); len(got) != 1 {
		t.Errorf("performed %v", got)
	}
	w.commit()
	for e, err := range w.journals.Read(t.Context(), "t", "s", 1) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == host.EntryIntent && e.Path == "1/2" && !bytes.Contains(e.Body, []byte(`"action":"fileWrite"`)) {
			t.Errorf("the refusal is recorded as %s", e.Body)
		}
	}
}

func TestNeedsAreTheCeiling(t *testing.T) {
	w := newWorld(t)
	turn, _ := w.begin(gate.TurnOptions{})
	r := run(nil, "1")
	r.Needs = []string{"read"}
	if r := call(t, turn.Guest(r, time.Unix(1, 0)), "write", `{"path":"x"}`); code(r) != abi.CodeDenied {
		t.Errorf("a call beyond the needs: %+v", r)
	}
	if got := w.took(); len(got) > 0 {
		t.Errorf("performed %v", got)
	}
}

func TestTheWholeChainMustBeAllowed(t *testing.T) {
	w := newWorld(t)
	turn, _ := w.begin(gate.TurnOptions{})
	child := turn.Guest(run(run(nil, "1"), "1/1"), time.Unix(1, 0))
	if r := call(t, child, "read", `{"path":"private"}`); code(r) != abi.CodeDenied || r.Error.Policy != "shallow" {
		t.Errorf("child: %+v", r)
	}
	if r := call(t, child, "read", `{"path":"open"}`); r.Error != nil {
		t.Errorf("child: %+v", r)
	}
	if got := w.took(); !slices.Equal(got, []string{"read 1/1/2 open #1"}) {
		t.Errorf("performed %v", got)
	}
}

func TestEffectsWaitForTheirIntent(t *testing.T) {
	w := newWorld(t)
	_, g := w.begin(gate.TurnOptions{})
	durable := func(kind host.EntryKind) (n int) {
		for e, err := range w.journals.Read(context.Background(), "t", "s", 1) {
			if err == nil && e.Kind == kind {
				n++
			}
		}
		return n
	}
	call(t, g, "read", `{"path":"x"}`)
	if n := durable(host.EntryIntent); n != 0 {
		t.Errorf("%d intents are durable after an observation", n)
	}
	w.caps["write"].(*capability).perform = func(context.Context, *host.Call) (host.Output, error) {
		if i, r := durable(host.EntryIntent), durable(host.EntryResult); i != 2 || r != 1 {
			t.Errorf("while the effect is performed %d intents and %d results are durable, want 2 and 1", i, r)
		}
		return host.Output{}, nil
	}
	call(t, g, "write", `{"path":"x"}`)
}

func TestRecordedCallsAreNotPerformedAgain(t *testing.T) {
	w := newWorld(t)
	script := func(g *gate.Guest) (out []string) {
		for _, c := range [][2]string{{"read", `{"path":"a"}`}, {"write", `{"path":"b"}`}, {"write", `{"path":"locked"}`}, {"read", `{"path":"c"}`}} {
			b, err := g.Call(context.Background(), c[0], []byte(c[1]))
			out = append(out, fmt.Sprint(string(b), err, g.Clock()))
		}
		return out
	}
	_, g := w.begin(gate.TurnOptions{})
	first := script(g)
	w.commit()
	w.took()
	w.crash()
	turn, g := w.begin(gate.TurnOptions{})
	second := script(g)
	if d := cmp.Diff(first, second); d != "" {
		t.Errorf("the replay saw something else: %s", d)
	}
	if got := w.took(); len(got) > 0 {
		t.Errorf("performed again: %v", got)
	}
	if err := turn.Finish(); err != nil {
		t.Error(err)
	}
	// The first run has three spans, and the replay of all four calls none.
	if got, want := w.seen.String(), "3 started, 3 ended, 1 refused, 4 replayed, 0 unknown"; got != want {
		t.Errorf("observed %s, want %s", got, want)
	}
}

func TestRecovery(t *testing.T) {
	for _, tt := range []struct {
		name string
		code abi.Code
		want []string
	}{
		{"keyed", "", []string{"keyed 1/1 x #2"}},
		{"think", "", []string{"think 1/1 x #2"}},
		{"write", abi.CodeUnknownOutcome, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			k := w.caps[tt.name].(*capability)
			var keys []string
			stop := errors.New("the host dies here")
			k.perform = func(_ context.Context, c *host.Call) (host.Output, error) {
				keys = append(keys, c.Key)
				return host.Output{}, &gate.Fatal{Err: stop}
			}
			_, g := w.begin(gate.TurnOptions{})
			if _, err := g.Call(context.Background(), tt.name, []byte(`{"path":"x"}`)); !errors.Is(err, stop) {
				t.Fatal(err)
			}
			w.took()
			w.crash()
			k.perform = func(_ context.Context, c *host.Call) (host.Output, error) {
				keys = append(keys, c.Key)
				return host.Output{}, nil
			}
			for range 2 { // the second time from the record
				_, g = w.begin(gate.TurnOptions{})
				if r := call(t, g, tt.name, `{"path":"x"}`); code(r) != tt.code {
					t.Errorf("got %+v, want %q", r, tt.code)
				}
				w.commit()
				w.crash()
			}
			if d := cmp.Diff(tt.want, w.took()); d != "" {
				t.Error(d)
			}
			if len(slices.Compact(keys)) != 1 {
				t.Errorf("idempotency keys differ: %v", keys)
			}
		})
	}
}

func TestDivergenceIsNamed(t *testing.T) {
	w := newWorld(t)
	_, g := w.begin(gate.TurnOptions{})
	call(t, g, "read", `{"path":"a"}`)
	call(t, g, "read", `{"path":"b"}`)
	w.commit()
	for _, tt := range []struct{ name, request string }{{"read", `{"path":"other"}`}, {"write", `{"path":"a"}`}} {
		w.crash()
		_, g = w.begin(gate.TurnOptions{})
		_, err := g.Call(context.Background(), tt.name, []byte(tt.request))
		if !errors.Is(err, host.ErrDiverged) || !strings.Contains(err.Error(), "1/1") {
			t.Errorf("%v: %v", tt, err)
		}
	}
	w.crash()
	turn, g := w.begin(gate.TurnOptions{})
	call(t, g, "read", `{"path":"a"}`)
	if err := turn.Finish(); !errors.Is(err, host.ErrDiverged) || !strings.Contains(err.Error(), "1/2") {
		t.Errorf("a turn that stops short: %v", err)
	}
	if got := w.took(); len(got) != 2 {
		t.Errorf("performed %v", got)
	}
}

// TestToolsAreEnteredAgainUnlessTheyAnswered replays a tool's activation: whole where
// its result is missing, not at all where it is on record.
func TestToolsAreEnteredAgainUnlessTheyAnswered(t *testing.T) {
	for _, finished := range []bool{true, false} {
		w := newWorld(t)
		entered := 0
		var turn *gate.Turn
		stop := errors.New("the host dies here")
		w.caps["read"].(*capability).recovery = host.RecoverNested
		w.caps["read"].(*capability).perform = func(ctx context.Context, c *host.Call) (host.Output, error) {
			entered++
			child := turn.Guest(run(c.Run, c.Path), c.Begun)
			if _, err := child.Call(ctx, "write", []byte(`{"path":"x"}`)); err != nil {
				return host.Output{}, err
			}
			if !finished && entered == 1 {
				return host.Output{}, &gate.Fatal{Err: stop}
			}
			return host.Output{OK: []byte(`"` + child.Clock().Format(time.RFC3339Nano) + `"`)}, nil
		}
		var g *gate.Guest
		turn, g = w.begin(gate.TurnOptions{})
		first, err := g.Call(context.Background(), "read", []byte(`{"path":"tool"}`))
		if (err == nil) != finished {
			t.Fatal(err)
		}
		w.commit()
		w.crash()
		turn, g = w.begin(gate.TurnOptions{})
		second, err := g.Call(context.Background(), "read", []byte(`{"path":"tool"}`))
		if err != nil || finished && !bytes.Equal(first, second) {
			t.Errorf("first %s, then %s, %v", first, second, err)
		}
		if err := turn.Finish(); err != nil {
			t.Error(err)
		}
		writes := 0
		for _, p := range w.took() {
			if strings.HasPrefix(p, "write") {
				writes++
			}
		}
		if want := map[bool]int{true: 1, false: 2}[finished]; writes != 1 || entered != want {
			t.Errorf("finished %v: entered %d times, %d effects", finished, entered, writes)
		}
	}
}

func TestModes(t *testing.T) {
	for _, tt := range []struct {
		mode        gate.Mode
		read, write string
	}{
		{gate.Live, "", ""},
		{gate.Dry, "unavailable", "unavailable"},
		{gate.Shadow, "", "unavailable"},
	} {
		w := newWorld(t)
		_, g := w.begin(gate.TurnOptions{Mode: tt.mode})
		read, write := code(call(t, g, "read", `{"path":"x"}`)), code(call(t, g, "write", `{"path":"x"}`))
		if string(read) != tt.read || string(write) != tt.write {
			t.Errorf("mode %d: read %q, write %q", tt.mode, read, write)
		}
		if r := call(t, g, "write", `{"path":"locked"}`); code(r) != abi.CodeDenied {
			t.Errorf("mode %d decides %+v", tt.mode, r)
		}
	}
	w := newWorld(t)
	_, g := w.begin(gate.TurnOptions{})
	call(t, g, "read", `{"path":"x"}`)
	w.commit()
	_, g = w.begin(gate.TurnOptions{Mode: gate.Replay})
	call(t, g, "read", `{"path":"x"}`)
	if _, err := g.Call(context.Background(), "read", []byte(`{"path":"y"}`)); !errors.Is(err, host.ErrJournalEnds) {
		t.Errorf("replay goes on after the journal: %v", err)
	}
}

func TestBudget(t *testing.T) {
	w := newWorld(t)
	turn, g := w.begin(gate.TurnOptions{Budget: host.Budget{Tokens: 250, Calls: 3}})
	var got []abi.Code
	for range 3 {
		got = append(got, code(call(t, g, "think", `{}`)))
	}
	got = append(got, code(call(t, g, "read", `{"path":"x"}`)), code(call(t, g, "read", `{"path":"x"}`)))
	want := []abi.Code{"", "", abi.CodeBudgetExceeded, "", abi.CodeBudgetExceeded}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if u, n := turn.Used(); u.InputTokens != 200 || n != 3 {
		t.Errorf("used %+v in %d calls", u, n)
	}
	if err := g.Reply(t.Context(), []byte(`{"status":"done"}`)); err != nil {
		t.Errorf("an agent without budget cannot say so: %v", err)
	}
	w.commit()
	w.crash()
	turn, g = w.begin(gate.TurnOptions{Budget: host.Budget{Tokens: 250, Calls: 3}})
	// What is on record counts from the start, and once.
	if u, n := turn.Used(); u.InputTokens != 200 || n != 3 {
		t.Errorf("after a crash: used %+v in %d calls", u, n)
	}
	call(t, g, "think", `{}`)
	call(t, g, "think", `{}`)
	if u, n := turn.Used(); u.InputTokens != 200 || n != 3 {
		t.Errorf("after the replay: used %+v in %d calls", u, n)
	}
}

func TestLabelsTaintTheSession(t *testing.T) {
	w := newWorld(t)
	turn, g := w.begin(gate.TurnOptions{})
	w.caps["think"].(*capability).perform = func(context.Context, *host.Call) (host.Output, error) {
		return host.Output{OK: []byte(`1`), Derived: true}, nil
	}
	call(t, g, "think", `{}`)
	if l := turn.Label(); l.Integrity != abi.Trusted {
		t.Errorf("after a derived result: %+v", l)
	}
	w.caps["read"].(*capability).perform = func(context.Context, *host.Call) (host.Output, error) {
		return host.Output{OK: []byte(`1`), Labels: abi.Labels{"": {Integrity: abi.Endorsed, Public: true}, "/a": {Sources: []string{"web"}, Readers: []string{"owner", "other"}}}}, nil
	}
	call(t, g, "read", `{"path":"x"}`)
	want := abi.Label{Readers: []string{"owner"}, Sources: []string{"user:owner", "web"}}
	if d := cmp.Diff(want, turn.Label()); d != "" {
		t.Error(d)
	}
}

func TestCancelledAndStopped(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cause error
		code  abi.Code
	}{
		{"read", host.ErrCancelled, abi.CodeCancelled},
		{"write", host.ErrCancelled, abi.CodeUnknownOutcome},
		{"write", host.ErrStopping, ""},
	} {
		w := newWorld(t)
		ctx, cancel := context.WithCancelCause(context.Background())
		w.caps[tt.name].(*capability).perform = func(ctx context.Context, _ *host.Call) (host.Output, error) {
			cancel(tt.cause)
			<-ctx.Done()
			return host.Output{}, ctx.Err()
		}
		_, g := w.begin(gate.TurnOptions{})
		b, err := g.Call(ctx, tt.name, []byte(`{"path":"x"}`))
		if errors.Is(tt.cause, host.ErrStopping) {
			if !errors.Is(err, host.ErrStopping) {
				t.Errorf("%+v: %s %v", tt, b, err)
			}
			continue
		}
		var r abi.Result
		_ = json.Unmarshal(b, &r)
		if err != nil || code(r) != tt.code {
			t.Errorf("%+v: %s %v", tt, b, err)
		}
		b, err = g.Call(ctx, "read", []byte(`{"path":"y"}`))
		if err != nil || !bytes.Contains(b, []byte(`"cancelled"`)) {
			t.Errorf("the next call of a cancelled turn: %s %v", b, err)
		}
	}
}

func TestTimeLimitIsAResult(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gate.New(gate.Options{Capabilities: map[string]host.Capability{"read": slow{}}, Policy: yes{}, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
		turn, err := g.Begin(gate.TurnOptions{Session: "s", Journal: &memoryLog{}})
		if err != nil {
			t.Fatal(err)
		}
		r := call(t, turn.Guest(run(nil, "1"), time.Now()), "read", `{"path":"x","$timeout_ms":1500}`)
		if code(r) != abi.CodeTimeout {
			t.Errorf("%+v", r)
		}
	})
}

// slow waits for its context and sees only its own fields of the request.
type slow struct{}

func (slow) Classify(_ context.Context, c *host.Call) (host.Class, error) {
	if string(c.Request) != `{"path":"x"}` {
		return host.Class{}, &abi.Error{Code: abi.CodeInvalid, Message: string(c.Request)}
	}
	return host.Class{Action: "fileRead", Kind: host.Observe, Recovery: abi.RecoverRead}, nil
}

func (slow) Perform(ctx context.Context, _ *host.Call) (host.Output, error) {
	<-ctx.Done()
	return host.Output{}, ctx.Err()
}

type yes struct{}

func (yes) Authorize(context.Context, *policy.Request) policy.Decision {
	return policy.Decision{Allowed: true}
}

// memoryLog numbers entries and keeps nothing: inside a synctest bubble no real
// store can be waited for.
type memoryLog struct{ n uint64 }

func (l *memoryLog) Append(_ context.Context, e host.Entry, _ any, _ []byte, _ ...words.Op) (host.Entry, error) {
	l.n++
	e.Seq, e.Time = l.n, time.Now()
	return e, nil
}
func (*memoryLog) Commit(context.Context) error { return nil }
func (*memoryLog) Flush()                       {}
func (*memoryLog) Waiting() int                 { return 0 }
func (*memoryLog) Hash(b []byte) string         { return string(b) }
func (*memoryLog) Epoch() uint32                { return 0 }

func TestStreamsAreDurableBeforeTheyAreSeen(t *testing.T) {
	w := newWorld(t)
	w.caps["think"].(*capability).perform = func(ctx context.Context, c *host.Call) (host.Output, error) {
		for _, word := range []string{"one", "two"} {
			if err := c.Emit(ctx, abi.Emit{Content: []abi.Content{abi.Text(word)}}); err != nil {
				return host.Output{}, err
			}
		}
		var chunks []string
		for e, err := range w.journals.Read(ctx, "t", "s", 1) {
			if err == nil && e.Kind == host.EntryChunk {
				chunks = append(chunks, string(e.Body))
			}
		}
		if d := cmp.Diff([]string{`{"attempt":1,"offset":0}`, `{"attempt":1,"offset":1}`}, chunks); d != "" {
			t.Error(d)
		}
		return host.Output{}, nil
	}
	_, g := w.begin(gate.TurnOptions{})
	call(t, g, "think", `{}`)
	if err := g.Reply(context.Background(), []byte(`{"status":"done"}`)); err != nil {
		t.Errorf("reply: %v", err)
	}
}
