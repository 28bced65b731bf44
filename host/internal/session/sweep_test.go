package session_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/session"
	words "github.com/vespiary/vespiary/host/store"
)

func TestOldSessionsAreRemoved(t *testing.T) {
	w := newWorld(t, func(ctx context.Context, g session.Calls, e abi.Event) (abi.Reply, error) {
		if _, err := ask(ctx, g, "memory_session", `{"op":"set","key":"k","value":"kept with the session"}`); err != nil {
			return abi.Reply{}, err
		}
		if abi.TextOf(e.Content) == "wait" {
			return abi.Reply{Status: abi.StatusWaiting, Waiting: []abi.Wait{{Type: abi.EventTimer, Name: "tea", After: 1000 * time.Hour}}}, nil
		}
		return say("done")
	})
	in := message("x")
	in.IdempotencyKey = "k"
	old := w.await(w.invoke(in))
	waits := w.await(w.invoke(message("wait")))
	w.agent.Retain = 24 * time.Hour
	later := func(d time.Duration) {
		w.now = func() time.Time { return time.Now().Add(d) }
		w.restart(w.guest)
		if err := w.service.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	later(23 * time.Hour)
	if _, err := w.service.Get(t.Context(), caller, old.Session); err != nil {
		t.Errorf("before its time: %v", err)
	}
	later(25 * time.Hour)
	if _, err := w.service.Get(t.Context(), caller, old.Session); host.CodeOf(err) != host.ErrNotFound {
		t.Errorf("after its time: %v", err)
	}
	if _, err := w.service.Get(t.Context(), caller, waits.Session); err != nil {
		t.Errorf("a session that waits for a timer: %v", err)
	}
	if again := w.invoke(in); again.Session == old.Session || !again.Created {
		t.Errorf("the key of a removed session: %+v", again)
	}
	later(9 * 24 * time.Hour)
	err := w.store.View(t.Context(), func(tx words.Tx) error {
		for item, err := range tx.Scan(words.Query{}) {
			if err != nil {
				return err
			}
			if bytes.Contains(item.Key, []byte(old.Session)) || bytes.HasPrefix(item.Key, []byte("idem/")) {
				t.Errorf("%q is left", item.Key)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
