package main

import (
	"slices"
	"strings"
	"unicode"
)

// common words tell nothing about a passage.
var common = map[string]bool{
	"a": true, "an": true, "and": true, "are": true, "as": true, "at": true, "be": true, "by": true, "can": true,
	"do": true, "does": true, "for": true, "from": true, "has": true, "have": true, "how": true, "i": true, "if": true,
	"in": true, "is": true, "it": true, "its": true, "of": true, "on": true, "or": true, "that": true, "the": true,
	"this": true, "to": true, "was": true, "we": true, "what": true, "when": true, "where": true, "which": true,
	"who": true, "why": true, "will": true, "with": true, "you": true, "your": true,
}

// terms splits text into stems of words; case and punctuation do not count.
func terms(text string) []string {
	var out []string
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	for _, w := range words {
		if !common[w] {
			out = append(out, stem(w))
		}
	}
	return out
}

// stem takes off the commonest endings of English words, so that "approves",
// "approved" and "approving" are one. It need not make words, only to treat the
// query and the files alike.
func stem(w string) string {
	switch n := len(w); {
	case n > 4 && ends(w, "ies", "ied"):
		return w[:n-3] + "y"
	case n > 5 && ends(w, "ing"):
		w = undouble(w[:n-3])
	case n > 4 && ends(w, "ed"):
		w = undouble(w[:n-2])
	case n > 4 && ends(w, "sses", "xes", "ches", "shes"):
		w = w[:n-2]
	case n > 3 && ends(w, "s") && !ends(w, "ss", "us", "is"):
		w = w[:n-1]
	}
	if len(w) > 3 {
		w = strings.TrimSuffix(w, "e")
	}
	return w
}

func ends(w string, endings ...string) bool {
	return slices.ContainsFunc(endings, func(e string) bool { return strings.HasSuffix(w, e) })
}

// undouble turns "runn" into "run", but leaves "call" alone.
func undouble(w string) string {
	n := len(w)
	if n > 3 && w[n-1] == w[n-2] && !strings.ContainsRune("lsz", rune(w[n-1])) {
		return w[:n-1]
	}
	return w
}
