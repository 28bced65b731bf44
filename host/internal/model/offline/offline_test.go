package offline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/model/wire"
)

func ask(question string, tools ...abi.Tool) wire.Request {
	return wire.Request{
		Messages: []abi.Message{{Role: abi.RoleUser, Content: []abi.Content{abi.Text(question)}}}, Tools: tools,
	}
}

// calls returns the calls of the next step as "name arguments".
func calls(r wire.Request) []string {
	var out []string
	for _, c := range respond(r).calls {
		out = append(out, c.tool+" "+string(c.raw()))
	}
	return out
}

func extraTools() []abi.Tool {
	harm := true
	wipe := deskTool("session_reset", "Delete the whole session.", ``, ``)
	wipe.Annotations = &abi.ToolAnnotations{DestructiveHint: &harm}
	remove := deskTool("files_delete", "Delete a file.", `"path":{"type":"string"}`, `"path"`)
	remove.Annotations = wipe.Annotations
	return []abi.Tool{
		remove,
		deskTool("get_weather", "The weather in a city.", `"city":{"type":"string"},"unit":{"type":"string","enum":["celsius","fahrenheit"]}`, `"city","unit"`),
		deskTool("math_add", "Add two numbers.", `"a":{"type":"number"},"b":{"type":"integer"}`, `"a","b"`),
		deskTool("hello", "Greets somebody.", `"name":{"type":"string"}`, `"name"`),
		deskTool("github.searchIssues", "Search the issues of a GitHub repository.",
			`"q":{"type":"string"},"page":{"type":"integer","minimum":1},"all":{"type":"boolean"},"labels":{"type":"array","items":{"type":"string","default":"bug"}},"sort":{"type":["string","null"],"default":"new"}`,
			`"q","page","all","labels","sort"`),
		deskTool("web_fetch", "Fetch a page.", `"url":{"type":"string"}`, `"url"`),
		deskTool("ticket_open", "Opens a ticket.", `"ticket":{"type":"object","properties":{"title":{"type":"string"},"level":{"const":3}},"required":["title","level"]}`, `"ticket"`),
		wipe,
	}
}

func TestFirstCalls(t *testing.T) {
	tools := append(deskTools(), extraTools()...)
	for question, want := range map[string][]string{
		"What is the weather in Paris?":                    {`get_weather {"city":"Paris","unit":"celsius"}`},
		"Tell me the weather in New York in fahrenheit":    {`get_weather {"city":"New York fahrenheit","unit":"fahrenheit"}`},
		"Please add 2.5 and 40.":                           {`math_add {"a":2.5,"b":40}`},
		"Use the hello tool to greet World":                {`hello {"name":"World"}`},
		"Search the GitHub issues about slow uploads":      {`github.searchIssues {"all":false,"labels":["bug"],"page":1,"q":"GitHub issues slow uploads","sort":"new"}`},
		"Fetch https://example.com/page?a=1.":              {`web_fetch {"url":"https://example.com/page?a=1"}`},
		"What does https://example.com/ say about prices?": {`web_fetch {"url":"https://example.com/"}`},
		"How is the session reset?":                        {`files_search {"query":"session reset"}`},
		"Why does the weather station drift?":              {`files_search {"query":"weather station drift"}`},
		"What time is it? What is the weather in Paris?":   {`clock_now {}`, `get_weather {"city":"Paris","unit":"celsius"}`},
		"Could you please read notes/todo.txt?":            {`files_read {"path":"notes/todo.txt"}`},
		"Compare docs/storage.md and docs/network.md":      {`files_read {"path":"docs/storage.md"}`, `files_read {"path":"docs/network.md"}`},
		"Is it better to read/write or to use TCP/IP?":     {`files_search {"query":"better read write TCP IP"}`},
		`Find "log first" in docs/storage.md`:              {`files_read {"path":"docs/storage.md"}`},
		`Search for "idle limit"`:                          {`files_search {"query":"idle limit"}`},
		"Append \"done\" to notes/todo.txt":                {`files_write {"append":true,"path":"notes/todo.txt","text":"done"}`},
		"List the files in the docs folder and tell me the time": {
			`files_list {"path":"docs"}`, `clock_now {}`,
		},
		"Delete notes/todo.txt":        {`files_delete {"path":"notes/todo.txt"}`},
		"Rename notes/todo.txt":        nil,
		"Reset the session":            {`session_reset {}`},
		"Create notes/a.md with \"x\"": {`files_write {"path":"notes/a.md","text":"x"}`},
		"How does it write files?":     {`files_search {"query":"write files"}`},
		"":                             nil,
		"?!":                           nil,
	} {
		if diff := cmp.Diff(want, calls(ask(question, tools...))); diff != "" {
			t.Errorf("%q (-want +got):\n%s", question, diff)
		}
	}
}

