package gate_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host"
	"github.com/vespiary/vespiary/host/internal/gate"
	"github.com/vespiary/vespiary/policy"
)

// flows notes context.flow of every request and allows all.
type flows struct{ seen []map[string]any }

func (f *flows) Authorize(_ context.Context, r *policy.Request) policy.Decision {
	f.seen = append(f.seen, r.Context["flow"].(*policy.Shared).Value.(map[string]any))
	return policy.Decision{Allowed: true}
}

// steered is a capability whose arguments are known.
type steered struct{ host.Capability }

func (s steered) Classify(ctx context.Context, c *host.Call) (host.Class, error) {
	class, err := s.Capability.Classify(ctx, c)
	var in struct{ To, Body string }
	_ = json.Unmarshal(c.Request, &in)
	class.Recipient, class.Control, class.Data = []string{in.To}, []string{in.To}, []string{in.Body}
	return class, err
}

func TestFlow(t *testing.T) {
	const user = "Write to desk@example.com that all is well. See https://docs.example.com/a and June 13."
	for name, tc := range map[string]struct {
		to, body            string
		tainted             bool
		pc, control, data   int64
		named, allRecipient bool
	}{
		"clean session":              {"other@example.com", "x", false, 2, 2, 2, false, false},
		"clean, named":               {"desk@example.com", "all is well", false, 2, 2, 2, true, false},
		"tainted":                    {"other@example.com", "x", true, 0, 0, 0, false, false},
		"tainted, named":             {"desk@example.com", "x", true, 0, 2, 0, true, false},
		"tainted, part of a name":    {"esk@example.com", "x", true, 0, 0, 0, false, false},
		"tainted, end of a name":     {"desk@example.co", "x", true, 0, 0, 0, false, false},
		"tainted, host of a URL":     {"docs.example.com", "x", true, 0, 2, 0, true, false},
		"tainted, domain of a host":  {"example.com", "x", true, 0, 0, 0, false, false},
		"tainted, part of a number":  {"1", "x", true, 0, 0, 0, false, false},
		"tainted, a number":          {"13", "x", true, 0, 2, 0, true, false},
		"tainted, empty":             {"", "x", true, 0, 0, 0, false, false},
		"tainted, body from user":    {"other@example.com", "all is well", true, 0, 0, 2, false, false},
		"tainted, another case":      {"DESK@example.com", "x", true, 0, 0, 0, false, false},
		"tainted, text of two words": {"June 13", "x", true, 0, 2, 0, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			f := &flows{}
			w.caps["write"] = steered{w.caps["write"]}
			w.gate = gate.New(gate.Options{Capabilities: w.caps, Policy: f, Observer: &w.seen, Now: now, Log: discard})
			_, g := w.begin(gate.TurnOptions{Words: []string{user}})
			if tc.tainted {
				w.call(g, "read", `{"path":"web"}`)
			}
			b, _ := json.Marshal(map[string]string{"path": "x", "to": tc.to, "body": tc.body})
			w.call(g, "write", string(b))
			got := f.seen[len(f.seen)-1]
			want := map[string]any{
				"pc": tc.pc, "control": tc.control, "data": tc.data, "named": tc.named, "isPublic": false,
				"recipients": []string{tc.to}, "readers": got["readers"], "sources": got["sources"],
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestUnlabelled: a result without labels is untrusted and for the owner alone.
func TestUnlabelled(t *testing.T) {
	w := newWorld(t)
	turn, g := w.begin(gate.TurnOptions{Label: abi.Label{Integrity: abi.Trusted, Readers: []string{"owner", "desk"}, Sources: []string{"user:owner"}}})
	w.call(g, "read", `{"path":"x"}`)
	l := turn.Label()
	if l.Integrity != abi.Untrusted || l.Public || len(l.Readers) > 0 || !strings.Contains(strings.Join(l.Sources, " "), "user:owner") {
		t.Errorf("%+v", l)
	}
}
