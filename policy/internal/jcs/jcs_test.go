package jcs

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// The first is the example of RFC 8785, section 3.2.2.
func TestAppendString(t *testing.T) {
	for in, want := range map[string]string{
		"\u20ac$\u000f\nA'B\"\\\\\"/": `"€$\u000f\nA'B\"\\\\\"/"`,
		"":                            `""`,
		"\b\t\n\f\r\x00\x1f\x7f":      `"\b\t\n\f\r\u0000\u001f` + "\x7f\"",
		"<&>\u2028\u2029":             "\"<&>\u2028\u2029\"",
		"a\xffb\xc3":                  "\"a\uFFFDb\uFFFD\"",
		"\uFFFD":                      "\"\uFFFD\"",
	} {
		if got := string(AppendString(nil, in)); got != want {
			t.Errorf("AppendString(%q) = %s, want %s", in, got, want)
		}
	}
}

func FuzzAppendString(f *testing.F) {
	f.Add("plain")
	f.Add("\x00\"\\\u2028é\xff")
	f.Fuzz(func(t *testing.T, s string) {
		b := AppendString([]byte("x"), s)[1:]
		var got string
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("AppendString(%q) = %s: %v", s, b, err)
		}
		if want := strings.ToValidUTF8(s, "\uFFFD"); utf8.ValidString(s) && got != want {
			t.Errorf("%q came back as %q", s, got)
		}
	})
}