func TestClausesAreBounded(t *testing.T) {
	var q strings.Builder
	for i := range 100 {
		fmt.Fprintf(&q, "Read a/%d.md and what is %d. ", i, i)
	}
	if got := len(calls(ask(q.String(), deskTools()...))); got == 0 || got > maxClauses-1+maxPaths {
		t.Errorf("%d calls", got)
	}
}

func TestToolChoice(t *testing.T) {
	r := ask("What time is it?", deskTools()...)
	for choice, want := range map[string][]string{
		wire.ChoiceNone: nil, wire.ChoiceAuto: {"clock_now {}"}, wire.ChoiceRequired: {"clock_now {}"},
		"files_search": {`files_search {"query":"time"}`}, "no_such_tool": {"clock_now {}"},
	} {
		r.ToolChoice = choice
		if diff := cmp.Diff(want, calls(r)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", choice, diff)
		}
	}
	r = ask("Hmm.", deskTools()[3], deskTools()[4])
	if got := calls(r); got != nil {
		t.Errorf("auto calls %v", got)
	}
	if r.ToolChoice = wire.ChoiceRequired; len(calls(r)) != 1 {
		t.Errorf("required calls %v", calls(r))
	}
}

// answerTo lets every call of a question return the same result.
func answerTo(t *testing.T, question, result string, failed bool, tools ...abi.Tool) string {
	t.Helper()
	r := ask(question, tools...)
	for range maxRounds + 2 {
		next := respond(r)
		m, _ := next.message(r)
		r.Messages = append(r.Messages, m)
		if len(m.ToolCalls) == 0 {
			text, ok := strings.CutSuffix(next.text, "\n\n"+trailer)
			if !ok {
				t.Errorf("%q does not say what it is: %s", question, next.text)
			}
			return text
		}
		for _, c := range m.ToolCalls {
			r.Messages = append(r.Messages, abi.Message{
				Role: abi.RoleTool, ToolCallID: c.ID, IsError: failed, Content: []abi.Content{abi.Text(result)},
			})
		}
	}
	t.Fatalf("%q is never answered", question)
	return ""
}

