package crashtest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
)

// inspection compares what the host says afterwards with what its clients were told and
// with what the world saw.
type inspection struct {
	t *testing.T
	o *office
	w *world

	counts  map[string]int
	known   map[string]bool // paths in the world that some report speaks of
	unknown map[string]bool // calls, by session and path, whose outcome nobody knows
	intents []host.Intent
	good    bool // nothing was wrong with the session that is looked at
}

func inspect(ctx context.Context, t *testing.T, o *office, w *world) map[string]int {
	t.Helper()
	i := &inspection{t: t, o: o, w: w, counts: map[string]int{}, known: map[string]bool{}, unknown: map[string]bool{}}
	i.list(ctx)
	shown := false
	for _, id := range slices.Sorted(maps.Keys(o.sessions)) {
		if good := i.session(ctx, o.sessions[id]); !good && !shown {
			i.show(ctx, id)
			shown = true
		}
	}
	i.unsettled(ctx)
	i.places()
	i.audit(ctx)
	i.counts["parks"] = o.parks
	for _, text := range o.odd {
		t.Error(text)
	}
	return i.counts
}

// read gets a resource that must be there.
func read[T any](ctx context.Context, i *inspection, path string) T {
	i.t.Helper()
	v, err := get[T](ctx, i.o.c, path)
	if err != nil {
		i.t.Error(err)
	}
	return v
}

// list checks that there are the sessions that clients know, each one finished.
func (i *inspection) list(ctx context.Context) {
	i.t.Helper()
	type page struct {
		Sessions []host.Session
		Next     string
	}
	got := map[string]bool{}
	for next := "start"; next != ""; {
		path := "/v1/sessions?limit=500"
		if next != "start" {
			path += "&after=" + next
		}
		p := read[page](ctx, i, path)
		for _, s := range p.Sessions {
			got[s.ID] = true
			if i.o.sessions[s.ID] != nil && (s.Status != host.SessionIdle || s.Ended != s.Turns) {
				i.wrong("session %s is %s (%s), %d of %d turns have ended", s.ID, s.Status, s.Reason, s.Ended, s.Turns)
			}
		}
		next = p.Next
	}
	want := map[string]bool{}
	for id := range i.o.sessions {
		want[id] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		i.wrong("the sessions that clients know, and those of the host (-want +got):\n%s", diff)
	}
	i.counts["sessions"] = len(got)
}

// session checks one session's replies, journal and replay, and tells whether all is well.
func (i *inspection) session(ctx context.Context, s *session) bool {
	i.t.Helper()
	i.good = true
	before := len(i.unknown)
	i.journal(ctx, s)
	unknown := 0
	var log []int
	lines := 0
	for n, r := range s.rounds {
		turn := read[host.Turn](ctx, i, fmt.Sprintf("/v1/sessions/%s/turns/%d", s.id, r.turn))
		var got report
		if err := json.Unmarshal([]byte(abi.TextOf(turn.Content)), &got); err != nil || turn.Status != host.TurnDone {
			i.wrong("session %s, turn %d is %s: %+v %+v", s.id, r.turn, turn.Status, turn.Error, turn.Content)
			continue
		}
		granted, answered := i.o.answers[mark(s.id, r.turn)]
		if !answered {
			i.wrong("session %s, turn %d asked nobody before it wrote", s.id, r.turn)
		}
		if granted {
			lines++
		}
		log = append(log, r.turn)
		want := report{
			Rounds: n + 1, Log: log, Lines: lines, Turns: n + 1, Slept: true, Signal: r.signal,
			Thrown: got.Thrown, Errands: got.Errands,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			i.wrong("session %s, turn %d (-want +got):\n%s", s.id, r.turn, diff)
		}
		unknown += i.errands(s.id, r.turn, got, granted)
		i.signalled(ctx, s, r)
		i.counts["rounds"]++
	}
	if n := len(i.unknown) - before; n != unknown {
		i.wrong("session %s: %d unknown outcomes are on record, the guest was told of %d", s.id, n, unknown)
	}
	i.replay(ctx, s.id)
	return i.good
}

// wrong reports a failure.
func (i *inspection) wrong(format string, args ...any) {
	i.t.Helper()
	i.t.Errorf(format, args...)
	i.good = false
}

// show logs what a journal holds.
func (i *inspection) show(ctx context.Context, id string) {
	i.t.Helper()
	var out strings.Builder
	for _, e := range read[struct{ Records []host.Record }](ctx, i, "/v1/sessions/"+id+"/journal?limit=1000").Records {
		fmt.Fprintf(&out, "%4d %2d %s %-14s %3d %-10s %.100s\n", e.Seq, e.Fence, e.Time.Format("05.000000"), e.Kind, e.Turn, e.Path, e.Body)
	}
	i.t.Logf("session %s:\n%s", id, &out)
}

// signalled checks that the turn of a signal that a call waited for is over.
func (i *inspection) signalled(ctx context.Context, s *session, r *round) {
	if r.signal == "" {
		return
	}
	if t := read[host.Turn](ctx, i, fmt.Sprintf("/v1/sessions/%s/turns/%d", s.id, r.extra)); t.Status != host.TurnDone {
		i.wrong("session %s, signal %s is %s: %+v", s.id, r.signal, t.Status, t.Error)
	}
	i.counts["signals"]++
}

