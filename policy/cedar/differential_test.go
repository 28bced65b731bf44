package cedar

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/policy"
)

// oracle is another implementation of Cedar, in a process of its own.
type oracle struct {
	in  io.WriteCloser
	out *bufio.Scanner
}

// oracleAnswer is what oracle.mjs answers.
type oracleAnswer struct {
	Failure  string   `json:"failure"`
	Decision string   `json:"decision"`
	Reasons  []string `json:"reasons"`
	Errors   []string `json:"errors"`
	// Of a check, what is wrong or odd by the policies' names.
	Invalid map[string][]string `json:"invalid"`
	Warned  map[string][]string `json:"warned"`
}

// startOracle skips the test where the oracle is not installed, unless all tests are
// required.
func startOracle(t *testing.T, schema string) *oracle {
	t.Helper()
	missing := t.Skip
	if os.Getenv("CI") == "true" {
		missing = t.Fatal
	}
	node, err := exec.LookPath("node")
	if err != nil {
		missing("node is not installed")
	}
	if _, err := os.Stat("testdata/oracle/node_modules"); err != nil {
		missing("the other Cedar is not installed; run npm ci in policy/cedar/testdata/oracle")
	}
	cmd := exec.CommandContext(t.Context(), node, "oracle.mjs")
	cmd.Dir, cmd.Stderr = "testdata/oracle", os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	o := &oracle{in: in, out: bufio.NewScanner(out)}
	o.out.Buffer(nil, 16<<20)
	t.Cleanup(func() {
		if err := in.Close(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // killed if the test is over first
	})
	o.must(t, map[string]any{"schema": schema})
	return o
}

// tell sends many messages and returns the answers, which come while more is sent.
func (o *oracle) tell(t *testing.T, messages ...any) []oracleAnswer {
	t.Helper()
	sent := make(chan error, 1)
	go func() {
		var all bytes.Buffer
		for _, m := range messages {
			b, err := json.Marshal(m)
			if err != nil {
				sent <- err
				return
			}
			all.Write(append(b, '\n'))
		}
		_, err := o.in.Write(all.Bytes())
		sent <- err
	}()
	answers := make([]oracleAnswer, len(messages))
	for i := range answers {
		if !o.out.Scan() {
			t.Fatalf("the other Cedar ended after %d of %d answers: %v", i, len(messages), o.out.Err())
		}
		if err := json.Unmarshal(o.out.Bytes(), &answers[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	return answers
}

func (o *oracle) must(t *testing.T, message any) oracleAnswer {
	t.Helper()
	a := o.tell(t, message)[0]
	if a.Failure != "" {
		t.Fatalf("the other Cedar cannot do it: %s", a.Failure)
	}
	return a
}

// check validates policies by their names.
func (o *oracle) check(t *testing.T, policies map[string]string) oracleAnswer {
	t.Helper()
	return o.must(t, map[string]any{"check": policies})
}

func textsOf(s *Set) map[string]string {
	texts := map[string]string{}
	for _, p := range s.Policies() {
		texts[p.ID] = p.Text
	}
	return texts
}

// ask is a message with the request at one link of its chain; the other Cedar says too
// whether the request fits the schema if it is asked to validate it.
func (o *oracle) ask(t *testing.T, set *Set, name string, r *policy.Request, hop int, validate bool) any {
	t.Helper()
	rec, err := set.Record(r)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Chain) > 0 {
		rec.request.Principal = uid(r.Chain[hop].Principal)
	}
	return map[string]any{"ask": map[string]any{
		"set": name, "principal": rec.request.Principal, "action": rec.request.Action, "resource": rec.request.Resource,
		"context": rec.request.Context, "entities": rec.entities, "validateRequest": validate,
	}}
}

// Random requests over random policies are decided as by the other Cedar: the same
// decision, the same policies that determine it and the same that cannot be evaluated. A
// chain is asked about link by link.
func TestDecidesLikeAnotherCedar(t *testing.T) {
	t.Parallel()
	const sets, requests = 20, 250 // 5,000 in all
	const validated = 20           // of each set, since validation takes most of the time
	words := officeSet(t).words
	o := startOracle(t, officeSet(t).Schema())
	seen := map[string]int{}
	for seed := range uint64(sets) {
		r := newRandom(seed, words)
		texts, _ := r.policies(t, 40)
		set, err := words.compile(map[string][]byte{"p.cedar": []byte(strings.Join(texts, "\n"))})
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprint("set", seed)
		o.must(t, map[string]any{"set": map[string]any{"name": name, "policies": textsOf(set)}})
		var asked []*policy.Request
		var messages []any
		for i := range requests {
			q := r.request(r.world())
			asked = append(asked, q)
			for hop := range max(len(q.Chain), 1) {
				messages = append(messages, o.ask(t, set, name, q, hop, i < validated))
			}
		}
		answers := o.tell(t, messages...)
		for _, q := range asked {
			links := answers[:max(len(q.Chain), 1)]
			answers = answers[len(links):]
			want := expected(t, q, links)
			got := summary(set, New(set).Authorize(t.Context(), q))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("seed %d, %v %v %v (the other Cedar is -):\n%s", seed, q.Principal, q.Action, q.Resource, diff)
			}
			seen[got.Decision]++
			seen["policies"] += len(got.Reasons)
			seen["errors"] += len(got.Errors)
		}
	}
	t.Logf("%v", seen)
	for kind, least := range map[string]int{"allow": 1000, "deny": 1000, "policies": 2500, "errors": 100} {
		if seen[kind] < least {
			t.Errorf("only %d %s in %d requests: the test has become blind to them", seen[kind], kind, sets*requests)
		}
	}
}

// expected is what links that the other Cedar decided one by one make together.
func expected(t *testing.T, q *policy.Request, links []oracleAnswer) oracleAnswer {
	t.Helper()
	for i := range q.Chain {
		if g := q.Chain[i].Grants; g != nil && len(g.List) == 0 {
			return oracleAnswer{Decision: "deny", Reasons: []string{"grants of task " + g.Task}}
		}
	}
	all := oracleAnswer{Decision: "allow"}
	for _, a := range links {
		if a.Failure != "" {
			t.Fatalf("the other Cedar cannot decide %v %v %v: %s", q.Principal, q.Action, q.Resource, a.Failure)
		}
		if len(a.Errors) > 0 && a.Decision == "allow" {
			return oracleAnswer{Decision: "deny", Errors: a.Errors} // ours denies, so what permits does not count
		}
		if a.Decision != "allow" {
			return oracleAnswer{Decision: a.Decision, Reasons: a.Reasons, Errors: a.Errors}.sorted()
		}
		all.Reasons = append(all.Reasons, a.Reasons...)
	}
	for _, h := range q.Chain {
		if h.Grants != nil {
			all.Reasons = append(all.Reasons, "grant of task "+h.Grants.Task)
		}
	}
	return all.sorted()
}

func (a oracleAnswer) sorted() oracleAnswer {
	slices.Sort(a.Reasons)
	slices.Sort(a.Errors)
	a.Reasons, a.Errors = slices.Compact(a.Reasons), slices.Compact(a.Errors)
	if len(a.Errors) == 0 {
		a.Errors = nil
	}
	if len(a.Reasons) == 0 {
		a.Reasons = nil
	}
	return a
}

// summary is a decision of ours in the form of an answer.
func summary(s *Set, d policy.Decision) oracleAnswer {
	out := oracleAnswer{Decision: "deny", Reasons: causeIDs(d)}
	if d.Allowed {
		out.Decision = "allow"
	}
	for _, id := range s.deciders(d) {
		if !slices.Contains(out.Reasons, id) {
			out.Errors = append(out.Errors, id)
		}
	}
	if len(out.Errors) != len(d.Errors) {
		out.Failure = strings.Join(d.Errors, "; ")
	}
	return out.sorted()
}

// Policies that are shipped or used in tests are valid to both.
func TestAnotherCedarAcceptsPolicies(t *testing.T) {
	t.Parallel()
	flow, err := Load(Flow(), tools...)
	if err != nil {
		t.Fatal(err)
	}
	for name, set := range map[string]*Set{"starter": starterSet(t), "flow": flow, "office": officeSet(t)} {
		o := startOracle(t, set.Schema())
		if a := o.check(t, textsOf(set)); len(a.Invalid) > 0 || len(a.Warned) > 0 {
			t.Errorf("%s: %q %q", name, a.Invalid, a.Warned)
		}
	}
}

// invalid are policies that both refuse.
var invalid = map[string]string{
	"no policy":                    `permit`,
	"no semicolon":                 `permit (principal, action, resource)`,
	"two heads":                    `permit (principal, principal, resource);`,
	"a template":                   `permit (principal == ?principal, action, resource);`,
	"unknown variable":             `permit (principal, action, resource) when { agent == 1 };`,
	"unknown entity type":          `permit (principal in Robot::"a", action, resource);`,
	"unknown action":               `permit (principal, action == Action::"fly", resource);`,
	"unknown attribute":            `permit (principal is Run, action, resource) when { principal.name == "a" };`,
	"unknown attribute of context": `permit (principal, action == Action::"fileRead", resource) when { context.method == "GET" };`,
	"unknown attribute of record":  `permit (principal, action == Action::"fileRead", resource) when { context.flow.level == 2 };`,
	"unknown argument":             `permit (principal, action == Action::"mail.send", resource) when { context.input.cc == "a" };`,
	"argument of another tool":     `permit (principal, action in [Action::"mail.send", Action::"shop.order"], resource) when { context.input.item == "a" };`,
	"optional without has":         `permit (principal, action == Action::"mail.send", resource) when { context.input.subject == "a" };`,
	"has of something else":        `permit (principal, action == Action::"shop.order", resource) when { context has approval && context.input.express };`,
	"tag without hasTag":           `permit (principal is User, action, resource) when { principal.getTag("a").contains("b") };`,
	"number against text":          `permit (principal, action == Action::"fileRead", resource) when { context.flow.pc == "2" };`,
	"text against number":          `permit (principal, action == Action::"fileRead", resource) when { context.path > 1 };`,
	"decimal by operator":          `permit (principal, action == Action::"shop.order", resource) when { context.input.total < decimal("1.0") };`,
	"decimal against number":       `permit (principal, action == Action::"shop.order", resource) when { context.input.total.lessThan(1) };`,
	"no decimal":                   `permit (principal, action == Action::"shop.order", resource) when { context.input.total.lessThan(decimal("one")) };`,
	"no address":                   `permit (principal, action == Action::"httpGet", resource) when { context.ip.isInRange(ip("10.0.0.0/99")) };`,
	"no time":                      `permit (principal, action, resource) when { context.now < datetime("noon") };`,
	"unknown function":             `permit (principal, action, resource) when { context.now.isPast() };`,
	"condition that is no Bool":    `permit (principal is Run, action, resource) when { principal.depth };`,
	"set of two types":             `permit (principal is Run, action, resource) when { [1, "a"].contains(principal.depth) };`,
	"empty set":                    `permit (principal is Run, action, resource) when { [].contains(principal.depth) };`,
	"element of another type":      `permit (principal is Run, action in Action::"observe", resource) when { context.agents.contains(Run::"a") };`,
	"branches of two types":        `permit (principal is Run, action, resource) when { (if principal.depth > 1 then 1 else "a") == 1 };`,
	"the same annotation twice":    `@id("a") @id("b") permit (principal, action, resource);`,
	"another escape":               `permit (principal, action == Action::"\q", resource);`,
	"number too large":             `permit (principal is Run, action, resource) when { principal.depth < 9223372036854775808 };`,
}

func TestBothRefuse(t *testing.T) {
	t.Parallel()
	set := officeSet(t)
	o := startOracle(t, set.Schema())
	for _, name := range slices.Sorted(maps.Keys(invalid)) {
		t.Run(name, func(t *testing.T) {
			message := map[string]any{"check": map[string]string{name: invalid[name]}}
			if a := o.tell(t, message)[0]; a.Failure == "" && len(a.Invalid) == 0 {
				t.Errorf("the other Cedar accepts it, with warnings %q", a.Warned)
			}
			text := strings.Replace("@id(\"x\") "+invalid[name], `@id("x") @id`, "@id", 1)
			if _, err := set.words.compile(map[string][]byte{"p.cedar": []byte(text)}); err == nil {
				t.Error("we accept it")
			}
		})
	}
}

// What our validator lets pass although it always errs: it takes any two types that have
// an order for comparable. An error denies, so nothing gets through by it.
func TestWeAcceptMore(t *testing.T) {
	t.Parallel()
	const text = `forbid (principal is Run, action == Action::"fileRead", resource) when { context.now < 5 };`
	set := officeSet(t)
	o := startOracle(t, set.Schema())
	if a := o.check(t, map[string]string{"x": text}); len(a.Invalid) == 0 {
		t.Errorf("the other Cedar accepts it")
	}
	with, err := set.words.compile(map[string][]byte{"p.cedar": []byte(`@id("x") ` + text + `@id("open") permit (principal, action, resource);`)})
	if err != nil {
		t.Fatalf("we refuse it as well now, so let it be among the others: %v", err)
	}
	if d := New(with).Authorize(t.Context(), ask("fileRead", file("a", "docs", true, false), base(nil))); d.Allowed || len(d.Errors) != 1 {
		t.Errorf("got %+v", d)
	}
}

// What the other Cedar only warns of, since such a policy never applies: we refuse it.
func TestWeRefuseMore(t *testing.T) {
	t.Parallel()
	set := officeSet(t)
	o := startOracle(t, set.Schema())
	for name, text := range map[string]string{
		"principal of another action": `permit (principal is User, action == Action::"fileRead", resource);`,
		"resource of another action":  `permit (principal, action == Action::"fileRead", resource is Model);`,
		"a type that is in no other":  `permit (principal in Model::"a", action == Action::"fileRead", resource);`,
	} {
		t.Run(name, func(t *testing.T) {
			if a := o.check(t, map[string]string{name: text}); len(a.Invalid) > 0 || len(a.Warned) == 0 {
				t.Errorf("the other Cedar says %q, %q", a.Invalid, a.Warned)
			}
			if _, err := set.words.compile(map[string][]byte{"p.cedar": []byte(`@id("x") ` + text)}); err == nil {
				t.Error("we accept it")
			}
		})
	}
}

// Random policies are valid to both or to neither, but for those that never apply.
func TestValidatesLikeAnotherCedar(t *testing.T) {
	t.Parallel()
	set := officeSet(t)
	o := startOracle(t, set.Schema())
	r := newRandom(1, set.words)
	valid, refused := r.policies(t, 300)
	if len(refused) < 100 {
		t.Errorf("only %d random policies are invalid", len(refused))
	}
	a := o.check(t, numbered(valid))
	for name, errs := range a.Invalid {
		t.Errorf("the other Cedar refuses %s: %q", name, errs)
	}
	a = o.check(t, numbered(refused))
	for name, text := range numbered(refused) {
		if a.Invalid[name] == nil && a.Warned[name] == nil {
			_, err := set.words.compile(map[string][]byte{"p.cedar": []byte(text)})
			t.Errorf("the other Cedar accepts %s: %v", text, err)
		}
	}
	t.Logf("%d valid to both, %d refused, of which the other refuses %d", len(valid), len(refused), len(a.Invalid))
	if len(a.Invalid) < 50 {
		t.Errorf("the other Cedar refuses only %d of %d", len(a.Invalid), len(refused))
	}
}

func numbered(texts []string) map[string]string {
	out := map[string]string{}
	for i, text := range texts {
		out[fmt.Sprintf("%d: %s", i, text)] = text
	}
	return out
}
