package offline

import (
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/abi"
	"github.com/vespiary/vespiary/host/internal/model/wire"
)

var update = flag.Bool("update", false, "write the golden files anew")

// desk is a workspace with the tools a session usually has. It runs their calls
// on real files, denies what leaves the workspace, and keeps what is written.
type desk struct {
	files   fs.FS
	written map[string]string
}

func newDesk() *desk {
	return &desk{files: os.DirFS("testdata/workspace"), written: map[string]string{}}
}

func deskTool(name, description, properties, required string) abi.Tool {
	return abi.Tool{
		Name: name, Description: description,
		InputSchema: json.RawMessage(`{"type":"object","properties":{` + properties + `},"required":[` + required + `]}`),
	}
}

func deskTools() []abi.Tool {
	return []abi.Tool{
		deskTool("files_list", "List the files and folders in a folder of the workspace.",
			`"path":{"type":"string","description":"the folder, relative to the workspace"}`, `"path"`),
		deskTool("files_read", "Read a text file of the workspace.",
			`"path":{"type":"string"},"offset":{"type":"integer"},"limit":{"type":"integer"}`, `"path"`),
		deskTool("files_search", "Search the text of the workspace's files for words.",
			`"query":{"type":"string"},"path":{"type":"string"},"limit":{"type":"integer"}`, `"query"`),
		deskTool("files_write", "Write a text file in the workspace.",
			`"path":{"type":"string"},"text":{"type":"string"},"append":{"type":"boolean"}`, `"path"`),
		deskTool("clock_now", "The current date and time.", ``, ``),
	}
}

// run performs a call and returns the tool's message.
func (d *desk) run(c abi.ToolCall) abi.Message {
	var args struct {
		Path, Query, Text string
		Append            bool
	}
	m := abi.Message{Role: abi.RoleTool, ToolCallID: c.ID}
	if err := json.Unmarshal(c.Arguments, &args); err != nil {
		m.Content, m.IsError = []abi.Content{abi.Text(err.Error())}, true
		return m
	}
	var text string
	var err error
	switch c.Name {
	case "files_list":
		text, err = d.list(args.Path)
	case "files_read":
		text, err = d.read(args.Path)
	case "files_search":
		text = d.search(args.Query)
	case "files_write":
		text, err = d.write(args.Path, args.Text)
	case "clock_now":
		text = `{"now":"2026-03-01T09:30:00Z","zone":"UTC"}`
	default:
		err = fmt.Errorf("not_found: no tool %s", c.Name)
	}
	if err != nil {
		text, m.IsError = err.Error(), true
	}
	m.Content = []abi.Content{abi.Text(text)}
	return m
}

func (d *desk) inside(p string) error {
	if strings.HasPrefix(path.Clean(p), "..") || strings.HasPrefix(p, "/") {
		return fmt.Errorf("denied: policy workspace-only forbids %s; only files of the workspace may be used", p)
	}
	return nil
}

func (d *desk) list(p string) (string, error) {
	if err := d.inside(p); err != nil {
		return "", err
	}
	entries, err := fs.ReadDir(d.files, path.Clean(p))
	if err != nil {
		return "", fmt.Errorf("not_found: no folder %s", p)
	}
	type entry struct {
		Path string `json:"path"`
		Dir  bool   `json:"dir,omitempty"`
	}
	var out []entry
	for _, e := range entries {
		out = append(out, entry{path.Join(p, e.Name()), e.IsDir()})
	}
	data, err := json.Marshal(map[string]any{"files": out})
	return string(data), err
}

func (d *desk) read(p string) (string, error) {
	if err := d.inside(p); err != nil {
		return "", err
	}
	data, err := fs.ReadFile(d.files, path.Clean(p))
	if err != nil {
		return "", fmt.Errorf("not_found: no file %s", p)
	}
	return string(data), nil
}

func (d *desk) write(p, text string) (string, error) {
	if err := d.inside(p); err != nil {
		return "", err
	}
	d.written[p] = text
	return fmt.Sprintf(`{"path":%q,"size":%d}`, p, len(text)), nil
}

