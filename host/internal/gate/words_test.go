package gate

import (
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	for _, tc := range []struct {
		words, value string
		want         bool
	}{
		{"send 1,500 to bob", "1,500", true},
		{"send 1,500 to bob", "500", false},
		{"send 1,500 to bob", "1", false},
		{"send 1’500 to bob", "1", false},
		{"send 1'500 to bob", "500", false},
		{"send 1\u00a0500 to bob", "500", false},
		{"send 1\u202f500 to bob", "1", false},
		{"send 12.50 to bob", "12", false},
		{"send -5 to bob", "5", false},
		{"send 5% to bob", "5", false},
		{"rooms 3, 4 and 5", "4", true},
		{"ask 'bob' today", "bob", true},
		{"ask Bob's friend", "Bob", true},
		{"ask ann,bob", "bob", true},
		{"the cafe\u0301 there", "cafe", false},
		{"the café there", "caf", false},
		{"a\u200dbob", "bob", false},
		{"bob", "bob", true},
		{"(bob)", "bob", true},
		{"bob.", "bob", true},
		{"bob.example", "bob", false},
		{"the year ٢٠٢٦", "٢٠", false},
		{"see //bob", "bob", true},
		{"see https://a.example/x", "a.example", true},
		{"see https://a.example.org", "a.example", false},
		{"see x@a.example", "a.example", false},
		{"\xffbob", "bob", true},
		{"", "bob", false},
		{"bob", " \n", false},
	} {
		turn := &Turn{opt: TurnOptions{Words: []string{tc.words}}}
		if got := turn.said([]string{tc.value}); got != tc.want {
			t.Errorf("%q in %q: %v", tc.value, tc.words, got)
		}
	}
}

// TestSearchIsBounded: what a guest looks for does not decide how long it takes. What is not
// looked for to the end is not named.
func TestSearchIsBounded(t *testing.T) {
	many := strings.Repeat("x ", 1<<20) + "z"
	var values []string
	for range 1 << 16 {
		values = append(values, "z")
	}
	for name, tc := range map[string]struct {
		words string
		value []string
	}{
		"overlapping":       {strings.Repeat("a(", 1<<20), []string{strings.Repeat("(a", 1<<18) + "("}},
		"one long word":     {strings.Repeat("a", 2<<20), []string{strings.Repeat("a", 1<<20)}},
		"many, at its end":  {many, values},
		"never, many times": {many + strings.Repeat("zz ", 1<<18), values},
	} {
		turn := &Turn{opt: TurnOptions{Words: []string{tc.words}}}
		if turn.said(tc.value) {
			t.Errorf("%s: named", name)
		}
	}
	if turn := (&Turn{opt: TurnOptions{Words: []string{many}}}); !turn.said([]string{"z", "x"}) {
		t.Error("what is there is not found")
	}
}

func FuzzNames(f *testing.F) {
	f.Add("send 1,500 to bob@example.com", "500")
	f.Add("https://a.example/", "a.example")
	f.Fuzz(func(t *testing.T, words, value string) {
		turn := &Turn{opt: TurnOptions{Words: []string{words}}}
		if turn.said([]string{value}) && !strings.Contains(words, strings.TrimSpace(value)) {
			t.Errorf("%q is not in %q", value, words)
		}
	})
}
