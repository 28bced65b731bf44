package cedar

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	cedarlang "github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
)

// The random worlds below have few names, so that scopes, parents and requests meet
// often, and cycles, absent entities and several paths to one ancestor occur.
const nameCount = 7

func anyUID(r *rand.Rand, kinds ...string) types.EntityUID {
	return types.EntityUID{Type: types.EntityType(kinds[r.IntN(len(kinds))]), ID: types.String(fmt.Sprint(r.IntN(nameCount)))}
}

func randomScope(r *rand.Rand, variable string, kinds ...string) string {
	e := anyUID(r, kinds...)
	switch r.IntN(5) {
	case 0:
		return variable
	case 1:
		return fmt.Sprintf("%s == %v", variable, e)
	case 2:
		return fmt.Sprintf("%s is %s", variable, e.Type)
	case 3:
		return fmt.Sprintf("%s is %s in %v", variable, kinds[r.IntN(len(kinds))], e)
	default:
		return fmt.Sprintf("%s in %v", variable, e)
	}
}

func randomActions(r *rand.Rand) string {
	switch r.IntN(5) {
	case 0:
		return "action"
	case 1:
		return fmt.Sprintf("action == %v", anyUID(r, "Action"))
	case 2:
		return fmt.Sprintf("action in %v", anyUID(r, "Action"))
	}
	list := make([]string, r.IntN(4))
	for i := range list {
		list[i] = anyUID(r, "Action").String()
	}
	return "action in [" + strings.Join(list, ", ") + "]"
}

// randomCondition is true, false or an error, depending on the request.
func randomCondition(r *rand.Rand) string {
	return []string{
		"", "when { context.n > 4 }", "unless { principal has n && principal.n > 3 }", "when { resource.n > 2 }",
		"when { principal.missing }", "when { context.n + 9223372036854775807 > 0 }", "when { resource in principal }",
		"when { principal in [Group::\"1\", User::\"2\"] } unless { context.n == 1 }",
	}[r.IntN(8)]
}

func randomPolicies(t *testing.T, r *rand.Rand, n int) *cedarlang.PolicySet {
	t.Helper()
	ps := cedarlang.NewPolicySet()
	for i := range n {
		effect := []string{"permit", "forbid"}[min(r.IntN(3), 1)]
		src := fmt.Sprintf("%s (%s, %s, %s) %s;", effect, randomScope(r, "principal", "User", "Group"), randomActions(r), randomScope(r, "resource", "Doc", "Box"), randomCondition(r))
		var p cedarlang.Policy
		if err := p.UnmarshalCedar([]byte(src)); err != nil {
			t.Fatalf("%v in %s", err, src)
		}
		ps.Add(cedarlang.PolicyID(fmt.Sprint(i)), &p)
	}
	return ps
}

var groupOf = map[string]string{"User": "Group", "Group": "Group", "Doc": "Box", "Box": "Box", "Action": "Action"}

func randomEntities(r *rand.Rand) types.EntityMap {
	m := types.EntityMap{}
	for _, kind := range slices.Sorted(maps.Keys(groupOf)) {
		for i := range nameCount {
			if r.IntN(8) == 0 {
				continue
			}
			e := types.Entity{UID: types.EntityUID{Type: types.EntityType(kind), ID: types.String(fmt.Sprint(i))}}
			parents := make([]types.EntityUID, r.IntN(3))
			for j := range parents {
				parents[j] = anyUID(r, kind, groupOf[kind])
			}
			e.Parents = types.NewEntityUIDSet(parents...)
			if r.IntN(3) > 0 {
				e.Attributes = types.NewRecord(types.RecordMap{"n": types.Long(r.IntN(6))})
			}
			m[e.UID] = e
		}
	}
	return m
}

