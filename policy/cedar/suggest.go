package cedar

import (
	"bytes"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/vespiary/vespiary/policy"
)

// Suggestion is policy text that would permit requests.
type Suggestion struct {
	Policies string   `json:"policies"`        // Cedar text to add to a file; "" if nothing is to be added
	Notes    []string `json:"notes,omitempty"` // what it does not solve, and why
}

// Suggest writes the narrowest permits that would have allowed the denied requests:
// for the agent that asked, and those it acts for that lack one too, its action, and the
// resource. Many resources that were only read are named by what they are all in, and
// the text says so; sessions and memory, whose names do not last, by their owner.
//
// The text compiles together with this set and was tried on every request. Where a
// permit cannot help, because a policy forbids, the task was not granted it or the request
// does not fit the schema, a note says so and nothing wider is suggested. Calls that need
// an approval besides stay subject to it, which a note says too.
func (s *Set) Suggest(denied []Recorded) Suggestion {
	var out Suggestion
	var wants []want
	for _, r := range denied {
		lacking, note := s.wants(r)
		if note != "" {
			out.Notes = append(out.Notes, note)
			continue
		}
		wants = append(wants, lacking...)
	}
	if len(wants) > 0 {
		text := s.render(s.drafts(wants, true))
		notes := s.try(text, wants)
		if len(notes) == 0 {
			out.Policies, notes = text, stillAsked(wants)
		}
		out.Notes = append(out.Notes, notes...)
	}
	out.Notes = eachOnce(out.Notes)
	return out
}

// want is what a permit must cover for one link of a request's chain.
type want struct {
	query                   *query
	hop                     int
	agent, action, resource types.EntityUID
	groups                  []types.EntityUID // the resource's parents
	owned                   string            // a condition that names the resource by its owner
	reads                   bool
	asks                    string // the policies that leave it to a person, if any
}

func (w *want) String() string { return fmt.Sprintf("%v %s %v", w.agent, w.action.ID, w.resource) }

// stillAsked names what a person must approve even with the permits.
func stillAsked(wants []want) []string {
	var notes []string
	for _, w := range wants {
		if w.asks != "" {
			notes = append(notes, fmt.Sprintf("%v: with a permit, a person is asked to approve each call, by policy %s", &w, w.asks))
		}
	}
	return notes
}

// wants says what permits a denied request lacks, one for each link of its chain that has
// none, or why no permit can help.
func (s *Set) wants(r Recorded) ([]want, string) {
	q, d := s.replay(r)
	agent, hasAgent := agentOf(q)
	if !hasAgent {
		agent = q.request.Principal
	}
	subject := fmt.Sprintf("%v %s %v", agent, q.request.Action.ID, q.request.Resource)
	switch {
	case d.Allowed:
		return nil, fmt.Sprintf("%s: already permitted by policy %s", subject, s.named(d.Policies))
	case len(d.Errors) > 0:
		return nil, fmt.Sprintf("%s: cannot be decided, and no permit changes that: %s", subject, strings.Join(d.Errors, "; "))
	case d.Approval != "":
		return nil, fmt.Sprintf("%s: left to a person by policy %s, which no permit replaces; approve the call, or change that policy", subject, s.named(d.Policies))
	case isUncovered(d):
		return nil, fmt.Sprintf("%s: not among the %s, which no permit widens; open the task with more", subject, d.Policies[0].ID)
	case len(d.Policies) > 0 && !s.liftable(d.Policies):
		return nil, fmt.Sprintf("%s: forbidden by policy %s, which no permit overrides; change that policy if it is wrong", subject, s.named(d.Policies))
	case q.request.Principal.Type == "User":
		return nil, fmt.Sprintf("%s: what people may do is not for a suggestion; write a permit by hand", subject)
	case !hasAgent:
		return nil, fmt.Sprintf("%s: the run is in no agent that a policy could name; write a permit by hand", subject)
	}
	return s.lacking(q, s.named(d.Policies)), ""
}

// isUncovered reports whether grants of a task made the denial.
func isUncovered(d policy.Decision) bool {
	return len(d.Policies) == 1 && strings.HasPrefix(d.Policies[0].ID, uncoveredCause)
}

// lacking are the wants of those links that no permit holds for.
func (s *Set) lacking(q *query, asks string) []want {
	var all []want
	for i := range q.links {
		q.stand(i)
		if s.permits(q) {
			continue
		}
		if w, ok := s.wantAt(q, i); ok {
			w.asks = asks
			all = append(all, w)
		}
	}
	return all
}

