package session_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// events follows a session after an event until its first turn ends.
func (w *world) events(id, after string, each func(host.StreamEvent)) []host.StreamEvent {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	var out []host.StreamEvent
	for e, err := range w.service.Events(ctx, caller, id, after) {
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, e)
		if each != nil {
			each(e)
		}
		if e.Type == host.StreamEnd {
			return out
		}
	}
	w.t.Fatalf("after %q: the turn did not end: %+v", after, out)
	return nil
}

func decodeEvent[T any](t *testing.T, e host.StreamEvent) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(e.Data, &v); err != nil {
		t.Fatalf("event %s: %v", e.ID, err)
	}
	return v
}

// TestEventsOfAnApproval has whoever follows a session learn that a call is asked about,
// that its turn waits, and what came of it, once and at any point to resume from.
func TestEventsOfAnApproval(t *testing.T) {
	for status, want := range map[host.ApprovalStatus]string{
		host.ApprovalGranted: "turn.accepted turn.start call approval waiting approval call call.result call call.result turn.end",
		host.ApprovalDenied:  "turn.accepted turn.start call approval waiting approval call.result call call.result turn.end",
	} {
		t.Run(string(status), func(t *testing.T) {
			w := newWorld(t, writing("ask/1"))
			w.patience, w.agent.Idle = 10*time.Millisecond, 10*time.Millisecond
			w.restart(w.guest)
			turn := w.invoke(message("hi"))
			var asked host.Approval
			all := w.events(turn.Session, "", func(e host.StreamEvent) {
				switch {
				case e.Type == host.StreamApproval && asked.ID == "":
					asked = decodeEvent[host.Approval](t, e)
				case e.Type == host.StreamWaiting:
					w.answer(asked.ID, status == host.ApprovalGranted, "of a test")
				}
			})
			var types []string
			ids := map[string]bool{}
			for _, e := range all {
				types, ids[e.ID] = append(types, string(e.Type)), true
			}
			if got := strings.Join(types, " "); got != want || len(ids) != len(all) {
				t.Errorf("events: %s with %d ids\nwant %s", got, len(ids), want)
			}
			w.checkQuestion(asked, decodeEvent[host.Suspension](t, all[4]), decodeEvent[host.Approval](t, all[5]), status)
			w.restart(w.guest)
			for i, e := range all[:len(all)-1] {
				if d := cmp.Diff(all[i+1:], w.events(turn.Session, e.ID, nil)); d != "" {
					t.Errorf("after %s: %s", e.ID, d)
				}
			}
		})
	}
}

// checkQuestion compares what a stream shows with the record of the approval.
func (w *world) checkQuestion(asked host.Approval, waits host.Suspension, answered host.Approval, status host.ApprovalStatus) {
	w.t.Helper()
	record, err := w.service.Approval(w.t.Context(), caller, asked.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	if record.Request == nil {
		w.t.Error("the record has no arguments that a stream could leave out")
	}
	record.Request = nil
	if d := cmp.Diff(record, answered); d != "" || answered.Status != status || answered.By != caller.User {
		w.t.Errorf("answered: %+v\n%s", answered, d)
	}
	record.Status, record.By, record.Reason, record.Answered = host.ApprovalPending, "", "", time.Time{}
	if d := cmp.Diff(record, asked); d != "" {
		w.t.Errorf("asked: %s", d)
	}
	want := host.Suspension{Turn: 1, Waiting: []abi.Wait{{Type: abi.EventApproval, Name: asked.ID, At: asked.Expires}}}
	if d := cmp.Diff(want, waits); d != "" {
		w.t.Errorf("waiting: %s", d)
	}
}

// TestEventsOfAnExpiredApproval: that nobody answered is told, too.
func TestEventsOfAnExpiredApproval(t *testing.T) {
	w := newWorld(t, writing("ask/1"))
	w.life = 50 * time.Millisecond
	w.restart(w.guest)
	var statuses []host.ApprovalStatus
	for _, e := range w.events(w.invoke(message("hi")).Session, "", nil) {
		if e.Type == host.StreamApproval {
			statuses = append(statuses, decodeEvent[host.Approval](t, e).Status)
		}
	}
	if want := []host.ApprovalStatus{host.ApprovalPending, host.ApprovalExpired}; !slices.Equal(statuses, want) {
		t.Errorf("approvals: %v, want %v", statuses, want)
	}
}
