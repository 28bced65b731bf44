package openai

import (
	"strings"
	"testing"
)

// TestTranscript tells in a notation of its own what agents stream: "1:text" is
// text of call 1, "1!" runs it again, "=text" is the reply.
func TestTranscript(t *testing.T) {
	for _, c := range []struct {
		events []string
		want   string
	}{
		{[]string{"=only the reply"}, "only the reply"},
		{[]string{"1:all of ", "1:it", "=all of it"}, "all of it"},
		{[]string{"1:begun", "=begun and ended"}, "begun and ended"},
		{[]string{"1:thinking", "2:answer", "=answer"}, "thinking\n\nanswer"},
		{[]string{"1:thinking", "=answer"}, "thinking\n\nanswer"},
		{[]string{"1:preamble. answer", "=answer"}, "preamble. answer"},
		{[]string{"1:some", "="}, "some"},
		{[]string{"1:", "="}, ""},
		{[]string{"1:answer", "2:", "=answer"}, "answer"},
		{[]string{"1:one two", "1!", "1:one", "1: two three", "=one two three"}, "one two three"},
		{[]string{"1:one two", "1!", "1:one", "1: else", "=one else"}, "one two\n\none else"},
		{[]string{"1:one two", "1!", "=other"}, "one two\n\nother"},
		{[]string{"1:a", "2:b", "2!", "2:b", "=b"}, "a\n\nb"},
		{[]string{"1:a", "2:b", "1!", "=b"}, "a\n\nb"},
	} {
		var tr transcript
		var got strings.Builder
		for _, e := range c.events {
			if reply, ok := strings.CutPrefix(e, "="); ok {
				got.WriteString(tr.finish(reply))
			} else if call, ok := strings.CutSuffix(e, "!"); ok {
				tr.reset(call)
			} else {
				call, text, _ := strings.Cut(e, ":")
				got.WriteString(tr.add(call, text))
			}
		}
		if got.String() != c.want {
			t.Errorf("%q: %q, want %q", c.events, got.String(), c.want)
		}
	}
}
