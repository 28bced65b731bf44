package cedar

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/policy"
)

// recording decides requests as they are asked for, so that none is kept.
func recording(set *Set, n int, request func(int) *policy.Request) iter.Seq2[Past, error] {
	return func(yield func(Past, error) bool) {
		engine := New(set)
		for i := range n {
			r := request(i)
			if !yield(Past{ID: fmt.Sprint(i), Request: *r, Decision: engine.Authorize(context.Background(), r)}, nil) {
				return
			}
		}
	}
}

// randomSet is a set of random policies, and what makes requests for it.
func randomSet(t *testing.T, seed uint64) (*random, *Set) {
	t.Helper()
	r := newRandom(seed, officeSet(t).words)
	texts, _ := r.policies(t, 40)
	set, err := r.words.compile(map[string][]byte{"p.cedar": []byte(strings.Join(texts, "\n"))})
	if err != nil {
		t.Fatal(err)
	}
	return r, set
}

// kept is a recording whose requests were written down as evidence and read again.
func kept(t *testing.T, past iter.Seq2[Past, error]) iter.Seq2[Past, error] {
	t.Helper()
	return func(yield func(Past, error) bool) {
		for p, err := range past {
			b, encodes := policy.AppendEvidence(nil, &p.Request)
			if encodes != nil {
				t.Fatal(encodes)
			}
			back, reads := policy.ReadEvidence(b)
			if reads != nil {
				t.Fatalf("%v in %s", reads, b)
			}
			p.Request = *back
			if !yield(p, err) {
				return
			}
		}
	}
}

func TestSimulateSameSetChangesNothing(t *testing.T) {
	answers := map[string]int{}
	for seed := range uint64(10) {
		r, set := randomSet(t, 100+seed)
		past := kept(t, recording(set, 200, func(int) *policy.Request { return r.request(r.world()) }))
		counted := func(yield func(Past, error) bool) {
			for p, err := range past {
				answers[answer(p.Decision)]++
				if !yield(p, err) {
					return
				}
			}
		}
		got, err := set.Simulate(t.Context(), counted, func(c Change) error { return fmt.Errorf("%+v", c) })
		if diff := cmp.Diff(Simulation{Set: set.digest, Total: 200}, got); diff != "" || err != nil {
			t.Error(diff, err)
		}
	}
	for _, kind := range []string{answerAllowed, answerDenied, answerError} {
		if answers[kind] < 20 {
			t.Errorf("only %d of 2,000 are %s", answers[kind], kind)
		}
	}
}

// Under another set exactly those change that the engine decides otherwise.
func TestSimulateAnotherSet(t *testing.T) {
	r, before := randomSet(t, 200)
	texts := []string{}
	for i, p := range before.Policies() {
		if i%4 > 0 {
			texts = append(texts, p.Text)
		}
	}
	after, err := r.words.compile(map[string][]byte{"q.cedar": []byte(strings.Join(texts, "\n"))})
	if err != nil {
		t.Fatal(err)
	}
	var past []Past
	want := map[string]string{}
	for p, err := range recording(before, 500, func(int) *policy.Request { return r.request(r.world()) }) {
		if err != nil {
			t.Fatal(err)
		}
		past = append(past, p)
		now := New(after).Authorize(t.Context(), &p.Request)
		if now.Allowed != p.Decision.Allowed || len(now.Errors) > 0 != (len(p.Decision.Errors) > 0) {
			want[p.ID] = answer(p.Decision) + " " + answer(now)
		}
	}
	got := map[string]string{}
	sum, err := after.Simulate(t.Context(), pairs(past), func(c Change) error {
		got[c.ID] = c.From + " " + c.To
		return nil
	})
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	total := 0
	for _, to := range sum.Changes {
		for _, n := range to {
			total += n
		}
	}
	if sum.Total != 500 || sum.Changed != len(want) || total != sum.Changed || sum.Changed < 20 || sum.Reasons == 0 {
		t.Errorf("%+v", sum)
	}
}

func pairs(past []Past) iter.Seq2[Past, error] {
	return func(yield func(Past, error) bool) {
		for _, p := range past {
			if !yield(p, nil) {
				return
			}
		}
	}
}