// TestResultShapes checks that quotations and sources are found by the names of
// fields, in the shapes that tools of all kinds return.
func TestResultShapes(t *testing.T) {
	search := deskTool("kb", "Find facts.", `"query":{"type":"string"}`, `"query"`)
	quoted := "From a/b.md:7 (Bees):\n\n> Drones have no sting."
	for name, c := range map[string]struct{ result, want string }{
		"matches":  {`{"matches":[{"path":"a/b.md","line":7,"heading":"Bees","text":"Drones have no sting.","score":1}]}`, quoted},
		"list":     {`[{"file":"a/b.md","line_number":7,"section":"Bees","snippet":"Drones have no sting."}]`, quoted},
		"nested":   {`{"uri":"a/b.md","title":"Bees","hits":[{"line":7,"content":"Drones have no sting."},{"line":9,"content":"Queens do."}]}`, quoted},
		"grep":     {"a/b.md:7: Drones have no sting.\na/c.md:1: Nothing.\n", "From a/b.md:7:\n\n> Drones have no sting."},
		"plain":    {"Drones have no sting.", "From kb:\n\n> Drones have no sting."},
		"strings":  {`["Drones have no sting.","Queens do."]`, "From kb:\n\n> Drones have no sting."},
		"markdown": {"# Bees\n\nQueens have.\n\n## Drones\n\nThey have no sting.", "From kb:7 (Drones):\n\n> They have no sting."},
		"nothing":  {`{"matches":[]}`, `I found no passage about "sting drones" in what kb returned.`},
		"empty":    {``, `I found no passage about "sting drones" in what kb returned.`},
		"broken":   {`{"matches":[`, `I found no passage about "sting drones" in what kb returned.`},
	} {
		if name == "markdown" {
			c.want = strings.Replace(c.want, "kb:7", "kb", 1)
		}
		if diff := cmp.Diff(c.want, answerTo(t, "Is there a sting in drones?", c.result, false, search)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestFailuresInTheToolsOwnWords(t *testing.T) {
	for result, want := range map[string]string{
		"denied: by policy p1": `It says: "denied: by policy p1"`,
		`{"error":{"code":"needs_approval","message":"a person must approve"}}`: `It says: "a person must approve"`,
		`{"message":"busy"}`: `It says: "busy"`,
		"":                   `It says: "it gave no reason"`,
	} {
		for _, question := range []string{"Read a.md", "Where are drones?", "List the files", "What time is it?", `Save "x" to a.md`} {
			got := answerTo(t, question, result, true, deskTools()...)
			if !strings.Contains(got, want) || strings.Contains(got, "\n> ") || strings.Contains(got, "Saved") {
				t.Errorf("%q, %q: %s", question, result, got)
			}
		}
	}
}

func TestWithoutTools(t *testing.T) {
	if got := answerTo(t, "Why?", "", false); got != `I was offered no tools, so I have nothing to quote about "Why?".` {
		t.Error(got)
	}
	clock := deskTools()[4]
	if got := answerTo(t, "Why is the sky blue?", "", false, clock); got != `None of the tools that I was offered (clock_now) fits "Why is the sky blue?".` {
		t.Error(got)
	}
	if got := answerTo(t, `Save "x" to a.md`, "", false, clock); got != "No tool that writes was offered, so nothing was saved." {
		t.Error(got)
	}
}

func TestLongPassagesAreShortened(t *testing.T) {
	filler := strings.Repeat("Nothing of interest happens in this sentence at all. ", 40)
	p := passage{line: 3, text: strings.ReplaceAll(filler, "at all. ", "at all.\n") + "The drone has no sting. " + filler}
	got := p.shorten(words("drone sting"))
	if len(got.text) > maxPassage+2*len("… ") || !strings.Contains(got.text, "The drone has no sting.") ||
		!strings.HasPrefix(got.text, "… ") || !strings.HasSuffix(got.text, " …") {
		t.Errorf("got %q", got.text)
	}
	begun := strings.LastIndex(p.text, strings.TrimSuffix(strings.TrimPrefix(got.text, "… "), " …"))
	if line := p.line + strings.Count(p.text[:max(begun, 0)], "\n"); got.line != line {
		t.Errorf("line %d, want %d", got.line, line)
	}
	endless := passage{text: strings.Repeat("é", 4*maxPassage)}.shorten(nil)
	if len(endless.text) > 2*maxPassage+10 {
		t.Errorf("%d bytes", len(endless.text))
	}
}

func TestStem(t *testing.T) {
	for _, same := range []string{
		"retry retries retried retrying", "write writes writing", "file files", "stop stops stopped stopping",
		"configure configured configuring", "policy policies", "search searches searched",
	} {
		forms := strings.Fields(same)
		for _, w := range forms[1:] {
			if stem(w) != stem(forms[0]) {
				t.Errorf("%s is %s, %s is %s", w, stem(w), forms[0], stem(forms[0]))
			}
		}
	}
	for _, pair := range []string{"list last", "read red", "time tide"} {
		a, b, _ := strings.Cut(pair, " ")
		if stem(a) == stem(b) {
			t.Errorf("%s and %s are both %s", a, b, stem(a))
		}
	}
}

func TestPaths(t *testing.T) {
	for text, want := range map[string][]string{
		"Read ../outside/secret.txt.":              {"../outside/secret.txt"},
		"Read `/etc/passwd`, please":               {"/etc/passwd"},
		"See docs/a.md and (docs/b.md)!":           {"docs/a.md", "docs/b.md"},
		"config.yaml or https://example.com/x?y=1": {"config.yaml", "https://example.com/x?y=1"},
		"read/write and TCP/IP, e.g. I/O":          nil,
		"files in docs/guide":                      {"docs/guide"},
		"version 1.2.3 costs 4.50":                 nil,
		"a ~/notes.md, ./x":                        {"~/notes.md", "./x"},
	} {
		if diff := cmp.Diff(want, paths(text)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func TestUsageAndLimit(t *testing.T) {
	p, err := New(Config{Price: wire.Price{Input: 1, Output: 2}})
	if err != nil {
		t.Fatal(err)
	}
	r := ask("Grüße")
	whole, err := p.Chat(t.Context(), r, nil)
	if err != nil {
		t.Fatal(err)
	}
	text := abi.TextOf(whole.Message.Content)
	want := abi.Usage{InputTokens: 4 + 2, OutputTokens: int64(len(text)+3) / 4}
	want.CostMicros = want.InputTokens + 2*want.OutputTokens
	if diff := cmp.Diff(want, whole.Usage); diff != "" {
		t.Errorf("usage (-want +got):\n%s", diff)
	}
	for _, limit := range []int{1, 2, 10, 21} {
		r.MaxTokens = limit
		short, err := p.Chat(t.Context(), r, nil)
		got := abi.TextOf(short.Message.Content)
		if err != nil || short.Finish != abi.FinishLength || short.Usage.OutputTokens > int64(limit) || !strings.HasPrefix(text, got) {
			t.Errorf("limit %d: %q, %+v, %v", limit, got, short, err)
		}
	}
}

func TestInterruptedInTheMiddle(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var slept int
	p, err := New(Config{Latency: time.Minute, Sleep: func(ctx context.Context, _ time.Duration) error {
		if slept++; slept == 4 {
			cancel()
		}
		return ctx.Err()
	}})
	if err != nil {
		t.Fatal(err)
	}
	var groups []string
	_, err = p.Chat(ctx, ask("Hello"), func(s string) error { groups = append(groups, s); return nil })
	if !errors.Is(err, &abi.Error{Code: abi.CodeCancelled}) || len(groups) != 2 {
		t.Errorf("%q, %v", groups, err)
	}
	if len(strings.Fields(groups[0])) != groupWords {
		t.Errorf("the first group is %q", groups[0])
	}
}

// FuzzRespond checks that no question, schema or result breaks the plan, that it
// always ends, and that it says what it is.
func FuzzRespond(f *testing.F) {
	for _, q := range []string{"Why is it so?", "Read a.md and save it to b.md", "What time is it? List files in x", `Write "a" to b.md`, "add 1 and 2"} {
		f.Add(q, `{"type":"object","properties":{"query":{"type":"string"}},"required":["query"]}`, `{"matches":[{"path":"a.md","line":1,"text":"so it is"}]}`, false)
		f.Add(q, `{"properties":{"a":{"type":"array","items":{"type":"object","properties":{"b":{"enum":[1]}}}},"text":{}},"required":["a","text"]}`, "a.md:3: it is so", true)
	}
	f.Fuzz(func(t *testing.T, question, schema, result string, failed bool) {
		tools := []abi.Tool{
			{Name: "thing_find", Description: "Find a thing.", InputSchema: json.RawMessage(schema)},
			{Name: "thing_write", InputSchema: json.RawMessage(schema)},
			{Name: "thing", Description: question, InputSchema: json.RawMessage(schema)},
		}
		_ = answerTo(t, question, result, failed, append(tools, deskTools()...)...)
		for _, choice := range []string{wire.ChoiceRequired, "thing"} {
			r := ask(question, tools...)
			r.ToolChoice = choice
			for _, c := range respond(r).calls {
				if !json.Valid(c.raw()) {
					t.Errorf("invalid arguments %s", c.raw())
				}
			}
		}
	})
}