// rendered is the decision, the reasons and the errors with their messages, sorted.
func rendered(d types.Decision, diag types.Diagnostic) string {
	out := []string{d.String()}
	for _, x := range diag.Reasons {
		out = append(out, "by "+string(x.PolicyID))
	}
	for _, x := range diag.Errors {
		out = append(out, fmt.Sprintf("error %s %s", x.PolicyID, x.Message))
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func TestIndexDecidesLikeCedar(t *testing.T) {
	const sets, requests = 200, 100 // 20,000 in all
	seen := map[string]int{}
	for seed := range uint64(sets) {
		r := rand.New(rand.NewPCG(seed, 1))
		ps := randomPolicies(t, r, 1+r.IntN(60))
		ix := newIndex()
		for id, p := range ps.All() {
			ix.add(id, p)
		}
		all := randomEntities(r)
		for range requests {
			q := &query{
				request: types.Request{
					Principal: anyUID(r, "User", "Group"), Action: anyUID(r, "Action"), Resource: anyUID(r, "Doc", "Box"),
					Context: types.NewRecord(types.RecordMap{"n": types.Long(r.IntN(8))}),
				},
				entities: entities{shared: all, actions: all},
			}
			q.trace(&vocabulary{})
			q.actions = closure(all, q.request.Action, nil)
			want := rendered(cedarlang.Authorize(ps, all, q.request))
			got := rendered(cedarlang.Authorize(ix.candidates(q), &q.entities, q.request))
			if got != want {
				t.Fatalf("seed %d, request %+v: the index says\n%s\nCedar says\n%s", seed, q.request, got, want)
			}
			for _, kind := range []string{"allow", "deny", "error ", "by "} {
				if strings.Contains(got, kind) {
					seen[kind]++
				}
			}
		}
	}
	for _, kind := range []string{"allow", "deny", "error ", "by "} {
		if seen[kind] < sets*requests/20 {
			t.Errorf("only %d of %d decisions have %q: the test says little", seen[kind], sets*requests, kind)
		}
	}
}

// The same over the schema as it is: every link of a request is decided by the index as by
// Cedar's pass over all policies, and what is allowed could be.
func TestIndexOnOurSchema(t *testing.T) {
	const sets, requests = 20, 1_000 // 20,000 in all
	words := officeSet(t).words
	seen := map[string]int{}
	for seed := range uint64(sets) {
		r := newRandom(1_000+seed, words)
		texts, _ := r.policies(t, 40)
		set, err := words.compile(map[string][]byte{"p.cedar": []byte(strings.Join(texts, "\n"))})
		if err != nil {
			t.Fatal(err)
		}
		plain := cedarlang.NewPolicySet()
		for _, p := range set.policies {
			var parsed cedarlang.Policy
			if err := parsed.UnmarshalCedar([]byte(p.Text)); err != nil {
				t.Fatal(err)
			}
			plain.Add(cedarlang.PolicyID(p.ID), &parsed)
		}
		engine := New(set)
		for i := 0; i < requests; {
			known := r.world()
			for range 20 {
				asked := r.request(known)
				i++
				q, faults := words.query(asked)
				if len(faults) > 0 {
					t.Fatal(faults)
				}
				for j := range q.links {
					q.stand(j)
					want := rendered(cedarlang.Authorize(plain, &q.entities, q.request))
					got := rendered(cedarlang.Authorize(set.index.candidates(q), &q.entities, q.request))
					if got != want {
						t.Fatalf("seed %d, request %+v: the index says\n%s\nCedar says\n%s", seed, q.request, got, want)
					}
				}
				allowed, could := engine.Authorize(t.Context(), asked).Allowed, engine.Could(t.Context(), asked)
				if allowed && !could {
					t.Fatalf("seed %d, request %+v is allowed, but it could not be", seed, q.request)
				}
				seen[fmt.Sprintf("allowed %v, could %v, %d links", allowed, could, min(len(q.links), 2))]++
			}
		}
	}
	for _, kind := range []string{"allowed true, could true, 1 links", "allowed false, could true, 1 links", "allowed false, could false, 1 links", "allowed true, could true, 2 links"} {
		if seen[kind] < sets*requests/100 {
			t.Errorf("only %d of %d requests are %s: the test says little; %v", seen[kind], sets*requests, kind, seen)
		}
	}
}
