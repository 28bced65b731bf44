package session_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/session"
)

func remembering(ctx context.Context, g session.Calls, e abi.Event) (abi.Reply, error) {
	if _, err := ask(ctx, g, abi.CallMemorySession, `{"op":"append","key":"log","items":["`+abi.TextOf(e.Content)+`"]}`); err != nil {
		return abi.Reply{}, err
	}
	r, err := ask(ctx, g, abi.CallMemorySession, `{"op":"window","key":"log"}`)
	if err != nil {
		return abi.Reply{}, err
	}
	var got abi.SessionMemoryResult
	if err := json.Unmarshal(r.OK, &got); err != nil {
		return abi.Reply{}, err
	}
	m := memoryOf(ctx)
	m["n"] += abi.TextOf(e.Content)
	return say(fmt.Sprintf("%s %s", m["n"], got.Items))
}

// TestForkAndRevert branches a session after its second turn, by fork and by revert: both
// remember what was so far, in the guest and in working memory.
func TestForkAndRevert(t *testing.T) {
	w := newWorld(t, remembering)
	w.agent.Idle = 20 * time.Millisecond
	id := w.say("", "a").Session
	w.say(id, "b")
	at := w.lastEnd(id)
	w.say(id, "c")
	fork, err := w.service.Fork(t.Context(), caller, id, at)
	if err != nil {
		t.Fatal(err)
	}
	if fork.Parent != id || fork.At != at || fork.Turns != 2 || fork.Status != host.SessionIdle {
		t.Fatalf("fork: %+v", fork)
	}
	if got := textOf(w.say(fork.ID, "d")); got != `abd ["a" "b" "d"]` {
		t.Errorf("the fork says %s", got)
	}
	if got := textOf(w.say(id, "e")); got != `abce ["a" "b" "c" "e"]` {
		t.Errorf("the parent says %s", got)
	}
	again, err := w.service.Fork(t.Context(), caller, fork.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.kill()
	w.start()
	if got := textOf(w.say(again.ID, "f")); got != `abdf ["a" "b" "d" "f"]` {
		t.Errorf("the fork's fork says %s", got)
	}
	diff, err := w.service.Diff(t.Context(), caller, fork.ID, again.ID)
	if err != nil || diff.Same || len(diff.Differences) != 1 || diff.Differences[0].Turn != 4 {
		t.Errorf("diff: %+v %v", diff, err)
	}
	if _, err := w.service.Revert(t.Context(), caller, id, at); err != nil {
		t.Fatal(err)
	}
	if got := textOf(w.say(id, "g")); got != `abg ["a" "b" "g"]` {
		t.Errorf("after the revert it says %s", got)
	}
	if v, err := w.service.Verify(t.Context(), caller, id); err != nil || v.Entries == 0 {
		t.Errorf("verify: %+v %v", v, err)
	}
}

func (w *world) lastEnd(id string) uint64 {
	w.t.Helper()
	records, err := w.service.Journal(w.t.Context(), caller, id, 1, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	var seq uint64
	for _, r := range records {
		if r.Kind == host.EntryEnd {
			seq = r.Seq
		}
	}
	return seq
}

// TestReplay runs a session again: as it was, with a module that does something else, and
// up to an entry.
func TestReplay(t *testing.T) {
	w := newWorld(t, counting)
	w.others = map[string]guest{"sha256:1": func(ctx context.Context, g session.Calls, e abi.Event) (abi.Reply, error) {
		if _, err := ask(ctx, g, "effect", `{"path":"new"}`); err != nil {
			return abi.Reply{}, err
		}
		return counting(ctx, g, e)
	}}
	id := w.say("", "a").Session
	until1 := w.lastEnd(id)
	w.say(id, "b")
	got, err := w.service.Replay(t.Context(), caller, id, host.ReplayOptions{})
	if err != nil || !got.Same || len(got.Turns) != 2 || got.Turns[0].Fuel != got.Turns[0].WasFuel || got.Turns[0].Fuel == 0 {
		t.Fatalf("%+v %v", got, err)
	}
	if got, err = w.service.Replay(t.Context(), caller, id, host.ReplayOptions{Until: until1}); err != nil || len(got.Turns) != 1 {
		t.Errorf("%+v %v", got, err)
	}
	got, err = w.service.Replay(t.Context(), caller, id, host.ReplayOptions{Module: "sha256:1"})
	if err != nil || got.Same || len(got.Turns) != 2 {
		t.Fatalf("%+v %v", got, err)
	}
	want := []host.ReplayedCall{
		{Path: "1/1", Name: "effect", Change: host.CallChanged, Answer: "refused", Was: json.RawMessage(`{"path":"f"}`), Is: json.RawMessage(`{"path":"new"}`)},
		{Path: "1/2", Name: "effect", Change: host.CallNew, Answer: "record", Is: json.RawMessage(`{"path":"f"}`)},
	}
	if d := cmp.Diff(want, got.Turns[0].Changes); d != "" {
		t.Error(d)
	}
	if len(w.done()) != 2 {
		t.Errorf("a replay had effects: %v", w.done())
	}
}

func TestUpgrade(t *testing.T) {
	w := newWorld(t, counting)
	w.agent.Idle = 20 * time.Millisecond
	w.others = map[string]guest{"sha256:1": counting, "sha256:2": counting, "sha256:3": func(context.Context, session.Calls, abi.Event) (abi.Reply, error) {
		return say("something else")
	}}
	id := w.say("", "a").Session
	w.say(id, "b")
	if _, err := w.service.Upgrade(t.Context(), caller, id, host.UpgradeOptions{Module: "sha256:3"}); host.CodeOf(err) != host.ErrForbidden {
		t.Fatalf("a module that is not the agent's: %v", err)
	}
	w.agent.Module = "sha256:3"
	if _, err := w.service.Upgrade(t.Context(), caller, id, host.UpgradeOptions{}); host.CodeOf(err) != host.ErrConflict {
		t.Fatalf("an upgrade that diverges: %v", err)
	}
	if h := w.status(id); h.Module != "sha256:0" || h.Status != host.SessionIdle {
		t.Fatalf("after it: %+v", h)
	}
	for i, c := range []struct{ module, mode string }{{"sha256:1", host.UpgradeReplay}, {"sha256:2", host.UpgradeMigrate}} {
		w.agent.Module = c.module
		u, err := w.service.Upgrade(t.Context(), caller, id, host.UpgradeOptions{Module: c.module})
		if err != nil || u.Mode != c.mode {
			t.Fatalf("%+v %v", u, err)
		}
		w.kill()
		w.start()
		want := "abcd"[:3+i]
		if got := textOf(w.say(id, want[2+i:])); got != want {
			t.Errorf("%s says %q, not %q", c.module, got, want)
		}
		if h := w.status(id); h.Module != c.module {
			t.Errorf("it runs %s", h.Module)
		}
	}
	if got, err := w.service.Replay(t.Context(), caller, id, host.ReplayOptions{}); err != nil || !got.Same {
		t.Errorf("%+v %v", got, err)
	}
}

// TestPortable carries a session to another host, which goes on with it.
func TestPortable(t *testing.T) {
	w := newWorld(t, remembering)
	id := w.say("", "a").Session
	w.say(id, "b")
	var file bytes.Buffer
	if err := w.service.Export(t.Context(), caller, id, &file); err != nil {
		t.Fatal(err)
	}
	other := newWorld(t, remembering)
	if _, err := other.service.Import(t.Context(), caller, host.ImportOptions{Agent: "nobody"}, bytes.NewReader(file.Bytes())); host.CodeOf(err) != host.ErrConflict {
		t.Errorf("an unknown agent: %v", err)
	}
	h, err := other.service.Import(t.Context(), caller, host.ImportOptions{Agent: ""}, &file)
	if err != nil {
		t.Fatal(err)
	}
	if h.ID == id || h.Turns != 2 || h.Status != host.SessionIdle || h.Label.Integrity != abi.Untrusted {
		t.Errorf("imported: %+v", h)
	}
	if got := textOf(other.say(h.ID, "c")); got != `abc ["a" "b" "c"]` {
		t.Errorf("it says %s", got)
	}
}

// TestReplayAsksAnotherModel has a session's calls to its model answered by another one,
// and its effects by the record.
func TestReplayAsksAnotherModel(t *testing.T) {
	w := newWorld(t, func(ctx context.Context, g session.Calls, _ abi.Event) (abi.Reply, error) {
		r, err := ask(ctx, g, abi.CallModelChat, `{"model":"old"}`)
		if err != nil || r.Error != nil {
			return abi.Reply{}, errors.Join(err, asError(r.Error))
		}
		if _, err := ask(ctx, g, "effect", `{"path":"f"}`); err != nil {
			return abi.Reply{}, err
		}
		return say(string(r.OK))
	})
	id := w.say("", "a").Session
	got, err := w.service.Replay(t.Context(), caller, id, host.ReplayOptions{Model: "new"})
	if err != nil || got.Same || len(got.Turns) != 1 {
		t.Fatalf("%+v %v", got, err)
	}
	turn := got.Turns[0]
	want := []host.ReplayedCall{{
		Path: "1/1", Name: abi.CallModelChat, Change: host.CallChanged, Answer: "asked",
		Was: json.RawMessage(`{"model":"old"}`), Is: json.RawMessage(`{"model":"new"}`),
	}}
	if d := cmp.Diff(want, turn.Changes); d != "" {
		t.Error(d)
	}
	if turn.Is == nil || abi.TextOf(turn.Is.Content) != `"new"` || abi.TextOf(turn.Was.Content) != `"old"` {
		t.Errorf("replies %+v %+v", turn.Was, turn.Is)
	}
	if got.Usage.InputTokens != 7 || len(w.done()) != 1 {
		t.Errorf("used %+v, effects %v", got.Usage, w.done())
	}
}
