package offline

import (
	"slices"
	"strings"
)

// direct returns the call of a tool whose own words are the clause's: all but a
// few of them if the tool takes no arguments, else a word of its name, with the
// arguments taken from the rest of the clause.
func (p plan) direct(c clause) (invocation, bool) {
	var found invocation
	top := 0
	for _, t := range p.tools {
		if score := t.directness(c); score > top {
			f := c.filling(t, t.about)
			if call, ok := f.fill(t); ok {
				found, top = call, score
			}
		}
	}
	return found, top > 0
}

// directness rates how plainly a clause asks for this very tool; 0 is not at all.
// Tools with a role are left to the plan unless they are named.
func (t tool) directness(c clause) int {
	mentioned := t.mentioned(c)
	if t.role != roleOther && (!mentioned || t.role == roleWrite) {
		return 0
	}
	inName, inAbout := c.matches(t.names), c.matches(t.about)
	free := len(t.args) > 0 && slices.ContainsFunc(t.args, func(a argument) bool { return a.required })
	fits := inAbout > 0 && 10*inAbout >= 6*len(c.words)
	if free {
		fits = inName > 0 && !c.why
	}
	switch {
	case t.harmful && !t.commanded(c):
		return 0
	case mentioned:
		return 1000 + inAbout
	case fits:
		return 3*inName + inAbout
	default:
		return 0
	}
}

// mentioned reports whether the clause speaks of the tool by its name. A name that
// is also an everyday word has to stand next to "tool".
func (t tool) mentioned(c clause) bool {
	if strings.ContainsAny(t.name, "._-") {
		return slices.ContainsFunc(strings.Fields(c.text), func(token string) bool {
			return strings.Trim(token, "\"'`“”()[],;:?!.") == t.name
		})
	}
	return containsWord(c.text, t.name+" tool") || containsWord(c.text, "tool "+t.name)
}

// commanded reports whether the clause is a command with the tool's own verb,
// which is a word of its name or the first of its description. A harmful tool is
// called for nothing less.
func (t tool) commanded(c clause) bool {
	verb := stem(leading(c.text))
	return t.names[verb] || t.verb == verb
}

// matches counts the words, and the verb of a command, that are in the set.
func (c clause) matches(in map[string]bool) int {
	n := 0
	for _, s := range distinctStems(c.words) {
		if related(s, in) {
			n++
		}
	}
	if verb := leading(c.text); askVerbs[verb] && in[stem(verb)] {
		n++
	}
	return n
}

// filling offers the clause to a tool; words that are the tool's own are no part
// of an argument.
func (c clause) filling(t tool, own map[string]bool) filling {
	f := filling{query: join(c.words), body: c.literal, whole: c.text, numbers: numbers(c.text)}
	if len(c.paths) > 0 {
		f.place = c.paths[0]
	}
	var rest []word
	for _, w := range c.words {
		if !related(w.stem, own) && !containsWord(t.name, w.text) && !isNumber(w.text) {
			rest = append(rest, w)
		}
	}
	f.text = first(c.literal, join(rest))
	f.query = first(c.literal, f.query)
	return f
}

// relevance counts the words that a tool shares with a clause; a tool that is
// named comes before all others.
func (t tool) relevance(c clause) int {
	n := 2*c.matches(t.names) + c.matches(t.about)
	if t.mentioned(c) {
		n += 1000
	}
	return n
}

// pick returns the tool of a role that is closest to the clause, the first
// offered of equals.
func (p plan) pick(r role, c clause) (tool, bool) {
	return pickFrom(p.tools, r, c)
}

func pickFrom(tools []tool, r role, c clause) (tool, bool) {
	var found tool
	top := -1
	for _, t := range tools {
		if n := t.relevance(c); t.role == r && n > top {
			found, top = t, n
		}
	}
	return found, top >= 0
}