// errands checks what a turn did in the world, and returns how many outcomes it was told
// that nobody knows.
func (i *inspection) errands(session string, turn int, got report, granted bool) (unknown int) {
	i.t.Helper()
	var steps []string
	for _, e := range got.Errands {
		steps = append(steps, e.Step)
		kind, _, _ := strings.Cut(e.Step, "-")
		path := fmt.Sprintf("/%s/%s/%d/%s", kind, session, turn, e.Step)
		p := i.w.at(path)
		i.known[path] = true
		good := true
		switch kind {
		case "file":
			good = granted && e.Code == "" || !granted && e.Code == abi.CodeDenied
		case "look":
			good = e.Code == "" && p.hits >= 1
		case "keyed":
			good = e.Code == "" && e.Hits == 1 && p.effects == 1 && len(p.keys) == 1 && p.bodies[got.Thrown]
			i.counts["keyed calls made again"] += p.hits - 1
		case "once":
			if e.Code == abi.CodeUnknownOutcome {
				unknown++
				i.counts[fmt.Sprintf("unknown outcomes that happened %d times", p.hits)]++
				good = p.hits <= 1
			} else {
				good = e.Code == "" && e.Hits == 1 && p.hits == 1 && p.bodies[got.Thrown]
			}
		}
		if !good {
			i.wrong("session %s, turn %d: the guest reports %+v, the world %+v (thrown %s, granted %t)", session, turn, e, p, got.Thrown, granted)
		}
	}
	slices.Sort(steps)
	if diff := cmp.Diff([]string{"file", "keyed-0", "keyed-1", "look-1", "once-0", "once-1", "once-2"}, steps); diff != "" {
		i.wrong("session %s, turn %d: errands (-want +got):\n%s", session, turn, diff)
	}
	return unknown
}

// journal checks that a journal has no gap and no turn or call twice.
func (i *inspection) journal(ctx context.Context, s *session) {
	i.t.Helper()
	type page struct {
		Records []host.Record
		Next    uint64
	}
	begun, ended, accepted, results := map[int]int{}, map[int]int{}, map[int]int{}, map[string]int{}
	var last, fence uint64
	for next := uint64(1); next > 0; {
		p := read[page](ctx, i, fmt.Sprintf("/v1/sessions/%s/journal?from=%d&limit=500", s.id, next))
		for _, e := range p.Records {
			if last++; e.Seq != last || e.Fence < fence {
				i.wrong("session %s: entry %d where %d should be, fence %d after %d", s.id, e.Seq, last, e.Fence, fence)
			}
			last, fence = e.Seq, e.Fence
			i.counts["entries "+string(e.Kind)]++
			switch e.Kind {
			case host.EntryAccepted:
				accepted[e.Turn]++
			case host.EntryStart:
				begun[e.Turn]++
			case host.EntryEnd, host.EntryAbort:
				ended[e.Turn]++
			case host.EntryIntent:
				i.intent(s, e)
			case host.EntryResult, host.EntryUnknown:
				results[e.Path]++
				i.outcome(s, e)
			default: // the others may come as often as hosts die
			}
		}
		next = p.Next
	}
	for _, r := range s.rounds {
		if accepted[r.turn] != 1 || begun[r.turn] != 1 || ended[r.turn] != 1 {
			i.wrong("session %s, turn %d was accepted %d times, begun %d times, ended %d times", s.id, r.turn, accepted[r.turn], begun[r.turn], ended[r.turn])
		}
		if r.signal != "" && (accepted[r.extra] != 1 || begun[r.extra] != 0) {
			i.wrong("session %s, signal %s was accepted %d times, and begun as a turn %d times", s.id, r.signal, accepted[r.extra], begun[r.extra])
		}
	}
	for path, n := range results {
		if n != 1 {
			i.wrong("session %s, call %s has %d results", s.id, path, n)
		}
	}
	if v := read[host.Verified](ctx, i, "/v1/sessions/"+s.id+"/verify"); v.Entries != last || v.Erased != 0 {
		i.wrong("session %s: %d entries were read and %d verified, %d of them erased", s.id, last, v.Entries, v.Erased)
	}
}

func (i *inspection) outcome(s *session, e host.Record) {
	var o host.Outcome
	if err := json.Unmarshal(e.Body, &o); err != nil {
		i.wrong("session %s, entry %d: %v", s.id, e.Seq, err)
	}
	if o.Code == abi.CodeUnknownOutcome {
		i.unknown[s.id+" "+e.Path] = true
	}
}

// replay runs a session again from its journal alone.
func (i *inspection) replay(ctx context.Context, id string) {
	i.t.Helper()
	a, err := i.o.c.call(ctx, http.MethodPost, "/v1/sessions/"+id+"/replay", map[string]string{})
	var r host.Replayed
	if err == nil {
		err = a.into(&r)
	}
	if err != nil || !r.Same || len(r.Turns) != len(i.o.sessions[id].rounds) {
		i.wrong("replay of session %s: %v %+v", id, err, r)
	}
}

// unsettled checks that every outcome that nobody knows waits for somebody.
func (i *inspection) unsettled(ctx context.Context) {
	i.t.Helper()
	got := map[string]bool{}
	for _, u := range read[struct{ Unsettled []host.Unsettled }](ctx, i, "/v1/unsettled").Unsettled {
		got[u.Session+" "+u.Path] = true
	}
	if diff := cmp.Diff(i.unknown, got); diff != "" {
		i.wrong("unknown outcomes on record, and those listed (-want +got):\n%s", diff)
	}
	i.counts["unknown outcomes"] = len(got)
}

// places checks that nothing happened in the world of which no session knows.
func (i *inspection) places() {
	i.w.mu.Lock()
	defer i.w.mu.Unlock()
	for path, p := range i.w.places {
		if !i.known[path] {
			i.wrong("the world was asked for %s %d times, and no session says so", path, p.hits)
		}
	}
}