// search finds the lines with the most words of the query.
func (d *desk) search(query string) string {
	type match struct {
		Path    string  `json:"path"`
		Line    int     `json:"line"`
		Heading string  `json:"heading,omitempty"`
		Text    string  `json:"text"`
		Score   float64 `json:"score"`
	}
	matches := []match{}
	want := stems(query)
	_ = fs.WalkDir(d.files, ".", func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := fs.ReadFile(d.files, p)
		heading := ""
		for i, line := range strings.Split(string(data), "\n") {
			if h, ok := strings.CutPrefix(line, "#"); ok {
				heading = strings.TrimLeft(h, "# ")
			}
			n := 0
			for s := range stems(heading + " " + line) {
				if want[s] {
					n++
				}
			}
			if n > 0 && line != "" {
				matches = append(matches, match{p, i + 1, heading, line, float64(n)})
			}
		}
		return err
	})
	slices.SortStableFunc(matches, func(a, b match) int { return int(b.Score - a.Score) })
	data, _ := json.Marshal(map[string]any{"matches": matches[:min(len(matches), 5)]})
	return string(data)
}

// converse asks until the stand-in answers and returns the transcript.
func converse(t *testing.T, d *desk, tools []abi.Tool, questions ...string) string {
	t.Helper()
	p, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	var messages []abi.Message
	var returned []string
	for _, q := range questions {
		messages = append(messages, abi.Message{Role: abi.RoleUser, Content: []abi.Content{abi.Text(q)}})
		fmt.Fprintf(&out, "user: %s\n", q)
		for round := 0; ; round++ {
			if round > maxRounds+1 {
				t.Fatalf("%q: no answer after %d rounds:\n%s", q, round, out.String())
			}
			r, err := p.Chat(t.Context(), wire.Request{Messages: messages, Tools: tools}, nil)
			if err != nil {
				t.Fatal(err)
			}
			messages = append(messages, r.Message)
			if len(r.Message.ToolCalls) == 0 {
				fmt.Fprintf(&out, "answer:\n%s\n", abi.TextOf(r.Message.Content))
				checkQuotes(t, abi.TextOf(r.Message.Content), returned)
				break
			}
			for i, c := range r.Message.ToolCalls {
				fmt.Fprintf(&out, "call %d.%d: %s %s\n", round+1, i+1, c.Name, c.Arguments)
				result := d.run(c)
				returned = append(returned, abi.TextOf(result.Content))
				messages = append(messages, result)
			}
		}
	}
	for _, p := range slices.Sorted(maps.Keys(d.written)) {
		fmt.Fprintf(&out, "written %s:\n%s", p, d.written[p])
	}
	return out.String()
}

// checkQuotes checks that every quoted line stands in what the tools returned:
// within a text, or as "name: value" of JSON.
func checkQuotes(t *testing.T, answer string, returned []string) {
	t.Helper()
	all := strings.Join(returned, "\n")
	for _, text := range returned {
		if v, ok := parseJSON(text); ok {
			var lines []string
			flatten("", v, 0, &lines)
			all += "\n" + strings.Join(lines, "\n")
		}
	}
	for line := range strings.Lines(answer) {
		quoted, ok := strings.CutPrefix(line, "> ")
		quoted = strings.Trim(quoted, " …\n")
		if ok && !strings.Contains(all, quoted) {
			t.Errorf("%q was returned by no tool", quoted)
		}
	}
}

func TestAnswers(t *testing.T) {
	for name, questions := range map[string][]string{
		"why":            {"Why does the log come before the index?"},
		"readme":         {"What does the README say about retries?"},
		"read":           {"Read docs/network.md"},
		"read-about":     {"What does docs/network.md say about the keepalive?"},
		"outside":        {"Read ../outside/secret.txt"},
		"passwd":         {"Read /etc/passwd"},
		"save":           {"Find how long compaction takes and save it to notes/answer.md"},
		"save-literal":   {`Write "call the carrier, and ask about limits" to notes/call.md.`},
		"save-colon":     {"Save a note: the scale of hive 7 is broken, and a new one is ordered."},
		"save-nothing":   {"Find the recipe for lasagne and save it to notes/lasagne.md"},
		"save-outside":   {"Find the keepalive and save it to ../keepalive.md"},
		"clock":          {"What time is it?"},
		"clock-date":     {"what's the date today"},
		"parallel":       {"What time is it, and why is the keepalive 45 seconds?"},
		"time-not-clock": {"How much CPU time does compaction take?"},
		"list":           {"Which files are in docs?"},
		"list-all":       {"List the files."},
		"unknown":        {"Who won the chess tournament in Wijk aan Zee?"},
		"greeting":       {"Hello!"},
		"follow-up":      {"Where is MQTT mentioned?", "Open that file"},
		"missing-file":   {"Summarise docs/missing.md"},
		"two-questions":  {"How are tokens kept? And how often is a failed upload tried again?"},
	} {
		t.Run(name, func(t *testing.T) {
			golden(t, name, converse(t, newDesk(), deskTools(), questions...))
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", file, diff)
	}
}
