package wire

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

type seen struct{ Name, Data string }

func collect(r io.Reader) ([]seen, error) {
	var out []seen
	for ev, err := range Events(r) {
		if err != nil {
			return out, err
		}
		out = append(out, seen{ev.Name, string(ev.Data)})
	}
	return out, nil
}

func TestEvents(t *testing.T) {
	for name, c := range map[string]struct {
		stream string
		want   []seen
	}{
		"empty":                   {"", nil},
		"one":                     {"data: a\n\n", []seen{{"", "a"}}},
		"no space":                {"data:a\n\n", []seen{{"", "a"}}},
		"one space is taken off":  {"data:  a\n\n", []seen{{"", " a"}}},
		"crlf":                    {"event: x\r\ndata: a\r\n\r\ndata: b\r\n\r\n", []seen{{"x", "a"}, {"", "b"}}},
		"cr":                      {"data: a\r\rdata: b\r\r", []seen{{"", "a"}, {"", "b"}}},
		"many lines":              {"data: a\ndata\ndata: b\n\n", []seen{{"", "a\n\nb"}}},
		"comments and other":      {": hi\nid: 7\nretry: 5\n: hi\ndata: a\n\n", []seen{{"", "a"}}},
		"name without data":       {"event: x\n\ndata: a\n\n", []seen{{"", "a"}}},
		"no blank line at end":    {"data: a\n\ndata: b", []seen{{"", "a"}, {"", "b"}}},
		"byte order mark":         {"\ufeffdata: a\n\n", []seen{{"", "a"}}},
		"mark later is a name":    {"data: a\n\n\ufeffdata: b\n\n", []seen{{"", "a"}}},
		"blank lines in between":  {"\n\n\ndata: a\n\n\n\ndata: b\n\n", []seen{{"", "a"}, {"", "b"}}},
		"empty data is an event":  {"data:\n\n", []seen{{"", ""}}},
		"json with escaped lines": {"data: {\"a\":\"b\\nc\"}\n\n", []seen{{"", `{"a":"b\nc"}`}}},
	} {
		t.Run(name, func(t *testing.T) {
			for how, r := range map[string]io.Reader{
				"whole":    strings.NewReader(c.stream),
				"one byte": iotest.OneByteReader(strings.NewReader(c.stream)),
			} {
				got, err := collect(r)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", how, diff)
				}
			}
		})
	}
}

func TestEventsLimits(t *testing.T) {
	fits := strings.Repeat("x", maxEvent-len("data:")-1)
	if got, err := collect(strings.NewReader("data:" + fits + "\n\n")); err != nil || len(got) != 1 || got[0].Data != fits {
		t.Errorf("a line just below the limit: %d events, %v", len(got), err)
	}
	for name, stream := range map[string]string{
		"line":  "data:" + strings.Repeat("x", maxEvent+1) + "\n\n",
		"event": strings.Repeat("data:"+strings.Repeat("x", maxEvent/4)+"\n", 5) + "\n",
	} {
		if _, err := collect(strings.NewReader(stream)); !errors.Is(err, errEventTooLong) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestEventsPassOnReadErrors(t *testing.T) {
	broken := errors.New("broken")
	got, err := collect(io.MultiReader(strings.NewReader("data: a\n\ndata: b\n"), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || len(got) != 1 {
		t.Errorf("got %v, %v; a half event must not be yielded", got, err)
	}
}

// FuzzEvents checks that events do not depend on how the bytes arrive.
func FuzzEvents(f *testing.F) {
	f.Add("event: x\r\ndata: a\r\n\r\n: c\ndata:b\rdata\n\ndata: c")
	f.Fuzz(func(t *testing.T, stream string) {
		whole, err1 := collect(strings.NewReader(stream))
		halves, err2 := collect(iotest.HalfReader(iotest.OneByteReader(strings.NewReader(stream))))
		if diff := cmp.Diff(whole, halves); diff != "" || err1 != nil || err2 != nil {
			t.Errorf("%v, %v, (-whole +pieces):\n%s", err1, err2, diff)
		}
		for _, ev := range whole {
			if strings.ContainsAny(ev.Name, "\r\n") || strings.Contains(ev.Data, "\r") {
				t.Errorf("a line end inside of %q", ev)
			}
		}
	})
}