func TestSimulateTells(t *testing.T) {
	const yes = ` unless { context has approval && context.approval.digest == context.argsDigest };`
	open := `@id("open") permit (principal, action, resource);`
	r := ask("fileWrite", file("a", "workspace", true, false), base(nil))
	tests := []struct {
		name, before, after, from, to string
		reasons                       int
	}{
		{"allowed to denied", open, ``, "allowed", "denied", 0},
		{"denied to allowed", ``, open, "denied", "allowed", 0},
		{"allowed to asked", open, open + `@id("ask") @needs_approval forbid (principal, action == Action::"fileWrite", resource)` + yes, "allowed", "approval", 0},
		{"asked to denied", open + `@id("ask") @needs_approval forbid (principal, action == Action::"fileWrite", resource)` + yes, ``, "approval", "denied", 0},
		{"denied to error", ``, open + `@id("errs") forbid (principal is Run, action, resource) when { context.left.tokens * 9223372036854775807 > 0 };`, "denied", "error", 0},
		{"another policy", open, `@id("other") permit (principal, action, resource);`, "", "", 1},
		{"another line", open, "\n\n" + open, "", "", 0},
		{"another text", open + `@id("ask") @needs_approval("a") forbid (principal, action == Action::"fileWrite", resource)` + yes, open + `@id("ask") @needs_approval("b") forbid (principal, action == Action::"fileWrite", resource)` + yes, "", "", 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := Simulation{Total: 1, Reasons: tt.reasons, Set: compile(t, tt.after).Digest()}
			if tt.from != "" {
				want.Changed, want.Changes = 1, map[string]map[string]int{tt.from: {tt.to: 1}}
			}
			past := recording(compile(t, tt.before), 1, func(int) *policy.Request { return r })
			var changes []Change
			got, err := compile(t, tt.after).Simulate(t.Context(), past, func(c Change) error {
				changes = append(changes, c)
				return nil
			})
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Error(diff, err)
			}
			if len(changes) != want.Changed || len(changes) > 0 && (changes[0].Resource != r.Resource || changes[0].ID != "0" || changes[0].Was.Set == changes[0].Now.Set) {
				t.Errorf("%+v", changes)
			}
		})
	}
}

func TestSimulateStops(t *testing.T) {
	broken := errors.New("broken")
	one := Past{Request: *ask("callModel", model(), base(nil)), Decision: policy.Decision{Allowed: true}}
	failing := func(yield func(Past, error) bool) { _ = yield(one, nil) && yield(Past{}, broken) && yield(one, nil) }
	if got, err := compile(t, "").Simulate(t.Context(), failing, func(Change) error { return nil }); !errors.Is(err, broken) || got.Total != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	many := pairs([]Past{one, one, one})
	if got, err := compile(t, "").Simulate(t.Context(), many, func(Change) error { return broken }); !errors.Is(err, broken) || got.Total != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := compile(t, "").Simulate(ctx, many, func(Change) error { return nil }); !errors.Is(err, context.Canceled) || got.Total != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

// What is simulated is not kept: a long record takes no more memory than a short one.
func TestSimulateKeepsNothing(t *testing.T) {
	set := starterSet(t)
	live := func(n int) uint64 {
		var most uint64
		past := recording(set, n, func(int) *policy.Request {
			return ask("fileRead", file(strings.Repeat("x", 10_000), "docs", true, false), base(nil))
		})
		watched := func(yield func(Past, error) bool) {
			count := 0
			for p, err := range past {
				if count++; count%100 == 0 {
					runtime.GC()
					var m runtime.MemStats
					runtime.ReadMemStats(&m)
					most = max(most, m.HeapAlloc)
				}
				if !yield(p, err) {
					return
				}
			}
		}
		if _, err := set.Simulate(t.Context(), watched, func(Change) error { return nil }); err != nil {
			t.Fatal(err)
		}
		return most
	}
	short := live(100)
	if long := live(2000); long > short+5_000_000 { // 2,000 requests are 20 MB
		t.Errorf("%d bytes live for 100 requests, %d for 2,000", short, long)
	}
}
