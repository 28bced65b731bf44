package offline

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestParagraphs checks what one quotation can hold, and where it says it begins.
func TestParagraphs(t *testing.T) {
	text := "# Top\n\nOne\ntwo.\n\n- three\n  four\n- five\n\n| a | b |\n| c | d |\n\n```\n- x\n\n# y\n```\n## Sub ##\n1. six\n2) seven\n"
	var got []passage
	got = append(got, paragraphs(record{path: "a.md", text: text})...)
	want := []passage{
		{line: 3, heading: "Top", text: "One\ntwo."},
		{line: 6, heading: "Top", text: "- three\n  four"},
		{line: 8, heading: "Top", text: "- five"},
		{line: 10, heading: "Top", text: "| a | b |"},
		{line: 11, heading: "Top", text: "| c | d |"},
		{line: 13, heading: "Top", text: "```\n- x\n\n# y\n```"},
		{line: 19, heading: "Sub", text: "1. six"},
		{line: 20, heading: "Sub", text: "2) seven"},
	}
	for i := range want {
		want[i].path = "a.md"
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(passage{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestBest checks the order in which passages are quoted.
func TestBest(t *testing.T) {
	p := func(heading, text string) passage { return passage{path: "a.md", heading: heading, text: text} }
	for name, c := range map[string]struct {
		about string
		why   bool
		in    []passage
		want  []string
	}{
		"more of the words before a rare one": {
			"queen hive swarm", false,
			append([]passage{p("", "A queen."), p("", "The hive and the swarm.")},
				slices.Repeat([]passage{p("", "A hive."), p("", "A swarm.")}, 5)...),
			[]string{"The hive and the swarm.", "A queen."},
		},
		"the heading counts": {
			"swarm weather", false,
			[]passage{p("Weather", "It is warm."), p("Swarm and weather", "They leave.")},
			[]string{"They leave."},
		},
		"text before heading": {
			"swarm", false,
			[]passage{p("Swarm", "They leave."), p("Leaving", "A swarm leaves.")},
			[]string{"A swarm leaves.", "They leave."},
		},
		"a reason where one is asked": {
			"swarm leaves", true,
			[]passage{p("", "A swarm leaves in May."), p("", "A swarm leaves because of heat.")},
			[]string{"A swarm leaves because of heat.", "A swarm leaves in May."},
		},
		"no more than three": {
			"swarm", false,
			[]passage{p("", "swarm 1"), p("", "swarm 2"), p("", "swarm 3"), p("", "swarm 4")},
			[]string{"swarm 1", "swarm 2", "swarm 3"},
		},
		"the shorter of equals": {
			"swarm", false,
			[]passage{p("", "A swarm. "+strings.Repeat("Words and words. ", 20)), p("", "A swarm.")},
			[]string{"A swarm.", "A swarm. " + strings.Repeat("Words and words. ", 20)},
		},
		"nothing": {"wasp", false, []passage{p("", "A swarm.")}, nil},
	} {
		for i := range c.in {
			c.in[i].order = i
		}
		var got []string
		for _, b := range best(c.in, words(c.about), c.why) {
			got = append(got, b.text)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
