package offline

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// word is a word as it was written, and the stem by which it is compared.
type word struct{ text, stem string }

// stopWords say nothing about what a question is about.
var stopWords = set(`a about above actually all also am an and any are as at be been before being but by can could
	did do does doing done each either else every everything few for from further had has have having he her here
	hers him his how i if in into is it its itself just kindly know let like make may me mention mentioned mentions
	might mine more most much must my need no nor not of off ok on once one only or other our out over own per please
	quite rather really said same say saying says she should so some such take takes tell than thank thanks that the
	their them then there these they thing things this those through to too under until up upon us use very via want
	was we were what when where whether which while who whom whose why will with within without would you your yours
	come comes often tool tools give describe explain exactly explained called call using used`)

// words splits text into its words, with stop words left out. Words with inner
// underscores, hyphens or dots count as their parts.
func words(text string) []word {
	var out []word
	for _, w := range fields(text) {
		lower := strings.ToLower(w)
		if len(lower) > 1 && !stopWords[lower] || isNumber(lower) {
			out = append(out, word{w, stem(lower)})
		}
	}
	return out
}

func fields(text string) []string {
	text = possessive.ReplaceAllString(text, "")
	return strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

var possessive = regexp.MustCompile(`['’](s|S|t|re|ve|ll|d|m)\b`)

func isNumber(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }) < 0
}

// stem takes the commonest English endings off. It need not be right, only the
// same for the forms of one word.
func stem(w string) string {
	switch {
	case len(w) > 4 && (strings.HasSuffix(w, "ies") || strings.HasSuffix(w, "ied")):
		return w[:len(w)-3] + "y"
	case len(w) > 3 && strings.HasSuffix(w, "s") && !strings.HasSuffix(w, "ss"):
		w = w[:len(w)-1]
	}
	for _, ending := range []string{"ations", "ation", "ingly", "edly", "ings", "ing", "ed", "ly"} {
		if base, ok := strings.CutSuffix(w, ending); ok && len(base) >= 3 && strings.ContainsAny(base, "aeiouy") {
			w = base
			break
		}
	}
	if n := len(w); n > 3 && w[n-1] == w[n-2] && !strings.ContainsRune("aeiouls", rune(w[n-1])) {
		w = w[:n-1]
	}
	if len(w) > 3 {
		w = strings.TrimSuffix(w, "e")
	}
	return w
}

// stems returns the set of stems of a text.
func stems(text string) map[string]bool {
	out := map[string]bool{}
	for _, w := range words(text) {
		out[w.stem] = true
	}
	return out
}

// timeWords are the words by which people ask for the clock; tools may use any.
var timeWords = stems("time date day today clock hour datetime timestamp now weekday moment")

// related reports whether a stem is in the set, by itself or through a word of
// the same meaning.
func related(stem string, in map[string]bool) bool {
	if in[stem] {
		return true
	}
	if !timeWords[stem] {
		return false
	}
	for w := range timeWords {
		if in[w] {
			return true
		}
	}
	return false
}

func set(text string) map[string]bool {
	out := map[string]bool{}
	for w := range strings.FieldsSeq(text) {
		out[w] = true
	}
	return out
}

// join returns the words as they were written, each once.
func join(ws []word) string {
	var out []string
	for _, w := range ws {
		if !slices.ContainsFunc(out, func(s string) bool { return strings.EqualFold(s, w.text) }) {
			out = append(out, w.text)
		}
	}
	return strings.Join(out, " ")
}

var (
	extension = regexp.MustCompile(`(?i)^[\w@+-][\w.@+-]*\.(md|mdx|txt|text|rst|adoc|log|csv|tsv|json|jsonl|ya?ml|toml|ini|cfg|conf|` +
		`env|xml|html?|css|go|mod|sum|rs|py|js|ts|c|h|sh|sql|pdf|wasm|wit|key|pem|secret)$`)
	withSlash = regexp.MustCompile(`^[\w@+~.-]*(/[\w@+.~-]+)+/?$`)
	rooted    = regexp.MustCompile(`^(/|\./|\.\./|~/)\S+$`)
	address   = regexp.MustCompile(`(?i)^(https?|file)://\S+$`)
)

// placeWords stand before a path that could also be two words with a slash.
var placeWords = set("in under from to into at file folder directory path read open list show of inside within")

// maxPaths bounds how many paths of one clause count.
const maxPaths = 8

// paths returns the tokens of a text that look like paths or addresses.
func paths(text string) []string {
	var out []string
	previous := ""
	for token := range strings.FieldsSeq(text) {
		if len(out) == maxPaths {
			break
		}
		bare := strings.TrimRight(strings.Trim(token, "\"'`“”‘’()[]<>,;:?!"), ".")
		quoted := strings.ContainsAny(token, "\"'`“”")
		if isPath(bare, quoted || placeWords[strings.ToLower(previous)]) && !slices.Contains(out, bare) {
			out = append(out, bare)
		}
		previous = bare
	}
	return out
}

// isPath reports whether a token is a path. One with a slash but no extension is
// only where something else says so: "client/server" is not.
func isPath(s string, likely bool) bool {
	switch {
	case s == "":
		return false
	case rooted.MatchString(s), address.MatchString(s):
		return true
	case !strings.Contains(s, "/"):
		return extension.MatchString(s)
	case !withSlash.MatchString(s):
		return false
	}
	base := s[strings.LastIndex(s, "/")+1:]
	start, _, _ := strings.Cut(strings.ToLower(s), "/")
	likely = likely && !readVerbs[start] && !saveVerbs[start] // "to read/write"
	return likely || base == "" || extension.MatchString(base)
}
