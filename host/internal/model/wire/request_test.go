package wire

import (
	"regexp"
	"strings"
	"testing"

	"github.com/vespiary/vespiary/abi"
)

func TestNames(t *testing.T) {
	long := strings.Repeat("x", 70)
	host := []string{"github.search", "github_search", "plain", "größe", long, long + "y", "", "a b"}
	var r Request
	for _, name := range host {
		r.Tools = append(r.Tools, abi.Tool{Name: name})
	}
	r.Messages = []abi.Message{{ToolCalls: []abi.ToolCall{{Name: "gone.tool"}}}}
	names := NamesOf(r)
	valid, seen := regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`), map[string]bool{}
	for _, name := range append(host, "gone.tool") {
		out := names.Out(name)
		if !valid.MatchString(out) || seen[out] || names.In(out) != name {
			t.Errorf("%q becomes %q and comes back as %q", name, out, names.In(out))
		}
		seen[out] = true
	}
	if names.Out("plain") != "plain" || names.Out("github.search") != "github_search" {
		t.Error("names change more than they need to")
	}
	if names.In("made_up") != "made_up" || names.Out("a.b") != "a_b" {
		t.Error("unknown names must pass")
	}
}

func TestLimit(t *testing.T) {
	for _, c := range []struct{ asked, ceiling, want int }{
		{0, 0, 0}, {5, 0, 5}, {0, 7, 7}, {5, 7, 5}, {9, 7, 7}, {-1, -1, 0},
	} {
		if got := (Request{MaxTokens: c.asked}).Limit(c.ceiling); got != c.want {
			t.Errorf("%+v: got %d", c, got)
		}
	}
}

func TestPartsText(t *testing.T) {
	parts := []abi.Content{
		abi.Text("one"),
		{Type: "image", MimeType: "image/png"},
		{Type: "resource", Resource: &abi.Resource{URI: "file:///a", Text: "two"}},
		{Type: "resource", Resource: &abi.Resource{URI: "file:///b", MimeType: "x/y"}},
		{Type: "resource_link", Name: "three", URI: "https://c"},
		{Type: "resource"},
	}
	want := "one\nfile:///a:\ntwo\n[x/y resource, not shown: file:///b]\n[three](https://c)\n[resource , not shown]"
	if got := PartsText(parts, true); got != want {
		t.Errorf("got %q", got)
	}
	if got := PartsText(parts[:2], false); got != "one\n[image image/png, not shown]" {
		t.Errorf("got %q", got)
	}
}