// wantAt is the want of the agent at one link; false if there is no agent.
func (s *Set) wantAt(q *query, hop int) (want, bool) {
	q.stand(hop)
	agent, ok := agentOf(q)
	resource, _ := q.entities.Get(q.request.Resource)
	return want{
		query: q, hop: hop, agent: agent, action: q.request.Action, resource: q.request.Resource,
		groups: resource.Parents.Slice(), owned: ownership(q, resource), reads: s.words.onlyReads(q.request.Action),
	}, ok
}

func (s *Set) named(causes []policy.Cause) string {
	var names []string
	for _, c := range causes {
		if s.has(c.ID) {
			names = append(names, s.where(c.ID))
		}
	}
	return strings.Join(names, " and ")
}

// onlyReads reports whether an action observes and does nothing else: no group that it is
// in is of another kind.
func (v *vocabulary) onlyReads(action types.EntityUID) bool {
	for _, u := range v.lineage[action] {
		switch u.ID {
		case "effect", "egress", "control":
			return false
		}
	}
	return slices.Contains(v.lineage[action], types.EntityUID{Type: actionType, ID: "observe"})
}

// ownership returns the condition that a resource of the principal's own user
// meets; "" where resources of its type have no owner, or another one.
func ownership(q *query, resource types.Entity) string {
	run, _ := q.entities.Get(q.request.Principal)
	user, _ := run.Attributes.Get("user")
	owner, ok := resource.Attributes.Get("owner")
	if !ok || user == nil || !owner.Equal(user) {
		return ""
	}
	condition := "resource.owner == principal.user"
	if tier, ok := resource.Attributes.Get("tier"); ok {
		condition += " && resource.tier == " + string(tier.MarshalCedar())
	}
	return condition
}

// try compiles text with the set and decides every want again. The notes say what
// did not work; none means that the text does what it should.
func (s *Set) try(text string, wants []want) []string {
	files := maps.Clone(s.files)
	name := "suggested.cedar"
	for files[name] != nil {
		name = "another-" + name
	}
	files[name] = []byte(text)
	wider, err := s.words.compile(files)
	if err != nil {
		return []string{"no valid policy could be written: " + string(bytes.TrimSpace([]byte(err.Error())))}
	}
	var notes []string
	for i := range wants {
		if d := wider.decide(wants[i].query); !d.Allowed && d.Approval == "" {
			notes = append(notes, fmt.Sprintf("%v: no permit for it could be found; write one by hand", &wants[i]))
		}
	}
	return notes
}

// eachOnce sorts notes and says each once.
func eachOnce(notes []string) []string {
	slices.Sort(notes)
	return slices.Compact(notes)
}

// Tightest writes the permits that an agent needs for what it was seen to do, and no
// others: for exactly the actions and resources of those past calls that were allowed to
// it or through it, widened as Suggest does. Text that takes the place of all other
// permits for the agent: the forbids of this set stay as they are.
//
// The text compiles, was tried on every kind of call that it is made of, and permits no
// kind that was only ever denied for lack of a permit; a kind is an action with a resource.
// Where a kind was allowed at one time and not permitted at another, a note says so, since
// the text has no conditions on the circumstances. Past calls come one by one and are not
// kept, but one of each kind. The error is that of past.
func (s *Set) Tightest(agent string, past iter.Seq2[Past, error]) (Suggestion, error) {
	t := tightening{set: s, agent: types.EntityUID{Type: "Agent", ID: types.String(agent)}, used: map[usage]want{}, denied: map[usage]want{}}
	for p, err := range past {
		if err != nil {
			return Suggestion{}, fmt.Errorf("read past decisions: %w", err)
		}
		t.take(&p)
	}
	return t.suggestion(), nil
}

// tightening gathers what an agent did.
type tightening struct {
	set          *Set
	agent        types.EntityUID
	calls        int
	used, denied map[usage]want
	notes        []string
}

// usage is all that permits of a suggestion look at.
type usage struct {
	action, resource types.EntityUID
	owned            string
}

