package session_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/session"
)

func TestLabelsStayWithTheSession(t *testing.T) {
	script := func(ctx context.Context, g session.Calls, e abi.Event) (abi.Reply, error) {
		_, err := ask(ctx, g, "effect", `{"path":"`+abi.TextOf(e.Content)+`"}`)
		return abi.Reply{Status: abi.StatusDone}, err
	}
	w := newWorld(t, script)
	turn := w.await(w.invoke(message("file")))
	for i, want := range []abi.Integrity{abi.Trusted, abi.Untrusted, abi.Untrusted} {
		head, err := w.service.Get(t.Context(), caller, turn.Session)
		if err != nil || head.Label.Integrity != want {
			t.Errorf("after turn %d: %+v, %v", i+1, head.Label, err)
		}
		w.restart(script)
		in := message([]string{"web", "file", "file"}[i])
		in.Session = turn.Session
		w.await(w.invoke(in))
	}
	for e, err := range w.journals.Read(t.Context(), "t", turn.Session, 1) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == host.EntryStart && e.Turn > 2 && !bytes.Contains(e.Body, []byte(`"integrity":0`)) {
			t.Errorf("turn %d begins with %s", e.Turn, e.Body)
		}
	}
}
