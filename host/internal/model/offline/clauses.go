package offline

import (
	"regexp"
	"slices"
	"strings"
)

// intent is what a clause of the question wants.
type intent int

const (
	intentAsk  intent = iota // find out
	intentRead               // read what it names or points at
	intentList               // list what there is
	intentSave               // keep text
)

// clause is a part of the question that can be answered for itself.
type clause struct {
	text    string
	intent  intent
	words   []word   // what it is about
	paths   []string // that it names
	hints   []string // files that it names without a path, such as README, in lower case
	literal string   // quoted text, or what follows a colon
	act     bool     // it demands something that neither reading nor saving can stand for
	why     bool     // it asks for a reason
}

var (
	saveVerbs = set("save write store record append note keep put remember")
	readVerbs = set("read open print cat display view load fetch show")
	listVerbs = set("list ls enumerate")
	askVerbs  = set("find search look tell explain describe summarise summarize answer check get quote compare " +
		"add run send delete remove create make count compute calculate convert translate greet")
	actVerbs      = set("delete remove rename move send")
	questionWords = set("what when where why who whom whose which how is are was were do does did can could will would should has have")
	fillers       = set("and then also please now so next finally could can would will you i want need like to let us me kindly")
	namedFiles    = set("readme changelog license licence rationale contributing makefile dockerfile notice authors " +
		"security roadmap todo faq codeowners")
)

// parseClauses splits a question where a new sentence, or after "and" a new
// question or command, begins. Text in quotation marks is never split.
func parseClauses(question string) []clause {
	var out []clause
	for _, text := range splitClauses(question) {
		if c := parseClause(text); c.text != "" {
			out = append(out, c)
		}
	}
	return out
}

var (
	separator = regexp.MustCompile(`(?i)([.?!;]+["'”’)]*\s+|\n+|,?\s+(?:and|then)\s+|,\s+)`)
	quotation = regexp.MustCompile("\"[^\"\n]+\"|“[^”\n]+”|`[^`\n]+`")
)

// maxClauses bounds how many questions one message can hold; the last takes the
// rest.
const maxClauses = 8

// splitClauses cuts at the ends of sentences, and at commas and "and" only where
// what follows begins like a question or a command: "find ants and bees" is one.
func splitClauses(question string) []string {
	quoted := quotation.FindAllStringIndex(question, -1)
	inside := func(at int) bool {
		return slices.ContainsFunc(quoted, func(q []int) bool { return q[0] < at && at < q[1]-1 })
	}
	var out []string
	start := 0
	for _, at := range separator.FindAllStringIndex(question, -1) {
		if len(out) == maxClauses-1 {
			break
		}
		if inside(at[0]) || at[0] == 0 {
			continue
		}
		sentence := strings.ContainsAny(question[at[0]:at[1]], ".?!;\n")
		if sentence && !colonBefore(question[start:at[0]]) || begins(question[at[1]:]) {
			out = append(out, question[start:at[0]])
			start = at[1]
		}
	}
	return append(out, question[start:])
}

// colonBefore keeps what is to be saved literally in one piece.
func colonBefore(text string) bool {
	return saveVerbs[leading(text)] && strings.Contains(text, ": ")
}

// begins reports whether text starts a clause of its own.
func begins(text string) bool {
	w := leading(text)
	return saveVerbs[w] || readVerbs[w] || listVerbs[w] || askVerbs[w] || questionWords[w]
}

// leading returns the first word in lower case that is no mere politeness. A
// question word counts, except where it opens a request as in "could you".
func leading(text string) string {
	ws := fields(strings.ToLower(text))
	for i, w := range ws {
		request := fillers[w] && (!questionWords[w] || i+1 < len(ws) && ws[i+1] == "you")
		if !request {
			return w
		}
	}
	return ""
}

// parseClause reads one part of the question.
func parseClause(text string) clause {
	text = strings.TrimSpace(text)
	if len(fields(text)) == 0 {
		return clause{}
	}
	c := clause{text: text, paths: paths(text), literal: literal(text)}
	verb := leading(text)
	c.why = verb == "why" || strings.HasPrefix(strings.ToLower(text), "how come")
	c.hints = namedFilesIn(text)
	c.words = about(text, verb, c.paths, c.hints)
	c.intent, c.act = c.intentOf(verb), actVerbs[verb]
	if c.intent == intentSave && c.literal == "" && colonBefore(text) {
		_, after, _ := strings.Cut(text, ": ")
		c.literal = strings.TrimSpace(after)
	}
	return c
}

var listing = regexp.MustCompile(`(?i)\b(which|what)\s+(files|folders|directories|documents|notes)\s+(are|is|exist|do|can|there)\b`)

// intentOf goes by the leading verb first: in "save it to a.md" the path is not to
// be read.
func (c clause) intentOf(verb string) intent {
	switch {
	case saveVerbs[verb], verb == "create" && len(c.paths) > 0:
		return intentSave
	case listVerbs[verb], listing.MatchString(c.text):
		return intentList
	case len(c.paths) > 0, readVerbs[verb] && (c.points() || len(c.hints) > 0):
		return intentRead
	default:
		return intentAsk
	}
}

// pointers are words for a file that was spoken of before, as in "open that file".
var pointers = stems("file document page hit result link first source")

// points reports whether the clause names nothing of its own.
func (c clause) points() bool {
	return !slices.ContainsFunc(c.words, func(w word) bool { return !pointers[w.stem] })
}

// literal returns quoted text, which is neither searched nor split.
func literal(text string) string {
	for _, q := range quotation.FindAllString(text, -1) {
		inner := strings.Trim(q, "\"“”`")
		if !isPath(inner, true) {
			return inner
		}
	}
	return ""
}

// namedFilesIn returns words that name files which people mention without a path.
func namedFilesIn(text string) []string {
	var out []string
	for _, w := range fields(text) {
		lower := strings.ToLower(w)
		capital := w != lower
		if namedFiles[lower] && (capital && w == strings.ToUpper(w) || lower == "readme" || lower == "changelog" ||
			lower == "makefile" || lower == "dockerfile") {
			out = append(out, lower)
		}
	}
	return out
}

// about returns what the clause is about: its words without its verb of command,
// its paths and the files it names.
func about(text, verb string, paths, hints []string) []word {
	for _, p := range paths {
		text = strings.ReplaceAll(text, p, " ")
	}
	command := saveVerbs[verb] || readVerbs[verb] || listVerbs[verb] || askVerbs[verb]
	var out []word
	for _, w := range words(text) {
		lower := strings.ToLower(w.text)
		if command && lower == verb {
			command = false
			continue
		}
		if !slices.Contains(hints, lower) {
			out = append(out, w)
		}
	}
	return out
}
