package gate

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// said tells whether the user's words of this turn name each of the values: as a whole, not
// as part of another word or number. "13" in "June 13" is named; "1" is not.
func (t *Turn) said(values []string) bool {
	for _, v := range values {
		if !t.names(v) {
			return false
		}
	}
	return true
}

func (t *Turn) names(value string) bool {
	value = strings.TrimSpace(value)
	if value == "" {
		return false
	}
	for _, words := range t.opt.Words {
		for at := 0; ; {
			i := strings.Index(words[at:], value)
			if i < 0 {
				break
			}
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
	before, _ := utf8.DecodeLastRuneInString(words[:from])
	after, size := utf8.DecodeRuneInString(words[to:])
	inURL := strings.HasSuffix(words[:from], "//") // its host
	if from > 0 && joins(before) && !inURL {
		return false
	}
	if to == len(words) || inURL && strings.ContainsRune("/:?#", after) {
		return true
	}
	if after == '.' || after == ',' || after == ':' { // it ends a sentence, unless more follows at once
		next, _ := utf8.DecodeRuneInString(words[to+size:])
		return to+size == len(words) || unicode.IsSpace(next)
	}
	return !joins(after)
}

func joins(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_-@./\\+%#&=:~", r)
}
