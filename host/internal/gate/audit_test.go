package gate_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/gate"
	words "github.com/vespiary/vespiary/host/store"
	"github.com/vespiary/vespiary/policy"
)

// ledger is an auditor that keeps what it is told, with how many effects had happened.
type ledger struct {
	w       *world
	mu      sync.Mutex
	records []policy.Record
	before  []int // of each record: how many calls had been performed
	fail    error
}

func (l *ledger) Note(_ context.Context, r *policy.Record, commit func(...words.Op) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	r.ID = r.Chain + "." + strconv.Itoa(len(l.records)+1)
	if err := commit(words.Op{Key: []byte("audit/" + r.ID), Value: []byte("x")}); err != nil {
		return err
	}
	l.w.mu.Lock()
	l.before = append(l.before, len(l.w.performed))
	l.w.mu.Unlock()
	l.records = append(l.records, *r)
	return nil
}

func (l *ledger) Write(ctx context.Context, r *policy.Record) error {
	return l.Note(ctx, r, func(...words.Op) error { return nil })
}
func (l *ledger) Later(r *policy.Record) error { return l.Write(context.Background(), r) }

// audited gives the world a gate with a ledger.
func audited(w *world) *ledger {
	l := &ledger{w: w}
	w.gate = gate.New(gate.Options{
		Capabilities: w.caps, Policy: w.policy, Observer: &w.seen, Now: time.Now, Log: discard, Audit: l,
		Seal: func(_ context.Context, run *host.Run, plain []byte) ([]byte, error) {
			return append([]byte(run.Session+":"), plain...), nil
		},
	})
	return l
}

// TestAuditComesFirst walks every capability of the world: nothing is performed before the
// record of its decision, and every record is in the batch of its entry.
func TestAuditComesFirst(t *testing.T) {
	w := newWorld(t)
	l := audited(w)
	turn, g := w.begin(gate.TurnOptions{})
	for _, name := range []string{"read", "write", "keyed", "think"} {
		before := len(w.performed)
		w.call(g, name, `{"path":"x"}`)
		if len(w.performed) != before+1 {
			t.Fatalf("%s was not performed", name)
		}
		i := slices.IndexFunc(l.records, func(r policy.Record) bool { return r.Call == name && r.Kind == policy.RecordDecision })
		if i < 0 || l.before[i] != before {
			t.Errorf("%s: its decision is record %d, written after %v effects, want %d", name, i, l.before, before)
		}
	}
	w.call(g, "write", `{"path":"locked"}`)
	if err := g.Reply(t.Context(), []byte(`{"status":"done"}`)); err != nil {
		t.Fatal(err)
	}
	if err := w.log.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, r := range l.records {
		err := w.store.View(t.Context(), func(tx words.Tx) error {
			_, err := tx.Get([]byte("audit/" + r.ID))
			return err
		})
		if err != nil {
			t.Errorf("record %s: %v", r.ID, err)
		}
	}
	_ = turn
	checkDenial(t, l)
}

// checkDenial looks at what the record of a denied call says.
func checkDenial(t *testing.T, l *ledger) {
	t.Helper()
	i := slices.IndexFunc(l.records, func(r policy.Record) bool { return r.Decision != nil && !r.Decision.Allowed })
	if i < 0 {
		t.Fatal("the denial is not on record")
	}
	r := l.records[i]
	want := []policy.Actor{{Run: "s/1", Agent: "a", Module: "sha256:0", Task: "k", User: "owner"}, {User: "owner"}}
	if diff := cmp.Diff(want, r.Who); diff != "" {
		t.Error(diff)
	}
	if r.Chain != "k" || r.Action != "fileWrite" || r.Resource.ID != "locked" || r.Args == "" || r.Labels == nil || r.Decision.Policies[0].ID != "locked" ||
		r.Decision.Set == "" || !slices.Equal(r.Kinds, []string{"effect"}) || len(r.Evidence) < 3 || string(r.Evidence[:2]) != "s:" {
		t.Errorf("%+v", r)
	}
	for _, o := range l.records[i+1:] {
		if o.Of == r.ID {
			t.Errorf("a denial has an outcome of its own: %+v", o)
		}
	}
}

// TestAuditFails: what cannot be put on record does not happen.
func TestAuditFails(t *testing.T) {
	w := newWorld(t)
	l := audited(w)
	_, g := w.begin(gate.TurnOptions{})
	l.fail = errors.New("the audit's disk is gone")
	for _, name := range []string{"read", "write", "think"} {
		if _, err := g.Call(t.Context(), name, []byte(`{"path":"x"}`)); err == nil {
			t.Errorf("%s went on without its record", name)
		}
	}
	if len(w.performed) > 0 {
		t.Errorf("performed: %v", w.performed)
	}
}

func TestOutcomeIsOnRecord(t *testing.T) {
	w := newWorld(t)
	l := audited(w)
	w.caps["write"].(*capability).perform = func(context.Context, *host.Call) (host.Output, error) {
		return host.Output{}, &abi.Error{Code: abi.CodeUnavailable, Message: "no"}
	}
	_, g := w.begin(gate.TurnOptions{})
	w.call(g, "read", `{"path":"x"}`)
	w.call(g, "write", `{"path":"x"}`)
	var got []string
	for _, r := range l.records {
		if r.Kind == policy.RecordOutcome {
			got = append(got, r.Call+" "+r.Code)
			if r.Of == "" || r.Result == "" {
				t.Errorf("%+v", r)
			}
		}
	}
	if diff := cmp.Diff([]string{"read ok", "write unavailable"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestRefusedBeforeADecision: who asks for what it has not is on record, too.
func TestRefusedBeforeADecision(t *testing.T) {
	w := newWorld(t)
	l := audited(w)
	_, g := w.begin(gate.TurnOptions{})
	for _, name := range []string{"launch_rockets", "read"} {
		w.call(g, name, `{"path":`)
	}
	var got []string
	for _, r := range l.records {
		got = append(got, string(r.Kind)+" "+r.Call+" "+r.Code+r.Of)
	}
	if diff := cmp.Diff([]string{"outcome launch_rockets not_found", "outcome read invalid"}, got); diff != "" || len(w.performed) > 0 {
		t.Error(diff, w.performed)
	}
}
