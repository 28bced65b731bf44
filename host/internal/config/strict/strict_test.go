package strict_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vespiary/vespiary/host/internal/config/strict"
)

type leaf struct {
	Name string `yaml:"name,required"`
	Size int64  `yaml:"size"`
}

type tree struct {
	Text   string          `yaml:"text"`
	Yes    bool            `yaml:"yes"`
	Ratio  float64         `yaml:"ratio"`
	Wait   time.Duration   `yaml:"wait"`
	Any    json.RawMessage `yaml:"any"`
	Leaf   *leaf           `yaml:"leaf"`
	Leaves []leaf          `yaml:"leaves"`
	Named  map[string]leaf `yaml:"named"`
	List   strict.List     `yaml:"list"`
	Alone  strict.List     `yaml:"alone"`
	Hidden string
}

func TestDecode(t *testing.T) {
	var got tree
	r := strict.Decode("t.yaml", []byte(`# all kinds of values
text: |
  two
  lines
yes: true
ratio: 3
wait: 1h30m
any: {b: [1, -2, 2.5, "3", null, yes], a: {}}
leaf: {name: "007", size: 0x10}
leaves:
  - name: a
  - {name: b, size: -1}
named:
  1: {name: number}
  true: {name: word}
list: [a, b]
alone: a
`), &got)
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	want := tree{
		Text: "two\nlines\n", Yes: true, Ratio: 3, Wait: 90 * time.Minute,
		Any:  json.RawMessage(`{"a":{},"b":[1,-2,2.5,"3",null,"yes"]}`),
		Leaf: &leaf{"007", 16}, Leaves: []leaf{{"a", 0}, {"b", -1}},
		Named: map[string]leaf{"1": {Name: "number"}, "true": {Name: "word"}},
		List:  strict.List{"a", "b"}, Alone: strict.List{"a"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
	if !r.Has("named.1.name") || r.Has("leaf.none") {
		t.Error("Has does not know what the file has")
	}
}

func TestProblems(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"hidden field":  {"hidden: x", "t.yaml:1:1: hidden: unknown key; known here: text, yes, ratio, wait, any, leaf, leaves, named, list, alone"},
		"swapped":       {"lefa: x", `t.yaml:1:1: lefa: unknown key; did you mean "leaf"?`},
		"case":          {"TEXT: x", `t.yaml:1:1: TEXT: unknown key; did you mean "text"?`},
		"missing":       {"leaf: {size: 1}", "t.yaml:1:7: leaf.name: missing, and needed here"},
		"in a list":     {"leaves:\n  - {name: a}\n  - {nome: b}", "t.yaml:3:6: leaves.1.nome: unknown key; did you mean \"name\"?"},
		"no list":       {"list: 3", "t.yaml:1:7: list: expected text or a list, found a whole number"},
		"list of more":  {"list: [a, [b]]", "t.yaml:1:11: list.1: expected text, found a list"},
		"overflow":      {"leaf: {name: a, size: 9223372036854775808}", "t.yaml:1:23: leaf.size: the number is too large"},
		"infinite":      {"ratio: .inf", "t.yaml:1:8: ratio: expected a number, found a decimal number"},
		"any alias":     {"any: [&a 1, *a]", "t.yaml:1:7: any.0: expected text, a number, true or false, a list, or keys and values"},
		"long wait":     {"wait: 999999999w", "t.yaml:1:7: wait: expected a duration such as \"30s\", \"15m\", \"1h30m\" or \"30d\": it is longer than 292 years"},
		"negative wait": {"wait: -1s", "use numbers with the units"},
		"two documents": {"text: a\n---\ntext: b", "t.yaml: the file holds more than one document; remove all but one"},
	} {
		t.Run(name, func(t *testing.T) {
			var v tree
			err := strict.Decode("t.yaml", []byte(tc.text), &v).Err()
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error = %v\nwant    %s", err, tc.want)
			}
		})
	}
}

// TestReportSaysThingsOnce: a check that follows a failed decoding adds nothing
// about the same place, and stands where its place is known.
func TestReportSaysThingsOnce(t *testing.T) {
	var v tree
	r := strict.Decode("t.yaml", []byte("leaf: 3\nnamed:\n  a: {name: x}\n"), &v)
	r.Addf("leaf.name", "is empty")
	r.Addf("named.a.size", "is zero")
	want := "t.yaml:1:7: leaf: expected keys and values, found a whole number\nt.yaml:3:6: named.a.size: is zero"
	if err := r.Err(); err == nil || err.Error() != want {
		t.Errorf("error = %v\nwant    %s", err, want)
	}
}

func TestNearest(t *testing.T) {
	known := []string{"main", "fast", "local"}
	for name, want := range map[string]string{
		"mian": "did you mean main?", "locl": "did you mean local?", "zebra": "there is fast, local, main",
	} {
		if got := strict.Nearest(name, known); got != want {
			t.Errorf("Nearest(%s) = %q", name, got)
		}
	}
	if got := strict.Nearest("x", nil); got != "there is none" {
		t.Errorf("of none: %q", got)
	}
}