func (t *tightening) take(p *Past) {
	q, faults := t.set.words.query(&p.Request)
	if len(faults) > 0 {
		if p.Decision.Allowed {
			t.notes = append(t.notes, fmt.Sprintf("%s %s: was allowed and cannot be decided now: %s", p.Request.Action.ID, uid(p.Request.Resource), strings.Join(faults, "; ")))
		}
		return
	}
	mine := false
	for i := range q.links {
		w, ok := t.set.wantAt(q, i)
		if !ok || w.agent != t.agent {
			continue
		}
		u := usage{w.action, w.resource, w.owned}
		switch {
		case p.Decision.Allowed:
			t.used[u], mine = w, true
		case len(p.Decision.Policies) == 0 && len(p.Decision.Errors) == 0 && p.Decision.Hop == i:
			t.denied[u] = w
		}
	}
	if mine {
		t.calls++
	}
}

func (t *tightening) suggestion() Suggestion {
	wants := sorted(t.used)
	if len(wants) == 0 {
		return Suggestion{Notes: eachOnce(append(t.notes, fmt.Sprintf("nothing that %v was allowed is on record, so there is nothing to permit it", t.agent)))}
	}
	for _, widen := range []bool{true, false} {
		text := t.set.render(t.set.drafts(wants, widen))
		tight, err := t.set.words.compile(map[string][]byte{"suggested.cedar": []byte(text), "forbids.cedar": t.set.forbids()})
		if err != nil {
			t.notes = append(t.notes, "no valid policy could be written: "+oneLine(err.Error()))
			break
		}
		if widen && t.leaks(tight) {
			continue
		}
		if notes := t.uncovered(tight, wants); len(notes) > 0 {
			t.notes = append(t.notes, notes...)
			break
		}
		t.notes = append(append(t.notes, t.stillForbidden(tight, wants)...), t.sometimes(wants)...)
		return Suggestion{Policies: t.head() + text, Notes: eachOnce(t.notes)}
	}
	return Suggestion{Notes: eachOnce(t.notes)}
}

// head says what the text is made of.
func (t *tightening) head() string {
	calls := "1 call"
	if t.calls != 1 {
		calls = fmt.Sprintf("%d calls", t.calls)
	}
	return oneLine(fmt.Sprintf("// What %v did in %s. It needs no other permit.", t.agent, calls)) + "\n\n"
}

func sorted(used map[usage]want) []want {
	wants := slices.Collect(maps.Values(used))
	slices.SortFunc(wants, func(a, b want) int {
		return strings.Compare(a.String()+a.owned, b.String()+b.owned)
	})
	return wants
}

// forbids is the text of the forbids of the set.
func (s *Set) forbids() []byte {
	var b bytes.Buffer
	for _, p := range s.policies {
		if p.Effect == "forbid" {
			b.WriteString(p.Text)
			b.WriteString("\n")
		}
	}
	return b.Bytes()
}

// leaks reports whether the set permits what the agent was denied and did not do besides.
func (t *tightening) leaks(tight *Set) bool {
	for u, w := range t.denied {
		w.query.stand(w.hop)
		if _, used := t.used[u]; !used && tight.permits(w.query) {
			return true
		}
	}
	return false
}

// uncovered names what the set should permit and does not.
func (t *tightening) uncovered(tight *Set, wants []want) []string {
	var notes []string
	for i := range wants {
		w := &wants[i]
		if w.query.stand(w.hop); !tight.permits(w.query) {
			notes = append(notes, fmt.Sprintf("%v: no permit for it could be found; write one by hand", w))
		}
	}
	return notes
}

// stillForbidden names what policies of today forbid although it was allowed.
func (t *tightening) stillForbidden(tight *Set, wants []want) []string {
	var notes []string
	for i := range wants {
		w := &wants[i]
		w.query.stand(w.hop)
		d := tight.decideLink(w.query)
		if !d.Allowed && len(d.Policies) > 0 && d.Approval == "" {
			notes = append(notes, fmt.Sprintf("%v: was allowed, but is forbidden today by policy %s", w, t.set.named(d.Policies)))
		}
	}
	return notes
}

// sometimes names what was not permitted at other times.
func (t *tightening) sometimes(wants []want) []string {
	var notes []string
	for i := range wants {
		w := &wants[i]
		if _, denied := t.denied[usage{w.action, w.resource, w.owned}]; denied {
			notes = append(notes, fmt.Sprintf("%v: was also denied at other times, under conditions that this permit does not have; add them by hand", w))
		}
	}
	return notes
}
