package offline

import (
	"regexp"
	"slices"
	"strings"
)

var folder = regexp.MustCompile(`(?i)\b(?:in|under|inside|of)\s+(?:the\s+)?([\w./@-]+)`)

// list asks for the folder that the clause names; a plain "list the files" means
// the root.
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

// read asks for one file. Addresses go to tools that take addresses only, so that a
// file tool is not asked for a web page.
func (p plan) read(c clause, path string, s *step) {
	tools := p.tools
	if address.MatchString(path) {
		tools = slices.DeleteFunc(slices.Clone(tools), func(t tool) bool { return !t.takesAddress() })
	}
	t, ok := pickFrom(tools, roleRead, c)
	if !ok || path == "" {
		return
	}
	f := c.filling(t, nil)
	f.place = path
	call, ok := f.fill(t)
	if !ok {
		return
	}
	p.want(s, call)
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

// longest returns the longest word, which tends to be the most telling.
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

// bestPath returns the file of the passage that fits best, or else of the first
// result: tools put their best first.
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

// closestPath returns the listed file whose name shares the most words.
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
