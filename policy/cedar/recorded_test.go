package cedar

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/policy"
)

// A recorded request is decided as the live one was, with every type of value and
// through entities that only attributes and context mention.
func TestRecordedDecidesAlike(t *testing.T) {
	later := noon.AddDate(0, 0, 1)
	approved := net("::ffff:93.184.216.34")
	approved["approval"] = map[string]any{"by": u("User", "owner"), "digest": "sha256:bb"}
	set, err := Compile(map[string][]byte{"p.cedar": []byte(`@id("approved") permit (principal, action == Action::"httpGet", resource)
when { context has approval && context.approval.by in Tenant::"home" && context.ip == ip("93.184.216.34") && principal.task has expiresAt && context.now < principal.task.expiresAt };`)})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*policy.Request{
		during(ask("httpGet", netHost(), approved), "active", &later),
		during(ask("httpGet", netHost(), approved), "active", &noon),
		ask("httpGet", netHost(), net("1.1.1.1")),
	} {
		live := New(set).Authorize(t.Context(), r)
		_, again := set.replay(recorded(t, set, r)[0])
		if diff := cmp.Diff(live, again); diff != "" {
			t.Error(diff)
		}
	}
}

// So are random requests with all that the schema has, chains and grants among it.
func TestRecordedDecidesAlikeAtRandom(t *testing.T) {
	chains := 0
	for seed := range uint64(5) {
		r, set := randomSet(t, 500+seed)
		for range 100 {
			q := r.request(r.world())
			if len(q.Chain) > 0 {
				chains++
			}
			live := New(set).Authorize(t.Context(), q)
			if _, again := set.replay(recorded(t, set, q)[0]); !cmp.Equal(live, again) {
				t.Errorf("seed %d: %s", seed, cmp.Diff(live, again))
			}
		}
	}
	if chains < 50 {
		t.Errorf("only %d chains", chains)
	}
}

func TestRecordKeepsWhatMatters(t *testing.T) {
	r := ask("callModel", model(), base(nil))
	r.Known.Entities = append(r.Known.Entities, policy.Entity{UID: u("Role", "unrelated")})
	set := compile(t, "")
	got, err := set.Record(r)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.entities) != 7 || strings.Contains(string(b), "unrelated") {
		t.Errorf("%d entities in %s", len(got.entities), b)
	}
	r.Context["now"] = 1
	if _, err := set.Record(r); err == nil || !strings.Contains(err.Error(), "context.now is a Long") {
		t.Errorf("got %v", err)
	}
}

// A record can be damaged or older than the schema.
func TestSuggestFromDamagedRecords(t *testing.T) {
	set := compile(t, "")
	whole, err := json.Marshal(recorded(t, set, ask("callModel", model(), base(nil)))[0])
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, old, changed, note string }{
		{"attribute", `"attrs":{"name":"gpt"}`, `"attrs":{"name":1}`, `entity Model::"main": name is a Long where the schema wants a String`},
		{"action", `"callModel"`, `"callOracle"`, `the schema has no action Action::"callOracle"`},
		{"no agent", `"parents":[{"type":"Agent","id":"support"},`, `"parents":[`, `the run is in no agent that a policy could name`},
		{"empty", string(whole), `{}`, `the schema has no action`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(string(whole), tt.old, tt.changed, 1)
			if text == string(whole) {
				t.Fatalf("nothing to change in %s", whole)
			}
			var r Recorded
			if err := json.Unmarshal([]byte(text), &r); err != nil {
				t.Fatal(err)
			}
			got := set.Suggest([]Recorded{r})
			if got.Policies != "" || len(got.Notes) != 1 || !strings.Contains(got.Notes[0], tt.note) {
				t.Errorf("got %+v", got)
			}
		})
	}
	var r Recorded
	if err := json.Unmarshal([]byte(`{"entities":[{}]}`), &r); err == nil || !strings.HasPrefix(err.Error(), "read a recorded request: ") {
		t.Errorf("got %v", err)
	}
}
