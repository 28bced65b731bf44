package gate

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxSearch is how many bytes of the user's words are compared for one call: a guest chooses
// what to look for, and must not choose how long that takes. Beyond it nothing is named.
const maxSearch = 32 << 20

// said tells whether the user's words of this turn name each of the values: as a whole, not
// as part of another word or number. "13" in "June 13" is named; "1" is not.
func (t *Turn) said(values []string) bool {
	left := maxSearch
	for _, v := range values {
		if !t.names(v, &left) {
			return false
		}
	}
	return true
}

// names takes what it compares from left.
func (t *Turn) names(value string, left *int) bool {
	value = strings.TrimSpace(value)
	if value == "" {
		return false
	}
	for _, words := range t.opt.Words {
		for at := 0; at < len(words) && *left > 0; {
			i := strings.Index(words[at:], value)
			if i < 0 {
				*left -= len(words) - at
				break
			}
			*left -= i + len(value)
			from := at + i
			if standsAlone(words, from, from+len(value)) {
				return true
			}
			_, size := utf8.DecodeRuneInString(words[from:])
			at = from + size
		}
	}
	return false
}

// standsAlone tells whether words[from:to] is no part of something longer: a name, a
// number, an address, a path.
func standsAlone(words string, from, to int) bool {
	before, width := utf8.DecodeLastRuneInString(words[:from])
	after, size := utf8.DecodeRuneInString(words[to:])
	inURL := strings.HasSuffix(words[:from], "//") // its host
	if from > 0 && joins(before) && !inURL || groups(before) && between(words, from-width, from) {
		return false
	}
	if to == len(words) || inURL && strings.ContainsRune("/:?#", after) {
		return true
	}
	if after == '.' || after == ',' || after == ':' { // it ends a sentence, unless more follows at once
		next, _ := utf8.DecodeRuneInString(words[to+size:])
		return to+size == len(words) || unicode.IsSpace(next)
	}
	return !joins(after) && (!groups(after) || !between(words, to, to+size))
}

func joins(r rune) bool {
	return unicode.In(r, unicode.L, unicode.N, unicode.M, unicode.Cf) || strings.ContainsRune("_-@./\\+%#&=:~", r)
}

// groups tells whether a rune may stand between the digits of one number: "1,500", "1'500",
// and with spaces that do not break the line.
func groups(r rune) bool { return strings.ContainsRune(",'’\u00a0\u2009\u202f", r) }

// between tells whether words[from:to] has a digit on either side.
func between(words string, from, to int) bool {
	before, _ := utf8.DecodeLastRuneInString(words[:from])
	after, _ := utf8.DecodeRuneInString(words[to:])
	return unicode.IsDigit(before) && unicode.IsDigit(after)
}
