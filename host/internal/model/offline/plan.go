package offline

import (
	"regexp"
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
	c := parseClause(p.turn.question, nil)
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
	c := parseClause(p.turn.question, nil)
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

func (c clause) topic() []word {
	return slices.DeleteFunc(slices.Clone(c.words), func(w word) bool { return noteWords[w.stem] })
}

func (p plan) step(c clause) step {
	var s step
	direct, isDirect := p.direct(c)
	switch {
	case isDirect:
		s.whole = true
		p.want(&s, direct)
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

func (t tool) directness(c clause) int {
	mentioned := t.mentioned(c)
	if t.role != roleOther && !(mentioned && t.role != roleWrite) {
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

var folder = regexp.MustCompile(`(?i)\b(?:in|under|inside|of)\s+(?:the\s+)?([\w./@-]+)`)

func (p plan) list(c clause, s *step) *outcome {
	t, ok := p.pick(roleList, c)
	if !ok {
		return nil
	}
	f := filling{whole: c.text, query: join(c.words)}
	if len(c.paths) > 0 {
		f.place = c.paths[0]
	} else if m := folder.FindStringSubmatch(c.text); m != nil && c.intent == intentList && !noFolder[strings.ToLower(m[1])] {
		f.place = strings.TrimRight(m[1], ".")
	}
	if f.place == "" && t.needs(kindPlace) {
		f.place = "."
	}
	call, ok := f.fill(t)
	if !ok {
		return nil
	}
	s.whole = c.intent == intentList
	return p.want(s, call)
}

// noFolder are words after "in" that name the place where one is.
var noFolder = set("folder directory workspace project repository repo here files documents it this that my your our all")

func (p plan) read(c clause, path string, s *step) *outcome {
	tools := p.tools
	if address.MatchString(path) {
		tools = slices.DeleteFunc(slices.Clone(tools), func(t tool) bool { return !t.takesAddress() })
	}
	t, ok := pickFrom(tools, roleRead, c)
	if !ok || path == "" {
		return nil
	}
	f := c.filling(t, nil)
	f.place = path
	call, ok := f.fill(t)
	if !ok {
		return nil
	}
	return p.want(s, call)
}

func (t tool) takesAddress() bool {
	return slices.ContainsFunc(t.args, func(a argument) bool {
		return a.kind == kindPlace && (strings.Contains(a.name, "ur") || a.name == "href")
	})
}

// ask searches for the words of the clause and reads the file of the best hit, or
// the file that the clause names.
func (p plan) ask(c clause, s *step) {
	search, ok := p.pick(roleSearch, c)
	if !ok {
		p.browse(c, s)
		return
	}
	if !p.search(c, search, s) {
		return
	}
	path := p.namedFile(c)
	if path == "" && len(c.hints) > 0 {
		if p.list(c, s); len(s.pending) > 0 {
			return
		}
		path = p.namedFile(c)
	}
	p.read(c, first(path, bestPath(s.done, c)), s)
}

// search reports whether a search has come back with something. If the first
// finds nothing, the longest word is tried alone: some tools want every word.
func (p plan) search(c clause, t tool, s *step) bool {
	f := c.filling(t, nil)
	f.query = first(f.query, strings.Join(c.hints, " "))
	call, ok := f.fill(t)
	if !ok {
		return len(c.hints) > 0
	}
	o := p.want(s, call)
	if o == nil || o.failed {
		return false
	}
	if len(o.records()) > 0 || len(c.words) < 2 {
		return true
	}
	f.query = longest(c.words)
	if call, ok = f.fill(t); ok {
		o = p.want(s, call)
	}
	return o != nil && !o.failed
}

func longest(ws []word) string {
	var out string
	for _, w := range ws {
		if len(w.text) > len(out) {
			out = w.text
		}
	}
	return out
}

// browse does without a search: it lists, and reads the file whose path has the
// most words of the clause.
func (p plan) browse(c clause, s *step) {
	if o := p.list(c, s); o == nil || o.failed {
		return
	}
	path := p.namedFile(c)
	if path == "" {
		path = closestPath(s.done, c)
	}
	p.read(c, path, s)
}

// namedFile returns the known path of a file that the clause names without one.
func (p plan) namedFile(c clause) string {
	for _, o := range slices.Concat(p.turn.calls, p.turn.earlier) {
		if o.failed {
			continue
		}
		for _, r := range o.records() {
			if slices.Contains(c.hints, baseName(r.path)) {
				return r.path
			}
		}
	}
	return ""
}

// baseName returns the last element of a path without extension, in lower case.
func baseName(path string) string {
	base := strings.ToLower(path[strings.LastIndex(path, "/")+1:])
	name, _, _ := strings.Cut(base, ".")
	return first(name, base)
}

func bestPath(outcomes []*outcome, c clause) string {
	for _, p := range best(passages(outcomes), c.words, c.why) {
		if p.path != "" {
			return p.path
		}
	}
	for _, o := range outcomes {
		for _, r := range o.records() {
			if r.path != "" && !o.failed {
				return r.path
			}
		}
	}
	return ""
}

func closestPath(outcomes []*outcome, c clause) string {
	var found string
	top := 0
	for _, o := range outcomes {
		for _, r := range o.records() {
			if n := c.matches(stems(splitName(r.path))); n > top {
				found, top = r.path, n
			}
		}
	}
	return found
}

// lastPath returns the path that was spoken of last, for "read it".
func (p plan) lastPath() string {
	for _, o := range slices.Backward(slices.Concat(p.turn.earlier, p.turn.calls)) {
		if o.failed {
			continue
		}
		if path := first(o.place(), bestPath([]*outcome{o}, clause{})); path != "" {
			return path
		}
	}
	return ""
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
