package offline

import (
	"slices"
	"strings"

	"github.com/vespiary/vespiary/host/internal/model/wire"
)

// maxRounds ends a plan that tools lead in circles.
const maxRounds = 8

// plan is the state of one turn: what was asked, what can be called, and what was
// called so far.
type plan struct {
	turn    turn
	tools   []tool
	clauses []clause
}

// step is how far one clause is: what to call next, and what came back so far.
type step struct {
	pending []invocation
	done    []*outcome
	whole   bool // results are quoted as they stand
	lost    bool // no tool fits
}

// want adds a call to the step and returns its outcome once it was made.
func (p plan) want(s *step, c invocation) *outcome {
	if o := p.turn.made(c); o != nil {
		if !slices.Contains(s.done, o) {
			s.done = append(s.done, o)
		}
		return o
	}
	s.pending = append(s.pending, c)
	return nil
}

// next returns the calls to make now, those of independent clauses together, and
// none when it is time to answer.
func (p plan) next(choice string) []invocation {
	if t, ok := p.named(choice); ok && len(p.turn.ofTool(t.name)) == 0 {
		if c, ok := p.force(t); ok {
			return []invocation{c}
		}
	}
	if p.turn.rounds >= maxRounds {
		return nil
	}
	var calls []invocation
	for _, c := range p.evidence() {
		for _, call := range p.step(c).pending {
			if !slices.ContainsFunc(calls, call.same) {
				calls = append(calls, call)
			}
		}
	}
	if call, ok := p.save(); ok && len(calls) == 0 {
		calls = append(calls, call)
	}
	if choice == wire.ChoiceRequired && len(calls) == 0 && len(p.turn.calls) == 0 {
		return p.any()
	}
	return calls
}

func (p plan) named(name string) (tool, bool) {
	i := slices.IndexFunc(p.tools, func(t tool) bool { return t.name == name })
	if i < 0 {
		return tool{}, false
	}
	return p.tools[i], true
}

// force fills a tool that must be called with whatever the question holds.
func (p plan) force(t tool) (invocation, bool) {
	c := parseClause(p.turn.question)
	f := c.filling(t, nil)
	f.text = first(f.text, p.turn.question)
	f.query = first(f.query, p.turn.question)
	f.body = first(f.body, p.turn.question)
	if t.needs(kindPlace) {
		f.place = first(f.place, p.lastPath(), ".")
	}
	return f.fill(t)
}

// any calls the offered tool that fits best, because some call was demanded.
func (p plan) any() []invocation {
	c := parseClause(p.turn.question)
	ranked := slices.Clone(p.tools)
	slices.SortStableFunc(ranked, func(a, b tool) int { return b.relevance(c) - a.relevance(c) })
	for _, t := range ranked {
		if call, ok := p.force(t); ok && !t.harmful {
			return []invocation{call}
		}
	}
	return nil
}

// evidence returns the clauses that find something out. A request to save with
// nothing else to go by is itself a question for what to save.
func (p plan) evidence() []clause {
	var out []clause
	for _, c := range p.clauses {
		if c.intent != intentSave {
			out = append(out, c)
		}
	}
	if len(out) > 0 {
		return out
	}
	for _, c := range p.clauses {
		if c.literal == "" && len(c.topic()) > 0 {
			c.intent, c.paths, c.words = intentAsk, nil, c.topic()
			out = append(out, c)
		}
	}
	return out
}

// noteWords speak of the note to be written, not of its topic.
var noteWords = stems("note notes file files answer answers result results summary quotation quotations text line lines")

// topic returns the words without those for the note itself: "save a note about
// bees" is about bees.
func (c clause) topic() []word {
	return slices.DeleteFunc(slices.Clone(c.words), func(w word) bool { return noteWords[w.stem] })
}

// step computes how far a clause is, from nothing but the calls that were made. The
// cases go from the most explicit wish to the vaguest.
func (p plan) step(c clause) step {
	var s step
	direct, isDirect := p.direct(c)
	switch {
	case isDirect:
		s.whole = true
		p.want(&s, direct)
	case c.act: // no other tool may stand in
	case c.intent == intentList:
		p.list(c, &s)
	case len(c.paths) > 0:
		for _, path := range c.paths {
			p.read(c, path, &s)
		}
	case c.intent == intentRead && len(c.hints) == 0:
		c.words = nil
		p.read(c, p.lastPath(), &s)
	default:
		p.ask(c, &s)
	}
	s.lost = len(s.pending) == 0 && len(s.done) == 0
	return s
}

// save returns the one call that keeps the answer, once there is something to
// keep.
func (p plan) save() (invocation, bool) {
	c, asked := p.saveClause()
	t, offered := p.pick(roleWrite, c)
	if !asked || !offered || len(p.turn.ofTool(t.name)) > 0 {
		return invocation{}, false
	}
	f := c.filling(t, nil)
	if f.body = first(c.literal, p.note()); f.body == "" {
		return invocation{}, false
	}
	f.place = first(f.place, "notes/"+slug(p.topic())+".md")
	call, ok := f.fill(t)
	for _, a := range t.args {
		if ok && a.kind == kindFlag && a.name == leading(c.text) {
			call.args[a.name] = true // "append … to …"
		}
	}
	return call, ok
}

func (p plan) saveClause() (clause, bool) {
	i := slices.IndexFunc(p.clauses, func(c clause) bool { return c.intent == intentSave })
	if i < 0 {
		return clause{}, false
	}
	return p.clauses[i], true
}

func (p plan) topic() []word {
	for _, c := range p.evidence() {
		if len(c.words) > 0 {
			return c.words
		}
	}
	return nil
}

func slug(ws []word) string {
	var parts []string
	for _, w := range ws[:min(len(ws), 4)] {
		parts = append(parts, strings.ToLower(w.text))
	}
	return first(strings.Join(parts, "-"), "note")
}
