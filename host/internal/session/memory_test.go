package session_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/session"
)

func TestWorkingMemory(t *testing.T) {
	w := newWorld(t, func(ctx context.Context, g session.Calls, e abi.Event) (abi.Reply, error) {
		var out []string
		for request := range strings.SplitSeq(abi.TextOf(e.Content), "\n") {
			r, err := ask(ctx, g, "memory_session", request)
			if err != nil {
				return abi.Reply{}, err
			}
			if r.Error != nil {
				out = append(out, string(r.Error.Code))
				continue
			}
			out = append(out, string(r.OK))
		}
		return say(strings.Join(out, "\n"))
	})
	script := []string{
		`{"op":"append","key":"l","items":[1,2]}`, `{"op":"append","key":"l","items":[3]}`, `{"op":"window","key":"l","limit":2}`,
		`{"op":"set","key":"v","value":{"x":1}}`, `{"op":"get","key":"v"}`, `{"op":"get","key":"none"}`, `{"op":"other","key":"v"}`, `{"op":"get","key":"a/b"}`,
	}
	turn := w.await(w.invoke(message(strings.Join(script, "\n"))))
	want := `{}` + "\n" + `{}` + "\n" + `{"items":[2,3],"count":3}` + "\n" + `{}` + "\n" + `{"value":{"x":1}}` + "\n" + `{}` + "\ninvalid\ninvalid"
	if d := cmp.Diff(want, abi.TextOf(turn.Content)); d != "" {
		t.Error(d)
	}
	w.restart(w.guest)
	in := message(`{"op":"append","key":"l","items":[4]}` + "\n" + `{"op":"window","key":"l"}` + "\n" + `{"op":"set","key":"v","value":null}` + "\n" + `{"op":"get","key":"v"}`)
	in.Session = turn.Session
	want = `{}` + "\n" + `{"items":[1,2,3,4],"count":4}` + "\n{}\n{}"
	if d := cmp.Diff(want, abi.TextOf(w.await(w.invoke(in)).Content)); d != "" {
		t.Error(d)
	}
}
